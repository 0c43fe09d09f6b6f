//! Turned and mirrored references, for parts without an orientation: each reference is encoded in
//! several ways, and all of them are what a good part looks like.
//!
//! The pixels of the encoder's input are turned, after the crop and the resize. A way that would exchange
//! the sides of an oblong input is left out. A mask stays where it is: it says which places of a picture
//! count, whatever way the part lies under it.

use crate::data::grid::Grid;
use crate::data::picture::Picture;
use crate::engine::Pixels;
use ndarray::{Array3, ArrayView3, Axis};

/// Ways in which the references are looked at beside their own, `turned` in a recipe.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Turned {
    /// As they are.
    #[default]
    None,
    /// Left and right exchanged, too.
    Mirror,
    /// Turned by 180 degrees, too.
    Half,
    /// Turned by 90, 180 and 270 degrees, too; a square input alone.
    Quarter,
    /// Turned and mirrored: 8 ways; 4 for an oblong input, which has no quarter turns.
    All,
}

/// One way to look at a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Quarter turns, counterclockwise.
    quarters: usize,
    /// True if left and right are exchanged before.
    is_mirrored: bool,
}

impl Turned {
    /// The ways beside the picture's own.
    pub fn ways(self, is_square: bool) -> Vec<Way> {
        // Quarter turns by the one list, mirrors by the other: each pair is a way.
        let turns: &[usize] = match (self, is_square) {
            (Turned::None | Turned::Mirror, _) => &[0],
            (Turned::Half, _) => &[0, 2],
            // An oblong input keeps its shape in half turns alone.
            (Turned::Quarter | Turned::All, false) => &[0, 2],
            (Turned::Quarter | Turned::All, true) => &[0, 1, 2, 3],
        };

        let mirrors: &[bool] = match self {
            Turned::None | Turned::Half | Turned::Quarter => &[false],
            Turned::Mirror | Turned::All => &[false, true],
        };

        // The picture's own way is encoded anyhow.
        let own = Way {
            quarters: 0,
            is_mirrored: false,
        };

        let mut ways = vec![];
        for &is_mirrored in mirrors {
            for &quarters in turns {
                let way = Way {
                    quarters,
                    is_mirrored,
                };

                if way != own {
                    ways.push(way);
                }
            }
        }

        ways
    }
}

impl Way {
    /// The pixels `[3, height, width]`, looked at in this way: `[3, width, height]` after an odd number of
    /// quarter turns.
    pub fn of(self, pixels: &Pixels) -> Pixels {
        // A view is turned, whose axes go backwards or change places; one copy is made at the end.
        let mut view: ArrayView3<f32> = pixels.view();

        if self.is_mirrored {
            view.invert_axis(Axis(2));
        }

        for _ in 0..self.quarters {
            // Counterclockwise: columns become rows, the last column the first row.
            view.swap_axes(1, 2);
            view.invert_axis(Axis(1));
        }

        view.as_standard_layout().into_owned()
    }

    /// The cell of the picture before it was looked at in this way that lies where `cell` lies now. Of a grid that a quarter
    /// turn would make another one there are no quarter turns.
    pub fn cell_before(self, grid: Grid, cell: usize) -> usize {
        // Numbers of cells are whole, and far below what a float counts exactly.
        let shape = (1, grid.h, grid.w);
        let numbers = Array3::from_shape_fn(shape, |(_, row, column)| {
            let number = row * grid.w + column;
            number as f32
        });

        let turned = self.of(&numbers);
        let row = grid.row(cell);
        let column = grid.column(cell);

        turned[(0, row, column)] as usize
    }

    /// A picture, looked at in this way.
    pub fn of_picture(self, picture: &Picture) -> Picture {
        let width = picture.width();
        let height = picture.height();
        let rgb = picture.rgb();
        let shape = (3, height, width);

        let pixels = Array3::from_shape_fn(shape, |(channel, row, column)| {
            let pixel = row * width + column;
            let byte = rgb[3 * pixel + channel];
            f32::from(byte)
        });

        let turned = self.of(&pixels);
        let (_, height, width) = turned.dim();

        // Channels come last in a picture.
        let packed = turned.permuted_axes([1, 2, 0]);
        let bytes = packed.iter().map(|value| *value as u8);
        let turned = Picture::new(width, height, bytes.collect());

        turned.expect("as many bytes as before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array, s};

    #[test]
    fn every_way_is_another_and_oblong_inputs_keep_their_shape() {
        let square = Array3::from_shape_fn((3, 4, 4), |(c, y, x)| (100 * c + 10 * y + x) as f32);
        let oblong = Array3::from_shape_fn((3, 4, 6), |(c, y, x)| (100 * c + 10 * y + x) as f32);
        let counts = [
            (Turned::None, 0, 0),
            (Turned::Mirror, 1, 1),
            (Turned::Half, 1, 1),
            (Turned::Quarter, 3, 1),
            (Turned::All, 7, 3),
        ];

        for (turned, of_square, of_oblong) in counts {
            for (pixels, is_square, count) in
                [(&square, true, of_square), (&oblong, false, of_oblong)]
            {
                let mut seen = vec![pixels.clone()];
                for way in turned.ways(is_square) {
                    let made = way.of(pixels);
                    assert_eq!(made.shape(), pixels.shape(), "{way:?}");
                    assert!(!seen.contains(&made), "{way:?}");
                    assert!(made.is_standard_layout(), "{way:?}");
                    seen.push(made);
                }

                assert_eq!(seen.len(), 1 + count, "{turned:?}");
            }
        }
    }

    #[test]
    fn quarter_turns_go_round_and_a_mirror_exchanges_left_and_right() {
        let pixels = Array3::from_shape_fn((3, 2, 2), |(_, y, x)| (2 * y + x) as f32);
        let plane = |quarters, is_mirrored| {
            let way = Way {
                quarters,
                is_mirrored,
            };

            way.of(&pixels).slice_move(s![0, .., ..])
        };

        // As numpy's rot90 and fliplr.
        assert_eq!(plane(1, false), array![[1.0, 3.0], [0.0, 2.0]]);
        assert_eq!(plane(2, false), array![[3.0, 2.0], [1.0, 0.0]]);
        assert_eq!(plane(3, false), array![[2.0, 0.0], [3.0, 1.0]]);
        assert_eq!(plane(0, true), array![[1.0, 0.0], [3.0, 2.0]]);
    }
}
