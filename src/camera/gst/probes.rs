//! Additions to a pipeline that is about to run: padded rows, times of decoding, lost packets, errors
//! only; and the question for its automatic features.

use crate::camera::auto_features::{self, Automatics};
use crate::camera::source::Sink;
use crate::camera::stopwatch::Stopwatch;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::VideoMeta;
use std::sync::Arc;
use std::time::Instant;

/// Properties of aravissrc, and the features that they set.
const ARAVIS_FEATURES: [(&str, &str); 2] = [("exposure-auto", "exposure"), ("gain-auto", "gain")];

/// Says that rows may have any stride: a decoder that hears otherwise copies every picture. (appsink
/// itself says nothing.)
pub fn accept_padded_rows(sink: &AppSink) {
    // A sink without a pad has no query to answer.
    let Some(pad) = sink.static_pad("sink") else {
        return;
    };

    // Without this answer a decoder copies each picture into packed rows; with it the rows come as
    // they lie, with a meta that says how.
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let query = info.query_mut().map(|query| query.view_mut());

        if let Some(gst::QueryViewMut::Allocation(allocation)) = query {
            allocation.add_allocation_meta::<VideoMeta>(None);
            gst::PadProbeReturn::Handled
        } else {
            gst::PadProbeReturn::Ok
        }
    });
}

/// Times each frame from the element named `decoder`, where the pipeline has one.
pub fn time_decoding(pipeline: &gst::Pipeline) -> Arc<Stopwatch> {
    let stopwatch = Arc::new(Stopwatch::default());
    let decoder = pipeline.by_name("decoder");

    // The probe runs on GStreamer's thread: it notes the time and does nothing else.
    if let Some(pad) = decoder.and_then(|decoder| decoder.static_pad("sink")) {
        let started = stopwatch.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
                started.start(pts.nseconds(), Instant::now());
            }

            gst::PadProbeReturn::Ok
        });
    }

    stopwatch
}

/// Makes an RTSP source named `source` say downstream when packets are lost: only then can a decoder
/// mark what lacks them.
pub fn announce_losses(pipeline: &gst::Pipeline) {
    // Only rtspsrc has this property; the other sources lose nothing on the way.
    let Some(source) = pipeline.by_name("source") else {
        return;
    };

    if !source.has_property("do-rtcp") {
        return;
    }

    // The jitter buffer's manager comes with the connection, hence the signal.
    source.connect("new-manager", false, |values| {
        let manager: gst::Element = values.get(1)?.get().ok()?;

        // A lost packet becomes an event, which depayloaders turn into a flag on the picture.
        if manager.has_property("do-lost") {
            manager.set_property("do-lost", true);
        }

        None
    });
}

/// Drops all messages but errors: the bus is not read while frames come, and others would pile up.
pub fn keep_only_errors(pipeline: &gst::Pipeline) {
    // A pipeline has a bus from its beginning.
    let Some(bus) = pipeline.bus() else {
        return;
    };

    bus.set_sync_handler(|_, message| match message.type_() {
        gst::MessageType::Error => gst::BusSyncReply::Pass,
        _ => gst::BusSyncReply::Drop,
    });
}

/// Offers the sink the camera's automatic features, unless the source has none: a test picture, and a
/// camera whose automatics its kind's file switches off.
pub fn offer_automatics(pipeline: &gst::Pipeline, sink: &mut dyn Sink) {
    let Some(source) = pipeline.by_name("source") else {
        return;
    };

    // The factory's name says what kind of source it is, whatever the plant has called it.
    let factory = source.factory();
    let name = factory.map(|factory| factory.name().to_string());

    // Drawn pictures have no exposure; the CSI source sets everything by its own tuning file.
    match name.unwrap_or_default().as_str() {
        "videotestsrc" | "nvarguscamerasrc" => {}
        "v4l2src" => sink.automatics(&mut || v4l2_automatics(&source)),
        "aravissrc" => sink.automatics(&mut || aravis_automatics(&source)),
        _ => sink.automatics(&mut || Automatics::Unreadable),
    }
}

fn v4l2_automatics(source: &gst::Element) -> Automatics {
    // The descriptor belongs to the element, which is in use while the camera runs.
    let device = source.property::<i32>("device-fd");

    auto_features::v4l2_automatics(|id| auto_features::v4l2_control(device, id))
}

fn aravis_automatics(source: &gst::Element) -> Automatics {
    let mut on = Vec::new();

    for (property, feature) in ARAVIS_FEATURES {
        let value = source.property_value(property);

        // A property that the camera has not is no enumeration, and is left out.
        if let Some((_, value)) = gst::glib::EnumValue::from_value(&value)
            && value.nick() != "off"
        {
            on.push(feature);
        }
    }

    Automatics::On(on)
}
