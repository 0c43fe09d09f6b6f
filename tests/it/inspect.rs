//! `winspect inspect` as a user runs it: the binary, golden models and pictures, and what people get wrong.

use crate::harness::golden::{Golden, assert_close, golden, imported};
use crate::harness::json;
use crate::harness::program::{errors, winspect};
use ndarray::{Array2, ArrayD, Ix2};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use winspect::winclip::vectors::unit_rows;

const CLIP: &str = "open-clip-tiny";
const DINO: &str = "dinov2-tiny";

fn command(model: &Path) -> Command {
    let mut command = winspect();
    command
        .arg("inspect")
        .arg("--model")
        .arg(model)
        .args(["--threads", "1"]);

    command
}

/// How the tensors are computed, and how near they come.
pub struct Engine {
    pub flags: &'static [&'static str],
    /// Of features and of scores.
    pub tolerances: [f32; 2],
}

const CPU: Engine = Engine {
    flags: &["--backend", "onnx"],
    tolerances: [3e-2, 1e-3],
};

fn picture(model: &str, name: &str) -> PathBuf {
    golden(model).join(format!("{name}.png"))
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the binary was built");
    assert!(!errors(&output).contains("panicked"), "{}", errors(&output));
    output
}

/// Runs what must end well.
#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        errors(&output)
    );

    output
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(json).collect()
}

#[test]
fn each_region_has_a_line_and_one_overlay_all() {
    let (guard, model) = imported(DINO);
    let overlays = guard.path().join("overlays");
    let inspect = |regions: &[&str]| {
        let mut command = command(&model.path);
        command
            .args(["--input-px", "70"])
            .arg("--overlay")
            .arg(&overlays);

        for name in ["good_a", "good_b"] {
            command.arg("--reference").arg(picture(CLIP, name));
        }

        for region in regions {
            command.args(["--region", region]);
        }

        command.arg(picture(CLIP, "bad"));
        command
    };

    let found = lines(&succeed(&mut inspect(&[
        "left=0,0,20,20",
        "right=20,5,20,20",
    ])));

    assert_eq!(
        found.iter().map(|line| &line["region"]).collect::<Vec<_>>(),
        ["left", "right"]
    );

    assert!(overlays.join("bad.png").exists());
    for (regions, more, words) in [
        (
            vec!["left=0,0,20,20", "left=1,0,20,20"],
            vec![],
            "--region: \"left\" is another region's name",
        ),
        (vec!["0,0,20,20"], vec![], "must be a name and its place"),
        (vec!["left=0,0,0,20"], vec![], "must be x,y,width,height"),
        (
            vec!["left=0,0,20,20"],
            vec!["--crop", "0,0,9,9"],
            "cannot be used with",
        ),
    ] {
        let mut command = inspect(&regions);
        command.args(more);
        let output = run(&mut command);
        assert!(
            errors(&output).contains(words),
            "{words:?} is not in {}",
            errors(&output)
        );

        assert_eq!(output.status.code(), Some(64));
    }
}

#[test]
fn each_picture_has_one_line_of_json_with_finite_numbers() {
    let (_guard, model) = imported(CLIP);
    let output = succeed(
        command(&model.path)
            .args(["--class-name", "metal nut"])
            .args(["good_c", "bad"].map(|p| picture(CLIP, p))),
    );

    let lines = lines(&output);
    assert_eq!(lines.len(), 2);
    for (line, name) in lines.iter().zip(["good_c", "bad"]) {
        assert_eq!(line["path"], picture(CLIP, name).display().to_string());
        for key in ["score", "map_min", "map_max"] {
            assert!(
                line[key].as_f64().is_some_and(f64::is_finite),
                "{key} in {line}"
            );
        }

        let ms = |key: &str| line["ms"][key].as_f64().expect("a number");
        let stages = ms("pixels") + ms("encode") + ms("score");
        // Each is rounded by itself.
        assert!(ms("encode") > 0.0 && ms("total") >= stages - 0.1, "{line}");
        assert_eq!(line.as_object().expect("an object").len(), 6);
    }
}

