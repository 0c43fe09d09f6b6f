//! Finding a part in a picture: its place and turn against those on a master picture.
//!
//! ```text
//! picture -> grey, at most 96 pixels long (fine) -> at most 48 (coarse)
//!   coarse: every place, every turn in steps -> the best few
//!   fine:   each refined (Gauss-Newton)      -> the best one: pose and likeness, held against the limits
//! ```
//! The template is the part's area on the master picture with a margin, as grey values without mean and
//! contrast, so that brighter or darker light changes nothing. A part has the size that it has on the
//! master: what is nearer to the camera is less like it.

mod coarse;
mod error;
mod grey;
mod refine;
#[cfg(test)]
mod tests;
mod warp;

use crate::base::hex::hex;
use crate::data::picture::{Area, Picture};
use crate::data::pose::{Point, Pose, middle};
use coarse::TurnedTemplates;
pub use error::{MasterError, NotFound};
use grey::Grey;
use refine::{Place, Template, on_level};
use sha2::{Digest, Sha256};
pub use warp::aligned;

/// Pixels of the longer side of each level, at most.
const FINE_PX: usize = 96;
const COARSE_PX: usize = 48;
/// Pixels of the coarse level's longer side, at least.
const COARSE_PX_MIN: usize = 24;
/// Multiplications of the coarse search, at most; with more turns or places its pixels are larger.
const COST_MAX: usize = 6_000_000;
/// Share of the shorter side of a part's area by which its template is larger on each side.
const MARGIN: f32 = 0.2;
/// Turns of the coarse search that are refined.
const CANDIDATES: usize = 3;
/// Likeness by which a place beyond the limits must exceed the best one within them, to be the part: a round
/// part is alike in all turns.
const CLEARLY: f32 = 0.05;
/// Degrees beyond the limit from which a refinement may come back.
const NEAR_DEG: f32 = 5.0;
/// Likeness that a turn by half a circle has to gain: of a part that looks alike turned, the smaller
/// turn is taken.
const TURN_COST: f32 = 0.02;
/// Standard deviation in grey levels below which an area shows nothing that could be found.
const CONTRAST_MIN: f32 = 3.0;
/// The longer side of a picture is at most so many times the shorter side of a part.
const PART_SHARE: usize = 12;
/// Share of the longer side of the picture that what must be seen may lie beyond its edge.
const EDGE_ROOM: f32 = 0.01;
/// Room of the limits of turn and move, in degrees and as a share of the picture: a part at the limit is found
/// a little beyond it.
const ROOM_DEG: f32 = 0.5;
const ROOM_MOVE: f32 = 0.005;

/// Where the part is on the master picture, and how far it may be from there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocateLimits {
    /// The part on the master picture.
    pub area: Area,
    /// Degrees that a part may be turned by, either way: 0 to 180.
    pub turn_max_deg: f32,
    /// Share of the picture's width and height that a part may be moved by: 0 to 1.
    pub move_max: f32,
    /// Correlation with the master's part, at least: 0 to 1.
    pub likeness_min: f32,
}

impl LocateLimits {
    /// False for parts that lie as on the master but for their place.
    fn may_turn(&self) -> bool {
        self.turn_max_deg > 0.0
    }

    /// The usual limits for a part in that area.
    pub fn new(area: Area) -> Self {
        LocateLimits {
            area,
            turn_max_deg: 45.0,
            move_max: 0.25,
            likeness_min: 0.5,
        }
    }
}

/// Finds the part of a master picture in others.
pub struct Locator {
    limits: LocateLimits,
    /// Width and height of the master picture, and of each picture.
    size: (usize, usize),
    scales: Scales,
    coarse: TurnedTemplates,
    fine: Template,
    /// Hex SHA-256 of the master's pixels.
    master: String,
}

/// Sides in camera pixels of one pixel of each level.
#[derive(Debug, Clone, Copy)]
struct Scales {
    fine: usize,
    coarse: usize,
}

/// A picture on all levels.
struct Levels {
    fine: Grey,
    coarse: Grey,
}

impl Levels {
    fn of(picture: &Picture, scales: Scales) -> Self {
        let fine = Grey::of(picture, scales.fine).smoothed();
        Levels {
            coarse: fine.shrunk(scales.coarse / scales.fine),
            fine,
        }
    }
}

