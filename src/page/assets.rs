//! Style and scripts of the page, with the tags by which browsers keep them.

use crate::base::hex::hex;
use sha2::{Digest, Sha256};

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Names, media types and contents of all files.
const FILES: [(&str, &str, &str); 6] = [
    ("page.css", STYLE, include_str!("assets/page.css")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("nearest.js", SCRIPT, include_str!("assets/nearest.js")),
    ("slider.js", SCRIPT, include_str!("assets/slider.js")),
    ("teach.js", SCRIPT, include_str!("teach/teach.js")),
    ("teach.css", STYLE, include_str!("teach/teach.css")),
];

/// A file that is part of the program.
pub struct Asset {
    /// Name in its address.
    name: &'static str,
    /// Media type.
    pub kind: &'static str,
    /// Content.
    pub text: &'static str,
    /// Entity tag: a hash of the content, in quotes.
    pub tag: String,
}

/// All of them.
pub struct Assets {
    files: Vec<Asset>,
    /// The version of what a browser has loaded: with another one it loads the page anew.
    pub build: String,
}

impl Assets {
    /// The files of this program.
    pub fn new() -> Self {
        let files: Vec<Asset> = FILES.map(Asset::new).into();
        let all: String = files.iter().map(|file| file.tag.as_str()).collect();
        let hash = hex(&Sha256::digest(all.as_bytes()));
        Assets {
            files,
            build: hash[..16].to_owned(),
        }
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&Asset> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Asset {
    fn new((name, kind, text): (&'static str, &'static str, &'static str)) -> Self {
        let hash = hex(&Sha256::digest(text.as_bytes()));
        Asset {
            name,
            kind,
            text,
            tag: format!("\"{}\"", &hash[..16]),
        }
    }
}
