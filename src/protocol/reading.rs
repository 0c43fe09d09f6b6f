//! JSON of a command to its values; what is wrong with it in the words of somebody who programs a PLC: the key,
//! what it must be and what came. No type of this program, and no line or column: a PLC builds its messages
//! from pieces, so that the text where reading ended tells more.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Characters of a message that are shown around the place where reading ended.
const SHOWN: usize = 16;

/// Names of types in errors, and the words for them.
const KINDS: [(&str, &str); 14] = [
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
    ("struct ", OBJECT),
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

/// Words for an object.
const OBJECT: &str = "an object in braces";

/// Reads a command's values.
///
/// # Errors
/// What is wrong, in words for the sender.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    if payload.trim_ascii().is_empty() {
        return Err("the message is empty; a command is JSON, such as {\"id\":1}".to_owned());
    }

    // The derived readers take the values of an object as a list too, by place: nobody means that.
    if payload.trim_ascii_start().starts_with(b"[") {
        return Err(format!("a command must be {OBJECT}, got a list"));
    }

    let mut reader = serde_json::Deserializer::from_slice(payload);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let key = error.path().to_string();
        in_words(error.inner(), &key, payload)
    })?;

    reader
        .end()
        .map_err(|error| in_words(&error, ".", payload))?;

    Ok(value)
}

/// An error of serde's in words; `key` is where it is, `.` where that is the whole.
pub(super) fn in_words(error: &serde_json::Error, key: &str, payload: &[u8]) -> String {
    let message = error.to_string();
    // The position stands at the end where there is one.
    let message = message
        .rsplit_once(" at line ")
        .map_or(&*message, |(told, _)| told);
    match error.classify() {
        Category::Eof => format!(
            "the JSON ends too early: a brace, a bracket or a quote is missing behind {:?}",
            behind(payload, payload.len())
        ),
        Category::Syntax | Category::Io => {
            let place = place_of(error, payload);
            format!("no JSON behind {:?}: {message}", behind(payload, place))
        }
        Category::Data => of_value(message, key),
    }
}

/// Words for JSON with a wrong value or a wrong key.
fn of_value(message: &str, key: &str) -> String {
    let key = match key {
        "." => "a command",
        key => key,
    };

    let wrong = ["invalid type: ", "invalid value: "];
    for begin in wrong {
        if let Some(rest) = message.strip_prefix(begin)
            && let Some((value, kind)) = rest.rsplit_once(", expected ")
        {
            return format!(
                "{key} must be {}, got {}",
                kind_words(kind),
                value_words(value)
            );
        }
    }

    if let Some(rest) = message.strip_prefix("unknown variant ")
        && let Some((value, kinds)) = rest.split_once(", expected ")
    {
        let kinds = kinds.trim_start_matches("one of ");
        return format!("{key} must be {kinds}, got {value}");
    }

    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }

    let named = message.replace(", expected one of ", "; there are ");
    named.replace(", expected ", "; there are ")
}

fn kind_words(kind: &str) -> &str {
    let mut kinds = KINDS.iter();
    let found =
        kinds.find(|(name, _)| kind == *name || name.ends_with(' ') && kind.starts_with(name));
    found.map_or(kind, |(_, words)| words)
}

fn value_words(value: &str) -> String {
    let mut values = VALUES.iter();
    match values.find(|(begin, _)| value.starts_with(begin)) {
        Some((begin, words)) => format!("{words}{}", &value[begin.len()..]).replace('`', ""),
        None => value.to_owned(),
    }
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
                r#"no JSON behind "era\":\"a\",\"count\":0""#,
            ),
            ("{\n\"count\" 7}", "no JSON behind"),
            ("trigger", "no JSON behind \"\": expected"),
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
