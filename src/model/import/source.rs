//! The three layouts that can be imported, and what each calls its tensors: open_clip's hub folders, transformers'
//! `CLIPModel` and transformers' `Dinov2Model`. A configuration becomes a [`Layout`] or a list of the keys that
//! cannot be run.

use crate::base::problems::Problems;
use crate::model::tower::{Activation, Block, Linear, Shape, Text, Vision};
use crate::model::weights::{Reader, transposed};
use crate::model::{Family, ModelError, ModelSpec, TextSpec};
use serde_json::{Map, Value};
use std::path::Path;

/// CLIP's own normalisation (openai/CLIP, `_transform`).
const CLIP_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
#[expect(clippy::excessive_precision, reason = "as published")]
const CLIP_STD: [f32; 3] = [0.26862954, 0.26130258, 0.27577711];
/// ImageNet's, which DINOv2 was trained with.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A source folder's configuration, checked.
#[derive(Debug, Clone)]
pub struct Layout {
    pub spec: ModelSpec,
    /// The weights' file name.
    pub weights: &'static str,
    vision: Shape,
    /// Heads, layers, activation and MLP of the text tower.
    text: Option<(Shape, usize, usize)>,
    causal: bool,
}

/// Reads the configuration of a source folder.
pub fn layout(folder: &Path) -> Result<Layout, ModelError> {
    let open_clip = folder.join("open_clip_config.json");
    if open_clip.exists() {
        return open_clip_layout(&read_json(&open_clip)?, &open_clip);
    }
    let path = folder.join("config.json");
    if !path.exists() {
        return Err(ModelError::Content(format!(
            "{}: neither open_clip_config.json nor config.json is there; give a folder as the hub has it",
            folder.display()
        )));
    }
    let config = read_json(&path)?;
    let preprocessor = folder.join("preprocessor_config.json");
    let preprocessor = if preprocessor.exists() {
        read_json(&preprocessor)?
    } else {
        Value::Null
    };
    match config.get("model_type").and_then(Value::as_str) {
        Some("clip") => clip_layout(&config, &preprocessor, &path),
        Some("dinov2") => dinov2_layout(&config, &preprocessor, &path),
        other => Err(ModelError::Content(format!(
            "{}: model_type is {}; \"clip\" and \"dinov2\" can be imported",
            path.display(),
            other.map_or("missing".to_owned(), |o| format!("{o:?}"))
        ))),
    }
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|error| ModelError::read(path, error))?;
    serde_json::from_str(&text)
        .map_err(|error| ModelError::Content(format!("{}: {error}", path.display())))
}

/// Values of one JSON object, read with their defaults; what is wrong is noted with its key.
struct Keys<'a> {
    object: Option<&'a Map<String, Value>>,
    place: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Keys<'a> {
    fn new(value: Option<&'a Value>, place: &'a str, problems: &'a mut Problems) -> Self {
        Keys {
            object: value.and_then(Value::as_object),
            place,
            problems,
        }
    }

    fn key(&self, key: &str) -> String {
        if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        }
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.object
            .and_then(|o| o.get(key))
            .filter(|v| !v.is_null())
    }

    fn number(&mut self, key: &str, default: Option<f64>) -> f64 {
        match (self.value(key), default) {
            (Some(value), _) if value.as_f64().is_some_and(|n| n.is_finite() && n > 0.0) => {
                value.as_f64().unwrap_or(1.0)
            }
            (Some(value), _) => {
                self.problems.note(
                    self.key(key),
                    format!("must be a number above 0, got {value}"),
                );
                1.0
            }
            (None, Some(default)) => default,
            (None, None) => {
                self.problems.note(self.key(key), "missing");
                1.0
            }
        }
    }

    /// A whole number from 1 to 2^20.
    fn count(&mut self, key: &str, default: Option<usize>) -> usize {
        let number = self.number(key, default.map(|d| d as f64));
        if number.fract() != 0.0 || number > 1_048_576.0 {
            self.problems.note(
                self.key(key),
                format!("must be a whole number up to 1048576, got {number}"),
            );
            return 1;
        }
        number as usize
    }

    /// A side in pixels: a number, or two equal ones.
    fn side(&mut self, key: &str, default: Option<usize>) -> usize {
        if let Some([a, b]) = self.value(key).and_then(Value::as_array).map(Vec::as_slice) {
            if a == b && a.as_u64().is_some_and(|n| n > 0 && n < 1 << 20) {
                return a.as_u64().unwrap_or(1) as usize;
            }
            self.problems.note(
                self.key(key),
                format!("only squares can be run, got [{a}, {b}]"),
            );
            return 1;
        }
        self.count(key, default)
    }

    /// Notes each key whose value is neither absent, null, false, 0 nor one of those allowed.
    fn refuse(&mut self, keys: &[(&str, &[&str], &str)]) {
        for (key, allowed, why) in keys {
            let Some(value) = self.value(key) else {
                continue;
            };
            let harmless = value == &Value::Bool(false)
                || value.as_f64() == Some(0.0)
                || value.as_object().is_some_and(Map::is_empty)
                || value
                    .as_str()
                    .is_some_and(|s| s.is_empty() || allowed.contains(&s));
            if !harmless {
                self.problems
                    .note(self.key(key), format!("{value} cannot be run: {why}"));
            }
        }
    }
}

