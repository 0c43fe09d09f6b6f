//! TLS of the page: certificate and key out of PEM files, which are read again when they change.
//!
//! A certificate is renewed every few weeks or years, and a line should not be started again for it. A pair that
//! cannot be used leaves the one before in place, and is told by the line's health, as are the last
//! 21 days of a certificate.

use super::hosts::Names;
use crate::base::health::{Diagnostics, Health};
use crate::base::pem::{Chain, certificates, key};
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Time before the end of a certificate from which it is told.
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(21 * 24);
/// Diagnostics source of the page's certificate.
pub const PAGE_CERTIFICATE: &str = "page certificate";

/// The two files, out of `[page.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, its intermediates after it.
    pub certificate: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The key of `[page.tls]` that is to be mended.
    pub key: &'static str,
    /// Why, in words.
    pub words: String,
}

impl std::fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As every problem of a line's file: its key, then the words.
        write!(f, "page.tls.{}: {}", self.key, self.words)
    }
}

/// What is served now.
#[derive(Clone)]
struct Served {
    config: Arc<ServerConfig>,
    names: Names,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Certificate and key of a page.
pub struct PageTls {
    files: TlsFiles,
    served: Mutex<Served>,
    /// Times at which the files were changed last, as they were read.
    stamps: Mutex<[Option<SystemTime>; 2]>,
}

impl PageTls {
    /// Reads both files.
    ///
    /// # Errors
    /// When one cannot be read, or the key does not fit.
    pub fn open(files: &TlsFiles) -> Result<Self, TlsProblem> {
        let stamps = files.stamps();

        Ok(PageTls {
            served: Mutex::new(files.read()?),
            stamps: Mutex::new(stamps),
            files: files.clone(),
        })
    }

    /// Settings of the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.served().config.clone()
    }

    /// Names and addresses that the certificate is for.
    pub fn names(&self) -> Names {
        self.served().names.clone()
    }

    /// Reads the files again if they have changed, and tells how the certificate is.
    pub fn look(&self, causes: &Diagnostics, now: Timestamp) {
        let stamps = self.files.stamps();
        let mut known = lock(&self.stamps);
        let mut problem = None;

        if stamps != *known {
            match self.files.read() {
                Ok(served) => {
                    tracing::info!("page: the certificate was read again");

                    *self.served() = served;

                    *known = stamps;
                }

                // It is tried again at each look: the second of the two files may come in a moment.
                Err(found) => {
                    problem = Some(format!("{found}; the page goes on with the one before"))
                }
            }
        }

        // A pair that does not fit is told before the age of the one that is served.
        let cause = problem.or_else(|| self.served().age_words(now));

        match cause {
            Some(words) => causes.set(PAGE_CERTIFICATE, Health::MaintenanceRequired, words),
            None => causes.clear(PAGE_CERTIFICATE),
        }
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        lock(&self.served)
    }
}

impl Served {
    /// What is to be said of the certificate's age.
    fn age_words(&self, now: Timestamp) -> Option<String> {
        if now < self.not_before {
            return Some(format!(
                "it is not valid before {:.0}; set this machine's clock",
                self.not_before
            ));
        }

        if now >= self.not_after {
            return Some(format!("it expired at {:.0}; renew it", self.not_after));
        }

        let is_near = self.not_after.duration_since(now) < WARN_BEFORE;

        is_near.then(|| format!("it expires at {:.0}; renew it", self.not_after))
    }
}

impl TlsFiles {
    fn stamps(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;

            metadata.modified().ok()
        })
    }

    fn read(&self) -> Result<Served, TlsProblem> {
        // The certificate comes first: without it nothing can be said of the key.
        let problem = |key| move |words| TlsProblem { key, words };
        let chain = certificates(&self.certificate).map_err(problem("certificate"))?;
        let facts = facts(&chain, &self.certificate).map_err(problem("certificate"))?;
        let key = key(&self.key).map_err(problem("key"))?;
        let config = server(chain, key)?;
        let (names, not_before, not_after) = facts;

        Ok(Served {
            config: Arc::new(config),
            names,
            not_before,
            not_after,
        })
    }
}

fn server(chain: Chain, key: PrivateKeyDer<'static>) -> Result<ServerConfig, TlsProblem> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());

    let versions =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();

    let builder = versions
        .expect("ring knows TLS 1.2 and 1.3")
        .with_no_client_auth();

    // The key is held against the certificate here, and not at the first handshake.
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsProblem {
                key: "key",
                words: "does not fit the certificate; give the key that it was made for".to_owned(),
            },
            other => TlsProblem {
                key: "certificate",
                words: format!("it cannot be used: {other}"),
            },
        })?;

    config.alpn_protocols = vec![b"http/1.1".to_vec()];

    Ok(config)
}

