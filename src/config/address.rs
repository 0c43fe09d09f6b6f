//! A network camera's address and credentials: `location`, `user`, `password_file`.

use super::link;
use super::table::TableReader;
use crate::camera::Credentials;
use std::path::Path;

/// Advice for a password that does not fit into an address.
const ENCODE: &str =
    "write / as %2F, ? as %3F, # as %23 and @ as %40 there, or give user and password_file instead";

/// Reads `user` and `password_file`, which come together.
pub fn credentials(table: &mut TableReader, kind: &str, base: &Path) -> Option<Credentials> {
    let user = table.text("user");
    let has_file = table.has("password_file");
    let password = link::password(table, base);
    if user.is_some() != has_file {
        table.note(
            "user",
            "user and password_file come together; give both or none",
        );
    }

    // A file of the plant's own may have a network source; the other built-in kinds have none.
    let is_network = kind == "rtsp" || kind.ends_with(".toml");
    if user.is_some() && !is_network {
        table.note(
            "user",
            format!("is for kind = \"rtsp\"; {kind:?} asks for no user"),
        );
    }

    Some(Credentials {
        user: user?,
        password: password?,
    })
}

/// Checks an RTSP address. The words hold nothing of it: it may contain a password.
///
/// # Errors
/// What is wrong with the address.
pub fn check(location: &str, has_credentials: bool) -> Result<(), String> {
    let Some((_, rest)) = location.split_once("://") else {
        return Err("must be an address like rtsp://10.0.0.7/stream1".to_owned());
    };

    // The authority ends where a path or a query begins, also in the middle of a password.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let has_user = authority.contains('@');
    let server = authority.rsplit('@').next().unwrap_or_default();
    if !has_user && is_torn(server, path) {
        return Err(format!("the password ends the address too early; {ENCODE}"));
    }

    if has_user && has_credentials {
        return Err("names a user, and user is given as well; take it out of location".to_owned());
    }

    check_server(server)
}

/// True for the front of a user and password that a raw `/`, `?` or `#` has cut off from their host.
fn is_torn(server: &str, path: &str) -> bool {
    let Some((name, port)) = server.rsplit_once(':') else {
        return false;
    };

    // `cam:12/34@10.0.0.7/x` reads as the port 12 of a host cam; a path may hold an @ too, but then
    // its host is mostly an address or has a dot.
    let is_port = port.parse::<u16>().is_ok();
    // RTSP's own ports belong to hosts.
    if matches!(port, "554" | "8554") {
        return false;
    }

    let is_name_of_user = !name.contains(['.', '[']) && name != "localhost";
    path.contains('@') && (!is_port || is_name_of_user)
}

fn check_server(server: &str) -> Result<(), String> {
    // An IPv6 address stands in brackets and has colons of its own.
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (server, None),
    };

    if host.is_empty() {
        return Err("names no host; write it like rtsp://10.0.0.7/stream1".to_owned());
    }

    let is_number = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.is_some_and(|port| !is_number(port)) {
        return Err("its port must be a number from 1 to 65535".to_owned());
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_slash_in_a_password_is_told_and_the_password_is_not() {
        for torn in [
            "rtsp://cam:pa/ss@10.0.0.7/x",
            "rtsp://cam:12/34@10.0.0.7/x",
            "rtsp://cam:se?cret@10.0.0.7:554/x",
            "rtsp://cam:#1@host/x",
        ] {
            let words = check(torn, false).expect_err(torn);
            assert!(
                words.contains("%2F") && words.contains("password_file"),
                "{words}"
            );
            assert!(!words.contains("cam") && !words.contains("34"), "{words}");
        }

        for right in [
            "rtsp://10.0.0.7/stream1",
            "rtsp://me:secret@10.0.0.7:8554/a@b",
            "rtsp://10.0.0.7:554/user@1/x",
            "rtsp://[::1]:554/x",
            "rtsp://[::1]/x",
            "rtsp://me:pa%2Fss@cam-7/x",
            "rtsps://cam-7:322/x",
        ] {
            assert_eq!(check(right, false), Ok(()), "{right}");
        }

        for wrong in [
            "10.0.0.7/x",
            "rtsp:///x",
            "rtsp://10.0.0.7:port/x",
            "rtsp://h:0/x",
        ] {
            assert!(check(wrong, false).is_err(), "{wrong}");
        }

        assert!(check("rtsp://me:a@h/x", true).is_err());
        assert_eq!(check("rtsp://h/x", true), Ok(()));
    }
}
