//! `winspect recipe`: the revisions of a line's recipes. They are listed, shown, taken from and into single
//! files, and the line goes back to an earlier one. A line that runs with the recipe takes a change over.

use super::live_command::{carry_out, take_over};
use super::run::configuration;
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::config::{self, LineConfig};
use crate::model::ModelFolder;
use crate::recipe::adopt::adopted;
use crate::recipe::default_block;
use crate::recipe::library::archive;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::error::LibraryError;
use crate::recipe::library::folder::Library;
use crate::recipe::library::manifest::{Manifest, PictureUse};
use crate::recipe::library::promotion::Promotion;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::writer::LibraryWriter;
use crate::recipe::spec::RecipeSpec;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// The commands of `winspect recipe`.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Say which recipes and revisions a library has
    List {
        /// A line's configuration, or a library's folder
        library: PathBuf,
    },
    /// Say what a revision is and how it came about; its pictures are looked at one by one
    Show(RevisionArguments),
    /// Take a recipe out of a line's file into the line's library, as its next revision
    Add {
        /// A line's configuration
        line: PathBuf,
        /// Name of the recipe; the line's first unless given
        name: Option<String>,
    },
    /// Write a revision, with all its pictures, into one file
    Export {
        #[command(flatten)]
        revision: RevisionArguments,
        /// The file to make (tar)
        file: PathBuf,
    },
    /// Take such a file into a library, as the recipe's next revision
    Import {
        /// A line's configuration, or a library's folder
        library: PathBuf,
        /// The file
        file: PathBuf,
        /// Make the revision a candidate: it does not judge until `rollback` names it
        #[arg(long)]
        candidate: bool,
    },
    /// Take a picture out: the next revision is without it
    Forget {
        #[command(flatten)]
        recipe: RevisionArguments,
        /// The first digits of the picture's sha256, as `show` lists it: at least 8
        picture: String,
    },
    /// Go back to a revision, or on to a candidate: the one that judged before unless another is named
    Rollback(RollbackArguments),
    /// Let a revision judge the running line's parts beside the current one, and say where they differ
    Shadow(ShadowArguments),
}

/// A revision beside the one that judges.
#[derive(Debug, Args)]
pub struct ShadowArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Number of the revision, of the recipe that judges
    #[arg(long, value_name = "N", required_unless_present = "off")]
    revision: Option<u64>,
    /// End the shadow
    #[arg(long, conflicts_with = "revision")]
    off: bool,
}

/// One revision of a library's recipe.
#[derive(Debug, Args)]
pub struct RevisionArguments {
    /// A line's configuration, or a library's folder
    library: PathBuf,
    /// Name of the recipe
    name: String,
    /// Number of the revision; the current one unless given
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
}

/// Another revision that is to be the current one.
#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    to: RevisionArguments,
    /// Promote a candidate although the current revision was taught more since it was made: that is lost
    #[arg(long, requires = "revision")]
    force: bool,
}

impl RevisionArguments {
    fn open(&self) -> Result<Revision, Failure> {
        let library = library_at(&self.library)?;
        let number = match self.revision {
            Some(number) => number,
            None => {
                let pointer = library.pointer(&self.name)?;
                let pointer = pointer.ok_or_else(|| library.no_recipe(&self.name))?;

                pointer.current
            }
        };

        Ok(library.revision(&self.name, number)?)
    }
}

/// Runs one of the commands.
///
/// # Errors
/// When a recipe, a revision or a file is not there or not whole, or another command is changing the library.
pub fn run(command: RecipeCommand) -> Result<(), Failure> {
    match command {
        RecipeCommand::List { library } => list(&library_at(&library)?),
        RecipeCommand::Show(arguments) => {
            let revision = arguments.open()?;
            let outcome = revision.verify();
            print(describe(&revision))?;

            Ok(outcome?)
        }
        RecipeCommand::Add { line, name } => add(&line, name.as_deref()),
        RecipeCommand::Export { revision, file } => {
            let revision = revision.open()?;
            archive::export(&revision, &file)?;

            say_done(&revision, &format!("is in {}", file.display()))
        }
        RecipeCommand::Import {
            library,
            file,
            candidate,
        } => import(&library, &file, candidate),
        RecipeCommand::Rollback(arguments) => roll_back(&arguments),
        RecipeCommand::Shadow(arguments) => {
            let payload = [
                ("revision", arguments.revision.map(Into::into)),
                ("off", arguments.off.then_some(true.into())),
            ];

            carry_out(&arguments.line, "shadow", &payload)
        }
        RecipeCommand::Forget { recipe, picture } => forget(&recipe, &picture),
    }
}

