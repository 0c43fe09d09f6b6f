//! The folder of overlays: files that sort by time and name their part, bounded by bytes and days.
//!
//! `2026-11-28T20-36-02.557Z_top_000011_fail_A-77812_4QZK7M.png`: time of the picture, camera, number,
//! verdict, the part's id, and the run, so that no run writes over another's files. Old files are found
//! by listing the folder, whatever runs, cameras and versions wrote them; files of another name are
//! never touched.

use crate::config::OverlaySettings;
use crate::data::report::Report;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Pause between two looks at the whole folder, for files that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Characters of a part's id in a file's name.
const PART_ID_MAX: usize = 64;
/// Characters of a run's id in a file's name: the last ones, which are random.
const RUN_CHARS: usize = 6;

/// The folder at work.
pub struct OverlayFolder {
    settings: OverlaySettings,
    /// Bytes of the overlays as of the last look, and of those that were written since.
    bytes: u64,
    /// Moment of the last look; `None` before the first.
    looked_at: Option<Instant>,
    /// True once a failure was logged: the next one has the same cause.
    is_failure_logged: bool,
}

/// An overlay that was found in the folder.
struct Found {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl OverlayFolder {
    /// The folder of these settings; its first file brings the first look at it.
    pub fn new(settings: OverlaySettings) -> Self {
        OverlayFolder {
            settings,
            bytes: 0,
            looked_at: None,
            is_failure_logged: false,
        }
    }

    /// Writes one overlay, and takes old ones away. The first failure is logged.
    pub fn keep(&mut self, report: &Report, png: &[u8]) {
        // Pictures for people never stop a line: a folder that cannot be written costs the pictures
        // and one line in the log.
        let folder = self.settings.folder.clone();
        let Err(error) = self.try_keep(&folder.join(name(report)), png) else {
            return;
        };

        if !std::mem::replace(&mut self.is_failure_logged, true) {
            let folder = folder.display();
            tracing::warn!("overlays cannot be written to {folder}: {error}");
        }
    }

    fn try_keep(&mut self, path: &Path, png: &[u8]) -> std::io::Result<()> {
        // The folder may have been taken away while the line runs; making it again costs a look.
        std::fs::create_dir_all(&self.settings.folder)?;
        std::fs::write(path, png)?;
        self.bytes += png.len() as u64;
        // Bytes are counted along, so that the whole folder is listed only when it may be full, and
        // now and then for files that are too old.
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() > LOOK_EVERY);
        if is_due || self.bytes > self.settings.bytes_max {
            self.prune()?;
        }

        Ok(())
    }

    /// Lists the folder and takes away what is too old, then the oldest while there is too much. A
    /// little more goes than must, so that it is not each file's work.
    fn prune(&mut self) -> std::io::Result<()> {
        // The time of writing gives the order: names of several cameras and versions do not sort
        // together.
        let mut found = list(&self.settings.folder)?;
        found.sort_by_key(|file| file.written);
        let mut bytes: u64 = found.iter().map(|file| file.bytes).sum();
        let mut most = self.settings.bytes_max;
        if bytes > most {
            most -= most / 20;
        }

        let now = SystemTime::now();
        for file in found {
            // A clock that was set back makes files of the future: those are not old.
            let age = now.duration_since(file.written).unwrap_or_default();
            if bytes <= most && age <= self.settings.age_max {
                break;
            }

            // A file that cannot be removed ends this look: its bytes are still there, and the next
            // file's write says so again.
            std::fs::remove_file(&file.path)?;
            bytes -= file.bytes;
        }

        self.bytes = bytes;
        self.looked_at = Some(Instant::now());
        Ok(())
    }
}

/// The overlays of a folder; other files are passed over.
fn list(folder: &Path) -> std::io::Result<Vec<Found>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // The name alone says whose file it is: a picture that a person saved here is left alone.
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_overlay) {
            continue;
        }

        // A file that was taken away meanwhile is no overlay any more.
        let Ok(about) = entry.metadata() else {
            continue;
        };

        if about.is_file() {
            found.push(Found {
                path: entry.path(),
                bytes: about.len(),
                written: about.modified()?,
            });
        }
    }

    Ok(found)
}

/// Name of a part's overlay.
fn name(report: &Report) -> String {
    let part = &report.part;
    // Time first, without colons, which some shares refuse: files then sort as the parts came.
    let time = report.captured_at.strftime("%Y-%m-%dT%H-%M-%S%.3fZ");
    let camera = plain(&report.seen_by);
    let verdict = format!("{:?}", report.verdict).to_lowercase();
    let mut name = format!("{time}_{camera}_{:06}_{verdict}", part.seq);
    // The part's id makes a file findable by the number on the part; it is cut and cleaned, for it
    // may be any text.
    if let Some(id) = &part.request.part_id {
        let short: String = id.chars().take(PART_ID_MAX).collect();
        name += &format!("_{}", plain(&short));
    }

    // Numbers begin with 1 in each run, and a clock without a battery may repeat a time: the run
    // tells such files apart.
    let run = &part.run_id;
    let run_end = &run[run.len().saturating_sub(RUN_CHARS)..];
    format!("{name}_{run_end}.png")
}

