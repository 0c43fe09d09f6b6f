//! `winspect bench --model M`: every stage of a picture on this machine, beside the floor under it.
//!
//! Method: a picture of 1280 x 720 pixels of smooth noise and as many references as asked, drawn by a fixed seed; one
//! picture to warm up; each stage timed apart on the same run; medians. The floor is the plan's operations over the
//! speed of one large matrix product of the same library on the same threads, measured in the same process.
//! `jpeg` is the decoder that tells damage; `plain jpeg`, one that tells none, is its baseline.

use super::gpu::GpuBench;
use super::memory;
use super::noise::{self, HEIGHT, WIDTH};
use crate::base::exit::{Exit, Failure};
use crate::cli::arguments::JudgingArguments;
use crate::cli::terminal::print;
use crate::data::map::Map;
use crate::data::part::{Part, PartRequest, PartTiming};
use crate::data::picture::{Area, Picture};
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::{OnUndecided, Reason, decide};
use crate::engine::EncodePlan;
use crate::engine::flops::flop;
use crate::engine::onnx::gemm::gemm_speed;
use crate::engine::select::{Backend, Engines};
use crate::image::jpeg;
use crate::image::overlay::{HeatLayer, HeatScale, Overlay, paint, png};
use crate::model::ModelFolder;
use crate::protocol::birth::Identity;
use crate::protocol::recipe_number::RecipeNumbers;
use crate::protocol::result;
use crate::recipe::preparation::Preparation;
use crate::recipe::quality::{Gate, Limits};
use crate::recipe::references::References;
use crate::winclip::{Inspector, Recipe, RegionScore};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The bench of a model, as it was asked for.
pub struct StageBench<'a> {
    /// The model, and how it judges.
    pub judging: &'a JudgingArguments,
    /// Block whose patches are compared. `None`: the model's default.
    pub block: Option<usize>,
    /// Number of references; 0 is zero-shot.
    pub references: u16,
    /// Pictures that are timed.
    pub runs: u16,
    /// True to leave the network out on a GPU.
    pub without_network: bool,
}

impl StageBench<'_> {
    /// Measures and tells.
    ///
    /// # Errors
    /// A model or an engine that is not there, a recipe that does not fit the model.
    pub fn run(&self) -> Result<(), Failure> {
        // The stand-in belongs to the GPU's engine; the CPU has none.
        if self.without_network && self.judging.backend != Backend::Tensorrt {
            let words = "--without-network measures a GPU: it needs --backend tensorrt";
            return Err(Failure::words(Exit::Usage, words));
        }

        // Model, recipe and engine are prepared as in `inspect`, with references of noise.
        let model = self.judging.open()?;
        let recipe = self.recipe(&model);
        let plan = recipe
            .encode_plan(&model.spec, self.references > 0)
            .map_err(|problems| Failure::words(Exit::Usage, problems.to_string()))?;

        // The flag is the bench's own: no command that judges has it.
        let engines = Engines {
            without_network: self.without_network,
            ..self.judging.engines()
        };

        let preparation = Preparation {
            model: &model,
            recipe: &recipe,
            plan: &plan,
            engines: &engines,
            wrong_recipe: Exit::Usage,
        };

        // The references are encoded before the first measurement; their time is in no figure.
        let references = self.noise_references();
        let mut inspector = preparation.inspector(&references, &mut |_, _| ())?;

        // A GPU runs a frame as one graph: its stages are timed by other means.
        if inspector.scores_on_device() {
            let bench = GpuBench {
                model: &model,
                plan: &plan,
                references: self.references,
                runs: usize::from(self.runs),
                with_network: !self.without_network,
            };

            return bench.run(&mut inspector, &noise::picture(0));
        }

        // The matrix product runs in the same process on the same threads, so that its speed is the
        // floor's.
        let gemm = gemm(&engines)?;
        let gate = Gate::new(Limits::default(), &references.pictures);
        let times = self.measure(&mut inspector, &gate, &plan)?;

        self.tell(&model, &plan, gemm, &times)
    }

    fn recipe(&self, model: &ModelFolder) -> Recipe {
        // A model with text needs a class name; which one does not change the work.
        let text = model.spec.text.as_ref();
        let class_name = text.map(|_| "metal nut".to_owned());

        self.judging.recipe(class_name, self.block)
    }

    fn noise_references(&self) -> References {
        // Seed 0 is the measured picture's: no reference equals it.
        let numbers = 1..=u64::from(self.references);
        References {
            pictures: numbers.clone().map(noise::picture).collect(),
            files: numbers
                .map(|number| PathBuf::from(format!("noise {number}")))
                .collect(),
        }
    }

    fn measure(
        &self,
        inspector: &mut Inspector,
        gate: &Gate,
        plan: &EncodePlan,
    ) -> Result<StageTable, Failure> {
        // The first picture pays for memory that the engine allocates once.
        let picture = noise::picture(0);
        let file = jpeg_of(&picture);
        let mut times = StageTable::default();
        judge(inspector, &picture)?; // to warm up
        for done in 1..=self.runs {
            times.put_jpeg(&file, done);

            // Stages run in the line's order, one after the other on this thread.
            let started = Instant::now();
            black_box(gate.flaw(&picture));

            // The judging's own times come with the score: `pixels`, `encode` and `score` are
            // clocked inside the inspector.
            times.put("bad image", started.elapsed());
            let score = judge(inspector, &picture)?;
            times.put_judging(inspector, &score, &plan.scales);

            // The map is needed twice: the message takes the score with it.
            let map = score.map.clone();
            let area = score.area;
            times.put_message(score);
            times.put_heat_map(&map, area, &picture);
            tracing::debug!("{done} of {}", self.runs);
        }

        Ok(times)
    }

    fn tell(
        &self,
        model: &ModelFolder,
        plan: &EncodePlan,
        gemm: f64,
        times: &StageTable,
    ) -> Result<(), Failure> {
        eprintln!(
            "{}, {} references, medians of {} pictures of {WIDTH} x {HEIGHT}; matrix products: {:.0} GFLOP/s",
            model.label(),
            self.references,
            self.runs,
            gemm / 1e9
        );

        // Two sums are told: winspect's own code, and all that stands between a frame and its
        // message.
        let rows = times.tell(&work_of_stages(model, plan), gemm);
        let ours_ms = times.sum(&["pixels", "gather", "score", "message"]);
        let frame_ms = times.sum(&["bad image", "pixels", "encode", "score", "message"]);

        // The peak is reached while the model is loaded, when weights exist twice.
        let resident_mb = memory::resident_mb();
        let peak_mb = memory::peak_mb();
        eprintln!(
            "pixels, gather, score and message together {ours_ms:.2} ms; a frame {frame_ms:.1} ms, {:.1} frames/s",
            1e3 / frame_ms
        );

        eprintln!(
            "resident {resident_mb:.0} MB, at most {peak_mb:.0} MB (while the model was loaded)"
        );

        // The JSON line has every row of the table.
        let line = json!({
            "model": model.label(),
            "references": self.references,
            "runs": self.runs,
            "threads": self.judging.threads,
            "gemm_gflops": gemm / 1e9,
            "stages": rows,
            "ours_ms": ours_ms,
            "frame_ms": frame_ms,
            "rss_mb": resident_mb,
            "rss_peak_mb": peak_mb,
        });

        print(line)?;
        Ok(())
    }
}

