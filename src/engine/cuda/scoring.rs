//! From features to pieces of a score on the device, and the one small copy that brings them to the host.
//!
//! ```text
//! result: flags u32 [N], image f32 [N], language f32 [N, P], visual f32 [N, P]    (what the lessons do not want is not there)
//! ```

use super::device::{Device, failed};
use super::kernels::scatter::{self, Layer, Maps};
use super::kernels::{Kernels, language, nearest};
use super::memory::{Buffer, Pinned};
use super::tables::Counted;
use super::tower::{Mark, Tower};
use crate::engine::EngineError;
use crate::engine::device_scorer::{LanguageMap, MapKind, Mean, PartialScores};
use cudarc::driver::result;

/// What is wanted of every look alike; what a run is captured for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub words: Option<WantedWords>,
    pub maps: Vec<MapKind>,
    pub windows: Mean,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WantedWords {
    pub temperature: f32,
    pub map: Option<LanguageMap>,
    pub scales: Vec<usize>,
    pub image: bool,
}

/// Rows compared with the words.
struct Compared {
    /// REAL `[R, E]`
    rows: u64,
    count: usize,
    /// i32 `[R]`
    look: Buffer,
    /// f32 `[R]`; the whole pictures' lie in the result.
    values: u64,
}

/// One scale of the language map.
struct Spoken {
    compared: Compared,
    _values: Buffer,
    place: Buffer,
    scale: usize,
}

/// One visual map.
struct Seen {
    features: u64,
    width: usize,
    counted: Counted,
    row: Buffer,
    begin: Buffer,
    /// [`nearest::Gallery`] of each look; rewritten when others are taught.
    galleries: Buffer,
    shares: Buffer,
    distances: Buffer,
    place: Buffer,
}

/// Words in every look's way: f32 `[2, E]` on the device.
pub type Prototypes<'a> = Option<&'a Buffer>;

pub struct Scoring {
    wanted: Wanted,
    looks: usize,
    grid: usize,
    embed: usize,
    prototypes: u64,
    whole: Option<Compared>,
    spoken: Vec<Spoken>,
    seen: Vec<Seen>,
    result: Buffer,
    pinned: Pinned,
}

impl Scoring {
    /// `galleries` holds for each of the wanted maps one of each look.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room.
    pub fn new(
        device: &Device,
        tower: &Tower,
        wanted: &Wanted,
        prototypes: Prototypes,
        cells: &[Option<&[bool]>],
        galleries: &[Vec<nearest::Gallery>],
    ) -> Result<Self, EngineError> {
        let (looks, grid, embed) = (tower.looks, tower.sizes.grid, tower.sizes.embed);
        let bytes = 4 * Layout::of(wanted, looks, grid).words;
        let result = Buffer::new(&device.context, bytes)?;
        let pinned = Pinned::new(&device.context, bytes)?;
        let mut scoring = Scoring {
            wanted: wanted.clone(),
            looks,
            grid,
            embed,
            prototypes: prototypes.map_or(0, Buffer::address),
            whole: None,
            spoken: vec![],
            seen: vec![],
            result,
            pinned,
        };
        if let Some(words) = &wanted.words {
            if words.image {
                let values = scoring.address(scoring.layout().image);
                scoring.whole = Some(whole(device, tower, values)?);
            }
            for scale in words.scales.iter().filter(|_| words.map.is_some()) {
                scoring.spoken.push(Spoken::new(device, tower, *scale)?);
            }
        }
        for (map, galleries) in wanted.maps.iter().zip(galleries) {
            scoring
                .seen
                .push(Seen::new(device, tower, *map, cells, galleries)?);
        }
        Ok(scoring)
    }

