//! Measures against scikit-learn's and anomalib's, and `winspect eval` as a user runs it.

use crate::harness::golden::{golden, imported};
use crate::harness::program::{errors, winspect};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use winspect::data::grid::Grid;
use winspect::data::map::Map;
use winspect::evaluate::ranking::{Ranking, Scores};
use winspect::evaluate::regions::Regions;

fn metrics() -> Value {
    let text =
        std::fs::read_to_string(golden("metrics/metrics.json")).expect("golden metrics are there");

    serde_json::from_str(&text).expect("JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}"))
}

fn floats(value: &Value, key: &str) -> Vec<f32> {
    list(value, key)
        .iter()
        .map(|v| v.as_f64().expect("a number") as f32)
        .collect()
}

#[track_caller]
fn assert_measured(ranking: &Ranking, golden: &Value) {
    let ours = [
        ("auroc", ranking.auroc()),
        ("average_precision", ranking.average_precision()),
        ("f1_max", ranking.f1_max()),
        ("aupro", ranking.aupro(0.3)),
    ];

    for (name, ours) in ours {
        let Some(expected) = golden[name].as_f64() else {
            continue;
        };

        let ours = ours.expect("defined");
        assert!(
            (ours - expected).abs() < 1e-6,
            "{name}: {ours}, not {expected}"
        );
    }
}

#[test]
fn measures_of_vectors_with_ties_are_scikit_learns() {
    for vector in list(&metrics(), "vectors") {
        let mut scores = Scores::default();
        for (label, score) in list(vector, "labels").iter().zip(floats(vector, "scores")) {
            if label == 1 {
                scores.bad(score)
            } else {
                scores.good(score)
            }
        }

        assert_measured(&scores.ranked(), vector);
    }
}

#[test]
fn measures_of_pixels_are_scikit_learns_and_anomalibs() {
    for pictures in list(&metrics(), "pictures") {
        let mut scores = Scores::default();
        for (mask, map) in list(pictures, "masks").iter().zip(list(pictures, "maps")) {
            let mask: Vec<bool> = mask
                .as_str()
                .expect("digits")
                .chars()
                .map(|c| c == '1')
                .collect();

            let map: Vec<f32> = map
                .as_array()
                .expect("a list")
                .iter()
                .map(|v| v.as_f64().expect("a number") as f32)
                .collect();

            scores.picture(&map, &Regions::of(&mask, 32));
        }

        assert_measured(&scores.ranked(), pictures);
    }
}

#[test]
fn a_map_is_enlarged_as_torch_does_it() {
    for golden in list(&metrics(), "enlarged") {
        let [side, width, height] =
            ["side", "width", "height"].map(|key| golden[key].as_u64().expect("a side") as usize);

        let ours = Map::new(Grid::square(side), floats(golden, "map")).enlarged(width, height);
        let expected = floats(golden, "enlarged");
        assert_eq!(ours.len(), expected.len());
        for (ours, expected) in ours.iter().zip(&expected) {
            assert!(
                (ours - expected).abs() < 1e-6,
                "{side} to {width} x {height}: {ours}, not {expected}"
            );
        }
    }
}

/// Waves, each picture's a little different, with a bright square where `broken` says.
fn draw(file: &Path, number: u32, broken: Option<u32>) {
    let inside = |x: u32, y: u32| {
        broken.is_some_and(|at| (at..at + 30).contains(&x) && (at..at + 30).contains(&y))
    };

    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    let wave = |x: u32, y: u32| 100 + (40.0 * (f64::from(x + 2 * y + number) / 9.0).sin()) as u8;
    let pixel = |x, y| {
        if inside(x, y) {
            [255, 240, 10]
        } else {
            [wave(x, y), wave(y, x), 90]
        }
    };

    image::RgbImage::from_fn(120, 90, |x, y| image::Rgb(pixel(x, y)))
        .save(file)
        .expect("written");
}

