//! `winspect inspect --tensors`: what was computed on the way to a score, under the names of the golden files.
//!
//! | tensor | shape |
//! |---|---|
//! | `squash.<picture>` or `crop.<picture>` | `[3, S, S]` normalised pixels |
//! | `encode.image.<picture>` | `[E]` |
//! | `encode.windows<k>.<picture>` | `[W, E]` |
//! | `encode.patches.<picture>`, `encode.patches_after_ln_post.<picture>` | `[P, D]` of the last block |
//! | `block<b>.<picture>` | `[1 + P, D]` after block b, class token first |
//! | `<preset>.text.features` | `[2, E]` normal, anomalous; raw as the preset pools them |
//! | `<preset>.zero_shot.score.<picture>`, `.grid.`; `few_shot<K>` with K references | `[1]`, `[G, G]` |
//!
//! For a CLIP model the picture's embedding, the windows of scales 2 and 3 and the last block's patches are always
//! there, for DINOv2 the tokens of `--block` (the last unless given), whatever the recipe itself needs.

use crate::engine::{EncodePlan, PatchLayer};
use crate::model::ModelSpec;
use crate::winclip::inspector::Detailed;
use crate::winclip::{Fit, Recipe};
use ndarray::{Array1, Array2, ArrayD, s};
use std::collections::BTreeMap;
use std::path::Path;

/// The recipe's plan and all that is written besides. The recipe's own layer stays the first.
pub fn plan(mut plan: EncodePlan, recipe: &Recipe, spec: &ModelSpec) -> EncodePlan {
    let mut layer = PatchLayer::Block(recipe.block.unwrap_or(spec.blocks));
    if spec.text.is_some() {
        plan.image = true;
        layer = PatchLayer::Block(spec.blocks);
        let grid = plan.side / spec.patch;
        for scale in [2, 3].into_iter().filter(|scale| *scale <= grid) {
            if !plan.scales.contains(&scale) {
                plan.scales.push(scale);
            }
        }
    }
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
    /// The block whose patches are `encode.patches`; nothing for a model without text.
    last_block: Option<usize>,
    all: BTreeMap<String, ArrayD<f32>>,
}

impl Tensors {
    /// `plan` is what the pictures are encoded by.
    pub fn new(
        recipe: &Recipe,
        spec: &ModelSpec,
        plan: &EncodePlan,
        references: usize,
        prototypes: Option<&Array2<f32>>,
    ) -> Self {
        let preset = recipe.preset.name();
        let features =
            prototypes.map(|p| (format!("{preset}.text.features"), p.clone().into_dyn()));
        Tensors {
            fit: match recipe.fit {
                Fit::Squash => "squash",
                Fit::Crop => "crop",
            },
            preset,
            run: if references == 0 {
                "zero_shot".to_owned()
            } else {
                format!("few_shot{references}")
            },
            plan: plan.clone(),
            last_block: spec.text.is_some().then_some(spec.blocks),
            all: features.into_iter().collect(),
        }
    }

    /// `picture` is the name that ends the tensors' names.
    pub fn add(&mut self, picture: &str, detailed: Detailed) {
        let Detailed {
            region_score,
            pixels,
            features,
        } = detailed;
        let mut put = |name: String, tensor: ArrayD<f32>| {
            self.all.insert(format!("{name}.{picture}"), tensor)
        };
        put(self.fit.to_owned(), pixels.into_dyn());
        if let Some(image) = features.image {
            put("encode.image".to_owned(), Array1::from(image).into_dyn());
        }
        for (layer, tokens) in self.plan.patches.iter().zip(features.tokens) {
            let patches = |tokens: Array2<f32>| tokens.slice_move(s![1.., ..]).into_dyn();
            match layer {
                PatchLayer::Block(block) if Some(*block) == self.last_block => {
                    put("encode.patches".to_owned(), patches(tokens))
                }
                PatchLayer::Block(block) => put(format!("block{block}"), tokens.into_dyn()),
                PatchLayer::AfterFinalNorm => {
                    put("encode.patches_after_ln_post".to_owned(), patches(tokens))
                }
            };
        }
        for windows in features.windows {
            put(
                format!("encode.windows{}", windows.scale),
                windows.features.into_dyn(),
            );
        }
        let (map, run) = (&region_score.map, format!("{}.{}", self.preset, self.run));
        let grid = Array2::from_shape_vec((map.side(), map.side()), map.values().to_vec())
            .expect("a map is square");
        put(format!("{run}.grid"), grid.into_dyn());
        put(
            format!("{run}.score"),
            Array1::from(vec![region_score.score]).into_dyn(),
        );
    }

    /// # Errors
    /// In words, with the file's name.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let bytes: Vec<(&str, &[usize], Vec<u8>)> = self
            .all
            .iter()
            .map(|(name, t)| {
                (
                    name.as_str(),
                    t.shape(),
                    t.iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data);
            (*name, view.expect("four bytes a value"))
        });
        safetensors::serialize_to_file(views, None, file)
            .map_err(|error| format!("{}: {error}", file.display()))
    }
}
