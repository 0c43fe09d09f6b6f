//! A model folder's graphs as engines take them: cut to what a plan asks for, positions fitted to
//! its grid, with their weights.
//!
//! ONNX Runtime takes a [`ModelGraph`] and its weights one by one (`onnx/loader.rs`). TensorRT
//! takes it typed: every tensor in one [`Precision`], nothing left to choose, so that the same file
//! means the same on every version. A typed graph has no cast: `LayerNormalization` computes in
//! fp32 inside (its `stash_type` is 1 unless told otherwise), softmax and matrix products add up in
//! fp32, and the residual stays far below fp16's end.

use super::error::EngineError;
use super::network::{Precision, TowerPart};
use super::plan::{EncodePlan, PatchLayer};
use super::pos_embed;
use crate::data::grid::Grid;
use crate::model::graph::{WeightFile, cut};
use crate::model::proto::{self, DimensionValue, FLOAT, FLOAT16};
use crate::model::{ModelFolder, ModelSpec};
use half::f16;
use prost::Message;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A graph of a model folder; its weights still lie in their file.
pub struct ModelGraph<'a> {
    model: &'a ModelFolder,
    file: &'static str,
    /// Patches of the input where they are not the model's own.
    grid: Option<Grid>,
    /// The graph. External weights have the dims that [`ModelGraph::weight`] gives them.
    pub onnx: proto::ModelProto,
}

/// A weight as the graph needs it.
pub struct Weight {
    /// Shape.
    pub dims: Vec<usize>,
    /// Values, row-major, as many as the shape says.
    pub values: Vec<f32>,
}

/// The weight that depends on the grid: `[1, P, D]`.
const POSITIONS: &str = "positions";

/// Bytes of one stored value.
const FLOAT_BYTES: usize = size_of::<f32>();

/// Outputs of the trunk for `plan`: its patch layers first, then `tokens` where there are windows,
/// then `image`.
pub fn trunk_outputs(plan: &EncodePlan) -> Vec<String> {
    let mut outputs: Vec<String> = plan.patches.iter().map(layer_output).collect();

    // Windows are gathered from the trunk's own tokens before the first block.
    if !plan.scales.is_empty() {
        outputs.push("tokens".to_owned());
    }

    if plan.image {
        outputs.push("image".to_owned());
    }

    outputs
}

/// The trunk's output of a layer.
pub fn layer_output(layer: &PatchLayer) -> String {
    match layer {
        PatchLayer::Block(block) => format!("block{block}"),
        PatchLayer::AfterFinalNorm => "after_norm".to_owned(),
    }
}

