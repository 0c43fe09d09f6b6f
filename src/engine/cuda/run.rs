//! A captured run: crops judged again and again, as one CUDA graph. Made once for each kind of
//! batch, then a frame costs a copy into pinned memory, one launch and one wait.
//!
//! Everything that a capture holds on to (addresses, sizes, networks) lies in the run and is
//! dropped with it.

use super::crops::{BufferSizes, CropStage, CropTransforms, TapTables};
use super::device::Device;
use super::error::failed;
use super::kernels::Kernels;
use super::kernels::nearest::GalleryRows;
use super::memory::Buffer;
use super::scoring::{Prototypes, Scoring, ScoringPlan};
use super::tower::{Mark, Sizes, Tower, unmarked};
use crate::data::picture::Picture;
use crate::engine::device_scorer::{PartialScores, StageTimings};
use crate::engine::network::Networks;
use crate::engine::{EncodePlan, EngineError, Features, Pixels};
use cudarc::driver::{CudaEvent, CudaGraph, sys};

/// The facts that a run is captured for. Pictures, crop transforms and galleries are written into
/// its tables before a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunKind {
    /// The first reference bank with the mask of each crop, which decides the computed windows;
    /// `None` without references.
    pub masks: Vec<Option<usize>>,
    /// Sizes of the buffers that depend on the pictures.
    pub sizes: BufferSizes,
}

/// The parts of an encoder that all its runs share.
pub struct RunContext<'a> {
    /// The GPU.
    pub device: &'a Device,
    /// The kernels, loaded on it.
    pub kernels: &'a Kernels,
    /// The networks of the plan.
    pub networks: &'a dyn Networks,
    /// The plan of the encoder.
    pub plan: &'a EncodePlan,
    /// Sizes that follow from plan and model.
    pub sizes: Sizes,
    /// f32 `[3, 256]`: the network's input for each grey level.
    pub normalisation_lut: &'a Buffer,
    /// Unit vectors of the recipe's words.
    pub prototypes: Prototypes<'a>,
}

/// Inputs of one launch: crops, and the galleries that they are compared with.
pub struct RunInputs<'a> {
    /// The crops' transforms.
    pub transforms: &'a CropTransforms,
    /// The pictures in the transforms' order.
    pub pictures: &'a [&'a Picture],
    /// Index of each crop's reference bank.
    pub references: &'a [usize],
    /// Galleries by map, one for each crop.
    pub galleries: &'a [Vec<GalleryRows>],
}

/// A run of one kind, ready to be launched.
pub struct CapturedRun {
    /// The kind that it was captured for.
    pub kind: RunKind,
    /// Index of each crop's reference bank in the galleries' tables; empty when these are out of
    /// date.
    references: Vec<usize>,
    /// Stands before the stages, so that it is dropped before the memory that it was captured from.
    graph: CapturedGraph,
    stages: RunStages,
}

/// The stages in their order, with their buffers.
struct RunStages {
    crops: CropStage,
    tower: Tower,
    scoring: Scoring,
}

impl RunStages {
    fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        self.crops.enqueue(device, kernels, mark)?;
        self.tower.enqueue(device, kernels, mark)?;

        self.scoring.enqueue(device, kernels, mark)
    }
}

/// A captured graph. The thread that owns the encoder owns it.
struct CapturedGraph(CudaGraph);

// SAFETY: a graph belongs to its context, not to a thread; it is launched by one thread at a time,
// through `&mut CapturedRun`.
unsafe impl Send for CapturedGraph {}

impl CapturedRun {
    /// Makes the buffers, runs once, captures. A mask holds the patches of a crop that count;
    /// `None` means all.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room or fails.
    pub fn new(
        context: &RunContext,
        kind: RunKind,
        plan: &ScoringPlan,
        masks: &[Option<&[bool]>],
        inputs: &RunInputs,
        tables: &mut TapTables,
    ) -> Result<Self, EngineError> {
        // The buffers are made in the order of the flow. The pixels of the tower are the crops'
        // output, and its features the input of the scoring.
        let device = context.device;
        let kernels = context.kernels;
        let tower = Tower::new(device, context.networks, context.plan, context.sizes, masks)?;
        let lut = context.normalisation_lut;
        let mut crops = CropStage::new(device, &tower, kind.sizes, lut)?;

        // Pictures are put before the first run, so that it computes with real values and not with
        // zeros.
        crops.put(device, inputs.transforms, inputs.pictures, tables)?;
        let prototypes = context.prototypes;
        let scoring = Scoring::new(device, &tower, plan, prototypes, masks, inputs.galleries)?;
        let mut stages = RunStages {
            crops,
            tower,
            scoring,
        };

        // TensorRT allocates in its first run for a shape, which no capture allows.
        // The wait comes before the error is returned: enqueued work still uses the buffers, which
        // are dropped with an error.
        let enqueued = stages.enqueue(device, kernels, &mut unmarked);
        device.wait()?;
        enqueued?;

        // The capture enqueues the same calls again, with the same addresses, and runs nothing.
        let graph = captured(device, || stages.enqueue(device, kernels, &mut unmarked))?;
        Ok(CapturedRun {
            kind,
            references: inputs.references.to_vec(),
            graph,
            stages,
        })
    }

