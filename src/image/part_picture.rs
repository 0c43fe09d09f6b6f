//! The picture of a part for people: a strip that says the verdict and why, the map over the grey picture,
//! and the picture as the camera gave it.
//!
//! ```text
//! | ✘ FAIL    score 0.412  [======|==   ]  threshold 0.337 |   by verdict: word, symbol and colour
//! | part A-77812 · top 11 · 2026-11-28 20:36:02.557 UTC ..  |
//! | why                                                     |
//! | caption                   | caption                     |
//! | map over grey, marks      | original                    |   beneath each other where they are wide
//! ```
//! A part without a map shows its picture alone. A part without a picture shows the last one of its
//! camera, darkened, or an empty field, and says so.

use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::data::report::Report;
use crate::data::shown_part::{ShownPart, ShownPicture};
use crate::data::verdict::{Reason, Verdict};
use crate::image::canvas::{Canvas, text_width, wrapped};
use crate::image::overlay::{HeatLayer, HeatScale, Overlay, Rgb, marks};

/// Width in pixels at least, so that the strip has room for its words.
const WIDTH_MIN: usize = 720;
/// Size in pixels of the field that is shown where there is no picture.
const EMPTY: (usize, usize) = (720, 240);
/// Space between the two pictures, and around text.
const GAP: usize = 8;
/// Lines of the reason, at most.
const REASON_LINES: usize = 3;

const BACKGROUND: Rgb = [20, 22, 26];
const TEXT: Rgb = [235, 235, 235];
const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];

/// Heights of text in pixels.
struct Sizes {
    verdict: usize,
    text: usize,
}

impl Sizes {
    fn of(width: usize) -> Self {
        Sizes {
            verdict: (width / 45).clamp(24, 40),
            text: (width / 90).clamp(16, 22),
        }
    }

    /// Height of a line of text with the space around it.
    fn line(&self) -> usize {
        self.text + GAP
    }
}

/// A picture with the words above it.
struct Panel {
    caption: String,
    picture: Picture,
}

/// Pictures of one part for people.
pub struct PartPictures {
    /// The picture of the part.
    pub whole: Picture,
    /// Its first panel alone: the map over the grey picture, or what there is in its place.
    pub first: Picture,
}

/// Draws the picture of a part; `paint` paints overlays as `image/overlay/paint.rs` does.
pub fn draw(part: &ShownPart, paint: impl FnMut(&Overlay) -> Picture) -> Picture {
    lay_out(part, panels(part, paint))
}

/// Does as [`draw`], and gives the first panel beside.
pub fn draw_both(part: &ShownPart, paint: impl FnMut(&Overlay) -> Picture) -> PartPictures {
    let panels = panels(part, paint);

    // There is always one.
    let first = panels[0].picture.clone();
    PartPictures {
        whole: lay_out(part, panels),
        first,
    }
}

fn lay_out(part: &ShownPart, panels: Vec<Panel>) -> Picture {
    // Wide pictures lie beneath each other: side by side, each would be a narrow band on a screen.
    let stacks = panels
        .iter()
        .any(|panel| panel.picture.width() > 3 * panel.picture.height());

    let widths = panels.iter().map(|panel| panel.picture.width());
    let content = match stacks {
        true => widths.max().unwrap_or(0),
        false => widths.map(|width| width + GAP).sum::<usize>() - GAP,
    };

    let width = content.max(WIDTH_MIN);
    let sizes = Sizes::of(width);
    let why = wrapped(sizes.text, &why(part), width - 2 * GAP, REASON_LINES);
    let strip = strip_height(&sizes, why.len());
    let heights = panels
        .iter()
        .map(|panel| panel.picture.height() + sizes.line());

    let height = match stacks {
        true => heights.sum::<usize>(),
        false => heights.max().unwrap_or(0),
    };

    let mut canvas = Canvas::new(width, strip + height, BACKGROUND);
    draw_strip(&mut canvas, part, &sizes, &why);
    let is_alone = panels.len() == 1;
    let mut x = (width - content) / 2;
    let mut y = strip;

    for panel in panels {
        let size = (panel.picture.width(), panel.picture.height());
        let room = match stacks || is_alone {
            true => width - 2 * GAP,
            false => size.0.saturating_sub(GAP),
        };

        let caption = wrapped(sizes.text, &panel.caption, room, 1).concat();
        canvas.text((x + GAP, y + GAP / 2), sizes.text, TEXT, &caption);
        canvas.put(panel.picture, x, y + sizes.line());

        match stacks {
            true => y += size.1 + sizes.line(),
            false => x += size.0 + GAP,
        }
    }

    canvas.into_picture()
}

