//! Arrival of frames at the pipeline's end, where they wait for their reader. The time travels with the
//! frame: time stamps repeat after a connection was held up, and the sink drops frames when it is full.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use std::time::{Duration, Instant};

/// Name of the time among the reference times of a buffer.
const NAME: &str = "timestamp/x-winspect-arrival";

/// The arrivals of one try.
pub struct SinkArrivals {
    name: gst::Caps,
    /// Beginning of the times.
    origin: Instant,
}

impl SinkArrivals {
    /// Marks each buffer that comes to the sink with its time.
    pub fn watch(sink: &AppSink) -> Self {
        let arrivals = SinkArrivals {
            name: gst::Caps::new_empty_simple(NAME),
            origin: Instant::now(),
        };

        // A sink without a pad has no frames.
        let Some(pad) = sink.static_pad("sink") else {
            return arrivals;
        };

        let (name, origin) = (arrivals.name.clone(), arrivals.origin);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let at = gst::ClockTime::try_from(origin.elapsed());
            if let (Some(buffer), Ok(at)) = (info.buffer_mut(), at) {
                gst::ReferenceTimestampMeta::add(
                    buffer.make_mut(),
                    &name,
                    at,
                    gst::ClockTime::NONE,
                );
            }

            gst::PadProbeReturn::Ok
        });

        arrivals
    }

    /// Arrival of a buffer. `None` if it was not marked.
    pub fn of(&self, buffer: &gst::BufferRef) -> Option<Instant> {
        let mut times = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
        let marked = times.find(|meta| meta.reference() == self.name.as_ref())?;
        let since = Duration::from_nanos(marked.timestamp().nseconds());
        self.origin.checked_add(since)
    }
}
