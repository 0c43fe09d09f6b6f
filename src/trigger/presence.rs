//! A part in front of the camera: what differs from the empty line in an area, from its coming to its
//! going.
//!
//! The area is seen as a grid of grey cells. The background follows slowly while the line is empty. An
//! object is there when a share of the cells differs, and gone at half of that share; its frame is the
//! one in which the cells that differ lie nearest to the area's middle. One coming and going is one
//! part.
//!
//! ```text
//! learning (LEARNS frames) -> empty -> object: nearer to the middle -> the older frame is skipped
//!                               ^        |     farther by CROSSED    -> its frame is the part's
//!                               |        |     there for STAYS       -> it is the line's own
//!                               +--------+     gone                  -> its frame is the part's
//! ```
//!
//! Only frames that look like each other are learned from. The mean of a part and of the empty line
//! looks like neither, so that both would be one object that never goes.

use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::picture::{Area, Picture};
use std::time::{Duration, Instant};

/// Settings of a presence trigger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PresenceSettings {
    /// Area in camera pixels. `None`: the whole picture.
    pub area: Option<Area>,
    /// Grey levels (of 255) by which a cell differs.
    pub level: f32,
    /// Share of the cells that differ while an object is there, from 0 to 1.
    pub share: f32,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        PresenceSettings {
            area: None,
            level: 25.0,
            share: 0.05,
        }
    }
}

impl PresenceSettings {
    /// The area in pictures of this size.
    ///
    /// # Errors
    /// When it is not inside of them.
    pub fn area_in(&self, width: usize, height: usize) -> Result<Area, String> {
        let area = self.area.unwrap_or(Area::whole(width, height));

        if area.is_inside(width, height) {
            return Ok(area);
        }

        Err(format!(
            "presence.area {area} is beyond its picture of {width} x {height} pixels"
        ))
    }
}

/// Cells along each side of the area.
const CELLS: usize = 24;
/// Pixels looked at in a cell, along each side.
const DOTS: usize = 3;
/// Share by which the background goes towards an empty frame: lamps age and days pass.
const FOLLOWS: f32 = 0.05;
/// Frames of the empty line before the first part can come.
const LEARNS: usize = 5;
/// Time without LEARNS frames that look like each other, from which it is told that no part is seen.
const LEARNS_WITHIN: Duration = Duration::from_secs(5);
/// Time after which an object that stays is the line itself.
const STAYS: Duration = Duration::from_secs(30);
/// Longest time between two frames in which an object cannot have gone unseen. No more of a longer gap
/// counts for [`STAYS`].
const GAP: Duration = Duration::from_secs(2);
/// Distance from its nearest place to the middle, in sides of the area, from which an object has crossed
/// the middle.
const CROSSED: f32 = 0.05;

/// Finder of the parts in one camera's frames.
#[derive(Debug)]
pub struct Presence {
    settings: PresenceSettings,
    /// Size of the pictures that were learned; frames of another size begin anew.
    size: (usize, usize),
    /// Grey levels of the empty line, one a cell.
    background: Vec<f32>,
    /// The background before an object that stayed became the line's own. `None` once another object
    /// came and went before the new one: what stayed is not a part then.
    former: Option<Vec<f32>>,
    /// What became of the line's own since it was asked for last.
    change: Option<LineChange>,
    /// Frames of the empty line that were learned.
    learned: usize,
    /// When learning began. `None` before the first frame, and once the empty line is known.
    learns_since: Option<Instant>,
    /// `None` if the line is empty.
    object: Option<PresentObject>,
    /// Arrival of the last frame. `None` before the first.
    looked: Option<Instant>,
}

/// A change of what counts as the line's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineChange {
    /// An object that stayed became the line's own: what passed with it before the camera was not told
    /// apart from it.
    TakenOver,
    /// That object left, and the line is what it was before.
    GivenBack,
}

/// A frame that shows a part, and its ticket.
#[derive(Debug)]
pub struct HeldFrame {
    /// The frame. Its `arrived` is when it was seen to be a part.
    pub frame: Frame,
    /// The frame's ticket.
    pub ticket: Ticket,
}

