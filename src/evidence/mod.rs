//! The evidence store: pictures of parts beside the results, to look at, to judge again and to teach with.
//!
//! ```text
//! report -- rule: is it kept? --> picture, facts, picture of the part --> files of one name --> pruned by listing
//!                                                                            |
//!                                           find by run, camera, seq <-------/
//! ```
//! A kept part has up to four files, whose names have one stem:
//! `2026-11-28T20-36-02.557Z_top_000011_fail_A-77812_4QZK7M`: time of the picture, the camera that saw the
//! part, number, verdict, the part's id, and the end of the run's id.
//!
//! | file | content |
//! |---|---|
//! | `<stem>.png`, or `.jpg` where the line says so | the camera's picture, whole and in its own size |
//! | `<stem>.json` | the facts: verdict, score, threshold, defects, map; written last, so that it stands for the others |
//! | `<stem>_part.jpg` | the picture of the part, for people |
//! | `<stem>_small.jpg` | the same small, without words, for a list |
//!
//! Nothing else says what is kept: files that a person takes away are gone, and nothing has to be repaired.

pub mod facts;
pub mod folder;
pub mod kept;
pub mod name;
pub mod prune;
pub mod rule;

use self::rule::Rule;
use std::path::PathBuf;
use std::time::Duration;

/// The folder of a line's evidence, its bounds, and what goes there.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceSettings {
    /// The folder; it is made when it is not there.
    pub folder: PathBuf,
    /// Bytes of all files together, at most.
    pub bytes_max: u64,
    /// Age from which a file is removed.
    pub age_max: Duration,
    /// Form of the cameras' pictures.
    pub format: PictureFormat,
    /// Parts that are kept.
    pub rule: Rule,
}

/// Form in which the cameras' pictures are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureFormat {
    /// Without loss: such a picture is judged again and taught as it was.
    #[default]
    Png,
    /// Smaller, and not the same picture any more.
    Jpeg,
}
