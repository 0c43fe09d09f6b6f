//! TLS to the broker: its settings, checked before the first connection, and the reason of a handshake that failed,
//! in words for a person.
//!
//! The given CA alone is trusted, and the broker's certificate must be for the configured host.

use crate::base::pem::Chain;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use std::error::Error;
use std::sync::Arc;

/// Settings of a TLS connection; holding them is proof of a CA, and of a key that fits its
/// certificate.
#[derive(Clone)]
pub struct Tls(pub Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(keys hidden)")
    }
}

/// The store of the CAs that are trusted.
///
/// # Errors
/// When one of the certificates is none; in words.
pub fn roots(ca: Chain) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in it cannot be read: {error}"))?;
    }

    Ok(roots)
}

/// Makes the settings; `own` is the client's certificate and key, if the broker wants one.
///
/// # Errors
/// When the key does not fit its certificate; in words.
pub fn client(
    roots: RootCertStore,
    own: Option<(Chain, PrivateKeyDer<'static>)>,
) -> Result<Tls, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();

    let builder = versions
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots);

    let client = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        "does not fit the certificate; give the key that it was made for".into()
                    }
                    other => other.to_string(),
                })?
        }
    };

    Ok(Tls(Arc::new(client)))
}

/// Reason of a failed connection, and the way out; `None` when TLS was not the reason. The words hold
/// no time of today, so that the same fault is the same words.
pub fn reason(error: &(dyn Error + 'static), host: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(words(error, host));
        }

        // The source of an io::Error is not what it wraps but that one's source.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);

        next = wrapped
            .map(|wrapped| wrapped as &(dyn Error + 'static))
            .or_else(|| error.source());
    }

    None
}

fn words(error: &rustls::Error, host: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            format!("the broker's certificate {}", about_the_brokers(why, host))
        }
        rustls::Error::AlertReceived(alert) => about_ours(*alert),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS on this port; correct mqtt.port".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn about_the_brokers(why: &CertificateError, host: &str) -> String {
    let day = |time: &UnixTime| {
        let time = i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());

        time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
    };

    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "expired at {}; renew it, or set this machine's clock",
                day(not_after)
            )
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}; set the clocks", day(not_before))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // As `DnsName("broker")`, `IpAddress(10.0.0.1)`.
            let bare = |name: &String| {
                let inner = name
                    .split_once('(')
                    .map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));

                inner.trim_matches('"').to_owned()
            };

            let names: Vec<String> = presented.iter().map(bare).collect();
            let names = if names.is_empty() {
                "no host".to_owned()
            } else {
                names.join(", ")
            };

            format!(
                "is for {names}, not for {host}; correct mqtt.host, or give the broker a certificate for {host}"
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "was not signed by mqtt.tls.ca; give the CA that signed it".to_owned()
        }
        other => format!("is refused: {other}"),
    }
}

/// Reason of a broker that refuses our side of the handshake.
fn about_ours(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client's certificate; give mqtt.tls.certificate and key"
        }
        AlertDescription::CertificateExpired => {
            "our certificate (mqtt.tls.certificate) has expired; renew it"
        }
        // The second: it has a CA of that name, but with another key.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not know who signed our certificate (mqtt.tls.certificate); give it that CA"
        }
        AlertDescription::CertificateRevoked => {
            "our certificate (mqtt.tls.certificate) was revoked"
        }
        AlertDescription::ProtocolVersion => "it speaks older TLS than 1.2 only; update it",
        other => return format!("it refuses TLS with us: {other:?}"),
    };

    what.to_owned()
}
