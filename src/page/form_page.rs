//! The common layout of the screens that are forms: tabs, the signed-in user, the message line and the body.
//!
//! Such a screen is a template that extends `templates/form_page.html`, with a field `layout`; a POST answers by
//! [`done`], which sends the browser back to a screen that shows the message once. Nothing of it needs a script.

use super::access::{Actor, Notice, Viewer};
use super::numbers;
use super::state::Page;
use super::tabs::{TABS, Tab};
use askama::Template;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// What all screens show around their body.
pub struct Layout {
    /// Name of the line.
    pub station: String,
    /// Title of the screen.
    pub title: &'static str,
    /// Path of the screen, with its query.
    pub address: String,
    /// Hash of style and script.
    pub build: String,
    /// All screens.
    pub tabs: &'static [Tab],
    /// The sign before the digits of a fraction.
    pub decimal: &'static str,
    /// The signed-in user.
    pub user: Option<SignedIn>,
    /// True if somebody could sign in.
    pub has_users: bool,
    /// Message about what was just done.
    pub notice: Option<Notice>,
}

/// The signed-in user, as a screen shows it.
pub struct SignedIn {
    /// Name of the user.
    pub name: String,
    /// What the user may do.
    pub role: &'static str,
    /// Token that each form must carry.
    form_token: String,
}

impl Layout {
    /// The layout of a screen for a viewer. The message of the session is taken: it is shown once.
    pub fn new(page: &Page, viewer: Viewer, title: &'static str) -> Self {
        // A message belongs to the session that did something.
        let notice = match &viewer.actor {
            Some(actor) => page.access.take_notice(actor.session),
            None => None,
        };

        let user = viewer.actor.map(|actor| SignedIn {
            name: actor.name.to_string(),
            role: actor.role.word(),
            form_token: actor.form_token.to_string(),
        });

        Layout {
            station: page.station().to_owned(),
            title,
            address: viewer.address,
            build: page.assets.build.clone(),
            tabs: TABS,
            decimal: numbers::form().sign(),
            user,
            has_users: viewer.has_users,
            notice,
        }
    }

    /// The hidden field that each form needs, in HTML: `{{ layout.hidden()|safe }}`. Empty where nobody is signed in.
    pub fn hidden(&self) -> String {
        let user = self.user.as_ref();

        hidden_field(user.map(|user| user.form_token.as_str()))
    }

    /// The same for a part of a screen that is asked for alone.
    pub fn hidden_of(viewer: &Viewer) -> String {
        let actor = viewer.actor.as_ref();

        hidden_field(actor.map(|actor| &*actor.form_token))
    }

    /// True for the tab of the screen that is shown.
    pub fn is_here(&self, tab: &Tab) -> bool {
        let path = self.address.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix(tab.address);

        // A screen of one part is below that of all, and Live is above nothing.
        let is_below = |rest: &str| rest.starts_with('/') && tab.address != "/";

        rest.is_some_and(|rest| rest.is_empty() || is_below(rest))
    }
}

fn hidden_field(token: Option<&str>) -> String {
    // The token is made of hexadecimal digits.
    token.map_or_else(String::new, |token| {
        format!("<input type=\"hidden\" name=\"form_token\" value=\"{token}\">")
    })
}

#[derive(Template)]
#[template(path = "templates/refused.html")]
struct Refused {
    layout: Layout,
    words: String,
}

/// A screen as an answer.
pub fn answer(status: StatusCode, screen: &impl Template) -> Response {
    let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];

    match screen.render() {
        Ok(html) => (status, kind, html).into_response(),
        Err(error) => {
            tracing::error!("page: {error} (please report this)");

            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A refusal on a screen of its own.
pub fn refusal(page: &Page, viewer: Viewer, status: StatusCode, words: String) -> Response {
    let layout = Layout::new(page, viewer, "Refused");

    answer(status, &Refused { layout, words })
}

/// The refusal where a disk hangs: `what` "does not answer".
pub fn no_answer(page: &Page, viewer: Viewer, what: &str) -> Response {
    let words = format!("{what} does not answer; look again in a moment");

    refusal(page, viewer, StatusCode::SERVICE_UNAVAILABLE, words)
}

/// Sends the browser on to an address of this page, which must be one of ours: ASCII without spaces.
pub fn see_other(address: &str) -> Response {
    let location = HeaderValue::from_str(address);
    let location = location.unwrap_or(HeaderValue::from_static("/"));

    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// The end of a POST: the browser goes back to a screen, which shows the message once.
pub fn done(page: &Page, actor: &Actor, address: &str, notice: Notice) -> Response {
    page.access.put_notice(actor.session, notice);

    see_other(address)
}
