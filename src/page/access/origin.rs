//! Whether a request that changes something comes from one of our own pages.
//!
//! A browser tells with each POST from which site the form came (`Origin`), and newer ones what that site is to ours
//! (`Sec-Fetch-Site`). A request without `Origin` comes from no browser of today: programs have the broker and the
//! control socket.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// Checks the headers of a request; `is_tls` is true for one that came over TLS.
///
/// # Errors
/// When it comes from elsewhere; in words.
pub fn check_origin(headers: &HeaderMap, is_tls: bool) -> Result<(), String> {
    let text = |value: Option<&axum::http::HeaderValue>| {
        let value = value.and_then(|value| value.to_str().ok());

        value.map(str::to_ascii_lowercase)
    };

    if headers.get_all(ORIGIN).iter().count() > 1 {
        return Err("it names several origins".to_owned());
    }

    let site = text(headers.get("sec-fetch-site"));

    if let Some(site) = site.filter(|site| site != "same-origin") {
        return Err(format!("it comes from another site ({site})"));
    }

    let Some(origin) = text(headers.get(ORIGIN)) else {
        return Err("it does not say from which page it comes".to_owned());
    };

    // What stands before TLS of its own, such as a proxy, makes https of our http.
    let bare = match origin.split_once("://") {
        Some(("https", bare)) => Some(bare),
        Some(("http", bare)) if !is_tls => Some(bare),
        _ => None,
    };

    let host = text(headers.get(HOST));

    if bare.is_some() && bare == host.as_deref() {
        return Ok(());
    }

    Err(format!("it comes from {origin}, which is not this page"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });

        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }

        headers
    }

    #[test]
    fn only_our_own_pages_may_send() {
        let host = ("host", "127.0.0.1:8080");
        let own = ("origin", "http://127.0.0.1:8080");
        let same = ("sec-fetch-site", "same-origin");
        for good in [vec![host, own], vec![host, own, same]] {
            assert_eq!(check_origin(&headers(&good), false), Ok(()), "{good:?}");
        }

        for bad in [
            vec![host],
            vec![own],
            vec![host, same],
            vec![host, ("origin", "null")],
            vec![host, ("origin", "http://127.0.0.1")],
            vec![host, ("origin", "http://127.0.0.1:8081")],
            vec![host, ("origin", "http://evil.example")],
            vec![host, ("origin", "ftp://127.0.0.1:8080")],
            vec![host, own, ("sec-fetch-site", "same-site")],
            vec![host, own, ("sec-fetch-site", "cross-site")],
            vec![host, own, ("sec-fetch-site", "none")],
            vec![host, own, own],
        ] {
            assert!(check_origin(&headers(&bad), false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_page_without_tls_may_not_send_to_one_with_it() {
        let host = ("host", "box:8443");
        let plain = headers(&[host, ("origin", "http://box:8443")]);
        let secure = headers(&[host, ("origin", "https://BOX:8443")]);
        assert!(check_origin(&plain, true).is_err());
        assert_eq!(check_origin(&secure, true), Ok(()));
    }
}
