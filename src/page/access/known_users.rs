//! The users as the page knows them: their file as it was read last, and changes of it. What works on the disk holds no
//! lock that a request needs.

use super::users::{Users, UsersError};
use super::users_file::UsersFile;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The users as the page knows them.
pub(super) struct KnownUsers {
    pub file: UsersFile,
    /// True once the file was looked at: the users of the start are no change.
    is_read: bool,
    /// Counts what was taken over: a look that was begun before is of no use after.
    taken: u64,
    /// True while a change of the page's own is being written: the file is not read again meanwhile, so that nobody waits
    /// for its disk, and the change is not taken for one from outside.
    pub is_changing: bool,
    /// Sentences on changes that were written, for the audit log.
    pub untold: Vec<String>,
}

impl KnownUsers {
    /// Those of that file, which was not looked at yet.
    pub fn of(path: &Path) -> Self {
        KnownUsers {
            file: UsersFile::at(path),
            is_read: false,
            taken: 0,
            is_changing: false,
            untold: vec![],
        }
    }
}

/// Reads the users' file again if it is another one by now. `None` where a change of the page's own went before.
pub(super) fn look_at(known: &Mutex<KnownUsers>) -> Option<Result<(), UsersError>> {
    // The lock is not held over the disk's work: requests need it.
    let (mut file, taken) = {
        let known = lock(known);

        if known.is_changing {
            return None;
        }

        (known.file.clone(), known.taken)
    };

    let refreshed = file.refresh();
    let mut known = lock(known);

    if known.is_changing || known.taken != taken {
        return None;
    }

    let is_first = !std::mem::replace(&mut known.is_read, true);
    known.taken += 1;
    known.file = file;

    let before = match refreshed {
        Ok(before) => before.filter(|_| !is_first),
        Err(error) => return Some(Err(error)),
    };

    // Who wrote into the file is not known: `winspect user`, or an editor.
    for change in before.map_or(vec![], |before| known.file.users().changes_since(&before)) {
        let words = format!("users of the page: {change}, in their file");
        known.untold.push(words);
    }

    Some(Ok(()))
}

/// Writes a change of the users; returns what it was, in words. The users are looked at meanwhile as they were before.
pub(super) fn write_change(
    known: &Mutex<KnownUsers>,
    who: &str,
    change: impl FnOnce(&mut Users) -> Result<(), UsersError>,
) -> Result<Vec<String>, UsersError> {
    let mut file = {
        let mut known = lock(known);
        known.is_changing = true;
        known.file.clone()
    };

    let before = file.users().clone();
    let written = file.change(change);
    let mut known = lock(known);
    known.is_changing = false;
    written?;

    let changes = file.users().changes_since(&before);
    let words = changes.iter();
    let words = words.map(|change| format!("users of the page: {change}, by {who}"));
    known.untold.extend(words);
    known.file = file;
    known.taken += 1;

    Ok(changes)
}

fn lock(known: &Mutex<KnownUsers>) -> MutexGuard<'_, KnownUsers> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
