//! The plans of a model folder.
//!
//! ```text
//! DIR/plans/<key>.candidate/   built, not yet compared with the CPU   -- accept() -->  <key>
//!           <key>/             serves                                 -- refuse() -->  <key>.refused
//!           <key>.refused/     plan.toml alone, with the reason: told again instead of built again
//!           <key>.trunk.jit, ...           kernels that TensorRT-RTX compiled for this GPU
//!           timing-<library>-<GPU>.cache   measurements of the builder
//!
//! each holds trunk.plan, windows.plan (where there are windows) and plan.toml:
//! the key in words, and sizes and SHA-256. The .jit and .cache files only save time.
//! ```
//! A plan appears whole or not at all, and an accepted one serves until another of its key is
//! accepted.

use super::building::{BuildOrder, OnProgress, build};
use super::key::Key;
use super::library::Library;
use super::plan::{BuiltPlan, PlanFile, PlanFiles, PlanManifest, PlanState};
use super::plan::{CANDIDATE, file_name, replace, sha256, unwritable, write};
use crate::engine::EngineError;
use crate::engine::network::TowerPart;
use crate::model::ModelFolder;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Beginning of the name of a folder whose build is under way; its process holds a lock on it.
const BUILDING: &str = ".building-";

/// The plans that are there for a key.
#[derive(Debug, Default)]
pub struct FoundPlans {
    /// The plan that serves.
    pub accepted: Option<BuiltPlan>,
    /// The plan that was built and not yet compared.
    pub candidate: Option<BuiltPlan>,
    /// Reason why the plan of exactly this key was refused.
    pub refused: Option<String>,
    /// All other plans, each with the reason why it does not serve; for people.
    pub unfit: Vec<String>,
}

impl FoundPlans {
    /// Notes `plan` where there is none of its state yet.
    fn note(&mut self, plan: BuiltPlan, wanted: &Key) {
        // A plan that does not fit is named with its reasons: a person may have expected it to
        // serve.
        let reasons = plan.key.unfit(wanted);
        if !reasons.is_empty() {
            let path = plan.path.display();
            let reasons = reasons.join("; ");
            self.unfit.push(format!("{path}: {reasons}"));
            return;
        }

        // The first plan of a state stays: the list is sorted, the exact key first.
        match &plan.state {
            PlanState::Accepted => {
                self.accepted.get_or_insert(plan);
            }
            PlanState::Candidate => {
                self.candidate.get_or_insert(plan);
            }
            PlanState::Refused(reason) => {
                // A refusal is about exactly one key. A larger plan that was refused says nothing
                // about a smaller one.
                if plan.key == *wanted {
                    self.refused = Some(reason.clone());
                }
            }
        }
    }
}

/// The folder of a model's plans; need not be there.
#[derive(Debug, Clone)]
pub struct Plans {
    folder: PathBuf,
}

impl Plans {
    /// The plans of a model.
    pub fn of(model: &ModelFolder) -> Self {
        Plans {
            folder: model.path.join("plans"),
        }
    }

    /// All plans, and in words those that cannot be read.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder cannot be read.
    pub fn list(&self) -> Result<(Vec<BuiltPlan>, Vec<String>), EngineError> {
        // A folder that is not there holds no plans and is no error.
        let folders = plan_folders(&self.folder).map_err(|error| {
            let folder = self.folder.display();
            EngineError::Model(format!("{folder}: {error}"))
        })?;

        // A broken plan must not hide the others: it is told in words.
        let mut plans = vec![];
        let mut problems = vec![];
        for folder in folders {
            match BuiltPlan::open(&folder) {
                Ok(plan) => plans.push(plan),
                Err(error) => problems.push(error.to_string()),
            }
        }

        Ok((plans, problems))
    }

    /// Waits until no other process builds or compares a plan in this folder, and keeps all others
    /// from it until the returned file is dropped, or this process has ended.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the folder cannot be written.
    pub fn alone(&self) -> Result<fs::File, EngineError> {
        self.create_folder()?;

        // The lock is the file's, not its existence: a process that was killed leaves none behind.
        let path = self.folder.join(".lock");
        let file = fs::File::create(&path).map_err(unwritable(&path))?;

        // The wait may take minutes and is told, once.
        if file.try_lock().is_err() {
            let folder = self.folder.display();
            tracing::info!("another process builds or compares a plan in {folder}; waiting for it");
            file.lock().map_err(unwritable(&path))?;
        }

        Ok(file)
    }

