//! Style and script of the page, with the tags by which browsers keep them.

use crate::base::hex::hex;
use sha2::{Digest, Sha256};

/// A file that is part of the program.
pub struct Asset {
    /// Media type.
    pub kind: &'static str,
    /// Content.
    pub text: &'static str,
    /// Entity tag: a hash of the content, in quotes.
    pub tag: String,
}

/// All of them.
pub struct Assets {
    /// The style sheet.
    pub style: Asset,
    /// The script.
    pub script: Asset,
    /// The version of what a browser has loaded: with another one it loads the page anew.
    pub build: String,
}

impl Assets {
    /// The files of this program.
    pub fn new() -> Self {
        let style = Asset::new("text/css; charset=utf-8", include_str!("assets/page.css"));
        let kind = "text/javascript; charset=utf-8";
        let script = Asset::new(kind, include_str!("assets/page.js"));
        let build = format!("{}{}", style.tag, script.tag).replace('"', "");
        Assets {
            style,
            script,
            build,
        }
    }
}

impl Asset {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let hash = hex(&Sha256::digest(text.as_bytes()));
        Asset {
            kind,
            text,
            tag: format!("\"{}\"", &hash[..16]),
        }
    }
}
