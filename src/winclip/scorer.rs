//! The way from features to a score and a map: sections 4.2, 4.3 and 5 of WinCLIP with the
//! parameters of a preset.

use super::gallery::Gallery;
use super::looks;
use super::preset::{FewShotMap, ImageScore, LanguageMap, MapKind, Mean, Parameters};
use super::top_share::TopShare;
use super::vectors::{cosine, harmonic, unit_rows};
use super::windows::{over, scattered};
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::engine::device_scorer::{PartialScores, PatchDistances, ReferenceBank, TextReferences};
use crate::engine::nearest::Nearest;
use crate::engine::{EngineError, Features, WindowFeatures, unmasked_windows};
use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2, s};

/// The language half: two unit prototypes `[E]` (normal, anomalous).
#[derive(Debug, Clone)]
struct Language {
    prototypes: [Vec<f32>; 2],
    temperature: f32,
}

/// Compares features with prototypes and references. Scores and maps are finite for finite
/// features.
#[derive(Debug, Clone)]
pub struct Scorer {
    parameters: Parameters,
    language: Option<Language>,
    /// One gallery for each of `parameters.maps`; empty for zero-shot.
    galleries: Vec<Gallery>,
    /// Patches of known bad parts; `None` without any.
    looks: Option<Gallery>,
    language_scales: Vec<usize>,
    /// True for each cell of the map that counts. `None`: all count.
    mask: Option<Vec<bool>>,
}

/// Scores of the windows of one scale, `[W]`.
struct ScaleScores {
    scale: usize,
    values: Vec<f32>,
}

impl Scorer {
    /// A scorer of one kind of crop. `prototypes` are raw, `[2, E]`, `None` for a model without
    /// text; `references` are features of good parts, each in the same number of ways; `mask` is that
    /// of the crops that the features were made of.
    pub fn new(
        parameters: Parameters,
        language_scales: &[usize],
        prototypes: Option<ArrayView2<f32>>,
        references: &[Vec<&Features>],
        mask: Option<Vec<bool>>,
    ) -> Self {
        // Zero-shot scoring has no galleries. With references each visual map has one, made of the
        // same rows that a picture is compared by.
        let galleries = match references.is_empty() {
            true => vec![],
            false => parameters
                .maps
                .iter()
                .map(|map| gallery(references, *map, mask.as_deref(), parameters.thin_to))
                .collect(),
        };

        // Prototypes become unit vectors once, as each of thousands of rows is compared with them.
        let language = prototypes.map(|raw| Language::new(raw, parameters.temperature));
        Scorer {
            parameters,
            language,
            galleries,
            looks: None,
            language_scales: language_scales.to_vec(),
            mask,
        }
    }

    /// True if the scorer compares with words.
    pub fn has_words(&self) -> bool {
        self.language.is_some()
    }

