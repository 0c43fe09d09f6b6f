//! Cameras through GStreamer: a launch string ending in our appsink. The only file that knows GStreamer.
//!
//! Frames are pulled by the camera's own thread; on GStreamer's threads runs nothing of ours but a note of the time. A
//! live camera's newest frame wins; a file waits until the inspector is free. Every path out sets the pipeline to Null.
//!
//! When was a frame captured? An RTSP camera's sender reports (RTCP) say which NTP time belongs to which frame, and
//! rtspsrc (since 1.22) hangs that time on every frame from the first report on. v4l2src stamps each frame with the
//! driver's time, brought to the pipeline's clock (`stamped = true` in the kind's file). Else, and for a camera whose
//! clock is far off, it is the time of arrival. Messages never hold an address's user and password.

use super::colour::{Chroma, Converter, Matrix, Plane, Site};
use super::pipelines::{Pipeline, filled};
use super::stopwatch::Stopwatch;
use super::{CameraError, CameraSettings, Ended, Sink, Source};
use crate::base::stop::Stop;
use crate::camera::auto_features;
use crate::camera::auto_features::Automatics;
use crate::camera::pool::BufferPool;
use crate::data::frame::{CapturedBy, Frame};
use crate::data::picture::Picture;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::{
    VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameExt, VideoFrameRef,
    VideoInfo, VideoInterlaceMode, VideoMeta,
};
use jiff::{SignedDuration, Timestamp};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct GstSource {
    camera: Arc<str>,
    /// Filled in; may hold a password.
    launch: String,
    /// As its file says it: for messages.
    template: String,
    live: bool,
    endless: bool,
    stall: Duration,
    triggered: bool,
    delay: Duration,
    /// Time stamps are moments of capture.
    stamped: bool,
    /// The camera's clock was found far off, and that was told.
    clock_told: Cell<bool>,
    converter: RefCell<Converter>,
    spare: RefCell<BufferPool>,
}

