//! The plans of a model folder.
//!
//! ```text
//! DIR/plans/<key>.candidate/   built, not yet compared with the CPU   -- accept() -->  <key>
//!           <key>/             serves                                 -- refuse() -->  <key>.refused
//!           <key>.refused/     plan.toml alone, with the reason: told again instead of built again
//!           timing-<library>-<sm>.cache    what the builder measured; saves time when built again
//! each holds trunk.plan, windows.plan (where there are windows) and plan.toml: the key in words, and sizes and SHA-256
//! ```
//! A plan appears whole or not at all, and an accepted one serves until another of its key is accepted.

use super::building::{Order, Told, build};
use super::key::Key;
use super::library::Library;
use crate::engine::EngineError;
use crate::engine::network::Part;
use crate::model::ModelFolder;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Candidate,
    Accepted,
    /// Why.
    Refused(String),
}

/// A plan as it lies in its folder.
#[derive(Debug, Clone)]
pub struct Plan {
    pub path: PathBuf,
    pub key: Key,
    pub state: State,
    /// Bytes of all its plan files.
    pub bytes: u64,
    manifest: Manifest,
}

/// `plan.toml`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Seconds that the build took.
    built_s: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    key: Key,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bytes: u64,
    sha256: String,
}

const MANIFEST: &str = "plan.toml";
const CANDIDATE: &str = "candidate";
const REFUSED: &str = "refused";
/// How the folder of a build that is under way begins; the number of its process follows.
const BUILDING: &str = ".building-";

/// What there is for a key.
#[derive(Debug, Default)]
pub struct Found {
    pub accepted: Option<Plan>,
    /// Built and not yet compared.
    pub candidate: Option<Plan>,
    /// Why the plan of exactly this key was refused.
    pub refused: Option<String>,
    /// What else lies there, and why it does not serve; for people.
    pub unfit: Vec<String>,
}

/// The folder of a model's plans; need not be there.
#[derive(Debug, Clone)]
pub struct Plans {
    folder: PathBuf,
}

impl Plans {
    pub fn of(model: &ModelFolder) -> Self {
        Plans { folder: model.path.join("plans") }
    }

