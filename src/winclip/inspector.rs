//! The inspector: an encoder and the regions of one recipe. Pictures in, judgements out.

use super::field::RegionInspector;
use super::pixels::PixelError;
use super::preset::Parameters;
use super::recipe::Recipe;
use super::scorer::Scorer;
use crate::base::problems::Problems;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::engine::device_scorer::{CropRequest, CropTransform, Paint, PartialScores, Stages};
use crate::engine::{Crop, EncodePlan, EncodeTook, Encoder, EngineError, Features, Pixels};
use crate::model::ModelSpec;
use ndarray::Array2;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The algorithm's word on one region of a picture. Score and map are finite.
#[derive(Debug, Clone)]
pub struct RegionScore {
    /// Nothing where the recipe names no regions.
    pub region: Option<Arc<str>>,
    pub score: f32,
    pub map: Map,
    /// The part of the picture that the map covers.
    pub area: Area,
    /// Of all regions: they are looked at together.
    pub pixels_took: Duration,
    /// Of all regions: they go through the encoder together.
    pub encode_took: Duration,
    /// The region's own.
    pub score_took: Duration,
}

/// A judgement with what it was made from; of several looks, the whole's.
#[derive(Debug)]
pub struct Detailed {
    pub judgement: RegionScore,
    pub pixels: Pixels,
    pub features: Features,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{0}")]
    Recipe(#[from] Problems),
    #[error(transparent)]
    Picture(#[from] PixelError),
    /// `index` counts the references from 0.
    #[error("reference {index}: {error}")]
    Reference { index: usize, error: PixelError },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Features of one picture, region by region.
#[derive(Debug, Clone)]
pub struct RegionFeatures(Vec<View>);

/// Features of one region of a picture.
#[derive(Debug, Clone)]
struct View {
    area: Area,
    /// One for each look: the whole, then the tiles.
    features: Vec<Features>,
}

/// What is looked at of a region: pixels of each look, and where they lie together.
type RegionPixels = (Vec<Pixels>, Area);

/// How each look of a region is framed, and what they show together.
type RegionCrops = (Vec<CropTransform>, Area);

/// One shot for each look of a picture; lessons are counted in the same order.
fn shots<'a>(
    picture: &'a Picture,
    framed: &'a [RegionCrops],
) -> impl Iterator<Item = CropRequest<'a>> {
    let framings = framed.iter().flat_map(|(framings, _)| framings);
    framings
        .enumerate()
        .map(move |(lesson, framing)| CropRequest {
            picture,
            framing: *framing,
            lesson,
        })
}

/// The judgement of one region from its pieces, made on the engine's device in `took`.
fn concluded(
    field: &RegionInspector,
    pieces: Vec<PartialScores>,
    area: Area,
    took: Duration,
) -> RegionScore {
    let started = Instant::now();
    let (score, map) = field.conclude(pieces, area);
    RegionScore {
        region: field.name.clone(),
        score,
        map,
        area,
        pixels_took: Duration::ZERO, // in `took`
        encode_took: took,
        score_took: started.elapsed(),
    }
}

/// Judges pictures by one recipe. The thread that owns it owns it for life.
pub struct Inspector {
    encoder: Box<dyn Encoder>,
    parameters: Parameters,
    /// Window scales of the language map.
    scales: Vec<usize>,
    /// One for each region.
    fields: Vec<RegionInspector>,
    references: Vec<RegionFeatures>,
    /// Raw text prototypes `[2, E]` (normal, anomalous).
    prototypes: Option<Array2<f32>>,
}

impl Inspector {
    /// Encodes the references. `plan` is what `encoder` was opened with (a superset of the recipe's own is fine);
    /// `prototypes` are those of [`prompts::taught`], needed for models with text; `progress` hears how many references
    /// of how many are done.
    ///
    /// [`prompts::taught`]: super::prompts::taught
    ///
    /// # Errors
    /// When the recipe does not fit the model, a reference does not fit the recipe, or the engine fails.
    pub fn prepare(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        encoder: Box<dyn Encoder>,
        prototypes: Option<Array2<f32>>,
        references: &[Picture],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, InspectError> {
        recipe.encode_plan(spec, !references.is_empty())?;
        let mut inspector = Self::untaught(recipe, spec, plan, encoder, prototypes)?;
        let mut features = Vec::with_capacity(references.len());
        for (index, reference) in references.iter().enumerate() {
            progress(index, references.len());
            features.push(inspector.encode(reference).map_err(|error| match error {
                InspectError::Picture(error) => InspectError::Reference { index, error },
                other => other,
            })?);
        }
        progress(references.len(), references.len());
        inspector.teach(features)?;
        Ok(inspector)
    }

    /// An engine that captures its work does so for each number of pictures at once: now, at a picture of the camera's
    /// size, instead of at the first parts.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn warm(&mut self, picture: &Picture, together: usize) -> Result<(), EngineError> {
        if self.scores_on_device() {
            let pictures = vec![picture.clone(); together];
            for count in 1..=together {
                self.judge_all(&pictures[..count].iter().collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// Without references so far: a model with text judges by words, one without finds nothing anomalous. For the
    /// arguments see [`Inspector::prepare`].
    ///
    /// # Errors
    /// When a model with text comes without prototypes.
    pub fn untaught(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        encoder: Box<dyn Encoder>,
        prototypes: Option<Array2<f32>>,
    ) -> Result<Self, InspectError> {
        if spec.text.is_some() && prototypes.is_none() {
            let words = "this model compares with words, and no prototypes were made of them";
            return Err(EngineError::Plan(words.to_owned()).into());
        }
        let mut inspector = Inspector {
            encoder,
            parameters: recipe.parameters(spec),
            scales: recipe.scales.clone(),
            fields: recipe
                .regions
                .iter()
                .map(|region| RegionInspector::new(region, recipe, plan.side, spec))
                .collect(),
            references: vec![],
            prototypes,
        };
        inspector.teach(vec![])?;
        Ok(inspector)
    }

    /// From now on it compares with these, from its own [`Inspector::encode`], and with no others.
    ///
    /// # Errors
    /// When the engine's device has no room for them.
    pub fn teach(&mut self, references: Vec<RegionFeatures>) -> Result<(), EngineError> {
        let prototypes = self.prototypes.as_ref().map(|p| p.view());
        let scorer = |features: &[Features], cells| {
            Scorer::new(
                self.parameters.clone(),
                &self.scales,
                prototypes,
                features,
                cells,
            )
        };
        for (i, field) in self.fields.iter_mut().enumerate() {
            let of_region: Vec<&[Features]> = references
                .iter()
                .map(|views| views.0[i].features.as_slice())
                .collect();
            field.teach(&of_region, scorer);
        }
        self.references = references;
        match self.encoder.fused() {
            Some(fused) => fused.learn(
                &self
                    .fields
                    .iter()
                    .flat_map(RegionInspector::lessons)
                    .collect::<Vec<_>>(),
            ),
            None => Ok(()),
        }
    }

    /// The half of [`Inspector::judge`] that does not depend on the references.
    pub fn encode(&mut self, picture: &Picture) -> Result<RegionFeatures, InspectError> {
        let looks = self.looks(picture)?;
        Ok(self.encode_looks(&looks)?)
    }

    /// Pixels of each look, and what they show together, region by region.
    fn looks(&mut self, picture: &Picture) -> Result<Vec<RegionPixels>, PixelError> {
        self.fields
            .iter_mut()
            .map(|field| field.looks(picture))
            .collect()
    }

    /// All looks of a picture at once.
    fn encode_looks(&mut self, regions: &[RegionPixels]) -> Result<RegionFeatures, EngineError> {
        let mut views = self.encode_all(&[regions])?;
        Ok(views.swap_remove(0))
    }

    /// All looks of several pictures at once.
    fn encode_all(
        &mut self,
        pictures: &[&[RegionPixels]],
    ) -> Result<Vec<RegionFeatures>, EngineError> {
        let regions = pictures
            .iter()
            .flat_map(|regions| self.fields.iter().zip(regions.iter()));
        let looks = regions.flat_map(|(field, (pixels, _))| pixels.iter().zip(field.cells()));
        let looks: Vec<Crop> = looks
            .map(|(pixels, cells)| Crop { pixels, cells })
            .collect();
        let mut all = self.encoder.encode(&looks)?.into_iter();
        let mut view = |(pixels, area): &RegionPixels| View {
            area: *area,
            features: all.by_ref().take(pixels.len()).collect(),
        };
        Ok(pictures
            .iter()
            .map(|regions| RegionFeatures(regions.iter().map(&mut view).collect()))
            .collect())
    }

    /// The other half: of each region the score, and the map over what is looked at, both finite.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn score(&mut self, views: &RegionFeatures) -> Result<Vec<(f32, Map)>, EngineError> {
        (0..self.fields.len())
            .map(|region| self.score_without(views, region, None))
            .collect()
    }

    fn score_without(
        &mut self,
        views: &RegionFeatures,
        region: usize,
        but: Option<usize>,
    ) -> Result<(f32, Map), EngineError> {
        let (view, field) = (&views.0[region], &self.fields[region]);
        let pieces = field.pieces(self.encoder.as_mut(), &view.features, but)?;
        Ok(field.conclude(pieces, view.area))
    }

    /// The names of the regions, in the order of the judgements; nothing for the one of a recipe that names none.
    pub fn regions(&self) -> Vec<Option<Arc<str>>> {
        self.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// Whether pictures go to the engine's device as they are and come back as pieces of a score.
    pub fn scores_on_device(&mut self) -> bool {
        self.encoder.fused().is_some()
    }

    /// What paints overlays on the engine's device, beside it; nothing where only the processor can.
    pub fn painter(&mut self) -> Option<Box<dyn Paint>> {
        self.encoder.fused().map(|fused| fused.painter())
    }

    /// What it judged with, for another inspector.
    pub fn into_encoder(self) -> Box<dyn Encoder> {
        self.encoder
    }

    pub fn backend(&self) -> &str {
        self.encoder.backend()
    }

    pub fn device(&self) -> &str {
        self.encoder.device()
    }

    /// Where the encoder's time for the last picture went.
    pub fn encode_took(&self) -> &EncodeTook {
        self.encoder.took()
    }

    /// How many pictures of good parts it compares with.
    pub fn reference_count(&self) -> usize {
        self.references.len()
    }

    /// Raw text prototypes `[2, E]`, for those who compare.
    pub fn prototypes(&self) -> Option<&Array2<f32>> {
        self.prototypes.as_ref()
    }

    /// One judgement a region, in the recipe's order.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn judge(&mut self, picture: &Picture) -> Result<Vec<RegionScore>, InspectError> {
        Ok(self.judge_all(&[picture])?.remove(0)?)
    }

    /// [`Inspector::judge`] of several pictures, whose looks go through the encoder together. A picture that the recipe
    /// cannot look at does not touch the others; when the engine fails, none is judged.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn judge_all(
        &mut self,
        pictures: &[&Picture],
    ) -> Result<Vec<Result<Vec<RegionScore>, PixelError>>, EngineError> {
        match self.encoder.fused() {
            Some(_) => self.judge_all_fused(pictures),
            None => self.judge_all_by_features(pictures),
        }
    }

    fn judge_all_by_features(
        &mut self,
        pictures: &[&Picture],
    ) -> Result<Vec<Result<Vec<RegionScore>, PixelError>>, EngineError> {
        let started = Instant::now();
        let looks: Vec<Result<Vec<RegionPixels>, PixelError>> =
            pictures.iter().map(|picture| self.looks(picture)).collect();
        let pixels_took = started.elapsed();
        let started = Instant::now();
        let fit: Vec<&[RegionPixels]> = looks.iter().flatten().map(Vec::as_slice).collect();
        let views = if fit.is_empty() {
            vec![]
        } else {
            self.encode_all(&fit)?
        };
        let encode_took = started.elapsed();
        let mut views = views.into_iter();
        let mut judged = Vec::with_capacity(pictures.len());
        for looks in looks {
            judged.push(match looks {
                Err(error) => Err(error),
                Ok(_) => match views.next() {
                    Some(views) => Ok(self.judgements(&views, pixels_took, encode_took)?),
                    None => Ok(vec![]), // as many as fit
                },
            });
        }
        Ok(judged)
    }

    /// From bytes to pieces on the engine's device: only what they make of a picture is done here.
    fn judge_all_fused(
        &mut self,
        pictures: &[&Picture],
    ) -> Result<Vec<Result<Vec<RegionScore>, PixelError>>, EngineError> {
        let framed: Vec<Result<Vec<RegionCrops>, PixelError>> = pictures
            .iter()
            .map(|picture| self.framed(picture))
            .collect();
        let fit = pictures
            .iter()
            .zip(&framed)
            .filter_map(|(picture, framed)| Some((*picture, framed.as_ref().ok()?)));
        let shots: Vec<CropRequest> = fit
            .flat_map(|(picture, framed)| shots(picture, framed))
            .collect();
        let started = Instant::now();
        let mut pieces = match self.encoder.fused() {
            Some(fused) if !shots.is_empty() => fused.judge(&shots)?.into_iter(),
            _ => vec![].into_iter(),
        };
        let encode_took = started.elapsed();
        let mut judge = |framed: Vec<RegionCrops>| {
            let regions = self.fields.iter().zip(framed);
            let of_region = |(field, (framings, area)): (&RegionInspector, RegionCrops)| {
                let pieces = pieces.by_ref().take(framings.len()).collect();
                concluded(field, pieces, area, encode_took)
            };
            regions.map(of_region).collect()
        };
        Ok(framed
            .into_iter()
            .map(|framed| framed.map(&mut judge))
            .collect())
    }

    /// How each look is framed, and what they show together, region by region.
    fn framed(&mut self, picture: &Picture) -> Result<Vec<RegionCrops>, PixelError> {
        self.fields
            .iter_mut()
            .map(|field| field.framings(picture.width(), picture.height()))
            .collect()
    }

    fn judgements(
        &mut self,
        views: &RegionFeatures,
        pixels_took: Duration,
        encode_took: Duration,
    ) -> Result<Vec<RegionScore>, EngineError> {
        let mut judgements = Vec::with_capacity(views.0.len());
        for (i, region) in self.regions().into_iter().enumerate() {
            let started = Instant::now();
            let (score, map) = self.score_without(views, i, None)?;
            let (area, score_took) = (views.0[i].area, started.elapsed());
            judgements.push(RegionScore {
                region,
                score,
                map,
                area,
                pixels_took,
                encode_took,
                score_took,
            });
        }
        Ok(judgements)
    }

    /// [`Inspector::judge`], with the tensors on the way.
    pub fn judge_in_detail(&mut self, picture: &Picture) -> Result<Vec<Detailed>, InspectError> {
        if self.encoder.fused().is_some() {
            return self.judge_in_detail_fused(picture);
        }
        let started = Instant::now();
        let looks = self.looks(picture)?;
        let pixels_took = started.elapsed();
        let started = Instant::now();
        let views = self.encode_looks(&looks)?;
        let judgements = self.judgements(&views, pixels_took, started.elapsed())?;
        let wholes = looks.into_iter().zip(views.0);
        let detailed =
            |(judgement, ((mut pixels, _), mut view)): (_, (RegionPixels, View))| Detailed {
                judgement,
                pixels: pixels.swap_remove(0),
                features: view.features.swap_remove(0),
            };
        Ok(judgements.into_iter().zip(wholes).map(detailed).collect())
    }

    fn judge_in_detail_fused(&mut self, picture: &Picture) -> Result<Vec<Detailed>, InspectError> {
        let framed = self.framed(picture)?;
        let shots: Vec<CropRequest> = shots(picture, &framed).collect();
        let Some(fused) = self.encoder.fused() else {
            return Ok(vec![]);
        }; // asked by the caller
        let mut shots = shots.iter();
        let mut all = Vec::with_capacity(framed.len());
        for (field, (framings, area)) in self.fields.iter().zip(&framed) {
            let started = Instant::now();
            let (mut pieces, mut whole) = (vec![], None);
            for shot in shots.by_ref().take(framings.len()) {
                let (of_look, pixels, features) = fused.judge_in_detail(shot)?;
                pieces.push(of_look);
                whole.get_or_insert((pixels, features));
            }
            let judgement = concluded(field, pieces, *area, started.elapsed());
            all.extend(whole.map(|(pixels, features)| Detailed {
                judgement,
                pixels,
                features,
            }));
        }
        Ok(all)
    }

    /// What each stage of judging a picture takes on the engine's device, apart, `runs` times each; nothing for an engine
    /// that does not score on its device.
    ///
    /// # Errors
    /// When the picture cannot be looked at, or the engine fails.
    pub fn stages(
        &mut self,
        picture: &Picture,
        runs: usize,
    ) -> Result<Option<Stages>, InspectError> {
        let framed = self.framed(picture)?;
        let shots: Vec<CropRequest> = shots(picture, &framed).collect();
        Ok(self
            .encoder
            .fused()
            .map(|fused| fused.stages(&shots, runs))
            .transpose()?)
    }

    /// Of each region the score and map of each reference against all others: what good parts score. Empty with fewer
    /// than two.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn leave_one_out(&mut self) -> Result<Vec<Vec<(f32, Map)>>, EngineError> {
        let (references, count) = (std::mem::take(&mut self.references), self.fields.len());
        let mut of_region = |region: usize| {
            let compared = references
                .iter()
                .enumerate()
                .filter(|_| references.len() > 1);
            compared
                .map(|(i, views)| self.score_without(views, region, Some(i)))
                .collect()
        };
        let scores = (0..count).map(&mut of_region).collect();
        self.references = references;
        scores
    }
}
