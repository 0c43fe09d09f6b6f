//! A transformer tower as plain weights, and the ONNX graphs that run it.
//!
//! Weights stand as the graphs use them: matrices `[in, out]`; the attention's `1/sqrt(head width)`
//! folded into the queries and DINOv2's layer scale into the matrix before it. Both are exact rewrites
//! up to rounding.

use crate::model::graph::{Dim, GraphBuilder, WeightFile, float, int, ints};
use crate::model::proto::{FLOAT, INT64, ModelProto, TensorProto};
use std::io::{self, Write};

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
#[derive(Debug, Clone, Copy)]
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

/// The two graphs of a vision tower.
pub struct VisionGraphs {
    /// Pixels to tokens.
    pub trunk: ModelProto,
    /// Gathered tokens to embeddings.
    pub windows: ModelProto,
}

/// Writes the vision tower's weights and returns its graphs.
///
/// # Errors
/// When the weights cannot be written.
pub fn write_vision<W: Write>(
    tower: &Vision,
    file: &mut WeightFile<W>,
) -> io::Result<VisionGraphs> {
    let width = tower.shape.width;
    let patch = tower.patch;
    let patches = tower.positions.len() / width;
    let mut weights = Weights::new(file);
    weights.put("convolution", &[width, 3, patch, patch], &tower.convolution)?;
    weights.put("class", &[1, 1, width], &tower.class)?;
    weights.put("positions", &[1, patches, width], &tower.positions)?;
    if let Some(bias) = &tower.convolution_bias {
        weights.put("convolution_bias", &[width], bias)?;
    }

    if let Some(norm) = &tower.norm_pre {
        weights.put_norm("norm_pre", norm)?;
    }

    weights.put_blocks(&tower.blocks)?;
    weights.put_norm("norm_post", &tower.norm_post)?;
    if let Some(projection) = &tower.projection {
        weights.put_linear("projection", projection)?;
    }

    Ok(VisionGraphs {
        trunk: trunk(tower, &weights.written),
        windows: windows(tower, &weights.written),
    })
}

/// Writes the text tower's weights and returns its graph: ids `[N, context]` to `embedding` `[N, E]`.
///
/// # Errors
/// When the weights cannot be written.
pub fn write_text<W: Write>(tower: &Text, file: &mut WeightFile<W>) -> io::Result<ModelProto> {
    let width = tower.shape.width;
    let context = tower.context;
    let mut weights = Weights::new(file);
    weights.put("embedding", &[tower.vocabulary, width], &tower.embedding)?;
    weights.put("positions", &[1, context, width], &tower.positions)?;
    if tower.causal {
        weights.put("mask", &[context, context], &causal_mask(context))?;
    }

    weights.put_blocks(&tower.blocks)?;
    weights.put_norm("norm_final", &tower.norm_final)?;
    weights.put_linear("projection", &tower.projection)?;
    Ok(text(tower, &weights.written))
}

/// Mask by which a token sees itself and the tokens before it. The finite stand-in for minus infinity
/// vanishes in the softmax.
fn causal_mask(context: usize) -> Vec<f32> {
    let mut mask = Vec::with_capacity(context * context);
    for row in 0..context {
        for column in 0..context {
            mask.push(if column > row { -1e9 } else { 0.0 });
        }
    }

    mask
}

/// Weights on their way into a file.
struct Weights<'a, W> {
    file: &'a mut WeightFile<W>,
    /// Descriptions of those written so far.
    written: Vec<TensorProto>,
}

impl<'a, W: Write> Weights<'a, W> {
    fn new(file: &'a mut WeightFile<W>) -> Self {
        Weights {
            file,
            written: Vec::new(),
        }
    }

    fn put(&mut self, name: &str, dims: &[usize], values: &[f32]) -> io::Result<()> {
        self.written.push(self.file.put(name, dims, values)?);
        Ok(())
    }

    fn put_norm(&mut self, name: &str, norm: &Norm) -> io::Result<()> {
        let width = norm.weight.len();
        self.put(&format!("{name}.weight"), &[width], &norm.weight)?;
        self.put(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias)
    }

    fn put_linear(&mut self, name: &str, linear: &Linear) -> io::Result<()> {
        let dims = [linear.rows, linear.columns];
        self.put(&format!("{name}.weight"), &dims, &linear.weight)?;
        if let Some(bias) = &linear.bias {
            self.put(&format!("{name}.bias"), &[linear.columns], bias)?;
        }

        Ok(())
    }

