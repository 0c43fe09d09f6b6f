//! Builder of ONNX graphs: nodes by function call, weights in an external file that several graphs
//! share.

use crate::model::proto::{
    self, AttributeProto, Dimension, DimensionValue, NodeProto, TensorProto, ValueInfoProto,
};
use std::collections::HashSet;
use std::io::{self, Write};

/// Version of ONNX's operators. Standard operators only, so that the same file can be built by TensorRT 10 and newer.
pub const OPSET: i64 = 17;

/// Version of ONNX's intermediate representation.
const IR_VERSION: i64 = 8;

/// Alignment of a weight in its file, in bytes.
const ALIGNMENT: usize = 64;

/// Writer of weights, one after the other, into an external data file.
pub struct WeightFile<W> {
    out: W,
    location: String,
    offset: usize,
}

impl<W: Write> WeightFile<W> {
    /// A writer to `out`. `location` is the file's name beside the graphs.
    pub fn new(out: W, location: &str) -> Self {
        WeightFile {
            out,
            location: location.to_owned(),
            offset: 0,
        }
    }

    /// Appends an f32 tensor, 64-byte aligned, and returns its description.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&mut self, name: &str, dims: &[usize], values: &[f32]) -> io::Result<TensorProto> {
        // The values go in pieces of 16 kB, so that a tensor is not held twice in memory.
        let chunks = values.chunks(4096).map(little_endian);

        self.put_bytes(name, dims, proto::FLOAT, chunks)
    }

    /// Appends a tensor of any type, little-endian, 64-byte aligned, and returns its description.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put_bytes(
        &mut self,
        name: &str,
        dims: &[usize],
        data_type: i32,
        chunks: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<TensorProto> {
        // Zeros fill up to the alignment, by which an engine can map the file instead of copying
        // it.
        let padding = self.offset.next_multiple_of(ALIGNMENT) - self.offset;
        self.out.write_all(&[0; ALIGNMENT][..padding])?;
        let offset = self.offset + padding;

        // The chunks' bytes are counted as they are written: their number is not known before.
        let mut length = 0;

        for chunk in chunks {
            self.out.write_all(chunk.as_ref())?;
            length += chunk.as_ref().len();
        }

        // ONNX describes the place of external data by texts, offset and length in bytes.
        self.offset = offset + length;
        let entry = |key: &str, value: String| proto::StringStringEntryProto {
            key: key.to_owned(),
            value,
        };

        Ok(TensorProto {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type,
            name: name.to_owned(),
            external_data: vec![
                entry("location", self.location.clone()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: proto::EXTERNAL,
            ..TensorProto::default()
        })
    }

    /// Writes what is buffered and returns the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;

        Ok(self.out)
    }
}

/// The values as bytes.
fn little_endian(values: &[f32]) -> Vec<u8> {
    // A value has four bytes, the lowest first, whatever the byte order of this machine.
    let mut bytes = Vec::with_capacity(4 * values.len());

    for value in values {
        bytes.extend(value.to_le_bytes());
    }

    bytes
}

/// A graph being built. Values are known by name; a weight is taken into the graph when a node first
/// uses it.
pub struct GraphBuilder<'a> {
    graph: proto::GraphProto,
    weights: &'a [TensorProto],
    taken: HashSet<String>,
}

impl<'a> GraphBuilder<'a> {
    /// A graph without nodes, which may use `weights`.
    pub fn new(name: &str, weights: &'a [TensorProto]) -> Self {
        let graph = proto::GraphProto {
            name: name.to_owned(),
            ..proto::GraphProto::default()
        };

        GraphBuilder {
            graph,
            weights,
            taken: HashSet::new(),
        }
    }

    /// Adds an input of the type `element`, and returns its name.
    pub fn input(&mut self, name: &str, element: i32, dims: &[Dim]) -> String {
        self.graph.input.push(value_info(name, element, dims));

        name.to_owned()
    }

    /// Makes the value `name` an output of floats.
    pub fn output(&mut self, name: &str, dims: &[Dim]) {
        self.graph.output.push(value_info(name, proto::FLOAT, dims));
    }

