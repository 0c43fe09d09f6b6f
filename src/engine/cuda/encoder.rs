//! The engine on an NVIDIA GPU: features for those who teach, pieces of a score for those who judge.

use super::device::Device;
use super::framing::{Framings, Tables};
use super::kernels::{Kernels, nearest};
use super::memory::Buffer;
use super::painter::Painter;
use super::run::{Kind, Run, Shared, Shown};
use super::scoring::{Wanted, WantedWords};
use super::tower::{Sizes, Tower, unmarked, upload};
use crate::engine::device_scorer::{
    CropRequest, DeviceScorer, MapKind, Paint, PartialScores, ReferenceBank, StageTimings,
};
use crate::engine::nearest::Nearest;
use crate::engine::network::{Networks, Precision};
use crate::engine::{
    Crop, EncodePlan, EncodeTimes, Encoder, EngineError, Features, Pixels, normalisation_lut,
};
use crate::model::ModelSpec;
use ndarray::{Array2, ArrayView2};
use std::path::Path;
use std::time::Instant;

/// Kinds of runs that are kept; the one that was not used for longest makes room. A line has one for each number of
/// looks at once, a few more where masks or sizes differ.
const RUNS_MAX: usize = 8;

pub struct CudaEncoder {
    /// Before the networks and the device, so that they are dropped first.
    runs: Vec<Run>,
    /// For features: the cells of its looks, and the tower.
    tower: Option<(Vec<Option<Vec<bool>>>, Tower)>,
    taught: Taught,
    tables: Tables,
    levels: Buffer,
    networks: Box<dyn Networks>,
    kernels: Kernels,
    device: Device,
    plan: EncodePlan,
    sizes: Sizes,
    backend: String,
    /// Compares one by one, on the host, what is compared once when a line is taught.
    nearest: Box<dyn Nearest + Send>,
    took: EncodeTimes,
}

/// What was learned, on the device.
#[derive(Default)]
struct Taught {
    wanted: Option<Wanted>,
    /// Of each lesson the cells that count.
    cells: Vec<Option<Vec<bool>>>,
    /// Of each lesson the first with the same cells.
    alike: Vec<usize>,
    words: Option<[Vec<f32>; 2]>,
    /// The same, f32 `[2, E]`.
    prototypes: Option<Buffer>,
    /// Of each lesson, of each map.
    galleries: Vec<Vec<(Buffer, usize)>>,
}

impl CudaEncoder {
    /// `cache` is a folder where compiled kernels are kept.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for what the model cannot do; [`EngineError::Unavailable`] when the kernels cannot be made
    /// or the device has no room.
    pub fn open(
        device: Device,
        networks: Box<dyn Networks>,
        (plan, spec): (&EncodePlan, &ModelSpec),
        nearest: Box<dyn Nearest + Send>,
        cache: Option<&Path>,
    ) -> Result<Self, EngineError> {
        plan.check(spec)?;
        device.bind()?;
        let kernels = Kernels::load(&device.context, networks.facts().precision, cache)?;
        let levels = device.buffer_of(&normalisation_lut(spec).concat())?;
        Ok(CudaEncoder {
            runs: vec![],
            tower: None,
            taught: Taught::default(),
            tables: Tables::default(),
            levels,
            kernels,
            plan: plan.clone(),
            sizes: Sizes::new(plan, spec, networks.facts().precision),
            backend: networks.facts().name.clone(),
            networks,
            device,
            nearest,
            took: EncodeTimes::default(),
        })
    }

