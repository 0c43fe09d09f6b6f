//! The way from features to partial scores on the device, and the one small copy that brings them
//! to the host.
//!
//! ```text
//! result: flags u32 [N], image f32 [N], language f32 [N, P], visual f32 [N, P],
//!         patches: good f32 [N, P], bad f32 [N, P]
//!         (maps that are not wanted are not there)
//! ```

use super::device::Device;
use super::error::failed;
use super::kernels::Kernels;
use super::kernels::language::{self, LanguageArgs};
use super::kernels::nearest::{self, GalleryRows, NearestArgs};
use super::kernels::scatter::{self, LanguageMean, MapLayer, Maps};
use super::memory::{Buffer, Pinned};
use super::tower::{Mark, ScaleWindows, Tower};
use super::windows::UnmaskedWindows;
use crate::data::grid::Grid;
use crate::engine::EngineError;
use crate::engine::device_scorer::{LanguageMap, MapKind, Mean, PartialScores, PatchDistances};
use cudarc::driver::result;

/// Scores that are wanted of every crop alike; a run is captured for them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoringPlan {
    /// Comparison with the recipe's words; `None` without words.
    pub language: Option<LanguagePlan>,
    /// The visual maps.
    pub maps: Vec<MapKind>,
    /// True when patches are compared with the looks of known bad parts too, which needs a patch map.
    pub compares_looks: bool,
    /// Mean over the windows of a visual map.
    pub mean: Mean,
}

/// Comparison with the recipe's words.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguagePlan {
    /// Softmax temperature tau.
    pub temperature: f32,
    /// The language map; `None` where none is wanted.
    pub map: Option<LanguageMap>,
    /// Window scales of that map.
    pub scales: Vec<usize>,
    /// True when the whole crop is compared with the words.
    pub image: bool,
}

impl ScoringPlan {
    fn language_map(&self) -> Option<LanguageMap> {
        self.language.as_ref().and_then(|language| language.map)
    }

    /// The place of the patch map among the maps.
    pub fn patch_map(&self) -> Option<usize> {
        self.maps.iter().position(|map| *map == MapKind::Patch)
    }
}

/// Rows that are compared with the words.
struct LanguageRows {
    /// REAL `[R, E]`
    rows: u64,
    count: usize,
    /// i32 `[R]`: index of each row's crop.
    crop: Buffer,
    /// f32 `[R]`; those of the whole crops lie in the result.
    values: u64,
}

/// One scale of the language map.
struct LanguageScale {
    rows: LanguageRows,
    _values: Buffer,
    place: Buffer,
    scale: usize,
}

/// One visual map.
struct VisualMap {
    features: u64,
    width: usize,
    windows: UnmaskedWindows,
    row: Buffer,
    begin: Buffer,
    /// [`GalleryRows`] of each crop; rewritten when the references change.
    galleries: Buffer,
    shares: Buffer,
    distances: Buffer,
    place: Buffer,
}

/// Unit vectors of the recipe's words, f32 `[2, E]` on the device; `None` without words.
pub type Prototypes<'a> = Option<&'a Buffer>;

/// Last stage of a run: comparisons, maps, and the result.
pub struct Scoring {
    plan: ScoringPlan,
    crops: usize,
    grid: Grid,
    embed: usize,
    prototypes: u64,
    whole: Option<LanguageRows>,
    language: Vec<LanguageScale>,
    /// The plan's maps, then the comparison with looks.
    visual: Vec<VisualMap>,
    layout: ResultLayout,
    result: Buffer,
    pinned: Pinned,
}

