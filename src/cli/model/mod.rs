//! `winspect model`: import a model, fetch a known one, tell what an imported one is.

mod fetch;

use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::cli::model::fetch::FetchArguments;
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
    /// Download a known model and import it; what was cut short goes on
    Fetch(FetchArguments),
    /// Say what an imported model is and can do
    Info { folder: PathBuf },
}

pub fn run(command: ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Import { source, folder } => {
            let model = model::import(&source, &folder, &|step| say(step))
                .map_err(|error| Failure::new(Exit::Data, error))?;
            print(describe(&model))?;
        }
        ModelCommand::Fetch(arguments) => {
            print(describe(&fetch::run(&arguments)?))?;
        }
        ModelCommand::Info { folder } => {
            print(describe(
                &ModelFolder::open(&folder).map_err(|error| Failure::new(Exit::Data, error))?,
            ))?;
        }
    }
    Ok(())
}

fn describe(model: &ModelFolder) -> String {
    let spec = &model.spec;
    let abilities = if spec.text.is_some() {
        "text, windows, patches"
    } else {
        "windows, patches (needs references)"
    };
    let text = spec
        .text
        .as_ref()
        .map(|t| format!("text       width {}, at most {} tokens", t.width, t.context));
    let mut lines = vec![
        format!("model      {} ({:?})", model.label(), spec.family),
        format!(
            "input      {0} x {0} pixels, patches of {1}: a grid of {2} x {2}",
            spec.side,
            spec.patch,
            spec.grid()
        ),
        format!(
            "vision     width {}, {} blocks, {} heads, embedding {}",
            spec.width, spec.blocks, spec.heads, spec.embed
        ),
    ];
    lines.extend(text);
    lines.push(format!("abilities  {abilities}"));
    lines.push(format!(
        "source     {}, licence: {}",
        model.source, model.licence
    ));
    lines.push(format!("sha256     {}", model.hash));
    lines.extend(
        model
            .downloaded
            .iter()
            .map(|(name, sha256)| format!("fetched    {name}, sha256 {sha256}")),
    );
    lines.extend(
        model
            .files
            .iter()
            .map(|(name, size)| format!("file       {name}, {:.1} MB", *size as f64 / 1e6)),
    );
    lines.join("\n")
}
