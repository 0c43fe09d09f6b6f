//! `trigger` of a camera: which of its frames are parts, with the keys that belong to each kind.

use super::table::TableReader;
use crate::data::picture::Area;
use crate::trigger::{PresenceSettings, RingSettings, Stretches, Trigger};
use serde_json::Value;
use std::time::Duration;

const KINDS: &str =
    "\"continuous\", \"frame\", \"every_n\", \"command\", \"presence\", \"distance\"";

const WINDOW: Duration = Duration::from_millis(100);

/// Keys that belong to one kind of trigger each. All are read whatever the kind, so that one in the
/// wrong place is told by the kind that it belongs to.
struct KindKeys {
    every: Option<u64>,
    window: Option<Duration>,
    ring_mb: Option<usize>,
    share_frames: Option<bool>,
    presence: Option<Value>,
    stretch_mm: Option<f64>,
    overlap_mm: Option<f64>,
}

impl KindKeys {
    fn read(table: &mut TableReader) -> Self {
        KindKeys {
            every: table.whole("every", 1, 1_000_000),
            window: table.millis("window_ms", 1, 60_000),
            ring_mb: table.count("ring_mb", 1, 100_000),
            share_frames: table.flag("share_frames"),
            presence: table.take("presence"),
            stretch_mm: table.number("stretch_mm", 0.1, 1e6),
            overlap_mm: table.number("overlap_mm", 0.0, 1e6),
        }
    }

    fn refuse_those_of_others(&self, kind: &str, table: &mut TableReader) {
        let keys = [
            ("every", self.every.is_some(), "every_n"),
            ("window_ms", self.window.is_some(), "command"),
            ("ring_mb", self.ring_mb.is_some(), "command"),
            ("share_frames", self.share_frames.is_some(), "command"),
            ("presence", self.presence.is_some(), "presence"),
            ("stretch_mm", self.stretch_mm.is_some(), "distance"),
            ("overlap_mm", self.overlap_mm.is_some(), "distance"),
        ];

        for (key, is_given, owner) in keys {
            if is_given && kind != owner {
                table.note(
                    key,
                    format!("belongs to trigger = {owner:?}, which this camera has not"),
                );
            }
        }
    }
}

/// Reads `trigger` and the keys of its kind. `belt_mm_s` is how fast a web runs.
pub fn trigger(table: &mut TableReader, belt_mm_s: Option<f64>) -> Trigger {
    // The kind decides which keys count. All are read first, so that none of them is unknown as
    // well.
    let kind = table
        .text("trigger")
        .unwrap_or_else(|| "continuous".to_owned());

    if table.take("triggered").is_some() {
        table.note("triggered", "is trigger = \"frame\" now");
    }

    // A key in the wrong place is refused by the kind that it belongs to, not by "unknown key".
    let keys = KindKeys::read(table);
    keys.refuse_those_of_others(&kind, table);
    match kind.as_str() {
        "continuous" => Trigger::Continuous,
        "frame" => Trigger::Frame,
        "every_n" => every_n(table, &keys),
        "command" => Trigger::Command(RingSettings {
            bytes: keys.ring_mb.unwrap_or(64) << 20,
            window: keys.window.unwrap_or(WINDOW),
            shares_frames: keys.share_frames.unwrap_or(false),
        }),
        "presence" => Trigger::Presence(presence(table, keys.presence)),
        "distance" => distance(table, belt_mm_s, &keys),
        other => {
            table.note("trigger", format!("must be one of {KINDS}; got {other:?}"));
            Trigger::Continuous
        }
    }
}

fn every_n(table: &mut TableReader, keys: &KindKeys) -> Trigger {
    // A wrong `every` was noted and reads as not given; both end the start.
    if keys.every.is_none() {
        table.note("every", "missing: of how many frames one is a part");
    }

    Trigger::EveryN(keys.every.unwrap_or(1))
}

/// Overlapping stretches of a web.
fn distance(table: &mut TableReader, belt_mm_s: Option<f64>, keys: &KindKeys) -> Trigger {
    // The rate of pictures follows from both: a web has no parts that could trigger one.
    let Some((mm_per_s, stretch_mm)) = belt_mm_s.zip(keys.stretch_mm) else {
        table.note(
            "stretch_mm",
            "and belt_mm_s are needed: what one picture shows of the web, and how fast it runs",
        );

        return Trigger::Continuous;
    };

    // The step between two pictures must stay above zero, or each of them would show the same
    // stretch.
    let overlap_mm = keys.overlap_mm.unwrap_or(0.0);
    if overlap_mm >= stretch_mm {
        table.note(
            "overlap_mm",
            format!("must be less than stretch_mm ({stretch_mm}), got {overlap_mm}"),
        );

        return Trigger::Continuous;
    }

    Trigger::Distance(Stretches {
        mm_per_s,
        step_mm: stretch_mm - overlap_mm,
    })
}

/// `presence = { area, level, share }` as it is given; each key may be left out.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenPresence {
    area: Option<[usize; 4]>,
    level: Option<f32>,
    share: Option<f32>,
}

fn presence(table: &mut TableReader, value: Option<Value>) -> PresenceSettings {
    // The table is one value of the camera: serde reads it whole and names its own keys.
    let usual = PresenceSettings::default();
    let Some(value) = value else { return usual };
    let given: GivenPresence = match serde_json::from_value(value) {
        Ok(given) => given,
        Err(error) => {
            table.note(
                "presence",
                format!(
                    "must be like {{ area = [x, y, width, height], level = 25, share = 0.05 }}: {error}"
                ),
            );

            return usual;
        }
    };

    // Each key has a default that fits a dark belt under bright parts.
    let settings = PresenceSettings {
        area: given.area.map(|[x, y, w, h]| Area { x, y, w, h }),
        level: given.level.unwrap_or(usual.level),
        share: given.share.unwrap_or(usual.share),
    };

    check_presence(table, &settings);
    settings
}

fn check_presence(table: &mut TableReader, settings: &PresenceSettings) {
    // Ranges are tested on the good side, so that NaN is refused. The area is compared with the
    // picture when one comes.
    let PresenceSettings { area, level, share } = settings;
    if area.is_some_and(|area| area.w == 0 || area.h == 0) {
        table.note("presence.area", "must be at least 1 pixel wide and high");
    }

    if !(1.0..=254.0).contains(level) {
        table.note(
            "presence.level",
            format!("must be from 1 to 254 grey levels, got {level}"),
        );
    }

    if !(0.001..=1.0).contains(share) {
        table.note(
            "presence.share",
            format!("must be from 0.001 to 1 of the area, got {share}"),
        );
    }
}
