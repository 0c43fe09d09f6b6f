//! A transformer tower as plain weights, and the ONNX graphs that run it.
//!
//! Weights stand as the graphs use them: matrices `[in, out]`; the attention's `1/sqrt(head width)`
//! folded into the queries and DINOv2's layer scale into the matrix before it. Both are exact rewrites
//! up to rounding.
//!
//! Register tokens exist inside of the graphs alone. They stand behind the patches there, where their
//! libraries put them before: without a position of their own, their place changes nothing. Every
//! output has the class token and the patches, as without registers.

use crate::model::graph::{Dim, GraphBuilder, WeightFile, int, ints};
use crate::model::proto::{FLOAT, INT64, ModelProto, TensorProto};
use blocks::{Blocks, norm};
use std::io::{self, Write};

mod blocks;
mod shape;

pub use shape::{Activation, TowerShape};

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
    /// `[R, D]`: the register tokens, which have no positions. Empty for a tower without.
    pub registers: Vec<f32>,
    /// Norm before the blocks. `None` for DINOv2.
    pub norm_pre: Option<Norm>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Norm after the blocks.
    pub norm_post: Norm,
    /// `[D, E]`. `None` for DINOv2.
    pub projection: Option<Linear>,
}

impl Vision {
    /// Number R of the register tokens.
    fn register_count(&self) -> usize {
        let width = self.shape.width;
        self.registers.len() / width
    }
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
    // `width` is D and `patch` is p. The number P of patches follows from the positions, which the
    // import has checked against the configuration's grid.
    // The weights are written once and used by both graphs:
    //   convolution [D, 3, p, p]   class [1, 1, D]   positions [1, P, D]   convolution_bias [D]
    //   registers [1, R, D]        norm_pre [D] twice
    //   b<i>.<part>                norm_post [D] twice                     projection [D, E]
    let width = tower.shape.width;
    let patch = tower.patch;
    let patches = tower.positions.len() / width;

    // The embedding's weights have the shapes in which the graph's nodes take them: the axes of
    // length 1 are broadcast over the pictures and over the tokens.
    let mut weights = Weights::new(file);
    weights.put("convolution", &[width, 3, patch, patch], &tower.convolution)?;
    // One token serves all pictures, and is repeated at run time.
    weights.put("class", &[1, 1, width], &tower.class)?;
    // This is the only tensor whose length depends on the grid: the engine fits it when a plan runs
    // at another side.
    weights.put("positions", &[1, patches, width], &tower.positions)?;
    // Absent weights are not written at all, and the graphs below leave out the nodes that would
    // use them.
    if let Some(bias) = &tower.convolution_bias {
        weights.put("convolution_bias", &[width], bias)?;
    }

    if tower.register_count() > 0 {
        let dims = [1, tower.register_count(), width];
        weights.put("registers", &dims, &tower.registers)?;
    }

    // Only CLIP's towers have a norm before the blocks.
    if let Some(norm) = &tower.norm_pre {
        weights.put_norm("norm_pre", norm)?;
    }

    // The blocks are `b1` ... `bL`, each tensor under the name by which the graphs refer to it.
    weights.put_blocks(&tower.blocks)?;
    // This norm is behind the blocks, for the image's embedding and for the patch layer
    // `after_norm`.
    weights.put_norm("norm_post", &tower.norm_post)?;
    // Only CLIP's towers are projected into the space of texts.
    if let Some(projection) = &tower.projection {
        weights.put_linear("projection", projection)?;
    }

    // Both graphs refer to the same file: a model's vision weights are on the disk once.
    Ok(VisionGraphs {
        trunk: trunk(tower, &weights.written),
        windows: windows(tower, &weights.written),
    })
}

