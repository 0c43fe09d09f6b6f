//! The screen Recipes: the line's recipes with their revisions, and which one judges.
//!
//! What judges is changed under control alone (`take_control`): the PLC sees `ready` off meanwhile, and nobody else
//! changes it at the same time.

use super::access::{Act, Actor, Notice, Right, Viewer};
use super::form_page::{Layout, answer, done, no_answer, refusal};
use super::recipe_row::RecipeRow;
use super::state::Page;
use crate::protocol::answer::Answer;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Address of the screen.
const ADDRESS: &str = "/recipes";
/// Time for a recipe to be prepared while the browser waits; after it the outcome is among the events.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Template)]
#[template(path = "templates/recipes.html")]
struct RecipesScreen {
    layout: Layout,
    hindrance: Option<String>,
    /// Who has control, in words.
    holder: Option<String>,
    is_held_by_viewer: bool,
    rows: Vec<RecipeRow>,
}

#[derive(Deserialize)]
struct NoFields {}

#[derive(Deserialize)]
struct SelectForm {
    recipe: String,
}

#[derive(Deserialize)]
struct RollBackForm {
    recipe: String,
    revision: u64,
}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, get(screen))
        .route("/recipes/take-control", post(take_control))
        .route("/recipes/release-control", post(release_control))
        .route("/recipes/select", post(select))
        .route("/recipes/roll-back", post(roll_back))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    // A disk that hangs holds this screen up, and no other one.
    let Ok(rows) = page.recipes().await else {
        return no_answer(&page, viewer, "the library");
    };

    let holder = page.now().holder;
    let who = viewer.actor.as_ref().map(Actor::who);

    let is_held_by_viewer = holder
        .as_ref()
        .is_some_and(|holder| Some(&holder.who) == who.as_ref());

    let hindrance = viewer.hindrance(Right::SetUp);

    let screen = RecipesScreen {
        layout: Layout::new(&page, viewer, "Recipes"),
        hindrance,
        holder: holder.map(|holder| holder.words()),
        is_held_by_viewer,
        rows,
    };

    answer(StatusCode::OK, &screen)
}

async fn take_control(State(page): State<Page>, act: Act<NoFields>) -> Response {
    let answer = page
        .commands
        .ask(&act.actor, "take_control", json!({}))
        .await;

    told(&page, &act.actor, &answer)
}

async fn release_control(State(page): State<Page>, act: Act<NoFields>) -> Response {
    let answer = page
        .commands
        .ask(&act.actor, "release_control", json!({}))
        .await;

    told(&page, &act.actor, &answer)
}

async fn select(State(page): State<Page>, viewer: Viewer, act: Act<SelectForm>) -> Response {
    // Only recipes of the line's file can be selected: a form chooses no file.
    let values = json!({ "recipe": act.form.recipe });

    under_control(page, viewer, &act.actor, "select_recipe", values).await
}

async fn roll_back(State(page): State<Page>, viewer: Viewer, act: Act<RollBackForm>) -> Response {
    // A revision that is gone meanwhile is refused by the library, in words.
    let RollBackForm { recipe, revision } = act.form;
    let values = json!({ "recipe": recipe, "revision": revision });

    under_control(page, viewer, &act.actor, "rollback", values).await
}

/// Carries a command out for the one who has control.
async fn under_control(
    page: Page,
    viewer: Viewer,
    actor: &Actor,
    name: &str,
    values: Value,
) -> Response {
    let holder = page.now().holder;

    if holder.is_none_or(|holder| holder.who != actor.who()) {
        let words = "take control first: the PLC must see that the line is not ready meanwhile";

        return refusal(&page, viewer, StatusCode::CONFLICT, words.to_owned());
    }

    let answer = page.commands.carry_out(actor, name, values, PATIENCE).await;

    told(&page, actor, &answer)
}

/// The answer as the next screen's message.
fn told(page: &Page, actor: &Actor, answer: &Answer) -> Response {
    done(page, actor, ADDRESS, Notice::of(answer))
}
