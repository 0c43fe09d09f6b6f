//! The NVIDIA path: on a GPU where there is one, and everywhere through `tools/gpu/with-stand-ins`. Without either a test is
//! skipped, or fails where `WINSPECT_REQUIRE` names `gpu`.

use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{self, LineConfig};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors, winspect};
use crate::harness::{device, json, require, stand_in};
use crate::inspect::{self, Engine};
use ndarray::{Array2, ArrayView2};
use std::path::Path;
use std::process::Output;
use winspect::data::picture::{Area, Picture};
use winspect::engine::nearest::Nearest;
use winspect::engine::network::Precision;
use winspect::engine::select::{Backend, Engines};
use winspect::engine::{Crop, EncodePlan, EncodeTimes, Encoder, EngineError, Features};
use winspect::image::file as image_file;
use winspect::model::ModelFolder;
use winspect::winclip::parity::{Comparison, Parity};
use winspect::winclip::{Fit, Inspector, MapKind, Recipe, Region, RegionScore, Turned};

const FP32: Engine = Engine {
    flags: &["--backend", "tensorrt", "--precision", "fp32"],
    tolerances: [3e-2, 1e-3],
};
/// Tolerances of the engine's own parity check.
const FP16: Engine = Engine {
    flags: &["--backend", "tensorrt", "--precision", "fp16"],
    tolerances: [1e-1, 1e-2],
};

#[test]
fn the_device_gives_the_golden_tensors_scores_and_maps() {
    if !require("gpu") {
        return;
    }

    for engine in [&FP32, &FP16] {
        inspect::check_open_clip(engine);
        inspect::check_crop(engine);
        inspect::check_transformers_clip(engine);
        inspect::check_dinov2(engine);
    }
}

/// The golden DINOv2 on the device and on the CPU, by the same recipe.
fn both(recipe: &Recipe, model: &ModelFolder, references: &[Picture]) -> [Inspector; 2] {
    [Backend::Tensorrt, Backend::Onnx].map(|backend| {
        let engines = Engines {
            backend,
            precision: Precision::Fp32,
            ..Engines::default()
        };

        let plan = recipe.encode_plan(&model.spec, true).expect("fits");
        let encoder = engines.open(model, &plan, &|_| ()).expect("opens").encoder;
        Inspector::prepare(
            recipe,
            &model.spec,
            &plan,
            encoder,
            None,
            references,
            &mut |_, _| (),
        )
        .expect("prepares")
    })
}

fn picture(name: &str) -> Picture {
    image_file::read(&golden("open-clip-tiny").join(format!("{name}.png")))
        .expect("a golden picture")
}

#[track_caller]
fn assert_alike(what: &str, gpu: &[RegionScore], cpu: &[RegionScore]) {
    assert_eq!(gpu.len(), cpu.len(), "{what}");
    for (gpu, cpu) in gpu.iter().zip(cpu) {
        assert_eq!((&gpu.region, gpu.area), (&cpu.region, cpu.area), "{what}");
        let off = gpu
            .map
            .values()
            .iter()
            .zip(cpu.map.values())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);

        assert!(off < 1e-4, "{what}: a cell is off by {off}");
        assert!(
            (gpu.score - cpu.score).abs() < 1e-4,
            "{what}: {} on the device, {} on the CPU",
            gpu.score,
            cpu.score
        );
    }
}

#[test]
fn regions_masks_and_tiles_are_judged_as_on_the_cpu() {
    if !require("gpu") {
        return;
    }

    // Without registers, and with.
    for name in ["dinov2-tiny", "dinov2-reg-tiny"] {
        let (_guard, model) = imported(name);
        regions_masks_and_tiles_are_judged_alike(&model);
    }
}

