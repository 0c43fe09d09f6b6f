//! `winspect bench cameras`: many cameras at once, through decode, resize and hand-over, with nothing to encode. The
//! table is for people, on standard error; the JSON line on standard output is for those who keep figures.
//!
//! Method: so many cameras of the kind `test`, each on its own thread as in a line, hand over through the intake; one
//! thread takes each picture and makes the encoder's pixels of it, where a line would encode next. Each stage's figure
//! is processor time of its thread (not time on the wall) over the frames that it had; what is left of the process' own
//! is GStreamer's threads, which draw the test picture here and would decode a camera's stream elsewhere.

use crate::base::backoff::Backoff;
use crate::base::cpu;
use crate::base::exit::{Exit, Failure};
use crate::base::problems::Problems;
use crate::base::stop::stop_pair;
use crate::base::systemd::Heartbeat;
use crate::camera::{self, CameraError, CameraSettings, CameraStatus, Sink, Source, pipelines};
use crate::cli::bench::status_mb;
use crate::cli::terminal::print;
use crate::data::counters::{Outcome, Tally, TallyCount};
use crate::data::frame::Frame;
use crate::line::queue::{FrameReceiver, FrameSender, QueuedFrame, intake};
use crate::model::{Family, ModelSpec};
use crate::trigger::Overflow;
use crate::winclip::{Fit, pixels::PixelMaker};
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub struct CamerasArguments {
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    cameras: u16,
    /// Frames a second of each camera
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=240))]
    fps: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Pixels
    #[arg(long, default_value_t = 1280, value_parser = clap::value_parser!(u16).range(16..=8192))]
    width: u16,
    /// Pixels
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u16).range(16..=8192))]
    height: u16,
    /// What the cameras send, as GStreamer names it: NV12, I420, YUY2, RGB ...
    #[arg(long, default_value = "NV12")]
    format: String,
    /// The encoder's input side in pixels
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(16..=2048))]
    input_px: u16,
}

pub fn run(arguments: &CamerasArguments) -> Result<(), Failure> {
    let names = (0..arguments.cameras).map(|number| format!("camera-{number}"));
    let settings: Vec<CameraSettings> = names
        .map(|name| settings(arguments, &name))
        .collect::<Result<_, _>>()?;
    let sources: Vec<Box<dyn Source>> = settings
        .iter()
        .map(camera::open)
        .collect::<Result<_, _>>()
        .map_err(unfit)?;
    let tallies: Vec<Arc<Tally>> = settings.iter().map(|_| Arc::default()).collect();
    let (intake, places) = intake(&vec![Overflow::NewestWins; sources.len()]);
    let (started, before) = (Instant::now(), cpu::of_process());
    let maker = PixelMaker::new(
        None,
        Fit::Squash,
        arguments.input_px.into(),
        &spec(arguments.input_px.into()),
    );
    let inspector = thread::spawn(move || inspect(&intake, maker));
    let ends = sources
        .into_iter()
        .zip(settings)
        .zip(places.into_iter().zip(tallies.clone()));
    let cameras: Vec<_> = ends
        .map(|((source, settings), (place, tally))| {
            let name = settings.name;
            thread::Builder::new()
                .name(name.to_string())
                .spawn(move || {
                    watch(
                        source,
                        &name,
                        Door {
                            place,
                            tally,
                            put: Duration::ZERO,
                        },
                    )
                })
                .expect("a thread can be started")
        })
        .collect();
    let joined: Result<Vec<CameraTook>, CameraError> = cameras
        .into_iter()
        .map(|camera| camera.join().expect("a camera's thread does not panic"))
        .collect();
    let inspected = inspector.join().expect("no stage panics");
    let spent = Spent {
        wall: started.elapsed(),
        process: cpu::of_process() - before,
    };
    tell(
        arguments,
        &joined.map_err(unfit)?,
        &inspected,
        &tallies.iter().map(|t| t.count()).collect::<Vec<_>>(),
        spent,
    )
}

fn unfit(error: CameraError) -> Failure {
    Failure::new(Exit::Unavailable, error)
}

fn settings(arguments: &CamerasArguments, name: &str) -> Result<CameraSettings, Failure> {
    let frames = u32::from(arguments.fps) * u32::from(arguments.seconds);
    let values = [
        ("width", arguments.width.to_string()),
        ("height", arguments.height.to_string()),
        ("format", arguments.format.clone()),
        ("fps", arguments.fps.to_string()),
        ("frames", frames.to_string()),
        ("pattern", "smpte".to_owned()), // the one that is drawn fastest of those with colours
    ];
    let mut settings = CameraSettings {
        name: name.into(),
        kind: "test".to_owned(),
        values: values.map(|(key, value)| (key.to_owned(), value)).into(),
        stall: Duration::from_secs(5),
        triggered: false,
        delay: Duration::ZERO,
    };
    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("."), "camera", &mut problems);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Failure::words(Exit::Usage, problems.to_string()))
    }
}

/// What pixels need to know of a model: DINOv2's mean and standard deviation.
fn spec(side: usize) -> ModelSpec {
    ModelSpec {
        family: Family::Dinov2,
        side,
        patch: 14,
        width: 384,
        blocks: 12,
        heads: 6,
        mlp: 1536,
        embed: 384,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        text: None,
    }
}

/// A camera's way to the inspector, with the time that the hand-over takes.
struct Door {
    place: FrameSender,
    tally: Arc<Tally>,
    put: Duration,
}

