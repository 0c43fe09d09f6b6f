//! The screen Users: an admin says who may do what.

use super::access::password::PasswordHash;
use super::access::users::{User, Users, UsersError};
use super::access::{Act, Actor, Notice, ROLES, Right, Role, Viewer};
use super::blocking::Busy;
use super::form_page::{Layout, answer, done, no_answer, refusal};
use super::state::Page;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

/// Address of the screen.
const ADDRESS: &str = "/users";

#[derive(Template)]
#[template(path = "templates/users.html")]
struct UsersScreen {
    layout: Layout,
    hindrance: Option<String>,
    rows: Vec<UserRow>,
    roles: [Role; 4],
}

/// One user.
struct UserRow {
    name: String,
    role: Role,
}

#[derive(Deserialize)]
struct AddForm {
    name: String,
    role: Role,
    password: String,
}

#[derive(Deserialize)]
struct RoleForm {
    name: String,
    role: Role,
}

#[derive(Deserialize)]
struct PasswordForm {
    name: String,
    password: String,
}

#[derive(Deserialize)]
struct NameForm {
    name: String,
}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, get(screen))
        .route("/users/add", post(add))
        .route("/users/role", post(set_role))
        .route("/users/password", post(set_password))
        .route("/users/remove", post(remove))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    // Names are half of what a guess needs: admins alone see them.
    let hindrance = viewer.hindrance(Right::ManageUsers);
    let mut rows = vec![];

    if hindrance.is_none() {
        for (name, user) in page.access.all_users().iter() {
            let name = name.to_owned();
            let role = user.role;

            rows.push(UserRow { name, role });
        }
    }

    let screen = UsersScreen {
        layout: Layout::new(&page, viewer, "Users"),
        hindrance,
        rows,
        roles: ROLES,
    };

    answer(StatusCode::OK, &screen)
}

async fn add(State(page): State<Page>, viewer: Viewer, act: Act<AddForm>) -> Response {
    let AddForm {
        name,
        role,
        password,
    } = act.form;

    let password = match hashed(&page, &viewer, password).await {
        Ok(password) => password,
        Err(words) => return not_hashed(&page, viewer, &act.actor, words),
    };

    change(page, viewer, act.actor, move |users| {
        users.add(&name, User { role, password })
    })
    .await
}

async fn set_role(State(page): State<Page>, viewer: Viewer, act: Act<RoleForm>) -> Response {
    let RoleForm { name, role } = act.form;
    let actor = act.actor;

    change(page, viewer, actor, move |users| {
        users.set_role(&name, role).map(|_| ())
    })
    .await
}

async fn set_password(
    State(page): State<Page>,
    viewer: Viewer,
    act: Act<PasswordForm>,
) -> Response {
    let PasswordForm { name, password } = act.form;
    let password = match hashed(&page, &viewer, password).await {
        Ok(password) => password,
        Err(words) => return not_hashed(&page, viewer, &act.actor, words),
    };

    change(page, viewer, act.actor, move |users| {
        users.set_password(&name, password)
    })
    .await
}

async fn remove(State(page): State<Page>, viewer: Viewer, act: Act<NameForm>) -> Response {
    // The user's sessions end with the next request of each.
    let name = act.form.name;
    let actor = act.actor;

    change(page, viewer, actor, move |users| {
        users.remove(&name).map(|_| ())
    })
    .await
}

/// The hash of a new password, made before the users' file is asked for: no request waits there for a hash.
async fn hashed(page: &Page, viewer: &Viewer, password: String) -> Result<PasswordHash, String> {
    // Only who may use it makes this machine work for it.
    if let Some(words) = viewer.hindrance(Right::ManageUsers) {
        return Err(words);
    }

    let queue = page.access.passwords();
    match queue.run(move || PasswordHash::of(&password)).await {
        Ok(hash) => hash.map_err(|words| format!("{words}.")),
        Err(_) => Err("too much is done with passwords just now; do it again in a moment.".into()),
    }
}

/// The answer where no password was hashed.
fn not_hashed(page: &Page, viewer: Viewer, actor: &Actor, words: String) -> Response {
    if viewer.hindrance(Right::ManageUsers).is_some() {
        return refusal(page, viewer, StatusCode::FORBIDDEN, words);
    }

    done(page, actor, ADDRESS, Notice::refused(words))
}

/// Makes a change beside this thread, for the file is on a disk.
async fn change(
    page: Page,
    viewer: Viewer,
    actor: Actor,
    change: impl FnOnce(&mut Users) -> Result<(), UsersError> + Send + 'static,
) -> Response {
    if let Some(words) = viewer.hindrance(Right::ManageUsers) {
        return refusal(&page, viewer, StatusCode::FORBIDDEN, words);
    }

    // What is left afterwards is checked with the change: a refusal writes nothing.
    let changed = page.access.change_users(actor.who(), |users| {
        change(users)?;
        check_admin_left(users)
    });

    let notice = match changed.await {
        Ok(Ok(changes)) if changes.is_empty() => Notice::done("Nothing was to be changed."),
        Ok(Ok(changes)) => Notice::done(format!("{}.", changes.join(", "))),
        Ok(Err(error)) => Notice::refused(format!("{error}.")),
        Err(Busy) => return no_answer(&page, viewer, "the users' file"),
    };

    done(&page, &actor, ADDRESS, notice)
}

/// Refuses a change that would leave nobody who may make the next one here.
fn check_admin_left(users: &Users) -> Result<(), UsersError> {
    if users.iter().any(|(_, user)| user.role == Role::Admin) {
        return Ok(());
    }

    let words =
        "an admin must be left; make another one first, or use winspect user on the machine";
    Err(UsersError::Refused(words.to_owned()))
}
