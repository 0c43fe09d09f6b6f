//! What the screen Camera and lens shows.

use super::ADDRESS;
use crate::data::lens::{LensPicture, LensView, TaughtRange};
use crate::page::live::line_bar;
use crate::page::screen::{Facts, Fragment};
use crate::page::words::{Mark, mark, percent, since};
use askama::Template;

/// Share of the last parts from which a cell is painted: fewer are what good parts show, too.
const PAINTED_FROM: f32 = 0.3;
/// Opacity of a cell that is unlike on all parts: what lies beneath stays visible.
const OPACITY: f32 = 0.4;

/// One camera's lens.
#[derive(Template)]
#[template(path = "lens/lens.html")]
struct LensCard {
    name: String,
    mark: Mark,
    drift: Vec<String>,
    rows: Vec<FigureRow>,
    newest: Option<LensPhoto>,
    good: Option<LensPhoto>,
    cleaned: Vec<String>,
}

/// A figure beside what was taught.
struct FigureRow {
    name: &'static str,
    now: String,
    taught: String,
    mark: Mark,
}

/// A picture, with the places that are unlike.
struct LensPhoto {
    title: String,
    address: String,
    width: usize,
    height: usize,
    line: usize,
    cells: Vec<PaintedCell>,
    told: Vec<PaintedCell>,
}

/// A rectangle over a picture.
struct PaintedCell {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
    opacity: String,
}

/// A camera of which no part has passed.
#[derive(Template)]
#[template(path = "lens/none.html")]
struct NoLens<'a> {
    name: &'a str,
}

/// All fragments of the screen.
///
/// # Errors
/// As [`Fragment::new`].
pub fn fragments(facts: &Facts) -> Result<Vec<Fragment>, askama::Error> {
    let bar = line_bar(facts);
    let bar = Fragment::new("bar", bar.class(), &bar)?;
    let mut fragments = vec![bar];

    for (number, lens) in facts.lenses.iter().enumerate() {
        let card = card(facts, number, lens);
        let id = format!("lens-{}", lens.camera);
        let class = format!("panel wide lens {}", card.mark.class);
        let fragment = Fragment::new(&id, &class, &card)?;

        fragments.push(fragment);
    }

    for name in facts.now.cameras.keys() {
        let mut lenses = facts.lenses.iter();
        if lenses.any(|lens| *lens.camera == **name) {
            continue;
        }

        let id = format!("no-lens-{name}");
        let card = NoLens { name };
        let fragment = Fragment::new(&id, "panel wide lens calm", &card)?;

        fragments.push(fragment);
    }

    Ok(fragments)
}

fn card(facts: &Facts, number: usize, lens: &LensView) -> LensCard {
    let numbered = NumberedLens {
        facts,
        number,
        lens,
    };

    let newest = lens.newest.as_deref();
    let newest = newest.map(|newest| LensPhoto {
        cells: painted(lens),
        told: told(lens),
        ..numbered.photo(newest, "newest", "Now")
    });

    let good = lens.good.as_deref();
    let good = good.map(|good| numbered.photo(good, "good", "Good"));

    LensCard {
        name: lens.camera.to_string(),
        mark: lens_mark(lens),
        drift: lens.drift.clone(),
        rows: rows(lens),
        newest,
        good,
        cleaned: cleaned(facts, lens),
    }
}

fn lens_mark(lens: &LensView) -> Mark {
    let is_watched = lens.brightness.is_some() || lens.watches_places;

    match (lens.drift.is_empty(), is_watched) {
        (false, _) => mark("bad", "✕", "NOT AS IT WAS TAUGHT"),
        (true, true) => mark("good", "✓", "AS IT WAS TAUGHT"),
        (true, false) => mark("calm", "●", "NOT WATCHED"),
    }
}

/// What was said after the last cleanings of a camera.
fn cleaned(facts: &Facts, lens: &LensView) -> Vec<String> {
    let begin = format!("{}: ", lens.camera);
    let mut cleaned = vec![];

    for (at, words) in &facts.board.cleaned {
        // The outcome begins with the camera's name.
        if let Some(words) = words.strip_prefix(&begin) {
            let ago = since(*at, facts.at);
            let told = format!("cleaned, told {ago} ago: {words}");

            cleaned.push(told);
        }
    }

    cleaned
}

/// A lens and its number among the others, by which its pictures are asked for.
struct NumberedLens<'a> {
    facts: &'a Facts<'a>,
    number: usize,
    lens: &'a LensView,
}

impl NumberedLens<'_> {
    /// A picture without anything painted over it.
    fn photo(&self, picture: &LensPicture, kind: &str, title: &str) -> LensPhoto {
        let ago = since(picture.at, self.facts.at);
        let number = self.number;
        let ms = picture.at.as_millisecond();
        let (width, height) = self.lens.size;
        let longer = width.max(height);

        LensPhoto {
            title: format!("{title}, {ago} ago"),
            address: format!("{ADDRESS}/picture/{number}/{kind}/{ms}.jpg"),
            width,
            height,
            line: (longer / 200).max(1),
            cells: vec![],
            told: vec![],
        }
    }
}

fn rows(lens: &LensView) -> Vec<FigureRow> {
    let figures = &lens.figures;

    let mut rows = vec![
        row("sharpness", figures.sharpness, lens.sharpness.as_ref()),
        row("brightness", figures.brightness, lens.brightness.as_ref()),
    ];

    rows.push(FigureRow {
        name: "saturated pixels",
        now: percent(Some(f64::from(figures.saturated))),
        taught: String::new(),
        mark: mark("calm", "●", ""),
    });

    if lens.watches_places {
        let share = lens.worst_share();
        let worst = (share * lens.parts as f32).round();

        rows.push(FigureRow {
            name: "the worst place",
            now: format!("unlike on {worst} of {} parts", lens.parts),
            taught: "most parts are like the references everywhere".to_owned(),
            mark: match lens.told.is_empty() {
                true => mark("good", "✓", "within"),
                false => mark("bad", "✕", "beyond"),
            },
        });
    }

    rows
}

fn row(name: &'static str, now: f32, taught: Option<&TaughtRange>) -> FigureRow {
    let Some(range) = taught else {
        return FigureRow {
            name,
            now: format!("{now:.0}"),
            taught: "no reference of this picture size".to_owned(),
            mark: mark("calm", "●", ""),
        };
    };

    let is_within = now >= range.from && now <= range.to;

    FigureRow {
        name,
        now: format!("{now:.0}"),
        taught: format!(
            "{:.0} to {:.0}; limits {:.0} and {:.0}",
            range.lowest, range.highest, range.from, range.to
        ),
        mark: match is_within {
            true => mark("good", "✓", "within"),
            false => mark("bad", "✕", "beyond"),
        },
    }
}

/// The cells that are unlike on a good share of the parts.
fn painted(lens: &LensView) -> Vec<PaintedCell> {
    let often = lens
        .places
        .iter()
        .filter(|place| place.share >= PAINTED_FROM);
    let cells = often.map(|place| PaintedCell {
        x: place.area.x,
        y: place.area.y,
        w: place.area.w,
        h: place.area.h,
        opacity: format!("{:.2}", place.share * OPACITY),
    });

    cells.collect()
}

/// The boxes around places that are told.
fn told(lens: &LensView) -> Vec<PaintedCell> {
    let told = lens.told.iter().map(|place| PaintedCell {
        x: place.x,
        y: place.y,
        w: place.w,
        h: place.h,
        opacity: String::new(),
    });

    told.collect()
}
