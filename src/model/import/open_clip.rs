//! open_clip's hub folders: `open_clip_config.json` and `open_clip_model.safetensors`.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::import::keys::{Keys, RefusedKey, names};
use crate::model::import::layout::{
    BlockNames, CLIP_NORMALISATION, ClassAndPositions, SourceLayout, TextLayout, WeightLayout,
    check_grid, check_head_width, check_text, packed_attention, projection, read_blocks,
    refuse_problems,
};
use crate::model::spec::{Family, ModelSpec, TextSpec};
use crate::model::tower::{Activation, Block, Text, TowerShape, Vision};
use crate::model::weights::TensorReader;
use serde_json::Value;
use std::path::Path;

const MODEL_REFUSED: [RefusedKey; 2] = [
    ("custom_text", &[], "a text tower of another kind"),
    ("multimodal_cfg", &[], "CoCa's decoder"),
];

const VISION_REFUSED: [RefusedKey; 16] = [
    ("timm_model_name", &[], "timm towers"),
    ("attentional_pool", &[], "attentional pooling"),
    ("attn_pooler_queries", &[], "attentional pooling"),
    ("pool_type", &["tok"], "only the class token is pooled"),
    ("no_ln_pre", &[], "a tower without ln_pre"),
    ("input_patchnorm", &[], "normalised patches"),
    ("ls_init_value", &[], "layer scale in an open_clip tower"),
    ("global_average_pool", &[], "average pooling"),
    ("final_ln_after_pool", &[], "pooling before the norm"),
    ("pos_embed_type", &["learnable"], "only learnt positions"),
    ("act_kwargs", &[], "activation arguments"),
    ("norm_kwargs", &[], "norm arguments"),
    ("block_type", &["default"], "only plain blocks"),
    ("qk_norm", &[], "normalised queries"),
    ("scale_attn", &[], "scaled attention"),
    ("scaled_cosine_attn", &[], "cosine attention"),
];

const TEXT_REFUSED: [RefusedKey; 10] = [
    ("hf_model_name", &[], "a text tower of transformers"),
    ("hf_tokenizer_name", &[], "another tokenizer"),
    ("ls_init_value", &[], "layer scale in the text tower"),
    ("pool_type", &["argmax", "tok"], "only the end token's row"),
    ("proj_type", &["linear"], "only a linear projection"),
    ("proj_bias", &[], "a projection with bias"),
    ("embed_cls", &[], "a class token in the text"),
    ("act_kwargs", &[], "activation arguments"),
    ("norm_kwargs", &[], "norm arguments"),
    ("block_type", &["default"], "only plain blocks"),
];

/// Keys of `model_cfg` that are read, and those of logits, which are not used.
const MODEL_KNOWN: [&str; 8] = [
    "embed_dim",
    "quick_gelu",
    "vision_cfg",
    "text_cfg",
    "init_logit_scale",
    "nonscalar_logit_scale",
    "cast_dtype",
    "output_dict",
];
/// Keys of `vision_cfg` that are read, those for training alone, and those of towers that are refused
/// by another key.
const VISION_KNOWN: [&str; 18] = [
    "image_size",
    "patch_size",
    "width",
    "layers",
    "head_width",
    "mlp_ratio",
    "patch_dropout",
    "output_tokens",
    "attn_pooler_heads",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
    "timm_use_ln_pre",
    "timm_kwargs",
    "drop_path",
];
/// Keys of `text_cfg`, alike.
const TEXT_KNOWN: [&str; 12] = [
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "no_causal_mask",
    "output_tokens",
    "pad_id",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
];

/// Keys of `vision_cfg`.
struct OpenClipVisionKeys {
    side: usize,
    patch: usize,
    width: usize,
    blocks: usize,
    head_width: usize,
    mlp: usize,
}

/// Keys of `text_cfg`.
struct OpenClipTextKeys {
    context: usize,
    vocabulary: usize,
    width: usize,
    heads: usize,
    blocks: usize,
    mlp: usize,
    causal: bool,
}