    /// The references and prototypes, for an engine that scores on its device.
    pub fn reference_bank(&self) -> ReferenceBank<'_> {
        // Maps and galleries lie in the same order, the preset's. `zip` pairs each map with its
        // references.
        let maps = self.parameters.maps.iter().copied();
        let galleries = self.galleries.iter().map(Gallery::rows);
        ReferenceBank {
            mask: self.mask.as_deref(),
            text: self.text_references(),
            galleries: maps.zip(galleries).collect(),
            looks: self.looks.as_ref().map(Gallery::rows),
            window_mean: self.parameters.windows,
        }
    }

    /// Compares patches with those of known bad parts too, raw rows `[B, D]` of the patch layer; without any
    /// rows no longer.
    pub fn set_looks(&mut self, rows: ArrayView2<f32>) {
        self.looks = (rows.nrows() > 0).then(|| Gallery::new(&[rows], 1, None));
    }

    /// The gallery of the patch map; `None` without references, and where windows alone are compared.
    fn patch_gallery(&self) -> Option<&Gallery> {
        // Maps and galleries lie in the same order.
        let mut maps = self.parameters.maps.iter();
        let patch = maps.position(|map| *map == MapKind::Patch)?;
        self.galleries.get(patch)
    }

    /// True if patches are compared with those of references, which looks of bad parts need.
    pub fn compares_patches(&self) -> bool {
        self.patch_gallery().is_some()
    }

    /// The distance of each patch to the nearest one of a reference, `[P]`; 0 for a masked one, and
    /// where no patches are compared.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn patch_distances(
        &self,
        nearest: &mut dyn Nearest,
        features: &Features,
    ) -> Result<Vec<f32>, EngineError> {
        match self.patch_gallery() {
            Some(gallery) => self.distances_of_patches(nearest, gallery, features, None),
            None => Ok(vec![0.0; features.grid.cells()]),
        }
    }

    fn distances_of_patches(
        &self,
        nearest: &mut dyn Nearest,
        gallery: &Gallery,
        features: &Features,
        left_out: Option<usize>,
    ) -> Result<Vec<f32>, EngineError> {
        // Masked patches are not compared; their places stay 0.
        let rows = unmasked_rows(features, MapKind::Patch, self.mask.as_deref());
        let distances = gallery.distances(nearest, rows.view(), left_out)?;
        Ok(self.in_place(1, features.grid, distances))
    }

    fn text_references(&self) -> Option<TextReferences> {
        // A model without words sends no text to the device.
        let language = self.language.as_ref()?;
        // With references some presets drop the language map, and the device then need not make it.
        let with_references = !self.galleries.is_empty();
        Some(TextReferences {
            prototypes: language.prototypes.clone(),
            temperature: language.temperature,
            map: self
                .wants_language_map()
                .then_some(self.parameters.language),
            scales: self.language_scales.clone(),
            image: self.parameters.needs_whole_image(with_references),
        })
    }

    /// The partial scores of one crop. The reference `left_out` is not compared with.
    ///
    /// # Errors
    /// When the engine fails to compare.
    pub fn partial_scores(
        &self,
        nearest: &mut dyn Nearest,
        features: &Features,
        left_out: Option<usize>,
    ) -> Result<PartialScores, EngineError> {
        // Every part that a recipe does not ask for stays `None`; `combine` knows from the preset
        // which ones must be there.
        let mut parts = PartialScores {
            grid: features.grid,
            image: None,
            language: None,
            visual: None,
            patches: None,
        };

        if let Some(language) = &self.language {
            // The whole crop's embedding `[E]` gives one number against the prototypes, WinCLIP's
            // zero-shot score.
            parts.image = features.image.as_ref().map(|image| language.of_row(image));
            // The windows' embeddings give the language map, a value a cell.
            if self.wants_language_map() {
                parts.language = Some(self.language_map(language, features));
            }
        }

        // The visual map, a value a cell, holds distances to the nearest of the references.
        if !self.galleries.is_empty() {
            let (visual, good) = self.visual_map(nearest, features, left_out)?;
            parts.visual = Some(visual);
            if let (Some(looks), Some(good)) = (&self.looks, good) {
                let bad = self.distances_of_patches(nearest, looks, features, None)?;
                parts.patches = Some(PatchDistances { good, bad });
            }
        }

        Ok(parts)
    }

    /// Share of the highest cells whose mean is the score without words.
    pub fn top_share(&self) -> TopShare {
        self.parameters.top_share
    }

    fn wants_language_map(&self) -> bool {
        let with_references = !self.galleries.is_empty();
        self.has_words() && self.parameters.needs_language_map(with_references)
    }

    /// The score and the map that the partial scores make.
    pub fn combine(&self, mut parts: PartialScores) -> (f32, Map) {
        // A known bad part is found again before anything is made of the visual map.
        if let (Some(visual), Some(patches)) = (&mut parts.visual, &parts.patches) {
            looks::raise(visual, patches);
        }

        // The score is taken from the map before the mask sets its other cells to 0; `score` asks
        // the mask itself.
        let map = self.map(&parts);
        let score = self.score(&parts, &map);
        let map = Map::new(parts.grid, map);
        (score, map.masked(self.mask.as_deref()))
    }

    fn map(&self, parts: &PartialScores) -> Vec<f32> {
        match (&parts.language, &parts.visual) {
            (Some(language), Some(visual)) => {
                // Where there are both maps, the preset has a formula for the two values of a cell.
                let formula = self.parameters.few_shot;
                mixed(formula, language, visual)
            }
            (Some(language), None) => {
                // With words alone caoyunkang halves the map; the others leave it as it is.
                let factor = self.parameters.zero_shot_factor;
                language.iter().map(|value| value * factor).collect()
            }
            // With references alone the map is that of the distances. Without either there is
            // nothing to compare with, and no cell is anomalous.
            (None, Some(visual)) => visual.clone(),
            (None, None) => vec![0.0; parts.grid.cells()],
        }
    }

    fn score(&self, parts: &PartialScores, map: &[f32]) -> f32 {
        if !self.has_words() {
            // Without words the score is AnomalyDINO's mean of the highest cells. A single highest
            // cell would be noise on a fine map.
            let unmasked = self.unmasked(map);
            let count = self.top_share().count(unmasked.len());
            return mean_of_highest(&unmasked, count);
        }

        // Caoyunkang scores by the highest cell of the mixed map.
        if self.parameters.image == ImageScore::MapMaximum {
            return highest(&self.unmasked(map));
        }

        // The paper takes the embedding's score, and with references the mean of that and the
        // highest visual cell.
        let image = parts
            .image
            .expect("the plan asks for the picture's embedding");

        match &parts.visual {
            None => image,
            Some(visual) => (image + highest(&self.unmasked(visual))) / 2.0,
        }
    }

    /// The visual map, and the distances of the patches alone where they are among its maps.
    fn visual_map(
        &self,
        nearest: &mut dyn Nearest,
        features: &Features,
        left_out: Option<usize>,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>), EngineError> {
        let grid = features.grid;
        let mut patches = None;
        // The preset's visual maps are summed, then divided by their number: each map is one scale.
        let mut sums = vec![0.0; grid.cells()];
        for (map, gallery) in self.parameters.maps.iter().zip(&self.galleries) {
            // The rows are `[Q, D]`, of the cells that count. They are compared with the gallery of
            // the same map, which gives `[Q]` distances.
            let rows = unmasked_rows(features, *map, self.mask.as_deref());
            let distances = gallery.distances(nearest, rows.view(), left_out)?;
            // Window distances are spread over the patches that they cover, so that all maps have
            // the grid's cells.
            let values = self.visual_values(*map, grid, distances);
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum += value;
            }

            if *map == MapKind::Patch {
                patches = Some(values);
            }
        }

        let count = self.galleries.len() as f32;
        for sum in &mut sums {
            *sum /= count;
        }

        Ok((sums, patches))
    }

    /// One value a patch from the distances of one visual map.
    fn visual_values(&self, map: MapKind, grid: Grid, distances: Vec<f32>) -> Vec<f32> {
        // A patch is a cell already. A window covers several patches, each of which takes the mean
        // over its windows.
        match map {
            MapKind::Patch => self.in_place(1, grid, distances),
            MapKind::Windows(scale) => {
                let distances = self.in_place(scale, grid, distances);
                scattered(&distances, grid, scale, self.parameters.windows)
            }
        }
    }

    /// Values of the unmasked windows, each at its index among all; the others are 0, and no cell
    /// that counts is under one of them. Patches are windows of one.
    fn in_place(&self, scale: usize, grid: Grid, values: Vec<f32>) -> Vec<f32> {
        let Some(mask) = &self.mask else {
            return values;
        };

        let mut all = vec![0.0; grid.windows(scale).cells()];
        // The engine left masked windows out, in order; each value returns to the index that it
        // would have without a mask.
        let windows = unmasked_windows(grid, scale, Some(mask));
        for (window, value) in windows.into_iter().zip(values) {
            all[window] = value;
        }

        all
    }

    /// The values of the cells that count.
    fn unmasked(&self, map: &[f32]) -> Vec<f32> {
        let Some(mask) = &self.mask else {
            return map.to_vec();
        };

        // Masked cells are 0 in the map and must not count: they would lower each mean of the
        // highest.
        let mut unmasked = Vec::with_capacity(map.len());
        for (value, counts) in map.iter().zip(mask) {
            if *counts {
                unmasked.push(*value);
            }
        }

        unmasked
    }

    fn language_map(&self, language: &Language, features: &Features) -> Vec<f32> {
        let grid = features.grid;
        // The scores are those of each scale that the recipe names. Features may hold more scales,
        // where the plan is larger than the recipe needs.
        let scales: Vec<ScaleScores> = features
            .windows
            .iter()
            .filter(|windows| self.language_scales.contains(&windows.scale))
            .map(|windows| self.scale_scores(language, windows, grid))
            .collect();

        // The two readings of the paper's equation differ in how windows and scales are averaged.
        match self.parameters.language {
            LanguageMap::OddsMean => (0..grid.cells())
                .map(|cell| odds_mean(&scales, grid, cell))
                .collect(),
            LanguageMap::Harmonic => {
                // The whole crop is one more scale, as one window over everything.
                let whole = language.of_image(features);
                harmonic_map(&scales, grid, whole)
            }
        }
    }

    fn scale_scores(
        &self,
        language: &Language,
        windows: &WindowFeatures,
        grid: Grid,
    ) -> ScaleScores {
        let scale = windows.scale;
        // Each encoded window has a row, masked ones left out: `[W, E]` to `[W]`.
        let values = language.of_rows(windows.features.view());
        ScaleScores {
            scale,
            values: self.in_place(scale, grid, values),
        }
    }
}

