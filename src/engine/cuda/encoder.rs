//! The engine on an NVIDIA GPU: features for callers that need them, partial scores for the line.

use super::crops::{CropTransforms, TapTables};
use super::device::Device;
use super::kernels::Kernels;
use super::memory::Buffer;
use super::painter::Painter;
use super::references::LoadedReferences;
use super::run::{CapturedRun, RunContext, RunInputs, RunKind};
use super::tower::{Sizes, Tower, unmarked};
use crate::engine::device_scorer::{
    CropRequest, DeviceScorer, Paint, PartialScores, ReferenceBank, StageTimings,
};
use crate::engine::nearest::Nearest;
use crate::engine::network::Networks;
use crate::engine::{
    Crop, EncodePlan, EncodeTimes, Encoder, EngineError, Features, Pixels, normalisation_lut,
};
use crate::model::ModelSpec;
use ndarray::{Array2, ArrayView2};
use std::path::Path;
use std::time::Instant;

/// The most kinds of runs that are kept; the one that was not used for longest makes room. A line
/// has one for each number of crops at once, a few more where masks or sizes differ.
const RUNS_MAX: usize = 8;

/// The engine on a GPU. The thread that owns it owns the GPU's memory and stream.
pub struct CudaEncoder {
    /// Stands before the networks and the device, so that the runs are dropped first.
    runs: Vec<CapturedRun>,
    /// The tower of the last features.
    tower: Option<MaskedTower>,
    references: LoadedReferences,
    tables: TapTables,
    normalisation_lut: Buffer,
    networks: Box<dyn Networks>,
    kernels: Kernels,
    device: Device,
    plan: EncodePlan,
    sizes: Sizes,
    backend: String,
    /// Compares features on the host, one batch after the other, while references are chosen.
    nearest: Box<dyn Nearest + Send>,
    times: EncodeTimes,
}

/// A tower, and the masks of the crops that it was made for.
struct MaskedTower {
    masks: Vec<Option<Vec<bool>>>,
    tower: Tower,
}

impl MaskedTower {
    fn serves(&self, masks: &[Option<&[bool]>]) -> bool {
        self.masks
            .iter()
            .map(Option::as_deref)
            .eq(masks.iter().copied())
    }
}

impl CudaEncoder {
    /// An encoder of `plan`. `cache` is a folder where compiled kernels are kept.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a plan beyond the model; [`EngineError::Unavailable`] when the
    /// kernels cannot be made or the device has no room.
    pub fn open(
        device: Device,
        networks: Box<dyn Networks>,
        (plan, spec): (&EncodePlan, &ModelSpec),
        nearest: Box<dyn Nearest + Send>,
        cache: Option<&Path>,
    ) -> Result<Self, EngineError> {
        // The plan is checked before anything is allocated: a scale beyond the grid would otherwise
        // be found by a kernel.
        plan.check(spec)?;
        device.bind()?;
        let facts = networks.facts();
        let sizes = Sizes::new(plan, spec, facts.precision)?;

        // The kernels are compiled for the element type of the network's tensors, f16 or f32, and
        // for this device.
        let kernels = Kernels::load(&device.context, facts.precision, cache)?;

        // The table is f32 `[3, 256]`: it holds the mean and the deviation of the model, so that
        // the pixel kernels need not know them.
        let lut = normalisation_lut(spec);
        Ok(CudaEncoder {
            runs: vec![],
            tower: None,
            references: LoadedReferences::default(),
            tables: TapTables::default(),
            normalisation_lut: device.buffer_of(lut.as_flattened())?,
            kernels,
            plan: plan.clone(),
            sizes,
            backend: facts.name.clone(),
            networks,
            device,
            nearest,
            times: EncodeTimes::default(),
        })
    }

