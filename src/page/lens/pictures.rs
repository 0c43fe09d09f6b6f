//! The pictures of the screen, for those who ask for them.

use super::develop::file;
use crate::page::state::Page;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// A camera's good picture, or its newest; the time in the address is that of the capture.
pub async fn picture(
    State(page): State<Page>,
    Path((number, kind, at)): Path<(usize, String, String)>,
) -> Response {
    let lenses = page.lenses();

    let picture = lenses.get(number).and_then(|lens| match kind.as_str() {
        "good" => lens.good.clone(),
        "newest" => lens.newest.clone(),
        _ => None,
    });

    // The newest of a moment ago may be another one by now, which is as good.
    let Some(file) = picture.as_deref().and_then(file) else {
        return (StatusCode::NOT_FOUND, "there is no such picture\n").into_response();
    };

    // An address with another time than the picture's may be another picture's.
    let own = picture.map(|picture| format!("{}.jpg", picture.at.as_millisecond()));
    let lasting = match own == Some(at) {
        true => "private, max-age=3600, immutable",
        false => "no-store",
    };

    let headers = [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, lasting)];
    (headers, file.to_vec()).into_response()
}
