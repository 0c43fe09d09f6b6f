//! Layer 2: the bounded hand-over from cameras to the inspector: one place a camera, the newest frame wins.
//!
//! When full: a newer frame of the same camera replaces the waiting one, whose ticket is settled as `replaced`.
//! Cameras take turns: [`Intake::take`] starts with the camera after the one that was served last.

use crate::base::notify::{Pulse, SIGN};
use crate::frame::{Frame, Outcome, Ticket};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::{Arc, Mutex};

/// A frame and the duty to account for it.
#[derive(Debug)]
pub struct Waiting {
    pub frame: Frame,
    pub ticket: Ticket,
}

#[derive(Debug)]
struct Places {
    waiting: Vec<Option<Waiting>>,
    /// The camera that is looked at first by the next take.
    turn: usize,
    /// The inspector has left.
    closed: bool,
}

/// The inspector's end.
#[derive(Debug)]
pub struct Intake {
    places: Arc<Mutex<Places>>,
    /// One token at most: "look again". Disconnected when every camera has left.
    bell: Receiver<()>,
}

/// One camera's end; dropping it is leaving.
#[derive(Debug)]
pub struct Place {
    places: Arc<Mutex<Places>>,
    index: usize,
    bell: Sender<()>,
}

/// The hand-over for `cameras` cameras.
pub fn intake(cameras: usize) -> (Intake, Vec<Place>) {
    let places = Arc::new(Mutex::new(Places { waiting: (0..cameras).map(|_| None).collect(), turn: 0, closed: false }));
    let (sender, bell) = bounded(1);
    let ends = (0..cameras).map(|index| Place { places: places.clone(), index, bell: sender.clone() }).collect();
    (Intake { places, bell }, ends)
}

impl Place {
    /// Hands a frame over without waiting; an older one that is still there is settled as replaced.
    pub fn put(&self, waiting: Waiting) {
        let mut places = self.lock();
        if places.closed {
            return waiting.ticket.settle(Outcome::Stopped);
        }
        let older = places.waiting[self.index].replace(waiting);
        drop(places);
        if let Some(older) = older {
            older.ticket.settle(Outcome::Replaced);
        }
        // Full means that the bell already rings.
        let _ = self.bell.try_send(());
    }

    /// True while this camera's last frame has not been taken: a finite source waits for this instead of replacing.
    pub fn is_waiting(&self) -> bool {
        self.lock().waiting[self.index].is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().expect("nobody panics while holding the places")
    }
}

impl Intake {
    /// Waits for frames and takes at most `limit`, one a camera, in turn. Empty means that every camera has left.
    /// Waiting is a sign of life.
    pub fn take(&self, limit: usize, pulse: &Pulse) -> Vec<Waiting> {
        loop {
            pulse.beat();
            let taken = self.take_now(limit);
            if !taken.is_empty() {
                return taken;
            }
            if self.bell.recv_timeout(SIGN) == Err(RecvTimeoutError::Disconnected) {
                // A camera may have put its last frame just before it left.
                return self.take_now(limit);
            }
        }
    }

    fn take_now(&self, limit: usize) -> Vec<Waiting> {
        let mut places = self.places.lock().expect("nobody panics while holding the places");
        let cameras = places.waiting.len();
        let mut taken = Vec::new();
        for step in 0..cameras {
            if taken.len() == limit {
                break;
            }
            let camera = (places.turn + step) % cameras;
            if let Some(waiting) = places.waiting[camera].take() {
                taken.push((camera, waiting));
            }
        }
        if let Some((last, _)) = taken.last() {
            places.turn = (last + 1) % cameras;
        }
        taken.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Ok(mut places) = self.places.lock() {
            places.closed = true;
            for waiting in places.waiting.iter_mut().filter_map(Option::take) {
                waiting.ticket.settle(Outcome::Stopped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CapturedBy, Picture, Tally};
    use proptest::prelude::*;
    use std::time::Instant;

    fn frame(camera: &str, number: usize) -> Frame {
        Frame {
            camera: camera.into(),
            picture: Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes")),
            captured_at: jiff::Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: None,
            part_id: Some(number.to_string()),
        }
    }

    #[test]
    fn a_newer_frame_replaces_the_waiting_one() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = intake(1);
        for number in 0..3 {
            places[0].put(Waiting { frame: frame("a", number), ticket: tally.captured() });
        }
        let taken = intake.take(8, &Pulse::default());
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].frame.part_id.as_deref(), Some("2"));
        for waiting in taken {
            waiting.ticket.settle(Outcome::Judged);
        }
        let count = tally.count();
        assert_eq!((count.replaced, count.judged), (2, 1));
        assert!(count.balances());
    }

    #[test]
    fn the_last_frame_is_taken_after_its_camera_has_left() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = intake(2);
        places[1].put(Waiting { frame: frame("b", 0), ticket: tally.captured() });
        drop(places);
        let taken = intake.take(1, &Pulse::default());
        assert_eq!(taken.len(), 1);
        taken.into_iter().for_each(|w| w.ticket.settle(Outcome::Judged));
        assert!(intake.take(1, &Pulse::default()).is_empty());
    }

    #[test]
    fn a_frame_that_comes_after_the_inspector_has_left_is_stopped() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = intake(1);
        drop(intake);
        places[0].put(Waiting { frame: frame("a", 0), ticket: tally.captured() });
        drop(places);
        assert_eq!((tally.count().stopped, tally.count().failed), (1, 0));
    }

    #[test]
    fn cameras_take_turns() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = intake(3);
        let mut served = Vec::new();
        for _ in 0..6 {
            for (camera, place) in places.iter().enumerate() {
                place.put(Waiting { frame: frame(&camera.to_string(), 0), ticket: tally.captured() });
            }
            for waiting in intake.take(1, &Pulse::default()) {
                served.push(waiting.frame.camera.to_string());
                waiting.ticket.settle(Outcome::Judged);
            }
        }
        assert_eq!(served, ["0", "1", "2", "0", "1", "2"]);
    }

    proptest! {
        /// Against the naive model: one optional frame a camera.
        #[test]
        fn the_intake_is_one_optional_frame_a_camera(steps in proptest::collection::vec((0usize..4, 0usize..5), 1..60)) {
            let tally = Arc::new(Tally::default());
            let (intake, places) = intake(3);
            let mut model = [None; 3];
            for (number, (action, limit)) in steps.into_iter().enumerate() {
                if action < 3 {
                    places[action].put(Waiting { frame: frame(&action.to_string(), number), ticket: tally.captured() });
                    model[action] = Some(number);
                } else {
                    let taken = intake.take_now(limit);
                    let waiting = model.iter().flatten().count();
                    prop_assert_eq!(taken.len(), waiting.min(limit));
                    for one in taken {
                        let camera: usize = one.frame.camera.parse().expect("a number");
                        let number: usize = one.frame.part_id.as_deref().expect("set").parse().expect("a number");
                        prop_assert_eq!(model[camera].take(), Some(number));
                        one.ticket.settle(Outcome::Judged);
                    }
                }
            }
            drop(intake);
            prop_assert!(tally.count().balances());
        }
    }
}
