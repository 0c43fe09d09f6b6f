//! `winspect replay line.toml`: the stored pictures of a line's parts are judged again, and what would change is told. The line
//! may run meanwhile: files are read, none is written, and the processor is left to the line.
//!
//! One row a part that would change, or with `--csv` and `--json` one a part that was judged, on standard output; the
//! summary comes last, for programs on standard error. Ends with 65 when files of parts are damaged or of a later version.

use super::history::verdicts;
use super::run::configuration;
use super::terminal::{Terminal, say};
use crate::base::exit::{Exit, Failure, chain};
use crate::base::priority;
use crate::base::times;
use crate::config::{self, LineConfig};
use crate::data::history_rows::csv_text;
use crate::data::verdict::Verdict;
use crate::evidence::kept;
use crate::model::ModelFolder;
use crate::recipe::library::hold::RevisionHold;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::replay::{
    GivenThreshold, Judgement, KeptQuery, ListedPart, NotJudged, ReplayError, ReplaySummary,
    Replayed, Replayer, list,
};
use crate::recipe::spec::RecipeSpec;
use clap::Args;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Parts that are judged where neither their number nor their time is given.
const PARTS: usize = 200;
/// Word for the recipe that judged each part.
const AS_JUDGED: &str = "as-judged";

/// Arguments of `winspect replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Judge by this recipe: NAME of the line, NAME@REVISION or library:NAME@REVISION of its library, or as-judged: each
    /// part by the revision and threshold that judged it. Unless given, each part is judged by its recipe as it is now
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Decide by this threshold, in every region or in the one named; may be repeated
    #[arg(long, value_name = "[REGION=]X", value_parser = threshold)]
    threshold: Vec<GivenThreshold>,
    /// Captured then or later: 2026-11-30, "2026-11-30 14:00", 2026-11-30T13:00:00Z, or 8h and 7d ago
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    since: Option<Timestamp>,
    /// Parts of that camera, or of the name that several share
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Parts of that verdict
    #[arg(long, value_name = "VERDICT", value_parser = verdicts())]
    verdict: Option<Verdict>,
    /// At most so many parts, the newest; 200 unless given, and all with --since
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print comma-separated values, a row a part, with the names of the columns first
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON line a part
    #[arg(long)]
    json: bool,
}

fn threshold(words: &str) -> Result<GivenThreshold, String> {
    let (region, value) = match words.rsplit_once('=') {
        Some((region, value)) => (Some(region.to_owned()), value),
        None => (None, words),
    };

    // The good range is tested, so that NaN is refused. It is the range of the command set_threshold.
    match value.parse() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(GivenThreshold { region, value }),
        _ => {
            Err("must be a number from 0 to 2, such as 0.31, or left=0.31 for a region".to_owned())
        }
    }
}

impl ReplayArguments {
    fn query(&self) -> KeptQuery {
        let unless_given = match self.since {
            Some(_) => None,
            None => Some(PARTS),
        };

        KeptQuery {
            since: self.since,
            camera: self.camera.clone(),
            verdict: self.verdict,
            limit: self.limit.or(unless_given),
        }
    }
}

/// Judges stored parts again, and tells what would change.
///
/// # Errors
/// When the line keeps no evidence, a recipe or the engine cannot be used; after all, when files are damaged.
pub fn run(arguments: &ReplayArguments) -> Result<(), Failure> {
    // All threads that are started from here on, the engine's too, inherit it.
    priority::lower_own();
    let config = configuration(&arguments.line)?;
    let folder = folder_of(&config, &arguments.line)?;
    let chosen = ReplayRecipe::of(arguments.recipe.as_deref(), &config)?;
    let listed = list(&folder, &arguments.query()).map_err(|error| {
        let words = format!(
            "the evidence in {} cannot be read: {error}",
            folder.display()
        );
        Failure::words(Exit::Unavailable, words)
    })?;

    let mut report = ReplayReport::new(arguments);
    let jobs = jobs_of(listed, &chosen, &config, &mut report);
    if !jobs.is_empty() {
        say("opening the model and learning the references");
        let opened = ModelFolder::open(&config.model);
        let preparer = RecipePreparer {
            model: opened.map_err(|error| Failure::new(Exit::Config, error))?,
            engines: config.engines.clone(),
            batch: config.batch,
        };

        for job in jobs.into_values() {
            if !job.run(&preparer, &chosen, &folder, &mut report)? {
                return Ok(()); // standard output was closed
            }
        }
    }

    report.finish()
}

