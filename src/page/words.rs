//! Words and symbols of the page, for people: times, verdicts, reasons.

use super::numbers::{day_and_second, decimal};
use crate::camera::CameraState;
use crate::data::verdict::{Reason, Verdict};
use crate::protocol::event::PartResult;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How something is, told by a word, a symbol and a class of colour, never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Class in the style sheet: `good`, `bad`, `doubt` or `calm`.
    pub class: &'static str,
    /// Symbol.
    pub symbol: &'static str,
    /// Word.
    pub word: &'static str,
}

/// Builds a [`Mark`].
pub const fn mark(class: &'static str, symbol: &'static str, word: &'static str) -> Mark {
    Mark {
        class,
        symbol,
        word,
    }
}

/// The mark of a verdict.
pub fn verdict_mark(verdict: Verdict) -> Mark {
    match verdict {
        Verdict::Pass => mark("good", "✓", "PASS"),
        Verdict::Fail => mark("bad", "✕", "FAIL"),
        Verdict::Undecided => mark("doubt", "?", "UNDECIDED"),
    }
}

/// The mark of a camera's state; `None` while the camera starts.
pub fn camera_mark(state: Option<CameraState>) -> Mark {
    match state {
        Some(CameraState::Online) => mark("good", "✓", "shows pictures"),
        Some(CameraState::Idle) => mark("good", "✓", "waits for a trigger"),
        Some(CameraState::Stalled) => mark("bad", "✕", "shows no new picture"),
        Some(CameraState::Offline) => mark("bad", "✕", "cannot be reached"),
        Some(CameraState::Disabled) => mark("calm", "■", "has ended"),
        None => mark("calm", "…", "is being started"),
    }
}

/// Why a part has its verdict, as one sentence.
pub fn reason_sentence(result: &PartResult) -> String {
    // An undecided part may have neither, and has a reason in its place.
    let threshold = |words: &str| match (result.score, result.threshold) {
        (Some(score), Some(threshold)) => {
            let (score, threshold) = (decimal(score, 3), decimal(threshold, 3));

            format!("score {score} {words} {threshold}")
        }

        (Some(score), None) => format!("score {}; there is no threshold", decimal(score, 3)),
        (None, _) => String::new(),
    };

    let sentence = match result.verdict {
        Verdict::Pass => return threshold("is below the threshold"),
        Verdict::Fail => return threshold("reaches the threshold"),
        Verdict::Undecided => result.reason.map_or("it was not judged", undecided),
    };

    match &result.detail {
        Some(detail) => format!("{sentence}: {detail}"),
        None => sentence.to_owned(),
    }
}

fn undecided(reason: Reason) -> &'static str {
    match reason {
        Reason::Late => "the verdict was not there in time",
        Reason::Overload => "too many pictures waited",
        Reason::CameraLost => "the camera showed no picture of it",
        Reason::BadImage => "its picture cannot be judged",
        Reason::EngineError => "the engine failed",
        Reason::NotReady => "the line was not ready to judge",
        Reason::NoPart => "no part was found in the picture",
    }
}

/// What happens to a part at the gate.
pub fn gate_words(result: &PartResult) -> &'static str {
    if result.reject {
        "to be rejected"
    } else {
        "goes on"
    }
}

/// A span of time in two units at most: `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = seconds / 86_400;

    // A third unit would change faster than anybody looks.
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The time from `since` to `now`, as [`span`].
pub fn since(since: Timestamp, now: Timestamp) -> String {
    let passed = now.as_second() - since.as_second();

    // A clock that was set back gives a negative span, which is shown as 0.
    span(passed)
}

/// A time of day of this machine.
pub fn time_of_day(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let local = at.to_zoned_datetime(zone);

    local.strftime("%H:%M:%S").to_string()
}

/// A time of this machine with its day.
pub fn local_time(at: Timestamp) -> String {
    day_and_second(TimeZone::system().to_datetime(at))
}

/// A share as a percentage; a dash without one.
pub fn percent(share: Option<f64>) -> String {
    let Some(share) = share else {
        return "–".to_owned();
    };

    let hundredths = decimal(share * 100.0, 1);

    format!("{hundredths} %")
}

/// Bytes in GB, as disks are sold.
pub fn gigabytes(bytes: u64) -> String {
    let billions = decimal(bytes as f64 / 1e9, 1);

    format!("{billions} GB")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::result::tests::row;

    pub(in crate::page) fn result(seq: u64, verdict: Verdict) -> PartResult {
        let row = row("top", seq);
        PartResult {
            verdict,
            reason: (verdict == Verdict::Undecided).then_some(Reason::BadImage),
            detail: None,
            score: (verdict != Verdict::Undecided).then_some(0.4125),
            threshold: Some(0.3),
            region: None,
            ..PartResult::of(&row)
        }
    }

    #[test]
    fn each_verdict_has_its_reason_in_words() {
        let pass = reason_sentence(&result(1, Verdict::Pass));
        assert_eq!(pass, "score 0.412 is below the threshold 0.300");

        let mut undecided = result(1, Verdict::Undecided);
        assert_eq!(reason_sentence(&undecided), "its picture cannot be judged");
        undecided.detail = Some("black".to_owned());
        assert_eq!(
            reason_sentence(&undecided),
            "its picture cannot be judged: black"
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [-5, 59, 60, 3725, 90_061].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h"]);
    }
}
