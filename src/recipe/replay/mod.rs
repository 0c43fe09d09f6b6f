//! Stored parts are judged again: by the recipe as it is now, by another one or another revision, under another
//! threshold.
//!
//! ```text
//! evidence folder --listing.rs--> kept parts --Replayer (judge.rs)--> Replayed --ReplaySummary (summary.rs)--> counts
//!                                                  |                                 |
//!                                     quality gate, inspector, threshold     Effect (what_if.rs), with the known bad parts
//! ```
//! **Bit for bit.** A part's facts name the revision, the model, the references, the engine and the processor that judged it,
//! and its place among the pictures that were judged at once. Where all of them are the same, and the picture was kept
//! without loss, score and map must be the same bytes, and [`Bytes`] says whether they are. The processor judges each
//! picture by itself, so that other pictures of a batch do not matter there. A GPU runs other kernels for other numbers of
//! pictures: there the picture is judged as often at once, at its own place. What the other pictures show does not touch it.
//!
//! **What cannot be seen again**: flaws of the stream. A frozen picture is known by the ones before, a corrupt one by the packets
//! that it came in; such parts are not judged ([`NotJudged::Stream`]).
//!
//! Files are read and none is written; one picture is in memory at a time.

mod judge;
mod listing;
mod nearest;
mod summary;
mod what_if;

pub use self::judge::{GivenThreshold, ReplayError, Replayer};
pub use self::listing::{KeptQuery, ListedPart, list};
pub use self::nearest::NearestReferences;
pub use self::summary::ReplaySummary;
pub use self::what_if::Effect;

use crate::data::verdict::{Reason, Verdict};
use crate::evidence::kept::EvidenceError;
use serde::Serialize;

/// A verdict, and what it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// `name@revision` of the recipe.
    pub recipe: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Reason of an undecided verdict.
    pub reason: Option<Reason>,
    /// Its detail in words.
    pub detail: Option<String>,
    /// The score. `None` if it was not scored.
    pub score: Option<f32>,
    /// Score from which the part fails.
    pub threshold: Option<f32>,
}

/// A part that was judged again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// `run/camera/seq`, and the camera that saw it where that is another.
    pub part: String,
    /// The line's own name for the part.
    pub part_id: Option<String>,
    /// Region of interest; `None` if the view shows one part.
    pub region: Option<String>,
    /// The judgement that the line went by.
    pub was: Judgement,
    /// The judgement of now.
    pub now: Judgement,
    /// Whether score and map are those that are kept.
    pub bytes: Bytes,
}

impl Replayed {
    /// True if the verdict is another one.
    pub fn is_changed(&self) -> bool {
        self.was.verdict != self.now.verdict
    }
}

/// The score and map of now beside those that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bytes {
    /// The same, bit for bit.
    Same,
    /// Others, although nothing is known to have changed.
    Other,
    /// The picture was kept as JPEG, which is not the one that was judged.
    Lossy,
    /// Another recipe, revision or set of references judges.
    OtherRecipe,
    /// Another model judges.
    OtherModel,
    /// Another engine or processor judges, or not as many pictures at once.
    OtherEngine,
    /// An earlier winspect kept the part, and did not say what judged it.
    Unsaid,
    /// The part was not scored, then or now.
    NotScored,
}

impl Bytes {
    /// The reason in words; `None` where both were compared.
    pub fn why_not(self) -> Option<&'static str> {
        match self {
            Bytes::Same | Bytes::Other => None,
            Bytes::Lossy => Some("kept as JPEG"),
            Bytes::OtherRecipe => Some("another recipe, revision or set of references"),
            Bytes::OtherModel => Some("another model"),
            Bytes::OtherEngine => Some("another engine, processor or batch"),
            Bytes::Unsaid => Some("kept by an earlier winspect"),
            Bytes::NotScored => Some("not scored"),
        }
    }
}

/// Reason why a stored part is not judged again.
#[derive(Debug, thiserror::Error)]
pub enum NotJudged {
    /// No picture of it came.
    #[error("{0}")]
    NoPicture(EvidenceError),
    /// Its files are damaged or gone.
    #[error("{0}")]
    Damaged(EvidenceError),
    /// A later winspect kept it.
    #[error("{0}")]
    LaterVersion(EvidenceError),
    /// A recipe of another name judged it: it may be another product.
    #[error("recipe {0} judged it")]
    OtherRecipe(String),
    /// The revision that judged it is gone.
    #[error("{0} is not in the recipe library any more")]
    NoRevision(String),
    /// The recipe that is to judge it cannot be prepared, or its revision cannot be held.
    #[error("{0}")]
    Unprepared(String),
    /// The recipe has no region of that name.
    #[error("the recipe has no region {0:?}")]
    NoRegion(String),
    /// Its flaw is one of the stream.
    #[error("its flaw is one of the stream, which one picture does not show ({0})")]
    Stream(String),
}

impl NotJudged {
    /// The kind in words, after "because".
    pub fn kind(&self) -> &'static str {
        match self {
            NotJudged::NoPicture(_) => "no picture came",
            NotJudged::Damaged(_) => "their files are damaged",
            NotJudged::LaterVersion(_) => "a later winspect kept them",
            NotJudged::OtherRecipe(_) => "another recipe judged them",
            NotJudged::NoRevision(_) => "the revision that judged them is gone",
            NotJudged::Unprepared(_) => "their recipe cannot be prepared",
            NotJudged::NoRegion(_) => "the recipe has no such region",
            NotJudged::Stream(_) => "their flaw was one of the stream",
        }
    }

    /// True for a fault of the files, which a person should look at.
    pub fn is_fault(&self) -> bool {
        matches!(self, NotJudged::Damaged(_) | NotJudged::LaterVersion(_))
    }

    /// The reason why a part or its picture cannot be read.
    pub(super) fn of(error: EvidenceError) -> Self {
        match error {
            EvidenceError::NoPicture { .. } => NotJudged::NoPicture(error),
            EvidenceError::LaterFacts { .. } => NotJudged::LaterVersion(error),
            _ => NotJudged::Damaged(error),
        }
    }
}
