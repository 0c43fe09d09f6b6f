//! What each camera's lens shows beside what it was taught: figures, places, and a good picture to compare
//! with. The inspector writes it, the page reads it.
//!
//! Bounds: one view a camera, with three pictures at most. Pictures are kept while somebody wants them, a
//! line with a page; the page makes small files of them, and the memory of the pictures is free again.

use crate::data::picture::{Area, Picture};
use crate::data::verdict::Defect;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Measures of a camera's pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LensFigures {
    /// Mean of green, 0 to 255.
    pub brightness: f32,
    /// Variance of the Laplacian of green, in squared grey levels.
    pub sharpness: f32,
    /// Share of pixels at the sensor's end, 0 to 1.
    pub saturated: f32,
}

/// What the references show of one measure, and the limits beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaughtRange {
    /// Lowest value of the references.
    pub lowest: f32,
    /// Highest value of the references.
    pub highest: f32,
    /// A value below is beyond the limit.
    pub from: f32,
    /// A value above is beyond the limit.
    pub to: f32,
}

/// A cell of the picture that lies beyond its limit on some of the last parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LensPlace {
    /// Its pixels.
    pub area: Area,
    /// Share of the last parts, 0 to 1.
    pub share: f32,
}

/// A camera's lens at one moment.
#[derive(Debug, Clone)]
pub struct LensView {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Columns and rows of its pictures.
    pub size: (usize, usize),
    /// Number of the last parts that the figures are about.
    pub parts: usize,
    /// Medians of the last parts.
    pub figures: LensFigures,
    /// Brightness as it was taught. `None` where references of this size say nothing.
    pub brightness: Option<TaughtRange>,
    /// Sharpness as it was taught. `None` where references of this size say nothing.
    pub sharpness: Option<TaughtRange>,
    /// True where places are watched.
    pub watches_places: bool,
    /// Cells beyond their limits.
    pub places: Vec<LensPlace>,
    /// Places that are told as drift.
    pub told: Vec<Defect>,
    /// What has drifted, in words.
    pub drift: Vec<String>,
    /// A picture of before anything drifted.
    pub good: Option<Arc<LensPicture>>,
    /// The newest picture.
    pub newest: Option<Arc<LensPicture>>,
}

impl LensView {
    /// The largest share of the last parts on which one cell lies beyond its limit.
    pub fn worst_share(&self) -> f32 {
        let shares = self.places.iter().map(|place| place.share);

        shares.fold(0.0, f32::max)
    }

    /// The figures in words.
    pub fn words(&self) -> String {
        let LensFigures {
            brightness,
            sharpness,
            saturated,
        } = self.figures;

        let percent = saturated * 100.0;

        let words = format!(
            "sharpness {sharpness:.0}, brightness {brightness:.0}, {percent:.1} % saturated"
        );

        if !self.watches_places {
            return words;
        }

        let worst = (self.worst_share() * self.parts as f32).round();

        format!(
            "{words}, the worst place unlike on {worst} of {} parts",
            self.parts
        )
    }
}

/// A picture of a camera for a person.
#[derive(Debug)]
pub struct LensPicture {
    /// When it was captured.
    pub at: Timestamp,
    form: Mutex<PictureForm>,
}

/// The picture itself, or the small file that was made of it.
#[derive(Debug)]
enum PictureForm {
    Raw(Arc<Picture>),
    File(Arc<[u8]>),
}

impl LensPicture {
    /// The picture that was captured at that time.
    pub fn new(picture: Arc<Picture>, at: Timestamp) -> Self {
        LensPicture {
            at,
            form: Mutex::new(PictureForm::Raw(picture)),
        }
    }

    /// Its file, made by `encode` at the first call, which sets the picture's memory free.
    pub fn file(&self, encode: impl FnOnce(&Picture) -> Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        let mut form = self.form.lock().unwrap_or_else(PoisonError::into_inner);

        let file = match &*form {
            PictureForm::File(file) => return Some(file.clone()),
            PictureForm::Raw(picture) => encode(picture)?,
        };

        *form = PictureForm::File(file.clone());

        Some(file)
    }
}

/// The lenses of a line. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Lenses(Arc<LensState>);

#[derive(Debug, Default)]
struct LensState {
    /// True where somebody wants pictures.
    wants_pictures: AtomicBool,
    cameras: Mutex<BTreeMap<Arc<str>, LensView>>,
}

impl Lenses {
    /// Asks for pictures from now on.
    pub fn want_pictures(&self) {
        self.0.wants_pictures.store(true, Ordering::Relaxed);
    }

    /// True where somebody wants pictures.
    pub fn wants_pictures(&self) -> bool {
        self.0.wants_pictures.load(Ordering::Relaxed)
    }

    /// Shows a camera's lens as it is now.
    pub fn show(&self, view: LensView) {
        self.cameras().insert(view.camera.clone(), view);
    }

    /// Forgets a camera's lens: nothing is known of it any more.
    pub fn forget(&self, camera: &str) {
        self.cameras().remove(camera);
    }

    /// The lens of one camera; `None` before a part of it has passed.
    pub fn of(&self, camera: &str) -> Option<LensView> {
        self.cameras().get(camera).cloned()
    }

    /// All lenses, by the cameras' names.
    pub fn all(&self) -> Vec<LensView> {
        self.cameras().values().cloned().collect()
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, LensView>> {
        self.0
            .cameras
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pictures_memory_is_free_once_its_file_is_made() {
        let picture = Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes"));
        let shown = LensPicture::new(picture.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(shown.file(|_| None), None);
        assert_eq!(Arc::strong_count(&picture), 2);
        let file: Arc<[u8]> = Arc::from([7]);
        assert_eq!(shown.file(|_| Some(file.clone())), Some(file.clone()));
        assert_eq!(Arc::strong_count(&picture), 1);
        assert_eq!(shown.file(|_| None), Some(file), "it is made once");
    }
}
