//! Certificates and keys out of PEM files.

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// A certificate, its intermediates after it.
pub type Chain = Vec<CertificateDer<'static>>;

/// The certificates of a PEM file, in its order, at least one.
///
/// # Errors
/// When the file cannot be read or holds none; in words, with the file's name.
pub fn certificates(path: &Path) -> Result<Chain, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);

    match read {
        Ok(chain) if chain.is_empty() => Err(not_pem(path, "certificate", &PemError::NoItemsFound)),
        read => read.map_err(|error| not_pem(path, "certificate", &error)),
    }
}

/// The first private key of a PEM file (PKCS #8, PKCS #1 or SEC 1, not encrypted).
///
/// # Errors
/// When the file cannot be read or holds none; in words, with the file's name.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| not_pem(path, "private key", &error))
}

fn not_pem(path: &Path, what: &str, error: &PemError) -> String {
    let path = path.display();

    match error {
        PemError::Io(error) => format!("{path}: {error}"),
        PemError::NoItemsFound if what == "private key" => {
            format!("{path} holds no private key in PEM; an encrypted one cannot be used")
        }
        PemError::NoItemsFound => format!("{path} holds no {what} in PEM"),
        other => format!("{path} is broken PEM: {other}"),
    }
}