    /// The plans for `wanted`: the plan of its key before one that does more.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder cannot be read.
    pub fn find(&self, wanted: &Key) -> Result<FoundPlans, EngineError> {
        let (mut plans, unfit) = self.list()?;

        // The sort is stable, and false goes before true: the exact key first, then by name.
        plans.sort_by_key(|plan| plan.key != *wanted);
        let mut found = FoundPlans {
            unfit,
            ..FoundPlans::default()
        };

        for plan in plans {
            found.note(plan, wanted);
        }

        Ok(found)
    }

    /// Builds the order's plan, as a candidate in place of an older one. A build that was cut
    /// leaves no files that are read.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a plan that cannot be built, [`EngineError::Unavailable`] with the
    /// library's words.
    pub fn build(
        &self,
        library: &Library,
        order: &BuildOrder,
        on_progress: &OnProgress,
    ) -> Result<BuiltPlan, EngineError> {
        // The key is made first: it refuses what cannot be built before a folder is touched.
        let key = Key::of(
            library,
            order.model,
            order.plan,
            order.precision,
            order.looks_max,
            &order.target,
        )?;

        self.create_folder()?;

        // Folders of builds that were cut are removed before a new one is begun.
        self.sweep();
        let work = BuildFolder::begin(&self.folder)?;
        let cache = self.folder.join(key.timings());

        // The windows' graph is built only where the plan has scales.
        let mut files = PlanFiles::new();
        for part in [TowerPart::Trunk, TowerPart::Windows] {
            if part == TowerPart::Trunk || !order.plan.scales.is_empty() {
                let file = work.build(library, order, part, &cache, on_progress)?;
                files.insert(file_name(part).to_owned(), file);
            }
        }

        // The folder is complete, manifest included, before it gets its name.
        let name = key.name();
        let candidate = self.folder.join(format!("{name}.{CANDIDATE}"));
        let manifest = PlanManifest {
            refused: None,
            key,
            files,
        };

        manifest.write(&work.path)?;
        work.appear(&candidate)?;
        BuiltPlan::open(&candidate)
    }

    fn create_folder(&self) -> Result<(), EngineError> {
        fs::create_dir_all(&self.folder).map_err(unwritable(&self.folder))
    }

    /// Removes the folders of builds whose processes have ended: these have no lock any more.
    fn sweep(&self) {
        // An unreadable folder has nothing to sweep; the build itself will tell the error.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with(BUILDING) {
                continue;
            }

            let path = entry.path();

            // A lock that can be had belongs to no living process.
            let folder = fs::File::open(&path);
            if folder.is_ok_and(|folder| folder.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// The folders of plans, sorted; none when `folder` is not there.
fn plan_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    // No folder means that nothing was built yet.
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };

    let mut folders = vec![];
    for entry in entries {
        // Hidden folders are builds under way, and the lock is a file.
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() && !is_hidden {
            folders.push(path);
        }
    }

    folders.sort();
    Ok(folders)
}

/// The folder of a build that is under way; removed when it is dropped before it appears.
struct BuildFolder {
    path: PathBuf,
    /// Locked until the build has ended, however it ends.
    _held: fs::File,
}

impl BuildFolder {
    fn begin(folder: &Path) -> Result<Self, EngineError> {
        // The identifier keeps builds of different keys, and of two processes, apart.
        let id = ulid::Ulid::generate();
        let path = folder.join(format!("{BUILDING}{id}"));
        match locked_folder(&path) {
            Ok(held) => Ok(BuildFolder { _held: held, path }),
            Err(error) => Err(unwritable(&path)(error)),
        }
    }