#[test]
fn clip_tensors_and_scores_are_open_clips_in_every_preset() {
    check_open_clip(&CPU);
}

pub fn check_open_clip(engine: &Engine) {
    let [features, scores] = engine.tolerances;
    for name in [CLIP, "open-clip-tiny-quickgelu"] {
        let golden = Golden::open(name);
        let (guard, model) = imported(name);
        let file = guard.path().join("out.safetensors");
        let references = ["good_a", "good_b"].map(|p| picture(name, p));
        for preset in ["paper", "anomalib", "zqhang", "caoyunkang"] {
            for (run, references) in [("zero_shot", &[][..]), ("few_shot2", &references)] {
                let mut command = command(&model.path);
                command.args(engine.flags);
                command
                    .args(["--class-name", "metal nut", "--preset", preset, "--tensors"])
                    .arg(&file);

                references
                    .iter()
                    .for_each(|path| _ = command.arg("--reference").arg(path));

                succeed(command.args(["good_c", "bad"].map(|p| picture(name, p))));
                let ours = Golden::read(&file);
                for shown in ["good_c", "bad"] {
                    for (tensor, tolerance) in [
                        ("encode.image".to_owned(), features),
                        ("encode.windows2".to_owned(), features),
                        ("encode.windows3".to_owned(), features),
                        ("encode.patches".to_owned(), features),
                        (format!("{preset}.{run}.score"), scores),
                        (format!("{preset}.{run}.grid"), scores),
                    ] {
                        let tensor = format!("{tensor}.{shown}");
                        let what = format!("{name} {preset} {run} {tensor}");
                        assert_close(
                            &what,
                            ours.tensor(&tensor),
                            &golden.tensor(&tensor),
                            tolerance,
                        );
                    }

                    assert_pixels(
                        &ours.tensor(&format!("squash.{shown}")),
                        &golden.tensor(&format!("squash.{shown}")),
                    );
                }

                // zqhang's prototypes are anomalib's.
                let prompts = if preset == "zqhang" {
                    "anomalib"
                } else {
                    preset
                };

                let (text, expected) = (
                    ours.tensor(&format!("{preset}.text.features")),
                    golden.tensor(&format!("{prompts}.text.features")),
                );

                assert_close(
                    &format!("{name} {preset} text"),
                    unit(text),
                    &unit(expected),
                    1e-4,
                );
            }
        }
    }
}

fn unit(rows: ArrayD<f32>) -> ArrayD<f32> {
    let rows: Array2<f32> = rows.into_dimensionality::<Ix2>().expect("two rows");
    unit_rows(rows.view()).into_dyn()
}

/// Equal in 999 of 1000 values, to half a grey level.
#[track_caller]
fn assert_pixels(ours: &ArrayD<f32>, golden: &ArrayD<f32>) {
    assert_eq!(ours.shape(), golden.shape());
    let same = ours
        .iter()
        .zip(golden)
        .filter(|(a, b)| (*a - *b).abs() < 0.5 / 255.0 / 0.28)
        .count();

    assert!(
        same as f64 >= 0.999 * golden.len() as f64,
        "{same} of {}",
        golden.len()
    );
}

#[test]
fn crop_writes_cropped_pixels_and_blocks_keep_their_names() {
    check_crop(&CPU);
}

pub fn check_crop(engine: &Engine) {
    let golden = Golden::open(CLIP);
    let (guard, model) = imported(CLIP);
    let file = guard.path().join("out.safetensors");
    let good = picture(CLIP, "good_a");
    let mut command = command(&model.path);
    command.args(engine.flags);
    command
        .args([
            "--class-name",
            "metal nut",
            "--fit",
            "crop",
            "--block",
            "1",
            "--tensors",
        ])
        .arg(&file);

    succeed(
        command
            .arg("--reference")
            .arg(&good)
            .arg(picture(CLIP, "bad")),
    );

    let ours = Golden::read(&file);
    assert_pixels(&ours.tensor("crop.bad"), &golden.tensor("crop.bad"));
    assert_eq!(ours.tensor("block1.bad").shape(), [26, 96]);
    assert_eq!(ours.tensor("encode.patches.bad").shape(), [25, 96]);
    let first = ours.tensor("block1.bad");
    let first = first.slice(ndarray::s![1.., ..]);
    let last = ours.tensor("encode.patches.bad");
    assert!(
        first.iter().zip(&last).any(|(a, b)| (a - b).abs() > 0.1),
        "the last block's tokens are block 1's"
    );
}

