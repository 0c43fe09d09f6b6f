//! Download of a model from the hub to a model folder: download beside the target, check, import.
//!
//! `DIR.download/` holds the files on their way. A file is `NAME.part` until all of it is there and its
//! checksum is right, so that a file under its own name is whole. `NAME.part.version` is the server's
//! name for that version of the file (ETag or date): the rest is asked for under `If-Range`, and a
//! server that has another version, or no ranges, sends all of it again.

use crate::model::catalogue::{CatalogueFile, CatalogueModel};
use crate::model::error::ModelError;
use crate::model::folder::{ModelFolder, sha256_of};
use crate::model::import::{Origin, check_vacant, import_from};
use http::{agent, begins_at, unreachable_because, version_of};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Error as HttpError};

mod http;

/// Bytes that are read and written at once.
const PIECE: usize = 256 << 10;

/// Progress of a fetch, for the person who watches.
#[derive(Debug)]
pub enum FetchProgress<'a> {
    /// A file begins.
    File {
        /// The file's name.
        name: &'a str,
        /// Bytes of it that are there already.
        have: u64,
        /// Size of the file in bytes. `None` if the server did not say.
        total: Option<u64>,
    },
    /// Bytes of the file that are there now.
    Bytes(u64),
    /// The downloads are done, and a step of the import begins.
    Step(&'a str),
}

/// Request to fetch a model.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// The model.
    pub model: &'a CatalogueModel,
    /// The folder of the files: `https://mirror/folder`.
    pub base_url: &'a str,
    /// The model folder to make; an imported model there is replaced.
    pub folder: &'a Path,
    /// True if the downloaded files stay.
    pub keep: bool,
}

/// Error of a fetch.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The network, the server or the disk failed, in words: another try later may help.
    #[error("{0}")]
    Unavailable(String),
    /// The files are not the model's, in words.
    #[error("{0}")]
    Content(String),
    /// The folder cannot be a model's.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Fetches a model and imports it. A later call goes on with what was downloaded before a failure.
///
/// # Errors
/// [`FetchError`], with the way out; the model folder is then as it was.
pub fn fetch(
    request: FetchRequest,
    progress: &dyn Fn(FetchProgress),
) -> Result<ModelFolder, FetchError> {
    // The folder is checked before the download: a refusal after gigabytes would come late.
    check_vacant(request.folder)?;
    let download = Download::new(request, progress)?;

    // The checksums go by the names of the files. A failure keeps what came, for the next try.
    let sha256 = download.files().inspect_err(|_| {
        // Removes the folder if nothing came: one with files in it cannot be removed so.
        let _ = std::fs::remove_dir(&download.folder);
    })?;

    // The manifest names the repository and its commit rather than the download folder.
    let origin = Origin {
        source: request.model.source(),
        licence: request.model.licence.clone(),
        sha256,
        default_block: request.model.block.clone(),
    };

    // The import writes beside the target and renames, so that a model that is in use stays whole
    // until then.
    let model = import_from(&download.folder, origin, request.folder, &|step| {
        progress(FetchProgress::Step(step))
    })
    .map_err(|error| download.unimported(error))?;

    // The downloads are removed only now: after a failed import the next try takes them again.
    if !request.keep {
        std::fs::remove_dir_all(&download.folder)
            .map_err(|error| disk(&download.folder, &error))?;
    }

    Ok(model)
}

/// The downloads of one model.
struct Download<'a> {
    request: FetchRequest<'a>,
    progress: &'a dyn Fn(FetchProgress),
    folder: PathBuf,
    agent: Agent,
    /// Checksums that an earlier fetch of the same source recorded.
    recorded: BTreeMap<String, String>,
}

/// Answer of a server.
struct ServerAnswer {
    body: Body,
    /// Byte of the file at which the body begins.
    have: u64,
    /// Size of the file in bytes. `None` if the server did not say.
    total: Option<u64>,
    /// The server's name for this version of the file. `None` if it has none.
    version: Option<String>,
}

impl<'a> Download<'a> {
    fn new(
        request: FetchRequest<'a>,
        progress: &'a dyn Fn(FetchProgress),
    ) -> Result<Self, FetchError> {
        // A path such as `/` or `..` has no last name, beside which the downloads could lie.
        let Some(name) = request.folder.file_name() else {
            return Err(FetchError::Content(format!(
                "{}: has no name; give the model folder to make",
                request.folder.display()
            )));
        };

        // The downloads lie beside the target, on the same disk, so that the import reads locally.
        // A fetch of another model into the same folder goes on with files of the same names only
        // if their checksums fit.
        let name = format!("{}.download", name.to_string_lossy());
        let folder = request.folder.with_file_name(name);
        std::fs::create_dir_all(&folder).map_err(|error| disk(&folder, &error))?;
        Ok(Download {
            request,
            progress,
            folder,
            agent: agent(),
            recorded: recorded_checksums(&request),
        })
    }

