//! The common command line of `inspect`, `eval` and `bench`: the model and how it judges.

use crate::base::exit::{Exit, Failure};
use crate::engine::network::Precision;
use crate::engine::select::{Backend, Engines};
use crate::model::ModelFolder;
use crate::winclip::{MapKind, Preset, Recipe, Turned};
use clap::Args;
use std::path::PathBuf;

/// The model and how it judges.
#[derive(Debug, Args)]
pub struct JudgingArguments {
    /// An imported model folder
    #[arg(long)]
    pub model: PathBuf,
    /// Parameters of the algorithm
    #[arg(long, value_enum, default_value_t)]
    pub preset: Preset,
    /// Input side in pixels; the model's own unless given
    #[arg(long, value_name = "PIXELS")]
    pub input_px: Option<usize>,
    /// Visual maps to average: patch, or window scales; for example patch,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub maps: Vec<MapKind>,
    /// Ways in which references are looked at beside their own, for parts without an orientation
    #[arg(long, value_enum, default_value_t)]
    pub turned: Turned,
    /// Compare with as many features of the references as N of them have, chosen among all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub thin_to: Option<u16>,
    /// Threads of the encoder; one a core unless given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// The engine that judges
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Precision of the network on a GPU; on the CPU it is fp32
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// The file libonnxruntime
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// The folder of TensorRT's libraries
    #[arg(long, value_name = "DIR")]
    pub tensorrt: Option<PathBuf>,
}

impl JudgingArguments {
    /// Opens the model folder.
    ///
    /// # Errors
    /// When the folder holds no model.
    pub fn open(&self) -> Result<ModelFolder, Failure> {
        ModelFolder::open(&self.model).map_err(|error| Failure::new(Exit::Data, error))
    }

    /// The recipe that these flags mean. `class_name` says what the part is, for models with text;
    /// `block` is a flag of each command.
    // Keys that a line's file has beside these keep their usual values.
    pub fn recipe(&self, class_name: Option<String>, block: Option<usize>) -> Recipe {
        Recipe {
            preset: self.preset,
            input_px: self.input_px,
            turned: self.turned,
            thin_to: self.thin_to.map(usize::from),
            block,
            maps: (!self.maps.is_empty()).then(|| self.maps.clone()),
            ..Recipe::new(class_name)
        }
    }

    /// The engine that these flags mean.
    // Fields that no flag sets, such as the stand-in for the network, stay off.
    pub fn engines(&self) -> Engines {
        Engines {
            backend: self.backend,
            precision: self.precision,
            onnxruntime: self.onnxruntime.clone(),
            threads: self.threads.map(usize::from),
            tensorrt: self.tensorrt.clone(),
            ..Engines::default()
        }
    }
}
