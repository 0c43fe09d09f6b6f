//! What is odd on a picture: how the cells that are least like the references differ from them. Pictures are grouped
//! by it.
//!
//! An oddity is a direction: the features of such a cell less those of the nearest reference. The features alone tell the
//! product, which all pictures share (docs/teach.md has the figures).

use super::{InspectError, Inspector, RegionFeatures};
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::data::pose::Pose;
use crate::engine::Features;
use crate::engine::device_scorer::MapKind;
use crate::winclip::top_share::TopShare;
use crate::winclip::vectors::unit_rows;
use ndarray::{ArrayView1, ArrayView2, Axis, s};
use std::sync::Arc;

/// Cosine from which a reference's cell is the very cell that is looked at: the picture is among the references by
/// now, and is compared with the others.
const SAME: f32 = 0.9995;
/// Reference cells that are compared at once.
const CHUNK: usize = 4096;

/// What is odd on one region.
#[derive(Debug, Clone)]
pub struct RegionOddity {
    /// `None` where the recipe names no regions.
    pub region: Option<Arc<str>>,
    /// Cosine distance of each cell of the region's whole to the nearest reference, over `area`.
    pub map: Map,
    /// The part of the picture that the map covers.
    pub area: Area,
    /// Direction `[D]` of unit length; all 0 for a picture that differs in nothing.
    pub direction: Vec<f32>,
    /// Place and turn of the part, where the recipe locates it: the map is then over the part at its place.
    pub pose: Option<Pose>,
}

impl Inspector {
    /// What is odd on each region of a picture, in the recipe's order. Of a model that compares no cells with references, it is
    /// the embedding of the whole.
    ///
    /// # Errors
    /// When a region is beyond the picture, or the engine fails.
    pub fn oddities(&mut self, picture: &Picture) -> Result<Vec<RegionOddity>, InspectError> {
        let features: RegionFeatures = self.encode(picture)?;
        let mut oddities = vec![];
        let top_share = self.parameters.top_share;

        for (region, encoded) in self.regions.iter().zip(&features.regions) {
            // The whole is the first crop; tiles lie over it.
            let first_crop = encoded.crops.first();
            let first_bank = region.reference_banks().next();
            let Some((whole, bank)) = first_crop.zip(first_bank) else {
                continue;
            };

            // The cells that are looked at are those of the patches.
            let galleries = &bank.galleries;
            let patches = galleries.iter().find(|(kind, _)| *kind == MapKind::Patch);
            let gallery = patches.map(|(_, rows)| rows.view());
            let (map, direction) = odd_direction(whole, gallery, bank.mask, top_share);

            let oddity = RegionOddity {
                region: region.name.clone(),
                map,
                area: encoded.area,
                direction,
                pose: features.pose(),
            };

            oddities.push(oddity);
        }

        Ok(oddities)
    }
}

/// Distances of the whole's cells to the unit rows `[R, D]` of the references, and the mean direction in which the
/// furthest of them differ: as many as make a score.
fn odd_direction(
    whole: &Features,
    gallery: Option<ArrayView2<f32>>,
    mask: Option<&[bool]>,
    share: TopShare,
) -> (Map, Vec<f32>) {
    let grid = whole.grid;
    let tokens = whole.tokens.first();

    // Without cells to compare, no place is odd, and the embedding of the whole is the direction.
    let (Some(tokens), Some(gallery)) = (tokens, gallery) else {
        let nothing = vec![0.0; grid.cells()];
        let flat = Map::new(grid, nothing);

        let image = whole.image.as_deref().unwrap_or_default();
        let direction = unit(image.to_vec());
        return (flat, direction);
    };

    // The class token comes first.
    let cells = unit_rows(tokens.slice(s![1.., ..]));
    let nearest = nearest_others(cells.view(), gallery);

    // Rounding may take a cosine a little beyond 1.
    let distances = nearest.iter().map(|(_, cosine)| (1.0 - cosine).max(0.0));
    let all = Map::new(grid, distances.collect());
    let map = all.masked(mask);

    let mut sum = vec![0.0; cells.ncols()];
    for cell in furthest(&map, share) {
        let (row, _) = nearest[cell];

        if let Some(row) = row {
            let reference = gallery.row(row);
            add(&mut sum, cells.row(cell), reference);
        }
    }

    // The sum has the mean's direction, and its length does not matter.
    let direction = unit(sum);
    (map, direction)
}

