//! The screen Live: one bar that says how the line is, its figures, and the newest part of each place.

use super::advice::{BROKER_AWAY, step};
use super::album::PhotoKey;
use super::board::PlaceParts;
use super::screen::{Facts, Fragment};
use super::words::{
    self, Mark, camera_mark, gate_words, mark, percent, reason_sentence, verdict_mark,
};
use crate::base::health::{Health, LineState};
use crate::camera::{CameraState, CameraStatus};
use crate::page::numbers::decimal;
use crate::protocol::condition::HELD;
use crate::protocol::event::PartResult;
use askama::Template;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The bar at the top: how the line is, why, and what to do.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "bar.html")]
pub struct LineBar {
    mark: Mark,
    /// The sentence of the first cause; empty where all is well.
    why: String,
    /// The step against it; empty where all is well.
    what: &'static str,
    /// Number of further causes.
    more: usize,
}

/// The figures of the line.
#[derive(Template)]
#[template(path = "figures.html")]
struct LineFigures<'a> {
    figures: Vec<(&'a str, String)>,
}

/// The newest part of a place.
#[derive(Template)]
#[template(path = "place.html")]
struct PlaceCard<'a> {
    name: &'a str,
    /// The camera's state where it does not work.
    camera: Option<Mark>,
    part: Option<PartCard>,
}

/// A part, large.
struct PartCard {
    mark: Mark,
    gate: &'static str,
    /// Name of the part: the trigger's, or its number.
    name: String,
    time: String,
    reason: String,
    photo: Option<PhotoView>,
    score: Option<ScoreBar>,
    strip: Vec<StripPart>,
}

/// A large picture with the places of its defects.
struct PhotoView {
    address: String,
    seen_by: String,
    width: usize,
    height: usize,
    /// Line width and letter height that fit the picture, in its pixels.
    line: usize,
    letter: usize,
    defects: Vec<DefectBox>,
}

/// A defect, in the picture's pixels.
struct DefectBox {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
    number: usize,
    /// Place of its number.
    text_y: usize,
}

/// A score beside its threshold, in thousandths of the bar: the threshold stands in the middle.
#[derive(Debug, PartialEq)]
struct ScoreBar {
    filled: u32,
    class: &'static str,
    words: String,
}

/// A part of the film strip.
struct StripPart {
    mark: Mark,
    words: String,
    /// Address of its small picture.
    address: Option<String>,
}

impl LineBar {
    /// Classes of its element.
    pub fn class(&self) -> &'static str {
        match self.mark.class {
            "good" => "bar good",
            "bad" => "bar bad",
            "doubt" => "bar doubt",
            _ => "bar calm",
        }
    }
}

/// All fragments of the screen.
///
/// # Errors
/// As [`Fragment::new`].
pub fn fragments(facts: &Facts) -> Result<Vec<Fragment>, askama::Error> {
    let bar = line_bar(facts);
    let mut fragments = vec![
        Fragment::new("bar", bar.class(), &bar)?,
        Fragment::new("figures", "figures", &figures(facts))?,
    ];

    for (name, place) in &facts.board.places {
        let newest = place.recent.front();
        let mark = newest.map(|part| verdict_mark(part.verdict));
        let class = mark.map_or("calm", |mark| mark.class);

        let card = PlaceCard {
            name,
            camera: camera_trouble(facts, name),
            part: newest.map(|newest| part_card(facts, name, place, newest)),
        };

        let id = format!("place-{}", place.number);
        let classes = format!("place {class}");
        let mut fragment = Fragment::new(&id, &classes, &card)?;

        fragment.parts = Some(place.told);
        fragments.push(fragment);
    }

    // A camera that has shown no part yet is told of too, as it may need help.
    let silent = silent_cameras(facts);

    for (at, name) in silent.into_iter().enumerate() {
        let card = PlaceCard {
            name,
            camera: camera_trouble(facts, name),
            part: None,
        };

        let id = format!("silent-{at}");
        let fragment = Fragment::new(&id, "place calm", &card)?;
        fragments.push(fragment);
    }

    Ok(fragments)
}

