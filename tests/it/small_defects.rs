//! Small defects on a large picture: without tiles they pass, with tiles they fail, and `winspect check` had said so.
//!
//! The pictures are drawn here, the same every time: grained plastic of 1920 x 1080 pixels under soft light, of which bad
//! ones have a dent 12 pixels wide somewhere, lit from the left: bright half, dark half. The test takes a tiny model with
//! random weights; what the same pictures give with real ones (docs/measurements.md):
//! `WINSPECT_SMALL_DEFECTS=engines/my-model cargo test --release --test it small_defects -- --nocapture`

use crate::harness::broker::Broker;
use crate::harness::golden::{imported, runtime};
use crate::harness::line::LineConfig;
use crate::harness::program::winspect;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::path::Path;
use winspect::data::picture::{Area, Picture};
use winspect::data::verdict::{Verdict, decide};
use winspect::engine::onnx::OnnxEncoder;
use winspect::model::ModelFolder;
use winspect::recipe::spec::Threshold;
use winspect::recipe::threshold::{self, GoodParts};
use winspect::winclip::{Inspector, Recipe, Region};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
/// Larger than usual, chosen on these pictures: with random weights one good part is a quarter above the references.
const AUTO_FACTOR: f32 = 1.4;
const REFERENCES: usize = 12;
const SHOWN: usize = 12;

/// Each value the mean of the `side x side` around it, twice; round the edges.
fn smoothed(mut values: Vec<f32>, side: usize) -> Vec<f32> {
    for _ in 0..2 {
        values = transposed_means(&values, WIDTH, HEIGHT, side);
        values = transposed_means(&values, HEIGHT, WIDTH, side);
    }

    values
}

/// Running means along the rows, written as columns.
fn transposed_means(values: &[f32], width: usize, height: usize, side: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (y, row) in values.chunks_exact(width).enumerate() {
        let mut sum: f32 = row[width - side..].iter().sum();
        for x in 0..width {
            sum += row[x] - row[(x + width - side) % width];
            out[x * height + y] = sum / side as f32;
        }
    }

    out
}

/// Grain of this size, of mean 0 and standard deviation 1.
fn grain(random: &mut StdRng, size: usize) -> Vec<f32> {
    let noise = (0..WIDTH * HEIGHT)
        .map(|_| random.random_range(-1.0..1.0))
        .collect();

    let smooth = smoothed(noise, size);
    let variance = smooth.iter().map(|v| v * v).sum::<f32>() / smooth.len() as f32;
    smooth.into_iter().map(|v| v / variance.sqrt()).collect()
}

/// The mould's grain under soft light: the same on every part.
fn mould() -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(1);
    let (fine, coarse) = (grain(&mut random, 9), grain(&mut random, 25));
    let value = |at: usize| {
        let (x, y) = ((at % WIDTH) as f32, (at / WIDTH) as f32);
        let light =
            150.0 + 15.0 * ((x - 960.0) / 1100.0).cos() + 10.0 * ((y - 540.0) / 700.0).cos();

        light + 8.0 * fine[at] + 8.0 * coarse[at]
    };

    (0..WIDTH * HEIGHT).map(value).collect()
}

/// A part with a finer grain of its own, and the dent.
fn draw(mould: &[f32], seed: u64, is_bad: bool) -> Picture {
    let mut random = StdRng::seed_from_u64(seed);
    let (dent_x, dent_y) = (
        random.random_range(60..WIDTH - 60) as f32,
        random.random_range(60..HEIGHT - 60) as f32,
    );

    let own = grain(&mut random, 3);
    let value = |at: usize| {
        let (dx, dy) = ((at % WIDTH) as f32 - dent_x, (at / WIDTH) as f32 - dent_y);
        let depth = if is_bad {
            (6.5 - dx.hypot(dy)).clamp(0.0, 1.0)
        } else {
            0.0
        };

        let side = if dx > 0.0 { -90.0 } else { 90.0 };
        mould[at] + 7.0 * own[at] + side * depth
    };

    let rgb = (0..WIDTH * HEIGHT)
        .flat_map(|at| [value(at) as u8; 3])
        .collect();

    Picture::new(WIDTH, HEIGHT, rgb).expect("all pixels")
}