/// Three references, three good and two broken test pictures with masks.
fn dataset(folder: &Path) {
    for number in 0..3 {
        draw(
            &folder.join(format!("train/good/{number}.png")),
            number,
            None,
        );

        draw(
            &folder.join(format!("test/good/{number}.png")),
            number + 5,
            None,
        );
    }

    for (number, at) in [(0, 20), (1, 50)] {
        draw(
            &folder.join(format!("test/broken/{number}.png")),
            number,
            Some(at),
        );

        let is_bad = |x, y| (at..at + 30).contains(&x) && (at..at + 30).contains(&y);
        let mask =
            image::GrayImage::from_fn(120, 90, |x, y| image::Luma([255 * u8::from(is_bad(x, y))]));

        std::fs::create_dir_all(folder.join("ground_truth/broken")).expect("made");
        mask.save(folder.join(format!("ground_truth/broken/{number}_mask.png")))
            .expect("written");
    }
}

#[track_caller]
fn eval(model: &Path, dataset: &Path, arguments: &[&str]) -> Output {
    let mut command = winspect();
    command
        .arg("eval")
        .arg(dataset)
        .arg("--model")
        .arg(model)
        .args(["--threads", "1"])
        .args(arguments);

    let output = command.output().expect("the binary was built");
    assert!(!errors(&output).contains("panicked"), "{}", errors(&output));
    output
}

#[track_caller]
fn lines(output: &Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        errors(output)
    );

    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn eval_measures_each_number_of_references() {
    let (guard, model) = imported("dinov2-tiny");
    dataset(guard.path());
    let file = guard.path().join("out.json");
    let json = file.to_str().expect("a plain path");
    let arguments = [
        "--input-px",
        "98",
        "--shots",
        "1,3",
        "--seeds",
        "2",
        "--json",
        json,
    ];

    let output = eval(&model.path, guard.path(), &arguments);
    let found = lines(&output);
    assert_eq!(found.len(), 2);
    // All three references can be drawn in one way only.
    for (line, (shots, seeds)) in found.iter().zip([(1, 2), (3, 1)]) {
        assert_eq!(
            (&line["shots"], &line["seeds"], &line["pictures"]),
            (&shots.into(), &seeds.into(), &5.into())
        );

        for measure in ["image_AUROC", "image_F1Max", "image_AP"] {
            assert_eq!(line[measure]["mean"], 1.0, "{measure} in {line}");
        }

        for measure in ["pixel_AUROC", "pixel_F1Max", "pixel_AP", "AUPRO"] {
            assert!(
                line[measure]["mean"]
                    .as_f64()
                    .is_some_and(|mean| mean > 0.3 && mean < 1.0),
                "{measure} in {line}"
            );

            assert_eq!(
                line[measure]["each"].as_array().map(Vec::len),
                Some(seeds),
                "{measure} in {line}"
            );

            assert_eq!(
                line[measure]["std"].is_null(),
                seeds == 1,
                "{measure} in {line}"
            );
        }
    }

    let written: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");

    assert_eq!(written["results"].as_array(), Some(&found));
    assert_eq!(
        (&written["input_px"], &written["maps"], &written["fit"]),
        (&98.into(), &vec!["patch"].into(), &"squash".into())
    );

    // The same once more: nothing is left to chance.
    assert_eq!(lines(&eval(&model.path, guard.path(), &arguments)), found);
}

#[test]
fn several_blocks_are_measured_as_each_of_them_alone() {
    let (guard, model) = imported("dinov2-tiny");
    dataset(guard.path());
    let measured = |block: &[&str]| {
        let arguments = [
            &["--input-px", "98", "--shots", "1,2", "--seeds", "2"],
            block,
        ]
        .concat();
        lines(&eval(&model.path, guard.path(), &arguments))
    };

    let [third, first, last] = ["3", "1", "4"].map(|block| measured(&["--block", block]));
    assert_ne!(third[0]["pixel_AP"], last[0]["pixel_AP"]);
    assert_eq!(first[0]["block"], 1);
    assert_eq!(
        measured(&["--block", "3,1,4"]),
        [third.clone(), first, last].concat()
    );
    assert_eq!(measured(&[]), third, "the default");
}

