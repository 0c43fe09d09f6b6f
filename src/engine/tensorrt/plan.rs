//! One plan in its folder: what it is, whether it serves, its bytes exactly as they were built.

use super::key::Key;
use super::raw::exchange;
use crate::base::hex::hex;
use crate::engine::EngineError;
use crate::engine::network::TowerPart;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    manifest: Manifest,
}

/// `plan.toml`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub key: Key,
    pub files: Files,
}

/// By name.
pub type Files = BTreeMap<String, File>;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub bytes: u64,
    pub(super) sha256: String,
    /// Seconds that its build took.
    pub built_s: f64,
}

pub(super) const MANIFEST: &str = "plan.toml";
pub(super) const CANDIDATE: &str = "candidate";
const REFUSED: &str = "refused";

impl Plan {
    /// # Errors
    /// [`EngineError::Model`] when `plan.toml` is not what was written there.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let file = path.join(MANIFEST);
        let broken = |words: String| {
            EngineError::Model(format!(
                "{}: {words}; remove the folder and build the plan again",
                file.display()
            ))
        };
        let text = fs::read_to_string(&file).map_err(|error| broken(error.to_string()))?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let state = match (
            &manifest.refused,
            path.extension().is_some_and(|state| state == CANDIDATE),
        ) {
            (Some(reason), _) => State::Refused(reason.clone()),
            (None, true) => State::Candidate,
            (None, false) => State::Accepted,
        };
        Ok(Plan {
            path: path.to_owned(),
            key: manifest.key.clone(),
            state,
            manifest,
        })
    }

    /// Its plan files by name; of a refused one, what they were.
    pub fn files(&self) -> &Files {
        &self.manifest.files
    }

    /// The plan of `part`, exactly as it was built.
    ///
    /// # Errors
    /// [`EngineError::Plan`] when it has none, [`EngineError::Model`] when its bytes are not those that were built.
    pub fn read(&self, part: TowerPart) -> Result<Vec<u8>, EngineError> {
        let name = file_name(part);
        let Some(expected) = self.manifest.files.get(name) else {
            return Err(EngineError::Plan(format!(
                "{}: it has no {name}",
                self.path.display()
            )));
        };
        let file = self.path.join(name);
        let broken = |words: String| {
            EngineError::Model(format!(
                "{}: {words}; build it again with: winspect engine build",
                file.display()
            ))
        };
        let bytes = fs::read(&file).map_err(|error| broken(error.to_string()))?;
        if bytes.len() as u64 != expected.bytes {
            return Err(broken(format!(
                "{} bytes, {} were built",
                bytes.len(),
                expected.bytes
            )));
        }
        match sha256(&bytes) == expected.sha256 {
            true => Ok(bytes),
            false => Err(broken("other bytes than were built".to_owned())),
        }
    }

    /// Where what TensorRT-RTX compiles of `part` is kept: not in the folder, which is renamed while the plan runs.
    pub(super) fn jit_file(&self, part: TowerPart) -> PathBuf {
        let name = match part {
            TowerPart::Trunk => "trunk.jit",
            TowerPart::Windows => "windows.jit",
        };
        self.state_path(Some(name))
    }

    /// The candidate serves from now on, in place of an older plan of its key.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the folder cannot be written, or another plan lies there than was compared.
    pub fn accept(self) -> Result<Plan, EngineError> {
        self.check_unchanged()?;
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
    /// As [`Plan::accept`].
    pub fn refuse(mut self, reason: &str) -> Result<Plan, EngineError> {
        self.check_unchanged()?;
        self.manifest.refused = Some(reason.to_owned());
        self.manifest.write(&self.path)?;
        for name in self.manifest.files.keys() {
            remove(&self.path.join(name))?;
        }
        let refused = self.state_path(Some(REFUSED));
        replace(&self.path, &refused)?;
        Plan::open(&refused)
    }

    /// The plan that took the place of this one since it was opened; nothing while it is this one.
    pub(super) fn successor(&self) -> Option<Plan> {
        Plan::open(&self.path)
            .ok()
            .filter(|now| now.state == State::Accepted && now.manifest != self.manifest)
    }

    /// Whoever compared a plan speaks of that one alone.
    fn check_unchanged(&self) -> Result<(), EngineError> {
        match Plan::open(&self.path) {
            Ok(now) if now.manifest == self.manifest => Ok(()),
            _ => Err(EngineError::Unavailable(format!(
                "{}: another process changed the plan while this one compared it; start again",
                self.path.display()
            ))),
        }
    }

    fn state_path(&self, state: Option<&str>) -> PathBuf {
        let name = self.key.name();
        self.path
            .with_file_name(state.map_or(name.clone(), |state| format!("{name}.{state}")))
    }
}

impl Manifest {
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

pub(super) fn unwritable(path: &Path) -> impl Fn(std::io::Error) -> EngineError {
    move |error| EngineError::Unavailable(format!("cannot write {}: {error}", path.display()))
}

/// Writes a file that is whole or not there, on the disk when this returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    use std::io::Write;
    let part = path.with_added_extension(format!("{}.part", ulid::Ulid::generate()));
    let put = || -> std::io::Result<()> {
        let mut file = fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    put().map_err(|error| {
        // What is left of it helps nobody, and a full disk least.
        let _ = fs::remove_file(&part);
        unwritable(path)(error)
    })
}

/// `from` takes the place of `to`, a folder or nothing; at each moment one of them is there.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), EngineError> {
    match exchange(from, to) {
        Ok(()) => return remove(from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // For a moment neither is there on such a file system.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => remove(to)?,
        Err(error) => return Err(unwritable(to)(error)),
    }
    fs::rename(from, to).map_err(unwritable(to))
}

pub(super) fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(path)(error)),
        _ => Ok(()),
    }
}
