//! `[[camera]]` tables: where frames come from, which of them are parts, and what the line does with those.

use super::table::{TableReader, shown};
use super::{address, timing, topic, trigger};
use crate::base::problems::Problems;
use crate::camera::{CameraSettings, pipelines};
use crate::data::part::PartTiming;
use crate::trigger::Trigger;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// One camera, checked.
#[derive(Debug, Clone)]
pub struct CameraConfig {
    /// The source of its frames.
    pub camera: CameraSettings,
    /// The rule by which its frames are parts.
    pub trigger: Trigger,
    /// The name under which this camera and others see the same part.
    pub join: Option<String>,
    /// Frames of parts that may wait for the inspector.
    pub queue: usize,
    /// Moments when verdicts are due and rejected parts are at the gate.
    pub terms: PartTiming,
    /// True if a command that triggers this camera must say the part's time.
    pub requires_at: bool,
    /// Speed of the belt or web in millimetres a second, where it is given.
    pub belt_mm_s: Option<f64>,
}

/// Reads all `[[camera]]` tables; at least one is needed, and each has a name of its own.
pub fn cameras(value: Option<Value>, base: &Path, problems: &mut Problems) -> Vec<CameraConfig> {
    // Two cameras of one name would share topics, counters and `seq`.
    let mut cameras: Vec<CameraConfig> = vec![];

    for (i, value) in tables(value, problems).into_iter().enumerate() {
        let place = format!("camera[{i}]");
        let config = camera(&place, value, base, problems);
        let name = &config.camera.name;

        if cameras.iter().any(|other| other.camera.name == *name) {
            problems.note(
                format!("{place}.name"),
                format!("{name:?} is another camera's name"),
            );
        }

        cameras.push(config);
    }

    // Groups are checked last: each camera of a group has to be known.
    check_joins(&cameras, problems);

    cameras
}

fn tables(value: Option<Value>, problems: &mut Problems) -> Vec<Value> {
    // One table, `[camera]`, parses as an object: the words name the double brackets.
    match value {
        Some(Value::Array(tables)) if !tables.is_empty() => return tables,
        Some(other) if !other.is_array() => {
            problems.note(
                "camera",
                format!("must be [[camera]] tables, got {}", shown(&other)),
            );
        }

        _ => problems.note("camera", "at least one [[camera]] is needed"),
    }

    vec![]
}

fn camera(place: &str, value: Value, base: &Path, problems: &mut Problems) -> CameraConfig {
    // Each key is read by its own name. The keys that are left are the pipeline's.
    let mut table = TableReader::new(place, value, problems);
    let name = table.required("name");
    table.check("name", topic::check_level(&name));
    let kind = table.required("kind");
    let credentials = address::credentials(&mut table, &kind, base);
    let stall_s = table.number("stall_s", 0.1, 3600.0);
    let delay = table.millis("delay_ms", 0, 60_000);
    let belt_mm_s = table.number("belt_mm_s", 0.1, 100_000.0);

    // The trigger is read before the timing: a web may give its speed without a gate.
    let trigger = trigger::trigger(&mut table, belt_mm_s);
    let join = join(&mut table, &trigger);
    let requires_at = requires_at(&mut table, &trigger);
    let queue = table.count("queue", 1, 1000);
    let is_web = matches!(trigger, Trigger::Distance(_));
    let terms = timing::part_timing(&mut table, belt_mm_s, is_web);

    // The rest belongs to the kind. `pipelines::check` knows its keys and refuses unknown ones.
    let values = table.rest();

    if kind == "rtsp"
        && let Some(location) = values.get("location")
    {
        table.check("location", address::check(location, credentials.is_some()));
    }

    table.finish();
    let mut camera = CameraSettings {
        name: name.into(),
        kind,
        values,
        stall: Duration::from_secs_f64(stall_s.unwrap_or(5.0)),
        triggered: trigger == Trigger::Frame,
        keeps_frames: trigger != Trigger::Continuous,
        needs_times: trigger.needs_times(),
        delay: delay.unwrap_or_default(),
        credentials,
    };

    // A missing kind was noted already; without it there is nothing to check the values against.
    if !camera.kind.is_empty() {
        pipelines::check(&mut camera, base, place, problems);
    }

    CameraConfig {
        camera,
        trigger,
        join,
        queue: queue.unwrap_or(8),
        terms,
        requires_at,
        belt_mm_s,
    }
}

fn requires_at(table: &mut TableReader, trigger: &Trigger) -> bool {
    let Some(requires_at) = table.flag("require_at") else {
        return false;
    };

    if !matches!(trigger, Trigger::Command(_)) {
        table.note(
            "require_at",
            "belongs to trigger = \"command\", which this camera has not",
        );
    }

    requires_at
}

fn join(table: &mut TableReader, trigger: &Trigger) -> Option<String> {
    // The group's name stands in topics where a camera's name would.
    let name = table.text("join")?;
    table.check("join", topic::check_level(&name));

    if !matches!(trigger, Trigger::Command(_)) {
        table.note(
            "join",
            "needs trigger = \"command\": only a command says which frames show the same part",
        );
    }

    Some(name)
}

/// Cameras that may see one part: each has its place in the result, which stays small.
const VIEWS_MAX: usize = 8;

fn check_joins(cameras: &[CameraConfig], problems: &mut Problems) {
    // A problem of a group is noted at each of its cameras: the person may look at any of them
    // first.
    for (i, camera) in cameras.iter().enumerate() {
        if let Some(name) = &camera.join {
            for words in problems_of_join(name, camera, cameras) {
                problems.note(format!("camera[{i}].join"), words);
            }
        }
    }
}

fn problems_of_join(name: &str, camera: &CameraConfig, all: &[CameraConfig]) -> Vec<String> {
    // Views of a group are published under the group's name, so that it may not be a camera's.
    let mut problems = vec![];

    if all.iter().any(|other| *other.camera.name == *name) {
        problems.push(format!(
            "{name:?} is a camera's name; joined views need one of their own"
        ));
    }

    // `views` has the cameras of this group, this one among them.
    let views: Vec<&CameraConfig> = all
        .iter()
        .filter(|other| other.join == camera.join)
        .collect();

    if views.len() < 2 {
        problems.push(format!(
            "{name:?} has one camera only; give it to the others that see the same part"
        ));
    }

    if views.len() > VIEWS_MAX {
        problems.push(format!(
            "{name:?} has {} cameras; at most {VIEWS_MAX} have room in a result",
            views.len()
        ));
    }

    // One part has one deadline and one moment at the gate, whichever camera saw it.
    if views.iter().any(|other| other.terms != camera.terms) {
        problems.push(
            "views of one part must have the same deadline_ms, reject_after_ms and reject_counts"
                .to_owned(),
        );
    }

    problems
}
