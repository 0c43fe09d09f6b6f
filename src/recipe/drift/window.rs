//! Windows over the last passed parts: how many of them lie beyond a limit.

use super::limits::{CellLimits, Range};
use crate::data::grid::Grid;
use crate::data::lens::LensPlace;
use crate::data::map::Map;
use crate::data::picture::Area;
use crate::data::verdict::{Defect, find_defects};
use std::collections::VecDeque;

/// Number of passed parts that are looked at together.
pub const WINDOW: usize = 50;
/// Cells of a box around connected cells, from which on it is a place.
const PLACE_CELLS: usize = 4;
/// The last passed parts: one flag for each of several things that may be beyond a limit.
#[derive(Debug, Default)]
pub(super) struct FlagWindow {
    flags: VecDeque<Vec<bool>>,
    /// For each thing the number of parts whose flag is set.
    counts: Vec<usize>,
}

impl FlagWindow {
    fn add(&mut self, flags: Vec<bool>) {
        self.counts.resize(flags.len(), 0);

        for (count, flag) in self.counts.iter_mut().zip(&flags) {
            *count += usize::from(*flag);
        }

        self.flags.push_back(flags);

        if self.flags.len() > WINDOW
            && let Some(oldest) = self.flags.pop_front()
        {
            for (count, flag) in self.counts.iter_mut().zip(oldest) {
                *count -= usize::from(flag);
            }
        }
    }
}

/// The last values of one measure, and how many are beyond its limits.
#[derive(Debug, Default)]
pub(super) struct MeasureWindow {
    values: VecDeque<f32>,
    /// Below, above.
    beyond: FlagWindow,
}

impl MeasureWindow {
    pub(super) fn add(&mut self, value: f32, range: &Range) {
        let is_below = range.is_below(value);
        let is_above = range.is_above(value);

        self.beyond.add(vec![is_below, is_above]);

        self.values.push_back(value);

        if self.values.len() > WINDOW {
            self.values.pop_front();
        }
    }

    /// The median of the last values, if they have drifted.
    pub(super) fn drift(&self, level: usize) -> Option<f32> {
        let mut counts = self.beyond.counts.iter();

        if !counts.any(|count| *count >= level) {
            return None;
        }

        let mut sorted: Vec<f32> = self.values.iter().copied().collect();

        sorted.sort_by(f32::total_cmp);

        sorted.get(sorted.len() / 2).copied()
    }
}

/// The cells of one kind of map that were beyond their limits.
#[derive(Debug, Default)]
pub(super) struct CellWindow {
    beyond: FlagWindow,
    /// The part of the picture that the map covers; that of the newest part.
    area: Option<Area>,
}

impl CellWindow {
    /// Cells for which `counts` is false are within their limits, whatever they show.
    pub(super) fn add(
        &mut self,
        map: &Map,
        area: Area,
        limits: &CellLimits,
        counts: impl Fn(usize) -> bool,
    ) {
        // A map of another grid is no measure.
        if map.grid() != limits.grid {
            return;
        }

        let pairs = map.values().iter().zip(&limits.limits);
        let mut beyond = Vec::with_capacity(limits.limits.len());

        for (cell, (value, limit)) in pairs.enumerate() {
            // The limit first: most cells are within it, and whether one counts takes a search.
            let is_beyond = limits.is_beyond(*value, *limit) && counts(cell);

            beyond.push(is_beyond);
        }

        self.beyond.add(beyond);

        self.area = Some(area);
    }

    /// The cells that were beyond their limits on a part at least: their pixels, and the share of the parts.
    pub(super) fn places(&self, grid: Grid) -> Vec<LensPlace> {
        let parts = self.beyond.flags.len() as f32;

        let Some(area) = self.area else {
            return vec![];
        };

        let counts = self.beyond.counts.iter().enumerate();
        let beyond = counts.filter(|(_, count)| **count > 0);

        beyond
            .map(|(cell, count)| {
                let place = cell_area(cell, grid, area);

                LensPlace {
                    area: Area {
                        x: area.x + place.x,
                        y: area.y + place.y,
                        ..place
                    },
                    share: *count as f32 / parts,
                }
            })
            .collect()
    }

    /// The place that was beyond its limits on most parts; its peak is their number. With the number of
    /// parts that were looked at.
    pub(super) fn drift(&self, grid: Grid, level: usize) -> Option<(Defect, usize)> {
        let counts = &self.beyond.counts;
        let area = self.area?;

        // Most parts end here.
        if !counts.iter().any(|count| *count >= level) {
            return None;
        }

        // The number of parts is a map of its own.
        let values: Vec<f32> = counts.iter().map(|count| *count as f32).collect();
        let counts = Map::new(grid, values);
        let places = find_defects(&counts, level as f32, area, usize::MAX);

        let cells = |place: &Defect| {
            let columns = (place.w * grid.w).div_ceil(area.w);
            let rows = (place.h * grid.h).div_ceil(area.h);

            columns * rows
        };

        let place = places
            .into_iter()
            .find(|place| cells(place) >= PLACE_CELLS)?;

        Some((place, self.beyond.flags.len()))
    }
}

/// The pixels of a cell.
pub(super) fn cell_area(cell: usize, grid: Grid, whole: Area) -> Area {
    let column = grid.column(cell);
    let left = column * whole.w / grid.w;
    let right = (column + 1) * whole.w / grid.w;

    let row = grid.row(cell);
    let top = row * whole.h / grid.h;
    let bottom = (row + 1) * whole.h / grid.h;

    Area {
        x: left,
        y: top,
        w: right - left,
        h: bottom - top,
    }
}