    /// Brings all files, and returns their checksums by name.
    fn files(&self) -> Result<BTreeMap<String, String>, FetchError> {
        // Files come one after the other: a hub's bandwidth is shared anyway, and a failure leaves
        // at most one part that has to go on.
        let mut sums = BTreeMap::new();

        for file in &self.request.model.files {
            sums.insert(file.name.clone(), self.file(file)?);
        }

        Ok(sums)
    }

    /// Brings one file, or goes on with it, and returns its checksum.
    fn file(&self, file: &CatalogueFile) -> Result<String, FetchError> {
        // A file under its own name is whole, but it may be from another revision of the catalogue:
        // its checksum is checked again.
        let path = self.folder.join(&file.name);
        let part = self.folder.join(format!("{}.part", file.name));

        if path.exists() {
            return self.checked(file, &path);
        }

        // The name is given only after the checksum was right; see the module's documentation.
        self.bring(file, &part)?;
        let sum = self.checked(file, &part)?;
        std::fs::rename(&part, &path).map_err(|error| disk(&path, &error))?;

        // Best effort: without its part it says nothing any more.
        let _ = std::fs::remove_file(version_file(&part));

        Ok(sum)
    }

    /// Makes a `.part` whole.
    fn bring(&self, file: &CatalogueFile, part: &Path) -> Result<(), FetchError> {
        let name = file.name.as_str();

        // The lock on the part is held until `out` is dropped at the end of this function.
        let mut out = open_part(part)?;
        let metadata = out.metadata().map_err(|error| disk(part, &error))?;
        let have = metadata.len();

        // Without the version of the first bytes the rest could be of another file, and all of it
        // is asked for again.
        let version = std::fs::read_to_string(version_file(part)).ok();
        let answer = self.ask(name, have, version.as_deref());
        let mut answer = answer.inspect_err(|_| {
            if have == 0 {
                // Best effort: an empty part says nothing.
                let _ = std::fs::remove_file(part);
            }
        })?;

        self.check_size(file, answer.total.unwrap_or(answer.have))?;
        (self.progress)(FetchProgress::File {
            name,
            have: answer.have,
            total: answer.total,
        });

        // Where the server starts the file anew, bytes of the earlier version are dropped. The part
        // is in append mode, so that the next write follows at the new end.
        if answer.have != have {
            out.set_len(answer.have)
                .map_err(|error| disk(part, &error))?;
        }

        // The version is written before the first byte of the body, since a crash may come at any
        // later moment. An empty one means that the server has none.
        let version = answer.version.as_deref().unwrap_or_default();
        std::fs::write(version_file(part), version).map_err(|error| disk(part, &error))?;

        self.copy(file, &mut answer, &mut out, part)
    }

    /// Refuses a size that the file cannot have: a mirror must not fill the disk with another one.
    fn check_size(&self, file: &CatalogueFile, bytes: u64) -> Result<(), FetchError> {
        let most = file.bytes_max();

        if bytes <= most {
            return Ok(());
        }

        // What has come of it is of no use, and would be gone on with.
        let part = self.folder.join(format!("{}.part", file.name));
        let _ = std::fs::remove_file(version_file(&part));
        let _ = std::fs::remove_file(&part);
        Err(FetchError::Content(format!(
            "{}: the server sends {bytes} bytes or more, and the file has at most {most}; {} serves another file",
            file.name, self.request.base_url
        )))
    }

    /// Asks for the missing rest, or for all of it where the rest cannot be had.
    fn ask(
        &self,
        name: &str,
        have: u64,
        version: Option<&str>,
    ) -> Result<ServerAnswer, FetchError> {
        // The name is plain, as the catalogue checked: nothing in it needs escaping.
        let url = format!("{}/{name}", self.request.base_url.trim_end_matches('/'));

        // Only a part with bytes and a known version can go on.
        if let Some(version) = version
            && have > 0
            && !version.is_empty()
            && let Some(answer) = self.ask_for_rest(&url, have, version)?
        {
            return Ok(answer);
        }

        // The file is asked for from its beginning. Redirects are followed by the client; every
        // other status comes here.
        let response = self.agent.get(&url).call();
        let response = response.map_err(|error| self.unreachable(&url, &error))?;

        match response.status() {
            StatusCode::OK => Ok(ServerAnswer::new(response, 0)),
            status => Err(self.refused(&url, status)),
        }
    }

