//! The screen Rejects: parts that failed, and others, as a list with pictures; one part with all that is known of it,
//! and a person's word on it; and both for taking away, as CSV and ZIP.
//!
//! ```text
//! filter --HistoryQuery--> store --parts--> list --stem--> pictures of the evidence
//!                                  \--> part --label--> command handler
//! ```
//! The list is asked for anew by each view; a running line does not move it under a person's finger.

mod export;
pub mod filter;
mod list;
mod nearest;
mod part;
mod pictures;

use super::state::Page;
use axum::Router;
use axum::routing::{get, post};

/// The addresses of the screen.
pub fn routes() -> Router<Page> {
    Router::new()
        .route("/rejects", get(list::show))
        .route("/rejects/part/{run}/{camera}/{seq}", get(part::show))
        .route("/rejects/nearest/{stem}", get(nearest::show))
        .route(
            "/rejects/nearest/{stem}/{defect}/{file}",
            get(nearest::picture),
        )
        .route("/rejects/label", post(part::label))
        .route("/rejects/parts.csv", get(export::csv))
        .route("/rejects/parts.zip", get(export::zip))
        .route("/evidence/{stem}/{file}", get(pictures::show))
}
