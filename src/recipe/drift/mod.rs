//! Drift: a camera that no longer shows what was taught, although its parts pass. A smudge on the lens,
//! dim light and a lens out of focus hardly move the scores of good parts. They move the picture's
//! brightness and sharpness, and make the same place unlike on most parts.
//!
//! ```text
//! references --DriftLimits::new--> limits of brightness and sharpness, and of each cell of the maps
//! passed parts --DriftWatch::see--> how many of the last 50 lie beyond each limit --> what is drift now
//! ```
//! A limit lies beyond what the references show, so that a good part seldom crosses it. Drift is that
//! most of the last parts do, three fifths of a full window. It is over when fewer than a quarter do. What
//! single parts show is no drift.
//!
//! Bounds: a window of [`WINDOW`] parts, each with one flag a cell. docs/drift.md has the figures' reasons.

mod limits;
#[cfg(test)]
mod tests;
mod window;

pub use limits::{DriftLimits, MAPS_FROM};
pub use window::WINDOW;

use crate::data::lens::LensPlace;
use crate::data::map::Map;
use crate::data::picture::Area;
use crate::data::verdict::Defect;
use crate::recipe::quality::Measures;
use limits::SizeLimits;
use std::fmt;
use window::{CellWindow, MeasureWindow, cell_area};

/// Parts beyond a limit from which on it is drift: three fifths of a full window.
const TOLD_FROM: usize = WINDOW * 3 / 5;
/// Parts beyond a limit from which on drift stays: lower, so that nothing is told in turns.
const STAYS_FROM: usize = WINDOW / 4;
/// What a passed part shows.
#[derive(Debug)]
pub struct PassedPart<'a> {
    /// Columns and rows of its picture.
    pub size: (usize, usize),
    /// Measures of its picture.
    pub measures: &'a Measures,
    /// Maps of the regions that passed: number of the region, map, and the area that it covers.
    pub maps: Vec<(usize, &'a Map, Area)>,
}

/// The ways in which a camera drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DriftKind {
    Brightness,
    Sharpness,
    SoftPlace,
    UnlikePlace,
}

/// One way in which a camera has drifted, in words for a person.
#[derive(Debug, Clone, PartialEq)]
pub enum Drift {
    /// The median brightness, and what the references show from and to.
    Brightness(f32, f32, f32),
    /// The median sharpness, and what the references show from and to.
    Sharpness(f32, f32, f32),
    /// A place that is less sharp on most parts; its peak is their number. Of how many parts.
    SoftPlace(Defect, usize),
    /// A place that is unlike on most parts; its peak is their number. Of how many parts.
    UnlikePlace(Defect, usize),
}

impl Drift {
    /// The place, where it is one.
    pub fn place(&self) -> Option<&Defect> {
        match self {
            Drift::SoftPlace(place, _) | Drift::UnlikePlace(place, _) => Some(place),
            Drift::Brightness(..) | Drift::Sharpness(..) => None,
        }
    }

    fn kind(&self) -> DriftKind {
        match self {
            Drift::Brightness(..) => DriftKind::Brightness,
            Drift::Sharpness(..) => DriftKind::Sharpness,
            Drift::SoftPlace(..) => DriftKind::SoftPlace,
            Drift::UnlikePlace(..) => DriftKind::UnlikePlace,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::Brightness(median, lowest, highest) => write!(
                f,
                "the brightness of the last passed parts is {median:.0} (median), the references have \
                 {lowest:.0} to {highest:.0}; look at the lamp, the exposure and the lens"
            ),
            Drift::Sharpness(median, lowest, highest) => write!(
                f,
                "the sharpness of the last passed parts is {median:.0} (median), the references have \
                 {lowest:.0} to {highest:.0}; look at the lens, its focus, the light and the gain"
            ),
            Drift::SoftPlace(place, parts) => write!(
                f,
                "{:.0} of the last {parts} passed parts are less sharp than the references at the same \
                 place, {}; clean the lens and its window",
                place.peak,
                words_of(place)
            ),
            Drift::UnlikePlace(place, parts) => write!(
                f,
                "{:.0} of the last {parts} passed parts are unlike the references at the same place, {}; \
                 clean the lens and its window, and look whether the camera was moved",
                place.peak,
                words_of(place)
            ),
        }
    }
}

fn words_of(place: &Defect) -> String {
    format!(
        "{} x {} pixels from column {}, row {}",
        place.w, place.h, place.x, place.y
    )
}

/// The last passed parts of one camera.
#[derive(Debug, Default)]
pub struct DriftWatch {
    /// Width and height of the pictures.
    size: Option<(usize, usize)>,
    brightness: MeasureWindow,
    sharpness: MeasureWindow,
    soft: CellWindow,
    /// For each region.
    unlike: Vec<CellWindow>,
    /// What was drift at the last part.
    present: Vec<Drift>,
}

