//! Decisions: from a score and a map to pass, fail or undecided, and the defects that a person should
//! look at.

use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::Area;
use crate::data::pose::Pose;
use serde::Serialize;

/// Verdict on a part, which the PLC acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The part is good.
    Pass,
    /// The part is bad.
    Fail,
    /// The part could not be judged; a [`Reason`] says why.
    Undecided,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::Undecided];

    /// The word in messages and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Undecided => "undecided",
        }
    }

    /// The verdict of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }

    /// OPC 40100-1's evaluation code: 1 pass, 2 fail, 3 undecided.
    pub fn evaluation(self) -> u8 {
        match self {
            Verdict::Pass => 1,
            Verdict::Fail => 2,
            Verdict::Undecided => 3,
        }
    }
}

/// Action of the gate for an undecided part. A line must fail safe: the default is to reject it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndecided {
    /// The gate rejects the part.
    #[default]
    Fail,
    /// The gate lets the part pass.
    Pass,
}

/// Reason of an undecided verdict, which always has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The verdict was not there by the deadline.
    Late,
    /// The queue of the inspector was full.
    Overload,
    /// The camera gave no frame of the part.
    CameraLost,
    /// The frame failed the image-quality gate.
    BadImage,
    /// The engine failed, or gave a score that is no number.
    EngineError,
    /// The recipe has no threshold yet, or none is loaded.
    NotReady,
    /// The part was not found in the picture, or not all of it.
    NoPart,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 7] = [
        Reason::Late,
        Reason::Overload,
        Reason::CameraLost,
        Reason::BadImage,
        Reason::EngineError,
        Reason::NotReady,
        Reason::NoPart,
    ];

    /// The word in messages and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Late => "late",
            Reason::Overload => "overload",
            Reason::CameraLost => "camera_lost",
            Reason::BadImage => "bad_image",
            Reason::EngineError => "engine_error",
            Reason::NotReady => "not_ready",
            Reason::NoPart => "no_part",
        }
    }

    /// The reason of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

/// A connected area of the map above a level, in pixels of the judged picture; results have it in the
/// camera's. For a failed part the
/// level is half-way between the map's median and its highest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
pub struct Defect {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Width.
    pub w: usize,
    /// Height.
    pub h: usize,
    /// The highest map value inside.
    pub peak: f32,
}

impl Defect {
    /// The box in the camera's picture around a defect of the picture with the part at its place.
    pub fn moved(&self, pose: &Pose) -> Defect {
        let Area { x, y, w, h } = pose.box_in_camera(Area {
            x: self.x,
            y: self.y,
            w: self.w,
            h: self.h,
        });

        Defect {
            x,
            y,
            w,
            h,
            peak: self.peak,
        }
    }

    /// Width and height in millimetres, where a pixel is `mm_per_pixel`.
    pub fn size_mm(&self, mm_per_pixel: f64) -> [f64; 2] {
        [self.w, self.h].map(|pixels| pixels as f64 * mm_per_pixel)
    }

    /// The same for a person.
    pub fn in_mm(&self, mm_per_pixel: &f64) -> String {
        let [w, h] = self.size_mm(*mm_per_pixel);

        format!("{w:.2} × {h:.2}")
    }
}

/// The verdict for a score, with the reason if it is undecided: a part with a score of `threshold` or
/// more fails. Without a threshold nothing can be decided, nor with a score that is not finite.
pub fn decide(score: f32, threshold: Option<f32>) -> (Verdict, Option<Reason>) {
    // A score that is no number is the engine's failure; it must not become a pass because no
    // comparison with it is true.
    if !score.is_finite() {
        return (Verdict::Undecided, Some(Reason::EngineError));
    }

    // A score of exactly the threshold fails: in doubt a part is rejected.
    match threshold {
        None => (Verdict::Undecided, Some(Reason::NotReady)),
        Some(threshold) if score >= threshold => (Verdict::Fail, None),
        Some(_) => (Verdict::Pass, None),
    }
}

/// The map's areas at or above `level`, four-connected, highest peak first, at most `limit`, as boxes
/// in a picture of which the map covers `area`.
pub fn find_defects(map: &Map, level: f32, area: Area, limit: usize) -> Vec<Defect> {
    // `seen` marks cells that belong to a defect already.
    let grid = map.grid();
    let mut seen = vec![false; grid.cells()];
    let mut defects = Vec::new();

    // Each cell is looked at once as a start, in the order of the map, and as a neighbour of
    // others.
    for start in 0..grid.cells() {
        if seen[start] || map.values()[start] < level {
            continue;
        }

        // The whole connected area becomes one box.
        let cells = connected_cells(map, level, start, &mut seen);
        defects.push(cells.in_picture(area, grid));
    }

    // The worst comes first: a reader with room for a few takes those.
    defects.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    defects.truncate(limit);

    defects
}

/// Connected cells of a map: the box around them, ends included, and their highest value.
struct CellBox {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    peak: f32,
}

