//! Camera kinds: the files of `pipelines/`, one kind each, filled in with a configuration's values. A kind that ends in
//! `.toml` is a plant's own file of the same form, relative to the configuration.
//!
//! A value can not break out of its place: it is quoted as GStreamer's launch syntax wants it.

use super::CameraSettings;
use crate::base::problems::{Problems, unknown_key};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const BUILT_IN: [(&str, &str); 9] = [
    ("rtsp", include_str!("../../pipelines/rtsp.toml")),
    ("v4l2", include_str!("../../pipelines/v4l2.toml")),
    (
        "v4l2-mjpeg",
        include_str!("../../pipelines/v4l2-mjpeg.toml"),
    ),
    ("genicam", include_str!("../../pipelines/genicam.toml")),
    (
        "genicam-bayer",
        include_str!("../../pipelines/genicam-bayer.toml"),
    ),
    ("csi", include_str!("../../pipelines/csi.toml")),
    ("file", include_str!("../../pipelines/file.toml")),
    ("folder", include_str!("../../pipelines/folder.toml")),
    ("test", include_str!("../../pipelines/test.toml")),
];

/// One kind of camera.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Pictures come when they come, and the newest wins; otherwise the source waits for the inspector.
    pub live: bool,
    /// It never ends by itself: its end is a fault, and it is opened again.
    pub endless: bool,
    /// A frame's time stamp is the moment of capture in the pipeline's clock, as v4l2src takes it from the driver.
    #[serde(default)]
    pub stamped: bool,
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
///
/// # Errors
/// In words, when there is no such kind, or its file cannot be read or does not make sense.
pub fn pipeline(kind: &str) -> Result<Pipeline, String> {
    if is_own_file(kind) {
        let text = std::fs::read_to_string(kind).map_err(|error| format!("{kind}: {error}"))?;
        let own = read(&text).map_err(|error| format!("{kind}: {error}"))?;
        return if own.launch.is_some() {
            Ok(own)
        } else {
            Err(format!("{kind}: missing field `launch`"))
        };
    }
    match BUILT_IN.iter().find(|(name, _)| *name == kind) {
        Some((_, text)) => Ok(read(text).expect("a test reads every built-in file")),
        None => {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let words =
                unknown_key(kind, names.iter().copied()).replace("unknown key", "unknown kind");
            Err(format!(
                "{words} (there are {}, or a file of your own that ends in .toml)",
                names.join(", ")
            ))
        }
    }
}

fn is_own_file(kind: &str) -> bool {
    Path::new(kind)
        .extension()
        .is_some_and(|extension| extension == "toml")
}

fn read(text: &str) -> Result<Pipeline, String> {
    let pipeline: Pipeline =
        toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    for place in places(pipeline.launch.as_deref().unwrap_or_default()) {
        if !pipeline.parameters.contains_key(place) {
            return Err(format!(
                "the launch string has a place {{{place}}} but there is no [parameters.{place}]"
            ));
        }
    }
    Ok(pipeline)
}

/// Checks a camera's values against its kind, fills in defaults, makes paths absolute.
pub fn check(settings: &mut CameraSettings, base: &Path, place: &str, problems: &mut Problems) {
    if is_own_file(&settings.kind) {
        settings.kind = base.join(&settings.kind).display().to_string();
    }
    let pipeline = match pipeline(&settings.kind) {
        Ok(pipeline) => pipeline,
        Err(why) => return problems.note(format!("{place}.kind"), why),
    };
    for key in settings
        .values
        .keys()
        .filter(|key| !pipeline.parameters.contains_key(*key))
    {
        let known = pipeline.parameters.keys().map(String::as_str).chain([
            "name",
            "kind",
            "deadline_ms",
            "stall_s",
            "triggered",
            "delay_ms",
            "mm_per_pixel",
        ]);
        problems.note(format!("{place}.{key}"), unknown_key(key, known));
    }
    for (name, parameter) in &pipeline.parameters {
        let place = format!("{place}.{name}");
        match settings
            .values
            .get(name)
            .or(parameter.default.as_ref())
            .cloned()
        {
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
            Type::Text if value.is_empty() && self.default.as_deref() != Some("") => {
                Err("must not be empty".to_owned())
            }
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
            Type::Choice => Err(format!(
                "must be one of {}, got {value:?}",
                self.choices.join(", ")
            )),
            Type::Whole => {
                let (low, high) = (self.low.unwrap_or(i64::MIN), self.high.unwrap_or(i64::MAX));
                let number = value
                    .parse::<i64>()
                    .ok()
                    .filter(|n| (low..=high).contains(n));
                number.map(|n| n.to_string()).ok_or_else(|| {
                    format!("must be a whole number from {low} to {high}, got {value:?}")
                })
            }
        }
    }
}

