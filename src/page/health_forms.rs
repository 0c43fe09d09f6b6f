//! What a setter does at the screen Health: the line's file is read again, and a bundle is taken away for support.

use super::access::{Act, Notice};
use super::form_page::{Layout, done};
use super::numbers;
use super::state::Page;
use super::support;
use crate::protocol::command::RELOAD;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Time for the outcome of a reload: a recipe may have to be prepared.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Template)]
#[template(path = "templates/health_forms.html")]
struct HealthForms {
    hidden: String,
    hindrance: Option<String>,
    file: String,
    kept: Vec<String>,
    numbers: &'static str,
}

#[derive(Deserialize)]
struct NoFields {}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new()
        .route("/health/reload", post(reload))
        .route(support::ADDRESS, get(support::send))
}

/// The forms of the screen, in HTML.
///
/// # Errors
/// When the template cannot be filled.
pub fn forms(
    page: &Page,
    layout: &Layout,
    hindrance: Option<String>,
) -> Result<String, askama::Error> {
    let forms = HealthForms {
        hidden: layout.hidden(),
        hindrance,
        file: page.facts.line.display().to_string(),
        kept: page.facts.kept.clone(),
        numbers: numbers::form().example(),
    };

    forms.render()
}

async fn reload(State(page): State<Page>, act: Act<NoFields>) -> Response {
    let asked = page
        .commands
        .carry_out(&act.actor, RELOAD, json!({}), PATIENCE);
    let answer = asked.await;

    done(&page, &act.actor, "/health", Notice::of(&answer))
}