impl DriftWatch {
    /// Takes a passed part in. True if another kind of drift has begun, or one is over.
    pub fn see(&mut self, limits: &DriftLimits, part: &PassedPart) -> bool {
        // Pictures of another size may be another view; what is known of the last ones is not of these.
        let mut was_drift = false;
        if self.size != Some(part.size) {
            was_drift = !self.present.is_empty();
            *self = DriftWatch {
                size: Some(part.size),
                ..DriftWatch::default()
            };
        }

        let Some(of_size) = limits.by_size.get(&part.size) else {
            return was_drift;
        };

        self.add(limits, of_size, part);
        let level = |kind| self.level(kind);
        let now = self.drifts(limits, of_size, &level);
        let has_changed = was_drift || kinds(&now) != kinds(&self.present);
        self.present = now;
        has_changed
    }

    fn add(&mut self, limits: &DriftLimits, of_size: &SizeLimits, part: &PassedPart) {
        let measures = part.measures;
        if let Some(range) = &of_size.brightness {
            self.brightness.add(measures.brightness, range);
        }

        if let Some(range) = &of_size.sharpness {
            self.sharpness.add(measures.sharpness, range);
        }

        if let Some(places) = &of_size.places {
            let (width, height) = part.size;
            let whole = Area::whole(width, height);
            // Beside the recipe's crops anything may come and go.
            let grid = places.grid;
            let counts = |cell: usize| {
                let place = cell_area(cell, grid, whole);
                part.maps.iter().any(|(_, _, area)| meets(place, *area))
            };

            self.soft
                .add(&measures.sharpness_map, whole, places, counts);
        }

        let regions = limits.unlike.len();
        self.unlike.resize_with(regions, CellWindow::default);
        for (region, map, area) in &part.maps {
            if let Some(Some(limits)) = limits.unlike.get(*region) {
                self.unlike[*region].add(map, *area, limits, |_| true);
            }
        }
    }

    /// What is drift at the newest part; empty where all is as it was taught.
    pub fn present(&self) -> &[Drift] {
        &self.present
    }

    /// True if nothing is drift, and nothing near it either.
    pub fn is_calm(&self, limits: &DriftLimits) -> bool {
        let Some(of_size) = self.limits_of_size(limits) else {
            return true;
        };

        let lower = |_| STAYS_FROM;
        let near = self.drifts(limits, of_size, &lower);

        near.is_empty()
    }

    /// The limits of the pictures' size.
    fn limits_of_size<'a>(&self, limits: &'a DriftLimits) -> Option<&'a SizeLimits> {
        let size = self.size?;

        limits.by_size.get(&size)
    }

    /// The cells that lay beyond their limits on one of the last parts at least.
    pub fn places(&self, limits: &DriftLimits) -> Vec<LensPlace> {
        let Some(of_size) = self.limits_of_size(limits) else {
            return vec![];
        };

        let mut places = vec![];
        if let Some(limits) = &of_size.places {
            places.extend(self.soft.places(limits.grid));
        }

        for (window, limits) in self.unlike.iter().zip(&limits.unlike) {
            if let Some(limits) = limits {
                places.extend(window.places(limits.grid));
            }
        }

        places
    }

    /// What is drift from so many parts on.
    fn drifts(
        &self,
        limits: &DriftLimits,
        of_size: &SizeLimits,
        level: &dyn Fn(DriftKind) -> usize,
    ) -> Vec<Drift> {
        let mut drifts = vec![];
        if let Some(range) = &of_size.brightness
            && let Some(median) = self.brightness.drift(level(DriftKind::Brightness))
        {
            drifts.push(Drift::Brightness(median, range.lowest, range.highest));
        }

        drifts.extend(self.softness(of_size, level));

        // One place is told at most: that of the first region that has one.
        let level = level(DriftKind::UnlikePlace);
        for (window, limits) in self.unlike.iter().zip(&limits.unlike) {
            let Some(limits) = limits else {
                continue; // its references say nothing about places
            };

            if let Some((place, parts)) = window.drift(limits.grid, level) {
                drifts.push(Drift::UnlikePlace(place, parts));
                break;
            }
        }

        drifts
    }

    /// Drift of the sharpness, of the whole picture or of a place.
    fn softness(&self, limits: &SizeLimits, level: &dyn Fn(DriftKind) -> usize) -> Option<Drift> {
        if let Some(range) = &limits.sharpness
            && let Some(median) = self.sharpness.drift(level(DriftKind::Sharpness))
        {
            // And so is each place.
            return Some(Drift::Sharpness(median, range.lowest, range.highest));
        }

        let level = level(DriftKind::SoftPlace);
        let grid = limits.places.as_ref()?.grid;
        let (place, parts) = self.soft.drift(grid, level)?;
        Some(Drift::SoftPlace(place, parts))
    }

    /// Parts beyond a limit from which on it is drift of this kind.
    fn level(&self, kind: DriftKind) -> usize {
        match kinds(&self.present).contains(&kind) {
            true => STAYS_FROM,
            false => TOLD_FROM,
        }
    }
}

/// True if two areas share a pixel.
fn meets(a: Area, b: Area) -> bool {
    let meet_across = a.x < b.x + b.w && b.x < a.x + a.w;
    let meet_down = a.y < b.y + b.h && b.y < a.y + a.h;

    meet_across && meet_down
}

fn kinds(drifts: &[Drift]) -> Vec<DriftKind> {
    drifts.iter().map(Drift::kind).collect()
}