/// The pictures that a part has.
fn panels(part: &ShownPart, mut paint: impl FnMut(&Overlay) -> Picture) -> Vec<Panel> {
    let report = &part.report;
    let picture = match &part.picture {
        ShownPicture::Own(picture) => picture,
        ShownPicture::Earlier(picture, at) => {
            let overlay = Overlay::new(picture, &[]);
            return vec![Panel {
                caption: format!(
                    "no picture of this part; the camera's last one, of {}",
                    time(*at)
                ),
                picture: darkened(&overlay.original()),
            }];
        }

        ShownPicture::Missing => {
            let (width, height) = EMPTY;
            return vec![Panel {
                caption: "no picture of this part, and none of its camera before".to_owned(),
                picture: Canvas::new(width, height, [45, 48, 54]).into_picture(),
            }];
        }
    };

    let mut layers = vec![];
    if let (Some(map), Some(area)) = (&report.map, report.area) {
        let scale = scale_of(report.score, report.threshold, Some(map));
        layers.push(HeatLayer { map, area, scale });
    }

    // The map lies over the part at its place; the original is the camera's.
    let overlay = Overlay::new(part.aligned.as_ref().unwrap_or(picture), &layers);
    let original = Panel {
        caption: "as the camera gave it".to_owned(),
        picture: match &part.aligned {
            Some(_) => Overlay::new(picture, &[]).original(),
            None => overlay.original(),
        },
    };

    let Some(layer) = layers.first() else {
        return vec![original];
    };

    let painted = marks::draw(paint(&overlay), &overlay, &report.defects);
    let map = Panel {
        caption: map_caption(layer.scale),
        picture: painted,
    };

    vec![map, original]
}

/// The heats of a part's map: by its threshold where that is on the scale of its map, else the map's own.
pub fn scale_of(score: Option<f32>, threshold: Option<f32>, map: Option<&Map>) -> HeatScale {
    let is_on_scale = map
        .zip(score)
        .is_some_and(|(map, score)| score <= map.max());

    match (threshold, map) {
        (Some(threshold), _) if is_on_scale && threshold > 0.0 => {
            HeatScale::of_threshold(threshold)
        }
        (_, Some(map)) => HeatScale::of_map(map),
        (_, None) => HeatScale::between(0.0, 1.0),
    }
}

fn map_caption(scale: HeatScale) -> String {
    match scale.is_threshold {
        true => format!(
            "map: colour from {:.3}, line at {:.3}",
            scale.low, scale.high
        ),
        // A score that words take part in has another scale than the map.
        false => "map: on a scale of its own".to_owned(),
    }
}

/// Height of everything above the panels.
fn strip_height(sizes: &Sizes, reason_lines: usize) -> usize {
    band_height(sizes) + (1 + reason_lines) * sizes.line() + GAP / 2
}

fn band_height(sizes: &Sizes) -> usize {
    sizes.verdict + 2 * GAP
}