impl Locator {
    /// Finds parts like that in the area of `master`.
    ///
    /// # Errors
    /// When no part could be found by it.
    pub fn new(master: &Picture, limits: LocateLimits) -> Result<Self, MasterError> {
        let (width, height) = (master.width(), master.height());
        check_area(limits.area, width, height)?;
        let longer = width.max(height);
        let fine = longer.div_ceil(FINE_PX);
        let (coarse_side, coarse) = coarse_templates(master, fine, &limits);
        let scales = Scales {
            fine,
            coarse: coarse_side,
        };

        let levels = Levels::of(master, scales);
        let area = with_margin(limits.area, width, height);
        let fine = Template::new(&levels.fine, on_level(area, scales.fine));
        if fine.contrast() < CONTRAST_MIN {
            return Err(MasterError::Flat {
                area: limits.area,
                contrast: fine.contrast(),
                least: CONTRAST_MIN,
            });
        }

        Ok(Locator {
            limits,
            size: (width, height),
            scales,
            coarse,
            fine,
            master: hex(&Sha256::digest(master.rgb())),
        })
    }

    /// The limits.
    pub fn limits(&self) -> &LocateLimits {
        &self.limits
    }

    /// Width and height in pixels of the master, and of pictures.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The pose of the part in a picture. `judged` are places on the master between which everything must
    /// be seen.
    ///
    /// # Errors
    /// When there is none within the limits, or it is not all in the picture.
    pub fn locate(&self, picture: &Picture, judged: &[Point]) -> Result<Pose, NotFound> {
        let (width, height) = (picture.width(), picture.height());
        if (width, height) != self.size {
            return Err(NotFound::Size {
                width,
                height,
                master_width: self.size.0,
                master_height: self.size.1,
            });
        }

        let pose = self.found(picture)?;
        let beyond = judged
            .iter()
            .map(|place| self.beyond(pose.camera_from_master(*place)))
            .fold(0.0, f32::max);

        match beyond > EDGE_ROOM * width.max(height) as f32 {
            true => Err(NotFound::CutOff { pixels: beyond }),
            false => Ok(pose),
        }
    }

    /// The part within the limits.
    fn found(&self, picture: &Picture) -> Result<Pose, NotFound> {
        let levels = Levels::of(picture, self.scales);
        let coarse = self.coarse.search(&levels.coarse);
        let ratio = self.scales.coarse as f32 / self.scales.fine as f32;
        // Places within the limits and beyond are kept apart: a part that is alike in many turns has
        // some of both.
        let mut within: Option<(Place, f32)> = None;
        let mut beyond: Option<(Place, f32)> = None;
        for place in self.candidates(&coarse) {
            let start = scaled(place, ratio);
            let Some(refined) = self
                .fine
                .refined(&levels.fine, start, self.limits.may_turn())
            else {
                continue;
            };

            let best = match self.too_far(&self.pose(refined)) {
                None => &mut within,
                Some(_) => &mut beyond,
            };

            if best.is_none_or(|best| worth(refined) > worth(best)) {
                *best = Some(refined);
            }
        }

        // What was not found has a likeness of 0.
        let likeness = |found: Option<(Place, f32)>| found.map_or(0.0, |(_, likeness)| likeness);
        let least = self.limits.likeness_min;
        let farther = beyond.filter(|_| {
            let is_like = likeness(within) >= least;
            !is_like || likeness(beyond) > likeness(within) + CLEARLY
        });

        match farther
            .or(within)
            .filter(|(_, likeness)| *likeness >= least)
        {
            Some(found) => {
                let pose = self.pose(found);
                self.too_far(&pose).map_or(Ok(pose), Err)
            }
            None => Err(NotFound::Unlike {
                likeness: likeness(beyond).max(likeness(within)),
                least,
            }),
        }
    }

    /// The places to be refined: some within the limit of the turn, and the best beyond.
    fn candidates(&self, coarse: &[(Place, f32)]) -> Vec<Place> {
        let most = (self.limits.turn_max_deg + NEAR_DEG).to_radians();
        let is_within = |place: Place| place.turn.abs() <= most;
        let within = best_of(coarse, is_within, CANDIDATES);
        within
            .chain(best_of(coarse, |place| !is_within(place), 1))
            .collect()
    }

    fn pose(&self, (place, likeness): (Place, f32)) -> Pose {
        // The template turns about its own middle, which is not the part's where an edge of the picture
        // cuts its margin.
        let on_master = middle(with_margin(self.limits.area, self.size.0, self.size.1));
        let side = self.scales.fine as f32;
        let of_template = Pose {
            on_master,
            x: on_master[0] + side * place.dx,
            y: on_master[1] + side * place.dy,
            turn_deg: (place.turn.to_degrees() + 180.0).rem_euclid(360.0) - 180.0,
            likeness,
        };

        let part = middle(self.limits.area);
        let [x, y] = of_template.camera_from_master(part);
        Pose {
            on_master: part,
            x,
            y,
            ..of_template
        }
    }