fn three(
    value: Option<&Value>,
    default: [f32; 3],
    place: &str,
    above: f32,
    problems: &mut Problems,
) -> [f32; 3] {
    let Some(value) = value.filter(|v| !v.is_null()) else {
        return default;
    };
    let numbers: Vec<f32> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|n| n as f32)
        .filter(|n| *n > above)
        .collect();
    numbers.try_into().unwrap_or_else(|_| {
        problems.note(
            place,
            format!("must be three numbers above {above}, got {value}"),
        );
        default
    })
}

fn open_clip_layout(config: &Value, path: &Path) -> Result<Layout, ModelError> {
    let mut problems = Problems::new();
    let model = config.get("model_cfg").unwrap_or(config);
    let mut keys = Keys::new(Some(model), "model_cfg", &mut problems);
    let embed = keys.count("embed_dim", None);
    let quick = keys
        .value("quick_gelu")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    keys.refuse(&[
        ("custom_text", &[], "a text tower of another kind"),
        ("multimodal_cfg", &[], "CoCa's decoder"),
    ]);

    let mut keys = Keys::new(
        model.get("vision_cfg"),
        "model_cfg.vision_cfg",
        &mut problems,
    );
    let resnet = keys.value("layers").is_some_and(Value::is_array);
    if resnet {
        keys.problems.note(
            "model_cfg.vision_cfg.layers",
            "a list: ResNet towers cannot be run, only ViT",
        );
    }
    keys.refuse(&[
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
    ]);
    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(16));
    let width = keys.count("width", Some(768));
    let blocks = if resnet {
        1
    } else {
        keys.count("layers", Some(12))
    };
    let head_width = keys.count("head_width", Some(64));
    let mlp = (width as f64 * keys.number("mlp_ratio", Some(4.0))) as usize;
    check_heads(
        width,
        head_width,
        "model_cfg.vision_cfg.head_width",
        &mut problems,
    );

    let mut keys = Keys::new(model.get("text_cfg"), "model_cfg.text_cfg", &mut problems);
    keys.refuse(&[
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
    ]);
    let context = keys.count("context_length", Some(77));
    let vocabulary = keys.count("vocab_size", Some(49408));
    let text_width = keys.count("width", Some(512));
    let text_heads = keys.count("heads", Some(8));
    let text_blocks = keys.count("layers", Some(12));
    let text_mlp = (text_width as f64 * keys.number("mlp_ratio", Some(4.0))) as usize;
    let causal = keys.value("no_causal_mask").and_then(Value::as_bool) != Some(true);
    check_text(
        context,
        vocabulary,
        text_width,
        text_heads,
        "model_cfg.text_cfg",
        &mut problems,
    );
    check_grid(
        side,
        patch,
        "model_cfg.vision_cfg.image_size",
        &mut problems,
    );

    let preprocess = config.get("preprocess_cfg");
    let mean = three(
        preprocess.and_then(|p| p.get("mean")),
        CLIP_MEAN,
        "preprocess_cfg.mean",
        -1e9,
        &mut problems,
    );
    let std = three(
        preprocess.and_then(|p| p.get("std")),
        CLIP_STD,
        "preprocess_cfg.std",
        0.0,
        &mut problems,
    );
    told(problems, path)?;

    let activation = if quick {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    let shape = |width, heads| Shape {
        width,
        heads,
        activation,
        epsilon: 1e-5,
    };
    let heads = width / head_width;
    Ok(Layout {
        spec: ModelSpec {
            family: Family::OpenClip,
            side,
            patch,
            width,
            blocks,
            heads,
            mlp,
            embed,
            mean,
            std,
            text: Some(TextSpec {
                context,
                vocabulary,
                width: text_width,
            }),
        },
        weights: "open_clip_model.safetensors",
        vision: shape(width, heads),
        text: Some((shape(text_width, text_heads), text_blocks, text_mlp)),
        causal,
    })
}