/// Takes an archive into the library; a running line takes the revision over, unless it is a candidate.
fn import(at: &Path, file: &Path, is_candidate: bool) -> Result<(), Failure> {
    let library = library_at(at)?;
    let writer = LibraryWriter::lock(&library)?;
    let revision = archive::import(&writer, file, is_candidate)?;

    // A candidate changes nothing for a line that runs.
    if is_candidate {
        return say_done(&revision, "is a candidate");
    }

    say_done(&revision, "is the current revision")?;
    drop(writer); // the line reads what stands now

    take_over(at, &revision.manifest().name)
}

/// Makes another revision the current one, and lets a running line take it over.
fn roll_back(arguments: &RollbackArguments) -> Result<(), Failure> {
    let RevisionArguments {
        library: at,
        name,
        revision,
    } = &arguments.to;

    // What is lost is seen under the lock, so that no change of another command is.
    let library = library_at(at)?;
    let writer = LibraryWriter::lock(&library)?;
    if revision.is_some() {
        let promotion = Promotion::to(&arguments.to.open()?, &library, arguments.force)?;
        say(promotion.words());
    }

    let revision = writer.roll_back(name, *revision)?;
    say_done(&revision, "is the current revision")?;
    drop(writer); // the line reads what stands now

    take_over(at, name)
}

/// Makes the next revision without one of the pictures, and lets a running line take it over.
fn forget(recipe: &RevisionArguments, picture: &str) -> Result<(), Failure> {
    let library = library_at(&recipe.library)?;
    let writer = LibraryWriter::lock(&library)?;

    // The revision is read under the lock, so that no change of another command is lost.
    let held = recipe.open()?;
    let mut draft = Draft::after(&held, String::new())?;
    let forgotten = draft.forget(picture)?;
    draft.by = format!("forget: forgot {}", forgotten.from);
    let revision = writer.commit(&draft)?;

    let words = format!("is the current revision, without {}", forgotten.from);
    say_done(&revision, &words)?;
    drop(writer); // the line reads what stands now

    take_over(&recipe.library, &recipe.name)
}

/// Finds a line's recipe by its name.
///
/// # Errors
/// When the line has none of that name.
pub(super) fn find_recipe<'a>(
    config: &'a LineConfig,
    name: &str,
    line: &Path,
) -> Result<&'a RecipeSpec, Failure> {
    let mut recipes = [&config.recipe].into_iter().chain(&config.recipes);
    let found = recipes.find(|recipe| recipe.name == name);

    found.ok_or_else(|| {
        let words = format!("{} has no recipe {name:?}", line.display());
        Failure::words(Exit::Usage, words)
    })
}

/// Opens a line's model.
///
/// # Errors
/// When it is not there or not whole.
pub(super) fn model_of(config: &LineConfig) -> Result<ModelFolder, Failure> {
    ModelFolder::open(&config.model).map_err(|error| Failure::new(Exit::Config, error))
}

/// The library of a line's file, or in a folder.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn library_at(path: &Path) -> Result<Library, Failure> {
    if path.is_dir() {
        return Ok(Library::at(path));
    }

    config::library_of(path).map_err(|problems| {
        let words = problems.to_string().replace('\n', "\n  ");
        Failure::words(Exit::Config, words)
    })
}

fn say_done(revision: &Revision, words: &str) -> Result<(), Failure> {
    let label = revision.manifest().label();
    print(format!("{label} {words}"))?;

    Ok(())
}

