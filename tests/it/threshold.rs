//! Thresholds at a false-reject rate: the promise is kept on parts that are drawn here, what cannot be
//! promised is refused with the number that is missing, and where the threshold came from is told.
//!
//! The promise on good parts and a model of one's own (docs/teach.md): `WINSPECT_GOOD_PARTS=folder
//! WINSPECT_GOOD_PARTS_MODEL=engines/my-model cargo test --test it keeps_its_rate -- --nocapture`

use crate::harness::assert_said;
use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported, runtime};
#[cfg(feature = "gstreamer")]
use crate::harness::line::{FREE_RUNNING, all_arrived};
use crate::harness::line::{LineConfig, assert_refused, folder_camera};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, both, errors, winspect};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::path::Path;
use std::process::Output;
use winspect::data::picture::Picture;
use winspect::engine::onnx::OnnxEncoder;
use winspect::image::file as image_file;
use winspect::model::ModelFolder;
use winspect::recipe::conformal::FalseRejectRate;
use winspect::winclip::inspector::RegionFeatures;
use winspect::winclip::{Inspector, Recipe};

/// Side of a drawn picture, in pixels.
const SIDE: usize = 80;

/// A good part: a disc with a ring, which differs from part to part in place, size, light and grain.
fn draw(seed: u64) -> Picture {
    let mut random = StdRng::seed_from_u64(seed);
    let x = 40.0 + random.random_range(-3.0..3.0_f32);
    let y = 40.0 + random.random_range(-3.0..3.0_f32);
    let radius = 25.0 + random.random_range(-2.0..2.0_f32);
    let light = random.random_range(0.9..1.1_f32);
    let mut rgb = Vec::with_capacity(3 * SIDE * SIDE);
    for at in 0..SIDE * SIDE {
        let away = ((at % SIDE) as f32 - x).hypot((at / SIDE) as f32 - y);
        let ring = if (away - radius / 2.0).abs() < 4.0 {
            60.0
        } else {
            0.0
        };

        let ground = if away < radius { 150.0 } else { 70.0 };
        let grain = random.random_range(-12.0..12.0_f32);
        let value = (light * (ground - ring) + grain) as u8;
        rgb.extend([value, value, (value / 2) + 40]);
    }

    Picture::new(SIDE, SIDE, rgb).expect("all pixels")
}

/// A bad part: a good one with a bright blot on its ring.
fn draw_bad(seed: u64) -> Picture {
    let mut rgb = draw(seed).rgb().to_vec();
    for at in 0..SIDE * SIDE {
        if (at % SIDE).abs_diff(52) < 8 && (at / SIDE).abs_diff(44) < 8 {
            rgb[3 * at..3 * at + 3].fill(250);
        }
    }

    Picture::new(SIDE, SIDE, rgb).expect("all pixels")
}

fn save(picture: &Picture, file: &Path) {
    let side = SIDE as u32;
    let drawn = image::RgbImage::from_raw(side, side, picture.rgb().to_vec());
    drawn.expect("all pixels").save(file).expect("written");
}

/// A folder of drawn parts with these seeds.
fn folder_of(folder: &Path, seeds: std::ops::Range<u64>) {
    std::fs::create_dir(folder).expect("made");
    for seed in seeds {
        save(&draw(seed), &folder.join(format!("{seed}.png")));
    }
}

