//! Does a new plan of the GPU's network say what the CPU says? Both judge the same pictures by the same recipe, taught
//! with the same references; a plan that is too far off must not serve.

use super::inspector::{InspectError, Inspector, RegionScore};
use super::recipe::{Recipe, Region};
use crate::data::picture::Picture;
use crate::engine::network::Precision;
use crate::engine::{EncodePlan, Encoder};
use crate::model::ModelSpec;
use ndarray::Array2;

/// The largest difference between the two, of scores and of cells of maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    pub score: f32,
    pub map: f32,
}

impl Parity {
    /// What a network of this precision may be off by. Half precision: a weight and a value have 11 bits.
    pub fn limits(precision: Precision) -> Self {
        match precision {
            Precision::Fp16 => Parity {
                score: 1e-2,
                map: 2e-2,
            },
            Precision::Fp32 => Parity {
                score: 1e-3,
                map: 1e-3,
            },
        }
    }

    /// Or as far as these two judgements of a picture are from each other.
    fn with(self, judged: &[RegionScore], expected: &[RegionScore]) -> Self {
        let pairs = judged.iter().zip(expected);
        pairs.fold(self, |far, (a, b)| {
            let cells = a.map.values().iter().zip(b.map.values());
            let is_whole = a.map.values().len() == b.map.values().len();
            let nothing = if is_whole { far.map } else { f32::NAN };
            Parity {
                score: farther(far.score, a.score - b.score),
                map: cells.fold(nothing, |far, (a, b)| farther(far, a - b)),
            }
        })
    }

    pub fn is_within(&self, limits: &Parity) -> bool {
        // NaN is not.
        self.score <= limits.score && self.map <= limits.map
    }
}

impl std::fmt::Display for Parity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "scores off by {:.5}, maps by {:.5}",
            self.score, self.map
        )
    }
}

/// What is compared.
pub struct Comparison<'a> {
    pub recipe: &'a Recipe,
    pub spec: &'a ModelSpec,
    /// What both encoders were opened with.
    pub plan: &'a EncodePlan,
    /// As [`Inspector::prepare`] takes them.
    pub prototypes: Option<&'a Array2<f32>>,
}

impl Comparison<'_> {
    /// Judges drawn pictures with both, one by one and together, with references and by words alone where the plan allows it; gives the first
    /// encoder back.
    ///
    /// # Errors
    /// When either cannot judge.
    pub fn run(
        &self,
        mut one: Box<dyn Encoder>,
        mut other: Box<dyn Encoder>,
    ) -> Result<(Parity, Box<dyn Encoder>), InspectError> {
        let mut parity = Parity {
            score: 0.0,
            map: 0.0,
        };
        let pictures: Vec<Picture> = (0..4).map(drawn).collect();
        for references in [&pictures[..2], &[]] {
            if !self.allows(!references.is_empty()) {
                continue;
            }
            let mut first = self.inspector(one, references)?;
            let mut second = self.inspector(other, references)?;
            // As many at once as an engine may take, and one: other numbers are other kernels of the library's.
            for together in [&pictures[..], &pictures[2..3]] {
                let together: Vec<&Picture> = together.iter().collect();
                let judged =
                    [&mut first, &mut second].map(|inspector| inspector.judge_all(&together));
                let [judged, expected] = judged;
                for (judged, expected) in judged?.into_iter().zip(expected?) {
                    parity = parity.with(&judged?, &expected?);
                }
            }
            (one, other) = (first.into_encoder(), second.into_encoder());
        }
        Ok((parity, one))
    }

    /// Whether the plan computes what the recipe needs with or without references.
    fn allows(&self, with_references: bool) -> bool {
        self.whole()
            .encode_plan(self.spec, with_references)
            .is_ok_and(|needed| {
                let has = self.plan;
                (has.image || !needed.image)
                    && needed
                        .patches
                        .first()
                        .is_none_or(|layer| has.patches.first() == Some(layer))
                    && needed.scales.iter().all(|scale| has.scales.contains(scale))
            })
    }

    fn inspector(
        &self,
        encoder: Box<dyn Encoder>,
        references: &[Picture],
    ) -> Result<Inspector, InspectError> {
        let (recipe, prototypes) = (self.whole(), self.prototypes.cloned());
        Inspector::prepare(
            &recipe,
            self.spec,
            self.plan,
            encoder,
            prototypes,
            references,
            &mut |_, _| (),
        )
    }

    /// The recipe for pictures of any size.
    fn whole(&self) -> Recipe {
        Recipe {
            regions: vec![Region::default()],
            tile_px: None,
            ..self.recipe.clone()
        }
    }
}

/// The larger one; what is not a number is larger than any, and stays.
fn farther(so_far: f32, difference: f32) -> f32 {
    if so_far.is_nan() || difference.is_nan() {
        f32::NAN
    } else {
        so_far.max(difference.abs())
    }
}

/// A smooth surface with grain, and from the third on a scratch: what is compared is arithmetic, not taste.
fn drawn(number: usize) -> Picture {
    const SIDE: usize = 320;
    let mut grain = 0x9e37_79b9_u32.wrapping_mul(number as u32 + 1);
    let mut rgb = Vec::with_capacity(3 * SIDE * SIDE);
    for (row, column) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |column| (row, column))) {
        let wave =
            ((row as f32 / 23.0).sin() + (column as f32 / 31.0 + number as f32).cos()) * 30.0;
        grain ^= grain << 13;
        grain ^= grain >> 17;
        grain ^= grain << 5;
        let is_scratched =
            number >= 2 && row.abs_diff(column / 2 + 60) < 5 && (80..240).contains(&column);
        let level = if is_scratched {
            230.0
        } else {
            120.0 + wave + (grain % 24) as f32
        };
        rgb.extend([level, level * 0.9, level * 0.8].map(|value| value as u8));
    }
    Picture::new(SIDE, SIDE, rgb).expect("filled row by row")
}
