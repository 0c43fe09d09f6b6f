//! The text tower on the CPU.

use super::loader::{GraphLoader, TEXT};
use super::runtime::{Runtime, finite, matrix, run_error, tensor, values};
use crate::engine::encoder::TextEncoder;
use crate::engine::error::EngineError;
use crate::engine::graphs::ModelGraph;
use crate::model::ModelFolder;
use crate::model::tokenizer::Tokenizer;
use ndarray::{Array2, Axis};
use ort::session::Session;

/// Prompts in one run, at most: bounds the memory of the activations.
const PROMPTS_AT_ONCE: usize = 32;

/// The text tower on the CPU. Dropping it releases its memory.
pub struct OnnxTextEncoder {
    session: Session,
    tokenizer: Tokenizer,
    context: usize,
}

impl OnnxTextEncoder {
    /// Loads the text graph.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a model without text.
    pub fn open(runtime: &Runtime, model: &ModelFolder) -> Result<Self, EngineError> {
        // A model without text has no words to compare with; the error says so before a file is
        // opened.
        let Some(text) = &model.spec.text else {
            return Err(EngineError::Plan(format!(
                "the model {} has no text tower",
                model.name
            )));
        };

        // The text tower has its own weights and its own loader: it is dropped when the recipe is
        // ready.
        let graph = ModelGraph::open(model, TEXT, &["features"], None)?;
        let mut loader = GraphLoader::new(runtime, model);
        Ok(OnnxTextEncoder {
            session: loader.session(graph)?,
            tokenizer: Tokenizer::new(text.context),
            context: text.context,
        })
    }

    /// Token ids of the prompts, `[N, context]`.
    fn ids(&self, prompts: &[String]) -> Result<Array2<i64>, EngineError> {
        // Every prompt is padded or refused by the tokenizer, so that each gives exactly `context`
        // ids.
        let mut ids = Vec::with_capacity(prompts.len() * self.context);

        for prompt in prompts {
            let of_prompt = self
                .tokenizer
                .ids(prompt)
                .map_err(|error| EngineError::Plan(error.to_string()))?;

            ids.extend(of_prompt);
        }

        // Each prompt has a row. The ids are i64, as the graph's gathering of embeddings wants
        // them.
        let shape = (prompts.len(), self.context);

        Ok(Array2::from_shape_vec(shape, ids).expect("each prompt has context ids"))
    }
}

impl TextEncoder for OnnxTextEncoder {
    fn encode(&mut self, prompts: &[String]) -> Result<Array2<f32>, EngineError> {
        let mut batches = Vec::new();

        // Batches bound the memory of the activations, which grows with the number of prompts at
        // once.
        for batch in prompts.chunks(PROMPTS_AT_ONCE) {
            let ids = self.ids(batch)?;
            let input = tensor(ids.view())?;
            let outputs = self
                .session
                .run(ort::inputs!["ids" => input])
                .map_err(run_error)?;

            // The width is not asked of the model but of the output, which has `[N, E]` values.
            let features = values(&outputs, "features")?;
            let embed = features.len() / batch.len();
            let shape = (batch.len(), embed);
            let embeddings = matrix(features, shape)?;
            batches.push(embeddings);
        }

        // Batches are joined in order, so that row `n` is prompt `n`.
        let views: Vec<_> = batches.iter().map(|batch| batch.view()).collect();
        let embeddings = ndarray::concatenate(Axis(0), &views).map_err(run_error)?;

        // A prototype is made of these rows, and one value that is not finite would spoil every
        // score.
        finite("text", embeddings)
    }
}
