//! `winspect teach`: pictures of good and bad parts, or the next parts of a running line, make the next revision of
//! a recipe in the library. A line that runs with it takes it over.

use super::choose;
use super::live_command::{carry_out, run_of, take_over};
use super::recipe::{find_recipe, library_at, model_of};
use super::run::configuration;
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::config::{self, LineConfig};
use crate::model::ModelFolder;
use crate::recipe::adopt::{adopted, note_of};
use crate::recipe::default_block;
use crate::recipe::known_bad::KnownBad;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::folder::Library;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::writer::LibraryWriter;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::recipe::teach::{OddOne, take_odd_ones_out, teach};
use crate::recipe::threshold::of_region;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `winspect teach`.
#[derive(Debug, Args)]
pub struct TeachArguments {
    /// A line's configuration, or a library's folder
    line: PathBuf,
    /// Name of the recipe; the line's first unless given
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// A picture of a good part, or a folder of them; may be repeated
    #[arg(long, value_name = "PICTURES")]
    good: Vec<PathBuf>,
    /// A picture of a bad part, or a folder of them; may be repeated
    #[arg(long, value_name = "PICTURES", required_unless_present_any = ["good", "parts", "group", "choose"])]
    bad: Vec<PathBuf>,
    /// Measure which block, top share and cells tell the recipe's good and bad pictures apart best, and judge by those
    /// where they win by more than chance: 8 good and 3 bad pictures at least, for models without text
    #[arg(long)]
    choose: bool,
    /// Take the good pictures too that are unlike the other references
    #[arg(long, requires = "good")]
    odd: bool,
    /// The next N parts of the running line, in place of pictures
    #[arg(long, value_name = "N", group = "live", conflicts_with_all = ["good", "bad", "choose"])]
    parts: Option<u32>,
    /// The parts of a group of `winspect suggest`, in place of pictures
    #[arg(long, value_name = "N", group = "live", conflicts_with_all = ["good", "bad", "choose"])]
    group: Option<u64>,
    /// What those parts are
    #[arg(
        long = "as",
        value_name = "KIND",
        requires = "live",
        default_value = "good"
    )]
    taught_as: TaughtKind,
    /// Camera of those parts; any unless given
    #[arg(long, value_name = "NAME", requires = "parts")]
    camera: Option<String>,
    /// Make the revision a candidate: it does not judge until `recipe rollback` names it
    #[arg(long)]
    candidate: bool,
}

/// What the parts of a lesson are.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum TaughtKind {
    /// Good parts
    Good,
    /// Bad parts: they must fail from now on
    Bad,
}

/// Makes a revision with more pictures.
///
/// # Errors
/// When a picture cannot be used, the recipe is not there or not whole, or another command is changing the
/// library.
pub fn run(arguments: &TeachArguments) -> Result<(), Failure> {
    if arguments.parts.is_some() || arguments.group.is_some() {
        return teach_live(arguments);
    }

    // The lock comes first: what is read under it is what the revision is made of.
    let library = library_at(&arguments.line)?;
    let writer = LibraryWriter::lock(&library)?;
    let mut lesson = lesson(arguments, &library)?;
    lesson.base.by = "teach".to_owned();
    let mut taught = lesson.base.clone();
    let told = teach(
        &mut taught,
        &arguments.good,
        &arguments.bad,
        arguments.choose,
    )?;

    for words in &told.passed_over {
        say(words);
    }

    if arguments.choose {
        let Some(line) = &lesson.line else {
            let words = "--choose: a library's folder does not name a model; give the line's file";
            return Err(Failure::words(Exit::Usage, words));
        };

        choose::check_before(&taught, &line.spec, &line.model)?;
    }

    if lesson.is_new {
        lesson.base.by = format!("added from {}", arguments.line.display());
        taught = after_first(&writer, &lesson.base, taught)?;
    }

    taught.by = words_of(told.good, told.bad);
    warn_of_numbers(&taught);
    let line = lesson.line.as_ref();
    let revision = written(arguments, line, &writer, &mut taught)?;
    let revision = match line.filter(|_| arguments.choose) {
        Some(line) => chosen(line, &writer, revision, taught)?,
        None => Some(revision),
    };

    let Some(revision) = revision else {
        say("no picture is new and nothing else was chosen: there is no new revision");
        return Ok(());
    };

    let place = match arguments.candidate {
        true => writer.keep_candidate(&revision).map(|()| "a candidate"),
        false => writer
            .make_current(&revision)
            .map(|()| "the current revision"),
    }?;

    tell_place(&revision, place)?;
    drop(writer); // the line reads what stands now
    if arguments.candidate {
        return Ok(());
    }

    take_over(&arguments.line, &revision.manifest().name)
}

