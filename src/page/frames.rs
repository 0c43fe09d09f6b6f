//! The newest judged frames on their way from the inspector to the page's pictures.
//!
//! A slot holds one frame; a newer one of the same slot replaces it, so that the inspector never waits
//! and a page that is behind shows the newest. Each place has two slots, one for parts that passed and
//! one for others: a reject is not replaced by the good part behind it. So two pictures a camera are
//! held at most (regions of a frame share its picture).

use crate::data::report::Report;
use crate::data::shown_part::ShownPart;
use crate::data::verdict::Verdict;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Place of a frame: the camera that saw the part, its region, and whether it passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    camera: Arc<str>,
    region: Option<Arc<str>>,
    has_passed: bool,
}

#[derive(Default)]
struct Slots {
    /// True while the page runs; a line without one puts nothing.
    is_wanted: AtomicBool,
    frames: Mutex<BTreeMap<SlotKey, ShownPart>>,
}

/// The inspector's end.
pub struct ShownFrames {
    slots: Arc<Slots>,
    /// Room for one: that something lies in the slots.
    bell: Sender<()>,
}

/// The page's end.
pub struct FrameSlots {
    slots: Arc<Slots>,
    rings: Receiver<()>,
}

/// Both ends.
pub fn frame_slots() -> (ShownFrames, FrameSlots) {
    let (bell, rings) = bounded(1);
    let slots = Arc::<Slots>::default();
    let shown = ShownFrames {
        slots: slots.clone(),
        bell,
    };

    (shown, FrameSlots { slots, rings })
}

impl SlotKey {
    fn of(report: &Report) -> Self {
        SlotKey {
            camera: report.seen_by.clone(),
            region: report.part.request.region.clone(),
            has_passed: report.verdict == Verdict::Pass,
        }
    }
}

impl ShownFrames {
    /// Puts a frame into its slot, in place of an older one.
    pub fn put(&self, frame: &ShownPart) {
        if !self.slots.is_wanted.load(Ordering::Relaxed) {
            return;
        }

        let key = SlotKey::of(&frame.report);
        self.slots.lock().insert(key, frame.clone());
        let _ = self.bell.try_send(()); // it rings already
    }
}

impl FrameSlots {
    /// Asks for frames from now on.
    pub fn begin(&self) {
        self.slots.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Waits for a frame, or for that long; false when the inspector has left.
    pub fn wait(&self, longest: Duration) -> bool {
        self.rings.recv_timeout(longest) != Err(RecvTimeoutError::Disconnected)
    }

    /// Takes the frames of all slots that are due.
    pub fn take(&self, mut is_due: impl FnMut(&SlotKey) -> bool) -> Vec<(SlotKey, ShownPart)> {
        let mut frames = self.slots.lock();
        let due: Vec<SlotKey> = frames.keys().filter(|key| is_due(key)).cloned().collect();
        due.into_iter()
            .filter_map(|key| frames.remove_entry(&key))
            .collect()
    }

    /// True while a frame waits until it is due.
    pub fn is_waiting(&self) -> bool {
        !self.slots.lock().is_empty()
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotKey, ShownPart>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Picture;
    use crate::data::report::tests::report;
    use crate::data::shown_part::ShownPicture;

    fn frame(seq: u64, verdict: Verdict) -> ShownPart {
        let report = Report {
            verdict,
            ..report(seq)
        };

        ShownPart {
            report: Arc::new(report),
            picture: ShownPicture::Own(Arc::new(
                Picture::new(1, 1, vec![0; 3]).expect("three bytes"),
            )),
            aligned: None,
            beside: vec![],
            is_late: false,
            judged_by: None,
        }
    }

    fn taken(slots: &FrameSlots) -> Vec<u64> {
        let frames = slots.take(|_| true);
        frames
            .iter()
            .map(|(_, frame)| frame.report.part.seq)
            .collect()
    }

    #[test]
    fn the_newest_frame_waits_and_a_reject_beside_it() {
        let (shown, slots) = frame_slots();
        shown.put(&frame(1, Verdict::Pass));
        assert!(!slots.is_waiting(), "no page asked for it");
        slots.begin();
        shown.put(&frame(2, Verdict::Fail));
        for seq in 3..6 {
            shown.put(&frame(seq, Verdict::Pass));
        }

        assert!(slots.take(|_| false).is_empty() && slots.is_waiting());
        assert_eq!(taken(&slots), [2, 5]);
        assert!(!slots.is_waiting());
        drop(shown);
        assert!(slots.wait(Duration::from_secs(60)), "the bell that rang");
        assert!(!slots.wait(Duration::from_secs(60)), "the inspector left");
    }
}
