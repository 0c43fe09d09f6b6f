//! The places where a stream's slices begin, once they are known to be the same in every picture.

/// Pictures of one layout before it counts as the stream's own.
const SURE: usize = 32;

/// Learns where slices begin. Encoders that cut pictures into equal slices begin them at the same
/// places for ever, so that a missing one is seen although every other header is right. Encoders
/// that cut by bytes change them from picture to picture, and tell nothing.
#[derive(Debug, Default)]
pub struct SliceLayout {
    /// Addresses of the first blocks of all slices.
    begins: Vec<u32>,
    /// Pictures that had this layout, one after the other.
    seen: usize,
    /// True once the layout changed: then it is no evidence until the next key frame.
    is_free: bool,
}

impl SliceLayout {
    /// Takes the layout of a picture whose headers are right. Returns the address of a slice that is
    /// missing, measured by what all pictures had before.
    pub fn missing(&mut self, begins: &[u32], is_key: bool) -> Option<u32> {
        let missing = self
            .begins
            .iter()
            .find(|begin| !begins.contains(begin))
            .copied();

        let has_others = begins.iter().any(|begin| !self.begins.contains(begin));
        if missing.is_none() && !has_others {
            self.seen += 1;
            return None;
        }

        // A slice that is missing from a sure layout is damage. The layout stays as it is: the next
        // picture has the slice again.
        if !has_others && !self.is_free && self.seen >= SURE {
            return missing;
        }

        // Any other change makes the layout worthless, except before the first picture.
        self.is_free = !is_key && !self.begins.is_empty();
        self.begins = begins.to_vec();
        self.seen = 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_that_every_picture_had_is_missed() {
        let mut layout = SliceLayout::default();
        for _ in 0..SURE {
            assert_eq!(layout.missing(&[0, 20, 40], false), None);
        }

        assert_eq!(layout.missing(&[0, 40], false), Some(20));
        assert_eq!(layout.missing(&[0, 20], false), Some(40));
        assert_eq!(layout.missing(&[0, 20, 40], false), None);
    }

    #[test]
    fn slices_cut_by_bytes_are_never_missed() {
        let mut layout = SliceLayout::default();
        for picture in 0..200u32 {
            let begins = [0, 10 + picture % 7, 30];
            let count = 1 + picture as usize % 3;
            assert_eq!(layout.missing(&begins[..count], picture % 50 == 0), None);
        }
    }
}