fn regions_masks_and_tiles_are_judged_alike(model: &ModelFolder) {
    let area = |x, y, w, h| Area { x, y, w, h };
    let triangle = vec![vec![(2.0, 2.0), (30.0, 4.0), (9.0, 28.0)]];
    let region = |name: &str, crop, mask| Region {
        name: Some(name.into()),
        crop: Some(crop),
        mask,
    };

    let regions = vec![
        region("rim", area(0, 0, 33, 30), triangle),
        region("hub", area(7, 5, 41, 33), vec![]),
    ];

    let maps = Some(vec![
        MapKind::Patch,
        MapKind::Windows(1),
        MapKind::Windows(3),
    ]);

    let plain = Recipe {
        input_px: Some(70),
        maps,
        ..Recipe::new(None)
    };

    let cases = [
        ("plain", plain.clone()),
        (
            "crop",
            Recipe {
                fit: Fit::Crop,
                turned: Turned::All,
                ..plain.clone()
            },
        ),
        (
            "regions",
            Recipe {
                regions: regions.clone(),
                thin_to: Some(1),
                ..plain.clone()
            },
        ),
        (
            "tiles",
            Recipe {
                regions,
                tile_px: Some(32),
                ..plain
            },
        ),
    ];

    let (good, other) = ([picture("good_a"), picture("good_b")], [picture("good_b")]);
    let shown = ["bad", "good_b", "good_c"].map(picture);
    for (what, recipe) in cases {
        let [mut gpu, mut cpu] = both(&recipe, model, &good);
        let together: Vec<&Picture> = shown.iter().collect();
        let mut compare = |what: &str| {
            // Twice: the second time every graph is there.
            for _ in 0..2 {
                let judged = [&mut gpu, &mut cpu]
                    .map(|inspector| inspector.inspect_all(&together).expect("judged"));

                let [on_gpu, on_cpu] =
                    judged.map(|all| all.into_iter().map(|one| one.expect("inside")));

                on_gpu
                    .zip(on_cpu)
                    .for_each(|(gpu, cpu)| assert_alike(what, &gpu, &cpu));
            }

            // Others are taught: what was captured stays.
            for inspector in [&mut gpu, &mut cpu] {
                let views = other
                    .iter()
                    .map(|picture| inspector.encode(picture).expect("encoded"))
                    .collect();

                inspector.set_references(views).expect("room");
            }
        };

        compare(what);
        compare(&format!("{what}, taught again"));
        // A bad part is known: its looks raise it on both ways alike.
        let bad = picture("bad");
        for inspector in [&mut gpu, &mut cpu] {
            let (unknown, looks) = inspector.inspect_and_learn(&bad).expect("judged");
            assert_eq!(inspector.set_looks(&[looks]).expect("room"), 0);
            let known = inspector.inspect(&bad).expect("judged");
            let highest = |regions: &[RegionScore]| {
                let scores = regions.iter().map(|region| region.score);
                scores.fold(0.0, f32::max)
            };

            let [known, unknown] = [&known, &unknown].map(|regions| highest(regions));
            assert!(known > unknown + 0.1, "{what}: {known}, {unknown}");
        }

        let judged = [&mut gpu, &mut cpu].map(|inspector| inspector.inspect(&bad).expect("judged"));
        for (gpu, cpu) in judged[0].iter().zip(&judged[1]) {
            assert!(
                (gpu.score - cpu.score).abs() < 1e-2,
                "{what}: {gpu:?} {cpu:?}"
            );
        }
    }
}

#[test]
fn a_network_that_is_off_does_not_pass() {
    if !require("gpu") {
        return;
    }

    let (_guard, model) = imported("dinov2-tiny");
    let recipe = Recipe {
        input_px: Some(70),
        ..Recipe::new(None)
    };

    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let comparison = Comparison {
        recipe: &recipe,
        spec: &model.spec,
        plan: &plan,
        prototypes: None,
    };

    let open = |backend, side| {
        let engines = Engines {
            backend,
            ..Engines::default()
        };

        let plan = EncodePlan {
            width: side,
            height: side,
            ..plan.clone()
        };

        engines.open(&model, &plan, &|_| ()).expect("opens").encoder
    };

    let (parity, encoder) = comparison
        .run(open(Backend::Tensorrt, 70), open(Backend::Onnx, 70))
        .expect("both judge");

    assert!(
        parity.is_within(&Parity::limits(Precision::Fp16)) && parity.map > 0.0,
        "{parity}"
    );

    assert!(encoder.backend().ends_with("fp16"));
    let spoiled = Box::new(Spoiled(open(Backend::Onnx, 70)));
    let (parity, _) = comparison
        .run(spoiled, open(Backend::Onnx, 70))
        .expect("both judge");

    assert!(
        !parity.is_within(&Parity::limits(Precision::Fp16)),
        "{parity}"
    );

    assert!(
        !Parity {
            score: f32::NAN,
            map: 0.0
        }
        .is_within(&Parity::limits(Precision::Fp16))
    );
}

