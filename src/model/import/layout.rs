//! Layout of a source: its specification, and the shapes of its towers. The parts of the layouts that
//! are alike: checks of sizes, and weights that are joined or scaled.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::import::keys::three_numbers;
use crate::model::spec::ModelSpec;
use crate::model::tower::{Block, Linear, TowerShape};
use crate::model::weights::{TensorReader, transposed};
use serde_json::Value;
use std::path::Path;

/// Number of tokens of CLIP's tokenizer.
const CLIP_TOKENS: usize = 49408;

/// CLIP's own normalisation (openai/CLIP, `_transform`).
pub const CLIP_NORMALISATION: Normalisation = Normalisation {
    mean: [0.48145466, 0.4578275, 0.40821073],
    #[expect(clippy::excessive_precision, reason = "as published")]
    std: [0.26862954, 0.26130258, 0.27577711],
};
/// ImageNet's normalisation, which DINOv2 was trained with.
pub const IMAGENET_NORMALISATION: Normalisation = Normalisation {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// Names and shapes of a source's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// open_clip's hub folders.
    OpenClip,
    /// transformers' `CLIPModel`.
    Clip,
    /// transformers' `Dinov2Model` and `Dinov2WithRegistersModel`.
    Dinov2,
    /// timm's `VisionTransformer` with DINOv2's parts.
    TimmDinov2 {
        /// True if class token and registers have no positions.
        patches_alone: bool,
    },
}

/// A source folder's configuration, checked.
#[derive(Debug, Clone)]
pub struct SourceLayout {
    /// Specification of the model.
    pub spec: ModelSpec,
    /// Names and shapes of the tensors.
    pub format: WeightLayout,
    /// The weights' file name.
    pub weights: &'static str,
    /// Shape of the vision tower's blocks.
    pub vision: TowerShape,
    /// The text tower. `None` for a model without text.
    pub text: Option<TextLayout>,
}

/// Configuration of a text tower.
#[derive(Debug, Clone)]
pub struct TextLayout {
    /// Shape of its blocks.
    pub shape: TowerShape,
    /// Number of its blocks.
    pub blocks: usize,
    /// Hidden width of a block's MLP.
    pub mlp: usize,
    /// True if a token sees only itself and the tokens before it.
    pub causal: bool,
}

/// Mean and standard deviation of the pixels, RGB.
#[derive(Debug, Clone, Copy)]
pub struct Normalisation {
    /// Mean.
    pub mean: [f32; 3],
    /// Standard deviation.
    pub std: [f32; 3],
}

impl Normalisation {
    /// The normalisation in a configuration, whose keys are `mean` and `std` under `place` and the
    /// prefix; this one where they are absent.
    pub fn or_configured(
        self,
        config: Option<&Value>,
        place: &str,
        prefix: &str,
        problems: &mut Problems,
    ) -> Self {
        // Names differ by layout: `image_mean` in transformers, `mean` in open_clip.
        let value = |key: &str| config?.get(format!("{prefix}{key}"));
        let key = |key: &str| format!("{place}{prefix}{key}");
        Normalisation {
            // A mean of zero is right, a deviation of zero would divide by it.
            mean: three_numbers(value("mean"), self.mean, &key("mean"), -1e9, problems),
            std: three_numbers(value("std"), self.std, &key("std"), 0.0, problems),
        }
    }
}

/// Notes if heads of `head_width` do not fill the width.
pub fn check_head_width(width: usize, head_width: usize, place: &str, problems: &mut Problems) {
    if !width.is_multiple_of(head_width) {
        let words = format!("must divide the width {width}, got {head_width}");
        problems.note(place, words);
    }
}

/// Notes if the width is no multiple of the heads, or the pictures are not RGB.
pub fn check_transformers(
    width: usize,
    heads: usize,
    channels: usize,
    place: &str,
    problems: &mut Problems,
) {
    // Each head takes an equal share of the width.
    if !width.is_multiple_of(heads) {
        let words = format!("must be a multiple of the {heads} attention heads, got {width}");
        problems.note(place, words);
    }

    // Pictures are RGB; a tower for more channels saw something else than a camera's picture.
    if channels != 3 {
        let words = format!("num_channels must be 3 (RGB), got {channels}");
        problems.note(place, words);
    }
}

/// Notes if a text tower is not one that CLIP's tokenizer can feed.
pub fn check_text(
    context: usize,
    vocabulary: usize,
    width: usize,
    heads: usize,
    place: &str,
    problems: &mut Problems,
) {
    // Each head takes an equal share of the width.
    if !width.is_multiple_of(heads) {
        let words = format!("the width must be a multiple of the {heads} heads, got {width}");
        problems.note(place, words);
    }

    // Another vocabulary has another tokenizer, which would have to be imported, too.
    if vocabulary != CLIP_TOKENS {
        let words = format!("the vocabulary must be CLIP's {CLIP_TOKENS} tokens, got {vocabulary}");
        problems.note(place, words);
    }

    // The shortest prompt is start, one token of content, and end.
    if context < 3 {
        let words = format!("the context must hold at least 3 tokens, got {context}");
        problems.note(place, words);
    }
}

