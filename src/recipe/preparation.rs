//! An inspector is prepared: the engine is opened, and the references are encoded.
//!
//! ```text
//! words --text tower--> prototypes, tower closed --> vision engine (a new plan: compared with the CPU)
//!       --> references encoded --> Inspector
//! ```
//! A TensorRT plan that was just built serves only when it agrees with the CPU. One that does not is
//! refused for good; with `backend = "auto"` the CPU judges instead, else the command fails.

use crate::base::exit::{Exit, Failure};
use crate::engine::cuda::device::Device;
use crate::engine::onnx::OnnxTextEncoder;
use crate::engine::select::{Backend, Engines};
use crate::engine::tensorrt::{BuiltPlan, Library};
use crate::engine::{EncodePlan, Encoder, EngineError};
use crate::model::ModelFolder;
use crate::recipe::default_block;
use crate::recipe::progress::PrepareProgress;
use crate::recipe::references::References;
use crate::winclip::inspector::InspectError;
use crate::winclip::parity::{Comparison, Parity};
use crate::winclip::{Inspector, Recipe, prompts};
use ndarray::Array2;
use std::path::PathBuf;

/// The parts that make an inspector of a recipe.
pub struct Preparation<'a> {
    /// The imported model that encodes pictures and words.
    pub model: &'a ModelFolder,
    /// Parameters of the algorithm.
    pub recipe: &'a Recipe,
    /// The recipe's own plan of what is encoded, or a larger one.
    pub plan: &'a EncodePlan,
    /// The engines that may be opened.
    pub engines: &'a Engines,
    /// Exit code of a recipe that cannot work: the command line's fault, or the configuration's.
    pub wrong_recipe: Exit,
}

/// An opened engine.
struct OpenEngine {
    encoder: Box<dyn Encoder>,
    /// Raw text prototypes `[2, E]`; `None` for a model without text.
    prototypes: Option<Array2<f32>>,
}