#[test]
fn a_transformers_clip_writes_transformers_tensors() {
    check_transformers_clip(&CPU);
}

pub fn check_transformers_clip(engine: &Engine) {
    let [features, _] = engine.tolerances;
    let name = "clip-hf-tiny";
    let golden = Golden::open(name);
    let (guard, model) = imported(name);
    let file = guard.path().join("out.safetensors");
    for preset in ["paper", "caoyunkang"] {
        let mut command = command(&model.path);
        command.args(engine.flags);
        command
            .args(["--class-name", "metal nut", "--preset", preset, "--tensors"])
            .arg(&file);

        succeed(command.arg(picture(name, "picture")));
        let ours = Golden::read(&file);
        for tensor in ["encode.image.picture", "encode.patches.picture"] {
            assert_close(
                &format!("{preset} {tensor}"),
                ours.tensor(tensor),
                &golden.tensor(tensor),
                features,
            );
        }

        assert_pixels(
            &ours.tensor("squash.picture"),
            &golden.tensor("squash.picture"),
        );
    }
}

#[test]
fn dinov2_writes_the_asked_block_at_any_size() {
    check_dinov2(&CPU);
}

pub fn check_dinov2(engine: &Engine) {
    let [features, _] = engine.tolerances;
    let golden = Golden::open(DINO);
    let (guard, model) = imported(DINO);
    let file = guard.path().join("out.safetensors");
    let shown = picture(DINO, "picture");
    for (side, block, maps) in [
        ("70", Some("2"), "patch"),
        ("98", Some("4"), "patch"),
        ("98", Some("1"), "2,3"),
        ("154", None, "2,patch"),
    ] {
        let mut command = command(&model.path);
        command.args(engine.flags);
        command
            .args(["--input-px", side, "--maps", maps, "--tensors"])
            .arg(&file)
            .arg("--reference")
            .arg(&shown);

        block
            .iter()
            .for_each(|block| _ = command.args(["--block", block]));

        succeed(command.arg(&shown));
        let (ours, block) = (Golden::read(&file), block.unwrap_or("3"));
        let what = format!("block {block} at {side} with {maps}");
        let expected = golden.tensor(&format!("block{block}.{side}"));
        assert_close(
            &what,
            ours.tensor(&format!("block{block}.picture")),
            &expected,
            features,
        );

        assert_pixels(
            &ours.tensor("squash.picture"),
            &golden.tensor(&format!("pixels.{side}")),
        );
    }
}

