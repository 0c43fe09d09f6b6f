//! What the page remembers of the line's events: the last parts of each place, and the last events in
//! words.
//!
//! Bounds: [`RECENT`] parts of each of [`PLACES`] places, [`EVENTS`] events. Counters are not made of
//! events, which may be missed: they are the line's own (`data::part_counts`).

use super::painter::place;
use super::words::{Mark, camera_mark, mark};
use crate::camera::CameraStatus;
use crate::data::part_counts::PLACES;
use crate::protocol::answer::AnswerStatus;
use crate::protocol::command::CLEANED;
use crate::protocol::event::{CommandOutcome, Event, PartResult};
use crate::protocol::shift_check::SHIFT_CHECK;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Parts of a place that are shown as a film strip.
pub const RECENT: usize = 20;
/// Events that are shown in words.
pub const EVENTS: usize = 100;
/// Seconds over which the speed of the line is measured.
const SPEED_SECONDS: usize = 60;

/// The page's memory.
#[derive(Default)]
pub struct Board {
    /// Places with their parts, by name.
    pub places: BTreeMap<String, PlaceParts>,
    /// The last events, the newest first.
    pub events: VecDeque<EventWords>,
    /// Time at which a challenge was met last in this run.
    pub challenge_met: Option<Timestamp>,
    /// The last outcomes of lenses that were cleaned, the newest first.
    pub cleaned: VecDeque<(Timestamp, String)>,
    /// Recipe with its thresholds that was told to judge last. `None` before the first.
    judging: Option<Judging>,
    /// Causes when they were looked at last, by source.
    causes: BTreeMap<String, String>,
    /// Parts of the whole line at each of the last seconds, the oldest first.
    seconds: VecDeque<u64>,
}

/// A recipe with its thresholds and its gallery.
#[derive(PartialEq)]
struct Judging {
    recipe: String,
    threshold: Option<f32>,
    regions: BTreeMap<String, Option<f32>>,
    /// Hash of what it was taught.
    gallery: Option<String>,
}

/// The parts of one place.
pub struct PlaceParts {
    /// Number of the place in this run, never used twice: addresses of pictures have it.
    pub number: usize,
    /// The last parts, the newest first.
    pub recent: VecDeque<Arc<PartResult>>,
    /// Parts so far that the page was told of.
    pub told: u64,
}

/// One event, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct EventWords {
    /// Time of the event.
    pub at: Timestamp,
    /// How it is.
    pub mark: Mark,
    /// What happened.
    pub words: String,
}

impl Board {
    /// Remembers an event.
    pub fn see(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Result(result) => self.see_result(result),
            Event::Camera { name, status } => self.see_camera(&name, &status),
            Event::Identity(identity) => {
                // Which recipes can be selected is told in the same event, and is no news here.
                let judging = Judging {
                    recipe: identity.recipe.clone(),
                    threshold: identity.threshold,
                    regions: identity.regions.clone(),
                    gallery: identity.gallery.clone(),
                };

                if self.judging.as_ref() != Some(&judging) {
                    let words = format!("{} judges from now on", judging.recipe);
                    self.note(now, mark("calm", "●", "recipe"), words);
                    self.judging = Some(judging);
                }
            }

            Event::Outcome(outcome) => self.see_outcome(&outcome, now),
            // The shadow judges nothing that goes to the gate.
            Event::Difference(_) | Event::Heatmap { .. } | Event::Snapshot { .. } => {}
        }
    }

    /// The name of the place with that number.
    pub fn place_of(&self, number: usize) -> Option<&str> {
        let mut places = self.places.iter();
        let (name, _) = places.find(|(_, place)| place.number == number)?;

        Some(name)
    }

    /// Names under which parts have come: those of places without their regions.
    pub fn cameras(&self) -> Vec<String> {
        let names = self.places.keys();
        let names: BTreeSet<&str> = names.filter_map(|name| name.split('/').next()).collect();

        names.into_iter().map(str::to_owned).collect()
    }

    /// Looks at the line once a second: causes that came or went, and its speed.
    pub fn look(&mut self, causes: &[String], parts: u64, now: Timestamp) {
        // A cause whose words change goes on: a disk has less room every second.
        let causes: BTreeMap<String, String> = causes
            .iter()
            .map(|cause| (source(cause).to_owned(), cause.clone()))
            .collect();

        // What was not there before began; what is not there now is over.
        let before = std::mem::take(&mut self.causes);

        for (source, cause) in &causes {
            if !before.contains_key(source) {
                let began = mark("bad", "▲", "began");
                self.note(now, began, cause.clone());
            }
        }

        for (source, cause) in before {
            if !causes.contains_key(&source) {
                let over = mark("good", "▼", "over");
                self.note(now, over, cause);
            }
        }

        self.causes = causes;

        // A minute has one reading more than seconds: it is a difference of its ends.
        self.seconds.push_back(parts);

        if self.seconds.len() > SPEED_SECONDS + 1 {
            self.seconds.pop_front();
        }
    }

    /// Parts of the last minute. `None` before a minute was seen.
    pub fn parts_a_minute(&self) -> Option<u64> {
        let is_full = self.seconds.len() > SPEED_SECONDS;
        let first = self.seconds.front().filter(|_| is_full)?;
        let last = self.seconds.back()?;

        Some(last.saturating_sub(*first))
    }

    fn see_result(&mut self, result: Arc<PartResult>) {
        let number = self.places.len();
        let name = place(&result.camera, result.region.as_deref());

        // The bound holds for new places; a known one goes on.
        let is_new = !self.places.contains_key(&name);

        if number >= PLACES && is_new {
            return;
        }

        let place = self.places.entry(name).or_insert_with(|| PlaceParts {
            number,
            recent: VecDeque::new(),
            told: 0,
        });

        place.told += 1;
        place.recent.push_front(result);
        place.recent.truncate(RECENT);
    }

    fn see_camera(&mut self, name: &str, status: &CameraStatus) {
        let mark = camera_mark(Some(status.state));
        let mut words = format!("camera {name} {}", mark.word);

        // A camera may keep its last reason while it works again.
        if let (Some(reason), "bad") = (&status.last_reason, mark.class) {
            words += &format!(": {reason}");
        }

        self.note(status.since, mark, words);
    }

    fn see_outcome(&mut self, outcome: &CommandOutcome, now: Timestamp) {
        let answer = &outcome.answer;
        let is_done = answer.status == AnswerStatus::Done;

        // A command that goes on has an answer to come, which is the one that is told.
        let mark = match answer.status {
            AnswerStatus::Progress | AnswerStatus::Accepted => return,
            AnswerStatus::Done => mark("good", "✓", "done"),
            AnswerStatus::Rejected => mark("bad", "✕", "not done"),
        };

        // All known parts of a shift check had the verdict that they must have, as those of a challenge.
        if is_done && ["challenge", SHIFT_CHECK].contains(&outcome.name) {
            self.challenge_met = Some(now);
        }

        let reason = answer.reason.as_deref().unwrap_or(mark.word);
        if outcome.name == CLEANED {
            self.cleaned.push_front((now, reason.to_owned()));
            self.cleaned.truncate(RECENT);
        }

        let words = format!("{}: {reason}", outcome.name);
        self.note(now, mark, words);
    }

    fn note(&mut self, at: Timestamp, mark: Mark, words: String) {
        self.events.push_front(EventWords { at, mark, words });
        self.events.truncate(EVENTS);
    }
}

