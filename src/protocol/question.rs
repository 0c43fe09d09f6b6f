//! The question that a command asks: an id stands for one, and another one under the same id is
//! refused instead of being answered with the first one's answer.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Hash of a command without its id, the same for every order of its keys.
pub(super) fn question(name: &str, payload: &[u8]) -> String {
    // Sorted by key. A key that is null is as good as none.
    let mut content: BTreeMap<String, Value> = serde_json::from_slice(payload).unwrap_or_default();
    content.remove("id");
    content.retain(|_, value| !value.is_null());
    let mut sum = Sha256::new();
    sum.update(name);
    for (key, value) in content {
        sum.update(format!("\n{key}={value}"));
    }

    let digest = sum.finalize();
    let mut hex = String::new();
    // Eight bytes tell commands apart; this is no protection against forgery.
    for byte in &digest[..8] {
        hex += &format!("{byte:02x}");
    }

    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_the_same_in_every_order_and_another_for_every_other_content() {
        let question = |name: &str, payload: &str| question(name, payload.as_bytes());
        let first = question("trigger", r#"{"id":"1","part_id":"A","count":7}"#);
        for same in [
            r#"{"count":7, "part_id":"A", "id":"1"}"#,
            r#"{"id":"2","part_id":"A","count":7,"at":null}"#,
        ] {
            assert_eq!(question("trigger", same), first, "{same}");
        }

        for other in [
            r#"{"id":"1","part_id":"B","count":7}"#,
            r#"{"id":"1","part_id":"A","count":8}"#,
            r#"{"id":"1","part_id":"A"}"#,
            r#"{"id":"1"}"#,
        ] {
            assert_ne!(question("trigger", other), first, "{other}");
        }

        let pause = question("pause", r#"{"id":"1"}"#);
        assert_ne!(question("resume", r#"{"id":"1"}"#), pause);
    }
}
