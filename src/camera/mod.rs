//! Cameras: frames with their time of capture, out of GStreamer pipelines or image folders, watched and
//! retried.
//!
//! A [`Source`] is one camera; [`supervise`] is the loop round it: open, read until it ends or fails,
//! wait, open again. A finite source (folder, file) is read once: its end, or its fault, ends the loop;
//! an endless one is opened again until the stop. The state of the source is reported as
//! [`CameraStatus`], once for each change.

// Only GStreamer's cameras have automatic features.
#[cfg_attr(not(feature = "gstreamer"), allow(dead_code))]
pub mod auto_features;
pub mod colour;
mod folder;
#[cfg(feature = "gstreamer")]
mod gst;
#[cfg(feature = "gstreamer")]
mod lookup;
pub mod pipelines;
#[cfg(feature = "gstreamer")]
mod pool;
#[cfg(feature = "gstreamer")]
mod preflight;
#[cfg(feature = "gstreamer")]
mod sender_clock;
mod settings;
mod source;
mod status;
#[cfg(feature = "gstreamer")]
mod stopwatch;
mod supervise;

pub use settings::{CameraSettings, Credentials};
pub use source::{CameraError, Ended, Sink, Source};
pub use status::{CameraState, CameraStatus};
pub use supervise::supervise;

/// The source that the settings describe. Nothing is opened yet.
///
/// # Errors
/// When this build cannot read the kind.
pub fn open(settings: &CameraSettings) -> Result<Box<dyn Source>, CameraError> {
    let pipeline = pipelines::pipeline(&settings.kind).map_err(CameraError::Pipeline)?;

    match &pipeline.launch {
        None => Ok(Box::new(folder::FolderSource::new(settings))),
        #[cfg(feature = "gstreamer")]
        Some(launch) => {
            let source = gst::GstSource::new(settings, launch, &pipeline)?;

            Ok(Box::new(source))
        }
        #[cfg(not(feature = "gstreamer"))]
        Some(_) => {
            let kind = &settings.kind;
            Err(CameraError::Pipeline(format!(
                "camera kind {kind:?} needs GStreamer, which this build has not"
            )))
        }
    }
}

/// True for a kind of camera whose sender tells its clock, some seconds after the first frame.
pub fn tells_clock(settings: &CameraSettings) -> bool {
    let pipeline = pipelines::pipeline(&settings.kind);
    let launch = pipeline.ok().and_then(|pipeline| pipeline.launch);

    launch.is_some_and(|launch| launch.contains("add-reference-timestamp-meta=true"))
}

/// True for a live source, which drops frames instead of waiting for the inspector.
pub fn is_live(settings: &CameraSettings) -> bool {
    pipelines::pipeline(&settings.kind).is_ok_and(|pipeline| pipeline.live)
}
