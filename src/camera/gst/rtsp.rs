//! A network camera's own ways: its user and password, what it says that it sends, and its refusals
//! in words that name the cause.

use crate::camera::settings::Credentials;
use crate::camera::source::CameraError;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// Streams that the camera offered in this try, such as `H265`, by their names in SDP.
pub type Offered = Arc<Mutex<Vec<String>>>;

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
/// configuration.
pub fn explained(error: CameraError, wanted: Option<&str>, offered: &Offered) -> CameraError {
    let CameraError::Lost(words) = error else {
        return error;
    };

    let offered = offered.lock().unwrap_or_else(PoisonError::into_inner);
    let cause = other_codec(wanted, &offered).or_else(|| refusal(&words));
    CameraError::Lost(match cause {
        Some(cause) => format!("{cause} ({words})"),
        None => words,
    })
}

/// The cause where none of the camera's streams is coded as the configuration says.
fn other_codec(wanted: Option<&str>, offered: &[String]) -> Option<String> {
    let wanted = wanted?;
    let first = offered.first()?;
    if offered.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
        return None;
    }

    let offer = first.to_lowercase();
    let advice = match offer.as_str() {
        "h264" | "h265" => format!("set codec = \"{offer}\""),
        _ => "set the camera to H.264 or H.265".to_owned(),
    };

    Some(format!(
        "it sends {first}, and codec = \"{wanted}\" is set; {advice}, or change the camera's stream"
    ))
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
            "(461)",
            "it refuses this transport for now; if it stays so, try the other protocol",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_codec_is_named_with_what_to_set() {
        let offered = ["H265".to_owned()];
        let cause = other_codec(Some("h264"), &offered).expect("another one");
        assert!(
            cause.starts_with("it sends H265, and codec = \"h264\" is set; set codec = \"h265\"")
        );
        assert_eq!(other_codec(Some("h265"), &offered), None);
        assert_eq!(other_codec(None, &offered), None);
        assert_eq!(other_codec(Some("h264"), &[]), None);
        let jpeg = other_codec(Some("h264"), &["JPEG".to_owned()]).expect("another one");
        assert!(jpeg.contains("set the camera to H.264 or H.265"));
    }
}
