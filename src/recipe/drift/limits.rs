//! Limits of drift: beyond what the references show, in brightness, in sharpness, and at each place.

use crate::data::grid::Grid;
use crate::data::lens::TaughtRange;
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::recipe::quality::Measures;
use std::collections::BTreeMap;

/// A cell of a map is unlike above this multiple of what the references show there and next to it.
const UNLIKE: f32 = 2.0;
/// References from which on their maps say what good parts show at a place.
pub const MAPS_FROM: usize = 8;
/// References from which on the spread of their measures says something; fewer have wider limits.
const ENOUGH: usize = 4;
/// Standard deviations of the references' logarithms that a limit lies beyond the outermost one.
const DEVIATIONS: f32 = 2.0;

/// What a measure may differ from the references' outermost values by, at least: factors.
struct Room {
    /// With [`ENOUGH`] references.
    usual: f32,
    /// With fewer.
    few: f32,
}

impl Room {
    fn with(&self, references: usize) -> f32 {
        match references {
            0..ENOUGH => self.few,
            _ => self.usual,
        }
    }
}

/// Lamps and exposures vary by some per cent; 1.18 is 15 % darker.
const OF_BRIGHTNESS: Room = Room {
    usual: 1.18,
    few: 1.4,
};
/// Sharpness is a variance, of the whole picture or of a cell: its square root varies by 1.2 and 1.4.
/// The quality gate's own limit is 4.
const OF_SHARPNESS: Room = Room {
    usual: 1.5,
    few: 2.0,
};

/// The values of one measure that the references show, and the limits beyond them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) lowest: f32,
    pub(super) highest: f32,
    /// The limits are `lowest / room` and `highest * room`.
    room: f32,
}

impl Range {
    /// `values` are those of the references; `None` without any that is above 0.
    fn of(values: &[f32], room: &Room) -> Option<Self> {
        let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = values.iter().copied().fold(0.0, f32::max);

        // Light and texture vary by factors, hence the logarithm. Nothing is a multiple of 0.
        if values.is_empty() || lowest <= 0.0 {
            return None;
        }

        let logarithms = values.iter().map(|value| value.ln());
        let spread = deviation(logarithms);

        // Where the references vary more than is usual, their own spread gives the room.
        let usual = room.with(values.len());
        let own = (DEVIATIONS * spread).exp();
        let room = usual.max(own);

        Some(Range {
            lowest,
            highest,
            room,
        })
    }

    fn taught(&self) -> TaughtRange {
        TaughtRange {
            lowest: self.lowest,
            highest: self.highest,
            from: self.lowest / self.room,
            to: self.highest * self.room,
        }
    }

    pub(super) fn is_below(&self, value: f32) -> bool {
        value < self.lowest / self.room
    }

    pub(super) fn is_above(&self, value: f32) -> bool {
        value > self.highest * self.room
    }
}

/// The standard deviation of a few values (of the sample: by one less than their number); 0 of one.
fn deviation(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let count = values.clone().count() as f32;

    if count < 2.0 {
        return 0.0;
    }

    let sum: f32 = values.clone().sum();
    let mean = sum / count;

    let squares: f32 = values.map(|value| (value - mean).powi(2)).sum();
    let variance = squares / (count - 1.0);

    variance.sqrt()
}

/// For each cell of a map the limit beyond which it is not like the references'.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CellLimits {
    pub(super) grid: Grid,
    pub(super) limits: Vec<f32>,
    side: Side,
}

/// The side of a limit that is beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}

impl CellLimits {
    /// Limits of maps that say how unlike a place is. `left_out` are those of the references, each
    /// against the others; `None` with fewer than [`MAPS_FROM`].
    fn of_unlike(left_out: &[(f32, Map)]) -> Option<Self> {
        let (_, first) = left_out.first()?;

        if left_out.len() < MAPS_FROM {
            return None;
        }

        let grid = first.grid();
        let maps = left_out.iter().map(|(_, map)| map);
        let highest = outermost(grid, maps, 0.0, f32::max);
        let mut limits: Vec<f32> = highest.iter().map(|value| value * UNLIKE).collect();

        // Masked cells say nothing, so that nothing is beyond their limit.
        for (limit, counts) in limits.iter_mut().zip(first.mask().unwrap_or_default()) {
            if !counts {
                *limit = f32::INFINITY;
            }
        }

        Some(CellLimits {
            grid,
            limits,
            side: Side::Above,
        })
    }

