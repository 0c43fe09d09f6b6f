//! Data on its way through a pipeline before its first picture: whether anything arrives, and
//! when a key frame was among it.

use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Data of one try.
#[derive(Default)]
pub struct Arrivals(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    /// Arrival of the last packet. `None` before the first.
    packet: Option<Instant>,
    /// Moment at which the decoder was given the first key frame. `None` before it.
    key_frame: Option<Instant>,
}

impl Arrivals {
    /// True if packets have come within `recent`, and no key frame was among them or the first one came
    /// within that time too: a decoder shows nothing before one, and takes a while for its picture.
    pub fn await_picture(&self, recent: Duration) -> bool {
        let arrived = self.lock();
        let is_alive = arrived.packet.is_some_and(|at| at.elapsed() < recent);

        is_alive && arrived.key_frame.is_none_or(|at| at.elapsed() < recent)
    }

    /// True once the decoder was given a key frame.
    pub fn have_key_frame(&self) -> bool {
        self.lock().key_frame.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the depayloaders, which get every packet, and the element named `decoder`.
pub fn watch(pipeline: &gst::Pipeline) -> Arc<Arrivals> {
    let arrivals = Arc::new(Arrivals::default());

    for element in pipeline.iterate_elements().into_iter().flatten() {
        let factory = element.factory().map(|factory| factory.name());

        if factory.is_some_and(|name| name.ends_with("depay")) {
            watch_packets(&element, arrivals.clone());
        }
    }

    if let Some(decoder) = pipeline.by_name("decoder") {
        watch_key_frames(&decoder, arrivals.clone());
    }

    arrivals
}

fn watch_packets(depayloader: &gst::Element, arrivals: Arc<Arrivals>) {
    // Packets come as single buffers or as lists of them.
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;

    if let Some(pad) = depayloader.static_pad("sink") {
        pad.add_probe(kinds, move |_, _| {
            arrivals.lock().packet = Some(Instant::now());
            gst::PadProbeReturn::Ok
        });
    }
}

fn watch_key_frames(decoder: &gst::Element, arrivals: Arc<Arrivals>) {
    let Some(pad) = decoder.static_pad("sink") else {
        return;
    };

    // The parser marks every access unit that needs another one before it. The probe goes with the
    // first key frame: a running camera pays nothing.
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let flags = info.buffer().map(|buffer| buffer.flags());

        if flags.is_some_and(|flags| flags.contains(gst::BufferFlags::DELTA_UNIT)) {
            return gst::PadProbeReturn::Ok;
        }

        arrivals.lock().key_frame = Some(Instant::now());
        gst::PadProbeReturn::Remove
    });
}
