//! A transformer tower as plain weights, and the ONNX graphs that run it.
//!
//! Weights stand as the graphs use them: matrices `[in, out]`; the attention's `1/sqrt(head width)` folded into the
//! queries and DINOv2's layer scale into the matrix before it. Both are exact rewrites up to rounding.

use super::graph::{Dim, GraphBuilder, WeightFile, float, int, ints};
use super::proto::{self, FLOAT, INT64, Tensor};
use std::io::{self, Write};

/// A matrix `[rows, columns]`, row-major, applied as `x W + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    pub rows: usize,
    pub columns: usize,
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

#[derive(Debug, Clone)]
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// One pre-norm block.
#[derive(Debug, Clone)]
pub struct Block {
    pub norm1: Norm,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub norm2: Norm,
    pub up: Linear,
    pub down: Linear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Exact, with the error function.
    Gelu,
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    QuickGelu,
}

/// What blocks need beside their weights.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    pub epsilon: f32,
}

#[derive(Debug)]
pub struct Vision {
    pub shape: Shape,
    pub patch: usize,
    /// `[D, 3, p, p]` and a bias for DINOv2.
    pub convolution: Vec<f32>,
    pub convolution_bias: Option<Vec<f32>>,
    /// `[D]`: the class token with its position added.
    pub class: Vec<f32>,
    /// `[P, D]`: the patches' positions on the native grid.
    pub positions: Vec<f32>,
    pub norm_pre: Option<Norm>,
    pub blocks: Vec<Block>,
    pub norm_post: Norm,
    /// `[D, E]`; nothing for DINOv2.
    pub projection: Option<Linear>,
}

#[derive(Debug)]
pub struct Text {
    pub shape: Shape,
    pub context: usize,
    pub vocabulary: usize,
    /// `[vocabulary, width]`
    pub embedding: Vec<f32>,
    /// `[context, width]`
    pub positions: Vec<f32>,
    pub causal: bool,
    pub blocks: Vec<Block>,
    pub norm_final: Norm,
    pub projection: Linear,
}

/// Writes the vision tower's weights and gives `trunk` and `windows`.
pub fn write_vision<W: Write>(
    tower: &Vision,
    file: &mut WeightFile<W>,
) -> io::Result<(proto::Model, proto::Model)> {
    let (width, patch) = (tower.shape.width, tower.patch);
    let mut weights = vec![
        file.put("convolution", &[width, 3, patch, patch], &tower.convolution)?,
        file.put("class", &[1, 1, width], &tower.class)?,
        file.put(
            "positions",
            &[1, tower.positions.len() / width, width],
            &tower.positions,
        )?,
    ];
    if let Some(bias) = &tower.convolution_bias {
        weights.push(file.put("convolution_bias", &[width], bias)?);
    }
    if let Some(norm) = &tower.norm_pre {
        put_norm(file, &mut weights, "norm_pre", norm)?;
    }
    put_blocks(file, &mut weights, &tower.blocks)?;
    put_norm(file, &mut weights, "norm_post", &tower.norm_post)?;
    if let Some(projection) = &tower.projection {
        put_linear(file, &mut weights, "projection", projection)?;
    }
    Ok((trunk(tower, &weights), windows(tower, &weights)))
}

/// Writes the text tower's weights and gives its graph: ids `[N, context]` to `embedding` `[N, E]`.
pub fn write_text<W: Write>(tower: &Text, file: &mut WeightFile<W>) -> io::Result<proto::Model> {
    let width = tower.shape.width;
    let mut weights = vec![
        file.put("embedding", &[tower.vocabulary, width], &tower.embedding)?,
        file.put("positions", &[1, tower.context, width], &tower.positions)?,
    ];
    let mask = tower.causal.then(|| causal_mask(tower.context));
    if let Some(mask) = &mask {
        weights.push(file.put("mask", &[tower.context, tower.context], mask)?);
    }
    put_blocks(file, &mut weights, &tower.blocks)?;
    put_norm(file, &mut weights, "norm_final", &tower.norm_final)?;
    put_linear(file, &mut weights, "projection", &tower.projection)?;
    Ok(text(tower, &weights, mask.is_some()))
}

/// A token sees itself and what stands before it. The finite stand-in for minus infinity vanishes in the softmax.
fn causal_mask(context: usize) -> Vec<f32> {
    (0..context * context)
        .map(|i| if i % context > i / context { -1e9 } else { 0.0 })
        .collect()
}

