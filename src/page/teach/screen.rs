//! The screen as a page: what each step shows.

use super::address::{Wanted, address, fault, wanted};
use super::histogram::{RegionChart, charts};
use super::lesson::{Fragment, fragment};
use super::source::{CameraFacts, RecipeFacts};
use super::view_form::ViewForm;
use crate::page::access::{Right, Viewer};
use crate::page::blocking::Busy;
use crate::page::form_page::{Layout, answer, no_answer, refusal};
use crate::page::painter::picture_file;
use crate::page::state::Page;
use crate::protocol::command::NAMES;
use crate::protocol::editing::Rectangle;
use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// Longer side of the picture that is drawn on, in pixels.
const LARGE_PX: usize = 1280;
/// Good parts that a promise of a share needs, with that share in words: 1 / rate - 1 (docs/teach.md).
const PROMISES: [(usize, &str); 3] = [(9, "10 %"), (19, "5 %"), (99, "1 %")];
/// Good parts from which odd ones are told.
const ENOUGH: usize = 8;

#[derive(Template)]
#[template(path = "teach/teach.html")]
struct TeachScreen {
    layout: Layout,
    /// Why the viewer may change nothing.
    hindrance: Option<String>,
    shown: Shown,
    looked_at: LookedAt,
    fragment: Fragment,
    /// How far the good parts are enough.
    promise: String,
    charts: Vec<RegionChart>,
    /// True where the line can judge the last parts again.
    asks_what_if: bool,
}

/// The recipe that is taught, beside the others.
struct Shown {
    recipe: RecipeFacts,
    /// All recipes.
    recipes: Vec<RecipeFacts>,
    /// `name@revision` that judges.
    judging: String,
    /// True where the recipe judges.
    judges: bool,
}

/// What the recipe looks at in a camera's picture.
struct LookedAt {
    camera: Option<CameraFacts>,
    cameras: Vec<CameraFacts>,
    /// Width and height of the camera's picture, once there is one.
    size: Option<(usize, usize)>,
    form: ViewForm,
    /// Rectangles and outlines as SVG has them.
    drawn: Drawn,
    /// The smallest defect of each rectangle, in words.
    least: Vec<(String, String)>,
    px_per_mm: String,
}

impl LookedAt {
    fn of(page: &Page, wanted: &Wanted, recipe: &RecipeFacts) -> Self {
        let camera = camera_of(page, wanted.camera.as_deref());
        let px_per_mm = px_per_mm(wanted, camera.as_ref());

        let name = camera.as_ref().map(|camera| camera.name.as_str());
        let frame = name.and_then(|name| (page.teach.frame)(name));
        let size = frame.map(|frame| (frame.width(), frame.height()));

        LookedAt {
            cameras: page.teach.cameras.clone(),
            form: ViewForm::of(&recipe.view),
            drawn: drawn(recipe),
            least: least(recipe, size, px_per_mm),
            px_per_mm: px_per_mm.map_or(String::new(), |px| format!("{px:.2}")),
            camera,
            size,
        }
    }
}

/// What is looked at, for SVG.
struct Drawn {
    rectangles: Vec<(String, Rectangle)>,
    outlines: Vec<String>,
}

impl Shown {
    /// Address of the screen of another recipe.
    fn of(&self, name: &str) -> String {
        address(name)
    }

    /// Recipes beside the one that is taught.
    fn others(&self) -> Vec<&RecipeFacts> {
        let others = self.recipes.iter();
        let others = others.filter(|recipe| recipe.name != self.recipe.name && recipe.good > 0);
        others.collect()
    }
}

/// The screen.
pub async fn show(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    let wanted = wanted(query.as_deref());
    let Ok(recipes) = page.recipe_facts().await else {
        return no_answer(&page, viewer, "the library");
    };

    let judging = page.now().identity.recipe;

    // Without a name the recipe that judges is taught.
    let judges = judging.rsplit_once('@').map_or("", |(name, _)| name);
    let name = wanted.recipe.as_deref().unwrap_or(judges);
    let found = recipes.iter().find(|recipe| recipe.name == name);
    let Some(recipe) = found.cloned() else {
        let words = format!("There is no recipe {name:?} here.");
        return refusal(&page, viewer, StatusCode::NOT_FOUND, words);
    };

    let hindrance = viewer.hindrance(Right::SetUp);
    let layout = Layout::new(&page, viewer, "Teach");
    let fragment = fragment(&page, &layout.hidden(), &recipe.name);
    let fragment = match fragment {
        Ok(fragment) => fragment,
        Err(error) => return fault(&error),
    };

    let scores = page.teach.board.scores(&recipe.name);
    let judges = judges == recipe.name;
    let shown = Shown {
        recipe,
        recipes,
        judging,
        judges,
    };

    let screen = TeachScreen {
        hindrance,
        fragment,
        layout,
        looked_at: LookedAt::of(&page, &wanted, &shown.recipe),
        promise: promise(shown.recipe.good),
        charts: charts(scores),
        shown,
        asks_what_if: NAMES.contains(&"what_if"),
    };

    answer(StatusCode::OK, &screen)
}

