//! The memory of pictures that nobody looks at any more, for the next ones: fresh memory costs as much as converting a
//! picture into it, because the system hands it over page by page.

use crate::data::picture::Picture;
use std::sync::Arc;

/// Pictures of a camera whose memory is kept: one is made while another waits. The rest is given back.
const KEPT: usize = 2;

#[derive(Debug, Default)]
pub struct BufferPool(Vec<Arc<Picture>>);

impl BufferPool {
    /// The bytes of a picture that is free again, whatever they say; else none.
    pub fn take(&mut self) -> Vec<u8> {
        let free = self
            .0
            .iter()
            .position(|picture| Arc::strong_count(picture) == 1);
        free.and_then(|at| Arc::into_inner(self.0.remove(at)))
            .map_or_else(Vec::new, Picture::into_rgb)
    }

    pub fn keep(&mut self, picture: &Arc<Picture>) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(picture.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_nobody_looks_at_its_picture() {
        let mut spare = BufferPool::default();
        let made = |mut rgb: Vec<u8>| {
            rgb.resize(3, 7);
            Arc::new(Picture::new(1, 1, rgb).expect("three bytes"))
        };
        let first = made(spare.take());
        spare.keep(&first);
        let place = first.rgb().as_ptr();
        let second = made(spare.take());
        spare.keep(&second);
        assert_ne!(second.rgb().as_ptr(), place, "the first is still looked at");
        drop(first);
        let third = made(spare.take());
        assert_eq!(third.rgb().as_ptr(), place);
    }

    #[test]
    fn no_more_than_two_are_kept() {
        let mut spare = BufferPool::default();
        let pictures: Vec<_> = (0..5)
            .map(|_| Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes")))
            .collect();
        pictures.iter().for_each(|picture| spare.keep(picture));
        drop(pictures);
        assert_eq!([0; 3].map(|_| spare.take().len()), [3, 3, 0]);
    }
}
