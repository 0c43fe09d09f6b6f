//! `fit = "keep"`: oblong pictures through an oblong grid, from pixels to the map.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::{Golden, assert_close, golden, imported, runtime};
use crate::harness::line::{LineConfig, folder_camera, run_to_its_end};
use crate::harness::plc::Listener;
use crate::harness::program::{errors, winspect};
use ndarray::Array3;
use serde_json::Value;
use winspect::data::grid::Grid;
use winspect::data::picture::{Area, Picture};
use winspect::engine::onnx::OnnxEncoder;
use winspect::engine::{Crop, EncodePlan, Encoder, PatchLayer};
use winspect::model::ModelFolder;
use winspect::winclip::{Fit, Inspector, MapKind, Recipe, Region, RegionScore};

#[test]
fn dinov2_gives_transformers_tensors_of_oblong_pictures() {
    let oblong = Golden::read(&golden("dinov2-tiny/oblong.safetensors"));
    let (_guard, model) = imported("dinov2-tiny");
    for (height, width) in [(126, 56), (42, 140), (70, 84)] {
        let layers = [
            (PatchLayer::Block(1), "block1"),
            (PatchLayer::Block(4), "block4"),
            (PatchLayer::AfterFinalNorm, "final_norm"),
        ];

        let plan = EncodePlan {
            width,
            height,
            image: false,
            patches: layers.iter().map(|(layer, _)| *layer).collect(),
            scales: vec![],
        };

        let pixels = oblong.tensor(&format!("pixels.{height}x{width}"));
        let pixels: Array3<f32> = pixels.into_dimensionality().expect("three axes");
        let mut encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opened");
        let features = encoder.encode(&[Crop::from(&pixels)]).expect("encoded");
        for (tokens, (_, name)) in features[0].tokens.iter().zip(layers) {
            let name = format!("{name}.{height}x{width}");
            let expected = oblong.tensor(&name);
            assert_close(&name, tokens.clone().into_dyn(), &expected, 2e-3);
        }
    }
}

/// A grey picture with soft waves, and a white square of `size` pixels at `spot`.
fn picture(w: usize, h: usize, number: usize, spot: Option<(usize, usize, usize)>) -> Picture {
    let mut rgb = Vec::with_capacity(3 * w * h);
    for y in 0..h {
        for x in 0..w {
            let wave = (x + 2 * y + 3 * number) as f32 / 11.0;
            let grey = 110.0 + 30.0 * wave.sin();
            let is_spot = spot.is_some_and(|(left, top, size)| {
                (left..left + size).contains(&x) && (top..top + size).contains(&y)
            });

            rgb.extend([if is_spot { 255 } else { grey as u8 }; 3]);
        }
    }

    Picture::new(w, h, rgb).expect("its bytes")
}

fn judged(
    model: &ModelFolder,
    recipe: &Recipe,
    references: &[Picture],
    shown: &Picture,
) -> RegionScore {
    let recipe = recipe.for_pictures_like(references.first());
    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), model, &plan).expect("opened");
    let mut inspector = Inspector::prepare(
        &recipe,
        &model.spec,
        &plan,
        Box::new(encoder),
        None,
        references,
        &mut |_, _| (),
    )
    .expect("prepared");

    inspector.inspect(shown).expect("judged").remove(0)
}

#[test]
fn a_defect_glows_at_its_place_on_an_oblong_map() {
    let (_guard, model) = imported("dinov2-tiny");
    let windows = Some(vec![MapKind::Patch, MapKind::Windows(2)]);
    for ((w, h), (columns, rows), maps) in [
        ((100, 250), (10, 25), None),
        ((250, 100), (25, 10), None),
        ((100, 250), (10, 25), windows),
    ] {
        let recipe = Recipe {
            fit: Fit::Keep,
            maps,
            ..Recipe::new(None)
        };

        let references = [1, 2, 3].map(|number| picture(w, h, number, None));
        let spot = (6 * w / 10, 7 * h / 10, 20);
        let shown = picture(w, h, 2, Some(spot));
        let region = judged(&model, &recipe, &references, &shown);
        let grid = region.map.grid();
        assert_eq!((grid.w, grid.h), (columns, rows));
        assert_eq!(region.area, Area::whole(w, h));
        let values = region.map.values();
        let highest = values.iter().position(|value| *value == region.map.max());
        let cell = highest.expect("one is the highest");
        // The spot's cells of 10 x 10 pixels, and those beside it, whose windows hold it.
        let (column, row) = (grid.column(cell), grid.row(cell));
        let left = spot.0 / 10;
        let top = spot.1 / 10;
        assert!(
            (left - 1..=left + 2).contains(&column) && (top - 1..=top + 2).contains(&row),
            "{w} x {h}: column {column}, row {row}, spot at {left}, {top}"
        );
    }
}

#[test]
fn a_square_is_judged_alike_whether_its_aspect_is_kept_or_not() {
    let (_guard, model) = imported("dinov2-tiny");
    let references = [1, 2].map(|number| picture(90, 90, number, None));
    let shown = picture(90, 90, 5, Some((20, 40, 15)));
    let squash = Recipe::new(None);
    let keep = Recipe {
        fit: Fit::Keep,
        cells: Some(25),
        ..Recipe::new(None)
    };

    let squashed = judged(&model, &squash, &references, &shown);
    let kept = judged(&model, &keep, &references, &shown);
    assert_eq!(kept.map.grid(), Grid::square(5));
    assert_eq!((kept.score, &kept.map), (squashed.score, &squashed.map));
}