/// Notes if a picture has no patch, or too many.
pub fn check_grid(side: usize, patch: usize, place: &str, problems: &mut Problems) {
    // The upper bound keeps the attention's scores [heads, P, P] in memory: 256 x 256 patches are
    // far beyond every published model.
    if side < patch || side / patch > 256 {
        let words = format!("must be 1 to 256 patches of {patch} pixels, got {side}");
        problems.note(place, words);
    }
}

/// Turns the problems of the configuration `path` into an error, if there are any.
pub fn refuse_problems(problems: Problems, path: &Path) -> Result<(), ModelError> {
    // The whole file is one error, with one line for each key, indented below the file's name.
    problems.into_result().map_err(|problems| {
        let lines = problems.to_string().replace('\n', "\n  ");
        ModelError::Content(format!("{}:\n  {lines}", path.display()))
    })
}

/// Class token and positions of a vision tower, as [`Vision`](crate::model::tower::Vision) has them.
pub struct ClassAndPositions {
    /// `[D]`: the class token with its position added.
    pub class: Vec<f32>,
    /// `[P, D]`: the patches' positions.
    pub positions: Vec<f32>,
}

impl ClassAndPositions {
    /// Splits the positions `[1 + P, D]`, of which the class token's is the first. A missing tensor is
    /// empty (its problem is noted already).
    pub fn new(token: &[f32], positions: &[f32], width: usize) -> Self {
        // The sum is made once here rather than for each picture: the class token's input is the
        // same for all of them.
        let (first, rest) = positions.split_at(width.min(positions.len()));
        let sums = token.iter().zip(first);
        ClassAndPositions {
            class: sums.map(|(token, position)| token + position).collect(),
            positions: rest.to_vec(),
        }
    }
}

/// The blocks `<prefix>.0`, `<prefix>.1` ... of a tower, each as `read` reads it, with the attention's
/// scale in the queries.
pub fn read_blocks(
    prefix: &str,
    count: usize,
    shape: TowerShape,
    mut read: impl FnMut(&BlockNames) -> Block,
) -> Vec<Block> {
    // 1 / sqrt(head width) is folded into the queries, where it costs nothing at run time.
    let head_width = shape.width / shape.heads;
    let scale = 1.0 / (head_width as f32).sqrt();
    let mut blocks = Vec::with_capacity(count);

    for i in 0..count {
        // Blocks count from 0 in all layouts.
        let mut block = read(&BlockNames {
            prefix: format!("{prefix}.{i}"),
        });

        // The scale goes to the weights and the biases of the queries, since it stands after their
        // sum.
        scale_columns(&mut block.query, &vec![scale; shape.width]);
        blocks.push(block);
    }

    blocks
}

/// Names of one block's tensors.
pub struct BlockNames {
    prefix: String,
}

impl BlockNames {
    /// The name of a part of the block.
    pub fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.prefix)
    }
}

/// A projection without bias, from its weight `[rows, columns]`.
pub fn projection(weight: Vec<f32>, rows: usize, columns: usize) -> Linear {
    Linear {
        rows,
        columns,
        weight,
        bias: None,
    }
}

/// A projection of transformers: `name` `[columns, rows]` transposed, without bias.
pub fn transposed_projection(
    reader: &mut TensorReader,
    name: &str,
    rows: usize,
    columns: usize,
) -> Linear {
    // torch stores a linear layer as [out, in].
    let stored = reader.tensor(name, &[columns, rows]);

    projection(transposed(&stored, columns, rows), rows, columns)
}

/// Queries, keys and values of a packed projection: the tensors `<prefix>weight` `[3 D, D]` and
/// `<prefix>bias` `[3 D]`.
pub fn packed_attention(reader: &mut TensorReader, prefix: &str, width: usize) -> [Linear; 3] {
    // The tensors are [3 D, D] and [3 D]: queries, then keys, then values.
    let weight = reader.tensor(&format!("{prefix}weight"), &[3 * width, width]);
    let bias = reader.tensor(&format!("{prefix}bias"), &[3 * width]);

    // A missing tensor is empty (its problem is noted already).
    let mut weights = weight.chunks(width * width);
    let mut biases = bias.chunks(width);

    // Each third is turned from [out, in] to [in, out].
    [(); 3].map(|()| {
        let weight = weights.next().unwrap_or_default();
        let bias = biases.next().unwrap_or_default();
        Linear {
            rows: width,
            columns: width,
            weight: transposed(weight, width, width),
            bias: Some(bias.to_vec()),
        }
    })
}

/// Scales a linear layer's outputs: `(x W + b) * scale`. An empty scale is missing, which is noted
/// already.
pub fn scale_columns(linear: &mut Linear, scale: &[f32]) {
    // An empty layer, whose tensor is missing too, passes the loops below without effect.
    if scale.is_empty() {
        return;
    }

    // A column of the matrix [in, out] makes one output, so each row is multiplied value by value.
    for row in linear.weight.chunks_mut(linear.columns) {
        multiply(row, scale);
    }

    if let Some(bias) = &mut linear.bias {
        multiply(bias, scale);
    }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}
