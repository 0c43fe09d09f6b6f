//! The cookie that holds a session's id.
//!
//! Under TLS its name begins with `__Host-`: a browser then takes it from this host alone, over TLS alone. Cookies know
//! no ports, so that the name has the line's in it: two lines of one machine would else sign each other's users out.

use super::sessions::SessionKey;
use crate::base::hex::hex;
use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// The shape of the cookie of one page.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    name: String,
    is_tls: bool,
}

impl SessionCookie {
    /// The cookie of the line of that name.
    pub fn new(station: &str, is_tls: bool) -> Self {
        // A line's name may have letters that a cookie's may not.
        let line = hex(&Sha256::digest(station.as_bytes()));
        let prefix = if is_tls { "__Host-" } else { "" };
        let name = format!("{prefix}winspect-{}", &line[..8]);

        SessionCookie { name, is_tls }
    }

    /// True for a page under TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The header that gives a browser the id of its session.
    pub fn set(&self, id: &str) -> HeaderValue {
        self.header(id, "")
    }

    /// The header that takes it away.
    pub fn clear(&self) -> HeaderValue {
        self.header("", "; Max-Age=0")
    }

    fn header(&self, value: &str, lasting: &str) -> HeaderValue {
        // Strict: a link from elsewhere opens the page signed out, and a second click signed in.
        let name = &self.name;
        let secure = if self.is_tls { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{lasting}");

        HeaderValue::from_str(&text).expect("hexadecimal digits and our own words")
    }

    /// The key of the session that a request names. Of several cookies of the name none counts: one of them was
    /// put there by somebody else.
    pub fn read(&self, headers: &HeaderMap) -> Option<SessionKey> {
        // A browser may send several lists, each with several cookies.
        let lists = headers.get_all(COOKIE).iter();

        let pairs = lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));

        let mut values = pairs.filter(|(name, _)| *name == self.name);
        let (_, id) = values.next()?;
        let is_alone = values.next().is_none();

        is_alone.then(|| SessionKey::of(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookie: &SessionCookie, list: &str) -> Option<SessionKey> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(list).expect("a header"));
        cookie.read(&headers)
    }

    #[test]
    fn a_cookie_is_for_one_line_and_says_how_it_is_kept() {
        let plain = SessionCookie::new("box", false);
        let secure = SessionCookie::new("box", true);
        let set = secure.set("abc");
        let set = set.to_str().expect("text");
        assert!(set.starts_with("__Host-winspect-"), "{set}");
        assert!(
            set.ends_with("=abc; Path=/; HttpOnly; SameSite=Strict; Secure"),
            "{set}"
        );
        let set = plain.set("abc");
        assert!(!set.to_str().expect("text").contains("Secure"));

        let name = plain.name.clone();
        let key = Some(SessionKey::of("abc"));
        assert_eq!(read(&plain, &format!("a=b; {name}=abc")), key);
        assert_eq!(read(&plain, &format!("{name}=abc; {name}=def")), None);
        assert_eq!(read(&plain, &format!("x{name}=abc")), None);
        let other = SessionCookie::new("press", false);
        assert_eq!(read(&other, &format!("{name}=abc")), None);
    }
}
