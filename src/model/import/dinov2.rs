//! transformers' `Dinov2Model` and `Dinov2WithRegistersModel`: `config.json` and `model.safetensors`.
//! They have no text tower.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::import::keys::{Keys, RefusedKey, TRANSFORMERS, TRANSFORMERS_REFUSED, names};
use crate::model::import::layout::{
    BlockNames, ClassAndPositions, IMAGENET_NORMALISATION, SourceLayout, WeightLayout, check_grid,
    check_transformers, read_blocks, refuse_problems, scale_columns,
};
use crate::model::spec::{Family, ModelSpec};
use crate::model::tower::{Activation, Block, TowerShape, Vision};
use crate::model::weights::TensorReader;
use serde_json::Value;
use std::path::Path;

/// `model_type` of `Dinov2WithRegistersModel`.
pub const WITH_REGISTERS: &str = "dinov2_with_registers";

const REFUSED: [RefusedKey; 1] = [("use_swiglu_ffn", &[], "DINOv2 giant's SwiGLU MLP")];
/// The key of the register tokens' number, which `Dinov2Model` does not have.
const REGISTERS: RefusedKey = (
    "num_register_tokens",
    &[],
    "register tokens belong to model_type \"dinov2_with_registers\"",
);
/// Registers of `Dinov2WithRegistersConfig` where none are named.
const REGISTERS_BY_DEFAULT: usize = 4;

/// Keys that are read.
const READ: [&str; 10] = [
    "image_size",
    "patch_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "mlp_ratio",
    "qkv_bias",
    "hidden_act",
    "layer_norm_eps",
];
/// Keys for training, and for outputs that are not used. The layer scale's own values are weights.
const UNUSED: [&str; 9] = [
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "drop_path_rate",
    "layerscale_value",
    "apply_layernorm",
    "reshape_hidden_states",
    "out_features",
    "out_indices",
    "stage_names",
];
/// A key for training alone, as is the tensor that it announces.
const MASK_TOKEN: [&str; 1] = ["use_mask_token"];

/// Names of the attention's layers: query, key, value, out.
const ATTENTION: [&str; 4] = [
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
];
/// Names of the attention's layers from transformers 5 on.
const ATTENTION_5: [&str; 4] = [
    "attention.q_proj",
    "attention.k_proj",
    "attention.v_proj",
    "attention.o_proj",
];

/// The layout of a configuration, which was read from `path`, and of its preprocessor's.
///
/// # Errors
/// All keys that cannot be run.
pub fn layout(
    config: &Value,
    preprocessor: &Value,
    path: &Path,
) -> Result<SourceLayout, ModelError> {
    // All keys are read before anything is refused. Defaults are transformers' own
    // (`Dinov2Config`, `Dinov2WithRegistersConfig`).
    let mut problems = Problems::new();
    let mut keys = Keys::new(Some(config), "", &mut problems);
    refuse_keys(&mut keys);
    let has_registers = keys.text("model_type") == Some(WITH_REGISTERS);
    let mut registers = 0;

    if has_registers {
        registers = keys.count_or_none(REGISTERS.0, REGISTERS_BY_DEFAULT);
    } else {
        keys.refuse(&[REGISTERS]);
    }

    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(16));
    let width = keys.count("hidden_size", Some(768));
    let blocks = keys.count("num_hidden_layers", Some(12));
    let heads = keys.count("num_attention_heads", Some(12));
    let channels = keys.count("num_channels", Some(3));

    // DINOv2's configuration has a ratio here, where CLIP's has the width itself.
    let mlp = keys.mlp_by_ratio(width);

    // The epsilon is 1e-6 here, while CLIP's is 1e-5.
    let epsilon = keys.number("layer_norm_eps", Some(1e-6)) as f32;
    check_transformers(width, heads, channels, "hidden_size", &mut problems);
    check_grid(side, patch, "image_size", &mut problems);

    // ImageNet's constants are used where the preprocessor's file is missing.
    let normalisation =
        IMAGENET_NORMALISATION.or_configured(Some(preprocessor), "", "image_", &mut problems);

    refuse_problems(problems, path)?;
    Ok(SourceLayout {
        // The spec is all that the engine must know to run the graphs.
        spec: ModelSpec {
            family: Family::Dinov2,
            side,
            patch,
            width,
            blocks,
            heads,
            mlp,
            // There is no projection: the class token after the last norm is the embedding.
            embed: width,
            mean: normalisation.mean,
            std: normalisation.std,
            text: None,
            registers,
            // Of the two models, only that with registers interpolates so.
            antialias: has_registers,
            default_block: None,
        },
        format: WeightLayout::Dinov2,
        weights: "model.safetensors",
        vision: TowerShape {
            width,
            heads,
            activation: Activation::Gelu,
            epsilon,
        },
        text: None,
    })
}

