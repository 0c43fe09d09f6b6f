//! H.265 access units (ITU-T H.265, 7.3): parameter sets and slice segment headers up to the
//! address.

use super::bits::{Bits, unescaped};
use super::layout::SliceLayout;
use super::sei::sei_payload;
use super::unit::{AccessUnit, Entry};
use std::collections::{HashMap, HashSet};

/// Types of NAL units (table 7-1).
const RASL: [u8; 2] = [8, 9];
const BLA_FIRST: u8 = 16;
const IDR: [u8; 2] = [19, 20];
const IRAP_LAST: u8 = 23;
const SLICE_LAST: u8 = 31;
const SPS: u8 = 33;
const PPS: u8 = 34;
const PREFIX_SEI: u8 = 39;

/// SEI payload that says from where on pictures are right (D.2.8).
const RECOVERY_POINT: u32 = 6;

/// The fields of a sequence parameter set that slice headers depend on.
#[derive(Debug, Clone, Copy)]
struct Sps {
    /// Bits of a slice's address: enough for the last coding tree block.
    address_bits: u32,
    /// Width and height, in pixels.
    size: [u32; 2],
}

/// The fields of a picture parameter set that slice headers depend on.
#[derive(Debug, Clone, Copy)]
struct Pps {
    sps: u32,
    has_dependent_slices: bool,
    extra_bits: u32,
    /// True if pictures are cut into tiles: then addresses, which count by rows of the picture, may go
    /// back from slice to slice.
    has_tiles: bool,
}

/// The beginning of a slice segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    is_first: bool,
    address: u32,
    nal_type: u8,
    /// False where slices stand in the order of tiles.
    is_ordered: bool,
    /// Width and height of its picture, in pixels.
    size: [u32; 2],
    /// 0 to 2 (table 7-7): B, P, I. `None` for a dependent segment, which has the one before.
    kind: Option<u32>,
}

/// The state of one H.265 stream.
#[derive(Debug, Default)]
pub struct H265 {
    sps: HashMap<u32, Sps>,
    pps: HashMap<u32, Pps>,
    layout: SliceLayout,
}

