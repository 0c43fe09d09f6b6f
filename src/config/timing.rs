//! A camera's deadline and gate: when a verdict is due, and when a rejected part is at the gate.

use super::table::TableReader;
use crate::data::part::PartTiming;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(1);
/// Delay after which a message to the gate is not sent, unless the camera says another one.
const REJECT_LATE: Duration = Duration::from_millis(10);

/// Reads the timing of a camera's parts. `belt_mm_s` is the belt's or the web's speed.
///
/// `is_web` is true for a trigger that needs the speed for itself: it may stand without `reject_mm`.
pub fn part_timing(table: &mut TableReader, belt_mm_s: Option<f64>, is_web: bool) -> PartTiming {
    // The deadline counts from the trigger, and so does the gate.
    let deadline = table.millis("deadline_ms", 1, 3_600_000);
    let deadline = deadline.unwrap_or(DEADLINE);

    // Both are compared: a verdict that is due after the gate may come too late to throw a part
    // out.
    let reject_after = reject_after(table, belt_mm_s, is_web);
    let reject_late = table.millis("reject_late_ms", 1, 60_000);
    let reject_counts = table.whole("reject_counts", 0, i64::MAX as u64);

    if let Some(gate) = reject_after.filter(|gate| *gate < deadline) {
        let gate_ms = gate.as_millis();
        let deadline_ms = deadline.as_millis();
        table.note(
            "deadline_ms",
            format!(
                "the part is at the gate after {gate_ms} ms, before its verdict is due \
                 after {deadline_ms} ms; make it at most {gate_ms}"
            ),
        );
    }

    PartTiming {
        deadline,
        reject_after,
        reject_late: reject_late.unwrap_or(REJECT_LATE),
        reject_counts: reject_counts.map(|counts| counts as i64),
        mm_per_pixel: table.number("mm_per_pixel", 1e-6, 1000.0),
    }
}

/// The time from the camera to the gate: told, or by the belt's speed and the way.
fn reject_after(table: &mut TableReader, belt_mm_s: Option<f64>, is_web: bool) -> Option<Duration> {
    let told = table.millis("reject_after_ms", 0, 3_600_000);
    let reject_mm = table.number("reject_mm", 0.0, 1e6);
    let by_belt = belt_mm_s
        .zip(reject_mm)
        .map(|(speed, way)| Duration::from_secs_f64(way / speed));

    let is_speed_of_web = is_web && reject_mm.is_none();
    if belt_mm_s.is_some() != reject_mm.is_some() && !is_speed_of_web {
        table.note(
            "belt_mm_s",
            "and reject_mm belong together: the belt's speed, and the way from the camera to the gate",
        );
    }

    if told.is_some() && by_belt.is_some() {
        table.note(
            "reject_after_ms",
            "and reject_mm both say when a part is at the gate; give one",
        );
    }

    told.or(by_belt)
}
