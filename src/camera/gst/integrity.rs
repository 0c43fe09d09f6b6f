//! The watch over a decoder: each access unit is checked before it goes in, the decoder's words are
//! heard while it works, and pictures that come out are marked with the cause of their damage.
//!
//! ```text
//! parser --AU--> [sink pad: Checker, References] decoder [src pad: mark] --picture--> appsink
//!                        \---- causes by presentation time ----/
//! ```
//! Everything runs on the thread that feeds the decoder, so that the order of the units is that of
//! the stream.

use super::bitstream::{Checker, Entry, Framing, H264, H265};
use super::blindness::Blindness;
use super::decoder_log;
use super::references::References;
use crate::image::jpeg;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Units whose causes are remembered: more than any decoder holds back for reordering.
const REMEMBERED: usize = 64;

/// The cause of a picture that only a mark tells of.
const MARKED: &str = "the decoder lacked data for it";

/// Decoders of FFmpeg for the codecs that are checked.
const SPEAKING: [&str; 2] = ["avdec_h264", "avdec_h265"];

/// Causes of damage of one camera's pictures, by presentation time. Clones share them.
#[derive(Clone, Default)]
pub struct Integrity {
    causes: Arc<Mutex<Causes>>,
    blindness: Blindness,
    /// Damage that no check of the stream finds, in words. `None` before the first key frame as well.
    blind_spot: Arc<Mutex<Option<&'static str>>>,
}

/// The last units, the newest at the back; beyond [`REMEMBERED`] the oldest is forgotten.
#[derive(Default)]
struct Causes(VecDeque<Cause>);

struct Cause {
    pts: Option<u64>,
    words: Option<Arc<str>>,
}

impl Integrity {
    /// Watches all decoders of H.264, H.265 and JPEG that the pipeline has, and those that it will get.
    /// `blindness` is told of each coded picture.
    pub fn watch(pipeline: &gst::Pipeline, blindness: &Blindness) -> Self {
        decoder_log::listen();
        blindness.begin();
        let integrity = Integrity {
            blindness: blindness.clone(),
            ..Integrity::default()
        };

        // The elements of the launch string are there already.
        for element in pipeline.iterate_recurse().into_iter().flatten() {
            integrity.watch_decoder(&element);
        }

        // `decodebin` makes its decoder when it has seen the stream's beginning.
        let later = integrity.clone();
        pipeline.connect_deep_element_added(move |_, _, element| later.watch_decoder(element));

        integrity
    }

    /// The cause why the picture of this buffer is corrupt; `None` for a whole one.
    pub fn cause(&self, buffer: &gst::BufferRef) -> Option<Arc<str>> {
        // A cause in words goes before the bare mark, which decoders set on pictures before their
        // first key frame as well.
        let pts = time_of(buffer);
        let known = self.causes().of(pts);
        let is_marked = buffer.flags().contains(gst::BufferFlags::CORRUPTED);

        known.or_else(|| is_marked.then(|| MARKED.into()))
    }

    /// Damage that no check of the stream finds, in words. `None` where all is found, and before the
    /// first key frame.
    pub fn blind_spot(&self) -> Option<&'static str> {
        *locked(&self.blind_spot)
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        locked(&self.causes)
    }

    fn watch_decoder(&self, element: &gst::Element) {
        let Some(factory) = element.factory().filter(is_video_decoder) else {
            return;
        };

        let sink = element.static_pad("sink");
        let source = element.static_pad("src");
        let (Some(sink), Some(source)) = (sink, source) else {
            return;
        };

        // Frames that FFmpeg decodes on several threads leave their words on threads of its own.
        if SPEAKING.contains(&factory.name().as_str()) {
            element.set_property_from_str("max-threads", "1");
        }

        // Both pads run on the thread that feeds the decoder; the lock is never waited for.
        let stream = Arc::new(Mutex::new(Stream::new(self.clone())));
        let fed = stream.clone();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        sink.add_probe(kinds, move |_, info| {
            let mut stream = locked(&fed);

            match &info.data {
                Some(gst::PadProbeData::Event(event)) => stream.event(event),
                Some(gst::PadProbeData::Buffer(buffer)) => stream.unit(buffer),
                _ => {}
            }

            gst::PadProbeReturn::Ok
        });

        source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let mut stream = locked(&stream);

            if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                stream.picture(buffer);
            }

            gst::PadProbeReturn::Ok
        });
    }
}

/// The lock's content. A panic of another thread ends the process; until then nothing is half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Presentation time in nanoseconds.
fn time_of(buffer: &gst::BufferRef) -> Option<u64> {
    let pts = buffer.pts()?;

    Some(pts.nseconds())
}

