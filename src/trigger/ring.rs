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
use crate::data::frame::Frame;
use crate::data::part::Part;
use crate::data::queued_frame::QueuedFrame;
use crate::trigger::own_clock::{ClockLook, ClockStep, between};
use jiff::SignedDuration;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of gaps between the frames about a trigger, of which the middle one counts.
const GAPS: usize = 5;

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
        self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before)
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

        let Some(other) = &nearest.serves else {
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
            bytes: 0,
            asked: VecDeque::new(),
        }
    }

    /// Keeps the newest frame.
    pub fn put(&mut self, frame: Frame, ticket: Ticket, look: &ClockLook) -> RingMatches {
        self.bytes += frame.picture.rgb().len();
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

        matches
    }

    /// Asks for the frame nearest to `at`, for the parts of one trigger.
    pub fn ask(&mut self, parts: Vec<Part>, at: Instant, look: &ClockLook) -> RingMatches {
        self.asked.push_back(AskedParts { parts, at });
        self.serve(look)
    }

    /// The newest frame. `None` if there is none yet.
    pub fn newest(&self) -> Option<&Frame> {
        self.frames.back().map(|kept| &kept.frame)
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
        let gap = self.usual_gap(at);
        let (reach, wait) = match self.nearest_free(at) {
            Some(index) => (self.frames[index].away_from(at), gap),
            None => (self.reach(&self.gaps_after(at), at), gap / 2),
        };

        let next = newest.captured + wait;
        next.checked_duration_since(at)
            .is_some_and(|ahead| ahead >= reach)
    }

    /// The middle one of the gaps between the frames about `at`. Zero if there is none; a single long
    /// gap is not usual either.
    fn usual_gap(&self, at: Instant) -> Duration {
        // The middle one of the gaps counts: a lost frame makes one long gap, and a burst makes
        // short ones.
        match self.gaps_about(at).as_slice() {
            [] => Duration::ZERO,
            [one] if *one > 2 * self.settings.window => Duration::ZERO,
            gaps => gaps[(gaps.len() - 1) / 2],
        }
    }

    /// Number of the frames up to `at`.
    fn count_until(&self, at: Instant) -> usize {
        let later = self.frames.iter().rev();
        let later = later.take_while(|kept| kept.frame.captured > at).count();
        self.frames.len() - later
    }

    /// The gaps between the last frames before `at`, the shortest first.
    fn gaps_before(&self, at: Instant) -> Vec<Duration> {
        let end = self.count_until(at);
        self.gaps(end.saturating_sub(GAPS + 1)..end)
    }

    /// The gaps between the first frames after `at`, the shortest first.
    fn gaps_after(&self, at: Instant) -> Vec<Duration> {
        let first = self.count_until(at);
        self.gaps(first..first + GAPS + 1)
    }

    /// The gaps between the frames about `at`, the shortest first; for a trigger of this moment those of
    /// the newest frames.
    fn gaps_about(&self, at: Instant) -> Vec<Duration> {
        // Those of other moments do not count: a camera may change its rate, and frames that were held
        // up come in a burst long after the part.
        let end = self.frames.len().min(self.count_until(at) + GAPS / 2 + 1);
        let first = end.saturating_sub(GAPS + 1);
        self.gaps(first..first + GAPS + 1)
    }

    /// The gaps between these frames, as far as they are there, the shortest first.
    fn gaps(&self, frames: Range<usize>) -> Vec<Duration> {
        let end = frames.end.min(self.frames.len());
        let times: Vec<Instant> = self
            .frames
            .range(frames.start.min(end)..end)
            .map(|kept| kept.frame.captured)
            .collect();

        let mut gaps: Vec<Duration> = times
            .windows(2)
            .map(|two| between(two[0], two[1]).unsigned_abs())
            .collect();

        gaps.sort();
        gaps
    }

    /// Longest distance of a part at `at` from a frame on the side with these gaps: three quarters of the
    /// longer usual gap, and the window at most. A part whose own frame is lost would else take the next
    /// part's frame, that part the one after, and so on. The longer gap counts, because frames that come
    /// in pairs have a short one between. Frames that are shared need no such bound.
    fn reach(&self, side: &[Duration], at: Instant) -> Duration {
        // Few frames after a part say nothing yet.
        let gaps = match side.len() < GAPS / 2 {
            true => Cow::from(self.gaps_about(at)),
            false => Cow::from(side),
        };

        if self.settings.shares_frames || gaps.len() < GAPS / 2 {
            return self.settings.window;
        }

        let longer = gaps[gaps.len() * 3 / 4];
        self.settings.window.min(longer * 3 / 4)
    }

    /// Index of the frame nearest to `at` that may serve a part. `None` if it is not near enough.
    fn nearest_free(&self, at: Instant) -> Option<usize> {
        let span = self.free_span(at);
        let mut nearest: Option<usize> = None;
        for (index, kept) in self.frames.iter().enumerate() {
            let away = kept.away_from(at);
            let is_nearer = nearest.is_none_or(|other| away < self.frames[other].away_from(at));
            if is_nearer && span.contains(kept.frame.captured) {
                nearest = Some(index);
            }
        }

        // A farther frame is not taken where the nearest one is doubtful: it may be another part's.
        nearest.filter(|index| {
            let kept = &self.frames[*index];
            let side = match kept.frame.captured > at {
                true => self.gaps_after(at),
                false => self.gaps_before(at),
            };

            kept.away_from(at) <= self.reach(&side, at)
        })
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
        let nearest = self
            .frames
            .iter()
            .min_by_key(|kept| kept.away_from(at))
            .map(|kept| NearestFrame {
                offset: between(at, kept.frame.captured),
                doubt: look.doubt(kept.frame.captured, at).map(ClockStep::words),
                // A frame beyond the window is no part's for being taken, but for being far away.
                serves: match &kept.serves {
                    Some(served) if kept.away_from(at) <= self.settings.window => {
                        Some(served.part.clone())
                    }
                    _ => None,
                },
            });

        MissedParts { parts, nearest }
    }

    fn settle_all(&mut self, outcome: Outcome) {
        for kept in self.frames.drain(..) {
            kept.settle(outcome);
        }

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
        between(at, self.frame.captured).unsigned_abs()
    }

    fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.settle(outcome);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.settle_all(Outcome::Stopped);
    }
}

#[cfg(test)]
mod tests;