/// Names and times of the first certificate of a chain.
fn facts(chain: &Chain, path: &Path) -> Result<(Names, Timestamp, Timestamp), String> {
    let broken = |why: String| format!("{}: the certificate cannot be read: {why}", path.display());

    let Some(first) = chain.first() else {
        return Err(broken("there is none".to_owned()));
    };

    let (_, certificate) =
        X509Certificate::from_der(first).map_err(|error| broken(error.to_string()))?;

    // Several kinds of names stand there; hosts are of two of them.
    let mut names = Names::default();
    let given = certificate.subject_alternative_name();
    let given = given.map_err(|error| broken(error.to_string()))?;
    let given = given.iter().flat_map(|names| &names.value.general_names);

    for name in given {
        match name {
            GeneralName::DNSName(name) => names.add_name(name),
            GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
            _ => {}
        }
    }

    // Browsers look at these names alone since 2017.
    if names.is_empty() {
        let words = "it names no host (subjectAltName), so that no browser would take it; make it for this machine's name";

        return Err(broken(words.to_owned()));
    }

    // A time beyond what can be told is never reached.
    let time = |seconds: i64| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let validity = certificate.validity();
    let not_before = time(validity.not_before.timestamp());
    let not_after = time(validity.not_after.timestamp());

    Ok((names, not_before, not_after))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }

    // Other lengths are no addresses: such a name fits nothing.
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;

    Some(sixteen.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    /// A certificate for `names` until the first day of `year`, and its key.
    fn pair(folder: &Path, name: &str, names: &[&str], year: i32) -> TlsFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("signed");
        let files = TlsFiles {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };

        std::fs::write(&files.certificate, signed.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    fn causes(tls: &PageTls, now: &str) -> Vec<String> {
        let causes = Diagnostics::default();
        tls.look(&causes, now.parse().expect("a time"));
        causes.all().1
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = pair(
            folder.path(),
            "good",
            &["box.plant", "10.0.0.7", "::1"],
            2030,
        );
        let tls = PageTls::open(&good).expect("it fits");
        for own in ["box.plant", "BOX.PLANT", "10.0.0.7", "::1"] {
            assert!(tls.names().has(own), "{own}");
        }

        assert!(!tls.names().has("other.plant"));
        let other = pair(folder.path(), "other", &["box.plant"], 2030);
        let nameless = pair(folder.path(), "nameless", &[], 2030);
        let with = |certificate: &Path, key: &Path| TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };

        let none = folder.path().join("none");
        let cases = [
            (
                with(&good.certificate, &other.key),
                "page.tls.key: does not fit",
            ),
            (with(&none, &good.key), "No such file"),
            (with(&good.certificate, &none), "page.tls.key: "),
            (with(&good.key, &good.key), "holds no certificate"),
            (
                with(&good.certificate, &good.certificate),
                "holds no private key",
            ),
            (nameless, "names no host"),
        ];

        for (files, words) in cases {
            let Err(problem) = PageTls::open(&files) else {
                panic!("{words}: it was taken");
            };

            assert!(problem.to_string().contains(words), "{problem}");
        }
    }

    #[test]
    fn a_certificate_tells_its_age() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = pair(folder.path(), "good", &["box.plant"], 2030);
        let tls = PageTls::open(&files).expect("it fits");
        for (now, words) in [
            ("2019-12-31T00:00:00Z", Some("not valid before 2020-01-01")),
            ("2029-06-01T00:00:00Z", None),
            ("2029-12-20T00:00:00Z", Some("expires at 2030-01-01")),
            ("2030-01-01T00:00:00Z", Some("expired at 2030-01-01")),
        ] {
            let told = causes(&tls, now);
            assert_eq!(told.len(), usize::from(words.is_some()), "{told:?}");
            let told = told.join("");
            assert!(told.contains(words.unwrap_or_default()), "{told}");
        }
    }

    #[test]
    fn a_renewed_pair_is_taken_over_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = pair(folder.path(), "good", &["box.plant"], 2030);
        let tls = PageTls::open(&files).expect("it fits");
        let now = "2029-06-01T00:00:00Z";
        let later = |files: &TlsFiles, seconds| {
            let time = SystemTime::now() + std::time::Duration::from_secs(seconds);
            for path in [&files.certificate, &files.key] {
                let file = std::fs::File::options().append(true).open(path);
                file.expect("it is there").set_modified(time).expect("set");
            }
        };

        pair(folder.path(), "good", &["new.plant"], 2030);
        later(&files, 5);
        assert_eq!(causes(&tls, now), [""; 0]);
        assert!(tls.names().has("new.plant"));

        std::fs::write(&files.key, "no key").expect("written");
        later(&files, 10);
        let told = causes(&tls, now).join("");
        assert!(told.contains("goes on with the one before"), "{told}");
        assert!(tls.names().has("new.plant"));
    }
}