/// Writes the text tower's weights and returns its graph: ids `[N, C]` to `features` `[N, E]`.
///
/// # Errors
/// When the weights cannot be written.
pub fn write_text<W: Write>(tower: &Text, file: &mut WeightFile<W>) -> io::Result<ModelProto> {
    // The text graph has these tensors:
    //   embedding [vocabulary, width]   positions [1, C, width]   mask [C, C]
    //   b<i>.<part>                     norm_final [width] twice  projection [width, E]
    let width = tower.shape.width;
    // Prompts are padded to the context, so that its length C is fixed in the graph.
    let context = tower.context;

    // `embedding` has a row for each token, `positions` one for each place in a prompt.
    let mut weights = Weights::new(file);
    // The embedding is by far the largest of them: 49408 rows.
    weights.put("embedding", &[tower.vocabulary, width], &tower.embedding)?;
    weights.put("positions", &[1, context, width], &tower.positions)?;
    // The mask `[C, C]` is added to the attention's scores `[N, heads, C, C]`. It stands as data,
    // so that the graph needs no operators to build it.
    if tower.causal {
        weights.put("mask", &[context, context], &causal_mask(context))?;
    }

    // Blocks, final norm and projection `[width, E]` follow, as in a vision tower.
    weights.put_blocks(&tower.blocks)?;
    weights.put_norm("norm_final", &tower.norm_final)?;
    weights.put_linear("projection", &tower.projection)?;
    Ok(text(tower, &weights.written))
}

