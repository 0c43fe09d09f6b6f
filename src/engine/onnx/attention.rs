//! A rewrite for ONNX Runtime: each attention of our graphs, eight standard operators on disk, becomes its one
//! `MultiHeadAttention`. The windows' attention is thousands of products of 5 x 64 matrices; apart, the operators spend
//! their time on moving heads about. What stands on disk stays standard, for TensorRT.

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
    let masked = |name: &str| {
        graph
            .node
            .iter()
            .any(|n| n.name == format!("{name}.masked"))
    };
    let attentions: Vec<String> = graph
        .node
        .iter()
        .filter(|n| n.name.ends_with(".attention") && !masked(&n.name))
        .map(|n| n.name.clone())
        .collect();
    for name in attentions {
        let input_of = |part: &str| {
            let node = graph
                .node
                .iter()
                .find(|n| n.name == format!("{name}.{part}.apart"));
            node.and_then(|n| n.input.first().cloned())
        };
        let (Some(q), Some(k), Some(v)) = (input_of("q"), input_of("k"), input_of("v")) else {
            continue;
        };
        let fused = NodeProto {
            input: vec![q, k, v],
            output: vec![name.clone()],
            name: name.clone(),
            op_type: "MultiHeadAttention".to_owned(),
            attribute: vec![int("num_heads", heads as i64), float("scale", 1.0)],
            domain: domain().domain,
        };
        let inner = format!("{name}.");
        // It is gone when a graph that is not ours has one inside another.
        let Some(last) = graph.node.iter().position(|n| n.name == name) else {
            continue;
        };
        graph.node[last] = fused;
        graph.node.retain(|n| !n.name.starts_with(&inner));
    }
}
