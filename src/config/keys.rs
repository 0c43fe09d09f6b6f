//! Every key of a line's configuration with its value, by which a reload tells what has changed.
//!
//! Keys are those of the file, with the environment over it: `mqtt.port`, `camera[0].kind`. A recipe's keys
//! stand under its name, whether its table is in the line's file, in a file of its own or in the library:
//! `recipe.nut.threshold`; one of the library has its revision besides, `recipe.nut.library`. `recipe` alone is what
//! the file names as the line's first recipe, or the name of the table that stands there.

use crate::base::secret::{HIDDEN, is_secret_name, without_credentials};
use crate::recipe::spec::RecipeSpec;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Key of the line's first recipe.
pub const FIRST_RECIPE: &str = "recipe";
/// Keys that name the file of a private key, not the key.
const KEY_FILES: [&str; 2] = ["mqtt.tls.key", "page.key"];
/// Characters of a value that are shown; of a longer one the rest is cut.
const SHOWN: usize = 120;

/// The keys of a configuration, with their values as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigKeys(BTreeMap<String, String>);

/// A key that has another value, a new one or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// The value before, as JSON; `None` where there was none.
    pub old: Option<String>,
    /// The value from now on, as JSON; `None` where there is none.
    pub new: Option<String>,
}

impl ConfigKeys {
    /// The keys of a line's file and of its recipes, the first of which is the line's first.
    pub(super) fn of<'a>(file: &Value, recipes: impl IntoIterator<Item = &'a RecipeSpec>) -> Self {
        let mut keys = ConfigKeys::default();
        let mut recipes = recipes.into_iter().peekable();

        for (key, value) in file.as_object().into_iter().flatten() {
            // The table of the first recipe stands under its name, as those of the others do.
            if key != FIRST_RECIPE || !value.is_object() {
                keys.add(key, value);
            }
        }

        if let Some(first) = recipes.peek()
            && !keys.0.contains_key(FIRST_RECIPE)
        {
            keys.add(FIRST_RECIPE, &first.name.as_str().into());
        }

        for recipe in recipes {
            let place = format!("recipe.{}", recipe.name);

            for (key, value) in &recipe.table {
                keys.add(&format!("{place}.{key}"), value);
            }

            if recipe.library.is_some() {
                let label = recipe.label();

                keys.add(&format!("{place}.library"), &label.into());
            }
        }

        keys
    }

    fn add(&mut self, place: &str, value: &Value) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    self.add(&format!("{place}.{key}"), value);
                }
            }

            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (i, item) in items.iter().enumerate() {
                    self.add(&format!("{place}[{i}]"), item);
                }
            }

            value => {
                self.0.insert(place.to_owned(), value.to_string());
            }
        }
    }

    /// The keys that are different in `new`, in the order of their names.
    pub fn changes_to(&self, new: &ConfigKeys) -> Vec<KeyChange> {
        // Both ways: a key may be gone, or new. Equal text is an equal value, because both come from one
        // reader.
        let mut changes = vec![];

        for (key, old) in &self.0 {
            let new = new.0.get(key);

            if new != Some(old) {
                changes.push(KeyChange {
                    key: key.clone(),
                    old: Some(old.clone()),
                    new: new.cloned(),
                });
            }
        }

        for (key, new) in &new.0 {
            if !self.0.contains_key(key) {
                changes.push(KeyChange {
                    key: key.clone(),
                    old: None,
                    new: Some(new.clone()),
                });
            }
        }

        changes.sort_by(|a, b| a.key.cmp(&b.key));

        changes
    }

    /// All keys with their values, one a line, without secrets: for people who help.
    pub fn told(&self) -> Vec<String> {
        let keys = self.0.iter();

        keys.map(|(key, value)| format!("{key} = {}", without_secrets(key, value)))
            .collect()
    }

    /// Takes a change over: it is in force.
    pub fn take_over(&mut self, change: &KeyChange) {
        match &change.new {
            Some(value) => self.0.insert(change.key.clone(), value.clone()),
            None => self.0.remove(&change.key),
        };
    }
}

impl Display for KeyChange {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let old = shown(&self.key, self.old.as_deref());
        let new = shown(&self.key, self.new.as_deref());

        write!(to, "{}: {old} -> {new}", self.key)
    }
}

/// A value as it is told. Secrets are not: neither those that a key is named after, nor a password within
/// an address.
fn shown(key: &str, value: Option<&str>) -> String {
    let Some(value) = value else {
        return "not given".to_owned();
    };

    let value = without_secrets(key, value);

    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value,
    }
}

