//! Times that travel with a frame through its pipeline: those of the network and of the pipeline's end.
//!
//! A time stamp of the buffer does not serve for that: stamps repeat after a connection was held up, and
//! the sink drops frames when it is full. Elements hand reference times on from packets to pictures.

use gstreamer as gst;
use gstreamer::glib::subclass::SignalId;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Name of the arrival at the pipeline's end among the reference times of a buffer.
const AT_SINK: &str = "timestamp/x-winspect-sink";
/// Name of the arrival from the network.
const FROM_NETWORK: &str = "timestamp/x-winspect-network";
/// Name of the time by the sender's stamps.
const STAMPED: &str = "timestamp/x-winspect-rtp";

/// The marks of one try.
pub struct Marks {
    at_sink: gst::Caps,
    network: NetworkNames,
    /// Beginning of the arrivals.
    origin: Instant,
}

#[derive(Clone)]
struct NetworkNames {
    arrival: gst::Caps,
    stamped: gst::Caps,
}

/// A frame as it came from the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    /// Arrival of its first packet.
    pub arrived: Instant,
    /// Time by the stamps of its sender (RTP), with an arbitrary zero in each connection.
    pub stamped: Duration,
}

impl Marks {
    /// Marks each packet that comes from an rtspsrc named `source`, before anything waits for anything,
    /// and each picture that comes to the sink.
    pub fn place(pipeline: &gst::Pipeline, sink: &AppSink) -> Self {
        let marks = Marks {
            at_sink: gst::Caps::new_empty_simple(AT_SINK),
            network: NetworkNames {
                arrival: gst::Caps::new_empty_simple(FROM_NETWORK),
                stamped: gst::Caps::new_empty_simple(STAMPED),
            },
            origin: Instant::now(),
        };

        // A sink without a pad has no frames.
        if let Some(pad) = sink.static_pad("sink") {
            let (name, origin) = (marks.at_sink.clone(), marks.origin);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer_mut() {
                    mark(buffer.make_mut(), &name, origin.elapsed());
                }

                gst::PadProbeReturn::Ok
            });
        }

        marks.watch_network(pipeline);
        marks
    }

    fn watch_network(&self, pipeline: &gst::Pipeline) {
        let source = pipeline.by_name("source");
        let Some(source) = source.filter(|source| source.has_property("do-rtcp")) else {
            return;
        };

        // The jitter buffer comes with the stream. What comes into it has not waited for a decoder.
        let (names, origin) = (self.network.clone(), self.origin);
        source.connect("new-manager", false, move |values| {
            let manager: gst::Element = values.get(1)?.get().ok()?;

            // A server of RealNetworks has a manager without it.
            SignalId::lookup("new-jitterbuffer", manager.type_())?;
            let names = names.clone();
            manager.connect("new-jitterbuffer", false, move |values| {
                let jitter_buffer: gst::Element = values.get(1)?.get().ok()?;
                let pad = jitter_buffer.static_pad("sink")?;
                watch_packets(&pad, names.clone(), origin);
                None
            });

            None
        });
    }

    /// Arrival of a buffer at the sink. `None` if it was not marked.
    pub fn at_sink(&self, buffer: &gst::BufferRef) -> Option<Instant> {
        self.origin.checked_add(marked(buffer, &self.at_sink)?)
    }

    /// Arrival of a buffer from the network. `None` where it did not come from an RTSP camera, or a
    /// decoder handed the marks of its packets not on.
    pub fn of_network(&self, buffer: &gst::BufferRef) -> Option<Packet> {
        let arrived = marked(buffer, &self.network.arrival)?;
        Some(Packet {
            arrived: self.origin.checked_add(arrived)?,
            stamped: marked(buffer, &self.network.stamped)?,
        })
    }
}

/// Marks each packet: which of a picture's packets hands its marks on is the depayloader's choice.
fn watch_packets(pad: &gst::Pad, names: NetworkNames, origin: Instant) {
    let stamps = Mutex::new((Stamps::default(), Duration::ZERO));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer_mut() else {
            return gst::PadProbeReturn::Ok;
        };

        let header = buffer
            .map_readable()
            .ok()
            .and_then(|packet| Header::read(&packet));

        let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamps, arrived) = &mut *stamps;

        if let (Some(header), Some(rate)) = (header, clock_rate(pad)) {
            // All packets of a picture count as come when its first one did.
            if stamps.begins_picture(header) {
                *arrived = origin.elapsed();
            }

            let packet = buffer.make_mut();
            mark(packet, &names.arrival, *arrived);
            mark(packet, &names.stamped, stamps.time(rate));
        }

        gst::PadProbeReturn::Ok
    });
}