impl<'a> ModelGraph<'a> {
    /// The vision tower's graph for `plan`.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn of(
        model: &'a ModelFolder,
        plan: &EncodePlan,
        part: TowerPart,
    ) -> Result<Self, EngineError> {
        match part {
            TowerPart::Trunk => {
                // The trunk is cut behind the last output that the plan names, so that no later
                // block is computed.
                let names = trunk_outputs(plan);
                let outputs: Vec<&str> = names.iter().map(String::as_str).collect();

                // Positions are fitted only for an input that is not the model's own; DINOv2 alone
                // allows one.
                let grid = plan.grid(&model.spec);
                let other_grid = (grid != model.spec.grid()).then_some(grid);
                let mut graph = ModelGraph::open(model, part.file(), &outputs, other_grid)?;

                // Height and width have one name on the disk, which an oblong input contradicts.
                if !grid.is_square() {
                    let inputs = &mut graph.inner_mut().input;
                    inputs.iter_mut().for_each(|value| fix_size(value, plan));
                }

                Ok(graph)
            }

            // The windows' graph has one output and no positions of its own: its tokens carry them
            // already.
            TowerPart::Windows => ModelGraph::open(model, part.file(), &["embedding"], None),
        }
    }

    /// The graph of `file`, cut to `outputs`. Positions are fitted to `grid`, where that is not the
    /// model's own.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn open(
        model: &'a ModelFolder,
        file: &'static str,
        outputs: &[&str],
        grid: Option<Grid>,
    ) -> Result<Self, EngineError> {
        let mut graph = ModelGraph {
            model,
            file,
            grid,
            onnx: proto::ModelProto::default(),
        };

        // The graph is taken out of the model while it is changed, so that `graph` can still name
        // its file in an error.
        graph.onnx = graph.decoded()?;
        let inner = graph.onnx.graph.take();
        let mut inner = inner.ok_or_else(|| graph.broken("no graph in it"))?;

        // Outputs are kept in the order of the plan, which callers index by.
        let mut kept = Vec::new();

        for name in outputs {
            let output = inner
                .output
                .iter()
                .find(|output| output.name == *name)
                .ok_or_else(|| graph.broken(format!("no output {name:?}")))?;

            kept.push(output.clone());
        }

        // Nodes and weights that no kept output needs go here: they are neither read nor loaded.
        cut(&mut inner, kept);

        // Weights inside of the graph have their final dims; external ones may be fitted to another
        // grid.
        for tensor in &mut inner.initializer {
            if tensor.external().is_some() {
                graph.fit_dims(tensor)?;
            }
        }

        graph.onnx.graph = Some(inner);
        Ok(graph)
    }

    fn decoded(&self) -> Result<proto::ModelProto, EngineError> {
        let path = self.model.path.join(self.file);
        let read = std::fs::read(path);
        let bytes = read.map_err(|error| self.broken(error))?;

        // The weights lie in a file of their own, so that the whole graph is read at once.
        let decoded = proto::ModelProto::decode(bytes.as_slice());

        decoded.map_err(|error| self.broken(error))
    }

    /// Gives an external weight the dims that the graph needs.
    fn fit_dims(&self, tensor: &mut proto::TensorProto) -> Result<(), EngineError> {
        let spec = &self.model.spec;
        let Some(dims) = fitted_dims(tensor, spec, self.grid) else {
            return Err(self.wrong_size(&tensor.name));
        };

        // ONNX has signed dims.
        let signed = dims.iter().map(|&dim| dim as i64);
        tensor.dims = signed.collect();

        Ok(())
    }

    /// Name of the file in the model folder.
    pub fn file(&self) -> &str {
        self.file
    }

    /// The graph inside of the ONNX model.
    pub fn inner(&self) -> &proto::GraphProto {
        self.onnx.graph.as_ref().expect("open() puts one there")
    }

    /// The graph inside of the ONNX model, to be changed.
    pub fn inner_mut(&mut self) -> &mut proto::GraphProto {
        self.onnx.graph.as_mut().expect("open() puts one there")
    }

    /// Tensors whose values lie in the folder's file of weights.
    pub fn external_weights(&self) -> impl Iterator<Item = &proto::TensorProto> {
        self.inner()
            .initializer
            .iter()
            .filter(|tensor| tensor.external().is_some())
    }

    /// The values of an external weight of this graph, positions fitted to the grid.
    ///
    /// # Errors
    /// [`EngineError::Model`] when it is of another size or type than it should be.
    pub fn weight(&self, tensor: &proto::TensorProto) -> Result<Weight, EngineError> {
        // A tensor without an external place is one of the graph itself, and has no business here.
        let wrong_size = || self.wrong_size(&tensor.name);
        let (location, offset, length) = tensor.external().ok_or_else(wrong_size)?;

        let dims = tensor.dims.iter().map(|&dim| dim as usize);
        let dims: Vec<usize> = dims.collect();
        let spec = &self.model.spec;
        let grid = spec.grid();

        // The positions are stored for the model's own grid, whatever grid is asked for, so that
        // their stored size is computed from that grid.
        let new_grid = self.new_grid(&tensor.name);
        let stored = match new_grid {
            Some(_) => size(&[grid.w, grid.h, spec.width]),
            None => size(&dims),
        };

        // Size and type are compared before anything is read: the numbers come from a file that may
        // be damaged, and a product may overflow.
        let bytes = stored.and_then(|size| size.checked_mul(FLOAT_BYTES));
        let has_size = bytes == Some(length);

        if tensor.data_type != FLOAT || !has_size {
            return Err(wrong_size());
        }

        // The values are stored as f32, row-major; other precisions are made of them later.
        let mut values = self.read(location, offset, length)?;

        if let Some(to) = new_grid {
            values = pos_embed::resampled(&values, grid, to, spec.width, spec.antialias);
        }

        Ok(Weight { dims, values })
    }

    /// True if the weight of this name is the same in every graph of the folder, whatever the plan.
    pub fn shared(&self, name: &str) -> bool {
        self.new_grid(name).is_none()
    }

    /// The grid that a weight is fitted to. `None` for a weight that is used as it is stored.
    fn new_grid(&self, name: &str) -> Option<Grid> {
        self.grid.filter(|_| name == POSITIONS)
    }

    fn read(&self, location: &str, offset: usize, length: usize) -> Result<Vec<f32>, EngineError> {
        let path = self.model.path.join(location);
        let read = read_bytes(&path, offset as u64, length);

        // The file of weights is named, and not the graph that refers to it.
        let bytes = read.map_err(|error| {
            let file = path.display();
            EngineError::Model(format!("{file}: {error}"))
        })?;

        let values = floats(&bytes);
        Ok(values.collect())
    }

    /// Error of a folder that does not hold what it says.
    pub fn broken(&self, why: impl std::fmt::Display) -> EngineError {
        let path = self.model.path.join(self.file);
        let file = path.display();
        let words = format!("{file}: {why}; import the model again");

        EngineError::Model(words)
    }

    fn wrong_size(&self, name: &str) -> EngineError {
        let words = format!("the weight {name:?} is not as large as it says");

        self.broken(words)
    }
}

