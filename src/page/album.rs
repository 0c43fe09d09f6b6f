//! The pictures that viewers may ask for: of each place the newest ones, as JPEG files.
//!
//! Bounds: [`LARGE_KEPT`] large and [`SMALL_KEPT`] small ones a place. A large one has
//! [`LARGE_PX`] pixels on its longer side, a small one [`SMALL_PX`].

use crate::data::verdict::Defect;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Large pictures of a place: the newest, and those that viewers are just fetching.
const LARGE_KEPT: usize = 4;
/// Small pictures of a place: those of a film strip, and those that just left it.
const SMALL_KEPT: usize = 28;
/// Longer side of a large picture, in pixels.
pub const LARGE_PX: usize = 960;
/// Longer side of a small picture, in pixels.
pub const SMALL_PX: usize = 112;

/// The two sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotoSize {
    /// [`LARGE_PX`].
    Large,
    /// [`SMALL_PX`].
    Small,
}

/// The key of a part: its place, `camera` or `camera/region`, and its number there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhotoKey {
    /// `camera`, the name that several share, or either with `/region`.
    pub place: String,
    /// Number of the part.
    pub seq: u64,
}

/// One part's picture.
#[derive(Debug, Clone)]
pub struct Photo {
    /// The part.
    pub key: PhotoKey,
    /// The camera that saw it.
    pub seen_by: Arc<str>,
    /// Width and height of the camera's picture, in its pixels: the scale of `defects`.
    pub size: (usize, usize),
    /// Areas where a person should look.
    pub defects: Vec<Defect>,
    /// JPEG file of [`LARGE_PX`].
    pub large: Arc<[u8]>,
    /// JPEG file of [`SMALL_PX`].
    pub small: Arc<[u8]>,
}

/// What a screen needs to know of a large picture.
#[derive(Debug, Clone)]
pub struct PhotoFacts {
    /// The camera that saw the part.
    pub seen_by: Arc<str>,
    /// Width and height of the camera's picture.
    pub size: (usize, usize),
    /// Areas where a person should look.
    pub defects: Vec<Defect>,
}

/// All pictures.
#[derive(Default)]
pub struct Album {
    places: BTreeMap<String, PlacePhotos>,
}

#[derive(Default)]
struct PlacePhotos {
    large: VecDeque<(u64, PhotoFacts, Arc<[u8]>)>,
    small: VecDeque<(u64, Arc<[u8]>)>,
}

impl Album {
    /// Adds a picture. Of a part that several cameras see the last view is shown.
    pub fn add(&mut self, photo: Photo) {
        let facts = PhotoFacts {
            seen_by: photo.seen_by,
            size: photo.size,
            defects: photo.defects,
        };

        let seq = photo.key.seq;
        let place = self.places.entry(photo.key.place).or_default();
        place.large.retain(|(known, _, _)| *known != seq);
        place.large.push_back((seq, facts, photo.large));
        if place.large.len() > LARGE_KEPT {
            place.large.pop_front();
        }

        place.small.retain(|(known, _)| *known != seq);
        place.small.push_back((seq, photo.small));
        if place.small.len() > SMALL_KEPT {
            place.small.pop_front();
        }
    }

    /// The JPEG file of a part.
    pub fn file(&self, key: &PhotoKey, size: PhotoSize) -> Option<Arc<[u8]>> {
        let place = self.places.get(&key.place)?;
        match size {
            PhotoSize::Large => {
                let mut large = place.large.iter();
                let found = large.find(|(seq, _, _)| *seq == key.seq)?;
                Some(found.2.clone())
            }
            PhotoSize::Small => {
                let mut small = place.small.iter();
                let found = small.find(|(seq, _)| *seq == key.seq)?;
                Some(found.1.clone())
            }
        }
    }

    /// True if there is a small picture of a part.
    pub fn has_small(&self, key: &PhotoKey) -> bool {
        self.file(key, PhotoSize::Small).is_some()
    }

    /// True if one of the newest pictures of a place is that camera's.
    pub fn is_seen_by(&self, place: &str, camera: &str) -> bool {
        let Some(place) = self.places.get(place) else {
            return false;
        };

        let mut large = place.large.iter();
        large.any(|(_, facts, _)| *facts.seen_by == *camera)
    }

    /// The facts of a part's large picture.
    pub fn facts(&self, key: &PhotoKey) -> Option<PhotoFacts> {
        let mut large = self.places.get(&key.place)?.large.iter();
        let found = large.find(|(seq, _, _)| *seq == key.seq)?;
        Some(found.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(seq: u64) -> Photo {
        Photo {
            key: PhotoKey {
                place: "top/left".to_owned(),
                seq,
            },
            seen_by: "top".into(),
            size: (8, 6),
            defects: vec![],
            large: Arc::from([1]),
            small: Arc::from([2]),
        }
    }

    #[test]
    fn the_newest_pictures_of_a_place_are_kept() {
        let mut album = Album::default();
        let newest = 100;
        (1..=newest).for_each(|seq| album.add(photo(seq)));
        album.add(photo(newest));
        let kept = |size, count| {
            let has = |seq| album.file(&photo(seq).key, size).is_some();
            has(newest) && has(newest + 1 - count) && !has(newest - count)
        };

        assert!(kept(PhotoSize::Large, LARGE_KEPT as u64));
        assert!(kept(PhotoSize::Small, SMALL_KEPT as u64));
        let elsewhere = PhotoKey {
            place: "../top".to_owned(),
            seq: newest,
        };

        assert!(album.file(&elsewhere, PhotoSize::Large).is_none());
    }
}