    /// Builds one part. The builder's measurements are read from the file `cache`, and written back
    /// there.
    fn build(
        &self,
        library: &Library,
        order: &BuildOrder,
        part: TowerPart,
        cache: &Path,
        on_progress: &OnProgress,
    ) -> Result<PlanFile, EngineError> {
        let started = Instant::now();

        // The graph's file is as large as the model, and is removed as soon as the build is done.
        let graphs = self.path.join("graphs");
        fs::create_dir(&graphs).map_err(unwritable(&graphs))?;

        // Measurements of an earlier build save most of its time. A missing file costs only that.
        let timings = fs::read(cache).unwrap_or_default();
        let built = build(library, order, part, &graphs, &timings, on_progress)?;
        fs::remove_dir_all(&graphs).map_err(unwritable(&graphs))?;

        // The plan is written before the measurements, which are dispensable.
        let bytes = built.plan.bytes();
        write(&self.path.join(file_name(part)), bytes)?;
        if let Some(timings) = &built.cache {
            keep_timings(cache, timings.bytes());
        }

        Ok(PlanFile {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            built_s: started.elapsed().as_secs_f64(),
        })
    }

    fn appear(self, path: &Path) -> Result<(), EngineError> {
        replace(&self.path, path)
    }
}

impl Drop for BuildFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Makes a folder and locks it.
fn locked_folder(path: &Path) -> io::Result<fs::File> {
    // The lock is taken on the folder itself, and ends with the process in any case.
    fs::create_dir(path)?;
    let folder = fs::File::open(path)?;
    folder.lock()?;
    Ok(folder)
}

