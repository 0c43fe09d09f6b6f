//! The screen of the signed-in user: another password for oneself, whatever one's role.

use super::access::password::PasswordHash;
use super::access::sessions::SessionKey;
use super::access::{Act, Notice, Viewer};
use super::form_page::{Layout, answer, done, see_other};
use super::state::Page;
use crate::base::secret::Secret;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

/// Address of the screen.
const ADDRESS: &str = "/account";

#[derive(Template)]
#[template(path = "templates/account.html")]
struct AccountScreen {
    layout: Layout,
}

#[derive(Deserialize)]
struct PasswordForm {
    old: String,
    new: String,
    again: String,
}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new()
        .route(ADDRESS, get(screen))
        .route("/account/password", post(set_password))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    let layout = Layout::new(&page, viewer, "Account");

    answer(StatusCode::OK, &AccountScreen { layout })
}

async fn set_password(State(page): State<Page>, act: Act<PasswordForm>) -> Response {
    match changed(&page, &act).await {
        Ok(id) => {
            // Who has read the id until now has it in vain, as after a sign-in.
            let words = "You have another password; you are signed out everywhere else.";
            let notice = Notice::done(words);
            page.access.put_notice(SessionKey::of(&id), notice);
            let mut response = see_other(ADDRESS);

            response
                .headers_mut()
                .insert(SET_COOKIE, page.cookie.set(&id));

            response
        }

        Err(words) => {
            let notice = Notice::refused(format!("{words}."));

            done(&page, &act.actor, ADDRESS, notice)
        }
    }
}

/// Sets the password; returns the id of the session in which the user goes on.
async fn changed(page: &Page, act: &Act<PasswordForm>) -> Result<String, String> {
    let PasswordForm { old, new, again } = &act.form;

    if new != again {
        return Err("the new password was typed in two ways".to_owned());
    }

    // The old one is asked for first: a browser that was left alone makes no work for who finds it.
    let old = Secret::new(old.as_str());
    let confirmed = page.access.confirm(&act.actor, old).await?;

    let new = new.clone();
    let hashed = page.access.passwords().run(move || PasswordHash::of(&new));
    let Ok(hashed) = hashed.await else {
        return Err("too much is done with passwords just now; do it again in a moment".to_owned());
    };

    page.access
        .set_own_password(&act.actor, confirmed, hashed?)
        .await
}