    fn put_blocks(&mut self, blocks: &[Block]) -> io::Result<()> {
        for (i, block) in blocks.iter().enumerate() {
            let prefix = format!("b{}", i + 1);
            self.put_norm(&format!("{prefix}.norm1"), &block.norm1)?;
            self.put_norm(&format!("{prefix}.norm2"), &block.norm2)?;
            let linears = [
                ("query", &block.query),
                ("key", &block.key),
                ("value", &block.value),
                ("out", &block.out),
                ("up", &block.up),
                ("down", &block.down),
            ];

            for (part, linear) in linears {
                self.put_linear(&format!("{prefix}.{part}"), linear)?;
            }
        }

        Ok(())
    }
}

/// Tokens `[N, T, width]`.
fn token_dims(width: usize) -> [Dim; 3] {
    [Dim::Any("N"), Dim::Any("T"), Dim::Of(width)]
}

/// The trunk: pixels `[N, 3, S, S]` to every value that a plan may ask for. These are `tokens` (from
/// which windows are gathered), `block1` ... `blockL` and `after_norm`, all `[N, 1 + P, D]`, and
/// `image` `[N, E]`.
fn trunk(tower: &Vision, weights: &[TensorProto]) -> ModelProto {
    let mut g = GraphBuilder::new("trunk", weights);
    let dims = token_dims(tower.shape.width);
    let mut x = tokens(&mut g, tower);
    g.output("tokens", &dims);
    let blocks = Blocks::of(tower.shape);
    for i in 1..=tower.blocks.len() {
        x = blocks.block(&mut g, i, &x);
        g.output(&x, &dims);
    }

    let after_norm = norm(&mut g, "norm_post", "after_norm", &x, tower.shape);
    g.output(&after_norm, &dims);
    finish_class(&mut g, tower, &x, "image");
    g.finish()
}

/// Pixels to the tokens before the first block: class and patches, with their positions.
fn tokens(g: &mut GraphBuilder, tower: &Vision) -> String {
    let patches = patches(g, tower);
    let placed = g.op("Add", "placed", &[&patches, "positions"]);
    let classes = classes(g, tower.shape.width);
    let axis = vec![int("axis", 1)];
    if tower.norm_pre.is_none() {
        return g.node("Concat", "tokens", &[&classes, &placed], axis);
    }

    let embedded = g.node("Concat", "embedded", &[&classes, &placed], axis);
    norm(g, "norm_pre", "tokens", &embedded, tower.shape)
}

/// Embedded patches `[N, P, D]` of the pixels.
fn patches(g: &mut GraphBuilder, tower: &Vision) -> String {
    let width = tower.shape.width as i64;
    let patch = tower.patch as i64;
    let side = Dim::Any("S");
    let dims = [Dim::Any("N"), Dim::Of(3), side, side];
    let pixels = g.input("pixels", FLOAT, &dims);
    let mut inputs = vec![pixels.as_str(), "convolution"];
    if tower.convolution_bias.is_some() {
        inputs.push("convolution_bias");
    }

    let strides = vec![
        ints("kernel_shape", &[patch, patch]),
        ints("strides", &[patch, patch]),
    ];

    let cells = g.node("Conv", "cells", &inputs, strides);
    let flat_shape = g.ints("flat_shape", &[0, width, -1]);
    let flat = g.op("Reshape", "flat", &[&cells, &flat_shape]);
    let order = vec![ints("perm", &[0, 2, 1])];
    g.node("Transpose", "patches", &[&flat], order)
}

/// The class token `[N, 1, D]`, one for each picture.
fn classes(g: &mut GraphBuilder, width: usize) -> String {
    let shape = g.op("Shape", "pixels_shape", &["pixels"]);
    let zero = g.ints("zero", &[0]);
    let axis = vec![int("axis", 0)];
    let count = g.node("Gather", "count", &[&shape, &zero], axis.clone());
    let row = g.ints("class_row", &[1, width as i64]);
    let class_shape = g.node("Concat", "class_shape", &[&count, &row], axis);
    g.op("Expand", "classes", &["class", &class_shape])
}