    /// Marks the galleries' tables as out of date: they name buffers of references that were
    /// replaced.
    pub fn forget_references(&mut self) {
        self.references.clear();
    }

    /// The partial scores of each crop of `inputs`, which are of the run's kind.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device fails or a feature is not finite.
    pub fn score(
        &mut self,
        device: &Device,
        inputs: &RunInputs,
        tables: &mut TapTables,
    ) -> Result<Vec<PartialScores>, EngineError> {
        // The tables of galleries are rewritten only where the crops belong to other banks than in
        // the last launch, or the banks were replaced.
        if self.references != inputs.references {
            self.forget_references(); // half of the tables would be wrong
            self.stages
                .scoring
                .put_galleries(device, inputs.galleries)?;

            self.references = inputs.references.to_vec();
        }

        // Nothing is enqueued now: the last call waited. The pinned memory may therefore be
        // written.
        self.stages
            .crops
            .put(device, inputs.transforms, inputs.pictures, tables)?;

        let CapturedGraph(graph) = &self.graph;
        let launched = graph
            .launch()
            .map_err(failed("the GPU's graph cannot be launched"));

        // Waited for in any case: enqueued work reads the pinned memory.
        let waited = device.wait();
        launched.and(waited)?;

        self.stages.scoring.partial_scores()
    }

    /// The pixels and features of a crop in the last launch.
    ///
    /// # Errors
    /// [`EngineError::Run`] when a copy failed or a value is not finite.
    pub fn details(&self, device: &Device, crop: usize) -> Result<(Pixels, Features), EngineError> {
        let tower = &self.stages.tower;
        let pixels = tower.pixels_of(device, crop)?;
        let features = tower.features(device, crop)?;

        Ok((pixels, features))
    }

    /// The time of each stage, one after the other instead of as a graph, by the device's clock:
    /// `runs` times each.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device fails.
    pub fn measure_stages(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        runs: usize,
    ) -> Result<StageTimings, EngineError> {
        // The stages are timed one after the other on the stream. Their sum is more than the graph
        // takes, whose launches cost less.
        let mut times: StageTimings = vec![];

        for run in 0..runs {
            // An event stands before the first stage and after each: a stage's time is that between
            // its event and the one before.
            let marks = self.marked_run(device, kernels)?;

            for pair in marks.windows(2) {
                let (_, before) = &pair[0];
                let (stage, after) = &pair[1];
                let ms = before
                    .elapsed_ms(after)
                    .map_err(failed("the GPU's time cannot be taken"))?;

                add(&mut times, stage, run, f64::from(ms));
            }
        }

        Ok(times)
    }

    /// Runs all stages once; an event before the first, and one after each stage with its name.
    fn marked_run(
        &mut self,
        device: &Device,
        kernels: &Kernels,
    ) -> Result<Vec<(&'static str, CudaEvent)>, EngineError> {
        // Events have to keep their times, which flags may switch off. A captured graph could not
        // be measured like this.
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let mut marks = vec![];
        let mut mark = |stage: &'static str| -> Result<(), EngineError> {
            let event = device
                .stream
                .record_event(flags)
                .map_err(failed("the GPU's time cannot be taken"))?;

            marks.push((stage, event));
            Ok(())
        };

        // The empty name is the start and belongs to no stage.
        mark("")?;
        let enqueued = self.stages.enqueue(device, kernels, &mut mark);

        // The wait makes all events complete, also those before a failure.
        device.wait()?;
        enqueued?;

        Ok(marks)
    }
}

/// Adds `ms` to the time of a stage in a run: a stage may come several times in a run.
fn add(times: &mut StageTimings, stage: &'static str, run: usize, ms: f64) {
    // A stage is known by its name; the few of them need no map.
    let at = match times.iter().position(|(known, _)| *known == stage) {
        Some(at) => at,
        None => {
            times.push((stage, vec![]));

            times.len() - 1
        }
    };

    // Runs before this one in which the stage did not come have 0, so that the last entry is of
    // `run`.
    let (_, of_runs) = &mut times[at];
    of_runs.resize(run + 1, 0.0);
    of_runs[run] += ms;
}

/// The work that `enqueue` enqueues, as a graph. The capture ends in any case: a stream that stays
/// in one is of no use any more.
fn captured(
    device: &Device,
    enqueue: impl FnOnce() -> Result<(), EngineError>,
) -> Result<CapturedGraph, EngineError> {
    // The mode is thread-local: calls of other threads, such as the painter's allocations, do not
    // spoil the capture.
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    device
        .stream
        .begin_capture(mode)
        .map_err(failed("the GPU's work cannot be captured"))?;

    // The error of `enqueue` waits until the capture has ended, and goes before that of the
    // capture, which is its consequence.
    let enqueued = enqueue();
    let graph = device
        .stream
        .end_capture(sys::CUgraphInstantiate_flags_enum(0));

    enqueued?;
    match graph.map_err(failed("the GPU's work cannot be captured"))? {
        Some(graph) => Ok(CapturedGraph(graph)),
        None => Err(EngineError::Run(
            "the GPU's work was captured, and nothing is in it".to_owned(),
        )),
    }
}
