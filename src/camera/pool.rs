//! Memory of pictures that are no longer in use, for the next ones: fresh memory costs as much as
//! converting a picture into it, because the system hands it over page by page.

use crate::data::picture::Picture;
use std::sync::Arc;

/// Number of pictures of a camera whose memory is kept: one is made while another waits. The memory of
/// others is given back.
const KEPT: usize = 2;

/// The pictures whose memory is kept, the oldest first.
#[derive(Debug, Default)]
pub struct BufferPool(Vec<Arc<Picture>>);

impl BufferPool {
    /// The bytes of a picture that is no longer in use, with their old content; an empty vector if all
    /// are in use.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(at) = self.0.iter().position(is_free) else {
            return Vec::new();
        };

        match Arc::into_inner(self.0.remove(at)) {
            Some(picture) => picture.into_rgb(),
            None => Vec::new(),
        }
    }

    /// Keeps the memory of `picture`, in place of the oldest's where there are two already.
    pub fn keep(&mut self, picture: &Arc<Picture>) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }

        self.0.push(picture.clone());
    }
}

fn is_free(picture: &Arc<Picture>) -> bool {
    Arc::strong_count(picture) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_its_picture_is_free() {
        let mut pool = BufferPool::default();
        let made = |mut rgb: Vec<u8>| {
            rgb.resize(3, 7);
            Arc::new(Picture::new(1, 1, rgb).expect("three bytes"))
        };

        let first = made(pool.take());
        pool.keep(&first);
        let place = first.rgb().as_ptr();
        let second = made(pool.take());
        pool.keep(&second);
        assert_ne!(second.rgb().as_ptr(), place, "the first is still in use");
        drop(first);
        let third = made(pool.take());
        assert_eq!(third.rgb().as_ptr(), place);
    }

    #[test]
    fn no_more_than_two_are_kept() {
        let mut pool = BufferPool::default();
        let pictures: Vec<_> = (0..5)
            .map(|_| Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes")))
            .collect();

        pictures.iter().for_each(|picture| pool.keep(picture));
        drop(pictures);
        assert_eq!([0; 3].map(|_| pool.take().len()), [3, 3, 0]);
    }
}
