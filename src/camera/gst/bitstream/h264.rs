//! H.264 access units (ITU-T H.264, 7.3): parameter sets and slice headers up to `frame_num`.

use super::bits::{Bits, unescaped};
use super::layout::SliceLayout;
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

/// The fields of a sequence parameter set that slice headers depend on.
#[derive(Debug, Clone)]
struct Sps {
    frame_num_bits: u32,
    /// True if the encoder may leave numbers out: temporal layers that were dropped.
    gaps_allowed: bool,
    /// False for streams with fields.
    frames_only: bool,
    has_colour_planes: bool,
    /// True if slices may come in any order.
    any_order: bool,
}

/// The fields of a picture parameter set that slice headers depend on.
#[derive(Debug, Clone, Copy)]
struct Pps {
    sps: u32,
    /// False for CAVLC, whose damage may decode to other valid values.
    has_cabac: bool,
    slice_groups: u32,
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

        if unit.is_reference {
            self.last_reference = Some(now);
        }
    }

    /// The header of a slice. `None` for one that cannot be read.
    fn slice(&self, nal: &[u8]) -> Option<Slice> {
        let payload = unescaped(nal.get(1..64.min(nal.len()))?);
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
        let is_frame = sps.frames_only;
        Some(Slice {
            first_block,
            kind,
            frame_num,
            is_idr: nal[0] & 31 == IDR_SLICE,
            is_reference: nal[0] & 0x60 != 0,
            is_ordered: is_frame && pps.slice_groups == 0 && !sps.any_order,
            gaps_allowed: sps.gaps_allowed,
            numbers: 1 << sps.frame_num_bits,
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
    let has_colour_planes = HIGH_PROFILES.contains(&profile) && high_fields(&mut bits)?;
    let frame_num_bits = bits.golomb()? + 4;
    skip_order_counts(&mut bits)?;
    bits.golomb()?; // max_num_ref_frames
    let gaps_allowed = bits.flag()?;
    bits.golomb()?; // pic_width_in_mbs_minus1
    bits.golomb()?; // pic_height_in_map_units_minus1
    let frames_only = bits.flag()?;

    // The standard ends at 16 bits; a longer number comes from a damaged set.
    if frame_num_bits > 16 {
        return None;
    }

    let is_main_too = constraints & 0x40 != 0;
    let sps = Sps {
        frame_num_bits,
        gaps_allowed,
        frames_only,
        has_colour_planes,
        any_order: profile == BASELINE && !is_main_too,
    };

    Some((id, sps))
}

/// Reads over the fields of the high profiles; true if the three colours are coded apart.
fn high_fields(bits: &mut Bits) -> Option<bool> {
    let chroma_format = bits.golomb()?;
    let has_colour_planes = chroma_format == 3 && bits.flag()?;
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

    Some(has_colour_planes)
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

/// Reads over the fields of the picture order count.
fn skip_order_counts(bits: &mut Bits) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.golomb()? {
                bits.signed()?;
            }
        }
        _ => {}
    }

    Some(())
}

/// A picture parameter set and its number (7.3.2.2), up to the slice groups.
fn pps(payload: &[u8]) -> Option<(u32, Pps)> {
    let mut bits = Bits::new(payload);
    let id = bits.golomb()?;
    let sps = bits.golomb()?;
    let has_cabac = bits.flag()?;
    bits.skip(1)?; // bottom_field_pic_order_in_frame_present_flag
    let slice_groups = bits.golomb()?;
    let pps = Pps {
        sps,
        has_cabac,
        slice_groups,
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
