//! `[page]`: the page for people, and the figures for Prometheus. Off unless the table is there.

use super::link::secret_file;
use super::table::TableReader;
use crate::base::problems::Problems;
use crate::page::PageSettings;
use crate::page::access::users_path;
use crate::page::tls::{PageTls, TlsFiles};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// The usual address.
const LISTEN: &str = "127.0.0.1:8080";

/// Reads `[page]`.
///
/// Users are those of the line with that `store`, unless `users` names a file that several lines share.
pub fn settings(
    value: Option<Value>,
    store: &Path,
    base: &Path,
    problems: &mut Problems,
) -> Option<PageSettings> {
    let mut table = TableReader::new("page", value?, problems);
    let listen = table.text("listen").unwrap_or_else(|| LISTEN.to_owned());
    let listen = table.check("listen", address(&listen));
    let users = table.path("users", base);
    let numbers = table.choice("numbers", "\"point\", \"comma\"");
    let tls = table.take("tls");

    if let Some(open) = listen.filter(|listen| tls.is_none() && !listen.ip().is_loopback()) {
        table.note("listen", without_tls(open));
    }

    table.finish();

    // TLS is read after `finish`, since both readers note into the same list.
    let tls = tls.map(|value| tls_files(value, base, problems));

    Some(PageSettings {
        listen: listen?,
        users: users.unwrap_or_else(|| users_path(store)),
        tls: tls.flatten(),
        numbers: numbers.unwrap_or_default(),
    })
}

/// An address with a port.
fn address(words: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = words.parse().map_err(|_| {
        format!(
            "must be an address with a port, such as {LISTEN:?} or \"[::1]:8080\", got {words:?}"
        )
    })?;

    if address.port() == 0 {
        return Err(format!(
            "must be an address with a port from 1 to 65535, got {words:?}"
        ));
    }

    Ok(address)
}

/// Why an address that other machines reach needs TLS.
fn without_tls(listen: SocketAddr) -> String {
    format!(
        "{listen} can be reached from other machines, and passwords would go there in plain text; give tls = {{ \
         certificate = \"page.pem\", key = \"page.key\" }}, or {LISTEN:?}, and look from elsewhere through ssh -L \
         8080:{LISTEN}"
    )
}

/// Reads `tls = { certificate, key }`, and looks whether both fit.
fn tls_files(value: Value, base: &Path, problems: &mut Problems) -> Option<TlsFiles> {
    let mut table = TableReader::new("page.tls", value, problems);

    for (key, what) in [
        ("certificate", "a file in PEM, its intermediates after it"),
        ("key", "a file in PEM, not encrypted"),
    ] {
        if !table.has(key) {
            table.note(key, format!("missing: {what}"));
        }
    }

    // Credentials of systemd come first, as for the broker's.
    let certificate = secret_file(&mut table, "certificate", base);
    let key = secret_file(&mut table, "key", base);

    let files = certificate
        .zip(key)
        .map(|(certificate, key)| TlsFiles { certificate, key });

    // Files are looked at before the start, so that a wrong one is a configuration error.
    if let Some(files) = &files
        && let Err(problem) = PageTls::open(files)
    {
        table.note(problem.key, problem.words);
    }

    table.finish();

    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::NumberForm;
    use serde_json::json;

    fn read(listen: Value) -> Result<Option<PageSettings>, String> {
        let mut problems = Problems::new();
        let settings = settings(
            Some(json!({ "listen": listen })),
            Path::new("box.db"),
            Path::new("."),
            &mut problems,
        );
        problems
            .into_result()
            .map(|()| settings)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_page_is_off_unless_given_and_never_open() {
        let mut problems = Problems::new();
        let (store, base) = (Path::new("/a/box.db"), Path::new("/etc"));
        assert_eq!(settings(None, store, base, &mut problems), None);
        let usual = settings(Some(json!({})), store, base, &mut problems).expect("a page");
        assert_eq!(usual.users, Path::new("/a/box.users.toml"));
        let shared = Some(json!({"users": "users.toml"}));
        let shared = settings(shared, store, base, &mut problems).expect("a page");
        assert_eq!(shared.users, Path::new("/etc/users.toml"));
        assert_eq!(usual.listen.to_string(), LISTEN);
        assert_eq!(usual.numbers, NumberForm::Point);
        let comma = Some(json!({"numbers": "comma"}));
        let comma = settings(comma, store, base, &mut problems).expect("a page");
        assert_eq!(comma.numbers, NumberForm::Comma);
        for own in ["127.0.0.1:9000", "127.1.2.3:1", "[::1]:8080"] {
            assert!(read(json!(own)).is_ok(), "{own}");
        }

        for open in [
            "0.0.0.0:8080",
            "10.0.0.7:8080",
            "[::]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            let refusal = read(json!(open)).expect_err(open);
            assert!(refusal.contains("in plain text; give tls"), "{refusal}");
        }

        let mut problems = Problems::new();
        let open = json!({"listen": "0.0.0.0:8443", "tls": {"certificate": "none.pem"}});
        settings(Some(open), store, base, &mut problems);
        let told = problems.to_string();
        assert!(told.contains("page.tls.key: missing"), "{told}");
        assert!(!told.contains("plain text"), "{told}");

        for wrong in [
            json!("8080"),
            json!("localhost:8080"),
            json!("127.0.0.1:0"),
            json!(8080),
        ] {
            let refusal = read(wrong.clone()).expect_err("no address");
            assert!(refusal.starts_with("page.listen: must be"), "{refusal}");
        }
    }
}
