//! Camera kinds: the files of `pipelines/`, one kind each, filled in with a configuration's values.
//!
//! A value can not break out of its place: it is quoted as GStreamer's launch syntax wants it.

use super::Settings;
use crate::base::problems::{Problems, unknown_key};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const BUILT_IN: [(&str, &str); 4] = [
    ("rtsp", include_str!("../../pipelines/rtsp.toml")),
    ("file", include_str!("../../pipelines/file.toml")),
    ("folder", include_str!("../../pipelines/folder.toml")),
    ("test", include_str!("../../pipelines/test.toml")),
];

/// One kind of camera.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// A live source never ends by itself; its end is a fault.
    pub live: bool,
    /// GStreamer's launch syntax with `{parameter}` places; nothing for a kind without GStreamer.
    pub launch: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    r#type: Type,
    default: Option<String>,
    #[serde(default)]
    choices: Vec<String>,
    low: Option<i64>,
    high: Option<i64>,
    about: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Type {
    Text,
    /// A path, relative to the configuration.
    File,
    Choice,
    Whole,
}

/// The kind's file.
pub fn pipeline(kind: &str) -> Option<Pipeline> {
    let (_, text) = BUILT_IN.iter().find(|(name, _)| *name == kind)?;
    Some(toml::from_str(text).expect("a test reads every built-in file"))
}

/// Checks a camera's values against its kind, fills in defaults, makes paths absolute.
pub fn check(settings: &mut Settings, base: &Path, place: &str, problems: &mut Problems) {
    let Some(pipeline) = pipeline(&settings.kind) else {
        let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let words = unknown_key(&settings.kind, known.iter().copied()).replace("unknown key", "unknown kind");
        problems.note(format!("{place}.kind"), format!("{words} (there are {})", known.join(", ")));
        return;
    };
    for key in settings.values.keys().filter(|key| !pipeline.parameters.contains_key(*key)) {
        let known = pipeline.parameters.keys().map(String::as_str).chain(["name", "kind", "deadline_ms", "stall_s"]);
        problems.note(format!("{place}.{key}"), unknown_key(key, known));
    }
    for (name, parameter) in &pipeline.parameters {
        let place = format!("{place}.{name}");
        match settings.values.get(name).or(parameter.default.as_ref()).cloned() {
            None => problems.note(place, format!("missing: {}", parameter.about)),
            Some(value) => match parameter.checked(&value, base) {
                Ok(value) => drop(settings.values.insert(name.clone(), value)),
                Err(why) => problems.note(place, why),
            },
        }
    }
}

impl Parameter {
    fn checked(&self, value: &str, base: &Path) -> Result<String, String> {
        match self.r#type {
            Type::Text if value.is_empty() => Err("must not be empty".to_owned()),
            Type::Text => Ok(value.to_owned()),
            Type::File => {
                let path = std::path::absolute(base.join(value)).map_err(|e| e.to_string())?;
                if path.exists() {
                    Ok(path.display().to_string())
                } else {
                    Err(format!("{} is not there", path.display()))
                }
            }
            Type::Choice if self.choices.iter().any(|c| c == value) => Ok(value.to_owned()),
            Type::Choice => Err(format!("must be one of {}, got {value:?}", self.choices.join(", "))),
            Type::Whole => {
                let (low, high) = (self.low.unwrap_or(i64::MIN), self.high.unwrap_or(i64::MAX));
                let number = value.parse::<i64>().ok().filter(|n| (low..=high).contains(n));
                number
                    .map(|n| n.to_string())
                    .ok_or_else(|| format!("must be a whole number from {low} to {high}, got {value:?}"))
            }
        }
    }
}

/// The launch string with every place filled in.
pub fn filled(launch: &str, values: &BTreeMap<String, String>) -> String {
    values.iter().fold(launch.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &quoted(value)))
}

/// Plain words as they are, everything else in double quotes.
fn quoted(value: &str) -> String {
    if !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_is_whole_and_all_its_places_are_parameters() {
        for (name, _) in BUILT_IN {
            let pipeline = pipeline(name).expect("built in");
            let values = pipeline.parameters.keys().map(|key| (key.clone(), "1".to_owned())).collect();
            let launch = filled(&pipeline.launch.unwrap_or_default(), &values);
            assert!(!launch.contains('{'), "{name}: {launch}");
        }
    }

    #[test]
    fn a_value_stays_in_its_place() {
        let values = BTreeMap::from([("location".to_owned(), "x\" ! fakesink name=\"y".to_owned())]);
        assert_eq!(filled("filesrc location={location}", &values), r#"filesrc location="x\" ! fakesink name=\"y""#);
    }
}