    /// Limits of maps of sharpness; `None` with fewer than [`ENOUGH`]: parts may lie where a few references
    /// show none.
    fn of_sharpness(maps: &[Map]) -> Option<Self> {
        let grid = maps.first()?.grid();

        if maps.len() < ENOUGH {
            return None;
        }

        let room = OF_SHARPNESS.with(maps.len());
        let lowest = outermost(grid, maps.iter(), f32::INFINITY, f32::min);

        Some(CellLimits {
            grid,
            limits: lowest.iter().map(|value| value / room).collect(),
            side: Side::Below,
        })
    }

    pub(super) fn is_beyond(&self, value: f32, limit: f32) -> bool {
        match self.side {
            Side::Above => value > limit,
            Side::Below => value < limit,
        }
    }
}

/// The outermost value of each cell and those next to it, over all maps: parts lie a little differently
/// each time, and a few references show little of one cell. `outer` is the further of two values.
fn outermost<'a>(
    grid: Grid,
    maps: impl Iterator<Item = &'a Map>,
    start: f32,
    outer: fn(f32, f32) -> f32,
) -> Vec<f32> {
    let mut own = vec![start; grid.cells()];

    for map in maps {
        for (own, value) in own.iter_mut().zip(map.values()) {
            *own = outer(*own, *value);
        }
    }

    let mut around = Vec::with_capacity(grid.cells());

    for cell in 0..grid.cells() {
        // The grid ends the square of three by three cells at its edges.
        let row = grid.row(cell);
        let column = grid.column(cell);
        let rows = row.saturating_sub(1)..(row + 2).min(grid.h);
        let columns = column.saturating_sub(1)..(column + 2).min(grid.w);

        let mut outermost = start;

        for row in rows {
            for column in columns.clone() {
                let near = own[row * grid.w + column];

                outermost = outer(outermost, near);
            }
        }

        around.push(outermost);
    }

    around
}

/// What references of one picture size show. A camera without a reference of its size may have another view.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SizeLimits {
    pub(super) brightness: Option<Range>,
    pub(super) sharpness: Option<Range>,
    pub(super) places: Option<CellLimits>,
}

impl SizeLimits {
    fn of(measures: &[Measures]) -> Self {
        let mut brightness = vec![];
        let mut sharpness = vec![];
        let mut maps = vec![];

        for of in measures {
            brightness.push(of.brightness);
            sharpness.push(of.sharpness);

            maps.push(of.sharpness_map.clone());
        }

        SizeLimits {
            brightness: Range::of(&brightness, &OF_BRIGHTNESS),
            sharpness: Range::of(&sharpness, &OF_SHARPNESS),
            places: CellLimits::of_sharpness(&maps),
        }
    }
}

/// What a recipe's references show, and how far passed parts may be from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DriftLimits {
    pub(super) by_size: BTreeMap<(usize, usize), SizeLimits>,
    /// For each region, in the recipe's order.
    pub(super) unlike: Vec<Option<CellLimits>>,
}

impl DriftLimits {
    /// `references` are pictures of good parts; `left_out` has their maps, each against the others,
    /// region by region. Without references nothing is watched.
    pub fn new(references: &[Picture], left_out: &[Vec<(f32, Map)>]) -> Self {
        let mut by_size: BTreeMap<_, Vec<Measures>> = BTreeMap::new();

        for reference in references {
            let size = (reference.width(), reference.height());

            by_size
                .entry(size)
                .or_default()
                .push(Measures::of(reference));
        }

        let by_size = by_size.into_iter();

        DriftLimits {
            by_size: by_size
                .map(|(size, measures)| (size, SizeLimits::of(&measures)))
                .collect(),
            unlike: left_out
                .iter()
                .map(|maps| CellLimits::of_unlike(maps))
                .collect(),
        }
    }

    /// Brightness and sharpness as the references of this picture size show them.
    pub fn taught(&self, size: (usize, usize)) -> (Option<TaughtRange>, Option<TaughtRange>) {
        let Some(limits) = self.by_size.get(&size) else {
            return (None, None);
        };

        let brightness = limits.brightness.as_ref().map(Range::taught);
        let sharpness = limits.sharpness.as_ref().map(Range::taught);

        (brightness, sharpness)
    }

    /// True where places are watched on pictures of this size.
    pub fn watches_places(&self, size: (usize, usize)) -> bool {
        let of_size = self.by_size.get(&size);

        of_size.is_some_and(|limits| {
            limits.places.is_some() || self.unlike.iter().any(Option::is_some)
        })
    }

    /// The limits of the whole picture alone: of parts that lie anywhere, no place of the picture shows the
    /// same twice.
    pub fn without_places(mut self) -> Self {
        for limits in self.by_size.values_mut() {
            limits.places = None;
        }

        self.unlike.clear();

        self
    }
}