/// Fills the area of cells at or above `level` that `start` belongs to, and marks them as seen.
fn connected_cells(map: &Map, level: f32, start: usize, seen: &mut [bool]) -> CellBox {
    let grid = map.grid();

    // The box begins empty, and the first cell fills it.
    let mut found = CellBox {
        left: grid.w,
        right: 0,
        top: grid.h,
        bottom: 0,
        peak: f32::NEG_INFINITY,
    };

    // Cells wait that were marked and whose neighbours were not looked at yet: a stack instead of
    // recursion, as an area may cover the whole map.
    seen[start] = true;
    let mut waiting = vec![start];

    while let Some(cell) = waiting.pop() {
        // A cell is marked when it is put on the stack, hence no cell is put there twice.
        found.add(grid.row(cell), grid.column(cell), map.values()[cell]);

        for next in four_neighbours(cell, grid).into_iter().flatten() {
            if !seen[next] && map.values()[next] >= level {
                seen[next] = true;
                waiting.push(next);
            }
        }
    }

    found
}

/// The cells above, below, left and right; `None` beyond the edge of the map.
fn four_neighbours(cell: usize, grid: Grid) -> [Option<usize>; 4] {
    // Rows of the map are `w` cells; the first and last column have a neighbour on one side
    // only.
    let row = grid.row(cell);
    let column = grid.column(cell);
    [
        (row > 0).then(|| cell - grid.w),
        (row + 1 < grid.h).then(|| cell + grid.w),
        (column > 0).then(|| cell - 1),
        (column + 1 < grid.w).then(|| cell + 1),
    ]
}

impl CellBox {
    fn add(&mut self, row: usize, column: usize, value: f32) {
        self.left = self.left.min(column);
        self.right = self.right.max(column);
        self.top = self.top.min(row);
        self.bottom = self.bottom.max(row);
        self.peak = self.peak.max(value);
    }

    /// The box in pixels, in a picture of which a map of `grid` covers `area`.
    fn in_picture(&self, area: Area, grid: Grid) -> Defect {
        // Edges of cells become pixels, rounded down. The box ends where the next cell begins, so
        // that boxes of neighbours touch.
        let x = area.x + self.left * area.w / grid.w;
        let y = area.y + self.top * area.h / grid.h;
        let x_end = area.x + (self.right + 1) * area.w / grid.w;
        let y_end = area.y + (self.bottom + 1) * area.h / grid.h;
        Defect {
            x,
            y,
            w: x_end - x,
            h: y_end - y,
            peak: self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_fails_and_without_one_nothing_is_ready() {
        assert_eq!(decide(0.5, Some(0.5)), (Verdict::Fail, None));
        assert_eq!(decide(0.49, Some(0.5)), (Verdict::Pass, None));
        let no_number = (Verdict::Undecided, Some(Reason::EngineError));
        assert_eq!(decide(f32::NAN, Some(0.5)), no_number);
        let not_ready = (Verdict::Undecided, Some(Reason::NotReady));
        assert_eq!(decide(0.9, None), not_ready);
    }

    #[test]
    fn a_defect_of_an_oblong_map_lies_where_its_cells_do() {
        let map = Map::new(
            Grid { w: 2, h: 5 },
            vec![
                0.0, 0.0, //
                0.0, 0.0, //
                0.0, 0.7, //
                0.0, 0.9, //
                0.0, 0.0, //
            ],
        );

        let found = find_defects(&map, 0.5, Area::whole(200, 500), 3);
        let defect = Defect {
            x: 100,
            y: 200,
            w: 100,
            h: 200,
            peak: 0.9,
        };

        assert_eq!(found, [defect]);
    }

    #[test]
    fn defects_are_connected_areas_in_picture_pixels() {
        let map = Map::new(
            Grid::square(4),
            vec![
                0.9, 0.8, 0.0, 0.0, //
                0.0, 0.0, 0.0, 0.0, //
                0.0, 0.0, 0.0, 0.0, //
                0.0, 0.0, 0.0, 1.0, //
            ],
        );

        let found = find_defects(&map, 0.5, Area::whole(400, 200), 3);
        assert_eq!(
            found[0],
            Defect {
                x: 300,
                y: 150,
                w: 100,
                h: 50,
                peak: 1.0
            }
        );

        assert_eq!(
            found[1],
            Defect {
                x: 0,
                y: 0,
                w: 200,
                h: 50,
                peak: 0.9
            }
        );

        assert_eq!(find_defects(&map, 0.5, Area::whole(400, 200), 1).len(), 1);
        assert_eq!(find_defects(&map, 2.0, Area::whole(400, 200), 3), vec![]);
        let part = Area {
            x: 1000,
            y: 10,
            w: 40,
            h: 40,
        };

        assert_eq!(
            find_defects(&map, 0.5, part, 1),
            [Defect {
                x: 1030,
                y: 40,
                w: 10,
                h: 10,
                peak: 1.0
            }]
        );
    }
}
