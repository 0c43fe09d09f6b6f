//! Reading safetensors: every tensor by name, as f32, with its shape checked; all problems at once.

use super::ModelError;
use super::tower::{Linear, Norm};
use crate::base::problems::Problems;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::fs::File;
use std::path::Path;

/// A mapped weights file.
pub struct WeightsFile {
    map: Mmap,
    name: String,
}

impl WeightsFile {
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|error| ModelError::read(path, error))?;
        // SAFETY: the map is only read; whoever truncates a weights file while it is imported ends the import.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| ModelError::read(path, error))?;
        Ok(WeightsFile {
            map,
            name: path.display().to_string(),
        })
    }

    pub fn reader(&self) -> Result<Reader<'_>, ModelError> {
        let tensors = SafeTensors::deserialize(&self.map).map_err(|error| {
            ModelError::Content(format!(
                "{}: not a whole safetensors file ({error:?}; {} bytes); fetch it again",
                self.name,
                self.map.len()
            ))
        })?;
        Ok(Reader {
            tensors,
            file: &self.name,
            problems: Problems::new(),
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Takes tensors out; what is missing or misshapen is noted and read as empty, and [`Reader::finish`] tells all of it.
pub struct Reader<'a> {
    tensors: SafeTensors<'a>,
    file: &'a str,
    problems: Problems,
}

/// As many problems as a person wants to read at once.
const TOLD: usize = 12;

impl Reader<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// A tensor of exactly `shape`, row-major.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let view = match self.tensors.tensor(name) {
            Ok(view) => view,
            Err(_) => {
                self.problems
                    .note(name, format!("missing (shape {shape:?} is needed)"));
                return Vec::new();
            }
        };
        if view.shape() != shape {
            self.problems.note(
                name,
                format!("has shape {:?}, {shape:?} is needed", view.shape()),
            );
            return Vec::new();
        }
        let bytes = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                self.problems
                    .note(name, format!("is {other:?}; F32, F16 and BF16 can be read"));
                return Vec::new();
            }
        };
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            self.problems.note(
                name,
                format!("holds {} at index {at}; weights must be finite", values[at]),
            );
        }
        values
    }

    /// A torch `Linear`: `<name>.weight` `[out, in]` transposed to `[in, out]`, and `<name>.bias`.
    pub fn linear(&mut self, name: &str, input: usize, output: usize) -> Linear {
        let weight = self.tensor(&format!("{name}.weight"), &[output, input]);
        let bias = self.tensor(&format!("{name}.bias"), &[output]);
        Linear {
            rows: input,
            columns: output,
            weight: transposed(&weight, output, input),
            bias: Some(bias),
        }
    }

    pub fn norm(&mut self, name: &str, width: usize) -> Norm {
        Norm {
            weight: self.tensor(&format!("{name}.weight"), &[width]),
            bias: self.tensor(&format!("{name}.bias"), &[width]),
        }
    }

    /// # Errors
    /// All that was missing, misshapen or not finite.
    pub fn finish(self) -> Result<(), ModelError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let all: Vec<&str> = self.problems.iter().collect();
        let mut words = all
            .iter()
            .take(TOLD)
            .copied()
            .collect::<Vec<_>>()
            .join("\n  ");
        if all.len() > TOLD {
            words.push_str(&format!("\n  and {} more", all.len() - TOLD));
        }
        Err(ModelError::Content(format!(
            "{}: {} tensors do not fit the configuration:\n  {words}",
            self.file,
            all.len()
        )))
    }
}

/// `[rows, columns]` to `[columns, rows]`; empty stays empty (its problem is noted already).
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut out = vec![0.0; values.len()];
    // In squares that stay in the cache.
    const SQUARE: usize = 32;
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..columns).step_by(SQUARE) {
            for row in top..(top + SQUARE).min(rows) {
                for column in left..(left + SQUARE).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
