//! The evidence stage keeps pictures of parts beside the line; never in a verdict's way.
//!
//! ```text
//! inspector --judged parts--------+--> rule --parts that are kept--> evidence --> files
//! store writer --parts unseen-----+     (64 parts, 128 MiB)
//! ```
//! Whoever offers a part never waits: the rule is asked, and a part that finds no room is counted. The
//! line's health tells of such parts, and of a folder that cannot be written, until a part is kept again.
//! The stage has a thread of its own, because a folder on a share may hang; a line that ends leaves a thread
//! that hangs behind.

use crate::base::exit::Failure;
use crate::base::health::{Diagnostics, Health};
use crate::base::priority::lower_own;
use crate::data::evidence_counts::EvidenceCounts;
use crate::data::report::Report;
use crate::data::shown_part::{ShownPart, ShownPicture};
use crate::data::verdict::{Reason, Verdict};
use crate::evidence::EvidenceSettings;
use crate::evidence::folder::EvidenceFolder;
use crate::evidence::rule::{KeptAs, RuleState};
use crate::image::part_picture;
use crate::line::overlays::OverlayPainter;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Diagnostics source of the evidence folder.
const EVIDENCE: &str = "evidence";
/// Capacity for parts on their way to the folder. A part beyond it is not kept.
const WAITING: usize = 64;
/// Bytes of pictures on their way to the folder. One picture always has room.
const WAITING_BYTES: u64 = 128 << 20;
/// Time for which parts without room are told at least.
const TOLD_FOR: Duration = Duration::from_secs(10);

/// A part on its way to the folder.
struct WaitingPart {
    part: ShownPart,
    kept_as: KeptAs,
}

/// What both ends know.
struct Counts {
    /// Counters of the run.
    all: Arc<EvidenceCounts>,
    /// Parts that found no room since the last one was kept.
    missed: AtomicU64,
}

/// The offering end. The stage ends when all clones are gone.
#[derive(Clone)]
pub struct EvidenceSender {
    parts: Sender<WaitingPart>,
    rule: Arc<Mutex<RuleState>>,
    counts: Arc<Counts>,
    diagnostics: Diagnostics,
}

/// The stage that keeps.
pub struct EvidenceStage {
    parts: Receiver<WaitingPart>,
    folder: EvidenceFolder,
    painter: OverlayPainter,
    counts: Arc<Counts>,
    diagnostics: Diagnostics,
    /// Parts that could not be written since the last one that was.
    failed: u64,
    /// Moment at which it was last seen that parts had found no room.
    missed_at: Option<Instant>,
}

/// The stage of these settings, and the end by which parts come to it.
pub fn evidence_stage(
    settings: EvidenceSettings,
    painter: OverlayPainter,
    counts: Arc<EvidenceCounts>,
    diagnostics: &Diagnostics,
) -> (EvidenceSender, EvidenceStage) {
    let (sender, parts) = bounded(WAITING);
    let counts = Arc::new(Counts {
        all: counts,
        missed: AtomicU64::new(0),
    });

    let sender = EvidenceSender {
        parts: sender,
        rule: Arc::new(Mutex::new(RuleState::new(settings.rule))),
        counts: counts.clone(),
        diagnostics: diagnostics.clone(),
    };

    let stage = EvidenceStage {
        parts,
        folder: EvidenceFolder::new(settings),
        painter,
        counts,
        diagnostics: diagnostics.clone(),
        failed: 0,
        missed_at: None,
    };

    (sender, stage)
}

impl EvidenceSender {
    /// Returns why a part would be kept; `None` if it is not. Each part is asked about once.
    pub fn kept_as(&self, report: &Report, is_late: bool) -> Option<KeptAs> {
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);

