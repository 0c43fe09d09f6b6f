//! A camera's recent frames with their moments, and the parts that wait for theirs. Pure: the time is the
//! caller's. Moments are those of the monotonic clock, so that a step of the wall clock moves no frame.
//!
//! A frame serves one trigger, and a later part has a later frame: the next trigger of the same time
//! gets the next frame, or none and the name of the part that has it. [`RingSettings::shares_frames`]
//! switches that off.
//!
//! Frames beyond the bound in bytes are let go, the oldest first (`skipped`). Parts are served in the
//! order of their triggers: one that must wait for a frame keeps the later ones waiting, as their
//! results would have to.

use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::{CapturedBy, Frame};
use crate::data::part::Part;
use crate::data::queued_frame::QueuedFrame;
use crate::trigger::own_clock::{ClockLook, ClockStep, between};
use jiff::SignedDuration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of gaps between frames on each side of a trigger that tell the usual one.
const GAPS: usize = 16;
/// Frames that come closer together come in pairs or in a burst.
const SHORT_GAP: Duration = Duration::from_millis(10);

/// Bounds of a camera's recent frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingSettings {
    /// Largest size of the kept pictures in bytes; one is always kept.
    pub bytes: usize,
    /// Largest distance in time from a part to its frame.
    pub window: Duration,
    /// True if a frame may serve several triggers.
    pub shares_frames: bool,
}

/// The recent frames and the waiting parts of a camera.
#[derive(Debug)]
pub struct Ring {
    settings: RingSettings,
    frames: VecDeque<KeptFrame>,
    /// Moments of those frames, and of the last ones that were let go, the newest last: few large
    /// pictures would not tell the usual gap.
    moments: VecDeque<Instant>,
    /// Size of the kept pictures.
    bytes: usize,
    asked: VecDeque<AskedParts>,
}

#[derive(Debug)]
struct KeptFrame {
    frame: Frame,
    /// The frame's ticket, until it becomes a part's frame.
    ticket: Option<Ticket>,
    /// The trigger that it serves. `None` while it is free.
    serves: Option<ServedTrigger>,
}

/// A trigger that has a frame.
#[derive(Debug, Clone)]
struct ServedTrigger {
    at: Instant,
    /// The first of its parts.
    part: Part,
}

/// Bounds of the frames that may serve a trigger, both excluded.
#[derive(Debug, Default)]
struct FreeSpan {
    after: Option<Instant>,
    before: Option<Instant>,
}

impl FreeSpan {
    fn contains(&self, at: Instant) -> bool {
        let is_behind = self.after.is_none_or(|after| at > after);
        let is_ahead = self.before.is_none_or(|before| at < before);

        is_behind && is_ahead
    }
}

/// The parts of one trigger.
#[derive(Debug)]
struct AskedParts {
    parts: Vec<Part>,
    at: Instant,
}

/// Parts that a new frame or trigger has decided.
#[derive(Debug, Default)]
pub struct RingMatches {
    /// Frames with the parts that they show, in the order of the triggers.
    pub waiting: Vec<QueuedFrame>,
    /// Parts without a frame: there are frames before and after their time, and none near it that is
    /// free.
    pub missed: Vec<MissedParts>,
}

/// The parts of one trigger without a frame, and what there is instead.
#[derive(Debug)]
pub struct MissedParts {
    /// The parts.
    pub parts: Vec<Part>,
    /// The frame nearest to their time, free or not. `None` if there is no frame at all.
    pub nearest: Option<NearestFrame>,
}

/// A frame that did not become a part's.
#[derive(Debug)]
pub struct NearestFrame {
    /// Time from the trigger to the frame; negative for an earlier frame.
    pub offset: SignedDuration,
    /// The part that has the frame. `None` if the frame is free, and too far away.
    pub serves: Option<Part>,
    /// Step of our clock, in words, between trigger and frame. `None` without a doubt.
    pub doubt: Option<String>,
    /// Time by which the frame is older than its moment, because it came in a burst.
    pub held_up: Duration,
}