/// A value without what is secret in it.
fn without_secrets(key: &str, value: &str) -> String {
    // The last word of the key decides. The name of a file with a secret is none, and helps a person.
    let name = key.rsplit('.').next().unwrap_or(key);

    if is_secret_name(name) && !KEY_FILES.contains(&key) {
        return HIDDEN.to_owned();
    }

    // Texts are looked at as they stand in the file, without the escapes of JSON: quotes say where a secret ends.
    match serde_json::from_str(value) {
        Ok(text @ Value::String(_)) => hidden(text).to_string(),
        Ok(list @ Value::Array(_)) if value.contains('"') => hidden(list).to_string(),
        _ => without_credentials(value),
    }
}

/// Texts without their secrets.
fn hidden(value: Value) -> Value {
    match value {
        Value::String(text) => without_credentials(&text).into(),
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(file: &Value) -> ConfigKeys {
        ConfigKeys::of(file, [])
    }

    #[test]
    fn all_keys_are_told_without_secrets() {
        let file = json!({
            "station": "box",
            "mqtt": {"password": "hush-1", "password_file": "/etc/pw", "host": "mqtts://u:hush-2@b"},
            "camera": [
                {"url": "rtsp://admin:hush-3@10.0.0.7/1", "token": "hush-4"},
                {"pipeline": "rtspsrc user-pw=hush-5 ! http://h/?pwd=hush-6&x=1"},
                {"pipeline": "rtspsrc extra-headers=\"h,Authorization=(string)\\\"Basic hush-7\\\"\" ! x"},
                {"texts": ["psk=hush-8", "plain"], "key": "hush-9"},
            ],
            "page": {"key": "/etc/page.pem"},
        });

        let told = keys(&file).told().join("\n");
        assert!(!told.contains("hush"), "{told}");
        for line in [
            "station = \"box\"",
            "mqtt.password = ***",
            "mqtt.password_file = \"/etc/pw\"",
            "camera[0].url = \"rtsp://***@10.0.0.7/1\"",
            "camera[0].token = ***",
            "camera[1].pipeline = \"rtspsrc user-pw=*** ! http://h/?pwd=***&x=1\"",
            "camera[2].pipeline = \"rtspsrc extra-headers=*** ! x\"",
            "camera[3].texts = [\"psk=***\",\"plain\"]",
            "page.key = \"/etc/page.pem\"",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
    }

    #[test]
    fn a_change_is_told_by_key_old_and_new() {
        let old = keys(
            &json!({"station": "box", "mqtt": {"port": 1883, "user": "a"},
            "camera": [{"name": "top", "fps": 5}]}),
        );

        let new = keys(&json!({"station": "box", "mqtt": {"port": 1884},
            "camera": [{"name": "top", "fps": 5}, {"name": "side"}]}));

        let changes = old.changes_to(&new);
        let told: Vec<String> = changes.iter().map(KeyChange::to_string).collect();
        assert_eq!(
            told,
            [
                "camera[1].name: not given -> \"side\"",
                "mqtt.port: 1883 -> 1884",
                "mqtt.user: \"a\" -> not given",
            ]
        );

        let mut running = old.clone();
        changes.iter().for_each(|change| running.take_over(change));
        assert_eq!(running, new);
        assert_eq!(old.changes_to(&old), []);
    }

    #[test]
    fn secrets_are_not_shown() {
        let hidden = |key: &str, value: &str| {
            let change = KeyChange {
                key: key.to_owned(),
                old: None,
                new: Some(value.to_owned()),
            };

            change.to_string()
        };

        for (key, value) in [
            ("mqtt.password", "\"hush\""),
            ("camera[0].location", "\"rtsp://admin:hush@cam/1\""),
            ("camera[0].location", "\"rtsp://hush@cam\""),
            (
                "camera[0].pipeline",
                "\"rtspsrc location=rtsp://a:hush@b ! x rtsp://c:hush@d/\"",
            ),
            (
                "camera[0].pipeline",
                "\"rtspsrc location=rtsp://a:hush/hush@b user-pw=hush ! x\"",
            ),
            ("camera[0].user_pw", "\"hush\""),
        ] {
            let told = hidden(key, value);
            assert!(!told.contains("hush") && told.contains("***"), "{told}");
        }

        let file = hidden("mqtt.password_file", "\"/etc/broker\"");
        assert!(file.contains("/etc/broker"), "{file}");
        let plain = hidden("camera[0].location", "\"rtsp://cam/1?u=a@b\"");
        assert!(plain.contains("rtsp://cam/1?u=a@b"), "{plain}");
        assert!(hidden("a", &"x".repeat(500)).len() < 200);
    }
}
