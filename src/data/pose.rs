//! The pose of a part: where it lies in the camera's picture, and how it is turned.
//!
//! Coordinates are pixels from the top left corner, their edges at whole numbers. A turn goes clockwise
//! as a person sees the picture, because y points down.

use super::picture::Area;

/// A place in a picture: x, y in pixels.
pub type Point = [f32; 2];

/// Place and turn of a part, against those on the recipe's master picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Middle of the part on the master picture.
    pub on_master: Point,
    /// Middle of the part in the camera's picture.
    pub x: f32,
    /// Middle of the part in the camera's picture.
    pub y: f32,
    /// Degrees from the master's part to the camera's, clockwise: -180 to 180.
    pub turn_deg: f32,
    /// Correlation of the two, at most 1.
    pub likeness: f32,
    /// Width and height of the camera's picture, which are those of the master picture.
    pub size: (usize, usize),
}

impl Pose {
    /// The place in the camera's picture of a place on the master picture.
    pub fn camera_from_master(&self, [x, y]: Point) -> Point {
        let (sin, cos) = self.turn_deg.to_radians().sin_cos();
        let right = x - self.on_master[0];
        let down = y - self.on_master[1];

        // Clockwise as a person sees it, because y points down.
        let camera_x = self.x + cos * right - sin * down;
        let camera_y = self.y + sin * right + cos * down;
        [camera_x, camera_y]
    }

    /// The place on the master picture of a place in the camera's picture.
    pub fn master_from_camera(&self, [x, y]: Point) -> Point {
        let (sin, cos) = self.turn_deg.to_radians().sin_cos();
        let right = x - self.x;
        let down = y - self.y;

        // The inverse of a turn is its transpose.
        let master_x = self.on_master[0] + cos * right + sin * down;
        let master_y = self.on_master[1] - sin * right + cos * down;
        [master_x, master_y]
    }

    /// The box in the camera's picture around an area of the master picture. What lies beyond an edge of the picture is
    /// cut off.
    pub fn box_in_camera(&self, area: Area) -> Area {
        let corners = corners(area).map(|corner| self.camera_from_master(corner));

        // Each direction by itself.
        let across = corners.map(|[x, _]| x);
        let down = corners.map(|[_, y]| y);
        let (width, height) = self.size;
        let (x, w) = within(across, width);
        let (y, h) = within(down, height);

        Area { x, y, w, h }
    }
}

/// First pixel and length of what lies around values, within a picture of so many pixels. One pixel at the edge is left of
/// what is all beyond it: an area is never empty.
fn within(values: [f32; 4], pixels: usize) -> (usize, usize) {
    let last = pixels.saturating_sub(1);
    let mut least = f32::INFINITY;
    let mut most: f32 = 0.0;
    for value in values {
        least = least.min(value);
        most = most.max(value);
    }

    // A negative number becomes 0.
    let first = least.round() as usize;
    let end = most.round() as usize;
    let first = first.min(last);
    let length = end.min(pixels).saturating_sub(first);

    (first, length.max(1))
}

/// The corners of an area.
pub fn corners(area: Area) -> [Point; 4] {
    let left = area.x as f32;
    let top = area.y as f32;
    let right = (area.x + area.w) as f32;
    let bottom = (area.y + area.h) as f32;

    // Clockwise from the top left one.
    [[left, top], [right, top], [right, bottom], [left, bottom]]
}

/// The middle of an area.
pub fn middle(area: Area) -> Point {
    let half_width = area.w as f32 / 2.0;
    let half_height = area.h as f32 / 2.0;
    let x = area.x as f32 + half_width;
    let y = area.y as f32 + half_height;
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pose(turn_deg: f32) -> Pose {
        Pose {
            on_master: [100.0, 50.0],
            x: 130.0,
            y: 40.0,
            turn_deg,
            likeness: 1.0,
            size: (200, 100),
        }
    }

    #[test]
    fn a_turn_goes_clockwise_and_back() {
        // Right of the middle becomes below it.
        let [x, y] = pose(90.0).camera_from_master([110.0, 50.0]);
        assert!((x - 130.0).abs() < 1e-4);
        assert!((y - 50.0).abs() < 1e-4);

        // There and back is the place itself, whatever the turn.
        let turned = pose(33.0);
        let there = turned.camera_from_master([7.0, 91.0]);
        let [x, y] = turned.master_from_camera(there);
        assert!((x - 7.0).abs() < 1e-3);
        assert!((y - 91.0).abs() < 1e-3);
    }

    #[test]
    fn a_box_is_around_the_turned_area() {
        let area = Area {
            x: 90,
            y: 40,
            w: 20,
            h: 10,
        };

        let turned = pose(90.0).box_in_camera(area);
        let expected = Area {
            x: 130,
            y: 30,
            w: 10,
            h: 20,
        };

        assert_eq!(turned, expected);
    }

    #[test]
    fn a_box_ends_at_the_edges_of_the_picture() {
        let area = |x, y, w, h| Area { x, y, w, h };

        // Moved by 30 to the right and 10 up, in a picture of 200 x 100.
        let pose = pose(0.0);
        for (on_master, in_camera) in [
            (area(150, 80, 40, 40), area(180, 70, 20, 30)),
            (area(0, 0, 20, 20), area(30, 0, 20, 10)),
            (area(180, 120, 10, 10), area(199, 99, 1, 1)),
            (area(10, 0, 10, 5), area(40, 0, 10, 1)),
            (area(100, 50, 10, 10), area(130, 40, 10, 10)),
        ] {
            assert_eq!(pose.box_in_camera(on_master), in_camera, "{on_master:?}");
        }
    }
}