/// Bytes of a file. Its length is compared before memory is taken, because a graph may claim any
/// number.
fn read_bytes(path: &Path, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();

    if length as u64 > file_bytes {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }

    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;

    Ok(bytes)
}

/// Little-endian values.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    // Bytes beyond the last whole value are dropped; the caller has compared the length before.
    let (values, _) = bytes.as_chunks::<FLOAT_BYTES>();

    values.iter().map(|value| f32::from_le_bytes(*value))
}

/// The dims of a weight as the graph needs it. `None` if the weight is not as large as it says.
fn fitted_dims(
    tensor: &proto::TensorProto,
    spec: &ModelSpec,
    grid: Option<Grid>,
) -> Option<Vec<usize>> {
    // A negative dimension stands for an unknown one, which a weight cannot have.
    let dims: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&dim| usize::try_from(dim).ok())
        .collect::<Option<_>>()?;

    let size = size(&dims)?;

    // Positions keep their name and get the shape `[1, P, D]` of the new grid; their values are
    // resampled when they are read.
    match grid.filter(|_| tensor.name == POSITIONS) {
        None => Some(dims),
        Some(grid) => {
            let stored = spec.grid().cells() * spec.width;

            (size == stored).then(|| vec![1, grid.cells(), spec.width])
        }
    }
}

/// Number of values of a tensor. `None` when there are more than can be counted.
fn size(dims: &[usize]) -> Option<usize> {
    dims.iter()
        .try_fold(1usize, |size, dim| size.checked_mul(*dim))
}

/// A graph of the vision tower in which every tensor of numbers has one type; its weights still lie
/// in their file.
pub struct TypedGraph<'a> {
    graph: ModelGraph<'a>,
    part: TowerPart,
    precision: Precision,
}

