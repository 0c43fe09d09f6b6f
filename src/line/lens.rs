//! The figures of a camera's lens for people, over the last passed parts, and a good picture to compare with.
//!
//! The good picture is at least a window of parts older than the first sign of drift: a smudge that grows over
//! many parts would be on the last picture before it is told. Until a window is full it is the first part that
//! passed since the recipe was taken over, or since the lens was cleaned.

use crate::data::lens::{LensFigures, LensPicture, LensView};
use crate::data::picture::Picture;
use crate::line::cleanings::CLEANED_PARTS;
use crate::line::shared::Shared;
use crate::recipe::drift::{Drift, DriftLimits, DriftWatch, PassedPart, WINDOW};
use crate::recipe::quality::Measures;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest time between two views of a lens for people.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The last passed parts of a camera, for people.
#[derive(Debug, Default)]
pub struct CameraLens {
    window: VecDeque<LensFigures>,
    /// Passed parts since it began.
    parts: u64,
    good: Option<Arc<LensPicture>>,
    /// The next good picture, if nothing has drifted until then.
    next_good: Option<Arc<LensPicture>>,
    /// Moment of the last view.
    shown: Option<Instant>,
}

/// A passed part's picture, with the time of its capture.
#[derive(Debug, Clone, Copy)]
pub struct PassedPicture<'a> {
    /// The camera's picture.
    pub picture: &'a Arc<Picture>,
    /// When it was captured.
    pub at: Timestamp,
}

impl CameraLens {
    /// Takes a passed part in, which `watch` has seen, and shows the lens now and then.
    pub fn see(
        &mut self,
        camera: &Arc<str>,
        watch: &DriftWatch,
        limits: &DriftLimits,
        part: &PassedPart,
        picture: PassedPicture,
        shared: &Shared,
    ) {
        self.parts += 1;
        self.window.push_back(figures_of(part.measures));

        if self.window.len() > WINDOW {
            self.window.pop_front();
        }

        let wants_pictures = shared.lenses.wants_pictures();

        if wants_pictures {
            self.keep_good(watch, limits, picture);
        }

        // The part that a cleaned lens is judged by is shown in any case.
        let is_due = self
            .shown
            .is_none_or(|shown| shown.elapsed() >= SHOWN_EVERY);
        if !is_due && self.parts != CLEANED_PARTS {
            return;
        }

        self.shown = Some(Instant::now());
        let newest = wants_pictures.then(|| Arc::new(kept(picture)));
        let view = self.view(camera, watch, limits, part.size, newest);

        shared.cleanings.look(camera, self.parts, &view);

        shared.lenses.show(view);
    }

    fn keep_good(&mut self, watch: &DriftWatch, limits: &DriftLimits, picture: PassedPicture) {
        let is_window_full = self.parts.is_multiple_of(WINDOW as u64);

        if self.good.is_none() {
            self.good = Some(Arc::new(kept(picture)));
        } else if is_window_full && watch.is_calm(limits) {
            // The last window was calm: its first picture is good.
            if let Some(next) = self.next_good.take() {
                self.good = Some(next);
            }

            self.next_good = Some(Arc::new(kept(picture)));
        } else if is_window_full {
            self.next_good = None;
        }
    }

    fn view(
        &self,
        camera: &Arc<str>,
        watch: &DriftWatch,
        limits: &DriftLimits,
        size: (usize, usize),
        newest: Option<Arc<LensPicture>>,
    ) -> LensView {
        let (brightness, sharpness) = limits.taught(size);
        let told = watch.present().iter().filter_map(Drift::place);

        LensView {
            camera: camera.clone(),
            size,
            parts: self.window.len(),
            figures: self.medians(),
            brightness,
            sharpness,
            watches_places: limits.watches_places(size),
            places: watch.places(limits),
            told: told.cloned().collect(),
            drift: watch.present().iter().map(ToString::to_string).collect(),
            good: self.good.clone(),
            newest,
        }
    }

    fn medians(&self) -> LensFigures {
        let median = |figure: fn(&LensFigures) -> f32| {
            let mut values: Vec<f32> = self.window.iter().map(figure).collect();

            values.sort_by(f32::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };

        LensFigures {
            brightness: median(|figures| figures.brightness),
            sharpness: median(|figures| figures.sharpness),
            saturated: median(|figures| figures.saturated),
        }
    }
}

fn figures_of(measures: &Measures) -> LensFigures {
    LensFigures {
        brightness: measures.brightness,
        sharpness: measures.sharpness,
        saturated: measures.bright,
    }
}

fn kept(picture: PassedPicture) -> LensPicture {
    LensPicture::new(picture.picture.clone(), picture.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part whose picture has that grey level, captured at that second.
    fn see(lens: &mut CameraLens, watch: &mut DriftWatch, limits: &DriftLimits, grey: u8, at: i64) {
        let picture = picture(grey);
        let part = PassedPart {
            size: (64, 64),
            measures: &Measures::of(&picture),
            maps: vec![],
        };

        watch.see(limits, &part);
        lens.parts += 1;
        let passed = PassedPicture {
            picture: &Arc::new(picture),
            at: Timestamp::from_second(at).expect("in range"),
        };

        lens.keep_good(watch, limits, passed);
    }

    fn picture(grey: u8) -> Picture {
        Picture::new(64, 64, vec![grey; 3 * 64 * 64]).expect("its bytes")
    }

    #[test]
    fn the_good_picture_is_a_window_older_than_the_first_sign() {
        let limits = DriftLimits::new(&[picture(100)], &[]);
        let mut watch = DriftWatch::default();
        let mut lens = CameraLens::default();
        let good_at = |lens: &CameraLens| lens.good.as_ref().map(|good| good.at.as_second());
        see(&mut lens, &mut watch, &limits, 100, 1);
        assert_eq!(good_at(&lens), Some(1));
        for second in 2..=140 {
            see(&mut lens, &mut watch, &limits, 100, second);
        }

        // At 50 the next one was kept, at 100 it became the good one.
        assert_eq!(good_at(&lens), Some(50));
        // The light fades just before the next look, too late to be seen there.
        for second in 141..=400 {
            see(&mut lens, &mut watch, &limits, 40, second);
        }

        assert_eq!(good_at(&lens), Some(100), "a window before the light faded");
    }
}