/// An object that is there.
#[derive(Debug)]
struct PresentObject {
    since: Instant,
    /// Distance from the middle at its nearest, in sides of the area.
    nearest: f32,
    /// The frame in which it was nearest. `None` once that was handed over.
    held: Option<HeldFrame>,
    /// Place in the last frame.
    place: (f32, f32),
    /// True after a gap: it may be another object that is there now.
    is_old: bool,
}

/// Cells that differ from the background.
struct Difference {
    /// Share of the cells, from 0 to 1.
    share: f32,
    /// Centre of the cells, from the area's middle, in sides of the area.
    place: (f32, f32),
    /// Distance of the centre from the area's middle, in sides of the area.
    off: f32,
}

impl Presence {
    /// A finder that has yet to learn the empty line.
    pub fn new(settings: PresenceSettings) -> Self {
        Presence {
            settings,
            size: (0, 0),
            background: vec![],
            former: None,
            change: None,
            learned: 0,
            learns_since: None,
            object: None,
            looked: None,
        }
    }

    /// What became of the line's own since the last call. `None` if nothing changed.
    pub fn take_change(&mut self) -> Option<LineChange> {
        self.change.take()
    }

    /// Takes a frame. Returns the frame of an object that has just crossed the middle, or gone; all
    /// other frames are skipped. An object is seen to be a part only then, so that the `arrived` of its
    /// frame is now; except for an object that went in a gap (no pictures, a pause): it went by then.
    ///
    /// # Errors
    /// When no part can be seen: the area is not inside the picture, or the pictures have differed from
    /// each other for so long that the empty line is not known.
    pub fn on_frame(
        &mut self,
        frame: Frame,
        ticket: Ticket,
        now: Instant,
    ) -> Result<Option<HeldFrame>, String> {
        // A gap in the frames is noted first, since an object may have gone in it.
        self.note_gap(now);

        // The area may lie beyond the picture, because the camera's size is known only now.
        let size = (frame.picture.width(), frame.picture.height());
        let area = match self.settings.area_in(size.0, size.1) {
            Ok(area) => area,
            Err(problem) => {
                ticket.settle(Outcome::Skipped);
                return Err(problem);
            }
        };

        // Pictures of another size are another view, and the background is learned anew.
        let cells = grey_cells(&frame.picture, area);

        if self.size != size || self.learned < LEARNS {
            // A frame that is learned from is no part; an object that was there is handed over with
            // what it had.
            ticket.settle(Outcome::Skipped);
            let held = self.end(now);
            self.learn(&cells, size, now)?;
            return Ok(held);
        }

        let held = HeldFrame { frame, ticket };
        Ok(self.follow_object(held, &cells, now))
    }

    /// Marks an object as old if the last frame was long ago, and takes the gap off its time.
    fn note_gap(&mut self, now: Instant) {
        let Some(looked) = self.looked.replace(now) else {
            return;
        };

        // Only GAP of a long gap counts for the time that an object is there.
        let ago = now.duration_since(looked);

        if let Some(object) = &mut self.object
            && ago > GAP
        {
            object.is_old = true;
            object.since += ago - GAP;
        }
    }