    /// Features of as many looks as the networks take at once.
    fn encode_some(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError> {
        let cells: Vec<Option<Vec<bool>>> = looks
            .iter()
            .map(|look| look.mask.map(<[bool]>::to_vec))
            .collect();
        if self.tower.as_ref().is_none_or(|(known, _)| *known != cells) {
            self.tower = None; // its memory first
            let of_looks: Vec<_> = looks.iter().map(|look| look.mask).collect();
            let tower = Tower::new(
                &self.device,
                self.networks.as_ref(),
                &self.plan,
                self.sizes,
                &of_looks,
            )?;
            self.tower = Some((cells, tower));
        }
        let Some((_, tower)) = &mut self.tower else {
            return Ok(vec![]);
        }; // made above
        tower.put_pixels(
            &self.device,
            &looks.iter().map(|look| look.pixels).collect::<Vec<_>>(),
        )?;
        let enqueued = tower.enqueue(&self.device, &self.kernels, &mut unmarked);
        self.device.wait()?;
        enqueued?;
        (0..looks.len())
            .map(|look| tower.features(&self.device, look))
            .collect()
    }

    /// Pieces of as many looks as the networks take at once, by the run of their kind.
    fn judge_some(
        &mut self,
        shots: &[CropRequest],
    ) -> Result<(&mut Run, Vec<PartialScores>), EngineError> {
        let (framings, pictures) = Framings::of(shots);
        let lessons: Vec<usize> = shots.iter().map(|shot| shot.references).collect();
        let cells = lessons
            .iter()
            .map(|lesson| self.taught.alike.get(*lesson).copied())
            .collect();
        let kind = Kind {
            cells,
            room: framings.room(self.sizes.side, &mut self.tables),
        };
        let galleries = self.taught.tables(&lessons);
        let shown = Shown {
            framings: &framings,
            pictures: &pictures,
            lessons: &lessons,
            galleries: &galleries,
        };
        match self.runs.iter().position(|run| run.kind == kind) {
            Some(at) => self.runs[..=at].rotate_right(1),
            None => {
                self.runs.truncate(RUNS_MAX - 1);
                let run = self.new_run(kind, &shown)?;
                self.runs.insert(0, run);
            }
        }
        let run = &mut self.runs[0];
        let pieces = run.judge(&self.device, &shown, &mut self.tables)?;
        Ok((run, pieces))
    }

    fn new_run(&mut self, kind: Kind, shown: &Shown) -> Result<Run, EngineError> {
        let Some(wanted) = &self.taught.wanted else {
            return Err(EngineError::Plan(
                "nothing was learned that a picture could be judged by".to_owned(),
            ));
        };
        let shared = Shared {
            device: &self.device,
            kernels: &self.kernels,
            networks: self.networks.as_ref(),
            plan: &self.plan,
            sizes: self.sizes,
            levels: &self.levels,
            prototypes: self.taught.prototypes.as_ref(),
        };
        let cells: Vec<Option<&[bool]>> = shown
            .lessons
            .iter()
            .map(|lesson| self.taught.cells[*lesson].as_deref())
            .collect();
        Run::new(&shared, kind, wanted, &cells, shown, &mut self.tables)
    }
}

impl Taught {
    fn new(
        device: &Device,
        precision: Precision,
        lessons: &[ReferenceBank],
    ) -> Result<Self, EngineError> {
        let words = lessons.first().and_then(|lesson| lesson.text.as_ref());
        let prototypes = words
            .map(|words| device.buffer_of(&words.prototypes.concat()))
            .transpose()?;
        let gallery =
            |(_, rows): &(MapKind, ArrayView2<f32>)| -> Result<(Buffer, usize), EngineError> {
                let buffer = Buffer::new(&device.context, rows.len() * precision.bytes())?;
                upload(device, &buffer, precision, rows.iter().copied())?;
                Ok((buffer, rows.nrows()))
            };
        let galleries = |lesson: &ReferenceBank| {
            lesson
                .galleries
                .iter()
                .map(gallery)
                .collect::<Result<Vec<_>, _>>()
        };
        let alike =
            |lesson: &ReferenceBank| lessons.iter().position(|other| other.mask == lesson.mask);
        Ok(Taught {
            wanted: lessons.first().map(wanted),
            alike: lessons.iter().filter_map(alike).collect(), // each is like itself
            cells: lessons
                .iter()
                .map(|lesson| lesson.mask.map(<[bool]>::to_vec))
                .collect(),
            words: words.map(|words| words.prototypes.clone()),
            prototypes,
            galleries: lessons.iter().map(galleries).collect::<Result<_, _>>()?,
        })
    }