impl Scoring {
    /// Makes the buffers. `galleries` holds for each map of the plan, and for the looks, one gallery a crop; a mask the
    /// patches of a crop that count, `None` for all.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room; [`EngineError::Plan`] for features that
    /// the tower does not compute.
    pub fn new(
        device: &Device,
        tower: &Tower,
        plan: &ScoringPlan,
        prototypes: Prototypes,
        masks: &[Option<&[bool]>],
        galleries: &[Vec<GalleryRows>],
    ) -> Result<Self, EngineError> {
        // The result is one piece of memory, so that one copy brings all of it: its layout is in
        // words of four bytes.
        let layout = ResultLayout::new(plan, tower.crops, tower.sizes.grid);
        let bytes = size_of::<f32>() * layout.words;
        let mut scoring = Scoring {
            plan: plan.clone(),
            crops: tower.crops,
            grid: tower.sizes.grid,
            embed: tower.sizes.embed,
            // Address 0 stands where a recipe has no words; no kernel that reads the prototypes is
            // enqueued then.
            prototypes: prototypes.map_or(0, Buffer::address),
            whole: None,
            language: vec![],
            visual: vec![],
            layout,
            result: Buffer::new(&device.context, bytes)?,
            pinned: Pinned::new(&device.context, bytes)?,
        };

        // The tables are made now and their addresses captured later; only those of the galleries
        // change afterwards.
        if let Some(language) = &plan.language {
            scoring.add_language(device, tower, language)?;
        }

        let looks = plan.compares_looks.then_some(&MapKind::Patch);
        for (map, galleries) in plan.maps.iter().chain(looks).zip(galleries) {
            let visual = VisualMap::new(device, tower, *map, masks, galleries)?;
            scoring.visual.push(visual);
        }

        Ok(scoring)
    }

    fn add_language(
        &mut self,
        device: &Device,
        tower: &Tower,
        plan: &LanguagePlan,
    ) -> Result<(), EngineError> {
        // The values of whole crops lie in the result itself: the host reads them, and the language
        // map takes them as its coarsest scale.
        if plan.image {
            let values = self.address(self.layout.image);
            self.whole = Some(LanguageRows::whole(device, tower, values)?);
        }

        // The values of windows stay on the device; only the map that they make is copied.
        if plan.map.is_some() {
            for scale in &plan.scales {
                let scale = LanguageScale::new(device, tower, *scale)?;
                self.language.push(scale);
            }
        }

        Ok(())
    }

    /// Writes other galleries into the tables; the captured graph stays valid.
    ///
    /// # Errors
    /// [`EngineError::Run`] when a copy failed.
    pub fn put_galleries(
        &mut self,
        device: &Device,
        galleries: &[Vec<GalleryRows>],
    ) -> Result<(), EngineError> {
        for (visual, galleries) in self.visual.iter().zip(galleries) {
            device.upload(&visual.galleries, galleries)?;
        }

        Ok(())
    }

    /// Enqueues everything from the tower's features to the pinned result; for `mark` see
    /// [`Tower::enqueue`].
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver refuses.
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        // Flags become 0 and all other words no numbers, so that a kernel that did not run is told
        // apart from one that found nothing.
        self.clear_result(device)?;
        self.enqueue_language(device, kernels)?;
        mark("language")?;

        // Each visual map has scratch and distances of its own, which the maps below read after all
        // of them were made.
        for visual in &self.visual {
            let args = self.nearest_args(visual);
            // SAFETY: the fields of `VisualMap` say what its addresses hold.
            unsafe { nearest::enqueue(kernels, &device.stream, &args) }?;
        }
        mark("nearest")?;

        // Maps read values and distances of the kernels above. The stream's order is the only one
        // needed.
        self.enqueue_maps(device, kernels)?;
        mark("maps")?;
        let from = self.result.address();
        let to = self.pinned.as_mut_slice();
        let stream = device.stream.cu_stream();
        // SAFETY: the result is as large as the pinned memory, which is read after the stream was
        // waited for.
        unsafe { result::memcpy_dtoh_async(to, from, stream) }
            .map_err(failed("cannot copy the result"))?;

