//! The references of an inspector: encoded in all ways of the recipe, handed to the scorers and to the
//! engine's device.

use super::features::EncodedRegion;
use super::{InspectError, Inspector, PicturePixels, RegionFeatures};
use crate::data::picture::Picture;
use crate::engine::device_scorer::ReferenceBank;
use crate::engine::{EngineError, Features};
use crate::winclip::region::{RegionInspector, RegionPixels};
use crate::winclip::scorer::Scorer;

/// Bytes of all galleries together, at most: beyond it, comparing takes many times as long as encoding.
const GALLERIES_MAX: usize = 8 << 30;

/// Pairs of a row and a chosen one, at most, that thinning compares: tens of seconds of one core for
/// vectors of 384 values. 64 references of 256 cells, thinned to the rows of 8, are 34 million.
const PAIRS_MAX: usize = 1_000_000_000;

impl Inspector {
    /// Features of a picture of a good part, in all ways that the recipe looks at it.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn encode_reference(&mut self, picture: &Picture) -> Result<RegionFeatures, InspectError> {
        // The picture's own way is that of an inspected one, bit by bit.
        let seen = self.seen(picture)?;
        let mut pixels = self.pixels(seen)?;

        // Nothing is drawn of a reference.
        pixels.aligned = None;
        let mut encoded = self.encode_one(&pixels)?;

        // One way after the other: a start has time, and all at once would need the memory of eight
        // pictures.
        for way in self.ways.clone() {
            let turned = pixels
                .regions
                .iter()
                .map(|region| RegionPixels {
                    crops: region.crops.iter().map(|crop| way.of(crop)).collect(),
                    area: region.area,
                })
                .collect();

            let other = self.encode_one(&PicturePixels {
                regions: turned,
                aligned: None,
            })?;

            for (region, of_way) in encoded.regions.iter_mut().zip(other.regions) {
                region.turned.push(of_way.crops);
            }
        }

        Ok(encoded)
    }

    /// Replaces the references by these, from its own [`Inspector::encode_reference`]. Looks of bad parts,
    /// which depend on them, are forgotten.
    ///
    /// # Errors
    /// When they are more than can be compared with, or the engine's device has no room for them.
    pub fn set_references(&mut self, references: Vec<RegionFeatures>) -> Result<(), EngineError> {
        self.check_thinning(&references)?;

        // Region `index` of each reference goes to region `index` of the recipe: features of
        // another place would be compared with the wrong part of the picture.
        for (index, region) in self.regions.iter_mut().enumerate() {
            let of_region: Vec<Vec<&[Features]>> = references
                .iter()
                .map(|picture| picture.regions[index].all_ways())
                .collect();

            // Each crop has a scorer. The prototypes `[2, E]` and the parameters are the recipe's,
            // hence the same for all crops.
            region.set_references(&of_region, |features, mask| {
                let prototypes = self.prototypes.as_ref().map(|raw| raw.view());
                let parameters = self.parameters.clone();
                Scorer::new(parameters, &self.scales, prototypes, features, mask)
            });
        }

        // The references stay here as features, which is what `leave_one_out` compares with each
        // other.
        let count = references.len();
        self.references = references;
        self.left_out = None;

        let banks = self
            .regions
            .iter()
            .flat_map(RegionInspector::reference_banks);
        check_size(banks, count, 1 + self.ways.len())?;

        self.send_banks()
    }
}

impl Inspector {
    /// Refuses to thin galleries that are too large for it.
    fn check_thinning(&self, references: &[RegionFeatures]) -> Result<(), EngineError> {
        let Some(thin_to) = self.parameters.thin_to else {
            return Ok(());
        };

        // Windows have about as many places as there are cells.
        // All crops of a recipe have one grid, so that the first one tells it.
        let first = references.iter().flat_map(|picture| &picture.regions);
        let first = first.flat_map(|region| &region.crops).next();
        let cells = first.map_or(0, |crop| crop.grid.cells());

        // Each picture has its rows once as it is, and once for each way in which it is turned.
        let ways = 1 + self.ways.len();
        let rows = references.len() * ways * cells;

        let kept = thin_to * cells;
        if kept >= rows || rows.saturating_mul(kept) <= PAIRS_MAX {
            return Ok(());
        }

        Err(EngineError::Plan(format!(
            "thin_to: choosing {kept} of {rows} rows takes too long (at most {PAIRS_MAX} pairs are compared); take fewer references, a smaller thin_to, or a smaller input"
        )))
    }
}

impl EncodedRegion {
    /// The crops in each way, the picture's own first.
    pub(super) fn all_ways(&self) -> Vec<&[Features]> {
        let mut ways = vec![self.crops.as_slice()];

        for turned in &self.turned {
            ways.push(turned);
        }

        ways
    }
}

/// Refuses galleries beyond the bound.
fn check_size<'a>(
    banks: impl Iterator<Item = ReferenceBank<'a>>,
    references: usize,
    ways: usize,
) -> Result<(), EngineError> {
    // Unit features of all maps of all crops, as they are compared with.
    let galleries = banks.flat_map(|bank| bank.galleries);
    let bytes: usize = galleries
        .map(|(_, rows)| rows.len() * size_of::<f32>())
        .sum();

    if bytes <= GALLERIES_MAX {
        return Ok(());
    }

    let mb = bytes >> 20;
    let most = GALLERIES_MAX >> 20;
    Err(EngineError::Plan(format!(
        "references: {references} pictures in {ways} ways are {mb} MB of features to compare with (at most {most}); take fewer references, thin_to, a larger tile_px, turned = \"none\", or a smaller input"
    )))
}
