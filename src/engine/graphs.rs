//! A model folder's graphs as engines take them: cut to what a plan asks for, positions fitted to its grid, with their
//! weights.
//!
//! ONNX Runtime takes a [`Graph`] and its weights one by one (`onnx.rs`). TensorRT takes it typed: every tensor in one
//! [`Precision`], nothing left to choose, so that the same file means the same on every version. There is no cast in
//! it: `LayerNormalization` computes in fp32 inside (its `stash_type` is 1 unless told otherwise), softmax and matrix
//! products add up in fp32, and the residual stays far below fp16's end.

use super::network::{Part, Precision};
use super::{EncodePlan, EngineError, PatchLayer};
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
pub struct Graph<'a> {
    model: &'a ModelFolder,
    file: &'static str,
    /// Patches along one side where they are not the model's own.
    grid: Option<usize>,
    /// External weights have the dims that [`Graph::weight`] gives them.
    pub onnx: proto::ModelProto,
}

/// A weight as the graph needs it.
pub struct Weight {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
}

/// The weight that depends on the grid: `[1, P, D]`.
const POSITIONS: &str = "positions";

/// What the trunk computes for `plan`: its patch layers first, then `tokens` where there are windows, then `image`.
pub fn trunk_outputs(plan: &EncodePlan) -> Vec<String> {
    let mut outputs: Vec<String> = plan.patches.iter().map(layer_output).collect();
    outputs.extend((!plan.scales.is_empty()).then(|| "tokens".to_owned()));
    outputs.extend(plan.image.then(|| "image".to_owned()));
    outputs
}

/// The trunk's output of a layer.
pub fn layer_output(layer: &PatchLayer) -> String {
    match layer {
        PatchLayer::Block(block) => format!("block{block}"),
        PatchLayer::AfterFinalNorm => "after_norm".to_owned(),
    }
}