        mark("copy out")
    }

    /// Enqueues zeros for the flags, and no numbers for everything else.
    fn clear_result(&self, device: &Device) -> Result<(), EngineError> {
        // The flags are u32 `[N]` at word 0. Kernels raise them for a crop whose features are not
        // finite.
        let flags = size_of::<u32>() * self.crops;
        let address = self.result.address();
        let stream = device.stream.cu_stream();
        // SAFETY: the flags are at the beginning of the buffer.
        unsafe { result::memset_d8_async(address, 0, flags, stream) }
            .map_err(failed("cannot clear the result"))?;

        device.spoil(&self.result, flags, self.result.bytes() - flags)
    }

    fn enqueue_language(&self, device: &Device, kernels: &Kernels) -> Result<(), EngineError> {
        // The whole crops and each scale's windows are compared by the same kernel; only their rows
        // differ.
        let scales = self.language.iter().map(|scale| &scale.rows);
        for rows in self.whole.iter().chain(scales) {
            let args = self.language_args(rows);
            // SAFETY: the fields of `LanguageRows` say what its addresses hold.
            unsafe { language::enqueue(kernels, &device.stream, &args) }?;
        }

        Ok(())
    }

    fn enqueue_maps(&self, device: &Device, kernels: &Kernels) -> Result<(), EngineError> {
        let stream = &device.stream;

        // The layers' own mean is not used: the language map has a formula of its own.
        if let Some(map) = self.plan.language_map()
            && let Some(at) = self.layout.language
        {
            let layers: Vec<MapLayer> = self.language.iter().map(LanguageScale::layer).collect();
            let mean = self.language_mean(map);
            let maps = self.maps(at);
            // SAFETY: the layers hold addresses of their own buffers; the result has room for the
            // maps.
            unsafe { scatter::language_map(kernels, stream, &layers, mean, maps) }?;
        }

        // All visual maps become one: the kernel takes the mean of each map's windows, then over
        // the maps.
        if let Some(at) = self.layout.visual {
            let mean = self.plan.mean;
            let maps = self.visual.iter().take(self.plan.maps.len());
            let layers: Vec<MapLayer> = maps.map(|map| map.layer(mean)).collect();
            let maps = self.maps(at);
            // SAFETY: the layers hold addresses of their own buffers; the result has room for the
            // maps.
            unsafe { scatter::visual_map(kernels, stream, &layers, maps) }?;
        }

        // The patches alone, by the good parts and by the looks, which come last.
        if let (Some(at), Some(good)) = (self.layout.patches, self.plan.patch_map()) {
            for (map, at) in [(good, at.good), (self.plan.maps.len(), at.bad)] {
                let layer = self.visual[map].layer(self.plan.mean);
                // SAFETY: the layer holds addresses of its own buffers; the result has room for the map.
                unsafe { scatter::visual_map(kernels, stream, &[layer], self.maps(at)) }?;
            }
        }

        Ok(())
    }

    /// The maps that begin at a word of the result.
    fn maps(&self, word: usize) -> Maps {
        Maps {
            address: self.address(word),
            crops: self.crops as u32,
            grid: self.grid.w as u32,
        }
    }

    fn language_mean(&self, map: LanguageMap) -> LanguageMean {
        match map {
            LanguageMap::Harmonic => LanguageMean::Harmonic {
                whole: self.whole.as_ref().map_or(0, |whole| whole.values),
            },
            LanguageMap::OddsMean => LanguageMean::OddsMean,
        }
    }

    /// The partial scores of the last launch, from pinned memory; the stream was waited for.
    ///
    /// # Errors
    /// [`EngineError::Run`] when a feature was not finite.
    pub fn partial_scores(&self) -> Result<Vec<PartialScores>, EngineError> {
        // The words are little-endian as on every device that CUDA runs on.
        let (words, _) = self.pinned.as_slice().as_chunks::<4>();
        let flags = &words[..self.crops];

        // A raised flag is tested first: it names the cause, while the values below would only show
        // the consequence.
        if let Some(crop) = flags.iter().position(|flag| *flag != [0; 4]) {
            return Err(EngineError::Run(format!(
                "a feature of crop {crop} is not finite"
            )));
        }

        // The flags are converted too, although they are no such numbers, so that all indices are
        // those of the layout.
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let mut all = Vec::with_capacity(self.crops);
        for crop in 0..self.crops {
            let scores = self.scores_of(crop, &values);
            if !scores.are_finite() {
                return Err(EngineError::Run(format!(
                    "a value of crop {crop} was never written, or is not finite"
                )));
            }

            all.push(scores);
        }

        Ok(all)
    }

    /// The partial scores of a crop out of all words of the result.
    fn scores_of(&self, crop: usize, values: &[f32]) -> PartialScores {
        // A map holds the cells of a crop row-major, and the maps of all crops follow each other.
        let cells = self.grid.cells();
        let map = |at: usize| values[at + crop * cells..][..cells].to_vec();
        let image = self
            .whole
            .as_ref()
            .map(|_| values[self.layout.image + crop]);

        PartialScores {
            grid: self.grid,
            image,
            language: self.layout.language.map(map),
            visual: self.layout.visual.map(map),
            patches: self.layout.patches.map(|at| PatchDistances {
                good: map(at.good),
                bad: map(at.bad),
            }),
        }
    }

    /// Device address of a word of the result.
    fn address(&self, word: usize) -> u64 {
        self.result.address() + 4 * word as u64
    }

    fn language_args(&self, rows: &LanguageRows) -> LanguageArgs {
        // A temperature is there whenever rows are: the fallback is for a plan without words, whose
        // kernel is not enqueued.
        let language = self.plan.language.as_ref();
        LanguageArgs {
            rows: rows.rows,
            crop: rows.crop.address(),
            prototypes: self.prototypes,
            values: rows.values,
            flags: self.address(0),
            count: rows.count as u32,
            embed: self.embed as u32,
            temperature: language.map_or(1.0, |language| language.temperature),
            unused: 0,
        }
    }

    fn nearest_args(&self, visual: &VisualMap) -> NearestArgs {
        NearestArgs {
            features: visual.features,
            row: visual.row.address(),
            begin: visual.begin.address(),
            galleries: visual.galleries.address(),
            shares: visual.shares.address(),
            distances: visual.distances.address(),
            flags: self.address(0),
            queries: visual.windows.count() as u32,
            crops: self.crops as u32,
            width: visual.width as u32,
            queries_each: visual.windows.most() as u32,
        }
    }
}

