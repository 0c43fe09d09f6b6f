//! The rest of an H.264 slice's header (ITU-T H.264, 7.3.3) up to the marking of reference pictures: one of
//! its operations starts the numbers of pictures anew, as a key frame does.

use super::bits::Bits;

/// Operation that makes all reference pictures unused, and `frame_num` 0 (table 7-9).
const RESET: u32 = 5;

/// Kinds of slices (table 7-6).
const P: u32 = 0;
const B: u32 = 1;
const SP: u32 = 3;

/// The fields of a sequence parameter set that the rest depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceFields {
    /// How the order of pictures is coded.
    pub order: Order,
    /// False for streams with fields.
    pub frames_only: bool,
    /// False for grey pictures, and for colours that are coded apart.
    pub has_chroma: bool,
}

/// Codings of the order of pictures (7.4.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In so many bits of each header.
    Bits(u32),
    /// As differences from what is expected.
    Differences,
    /// Not at all.
    None,
}

/// The fields of a picture parameter set that the rest depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureFields {
    /// True if the order of bottom fields is coded.
    pub has_bottom_order: bool,
    /// Reference pictures of both lists, where a slice does not say their number.
    pub references: [u32; 2],
    /// True if P slices have weights.
    pub weighs_p: bool,
    /// True if B slices have weights.
    pub weighs_b: bool,
    /// True if slices say whether they are redundant.
    pub has_redundant: bool,
}

impl PictureFields {
    /// Reads a picture parameter set from behind its slice groups on, of which it has one.
    pub fn read(bits: &mut Bits, has_bottom_order: bool) -> Option<Self> {
        let references = [bits.golomb()? + 1, bits.golomb()? + 1];
        let weighs_p = bits.flag()?;
        let weighs_b = bits.number(2)? == 1;
        bits.signed()?; // pic_init_qp_minus26
        bits.signed()?; // pic_init_qs_minus26
        bits.signed()?; // chroma_qp_index_offset
        bits.skip(2)?; // deblocking_filter_control_present_flag, constrained_intra_pred_flag
        let has_redundant = bits.flag()?;
        Some(PictureFields {
            has_bottom_order,
            references,
            weighs_p,
            weighs_b,
            has_redundant,
        })
    }
}

/// True if the slice's picture starts the numbers of pictures anew. `bits` stands behind `frame_num` of a
/// reference picture that is no key frame; `kind` is the slice's, 0 to 4.
pub fn resets_numbers(
    bits: &mut Bits,
    kind: u32,
    sequence: SequenceFields,
    picture: PictureFields,
) -> Option<bool> {
    let is_field = !sequence.frames_only && bits.flag()?;

    if is_field {
        bits.skip(1)?; // bottom_field_flag
    }

    skip_order(bits, sequence.order, picture.has_bottom_order && !is_field)?;
    if picture.has_redundant {
        bits.golomb()?;
    }

    // Slices that are predicted say from how many pictures, and in which order these stand.
    let lists = match kind {
        P | SP => 1,
        B => 2,
        _ => 0,
    };

    if kind == B {
        bits.skip(1)?; // direct_spatial_mv_pred_flag
    }

    let mut references = picture.references;
    if lists > 0 && bits.flag()? {
        for count in &mut references[..lists] {
            *count = bits.golomb()?.checked_add(1)?;
        }
    }

    for _ in 0..lists {
        skip_modification(bits)?;
    }

    let has_weights = if kind == B {
        picture.weighs_b
    } else {
        picture.weighs_p
    };

    if lists > 0 && has_weights {
        skip_weights(bits, &references[..lists], sequence.has_chroma)?;
    }

    has_reset(bits)
}

fn skip_order(bits: &mut Bits, order: Order, has_bottom: bool) -> Option<()> {
    match order {
        Order::Bits(count) => bits.skip(count)?,
        Order::Differences => {
            bits.signed()?;
        }

        Order::None => return Some(()),
    }

    if has_bottom {
        bits.signed()?;
    }

    Some(())
}

/// Reads over `ref_pic_list_modification` of one list (7.3.3.1).
fn skip_modification(bits: &mut Bits) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }

    // Each step but the last has one number.
    while bits.golomb()? != 3 {
        bits.golomb()?;
    }

    Some(())
}

/// Reads over `pred_weight_table` (7.3.3.2).
fn skip_weights(bits: &mut Bits, references: &[u32], has_chroma: bool) -> Option<()> {
    bits.golomb()?; // luma_log2_weight_denom
    if has_chroma {
        bits.golomb()?;
    }

    // A weight and an offset for brightness, and two of both for colour.
    for _ in 0..references.iter().sum::<u32>() {
        skip_pairs(bits, 1)?;

        if has_chroma {
            skip_pairs(bits, 2)?;
        }
    }

    Some(())
}

fn skip_pairs(bits: &mut Bits, pairs: u32) -> Option<()> {
    if bits.flag()? {
        for _ in 0..2 * pairs {
            bits.signed()?;
        }
    }

    Some(())
}

/// True if `dec_ref_pic_marking` (7.3.3.3) of a picture that is no key frame holds the reset.
fn has_reset(bits: &mut Bits) -> Option<bool> {
    if !bits.flag()? {
        return Some(false);
    }

    // The operations by their numbers of values; 0 ends them.
    let mut has_reset = false;

    loop {
        let values = match bits.golomb()? {
            0 => return Some(has_reset),
            1 | 2 | 4 | 6 => 1,
            3 => 2,
            RESET => {
                has_reset = true;

                0
            }

            _ => return None,
        };

        for _ in 0..values {
            bits.golomb()?;
        }
    }
}
