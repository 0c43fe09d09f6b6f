//! Specification of a model: its family, sizes and normalisation.

use super::default_block::{BlockBasis, DefaultBlock};
use crate::data::grid::Grid;

/// Architecture and sizes of a model.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Family that it belongs to.
    pub family: Family,
    /// Side in pixels that the model was trained for.
    pub side: usize,
    /// Patch side in pixels.
    pub patch: usize,
    /// Vision width D.
    pub width: usize,
    /// Blocks L of the vision tower.
    pub blocks: usize,
    /// Attention heads of the vision tower.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp: usize,
    /// Length E of the image (and window) embedding; D for a model without text.
    pub embed: usize,
    /// Mean of the pixel normalisation, RGB.
    pub mean: [f32; 3],
    /// Standard deviation of the pixel normalisation, RGB.
    pub std: [f32; 3],
    /// The text tower. `None` for DINOv2.
    pub text: Option<TextSpec>,
    /// Register tokens R of the vision tower, which every token sees and no output has (Darcet et al.,
    /// arXiv 2309.16588). 0 for a tower without.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registers: usize,
    /// True if the positions are resampled with antialiasing, as the weights' own library does it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub antialias: bool,
    /// Block whose patches are compared where a recipe names none, as far as it is known for these weights.
    /// `None` for others; see [`ModelSpec::block_by_default`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_block: Option<DefaultBlock>,
}

impl ModelSpec {
    /// Patches of the native input, a square.
    pub fn grid(&self) -> Grid {
        Grid::square(self.side / self.patch)
    }

    /// The block whose patches are compared where neither a recipe nor its preset names a layer.
    pub fn block_by_default(&self) -> DefaultBlock {
        if let Some(known) = &self.default_block {
            return known.clone();
        }

        // WinCLIP's figures are those of the last block, and a line that keeps to the paper keeps to it.
        if self.text.is_some() {
            return DefaultBlock {
                number: self.blocks,
                basis: BlockBasis::Published,
                source: "WinCLIP compares the patches of the last block".to_owned(),
            };
        }

        DefaultBlock {
            number: three_quarters(self.blocks),
            basis: BlockBasis::Rule,
            source: "three quarters of the depth".to_owned(),
        }
    }
}

/// Families of models that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// open_clip's hub folders.
    OpenClip,
    /// transformers' `CLIPModel`.
    Clip,
    /// DINOv2, with or without registers: transformers' or timm's.
    Dinov2,
}

/// Sizes of a text tower.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// Tokens that a prompt may have, start and end included: 77.
    pub context: usize,
    /// Number of different tokens.
    pub vocabulary: usize,
    /// Width of the text tower.
    pub width: usize,
}

// A folder without registers and antialiasing has the manifest that earlier versions read.

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Three quarters of a tower's depth, rounded, at least 1: of 12 blocks the 9th, of 24 the 18th.
fn three_quarters(blocks: usize) -> usize {
    ((3 * blocks + 2) / 4).max(1)
}

/// Tests, and a model for those of other modules.
#[cfg(test)]
pub mod tests {
    use super::*;

    /// A DINOv2 ViT-S/14 of so many blocks.
    pub fn spec(blocks: usize) -> ModelSpec {
        ModelSpec {
            family: Family::Dinov2,
            side: 518,
            patch: 14,
            width: 384,
            blocks,
            heads: 6,
            mlp: 1536,
            embed: 384,
            mean: [0.0; 3],
            std: [1.0; 3],
            text: None,
            registers: 0,
            antialias: false,
            default_block: None,
        }
    }

    #[test]
    fn an_unknown_model_compares_the_block_at_three_quarters_of_its_depth() {
        for (blocks, number) in [(1, 1), (2, 2), (4, 3), (12, 9), (24, 18), (40, 30)] {
            let default = spec(blocks).block_by_default();
            assert_eq!((default.number, default.basis), (number, BlockBasis::Rule));
            assert!(!default.basis.is_measured());
        }
    }

    #[test]
    fn a_model_with_text_compares_the_last_block_as_the_paper_does() {
        let clip = ModelSpec {
            text: Some(TextSpec {
                context: 77,
                vocabulary: 49408,
                width: 512,
            }),
            ..spec(12)
        };

        let default = clip.block_by_default();
        assert_eq!((default.number, default.basis), (12, BlockBasis::Published));
        assert!(default.basis.is_measured());
    }

    #[test]
    fn a_models_own_words_come_before_rule_and_paper() {
        let own = DefaultBlock {
            number: 5,
            basis: BlockBasis::Measured,
            source: "our nuts".to_owned(),
        };

        let spec = ModelSpec {
            default_block: Some(own.clone()),
            ..spec(12)
        };

        assert_eq!(spec.block_by_default(), own);
    }
}