fn folder_of(config: &LineConfig, line: &Path) -> Result<PathBuf, Failure> {
    match &config.evidence {
        Some(evidence) => Ok(evidence.folder.clone()),
        None => {
            let line = line.display();
            let words = format!(
                "{line} has no table [evidence]: the line keeps no pictures that could be judged again"
            );

            Err(Failure::words(Exit::Config, words))
        }
    }
}

/// The recipe that parts are judged by.
enum ReplayRecipe {
    /// Each part by the recipe of its name, as it is now.
    Now,
    /// Each part by the revision and the threshold that judged it.
    AsJudged,
    /// All by this one.
    Named(Box<RecipeSpec>),
}

impl ReplayRecipe {
    fn of(words: Option<&str>, config: &LineConfig) -> Result<Self, Failure> {
        let Some(words) = words else {
            return Ok(ReplayRecipe::Now);
        };

        if words == AS_JUDGED {
            return Ok(ReplayRecipe::AsJudged);
        }

        let refused = |why: String| Failure::words(Exit::Usage, format!("--recipe: {why}"));
        let in_library = words.strip_prefix("library:");
        let label = in_library.unwrap_or(words);

        // A name alone is the line's recipe of that name, if the library need not be asked.
        let own = recipes_of(config).find(|spec| spec.name == label);
        if let (None, Some(own)) = (in_library, own) {
            return Ok(ReplayRecipe::Named(Box::new(own.clone())));
        }

        let library = &config.library;
        let revision = match label.rsplit_once('@') {
            Some((name, number)) => {
                let number = number.parse();
                let number = number
                    .map_err(|_| refused(format!("{words:?} has no revision: write NAME@7")))?;

                library.revision(name, number)
            }
            None => library
                .current(label)
                .and_then(|found| found.ok_or_else(|| library.no_recipe(label))),
        };

        let revision = revision.map_err(|error| refused(error.to_string()))?;
        let spec = config::recipe_of(revision).map_err(|error| refused(error.to_string()))?;
        Ok(ReplayRecipe::Named(Box::new(spec)))
    }

    /// The recipe for a part that `label` judged.
    fn for_part(&self, label: &str, config: &LineConfig) -> Result<RecipeSpec, NotJudged> {
        let (name, number) = label.rsplit_once('@').unwrap_or((label, ""));
        let other = || NotJudged::OtherRecipe(label.to_owned());

        match self {
            ReplayRecipe::Now => {
                let own = recipes_of(config).find(|spec| spec.name == name);
                own.cloned().ok_or_else(other)
            }
            ReplayRecipe::Named(spec) => match spec.name == name {
                true => Ok((**spec).clone()),
                false => Err(other()),
            },
            ReplayRecipe::AsJudged => {
                let gone = || NotJudged::NoRevision(label.to_owned());
                if let Some(own) = recipes_of(config).find(|spec| spec.label() == label) {
                    return Ok(own.clone());
                }

                let number = number.parse().map_err(|_| gone())?;
                let revision = config.library.revision(name, number).map_err(|_| gone())?;
                config::recipe_of(revision).map_err(|_| gone())
            }
        }
    }
}

fn recipes_of(config: &LineConfig) -> impl Iterator<Item = &RecipeSpec> {
    [&config.recipe].into_iter().chain(&config.recipes)
}

/// Parts that one recipe judges.
struct ReplayJob {
    spec: RecipeSpec,
    stems: Vec<String>,
}

