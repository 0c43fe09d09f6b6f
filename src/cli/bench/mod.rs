//! `winspect bench`: every stage of a picture on this machine, beside the floor under it. The table is for people, on
//! standard error; the JSON line on standard output is for those who keep figures.
//!
//! Method: a picture of 1280 x 720 pixels of smooth noise and as many references as asked, drawn by a fixed seed; one
//! picture to warm up; each stage timed apart on the same run; medians. The floor is the plan's operations over the
//! speed of one large matrix product of the same library on the same threads, measured in the same process.

mod cameras;
mod gpu;
mod parts;

use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::cli::arguments::JudgingArguments;
use crate::cli::bench::gpu::GpuBench;
use crate::data::part::{Part, PartRequest, PartTiming};
use crate::data::picture::Picture;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::{OnUndecided, Reason, Rule};
use crate::engine::EncodePlan;
use crate::engine::flops::flop;
use crate::engine::onnx::gemm::gemm_speed;
use crate::engine::select::{Backend, Engines};
use crate::image::overlay::{Layer, Overlay};
use crate::image::overlay::{paint, png};
use crate::model::ModelFolder;
use crate::protocol::birth::Identity;
use crate::protocol::result;
use crate::recipe::prepare::{References, Setting};
use crate::recipe::quality::{Gate, Limits};
use crate::winclip::{Inspector, RegionScore};
use clap::{Args, Subcommand};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    other: Option<OtherBench>,
    #[command(flatten)]
    judging: Option<JudgingArguments>,
    /// References to compare with; 0 is zero-shot, for models with text
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    references: u16,
    /// Pictures that are timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Leave the network out on a GPU: kernels, copies and the graph alone, where TensorRT cannot run the model
    #[arg(long, requires = "model")]
    without_network: bool,
}

/// What the bench of a model is asked.
struct StagesArguments<'a> {
    judging: &'a JudgingArguments,
    references: u16,
    runs: u16,
    without_network: bool,
}

#[derive(Debug, Subcommand)]
enum OtherBench {
    /// Many cameras at once, without a model: what is lost, and the processor time of each stage
    Cameras(cameras::CamerasArguments),
    /// From a trigger to its result through a broker, without a model, and how fast stored results are delivered
    Parts(parts::PartsArguments),
}

/// The camera picture's size.
const WIDTH: usize = 1280;
const HEIGHT: usize = 720;

pub fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    match (&arguments.other, &arguments.judging) {
        (Some(OtherBench::Cameras(cameras)), _) => cameras::run(cameras),
        (Some(OtherBench::Parts(parts)), _) => parts::run(parts),
        (None, Some(judging)) => {
            let BenchArguments {
                references,
                runs,
                without_network,
                ..
            } = *arguments;
            run_stages(&StagesArguments {
                judging,
                references,
                runs,
                without_network,
            })
        }
        (None, None) => Err(Failure::words(
            Exit::Usage,
            "give --model, or say cameras or parts".to_owned(),
        )),
    }
}

