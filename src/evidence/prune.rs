//! The bounds of the evidence folder: what is in it by listing, and what has to go.

use super::name;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// All files of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFiles {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Time at which the last of them was written.
    pub written: SystemTime,
}

/// Lists what is kept in a folder, whatever runs, cameras and versions wrote it; other files are passed
/// over.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<KeptFiles>> {
    let mut parts: BTreeMap<String, KeptFiles> = BTreeMap::new();

    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;

        // The name alone says whose file it is: a picture that a person saved here is left alone.
        let name = entry.file_name();
        let Some(named) = name.to_str().and_then(name::parse) else {
            continue;
        };

        // A file that was taken away meanwhile is none any more.
        let Ok(about) = entry.metadata() else {
            continue;
        };

        if !about.is_file() {
            continue;
        }

        let written = about.modified()?;
        let part = parts.entry(named.stem.to_owned()).or_insert(KeptFiles {
            paths: vec![],
            bytes: 0,
            written,
        });

        part.paths.push(entry.path());
        part.bytes += about.len();
        part.written = part.written.max(written);
    }

    Ok(parts.into_values().collect())
}

/// Returns what has to go: what is too old, then the oldest while there are more than `bytes_max` bytes. A
/// little more goes than must, so that it is not each part's work.
pub fn surplus(
    mut kept: Vec<KeptFiles>,
    now: SystemTime,
    bytes_max: u64,
    age_max: Duration,
) -> Vec<KeptFiles> {
    // The time of writing gives the order: a clock that was set makes names of another time.
    kept.sort_by_key(|part| part.written);
    let mut bytes: u64 = kept.iter().map(|part| part.bytes).sum();
    let most = match bytes > bytes_max {
        true => bytes_max - bytes_max / 20,
        false => bytes_max,
    };

    let mut count = 0;
    for part in &kept {
        // A clock that was set back makes files of the future: those are not old.
        let age = now.duration_since(part.written).unwrap_or_default();

        if bytes <= most && age <= age_max {
            break;
        }

        bytes -= part.bytes;
        count += 1;
    }

    kept.truncate(count);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn part(day: u32, bytes: u64) -> KeptFiles {
        KeptFiles {
            paths: vec![],
            bytes,
            written: SystemTime::UNIX_EPOCH + day * DAY,
        }
    }

    #[test]
    fn the_oldest_go_first_and_a_little_more_than_must() {
        let now = SystemTime::UNIX_EPOCH + 10 * DAY;
        let gone = |bytes_max, days: u32| {
            let kept = vec![part(9, 40), part(1, 30), part(5, 30), part(12, 1)];
            let gone = surplus(kept, now, bytes_max, days * DAY);
            gone.iter().map(|part| part.bytes).collect::<Vec<u64>>()
        };

        let none: [u64; 0] = [];
        assert_eq!(gone(101, 100), none);
        assert_eq!(gone(100, 100), [30]);
        // Below 71 bytes, with a twentieth for the next ones: two have to go.
        assert_eq!(gone(72, 100), [30, 30]);
        assert_eq!(gone(101, 4), [30, 30]);
        assert_eq!(gone(0, 100), [30, 30, 40, 1]);
    }

    #[test]
    fn files_of_a_part_go_together_and_other_files_are_not_seen() {
        let place = tempfile::tempdir().expect("a folder");
        let stem = "1970-01-01T00-00-00.000Z_top_000011_fail_4QZK7M";
        for name in [
            format!("{stem}.png"),
            format!("{stem}.json"),
            format!("{stem}_part.jpg"),
            format!(".{stem}.png.tmp"),
            "mine.png".to_owned(),
        ] {
            std::fs::write(place.path().join(name), [0; 10]).expect("written");
        }

        let found = list(place.path()).expect("read");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].paths.len(), found[0].bytes), (4, 40));
    }
}