/// Mean and standard error of the share of the tested parts that fail, over the splits.
fn mean_and_error(rates: &[f64]) -> (f64, f64) {
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let squares: f64 = rates.iter().map(|rate| (rate - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// Share of `scores` that fail at the threshold that `good` gives.
fn failing(rate: f64, good: &[f32], scores: &[f32]) -> f64 {
    let rate = FalseRejectRate::new(rate).expect("between 0 and 1");
    let threshold = rate.threshold(good).expect("enough good parts");
    let failing = scores.iter().filter(|score| **score >= threshold).count();
    failing as f64 / scores.len() as f64
}

/// Environment variable with a folder of good parts, to be measured in the place of drawn ones.
const GOOD_PARTS: &str = "WINSPECT_GOOD_PARTS";
/// Environment variable with the imported model that those are compared by.
const GOOD_PARTS_MODEL: &str = "WINSPECT_GOOD_PARTS_MODEL";
/// Number of drawn parts.
const DRAWN: u64 = 110;

fn own_model() -> ModelFolder {
    let path = std::env::var_os(GOOD_PARTS_MODEL).expect("a model beside the parts");
    ModelFolder::open(&std::path::absolute(path).expect("a path")).expect("a model")
}

fn own_parts(folder: &Path) -> Vec<Picture> {
    let files = image_file::expand(&[folder.to_owned()]).files;
    let pictures = files
        .iter()
        .map(|file| image_file::read(file).expect("a picture"));
    pictures.collect()
}

/// Parts that were encoded once, and the inspector that compares them.
struct Parts {
    inspector: Inspector,
    features: Vec<RegionFeatures>,
    _folder: tempfile::TempDir,
}

impl Parts {
    /// Drawn parts under a tiny model with random weights; those of [`GOOD_PARTS`] under a model of
    /// one's own, at 224 pixels and block 9.
    fn new() -> Self {
        let (folder, tiny) = imported("dinov2-tiny");
        let own = std::env::var_os(GOOD_PARTS);
        let (model, input_px, block) = match &own {
            Some(_) => (own_model(), 224, 9),
            None => (tiny, 70, 1),
        };

        let recipe = Recipe {
            input_px: Some(input_px),
            block: Some(block),
            ..Recipe::new(None)
        };

        let plan = recipe.encode_plan(&model.spec, true).expect("fits");
        let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
        let inspector =
            Inspector::without_references(&recipe, &model.spec, &plan, Box::new(encoder), None);

        let mut inspector = inspector.expect("fits");
        let pictures = match own {
            Some(folder) => own_parts(Path::new(&folder)),
            None => (0..DRAWN).map(draw).collect(),
        };

        let features = pictures
            .iter()
            .map(|part| inspector.encode(part).expect("encoded"));
        let features = features.collect();
        Parts {
            inspector,
            features,
            _folder: folder,
        }
    }

    /// Makes these parts the references.
    fn teach(&mut self, parts: &[usize]) {
        let references = parts.iter().map(|part| self.features[*part].clone());
        let references = references.collect();
        self.inspector.set_references(references).expect("room");
    }

    fn scores(&mut self, parts: &[usize]) -> Vec<f32> {
        let mut scores = vec![];
        for part in parts {
            let regions = self.inspector.score(&self.features[*part]).expect("scored");
            scores.push(regions[0].0);
        }

        scores
    }

    fn left_out_scores(&mut self) -> Vec<f32> {
        let regions = self.inspector.leave_one_out().expect("compared");
        regions[0].iter().map(|(score, _)| *score).collect()
    }
}

const SPLITS: u64 = 200;

/// The mean over all splits keeps the rate, by at most two standard errors.
#[track_caller]
fn assert_kept(kind: &str, rate: f64, rates: &[f64]) {
    let (mean, error) = mean_and_error(rates);
    println!("{kind}, rate {rate}: {mean:.4} of good parts fail, standard error {error:.4}");
    assert!(mean <= rate + 2.0 * error, "{kind}: {mean} of {rate}");
    // A threshold that never rejects would keep every promise.
    assert!(mean >= rate / 3.0, "{kind}: {mean} of {rate}");
}

#[test]
fn a_threshold_keeps_its_rate_over_200_splits() {
    let mut parts = Parts::new();
    let mut order: Vec<usize> = (0..parts.features.len()).collect();
    let mut split = [vec![], vec![]];
    let mut left_out = [vec![], vec![]];
    for seed in 0..SPLITS {
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        // Four references, 20 calibration parts, and the parts to come.
        parts.teach(&order[..4]);
        let good = parts.scores(&order[4..24]);
        let tested = parts.scores(&order[24..]);
        // 20 references, each against the others, and at most 30 parts to come.
        parts.teach(&order[..20]);
        let left = parts.left_out_scores();
        let others: Vec<usize> = order[20..].iter().copied().take(30).collect();
        let others = parts.scores(&others);
        for (i, rate) in [0.05, 0.1].into_iter().enumerate() {
            split[i].push(failing(rate, &good, &tested));
            left_out[i].push(failing(rate, &left, &others));
        }
    }

    for (i, rate) in [0.05, 0.1].into_iter().enumerate() {
        assert_kept("20 calibration parts", rate, &split[i]);
        assert_kept("20 references left out in turns", rate, &left_out[i]);
    }
}

/// The golden line with a rate in the place of its threshold.
fn line(port: u16, rate: &str) -> LineConfig {
    LineConfig::new(port, &folder_camera())
        .without("threshold")
        .recipe(&format!("false_reject_rate = {rate}"))
}

#[test]
fn a_rate_with_too_few_references_decides_nothing_and_names_what_is_missing() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    line(broker.port, "0.05").write(folder.path());
    let output = Running::line(folder.path()).end();
    let words = [
        "no threshold: false_reject_rate = 0.05 needs 19 good parts (1 / rate - 1), and there are 2 references",
        "give 17 more, ask for 0.334 or more",
        "undecided(not_ready)",
    ];

    assert_said(&errors(&output), &words);
    assert!(output.status.success(), "{}", errors(&output));
    let result = listener.next("result");
    assert_eq!(result["verdict"], "undecided", "{result}");
    assert_eq!(result["reason"], "not_ready", "{result}");
}

#[test]
fn references_in_turns_give_a_threshold_that_birth_and_the_log_name() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let births = Listener::start(broker.port, "plant/box/birth");
    folder_of(&folder.path().join("good"), 0..10);
    line(broker.port, "0.1")
        .recipe("references = [\"good\"]")
        .write(folder.path());

    let output = Running::line(folder.path()).end();
    let words = [
        "threshold: 0.",
        "(by 10 references, each against the others: at most 9.1 % of good parts like them fail, on average",
    ];

    assert_said(&errors(&output), &words);
    assert!(births.next("birth")["threshold"].as_f64() > Some(0.0));
}

#[test]
fn calibration_pictures_that_no_part_could_be_like_are_not_counted() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let parts = folder.path().join("parts");
    folder_of(&parts, 0..9);
    // The same picture as a reference, and the same picture twice.
    let reference = golden("open-clip-tiny").join("good_a.png");
    std::fs::copy(&reference, parts.join("reference.png")).expect("copied");
    std::fs::copy(parts.join("0.png"), parts.join("twice.png")).expect("copied");
    line(broker.port, "0.1")
        .recipe("calibration = [\"parts\"]")
        .write(folder.path());

    let output = winspect()
        .args(["check", "--seconds", "3"])
        .arg(folder.path().join("line.toml"))
        .output()
        .expect("runs");

    let said = both(&output);
    let words = [
        "reference.png: the same picture as the reference",
        "twice.png: the same picture as the calibration picture",
        "ok    threshold: ",
        "(by 9 calibration pictures: at most 10 % of good parts like them fail, on average",
    ];

    assert_said(&said, &words);
}

