//! A run: the same looks at pictures again and again, as one CUDA graph. Made once for each kind of batch, then a frame
//! costs a copy into pinned memory, one launch and one wait.
//!
//! Everything that a capture holds on to (addresses, sizes, networks) lies in the run and is dropped with it.

use super::device::{Device, failed};
use super::kernels::pixels::{self, Format, Placed, Source, TapTable, wide_bytes};
use super::kernels::{Kernels, nearest};
use super::memory::{Buffer, Pinned};
use super::scoring::{Prototypes, Scoring, Wanted};
use super::tower::{Mark, Sizes, Tower, unmarked};
use crate::engine::fused::{Framing, Pieces, Shot, Stages};
use crate::engine::network::Networks;
use crate::engine::{EncodePlan, EngineError, Features, Pixels};
use crate::frame::{Area, Picture};
use cudarc::driver::{CudaGraph, result, sys};

/// What a run is captured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Of each look: its lesson, its framing, and the picture that it is at, counted from 0.
    looks: Vec<(usize, Framing, usize)>,
    /// Of each picture, what any of its looks needs.
    areas: Vec<Area>,
}

impl Kind {
    /// The kind of these shots, and the pictures in its order.
    pub fn of<'a>(shots: &[Shot<'a>]) -> (Self, Vec<&'a Picture>) {
        let mut pictures: Vec<&Picture> = vec![];
        let mut kind = Kind { looks: vec![], areas: vec![] };
        for shot in shots {
            let area = shot.framing.area;
            let known = pictures.iter().position(|picture| std::ptr::eq(*picture, shot.picture));
            let at = known.unwrap_or(pictures.len());
            match known {
                Some(at) => kind.areas[at] = around(kind.areas[at], area),
                None => {
                    pictures.push(shot.picture);
                    kind.areas.push(area);
                }
            }
            kind.looks.push((shot.lesson, shot.framing, at));
        }
        (kind, pictures)
    }

    pub fn lessons(&self) -> impl Iterator<Item = usize> {
        self.looks.iter().map(|(lesson, ..)| *lesson)
    }

    /// Where each picture's bytes begin, and how many there are in all.
    fn offsets(&self) -> (Vec<usize>, usize) {
        let mut end = 0;
        let begin = |area: &Area| {
            let begin = end;
            end += (3 * area.w * area.h).next_multiple_of(16);
            begin
        };
        (self.areas.iter().map(begin).collect(), end)
    }
}

fn around(a: Area, b: Area) -> Area {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    Area { x, y, w: (a.x + a.w).max(b.x + b.w) - x, h: (a.y + a.h).max(b.y + b.h) - y }
}

/// What all runs of an encoder share.
pub struct Shared<'a> {
    pub device: &'a Device,
    pub kernels: &'a Kernels,
    pub networks: &'a dyn Networks,
    pub plan: &'a EncodePlan,
    pub sizes: Sizes,
    /// f32 `[3, 256]`: what each grey level becomes.
    pub levels: &'a Buffer,
    pub prototypes: Prototypes<'a>,
}

pub struct Run {
    pub kind: Kind,
    /// Before what it was captured from, so that it is dropped first.
    graph: Graph,
    parts: Parts,
}

/// The stages in their order, with all that they need.
struct Parts {
    framing: Framed,
    tower: Tower,
    scoring: Scoring,
}

impl Parts {
    fn enqueue(&mut self, device: &Device, kernels: &Kernels, mark: Mark) -> Result<(), EngineError> {
        self.framing.enqueue(device, kernels, mark)?;
        self.tower.enqueue(device, kernels, mark)?;
        self.scoring.enqueue(device, kernels, mark)
    }
}

/// A captured graph. The thread that owns the encoder owns it.
struct Graph(CudaGraph);

// SAFETY: a graph belongs to its context, not to a thread; it is launched by one thread at a time, through `&mut Run`.
unsafe impl Send for Graph {}