fn draw_strip(canvas: &mut Canvas, part: &ShownPart, sizes: &Sizes, why: &[String]) {
    let report = &part.report;
    let band = band_height(sizes);
    let (colour, ink) = colours(report.verdict);
    let w = canvas.width();
    let band_area = Area {
        x: 0,
        y: 0,
        w,
        h: band,
    };

    canvas.fill(band_area, colour);
    let word = word(report.verdict);
    let size = sizes.verdict;
    canvas.text((2 * GAP, GAP - 1), size, ink, word);
    let from = 2 * GAP + text_width(size, word) + 3 * GAP;
    draw_score(canvas, report, sizes, (from, ink));

    // One line says which part it is, those below say why.
    let facts = wrapped(sizes.text, &facts(report), w - 2 * GAP, 1);

    for (row, line) in facts.iter().chain(why).enumerate() {
        let y = band + row * sizes.line() + GAP / 2;
        canvas.text((2 * GAP, y), sizes.text, TEXT, line);
    }
}

/// Draws score and threshold as words, with a bar between them, from the column `from`.
fn draw_score(canvas: &mut Canvas, report: &Report, sizes: &Sizes, (from, ink): (usize, Rgb)) {
    let y = (band_height(sizes) - sizes.text) / 2;
    let Some(score) = report.score else {
        return canvas.text((from, y), sizes.text, ink, "no score");
    };

    let words = format!("score {score:.3}");
    canvas.text((from, y), sizes.text, ink, &words);
    let left = from + text_width(sizes.text, &words) + 2 * GAP;
    let Some(threshold) = report.threshold else {
        return canvas.text((left, y), sizes.text, ink, "no threshold");
    };

    let words = format!("threshold {threshold:.3}");
    let room = text_width(sizes.text, &words) + 3 * GAP;
    let right = canvas.width().saturating_sub(room).min(left + 600);
    canvas.text((right + 2 * GAP, y), sizes.text, ink, &words);

    if right < left + 20 {
        return; // no room for a bar
    }

    // The bar ends at twice the threshold, so that its mark is always in the middle.
    let bar = Area {
        x: left,
        y,
        w: right - left,
        h: sizes.text,
    };

    let share = (score / (2.0 * threshold)).clamp(0.0, 1.0);

    // A threshold of 0 divides 0 by 0.
    let share = if share.is_nan() { 1.0 } else { share };
    canvas.fill(bar, [60, 60, 60]);
    let filled = (share * bar.w as f32) as usize;
    canvas.fill(Area { w: filled, ..bar }, WHITE);
    canvas.outline(bar, 1, BLACK);
    let mark = Area {
        x: left + bar.w / 2 - 2,
        y: y - GAP / 2,
        w: 5,
        h: bar.h + GAP,
    };

    canvas.fill(mark, BLACK);
    canvas.fill(
        Area {
            x: mark.x + 2,
            w: 1,
            ..mark
        },
        [255, 220, 0],
    );
}

/// Symbol and word of a verdict: it must be read without seeing colours.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✔ PASS",
        Verdict::Fail => "✘ FAIL",
        Verdict::Undecided => "⚠ UNDECIDED",
    }
}

/// Colours of a verdict's band and of the words on it: those of a signal tower, green, red, amber.
fn colours(verdict: Verdict) -> (Rgb, Rgb) {
    match verdict {
        Verdict::Pass => ([20, 110, 50], WHITE),
        Verdict::Fail => ([185, 25, 25], WHITE),
        Verdict::Undecided => ([240, 170, 20], BLACK),
    }
}

/// The part in a line: its names, time and recipe.
fn facts(report: &Report) -> String {
    let part = &report.part;
    let mut words = vec![];

    if let Some(id) = &part.request.part_id {
        words.push(format!("part {id}"));
    }

    words.push(format!("{} {}", part.camera(), part.seq));
    if report.seen_by != *part.camera() {
        words.push(format!("seen by {}", report.seen_by));
    }

    words.extend(
        part.request
            .region
            .as_ref()
            .map(|region| format!("region {region}")),
    );

    words.push(time(report.captured_at));
    words.push(format!("recipe {}", report.recipe));

    words.join(" · ")
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S.%3f UTC").to_string()
}

