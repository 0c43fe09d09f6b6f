//! Layer 1: a picture from a camera, when it was taken, and the ticket that accounts for it.
//!
//! Invariant: every captured frame has exactly one outcome. A [`Ticket`] is made when a frame is captured
//! (`captured += 1`) and consumed by [`Ticket::settle`]; one that is dropped unsettled is a bug of ours, counts as
//! `failed` and says so, so that the counters balance even then.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An 8-bit RGB picture, rows tightly packed from the top left.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// `3 * width * height` bytes, checked by [`Picture::new`].
    rgb: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PictureError {
    #[error("a picture of {width} x {height} pixels has nothing to look at")]
    Empty { width: usize, height: usize },
    #[error("a picture of {width} x {height} pixels needs {needed} bytes of RGB, got {got}")]
    Size { width: usize, height: usize, needed: usize, got: usize },
}

impl Picture {
    /// # Errors
    /// When a side is zero or `rgb` is not `3 * width * height` bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }
        let needed = 3 * width * height;
        if rgb.len() != needed {
            return Err(PictureError::Size { width, height, needed, got: rgb.len() });
        }
        Ok(Picture { width, height, rgb })
    }

    /// Pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }
}

/// A rectangle of a picture, in its pixels from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Area {
    pub x: usize,
    pub y: usize,
    /// At least 1, as is `h`.
    pub w: usize,
    pub h: usize,
}

impl Area {
    /// All of a picture of `width` x `height` pixels.
    pub fn whole(width: usize, height: usize) -> Self {
        Area { x: 0, y: 0, w: width, h: height }
    }

    /// The largest square in its middle.
    pub fn middle_square(self) -> Self {
        let side = self.w.min(self.h);
        Area { x: self.x + (self.w - side) / 2, y: self.y + (self.h - side) / 2, w: side, h: side }
    }

    pub fn is_inside(&self, width: usize, height: usize) -> bool {
        let ends = (self.x.checked_add(self.w), self.y.checked_add(self.h));
        matches!(ends, (Some(right), Some(bottom)) if right <= width && bottom <= height)
    }
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{},{}", self.x, self.y, self.w, self.h)
    }
}

impl std::str::FromStr for Area {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let numbers: Option<Vec<usize>> = words.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[x, y, w, h]) if w > 0 && h > 0 => Ok(Area { x, y, w, h }),
            _ => Err(format!("must be x,y,width,height in whole pixels, the sides at least 1; got {words:?}")),
        }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

/// Whose clock stamped `captured_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CapturedBy {
    /// The sender's (RTCP sender report, driver).
    Sender,
    /// Ours, when the frame arrived.
    Arrival,
    /// There is no frame: when the part was accepted.
    Trigger,
}

/// One picture of one camera on its way through the line.
#[derive(Debug, Clone)]
pub struct Frame {
    pub camera: Arc<str>,
    pub picture: Arc<Picture>,
    pub captured_at: Timestamp,
    pub captured_by: CapturedBy,
    /// Our monotonic clock when the frame arrived: latencies and deadlines count from here.
    pub arrived: Instant,
    /// The decoder lacked data for it.
    pub corrupt: bool,
    /// What the camera spent on decoding and colour conversion, where it can tell.
    pub decode: Option<Duration>,
    /// The file's name for a folder camera; nothing for live cameras.
    pub part_id: Option<String>,
}

/// What became of a captured frame. Exactly one of these for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A verdict was given (pass, fail, or undecided with its reason).
    Judged,
    /// A newer frame of the same camera took its place before the inspector was free.
    Replaced,
    /// The trigger did not want it.
    Skipped,
    /// The engine failed on it.
    Failed,
    /// The line stopped first.
    Stopped,
}

/// Counters of one camera. `captured` equals the sum of the outcomes plus the frames still on their way.
#[derive(Debug, Default)]
pub struct Tally {
    captured: AtomicU64,
    outcomes: [AtomicU64; 5],
}

/// [`Tally`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TallyCount {
    pub captured: u64,
    pub judged: u64,
    pub replaced: u64,
    pub skipped: u64,
    pub failed: u64,
    pub stopped: u64,
}

impl Tally {
    /// Counts a captured frame and gives the ticket that must be settled for it.
    pub fn captured(self: &Arc<Self>) -> Ticket {
        self.captured.fetch_add(1, Ordering::Relaxed);
        Ticket { tally: Some(self.clone()) }
    }

    pub fn count(&self) -> TallyCount {
        // Outcomes first: a frame captured meanwhile is then still on its way, never settled before it was captured.
        let [judged, replaced, skipped, failed, stopped] =
            std::array::from_fn(|i| self.outcomes[i].load(Ordering::SeqCst));
        let captured = self.captured.load(Ordering::SeqCst);
        TallyCount { captured, judged, replaced, skipped, failed, stopped }
    }
}

impl TallyCount {
    /// Frames captured and not yet settled.
    pub fn on_their_way(&self) -> u64 {
        self.captured - (self.judged + self.replaced + self.skipped + self.failed + self.stopped)
    }

    /// True when every captured frame has had its outcome.
    pub fn balances(&self) -> bool {
        self.on_their_way() == 0
    }
}

/// The right, and the duty, to say once what became of a frame.
#[derive(Debug)]
#[must_use = "a ticket must be settled"]
pub struct Ticket {
    tally: Option<Arc<Tally>>,
}

impl Ticket {
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(tally) = self.tally.take() {
            tally.outcomes[outcome as usize].fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            tally.outcomes[Outcome::Failed as usize].fetch_add(1, Ordering::SeqCst);
            if !std::thread::panicking() {
                tracing::error!("a frame was dropped without an outcome; counted as failed (please report this)");
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame of one black pixel, for tests of what handles frames.
    pub(crate) fn frame(camera: &str) -> Frame {
        Frame {
            camera: camera.into(),
            picture: Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes")),
            captured_at: Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: None,
            part_id: None,
        }
    }

    #[test]
    fn a_picture_must_have_all_its_bytes() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_ok());
        assert_eq!(Picture::new(2, 1, vec![0; 5]), Err(PictureError::Size { width: 2, height: 1, needed: 6, got: 5 }));
        assert_eq!(Picture::new(0, 1, vec![]), Err(PictureError::Empty { width: 0, height: 1 }));
    }

    #[test]
    fn every_ticket_counts_once_even_when_it_is_dropped() {
        let tally = Arc::new(Tally::default());
        let outcomes = [Outcome::Judged, Outcome::Replaced, Outcome::Skipped, Outcome::Failed, Outcome::Stopped];
        for outcome in outcomes {
            tally.captured().settle(outcome);
        }
        let waiting = tally.captured();
        assert_eq!(tally.count().on_their_way(), 1);
        drop(waiting);
        let count = tally.count();
        assert!(count.balances());
        assert_eq!((count.captured, count.judged, count.failed), (6, 1, 2));
    }
}