#[test]
fn words_alone_are_measured_once_however_many_blocks() {
    let (guard, model) = imported("open-clip-tiny");
    dataset(guard.path());
    let flags = [
        "--class-name",
        "cloth",
        "--shots",
        "0,1",
        "--seeds",
        "1",
        "--block",
        "2,3",
    ];
    let found = lines(&eval(&model.path, guard.path(), &flags));
    let rows: Vec<_> = found
        .iter()
        .map(|line| (&line["block"], &line["shots"]))
        .collect();
    let [none, two, three] = [Value::Null, 2.into(), 3.into()];
    let [zero, one] = [0.into(), 1.into()];
    assert_eq!(rows, [(&none, &zero), (&two, &one), (&three, &one)]);
}

#[test]
fn eval_without_masks_has_no_measures_of_pixels() {
    let (guard, model) = imported("open-clip-tiny");
    dataset(guard.path());
    std::fs::remove_dir_all(guard.path().join("ground_truth")).expect("removed");
    for preset in ["paper", "caoyunkang"] {
        let arguments = [
            "--class-name",
            "cloth",
            "--preset",
            preset,
            "--shots",
            "0,2",
            "--fit",
            "crop",
            "--seeds",
            "2",
        ];

        let output = eval(&model.path, guard.path(), &arguments);
        assert!(
            errors(&output).contains("no folder ground_truth"),
            "{}",
            errors(&output)
        );

        for (line, seeds) in lines(&output).iter().zip([1, 2]) {
            assert_eq!(
                line["image_AP"]["each"].as_array().map(Vec::len),
                Some(seeds),
                "{line}"
            );

            assert!(
                line["AUPRO"].is_null() && line["pixel_AUROC"].is_null(),
                "{line}"
            );
        }
    }
}

#[test]
fn asking_for_zero_shot_beside_few_changes_neither() {
    let (guard, model) = imported("open-clip-tiny");
    dataset(guard.path());
    for preset in ["paper", "anomalib"] {
        let measured = |shots: &str| {
            let arguments = [
                "--class-name",
                "cloth",
                "--preset",
                preset,
                "--maps",
                "patch",
                "--shots",
                shots,
            ];

            lines(&eval(&model.path, guard.path(), &arguments))
        };

        assert_eq!(
            measured("0,2"),
            [measured("0"), measured("2")].concat(),
            "{preset}"
        );
    }
}

#[test]
fn a_bad_part_that_scores_like_a_good_one_is_found_by_its_known_looks() {
    let (guard, model) = imported("dinov2-tiny");
    let folder = guard.path();
    dataset(folder);
    std::fs::remove_dir_all(folder.join("ground_truth")).expect("removed");
    // A part without any fault that a map could show, and the same once more in another light.
    let subtle = folder.join("test/subtle/0.png");
    draw(&subtle, 3, None);
    let mut known = image::open(&subtle).expect("drawn").to_rgb8();
    known.pixels_mut().for_each(|pixel| pixel.0[0] += 1);
    let file = folder.join("known.png");
    known.save(&file).expect("written");
    let file = file.to_str().expect("a plain path");
    let flags = ["--input-px", "98", "--shots", "3", "--seeds", "1"];
    let before = lines(&eval(&model.path, folder, &flags)).remove(0);
    let auroc = |line: &Value| line["image_AUROC"]["mean"].as_f64().expect("a number");
    assert!(auroc(&before) < 1.0, "{before}");
    let output = eval(
        &model.path,
        folder,
        &[&flags[..], &["--bad", file]].concat(),
    );
    let after = lines(&output).remove(0);
    assert!(auroc(&after) > auroc(&before), "{before} {after}");
    assert!(errors(&output).contains("1 known bad parts; 0 test pictures are among them"));

    // A test picture that is known is not judged.
    let broken = folder.join("test/broken");
    let flags = [
        &flags[..],
        &["--bad", broken.to_str().expect("a plain path")],
    ]
    .concat();
    let output = eval(&model.path, folder, &flags);
    assert!(errors(&output).contains("2 known bad parts; 2 test pictures are among them"));
    assert_eq!(lines(&output)[0]["pictures"], 4);
}