#[test]
fn kernels_are_measured_without_a_network_and_say_so() {
    if !require("gpu") {
        return;
    }

    let (_guard, model) = imported("open-clip-tiny");
    let mut command = winspect();
    command.arg("bench").arg("--model").arg(&model.path).args([
        "--backend",
        "tensorrt",
        "--without-network",
    ]);

    let output = command
        .args(["--references", "2", "--runs", "2", "--threads", "1"])
        .output()
        .expect("was built");

    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && errors.contains("the network was not run"),
        "{errors}"
    );

    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&line["backend"], &line["with_network"]),
        (&"no-network-fp16".into(), &false.into()),
        "{line}"
    );

    assert_eq!(
        (&line["stages"]["trunk"], &line["network_ms"]),
        (&"not run".into(), &().into()),
        "{line}"
    );

    assert!(
        line["kernels_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{line}"
    );
}

/// Features of another network.
struct Spoiled(Box<dyn Encoder>);

impl Encoder for Spoiled {
    fn backend(&self) -> &str {
        self.0.backend()
    }

    fn encode(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError> {
        let mut all = self.0.encode(looks)?;
        for (row, value) in all
            .iter_mut()
            .flat_map(|f| f.tokens.iter_mut())
            .flat_map(|t| t.iter_mut().enumerate())
        {
            *value += (row % 7) as f32;
        }

        Ok(all)
    }

    fn times(&self) -> &EncodeTimes {
        self.0.times()
    }
}

impl Nearest for Spoiled {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        self.0.similarities(queries, references, rows_each)
    }
}

/// A line on the device whose camera is a folder of `count` pictures of one size.
fn gpu_line(folder: &Path, port: u16, count: usize) -> LineConfig {
    let pictures = folder.join(format!("pictures{count}"));
    std::fs::create_dir_all(&pictures).expect("made");
    for i in 0..count {
        std::fs::copy(
            golden("open-clip-tiny").join("bad.png"),
            pictures.join(format!("{i}.png")),
        )
        .expect("copied");
    }

    let camera = format!("kind = \"folder\"\nlocation = {pictures:?}\nfps = 0");
    LineConfig::new(port, &camera).head("backend = \"tensorrt\"")
}

/// Runs the line of a folder to its end, with these variables.
fn run(folder: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = line::command(folder);
    command.envs(variables.iter().copied());
    Running::start(&mut command).end()
}

