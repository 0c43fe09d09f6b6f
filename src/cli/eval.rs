//! `winspect eval`: how well good and bad parts of a labelled data set are told apart, with few references drawn at
//! random. One JSON line for each block and number of references on standard output, a table for people on standard
//! error.
//!
//! Every picture is encoded once, also for several blocks: features do not depend on the references, only scores do. In
//! memory: the features of all test pictures and drawn references (0.4 MB a picture and block for a ViT-S/14 at 224
//! pixels, 1.7 MB for ViT-B-16-plus-240), the runs of the masks, and one draw's scores of all pixels (see [`crate::evaluate::ranking`]).

mod evaluation;
mod known_bad;

use super::flags::{as_flags, check_output_file};
use super::held_recipe;
use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure};
use crate::cli::arguments::JudgingArguments;
use crate::engine::{EncodePlan, PatchLayer};
use crate::evaluate::dataset::{Dataset, Truth};
use crate::model::{ModelFolder, ModelSpec};
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::preparation::Preparation;
use crate::winclip::{Fit, Recipe, Region, TopShare};
use clap::Args;
use evaluation::{Draws, Evaluation, read};
use known_bad::known_bad;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `winspect eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    /// A folder with train/good, test/good, test/<defect> and ground_truth/<defect>/<stem>_mask.png
    dataset: PathBuf,
    #[command(flatten)]
    judging: JudgingArguments,
    /// Patches from the b-th block, counted from 1; the model's default unless given. Several are measured in turn:
    /// 6,7,9
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    block: Vec<usize>,
    /// What the part is, for models with text: "metal nut"
    #[arg(long)]
    class_name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// Cells of the map with --fit keep, at most; 256 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=4096))]
    cells: Option<u16>,
    /// Share of the map's highest cells that make the score of a model without text; 0.01 unless given
    #[arg(long, value_name = "SHARE")]
    top_share: Option<TopShare>,
    /// A recipe of the library, box.recipes/nut or a revision of it, in place of the flags that say how to judge
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "preset", "input_px", "block", "maps", "class_name", "fit", "cells", "top_share", "turned", "thin_to",
    ])]
    recipe: Option<PathBuf>,
    /// Pictures of bad parts that are known, beside those that the library's recipe keeps; may be repeated. Test pictures
    /// among them are not judged
    #[arg(long, value_name = "PICTURES")]
    bad: Vec<PathBuf>,
    /// Numbers of references from train/good; 0,1,2,4 unless given (without 0 for models without text)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    shots: Vec<usize>,
    /// How often references are drawn for each number of them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// Write settings and results into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Encodes all pictures once, and measures each draw of references.
///
/// # Errors
/// When the arguments contradict themselves, the model or the data set, a picture cannot be used, or the
/// engine fails.
pub fn run(arguments: &EvalArguments) -> Result<(), Failure> {
    // The order of the checks is that of their cost: flags, the model, the data set's folders,
    // every picture, and only then the encoder.
    let model = arguments.judging.open()?;
    let (recipe, kept_bad) = recipe(arguments)?;

    // The plan covers every block and number of references that is asked for, so that each picture
    // is encoded once.
    let shots = shots(&arguments.shots, &model.spec);
    let first_plan = plan(&recipe, &arguments.block, &model.spec, &shots)?;
    if let Some(file) = &arguments.json {
        check_output_file("json", file)?;
    }

    // Numbers that train/good cannot serve are refused before the first picture is read.
    let mut dataset = Dataset::open(&arguments.dataset)
        .map_err(|problems| unusable(arguments, problems.iter()))?;

    let all = dataset.references.len();
    check_shots(&shots, all)?;
    let draws = Draws::new(&shots, all, usize::from(arguments.seeds));

    // All pictures and masks are read once without being kept: a broken one is told now, not after
    // an hour.
    let mut terminal = Terminal::new();
    let bad = known_bad(
        &arguments.bad,
        kept_bad,
        &first_plan,
        &mut dataset,
        &mut terminal,
    )?;
    let truths = truths(arguments, recipe.fit, &dataset, &draws, &mut terminal)?;

    // The first reference stands for all pictures: a recipe that keeps their aspect depends on it.
    let first = draws
        .drawn()
        .next()
        .map(|index| read(&dataset.references[index]))
        .transpose()?;

    let recipe = recipe.for_pictures_like(first.as_ref());
    let plan = plan(&recipe, &arguments.block, &model.spec, &shots)?;

    // References change from draw to draw, so that the inspector starts without any.
    let preparation = Preparation {
        model: &model,
        recipe: &recipe,
        plan: &plan,
        engines: &arguments.judging.engines(),
        wrong_recipe: Exit::Usage,
    };

    let inspector = preparation.inspector_without_references()?;
    let mut evaluation = Evaluation::encoded(inspector, &dataset, truths, &draws, &mut terminal)?;
    evaluation.know(&bad)?;
    let lines = evaluation.measured(&plan.patches, &draws, &mut terminal)?;
    match &arguments.json {
        Some(file) => write(file, arguments, &model, &recipe, &plan, lines),
        None => Ok(()),
    }
}

/// Returns how is judged: the library's recipe, or what the flags say; and the known bad parts that the recipe
/// keeps.
fn recipe(arguments: &EvalArguments) -> Result<(Recipe, Vec<PathBuf>), Failure> {
    let Some(folder) = &arguments.recipe else {
        let class_name = arguments.class_name.clone();
        let block = arguments.block.first().copied();
        let recipe = Recipe {
            fit: arguments.fit,
            cells: arguments.cells.map(usize::from),
            top_share: arguments.top_share,
            ..arguments.judging.recipe(class_name, block)
        };

        return Ok((recipe, vec![]));
    };

    // The truth of a data set is about whole pictures.
    let spec = held_recipe::open(folder)?;
    let revision = spec.library.as_ref();
    let bad = revision.map(|revision| revision.pictures(PictureUse::Bad));

    let is_whole = spec.locate.is_none() && spec.winclip.regions == [Region::default()];
    if is_whole {
        return Ok((spec.winclip, bad.unwrap_or_default()));
    }

    let words = "--recipe: it has a crop, a mask, regions or a master picture, and eval judges whole pictures";
    Err(Failure::words(Exit::Usage, words))
}

/// Reads what is bad in each test picture; `None` where the data set does not say. All pictures are tried
/// before the first is encoded.
fn truths(
    arguments: &EvalArguments,
    fit: Fit,
    dataset: &Dataset,
    draws: &Draws,
    terminal: &mut Terminal,
) -> Result<Option<Vec<Truth>>, Failure> {
    // References that no draw uses are not read, and may be broken.
    let references: Vec<&Path> = draws
        .drawn()
        .map(|index| dataset.references[index].as_path())
        .collect();

    terminal.begin("reading", references.len() + dataset.tests.len());

    // A mask goes the same way as its picture: what the crop cuts off is not counted.
    let is_cropped = fit == Fit::Crop;
    let content = dataset
        .read(&references, is_cropped, &mut |done| terminal.done(done))
        .map_err(|problems| unusable(arguments, problems.iter()))?;

    for words in dataset.passed_over.iter().chain(&content.warnings) {
        terminal.say(format!("warning: {words}"));
    }

    if content.truths.is_none() {
        terminal
            .say("no folder ground_truth: pixel_AUROC, pixel_F1Max, pixel_AP and AUPRO are null");
    }

    Ok(content.truths)
}

fn shots(asked: &[usize], spec: &ModelSpec) -> Vec<usize> {
    // 0 references need text; a model without it cannot judge zero-shot.
    if !asked.is_empty() {
        return asked.to_vec();
    }

    match spec.text {
        Some(_) => vec![0, 1, 2, 4],
        None => vec![1, 2, 4],
    }
}

/// Returns what is encoded with references, without, or for both, whatever `shots` asks for; with
/// references the patches of each block, in their order.
fn plan(
    recipe: &Recipe,
    blocks: &[usize],
    spec: &ModelSpec,
    shots: &[usize],
) -> Result<EncodePlan, Failure> {
    // Problems of all plans are collected: a person mends the flags in one round.
    let has_text = spec.text.is_some();
    let mut problems = shot_problems(shots, has_text);
    if has_doubles(blocks) {
        problems.push("--block: each may be named once".to_owned());
    }

    let is_asked = |with_references: bool| match has_text {
        true => shots.iter().any(|shots| (*shots > 0) == with_references),
        false => with_references,
    };

    // The plan with references comes first: its layer of patches is the one that is scored.
    let mut all: Option<EncodePlan> = None;
    for with_references in [true, false] {
        if !is_asked(with_references) {
            continue;
        }

        for recipe in of_blocks(recipe, blocks) {
            match recipe.encode_plan(spec, with_references) {
                Ok(plan) => all = Some(joined(all, plan)),
                Err(found) => problems.extend(as_flags(&found)),
            }
        }
    }

    let compares_patches = all.as_ref().is_some_and(|plan| !plan.patches.is_empty());
    if problems.is_empty() && blocks.len() > 1 && !compares_patches {
        problems.push("--block: no patches are compared here; name one block at most".to_owned());
    }

    // All plans can have the same problems.
    let mut told = BTreeSet::new();
    problems.retain(|problem| told.insert(problem.clone()));
    all.filter(|_| problems.is_empty())
        .ok_or_else(|| Failure::words(Exit::Usage, problems.join("\n")))
}

/// The recipe with each of the blocks, or as it is where none is named.
fn of_blocks(recipe: &Recipe, blocks: &[usize]) -> Vec<Recipe> {
    let with_block = |block: &usize| Recipe {
        block: Some(*block),
        ..recipe.clone()
    };

    match blocks {
        [] => vec![recipe.clone()],
        blocks => blocks.iter().map(with_block).collect(),
    }
}

fn has_doubles(numbers: &[usize]) -> bool {
    (1..numbers.len()).any(|i| numbers[..i].contains(&numbers[i]))
}

fn shot_problems(shots: &[usize], has_text: bool) -> Vec<String> {
    // A number that is named twice would give two lines of one name.
    let mut problems = vec![];
    if has_doubles(shots) {
        problems.push("--shots: each number may be named once".to_owned());
    }

    if !has_text && shots.contains(&0) {
        problems.push(
            "--shots: 0 needs a model with text, and this one has none; ask for 1 or more"
                .to_owned(),
        );
    }

    problems
}

/// Returns a plan that encodes what either of two encodes.
fn joined(all: Option<EncodePlan>, plan: EncodePlan) -> EncodePlan {
    let Some(mut all) = all else {
        return plan;
    };

    // The union of outputs costs the network's common part only once.
    all.image |= plan.image;
    for layer in plan.patches {
        if !all.patches.contains(&layer) {
            all.patches.push(layer);
        }
    }

    for scale in plan.scales {
        if !all.scales.contains(&scale) {
            all.scales.push(scale);
        }
    }

    all
}

fn check_shots(shots: &[usize], references: usize) -> Result<(), Failure> {
    // The largest number decides; smaller ones fit as well.
    let most = shots.iter().copied().max().unwrap_or_default();
    if most > references {
        let words = format!(
            "--shots: {most} references are asked for, train/good has {references}; ask for fewer or put more there"
        );

        return Err(Failure::words(Exit::Usage, words));
    }

    Ok(())
}

fn unusable<'a>(arguments: &EvalArguments, problems: impl Iterator<Item = &'a str>) -> Failure {
    // All broken files are listed: a data set is mended in one round.
    let lines: Vec<&str> = problems.collect();
    let words = format!(
        "{} cannot be used:\n  {}",
        arguments.dataset.display(),
        lines.join("\n  ")
    );

    Failure::words(Exit::Data, words)
}

fn write(
    file: &Path,
    arguments: &EvalArguments,
    model: &ModelFolder,
    recipe: &Recipe,
    plan: &EncodePlan,
    lines: Vec<Value>,
) -> Result<(), Failure> {
    // The file names all that the figures depend on, resolved: defaults change between versions.
    let maps: Vec<String> = recipe
        .parameters(&model.spec)
        .maps
        .iter()
        .map(ToString::to_string)
        .collect();

    // One block is a setting; of several each line has its own.
    let block = match plan.patches.as_slice() {
        [PatchLayer::Block(block)] => Some(block),
        _ => None,
    };

    let grid = plan.grid(&model.spec);
    let all = json!({
        "winspect": env!("CARGO_PKG_VERSION"),
        "dataset": arguments.dataset.display().to_string(),
        "model": model.label(),
        "class_name": recipe.class_name,
        "preset": recipe.preset,
        "fit": recipe.fit,
        "turned": recipe.turned,
        "thin_to": recipe.thin_to,
        "input_px": plan.square_side().ok(),
        "grid": {"w": grid.w, "h": grid.h},
        "block": block,
        "top_share": recipe.parameters(&model.spec).top_share.get(),
        "maps": maps,
        "results": lines,
    });

    let written = std::fs::write(file, format!("{all:#}\n"));
    written.map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", file.display())))
}
