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
/// Words anywhere in names whose values are secrets. A header is one, because it mostly carries an authorization; `author`
/// is hidden with `auth`, which costs nobody much.
const SECRET_WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "auth",
    "cookie",
    "credential",
    "header",
    "signature",
    "bearer",
];
/// Ends of such names, too short to be looked for within: `user-pw` of a GStreamer element, `loginpas` of an address. A name
/// that begins with `key` or `sig` is none: `keyint`, `key-int-max` and `signal-handoffs` are what a person needs. `pass=qual`
/// of an encoder is hidden with the passwords of that name.
const SECRET_ENDS: [&str; 9] = [
    "pass", "pas", "pwd", "pw", "psw", "psk", "key", "sig", "jwt",
];
/// Beginnings of such names: `pwd1`, `psk_home`.
const SECRET_STARTS: [&str; 3] = ["pwd", "psw", "psk"];

/// True for the name of a value that is not to be shown. The name of a file with a secret is none.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();

    // `key2`, and `keys` of a list.
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let bare = bare.strip_suffix('s').unwrap_or(bare);

    let has_word = SECRET_WORDS.iter().any(|word| name.contains(word));
    let has_start = SECRET_STARTS.iter().any(|start| name.starts_with(start));
    let has_end = SECRET_ENDS
        .iter()
        .any(|end| name.ends_with(end) || bare.ends_with(end));

    (has_word || has_start || has_end) && !name.ends_with("_file")
}

/// The text without users and passwords of addresses (`rtsp://user:password@host` becomes `rtsp://***@host`), and
/// without values whose names say that they are secrets (`user-pw=***`). Where it is not certain how far a secret goes,
/// more is hidden.
pub fn without_credentials(text: &str) -> String {
    without_named(&without_users(text))
}

/// The text without what stands before the `@` of an address.
fn without_users(text: &str) -> String {
    // An address may stand in the middle of a pipeline's text, and there may be several.
    let mut clean = String::new();
    let mut rest = text;

    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        clean.push_str(before);
        rest = after;
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());

        if let Some(at) = end_of_user(&rest[..end]) {
            clean.push_str(HIDDEN);
            rest = &rest[at..];
        }
    }

    clean + rest
}

/// Place of the `@` that ends user and password; `None` where an address has none.
fn end_of_user(address: &str) -> Option<usize> {
    // The authority ends where a path or a query begins.
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let authority = &address[..end];
    let is_plain = !authority.contains([':', '@']);
    let is_bare_v6 = authority.starts_with('[') && authority.ends_with(']');

    if is_plain || is_bare_v6 {
        return None;
    }

    // A password may have a raw `/`, `?` or `@`: `me:1234/x@cam` reads as a port with a path as well. The last `@` is taken,
    // which costs the host of an address with another one in its path.
    address.rfind('@')
}