#[test]
fn a_frame_costs_one_launch_and_one_wait() {
    if stand_in().is_none() {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let calls = |count: usize, recipe: &str| {
        gpu_line(folder.path(), broker.port, count)
            .mqtt("heatmaps = \"none\"") // painting has calls of its own
            .recipe(recipe)
            .write(folder.path());

        let file = folder.path().join("calls.json");
        let counting = ("WINSPECT_STAND_IN_COUNT", file.to_str().expect("UTF-8"));
        let output = run(folder.path(), &[counting]);
        assert_eq!(line::summary(&output)["cameras"]["top"]["judged"], count);
        let text = std::fs::read_to_string(file).expect("written at exit");
        json(&text)["calls"].take()
    };

    // Five looks are two launches, by graphs that stay, whose tables say each time which looks they are at.
    let tiles = "crop = [0, 0, 48, 38]\ntile_px = 32";
    for (recipe, launches, tables) in [("", 1, false), (tiles, 2, true)] {
        let (few, many) = (calls(2, recipe), calls(12, recipe));
        let more = |call: &str| many[call].as_u64().unwrap_or(0) - few[call].as_u64().unwrap_or(0);
        assert_eq!(more("cuGraphLaunch"), 10 * launches, "{recipe}");
        assert!(tables || more("cuStreamSynchronize") == 10);
        for call in many.as_object().expect("an object").keys() {
            let is_free = [
                "cuGraphLaunch",
                "cuStreamSynchronize",
                "cuCtxGetCurrent",
                "cuCtxSetCurrent",
            ];

            let is_free = is_free.contains(&&**call) || (tables && call == "cuMemcpyHtoDAsync");
            assert!(
                is_free || more(call) == 0,
                "{recipe} {call}: {} more for 10 frames",
                more(call)
            );
        }
    }
}

#[test]
fn a_frame_that_fails_is_undecided_a_lost_gpu_fatal() {
    if stand_in().is_none() {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    gpu_line(folder.path(), broker.port, 6).write(folder.path());
    // Out of memory once, and an illegal address, which a context does not get over. A reference is
    // judged first, and three pictures that are like none.
    for (fault, judged, code) in [("cuGraphLaunch:7=2", 5, 0), ("cuGraphLaunch:7=700", 2, 70)] {
        let listener = Listener::start(broker.port, "plant/box/result");
        let output = run(folder.path(), &[("WINSPECT_STAND_IN_FAIL", fault)]);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{fault}: {errors}");
        assert!(errors.contains("the GPU"), "{fault}: {errors}");
        let results = listener.wait_for("result", if code == 0 { 6 } else { 5 });
        let results = results
            .iter()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));

        let (mut with_score, mut undecided) = (0, 0);
        for result in results {
            match result["verdict"] == "undecided" {
                true => {
                    assert_eq!(
                        (&result["reason"], &result["score"]),
                        (&"engine_error".into(), &().into()),
                        "{result}"
                    );

                    undecided += 1;
                }
                false => with_score += 1,
            }
        }

        assert_eq!(
            (with_score, undecided),
            (judged, if code == 0 { 1 } else { 3 }),
            "{fault}"
        );
    }
}

#[test]
fn whatever_call_fails_no_score_is_invented_and_nothing_crashes() {
    if stand_in().is_none() {
        return;
    }

    let (guard, model) = imported("dinov2-tiny");
    let judge = |variables: &[(&str, &str)]| {
        let mut command = winspect();
        command
            .arg("inspect")
            .arg("--model")
            .arg(&model.path)
            .args(["--input-px", "70", "--threads", "1"]);

        command
            .args(FP32.flags)
            .arg("--reference")
            .arg(golden("open-clip-tiny").join("good_a.png"));

        command.args(
            ["good_b", "bad"].map(|name| golden("open-clip-tiny").join(format!("{name}.png"))),
        );

        let output = command
            .envs(variables.iter().copied())
            .output()
            .expect("the binary was built");

        let scores: Vec<f64> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON")["score"]
                    .as_f64()
                    .expect("finite")
            })
            .collect();

        (
            output.status.code(),
            scores,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };

    let counts = guard.path().join("calls.json");
    let (code, whole, errors) = judge(&[(
        "WINSPECT_STAND_IN_COUNT",
        counts.to_str().expect("a plain path"),
    )]);

    assert_eq!((code, whole.len()), (Some(0), 2), "{errors}");
    let text = std::fs::read_to_string(counts).expect("written at exit");
    let calls = serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["calls"].clone();
    // What is only said on the way out cannot fail for the user.
    let leaving = [
        "cuMemFree",
        "cuMemFreeHost",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuStreamDestroy",
    ];

    let leaving = leaving.into_iter().chain([
        "cuModuleUnload",
        "cuDevicePrimaryCtxRelease",
        "cuEventDestroy",
    ]);

    let leaving: Vec<&str> = leaving.collect();
    for (call, count) in calls.as_object().expect("an object") {
        let count = count.as_u64().expect("a number");
        for at in [1, count / 2, count].into_iter().filter(|at| *at > 0) {
            let fault = format!(
                "{call}:{at}={}",
                if call.starts_with("cuMem") { 2 } else { 719 }
            );

            let (code, scores, errors) = judge(&[("WINSPECT_STAND_IN_FAIL", &fault)]);
            let is_told =
                matches!(code, Some(69 | 70)) && !errors.is_empty() && !errors.contains("panicked");

            assert!(
                is_told || leaving.contains(&&**call) || code == Some(0),
                "{fault}: {code:?} {errors}"
            );

            assert!(
                scores.iter().all(|score| whole.contains(score)),
                "{fault}: {scores:?}, not of {whole:?}"
            );

            assert!(code != Some(0) || scores.len() == 2, "{fault}: {errors}");
        }
    }

    for (variables, words) in [
        (
            ("WINSPECT_STAND_IN_DEVICES", "0"),
            "has no device that works",
        ),
        (
            ("WINSPECT_STAND_IN_MEMORY", "20000"),
            "bytes of GPU memory cannot be had",
        ),
    ] {
        let (code, scores, errors) = judge(&[variables]);
        assert!(
            matches!(code, Some(69 | 70)) && scores.is_empty() && errors.contains(words),
            "{code:?} {errors}"
        );
    }
}