/// Ticks of a second of the stream's stamps.
fn clock_rate(pad: &gst::Pad) -> Option<u32> {
    let caps = pad.current_caps()?;
    let rate = caps.structure(0)?.get::<i32>("clock-rate").ok()?;

    u32::try_from(rate).ok().filter(|rate| *rate > 0)
}

/// What the header of an RTP packet says of its picture (RFC 3550, 5.1).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Header {
    stamp: u32,
    /// True for the last packet of a picture (the marker bit, as payloads of video use it).
    is_last: bool,
}

impl Header {
    /// Reads bytes 1 and 4 to 8. `None` if the packet is too short.
    fn read(packet: &[u8]) -> Option<Self> {
        let stamp = packet.get(4..8)?;
        Some(Header {
            stamp: u32::from_be_bytes(stamp.try_into().ok()?),
            is_last: packet[1] & 0x80 != 0,
        })
    }
}

/// The stamps of a stream, which begin anywhere and begin anew after 2^32.
#[derive(Debug, Default)]
struct Stamps {
    last: Option<Header>,
    /// The last stamp, counted on from the first one, which is [`Stamps::FIRST`].
    ticks: u64,
}

impl Stamps {
    /// Number of the first stamp: some before it may come later.
    const FIRST: u64 = 1 << 32;

    /// Takes the header of a packet. True for the first packet of a picture.
    fn begins_picture(&mut self, header: Header) -> bool {
        let Some(last) = self.last.replace(header) else {
            self.ticks = Stamps::FIRST;
            return true;
        };

        // The nearer way around: pictures may come in another order than that of their stamps.
        let step = i64::from(header.stamp.wrapping_sub(last.stamp) as i32);
        self.ticks = self.ticks.saturating_add_signed(step);

        // Some senders' stamps stand still.
        step != 0 || last.is_last
    }

    /// Time of the last packet, with so many ticks a second.
    fn time(&self, rate: u32) -> Duration {
        Duration::from_secs_f64(self.ticks as f64 / f64::from(rate))
    }
}

fn mark(buffer: &mut gst::BufferRef, name: &gst::Caps, time: Duration) {
    if let Ok(time) = gst::ClockTime::try_from(time) {
        gst::ReferenceTimestampMeta::add(buffer, name, time, gst::ClockTime::NONE);
    }
}

fn marked(buffer: &gst::BufferRef, name: &gst::Caps) -> Option<Duration> {
    let mut times = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let marked = times.find(|meta| meta.reference() == name.as_ref())?;

    Some(Duration::from_nanos(marked.timestamp().nseconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_beyond_their_32_bits_and_go_back_a_little() {
        let mut stamps = Stamps::default();
        let near_end = u32::MAX - 3599;
        let mut came = vec![];
        for stamp in [near_end, near_end, 3600, 0, 7200] {
            let is_last = false;
            let begins = stamps.begins_picture(Header { stamp, is_last });
            came.push((begins, stamps.ticks - Stamps::FIRST));
        }

        let wanted = [
            (true, 0),
            (false, 0),
            (true, 7200),
            (true, 3600),
            (true, 10_800),
        ];
        assert_eq!(came, wanted);
        let first = f64::from(u32::MAX) + 1.0 + 10_800.0;
        assert_eq!(
            stamps.time(90_000),
            Duration::from_secs_f64(first / 90_000.0)
        );
    }

    #[test]
    fn a_picture_begins_behind_the_last_packet_of_another_one_whatever_its_stamp() {
        let mut stamps = Stamps::default();
        let packets = [false, true, false, true, true].map(|is_last| Header { stamp: 7, is_last });
        let begins = packets.map(|header| stamps.begins_picture(header));
        assert_eq!(begins, [true, false, true, false, true]);
    }

    #[test]
    fn what_is_no_packet_has_no_header() {
        assert_eq!(Header::read(&[0x80, 96, 0, 1, 0, 0]), None);
        let header = Header::read(&[0x80, 0x80 | 96, 0, 1, 0, 0, 1, 2, 9]);
        let wanted = Header {
            stamp: 258,
            is_last: true,
        };
        assert_eq!(header, Some(wanted));
    }
}
