//! The inspector: an encoder and a scorer for one recipe. Pictures in, judgements out.

use super::pixels::{PixelError, PixelMaker};
use super::preset::Parameters;
use super::recipe::Recipe;
use super::scorer::Scorer;
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

/// A judgement with everything that it was made from.
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

/// Judges pictures by one recipe. The thread that owns it owns it for life.
pub struct Inspector {
    encoder: Box<dyn Encoder>,
    pixels: PixelMaker,
    parameters: Parameters,
    /// Window scales of the language map.
    scales: Vec<usize>,
    cells: Option<Vec<bool>>,
    scorer: Scorer,
    references: Vec<Features>,
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
        let scorer =
            Scorer::new(parameters.clone(), &scales, prototypes.as_ref().map(|p| p.view()), &[], plan.cells.clone());
        let cells = plan.cells.clone();
        Ok(Inspector { encoder, pixels, parameters, scales, cells, scorer, references: vec![], prototypes })
    }

    /// From now on it compares with these, from its own [`Inspector::encode`], and with no others.
    pub fn teach(&mut self, references: Vec<Features>) {
        let prototypes = self.prototypes.as_ref().map(|p| p.view());
        self.scorer = Scorer::new(self.parameters.clone(), &self.scales, prototypes, &references, self.cells.clone());
        self.references = references;
    }

    /// The half of [`Inspector::judge`] that does not depend on the references.
    pub fn encode(&mut self, picture: &Picture) -> Result<Features, InspectError> {
        let pixels = self.pixels.make(picture)?;
        Ok(encode(self.encoder.as_mut(), pixels)?.1)
    }

    /// The other half: the score and the map, both finite.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn score(&mut self, features: &Features) -> Result<(f32, Map), EngineError> {
        self.scorer.score(self.encoder.as_mut(), features)
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
        let pixels = self.pixels.make(picture)?;
        let pixels_took = started.elapsed();
        let started = Instant::now();
        let (pixels, features) = encode(self.encoder.as_mut(), pixels)?;
        let encode_took = started.elapsed();
        let started = Instant::now();
        let (score, map) = self.score(&features)?;
        let score_took = started.elapsed();
        let area = self.pixels.area(picture.width(), picture.height());
        let judgement = Judgement { score, map, area, pixels_took, encode_took, score_took };
        Ok(Detailed { judgement, pixels, features })
    }

    /// The score and map of each reference against all others: what good parts score. Empty with fewer than two.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn leave_one_out(&mut self) -> Result<Vec<(f32, Map)>, EngineError> {
        let others = self.references.len() > 1;
        let references = self.references.iter().enumerate().filter(move |_| others);
        let nearest: &mut dyn Nearest = self.encoder.as_mut();
        references.map(|(i, features)| self.scorer.score_without(nearest, features, Some(i))).collect()
    }
}

fn encode(encoder: &mut dyn Encoder, pixels: Pixels) -> Result<(Pixels, Features), EngineError> {
    let pictures = [pixels];
    let features = encoder.encode(&pictures)?.pop();
    let features = features.ok_or_else(|| EngineError::Run("no features came back".to_owned()))?;
    let [pixels] = pictures;
    Ok((pixels, features))
}