/// `part` of `model` for `plan`, all of it in `precision`: inputs, outputs, weights and constants.
/// The pixels' size is fixed to the plan's.
///
/// # Errors
/// [`EngineError::Model`] when the folder does not hold what it says; [`EngineError::Plan`] for a
/// constant beyond fp16.
pub fn typed_graph<'a>(
    model: &'a ModelFolder,
    plan: &EncodePlan,
    part: TowerPart,
    precision: Precision,
) -> Result<TypedGraph<'a>, EngineError> {
    // Inputs and outputs change type together with the weights: a cast between them would cost a
    // pass over memory.
    let mut graph = ModelGraph::of(model, plan, part)?;
    let inner = graph.inner_mut();

    for value in inner.input.iter_mut().chain(&mut inner.output) {
        retype(value, plan, precision);
    }

    // Integers stay as they are, because they are shapes and indices. External weights are
    // converted when they are read.
    for tensor in &mut inner.initializer {
        if tensor.external().is_none() && tensor.data_type == FLOAT {
            retype_constant(tensor, precision)?;
        }
    }

    Ok(TypedGraph {
        graph,
        part,
        precision,
    })
}

impl TypedGraph<'_> {
    /// The graph with its weights inside, for a parser that reads memory. Protobuf ends at 2 GB;
    /// [`TypedGraph::write`] has no such end.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says; [`EngineError::Plan`] for
    /// a weight beyond fp16.
    pub fn bytes(&self) -> Result<Vec<u8>, EngineError> {
        // Each weight is described with its bytes inside; all of them are in memory at once.
        let onnx = self.with_weights(&mut |name, dims, bytes| {
            Ok(proto::TensorProto {
                raw_data: bytes,
                ..self.described(name, dims)
            })
        })?;

        Ok(onnx.encode_to_vec())
    }

    /// Writes `trunk.onnx` or `windows.onnx` into `folder`, its weights beside it in
    /// `trunk.weights` or `windows.weights`, and returns the graph's path. One weight is in memory
    /// at a time.
    ///
    /// # Errors
    /// The same as [`TypedGraph::bytes`]; [`EngineError::Unavailable`] when the folder cannot be
    /// written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, EngineError> {
        // Graph and weights lie side by side: the parser looks for the weights in the graph's
        // folder.
        let path = folder.join(self.part.file());
        let weights = path.with_extension("weights");
        let created = File::create(&weights);
        let out = created.map_err(|error| unwritable(&weights, &error))?;
        let name = weights
            .file_name()
            .expect("it was put there")
            .to_string_lossy();

        // The closure writes a weight's bytes to the file and returns its place there as the
        // tensor.
        let mut file = WeightFile::new(BufWriter::new(out), &name);
        let onnx = self.with_weights(&mut |name, dims, bytes| {
            file.put_bytes(name, dims, element(self.precision), [bytes.as_slice()])
                .map_err(|error| unwritable(&weights, &error))
        })?;

        // The weights are flushed before the graph that names them appears.
        file.finish()
            .map_err(|error| unwritable(&weights, &error))?;

        let bytes = onnx.encode_to_vec();
        let written = std::fs::write(&path, bytes);
        written.map_err(|error| unwritable(&path, &error))?;

        Ok(path)
    }

    /// The graph with each external weight as `describe` returns it.
    fn with_weights(
        &self,
        describe: &mut DescribeWeight,
    ) -> Result<proto::ModelProto, EngineError> {
        // The graph is copied without weights, which makes the copy small.
        let mut onnx = self.graph.onnx.clone();
        let tensors = onnx
            .graph
            .iter_mut()
            .flat_map(|graph| &mut graph.initializer);

        // One weight is read, converted and handed on at a time, which bounds the memory to the
        // largest.
        for tensor in tensors.filter(|tensor| tensor.external().is_some()) {
            let weight = self.graph.weight(tensor)?;
            let bytes = bytes(&tensor.name, &weight.values, self.precision)?;
            *tensor = describe(&tensor.name, &weight.dims, bytes)?;
        }

        Ok(onnx)
    }

    fn described(&self, name: &str, dims: &[usize]) -> proto::TensorProto {
        let dims = dims.iter().map(|&dim| dim as i64);
        proto::TensorProto {
            dims: dims.collect(),
            data_type: element(self.precision),
            name: name.to_owned(),
            ..proto::TensorProto::default()
        }
    }
}