/// Writes the builder's measurements; a failure is only logged, because they only save time.
fn keep_timings(cache: &Path, timings: &[u8]) {
    if timings.is_empty() {
        return;
    }

    if let Err(error) = write(cache, timings) {
        tracing::warn!("the next build measures everything again: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::MANIFEST;
    use super::*;

    fn key(scales: &[usize]) -> Key {
        Key {
            scales: scales.to_vec(),
            ..super::super::key::tests::key()
        }
    }

    /// A folder of plans with one candidate in it, whose trunk is `bytes`.
    fn candidate(folder: &Path, key: &Key, bytes: &[u8]) -> Plans {
        let work = BuildFolder::begin(folder).expect("a folder");
        write(&work.path.join("trunk.plan"), bytes).expect("written");
        let file = PlanFile {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            built_s: 1.5,
        };

        let files = PlanFiles::from([("trunk.plan".to_owned(), file)]);
        PlanManifest {
            refused: None,
            key: key.clone(),
            files,
        }
        .write(&work.path)
        .expect("written");

        work.appear(&folder.join(format!("{}.{CANDIDATE}", key.name())))
            .expect("appears");

        Plans {
            folder: folder.to_owned(),
        }
    }

    #[test]
    fn an_accepted_plan_serves_until_its_successor_is_accepted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanted = key(&[2, 3]);
        let plans = candidate(folder.path(), &wanted, b"old");
        let found = plans.find(&wanted).expect("readable");
        assert!(found.accepted.is_none());
        found
            .candidate
            .expect("the candidate")
            .accept()
            .expect("accepted");

        candidate(folder.path(), &wanted, b"new");
        let found = plans.find(&wanted).expect("readable");
        assert_eq!(
            found
                .accepted
                .expect("serves")
                .read(TowerPart::Trunk)
                .expect("whole"),
            b"old"
        );

        found
            .candidate
            .expect("the successor")
            .accept()
            .expect("accepted");

        let found = plans.find(&key(&[3])).expect("readable");
        assert_eq!(
            found
                .accepted
                .expect("serves less, too")
                .read(TowerPart::Trunk)
                .expect("whole"),
            b"new"
        );

        assert!(found.candidate.is_none());
    }

    #[test]
    fn only_the_plan_that_was_compared_is_accepted_or_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanted = key(&[2]);
        let found = |plans: Plans| plans.find(&wanted).expect("readable");
        let compared = found(candidate(folder.path(), &wanted, b"compared"))
            .candidate
            .expect("the candidate");

        let plans = candidate(folder.path(), &wanted, b"another's");
        for told in [compared.clone().accept(), compared.refuse("off")] {
            let words = told.expect_err("it is another one").to_string();
            assert!(
                words.contains("another process changed the plan while this one compared it"),
                "{words}"
            );
        }

        let found = found(plans);
        assert!(found.accepted.is_none() && found.refused.is_none());
        assert_eq!(
            found
                .candidate
                .expect("untouched")
                .read(TowerPart::Trunk)
                .expect("whole"),
            b"another's"
        );
    }

    #[test]
    fn who_reads_an_accepted_plan_while_its_successor_is_accepted_finds_the_successor() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanted = key(&[2]);
        let accepted = |bytes: &[u8]| {
            let plans = candidate(folder.path(), &wanted, bytes);
            plans
                .find(&wanted)
                .expect("readable")
                .candidate
                .expect("the candidate")
                .accept()
                .expect("accepted")
        };

        let old = accepted(b"old");
        assert!(old.successor().is_none());
        accepted(b"new one");
        old.read(TowerPart::Trunk).expect_err("it is gone");
        assert_eq!(
            old.successor()
                .expect("serves")
                .read(TowerPart::Trunk)
                .expect("whole"),
            b"new one"
        );
    }

    #[test]
    fn a_refused_plan_is_a_reason_and_no_bytes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanted = key(&[2]);
        let plans = candidate(folder.path(), &wanted, b"bad");
        let plan = plans
            .find(&wanted)
            .expect("readable")
            .candidate
            .expect("the candidate");

        let refused = plan
            .refuse("scores differ by 0.5, at most 0.01 may be")
            .expect("noted");

        assert_eq!(fs::read_dir(&refused.path).expect("there").count(), 1);
        let found = plans.find(&wanted).expect("readable");
        assert!(found.candidate.is_none() && found.accepted.is_none());
        assert_eq!(
            found.refused.as_deref(),
            Some("scores differ by 0.5, at most 0.01 may be")
        );
    }

    #[test]
    fn a_plan_that_lost_or_changed_bytes_is_not_given_to_the_library() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanted = key(&[]);
        let plans = candidate(folder.path(), &wanted, b"whole");
        let plan = plans
            .find(&wanted)
            .expect("readable")
            .candidate
            .expect("the candidate");

        fs::write(plan.path.join("trunk.plan"), b"whol").expect("written");
        let cut = plan.read(TowerPart::Trunk).expect_err("cut").to_string();
        assert!(
            cut.contains("trunk.plan: 4 bytes, 5 were built; build it again"),
            "{cut}"
        );

        fs::write(plan.path.join("trunk.plan"), b"wholE").expect("written");
        let other = plan
            .read(TowerPart::Trunk)
            .expect_err("changed")
            .to_string();

        assert!(other.contains("other bytes than were built"), "{other}");
        let none = plan
            .read(TowerPart::Windows)
            .expect_err("it has none")
            .to_string();

        assert!(none.contains("it has no windows.plan"), "{none}");
    }

    #[test]
    fn what_does_not_serve_is_told_with_its_reasons() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let other = Key {
            model: "9876543210".to_owned(),
            sm: vec![110],
            ..key(&[2, 3])
        };

        let plans = candidate(folder.path(), &other, b"plan");
        fs::create_dir(folder.path().join("0000.candidate")).expect("new");
        fs::write(
            folder.path().join("0000.candidate").join(MANIFEST),
            "key = 7",
        )
        .expect("written");

        let found = plans.find(&key(&[2, 3])).expect("readable");
        assert!(found.accepted.is_none() && found.candidate.is_none());
        let words = found.unfit.join("\n");
        assert!(
            words
                .contains("it is for sm_110, not sm_87; it is of the model 98765432, not 01234567"),
            "{words}"
        );

        assert!(
            words.contains("remove the folder and build the plan again"),
            "{words}"
        );
    }

    #[test]
    fn a_build_that_was_killed_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plans = Plans {
            folder: folder.path().to_owned(),
        };

        fs::create_dir(folder.path().join(format!("{BUILDING}01"))).expect("new");
        let under_way = BuildFolder::begin(folder.path()).expect("begun");
        assert!(plans.list().expect("readable").0.is_empty());
        plans.sweep();
        let left: Vec<_> = fs::read_dir(folder.path())
            .expect("there")
            .flatten()
            .map(|entry| entry.path())
            .collect();

        assert_eq!(
            left,
            std::slice::from_ref(&under_way.path),
            "another's that is under way stays"
        );

        drop(under_way);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
    }
}
