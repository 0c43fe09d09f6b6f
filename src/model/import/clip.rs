//! transformers' `CLIPModel`: `config.json` and `model.safetensors`.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::import::keys::{Keys, TRANSFORMERS, TRANSFORMERS_REFUSED, names};
use crate::model::import::layout::{
    BlockNames, CLIP_NORMALISATION, ClassAndPositions, SourceLayout, TextLayout, WeightLayout,
    check_grid, check_text, check_transformers, read_blocks, refuse_problems,
    transposed_projection,
};
use crate::model::spec::{Family, ModelSpec, TextSpec};
use crate::model::tower::{Block, Text, TowerShape, Vision};
use crate::model::weights::TensorReader;
use serde_json::Value;
use std::path::Path;

/// Keys of a CLIP configuration itself.
const MODEL_READ: [&str; 6] = [
    "projection_dim",
    "vision_config",
    "vision_config_dict",
    "text_config",
    "text_config_dict",
    // The scale of logits, which are not used.
    "logit_scale_init_value",
];
/// Keys of a tower that are read, and those for training alone. A tower's own `projection_dim` is not
/// used by `CLIPModel`.
const TOWER_READ: [&str; 14] = [
    "image_size",
    "patch_size",
    "num_channels",
    "max_position_embeddings",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "projection_dim",
    "attention_dropout",
    "dropout",
];
/// Ids of the end token with which the largest id of a prompt marks its end: the tokenizer's own, and
/// the 2 of old configurations, which means the same.
const END_TOKENS: [f64; 2] = [49407.0, 2.0];

/// Keys of `vision_config`.
#[derive(PartialEq)]
struct ClipVisionKeys {
    side: usize,
    patch: usize,
    blocks: usize,
    mlp: usize,
    channels: usize,
    shape: TowerShape,
}

/// Keys of `text_config`.
#[derive(PartialEq)]
struct ClipTextKeys {
    context: usize,
    vocabulary: usize,
    blocks: usize,
    mlp: usize,
    shape: TowerShape,
}

impl ClipTextKeys {
    fn spec(&self) -> TextSpec {
        TextSpec {
            context: self.context,
            vocabulary: self.vocabulary,
            width: self.shape.width,
        }
    }
}

/// The layout of a configuration, which was read from `path`, and of its preprocessor's.
///
/// # Errors
/// All keys that cannot be run.
pub fn layout(
    config: &Value,
    preprocessor: &Value,
    path: &Path,
) -> Result<SourceLayout, ModelError> {
    // All keys are read before anything is refused, so that one run tells all of them. Defaults are
    // transformers' own (`CLIPVisionConfig`, `CLIPTextConfig`).
    let mut problems = Problems::new();
    let mut keys = Keys::new(Some(config), "", &mut problems);
    let embed = keys.count("projection_dim", Some(512));
    keys.refuse(&TRANSFORMERS_REFUSED);
    keys.refuse_unknown(&[&MODEL_READ, &TRANSFORMERS, &names(&TRANSFORMERS_REFUSED)]);
    let vision = one_of(
        config,
        ["vision_config", "vision_config_dict"],
        vision_keys,
        &mut problems,
    );

    let text = one_of(
        config,
        ["text_config", "text_config_dict"],
        text_keys,
        &mut problems,
    );

    check_sizes(&vision, &text, &mut problems);

    // The preprocessor's file may be missing; CLIP's constants are then used, as transformers does.
    let normalisation =
        CLIP_NORMALISATION.or_configured(Some(preprocessor), "", "image_", &mut problems);

    // From here on all sizes are right.
    refuse_problems(problems, path)?;
    Ok(SourceLayout {
        spec: ModelSpec {
            family: Family::Clip,
            side: vision.side,
            patch: vision.patch,
            width: vision.shape.width,
            blocks: vision.blocks,
            heads: vision.shape.heads,
            mlp: vision.mlp,
            embed,
            mean: normalisation.mean,
            std: normalisation.std,
            text: Some(text.spec()),
            registers: 0,
            antialias: false,
            default_block: None,
        },
        format: WeightLayout::Clip,
        weights: "model.safetensors",
        vision: vision.shape,
        // CLIP's text tower always has a causal mask; the configuration has no key for it.
        text: Some(TextLayout {
            shape: text.shape,
            blocks: text.blocks,
            mlp: text.mlp,
            causal: true,
        }),
    })
}