impl Run {
    /// Makes the buffers, runs once, captures.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room or fails.
    pub fn new(
        shared: &Shared,
        kind: Kind,
        wanted: &Wanted,
        cells: &[Option<&[bool]>],
        galleries: &[Vec<nearest::Gallery>],
    ) -> Result<Self, EngineError> {
        let Shared { device, kernels, networks, plan, sizes, prototypes, .. } = *shared;
        let tower = Tower::new(device, networks, plan, sizes, cells)?;
        let framing = Framed::new(shared, &kind, tower.pixels.address())?;
        let scoring = Scoring::new(device, &tower, wanted, prototypes, cells, galleries)?;
        let mut parts = Parts { framing, tower, scoring };
        // TensorRT allocates in its first run for a shape, which no capture allows.
        let enqueued = parts.enqueue(device, kernels, &mut unmarked);
        device.wait()?;
        enqueued?;
        let graph = captured(device, || parts.enqueue(device, kernels, &mut unmarked))?;
        Ok(Run { kind, graph, parts })
    }

    /// Others were taught, for the same looks.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn retaught(&mut self, device: &Device, galleries: &[Vec<nearest::Gallery>]) -> Result<(), EngineError> {
        self.parts.scoring.retaught(device, galleries)
    }

    /// The pieces of each look at these pictures, which are of the run's kind.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device fails or a feature is not finite.
    pub fn judge(&mut self, device: &Device, pictures: &[&Picture]) -> Result<Vec<Pieces>, EngineError> {
        self.parts.framing.fill(&self.kind, pictures);
        let launched = self.graph.0.launch().map_err(failed("the GPU's graph cannot be launched"));
        // Waited for in any case: what was enqueued reads the pinned memory.
        let waited = device.wait();
        launched.and(waited)?;
        self.parts.scoring.pieces()
    }

    /// The pixels and features that the last judgement of a look was made from.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn details(&self, device: &Device, look: usize) -> Result<(Pixels, Features), EngineError> {
        Ok((self.parts.tower.pixels_of(device, look)?, self.parts.tower.features(device, look)?))
    }

    /// What each stage took, one after the other instead of as a graph, by the device's clock: `runs` times each.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn stages(&mut self, device: &Device, kernels: &Kernels, runs: usize) -> Result<Stages, EngineError> {
        let mut stages: Stages = vec![];
        for run in 0..runs {
            let mut marks = vec![];
            let mut mark = |stage: &'static str| -> Result<(), EngineError> {
                let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
                let event = device.stream.record_event(flags).map_err(failed("the GPU's time cannot be taken"))?;
                marks.push((stage, event));
                Ok(())
            };
            mark("")?;
            let enqueued = self.parts.enqueue(device, kernels, &mut mark);
            device.wait()?;
            enqueued?;
            for ((_, before), (stage, after)) in marks.iter().zip(&marks[1..]) {
                let ms = before.elapsed_ms(after).map_err(failed("the GPU's time cannot be taken"))?;
                add(&mut stages, stage, run, f64::from(ms));
            }
        }
        Ok(stages)
    }
}

/// Adds to what a stage took in a run.
fn add(stages: &mut Stages, stage: &'static str, run: usize, ms: f64) {
    let at = stages.iter().position(|(known, _)| *known == stage).unwrap_or_else(|| {
        stages.push((stage, vec![]));
        stages.len() - 1
    });
    let times = &mut stages[at].1;
    times.resize(run + 1, 0.0);
    times[run] += ms;
}

/// What `enqueue` enqueues, as a graph. The capture ends in any case: a stream that is left in one is of no use any more.
fn captured(device: &Device, enqueue: impl FnOnce() -> Result<(), EngineError>) -> Result<Graph, EngineError> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    device.stream.begin_capture(mode).map_err(failed("the GPU's work cannot be captured"))?;
    let enqueued = enqueue();
    let graph = device.stream.end_capture(sys::CUgraphInstantiate_flags_enum(0));
    enqueued?;
    match graph.map_err(failed("the GPU's work cannot be captured"))? {
        Some(graph) => Ok(Graph(graph)),
        None => Err(EngineError::Run("the GPU's work was captured, and nothing is in it".to_owned())),
    }
}