/// Notes keys that are not known or must be unused, and values for which there is no graph.
fn refuse_keys(keys: &mut Keys) {
    // These keys would change the number of tokens or the form of the MLP.
    keys.refuse(&REFUSED);
    keys.refuse(&TRANSFORMERS_REFUSED);
    keys.refuse_unknown(&[
        &READ,
        &UNUSED,
        &MASK_TOKEN,
        &names(&REFUSED),
        &[REGISTERS.0],
        &TRANSFORMERS,
        &names(&TRANSFORMERS_REFUSED),
    ]);

    // The graph adds a bias in each linear layer.
    if keys.flag("qkv_bias") == Some(false) {
        // No published DINOv2 lacks these biases.
        let words = "false cannot be run: queries, keys and values need a bias";
        keys.note("qkv_bias", words);
    }

    // Only the exact GELU can be run; its tanh form, which other models use, is another function.
    let activation = keys.text("hidden_act").unwrap_or("gelu");

    if activation != "gelu" {
        let words = format!("{activation:?} cannot be run; \"gelu\" can");
        keys.note("hidden_act", words);
    }
}

/// The vision tower's weights.
pub fn vision(layout: &SourceLayout, reader: &mut TensorReader) -> Vision {
    // `width` is D, and `cells` is P, the cells of the native grid: 37 x 37 for the published
    // models.
    let spec = &layout.spec;
    let width = spec.width;
    let cells = spec.grid().cells();

    // The token is [1, 1, D] and the positions are [1, 1 + P, D], with the class token's in row 0.
    let token = reader.tensor("embeddings.cls_token", &[1, 1, width]);
    let positions_shape = [1, 1 + cells, width];
    let positions = reader.tensor("embeddings.position_embeddings", &positions_shape);
    let start = ClassAndPositions::new(&token, &positions, width);

    // The registers come behind class token and positions, and have no positions.
    let mut registers = Vec::new();

    if spec.registers > 0 {
        let shape = [1, spec.registers, width];
        registers = reader.tensor("embeddings.register_tokens", &shape);
    }

    // The convolution is [D, 3, p, p] and has a bias [D], which CLIP's towers lack.
    let convolution = "embeddings.patch_embeddings.projection";
    let convolution_shape = [width, 3, spec.patch, spec.patch];
    Vision {
        shape: layout.vision,
        patch: spec.patch,
        convolution: reader.tensor(&format!("{convolution}.weight"), &convolution_shape),
        convolution_bias: Some(reader.tensor(&format!("{convolution}.bias"), &[width])),
        class: start.class,
        positions: start.positions,
        registers,
        // The tokens go into the first block as they are.
        norm_pre: None,
        // The prefix is `encoder.layer` without an s, where CLIP has `encoder.layers`.
        blocks: read_blocks("encoder.layer", spec.blocks, layout.vision, |names| {
            block(reader, names, width, spec.mlp)
        }),
        // This is the only norm outside of the blocks.
        norm_post: reader.norm("layernorm", width),
        projection: None,
    }
}

/// One block, with the layer scales in the matrices before them.
fn block(reader: &mut TensorReader, names: &BlockNames, width: usize, mlp: usize) -> Block {
    // The tensors were renamed in transformers 5; weights on the hub have the older names.
    let is_5 = reader.has(&names.part("attention.q_proj.weight"));
    let [query, key, value, out] = if is_5 { ATTENTION_5 } else { ATTENTION };

    let norm1 = reader.norm(&names.part("norm1"), width);

    // The matrices of the attention are all [D, D].
    let query = reader.linear(&names.part(query), width, width);
    let key = reader.linear(&names.part(key), width, width);
    let value = reader.linear(&names.part(value), width, width);
    let mut out = reader.linear(&names.part(out), width, width);

    let norm2 = reader.norm(&names.part("norm2"), width);

    // `up` is [D, mlp] and `down` is [mlp, D].
    let up = reader.linear(&names.part("mlp.fc1"), width, mlp);
    let mut down = reader.linear(&names.part("mlp.fc2"), mlp, width);

    // Layer scales [D] multiply the outputs of attention and MLP before the residual sums: the same
    // as scaled columns of the matrices that make them.
    let attention_scale = reader.tensor(&names.part("layer_scale1.lambda1"), &[width]);

    // The scales [D] go onto the columns of [D, D], then of [mlp, D].
    scale_columns(&mut out, &attention_scale);
    let mlp_scale = reader.tensor(&names.part("layer_scale2.lambda1"), &[width]);
    scale_columns(&mut down, &mlp_scale);

    Block {
        norm1,
        query,
        key,
        value,
        out,
        norm2,
        up,
        down,
    }
}
