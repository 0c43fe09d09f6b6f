//! The inspector: an encoder and the regions of one recipe. Pictures in, scores and maps out.
//!
//! Two ways lead from a picture to its scores. Every engine can encode: pixels are made on the
//! processor, go through the encoder, and `scorer` compares the features. An engine with a
//! [`DeviceScorer`](crate::engine::device_scorer::DeviceScorer) gets the pictures as they are and
//! returns partial scores. Both ways end in `RegionInspector::combine`.

mod detail;
mod device;
mod features;
mod known_bad;
mod nearest;
mod oddity;
mod references;

pub use self::known_bad::PictureLooks;
pub use self::nearest::{ComparedPlaces, NearestPatch};
pub use super::outcome::{Detailed, InspectError, RegionScore};
pub use features::RegionFeatures;

use super::align::{AlignedPicture, Aligner, SeenPicture};
use super::pixels::PixelError;
use super::preset::Parameters;
use super::recipe::Recipe;
use super::region::{RegionInspector, RegionPixels};
use super::room::FeatureRoom;
use super::top_share::TopShare;
use super::turned::Way;
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::engine::device_scorer::Paint;
use crate::engine::{Crop, EncodePlan, EncodeTimes, Encoder, EngineError};
use crate::image::locate::{Locator, NotFound};
use crate::model::ModelSpec;
use features::EncodedRegion;
use ndarray::Array2;
pub use oddity::RegionOddity;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Results of several pictures, in order; an error for each picture that does not fit the recipe.
type Scored = Vec<Result<Vec<RegionScore>, PixelError>>;

/// Pixels of one picture, region by region.
struct PicturePixels {
    regions: Vec<RegionPixels>,
    aligned: Option<AlignedPicture>,
}

/// Inspects pictures by one recipe. One thread at a time uses an inspector: the one that prepares it,
/// then the line's.
pub struct Inspector {
    encoder: Box<dyn Encoder>,
    parameters: Parameters,
    /// Window scales of the language map.
    scales: Vec<usize>,
    regions: Vec<RegionInspector>,
    /// Ways in which references are looked at beside their own.
    ways: Vec<Way>,
    /// `None` where the recipe does not locate parts.
    aligner: Option<Aligner>,
    references: Vec<RegionFeatures>,
    /// The references against each other, once that was asked for.
    left_out: Option<Vec<Vec<(f32, Map)>>>,
    /// Raw text prototypes `[2, E]` (normal, anomalous).
    prototypes: Option<Array2<f32>>,
}

impl Inspector {
    /// An inspector that has encoded the references. `plan` is what `encoder` was opened with (a
    /// superset of the recipe's own is fine); `prototypes` are those of [`prompts::prototypes`],
    /// needed for models with text; `progress` hears how many references of how many are done.
    ///
    /// [`prompts::prototypes`]: super::prompts::prototypes
    ///
    /// # Errors
    /// When the recipe does not fit the model, a reference does not fit the recipe, or the engine
    /// fails.
    pub fn prepare(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        encoder: Box<dyn Encoder>,
        prototypes: Option<Array2<f32>>,
        references: &[Picture],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, InspectError> {
        // A recipe that does not fit the model is refused before any picture is encoded, with all
        // of its problems at once.
        recipe.encode_plan(spec, !references.is_empty())?;
        FeatureRoom::new(recipe, spec, plan).check(references.len())?;
        let mut inspector = Self::without_references(recipe, spec, plan, encoder, prototypes)?;
        let mut features = Vec::with_capacity(references.len());

        // References are encoded one after the other: a start has time, and a batch of them would
        // need the memory of as many pictures.
        for (index, reference) in references.iter().enumerate() {
            progress(index, references.len());
            let encoded = inspector.encode_reference(reference);
            features.push(encoded.map_err(|error| error.of_reference(index))?);
        }

        // The last call tells that all are done; the calls before tell how many were done before
        // each.
        progress(references.len(), references.len());
        inspector.set_references(features)?;

        Ok(inspector)
    }

    /// Inspects a picture of the camera's size as often as needed: an engine that captures its work
    /// does so for each number of pictures at once, now instead of at the first parts.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn warm(&mut self, picture: &Picture, together: usize) -> Result<(), EngineError> {
        // Engines on the processor have nothing to capture.
        if self.scores_on_device() {
            let pictures = vec![picture; together];

            // Each number of pictures has its own captured graph and its own buffers. The device
            // allocates them here, so that a part never waits for it.
            for count in 1..=together {
                let seen = pictures[..count]
                    .iter()
                    .map(|picture| Ok(SeenPicture::in_place(picture)));
                self.inspect_seen(seen.collect(), Instant::now())?;
            }
        }

        Ok(())
    }

