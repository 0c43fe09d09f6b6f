//! The screen Teach: a setter brings a new part to the line, or teaches a known one more.
//!
//! ```text
//! name --> what is looked at --> good parts --> a bad part --> threshold --> activate, or undo
//! ```
//! All steps stand on one page of plain forms. Where a finger draws (crop, mask, regions), a script puts what is drawn into
//! the fields of the form, which can be typed into as well. The lesson's part of the screen is asked for again and again while
//! it is seen; without a script the page is loaded anew.

mod acts;
mod address;
mod histogram;
mod lesson;
mod screen;
pub mod source;
mod view_form;

use self::address::ADDRESS;
use super::painter::picture_file;
use super::state::Page;
use crate::data::picture::Picture;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

/// Longer side of a part's picture in the grid of a lesson, in pixels.
const SMALL_PX: usize = 240;

/// The small picture of a lesson's part, as a JPEG file.
pub fn small_picture(picture: &Picture) -> Option<Arc<[u8]>> {
    picture_file(picture, SMALL_PX)
}

/// The addresses of the screen.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, get(screen::show))
        .route("/teach/new", post(acts::begin))
        .route("/teach/view", post(acts::view))
        .route("/teach/parts", post(acts::teach))
        .route("/teach/decide", post(acts::decide))
        .route("/teach/threshold", post(acts::threshold))
        .route("/teach/activate", post(acts::activate))
        .route("/teach/undo", post(acts::undo))
        .route("/teach/lesson", get(lesson::news))
        .route("/teach/frame/{camera}", get(screen::frame))
        .route("/teach/part/{lesson}/{place}", get(lesson::part))
        .route("/teach/what-if", post(acts::what_if))
}
