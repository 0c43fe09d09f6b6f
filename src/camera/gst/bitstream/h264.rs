//! H.264 access units (ITU-T H.264, 7.3): parameter sets and slice headers up to `frame_num`.

use super::bits::{Bits, unescaped};
use super::layout::SliceLayout;
use super::marking::{Order, PictureFields, SequenceFields, resets_numbers};
use super::sei::sei_payload;
use super::unit::{AccessUnit, Entry};
use std::collections::HashMap;

/// Types of NAL units (table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// SEI payload that says from where on pictures are right (D.1.8).
const RECOVERY_POINT: u32 = 6;

/// Profiles whose SPS holds the chroma format and scaling lists (7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Baseline: its slices may come in any order, unless the SPS says that they are of Main as well.
const BASELINE: u32 = 66;

/// Bytes of a slice that hold its header up to the marking of references, weights among it.
const HEADER_MAX: usize = 512;

/// The fields of a sequence parameter set that slice headers depend on.
#[derive(Debug, Clone)]
struct Sps {
    frame_num_bits: u32,
    /// True if the encoder may leave numbers out: temporal layers that were dropped.
    gaps_allowed: bool,
    /// Width and height, in macroblocks.
    size: [u32; 2],
    has_colour_planes: bool,
    /// True if slices may come in any order.
    any_order: bool,
    fields: SequenceFields,
}

/// The fields of a picture parameter set that slice headers depend on.
#[derive(Debug, Clone, Copy)]
struct Pps {
    sps: u32,
    /// False for CAVLC, whose damage may decode to other valid values.
    has_cabac: bool,
    slice_groups: u32,
    /// `None` for a set that ends early, or that has slice groups.
    fields: Option<PictureFields>,
}

/// The beginning of a slice's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    first_block: u32,
    /// 0 to 4 (table 7-6): P, B, I, SP, SI.
    kind: u32,
    frame_num: u32,
    is_idr: bool,
    is_reference: bool,
    /// False where the order of slices means nothing.
    is_ordered: bool,
    gaps_allowed: bool,
    /// `MaxFrameNum`.
    numbers: u32,
    /// True if the numbers start anew behind it.
    resets_numbers: bool,
    /// Width and height of its picture, in macroblocks.
    size: [u32; 2],
}

/// The state of one H.264 stream.
#[derive(Debug, Default)]
pub struct H264 {
    sps: HashMap<u32, Sps>,
    pps: HashMap<u32, Pps>,
    /// `frame_num` of the last reference picture.
    last_reference: Option<u32>,
    layout: SliceLayout,
}

impl H264 {
    /// Takes a parameter set; other units are passed over.
    pub fn parameter_set(&mut self, nal: &[u8]) {
        let Some((header, payload)) = nal.split_first() else {
            return;
        };

        let payload = unescaped(payload);
        match header & 31 {
            SPS => {
                if let Some((id, sps)) = sps(&payload) {
                    self.sps.insert(id, sps);
                }
            }

            PPS => {
                if let Some((id, pps)) = pps(&payload) {
                    self.pps.insert(id, pps);
                }
            }

            _ => {}
        }
    }

    /// True for a stream that is coded with CAVLC.
    pub fn has_cavlc(&self) -> bool {
        self.pps.values().any(|pps| !pps.has_cabac)
    }

    /// Looks at an access unit's NAL units.
    pub fn check(&mut self, nals: &[&[u8]]) -> AccessUnit {
        let mut unit = AccessUnit::default();
        let mut slices = vec![];
        let mut unread = 0;

        for nal in nals {
            match nal[0] & 31 {
                SLICE | IDR_SLICE => match self.slice(nal) {
                    Some(slice) => slices.push(slice),
                    None => unread += 1,
                },
                SEI => unit.entry = recovery_point(&nal[1..]).unwrap_or(unit.entry),
                _ => self.parameter_set(nal),
            }
        }

        self.judge(&mut unit, &slices, unread);
        unit
    }