fn clip_layout(config: &Value, preprocessor: &Value, path: &Path) -> Result<Layout, ModelError> {
    let mut problems = Problems::new();
    let embed = Keys::new(Some(config), "", &mut problems).count("projection_dim", Some(512));
    let mut keys = Keys::new(config.get("vision_config"), "vision_config", &mut problems);
    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(32));
    let width = keys.count("hidden_size", Some(768));
    let blocks = keys.count("num_hidden_layers", Some(12));
    let heads = keys.count("num_attention_heads", Some(12));
    let mlp = keys.count("intermediate_size", Some(3072));
    let channels = keys.count("num_channels", Some(3));
    let vision = Shape {
        width,
        heads,
        activation: hf_activation(&mut keys),
        epsilon: keys.number("layer_norm_eps", Some(1e-5)) as f32,
    };
    let mut keys = Keys::new(config.get("text_config"), "text_config", &mut problems);
    let context = keys.count("max_position_embeddings", Some(77));
    let vocabulary = keys.count("vocab_size", Some(49408));
    let text_width = keys.count("hidden_size", Some(512));
    let text_blocks = keys.count("num_hidden_layers", Some(12));
    let text_heads = keys.count("num_attention_heads", Some(8));
    let text_mlp = keys.count("intermediate_size", Some(2048));
    let epsilon = keys.number("layer_norm_eps", Some(1e-5)) as f32;
    let text = Shape {
        width: text_width,
        heads: text_heads,
        activation: hf_activation(&mut keys),
        epsilon,
    };
    check_text(
        context,
        vocabulary,
        text_width,
        text_heads,
        "text_config",
        &mut problems,
    );
    check_transformers(width, heads, channels, "vision_config", &mut problems);
    check_grid(side, patch, "vision_config.image_size", &mut problems);
    let mean = three(
        preprocessor.get("image_mean"),
        CLIP_MEAN,
        "image_mean",
        -1e9,
        &mut problems,
    );
    let std = three(
        preprocessor.get("image_std"),
        CLIP_STD,
        "image_std",
        0.0,
        &mut problems,
    );
    told(problems, path)?;
    Ok(Layout {
        spec: ModelSpec {
            family: Family::Clip,
            side,
            patch,
            width,
            blocks,
            heads,
            mlp,
            embed,
            mean,
            std,
            text: Some(TextSpec {
                context,
                vocabulary,
                width: text_width,
            }),
        },
        weights: "model.safetensors",
        vision,
        text: Some((text, text_blocks, text_mlp)),
        causal: true,
    })
}