/// Harmonic means over the scales, the score of the whole crop as the coarsest of them.
fn harmonic_map(scales: &[ScaleScores], grid: Grid, whole: f32) -> Vec<f32> {
    let mut maps = Vec::with_capacity(scales.len() + 1);
    // Each scale's windows become a map of the grid's cells first, hence scales have equal
    // weight whatever their number of windows.
    for scores in scales {
        let map = scattered(&scores.values, grid, scores.scale, Mean::Harmonic);
        maps.push(map);
    }

    // The whole crop's score is the same at each cell.
    maps.push(vec![whole; grid.cells()]);
    (0..grid.cells())
        .map(|cell| harmonic(maps.iter().map(|map| map[cell])))
        .collect()
}

/// caoyunkang: `u = mean of 1/(1 - s)` over the windows of a scale, then `1 - 1/mean(u)` over the
/// scales.
fn odds_mean(scales: &[ScaleScores], grid: Grid, cell: usize) -> f32 {
    // Each scale has one mean of odds at this cell; the scales are averaged by odds too.
    let odds: f32 = scales
        .iter()
        .map(|scores| mean_odds(scores, grid, cell))
        .sum();

    let mean = odds / scales.len().max(1) as f32;
    // A window with s = 1 makes the mean infinite, and the cell as anomalous as can be.
    if mean > 0.0 { 1.0 - 1.0 / mean } else { 0.0 }
}

