//! TensorReader of safetensors: every tensor by name, as f32, with its shape checked; all problems at once.

use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::tower::{Linear, Norm};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

/// A mapped weights file.
pub struct WeightsFile {
    map: Mmap,
    name: String,
}

impl WeightsFile {
    /// Maps the file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        // The file is mapped rather than read: it may have gigabytes, and each tensor is touched
        // once.
        let file = File::open(path).map_err(|error| ModelError::read(path, error))?;
        // SAFETY: the map is only read. A weights file that is truncated during its import ends the
        // process; nothing else of it is changed.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| ModelError::read(path, error))?;
        Ok(WeightsFile {
            map,
            name: path.display().to_string(),
        })
    }

    /// A reader of the file's tensors.
    ///
    /// # Errors
    /// When the file is no whole safetensors file.
    pub fn reader(&self) -> Result<TensorReader<'_>, ModelError> {
        // The header is checked against the length of the file: a download that was cut short is
        // found here, before anything is written.
        let tensors = SafeTensors::deserialize(&self.map).map_err(|error| {
            ModelError::Content(format!(
                "{}: not a whole safetensors file ({error:?}; {} bytes); fetch it again",
                self.name,
                self.map.len()
            ))
        })?;

        Ok(TensorReader {
            tensors,
            file: &self.name,
            problems: Problems::new(),
            read: HashSet::new(),
        })
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Reader of tensors. A missing or misshapen tensor is noted and read as empty, and
/// [`TensorReader::finish`] returns all that was noted.
pub struct TensorReader<'a> {
    tensors: SafeTensors<'a>,
    file: &'a str,
    problems: Problems,
    /// Names that were asked for.
    read: HashSet<String>,
}

/// Tensors that no feature depends on: the scale and offset of logits, numbers of positions, and the
/// stand-in of patches that are hidden in training.
const UNUSED: [&str; 7] = [
    "logit_scale",
    "logit_bias",
    "attn_mask",
    "position_ids",
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
    "embeddings.mask_token",
];

/// Largest number of problems in a message: as many as a person reads at once.
const PROBLEMS_SHOWN: usize = 12;

impl TensorReader<'_> {
    /// True if the file has the tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// A tensor of exactly `shape`, row-major.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        // The import goes on with an empty tensor, so that one run tells all that is wrong.
        let values = self.read(name, shape);
        values.unwrap_or_else(|problem| {
            // The problem stands under the tensor's own name, as the file has it.
            self.problems.note(name, problem);
            Vec::new()
        })
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        self.read.insert(name.to_owned());
        // The name is looked up first, then the shape is compared: the needed shape helps to find
        // the tensor under another name.
        let view = self
            .tensors
            .tensor(name)
            .map_err(|_| format!("missing (shape {shape:?} is needed)"))?;

        // A tensor of the right length and another shape would be read transposed.
        if view.shape() != shape {
            let has = view.shape();
            return Err(format!("has shape {has:?}, {shape:?} is needed"));
        }

        // One value that is not finite would make every score so. The values are returned all the
        // same, for the checks that follow.
        let values = floats(view.data(), view.dtype())?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let value = values[at];
            // One index is enough: such a file is broken as a whole.
            let words = format!("holds {value} at index {at}; weights must be finite");
            self.problems.note(name, words);
        }

        Ok(values)
    }

    /// A torch `Linear`: `<name>.weight` `[out, in]` transposed to `[in, out]`, and `<name>.bias`.
    pub fn linear(&mut self, name: &str, input: usize, output: usize) -> Linear {
        // The file has the matrix as `[out, in]`, since torch computes `x W^T + b`.
        let weight = self.tensor(&format!("{name}.weight"), &[output, input]);
        let bias = self.tensor(&format!("{name}.bias"), &[output]);
        Linear {
            rows: input,
            columns: output,
            weight: transposed(&weight, output, input),
            bias: Some(bias),
        }
    }

    /// A layer norm: `<name>.weight` and `<name>.bias`, both `[width]`.
    pub fn norm(&mut self, name: &str, width: usize) -> Norm {
        Norm {
            weight: self.tensor(&format!("{name}.weight"), &[width]),
            bias: self.tensor(&format!("{name}.bias"), &[width]),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All that was missing, misshapen or not finite, and all that was not read: a model of which a
    /// part was left out gives other features than the one that was trained.
    pub fn finish(mut self) -> Result<(), ModelError> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        for name in names {
            if !self.read.contains(name) && !UNUSED.contains(&name) {
                let words = "is not read: the configuration has no place for it";
                self.problems.note(name, words);
            }
        }

        if self.problems.is_empty() {
            return Ok(());
        }

        // A model of another size misses hundreds of tensors; the first dozen tell which.
        let all: Vec<&str> = self.problems.iter().collect();
        let shown = &all[..all.len().min(PROBLEMS_SHOWN)];
        // The words are indented below the file's name.
        let mut words = shown.join("\n  ");
        if all.len() > shown.len() {
            let rest = all.len() - shown.len();
            words.push_str(&format!("\n  and {rest} more"));
        }

        Err(ModelError::Content(format!(
            "{}: {} tensors do not fit the configuration:\n  {words}",
            self.file,
            all.len()
        )))
    }
}

/// The numbers in a tensor's bytes.
fn floats(bytes: &[u8], dtype: Dtype) -> Result<Vec<f32>, String> {
    // Each type is widened to f32, in which every value of the others can be written.
    match dtype {
        Dtype::F32 => {
            // Safetensors are little-endian, and the data of a tensor has no alignment that could
            // be relied on.
            let numbers = bytes.as_chunks::<4>().0.iter();
            Ok(numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        Dtype::F16 => {
            let numbers = bytes.as_chunks::<2>().0.iter();
            Ok(numbers
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .collect())
        }
        Dtype::BF16 => {
            let numbers = bytes.as_chunks::<2>().0.iter();
            Ok(numbers
                .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
                .collect())
        }
        other => Err(format!("is {other:?}; F32, F16 and BF16 can be read")),
    }
}

/// Transposes `[rows, columns]` to `[columns, rows]`; empty stays empty (its problem is noted already).
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // A missing tensor has nothing to turn.
    if values.is_empty() {
        return Vec::new();
    }

    let mut out = vec![0.0; values.len()];
    // Squares of this side stay in the cache.
    const SQUARE: usize = 32;
    // Rows are read and columns written in squares: straight through, each write of a large matrix
    // would miss the cache.
    for top in (0..rows).step_by(SQUARE) {
        // The last square of a row or column is smaller.
        let bottom = (top + SQUARE).min(rows);
        for left in (0..columns).step_by(SQUARE) {
            let right = (left + SQUARE).min(columns);
            // A square has 32 x 32 values, 4 kB read and 4 kB written.
            for row in top..bottom {
                for column in left..right {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }

    out
}