    /// Others were taught; nothing that was captured changes.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn retaught(
        &mut self,
        device: &Device,
        galleries: &[Vec<nearest::Gallery>],
    ) -> Result<(), EngineError> {
        self.seen
            .iter()
            .zip(galleries)
            .try_for_each(|(seen, table)| device.upload(&seen.galleries, table))
    }

    /// Enqueues everything from the tower's features to the pinned result; for `mark` see [`Tower::enqueue`].
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        let (stream, cu_stream) = (&device.stream, device.stream.cu_stream());
        let flags = 4 * self.looks;
        // SAFETY: the flags are at the beginning of the buffer.
        unsafe { result::memset_d8_async(self.result.address(), 0, flags, cu_stream) }
            .map_err(failed("cannot clear the result"))?;
        device.spoil(&self.result, flags, self.result.bytes() - flags)?;
        for compared in self
            .whole
            .iter()
            .chain(self.spoken.iter().map(|spoken| &spoken.compared))
        {
            // SAFETY: what the struct's fields say of their addresses.
            unsafe { language::enqueue(kernels, stream, &self.language_args(compared)) }?;
        }
        mark("language")?;
        for seen in &self.seen {
            // SAFETY: the same.
            unsafe { nearest::enqueue(kernels, stream, &self.nearest_args(seen)) }?;
        }
        mark("nearest")?;
        self.enqueue_maps(device, kernels)?;
        mark("maps")?;
        // SAFETY: the result is as large as the pinned memory, which is read after the stream was waited for.
        unsafe {
            result::memcpy_dtoh_async(self.pinned.as_mut_slice(), self.result.address(), cu_stream)
        }
        .map_err(failed("cannot copy the result"))?;
        mark("copy out")
    }

    fn enqueue_maps(&self, device: &Device, kernels: &Kernels) -> Result<(), EngineError> {
        let layout = self.layout();
        let maps = |at: usize| Maps {
            address: self.address(at),
            looks: self.looks as u32,
            grid: self.grid as u32,
        };
        let map = self.wanted.words.as_ref().and_then(|words| words.map);
        if let (Some(map), Some(at)) = (map, layout.language) {
            let words = match map {
                LanguageMap::Harmonic => scatter::Words::Harmonic {
                    whole: self.whole.as_ref().map_or(0, |whole| whole.values),
                },
                LanguageMap::OddsMean => scatter::Words::OddsMean,
            };
            let layers: Vec<Layer> = self.spoken.iter().map(Spoken::layer).collect();
            // SAFETY: what the struct's fields say of their addresses; the result has room for the maps.
            unsafe { scatter::language_map(kernels, &device.stream, &layers, words, maps(at)) }?;
        }
        if let Some(at) = layout.visual {
            let layers: Vec<Layer> = self
                .seen
                .iter()
                .map(|seen| seen.layer(self.wanted.windows))
                .collect();
            // SAFETY: the same.
            unsafe { scatter::visual_map(kernels, &device.stream, &layers, maps(at)) }?;
        }
        Ok(())
    }

    /// What the last run has left in pinned memory; the stream was waited for.
    ///
    /// # Errors
    /// [`EngineError::Run`] when a feature was not finite.
    pub fn pieces(&self) -> Result<Vec<PartialScores>, EngineError> {
        let (layout, each) = (self.layout(), self.grid * self.grid);
        let words = self.pinned.as_slice().as_chunks::<4>().0;
        if let Some(look) = (0..self.looks).find(|look| words[*look] != [0; 4]) {
            return Err(EngineError::Run(format!(
                "a feature of look {look} is not finite"
            )));
        }
        let values = |at: usize, count: usize| {
            words[at..][..count]
                .iter()
                .map(|word| f32::from_le_bytes(*word))
        };
        let map =
            |at: Option<usize>, look: usize| at.map(|at| values(at + look * each, each).collect());
        let has_whole = self.whole.is_some();
        let pieces = |look: usize| PartialScores {
            grid: self.grid,
            image: values(layout.image + look, 1).next().filter(|_| has_whole),
            language: map(layout.language, look),
            visual: map(layout.visual, look),
        };
        let all: Vec<PartialScores> = (0..self.looks).map(pieces).collect();
        match all.iter().position(|pieces| !pieces.are_finite()) {
            None => Ok(all),
            Some(look) => Err(EngineError::Run(format!(
                "a value of look {look} was never written, or is not finite"
            ))),
        }
    }

    fn layout(&self) -> Layout {
        Layout::of(&self.wanted, self.looks, self.grid)
    }

    /// Of a word of the result on the device.
    fn address(&self, word: usize) -> u64 {
        self.result.address() + 4 * word as u64
    }

    fn language_args(&self, compared: &Compared) -> language::Args {
        language::Args {
            rows: compared.rows,
            look: compared.look.address(),
            prototypes: self.prototypes,
            values: compared.values,
            flags: self.address(0),
            count: compared.count as u32,
            embed: self.embed as u32,
            temperature: self
                .wanted
                .words
                .as_ref()
                .map_or(1.0, |words| words.temperature),
            unused: 0,
        }
    }

    fn nearest_args(&self, seen: &Seen) -> nearest::Args {
        nearest::Args {
            features: seen.features,
            row: seen.row.address(),
            begin: seen.begin.address(),
            galleries: seen.galleries.address(),
            shares: seen.shares.address(),
            distances: seen.distances.address(),
            flags: self.address(0),
            queries: seen.counted.count() as u32,
            looks: self.looks as u32,
            width: seen.width as u32,
            queries_each: seen.counted.most() as u32,
        }
    }
}

