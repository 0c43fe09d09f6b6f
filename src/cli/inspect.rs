//! `winspect inspect`: judge picture files; one JSON line a picture on standard output, all else on standard error.
//!
//! Pictures are read, judged and dropped one by one. What cannot be judged is told and passed over; the others are
//! judged, and the command ends with 65; with 70 when the engine failed on one.

use super::flags::{as_flags, check_output_file, parent};
use super::tensors::{self, Tensors};
use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure, chain};
use crate::cli::arguments::JudgingArguments;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::image::file as image_file;
use crate::image::overlay::png;
use crate::image::overlay::{HeatLayer, Overlay};
use crate::line::overlays::OverlayPainter;
use crate::recipe::preparation::Preparation;
use crate::recipe::references::References;
use crate::recipe::threshold::of_region;
use crate::winclip::inspector::{Detailed, InspectError};
use crate::winclip::{Fit, Inspector, Recipe, Region, RegionScore};
use clap::Args;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct InspectArguments {
    #[command(flatten)]
    judging: JudgingArguments,
    /// What the part is, for models with text: "metal nut"
    #[arg(long)]
    class_name: Option<String>,
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
    /// Write a heat-map overlay of each picture into this folder
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,
    /// Write the tensors on the way into this file
    #[arg(long, value_name = "FILE.safetensors")]
    tensors: Option<PathBuf>,
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

pub fn run(arguments: InspectArguments) -> Result<(), Failure> {
    let model = arguments.judging.open()?;
    let recipe = recipe(&arguments)?;
    let mut plan = recipe
        .encode_plan(&model.spec, !arguments.reference.is_empty())
        .map_err(|problems| Failure::words(Exit::Usage, as_flags(&problems).join("\n")))?;
    if arguments.tensors.is_some() {
        plan = tensors::plan(plan, &recipe, &model.spec);
    }
    let (files, problems) = image_file::expand(&arguments.pictures);
    check_outputs(&arguments, &files)?;

    let mut terminal = Terminal::new();
    let references = References::read(&arguments.reference, &mut |words| {
        terminal.say(format!("warning: {words}"))
    })?;
    let preparation = Preparation {
        model: &model,
        recipe: &recipe,
        plan: &plan,
        engines: &arguments.judging.engines(),
        wrong_recipe: Exit::Usage,
    };
    terminal.begin("references", references.pictures.len());
    let mut inspector = preparation.inspector(&references, &mut |done, _| terminal.done(done))?;
    let overlays = match arguments.overlay {
        Some(folder) => {
            let good = inspector
                .leave_one_out()
                .map_err(|error| Failure::new(Exit::Software, error))?;
            let brush = OverlayPainter(inspector.painter());
            Some(Overlays::new(
                folder,
                brush,
                &good,
                &inspector.regions(),
                &terminal,
            ))
        }
        None => None,
    };

    terminal.begin("pictures", files.len());
    let prototypes = inspector.prototypes();
    let tensors = Tensors::new(
        &recipe,
        &model.spec,
        &plan,
        references.pictures.len(),
        prototypes,
    );
    let mut inspection = Inspection {
        overlays,
        tensors: arguments.tensors.is_some().then_some(tensors),
        inspector,
        references,
        terminal,
        stems: HashSet::new(),
        problems: 0,
        is_engine_ill: false,
    };
    problems
        .iter()
        .for_each(|problem| inspection.note(&chain(problem)));
    for (done, file) in files.iter().enumerate() {
        if !inspection.inspect(file)? {
            return Ok(()); // nobody reads on
        }
        inspection.terminal.done(done + 1);
    }
    inspection.finish(arguments.tensors.as_deref())
}

fn recipe(arguments: &InspectArguments) -> Result<Recipe, Failure> {
    let mut regions = arguments.region.clone();
    if let Some(twice) = (1..regions.len()).find(|i| {
        regions[..*i]
            .iter()
            .any(|other| other.name == regions[*i].name)
    }) {
        let name = regions[twice].name.as_deref().unwrap_or_default();
        return Err(Failure::words(
            Exit::Usage,
            format!("--region: {name:?} is another region's name"),
        ));
    }
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
        ..arguments.judging.recipe(arguments.class_name.clone())
    })
}

/// `rim=10,10,200,100`
fn region(words: &str) -> Result<Region, String> {
    match words.split_once('=') {
        Some((name, crop)) if !name.is_empty() => Ok(Region {
            name: Some(name.into()),
            crop: Some(crop.parse()?),
            mask: vec![],
        }),
        _ => Err("must be a name and its place: rim=10,10,200,100".to_owned()),
    }
}

/// Before anything is judged: can the outputs be written, and do they spare the inputs?
fn check_outputs(arguments: &InspectArguments, files: &[PathBuf]) -> Result<(), Failure> {
    if let Some(file) = &arguments.tensors {
        check_output_file("tensors", file)?;
    }
    let Some(folder) = &arguments.overlay else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::words(
            Exit::Usage,
            format!("--overlay: {}: {error}", folder.display()),
        )
    })?;
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if let Some(file) = files
        .iter()
        .find(|file| real(&parent(file)) == real(folder))
    {
        let words = format!(
            "--overlay: {} holds the picture {}, which would be overwritten; give another folder",
            folder.display(),
            file.display()
        );
        return Err(Failure::words(Exit::Usage, words));
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
    /// How many were told.
    problems: usize,
    /// One of them is the engine's.
    is_engine_ill: bool,
}

