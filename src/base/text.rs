//! Text that goes where not every character may: into topics and properties of MQTT, and out of
//! files that people wrote.

/// True for a character that MQTT forbids or advises against in its strings (MQTT 5, 1.5.4): control
/// characters, and code points that Unicode keeps for no character, such as U+FFFF. Brokers end the
/// connection of a client that sends one.
pub fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    let is_no_character = code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code);
    c.is_control() || is_no_character
}

/// The text with each forbidden character as its number: a tab is `\u{9}`.
pub fn escaped(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_forbidden(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }

    clean
}

/// The text of a file's bytes.
///
/// # Errors
/// The line of the first byte that is not UTF-8, and what to do.
pub fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })
}

/// Reads TOML. Errors name the place and the rule, never the text there: it may be a password.
///
/// # Errors
/// Line, column and what is wrong.
pub fn toml<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = utf8(bytes)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    ::toml::from_str(text).map_err(|error| {
        let message = error.message();
        let Some(span) = error.span() else {
            return message.to_owned();
        };

        // Columns count characters, as editors do.
        let before = &text[..text.floor_char_boundary(span.start)];
        let line = 1 + before.matches('\n').count();
        let start_of_line = before.rfind('\n').map_or(0, |at| at + 1);
        let column = 1 + before[start_of_line..].chars().count();
        format!("line {line}, column {column}: {message}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mqtt_forbids_is_escaped_and_nothing_else() {
        for c in [
            '\0',
            '\t',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{ffff}',
            '\u{fffe}',
            '\u{1ffff}',
            '\u{fdd0}',
        ] {
            assert!(is_forbidden(c), "{c:?}");
        }

        for c in ['a', ' ', 'ü', '€', '\u{fffd}', '字', '😀'] {
            assert!(!is_forbidden(c), "{c:?}");
        }

        assert_eq!(escaped("a\tb\u{ffff}ü"), "a\\u{9}b\\u{ffff}ü");
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_without_its_content() {
        let wrong = b"a = 1\npassword = \"secret\nb = 2\n";
        let words = toml::<::toml::Table>(wrong).expect_err("an open quote");
        assert!(words.starts_with("line 2, column "), "{words}");
        assert!(!words.contains("secret"), "{words}");
        let latin = b"a = 1\nname = \"M\xfcller\"\n";
        let words = toml::<::toml::Table>(latin).expect_err("Latin-1");
        assert_eq!(words, "line 2 is not UTF-8; save the file as UTF-8");
        let table =
            toml::<::toml::Table>("\u{feff}a = \"ü\"".as_bytes()).expect("a mark and a letter");
        assert_eq!(table["a"].as_str(), Some("ü"));
    }
}
