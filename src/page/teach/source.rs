//! What the screen is made of: the line's recipes and cameras, read when somebody asks.

use crate::data::picture::Picture;
use crate::page::numbers::decimal;
use crate::protocol::editing::{Rectangle, ViewSpec};
use crate::protocol::lesson_board::LessonBoard;
use std::sync::Arc;

/// Finds the newest picture of a camera.
pub type FrameOf = Box<dyn Fn(&str) -> Option<Arc<Picture>> + Send + Sync>;

/// Reads the recipes that can be selected off the disk, by name. It holds nothing that the line's end waits for.
pub type ReadFacts = Arc<dyn Fn() -> Vec<RecipeFacts> + Send + Sync>;

/// The line, as the screen reads it.
pub struct TeachSource {
    /// The recipes that can be selected, by name. Reads files.
    pub recipes: ReadFacts,
    /// The cameras.
    pub cameras: Vec<CameraFacts>,
    /// The newest picture of a camera.
    pub frame: FrameOf,
    /// Lessons and scores.
    pub board: LessonBoard,
}

/// A camera.
#[derive(Debug, Clone)]
pub struct CameraFacts {
    /// Its name.
    pub name: String,
    /// Size of a pixel on the part in millimetres, where the line's file says it.
    pub mm_per_pixel: Option<f64>,
}

/// A recipe.
#[derive(Debug, Clone)]
pub struct RecipeFacts {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u64,
    /// The revision that this one was made of, if the library still has it.
    pub parent: Option<u64>,
    /// A later revision that was current before this one: going back can be taken back.
    pub later: Option<u64>,
    /// How the revision came about.
    pub by: Option<String>,
    /// Pictures of good parts.
    pub good: usize,
    /// Pictures of bad parts.
    pub bad: usize,
    /// Its threshold as it stands in the recipe.
    pub threshold: Option<String>,
    /// What it looks at.
    pub view: ViewSpec,
    /// The cells of its map.
    pub cells: CellFacts,
    /// Why the library's revision cannot be read.
    pub problem: Option<String>,
}

/// The cells of a map, by which the smallest defect follows from a crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellFacts {
    /// Cells beside each other.
    pub columns: usize,
    /// Cells above each other.
    pub rows: usize,
    /// Number of cells where the aspect is kept.
    pub kept: Option<usize>,
    /// True where the middle square is looked at alone.
    pub is_square: bool,
    /// Side of the tiles, where there are some.
    pub tile_px: Option<usize>,
}

/// The narrowest defect that is seen, as a share of a cell (docs/measurements.md, "The smallest defect").
pub const SEEN: f64 = 0.5;

impl CellFacts {
    /// Width and height of the smallest defect that can be seen in an area, in pixels of the camera's picture.
    pub fn least(&self, [_, _, w, h]: Rectangle) -> (f64, f64) {
        let (w, h) = (w as f64, h as f64);
        let shorter = w.min(h);
        let (cell_w, cell_h) = match (self.tile_px, self.kept) {
            (Some(tile), _) => {
                let side = shorter.min(tile as f64);

                (side / self.columns as f64, side / self.rows as f64)
            }

            (None, Some(cells)) => {
                let side = (w * h / cells as f64).sqrt();

                (side, side)
            }

            (None, None) if self.is_square => {
                (shorter / self.columns as f64, shorter / self.rows as f64)
            }

            (None, None) => (w / self.columns as f64, h / self.rows as f64),
        };

        ((SEEN * cell_w).ceil(), (SEEN * cell_h).ceil())
    }

    /// The smallest defect in words.
    pub fn words(&self, area: Rectangle, px_per_mm: Option<f64>) -> String {
        let (w, h) = self.least(area);
        let mm = match px_per_mm {
            Some(px) => format!("about {} x {} mm, ", decimal(w / px, 2), decimal(h / px, 2)),
            None => String::new(),
        };

        format!("{mm}{w:.0} x {h:.0} pixels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_crop_shows_smaller_defects() {
        let cells = CellFacts {
            columns: 16,
            rows: 16,
            kept: None,
            is_square: false,
            tile_px: None,
        };

        assert_eq!(cells.least([0, 0, 1920, 1080]), (60.0, 34.0));
        assert_eq!(cells.least([5, 5, 320, 160]), (10.0, 5.0));
        let words = cells.words([0, 0, 320, 160], Some(10.0));
        assert_eq!(words, "about 1.00 x 0.50 mm, 10 x 5 pixels");
        let kept = CellFacts {
            kept: Some(256),
            ..cells
        };

        assert_eq!(kept.least([0, 0, 640, 160]), (10.0, 10.0));
        let tiles = CellFacts {
            tile_px: Some(448),
            ..cells
        };

        assert_eq!(tiles.least([0, 0, 1920, 1080]), (14.0, 14.0));
    }
}
