//! *I cleaned it*, for each camera.

use super::{ADDRESS, pictures};
use crate::page::access::{Act, Notice};
use crate::page::form_page::{Layout, done};
use crate::page::state::Page;
use crate::protocol::answer::AnswerStatus;
use crate::protocol::command::CLEANED;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

/// A button for each camera.
#[derive(Template)]
#[template(path = "lens/forms.html")]
struct LensForms {
    hidden: String,
    hindrance: Option<String>,
    cameras: Vec<String>,
}

#[derive(Deserialize)]
struct CleanedForm {
    camera: String,
}

/// The addresses of the screen, but for the screen itself.
pub fn routes() -> Router<Page> {
    Router::new()
        .route("/lens/cleaned", post(cleaned))
        .route("/lens/picture/{number}/{kind}/{at}", get(pictures::picture))
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
    let forms = LensForms {
        hidden: layout.hidden(),
        hindrance,
        cameras: page.now().cameras.into_keys().collect(),
    };

    forms.render()
}

async fn cleaned(State(page): State<Page>, act: Act<CleanedForm>) -> Response {
    let values = json!({ "camera": act.form.camera });
    let actor = &act.actor;

    let answer = page.commands.ask(actor, CLEANED, values).await;
    let words = answer.reason.unwrap_or_default();

    let notice = match answer.status {
        AnswerStatus::Rejected => Notice::refused(words),
        _ => Notice::begun(words),
    };

    done(&page, actor, ADDRESS, notice)
}