/// Notes sizes that do not fit each other.
fn check_sizes(vision: &ClipVisionKeys, text: &ClipTextKeys, problems: &mut Problems) {
    // Sizes that do not fit each other are refused here, while the key can still be named; later
    // they would be shapes of tensors.
    check_text(
        text.context,
        text.vocabulary,
        text.shape.width,
        text.shape.heads,
        "text_config",
        problems,
    );

    check_transformers(
        vision.shape.width,
        vision.shape.heads,
        vision.channels,
        "vision_config",
        problems,
    );

    check_grid(
        vision.side,
        vision.patch,
        "vision_config.image_size",
        problems,
    );
}

/// Keys of a tower, which a configuration may have under two names. Versions of transformers differ in
/// which of the two they follow: both must say the same.
fn one_of<K: PartialEq>(
    config: &Value,
    [name, other]: [&'static str; 2],
    read: fn(&Value, &'static str, &mut Problems) -> K,
    problems: &mut Problems,
) -> K {
    let is_there = |name: &str| config.get(name).is_some_and(|value| !value.is_null());

    if !is_there(other) {
        return read(config, name, problems);
    }

    let found = read(config, other, problems);
    if is_there(name) && read(config, name, problems) != found {
        let words = format!("says another tower than {name}; remove the wrong one of the two");
        problems.note(other, words);
    }

    found
}

/// Notes the keys of a tower that are not known or must be unused.
fn check_tower(keys: &mut Keys) {
    keys.refuse(&TRANSFORMERS_REFUSED);
    keys.refuse_unknown(&[&TOWER_READ, &TRANSFORMERS, &names(&TRANSFORMERS_REFUSED)]);
}

fn vision_keys(config: &Value, place: &'static str, problems: &mut Problems) -> ClipVisionKeys {
    // A missing object is read as an empty one, as transformers reads it.
    let mut keys = Keys::new(config.get(place), place, problems);
    check_tower(&mut keys);
    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(32));
    let width = keys.count("hidden_size", Some(768));
    let blocks = keys.count("num_hidden_layers", Some(12));
    let heads = keys.count("num_attention_heads", Some(12));
    let mlp = keys.count("intermediate_size", Some(3072));
    let channels = keys.count("num_channels", Some(3));

    // The activation and the epsilon go to the graph; all others are sizes of tensors.
    ClipVisionKeys {
        side,
        patch,
        blocks,
        mlp,
        channels,
        shape: TowerShape {
            width,
            heads,
            activation: keys.clip_activation(),
            epsilon: keys.number("layer_norm_eps", Some(1e-5)) as f32,
        },
    }
}

fn text_keys(config: &Value, place: &'static str, problems: &mut Problems) -> ClipTextKeys {
    // Read as the vision tower's keys are.
    let mut keys = Keys::new(config.get(place), place, problems);
    check_tower(&mut keys);
    let end = keys.value("eos_token_id").and_then(Value::as_f64);

    if let Some(end) = end
        && !END_TOKENS.contains(&end)
    {
        let words = format!("{end} cannot be run: the end of a prompt is the token 49407");
        keys.note("eos_token_id", words);
    }

    let context = keys.count("max_position_embeddings", Some(77));
    let vocabulary = keys.count("vocab_size", Some(49408));
    let width = keys.count("hidden_size", Some(512));
    let blocks = keys.count("num_hidden_layers", Some(12));
    let heads = keys.count("num_attention_heads", Some(8));
    let mlp = keys.count("intermediate_size", Some(2048));
    let epsilon = keys.number("layer_norm_eps", Some(1e-5)) as f32;
    ClipTextKeys {
        context,
        vocabulary,
        blocks,
        mlp,
        shape: TowerShape {
            width,
            heads,
            activation: keys.clip_activation(),
            epsilon,
        },
    }
}

/// The vision tower's weights.
pub fn vision(layout: &SourceLayout, reader: &mut TensorReader) -> Vision {
    // `width` is D, and `cells` is P, the cells of the native grid.
    let spec = &layout.spec;
    let width = spec.width;
    let cells = spec.grid().cells();

    // The token is [D] and the positions are [1 + P, D], with the class token's in row 0.
    let token = reader.tensor("vision_model.embeddings.class_embedding", &[width]);
    let positions = reader.tensor(
        "vision_model.embeddings.position_embedding.weight",
        &[1 + cells, width],
    );

    // `start` has the class token with its position, [D], and the patches' positions, [P, D].
    let start = ClassAndPositions::new(&token, &positions, width);

    // The projection is [D, E], stored as [E, D].
    let projection = transposed_projection(reader, "visual_projection.weight", width, spec.embed);

    // The convolution is [D, 3, p, p]: a patch's pixels, channel by channel.
    let convolution_shape = [width, 3, spec.patch, spec.patch];
    Vision {
        shape: layout.vision,
        patch: spec.patch,
        convolution: reader.tensor(
            "vision_model.embeddings.patch_embedding.weight",
            &convolution_shape,
        ),
        convolution_bias: None,
        class: start.class,
        positions: start.positions,
        registers: Vec::new(),
        // The name is misspelt in transformers, and so in every file of weights.
        norm_pre: Some(reader.norm("vision_model.pre_layrnorm", width)),
        blocks: read_blocks(
            "vision_model.encoder.layers",
            spec.blocks,
            layout.vision,
            |names| block(reader, names, width, spec.mlp),
        ),
        norm_post: reader.norm("vision_model.post_layernorm", width),
        projection: Some(projection),
    }
}

/// The text tower's weights.
pub fn text(
    layout: &SourceLayout,
    text: &TextLayout,
    spec: &TextSpec,
    reader: &mut TensorReader,
) -> Text {
    // The projection is [width, E], stored as [E, width].
    let width = spec.width;
    let projection =
        transposed_projection(reader, "text_projection.weight", width, layout.spec.embed);

    Text {
        shape: text.shape,
        context: spec.context,
        vocabulary: spec.vocabulary,
        // The embedding has a row for each token of the vocabulary, [vocabulary, width].
        embedding: reader.tensor(
            "text_model.embeddings.token_embedding.weight",
            &[spec.vocabulary, width],
        ),
        // The positions have a row for each place in a prompt, [C, width].
        positions: reader.tensor(
            "text_model.embeddings.position_embedding.weight",
            &[spec.context, width],
        ),
        causal: text.causal,
        blocks: read_blocks(
            "text_model.encoder.layers",
            text.blocks,
            text.shape,
            |names| block(reader, names, width, text.mlp),
        ),
        norm_final: reader.norm("text_model.final_layer_norm", width),
        projection,
    }
}

// The matrices are [D, D], but `up` [D, mlp] and `down` [mlp, D]; all of them have biases.
fn block(reader: &mut TensorReader, names: &BlockNames, width: usize, mlp: usize) -> Block {
    Block {
        norm1: reader.norm(&names.part("layer_norm1"), width),
        query: reader.linear(&names.part("self_attn.q_proj"), width, width),
        key: reader.linear(&names.part("self_attn.k_proj"), width, width),
        value: reader.linear(&names.part("self_attn.v_proj"), width, width),
        out: reader.linear(&names.part("self_attn.out_proj"), width, width),
        norm2: reader.norm(&names.part("layer_norm2"), width),
        up: reader.linear(&names.part("mlp.fc1"), width, mlp),
        down: reader.linear(&names.part("mlp.fc2"), mlp, width),
    }
}
