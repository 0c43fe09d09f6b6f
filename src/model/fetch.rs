//! From the hub to a model folder: download beside the target, check, import.
//!
//! `DIR.download/` holds what is under way. A file is `NAME.part` until all of it is there and its checksum is right, so
//! that a file under its own name is whole. `NAME.part.version` is what the server called that version of the file (ETag or
//! date): the rest is asked for under `If-Range`, and a server that has another version, or no ranges, sends all of it again.

use super::catalogue::{Entry, Wanted};
use super::import::{Origin, import_from, vacant};
use super::{ModelError, ModelFolder};
use crate::base::hex::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error as HttpError};

/// How long a server may take to answer, and between two pieces of a file.
const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 256 << 10;

/// What is going on, for whoever watches.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A file begins: its name, how much of it is there already, and all of it where the server said so.
    File {
        name: &'a str,
        have: u64,
        total: Option<u64>,
    },
    /// Bytes of the file that are there now.
    Bytes(u64),
    /// The downloads are done, and a step of the import begins.
    Step(&'a str),
}

/// What to fetch, from where and to where.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub entry: &'a Entry,
    /// The folder of the files: `https://mirror/folder`.
    pub base_url: &'a str,
    /// The model folder to make; an imported model there is replaced.
    pub folder: &'a Path,
    /// The downloaded files stay.
    pub keep: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The network, the server or the disk: going on later may help. In words.
    #[error("{0}")]
    Unavailable(String),
    /// What came is not what it has to be. In words.
    #[error("{0}")]
    Content(String),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Fetches a model and imports it. What was downloaded before a failure is gone on with by the next call.
///
/// # Errors
/// [`FetchError`], with the way out; `folder` is then as it was.
pub fn fetch(order: Order, progress: &dyn Fn(Progress)) -> Result<ModelFolder, FetchError> {
    vacant(order.folder)?;
    let download = Download::new(order, progress)?;
    let sha256 = download.files().inspect_err(|_| {
        // It goes where nothing came: a folder with something in it cannot be removed so.
        let _ = std::fs::remove_dir(&download.folder);
    })?;
    let origin = Origin {
        source: order.entry.source(),
        licence: order.entry.licence.clone(),
        sha256,
    };
    let imported = import_from(&download.folder, origin, order.folder, &|step| {
        progress(Progress::Step(step))
    });
    let model = imported.map_err(|error| download.unimported(error))?;
    if !order.keep {
        std::fs::remove_dir_all(&download.folder)
            .map_err(|error| disk(&download.folder, &error))?;
    }
    Ok(model)
}

/// The downloads of one model.
struct Download<'a> {
    order: Order<'a>,
    progress: &'a dyn Fn(Progress),
    folder: PathBuf,
    agent: Agent,
    /// Checksums that an earlier fetch of the same source recorded.
    recorded: BTreeMap<String, String>,
}

/// A server's answer: what it sends from where on.
struct Answer {
    body: Body,
    have: u64,
    total: Option<u64>,
    version: Option<String>,
}

impl<'a> Download<'a> {
    fn new(order: Order<'a>, progress: &'a dyn Fn(Progress)) -> Result<Self, FetchError> {
        let name = order.folder.file_name().ok_or_else(|| {
            FetchError::Content(format!(
                "{}: has no name; give the model folder to make",
                order.folder.display()
            ))
        })?;
        let folder = order
            .folder
            .with_file_name(format!("{}.download", name.to_string_lossy()));
        std::fs::create_dir_all(&folder).map_err(|error| disk(&folder, &error))?;
        let earlier = ModelFolder::open(order.folder)
            .ok()
            .filter(|model| model.source == order.entry.source());
        let recorded = earlier.map(|model| model.downloaded).unwrap_or_default();
        Ok(Download {
            order,
            progress,
            folder,
            agent: agent(),
            recorded,
        })
    }

    /// Brings all files; their checksums.
    fn files(&self) -> Result<BTreeMap<String, String>, FetchError> {
        self.order
            .entry
            .files
            .iter()
            .map(|file| Ok((file.name.clone(), self.file(file)?)))
            .collect()
    }

    /// Brings one file, or goes on with it; its checksum.
    fn file(&self, file: &Wanted) -> Result<String, FetchError> {
        let path = self.folder.join(&file.name);
        let part = self.folder.join(format!("{}.part", file.name));
        if path.exists() {
            return self.checked(file, &path);
        }
        self.bring(&file.name, &part)?;
        let sum = self.checked(file, &part)?;
        std::fs::rename(&part, &path).map_err(|error| disk(&path, &error))?;
        // Best effort: without its part it says nothing any more.
        let _ = std::fs::remove_file(version_file(&part));
        Ok(sum)
    }