    /// Asks for the bytes from `have` on, if the file still has this version. `None` if it has another
    /// one, or the server gives another range or none: the file must be asked for from its beginning.
    fn ask_for_rest(
        &self,
        url: &str,
        have: u64,
        version: &str,
    ) -> Result<Option<ServerAnswer>, FetchError> {
        // A server without ranges ignores the header and answers 200 with the whole file.
        let request = self
            .agent
            .get(url)
            .header(header::RANGE, format!("bytes={have}-"))
            .header(header::IF_RANGE, version);

        let response = request
            .call()
            .map_err(|error| self.unreachable(url, &error))?;

        // A proxy between may answer with another version or another range than was asked for; the
        // bytes are only joined if both fit.
        let headers = response.headers();
        let is_same = version_of(headers).is_none_or(|now| now == version);
        let is_rest = is_same && begins_at(headers, have);

        match response.status() {
            // The version stays the one that was asked for, since a partial answer may leave it
            // out.
            StatusCode::PARTIAL_CONTENT if is_rest => {
                let answer = ServerAnswer::new(response, have);
                Ok(Some(ServerAnswer {
                    version: Some(version.to_owned()),
                    ..answer
                }))
            }

            StatusCode::OK => Ok(Some(ServerAnswer::new(response, 0))),
            _ => Ok(None),
        }
    }

    /// Copies the answer's body to the end of the part.
    fn copy(
        &self,
        file: &CatalogueFile,
        answer: &mut ServerAnswer,
        out: &mut File,
        part: &Path,
    ) -> Result<(), FetchError> {
        // A later try can go on only if this answer named its version.
        let name = file.name.as_str();
        let total = answer.total;
        let can_go_on = answer.version.is_some();
        let mut body = answer.body.as_reader();
        let mut piece = vec![0; PIECE];

        // `have` is the bytes of the file that are on the disk, for the progress and for the words
        // of an error.
        let mut have = answer.have;

        loop {
            // A read that waits longer than `PATIENCE` is an error, too.
            let count = body
                .read(&mut piece)
                .map_err(|error| broken_off(name, have, total, can_go_on, &error.to_string()))?;

            if count == 0 {
                break;
            }

            // A server that did not say how much it sends is stopped at the bound.
            self.check_size(file, have + count as u64)?;
            out.write_all(&piece[..count])
                .map_err(|error| full(part, &error, have, total))?;

            have += count as u64;
            (self.progress)(FetchProgress::Bytes(have));
        }

        // An early end of the body is no error of the connection where the server closes it
        // orderly, so the length is compared.
        if total.is_some_and(|total| total != have) {
            let why = "the server sent no more";
            return Err(broken_off(name, have, total, can_go_on, why));
        }

        Ok(())
    }

    /// The checksum of a whole file, if the file is what the catalogue or an earlier fetch says; else
    /// it is put aside.
    fn checked(&self, file: &CatalogueFile, path: &Path) -> Result<String, FetchError> {
        // The file is hashed from the disk and not while it came: a part may be of several tries.
        let found = sha256_of(path).map_err(|error| disk(path, &error))?;

        if let Some((expected, origin)) = self.expected(file)
            && *expected != found
        {
            let why = format!("sha256 is {found}, {expected} is expected (by {origin})");
            return Err(self.put_aside(file, path, &why));
        }

        // A text is looked for in files without a checksum, whose content may change in ways that
        // do not matter.
        if let Some(text) = &file.contains
            && !contains(path, text)
        {
            return Err(self.put_aside(file, path, &format!("does not contain {text:?}")));
        }

        Ok(found)
    }