/// How long one wait for a frame takes at most: how soon a stop or an error is heard.
const LISTEN: Duration = Duration::from_millis(50);
/// Frames of a triggered camera that may wait for us.
const BUFFERS_OF_PARTS: u32 = 8;
/// A camera may take this long to its first frame: connecting, the first key frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// A camera's clock that differs more from ours is not set: its times mean nothing.
const CLOCK_OFF_MAX: SignedDuration = SignedDuration::from_secs(60);
/// From NTP's epoch (1900) to Unix's, RFC 868.
const NTP_TO_UNIX: SignedDuration = SignedDuration::from_secs(2_208_988_800);
/// What we take. `videoconvert` leaves what decoders give as it is and makes RGB of everything else, whose chroma is
/// finer.
const FORMATS: &str = "{ RGB, NV12, I420 }";
/// Elements that live outside Debian's gstreamer1.0-plugins-base, and where.
const PACKAGES: [(&str, &str); 13] = [
    ("avdec_", "gstreamer1.0-libav"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtp", "gstreamer1.0-plugins-good"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("h265parse", "gstreamer1.0-plugins-bad"),
    ("aravissrc", "libaravis-0.8-0"),
    ("bayer2rgb", "gstreamer1.0-plugins-bad"),
    ("jpegdec", "gstreamer1.0-plugins-good"),
    ("nvarguscamerasrc", "nvidia-l4t-gstreamer (JetPack)"),
    ("nvvidconv", "nvidia-l4t-gstreamer (JetPack)"),
    ("video", "gstreamer1.0-plugins-base"),
];

impl GstSource {
    pub fn new(
        settings: &CameraSettings,
        template: &str,
        pipeline: &Pipeline,
    ) -> Result<Self, CameraError> {
        gst::init()
            .map_err(|error| CameraError::Pipeline(format!("GStreamer cannot start: {error}")))?;
        Ok(GstSource {
            camera: settings.name.clone(),
            launch: filled(template, &settings.values),
            template: template.split_whitespace().collect::<Vec<_>>().join(" "),
            live: pipeline.live,
            endless: pipeline.endless,
            stall: settings.stall,
            triggered: settings.triggered,
            delay: settings.delay,
            stamped: pipeline.stamped,
            clock_told: Cell::new(false),
            converter: RefCell::default(),
            spare: RefCell::default(),
        })
    }

    fn build(&self) -> Result<(gst::Pipeline, AppSink), CameraError> {
        // Where each frame is a part, one may come while the one before it is entered in the store.
        let buffers = if self.triggered { BUFFERS_OF_PARTS } else { 1 };
        let sink = format!("appsink name=winspect sync=false max-buffers={buffers}");
        let text = format!(
            "{} ! video/x-raw,format=(string){FORMATS} ! {sink} drop={}",
            self.launch, self.live
        );
        let element = gst::parse::launch(&text).map_err(|error| self.described(&error))?;
        let pipeline = element
            .downcast::<gst::Pipeline>()
            .map_err(|_| self.wrong("is no pipeline"))?;
        let sink = pipeline
            .by_name("winspect")
            .and_then(|sink| sink.downcast::<AppSink>().ok());
        sink.inspect(takes_padded_rows)
            .map(|sink| (pipeline, sink))
            .ok_or_else(|| self.wrong("lost its sink"))
    }

    fn wrong(&self, why: &str) -> CameraError {
        CameraError::Pipeline(format!("the pipeline {why}: {}", self.template))
    }

    fn described(&self, error: &gst::glib::Error) -> CameraError {
        let message = without_credentials(error.message());
        let hint = if error.matches(gst::ParseError::NoSuchElement) {
            package_hint(&message)
        } else {
            String::new()
        };
        CameraError::Pipeline(format!("{message}{hint} in: {}", self.template))
    }

    /// Reads until something ends it.
    fn read(
        &self,
        pipeline: &gst::Pipeline,
        appsink: &AppSink,
        stop: &Stop,
        sink: &mut dyn Sink,
    ) -> Result<Ended, CameraError> {
        let stopwatch = timed(pipeline);
        tell_of_losses(pipeline);
        keep_only_errors(pipeline);
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| first_error(pipeline))?;
        let mut last = Instant::now();
        let mut patience = self.stall.max(FIRST_FRAME);
        let mut is_first = true;
        loop {
            if stop.is_stopped() {
                return Ok(Ended::Stopped);
            }
            if !self.live && !sink.is_ready() {
                std::thread::sleep(Duration::from_millis(1));
                last = Instant::now();
                continue;
            }
            match appsink.try_pull_sample(gst::ClockTime::from_mseconds(LISTEN.as_millis() as u64))
            {
                Some(sample) => {
                    if std::mem::take(&mut is_first) && self.endless {
                        tell_automatics(pipeline, sink);
                    }
                    let clock = if self.stamped {
                        pipeline.current_running_time()
                    } else {
                        None
                    };
                    sink.frame(self.frame(&sample, clock, &stopwatch)?);
                    last = Instant::now();
                    patience = self.stall;
                }
                None => {
                    if let Some(error) = error_on(pipeline) {
                        return if self.triggered && gave_up_waiting(&error) {
                            Ok(Ended::Quiet)
                        } else {
                            Err(error)
                        };
                    }
                    if appsink.is_eos() {
                        return Ok(Ended::EndOfStream);
                    }
                    if self.live && last.elapsed() > patience {
                        if !self.triggered {
                            return Err(CameraError::Stalled(patience));
                        }
                        sink.quiet();
                        last = Instant::now();
                    }
                }
            }
        }
    }

    /// Rows packed tightly, whatever the stride; the size is each sample's own, so that caps may change.
    /// `clock` is now in the pipeline's clock, where time stamps are moments of capture.
    fn frame(
        &self,
        sample: &gst::Sample,
        clock: Option<gst::ClockTime>,
        stopwatch: &Stopwatch,
    ) -> Result<Frame, CameraError> {
        let arrived = Instant::now();
        let bad = |why: &str| CameraError::Lost(format!("a frame that cannot be read: {why}"));
        let caps = sample.caps().ok_or_else(|| bad("no caps"))?;
        let info = VideoInfo::from_caps(caps).map_err(|error| bad(&error.to_string()))?;
        if info.interlace_mode() != VideoInterlaceMode::Progressive {
            let mode = info.interlace_mode().to_str();
            return Err(CameraError::Lost(format!(
                "its pictures are interlaced ({mode}), two moments in one; set the camera to progressive, or put \"! deinterlace\" into a pipeline file of your own"
            )));
        }
        let buffer = sample.buffer().ok_or_else(|| bad("no buffer"))?;
        let (captured_at, captured_by) = self.captured(sample, buffer, clock);
        let video = VideoFrameRef::from_buffer_ref_readable(buffer, &info)
            .map_err(|error| bad(&error.to_string()))?;
        let (width, height) = (info.width() as usize, info.height() as usize);
        let rgb = self
            .rgb(&video)
            .ok_or_else(|| bad("shorter than its caps"))?;
        let picture =
            Arc::new(Picture::new(width, height, rgb).map_err(|error| bad(&error.to_string()))?);
        self.spare.borrow_mut().keep(&picture);
        Ok(Frame {
            camera: self.camera.clone(),
            picture,
            captured_at,
            captured_by,
            arrived,
            corrupt: buffer.flags().contains(gst::BufferFlags::CORRUPTED),
            decode: buffer
                .pts()
                .and_then(|pts| stopwatch.started_at(pts.nseconds()))
                .map(|began| began.elapsed()),
            part_id: None,
        })
    }

    /// `None`: a plane is too short.
    fn rgb(&self, video: &VideoFrameRef<&gst::BufferRef>) -> Option<Vec<u8>> {
        let (width, height) = (video.width() as usize, video.height() as usize);
        let mut rgb = self.spare.borrow_mut().take();
        let plane = |index: u32| {
            let stride = *video.plane_stride().get(index as usize)? as usize;
            Some(Plane {
                bytes: video.plane_data(index).ok()?,
                stride,
            })
        };
        let chroma = match video.format() {
            VideoFormat::Nv12 => Chroma::Pairs(plane(1)?),
            VideoFormat::I420 => Chroma::Planes(plane(1)?, plane(2)?),
            _ => {
                let rows = plane(0)?;
                rgb.clear();
                for row in 0..height {
                    rgb.extend_from_slice(rows.row(row, 3 * width)?);
                }
                return Some(rgb);
            }
        };
        rgb.resize(3 * width * height, 0);
        let how = (&matrix(video.info()), site(video.info()));
        self.converter
            .borrow_mut()
            .convert((plane(0)?, chroma), width, how, &mut rgb)?;
        Some(rgb)
    }

    fn captured(
        &self,
        sample: &gst::Sample,
        buffer: &gst::BufferRef,
        clock: Option<gst::ClockTime>,
    ) -> (Timestamp, CapturedBy) {
        let now = Timestamp::now();
        let arrival = now
            .checked_sub(SignedDuration::try_from(self.delay).unwrap_or_default())
            .unwrap_or(now);
        let stamped = || {
            let stamp = sample
                .segment()?
                .downcast_ref::<gst::ClockTime>()?
                .to_running_time(buffer.pts()?)?;
            stamped_at(now, clock?.nseconds(), stamp.nseconds())
        };
        let Some(sent) = sender_time(buffer).or_else(stamped) else {
            return (arrival, CapturedBy::Arrival);
        };
        let off = now.duration_since(sent);
        if off.abs() <= CLOCK_OFF_MAX {
            return (sent, CapturedBy::Sender);
        }
        if !self.clock_told.replace(true) {
            let camera = &self.camera;
            tracing::warn!(
                "camera {camera}: its clock is off by {off:#}; set it (NTP). Times of arrival are used"
            );
        }
        (arrival, CapturedBy::Arrival)
    }
}