impl Preparation<'_> {
    /// Opens the engine and makes an inspector with the references' features. `progress` is called
    /// with the number of references that are done and the number of all.
    ///
    /// # Errors
    /// When the recipe cannot work with the model, an engine is missing or fails, or a reference
    /// cannot be encoded, which is named.
    pub fn inspector(
        &self,
        references: &References,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inspector, Failure> {
        // An engine that cannot be opened has no reference to name.
        let engine = self.engine().map_err(|error| self.failure(error, &[]))?;
        let inspector = Inspector::prepare(
            self.recipe,
            &self.model.spec,
            self.plan,
            engine.encoder,
            engine.prototypes,
            &references.pictures,
            progress,
        );

        // The error of a reference names its file, which is known here alone.
        inspector.map_err(|error| self.failure(error, &references.files))
    }

    /// Opens the engine for an inspector that is given its references later.
    ///
    /// # Errors
    /// As those of [`Preparation::inspector`], without the references'.
    pub fn inspector_without_references(&self) -> Result<Inspector, Failure> {
        let engine = self.engine().map_err(|error| self.failure(error, &[]))?;
        let inspector = Inspector::without_references(
            self.recipe,
            &self.model.spec,
            self.plan,
            engine.encoder,
            engine.prototypes,
        );

        inspector.map_err(|error| self.failure(error, &[]))
    }

    fn engine(&self) -> Result<OpenEngine, InspectError> {
        let compares_patches = !self.plan.patches.is_empty();
        default_block::warn(self.recipe, &self.model.spec, compares_patches);

        // Words can take a minute to encode: first make sure that there is a device to use them.
        if self.engines.backend == Backend::Tensorrt {
            drop(Device::open()?);
        }

        // The text tower is closed before the vision tower opens: both together would need half as
        // much memory again.
        let prototypes = self.prototypes()?;
        let progress = PrepareProgress::new();
        // The engine is opened with the steps of a build, which may take many minutes, told to the
        // log and systemd.
        let opened = self
            .engines
            .open(self.model, self.plan, &|step| progress.builds(step))?;

        // A plan that was built just now is a candidate: it judges only after the comparison.
        let encoder = match opened.candidate {
            None => opened.encoder,
            Some(plan) => {
                progress.compares();
                self.accepted(opened.encoder, plan, prototypes.as_ref())?
            }
        };

        Ok(OpenEngine {
            encoder,
            prototypes,
        })
    }

    /// Returns the encoder of a plan that was just built; the processor's where the plan is refused
    /// and the engine was chosen by itself.
    fn accepted(
        &self,
        encoder: Box<dyn Encoder>,
        plan: BuiltPlan,
        prototypes: Option<&Array2<f32>>,
    ) -> Result<Box<dyn Encoder>, InspectError> {
        match self.compared(encoder, plan, prototypes) {
            // The figures of a plan that agrees were logged by `compared`.
            Ok((encoder, _)) => Ok(encoder),
            Err(InspectError::Engine(EngineError::Unavailable(why)))
                // The engine was chosen by itself, so that the processor is what the plant gets
                // where the plan is no good. A plant that has asked for TensorRT gets the error
                // instead.
                if self.engines.backend == Backend::Auto =>
            {
                tracing::warn!("the CPU judges: {why}");
                Ok(self.engines.on_cpu(self.model, self.plan)?)
            }
            Err(error) => Err(error),
        }
    }

    fn prototypes(&self) -> Result<Option<Array2<f32>>, InspectError> {
        match self.model.spec.text {
            // The text tower is opened for these few prompts and closed at the end of this block.
            Some(_) => {
                let mut text = OnnxTextEncoder::open(&self.engines.runtime()?, self.model)?;
                Ok(prompts::prototypes(
                    self.recipe,
                    &self.model.spec,
                    &mut text,
                )?)
            }
            None => Ok(None),
        }
    }

    /// Compares a plan that was just built with the CPU.
    ///
    /// # Errors
    /// When it is too far off, with the figures, or cannot be run.
    pub fn prove(
        &self,
        library: &Library,
        device: Device,
        plan: BuiltPlan,
    ) -> Result<Parity, Failure> {
        self.parity(library, device, plan)
            .map_err(|error| self.failure(error, &[]))
    }

    fn parity(
        &self,
        library: &Library,
        device: Device,
        plan: BuiltPlan,
    ) -> Result<Parity, InspectError> {
        // The words come first, because the text tower's memory must be free again before the plan
        // is opened.
        let prototypes = self.prototypes()?;
        let opened =
            self.engines
                .with_plan(library, device, plan.clone(), self.model, self.plan)?;

        // The encoder is dropped here: the command only asks whether the plan is good.
        let (_, parity) = self.compared(opened.encoder, plan, prototypes.as_ref())?;
        Ok(parity)
    }

    /// Compares a new plan's encoder with the CPU and returns it with the figures. A plan that is
    /// too far off is refused for good.
    fn compared(
        &self,
        encoder: Box<dyn Encoder>,
        plan: BuiltPlan,
        prototypes: Option<&Array2<f32>>,
    ) -> Result<(Box<dyn Encoder>, Parity), InspectError> {
        // The plan is that of the whole recipe, since other outputs of a network are other layers
        // of it.
        let comparison = Comparison {
            recipe: self.recipe,
            spec: &self.model.spec,
            plan: self.plan,
            prototypes,
        };

        // Limits depend on the precision: 16 bits are further off than 32.
        let limits = Parity::limits(plan.key.precision);
        let why = match comparison.run(encoder, self.engines.on_cpu(self.model, self.plan)?) {
            Ok((parity, encoder)) if parity.is_within(&limits) => {
                // The plan is marked as compared on the disk, so that the next start takes it as it
                // is.
                tracing::info!(
                    "the new plan {} agrees with the CPU: {parity}",
                    plan.path.display()
                );

                plan.accept()?;
                return Ok((encoder, parity));
            }
            Ok((parity, _)) => {
                format!(
                    "compared with the CPU: {parity}; allowed are {:.5} and {:.5}",
                    limits.score, limits.map
                )
            }
            // Precision too narrow for these weights, or no run at all: parts would fail too.
            Err(InspectError::Engine(EngineError::Run(why))) => {
                format!("it fails on drawn pictures: {why}")
            }
            Err(error) => return Err(error),
        };

        // The words name the plan's file and the way out.
        let words = format!(
            "{}: refused: {why}; try precision = \"fp32\"",
            plan.path.display()
        );

        // The refusal is kept beside the plan, so that the next start does not build and compare it
        // again.
        plan.refuse(&why)?;
        Err(EngineError::Unavailable(words).into())
    }

    /// The failure that ends the command; `files` are the references'.
    fn failure(&self, error: InspectError, files: &[PathBuf]) -> Failure {
        // Each kind of error has the exit code that tells systemd and a person whether another
        // start could help.
        let exit = match &error {
            InspectError::Recipe(_) | InspectError::Engine(EngineError::Plan(_)) => {
                self.wrong_recipe
            }
            InspectError::Engine(EngineError::Unavailable(_)) => Exit::Unavailable,
            InspectError::Engine(EngineError::Run(_)) => Exit::Software,
            InspectError::Picture(_) | InspectError::Engine(EngineError::Model(_)) => Exit::Data,
            InspectError::Reference { index, error } => {
                return Failure::words(Exit::Data, format!("{}: {error}", files[*index].display()));
            }
        };

        Failure::new(exit, error)
    }
}