    /// Compares a frame with the background, and with the object that is there.
    fn follow_object(&mut self, held: HeldFrame, cells: &[f32], now: Instant) -> Option<HeldFrame> {
        // An object that is there needs half of the share, so that one on the limit does not come
        // and go at each frame.
        let difference = self.difference(cells, &self.background);
        let is_enough = difference.share >= self.enough();

        // What stayed, and was taken for the line's own, has left.
        if is_enough && self.is_as_before(cells) {
            held.ticket.settle(Outcome::Skipped);
            self.leave_former();
            return None;
        }

        // An object that was there before a gap is another one unless it stands where it stood.
        if let Some(old) = self
            .object
            .take_if(|object| object.went_in_gap(&difference, is_enough))
        {
            // The frame in hand may show the next object already.
            if difference.share >= self.settings.share {
                self.object = Some(PresentObject::new(&difference, held, now));
            } else {
                held.ticket.settle(Outcome::Skipped);
            }

            return old.held;
        }

        // The line is empty again. Its background follows slowly, and the object's best frame is
        // the part's.
        if !is_enough {
            held.ticket.settle(Outcome::Skipped);
            self.follow(cells, FOLLOWS);

            // An object that came and went before it says that the background is the line's own.
            if self.object.is_some() {
                self.former = None;
            }

            return self.end(now);
        }

        // The first frame of an object is kept, and is no part yet.
        let Some(object) = &mut self.object else {
            self.object = Some(PresentObject::new(&difference, held, now));
            return None;
        };

        // An object that stays for long is no part, but something that was put there.
        object.is_old = false;
        object.place = difference.place;

        if now.duration_since(object.since) > STAYS {
            held.ticket.settle(Outcome::Skipped);
            tracing::info!(
                "camera {}: what came {} s ago is the line's own now",
                held.frame.camera,
                STAYS.as_secs()
            );

            // The first of several backgrounds is the empty line.
            let former = std::mem::replace(&mut self.background, cells.to_vec());
            self.former.get_or_insert(former);
            self.change = Some(LineChange::TakenOver);
            return self.end(now);
        }

        // While it is in doubt what the line's own is, an object is a part only once it has gone.
        if self.former.is_some() {
            object.keep(difference.off, held);
            return None;
        }

        object.see(difference.off, held, now)
    }

    /// True if a frame looks like the line before an object that stayed became its own.
    fn is_as_before(&self, cells: &[f32]) -> bool {
        let former = self.former.as_deref();
        former
            .is_some_and(|former| self.difference(cells, former).share < self.settings.share / 2.0)
    }

    /// Goes back to the background before an object became the line's own. The object that is there is
    /// that one as it left, which has been a part already.
    fn leave_former(&mut self) {
        if let Some(former) = self.former.take() {
            self.background = former;
            self.change = Some(LineChange::GivenBack);
        }

        if let Some(held) = self.object.take().and_then(|object| object.held) {
            held.ticket.settle(Outcome::Skipped);
        }
    }

    /// Share of the cells that must differ for an object to be there: half if it is there already.
    fn enough(&self) -> f32 {
        if self.object.is_some() {
            self.settings.share / 2.0
        } else {
            self.settings.share
        }
    }

    /// Ends the object that is there; its frame, unless that was handed over.
    fn end(&mut self, now: Instant) -> Option<HeldFrame> {
        let mut object = self.object.take()?;

        object.hand_over(now)
    }

    /// Learns the empty line from a frame that looks like those before it.
    ///
    /// # Errors
    /// When none have looked like each other for LEARNS_WITHIN.
    fn learn(&mut self, cells: &[f32], size: (usize, usize), now: Instant) -> Result<(), String> {
        let is_new = self.size != size;

        if is_new || self.difference(cells, &self.background).share >= self.settings.share {
            // Another view, or a part that moves, begins with this frame as it is.
            self.size = size;
            self.learned = 0;
            self.background = cells.to_vec();
            self.former = None;
        }

        // The mean of all frames learned so far: each counts as much as the others.
        self.learned += 1;
        self.follow(cells, 1.0 / self.learned as f32);
        let since = *self.learns_since.get_or_insert(now);

        if self.learned >= LEARNS {
            self.learns_since = None;
        } else if now.duration_since(since) > LEARNS_WITHIN {
            return Err(format!(
                "for {} s no {LEARNS} pictures on end have looked like each other, so that the empty line is not known",
                LEARNS_WITHIN.as_secs()
            ));
        }

        Ok(())
    }

    fn follow(&mut self, cells: &[f32], share: f32) {
        for (background, cell) in self.background.iter_mut().zip(cells) {
            *background += share * (cell - *background);
        }
    }