/// The stream's own; GStreamer fills in what is usual for its size where the stream says nothing.
fn matrix(info: &VideoInfo) -> Matrix {
    let colorimetry = info.colorimetry();
    let (kr, kb) = match colorimetry.matrix() {
        VideoColorMatrix::Bt709 => (0.2126, 0.0722),
        VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
        VideoColorMatrix::Fcc => (0.30, 0.11),
        VideoColorMatrix::Smpte240m => (0.212, 0.087),
        _ => (0.299, 0.114), // BT.601
    };
    Matrix::new(kr, kb, colorimetry.range() == VideoColorRange::Range0_255)
}

fn site(info: &VideoInfo) -> Site {
    let site = info.chroma_site();
    Site {
        left: site.contains(VideoChromaSite::H_COSITED),
        top: site.contains(VideoChromaSite::V_COSITED),
    }
}

/// The sender's NTP time of a frame, once its first report has come.
fn sender_time(buffer: &gst::BufferRef) -> Option<Timestamp> {
    let is_ntp = |meta: &gst::meta::MetaRef<'_, gst::ReferenceTimestampMeta>| {
        meta.reference()
            .structure(0)
            .is_some_and(|caps| caps.name() == "timestamp/x-ntp")
    };
    let meta = buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(is_ntp)?;
    let since_1900 = SignedDuration::from_nanos(i64::try_from(meta.timestamp().nseconds()).ok()?);
    Timestamp::UNIX_EPOCH
        .checked_add(since_1900 - NTP_TO_UNIX)
        .ok()
}

