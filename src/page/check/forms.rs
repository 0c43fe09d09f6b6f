//! The form of a check's next step, for the viewer who looks, and what it sends.

use super::{ADDRESS, record};
use crate::page::access::{Act, Notice};
use crate::page::form_page::{Layout, done};
use crate::page::state::Page;
use crate::protocol::shift_check::{CheckReason, CheckStage, KNOWN_MAX, SHIFT_CHECK, ShiftCheck};
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

/// Known parts of each kind that the form begins with, where no check was before.
const USUAL_PARTS: u32 = 2;

/// What the viewer may do next.
#[derive(Template)]
#[template(path = "check/forms.html")]
struct CheckForms {
    /// The hidden token field.
    hidden: String,
    /// Why the viewer may do nothing, and the way to it.
    hindrance: Option<String>,
    /// Number of the newest check; empty without one.
    check: String,
    /// Name of the user.
    user: String,
    step: NextStep,
    /// True if a failed check waits to be acknowledged.
    is_failure_unseen: bool,
    reasons: [CheckReason; 4],
    bad: u32,
    good: u32,
    most: u32,
    /// Cameras to choose among; none where there is one.
    cameras: Vec<String>,
}

/// The step that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextStep {
    Start,
    Parts,
    Gate,
    Sign,
}

/// Values of all forms of the screen.
#[derive(Deserialize)]
struct StepForm {
    step: String,
    #[serde(default)]
    check: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    bad: u32,
    #[serde(default)]
    good: u32,
    #[serde(default)]
    camera: String,
    #[serde(default)]
    removed: String,
    #[serde(default)]
    note: String,
}

/// The addresses of the screen, but for the screen itself.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, post(step))
        .route("/shift-check/{check}", get(record::screen))
}

/// True while parts are waited for: nothing can be typed then.
pub fn is_waiting(page: &Page) -> bool {
    let newest = page.checks(1);

    newest
        .first()
        .is_some_and(|check| check.stage() == CheckStage::Parts)
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
    // A failure of long ago may wait beyond the list.
    let checks = page.checks(usize::MAX);
    let newest = checks.first();
    let user = layout.user.as_ref();

    // As many parts as the last time: they lie in a box beside the line.
    let number = newest.map(|check| check.check.clone());
    let bad = newest.map(|check| check.bad.parts);
    let good = newest.map(|check| check.good.parts);
    let name = user.map(|user| user.name.clone());

    let forms = CheckForms {
        hidden: layout.hidden(),
        hindrance,
        check: number.unwrap_or_default(),
        user: name.unwrap_or_default(),
        step: next_step(newest),
        is_failure_unseen: is_failure_unseen(&checks),
        reasons: CheckReason::ALL,
        bad: bad.unwrap_or(USUAL_PARTS),
        good: good.unwrap_or(USUAL_PARTS),
        most: KNOWN_MAX,
        cameras: page.part_cameras(),
    };

    forms.render()
}

fn next_step(newest: Option<&ShiftCheck>) -> NextStep {
    match newest.map(ShiftCheck::stage) {
        None | Some(CheckStage::Passed | CheckStage::Failed) => NextStep::Start,
        Some(CheckStage::Parts) => NextStep::Parts,
        Some(CheckStage::Gate) => NextStep::Gate,
        Some(CheckStage::Signature) => NextStep::Sign,
    }
}

/// True if a check failed that nobody has acknowledged, and none has passed since.
fn is_failure_unseen(checks: &[ShiftCheck]) -> bool {
    let newest = checks.iter();
    let mut since_passed = newest.take_while(|check| check.stage() != CheckStage::Passed);

    since_passed.any(ShiftCheck::is_unseen_failure)
}

async fn step(State(page): State<Page>, act: Act<StepForm>) -> Response {
    let actor = &act.actor;
    let values = values(&act.form, &actor.name);

    let answer = page.commands.ask(actor, SHIFT_CHECK, values).await;
    done(&page, actor, ADDRESS, Notice::of(&answer))
}

/// The values of the command; a step that is none is refused where commands are read.
fn values(form: &StepForm, user: &str) -> Value {
    let mut values = json!({
        "step": form.step,
        "name": user,
    });

    match form.step.as_str() {
        "start" => {
            values["why"] = form.why.as_str().into();
            values["bad"] = form.bad.into();
            values["good"] = form.good.into();
            values["camera"] = text(&form.camera);
        }

        // All failures at once: the person has the list before them.
        "acknowledge" => values["note"] = form.note.trim().into(),
        _ => values["check"] = text(&form.check),
    }

    match form.step.as_str() {
        "gate" => values["removed"] = (form.removed == "yes").into(),
        "abort" => values["note"] = text(&form.note),
        _ => {}
    }

    values
}

/// The text of a field; null for an empty one.
fn text(field: &str) -> Value {
    let text = field.trim();

    if text.is_empty() {
        return Value::Null;
    }

    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::parse;

    #[test]
    fn each_form_is_a_command() {
        for (text, words) in [
            (
                "step=start&why=repair&bad=2&good=1&camera=",
                "start (repair), 2 bad and 1 good parts come next, by anna",
            ),
            (
                "step=gate&check=01X&removed=yes",
                "the gate removed the bad parts, by anna",
            ),
            (
                "step=gate&check=01X&removed=no",
                "the gate did not remove them, by anna",
            ),
            ("step=sign&check=01X", "signed, by anna"),
            ("step=abort&check=01X&note=", "aborted, by anna"),
            (
                "step=acknowledge&check=01X&note=lamp+off",
                "failure acknowledged, note \"lamp off\", by anna",
            ),
        ] {
            let form: StepForm = serde_html_form::from_str(text).expect("a form");
            let mut values = values(&form, "anna");
            values["id"] = "a".into();
            let command = parse(SHIFT_CHECK, values.to_string().as_bytes());
            let command = command.unwrap_or_else(|refusal| panic!("{text}: {}", refusal.reason));
            assert_eq!(crate::protocol::words::words(&command.action), words);
        }
    }
}
