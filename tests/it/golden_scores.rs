//! Scores and maps of every preset against the golden ones: from golden features, and from the pictures.

use crate::harness::golden::{Golden, assert_close, golden, imported, runtime};
use ndarray::{Array2, Ix2, arr1};
use winspect::data::grid::Grid;
use winspect::data::map::Map;
use winspect::data::picture::{Area, Picture};
use winspect::engine::nearest::Nearest;
use winspect::engine::onnx::{OnnxEncoder, OnnxNearest, OnnxTextEncoder};
use winspect::engine::{Features, PatchLayer, WindowFeatures};
use winspect::image::file as image_file;
use winspect::model::ModelFolder;
use winspect::winclip::inspector::Detailed;
use winspect::winclip::pixels::PixelMaker;
use winspect::winclip::scorer::Scorer;
use winspect::winclip::{Fit, Inspector, MapKind, Preset, Recipe, Region, prompts};

const MODELS: [&str; 2] = ["open-clip-tiny", "open-clip-tiny-quickgelu"];
const PICTURES: [&str; 4] = ["good_a", "good_b", "good_c", "bad"];
const PRESETS: [Preset; 4] = [
    Preset::Paper,
    Preset::Anomalib,
    Preset::Zqhang,
    Preset::Caoyunkang,
];

fn matrix(golden: &Golden, name: &str) -> Array2<f32> {
    golden
        .tensor(name)
        .into_dimensionality::<Ix2>()
        .expect("two axes")
}

/// Features as open_clip computed them.
fn golden_features(golden: &Golden, picture: &str, patches: &str) -> Features {
    let patches = matrix(golden, &format!("encode.{patches}.{picture}"));
    let class = Array2::zeros((1, patches.ncols()));
    let windows = [2, 3].map(|scale| WindowFeatures {
        scale,
        features: matrix(golden, &format!("encode.windows{scale}.{picture}")),
    });

    Features {
        grid: Grid::square((patches.nrows() as f64).sqrt() as usize),
        image: Some(
            golden
                .tensor(&format!("encode.image.{picture}"))
                .into_iter()
                .collect(),
        ),
        tokens: vec![ndarray::concatenate![ndarray::Axis(0), class, patches]],
        windows: windows.into(),
    }
}

#[track_caller]
fn assert_judged(golden: &Golden, run: &str, picture: &str, score: f32, map: &Map, tolerance: f32) {
    assert_close(
        &format!("{run} score {picture}"),
        arr1(&[score]).into_dyn(),
        &golden.tensor(&format!("{run}.score.{picture}")),
        tolerance,
    );

    let shape = (map.grid().h, map.grid().w);
    let grid = Array2::from_shape_vec(shape, map.values().to_vec()).expect("its cells");

    assert_close(
        &format!("{run} grid {picture}"),
        grid.into_dyn(),
        &golden.tensor(&format!("{run}.grid.{picture}")),
        tolerance,
    );
}

#[test]
fn every_preset_gives_the_golden_scores_from_golden_features() {
    let mut nearest = OnnxNearest::open(&runtime()).expect("one product");
    for name in MODELS {
        let golden = Golden::open(name);
        for preset in PRESETS {
            let parameters = preset.parameters(&[2, 3]);
            let patches = match parameters.patches {
                Some(PatchLayer::AfterFinalNorm) => "patches_after_ln_post",
                _ => "patches",
            };

            // zqhang's prototypes are anomalib's.
            let prompts = if preset == Preset::Zqhang {
                "anomalib"
            } else {
                preset.name()
            };

            let text = matrix(&golden, &format!("{prompts}.text.features"));
            let references = ["good_a", "good_b"].map(|r| golden_features(&golden, r, patches));
            let references = references.each_ref().map(|reference| vec![reference]);
            for (run, references) in [("zero_shot", &[][..]), ("few_shot2", &references[..])] {
                let scorer = Scorer::new(
                    parameters.clone(),
                    &[2, 3],
                    Some(text.view()),
                    references,
                    None,
                );

                for picture in PICTURES {
                    let features = golden_features(&golden, picture, patches);
                    let pieces = scorer
                        .partial_scores(&mut nearest, &features, None)
                        .expect("compared");

                    let (score, map) = scorer.combine(pieces);
                    assert_judged(
                        &golden,
                        &format!("{}.{run}", preset.name()),
                        picture,
                        score,
                        &map,
                        1e-4,
                    );
                }
            }
        }
    }
}