    /// An inspector without references so far: a model with text compares with words, one without
    /// finds nothing anomalous. For the arguments see [`Inspector::prepare`].
    ///
    /// # Errors
    /// When a model with text comes without prototypes.
    pub fn without_references(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        encoder: Box<dyn Encoder>,
        prototypes: Option<Array2<f32>>,
    ) -> Result<Self, InspectError> {
        // A model with text scores the picture's embedding against the prototypes, so that it
        // cannot judge without them. The callers make them of the recipe's class name.
        if spec.text.is_some() && prototypes.is_none() {
            let words = "this model compares with words, and no prototypes were made of them";
            return Err(EngineError::Plan(words.to_owned()).into());
        }

        // Each region has a `RegionInspector`. It lays the tiles and masks once, because with a
        // crop they are the same in every picture.
        let regions = recipe
            .regions
            .iter()
            .map(|region| RegionInspector::new(region, recipe, plan, spec))
            .collect();

        let mut inspector = Inspector {
            encoder,
            parameters: recipe.parameters(spec),
            scales: recipe.scales.clone(),
            regions,
            ways: recipe.turned.ways(plan.width == plan.height),
            aligner: Aligner::of(recipe),
            references: vec![],
            left_out: None,
            prototypes,
        };

        // Scorers exist from here on, with prototypes alone: every region has one scorer for each
        // crop, whether references come or not.
        inspector.set_references(vec![])?;

        Ok(inspector)
    }

    /// Gives the engine's device what crops are compared with.
    fn send_banks(&mut self) -> Result<(), EngineError> {
        let Some(scorer) = self.encoder.device_scorer() else {
            return Ok(());
        };

        // The banks lie in the order of `crop_requests`: region by region, the whole before its
        // tiles. The device finds them by that number.
        let banks: Vec<_> = self
            .regions
            .iter()
            .flat_map(RegionInspector::reference_banks)
            .collect();

        scorer.set_references(&banks)
    }

    /// True without references and without words: nothing can be judged.
    pub fn compares_with_nothing(&self) -> bool {
        self.references.is_empty() && self.prototypes.is_none()
    }

    /// Features of a picture: the half of [`Inspector::inspect`] that does not depend on the
    /// references.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn encode(&mut self, picture: &Picture) -> Result<RegionFeatures, InspectError> {
        let seen = self.seen(picture)?;
        let pixels = self.pixels(seen)?;

