//! `winspect inspect`: judge picture files; one JSON line a picture on standard output, all else on standard error.

use crate::base::exit::{Exit, Failure, chain};
use crate::engine::onnx::{OnnxEncoder, OnnxTextEncoder, Runtime};
use crate::engine::{EncodePlan, EngineError, PatchLayer, TextEncoder};
use crate::frame::Picture;
use crate::model::ModelFolder;
use crate::picture_file;
use crate::publish::heatmap;
use crate::winclip::inspector::{Detailed, InspectError};
use crate::winclip::{Fit, Inspector, MapKind, Preset, Recipe};
use clap::Args;
use ndarray::{ArrayD, Axis, s};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// An imported model folder
    #[arg(long)]
    model: PathBuf,
    /// What the part is, for models with text: "metal nut"
    #[arg(long)]
    class_name: Option<String>,
    /// A picture of a good part, or a folder of them; may be repeated
    #[arg(long)]
    reference: Vec<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// Input side in pixels; the model's own unless given
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Patches from the b-th block, counted from 1
    #[arg(long, value_name = "B")]
    block: Option<usize>,
    /// Visual maps to average: patch, or window scales; for example patch,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    maps: Vec<MapKind>,
    /// auto or onnx
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Write a heat-map overlay of each picture into this folder
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,
    /// Write the tensors on the way into this file
    #[arg(long, value_name = "FILE.safetensors")]
    tensors: Option<PathBuf>,
    /// Where libonnxruntime is
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Threads of the encoder; one a core unless given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

pub fn run(arguments: InspectArguments) -> Result<(), Failure> {
    if !["auto", "onnx"].contains(&arguments.backend.as_str()) {
        let words = format!("backend {:?} is not in this build; there are auto and onnx", arguments.backend);
        return Err(Failure::words(Exit::Unavailable, words));
    }
    let model = ModelFolder::open(&arguments.model).map_err(|error| Failure::new(Exit::Data, error))?;
    let recipe = recipe(&arguments);
    let (references, reference_problems) = pictures(&arguments.reference)?;
    if let Some(problem) = reference_problems.first() {
        return Err(Failure::words(Exit::Data, format!("a reference cannot be used: {problem}")));
    }
    let mut plan = recipe
        .encode_plan(&model.spec, !references.is_empty())
        .map_err(|problems| Failure::words(Exit::Config, problems.to_string()))?;
    if arguments.tensors.is_some() {
        add_tensor_layers(&mut plan, &model);
    }
    let mut inspector = prepare(&arguments, &model, &recipe, &plan, &references)?;
    let (pictures, mut problems) = pictures(&arguments.pictures)?;
    problems.iter().for_each(|problem| eprintln!("winspect: {problem}"));

    let mut tensors = Tensors::new(&recipe, &plan, references.len(), inspector.prototypes().cloned());
    let mut stems = HashSet::new();
    for (path, picture) in &pictures {
        for (reference, _) in references.iter().filter(|(_, reference)| reference == picture) {
            eprintln!(
                "winspect: warning: {} is also the reference {}: its score says little",
                path.display(),
                reference.display()
            );
        }
        match judge(&mut inspector, path, picture) {
            Ok(detailed) => {
                let stem = unique_stem(path, &mut stems);
                if let Some(folder) = &arguments.overlay {
                    write_overlay(folder, &stem, picture, &detailed)?;
                }
                if arguments.tensors.is_some() {
                    tensors.add(&stem, detailed);
                }
            }
            Err(problem) => {
                eprintln!("winspect: {problem}");
                problems.push(problem);
            }
        }
    }
    if let Some(file) = &arguments.tensors {
        tensors.write(file)?;
    }
    match problems.len() {
        0 => Ok(()),
        n => Err(Failure::words(Exit::Data, format!("{n} of {} pictures could not be judged", n + stems.len()))),
    }
}

fn recipe(arguments: &InspectArguments) -> Recipe {
    Recipe {
        preset: arguments.preset,
        fit: arguments.fit,
        side: arguments.size,
        block: arguments.block,
        maps: (!arguments.maps.is_empty()).then(|| arguments.maps.clone()),
        ..Recipe::new(arguments.class_name.clone())
    }
}

/// Files and folders to pictures; what cannot be read is told apart.
#[expect(clippy::type_complexity, reason = "read once, here")]
fn pictures(paths: &[PathBuf]) -> Result<(Vec<(PathBuf, Picture)>, Vec<String>), Failure> {
    let files = picture_file::expand(paths).map_err(|error| Failure::new(Exit::Data, error))?;
    let (mut read, mut problems) = (vec![], vec![]);
    for file in files {
        match picture_file::read(&file) {
            Ok(picture) => read.push((file, picture)),
            Err(error) => problems.push(chain(&error)),
        }
    }
    Ok((read, problems))
}

/// For `--tensors`, patches are written even where the recipe does not need them; the recipe's own stay first.
fn add_tensor_layers(plan: &mut EncodePlan, model: &ModelFolder) {
    let last = PatchLayer::Block(model.spec.blocks);
    if model.spec.text.is_some() && !plan.patches.contains(&last) {
        plan.patches.push(last);
    }
}

