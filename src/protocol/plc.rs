//! The messages for a PLC: `plc` beside each result, and `plc/state`.
//!
//! Both are flat, in a fixed order, without null: integers and two short texts, at most
//! [`MESSAGE_MAX`] bytes, so that a STRING(254) holds one. [`ABSENT`] stands for a number that does not exist.
//! Numbers that stand for words are those of `protocol/codes.rs`.

use super::birth::Identity;
use super::codes::{NO_LINE, NO_REASON, WORST_HEALTH, of_health, of_reason, of_state, run_number};
use super::fit::cut;
use crate::base::health::{LineCondition, LineState};
use crate::data::result::ResultRow;
use crate::data::verdict::Verdict;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Bytes of a message at most.
pub const MESSAGE_MAX: usize = 250;
/// Bytes of `part`, as JSON writes it.
const PART_MAX: usize = 40;
/// Bytes of `reg`, as JSON writes it.
const REGION_MAX: usize = 24;
/// Value of a number that does not exist.
pub const ABSENT: i64 = -1;
/// Parts of a score's unit in `s` and `t`.
const SCALE: f64 = 10_000.0;
/// Largest value of `s` and `t`.
const SCORE_MAX: f64 = 999_999.0;
/// Largest value of `rin` in milliseconds; a gate is minutes away at most.
const GATE_MAX: u128 = 999_999_999;
/// Largest value of `q`; it stays there beyond.
const WAITING_MAX: u64 = 32_767;
/// Values of `beat`, from 0: an INT holds each.
const BEATS: u64 = 32_768;

#[derive(Serialize)]
struct PlcMessage<'a> {
    n: u64,
    run: u16,
    part: &'a str,
    cam: usize,
    reg: &'a str,
    eval: u8,
    rej: u8,
    why: u8,
    s: i64,
    t: i64,
    rin: i64,
    cnt: i64,
    t0: i64,
}

/// The message `plc` of a result. `at_gate`: the moment at which the part is at the gate, where that is known.
pub fn encode(row: &ResultRow, identity: &Identity, at_gate: Option<Instant>) -> Vec<u8> {
    let part = row.part_id.as_deref().unwrap_or_default();
    let part = fitted(part, PART_MAX);
    let region = row.region.as_deref().unwrap_or_default();
    let region = fitted(region, REGION_MAX);

    let message = PlcMessage {
        // Which part it is.
        n: row.seq,
        run: run_number(&row.run_id),
        part: &part,
        cam: identity.camera_number(&row.camera),
        reg: &region,
        // What becomes of it, and why.
        eval: row.evaluation,
        rej: row.reject.into(),
        why: match row.reason {
            Some(reason) => of_reason(reason),
            None => NO_REASON,
        },
        s: scaled(row.score),
        t: scaled(row.threshold),
        rin: left_until(at_gate),
        cnt: row.count.unwrap_or(0),
        t0: row.captured_at.as_millisecond(),
    };

    serde_json::to_vec(&message).expect("a message is plain values")
}

/// A message `plc` of no part: `n` is 0, which a PLC leaves alone, and it rejects nothing.
pub fn trial() -> Vec<u8> {
    let message = PlcMessage {
        n: 0,
        run: 0,
        part: "",
        cam: 0,
        reg: "",
        eval: Verdict::Undecided.evaluation(),
        rej: 0,
        why: NO_REASON,
        s: ABSENT,
        t: ABSENT,
        rin: ABSENT,
        cnt: 0,
        t0: 0,
    };

    serde_json::to_vec(&message).expect("a message is plain values")
}

/// The beginning of a text that has at most so many bytes in JSON.
fn fitted(text: &str, most: usize) -> String {
    let mut fitted = cut(text, most);

    while escaped_bytes(&fitted) > most {
        fitted.pop();
    }

    fitted
}

/// Bytes of a text in JSON, without its quotes.
fn escaped_bytes(text: &str) -> usize {
    match serde_json::to_string(text) {
        Ok(json) => json.len() - 2,
        Err(_) => usize::MAX, // no text is such
    }
}

/// A score in ten-thousandths.
fn scaled(score: Option<f32>) -> i64 {
    let Some(score) = score else {
        return ABSENT;
    };

    let scaled = (f64::from(score) * SCALE).round();
    scaled.clamp(0.0, SCORE_MAX) as i64
}

/// Milliseconds from now until a moment: 0 where it has gone by.
fn left_until(at_gate: Option<Instant>) -> i64 {
    let Some(at_gate) = at_gate else {
        return ABSENT;
    };

    let left: Duration = at_gate.saturating_duration_since(Instant::now());
    left.as_millis().min(GATE_MAX) as i64
}

/// The line as `plc/state` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlcState {
    ready: u8,
    state: u8,
    health: u8,
    beat: u64,
    recipe: u16,
    q: u64,
}

impl PlcState {
    /// The last will: no line is there.
    pub const NO_LINE: PlcState = PlcState {
        ready: 0,
        state: NO_LINE,
        health: WORST_HEALTH,
        beat: 0,
        recipe: 0,
        q: 0,
    };

    /// The state of a line whose recipe has that number (0: none), with so many parts on their way.
    /// `is_heard`: the broker has the connection over which results go.
    pub fn of(condition: &LineCondition, is_heard: bool, recipe: u16, on_their_way: u64) -> Self {
        PlcState {
            ready: (condition.may_run() && is_heard).into(),
            state: of_state(condition.state),
            health: of_health(condition.health),
            beat: 0,
            recipe,
            q: on_their_way.min(WAITING_MAX),
        }
    }

