//! timm's DINOv2: a hub folder's `config.json` names an architecture, whose sizes are timm's own
//! (`timm/models/vision_transformer.py`), and `model_args` what differs from it. It has no text tower.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::import::keys::Keys;
use crate::model::import::layout::{
    BlockNames, IMAGENET_NORMALISATION, Normalisation, SourceLayout, WeightLayout, check_grid,
    check_transformers, packed_attention, read_blocks, refuse_problems, scale_columns,
};
use crate::model::spec::{Family, ModelSpec};
use crate::model::tower::{Activation, Block, TowerShape, Vision};
use crate::model::weights::TensorReader;
use serde_json::Value;
use std::path::Path;

/// Sizes of one of timm's architectures.
struct Architecture {
    name: &'static str,
    width: usize,
    blocks: usize,
    heads: usize,
    registers: usize,
}

/// The architectures that can be imported. DINOv2 giant has a SwiGLU MLP.
const ARCHITECTURES: [Architecture; 6] = [
    architecture("vit_small_patch14_dinov2", 384, 12, 6, 0),
    architecture("vit_base_patch14_dinov2", 768, 12, 12, 0),
    architecture("vit_large_patch14_dinov2", 1024, 24, 16, 0),
    architecture("vit_small_patch14_reg4_dinov2", 384, 12, 6, 4),
    architecture("vit_base_patch14_reg4_dinov2", 768, 12, 12, 4),
    architecture("vit_large_patch14_reg4_dinov2", 1024, 24, 16, 4),
];

const fn architecture(
    name: &'static str,
    width: usize,
    blocks: usize,
    heads: usize,
    registers: usize,
) -> Architecture {
    Architecture {
        name,
        width,
        blocks,
        heads,
        registers,
    }
}

/// Patch side in pixels of all of them.
const PATCH: usize = 14;
/// Side in pixels that all of them were trained for.
const SIDE: usize = 518;
/// Epsilon of timm's `LayerNorm`.
const EPSILON: f32 = 1e-6;

/// Keys of `config.json`. The second line is the classifier's, which has no weights here.
const OUTER: [&str; 8] = [
    "architecture",
    "pretrained_cfg",
    "model_args",
    "num_classes",
    "num_features",
    "global_pool",
    "label_names",
    "label_descriptions",
];

/// Keys of `pretrained_cfg`: timm's `PretrainedCfg`, of which only these change a tower or its pixels.
const READ: [&str; 5] = [
    "input_size",
    "mean",
    "std",
    "fixed_input_size",
    "global_pool",
];
/// Keys of `pretrained_cfg` about weights' origin, crops, the classifier, and for people.
const UNUSED: [&str; 28] = [
    "url",
    "file",
    "hf_hub_id",
    "hf_hub_filename",
    "source",
    "architecture",
    "tag",
    "custom_load",
    "test_input_size",
    "min_input_size",
    "interpolation",
    "crop_pct",
    "test_crop_pct",
    "crop_mode",
    "num_classes",
    "label_offset",
    "label_names",
    "label_descriptions",
    "pool_size",
    "test_pool_size",
    "first_conv",
    "classifier",
    "license",
    "description",
    "origin_url",
    "paper_name",
    "paper_ids",
    "notes",
];

/// Keys of `model_args` that are read.
const ARGUMENTS: [&str; 10] = [
    "img_size",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "reg_tokens",
    "no_embed_class",
    "in_chans",
    "global_pool",
];
/// Keys of `model_args` for training, for the classifier, and for any input size, which is how
/// positions are resampled here.
const UNUSED_ARGUMENTS: [&str; 9] = [
    "init_values",
    "num_classes",
    "dynamic_img_size",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
];

/// True if this is a configuration of timm's: no other library's names its architecture so.
pub fn is_timm(config: &Value) -> bool {
    let architecture = config.get("architecture");

    architecture.is_some_and(Value::is_string)
}