impl<'a> Graph<'a> {
    /// The vision tower's graph for `plan`.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn of(model: &'a ModelFolder, plan: &EncodePlan, part: Part) -> Result<Self, EngineError> {
        let grid = plan.side / model.spec.patch;
        match part {
            Part::Trunk => {
                let outputs = trunk_outputs(plan);
                let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
                Graph::open(
                    model,
                    part.file(),
                    &outputs,
                    (grid != model.spec.grid()).then_some(grid),
                )
            }
            Part::Windows => Graph::open(model, part.file(), &["embedding"], None),
        }
    }

    /// The graph of `file`, cut to `outputs`; `grid` where its positions are fitted to another one than the model's.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn open(
        model: &'a ModelFolder,
        file: &'static str,
        outputs: &[&str],
        grid: Option<usize>,
    ) -> Result<Self, EngineError> {
        let mut graph = Graph {
            model,
            file,
            grid,
            onnx: proto::ModelProto::default(),
        };
        let bytes = std::fs::read(model.path.join(file))
            .map_err(|error| graph.broken(&error.to_string()))?;
        graph.onnx = proto::ModelProto::decode(bytes.as_slice())
            .map_err(|error| graph.broken(&error.to_string()))?;
        let mut inner = graph
            .onnx
            .graph
            .take()
            .ok_or_else(|| graph.broken("no graph in it"))?;
        let mut wanted = Vec::new();
        for name in outputs {
            let found = inner.output.iter().find(|output| output.name == *name);
            wanted.push(
                found
                    .cloned()
                    .ok_or_else(|| graph.broken(&format!("no output {name:?}")))?,
            );
        }
        cut(&mut inner, wanted);
        for tensor in inner
            .initializer
            .iter_mut()
            .filter(|tensor| tensor.external().is_some())
        {
            let dims = placed_dims(tensor, &model.spec, grid)
                .ok_or_else(|| graph.missized(&tensor.name))?;
            tensor.dims = dims.iter().map(|&dim| dim as i64).collect();
        }
        graph.onnx.graph = Some(inner);
        Ok(graph)
    }

    /// Its file in the model folder.
    pub fn file(&self) -> &str {
        self.file
    }

    pub fn inner(&self) -> &proto::GraphProto {
        self.onnx.graph.as_ref().expect("open() puts one there")
    }

    pub fn inner_mut(&mut self) -> &mut proto::GraphProto {
        self.onnx.graph.as_mut().expect("open() puts one there")
    }

    /// The values of an external weight of this graph, positions fitted to the grid.
    ///
    /// # Errors
    /// [`EngineError::Model`] when it is of another size or type than it should be.
    pub fn weight(&self, tensor: &proto::TensorProto) -> Result<Weight, EngineError> {
        let missized = || self.missized(&tensor.name);
        let (location, offset, length) = tensor.external().ok_or_else(missized)?;
        let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
        let (grid, width) = (self.model.spec.grid(), self.model.spec.width);
        let fitted = self.fitted(&tensor.name);
        let stored = fitted.map_or_else(|| size(&dims), |_| size(&[grid, grid, width]));
        if tensor.data_type != FLOAT || stored.and_then(|size| size.checked_mul(4)) != Some(length)
        {
            return Err(missized());
        }
        let values = self.read(location, offset, length)?;
        Ok(match fitted {
            Some(to) => Weight {
                dims,
                values: super::pos_embed::resampled(&values, grid, to, width),
            },
            None => Weight { dims, values },
        })
    }

    /// Whether the weight of this name is the same in every graph of the folder, whatever the plan.
    pub fn shared(&self, name: &str) -> bool {
        self.fitted(name).is_none()
    }

    fn fitted(&self, name: &str) -> Option<usize> {
        self.grid.filter(|_| name == POSITIONS)
    }

    fn read(&self, location: &str, offset: usize, length: usize) -> Result<Vec<f32>, EngineError> {
        let path = self.model.path.join(location);
        let told =
            |error: std::io::Error| EngineError::Model(format!("{}: {error}", path.display()));
        let file = File::open(&path).map_err(told)?;
        // Asked before memory is: what a graph says may be any number.
        if length as u64 > file.metadata().map_err(told)?.len() {
            return Err(told(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset as u64)
            .map_err(told)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }

    /// The folder does not hold what it says.
    pub fn broken(&self, why: &str) -> EngineError {
        EngineError::Model(format!(
            "{}: {why}; import the model again",
            self.model.path.join(self.file).display()
        ))
    }

    fn missized(&self, name: &str) -> EngineError {
        self.broken(&format!("the weight {name:?} is not as large as it says"))
    }
}

/// The dims of a weight as the graph needs it. `None`: it is not as large as it says.
fn placed_dims(
    tensor: &proto::TensorProto,
    spec: &ModelSpec,
    grid: Option<usize>,
) -> Option<Vec<usize>> {
    let dims: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&dim| usize::try_from(dim).ok())
        .collect::<Option<_>>()?;
    let size = size(&dims)?;
    match grid.filter(|_| tensor.name == POSITIONS) {
        Some(grid) => (size == spec.grid() * spec.grid() * spec.width)
            .then(|| vec![1, grid * grid, spec.width]),
        None => Some(dims),
    }
}

/// Values of a tensor; nothing when they are more than can be counted.
fn size(dims: &[usize]) -> Option<usize> {
    dims.iter()
        .try_fold(1usize, |size, dim| size.checked_mul(*dim))
}

/// A graph of the vision tower in which every tensor of numbers has one type; its weights still lie in their file.
pub struct TypedGraph<'a> {
    graph: Graph<'a>,
    part: Part,
    precision: Precision,
}

/// `part` of `model` for `plan`, all of it in `precision`: inputs, outputs, weights and constants. The pixels' side is
/// fixed to the plan's.
///
/// # Errors
/// [`EngineError::Model`] when the folder does not hold what it says; [`EngineError::Plan`] for a constant beyond fp16.
pub fn typed<'a>(
    model: &'a ModelFolder,
    plan: &EncodePlan,
    part: Part,
    precision: Precision,
) -> Result<TypedGraph<'a>, EngineError> {
    let mut graph = Graph::of(model, plan, part)?;
    let inner = graph.inner_mut();
    for value in inner.input.iter_mut().chain(&mut inner.output) {
        retype(value, plan.side, precision);
    }
    for tensor in inner
        .initializer
        .iter_mut()
        .filter(|t| t.external().is_none() && t.data_type == FLOAT)
    {
        let mut values = std::mem::take(&mut tensor.float_data);
        values.extend(
            tensor
                .raw_data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        );
        tensor.data_type = element(precision);
        tensor.raw_data = bytes(&tensor.name, &values, precision)?;
    }
    Ok(TypedGraph {
        graph,
        part,
        precision,
    })
}

