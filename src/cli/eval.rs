//! `winspect eval`: how well good and bad parts of a labelled data set are told apart, with few references drawn at
//! random. One JSON line for each number of references on standard output, a table for people on standard error.
//!
//! Every picture is encoded once: features do not depend on the references, only scores do. In memory: the features of
//! all test pictures and drawn references (0.4 MB a picture for a ViT-S/14 at 224 pixels, 1.7 MB for
//! ViT-B-16-plus-240), the runs of the masks, and one draw's scores of all pixels (see [`crate::evaluate::ranking`]).

use super::flags::{as_flags, check_output_file};
use super::held_recipe;
use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure};
use crate::cli::arguments::JudgingArguments;
use crate::data::picture::Picture;
use crate::engine::EncodePlan;
use crate::evaluate::dataset::{Dataset, Truth};
use crate::evaluate::ranking::Scores;
use crate::evaluate::{distinct_draws, mean_and_std};
use crate::image::file as image_file;
use crate::model::{ModelFolder, ModelSpec};
use crate::recipe::preparation::Preparation;
use crate::winclip::inspector::InspectError;
use crate::winclip::inspector::RegionFeatures;
use crate::winclip::{Fit, Inspector, Recipe, Region};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Arguments of `winspect eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    /// A folder with train/good, test/good, test/<defect> and ground_truth/<defect>/<stem>_mask.png
    dataset: PathBuf,
    #[command(flatten)]
    judging: JudgingArguments,
    /// What the part is, for models with text: "metal nut"
    #[arg(long)]
    class_name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// Cells of the map with --fit keep, at most; 256 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=4096))]
    cells: Option<u16>,
    /// A recipe of the library, box.recipes/nut or a revision of it, in place of the flags that say how to judge
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "preset", "input_px", "block", "maps", "class_name", "fit", "cells",
    ])]
    recipe: Option<PathBuf>,
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

/// Limit of the false positive rate for AUPRO.
const AUPRO_LIMIT: f64 = 0.3;
/// Names of the measures, as the JSON lines and the table have them.
const MEASURES: [&str; 7] = [
    "image_AUROC",
    "image_F1Max",
    "image_AP",
    "pixel_AUROC",
    "pixel_F1Max",
    "pixel_AP",
    "AUPRO",
];
/// Measures of one draw, in the order of [`MEASURES`]; `None` where a measure is not defined.
type Measured = [Option<f64>; 7];

/// Encodes all pictures once, and measures each draw of references.
///
/// # Errors
/// When the arguments contradict themselves, the model or the data set, a picture cannot be used, or the
/// engine fails.
pub fn run(arguments: &EvalArguments) -> Result<(), Failure> {
    // The order of the checks is that of their cost: flags, the model, the data set's folders,
    // every picture, and only then the encoder.
    let model = arguments.judging.open()?;
    let recipe = recipe(arguments)?;

    // The plan covers every number of references that is asked for, so that each picture is encoded
    // once.
    let shots = shots(&arguments.shots, &model.spec);
    plan(&recipe, &model.spec, &shots)?;
    if let Some(file) = &arguments.json {
        check_output_file("json", file)?;
    }

    // Numbers that train/good cannot serve are refused before the first picture is read.
    let dataset = Dataset::open(&arguments.dataset)
        .map_err(|problems| unusable(arguments, problems.iter()))?;

    let all = dataset.references.len();
    check_shots(&shots, all)?;
    let draws = Draws::new(&shots, all, usize::from(arguments.seeds));

    // All pictures and masks are read once without being kept: a broken one is told now, not after
    // an hour.
    let mut terminal = Terminal::new();
    let truths = truths(arguments, recipe.fit, &dataset, &draws, &mut terminal)?;

    // The first reference stands for all pictures: a recipe that keeps their aspect depends on it.
    let first = draws
        .drawn()
        .next()
        .map(|index| read(&dataset.references[index]))
        .transpose()?;

    let recipe = recipe.for_pictures_like(first.as_ref());
    let plan = plan(&recipe, &model.spec, &shots)?;

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
    let lines = evaluation.measured(&draws, &mut terminal)?;
    match &arguments.json {
        Some(file) => write(file, arguments, &model, &recipe, &plan, lines),
        None => Ok(()),
    }
}

/// Returns how is judged: the library's recipe, or what the flags say.
fn recipe(arguments: &EvalArguments) -> Result<Recipe, Failure> {
    let Some(folder) = &arguments.recipe else {
        return Ok(Recipe {
            fit: arguments.fit,
            cells: arguments.cells.map(usize::from),
            ..arguments.judging.recipe(arguments.class_name.clone())
        });
    };

    // The truth of a data set is about whole pictures.
    let recipe = held_recipe::open(folder)?.winclip;
    if recipe.regions == [Region::default()] {
        return Ok(recipe);
    }

    let words = "--recipe: it has a crop, a mask or regions, and eval judges whole pictures";
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

/// Returns what is encoded with references, without, or for both, whatever `shots` asks for.
fn plan(recipe: &Recipe, spec: &ModelSpec, shots: &[usize]) -> Result<EncodePlan, Failure> {
    // Problems of both kinds of plan are collected: a person mends the flags in one round.
    let has_text = spec.text.is_some();
    let mut problems = shot_problems(shots, has_text);
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

        match recipe.encode_plan(spec, with_references) {
            Ok(plan) => all = Some(joined(all, plan)),
            Err(found) => problems.extend(as_flags(&found)),
        }
    }

    // Both plans can have the same problems.
    let mut told = BTreeSet::new();
    problems.retain(|problem| told.insert(problem.clone()));
    all.filter(|_| problems.is_empty())
        .ok_or_else(|| Failure::words(Exit::Usage, problems.join("\n")))
}

fn shot_problems(shots: &[usize], has_text: bool) -> Vec<String> {
    // A number that is named twice would give two lines of one name.
    let mut problems = vec![];
    if (1..shots.len()).any(|i| shots[..i].contains(&shots[i])) {
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

/// The references that each run compares with: for each number of shots, the indices of each draw.
struct Draws(Vec<(usize, Vec<Vec<usize>>)>);

impl Draws {
    /// Draws with seeds 0, 1, 2 and so on, no two of them the same: one of none, and one of all.
    fn new(shots: &[usize], count: usize, seeds: usize) -> Self {
        let mut draws = vec![];
        for &shots in shots {
            draws.push((shots, distinct_draws(count, shots, seeds)));
        }

        Draws(draws)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|(_, draws)| draws.len()).sum()
    }

    /// Returns every index that is drawn at all, once.
    fn drawn(&self) -> impl Iterator<Item = usize> + use<> {
        // The set puts the indices in order, in which the files are read.
        let all = self
            .0
            .iter()
            .flat_map(|(_, draws)| draws.iter().flatten().copied());

        all.collect::<BTreeSet<_>>().into_iter()
    }
}

/// All that does not change from draw to draw.
struct Evaluation {
    inspector: Inspector,
    /// Features of the references, by their index in train/good.
    references: BTreeMap<usize, RegionFeatures>,
    /// Features of the test pictures, with true for a bad part.
    tests: Vec<(RegionFeatures, bool)>,
    /// Bad pixels of the test pictures, as many as `tests`; `None` where they are not known.
    truths: Option<Vec<Truth>>,
    /// Number of good pixels in all test pictures.
    good_pixels: usize,
    /// Number of bad pixels in all test pictures.
    bad_pixels: usize,
}

impl Evaluation {
    fn encoded(
        mut inspector: Inspector,
        dataset: &Dataset,
        truths: Option<Vec<Truth>>,
        draws: &Draws,
        terminal: &mut Terminal,
    ) -> Result<Self, Failure> {
        // Features are kept in memory for all draws; see the head of this file for their size.
        let drawn: Vec<usize> = draws.drawn().collect();
        terminal.begin("pictures", drawn.len() + dataset.tests.len());
        let mut references = BTreeMap::new();
        for index in drawn {
            references.insert(index, encode(&mut inspector, &dataset.references[index])?);
            terminal.done(references.len());
        }

        // Test pictures carry the truth of the whole picture; pixels have theirs in `truths`.
        let mut tests = Vec::with_capacity(dataset.tests.len());
        for test in &dataset.tests {
            tests.push((encode(&mut inspector, &test.file)?, test.is_bad));
            terminal.done(references.len() + tests.len());
        }

        // The counts of pixels are known beforehand, so that each draw reserves its memory once.
        let regions = truths.iter().flatten().map(|truth| &truth.regions);
        let pixels: usize = regions.clone().map(|regions| regions.pixels()).sum();
        let bad_pixels: usize = regions.map(|regions| regions.bad_pixels()).sum();
        Ok(Evaluation {
            inspector,
            references,
            tests,
            truths,
            good_pixels: pixels - bad_pixels,
            bad_pixels,
        })
    }

    /// Scores and measures each draw; prints a line and tells a row for each number of references.
    fn measured(&mut self, draws: &Draws, terminal: &mut Terminal) -> Result<Vec<Value>, Failure> {
        // The table grows row by row on standard error, the JSON lines beside it on standard
        // output.
        terminal.say(format!(
            "{:>5} {:>5}{}",
            "shots",
            "seeds",
            MEASURES.map(|name| format!("{name:>17}")).concat()
        ));

        // `done` counts draws over all numbers of references.
        terminal.begin("draws", draws.count());
        let mut lines = vec![];
        let mut done = 0;
        for (shots, draws) in &draws.0 {
            let mut all = Vec::with_capacity(draws.len());
            for draw in draws {
                all.push(self.measure(draw)?);
                done += 1;
                terminal.done(done);
            }

            terminal.say(row(*shots, &all));
            let line = line(*shots, self.tests.len(), &all);
            // The table goes on when standard output was closed.
            terminal.print(&line)?;
            lines.push(line);
        }

        Ok(lines)
    }

    fn measure(&mut self, draw: &[usize]) -> Result<Measured, Failure> {
        // The features are cloned, since `set_references` takes them and later draws need them
        // again.
        let references = draw
            .iter()
            .map(|index| self.references[index].clone())
            .collect();

        self.inspector
            .set_references(references)
            .map_err(|error| Failure::new(Exit::Software, error))?;

        // Picture scores and pixel values are ranked apart: the measures compare each with its own
        // truth.
        let mut pictures = Scores::default();
        let mut pixels = Scores::with_capacity(self.good_pixels, self.bad_pixels);
        for (index, (features, is_bad)) in self.tests.iter().enumerate() {
            // A failure here is a bug: features of a picture that was encoded can always be scored.
            let mut scores = self
                .inspector
                .score(features)
                .map_err(|error| Failure::new(Exit::Software, error))?;

            let (score, map) = scores
                .pop()
                .expect("a data set is judged without regions: one score a picture");

            if *is_bad {
                pictures.bad(score)
            } else {
                pictures.good(score)
            }

            // The map is enlarged to the mask's size, in which pixels are compared.
            if let Some(truth) = self.truths.as_ref().map(|truths| &truths[index]) {
                pixels.picture(&map.enlarged(truth.width, truth.height), &truth.regions);
            }
        }

        // Ranking sorts all values once; each measure walks the sorted list. The order is that of
        // MEASURES.
        let pictures = pictures.ranked();
        let pixels = pixels.ranked();
        Ok([
            pictures.auroc(),
            pictures.f1_max(),
            pictures.average_precision(),
            pixels.auroc(),
            pixels.f1_max(),
            pixels.average_precision(),
            pixels.aupro(AUPRO_LIMIT),
        ])
    }
}

fn encode(inspector: &mut Inspector, file: &Path) -> Result<RegionFeatures, Failure> {
    // The file was read once already, and may have changed since.
    let picture = read(file)?;
    inspector.encode(&picture).map_err(|error| {
        let exit = match error {
            InspectError::Engine(_) => Exit::Software,
            _ => Exit::Data,
        };

        Failure::words(exit, format!("{}: {error}", file.display()))
    })
}

fn read(file: &Path) -> Result<Picture, Failure> {
    image_file::read(file).map_err(|error| Failure::new(Exit::Data, error))
}

/// Returns the values of one measure in all draws where it is defined.
fn each(all: &[Measured], measure: usize) -> Vec<f64> {
    all.iter()
        .filter_map(|measured| measured[measure])
        .collect()
}

fn row(shots: usize, all: &[Measured]) -> String {
    // A measure with one draw has no deviation, and one without truth has no value.
    let mut row = format!("{shots:>5} {:>5}", all.len());
    for measure in 0..MEASURES.len() {
        let cell = match mean_and_std(&each(all, measure)) {
            None => "-".to_owned(),
            Some((mean, None)) => format!("{mean:.4}"),
            Some((mean, Some(std))) => format!("{mean:.4} ± {std:.4}"),
        };

        row += &format!("{cell:>17}");
    }

    row
}

fn line(shots: usize, pictures: usize, all: &[Measured]) -> Value {
    // The values of each draw are told beside mean and deviation, so that readers can test for
    // themselves.
    let mut line = json!({"shots": shots, "seeds": all.len(), "pictures": pictures});
    for (measure, name) in MEASURES.iter().enumerate() {
        let each = each(all, measure);
        line[name] = mean_and_std(&each).map_or(
            Value::Null,
            |(mean, std)| json!({"mean": mean, "std": std, "each": each}),
        );
    }

    line
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

    let grid = plan.grid(&model.spec);
    let all = json!({
        "winspect": env!("CARGO_PKG_VERSION"),
        "dataset": arguments.dataset.display().to_string(),
        "model": model.label(),
        "class_name": recipe.class_name,
        "preset": recipe.preset,
        "fit": recipe.fit,
        "input_px": plan.square_side().ok(),
        "grid": {"w": grid.w, "h": grid.h},
        "block": recipe.block,
        "maps": maps,
        "results": lines,
    });

    let written = std::fs::write(file, format!("{all:#}\n"));
    written.map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", file.display())))
}
