//! The screen False rejects: rejects that a person marked as false, in groups of one look each, and what could be done about
//! them, each with its effect on the last parts and on every known bad part.
//!
//! ```text
//! group them --suggest--> groups --take as good: teach, a candidate--> what_if --> proposal --activate--> undo
//!                             |--mask the place: edit, a candidate-> what_if --> proposal --activate--> undo
//!                             \--another threshold-----------------> what_if --> proposal --activate--> undo
//! ```
//! Nothing is activated before its effect is known, and never what lets a known bad part pass. Each step is a command of the
//! signed-in user, as it would come through another door. Steps that take longer go on without the browser (`work`): the
//! screen says what is under way, and asks again by itself.

mod board;
mod common_place;
mod pictures;
mod rows;
mod work;

pub use self::board::FalseRejects;

use self::board::RegionThreshold;
use self::rows::{GroupRow, ProposalRow};
use super::access::{Act, Notice, Right, Viewer};
use super::form_page::{Layout, answer, done};
use super::state::Page;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::header::REFRESH;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

/// Address of the screen.
const ADDRESS: &str = "/false-rejects";
/// Seconds after which the browser asks again while something is under way.
const ASK_AGAIN: &str = "2";

#[derive(Template)]
#[template(path = "false_rejects/false_rejects.html")]
struct FalseRejectsScreen {
    layout: Layout,
    hindrance: Option<String>,
    /// What is under way, in words.
    under_way: Option<String>,
    /// What the last step came to, in words.
    last: Option<Notice>,
    /// Why no effect can be told, in words.
    no_pictures: Option<&'static str>,
    /// True once the parts were grouped.
    is_grouped: bool,
    groups: Vec<GroupRow>,
    /// Number of groups without a marked reject.
    near_groups: usize,
    proposals: Vec<ProposalRow>,
}

#[derive(Deserialize)]
struct NoFields {}

#[derive(Deserialize)]
struct GroupForm {
    group: u64,
}

#[derive(Deserialize)]
struct ThresholdForm {
    threshold: f32,
    /// Empty where the recipe names none.
    #[serde(default)]
    region: String,
}

#[derive(Deserialize)]
struct ProposalForm {
    proposal: u64,
}

/// The addresses of this folder.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, get(screen))
        .route(
            "/false-rejects/group/{group}/{part}",
            get(pictures::of_group),
        )
        .route(
            "/false-rejects/proposal/{proposal}/{part}",
            get(pictures::of_proposal),
        )
        .route("/false-rejects/group", post(group))
        .route("/false-rejects/try-group", post(try_group))
        .route("/false-rejects/try-mask", post(try_mask))
        .route("/false-rejects/try-threshold", post(try_threshold))
        .route("/false-rejects/activate", post(activate))
        .route("/false-rejects/undo", post(undo))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    let hindrance = viewer.hindrance(Right::SetUp);
    let cameras = page.now().identity.cameras.len();
    let seen = page.false_rejects.seen(cameras);
    let is_under_way = seen.under_way.is_some();
    let no_pictures = (!page.evidence.has_folder()).then_some(
        "The line keeps no pictures of parts (table [evidence]): no effect on the last parts can be told.",
    );

    let screen = FalseRejectsScreen {
        layout: Layout::new(&page, viewer, "False rejects"),
        hindrance,
        under_way: seen.under_way,
        last: seen.last,
        no_pictures,
        is_grouped: seen.is_grouped,
        groups: seen.groups,
        near_groups: seen.near_groups,
        proposals: seen.proposals,
    };

    let mut response = answer(StatusCode::OK, &screen);
    if is_under_way {
        let again = HeaderValue::from_static(ASK_AGAIN);
        response.headers_mut().insert(REFRESH, again);
    }

    response
}

async fn group(State(page): State<Page>, act: Act<NoFields>) -> Response {
    let begun = work::group(&page, &act.actor);

    told(&page, &act, begun)
}

async fn try_group(State(page): State<Page>, act: Act<GroupForm>) -> Response {
    let begun = work::try_group(&page, &act.actor, act.form.group);

    told(&page, &act, begun)
}

async fn try_mask(State(page): State<Page>, act: Act<GroupForm>) -> Response {
    let begun = work::try_mask(&page, &act.actor, act.form.group);

    told(&page, &act, begun)
}

async fn try_threshold(State(page): State<Page>, act: Act<ThresholdForm>) -> Response {
    let region = &act.form.region;
    let wanted = RegionThreshold {
        region: (!region.is_empty()).then(|| region.clone()),
        value: act.form.threshold,
    };

    let begun = work::try_threshold(&page, &act.actor, wanted);
    told(&page, &act, begun)
}

async fn activate(State(page): State<Page>, act: Act<ProposalForm>) -> Response {
    let begun = work::activate(&page, &act.actor, act.form.proposal);

    told(&page, &act, begun)
}

async fn undo(State(page): State<Page>, act: Act<ProposalForm>) -> Response {
    let begun = work::undo(&page, &act.actor, act.form.proposal);

    told(&page, &act, begun)
}

/// Sends the browser back: the screen says what is under way, or why it was not begun.
fn told<T>(page: &Page, act: &Act<T>, begun: Result<(), String>) -> Response {
    match begun {
        Ok(()) => super::form_page::see_other(ADDRESS),
        Err(why) => done(page, &act.actor, ADDRESS, Notice::refused(why)),
    }
}