    /// Features of as many crops as the networks take at once.
    fn encode_batch(&mut self, crops: &[Crop]) -> Result<Vec<Features>, EngineError> {
        let masks: Vec<Option<&[bool]>> = crops.iter().map(|crop| crop.mask).collect();

        // The tower is taken out of `self` while it is borrowed for writing, and put back whatever
        // came of the batch.
        let mut masked = self.tower_for(&masks)?;
        let features = self.features_through(&mut masked.tower, crops);
        self.tower = Some(masked);

        features
    }

    fn features_through(
        &self,
        tower: &mut Tower,
        crops: &[Crop],
    ) -> Result<Vec<Features>, EngineError> {
        // Pixels are uploaded by the host here, f32 `[3, S, S]` a crop: this way serves the
        // preparation of a recipe, where speed counts less.
        let pixels: Vec<&Pixels> = crops.iter().map(|crop| crop.pixels).collect();
        tower.put_pixels(&self.device, &pixels)?;
        let enqueued = tower.enqueue(&self.device, &self.kernels, &mut unmarked);

        // The wait comes before the error of the enqueueing is looked at: work that was enqueued
        // before the failure still uses the tower's buffers.
        self.device.wait()?;
        enqueued?;
        let mut features = vec![];

        for crop in 0..crops.len() {
            features.push(tower.features(&self.device, crop)?);
        }

        Ok(features)
    }

    /// The last tower where its masks are these, else a new one.
    fn tower_for(&mut self, masks: &[Option<&[bool]>]) -> Result<MaskedTower, EngineError> {
        // An old tower's memory is freed before a new one's is allocated.
        let last = self.tower.take().filter(|last| last.serves(masks));

        if let Some(last) = last {
            return Ok(last);
        }

        // The tower is made for these masks: they decide which windows exist and how large their
        // buffers are.
        let networks = self.networks.as_ref();
        let tower = Tower::new(&self.device, networks, &self.plan, self.sizes, masks)?;
        let masks = masks.iter().map(|mask| mask.map(<[bool]>::to_vec));
        Ok(MaskedTower {
            masks: masks.collect(),
            tower,
        })
    }

    /// Partial scores of as many crops as the networks take at once. The run of their kind is the
    /// first of `runs` afterwards.
    fn score_batch(&mut self, crops: &[CropRequest]) -> Result<Vec<PartialScores>, EngineError> {
        // The kind of a run is all that its captured graph depends on: the mask of each crop and
        // the sizes of the buffers. Everything else is written into tables before a launch.
        let (transforms, pictures) = CropTransforms::of(crops);
        let references: Vec<usize> = crops.iter().map(|crop| crop.references).collect();
        let kind = RunKind {
            masks: self.references.first_alike(&references),
            sizes: transforms.buffer_sizes(self.sizes.side, &mut self.tables),
        };

        // Each visual map has a gallery for each crop, by device address and number of rows.
        let galleries = self.references.galleries(&references);
        let inputs = RunInputs {
            transforms: &transforms,
            pictures: &pictures,
            references: &references,
            galleries: &galleries,
        };

        // Runs stand in order of their last use. A line alternates between a few kinds, and the one
        // that was not used for longest makes room.
        match self.runs.iter().position(|run| run.kind == kind) {
            Some(at) => self.runs[..=at].rotate_right(1),
            None => {
                // The old run is dropped before the new one allocates: both together might not fit
                // on the device.
                self.runs.truncate(RUNS_MAX - 1);
                let run = self.new_run(kind, &inputs)?;
                self.runs.insert(0, run);
            }
        }

        self.runs[0].score(&self.device, &inputs, &mut self.tables)
    }