/// When a frame was captured whose stamp is `stamp` in the clock that shows `clock` now, both in nanoseconds. A stamp
/// of the future, by rounding or a driver's other clock, is now.
fn stamped_at(now: Timestamp, clock: u64, stamp: u64) -> Option<Timestamp> {
    let age = i64::try_from(clock.saturating_sub(stamp)).ok()?;
    now.checked_sub(SignedDuration::from_nanos(age)).ok()
}

/// Says that rows may be any way apart: a decoder that hears otherwise copies every picture. (appsink says nothing.)
fn takes_padded_rows(sink: &AppSink) {
    let Some(entry) = sink.static_pad("sink") else {
        return;
    };
    entry.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        match info.query_mut().map(|query| query.view_mut()) {
            Some(gst::QueryViewMut::Allocation(allocation)) => {
                allocation.add_allocation_meta::<VideoMeta>(None);
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// Times each frame from the element named `decoder`, where the pipeline has one.
fn timed(pipeline: &gst::Pipeline) -> Arc<Stopwatch> {
    let stopwatch = Arc::new(Stopwatch::default());
    if let Some(entry) = pipeline
        .by_name("decoder")
        .and_then(|decoder| decoder.static_pad("sink"))
    {
        let started = stopwatch.clone();
        entry.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
                started.start(pts.nseconds(), Instant::now());
            }
            gst::PadProbeReturn::Ok
        });
    }
    stopwatch
}

/// An RTSP source named `source` says downstream when packets are lost: only then can a decoder mark what lacks them.
fn tell_of_losses(pipeline: &gst::Pipeline) {
    if let Some(source) = pipeline
        .by_name("source")
        .filter(|source| source.has_property("do-rtcp"))
    {
        source.connect("new-manager", false, |values| {
            let manager = values
                .get(1)
                .and_then(|value| value.get::<gst::Element>().ok());
            if let Some(manager) = manager.filter(|manager| manager.has_property("do-lost")) {
                manager.set_property("do-lost", true);
            }
            None
        });
    }
}

/// Nobody reads the bus while frames come: what is not an error would pile up there.
fn keep_only_errors(pipeline: &gst::Pipeline) {
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(|_, message| match message.type_() {
            gst::MessageType::Error => gst::BusSyncReply::Pass,
            _ => gst::BusSyncReply::Drop,
        });
    }
}

impl Source for GstSource {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let (pipeline, appsink) = self.build()?;
        let ended = self.read(&pipeline, &appsink, stop, sink);
        // Null gives everything back; its only failure is an element that is gone already.
        let _ = pipeline.set_state(gst::State::Null);
        ended
    }

    fn is_finite(&self) -> bool {
        !self.endless
    }
}

fn error_on(pipeline: &gst::Pipeline) -> Option<CameraError> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    let gst::MessageView::Error(error) = message.view() else {
        return None;
    };
    let source = error
        .src()
        .map_or_else(String::new, |s| format!("{}: ", s.name()));
    let debug = error
        .debug()
        .map(|debug| detail(&debug))
        .unwrap_or_default();
    let words = without_credentials(&format!("{source}{}{debug}", error.error().message()));
    let error = error.error();
    let is_missing = error.matches(gst::CoreError::MissingPlugin)
        || error.matches(gst::StreamError::CodecNotFound);
    Some(if is_missing {
        CameraError::Pipeline(words)
    } else {
        CameraError::Lost(words)
    })
}

/// aravissrc gives up after 2 s without a frame, which is how a standing line looks to it.
fn gave_up_waiting(error: &CameraError) -> bool {
    matches!(error, CameraError::Lost(words) if words.contains("reason error (-5)"))
}

fn first_error(pipeline: &gst::Pipeline) -> CameraError {
    error_on(pipeline)
        .unwrap_or_else(|| CameraError::Lost("the pipeline does not start".to_owned()))
}