/// The plan of the encoder is not the recipe's: a bug of the caller, told instead of computed past.
fn unplanned(what: &str) -> EngineError {
    EngineError::Plan(format!(
        "the references need {what}, which the encoder was not opened for"
    ))
}

fn planned_scale(tower: &Tower, scale: usize) -> Result<&ScaleWindows, EngineError> {
    tower
        .scale(scale)
        .ok_or_else(|| unplanned(&format!("windows of {scale} patches")))
}

impl LanguageRows {
    /// The embeddings of the whole crops, compared into `values` of the result.
    fn whole(device: &Device, tower: &Tower, values: u64) -> Result<Self, EngineError> {
        let image = tower
            .image()
            .ok_or_else(|| unplanned("the picture's embedding"))?;

        // Row `n` is crop `n`: there is one embedding a crop.
        let crops: Vec<i32> = (0..tower.crops as i32).collect();
        Ok(LanguageRows {
            rows: image.address(),
            count: tower.crops,
            crop: device.buffer_of(&crops)?,
            values,
        })
    }
}

impl LanguageScale {
    fn new(device: &Device, tower: &Tower, scale: usize) -> Result<Self, EngineError> {
        // The scale has to be in the encoder's plan: its windows and embeddings are the tower's,
        // and are only borrowed by address.
        let planned = planned_scale(tower, scale)?;
        let count = planned.windows.count();
        let values = Buffer::new(&device.context, size_of::<f32>() * count)?;
        let rows = LanguageRows {
            rows: planned.embeddings.address(),
            count,
            crop: device.buffer_of(&planned.windows.crops())?,
            values: values.address(),
        };

        Ok(LanguageScale {
            rows,
            _values: values,
            place: device.buffer_of(&planned.windows.place)?,
            scale,
        })
    }

