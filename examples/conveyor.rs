//! Pictures played as an RTSP camera, H.264 or H.265, in place of a production line. A tool for the demo
//! and the tests.
//!
//! The belt starts with the first viewer and moves on by the clock, with viewers or without; all viewers
//! see the same belt. Every frame is stamped with the planned moment of its place on the belt, in the
//! realtime clock that the RTCP sender reports carry. The schedule file (one JSON line a picture,
//! appended) says from when until when a picture's frames are stamped; its bounds lie half a frame
//! before the first and half a frame after the last stamp, so a receiver's `captured_at` finds its
//! picture as long as the clocks agree within half a frame.
//!
//! All pictures are held in memory, scaled: 0.75 MB each at 512 x 512.

use clap::Parser;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;
use jiff::{SignedDuration, Timestamp};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use winspect::image::file as image_file;
use winspect::image::resize::{Taps, resize_columns, resize_rows};

/// Plays pictures as an RTSP camera. Prints the URL on standard output when it listens; SIGTERM ends it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Pictures and folders of pictures, in the order of the belt
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    frames_per_picture: u32,
    /// Width and height of the stream; the pictures are squashed to it
    #[arg(long, default_value = "512x512", value_parser = size)]
    size: (u32, u32),
    /// How the pictures are coded
    #[arg(long, value_enum, default_value_t)]
    codec: Codec,
    /// 0 takes a free one
    #[arg(long, default_value_t = 8554)]
    port: u16,
    #[arg(long, default_value = "/line")]
    path: String,
    /// Start again after the last picture; otherwise the stream ends with it
    #[arg(long = "loop")]
    again: bool,
    /// Milliseconds by which the camera's own clock is ahead of this machine's; the schedule is told by
    /// this machine's clock
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    clock_off_ms: i64,
    /// Where to append which picture was stamped from when until when
    #[arg(long)]
    schedule: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Codec {
    #[default]
    H264,
    H265,
}

impl Codec {
    /// Encoder and payloader: a key frame a second, nearly lossless. H.264 names its profile, because
    /// the encoder takes the lowest one (without CABAC) where the server names none.
    fn launch(self, fps: u32) -> String {
        match self {
            Codec::H264 => format!(
                "x264enc tune=zerolatency speed-preset=veryfast pass=quant quantizer=18 key-int-max={fps} \
                 ! video/x-h264,profile=high ! rtph264pay name=pay0 pt=96 config-interval=1"
            ),
            Codec::H265 => format!(
                "x265enc tune=zerolatency speed-preset=ultrafast qp=18 key-int-max={fps} log-level=error \
                 ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=1"
            ),
        }
    }
}

/// Reads WIDTHxHEIGHT. The sides must be even: both codecs in their common profiles have half as many
/// colour pixels.
fn size(text: &str) -> Result<(u32, u32), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .ok_or_else(|| format!("WIDTHxHEIGHT, both even and from 16 to 4096, got {text:?}"))
}

fn side(text: &str) -> Option<u32> {
    let side: u32 = text.parse().ok()?;
    ((16..=4096).contains(&side) && side.is_multiple_of(2)).then_some(side)
}

