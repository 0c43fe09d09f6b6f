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
        let grey = Grey::of(picture, scales.fine);
        let fine = grey.smoothed();

        // The coarse level is made of the fine one, as the camera's picture is far larger.
        let ratio = scales.coarse / scales.fine;
        let coarse = fine.shrunk(ratio);
        Levels { fine, coarse }
    }
}

impl Locator {
    /// Finds parts like that in the area of `master`.
    ///
    /// # Errors
    /// When no part could be found by it.
    pub fn new(master: &Picture, limits: LocateLimits) -> Result<Self, MasterError> {
        let width = master.width();
        let height = master.height();
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
        let fine_area = on_level(area, scales.fine);
        let fine = Template::new(&levels.fine, fine_area);
        if fine.contrast() < CONTRAST_MIN {
            return Err(MasterError::Flat {
                area: limits.area,
                contrast: fine.contrast(),
                least: CONTRAST_MIN,
            });
        }

        let digest = Sha256::digest(master.rgb());
        Ok(Locator {
            limits,
            size: (width, height),
            scales,
            coarse,
            fine,
            master: hex(&digest),
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
        let width = picture.width();
        let height = picture.height();
        if (width, height) != self.size {
            return Err(NotFound::Size {
                width,
                height,
                master_width: self.size.0,
                master_height: self.size.1,
            });
        }

        let pose = self.found(picture)?;

        // The place that lies farthest beyond an edge decides.
        let mut beyond = 0.0;
        for place in judged {
            let in_camera = pose.camera_from_master(*place);
            beyond = f32::max(beyond, self.beyond(in_camera));
        }

        let longer = width.max(height) as f32;
        match beyond > EDGE_ROOM * longer {
            true => Err(NotFound::CutOff { pixels: beyond }),
            false => Ok(pose),
        }
    }

    /// The part within the limits.
    fn found(&self, picture: &Picture) -> Result<Pose, NotFound> {
        let levels = Levels::of(picture, self.scales);
        let coarse = self.coarse.search(&levels.coarse);
        let ratio = self.scales.coarse as f32 / self.scales.fine as f32;
        let may_turn = self.limits.may_turn();

        // Places within the limits and beyond are kept apart: a part that is alike in many turns has
        // some of both.
        let mut within: Option<(Place, f32)> = None;
        let mut beyond: Option<(Place, f32)> = None;
        for place in self.candidates(&coarse) {
            let start = scaled(place, ratio);
            let Some(refined) = self.fine.refined(&levels.fine, start, may_turn) else {
                continue;
            };

            let pose = self.pose(refined);
            let best = match self.too_far(&pose) {
                None => &mut within,
                Some(_) => &mut beyond,
            };

            if best.is_none_or(|best| worth(refined) > worth(best)) {
                *best = Some(refined);
            }
        }

        self.decided(within, beyond)
    }

    /// The part of the best place within the limits and the best one beyond.
    fn decided(
        &self,
        within: Option<(Place, f32)>,
        beyond: Option<(Place, f32)>,
    ) -> Result<Pose, NotFound> {
        // What was not found has a likeness of 0.
        let likeness = |found: Option<(Place, f32)>| found.map_or(0.0, |(_, likeness)| likeness);
        let likeness_within = likeness(within);
        let likeness_beyond = likeness(beyond);

        // The place beyond is the part where none within is like enough, or where it is clearly better.
        let least = self.limits.likeness_min;
        let is_like = likeness_within >= least;
        let is_clearly_beyond = likeness_beyond > likeness_within + CLEARLY;
        let farther = beyond.filter(|_| !is_like || is_clearly_beyond);

        let best = farther.or(within);
        let Some(found) = best.filter(|(_, likeness)| *likeness >= least) else {
            return Err(NotFound::Unlike {
                likeness: likeness_beyond.max(likeness_within),
                least,
            });
        };

        let pose = self.pose(found);
        match self.too_far(&pose) {
            Some(reason) => Err(reason),
            None => Ok(pose),
        }
    }

    /// The places to be refined: some within the limit of the turn, and the best beyond.
    fn candidates(&self, coarse: &[(Place, f32)]) -> Vec<Place> {
        let most_deg = self.limits.turn_max_deg + NEAR_DEG;
        let most = most_deg.to_radians();
        let is_within = |place: Place| place.turn.abs() <= most;
        let is_beyond = |place: Place| !is_within(place);

        // One beyond is enough to tell that the part is turned too far.
        let within = best_of(coarse, is_within, CANDIDATES);
        let beyond = best_of(coarse, is_beyond, 1);
        within.chain(beyond).collect()
    }

    fn pose(&self, (place, likeness): (Place, f32)) -> Pose {
        // The template turns about its own middle, which is not the part's where an edge of the picture
        // cuts its margin.
        let (width, height) = self.size;
        let on_master = middle(with_margin(self.limits.area, width, height));
        let side = self.scales.fine as f32;

        // The turn is brought into the half circles on both sides of 0.
        let turn_deg = place.turn.to_degrees();
        let of_template = Pose {
            on_master,
            x: on_master[0] + side * place.dx,
            y: on_master[1] + side * place.dy,
            turn_deg: (turn_deg + 180.0).rem_euclid(360.0) - 180.0,
            likeness,
            size: self.size,
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
        let width = self.size.0 as f32;
        let height = self.size.1 as f32;

        let share = limits.move_max + ROOM_MOVE;
        let is_moved_across = x.abs() > share * width;
        let is_moved_down = y.abs() > share * height;
        let is_moved = is_moved_across || is_moved_down;
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

        // Within the picture all four are negative.
        let across = (-x).max(right);
        let down = (-y).max(below);
        across.max(down).max(0.0)
    }
}

impl std::fmt::Debug for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits = &self.limits;
        let master = &self.master;
        write!(f, "Locator({limits:?}, {master})")
    }
}

impl PartialEq for Locator {
    fn eq(&self, other: &Self) -> bool {
        // All else follows from these.
        let is_same_picture = self.size == other.size && self.master == other.master;
        self.limits == other.limits && is_same_picture
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

    let longer = width.max(height);
    let least = longer.div_ceil(PART_SHARE).max(8);
    let shorter_of_part = area.w.min(area.h);
    match shorter_of_part < least {
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
    let width = master.width();
    let height = master.height();
    let longer = width.max(height);
    let grey = Grey::of(master, fine).smoothed();
    let area = with_margin(limits.area, width, height);

    // A coarse pixel holds whole fine ones, so that the coarse level is made of the fine one.
    let fine_longer = longer / fine;
    let mut side = fine * fine_longer.div_ceil(COARSE_PX);
    loop {
        // A little beyond the limits, so that a part there is told to be too far away.
        let reach = [width, height].map(|length| {
            let pixels = limits.move_max * length as f32 / side as f32;
            pixels + 2.0
        });

        let coarse = grey.shrunk(side / fine);
        let coarse_area = on_level(area, side);
        let templates = TurnedTemplates::new(&coarse, coarse_area, reach, limits.may_turn());

        // The last one is taken even if it costs more: a coarser picture would show no part.
        let is_cheap = templates.cost() <= COST_MAX;
        let is_last = longer / (side + fine) < COARSE_PX_MIN;
        if is_cheap || is_last {
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
    let all = 0..coarse.len();
    let counted = all.filter(|index| counts(coarse[*index].0));
    let mut order: Vec<usize> = counted.collect();

    // The best one comes first.
    order.sort_by(|a, b| {
        let worth_a = worth(coarse[*a]);
        let worth_b = worth(coarse[*b]);
        worth_b.total_cmp(&worth_a)
    });

    // Neighbouring turns lead to the same place when they are refined.
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
    let cost = TURN_COST * place.turn.abs() / std::f32::consts::PI;
    likeness - cost
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
    let shorter = area.w.min(area.h) as f32;
    let margin = (MARGIN * shorter) as usize;

    // The picture's edges cut the margin.
    let x = area.x.saturating_sub(margin);
    let y = area.y.saturating_sub(margin);
    let right = (area.x + area.w + margin).min(width);
    let bottom = (area.y + area.h + margin).min(height);

    Area {
        x,
        y,
        w: right - x,
        h: bottom - y,
    }
}