/// Mean of `1/(1 - s)` over the windows that cover a cell.
fn mean_odds(scores: &ScaleScores, grid: Grid, cell: usize) -> f32 {
    let mut sum = 0.0;
    let mut count = 0;
    // The odds are finite unless a window is as anomalous as can be, see `odds_mean`.
    for window in over(grid, scores.scale, grid.row(cell), grid.column(cell)) {
        sum += 1.0 / (1.0 - scores.values[window]);
        count += 1;
    }

    sum / count as f32
}

fn mixed(formula: FewShotMap, language: &[f32], visual: &[f32]) -> Vec<f32> {
    let cells = language.iter().zip(visual);
    // Both values are at the same cell of the map.
    cells
        // `harmonic` over two values is `2 ab / (a + b)`; the formula of caoyunkang has no factor
        // 2.
        .map(|(&language, &visual)| match formula {
            FewShotMap::Visual => visual,
            FewShotMap::Mean => (language + visual) / 2.0,
            FewShotMap::Sum => language + visual,
            FewShotMap::Parallel => harmonic([language, visual].into_iter()) / 2.0,
        })
        .collect()
}

/// The gallery of one visual map.
fn gallery(
    references: &[Vec<&Features>],
    map: MapKind,
    mask: Option<&[bool]>,
    thin_to: Option<usize>,
) -> Gallery {
    // The features of each reference are cut to the cells that count, as the inspected picture's
    // are; else the distances would compare other places.
    let features: Vec<_> = references
        .iter()
        .flatten()
        .map(|reference| unmasked_rows(reference, map, mask))
        .collect();

    // All references have one shape, because they have gone through the same crop and the same
    // mask.
    let views: Vec<_> = features.iter().map(|rows| rows.view()).collect();
    Gallery::new(&views, references.first().map_or(1, Vec::len), thin_to)
}

