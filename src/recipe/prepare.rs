//! What the commands that judge do before the first picture: read the references, open the engine, teach the inspector.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::hex::hex;
use crate::base::problems::Problems;
use crate::data::picture::Picture;
use crate::engine::cuda::device::Device;
use crate::engine::onnx::OnnxTextEncoder;
use crate::engine::select::{Backend, Engines};
use crate::engine::tensorrt::{Library, Plan};
use crate::engine::{EncodePlan, Encoder, EngineError};
use crate::image::file as image_file;
use crate::model::ModelFolder;
use crate::recipe::progress::PrepareProgress;
use crate::winclip::inspector::InspectError;
use crate::winclip::parity::{Comparison, Parity};
use crate::winclip::{Inspector, Recipe, prompts};
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Pictures of good parts and where they come from.
#[derive(Default)]
pub struct References {
    /// All different.
    pub pictures: Vec<Picture>,
    /// As many as `pictures`.
    pub files: Vec<PathBuf>,
}

impl References {
    /// Reads files and folders of files. A picture that is there twice counts once, and `warn` hears of it: it would
    /// match itself wherever the references are compared with each other.
    ///
    /// # Errors
    /// Everything that cannot be used, at once.
    pub fn read(paths: &[PathBuf], warn: &mut dyn FnMut(String)) -> Result<Self, Failure> {
        let (files, problems) = image_file::expand(paths);
        let mut problems: Vec<String> = problems.iter().map(|problem| chain(problem)).collect();
        let mut references = References::default();
        for file in files {
            match image_file::read(&file) {
                Err(error) => problems.push(chain(&error)),
                Ok(picture) => match references.same_as(&picture) {
                    Some(known) => warn(format!(
                        "the references {} and {} are the same picture; counted once",
                        known.display(),
                        file.display()
                    )),
                    None => references.push(file, picture),
                },
            }
        }
        match problems.len() {
            0 => Ok(references),
            n => Err(Failure::words(
                Exit::Data,
                format!(
                    "{n} of the references cannot be used:\n  {}",
                    problems.join("\n  ")
                ),
            )),
        }
    }

    /// The reference with the very same pixels.
    pub fn same_as(&self, picture: &Picture) -> Option<&Path> {
        let place = self.pictures.iter().position(|known| known == picture)?;
        Some(&self.files[place])
    }

    /// 16 hex digits that other pictures, or another order, change; nothing without any. The beginning of the SHA-256 over
    /// each picture's width and height (8 bytes each, the lowest first) and its RGB bytes.
    pub fn hash(&self) -> Option<String> {
        let mut sum = Sha256::new();
        for picture in &self.pictures {
            [picture.width(), picture.height()]
                .iter()
                .for_each(|side| sum.update((*side as u64).to_le_bytes()));
            sum.update(picture.rgb());
        }
        (!self.pictures.is_empty()).then(|| hex(&sum.finalize()[..8]))
    }

    fn push(&mut self, file: PathBuf, picture: Picture) {
        self.files.push(file);
        self.pictures.push(picture);
    }
}

/// Where and by what a recipe is run.
pub struct Setting<'a> {
    pub model: &'a ModelFolder,
    pub recipe: &'a Recipe,
    /// The recipe's own, or more.
    pub plan: &'a EncodePlan,
    pub engines: &'a Engines,
    /// How a recipe that cannot work ends the command: the command line's fault, or the configuration's.
    pub wrong_recipe: Exit,
}

/// The encoder, and the raw text prototypes `[2, E]` of a model with text.
type Engine = (Box<dyn Encoder>, Option<Array2<f32>>);

