//! Coded streams for tests: recorded from an encoder, damaged, and shown to a camera.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use std::path::Path;
use std::time::Duration;
use winspect::base::backoff::Backoff;
use winspect::base::problems::Problems;
use winspect::base::stop::stop_pair;
use winspect::camera::{self, CameraSettings, CameraStatus, Sink, pipelines};
use winspect::data::frame::Frame;

/// The way of a stream from its file to a camera's sink.
#[derive(Clone, Copy)]
pub enum Route {
    /// Through a payloader and a depayloader, as an RTSP camera's.
    Rtp(&'static str),
    /// NAL units behind lengths, as in MP4 and Matroska files.
    Lengths(&'static str),
    /// JPEG that winspect decodes.
    Jpeg,
    /// JPEG that GStreamer decodes.
    JpegDecoder,
}

impl Route {
    /// Elements between the file and the sink.
    fn elements(self) -> String {
        match self {
            Route::Rtp(codec) => format!(
                "rtp{codec}pay ! rtp{codec}depay ! {codec}parse \
                 ! avdec_{codec} name=decoder max-threads=1 ! videoconvert"
            ),
            Route::Lengths("h264") => {
                "h264parse ! video/x-h264,stream-format=avc ! avdec_h264 ! videoconvert".to_owned()
            }
            Route::Lengths(_) => {
                "h265parse ! video/x-h265,stream-format=hvc1 ! avdec_h265 ! videoconvert".to_owned()
            }
            Route::Jpeg => "identity".to_owned(),
            Route::JpegDecoder => "jpegdec ! videoconvert".to_owned(),
        }
    }
}

/// Units of one stream, in the order of decoding.
#[derive(Clone)]
pub struct Coded {
    caps: gst::Caps,
    pub units: Vec<Unit>,
}

/// One access unit with its start codes, or one JPEG.
#[derive(Clone)]
pub struct Unit {
    pub bytes: Vec<u8>,
    pts: Option<gst::ClockTime>,
    dts: Option<gst::ClockTime>,
}

impl Unit {
    /// The NAL units, each with its start code of three bytes.
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

    /// Keeps the slices that `keep` says, and everything else while there is a slice.
    pub fn retain_slices(&mut self, is_h264: bool, mut keep: impl FnMut() -> bool) {
        let mut has_slices = false;
        let mut bytes = vec![];
        for nal in self.nals() {
            let is_slice = is_slice_header(nal[3], is_h264);

            if is_slice && !keep() {
                continue;
            }

            has_slices |= is_slice;
            bytes.push(0);
            bytes.extend(nal);
        }

        self.bytes = if has_slices { bytes } else { vec![] };
    }

    /// Byte from which on a unit holds slices.
    pub fn slices_begin(&self, is_h264: bool) -> usize {
        let is_slice = |at: &usize| {
            let bytes = &self.bytes[*at..*at + 4];
            bytes[..3] == [0, 0, 1] && is_slice_header(bytes[3], is_h264)
        };

        let last = self.bytes.len().saturating_sub(4);
        (0..last).find(is_slice).unwrap_or(last)
    }
}

fn is_slice_header(byte: u8, is_h264: bool) -> bool {
    match is_h264 {
        true => matches!(byte & 31, 1 | 5),
        false => byte >> 1 & 63 < 32,
    }
}

impl Coded {
    /// Shows the pictures so many times more slowly, from 0 on: encoders begin hours later.
    pub fn slow_down(&mut self, times: u64) {
        let begin = self.units[0].dts.expect("encoders set it");
        for unit in &mut self.units {
            unit.pts = unit.pts.map(|pts| (pts - begin) * times);
            unit.dts = unit.dts.map(|dts| (dts - begin) * times);
        }
    }
}

fn pipeline(launch: &str) -> gst::Pipeline {
    gst::init().expect("GStreamer is installed");
    let element = gst::parse::launch(launch).expect("elements that are installed");
    element.downcast().expect("several elements")
}

/// Two seconds of a moving picture through an encoder, whose output has these caps.
pub fn recorded(encoder: &str, caps: &str) -> Coded {
    let pipeline = pipeline(&format!(
        "videotestsrc pattern=smpte75 num-buffers=60 horizontal-speed=3 \
         ! video/x-raw,width=320,height=240,framerate=30/1 \
         ! {encoder} ! {caps} ! appsink name=out sync=false"
    ));

    let sink = pipeline.by_name("out").expect("named");
    let sink = sink.downcast::<AppSink>().expect("an appsink");
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
    Coded { caps, units }
}

/// Writes the stream with its times as a file of GStreamer's own protocol.
fn write(stream: &Coded, file: &Path) {
    let file = file.display();
    let pipeline = pipeline(&format!(
        "appsrc name=in format=time ! gdppay ! filesink location={file}"
    ));

    let source = pipeline.by_name("in").expect("named");
    let source = source.downcast::<AppSrc>().expect("an appsrc");
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
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let ended = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &kinds);
    let ended = ended.expect("it ends");
    assert!(matches!(ended.view(), gst::MessageView::Eos(_)));
    pipeline.set_state(gst::State::Null).expect("stops");
}

/// Writes a camera kind that plays the stream once, and returns its file.
pub fn kind_of(stream: &Coded, route: Route, folder: &Path) -> String {
    kind_with(stream, "", route, folder)
}

/// Writes a camera kind that sends the stream from its beginning, at its own pace, to each
/// connection.
pub fn live_kind_of(stream: &Coded, route: Route, folder: &Path) -> String {
    kind_with(stream, "identity sync=true ! ", route, folder)
}

fn kind_with(stream: &Coded, pace: &str, route: Route, folder: &Path) -> String {
    let file = folder.join("stream.gdp");
    write(stream, &file);
    let file = file.display();
    let elements = route.elements();
    let launch = format!("filesrc location={file} ! gdpdepay ! {pace}{elements}");
    let kind = folder.join("own.toml");
    let is_live = !pace.is_empty();
    let text = format!("live = {is_live}\nendless = {is_live}\nlaunch = {launch:?}\n");
    std::fs::write(&kind, text).expect("written");
    kind.display().to_string()
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

/// The frames of a camera that plays the stream.
pub fn played(stream: &Coded, route: Route) -> Vec<Frame> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut settings = CameraSettings {
        name: "top".into(),
        kind: kind_of(stream, route, folder.path()),
        values: [].into(),
        stall: Duration::from_secs(5),
        triggered: false,
        keeps_frames: false,
        needs_times: false,
        delay: Duration::ZERO,
        credentials: None,
    };

    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("/"), "camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let (_stopper, stop) = stop_pair();
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let mut frames = Frames::default();
    let mut source = camera::open(&settings).expect("opens");
    // A stream of which nothing can be decoded ends with an error, and without frames.
    let _ = camera::supervise(source.as_mut(), "top", &stop, backoff, &mut frames);
    frames.0
}

/// What a camera gave of a stream.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pictures: usize,
    /// Pictures that differ from the encoder's.
    pub damaged: usize,
    /// Damaged pictures that were handed on as whole.
    pub missed: usize,
    /// Missed pictures of which more than 3 % are far from the encoder's.
    pub far: usize,
    /// Pictures that were handed on as corrupt.
    pub flagged: usize,
    /// Pictures as the encoder sent them, handed on as whole.
    pub whole: usize,
    /// Causes that were told.
    pub causes: Vec<String>,
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.pictures += other.pictures;
        self.damaged += other.damaged;
        self.missed += other.missed;
        self.far += other.far;
        self.flagged += other.flagged;
        self.whole += other.whole;
        self.causes.extend(other.causes);
    }
}