/// The layout of a configuration, which was read from `path`.
///
/// # Errors
/// All keys that cannot be run.
pub fn layout(config: &Value, path: &Path) -> Result<SourceLayout, ModelError> {
    // All keys are read before anything is refused. Defaults are timm's own (`VisionTransformer`, and the
    // functions of the architectures).
    let mut problems = Problems::new();

    // The outer keys name the architecture.
    let mut outer = Keys::new(Some(config), "", &mut problems);
    outer.refuse_unknown(&[&OUTER]);
    check_pool(&mut outer);
    let architecture = known_architecture(&mut outer);

    // Then come the constants that the weights were trained with.
    let (side, normalisation) = pretrained(config.get("pretrained_cfg"), &mut problems);

    // Arguments come before the architecture's sizes and before `input_size`, as in timm.
    let mut keys = Keys::new(config.get("model_args"), "model_args", &mut problems);
    keys.refuse_unknown(&[&ARGUMENTS, &UNUSED_ARGUMENTS]);
    check_pool(&mut keys);

    // A tower of other sizes than its architecture's is timm's own way to name one that was changed.
    let side = keys.side("img_size", Some(side));
    let patch = keys.side("patch_size", Some(PATCH));
    let width = keys.count("embed_dim", Some(architecture.width));
    let blocks = keys.count("depth", Some(architecture.blocks));
    let heads = keys.count("num_heads", Some(architecture.heads));
    let channels = keys.count("in_chans", Some(3));
    let mlp = keys.mlp_by_ratio(width);

    // timm counts registers and class token as prefix tokens; which of them have positions is a key.
    let registers = keys.count_or_none("reg_tokens", architecture.registers);
    let no_embed_class = keys.flag("no_embed_class");
    check_transformers(
        width,
        heads,
        channels,
        "model_args.embed_dim",
        &mut problems,
    );

    check_grid(side, patch, "model_args.img_size", &mut problems);

    // From here on all sizes are right.
    refuse_problems(problems, path)?;
    Ok(SourceLayout {
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
            // `resample_abs_pos_embed` does so for every model.
            antialias: true,
            default_block: None,
        },
        format: WeightLayout::TimmDinov2 {
            // timm's architectures with registers have positions for the patches alone.
            patches_alone: no_embed_class.unwrap_or(architecture.registers > 0),
        },
        weights: "model.safetensors",
        vision: TowerShape {
            width,
            heads,
            activation: Activation::Gelu,
            epsilon: EPSILON,
        },
        text: None,
    })
}

/// Side in pixels and normalisation out of `pretrained_cfg`.
fn pretrained(value: Option<&Value>, problems: &mut Problems) -> (usize, Normalisation) {
    // An absent table has timm's defaults, which are those of the published models here.
    let mut keys = Keys::new(value, "pretrained_cfg", problems);
    keys.refuse_unknown(&[&READ, &UNUSED]);
    check_pool(&mut keys);
    let side = input_side(&mut keys);

    // Where the table names no constants, those of the published models count.
    let constants = IMAGENET_NORMALISATION;
    let normalisation = constants.or_configured(value, "pretrained_cfg.", "", problems);

    (side, normalisation)
}

/// The architecture that a configuration names; notes one that has no sizes here.
fn known_architecture(keys: &mut Keys) -> &'static Architecture {
    // The name alone gives the sizes, which stand nowhere else in the folder.
    let name = keys.text("architecture").unwrap_or_default();
    let known = ARCHITECTURES.iter().find(|known| known.name == name);

    // Reading goes on with any sizes, so that all problems are told at once.
    known.unwrap_or_else(|| {
        let words = if name.starts_with("vit_giant") {
            format!("{name:?} cannot be run: DINOv2 giant's SwiGLU MLP")
        } else {
            let names = ARCHITECTURES.map(|known| known.name).join(", ");
            format!("{name:?} cannot be run; {names} can")
        };

        keys.note("architecture", words);
        &ARCHITECTURES[0]
    })
}