fn picture(model: &str, name: &str) -> Picture {
    image_file::read(&golden(model).join(format!("{name}.png"))).expect("a golden picture")
}

#[test]
fn every_preset_gives_the_golden_scores_from_the_pictures() {
    for name in MODELS {
        let golden = Golden::open(name);
        let (_guard, model) = imported(name);
        for preset in PRESETS {
            let recipe = Recipe {
                preset,
                ..Recipe::new(Some("metal nut".to_owned()))
            };

            let references = ["good_a", "good_b"].map(|r| picture(name, r));
            for (run, references) in [("zero_shot", &[][..]), ("few_shot2", &references[..])] {
                let plan = recipe
                    .encode_plan(&model.spec, !references.is_empty())
                    .expect("fits");

                let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
                let mut text = OnnxTextEncoder::open(&runtime(), &model).expect("a text tower");
                let prototypes =
                    prompts::prototypes(&recipe, &model.spec, &mut text).expect("short prompts");

                drop(text);
                let mut inspector = Inspector::prepare(
                    &recipe,
                    &model.spec,
                    &plan,
                    Box::new(encoder),
                    prototypes,
                    references,
                    &mut |_, _| (),
                )
                .expect("prepares");

                for shown in PICTURES {
                    let judged = inspector
                        .inspect(&picture(name, shown))
                        .expect("judged")
                        .remove(0);

                    assert_judged(
                        &golden,
                        &format!("{}.{run}", preset.name()),
                        shown,
                        judged.score,
                        &judged.map,
                        1e-3,
                    );
                }

                // Together they are judged as alone.
                let shown = PICTURES.map(|shown| picture(name, shown));
                let together = inspector
                    .inspect_all(&shown.iter().collect::<Vec<_>>())
                    .expect("judged");

                for (shown, judged) in PICTURES.into_iter().zip(together) {
                    let judged = judged.expect("the recipe looks at it all").remove(0);
                    let run = format!("{}.{run}", preset.name());
                    assert_judged(&golden, &run, shown, judged.score, &judged.map, 1e-3);
                }

                let prompts = if preset == Preset::Zqhang {
                    "anomalib"
                } else {
                    preset.name()
                };

                let unit = |rows: &Array2<f32>| {
                    winspect::winclip::vectors::unit_rows(rows.view()).into_dyn()
                };

                let ours = unit(inspector.prototypes().expect("has text"));
                assert_close(
                    "text features",
                    ours,
                    &unit(&matrix(&golden, &format!("{prompts}.text.features"))),
                    1e-4,
                );
            }
        }
    }
}

#[test]
fn pixels_are_pillows() {
    for name in MODELS {
        let golden = Golden::open(name);
        let (_guard, model) = imported(name);
        for (fit, tensor) in [(Fit::Squash, "squash"), (Fit::Crop, "crop")] {
            for shown in PICTURES {
                let ours =
                    PixelMaker::new(None, fit, (model.spec.side, model.spec.side), &model.spec)
                        .make(&picture(name, shown))
                        .expect("made");

                let pillow = golden.tensor(&format!("{tensor}.{shown}"));
                // Half a grey level, normalised.
                let same = ours
                    .iter()
                    .zip(&pillow)
                    .filter(|(a, b)| (*a - *b).abs() < 0.5 / 255.0 / 0.28)
                    .count();

                assert!(
                    same == pillow.len(),
                    "{name} {tensor} {shown}: {same} of {}",
                    pillow.len()
                );
            }
        }
    }
}

#[test]
fn leaving_a_reference_out_scores_it_against_the_others() {
    let name = "dinov2-tiny";
    let (_guard, model) = imported(name);
    let recipe = Recipe {
        input_px: Some(70),
        ..Recipe::new(None)
    };

    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
    let references = [
        picture("open-clip-tiny", "good_a"),
        picture("open-clip-tiny", "good_b"),
    ];

    let mut inspector = Inspector::prepare(
        &recipe,
        &model.spec,
        &plan,
        Box::new(encoder),
        None,
        &references,
        &mut |_, _| (),
    )
    .expect("prepares");

    let left_out = inspector.leave_one_out().expect("compared").remove(0);
    assert_eq!(left_out.len(), 2);
    assert!(
        left_out.iter().all(|(s, _)| *s > 1e-4 && s.is_finite()),
        "{left_out:?}"
    );

    assert!(
        inspector.inspect(&references[0]).expect("judged")[0].score < 1e-5,
        "a reference matches itself"
    );
}

