//! The viewer of a request: a signed-in user, or somebody who is not signed in.

use super::actor::Actor;
use super::keeper::Access;
use super::role::Right;
use super::sessions::{FoundSession, SessionKey};
use crate::page::state::Page;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

/// Address of the other end of a connection, which the server puts into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Who looks at a screen. It is never refused: without a user it reads.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The signed-in user, if somebody is.
    pub actor: Option<Actor>,
    /// True if somebody could sign in.
    pub has_users: bool,
    /// Address of the browser.
    pub from: IpAddr,
    /// Path and query of the request.
    pub address: String,
}

impl Viewer {
    /// True if a signed-in user looks who may do that.
    pub fn may(&self, right: Right) -> bool {
        let actor = self.actor.as_ref();

        actor.is_some_and(|actor| actor.may(right))
    }

    /// Why the viewer may not do that, and the way to it; `None` for one who may.
    pub fn hindrance(&self, right: Right) -> Option<String> {
        let role = right.least_role().word();

        match &self.actor {
            Some(actor) if actor.may(right) => None,
            Some(actor) => Some(format!(
                "{} is signed in as {}; this needs {role}.",
                actor.name,
                actor.role.word()
            )),
            None if self.has_users => Some(format!("Sign in as {role} to change something here.")),
            None => Some(format!(
                "Nobody can sign in yet. Make a user on the line's machine: winspect user add LINE NAME --role {role}"
            )),
        }
    }
}

/// Who looks, by a script that asks again and again: that does not keep a session from its end.
pub struct PollViewer(pub Viewer);

type FindSession = fn(&Access, SessionKey) -> Option<FoundSession>;

fn viewer_of(parts: &Parts, page: &Page, find: FindSession) -> Viewer {
    // Tests of routes have no connection.
    let peer = parts.extensions.get::<Peer>();
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);

    // A session may have ended since the cookie was set: then the viewer is not signed in.
    let key = page.cookie.read(&parts.headers);
    let found = key.and_then(|key| Some((key, find(&page.access, key)?)));

    let actor = found.map(|(session, found)| Actor {
        name: found.name,
        role: found.user.role,
        from,
        session,
        form_token: found.form_token,
    });

    Viewer {
        actor,
        has_users: page.access.has_users(),
        from,
        address: parts.uri.to_string(),
    }
}

impl FromRequestParts<Page> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Infallible> {
        page.access.look().await;

        Ok(viewer_of(parts, page, Access::session))
    }
}

impl FromRequestParts<Page> for PollViewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Infallible> {
        page.access.look().await;

        Ok(PollViewer(viewer_of(parts, page, Access::session_of_poll)))
    }
}

impl FromRequestParts<Page> for Actor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Response> {
        let Ok(viewer) = Viewer::from_request_parts(parts, page).await;

        viewer
            .actor
            .ok_or_else(|| Redirect::to("/sign-in").into_response())
    }
}