impl Setting<'_> {
    /// Opens the engine and teaches an inspector the references; `progress` hears how many of how many are done.
    pub fn inspector(
        &self,
        references: &References,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inspector, Failure> {
        let (encoder, prototypes) = self.engine().map_err(|error| self.failure(error, &[]))?;
        let (spec, pictures) = (&self.model.spec, &references.pictures);
        Inspector::prepare(
            self.recipe,
            spec,
            self.plan,
            encoder,
            prototypes,
            pictures,
            progress,
        )
        .map_err(|error| self.failure(error, &references.files))
    }

    /// Opens the engine for an inspector that learns its references later.
    pub fn without_references(&self) -> Result<Inspector, Failure> {
        let made = self.engine().and_then(|(encoder, prototypes)| {
            Inspector::without_references(
                self.recipe,
                &self.model.spec,
                self.plan,
                encoder,
                prototypes,
            )
        });
        made.map_err(|error| self.failure(error, &[]))
    }

    fn engine(&self) -> Result<Engine, InspectError> {
        // Before the words are encoded, which can take a minute: is there what they are encoded for?
        if self.engines.backend == Backend::Tensorrt {
            drop(Device::open()?);
        }
        // The text tower first, and away before the vision tower comes: together they would need half as much again.
        let prototypes = self.prototypes()?;
        let slow = PrepareProgress::new();
        let opened = self
            .engines
            .open(self.model, self.plan, &|progress| slow.builds(progress))?;
        let encoder = match opened.candidate {
            None => opened.encoder,
            Some(plan) => {
                slow.compares();
                match self
                    .compared(opened.encoder, plan, prototypes.as_ref())
                    .map(|(encoder, _)| encoder)
                {
                    Err(InspectError::Engine(EngineError::Unavailable(why)))
                        if self.engines.backend == Backend::Auto =>
                    {
                        tracing::warn!("the CPU judges: {why}");
                        self.engines.on_cpu(self.model, self.plan)?
                    }
                    compared => compared?,
                }
            }
        };
        Ok((encoder, prototypes))
    }

    fn prototypes(&self) -> Result<Option<Array2<f32>>, InspectError> {
        match self.model.spec.text {
            Some(_) => {
                let mut text = OnnxTextEncoder::open(&self.engines.runtime()?, self.model)?;
                Ok(prompts::prototypes(self.recipe, &self.model.spec, &mut text)?)
            }
            None => Ok(None),
        }
    }

    /// Compares a plan that was just built with the CPU.
    ///
    /// # Errors
    /// When it is too far off, with the figures, or cannot be run.
    pub fn prove(&self, library: &Library, device: Device, plan: Plan) -> Result<Parity, Failure> {
        let proven = || {
            let prototypes = self.prototypes()?;
            let opened =
                self.engines
                    .with_plan(library, device, plan.clone(), self.model, self.plan)?;
            self.compared(opened.encoder, plan, prototypes.as_ref())
        };
        proven()
            .map(|(_, parity)| parity)
            .map_err(|error| self.failure(error, &[]))
    }

    /// The encoder, when its new plan says what the CPU says; a plan that does not is refused for good.
    fn compared(
        &self,
        encoder: Box<dyn Encoder>,
        plan: Plan,
        prototypes: Option<&Array2<f32>>,
    ) -> Result<(Box<dyn Encoder>, Parity), InspectError> {
        let comparison = Comparison {
            recipe: self.recipe,
            spec: &self.model.spec,
            plan: self.plan,
            prototypes,
        };
        let limits = Parity::limits(plan.key.precision);
        let why = match comparison.run(encoder, self.engines.on_cpu(self.model, self.plan)?) {
            Ok((parity, encoder)) if parity.is_within(&limits) => {
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
            // Too narrow for these weights, or not to be run: it would fail on parts, too.
            Err(InspectError::Engine(EngineError::Run(why))) => {
                format!("it fails on drawn pictures: {why}")
            }
            Err(error) => return Err(error),
        };
        let words = format!(
            "{}: refused: {why}; try precision = \"fp32\"",
            plan.path.display()
        );
        plan.refuse(&why)?;
        Err(EngineError::Unavailable(words).into())
    }

    /// `files` are the references'.
    fn failure(&self, error: InspectError, files: &[PathBuf]) -> Failure {
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

/// A recipe's problems under the names of the command line.
pub fn as_flags(problems: &Problems) -> Vec<String> {
    let flag = |line: &str| match line.split_once(": ") {
        Some(("references", words)) => format!("--reference: {words}"),
        Some(("scales", words)) => format!("--maps: {words}"),
        Some((key, words)) => format!("--{}: {words}", key.replace('_', "-")),
        None => line.to_owned(),
    };
    problems.to_string().lines().map(flag).collect()
}

/// Can this file be written, as far as one sees beforehand?
pub fn check_output_file(flag: &str, file: &Path) -> Result<(), Failure> {
    if file.is_dir() || !parent(file).is_dir() {
        let words = format!(
            "--{flag}: {}: must be a file in a folder that is there",
            file.display()
        );
        return Err(Failure::words(Exit::Usage, words));
    }
    Ok(())
}

/// The folder that a file is in.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gallery_is_known_by_its_pixels_their_order_and_their_sizes() {
        let hash = |pictures: &[(usize, usize, &[u8])]| {
            let picture = |(w, h, rgb): &(usize, usize, &[u8])| {
                Picture::new(*w, *h, rgb.to_vec()).expect("a picture")
            };
            References {
                pictures: pictures.iter().map(picture).collect(),
                files: vec![],
            }
            .hash()
        };
        let (wide, dot) = ((2, 1, &[1, 2, 3, 4, 5, 6][..]), (1, 1, &[7, 8, 9][..]));
        // By Python's hashlib.
        assert_eq!(hash(&[wide, dot]).as_deref(), Some("798f66aba2e2c5ff"));
        let others = [
            vec![dot, wide],
            vec![wide],
            vec![(1, 2, wide.2), dot],
            vec![wide, (1, 1, &[7, 8, 8])],
        ];
        others
            .iter()
            .for_each(|other| assert_ne!(hash(other), hash(&[wide, dot]), "{other:?}"));
        assert_eq!(hash(&[]), None);
    }
}