/// Keeps a recipe out of a file as it was, so that there is a revision to go back to. Returns the draft
/// after it, with the pictures that `taught` has beyond it.
fn after_first(writer: &LibraryWriter, base: &Draft, mut taught: Draft) -> Result<Draft, Failure> {
    let first = writer.commit(base)?;

    // The library has the pictures of the file now, and the new ones follow them.
    let fresh = taught.pictures.split_off(base.pictures.len());
    let mut after = Draft::after(&first, taught.by)?;
    after.pictures.extend(fresh);

    Ok(after)
}

/// Prints what the revision became, and of what pictures it is made.
fn tell_place(revision: &Revision, place: &str) -> Result<(), Failure> {
    let manifest = revision.manifest();
    let label = manifest.label();
    let good = manifest.count(PictureUse::Good);
    let bad = manifest.count(PictureUse::Bad);
    let by = &manifest.by;

    let pictures = format!("{good} good and {bad} bad pictures");
    print(format!("{label} is {place}: {pictures} ({by})"))?;

    Ok(())
}

/// Chooses what the revision of a draft judges by. Returns the revision that does, the draft's own replaced; `None`
/// where it would be that of before.
fn chosen(
    line: &TaughtLine,
    writer: &LibraryWriter,
    revision: Revision,
    mut taught: Draft,
) -> Result<Option<Revision>, Failure> {
    let is_other = choose::choose(&line.config, &line.model, &revision, &mut taught)
        .inspect_err(|_| writer.discard(&revision))?;

    // The draft's own revision was made for the choice alone.
    writer.discard(&revision);
    let is_new = taught.pictures.iter().any(|picture| !picture.is_held);

    if !is_other && !is_new {
        return Ok(None);
    }

    if let Some(choice) = taught.choice.as_ref().filter(|_| is_other) {
        taught.by = format!("{}; chose {}", taught.by, choice.taken);
    }

    let revision = writer.write(&taught)?;
    if is_other {
        prove(&line.config, &revision, None).inspect_err(|_| writer.discard(&revision))?;
    }

    Ok(Some(revision))
}

/// Writes the revision and prepares it as a line would, where the line's model is known. Nothing stays of one
/// that could not judge.
fn written(
    arguments: &TeachArguments,
    line: Option<&TaughtLine>,
    writer: &LibraryWriter,
    taught: &mut Draft,
) -> Result<Revision, Failure> {
    let revision = writer.write(taught)?;
    let Some(line) = line else {
        say(
            "a library's folder does not name a model: whether the recipe can judge is seen when a line takes it",
        );
        return Ok(revision);
    };

    if !arguments.choose {
        let choice = taught.choice.as_ref();
        if let Some(words) = default_block::origin(&line.spec.winclip, &line.model.spec, choice) {
            say(words);
        }
    }

    let config = &line.config;
    let looked_through = (!arguments.odd).then_some(&mut *taught);
    let odd =
        prove(config, &revision, looked_through).inspect_err(|_| writer.discard(&revision))?;

    if odd.is_empty() {
        return Ok(revision);
    }

    // Without those that are unlike the others it is another revision.
    writer.discard(&revision);
    for words in &odd {
        say(format!(
            "kept apart: {words}; is it a good part? give it again with --odd then"
        ));
    }

    let is_new = taught.pictures.iter().any(|picture| !picture.is_held);
    if !is_new && !arguments.choose {
        let words = "none of the pictures is like the references; nothing was taught";
        return Err(Failure::words(Exit::Data, words));
    }

    // The words count what is left of the new pictures.
    let fresh = taught.pictures.iter().filter(|picture| !picture.is_held);
    let (good, bad): (Vec<_>, Vec<_>) = fresh.partition(|picture| !picture.used_as.is_bad());
    taught.by = words_of(good.len(), bad.len());

    let revision = writer.write(taught)?;
    prove(config, &revision, None).inspect_err(|_| writer.discard(&revision))?;

    Ok(revision)
}