fn run_stages(arguments: &StagesArguments) -> Result<(), Failure> {
    if arguments.without_network && arguments.judging.backend != Backend::Tensorrt {
        let words = "--without-network measures a GPU: it needs --backend tensorrt";
        return Err(Failure::words(Exit::Usage, words.to_owned()));
    }
    let model = arguments.judging.open()?;
    let recipe = arguments
        .judging
        .recipe(model.spec.text.as_ref().map(|_| "metal nut".to_owned()));
    let plan = recipe
        .encode_plan(&model.spec, arguments.references > 0)
        .map_err(|problems| Failure::words(Exit::Usage, problems.to_string()))?;
    let engines = Engines {
        without_network: arguments.without_network,
        ..arguments.judging.engines()
    };
    let unavailable = |error| Failure::new(Exit::Unavailable, error);
    let setting = Setting {
        model: &model,
        recipe: &recipe,
        plan: &plan,
        engines: &engines,
        wrong_recipe: Exit::Usage,
    };
    let pictures: Vec<Picture> = (0..arguments.references)
        .map(|seed| noise(1 + u64::from(seed)))
        .collect();
    let files = (0..arguments.references)
        .map(|seed| PathBuf::from(format!("noise {seed}")))
        .collect();
    let references = References { pictures, files };
    let mut inspector = setting.inspector(&references, &mut |_, _| ())?;
    let gate = Gate::new(Limits::default(), &references.pictures);
    let picture = noise(0);
    let mut stages = Stages::default();
    let failed = |error| Failure::new(Exit::Software, error);
    if inspector.scores_on_device() {
        let (references, runs) = (arguments.references, usize::from(arguments.runs));
        return GpuBench {
            model: &model,
            plan: &plan,
            references,
            runs,
            with_network: !arguments.without_network,
        }
        .run(&mut inspector, &picture);
    }
    let gemm = gemm_speed(&engines.runtime().map_err(unavailable)?).map_err(unavailable)?;
    inspector.judge(&picture).map_err(failed)?;
    for done in 1..=arguments.runs {
        let started = Instant::now();
        std::hint::black_box(gate.flaw(&picture));
        stages.put("bad image", started.elapsed());
        let mut judgements = inspector.judge(&picture).map_err(failed)?;
        let judgement = judgements.pop().expect("one region");
        stages.add(&inspector, &judgement, &plan.scales);
        stages.publish(judgement, &picture);
        tracing::debug!("{done} of {}", arguments.runs);
    }
    tell(arguments, &model, &plan, gemm, &stages)
}

/// Smooth noise: a coarse random grid enlarged, so that neighbours are alike as in a photo.
fn noise(seed: u64) -> Picture {
    const CELL: usize = 40;
    let mut random = StdRng::seed_from_u64(seed);
    let (columns, rows) = (WIDTH / CELL, HEIGHT / CELL);
    let coarse: Vec<u8> = (0..3 * columns * rows).map(|_| random.random()).collect();
    let mut rgb = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let at = 3 * (row / CELL * columns + column / CELL);
            rgb.extend(
                coarse[at..at + 3]
                    .iter()
                    .map(|v| v / 2 + random.random_range(0..32)),
            );
        }
    }
    Picture::new(WIDTH, HEIGHT, rgb).expect("filled row by row")
}

/// Times of each stage, one entry a picture.
#[derive(Default)]
struct Stages(Vec<(String, Vec<Duration>)>);

impl Stages {
    fn put(&mut self, name: &str, took: Duration) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(took),
            None => self.0.push((name.to_owned(), vec![took])),
        }
    }

    fn add(&mut self, inspector: &Inspector, judgement: &RegionScore, scales: &[usize]) {
        let encode = inspector.encode_took();
        self.put("pixels", judgement.pixels_took);
        self.put("trunk", encode.trunk);
        self.put("gather", encode.gather);
        for (scale, took) in scales.iter().zip(&encode.windows) {
            self.put(&format!("windows{scale}"), *took);
        }
        self.put("encode", judgement.encode_took);
        self.put("score", judgement.score_took);
    }

    /// What the line does with a judgement: the message, and (apart) the heat map for people.
    fn publish(&mut self, judgement: RegionScore, picture: &Picture) {
        let (map, area) = (judgement.map.clone(), judgement.area);
        let started = Instant::now();
        let payload = result::encode(&result::row(&report(judgement), &identity()), false, 0);
        self.put("message", started.elapsed());
        std::hint::black_box(payload);
        let started = Instant::now();
        let layer = Layer {
            map: &map,
            area,
            scale: (map.min(), map.max()),
        };
        let painted = paint::paint(&Overlay::new(picture, &[layer], None, &[]));
        self.put("paint", started.elapsed());
        std::hint::black_box(png::encode(&painted, &[]));
        self.put("heatmap", started.elapsed());
    }

    /// Milliseconds.
    fn median(&self, name: &str) -> f64 {
        let Some((_, times)) = self.0.iter().find(|(known, _)| known == name) else {
            return 0.0;
        };
        let mut sorted = times.clone();
        sorted.sort();
        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    }
}

