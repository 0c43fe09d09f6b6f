//! Marks over a painted overlay: a contour where the map reaches the threshold, the outlines of regions, and the
//! defects with their numbers and peaks.
//!
//! Each mark is light with a dark edge, so that it is seen on light and on dark products.

use crate::data::picture::{Area, Picture};
use crate::data::verdict::Defect;
use crate::image::canvas::{Canvas, text_width};
use crate::image::overlay::{Overlay, PlacedLayer, Rgb};

const LIGHT: Rgb = [255, 255, 255];
const DARK: Rgb = [0, 0, 0];
const REGION: Rgb = [120, 170, 255];
/// Height of a defect's number in pixels.
const NUMBER_PX: usize = 18;

/// Draws the marks of an overlay over its `painted` picture. `defects` are in the camera picture's pixels,
/// the highest peak first.
pub fn draw(painted: Picture, overlay: &Overlay, defects: &[Defect]) -> Picture {
    let mut canvas = Canvas::from(painted);

    // The outline of the whole picture would only be a frame.
    let whole = Area::whole(overlay.width, overlay.height);

    for layer in &overlay.layers {
        if layer.area() != whole {
            canvas.outline(layer.area(), 1, REGION);
        }

        if layer.scale.is_threshold {
            draw_contour(&mut canvas, layer);
        }
    }

    // A contour says where a defect is; a box does so where there is none.
    let has_contour = overlay.layers.iter().any(|layer| layer.scale.is_threshold);
    let places: Vec<Area> = defects
        .iter()
        .map(|defect| place(overlay, defect))
        .collect();
    for place in places.iter().filter(|_| !has_contour) {
        draw_box(&mut canvas, *place);
    }

    let mut taken: Vec<Area> = vec![];
    for (number, (defect, place)) in defects.iter().zip(places).enumerate() {
        let words = format!("{} · {:.3}", number + 1, defect.peak);
        draw_number(&mut canvas, place, &words, &mut taken);
    }

    canvas.into_picture()
}

/// A defect's box in the overlay's pixels.
fn place(overlay: &Overlay, defect: &Defect) -> Area {
    let &Defect { x, y, w, h, .. } = defect;

    overlay.placed(Area { x, y, w, h })
}

/// Draws the line between what is below the threshold and what is not.
fn draw_contour(canvas: &mut Canvas, layer: &PlacedLayer) {
    if layer.map.max() < layer.scale.high {
        return;
    }

    let line = contour(layer);

    // All of the dark edge comes first: it must not cover the light line of a neighbour.
    for (reach, colour) in [(2, DARK), (1, LIGHT)] {
        for (column, row) in &line {
            let x = (layer.left + column).saturating_sub(reach);
            let y = (layer.top + row).saturating_sub(reach);
            let side = 2 * reach;
            canvas.fill(
                Area {
                    x,
                    y,
                    w: side,
                    h: side,
                },
                colour,
            );
        }
    }
}

/// The pixels of a layer, column and row from its corner, that are at or above the threshold and have a neighbour that is not.
fn contour(layer: &PlacedLayer) -> Vec<(usize, usize)> {
    let Area { w, h, .. } = layer.area();
    let values = layer.map.enlarged(w, h);
    let grid = layer.map.grid();
    let is_above = |column: usize, row: usize| {
        values[row * w + column] >= layer.scale.high
            && layer.map.counts(row * grid.h / h, column * grid.w / w)
    };

    let mut line = vec![];
    for row in 0..h {
        for column in 0..w {
            if !is_above(column, row) {
                continue;
            }

            // What lies beyond the layer is not above.
            let is_inside = column > 0
                && row > 0
                && column + 1 < w
                && row + 1 < h
                && is_above(column - 1, row)
                && is_above(column + 1, row)
                && is_above(column, row - 1)
                && is_above(column, row + 1);

            if !is_inside {
                line.push((column, row));
            }
        }
    }

    line
}

