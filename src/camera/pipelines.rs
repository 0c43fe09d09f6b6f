//! Camera kinds: the files of `pipelines/`, one kind each, filled in with a configuration's values. A
//! kind that ends in `.toml` is a plant's own file of the same form, relative to the configuration.
//!
//! A value cannot break out of its place: it is quoted as GStreamer's launch syntax wants it.

use crate::base::problems::{Problems, unknown_key};
use crate::base::text;
use crate::camera::settings::CameraSettings;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Names and files of the built-in kinds.
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

/// Keys of a camera that every kind has.
const COMMON_KEYS: [&str; 9] = [
    "name",
    "kind",
    "deadline_ms",
    "stall_s",
    "triggered",
    "delay_ms",
    "mm_per_pixel",
    "user",
    "password_file",
];

/// One kind of camera.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// True for live sources, which drop frames instead of waiting: the newest frame wins.
    pub live: bool,
    /// True if the source never ends by itself: its end is a fault, and it is opened again.
    pub endless: bool,
    /// True if a frame's time stamp is the moment of capture in the pipeline's clock, as v4l2src takes
    /// it from the driver.
    #[serde(default)]
    pub stamped: bool,
    /// GStreamer's launch syntax with `{parameter}` places. `None` for a kind without GStreamer.
    pub launch: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

/// A value that a configuration may or must give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    r#type: ParameterType,
    /// `None` if the configuration must give a value.
    default: Option<String>,
    /// Values allowed, for a choice.
    #[serde(default)]
    choices: Vec<String>,
    /// Bounds of a whole number, both included.
    low: Option<i64>,
    high: Option<i64>,
    /// Explanation for the person who left it out.
    about: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ParameterType {
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
    // A plant's own file may be wrong in many ways, so that its name goes in front of the reason.
    if is_own_file(kind) {
        return read_own(kind).map_err(|error| format!("{kind}: {error}"));
    }

    // Built-in files are part of the binary, and a test reads each of them.
    if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == kind) {
        return Ok(read(text.as_bytes()).expect("a test reads every built-in file"));
    }

    // `unknown_key` proposes the nearest of the names; its words are turned into those of a kind.
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let words = unknown_key(kind, names.iter().copied());
    Err(format!(
        "{} (there are {}, or a file of your own that ends in .toml)",
        words.replace("unknown key", "unknown kind"),
        names.join(", ")
    ))
}

fn is_own_file(kind: &str) -> bool {
    Path::new(kind)
        .extension()
        .is_some_and(|extension| extension == "toml")
}

fn read_own(path: &str) -> Result<Pipeline, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;

    // A built-in kind may do without a launch string (a folder is read without GStreamer); a
    // plant's own file without one would be read as a folder.
    let own = read(&bytes)?;

    if own.launch.is_none() {
        return Err("missing field `launch`".to_owned());
    }

    Ok(own)
}

fn read(bytes: &[u8]) -> Result<Pipeline, String> {
    // An unknown key is refused by name, see `deny_unknown_fields`.
    let pipeline: Pipeline = text::toml(bytes)?;

    // A place without a parameter would stay in the launch string and fail at the start, in
    // GStreamer's words.
    for place in places(pipeline.launch.as_deref().unwrap_or_default()) {
        if !pipeline.parameters.contains_key(place) {
            return Err(format!(
                "the launch string has a place {{{place}}} but there is no [parameters.{place}]"
            ));
        }
    }

    Ok(pipeline)
}

/// Checks a camera's values against its kind, fills in defaults, makes paths absolute (`base` is the
/// configuration's folder). Problems are noted under `place`.
pub fn check(settings: &mut CameraSettings, base: &Path, place: &str, problems: &mut Problems) {
    // The file is relative to the configuration's folder, whatever the daemon's working directory
    // is.
    if is_own_file(&settings.kind) {
        settings.kind = base.join(&settings.kind).display().to_string();
    }

    // Without a kind no key can be checked.
    let pipeline = match pipeline(&settings.kind) {
        Ok(pipeline) => pipeline,
        Err(why) => return problems.note(format!("{place}.kind"), why),
    };

    // Keys that the kind does not have are noted, each with the nearest one that it has.
    let parameters = &pipeline.parameters;

    for key in settings.values.keys() {
        if !parameters.contains_key(key) {
            let known = parameters.keys().map(String::as_str).chain(COMMON_KEYS);
            problems.note(format!("{place}.{key}"), unknown_key(key, known));
        }
    }

    // Every parameter of the kind gets its checked value: the one given, or the default.
    for (name, parameter) in parameters {
        let given = settings.values.get(name);

        match parameter.value(given.map(String::as_str), base) {
            Ok(value) => {
                settings.values.insert(name.clone(), value);
            }

            Err(why) => problems.note(format!("{place}.{name}"), why),
        }
    }
}

