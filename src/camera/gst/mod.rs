//! Cameras through GStreamer: a launch string ending in our appsink. The only folder that knows
//! GStreamer.
//!
//! Frames are pulled by the camera's own thread; on GStreamer's threads runs nothing of ours but a note
//! of the time. A live camera's newest frame wins; a file waits until the inspector is free. Every path
//! out sets the pipeline to Null. Messages never hold an address's user and password.

mod bitstream;
mod capture_time;
mod decoder_log;
mod errors;
mod integrity;
mod picture;
mod probes;
mod references;

use crate::base::stop::Stop;
use crate::camera::pipelines::{Pipeline, filled};
use crate::camera::settings::CameraSettings;
use crate::camera::source::{CameraError, Ended, Sink, Source};
use crate::camera::stopwatch::Stopwatch;
use crate::data::frame::Frame;
use capture_time::CaptureClock;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use integrity::Integrity;
use picture::PictureReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest single wait for a frame: a stop or an error is heard after it.
const LISTEN: Duration = Duration::from_millis(50);
/// Wait of a source for a busy inspector before it looks again.
const BUSY: Duration = Duration::from_millis(1);
/// Frames of a triggered camera that may wait for us.
const BUFFERS_OF_PARTS: u32 = 8;
/// Longest time of a camera to its first frame: connecting, the first key frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// One camera through GStreamer.
pub struct GstSource {
    camera: Arc<str>,
    /// Launch string, filled in; may hold a password.
    launch: String,
    /// Launch string as its file has it, for messages.
    template: String,
    /// True for sources that drop frames instead of waiting.
    live: bool,
    /// True if the end of the stream is a fault.
    endless: bool,
    stall: Duration,
    triggered: bool,
    /// True if time stamps are moments of capture.
    stamped: bool,
    clock: CaptureClock,
    pictures: PictureReader,
}

/// A pipeline that was built, and its sink.
struct OpenPipeline {
    pipeline: gst::Pipeline,
    appsink: AppSink,
}

/// State of reading from an open pipeline.
struct Reading<'a> {
    pipeline: &'a gst::Pipeline,
    appsink: &'a AppSink,
    stopwatch: Arc<Stopwatch>,
    integrity: Integrity,
    /// Arrival of the last frame, or the start.
    last: Instant,
    /// Longest time without a frame.
    patience: Duration,
    is_first: bool,
}

impl GstSource {
    /// The source of checked settings. `template` is the kind's launch string.
    ///
    /// # Errors
    /// When GStreamer cannot be initialised.
    pub fn new(
        settings: &CameraSettings,
        template: &str,
        pipeline: &Pipeline,
    ) -> Result<Self, CameraError> {
        gst::init()
            .map_err(|error| CameraError::Pipeline(format!("GStreamer cannot start: {error}")))?;

        let words: Vec<&str> = template.split_whitespace().collect();
        Ok(GstSource {
            camera: settings.name.clone(),
            launch: filled(template, &settings.values),
            template: words.join(" "),
            live: pipeline.live,
            endless: pipeline.endless,
            stall: settings.stall,
            triggered: settings.triggered,
            stamped: pipeline.stamped,
            clock: CaptureClock::new(settings.name.clone(), settings.delay),
            pictures: PictureReader::default(),
        })
    }

    fn build(&self) -> Result<OpenPipeline, CameraError> {
        // Where each frame is a part, one may come while the one before it is entered in the store.
        let buffers = if self.triggered { BUFFERS_OF_PARTS } else { 1 };
        let text = format!(
            "{} ! appsink name=winspect sync=false max-buffers={buffers} drop={}",
            self.launch, self.live
        );

        let element = gst::parse::launch(&text)
            .map_err(|error| errors::launch_error(&error, &self.template))?;

        let pipeline = element
            .downcast::<gst::Pipeline>()
            .map_err(|_| self.wrong("is no pipeline"))?;

        let appsink = pipeline
            .by_name("winspect")
            .and_then(|sink| sink.downcast::<AppSink>().ok())
            .ok_or_else(|| self.wrong("lost its sink"))?;

        appsink.set_caps(Some(&picture::readable_caps()));
        probes::accept_padded_rows(&appsink);
        Ok(OpenPipeline { pipeline, appsink })
    }