/// Source element of the running stream, which takes the belt's frames. `None` before the first viewer.
type StreamSource = Arc<Mutex<Option<AppSrc>>>;

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conveyor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    let expanded = image_file::expand(&arguments.pictures);
    if let Some(problem) = expanded.problems.into_iter().next() {
        return Err(problem.into());
    }

    let mut belt = Belt {
        pictures: expanded
            .files
            .into_iter()
            .map(|file| read(file, arguments.size))
            .collect::<Result<_, _>>()?,
        frame_time: Duration::from_secs(1) / arguments.fps,
        frames_per_picture: arguments.frames_per_picture,
        again: arguments.again,
        schedule: arguments
            .schedule
            .as_deref()
            .map(|f| File::options().append(true).create(true).open(f))
            .transpose()?,
    };

    let stream = StreamSource::default();
    let (first_viewer, started) = crossbeam::channel::bounded(1);
    let server = rtsp::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&arguments.port.to_string());
    let factory = factory(arguments, stream.clone(), first_viewer);
    server
        .mount_points()
        .ok_or("the server has no mount points")?
        .add_factory(&arguments.path, factory);

    let _listening = server.attach(None)?;
    println!("rtsp://127.0.0.1:{}{}", server.bound_port(), arguments.path);
    std::io::stdout().flush()?;

    let main_loop = glib::MainLoop::new(None, false);
    let quitting = main_loop.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                quitting.quit();
            }
        })?;

    let ended = main_loop.clone();
    std::thread::Builder::new()
        .name("belt".to_owned())
        .spawn(move || {
            if started.recv().is_ok()
                && let Err(error) = belt.run(&stream)
            {
                eprintln!("conveyor: the schedule cannot be written: {error}");
            }

            ended.quit();
        })?;

    main_loop.run();
    Ok(())
}

fn factory(
    arguments: &Arguments,
    stream: StreamSource,
    first_viewer: crossbeam::channel::Sender<()>,
) -> rtsp::RTSPMediaFactory {
    let (width, height) = arguments.size;
    let fps = arguments.fps;
    let coded = arguments.codec.launch(fps);
    let factory = rtsp::RTSPMediaFactory::new();
    factory.set_launch(&format!(
        "( appsrc name=belt is-live=true format=time \
           caps=video/x-raw,format=RGB,width={width},height={height},framerate={fps}/1 \
         ! videoconvert ! video/x-raw,format=I420 \
         ! {coded} )"
    ));

    factory.set_shared(true);
    let clock = (arguments.clock_off_ms != 0).then(|| camera_clock(arguments.clock_off_ms));
    factory.set_clock(clock.as_ref());
    let has_own_clock = clock.is_some();
    factory.connect_media_configure(move |_, media| {
        stamp_by_capture(media, has_own_clock);
        let element = media.element();
        let belt = element
            .downcast_ref::<gst::Bin>()
            .and_then(|bin| bin.by_name("belt"));

        *stream.lock().unwrap_or_else(PoisonError::into_inner) =
            belt.and_then(|b| b.downcast::<AppSrc>().ok());

        let _ = first_viewer.try_send(()); // full: the belt runs already
    });

    factory
}

/// A clock that is so far ahead of this machine's, as seconds since 1900: sender reports tell it as it is.
fn camera_clock(off_ms: i64) -> gst::SystemClock {
    const SECONDS_1900_TO_1970: i64 = 2_208_988_800;
    let clock: gst::SystemClock = glib::Object::builder()
        .property("clock-type", gst::ClockType::Realtime)
        .build();

    let off = SECONDS_1900_TO_1970 * 1000 + off_ms;
    let off = gst::ClockTime::from_mseconds(off.unsigned_abs());
    clock.set_calibration(gst::ClockTime::ZERO, off, 1, 1);
    clock
}

/// Makes sender reports tell the time of a frame's own time stamp, not that of its sending, which is some
/// milliseconds later.
fn stamp_by_capture(media: &rtsp::RTSPMedia, has_own_clock: bool) {
    let Some(pipeline) = media
        .element()
        .parent()
        .and_then(|parent| parent.downcast::<gst::Bin>().ok())
    else {
        return;
    };

    pipeline.connect_deep_element_added(move |_, _, element| {
        if element
            .factory()
            .is_some_and(|factory| factory.name() == "rtpbin")
        {
            element.set_property("rtcp-sync-send-time", false);
            if has_own_clock {
                element.set_property_from_str("ntp-time-source", "clock-time");
            }
        }
    });
}

/// A picture in memory, scaled, and its file.
type Loaded = (gst::Buffer, PathBuf);