/// The launch string with every place filled in; in one pass, so that a value's own braces stay as they are.
pub fn filled(launch: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = launch;
    while let Some((before, name, after)) = next_place(rest) {
        text.push_str(before);
        text.push_str(
            &values
                .get(name)
                .map(|value| quoted(value))
                .unwrap_or_default(),
        );
        rest = after;
    }
    text + rest
}

fn places<'a>(launch: &'a str) -> Vec<&'a str> {
    let following = |(_, _, after): &(&'a str, &'a str, &'a str)| next_place(after);
    std::iter::successors(next_place(launch), following)
        .map(|(_, name, _)| name)
        .collect()
}

/// What stands before the next `{name}`, the name, and what follows. Other braces are GStreamer's: `format={RGB,BGR}`.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let (name, after) = text[at + 1..].split_once('}')?;
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        is_name.then_some((&text[..at], name, after))
    })
}

/// Plain words as they are, everything else in double quotes.
fn quoted(value: &str) -> String {
    if !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_is_whole_and_all_its_places_are_parameters() {
        for (name, text) in BUILT_IN {
            read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    fn checked(kind: &str, values: &[(&str, &str)], base: &Path) -> Result<CameraSettings, String> {
        let values = values
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let stall = std::time::Duration::from_secs(5);
        let mut settings = CameraSettings {
            name: "top".into(),
            kind: kind.to_owned(),
            values,
            stall,
            triggered: false,
            delay: std::time::Duration::ZERO,
        };
        let mut problems = Problems::new();
        check(&mut settings, base, "camera[0]", &mut problems);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(problems.to_string())
        }
    }

    #[test]
    fn all_problems_of_a_camera_are_told_at_once() {
        let said = checked(
            "rtsp",
            &[("latency", "5"), ("latency_ms", "-1"), ("protocol", "tpc")],
            Path::new("/"),
        );
        let said = said.expect_err("four problems");
        for part in ["latency_ms", "0 to 10000", "tcp, udp", "camera[0].location"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(
            checked("rstp", &[], Path::new("/"))
                .expect_err("unknown")
                .contains("rtsp")
        );
    }

    #[test]
    fn a_plant_may_bring_its_own_pipeline_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own =
            |text: &str| std::fs::write(folder.path().join("own.toml"), text).expect("written");
        own("live = true\nendless = true\nlaunch = \"v4l2src device={device}\"\n");
        assert!(
            checked("own.toml", &[], folder.path())
                .expect_err("no parameter")
                .contains("{device}")
        );
        own(
            "live = true\nendless = true\nlaunch = \"v4l2src device={device} ! video/x-raw,format={RGB,BGR}\"\n\
             [parameters.device]\ntype = \"text\"\nabout = \"the device\"\n",
        );
        let settings =
            checked("own.toml", &[("device", "/dev/video0")], folder.path()).expect("whole");
        assert!(pipeline(&settings.kind).is_ok_and(|p| p.live && p.launch.is_some()));
        own("live = true\nendless = true\n");
        assert!(
            checked("own.toml", &[], folder.path())
                .expect_err("no launch")
                .contains("launch")
        );
        assert!(
            checked("none.toml", &[], folder.path())
                .expect_err("missing")
                .contains("none.toml")
        );
    }

    #[test]
    fn a_value_stays_in_its_place() {
        let values =
            BTreeMap::from([("location".to_owned(), "x\" ! fakesink name=\"y".to_owned())]);
        assert_eq!(
            filled("filesrc location={location}", &values),
            r#"filesrc location="x\" ! fakesink name=\"y""#
        );
    }
}
