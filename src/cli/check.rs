//! `winspect check line.toml`: would this line run, and what should be mended before it does? Everything is tried: the
//! configuration, the model with its references, every camera, the broker. One line each on standard output; ends with 0,
//! or with the code of the first fault: 65 and 78 as `winspect run` would, 69 for a camera or a broker that `run` would
//! wait for.

use super::run::configuration;
use super::terminal::{print, say};
use crate::base::backoff::Backoff;
use crate::base::exit::{Exit, Failure, chain};
use crate::base::stop::stop_pair;
use crate::camera::auto_features::Automatics;
use crate::camera::{self, CameraError, CameraStatus, Sink};
use crate::config::{CameraConfig, LineConfig};
use crate::data::frame::{CapturedBy, Frame};
use crate::data::picture::Area;
use crate::model::ModelFolder;
use crate::mqtt::probe;
use crate::recipe::active::ActiveRecipe;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::quality::Gate;
use crate::recipe::spec::Threshold;
use crate::recipe::threshold;
use crate::recipe::threshold::of_region;
use crate::winclip::pixels::area;
use crate::winclip::{Inspector, Recipe, Region};
use clap::Args;
use crossbeam::channel::{Sender, bounded};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The line's configuration
    line: PathBuf,
    /// Seconds that a camera may take to show frames
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Frames of a camera that are enough to know it.
const FRAMES: usize = 20;

pub fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    let config = configuration(&arguments.line)?;
    let mut told = Told::default();
    told.well(format!(
        "configuration: {} camera(s), recipe {}",
        config.cameras.len(),
        config.recipe.name
    ))?;
    let eye = inspector(&config, &mut told)?;
    let probes = probe_all(&config.cameras, Duration::from_secs(arguments.seconds));
    for (camera, probe) in config.cameras.iter().zip(probes) {
        told.camera(camera, &probe, eye.as_ref())?;
    }
    let broker = format!("broker {}:{}", config.mqtt.host, config.mqtt.port);
    match probe::probe(
        &config.mqtt,
        &format!("{}/{}", config.prefix, config.station),
    ) {
        Ok(words) => told.well(format!("{broker}: {words}"))?,
        Err(why) => told.fault(Exit::Unavailable, format!("{broker}: {why}"))?,
    }
    told.end()
}

/// Model, references and threshold; what was wrong is told, and then there is nothing to look with.
fn inspector(config: &LineConfig, told: &mut Told) -> Result<Option<Eye>, Failure> {
    let model = match ModelFolder::open(&config.model) {
        Ok(model) => model,
        Err(error) => {
            told.fault(
                Exit::Config,
                format!("model {}: {}", config.model.display(), chain(&error)),
            )?;
            return Ok(None);
        }
    };
    say("opening the model and learning the references");
    let preparer = RecipePreparer {
        model,
        engines: config.engines.clone(),
        batch: config.batch,
    };
    let prepared = preparer.prepare(&config.recipe, PrepareMode::Startup);
    let model = &preparer.model;
    let ActiveRecipe {
        mut inspector,
        gate,
        references: files,
        ..
    } = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            told.fault(
                failure.exit,
                format!("model {}: {}", model.label(), failure.message),
            )?;
            return Ok(None);
        }
    };
    let (backend, references) = (inspector.backend(), inspector.reference_count());
    told.well(format!(
        "model: {}, {backend}, {references} references",
        model.label()
    ))?;
    thresholds(&config.recipe.thresholds, &mut inspector, &files, told)?;
    let recipe = config.recipe.winclip.clone();
    let side = recipe.input_px.unwrap_or(model.spec.side);
    Ok(Some(Eye {
        gate,
        recipe,
        side,
        patch: model.spec.patch,
    }))
}

fn thresholds(
    asked: &[Threshold],
    inspector: &mut Inspector,
    files: &[PathBuf],
    told: &mut Told,
) -> Result<(), Failure> {
    let thresholds = threshold::thresholds(asked, inspector, files)
        .map_err(|error| Failure::new(Exit::Software, error))?;
    for (region, threshold) in inspector.regions().into_iter().zip(thresholds) {
        let of_region = of_region(region.as_deref());
        match threshold {
            Ok(threshold) => told.well(format!("threshold: {threshold:.4}{of_region}"))?,
            Err(why) => told.warn(format!(
                "threshold: {why}; until then every part is undecided(not_ready){of_region}"
            ))?,
        }
    }
    Ok(())
}

