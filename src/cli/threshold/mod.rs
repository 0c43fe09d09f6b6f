//! `winspect threshold line.toml --good PICTURES --bad PICTURES`: where should the line's threshold be, and what does each
//! cost? The line may run meanwhile: nothing of it is changed or locked. Text for people on standard output.
//!
//! `choice.rs` has the prices, `histogram.rs` the figure, `stored.rs` the line's own parts.

mod choice;
mod histogram;
mod stored;

use super::flags::check_output_file;
use super::run::configuration;
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::config::LineConfig;
use crate::model::ModelFolder;
use crate::recipe::active::{ActiveRecipe, UNTAUGHT};
use crate::recipe::conformal::{FalseRejectRate, percent};
use crate::recipe::judged::{JudgedPictures, Judging};
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::references::References;
use crate::recipe::spec::RecipeSpec;
use crate::recipe::threshold::{GoodKind, by_rate, of_region};
use choice::{Candidate, Costs, KnownScores};
use clap::Args;
use histogram::{Histogram, ThresholdMark};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use stored::StoredParts;

/// Arguments of `winspect threshold`.
#[derive(Debug, Args)]
pub struct ThresholdArguments {
    /// The line's configuration
    line: PathBuf,
    /// The recipe, by its name; the line's first unless given
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// The region, by its name, where the recipe has several
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// A picture of a good part that is not among the references, or a folder of them; may be repeated. Without any the
    /// recipe's calibration pictures serve, or the references, each against the others
    #[arg(long, value_name = "PICTURES")]
    good: Vec<PathBuf>,
    /// A picture of a bad part, or a folder of them; may be repeated
    #[arg(long, value_name = "PICTURES")]
    bad: Vec<PathBuf>,
    /// Share of the good parts that may fail
    #[arg(long, value_name = "RATE", default_value = "0.05", value_parser = rate)]
    false_reject_rate: FalseRejectRate,
    /// Price of a bad part that passes
    #[arg(long, value_name = "PRICE", default_value_t = 10.0, value_parser = price)]
    cost_miss: f64,
    /// Price of a good part that fails
    #[arg(long, value_name = "PRICE", default_value_t = 1.0, value_parser = price)]
    cost_reject: f64,
    /// Share of bad parts in the production; that among the pictures unless given
    #[arg(long, value_name = "SHARE", value_parser = share)]
    bad_share: Option<f64>,
    /// Write the histogram into this file
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    /// Newest parts of the line's store that are looked at
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    stored: u16,
}

/// Rows of the table of thresholds at most.
const ROWS_MAX: usize = 20;

fn rate(words: &str) -> Result<FalseRejectRate, String> {
    let rate = words.parse().ok().and_then(FalseRejectRate::new);
    rate.ok_or_else(|| "must be between 0 and 1 (exclusive), such as 0.05".to_owned())
}

fn price(words: &str) -> Result<f64, String> {
    // The good range is tested, so that NaN is refused.
    let good_range = 0.0..=1e9;
    match words.parse() {
        Ok(price) if good_range.contains(&price) => Ok(price),
        _ => Err("must be a number from 0 to 1e9".to_owned()),
    }
}

fn share(words: &str) -> Result<f64, String> {
    // As for a price, NaN is refused.
    let good_range = 0.0..=1.0;
    match words.parse() {
        Ok(share) if good_range.contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1, such as 0.01".to_owned()),
    }
}

/// Judges the known parts by the line's recipe, and tells what each threshold costs.
///
/// # Errors
/// When the configuration, the recipe or a picture cannot be used, or a good part is a bad one too.
pub fn run(arguments: &ThresholdArguments) -> Result<(), Failure> {
    // What can be refused without the model is refused first.
    let config = configuration(&arguments.line)?;
    let spec = chosen_recipe(&config, arguments.recipe.as_deref())?;
    let region = chosen_region(spec, arguments.region.as_deref())?;
    let label = spec.label();
    if let Some(file) = &arguments.picture {
        check_output_file("picture", file)?;
    }

    say("opening the model and learning the references");
    let opened = ModelFolder::open(&config.model);
    let model = opened.map_err(|error| Failure::new(Exit::Config, error))?;

    let preparer = RecipePreparer {
        model,
        engines: config.engines.clone(),
        batch: config.batch,
    };

    let mut active = preparer.prepare(spec, PrepareMode::Startup)?;
    if !active.is_taught {
        let words = format!("recipe {label}: {UNTAUGHT}");
        return Err(Failure::words(Exit::Data, words));
    }

    let parts = KnownParts::judged(arguments, spec, region, &mut active)?;
    let known = parts.scores();

    // A recipe without a threshold of its own is told of the others all the same.
    let mut thresholds = active.thresholds(spec)?;
    let own = thresholds.swap_remove(region).ok();
    let own = own.map(|own| own.value);

    let stored = stored_parts(arguments, &config, spec, region);
    let region_words = of_region(region_name(spec, region));
    let report = ThresholdReport {
        arguments,
        parts,
        known,
        stored,
        title: format!("{label}{region_words}"),
    };

    report.tell(own)
}