impl TypedGraph<'_> {
    /// The graph with its weights inside, for a parser that reads memory. Protobuf ends at 2 GB: [`TypedGraph::write`]
    /// has no such end.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says; [`EngineError::Plan`] for a weight beyond fp16.
    pub fn bytes(&self) -> Result<Vec<u8>, EngineError> {
        let onnx = self.with_weights(&mut |name, dims, bytes| {
            Ok(proto::TensorProto {
                raw_data: bytes,
                ..self.described(name, dims)
            })
        })?;
        Ok(onnx.encode_to_vec())
    }

    /// Writes `trunk.onnx` or `windows.onnx` into `folder`, its weights beside it in `trunk.weights` or
    /// `windows.weights`, and gives the graph's path. One weight is in memory at a time.
    ///
    /// # Errors
    /// As [`TypedGraph::bytes`]; [`EngineError::Unavailable`] when the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, EngineError> {
        let path = folder.join(self.part.file());
        let weights = path.with_extension("weights");
        let unwritable = |path: &Path, error: std::io::Error| {
            EngineError::Unavailable(format!("cannot write {}: {error}", path.display()))
        };
        let out = File::create(&weights).map_err(|error| unwritable(&weights, error))?;
        let name = weights
            .file_name()
            .expect("it was put there")
            .to_string_lossy();
        let mut file = WeightFile::new(BufWriter::new(out), &name);
        let onnx = self.with_weights(&mut |name, dims, bytes| {
            let put = file.put_bytes(name, dims, element(self.precision), [bytes.as_slice()]);
            put.map_err(|error| unwritable(&weights, error))
        })?;
        file.finish().map_err(|error| unwritable(&weights, error))?;
        std::fs::write(&path, onnx.encode_to_vec()).map_err(|error| unwritable(&path, error))?;
        Ok(path)
    }

    /// The graph with each external weight as `place` describes it: its name, its dims and its bytes.
    fn with_weights(&self, place: &mut Place) -> Result<proto::ModelProto, EngineError> {
        let mut onnx = self.graph.onnx.clone();
        let tensors = onnx
            .graph
            .iter_mut()
            .flat_map(|graph| &mut graph.initializer);
        for tensor in tensors.filter(|tensor| tensor.external().is_some()) {
            let weight = self.graph.weight(tensor)?;
            let bytes = bytes(&tensor.name, &weight.values, self.precision)?;
            *tensor = place(&tensor.name, &weight.dims, bytes)?;
        }
        Ok(onnx)
    }

    fn described(&self, name: &str, dims: &[usize]) -> proto::TensorProto {
        proto::TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: element(self.precision),
            name: name.to_owned(),
            ..proto::TensorProto::default()
        }
    }
}

/// Describes a weight of a name, dims and little-endian bytes.
type Place<'a> = dyn FnMut(&str, &[usize], Vec<u8>) -> Result<proto::TensorProto, EngineError> + 'a;

/// `TensorProto.DataType`.
fn element(precision: Precision) -> i32 {
    match precision {
        Precision::Fp16 => FLOAT16,
        Precision::Fp32 => FLOAT,
    }
}

/// Gives an input or output its type, and the pixels their side.
fn retype(value: &mut proto::ValueInfoProto, side: usize, precision: Precision) {
    let Some(tensor) = value
        .r#type
        .as_mut()
        .and_then(|kind| kind.tensor_type.as_mut())
    else {
        return;
    };
    if tensor.elem_type == FLOAT {
        tensor.elem_type = element(precision);
    }
    for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
        if dim.value == Some(DimensionValue::Named("S".to_owned())) {
            dim.value = Some(DimensionValue::Fixed(side as i64));
        }
    }
}

