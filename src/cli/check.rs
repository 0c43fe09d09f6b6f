//! `winspect check line.toml`: would this line run, and what should be mended before it does? Everything is tried: the
//! configuration, the model with its references, every camera, the page's port, the broker. One line each on standard output; ends with 0,
//! or with the code of the first fault: 65 and 78 as `winspect run` would, 69 for a camera or a broker that `run` would
//! wait for.

use super::camera_times::{Finding, judge_clock, judge_rate};
use super::run::configuration;
use super::sight::Sight;
use super::terminal::{print, say};
use crate::base::backoff::Backoff;
use crate::base::exit::{Exit, Failure, chain};
use crate::base::stop::stop_pair;
use crate::camera::auto_features::Automatics;
use crate::camera::{self, CameraError, CameraStatus, Sink};
use crate::cli::probe_topics;
use crate::config::{CameraConfig, LineConfig};
use crate::data::frame::{CapturedBy, Frame};
use crate::data::picture::Picture;
use crate::model::ModelFolder;
use crate::mqtt::probe;
use crate::page;
use crate::recipe::active::ActiveRecipe;
use crate::recipe::locate::located;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::recipe::threshold::of_region;
use crate::trigger::Trigger;
use crate::winclip::Fit;
use clap::Args;
use crossbeam::channel::{Sender, bounded};
use jiff::SignedDuration;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `winspect check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The line's configuration
    line: PathBuf,
    /// Seconds that a camera may take to show frames
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Number of frames of a camera that are enough to know it.
const FRAMES: usize = 20;

/// Tries all that the line needs, and tells each.
///
/// # Errors
/// When the configuration is wrong, or after all was told: the code of the first fault.
pub fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    // A configuration with problems ends the check: what follows would try the wrong things.
    let config = configuration(&arguments.line)?;
    let mut told = Told::default();
    told.well(format!(
        "configuration: {} camera(s), recipe {}",
        config.cameras.len(),
        config.recipe.name
    ))?;

    for words in &config.warnings {
        told.warn(words)?;
    }

    // The model comes first and alone: it takes all cores, and cameras would seem slow beside it.
    let sight = sight_of(&config, &mut told)?;

    // Cameras are looked at together, as they will run: two that share a network or a USB hub
    // disturb each other here as they would there.
    let probes = probe_all(&config.cameras, Duration::from_secs(arguments.seconds));

    for (camera, probe) in config.cameras.iter().zip(probes) {
        told.camera(camera, &probe, sight.as_ref())?;
    }

    // The port is bound for a moment, as `run` would: a line of this file that runs has it.
    if let Some(settings) = &config.page {
        match page::bind(settings) {
            Ok(_) => told.well(format!("page {}: the port is free", settings.listen))?,
            Err(failure) => told.fault(failure.exit, failure)?,
        }
    }

    // The broker comes last, with the line's own settings and topics.
    let broker = format!("broker {}:{}", config.mqtt.host, config.mqtt.port);

    match probe::probe(&config.mqtt, &probe_topics::of(&config)) {
        Ok(words) => told.well(format!("{broker}: {words}"))?,
        Err(why) => told.fault(Exit::Unavailable, format!("{broker}: {why}"))?,
    }

    told.end()
}

/// Prepares the recipe. What was wrong is told, and then there is nothing to look with: `None`.
fn sight_of(config: &LineConfig, told: &mut Told) -> Result<Option<Sight>, Failure> {
    // A folder that is no model is the file's fault (78): `run` would not start either.
    let model = match ModelFolder::open(&config.model) {
        Ok(model) => model,
        Err(error) => {
            let folder = config.model.display();
            told.fault(Exit::Config, format!("model {folder}: {}", chain(&error)))?;
            return Ok(None);
        }
    };

    // The preparation is the one that `run` does, quality gate and self-test included, so that both
    // refuse the same.
    say("opening the model and learning the references");
    let preparer = RecipePreparer {
        model,
        engines: config.engines.clone(),
        batch: config.batch,
    };

    let model = &preparer.model;

    // The failure carries its own exit code: 65 for a picture, 69 for a library, 78 for a key.
    let label = model.label();
    let mut active = match preparer.prepare(&config.recipe, PrepareMode::Startup) {
        Ok(active) => active,
        Err(failure) => {
            let words = format!("model {label}: {}", failure.message);
            told.fault(failure.exit, words)?;
            return Ok(None);
        }
    };

    told.well(format!(
        "model: {label}, {}, {} references",
        active.inspector.backend(),
        active.inspector.reference_count()
    ))?;

    // Regions share the gate and the input side, so that one `Sight` serves all of them.
    tell_thresholds(&config.recipe, &mut active, told)?;
    Ok(Some(Sight {
        gate: active.gate,
        grid: active.grid,
        is_final: active.is_taught || config.recipe.winclip.fit != Fit::Keep,
        recipe: located(config.recipe.winclip.clone(), config.recipe.locate.as_ref())?,
    }))
}

fn tell_thresholds(
    spec: &RecipeSpec,
    active: &mut ActiveRecipe,
    told: &mut Told,
) -> Result<(), Failure> {
    // An automatic threshold is computed as `run` computes it, from the references against each
    // other.
    let thresholds = active.thresholds(spec)?;

    for (region, threshold) in active.inspector.regions().into_iter().zip(thresholds) {
        let of_region = of_region(region.as_deref());

        match threshold {
            Ok(threshold) => told.well(format!("threshold: {threshold}{of_region}"))?,
            Err(why) => told.warn(format!(
                "threshold: {why}; until then every part is undecided(not_ready){of_region}"
            ))?,
        }
    }

    Ok(())
}

/// The frames of one camera, and all that was found while it ran.
#[derive(Default)]
struct CameraProbe {
    /// The first frames, at most [`FRAMES`].
    frames: Vec<Frame>,
    /// True for a kind of camera that tells its clock.
    tells_clock: bool,
    /// Distance of its clock from ours, as it was told last.
    clock_offset: Option<SignedDuration>,
    /// Settings that the camera changes by itself; `None` for a file or a test picture.
    automatics: Option<Automatics>,
    /// Damage of its pictures that no check finds, in words.
    blind_spot: Option<&'static str>,
    /// Exit code and reason of a camera that cannot work, or was lost.
    lost: Option<(Exit, String)>,
    /// Dropped when the camera is known well enough.
    looking: Option<Sender<()>>,
}

impl Sink for CameraProbe {
    fn frame(&mut self, frame: Frame) {
        self.clock_offset = frame.clock_offset.or(self.clock_offset);

        // Twenty frames give a rate and show whether some come incomplete. An RTSP camera tells its
        // clock some seconds after its first frame; its pictures are not kept so long, since each
        // takes megabytes.
        if self.frames.len() < FRAMES {
            self.frames.push(frame);
        }

        let is_clock_known = self.clock_offset.is_some() || !self.tells_clock;
        if self.frames.len() == FRAMES && is_clock_known {
            self.looking = None;
        }
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn automatics(&mut self, read: &mut dyn FnMut() -> Automatics) {
        self.automatics = Some(read());
    }

    fn blind_spot(&mut self, words: Option<&'static str>) {
        self.blind_spot = words;
    }

    fn status(&mut self, status: CameraStatus) {
        // The reason is kept even if frames came before: a camera that is lost at once is worth a
        // warning.
        if let Some(reason) = status.last_reason {
            self.lost = Some((Exit::Unavailable, reason));
            self.looking = None;
        }
    }
}

/// Runs all cameras at the same time, each until it is known or gone, or the time is over.
fn probe_all(cameras: &[CameraConfig], patience: Duration) -> Vec<CameraProbe> {
    say(format!(
        "looking at the cameras for at most {} s",
        patience.as_secs()
    ));

    // A probe that panics counts as one without frames; the others are still told.
    std::thread::scope(|scope| {
        let probes: Vec<_> = cameras
            .iter()
            .map(|camera| scope.spawn(move || probe_camera(camera, patience)))
            .collect();

        probes
            .into_iter()
            .map(|probe| probe.join().unwrap_or_default())
            .collect()
    })
}

fn probe_camera(config: &CameraConfig, patience: Duration) -> CameraProbe {
    // Two ends meet here: the probe drops `looking` when it knows enough, and the stopper ends the
    // source when the time is over.
    let (stopper, stop) = stop_pair();
    let (looking, known) = bounded(0);
    std::thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let mut probe = CameraProbe {
                looking: Some(looking),
                tells_clock: camera::tells_clock(&config.camera),
                ..CameraProbe::default()
            };

            // The camera runs under the same supervisor as in a line. One try is all: the backoff
            // is as long as the patience.
            let watched = camera::open(&config.camera).and_then(|mut source| {
                let once = Backoff::new(patience, patience);
                camera::supervise(
                    source.as_mut(),
                    &config.camera.name,
                    &stop,
                    once,
                    &mut probe,
                )
            });

            // A pipeline that cannot be built is the file's fault; everything else is the camera's.
            if let Err(error) = watched {
                let exit = if matches!(error, CameraError::Pipeline(_)) {
                    Exit::Config
                } else {
                    Exit::Unavailable
                };

                probe.lost = Some((exit, error.to_string()));
            }

            probe.looking = None;
            probe
        });

        // The stopper is dropped after the wait, so that a camera that shows nothing ends too.
        let _ = known.recv_timeout(patience); // its end is as good as the time's
        drop(stopper);
        watching.join().unwrap_or_default()
    })
}

/// Counts of the faults and warnings that were told so far.
#[derive(Default)]
struct Told {
    faults: usize,
    warnings: usize,
    /// Code of the first fault.
    exit: Option<Exit>,
}

impl Told {
    fn well(&self, words: impl Display) -> Result<(), Failure> {
        print(format_args!("ok    {words}")).map(drop)
    }

    fn warn(&mut self, words: impl Display) -> Result<(), Failure> {
        self.warnings += 1;

        print(format_args!("warn  {words}")).map(drop)
    }

    fn fault(&mut self, exit: Exit, words: impl Display) -> Result<(), Failure> {
        self.faults += 1;
        self.exit = self.exit.or(Some(exit));

        print(format_args!("FAIL  {words}")).map(drop)
    }

    /// Tells all about one camera; `sight` is `None` where the recipe could not be prepared.
    fn camera(
        &mut self,
        config: &CameraConfig,
        probe: &CameraProbe,
        sight: Option<&Sight>,
    ) -> Result<(), Failure> {
        // No frame at all is told apart: it has other causes than a bad picture.
        let camera = format!("camera {}", config.camera.name);
        let Some(last) = probe.frames.last() else {
            return self.no_frame(&camera, config, probe);
        };

        self.well(format!("{camera}: {}", seen(&probe.frames)))?;
        if let Some((_, why)) = &probe.lost {
            self.warn(format!("{camera}: lost while looking: {why}"))?;
        }

        if let Some(words) = probe.blind_spot {
            self.warn(format!("{camera}: {words}"))?;
        }

        let rate = judge_rate(config, &probe.frames);
        let clock = judge_clock(probe.clock_offset, probe.tells_clock);

        for finding in rate.into_iter().chain(clock) {
            match finding {
                Finding::Note(words) => self.well(format!("{camera}: {words}"))?,
                Finding::Warning(words) => self.warn(format!("{camera}: {words}"))?,
            }
        }

        let width = last.picture.width();
        let height = last.picture.height();
        self.presence_beyond(&camera, &config.trigger, width, height)?;
        self.automatics(&camera, probe.automatics.as_ref())?;

        // What follows looks at the last picture, which needs a recipe.
        let Some(sight) = sight else { return Ok(()) };

        // A crop beyond the picture ends the look: nothing of the region could be judged.
        if self.crops_beyond(&camera, sight, width, height)? {
            return Ok(());
        }

        // Damage and flaws are warnings: the light may be off while the line is set up.
        if probe.frames.iter().any(|frame| frame.damage.is_some()) {
            self.warn(format!(
                "{camera}: some of its pictures came incomplete; see docs/bad-image.md"
            ))?;
        }

        if let Some(flaw) = sight.gate.flaw(&last.picture) {
            self.warn(format!(
                "{camera}: its picture would not be judged: {flaw}; see docs/bad-image.md"
            ))?;
        }

        self.part(&camera, sight, &last.picture)?;

        // The cells follow from the references' size.
        if !sight.is_final {
            return Ok(());
        }

        if !sight.recipe.keeps_aspect(width, height, sight.grid) {
            self.warn(format!(
                "{camera}: its pictures do not keep their aspect on {} cells, those of the first reference: give references of its size, or a crop",
                sight.grid
            ))?;
        }

        // One line a region tells the smallest defect, in the camera's pixels and in millimetres
        // where a pixel's size is known.
        for region in &sight.recipe.regions {
            let of_region = of_region(region.name.as_deref());
            let least = sight.least(region, width, height, config.terms.mm_per_pixel);
            self.well(format!("{camera}{of_region}: {least}"))?;
        }

        Ok(())
    }

    fn no_frame(
        &mut self,
        camera: &str,
        config: &CameraConfig,
        probe: &CameraProbe,
    ) -> Result<(), Failure> {
        // The camera's own reason says more than the absence of frames.
        if let Some((exit, why)) = &probe.lost {
            return self.fault(*exit, format!("{camera}: {why}"));
        }

        // A camera with a hardware trigger is silent by design.
        if config.camera.triggered {
            return self.warn(format!(
                "{camera}: it waits for a trigger; trigger a part while this looks"
            ));
        }

        let words = format!("{camera}: it runs and shows no frame");
        self.fault(Exit::Unavailable, words)
    }

    fn automatics(&mut self, camera: &str, found: Option<&Automatics>) -> Result<(), Failure> {
        // Automatic exposure moves every score, so that it is told even though the line could run.
        match found {
            Some(Automatics::Unreadable) => self.well(format!(
                "{camera}: cannot be asked whether exposure, gain and white balance are fixed; see to it"
            )),
            Some(Automatics::On(on)) if !on.is_empty() => self.warn(format!(
                "{camera}: it sets its {} by itself, and every score follows; fix it (docs/cameras.md)",
                on.join(", ")
            )),
            Some(Automatics::On(_)) | None => Ok(()),
        }
    }

    /// Tells an area of a `presence` trigger that is beyond a picture of this size.
    fn presence_beyond(
        &mut self,
        camera: &str,
        trigger: &Trigger,
        width: usize,
        height: usize,
    ) -> Result<(), Failure> {
        let Trigger::Presence(settings) = trigger else {
            return Ok(());
        };

        match settings.area_in(width, height) {
            Ok(_) => Ok(()),
            Err(words) => self.fault(
                Exit::Config,
                format!("{camera}: {words}; no part would come"),
            ),
        }
    }

    /// Tells where the part is in a picture, where the recipe locates it.
    fn part(&mut self, camera: &str, sight: &Sight, picture: &Picture) -> Result<(), Failure> {
        match sight.recipe.find_part(picture) {
            Ok(None) => Ok(()),
            Ok(Some(pose)) => self.well(format!(
                "{camera}: the part is found at {:.0}, {:.0}, turned by {:.1} degrees, with a likeness of {:.2}",
                pose.x, pose.y, pose.turn_deg, pose.likeness
            )),
            // The belt may be empty while the line is set up.
            Err(error) => self.warn(format!(
                "{camera}: its picture would not be judged: {error}; see docs/locate.md"
            )),
        }
    }

    /// Tells the crops that are beyond a picture of this size; true when there is one.
    fn crops_beyond(
        &mut self,
        camera: &str,
        sight: &Sight,
        width: usize,
        height: usize,
    ) -> Result<bool, Failure> {
        // All regions are looked at: a person moves them in one go.
        let mut is_beyond = false;

        for region in &sight.recipe.regions {
            // A region without a crop covers the whole picture, whatever its size.
            let Some(crop) = region.crop.filter(|crop| !crop.is_inside(width, height)) else {
                continue;
            };

            is_beyond = true;
            let key = match &region.name {
                None => "recipe.crop".to_owned(),
                Some(name) => format!("the crop of region {name},"),
            };

            let words = format!(
                "{camera}: {key} {crop} is beyond its picture of {width} x {height} pixels"
            );

            self.fault(Exit::Config, words)?;
        }

        Ok(is_beyond)
    }

    fn end(self) -> Result<(), Failure> {
        // The first fault gives the code, as `run` would have met it first.
        match self.exit {
            None => {
                say(format!("this line can run ({} warnings)", self.warnings));

                Ok(())
            }

            Some(exit) => Err(Failure::words(
                exit,
                format!(
                    "this line cannot run: {} faults, {} warnings; see above",
                    self.faults, self.warnings
                ),
            )),
        }
    }
}

/// Returns size, rate, clock and decoding time, as measured.
fn seen(frames: &[Frame]) -> String {
    // The rate counts intervals, one fewer than frames, and is measured by arrival: cameras' own
    // clocks may differ from this machine's.
    let first = &frames[0];
    let last = &frames[frames.len() - 1];
    let seconds = last.arrived.duration_since(first.arrived).as_secs_f64();
    let rate = match frames.len() {
        1 => "1 frame".to_owned(),
        n => format!("{:.1} frames/s", (n - 1) as f64 / seconds.max(1e-3)),
    };

    // Arrival times include the network's delay; a person who triggers by time has to know.
    let clock = match last.captured_by {
        CapturedBy::Sender => "its own intervals",
        CapturedBy::Arrival | CapturedBy::Trigger => "times of arrival",
    };

    let decode = match last.decode {
        Some(took) => format!(", decoding {:.1} ms", took.as_secs_f64() * 1e3),
        None => String::new(),
    };

    let width = last.picture.width();
    let height = last.picture.height();

    format!("{width} x {height}, {rate}, {clock}{decode}")
}