#[test]
fn the_engine_finds_the_nearest_row_of_each_reference() {
    let mut nearest = OnnxNearest::open(&runtime()).expect("one product");
    let value = |i: usize, j: usize| ((i * 31 + j * 17) % 23) as f32 / 23.0 - 0.5;
    let queries = Array2::from_shape_fn((700, 3), |(i, j)| value(i, j));
    // 700 queries of 300 rows each: several runs.
    for count in [1, 2, 7] {
        let references = Array2::from_shape_fn((count * 300, 3), |(i, j)| value(i + 7, j * j));
        let found = nearest
            .similarities(queries.view(), references.view(), 300)
            .expect("compared");

        let highest = |q: usize, k: usize| {
            let products = (k * 300..(k + 1) * 300).map(|r| queries.row(q).dot(&references.row(r)));
            products.fold(f32::NEG_INFINITY, f32::max)
        };

        let defined = Array2::from_shape_fn((700, count), |(q, k)| highest(q, k));
        assert_close(
            &format!("{count} references"),
            found.into_dyn(),
            &defined.into_dyn(),
            1e-6,
        );
    }
}

/// An inspector of golden DINOv2 with a mask over the golden pictures, which are 64 x 48 or smaller.
fn masked(model: &ModelFolder, mask: Vec<Vec<(f64, f64)>>, references: &[Picture]) -> Inspector {
    let crop = Area::whole(references[0].width(), references[0].height());
    let maps = Some(vec![MapKind::Patch, MapKind::Windows(2)]);
    let recipe = Recipe {
        input_px: Some(70),
        regions: vec![Region {
            name: None,
            crop: Some(crop),
            mask,
        }],
        maps,
        ..Recipe::new(None)
    };

    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), model, &plan).expect("opens");
    Inspector::prepare(
        &recipe,
        &model.spec,
        &plan,
        Box::new(encoder),
        None,
        references,
        &mut |_, _| (),
    )
    .expect("prepares")
}

#[test]
fn windows_outside_a_mask_are_not_computed() {
    let (_guard, model) = imported("dinov2-tiny");
    let references = [
        picture("open-clip-tiny", "good_a"),
        picture("open-clip-tiny", "good_b"),
    ];

    let shown = picture("open-clip-tiny", "bad");
    let (w, h) = (references[0].width() as f64, references[0].height() as f64);
    let boxed =
        |left: f64, right: f64| vec![vec![(left, 0.0), (right, 0.0), (right, h), (left, h)]];

    let plain = masked(&model, vec![], &references)
        .inspect_in_detail(&shown)
        .expect("judged")
        .remove(0);

    let all = masked(&model, boxed(0.0, w), &references)
        .inspect_in_detail(&shown)
        .expect("judged")
        .remove(0);

    assert_eq!(
        all.region_score.map.values(),
        plain.region_score.map.values()
    );

    assert_eq!(all.region_score.score, plain.region_score.score);

    let left = masked(&model, boxed(0.0, 0.4 * w), &references)
        .inspect_in_detail(&shown)
        .expect("judged")
        .remove(0);

    let (map, side) = (&left.region_score.map, left.region_score.map.grid().w);
    let is_left = |cell: usize| cell % side < 2 * side / 5;
    for (cell, value) in map.values().iter().enumerate() {
        assert_eq!(is_left(cell), *value > 0.0, "cell {cell}: {value}");
    }

    let highest = map.max();
    assert!(left.region_score.score <= highest && left.region_score.score > 0.0);
    let windows = |detailed: &Detailed| detailed.features.windows[0].features.nrows();
    assert_eq!(
        (windows(&plain), windows(&left)),
        ((side - 1).pow(2), (side - 1) * (2 * side / 5))
    );
}