    /// Makes a `.part` whole.
    fn bring(&self, name: &str, part: &Path) -> Result<(), FetchError> {
        let mut out = open_part(part)?;
        let have = out.metadata().map_err(|error| disk(part, &error))?.len();
        let version = std::fs::read_to_string(version_file(part)).ok();
        let mut answer = self.ask(name, have, version.as_deref()).inspect_err(|_| {
            if have == 0 {
                // Best effort: an empty part says nothing.
                let _ = std::fs::remove_file(part);
            }
        })?;
        (self.progress)(Progress::File {
            name,
            have: answer.have,
            total: answer.total,
        });
        if answer.have != have {
            out.set_len(answer.have)
                .map_err(|error| disk(part, &error))?;
        }
        let version = answer.version.as_deref().unwrap_or_default();
        std::fs::write(version_file(part), version).map_err(|error| disk(part, &error))?;
        self.copy(name, &mut answer, &mut out, part)
    }

    /// Asks for what is missing, or for all of it where that cannot be had.
    fn ask(&self, name: &str, have: u64, version: Option<&str>) -> Result<Answer, FetchError> {
        let url = format!("{}/{name}", self.order.base_url.trim_end_matches('/'));
        let failed = |error: HttpError| self.unreachable(&url, &error);
        if let Some(version) = version.filter(|version| have > 0 && !version.is_empty()) {
            let rest = self
                .agent
                .get(&url)
                .header(header::RANGE, format!("bytes={have}-"));
            let response = rest
                .header(header::IF_RANGE, version)
                .call()
                .map_err(failed)?;
            let same = version_of(response.headers()).is_none_or(|now| now == version);
            match response.status() {
                StatusCode::PARTIAL_CONTENT if same && begins_at(response.headers(), have) => {
                    let mut answer = Answer::new(response, have);
                    answer.version = Some(version.to_owned());
                    return Ok(answer);
                }
                StatusCode::OK => return Ok(Answer::new(response, 0)),
                // Another version, another range, or no such range: from the beginning.
                _ => {}
            }
        }
        let response = self.agent.get(&url).call().map_err(failed)?;
        match response.status() {
            StatusCode::OK => Ok(Answer::new(response, 0)),
            status => Err(self.refused(&url, status)),
        }
    }

    fn copy(
        &self,
        name: &str,
        answer: &mut Answer,
        out: &mut File,
        part: &Path,
    ) -> Result<(), FetchError> {
        let mut body = answer.body.as_reader();
        let mut piece = vec![0; PIECE];
        let mut have = answer.have;
        let short = |have: u64, why: &str| {
            let total = answer
                .total
                .map_or("an unknown number of".to_owned(), |total| total.to_string());
            let next = if answer.version.is_some() {
                "goes on from there"
            } else {
                "begins again (no ETag, no date)"
            };
            FetchError::Unavailable(format!(
                "{name}: the download broke off after {have} of {total} bytes ({why}); running it again {next}"
            ))
        };
        loop {
            let count = body
                .read(&mut piece)
                .map_err(|error| short(have, &error.to_string()))?;
            if count == 0 {
                break;
            }
            out.write_all(&piece[..count])
                .map_err(|error| full(part, &error, have, answer.total))?;
            have += count as u64;
            (self.progress)(Progress::Bytes(have));
        }
        if answer.total.is_some_and(|total| total != have) {
            Err(short(have, "the server sent no more"))
        } else {
            Ok(())
        }
    }

    /// The checksum of a whole file, when it is what the catalogue or an earlier fetch says; else it is put aside.
    fn checked(&self, file: &Wanted, path: &Path) -> Result<String, FetchError> {
        let found = checksum(path).map_err(|error| disk(path, &error))?;
        let known = file
            .sha256
            .as_ref()
            .map(|sum| (sum, "the catalogue".to_owned()));
        let earlier = || {
            let place = format!(
                "an earlier fetch: {0}/model.toml; remove {0} to take another",
                self.order.folder.display()
            );
            self.recorded.get(&file.name).map(|sum| (sum, place))
        };
        if let Some((expected, by)) = known
            .or_else(earlier)
            .filter(|(expected, _)| **expected != found)
        {
            let why = format!("sha256 is {found}, {expected} is expected (by {by})");
            return Err(self.put_aside(file, path, &why));
        }
        let holds =
            |text: &String| std::fs::read_to_string(path).is_ok_and(|all| all.contains(text));
        match file.contains.as_ref().filter(|text| !holds(text)) {
            Some(text) => Err(self.put_aside(file, path, &format!("does not contain {text:?}"))),
            None => Ok(found),
        }
    }