impl OpenClipTextKeys {
    fn spec(&self) -> TextSpec {
        TextSpec {
            context: self.context,
            vocabulary: self.vocabulary,
            width: self.width,
        }
    }
}

/// The layout of a configuration, which was read from `path`.
///
/// # Errors
/// All keys that cannot be run.
pub fn layout(config: &Value, path: &Path) -> Result<SourceLayout, ModelError> {
    // All keys are read before anything is refused, so that one run tells all of them.
    let mut problems = Problems::new();

    // Hub folders have the configuration under `model_cfg`; files out of open_clip's own repository
    // are that part alone.
    let model = config.get("model_cfg").unwrap_or(config);
    let mut keys = Keys::new(Some(model), "model_cfg", &mut problems);

    // The embedding's length has no default in open_clip.
    let embed = keys.count("embed_dim", None);
    let is_quick = keys.flag("quick_gelu").unwrap_or(false);

    // Each refused key would change the graph; ignored, it would give wrong features in silence.
    keys.refuse(&MODEL_REFUSED);
    keys.refuse_unknown(&[&MODEL_KNOWN, &names(&MODEL_REFUSED)]);
    let vision = vision_keys(model, &mut problems);
    let text = text_keys(model, &mut problems);
    check_grid(
        vision.side,
        vision.patch,
        "model_cfg.vision_cfg.image_size",
        &mut problems,
    );

    // The preprocessing's constants are in the same file here.
    let normalisation = CLIP_NORMALISATION.or_configured(
        config.get("preprocess_cfg"),
        "preprocess_cfg.",
        "",
        &mut problems,
    );

    refuse_problems(problems, path)?;

    // Sizes are right from here on. open_clip tells the heads of the vision tower by their width,
    // and those of the text tower by their number.
    let heads = vision.width / vision.head_width;
    let shape = |width, heads| TowerShape {
        width,
        heads,
        activation: if is_quick {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        },
        epsilon: 1e-5,
    };

    Ok(SourceLayout {
        spec: ModelSpec {
            family: Family::OpenClip,
            side: vision.side,
            patch: vision.patch,
            width: vision.width,
            blocks: vision.blocks,
            heads,
            mlp: vision.mlp,
            embed,
            mean: normalisation.mean,
            std: normalisation.std,
            text: Some(text.spec()),
            registers: 0,
            antialias: false,
            default_block: None,
        },
        format: WeightLayout::OpenClip,
        weights: "open_clip_model.safetensors",
        vision: shape(vision.width, heads),
        text: Some(TextLayout {
            shape: shape(text.width, text.heads),
            blocks: text.blocks,
            mlp: text.mlp,
            causal: text.causal,
        }),
    })
}

fn vision_keys(model: &Value, problems: &mut Problems) -> OpenClipVisionKeys {
    // A list of layers is a ResNet's, four stages of blocks. It is noted once, and its other keys
    // are still checked.
    let place = "model_cfg.vision_cfg";
    let mut keys = Keys::new(model.get("vision_cfg"), place, problems);
    let is_resnet = keys.value("layers").is_some_and(Value::is_array);

    if is_resnet {
        let words = "a list: ResNet towers cannot be run, only ViT";
        keys.note("layers", words);
    }

    keys.refuse(&VISION_REFUSED);
    keys.refuse_unknown(&[&VISION_KNOWN, &names(&VISION_REFUSED)]);
    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(16));
    let width = keys.count("width", Some(768));
    let blocks = if is_resnet {
        1
    } else {
        keys.count("layers", Some(12))
    };

    // 64 values a head are open_clip's default for every width.
    let head_width = keys.count("head_width", Some(64));
    let mlp = keys.mlp_by_ratio(width);
    check_head_width(
        width,
        head_width,
        "model_cfg.vision_cfg.head_width",
        problems,
    );

    OpenClipVisionKeys {
        side,
        patch,
        width,
        blocks,
        head_width,
        mlp,
    }
}