impl MissedParts {
    /// The reason in words for a person.
    pub fn words(&self) -> String {
        let Some(nearest) = &self.nearest else {
            return "no frame was captured near its time".to_owned();
        };

        if let Some(step) = &nearest.doubt {
            return format!(
                "our clock was {step} between its time and the nearest frame: their distance is not known"
            );
        }

        let held_up = nearest.held_up;
        let Some(other) = &nearest.serves else {
            if !held_up.is_zero() {
                return format!(
                    "the frame near its time came in a burst, held up by about {:.3} s",
                    held_up.as_secs_f64()
                );
            }

            let offset = nearest.offset;
            return format!(
                "no frame was captured near its time: the nearest is {}",
                offset_words(offset)
            );
        };

        // The other part is named by the name that its trigger gave, which the PLC knows.
        let part_id = match &other.request.part_id {
            Some(part_id) => format!(" ({part_id})"),
            None => String::new(),
        };

        format!(
            "the frame near its time is that of part {}{part_id}, and serves one",
            other.seq
        )
    }
}

/// A distance in time from a trigger to a frame, in words: `2.013 s earlier`.
pub fn offset_words(offset: SignedDuration) -> String {
    let seconds = offset.as_secs_f64().abs();
    let direction = if offset.is_negative() {
        "earlier"
    } else {
        "later"
    };

    format!("{seconds:.3} s {direction}")
}

impl Ring {
    /// A ring without frames.
    pub fn new(settings: RingSettings) -> Self {
        Ring {
            settings,
            frames: VecDeque::new(),
            moments: VecDeque::new(),
            bytes: 0,
            asked: VecDeque::new(),
        }
    }

    /// Keeps the newest frame.
    pub fn put(&mut self, frame: Frame, ticket: Ticket, look: &ClockLook) -> RingMatches {
        self.bytes += frame.picture.rgb().len();
        self.moments.push_back(frame.captured);
        self.frames.push_back(KeptFrame {
            frame,
            ticket: Some(ticket),
            serves: None,
        });

        // The parts are served before the oldest frames go, because one of them may be wanted.
        let matches = self.serve(look);

        while self.bytes > self.settings.bytes
            && self.frames.len() > 1
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.frame.picture.rgb().len();
            oldest.settle(Outcome::Skipped);
        }

        while self.moments.len() > self.frames.len() + GAPS + 1 {
            self.moments.pop_front();
        }