/// Sorts the parts by the recipe that is to judge them, so that each is prepared once.
fn jobs_of(
    listed: Vec<ListedPart>,
    chosen: &ReplayRecipe,
    config: &LineConfig,
    report: &mut ReplayReport,
) -> BTreeMap<String, ReplayJob> {
    let mut jobs: BTreeMap<String, ReplayJob> = BTreeMap::new();
    let mut known: BTreeMap<String, RecipeSpec> = BTreeMap::new();

    for ListedPart { stem, recipe } in listed {
        let spec = recipe.and_then(|label| match known.get(&label) {
            Some(spec) => Ok(spec.clone()),
            None => {
                let spec = chosen.for_part(&label, config)?;
                known.insert(label, spec.clone());
                Ok(spec)
            }
        });

        match spec {
            Ok(spec) => {
                let job = jobs.entry(spec.label()).or_insert_with(|| ReplayJob {
                    spec,
                    stems: vec![],
                });

                job.stems.push(stem);
            }
            Err(why) => report.note(&stem, &why),
        }
    }

    jobs
}

impl ReplayJob {
    /// Prepares the recipe, and holds its revision: the line may prune revisions meanwhile.
    fn prepare(
        &self,
        preparer: &RecipePreparer,
    ) -> Result<(Option<RevisionHold>, Replayer), Failure> {
        let revision = self.spec.library.as_ref();
        let hold = revision.map(RevisionHold::of).transpose()?;
        let replayer = Replayer::prepare(preparer, &self.spec, PrepareMode::Live)?;

        Ok((hold, replayer))
    }

    /// Judges the parts; false when standard output was closed.
    fn run(
        self,
        preparer: &RecipePreparer,
        chosen: &ReplayRecipe,
        folder: &Path,
        report: &mut ReplayReport,
    ) -> Result<bool, Failure> {
        // Other recipes' parts are judged all the same.
        let (_hold, mut replayer) = match self.prepare(preparer) {
            Ok(prepared) => prepared,
            Err(failure) => {
                report.note_unprepared(&self, failure);
                return Ok(true);
            }
        };

        if matches!(chosen, ReplayRecipe::AsJudged) {
            replayer = replayer.as_judged();
        }

        let mut replayer = replayer
            .with_thresholds(report.arguments.threshold.clone())
            .map_err(|why| Failure::words(Exit::Usage, format!("--threshold: {why}")))?;

        let label = self.spec.label();
        report
            .terminal
            .begin(format!("parts, {label}"), self.stems.len());
        for (done, stem) in self.stems.iter().enumerate() {
            let kept = kept::read(folder, stem);
            let replayed = match kept {
                Ok(kept) => replayer.replay(&kept),
                Err(error) => Err(ReplayError::of(error)),
            };

            match replayed {
                Ok(replayed) => {
                    if !report.tell(&replayed)? {
                        return Ok(false);
                    }
                }
                Err(ReplayError::NotJudged(why)) => report.note(stem, &why),
                Err(ReplayError::Engine(error)) => {
                    return Err(Failure::words(Exit::Software, chain(&error)));
                }
            }

            report.terminal.done(done + 1);
        }

        report.note_known_bad(&replayer);
        Ok(true)
    }
}

/// All that is told.
struct ReplayReport<'a> {
    arguments: &'a ReplayArguments,
    terminal: Terminal,
    summary: ReplaySummary,
    /// Words on the known bad parts of each recipe.
    known_bad: Vec<String>,
    has_head: bool,
    /// Parts whose files a person should look at.
    faults: usize,
    /// Why the first recipe that cannot be prepared cannot.
    unprepared: Option<Failure>,
}

impl<'a> ReplayReport<'a> {
    fn new(arguments: &'a ReplayArguments) -> Self {
        ReplayReport {
            arguments,
            terminal: Terminal::new(),
            summary: ReplaySummary::default(),
            known_bad: vec![],
            has_head: false,
            faults: 0,
            unprepared: None,
        }
    }

    /// Counts a part that was not judged; one whose files are at fault is told.
    fn note(&mut self, stem: &str, why: &NotJudged) {
        self.summary.add_not_judged(why);
        if why.is_fault() {
            self.faults += 1;
            self.terminal.say(format!("{stem}: {why}"));
        }
    }