    /// The expected checksum and its origin. `None` if none is known.
    fn expected<'b>(&'b self, file: &'b CatalogueFile) -> Option<(&'b String, String)> {
        // The catalogue's word goes before what an earlier fetch saw.
        if let Some(sum) = &file.sha256 {
            return Some((sum, "the catalogue".to_owned()));
        }

        // An earlier fetch is trusted: another content under the same commit is told, with the way
        // to accept it.
        let sum = self.recorded.get(&file.name)?;
        let folder = self.request.folder.display();
        let origin =
            format!("an earlier fetch: {folder}/model.toml; remove {folder} to take another");

        Some((sum, origin))
    }

    fn put_aside(&self, file: &CatalogueFile, path: &Path, why: &str) -> FetchError {
        // The file is renamed rather than removed, so that it can be looked at; a later one
        // replaces it.
        let bad = self.folder.join(format!("{}.bad", file.name));

        // Best effort: without its part it says nothing any more.
        let _ = std::fs::remove_file(version_file(path));

        if let Err(error) = std::fs::rename(path, &bad) {
            return disk(&bad, &error);
        }

        FetchError::Content(format!(
            "{}: {why}; the file was put aside as {}. Running it again fetches it anew; when that is the same, {} \
             serves another file than the one that is known",
            file.name,
            bad.display(),
            self.request.base_url
        ))
    }

    /// The way out where the network does not lead to the files.
    fn elsewhere(&self) -> String {
        // All files are named, as a person has to fetch them by hand.
        let files = self.request.model.files.iter();
        let names: Vec<&str> = files.map(|file| file.name.as_str()).collect();
        format!(
            "give a mirror with --base-url, or on another machine fetch {} from {}, bring them here in a folder and run: \
             winspect model import FOLDER {}",
            names.join(", "),
            self.request.model.url(),
            self.request.folder.display()
        )
    }

    fn unreachable(&self, url: &str, error: &HttpError) -> FetchError {
        // The proxy is named because a wrong one in the environment is the most frequent cause that
        // the error itself does not show.
        let why = unreachable_because(error);
        let proxy = match self.agent.config().proxy() {
            Some(proxy) => {
                let host = proxy.host();
                let port = proxy.port();

                format!(" (the environment names a proxy: {host}:{port})")
            }

            None => String::new(),
        };

        FetchError::Unavailable(format!("{url}: {why}{proxy}; {}", self.elsewhere()))
    }

    fn refused(&self, url: &str, status: StatusCode) -> FetchError {
        // The statuses that a hub or a mirror gives have words; the others are named by number.
        let why = match status.as_u16() {
            401 | 403 => "it is not given to everybody",
            404 | 410 => "it is not there",
            429 | 500..=599 => "the server cannot now; try later",
            _ => "only 200 is understood",
        };

        FetchError::Unavailable(format!("{url}: HTTP {status}: {why}; {}", self.elsewhere()))
    }

    /// The error of files that came whole and are no model. They would be taken again: the words say
    /// how to get rid of them.
    fn unimported(&self, error: ModelError) -> FetchError {
        let folder = self.folder.display();

        // A disk that is full is the only failure that another try can mend.
        let kept = format!("{error}; what was downloaded is kept in {folder}");

        match error {
            ModelError::Write { .. } => {
                FetchError::Unavailable(format!("{kept}: make room and run it again"))
            }

            _ => FetchError::Content(format!("{kept}: remove it to fetch it anew")),
        }
    }
}

impl ServerAnswer {
    fn new(response: Response<Body>, have: u64) -> Self {
        // The length is that of the body alone: a partial answer begins at `have`.
        let rest = response.body().content_length();
        ServerAnswer {
            have,
            total: rest.map(|rest| have + rest),
            version: version_of(response.headers()),
            body: response.into_body(),
        }
    }
}

/// Checksums in the model folder that is there, if it was made of the same source.
fn recorded_checksums(request: &FetchRequest) -> BTreeMap<String, String> {
    // A folder that cannot be opened has no checksums to hold against the files.
    match ModelFolder::open(request.folder) {
        Ok(earlier) if earlier.source == request.model.source() => earlier.downloaded,
        _ => BTreeMap::new(),
    }
}

fn version_file(part: &Path) -> PathBuf {
    part.with_added_extension("version")
}

/// Opens a part for appending, and locks it: two fetches would mix their bytes.
fn open_part(part: &Path) -> Result<File, FetchError> {
    // The part is opened for appending, so that what is there stays; the lock comes after, because
    // it needs the open file.
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

/// True if the file is text with `text` in it.
fn contains(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|all| all.contains(text))
}

fn disk(path: &Path, error: &std::io::Error) -> FetchError {
    FetchError::Unavailable(format!("{}: {error}", path.display()))
}

/// The error of a full disk.
fn full(part: &Path, error: &std::io::Error, have: u64, total: Option<u64>) -> FetchError {
    // The import writes the same weights again, so as much room is needed twice.
    let missing = match total {
        Some(total) => format!("{} bytes", total.saturating_sub(have)),
        None => "the rest".to_owned(),
    };

    FetchError::Unavailable(format!(
        "cannot write {}: {error}; make room for {missing} and as much again for the import, then run it again: it goes on",
        part.display()
    ))
}

/// The error of a download that ended too early, `have` bytes into the file.
fn broken_off(name: &str, have: u64, total: Option<u64>, can_go_on: bool, why: &str) -> FetchError {
    // A server that streams without a length says no total.
    let total = match total {
        Some(total) => total.to_string(),
        None => "an unknown number of".to_owned(),
    };

    let next = if can_go_on {
        "goes on from there"
    } else {
        "begins again (no ETag, no date)"
    };

    FetchError::Unavailable(format!(
        "{name}: the download broke off after {have} of {total} bytes ({why}); running it again {next}"
    ))
}