fn put_blocks<W: Write>(
    file: &mut WeightFile<W>,
    weights: &mut Vec<Tensor>,
    blocks: &[Block],
) -> io::Result<()> {
    for (i, block) in blocks.iter().enumerate() {
        let name = |part: &str| format!("b{}.{part}", i + 1);
        put_norm(file, weights, &name("norm1"), &block.norm1)?;
        put_norm(file, weights, &name("norm2"), &block.norm2)?;
        let linears = [
            ("query", &block.query),
            ("key", &block.key),
            ("value", &block.value),
            ("out", &block.out),
            ("up", &block.up),
            ("down", &block.down),
        ];
        for (part, linear) in linears {
            put_linear(file, weights, &name(part), linear)?;
        }
    }
    Ok(())
}

fn put_norm<W: Write>(
    file: &mut WeightFile<W>,
    weights: &mut Vec<Tensor>,
    name: &str,
    norm: &Norm,
) -> io::Result<()> {
    weights.push(file.put(
        &format!("{name}.weight"),
        &[norm.weight.len()],
        &norm.weight,
    )?);
    weights.push(file.put(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias)?);
    Ok(())
}

fn put_linear<W: Write>(
    file: &mut WeightFile<W>,
    weights: &mut Vec<Tensor>,
    name: &str,
    linear: &Linear,
) -> io::Result<()> {
    weights.push(file.put(
        &format!("{name}.weight"),
        &[linear.rows, linear.columns],
        &linear.weight,
    )?);
    if let Some(bias) = &linear.bias {
        weights.push(file.put(&format!("{name}.bias"), &[linear.columns], bias)?);
    }
    Ok(())
}

/// Pixels `[N, 3, S, S]` to every value that a plan may ask for: `tokens` (what windows are gathered from),
/// `block1` ... `blockL`, `after_norm`, all `[N, 1 + P, D]`, and `image` `[N, E]`.
fn trunk(tower: &Vision, weights: &[Tensor]) -> proto::Model {
    let width = tower.shape.width;
    let mut g = GraphBuilder::new("trunk", weights);
    let side = Dim::Any("S");
    let pixels = g.input("pixels", FLOAT, &[Dim::Any("N"), Dim::Of(3), side, side]);

    let patch = tower.patch as i64;
    let mut inputs = vec![pixels.as_str(), "convolution"];
    inputs.extend(
        tower
            .convolution_bias
            .is_some()
            .then_some("convolution_bias"),
    );
    let strides = vec![
        ints("kernel_shape", &[patch, patch]),
        ints("strides", &[patch, patch]),
    ];
    let cells = g.node("Conv", "cells", &inputs, strides);
    let flat_shape = g.ints("flat_shape", &[0, width as i64, -1]);
    let flat = g.node("Reshape", "flat", &[&cells, &flat_shape], vec![]);
    let patches = g.node(
        "Transpose",
        "patches",
        &[&flat],
        vec![ints("perm", &[0, 2, 1])],
    );
    let placed = g.node("Add", "placed", &[&patches, "positions"], vec![]);

    let shape = g.node("Shape", "pixels_shape", &[&pixels], vec![]);
    let zero = g.ints("zero", &[0]);
    let count = g.node("Gather", "count", &[&shape, &zero], vec![int("axis", 0)]);
    let row = g.ints("class_row", &[1, width as i64]);
    let class_shape = g.node(
        "Concat",
        "class_shape",
        &[&count, &row],
        vec![int("axis", 0)],
    );
    let class = g.node("Expand", "classes", &["class", &class_shape], vec![]);
    let raw = if tower.norm_pre.is_some() {
        "embedded"
    } else {
        "tokens"
    };
    let mut x = g.node("Concat", raw, &[&class, &placed], vec![int("axis", 1)]);
    if tower.norm_pre.is_some() {
        x = norm(&mut g, "norm_pre", "tokens", &x, tower.shape.epsilon);
    }

    let tokens = [Dim::Any("N"), Dim::Any("T"), Dim::Of(width)];
    g.output("tokens", &tokens);
    for i in 1..=tower.blocks.len() {
        x = block(
            &mut g,
            i,
            &format!("block{i}"),
            &x,
            tower.shape,
            None,
            false,
        );
        g.output(&x, &tokens);
    }
    let after_norm = norm(&mut g, "norm_post", "after_norm", &x, tower.shape.epsilon);
    g.output(&after_norm, &tokens);
    finish_class(&mut g, tower, &x, "image");
    g.finish()
}