        Ok(self.encode_one(&pixels)?)
    }

    /// What finds the part in each picture; `None` where the recipe does not locate parts.
    pub fn locator(&self) -> Option<&Locator> {
        self.aligner.as_ref().map(Aligner::locator)
    }

    /// True if the recipe locates parts, and nothing in the picture is like one.
    pub fn misses_part(&self, picture: &Picture) -> bool {
        let found = self.aligner.as_ref().map(|aligner| aligner.find(picture));

        matches!(found, Some(Err(PixelError::Part(NotFound::Unlike { .. }))))
    }

    /// The picture as it is judged: with the part at its place, where the recipe locates it.
    fn seen<'a>(&self, picture: &'a Picture) -> Result<SeenPicture<'a>, PixelError> {
        match &self.aligner {
            Some(aligner) => aligner.align(picture),
            None => Ok(SeenPicture::in_place(picture)),
        }
    }

    fn pixels(&mut self, seen: SeenPicture) -> Result<PicturePixels, PixelError> {
        let mut regions = Vec::with_capacity(self.regions.len());

        for region in &mut self.regions {
            regions.push(region.pixels(seen.picture())?);
        }

        Ok(PicturePixels {
            regions,
            aligned: seen.aligned,
        })
    }

    /// Encodes all crops of a picture at once.
    fn encode_one(&mut self, pixels: &PicturePixels) -> Result<RegionFeatures, EngineError> {
        let mut features = self.encode_all(&[pixels])?;

        Ok(features.swap_remove(0))
    }

    /// Encodes all crops of several pictures at once.
    fn encode_all(
        &mut self,
        pictures: &[&PicturePixels],
    ) -> Result<Vec<RegionFeatures>, EngineError> {
        // The crops of all pictures lie in one list, picture by picture, region by region, the
        // whole before its tiles, each with the mask of its crop.
        let mut crops = Vec::new();

        for picture in pictures {
            for (region, pixels) in self.regions.iter().zip(&picture.regions) {
                for (pixels, mask) in pixels.crops.iter().zip(region.masks()) {
                    crops.push(Crop { pixels, mask });
                }
            }
        }

        // The encoder answers in the same order, one `Features` a crop, so that each region takes
        // as many as it has crops.
        let mut encoded = self.encoder.encode(&crops)?.into_iter();
        let mut features = Vec::with_capacity(pictures.len());

        for picture in pictures {
            let regions = picture.regions.iter().map(|pixels| EncodedRegion {
                area: pixels.area,
                crops: encoded.by_ref().take(pixels.crops.len()).collect(),
                turned: vec![],
            });

            features.push(RegionFeatures {
                regions: regions.collect(),
                aligned: picture.aligned.clone(),
            });
        }

        Ok(features)
    }

    /// The score of each region, and the map over the area that it covers, both finite: the other
    /// half of [`Inspector::inspect`].
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn score(&mut self, features: &RegionFeatures) -> Result<Vec<(f32, Map)>, EngineError> {
        (0..self.regions.len())
            .map(|region| self.score_region(features, region, None))
            .collect()
    }

    /// [`Inspector::score`] without the comparison with one of the references.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn score_without(
        &mut self,
        reference: usize,
        features: &RegionFeatures,
    ) -> Result<Vec<(f32, Map)>, EngineError> {
        (0..self.regions.len())
            .map(|region| self.score_region(features, region, Some(reference)))
            .collect()
    }

    /// The score that a map of a region has without words at another share of its highest cells.
    pub fn top_score(&self, region: usize, map: &Map, share: TopShare) -> f32 {
        self.regions[region].top_score(map, share)
    }

    fn score_region(
        &mut self,
        features: &RegionFeatures,
        region: usize,
        left_out: Option<usize>,
    ) -> Result<(f32, Map), EngineError> {
        // The area is that of the picture that was encoded, since a crop of the middle depends on
        // the picture's size.
        let encoded = &features.regions[region];
        let region = &self.regions[region];
        let nearest = self.encoder.as_mut();
        let parts = region.partial_scores(nearest, &encoded.crops, left_out)?;

        Ok(region.combine(parts, encoded.area))
    }

    /// The names of the regions, in the order of the results; `None` for the one of a recipe that
    /// names none.
    pub fn regions(&self) -> Vec<Option<Arc<str>>> {
        self.regions
            .iter()
            .map(|region| region.name.clone())
            .collect()
    }

    /// True if pictures go to the engine's device as they are and come back as partial scores.
    pub fn scores_on_device(&mut self) -> bool {
        self.encoder.device_scorer().is_some()
    }

    /// A painter of overlays on the engine's device, beside it. `None` where only the processor can
    /// paint.
    pub fn painter(&mut self) -> Option<Box<dyn Paint>> {
        let scorer = self.encoder.device_scorer()?;

        Some(scorer.painter())
    }

    /// The encoder, for another inspector.
    pub fn into_encoder(self) -> Box<dyn Encoder> {
        self.encoder
    }

    /// Name of the engine, see [`Encoder::backend`].
    pub fn backend(&self) -> &str {
        self.encoder.backend()
    }

    /// Name of the processor, see [`Encoder::device`].
    pub fn device(&self) -> &str {
        self.encoder.device()
    }

    /// Time of each stage of encoding the last picture.
    pub fn encode_times(&self) -> &EncodeTimes {
        self.encoder.times()
    }

    /// Number of pictures of good parts that it compares with.
    pub fn reference_count(&self) -> usize {
        self.references.len()
    }

    /// Raw text prototypes `[2, E]`.
    pub fn prototypes(&self) -> Option<&Array2<f32>> {
        self.prototypes.as_ref()
    }

    /// One result a region, in the recipe's order.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn inspect(&mut self, picture: &Picture) -> Result<Vec<RegionScore>, InspectError> {
        Ok(self.inspect_all(&[picture])?.remove(0)?)
    }

    /// [`Inspector::inspect`] of several pictures, whose crops go through the encoder together. A
    /// picture that does not fit the recipe does not touch the others; when the engine fails, there
    /// is no result for any.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn inspect_all(
        &mut self,
        pictures: &[&Picture],
    ) -> Result<Vec<Result<Vec<RegionScore>, PixelError>>, EngineError> {
        let started = Instant::now();
        let seen = pictures.iter().map(|picture| self.seen(picture)).collect();

        self.inspect_seen(seen, started)
    }

    /// [`Inspector::inspect`] of a picture in which the part is where it is on the master, or would be: it is
    /// not looked for.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn inspect_in_place(
        &mut self,
        picture: &Picture,
    ) -> Result<Vec<RegionScore>, InspectError> {
        let seen = vec![Ok(SeenPicture::in_place(picture))];

        Ok(self.inspect_seen(seen, Instant::now())?.remove(0)?)
    }

    /// Inspects pictures, or hands on why there is none; the work on them began at `started`.
    fn inspect_seen(
        &mut self,
        pictures: Vec<Result<SeenPicture, PixelError>>,
        started: Instant,
    ) -> Result<Scored, EngineError> {
        match self.scores_on_device() {
            true => self.inspect_on_device(pictures, started),
            false => self.inspect_by_features(pictures, started),
        }
    }

    fn inspect_by_features(
        &mut self,
        pictures: Vec<Result<SeenPicture, PixelError>>,
        started: Instant,
    ) -> Result<Scored, EngineError> {
        // Each picture has its pixels or its error: one that is too small for a crop must not cost
        // the others their verdict.
        let pixels: Vec<Result<PicturePixels, PixelError>> = pictures
            .into_iter()
            .map(|picture| picture.and_then(|picture| self.pixels(picture)))
            .collect();

        let pixels_took = started.elapsed();
        let started = Instant::now();

        // The encoder sees only pictures that fit. Without any it is not called, as an empty batch
        // is not defined.
        let fitting: Vec<&PicturePixels> = pixels.iter().flatten().collect();
        let features = match fitting.is_empty() {
            true => vec![],
            false => self.encode_all(&fitting)?,
        };

        let encode_took = started.elapsed();

        // Results return to the order of `pictures`: an error where the pixels failed, else the
        // next features.
        let mut features = features.into_iter();
        let mut all = Vec::with_capacity(pixels.len());

        for pixels in pixels {
            if let Err(error) = pixels {
                all.push(Err(error));
                continue;
            }

            // Both times are those of the whole batch, which each of its pictures has waited for.
            let features = features.next().expect("one for each picture that fits");
            all.push(Ok(self.region_scores(
                &features,
                pixels_took,
                encode_took,
            )?));
        }

        Ok(all)
    }

    fn region_scores(
        &mut self,
        features: &RegionFeatures,
        pixels_took: Duration,
        encode_took: Duration,
    ) -> Result<Vec<RegionScore>, EngineError> {
        // A region's score time is its own; the times of pixels and encoder belong to the batch.
        let mut scores = Vec::with_capacity(features.regions.len());

        for (index, region) in self.regions().into_iter().enumerate() {
            let started = Instant::now();
            let (score, map) = self.score_region(features, index, None)?;
            scores.push(RegionScore {
                region,
                score,
                map,
                area: features.regions[index].area,
                aligned: features.aligned.clone(),
                pixels_took,
                encode_took,
                score_took: started.elapsed(),
            });
        }

        Ok(scores)
    }

    /// The score and map of each reference against all others, region by region: what good parts
    /// score. Empty with fewer than two references.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn leave_one_out(&mut self) -> Result<Vec<Vec<(f32, Map)>>, EngineError> {
        // Threshold, odd references and drift ask for it: comparing all with all is done once.
        if let Some(known) = &self.left_out {
            return Ok(known.clone());
        }

        // The references are taken out for the loop, because scoring borrows the inspector mutably.
        // They are put back whether the engine failed or not.
        let references = std::mem::take(&mut self.references);
        let scores: Result<Vec<_>, EngineError> = (0..self.regions.len())
            .map(|region| self.score_references(&references, region))
            .collect();

        self.references = references;
        self.left_out = Some(scores?);

        Ok(self.left_out.clone().unwrap_or_default())
    }

    fn score_references(
        &mut self,
        references: &[RegionFeatures],
        region: usize,
    ) -> Result<Vec<(f32, Map)>, EngineError> {
        let mut scores = Vec::with_capacity(references.len());

        // A single reference has no other one to be compared with, and a list of no scores says so.
        if references.len() > 1 {
            for (index, reference) in references.iter().enumerate() {
                scores.push(self.score_region(reference, region, Some(index))?);
            }
        }

        Ok(scores)
    }
}