fn whole(device: &Device, tower: &Tower, values: u64) -> Result<Compared, EngineError> {
    let image = tower
        .image()
        .ok_or_else(|| unplanned("the picture's embedding"))?;
    let look = device.buffer_of(&(0..tower.looks as i32).collect::<Vec<_>>())?;
    Ok(Compared {
        rows: image.address(),
        count: tower.looks,
        look,
        values,
    })
}

/// The plan of the encoder is not the recipe's: a bug of the caller, told instead of computed past.
fn unplanned(what: &str) -> EngineError {
    EngineError::Plan(format!(
        "the lesson needs {what}, which the encoder was not opened for"
    ))
}

impl Spoken {
    fn new(device: &Device, tower: &Tower, scale: usize) -> Result<Self, EngineError> {
        let windows = tower
            .scale(scale)
            .ok_or_else(|| unplanned(&format!("windows of {scale} patches")))?;
        let count = windows.counted.count();
        let values = Buffer::new(&device.context, 4 * count)?;
        let look = device.buffer_of(&windows.counted.looks())?;
        let compared = Compared {
            rows: windows.embeddings.address(),
            count,
            look,
            values: values.address(),
        };
        Ok(Spoken {
            compared,
            _values: values,
            place: device.buffer_of(&windows.counted.place)?,
            scale,
        })
    }

    fn layer(&self) -> Layer {
        Layer::new(
            self.compared.values,
            self.place.address(),
            self.scale as u32,
            Mean::Harmonic,
        )
    }
}

impl Seen {
    fn new(
        device: &Device,
        tower: &Tower,
        map: MapKind,
        cells: &[Option<&[bool]>],
        galleries: &[nearest::Gallery],
    ) -> Result<Self, EngineError> {
        let (features, width, counted, row) = match map {
            MapKind::Patch => {
                let counted = Counted::new(tower.sizes.grid, 1, cells);
                let patches = tower.patches().ok_or_else(|| unplanned("a patch layer"))?;
                let row = counted.patch_rows(tower.sizes.grid);
                (patches.address(), tower.sizes.width, counted, row)
            }
            MapKind::Windows(scale) => {
                let windows = tower
                    .scale(scale)
                    .ok_or_else(|| unplanned(&format!("windows of {scale} patches")))?;
                let row = (0..windows.counted.count() as i32).collect();
                (
                    windows.embeddings.address(),
                    tower.sizes.embed,
                    windows.counted.clone(),
                    row,
                )
            }
        };
        let count = counted.count();
        Ok(Seen {
            features,
            width,
            row: device.buffer_of(&row)?,
            begin: device.buffer_of(&counted.begin)?,
            galleries: device.buffer_of(galleries)?,
            shares: Buffer::new(&device.context, 4 * nearest::SHARES * count)?,
            distances: Buffer::new(&device.context, 4 * count)?,
            place: device.buffer_of(&counted.place)?,
            counted,
        })
    }

    fn layer(&self, mean: Mean) -> Layer {
        Layer::new(
            self.distances.address(),
            self.place.address(),
            self.counted.scale as u32,
            mean,
        )
    }
}

/// Where the parts of the result begin, in words of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    image: usize,
    language: Option<usize>,
    visual: Option<usize>,
    words: usize,
}

impl Layout {
    fn of(wanted: &Wanted, looks: usize, grid: usize) -> Self {
        let mut words = 2 * looks; // the flags and the pictures' values
        let mut maps = |is_wanted: bool| {
            let at = words;
            words += if is_wanted { looks * grid * grid } else { 0 };
            is_wanted.then_some(at)
        };
        let language = maps(
            wanted
                .words
                .as_ref()
                .is_some_and(|words| words.map.is_some()),
        );
        let visual = maps(!wanted.maps.is_empty());
        Layout {
            image: looks,
            language,
            visual,
            words,
        }
    }
}
