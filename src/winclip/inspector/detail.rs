//! Inspection for people who look into it: the tensors on the way, and the time of each stage.

use super::device::{DeviceTimes, combined};
use super::features::EncodedRegion;
use super::{Detailed, InspectError, Inspector, RegionScore};
use crate::data::picture::Picture;
use crate::engine::device_scorer::{CropRequest, StageTimings};
use crate::winclip::region::RegionPixels;
use std::time::{Duration, Instant};

impl Inspector {
    /// [`Inspector::inspect`], with the tensors on the way.
    ///
    /// # Errors
    /// The same as [`Inspector::inspect`].
    pub fn inspect_in_detail(&mut self, picture: &Picture) -> Result<Vec<Detailed>, InspectError> {
        // Pixels and features of the device's own path are made there, and would not be those that
        // were scored if they were made here.
        if self.scores_on_device() {
            return self.inspect_in_detail_on_device(picture);
        }

        // The two halves of an inspection are timed apart, as `inspect_all` times them.
        let started = Instant::now();
        let seen = self.seen(picture)?;
        let pixels = self.pixels(seen)?;
        let pixels_took = started.elapsed();
        let started = Instant::now();
        let features = self.encode_one(&pixels)?;
        let scores = self.region_scores(&features, pixels_took, started.elapsed())?;
        let mut all = Vec::with_capacity(scores.len());

        // Score, pixels and features of one region belong together by their index.
        let tensors = pixels.regions.into_iter().zip(features.regions);
        for (region_score, (pixels, encoded)) in scores.into_iter().zip(tensors) {
            all.extend(detailed(region_score, pixels, encoded));
        }

        Ok(all)
    }

    fn inspect_in_detail_on_device(
        &mut self,
        picture: &Picture,
    ) -> Result<Vec<Detailed>, InspectError> {
        let started = Instant::now();
        let seen = self.seen(picture)?;
        let crops = self.crops(seen)?;
        let pixels = match self.aligner {
            Some(_) => started.elapsed(),
            None => Duration::ZERO,
        };

        let Some(scorer) = self.encoder.device_scorer() else {
            return Ok(vec![]); // asked by the caller
        };

        // The requests lie region by region. Each is scored alone, because the device returns the
        // tensors of one crop at a time.
        let mut requests = crops.requests();
        let mut all = Vec::with_capacity(crops.regions.len());
        for (region, of_region) in self.regions.iter().zip(&crops.regions) {
            let started = Instant::now();
            let mut parts = vec![];
            let mut tensors_of_whole = None;
            for request in requests.by_ref().take(of_region.transforms.len()) {
                let (of_crop, pixels, features) = scorer.score_in_detail(&request)?;
                parts.push(of_crop);

                // The whole is the first crop, and its tensors are the ones that a person looks at.
                tensors_of_whole.get_or_insert((pixels, features));
            }

            let times = DeviceTimes {
                pixels,
                device: started.elapsed(),
            };

            let aligned = crops.seen.aligned.clone();
            let region_score = combined(region, parts, of_region, aligned, times);
            if let Some((pixels, features)) = tensors_of_whole {
                all.push(Detailed {
                    region_score,
                    pixels,
                    features,
                });
            }
        }

        Ok(all)
    }

    /// Time of each stage of scoring a picture, measured apart on the engine's device, `runs` times
    /// each. `None` for an engine that does not score on its device.
    ///
    /// # Errors
    /// When the picture does not fit the recipe, or the engine fails.
    pub fn time_stages(
        &mut self,
        picture: &Picture,
        runs: usize,
    ) -> Result<Option<StageTimings>, InspectError> {
        let seen = self.seen(picture)?;
        let crops = self.crops(seen)?;
        let requests: Vec<CropRequest> = crops.requests().collect();
        let Some(scorer) = self.encoder.device_scorer() else {
            return Ok(None);
        };

        Ok(Some(scorer.time_stages(&requests, runs)?))
    }
}

/// A score with the tensors of the whole region, which is the first of its crops.
fn detailed(
    region_score: RegionScore,
    pixels: RegionPixels,
    encoded: EncodedRegion,
) -> Option<Detailed> {
    // The whole is the first crop of a region. The tiles' tensors are left out, because a person
    // compares the whole with those of another implementation.
    Some(Detailed {
        region_score,
        pixels: pixels.crops.into_iter().next()?,
        features: encoded.crops.into_iter().next()?,
    })
}
