//! `[[camera]]` tables: where frames come from, which of them are parts, and what the line does with those.

use super::check_topic;
use super::table::Table;
use crate::base::problems::Problems;
use crate::camera::{self, pipelines};
use crate::data::part::PartTiming;
use crate::data::picture::Area;
use crate::trigger::{PresenceSettings, RingSettings, Stretches, Trigger};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct CameraConfig {
    pub camera: camera::CameraSettings,
    pub trigger: Trigger,
    /// The name under which it and others see the same part.
    pub join: Option<String>,
    /// Frames of parts that may wait for the inspector.
    pub queue: usize,
    pub terms: PartTiming,
    /// How large a pixel is on the part, in millimetres, for those who ask what can be seen.
    pub mm_per_pixel: Option<f64>,
}

pub fn cameras(value: Option<Value>, base: &Path, problems: &mut Problems) -> Vec<CameraConfig> {
    let list = match value {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(other) if !other.is_array() => {
            problems.note("camera", format!("must be [[camera]] tables, got {other}"));
            return vec![];
        }
        _ => {
            problems.note("camera", "at least one [[camera]] is needed");
            return vec![];
        }
    };
    let mut cameras: Vec<CameraConfig> = vec![];
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("camera[{i}]");
        let camera = camera_of(&place, value, base, problems);
        if cameras
            .iter()
            .any(|other| other.camera.name == camera.camera.name)
        {
            problems.note(
                format!("{place}.name"),
                format!("{:?} is another camera's name", camera.camera.name),
            );
        }
        cameras.push(camera);
    }
    check_joins(&cameras, problems);
    cameras
}

/// Cameras that may see one part: each has its place in the result, which stays small.
const VIEWS_MAX: usize = 8;

fn check_joins(cameras: &[CameraConfig], problems: &mut Problems) {
    for (i, camera) in cameras.iter().enumerate() {
        let Some(name) = &camera.join else { continue };
        let place = format!("camera[{i}].join");
        if cameras.iter().any(|other| *other.camera.name == **name) {
            problems.note(
                &place,
                format!("{name:?} is a camera's name; joined views need one of their own"),
            );
        }
        let others: Vec<_> = cameras
            .iter()
            .filter(|other| other.join == camera.join)
            .collect();
        if others.len() < 2 {
            problems.note(
                &place,
                format!(
                    "{name:?} has one camera only; give it to the others that see the same part"
                ),
            );
        }
        if others.len() > VIEWS_MAX {
            let words = format!(
                "{name:?} has {} cameras; at most {VIEWS_MAX} have room in a result",
                others.len()
            );
            problems.note(&place, words);
        }
        if others.iter().any(|other| other.terms != camera.terms) {
            let words = "views of one part must have the same deadline_ms, reject_after_ms and reject_counts";
            problems.note(&place, words);
        }
    }
}

fn camera_of(place: &str, value: Value, base: &Path, problems: &mut Problems) -> CameraConfig {
    let mut table = Table::new(place, value, problems);
    let name = table.required("name");
    if let Err(why) = check_topic(&name, false) {
        table.note("name", why);
    }
    let kind = table.required("kind");
    let stall = table.number("stall_s", 0.1, 3600.0).unwrap_or(5.0);
    let delay = Duration::from_millis(table.whole("delay_ms", 0, 60_000).unwrap_or(0));
    let speed = table.number("belt_mm_s", 0.1, 100_000.0);
    let trigger = trigger_of(&mut table, speed);
    let join = table.text("join");
    if let Some(Err(why)) = join.as_deref().map(|name| check_topic(name, false)) {
        table.note("join", why);
    }
    if join.is_some() && !matches!(trigger, Trigger::Command(_)) {
        table.note(
            "join",
            "needs trigger = \"command\": only a command says which frames show the same part",
        );
    }
    let queue = table.whole("queue", 1, 1000).unwrap_or(8) as usize;
    let terms = terms_of(&mut table, speed, matches!(trigger, Trigger::Distance(_)));
    let mm_per_pixel = table.number("mm_per_pixel", 1e-6, 1000.0);
    let values = table.rest();
    table.finish();
    let (stall, triggered) = (Duration::from_secs_f64(stall), trigger == Trigger::Frame);
    let mut camera = camera::CameraSettings {
        name: name.into(),
        kind,
        values,
        stall,
        triggered,
        delay,
    };
    if !camera.kind.is_empty() {
        pipelines::check(&mut camera, base, place, problems);
    }
    CameraConfig {
        camera,
        trigger,
        join,
        queue,
        terms,
        mm_per_pixel,
    }
}

