//! The control socket: a door to a running line for programs and people of the same machine.
//!
//! ```text
//! winspect trigger --{"command":..}--> +--------+ --Request--> command handler
//! winspect status  --{"status":true}-> | server | <---Reply---
//! winspect watch   --{"watch":true}--> |        | <---Event--- line::events
//!                  <--JSON lines------ +--------+
//! ```
//! The good path: the server binds `<store file stem>.sock` beside the store's file (mode 0660) and
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
//! The bounds are declared in `server.rs` and `messages.rs`: connections, bytes of a line, lines that
//! wait for a client, commands that wait for their answers.

pub mod client;
mod connection;
pub mod messages;
pub mod server;
mod socket;

use std::path::{Path, PathBuf};

/// Path of the control socket of the line with that store: `<stem>.sock` beside the file.
pub fn socket_path(store: &Path) -> PathBuf {
    store.with_extension("sock")
}