fn is_video_decoder(factory: &gst::ElementFactory) -> bool {
    // A class reads like "Codec/Decoder/Video"; JPEG's decoder is one of images.
    let class = factory.metadata("klass").unwrap_or_default();
    let is_of_pictures = class.contains("Video") || class.contains("Image");

    class.contains("Decoder") && is_of_pictures
}

impl Causes {
    fn put(&mut self, pts: Option<u64>, words: Option<Arc<str>>) {
        // The oldest picture has left the decoder long ago.
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }

        self.0.push_back(Cause { pts, words });
    }

    /// Gives the last unit a cause, where it has none.
    fn blame_last(&mut self, words: Arc<str>) {
        if let Some(last) = self.0.back_mut() {
            last.words.get_or_insert(words);
        }
    }

    /// The cause of the pictures of this time. Without a time it is the last unit's.
    fn of(&self, pts: Option<u64>) -> Option<Arc<str>> {
        let Some(pts) = pts else {
            return self.0.back()?.words.clone();
        };

        // Two units of one time are two pictures that cannot be told apart: the damaged one counts.
        let mut is_known = false;

        for cause in self.0.iter().rev().filter(|cause| cause.pts == Some(pts)) {
            is_known = true;

            if cause.words.is_some() {
                return cause.words.clone();
            }
        }

        // A time that no unit had was made up by the decoder, as it does around lost slices. The last
        // unit's cause counts then, so that a damaged stream hands no picture on as whole.
        match is_known {
            true => None,
            false => self.0.back()?.words.clone(),
        }
    }
}

/// One decoder's stream.
struct Stream {
    integrity: Integrity,
    /// `None` for a codec that is not checked, or units that are not whole.
    checker: Option<Checker>,
    framing: Framing,
    references: References,
    is_first: bool,
    /// Arrival of the last unit. `None` before the first.
    last_unit: Option<Instant>,
    /// True where each buffer is a JPEG. Such a pipeline decodes it twice, here and in its decoder; one
    /// that ends in `image/jpeg` decodes it once.
    is_jpeg: bool,
    /// Memory of the last decoded JPEG.
    pixels: Vec<u8>,
}

impl Stream {
    fn new(integrity: Integrity) -> Self {
        Stream {
            integrity,
            checker: None,
            framing: Framing::StartCodes,
            references: References::default(),
            is_first: true,
            last_unit: None,
            is_jpeg: false,
            pixels: vec![],
        }
    }

