//! The comparison of a new plan of the GPU's network with the CPU. Both score the same pictures by
//! the same recipe, with the same references; a plan that is too far off must not be used.

use super::inspector::{InspectError, Inspector, RegionScore};
use super::recipe::{Recipe, Region};
use crate::data::picture::Picture;
use crate::engine::network::Precision;
use crate::engine::{EncodePlan, Encoder};
use crate::model::ModelSpec;
use ndarray::Array2;

/// The largest differences between two engines; NaN if one is not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// Difference of scores.
    pub score: f32,
    /// Difference of cells of maps.
    pub map: f32,
}

impl Parity {
    /// Differences that are accepted of a network of this precision. In half precision, weights and
    /// values have 11 bits.
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

    /// The larger of these differences and those between two scores of the same regions.
    fn widened(self, scores: &[RegionScore], expected: &[RegionScore]) -> Self {
        // The widest difference so far stays; a single cell that is off is enough to refuse a plan.
        let mut widest = self;
        for (a, b) in scores.iter().zip(expected) {
            widest.score = farther(widest.score, a.score - b.score);
            let a = a.map.values();
            let b = b.map.values();
            // Maps of different sizes cannot be compared. NaN is beyond each limit, which refuses
            // the plan.
            if a.len() != b.len() {
                widest.map = f32::NAN;
            }

            for (a, b) in a.iter().zip(b) {
                widest.map = farther(widest.map, a - b);
            }
        }

        widest
    }

    /// True if both differences are at most the limits.
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

/// A comparison of two encoders by one recipe.
pub struct Comparison<'a> {
    /// The recipe; only its parameters count.
    pub recipe: &'a Recipe,
    /// The model of both encoders.
    pub spec: &'a ModelSpec,
    /// The plan that both encoders were opened with.
    pub plan: &'a EncodePlan,
    /// Raw prototypes, see [`Inspector::prepare`].
    pub prototypes: Option<&'a Array2<f32>>,
}

impl Comparison<'_> {
    /// Scores drawn pictures with both encoders, one by one and together, with references and by
    /// words alone where the plan allows it. Returns the first encoder too.
    ///
    /// # Errors
    /// When either encoder fails.
    pub fn run(
        &self,
        mut one: Box<dyn Encoder>,
        mut other: Box<dyn Encoder>,
    ) -> Result<(Parity, Box<dyn Encoder>), InspectError> {
        // The figures begin at zero and only grow.
        let mut parity = Parity {
            score: 0.0,
            map: 0.0,
        };

        // Four drawn pictures serve for both: two as references, all four to be scored. They are
        // the same on every machine, so that figures can be compared.
        let pictures: Vec<Picture> = (0..4).map(drawn).collect();
        // The rounds are with references and without: each has outputs of the network that the
        // other does not use.
        for references in [&pictures[..2], &[]] {
            if !self.allows(!references.is_empty()) {
                continue;
            }

            // Both inspectors hold the same recipe and references, hence differ by their encoders
            // alone.
            let mut first = self.inspector(one, references)?;
            let mut second = self.inspector(other, references)?;
            // As many at once as an engine may take, and one: other numbers are other kernels of
            // the library's.
            for together in [&pictures[..], &pictures[2..3]] {
                let together: Vec<&Picture> = together.iter().collect();
                let scores = first.inspect_all(&together);
                let expected = second.inspect_all(&together);
                for (scores, expected) in scores?.into_iter().zip(expected?) {
                    parity = parity.widened(&scores?, &expected?);
                }
            }

            // The encoders go on to the next round, since an engine is too dear to be opened twice.
            one = first.into_encoder();
            other = second.into_encoder();
        }

        Ok((parity, one))
    }

    /// True if the plan computes everything that the recipe needs with or without references.
    fn allows(&self, with_references: bool) -> bool {
        // A plan that was built for a recipe may lack the outputs of the other round, which is then
        // left out.
        let needed = self.whole().encode_plan(self.spec, with_references);
        needed.is_ok_and(|needed| includes(self.plan, &needed))
    }

    fn inspector(
        &self,
        encoder: Box<dyn Encoder>,
        references: &[Picture],
    ) -> Result<Inspector, InspectError> {
        Inspector::prepare(
            &self.whole(),
            self.spec,
            self.plan,
            encoder,
            self.prototypes.cloned(),
            references,
            &mut |_, _| (),
        )
    }

    /// The recipe for pictures of any size.
    fn whole(&self) -> Recipe {
        // A recipe's regions and tiles are cuts of a plant's own pictures, which the drawn ones
        // cannot have.
        Recipe {
            regions: vec![Region::default()],
            tile_px: None,
            // The drawn pictures are squares.
            picture: None,
            // Drawn pictures show no part.
            locator: None,
            ..self.recipe.clone()
        }
    }
}

/// True if `plan` computes everything that `needed` asks for.
fn includes(plan: &EncodePlan, needed: &EncodePlan) -> bool {
    // The first patch layer of a plan is the recipe's own. It must be the same, as another one has
    // other features.
    let layer = needed.patches.first();
    let has_layer = layer.is_none() || plan.patches.first() == layer;
    // Scales may be more than needed.
    let has_scales = needed
        .scales
        .iter()
        .all(|scale| plan.scales.contains(scale));

    let has_image = plan.image || !needed.image;
    has_image && has_layer && has_scales
}

/// The larger difference. NaN counts as larger than any number, and stays.
fn farther(so_far: f32, difference: f32) -> f32 {
    // `max` would drop a NaN.
    if so_far.is_nan() || difference.is_nan() {
        f32::NAN
    } else {
        so_far.max(difference.abs())
    }
}

/// A smooth surface with grain, and from the third on a scratch. The comparison is of arithmetic,
/// so a drawing is as good as a photo.
fn drawn(number: usize) -> Picture {
    const SIDE: usize = 320;
    // The noise is a xorshift generator's with a seed for each picture, so that all machines draw
    // the same.
    let mut grain = 0x9e37_79b9_u32.wrapping_mul(number as u32 + 1);
    let mut rgb = Vec::with_capacity(3 * SIDE * SIDE);
    for row in 0..SIDE {
        for column in 0..SIDE {
            grain ^= grain << 13;
            grain ^= grain >> 17;
            grain ^= grain << 5;
            // The third and fourth picture have a scratch, which makes them anomalous against the
            // first two.
            let level = if number >= 2 && is_scratched(row, column) {
                230.0
            } else {
                120.0 + wave(row, column, number) + (grain % 24) as f32
            };

            // The three channels are one grey level with a tint: a channel that is swapped by
            // mistake is then seen.
            let colour = [level, level * 0.9, level * 0.8];
            rgb.extend(colour.map(|value| value as u8));
        }
    }

    Picture::new(SIDE, SIDE, rgb).expect("filled row by row")
}

fn is_scratched(row: usize, column: usize) -> bool {
    let middle = column / 2 + 60;
    (80..240).contains(&column) && row.abs_diff(middle) < 5
}

fn wave(row: usize, column: usize, number: usize) -> f32 {
    // The pattern is smooth, of up to 60 grey levels up or down, and another one in each picture.
    let down = (row as f32 / 23.0).sin();
    let across = (column as f32 / 31.0 + number as f32).cos();
    (down + across) * 30.0
}
