//! Nodes of a tower's blocks: norm, attention and MLP, with the residuals around them.

use super::shape::{Activation, TowerShape};
use crate::model::graph::{GraphBuilder, float, int, ints};

/// A layer norm of `x` as the value `name`.
pub fn norm(g: &mut GraphBuilder, weights: &str, name: &str, x: &str, shape: TowerShape) -> String {
    // The norm goes over the last axis, the token's values. Weight and bias are [D], under the
    // names that `Weights::put_norm` gave them.
    let weight = format!("{weights}.weight");
    let bias = format!("{weights}.bias");

    // The epsilon is added to the variance, as torch does it.
    let last_axis = int("axis", -1);
    let epsilon = float("epsilon", shape.epsilon);
    let attributes = vec![last_axis, epsilon];

    g.node("LayerNormalization", name, &[x, &weight, &bias], attributes)
}

/// Builder of a tower's blocks.
pub struct Blocks {
    pub shape: TowerShape,
    /// Name of the attention's mask. `None` if every token sees all.
    pub mask: Option<&'static str>,
    /// The blocks' values are called by this word and their numbers: `block1` ...
    pub value: &'static str,
    /// True if queries, projection and MLP are those of the first token alone.
    pub class_only: bool,
}

impl Blocks {
    /// Blocks without a mask, for all tokens.
    pub fn of(shape: TowerShape) -> Self {
        Blocks {
            shape,
            mask: None,
            value: "block",
            class_only: false,
        }
    }

    /// Block `i`: `x + attention(norm1(x))`, then `x + mlp(norm2(x))`, as the value `<value><i>`.
    pub fn block(&self, g: &mut GraphBuilder, i: usize, x: &str) -> String {
        //   x [N, T, D] -> norm1 -> query, key, value -> attention -> out -> + = middle
        //    \--------------------------------------------------------------/
        //   middle      -> norm2 -> up [.., mlp] -> activation -> down     -> + = block<i>
        //    \--------------------------------------------------------------/
        // The norms stand before attention and MLP, as in all three families: the residual path
        // itself is never normed.
        let part = |part: &str| format!("b{i}.{part}");

        // The normed tokens are [N, T, D], for queries, keys and values alike.
        let normed = norm(g, &part("norm1"), &part("normed1"), x, self.shape);
        let mut queries_of = normed.clone();
        let mut residual = x.to_owned();

        // Queries and residual are those of the class token, [N, 1, D]. Keys and values stay those
        // of all tokens, because the class token looks at all of them.
        if self.class_only {
            // A list of one index keeps the axis of the tokens.
            let first = g.ints("first", &[0]);
            let axis = vec![int("axis", 1)];

            let class_of = [&normed, &first].map(String::as_str);
            queries_of = g.node("Gather", &part("normed1_class"), &class_of, axis.clone());
            residual = g.node("Gather", &part("class"), &[x, &first], axis);
        }

        // Each is [N, T, D], the queries [N, 1, D] for the class token alone. The queries carry 1 /
        // sqrt(head width) already.
        let query = linear(g, &part("query"), &part("q"), &queries_of);
        let key = linear(g, &part("key"), &part("k"), &normed);
        let value = linear(g, &part("value"), &part("v"), &normed);

        // The result has the shape of the queries: each token's mixture of the values.
        let three = [query.as_str(), &key, &value];
        let mixed = self.attention(g, &part("attention"), three);

        // The projection [D, D] comes before the first residual sum.
        let attended = linear(g, &part("out"), &part("attended"), &mixed);

        // The sum is [N, T, D], or [N, 1, D] for the class token alone.
        let middle = g.op("Add", &part("middle"), &[&residual, &attended]);

        // The MLP goes from [.., D] to [.., mlp], where the activation is, and back to [.., D].
        let normed = norm(g, &part("norm2"), &part("normed2"), &middle, self.shape);
        let up = linear(g, &part("up"), &part("raised"), &normed);
        let active = activation(g, &part("active"), &up, self.shape.activation);
        let down = linear(g, &part("down"), &part("lowered"), &active);

        // The second residual sum is the block's value, under the name that a plan asks for.
        let value = format!("{}{i}", self.value);

        g.op("Add", &value, &[&middle, &down])
    }