/// Notes a pooling other than that of the class token, with which the last norm stands elsewhere.
fn check_pool(keys: &mut Keys) {
    // An empty name pools nothing and leaves all tokens, the class token's among them.
    let pool = keys.text("global_pool").unwrap_or("token");
    let can_be_run = ["token", ""].contains(&pool);

    if !can_be_run {
        let words = format!("{pool:?} cannot be run; \"token\" can");
        keys.note("global_pool", words);
    }
}

/// The side that `input_size` (channels, height, width) says, or that of the published models. Only a
/// fixed size is the tower's own.
fn input_side(keys: &mut Keys) -> usize {
    let size = keys.value("input_size");
    let is_fixed = keys.flag("fixed_input_size").unwrap_or(true);
    let Some(size) = size.filter(|_| is_fixed) else {
        return SIDE;
    };

    // Channels, height and width; what is no whole number is dropped, and the count wrong then.
    let numbers: Vec<u64> = size
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();

    match numbers[..] {
        [3, height, width] if height == width && (1..1 << 20).contains(&height) => height as usize,
        _ => {
            let words = format!("must be [3, side, side]: RGB and a square, got {size}");
            keys.note("input_size", words);

            SIDE
        }
    }
}

/// The vision tower's weights. `patches_alone` is timm's `no_embed_class`: class token and registers
/// have no positions.
pub fn vision(layout: &SourceLayout, patches_alone: bool, reader: &mut TensorReader) -> Vision {
    // `width` is D, and `cells` is P, the cells of the native grid.
    let spec = &layout.spec;
    let width = spec.width;
    let cells = spec.grid().cells();

    // The tokens that are no patches have rows of their own among the positions, or none.
    let own = if patches_alone { 0 } else { 1 + spec.registers };
    let positions = reader.tensor("pos_embed", &[1, own + cells, width]);

    let mut class = reader.tensor("cls_token", &[1, 1, width]);
    let mut registers = Vec::new();

    if spec.registers > 0 {
        let shape = [1, spec.registers, width];
        registers = reader.tensor("reg_token", &shape);
    }

    // Their own positions stand before those of the patches, the class token's first. They are
    // added once here rather than for each picture.
    let own_values = own * width;

    // A tensor that is missing was read as an empty one, and is refused later.
    let (first, patches) = positions.split_at(own_values.min(positions.len()));
    let own_tokens = class.iter_mut().chain(&mut registers);

    for (token, position) in own_tokens.zip(first) {
        *token += position;
    }

    // The rest is named otherwise than in transformers, and computes the same.
    let convolution_shape = [width, 3, spec.patch, spec.patch];
    Vision {
        shape: layout.vision,
        patch: spec.patch,
        convolution: reader.tensor("patch_embed.proj.weight", &convolution_shape),
        convolution_bias: Some(reader.tensor("patch_embed.proj.bias", &[width])),
        class,
        positions: patches.to_vec(),
        registers,
        norm_pre: None,
        blocks: read_blocks("blocks", spec.blocks, layout.vision, |names| {
            block(reader, names, width, spec.mlp)
        }),
        norm_post: reader.norm("norm", width),
        projection: None,
    }
}

/// One block, with the layer scales in the matrices before them.
fn block(reader: &mut TensorReader, names: &BlockNames, width: usize, mlp: usize) -> Block {
    // Queries, keys and values are one tensor in the file, and three matrices in the graph.
    let packed = names.part("attn.qkv.");
    let [query, key, value] = packed_attention(reader, &packed, width);
    let norm1 = reader.norm(&names.part("norm1"), width);
    let mut out = reader.linear(&names.part("attn.proj"), width, width);

    let norm2 = reader.norm(&names.part("norm2"), width);

    // The MLP goes from D to its own width, and back.
    let up = reader.linear(&names.part("mlp.fc1"), width, mlp);
    let mut down = reader.linear(&names.part("mlp.fc2"), mlp, width);

    // Layer scales [D] multiply the outputs of attention and MLP: the same as scaled columns of the
    // matrices that make them.
    let attention_scale = reader.tensor(&names.part("ls1.gamma"), &[width]);
    scale_columns(&mut out, &attention_scale);
    let mlp_scale = reader.tensor(&names.part("ls2.gamma"), &[width]);
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