    /// Fills in the facts that follow from the slices. `unread` slices name no parameter set that is
    /// known, or end within their header.
    fn judge(&mut self, unit: &mut AccessUnit, slices: &[Slice], unread: usize) {
        let Some(first) = slices.first() else {
            unit.lacks_slices(unread, !self.sps.is_empty());
            unit.is_reference = unread > 0;
            return;
        };

        unit.is_reference = slices.iter().any(|slice| slice.is_reference);
        unit.is_intra = slices
            .iter()
            .all(|slice| slice.kind == 2 || slice.kind == 4);
        if first.is_idr {
            unit.entry = Entry::Closed;
        }

        let fault = fault_of(slices, unread).or_else(|| self.missing_slice(slices));
        unit.damage = unit.damage.take().or(fault);
        self.follow_numbers(unit, first);
    }

    /// A slice that all pictures before this one had.
    fn missing_slice(&mut self, slices: &[Slice]) -> Option<String> {
        let is_ordered = slices.iter().all(|slice| slice.is_ordered);

        if !is_ordered {
            return None;
        }

        let begins: Vec<u32> = slices.iter().map(|slice| slice.first_block).collect();
        self.layout.of_size(slices[0].size);
        let missing = self.layout.missing(&begins, slices[0].is_idr)?;

        Some(format!("the slice from macroblock {missing} on is missing"))
    }

    /// Compares `frame_num` with that of the last reference picture (7.4.3): it is the same or the
    /// next, unless numbers may be left out.
    fn follow_numbers(&mut self, unit: &mut AccessUnit, first: &Slice) {
        let now = first.frame_num;

        if let Some(last) = self.last_reference
            && !first.is_idr
            && !first.gaps_allowed
            && now != last
            && now != (last + 1) % first.numbers
        {
            unit.lost_before = Some(format!(
                "reference pictures before it were lost (frame_num {now} after {last})"
            ));
        }

        // A picture that resets the numbers counts as 0 from then on.
        if unit.is_reference {
            self.last_reference = Some(if first.resets_numbers { 0 } else { now });
        }
    }

    /// The header of a slice. `None` for one that cannot be read.
    fn slice(&self, nal: &[u8]) -> Option<Slice> {
        let payload = unescaped(nal.get(1..HEADER_MAX.min(nal.len()))?);
        let mut bits = Bits::new(&payload);
        let first_block = bits.golomb()?;
        let kind = bits.golomb()? % 5;
        let pps = self.pps.get(&bits.golomb()?)?;
        let sps = self.sps.get(&pps.sps)?;

        // The number's length is the SPS's, 4 to 16 bits.
        if sps.has_colour_planes {
            bits.skip(2)?;
        }

        let frame_num = bits.number(sps.frame_num_bits)?;
        let is_idr = nal[0] & 31 == IDR_SLICE;
        let is_reference = nal[0] & 0x60 != 0;

        // The rest is of no use where it cannot be read: then the numbers go on.
        let mut resets = None;

        if let Some(fields) = pps.fields.filter(|_| is_reference && !is_idr) {
            resets = resets_numbers(&mut bits, kind, sps.fields, fields);
        }

        let is_frame = sps.fields.frames_only;
        Some(Slice {
            first_block,
            kind,
            frame_num,
            is_idr,
            is_reference,
            is_ordered: is_frame && pps.slice_groups == 0 && !sps.any_order,
            gaps_allowed: sps.gaps_allowed,
            numbers: 1 << sps.frame_num_bits,
            resets_numbers: resets == Some(true),
            size: sps.size,
        })
    }
}

/// The fault that the slices of one picture show by themselves.
fn fault_of(slices: &[Slice], unread: usize) -> Option<String> {
    if unread > 0 {
        return Some(format!("{unread} of its slices cannot be read"));
    }

    // Slices of one picture agree in all that names the picture.
    let first = slices[0];
    let agree = |slice: &Slice| slice.frame_num == first.frame_num && slice.is_idr == first.is_idr;

    if !slices.iter().all(agree) {
        return Some("slices of two pictures stand in it".to_owned());
    }

    if !first.is_ordered {
        return None;
    }

    if first.first_block != 0 {
        let block = first.first_block;
        return Some(format!("its first slice begins at macroblock {block}"));
    }

    // Each slice begins behind the one before, since the first block of a slice grows.
    for pair in slices.windows(2) {
        if pair[1].first_block <= pair[0].first_block {
            let before = pair[0].first_block;
            let block = pair[1].first_block;
            return Some(format!(
                "a slice at macroblock {block} after one at {before}"
            ));
        }
    }

    None
}