impl Sink for Door {
    fn frame(&mut self, frame: Frame) {
        let before = cpu::of_thread();
        let waiting = QueuedFrame {
            frame,
            ticket: Some(self.tally.captured()),
            parts: vec![],
        };
        let _ = self.place.put(waiting); // an inspector that has left has settled it
        self.put += cpu::of_thread() - before;
    }

    fn is_ready(&self) -> bool {
        !self.place.is_waiting()
    }

    fn status(&mut self, _: CameraStatus) {}
}

/// Processor time of a camera's thread.
struct CameraTook {
    all: Duration,
    put: Duration,
}

fn watch(
    mut source: Box<dyn Source>,
    name: &str,
    mut door: Door,
) -> Result<CameraTook, CameraError> {
    let (_stopper, stop) = stop_pair();
    let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    camera::watch(source.as_mut(), name, &stop, backoff, &mut door)?;
    Ok(CameraTook {
        all: cpu::of_thread(),
        put: door.put,
    })
}

/// The inspector's thread: processor time, and each frame's time on the wall from its arrival until it has pixels.
#[derive(Default)]
struct Inspected {
    all: Duration,
    pixels: Duration,
    latencies: Vec<Duration>,
}

fn inspect(intake: &FrameReceiver, mut maker: PixelMaker) -> Inspected {
    let (mut inspected, pulse) = (Inspected::default(), Heartbeat::default());
    loop {
        let batch = intake.take(1, &pulse, &mut || ());
        if batch.is_empty() {
            inspected.all = cpu::of_thread();
            return inspected;
        }
        for QueuedFrame { frame, ticket, .. } in batch {
            let before = cpu::of_thread();
            let pixels = maker.make(&frame.picture);
            inspected.pixels += cpu::of_thread() - before;
            inspected.latencies.push(frame.arrived.elapsed());
            std::hint::black_box(pixels).expect("a whole picture has pixels");
            ticket
                .into_iter()
                .for_each(|ticket| ticket.settle(Outcome::Judged));
        }
    }
}

struct Spent {
    wall: Duration,
    process: Duration,
}

fn tell(
    arguments: &CamerasArguments,
    cameras: &[CameraTook],
    inspected: &Inspected,
    counts: &[TallyCount],
    spent: Spent,
) -> Result<(), Failure> {
    let sum = |count: fn(&TallyCount) -> u64| counts.iter().map(count).sum::<u64>();
    let sent =
        u64::from(arguments.cameras) * u64::from(arguments.fps) * u64::from(arguments.seconds);
    let (captured, judged, replaced) =
        (sum(|c| c.captured), sum(|c| c.judged), sum(|c| c.replaced));
    // A camera that is not pulled in time keeps its newest frame only.
    let missed = sent.saturating_sub(captured);
    let (watched, put): (Duration, Duration) = (
        cameras.iter().map(|camera| camera.all).sum(),
        cameras.iter().map(|camera| camera.put).sum(),
    );
    let each = |took: Duration, frames: u64| took.as_secs_f64() * 1e3 / frames.max(1) as f64;
    let stages = [
        (
            "gstreamer",
            each(
                spent.process.saturating_sub(watched + inspected.all),
                captured,
            ),
        ),
        ("camera", each(watched - put, captured)),
        ("put", each(put, captured)),
        ("take", each(inspected.all - inspected.pixels, judged)),
        ("pixels", each(inspected.pixels, judged)),
    ];
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = spent.process.as_secs_f64() / spent.wall.as_secs_f64() / cores as f64;
    let mut latencies = inspected.latencies.clone();
    latencies.sort();
    let latency = |share: usize| {
        latencies.get((latencies.len() * share / 100).min(latencies.len().saturating_sub(1)))
    };
    let latency = |share| latency(share).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3);
    let balanced = counts.iter().all(TallyCount::balances);
    let peak = status_mb("VmHWM:");
    eprintln!(
        "{} cameras, {} frames/s of {} x {} {} each, {} s, {cores} cores",
        arguments.cameras,
        arguments.fps,
        arguments.width,
        arguments.height,
        arguments.format,
        arguments.seconds
    );
    eprintln!("{:<10} {:>12}", "stage", "CPU ms/frame");
    stages
        .iter()
        .for_each(|(name, ms)| eprintln!("{name:<10} {ms:>12.3}"));
    eprintln!(
        "sent {sent}, captured {captured}, judged {judged}, replaced {replaced}, missed {missed}; arrival to pixels p50 {:.1} ms, p99 {:.1} ms",
        latency(50),
        latency(99)
    );
    eprintln!(
        "{:.1} % of the machine, at most {peak:.0} MB",
        100.0 * share
    );
    let line = json!({
        "cameras": arguments.cameras, "fps": arguments.fps, "width": arguments.width, "height": arguments.height,
        "format": arguments.format, "input_px": arguments.input_px, "seconds": spent.wall.as_secs_f64(), "cores": cores,
        "cpu_ms": stages.iter().map(|(name, ms)| ((*name).to_owned(), json!(ms))).collect::<serde_json::Map<_, _>>(),
        "sent": sent, "captured": captured, "judged": judged, "replaced": replaced, "missed": missed, "balanced": balanced,
        "latency_p50_ms": latency(50), "latency_p99_ms": latency(99), "cpu_share": share, "rss_peak_mb": peak,
    });
    print(line.to_string()).map(|_| ())
}
