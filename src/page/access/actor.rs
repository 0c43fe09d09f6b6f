//! A signed-in user who does something.

use super::role::{Right, Role};
use super::sessions::SessionKey;
use crate::protocol::request::RequestSource;
use std::net::IpAddr;
use std::sync::Arc;

/// A signed-in user who does something. As an extractor it sends everybody else to the sign-in screen.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Name of the user.
    pub name: Arc<str>,
    /// What the user may do.
    pub role: Role,
    /// Address of the browser.
    pub from: IpAddr,
    /// The session.
    pub(in crate::page) session: SessionKey,
    /// Token that each form of the session must carry.
    pub(in crate::page) form_token: Arc<str>,
}

impl Actor {
    /// True if the user may do that.
    pub fn may(&self, right: Right) -> bool {
        self.role.may(right)
    }

    /// The user as the audit log, and a holder of control, is named.
    pub fn who(&self) -> String {
        format!("{} ({})", self.name, RequestSource::Page.word())
    }
}

#[cfg(test)]
pub(in crate::page) fn actor_of(name: &str, role: Role) -> Actor {
    Actor {
        name: name.into(),
        role,
        from: std::net::Ipv4Addr::LOCALHOST.into(),
        session: SessionKey::of(name),
        form_token: "".into(),
    }
}