    /// Why a pose is not within the limits; `None` where it is.
    fn too_far(&self, pose: &Pose) -> Option<NotFound> {
        let limits = &self.limits;
        // The turn is that of the part against the master, whatever its place.
        if pose.turn_deg.abs() > limits.turn_max_deg + ROOM_DEG {
            return Some(NotFound::Turned {
                turn_deg: pose.turn_deg,
                most: limits.turn_max_deg,
            });
        }

        let x = pose.x - pose.on_master[0];
        let y = pose.y - pose.on_master[1];
        let (width, height) = (self.size.0 as f32, self.size.1 as f32);
        let share = limits.move_max + ROOM_MOVE;
        let is_moved = x.abs() > share * width || y.abs() > share * height;
        is_moved.then_some(NotFound::Moved {
            x,
            y,
            most_x: limits.move_max * width,
            most_y: limits.move_max * height,
        })
    }

    /// Pixels that a place lies beyond the picture's edge, 0 within.
    fn beyond(&self, [x, y]: Point) -> f32 {
        let right = x - self.size.0 as f32;
        let below = y - self.size.1 as f32;
        (-x).max(-y).max(right).max(below).max(0.0)
    }
}

impl std::fmt::Debug for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Locator({:?}, {})", self.limits, self.master)
    }
}

impl PartialEq for Locator {
    fn eq(&self, other: &Self) -> bool {
        // All else follows from these.
        self.limits == other.limits && self.size == other.size && self.master == other.master
    }
}

fn check_area(area: Area, width: usize, height: usize) -> Result<(), MasterError> {
    if !area.is_inside(width, height) {
        return Err(MasterError::Beyond {
            area,
            width,
            height,
        });
    }

    let least = width.max(height).div_ceil(PART_SHARE).max(8);
    match area.w.min(area.h) < least {
        true => Err(MasterError::Small {
            area,
            width,
            height,
            least,
        }),
        false => Ok(()),
    }
}

/// The coarse templates and the side of their pixels: the finest that cost no more than allowed.
fn coarse_templates(
    master: &Picture,
    fine: usize,
    limits: &LocateLimits,
) -> (usize, TurnedTemplates) {
    let longer = master.width().max(master.height());
    let grey = Grey::of(master, fine).smoothed();
    let mut side = fine * (longer / fine).div_ceil(COARSE_PX);
    loop {
        // A little beyond the limits, so that a part there is told to be too far away.
        let reach = [master.width(), master.height()]
            .map(|length| limits.move_max * length as f32 / side as f32 + 2.0);

        let area = with_margin(limits.area, master.width(), master.height());
        let area = on_level(area, side);
        let templates =
            TurnedTemplates::new(&grey.shrunk(side / fine), area, reach, limits.may_turn());
        if templates.cost() <= COST_MAX || longer / (side + fine) < COARSE_PX_MIN {
            return (side, templates);
        }

        side += fine;
    }
}

/// The best few places of those that count, no two of neighbouring turns.
fn best_of(
    coarse: &[(Place, f32)],
    counts: impl Fn(Place) -> bool,
    most: usize,
) -> impl Iterator<Item = Place> {
    let mut order: Vec<usize> = (0..coarse.len())
        .filter(|index| counts(coarse[*index].0))
        .collect();

    order.sort_by(|a, b| worth(coarse[*b]).total_cmp(&worth(coarse[*a])));
    let mut taken: Vec<usize> = vec![];
    for index in order {
        let is_new = taken.iter().all(|other| other.abs_diff(index) > 1);
        if is_new && taken.len() < most {
            taken.push(index);
        }
    }

    taken.into_iter().map(|index| coarse[index].0)
}

/// The likeness less what a turn costs.
fn worth((place, likeness): (Place, f32)) -> f32 {
    likeness - TURN_COST * place.turn.abs() / std::f32::consts::PI
}

/// A place in pixels that are smaller by `ratio`.
fn scaled(place: Place, ratio: f32) -> Place {
    Place {
        dx: ratio * place.dx,
        dy: ratio * place.dy,
        turn: place.turn,
    }
}

/// The area with a margin: the outline of a part against what lies around it is what tells most of its
/// place.
fn with_margin(area: Area, width: usize, height: usize) -> Area {
    let margin = (MARGIN * area.w.min(area.h) as f32) as usize;
    let x = area.x.saturating_sub(margin);
    let y = area.y.saturating_sub(margin);
    Area {
        x,
        y,
        w: (area.x + area.w + margin).min(width) - x,
        h: (area.y + area.h + margin).min(height) - y,
    }
}
