//! The sign-in screen, and signing out.

use super::act::{Act, form_text, values};
use super::viewer::Viewer;
use crate::base::secret::Secret;
use crate::page::access::notice::Notice;
use crate::page::form_page::{Layout, answer, refusal, see_other};
use crate::page::state::Page;
use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

/// Bytes of an address to go on to, at most.
const NEXT_MAX: usize = 500;

#[derive(Template)]
#[template(path = "access/sign_in.html")]
struct SignInScreen {
    layout: Layout,
    name: String,
    next: String,
}

#[derive(Deserialize)]
struct SignInForm {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct NoFields {}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new()
        .route("/sign-in", get(form).post(sign_in))
        .route("/sign-out", post(sign_out))
}

async fn form(State(page): State<Page>, viewer: Viewer) -> Response {
    let next = query_value(&viewer.address, "next");

    screen(&page, viewer, StatusCode::OK, String::new(), next, None)
}

async fn sign_in(State(page): State<Page>, viewer: Viewer, request: Request) -> Response {
    // There is no session yet, and so no token: Origin keeps foreign forms out.
    let text = form_text(request, page.cookie.is_tls()).await;
    let form = text.and_then(|text| values::<SignInForm>(&text));

    let form = match form {
        Ok(form) => form,
        Err((status, words)) => return refusal(&page, viewer, status, words),
    };

    let password = Secret::new(form.password);
    let signed_in = page.access.sign_in(&form.name, password, viewer.from).await;

    match signed_in {
        Ok(id) => {
            // A browser has one session here.
            if let Some(actor) = &viewer.actor {
                page.access.sign_out(actor.session, viewer.from);
            }

            let mut response = see_other(&local(&form.next));

            response
                .headers_mut()
                .insert(SET_COOKIE, page.cookie.set(&id));

            response
        }
        Err(words) => {
            let notice = Some(Notice::refused(words));
            let status = StatusCode::FORBIDDEN;

            screen(&page, viewer, status, form.name, form.next, notice)
        }
    }
}

async fn sign_out(State(page): State<Page>, act: Act<NoFields>) -> Response {
    page.access.sign_out(act.actor.session, act.actor.from);
    let mut response = see_other("/");

    response
        .headers_mut()
        .insert(SET_COOKIE, page.cookie.clear());

    response
}

fn screen(
    page: &Page,
    viewer: Viewer,
    status: StatusCode,
    name: String,
    next: String,
    notice: Option<Notice>,
) -> Response {
    let mut layout = Layout::new(page, viewer, "Sign in");

    layout.notice = notice.or(layout.notice);
    let next = local(&next);

    answer(status, &SignInScreen { layout, name, next })
}

/// An address of this page: others are not gone on to.
fn local(next: &str) -> String {
    let is_plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');

    let is_local = next.starts_with('/') && !next.starts_with("//");

    if is_plain && is_local && next.len() <= NEXT_MAX {
        return next.to_owned();
    }

    "/".to_owned()
}

/// A value out of the query of an address; empty without one.
fn query_value(address: &str, key: &str) -> String {
    let Some((_, query)) = address.split_once('?') else {
        return String::new();
    };

    // A query that cannot be read asks for nothing.
    let pairs: Vec<(String, String)> = serde_html_form::from_str(query).unwrap_or_default();

    for (name, value) in pairs {
        if name == key {
            return value;
        }
    }

    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_page_are_gone_on_to() {
        for own in ["/", "/recipes?name=nut&x=1"] {
            assert_eq!(local(own), own);
        }

        let long = format!("/{}", "x".repeat(NEXT_MAX));
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/ä",
            &long,
        ] {
            assert_eq!(local(foreign), "/", "{foreign}");
        }

        assert_eq!(query_value("/sign-in?a=b&next=%2Fusers", "next"), "/users");
        assert_eq!(query_value("/sign-in", "next"), "");
    }
}
