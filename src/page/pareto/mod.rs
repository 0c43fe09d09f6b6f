//! What fails, and where: rejects by place and undecided parts by reason, the most frequent first, with the share that
//! those above make together; and counts by shift, day, recipe or camera. All of it out of the history, as
//! `winspect history --by` counts, and as CSV.
//!
//! Bounds: the time of a search (`page/search.rs`); what was not counted by then is told.

mod counted;
mod screen;

use super::state::Page;
use axum::Router;
use axum::routing::get;

/// The addresses of the screen.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(screen::ADDRESS, get(screen::show))
        .route(screen::CSV, get(screen::csv))
}
