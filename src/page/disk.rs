//! The room on the store's disk, as the page tells it: asked for off the page's thread, because a disk that hangs, such as a
//! network drive whose server is away, holds whoever asks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Time after which an answer is too old to be told.
const OLD: Duration = Duration::from_secs(10);

/// The disk on which the store lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// Bytes that the line may still use.
    pub free: u64,
    /// Bytes of the whole disk.
    pub size: u64,
}

/// The newest answer of a disk. Reading it waits for nothing.
#[derive(Clone, Default)]
pub struct NewestRoom(Arc<Mutex<Option<(DiskRoom, Instant)>>>);

/// Asks the disk, one question at a time: as long as it hangs there is no second one.
pub struct DiskLooks {
    folder: PathBuf,
    newest: NewestRoom,
    asked: Option<JoinHandle<()>>,
}

impl NewestRoom {
    /// The room; `None` before the first answer, and where the last one is old: the disk hangs, or does not say.
    pub fn at(&self, now: Instant) -> Option<DiskRoom> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (room, at) = (*newest)?;
        let age = now.saturating_duration_since(at);

        (age < OLD).then_some(room)
    }

    fn take(&self, room: DiskRoom) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some((room, Instant::now()));
    }
}

impl DiskLooks {
    /// Looks at the disk of that folder.
    pub fn new(folder: PathBuf, newest: NewestRoom) -> Self {
        DiskLooks {
            folder,
            newest,
            asked: None,
        }
    }

    /// Asks, unless the last question has no answer yet.
    pub fn look(&mut self) {
        let folder = self.folder.clone();
        self.ask(move || disk_room(&folder));
    }

    fn ask(&mut self, question: impl FnOnce() -> Option<DiskRoom> + Send + 'static) {
        let hangs = self
            .asked
            .as_ref()
            .is_some_and(|asked| !asked.is_finished());
        if hangs {
            return;
        }

        let newest = self.newest.clone();
        let asked = tokio::task::spawn_blocking(move || {
            if let Some(room) = question() {
                newest.take(room);
            }
        });

        self.asked = Some(asked);
    }
}

/// The room on the disk of a file or folder. `None` where the system does not say.
fn disk_room(path: &PathBuf) -> Option<DiskRoom> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(DiskRoom {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        size: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const ROOM: DiskRoom = DiskRoom { free: 1, size: 2 };

    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_and_is_asked_once() {
        let newest = NewestRoom::default();
        let mut looks = DiskLooks::new(PathBuf::from("/"), newest.clone());
        let (release, hangs) = mpsc::channel::<()>();
        looks.ask(move || {
            let _ = hangs.recv(); // until the disk is back
            Some(ROOM)
        });

        // Nothing waits, and no second question is asked.
        assert_eq!(newest.at(Instant::now()), None);
        looks.ask(|| panic!("the first one has no answer yet"));
        looks.look();
        drop(release);
        let asked = looks.asked.take().expect("asked");
        asked.await.expect("answered");

        let now = Instant::now();
        assert_eq!(newest.at(now), Some(ROOM));
        assert_eq!(newest.at(now + OLD), None, "it hangs again");
        looks.look();
        let asked = looks.asked.take().expect("asked");
        asked.await.expect("answered");
        let room = newest.at(Instant::now()).expect("a disk");
        assert!(room.size > 2, "{room:?}");
    }
}
