//! The text of a configuration: a line's file under the environment, and a recipe's file.
//!
//! Both become JSON values, which have no NaN and no infinity: those are refused before, as they
//! would turn into "not given".

use crate::base::problems::Problems;
use serde_json::Value;
use std::path::Path;

/// Variables that win over the file: `WINSPECT__MQTT__HOST` is `host` in `[mqtt]`.
pub fn environment() -> config::Environment {
    config::Environment::with_prefix("WINSPECT")
        .prefix_separator("__")
        .separator("__")
}

/// A line's file with the environment over it; `None`, and a problem, when it cannot be read.
pub fn line_file(
    path: &Path,
    environment: config::Environment,
    problems: &mut Problems,
) -> Option<Value> {
    // The environment comes last and wins: a service overrides one key without a copy of the file.
    let file = config::File::from(path).format(config::FileFormat::Toml);
    let merged = config::Config::builder()
        .add_source(file)
        .add_source(environment)
        .build();

    // Floats are looked at before the conversion to JSON, which has no NaN: it would become null,
    // and null means "not given".
    let merged = problems.check(path.display(), merged)?;
    if let Ok(raw) = merged.clone().try_deserialize::<toml::Value>() {
        refuse_not_finite("", &raw, problems);
    }

    problems.check(path.display(), merged.try_deserialize::<Value>())
}

/// A recipe's file; `Null`, and a problem, when it cannot be read.
pub fn recipe_file(path: &Path, problems: &mut Problems) -> Value {
    // A recipe's file is not overlaid by the environment, whose names hold for the line's file
    // alone.
    match parsed_file(path) {
        Ok(raw) => {
            refuse_not_finite("recipe", &raw, problems);
            serde_json::to_value(raw).unwrap_or_default()
        }
        Err(words) => {
            let place = format!("recipe {}", path.display());
            problems.note(place, words);
            Value::Null
        }
    }
}

fn parsed_file(path: &Path) -> Result<toml::Value, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| error.to_string())?;
    toml::from_str(&text).map_err(|error| error.to_string())
}

fn refuse_not_finite(place: &str, value: &toml::Value, problems: &mut Problems) {
    // Each number that is not finite is noted under the path of its key.
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            problems.note(place, format!("must be a finite number, got {number}"));
        }
        toml::Value::Table(table) => {
            for (key, value) in table {
                let place = if place.is_empty() {
                    key.clone()
                } else {
                    format!("{place}.{key}")
                };

                refuse_not_finite(&place, value, problems);
            }
        }
        toml::Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                refuse_not_finite(&format!("{place}[{i}]"), item, problems);
            }
        }
        _ => {}
    }
}
