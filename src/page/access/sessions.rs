//! Sessions: who is signed in, by the hash of a random id that only the browser has.
//!
//! Pure: each function is told the moment, on the monotonic clock, so that a clock that is set changes nothing.
//! Bounds: [`SESSIONS_MAX`] sessions; the one that was used least lately makes room.

use super::notice::Notice;
use super::users::User;
use crate::base::hex::hex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions at once.
pub const SESSIONS_MAX: usize = 200;
/// Time without a request after which a session ends.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Time after which a session ends in any case.
pub const AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// Hash of a session's id: what the page keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of an id, as the browser sends it.
    pub fn of(id: &str) -> Self {
        SessionKey(Sha256::digest(id.as_bytes()).into())
    }
}

/// 256 random bits in hexadecimal digits.
fn random_id() -> String {
    hex(&rand::random::<[u8; 32]>())
}

/// One session.
struct Session {
    name: Arc<str>,
    /// The user at the sign-in: another role or password ends the session.
    user: User,
    began: Instant,
    used: Instant,
    form_token: Arc<str>,
    notice: Option<Notice>,
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    live: HashMap<SessionKey, Session>,
}

/// A session that was found.
#[derive(Debug, Clone)]
pub struct FoundSession {
    /// Name of the user.
    pub name: Arc<str>,
    /// The user at the sign-in.
    pub user: User,
    /// Token that each form of the session must carry.
    pub form_token: Arc<str>,
}

impl Sessions {
    /// Begins a session; returns its id for the browser.
    pub fn begin(&mut self, name: &str, user: User, now: Instant) -> String {
        self.live.retain(|_, session| !session.is_over(now));

        if self.live.len() >= SESSIONS_MAX {
            self.end_least_used();
        }

        // The browser has the id, this machine its hash: a copy of the memory is no key to a session.
        let id = random_id();

        let session = Session {
            name: name.into(),
            user,
            began: now,
            used: now,
            form_token: random_id().into(),
            notice: None,
        };

        self.live.insert(SessionKey::of(&id), session);

        id
    }

    /// The session of a key, which is used by it. One that is over ends here.
    pub fn find(&mut self, key: SessionKey, now: Instant) -> Option<FoundSession> {
        let found = self.look(key, now)?;
        if let Some(session) = self.live.get_mut(&key) {
            session.used = now;
        }

        Some(found)
    }

    /// The session of a key, which is not used by it. One that is over ends here.
    pub fn look(&mut self, key: SessionKey, now: Instant) -> Option<FoundSession> {
        let session = self.live.get(&key)?;

        if session.is_over(now) {
            self.live.remove(&key);

            return None;
        }

        Some(FoundSession {
            name: session.name.clone(),
            user: session.user.clone(),
            form_token: session.form_token.clone(),
        })
    }

    /// Ends a session. Returns its user's name, if there was one.
    pub fn end(&mut self, key: SessionKey) -> Option<Arc<str>> {
        let session = self.live.remove(&key)?;

        Some(session.name)
    }

    /// Keeps a message for the next screen of a session, in place of one that was not shown.
    pub fn put_notice(&mut self, key: SessionKey, notice: Notice) {
        if let Some(session) = self.live.get_mut(&key) {
            session.notice = Some(notice);
        }
    }

    /// The message for the next screen, which is shown once.
    pub fn take_notice(&mut self, key: SessionKey) -> Option<Notice> {
        let session = self.live.get_mut(&key)?;

        session.notice.take()
    }

    fn end_least_used(&mut self) {
        // Two hundred of them are looked through at a sign-in alone.
        let sessions = self.live.iter();
        let oldest = sessions.min_by_key(|(_, session)| session.used);

        let oldest = oldest.map(|(key, _)| *key);

        if let Some(key) = oldest {
            self.live.remove(&key);
        }
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.used);
        let age = now.saturating_duration_since(self.began);

        idle >= IDLE_MAX || age >= AGE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::access::password::PasswordHash;
    use crate::page::access::role::Role;

    fn user() -> User {
        User {
            role: Role::Setter,
            password: PasswordHash::of("correct horse").expect("a password"),
        }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        let idle = SessionKey::of(&sessions.begin("anna", user(), start));
        let just = start + IDLE_MAX - Duration::from_secs(1);
        assert!(sessions.find(idle, just).is_some());
        assert!(sessions.find(idle, just + IDLE_MAX).is_none());
        assert!(sessions.find(idle, just).is_none(), "an end is for good");

        let polled = SessionKey::of(&sessions.begin("anna", user(), start));
        assert!(sessions.look(polled, just).is_some());
        let late = start + IDLE_MAX;
        assert!(sessions.look(polled, late).is_none(), "a poll is no use");

        // One that is used all the time ends all the same.
        let busy = SessionKey::of(&sessions.begin("anna", user(), start));
        let step = IDLE_MAX / 2;
        let mut now = start;
        while sessions.find(busy, now).is_some() {
            now += step;
        }

        assert_eq!(now, start + AGE_MAX);
    }

    #[test]
    fn only_the_exact_id_finds_a_session_and_a_notice_is_shown_once() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let id = sessions.begin("anna", user(), now);
        let key = SessionKey::of(&id);
        assert_eq!(id.len(), 64);
        let found = sessions.find(key, now).expect("it is there");
        assert_eq!(&*found.name, "anna");
        assert_ne!(&*found.form_token, id, "a form does not show the id");
        assert!(sessions.find(SessionKey::of(&id[1..]), now).is_none());

        sessions.put_notice(key, Notice::done("done"));
        assert!(sessions.take_notice(key).is_some());
        assert!(sessions.take_notice(key).is_none());
        assert_eq!(sessions.end(key).as_deref(), Some("anna"));
        assert!(sessions.find(key, now).is_none());
    }

    #[test]
    fn the_least_used_session_makes_room() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let user = user();
        let mut sessions = Sessions::default();
        let mut keys = vec![];
        for number in 0..SESSIONS_MAX {
            let at = start + second * number as u32;
            let id = sessions.begin("anna", user.clone(), at);
            keys.push(SessionKey::of(&id));
        }

        let now = start + second * SESSIONS_MAX as u32;
        assert!(sessions.find(keys[0], now).is_some());
        sessions.begin("otto", user, now);
        assert!(
            sessions.find(keys[0], now).is_some(),
            "it was used just now"
        );
        assert!(sessions.find(keys[1], now).is_none());
        assert_eq!(sessions.live.len(), SESSIONS_MAX);
    }
}