/// Speed of one large matrix product, in operations a second.
fn gemm(engines: &Engines) -> Result<f64, Failure> {
    let speed = engines.runtime().and_then(|runtime| gemm_speed(&runtime));

    speed.map_err(|error| Failure::new(Exit::Unavailable, error))
}

/// The picture as a camera's JPEG, of quality 85.
fn jpeg_of(picture: &Picture) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 85)
        .encode(
            picture.rgb(),
            WIDTH as u32,
            HEIGHT as u32,
            image::ExtendedColorType::Rgb8,
        )
        .expect("memory takes it");
    file
}

fn decode_jpeg(file: &[u8]) {
    black_box(jpeg::decode(file, Vec::new()).expect("a picture"));
}

/// The decoder of the `image` crate, which 0.1.0 read files with.
fn decode_plain_jpeg(file: &[u8]) {
    let picture = image::load_from_memory_with_format(file, image::ImageFormat::Jpeg);
    black_box(picture.expect("a picture"));
}

fn judge(inspector: &mut Inspector, picture: &Picture) -> Result<RegionScore, Failure> {
    // The recipe has one region, so that there is one score.
    let scores = inspector.inspect(picture);
    let mut scores = scores.map_err(|error| Failure::new(Exit::Software, error))?;

    Ok(scores.pop().expect("one region"))
}

/// Operations of each stage that has a floor.
fn work_of_stages(model: &ModelFolder, plan: &EncodePlan) -> HashMap<String, f64> {
    let flop = flop(plan, &model.spec);

    // Stages are found by their name, as the table has it; windows have one for each scale, in the
    // plan's order.
    let mut work = HashMap::new();
    work.insert("trunk".to_owned(), flop.trunk);
    work.insert("encode".to_owned(), flop.total());

    for (scale, operations) in plan.scales.iter().zip(&flop.windows) {
        work.insert(format!("windows{scale}"), *operations);
    }

    work
}

/// Times of each stage by its name, one entry a picture, in the order of the first picture.
#[derive(Default)]
struct StageTable(Vec<(String, Vec<Duration>)>);

impl StageTable {
    fn put(&mut self, name: &str, took: Duration) {
        // The list is short, and its order is that of the table.
        let known = self.0.iter_mut().find(|(known, _)| known == name);

        match known {
            Some((_, times)) => times.push(took),
            None => self.0.push((name.to_owned(), vec![took])),
        }
    }

