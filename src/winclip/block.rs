//! Layer whose patches a recipe compares: the one place where it is decided.
//!
//! The recipe's `block` comes first, then its preset's layer (for models with text: a published one), then
//! the model's default block ([`ModelSpec::block_by_default`]).

use super::recipe::Recipe;
use crate::engine::PatchLayer;
use crate::engine::device_scorer::MapKind;
use crate::model::{DefaultBlock, ModelSpec};

impl Recipe {
    /// The layer whose patches are compared with this model.
    pub fn patch_layer(&self, spec: &ModelSpec) -> PatchLayer {
        if let Some(block) = self.block {
            return PatchLayer::Block(block);
        }

        self.preset_layer(spec)
            .unwrap_or_else(|| PatchLayer::Block(spec.block_by_default().number))
    }

    /// The model's default block, where the recipe compares its patches. `None` where the recipe or its
    /// preset names a layer, or no patches are compared.
    pub fn default_block(&self, spec: &ModelSpec, with_references: bool) -> Option<DefaultBlock> {
        let is_named = self.block.is_some() || self.preset_layer(spec).is_some();
        let compares_patches =
            with_references && self.parameters(spec).maps.contains(&MapKind::Patch);

        (compares_patches && !is_named).then(|| spec.block_by_default())
    }

    fn preset_layer(&self, spec: &ModelSpec) -> Option<PatchLayer> {
        // Presets are readings of WinCLIP, whose layers mean nothing in a model without text.
        spec.text.as_ref()?;
        self.preset.parameters(&self.scales).patches
    }
}
