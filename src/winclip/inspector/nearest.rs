//! The patch of a reference that is nearest to a place of a picture: what a good part looks like that is most like it.
//!
//! The comparison is that of the patch map, by cosine distance, of the crop that shows the place most closely. All patches of the
//! references are compared with, also those that a thinned gallery has left out.

use super::features::EncodedRegion;
use super::{InspectError, Inspector};
use crate::data::picture::{Area, Picture};
use crate::engine::Features;
use crate::engine::device_scorer::ReferenceBank;
use crate::winclip::looks;
use crate::winclip::pixels::PixelError;
use crate::winclip::region::{RegionInspector, cell_area};
use crate::winclip::scorer::patch_rows;
use crate::winclip::turned::Way;
use crate::winclip::vectors::unit_rows;
use ndarray::{ArrayView1, s};
use std::sync::Arc;

/// A place of a picture beside the nearest patch of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestPatch {
    /// Number of the reference, from 0, in the inspector's order.
    pub reference: usize,
    /// `(1 - cos) / 2` of both patches: 0 for a match, 1 for the opposite.
    pub distance: f32,
    /// The patch in the picture as it was judged.
    pub found: Area,
    /// The patch in the reference as it was judged.
    pub looked_for: Area,
    /// The way in which the reference was looked at; `None` for its own.
    pub way: Option<Way>,
    /// True if the place is known again as a known bad part's, which raises its value.
    pub is_known_bad: bool,
}

/// The places of a picture that were compared with the references.
pub struct ComparedPlaces {
    /// The picture as it was judged.
    pub judged: Arc<Picture>,
    /// One entry a place, in order; `None` for a place that is not compared: it is masked, or beyond the region.
    pub nearest: Vec<Option<NearestPatch>>,
}

/// The nearest of all patches so far.
struct Best {
    cosine: f32,
    reference: usize,
    way: Option<usize>,
    cell: usize,
}

impl Inspector {
    /// True if patches are compared with those of references, so that one of them is the nearest.
    pub fn has_nearest_patches(&self) -> bool {
        self.learns_looks()
    }

    /// True if the recipe compares with some patches of each reference alone.
    pub fn is_thinned(&self) -> bool {
        self.parameters.thin_to.is_some()
    }

    /// The picture as it is judged: with the part at its place, where the recipe locates it.
    ///
    /// # Errors
    /// When no part is found.
    pub fn judged_picture(&self, picture: Picture) -> Result<Arc<Picture>, PixelError> {
        let aligned = self.seen(&picture)?.aligned;

        Ok(match aligned {
            Some(aligned) => aligned.picture,
            None => Arc::new(picture),
        })
    }

    /// The nearest patch of a reference for each place of a region, in pixels of the judged picture. `region` counts in the
    /// recipe's order.
    ///
    /// # Errors
    /// When the picture does not fit the recipe, or the engine fails.
    pub fn nearest_patches(
        &mut self,
        picture: Picture,
        region: usize,
        places: &[(f64, f64)],
    ) -> Result<ComparedPlaces, InspectError> {
        let features = self.encode(&picture)?;
        let encoded = &features.regions[region];
        let nearest = places.iter().map(|place| {
            let (crop, cell) =
                self.regions[region].closest_cell(&encoded.crops, encoded.area, *place)?;
            self.nearest_of(region, encoded, crop, cell)
        });

        let nearest = nearest.collect();
        let aligned = features.aligned;
        Ok(ComparedPlaces {
            judged: aligned.map_or_else(|| Arc::new(picture), |aligned| aligned.picture),
            nearest,
        })
    }

    /// The nearest patch of a reference to a cell of a crop.
    fn nearest_of(
        &self,
        region: usize,
        encoded: &EncodedRegion,
        crop: usize,
        cell: usize,
    ) -> Option<NearestPatch> {
        let inspector: &RegionInspector = &self.regions[region];
        let bank: ReferenceBank = inspector.reference_banks().nth(crop)?;
        let features = &encoded.crops[crop];
        let query = unit_rows(patch_rows(features, &[cell]).view());
        let query = query.row(0);

        let mut best: Option<Best> = None;
        for (number, reference) in self.references.iter().enumerate() {
            let ways = reference.regions[region].all_ways();

            for (way, crops) in ways.into_iter().enumerate() {
                let Some((cell, cosine)) = nearest_cell(query, &crops[crop], bank.mask) else {
                    continue;
                };

                // Of equal ones the first, so that the same picture always has the same answer.
                if best.as_ref().is_none_or(|best| cosine > best.cosine) {
                    best = Some(Best {
                        cosine,
                        reference: number,
                        way: way.checked_sub(1),
                        cell,
                    });
                }
            }
        }

        let best = best?;
        let distance = distance_of(best.cosine);
        let way = best.way.map(|way| self.ways[way]);
        let grid = features.grid;

        // The picture was turned before it was cut into cells.
        let cell_there = way.map_or(best.cell, |way| way.cell_before(grid, best.cell));
        let area_there = self.references[best.reference].regions[region].area;
        Some(NearestPatch {
            reference: best.reference,
            distance,
            found: cell_area(inspector.crop_area(crop, encoded.area), grid, cell),
            looked_for: cell_area(inspector.crop_area(crop, area_there), grid, cell_there),
            way,
            is_known_bad: is_known_bad(query, &bank, distance),
        })
    }
}

/// The cell that is nearest to a unit vector among those that count, and its cosine.
fn nearest_cell(
    query: ArrayView1<f32>,
    features: &Features,
    mask: Option<&[bool]>,
) -> Option<(usize, f32)> {
    // The class token comes first.
    let tokens = features.tokens.first()?;
    let cells = unit_rows(tokens.slice(s![1.., ..]));
    let cosines = cells.dot(&query);

    let mut nearest = None;
    for (cell, cosine) in cosines.iter().enumerate() {
        let counts = mask.is_none_or(|mask| mask[cell]);
        let is_nearer = nearest.is_none_or(|(_, highest)| *cosine > highest);

        if counts && is_nearer {
            nearest = Some((cell, *cosine));
        }
    }

    nearest
}

/// True if a look of a known bad part raises the value of a patch that is so far from the good ones.
fn is_known_bad(query: ArrayView1<f32>, bank: &ReferenceBank, good: f32) -> bool {
    let Some(looks) = bank.looks else {
        return false;
    };

    let cosines = looks.dot(&query);
    let highest = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);

    looks::likeness(good, distance_of(highest)) > 0.0
}

fn distance_of(cosine: f32) -> f32 {
    ((1.0 - cosine) / 2.0).clamp(0.0, 1.0)
}