/// Why the verdict is what it is.
fn why(part: &ShownPart) -> String {
    let report = &part.report;
    let words = match report.reason {
        Some(reason) => {
            let mut words = reason_words(reason).to_owned();

            if let Some(detail) = &report.detail {
                words += &format!(": {detail}");
            }

            words
        }

        None => compared(report),
    };

    match part.is_late {
        true => format!(
            "judged after its deadline: the result that stands is undecided (late); {words}"
        ),
        false => words,
    }
}

/// The score beside the threshold, in words.
fn compared(report: &Report) -> String {
    let (Some(score), Some(threshold)) = (report.score, report.threshold) else {
        return "decided by another camera's view".to_owned();
    };

    let relation = match report.verdict {
        Verdict::Fail => "at or above the threshold",
        _ => "below the threshold",
    };

    let times = score / threshold;
    let words = match times.is_finite() {
        true => format!("the score is {relation}: {times:.2} times it"),
        false => format!("the score is {relation}"),
    };

    match sizes_mm(report) {
        Some(sizes) => format!("{words}; {sizes}"),
        None => words,
    }
}

/// The sizes of the numbered defects, where the camera's scale is known.
fn sizes_mm(report: &Report) -> Option<String> {
    let scale = report.scale_of_defects()?;
    let sizes = report.defects.iter().map(|defect| defect.in_mm(&scale));
    let sizes: Vec<String> = sizes.collect();

    match sizes.as_slice() {
        [] => None,
        [size] => Some(format!("the defect is {size} mm")),
        sizes => Some(format!("defects of {} mm", sizes.join(", "))),
    }
}

/// A reason as results name it, and what it means.
fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Late => "late: there was no verdict by the deadline",
        Reason::Overload => "overload: the queue of the inspector was full",
        Reason::CameraLost => "camera_lost: the camera gave no picture of the part",
        Reason::BadImage => "bad_image: the picture must not be judged",
        Reason::EngineError => "engine_error: the engine failed",
        Reason::NotReady => "not_ready: there was nothing to judge by",
        Reason::NoPart => "no_part: the part was not found in the picture, or not all of it",
    }
}

