//! The time that a trigger says of its part: near enough to our clock, or refused.

use jiff::{SignedDuration, Timestamp};

/// Limit of how far a part's time may be ahead of our clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(1);
/// Limit of how far a part's time may be behind our clock. No camera keeps frames for so long, and a
/// clock that is off by an hour must be told like one that is ahead.
const BEHIND_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Refuses a part's time that is too far from `now`, in either direction.
pub fn check_time(at: Timestamp, now: Timestamp) -> Result<(), String> {
    let ahead = at.duration_since(now);
    if ahead > AHEAD_MAX {
        return Err(format!(
            "at is {:.1} s ahead of our clock; set the clocks",
            ahead.as_secs_f64()
        ));
    }

    if ahead < -BEHIND_MAX {
        return Err(format!(
            "at is {:.1} s behind our clock, and no picture is kept for so long; set the clocks, or send the trigger sooner",
            -ahead.as_secs_f64()
        ));
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_far_off_is_refused_in_both_directions() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(9);
        for (ahead_ms, words) in [
            (3_600_000, "3600.0 s ahead"),
            (1_001, "1.0 s ahead"),
            (-60_001, "60.0 s behind"),
            (-3_600_000, "3600.0 s behind"),
        ] {
            let at = now + SignedDuration::from_millis(ahead_ms);
            let refusal = check_time(at, now).expect_err(words);
            assert!(refusal.contains(words), "{refusal}");
        }

        for ahead_ms in [1000, 0, -59_000] {
            let at = now + SignedDuration::from_millis(ahead_ms);
            assert_eq!(check_time(at, now), Ok(()));
        }
    }
}
