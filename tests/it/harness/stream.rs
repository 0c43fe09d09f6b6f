//! Coded streams for tests: recorded from an encoder, damaged, and shown to a camera.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use std::path::Path;
use winspect::base::backoff::Backoff;
use winspect::base::problems::Problems;
use winspect::base::stop::stop_pair;
use winspect::camera::{self, CameraSettings, CameraStatus, Sink, pipelines};
use winspect::data::frame::Frame;

/// Access units of one stream, in the order of decoding.
#[derive(Clone)]
pub struct Coded {
    codec: String,
    caps: gst::Caps,
    pub units: Vec<Unit>,
}

/// One access unit with its start codes.
#[derive(Clone)]
pub struct Unit {
    pub bytes: Vec<u8>,
    pts: Option<gst::ClockTime>,
    dts: Option<gst::ClockTime>,
}

impl Unit {
    /// The NAL units, each with its start code.
    fn nals(&self) -> Vec<Vec<u8>> {
        let mut begins = vec![];
        for at in 0..self.bytes.len().saturating_sub(3) {
            if self.bytes[at..at + 3] == [0, 0, 1] {
                begins.push(at);
            }
        }

        begins.push(self.bytes.len());
        begins
            .windows(2)
            .map(|ends| self.bytes[ends[0]..ends[1]].to_vec())
            .collect()
    }

    /// Keeps the slices (of H.264) that `keep` says, and everything else while there is a slice.
    pub fn retain_slices(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut slices = 0;
        let mut kept = 0;
        let mut bytes = vec![];
        for nal in self.nals() {
            if matches!(nal[3] & 31, 1 | 5) {
                slices += 1;
                if !keep(slices - 1) {
                    continue;
                }

                kept += 1;
            }

            bytes.push(0);
            bytes.extend(nal);
        }

        self.bytes = if kept > 0 { bytes } else { vec![] };
    }
}

/// What a camera gave of a stream.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pictures: usize,
    /// Pictures that differ from the encoder's.
    pub damaged: usize,
    /// Damaged pictures that were handed on as whole.
    pub missed: usize,
    /// Pictures that were handed on as corrupt.
    pub flagged: usize,
    /// Pictures as the encoder sent them, handed on as whole.
    pub whole: usize,
    /// Pictures of the stream's last key frame and after it that were handed on as corrupt.
    pub causes: Vec<String>,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.pictures += other.pictures;
        self.damaged += other.damaged;
        self.missed += other.missed;
        self.flagged += other.flagged;
        self.whole += other.whole;
    }
}

/// Two seconds of a moving picture through an encoder.
pub fn recorded(encoder: &str, codec: &str) -> Coded {
    gst::init().expect("GStreamer is installed");
    let launch = format!(
        "videotestsrc pattern=smpte75 num-buffers=60 horizontal-speed=3 ! video/x-raw,width=320,height=240,framerate=30/1 \
         ! {encoder} ! {codec}parse config-interval=-1 ! video/x-{codec},stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
    );

    let pipeline = gst::parse::launch(&launch)
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let sink = pipeline
        .by_name("out")
        .expect("named")
        .downcast::<AppSink>()
        .expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let mut units = vec![];
    let mut caps = gst::Caps::new_empty();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().expect("a buffer");
        caps = sample.caps().expect("caps").to_owned();
        units.push(Unit {
            bytes: buffer.map_readable().expect("readable").to_vec(),
            pts: buffer.pts(),
            dts: buffer.dts(),
        });
    }

    pipeline.set_state(gst::State::Null).expect("stops");
    Coded {
        codec: codec.to_owned(),
        caps,
        units,
    }
}

