//! Ids and times of commands, as their senders write them: text or numbers, and the id of what is no
//! command.

use crate::base::text::is_forbidden;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Characters of an id at most.
pub(super) const ID_MAX: usize = 64;
/// Largest Unix time that is read as seconds; larger numbers are milliseconds.
const SECONDS_MAX: f64 = 1e11;

/// Text, or a whole number as its digits: many PLCs count parts and have no text at hand.
pub(super) fn text_or_number<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    // A number with a fraction has more than one form, so that it is no id.
    match Option::<Value>::deserialize(from)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(Some(number.to_string()))
        }
        Some(other) => Err(serde::de::Error::custom(format!(
            "an id must be text or a whole number, got {other}"
        ))),
    }
}

/// A time as RFC 3339 text, or as Unix time in seconds or milliseconds.
pub(super) fn time<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Timestamp>, D::Error> {
    // `null` is as good as no key at all.
    let Some(value) = Option::<Value>::deserialize(from)? else {
        return Ok(None);
    };

    let parsed = match &value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_f64().and_then(unix_time),
        _ => None,
    };

    parsed.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "at must be like 2026-11-23T06:10:11.482Z, or Unix time in seconds or milliseconds, got {value}"
        ))
    })
}

/// The moment of a Unix time. Seconds reach to the year 5138; milliseconds of later than 1973 are
/// larger.
fn unix_time(number: f64) -> Option<Timestamp> {
    let seconds = if number.abs() > SECONDS_MAX {
        number / 1e3
    } else {
        number
    };

    // The conversion saturates: what is beyond any time is refused by the last step.
    let milliseconds = (seconds * 1e3).round() as i64;
    Timestamp::from_millisecond(milliseconds).ok()
}

/// Checks the text of an id.
///
/// # Errors
/// What it must have, under the name of its key.
pub(super) fn fits(key: &str, text: &str, most: usize) -> Result<(), String> {
    let count = text.chars().count();
    if count == 0 || count > most || text.contains(is_forbidden) {
        return Err(format!(
            "{key} must have 1 to {most} characters, none of them a control character; got {count}"
        ));
    }

    Ok(())
}

/// The id of a command that is refused, so that its sender knows which. `None` if it has none that
/// can be read.
pub fn id_of(payload: &[u8]) -> Option<String> {
    // What is no JSON may still begin like a command: its id is what follows the key.
    let id = match serde_json::from_slice::<Value>(payload) {
        Ok(value) => value.get("id").cloned(),
        Err(_) => value_after_key(payload),
    };

    id.and_then(id_text)
}

/// The text of a readable id.
fn id_text(id: Value) -> Option<String> {
    let text = match id {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return None,
    };

    fits("id", &text, ID_MAX).is_ok().then_some(text)
}

/// The value behind the first `"id":` of a text that is no JSON as a whole.
fn value_after_key(payload: &[u8]) -> Option<Value> {
    const KEY: &[u8] = b"\"id\"";
    let at = payload.windows(KEY.len()).position(|bytes| bytes == KEY)?;
    let rest = payload[at + KEY.len()..].trim_ascii_start();
    let value = rest.strip_prefix(b":")?;
    let mut values = serde_json::Deserializer::from_slice(value).into_iter();
    values.next()?.ok()
}
