//! The crash table: a process that ends, or a disk that is full, at each step of a commit. The old
//! revision stands afterwards, or the new one, whole.

use super::crash::{self, Plan};
use super::draft::Draft;
use super::error::LibraryError;
use super::folder::Library;
use super::tests::{draft, picture};
use super::writer::LibraryWriter;
use std::path::Path;
use std::process::Command;

/// Variables by which the child is told where it commits, and when it dies.
const FOLDER: &str = "WINSPECT_TEST_LIBRARY";
const STEP: &str = "WINSPECT_TEST_STEP";

/// One commit after which three revisions of two pictures are too many: new pictures, old ones, a
/// pointer to replace and a revision to take away.
fn commit(folder: &Path) -> Result<(), LibraryError> {
    let library = Library::at(folder.join("library"));
    let mut writer = LibraryWriter::lock(&library)?;
    writer.limit(2, u64::MAX);
    let mut fresh = match library.current("nut")? {
        Some(revision) => Draft::after(&revision, "the child".to_owned())?,
        None => draft("nut", folder, &["a"]),
    };

    let number = library.numbers("nut")?.len();
    fresh
        .pictures
        .push(picture(folder, &format!("new {number}")));
    writer.commit(&fresh).map(|_| ())
}

/// The operations of one commit, in order.
fn steps(folder: &Path) -> Vec<String> {
    crash::plan(Plan::Run);
    commit(folder).expect("a commit");

    crash::done()
}

/// A library with so many revisions.
fn prepared(revisions: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for _ in 0..revisions {
        commit(folder.path()).expect("a commit");
    }

    folder
}

/// Number of the revision that judges, which is whole; 0 without any.
fn current(folder: &Path) -> u64 {
    let library = Library::at(folder.join("library"));
    let Some(revision) = library.current("nut").expect("whole") else {
        return 0;
    };

    revision.verify().expect("each picture is whole");
    for number in library.numbers("nut").expect("a folder") {
        let revision = library.revision("nut", number).expect("whole");
        revision.verify().expect("each picture is whole");
    }

    revision.manifest().revision
}

/// Commits and dies, where the process is a child of [`die_at`]; false in the parent.
fn commits_as_child() -> bool {
    let (Ok(folder), Ok(step)) = (std::env::var(FOLDER), std::env::var(STEP)) else {
        return false;
    };

    crash::plan(Plan::DieAt(step.parse().expect("a number")));
    commit(Path::new(&folder)).expect("a commit");
    true
}

/// Runs the same test in a child, which ends at that step of its commit.
fn die_at(folder: &Path, step: usize) {
    let test = "a_process_that_ends_at_any_step_leaves_the_old_revision_or_the_new_one";
    let name = format!("recipe::library::crash_table::{test}");
    let status = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", &name])
        .env(FOLDER, folder)
        .env(STEP, step.to_string())
        .output()
        .expect("it starts")
        .status;

    assert!(!status.success(), "step {step}");
}

/// The first revision, the second, and the fourth, which takes one away.
#[test]
fn a_process_that_ends_at_any_step_leaves_the_old_revision_or_the_new_one() {
    if commits_as_child() {
        return;
    }

    for before in [0, 1, 3] {
        let steps = steps(prepared(before).path());
        let mut was_new = false;
        for (step, name) in steps.iter().enumerate() {
            let folder = prepared(before);
            die_at(folder.path(), step);
            let after = current(folder.path());
            let old = before as u64;
            assert!([old, old + 1].contains(&after), "{name}");

            // What is done once is not undone by a later step.
            assert!(after > old || !was_new, "{name}");
            was_new = after > old;

            // The next commit finds its way, and leaves nothing of the crash.
            commit(folder.path()).expect("a commit after a crash");
            assert!(current(folder.path()) > after);
            assert_clean(folder.path());
        }
    }
}

#[test]
fn a_full_disk_at_any_step_leaves_the_old_revision() {
    for before in [0, 1, 3] {
        let steps = steps(prepared(before).path());
        for (step, name) in steps.iter().enumerate() {
            let folder = prepared(before);
            crash::plan(Plan::FullFrom(step));
            let outcome = commit(folder.path());
            crash::plan(Plan::Run);
            let after = current(folder.path());
            let is_new = after > before as u64;
            match outcome {
                Ok(()) => assert_eq!(after, before as u64 + 1),
                Err(error) => {
                    assert!(error.to_string().contains("space"), "{error}");

                    // The pointer was renamed, and only that name may not be on the disk.
                    let is_last = ["rename current", "sync nut"].contains(&name.as_str());
                    assert!(is_last || !is_new, "{name}");
                }
            }

            commit(folder.path()).expect("a commit once there is room");
            assert_clean(folder.path());
        }
    }
}

/// A power cut takes what was not synced: each file is synced before its folder, each folder before
/// its new name, and the new name before the pointer.
#[test]
fn names_follow_what_they_name_to_the_disk() {
    let folder = prepared(1);
    let steps = steps(folder.path());
    let place = |words: &str| {
        let place = steps.iter().rposition(|step| step == words);
        place.unwrap_or_else(|| panic!("no {words} in {steps:#?}"))
    };

    let order = [
        "sync recipe.toml",
        "sync manifest.json",
        "sync good",
        "sync .new-2",
        "rename 2",
        "create .current",
        "sync .current",
        "rename current",
        "sync nut",
    ];

    let places: Vec<usize> = order.into_iter().map(place).collect();
    assert!(places.is_sorted(), "{steps:#?}");

    // The recipe's folder is synced between both renames too.
    let between = &steps[place("rename 2")..place("create .current")];
    assert!(between.contains(&"sync nut".to_owned()), "{steps:#?}");
}

fn assert_clean(folder: &Path) {
    for entry in std::fs::read_dir(folder.join("library/nut")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(!name.starts_with('.'), "{name}");
    }
}
