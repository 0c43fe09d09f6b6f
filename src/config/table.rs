//! Reading one table of a configuration: every key is asked for once, what is left over is unknown.

use crate::base::problems::{Problems, unknown_key};
use crate::base::text::is_forbidden;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One table; problems are noted with the path of their key, such as `camera[0].deadline_ms`.
///
/// A value that is wrong is noted and read as if it had not been given. Numbers and flags may be
/// text: the environment has nothing else.
pub struct TableReader<'a> {
    place: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> TableReader<'a> {
    /// Begins to read. A value that is no table is a problem, and read as an empty one.
    pub fn new(place: impl Into<String>, value: Value, problems: &'a mut Problems) -> Self {
        // An absent table is null here, and reads as an empty one.
        let place = place.into();
        let values = match value {
            Value::Object(values) => values,
            Value::Null => Map::new(),
            other => {
                problems.note(&place, format!("must be a table, got {}", shown(&other)));
                Map::new()
            }
        };

        TableReader {
            place,
            values,
            known: vec![],
            problems,
        }
    }

    /// Notes a problem of a key.
    pub fn note(&mut self, key: &str, words: impl Display) {
        // Keys of the top level have no table before them.
        let place = if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        };

        self.problems.note(place, words);
    }

    /// Takes a result's value, or notes its error and gives nothing.
    pub fn check<T>(&mut self, key: &str, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|error| self.note(key, error)).ok()
    }

    /// True for a key that is given and was not read yet.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// Reads a value of any kind.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        // The key is known from now on, given or not: `finish` proposes it for a misspelt one. Null
        // means "not given".
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_null())
    }

    /// Reads text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        // A number without quotes is refused where text is needed: `station = 1.10` would lose its
        // zero.
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.note(
                    key,
                    format!("must be text in quotes, got {}", shown(&other)),
                );
                None
            }
        }
    }

    /// Refuses text that MQTT cannot carry.
    pub fn check_string(&mut self, key: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        if text.is_empty() || text.contains(is_forbidden) {
            self.note(
                key,
                "must be text of MQTT, not empty and without control characters",
            );
        }
    }

    /// Reads text that must be there; empty when it is not.
    pub fn required(&mut self, key: &'static str) -> String {
        // A missing key reads as empty text, which later checks let pass: one mistake is told once.
        if !self.values.contains_key(key) {
            self.known.push(key);
            self.note(key, "missing");
            return String::new();
        }

        self.text(key).unwrap_or_default()
    }

    /// Reads a path, relative to `base`.
    pub fn path(&mut self, key: &'static str, base: &Path) -> Option<PathBuf> {
        self.text(key).map(|text| base.join(text))
    }

    /// Reads a number from `low` to `high`, both included; NaN is in no range.
    pub fn number(&mut self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let value = self.take(key)?;

        // The good range is tested, so that NaN, which compares false with everything, is refused.
        match number(&value) {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                let kind = format!("a number from {low} to {high}");
                self.note_kind(key, &kind, &value)
            }
        }
    }

    /// Reads a whole number from `low` to `high`, both included.
    pub fn whole(&mut self, key: &'static str, low: u64, high: u64) -> Option<u64> {
        let value = self.take(key)?;
        match whole(&value) {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                let kind = format!("a whole number from {low} to {high}");
                self.note_kind(key, &kind, &value)
            }
        }
    }

    /// Reads a whole number of things that are in memory.
    pub fn count(&mut self, key: &'static str, low: u64, high: u64) -> Option<usize> {
        self.whole(key, low, high).map(|count| count as usize)
    }

    /// Reads whole milliseconds.
    pub fn millis(&mut self, key: &'static str, low: u64, high: u64) -> Option<Duration> {
        self.whole(key, low, high).map(Duration::from_millis)
    }

    /// Reads true or false.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match flag(&value) {
            Some(flag) => Some(flag),
            None => self.note_kind(key, "true or false", &value),
        }
    }

    /// Reads one of a few words.
    pub fn choice<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &'static str,
        words: &str,
    ) -> Option<T> {
        let value = self.take(key)?;

        // The message lists the caller's words in place of serde's own.
        match serde_json::from_value(value.clone()) {
            Ok(choice) => Some(choice),
            Err(_) => {
                let kind = format!("one of {words}");
                self.note_kind(key, &kind, &value)
            }
        }
    }

    /// Notes that a value is of another kind, and gives nothing in its place.
    fn note_kind<T>(&mut self, key: &str, kind: &str, value: &Value) -> Option<T> {
        self.note(key, format!("must be {kind}, got {}", shown(value)));
        None
    }

    /// Reads a list of texts; a single text is a list of one.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.take(key) else {
            return vec![];
        };

        // A list with one wrong item is refused whole: half a list of references is another recipe.
        match texts(&value) {
            Some(texts) => texts,
            None => {
                self.note(
                    key,
                    format!("must be a list of texts, got {}", shown(&value)),
                );
                vec![]
            }
        }
    }

    /// Reads a list of words or numbers, such as `["patch", 2, 3]` or `"patch,2,3"`.
    pub fn items<T: std::str::FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<T>> {
        // The command line's form, with commas, is read beside TOML's list: the environment has
        // nothing else.
        let words: Vec<String> = match self.take(key)? {
            Value::String(text) => text.split(',').map(str::to_owned).collect(),
            Value::Array(all) => all.into_iter().map(plain).collect(),
            other => vec![other.to_string()],
        };

        // Each wrong item is noted; the right ones are kept only for the checks that follow.
        let mut items = vec![];
        for word in words {
            items.extend(self.check(key, word.trim().parse()));
        }

        Some(items)
    }

    /// Takes all that was not asked for, as text: a pipeline's own parameters.
    pub fn rest(&mut self) -> BTreeMap<String, String> {
        // Nothing is left over afterwards: the pipeline refuses its unknown keys itself.
        std::mem::take(&mut self.values)
            .into_iter()
            .map(|(key, value)| (key, plain(value)))
            .collect()
    }

    /// Refuses a key of 0.1 by its new name, so that it is not unknown as well.
    pub fn renamed(&mut self, old: &str, new: &str) {
        self.renamed_in("0.2", old, new);
    }

    /// The same for a key that a later version renamed.
    pub fn renamed_in(&mut self, version: &str, old: &str, new: &str) {
        if self.values.remove(old).is_some() {
            self.note(old, format!("renamed to {new} in {version}"));
        }
    }

    /// Refuses what is left over.
    pub fn finish(mut self) {
        // The nearest known key is proposed if it is near enough for a typing error.
        for key in std::mem::take(&mut self.values).keys() {
            let words = unknown_key(key, self.known.iter().copied());
            self.note(key, words);
        }
    }
}

/// A value in the words of an error. Tables are not shown: one in the wrong place, such as `[camera]`
/// for `[[camera]]`, may hold an address with its password.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            "a list of tables or lists".to_owned()
        }
        Value::String(text) if text.contains("://") => "an address".to_owned(),
        other => other.to_string(),
    }
}

/// A number, or text that is one.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_bool(),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// Text without its quotes, anything else as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
