//! Importing: what is wrong with a source folder is told by its key or tensor, and nothing half-made stays behind.

use crate::harness::golden::{golden, import_of};
use std::path::Path;
use winspect::model::{self, ModelFolder};

/// A copy of a golden source folder, changed by `change`, then imported: the error's words.
fn refused(name: &str, change: impl FnOnce(&Path)) -> String {
    import_of(name, change).expect_err("must be refused")
}

fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("there")).expect("JSON");

    change(&mut value);
    std::fs::write(path, value.to_string()).expect("written");
}

/// Rewrites a safetensors header, the data left as it is.
fn edit_header(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let bytes = std::fs::read(path).expect("there");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let mut header: serde_json::Map<_, _> =
        serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");

    change(&mut header);
    let text = serde_json::to_vec(&header).expect("JSON");
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    out.extend(&bytes[8 + length..]);
    std::fs::write(path, out).expect("written");
}

const WEIGHTS: &str = "open_clip_model.safetensors";

/// A model of which a part was left out gives other features than the one that was trained.
#[test]
fn a_model_that_would_not_be_read_wholly_is_refused() {
    let unread = [
        (
            "open-clip-tiny",
            WEIGHTS,
            "visual.transformer.resblocks.9.ls_1.gamma",
        ),
        (
            "clip-hf-tiny",
            "model.safetensors",
            "vision_model.head.weight",
        ),
        (
            "dinov2-tiny",
            "model.safetensors",
            "embeddings.register_tokens",
        ),
    ];

    for (model, weights, tensor) in unread {
        let error = refused(model, |source| {
            edit_header(&source.join(weights), |header| {
                // An empty one behind all others: their data is left as it is.
                let ends = header
                    .values()
                    .filter_map(|tensor| tensor["data_offsets"][1].as_u64());
                let end = ends.max().expect("a tensor");
                let empty =
                    serde_json::json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]});
                header.insert(tensor.to_owned(), empty);
            })
        });

        assert!(
            error.contains(tensor) && error.contains("is not read"),
            "{model}: {error}"
        );
    }

    let unknown = [
        (
            "open-clip-tiny",
            "open_clip_config.json",
            "/model_cfg/vision_cfg",
            "rope_theta",
        ),
        (
            "open-clip-tiny",
            "open_clip_config.json",
            "/model_cfg",
            "moe",
        ),
        ("clip-hf-tiny", "config.json", "/text_config", "rotary_dim"),
        ("clip-hf-tiny", "config.json", "", "adapter"),
        ("dinov2-tiny", "config.json", "", "num_experts"),
    ];

    for (model, file, place, key) in unknown {
        let change = |value: serde_json::Value| {
            refused(model, |source| {
                edit(&source.join(file), |config| {
                    config.pointer_mut(place).expect("there")[key] = value;
                })
            })
        };

        let error = change(serde_json::json!(2));
        assert!(
            error.contains(key) && error.contains("is not known"),
            "{model}: {error}"
        );
    }
}

#[test]
fn a_tower_that_is_described_twice_must_be_the_same_tower() {
    let error = refused("clip-hf-tiny", |source| {
        edit(&source.join("config.json"), |config| {
            let mut other = config["vision_config"].clone();
            other["hidden_act"] = "gelu".into();
            config["vision_config_dict"] = other;
        })
    });

    assert!(
        error.contains("vision_config_dict: says another tower"),
        "{error}"
    );

    let error = refused("clip-hf-tiny", |source| {
        edit(&source.join("config.json"), |config| {
            config["text_config"]["eos_token_id"] = 7.into();
        })
    });

    assert!(
        error.contains("text_config.eos_token_id: 7 cannot be run"),
        "{error}"
    );
}

#[test]
fn truncated_and_corrupt_weights_are_named() {
    let cut = refused("open-clip-tiny", |source| {
        let path = source.join(WEIGHTS);
        let bytes = std::fs::read(&path).expect("there");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    });

    assert!(cut.contains("not a whole safetensors file"), "{cut}");
    let garbage = refused("open-clip-tiny", |source| {
        std::fs::write(source.join(WEIGHTS), [0xff; 100]).expect("written")
    });

    assert!(
        garbage.contains("not a whole safetensors file"),
        "{garbage}"
    );

    let none = refused("open-clip-tiny", |source| {
        std::fs::write(source.join(WEIGHTS), []).expect("written")
    });

    assert!(none.contains(WEIGHTS), "{none}");
}

#[test]
fn every_missing_and_misshapen_tensor_is_told_at_once() {
    let error = refused("open-clip-tiny", |source| {
        edit_header(&source.join(WEIGHTS), |header| {
            let conv = header.remove("visual.conv1.weight").expect("there");
            header.insert("visual.conv2.weight".to_owned(), conv);
            header["visual.proj"]["shape"] = serde_json::json!([48, 96]);
        });
    });

    assert!(
        error.contains("visual.conv1.weight: missing (shape [96, 3, 16, 16] is needed)"),
        "{error}"
    );

    assert!(
        error.contains("visual.proj: has shape [48, 96], [96, 48] is needed"),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let error = refused("open-clip-tiny", |source| {
        let path = source.join(WEIGHTS);
        let mut bytes = std::fs::read(&path).expect("there");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
        let header: serde_json::Value =
            serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");

        let offset = header["visual.proj"]["data_offsets"][0]
            .as_u64()
            .expect("a number") as usize
            + 8
            + length;

        bytes[offset..offset + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
        std::fs::write(&path, bytes).expect("written");
    });

    assert!(
        error.contains("visual.proj: holds NaN at index 0"),
        "{error}"
    );
}

#[test]
fn towers_that_cannot_be_run_are_refused_by_their_key() {
    let cases: [(&str, serde_json::Value, &str); 5] = [
        (
            "/model_cfg/vision_cfg/timm_model_name",
            "vit_so400m".into(),
            "model_cfg.vision_cfg.timm_model_name",
        ),
        (
            "/model_cfg/vision_cfg/layers",
            serde_json::json!([3, 4, 6, 3]),
            "ResNet",
        ),
        (
            "/model_cfg/vision_cfg/attentional_pool",
            true.into(),
            "attentional pooling",
        ),
        (
            "/model_cfg/text_cfg/hf_model_name",
            "roberta-base".into(),
            "model_cfg.text_cfg.hf_model_name",
        ),
        (
            "/model_cfg/vision_cfg/width",
            "wide".into(),
            "model_cfg.vision_cfg.width: must be a number",
        ),
    ];

    for (pointer, value, words) in cases {
        let error = refused("open-clip-tiny", |source| {
            edit(&source.join("open_clip_config.json"), |config| {
                let (parent, key) = pointer.rsplit_once('/').expect("a path");
                config.pointer_mut(parent).expect("there")[key] = value.clone();
            });
        });

        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }

    let error = refused("dinov2-tiny", |source| {
        edit(&source.join("config.json"), |config| {
            config["use_swiglu_ffn"] = true.into();
            config["model_type"] = "dinov2".into();
        });
    });

    assert!(error.contains("use_swiglu_ffn"), "{error}");
}

#[test]
fn a_model_folder_that_lost_bytes_is_not_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dino");
    model::import(&golden("dinov2-tiny"), &path, &|_| ()).expect("imports");
    std::fs::write(path.join("vision.weights"), [0; 10]).expect("written");
    let error = ModelFolder::open(&path).expect_err("cut short").to_string();
    assert!(error.contains("vision.weights: 10 bytes"), "{error}");
    let error = ModelFolder::open(folder.path())
        .expect_err("nothing there")
        .to_string();

    assert!(error.contains("winspect model import"), "{error}");
}