/// How many of `shown` fail at the threshold that the references give.
fn failing(
    model: &ModelFolder,
    recipe: &Recipe,
    references: &[Picture],
    shown: [&[Picture]; 2],
) -> [usize; 2] {
    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = Box::new(OnnxEncoder::open(&runtime(), model, &plan).expect("opens"));
    let mut inspector = Inspector::prepare(
        recipe,
        &model.spec,
        &plan,
        encoder,
        None,
        references,
        &mut |_, _| (),
    )
    .expect("prepares");

    let auto = [Threshold::Auto {
        factor: AUTO_FACTOR,
    }];

    let good = GoodParts {
        references: &[],
        calibration: None,
        bad: None,
    };

    let threshold = threshold::thresholds(&auto, &mut inspector, good)
        .expect("compared")
        .remove(0)
        .expect("they differ")
        .value;

    shown.map(|pictures| {
        let scores = pictures
            .iter()
            .map(|picture| inspector.inspect(picture).expect("judged")[0].score);

        let scores: Vec<f32> = scores.collect();
        println!(
            "tiles {:?}: threshold {threshold:.4}, scores {scores:.4?}",
            recipe.tile_px
        );

        scores
            .into_iter()
            .filter(|score| decide(*score, Some(threshold)).0 == Verdict::Fail)
            .count()
    })
}

/// What `winspect check` says of the smallest defect.
fn told(folder: &Path, model: &ModelFolder, recipe: &str) -> [f64; 2] {
    let broker = Broker::anywhere();
    let camera = "kind = \"folder\"\nlocation = \"good\"\nmm_per_pixel = 0.05";
    let file = LineConfig::new(broker.port, camera)
        .head(&format!("model = {:?}", model.path))
        .recipe("name = \"plastic\"\ninput_px = 224\nreferences = [\"good\"]")
        .recipe(&format!("crop = [0, 0, {WIDTH}, {HEIGHT}]"))
        .recipe(&format!("auto_factor = {AUTO_FACTOR}"))
        .recipe(recipe)
        .write(folder);

    let output = winspect().arg("check").arg(file).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let sight = said
        .split("the smallest defect it can see is about ")
        .nth(1);

    let sight = sight.unwrap_or_else(|| panic!("no sight in\n{said}"));
    assert!(sight.contains(" mm)"), "{sight}");
    let mut sides = sight.split(' ').filter_map(|word| word.parse().ok());
    [
        sides.next().expect("a width"),
        sides.next().expect("a height"),
    ]
}

#[test]
fn a_dent_is_found_with_tiles_as_check_had_said() {
    let (folder, tiny) = imported("dinov2-tiny");
    let own = std::env::var_os("WINSPECT_SMALL_DEFECTS");
    let (model, block) = match &own {
        Some(path) => (
            ModelFolder::open(&std::path::absolute(path).expect("a path")).expect("a model"),
            9,
        ),
        None => (tiny, 1),
    };

    let mould = mould();
    let pictures = |first: u64, count, is_bad| {
        (first..)
            .take(count)
            .map(|seed| draw(&mould, seed, is_bad))
            .collect()
    };

    let references: Vec<Picture> = pictures(2, REFERENCES, false);
    let good: Vec<Picture> = pictures(100, SHOWN, false);
    let bad: Vec<Picture> = pictures(200, SHOWN, true);
    std::fs::create_dir(folder.path().join("good")).expect("made");
    for (i, picture) in references[..2].iter().enumerate() {
        let drawn = image::RgbImage::from_raw(WIDTH as u32, HEIGHT as u32, picture.rgb().to_vec())
            .expect("all pixels");

        drawn
            .save(folder.path().join(format!("good/{i}.png")))
            .expect("written");
    }

    for (tiles, found) in [(None, 0), (Some(384), SHOWN)] {
        let key = tiles
            .map(|side| format!("tile_px = {side}"))
            .unwrap_or_default();

        let smallest = told(folder.path(), &model, &key);
        assert_eq!(
            smallest.iter().all(|side| *side <= 12.0),
            found > 0,
            "{key:?}: {smallest:?}"
        );

        let crop = Some(Area::whole(WIDTH, HEIGHT));
        let regions = vec![Region {
            crop,
            ..Region::default()
        }];

        let recipe = Recipe {
            input_px: Some(224),
            block: Some(block),
            tile_px: tiles,
            regions,
            ..Recipe::new(None)
        };

        let failed = failing(&model, &recipe, &references, [&good, &bad]);
        println!(
            "{tiles:?}: {failed:?} good and bad ones of {SHOWN} fail; the smallest: {smallest:?}"
        );

        assert_eq!(failed, [0, found], "{key:?}: good and bad ones that fail");
    }
}