/// The source of a cause: its words before the colon.
pub fn source(cause: &str) -> &str {
    cause.split_once(": ").map_or(cause, |(source, _)| source)
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::result;
    use super::*;
    use crate::camera::CameraState;
    use crate::data::verdict::Verdict;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn words(board: &Board) -> Vec<&str> {
        board.events.iter().map(|event| &*event.words).collect()
    }

    #[test]
    fn the_last_parts_of_each_place_are_kept() {
        let mut board = Board::default();
        for seq in 1..=50 {
            let part = Arc::new(result(seq, Verdict::Pass));
            board.see(Event::Result(part), NOW);
        }

        let left = PartResult {
            region: Some("left".to_owned()),
            ..result(51, Verdict::Fail)
        };

        board.see(Event::Result(Arc::new(left)), NOW);
        let top = &board.places["top"];
        assert_eq!((top.recent.len(), top.told), (RECENT, 50));
        assert_eq!((top.recent[0].seq, top.recent[19].seq), (50, 31));
        assert_eq!(board.place_of(1), Some("top/left"));
        assert_eq!(board.place_of(2), None);
    }

    #[test]
    fn events_are_told_in_words_and_the_oldest_are_forgotten() {
        let mut board = Board::default();
        let status = CameraStatus {
            state: CameraState::Offline,
            since: NOW,
            retries: 0,
            last_reason: Some("refused".to_owned()),
            clock_offset: None,
        };

        let name: Arc<str> = "top".into();
        board.see(Event::Camera { name, status }, NOW);
        assert_eq!(words(&board), ["camera top cannot be reached: refused"]);
        for count in 0..EVENTS {
            board.look(&[format!("disk {count}: full")], 0, NOW);
        }

        assert_eq!(board.events.len(), EVENTS);
        board.look(&[], 0, NOW);
        assert_eq!(board.events[0].mark.word, "over");
    }

    #[test]
    fn a_cause_whose_words_change_is_not_over() {
        let mut board = Board::default();
        board.look(&["disk: 2 GB".to_owned()], 0, NOW);
        board.look(&["disk: 1 GB".to_owned()], 0, NOW);
        assert_eq!(words(&board), ["disk: 2 GB"]);
        board.look(&[], 0, NOW);
        assert_eq!(words(&board), ["disk: 1 GB", "disk: 2 GB"]);
    }

    #[test]
    fn speed_is_told_once_a_minute_was_seen() {
        let mut board = Board::default();
        for second in 0..61 {
            assert_eq!(board.parts_a_minute(), None);
            board.look(&[], second * 2, NOW);
        }

        assert_eq!(board.parts_a_minute(), Some(120));
    }
}