/// For each cell the row that is nearest and not the very same, and its cosine.
fn nearest_others(cells: ArrayView2<f32>, gallery: ArrayView2<f32>) -> Vec<(Option<usize>, f32)> {
    let mut nearest = vec![(None, f32::NEG_INFINITY); cells.nrows()];
    let chunks = gallery.axis_chunks_iter(Axis(0), CHUNK);

    // The product of a chunk is [cells, rows of the chunk]: its size is bounded.
    for (chunk, rows) in chunks.enumerate() {
        let first_row = chunk * CHUNK;
        let cosines = cells.dot(&rows.t());

        for (cosines, nearest) in cosines.rows().into_iter().zip(&mut nearest) {
            for (row, cosine) in cosines.iter().enumerate() {
                let is_another = *cosine < SAME;
                let is_nearer = *cosine > nearest.1;

                if is_another && is_nearer {
                    *nearest = (Some(first_row + row), *cosine);
                }
            }
        }
    }

    // Where all rows are the same cell, nothing differs.
    for found in &mut nearest {
        if found.0.is_none() {
            found.1 = 1.0;
        }
    }

    nearest
}

/// The cells with the highest values: as many as make a score.
fn furthest(map: &Map, share: TopShare) -> Vec<usize> {
    let grid: Grid = map.grid();
    let all = 0..grid.cells();

    // Masked cells make no score, and no direction either.
    let counting = all.filter(|cell| {
        let row = grid.row(*cell);
        let column = grid.column(*cell);
        map.counts(row, column)
    });

    let mut cells: Vec<usize> = counting.collect();
    let count = share.count(cells.len());

    // Of equal ones the first, so that the result is always the same.
    let values = map.values();
    cells.sort_by(|a, b| {
        let by_value = values[*b].total_cmp(&values[*a]);
        by_value.then(a.cmp(b))
    });

    cells.truncate(count);
    cells
}

fn add(sum: &mut [f32], cell: ArrayView1<f32>, reference: ArrayView1<f32>) {
    for ((sum, cell), reference) in sum.iter_mut().zip(cell).zip(reference) {
        *sum += cell - reference;
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let squares = vector.iter().map(|value| value * value);
    let sum: f32 = squares.sum();
    let length = sum.sqrt();

    // A vector of zeros has no direction, and stays as it is.
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }

    vector
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// A picture of 2 x 2 cells with these features.
    fn picture(cells: [[f32; 3]; 4]) -> Features {
        let class_token = [9.0, 9.0, 9.0];
        let rows = [&[class_token][..], &cells].concat().concat();
        Features {
            grid: Grid::square(2),
            image: Some(vec![3.0, 4.0]),
            tokens: vec![Array2::from_shape_vec((5, 3), rows).expect("five rows")],
            windows: vec![],
        }
    }

    #[test]
    fn an_oddity_is_how_the_furthest_cell_differs_from_the_nearest_reference() {
        let ground = [1.0, 0.0, 0.0];
        let gallery = Array2::from_shape_vec((1, 3), ground.to_vec()).expect("a row");
        let odd = picture([
            [0.9, 0.1, 0.0],
            [2.0, 0.1, 0.0],
            [0.0, 0.0, 5.0],
            [1.0, 0.1, 0.0],
        ]);
        let (map, direction) = odd_direction(&odd, Some(gallery.view()), None, TopShare::USUAL);
        assert!(map.values()[2] > 0.99 && map.values()[0] < 0.1, "{map:?}");
        let half = 0.5_f32.sqrt();
        let expected = [-half, 0.0, half];
        let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(
            direction.iter().zip(&expected).all(is_near),
            "{direction:?}"
        );
        // A cell that does not count is not looked at.
        let mask = [true, true, false, true];
        let (map, masked) = odd_direction(&odd, Some(gallery.view()), Some(&mask), TopShare::USUAL);
        assert_eq!(map.values()[2], 0.0);
        assert!(masked[2] == 0.0 && masked[1] > 0.0, "{masked:?}");
    }

    #[test]
    fn a_picture_that_is_a_reference_by_now_is_compared_with_the_others() {
        let cells = [
            [1.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0],
            [1.0, 0.0, 0.0],
        ];
        let taught = picture(cells);
        let rows = [&cells[..], &[[0.9, 0.1, 0.0]]].concat().concat();
        let gallery = Array2::from_shape_vec((5, 3), rows).expect("five rows");
        let gallery = unit_rows(gallery.view());
        let (map, direction) = odd_direction(&taught, Some(gallery.view()), None, TopShare::USUAL);
        assert!(map.values()[2] > 0.99, "{map:?}");
        assert!(direction[2] > 0.5, "{direction:?}");
        // Alone among the references it differs in nothing.
        let alone = Array2::from_shape_vec((1, 3), vec![0.0, 0.0, 1.0]).expect("a row");
        let same = picture([[0.0, 0.0, 1.0]; 4]);
        let (map, direction) = odd_direction(&same, Some(alone.view()), None, TopShare::USUAL);
        assert_eq!((map.max(), direction), (0.0, vec![0.0; 3]));
        let (_, words) = odd_direction(&same, None, None, TopShare::USUAL);
        assert_eq!(words, [0.6, 0.8]);
    }
}