fn draw_box(canvas: &mut Canvas, place: Area) {
    // The dark edge lies around the light line.
    let around = Area {
        x: place.x.saturating_sub(1),
        y: place.y.saturating_sub(1),
        w: place.w + 2,
        h: place.h + 2,
    };

    canvas.outline(around, 4, DARK);
    canvas.outline(place, 2, LIGHT);
}

/// Writes a defect's words beside its box: above it, else below, where nothing is written yet.
fn draw_number(canvas: &mut Canvas, place: Area, words: &str, taken: &mut Vec<Area>) {
    let w = text_width(NUMBER_PX, words) + 10;
    let h = NUMBER_PX + 4;

    // A label is moved to the left where the picture ends.
    let x = place.x.min(canvas.width().saturating_sub(w));
    let above = place.y.checked_sub(h + 4);
    let below = place.y + place.h + 4;
    let lowest = canvas.height().saturating_sub(h);
    let mut ys: Vec<usize> = above.into_iter().chain([below.min(lowest)]).collect();

    // Where labels meet, the next one goes under those before.
    ys.extend(
        taken
            .iter()
            .map(|other| (other.y + other.h + 2).min(lowest)),
    );

    let meets = |y: usize| {
        taken.iter().any(|other| {
            x < other.x + other.w && other.x < x + w && y < other.y + other.h && other.y < y + h
        })
    };

    let free = ys.iter().copied().find(|y| !meets(*y));
    let Some(y) = free.or(ys.first().copied()) else {
        return;
    };

    let label = Area { x, y, w, h };
    canvas.fill(label, DARK);
    canvas.outline(label, 1, LIGHT);
    canvas.text((x + 5, y + 2), NUMBER_PX, LIGHT, words);
    taken.push(label);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::map::Map;
    use crate::image::overlay::{HeatLayer, HeatScale};

    fn is_light(picture: &Picture, x: usize, y: usize) -> bool {
        picture.rgb()[3 * (picture.width() * y + x)..][..3] == [255; 3]
    }

    #[test]
    fn the_contour_runs_where_the_map_reaches_the_threshold_and_where_it_counts() {
        let picture = Picture::new(400, 400, vec![90; 480_000]).expect("its bytes");
        let area = Area::whole(400, 400);
        let values = vec![0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let map = Map::new(Grid::square(3), values);
        let drawn = |map: &Map, scale: HeatScale| {
            let overlay = Overlay::new(&picture, &[HeatLayer { map, area, scale }]);
            let painted = crate::image::overlay::paint::paint(&overlay);
            draw(painted, &overlay, &[])
        };

        // The map is 0.5 in the middle between the first two cells: 133 pixels of 400.
        let line = drawn(&map, HeatScale::of_threshold(0.5));
        let row: Vec<usize> = (0..300).filter(|x| is_light(&line, *x, 20)).collect();
        assert_eq!(row, [132, 133], "a line of two pixels");
        assert!(!is_light(&line, 250, 20) && !is_light(&line, 250, 300));
        // Nothing reaches it; without a threshold there is none.
        for scale in [HeatScale::of_threshold(1.1), HeatScale::between(0.25, 0.5)] {
            let none = drawn(&map, scale);
            assert!((0..300).all(|x| !is_light(&none, x, 20)));
        }

        let hidden = [true, false, false, true, true, true, true, true, true];
        let masked = map.clone().masked(Some(&hidden));
        let none = drawn(&masked, HeatScale::of_threshold(0.5));
        assert!((0..400).all(|x| !is_light(&none, x, 20)));
    }

    #[test]
    fn numbers_lie_in_the_picture_and_not_over_each_other() {
        let mut canvas = Canvas::new(320, 120, [90; 3]);
        let mut taken = vec![];
        let corner = Area {
            x: 300,
            y: 3,
            w: 20,
            h: 20,
        };

        for _ in 0..3 {
            draw_number(&mut canvas, corner, "1 · 0.412", &mut taken);
        }

        for (i, label) in taken.iter().enumerate() {
            assert!(label.is_inside(320, 120), "{label}");
            for other in &taken[..i] {
                let is_apart = label.y >= other.y + other.h || other.y >= label.y + label.h;
                assert!(is_apart, "{label} over {other}");
            }
        }
    }
}