    fn layer(&self) -> MapLayer {
        // The harmonic mean is written for form: `scatter::language_map` decides by its own
        // argument.
        let place = self.place.address();
        let scale = self.scale as u32;
        MapLayer::new(self.rows.values, place, scale, Mean::Harmonic)
    }
}

impl VisualMap {
    fn new(
        device: &Device,
        tower: &Tower,
        map: MapKind,
        masks: &[Option<&[bool]>],
        galleries: &[GalleryRows],
    ) -> Result<Self, EngineError> {
        // Patches are compared as windows of one patch, in the tower's token rows, which begin with
        // the class token. Windows have rows of their own, numbered through all crops.
        let grid = tower.sizes.grid;
        match map {
            MapKind::Patch => {
                let windows = UnmaskedWindows::new(grid, 1, masks);
                let patches = tower.patches().ok_or_else(|| unplanned("a patch layer"))?;
                let row = windows.patch_rows(grid);
                let width = tower.sizes.width;
                VisualMap::of_rows(device, patches, width, windows, &row, galleries)
            }
            MapKind::Windows(scale) => {
                let planned = planned_scale(tower, scale)?;
                let windows = planned.windows.clone();
                let row: Vec<i32> = (0..windows.count() as i32).collect();
                let width = tower.sizes.embed;
                VisualMap::of_rows(device, &planned.embeddings, width, windows, &row, galleries)
            }
        }
    }

    /// A map that compares the rows `row` of `features`, one a window.
    fn of_rows(
        device: &Device,
        features: &Buffer,
        width: usize,
        windows: UnmaskedWindows,
        row: &[i32],
        galleries: &[GalleryRows],
    ) -> Result<Self, EngineError> {
        // Each window has one f32; the scratch holds as many for each share of the gallery.
        let bytes = size_of::<f32>() * windows.count();
        Ok(VisualMap {
            features: features.address(),
            width,
            row: device.buffer_of(row)?,
            begin: device.buffer_of(&windows.begin)?,
            galleries: device.buffer_of(galleries)?,
            shares: Buffer::new(&device.context, nearest::SHARES * bytes)?,
            distances: Buffer::new(&device.context, bytes)?,
            place: device.buffer_of(&windows.place)?,
            windows,
        })
    }

    fn layer(&self, mean: Mean) -> MapLayer {
        let values = self.distances.address();
        let place = self.place.address();
        let scale = self.windows.scale as u32;
        MapLayer::new(values, place, scale, mean)
    }
}

/// Beginnings of the maps of the patches alone, in words of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PatchesLayout {
    good: usize,
    bad: usize,
}

/// Beginnings of the result's parts, in words of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ResultLayout {
    image: usize,
    language: Option<usize>,
    visual: Option<usize>,
    patches: Option<PatchesLayout>,
    /// Words in all.
    words: usize,
}

impl ResultLayout {
    fn new(plan: &ScoringPlan, crops: usize, grid: Grid) -> Self {
        // A map is a word a cell for each crop. Maps that the plan does not want take no
        // room, and their offset is `None`.
        let map_words = crops * grid.cells();
        let mut layout = ResultLayout {
            image: crops,
            language: None,
            visual: None,
            patches: None,
            words: 2 * crops, // the flags and the crops' values
        };

        if plan.language_map().is_some() {
            layout.language = Some(layout.words);
            layout.words += map_words;
        }

        if !plan.maps.is_empty() {
            layout.visual = Some(layout.words);
            layout.words += map_words;
        }

        if plan.compares_looks {
            layout.patches = Some(PatchesLayout {
                good: layout.words,
                bad: layout.words + map_words,
            });

            layout.words += 2 * map_words;
        }

        layout
    }
}