/// Little-endian values of the weight `name`.
///
/// # Errors
/// [`EngineError::Plan`] for a value that becomes infinite.
fn bytes(name: &str, values: &[f32], precision: Precision) -> Result<Vec<u8>, EngineError> {
    if precision == Precision::Fp32 {
        return Ok(values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect());
    }
    let mut bytes = Vec::with_capacity(2 * values.len());
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
mod tests {
    use super::*;
    use crate::engine::onnx::Runtime;
    use half::slice::HalfFloatSliceExt;
    use ort::session::Session;
    use ort::value::Tensor;

    #[test]
    fn a_weight_beyond_fp16_is_named() {
        assert_eq!(
            bytes("b1.up.weight", &[1.0, -2.0], Precision::Fp16).expect("fits"),
            [0x00, 0x3c, 0x00, 0xc0]
        );
        let words = bytes("b1.up.weight", &[0.0, 7e4], Precision::Fp16)
            .expect_err("too large")
            .to_string();
        assert!(
            words.contains("\"b1.up.weight\" holds 70000 at 1") && words.contains("65504"),
            "{words}"
        );
    }

    #[test]
    fn a_plan_names_the_outputs_that_it_needs() {
        let plan = EncodePlan {
            side: 64,
            image: true,
            patches: vec![PatchLayer::Block(2)],
            scales: vec![2, 3],
        };
        assert_eq!(trunk_outputs(&plan), ["block2", "tokens", "image"]);
        let plan = EncodePlan {
            side: 64,
            image: false,
            patches: vec![PatchLayer::AfterFinalNorm],
            scales: vec![],
        };
        assert_eq!(trunk_outputs(&plan), ["after_norm"]);
    }

    /// A golden folder, imported.
    fn imported(name: &str) -> (tempfile::TempDir, ModelFolder) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        let model = crate::model::import(&source, &folder.path().join("model"), &|_| ())
            .expect("golden models import");
        (folder, model)
    }

    /// Runs a trunk on pixels of half precision, or on the same ones in single.
    fn run(session: &mut Session, precision: Precision, side: usize, output: &str) -> Vec<f32> {
        let pixels: Vec<f32> = (0..2 * 3 * side * side)
            .map(|i| (i % 97) as f32 / 32.0 - 1.5)
            .collect();
        let shape = [2, 3, side, side];
        let outputs = match precision {
            Precision::Fp32 => session.run(ort::inputs![
                Tensor::from_array((shape, pixels)).expect("a tensor")
            ]),
            Precision::Fp16 => {
                let halves: Vec<f16> = pixels.into_iter().map(f16::from_f32).collect();
                session.run(ort::inputs![
                    Tensor::from_array((shape, halves)).expect("a tensor")
                ])
            }
        };
        let outputs = outputs.expect("the graph runs");
        match precision {
            Precision::Fp32 => outputs[output]
                .try_extract_tensor::<f32>()
                .expect("fp32")
                .1
                .to_vec(),
            Precision::Fp16 => outputs[output]
                .try_extract_tensor::<f16>()
                .expect("fp16")
                .1
                .to_f32_vec(),
        }
    }

    #[test]
    fn a_typed_graph_runs_as_file_and_from_memory_and_says_the_same_in_fp16() {
        let runtime =
            Runtime::load(None, Some(2)).expect("tools/setup puts libonnxruntime into engines/lib");
        for (name, side) in [
            ("open-clip-tiny", None),
            ("clip-hf-tiny", None),
            ("dinov2-tiny", Some(70)),
        ] {
            let (folder, model) = imported(name);
            let spec = &model.spec;
            let side = side.unwrap_or(spec.side);
            let patches = vec![PatchLayer::Block(1), PatchLayer::AfterFinalNorm];
            let plan = EncodePlan {
                side,
                image: true,
                patches,
                scales: vec![2],
            };
            let single = typed(&model, &plan, Part::Trunk, Precision::Fp32).expect("a graph");
            let half = typed(&model, &plan, Part::Trunk, Precision::Fp16).expect("a graph");
            let builder = || runtime.builder().expect("the library works");
            let mut single = builder()
                .commit_from_memory(&single.bytes().expect("in memory"))
                .expect("fp32");
            let file = half.write(folder.path()).expect("written");
            let mut half = builder().commit_from_file(file).expect("fp16");
            for output in trunk_outputs(&plan) {
                let exact = run(&mut single, Precision::Fp32, side, &output);
                let near = run(&mut half, Precision::Fp16, side, &output);
                let largest = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let off = exact
                    .iter()
                    .zip(&near)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(
                    exact.len() == near.len() && off < 0.01 * largest,
                    "{name} {output}: {off} of {largest}"
                );
            }
        }
    }
}