#[test]
fn what_eval_cannot_do_is_refused_in_words() {
    let (guard, model) = imported("dinov2-tiny");
    dataset(guard.path());
    let none = guard.path().join("none");
    let (broken, waves) = (
        guard.path().join("test/broken"),
        guard.path().join("test/good"),
    );
    let [broken, waves] = [&broken, &waves].map(|path| path.to_str().expect("a plain path"));
    let cases: [(&Path, &[&str], i32, &[&str]); 10] = [
        (
            guard.path(),
            &["--shots", "0", "--input-px", "99"],
            64,
            &[
                "--shots: 0 needs a model with text",
                "--input-px: must be a",
            ],
        ),
        (
            guard.path(),
            &["--shots", "1,4"],
            64,
            &["--shots: 4 references are asked for, train/good has 3"],
        ),
        (
            guard.path(),
            &["--shots", "1,1", "--block", "9"],
            64,
            &["--shots: each number may", "--block: must be 1 to 4"],
        ),
        (
            guard.path(),
            &["--block", "2,2"],
            64,
            &["--block: each may be named once"],
        ),
        (
            guard.path(),
            &["--block", "2,3", "--maps", "2"],
            64,
            &["--block: no patches are compared here"],
        ),
        (
            guard.path(),
            &["--shots", "1", "--bad", broken],
            64,
            &["--bad: all bad test pictures are known"],
        ),
        (
            guard.path(),
            &["--shots", "1", "--maps", "2", "--bad", waves],
            64,
            &["--bad: the recipe compares no patches"],
        ),
        (guard.path(), &["--seeds", "0"], 64, &["--seeds"]),
        (
            guard.path(),
            &["--json", "/none/x.json"],
            64,
            &["--json: ", "must be a file in a folder that is there"],
        ),
        (
            &none,
            &[],
            65,
            &[
                "none/train/good: ",
                "none/test/good: ",
                "none/test: no folder of bad parts",
            ],
        ),
    ];

    for (dataset, arguments, code, words) in cases {
        let output = eval(&model.path, dataset, arguments);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        words
            .iter()
            .for_each(|words| assert!(errors.contains(words), "{words:?} is not in {errors}"));

        assert!(output.stdout.is_empty(), "{arguments:?}");
    }

    let (_clip, clip) = imported("open-clip-tiny");
    let output = eval(
        &clip.path,
        guard.path(),
        &["--shots", "0,2", "--input-px", "96"],
    );

    for words in [
        "--class-name: this model compares with words",
        "--input-px: this model reads 80 x 80",
    ] {
        assert_eq!(
            errors(&output).matches(words).count(),
            1,
            "{words:?} is not once in {}",
            errors(&output)
        );
    }

    image::GrayImage::new(90, 120)
        .save(guard.path().join("ground_truth/broken/0_mask.png"))
        .expect("written");

    std::fs::write(guard.path().join("test/good/1.png"), "hello").expect("written");
    let output = eval(
        &model.path,
        guard.path(),
        &["--input-px", "98", "--shots", "1"],
    );

    assert_eq!(output.status.code(), Some(65));
    for words in [
        "a mask of 90 x 120 pixels",
        "has 120 x 90",
        "1.png: not a picture",
    ] {
        assert!(
            errors(&output).contains(words),
            "{words:?} is not in {}",
            errors(&output)
        );
    }
}
