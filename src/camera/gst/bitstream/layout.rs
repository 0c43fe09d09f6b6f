//! The places where a stream's slices begin, once they are known to be the same in every picture.

/// Pictures of one layout in a row before it counts as the stream's own.
const SURE: usize = 4;

/// Pictures in a row that lack the same slices before the encoder is believed to have changed.
const CHANGED: usize = 8;

/// Learns where slices begin. Encoders that cut pictures into equal slices begin them at the same
/// places for ever, so that a missing one is seen although every other header is right. Encoders
/// that cut by bytes change them from picture to picture, and tell nothing.
#[derive(Debug, Default)]
pub struct SliceLayout {
    /// Addresses of the first blocks of all slices.
    begins: Vec<u32>,
    /// Pictures that had this layout, one after the other.
    seen: usize,
    /// Pictures in a row that lacked slices of a sure layout.
    lacking: usize,
    /// True once the layout changed: then it is no evidence until the next key frame.
    is_free: bool,
    /// Size of the pictures.
    size: [u32; 2],
}

impl SliceLayout {
    /// Takes the size of the next picture. Another one starts anew, since addresses mean other places.
    pub fn of_size(&mut self, size: [u32; 2]) {
        if size != self.size {
            *self = SliceLayout {
                size,
                ..SliceLayout::default()
            };
        }
    }

    /// Takes the layout of a picture whose headers are right. Returns the address of a slice that is
    /// missing, measured by what the pictures before had.
    pub fn missing(&mut self, begins: &[u32], is_key: bool) -> Option<u32> {
        let missing = self
            .begins
            .iter()
            .find(|begin| !begins.contains(begin))
            .copied();

        let has_others = begins.iter().any(|begin| !self.begins.contains(begin));
        if missing.is_none() && !has_others {
            self.seen += 1;
            self.lacking = 0;
            return None;
        }

        // A slice that is missing from a sure layout is damage. The layout stays as it is: the next
        // picture has the slice again, unless the encoder was set up anew.
        let is_sure = !self.is_free && self.seen >= SURE;

        if !has_others && is_sure {
            self.lacking += 1;

            if self.lacking < CHANGED {
                return missing;
            }
        }

        // Fewer slices before the layout is sure are no evidence for either. Only a picture with
        // other slices shows that the encoder cuts as it likes.
        let stays = !has_others && !is_sure && !is_key;

        if stays {
            self.seen = 0;
            return None;
        }

        self.is_free = !is_key && !self.begins.is_empty();
        self.begins = begins.to_vec();
        self.seen = 1;
        self.lacking = 0;

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
    fn an_encoder_that_is_set_up_anew_is_believed_after_a_while() {
        let mut layout = SliceLayout::default();
        for _ in 0..SURE {
            assert_eq!(layout.missing(&[0, 20], true), None);
        }

        let told = (0..20).filter(|_| layout.missing(&[0], false).is_some());
        assert_eq!(told.count(), CHANGED - 1);
    }

    #[test]
    fn key_frames_may_have_more_slices_than_others() {
        let mut layout = SliceLayout::default();
        for picture in 0..200 {
            let is_key = picture % 10 == 0;
            let begins: &[u32] = if is_key { &[0, 20, 40] } else { &[0] };
            assert_eq!(layout.missing(begins, is_key), None, "{picture}");
        }
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
