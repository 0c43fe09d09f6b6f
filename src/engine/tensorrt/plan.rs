//! One plan in its folder: its key, its state, its bytes exactly as they were built.

use super::key::Key;
use super::raw::exchange;
use crate::base::hex::hex;
use crate::engine::EngineError;
use crate::engine::network::TowerPart;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// State of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanState {
    /// Built, not yet compared with the CPU.
    Candidate,
    /// Serves.
    Accepted,
    /// Does not serve, for the reason that is given.
    Refused(String),
}

/// A plan as it lies in its folder.
#[derive(Debug, Clone)]
pub struct BuiltPlan {
    /// The folder.
    pub path: PathBuf,
    /// All facts that the plan depends on.
    pub key: Key,
    /// State of the plan.
    pub state: PlanState,
    manifest: PlanManifest,
}

/// Content of `plan.toml`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanManifest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub key: Key,
    pub files: PlanFiles,
}

/// Files of a plan by name.
pub type PlanFiles = BTreeMap<String, PlanFile>;

/// One file of a plan.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Size in bytes.
    pub bytes: u64,
    pub(super) sha256: String,
    /// Time that the build took, in seconds.
    pub built_s: f64,
}

pub(super) const MANIFEST: &str = "plan.toml";
pub(super) const CANDIDATE: &str = "candidate";
const REFUSED: &str = "refused";

impl BuiltPlan {
    /// Opens the plan in a folder.
    ///
    /// # Errors
    /// [`EngineError::Model`] when `plan.toml` is not as it was written.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let file = path.join(MANIFEST);
        let broken = |words: String| {
            let file = file.display();
            EngineError::Model(format!(
                "{file}: {words}; remove the folder and build the plan again"
            ))
        };

        // A missing manifest and one that cannot be parsed are told alike: the way out is the same.
        let text = fs::read_to_string(&file).map_err(|error| broken(error.to_string()))?;
        let manifest: PlanManifest =
            toml::from_str(&text).map_err(|error| broken(error.to_string()))?;

        // The state lies in the folder's name and in the manifest, so that one rename accepts a
        // plan at once.
        let is_candidate = path.extension().is_some_and(|state| state == CANDIDATE);
        let state = match &manifest.refused {
            Some(reason) => PlanState::Refused(reason.clone()),
            None if is_candidate => PlanState::Candidate,
            None => PlanState::Accepted,
        };

