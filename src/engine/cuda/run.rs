//! A run: looks at pictures again and again, as one CUDA graph. Made once for each kind of batch, then a frame costs a copy
//! into pinned memory, one launch and one wait.
//!
//! Everything that a capture holds on to (addresses, sizes, networks) lies in the run and is dropped with it.

use super::device::{Device, failed};
use super::framing::{Framed, Framings, Room, Tables};
use super::kernels::{Kernels, nearest};
use super::memory::Buffer;
use super::scoring::{Prototypes, Scoring, Wanted};
use super::tower::{Mark, Sizes, Tower, unmarked};
use crate::data::picture::Picture;
use crate::engine::device_scorer::{PartialScores, StageTimings};
use crate::engine::network::Networks;
use crate::engine::{EncodePlan, EngineError, Features, Pixels};
use cudarc::driver::{CudaGraph, sys};

/// What a run is captured for. Which pictures, how they are framed and what they are compared with are written into its
/// tables before a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Of each look the first lesson with its cells: which windows are computed. Nothing where nothing was taught.
    pub cells: Vec<Option<usize>>,
    pub room: Room,
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

/// What is looked at, and what it is compared with.
pub struct Shown<'a> {
    pub framings: &'a Framings,
    /// In the framings' order.
    pub pictures: &'a [&'a Picture],
    /// Of each look.
    pub lessons: &'a [usize],
    /// For each map a gallery of each look.
    pub galleries: &'a [Vec<nearest::Gallery>],
}

pub struct Run {
    pub kind: Kind,
    /// Of each look, as the galleries' tables say now; nothing when others were taught.
    lessons: Vec<usize>,
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
    fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
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
        shown: &Shown,
        tables: &mut Tables,
    ) -> Result<Self, EngineError> {
        let Shared {
            device,
            kernels,
            networks,
            plan,
            sizes,
            prototypes,
            levels,
        } = *shared;
        let tower = Tower::new(device, networks, plan, sizes, cells)?;
        let to = (tower.pixels.address(), sizes.side, levels);
        let mut framing = Framed::new(device, cells.len(), kind.room, to)?;
        framing.show(device, shown.framings, shown.pictures, tables)?;
        let scoring = Scoring::new(device, &tower, wanted, prototypes, cells, shown.galleries)?;
        let mut parts = Parts {
            framing,
            tower,
            scoring,
        };
        // TensorRT allocates in its first run for a shape, which no capture allows.
        let enqueued = parts.enqueue(device, kernels, &mut unmarked);
        device.wait()?;
        enqueued?;
        let graph = captured(device, || parts.enqueue(device, kernels, &mut unmarked))?;
        Ok(Run {
            kind,
            lessons: shown.lessons.to_vec(),
            graph,
            parts,
        })
    }

    /// Others were taught: the galleries' tables name what is no longer there.
    pub fn forget(&mut self) {
        self.lessons.clear();
    }

    /// The pieces of each look at what is shown, which is of the run's kind.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device fails or a feature is not finite.
    pub fn judge(
        &mut self,
        device: &Device,
        shown: &Shown,
        tables: &mut Tables,
    ) -> Result<Vec<PartialScores>, EngineError> {
        if self.lessons != shown.lessons {
            self.forget(); // half of it would be wrong
            self.parts.scoring.retaught(device, shown.galleries)?;
            self.lessons = shown.lessons.to_vec();
        }
        self.parts
            .framing
            .show(device, shown.framings, shown.pictures, tables)?;
        let launched = self
            .graph
            .0
            .launch()
            .map_err(failed("the GPU's graph cannot be launched"));
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
        Ok((
            self.parts.tower.pixels_of(device, look)?,
            self.parts.tower.features(device, look)?,
        ))
    }

    /// What each stage took, one after the other instead of as a graph, by the device's clock: `runs` times each.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn stages(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        runs: usize,
    ) -> Result<StageTimings, EngineError> {
        let mut stages: StageTimings = vec![];
        for run in 0..runs {
            let mut marks = vec![];
            let mut mark = |stage: &'static str| -> Result<(), EngineError> {
                let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
                let event = device
                    .stream
                    .record_event(flags)
                    .map_err(failed("the GPU's time cannot be taken"))?;
                marks.push((stage, event));
                Ok(())
            };
            mark("")?;
            let enqueued = self.parts.enqueue(device, kernels, &mut mark);
            device.wait()?;
            enqueued?;
            for ((_, before), (stage, after)) in marks.iter().zip(&marks[1..]) {
                let ms = before
                    .elapsed_ms(after)
                    .map_err(failed("the GPU's time cannot be taken"))?;
                add(&mut stages, stage, run, f64::from(ms));
            }
        }
        Ok(stages)
    }
}

/// Adds to what a stage took in a run.
fn add(stages: &mut StageTimings, stage: &'static str, run: usize, ms: f64) {
    let at = stages
        .iter()
        .position(|(known, _)| *known == stage)
        .unwrap_or_else(|| {
            stages.push((stage, vec![]));
            stages.len() - 1
        });
    let times = &mut stages[at].1;
    times.resize(run + 1, 0.0);
    times[run] += ms;
}

/// What `enqueue` enqueues, as a graph. The capture ends in any case: a stream that is left in one is of no use any more.
fn captured(
    device: &Device,
    enqueue: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Graph, EngineError> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    device
        .stream
        .begin_capture(mode)
        .map_err(failed("the GPU's work cannot be captured"))?;
    let enqueued = enqueue();
    let graph = device
        .stream
        .end_capture(sys::CUgraphInstantiate_flags_enum(0));
    enqueued?;
    match graph.map_err(failed("the GPU's work cannot be captured"))? {
        Some(graph) => Ok(Graph(graph)),
        None => Err(EngineError::Run(
            "the GPU's work was captured, and nothing is in it".to_owned(),
        )),
    }
}
