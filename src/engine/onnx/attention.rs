//! A rewrite for ONNX Runtime: each attention of our graphs, eight standard operators on disk,
//! becomes its one `MultiHeadAttention`. The windows' attention is thousands of products of 5 x 64
//! matrices; apart, the operators spend their time on moving heads about. The graphs on disk stay
//! standard, for TensorRT.

use crate::model::graph::{float, int};
use crate::model::proto::{GraphProto, NodeProto, OperatorSetIdProto};

/// The domain of ONNX Runtime's own operators.
pub fn domain() -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: "com.microsoft".to_owned(),
        version: 1,
    }
}

/// Replaces every unmasked attention; the queries carry their scale already.
pub fn fuse(graph: &mut GraphProto, heads: usize) {
    // Names are collected first, because the nodes change below.
    let attentions: Vec<String> = graph
        .node
        .iter()
        .map(|node| node.name.clone())
        .filter(|name| is_unmasked_attention(graph, name))
        .collect();

    for name in attentions {
        // A chain that is built in another way is left as it is: it runs, only slower.
        let Some(fused) = fused(graph, &name, heads) else {
            continue;
        };

        let inner = format!("{name}.");

        // It is gone when a graph that is not ours has one inside another.
        let Some(last) = graph.node.iter().position(|node| node.name == name) else {
            continue;
        };

        // The last node of the chain keeps its place and name, so that its output stays where
        // others read it. Those before it go.
        graph.node[last] = fused;
        graph.node.retain(|node| !node.name.starts_with(&inner));
    }
}

fn is_unmasked_attention(graph: &GraphProto, name: &str) -> bool {
    // A mask would have to be passed on to the operator. The vision towers have none, and a masked
    // attention stays as it is.
    if !name.ends_with(".attention") {
        return false;
    }

    let masked = format!("{name}.masked");
    let has_mask = graph.node.iter().any(|node| node.name == masked);

    !has_mask
}

/// The one operator of an attention. `None` if an input is missing.
fn fused(graph: &GraphProto, name: &str, heads: usize) -> Option<NodeProto> {
    // Queries, keys and values come in as `[N, T, D]`, before they are split into heads: the
    // operator does that itself.
    let q = input_of(graph, name, "q")?;
    let k = input_of(graph, name, "k")?;
    let v = input_of(graph, name, "v")?;
    let heads = int("num_heads", heads as i64);
    Some(NodeProto {
        input: vec![q, k, v],
        output: vec![name.to_owned()],
        name: name.to_owned(),
        op_type: "MultiHeadAttention".to_owned(),
        // The scale is 1, because the graph multiplies the queries with it already.
        attribute: vec![heads, float("scale", 1.0)],
        domain: domain().domain,
    })
}

/// The tensor that becomes the queries, keys or values of an attention.
fn input_of(graph: &GraphProto, attention: &str, part: &str) -> Option<String> {
    let apart = format!("{attention}.{part}.apart");

    // The node named `apart` splits a matrix into heads; its first input is the matrix.
    let node = graph.node.iter().find(|node| node.name == apart)?;

    node.input.first().cloned()
}