/// Text with nothing that a file system or a share may refuse.
fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c);
    text.chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect()
}

/// True for the name of an overlay, also for one of winspect 0.2 (`top-00000011.png`).
fn is_overlay(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".png") else {
        return false;
    };

    // Both forms end in a number of known width; a person's own file rarely does.
    let is_number = |text: &str, digits: usize| {
        text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit())
    };

    if let Some((camera, seq)) = stem.rsplit_once('-')
        && !camera.contains('_')
        && is_number(seq, 8)
    {
        return true;
    }

    // Time, camera, number, verdict: the four parts that every name has. The part's id and the run
    // follow.
    let mut parts = stem.split('_');
    let time = parts.next().unwrap_or_default().as_bytes();
    let is_time = time.len() == 24 && time[10] == b'T' && time[23] == b'Z';
    let seq = parts.nth(1).unwrap_or_default();
    let verdict = parts.next().unwrap_or_default();
    is_time && is_number(seq, 6) && ["pass", "fail", "undecided"].contains(&verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;

    fn folder(path: &Path, bytes_max: u64, age_max: Duration) -> OverlayFolder {
        OverlayFolder::new(OverlaySettings {
            folder: path.to_owned(),
            bytes_max,
            age_max,
        })
    }

    fn of_run(seq: u64, run: &str) -> Report {
        let mut report = report(seq);
        report.part.run_id = run.into();
        report
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(path)
            .expect("there")
            .map(|entry| {
                entry
                    .expect("read")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();

        names.sort();
        names
    }

    const LONG: Duration = Duration::from_secs(86_400);

    #[test]
    fn few_overlays_among_many_parts_are_bounded_by_bytes() {
        let place = tempfile::tempdir().expect("a folder");
        let mut overlays = folder(place.path(), 10_000, LONG);
        // One part in a hundred is drawn.
        for seq in (0..50_000).step_by(100) {
            overlays.keep(&of_run(seq, "01RUNA"), &[0; 1000]);
        }

        let left = names(place.path());
        assert!((8..=10).contains(&left.len()), "{left:?}");
        assert!(
            left.iter().any(|name| name.contains("_049900_")),
            "{left:?}"
        );
    }

    #[test]
    fn another_run_writes_over_nothing_and_is_bounded_with_the_others() {
        let place = tempfile::tempdir().expect("a folder");
        for run in ["01RUNA", "01RUNB", "01RUNC"] {
            let mut overlays = folder(place.path(), 10_000, LONG);
            for seq in 1..=4 {
                overlays.keep(&of_run(seq, run), &[0; 1000]);
            }
        }

        let left = names(place.path());
        assert!((8..=10).contains(&left.len()), "{left:?}");
        assert_eq!(
            left.iter().filter(|name| name.contains("_01RUNC")).count(),
            4
        );
        assert!(left.iter().any(|name| name.contains("_01RUNB")));
    }

    #[test]
    fn old_overlays_go_and_other_files_stay() {
        let place = tempfile::tempdir().expect("a folder");
        let old = SystemTime::now() - Duration::from_secs(7200);
        for name in [
            "top-00000011.png",
            "top-00000012.png",
            "mine.png",
            "notes.txt",
            "a-1.png",
        ] {
            let file = std::fs::File::create(place.path().join(name)).expect("made");
            file.set_modified(old).expect("set");
        }

        let mut overlays = folder(place.path(), 1 << 30, Duration::from_secs(3600));
        overlays.keep(&of_run(1, "01RUNA"), &[0; 10]);
        let left = names(place.path());
        assert_eq!(left.len(), 4, "{left:?}");
        for name in ["a-1.png", "mine.png", "notes.txt"] {
            assert!(left.iter().any(|left| left == name), "{left:?}");
        }
    }

    #[test]
    fn a_name_sorts_reads_and_is_known_again() {
        let mut report = of_run(11, "01JABCDEF4QZK7M");
        report.part.request.part_id = Some("A/778 12\u{1F600}".to_owned());
        let name = name(&report);
        assert_eq!(
            name,
            "1970-01-01T00-00-00.000Z_top_000011_fail_A-778-12-_4QZK7M.png"
        );
        assert!(is_overlay(&name));
        for other in [
            "a.png",
            "2026-11-28.png",
            "x_y_000001_fail.png",
            "top-0000001.png",
        ] {
            assert!(!is_overlay(other), "{other}");
        }
    }
}