/// Writes the stream with its times as a file of GStreamer's own protocol.
fn write(stream: &Coded, file: &Path) {
    let launch = format!(
        "appsrc name=in format=time ! gdppay ! filesink location={}",
        file.display()
    );
    let pipeline = gst::parse::launch(&launch)
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let source = pipeline
        .by_name("in")
        .expect("named")
        .downcast::<AppSrc>()
        .expect("an appsrc");
    source.set_caps(Some(&stream.caps));
    source.set_max_bytes(1 << 30);
    for unit in &stream.units {
        let mut buffer = gst::Buffer::from_slice(unit.bytes.clone());
        let change = buffer.get_mut().expect("its only owner");
        change.set_pts(unit.pts);
        change.set_dts(unit.dts);
        source.push_buffer(buffer).expect("taken");
    }

    source.end_of_stream().expect("taken");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let bus = pipeline.bus().expect("a pipeline has one");
    let ended = bus.timed_pop_filtered(
        gst::ClockTime::from_seconds(20),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(
        ended.expect("it ends").view(),
        gst::MessageView::Eos(_)
    ));
    pipeline.set_state(gst::State::Null).expect("stops");
}

#[derive(Default)]
struct Frames(Vec<Frame>);

impl Sink for Frames {
    fn frame(&mut self, frame: Frame) {
        self.0.push(frame);
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn status(&mut self, _: CameraStatus) {}
}

/// The frames of a camera that plays the stream through a payloader, as an RTSP camera's comes.
fn played(stream: &Coded) -> Vec<Frame> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("stream.gdp");
    write(stream, &file);
    let codec = &stream.codec;
    let kind = folder.path().join("own.toml");
    let launch = format!(
        "filesrc location={} ! gdpdepay ! rtp{codec}pay ! rtp{codec}depay ! {codec}parse ! avdec_{codec} name=decoder max-threads=1 ! videoconvert",
        file.display()
    );

    std::fs::write(
        &kind,
        format!("live = false\nendless = false\nlaunch = {launch:?}\n"),
    )
    .expect("written");
    let mut settings = CameraSettings {
        name: "top".into(),
        kind: kind.display().to_string(),
        values: [].into(),
        stall: std::time::Duration::from_secs(5),
        triggered: false,
        delay: std::time::Duration::ZERO,
        credentials: None,
    };

    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("/"), "camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let (_stopper, stop) = stop_pair();
    let backoff = Backoff::new(
        std::time::Duration::from_millis(20),
        std::time::Duration::from_millis(200),
    );
    let mut frames = Frames::default();
    let mut source = camera::open(&settings).expect("opens");
    let _ = camera::supervise(source.as_mut(), "top", &stop, backoff, &mut frames);
    frames.0
}

/// Shows a stream to a camera and compares its pictures with those of the whole stream. A picture
/// that was shown before stands for none: a decoder that conceals shows the last one again.
pub fn shown(stream: &Coded, whole: &Coded) -> Outcome {
    let expected = played(whole);
    let mut next = 0;
    let mut outcome = Outcome::default();
    for frame in played(stream) {
        let found = expected[next..]
            .iter()
            .position(|one| one.picture.rgb() == frame.picture.rgb());
        outcome.pictures += 1;
        outcome.flagged += usize::from(frame.damage.is_some());
        match found {
            Some(at) => {
                next += at + 1;
                outcome.whole += usize::from(frame.damage.is_none());
            }
            None => {
                outcome.damaged += 1;
                outcome.missed += usize::from(frame.damage.is_none());
                if frame.damage.is_none() {
                    let ordinal = outcome.pictures - 1;
                    let near = expected[next..]
                        .iter()
                        .take(25)
                        .map(|one| far(one.picture.rgb(), frame.picture.rgb()))
                        .min_by(f64::total_cmp);
                    outcome
                        .causes
                        .push(format!("MISSED {ordinal} next {next} {near:?}"));
                }
            }
        }

        if let Some(cause) = frame.damage {
            outcome.causes.push(cause.to_string());
        }
    }

    outcome.causes.dedup();
    outcome
}

fn far(a: &[u8], b: &[u8]) -> f64 {
    let far = a
        .chunks(3)
        .zip(b.chunks(3))
        .filter(|(a, b)| {
            a.iter()
                .zip(*b)
                .map(|(a, b)| i32::from(a.abs_diff(*b)))
                .sum::<i32>()
                > 120
        })
        .count();
    far as f64 * 3.0 / a.len() as f64
}
