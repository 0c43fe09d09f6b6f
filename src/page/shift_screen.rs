//! The screen that resets the counters of the shift.

use super::access::{Act, Notice, Right, Viewer};
use super::form_page::{Layout, answer, done, refusal};
use super::shift::ShiftBase;
use super::state::Page;
use super::words::percent;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Template)]
#[template(path = "templates/shift.html")]
struct ShiftScreen {
    layout: Layout,
    hindrance: Option<String>,
    since: String,
    parts: u64,
    failed: u64,
    pass_share: String,
}

#[derive(Deserialize)]
struct NoFields {}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new().route("/counters/reset", get(screen).post(reset))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    // Everybody sees what would be reset.
    let shift = page.shift();
    let all = shift.all_since(&page.now().parts);
    let hindrance = viewer.hindrance(Right::Operate);

    let screen = ShiftScreen {
        layout: Layout::new(&page, viewer, "Counters"),
        hindrance,
        since: shift.words(),
        parts: all.parts(),
        failed: all.fail,
        pass_share: percent(all.pass_share()),
    };

    answer(StatusCode::OK, &screen)
}

async fn reset(State(page): State<Page>, viewer: Viewer, act: Act<NoFields>) -> Response {
    if let Some(words) = viewer.hindrance(Right::Operate) {
        return refusal(&page, viewer, StatusCode::FORBIDDEN, words);
    }

    // One reading of the counters: what is told and where the shift begins are the same.
    let parts = page.now().parts;
    let all = page.shift().all_since(&parts);
    let who = act.actor.who();

    page.access.note(format!(
        "counters of the shift reset by {who}: {} parts, {} failed, {} undecided until then",
        all.parts(),
        all.fail,
        all.undecided
    ));

    page.begin_shift(ShiftBase::new(
        Timestamp::now(),
        act.actor.name.to_string(),
        &parts,
    ));

    let notice = Notice::done("The shift's counters begin at 0.");

    done(&page, &act.actor, "/counters", notice)
}