/// A sequence parameter set and its number (7.3.2.1.1), up to `frame_mbs_only_flag`.
fn sps(payload: &[u8]) -> Option<(u32, Sps)> {
    let mut bits = Bits::new(payload);
    let profile = bits.number(8)?;
    let constraints = bits.number(8)?;
    bits.skip(8)?;
    let id = bits.golomb()?;
    let mut chroma = Chroma::COMMON;

    if HIGH_PROFILES.contains(&profile) {
        chroma = high_fields(&mut bits)?;
    }

    let frame_num_bits = bits.golomb()? + 4;
    let order = order(&mut bits)?;
    bits.golomb()?; // max_num_ref_frames
    let gaps_allowed = bits.flag()?;
    let size = [bits.golomb()?, bits.golomb()?];
    let frames_only = bits.flag()?;

    // The standard ends at 16 bits; a longer number comes from a damaged set.
    if frame_num_bits > 16 {
        return None;
    }

    let is_main_too = constraints & 0x40 != 0;
    let sps = Sps {
        frame_num_bits,
        gaps_allowed,
        size,
        has_colour_planes: chroma.has_planes,
        any_order: profile == BASELINE && !is_main_too,
        fields: SequenceFields {
            order,
            frames_only,
            has_chroma: chroma.is_coded,
        },
    };

    Some((id, sps))
}

/// The coding of colours.
struct Chroma {
    /// True if the three colours are coded apart.
    has_planes: bool,
    /// True if colour is coded with brightness.
    is_coded: bool,
}

impl Chroma {
    /// The coding of all profiles but the high ones: 4:2:0.
    const COMMON: Chroma = Chroma {
        has_planes: false,
        is_coded: true,
    };
}

/// Reads the fields of the high profiles.
fn high_fields(bits: &mut Bits) -> Option<Chroma> {
    let chroma_format = bits.golomb()?;
    let has_planes = chroma_format == 3 && bits.flag()?;
    bits.golomb()?; // bit_depth_luma_minus8
    bits.golomb()?; // bit_depth_chroma_minus8
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag

    // Scaling lists of 16 values, the last of 64.
    if bits.flag()? {
        let lists = if chroma_format == 3 { 12 } else { 8 };

        for list in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }

    Some(Chroma {
        has_planes,
        is_coded: chroma_format != 0 && !has_planes,
    })
}

/// Reads over a scaling list (7.3.2.1.1.1): it ends early where the next scale becomes 0.
fn skip_scaling_list(bits: &mut Bits, size: usize) -> Option<()> {
    let mut last = 8;
    let mut next = 8;

    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()? + 256) % 256;
        }

        last = if next == 0 { last } else { next };
    }

    Some(())
}

/// Reads the fields of the picture order count.
fn order(bits: &mut Bits) -> Option<Order> {
    match bits.golomb()? {
        0 => {
            let count = bits.golomb()?.checked_add(4)?;

            Some(Order::Bits(count))
        }

        1 => {
            let is_always_zero = bits.flag()?;
            bits.signed()?; // offset_for_non_ref_pic
            bits.signed()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.golomb()? {
                bits.signed()?;
            }

            Some(if is_always_zero {
                Order::None
            } else {
                Order::Differences
            })
        }

        _ => Some(Order::None),
    }
}

/// A picture parameter set and its number (7.3.2.2).
fn pps(payload: &[u8]) -> Option<(u32, Pps)> {
    let mut bits = Bits::new(payload);
    let id = bits.golomb()?;
    let sps = bits.golomb()?;
    let has_cabac = bits.flag()?;
    let has_bottom_order = bits.flag()?;
    let slice_groups = bits.golomb()?;
    let mut fields = None;

    if slice_groups == 0 {
        fields = PictureFields::read(&mut bits, has_bottom_order);
    }

    let pps = Pps {
        sps,
        has_cabac,
        slice_groups,
        fields,
    };

    Some((id, pps))
}