    fn wrong(&self, why: &str) -> CameraError {
        CameraError::Pipeline(format!("the pipeline {why}: {}", self.template))
    }

    /// Reads until something ends it.
    fn read(
        &mut self,
        open: &OpenPipeline,
        stop: &Stop,
        sink: &mut dyn Sink,
    ) -> Result<Ended, CameraError> {
        let pipeline = &open.pipeline;
        let stopwatch = probes::time_decoding(pipeline);
        let integrity = Integrity::watch(pipeline);
        probes::announce_losses(pipeline);
        probes::keep_only_errors(pipeline);
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| errors::start_error(pipeline))?;

        let mut reading = Reading {
            pipeline,
            appsink: &open.appsink,
            stopwatch,
            integrity,
            last: Instant::now(),
            patience: self.stall.max(FIRST_FRAME),
            is_first: true,
        };

        let listen = gst::ClockTime::from_mseconds(LISTEN.as_millis() as u64);
        while !stop.is_stopped() {
            if !self.live && !sink.is_ready() {
                std::thread::sleep(BUSY);
                reading.last = Instant::now();
            } else if let Some(sample) = open.appsink.try_pull_sample(listen) {
                self.take(&mut reading, &sample, sink)?;
            } else if let Some(ended) = self.without_frame(&mut reading, sink)? {
                return Ok(ended);
            }
        }

        Ok(Ended::Stopped)
    }

    /// Hands a frame over.
    fn take(
        &mut self,
        reading: &mut Reading,
        sample: &gst::Sample,
        sink: &mut dyn Sink,
    ) -> Result<(), CameraError> {
        if reading.is_first && self.endless {
            probes::offer_automatics(reading.pipeline, sink);
        }

        reading.is_first = false;
        let clock = if self.stamped {
            reading.pipeline.current_running_time()
        } else {
            None
        };

        let frame = self.frame(sample, clock, reading)?;
        sink.frame(frame);
        reading.last = Instant::now();
        reading.patience = self.stall;
        Ok(())
    }

    /// Looks why no frame came. `None` if reading goes on.
    fn without_frame(
        &self,
        reading: &mut Reading,
        sink: &mut dyn Sink,
    ) -> Result<Option<Ended>, CameraError> {
        if let Some(error) = errors::bus_error(reading.pipeline) {
            if self.triggered && errors::gave_up_waiting(&error) {
                return Ok(Some(Ended::Quiet));
            }

            return Err(error);
        }

        if reading.appsink.is_eos() {
            return Ok(Some(Ended::EndOfStream));
        }

        if self.live && reading.last.elapsed() > reading.patience {
            if !self.triggered {
                return Err(CameraError::Stalled(reading.patience));
            }

            sink.quiet();
            reading.last = Instant::now();
        }

        Ok(None)
    }

    /// The sample as a frame. `clock` is now in the pipeline's clock, `None` if time stamps are not
    /// moments of capture.
    fn frame(
        &mut self,
        sample: &gst::Sample,
        clock: Option<gst::ClockTime>,
        reading: &Reading,
    ) -> Result<Frame, CameraError> {
        let arrived = Instant::now();
        let (captured_at, captured_by) = self.clock.captured(sample, clock);
        let read = self.pictures.read(sample)?;
        let buffer = sample.buffer();
        let pts = buffer.and_then(|buffer| buffer.pts());
        let started = match read.is_jpeg {
            true => Some(arrived),
            false => pts.and_then(|pts| reading.stopwatch.started_at(pts.nseconds())),
        };

        // The picture's own damage names its place, so that it goes before that of the stream.
        let damage = read.damage.map(Arc::from);
        let of_stream = buffer.and_then(|buffer| reading.integrity.cause(buffer));
        Ok(Frame {
            camera: self.camera.clone(),
            picture: read.picture,
            captured_at,
            captured_by,
            arrived,
            damage: damage.or(of_stream),
            decode: started.map(|started| started.elapsed()),
            part_id: None,
        })
    }
}

impl Source for GstSource {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let open = self.build()?;
        let ended = self.read(&open, stop, sink);
        // Null gives everything back; its only failure is an element that is gone already.
        let _ = open.pipeline.set_state(gst::State::Null);
        ended
    }

    fn is_finite(&self) -> bool {
        !self.endless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