/// What counts as a part.
fn trigger_of(table: &mut Table, speed: Option<f64>) -> Trigger {
    let word = table
        .text("trigger")
        .unwrap_or_else(|| "continuous".to_owned());
    if table.take("triggered").is_some() {
        table.note("triggered", "is trigger = \"frame\" now");
    }
    let every = table.whole("every", 1, 1_000_000);
    let window = table.whole("window_ms", 1, 60_000);
    let ring = table.whole("ring_mb", 1, 100_000);
    let presence = table.take("presence");
    let stretch = table.number("stretch_mm", 0.1, 1e6);
    let overlap = table.number("overlap_mm", 0.0, 1e6);
    let mut only = |key: &str, is_given: bool, kind: &str| {
        if is_given && word != kind {
            table.note(
                key,
                format!("belongs to trigger = {kind:?}, which this camera has not"),
            );
        }
    };
    only("every", every.is_some(), "every_n");
    only("window_ms", window.is_some(), "command");
    only("ring_mb", ring.is_some(), "command");
    only("presence", presence.is_some(), "presence");
    only("stretch_mm", stretch.is_some(), "distance");
    only("overlap_mm", overlap.is_some(), "distance");
    match word.as_str() {
        "continuous" => Trigger::Continuous,
        "frame" => Trigger::Frame,
        "every_n" => Trigger::EveryN(every.unwrap_or_else(|| {
            table.note("every", "missing: of how many frames one is a part");
            1
        })),
        "command" => Trigger::Command(RingSettings {
            bytes: (ring.unwrap_or(64) as usize) << 20,
            window: Duration::from_millis(window.unwrap_or(100)),
        }),
        "presence" => Trigger::Presence(
            presence.map_or_else(PresenceSettings::default, |value| presence_of(table, value)),
        ),
        "distance" => distance_of(table, speed, stretch, overlap.unwrap_or(0.0)),
        other => {
            let known =
                "\"continuous\", \"frame\", \"every_n\", \"command\", \"presence\", \"distance\"";
            table.note("trigger", format!("must be one of {known}; got {other:?}"));
            Trigger::Continuous
        }
    }
}

/// Overlapping stretches of a web.
fn distance_of(
    table: &mut Table,
    speed: Option<f64>,
    stretch: Option<f64>,
    overlap: f64,
) -> Trigger {
    match (speed, stretch) {
        (Some(speed), Some(stretch)) if overlap < stretch => Trigger::Distance(Stretches {
            mm_per_s: speed,
            step_mm: stretch - overlap,
        }),
        (Some(_), Some(stretch)) => {
            table.note(
                "overlap_mm",
                format!("must be less than stretch_mm ({stretch}), got {overlap}"),
            );
            Trigger::Continuous
        }
        _ => {
            table.note(
                "stretch_mm",
                "and belt_mm_s are needed: what one picture shows of the web, and how fast it runs",
            );
            Trigger::Continuous
        }
    }
}

fn presence_of(table: &mut Table, value: Value) -> PresenceSettings {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        area: Option<[usize; 4]>,
        level: Option<f32>,
        share: Option<f32>,
    }
    let usual = PresenceSettings::default();
    let given: Given = match serde_json::from_value(value) {
        Ok(given) => given,
        Err(error) => {
            table.note(
                "presence",
                format!("must be like {{ area = [x, y, width, height], level = 25, share = 0.05 }}: {error}"),
            );
            return usual;
        }
    };
    let area = given.area.map(|[x, y, w, h]| Area { x, y, w, h });
    if area.is_some_and(|area| area.w == 0 || area.h == 0) {
        table.note("presence.area", "must be at least 1 pixel wide and high");
    }
    let (level, share) = (
        given.level.unwrap_or(usual.level),
        given.share.unwrap_or(usual.share),
    );
    if !(1.0..=254.0).contains(&level) {
        table.note(
            "presence.level",
            format!("must be from 1 to 254 grey levels, got {level}"),
        );
    }
    if !(0.001..=1.0).contains(&share) {
        table.note(
            "presence.share",
            format!("must be from 0.001 to 1 of the area, got {share}"),
        );
    }
    PresenceSettings { area, level, share }
}

/// When a verdict is due, and when a part that is rejected is at the gate.
fn terms_of(table: &mut Table, speed: Option<f64>, needs_speed: bool) -> PartTiming {
    let deadline = Duration::from_millis(table.whole("deadline_ms", 1, 3_600_000).unwrap_or(1000));
    let after = table
        .whole("reject_after_ms", 0, 3_600_000)
        .map(Duration::from_millis);
    let way = table.number("reject_mm", 0.0, 1e6);
    let by_belt = speed
        .zip(way)
        .map(|(speed, way)| Duration::from_secs_f64(way / speed));
    if speed.is_some() != way.is_some() && !(needs_speed && way.is_none()) {
        table.note(
            "belt_mm_s",
            "and reject_mm belong together: the belt's speed, and the way from the camera to the gate",
        );
    }
    if after.is_some() && by_belt.is_some() {
        table.note(
            "reject_after_ms",
            "and reject_mm both say when a part is at the gate; give one",
        );
    }
    let reject_counts = table
        .whole("reject_counts", 0, i64::MAX as u64)
        .map(|counts| counts as i64);
    let reject_after = after.or(by_belt);
    if let Some(gate) = reject_after.filter(|gate| *gate < deadline) {
        let (gate, deadline) = (gate.as_millis(), deadline.as_millis());
        table.note("deadline_ms", format!("the part is at the gate after {gate} ms, before its verdict is due after {deadline} ms; make it at most {gate}"));
    }
    PartTiming {
        deadline,
        reject_after,
        reject_counts,
    }
}
