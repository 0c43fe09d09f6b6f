//! Masters by which no part can be found, and pictures in which none was.

use crate::data::picture::Area;

/// A master picture by which no part can be found.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MasterError {
    /// The area is not in the picture.
    #[error(
        "the part's area {area} (x,y,width,height) is beyond the master picture of {width} x {height} pixels"
    )]
    Beyond {
        /// The area.
        area: Area,
        /// Width of the master picture.
        width: usize,
        /// Height of the master picture.
        height: usize,
    },
    /// The area is too small.
    #[error(
        "the part's area {area} (x,y,width,height) is too small to be found in {width} x {height} pixels: both sides must be at least {least}"
    )]
    Small {
        /// The area.
        area: Area,
        /// Width of the master picture.
        width: usize,
        /// Height of the master picture.
        height: usize,
        /// Shorter side in pixels, at least.
        least: usize,
    },
    /// The area shows nothing.
    #[error(
        "the part's area {area} (x,y,width,height) shows nothing by which a part could be found: its grey values differ by {contrast:.1} (standard deviation), {least} are needed; give an area that holds the part's outline"
    )]
    Flat {
        /// The area.
        area: Area,
        /// Standard deviation of the grey values.
        contrast: f32,
        /// Standard deviation at least.
        least: f32,
    },
}

/// Why a picture has no part that could be judged.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum NotFound {
    /// The picture has another size than the master.
    #[error(
        "the picture has {width} x {height} pixels, the master picture {master_width} x {master_height}: take the master with this camera"
    )]
    Size {
        /// Width of the picture.
        width: usize,
        /// Height of the picture.
        height: usize,
        /// Width of the master picture.
        master_width: usize,
        /// Height of the master picture.
        master_height: usize,
    },
    /// Nothing is like the part.
    #[error("no part found: the most like place has a likeness of {likeness:.2}, at least {least}")]
    Unlike {
        /// The highest correlation.
        likeness: f32,
        /// The limit.
        least: f32,
    },
    /// The part is turned too far.
    #[error("the part is turned by {turn_deg:.0} degrees, at most {most}")]
    Turned {
        /// Its turn.
        turn_deg: f32,
        /// The limit.
        most: f32,
    },
    /// The part lies too far away from its place on the master.
    #[error(
        "the part lies {x:.0} pixels to the right and {y:.0} down from its place on the master, at most {most_x:.0} and {most_y:.0}"
    )]
    Moved {
        /// Pixels along x.
        x: f32,
        /// Pixels along y.
        y: f32,
        /// The limit along x.
        most_x: f32,
        /// The limit along y.
        most_y: f32,
    },
    /// What has to be judged is not all in the picture.
    #[error(
        "the part is cut off: what is judged of it reaches {pixels:.0} pixels beyond the picture; a mask round the part makes that less"
    )]
    CutOff {
        /// Pixels beyond the picture's edge.
        pixels: f32,
    },
}