    fn difference(&self, cells: &[f32], background: &[f32]) -> Difference {
        // `count` is of the cells that differ, and the sums are of their places in cells.
        let mut count = 0.0f32;
        let mut sum_x = 0.0;
        let mut sum_y = 0.0;

        for (at, (cell, background)) in cells.iter().zip(background).enumerate() {
            // A cell differs by more grey levels than noise and flicker do.
            if (cell - background).abs() > self.settings.level {
                count += 1.0;
                sum_x += (at % CELLS) as f32 + 0.5;
                sum_y += (at / CELLS) as f32 + 0.5;
            }
        }

        // The place is the centre as seen from the area's middle, in sides of the area: 0 is the
        // middle, a half the edge. Without a cell there is no place.
        let place = if count > 0.0 {
            (
                sum_x / count / CELLS as f32 - 0.5,
                sum_y / count / CELLS as f32 - 0.5,
            )
        } else {
            (0.0, 0.0)
        };

        Difference {
            share: count / (CELLS * CELLS) as f32,
            place,
            off: place.0.hypot(place.1),
        }
    }
}

impl PresentObject {
    fn new(difference: &Difference, held: HeldFrame, now: Instant) -> Self {
        PresentObject {
            since: now,
            nearest: difference.off,
            held: Some(held),
            place: difference.place,
            is_old: false,
        }
    }

    /// True if the object went in a gap: it is not there any more, or an object is elsewhere, which is
    /// another one for all that can be told.
    fn went_in_gap(&self, difference: &Difference, is_enough: bool) -> bool {
        // An object that is found within CROSSED of its last place is taken for the same one.
        let x = self.place.0 - difference.place.0;
        let y = self.place.1 - difference.place.1;
        let is_elsewhere = x.hypot(y) > CROSSED;

        self.is_old && (!is_enough || is_elsewhere)
    }

    /// Takes a frame of the object, `off` the middle, and keeps the nearer one.
    fn keep(&mut self, off: f32, held: HeldFrame) {
        // A frame nearer than before shows the object better, and the older one is no longer
        // needed.
        let unneeded = if off <= self.nearest && self.held.is_some() {
            self.nearest = off;
            self.held.replace(held)
        } else {
            Some(held)
        };

        if let Some(unneeded) = unneeded {
            unneeded.ticket.settle(Outcome::Skipped);
        }
    }

    /// Takes a frame of the object, `off` the middle. Returns the nearest one when the object has
    /// crossed the middle.
    fn see(&mut self, off: f32, held: HeldFrame, now: Instant) -> Option<HeldFrame> {
        self.keep(off, held);

        // The object must be farther by CROSSED: noise alone does not make it cross.
        if off > self.nearest + CROSSED {
            self.hand_over(now)
        } else {
            None
        }
    }

    /// The held frame, which arrived now unless the object is old.
    fn hand_over(&mut self, now: Instant) -> Option<HeldFrame> {
        let mut held = self.held.take()?;

        // The deadline counts from the moment at which the object was seen to be a part; an old one
        // went before.
        if !self.is_old {
            held.frame.arrived = now;
        }

        Some(held)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(held) = self.end(Instant::now()) {
            held.ticket.settle(Outcome::Stopped);
        }
    }
}

/// Grey levels of the area's cells, `[CELLS * CELLS]` means of a few dots each, 0 to 255.
fn grey_cells(picture: &Picture, area: Area) -> Vec<f32> {
    let mut cells = Vec::with_capacity(CELLS * CELLS);

    for row in 0..CELLS {
        for column in 0..CELLS {
            // A cell is seen by a few dots, evenly spaced: reading all pixels would cost as much as
            // the rest of the frame's way.
            let mut sum = 0.0;

            for dot in 0..DOTS * DOTS {
                let dot_row = row * DOTS + dot / DOTS;
                let dot_column = column * DOTS + dot % DOTS;
                sum += grey_dot(picture, area, dot_row, dot_column);
            }

            cells.push(sum / (DOTS * DOTS) as f32);
        }
    }

    cells
}

/// Grey level of a dot, one of `CELLS * DOTS` along each side of the area.
fn grey_dot(picture: &Picture, area: Area, row: usize, column: usize) -> f32 {
    let steps = CELLS * DOTS;
    let x = area.x + column * area.w / steps;

    // The picture has three bytes a pixel, row by row.
    let y = area.y + row * area.h / steps;
    let at = 3 * (y * picture.width() + x);

    // The mean of the three channels is grey enough to see a change.
    let [red, green, blue] = [0, 1, 2].map(|channel| f32::from(picture.rgb()[at + channel]));

    (red + green + blue) / 3.0
}

#[cfg(test)]
mod tests;
