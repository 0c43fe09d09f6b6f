//! The floor of a part's time: what its disk takes for two commits, and which disk that is.

use super::stages::Sample;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes that a part writes to the log in one commit: five pages.
const COMMIT: usize = 5 * 4096;
/// Bytes of the log, which is written over from its beginning again and again.
const LOG: usize = 4 << 20;

/// The least time that one part waits for its disk.
pub struct Disk {
    /// File system and device.
    pub name: String,
    /// Times of two commits of the store's size, each written in place and synced.
    pub two_commits: Sample,
}

impl Disk {
    /// Measures `count` times, with `gap` between, in a file of its own in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn measure(folder: &Path, count: usize, gap: Duration) -> io::Result<Self> {
        // The file is written in full before the measurement: a sync of a growing file would also
        // write its size.
        let path = folder.join("floor");
        let file = File::create(&path)?;
        file.write_all_at(&vec![1; LOG], 0)?;
        file.sync_all()?;

        // A part costs two commits: its number, and its result. Both wait for the disk.
        let commit = vec![2; COMMIT];
        let mut took = vec![];
        for at in 0..count {
            let start = Instant::now();

            // Places go round within the file, as the store's log does between two checkpoints.
            for half in 0..2 {
                let place = (2 * at + half) * COMMIT % (LOG - COMMIT);
                file.write_all_at(&commit, place as u64)?;
                file.sync_all()?;
            }

            // The rhythm is that of the triggers: a disk that may rest between syncs answers
            // differently.
            took.push(start.elapsed());
            std::thread::sleep(gap.saturating_sub(start.elapsed()));
        }

        std::fs::remove_file(path)?;
        Ok(Disk {
            name: name(folder)?,
            two_commits: Sample::new(took),
        })
    }
}

/// Returns a folder's disk, such as `ext4 on /dev/sda1`, as the kernel lists what is mounted
/// (proc_pid_mountinfo(5)).
fn name(folder: &Path) -> io::Result<String> {
    // The deepest mount above the folder is its disk.
    let folder = folder.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut deepest = None;
    for line in mounts.lines() {
        let Some((place, name)) = mount(line) else {
            continue;
        };

        let depth = place.components().count();
        // A later mount at the same place hides the earlier one.
        if folder.starts_with(place) && deepest.as_ref().is_none_or(|(most, _)| depth >= *most) {
            deepest = Some((depth, name));
        }
    }

    Ok(deepest.map_or_else(|| "unknown".to_owned(), |(_, name)| name))
}

/// Returns where a line of mountinfo mounts what.
fn mount(line: &str) -> Option<(&Path, String)> {
    // Fields before the dash vary in number; the fifth is the mount point, and after the dash come
    // file system and device.
    let (place, what) = line.split_once(" - ")?;
    let place = Path::new(place.split(' ').nth(4)?);
    let mut what = what.split(' ');
    let kind = what.next()?;
    let device = what.next()?;
    Some((place, format!("{kind} on {device}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_name_and_its_file_is_taken_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::measure(folder.path(), 2, Duration::ZERO).expect("works");
        assert_eq!(
            (
                disk.two_commits.count(),
                std::fs::read_dir(folder.path()).expect("there").count()
            ),
            (2, 0)
        );

        assert!(disk.name.contains(" on "), "{}", disk.name);
        assert!(
            name(Path::new("/proc/self"))
                .expect("there")
                .starts_with("proc on ")
        );
    }
}