    /// The same at another beat.
    pub fn at_beat(self, beats: u64) -> Self {
        PlcState {
            beat: beats % BEATS,
            ..self
        }
    }

    /// The same of a line that stops.
    pub fn halted(self) -> Self {
        PlcState {
            ready: 0,
            state: of_state(LineState::Halted),
            ..self
        }
    }

    /// True if a PLC has to hear of it at once, and not with the next beat.
    pub fn differs_from(&self, other: &PlcState) -> bool {
        let without_counters = |state: &PlcState| PlcState {
            beat: 0,
            q: 0,
            ..*state
        };

        without_counters(self) != without_counters(other)
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a message is plain values")
    }
}

#[cfg(test)]
mod tests {
    use super::super::birth::tests::identity;
    use super::*;
    use crate::base::health::Health;
    use crate::data::result::tests::row;
    use crate::data::verdict::Reason;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn text(row: &ResultRow, at_gate: Option<Instant>) -> String {
        String::from_utf8(encode(row, &identity(), at_gate)).expect("JSON")
    }

    #[test]
    fn a_part_is_told_in_integers_and_a_fixed_order() {
        let mut row = row("top", 1042);
        row.part_id = Some("A-77812".to_owned());
        row.verdict = Verdict::Fail;
        row.evaluation = 2;
        row.reason = None;
        row.score = Some(0.412);
        row.count = Some(120_345);
        row.captured_at = Timestamp::from_millisecond(1_795_898_023_072).expect("a time");
        let run = run_number("01TEST");
        let expected = format!(
            r#"{{"n":1042,"run":{run},"part":"A-77812","cam":1,"reg":"","eval":2,"rej":1,"why":0,"s":4120,"t":3370,"rin":-1,"cnt":120345,"t0":1795898023072}}"#
        );

        assert_eq!(text(&row, None), expected);
        let soon = Instant::now() + Duration::from_millis(700);
        let told: serde_json::Value = serde_json::from_str(&text(&row, Some(soon))).expect("JSON");
        let left = told["rin"].as_i64().expect("a number");
        assert!((0..=700).contains(&left), "{left}");
        let gone = Instant::now();
        assert!(text(&row, Some(gone)).contains(r#""rin":0,"#));
    }

    #[test]
    fn a_part_that_was_not_judged_has_its_reason_and_no_null() {
        for reason in Reason::ALL {
            let mut row = row("another", 7);
            row.reason = Some(reason);
            row.threshold = None;
            let told = text(&row, None);
            assert!(!told.contains("null"), "{told}");
            let code = of_reason(reason);
            let words = format!(r#""eval":3,"rej":1,"why":{code},"s":-1,"t":-1,"#);
            assert!(told.contains(&words), "{told}");
            assert!(told.contains(r#""part":"","cam":0,"#), "{told}");
        }
    }

    /// A row with every value at the end of its range that makes the longest message.
    fn longest(part_id: String, region: String) -> ResultRow {
        let mut row = row("top", u64::MAX);
        row.part_id = Some(part_id);
        row.region = Some(region);
        row.count = Some(i64::MIN);
        row.score = Some(f32::MAX);
        row.threshold = Some(f32::MAX);
        row.captured_at = Timestamp::MIN;
        row
    }

    #[test]
    fn a_message_at_all_extremes_has_at_most_250_bytes() {
        let far = Instant::now().checked_add(Duration::from_secs(1 << 30));
        for part in ["\"", "\\", "\u{1f600}", "\u{e4}", "x", "\u{7f}"] {
            let told = text(&longest(part.repeat(128), part.repeat(32)), far);
            assert!(told.len() <= MESSAGE_MAX, "{} bytes: {told}", told.len());
            assert!(told.contains(r#""n":18446744073709551615,"#), "{told}");
            assert!(told.contains(r#""s":999999,"t":999999,"rin":999999999,"#));
        }
    }

    proptest! {
        #[test]
        fn no_part_id_makes_a_message_too_long_or_unreadable(part in ".{0,128}", region in ".{0,32}") {
            let row = longest(part.clone(), region);
            let told = encode(&row, &identity(), None);
            prop_assert!(told.len() <= MESSAGE_MAX);
            let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
            let kept = told["part"].as_str().expect("a text");
            prop_assert!(part.starts_with(kept));
            prop_assert!(kept == part || escaped_bytes(kept) > PART_MAX - 6);
        }
    }

    #[test]
    fn a_state_is_flat_and_short() {
        let condition = LineCondition {
            state: LineState::Ready,
            ready: true,
            health: Health::Normal,
            causes: vec![],
            clock_synchronised: None,
        };

        let state = PlcState::of(&condition, true, 3, 0).at_beat(881);
        let told = String::from_utf8(state.encode()).expect("JSON");
        assert_eq!(
            told,
            r#"{"ready":1,"state":2,"health":0,"beat":881,"recipe":3,"q":0}"#
        );

        let most = PlcState::of(&condition, true, u16::MAX, u64::MAX).at_beat(u64::MAX);
        assert!(most.encode().len() <= 75);
        assert_eq!(most.beat, 32_767);
        assert_eq!(PlcState::of(&condition, false, 3, 0).ready, 0);
        assert_eq!(state.halted().ready, 0);
        assert!(!state.differs_from(&state.at_beat(882)));
        assert!(state.differs_from(&state.halted()));
    }
}