impl Parameter {
    /// The value to fill in: the given one, checked, or else the default.
    fn value(&self, given: Option<&str>, base: &Path) -> Result<String, String> {
        // A parameter without a default must be given; its own description says what for.
        match given.or(self.default.as_deref()) {
            Some(value) => self.checked(value, base),
            None => Err(format!("missing: {}", self.about)),
        }
    }

    fn checked(&self, value: &str, base: &Path) -> Result<String, String> {
        match self.r#type {
            ParameterType::Text => self.checked_text(value),
            ParameterType::File => checked_path(value, base),
            ParameterType::Choice => self.checked_choice(value),
            ParameterType::Whole => self.checked_whole(value),
        }
    }

    fn checked_text(&self, value: &str) -> Result<String, String> {
        // An empty text is allowed where the default is empty: it switches something off.
        if value.is_empty() && self.default.as_deref() != Some("") {
            return Err("must not be empty".to_owned());
        }

        Ok(value.to_owned())
    }

    fn checked_choice(&self, value: &str) -> Result<String, String> {
        // Choices are few, and all of them are named.
        if self.choices.iter().any(|choice| choice == value) {
            return Ok(value.to_owned());
        }

        Err(format!(
            "must be one of {}, got {value:?}",
            self.choices.join(", ")
        ))
    }

    fn checked_whole(&self, value: &str) -> Result<String, String> {
        // Bounds are those of the kind's file; without one, those of the number.
        let low = self.low.unwrap_or(i64::MIN);
        let high = self.high.unwrap_or(i64::MAX);

        match value.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number.to_string()),
            _ => Err(format!(
                "must be a whole number from {low} to {high}, got {value:?}"
            )),
        }
    }
}

fn checked_path(value: &str, base: &Path) -> Result<String, String> {
    // Paths become absolute at once: the pipeline runs in the daemon's folder.
    let path = std::path::absolute(base.join(value)).map_err(|error| error.to_string())?;
    let shown = path.display();

    // A file that is missing is found by `check`, not when the camera starts.
    if path.exists() {
        Ok(shown.to_string())
    } else {
        Err(format!("{shown} is not there"))
    }
}

/// The launch string with every place filled in; in one pass, so that a value's own braces stay as they
/// are.
pub fn filled(launch: &str, values: &BTreeMap<String, String>) -> String {
    // Text between the places is copied as it is; each place becomes its value, quoted.
    let mut text = String::new();
    let mut rest = launch;

    while let Some(place) = next_place(rest) {
        text.push_str(place.before);

        // The check has given every place a value; a missing one becomes nothing.
        if let Some(value) = values.get(place.name) {
            text.push_str(&quoted(value));
        }

        rest = place.after;
    }

    text + rest
}

fn places(launch: &str) -> Vec<&str> {
    // Names in their order, with repetitions: a place may occur twice.
    let mut names = Vec::new();
    let mut rest = launch;

    while let Some(place) = next_place(rest) {
        names.push(place.name);
        rest = place.after;
    }

    names
}

/// A `{name}` in a text, and the text before and after it.
struct NamedPlace<'a> {
    before: &'a str,
    name: &'a str,
    after: &'a str,
}

/// The next `{name}`. Other braces are GStreamer's: `format={RGB,BGR}`.
fn next_place(text: &str) -> Option<NamedPlace<'_>> {
    // Each opening brace may begin a place. GStreamer's own braces hold other characters than a
    // name does.
    for (at, _) in text.match_indices('{') {
        let (name, after) = text[at + 1..].split_once('}')?;

        if is_name(name) {
            let before = &text[..at];
            return Some(NamedPlace {
                before,
                name,
                after,
            });
        }
    }

    None
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}

/// True for a character that needs no quotes.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// Plain words as they are, everything else in double quotes.
fn quoted(value: &str) -> String {
    // Plain words need no quotes, which keeps launch strings readable in the log.
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }

    // Backslashes come first: else those that are added for quotes would be doubled.
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");

    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_is_whole_and_all_its_places_are_parameters() {
        for (name, text) in BUILT_IN {
            read(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    /// Settings of a camera of `kind`, or their problems.
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
            keeps_frames: false,
            needs_times: false,
            delay: std::time::Duration::ZERO,
            credentials: None,
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
