//! The security of the link to the broker, out of `[mqtt]`: TLS, secrets out of files, and no plain TCP by accident.

use super::table::TableReader;
use crate::base::pem;
use crate::base::problems::Problems;
use crate::base::secret::Secret;
use crate::mqtt::is_this_machine;
use crate::mqtt::tls::{self, Tls};
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Reads `password_file`; line ends after the password are no part of it.
pub fn password(table: &mut TableReader, base: &Path) -> Option<Secret> {
    // The secret never stands in the file itself, which people mail to each other.
    let path = secret_file(table, "password_file", base)?;

    // Editors and `echo` end a file with a line feed; a password with one at its end cannot be
    // meant.
    match std::fs::read_to_string(&path) {
        Ok(words) => {
            let word = words.trim_end_matches(['\r', '\n']);
            Some(Secret::new(word))
        }
        Err(error) => {
            let words = format!("{}: {error}", path.display());
            table.note("password_file", words);
            None
        }
    }
}

/// A file that may be a systemd credential: a name that is one there is that; else it is relative to `base`.
pub fn secret_file(table: &mut TableReader, key: &'static str, base: &Path) -> Option<PathBuf> {
    // systemd hands credentials over in a folder that only the service can read (systemd.exec(5)).
    let name = table.text(key)?;
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let credential = Path::new(&folder).join(&name);
        if credential.is_file() {
            return Some(credential);
        }
    }

    Some(base.join(name))
}

/// Plain TCP to another machine must be meant; with TLS the host must be what a certificate can be for.
pub fn check_host(table: &mut TableReader, host: &str, is_tls: bool) {
    // A password over plain TCP to another machine is readable by everybody between: it has to be
    // asked for in words.
    let allow_insecure = table.flag("allow_insecure").unwrap_or(false);
    if is_tls && ServerName::try_from(host).is_err() {
        table.note(
            "host",
            format!("{host:?} is neither a name nor an address, so no certificate can be for it"),
        );
    } else if !is_tls && !is_this_machine(host) && !allow_insecure {
        table.note(
            "host",
            format!(
                "{host:?} is another machine and the link is plain TCP; give tls = {{ ca = \"ca.pem\" }}, or say \
                 allow_insecure = true if that is meant"
            ),
        );
    }
}

/// Reads `tls = { ca, certificate, key }`; the last two come together, for a broker that wants a client's certificate.
pub fn tls(value: Value, base: &Path, problems: &mut Problems) -> Option<Tls> {
    // There is no way to switch the check of the broker's certificate off: `ca` is needed.
    let mut table = TableReader::new("mqtt.tls", value, problems);
    if !table.has("ca") {
        table.note(
            "ca",
            "missing: the certificate of whoever signed the broker's, in PEM",
        );
    }

    // Both keys are looked at before they are read: reading removes them from the table.
    let is_half = table.has("certificate") != table.has("key");
    let ca = read_pem(&mut table, "ca", base, pem::certificates);
    let roots = ca.and_then(|ca| table.check("ca", tls::roots(ca)));
    if is_half {
        table.note(
            "certificate",
            "certificate and key come together; give both or none",
        );
    }

    // Files are read at the start of the line, so that a wrong one is a configuration error, not a
    // broker that is never found.
    let chain = read_pem(&mut table, "certificate", base, pem::certificates);
    let key = read_pem(&mut table, "key", base, pem::key);
    let client = roots.and_then(|roots| table.check("key", tls::client(roots, chain.zip(key))));
    table.finish();
    client
}

fn read_pem<T>(
    table: &mut TableReader,
    key: &'static str,
    base: &Path,
    read: impl FnOnce(&Path) -> Result<T, String>,
) -> Option<T> {
    let path = secret_file(table, key, base)?;
    table.check(key, read(&path))
}
