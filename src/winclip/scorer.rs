//! From features to a score and a map: sections 4.2, 4.3 and 5 of WinCLIP with the parameters of a preset.

use super::gallery::Gallery;
use super::preset::{FewShotMap, ImageScore, LanguageMap, Mean, Parameters};
use super::vectors::{cosine, harmonic, unit_rows};
use super::windows::scattered;
use super::{MapKind, windows};
use crate::data::map::Map;
use crate::engine::device_scorer::{PartialScores, ReferenceBank, Words};
use crate::engine::nearest::Nearest;
use crate::engine::{EngineError, Features, counted_windows};
use ndarray::{ArrayView2, Axis, CowArray, Ix2, s};

/// The language half: two unit prototypes `[E]` (normal, anomalous).
#[derive(Debug, Clone)]
struct Language {
    prototypes: [Vec<f32>; 2],
    temperature: f32,
}

/// Compares features with prototypes and references. Scores and maps are finite for finite features.
#[derive(Debug, Clone)]
pub struct Scorer {
    parameters: Parameters,
    language: Option<Language>,
    /// One gallery for each of `parameters.maps`; empty for zero-shot.
    galleries: Vec<Gallery>,
    language_scales: Vec<usize>,
    /// Which cells of the map count; nothing means all.
    cells: Option<Vec<bool>>,
}

impl Scorer {
    /// `prototypes` are raw, `[2, E]`, nothing for a model without text; `references` are features of good parts; `cells`
    /// are those of the plan that the features were made with.
    pub fn new(
        parameters: Parameters,
        language_scales: &[usize],
        prototypes: Option<ArrayView2<f32>>,
        references: &[Features],
        cells: Option<Vec<bool>>,
    ) -> Self {
        let gallery = |map: &MapKind| {
            let features: Vec<_> = references
                .iter()
                .map(|r| counted_rows(r, *map, cells.as_deref()))
                .collect();
            Gallery::new(&features.iter().map(|rows| rows.view()).collect::<Vec<_>>())
        };
        let galleries = if references.is_empty() {
            vec![]
        } else {
            parameters.maps.iter().map(gallery).collect()
        };
        let temperature = parameters.temperature;
        let language = prototypes.map(|raw| {
            let unit = unit_rows(raw);
            Language {
                prototypes: [0, 1].map(|i| unit.row(i).to_vec()),
                temperature,
            }
        });
        Scorer {
            parameters,
            language,
            galleries,
            language_scales: language_scales.to_vec(),
            cells,
        }
    }

    /// It compares with words.
    pub fn has_words(&self) -> bool {
        self.language.is_some()
    }

