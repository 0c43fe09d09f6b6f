//! The shifts of a day, by the times at which they begin, and the days and shifts to which minutes belong.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// Shifts of a day where none are given.
pub const USUAL_SHIFTS: &str = "06:00,14:00,22:00";

/// Times at which shifts begin, in the order of the day; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifts(Vec<Time>);

impl Shifts {
    /// Reads times such as `06:00,14:00,22:00`.
    ///
    /// # Errors
    /// When one of them is no time, or stands twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut begins = vec![];

        for word in text.split(',') {
            let begin = Time::strptime("%H:%M", word.trim());

            begins.push(begin.map_err(|_| {
                format!("{word:?} is no time of a day; write times such as 06:00,14:00,22:00")
            })?);
        }

        // In the order of the day, whatever the order of the flag.
        begins.sort_unstable();

        match begins.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(format!("{} stands twice", shown(twice[0]))),
            None => Ok(Shifts(begins)),
        }
    }

    /// The shift of a minute since 1970, in words that sort by time: `2026-11-30 22:00`. The night shift
    /// belongs to the day on which it began.
    pub fn shift_of(&self, minute: i64, zone: &TimeZone) -> Option<String> {
        // The shift is the last one that began: today, or yesterday before the first of today. A day that is
        // longer or shorter by the clock's change makes one shift longer or shorter.
        let at = civil(minute, zone)?;
        let before = self.0.iter().rev().find(|begin| **begin <= at.1);
        let (day, begin) = match before {
            Some(begin) => (at.0, *begin),
            None => (at.0.yesterday().ok()?, *self.0.last()?),
        };

        Some(format!("{day} {}", shown(begin)))
    }
}

/// The day of a minute since 1970.
pub fn day_of(minute: i64, zone: &TimeZone) -> Option<String> {
    civil(minute, zone).map(|(day, _)| day.to_string())
}

fn civil(minute: i64, zone: &TimeZone) -> Option<(Date, Time)> {
    // A stored time may be any number; one beyond all calendars has no day.
    let at = Timestamp::from_second(minute.checked_mul(60)?).ok()?;
    let at = zone.to_datetime(at);

    Some((at.date(), at.time()))
}

fn shown(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_belong_to_the_shift_that_began_last() {
        let shifts = Shifts::parse("14:00, 06:00,22:00").expect("three");
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (at, shift) in [
            ("2026-11-30T05:00:00Z", "2026-11-30 06:00"),
            ("2026-11-30T04:59:00Z", "2026-11-29 22:00"),
            ("2026-11-30T12:59:00Z", "2026-11-30 06:00"),
            ("2026-11-30T13:00:00Z", "2026-11-30 14:00"),
            ("2026-11-30T23:30:00Z", "2026-11-30 22:00"),
        ] {
            let at: Timestamp = at.parse().expect("a time");
            let minute = at.as_second() / 60;
            let found = shifts.shift_of(minute, &zone);
            assert_eq!(found.as_deref(), Some(shift), "{at}");
        }

        assert_eq!(day_of(-1, &TimeZone::UTC).as_deref(), Some("1969-12-31"));
        assert_eq!(day_of(i64::MAX, &zone), None);
        for wrong in ["", "6", "06:00,6:00", "25:00", "06:00;14:00"] {
            assert!(Shifts::parse(wrong).is_err(), "{wrong}");
        }
    }
}