    /// Times the decoder of JPEG pictures, beside one that tells no damage. Which comes first changes
    /// with each turn, because the first one finds the file in no cache.
    fn put_jpeg(&mut self, file: &[u8], turn: u16) {
        let mut names = ["jpeg", "plain jpeg"];
        names.rotate_left(usize::from(turn % 2));

        for name in names {
            let started = Instant::now();

            match name {
                "jpeg" => decode_jpeg(file),
                _ => decode_plain_jpeg(file),
            }

            self.put(name, started.elapsed());
        }
    }

    fn put_judging(&mut self, inspector: &Inspector, score: &RegionScore, scales: &[usize]) {
        // `encode` is the whole of trunk, gather and windows; the rows beside it are its parts.
        let encode = inspector.encode_times();
        self.put("pixels", score.pixels_took);
        self.put("trunk", encode.trunk);
        self.put("gather", encode.gather);

        for (scale, took) in scales.iter().zip(&encode.windows) {
            self.put(&format!("windows{scale}"), *took);
        }

        self.put("encode", score.encode_took);
        self.put("score", score.score_took);
    }

    /// Times the message that the line makes of a score.
    fn put_message(&mut self, score: RegionScore) {
        // The row is made and encoded as the store's writer and the publisher do.
        let started = Instant::now();
        let row = result::row(&report(score), &identity());
        let payload = result::encode(&row, false, 0);
        self.put("message", started.elapsed());
        black_box(payload);
    }

    /// Times the heat map for people, which the line makes apart.
    fn put_heat_map(&mut self, map: &Map, area: Area, picture: &Picture) {
        // Both times count from the same start: the second includes the first.
        let started = Instant::now();

        // The scale is the map's own, as a picture without a threshold has it.
        let scale = HeatScale::of_map(map);
        let overlay = Overlay::new(picture, &[HeatLayer { map, area, scale }]);
        let painted = paint::paint(&overlay);
        self.put("paint", started.elapsed());
        black_box(png::encode::<&str>(&painted, &[]));
        self.put("heatmap", started.elapsed());
    }

    /// Median of a stage in milliseconds; 0 for a stage that was not run.
    fn median_ms(&self, name: &str) -> f64 {
        // A median resists the one picture that another process disturbed.
        let stage = self.0.iter().find(|(known, _)| known == name);
        let Some((_, times)) = stage else {
            return 0.0;
        };

        // The upper one of the two middle values for an even count.
        let mut sorted = times.clone();
        sorted.sort();

        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    }

    /// Sum of the medians of some stages in milliseconds.
    fn sum(&self, names: &[&str]) -> f64 {
        names.iter().map(|name| self.median_ms(name)).sum()
    }

    /// Prints the table for people and returns its rows as JSON.
    fn tell(
        &self,
        work: &HashMap<String, f64>,
        gemm: f64,
    ) -> serde_json::Map<String, serde_json::Value> {
        eprintln!(
            "{:<10} {:>9} {:>9} {:>9} {:>7}",
            "stage", "ms", "GFLOP", "floor ms", "ratio"
        );

        // Only stages with counted operations have a floor: operations by operations a second,
        // where 1e9 operations a GFLOP and 1e3 ms a second make the 1e12.
        let mut rows = serde_json::Map::new();

        for (name, _) in &self.0 {
            let ms = self.median_ms(name);
            let gflop = work.get(name).map(|operations| operations / 1e9);
            let floor_ms = gflop.map(|gflop| gflop * 1e12 / gemm);

            if let (Some(gflop), Some(floor_ms)) = (gflop, floor_ms) {
                let ratio = ms / floor_ms;
                eprintln!("{name:<10} {ms:>9.2} {gflop:>9.1} {floor_ms:>9.2} {ratio:>7.2}");
            } else {
                eprintln!("{name:<10} {ms:>9.2}");
            }

            rows.insert(
                name.clone(),
                json!({
                    "ms": ms,
                    "gflop": gflop,
                    "floor_ms": floor_ms,
                }),
            );
        }

        rows
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
        recipes: vec![],
        recipe_numbers: RecipeNumbers::default(),
        places: vec![],
    }
}

/// A verdict by a threshold of 0.5.
fn report(score: RegionScore) -> Report {
    // The verdict by a threshold is part of the message's cost.
    let policy = DecisionPolicy {
        recipe: "bench@1".into(),
        threshold: Some(0.5),
        on_undecided: OnUndecided::Fail,
    };

    let part = Part::new(1, "bench".into(), 1, request());
    let mut report = Report::undecided(part, Reason::NotReady, &policy);
    (report.verdict, report.reason) = decide(score.score, report.threshold);
    report.score = Some(score.score);
    report.map = Some(score.map);
    report.area = Some(score.area);

    report
}

fn request() -> PartRequest {
    PartRequest {
        camera: "bench".into(),
        region: None,
        part_id: None,
        count: None,
        position: None,
        since: Instant::now(),
        at: jiff::Timestamp::now(),
        moment: Instant::now(),
        timing: PartTiming {
            deadline: Duration::from_secs(1),
            ..PartTiming::default()
        },
        challenge: None,
    }
}
