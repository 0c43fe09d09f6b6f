//! The record of one check, to look at and to print.

use super::screen::check_mark;
use crate::page::access::Viewer;
use crate::page::form_page::{Layout, answer, refusal};
use crate::page::state::Page;
use crate::page::words::Mark;
use crate::protocol::check_report::lines;
use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;

/// The record on a screen.
#[derive(Template)]
#[template(path = "check/record.html")]
struct CheckRecord {
    layout: Layout,
    mark: Mark,
    lines: Vec<(&'static str, String)>,
}

/// The record of the check of that number.
pub async fn screen(
    State(page): State<Page>,
    Path(number): Path<String>,
    viewer: Viewer,
) -> Response {
    let checks = page.checks(usize::MAX);

    let Some(check) = checks.iter().find(|check| check.check == number) else {
        let words = "no shift check of that number is kept".to_owned();

        return refusal(&page, viewer, StatusCode::NOT_FOUND, words);
    };

    let record = CheckRecord {
        layout: Layout::new(&page, viewer, "Shift check"),
        mark: check_mark(check),
        lines: lines(check, &TimeZone::system()),
    };

    answer(StatusCode::OK, &record)
}