        rule.kept_as(report, is_late, Instant::now())
    }

    /// Hands over a part that is to be kept. Never waits: a part that finds no room is told of.
    pub fn keep(&self, part: ShownPart, kept_as: KeptAs) {
        let bytes = bytes_of(&part.picture);
        let all = &self.counts.all;
        let before = all.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before == 0 || before + bytes <= WAITING_BYTES;

        if has_room && self.parts.try_send(WaitingPart { part, kept_as }).is_ok() {
            return;
        }

        all.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        all.missed.fetch_add(1, Ordering::Relaxed);
        let missed = self.counts.missed.fetch_add(1, Ordering::Relaxed) + 1;
        let words = format!(
            "{missed} parts were not kept, the last just now: the folder takes parts more slowly than they come, or hangs; \
             see its disk, or keep fewer (evidence.least_interval_s, pass_every, near)"
        );

        if missed == 1 {
            tracing::warn!("{EVIDENCE}: {words}");
        }

        self.diagnostics
            .set(EVIDENCE, Health::MaintenanceRequired, words);
    }

    /// Offers a part that the inspector has not seen, as its result stands; `newest` is the newest picture of a
    /// camera.
    pub fn offer_unseen(&self, report: &Report, newest: impl FnOnce(&Arc<str>) -> ShownPicture) {
        if !is_unseen(report) {
            return;
        }

        if let Some(kept_as) = self.kept_as(report, false) {
            let part = ShownPart {
                picture: newest(&report.seen_by),
                report: Arc::new(report.clone()),
                aligned: None,
                beside: vec![],
                is_late: false,
                judged_by: None,
            };

            self.keep(part, kept_as);
        }
    }
}

/// True for a part whose picture the inspector neither has seen nor will see.
fn is_unseen(report: &Report) -> bool {
    // A part that is late has a frame, which the inspector still takes.
    let is_without_frame = matches!(
        report.reason,
        Some(Reason::CameraLost | Reason::Overload | Reason::NotReady)
    );

    report.verdict == Verdict::Undecided && is_without_frame && !report.was_seen()
}

fn bytes_of(picture: &ShownPicture) -> u64 {
    match picture {
        ShownPicture::Own(picture) | ShownPicture::Earlier(picture, _) => {
            picture.rgb().len() as u64
        }

        ShownPicture::Missing => 0,
    }
}

impl EvidenceStage {
    /// Keeps parts until nobody offers any more.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(mut self) -> Result<(), Failure> {
        // A verdict needs the processor sooner.
        lower_own();

        // The figures are those of the folder from the start on. A folder that cannot be read is told with the first part.
        let _ = self.folder.look();
        let bytes = self.folder.bytes();
        self.counts.all.bytes.store(bytes, Ordering::Relaxed);

        while let Ok(WaitingPart { part, kept_as }) = self.parts.recv() {
            let painter = &mut self.painter;
            let pictures = part_picture::draw_both(&part, |overlay| painter.paint(overlay));
            let kept = self.folder.keep(&part, kept_as, &pictures);
            let all = &self.counts.all;
            let bytes = bytes_of(&part.picture);
            all.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            all.bytes.store(self.folder.bytes(), Ordering::Relaxed);
            let ended = match kept {
                Ok(()) => &all.kept,
                Err(_) => &all.missed,
            };

            ended.fetch_add(1, Ordering::Relaxed);
            self.tell(kept);
        }

