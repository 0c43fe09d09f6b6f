//! A part in front of the camera: what differs from the empty line in an area, from its coming to its going.
//!
//! The area is seen as a grid of grey cells. The background follows slowly while nothing is there. A part is there when
//! a share of the cells differs, and gone at half of that share; its frame is the one in which what differs lies nearest
//! to the area's middle. One coming and going is one part.

use super::within;
use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::picture::{Area, Picture};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PresenceSettings {
    /// In camera pixels; all of the picture unless given.
    pub area: Option<Area>,
    /// Grey levels (of 255) by which a cell differs.
    pub level: f32,
    /// Of the cells, from 0 to 1.
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
/// How far the background goes towards an empty frame: lamps age and days pass.
const FOLLOWS: f32 = 0.05;
/// Frames of the empty line before the first part can come.
const LEARNS: usize = 5;
/// What stays so long is the line itself.
const STAYS: Duration = Duration::from_secs(30);
/// Without a look for so long nobody has seen the part go; of that time no more counts for [`STAYS`].
const GAP: Duration = Duration::from_secs(2);
/// Farther from the middle than at its nearest by this share of the area: it has crossed.
const CROSSED: f32 = 0.05;

#[derive(Debug)]
pub struct Presence {
    settings: PresenceSettings,
    /// The size it was learned at; another begins anew.
    size: (usize, usize),
    background: Vec<f32>,
    learned: usize,
    there: Option<There>,
    /// The last frame came then.
    looked: Option<Instant>,
}

/// A part that is there.
#[derive(Debug)]
struct There {
    since: Instant,
    /// How far from the middle it was at its nearest, and that frame until it is given away.
    nearest: f32,
    held: Option<(Frame, Ticket)>,
    /// Where it was last.
    place: (f32, f32),
    /// Nobody looked for a while: it may be another one that is there now.
    is_old: bool,
}

/// What differs from the background.
struct Seen {
    /// Of the cells.
    share: f32,
    /// Its centre from the area's middle, and how far that is, in sides of the area.
    place: (f32, f32),
    off: f32,
}

impl Presence {
    pub fn new(settings: PresenceSettings) -> Self {
        Presence {
            settings,
            size: (0, 0),
            background: vec![],
            learned: 0,
            there: None,
            looked: None,
        }
    }

    /// The frame of the part that has just crossed the middle, or gone; other frames are skipped. It was seen to be a part only
    /// now, so that its `arrived` is now; but for one that went while nobody looked (no pictures, a pause): that went by then.
    ///
    /// # Errors
    /// When the area is not inside the picture.
    pub fn look(
        &mut self,
        frame: Frame,
        ticket: Ticket,
        now: Instant,
    ) -> Result<Option<(Frame, Ticket)>, String> {
        let ago = self
            .looked
            .replace(now)
            .map_or(Duration::ZERO, |looked| now.duration_since(looked));
        if let Some(there) = self.there.as_mut().filter(|_| ago > GAP) {
            (there.is_old, there.since) = (true, there.since + (ago - GAP));
        }
        let (width, height) = (frame.picture.width(), frame.picture.height());
        let Some(area) = within(self.settings.area, width, height) else {
            ticket.settle(Outcome::Skipped);
            let area = self.settings.area.unwrap_or(Area::whole(width, height));
            return Err(format!(
                "presence.area {area} is beyond its picture of {width} x {height} pixels"
            ));
        };
        let cells = grey(&frame.picture, area);
        if self.size != (width, height) || self.learned < LEARNS {
            ticket.settle(Outcome::Skipped);
            let held = self.end(now);
            self.learn(&cells, (width, height));
            return Ok(held);
        }
        let seen = self.seen(&cells);
        let enough = if self.there.is_some() {
            self.settings.share / 2.0
        } else {
            self.settings.share
        };
        let went =
            |there: &There| there.is_old && (seen.share < enough || there.is_elsewhere(&seen));
        if let Some(There { held, .. }) = self.there.take_if(|there| went(there)) {
            if seen.share < self.settings.share {
                ticket.settle(Outcome::Skipped);
            } else {
                self.there = Some(There::new(&seen, frame, ticket, now));
            }
            return Ok(held);
        }
        if seen.share < enough {
            ticket.settle(Outcome::Skipped);
            self.follow(&cells, FOLLOWS);
            return Ok(self.end(now));
        }
        let Some(there) = &mut self.there else {
            self.there = Some(There::new(&seen, frame, ticket, now));
            return Ok(None);
        };
        (there.is_old, there.place) = (false, seen.place);
        if now.duration_since(there.since) > STAYS {
            ticket.settle(Outcome::Skipped);
            tracing::info!(
                "camera {}: what came {} s ago is the line's own now",
                frame.camera,
                STAYS.as_secs()
            );
            self.follow(&cells, 1.0);
            return Ok(self.end(now));
        }
        let is_nearer = seen.off <= there.nearest;
        if is_nearer && let Some((_, older)) = there.held.take() {
            older.settle(Outcome::Skipped);
            (there.nearest, there.held) = (seen.off, Some((frame, ticket)));
            return Ok(None);
        }
        ticket.settle(Outcome::Skipped);
        let has_crossed = seen.off > there.nearest + CROSSED;
        Ok(if has_crossed { there.give(now) } else { None })
    }

    /// The part that is there has come, and is not there any more.
    fn end(&mut self, now: Instant) -> Option<(Frame, Ticket)> {
        self.there.take().and_then(|mut there| there.give(now))
    }

    fn learn(&mut self, cells: &[f32], size: (usize, usize)) {
        if self.size != size {
            (self.size, self.learned, self.background) = (size, 0, cells.to_vec());
        }
        self.learned += 1;
        self.follow(cells, 1.0 / self.learned as f32);
    }

    fn follow(&mut self, cells: &[f32], share: f32) {
        for (background, cell) in self.background.iter_mut().zip(cells) {
            *background += share * (cell - *background);
        }
    }

    fn seen(&self, cells: &[f32]) -> Seen {
        let (mut count, mut x, mut y) = (0.0f32, 0.0, 0.0);
        for (at, (cell, background)) in cells.iter().zip(&self.background).enumerate() {
            if (cell - background).abs() > self.settings.level {
                count += 1.0;
                x += (at % CELLS) as f32 + 0.5;
                y += (at / CELLS) as f32 + 0.5;
            }
        }
        let middle = |sum: f32| {
            if count > 0.0 {
                sum / count / CELLS as f32 - 0.5
            } else {
                0.0
            }
        };
        let place = (middle(x), middle(y));
        Seen {
            share: count / (CELLS * CELLS) as f32,
            place,
            off: place.0.hypot(place.1),
        }
    }
}

impl There {
    fn new(seen: &Seen, frame: Frame, ticket: Ticket, now: Instant) -> Self {
        There {
            since: now,
            nearest: seen.off,
            held: Some((frame, ticket)),
            place: seen.place,
            is_old: false,
        }
    }

    /// Another one, for all that can be told.
    fn is_elsewhere(&self, seen: &Seen) -> bool {
        (self.place.0 - seen.place.0).hypot(self.place.1 - seen.place.1) > CROSSED
    }

    fn give(&mut self, now: Instant) -> Option<(Frame, Ticket)> {
        let (frame, ticket) = self.held.take()?;
        let arrived = if self.is_old { frame.arrived } else { now };
        Some((Frame { arrived, ..frame }, ticket))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some((_, ticket)) = self.end(Instant::now()) {
            ticket.settle(Outcome::Stopped);
        }
    }
}

/// `[CELLS * CELLS]` means of a few dots each, 0 to 255.
fn grey(picture: &Picture, area: Area) -> Vec<f32> {
    let steps = CELLS * DOTS;
    let dot = |row: usize, column: usize| {
        let (x, y) = (
            area.x + column * area.w / steps,
            area.y + row * area.h / steps,
        );
        let at = 3 * (y * picture.width() + x);
        picture.rgb()[at..at + 3]
            .iter()
            .map(|value| f32::from(*value))
            .sum::<f32>()
            / 3.0
    };
    let cell = |at: usize| {
        let (row, column) = (at / CELLS * DOTS, at % CELLS * DOTS);
        let dots = (0..DOTS * DOTS).map(|n| dot(row + n / DOTS, column + n % DOTS));
        dots.sum::<f32>() / (DOTS * DOTS) as f32
    };
    (0..CELLS * CELLS).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::counters::Tally;
    use crate::data::frame::tests::frame;
    use std::sync::Arc;

    const WIDTH: usize = 240;

    /// A grey belt with a bright square of 48 pixels whose left edge is at `x`, where there is one.
    fn belt(x: Option<i64>, light: u8) -> Picture {
        let mut rgb = vec![90 + light; 3 * WIDTH * 120];
        for (at, value) in rgb.iter_mut().enumerate() {
            let (column, row) = ((at / 3 % WIDTH) as i64, at / 3 / WIDTH);
            if x.is_some_and(|x| (x..x + 48).contains(&column)) && (36..84).contains(&row) {
                *value = 220;
            }
        }
        Picture::new(WIDTH, 120, rgb).expect("its bytes")
    }

    struct Line {
        presence: Presence,
        tally: Arc<Tally>,
        now: Instant,
    }

    impl Line {
        fn new(area: Option<Area>) -> Self {
            let presence = Presence::new(PresenceSettings {
                area,
                ..PresenceSettings::default()
            });
            let mut line = Line {
                presence,
                tally: Arc::default(),
                now: Instant::now(),
            };
            (0..LEARNS).for_each(|_| assert_eq!(line.show(None, 0), None));
            line
        }

        /// Where the part was in the frame that was chosen.
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
                .look(frame, self.tally.captured(), self.now)
                .expect("the area fits");
            chosen.map(|(frame, ticket)| {
                ticket.settle(Outcome::Judged);
                frame.part_id.unwrap_or_default()
            })
        }
    }

    #[test]
    fn a_part_that_passes_is_one_part_and_its_frame_is_in_the_middle() {
        let mut line = Line::new(None);
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
        let mut line = Line::new(None);
        for light in 0..100 {
            assert_eq!(line.show(None, light), None);
            assert_eq!(line.show(None, light), None);
        }
    }

    #[test]
    fn a_part_outside_of_the_area_does_not_count_and_one_that_stays_becomes_the_line() {
        let mut line = Line::new(Some(Area {
            x: 120,
            y: 0,
            w: 120,
            h: 120,
        }));
        assert!((0..60).step_by(10).all(|x| line.show(Some(x), 0).is_none()));
        assert!(line.presence.there.is_none());
        assert_eq!(line.show(Some(150), 0), None);
        for _ in 1..STAYS.as_secs() {
            line.now += Duration::from_secs(1);
            assert_eq!(line.show(Some(150), 0), None);
        }
        line.now += Duration::from_secs(1);
        assert_eq!(line.show(Some(150), 0).as_deref(), Some("150"));
        assert_eq!(
            (line.show(Some(150), 0), line.presence.there.is_none()),
            (None, true)
        );
    }

    #[test]
    fn a_part_that_is_there_when_the_pictures_change_their_size_has_come() {
        let mut line = Line::new(None);
        assert_eq!(line.show(Some(90), 0), None);
        let chosen = line
            .presence
            .look(frame("top"), line.tally.captured(), line.now)
            .expect("the area fits");
        let (held, ticket) = chosen.expect("it was there");
        ticket.settle(Outcome::Judged);
        assert_eq!(held.part_id.as_deref(), Some("90"));
        let count = line.tally.count();
        assert_eq!((count.captured, count.judged, count.skipped), (7, 1, 6));
    }

    #[test]
    fn a_part_that_went_while_nobody_looked_went_by_then_and_the_next_is_another() {
        for gone in [None, Some(180)] {
            let mut line = Line::new(None);
            assert_eq!(line.show(Some(60), 0), None);
            let seen = line
                .presence
                .there
                .as_ref()
                .and_then(|there| Some(there.held.as_ref()?.0.arrived));
            line.now += GAP + Duration::from_millis(1);
            let frame = Frame {
                picture: Arc::new(belt(gone, 0)),
                ..frame("top")
            };
            let found = line
                .presence
                .look(frame, line.tally.captured(), line.now)
                .expect("fits");
            let (held, ticket) = found.expect("it was there");
            ticket.settle(Outcome::Judged);
            assert_eq!(Some(held.arrived), seen);
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
            let mut line = Line::new(None);
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
        let told = presence.look(frame("top"), tally.captured(), Instant::now());
        assert!(told.is_err_and(|words| {
            words.contains("presence.area 0,0,9,9 is beyond its picture of 1 x 1 pixels")
        }));
        assert_eq!(tally.count().skipped, 1);
    }
}
