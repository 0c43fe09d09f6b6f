//! What the forms of the screen do: each is one command to the line, and its answer is told on the screen.

use super::address::address;
use super::view_form::ViewForm;
use crate::page::access::{Act, Actor, Notice, Right};
use crate::page::form_page::done;
use crate::page::state::Page;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::lesson_board::PartFate;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Time for a revision to be written and prepared.
const PATIENCE: Duration = Duration::from_secs(60);

/// Words for a field without a number.
const NO_NUMBER: &str = "a number is needed, such as 0.31";

/// The form of a new recipe.
#[derive(Debug, Deserialize)]
pub struct BeginForm {
    name: String,
    like: String,
}

/// The form of a lesson.
#[derive(Debug, Deserialize)]
pub struct TeachForm {
    recipe: String,
    parts: String,
    kind: String,
    #[serde(default)]
    camera: String,
}

/// The form of a part that was kept apart.
#[derive(Debug, Deserialize)]
pub struct DecideForm {
    recipe: String,
    lesson: u64,
    part: String,
    kept: String,
}

/// The form of the threshold.
#[derive(Debug, Deserialize)]
pub struct ThresholdForm {
    recipe: String,
    rule: String,
    #[serde(default)]
    rate: String,
    #[serde(default)]
    number: String,
}

/// The form that asks what would have become of the last parts.
#[derive(Debug, Deserialize)]
pub struct WhatIfForm {
    recipe: String,
    #[serde(default)]
    number: String,
}

/// The form of a revision to go back to, or on to.
#[derive(Debug, Deserialize)]
pub struct UndoForm {
    recipe: String,
    revision: u64,
}

/// A form that names a recipe alone.
#[derive(Debug, Deserialize)]
pub struct RecipeForm {
    recipe: String,
}

/// A new recipe begins.
pub async fn begin(State(page): State<Page>, act: Act<BeginForm>) -> Response {
    let name = act.form.name.trim().to_owned();
    let values = json!({ "recipe": name, "like": act.form.like });
    let answer = carry_out(&page, &act.actor, "edit", values).await;
    let to = match answer.status {
        AnswerStatus::Rejected => &act.form.like,
        _ => &name,
    };

    done(&page, &act.actor, &address(to), notice(&answer))
}

/// A recipe looks at something else.
pub async fn view(State(page): State<Page>, act: Act<ViewForm>) -> Response {
    let recipe = &act.form.recipe;
    let to = act.form.address();
    let view = match act.form.view() {
        Ok(view) => view,
        Err(words) => return done(&page, &act.actor, &to, Notice::refused(words)),
    };

    let values = json!({ "recipe": recipe, "view": view });
    let answer = carry_out(&page, &act.actor, "edit", values).await;
    done(&page, &act.actor, &to, notice(&answer))
}

/// The next parts are good ones, or bad ones.
pub async fn teach(State(page): State<Page>, act: Act<TeachForm>) -> Response {
    let form = &act.form;
    let to = step(&form.recipe, "lesson");
    let Ok(parts) = form.parts.trim().parse::<u32>() else {
        let words = format!("a whole number of parts is needed, got {:?}", form.parts);
        return done(&page, &act.actor, &to, Notice::refused(words));
    };

    let recipe = &form.recipe;
    let mut values = json!({ "recipe": recipe, "parts": parts, "as": form.kind });

    // Any camera is meant by none.
    if !form.camera.is_empty() {
        values["camera"] = form.camera.clone().into();
    }

    // The lesson itself is seen on the screen.
    let commands = &page.commands;
    let answer = commands.ask(&act.actor, "teach", values).await;
    done(&page, &act.actor, &to, notice(&answer))
}

/// A part that is unlike the others is kept, or left out.
pub async fn decide(State(page): State<Page>, act: Act<DecideForm>) -> Response {
    let form = &act.form;
    let to = step(&form.recipe, "lesson");
    let actor = &act.actor;
    let board = &page.teach.board;
    if !actor.may(Right::SetUp) {
        let words = format!("{} is {}; this needs setter", actor.name, actor.role.word());
        return done(&page, actor, &to, Notice::refused(words));
    }

    let notice = match form.kept.as_str() {
        "yes" => keep(&page, actor, form).await,
        _ if board.decide(form.lesson, &form.part, PartFate::Left) => {
            Notice::done("The part is left out; nothing of it was taught.")
        }
        _ => Notice::refused("there is no such part to decide on any more"),
    };

    done(&page, actor, &to, notice)
}