/// Prepares a revision, and tells its thresholds and the known bad parts that pass. Takes the new pictures that are
/// unlike the others out of the draft, if one is given, and returns words on them.
fn prove(
    config: &LineConfig,
    revision: &Revision,
    draft: Option<&mut Draft>,
) -> Result<Vec<String>, Failure> {
    say("opening the model and learning the references");
    let preparer = RecipePreparer {
        model: model_of(config)?,
        engines: config.engines.clone(),
        batch: config.batch,
    };

    let spec = config::recipe_of(revision.clone())
        .map_err(|problems| Failure::words(Exit::Config, problems.to_string()))?;

    let mut active = preparer.prepare(&spec, PrepareMode::Startup)?;
    if let Some(draft) = draft {
        let odd = take_odd_ones_out(draft, &mut active, revision)
            .map_err(|error| Failure::new(Exit::Software, error))?;

        if !odd.is_empty() {
            return Ok(odd.iter().map(OddOne::to_string).collect());
        }
    }

    // A region without a threshold is told of, and the others are looked at all the same.
    let mut values = vec![];
    let regions = active.inspector.regions();
    let thresholds = active.thresholds(&spec)?;
    for (region, threshold) in regions.into_iter().zip(thresholds) {
        let of_region = of_region(region.as_deref());
        let value = threshold.as_ref().ok().map(|threshold| threshold.value);
        values.push(value);

        match threshold {
            Ok(threshold) => say(format!("threshold{of_region}: {threshold}")),
            Err(why) => say(format!("warning: no threshold{of_region}: {why}")),
        }
    }

    let bad = active.bad.as_ref().map(KnownBad::of).unwrap_or_default();
    if let Some(caught) = bad.caught_by_looks(&values) {
        say(caught);
    }

    if let Some(passing) = bad.passing(&values) {
        say(format!("warning: {passing}"));
    }

    Ok(vec![])
}

/// Teaches the next parts of a running line, or those of a group.
fn teach_live(arguments: &TeachArguments) -> Result<(), Failure> {
    let taught_as = match arguments.taught_as {
        TaughtKind::Good => "good",
        TaughtKind::Bad => "bad",
    };

    // A group is one of the run of now.
    let run_id = match arguments.group {
        Some(_) => Some(run_of(&arguments.line)?.into()),
        None => None,
    };

    let payload = [
        ("run_id", run_id),
        ("parts", arguments.parts.map(Into::into)),
        ("group", arguments.group.map(Into::into)),
        ("as", Some(taught_as.into())),
        ("camera", arguments.camera.clone().map(Into::into)),
        ("recipe", arguments.recipe.clone().map(Into::into)),
        ("candidate", arguments.candidate.then_some(true.into())),
    ];

    carry_out(&arguments.line, "teach", &payload)
}

/// The revision that is taught.
struct Lesson {
    /// What it is now.
    base: Draft,
    /// True for a recipe out of a line's file, which is not in the library yet.
    is_new: bool,
    /// The line; `None` for a library's folder.
    line: Option<TaughtLine>,
}

/// The line whose recipe is taught.
struct TaughtLine {
    config: LineConfig,
    /// The recipe as it is now.
    spec: RecipeSpec,
    model: ModelFolder,
}

fn lesson(arguments: &TeachArguments, library: &Library) -> Result<Lesson, Failure> {
    if arguments.line.is_dir() {
        return of_folder(arguments, library);
    }

    let config = configuration(&arguments.line)?;
    let name = arguments.recipe.as_deref().unwrap_or(&config.recipe.name);
    let spec = find_recipe(&config, name, &arguments.line)?.clone();
    let model = model_of(&config)?;
    default_block::warn(&spec.winclip, &model.spec, true);

    // A recipe of a line's file comes into the library with its first lesson.
    let base = match &spec.library {
        Some(revision) => {
            let mut base = Draft::after(revision, String::new())?;
            base.model = Some(note_of(&model));
            default_block::record(&mut base.table, &spec.winclip, &model.spec);

            base
        }
        None => adopted(&spec, &model, String::new())?,
    };

    let is_new = spec.library.is_none();
    let line = TaughtLine {
        config,
        spec,
        model,
    };

    Ok(Lesson {
        base,
        is_new,
        line: Some(line),
    })
}

fn of_folder(arguments: &TeachArguments, library: &Library) -> Result<Lesson, Failure> {
    let Some(name) = &arguments.recipe else {
        let words = "--recipe: is missing; a folder does not say which of its recipes is meant";
        return Err(Failure::words(Exit::Usage, words));
    };

    let current = library.current(name)?;
    let current = current.ok_or_else(|| library.no_recipe(name))?;
    let base = Draft::after(&current, String::new())?;

    // The recipe goes on as it is: without a line there is no model to record.
    Ok(Lesson {
        base,
        is_new: false,
        line: None,
    })
}

fn words_of(good: usize, bad: usize) -> String {
    format!("taught {good} good and {bad} bad more")
}

/// Tells of thresholds that are numbers: they were chosen for other references.
fn warn_of_numbers(draft: &Draft) {
    for note in &draft.thresholds {
        let value = &note.value;
        let how = &note.how;

        // Words such as auto follow the references by themselves.
        let is_number = value.parse::<f64>().is_ok();
        if is_number {
            say(format!(
                "warning: the threshold {value} was there before these pictures ({how}); look at it"
            ));
        }
    }
}