/// Gathered tokens `[N, 1 + k k, D]` to `embedding` `[N, E]`. The last block computes the class token's row alone.
fn windows(tower: &Vision, weights: &[Tensor]) -> proto::Model {
    let mut g = GraphBuilder::new("windows", weights);
    let mut x = g.input(
        "tokens",
        FLOAT,
        &[Dim::Any("N"), Dim::Any("T"), Dim::Of(tower.shape.width)],
    );
    let last = tower.blocks.len();
    for i in 1..=last {
        x = block(
            &mut g,
            i,
            &format!("block{i}"),
            &x,
            tower.shape,
            None,
            i == last,
        );
    }
    finish_class(&mut g, tower, &x, "embedding");
    g.finish()
}

/// The class token's row of `x`, after the final norm and the projection, as the output `name` `[N, E]`.
fn finish_class(g: &mut GraphBuilder, tower: &Vision, x: &str, name: &str) {
    let zero = g.ints("first", &[0]);
    let row = g.node(
        "Gather",
        "class_row_of_last",
        &[x, &zero],
        vec![int("axis", 1)],
    );
    let flat_shape = g.ints("class_flat", &[-1, tower.shape.width as i64]);
    let flat = g.node("Reshape", "class_token", &[&row, &flat_shape], vec![]);
    let embed = match &tower.projection {
        Some(projection) => {
            let normed = norm(g, "norm_post", "class_normed", &flat, tower.shape.epsilon);
            g.node("MatMul", name, &[&normed, "projection.weight"], vec![]);
            projection.columns
        }
        None => {
            norm(g, "norm_post", name, &flat, tower.shape.epsilon);
            tower.shape.width
        }
    };
    g.output(name, &[Dim::Any("N"), Dim::Of(embed)]);
}

fn text(tower: &Text, weights: &[Tensor], masked: bool) -> proto::Model {
    let mut g = GraphBuilder::new("text", weights);
    let ids = g.input("ids", INT64, &[Dim::Any("N"), Dim::Of(tower.context)]);
    let embedded = g.node(
        "Gather",
        "embedded",
        &["embedding", &ids],
        vec![int("axis", 0)],
    );
    let mut x = g.node("Add", "placed", &[&embedded, "positions"], vec![]);
    for i in 1..=tower.blocks.len() {
        x = block(
            &mut g,
            i,
            &format!("block{i}"),
            &x,
            tower.shape,
            masked.then_some("mask"),
            false,
        );
    }
    let normed = norm(&mut g, "norm_final", "normed", &x, tower.shape.epsilon);
    // The end token has the largest id of all; padding is zero.
    let end = g.node(
        "ArgMax",
        "end",
        &[&ids],
        vec![int("axis", 1), int("keepdims", 1)],
    );
    let row = g.node(
        "GatherND",
        "end_row",
        &[&normed, &end],
        vec![int("batch_dims", 1)],
    );
    g.node("MatMul", "features", &[&row, "projection.weight"], vec![]);
    g.output(
        "features",
        &[Dim::Any("N"), Dim::Of(tower.projection.columns)],
    );
    g.finish()
}

fn norm(g: &mut GraphBuilder, weights: &str, name: &str, x: &str, epsilon: f32) -> String {
    let (weight, bias) = (format!("{weights}.weight"), format!("{weights}.bias"));
    g.node(
        "LayerNormalization",
        name,
        &[x, &weight, &bias],
        vec![int("axis", -1), float("epsilon", epsilon)],
    )
}

fn linear(g: &mut GraphBuilder, weights: &str, name: &str, x: &str, biased: bool) -> String {
    let weight = format!("{weights}.weight");
    if !biased {
        return g.node("MatMul", name, &[x, &weight], vec![]);
    }
    let product = g.node("MatMul", &format!("{name}.product"), &[x, &weight], vec![]);
    g.node("Add", name, &[&product, &format!("{weights}.bias")], vec![])
}

