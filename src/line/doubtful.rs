//! Doubtful parts, for suggestions: those that passed near their threshold, and those that failed and were called good by a
//! person. The last ones are kept with their pictures.
//!
//! Bounds: [`PARTS_MAX`] parts, [`PICTURE_BYTES`] of pictures; the oldest go first.

use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::protocol::suggestion::Doubt;
use std::collections::VecDeque;
use std::sync::Arc;

/// Doubtful parts that are kept.
pub const PARTS_MAX: usize = 64;
/// Bytes of their pictures. One picture stays, however large it is.
pub const PICTURE_BYTES: usize = 64 << 20;
/// Share of the threshold from which a part that passed is near it. An automatic threshold lies a tenth above what
/// references score, so that such a part scores higher than they do.
pub const NEAR: f32 = 0.9;

/// A part whose verdict is doubtful.
#[derive(Debug, Clone)]
pub struct DoubtfulPart {
    /// Its picture.
    pub picture: Arc<Picture>,
    /// The part: `run/camera/seq`, and the camera that saw it where several see a part.
    pub part: String,
    /// Name of the recipe that judged it.
    pub recipe: String,
    /// Reason of the doubt.
    pub doubt: Doubt,
    /// The region that is doubtful, as it was judged.
    pub margin: Margin,
}

impl DoubtfulPart {
    /// Bytes of its picture.
    pub fn bytes(&self) -> usize {
        let rgb = self.picture.rgb();

        rgb.len()
    }
}

/// The score of a region beside its threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Margin {
    /// The region, where the recipe names regions.
    pub region: Option<Arc<str>>,
    /// Its score.
    pub score: f32,
    /// Its threshold.
    pub threshold: f32,
}

impl Margin {
    /// The region of a frame's parts that has the highest score by its threshold. `None` where nothing was judged by
    /// one.
    pub fn of(reports: &[Report]) -> Option<Self> {
        let judged = reports.iter().filter_map(|report| {
            Some(Margin {
                region: report.part.request.region.clone(),
                score: report.score?,
                threshold: report.threshold.filter(|threshold| *threshold > 0.0)?,
            })
        });

        judged.max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    /// True for a score near its threshold, or above it.
    pub fn is_near(&self) -> bool {
        self.share() >= NEAR
    }

    /// The score by its threshold: from 1 on it fails.
    pub fn share(&self) -> f32 {
        self.score / self.threshold
    }
}

/// The last doubtful parts.
#[derive(Debug, Default)]
pub struct DoubtfulParts {
    parts: VecDeque<DoubtfulPart>,
    bytes: usize,
}

impl DoubtfulParts {
    /// Adds a part, in the place of what was known of it.
    pub fn push(&mut self, part: DoubtfulPart) {
        let name = std::slice::from_ref(&part.part);
        self.forget(name);
        self.bytes += part.bytes();
        self.parts.push_back(part);

        while self.is_full() {
            let Some(oldest) = self.parts.pop_front() else {
                return;
            };

            self.bytes -= oldest.bytes();
        }
    }

    /// True where the oldest has to go. One picture stays, however large it is.
    fn is_full(&self) -> bool {
        let count = self.parts.len();
        let is_many = count > PARTS_MAX;
        let is_large = self.bytes > PICTURE_BYTES;

        is_many || (is_large && count > 1)
    }

    /// The parts that the recipe of that name has judged, the oldest first.
    pub fn of(&self, recipe: &str) -> Vec<DoubtfulPart> {
        let own = self.parts.iter().filter(|part| part.recipe == recipe);

        own.cloned().collect()
    }

    /// Forgets parts: a person has said what they are.
    pub fn forget(&mut self, parts: &[String]) {
        self.parts.retain(|known| {
            let name = &known.part;
            !parts.contains(name)
        });

        let kept = self.parts.iter();
        let bytes = kept.map(DoubtfulPart::bytes);
        self.bytes = bytes.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;

    fn part(name: &str, side: usize) -> DoubtfulPart {
        let picture = Picture::new(side, side, vec![7; side * side * 3]);
        DoubtfulPart {
            picture: Arc::new(picture.expect("a picture")),
            part: name.to_owned(),
            recipe: "nut".to_owned(),
            doubt: Doubt::Near,
            margin: Margin {
                region: None,
                score: 0.3,
                threshold: 0.31,
            },
        }
    }

    #[test]
    fn the_region_nearest_to_its_threshold_is_the_doubtful_one() {
        let scored = |score, threshold| Report {
            score: Some(score),
            threshold,
            ..report(1)
        };

        let margin = |reports: &[Report]| Margin::of(reports);
        let near = margin(&[scored(0.38, Some(0.4))]).expect("judged");
        assert!(near.is_near());
        let far = margin(&[scored(0.35, Some(0.4))]).expect("judged");
        assert!(!far.is_near());
        let two = [scored(0.5, Some(1.0)), scored(0.38, Some(0.4))];
        assert_eq!(margin(&two).map(|margin| margin.score), Some(0.38));
        assert_eq!(margin(&[scored(0.5, None)]), None);
        assert_eq!(margin(&[scored(0.5, Some(0.0))]), None);
        assert_eq!(margin(&[]), None);
    }

    #[test]
    fn the_oldest_go_first_and_a_part_is_kept_once() {
        let mut parts = DoubtfulParts::default();
        (0..PARTS_MAX + 2).for_each(|number| parts.push(part(&number.to_string(), 2)));
        let kept = parts.of("nut");
        assert_eq!((kept.len(), kept[0].part.as_str()), (PARTS_MAX, "2"));
        assert!(parts.of("bolt").is_empty());
        parts.push(DoubtfulPart {
            doubt: Doubt::Overruled,
            ..part("5", 2)
        });

        let kept = parts.of("nut");
        assert_eq!(kept.len(), PARTS_MAX);
        assert_eq!(kept.last().map(|part| part.doubt), Some(Doubt::Overruled));
        parts.forget(&["5".to_owned()]);
        assert_eq!(parts.of("nut").len(), PARTS_MAX - 1);
        // 3 MiB each.
        (0..30).for_each(|number| parts.push(part(&format!("large {number}"), 1024)));
        assert_eq!(parts.of("nut").len(), 21);
        parts.push(part("huge", 5000));
        assert_eq!(parts.of("nut").len(), 1);
    }
}
