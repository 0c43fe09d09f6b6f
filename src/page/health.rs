//! The screen Health: causes with a step each, cameras, broker, clock, disk, waiting results, and the
//! last events in words.

use super::advice::{BROKER_AWAY, step};
use super::live::{broker_words, line_bar};
use super::screen::{Facts, Fragment};
use super::words::{self, Mark, camera_mark, gigabytes, mark, time_of_day};
use crate::base::health::Health;
use crate::camera::CameraStatus;
use askama::Template;

/// Share of the disk below which its room is told as low.
const DISK_LOW: f64 = 0.05;
/// Distance of a camera's clock that is told as wrong, in milliseconds.
const CLOCK_OFF_MS: i64 = 1000;

/// The causes of the line's health.
#[derive(Template)]
#[template(path = "causes.html")]
struct CauseList {
    causes: Vec<(String, &'static str)>,
}

/// A table of what the line stands on.
#[derive(Template)]
#[template(path = "checks.html")]
struct CheckTable {
    title: &'static str,
    rows: Vec<CheckRow>,
}

/// One row.
struct CheckRow {
    name: String,
    mark: Mark,
    words: String,
}

/// The last events.
#[derive(Template)]
#[template(path = "events.html")]
struct EventList {
    events: Vec<(String, Mark, String)>,
}

/// All fragments of the screen.
///
/// # Errors
/// As [`Fragment::new`].
pub fn fragments(facts: &Facts) -> Result<Vec<Fragment>, askama::Error> {
    let bar = line_bar(facts);
    let cameras = CheckTable {
        title: "Cameras",
        rows: camera_rows(facts),
    };

    let others = CheckTable {
        title: "Line",
        rows: line_rows(facts),
    };

    let events = facts.board.events.iter().map(|event| {
        let words = event.words.clone();
        (time_of_day(event.at), event.mark, words)
    });

    let events = EventList {
        events: events.collect(),
    };

    Ok(vec![
        Fragment::new("bar", bar.class(), &bar)?,
        Fragment::new("causes", "panel wide", &causes(facts))?,
        Fragment::new("cameras", "panel", &cameras)?,
        Fragment::new("line", "panel", &others)?,
        Fragment::new("events", "panel wide", &events)?,
    ])
}

fn causes(facts: &Facts) -> CauseList {
    let mut causes = vec![];
    if !facts.now.broker.is_connected {
        causes.push((broker_words(facts), BROKER_AWAY));
    }

    for cause in &facts.now.condition.causes {
        causes.push((cause.clone(), step(cause)));
    }

    CauseList { causes }
}

fn camera_rows(facts: &Facts) -> Vec<CheckRow> {
    let mut rows = vec![];
    for (name, status) in &facts.now.cameras {
        let mark = camera_mark(status.as_ref().map(|status| status.state));
        let words = status.as_ref().map(|status| camera_words(facts, status));
        let frames = facts.now.metrics.cameras.get(name);
        let frames = frames.map(|camera| camera.frames);
        let counted = frames.map_or_else(String::new, |frames| {
            format!(
                "{} frames, {} judged, {} replaced, {} failed",
                frames.captured, frames.judged, frames.replaced, frames.failed
            )
        });

        let words: Vec<String> = words.into_iter().chain([counted]).collect();
        rows.push(CheckRow {
            name: name.clone(),
            mark,
            words: words.join("; "),
        });
    }

    rows
}

fn camera_words(facts: &Facts, status: &CameraStatus) -> String {
    let mut words = format!("for {}", words::since(status.since, facts.at));
    if let Some(reason) = &status.last_reason {
        words += &format!("; last lost: {reason}");
    }

    if let Some(offset) = status.clock_offset {
        let ms = offset.as_millis();
        words += &format!("; its clock is {ms} ms ahead");
    }

    words
}

fn line_rows(facts: &Facts) -> Vec<CheckRow> {
    let now = &facts.now;
    let store = &now.metrics.store;
    let broker = if now.broker.is_connected {
        let since = words::since(now.broker.since, facts.at);
        (mark("good", "✓", "connected"), format!("for {since}"))
    } else {
        (mark("bad", "✕", "away"), broker_words(facts))
    };

    let waiting = match store.waiting {
        0 => mark("good", "✓", "none"),
        _ if now.broker.is_connected => mark("good", "✓", "on their way"),
        _ => mark("doubt", "!", "wait"),
    };

    let identity = &now.identity;
    let rows = [
        ("health", health_mark(now.condition.health), String::new()),
        ("broker", broker.0, broker.1),
        (
            "waiting results",
            waiting,
            format!("{} wait, {} were given up", store.waiting, store.given_up),
        ),
        ("clock", clock_mark(facts), clock_words(facts)),
        disk_row(facts),
        (
            "last commit",
            mark("calm", "●", "time"),
            format!(
                "{} ms, the longest {} ms",
                store.commit_ms, store.longest_commit_ms
            ),
        ),
        (
            "engine",
            mark("calm", "●", "runs"),
            format!("{} on {}", identity.backend, identity.device),
        ),
        (
            "version",
            mark("calm", "●", "runs"),
            format!("winspect {}, run {}", identity.version, identity.run_id),
        ),
    ];

    let rows = rows.into_iter().map(|(name, mark, words)| CheckRow {
        name: name.to_owned(),
        mark,
        words,
    });

    rows.collect()
}

fn health_mark(health: Health) -> Mark {
    match health {
        Health::Normal => mark("good", "✓", "NORMAL"),
        Health::MaintenanceRequired => mark("doubt", "!", "MAINTENANCE REQUIRED"),
        Health::OffSpec => mark("doubt", "!", "OFF SPEC"),
        Health::CheckFunction => mark("calm", "●", "CHECK FUNCTION"),
        Health::Failure => mark("bad", "✕", "FAILURE"),
    }
}

fn clock_mark(facts: &Facts) -> Mark {
    match facts.now.condition.clock_synchronised {
        Some(true) => mark("good", "✓", "steered"),
        Some(false) => mark("doubt", "!", "not steered"),
        None => mark("calm", "●", "unknown"),
    }
}

fn clock_words(facts: &Facts) -> String {
    let cameras = facts.now.metrics.cameras.iter();
    let off: Vec<String> = cameras
        .filter_map(|(name, camera)| {
            let ms = camera.clock_offset_ms?;
            (ms.abs() > CLOCK_OFF_MS).then(|| format!("camera {name} is {ms} ms ahead"))
        })
        .collect();

    off.join("; ")
}

fn disk_row(facts: &Facts) -> (&'static str, Mark, String) {
    let Some(room) = facts.disk.filter(|room| room.size > 0) else {
        return ("disk", mark("calm", "●", "unknown"), String::new());
    };

    let share = room.free as f64 / room.size as f64;
    let mark = if share < DISK_LOW {
        mark("doubt", "!", "nearly full")
    } else {
        mark("good", "✓", "has room")
    };

    let words = format!("{} of {} free", gigabytes(room.free), gigabytes(room.size));
    ("disk", mark, words)
}
