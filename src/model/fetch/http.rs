//! HTTP as a fetch needs it: the client, words for its errors, and what an answer's headers tell.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderName, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error as HttpError};

/// Longest time of a server to answer, and between two pieces of a file.
const PATIENCE: Duration = Duration::from_secs(60);

/// HTTP client with the system's CAs, proxies from the environment, and every status as an answer.
pub fn agent() -> Agent {
    // The CAs are the system's rather than a built-in list, as plants run proxies with CAs of their
    // own. Certificates that cannot be read are left out.
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();

    // The provider is named here, since the process installs no default one.
    let provider = rustls::crypto::ring::default_provider();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();

    // Statuses are answers rather than errors, because `refused` says what each of them means.
    // There is no limit on the whole: a model may take an hour.
    Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("winspect/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .build()
        .new_agent()
}

/// Words for an error of the network.
pub fn unreachable_because(error: &HttpError) -> String {
    let words = error.to_string();

    // The causes are tried in the order of how surely they can be told.
    if let HttpError::Io(error) = error
        && error.kind() == ErrorKind::ConnectionRefused
    {
        return "nobody listens there (connection refused)".to_owned();
    }

    // The standard library has no kind for it.
    if matches!(error, HttpError::HostNotFound) || words.contains("lookup address") {
        return "the host is not found (no internet, or no name service)".to_owned();
    }

    // Each of the TLS library's refusals of a certificate holds this word.
    if words.contains("certificate") {
        return format!(
            "{words}: this machine's CAs (package ca-certificates, or SSL_CERT_FILE) do not vouch for the server"
        );
    }

    words
}

/// The version in an answer that `If-Range` can name: a strong ETag, or else a date (RFC 9110, 13.1.5).
pub fn version_of(headers: &HeaderMap) -> Option<String> {
    // A weak tag (`W/`) names files that are alike, not files whose bytes are the same.
    let strong = header_text(headers, header::ETAG).filter(|tag| !tag.starts_with("W/"));
    let version = strong.or_else(|| header_text(headers, header::LAST_MODIFIED))?;

    Some(version.to_owned())
}

/// True if `Content-Range: bytes 10-19/20` begins at `have`.
pub fn begins_at(headers: &HeaderMap, have: u64) -> bool {
    let range = header_text(headers, header::CONTENT_RANGE);

    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

pub fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