/// What one camera showed.
#[derive(Default)]
struct Probe {
    frames: Vec<Frame>,
    /// Nothing where it has none by its nature: a file, a test picture.
    automatics: Option<Automatics>,
    lost: Option<(Exit, String)>,
    /// Dropped when it is known well enough.
    looking: Option<Sender<()>>,
}

impl Sink for Probe {
    fn frame(&mut self, frame: Frame) {
        self.frames.push(frame);
        if self.frames.len() >= FRAMES {
            self.looking = None;
        }
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn automatics(&mut self, read: &mut dyn FnMut() -> Automatics) {
        self.automatics = Some(read());
    }

    fn status(&mut self, status: CameraStatus) {
        if let Some(reason) = status.last_reason {
            self.lost = Some((Exit::Unavailable, reason));
            self.looking = None;
        }
    }
}

/// All cameras at the same time, each until it is known, gone, or the time is over.
fn probe_all(cameras: &[CameraConfig], patience: Duration) -> Vec<Probe> {
    say(format!(
        "looking at the cameras for at most {} s",
        patience.as_secs()
    ));
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

fn probe_camera(config: &CameraConfig, patience: Duration) -> Probe {
    let (stopper, stop) = stop_pair();
    let (looking, known) = bounded(0);
    std::thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let mut probe = Probe {
                looking: Some(looking),
                ..Probe::default()
            };
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
        let _ = known.recv_timeout(patience); // its end is as good as the time's
        drop(stopper);
        watching.join().unwrap_or_default()
    })
}

/// What was said so far, and the worst of it.
#[derive(Default)]
struct Told {
    faults: usize,
    warnings: usize,
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