        Ok(BuiltPlan {
            path: path.to_owned(),
            key: manifest.key.clone(),
            state,
            manifest,
        })
    }

    /// Plan files by name; for a refused plan, those that it had.
    pub fn files(&self) -> &PlanFiles {
        &self.manifest.files
    }

    /// The plan of `part`, exactly as it was built.
    ///
    /// # Errors
    /// [`EngineError::Plan`] when there is none, [`EngineError::Model`] when its bytes are not
    /// those that were built.
    pub fn read(&self, part: TowerPart) -> Result<Vec<u8>, EngineError> {
        let name = file_name(part);

        // The manifest lists the files that were built. A plan without windows has only the
        // trunk's.
        let Some(expected) = self.manifest.files.get(name) else {
            let path = self.path.display();
            return Err(EngineError::Plan(format!("{path}: it has no {name}")));
        };

        let file = self.path.join(name);
        let broken = |words: String| {
            let file = file.display();
            EngineError::Model(format!(
                "{file}: {words}; build it again with: winspect engine build"
            ))
        };

        // The length is compared first, because its message says more than that of a hash.
        let bytes = fs::read(&file).map_err(|error| broken(error.to_string()))?;
        let length = bytes.len() as u64;

        if length != expected.bytes {
            let built = expected.bytes;
            return Err(broken(format!("{length} bytes, {built} were built")));
        }

        // The hash finds a changed byte before the library runs it as machine code.
        if sha256(&bytes) != expected.sha256 {
            return Err(broken("other bytes than were built".to_owned()));
        }

        Ok(bytes)
    }

    /// File for the kernels that TensorRT-RTX compiles of `part`. Not in the folder, which is
    /// renamed while the plan runs.
    pub(super) fn jit_file(&self, part: TowerPart) -> PathBuf {
        let name = match part {
            TowerPart::Trunk => "trunk.jit",
            TowerPart::Windows => "windows.jit",
        };

        self.beside(name)
    }

    /// Lets the candidate serve from now on, in place of an older plan of its key.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the folder cannot be written, or another plan lies there
    /// than was compared.
    pub fn accept(self) -> Result<BuiltPlan, EngineError> {
        // The comparison took minutes, in which another process may have built anew.
        self.check_unchanged()?;

        // The accepted plan gets the plain name of its key, in one step of the file system.
        let serving = self.path.with_file_name(self.key.name());

        if self.path != serving {
            replace(&self.path, &serving)?;
        }

        // An older refusal of the same key is no longer true.
        remove(&self.beside(REFUSED))?;

        BuiltPlan::open(&serving)
    }

    /// Refuses the plan for ever. Its bytes go; `reason` stays, with the figures that it rests on.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], as [`BuiltPlan::accept`].
    pub fn refuse(mut self, reason: &str) -> Result<BuiltPlan, EngineError> {
        self.check_unchanged()?;

        // The reason is on the disk before the first file goes, so that a cut leaves a refused plan
        // and not a broken one.
        self.manifest.refused = Some(reason.to_owned());
        self.manifest.write(&self.path)?;

        for name in self.manifest.files.keys() {
            remove(&self.path.join(name))?;
        }

        let refused = self.beside(REFUSED);
        replace(&self.path, &refused)?;

        BuiltPlan::open(&refused)
    }

    /// The plan that took the place of this one since it was opened; `None` while it is this one.
    pub(super) fn successor(&self) -> Option<BuiltPlan> {
        // A plan that cannot be opened has no successor; the first error is told instead.
        let now = BuiltPlan::open(&self.path).ok()?;
        let is_other = now.state == PlanState::Accepted && now.manifest != self.manifest;

        is_other.then_some(now)
    }

    /// Checks that the plan in the folder is the one that was compared: a verdict is about that one
    /// alone.
    fn check_unchanged(&self) -> Result<(), EngineError> {
        match BuiltPlan::open(&self.path) {
            // Manifests hold the hashes of all files, so that equal manifests are equal plans.
            Ok(now) if now.manifest == self.manifest => Ok(()),
            _ => Err(EngineError::Unavailable(format!(
                "{}: another process changed the plan while this one compared it; start again",
                self.path.display()
            ))),
        }
    }

    /// A path beside the serving plan's folder: its name with an ending.
    fn beside(&self, ending: &str) -> PathBuf {
        let name = self.key.name();

        self.path.with_file_name(format!("{name}.{ending}"))
    }
}

impl PlanManifest {
    pub fn write(&self, folder: &Path) -> Result<(), EngineError> {
        let text = toml::to_string(self).expect("a manifest is made of plain values");

        write(&folder.join(MANIFEST), text.as_bytes())
    }
}

pub(super) fn file_name(part: TowerPart) -> &'static str {
    match part {
        TowerPart::Trunk => "trunk.plan",
        TowerPart::Windows => "windows.plan",
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> EngineError {
    move |error| {
        let path = path.display();

        EngineError::Unavailable(format!("cannot write {path}: {error}"))
    }
}

/// Writes a file that is whole or not there, on the disk when this returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    // The identifier in the name keeps two writers of the same file apart.
    let id = ulid::Ulid::generate();
    let part = path.with_added_extension(format!("{id}.part"));
    let written = write_and_rename(&part, path, bytes);
    written.map_err(|error| {
        // An incomplete file is of no use, least of all on a full disk.
        let _ = fs::remove_file(&part);
        unwritable(path)(error)
    })
}

fn write_and_rename(part: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(part)?;

    // The bytes are on the disk before the name is.
    file.write_all(bytes)?;
    file.sync_all()?;

    fs::rename(part, path)
}

/// Puts `from` in the place of `to`, a folder or nothing; at each moment one of them is there.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), EngineError> {
    // An exchange leaves the old folder under the new one's name, where it is removed.
    let Err(error) = exchange(from, to) else {
        return remove(from);
    };

    // A missing `to` needs no exchange, and some file systems have none.
    match error.kind() {
        io::ErrorKind::NotFound => {}

        // For a moment neither is there on such a file system.
        io::ErrorKind::Unsupported => remove(to)?,
        _ => return Err(unwritable(to)(error)),
    }

    fs::rename(from, to).map_err(unwritable(to))
}

pub(super) fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };

    // A file that is gone is what was wanted.
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(unwritable(path)),
    }
}
