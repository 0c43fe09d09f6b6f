//! Cameras through GStreamer: a launch string ending in our appsink. The only folder that knows
//! GStreamer.
//!
//! Frames are pulled by the camera's own thread; on GStreamer's threads runs nothing of ours but a note
//! of the time. A live camera's newest frame wins, the newest eight where any may be a part's; a file
//! waits until the inspector is free. Every path out sets the pipeline to Null. Messages never hold an
//! address's user and password.

mod arrivals;
mod bitstream;
mod blindness;
mod capture_time;
mod closing;
mod decoder_log;
mod errors;
mod integrity;
mod marks;
mod picture;
mod probes;
mod references;
mod rtsp;

use crate::base::secret::without_credentials;
use crate::base::stop::Stop;
use crate::camera::lookup::Lookup;
use crate::camera::pipelines::{Pipeline, filled};
use crate::camera::settings::CameraSettings;
use crate::camera::source::{CameraError, Ended, Sink, Source};
use crate::camera::stopwatch::Stopwatch;
use crate::data::frame::Frame;
use arrivals::Arrivals;
use blindness::Blindness;
use capture_time::CaptureClock;
use closing::Closing;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use integrity::Integrity;
use marks::Marks;
use picture::PictureReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest single wait for a frame: a stop or an error is heard after it.
const LISTEN: Duration = Duration::from_millis(50);
/// Wait of a source for a busy inspector before it looks again.
const BUSY: Duration = Duration::from_millis(1);
/// Frames that may wait for us where any of them may be a part's.
const BUFFERS_OF_PARTS: u32 = 8;
/// Longest time of a camera to its first frame: connecting, the first key frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// Words of a camera that sends, but no key frame yet.
const NO_KEY_FRAME: &str = "it sends, and a picture comes with its next key frame; set the camera's key frame \
                            interval to a second or two";

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
    settings: CameraSettings,
    closing: Closing,
    blindness: Blindness,
    /// Damage that no check of the stream finds, as the line was told last.
    blind_spot: Option<&'static str>,
    lookup: Lookup,
    /// True once the pipeline could be built: a later failure is no fault of the configuration.
    was_built: bool,
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
    marks: Marks,
    integrity: Integrity,
    /// Time listened since the last frame, or since the start.
    silent: Duration,
    /// Longest time without a frame.
    patience: Duration,
    is_first: bool,
    started: Instant,
    arrivals: Arc<Arrivals>,
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

        // Line breaks and indents of the file would make each message that shows the launch string
        // many lines long.
        let words: Vec<&str> = template.split_whitespace().collect();
        Ok(GstSource {
            camera: settings.name.clone(),
            launch: filled(template, &settings.values),
            // A plant's own launch string may hold an address with its password.
            template: without_credentials(&words.join(" ")),
            live: pipeline.live,
            endless: pipeline.endless,
            stall: settings.stall,
            triggered: settings.triggered,
            stamped: pipeline.stamped,
            clock: CaptureClock::new(settings),
            pictures: PictureReader::default(),
            settings: settings.clone(),
            closing: Closing::new(settings.name.clone()),
            blindness: Blindness::default(),
            blind_spot: None,
            lookup: Lookup::default(),
            was_built: false,
        })
    }

    fn build(&self) -> Result<OpenPipeline, CameraError> {
        // A frame may come while the one before it is entered in the store or in the ring, which takes
        // as long as a frame on a busy machine.
        let keeps_frames = self.settings.keeps_frames;
        let buffers = if keeps_frames { BUFFERS_OF_PARTS } else { 1 };

        // The appsink takes only formats that `PictureReader` reads, and does not wait for the
        // clock: a picture is wanted when it is there. A full sink drops the oldest for a live
        // camera, and makes a file wait.
        let text = format!(
            "{} ! appsink name=winspect sync=false max-buffers={buffers} drop={}",
            self.launch, self.live
        );

        // Errors name the template, in which the places stand instead of a password.
        let element = gst::parse::launch(&text)
            .map_err(|error| errors::launch_error(&error, &self.template))?;

        // A single element is no pipeline and has no bus.
        let pipeline = element
            .downcast::<gst::Pipeline>()
            .map_err(|_| self.wrong("is no pipeline"))?;

        // The sink is found by the name that was just given; a plant's own file may have used it
        // too.
        let appsink = pipeline
            .by_name("winspect")
            .and_then(|sink| sink.downcast::<AppSink>().ok())
            .ok_or_else(|| self.wrong("lost its sink"))?;

        appsink.set_caps(Some(&picture::readable_caps()));
        if let Some(credentials) = &self.settings.credentials {
            rtsp::set_credentials(&pipeline, credentials)?;
        }

        probes::accept_padded_rows(&appsink);
        Ok(OpenPipeline { pipeline, appsink })
    }

    /// Builds the pipeline. What could be built once is no fault of the configuration later.
    fn build_again(&mut self) -> Result<OpenPipeline, CameraError> {
        match self.build() {
            Ok(open) => {
                self.was_built = true;

                Ok(open)
            }

            Err(CameraError::Pipeline(words)) if self.was_built => Err(CameraError::Lost(words)),
            Err(error) => Err(error),
        }
    }

    /// Codec that the configuration names, of a kind that has one.
    fn codec(&self) -> Option<&str> {
        self.settings.values.get("codec").map(String::as_str)
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
        self.clock.begin();

        // All probes are in place before the first buffer flows.
        let stopwatch = probes::time_decoding(pipeline);
        let marks = Marks::place(pipeline, &open.appsink);
        let integrity = Integrity::watch(pipeline, &self.blindness);
        probes::announce_losses(pipeline);
        probes::keep_only_errors(pipeline);
        let arrivals = arrivals::watch(pipeline);
        self.closing.start(pipeline)?;

        // The first frame may take longer than those after it: a camera is connected, and its key
        // frame awaited.
        let mut reading = Reading {
            pipeline,
            appsink: &open.appsink,
            stopwatch,
            marks,
            integrity,
            silent: Duration::ZERO,
            patience: self.stall.max(FIRST_FRAME),
            is_first: true,
            started: Instant::now(),
            arrivals,
        };

        let listen = gst::ClockTime::from_mseconds(LISTEN.as_millis() as u64);

        // There are three cases: a file whose frame still waits, a frame that came, and no frame
        // within LISTEN.
        while !stop.is_stopped() {
            if !self.live && !sink.is_ready() {
                // A file's silence while it waits for the inspector is no fault.
                std::thread::sleep(BUSY);
                reading.silent = Duration::ZERO;
                continue;
            }

            let looked = Instant::now();
            if let Some(sample) = open.appsink.try_pull_sample(listen) {
                self.take(&mut reading, &sample, sink)?;
                continue;
            }

            // A look counts for LISTEN at most: a process that stood still has not listened.
            reading.silent += looked.elapsed().min(LISTEN);

            if let Some(ended) = self.without_frame(&mut reading, sink)? {
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
        // The camera is asked once for each try, when it runs: before that its device is not open.
        if reading.is_first && self.endless {
            probes::offer_automatics(reading.pipeline, sink);
        }

        reading.is_first = false;

        // The pipeline's clock is read at once, as each moment later makes the frame that much
        // older.
        let clock = if self.stamped {
            reading.pipeline.current_running_time()
        } else {
            None
        };

        // Told before the first picture of which it is true.
        let blind_spot = reading.integrity.blind_spot();

        if self.blind_spot != blind_spot {
            self.blind_spot = blind_spot;
            sink.blind_spot(blind_spot);
        }

        // A frame whose time is not known is no part's, and none is told by it.
        if let Some(frame) = self.frame(sample, clock, reading)? {
            sink.frame(frame);
        }

        // From the first frame on the camera's own stall time counts.
        reading.silent = Duration::ZERO;
        reading.patience = self.stall;

        // A file has no other key frames when it is opened again.
        if self.live
            && self.endless
            && let Some(words) = self.blindness.ends()
        {
            return Err(CameraError::Lost(words));
        }

        Ok(())
    }

    /// Looks why no frame came. `None` if reading goes on.
    fn without_frame(
        &self,
        reading: &mut Reading,
        sink: &mut dyn Sink,
    ) -> Result<Option<Ended>, CameraError> {
        // Errors come first: a pipeline that has failed may also be at its end.
        if let Some(error) = errors::bus_error(reading.pipeline) {
            // A triggered camera whose driver gave up has not failed: the line stands.
            if self.triggered && errors::gave_up_waiting(&error) {
                return Ok(Some(Ended::Quiet));
            }

            return Err(error);
        }

        // The end of an endless source is a fault to `supervise`, that of a file is not.
        if reading.appsink.is_eos() {
            return Ok(Some(Ended::EndOfStream));
        }

        // A file is never silent, it waits.
        if self.live && reading.silent > reading.patience {
            // A camera whose key frames are far apart sends and shows nothing: connecting again
            // would only miss the next one.
            if self.awaits_picture(reading) {
                if !reading.arrivals.have_key_frame() {
                    sink.waiting(NO_KEY_FRAME);
                }

                return Ok(None);
            }

            if !self.triggered {
                return Err(CameraError::Stalled(reading.patience));
            }

            // The patience starts anew, so that the line hears of the silence once in each span of
            // it.
            sink.quiet();
            reading.silent = Duration::ZERO;
        }

        Ok(None)
    }

    /// True for a camera that sends, and whose first key frame since it was opened is not there or came
    /// just now.
    fn awaits_picture(&self, reading: &Reading) -> bool {
        reading.is_first
            && reading.started.elapsed() < blindness::MOST
            && reading.arrivals.await_picture(self.stall)
    }

    /// The sample as a frame. `clock` is now in the pipeline's clock, `None` if time stamps are not
    /// moments of capture. `None` while the time of its capture is not known.
    fn frame(
        &mut self,
        sample: &gst::Sample,
        clock: Option<gst::ClockTime>,
        reading: &Reading,
    ) -> Result<Option<Frame>, CameraError> {
        let pulled = Instant::now();
        let buffer = sample.buffer();

        // A live frame has arrived when it came to the appsink, however long it waited there for us.
        // One of a file waits there until it is wanted.
        let came = buffer.and_then(|buffer| reading.marks.at_sink(buffer));
        let arrived = came.filter(|_| self.live).unwrap_or(pulled);

        // The time of capture is read before the picture is converted, which takes milliseconds.
        let packet = buffer.and_then(|buffer| reading.marks.of_network(buffer));
        let Some(captured) = self.clock.captured(sample, arrived, packet, clock) else {
            return Ok(None);
        };

        let read = self.pictures.read(sample)?;

        // The stopwatch knows when the buffer of this time stamp went into the decoder. JPEG is
        // decoded here.
        let pts = buffer.and_then(|buffer| buffer.pts());
        let started = match read.is_jpeg {
            true => Some(pulled),
            false => pts.and_then(|pts| reading.stopwatch.started_at(pts.nseconds())),
        };

        // The picture's own damage names its place, so that it goes before that of the stream.
        let damage = read.damage.map(Arc::from);
        let of_stream = buffer.and_then(|buffer| reading.integrity.cause(buffer));
        Ok(Some(Frame {
            camera: self.camera.clone(),
            picture: read.picture,
            captured_at: captured.at,
            captured_by: captured.by,
            captured: captured.moment,
            clock_offset: captured.clock_offset,
            arrived,
            damage: damage.or(of_stream),
            // The wait in the appsink is no decoding.
            decode: started.map(|at| arrived.saturating_duration_since(at) + pulled.elapsed()),
            part_id: None,
        }))
    }
}

impl Source for GstSource {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        // Each try builds its pipeline anew: an element that has failed is not trusted again.
        let open = self.build_again()?;
        let doubt = rtsp::ask_first(&self.settings, &mut self.lookup)?;
        let offered = rtsp::note_offers(&open.pipeline);
        let ended = self.read(&open, stop, sink);

        // Every way out gives everything back.
        self.closing.end(&open.pipeline);

        ended.map_err(|error| rtsp::explained(error, self.codec(), &offered, doubt))
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
