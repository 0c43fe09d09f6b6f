//! A transformer tower as plain weights. `tower_graph.rs` makes the ONNX graphs that run it.
//!
//! Weights stand as the graphs use them: matrices `[in, out]`; the attention's `1/sqrt(head width)`
//! folded into the queries and DINOv2's layer scale into the matrix before it. Both are exact rewrites
//! up to rounding.

/// A matrix `[rows, columns]`, row-major, applied as `x W + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Inputs.
    pub rows: usize,
    /// Outputs.
    pub columns: usize,
    /// `[rows, columns]`.
    pub weight: Vec<f32>,
    /// `[columns]`. `None` if there is none.
    pub bias: Option<Vec<f32>>,
}

/// A layer norm.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// `[width]`.
    pub bias: Vec<f32>,
}

/// One pre-norm block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Norm before the attention.
    pub norm1: Norm,
    /// Queries, with the attention's scale.
    pub query: Linear,
    /// Keys.
    pub key: Linear,
    /// Values.
    pub value: Linear,
    /// Projection after the attention.
    pub out: Linear,
    /// Norm before the MLP.
    pub norm2: Norm,
    /// First layer of the MLP.
    pub up: Linear,
    /// Second layer of the MLP.
    pub down: Linear,
}

/// Activation of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU, exact, with the error function.
    Gelu,
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    QuickGelu,
}

/// Parameters of a tower's blocks beside their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TowerShape {
    /// Width of the tokens.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub epsilon: f32,
}

/// A vision tower of width D, for P patches.
#[derive(Debug)]
pub struct Vision {
    /// Parameters of its blocks.
    pub shape: TowerShape,
    /// Patch side p in pixels.
    pub patch: usize,
    /// `[D, 3, p, p]`: the patches' embedding.
    pub convolution: Vec<f32>,
    /// `[D]`. `None` but for DINOv2.
    pub convolution_bias: Option<Vec<f32>>,
    /// `[D]`: the class token with its position added.
    pub class: Vec<f32>,
    /// `[P, D]`: the patches' positions on the native grid.
    pub positions: Vec<f32>,
    /// Norm before the blocks. `None` for DINOv2.
    pub norm_pre: Option<Norm>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Norm after the blocks.
    pub norm_post: Norm,
    /// `[D, E]`. `None` for DINOv2.
    pub projection: Option<Linear>,
}

/// A text tower.
#[derive(Debug)]
pub struct Text {
    /// Parameters of its blocks.
    pub shape: TowerShape,
    /// Tokens of a prompt.
    pub context: usize,
    /// Number of different tokens.
    pub vocabulary: usize,
    /// `[vocabulary, width]`
    pub embedding: Vec<f32>,
    /// `[context, width]`
    pub positions: Vec<f32>,
    /// True if a token sees only itself and the tokens before it.
    pub causal: bool,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Norm after the blocks.
    pub norm_final: Norm,
    /// `[width, E]`.
    pub projection: Linear,
}