/// Prints a row a revision, the oldest of each recipe first.
fn list(library: &Library) -> Result<(), Failure> {
    // A revision that is not whole is told in its row, and all others have theirs.
    let mut damaged = 0;
    for name in library.names()? {
        let pointer = library.pointer(&name);
        let current = pointer.ok().flatten().map(|pointer| pointer.current);

        // Its revisions may be whole all the same, and are told below.
        if current.is_none() {
            damaged += 1;
            print(format!("{name}: which revision is current cannot be read"))?;
        }

        for number in library.numbers(&name)? {
            let mark = if current == Some(number) { "*" } else { " " };
            let words = match library.revision(&name, number) {
                Ok(revision) => row(revision.manifest()),
                Err(error) => {
                    damaged += 1;
                    error.to_string()
                }
            };

            print(format!("{mark} {name}@{number}  {words}"))?;
        }
    }

    // The rows are out by then, so that the failure tells their number alone.
    if damaged == 0 {
        return Ok(());
    }

    let words = format!("{damaged} of them cannot be used; see above");
    Err(Failure::words(Exit::Data, words))
}

/// A revision in one row.
fn row(manifest: &Manifest) -> String {
    let good = manifest.count(PictureUse::Good);
    let bad = manifest.count(PictureUse::Bad);

    let mut thresholds = vec![];
    for note in &manifest.thresholds {
        // Without regions there is one threshold, which needs no name.
        let words = match &note.region {
            Some(region) => format!("{region} {}", note.value),
            None => note.value.clone(),
        };

        thresholds.push(words);
    }

    let thresholds = thresholds.join(", ");
    let made = manifest.made;
    let by = &manifest.by;

    format!("{made:.0}  {good} good, {bad} bad, threshold {thresholds}  {by}")
}

/// All that is known of a revision, in lines for people.
fn describe(revision: &Revision) -> String {
    let manifest = revision.manifest();
    let of = manifest.parent.map_or_else(String::new, |parent| {
        format!(" of {}@{parent}", manifest.name)
    });

    let mut lines = vec![
        format!("recipe     {}", manifest.label()),
        format!("made       {:.0}{of}: {}", manifest.made, manifest.by),
        format!("folder     {}", revision.folder().display()),
    ];

    if let Some(model) = &manifest.model {
        lines.push(format!(
            "model      {}, sha256 {}",
            model.name, model.sha256
        ));
    }

    for note in &manifest.thresholds {
        let of_region = note.region.as_ref();
        let of_region = of_region.map_or_else(String::new, |region| format!(" of {region}"));

        let value = &note.value;
        let how = &note.how;
        lines.push(format!("threshold  {value}{of_region}: {how}"));
    }

    if let Some(choice) = &manifest.choice {
        lines.push(format!("choice     {}", choice.how));
        lines.push(format!("not known  {}", choice.unknown));
    }

    for picture in &manifest.pictures {
        let used_as = match picture.used_as {
            PictureUse::Good => "good       ",
            PictureUse::Bad => "bad        ",
            PictureUse::Calibration => "calibrate  ",
            PictureUse::TestGood => "self-test  good, ",
            PictureUse::TestBad => "self-test  bad, ",
            PictureUse::Master => "master     ",
        };

        lines.push(format!("{used_as}{} from {}", picture.file, picture.from));
    }

    lines.join("\n")
}

/// Takes a recipe of a line's file into the library.
fn add(line: &Path, name: Option<&str>) -> Result<(), Failure> {
    let config = configuration(line)?;
    let name = name.unwrap_or(&config.recipe.name);

    let spec = find_recipe(&config, name, line)?;
    if let Some(revision) = &spec.library {
        let label = revision.manifest().label();
        let words = format!("recipe {name} is in the library already, as {label}");
        return Err(LibraryError::Refused(words).into());
    }

    let by = format!("added from {}", file_name(line));
    let model = model_of(&config)?;
    default_block::warn(&spec.winclip, &model.spec, true);
    let draft = adopted(spec, &model, by)?;

    // The number is given under the lock, so that no other command gives it too.
    let writer = LibraryWriter::lock(&config.library)?;
    let revision = writer.commit(&draft)?;
    let folder = config.library.folder();
    let words = format!(
        "is the current revision in {}; the line's file may say recipe = \"library:{name}\"",
        folder.display()
    );

    say_done(&revision, &words)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