/// The windows: gathered tokens `[N, 1 + k k, D]` to `embedding` `[N, E]`. The last block computes the
/// class token's row alone.
fn windows(tower: &Vision, weights: &[TensorProto]) -> ModelProto {
    let mut g = GraphBuilder::new("windows", weights);
    let mut x = g.input("tokens", FLOAT, &token_dims(tower.shape.width));
    let last = tower.blocks.len();
    for i in 1..=last {
        let blocks = Blocks {
            class_only: i == last,
            ..Blocks::of(tower.shape)
        };

        x = blocks.block(&mut g, i, &x);
    }

    finish_class(&mut g, tower, &x, "embedding");
    g.finish()
}

/// The class token's row of `x`, after the final norm and the projection, as the output `name`
/// `[N, E]`.
fn finish_class(g: &mut GraphBuilder, tower: &Vision, x: &str, name: &str) {
    let width = tower.shape.width;
    let zero = g.ints("first", &[0]);
    let axis = vec![int("axis", 1)];
    let row = g.node("Gather", "class_row_of_last", &[x, &zero], axis);
    let flat_shape = g.ints("class_flat", &[-1, width as i64]);
    let flat = g.op("Reshape", "class_token", &[&row, &flat_shape]);
    let embed = if let Some(projection) = &tower.projection {
        let normed = norm(g, "norm_post", "class_normed", &flat, tower.shape);
        g.op("MatMul", name, &[&normed, "projection.weight"]);
        projection.columns
    } else {
        norm(g, "norm_post", name, &flat, tower.shape);
        width
    };

    g.output(name, &[Dim::Any("N"), Dim::Of(embed)]);
}

/// The text tower: ids `[N, context]` to `features` `[N, E]`.
fn text(tower: &Text, weights: &[TensorProto]) -> ModelProto {
    let mut g = GraphBuilder::new("text", weights);
    let ids = g.input("ids", INT64, &[Dim::Any("N"), Dim::Of(tower.context)]);
    let axis = vec![int("axis", 0)];
    let embedded = g.node("Gather", "embedded", &["embedding", &ids], axis);
    let mut x = g.op("Add", "placed", &[&embedded, "positions"]);
    let blocks = Blocks {
        mask: tower.causal.then_some("mask"),
        ..Blocks::of(tower.shape)
    };

    for i in 1..=tower.blocks.len() {
        x = blocks.block(&mut g, i, &x);
    }

    let normed = norm(&mut g, "norm_final", "normed", &x, tower.shape);
    // The end token has the largest id of all; padding is zero.
    let last = vec![int("axis", 1), int("keepdims", 1)];
    let end = g.node("ArgMax", "end", &[&ids], last);
    let batch = vec![int("batch_dims", 1)];
    let row = g.node("GatherND", "end_row", &[&normed, &end], batch);
    g.op("MatMul", "features", &[&row, "projection.weight"]);
    let embed = Dim::Of(tower.projection.columns);
    g.output("features", &[Dim::Any("N"), embed]);
    g.finish()
}

/// A layer norm of `x` as the value `name`.
fn norm(g: &mut GraphBuilder, weights: &str, name: &str, x: &str, shape: TowerShape) -> String {
    let weight = format!("{weights}.weight");
    let bias = format!("{weights}.bias");
    let attributes = vec![int("axis", -1), float("epsilon", shape.epsilon)];
    g.node("LayerNormalization", name, &[x, &weight, &bias], attributes)
}

/// Builder of a tower's blocks.
struct Blocks {
    shape: TowerShape,
    /// Name of the attention's mask. `None` if every token sees all.
    mask: Option<&'static str>,
    /// True if queries, projection and MLP are those of the first token alone.
    class_only: bool,
}

impl Blocks {
    /// Blocks without a mask, for all tokens.
    fn of(shape: TowerShape) -> Self {
        Blocks {
            shape,
            mask: None,
            class_only: false,
        }
    }

