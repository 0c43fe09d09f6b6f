//! `winspect bench cameras`: many cameras at once, through decode, resize and hand-over, with nothing to encode. The
//! table is for people, on standard error; the JSON line on standard output is for those who keep figures.
//!
//! Method: so many cameras of the kind `test`, each on its own thread as in a line, hand over through the intake; one
//! thread takes each picture and makes the encoder's pixels of it, where a line would encode next. Each stage's figure
//! is processor time of its thread (not time on the wall) over the frames that it had; what is left of the process' own
//! is GStreamer's threads, which draw the test picture here and would decode a camera's stream elsewhere.

use super::memory;
use crate::base::backoff::Backoff;
use crate::base::cpu;
use crate::base::exit::{Exit, Failure};
use crate::base::problems::Problems;
use crate::base::stop::stop_pair;
use crate::base::systemd::Heartbeat;
use crate::camera::{self, CameraError, CameraSettings, CameraStatus, Sink, Source, pipelines};
use crate::cli::terminal::print;
use crate::data::counters::{Outcome, Tally, TallyCount};
use crate::data::frame::Frame;
use crate::data::queued_frame::QueuedFrame;
use crate::line::queue::{FrameReceiver, FrameSender, Overflow, frame_queue};
use crate::model::{Family, ModelSpec};
use crate::winclip::{Fit, pixels::PixelMaker};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The command line of `winspect bench cameras`.
#[derive(Debug, Args)]
pub struct CamerasArguments {
    /// Number of cameras
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    cameras: u16,
    /// Frames a second of each camera
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=240))]
    fps: u16,
    /// Seconds that each camera sends frames
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Width of each picture in pixels
    #[arg(long, default_value_t = 1280, value_parser = clap::value_parser!(u16).range(16..=8192))]
    width: u16,
    /// Height of each picture in pixels
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u16).range(16..=8192))]
    height: u16,
    /// Format that the cameras send, as GStreamer names it: NV12, I420, YUY2, RGB ...
    #[arg(long, default_value = "NV12")]
    format: String,
    /// Input side of the encoder in pixels
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(16..=2048))]
    input_px: u16,
}

/// Measures and tells.
///
/// # Errors
/// A format that GStreamer has not, or a camera that cannot be opened.
pub fn run(arguments: &CamerasArguments) -> Result<(), Failure> {
    // Settings are read, and GStreamer is started, before the clock starts. Each pipeline is built
    // by its camera's own thread.
    let feeds = feeds(arguments)?;
    let tallies: Vec<Arc<Tally>> = feeds.iter().map(|feed| feed.tally.clone()).collect();
    let overflows = vec![Overflow::DropOldest; feeds.len()];
    let (intake, places) = frame_queue(&overflows);

    // The process's processor time counts every thread, GStreamer's among them; what winspect's
    // used is subtracted later.
    let started = Instant::now();
    let process_before = cpu::of_process();
    let side = usize::from(arguments.input_px);

    // The inspector makes the pixels that an encoder would get, `[3, S, S]`, and stops there.
    let maker = PixelMaker::new(None, Fit::Squash, (side, side), &spec(side));
    let inspector = thread::spawn(move || inspect(&intake, maker));

    // Each camera has a thread, as in a line, which ends with its source, after its last frame.
    let mut threads = vec![];
    for (feed, place) in feeds.into_iter().zip(places) {
        threads.push(feed.start(place));
    }

    let mut cameras = CameraTook::default();
    for thread in threads {
        let took = thread.join();
        let took = took.expect("a camera's thread does not panic");
        cameras.add(&took.map_err(unfit)?);
    }

    // The inspector ends when all senders of frames are gone.
    let inspected = inspector.join().expect("no stage panics");
    let measured = CamerasMeasured {
        wall: started.elapsed(),
        process: cpu::of_process() - process_before,
        cameras,
        inspected,
        counts: tallies.iter().map(|tally| tally.count()).collect(),
    };

    measured.tell(arguments)
}

/// Opens the cameras.
fn feeds(arguments: &CamerasArguments) -> Result<Vec<Feed>, Failure> {
    // Names differ, since they name the threads.
    let mut feeds = vec![];
    for number in 0..arguments.cameras {
        let name = format!("camera-{number}");
        let settings = settings(arguments, &name)?;
        let source = camera::open(&settings).map_err(unfit)?;
        feeds.push(Feed {
            name: settings.name,
            source,
            tally: Arc::default(),
        });
    }

    Ok(feeds)
}

fn unfit(error: CameraError) -> Failure {
    Failure::new(Exit::Unavailable, error)
}