    /// `softmax(q k^T + mask) v` for each head; the queries carry the scale already.
    fn attention(&self, g: &mut GraphBuilder, name: &str, [q, k, v]: [&str; 3]) -> String {
        //   q [N, T, D]        -> [N, heads, T, h]
        //   k [N, T, D]        -> [N, heads, h, T]     h = D / heads
        //   v [N, T, D]        -> [N, heads, T, h]
        //   q k                   [N, heads, T, T] -> mask -> softmax over the last axis
        //   softmax(q k) v        [N, heads, T, h] -> [N, T, D]
        let part = |part: &str| format!("{name}.{part}");

        // D is heads x head width, which the import has checked.
        let width = self.shape.width;
        let heads = self.shape.heads;
        let head_width = width / heads;

        // 0 keeps an axis: N and T stay what they are at run time.
        let apart = [0, 0, heads as i64, head_width as i64];
        let split = g.ints("head_split", &apart);

        // The heads of the result are joined by the reverse.
        let together = [0, 0, width as i64];
        let joined = g.ints("head_join", &together);

        // Queries and values are turned to [N, heads, T, h]; keys to [N, heads, h, T], so that the
        // product below needs no transposition of its own.
        let heads_first = [0, 2, 1, 3];
        let q = split_heads(g, q, &split, &part("q"), &heads_first);

        // Axes 2 and 3 change places against those of the queries.
        let values_before_tokens = [0, 2, 3, 1];
        let k = split_heads(g, k, &split, &part("k"), &values_before_tokens);
        let v = split_heads(g, v, &split, &part("v"), &heads_first);

        // The scores are [N, heads, T, T], with a row for each token that asks.
        let mut scores = g.op("MatMul", &part("scores"), &[&q, &k]);

        if let Some(mask) = self.mask {
            // The mask [C, C] is broadcast over prompts and heads.
            scores = g.op("Add", &part("masked"), &[&scores, mask]);
        }

        // The shares of a row sum to 1 over the tokens that are asked.
        let axis = vec![int("axis", -1)];
        let shares = g.node("Softmax", &part("shares"), &[&scores], axis);
        let mixed = g.op("MatMul", &part("mixed"), &[&shares, &v]);

        // The heads go behind the tokens again, and lie side by side in [N, T, D], as `out` expects
        // them.
        let order = vec![ints("perm", &[0, 2, 1, 3])];
        let back = g.node("Transpose", &part("back"), &[&mixed], order);

        g.op("Reshape", name, &[&back, &joined])
    }
}

/// Splits `x` to the shape `split`, its axes (picture, token, head, value) then in the order `axes`.
fn split_heads(g: &mut GraphBuilder, x: &str, split: &str, name: &str, axes: &[i64]) -> String {
    // [N, T, D] becomes [N, T, heads, h], before the axes change places.
    let apart_name = format!("{name}.apart");
    let apart = g.op("Reshape", &apart_name, &[x, split]);

    // Queries and values become [N, heads, T, h], keys [N, heads, h, T].
    let order = vec![ints("perm", axes)];
    let heads_name = format!("{name}.heads");

    g.node("Transpose", &heads_name, &[&apart], order)
}

/// `x W + b` as the value `name`.
fn linear(g: &mut GraphBuilder, weights: &str, name: &str, x: &str) -> String {
    // The names are those that `Weights::put_linear` gave them.
    let weight = format!("{weights}.weight");
    let bias = format!("{weights}.bias");

    // [.., in] times [in, out] gives [.., out], and each row gets the bias [out].
    let product_name = format!("{name}.product");
    let product = g.op("MatMul", &product_name, &[x, &weight]);

    g.op("Add", name, &[&product, &bias])
}

/// The activation of `x` as the value `name`.
fn activation(g: &mut GraphBuilder, name: &str, x: &str, kind: Activation) -> String {
    // The names stand under the block's own, so that each value of the graph has one.
    let part = |part: &str| format!("{name}.{part}");

    // Both act on each value by itself and keep the shape. Neither has an operator of its own in
    // this set of operators, so they are written out.
    match kind {
        // Hendrycks and Gimpel, arXiv 1606.08415: x Phi(x) = x (1 + erf(x / sqrt 2)) / 2.
        Activation::Gelu => {
            // The constants have rank 0 and are shared by all blocks under their names.
            let root = g.float("root_two", std::f32::consts::SQRT_2);
            let one = g.float("one", 1.0);
            let half = g.float("half", 0.5);

            // 1 is added to the error function of x / sqrt 2.
            let scaled = g.op("Div", &part("scaled"), &[x, &root]);
            let erf = g.op("Erf", &part("erf"), &[&scaled]);
            let raised = g.op("Add", &part("raised"), &[&erf, &one]);

            // The sum is multiplied by x and halved.
            let product = g.op("Mul", &part("product"), &[x, &raised]);

            g.op("Mul", name, &[&product, &half])
        }

        Activation::QuickGelu => {
            // openai/CLIP's `QuickGELU` is x sigmoid(1.702 x).
            let slope = g.float("slope", 1.702);

            let scaled = g.op("Mul", &part("scaled"), &[x, &slope]);
            let sigmoid = g.op("Sigmoid", &part("sigmoid"), &[&scaled]);

            g.op("Mul", name, &[x, &sigmoid])
        }
    }
}
