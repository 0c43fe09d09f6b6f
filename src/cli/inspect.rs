//! `winspect inspect`: judge picture files; one JSON line a picture on standard output, all else on standard error.
//!
//! Pictures are read, judged and dropped one by one. What cannot be judged is told and passed over; the others are
//! judged, and the command ends with 65; with 70 when the engine failed on one.

mod overlays;

use super::flags::{as_flags, check_output_file, parent};
use super::held_recipe;
use super::tensors::{self, Tensors};
use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure, chain};
use crate::cli::arguments::JudgingArguments;
use crate::data::picture::Area;
use crate::data::result::PoseOnWire;
use crate::engine::EncodePlan;
use crate::image::file as image_file;
use crate::image::locate::LocateLimits;
use crate::model::ModelFolder;
use crate::recipe::known_bad::BadParts;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::locate::{LocateSpec, located, refuse_not_found};
use crate::recipe::preparation::Preparation;
use crate::recipe::quality::{Gate, Limits};
use crate::recipe::references::References;
use crate::winclip::inspector::InspectError;
use crate::winclip::{Fit, Inspector, Recipe, Region, RegionScore, TopShare};
use clap::Args;
use overlays::Overlays;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `winspect inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    #[command(flatten)]
    judging: JudgingArguments,
    /// Patches from the b-th block, counted from 1; the model's default unless given
    #[arg(long, value_name = "B")]
    block: Option<usize>,
    /// What the part is, for models with text: "metal nut"
    #[arg(long)]
    class_name: Option<String>,
    /// A recipe of the library, box.recipes/nut or a revision of it, in place of all that says how to judge
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "preset", "input_px", "block", "maps", "class_name", "reference", "crop", "region", "tile_px", "fit",
        "cells", "top_share", "turned", "thin_to", "tensors", "locate",
    ])]
    recipe: Option<PathBuf>,
    /// A picture of a good part, or a folder of them; may be repeated
    #[arg(long)]
    reference: Vec<PathBuf>,
    /// The part of each picture that is looked at, references included
    #[arg(long, value_name = "X,Y,W,H")]
    crop: Option<Area>,
    /// A part of each picture with references and a score of its own; may be repeated
    #[arg(long, value_name = "NAME=X,Y,W,H", value_parser = region, conflicts_with_all = ["crop", "tensors"])]
    region: Vec<Region>,
    /// Side, in the picture's pixels, of overlapping squares of the crop or region that are looked at beside the whole
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=16384))]
    tile_px: Option<u16>,
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// Cells of the map with --fit keep, at most; 256 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=4096))]
    cells: Option<u16>,
    /// Share of the map's highest cells that make the score of a model without text; 0.01 unless given
    #[arg(long, value_name = "SHARE")]
    top_share: Option<TopShare>,
    /// A picture of a part at its place, and the part on it: the part is found in each picture, and looked at as
    /// if it lay there. Crop and regions are places of that picture
    #[arg(long, value_name = "FILE=X,Y,W,H", value_parser = locate)]
    locate: Option<LocateSpec>,
    /// Degrees that parts may be turned by, with --locate; 45 unless given
    #[arg(long, value_name = "DEGREES", requires = "locate", value_parser = clap::value_parser!(u16).range(0..=180))]
    turn_max: Option<u16>,
    /// Write a heat-map overlay of each picture into this folder
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,
    /// Write the tensors on the way into this file
    #[arg(long, value_name = "FILE.safetensors")]
    tensors: Option<PathBuf>,
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

/// Judges all pictures, and prints a line for each.
///
/// # Errors
/// Before anything is judged, when the arguments contradict themselves or the model; after all, when a
/// picture could not be judged.
pub fn run(arguments: InspectArguments) -> Result<(), Failure> {
    // Everything that can be refused is refused before the first picture is judged.
    let model = arguments.judging.open()?;
    let asked = asked(&arguments)?;
    let has_references = !asked.references.is_empty();
    encode_plan(&arguments, &asked.recipe, has_references, &model)?;
    let image_file::Expanded {
        files,
        problems,
        passed_over,
    } = image_file::expand(&arguments.pictures);
    check_outputs(&arguments, &files)?;

    // References are read before the engine starts: a broken one costs no time then.
    let mut terminal = Terminal::new();
    for words in passed_over {
        terminal.say(words);
    }

    let mut warn = |words| terminal.say(format!("warning: {words}"));
    let references = References::read(&asked.references, &mut warn)?;
    let recipe = asked.recipe.for_pictures_like(references.pictures.first());
    let recipe = located(recipe, asked.locate.as_ref())?;
    refuse_not_found(&recipe, &references)?;
    let plan = encode_plan(&arguments, &recipe, has_references, &model)?;
    let preparation = Preparation {
        model: &model,
        recipe: &recipe,
        plan: &plan,
        engines: &arguments.judging.engines(),
        wrong_recipe: Exit::Usage,
    };

    // The scale of overlays comes from the references, each judged by the others; it takes a moment
    // for many of them.
    terminal.begin("references", references.pictures.len());
    let mut inspector = preparation.inspector(&references, &mut |done, _| terminal.done(done))?;
    asked.learn_bad_parts(&references, &mut inspector)?;
    let overlays = match arguments.overlay {
        Some(folder) => Some(Overlays::new(folder, &mut inspector, &terminal)?),
        None => None,
    };

    // Tensors begin with the prompts' features, which belong to no picture.
    let shots = references.pictures.len();
    let tensors = arguments.tensors.as_ref().map(|_| {
        let prototypes = inspector.prototypes();
        Tensors::new(&recipe, &model.spec, &plan, shots, prototypes)
    });

    // From here on a problem of one picture does not end the command.
    terminal.begin("pictures", files.len());
    let mut inspection = Inspection {
        overlays,
        tensors,
        inspector,
        references,
        terminal,
        stems: HashSet::new(),
        problems: 0,
        is_engine_ill: false,
    };

    // Paths that could not be expanded count as problems, and are told first.
    for problem in &problems {
        inspection.note(&chain(problem));
    }

    for (done, file) in files.iter().enumerate() {
        if !inspection.inspect(file)? {
            return Ok(()); // standard output was closed
        }

        inspection.terminal.done(done + 1);
    }

    inspection.finish(arguments.tensors.as_deref())
}

/// Returns what is encoded: what the recipe needs, and more where its tensors are asked for.
fn encode_plan(
    arguments: &InspectArguments,
    recipe: &Recipe,
    has_references: bool,
    model: &ModelFolder,
) -> Result<EncodePlan, Failure> {
    // The recipe's own plan decides the score. More outputs are added behind it, so that the score
    // stays the same.
    let plan = recipe
        .encode_plan(&model.spec, has_references)
        .map_err(|problems| Failure::words(Exit::Usage, as_flags(&problems).join("\n")))?;

    if arguments.tensors.is_some() {
        return Ok(tensors::plan(plan, recipe, &model.spec));
    }

    Ok(plan)
}

/// How is judged, and by what pictures.
struct Asked {
    recipe: Recipe,
    /// Files of the references.
    references: Vec<PathBuf>,
    /// Files of known bad parts.
    bad: Vec<PathBuf>,
    /// Limits of the quality gate, which known bad parts go through.
    limits: Limits,
    /// How parts are found; `None` where they lie at their place.
    locate: Option<LocateSpec>,
}

impl Asked {
    /// Known bad parts of a library's recipe raise what other pictures score, as on a line.
    fn learn_bad_parts(
        &self,
        references: &References,
        inspector: &mut Inspector,
    ) -> Result<(), Failure> {
        if !self.bad.is_empty() {
            let gate = Gate::new(self.limits, &references.pictures);
            BadParts::learn(&self.bad, references, &gate, inspector)?;
        }

        Ok(())
    }
}

fn asked(arguments: &InspectArguments) -> Result<Asked, Failure> {
    if let Some(folder) = &arguments.recipe {
        let spec = held_recipe::open(folder)?;
        let revision = spec.library.as_ref();
        let bad = revision.map(|revision| revision.pictures(PictureUse::Bad));
        return Ok(Asked {
            recipe: spec.winclip,
            references: spec.references,
            bad: bad.unwrap_or_default(),
            limits: spec.bad_image,
            locate: spec.locate,
        });
    }

    let mut recipe = recipe(arguments)?;
    let mut locate = arguments.locate.clone();
    if let Some(locate) = &mut locate {
        recipe = recipe.cropped_to(locate.limits.area);
        if let Some(degrees) = arguments.turn_max {
            locate.limits.turn_max_deg = degrees.into();
        }
    }

    Ok(Asked {
        recipe,
        references: arguments.reference.clone(),
        bad: vec![],
        limits: Limits::default(),
        locate,
    })
}

fn recipe(arguments: &InspectArguments) -> Result<Recipe, Failure> {
    // Two regions of one name could not be told apart in the output.
    let mut regions = arguments.region.clone();
    for (i, region) in regions.iter().enumerate() {
        if regions[..i].iter().any(|other| other.name == region.name) {
            let name = region.name.as_deref().unwrap_or_default();
            let words = format!("--region: {name:?} is another region's name");
            return Err(Failure::words(Exit::Usage, words));
        }
    }

    // Without --region there is one region without a name: the crop, or the whole picture.
    if regions.is_empty() {
        regions.push(Region {
            crop: arguments.crop,
            ..Region::default()
        });
    }

    Ok(Recipe {
        regions,
        tile_px: arguments.tile_px.map(usize::from),
        fit: arguments.fit,
        cells: arguments.cells.map(usize::from),
        top_share: arguments.top_share,
        ..arguments
            .judging
            .recipe(arguments.class_name.clone(), arguments.block)
    })
}

/// Reads a master picture and the part on it, such as `master.png=10,10,200,100`.
fn locate(words: &str) -> Result<LocateSpec, String> {
    // The name of a file may have the sign, an area has none.
    match words.rsplit_once('=') {
        Some((file, area)) if !file.is_empty() => Ok(LocateSpec {
            master: file.into(),
            limits: LocateLimits::new(area.parse()?),
        }),
        _ => Err("must be a picture and the part on it: master.png=10,10,200,100".to_owned()),
    }
}

/// Reads a region such as `rim=10,10,200,100`.
fn region(words: &str) -> Result<Region, String> {
    // Masks have no form on a command line; a line's file has them.
    match words.split_once('=') {
        Some((name, crop)) if !name.is_empty() => Ok(Region {
            name: Some(name.into()),
            crop: Some(crop.parse()?),
            mask: vec![],
        }),
        _ => Err("must be a name and its place: rim=10,10,200,100".to_owned()),
    }
}

/// Checks, before anything is judged, that the outputs can be written and spare the inputs.
fn check_outputs(arguments: &InspectArguments, files: &[PathBuf]) -> Result<(), Failure> {
    if let Some(file) = &arguments.tensors {
        check_output_file("tensors", file)?;
    }

    // The folder may be new. Its real path is compared with those of the pictures, through links.
    let Some(folder) = &arguments.overlay else {
        return Ok(());
    };

    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::words(
            Exit::Usage,
            format!("--overlay: {}: {error}", folder.display()),
        )
    })?;

    // An overlay has its picture's stem and the ending .png: in the same folder it would replace a
    // PNG.
    let real_folder = std::fs::canonicalize(folder).ok();
    for file in files {
        if std::fs::canonicalize(parent(file)).ok() == real_folder {
            let words = format!(
                "--overlay: {} holds the picture {}, which would be overwritten; give another folder",
                folder.display(),
                file.display()
            );

            return Err(Failure::words(Exit::Usage, words));
        }
    }

    Ok(())
}

/// One run of the command over its pictures.
struct Inspection {
    inspector: Inspector,
    references: References,
    overlays: Option<Overlays>,
    tensors: Option<Tensors>,
    terminal: Terminal,
    /// Names of the pictures judged so far, for overlays and tensors.
    stems: HashSet<String>,
    /// Number of problems that were told.
    problems: usize,
    /// True when the engine has failed on a picture.
    is_engine_ill: bool,
}

impl Inspection {
    /// Reads, judges and prints one picture; false when standard output was closed.
    fn inspect(&mut self, file: &Path) -> Result<bool, Failure> {
        // A picture that cannot be read is told, counted, and passed over.
        let picture = match image_file::read(file) {
            Ok(picture) => picture,
            Err(error) => {
                self.note(&chain(&error));
                return Ok(true);
            }
        };

        // A picture compared with itself scores as perfectly normal, which fools people.
        if let Some(reference) = self.references.same_as(&picture) {
            self.terminal.say(format!(
                "warning: {} is also the reference {}: its score says little",
                file.display(),
                reference.display()
            ));
        }

        // A failure of the engine is remembered: it decides the exit code.
        let detailed = match self.inspector.inspect_in_detail(&picture) {
            Ok(detailed) => detailed,
            Err(error) => {
                self.is_engine_ill |= matches!(error, InspectError::Engine(_));
                self.note(&format!("{}: {}", file.display(), chain(&error)));
                return Ok(true);
            }
        };

        // The overlay covers all regions of the picture; lines and tensors are one for each region.
        let stem = self.unique_stem(file);
        if let Some(overlays) = &mut self.overlays {
            // The map lies over the picture that was judged.
            let first = detailed.first();
            let aligned = first.and_then(|region| region.region_score.aligned.as_ref());
            let judged = aligned.map_or(&picture, |aligned| &aligned.picture);
            overlays.write(&stem, judged, &detailed)?;
        }

        for detailed in detailed {
            if !self
                .terminal
                .print(json_line(file, &detailed.region_score))?
            {
                return Ok(false);
            }

            if let Some(tensors) = &mut self.tensors {
                tensors.add(&stem, detailed);
            }
        }

        Ok(true)
    }

    fn note(&mut self, problem: &str) {
        self.terminal.say(problem);
        self.problems += 1;
    }

    /// Returns the file's stem, with a number when another picture has it already.
    fn unique_stem(&mut self, file: &Path) -> String {
        // Pictures of different folders may share a name, and output files do not.
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();

        // A number is added until the name is free; `a_2` may itself be a picture's name.
        let mut unique = stem.clone();
        let mut number = 1;
        while !self.stems.insert(unique.clone()) {
            number += 1;
            unique = format!("{stem}_{number}");
        }

        // The name matters only where files are written under it.
        if unique != stem && (self.overlays.is_some() || self.tensors.is_some()) {
            let words = format!(
                "warning: another picture is called {stem:?}; {} is written as {unique:?}",
                file.display()
            );

            self.terminal.say(words);
        }

        unique
    }

    fn finish(self, tensors_file: Option<&Path>) -> Result<(), Failure> {
        // Tensors of the pictures that could be judged are written, whatever failed.
        if let (Some(tensors), Some(file)) = (&self.tensors, tensors_file) {
            tensors
                .write(file)
                .map_err(|words| Failure::words(Exit::Data, words))?;
        }

        if self.problems == 0 {
            return Ok(());
        }

        // The engine's failure is the graver news and wins over a broken picture.
        let exit = match self.is_engine_ill {
            true => Exit::Software,
            false => Exit::Data,
        };

        let words = format!(
            "pictures judged: {}, problems told above: {}",
            self.stems.len(),
            self.problems
        );

        Err(Failure::words(exit, words))
    }
}

/// Returns milliseconds with three decimals.
fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn json_line(file: &Path, judgement: &RegionScore) -> serde_json::Value {
    // Reading the file is in no figure: a camera's picture is in memory.
    let total = judgement.pixels_took + judgement.encode_took + judgement.score_took;
    let mut line = json!({
        "path": file.display().to_string(),
        "region": judgement.region.as_deref(),
        "score": judgement.score,
        "map_min": judgement.map.min(),
        "map_max": judgement.map.max(),
        "ms": {
            "pixels": ms(judgement.pixels_took),
            "encode": ms(judgement.encode_took),
            "score": ms(judgement.score_took),
            "total": ms(total),
        },
    });

    if let Some(aligned) = &judgement.aligned {
        line["pose"] = json!(PoseOnWire::of(&aligned.pose));
    }

    line
}
