//! Times as a person writes them: a moment, a day or an hour of this machine's time zone, or how long ago.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// Reads a time.
///
/// # Errors
/// When it is none, in words.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, Timestamp::now(), &TimeZone::system())
}

fn parse_at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }

    // A day without an hour begins at midnight.
    if let Ok(civil) = text.parse::<DateTime>() {
        let moment = civil.to_zoned_datetime(zone.clone());

        return moment
            .map(|zoned| zoned.timestamp())
            .map_err(|error| error.to_string());
    }

    let ago = text.parse::<Span>().ok().and_then(|span| ago(span, now));

    ago.ok_or_else(|| {
        format!(
            "{text:?} is no time; write 2026-11-30, \"2026-11-30 14:00\", 2026-11-30T13:00:00Z, or how long ago: 90m, 8h, 7d"
        )
    })
}

fn ago(span: Span, now: Timestamp) -> Option<Timestamp> {
    // A day is 24 hours here: how long ago is no matter of a calendar.
    let days = SignedDuration::from_hours(24 * i64::from(span.get_days()));
    let rest = SignedDuration::try_from(span.days(0)).ok()?;

    now.checked_sub(days.checked_add(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_days_hours_or_how_long_ago() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, moment) in [
            ("2026-11-30T08:00:00Z", "2026-11-30T08:00:00Z"),
            ("2026-11-30T08:00:00+02:00", "2026-11-30T06:00:00Z"),
            ("2026-11-30", "2026-11-29T23:00:00Z"),
            ("2026-11-30 14:00", "2026-11-30T13:00:00Z"),
            ("90m", "2026-11-30T10:30:00Z"),
            ("8h", "2026-11-30T04:00:00Z"),
            ("7d", "2026-11-23T12:00:00Z"),
            ("1d 2h", "2026-11-29T10:00:00Z"),
        ] {
            let expected = moment.parse().expect("a time");
            assert_eq!(parse_at(text, now, &zone), Ok(expected), "{text}");
        }

        for wrong in ["", "yesterday", "14:00", "2026-13-01", "2 weeks of it"] {
            let refused = parse_at(wrong, now, &zone).expect_err(wrong);
            assert!(refused.contains("is no time"), "{refused}");
        }
    }
}