/// Pictures to pixels: pinned memory, their bytes on the device, and the kernels' descriptors.
struct Framed {
    pinned: Pinned,
    pictures: Buffer,
    args: pixels::Args,
    /// What `args` and the descriptors name.
    _tables: [Buffer; 3],
}

impl Framed {
    fn new(shared: &Shared, kind: &Kind, pixels: u64) -> Result<Self, EngineError> {
        let (device, side) = (shared.device, shared.sizes.side);
        let (offsets, bytes) = kind.offsets();
        let pictures = Buffer::new(&device.context, bytes)?;
        let tables: Vec<[TapTable; 2]> = kind.looks.iter().map(|(_, framing, _)| taps(framing, side)).collect();
        let wide_each: Vec<usize> = tables.iter().map(|[_, down]| wide_bytes(down, side)).collect();
        let wide = Buffer::new(&device.context, wide_each.iter().sum())?;
        let (mut words, mut shots, mut wide_at) = (vec![], vec![], wide.address());
        for (((_, framing, picture), tables), wide_bytes) in kind.looks.iter().zip(&tables).zip(&wide_each) {
            let (offset, around) = (offsets[*picture], kind.areas[*picture]);
            let source = rgb(pictures.address() + offset as u64, around);
            let [across, down] = tables.each_ref().map(|table| {
                let at = words.len() as u32;
                words.extend_from_slice(table.words());
                Placed { table, at }
            });
            let crop = Area { x: framing.area.x - around.x, y: framing.area.y - around.y, ..framing.area };
            shots.push(pixels::Shot::new(&source, crop, (across, down), wide_at)?);
            wide_at += *wide_bytes as u64;
        }
        let (shots, taps) = (device.buffer_of(&shots)?, device.buffer_of(&words)?);
        let args = pixels::Args {
            shots: shots.address(),
            taps: taps.address(),
            levels: shared.levels.address(),
            pixels,
            looks: kind.looks.len() as u32,
            side: side as u32,
            rows: tables.iter().map(|[_, down]| down.sources().len()).max().unwrap_or(0) as u32,
            unused: 0,
        };
        Ok(Framed { pinned: Pinned::new(&device.context, bytes)?, pictures, args, _tables: [shots, taps, wide] })
    }

    /// Copies what is needed of each picture into the pinned memory, which nothing reads meanwhile.
    fn fill(&mut self, kind: &Kind, pictures: &[&Picture]) {
        let (offsets, _) = kind.offsets();
        for ((picture, area), offset) in pictures.iter().zip(&kind.areas).zip(offsets) {
            let (stride, begin) = (3 * picture.width(), 3 * (area.y * picture.width() + area.x));
            let rows = picture.rgb()[begin..].chunks(stride).take(area.h);
            let to = self.pinned.as_mut_slice()[offset..].chunks_exact_mut(3 * area.w);
            to.zip(rows).for_each(|(to, row)| to.copy_from_slice(&row[..3 * area.w]));
        }
    }

    fn enqueue(&mut self, device: &Device, kernels: &Kernels, mark: Mark) -> Result<(), EngineError> {
        let (bytes, stream) = (self.pinned.as_slice(), device.stream.cu_stream());
        // SAFETY: both are of one size, and the pinned memory is written only when nothing is enqueued.
        unsafe { result::memcpy_htod_async(self.pictures.address(), bytes, stream) }
            .map_err(failed("cannot copy the picture"))?;
        mark("copy in")?;
        // SAFETY: what the struct's fields name is as large as the descriptors say.
        unsafe { pixels::enqueue(kernels, &device.stream, &self.args) }?;
        mark("pixels")
    }
}

/// Across and down, of the square that the encoder sees.
fn taps(framing: &Framing, side: usize) -> [TapTable; 2] {
    let Framing { area, resized, at } = framing;
    [TapTable::new(area.w, resized.0, at.0..at.0 + side), TapTable::new(area.h, resized.1, at.1..at.1 + side)]
}

/// The bytes of `area` as a picture of its own.
fn rgb(plane: u64, area: Area) -> Source {
    let (width, height) = (area.w as u32, area.h as u32);
    Source { format: Format::Rgb, width, height, plane, stride: 3 * width, chroma: pixels::Chroma::default() }
}
