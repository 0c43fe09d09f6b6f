//! Known bad parts: their looks are learned, and every picture is compared with them from then on.

use super::{InspectError, Inspector, RegionFeatures, RegionScore};
use crate::data::picture::Picture;
use crate::engine::EngineError;
use crate::winclip::looks::LOOKS_MAX;
use ndarray::{Array2, ArrayView2, Axis};
use std::time::{Duration, Instant};

/// The looks of one known bad part: for each region, for each of its crops, raw patches `[looks, D]`.
#[derive(Debug, Clone, Default)]
pub struct PictureLooks(Vec<Vec<Array2<f32>>>);

impl PictureLooks {
    /// Most looks of one crop of a region.
    fn count(&self, region: usize) -> usize {
        let crops = self.0[region].iter();
        crops.map(Array2::nrows).max().unwrap_or(0)
    }

    /// True if nothing of it can be told from good parts.
    pub fn is_empty(&self) -> bool {
        (0..self.0.len()).all(|region| self.count(region) == 0)
    }
}

impl Inspector {
    /// True if looks of bad parts can be learned: patches are compared with those of references.
    pub fn learns_looks(&self) -> bool {
        let mut regions = self.regions.iter();
        let compare_patches = regions.all(|region| region.compares_patches());

        !self.references.is_empty() && compare_patches
    }

    /// [`Inspector::inspect`], and the looks of a bad part: where its own map is highest.
    ///
    /// # Errors
    /// The same as [`Inspector::inspect`].
    pub fn inspect_and_learn(
        &mut self,
        picture: &Picture,
    ) -> Result<(Vec<RegionScore>, PictureLooks), InspectError> {
        // The time of pixels and encoder is one here, because nobody looks at the times of a part that is learned.
        let started = Instant::now();
        let features = self.encode(picture)?;
        let took = started.elapsed();
        let scores = self.region_scores(&features, Duration::ZERO, took)?;
        let looks = self.looks_of(&features)?;

        Ok((scores, looks))
    }

    /// The looks of a bad part by its features. They are empty where none can be learned.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn looks_of(&mut self, features: &RegionFeatures) -> Result<PictureLooks, EngineError> {
        if !self.learns_looks() {
            return Ok(PictureLooks::default());
        }

        // In which region a part is bad is not known, so that each has looks.
        let mut looks = vec![];
        for index in 0..self.regions.len() {
            let (_, map) = self.score_region(features, index, None)?;
            let encoded = &features.regions[index];
            let nearest = self.encoder.as_mut();
            let region = &self.regions[index];
            looks.push(region.looks(nearest, &encoded.crops, &map, encoded.area)?);
        }

        Ok(PictureLooks(looks))
    }

    /// Compares every picture with these looks from now on, in place of others. The newest pictures come
    /// last, and go first: of each region [`LOOKS_MAX`] looks are held. Returns the number of pictures that were left
    /// out.
    ///
    /// # Errors
    /// When the engine's device has no room for them.
    pub fn set_looks(&mut self, pictures: &[PictureLooks]) -> Result<usize, EngineError> {
        // The bound is that of a region: its crops have a row for each place at most.
        let mut left_out = vec![false; pictures.len()];
        for (index, region) in self.regions.iter_mut().enumerate() {
            let mut held = vec![];
            let mut count = 0;
            for (place, picture) in pictures.iter().enumerate().rev() {
                // A picture without any has no regions either.
                if picture.is_empty() {
                    continue;
                }

                // From the first one that does not fit on, all older ones are left out.
                count += picture.count(index);
                match count <= LOOKS_MAX {
                    true => held.push(&picture.0[index]),
                    false => left_out[place] = true,
                }
            }

            // Crops are told apart by their index, as everywhere; one may have no rows.
            let crops = region.masks().count();
            let rows: Vec<Array2<f32>> = (0..crops).map(|crop| joined(&held, crop)).collect();
            region.set_looks(rows.iter().map(|rows| rows.view()));
        }

        // What the references score against each other may be another now.
        self.left_out = None;
        self.send_banks()?;

        // A picture counts once, in however many regions it is left out.
        let left_out = left_out.into_iter().filter(|is_left_out| *is_left_out);
        Ok(left_out.count())
    }
}

/// The rows of one crop of all pictures, one below the other.
fn joined(pictures: &[&Vec<Array2<f32>>], crop: usize) -> Array2<f32> {
    // All rows of a crop have the width of the patch layer; without any the width is not known.
    if pictures.is_empty() {
        return Array2::zeros((0, 0));
    }

    let views: Vec<ArrayView2<f32>> = pictures.iter().map(|crops| crops[crop].view()).collect();
    let joined = ndarray::concatenate(Axis(0), &views);

    joined.expect("patches of one layer")
}