impl H265 {
    /// Takes a parameter set; other units are passed over.
    pub fn parameter_set(&mut self, nal: &[u8]) {
        let Some((header, payload)) = nal.split_at_checked(2) else {
            return;
        };

        let payload = unescaped(payload);
        match nal_type(header) {
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

    /// Looks at an access unit's NAL units.
    pub fn check(&mut self, nals: &[&[u8]]) -> AccessUnit {
        let mut unit = AccessUnit::default();
        let mut slices = vec![];
        let mut unread = 0;

        for nal in nals {
            match nal_type(nal) {
                ..=SLICE_LAST => match self.slice(nal) {
                    Some(slice) => slices.push(slice),
                    None => unread += 1,
                },
                PREFIX_SEI => unit.entry = recovery_point(nal).unwrap_or(unit.entry),
                _ => self.parameter_set(nal),
            }
        }

        self.judge(&mut unit, &slices, unread);
        unit
    }

    /// Fills in the facts that follow from the slices. Every picture counts as a reference: a type
    /// that says otherwise says so for its own temporal layer alone.
    fn judge(&mut self, unit: &mut AccessUnit, slices: &[Slice], unread: usize) {
        unit.is_reference = true;
        let Some(first) = slices.first() else {
            unit.lacks_slices(unread, !self.sps.is_empty());
            return;
        };

        // The unit's type says what it needs, more surely than the slices' types.
        unit.is_leading = RASL.contains(&first.nal_type);
        unit.is_intra = slices.iter().all(|slice| slice.kind.unwrap_or(2) == 2);

        match first.nal_type {
            kind if IDR.contains(&kind) => unit.entry = Entry::Closed,
            BLA_FIRST..=IRAP_LAST => unit.entry = Entry::Open,
            _ => {}
        }

        let fault = fault_of(slices, unread).or_else(|| {
            let begins: Vec<u32> = slices.iter().map(|slice| slice.address).collect();
            let is_key = unit.entry == Entry::Closed;
            self.layout.of_size(first.size);
            let missing = self.layout.missing(&begins, is_key)?;
            Some(format!("the slice from block {missing} on is missing"))
        });

        unit.damage = unit.damage.take().or(fault);
    }

    /// The header of a slice segment (7.3.6.1). `None` for one that cannot be read.
    fn slice(&self, nal: &[u8]) -> Option<Slice> {
        let nal_type = nal_type(nal);
        let payload = unescaped(nal.get(2..64.min(nal.len()))?);
        let mut bits = Bits::new(&payload);
        let is_first = bits.flag()?;

        // Pictures at which decoding may begin have one flag more.
        if (BLA_FIRST..=IRAP_LAST).contains(&nal_type) {
            bits.skip(1)?;
        }

        let pps = self.pps.get(&bits.golomb()?)?;
        let sps = self.sps.get(&pps.sps)?;

        // Every segment but the first tells where it begins.
        let mut is_dependent = false;
        let mut address = 0;

        if !is_first {
            is_dependent = pps.has_dependent_slices && bits.flag()?;
            address = bits.number(sps.address_bits)?;
        }

        // A dependent segment has no header of its own: its type is that of the one before.
        let kind = if is_dependent {
            None
        } else {
            bits.skip(pps.extra_bits)?;
            Some(bits.golomb()?)
        };

        Some(Slice {
            is_first,
            address,
            nal_type,
            is_ordered: !pps.has_tiles,
            size: sps.size,
            kind,
        })
    }
}

/// The type in a NAL unit's first byte.
fn nal_type(nal: &[u8]) -> u8 {
    nal[0] >> 1 & 63
}

/// The fault that the slices of one picture show by themselves.
fn fault_of(slices: &[Slice], unread: usize) -> Option<String> {
    if unread > 0 {
        return Some(format!("{unread} of its slices cannot be read"));
    }

    // The flag stands at the picture's beginning alone, so that a picture without it lacks that.
    let first = slices[0];

    if !first.is_first {
        let block = first.address;
        return Some(format!("its first slice begins at block {block}"));
    }

    // The flag of the first segment stands once in a picture, and all are of one type.
    let agree = |slice: &Slice| !slice.is_first && slice.nal_type == first.nal_type;

    if !slices[1..].iter().all(agree) {
        return Some("slices of two pictures stand in it".to_owned());
    }

    for pair in slices.windows(2) {
        if pair[1].address <= pair[0].address && first.is_ordered {
            let before = pair[0].address;
            let block = pair[1].address;
            return Some(format!("a slice at block {block} after one at {before}"));
        }
    }

    // Whatever the order, no block has two slices.
    let mut addresses = HashSet::new();
    let again = slices
        .iter()
        .find(|slice| !addresses.insert(slice.address))?;
    Some(format!("two slices at block {}", again.address))
}

/// A sequence parameter set and its number (7.3.2.2.1), up to the size of blocks.
fn sps(payload: &[u8]) -> Option<(u32, Sps)> {
    let mut bits = Bits::new(payload);
    bits.skip(4)?; // sps_video_parameter_set_id
    let layers = bits.number(3)?;
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile(&mut bits, layers)?;
    let id = bits.golomb()?;

    // With three colours in equal size they may be coded apart, which one more flag says.
    if bits.golomb()? == 3 {
        bits.skip(1)?;
    }

    // Width and height are in pixels, before the conformance window cuts them.
    let width = bits.golomb()?;
    let height = bits.golomb()?;

    if bits.flag()? {
        for _ in 0..4 {
            bits.golomb()?; // conf_win offsets
        }
    }

    bits.golomb()?; // bit_depth_luma_minus8
    bits.golomb()?; // bit_depth_chroma_minus8
    bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
    let all_layers = bits.flag()?;

    for _ in if all_layers { 0 } else { layers }..=layers {
        for _ in 0..3 {
            bits.golomb()?; // buffering, reordering, latency
        }
    }

    // Blocks are squares of 8 << a << b pixels, at most 64; the picture is rounded up to them.
    let size_bits = bits.golomb()?.checked_add(3)?;
    let size_bits = size_bits.checked_add(bits.golomb()?)?;

    if !(3..=6).contains(&size_bits) {
        return None;
    }

    let block = 1 << size_bits;
    let blocks = width.div_ceil(block).checked_mul(height.div_ceil(block))?;
    let address_bits = blocks.max(1).next_power_of_two().trailing_zeros();
    let sps = Sps {
        address_bits,
        size: [width, height],
    };

    Some((id, sps))
}

/// Reads over `profile_tier_level` (7.3.3).
fn skip_profile(bits: &mut Bits, layers: u32) -> Option<()> {
    bits.skip(88)?;
    bits.skip(8)?; // general_level_idc
    let mut present = vec![];

    for _ in 0..layers {
        let has_profile = bits.flag()?;
        let has_level = bits.flag()?;
        present.push((has_profile, has_level));
    }

    // The flags of the layers are filled up to eight pairs.
    if layers > 0 {
        bits.skip(2 * (8 - layers))?;
    }

    for (has_profile, has_level) in present {
        let profile = if has_profile { 88 } else { 0 };
        let level = if has_level { 8 } else { 0 };
        bits.skip(profile + level)?;
    }

    Some(())
}

/// A picture parameter set and its number (7.3.2.3.1), up to the tiles.
fn pps(payload: &[u8]) -> Option<(u32, Pps)> {
    let mut bits = Bits::new(payload);
    let id = bits.golomb()?;
    let sps = bits.golomb()?;
    let has_dependent_slices = bits.flag()?;
    bits.skip(1)?; // output_flag_present_flag
    let extra_bits = bits.number(3)?;
    let pps = Pps {
        sps,
        has_dependent_slices,
        extra_bits,
        has_tiles: tiles_flag(&mut bits).unwrap_or(false),
    };

    Some((id, pps))
}

/// Reads on from the extra bits to `tiles_enabled_flag`.
fn tiles_flag(bits: &mut Bits) -> Option<bool> {
    bits.skip(2)?; // sign_data_hiding_enabled_flag, cabac_init_present_flag
    bits.golomb()?; // num_ref_idx_l0_default_active_minus1
    bits.golomb()?; // num_ref_idx_l1_default_active_minus1
    bits.signed()?; // init_qp_minus26
    bits.skip(2)?; // constrained_intra_pred_flag, transform_skip_enabled_flag
    if bits.flag()? {
        bits.golomb()?; // diff_cu_qp_delta_depth
    }

    bits.signed()?; // pps_cb_qp_offset
    bits.signed()?; // pps_cr_qp_offset
    bits.skip(4)?; // chroma offsets of slices, two flags of weights, lossless blocks
    bits.flag()
}

/// The entry that an SEI unit announces. `None` for one without a recovery point.
fn recovery_point(nal: &[u8]) -> Option<Entry> {
    let payload = unescaped(nal.get(2..)?);
    let after = sei_payload(&payload, RECOVERY_POINT)?;
    let count = Bits::new(after).signed()?;

    // The count is in pictures of the order in which they are shown; negative ones lie behind.
    match u32::try_from(count) {
        Ok(0) | Err(_) => Some(Entry::Open),
        Ok(count) => Some(Entry::Gradual(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::gst::bitstream::bits::tests::written;

    fn nal(kind: u8, words: &str) -> Vec<u8> {
        let mut nal = vec![kind << 1, 1];
        nal.extend(written(words));
        nal
    }

    /// Pictures of 640 x 480 in blocks of 64: 10 in a row, 80 of all.
    fn stream(has_tiles: bool) -> H265 {
        let mut checker = H265::default();
        let profile = "1".repeat(96);
        let sps = format!("0000 000 1 {profile} #0 #1 #640 #480 0 #0 #0 #4 1 #0 #0 #0 #0 #3");
        checker.parameter_set(&nal(SPS, &sps));
        let tiles = u8::from(has_tiles);
        let pps = format!("#0 #0 0 0 000 0 0 #0 #0 #0 0 0 1 #1 #0 #0 0 0 0 0 {tiles} 0");
        checker.parameter_set(&nal(PPS, &pps));
        checker
    }

    fn damage(checker: &mut H265, addresses: &[u32]) -> Option<String> {
        let slice = |address: &u32| match address {
            0 => nal(1, "1 #0 #1"),
            _ => nal(1, &format!("0 #0 {address:07b} #1")),
        };

        let slices: Vec<Vec<u8>> = addresses.iter().map(slice).collect();
        let nals: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        checker.check(&nals).damage
    }

    #[test]
    fn slices_of_tiles_may_go_back() {
        // Two tiles side by side, two slices in each.
        let tiled = [0, 40, 5, 45];
        let mut checker = stream(true);
        for _ in 0..5 {
            assert_eq!(damage(&mut checker, &tiled), None);
        }

        let missing = damage(&mut checker, &[0, 40, 45]);
        let words = "the slice from block 5 on is missing";
        assert_eq!(missing.as_deref(), Some(words));
        let twice = damage(&mut checker, &[0, 40, 5, 40]);
        assert_eq!(twice.as_deref(), Some("two slices at block 40"));
        let words = "a slice at block 5 after one at 40";
        let other = damage(&mut stream(false), &tiled);
        assert_eq!(other.as_deref(), Some(words));
    }
}