/// One block: `x + attention(norm1(x))`, then `x + mlp(norm2(x))`, as the value `name`. With `class_only`, queries,
/// projection and MLP are those of the first token alone.
fn block(
    g: &mut GraphBuilder,
    i: usize,
    name: &str,
    x: &str,
    shape: Shape,
    mask: Option<&str>,
    class_only: bool,
) -> String {
    let part = |p: &str| format!("b{i}.{p}");
    let normed = norm(g, &part("norm1"), &part("normed1"), x, shape.epsilon);
    let (asking, residual) = if class_only {
        let first = g.ints("first", &[0]);
        let axis = vec![int("axis", 1)];
        let asking = g.node(
            "Gather",
            &part("normed1_class"),
            &[&normed, &first],
            axis.clone(),
        );
        (asking, g.node("Gather", &part("class"), &[x, &first], axis))
    } else {
        (normed.clone(), x.to_owned())
    };
    let query = linear(g, &part("query"), &part("q"), &asking, true);
    let key = linear(g, &part("key"), &part("k"), &normed, true);
    let value = linear(g, &part("value"), &part("v"), &normed, true);
    let mixed = attention(g, &part("attention"), [&query, &key, &value], shape, mask);
    let attended = linear(g, &part("out"), &part("attended"), &mixed, true);
    let middle = g.node("Add", &part("middle"), &[&residual, &attended], vec![]);

    let normed = norm(g, &part("norm2"), &part("normed2"), &middle, shape.epsilon);
    let up = linear(g, &part("up"), &part("raised"), &normed, true);
    let active = activation(g, &part("active"), &up, shape.activation);
    let down = linear(g, &part("down"), &part("lowered"), &active, true);
    g.node("Add", name, &[&middle, &down], vec![])
}

/// `softmax(q k^T + mask) v` for each head; the queries carry the scale already.
fn attention(
    g: &mut GraphBuilder,
    name: &str,
    [q, k, v]: [&str; 3],
    shape: Shape,
    mask: Option<&str>,
) -> String {
    let head = (shape.width / shape.heads) as i64;
    let split = g.ints("head_split", &[0, 0, shape.heads as i64, head]);
    let joined = g.ints("head_join", &[0, 0, shape.width as i64]);
    let mut heads = |x: &str, part: &str, perm: &[i64]| {
        let apart = g.node(
            "Reshape",
            &format!("{name}.{part}.apart"),
            &[x, &split],
            vec![],
        );
        g.node(
            "Transpose",
            &format!("{name}.{part}.heads"),
            &[&apart],
            vec![ints("perm", perm)],
        )
    };
    let q = heads(q, "q", &[0, 2, 1, 3]);
    let k = heads(k, "k", &[0, 2, 3, 1]);
    let v = heads(v, "v", &[0, 2, 1, 3]);
    let mut scores = g.node("MatMul", &format!("{name}.scores"), &[&q, &k], vec![]);
    if let Some(mask) = mask {
        scores = g.node("Add", &format!("{name}.masked"), &[&scores, mask], vec![]);
    }
    let shares = g.node(
        "Softmax",
        &format!("{name}.shares"),
        &[&scores],
        vec![int("axis", -1)],
    );
    let mixed = g.node("MatMul", &format!("{name}.mixed"), &[&shares, &v], vec![]);
    let back = g.node(
        "Transpose",
        &format!("{name}.back"),
        &[&mixed],
        vec![ints("perm", &[0, 2, 1, 3])],
    );
    g.node("Reshape", name, &[&back, &joined], vec![])
}

fn activation(g: &mut GraphBuilder, name: &str, x: &str, kind: Activation) -> String {
    let part = |p: &str| format!("{name}.{p}");
    match kind {
        // Hendrycks and Gimpel, arXiv 1606.08415: x Phi(x) = x (1 + erf(x / sqrt 2)) / 2.
        Activation::Gelu => {
            let root = g.float("root_two", std::f32::consts::SQRT_2);
            let one = g.float("one", 1.0);
            let half = g.float("half", 0.5);
            let scaled = g.node("Div", &part("scaled"), &[x, &root], vec![]);
            let erf = g.node("Erf", &part("erf"), &[&scaled], vec![]);
            let raised = g.node("Add", &part("raised"), &[&erf, &one], vec![]);
            let product = g.node("Mul", &part("product"), &[x, &raised], vec![]);
            g.node("Mul", name, &[&product, &half], vec![])
        }
        Activation::QuickGelu => {
            let slope = g.float("slope", 1.702);
            let scaled = g.node("Mul", &part("scaled"), &[x, &slope], vec![]);
            let sigmoid = g.node("Sigmoid", &part("sigmoid"), &[&scaled], vec![]);
            g.node("Mul", name, &[x, &sigmoid], vec![])
        }
    }
}