/// The newest picture of a camera.
pub async fn frame(State(page): State<Page>, Path(camera): Path<String>) -> Response {
    let Some(picture) = (page.teach.frame)(&camera) else {
        return (StatusCode::NOT_FOUND, "the camera has shown nothing yet\n").into_response();
    };

    let file = page
        .picture_files
        .run(move || picture_file(&picture, LARGE_PX));
    match file.await {
        Ok(Some(file)) => ([(CONTENT_TYPE, "image/jpeg")], file.to_vec()).into_response(),
        Ok(None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(Busy) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many ask for pictures; look again in a moment\n",
        )
            .into_response(),
    }
}

/// The camera of that name, else the first that has shown a picture, else the first.
fn camera_of(page: &Page, name: Option<&str>) -> Option<CameraFacts> {
    let cameras = &page.teach.cameras;
    let named = cameras
        .iter()
        .find(|camera| Some(camera.name.as_str()) == name);
    let mut shown = cameras.iter();
    let shown = shown.find(|camera| (page.teach.frame)(&camera.name).is_some());
    named.or(shown).or(cameras.first()).cloned()
}

/// Pixels of a millimetre: as the person says, else as the line's file does.
fn px_per_mm(wanted: &Wanted, camera: Option<&CameraFacts>) -> Option<f64> {
    let said = wanted.px_per_mm.as_deref();
    let said = said.and_then(|said| said.trim().replace(',', ".").parse::<f64>().ok());
    let of_file = camera
        .and_then(|camera| camera.mm_per_pixel)
        .map(|mm| 1.0 / mm);
    let px = said.or(of_file);
    px.filter(|px| px.is_finite() && *px > 0.0)
}

fn drawn(recipe: &RecipeFacts) -> Drawn {
    let rectangles = recipe.view.rectangles().into_iter();
    let rectangles = rectangles.map(|(name, area)| (name.unwrap_or("crop").to_owned(), area));
    let own = recipe.view.mask.iter();
    let regions = recipe.view.regions.iter();
    let outlines = own.chain(regions.flat_map(|region| &region.mask));
    let points = outlines.map(|outline| {
        let corners = outline.iter().map(|[x, y]| format!("{x},{y}"));
        corners.collect::<Vec<_>>().join(" ")
    });

    Drawn {
        rectangles: rectangles.collect(),
        outlines: points.collect(),
    }
}

/// The smallest defect of each rectangle in words; of the whole picture where there is none.
fn least(
    recipe: &RecipeFacts,
    size: Option<(usize, usize)>,
    px_per_mm: Option<f64>,
) -> Vec<(String, String)> {
    let mut rectangles = drawn(recipe).rectangles;
    if rectangles.is_empty()
        && let Some((width, height)) = size
    {
        let whole = [0, 0, width as u64, height as u64];
        rectangles.push(("the whole picture".to_owned(), whole));
    }

    let words = rectangles.into_iter().map(|(name, area)| {
        let words = recipe.cells.words(area, px_per_mm);
        (name, words)
    });

    words.collect()
}

/// What so many good parts are enough for.
fn promise(good: usize) -> String {
    let enough = match good {
        0 => "No good part yet".to_owned(),
        1 => "1 good part: one more allows \"auto\"".to_owned(),
        2..ENOUGH => {
            format!("{good} good parts: enough for \"auto\"; from {ENOUGH} on, odd ones are told")
        }
        _ => {
            // With n good parts, none above the threshold, about 1 / (n + 1) of those to come fail (docs/teach.md).
            let share = 100.0 / (good as f64 + 1.0);
            format!(
                "{good} good parts: enough for \"auto\" (about {share:.0} % of good parts may fail)"
            )
        }
    };

    let kept = PROMISES.iter().rev().find(|(needed, _)| *needed <= good);
    let next = PROMISES.iter().find(|(needed, _)| *needed > good);
    let kept = kept.map(|(_, share)| format!("; enough for a promise of {share}"));
    let next = next.map(|(needed, share)| format!("; {needed} for a promise of {share}"));
    format!(
        "{enough}{}{}",
        kept.unwrap_or_default(),
        next.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_goes_with_the_number_of_good_parts() {
        assert!(promise(0).ends_with("; 9 for a promise of 10 %"));
        let eight = promise(8);
        assert!(
            eight.starts_with("8 good parts: enough for \"auto\" (about 11 %"),
            "{eight}"
        );
        let twenty = promise(20);
        assert!(twenty.contains("enough for a promise of 5 %"), "{twenty}");
        assert!(twenty.ends_with("99 for a promise of 1 %"), "{twenty}");
        assert!(promise(100).ends_with("enough for a promise of 1 %"));
    }
}
