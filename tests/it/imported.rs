//! Models in the layouts of other libraries: DINOv2 with registers, timm's DINOv2, and weights in shards, held against what
//! those libraries compute (`tools/reference/dinov2_tiny.py`).

use crate::harness::golden::{Golden, assert_close, golden, import_of, imported, runtime};
use ndarray::{Array1, Array3, Axis};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;
use winspect::engine::onnx::OnnxEncoder;
use winspect::engine::{Crop, EncodePlan, Encoder, Features, PatchLayer};
use winspect::model::{self, ModelFolder};

const MODELS: [&str; 3] = [
    "dinov2-reg-tiny",
    "timm-dinov2-tiny",
    "timm-dinov2-reg-tiny",
];

/// The pixels of `tools/reference/dinov2_tiny.py`.
fn pixels(height: usize, width: usize) -> Array3<f32> {
    Array3::from_shape_fn((3, height, width), |(c, y, x)| {
        let step = (37 * x + 101 * y + 53 * c + 3 * x * y) % 256;
        step as f32 / 64.0 - 2.0
    })
}

fn encoded(
    model: &ModelFolder,
    (height, width): (usize, usize),
    layers: &[PatchLayer],
    scales: &[usize],
) -> Features {
    let plan = EncodePlan {
        width,
        height,
        image: true,
        patches: layers.to_vec(),
        scales: scales.to_vec(),
    };

    let pixels = pixels(height, width);
    let mut encoder = OnnxEncoder::open(&runtime(), model, &plan).expect("opened");
    let mut features = encoder.encode(&[Crop::from(&pixels)]).expect("encoded");
    features.remove(0)
}

#[test]
fn tokens_are_those_of_the_models_own_library_at_every_grid() {
    let layers = [
        (PatchLayer::Block(1), "block1"),
        (PatchLayer::Block(3), "block3"),
        (PatchLayer::AfterFinalNorm, "final_norm"),
    ];

    for name in MODELS {
        let told = Golden::open(name);
        let (_guard, model) = imported(name);
        // Native, below, above, oblong.
        for (height, width) in [(112, 112), (56, 56), (126, 126), (42, 126)] {
            let size = format!("{height}x{width}");
            let asked = layers.map(|(layer, _)| layer);
            let features = encoded(&model, (height, width), &asked, &[]);
            for (tokens, (_, layer)) in features.tokens.iter().zip(layers) {
                let expected = told.tensor(&format!("{layer}.{size}"));
                let what = format!("{name}: {layer}.{size}");
                assert_close(&what, tokens.clone().into_dyn(), &expected, 2e-3);
            }

            let image = Array1::from(features.image.expect("asked for")).into_dyn();
            let expected = told.tensor(&format!("image.{size}"));
            assert_close(&format!("{name}: image.{size}"), image, &expected, 2e-3);
        }
    }
}

#[test]
fn windows_see_the_registers_too() {
    for name in MODELS {
        let told = Golden::open(name);
        let (_guard, model) = imported(name);
        let features = encoded(&model, (56, 56), &[PatchLayer::Block(3)], &[2]);
        let windows = &features.windows.first().expect("one scale").features;
        let expected = told.tensor("windows2.56x56");
        assert_eq!(windows.len_of(Axis(0)), 9);
        let what = format!("{name}: windows");
        assert_close(&what, windows.clone().into_dyn(), &expected, 2e-3);
    }
}

#[test]
fn a_model_says_its_registers_and_how_its_positions_are_resampled() {
    let said = MODELS.map(|name| {
        let (_guard, model) = imported(name);
        let spec = model.spec;
        (spec.registers, spec.antialias, spec.side, spec.blocks)
    });

    assert_eq!(
        said,
        [(4, true, 112, 3), (0, true, 112, 3), (4, true, 112, 3)]
    );

    let (_guard, plain) = imported("dinov2-tiny");
    assert_eq!((plain.spec.registers, plain.spec.antialias), (0, false));
    let text = std::fs::read_to_string(plain.path.join("model.toml")).expect("there");
    let words = ["registers", "antialias"];
    assert!(!words.iter().any(|word| text.contains(word)), "{text}");
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(file).expect("there");
    let mut value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    std::fs::write(file, value.to_string()).expect("written");
}