/// Makes a tensor of a weight's name, dims and little-endian bytes.
type DescribeWeight<'a> =
    dyn FnMut(&str, &[usize], Vec<u8>) -> Result<proto::TensorProto, EngineError> + 'a;

fn unwritable(path: &Path, error: &std::io::Error) -> EngineError {
    let file = path.display();
    let words = format!("cannot write {file}: {error}");

    EngineError::Unavailable(words)
}

/// `TensorProto.DataType`.
fn element(precision: Precision) -> i32 {
    match precision {
        Precision::Fp16 => FLOAT16,
        Precision::Fp32 => FLOAT,
    }
}

/// Gives an input or output its type, and the pixels their size.
fn retype(value: &mut proto::ValueInfoProto, plan: &EncodePlan, precision: Precision) {
    if let Some(tensor) = tensor_type(value)
        && tensor.elem_type == FLOAT
    {
        tensor.elem_type = element(precision);
    }

    // TensorRT optimises for one size.
    fix_size(value, plan);
}

/// The type of an input or output. Values that are no tensors do not occur in imported graphs.
fn tensor_type(value: &mut proto::ValueInfoProto) -> Option<&mut proto::TensorType> {
    let kind = value.r#type.as_mut()?;

    kind.tensor_type.as_mut()
}

/// Gives the pixels their size, height before width. On the disk both are called `S`.
fn fix_size(value: &mut proto::ValueInfoProto, plan: &EncodePlan) {
    let mut sides = [plan.height, plan.width].into_iter();
    let side_name = DimensionValue::Named("S".to_owned());

    let tensor = tensor_type(value);
    let shape = tensor.and_then(|tensor| tensor.shape.as_mut());
    let dims = shape.into_iter().flat_map(|shape| &mut shape.dim);

    for dim in dims {
        // The batch and the channels have other names, or none.
        let is_side = dim.value.as_ref() == Some(&side_name);

        if is_side && let Some(side) = sides.next() {
            dim.value = Some(DimensionValue::Fixed(side as i64));
        }
    }
}

/// Gives a constant inside of the graph its type.
fn retype_constant(
    tensor: &mut proto::TensorProto,
    precision: Precision,
) -> Result<(), EngineError> {
    // Constants hold their values in one of two fields, as their writer liked; the result is always
    // raw bytes.
    let mut values = std::mem::take(&mut tensor.float_data);
    values.extend(floats(&tensor.raw_data));
    tensor.data_type = element(precision);
    tensor.raw_data = bytes(&tensor.name, &values, precision)?;

    Ok(())
}

/// Little-endian values of the weight `name`.
///
/// # Errors
/// [`EngineError::Plan`] for a value that becomes infinite.
fn bytes(name: &str, values: &[f32], precision: Precision) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::with_capacity(precision.bytes() * values.len());

    // Single precision is written as it was stored.
    if precision == Precision::Fp32 {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        return Ok(bytes);
    }

    // Half precision ends at 65504. A larger weight would become infinite and spoil every product,
    // so that it is refused by name and place.
    for (place, value) in values.iter().enumerate() {
        let half = f16::from_f32(*value);

        if !half.is_finite() {
            return Err(EngineError::Plan(format!(
                "the weight {name:?} holds {value} at {place}: beyond fp16 (at most 65504); use --precision fp32"
            )));
        }

        bytes.extend(half.to_le_bytes());
    }

    Ok(bytes)
}

#[cfg(test)]
mod tests;