/// Mask by which a token sees itself and the tokens before it. The finite stand-in for minus infinity
/// vanishes in the softmax.
fn causal_mask(context: usize) -> Vec<f32> {
    let mut mask = Vec::with_capacity(context * context);
    // A row is the token that asks, a column the token that is asked. Later columns are hidden.
    for row in 0..context {
        for column in 0..context {
            // exp(-1e9) is 0 in f32, so that a hidden token has no share at all.
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
        // The description holds the place of the values in the file, by which a graph refers to
        // them.
        let description = self.file.put(name, dims, values)?;
        self.written.push(description);
        Ok(())
    }

    fn put_norm(&mut self, name: &str, norm: &Norm) -> io::Result<()> {
        // Both vectors have the tower's width; a norm of another length was refused by the reader.
        let width = norm.weight.len();
        let bias_width = norm.bias.len();

        // They are the factor and the addend of each value of a token.
        let weight_name = format!("{name}.weight");
        let bias_name = format!("{name}.bias");
        self.put(&weight_name, &[width], &norm.weight)?;
        self.put(&bias_name, &[bias_width], &norm.bias)
    }

    fn put_linear(&mut self, name: &str, linear: &Linear) -> io::Result<()> {
        // The matrix stands as `[in, out]`, so that a node multiplies it from the right without a
        // transposition at run time.
        let dims = [linear.rows, linear.columns];
        let weight_name = format!("{name}.weight");
        self.put(&weight_name, &dims, &linear.weight)?;

        // A projection has no bias, and its graph no addition.
        if let Some(bias) = &linear.bias {
            let bias_name = format!("{name}.bias");
            self.put(&bias_name, &[linear.columns], bias)?;
        }

        Ok(())
    }

    fn put_blocks(&mut self, blocks: &[Block]) -> io::Result<()> {
        // Names count from 1, because `block0` would be the tokens before the first block.
        for (i, block) in blocks.iter().enumerate() {
            let number = i + 1;
            let prefix = format!("b{number}");

            // The two norms [D] stand before the attention and before the MLP.
            self.put_norm(&format!("{prefix}.norm1"), &block.norm1)?;
            self.put_norm(&format!("{prefix}.norm2"), &block.norm2)?;

            // The four matrices of the attention are `[D, D]`, `up` is `[D, mlp]` and `down` is
            // `[mlp, D]`.
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
    // N and T are open: both graphs take any number of crops, and windows of any size.
    [Dim::Any("N"), Dim::Any("T"), Dim::Of(width)]
}

/// The trunk: pixels `[N, 3, S, S]` to every value that a plan may ask for. These are `tokens` (from
/// which windows are gathered), `block1` ... `blockL` and `after_norm`, all `[N, 1 + P, D]`, and
/// `image` `[N, E]`.
fn trunk(tower: &Vision, weights: &[TensorProto]) -> ModelProto {
    // Each value that a plan may ask for is an output here; `cut` in `graph.rs` later drops those
    // that a recipe does not need, and with them their nodes.
    //   pixels [N, 3, S, S] -> tokens [N, 1 + P, D] -> block1 -> ... -> blockL -> after_norm
    //                                                                     \-> class row -> image [N, E]
    let mut g = GraphBuilder::new("trunk", weights);
    let dims = token_dims(tower.shape.width);
    let mut x = tokens(&mut g, tower);
    // The tokens are an output for the windows, which go through the blocks by themselves.
    g.output("tokens", &dims);
    let mut visible = x.clone();
    x = with_registers(&mut g, tower, &x);

    // Every block keeps the shape `[N, 1 + P, D]`: the class token is row 0, the patches follow in
    // the order of rows and columns of the grid. Registers are rows behind them.
    let mut blocks = Blocks::of(tower.shape);
    if tower.register_count() > 0 {
        blocks.value = "all";
    }

    for i in 1..=tower.blocks.len() {
        // The output's name is `block<i>`, by which a patch layer is asked for.
        x = blocks.block(&mut g, i, &x);
        visible = without_registers(&mut g, tower, &x, &format!("block{i}"));
        g.output(&visible, &dims);
    }

    // This is the last norm of all tokens, for DINOv2's patch features; the image's embedding takes
    // the class token's row of the same block.
    let after_norm = norm(&mut g, "norm_post", "after_norm", &visible, tower.shape);
    g.output(&after_norm, &dims);
    // The class token comes from the last block rather than from `after_norm`: the norm of one row
    // costs nothing, and a plan without `after_norm` can then drop it.
    finish_class(&mut g, tower, &x, "image");
    g.finish()
}

/// Pixels to the tokens before the first block: class and patches, with their positions.
fn tokens(g: &mut GraphBuilder, tower: &Vision) -> String {
    // Each patch gets its place on the grid, and the class token stands before all of them.
    //   patches [N, P, D] + positions [1, P, D]   = placed  [N, P, D]
    //   class   [1, 1, D] repeated                = classes [N, 1, D]
    //   classes | placed                          = tokens  [N, 1 + P, D]
    let patches = patches(g, tower);
    let placed = g.op("Add", "placed", &[&patches, "positions"]);
    // The class token has its own position already.
    let classes = classes(g, tower.shape.width);
    // Axis 1 is that of the tokens.
    let axis = vec![int("axis", 1)];
    if tower.norm_pre.is_none() {
        return g.node("Concat", "tokens", &[&classes, &placed], axis);
    }

    // CLIP's towers norm the tokens once before the first block; the windows are gathered after it,
    // so that each token is normed once for all windows that hold it.
    let embedded = g.node("Concat", "embedded", &[&classes, &placed], axis);
    norm(g, "norm_pre", "tokens", &embedded, tower.shape)
}

/// Embedded patches `[N, P, D]` of the pixels.
fn patches(g: &mut GraphBuilder, tower: &Vision) -> String {
    // The cells of the grid become rows of tokens.
    //   pixels [N, 3, S, S] -> cells [N, D, G, G] -> flat [N, D, P] -> patches [N, P, D],  P = G x G
    let width = tower.shape.width as i64;
    let patch = tower.patch as i64;

    // The pixels are [N, 3, S, S], normalised RGB. The side stays open, since a plan may run at
    // another side than the native one, with positions resized for it.
    let side = Dim::Any("S");
    let dims = [Dim::Any("N"), Dim::Of(3), side, side];
    // The pixels are the only input of the trunk.
    let pixels = g.input("pixels", FLOAT, &dims);

    // Weights are inputs by name like any value; a third input is the bias, which a convolution may
    // lack.
    let mut inputs = vec![pixels.as_str(), "convolution"];
    if tower.convolution_bias.is_some() {
        inputs.push("convolution_bias");
    }

    // Kernel and stride are both p, so that patches do not overlap and each patch is one product.
    // Pixels beyond the last whole patch are not seen.
    let strides = vec![
        ints("kernel_shape", &[patch, patch]),
        ints("strides", &[patch, patch]),
    ];

    // The cells are [N, D, G, G]: a column of D values for each place of the grid.
    let cells = g.node("Conv", "cells", &inputs, strides);

    // In the shape [N, D, P] 0 keeps N, and -1 is worked out from the rest.
    let flat_shape = g.ints("flat_shape", &[0, width, -1]);
    // The cells come in row-major order: row, then column.
    let flat = g.op("Reshape", "flat", &[&cells, &flat_shape]);
    // The tokens become rows, [N, P, D], as the blocks need them.
    let order = vec![ints("perm", &[0, 2, 1])];
    g.node("Transpose", "patches", &[&flat], order)
}

/// The tokens `x` `[N, T, D]` with the registers behind them, `[N, T + R, D]`; `x` itself where there
/// are none.
fn with_registers(g: &mut GraphBuilder, tower: &Vision, x: &str) -> String {
    let count = tower.register_count() as i64;
    if count == 0 {
        return x.to_owned();
    }

    // The registers [1, R, D] are repeated for every picture or window, as the class token is.
    // Their number N is known at run time alone: it is the first of the tokens' sides.
    let shape = g.op("Shape", "tokens_shape", &[x]);
    let zero = g.ints("zero", &[0]);
    let axis = vec![int("axis", 0)];
    let pictures = g.node("Gather", "tokens_count", &[&shape, &zero], axis.clone());

    // The shape joins N with R and D.
    let width = tower.shape.width as i64;
    let row = g.ints("register_rows", &[count, width]);
    let all = g.node("Concat", "registers_shape", &[&pictures, &row], axis);
    let repeated = g.op("Expand", "all_registers", &["registers", &all]);

    // Behind the tokens, along their axis.
    let tokens_axis = vec![int("axis", 1)];
    g.node("Concat", "all0", &[x, &repeated], tokens_axis)
}

/// The tokens `x` `[N, T + R, D]` without the registers, `[N, T, D]`, as the value `name`; `x` itself
/// where there are none.
fn without_registers(g: &mut GraphBuilder, tower: &Vision, x: &str, name: &str) -> String {
    let count = tower.register_count() as i64;
    if count == 0 {
        return x.to_owned();
    }

    // A negative end counts from behind, so that any grid is cut alike.
    let start = g.ints("visible_start", &[0]);
    let end = g.ints("visible_end", &[-count]);
    let axis = g.ints("visible_axis", &[1]);

    // The inputs of a slice are values too: start, end and axis, one of each.
    g.op("Slice", name, &[x, &start, &end, &axis])
}

/// The class token `[N, 1, D]`, one for each picture.
fn classes(g: &mut GraphBuilder, width: usize) -> String {
    // The batch is open: the shape [4] of the pixels is known at run time alone, and only its N is
    // needed.
    let shape = g.op("Shape", "pixels_shape", &["pixels"]);
    let zero = g.ints("zero", &[0]);
    let axis = vec![int("axis", 0)];

    // The count is [1], N alone.
    let count = g.node("Gather", "count", &[&shape, &zero], axis.clone());

    // The one class token [1, 1, D] is repeated to the shape N, 1, D.
    let row = g.ints("class_row", &[1, width as i64]);

    // The shape joins N with 1 and D.
    let class_shape = g.node("Concat", "class_shape", &[&count, &row], axis);
    g.op("Expand", "classes", &["class", &class_shape])
}

/// The windows: gathered tokens `[N, 1 + k k, D]` to `embedding` `[N, E]`. The last block computes the
/// class token's row alone.
fn windows(tower: &Vision, weights: &[TensorProto]) -> ModelProto {
    // The pictures' axis N is that of windows here: one row for each window of each picture. The
    // number T of tokens stays open, as windows of several sizes use the same graph.
    //   tokens [N, T, D] -> block 1 -> ... -> block L, class row [N, 1, D] -> embedding [N, E]
    //   T = 1 + k k: the class token and the patches of one window
    let mut g = GraphBuilder::new("windows", weights);
    // The engine gathers the windows' tokens from the trunk's output `tokens`.
    let tokens = g.input("tokens", FLOAT, &token_dims(tower.shape.width));
    // A window is encoded as a picture is: with the registers.
    let mut x = with_registers(&mut g, tower, &tokens);
    let last = tower.blocks.len();
    // Each block gives [N, T, D] but the last, which needs only the class token: its other rows
    // would be dropped, and its MLP is the greater part of a block's work.
    for i in 1..=last {
        let blocks = Blocks {
            class_only: i == last,
            ..Blocks::of(tower.shape)
        };

        x = blocks.block(&mut g, i, &x);
    }

    // After the last block x is [N, 1, D].
    finish_class(&mut g, tower, &x, "embedding");
    g.finish()
}

/// The class token's row of `x`, after the final norm and the projection, as the output `name`
/// `[N, E]`.
fn finish_class(g: &mut GraphBuilder, tower: &Vision, x: &str, name: &str) {
    // Row 0 is the class token. The norm works on each row by itself, so the row is taken first and
    // the norm of the patches is not computed.
    let width = tower.shape.width;

    // Row 0 of the tokens is taken, for every picture or window.
    let zero = g.ints("first", &[0]);
    let axis = vec![int("axis", 1)];

    // The row is [N, 1, D], and flat it is [N, D].
    let row = g.node("Gather", "class_row_of_last", &[x, &zero], axis);
    let flat_shape = g.ints("class_flat", &[-1, width as i64]);
    // -1 is N, so that one reshape serves any batch.
    let flat = g.op("Reshape", "class_token", &[&row, &flat_shape]);

    // CLIP projects the normed token [N, D] by [D, E]; DINOv2's normed token is the embedding
    // itself, so that E is D.
    let embed = if let Some(projection) = &tower.projection {
        // The weights are those of the norm of all tokens, under a value of its own.
        let normed = norm(g, "norm_post", "class_normed", &flat, tower.shape);
        g.op("MatMul", name, &[&normed, "projection.weight"]);
        // The projection has E columns, as the output's shape tells.
        projection.columns
    } else {
        norm(g, "norm_post", name, &flat, tower.shape);
        width
    };

    g.output(name, &[Dim::Any("N"), Dim::Of(embed)]);
}

/// The text tower: ids `[N, context]` to `features` `[N, E]`.
fn text(tower: &Text, weights: &[TensorProto]) -> ModelProto {
    // The ids are [N, C], padded with zeros by the tokenizer.
    //   ids [N, C] -> embedded, placed [N, C, width] -> blocks -> normed [N, C, width]
    //   normed -> end_row [N, width] -> features [N, E]
    let mut g = GraphBuilder::new("text", weights);
    let ids_dims = [Dim::Any("N"), Dim::Of(tower.context)];
    let ids = g.input("ids", INT64, &ids_dims);

    // Each id gets its row of the embedding, and each place its position: [N, C, width].
    let axis = vec![int("axis", 0)];
    // The table is the first input, the ids choose its rows.
    let embedded = g.node("Gather", "embedded", &["embedding", &ids], axis);

    // The positions are broadcast over the prompts.
    let mut x = g.op("Add", "placed", &[&embedded, "positions"]);

    // The mask makes the padding invisible to the tokens before it; without a causal mask the tower
    // was trained with the padding in sight.
    let blocks = Blocks {
        mask: tower.causal.then_some("mask"),
        ..Blocks::of(tower.shape)
    };

    for i in 1..=tower.blocks.len() {
        // The shape stays [N, C, width]: every row is computed, since the place of the end token
        // differs.
        x = blocks.block(&mut g, i, &x);
    }

    let normed = norm(&mut g, "norm_final", "normed", &x, tower.shape);

    // The end token has the largest id of all; padding is zero.
    // `end` is [N, 1], its place in each prompt.
    let last = vec![int("axis", 1), int("keepdims", 1)];
    let end = g.node("ArgMax", "end", &[&ids], last);

    // The row is [N, width], the end token's, which has seen the whole prompt.
    let batch = vec![int("batch_dims", 1)];
    let row = g.node("GatherND", "end_row", &[&normed, &end], batch);

    // [N, width] times [width, E] gives [N, E]. Lengths are normalised by the caller, which
    // averages several prompts.
    g.op("MatMul", "features", &[&row, "projection.weight"]);
    let embed = Dim::Of(tower.projection.columns);
    g.output("features", &[Dim::Any("N"), embed]);
    g.finish()
}
