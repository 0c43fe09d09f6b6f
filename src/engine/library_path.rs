//! Folders that our libraries are loaded from: that of the program, `engines/lib` of the folders
//! above it, and `engines/lib` of the current folder.
//!
//! Code is loaded from there, so a folder counts only if all who can put files there are trusted
//! anyway: it belongs to root, to the user who runs the program or to the program's owner, and not
//! everyone may write it. The current folder is anyone's choice (root in `/tmp/x`): it must be
//! root's or the user's, and writable by its owner alone. Folders above the current one never
//! count.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folder of libraries in a source tree, or in an unpacked release.
const LIB: &str = "engines/lib";

/// Permission of everyone to write.
const EVERYONE: u32 = 0o002;
/// Permission of the group and of everyone to write.
const OTHERS: u32 = 0o022;

/// Folders that exist and may be loaded from, the program's own first.
pub fn library_folders() -> Vec<PathBuf> {
    // The effective user is the one whose rights the loaded code would have.
    // SAFETY: cannot fail, and changes nothing.
    let user = unsafe { libc::geteuid() };
    let program = std::env::current_exe().ok();
    let current = std::env::current_dir().ok();

    folders(program.as_deref(), current.as_deref(), user)
}

fn folders(program: Option<&Path>, current: Option<&Path>, user: u32) -> Vec<PathBuf> {
    let mut found = vec![];

    // The program's own folders go first: a library that came with the program fits it.
    if let Some(program) = program {
        add_program_folders(program, user, &mut found);
    }

    // All three folders count, because whoever may write the upper one can put another in the place
    // of the lower.
    if let Some(current) = current {
        let lib = current.join(LIB);
        let engines = current.join("engines");
        let is_new = lib.is_dir() && !found.contains(&lib);

        if is_new
            && [current, &engines, &lib]
                .iter()
                // Root and the user are the only owners, and no group may write: the current folder
                // is not chosen by the program.
                .all(|folder| is_safe_or_warn(folder, &[0, user], OTHERS))
        {
            found.push(lib);
        }
    }

    found
}

/// Adds the program's folder and `engines/lib` of each folder above it.
fn add_program_folders(program: &Path, user: u32, found: &mut Vec<PathBuf>) {
    // The program's owner could have changed the program itself, so that folders of that owner are
    // no further risk.
    let mut owners = vec![0, user];

    if let Ok(program) = program.metadata() {
        owners.push(program.uid());
    }

    // The program's own folder is not checked: code from there runs already.
    found.extend(program.parent().map(Path::to_owned));

    for folder in program.ancestors().skip(1) {
        let lib = folder.join(LIB);

        if lib.is_dir() && is_safe_or_warn(&lib, &owners, EVERYONE) {
            found.push(lib);
        }
    }
}

/// [`is_safe`]; a folder that is not safe is named in the log.
fn is_safe_or_warn(folder: &Path, owners: &[u32], writers: u32) -> bool {
    // A folder is passed over and not an error: the library may lie in another one.
    let safe = is_safe(folder, owners, writers);

    if !safe {
        tracing::warn!(
            "{}: nothing is loaded from there, because others can write there",
            folder.display()
        );
    }

    safe
}

/// True if one of `owners` owns the folder, and none of `writers` may write it.
fn is_safe(folder: &Path, owners: &[u32], writers: u32) -> bool {
    // A folder that cannot be asked is not trusted.
    folder
        .metadata()
        .is_ok_and(|data| owners.contains(&data.uid()) && data.mode() & writers == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with `engines/lib`, all of it ours.
    fn tree() -> (tempfile::TempDir, PathBuf, u32) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let path = root.path().canonicalize().expect("there");
        fs::create_dir_all(path.join(LIB)).expect("made");
        for folder in ["", "engines", LIB] {
            allow(&path.join(folder), 0o755);
        }

        let user = path.metadata().expect("there").uid();
        (root, path, user)
    }

    fn allow(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn libraries_lie_beside_the_program_above_it_and_in_the_current_folder_but_not_above_that() {
        let (_guard, root, user) = tree();
        let program = root.join("target/release/winspect");
        let deeper = root.join("a/b");
        fs::create_dir_all(program.parent().expect("it has one")).expect("made");
        fs::create_dir_all(&deeper).expect("made");
        fs::write(&program, "").expect("written");
        let beside = program.parent().expect("it has one").to_owned();
        let lib = root.join(LIB);
        assert_eq!(
            folders(Some(&program), Some(&root), user),
            [beside.clone(), lib.clone()],
            "once"
        );

        assert_eq!(
            folders(Some(&program), Some(&deeper), user),
            [beside, lib.clone()]
        );

        assert_eq!(folders(None, Some(&root), user), [lib]);
        assert_eq!(folders(None, Some(&deeper), user), [] as [PathBuf; 0]);
    }

    #[test]
    fn nothing_is_loaded_from_where_others_can_write() {
        let (_guard, root, user) = tree();
        let lib = root.join(LIB);
        for (mode, above_the_program, in_the_current_folder) in
            [(0o755, 1, 1), (0o775, 1, 0), (0o777, 0, 0)]
        {
            allow(&lib, mode);
            // The program's own folder is always the first.
            assert_eq!(
                folders(Some(&root.join("winspect")), None, user).len(),
                1 + above_the_program,
                "{mode:o}"
            );

            assert_eq!(
                folders(None, Some(&root), user).len(),
                in_the_current_folder,
                "{mode:o}"
            );
        }

        allow(&lib, 0o755);
        allow(&root, 0o1777); // as /tmp: whoever comes may make engines/ there
        assert!(folders(None, Some(&root), user).is_empty());
        allow(&root, 0o755);
        assert!(!is_safe(&lib, &[user + 1], EVERYONE), "another user's");
    }
}
