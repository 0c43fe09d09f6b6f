//! Cameras through GStreamer: a launch string ending in our appsink. The only file that knows GStreamer.
//!
//! Frames are pulled by the camera's own thread, so nothing of ours runs on a GStreamer thread. A live camera's
//! newest frame wins; a file waits until the inspector is free. Every path out sets the pipeline to Null.

use super::{CameraError, Ended, Settings, Sink, Source};
use crate::base::stop::Stop;
use crate::frame::{CapturedBy, Frame, Picture};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Launch {
    camera: Arc<str>,
    launch: String,
    live: bool,
    stall: Duration,
}

/// How long one wait for a frame takes at most: how soon a stop or an error is heard.
const LISTEN: Duration = Duration::from_millis(50);
/// A camera may take this long to its first frame: connecting, the first key frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);

impl Launch {
    pub fn new(settings: &Settings, launch: String, live: bool) -> Result<Self, CameraError> {
        gst::init().map_err(|error| CameraError::Pipeline(format!("GStreamer cannot start: {error}")))?;
        Ok(Launch { camera: settings.name.clone(), launch, live, stall: settings.stall })
    }

    fn build(&self) -> Result<(gst::Pipeline, AppSink), CameraError> {
        let sink = "appsink name=winspect sync=false max-buffers=1";
        let text = format!("{} ! video/x-raw,format=RGB ! {sink} drop={}", self.launch, self.live);
        let element = gst::parse::launch(&text).map_err(|error| self.described(&error))?;
        let pipeline = element.downcast::<gst::Pipeline>().map_err(|_| self.wrong("is no pipeline"))?;
        let sink = pipeline.by_name("winspect").and_then(|sink| sink.downcast::<AppSink>().ok());
        sink.map(|sink| (pipeline, sink)).ok_or_else(|| self.wrong("lost its sink"))
    }

    fn wrong(&self, why: &str) -> CameraError {
        CameraError::Pipeline(format!("the pipeline {why}: {}", self.launch.trim()))
    }

    fn described(&self, error: &gst::glib::Error) -> CameraError {
        let hint = if error.matches(gst::ParseError::NoSuchElement) {
            "; install the GStreamer plugin that has it (Debian: gstreamer1.0-plugins-good, -bad, -ugly or gstreamer1.0-libav)"
        } else {
            ""
        };
        CameraError::Pipeline(format!("{}{hint} in: {}", error.message(), self.launch.trim()))
    }

    /// Reads until something ends it.
    fn read(
        &self,
        pipeline: &gst::Pipeline,
        appsink: &AppSink,
        stop: &Stop,
        sink: &mut dyn Sink,
    ) -> Result<Ended, CameraError> {
        pipeline.set_state(gst::State::Playing).map_err(|_| first_error(pipeline))?;
        let mut last = Instant::now();
        let mut patience = self.stall.max(FIRST_FRAME);
        loop {
            if stop.is_stopped() {
                return Ok(Ended::Stopped);
            }
            if !self.live && !sink.is_ready() {
                std::thread::sleep(Duration::from_millis(1));
                last = Instant::now();
                continue;
            }
            match appsink.try_pull_sample(gst::ClockTime::from_mseconds(LISTEN.as_millis() as u64)) {
                Some(sample) => {
                    sink.frame(self.frame(&sample)?);
                    last = Instant::now();
                    patience = self.stall;
                }
                None => {
                    if let Some(error) = error_on(pipeline) {
                        return Err(error);
                    }
                    if appsink.is_eos() {
                        return Ok(Ended::EndOfStream);
                    }
                    if last.elapsed() > patience {
                        return Err(CameraError::Stalled(patience));
                    }
                }
            }
        }
    }

    /// Rows packed tightly, whatever the stride; the size is each sample's own, so that caps may change.
    fn frame(&self, sample: &gst::Sample) -> Result<Frame, CameraError> {
        let arrived = Instant::now();
        let bad = |why: &str| CameraError::Lost(format!("a frame that cannot be read: {why}"));
        let caps = sample.caps().ok_or_else(|| bad("no caps"))?;
        let info = VideoInfo::from_caps(caps).map_err(|error| bad(&error.to_string()))?;
        let buffer = sample.buffer().ok_or_else(|| bad("no buffer"))?;
        let video = VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|error| bad(&error.to_string()))?;
        let (width, height) = (info.width() as usize, info.height() as usize);
        let stride = video.plane_stride()[0] as usize;
        let rows = video.plane_data(0).map_err(|error| bad(&error.to_string()))?;
        let mut rgb = Vec::with_capacity(3 * width * height);
        for row in 0..height {
            rgb.extend_from_slice(
                rows.get(row * stride..row * stride + 3 * width).ok_or_else(|| bad("shorter than its caps"))?,
            );
        }
        let picture = Picture::new(width, height, rgb).map_err(|error| bad(&error.to_string()))?;
        Ok(Frame {
            camera: self.camera.clone(),
            picture: Arc::new(picture),
            captured_at: Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            arrived,
            decode: None,
            part_id: None,
        })
    }
}

impl Source for Launch {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let (pipeline, appsink) = self.build()?;
        let ended = self.read(&pipeline, &appsink, stop, sink);
        // Null gives everything back; its only failure is an element that is gone already.
        let _ = pipeline.set_state(gst::State::Null);
        ended
    }

    fn is_finite(&self) -> bool {
        !self.live
    }
}

fn error_on(pipeline: &gst::Pipeline) -> Option<CameraError> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => {
            let source = error.src().map_or_else(String::new, |s| format!("{}: ", s.name()));
            let missing = error.error().matches(gst::CoreError::MissingPlugin);
            let words = format!("{source}{}", error.error().message());
            Some(if missing { CameraError::Pipeline(words) } else { CameraError::Lost(words) })
        }
        _ => None,
    }
}

fn first_error(pipeline: &gst::Pipeline) -> CameraError {
    error_on(pipeline).unwrap_or_else(|| CameraError::Lost("the pipeline does not start".to_owned()))
}