/// Compares pictures with those of the whole stream. A picture that was shown before stands for none: a
/// decoder that conceals shows the last one again.
pub fn compared(frames: Vec<Frame>, expected: &[Frame]) -> Outcome {
    let mut next = 0;
    let mut outcome = Outcome::default();
    for frame in frames {
        let rest = &expected[next..];
        let is_same = |one: &Frame| one.picture.rgb() == frame.picture.rgb();
        let found = rest.iter().position(is_same);
        let is_flagged = frame.damage.is_some();
        outcome.pictures += 1;
        outcome.flagged += usize::from(is_flagged);
        match found {
            Some(at) => {
                next += at + 1;
                outcome.whole += usize::from(!is_flagged);
            }
            None => {
                outcome.damaged += 1;
                outcome.missed += usize::from(!is_flagged);
                let is_near = |one: &Frame| share_far(one, &frame) <= 0.03;
                outcome.far += usize::from(!is_flagged && !rest.iter().any(is_near));
            }
        }

        outcome
            .causes
            .extend(frame.damage.map(|damage| damage.to_string()));
    }

    outcome
}

/// Share of the pixels that differ by more than 40 grey levels in the mean of their colours.
fn share_far(one: &Frame, other: &Frame) -> f64 {
    let mut far = 0;
    let ours = one.picture.rgb().as_chunks::<3>().0;
    let theirs = other.picture.rgb().as_chunks::<3>().0;
    for (a, b) in ours.iter().zip(theirs) {
        let apart: u32 = a
            .iter()
            .zip(b)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        far += usize::from(apart > 120);
    }

    far as f64 / ours.len().max(1) as f64
}