    fn new_run(&mut self, kind: RunKind, inputs: &RunInputs) -> Result<CapturedRun, EngineError> {
        // Without references there is nothing to score against. The caller has to set them before
        // it asks.
        let Some(plan) = &self.references.plan else {
            return Err(EngineError::Plan(
                "no references were set that a picture could be compared with".to_owned(),
            ));
        };

        let context = RunContext {
            device: &self.device,
            kernels: &self.kernels,
            networks: self.networks.as_ref(),
            plan: &self.plan,
            sizes: self.sizes,
            normalisation_lut: &self.normalisation_lut,
            prototypes: self.references.prototypes(),
        };

        // The masks are those of the banks, one for each crop: the graph is captured with the
        // windows that they leave.
        let masks = self.references.masks(inputs.references);

        CapturedRun::new(&context, kind, plan, &masks, inputs, &mut self.tables)
    }

    /// Notes the time of a call. All of it stands under the trunk: on the device the stages are one
    /// graph.
    fn note_time(&mut self, started: Instant) {
        self.times = EncodeTimes {
            trunk: started.elapsed(),
            ..EncodeTimes::default()
        };
    }
}

impl Encoder for CudaEncoder {
    fn backend(&self) -> &str {
        &self.backend
    }

    fn device(&self) -> &str {
        &self.device.name
    }

    fn encode(&mut self, crops: &[Crop]) -> Result<Vec<Features>, EngineError> {
        self.device.bind()?;
        let started = Instant::now();
        let mut features = Vec::with_capacity(crops.len());

        for batch in crops.chunks(self.networks.facts().looks_max) {
            features.extend(self.encode_batch(batch)?);
        }

        self.note_time(started);
        Ok(features)
    }

    fn times(&self) -> &EncodeTimes {
        &self.times
    }

    fn device_scorer(&mut self) -> Option<&mut dyn DeviceScorer> {
        Some(self)
    }
}

impl DeviceScorer for CudaEncoder {
    fn set_references(&mut self, banks: &[ReferenceBank]) -> Result<(), EngineError> {
        self.device.bind()?;
        let mut loaded = LoadedReferences::new(&self.device, self.sizes.precision, banks)?;

        // Runs that stay valid hold the address of the old prototypes in their graphs, so that
        // exactly this buffer has to live on. Other masks or words mean other graphs, and the runs
        // are dropped.
        if self.references.serves_runs_of(&loaded) {
            loaded.take_prototypes(&mut self.references); // the runs hold their address
        } else {
            self.runs.clear();
        }

        // Galleries may have moved. Each run writes its table of galleries anew before its next
        // launch.
        self.references = loaded;

        for run in &mut self.runs {
            run.forget_references();
        }

        Ok(())
    }

    fn score(&mut self, crops: &[CropRequest]) -> Result<Vec<PartialScores>, EngineError> {
        self.device.bind()?;
        let started = Instant::now();
        let mut scores = Vec::with_capacity(crops.len());

        for batch in crops.chunks(self.networks.facts().looks_max) {
            scores.extend(self.score_batch(batch)?);
        }

        self.note_time(started);
        Ok(scores)
    }

    fn time_stages(
        &mut self,
        crops: &[CropRequest],
        runs: usize,
    ) -> Result<StageTimings, EngineError> {
        self.device.bind()?;

        // The first call makes the run and warms it, so that neither the capture nor the first
        // launch is in the times.
        let count = crops.len().min(self.networks.facts().looks_max);
        self.score_batch(&crops[..count])?;

        self.runs[0].measure_stages(&self.device, &self.kernels, runs)
    }

    fn score_in_detail(
        &mut self,
        crop: &CropRequest,
    ) -> Result<(PartialScores, Pixels, Features), EngineError> {
        self.device.bind()?;
        let mut scores = self.score_batch(std::slice::from_ref(crop))?;

        // The run of the call above is the first of `runs`, and its buffers still hold the crop at
        // index 0.
        let (pixels, features) = self.runs[0].details(&self.device, 0)?;

        Ok((scores.swap_remove(0), pixels, features))
    }

    fn painter(&self) -> Box<dyn Paint> {
        Box::new(Painter::new(&self.device, &self.kernels))
    }
}

impl Nearest for CudaEncoder {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        self.nearest.similarities(queries, references, rows_each)
    }
}
