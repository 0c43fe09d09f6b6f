//! Facts beside a kept picture: what was judged, how, and by what, in a small JSON file.

use super::rule::KeptAs;
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::Area;
use crate::data::report::Report;
use crate::data::result::PoseOnWire;
use crate::data::shown_part::{JudgedBy, ShownPart, ShownPicture};
use crate::data::verdict::{Defect, Reason, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Pixels of a side at most; a file that a person wrote may say anything.
const SIDE_MAX: usize = 1 << 20;
/// Version of the form; a file of a later one is refused.
const VERSION: u32 = 1;

/// The facts of one kept part. `run_id`, `camera` and `seq` are the key of its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the form.
    evidence: u32,
    /// The run that accepted the part.
    pub run_id: String,
    /// The part's camera, or the name that several share.
    pub camera: String,
    /// Number within the run and camera.
    pub seq: u64,
    /// The camera whose picture it is.
    pub seen_by: String,
    /// Region of interest; `None` if the view shows one part.
    pub region: Option<String>,
    /// The line's own name for the part.
    pub part_id: Option<String>,
    /// Time of capture.
    pub captured_at: Timestamp,
    /// Reason for which it is kept.
    pub kept_as: KeptAs,
    /// The verdict.
    pub verdict: Verdict,
    /// Reason of an undecided verdict.
    pub reason: Option<Reason>,
    /// Its detail in words.
    pub detail: Option<String>,
    /// True if it was judged after its deadline: the result that stands is `undecided(late)`.
    pub is_late: bool,
    /// Score. `None` if it was not scored.
    pub score: Option<f32>,
    /// Score from which the part fails.
    pub threshold: Option<f32>,
    /// `name@revision` of the recipe.
    pub recipe: String,
    /// What judged it beside the recipe. `None` if it was not scored, or an earlier version kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<JudgedBy>,
    /// Areas where a person should look, the highest peak first.
    pub defects: Vec<Defect>,
    /// Other parts on the same picture, one a region.
    pub beside: Vec<BesidePart>,
    /// The anomaly map. `None` if the part was not scored.
    pub map: Option<MapFacts>,
    /// Place and turn of the part in the camera's picture, where the recipe locates parts: map and defects lie over
    /// the picture that is turned back by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pose: Option<PoseOnWire>,
    /// The camera's picture. `None` if none of the part came.
    pub picture: Option<PictureFacts>,
    /// Time of the earlier picture that the picture for people shows, where none of the part came.
    pub earlier_at: Option<Timestamp>,
}

/// Another part on the same picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BesidePart {
    /// Its number.
    pub seq: u64,
    /// Its verdict.
    pub verdict: Verdict,
}

/// An anomaly map and its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapFacts {
    /// Columns.
    pub w: usize,
    /// Rows.
    pub h: usize,
    /// The part of the picture that it covers: x, y, width, height in pixels.
    pub area: [usize; 4],
    /// Values, row-major.
    pub values: Vec<f32>,
    /// Cells that do not count, by their index.
    pub masked: Vec<usize>,
}

/// A kept picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureFacts {
    /// Name of its file.
    pub file: String,
    /// True if it is the camera's picture bit for bit.
    pub is_lossless: bool,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

/// Reason why facts cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// Their version.
    #[error("is of version {0}, and this winspect reads up to {VERSION}; use the newer winspect")]
    Later(u32),
    /// They are not this program's, by this fault.
    #[error("{0}")]
    Unfit(String),
}

impl Facts {
    /// The facts of a part whose own picture, if there is one, is in the file `file`.
    pub fn of(part: &ShownPart, kept_as: KeptAs, file: String, is_lossless: bool) -> Self {
        let report: &Report = &part.report;
        let request = &report.part.request;
        let earlier_at = match &part.picture {
            ShownPicture::Earlier(_, at) => Some(*at),
            ShownPicture::Own(_) | ShownPicture::Missing => None,
        };

        let beside = part.beside.iter();
        Facts {
            evidence: VERSION,
            run_id: report.part.run_id.to_string(),
            camera: report.part.camera().to_string(),
            seq: report.part.seq,
            seen_by: report.seen_by.to_string(),
            region: request.region.as_deref().map(str::to_owned),
            part_id: request.part_id.clone(),
            captured_at: report.captured_at,
            kept_as,
            verdict: report.verdict,
            reason: report.reason,
            detail: report.detail.clone(),
            is_late: part.is_late,
            score: report.score,
            threshold: report.threshold,
            recipe: report.recipe.to_string(),
            judged_by: part.judged_by.clone(),
            defects: report.defects.clone(),
            beside: beside
                .map(|(seq, verdict)| BesidePart {
                    seq: *seq,
                    verdict: *verdict,
                })
                .collect(),
            map: report.map.as_ref().zip(report.area).map(MapFacts::of),
            pose: report.pose.as_ref().map(PoseOnWire::of),
            picture: part.picture.own().map(|picture| PictureFacts {
                file,
                is_lossless,
                width: picture.width(),
                height: picture.height(),
            }),
            earlier_at,
        }
    }

    /// Reads facts.
    ///
    /// # Errors
    /// When they are not this program's or of a later version.
    pub fn parse(text: &[u8]) -> Result<Self, FactsError> {
        #[derive(Deserialize)]
        struct Version {
            evidence: u32,
        }

        let Version { evidence } =
            serde_json::from_slice(text).map_err(|error| FactsError::Unfit(error.to_string()))?;

        if evidence > VERSION {
            return Err(FactsError::Later(evidence));
        }

        let facts: Facts =
            serde_json::from_slice(text).map_err(|error| FactsError::Unfit(error.to_string()))?;
        match facts.map.as_ref().is_none_or(MapFacts::is_whole) {
            true => Ok(facts),
            false => Err(FactsError::Unfit(
                "has a map without a value for each of its cells".to_owned(),
            )),
        }
    }

    /// The facts as bytes of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers, texts and lists are JSON")
    }
}

impl MapFacts {
    fn of((map, area): (&Map, Area)) -> Self {
        let Area { x, y, w, h } = area;
        let mask = map.mask().unwrap_or_default().iter().enumerate();
        MapFacts {
            w: map.grid().w,
            h: map.grid().h,
            area: [x, y, w, h],
            values: map.values().to_vec(),
            masked: mask
                .filter(|(_, counts)| !**counts)
                .map(|(i, _)| i)
                .collect(),
        }
    }

    fn is_whole(&self) -> bool {
        let count = self.values.len();
        let is_grid = count > 0 && self.w.checked_mul(self.h) == Some(count);
        let is_finite = self.values.iter().all(|value| value.is_finite());

        let [x, y, w, h] = self.area;
        let is_place = [x, y, w, h].iter().all(|side| *side <= SIDE_MAX) && w > 0 && h > 0;

        is_grid && is_finite && is_place && self.masked.iter().all(|cell| *cell < count)
    }

    /// The map and its place.
    pub fn map(&self) -> (Map, Area) {
        let grid = Grid {
            w: self.w,
            h: self.h,
        };

        let mut map = Map::new(grid, self.values.clone());
        if !self.masked.is_empty() {
            let mut mask = vec![true; self.values.len()];
            self.masked.iter().for_each(|cell| mask[*cell] = false);
            map = map.masked(Some(&mask));
        }

        let [x, y, w, h] = self.area;
        (map, Area { x, y, w, h })
    }
}
