//! `winspect model`: import a model, fetch a known one, tell what an imported one is.

mod fetch;

use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::cli::model::fetch::FetchArguments;
use crate::model::{self, ModelFolder};
use clap::Subcommand;
use std::path::PathBuf;

/// The commands of `winspect model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Turn an open_clip, transformers (CLIP, DINOv2) or timm (DINOv2) folder into a model folder
    Import {
        /// The folder as the hub has it: configuration and safetensors, in one file or in shards
        source: PathBuf,
        /// The model folder to make; an imported model there is replaced
        folder: PathBuf,
    },
    /// Download a known model and import it; what was cut short goes on
    Fetch(FetchArguments),
    /// Say what an imported model is and can do
    Info {
        /// An imported model folder
        folder: PathBuf,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// A source that is no model, a folder that cannot be written, a hub that does not answer.
pub fn run(command: ModelCommand) -> Result<(), Failure> {
    // Each command ends with an imported folder, which is then described.
    let model = match command {
        ModelCommand::Import { source, folder } => {
            let imported = model::import(&source, &folder, &|step| say(step));
            imported.map_err(|error| Failure::new(Exit::Data, error))?
        }
        ModelCommand::Fetch(arguments) => fetch::run(&arguments)?,
        ModelCommand::Info { folder } => {
            let opened = ModelFolder::open(&folder);
            opened.map_err(|error| Failure::new(Exit::Data, error))?
        }
    };

    print(describe(&model))?;
    Ok(())
}

/// All that is known of a model, in lines for people.
fn describe(model: &ModelFolder) -> String {
    // Programs read model.toml in the folder instead of these lines. Hashes are told, so that the
    // models of two boxes can be compared by eye.
    let spec = &model.spec;
    let mut lines = vec![
        format!("model      {} ({:?})", model.label(), spec.family),
        format!(
            "input      {0} x {0} pixels, patches of {1}: a grid of {2}",
            spec.side,
            spec.patch,
            spec.grid()
        ),
        format!(
            "vision     width {}, {} blocks, {} heads, embedding {}",
            spec.width, spec.blocks, spec.heads, spec.embed
        ),
    ];

    if spec.registers > 0 {
        lines.push(format!(
            "registers  {} beside the class token",
            spec.registers
        ));
    }

    let default = spec.block_by_default();
    lines.push(format!(
        "block      {} of {} is compared where a recipe names none ({}: {})",
        default.number,
        spec.blocks,
        default.basis.words(),
        default.source
    ));

    if let Some(text) = &spec.text {
        // The line `abilities` follows from the text tower alone: all models have windows and
        // patches.
        lines.push(format!(
            "text       width {}, at most {} tokens",
            text.width, text.context
        ));

        lines.push("abilities  text, windows, patches".to_owned());
    } else {
        lines.push("abilities  windows, patches (needs references)".to_owned());
    }

    lines.push(format!(
        "source     {}, licence: {}",
        model.source, model.licence
    ));

    lines.push(format!("sha256     {}", model.hash));
    for (name, sha256) in &model.downloaded {
        lines.push(format!("fetched    {name}, sha256 {sha256}"));
    }

    for (name, bytes) in &model.files {
        let mb = *bytes as f64 / 1e6;
        lines.push(format!("file       {name}, {mb:.1} MB"));
    }

    lines.join("\n")
}
