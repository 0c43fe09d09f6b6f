//! `[shift_check]`: how often a person proves that the line sees. No check is ever due unless the table is there.

use super::table::TableReader;
use crate::base::problems::Problems;
use crate::protocol::check_due::{CheckDue, WITHIN};
use jiff::civil::Time;
use serde_json::Value;
use std::time::Duration;

/// Reads `[shift_check]`.
pub fn settings(value: Option<Value>, problems: &mut Problems) -> CheckDue {
    let Some(value) = value else {
        return CheckDue::default();
    };

    let mut table = TableReader::new("shift_check", value, problems);
    let every_hours = table.whole("every_hours", 1, 8760);
    let begins = table.texts("at");
    let within_minutes = table.whole("within_minutes", 1, 1440);
    let at = table.check("at", times(&begins)).unwrap_or_default();

    if every_hours.is_none() && begins.is_empty() {
        table.note(
            "every_hours",
            "or at is missing: the longest age of the last passed check in hours, or the times at which shifts begin",
        );
    }

    if within_minutes.is_some() && begins.is_empty() {
        table.note("within_minutes", "belongs to at, which is missing");
    }

    table.finish();

    CheckDue {
        every: every_hours.map(|hours| Duration::from_secs(3600 * hours)),
        at,
        within: within_minutes.map_or(WITHIN, |minutes| Duration::from_secs(60 * minutes)),
    }
}

/// Times of a day, in its order.
fn times(begins: &[String]) -> Result<Vec<Time>, String> {
    let mut times = vec![];

    for begin in begins {
        let time = Time::strptime("%H:%M", begin);

        times.push(time.map_err(|_| {
            format!("{begin:?} is no time of a day; write times such as \"06:00\"")
        })?);
    }

    times.sort_unstable();

    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<CheckDue, String> {
        let mut problems = Problems::new();
        let due = settings(Some(value), &mut problems);
        problems
            .into_result()
            .map(|()| due)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn checks_are_due_as_the_table_says_and_never_without_it() {
        let mut problems = Problems::new();
        assert!(!settings(None, &mut problems).is_asked());
        let every = read(json!({ "every_hours": 8 })).expect("a table");
        assert_eq!(every.every, Some(Duration::from_secs(8 * 3600)));
        let at = read(json!({ "at": ["14:00", "06:00"], "within_minutes": 30 }));
        let at = at.expect("a table");
        assert_eq!((at.at[0].hour(), at.at[1].hour()), (6, 14));
        assert_eq!(at.within, Duration::from_secs(1800));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (wrong, words) in [
            (json!({}), "or at is missing"),
            (json!({ "every_hours": 0 }), "every_hours"),
            (json!({ "at": ["25:00"] }), "no time of a day"),
            (
                json!({ "every_hours": 8, "within_minutes": 5 }),
                "belongs to at",
            ),
            (json!({ "every": "8h" }), "every"),
        ] {
            let refusal = read(wrong).expect_err(words);
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