fn read(file: PathBuf, (width, height): (u32, u32)) -> Result<Loaded, Box<dyn std::error::Error>> {
    let picture = image_file::read(&file)?;
    let row_bytes = 3 * width as usize;
    let mut narrowed = Vec::new();
    resize_rows(
        picture.rgb(),
        &Taps::new(picture.width(), width as usize),
        &mut narrowed,
    );

    let mut fitted = Vec::new();
    resize_columns(
        &narrowed,
        row_bytes,
        &Taps::new(picture.height(), height as usize),
        &mut fitted,
    );

    Ok((gst::Buffer::from_slice(padded(&fitted, row_bytes)), file))
}

/// The rows, each filled up to a multiple of 4 bytes, as GStreamer's RGB has them.
fn padded(rgb: &[u8], row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rgb.len() / row_bytes * row_bytes.next_multiple_of(4));
    for row in rgb.chunks_exact(row_bytes) {
        out.extend_from_slice(row);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    out
}

/// The pictures on their way, and the state of their play.
struct Belt {
    pictures: Vec<Loaded>,
    frame_time: Duration,
    frames_per_picture: u32,
    again: bool,
    schedule: Option<File>,
}

impl Belt {
    /// Pushes frame after frame at its planned moment.
    fn run(&mut self, stream: &StreamSource) -> std::io::Result<()> {
        let mut planned = Instant::now();
        loop {
            for index in 0..self.pictures.len() {
                self.tell(index, planned)?;
                for _ in 0..self.frames_per_picture {
                    std::thread::sleep(planned.saturating_duration_since(Instant::now()));
                    self.push(stream, index, planned);
                    planned += self.frame_time;
                }
            }

            if !self.again {
                return Ok(());
            }
        }
    }

    /// Pushes a frame, stamped with the planned moment. A viewer that is gone or not ready yet misses
    /// it. (Not ready: an element that does not play yet may have the clock but no base time, and its
    /// running time is then the machine's uptime.)
    fn push(&self, stream: &StreamSource, index: usize, planned: Instant) {
        let source = stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();

        let Some(source) = source else {
            return;
        };

        if source.current_state() != gst::State::Playing {
            return;
        }

        let Some((running, read)) = running_time(&source) else {
            return;
        };

        let late = read.saturating_duration_since(planned);
        let late = gst::ClockTime::from_nseconds(late.as_nanos() as u64);
        let mut buffer = self.pictures[index].0.clone();
        let stamped = buffer.make_mut();
        stamped.set_pts(running.saturating_sub(late));
        stamped.set_duration(gst::ClockTime::from_nseconds(
            self.frame_time.as_nanos() as u64
        ));

        let _ = source.push_buffer(buffer); // refused when the last viewer has just gone
    }

    /// Appends a picture to the schedule.
    fn tell(&mut self, index: usize, planned: Instant) -> std::io::Result<()> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(());
        };

        let half = self.frame_time / 2;
        let ahead = planned.saturating_duration_since(Instant::now());
        let behind = planned.elapsed();
        let first = Timestamp::now() + signed(ahead) - signed(behind);
        let from = first - signed(half);
        let until = from + signed(self.frame_time * self.frames_per_picture);
        let picture = self.pictures[index].1.display().to_string();
        let line = serde_json::json!({
            "picture": picture,
            "from": from.to_string(),
            "until": until.to_string(),
        });

        writeln!(schedule, "{line}")
    }
}

/// Running time of an element, and our moment at which it was read. `None` while it has none.
fn running_time(element: &AppSrc) -> Option<(gst::ClockTime, Instant)> {
    const NEAR: Duration = Duration::from_micros(200);
    // On a busy machine some milliseconds may lie between the readings of two clocks, and a stamp
    // would be off by them: the nearest of a few pairs counts.
    let mut nearest: Option<(Duration, gst::ClockTime, Instant)> = None;
    for _ in 0..5 {
        let before = Instant::now();
        let running = element.current_running_time()?;
        let apart = before.elapsed();
        if nearest.is_none_or(|(least, ..)| apart < least) {
            nearest = Some((apart, running, before));
        }

        if apart < NEAR {
            break;
        }
    }

    nearest.map(|(_, running, read)| (running, read))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::from_nanos(duration.as_nanos() as i64)
}
