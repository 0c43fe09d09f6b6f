//! The text of a configuration: a line's file under the environment, and a recipe's file.
//!
//! Both become JSON values, which have no NaN and no infinity: those are refused before, as they
//! would turn into "not given".

use crate::base::problems::Problems;
use crate::base::text;
use serde_json::Value;
use std::path::Path;

/// Variables that win over the file: `WINSPECT__MQTT__HOST` is `host` in `[mqtt]`.
pub fn environment() -> config::Environment {
    config::Environment::with_prefix("WINSPECT")
        .prefix_separator("__")
        .separator("__")
}

/// Top-level keys and tables of a line's file, as variables name them.
const TOP_LEVEL: [&str; 14] = [
    "PREFIX",
    "STATION",
    "MODEL",
    "BACKEND",
    "PRECISION",
    "ONNXRUNTIME",
    "TENSORRT",
    "THREADS",
    "BATCH",
    "RECIPE",
    "LIBRARY",
    "MQTT",
    "STORE",
    "EVIDENCE",
];

/// Notes variables such as `WINSPECT_MQTT_HOST`, which have one underscore where two are meant: they
/// would be passed over in silence.
pub fn refuse_single_underscores(names: impl IntoIterator<Item = String>, problems: &mut Problems) {
    for name in names {
        let Some(rest) = name.strip_prefix("WINSPECT_") else {
            continue;
        };

        // The first word decides: winspect's own variables, such as WINSPECT_LOG, begin with none
        // of the keys.
        let (first, key) = rest.split_once('_').unwrap_or((rest, ""));
        if !TOP_LEVEL.contains(&first) {
            continue;
        }

        let key = key.trim_start_matches('_');
        let meant = if key.is_empty() {
            format!("WINSPECT__{first}")
        } else {
            format!("WINSPECT__{first}__{key}")
        };

        problems.note(
            name,
            format!("the environment's names have two underscores between levels: {meant}"),
        );
    }
}

/// A line's file with the environment over it; `None`, and a problem, when it cannot be read.
pub fn line_file(
    path: &Path,
    environment: config::Environment,
    problems: &mut Problems,
) -> Option<Value> {
    // The environment comes last and wins: a service overrides one key without a copy of the file.
    let text = problems.check(path.display(), checked_text(path))?;
    let file = config::File::from_str(&text, config::FileFormat::Toml);
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
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    text::toml(&bytes)
}

/// The text of a file that is TOML. `config` would show the line of an error, which may hold a
/// password, and would read other encodings as if they were UTF-8.
fn checked_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let _: toml::Table = text::toml(&bytes)?;
    let text = text::utf8(&bytes)?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
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
