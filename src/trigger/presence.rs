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

/// Cells along each side of the area.
const CELLS: usize = 24;
/// Pixels looked at in a cell, along each side.
const DOTS: usize = 3;
/// Share by which the background goes towards an empty frame: lamps age and days pass.
const FOLLOWS: f32 = 0.05;
/// Frames of the empty line before the first part can come.
const LEARNS: usize = 5;
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
    /// Frames of the empty line that were learned.
    learned: usize,
    /// `None` if the line is empty.
    object: Option<PresentObject>,
    /// Arrival of the last frame. `None` before the first.
    looked: Option<Instant>,
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
            learned: 0,
            object: None,
            looked: None,
        }
    }

    /// Takes a frame. Returns the frame of an object that has just crossed the middle, or gone; all
    /// other frames are skipped. An object is seen to be a part only then, so that the `arrived` of its
    /// frame is now; except for an object that went in a gap (no pictures, a pause): it went by then.
    ///
    /// # Errors
    /// When the area is not inside the picture.
    pub fn on_frame(
        &mut self,
        frame: Frame,
        ticket: Ticket,
        now: Instant,
    ) -> Result<Option<HeldFrame>, String> {
        self.note_gap(now);
        let area = match self.area_in(&frame.picture) {
            Ok(area) => area,
            Err(problem) => {
                ticket.settle(Outcome::Skipped);
                return Err(problem);
            }
        };

        let size = (frame.picture.width(), frame.picture.height());
        let cells = grey_cells(&frame.picture, area);
        if self.size != size || self.learned < LEARNS {
            ticket.settle(Outcome::Skipped);
            let held = self.end(now);
            self.learn(&cells, size);
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

        let ago = now.duration_since(looked);
        if let Some(object) = &mut self.object
            && ago > GAP
        {
            object.is_old = true;
            object.since += ago - GAP;
        }
    }

    fn area_in(&self, picture: &Picture) -> Result<Area, String> {
        let width = picture.width();
        let height = picture.height();
        let area = self.settings.area.unwrap_or(Area::whole(width, height));
        if area.is_inside(width, height) {
            return Ok(area);
        }

        Err(format!(
            "presence.area {area} is beyond its picture of {width} x {height} pixels"
        ))
    }

    /// Compares a frame with the background, and with the object that is there.
    fn follow_object(&mut self, held: HeldFrame, cells: &[f32], now: Instant) -> Option<HeldFrame> {
        let difference = self.difference(cells);
        let is_enough = difference.share >= self.enough();
        if let Some(old) = self
            .object
            .take_if(|object| object.went_in_gap(&difference, is_enough))
        {
            if difference.share >= self.settings.share {
                self.object = Some(PresentObject::new(&difference, held, now));
            } else {
                held.ticket.settle(Outcome::Skipped);
            }

            return old.held;
        }

        if !is_enough {
            held.ticket.settle(Outcome::Skipped);
            self.follow(cells, FOLLOWS);
            return self.end(now);
        }

        let Some(object) = &mut self.object else {
            self.object = Some(PresentObject::new(&difference, held, now));
            return None;
        };

        object.is_old = false;
        object.place = difference.place;
        if now.duration_since(object.since) > STAYS {
            held.ticket.settle(Outcome::Skipped);
            tracing::info!(
                "camera {}: what came {} s ago is the line's own now",
                held.frame.camera,
                STAYS.as_secs()
            );

            self.follow(cells, 1.0);
            return self.end(now);
        }

        object.see(difference.off, held, now)
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

    fn learn(&mut self, cells: &[f32], size: (usize, usize)) {
        if self.size != size {
            self.size = size;
            self.learned = 0;
            self.background = cells.to_vec();
        }

        self.learned += 1;
        self.follow(cells, 1.0 / self.learned as f32);
    }

    fn follow(&mut self, cells: &[f32], share: f32) {
        for (background, cell) in self.background.iter_mut().zip(cells) {
            *background += share * (cell - *background);
        }
    }

    fn difference(&self, cells: &[f32]) -> Difference {
        let mut count = 0.0f32;
        let mut sum_x = 0.0;
        let mut sum_y = 0.0;
        for (at, (cell, background)) in cells.iter().zip(&self.background).enumerate() {
            if (cell - background).abs() > self.settings.level {
                count += 1.0;
                sum_x += (at % CELLS) as f32 + 0.5;
                sum_y += (at / CELLS) as f32 + 0.5;
            }
        }

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
        let x = self.place.0 - difference.place.0;
        let y = self.place.1 - difference.place.1;
        let is_elsewhere = x.hypot(y) > CROSSED;
        self.is_old && (!is_enough || is_elsewhere)
    }

    /// Takes a frame of the object, `off` the middle, and keeps the nearer one. Returns that when the
    /// object has crossed the middle.
    fn see(&mut self, off: f32, held: HeldFrame, now: Instant) -> Option<HeldFrame> {
        if off <= self.nearest
            && let Some(older) = self.held.take()
        {
            older.ticket.settle(Outcome::Skipped);
            self.nearest = off;
            self.held = Some(held);
            return None;
        }

        held.ticket.settle(Outcome::Skipped);
        if off > self.nearest + CROSSED {
            self.hand_over(now)
        } else {
            None
        }
    }

    /// The held frame, which arrived now unless the object is old.
    fn hand_over(&mut self, now: Instant) -> Option<HeldFrame> {
        let mut held = self.held.take()?;
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
    let y = area.y + row * area.h / steps;
    let at = 3 * (y * picture.width() + x);
    let [red, green, blue] = [0, 1, 2].map(|channel| f32::from(picture.rgb()[at + channel]));
    (red + green + blue) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::counters::Tally;
    use crate::data::frame::tests::frame;
    use std::sync::Arc;

    const WIDTH: usize = 240;

    /// A grey belt with a bright square of 48 pixels whose left edge is at `x`. `None`: an empty belt.
    fn belt(x: Option<i64>, light: u8) -> Picture {
        let mut rgb = vec![90 + light; 3 * WIDTH * 120];
        for (at, value) in rgb.iter_mut().enumerate() {
            let column = (at / 3 % WIDTH) as i64;
            let row = at / 3 / WIDTH;
            if x.is_some_and(|x| (x..x + 48).contains(&column)) && (36..84).contains(&row) {
                *value = 220;
            }
        }

        Picture::new(WIDTH, 120, rgb).expect("its bytes")
    }

    struct TestLine {
        presence: Presence,
        tally: Arc<Tally>,
        now: Instant,
    }

    impl TestLine {
        fn new(area: Option<Area>) -> Self {
            let presence = Presence::new(PresenceSettings {
                area,
                ..PresenceSettings::default()
            });

            let mut line = TestLine {
                presence,
                tally: Arc::default(),
                now: Instant::now(),
            };

            for _ in 0..LEARNS {
                assert_eq!(line.show(None, 0), None);
            }

            line
        }

        /// Place of the part in the frame that was chosen. `None` if none was.
        fn show(&mut self, x: Option<i64>, light: u8) -> Option<String> {
            self.now += Duration::from_millis(33);
            let name = x.map(|x| x.to_string());
            let frame = Frame {
                picture: Arc::new(belt(x, light)),
                part_id: name,
                ..frame("top")
            };

            let chosen = self
                .presence
                .on_frame(frame, self.tally.captured(), self.now)
                .expect("the area fits");

            chosen.map(|chosen| {
                chosen.ticket.settle(Outcome::Judged);
                chosen.frame.part_id.unwrap_or_default()
            })
        }
    }

    #[test]
    fn a_part_that_passes_is_one_part_and_its_frame_is_in_the_middle() {
        let mut line = TestLine::new(None);
        for speed in [7, 20, 45] {
            let places = (-48..WIDTH as i64).step_by(speed);
            let chosen: Vec<String> = places.filter_map(|x| line.show(Some(x), 0)).collect();
            let gone = line.show(None, 0);
            let all: Vec<i64> = chosen
                .into_iter()
                .chain(gone)
                .map(|x| x.parse().expect("a number"))
                .collect();

            assert_eq!(all.len(), 1, "{speed}: {all:?}");
            assert!(
                (all[0] - 96).unsigned_abs() <= speed as u64 / 2 + 1,
                "{speed}: {all:?}"
            );
        }

        let count = line.tally.count();
        assert_eq!((count.judged, count.balances()), (3, true));
    }

    #[test]
    fn light_that_changes_slowly_is_no_part() {
        let mut line = TestLine::new(None);
        for light in 0..100 {
            assert_eq!(line.show(None, light), None);
            assert_eq!(line.show(None, light), None);
        }
    }

    #[test]
    fn a_part_outside_of_the_area_does_not_count_and_one_that_stays_becomes_the_line() {
        let mut line = TestLine::new(Some(Area {
            x: 120,
            y: 0,
            w: 120,
            h: 120,
        }));

        assert!((0..60).step_by(10).all(|x| line.show(Some(x), 0).is_none()));
        assert!(line.presence.object.is_none());
        assert_eq!(line.show(Some(150), 0), None);
        for _ in 1..STAYS.as_secs() {
            line.now += Duration::from_secs(1);
            assert_eq!(line.show(Some(150), 0), None);
        }

        line.now += Duration::from_secs(1);
        assert_eq!(line.show(Some(150), 0).as_deref(), Some("150"));
        assert_eq!(
            (line.show(Some(150), 0), line.presence.object.is_none()),
            (None, true)
        );
    }

    #[test]
    fn a_part_that_is_there_when_the_pictures_change_their_size_has_come() {
        let mut line = TestLine::new(None);
        assert_eq!(line.show(Some(90), 0), None);
        let chosen = line
            .presence
            .on_frame(frame("top"), line.tally.captured(), line.now)
            .expect("the area fits");

        let chosen = chosen.expect("it was there");
        chosen.ticket.settle(Outcome::Judged);
        assert_eq!(chosen.frame.part_id.as_deref(), Some("90"));
        let count = line.tally.count();
        assert_eq!((count.captured, count.judged, count.skipped), (7, 1, 6));
    }

    #[test]
    fn a_part_that_went_while_no_picture_came_went_by_then_and_the_next_is_another() {
        for gone in [None, Some(180)] {
            let mut line = TestLine::new(None);
            assert_eq!(line.show(Some(60), 0), None);
            let seen = line
                .presence
                .object
                .as_ref()
                .and_then(|object| Some(object.held.as_ref()?.frame.arrived));

            line.now += GAP + Duration::from_millis(1);
            let frame = Frame {
                picture: Arc::new(belt(gone, 0)),
                ..frame("top")
            };

            let found = line
                .presence
                .on_frame(frame, line.tally.captured(), line.now)
                .expect("fits");

            let chosen = found.expect("it was there");
            chosen.ticket.settle(Outcome::Judged);
            assert_eq!(Some(chosen.frame.arrived), seen);
            let chosen: Vec<String> = [None, Some(90), None]
                .iter()
                .filter_map(|x| line.show(*x, 0))
                .collect();

            assert_eq!(
                chosen,
                [gone.map(|_| "").into_iter().collect::<Vec<_>>(), vec!["90"]].concat()
            );
        }
    }

    #[test]
    fn a_part_that_stands_through_a_long_pause_is_one_part_and_not_the_line() {
        for is_given in [false, true] {
            let mut line = TestLine::new(None);
            let came: Vec<String> = (0..=96)
                .step_by(8)
                .filter_map(|x| line.show(Some(x), 0))
                .collect();

            assert!(came.is_empty());
            let stands = if is_given { 120 } else { 96 };
            assert_eq!(line.show(Some(stands), 0).is_some(), is_given);
            line.now += Duration::from_secs(600);
            let after = [Some(stands), Some(stands), Some(150), None, Some(90), None];
            let chosen: Vec<String> = after.iter().filter_map(|x| line.show(*x, 0)).collect();
            assert_eq!(
                chosen,
                if is_given {
                    vec!["90"]
                } else {
                    vec!["96", "90"]
                }
            );
        }
    }

    #[test]
    fn an_area_beyond_the_picture_is_told() {
        let mut presence = Presence::new(PresenceSettings {
            area: Some(Area {
                x: 0,
                y: 0,
                w: 9,
                h: 9,
            }),
            ..PresenceSettings::default()
        });

        let tally = Arc::new(Tally::default());
        let told = presence.on_frame(frame("top"), tally.captured(), Instant::now());
        assert!(told.is_err_and(|words| {
            words.contains("presence.area 0,0,9,9 is beyond its picture of 1 x 1 pixels")
        }));

        assert_eq!(tally.count().skipped, 1);
    }
}