fn chosen_recipe<'a>(
    config: &'a LineConfig,
    name: Option<&str>,
) -> Result<&'a RecipeSpec, Failure> {
    let Some(name) = name else {
        return Ok(&config.recipe);
    };

    let mut recipes = config.recipes.iter().chain([&config.recipe]);
    let found = recipes.find(|recipe| recipe.name == name);
    found.ok_or_else(|| {
        let words = format!("--recipe: the line has no {name:?}");
        Failure::words(Exit::Usage, words)
    })
}

/// Returns the place of the region among the recipe's.
fn chosen_region(spec: &RecipeSpec, name: Option<&str>) -> Result<usize, Failure> {
    let regions = &spec.winclip.regions;
    let place = regions.iter().position(|region| {
        // Without a name, a region that has none is not the one that is meant.
        let own = region.name.as_deref();
        name.is_some() && own == name
    });

    // A bad picture is bad in one region, and which one is not known.
    match (name, place) {
        (_, Some(place)) => Ok(place),
        (None, None) if regions.len() == 1 => Ok(0),
        _ => {
            let names = regions.iter().flat_map(|region| region.name.as_deref());
            let names: Vec<&str> = names.collect();
            let words = match names.is_empty() {
                true => "--region: the recipe has no regions; take it out".to_owned(),
                false => {
                    let names = names.join(", ");
                    format!("--region: name one of the recipe's: {names}")
                }
            };

            Err(Failure::words(Exit::Usage, words))
        }
    }
}

fn region_name(spec: &RecipeSpec, region: usize) -> Option<&str> {
    spec.winclip.regions[region].name.as_deref()
}

/// Reads the line's newest parts. A store that is not there yet is told, and no fault.
fn stored_parts(
    arguments: &ThresholdArguments,
    config: &LineConfig,
    spec: &RecipeSpec,
    region: usize,
) -> Option<StoredParts> {
    let count = usize::from(arguments.stored);
    let label = spec.label();
    let region = region_name(spec, region);
    let read = StoredParts::read(&config.store.file, &label, region, count);

    match read {
        Ok(stored) => Some(stored),
        Err(why) => {
            say(format!("the line's stored parts are not looked at: {why}"));
            None
        }
    }
}

/// Known parts with their scores in one region.
struct KnownParts {
    good: Vec<(PathBuf, f32)>,
    bad: Vec<(PathBuf, f32)>,
    /// Origin of the good parts.
    good_kind: GoodKind,
}

impl KnownParts {
    fn judged(
        arguments: &ThresholdArguments,
        spec: &RecipeSpec,
        region: usize,
        active: &mut ActiveRecipe,
    ) -> Result<Self, Failure> {
        // The references are read again where parts are given: none of those may be one of them.
        let has_good = !arguments.good.is_empty();
        let has_bad = !arguments.bad.is_empty();
        let references = match has_good || has_bad {
            true => References::read(&spec.references, &mut |_| ())?,
            false => References::default(),
        };

        let mut read = |kind, paths: &[PathBuf]| {
            let judging = Judging {
                is_lenient: false,
                kind,
                references: &references,
                gate: &active.gate,
                inspector: &mut active.inspector,
                looks: None,
            };

            JudgedPictures::read(paths, judging)
        };

        let good = match &active.calibration {
            Some(calibration) if !has_good => calibration.clone(),
            _ => read("good", &arguments.good)?,
        };

        let bad = read("bad", &arguments.bad)?;
        refuse_both(&good, &bad)?;

        let mut parts = KnownParts {
            good: of_one_region(good, region),
            bad: of_one_region(bad, region),
            good_kind: GoodKind::Calibration,
        };

        // Neither was given: the references serve, each against the others.
        let has_calibration = active.calibration.is_some();
        if !has_good && !has_calibration {
            parts.good = left_out(active, region)?;
            parts.good_kind = GoodKind::References;
        }

        Ok(parts)
    }