    fn camera(
        &mut self,
        config: &CameraConfig,
        probe: &Probe,
        eye: Option<&Eye>,
    ) -> Result<(), Failure> {
        let camera = format!("camera {}", config.camera.name);
        let Some(last) = probe.frames.last() else {
            return match &probe.lost {
                Some((exit, why)) => self.fault(*exit, format!("{camera}: {why}")),
                None if config.camera.triggered => self.warn(format!(
                    "{camera}: it waits for a trigger; trigger a part while this looks"
                )),
                None => self.fault(
                    Exit::Unavailable,
                    format!("{camera}: it runs and shows no frame"),
                ),
            };
        };
        self.well(format!("{camera}: {}", seen(&probe.frames)))?;
        if let Some((_, why)) = &probe.lost {
            self.warn(format!("{camera}: lost while looking: {why}"))?;
        }
        match &probe.automatics {
            None => {}
            Some(Automatics::Unreadable) => {
                self.well(format!(
                    "{camera}: cannot be asked whether exposure, gain and white balance are fixed; see to it"
                ))?;
            }
            Some(Automatics::On(on)) if on.is_empty() => {}
            Some(Automatics::On(on)) => self.warn(format!(
                "{camera}: it sets its {} by itself, and every score follows; fix it (docs/cameras.md)",
                on.join(", ")
            ))?,
        }
        let Some(eye) = eye else { return Ok(()) };
        let (width, height) = (last.picture.width(), last.picture.height());
        let beyond = |region: &&Region| {
            region
                .crop
                .is_some_and(|crop| !crop.is_inside(width, height))
        };
        let beyond: Vec<&Region> = eye.recipe.regions.iter().filter(beyond).collect();
        for region in &beyond {
            let key = region
                .name
                .as_ref()
                .map_or("recipe.crop".to_owned(), |name| {
                    format!("the crop of region {name},")
                });
            let crop = region.crop.unwrap_or(Area::whole(width, height));
            let words = format!(
                "{camera}: {key} {crop} is beyond its picture of {width} x {height} pixels"
            );
            self.fault(Exit::Config, words)?;
        }
        if !beyond.is_empty() {
            return Ok(());
        }
        if probe.frames.iter().any(|frame| frame.corrupt) {
            self.warn(format!(
                "{camera}: some of its pictures came incomplete; see docs/bad-image.md"
            ))?;
        }
        if let Some(flaw) = eye.gate.flaw(&last.picture) {
            self.warn(format!(
                "{camera}: its picture would not be judged: {flaw}; see docs/bad-image.md"
            ))?;
        }
        for region in &eye.recipe.regions {
            let of_region = of_region(region.name.as_deref());
            self.well(format!(
                "{camera}{of_region}: {}",
                eye.sight(region, width, height, config.mm_per_pixel)
            ))?;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
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

/// Size, rate, clock and decoding, as measured.
fn seen(frames: &[Frame]) -> String {
    let (first, last) = (&frames[0], &frames[frames.len() - 1]);
    let seconds = last.arrived.duration_since(first.arrived).as_secs_f64();
    let rate = match frames.len() {
        1 => "1 frame".to_owned(),
        n => format!("{:.1} frames/s", (n - 1) as f64 / seconds.max(1e-3)),
    };
    let clock = match last.captured_by {
        CapturedBy::Sender => "its own clock",
        CapturedBy::Arrival | CapturedBy::Trigger => "times of arrival",
    };
    let decode = last
        .decode
        .map(|d| format!(", decoding {:.1} ms", d.as_secs_f64() * 1e3))
        .unwrap_or_default();
    format!(
        "{} x {}, {rate}, {clock}{decode}",
        last.picture.width(),
        last.picture.height()
    )
}

/// How a recipe looks at a picture.
struct Eye {
    gate: Gate,
    recipe: Recipe,
    /// Input side and patch side, in the encoder's pixels.
    side: usize,
    patch: usize,
}

/// The narrowest defect that is seen, as a share of a cell of the map: see docs/measurements.md, "The smallest defect".
const SEEN: f64 = 0.5;

impl Eye {
    /// What of a region of a camera's picture of this size is too small to be seen.
    fn sight(
        &self,
        region: &Region,
        width: usize,
        height: usize,
        mm_per_pixel: Option<f64>,
    ) -> String {
        let seen = area(region.crop, self.recipe.fit, width, height);
        let cell = |pixels: usize| (pixels * self.patch) as f64 / self.side as f64;
        let tile = |length: usize| {
            self.recipe
                .tile_px
                .map_or(length, |side| side.min(seen.w).min(seen.h))
        };
        let (w, h) = (cell(tile(seen.w)), cell(tile(seen.h)));
        let (least_w, least_h) = ((SEEN * w).ceil(), (SEEN * h).ceil());
        let mm = mm_per_pixel.map(|mm| {
            format!(
                " ({} x {} mm)",
                rounded(least_w * mm),
                rounded(least_h * mm)
            )
        });
        format!(
            "a cell of the map is {w:.0} x {h:.0} of its pixels; the smallest defect it can see is about {least_w} x {least_h} of its pixels{}",
            mm.unwrap_or_default()
        )
    }
}

/// Two digits that mean something.
fn rounded(mm: f64) -> String {
    let digits = (1.0 - mm.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{mm:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::winclip::Fit;

    #[test]
    fn what_can_be_seen_is_told_in_the_cameras_pixels_and_in_mm() {
        let gate = Gate::new(crate::recipe::quality::Limits::default(), &[]);
        let eye = |fit, tile_px| Eye {
            gate: gate.clone(),
            recipe: Recipe {
                fit,
                tile_px,
                ..Recipe::new(None)
            },
            side: 224,
            patch: 14,
        };
        let whole = Region::default();
        let seen = |eye: Eye, mm| eye.sight(&whole, 1920, 1080, mm);
        assert!(seen(eye(Fit::Squash, None), None).contains("120 x 68 of its pixels"));
        assert!(seen(eye(Fit::Crop, None), None).contains("68 x 68 of its pixels"));
        let words = seen(eye(Fit::Squash, Some(448)), Some(0.05));
        assert!(
            words.contains("28 x 28 of its pixels")
                && words.ends_with("about 14 x 14 of its pixels (0.70 x 0.70 mm)")
        );
        let part = Region {
            crop: Some(Area {
                x: 5,
                y: 5,
                w: 320,
                h: 160,
            }),
            ..Region::default()
        };
        assert!(
            eye(Fit::Squash, None)
                .sight(&part, 1920, 1080, None)
                .ends_with("about 10 x 5 of its pixels")
        );
    }
}
