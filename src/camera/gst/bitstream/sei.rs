//! Payloads of SEI units, which H.264 (7.3.2.3) and H.265 (7.3.2.4) pack alike.

/// The bytes of the first payload of a type in an SEI unit (7.3.2.3.1).
pub(super) fn sei_payload(payload: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut rest = payload;

    // A unit ends with a byte of trailing bits, and holds at least two for each payload.
    while rest.len() > 2 {
        let kind = sei_number(&mut rest)?;
        let size = sei_number(&mut rest)? as usize;

        if kind == wanted {
            return Some(rest);
        }

        rest = rest.get(size..)?;
    }

    None
}

/// A number of an SEI unit: 255 for each byte of 255, then the last byte.
fn sei_number(rest: &mut &[u8]) -> Option<u32> {
    let mut number = 0u32;

    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number = number.checked_add(u32::from(*byte))?;

        if *byte != 255 {
            return Some(number);
        }
    }
}