/// The text with `***` in the place of each value whose name is a secret's.
fn without_named(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;

    while let Some(at) = rest.find('=') {
        let (before, value) = rest.split_at(at);
        clean.push_str(before);
        clean.push('=');
        rest = &value[1..];
        let name = last_word(before);

        if is_secret_name(name) {
            let value = rest.trim_start();
            let end = end_of_value(value, is_in_query(before, name));
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

/// True for the name of a value in the query of an address, which ends a text.
fn is_in_query(text: &str, name: &str) -> bool {
    let before = text.strip_suffix(name).unwrap_or_default();

    before.ends_with(['?', '&'])
}

/// Place behind a value, as GStreamer reads one: up to white space, unless that is escaped or in quotes. The value of a query
/// ends at its next name as well.
fn end_of_value(text: &str, is_query: bool) -> usize {
    let mut at = 0;
    let mut before = '=';

    while let Some(c) = text[at..].chars().next() {
        // Quotes begin a value, or follow its type: `(string)"Basic abc"`. Others are letters of an unquoted one.
        if matches!(before, '=' | ')')
            && let Some(quoted) = quoted_length(&text[at..])
        {
            at += quoted;
            before = '"';
            continue;
        }

        let is_end = c.is_whitespace() && before != '\\';
        if is_end || (is_query && c == '&') {
            break;
        }

        at += c.len_utf8();
        before = c;
    }

    at
}

/// Bytes of the quotes that begin a text, with what is in them; `None` where none begin it. Without an end it is all.
fn quoted_length(text: &str) -> Option<usize> {
    // Quotes within quotes are escaped, once or several times; those that end them are escaped as often.
    let unescaped = text.trim_start_matches('\\');
    let escapes = text.len() - unescaped.len();
    let quote = unescaped
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))?;
    let begin = escapes + 1;

    for (at, _) in text[begin..].match_indices(quote) {
        let inner = &text[begin..begin + at];
        let found = inner.len() - inner.trim_end_matches('\\').len();

        if found == escapes {
            return Some(begin + at + 1);
        }
    }

    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with addresses, and what is shown of them.
    const ADDRESSES: &[(&str, &str)] = &[
        // Addresses.
        (
            "cannot open rtsp://me:hush@10.0.0.7/a, nor rtsp://10.0.0.8/x",
            "cannot open rtsp://***@10.0.0.7/a, nor rtsp://10.0.0.8/x",
        ),
        ("rtsp://me:hu/sh@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:h?u#sh@cam:554/1 !", "rtsp://***@cam:554/1 !"),
        ("rtsp://me:hu@sh/hush@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:hu\"sh@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:a://hush@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:1234/hush@cam", "rtsp://***@cam"),
        (
            "rtspsrc location=rtsp://me:1234/hush@cam latency=5 ! x",
            "rtspsrc location=rtsp://***@cam latency=5 ! x",
        ),
        ("rtsp://cam:554/1?mail=ab", "rtsp://cam:554/1?mail=ab"),
        ("rtsp://cam/1?mail=a@b", "rtsp://cam/1?mail=a@b"),
        ("rtsp://[fe80::1]/a@b", "rtsp://[fe80::1]/a@b"),
        (
            "rtsp://cam/user=me&password=hush&channel=1",
            "rtsp://cam/user=me&password=***&channel=1",
        ),
        (
            "rtsp://cam/user=me_password=hush_channel=1 x",
            "rtsp://cam/user=me_password=*** x",
        ),
        (
            "http://cam/?Token=hush refused",
            "http://cam/?Token=*** refused",
        ),
        ("http://cam/?auth=aHVzaA==&x=1", "http://cam/?auth=***&x=1"),
        (
            "http://cam/?loginuse=me&loginpas=hush&x=1",
            "http://cam/?loginuse=me&loginpas=***&x=1",
        ),
        ("http://cam/?psw=hush;hush&x=1", "http://cam/?psw=***&x=1"),
        ("http://cam/?a=1&sig=hush,hush", "http://cam/?a=1&sig=***"),
    ];

    /// Texts of pipelines, and what is shown of them.
    const PIPELINES: &[(&str, &str)] = &[
        // Pipelines.
        (
            "rtspsrc user-id=me user-pw=hush latency=5 ! x",
            "rtspsrc user-id=me user-pw=*** latency=5 ! x",
        ),
        (
            "rtspsrc user-pw=Hush,hush&hu;sh'\"hush latency=5 ! x",
            "rtspsrc user-pw=*** latency=5 ! x",
        ),
        (r"user-pw=hush\ hush latency=5", "user-pw=*** latency=5"),
        (
            "srtsrc passphrase = \"hush hush\" ! x",
            "srtsrc passphrase =*** ! x",
        ),
        (r#"user-pw="hu\"sh ! hush" ! x"#, "user-pw=*** ! x"),
        (r"user-pw='hu\'sh hush' ! x", "user-pw=*** ! x"),
        (r#"user-pw="a"hush ! x"#, "user-pw=*** ! x"),
        (r#"user-pw="hush ! x"#, "user-pw=***"),
        (r#"user-pw=\"hush hush\" ! x"#, "user-pw=*** ! x"),
        (r#"user-pw=\"hu\\\"sh hush\" ! x"#, "user-pw=*** ! x"),
        (
            r#"rtspsrc extra-headers="h,Authorization=(string)\"Basic hush\"" ! x"#,
            "rtspsrc extra-headers=*** ! x",
        ),
        (
            r#"a="h,Authorization=(string)\"Basic hush\"" ! x"#,
            r#"a="h,Authorization=*** ! x"#,
        ),
        (r#"cookies="a=hush; b=hush" ! x"#, "cookies=*** ! x"),
        (
            "wpa psk=hush ! srtpenc key=hush ! x",
            "wpa psk=*** ! srtpenc key=*** ! x",
        ),
        (
            "api-key2=hush api_keys=hush x",
            "api-key2=*** api_keys=*** x",
        ),
        ("user-pw=", "user-pw=***"),
        // What a person needs.
        (
            "identity signal-handoffs=true ! x264enc key-int-max=30 option-string=keyint=5 ! x",
            "identity signal-handoffs=true ! x264enc key-int-max=30 option-string=keyint=5 ! x",
        ),
        (
            "videotestsrc pattern=ball ! x",
            "videotestsrc pattern=ball ! x",
        ),
        ("password_file=/etc/pw", "password_file=/etc/pw"),
    ];

    #[test]
    fn texts_are_shown_without_their_secrets() {
        for (text, shown) in ADDRESSES.iter().chain(PIPELINES) {
            assert_eq!(without_credentials(text), *shown, "{text}");
        }
    }
}