        matches
    }

    /// Asks for the frame nearest to `at`, for the parts of one trigger.
    pub fn ask(&mut self, parts: Vec<Part>, at: Instant, look: &ClockLook) -> RingMatches {
        let asked = AskedParts { parts, at };
        self.asked.push_back(asked);

        // The frame may be there already: a trigger may come later than its part's frame.
        self.serve(look)
    }

    /// The newest frame. `None` if there is none yet.
    pub fn newest(&self) -> Option<&Frame> {
        let kept = self.frames.back()?;

        Some(&kept.frame)
    }

    /// Decides the waiting parts in their order, until one must wait for a frame.
    fn serve(&mut self, look: &ClockLook) -> RingMatches {
        let mut matches = RingMatches::default();

        while let Some(asked) = self.asked.front() {
            // A trigger is over when the deadlines of all its parts have passed.
            let is_over = asked
                .parts
                .iter()
                .all(|part| part.due() <= look.reading.now);
            if !is_over && !self.is_decided(asked.at) {
                break;
            }

            let Some(AskedParts { parts, at }) = self.asked.pop_front() else {
                break;
            };

            if is_over {
                continue; // its result has left
            }

            match self.nearest_free(at) {
                Some(index) if look.doubt(self.frames[index].frame.captured, at).is_none() => {
                    matches.add(&mut self.frames[index], parts, at);
                }

                _ => matches.missed.push(self.missed(parts, at, look)),
            }
        }

        matches
    }

    /// True if no frame that is still to come can be nearer than the nearest free one, or than the
    /// window allows.
    fn is_decided(&self, at: Instant) -> bool {
        let Some(newest) = self.newest() else {
            return false;
        };

        // A part that came later has a frame already: none that is still to come is before that.
        if self.free_span(at).before.is_some() {
            return true;
        }

        // The next frame comes after the usual gap. Where no free frame is near, an early one would
        // be welcome, so that half of the gap counts.
        let usual = self.usual_gap(at);
        let gap = usual.unwrap_or_default();
        let (reach, wait) = match self.nearest_free(at) {
            Some(index) => (self.frames[index].away_from(at), gap),
            None => (self.reach(usual), gap / 2),
        };

        let next = newest.captured + wait;
        next.checked_duration_since(at)
            .is_some_and(|ahead| ahead >= reach)
    }

    /// The usual gap between the frames about `at`. `None` if it is not known.
    fn usual_gap(&self, at: Instant) -> Option<Duration> {
        // Those of other moments do not count: a camera may change its rate, and frames that were held
        // up come in a burst long after the part.
        let newest_first = self.moments.iter().rev();
        let later = newest_first.take_while(|moment| **moment > at).count();
        let middle = self.moments.len() - later;

        // So many gaps lie between one moment more.
        let first = middle.saturating_sub(GAPS + 1);
        let end = self.moments.len().min(middle + GAPS + 1);
        let near = self.moments.range(first..end);
        let moments: Vec<Instant> = near.copied().collect();

        let mut gaps: Vec<Duration> = moments
            .windows(2)
            .map(|two| between(two[0], two[1]).unsigned_abs())
            .collect();

        gaps.sort();
        let is_likely = |gap: &Duration| *gap <= 2 * self.settings.window;

        match gaps.as_slice() {
            // A camera that was away makes a long gap: of so few it may be that.
            [one] => Some(*one).filter(is_likely),
            [shorter, longer] => Some(*longer).filter(is_likely).or(Some(*shorter)),
            gaps => usual_of(gaps),
        }
    }

    /// Longest distance of a part from its frame: three quarters of the usual gap, and the window at
    /// most. A part whose own frame is lost would else take the next part's frame, that part the one
    /// after, and so on. Frames that are shared need no such bound.
    fn reach(&self, usual: Option<Duration>) -> Duration {
        let window = self.settings.window;

        match usual {
            Some(gap) if !self.settings.shares_frames => window.min(gap * 3 / 4),
            _ => window,
        }
    }

    /// Time by which a frame is older than its moment, as far as is known: it is timed by its arrival, and
    /// came in a burst behind a long gap.
    fn held_up(&self, index: usize, usual: Option<Duration>) -> Duration {
        let is_by_arrival = self.frames[index].frame.captured_by == CapturedBy::Arrival;
        let is_bound = is_by_arrival && !self.settings.shares_frames;
        let Some(usual) = usual.filter(|_| is_bound) else {
            return Duration::ZERO;
        };

        // The kept frames are the newest of the moments.
        let place = self.moments.len() - self.frames.len() + index;
        let is_short = |place: usize| {
            let gap = self.gap_before(place);
            gap.is_some_and(|gap| gap < SHORT_GAP.min(usual / 4))
        };

        let mut first = place;
        while is_short(first) {
            first -= 1;
        }

        if first == place && !is_short(place + 1) {
            return Duration::ZERO; // it came alone
        }

        // They were captured at their usual gaps behind the last frame before them.
        let Some(gap) = self.gap_before(first) else {
            return Duration::ZERO;
        };

        let in_burst = between(self.moments[first], self.moments[place]).unsigned_abs();
        let came = gap + in_burst;
        let frames = (place - first + 1) as u32;

        came.saturating_sub(usual * frames)
    }

    /// The gap before the frame with that place among the moments.
    fn gap_before(&self, place: usize) -> Option<Duration> {
        let place_before = place.checked_sub(1)?;
        let before = self.moments.get(place_before)?;
        let moment = self.moments.get(place)?;

        let gap = between(*before, *moment);
        Some(gap.unsigned_abs())
    }

    /// Index of the frame nearest to `at` that may serve a part. `None` if it is not near enough.
    fn nearest_free(&self, at: Instant) -> Option<usize> {
        let span = self.free_span(at);
        let mut nearest: Option<usize> = None;

        for (index, kept) in self.frames.iter().enumerate() {
            let away = kept.away_from(at);
            let is_nearer = nearest.is_none_or(|other| {
                let other_away = self.frames[other].away_from(at);
                away < other_away
            });

            // Of frames that are equally near the earlier one is taken.
            if is_nearer && span.contains(kept.frame.captured) {
                nearest = Some(index);
            }
        }

        // A farther frame is not taken where the nearest one is doubtful: it may be another part's.
        let nearest = nearest?;
        let usual = self.usual_gap(at);
        let reach = self.reach(usual);

        // Both distances count: how long it was held up is a guess.
        let captured = self.frames[nearest].frame.captured;
        let held_up = self.held_up(nearest, usual);
        let truly = captured.checked_sub(held_up).unwrap_or(captured);

        let is_near = [captured, truly]
            .iter()
            .all(|moment| between(at, *moment).unsigned_abs() <= reach);

        is_near.then_some(nearest)
    }

    /// The frames that may serve a trigger: between those of the triggers before and after it. All
    /// frames where they are shared.
    fn free_span(&self, at: Instant) -> FreeSpan {
        let mut span = FreeSpan::default();

        if self.settings.shares_frames {
            return span;
        }

        for kept in &self.frames {
            let captured = kept.frame.captured;

            match &kept.serves {
                None => {}
                Some(served) if served.at <= at => span.after = span.after.max(Some(captured)),
                Some(_) if span.before.is_none_or(|before| captured < before) => {
                    span.before = Some(captured);
                }

                Some(_) => {}
            }
        }

        span
    }

    /// The parts that find no frame, with the frame that comes nearest.
    fn missed(&self, parts: Vec<Part>, at: Instant, look: &ClockLook) -> MissedParts {
        let nearest = self.nearest(at, look);

        MissedParts { parts, nearest }
    }

    /// The frame that comes nearest to `at`, whether it may serve a part or not.
    fn nearest(&self, at: Instant, look: &ClockLook) -> Option<NearestFrame> {
        let frames = self.frames.iter().enumerate();
        let (index, kept) = frames.min_by_key(|(_, kept)| kept.away_from(at))?;
        let captured = kept.frame.captured;

        // A frame beyond the window is no part's for being taken, but for being far away.
        let is_in_window = kept.away_from(at) <= self.settings.window;
        let served = kept.serves.as_ref().filter(|_| is_in_window);

        let usual = self.usual_gap(at);
        let doubt = look.doubt(captured, at);
        Some(NearestFrame {
            offset: between(at, captured),
            serves: served.map(|served| served.part.clone()),
            doubt: doubt.map(ClockStep::words),
            held_up: self.held_up(index, usual),
        })
    }

    fn settle_all(&mut self, outcome: Outcome) {
        for kept in self.frames.drain(..) {
            kept.settle(outcome);
        }

        self.moments.clear();
        self.bytes = 0;
    }
}