#[test]
fn wrong_arguments_are_refused_in_words() {
    let (_clip, clip) = imported(CLIP);
    let (_dino, dino) = imported(DINO);
    let long = "bolt ".repeat(300);
    let good = picture(CLIP, "good_a");
    let good = good.to_str().expect("a plain path");
    let cases: [(&Path, &[&str], i32, &str); 17] = [
        (
            &clip.path,
            &[],
            64,
            "--class-name: this model compares with words",
        ),
        (
            &clip.path,
            &["--class-name", "  "],
            64,
            "--class-name: this model compares with words",
        ),
        (
            &clip.path,
            &["--class-name", &long],
            64,
            "the model reads at most 77: shorten the class name",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--input-px", "96"],
            64,
            "--input-px: this model reads 80 x 80 pixels only, got 96",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--block", "0", "--reference", good],
            64,
            "--block: must be 1 to 3, got 0",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--block", "x"],
            64,
            "invalid value 'x' for '--block",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--maps", ""],
            64,
            "must be \"patch\" or a window scale",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--maps", "patch,0"],
            64,
            "must be \"patch\" or a window scale",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--maps", "patch,patch"],
            64,
            "--maps: each may be named once",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--maps", "6", "--reference", good],
            64,
            "must be 1 to 5 patches wide, got 6",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--threads", "0"],
            64,
            "--threads",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--backend", "tpu"],
            64,
            "possible values: auto, onnx, tensorrt",
        ),
        (
            &clip.path,
            &["--class-name", "nut", "--tensors", "/none/x.safetensors"],
            64,
            "must be a file in a folder that is there",
        ),
        (&dino.path, &[], 64, "--reference: this model has no text"),
        (
            &dino.path,
            &["--reference", good, "--input-px", "100"],
            64,
            "--input-px: must be a multiple of 14",
        ),
        (
            &dino.path,
            &["--reference", good, "--block", "9"],
            64,
            "--block: must be 1 to 4, got 9",
        ),
        (Path::new("/none"), &["--class-name", "nut"], 65, "/none"),
    ];

    for (model, arguments, code, words) in cases {
        let output = run(command(model).args(arguments).arg(good));
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{words:?} is not in {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }

    // All at once.
    let output = run(command(&clip.path).args([
        "--input-px",
        "96",
        "--maps",
        "2,2",
        "--block",
        "7",
        "--reference",
        good,
        good,
    ]));

    for flag in ["--class-name: ", "--input-px: ", "--maps: ", "--block: "] {
        assert!(
            errors(&output).contains(flag),
            "{flag} is not in {}",
            errors(&output)
        );
    }
}

#[test]
fn a_class_name_with_braces_is_judged_like_any_other() {
    let (_guard, model) = imported(CLIP);
    let output = succeed(
        command(&model.path)
            .args(["--class-name", "{}_{nut}{"])
            .arg(picture(CLIP, "bad")),
    );

    assert_eq!(lines(&output).len(), 1);
}

/// A folder with a good picture, one cut short, one that is none, and an empty folder.
fn mixed(folder: &Path) -> Vec<PathBuf> {
    let path = |name: &str| folder.join(name);
    std::fs::copy(picture(CLIP, "bad"), path("good.png")).expect("copied");
    let jpeg = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y) as u8, 0, 0]));
    jpeg.save(path("cut.jpg")).expect("written");
    let bytes = std::fs::read(path("cut.jpg")).expect("there");
    std::fs::write(path("cut.jpg"), &bytes[..bytes.len() / 2]).expect("written");
    std::fs::write(path("words.png"), "hello").expect("written");
    std::fs::create_dir(path("empty")).expect("made");
    ["empty", "cut.jpg", "good.png", "words.png", "none.png"]
        .map(path)
        .into()
}

#[test]
fn good_pictures_are_judged_beside_bad_ones() {
    let (guard, model) = imported(CLIP);
    let pictures = mixed(guard.path());
    let output = run(command(&model.path)
        .args(["--class-name", "nut"])
        .args(&pictures));

    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(65), "{errors}");
    let lines = lines(&output);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["path"], pictures[2].display().to_string());
    for words in [
        "empty: no pictures in it",
        "cut.jpg: a JPEG without its end",
        "words.png: not a picture",
        "none.png: ",
        "pictures judged: 1, problems told above: 4",
    ] {
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
}

#[test]
fn all_bad_references_are_named_at_once() {
    let (guard, model) = imported(CLIP);
    let mut command = command(&model.path);
    command.args(["--class-name", "nut"]);
    mixed(guard.path())
        .iter()
        .for_each(|path| _ = command.arg("--reference").arg(path));

    let output = run(command.arg(picture(CLIP, "bad")));
    assert_eq!(output.status.code(), Some(65));
    for name in [
        "empty: ",
        "cut.jpg: ",
        "words.png: ",
        "none.png: ",
        "4 of the references cannot be used",
    ] {
        assert!(
            errors(&output).contains(name),
            "{name:?} is not in {}",
            errors(&output)
        );
    }

    assert!(output.stdout.is_empty());
}

