//! Building ONNX graphs: nodes by function call, weights in an external file that several graphs share.

use super::proto::{self, Attribute, Dimension, DimensionValue, Node, Tensor, ValueInfo};
use std::collections::HashSet;
use std::io::{self, Write};

/// Standard operators only, so that the same file can be built by TensorRT 10 and newer.
pub const OPSET: i64 = 17;

/// Writes weights one after the other into an external data file and hands out their descriptions.
pub struct WeightFile<W> {
    out: W,
    location: String,
    offset: usize,
}

impl<W: Write> WeightFile<W> {
    /// `location` is the file's name beside the graphs.
    pub fn new(out: W, location: &str) -> Self {
        WeightFile {
            out,
            location: location.to_owned(),
            offset: 0,
        }
    }

    /// Appends an f32 tensor, 64-byte aligned.
    pub fn put(&mut self, name: &str, dims: &[usize], values: &[f32]) -> io::Result<Tensor> {
        let chunks = values.chunks(4096).map(|chunk| {
            chunk
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        });
        self.put_bytes(name, dims, proto::FLOAT, chunks)
    }

    /// Appends a tensor of any type, little-endian, 64-byte aligned.
    pub fn put_bytes(
        &mut self,
        name: &str,
        dims: &[usize],
        data_type: i32,
        chunks: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<Tensor> {
        let padding = self.offset.next_multiple_of(64) - self.offset;
        self.out.write_all(&[0; 64][..padding])?;
        let offset = self.offset + padding;
        let mut length = 0;
        for chunk in chunks {
            self.out.write_all(chunk.as_ref())?;
            length += chunk.as_ref().len();
        }
        self.offset = offset + length;
        let entry = |key: &str, value: String| proto::Entry {
            key: key.to_owned(),
            value,
        };
        Ok(Tensor {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type,
            name: name.to_owned(),
            external_data: vec![
                entry("location", self.location.clone()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: proto::EXTERNAL,
            ..Tensor::default()
        })
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A graph being built. Values are known by name; a weight is taken into the graph when a node first uses it.
pub struct GraphBuilder<'a> {
    graph: proto::Graph,
    weights: &'a [Tensor],
    taken: HashSet<String>,
}

impl<'a> GraphBuilder<'a> {
    pub fn new(name: &str, weights: &'a [Tensor]) -> Self {
        let graph = proto::Graph {
            name: name.to_owned(),
            ..proto::Graph::default()
        };
        GraphBuilder {
            graph,
            weights,
            taken: HashSet::new(),
        }
    }

    pub fn input(&mut self, name: &str, element: i32, dims: &[Dim]) -> String {
        self.graph.input.push(value_info(name, element, dims));
        name.to_owned()
    }

    pub fn output(&mut self, name: &str, dims: &[Dim]) {
        self.graph.output.push(value_info(name, proto::FLOAT, dims));
    }

    /// Adds a node with one output, named `name`, and gives the name back.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        for input in inputs {
            if let Some(weight) = self.weights.iter().find(|w| w.name == **input)
                && self.taken.insert(weight.name.clone())
            {
                self.graph.initializer.push(weight.clone());
            }
        }
        self.graph.node.push(Node {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes,
            domain: String::new(),
        });
        name.to_owned()
    }

    /// A small constant of integers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        self.constant(
            name,
            proto::INT64,
            values.len(),
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    }

    /// One number, of rank 0.
    pub fn float(&mut self, name: &str, value: f32) -> String {
        let name = self.constant(name, proto::FLOAT, 1, value.to_le_bytes().to_vec());
        if let Some(tensor) = self.graph.initializer.iter_mut().find(|t| t.name == name) {
            tensor.dims.clear();
        }
        name
    }

    fn constant(&mut self, name: &str, data_type: i32, length: usize, raw_data: Vec<u8>) -> String {
        if self.taken.insert(name.to_owned()) {
            let dims = vec![length as i64];
            let tensor = Tensor {
                dims,
                data_type,
                name: name.to_owned(),
                raw_data,
                ..Tensor::default()
            };
            self.graph.initializer.push(tensor);
        }
        name.to_owned()
    }

    pub fn finish(self) -> proto::Model {
        proto::Model {
            ir_version: 8,
            producer_name: "winspect".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![proto::OperatorSet {
                domain: String::new(),
                version: OPSET,
            }],
        }
    }
}

/// One dimension of an input or output: a number, or a name for what is only known at run time.
#[derive(Debug, Clone, Copy)]
pub enum Dim {
    Of(usize),
    Any(&'static str),
}

pub fn value_info(name: &str, element: i32, dims: &[Dim]) -> ValueInfo {
    let dim = dims
        .iter()
        .map(|dim| match dim {
            Dim::Of(length) => DimensionValue::Fixed(*length as i64),
            Dim::Any(name) => DimensionValue::Named((*name).to_owned()),
        })
        .map(|value| Dimension { value: Some(value) })
        .collect();
    let tensor_type = proto::TensorType {
        elem_type: element,
        shape: Some(proto::Shape { dim }),
    };
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(proto::Type {
            tensor_type: Some(tensor_type),
        }),
    }
}

pub fn int(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: value,
        r#type: 2,
        ..Attribute::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: 7,
        ..Attribute::default()
    }
}

pub fn float(name: &str, value: f32) -> Attribute {
    Attribute {
        name: name.to_owned(),
        f: value,
        r#type: 1,
        ..Attribute::default()
    }
}

/// Keeps what `outputs` need and drops the rest: nodes, weights and inputs.
pub fn cut(graph: &mut proto::Graph, outputs: Vec<ValueInfo>) {
    let mut needed: HashSet<String> = outputs.iter().map(|o| o.name.clone()).collect();
    // Nodes stand in topological order, so one walk from the end finds all that is needed.
    let mut kept: Vec<Node> = Vec::new();
    for node in graph.node.drain(..).rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph
        .initializer
        .retain(|tensor| needed.contains(&tensor.name));
    graph.input.retain(|input| needed.contains(&input.name));
    graph.output = outputs;
}
