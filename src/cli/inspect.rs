//! `winspect inspect`: judge picture files; one JSON line a picture on standard output, all else on standard error.
//!
//! Pictures are read, judged and dropped one by one. What cannot be judged is told and passed over; the others are
//! judged, and the command ends with 65; with 70 when the engine failed on one.

use super::flags::{as_flags, check_output_file, parent};
use super::held_recipe;
use super::tensors::{self, Tensors};
use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure, chain};
use crate::cli::arguments::JudgingArguments;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::engine::EncodePlan;
use crate::image::file as image_file;
use crate::image::overlay::{HeatLayer, HeatScale, Overlay, marks, png};
use crate::line::overlays::OverlayPainter;
use crate::model::ModelFolder;
use crate::recipe::preparation::Preparation;
use crate::recipe::references::References;
use crate::recipe::threshold::of_region;
use crate::winclip::inspector::{Detailed, InspectError};
use crate::winclip::{Fit, Inspector, Recipe, Region, RegionScore};
use clap::Args;
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
        "cells", "tensors",
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
    let (recipe, reference_files) = recipe_and_references(&arguments)?;
    let has_references = !reference_files.is_empty();
    encode_plan(&arguments, &recipe, has_references, &model)?;
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
    let references = References::read(&reference_files, &mut warn)?;
    let recipe = recipe.for_pictures_like(references.pictures.first());
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

/// Returns how is judged, and the files of the references.
fn recipe_and_references(arguments: &InspectArguments) -> Result<(Recipe, Vec<PathBuf>), Failure> {
    match &arguments.recipe {
        Some(folder) => {
            let spec = held_recipe::open(folder)?;
            Ok((spec.winclip, spec.references))
        }
        None => Ok((recipe(arguments)?, arguments.reference.clone())),
    }
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
        ..arguments
            .judging
            .recipe(arguments.class_name.clone(), arguments.block)
    })
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
            overlays.write(&stem, &picture, &detailed)?;
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
    json!({
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
    })
}

/// Heat maps over the pictures.
struct Overlays {
    folder: PathBuf,
    brush: OverlayPainter,
    /// Heats of each region's map values, for all pictures; `None` gives each picture a scale of its own.
    scales: Vec<Option<HeatScale>>,
}

impl Overlays {
    /// The scales are those of the references, each compared with the others.
    fn new(
        folder: PathBuf,
        inspector: &mut Inspector,
        terminal: &Terminal,
    ) -> Result<Self, Failure> {
        // Each reference is judged by the others: their maps show what good parts look like.
        let good = inspector
            .leave_one_out()
            .map_err(|error| Failure::new(Exit::Software, error))?;

        let mut scales = vec![];
        for (good, region) in good.iter().zip(inspector.regions()) {
            // With one reference, or none, there is nothing to compare, and each picture uses its
            // own range.
            let scale = common_scale(good.iter().map(|(_, map)| map));
            let of_region = of_region(region.as_deref());
            terminal.say(match scale {
                Some(HeatScale { low, high, .. }) => format!(
                    "overlays: grey up to {low:.4}, full colour from {high:.4}, for all pictures (each reference against the others){of_region}"
                ),
                None => format!("overlays: each picture has a scale of its own, from its least to its most anomalous place; two different references or more give all pictures one{of_region}"),
            });

            scales.push(scale);
        }

        Ok(Overlays {
            folder,
            brush: OverlayPainter(inspector.painter()),
            scales,
        })
    }

    fn write(
        &mut self,
        stem: &str,
        picture: &Picture,
        regions: &[Detailed],
    ) -> Result<(), Failure> {
        // Each region has a layer in its own place with its own scale; they may overlap.
        let mut layers = vec![];
        let mut scores = vec![];
        for (detailed, scale) in regions.iter().zip(&self.scales) {
            let RegionScore {
                map, area, score, ..
            } = &detailed.region_score;

            layers.push(HeatLayer {
                map,
                area: *area,
                scale: scale.unwrap_or_else(|| HeatScale::of_map(map)),
            });

            scores.push(score.to_string());
        }

        // The scores stand in the file too, as a PNG text chunk.
        let overlay = Overlay::new(picture, &layers);
        let painted = marks::draw(self.brush.paint(&overlay), &overlay, &[]);
        let png = png::encode(&painted, &[("score", scores.join(" "))]);
        let path = self.folder.join(format!("{stem}.png"));
        std::fs::write(&path, png)
            .map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", path.display())))
    }
}

/// Returns the scale whose colour begins at 0.75 m and is full at 1.5 m, where m is the median of what good
/// parts show at their worst place: that place is a shade, and one odd reference must not dim all pictures.
/// `None` without good parts, or where they show nothing.
fn common_scale<'a>(good: impl Iterator<Item = &'a Map>) -> Option<HeatScale> {
    // The map's highest value is what a person would see first.
    let mut worst: Vec<f32> = good.map(Map::max).collect();
    worst.sort_by(f32::total_cmp);
    let median = *worst.get(worst.len() / 2)?;
    (median > 0.0).then(|| HeatScale::between(0.75 * median, 1.5 * median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;

    #[test]
    fn one_odd_reference_does_not_dim_the_overlays() {
        let good = [0.1, 0.9, 0.2].map(|worst| Map::new(Grid::square(1), vec![worst]));
        let scale = HeatScale::between(0.75 * 0.2, 1.5 * 0.2);
        assert_eq!(common_scale(good.iter()), Some(scale));
        assert_eq!(common_scale([].iter()), None);
        assert_eq!(
            common_scale(
                [
                    Map::new(Grid::square(1), vec![0.0]),
                    Map::new(Grid::square(1), vec![0.0])
                ]
                .iter()
            ),
            None
        );
    }
}