/// The entry that an SEI unit announces. `None` for one without a recovery point.
fn recovery_point(payload: &[u8]) -> Option<Entry> {
    let payload = unescaped(payload);
    let after = sei_payload(&payload, RECOVERY_POINT)?;

    match Bits::new(after).golomb()? {
        0 => Some(Entry::Open),
        count => Some(Entry::Gradual(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::gst::bitstream::bits::tests::written;

    fn nal(header: u8, words: &str) -> Vec<u8> {
        let mut nal = vec![header];
        nal.extend(written(words));
        nal
    }

    /// A stream of profile Main with numbers of 4 bits, orders of 4 bits, and weights of P slices.
    fn stream(width: u32) -> H264 {
        let mut checker = H264::default();
        let sps = format!("01001101 00000000 00011110 #0 #0 #0 #0 #2 0 #{width} #14 1");
        checker.parameter_set(&nal(0x67, &sps));
        checker.parameter_set(&nal(0x68, "#0 #0 1 0 #0 #1 #0 1 00 #0 #0 #0 0 0 0"));
        checker
    }

    /// A P slice from a block on, with the end of its header from the number of references on.
    fn slice(block: u32, number: u32, rest: &str) -> Vec<u8> {
        let words = format!("#{block} #0 #0 {number:04b} 0110 {rest}");
        nal(0x41, &words)
    }

    /// No number of references, the usual order, weights of two references, no marking.
    const PLAIN: &str = "0 0 #0 #0 1 #3 #4 1 #1 #2 #3 #4 0 0 0";

    fn idr(checker: &mut H264, blocks: &[u32]) -> AccessUnit {
        let slice = |block: &u32| nal(0x65, &format!("#{block} #2 #0 0000 #0 0000 0 0"));
        let slices: Vec<Vec<u8>> = blocks.iter().map(slice).collect();
        let nals: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        checker.check(&nals)
    }

    #[test]
    fn an_operation_5_starts_the_numbers_anew() {
        // Three references, two of them in another order; operations 1, 3, 4 and 5.
        let long = "1 #2 1 #0 #3 #2 #1 #3 #0 #0 0 0 1 #1 #2 0 0 0";
        let reset = format!("{long} 1 #1 #0 #3 #1 #1 #4 #2 #5 #0");
        let other = format!("{long} 1 #1 #0 #3 #1 #1 #4 #2 #0");
        for (words, is_lost) in [(reset, false), (other, true)] {
            let mut checker = stream(19);
            let mut check = |nal: Vec<u8>| checker.check(&[&nal]).lost_before.is_some();
            assert!(!check(slice(0, 3, PLAIN)));
            assert!(!check(slice(0, 4, PLAIN)));
            assert!(!check(slice(0, 5, &words)));
            assert_eq!(check(slice(0, 1, PLAIN)), is_lost, "{words}");
            assert!(!check(slice(0, 2, PLAIN)));
            assert!(check(slice(0, 6, PLAIN)), "numbers that are left out");
        }
    }

    #[test]
    fn numbers_go_on_where_a_header_ends_early() {
        let mut checker = stream(19);
        checker.check(&[&slice(0, 5, "1")]);
        let unit = checker.check(&[&slice(0, 6, PLAIN)]);
        assert_eq!((unit.damage, unit.lost_before), (None, None));
    }

    #[test]
    fn fewer_slices_are_damage_unless_the_picture_has_another_size() {
        let mut checker = stream(19);
        for _ in 0..5 {
            assert_eq!(idr(&mut checker, &[0, 20, 40]).damage, None);
        }

        let unit = idr(&mut checker, &[0, 20]);
        let words = "the slice from macroblock 40 on is missing";
        assert_eq!(unit.damage.as_deref(), Some(words));
        let sps = "01001101 00000000 00011110 #0 #0 #0 #0 #2 0 #9 #14 1";
        checker.parameter_set(&nal(0x67, sps));
        assert_eq!(idr(&mut checker, &[0]).damage, None);
    }
}
