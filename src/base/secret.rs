//! Passwords: a type whose `Debug` hides one, and texts of other people's without those that stand in them.

/// Text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The hidden text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";
/// Words in names whose values are secrets.
const SECRET_WORDS: [&str; 5] = ["password", "passwd", "passphrase", "secret", "token"];
/// Ends of such names, too short to be looked for within: `user-pw=...` of a GStreamer element, `?pwd=...` of an address.
const SECRET_ENDS: [&str; 5] = ["pass", "pwd", "pw", "api_key", "apikey"];

/// True for the name of a value that is not to be shown. The name of a file with a secret is none.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has_word = SECRET_WORDS.iter().any(|word| name.contains(word));
    let has_end = SECRET_ENDS.iter().any(|end| name.ends_with(end));

    (has_word || has_end) && !name.ends_with("_file")
}

/// The text without users and passwords of addresses (`rtsp://user:password@host` becomes `rtsp://***@host`), and
/// without values whose names say that they are secrets (`user-pw=***`).
pub fn without_credentials(text: &str) -> String {
    without_named(&without_users(text))
}

/// The text without what stands before the `@` of an address.
fn without_users(text: &str) -> String {
    // An address may stand in the middle of a pipeline's text, and there may be several.
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();

    for part in parts {
        clean.push_str("://");
        let end = part.find(is_end_of_word).unwrap_or(part.len());
        let address = &part[..end];

        if let Some(at) = end_of_user(address) {
            clean.push_str(HIDDEN);
            clean.push_str(&part[at..]);
        } else {
            clean.push_str(part);
        }
    }

    clean
}

/// True for what ends an address or a value within a text.
fn is_end_of_word(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.is_whitespace()
}

/// Place of the `@` that ends user and password; `None` where an address has none.
fn end_of_user(address: &str) -> Option<usize> {
    // The authority ends where a path or a query begins.
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let authority = &address[..end];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }

    // A raw `/` in a password ends the authority too early. What stands behind the colon is no port then.
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.ends_with(']') || port.parse::<u16>().is_ok();

    address.rfind('@').filter(|_| !is_port)
}

/// The text with `***` in the place of each value whose name is a secret's.
fn without_named(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;

    while let Some(at) = rest.find('=') {
        let (name, value) = rest.split_at(at);
        clean.push_str(name);
        clean.push('=');
        rest = &value[1..];

        if is_secret_name(last_word(name)) {
            let value = rest.trim_start();
            let end = end_of_value(value);
            rest = &value[end..];
            clean.push_str(HIDDEN);
        }
    }

    clean + rest
}

/// The name at the end of a text.
fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let before = text.trim_end_matches(is_of_name);

    &text[before.len()..]
}

/// Place behind a value in quotes, which may be escaped, or behind a word.
fn end_of_value(text: &str) -> usize {
    for quote in ["\\\"", "\"", "'"] {
        let Some(inner) = text.strip_prefix(quote) else {
            continue;
        };

        // Without an end the rest of the text is the secret.
        let end = inner.find(quote);
        return end.map_or(text.len(), |end| end + 2 * quote.len());
    }

    let is_end = |c: char| matches!(c, '&' | ';' | ',') || is_end_of_word(c);
    text.find(is_end).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_without_their_secrets() {
        for (text, shown) in [
            (
                "cannot open rtsp://me:hush@10.0.0.7/a@b, nor rtsp://10.0.0.8/x",
                "cannot open rtsp://***@10.0.0.7/a@b, nor rtsp://10.0.0.8/x",
            ),
            // A raw slash in a password.
            ("rtsp://me:hu/sh@cam/1", "rtsp://***@cam/1"),
            ("rtsp://me:h?u#sh@cam:554/1 !", "rtsp://***@cam:554/1 !"),
            ("rtsp://cam:554/1?mail=a@b", "rtsp://cam:554/1?mail=a@b"),
            ("rtsp://[fe80::1]/a@b", "rtsp://[fe80::1]/a@b"),
            (
                "rtspsrc user-id=me user-pw=hush latency=5 ! x",
                "rtspsrc user-id=me user-pw=*** latency=5 ! x",
            ),
            (
                "srtsrc passphrase = \"hush hush\" ! x",
                "srtsrc passphrase =*** ! x",
            ),
            (r#"user-pw=\"hush hush\" ! x"#, "user-pw=*** ! x"),
            (
                "rtsp://cam/user=me&password=hush&channel=1",
                "rtsp://cam/user=me&password=***&channel=1",
            ),
            ("http://cam/?Token=hush", "http://cam/?Token=***"),
            (
                "videotestsrc pattern=ball ! x",
                "videotestsrc pattern=ball ! x",
            ),
            ("user-pw=", "user-pw=***"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