/// Cameras without a place of their own so far.
fn silent_cameras<'a>(facts: &'a Facts) -> Vec<&'a str> {
    // Of cameras that see parts together the common name has the parts, under which their pictures lie.
    let is_seen = |camera: &str| {
        facts.board.places.keys().any(|name| {
            // The name of a region's place begins with its camera.
            let is_own = name.split('/').next() == Some(camera);

            is_own || facts.album.is_seen_by(name, camera)
        })
    };

    let cameras = facts.now.cameras.keys();
    cameras
        .map(String::as_str)
        .filter(|camera| !is_seen(camera))
        .collect()
}

/// How the line is: the first of what keeps it from judging.
pub fn line_bar(facts: &Facts) -> LineBar {
    let now = &facts.now;
    let condition = &now.condition;
    let cause = |begin: &str| {
        let mut causes = condition.causes.iter();
        causes.find(|cause| cause.starts_with(begin)).cloned()
    };

    let first = condition.causes.first().cloned();
    let (mark, why) = match condition.state {
        LineState::Initialized => (mark("calm", "❚❚", "PAUSED"), cause("paused")),
        LineState::Halted => (mark("calm", "■", "STOPPED"), first),
        LineState::Preoperational => {
            let why = Some("camera: none has shown a picture yet".to_owned());

            (mark("doubt", "…", "STARTING"), why)
        }

        _ if is_camera_lost(&now.cameras) => (mark("bad", "✕", "NO CAMERA"), cause("camera ")),
        _ if !now.broker.is_connected => {
            return LineBar {
                mark: mark("bad", "✕", "NO BROKER"),
                why: broker_words(facts),
                what: BROKER_AWAY,
                more: condition.causes.len(),
            };
        }

        _ if now.holder.is_some() => (mark("calm", "◆", "IN SET-UP"), cause(HELD)),
        _ if !condition.ready => (mark("bad", "✕", "NOT READY"), first),
        _ if condition.health == Health::Normal => (mark("good", "✓", "READY"), None),
        _ => (mark("doubt", "!", "READY, BUT"), first),
    };

    let why = why.unwrap_or_default();
    let what = if why.is_empty() { "" } else { step(&why) };
    let causes = condition.causes.iter();

    let more = causes.filter(|cause| **cause != why).count();

    LineBar {
        mark,
        why,
        what,
        more,
    }
}

/// Why the broker is away, and since when.
pub fn broker_words(facts: &Facts) -> String {
    let broker = &facts.now.broker;
    let since = words::since(broker.since, facts.at);
    let reason = broker.reason.as_deref().unwrap_or("not connected yet");

    // Results that wait are not lost, which is what a person asks first.
    let waiting = facts.now.metrics.store.waiting;

    format!("the broker is away for {since}: {reason}; {waiting} results wait")
}

fn is_camera_lost(cameras: &BTreeMap<String, Option<CameraStatus>>) -> bool {
    let is_dead = |state| matches!(state, CameraState::Stalled | CameraState::Offline);

    // A camera that is still being started has no status, and is not lost.
    let mut statuses = cameras.values().flatten();

    statuses.any(|status| is_dead(status.state))
}

fn camera_trouble(facts: &Facts, name: &str) -> Option<Mark> {
    let camera = name.split('/').next().unwrap_or(name);
    let status = facts.now.cameras.get(camera)?;

    let state = status.as_ref().map(|status| status.state);
    let mark = camera_mark(state);

    (mark.class != "good").then_some(mark)
}

fn figures<'a>(facts: &Facts) -> LineFigures<'a> {
    let all = facts.now.parts.all();
    let speed = facts.board.parts_a_minute();
    let speed = speed.map_or_else(|| "…".to_owned(), |speed| speed.to_string());

    let met = ago(facts, facts.board.challenge_met, "none in this run");
    let checked = ago(facts, facts.now.checks.passed_at, "none passed");

    LineFigures {
        figures: vec![
            ("recipe", facts.now.identity.recipe.clone()),
            ("parts", all.parts().to_string()),
            ("passed", all.pass.to_string()),
            ("failed", all.fail.to_string()),
            ("undecided", all.undecided.to_string()),
            ("yield", percent(all.pass_share())),
            ("parts a minute", speed),
            ("last met challenge", met),
            ("last shift check", checked),
        ],
    }
}