    /// What an engine that scores by itself has to know.
    pub fn lesson(&self) -> ReferenceBank<'_> {
        let with_references = !self.galleries.is_empty();
        let words = self.language.as_ref().map(|language| Words {
            prototypes: language.prototypes.clone(),
            temperature: language.temperature,
            map: self
                .wants_language_map()
                .then_some(self.parameters.language),
            scales: self.language_scales.clone(),
            image: self.parameters.needs_whole_image(with_references),
        });
        ReferenceBank {
            cells: self.cells.as_deref(),
            words,
            galleries: self
                .parameters
                .maps
                .iter()
                .copied()
                .zip(self.galleries.iter().map(Gallery::rows))
                .collect(),
            windows: self.parameters.windows,
        }
    }

    /// The pieces of one picture's score; `but` leaves one reference out of the gallery.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn pieces(
        &self,
        nearest: &mut dyn Nearest,
        features: &Features,
        but: Option<usize>,
    ) -> Result<PartialScores, EngineError> {
        let visual = match self.galleries.is_empty() {
            true => None,
            false => Some(self.visual_map(nearest, features, but)?),
        };
        let language = self.language.as_ref().filter(|_| self.wants_language_map());
        Ok(PartialScores {
            grid: features.grid,
            image: self
                .language
                .as_ref()
                .and_then(|language| Some(language.of_row(features.image.as_ref()?))),
            language: language.map(|language| self.language_map(language, features)),
            visual,
        })
    }

    fn wants_language_map(&self) -> bool {
        self.has_words()
            && self
                .parameters
                .needs_language_map(!self.galleries.is_empty())
    }

    /// The score and the `grid x grid` map that they make.
    pub fn conclude(&self, pieces: PartialScores) -> (f32, Map) {
        let PartialScores {
            grid,
            image,
            language,
            visual,
        } = pieces;
        let map = match (language, &visual) {
            (None, Some(visual)) => visual.clone(),
            (Some(language), Some(visual)) => mixed(self.parameters.few_shot, &language, visual),
            (Some(language), None) => language
                .into_iter()
                .map(|v| v * self.parameters.zero_shot_factor)
                .collect(),
            (None, None) => vec![0.0; grid * grid],
        };
        let image = || image.expect("the plan asks for the picture's embedding");
        let score = match (self.parameters.image, self.has_words(), &visual) {
            (_, false, _) => {
                let counted = self.counted(&map);
                mean_of_highest(&counted, highest_share(counted.len()))
            }
            (ImageScore::MapMaximum, true, _) => highest(&self.counted(&map)),
            (ImageScore::Embedding, true, None) => image(),
            (ImageScore::Embedding, true, Some(visual)) => {
                (image() + highest(&self.counted(visual))) / 2.0
            }
        };
        (score, Map::new(grid, map).masked(self.cells.as_deref()))
    }

    fn visual_map(
        &self,
        nearest: &mut dyn Nearest,
        features: &Features,
        but: Option<usize>,
    ) -> Result<Vec<f32>, EngineError> {
        let mut maps = Vec::with_capacity(self.galleries.len());
        for (map, gallery) in self.parameters.maps.iter().zip(&self.galleries) {
            let rows = counted_rows(features, *map, self.cells.as_deref());
            let distances = gallery.distances(nearest, rows.view(), but)?;
            maps.push(match map {
                MapKind::Patch => self.in_place(1, features.grid, distances),
                MapKind::Windows(scale) => {
                    let distances = self.in_place(*scale, features.grid, distances);
                    scattered(&distances, features.grid, *scale, self.parameters.windows)
                }
            });
        }
        let mean = |cell: usize| maps.iter().map(|map| map[cell]).sum::<f32>() / maps.len() as f32;
        Ok((0..features.grid * features.grid).map(mean).collect())
    }

    /// Values of the windows that count, each to its place among all; the others are 0, and no cell that counts is
    /// under one of them. Patches are windows of one.
    fn in_place(&self, scale: usize, grid: usize, values: Vec<f32>) -> Vec<f32> {
        let Some(cells) = &self.cells else {
            return values;
        };
        let mut all = vec![0.0; (grid - scale + 1).pow(2)];
        counted_windows(grid, scale, Some(cells))
            .into_iter()
            .zip(values)
            .for_each(|(at, value)| all[at] = value);
        all
    }

    /// The values of the cells that count.
    fn counted(&self, map: &[f32]) -> Vec<f32> {
        match &self.cells {
            None => map.to_vec(),
            Some(cells) => map
                .iter()
                .zip(cells)
                .filter(|(_, counts)| **counts)
                .map(|(value, _)| *value)
                .collect(),
        }
    }

    fn language_map(&self, language: &Language, features: &Features) -> Vec<f32> {
        let scales: Vec<(usize, Vec<f32>)> = features
            .windows
            .iter()
            .filter(|w| self.language_scales.contains(&w.scale))
            .map(|w| {
                (
                    w.scale,
                    self.in_place(w.scale, features.grid, language.of_rows(w.features.view())),
                )
            })
            .collect();
        match self.parameters.language {
            LanguageMap::Harmonic => {
                let mut maps: Vec<Vec<f32>> = scales
                    .iter()
                    .map(|(scale, values)| scattered(values, features.grid, *scale, Mean::Harmonic))
                    .collect();
                maps.push(vec![
                    language.of_image(features);
                    features.grid * features.grid
                ]);
                (0..features.grid * features.grid)
                    .map(|cell| harmonic(maps.iter().map(|map| map[cell])))
                    .collect()
            }
            LanguageMap::OddsMean => (0..features.grid * features.grid)
                .map(|cell| odds_mean(&scales, features.grid, cell))
                .collect(),
        }
    }
}

/// caoyunkang: `u = mean of 1/(1 - s)` over the windows of a scale, then `1 - 1/mean(u)` over the scales.
fn odds_mean(scales: &[(usize, Vec<f32>)], grid: usize, cell: usize) -> f32 {
    let odds = scales.iter().map(|(scale, values)| {
        let over = windows::over(grid, *scale, cell / grid, cell % grid);
        let (sum, count) = over.fold((0.0, 0), |(sum, count), w| {
            (sum + 1.0 / (1.0 - values[w]), count + 1)
        });
        sum / count as f32
    });
    let mean = odds.sum::<f32>() / scales.len().max(1) as f32;
    // A window with s = 1 makes the mean infinite, and the cell as anomalous as can be.
    if mean > 0.0 { 1.0 - 1.0 / mean } else { 0.0 }
}

fn mixed(how: FewShotMap, language: &[f32], visual: &[f32]) -> Vec<f32> {
    let mix = |(&l, &v): (&f32, &f32)| match how {
        FewShotMap::Visual => v,
        FewShotMap::Mean => (l + v) / 2.0,
        FewShotMap::Sum => l + v,
        FewShotMap::Parallel => harmonic([l, v].into_iter()) / 2.0,
    };
    language.iter().zip(visual).map(mix).collect()
}