#[test]
fn a_crop_decides_the_grid_and_masks_lie_over_it() {
    let (_guard, model) = imported("dinov2-tiny");
    let crop = Area {
        x: 10,
        y: 5,
        w: 120,
        h: 30,
    };

    let left = [(10.0, 5.0), (70.0, 5.0), (70.0, 35.0), (10.0, 35.0)];
    let recipe = Recipe {
        fit: Fit::Keep,
        cells: Some(64),
        regions: vec![Region {
            crop: Some(crop),
            mask: vec![left.to_vec()],
            ..Region::default()
        }],
        ..Recipe::new(None)
    };

    let references = [1, 2].map(|number| picture(200, 100, number, None));
    let shown = picture(200, 100, 1, Some((40, 10, 20)));
    let region = judged(&model, &recipe, &references, &shown);
    let map = region.map;
    assert_eq!((map.grid().w, map.grid().h), (16, 4));
    for row in 0..4 {
        for column in 0..16 {
            assert_eq!(map.counts(row, column), column < 8, "{row} {column}");
        }
    }

    assert!(region.score > 0.0);
}

#[test]
fn what_keeping_the_aspect_cannot_do_is_refused_in_words() {
    let (_guard, model) = imported("dinov2-tiny");
    let (_clip_guard, clip) = imported("open-clip-tiny");
    let keep = Recipe {
        fit: Fit::Keep,
        ..Recipe::new(Some("nut".to_owned()))
    };

    let region = |w, h| Region {
        name: Some(format!("{w}").into()),
        crop: Some(Area::whole(w, h)),
        ..Region::default()
    };

    let apart = Recipe {
        regions: vec![region(100, 100), region(100, 250)],
        ..keep.clone()
    };

    let tiles = Recipe {
        tile_px: Some(64),
        regions: vec![region(200, 100)],
        ..keep.clone()
    };

    let sized = Recipe {
        input_px: Some(70),
        ..keep.clone()
    };

    let squashed = Recipe {
        fit: Fit::Squash,
        cells: Some(64),
        ..keep.clone()
    };

    let cases = [
        (&clip, &keep, "fit: keep needs a model that reads oblong"),
        (
            &model,
            &apart,
            "fit: keep makes 16 x 16 cells of one region and 10 x 25 of another",
        ),
        (
            &model,
            &tiles,
            "tile_px: cannot be had beside fit = keep: tiles are squares",
        ),
        (
            &model,
            &sized,
            "input_px: cannot be had beside fit = keep, whose size is cells",
        ),
        (&model, &squashed, "cells: goes with fit = keep alone"),
    ];

    for (model, recipe, words) in cases {
        let problems = recipe.encode_plan(&model.spec, true);
        let problems = problems.expect_err(words).to_string();
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(problems.contains(words), "{words:?} is not in {problems}");
    }
}

#[test]
fn a_gpu_refuses_an_oblong_input_in_words() {
    let plan = EncodePlan {
        width: 140,
        height: 350,
        image: false,
        patches: vec![],
        scales: vec![],
    };

    let error = plan.square_side().expect_err("oblong").to_string();
    let words = [
        "fit: keep makes an input of 140 x 350",
        "backend = \"onnx\"",
    ];
    assert!(words.iter().all(|words| error.contains(words)), "{error}");
}

#[test]
fn eval_compares_keep_with_squash() {
    let (guard, model) = imported("dinov2-tiny");
    let write = |name: &str, number, spot| {
        let file = guard.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        let shown = picture(50, 125, number, spot);
        let picture = image::RgbImage::from_raw(50, 125, shown.rgb().to_vec());
        picture.expect("its bytes").save(file).expect("written");
    };

    for number in 0..3 {
        write(&format!("set/train/good/{number}.png"), number, None);
        write(&format!("set/test/good/{number}.png"), number + 3, None);
        let spot = Some((10, 30 * number, 12));
        write(&format!("set/test/spot/{number}.png"), number, spot);
    }

    let json = guard.path().join("keep.json");
    let mut command = winspect();
    command.arg("eval").arg(guard.path().join("set"));
    command
        .arg("--model")
        .arg(&model.path)
        .arg("--json")
        .arg(&json);
    command.args([
        "--fit", "keep", "--cells", "100", "--shots", "2", "--seeds", "1",
    ]);
    let output = command.output().expect("the binary was built");
    assert!(output.status.success(), "{}", errors(&output));
    let told = json_of(&json);
    assert_eq!(told["fit"], "keep");
    assert_eq!(told["grid"]["w"], 6);
    assert_eq!(told["grid"]["h"], 15);
    assert_eq!(told["input_px"], Value::Null);
    let auroc = told["results"][0]["image_AUROC"]["mean"].as_f64();
    assert!(auroc.is_some_and(|auroc| auroc > 0.5), "{told}");
}

fn json_of(file: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(file).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_line_that_keeps_the_aspect_tells_an_oblong_map() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let results = Listener::results(broker.port);
    LineConfig::new(broker.port, &folder_camera())
        .without("input_px")
        .recipe("fit = \"keep\"\ncells = 40\ncrop = [0, 0, 80, 32]")
        .write(folder.path());

    let summary = run_to_its_end(folder.path());
    assert_eq!(summary["acknowledged"], 4, "{summary}");
    let map = results.next("result")["map"].clone();
    let size = ["side", "w", "h"].map(|key| map[key].as_u64());
    assert_eq!(size, [None, Some(10), Some(4)], "{map}");
}