    fn scores(&self) -> KnownScores {
        let scores = |parts: &[(PathBuf, f32)]| -> Vec<f32> {
            let scores = parts.iter().map(|(_, score)| *score);
            scores.collect()
        };
        let good = scores(&self.good);
        let bad = scores(&self.bad);

        KnownScores::new(good, bad)
    }
}

/// A part is good or bad; a picture with both labels makes every figure wrong.
fn refuse_both(good: &JudgedPictures, bad: &JudgedPictures) -> Result<(), Failure> {
    for (file, hash) in bad.files.iter().zip(&bad.hashes) {
        let same = good.hashes.iter().position(|other| other == hash);
        let Some(place) = same else {
            continue;
        };

        let as_good = good.files[place].display();
        let as_bad = file.display();
        let words = format!(
            "{as_good} is given as good, and the same picture {as_bad} as bad; take one of them out"
        );

        return Err(Failure::words(Exit::Data, words));
    }

    Ok(())
}

fn of_one_region(mut parts: JudgedPictures, region: usize) -> Vec<(PathBuf, f32)> {
    let scores = parts.scores.swap_remove(region);
    let files = parts.files.into_iter();
    files.zip(scores).collect()
}

/// Returns the references, each with its score against the others.
fn left_out(active: &mut ActiveRecipe, region: usize) -> Result<Vec<(PathBuf, f32)>, Failure> {
    let compared = active.inspector.leave_one_out();
    let mut regions = compared.map_err(|error| Failure::new(Exit::Software, error))?;

    let judged = regions.swap_remove(region).into_iter();
    let scores = judged.map(|(score, _)| score);
    let files = active.references.iter().cloned();

    Ok(files.zip(scores).collect())
}

/// All that is told of the known parts.
struct ThresholdReport<'a> {
    arguments: &'a ThresholdArguments,
    parts: KnownParts,
    known: KnownScores,
    /// `None` where the store cannot be read.
    stored: Option<StoredParts>,
    /// The recipe with its revision, and the region.
    title: String,
}

