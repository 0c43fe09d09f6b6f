//! The measures of `winspect eval`: all pictures are encoded once, then scored for each block and each draw of references.

use super::super::terminal::Terminal;
use crate::base::exit::{Exit, Failure};
use crate::data::picture::Picture;
use crate::engine::{EngineError, PatchLayer};
use crate::evaluate::dataset::{Dataset, Truth};
use crate::evaluate::ranking::Scores;
use crate::evaluate::{distinct_draws, mean_and_std};
use crate::image::file as image_file;
use crate::winclip::Inspector;
use crate::winclip::inspector::{InspectError, RegionFeatures};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Limit of the false positive rate for AUPRO.
const AUPRO_LIMIT: f64 = 0.3;
/// Names of the measures, as the JSON lines and the table have them.
const MEASURES: [&str; 7] = [
    "image_AUROC",
    "image_F1Max",
    "image_AP",
    "pixel_AUROC",
    "pixel_F1Max",
    "pixel_AP",
    "AUPRO",
];
/// Measures of one draw, in the order of [`MEASURES`]; `None` where a measure is not defined.
type Measured = [Option<f64>; 7];

/// The references that each run compares with: for each number of shots, the indices of each draw.
pub struct Draws(Vec<(usize, Vec<Vec<usize>>)>);

impl Draws {
    /// Draws with seeds 0, 1, 2 and so on, no two of them the same: one of none, and one of all.
    pub fn new(shots: &[usize], count: usize, seeds: usize) -> Self {
        let mut draws = vec![];
        for &shots in shots {
            draws.push((shots, distinct_draws(count, shots, seeds)));
        }

        Draws(draws)
    }

    /// Returns every index that is drawn at all, once.
    pub fn drawn(&self) -> impl Iterator<Item = usize> + use<> {
        // The set puts the indices in order, in which the files are read.
        let all = self
            .0
            .iter()
            .flat_map(|(_, draws)| draws.iter().flatten().copied());

        all.collect::<BTreeSet<_>>().into_iter()
    }
}

/// All that does not change from draw to draw but for the block.
pub struct Evaluation {
    inspector: Inspector,
    /// Features of the references, by their index in train/good.
    references: BTreeMap<usize, RegionFeatures>,
    /// Features of the test pictures, with true for a bad part.
    tests: Vec<(RegionFeatures, bool)>,
    /// Features of the known bad parts.
    known_bad: Vec<RegionFeatures>,
    /// Bad pixels of the test pictures, as many as `tests`; `None` where they are not known.
    truths: Option<Vec<Truth>>,
    /// Number of good pixels in all test pictures.
    good_pixels: usize,
    /// Number of bad pixels in all test pictures.
    bad_pixels: usize,
}

impl Evaluation {
    /// Encodes all pictures. `truths` are those of [`Dataset::read`].
    ///
    /// # Errors
    /// When a picture cannot be used any more, or the engine fails.
    pub fn encoded(
        mut inspector: Inspector,
        dataset: &Dataset,
        truths: Option<Vec<Truth>>,
        draws: &Draws,
        terminal: &mut Terminal,
    ) -> Result<Self, Failure> {
        // Features are kept in memory for all draws; see the head of this file for their size.
        let drawn: Vec<usize> = draws.drawn().collect();
        terminal.begin("pictures", drawn.len() + dataset.tests.len());
        let mut references = BTreeMap::new();
        for index in drawn {
            let file = &dataset.references[index];
            let features = encode(&mut inspector, file, Inspector::encode_reference)?;
            references.insert(index, features);
            terminal.done(references.len());
        }

        // Test pictures carry the truth of the whole picture; pixels have theirs in `truths`.
        let mut tests = Vec::with_capacity(dataset.tests.len());
        for test in &dataset.tests {
            let features = encode(&mut inspector, &test.file, Inspector::encode)?;
            tests.push((features, test.is_bad));
            terminal.done(references.len() + tests.len());
        }

        // The counts of pixels are known beforehand, so that each draw reserves its memory once.
        let mut pixels = 0;
        let mut bad_pixels = 0;
        for truth in truths.iter().flatten() {
            pixels += truth.regions.pixels();
            bad_pixels += truth.regions.bad_pixels();
        }

        Ok(Evaluation {
            inspector,
            references,
            tests,
            known_bad: vec![],
            truths,
            good_pixels: pixels - bad_pixels,
            bad_pixels,
        })
    }

    /// Encodes the pictures of known bad parts, whose looks every draw compares with.
    ///
    /// # Errors
    /// As those of [`Evaluation::encoded`].
    pub fn know(&mut self, bad: &[PathBuf]) -> Result<(), Failure> {
        for file in bad {
            self.known_bad
                .push(encode(&mut self.inspector, file, Inspector::encode)?);
        }

        Ok(())
    }

