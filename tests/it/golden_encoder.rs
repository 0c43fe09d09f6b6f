//! Encoder tensors against those of open_clip and transformers.

use crate::harness::golden::{Golden, assert_close, difference, imported, runtime};
use ndarray::{Array1, Array3, Ix3, s};
use winspect::engine::onnx::{OnnxEncoder, OnnxTextEncoder};
use winspect::engine::{EncodePlan, Encoder, Features, PatchLayer, TextEncoder};
use winspect::model::ModelFolder;

fn pixels(golden: &Golden, name: &str) -> Array3<f32> {
    golden
        .tensor(name)
        .into_dimensionality::<Ix3>()
        .expect("[3, S, S]")
}

fn encode(model: &ModelFolder, plan: &EncodePlan, picture: Array3<f32>) -> Features {
    let mut encoder = OnnxEncoder::open(&runtime(), model, plan).expect("the plan fits");
    encoder
        .encode(&[(&picture).into()])
        .expect("runs")
        .remove(0)
}

#[test]
fn open_clip_towers_give_open_clips_tensors() {
    for name in ["open-clip-tiny", "open-clip-tiny-quickgelu"] {
        let golden = Golden::open(name);
        let (_guard, model) = imported(name);
        for picture in ["good_a", "good_b", "good_c", "bad"] {
            let mut plan = EncodePlan {
                width: model.spec.side,
                height: model.spec.side,
                image: true,
                patches: vec![PatchLayer::Block(model.spec.blocks)],
                scales: vec![2, 3],
            };

            let features = encode(&model, &plan, pixels(&golden, &format!("squash.{picture}")));
            let expect = |tensor: &str| golden.tensor(&format!("encode.{tensor}.{picture}"));
            let what = |tensor: &str| format!("{name} {tensor} {picture}");
            let image = Array1::from(features.image.expect("asked for")).into_dyn();
            assert_close(&what("image"), image, &expect("image"), 2e-3);
            let patches = features.tokens[0]
                .clone()
                .slice_move(s![1.., ..])
                .into_dyn();

            assert_close(&what("patches"), patches, &expect("patches"), 2e-3);
            for windows in features.windows {
                let tensor = format!("windows{}", windows.scale);
                assert_close(
                    &what(&tensor),
                    windows.features.into_dyn(),
                    &expect(&tensor),
                    2e-3,
                );
            }

            plan.patches = vec![PatchLayer::AfterFinalNorm];
            let features = encode(&model, &plan, pixels(&golden, &format!("squash.{picture}")));
            let patches = features.tokens[0]
                .clone()
                .slice_move(s![1.., ..])
                .into_dyn();

            assert_close(
                &what("after ln_post"),
                patches,
                &expect("patches_after_ln_post"),
                2e-3,
            );
        }
    }
}

#[test]
fn text_towers_give_open_clips_embeddings() {
    for name in ["open-clip-tiny", "open-clip-tiny-quickgelu"] {
        let golden = Golden::open(name);
        let (_guard, model) = imported(name);
        let mut text = OnnxTextEncoder::open(&runtime(), &model).expect("a text tower");
        let prompts = [
            "a cropped photo of the metal nut.",
            "a cropped photo of the damaged metal nut.",
        ]
        .map(str::to_owned);

        let features = text.encode(&prompts).expect("short prompts");
        for (row, tensor) in [
            (0, "text.encode.first_normal"),
            (1, "text.encode.first_anomalous"),
        ] {
            assert_close(
                &format!("{name} {tensor}"),
                features.row(row).to_owned().into_dyn(),
                &golden.tensor(tensor),
                2e-3,
            );
        }
    }
}

#[test]
fn a_transformers_clip_gives_transformers_tensors() {
    let golden = Golden::open("clip-hf-tiny");
    let (_guard, model) = imported("clip-hf-tiny");
    let plan = EncodePlan {
        width: 80,
        height: 80,
        image: true,
        patches: vec![PatchLayer::Block(3)],
        scales: vec![],
    };

    let features = encode(&model, &plan, pixels(&golden, "squash.picture"));
    let image = Array1::from(features.image.expect("asked for")).into_dyn();
    assert_close("image", image, &golden.tensor("encode.image.picture"), 2e-3);
    let patches = features.tokens[0]
        .clone()
        .slice_move(s![1.., ..])
        .into_dyn();

    assert_close(
        "patches",
        patches,
        &golden.tensor("encode.patches.picture"),
        2e-3,
    );

    let prompts = [
        "a photo of a flawless metal nut.",
        "a close-up photo of the metal nut with damage.",
    ]
    .map(str::to_owned);

    let mut text = OnnxTextEncoder::open(&runtime(), &model).expect("a text tower");
    assert_close(
        "text",
        text.encode(&prompts).expect("short").into_dyn(),
        &golden.tensor("text.encode"),
        2e-3,
    );
}

#[test]
fn dinov2_gives_transformers_tensors_at_any_multiple_of_its_patch() {
    let golden = Golden::open("dinov2-tiny");
    let (_guard, model) = imported("dinov2-tiny");
    for side in [70, 98, 154] {
        let layers = (1..=4).map(|b| (PatchLayer::Block(b), format!("block{b}.{side}")));
        for (layer, tensor) in
            layers.chain([(PatchLayer::AfterFinalNorm, format!("final_norm.{side}"))])
        {
            let plan = EncodePlan {
                width: side,
                height: side,
                image: false,
                patches: vec![layer],
                scales: vec![],
            };

            let features = encode(&model, &plan, pixels(&golden, &format!("pixels.{side}")));
            assert_close(
                &tensor,
                features.tokens[0].clone().into_dyn(),
                &golden.tensor(&tensor),
                2e-3,
            );
        }
    }
}

/// anomalib with open_clip 2.26 gives all windows nearly one embedding: the layout trap of its window code.
#[test]
fn windows_differ_from_each_other() {
    let golden = Golden::open("open-clip-tiny");
    let (_guard, model) = imported("open-clip-tiny");
    let plan = EncodePlan {
        width: 80,
        height: 80,
        image: false,
        patches: vec![],
        scales: vec![2],
    };

    let windows = encode(&model, &plan, pixels(&golden, "squash.bad"))
        .windows
        .remove(0)
        .features;

    for row in 1..windows.nrows() {
        let first = windows.row(0).to_owned().into_dyn();
        assert!(
            difference(windows.row(row).to_owned().into_dyn(), &first) > 0.05,
            "window {row} is window 0"
        );
    }
}

#[test]
fn a_plan_beyond_the_model_is_refused_with_every_limit() {
    let (_guard, model) = imported("open-clip-tiny");
    let plan = EncodePlan {
        width: 96,
        height: 96,
        image: true,
        patches: vec![PatchLayer::Block(4)],
        scales: vec![0, 9],
    };

    let error = OnnxEncoder::open(&runtime(), &model, &plan)
        .err()
        .expect("too much")
        .to_string();

    for words in [
        "80 x 80 pixels only, got 96",
        "block: must be 1 to 3, got 4",
        "patches wide, got 0",
        "got 9",
    ] {
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
}