    /// Counts the parts of a recipe that cannot be prepared, and tells why once.
    fn note_unprepared(&mut self, job: &ReplayJob, failure: Failure) {
        let parts = job.stems.len();
        let label = job.spec.label();
        self.terminal.say(format!(
            "{parts} parts of {label} are not judged because {failure}"
        ));

        self.unprepared.get_or_insert(failure);
        let why = NotJudged::Unprepared(label);
        for _ in 0..parts {
            self.summary.add_not_judged(&why);
        }
    }

    /// Keeps, in words, how many known bad parts a recipe still finds.
    fn note_known_bad(&mut self, replayer: &Replayer) {
        let (found, all) = replayer.known_bad();
        if all > 0 {
            let recipe = replayer.recipe();
            let words = format!("{recipe}: known bad parts found: {found} of {all}");
            self.known_bad.push(words);
        }
    }

    /// Counts and prints a part; false when standard output was closed.
    fn tell(&mut self, replayed: &Replayed) -> Result<bool, Failure> {
        self.summary.add(replayed);
        if self.arguments.json {
            let row = serde_json::to_string(replayed).expect("plain values");
            return self.terminal.print(row);
        }

        if self.arguments.csv {
            let row = csv_text(&cells(replayed));
            let head = match self.has_head {
                true => String::new(),
                false => csv_text(&COLUMNS),
            };

            self.has_head = true;
            return self.terminal.print((head + &row).trim_end());
        }

        match replayed.is_changed() {
            true => self.terminal.print(row(replayed)),
            false => Ok(true),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.terminal.end();
        let mut words = vec![self.summary.to_string()];
        words.extend(self.known_bad);
        let words = words.join("\n");

        match self.arguments.json || self.arguments.csv {
            true => say(words),
            false => {
                self.terminal.print(words)?;
            }
        }

        // Where nothing was judged, nothing that was asked for is answered.
        let is_any_judged = self.summary.parts > self.summary.not_judged();
        let unprepared = self.unprepared.filter(|_| !is_any_judged);

        match self.faults {
            0 => unprepared.map_or(Ok(()), Err),
            faults => Err(Failure::words(
                Exit::Data,
                format!("{faults} parts could not be read, told above"),
            )),
        }
    }
}

/// A part that would change, for a person.
fn row(replayed: &Replayed) -> String {
    let Replayed {
        part,
        part_id,
        region,
        was,
        now,
        ..
    } = replayed;

    let region = region
        .as_ref()
        .map_or(String::new(), |region| format!(" {region}"));
    let part_id = part_id
        .as_ref()
        .map_or(String::new(), |id| format!(" ({id})"));
    format!(
        "{part}{region}{part_id}: {} -> {}, {} (was {})",
        was.verdict.word(),
        now.verdict.word(),
        figures(now),
        figures(was)
    )
}

fn figures(judgement: &Judgement) -> String {
    match (judgement.score, judgement.threshold, judgement.reason) {
        (_, _, Some(reason)) => reason.word().to_owned(),
        (Some(score), Some(threshold), _) => format!("{score:.4} of {threshold:.4}"),
        _ => "no score".to_owned(),
    }
}

const COLUMNS: [&str; 13] = [
    "part",
    "part_id",
    "region",
    "verdict_was",
    "verdict_now",
    "recipe_was",
    "recipe_now",
    "score_was",
    "score_now",
    "threshold_was",
    "threshold_now",
    "reason_now",
    "bytes",
];

fn cells(replayed: &Replayed) -> [String; 13] {
    let Replayed { was, now, .. } = replayed;
    let number = |value: Option<f32>| value.map_or(String::new(), |value| value.to_string());
    let reason = now.reason.map_or("", |reason| reason.word());
    let bytes = serde_json::to_value(replayed.bytes).expect("a word");

    [
        replayed.part.clone(),
        replayed.part_id.clone().unwrap_or_default(),
        replayed.region.clone().unwrap_or_default(),
        was.verdict.word().to_owned(),
        now.verdict.word().to_owned(),
        was.recipe.clone(),
        now.recipe.clone(),
        number(was.score),
        number(now.score),
        number(was.threshold),
        number(now.threshold),
        reason.to_owned(),
        bytes.as_str().unwrap_or_default().to_owned(),
    ]
}