        Ok(())
    }

    /// A part was kept: a fault that is over is not told any more.
    fn tell_kept(&mut self) {
        // A folder that is too slow keeps one part and misses the next: each would be news.
        let missed = self.counts.missed.load(Ordering::Relaxed);
        let now = Instant::now();

        if missed > 0 {
            let since = *self.missed_at.get_or_insert(now);

            if now.duration_since(since) < TOLD_FOR {
                return;
            }

            // Those that are missed from now on are told anew.
            self.counts.missed.store(0, Ordering::Relaxed);
            self.missed_at = None;
        }

        if missed + self.failed > 0 {
            let lost = missed + self.failed;
            tracing::info!("{EVIDENCE}: parts are kept again, {lost} were not");
            self.diagnostics.clear(EVIDENCE);
        }

        self.failed = 0;
    }

    /// Tells the line's health when parts are not kept, and when they are again.
    fn tell(&mut self, kept: io::Result<()>) {
        let Err(error) = kept else {
            self.tell_kept();
            return;
        };

        self.failed += 1;
        let failed = self.failed;
        let words = format!("{failed} parts were not kept, the last just now: {error}");

        if failed == 1 {
            tracing::warn!("{EVIDENCE}: {words}");
        }

        self.diagnostics
            .set(EVIDENCE, Health::MaintenanceRequired, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Picture;
    use crate::data::report::tests::report;
    use crate::evidence::PictureFormat;
    use crate::evidence::kept::stems;
    use crate::evidence::rule::Rule;
    use crate::image::part_picture::PartPictures;
    use std::path::Path;

    fn stage(folder: &Path, diagnostics: &Diagnostics) -> (EvidenceSender, EvidenceStage) {
        let settings = EvidenceSettings {
            folder: folder.to_owned(),
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(86_400),
            format: PictureFormat::Png,
            rule: Rule {
                pass_every: 0,
                near: 0.0,
                least_interval: Duration::ZERO,
            },
        };

        evidence_stage(settings, OverlayPainter(None), Arc::default(), diagnostics)
    }

    fn offer(sender: &EvidenceSender, seq: u64, picture: &Arc<Picture>) {
        let report = Arc::new(report(seq));
        let kept_as = sender.kept_as(&report, false).expect("it failed");
        let part = ShownPart {
            report,
            picture: ShownPicture::Own(picture.clone()),
            aligned: None,
            beside: vec![],
            is_late: false,
            judged_by: None,
        };

        sender.keep(part, kept_as);
    }

    #[test]
    fn nobody_waits_for_a_folder_that_hangs_and_what_finds_no_room_is_told() {
        let place = tempfile::tempdir().expect("a folder");
        let diagnostics = Diagnostics::default();
        // A stage that never comes back from its first write takes nothing.
        let (sender, stage) = stage(place.path(), &diagnostics);
        let counts = stage.counts.all.clone();
        let picture = Arc::new(Picture::new(8, 8, vec![7; 192]).expect("its bytes"));
        let waiting = WAITING as u64;
        for seq in 1..=waiting {
            offer(&sender, seq, &picture);
        }

        assert_eq!(diagnostics.all(), (Health::Normal, vec![]));
        offer(&sender, waiting + 1, &picture);
        offer(&sender, waiting + 2, &picture);
        let (health, causes) = diagnostics.all();
        assert_eq!(health, Health::MaintenanceRequired);
        assert!(causes[0].contains("2 parts were not kept"), "{causes:?}");
        // It comes back: what had room is kept.
        drop(sender);
        stage.run().expect("it ends");
        assert_eq!(stems(place.path()).expect("read").len(), WAITING);
        let figures = counts.figures();
        assert_eq!((figures.kept, figures.missed), (waiting, 2));
        assert_eq!(figures.waiting_bytes, 0);
        assert!(figures.bytes > 0, "{figures:?}");
    }

    #[test]
    fn pictures_that_wait_are_bounded_by_bytes_and_one_always_has_room() {
        let place = tempfile::tempdir().expect("a folder");
        let diagnostics = Diagnostics::default();
        let (sender, _stage) = stage(place.path(), &diagnostics);
        let side = 7000; // 147 MB
        let picture = Picture::new(side, side, vec![0; 3 * side * side]);
        let picture = Arc::new(picture.expect("its bytes"));
        offer(&sender, 1, &picture);
        assert_eq!(diagnostics.all().1.len(), 0);
        offer(&sender, 2, &picture);
        assert_eq!(diagnostics.all().1.len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_until_it_can() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("evidence");
        std::fs::write(&folder, b"a file in its place").expect("written");
        let diagnostics = Diagnostics::default();
        let (_sender, mut stage) = stage(&folder, &diagnostics);
        let picture = Picture::new(8, 8, vec![7; 192]).expect("its bytes");
        let pictures = PartPictures {
            whole: picture.clone(),
            first: picture,
        };

        let part = ShownPart {
            report: Arc::new(report(1)),
            picture: ShownPicture::Missing,
            aligned: None,
            beside: vec![],
            is_late: false,
            judged_by: None,
        };

        for _ in 0..2 {
            let kept = stage.folder.keep(&part, KeptAs::Fail, &pictures);
            stage.tell(kept);
        }

        let (_, causes) = diagnostics.all();
        assert!(causes[0].contains("2 parts were not kept"), "{causes:?}");
        std::fs::remove_file(&folder).expect("removed");
        let kept = stage.folder.keep(&part, KeptAs::Fail, &pictures);
        stage.tell(kept);
        assert_eq!(diagnostics.all(), (Health::Normal, vec![]));
    }

    #[test]
    fn parts_that_the_inspector_shows_are_not_offered_twice() {
        let seen = Report {
            verdict: Verdict::Undecided,
            reason: Some(Reason::NotReady),
            ..report(1)
        };

        let of = |reason| Report {
            reason: Some(reason),
            captured_by: crate::data::frame::CapturedBy::Trigger,
            ..seen.clone()
        };

        assert!(!is_unseen(&seen) && !is_unseen(&of(Reason::Late)));
        for reason in [Reason::CameraLost, Reason::Overload, Reason::NotReady] {
            assert!(is_unseen(&of(reason)));
        }
    }
}
