//! When a shift check is due: so many hours after the last one that passed, or at each shift's begin. By the
//! machine's clock, as shifts are. Pure.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Time after a shift's begin within which its check must have passed, unless another one is given.
pub const WITHIN: Duration = Duration::from_secs(3600);

/// The shift checks of a line at one moment, as figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckFigures {
    /// True while one is overdue; `None` where none is asked for.
    pub is_overdue: Option<bool>,
    /// True if the newest one that is over passed; `None` without one.
    pub has_passed: Option<bool>,
    /// When the last one of the recipe that judges passed; `None` without one.
    pub passed_at: Option<Timestamp>,
}

/// When a shift check is due; never by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckDue {
    /// Longest age of the last check that passed.
    pub every: Option<Duration>,
    /// Times at which shifts begin, in the order of the day.
    pub at: Vec<Time>,
    /// Time after a shift's begin within which its check must have passed.
    pub within: Duration,
}

impl CheckDue {
    /// True if checks are asked for.
    pub fn is_asked(&self) -> bool {
        self.every.is_some() || !self.at.is_empty()
    }

    /// Why a check is overdue, in words that change once an hour at most; `None` where it is not. `passed` is
    /// when the last one passed, `since` when checks were first asked for.
    pub fn overdue(
        &self,
        passed: Option<Timestamp>,
        since: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<String> {
        let by_age = self.overdue_by_age(passed, since, now);
        let by_shift = || self.overdue_by_shift(passed.unwrap_or(since), now, zone);

        by_age.or_else(by_shift)
    }

    fn overdue_by_age(
        &self,
        passed: Option<Timestamp>,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<String> {
        let every = self.every?;
        let longest = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
        let age = now.duration_since(passed.unwrap_or(since));

        if age <= longest {
            return None;
        }

        let hours = every.as_secs() / 3600;
        let old = age.as_hours();
        Some(match passed {
            Some(_) => {
                format!("the last passed shift check is {old} h old; one is due every {hours} h")
            }

            None => format!("no shift check has passed so far; one is due every {hours} h"),
        })
    }

    fn overdue_by_shift(
        &self,
        counts_from: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<String> {
        let (begin, began) = self.shift_before(now, zone)?;

        if counts_from >= began {
            return None;
        }

        let begin = begin.strftime("%H:%M");
        Some(format!(
            "no shift check has passed since the shift began at {begin}"
        ))
    }

    /// The last shift whose check must have passed by now: its time of the day, and when it began.
    fn shift_before(&self, now: Timestamp, zone: &TimeZone) -> Option<(Time, Timestamp)> {
        let within = SignedDuration::try_from(self.within).ok()?;
        let latest = now.checked_sub(within).ok()?;

        let local = zone.to_datetime(latest);
        let today = local.date();
        let time = local.time();
        let mut latest_first = self.at.iter().rev();
        let earlier = latest_first.find(|begin| **begin <= time);

        let (day, begin) = match earlier {
            Some(begin) => (today, *begin),
            None => {
                let last = self.at.last()?;

                (today.yesterday().ok()?, *last)
            }
        };

        // A time that the clock's change leaves out is the next one that there is.
        let began = day.to_datetime(begin);
        let began = zone.to_timestamp(began).ok()?;

        Some((begin, began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("2026-11-{text}:00Z").parse().expect("a time")
    }

    #[test]
    fn a_check_is_overdue_by_its_age() {
        let due = CheckDue {
            every: Some(Duration::from_secs(8 * 3600)),
            ..CheckDue::default()
        };

        let overdue = |passed: Option<&str>, now: &str| {
            let passed = passed.map(time);
            due.overdue(passed, time("30T00:00"), time(now), &TimeZone::UTC)
        };

        assert_eq!(overdue(Some("30T06:00"), "30T14:00"), None);
        assert_eq!(
            overdue(Some("30T06:00"), "30T15:10").as_deref(),
            Some("the last passed shift check is 9 h old; one is due every 8 h")
        );
        assert_eq!(
            overdue(None, "30T08:00"),
            None,
            "it counts from the first start"
        );
        assert!(overdue(None, "30T08:01").is_some_and(|words| words.starts_with("no shift check")));
        assert_eq!(
            overdue(Some("30T23:00"), "30T22:00"),
            None,
            "a clock that was set back"
        );
    }

    #[test]
    fn a_check_is_overdue_after_its_shifts_begin() {
        let due = CheckDue {
            at: ["06:00", "14:00", "22:00"]
                .map(|text| text.parse().expect("a time"))
                .to_vec(),
            within: WITHIN,
            ..CheckDue::default()
        };

        let overdue = |passed: &str, now: &str| {
            due.overdue(
                Some(time(passed)),
                time("01T00:00"),
                time(now),
                &TimeZone::UTC,
            )
        };

        assert_eq!(
            overdue("29T22:10", "30T06:59"),
            None,
            "there is an hour for it"
        );
        assert_eq!(
            overdue("29T22:10", "30T07:00").as_deref(),
            Some("no shift check has passed since the shift began at 06:00")
        );
        assert_eq!(overdue("30T06:10", "30T14:30"), None);
        assert!(
            overdue("29T21:00", "30T03:00").is_some(),
            "the shift of the night before"
        );
        assert_eq!(
            CheckDue::default().overdue(None, time("01T00:00"), time("30T00:00"), &TimeZone::UTC),
            None
        );
    }
}