#[test]
fn calibration_pictures_that_cannot_be_used_are_named_at_once() {
    let (folder, _model) = imported("dinov2-tiny");
    std::fs::create_dir(folder.path().join("empty")).expect("made");
    std::fs::write(folder.path().join("words.png"), "hello").expect("written");
    let black = image::RgbImage::from_pixel(64, 48, image::Rgb([3; 3]));
    black
        .save(folder.path().join("black.png"))
        .expect("written");
    line(1, "0.1")
        .recipe("calibration = [\"empty\", \"words.png\", \"black.png\"]")
        .write(folder.path());

    let words = [
        "3 of the calibration pictures cannot be used",
        "empty",
        "words.png: not a picture",
        "black.png: black, white or flat from edge to edge",
    ];

    assert_refused(folder.path(), 65, &words);
}

#[test]
fn a_rate_that_makes_no_sense_is_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    for wrong in ["0", "1", "1.5", "-0.1", "nan", "inf", "\"few\"", "[0.1]"] {
        line(1, wrong).write(folder.path());
        let words = "recipe.false_reject_rate: must be ";
        assert_refused(folder.path(), 78, &[words]);
    }
}

#[test]
fn keys_that_contradict_a_rate_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    let beside = "recipe.false_reject_rate: cannot be had beside threshold";
    for other in ["0.4", "\"auto\""] {
        line(1, "0.1")
            .recipe(&format!("threshold = {other}"))
            .write(folder.path());

        assert_refused(folder.path(), 78, &[beside]);
    }

    let cases = [
        ("calibration = []", "recipe.calibration: names no picture"),
        ("calibration = [\"gone\"]", "gone is not there"),
    ];

    for (key, words) in cases {
        line(1, "0.1").recipe(key).write(folder.path());
        assert_refused(folder.path(), 78, &[words]);
    }

    LineConfig::new(1, &folder_camera())
        .recipe("calibration = [\"dinov2-tiny\"]")
        .write(folder.path());

    let words = "recipe.calibration: serves false_reject_rate alone";
    assert_refused(folder.path(), 78, &[words]);
}