/// Teaches a part that was kept apart, because a person says that it is good.
async fn keep(page: &Page, actor: &Actor, form: &DecideForm) -> Notice {
    let mut names = form.part.split('/');
    let (run_id, camera, seq) = (names.next(), names.next(), names.next());
    let seq = seq.and_then(|seq| seq.parse::<u64>().ok());

    // Where several cameras see a part, the one that saw this picture is named.
    let camera = names.next().or(camera);
    let values = json!({
        "recipe": form.recipe, "run_id": run_id, "camera": camera, "seq": seq, "as": "good"
    });

    let begun = page.commands.ask(actor, "label", values).await;

    // A label that is done at once is kept with the part and teaches nothing: its picture is gone.
    if begun.status != AnswerStatus::Accepted {
        return notice(&begun);
    }

    let id = begun.id.as_deref().unwrap_or_default();
    let ended = page.commands.outcome(id, PATIENCE).await;
    let answer = ended.unwrap_or(begun);
    if answer.status == AnswerStatus::Done {
        let board = &page.teach.board;
        board.decide(form.lesson, &form.part, PartFate::Kept);
    }

    notice(&answer)
}

/// The threshold is found otherwise.
pub async fn threshold(State(page): State<Page>, act: Act<ThresholdForm>) -> Response {
    let form = &act.form;
    let to = step(&form.recipe, "threshold");
    let (key, value) = match form.rule.as_str() {
        "auto" => ("threshold", Some(Value::from("auto"))),
        "rate" => {
            let percent = number(&form.rate);
            let rate = percent.map(|percent| percent / 100.0);
            ("false_reject_rate", rate.map(Value::from))
        }
        _ => {
            let score = number(&form.number);
            ("threshold", score.map(Value::from))
        }
    };

    let Some(value) = value else {
        return done(&page, &act.actor, &to, Notice::refused(NO_NUMBER));
    };

    let mut values = json!({ "recipe": form.recipe });
    values[key] = value;
    let answer = carry_out(&page, &act.actor, "edit", values).await;
    done(&page, &act.actor, &to, notice(&answer))
}

/// The last stored parts are judged again, by the recipe as it is now or under another threshold.
pub async fn what_if(State(page): State<Page>, act: Act<WhatIfForm>) -> Response {
    let form = &act.form;
    let to = step(&form.recipe, "threshold");
    let mut values = json!({ "recipe": form.recipe });
    if !form.number.trim().is_empty() {
        let Some(number) = number(&form.number) else {
            return done(&page, &act.actor, &to, Notice::refused(NO_NUMBER));
        };

        values["threshold"] = number.into();
    }

    let answer = carry_out(&page, &act.actor, "what_if", values).await;
    done(&page, &act.actor, &to, notice(&answer))
}

/// The recipe judges, from between two parts on.
pub async fn activate(State(page): State<Page>, act: Act<RecipeForm>) -> Response {
    let values = json!({ "recipe": act.form.recipe });
    let mut answer = carry_out(&page, &act.actor, "select_recipe", values).await;
    if answer.status == AnswerStatus::Done {
        // The outcome names what judges, and no more.
        let label = answer.reason.unwrap_or_default();
        answer.reason = Some(format!("{label} judges from now on"));
    }

    let to = step(&act.form.recipe, "activate");
    done(&page, &act.actor, &to, notice(&answer))
}

/// Another revision of the recipe is current again.
pub async fn undo(State(page): State<Page>, act: Act<UndoForm>) -> Response {
    let form = &act.form;
    let values = json!({ "recipe": form.recipe, "revision": form.revision });
    let answer = carry_out(&page, &act.actor, "rollback", values).await;
    let to = step(&act.form.recipe, "activate");
    done(&page, &act.actor, &to, notice(&answer))
}

/// The address of a step of the screen.
fn step(recipe: &str, step: &str) -> String {
    let screen = address(recipe);
    format!("{screen}#{step}")
}

/// A number as people write it.
fn number(text: &str) -> Option<f64> {
    text.trim().replace(',', ".").parse().ok()
}

async fn carry_out(page: &Page, actor: &Actor, name: &str, values: Value) -> Answer {
    let commands = &page.commands;
    commands.carry_out(actor, name, values, PATIENCE).await
}

/// The message about a command.
fn notice(answer: &Answer) -> Notice {
    let words = answer.reason.clone().unwrap_or_default();
    match answer.status {
        AnswerStatus::Done => Notice::done(words),
        AnswerStatus::Rejected => Notice::refused(words),
        AnswerStatus::Accepted | AnswerStatus::Progress => Notice::begun(words),
    }
}