/// The raw rows of these patches, `[cells, D]`.
pub(super) fn patch_rows(features: &Features, cells: &[usize]) -> Array2<f32> {
    rows_of(features, MapKind::Patch).select(Axis(0), cells)
}

/// The raw feature rows that a visual map compares: patches without the class token, or a scale's
/// windows.
fn rows_of(features: &Features, map: MapKind) -> ArrayView2<'_, f32> {
    match map {
        MapKind::Patch => {
            // The tokens are `[1 + patches, D]`, of the one layer that the plan asks for. Row 0 is
            // the class token, which is no place of the picture.
            let tokens = features.tokens.first();
            let tokens = tokens.expect("the plan asks for patches");
            tokens.slice(s![1.., ..])
        }
        MapKind::Windows(scale) => {
            // The windows are `[W, E]` of this scale, row by row of their top-left patch.
            let mut windows = features.windows.iter();
            let windows = windows.find(|windows| windows.scale == scale);
            let windows = windows.expect("the plan asks for every scale of the maps");
            windows.features.view()
        }
    }
}

/// [`rows_of`] without masked patches; masked windows were never encoded.
fn unmasked_rows<'f>(
    features: &'f Features,
    map: MapKind,
    mask: Option<&[bool]>,
) -> CowArray<'f, f32, Ix2> {
    // The rows are `[patches, D]`, or `[W, E]` of the windows that were encoded.
    let rows = rows_of(features, map);
    match map {
        // The encoder leaves out masked windows by itself, but a vision transformer makes the
        // tokens of all patches.
        MapKind::Patch if mask.is_some() => {
            let unmasked = unmasked_windows(features.grid, 1, mask);
            rows.select(Axis(0), &unmasked).into()
        }
        _ => rows.into(),
    }
}

fn highest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The mean of the `count` highest.
pub(super) fn mean_of_highest(values: &[f32], count: usize) -> f32 {
    // The highest comes first, by a total order: a partial one would have to say what becomes of
    // NaN.
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // Fewer cells than `count` are averaged as they are; a map without cells scores 0.
    let highest = &sorted[..count.min(sorted.len())];
    highest.iter().sum::<f32>() / highest.len().max(1) as f32
}

impl Language {
    fn new(raw: ArrayView2<f32>, temperature: f32) -> Self {
        // Row 0 is normal and row 1 anomalous, as `prompts::prototypes` stacks them.
        let unit = unit_rows(raw);
        Language {
            prototypes: [0, 1].map(|i| unit.row(i).to_vec()),
            temperature,
        }
    }

    /// `s(f) = softmax([<f, t_n>, <f, t_a>] / tau)` of anomalous, for each raw row (WinCLIP,
    /// equation 1).
    fn of_rows(&self, rows: ArrayView2<f32>) -> Vec<f32> {
        // Rows of one matrix lie one after the other, so that each chunk of E numbers is a row.
        let rows_major = rows.as_standard_layout();
        let values = rows_major.as_slice().expect("standard layout");
        values
            .chunks_exact(rows.ncols().max(1))
            .map(|row| self.of_row(row))
            .collect()
    }

    fn of_row(&self, row: &[f32]) -> f32 {
        // There are two classes alone: the softmax is the logistic function of the difference. It
        // is finite for every difference.
        let [normal, anomalous] = [0, 1].map(|i| cosine(row, &self.prototypes[i]));
        let difference = (normal - anomalous) / self.temperature;
        1.0 / (1.0 + difference.exp())
    }

    fn of_image(&self, features: &Features) -> f32 {
        let image = features.image.as_ref();
        self.of_row(image.expect("the plan asks for the picture's embedding"))
    }
}

#[cfg(test)]
mod tests;
