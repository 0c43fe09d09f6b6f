//! The inspector: an encoder and a scorer for one recipe. Pictures in, judgements out.

use super::pixels::{PixelError, PixelMaker};
use super::preset::Parameters;
use super::recipe::{Fit, Recipe};
use super::scorer::{Scorer, mean_of_highest};
use super::tiles;
use crate::base::problems::Problems;
use crate::engine::nearest::Nearest;
use crate::engine::{EncodePlan, EncodeTook, Encoder, EngineError, Features, Pixels};
use crate::frame::{Area, Picture};
use crate::model::ModelSpec;
use crate::verdict::Map;
use ndarray::Array2;
use std::time::{Duration, Instant};

/// The algorithm's word on one picture. Both finite.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub score: f32,
    pub map: Map,
    /// The part of the picture that the map covers.
    pub area: Area,
    pub pixels_took: Duration,
    pub encode_took: Duration,
    pub score_took: Duration,
}

/// A judgement with what it was made from; of several views, the whole's.
#[derive(Debug)]
pub struct Detailed {
    pub judgement: Judgement,
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

/// Features of one picture.
#[derive(Debug, Clone)]
pub struct Views {
    /// What is looked at of it.
    area: Area,
    /// One for each view: the whole, then the tiles.
    features: Vec<Features>,
}

/// Judges pictures by one recipe. The thread that owns it owns it for life.
pub struct Inspector {
    encoder: Box<dyn Encoder>,
    pixels: PixelMaker,
    /// Those of the tiles: another size than the whole's, so that each keeps its weights.
    tile_pixels: PixelMaker,
    /// Side of the tiles; nothing for the whole alone.
    tiles: Option<usize>,
    parameters: Parameters,
    /// Window scales of the language map.
    scales: Vec<usize>,
    cells: Option<Vec<bool>>,
    /// One for each view of a picture: the whole, then its tiles, each with the references' own.
    scorers: Vec<Scorer>,
    references: Vec<Views>,
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
        inspector.teach(features);
        Ok(inspector)
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
        let pixels = PixelMaker::new(recipe.crop, recipe.fit, plan.side, spec);
        let (parameters, scales) = (recipe.parameters(spec), recipe.scales.clone());
        let tile_pixels = PixelMaker::new(recipe.crop, Fit::Squash, plan.side, spec);
        let mut inspector = Inspector {
            encoder,
            pixels,
            tile_pixels,
            tiles: recipe.tiles,
            parameters,
            scales,
            cells: plan.cells.clone(),
            scorers: vec![],
            references: vec![],
            prototypes,
        };
        inspector.teach(vec![]);
        Ok(inspector)
    }

    /// From now on it compares with these, from its own [`Inspector::encode`], and with no others.
    pub fn teach(&mut self, references: Vec<Views>) {
        let prototypes = self.prototypes.as_ref().map(|p| p.view());
        let scorer = |view: usize| {
            let features: Vec<Features> = references.iter().map(|views| views.features[view].clone()).collect();
            Scorer::new(self.parameters.clone(), &self.scales, prototypes, &features, self.cells.clone())
        };
        self.scorers = (0..references.first().map_or(1, |views| views.features.len())).map(scorer).collect();
        self.references = references;
    }

    /// The half of [`Inspector::judge`] that does not depend on the references.
    pub fn encode(&mut self, picture: &Picture) -> Result<Views, InspectError> {
        let (pixels, area) = self.views(picture)?;
        Ok(Views { area, features: self.encoder.encode(&pixels)? })
    }

    /// Pixels of each view, and what they look at together.
    fn views(&mut self, picture: &Picture) -> Result<(Vec<Pixels>, Area), InspectError> {
        let mut pixels = vec![self.pixels.make(picture)?];
        let area = self.pixels.area(picture.width(), picture.height());
        for tile in self.tiles_of(area) {
            self.tile_pixels.look_at(tile);
            pixels.push(self.tile_pixels.make(picture)?);
        }
        Ok((pixels, area))
    }

    fn tiles_of(&self, area: Area) -> Vec<Area> {
        self.tiles.map_or(vec![], |side| tiles::tiles(area, side))
    }

    /// The other half: the score, and the map over what is looked at, both finite.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn score(&mut self, views: &Views) -> Result<(f32, Map), EngineError> {
        self.score_without(views, None)
    }

    fn score_without(&mut self, views: &Views, but: Option<usize>) -> Result<(f32, Map), EngineError> {
        let tiles = self.tiles_of(views.area);
        let nearest: &mut dyn Nearest = self.encoder.as_mut();
        let (score, whole) = self.scorers[0].score_without(nearest, &views.features[0], but)?;
        if tiles.is_empty() {
            return Ok((score, whole));
        }
        let mut maps = Vec::with_capacity(tiles.len());
        for ((scorer, features), tile) in self.scorers.iter().zip(&views.features).skip(1).zip(tiles) {
            maps.push((tile, scorer.score_without(nearest, features, but)?.1));
        }
        let map = tiles::merged(views.area, &whole, &maps);
        Ok((mean_of_highest(map.values()), map))
    }

    pub fn backend(&self) -> &str {
        self.encoder.backend()
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

    pub fn judge(&mut self, picture: &Picture) -> Result<Judgement, InspectError> {
        self.judge_in_detail(picture).map(|detailed| detailed.judgement)
    }

    /// [`Inspector::judge`], with the tensors on the way.
    pub fn judge_in_detail(&mut self, picture: &Picture) -> Result<Detailed, InspectError> {
        let started = Instant::now();
        let (mut pixels, area) = self.views(picture)?;
        let pixels_took = started.elapsed();
        let started = Instant::now();
        let mut views = Views { area, features: self.encoder.encode(&pixels)? };
        let encode_took = started.elapsed();
        let started = Instant::now();
        let (score, map) = self.score(&views)?;
        let score_took = started.elapsed();
        let judgement = Judgement { score, map, area, pixels_took, encode_took, score_took };
        Ok(Detailed { judgement, pixels: pixels.swap_remove(0), features: views.features.swap_remove(0) })
    }

    /// The score and map of each reference against all others: what good parts score. Empty with fewer than two.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn leave_one_out(&mut self) -> Result<Vec<(f32, Map)>, EngineError> {
        let references = std::mem::take(&mut self.references);
        let compared = references.iter().enumerate().filter(|_| references.len() > 1);
        let scores = compared.map(|(i, views)| self.score_without(views, Some(i))).collect();
        self.references = references;
        scores
    }
}