fn dinov2_layout(config: &Value, preprocessor: &Value, path: &Path) -> Result<Layout, ModelError> {
    let mut problems = Problems::new();
    let mut keys = Keys::new(Some(config), "", &mut problems);
    keys.refuse(&[
        ("use_swiglu_ffn", &[], "DINOv2 giant's SwiGLU MLP"),
        ("num_register_tokens", &[], "register tokens"),
    ]);
    let side = keys.side("image_size", Some(224));
    let patch = keys.side("patch_size", Some(16));
    let width = keys.count("hidden_size", Some(768));
    let blocks = keys.count("num_hidden_layers", Some(12));
    let heads = keys.count("num_attention_heads", Some(12));
    let channels = keys.count("num_channels", Some(3));
    let mlp = (width as f64 * keys.number("mlp_ratio", Some(4.0))) as usize;
    if keys.value("qkv_bias") == Some(&Value::Bool(false)) {
        keys.problems.note(
            "qkv_bias",
            "false cannot be run: queries, keys and values need a bias",
        );
    }
    let activation = match keys
        .value("hidden_act")
        .and_then(Value::as_str)
        .unwrap_or("gelu")
    {
        "gelu" => Activation::Gelu,
        other => {
            keys.problems.note(
                "hidden_act",
                format!("{other:?} cannot be run; \"gelu\" can"),
            );
            Activation::Gelu
        }
    };
    let epsilon = keys.number("layer_norm_eps", Some(1e-6)) as f32;
    check_transformers(width, heads, channels, "hidden_size", &mut problems);
    check_grid(side, patch, "image_size", &mut problems);
    let mean = three(
        preprocessor.get("image_mean"),
        IMAGENET_MEAN,
        "image_mean",
        -1e9,
        &mut problems,
    );
    let std = three(
        preprocessor.get("image_std"),
        IMAGENET_STD,
        "image_std",
        0.0,
        &mut problems,
    );
    told(problems, path)?;
    Ok(Layout {
        spec: ModelSpec {
            family: Family::Dinov2,
            side,
            patch,
            width,
            blocks,
            heads,
            mlp,
            embed: width,
            mean,
            std,
            text: None,
        },
        weights: "model.safetensors",
        vision: Shape {
            width,
            heads,
            activation,
            epsilon,
        },
        text: None,
        causal: false,
    })
}

fn hf_activation(keys: &mut Keys) -> Activation {
    match keys
        .value("hidden_act")
        .and_then(Value::as_str)
        .unwrap_or("quick_gelu")
    {
        "quick_gelu" => Activation::QuickGelu,
        "gelu" => Activation::Gelu,
        other => {
            let place = keys.key("hidden_act");
            keys.problems.note(
                place,
                format!("{other:?} cannot be run; \"gelu\" and \"quick_gelu\" can"),
            );
            Activation::Gelu
        }
    }
}

fn check_heads(width: usize, head_width: usize, place: &str, problems: &mut Problems) {
    if !width.is_multiple_of(head_width) {
        problems.note(
            place,
            format!("must divide the width {width}, got {head_width}"),
        );
    }
}

fn check_transformers(
    width: usize,
    heads: usize,
    channels: usize,
    place: &str,
    problems: &mut Problems,
) {
    if !width.is_multiple_of(heads) {
        problems.note(
            place,
            format!("must be a multiple of the {heads} attention heads, got {width}"),
        );
    }
    if channels != 3 {
        problems.note(
            place,
            format!("num_channels must be 3 (RGB), got {channels}"),
        );
    }
}

fn check_text(
    context: usize,
    vocabulary: usize,
    width: usize,
    heads: usize,
    place: &str,
    problems: &mut Problems,
) {
    if !width.is_multiple_of(heads) {
        problems.note(
            place,
            format!("the width must be a multiple of the {heads} heads, got {width}"),
        );
    }
    if vocabulary != 49408 {
        problems.note(
            place,
            format!("the vocabulary must be CLIP's 49408 tokens, got {vocabulary}"),
        );
    }
    if context < 3 {
        problems.note(
            place,
            format!("the context must hold at least 3 tokens, got {context}"),
        );
    }
}

fn check_grid(side: usize, patch: usize, place: &str, problems: &mut Problems) {
    if side < patch || side / patch > 256 {
        problems.note(
            place,
            format!("must be 1 to 256 patches of {patch} pixels, got {side}"),
        );
    }
}

fn told(problems: Problems, path: &Path) -> Result<(), ModelError> {
    problems.into_result().map_err(|p| {
        ModelError::Content(format!(
            "{}:\n  {}",
            path.display(),
            p.to_string().replace('\n', "\n  ")
        ))
    })
}

