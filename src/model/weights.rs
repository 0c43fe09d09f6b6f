//! TensorReader of safetensors: every tensor by name, as f32, with its shape checked; all problems at once.

mod file;
mod shards;

use crate::base::hex::hex;
use crate::base::problems::Problems;
use crate::model::error::ModelError;
use crate::model::tower::{Linear, Norm};
use file::WeightsFile;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A model's mapped weights: one file, or shards with an index.
pub struct Weights {
    files: Vec<WeightsFile>,
    /// The file, or the index.
    path: PathBuf,
}

impl Weights {
    /// Maps the file `path`, or the shards that `<path>.index.json` names where there is no such file.
    ///
    /// # Errors
    /// When a file cannot be read, or the index and its shards contradict each other.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let index = path.with_added_extension("index.json");

        // The one file comes first, as in transformers.
        if !path.exists() && index.exists() {
            return Ok(Weights {
                files: shards::open(&index)?,
                path: index,
            });
        }

        Ok(Weights {
            files: vec![WeightsFile::open(path)?],
            path: path.to_owned(),
        })
    }

    /// A reader of all tensors.
    ///
    /// # Errors
    /// When a file is no whole safetensors file.
    pub fn reader(&self) -> Result<TensorReader<'_>, ModelError> {
        let tensors: Result<Vec<SafeTensors>, ModelError> =
            self.files.iter().map(WeightsFile::tensors).collect();

        Ok(TensorReader {
            files: tensors?,
            path: &self.path,
            problems: Problems::new(),
            read: HashSet::new(),
        })
    }

    /// Hex SHA-256 of the file, or of all shards one after another in the order of their names.
    pub fn sha256(&self) -> String {
        let mut sum = Sha256::new();
        self.files.iter().for_each(|file| sum.update(file.bytes()));

        hex(&sum.finalize())
    }
}

/// Reader of tensors. A missing or misshapen tensor is noted and read as empty, and
/// [`TensorReader::finish`] returns all that was noted.
pub struct TensorReader<'a> {
    /// The one file, or the shards.
    files: Vec<SafeTensors<'a>>,
    path: &'a Path,
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

impl<'a> TensorReader<'a> {
    /// True if there is the tensor.
    pub fn has(&self, name: &str) -> bool {
        self.view(name).is_some()
    }

    /// The tensor; of shards only one has it.
    fn view(&self, name: &str) -> Option<TensorView<'a>> {
        self.files.iter().find_map(|file| file.tensor(name).ok())
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
            .view(name)
            .ok_or_else(|| format!("missing (shape {shape:?} is needed)"))?;

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
        let mut names: Vec<&str> = self.files.iter().flat_map(SafeTensors::names).collect();
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

        Err(ModelError::Content(format!(
            "{}: {} tensors do not fit the configuration:\n  {}",
            self.path.display(),
            self.problems.iter().count(),
            self.problems.first_lines()
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
