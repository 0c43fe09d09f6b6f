//! Words of a configuration that become part of an MQTT topic.

use crate::base::text::is_forbidden;

/// Bytes of one level: a camera's and a station's name stand in every result.
const LEVEL_MAX: usize = 64;
/// Bytes of several levels.
const LEVELS_MAX: usize = 256;

/// Checks one level of a topic, such as a camera's name.
///
/// # Errors
/// What the words must be, with the words.
pub fn check_level(words: &str) -> Result<(), String> {
    check(words, !words.contains('/'), "/", LEVEL_MAX)
}

/// Checks several levels of a topic, such as the prefix of all.
///
/// # Errors
/// What the words must be, with the words.
pub fn check_levels(words: &str) -> Result<(), String> {
    // An empty level is legal in MQTT and invisible to a person who subscribes.
    let has_empty_level = words.split('/').any(str::is_empty);
    check(words, !has_empty_level, "an empty level", LEVELS_MAX)
}

/// Empty words are fine here: their absence is told already.
fn check(words: &str, are_levels_right: bool, bad_levels: &str, most: usize) -> Result<(), String> {
    let is_topic = are_levels_right
        && !words.starts_with('$')
        && !words.contains(['+', '#'])
        && !words.contains(is_forbidden);

    if is_topic && words.len() > most {
        let length = words.len();
        return Err(format!("must have at most {most} bytes, got {length}"));
    }

    if is_topic || words.is_empty() {
        return Ok(());
    }

    Err(format!(
        "must be part of a topic, without +, #, {bad_levels}, a leading $ or a control character; got {words:?}"
    ))
}
