//! JSON of a message.

use crate::data::result::Versioned;
use serde::Serialize;

/// The bytes of a message under today's schema.
pub(super) fn encode(content: impl Serialize) -> Vec<u8> {
    // Messages hold strings, numbers and lists: nothing that JSON cannot say.
    serde_json::to_vec(&Versioned::new(content)).expect("messages are plain values")
}

/// The same as text.
pub(super) fn encode_text(content: impl Serialize) -> String {
    // The store and the control socket keep text rather than bytes.
    serde_json::to_string(&Versioned::new(content)).expect("messages are plain values")
}
