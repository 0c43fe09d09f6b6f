//! Small pictures of the parts of a group: the odd place, out of the evidence.

use crate::data::picture::{Area, Picture};
use crate::evidence::kept;
use crate::image::{close_up, jpeg_file};
use crate::page::state::Page;
use crate::protocol::suggestion::SuggestedPart;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::path::Path;

/// Side of a small picture, in pixels.
const SIDE: usize = 160;
/// What is shown around the odd place: so many times its own size.
const AROUND: usize = 3;
/// Quality of a small picture, of 100.
const QUALITY: u8 = 85;

/// Picture in the place of one that is not kept, or not yet: a part is written after its result.
const NOT_KEPT: &str = include_str!("not_kept.svg");

/// The picture of a part of a group; 404 for what is none.
pub async fn of_group(
    State(page): State<Page>,
    UrlPath((group, part)): UrlPath<(u64, usize)>,
) -> Response {
    let found = page.false_rejects.part(group, part);

    picture(&page, found).await
}

/// The picture of a part of a proposal; 404 for what is none.
pub async fn of_proposal(
    State(page): State<Page>,
    UrlPath((proposal, part)): UrlPath<(u64, usize)>,
) -> Response {
    let found = page.false_rejects.part_of_proposal(proposal, part);

    picture(&page, found).await
}

async fn picture(page: &Page, found: Option<SuggestedPart>) -> Response {
    let Some(part) = found else {
        let none = StatusCode::NOT_FOUND;
        return none.into_response();
    };

    let look = move |folder: &Path| small(folder, &part);
    let read = page.evidence.look(look).await;

    // It may be kept a moment later.
    let lasting = (CACHE_CONTROL, "no-store");

    match read {
        Ok(Some(jpeg)) => {
            let kind = (CONTENT_TYPE, "image/jpeg");

            ([kind, lasting], jpeg).into_response()
        }

        _ => {
            let kind = (CONTENT_TYPE, "image/svg+xml");

            ([kind, lasting], NOT_KEPT).into_response()
        }
    }
}

fn small(folder: &Path, part: &SuggestedPart) -> Option<Vec<u8>> {
    // `run/camera/seq`, and the camera that saw it where several see a part.
    let mut names = part.part.split('/');
    let run_id = names.next()?;
    let camera = names.next()?;
    let seq = names.next()?;
    let seen_by = names.next();

    let camera = seen_by.unwrap_or(camera);
    let seq = seq.parse().ok()?;
    let found = kept::find(folder, run_id, camera, seq);
    let found = found.ok()?;
    let picture = found.picture_as_kept();
    let picture = picture.ok()?;

    let file = cut(&picture, part);
    Some(file)
}

/// The odd place with what is around it, square, as JPEG.
fn cut(picture: &Picture, part: &SuggestedPart) -> Vec<u8> {
    let place = Area {
        x: part.x,
        y: part.y,
        w: part.w,
        h: part.h,
    };

    let square = close_up::square_around(picture, place, place.w.max(place.h) * AROUND);
    jpeg_file::encode(&close_up::cut(picture, square, SIDE), QUALITY)
}