    fn put_aside(&self, file: &Wanted, path: &Path, why: &str) -> FetchError {
        let bad = self.folder.join(format!("{}.bad", file.name));
        // Best effort: without its part it says nothing any more.
        let _ = std::fs::remove_file(version_file(path));
        match std::fs::rename(path, &bad) {
            Err(error) => disk(&bad, &error),
            Ok(()) => FetchError::Content(format!(
                "{}: {why}; the file was put aside as {}. Running it again fetches it anew; when that is the same, {} \
                 serves another file than the one that is known",
                file.name,
                bad.display(),
                self.order.base_url
            )),
        }
    }

    /// The way out where the network does not lead to the files.
    fn elsewhere(&self) -> String {
        let names: Vec<_> = self
            .order
            .entry
            .files
            .iter()
            .map(|file| file.name.as_str())
            .collect();
        format!(
            "give a mirror with --base-url, or on another machine fetch {} from {}, bring them here in a folder and run: \
             winspect model import FOLDER {}",
            names.join(", "),
            self.order.entry.url(),
            self.order.folder.display()
        )
    }

    fn unreachable(&self, url: &str, error: &HttpError) -> FetchError {
        let words = error.to_string();
        let why = match error {
            HttpError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                "nobody listens there (connection refused)".to_owned()
            }
            // The standard library has no kind for it.
            _ if matches!(error, HttpError::HostNotFound) || words.contains("lookup address") => {
                "the host is not found (no internet, or no name service)".to_owned()
            }
            _ if words.contains("certificate") => format!(
                "{words}: this machine's CAs (package ca-certificates, or SSL_CERT_FILE) do not vouch for the server"
            ),
            _ => words,
        };
        let proxy = self
            .agent
            .config()
            .proxy()
            .map_or_else(String::new, |proxy| {
                format!(
                    " (the environment names a proxy: {}:{})",
                    proxy.host(),
                    proxy.port()
                )
            });
        FetchError::Unavailable(format!("{url}: {why}{proxy}; {}", self.elsewhere()))
    }

    fn refused(&self, url: &str, status: StatusCode) -> FetchError {
        let why = match status.as_u16() {
            401 | 403 => "it is not given to everybody",
            404 | 410 => "it is not there",
            429 | 500..=599 => "the server cannot now; try later",
            _ => "only 200 is understood",
        };
        FetchError::Unavailable(format!("{url}: HTTP {status}: {why}; {}", self.elsewhere()))
    }

    /// What came whole and is no model would be taken again: the words say how to get rid of it.
    fn unimported(&self, error: ModelError) -> FetchError {
        let kept = format!(
            "{error}; what was downloaded is kept in {}",
            self.folder.display()
        );
        match error {
            ModelError::Write { .. } => {
                FetchError::Unavailable(format!("{kept}: make room and run it again"))
            }
            _ => FetchError::Content(format!("{kept}: remove it to fetch it anew")),
        }
    }
}

impl Answer {
    fn new(response: Response<Body>, have: u64) -> Self {
        let total = response.body().content_length().map(|rest| have + rest);
        Answer {
            have,
            total,
            version: version_of(response.headers()),
            body: response.into_body(),
        }
    }
}

/// The system's CAs, proxies from the environment, and a status that is no error until we say so.
fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("winspect/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    config.build().new_agent()
}

/// What `If-Range` can name: a strong ETag, or else a date (RFC 9110, 13.1.5).
fn version_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let strong = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    strong
        .or_else(|| text(header::LAST_MODIFIED))
        .map(str::to_owned)
}

/// Whether `Content-Range: bytes 10-19/20` begins where we are.
fn begins_at(headers: &HeaderMap, have: u64) -> bool {
    let range = headers
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn version_file(part: &Path) -> PathBuf {
    part.with_added_extension("version")
}

/// Opened for appending, and ours alone: two fetches would mix their bytes.
fn open_part(part: &Path) -> Result<File, FetchError> {
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(part)
        .map_err(|error| disk(part, &error))?;
    match out.try_lock() {
        Err(TryLockError::WouldBlock) => Err(FetchError::Unavailable(format!(
            "{}: another fetch is at it; wait for its end",
            part.display()
        ))),
        // A file system without locks: as good as before there were any.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(out),
    }
}

fn checksum(path: &Path) -> std::io::Result<String> {
    let (mut file, mut sum, mut piece) = (File::open(path)?, Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&sum.finalize())),
            count => sum.update(&piece[..count]),
        }
    }
}

fn disk(path: &Path, error: &std::io::Error) -> FetchError {
    FetchError::Unavailable(format!("{}: {error}", path.display()))
}

fn full(part: &Path, error: &std::io::Error, have: u64, total: Option<u64>) -> FetchError {
    let missing = total.map_or_else(
        || "the rest".to_owned(),
        |total| format!("{} bytes", total.saturating_sub(have)),
    );
    FetchError::Unavailable(format!(
        "cannot write {}: {error}; make room for {missing} and as much again for the import, then run it again: it goes on",
        part.display()
    ))
}