impl RingMatches {
    /// Adds parts and their frame. Parts of one frame in a row are looked at together.
    fn add(&mut self, kept: &mut KeptFrame, parts: Vec<Part>, at: Instant) {
        // A part with a frame is no longer missed at its deadline, but late.
        for part in &parts {
            part.mark_framed();
        }

        if kept.serves.is_none() {
            let first = parts.first().cloned();
            kept.serves = first.map(|part| ServedTrigger { at, part });
        }

        // Triggers of one frame in a row go through the inspector once.
        if let Some(last) = self.waiting.last_mut()
            && Arc::ptr_eq(&last.frame.picture, &kept.frame.picture)
        {
            last.parts.extend(parts);
            return;
        }

        self.waiting.push(QueuedFrame {
            frame: kept.frame.clone(),
            ticket: kept.ticket.take(),
            parts,
        });
    }
}

impl KeptFrame {
    fn away_from(&self, at: Instant) -> Duration {
        let offset = between(at, self.frame.captured);

        offset.unsigned_abs()
    }

    fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.settle(outcome);
        }
    }
}

/// The usual one of some gaps, the shortest first. `None` without any.
fn usual_of(gaps: &[Duration]) -> Option<Duration> {
    // The short gaps of pairs and bursts do not count, unless the camera is as fast as that.
    let short_count = gaps.partition_point(|gap| *gap < SHORT_GAP);
    let (short, long) = gaps.split_at(short_count);

    // Most of the time passes in the usual gaps.
    let short_time: Duration = short.iter().sum();
    let long_time: Duration = long.iter().sum();
    let is_fast = long.len() < 2 || long_time < short_time;
    let counted = if is_fast { gaps } else { long };

    // Lost frames make a few long gaps; where half of the gaps are long, the camera leaves frames out.
    let last = counted.len().checked_sub(1)?;
    let usual = counted.get(last * 3 / 5)?;

    Some(*usual)
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.settle_all(Outcome::Stopped);
    }
}

#[cfg(test)]
mod tests;