/// How long ago a moment was; other words where there was none.
fn ago(facts: &Facts, moment: Option<Timestamp>, none: &str) -> String {
    let Some(moment) = moment else {
        return none.to_owned();
    };

    let passed = words::since(moment, facts.at);

    format!("{passed} ago")
}

fn part_card(facts: &Facts, name: &str, place: &PlaceParts, part: &PartResult) -> PartCard {
    let key = |part: &PartResult| PhotoKey {
        place: name.to_owned(),
        seq: part.seq,
    };

    let run_id = &facts.now.identity.run_id;
    let address = |part: &PartResult, size: &str| {
        let number = place.number;
        format!("/picture/{run_id}/{number}/{}/{size}.jpg", part.seq)
    };

    let photo = facts.album.facts(&key(part)).map(|found| {
        let (width, height) = found.size;

        // Letters grow with the picture, as the page shows all pictures equally wide.
        let longer = width.max(height);
        let letter = (longer / 24).max(8);
        let line = (letter / 8).max(1);

        PhotoView {
            address: address(part, "large"),
            seen_by: found.seen_by.to_string(),
            width,
            height,
            line,
            letter,
            defects: defect_boxes(&found.defects, letter),
        }
    });

    let strip = place.recent.iter().map(|part| StripPart {
        mark: verdict_mark(part.verdict),
        words: format!("{}: {}", part_name(part), reason_sentence(part)),
        address: facts
            .album
            .has_small(&key(part))
            .then(|| address(part, "small")),
    });

    PartCard {
        mark: verdict_mark(part.verdict),
        gate: gate_words(part),
        name: part_name(part),
        time: words::time_of_day(part.captured_at),
        reason: reason_sentence(part),
        photo,
        score: score_bar(part),
        strip: strip.collect(),
    }
}

fn part_name(part: &PartResult) -> String {
    match &part.part_id {
        Some(part_id) => format!("{part_id} (no. {})", part.seq),
        None => format!("no. {}", part.seq),
    }
}

fn defect_boxes(defects: &[crate::data::verdict::Defect], letter: usize) -> Vec<DefectBox> {
    let numbered = defects.iter().enumerate();
    numbered
        .map(|(at, defect)| {
            // Above the box where there is room, else inside of it.
            let text_y = if defect.y > letter {
                defect.y - letter / 4
            } else {
                defect.y + letter
            };

            DefectBox {
                x: defect.x,
                y: defect.y,
                w: defect.w,
                h: defect.h,
                number: at + 1,
                text_y,
            }
        })
        .collect()
}

fn score_bar(part: &PartResult) -> Option<ScoreBar> {
    let score = part.score?;
    let threshold = part.threshold.filter(|threshold| *threshold > 0.0)?;

    // Twice the threshold fills the bar.
    let of_threshold = f64::from(score) / f64::from(threshold);
    let share = (of_threshold / 2.0).clamp(0.0, 1.0);
    let filled = (share * 1000.0) as u32;

    // The colour is the verdict's, which need not follow from the score alone.
    let mark = verdict_mark(part.verdict);

    Some(ScoreBar {
        filled,
        class: mark.class,
        words: format!(
            "score {}, threshold {}",
            decimal(score, 3),
            decimal(threshold, 3)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::result;
    use super::*;
    use crate::data::verdict::Verdict;

    #[test]
    fn the_threshold_stands_in_the_middle_of_the_bar() {
        let bar = |score| {
            let part = PartResult {
                score: Some(score),
                threshold: Some(0.4),
                ..result(1, Verdict::Fail)
            };

            score_bar(&part).expect("both are there").filled
        };

        assert_eq!([0.0, 0.4, 0.6, 9.0, -1.0].map(bar), [0, 500, 750, 1000, 0]);
        let none = PartResult {
            threshold: None,
            ..result(1, Verdict::Fail)
        };

        assert_eq!(score_bar(&none), None);
    }
}
