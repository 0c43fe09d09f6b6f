//! `winspect inspect --tensors`: the tensors on the way to a score, under the names of the golden files.
//!
//! | tensor | shape |
//! |---|---|
//! | `squash.<picture>`, `crop.<picture>` or `keep.<picture>` | `[3, height, width]` normalised pixels |
//! | `encode.image.<picture>` | `[E]` |
//! | `encode.windows<k>.<picture>` | `[W, E]` |
//! | `encode.patches.<picture>`, `encode.patches_after_ln_post.<picture>` | `[P, D]` of the last block |
//! | `block<b>.<picture>` | `[1 + P, D]` after block b, class token first |
//! | `<preset>.text.features` | `[2, E]` normal, anomalous; raw as the preset pools them |
//! | `<preset>.zero_shot.score.<picture>`, `.grid.`; `few_shot<K>` with K references | `[1]`, `[rows, columns]` |
//!
//! For a CLIP model the picture's embedding, the windows of scales 2 and 3 and the last block's patches are always
//! there, for DINOv2 the tokens of `--block` (the model's default unless given), whatever the recipe itself needs.

use crate::engine::{EncodePlan, PatchLayer};
use crate::model::ModelSpec;
use crate::winclip::inspector::Detailed;
use crate::winclip::{Fit, Recipe, RegionScore};
use ndarray::{Array1, Array2, ArrayD, s};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::Path;

/// Adds to the recipe's plan all that is written besides. The recipe's own layer stays the first.
pub fn plan(mut plan: EncodePlan, recipe: &Recipe, spec: &ModelSpec) -> EncodePlan {
    // Outputs are added, never replaced: the score is computed from the first layer.
    let mut layer = recipe.patch_layer(spec);

    // The golden files of CLIP models hold these outputs, so that they are always there to compare.
    if spec.text.is_some() {
        plan.image = true;
        layer = PatchLayer::Block(spec.blocks);
        let grid = plan.grid(spec);
        let widest = grid.w.min(grid.h);
        for scale in [2, 3] {
            if scale <= widest && !plan.scales.contains(&scale) {
                plan.scales.push(scale);
            }
        }
    }

    // A layer that the recipe already needs is encoded once.
    if !plan.patches.contains(&layer) {
        plan.patches.push(layer);
    }

    plan
}

/// Tensors gathered so far, in memory until [`Tensors::write`].
pub struct Tensors {
    fit: &'static str,
    preset: &'static str,
    /// `zero_shot`, or `few_shot<K>`.
    run: String,
    plan: EncodePlan,
    /// The block whose patches are `encode.patches`; `None` for a model without text.
    last_block: Option<usize>,
    all: BTreeMap<String, ArrayD<f32>>,
}

impl Tensors {
    /// Begins with the prompts' features. `plan` is what the pictures are encoded by.
    pub fn new(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        references: usize,
        prototypes: Option<&Array2<f32>>,
    ) -> Self {
        // Prompts exist for models with text alone: `[2, E]`, normal and anomalous.
        let preset = recipe.preset.name();
        let mut all = BTreeMap::new();
        if let Some(features) = prototypes {
            let name = format!("{preset}.text.features");
            all.insert(name, features.clone().into_dyn());
        }

        // The number of references is part of the name, as in the golden files.
        let run = match references {
            0 => "zero_shot".to_owned(),
            count => format!("few_shot{count}"),
        };

        Tensors {
            fit: match recipe.fit {
                Fit::Squash => "squash",
                Fit::Crop => "crop",
                Fit::Keep => "keep",
            },
            preset,
            run,
            plan: plan.clone(),
            last_block: spec.text.is_some().then_some(spec.blocks),
            all,
        }
    }

    /// Adds a picture's. `picture` is the name that ends the tensors' names.
    pub fn add(&mut self, picture: &str, detailed: Detailed) {
        // The picture's pixels `[3, height, width]` come first: most differences between two implementations
        // begin there.
        let Detailed {
            region_score,
            pixels,
            features,
        } = detailed;

        self.put(self.fit, picture, pixels.into_dyn());
        if let Some(image) = features.image {
            self.put("encode.image", picture, Array1::from(image).into_dyn());
        }

        // Tokens come in the order of the plan's layers.
        let layers = self.plan.patches.clone();
        for (layer, tokens) in layers.into_iter().zip(features.tokens) {
            self.put_tokens(layer, picture, tokens);
        }

        // The windows of one scale are `[W, E]`, row by row over the grid.
        for windows in features.windows {
            let name = format!("encode.windows{}", windows.scale);
            self.put(&name, picture, windows.features.into_dyn());
        }

        self.put_score(picture, &region_score);
    }

    fn put_score(&mut self, picture: &str, judged: &RegionScore) {
        // The map is that of the encoder's grid, before it is enlarged to the picture.
        let grid = judged.map.grid();
        let values = judged.map.values().to_vec();
        let map = ArrayD::from_shape_vec(vec![grid.h, grid.w], values);
        let score = Array1::from(vec![judged.score]);
        let run = format!("{}.{}", self.preset, self.run);
        self.put(
            &format!("{run}.grid"),
            picture,
            map.expect("a map has a value a cell"),
        );

        self.put(&format!("{run}.score"), picture, score.into_dyn());
    }

    fn put(&mut self, name: &str, picture: &str, tensor: ArrayD<f32>) {
        self.all.insert(format!("{name}.{picture}"), tensor);
    }

    /// `tokens` are `[1 + patches, dim]`, class token first.
    fn put_tokens(&mut self, layer: PatchLayer, picture: &str, tokens: Array2<f32>) {
        // The reference implementation has CLIP's last block without its class token, and DINOv2's
        // with it.
        match layer {
            PatchLayer::Block(block) if Some(block) == self.last_block => {
                self.put("encode.patches", picture, patches(tokens));
            }
            PatchLayer::Block(block) => {
                self.put(&format!("block{block}"), picture, tokens.into_dyn());
            }
            PatchLayer::AfterFinalNorm => {
                let name = "encode.patches_after_ln_post";
                self.put(name, picture, patches(tokens));
            }
        }
    }

    /// Writes a safetensors file.
    ///
    /// # Errors
    /// In words, with the file's name.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        // The file's format borrows its values: all tensors are converted first, and live until it
        // is written.
        let mut bytes = vec![];
        for tensor in self.all.values() {
            bytes.push(little_endian(tensor));
        }

        // The map is sorted by name, so that two runs write the same bytes.
        let mut views = vec![];
        for ((name, tensor), values) in self.all.iter().zip(&bytes) {
            let shape = tensor.shape().to_vec();
            let view = TensorView::new(Dtype::F32, shape, values);
            views.push((name, view.expect("four bytes a value")));
        }

        safetensors::serialize_to_file(views, None, file)
            .map_err(|error| format!("{}: {error}", file.display()))
    }
}

fn little_endian(tensor: &ArrayD<f32>) -> Vec<u8> {
    tensor
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// All tokens but the class token.
fn patches(tokens: Array2<f32>) -> ArrayD<f32> {
    tokens.slice_move(s![1.., ..]).into_dyn()
}