/// The last line of GStreamer's debug text, which says what happened; the others say where in its source.
fn detail(debug: &str) -> String {
    match debug.trim().rsplit_once('\n') {
        Some((_, last)) => format!(" ({})", last.trim()),
        None => String::new(),
    }
}

/// Which Debian package has the element that the message names.
fn package_hint(message: &str) -> String {
    let element = message.split('"').nth(1).unwrap_or(message);
    match PACKAGES
        .iter()
        .find(|(start, _)| element.starts_with(start))
    {
        Some((_, package)) => format!("; install the Debian package {package}"),
        None => "; install the GStreamer plugin that has it, or correct its name".to_owned(),
    }
}

/// `rtsp://user:password@host` becomes `rtsp://***@host`.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let host_end = part
            .find(|c: char| c == '/' || c.is_whitespace() || c == '"')
            .unwrap_or(part.len());
        let from = part[..host_end].rfind('@');
        clean.push_str("://");
        clean.push_str(if from.is_some() { "***" } else { "" });
        clean.push_str(&part[from.unwrap_or(0)..]);
    }
    clean
}

/// Of the sources that could set something by themselves: those that we made do not.
fn tell_automatics(pipeline: &gst::Pipeline, sink: &mut dyn Sink) {
    let Some(source) = pipeline.by_name("source") else {
        return;
    };
    let factory = source
        .factory()
        .map(|factory| factory.name().to_string())
        .unwrap_or_default();
    match factory.as_str() {
        "videotestsrc" | "nvarguscamerasrc" => {}
        "v4l2src" => sink.automatics(&mut || {
            let device = source.property::<i32>("device-fd");
            auto_features::of_v4l2(|id| auto_features::v4l2_control(device, id))
        }),
        "aravissrc" => sink.automatics(&mut || {
            let is_on = |property: &str| {
                gst::glib::EnumValue::from_value(&source.property_value(property))
                    .is_some_and(|(_, v)| v.nick() != "off")
            };
            let all = [("exposure-auto", "exposure"), ("gain-auto", "gain")];
            Automatics::On(
                all.into_iter()
                    .filter(|(property, _)| is_on(property))
                    .map(|(_, what)| what)
                    .collect(),
            )
        }),
        _ => sink.automatics(&mut || Automatics::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_password() {
        let said = "cannot open rtsp://me:secret@10.0.0.7/a@b, nor rtsp://10.0.0.8/x";
        assert_eq!(
            without_credentials(said),
            "cannot open rtsp://***@10.0.0.7/a@b, nor rtsp://10.0.0.8/x"
        );
    }

    #[test]
    fn a_stamp_is_as_old_as_the_pipelines_clock_says() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().expect("a time");
        let at = |clock, stamp| stamped_at(now, clock, stamp).map(|at| at.to_string());
        assert_eq!(
            at(5_000_000_000, 4_750_000_000).as_deref(),
            Some("2026-01-01T00:00:09.75Z")
        );
        assert_eq!(at(7, 7).as_deref(), Some("2026-01-01T00:00:10Z"));
        assert_eq!(
            at(7, 9).as_deref(),
            Some("2026-01-01T00:00:10Z"),
            "never in the future"
        );
        assert_eq!(at(u64::MAX, 0), None);
    }

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        assert!(package_hint("no element \"avdec_h264\"").ends_with("gstreamer1.0-libav"));
        assert!(package_hint("no element \"nosuch\"").contains("correct its name"));
    }

    #[test]
    fn a_value_of_any_characters_arrives_as_it_is_in_its_element() {
        gst::init().expect("GStreamer is installed");
        for value in [
            "a b",
            "x\" ! fakesink name=\"y",
            "back\\slash",
            "{fps}",
            "a=b,c;d",
            "ü '!' #",
            "$HOME",
        ] {
            let values = [
                ("location".to_owned(), value.to_owned()),
                ("fps".to_owned(), "9".to_owned()),
            ]
            .into();
            let launch = filled("filesrc name=it location={location} ! fakesink", &values);
            let pipeline = gst::parse::launch(&launch)
                .expect("still a pipeline")
                .downcast::<gst::Pipeline>();
            let it = pipeline
                .expect("two elements")
                .by_name("it")
                .expect("as named");
            assert_eq!(it.property::<String>("location"), value);
        }
    }
}