#[test]
fn timms_configurations_that_cannot_be_run_are_refused_by_their_keys() {
    let cases = [
        (
            "/architecture",
            json!("vit_giant_patch14_dinov2"),
            "architecture: \"vit_giant_patch14_dinov2\" cannot be run: DINOv2 giant's SwiGLU MLP",
        ),
        (
            "/architecture",
            json!("resnet50"),
            "vit_small_patch14_reg4_dinov2",
        ),
        (
            "/global_pool",
            json!("avg"),
            "global_pool: \"avg\" cannot be run; \"token\" can",
        ),
        (
            "/pretrained_cfg/input_size",
            json!([3, 112, 126]),
            "pretrained_cfg.input_size: must be [3, side, side]",
        ),
        (
            "/pretrained_cfg/std",
            json!([0.0, 1, 1]),
            "pretrained_cfg.std: must be three numbers",
        ),
        (
            "/model_args/qk_norm",
            json!(true),
            "model_args.qk_norm: is not known",
        ),
        (
            "/model_args/num_heads",
            json!(5),
            "must be a multiple of the 5 attention heads",
        ),
        (
            "/model_args/reg_tokens",
            json!(3),
            "reg_token: has shape [1, 4, 48], [1, 3, 48] is needed",
        ),
        (
            "/model_args/no_embed_class",
            json!(false),
            "pos_embed: has shape [1, 64, 48], [1, 69, 48] is needed",
        ),
    ];

    for (pointer, value, words) in cases {
        let error = import_of("timm-dinov2-reg-tiny", |source| {
            edit(&source.join("config.json"), |config| {
                let (parent, key) = pointer.rsplit_once('/').expect("a path");
                config.pointer_mut(parent).expect("there")[key] = value.clone();
            });
        });

        let error = error.expect_err(words);
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
}

#[test]
fn registers_belong_to_the_model_type_that_has_them() {
    let error = import_of("dinov2-reg-tiny", |source| {
        edit(&source.join("config.json"), |config| {
            config["model_type"] = json!("dinov2");
        });
    });

    let error = error.expect_err("other model");
    assert!(
        error.contains("num_register_tokens: 4 cannot be run"),
        "{error}"
    );

    let error = import_of("dinov2-reg-tiny", |source| {
        edit(&source.join("config.json"), |config| {
            config["num_register_tokens"] = json!(5);
        });
    });

    let words = "embeddings.register_tokens: has shape [1, 4, 48], [1, 5, 48] is needed";
    let error = error.expect_err("other number");
    assert!(error.contains(words), "{error}");
}

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

#[test]
fn shards_and_one_file_make_the_same_model() {
    let (_guard, sharded) = imported("dinov2-reg-tiny");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source");
    std::fs::create_dir(&source).expect("new");
    for file in ["config.json", "preprocessor_config.json"] {
        std::fs::copy(golden("dinov2-reg-tiny").join(file), source.join(file)).expect("copied");
    }

    let shards = SHARDS.map(|shard| {
        let file = golden("dinov2-reg-tiny").join(shard);
        std::fs::read(file).expect("there")
    });

    let tensors = shards.iter().flat_map(|bytes| {
        let tensors = SafeTensors::deserialize(bytes).expect("whole");
        tensors.tensors()
    });

    safetensors::serialize_to_file(tensors, None, &source.join("model.safetensors"))
        .expect("written");

    let model = model::import(&source, &folder.path().join("model"), &|_| ()).expect("imports");
    for file in ["vision.weights", "trunk.onnx", "windows.onnx"] {
        let bytes = |model: &ModelFolder| std::fs::read(model.path.join(file)).expect("there");
        assert!(bytes(&model) == bytes(&sharded), "{file}");
    }
}

#[test]
fn all_that_is_wrong_with_shards_is_told_at_once() {
    let twice = "layernorm.weight";
    let error = import_of("dinov2-reg-tiny", |source| {
        std::fs::remove_file(source.join(SHARDS[1])).expect("there");
        edit(&source.join(INDEX), |index| {
            let map = &mut index["weight_map"];
            map["nothing.weight"] = json!(SHARDS[0]);
            map["far.weight"] = json!("../far.safetensors");
            map["root.weight"] = json!("/root.safetensors");
        });

        // A key twice, which a JSON value cannot hold.
        let text = std::fs::read_to_string(source.join(INDEX)).expect("there");
        let entry = format!("\"weight_map\":{{\"{twice}\":\"{}\",", SHARDS[0]);
        let text = text.replacen("\"weight_map\":{", &entry, 1);
        std::fs::write(source.join(INDEX), text).expect("written");
    });

    let error = error.expect_err("many problems");
    for words in [
        &format!("{INDEX}: the shards are not what it says"),
        &format!("{}: is missing; 36 tensors should be in it", SHARDS[1]),
        &format!("nothing.weight: should be in {}, and is not", SHARDS[0]),
        "\"../far.safetensors\": is not the name of a file beside the index",
        "\"/root.safetensors\": is not the name of a file beside the index",
        &format!("{twice}: is named twice, in {}", SHARDS[0]),
    ] {
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
}

#[test]
fn a_tensor_in_two_shards_or_beside_the_index_is_refused() {
    let error = import_of("dinov2-reg-tiny", |source| {
        // The third shard's tensors once more, in a shard for one that the index moves there.
        std::fs::copy(source.join(SHARDS[2]), source.join("more.safetensors")).expect("copied");
        edit(&source.join(INDEX), |index| {
            index["weight_map"]["layernorm.weight"] = json!("more.safetensors");
        });
    });

    let error = error.expect_err("twice");
    let words = format!(
        "encoder.layer.2.norm1.bias: is in two shards, {} and more.safetensors",
        SHARDS[2]
    );

    assert!(error.contains(&words), "{error}");
    let error = import_of("dinov2-reg-tiny", |source| {
        edit(&source.join(INDEX), |index| {
            let map = index["weight_map"].as_object_mut().expect("an object");
            map.remove("embeddings.mask_token").expect("there");
        });
    });

    let error = error.expect_err("not named");
    let words = "embeddings.mask_token: is in model-00001-of-00003.safetensors, where the index has no such tensor";
    assert!(error.contains(words), "{error}");
    for (content, words) in [
        ("{", "EOF while parsing"),
        ("{}", "missing field `weight_map`"),
        ("{\"weight_map\": {}}", "weight_map: names no tensor"),
        (
            "{\"weight_map\": [1]}",
            "an object of tensors and file names",
        ),
    ] {
        let error = import_of("dinov2-reg-tiny", |source| {
            std::fs::write(source.join(INDEX), content).expect("written");
        });

        let error = error.expect_err(words);
        assert!(
            error.contains(words) && error.contains(INDEX),
            "{words:?} is not in {error}"
        );
    }

    let error = import_of("dinov2-reg-tiny", |source| {
        let bytes = std::fs::read(source.join(SHARDS[0])).expect("there");
        std::fs::write(source.join(SHARDS[0]), &bytes[..bytes.len() / 2]).expect("written");
    });

    let error = error.expect_err("cut short");
    assert!(error.contains("not a whole safetensors file"), "{error}");
}