    /// Scores and measures each draw for each layer of patches; prints a line and tells a row for each number
    /// of references. `layers` are those of the plan, none where no patches are compared.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn measured(
        &mut self,
        layers: &[PatchLayer],
        draws: &Draws,
        terminal: &mut Terminal,
    ) -> Result<Vec<Value>, Failure> {
        // The table grows row by row on standard error, the JSON lines beside it on standard
        // output.
        terminal.say(format!(
            "{:>5} {:>5} {:>5}{}",
            "block",
            "shots",
            "seeds",
            MEASURES.map(|name| format!("{name:>17}")).concat()
        ));

        let mut lines = vec![];
        for index in 0..layers.len().max(1) {
            let layer = layers.get(index).copied();

            // Without references no patches are compared: all layers would have the same row.
            for (shots, draws) in draws.0.iter().filter(|(shots, _)| index == 0 || *shots > 0) {
                terminal.begin("draws", draws.len());
                let mut all = Vec::with_capacity(draws.len());
                for (done, draw) in draws.iter().enumerate() {
                    all.push(self.measure(draw)?);
                    terminal.done(done + 1);
                }

                let block = layer.filter(|_| *shots > 0).and_then(block_of);
                terminal.say(row(block, *shots, &all));
                let line = line(block, *shots, self.tests.len(), &all);

                // The table goes on when standard output was closed.
                terminal.print(&line)?;
                lines.push(line);
            }

            self.next_layer();
        }

        Ok(lines)
    }

    /// Compares the patches of the plan's next layer from now on.
    fn next_layer(&mut self) {
        let tests = self.tests.iter_mut().map(|(features, _)| features);
        let known = self.references.values_mut().chain(&mut self.known_bad);
        for features in known.chain(tests) {
            features.next_layer();
        }
    }

    /// The looks of the known bad parts, which depend on the references of a draw.
    fn learn_looks(&mut self) -> Result<(), EngineError> {
        let mut looks = vec![];
        for features in &self.known_bad {
            looks.push(self.inspector.looks_of(features)?);
        }

        if !looks.is_empty() {
            self.inspector.set_looks(&looks)?;
        }

        Ok(())
    }

    fn measure(&mut self, draw: &[usize]) -> Result<Measured, Failure> {
        // The features are cloned, since `set_references` takes them and later draws need them
        // again.
        let references = draw
            .iter()
            .map(|index| self.references[index].clone())
            .collect();

        self.inspector
            .set_references(references)
            .map_err(|error| Failure::new(Exit::Software, error))?;

        self.learn_looks()
            .map_err(|error| Failure::new(Exit::Software, error))?;

        // Picture scores and pixel values are ranked apart: the measures compare each with its own
        // truth.
        let mut pictures = Scores::default();
        let mut pixels = Scores::with_capacity(self.good_pixels, self.bad_pixels);
        for (index, (features, is_bad)) in self.tests.iter().enumerate() {
            // A failure here is a bug: features of a picture that was encoded can always be scored.
            let mut scores = self
                .inspector
                .score(features)
                .map_err(|error| Failure::new(Exit::Software, error))?;

            let (score, map) = scores
                .pop()
                .expect("a data set is judged without regions: one score a picture");

            if *is_bad {
                pictures.bad(score)
            } else {
                pictures.good(score)
            }

            // The map is enlarged to the mask's size, in which pixels are compared.
            if let Some(truth) = self.truths.as_ref().map(|truths| &truths[index]) {
                pixels.picture(&map.enlarged(truth.width, truth.height), &truth.regions);
            }
        }

        // Ranking sorts all values once; each measure walks the sorted list. The order is that of
        // MEASURES.
        let pictures = pictures.ranked();
        let pixels = pixels.ranked();
        Ok([
            pictures.auroc(),
            pictures.f1_max(),
            pictures.average_precision(),
            pixels.auroc(),
            pixels.f1_max(),
            pixels.average_precision(),
            pixels.aupro(AUPRO_LIMIT),
        ])
    }
}

/// The features of a file by one of the inspector's two ways to encode.
fn encode(
    inspector: &mut Inspector,
    file: &Path,
    way: impl Fn(&mut Inspector, &Picture) -> Result<RegionFeatures, InspectError>,
) -> Result<RegionFeatures, Failure> {
    // The file was read once already, and may have changed since.
    let picture = read(file)?;
    way(inspector, &picture).map_err(|error| {
        let exit = match error {
            InspectError::Engine(_) => Exit::Software,
            _ => Exit::Data,
        };

        Failure::words(exit, format!("{}: {error}", file.display()))
    })
}

pub fn read(file: &Path) -> Result<Picture, Failure> {
    image_file::read(file).map_err(|error| Failure::new(Exit::Data, error))
}

/// Returns the values of one measure in all draws where it is defined.
fn each(all: &[Measured], measure: usize) -> Vec<f64> {
    all.iter()
        .filter_map(|measured| measured[measure])
        .collect()
}

/// The block of a layer; `None` for the tokens behind the final norm.
fn block_of(layer: PatchLayer) -> Option<usize> {
    match layer {
        PatchLayer::Block(block) => Some(block),
        PatchLayer::AfterFinalNorm => None,
    }
}

fn row(block: Option<usize>, shots: usize, all: &[Measured]) -> String {
    // A measure with one draw has no deviation, and one without truth has no value.
    let block = block.map_or_else(|| "-".to_owned(), |block| block.to_string());
    let mut row = format!("{block:>5} {shots:>5} {:>5}", all.len());
    for measure in 0..MEASURES.len() {
        let each = each(all, measure);
        let cell = match mean_and_std(&each) {
            None => "-".to_owned(),
            Some((mean, None)) => format!("{mean:.4}"),
            Some((mean, Some(std))) => format!("{mean:.4} ± {std:.4}"),
        };

        row += &format!("{cell:>17}");
    }

    row
}

fn line(block: Option<usize>, shots: usize, pictures: usize, all: &[Measured]) -> Value {
    // The values of each draw are told beside mean and deviation, so that readers can test for
    // themselves.
    let mut line = json!({
        "block": block,
        "shots": shots,
        "seeds": all.len(),
        "pictures": pictures,
    });

    for (measure, name) in MEASURES.iter().enumerate() {
        let each = each(all, measure);
        line[name] = match mean_and_std(&each) {
            Some((mean, std)) => json!({"mean": mean, "std": std, "each": each}),
            None => Value::Null, // no draw has it
        };
    }

    line
}