fn identity() -> Identity {
    Identity {
        prefix: "bench".to_owned(),
        station: "box".to_owned(),
        run_id: "bench".to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras: vec![],
        recipe: "bench@1".to_owned(),
        model: "bench".to_owned(),
        backend: "onnx-fp32".to_owned(),
        device: "cpu".to_owned(),
        references: 0,
        gallery: None,
        threshold: Some(0.5),
        previous: vec![],
        regions: BTreeMap::new(),
    }
}

fn report(judgement: RegionScore) -> Report {
    let rule = Rule {
        threshold: Some(0.5),
    };
    let terms = PartTiming {
        deadline: Duration::from_secs(1),
        ..PartTiming::default()
    };
    let (since, at) = (Instant::now(), jiff::Timestamp::now());
    let ask = PartRequest {
        camera: "bench".into(),
        region: None,
        part_id: None,
        count: None,
        position: None,
        since,
        at,
        terms,
        challenge: None,
    };
    let part = Part::new(1, "bench".into(), 1, ask);
    let judge = DecisionPolicy {
        recipe: "bench@1".into(),
        threshold: rule.threshold,
        on_undecided: OnUndecided::Fail,
    };
    let mut report = Report::undecided(part, Reason::NotReady, &judge);
    (report.verdict, report.reason) = rule.decide(judgement.score);
    report.score = Some(judgement.score);
    (report.map, report.area) = (Some(judgement.map), Some(judgement.area));
    report
}

fn tell(
    arguments: &StagesArguments,
    model: &ModelFolder,
    plan: &EncodePlan,
    gemm: f64,
    stages: &Stages,
) -> Result<(), Failure> {
    let flop = flop(plan, &model.spec);
    let scales = plan
        .scales
        .iter()
        .zip(&flop.windows)
        .map(|(scale, work)| (format!("windows{scale}"), *work));
    let mut works: HashMap<String, f64> = scales.collect();
    works.extend([
        ("trunk".to_owned(), flop.trunk),
        ("encode".to_owned(), flop.total()),
    ]);
    eprintln!(
        "{}, {} references, medians of {} pictures of {WIDTH} x {HEIGHT}; matrix products: {:.0} GFLOP/s",
        model.label(),
        arguments.references,
        arguments.runs,
        gemm / 1e9
    );
    eprintln!(
        "{:<10} {:>9} {:>9} {:>9} {:>7}",
        "stage", "ms", "GFLOP", "floor ms", "ratio"
    );
    let mut rows = serde_json::Map::new();
    for (name, _) in &stages.0 {
        let ms = stages.median(name);
        let floor = works.get(name).map(|work| (work / 1e9, work / gemm * 1e3));
        match floor {
            Some((work, floor)) => eprintln!(
                "{name:<10} {ms:>9.2} {work:>9.1} {floor:>9.2} {:>7.2}",
                ms / floor
            ),
            None => eprintln!("{name:<10} {ms:>9.2}"),
        }
        rows.insert(
            name.clone(),
            json!({"ms": ms, "gflop": floor.map(|f| f.0), "floor_ms": floor.map(|f| f.1)}),
        );
    }
    let ours: f64 = ["pixels", "gather", "score", "message"]
        .iter()
        .map(|name| stages.median(name))
        .sum();
    let frame: f64 = ["bad image", "pixels", "encode", "score", "message"]
        .iter()
        .map(|name| stages.median(name))
        .sum();
    let (now, peak) = (status_mb("VmRSS:"), status_mb("VmHWM:"));
    eprintln!(
        "pixels, gather, score and message together {ours:.2} ms; a frame {frame:.1} ms, {:.1} frames/s",
        1e3 / frame
    );
    eprintln!("resident {now:.0} MB, at most {peak:.0} MB (while the model was loaded)");
    let line = json!({
        "model": model.label(), "references": arguments.references, "runs": arguments.runs,
        "threads": arguments.judging.threads, "gemm_gflops": gemm / 1e9, "stages": rows,
        "ours_ms": ours, "frame_ms": frame, "rss_mb": now, "rss_peak_mb": peak,
    });
    print(line.to_string()).map(|_| ())
}

/// A line of /proc/self/status; NaN where there is none.
pub fn status_mb(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kb = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<f64>()
            .ok()
    });
    kb.map_or(f64::NAN, |kb| kb / 1e3)
}
