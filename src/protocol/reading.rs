//! JSON of a command to its values; what is wrong with it in the words of somebody who programs a PLC: the key,
//! what it must be and what came. No type of this program, and no line or column: a PLC builds its messages
//! from pieces, so that the text where reading ended tells more.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Characters of a message that are shown around the place where reading ended.
const SHOWN: usize = 16;

/// Names of types in errors, and the words for them.
const KINDS: [(&str, &str); 13] = [
    ("i64", "a whole number"),
    ("u64", "a whole number from 0"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u16", "a whole number from 0 to 65535"),
    ("u8", "a whole number from 0 to 255"),
    ("usize", "a whole number from 0"),
    ("f64", "a number"),
    ("f32", "a number"),
    ("a string", "text"),
    ("string or map", "text"),
    ("a boolean", "true or false"),
    ("a map", OBJECT),
    ("a sequence", "a list"),
];

/// Beginnings of what came, in errors, and the words for them.
const VALUES: [(&str, &str); 8] = [
    ("string ", "text "),
    ("integer ", ""),
    ("floating point ", ""),
    ("boolean ", ""),
    ("sequence", "a list"),
    ("map", "an object"),
    ("unit", "null"),
    ("null", "null"),
];

/// The path of an error that is in no key.
const WHOLE: &str = ".";
/// Words for a message without any content.
const EMPTY: &str = "the message is empty; a command is JSON, such as {\"id\":1}";
/// Words for an object.
const OBJECT: &str = "an object in braces";

/// Reads a command's values.
///
/// # Errors
/// What is wrong, in words for the sender.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    let text = payload.trim_ascii();

    if text.is_empty() {
        return Err(EMPTY.to_owned());
    }

    // The derived readers take the values of an object as a list too, by place: nobody means that.
    if text.starts_with(b"[") {
        return Err(format!("a command must be {OBJECT}, got a list"));
    }

    let mut reader = serde_json::Deserializer::from_slice(payload);
    let value = serde_path_to_error::deserialize(&mut reader);
    let value = value.map_err(|error| {
        let key = error.path().to_string();
        in_words(error.inner(), &key, payload)
    })?;

    let end = reader.end();
    end.map_err(|error| in_words(&error, WHOLE, payload))?;

    Ok(value)
}

/// An error of serde's in words; `key` is where it is, [`WHOLE`] where that is the whole.
pub(super) fn in_words(error: &serde_json::Error, key: &str, payload: &[u8]) -> String {
    let message = error.to_string();

    // The position stands at the end where there is one.
    let message = match message.rsplit_once(" at line ") {
        Some((told, _)) => told,
        None => &message,
    };

    match error.classify() {
        Category::Data => of_value(message, key),
        Category::Eof => {
            let end = behind(payload, payload.len());
            format!(
                "the JSON ends too early: a brace, a bracket or a quote is missing behind {end:?}"
            )
        }

        Category::Syntax | Category::Io => {
            let place = place_of(error, payload);
            let before = behind(payload, place);

            format!("no JSON behind {before:?}: {message}")
        }
    }
}

/// Words for JSON with a wrong value or a wrong key.
fn of_value(message: &str, key: &str) -> String {
    // Of a command that is read in two steps the key is not known.
    let key = match key {
        WHOLE if message.ends_with("a map") || message.contains("expected struct ") => "a command",
        WHOLE => "a value",
        key => key,
    };

    if let Some(words) = of_wrong_value(message, key) {
        return words;
    }

    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }

    let named = message.replace(", expected one of ", "; there are ");
    named.replace(", expected ", "; there are ")
}

/// Words for a value of another kind than the key's; `None` for other errors.
fn of_wrong_value(message: &str, key: &str) -> Option<String> {
    if let Some(variant) = message.strip_prefix("unknown variant ") {
        let (value, kinds) = variant.split_once(", expected ")?;
        let kinds = kinds.trim_start_matches("one of ");
        return Some(format!("{key} must be {kinds}, got {value}"));
    }

    let of_type = message.strip_prefix("invalid type: ");
    let wrong = of_type.or_else(|| message.strip_prefix("invalid value: "))?;
    let (value, kind) = wrong.rsplit_once(", expected ")?;
    let kind = kind_words(kind);
    let value = value_words(value);

    Some(format!("{key} must be {kind}, got {value}"))
}