#[test]
fn a_region_has_a_rate_of_its_own_or_the_recipes() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    folder_of(&folder.path().join("good"), 0..4);
    folder_of(&folder.path().join("parts"), 20..39);
    let region = |name: &str, keys: &str| {
        format!("[[recipe.region]]\nname = {name:?}\ncrop = [0, 0, 60, 60]\n{keys}")
    };

    line(broker.port, "0.05")
        .recipe("references = [\"good\"]\ncalibration = [\"parts\"]")
        .tables(&region("a", ""))
        .tables(&region("b", "false_reject_rate = 0.01"))
        .tables(&region("c", "threshold = 0.5"))
        .write(folder.path());

    let output = Running::line(folder.path()).end();
    let words = [
        "threshold, region a: 0.",
        "(by 19 calibration pictures: at most 5 % of good parts",
        "no threshold, region b: false_reject_rate = 0.01 needs 99 good parts (1 / rate - 1), and there are 19 calibration pictures; give 80 more",
        "threshold, region c: 0.5000",
    ];

    assert_said(&errors(&output), &words);
}

/// Runs `winspect threshold line.toml` with these arguments.
fn threshold(folder: &Path, arguments: &[&str]) -> Output {
    winspect()
        .args(["threshold", "line.toml"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("runs")
}

/// A line of drawn parts, with `good` (20) and `bad` (6) beside its 6 references.
fn drawn_line(folder: &Path, port: u16, camera: &str) {
    folder_of(&folder.join("taught"), 0..6);
    folder_of(&folder.join("good"), 100..120);
    std::fs::create_dir(folder.join("bad")).expect("made");
    for seed in 200..206 {
        save(&draw_bad(seed), &folder.join(format!("bad/{seed}.png")));
    }

    LineConfig::new(port, camera)
        .recipe("references = [\"taught\"]")
        .write(folder);
}

#[test]
fn good_and_bad_parts_tell_what_each_threshold_costs() {
    let (folder, _model) = imported("dinov2-tiny");
    drawn_line(folder.path(), 1, &folder_camera());
    let arguments = [
        "--good",
        "good",
        "--bad",
        "bad",
        "--good",
        "taught",
        "--bad-share",
        "0.01",
        "--picture",
        "scores.svg",
    ];

    let output = threshold(folder.path(), &arguments);
    let said = both(&output);
    assert!(output.status.success(), "{said}");
    let words = [
        "recipe nut@1: 20 good parts (calibration pictures), 6 bad parts",
        "0.png: the same picture as the reference",
        "good good/100.png",
        "bad  bad/205.png",
        "o good, x bad",
        "price of 1000 parts, of which 1 % are bad; a bad one that passes costs 10, a good one that fails 1",
        "threshold  good that fail  bad that pass  price",
        "the recipe's: threshold = 0.",
        "by rate: threshold = 0.",
        "by cost: threshold = 0.",
        "of 20 good parts fail",
        "of 6 bad ones pass",
        "false_reject_rate = 0.05: 0.",
        "at most 4.8 % of good parts like them fail, on average",
        "the line's stored parts are not looked at",
    ];

    assert_said(&said, &words);
    let figure = std::fs::read_to_string(folder.path().join("scores.svg")).expect("written");
    assert!(
        figure.starts_with("<svg") && figure.contains("by rate 0."),
        "{figure}"
    );
    assert!(
        !folder.path().join("box.db").exists(),
        "the store is the line's to make"
    );
}

#[test]
fn references_alone_tell_how_many_good_parts_are_missing() {
    let (folder, _model) = imported("dinov2-tiny");
    drawn_line(folder.path(), 1, &folder_camera());
    let output = threshold(folder.path(), &[]);
    let words = [
        "6 good parts (references, each against the others), 0 bad parts",
        "no threshold by rate: false_reject_rate = 0.05 needs 19 good parts",
        "give 13 more",
    ];

    assert_said(&both(&output), &words);
    assert!(output.status.success());
}

#[test]
fn calibration_pictures_serve_where_no_good_parts_are_given() {
    let (folder, _model) = imported("dinov2-tiny");
    folder_of(&folder.path().join("parts"), 20..29);
    let region = "[[recipe.region]]\nname = \"rim\"\ncrop = [0, 0, 60, 60]\n";
    folder_of(&folder.path().join("good"), 0..4);
    line(1, "0.1")
        .recipe("references = [\"good\"]\ncalibration = [\"parts\"]")
        .tables(region)
        .write(folder.path());

    let output = threshold(folder.path(), &["--false-reject-rate", "0.1"]);
    let words = [
        "recipe nut@1, region rim: 9 good parts (calibration pictures), 0 bad parts",
        "by rate: threshold = 0.",
    ];

    assert_said(&both(&output), &words);
    assert!(output.status.success());
}

#[cfg(feature = "gstreamer")]
#[test]
fn stored_parts_are_counted_beside_the_line_that_stores_them() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    drawn_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    for _ in 0..30 {
        listener.next("result");
    }

    let output = threshold(folder.path(), &["--stored", "20"]);
    let words = [
        "the last 20 stored parts of nut@1, ",
        "of the last 20 stored parts ",
        " would have failed (",
    ];

    assert_said(&both(&output), &words);
    assert!(output.status.success());
    // The line noticed nothing.
    assert!(all_arrived(&line.summary()) >= 30);
}

#[test]
fn known_parts_that_make_no_sense_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    drawn_line(folder.path(), 1, &folder_camera());
    std::fs::create_dir(folder.path().join("empty")).expect("made");
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["--false-reject-rate", "0"],
            64,
            "between 0 and 1 (exclusive)",
        ),
        (
            &["--false-reject-rate", "NaN"],
            64,
            "between 0 and 1 (exclusive)",
        ),
        (&["--cost-miss", "nan"], 64, "a number from 0 to 1e9"),
        (&["--bad-share", "1.5"], 64, "a number from 0 to 1"),
        (
            &["--recipe", "bolt"],
            64,
            "--recipe: the line has no \"bolt\"",
        ),
        (
            &["--region", "rim"],
            64,
            "--region: the recipe has no regions",
        ),
        (
            &["--picture", "none/scores.svg"],
            64,
            "must be a file in a folder that is there",
        ),
        (
            &["--good", "empty"],
            65,
            "1 of the good pictures cannot be used",
        ),
        (
            &["--good", "good", "--bad", "good"],
            65,
            "is given as good, and the same picture",
        ),
    ];

    for (arguments, code, words) in cases {
        let output = threshold(folder.path(), arguments);
        assert_said(&errors(&output), &[words]);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