impl ThresholdReport<'_> {
    /// Tells everything; `own` is the recipe's threshold.
    fn tell(&self, own: Option<f32>) -> Result<(), Failure> {
        let title = &self.title;
        let good = self.known.good.len();
        let bad = self.known.bad.len();
        let good_kind = self.parts.good_kind;
        out(format!(
            "recipe {title}: {good} good parts ({good_kind}), {bad} bad parts"
        ))?;

        self.tell_scores()?;

        let costs = Costs {
            miss: self.arguments.cost_miss,
            reject: self.arguments.cost_reject,
            bad_share: self.arguments.bad_share,
        };

        let proposed = self.proposed(own, costs);
        self.tell_histogram(&proposed)?;
        self.tell_candidates(costs)?;
        if let Some(stored) = &self.stored {
            let told = stored.told(title);
            out(format!("\n{told}"))?;
        }

        out("")?;
        for mark in &proposed {
            self.tell_proposed(mark)?;
        }

        self.tell_rate()?;

        // The figure comes last: a file that cannot be written takes none of the above with it.
        self.draw(title, &proposed)
    }

    fn tell_scores(&self) -> Result<(), Failure> {
        let mut all: Vec<(f32, &str, &Path)> = vec![];
        let kinds = [("good", &self.parts.good), ("bad", &self.parts.bad)];
        for (kind, parts) in kinds {
            for (file, score) in parts {
                all.push((*score, kind, file.as_path()));
            }
        }

        // A threshold lies between two lines of the list.
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (score, kind, file) in all {
            let file = file.display();
            out(format!("{score:.4} {kind:4} {file}"))?;
        }

        Ok(())
    }

    /// Returns the thresholds to compare: the recipe's, that by the rate and the cheapest.
    fn proposed(&self, own: Option<f32>, costs: Costs) -> Vec<ThresholdMark> {
        let mark = |name: &str, threshold: Option<f32>| {
            threshold.map(|threshold| ThresholdMark {
                name: name.to_owned(),
                threshold,
            })
        };

        // Without either there is nothing to weigh the others against.
        let has_bad = !self.known.bad.is_empty();
        let has_good = !self.known.good.is_empty();
        let cheapest = match has_bad && has_good {
            true => self.known.cheapest(costs),
            false => None,
        };

        let by_cost = cheapest.map(|cheapest| cheapest.threshold);

        // What is missing for the rate is told below, by `tell_rate`.
        let rate = self.arguments.false_reject_rate;
        let good_kind = self.parts.good_kind;
        let found = by_rate(rate, &self.known.good, good_kind).ok();
        let by_rate = found.map(|found| found.value);

        let marks = [
            mark("the recipe's", own),
            mark("by rate", by_rate),
            mark("by cost", by_cost),
        ];

        marks.into_iter().flatten().collect()
    }

    fn tell_histogram(&self, marks: &[ThresholdMark]) -> Result<(), Failure> {
        let Some(histogram) = Histogram::new(&self.known) else {
            return out("no part to draw: give --good or --bad, or the recipe references");
        };

        out("\no good, x bad")?;
        for line in histogram.text(marks) {
            out(line)?;
        }

        Ok(())
    }

    fn draw(&self, title: &str, marks: &[ThresholdMark]) -> Result<(), Failure> {
        let Some(file) = &self.arguments.picture else {
            return Ok(());
        };

        let Some(histogram) = Histogram::new(&self.known) else {
            return Ok(());
        };

        let figure = histogram.svg(title, marks);
        let written = std::fs::write(file, figure);

        written.map_err(|error| {
            let words = format!("{}: {error}", file.display());
            Failure::words(Exit::Data, words)
        })
    }

    fn tell_candidates(&self, costs: Costs) -> Result<(), Failure> {
        if self.known.bad.is_empty() {
            return Ok(());
        }

        let share = match costs.bad_share {
            Some(share) => format!("of which {} are bad", percent(share)),
            None => "with as many bad ones as here".to_owned(),
        };

        let miss = costs.miss;
        let reject = costs.reject;
        out(format!(
            "\nprice of 1000 parts, {share}; a bad one that passes costs {miss}, a good one that fails {reject}"
        ))?;

        out("threshold  good that fail  bad that pass  price")?;

        // Of many, those around the cheapest.
        let candidates = self.known.candidates();
        let cheapest = self.known.cheapest(costs);
        let place = candidates.iter().position(|one| Some(*one) == cheapest);

        // The cheapest is in the middle of the rows, unless the list ends before.
        let last_first = candidates.len().saturating_sub(ROWS_MAX);
        let above_cheapest = place.unwrap_or(0).saturating_sub(ROWS_MAX / 2);
        let first = above_cheapest.min(last_first);

        for candidate in candidates.iter().skip(first).take(ROWS_MAX) {
            let cost = self.known.cost(*candidate, costs);
            let Candidate {
                threshold,
                good_rejected,
                bad_passed,
            } = candidate;

            out(format!(
                "{threshold:9.4} {good_rejected:15} {bad_passed:14} {cost:6.1}"
            ))?;
        }

        match last_first {
            0 => Ok(()),
            left_out => out(format!(
                "{left_out} more, further from the cheapest, are left out"
            )),
        }
    }

    fn tell_proposed(&self, mark: &ThresholdMark) -> Result<(), Failure> {
        let name = &mark.name;
        let threshold = mark.threshold;
        let good = self.known.good.len();
        let bad = self.known.bad.len();

        let Candidate {
            good_rejected,
            bad_passed,
            ..
        } = self.known.at(threshold);

        // The store may be unreadable, or without a part of this recipe.
        let stored = self.stored.as_ref();
        let under = stored.and_then(|stored| stored.under(threshold));
        let under = under.map(|words| format!("; {words}"));
        let stored = under.unwrap_or_default();

        out(format!(
            "{name}: threshold = {threshold}: {good_rejected} of {good} good parts fail, {bad_passed} of {bad} bad ones pass{stored}"
        ))
    }

    /// Tells what the rate promises, or what is missing for it.
    fn tell_rate(&self) -> Result<(), Failure> {
        let rate = self.arguments.false_reject_rate;
        let good_kind = self.parts.good_kind;

        match by_rate(rate, &self.known.good, good_kind) {
            Ok(found) => {
                let rate = rate.get();
                out(format!("false_reject_rate = {rate}: {found}"))
            }
            Err(why) => out(format!("no threshold by rate: {why}")),
        }
    }
}

/// Prints a line; a reader that has left is no fault.
fn out(words: impl Display) -> Result<(), Failure> {
    print(words).map(drop)
}