    /// Adds a node without attributes and with one output, named `name`, and returns the name.
    pub fn op(&mut self, op: &str, name: &str, inputs: &[&str]) -> String {
        self.node(op, name, inputs, vec![])
    }

    /// Adds a node with one output, named `name`, and returns the name.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        // A weight that no node uses never comes into the graph, and one that several use comes in
        // once.
        for input in inputs {
            // A name that is no weight is another node's value or an input.
            if let Some(weight) = self.weights.iter().find(|w| w.name == **input)
                && self.taken.insert(weight.name.clone())
            {
                self.graph.initializer.push(weight.clone());
            }
        }

        // The node has the name of its only output, so that an engine's messages name a value that
        // can be found here.
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes,
            domain: String::new(),
        });

        name.to_owned()
    }

    /// A small constant of integers, of rank 1, under the name, which is returned.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        // The rank is 1, as operators take shapes, axes and indices.
        let dims = vec![values.len() as i64];
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());

        self.constant(name, proto::INT64, dims, bytes.collect())
    }

    /// One number, of rank 0, under the name, which is returned.
    pub fn float(&mut self, name: &str, value: f32) -> String {
        // The rank is 0, which is broadcast against any shape.
        let bytes = value.to_le_bytes().to_vec();

        self.constant(name, proto::FLOAT, vec![], bytes)
    }

    /// Adds a constant, unless one of that name is there already.
    fn constant(
        &mut self,
        name: &str,
        data_type: i32,
        dims: Vec<i64>,
        raw_data: Vec<u8>,
    ) -> String {
        // Blocks of a tower ask for the same constants under the same names.
        if self.taken.insert(name.to_owned()) {
            self.graph.initializer.push(TensorProto {
                dims,
                data_type,
                name: name.to_owned(),
                raw_data,
                ..TensorProto::default()
            });
        }

        name.to_owned()
    }

    /// The whole graph, as a model.
    pub fn finish(self) -> proto::ModelProto {
        proto::ModelProto {
            ir_version: IR_VERSION,
            producer_name: "winspect".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![proto::OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
        }
    }
}

/// One dimension of an input or output: a number, or a name for what is only known at run time.
#[derive(Debug, Clone, Copy)]
pub enum Dim {
    /// A number.
    Of(usize),
    /// A name.
    Any(&'static str),
}

impl Dim {
    fn to_proto(self) -> Dimension {
        // A named length is equal wherever the name stands: all inputs have the same N.
        let value = match self {
            Dim::Of(length) => DimensionValue::Fixed(length as i64),
            Dim::Any(name) => DimensionValue::Named(name.to_owned()),
        };

        Dimension { value: Some(value) }
    }
}

/// Description of a value: its name, element type and dimensions.
pub fn value_info(name: &str, element: i32, dims: &[Dim]) -> ValueInfoProto {
    // The shape stands in the description, so that an engine can check what it is given.
    let dim = dims.iter().copied().map(Dim::to_proto).collect();
    let tensor_type = proto::TensorType {
        elem_type: element,
        shape: Some(proto::TensorShapeProto { dim }),
    };

    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(proto::TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}

/// Attribute that is an integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: 2,
        ..AttributeProto::default()
    }
}

/// Attribute that is a list of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: 7,
        ..AttributeProto::default()
    }
}

/// Attribute that is a number.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: value,
        r#type: 1,
        ..AttributeProto::default()
    }
}

/// Keeps what `outputs` need and drops the rest: nodes, weights and inputs.
pub fn cut(graph: &mut proto::GraphProto, outputs: Vec<ValueInfoProto>) {
    // `needed` holds the names of values that are to be produced: at first the outputs themselves.
    let mut needed: HashSet<String> = outputs.iter().map(|o| o.name.clone()).collect();

    // Nodes stand in topological order, so one walk from the end finds all that is needed.
    let mut kept: Vec<NodeProto> = Vec::new();

    for node in graph.node.drain(..).rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }

    // The walk went backwards; nodes stand in topological order again.
    kept.reverse();
    graph.node = kept;
    graph
        .initializer
        .retain(|tensor| needed.contains(&tensor.name));

    // An input that nothing needs any more would have to be fed all the same.
    graph.input.retain(|input| needed.contains(&input.name));
    graph.output = outputs;
}
