//! Errors of a pipeline, in words that name the package that is missing and no password.

use crate::base::secret::without_credentials;
use crate::camera::source::CameraError;
use gstreamer as gst;
use gstreamer::prelude::*;

/// First letters of elements that do not come with GStreamer's core, and the Debian packages that have
/// them.
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

/// The error of a launch string that GStreamer refused. `template` is the string as its file has it,
/// without values.
pub fn launch_error(error: &gst::glib::Error, template: &str) -> CameraError {
    // GStreamer repeats the launch string in some messages, and in it the camera's password.
    let message = without_credentials(error.message());

    // A missing element is a missing package, which the message names.
    let hint = if error.matches(gst::ParseError::NoSuchElement) {
        package_hint(&message)
    } else {
        String::new()
    };

    CameraError::Pipeline(format!("{message}{hint} in: {template}"))
}

/// The oldest error on the pipeline's bus. `None` if there is none.
pub fn bus_error(pipeline: &gst::Pipeline) -> Option<CameraError> {
    // One message a call: the first error is the cause, those after it are its effects.
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    let gst::MessageView::Error(message) = message.view() else {
        return None;
    };

    // The element that complains is part of the words: a decoder's error reads otherwise than a
    // source's.
    let source = match message.src() {
        Some(source) => format!("{}: ", source.name()),
        None => String::new(),
    };

    // The debug text holds the file and line of GStreamer's source, and in its last line what was
    // wrong.
    let detail = message.debug().map(|debug| last_line(&debug));
    let error = message.error();
    let text = format!("{source}{}{}", error.message(), detail.unwrap_or_default());

    // No error of a running pipeline is final, whatever its code: rtspsrc calls a server that
    // refuses a transport for a moment a missing plugin.
    Some(CameraError::Lost(without_credentials(&text)))
}

/// The error of a pipeline that does not start.
pub fn start_error(pipeline: &gst::Pipeline) -> CameraError {
    // Some elements refuse to start without a word on the bus.
    bus_error(pipeline)
        .unwrap_or_else(|| CameraError::Lost("the pipeline does not start".to_owned()))
}

/// True for the error of aravissrc that gave up after 2 s without a frame, which is how a standing line
/// looks to it.
pub fn gave_up_waiting(error: &CameraError) -> bool {
    // These are basesrc's words for GST_FLOW_ERROR, the only sign that aravissrc gives.
    matches!(error, CameraError::Lost(words) if words.contains("reason error (-5)"))
}

/// The last line of GStreamer's debug text, which says what happened; the others say where in its
/// source. Empty if there is one line only.
fn last_line(debug: &str) -> String {
    // One line alone is a place in the source code and says nothing to a person.
    match debug.trim().rsplit_once('\n') {
        Some((_, last)) => format!(" ({})", last.trim()),
        None => String::new(),
    }
}

/// Hint at the Debian package that has the element in the message.
fn package_hint(message: &str) -> String {
    // The element's name stands in quotes in GStreamer's message. It is matched by its beginning,
    // since many elements share a package.
    let element = message.split('"').nth(1).unwrap_or(message);
    let package = PACKAGES
        .iter()
        .find(|(start, _)| element.starts_with(start));

    match package {
        Some((_, package)) => format!("; install the Debian package {package}"),
        None => "; install the GStreamer plugin that has it, or correct its name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        assert!(package_hint("no element \"avdec_h264\"").ends_with("gstreamer1.0-libav"));
        assert!(package_hint("no element \"nosuch\"").contains("correct its name"));
    }
}