    /// All plans, and what cannot be read in words.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder cannot be read.
    pub fn list(&self) -> Result<(Vec<Plan>, Vec<String>), EngineError> {
        let unreadable = |error: std::io::Error| EngineError::Model(format!("{}: {error}", self.folder.display()));
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((vec![], vec![])),
            Err(error) => return Err(unreadable(error)),
        };
        let mut folders = vec![];
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            folders.extend((path.is_dir() && !hidden).then_some(path));
        }
        folders.sort();
        let (mut plans, mut problems) = (vec![], vec![]);
        for folder in folders {
            match Plan::open(&folder) {
                Ok(plan) => plans.push(plan),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Ok((plans, problems))
    }

    /// What there is for `wanted`: the plan of its key before one that does more.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder cannot be read.
    pub fn find(&self, wanted: &Key) -> Result<Found, EngineError> {
        let (mut plans, unfit) = self.list()?;
        plans.sort_by_key(|plan| plan.key != *wanted);
        let mut found = Found { unfit, ..Found::default() };
        for plan in plans {
            let reasons = plan.key.unfit(wanted);
            match plan.state.clone() {
                _ if !reasons.is_empty() => {
                    found.unfit.push(format!("{}: {}", plan.path.display(), reasons.join("; ")))
                }
                State::Accepted => _ = found.accepted.get_or_insert(plan),
                State::Candidate => _ = found.candidate.get_or_insert(plan),
                State::Refused(reason) if plan.key == *wanted => found.refused = Some(reason),
                State::Refused(_) => {}
            }
        }
        Ok(found)
    }

    /// Builds the order's plan, as a candidate in place of an older one. A build that was cut leaves nothing that is read.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for what cannot be built, [`EngineError::Unavailable`] with the library's words.
    pub fn build(&self, library: &Library, order: &Order, told: &Told) -> Result<Plan, EngineError> {
        let Order { model, plan, precision, looks_max, target } = order;
        let key = Key::of(library, model, plan, *precision, *looks_max, target)?;
        let started = Instant::now();
        fs::create_dir_all(&self.folder).map_err(unwritable(&self.folder))?;
        self.sweep();
        let work = Work::begin(&self.folder)?;
        let cache = self.folder.join(format!("timing-{}-{}.cache", key.library, key.gpus().replace(", ", "-")));
        let mut files = BTreeMap::new();
        for part in [Part::Trunk, Part::Windows] {
            if part == Part::Windows && plan.scales.is_empty() {
                continue;
            }
            let timings = fs::read(&cache).unwrap_or_default();
            let graphs = work.path.join("graphs");
            fs::create_dir(&graphs).map_err(unwritable(&graphs))?;
            let built = build(library, order, part, &graphs, &timings, told)?;
            fs::remove_dir_all(&graphs).map_err(unwritable(&graphs))?;
            let (name, bytes) = (file_name(part), built.plan.bytes());
            write(&work.path.join(name), bytes)?;
            files.insert(name.to_owned(), File { bytes: bytes.len() as u64, sha256: sha256(bytes) });
            if let Some(timings) = built.cache.as_ref().map(|cache| cache.bytes()).filter(|bytes| !bytes.is_empty()) {
                write(&cache, timings)?;
            }
        }
        let candidate = self.folder.join(format!("{}.{CANDIDATE}", key.name()));
        let manifest = Manifest { built_s: started.elapsed().as_secs_f64(), refused: None, key, files };
        manifest.write(&work.path)?;
        work.appear(&candidate)?;
        Plan::open(&candidate)
    }

    /// Removes what builds left whose processes are gone.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let gone = |pid: &str| !Path::new("/proc").join(pid).exists();
            if name.strip_prefix(BUILDING).is_some_and(gone) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Plan {
    /// # Errors
    /// [`EngineError::Model`] when `plan.toml` is not what was written there.
    fn open(path: &Path) -> Result<Self, EngineError> {
        let file = path.join(MANIFEST);
        let broken = |words: String| {
            EngineError::Model(format!("{}: {words}; remove the folder and build the plan again", file.display()))
        };
        let text = fs::read_to_string(&file).map_err(|error| broken(error.to_string()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let state = match (&manifest.refused, path.extension().is_some_and(|state| state == CANDIDATE)) {
            (Some(reason), _) => State::Refused(reason.clone()),
            (None, true) => State::Candidate,
            (None, false) => State::Accepted,
        };
        let bytes = manifest.files.values().map(|file| file.bytes).sum();
        Ok(Plan { path: path.to_owned(), key: manifest.key.clone(), state, bytes, manifest })
    }

    /// Seconds that the build took.
    pub fn built_s(&self) -> f64 {
        self.manifest.built_s
    }

    /// The plan of `part`, exactly as it was built.
    ///
    /// # Errors
    /// [`EngineError::Plan`] when it has none, [`EngineError::Model`] when its bytes are not those that were built.
    pub fn read(&self, part: Part) -> Result<Vec<u8>, EngineError> {
        let name = file_name(part);
        let Some(expected) = self.manifest.files.get(name) else {
            return Err(EngineError::Plan(format!("{}: it has no {name}", self.path.display())));
        };
        let file = self.path.join(name);
        let broken = |words: String| {
            EngineError::Model(format!("{}: {words}; build it again with: winspect engine build", file.display()))
        };
        let bytes = fs::read(&file).map_err(|error| broken(error.to_string()))?;
        if bytes.len() as u64 != expected.bytes {
            return Err(broken(format!("{} bytes, {} were built", bytes.len(), expected.bytes)));
        }
        match sha256(&bytes) == expected.sha256 {
            true => Ok(bytes),
            false => Err(broken("other bytes than were built".to_owned())),
        }
    }

    /// The candidate serves from now on, in place of an older plan of its key.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the folder cannot be written.
    pub fn accept(self) -> Result<Plan, EngineError> {
        let serving = self.state_path(None);
        if self.path != serving {
            replace(&self.path, &serving)?;
        }
        remove(&self.state_path(Some(REFUSED)))?;
        Plan::open(&serving)
    }

    /// The plan is not used, now or later; `reason` stays, with the figures that it rests on.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the folder cannot be written.
    pub fn refuse(mut self, reason: &str) -> Result<Plan, EngineError> {
        self.manifest.refused = Some(reason.to_owned());
        self.manifest.write(&self.path)?;
        for name in self.manifest.files.keys() {
            remove(&self.path.join(name))?;
        }
        let refused = self.state_path(Some(REFUSED));
        replace(&self.path, &refused)?;
        Plan::open(&refused)
    }

    fn state_path(&self, state: Option<&str>) -> PathBuf {
        let name = self.key.name();
        self.path.with_file_name(state.map_or(name.clone(), |state| format!("{name}.{state}")))
    }
}

impl Manifest {
    fn write(&self, folder: &Path) -> Result<(), EngineError> {
        let text = toml::to_string(self).expect("a manifest is made of plain values");
        write(&folder.join(MANIFEST), text.as_bytes())
    }
}

/// The folder of a build that is under way; gone when it is dropped before it appears.
struct Work {
    path: PathBuf,
}

impl Work {
    fn begin(folder: &Path) -> Result<Self, EngineError> {
        let path = folder.join(format!("{BUILDING}{}", std::process::id()));
        remove(&path)?;
        fs::create_dir(&path).map_err(unwritable(&path))?;
        Ok(Work { path })
    }

    fn appear(self, path: &Path) -> Result<(), EngineError> {
        replace(&self.path, path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn file_name(part: Part) -> &'static str {
    match part {
        Part::Trunk => "trunk.plan",
        Part::Windows => "windows.plan",
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritable(path: &Path) -> impl Fn(std::io::Error) -> EngineError {
    move |error| EngineError::Unavailable(format!("cannot write {}: {error}", path.display()))
}

/// Writes a file that is whole or not there, on the disk when this returns.
fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    use std::io::Write;
    let part = path.with_extension("part");
    let put = || -> std::io::Result<()> {
        let mut file = fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    put().map_err(unwritable(path))
}

/// `from` takes the place of `to`, a folder or nothing.
fn replace(from: &Path, to: &Path) -> Result<(), EngineError> {
    remove(to)?;
    fs::rename(from, to).map_err(unwritable(to))
}

fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(path)(error)),
        _ => Ok(()),
    }
}
