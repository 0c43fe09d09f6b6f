//! The nearest references beside the places of a failed part: "looked for this, found that".
//!
//! They are looked for when an operator opens the part's screen first, beside the line. Until they are found the screen says so;
//! its script asks again, and without it a link does. Who is not signed in is told the way: the search holds a recipe in memory.

use crate::data::nearest::{NearestAnswer, NearestFound, NearestPair};
use crate::page::access::{PollViewer, Right, Viewer};
use crate::page::evidence::checked_stem;
use crate::page::form_page::answer;
use crate::page::numbers::decimal;
use crate::page::state::Page;
use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// The part of the screen that shows them.
#[derive(Template)]
#[template(path = "rejects/nearest.html")]
pub struct NearestView {
    /// Stem of the part's evidence.
    stem: String,
    /// `Err` for a viewer for whom nothing is looked for: why, and the way to it.
    answer: Result<NearestAnswer, String>,
}

impl NearestView {
    /// The view of a kept part.
    pub fn of(page: &Page, viewer: &Viewer, stem: &str) -> Self {
        let hindrance = viewer.hindrance(Right::Operate);

        NearestView {
            stem: stem.to_owned(),
            answer: hindrance.map_or_else(|| Ok((page.nearest)(stem)), Err),
        }
    }
}

/// `GET /rejects/nearest/STEM`: the part of the screen alone.
pub async fn show(
    State(page): State<Page>,
    PollViewer(viewer): PollViewer,
    Path(stem): Path<String>,
) -> Response {
    match checked_stem(&stem) {
        Some(stem) => answer(StatusCode::OK, &NearestView::of(&page, &viewer, stem)),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /rejects/nearest/STEM/DEFECT/FILE`: `found.jpg`, `looked-for.jpg`.
pub async fn picture(
    State(page): State<Page>,
    viewer: Viewer,
    Path((stem, defect, file)): Path<(String, usize, String)>,
) -> Response {
    if !viewer.may(Right::Operate) {
        return StatusCode::FORBIDDEN.into_response();
    }

    let found = checked_stem(&stem).and_then(|stem| picture_of(&page, stem, defect, &file));
    match found {
        Some(jpeg) => {
            let headers = [
                (CONTENT_TYPE, "image/jpeg"),
                (CACHE_CONTROL, "private, max-age=3600"),
            ];

            (headers, Body::from(jpeg)).into_response()
        }

        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The reference of a pair in words.
fn looked_for(pair: &NearestPair) -> String {
    let mut words = format!(
        "good part {} of {}, distance {}",
        pair.reference,
        pair.references,
        decimal(pair.distance, 3)
    );

    for note in &pair.notes {
        words = format!("{words}; {note}");
    }

    words
}

fn picture_of(page: &Page, stem: &str, defect: usize, file: &str) -> Option<Bytes> {
    let NearestAnswer::Done(answer) = (page.nearest)(stem) else {
        return None;
    };

    let found: &NearestFound = answer.as_ref().as_ref().ok()?;
    let pair = found.pairs.iter().find(|pair| pair.defect == defect)?;
    let jpeg = match file {
        "found.jpg" => &pair.found,
        "looked-for.jpg" => &pair.looked_for,
        _ => return None,
    };

    Some(Bytes::from_owner(jpeg.clone()))
}
