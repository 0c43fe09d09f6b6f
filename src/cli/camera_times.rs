//! Findings of `winspect check` about a camera's times: does its rate fit its trigger and the belt, and how
//! far is its clock off?

use crate::config::CameraConfig;
use crate::data::frame::Frame;
use crate::trigger::{RingSettings, Stretches, Trigger};
use jiff::SignedDuration;
use std::time::Duration;

/// Distance of a camera's clock from ours that a person should mend.
const CLOCK_TOLD: SignedDuration = SignedDuration::from_secs(1);

/// A finding about a camera's times.
#[derive(Debug, PartialEq)]
pub enum Finding {
    /// Good to know.
    Note(String),
    /// Parts will be undecided, or be judged on pictures that do not show them.
    Warning(String),
}

/// Returns what the usual time between two of these frames means for the camera's trigger. `None`
/// where there are too few frames, or the trigger asks nothing of the rate.
pub fn judge_rate(config: &CameraConfig, frames: &[Frame]) -> Option<Finding> {
    let gap = usual_gap(frames)?;
    match &config.trigger {
        Trigger::Command(settings) => Some(judge_window(settings, gap, config.belt_mm_s)),
        Trigger::Distance(stretches) => judge_stretches(stretches, gap),
        Trigger::Continuous | Trigger::Frame | Trigger::EveryN(_) | Trigger::Presence(_) => None,
    }
}

/// Returns how far the camera's clock is off. A distance that is small may be the time that a picture
/// takes to come, which `delay_ms` is for. `None` for a camera without a clock.
pub fn judge_clock(offset: Option<SignedDuration>, tells_clock: bool) -> Option<Finding> {
    let Some(offset) = offset else {
        let words = "it has not told its clock so far; its frames are timed by their arrival";
        return tells_clock.then(|| Finding::Note(words.to_owned()));
    };

    let seconds = offset.as_secs_f64();
    if offset.abs() >= CLOCK_TOLD {
        return Some(Finding::Warning(format!(
            "its clock is {seconds:+.1} s off ours, and used for intervals alone; set it (NTP)"
        )));
    }

    Some(Finding::Note(format!(
        "its clock is {:+.0} ms off ours; where it is right, its pictures take that long, and delay_ms should say so",
        seconds * 1e3
    )))
}

/// The middle one of the times between two frames, which a burst or a lost frame does not move.
fn usual_gap(frames: &[Frame]) -> Option<Duration> {
    let mut gaps = vec![];
    for two in frames.windows(2) {
        let gap = two[1].captured_at.duration_since(two[0].captured_at);
        gaps.push(gap.unsigned_abs());
    }

    gaps.sort();
    gaps.get(gaps.len() / 2).copied()
}

/// A trigger finds a frame for certain where two frames are at most two windows apart.
fn judge_window(settings: &RingSettings, gap: Duration, belt_mm_s: Option<f64>) -> Finding {
    let gap_ms = gap.as_millis();
    let window_ms = settings.window.as_millis();
    if gap > 2 * settings.window {
        let share = 100.0 - 200.0 * settings.window.as_secs_f64() / gap.as_secs_f64();
        let enough = gap_ms.div_ceil(2);
        return Finding::Warning(format!(
            "a frame comes each {gap_ms} ms, and window_ms = {window_ms} finds none for {share:.0} % of all times; \
             raise the rate, or window_ms to {enough}"
        ));
    }

    let mut words = if settings.shares_frames {
        format!("a frame comes each {gap_ms} ms, and may serve several parts (share_frames)")
    } else {
        format!("a frame comes each {gap_ms} ms and serves one part: closer parts are undecided")
    };

    // The frame may be half of the gap away from the trigger, or the window where its own is taken.
    if let Some(speed) = belt_mm_s {
        let apart = speed * gap.as_secs_f64();
        let off = speed * settings.window.as_secs_f64();
        words += &format!(
            "; at belt_mm_s = {speed} the belt moves {apart:.0} mm between two frames, and at most {off:.0} mm between \
             a trigger and its frame"
        );
    }

    Finding::Note(words)
}

/// A web is seen without gaps where a frame comes for each stretch.
fn judge_stretches(stretches: &Stretches, gap: Duration) -> Option<Finding> {
    let stretch = Duration::from_secs_f64(stretches.step_mm / stretches.mm_per_s);
    if gap <= stretch {
        return None;
    }

    Some(Finding::Warning(format!(
        "a frame comes each {} ms, and the web moves on by a stretch each {} ms: stretches are not seen; raise the \
         rate, or stretch_mm",
        gap.as_millis(),
        stretch.as_millis()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::frame::tests::frame;
    use jiff::Timestamp;

    fn frames(gap_ms: i64) -> Vec<Frame> {
        let at = |number| Timestamp::UNIX_EPOCH + SignedDuration::from_millis(number * gap_ms);
        let mut frames = vec![];
        for number in 0..6 {
            frames.push(Frame {
                captured_at: at(number),
                ..frame("top")
            });
        }

        frames
    }

    fn window(window_ms: u64, gap_ms: i64, belt_mm_s: Option<f64>) -> Finding {
        let settings = RingSettings {
            bytes: 1,
            window: Duration::from_millis(window_ms),
            shares_frames: false,
        };

        let gap = usual_gap(&frames(gap_ms)).expect("several frames");
        judge_window(&settings, gap, belt_mm_s)
    }

    #[test]
    fn a_window_that_is_narrower_than_half_of_the_gap_is_told() {
        let Finding::Warning(words) = window(100, 500, None) else {
            panic!("a warning");
        };

        assert!(words.contains("none for 60 % of all times"), "{words}");
        assert!(words.contains("window_ms to 250"), "{words}");
        assert!(matches!(window(100, 200, None), Finding::Note(_)));
    }

    #[test]
    fn the_belt_says_how_close_parts_may_be() {
        let Finding::Note(words) = window(100, 200, Some(500.0)) else {
            panic!("a note");
        };

        assert!(words.contains("moves 100 mm between two frames"), "{words}");
        assert!(words.contains("at most 50 mm"), "{words}");
    }

    #[test]
    fn a_web_that_is_quicker_than_its_frames_is_told() {
        let stretches = Stretches {
            mm_per_s: 100.0,
            step_mm: 20.0,
        };

        assert_eq!(
            judge_stretches(&stretches, Duration::from_millis(200)),
            None
        );
        let found = judge_stretches(&stretches, Duration::from_millis(250));
        assert!(matches!(found, Some(Finding::Warning(_))), "{found:?}");
    }
}
