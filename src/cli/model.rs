//! `winspect model`: import a model, tell what an imported one is.

use crate::base::exit::{Exit, Failure};
use crate::model::{self, ModelFolder};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Turn an open_clip, transformers CLIP or transformers DINOv2 folder into a model folder
    Import {
        /// The folder as the hub has it: configuration and safetensors
        source: PathBuf,
        /// The model folder to make; an imported model there is replaced
        folder: PathBuf,
    },
    /// Say what an imported model is and can do
    Info { folder: PathBuf },
}

pub fn run(command: ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Import { source, folder } => {
            let model = model::import(&source, &folder, &|step| eprintln!("winspect: {step}"))
                .map_err(|error| Failure::new(Exit::Data, error))?;
            print(&model);
        }
        ModelCommand::Info { folder } => {
            print(&ModelFolder::open(&folder).map_err(|error| Failure::new(Exit::Data, error))?);
        }
    }
    Ok(())
}

fn print(model: &ModelFolder) {
    let spec = &model.spec;
    let abilities = if spec.text.is_some() { "text, windows, patches" } else { "windows, patches (needs references)" };
    println!("model      {} ({:?})", model.label(), spec.family);
    println!("input      {0} x {0} pixels, patches of {1}: a grid of {2} x {2}", spec.side, spec.patch, spec.grid());
    println!("vision     width {}, {} blocks, {} heads, embedding {}", spec.width, spec.blocks, spec.heads, spec.embed);
    if let Some(text) = &spec.text {
        println!("text       width {}, at most {} tokens", text.width, text.context);
    }
    println!("abilities  {abilities}");
    println!("source     {}, licence: {}", model.source, model.licence);
    println!("sha256     {}", model.hash);
    for (name, size) in &model.files {
        println!("file       {name}, {:.1} MB", *size as f64 / 1e6);
    }
}