impl Layout {
    /// The vision tower's weights, from tensors under this layout's names.
    pub fn vision(&self, r: &mut Reader) -> Vision {
        let ModelSpec {
            patch,
            width,
            side,
            embed,
            ..
        } = self.spec;
        let cells = (side / patch) * (side / patch);
        let (class, positions) = match self.spec.family {
            Family::OpenClip => (
                r.tensor("visual.class_embedding", &[width]),
                r.tensor("visual.positional_embedding", &[1 + cells, width]),
            ),
            Family::Clip => (
                r.tensor("vision_model.embeddings.class_embedding", &[width]),
                r.tensor(
                    "vision_model.embeddings.position_embedding.weight",
                    &[1 + cells, width],
                ),
            ),
            Family::Dinov2 => (
                r.tensor("embeddings.cls_token", &[1, 1, width]),
                r.tensor("embeddings.position_embeddings", &[1, 1 + cells, width]),
            ),
        };
        let (convolution, prefix) = match self.spec.family {
            Family::OpenClip => ("visual.conv1", "visual.transformer.resblocks"),
            Family::Clip => (
                "vision_model.embeddings.patch_embedding",
                "vision_model.encoder.layers",
            ),
            Family::Dinov2 => ("embeddings.patch_embeddings.projection", "encoder.layer"),
        };
        let (pre, post) = match self.spec.family {
            Family::OpenClip => (Some("visual.ln_pre"), "visual.ln_post"),
            Family::Clip => (
                Some("vision_model.pre_layrnorm"),
                "vision_model.post_layernorm",
            ),
            Family::Dinov2 => (None, "layernorm"),
        };
        let projection = match self.spec.family {
            Family::OpenClip => Some(r.tensor("visual.proj", &[width, embed])),
            Family::Clip => Some(transposed(
                &r.tensor("visual_projection.weight", &[embed, width]),
                embed,
                width,
            )),
            Family::Dinov2 => None,
        };
        let split = width.min(positions.len());
        Vision {
            shape: self.vision,
            patch,
            convolution: r.tensor(&format!("{convolution}.weight"), &[width, 3, patch, patch]),
            convolution_bias: (self.spec.family == Family::Dinov2)
                .then(|| r.tensor(&format!("{convolution}.bias"), &[width])),
            class: class
                .iter()
                .zip(&positions)
                .map(|(token, position)| token + position)
                .collect(),
            positions: positions[split..].to_vec(),
            norm_pre: pre.map(|name| r.norm(name, width)),
            blocks: self.blocks(r, prefix, self.vision, self.spec.blocks, self.spec.mlp),
            norm_post: r.norm(post, width),
            projection: projection.map(|weight| Linear {
                rows: width,
                columns: embed,
                weight,
                bias: None,
            }),
        }
    }

    /// The text tower's weights; nothing for a model without one.
    pub fn text(&self, r: &mut Reader) -> Option<Text> {
        let (shape, blocks, mlp) = self.text?;
        let TextSpec {
            context,
            vocabulary,
            width,
        } = self.spec.text.clone()?;
        let embed = self.spec.embed;
        let open_clip = self.spec.family == Family::OpenClip;
        let names = if open_clip {
            [
                "token_embedding.weight",
                "positional_embedding",
                "transformer.resblocks",
                "ln_final",
            ]
        } else {
            [
                "text_model.embeddings.token_embedding.weight",
                "text_model.embeddings.position_embedding.weight",
                "text_model.encoder.layers",
                "text_model.final_layer_norm",
            ]
        };
        let projection = if open_clip {
            r.tensor("text_projection", &[width, embed])
        } else {
            transposed(
                &r.tensor("text_projection.weight", &[embed, width]),
                embed,
                width,
            )
        };
        Some(Text {
            shape,
            context,
            vocabulary,
            embedding: r.tensor(names[0], &[vocabulary, width]),
            positions: r.tensor(names[1], &[context, width]),
            causal: self.causal,
            blocks: self.blocks(r, names[2], shape, blocks, mlp),
            norm_final: r.norm(names[3], width),
            projection: Linear {
                rows: width,
                columns: embed,
                weight: projection,
                bias: None,
            },
        })
    }