#[test]
fn a_reference_given_twice_counts_once() {
    let (guard, model) = imported(DINO);
    let file = guard.path().join("out.safetensors");
    let [a, b] = ["good_a", "good_b"].map(|p| picture(CLIP, p));
    let copy = guard.path().join("copy.png");
    std::fs::copy(&a, &copy).expect("copied");
    let mut command = command(&model.path);
    command.args(["--input-px", "70", "--tensors"]).arg(&file);
    [&a, &copy, &b]
        .iter()
        .for_each(|path| _ = command.arg("--reference").arg(path));

    let output = succeed(command.arg(&a));
    assert!(
        errors(&output).contains("are the same picture; counted once"),
        "{}",
        errors(&output)
    );

    assert!(
        errors(&output).contains("good_a.png is also the reference"),
        "{}",
        errors(&output)
    );

    assert_eq!(
        Golden::read(&file)
            .tensor("paper.few_shot2.score.good_a")
            .shape(),
        [1]
    );
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let (guard, model) = imported(DINO);
    let many = vec![picture(CLIP, "bad"); 20];
    let mut command = command(&model.path);
    command
        .args(["--input-px", "70", "--block", "4", "--reference"])
        .arg(picture(CLIP, "good_a"))
        .args(&many);

    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");

    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        errors(&output)
    );

    assert_eq!(errors(&output), "");

    // The same for words on standard error: the problem still decides how it ends.
    let bad = guard.path().join("none.png");
    let mut child = command
        .arg(&bad)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary was built");

    drop(child.stderr.take());
    assert_eq!(child.wait().expect("ends").code(), Some(65));

    let mut info = winspect();
    info.args(["model", "info"])
        .arg(&model.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());

    let mut child = info.spawn().expect("the binary was built");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
}

#[test]
fn two_references_give_all_overlays_one_scale() {
    let (guard, model) = imported(DINO);
    let out = guard.path().join("out");
    let glow = |references: &[&str]| {
        let mut command = command(&model.path);
        command.args(["--input-px", "70", "--overlay"]).arg(&out);
        references
            .iter()
            .for_each(|name| _ = command.arg("--reference").arg(picture(CLIP, name)));

        let output = succeed(
            command
                .arg(picture(CLIP, "good_a"))
                .arg(picture(CLIP, "bad")),
        );

        // Beneath the map the picture is grey: all colour is the map's.
        let coloured = ["good_a", "bad"].map(|name| {
            let drawn = image::open(out.join(format!("{name}.png"))).expect("a picture");
            let drawn = drawn.into_rgb8();
            let is_coloured = |pixel: &&image::Rgb<u8>| pixel.0 != [pixel.0[0]; 3];
            let count = drawn.pixels().filter(is_coloured).count();
            count as f64 / drawn.pixels().len() as f64
        });

        (errors(&output), coloured)
    };

    let (words, [good, bad]) = glow(&["good_a", "good_b"]);
    assert!(words.contains("for all pictures"), "{words}");
    assert!(good == 0.0 && bad > 0.05, "good {good}, bad {bad} coloured");
    let (words, _) = glow(&["good_b"]);
    assert!(words.contains("a scale of its own"), "{words}");
}

#[test]
fn overlays_never_replace_the_pictures_themselves() {
    let (guard, model) = imported(CLIP);
    let shown = guard.path().join("part.png");
    std::fs::copy(picture(CLIP, "bad"), &shown).expect("copied");
    let before = std::fs::read(&shown).expect("there");
    let mut command = command(&model.path);
    let output = run(command
        .args(["--class-name", "nut", "--overlay"])
        .arg(guard.path())
        .arg(&shown));

    assert_eq!(output.status.code(), Some(64));
    assert!(
        errors(&output).contains("would be overwritten"),
        "{}",
        errors(&output)
    );

    assert_eq!(std::fs::read(&shown).expect("there"), before);
}
