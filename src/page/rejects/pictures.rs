//! Pictures of kept parts, by the stem of their files. An address is never used for another picture, so that browsers
//! may keep what they have.

use crate::evidence::kept;
use crate::page::evidence::{checked_stem, heat, original};
use crate::page::state::Page;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// `GET /evidence/STEM/FILE`: `part.jpg`, `small.jpg`, `original.jpg`, `heat.jpg`.
pub async fn show(
    State(page): State<Page>,
    Path((stem, file)): Path<(String, String)>,
) -> Response {
    let not_found = (StatusCode::NOT_FOUND, "there is no such picture\n");
    let is_known = ["part.jpg", "small.jpg", "original.jpg", "heat.jpg"].contains(&file.as_str());
    let Some(stem) = checked_stem(&stem).filter(|_| is_known).map(str::to_owned) else {
        return not_found.into_response();
    };

    let read = page.evidence.look(move |folder| {
        let kept = kept::read(folder, &stem).ok()?;
        match file.as_str() {
            "part.jpg" => std::fs::read(kept.part_picture()).ok(),
            "small.jpg" => std::fs::read(kept.small_picture()).ok(),
            "original.jpg" => original(&kept).ok(),
            _ => heat(&kept).ok(),
        }
    });

    match read.await {
        Ok(Some(bytes)) => {
            let lasting = (CACHE_CONTROL, "private, max-age=86400, immutable");
            let kind = (CONTENT_TYPE, "image/jpeg");
            ([lasting, kind], Body::from(bytes)).into_response()
        }
        Ok(None) => not_found.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
