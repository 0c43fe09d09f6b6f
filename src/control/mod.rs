//! The control socket: a door to a running line for programs and people of the same machine.
//!
//! ```text
//! winspect trigger --{"command":..}--> +--------+ --Request--> command handler
//! winspect status  --{"status":true}-> | server | <---Reply---
//! winspect watch   --{"watch":true}--> |        | <---Event--- line::events
//!                  <--JSON lines------ +--------+
//! ```
//! The good path: the server binds a socket beside the store's file ([`socket_path`], mode 0660) and
//! serves all connections from one thread, without ever waiting for one of them. A command takes
//! the same way as one from the broker, and is answered on its connection; the broker need not be
//! there.
//!
//! The failure paths:
//! - The socket cannot be bound: the line goes on, its condition says `MAINTENANCE_REQUIRED` with
//!   the cause `control`, and the server tries again every 10 s.
//! - A socket file that a killed run left is replaced; one that is served is not.
//! - A line that is too long, or no request, is answered by an `error`; the former ends the
//!   connection.
//! - A client that does not read misses events, is told how many, and is left after 60 s.
//! - The line ends: watchers are told `ended`.
//!
//! The bounds are declared in `server.rs`, `lines.rs` and `messages.rs`: connections, bytes of a line, lines and
//! bytes that wait for a client, commands that wait for their answers.

pub mod client;
mod connection;
mod lines;
pub mod messages;
pub mod server;
mod socket;
mod user;

use std::path::{Path, PathBuf};

/// Path of the control socket of the line with that store, beside the file: `box.sock` for `box.db`,
/// `box.sqlite.sock` for `box.sqlite`, so that two stores of one folder have two sockets.
pub fn socket_path(store: &Path) -> PathBuf {
    let mut name = match store.extension() {
        Some(end) if end != "db" => store.as_os_str().to_owned(),
        _ => store.with_extension("").into_os_string(),
    };

    name.push(".sock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_of_one_folder_have_sockets_of_their_own() {
        for (store, socket) in [
            ("/a/box.db", "/a/box.sock"),
            ("/a/box.sqlite", "/a/box.sqlite.sock"),
            ("/a/box.2.db", "/a/box.2.sock"),
            ("box", "box.sock"),
        ] {
            assert_eq!(socket_path(Path::new(store)), Path::new(socket), "{store}");
        }
    }
}