    fn blocks(
        &self,
        r: &mut Reader,
        prefix: &str,
        shape: Shape,
        count: usize,
        mlp: usize,
    ) -> Vec<Block> {
        (0..count)
            .map(|i| self.block(r, &format!("{prefix}.{i}"), shape, mlp))
            .collect()
    }

    fn block(&self, r: &mut Reader, prefix: &str, shape: Shape, mlp: usize) -> Block {
        let width = shape.width;
        let name = |part: &str| format!("{prefix}.{part}");
        let mut block = match self.spec.family {
            Family::OpenClip => {
                let [query, key, value] = packed_attention(r, &name("attn.in_proj_"), width);
                Block {
                    norm1: r.norm(&name("ln_1"), width),
                    query,
                    key,
                    value,
                    out: r.linear(&name("attn.out_proj"), width, width),
                    norm2: r.norm(&name("ln_2"), width),
                    up: r.linear(&name("mlp.c_fc"), width, mlp),
                    down: r.linear(&name("mlp.c_proj"), mlp, width),
                }
            }
            Family::Clip => Block {
                norm1: r.norm(&name("layer_norm1"), width),
                query: r.linear(&name("self_attn.q_proj"), width, width),
                key: r.linear(&name("self_attn.k_proj"), width, width),
                value: r.linear(&name("self_attn.v_proj"), width, width),
                out: r.linear(&name("self_attn.out_proj"), width, width),
                norm2: r.norm(&name("layer_norm2"), width),
                up: r.linear(&name("mlp.fc1"), width, mlp),
                down: r.linear(&name("mlp.fc2"), mlp, width),
            },
            Family::Dinov2 => {
                // transformers 5 renamed them.
                let renamed = r.has(&name("attention.q_proj.weight"));
                let [query, key, value, out] = match renamed {
                    true => [
                        "attention.q_proj",
                        "attention.k_proj",
                        "attention.v_proj",
                        "attention.o_proj",
                    ],
                    false => [
                        "attention.attention.query",
                        "attention.attention.key",
                        "attention.attention.value",
                        "attention.output.dense",
                    ],
                };
                let mut block = Block {
                    norm1: r.norm(&name("norm1"), width),
                    query: r.linear(&name(query), width, width),
                    key: r.linear(&name(key), width, width),
                    value: r.linear(&name(value), width, width),
                    out: r.linear(&name(out), width, width),
                    norm2: r.norm(&name("norm2"), width),
                    up: r.linear(&name("mlp.fc1"), width, mlp),
                    down: r.linear(&name("mlp.fc2"), mlp, width),
                };
                scale_columns(
                    &mut block.out,
                    &r.tensor(&name("layer_scale1.lambda1"), &[width]),
                );
                scale_columns(
                    &mut block.down,
                    &r.tensor(&name("layer_scale2.lambda1"), &[width]),
                );
                block
            }
        };
        let scale = 1.0 / ((width / shape.heads) as f32).sqrt();
        scale_columns(&mut block.query, &vec![scale; width]);
        block
    }
}

/// open_clip's packed `[3 D, D]` projection, apart.
fn packed_attention(r: &mut Reader, prefix: &str, width: usize) -> [Linear; 3] {
    let weight = r.tensor(&format!("{prefix}weight"), &[3 * width, width]);
    let bias = r.tensor(&format!("{prefix}bias"), &[3 * width]);
    std::array::from_fn(|i| Linear {
        rows: width,
        columns: width,
        weight: weight
            .chunks(width * width)
            .nth(i)
            .map_or(Vec::new(), |w| transposed(w, width, width)),
        bias: Some(
            bias.chunks(width)
                .nth(i)
                .map_or(Vec::new(), <[f32]>::to_vec),
        ),
    })
}

/// `(x W + b) * scale` as another linear layer.
fn scale_columns(linear: &mut Linear, scale: &[f32]) {
    if scale.is_empty() {
        return; // its absence is noted already
    }
    for row in linear.weight.chunks_mut(linear.columns) {
        row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
    }
    linear
        .bias
        .iter_mut()
        .flatten()
        .zip(scale)
        .for_each(|(b, s)| *b *= s);
}