    /// Block `i`: `x + attention(norm1(x))`, then `x + mlp(norm2(x))`, as the value `block<i>`.
    fn block(&self, g: &mut GraphBuilder, i: usize, x: &str) -> String {
        let part = |part: &str| format!("b{i}.{part}");
        let normed = norm(g, &part("norm1"), &part("normed1"), x, self.shape);
        let mut queries_of = normed.clone();
        let mut residual = x.to_owned();
        if self.class_only {
            let first = g.ints("first", &[0]);
            let axis = vec![int("axis", 1)];
            let class_of = [&normed, &first].map(String::as_str);
            queries_of = g.node("Gather", &part("normed1_class"), &class_of, axis.clone());
            residual = g.node("Gather", &part("class"), &[x, &first], axis);
        }

        let query = linear(g, &part("query"), &part("q"), &queries_of);
        let key = linear(g, &part("key"), &part("k"), &normed);
        let value = linear(g, &part("value"), &part("v"), &normed);
        let mixed = self.attention(g, &part("attention"), [&query, &key, &value]);
        let attended = linear(g, &part("out"), &part("attended"), &mixed);
        let middle = g.op("Add", &part("middle"), &[&residual, &attended]);

        let normed = norm(g, &part("norm2"), &part("normed2"), &middle, self.shape);
        let up = linear(g, &part("up"), &part("raised"), &normed);
        let active = activation(g, &part("active"), &up, self.shape.activation);
        let down = linear(g, &part("down"), &part("lowered"), &active);
        g.op("Add", &format!("block{i}"), &[&middle, &down])
    }

    /// `softmax(q k^T + mask) v` for each head; the queries carry the scale already.
    fn attention(&self, g: &mut GraphBuilder, name: &str, [q, k, v]: [&str; 3]) -> String {
        let part = |part: &str| format!("{name}.{part}");
        let width = self.shape.width;
        let heads = self.shape.heads;
        let head_width = width / heads;
        let split = g.ints("head_split", &[0, 0, heads as i64, head_width as i64]);
        let joined = g.ints("head_join", &[0, 0, width as i64]);
        let q = split_heads(g, q, &split, &part("q"), &[0, 2, 1, 3]);
        let k = split_heads(g, k, &split, &part("k"), &[0, 2, 3, 1]);
        let v = split_heads(g, v, &split, &part("v"), &[0, 2, 1, 3]);
        let mut scores = g.op("MatMul", &part("scores"), &[&q, &k]);
        if let Some(mask) = self.mask {
            scores = g.op("Add", &part("masked"), &[&scores, mask]);
        }

        let axis = vec![int("axis", -1)];
        let shares = g.node("Softmax", &part("shares"), &[&scores], axis);
        let mixed = g.op("MatMul", &part("mixed"), &[&shares, &v]);
        let order = vec![ints("perm", &[0, 2, 1, 3])];
        let back = g.node("Transpose", &part("back"), &[&mixed], order);
        g.op("Reshape", name, &[&back, &joined])
    }
}

/// Splits `x` to the shape `split`, its axes (picture, token, head, value) then in the order `axes`.
fn split_heads(g: &mut GraphBuilder, x: &str, split: &str, name: &str, axes: &[i64]) -> String {
    let apart = g.op("Reshape", &format!("{name}.apart"), &[x, split]);
    let order = vec![ints("perm", axes)];
    g.node("Transpose", &format!("{name}.heads"), &[&apart], order)
}

/// `x W + b` as the value `name`.
fn linear(g: &mut GraphBuilder, weights: &str, name: &str, x: &str) -> String {
    let weight = format!("{weights}.weight");
    let bias = format!("{weights}.bias");
    let product = g.op("MatMul", &format!("{name}.product"), &[x, &weight]);
    g.op("Add", name, &[&product, &bias])
}

/// The activation of `x` as the value `name`.
fn activation(g: &mut GraphBuilder, name: &str, x: &str, kind: Activation) -> String {
    let part = |part: &str| format!("{name}.{part}");
    match kind {
        // Hendrycks and Gimpel, arXiv 1606.08415: x Phi(x) = x (1 + erf(x / sqrt 2)) / 2.
        Activation::Gelu => {
            let root = g.float("root_two", std::f32::consts::SQRT_2);
            let one = g.float("one", 1.0);
            let half = g.float("half", 0.5);
            let scaled = g.op("Div", &part("scaled"), &[x, &root]);
            let erf = g.op("Erf", &part("erf"), &[&scaled]);
            let raised = g.op("Add", &part("raised"), &[&erf, &one]);
            let product = g.op("Mul", &part("product"), &[x, &raised]);
            g.op("Mul", name, &[&product, &half])
        }
        Activation::QuickGelu => {
            let slope = g.float("slope", 1.702);
            let scaled = g.op("Mul", &part("scaled"), &[x, &slope]);
            let sigmoid = g.op("Sigmoid", &part("sigmoid"), &[&scaled]);
            g.op("Mul", name, &[x, &sigmoid])
        }
    }
}