/// A picture out of a message in hexadecimal digits.
fn picture_of(digits: &str) -> Picture {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    let png: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let decoded = image::load_from_memory(&png).expect("a PNG").to_rgb8();
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    Picture::new(width, height, decoded.into_raw()).expect("its bytes")
}

/// Runs a line of two pictures, as many as may wait for the overlay stage: what it said, and its heat maps.
fn painted_by(
    folder: &Path,
    port: u16,
    backend: &str,
    variables: &[(&str, &str)],
) -> (String, Vec<Picture>) {
    let heatmaps = Listener::with(port, "plant/box/heatmap/top", &["-F", "%t %x"]);
    gpu_line(folder, port, 2)
        .head(&format!("backend = {backend:?}\nprecision = \"fp32\""))
        .write(folder);

    let output = run(folder, variables);
    let summary = line::summary(&output);
    assert_eq!(
        (&summary["cameras"]["top"]["judged"], &summary["undecided"]),
        (&2.into(), &0.into()),
        "{summary}"
    );

    let painted = heatmaps.wait_for("heatmap/top", 2);
    let pictures = painted.iter().map(|digits| picture_of(digits)).collect();
    (errors(&output), pictures)
}

/// Height of the two pictures below the strip: the golden picture, enlarged.
const PANEL: usize = 240;

#[track_caller]
fn assert_within_a_grey_level(what: &str, found: &[Picture], wanted: &[Picture]) {
    assert_eq!((found.len(), wanted.len()), (2, 2), "{what}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(
            (found.width(), found.height()),
            (wanted.width(), wanted.height()),
            "{what}"
        );

        // Words above the pictures may differ in a score's last digit.
        let strip = 3 * found.width() * (found.height() - PANEL);
        let apart = found.rgb()[strip..]
            .iter()
            .zip(&wanted.rgb()[strip..])
            .map(|(a, b)| a.abs_diff(*b))
            .max();

        assert!(apart <= Some(1), "{what}: {apart:?} grey levels apart");
    }
}

#[test]
fn overlays_of_the_device_are_those_of_the_cpu() {
    let Some(device) = device() else { return };
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let counts = folder.path().join("calls.json");
    let counting = [(
        "WINSPECT_STAND_IN_COUNT",
        counts.to_str().expect("a plain path"),
    )];

    let (_, on_cpu) = painted_by(folder.path(), broker.port, "onnx", &[]);
    let (errors, on_gpu) = painted_by(folder.path(), broker.port, "tensorrt", &counting);
    assert_within_a_grey_level("on the device", &on_gpu, &on_cpu);
    assert!(
        !errors.contains("pictures are painted by the processor"),
        "{errors}"
    );

    if !device.is_stand_in {
        return;
    }

    let text = std::fs::read_to_string(&counts).expect("written at exit");
    let counted = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    assert_eq!(counted["kernels"]["paint"], 2, "{counted}");
    // The painter's are the last of these calls: its stream, its memory, its only launches outside of a graph.
    for (call, error) in [
        ("cuStreamCreateWithPriority", 2),
        ("cuMemAlloc", 2),
        ("cuMemHostAlloc", 2),
        ("cuLaunchKernel", 701),
    ] {
        let fault = format!("{call}:{}={error}", counted["calls"][call]);
        let failing = [("WINSPECT_STAND_IN_FAIL", fault.as_str())];
        let (errors, pictures) = painted_by(folder.path(), broker.port, "tensorrt", &failing);
        assert_eq!(
            errors
                .matches("pictures are painted by the processor")
                .count(),
            1,
            "{fault}: {errors}"
        );

        assert_within_a_grey_level(&fault, &pictures, &on_cpu);
    }
}
