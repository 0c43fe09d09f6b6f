//! Reading one table of a configuration: every key is asked for once, what is left over is unknown.

use crate::base::problems::{Problems, unknown_key};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One table; problems are noted with the path of their key, such as `camera[0].deadline_ms`.
pub struct Table<'a> {
    place: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Table<'a> {
    /// Something else than a table is a problem and read as an empty one.
    pub fn new(place: impl Into<String>, value: Value, problems: &'a mut Problems) -> Self {
        let place = place.into();
        let values = match value {
            Value::Object(values) => values,
            Value::Null => Map::new(),
            other => {
                problems.note(&place, format!("must be a table, got {other}"));
                Map::new()
            }
        };
        Table {
            place,
            values,
            known: vec![],
            problems,
        }
    }

    pub fn note(&mut self, key: &str, words: impl std::fmt::Display) {
        let place = if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        };
        self.problems.note(place, words);
    }

    /// Takes a result's value, or notes its error and gives nothing.
    pub fn check<T>(&mut self, key: &str, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|error| self.note(key, error)).ok()
    }

    /// It was given, and nobody took it yet.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.note(key, format!("must be text in quotes, got {other}"));
                None
            }
        }
    }

    pub fn required(&mut self, key: &'static str) -> String {
        if !self.values.contains_key(key) {
            self.known.push(key);
            self.note(key, "missing");
            return String::new();
        }
        self.text(key).unwrap_or_default()
    }

    /// A path, relative to `base`.
    pub fn path(&mut self, key: &'static str, base: &Path) -> Option<PathBuf> {
        self.text(key).map(|text| base.join(text))
    }

    /// A number from `low` to `high`, both included; NaN is in no range.
    pub fn number(&mut self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let value = self.take(key)?;
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        match number {
            Some(number) if number >= low && number <= high => Some(number),
            _ => {
                self.note(
                    key,
                    format!("must be a number from {low} to {high}, got {value}"),
                );
                None
            }
        }
    }

    pub fn whole(&mut self, key: &'static str, low: u64, high: u64) -> Option<u64> {
        let value = self.take(key)?;
        match value.as_u64().or_else(|| value.as_str()?.parse().ok()) {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                self.note(
                    key,
                    format!("must be a whole number from {low} to {high}, got {value}"),
                );
                None
            }
        }
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.as_bool().or_else(|| value.as_str()?.parse().ok());
        if flag.is_none() {
            self.note(key, format!("must be true or false, got {value}"));
        }
        flag
    }

    /// One of a few words.
    pub fn choice<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &'static str,
        words: &str,
    ) -> Option<T> {
        let value = self.take(key)?;
        let choice = serde_json::from_value(value.clone()).ok();
        if choice.is_none() {
            self.note(key, format!("must be one of {words}, got {value}"));
        }
        choice
    }

    /// A list of texts; a single text is a list of one.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        match self.take(key) {
            None => vec![],
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) if all.iter().all(Value::is_string) => all
                .into_iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
            Some(other) => {
                self.note(key, format!("must be a list of texts, got {other}"));
                vec![]
            }
        }
    }

    /// A list whose items are words or numbers, such as `["patch", 2, 3]` or `"patch,2,3"`.
    pub fn items<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<T>> {
        let words: Vec<String> = match self.take(key)? {
            Value::String(text) => text.split(',').map(str::to_owned).collect(),
            Value::Array(all) => all
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect(),
            other => vec![other.to_string()],
        };
        let mut items = vec![];
        for word in words {
            match word.trim().parse() {
                Ok(item) => items.push(item),
                Err(error) => self.note(key, error),
            }
        }
        Some(items)
    }

    /// Whatever nobody asked for, as text: a pipeline's own parameters.
    pub fn rest(&mut self) -> std::collections::BTreeMap<String, String> {
        std::mem::take(&mut self.values)
            .into_iter()
            .map(|(key, value)| {
                (
                    key,
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                )
            })
            .collect()
    }

    /// Refuses a key of an earlier version by its new name, so that it is not unknown as well.
    pub fn renamed(&mut self, old: &str, new: &str) {
        if self.values.remove(old).is_some() {
            self.note(old, format!("renamed to {new} in 0.2"));
        }
    }

    /// Refuses what is left over.
    pub fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for key in std::mem::take(&mut self.values).keys() {
            let words = unknown_key(key, known.iter().copied());
            self.note(key, words);
        }
    }
}