fn text_keys(model: &Value, problems: &mut Problems) -> OpenClipTextKeys {
    // Defaults are open_clip's own (`CLIPTextCfg`).
    let place = "model_cfg.text_cfg";
    let mut keys = Keys::new(model.get("text_cfg"), place, problems);
    keys.refuse(&TEXT_REFUSED);
    keys.refuse_unknown(&[&TEXT_KNOWN, &names(&TEXT_REFUSED)]);
    let context = keys.count("context_length", Some(77));
    let vocabulary = keys.count("vocab_size", Some(49408));
    let width = keys.count("width", Some(512));
    let heads = keys.count("heads", Some(8));
    let blocks = keys.count("layers", Some(12));
    let mlp = keys.mlp_by_ratio(width);

    // The key is a negation; absent means a causal mask.
    let causal = keys.flag("no_causal_mask") != Some(true);
    check_text(context, vocabulary, width, heads, place, problems);
    OpenClipTextKeys {
        context,
        vocabulary,
        width,
        heads,
        blocks,
        mlp,
        causal,
    }
}

/// The vision tower's weights.
pub fn vision(layout: &SourceLayout, reader: &mut TensorReader) -> Vision {
    // `width` is D, and `cells` is P, the cells of the native grid.
    let spec = &layout.spec;
    let width = spec.width;
    let cells = spec.grid().cells();

    // The token is [D] and the positions are [1 + P, D], with the class token's in row 0.
    let token = reader.tensor("visual.class_embedding", &[width]);
    let positions = reader.tensor("visual.positional_embedding", &[1 + cells, width]);
    let start = ClassAndPositions::new(&token, &positions, width);

    // The projection is [D, E], stored as the graph multiplies it: a plain matrix rather than a
    // torch `Linear`.
    let image_projection = reader.tensor("visual.proj", &[width, spec.embed]);

    // The convolution is [D, 3, p, p]: a patch's pixels, channel by channel.
    let convolution_shape = [width, 3, spec.patch, spec.patch];
    Vision {
        shape: layout.vision,
        patch: spec.patch,
        convolution: reader.tensor("visual.conv1.weight", &convolution_shape),
        convolution_bias: None,
        class: start.class,
        positions: start.positions,
        registers: Vec::new(),
        norm_pre: Some(reader.norm("visual.ln_pre", width)),
        blocks: read_blocks(
            "visual.transformer.resblocks",
            spec.blocks,
            layout.vision,
            |names| block(reader, names, width, spec.mlp),
        ),
        norm_post: reader.norm("visual.ln_post", width),
        projection: Some(projection(image_projection, width, spec.embed)),
    }
}

/// The text tower's weights.
pub fn text(
    layout: &SourceLayout,
    text: &TextLayout,
    spec: &TextSpec,
    reader: &mut TensorReader,
) -> Text {
    // The projection is [width, E], as in the vision tower.
    let width = spec.width;
    let embed = layout.spec.embed;
    let text_projection = reader.tensor("text_projection", &[width, embed]);
    Text {
        shape: text.shape,
        context: spec.context,
        vocabulary: spec.vocabulary,
        // The embedding is [vocabulary, width], the positions are [C, width].
        embedding: reader.tensor("token_embedding.weight", &[spec.vocabulary, width]),
        positions: reader.tensor("positional_embedding", &[spec.context, width]),
        causal: text.causal,
        blocks: read_blocks("transformer.resblocks", text.blocks, text.shape, |names| {
            block(reader, names, width, text.mlp)
        }),
        norm_final: reader.norm("ln_final", width),
        projection: projection(text_projection, width, embed),
    }
}

fn block(reader: &mut TensorReader, names: &BlockNames, width: usize, mlp: usize) -> Block {
    // Queries, keys and values are one tensor in the file, and three matrices in the graph.
    let [query, key, value] = packed_attention(reader, &names.part("attn.in_proj_"), width);
    Block {
        norm1: reader.norm(&names.part("ln_1"), width),
        query,
        key,
        value,
        out: reader.linear(&names.part("attn.out_proj"), width, width),
        norm2: reader.norm(&names.part("ln_2"), width),
        up: reader.linear(&names.part("mlp.c_fc"), width, mlp),
        down: reader.linear(&names.part("mlp.c_proj"), mlp, width),
    }
}