/// The raw feature rows that a visual map compares: patches without the class token, or a scale's windows.
fn rows_of(features: &Features, map: MapKind) -> ArrayView2<'_, f32> {
    match map {
        MapKind::Patch => features
            .tokens
            .first()
            .expect("the plan asks for patches")
            .slice(s![1.., ..]),
        MapKind::Windows(scale) => {
            let windows = features.windows.iter().find(|w| w.scale == scale);
            windows
                .expect("the plan asks for every scale of the maps")
                .features
                .view()
        }
    }
}

/// [`rows_of`], of patches only those that count; windows that do not were never encoded.
fn counted_rows<'f>(
    features: &'f Features,
    map: MapKind,
    cells: Option<&[bool]>,
) -> CowArray<'f, f32, Ix2> {
    let rows = rows_of(features, map);
    match (map, cells) {
        (MapKind::Patch, Some(cells)) => rows
            .select(Axis(0), &counted_windows(features.grid, 1, Some(cells)))
            .into(),
        _ => rows.into(),
    }
}

fn highest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// How many cells AnomalyDINO's image score takes (Damm et al., arXiv 2405.14529): the highest 1 %, rounded down, at
/// least one.
pub(super) fn highest_share(cells: usize) -> usize {
    (cells / 100).max(1)
}

/// The mean of the `count` highest.
pub(super) fn mean_of_highest(values: &[f32], count: usize) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let highest = &sorted[..count.min(sorted.len())];
    highest.iter().sum::<f32>() / highest.len().max(1) as f32
}

impl Language {
    /// `s(f) = softmax([<f, t_n>, <f, t_a>] / tau)` of anomalous, for each raw row (WinCLIP, equation 1).
    fn of_rows(&self, rows: ArrayView2<f32>) -> Vec<f32> {
        let rows_major = rows.as_standard_layout();
        let values = rows_major.as_slice().expect("standard layout");
        values
            .chunks_exact(rows.ncols().max(1))
            .map(|row| self.of_row(row))
            .collect()
    }

    fn of_row(&self, row: &[f32]) -> f32 {
        let [normal, anomalous] = [0, 1].map(|i| cosine(row, &self.prototypes[i]));
        1.0 / (1.0 + ((normal - anomalous) / self.temperature).exp())
    }

    fn of_image(&self, features: &Features) -> f32 {
        self.of_row(
            features
                .image
                .as_ref()
                .expect("the plan asks for the picture's embedding"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::WindowFeatures;
    use crate::winclip::Preset;
    use crate::winclip::gallery::tests::Plain;
    use proptest::prelude::*;

    use ndarray::Array2;

    const GRID: usize = 3;
    const SIZE: usize = 4;

    /// Values that break arithmetic: none, the largest, the smallest, and plain ones; rows often repeat.
    fn rows(count: usize) -> impl Strategy<Value = Array2<f32>> {
        let value = prop_oneof![
            Just(0.0f32),
            Just(f32::MAX),
            Just(f32::MIN),
            Just(f32::MIN_POSITIVE),
            Just(f32::from_bits(1)),
            -10.0f32..10.0
        ];
        let row = prop_oneof![
            Just(vec![0.0; SIZE]),
            Just(vec![1.0; SIZE]),
            prop::collection::vec(value, SIZE)
        ];
        prop::collection::vec(row, count).prop_map(move |rows| {
            Array2::from_shape_vec((count, SIZE), rows.concat()).expect("count rows")
        })
    }

    fn features() -> impl Strategy<Value = Features> {
        (rows(1), rows(1 + GRID * GRID), rows(4), rows(1)).prop_map(
            |(image, tokens, two, three)| Features {
                grid: GRID,
                image: Some(image.into_iter().collect()),
                tokens: vec![tokens],
                windows: vec![
                    WindowFeatures {
                        scale: 2,
                        features: two,
                    },
                    WindowFeatures {
                        scale: 3,
                        features: three,
                    },
                ],
            },
        )
    }

    proptest! {
        #[test]
        fn scores_and_maps_are_finite_for_any_finite_features(
            references in prop::collection::vec(features(), 0..3),
            twice: bool,
            prototypes in prop::option::of(rows(2)),
            shown in features(),
        ) {
            let mut references = references;
            references.extend(twice.then(|| shown.clone()));
            for preset in [Preset::Paper, Preset::Anomalib, Preset::Zqhang, Preset::Caoyunkang] {
                let prototypes = prototypes.as_ref().map(|p| p.view());
                let scorer = Scorer::new(preset.parameters(&[2, 3]), &[2, 3], prototypes, &references, None);
                let left_out = (0..references.len()).filter(|_| references.len() > 1).map(Some);
                for but in left_out.chain([None]) {
                    let pieces = scorer.pieces(&mut Plain, &shown, but).expect("plain arithmetic");
                    let (score, map) = scorer.conclude(pieces);
                    prop_assert!(score.is_finite(), "{preset:?} {score}");
                    prop_assert!(map.values().iter().all(|v| v.is_finite()), "{preset:?} {map:?}");
                }
            }
        }
    }
}
