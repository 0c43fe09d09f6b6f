//! A part on its way to pictures for people: its report, and the picture that stands for it.

use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A part with the picture that stands for it. May be dropped, is never waited for.
#[derive(Debug, Clone)]
pub struct ShownPart {
    /// The result.
    pub report: Arc<Report>,
    /// The picture.
    pub picture: ShownPicture,
    /// The picture with the part at its place, over which the map lies; `None` where the camera's was judged as it is.
    pub aligned: Option<Arc<Picture>>,
    /// Other parts on the same picture, one a region: their numbers and verdicts.
    pub beside: Vec<(u64, Verdict)>,
    /// True if it was judged after its deadline: the result that stands is `undecided(late)`.
    pub is_late: bool,
    /// What judged it beside its recipe. `None` if no score was asked for, or nobody will want to know.
    pub judged_by: Option<JudgedBy>,
}

/// What judged a part beside its recipe: by the same its score and map come out again, bit for bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedBy {
    /// Engine and precision: `onnx-fp32`.
    pub backend: String,
    /// The processor or GPU.
    pub device: String,
    /// Name and digest of the model.
    pub model: String,
    /// Hash of the references' pixels; `None` without any.
    pub gallery: Option<String>,
    /// Pictures that were judged at once.
    pub batch: BatchPlace,
}

/// The place of a picture among those that were judged at once: on a GPU their number decides by which kernels, and so
/// the last bits of each score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlace {
    /// Number of the pictures, at least 1.
    pub pictures: usize,
    /// Place of this one, counted from 0.
    pub place: usize,
}

/// The picture that stands for a part.
#[derive(Debug, Clone)]
pub enum ShownPicture {
    /// The part's own.
    Own(Arc<Picture>),
    /// The last one of its camera, and when it was captured: none of the part came.
    Earlier(Arc<Picture>, Timestamp),
    /// Its camera has given none.
    Missing,
}

impl ShownPart {
    /// The picture over which the map lies; `None` where none of the part came.
    pub fn judged(&self) -> Option<&Arc<Picture>> {
        self.aligned.as_ref().or(self.picture.own())
    }
}

impl ShownPicture {
    /// The part's own picture; `None` where another stands for it.
    pub fn own(&self) -> Option<&Arc<Picture>> {
        match self {
            ShownPicture::Own(picture) => Some(picture),
            ShownPicture::Earlier(..) | ShownPicture::Missing => None,
        }
    }
}