fn prepare(
    arguments: &InspectArguments,
    model: &ModelFolder,
    recipe: &Recipe,
    plan: &EncodePlan,
    references: &[(PathBuf, Picture)],
) -> Result<Inspector, Failure> {
    let threads = arguments.threads.map(usize::from);
    let runtime = Runtime::load(arguments.onnxruntime.as_deref()).map_err(engine_failure)?;
    let encoder = OnnxEncoder::open(&runtime, model, plan, threads).map_err(engine_failure)?;
    let mut text = match model.spec.text {
        Some(_) => Some(OnnxTextEncoder::open(&runtime, model, threads).map_err(engine_failure)?),
        None => None,
    };
    let text = text.as_mut().map(|text| text as &mut dyn TextEncoder);
    let pictures: Vec<Picture> = references.iter().map(|(_, picture)| picture.clone()).collect();
    let mut progress = |done, of| {
        if of > 0 {
            tracing::debug!("references: {done} of {of}");
        }
    };
    Inspector::prepare(recipe, &model.spec, plan, Box::new(encoder), text, &pictures, &mut progress).map_err(|error| {
        match error {
            InspectError::Recipe(problems) => Failure::words(Exit::Config, problems.to_string()),
            InspectError::Picture(error) => Failure::new(Exit::Data, error),
            InspectError::Engine(error) => engine_failure(error),
        }
    })
}

/// The exit code that goes with an engine's error.
pub fn engine_failure(error: EngineError) -> Failure {
    let exit = match error {
        EngineError::Unavailable(_) => Exit::Unavailable,
        EngineError::Plan(_) => Exit::Config,
        EngineError::Model(_) => Exit::Data,
        EngineError::Run(_) => Exit::Software,
    };
    Failure::new(exit, error)
}

/// Judges and prints the JSON line.
fn judge(inspector: &mut Inspector, path: &Path, picture: &Picture) -> Result<Detailed, String> {
    let detailed =
        inspector.judge_in_detail(picture).map_err(|error| format!("{}: {}", path.display(), chain(&error)))?;
    let judgement = &detailed.judgement;
    let ms = |took: std::time::Duration| (took.as_secs_f64() * 1e6).round() / 1e3;
    let total = judgement.pixels_took + judgement.encode_took + judgement.score_took;
    let line = json!({
        "path": path.display().to_string(),
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
    println!("{line}");
    Ok(detailed)
}

/// The file's stem; with a number when another picture has it already.
fn unique_stem(path: &Path, taken: &mut HashSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut unique = stem.clone();
    let mut number = 1;
    while !taken.insert(unique.clone()) {
        number += 1;
        unique = format!("{stem}_{number}");
    }
    if unique != stem {
        eprintln!("winspect: warning: another picture is called {stem:?}; {} is written as {unique:?}", path.display());
    }
    unique
}

fn write_overlay(folder: &Path, stem: &str, picture: &Picture, detailed: &Detailed) -> Result<(), Failure> {
    let map = &detailed.judgement.map;
    let drawn = heatmap::draw(picture, map, (map.min(), map.max()), None, &[]);
    let png = heatmap::png(&drawn, &[("score", &detailed.judgement.score.to_string())]);
    let path = folder.join(format!("{stem}.png"));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, png))
        .map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", path.display())))
}

/// What `--tensors` writes, under the names of the golden files.
struct Tensors {
    run: String,
    fit: &'static str,
    preset: &'static str,
    plan: EncodePlan,
    all: BTreeMap<String, ArrayD<f32>>,
}

impl Tensors {
    fn new(recipe: &Recipe, plan: &EncodePlan, references: usize, prototypes: Option<ndarray::Array2<f32>>) -> Self {
        let preset = recipe.preset.name();
        let run = if references == 0 { "zero_shot".to_owned() } else { format!("few_shot{references}") };
        let features = prototypes.map(|p| (format!("{preset}.text.features"), p.into_dyn()));
        let fit = match recipe.fit {
            Fit::Squash => "squash",
            Fit::Crop => "crop",
        };
        Tensors { run, fit, preset, plan: plan.clone(), all: features.into_iter().collect() }
    }

    fn add(&mut self, stem: &str, detailed: Detailed) {
        let Detailed { judgement, pixels, features } = detailed;
        let (preset, run) = (self.preset, self.run.clone());
        let mut put = |name: String, tensor: ArrayD<f32>| self.all.insert(name, tensor);
        put(format!("{}.{stem}", self.fit), pixels.into_dyn());
        let clip = features.image.is_some();
        if let Some(image) = features.image {
            put(format!("encode.image.{stem}"), ndarray::Array1::from(image).into_dyn());
        }
        for (layer, tokens) in self.plan.patches.iter().zip(features.tokens) {
            match layer {
                PatchLayer::Block(block) if !clip => put(format!("block{block}.{stem}"), tokens.into_dyn()),
                PatchLayer::Block(_) => {
                    put(format!("encode.patches.{stem}"), tokens.slice_move(s![1.., ..]).into_dyn())
                }
                PatchLayer::AfterFinalNorm => {
                    put(format!("encode.patches_after_ln_post.{stem}"), tokens.slice_move(s![1.., ..]).into_dyn())
                }
            };
        }
        for windows in features.windows {
            put(format!("encode.windows{}.{stem}", windows.scale), windows.features.into_dyn());
        }
        let side = judgement.map.side();
        let grid = ndarray::Array1::from(judgement.map.values().to_vec());
        put(
            format!("{preset}.{run}.grid.{stem}"),
            grid.into_shape_with_order((side, side)).expect("a square").into_dyn(),
        );
        let score = ndarray::arr0(judgement.score).insert_axis(Axis(0));
        put(format!("{preset}.{run}.score.{stem}"), score.into_dyn());
    }

    fn write(&self, file: &Path) -> Result<(), Failure> {
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .all
            .iter()
            .map(|(name, t)| (name.clone(), t.shape().to_vec(), t.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
            (name.as_str(), view.expect("four bytes a value"))
        });
        safetensors::serialize_to_file(views, None, file)
            .map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", file.display())))
    }
}