/// The picture at a third of its brightness: it is not the part's.
fn darkened(picture: &Picture) -> Picture {
    let rgb = picture.rgb().iter().map(|value| value / 3).collect();

    Picture::new(picture.width(), picture.height(), rgb).expect("as many bytes as before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::report::tests::{report, turned};
    use crate::image::overlay::paint::paint;
    use std::sync::Arc;

    #[test]
    fn sizes_are_told_of_a_part_that_lies_as_the_camera_sees_it_and_of_no_turned_one() {
        let mut report = report(11);
        report.mm_per_pixel = Some(0.5);
        report.defects.truncate(1);
        assert_eq!(
            sizes_mm(&report).as_deref(),
            Some("the defect is 1.50 × 2.00 mm")
        );

        report.pose = Some(turned());
        assert_eq!(sizes_mm(&report), None);
        assert!(!compared(&report).contains("mm"));
    }

    fn grey(width: usize, height: usize) -> Arc<Picture> {
        let rgb = vec![90; 3 * width * height];
        Arc::new(Picture::new(width, height, rgb).expect("its bytes"))
    }

    fn shown(report: Report, picture: ShownPicture) -> ShownPart {
        ShownPart {
            report: Arc::new(report),
            picture,
            aligned: None,
            beside: vec![],
            is_late: false,
            judged_by: None,
        }
    }

    fn of_report(report: &Report) -> HeatScale {
        scale_of(report.score, report.threshold, report.map.as_ref())
    }

    /// A judged part, whose map covers the whole of a picture of that size.
    fn judged(width: usize, height: usize) -> ShownPart {
        let mut report = report(11);
        report.area = Some(Area::whole(width, height));
        shown(report, ShownPicture::Own(grey(width, height)))
    }

    #[test]
    fn pictures_stand_side_by_side_and_wide_ones_beneath_each_other() {
        for (width, height) in [(640, 480), (1, 1), (4000, 3000), (3000, 90), (1, 2000)] {
            let part = judged(width, height);
            let drawn = draw(&part, paint);
            let overlay = Overlay::new(part.picture.own().expect("its own"), &[]);
            let stacks = width > 3 * height;
            let (panel_w, panel_h) = (overlay.width, overlay.height);
            let wanted = if stacks { panel_w } else { 2 * panel_w + GAP };
            assert_eq!(drawn.width(), wanted.max(WIDTH_MIN), "{width} x {height}");
            let rows = if stacks { 2 } else { 1 };
            assert!(drawn.height() > rows * panel_h + 80, "{width} x {height}");
        }
    }

    #[test]
    fn the_original_stands_beside_the_map_and_the_strip_has_the_verdicts_colour() {
        let drawn = draw(&judged(640, 480), paint);
        let at = |x: usize, y: usize| &drawn.rgb()[3 * (drawn.width() * y + x)..][..3];
        assert_eq!(at(2, 2), colours(Verdict::Fail).0);
        // The map's last row is the hottest: coloured on the left, as it was on the right.
        let y = drawn.height() - 5;
        assert_eq!(at(640 + GAP + 600, y), [90; 3]);
        assert_ne!(at(600, y), [90; 3]);
    }

    #[test]
    fn each_part_has_a_picture_and_says_what_it_is() {
        let lost = Report {
            verdict: Verdict::Undecided,
            reason: Some(Reason::CameraLost),
            detail: Some("no frame near its time".to_owned()),
            score: None,
            map: None,
            defects: vec![],
            ..report(12)
        };

        let bad = Report {
            reason: Some(Reason::BadImage),
            ..lost.clone()
        };

        let earlier = ShownPicture::Earlier(grey(640, 480), jiff::Timestamp::UNIX_EPOCH);
        let own = ShownPicture::Own(grey(640, 480));
        let parts = [
            shown(bad, own),
            shown(lost.clone(), earlier),
            shown(lost, ShownPicture::Missing),
        ];

        let captions: Vec<String> = parts
            .iter()
            .map(|part| panels(part, paint).remove(0).caption)
            .collect();

        assert_eq!(
            captions,
            [
                "as the camera gave it",
                "no picture of this part; the camera's last one, of 1970-01-01 00:00:00.000 UTC",
                "no picture of this part, and none of its camera before",
            ]
        );

        for part in &parts {
            let drawn = draw(part, paint);
            assert!(drawn.width() >= WIDTH_MIN && drawn.height() > 200);
        }

        assert_eq!(
            why(&parts[1]),
            "camera_lost: the camera gave no picture of the part: no frame near its time"
        );
    }

    #[test]
    fn the_scale_is_the_thresholds_where_the_score_is_the_maps() {
        let mut report = report(1);
        assert_eq!(of_report(&report), HeatScale::of_threshold(0.337));
        // A score by words is above all that the map has.
        report.score = Some(7.0);
        assert!(!of_report(&report).is_threshold);
        report.score = Some(0.4);
        report.threshold = None;
        assert!(!of_report(&report).is_threshold);
        report.threshold = Some(0.0);
        report.map = Some(Map::new(Grid::square(1), vec![0.5]));
        assert!(!of_report(&report).is_threshold);
        draw(&shown(report, ShownPicture::Own(grey(9, 9))), paint);
    }

    #[test]
    fn words_say_how_far_the_score_is() {
        let part = judged(64, 48);
        assert_eq!(
            why(&part),
            "the score is at or above the threshold: 1.22 times it"
        );

        let late = ShownPart {
            is_late: true,
            judged_by: None,
            ..part
        };

        assert!(why(&late).starts_with("judged after its deadline"));
    }
}
