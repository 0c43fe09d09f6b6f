//! Inspection on an engine's device: pictures go there as they are judged, partial scores come back.

use super::{Inspector, Scored};
use crate::data::picture::Picture;
use crate::engine::EngineError;
use crate::engine::device_scorer::{CropRequest, PartialScores};
use crate::winclip::RegionScore;
use crate::winclip::align::{AlignedPicture, SeenPicture};
use crate::winclip::pixels::PixelError;
use crate::winclip::region::{RegionCrops, RegionInspector};
use std::time::{Duration, Instant};

/// A picture and its crops, region by region.
pub(super) struct PictureCrops<'a> {
    pub(super) seen: SeenPicture<'a>,
    pub(super) regions: Vec<RegionCrops>,
}

/// The times of a batch on the device.
#[derive(Clone, Copy)]
pub(super) struct DeviceTimes {
    /// Finding the parts, and bringing them to their place. 0 where that is not done: the device makes
    /// the pixels on its own, so that no other time can be told for them apart.
    pub(super) pixels: Duration,
    /// All else on the device.
    pub(super) device: Duration,
}

impl PictureCrops<'_> {
    /// One request for each crop. Reference banks are counted in the same order.
    pub(super) fn requests(&self) -> impl Iterator<Item = CropRequest<'_>> {
        let transforms = self.regions.iter().flat_map(|region| &region.transforms);
        transforms
            .enumerate()
            .map(|(references, transform)| CropRequest {
                picture: self.seen.picture(),
                transform: *transform,
                references,
            })
    }
}

/// The result of one region from its partial scores.
pub(super) fn combined(
    region: &RegionInspector,
    parts: Vec<PartialScores>,
    crops: &RegionCrops,
    aligned: Option<AlignedPicture>,
    times: DeviceTimes,
) -> RegionScore {
    let started = Instant::now();

    // The scores of the device are copied back by now; what is left is the arithmetic of a few
    // numbers and one map.
    let (score, map) = region.combine(parts, crops.area);
    RegionScore {
        region: region.name.clone(),
        score,
        map,
        area: crops.area,
        aligned,
        pixels_took: times.pixels,
        encode_took: times.device,
        score_took: started.elapsed(),
    }
}

impl Inspector {
    /// Crops of a picture, region by region.
    pub(super) fn crops<'a>(
        &mut self,
        seen: SeenPicture<'a>,
    ) -> Result<PictureCrops<'a>, PixelError> {
        let picture: &Picture = seen.picture();
        let mut regions = Vec::with_capacity(self.regions.len());
        for region in &mut self.regions {
            regions.push(region.crops(picture.width(), picture.height())?);
        }

        Ok(PictureCrops { seen, regions })
    }

    /// Bytes to partial scores on the engine's device; only their combination is done here.
    pub(super) fn inspect_on_device(
        &mut self,
        pictures: Vec<Result<SeenPicture, PixelError>>,
        started: Instant,
    ) -> Result<Scored, EngineError> {
        // Each picture has its crops or its error; one that does not fit leaves no request.
        let crops: Vec<Result<PictureCrops, PixelError>> = pictures
            .into_iter()
            .map(|picture| picture.and_then(|picture| self.crops(picture)))
            .collect();

        // The requests of the batch are one list, picture by picture, so that the device runs once.
        let requests: Vec<CropRequest> = crops
            .iter()
            .flatten()
            .flat_map(PictureCrops::requests)
            .collect();

        let pixels = match self.aligner {
            Some(_) => started.elapsed(),
            None => Duration::ZERO,
        };

        // The device is not asked for nothing: a graph for zero crops does not exist.
        let started = Instant::now();
        let parts = match self.encoder.device_scorer() {
            Some(scorer) if !requests.is_empty() => scorer.score(&requests)?,
            _ => vec![],
        };

        let times = DeviceTimes {
            pixels,
            device: started.elapsed(),
        };

        // The answers come in the order of the requests; each picture that fits takes as many as it
        // has crops.
        let mut parts = parts.into_iter();
        let mut all = Vec::with_capacity(crops.len());
        for crops in crops {
            all.push(crops.map(|crops| self.combined(&crops, &mut parts, times)));
        }

        Ok(all)
    }

    /// One result a region from the partial scores of its crops, which come next in `parts`.
    fn combined(
        &self,
        crops: &PictureCrops,
        parts: &mut impl Iterator<Item = PartialScores>,
        times: DeviceTimes,
    ) -> Vec<RegionScore> {
        // Each region takes the answers of its whole and its tiles, in the order in which they were
        // asked for.
        let mut scores = Vec::with_capacity(crops.regions.len());
        for (region, of_region) in self.regions.iter().zip(&crops.regions) {
            let answers = parts.take(of_region.transforms.len()).collect();
            let aligned = crops.seen.aligned.clone();
            scores.push(combined(region, answers, of_region, aligned, times));
        }

        scores
    }
}