    /// But for the galleries the same: what was captured stays true.
    fn is_alike(&self, other: &Taught) -> bool {
        self.wanted == other.wanted && self.cells == other.cells && self.words == other.words
    }

    /// For each map the galleries of the looks of these lessons.
    fn tables(&self, lessons: &[usize]) -> Vec<Vec<nearest::Gallery>> {
        let maps = self.wanted.as_ref().map_or(0, |wanted| wanted.maps.len());
        let entry = |map: usize, lesson: usize| {
            let (buffer, rows) = &self.galleries[lesson][map];
            nearest::Gallery {
                address: buffer.address(),
                rows: *rows as i32,
                unused: 0,
            }
        };
        (0..maps)
            .map(|map| lessons.iter().map(|lesson| entry(map, *lesson)).collect())
            .collect()
    }
}

/// All lessons of a recipe want the same.
fn wanted(lesson: &ReferenceBank) -> Wanted {
    let words = lesson.text.as_ref().map(|words| WantedWords {
        temperature: words.temperature,
        map: words.map,
        scales: words.scales.clone(),
        image: words.image,
    });
    Wanted {
        words,
        maps: lesson.galleries.iter().map(|(map, _)| *map).collect(),
        windows: lesson.window_mean,
    }
}

impl Encoder for CudaEncoder {
    fn backend(&self) -> &str {
        &self.backend
    }

    fn device(&self) -> &str {
        &self.device.name
    }

    fn encode(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError> {
        self.device.bind()?;
        let started = Instant::now();
        let mut features = Vec::with_capacity(looks.len());
        for some in looks.chunks(self.networks.facts().looks_max) {
            features.extend(self.encode_some(some)?);
        }
        self.took = EncodeTimes {
            trunk: started.elapsed(),
            ..EncodeTimes::default()
        };
        Ok(features)
    }

    /// All of it stands under the trunk: on the device the stages are one graph.
    fn times(&self) -> &EncodeTimes {
        &self.took
    }

    fn device_scorer(&mut self) -> Option<&mut dyn DeviceScorer> {
        Some(self)
    }
}

impl DeviceScorer for CudaEncoder {
    fn set_references(&mut self, lessons: &[ReferenceBank]) -> Result<(), EngineError> {
        self.device.bind()?;
        let mut taught = Taught::new(&self.device, self.sizes.precision, lessons)?;
        match self.taught.is_alike(&taught) {
            true => taught.prototypes = self.taught.prototypes.take(), // the runs name its address
            false => self.runs.clear(),
        }
        self.taught = taught;
        self.runs.iter_mut().for_each(Run::forget);
        Ok(())
    }

    fn score(&mut self, shots: &[CropRequest]) -> Result<Vec<PartialScores>, EngineError> {
        self.device.bind()?;
        let started = Instant::now();
        let mut pieces = Vec::with_capacity(shots.len());
        for some in shots.chunks(self.networks.facts().looks_max) {
            pieces.extend(self.judge_some(some)?.1);
        }
        self.took = EncodeTimes {
            trunk: started.elapsed(),
            ..EncodeTimes::default()
        };
        Ok(pieces)
    }

    fn time_stages(
        &mut self,
        shots: &[CropRequest],
        runs: usize,
    ) -> Result<StageTimings, EngineError> {
        self.device.bind()?;
        self.judge_some(&shots[..shots.len().min(self.networks.facts().looks_max)])?;
        self.runs[0].stages(&self.device, &self.kernels, runs)
    }

    fn score_in_detail(
        &mut self,
        shot: &CropRequest,
    ) -> Result<(PartialScores, Pixels, Features), EngineError> {
        self.device.bind()?;
        let device = self.device.clone();
        let (run, mut pieces) = self.judge_some(std::slice::from_ref(shot))?;
        let (pixels, features) = run.details(&device, 0)?;
        Ok((pieces.swap_remove(0), pixels, features))
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
