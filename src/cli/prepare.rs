//! What `inspect` and `run` do before the first picture: read the references, open the engine, teach the inspector.

use crate::base::exit::{Exit, Failure, chain};
use crate::engine::onnx::{OnnxEncoder, OnnxTextEncoder, Runtime};
use crate::engine::{EncodePlan, EngineError};
use crate::frame::Picture;
use crate::model::ModelFolder;
use crate::picture_file;
use crate::winclip::inspector::InspectError;
use crate::winclip::{Inspector, Recipe, prompts};
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
        let (files, problems) = picture_file::expand(paths);
        let mut problems: Vec<String> = problems.iter().map(|problem| chain(problem)).collect();
        let mut references = References::default();
        for file in files {
            match picture_file::read(&file) {
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
                format!("{n} of the references cannot be used:\n  {}", problems.join("\n  ")),
            )),
        }
    }

    /// The reference with the very same pixels.
    pub fn same_as(&self, picture: &Picture) -> Option<&Path> {
        let place = self.pictures.iter().position(|known| known == picture)?;
        Some(&self.files[place])
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
    pub onnxruntime: Option<&'a Path>,
    pub threads: Option<usize>,
    /// How a recipe that cannot work ends the command: the command line's fault, or the configuration's.
    pub wrong_recipe: Exit,
}

impl Setting<'_> {
    /// Opens the engine and teaches an inspector the references; `progress` hears how many of how many are done.
    pub fn inspector(
        &self,
        references: &References,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inspector, Failure> {
        let engine = |error| self.engine_failure(error);
        let runtime = Runtime::load(self.onnxruntime, self.threads).map_err(engine)?;
        // The text tower first, and away before the vision tower comes: together they would need half as much again.
        let prototypes = match self.model.spec.text {
            Some(_) => {
                let mut text = OnnxTextEncoder::open(&runtime, self.model).map_err(engine)?;
                prompts::taught(self.recipe, &self.model.spec, &mut text).map_err(engine)?
            }
            None => None,
        };
        let encoder = OnnxEncoder::open(&runtime, self.model, self.plan).map_err(engine)?;
        let (spec, pictures) = (&self.model.spec, &references.pictures);
        Inspector::prepare(self.recipe, spec, self.plan, Box::new(encoder), prototypes, pictures, progress).map_err(
            |error| match error {
                InspectError::Recipe(problems) => Failure::words(self.wrong_recipe, problems.to_string()),
                InspectError::Picture(error) => Failure::new(Exit::Data, error),
                InspectError::Reference { index, error } => {
                    Failure::words(Exit::Data, format!("{}: {error}", references.files[index].display()))
                }
                InspectError::Engine(error) => self.engine_failure(error),
            },
        )
    }

    fn engine_failure(&self, error: EngineError) -> Failure {
        let exit = match error {
            EngineError::Unavailable(_) => Exit::Unavailable,
            EngineError::Plan(_) => self.wrong_recipe,
            EngineError::Model(_) => Exit::Data,
            EngineError::Run(_) => Exit::Software,
        };
        Failure::new(exit, error)
    }
}