fn kind_words(kind: &str) -> &str {
    if kind.starts_with("struct ") {
        return OBJECT;
    }

    for (name, words) in KINDS {
        if kind == name {
            return words;
        }
    }

    kind
}

fn value_words(value: &str) -> String {
    for (begin, words) in VALUES {
        if let Some(rest) = value.strip_prefix(begin) {
            let told = format!("{words}{rest}");
            return told.replace('`', "");
        }
    }

    value.to_owned()
}

/// Bytes of the payload before the place of an error.
fn place_of(error: &serde_json::Error, payload: &[u8]) -> usize {
    let lines = payload.split(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(|line| line.len() + 1)
        .sum();

    // The column is that of the last character that was read, which is the wrong one.
    let place = before + error.column().saturating_sub(1);

    place.min(payload.len())
}

/// The last characters before a place.
fn behind(payload: &[u8], place: usize) -> String {
    let text = String::from_utf8_lossy(&payload[..place]);
    let count = text.chars().count();

    text.chars().skip(count.saturating_sub(SHOWN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading is of interest")]
    struct Wanted {
        count: Option<i64>,
        position: Option<f64>,
        camera: Option<String>,
        parts: Option<u32>,
        off: Option<bool>,
        kind: Option<Kind>,
        view: Option<View>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Good,
        Bad,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its reading is of interest")]
    struct View {
        crop: Vec<u32>,
    }

    #[test]
    fn a_refusal_names_the_key_and_speaks_of_no_type_or_column() {
        for (payload, words) in [
            (
                r#"{"count":"x"}"#,
                r#"count must be a whole number, got text "x""#,
            ),
            (r#"{"count":1.5}"#, "count must be a whole number, got 1.5"),
            (
                r#"{"count":99999999999999999999}"#,
                "count must be a whole number, got 1e+20",
            ),
            (
                r#"{"position":"1"}"#,
                r#"position must be a number, got text "1""#,
            ),
            (r#"{"camera":7}"#, "camera must be text, got 7"),
            (
                r#"{"parts":-1}"#,
                "parts must be a whole number from 0 to 4294967295, got -1",
            ),
            (r#"{"off":1}"#, "off must be true or false, got 1"),
            (
                r#"{"kind":"ugly"}"#,
                "kind must be `good` or `bad`, got `ugly`",
            ),
            (
                r#"{"view":{"crop":[1,"x"]}}"#,
                r#"view.crop[1] must be a whole number"#,
            ),
            (r#"{"view":{}}"#, "`crop` is missing"),
            (
                r#"{"prat":1}"#,
                "unknown field `prat`; there are `count`, `position`",
            ),
            ("[7]", "a command must be an object in braces, got a list"),
            ("7", "a command must be an object in braces, got 7"),
            ("", "the message is empty"),
            (" ", "the message is empty"),
            (r#"{"count":7"#, r#"missing behind "{\"count\":7""#),
            (
                r#"{"count":7}}"#,
                r#"no JSON behind "{\"count\":7}": trailing"#,
            ),
            (
                r#"{"camera":"a","count":007}"#,
                r#"no JSON behind "a\":\"a\",\"count\":0""#,
            ),
            ("{\n\"count\" 7}", "no JSON behind"),
            ("trigger", "no JSON behind \"tr\": expected"),
            (r#"{"count":1,"count":2}"#, "duplicate field `count`"),
        ] {
            let told = read::<Wanted>(payload.as_bytes()).expect_err(payload);
            assert!(told.contains(words), "{words:?} is not in {told:?}");
            for jargon in ["i64", "u32", "f64", "line 1", "column", "struct"] {
                assert!(!told.contains(jargon), "{told}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_words() {
        let told = read::<Wanted>(b"{\"camera\":\"\xff\"}").expect_err("no UTF-8");
        assert!(!told.is_empty() && !told.contains("column"), "{told}");
    }
}