impl Inspection {
    /// Reads, judges and prints one picture; false when nobody reads the lines any more.
    fn inspect(&mut self, file: &Path) -> Result<bool, Failure> {
        let picture = match image_file::read(file) {
            Ok(picture) => picture,
            Err(error) => {
                self.note(&chain(&error));
                return Ok(true);
            }
        };
        if let Some(reference) = self.references.same_as(&picture) {
            self.terminal.say(format!(
                "warning: {} is also the reference {}: its score says little",
                file.display(),
                reference.display()
            ));
        }
        let detailed = match self.inspector.inspect_in_detail(&picture) {
            Ok(detailed) => detailed,
            Err(error) => {
                self.is_engine_ill |= matches!(error, InspectError::Engine(_));
                self.note(&format!("{}: {}", file.display(), chain(&error)));
                return Ok(true);
            }
        };
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

    /// The file's stem; with a number when another picture has it already.
    fn unique_stem(&mut self, file: &Path) -> String {
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut unique = stem.clone();
        let mut number = 1;
        while !self.stems.insert(unique.clone()) {
            number += 1;
            unique = format!("{stem}_{number}");
        }
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
        if let (Some(tensors), Some(file)) = (&self.tensors, tensors_file) {
            tensors
                .write(file)
                .map_err(|words| Failure::words(Exit::Data, words))?;
        }
        match self.problems {
            0 => Ok(()),
            n => Err(Failure::words(
                if self.is_engine_ill {
                    Exit::Software
                } else {
                    Exit::Data
                },
                format!(
                    "pictures judged: {}, problems told above: {n}",
                    self.stems.len()
                ),
            )),
        }
    }
}

fn json_line(file: &Path, judgement: &RegionScore) -> serde_json::Value {
    let ms = |took: std::time::Duration| (took.as_secs_f64() * 1e6).round() / 1e3;
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
    /// Of each region the map values of "nothing to see" and "full glow", one for all pictures; nothing means each
    /// picture's own range.
    scales: Vec<Option<(f32, f32)>>,
}

impl Overlays {
    /// `good` are maps of good parts, region by region.
    fn new(
        folder: PathBuf,
        brush: OverlayPainter,
        good: &[Vec<(f32, Map)>],
        regions: &[Option<Arc<str>>],
        terminal: &Terminal,
    ) -> Self {
        let scales: Vec<_> = good
            .iter()
            .map(|good| common_scale(good.iter().map(|(_, map)| map)))
            .collect();
        for (scale, region) in scales.iter().zip(regions) {
            let of_region = of_region(region.as_deref());
            terminal.say(match scale {
                Some((low, high)) => format!(
                    "overlays: nothing to see at {low:.4}, full glow at {high:.4}, for all pictures (each reference against the others){of_region}"
                ),
                None => format!("overlays: each picture has a scale of its own, from its least to its most anomalous place; two different references or more give all pictures one{of_region}"),
            });
        }
        Overlays {
            folder,
            brush,
            scales,
        }
    }

    fn write(
        &mut self,
        stem: &str,
        picture: &Picture,
        regions: &[Detailed],
    ) -> Result<(), Failure> {
        let layers: Vec<HeatLayer> = regions
            .iter()
            .zip(&self.scales)
            .map(|(detailed, scale)| {
                let RegionScore { map, area, .. } = &detailed.region_score;
                HeatLayer {
                    map,
                    area: *area,
                    scale: scale.unwrap_or((map.min(), map.max())),
                }
            })
            .collect();
        let scores: Vec<String> = regions
            .iter()
            .map(|detailed| detailed.region_score.score.to_string())
            .collect();
        let painted = self.brush.paint(&Overlay::new(picture, &layers, None, &[]));
        let png = png::encode(&painted, &[("score", &scores.join(" "))]);
        let path = self.folder.join(format!("{stem}.png"));
        std::fs::write(&path, png)
            .map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", path.display())))
    }
}

/// From what good parts show at their worst place, m in the median (one odd reference must not dim all pictures):
/// nothing to see at m/2, full glow at 2 m.
fn common_scale<'a>(good: impl Iterator<Item = &'a Map>) -> Option<(f32, f32)> {
    let mut worst: Vec<f32> = good.map(Map::max).collect();
    worst.sort_by(f32::total_cmp);
    let median = *worst.get(worst.len() / 2)?;
    (median > 0.0).then_some((median / 2.0, 2.0 * median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_reference_does_not_dim_the_overlays() {
        let good = [0.1, 0.9, 0.2].map(|worst| Map::new(1, vec![worst]));
        assert_eq!(common_scale(good.iter()), Some((0.1, 0.4)));
        assert_eq!(common_scale([].iter()), None);
        assert_eq!(
            common_scale([Map::new(1, vec![0.0]), Map::new(1, vec![0.0])].iter()),
            None
        );
    }
}
