//! A checked POST: it comes from a form of this page, in the session of a signed-in user.

use super::actor::Actor;
use super::origin::check_origin;
use super::viewer::Viewer;
use crate::page::form_page::refusal;
use crate::page::state::Page;
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Bytes of a body at most.
pub const BODY_MAX: usize = 64 << 10;
/// Time for a body to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Media type of a browser's forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// What a signed-in user sent by a form. Its Origin, size and token are checked; what the user may do is for the
/// screen to ask ([`Actor::may`]).
///
/// `T` must not deny unknown fields: `form_token` is one.
#[derive(Debug)]
pub struct Act<T> {
    /// The user.
    pub actor: Actor,
    /// The values of the form.
    pub form: T,
}

/// A refusal: its status, and words for the person.
pub(super) type Refused = (StatusCode, String);

/// The field that each form has.
#[derive(Deserialize)]
struct TokenField {
    #[serde(default)]
    form_token: String,
}

impl<T: DeserializeOwned> FromRequest<Page> for Act<T> {
    type Rejection = Response;

    async fn from_request(request: Request, page: &Page) -> Result<Self, Response> {
        // The viewer is known first: a refusal shows it as every screen does.
        let (mut parts, body) = request.into_parts();
        let Ok(viewer) = Viewer::from_request_parts(&mut parts, page).await;

        let request = Request::from_parts(parts, body);
        let acted = read(request, page, &viewer).await;

        acted.map_err(|(status, words)| refusal(page, viewer, status, words))
    }
}

async fn read<T: DeserializeOwned>(
    request: Request,
    page: &Page,
    viewer: &Viewer,
) -> Result<Act<T>, Refused> {
    let text = form_text(request, page.cookie.is_tls()).await?;

    let Some(actor) = viewer.actor.clone() else {
        let words = "nobody is signed in here any more; sign in, and do it again";

        return Err((StatusCode::FORBIDDEN, words.to_owned()));
    };

    let field: TokenField = values(&text)?;

    if !is_same(&field.form_token, &actor.form_token) {
        let words = "the form is of an earlier session; open the screen again, and do it again";

        return Err((StatusCode::FORBIDDEN, words.to_owned()));
    }

    let form = values(&text)?;

    Ok(Act { actor, form })
}

/// The text of a form, once the request is known to come from a page of ours.
pub(super) async fn form_text(request: Request, is_tls: bool) -> Result<String, Refused> {
    let headers = request.headers();

    check_origin(headers, is_tls).map_err(|words| {
        let words = format!("the request is refused: {words}");

        (StatusCode::FORBIDDEN, words)
    })?;

    let header = |name| {
        let value: Option<&axum::http::HeaderValue> = headers.get(name);

        value.and_then(|value| value.to_str().ok())
    };

    let kind = header(CONTENT_TYPE).unwrap_or_default();
    let bare_kind = kind.split(';').next().unwrap_or_default().trim();

    if !bare_kind.eq_ignore_ascii_case(FORM) {
        let words = format!("a form is sent as {FORM}, got {kind:?}");

        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }

    // What is told to be too large is not waited for.
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());

    if length.is_some_and(|length| length > BODY_MAX) {
        return Err(too_large());
    }

    let body = to_bytes(request.into_body(), BODY_MAX);

    let body = tokio::time::timeout(BODY_TIME, body).await.map_err(|_| {
        let words = format!("a form must come within {} s", BODY_TIME.as_secs());

        (StatusCode::REQUEST_TIMEOUT, words)
    })?;

    let body = body.map_err(|_| too_large())?;

    String::from_utf8(body.to_vec()).map_err(|_| bad("it is no UTF-8"))
}

/// The values of a form's text.
pub(super) fn values<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    serde_html_form::from_str(text).map_err(bad)
}

fn bad(why: impl std::fmt::Display) -> Refused {
    (
        StatusCode::BAD_REQUEST,
        format!("the form cannot be read: {why}"),
    )
}

fn too_large() -> Refused {
    let words = format!("a form has at most {BODY_MAX} bytes");

    (StatusCode::PAYLOAD_TOO_LARGE, words)
}

/// True for equal tokens, in a time that tells nothing of where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let one = Sha256::digest(one.as_bytes());
    let other = Sha256::digest(other.as_bytes());

    one == other
}