fn settings(arguments: &CamerasArguments, name: &str) -> Result<CameraSettings, Failure> {
    // The source ends by itself after so many frames, whether or not they are pulled in time.
    let frames = u32::from(arguments.fps) * u32::from(arguments.seconds);
    let values = [
        ("width", arguments.width.to_string()),
        ("height", arguments.height.to_string()),
        ("format", arguments.format.clone()),
        ("fps", arguments.fps.to_string()),
        ("frames", frames.to_string()),
        ("pattern", "smpte".to_owned()), // the one that is drawn fastest of those with colours
    ];

    // The settings take the way of a line's file, so that wrong values are refused in the same
    // words.
    let mut settings = CameraSettings {
        name: name.into(),
        kind: "test".to_owned(),
        values: values.map(|(key, value)| (key.to_owned(), value)).into(),
        stall: Duration::from_secs(5),
        triggered: false,
        keeps_frames: false,
        needs_times: false,
        delay: Duration::ZERO,
        credentials: None,
    };

    // No path is among the values: the folder does not matter.
    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("."), "camera", &mut problems);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Failure::words(Exit::Usage, problems.to_string()))
    }
}

/// The model as far as pixels need it: DINOv2's mean and standard deviation.
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
        registers: 0,
        antialias: false,
        default_block: None,
    }
}

/// A camera before its thread is started.
struct Feed {
    name: Arc<str>,
    source: Box<dyn Source>,
    tally: Arc<Tally>,
}

impl Feed {
    /// Starts the camera's thread, named after it; it ends with the source.
    fn start(mut self, place: FrameSender) -> JoinHandle<Result<CameraTook, CameraError>> {
        // Each camera has a tally of its own, as in a line.
        let mut hand_over = HandOver {
            place,
            tally: self.tally,
            took: Duration::ZERO,
        };

        thread::Builder::new()
            .name(self.name.to_string())
            .spawn(move || {
                // The stopper lives as long as the thread: nothing but its source ends a camera
                // here.
                let (_stopper, stop) = stop_pair();
                let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
                let source = self.source.as_mut();
                camera::supervise(source, &self.name, &stop, backoff, &mut hand_over)?;
                Ok(CameraTook {
                    all: cpu::of_thread(),
                    put: hand_over.took,
                })
            })
            .expect("a thread can be started")
    }
}

/// A camera's way to the inspector, with the processor time that the hand-over takes.
struct HandOver {
    place: FrameSender,
    tally: Arc<Tally>,
    took: Duration,
}

impl Sink for HandOver {
    fn frame(&mut self, frame: Frame) {
        // Processor time is read on the thread itself: waiting for the lock does not count.
        let before = cpu::of_thread();

        // A newer frame replaces the one that waits, whose ticket is settled as replaced.
        let waiting = QueuedFrame {
            frame,
            ticket: Some(self.tally.captured()),
            parts: vec![],
        };

        let _ = self.place.put(waiting); // an inspector that has left has settled it
        self.took += cpu::of_thread() - before;
    }

    fn is_ready(&self) -> bool {
        !self.place.is_waiting()
    }

    fn status(&mut self, _: CameraStatus) {}
}

/// Processor time of cameras' threads: all of it, and the hand-over's share.
#[derive(Default)]
struct CameraTook {
    all: Duration,
    put: Duration,
}

impl CameraTook {
    fn add(&mut self, other: &CameraTook) {
        self.all += other.all;
        self.put += other.put;
    }
}

/// The inspector's thread: processor time, and each frame's time on the wall from its arrival until it has pixels.
#[derive(Default)]
struct Inspected {
    all: Duration,
    pixels: Duration,
    latencies: Vec<Duration>,
}

fn inspect(intake: &FrameReceiver, mut maker: PixelMaker) -> Inspected {
    // Pictures are taken one by one: a batch would only hide the time of the hand-over.
    let mut inspected = Inspected::default();
    let pulse = Heartbeat::default();
    loop {
        let batch = intake.take(1, &pulse, &mut || ());

        // An empty batch is the end of all cameras.
        if batch.is_empty() {
            inspected.all = cpu::of_thread();
            return inspected;
        }

        for QueuedFrame { frame, ticket, .. } in batch {
            // There are two clocks: processor time for the stage, time on the wall from arrival for
            // the latency.
            let before = cpu::of_thread();
            let pixels = maker.make(&frame.picture);
            inspected.pixels += cpu::of_thread() - before;
            inspected.latencies.push(frame.arrived.elapsed());

            // The compiler must not leave out work of which nothing is used.
            std::hint::black_box(pixels).expect("a whole picture has pixels");
            if let Some(ticket) = ticket {
                ticket.settle(Outcome::Judged);
            }
        }
    }
}

