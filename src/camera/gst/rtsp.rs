//! A network camera's own ways: its user and password, what it says that it sends, and its refusals
//! in words that name the cause.

use crate::camera::lookup::Lookup;
use crate::camera::preflight::{Question, ask, other_codec};
use crate::camera::settings::{CameraSettings, Credentials};
use crate::camera::source::CameraError;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// Streams that the camera offered in this try, such as `H265`, by their names in SDP.
pub type Offered = Arc<Mutex<Vec<String>>>;

/// Asks a camera of the kind `rtsp` whether a picture can come, before its pipeline is started.
/// Returns a doubt, in words for the case that the pipeline fails too.
///
/// # Errors
/// The cause, in words.
pub fn ask_first(
    settings: &CameraSettings,
    lookup: &mut Lookup,
) -> Result<Option<String>, CameraError> {
    let location = settings.values.get("location");
    let Some(location) = location.filter(|_| settings.kind == "rtsp") else {
        return Ok(None);
    };

    let question = Question {
        location,
        codec: settings.values.get("codec").map(String::as_str),
        has_credentials: settings.credentials.is_some(),
    };

    ask(&question, lookup).map_err(CameraError::Lost)
}

/// Gives the source named `source` its user and password.
///
/// # Errors
/// When the source takes none.
pub fn set_credentials(
    pipeline: &gst::Pipeline,
    credentials: &Credentials,
) -> Result<(), CameraError> {
    let source = pipeline
        .by_name("source")
        .filter(|source| source.has_property("user-id") && source.has_property("user-pw"));

    let Some(source) = source else {
        return Err(CameraError::Pipeline(
            "user and password_file are for a network camera: the pipeline has no rtspsrc named source"
                .to_owned(),
        ));
    };

    source.set_property("user-id", &credentials.user);
    source.set_property("user-pw", credentials.password.reveal());

    Ok(())
}

/// Notes the video streams that an rtspsrc named `source` is offered.
pub fn note_offers(pipeline: &gst::Pipeline) -> Offered {
    let offered = Offered::default();
    let source = pipeline.by_name("source");
    let Some(source) = source.filter(|source| source.has_property("do-rtcp")) else {
        return offered;
    };

    // The signal asks which streams are wanted: all of them, as without it.
    let noted = offered.clone();
    source.connect("select-stream", false, move |values| {
        if let Some(Ok(caps)) = values.get(2).map(|value| value.get::<gst::Caps>()) {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.extend(video_encoding(&caps));
        }

        Some(true.to_value())
    });

    offered
}

/// The encoding of a video stream, as its SDP names it.
fn video_encoding(caps: &gst::Caps) -> Option<String> {
    let stream = caps.structure(0)?;
    let is_video = stream
        .get::<String>("media")
        .is_ok_and(|media| media == "video");
    let encoding = stream.get::<String>("encoding-name").ok()?;

    is_video.then(|| encoding.to_uppercase())
}

/// The error with its cause in plain words, where the cause is known. `wanted` is the codec of the
/// configuration, `doubt` is what [`ask_first`] found.
pub fn explained(
    error: CameraError,
    wanted: Option<&str>,
    offered: &Offered,
    doubt: Option<String>,
) -> CameraError {
    // A camera of another codec is silent: its stream finds no depayloader.
    if matches!(error, CameraError::Pipeline(_)) {
        return error;
    }

    let words = error.to_string();
    let offered = offered.lock().unwrap_or_else(PoisonError::into_inner);

    // A camera that offered its stream has not refused it.
    let doubt = doubt.filter(|_| offered.is_empty());
    let cause = other_codec(wanted, &offered)
        .or_else(|| refusal(&words))
        .or(doubt);
    match cause {
        Some(cause) => CameraError::Lost(format!("{cause} ({words})")),
        None => error,
    }
}

/// The cause of rtspsrc's commonest messages, by the words that GStreamer has for them.
fn refusal(words: &str) -> Option<String> {
    let causes = [
        (
            "(401)",
            "it refuses user and password; correct user and password_file",
        ),
        (
            "Unauthorized",
            "it refuses user and password; correct user and password_file",
        ),
        ("(403)", "it forbids this user the stream"),
        (
            "(404)",
            "it has no such stream; correct the path in location",
        ),
        (
            "Not Found",
            "it has no such stream; correct the path in location",
        ),
        (
            "No supported stream",
            "it refuses this transport for now (461); if it stays so, set the other protocol",
        ),
        (
            "Connection refused",
            "nothing listens at its address; is it on, and is the port right?",
        ),
        (
            "resolving",
            "its host name is unknown; correct location, or give the address",
        ),
        (
            "Name or service not known",
            "its host name is unknown; correct location, or give the address",
        ),
        (
            "unreachable",
            "no way leads to its address; look at cable and network",
        ),
    ];

    causes
        .into_iter()
        .find(|(said, _)| words.contains(said))
        .map(|(_, cause)| cause.to_owned())
}