    /// Takes the stream's description. A seek or a flush starts the references anew.
    fn event(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Caps(caps) => self.describe(caps.caps()),
            gst::EventView::FlushStop(_) => self.references = References::default(),
            _ => {}
        }
    }

    fn describe(&mut self, caps: &gst::CapsRef) {
        let Some(structure) = caps.structure(0) else {
            return;
        };

        self.is_jpeg = structure.name() == "image/jpeg";
        let is_h264 = structure.name() == "video/x-h264";
        let is_h265 = structure.name() == "video/x-h265";
        let is_whole = structure.get::<&str>("alignment") == Ok("au");

        if !(is_h264 || is_h265) || !is_whole {
            self.checker = None;
            return;
        }

        // New caps with the same codec come with new parameter sets; those that are known stay.
        let fresh = match &self.checker {
            Some(Checker::H264(_)) => !is_h264,
            Some(Checker::H265(_)) => !is_h265,
            None => true,
        };

        if fresh {
            let checker = match is_h264 {
                true => Checker::H264(H264::default()),
                false => Checker::H265(H265::default()),
            };

            self.checker = Some(checker);
        }

        // Lengths instead of start codes come with `codec_data`, which says how long they are.
        self.framing = Framing::StartCodes;

        if let Ok(data) = structure.get::<gst::Buffer>("codec_data")
            && let Ok(map) = data.map_readable()
        {
            self.take_codec_data(&map, is_h264);
        }
    }

    /// Reads `avcC` or `hvcC` (ISO/IEC 14496-15): the size of lengths, and the parameter sets.
    fn take_codec_data(&mut self, data: &[u8], is_h264: bool) {
        let (size_at, sets) = match is_h264 {
            true => (4, avc_sets(data)),
            false => (21, hevc_sets(data)),
        };

        // The lowest two bits of that byte hold the size of a length, less one.
        let Some(size) = data.get(size_at) else {
            return;
        };

        self.framing = Framing::Lengths(1 + usize::from(size & 3));
        for set in sets.unwrap_or_default() {
            if let (Some(checker), false) = (&mut self.checker, set.is_empty()) {
                checker.parameter_set(set);
            }
        }
    }

    /// Looks at the next unit before it is decoded.
    fn unit(&mut self, buffer: &gst::Buffer) {
        // Words that came after the last picture went out belong to the unit before.
        self.hear();
        let pts = time_of(buffer);
        let Ok(map) = buffer.map_readable() else {
            return;
        };

        if self.is_jpeg {
            self.jpeg(&map, pts);
        }

        let Some(checker) = &mut self.checker else {
            return;
        };

        let mut unit = checker.check(&map, self.framing);

        // The depayloader and the parser mark units that lack packets or stand behind a gap.
        // The first unit of all stands behind a gap by nature.
        let flags = buffer.flags();

        if flags.contains(gst::BufferFlags::CORRUPTED) {
            let words = "packets of it were lost";
            unit.damage.get_or_insert(words.to_owned());
        }

        let has_gap = flags.contains(gst::BufferFlags::DISCONT);
        if has_gap && !self.is_first {
            let words = "packets before it were lost";
            unit.lost_before.get_or_insert(words.to_owned());
        }

        // The parameter sets that say how pictures are coded come with a key frame.
        if unit.entry != Entry::None {
            *locked(&self.integrity.blind_spot) = checker.blind_spot();
        }

        // The cause is on record before the decoder gets the unit, whose picture may come out at once.
        self.is_first = false;
        let words = self.references.follow(&unit, pts);
        self.integrity.causes().put(pts, words);
        self.note_blindness(unit.entry != Entry::None);
    }

    /// Notes whether pictures that follow now can be whole.
    fn note_blindness(&mut self, is_key: bool) {
        let now = Instant::now();
        let last = self.last_unit.replace(now).unwrap_or(now);
        let cause = self.references.broken();
        let blindness = &self.integrity.blindness;
        blindness.picture(now - last, is_key, cause);
    }

    /// Looks at a JPEG. Bytes without a time are pieces of one that the decoder puts together.
    fn jpeg(&mut self, bytes: &[u8], pts: Option<u64>) {
        if pts.is_none() {
            return;
        }

        // Only the damage is wanted: the pixels come from the pipeline's own decoder.
        let memory = std::mem::take(&mut self.pixels);
        let damage = match jpeg::decode(bytes, memory) {
            Ok(decoded) => {
                self.pixels = decoded.picture.into_rgb();

                decoded.damage.map(|damage| damage.to_string())
            }

            Err(error) => Some(error.to_string()),
        };

        self.integrity.causes().put(pts, damage.map(Arc::from));
    }

    /// Marks a picture that comes out, where it is damaged. The mark stays when an element behind the
    /// decoder changes the time, by which the cause is found.
    fn picture(&mut self, buffer: &mut gst::Buffer) {
        self.hear();
        let pts = time_of(buffer);
        let is_damaged = self.integrity.causes().of(pts).is_some();
        let is_marked = buffer.flags().contains(gst::BufferFlags::CORRUPTED);

        if is_damaged && !is_marked {
            let change = buffer.make_mut();
            change.set_flags(gst::BufferFlags::CORRUPTED);
        }
    }

    /// Hears what the decoder said about the last unit.
    fn hear(&mut self) {
        if let Some(words) = decoder_log::take()
            && self.checker.is_some()
        {
            let cause = self.references.decoder_found(&words);
            self.integrity.causes().blame_last(cause);
        }
    }
}

/// The parameter sets of `avcC`: a count of SPS, each with a length of two bytes; then PPS.
fn avc_sets(data: &[u8]) -> Option<Vec<&[u8]>> {
    // The count of SPS shares its byte with reserved bits; that of PPS has a byte of its own.
    let mut sets = vec![];
    let mut rest = data.get(5..)?;

    for mask in [31, 255] {
        let (count, after) = rest.split_first()?;
        rest = after;

        for _ in 0..count & mask {
            sets.push(counted(&mut rest)?);
        }
    }

    Some(sets)
}

/// The parameter sets of `hvcC`: arrays by type, each a count of sets with a length of two bytes.
fn hevc_sets(data: &[u8]) -> Option<Vec<&[u8]>> {
    // Each array begins with its type, which the units repeat, and the number of units.
    let mut sets = vec![];
    let (arrays, mut rest) = data.get(22..)?.split_first()?;

    for _ in 0..*arrays {
        let (head, after) = rest.split_at_checked(3)?;
        rest = after;

        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            sets.push(counted(&mut rest)?);
        }
    }

    Some(sets)
}

/// The next bytes behind their length of two bytes.
fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_at_checked(2)?;
    let length = u16::from_be_bytes([length[0], length[1]]);
    let (set, after) = after.split_at_checked(usize::from(length))?;
    *rest = after;

    Some(set)
}