/// Figures of the process, and of the threads that winspect starts in it.
struct CamerasMeasured {
    wall: Duration,
    process: Duration,
    cameras: CameraTook,
    inspected: Inspected,
    counts: Vec<TallyCount>,
}

impl CamerasMeasured {
    fn sum(&self, count: fn(&TallyCount) -> u64) -> u64 {
        self.counts.iter().map(count).sum()
    }

    /// Processor milliseconds a frame of each stage.
    fn stages(&self) -> [(&'static str, f64); 5] {
        // Camera stages are divided by the frames that were captured, the inspector's by those that
        // it judged.
        let captured = self.sum(|count| count.captured);
        let judged = self.sum(|count| count.judged);

        // Processor time of the camera's threads holds the hand-over, which is told apart.
        let watched = self.cameras.all;
        let put = self.cameras.put;
        let inspected = &self.inspected;

        // What the process used beyond winspect's threads is GStreamer's. The main thread only
        // waits.
        let ours = watched + inspected.all;
        let gstreamer = self.process.saturating_sub(ours);
        let take = inspected.all - inspected.pixels;
        [
            ("gstreamer", ms_a_frame(gstreamer, captured)),
            ("camera", ms_a_frame(watched - put, captured)),
            ("put", ms_a_frame(put, captured)),
            ("take", ms_a_frame(take, judged)),
            ("pixels", ms_a_frame(inspected.pixels, judged)),
        ]
    }

    fn tell(&self, arguments: &CamerasArguments) -> Result<(), Failure> {
        // All counts come from the tallies; what was sent is known from the arguments.
        let seconds = u64::from(arguments.seconds);
        let sent = u64::from(arguments.cameras) * u64::from(arguments.fps) * seconds;
        let captured = self.sum(|count| count.captured);
        let judged = self.sum(|count| count.judged);
        let replaced = self.sum(|count| count.replaced);
        // A camera that is not pulled in time keeps its newest frame only.
        let missed = sent.saturating_sub(captured);

        // The share is of the whole machine: 100 % means that all cores are busy.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = self.process.as_secs_f64() / self.wall.as_secs_f64() / cores as f64;
        let latency = self.inspected.latency();
        let peak_mb = memory::peak_mb();

        // The table is for people; the JSON line below has the same figures without rounding.
        self.tell_stages(arguments, cores);
        eprintln!(
            "sent {sent}, captured {captured}, judged {judged}, replaced {replaced}, missed {missed}; arrival to pixels p50 {:.1} ms, p99 {:.1} ms",
            latency.p50_ms, latency.p99_ms
        );

        eprintln!(
            "{:.1} % of the machine, at most {peak_mb:.0} MB",
            100.0 * share
        );

        // `balanced` is the check of the tallies: each frame has exactly one outcome.
        let line = json!({
            "cameras": arguments.cameras,
            "fps": arguments.fps,
            "width": arguments.width,
            "height": arguments.height,
            "format": arguments.format,
            "input_px": arguments.input_px,
            "seconds": self.wall.as_secs_f64(),
            "cores": cores,
            "cpu_ms": BTreeMap::from(self.stages()),
            "sent": sent,
            "captured": captured,
            "judged": judged,
            "replaced": replaced,
            "missed": missed,
            "balanced": self.counts.iter().all(TallyCount::balances),
            "latency_p50_ms": latency.p50_ms,
            "latency_p99_ms": latency.p99_ms,
            "cpu_share": share,
            "rss_peak_mb": peak_mb,
        });

        print(line)?;
        Ok(())
    }

    fn tell_stages(&self, arguments: &CamerasArguments, cores: usize) {
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
        for (name, ms) in self.stages() {
            eprintln!("{name:<10} {ms:>12.3}");
        }
    }
}

/// Milliseconds that half, and all but one in a hundred, of the frames took at most; NaN of none.
struct LatencyQuantiles {
    p50_ms: f64,
    p99_ms: f64,
}

impl Inspected {
    fn latency(&self) -> LatencyQuantiles {
        // A percentile is one of the measured latencies, without interpolation, and is read from
        // the sorted list.
        let mut sorted = self.latencies.clone();
        sorted.sort();
        LatencyQuantiles {
            p50_ms: percentile_ms(&sorted, 50),
            p99_ms: percentile_ms(&sorted, 99),
        }
    }
}

fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let Some(last) = sorted.last() else {
        return f64::NAN;
    };

    // The place may be one past the end for 100 %, which means the last.
    let at = sorted.len() * percent / 100;
    let latency = sorted.get(at).unwrap_or(last);
    latency.as_secs_f64() * 1e3
}

fn ms_a_frame(took: Duration, frames: u64) -> f64 {
    took.as_secs_f64() * 1e3 / frames.max(1) as f64
}
