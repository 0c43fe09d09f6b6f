//! Layer 2: the bounded hand-over from cameras to the inspector.
//!
//! A free-running camera has one place: a newer frame replaces the waiting one, whose ticket is settled as `replaced`.
//! Where frames belong to parts, they queue; a full queue gives the frame back, and its parts are undecided(overload).
//! Cameras take turns: [`FrameReceiver::take`] starts with the camera after the one that was served last.

use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::counters::Outcome;
use crate::data::queued_frame::QueuedFrame;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Effect of a frame that comes while the inspector is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The newest frame replaces the one that waits, whose outcome is `replaced`.
    DropOldest,
    /// Frames of parts queue; one beyond the capacity is refused.
    Refuse {
        /// Number of frames that may wait; at least 1.
        capacity: usize,
    },
}

#[derive(Debug)]
struct Places {
    waiting: Vec<VecDeque<QueuedFrame>>,
    /// The camera that is looked at first by the next take.
    turn: usize,
    /// The inspector has left.
    closed: bool,
}

/// The inspector's end.
#[derive(Debug)]
pub struct FrameReceiver {
    places: Arc<Mutex<Places>>,
    /// One token at most: "look again". Disconnected when every camera has left.
    bell: Receiver<()>,
}

/// One camera's end; dropping all of them is leaving.
#[derive(Debug, Clone)]
pub struct FrameSender {
    places: Arc<Mutex<Places>>,
    index: usize,
    policy: Overflow,
    bell: Sender<()>,
}

/// The hand-over for cameras of these policies.
pub fn frame_queue(policies: &[Overflow]) -> (FrameReceiver, Vec<FrameSender>) {
    let waiting = policies.iter().map(|_| VecDeque::new()).collect();
    let places = Arc::new(Mutex::new(Places {
        waiting,
        turn: 0,
        closed: false,
    }));
    let (sender, bell) = bounded(1);
    let place = |(index, policy): (usize, &Overflow)| FrameSender {
        places: places.clone(),
        index,
        policy: *policy,
        bell: sender.clone(),
    };
    let ends = policies.iter().enumerate().map(place).collect();
    (FrameReceiver { places, bell }, ends)
}

impl FrameSender {
    /// Hands a frame over without waiting; an older one of a free-running camera that is still there is settled as
    /// replaced.
    ///
    /// # Errors
    /// What was brought, when the queue is full; when the inspector has left, its ticket is settled already.
    #[expect(
        clippy::result_large_err,
        reason = "what was brought goes back as it came, once a frame at most"
    )]
    pub fn put(&self, mut waiting: QueuedFrame) -> Result<(), QueuedFrame> {
        let mut places = self.lock();
        if places.closed {
            drop(places);
            if let Some(ticket) = waiting.ticket.take() {
                ticket.settle(Outcome::Stopped);
            }
            return Err(waiting);
        }
        let queue = &mut places.waiting[self.index];
        let older = match self.policy {
            Overflow::DropOldest => queue.pop_front(),
            Overflow::Refuse { capacity } if queue.len() >= capacity => return Err(waiting),
            Overflow::Refuse { .. } => None,
        };
        queue.push_back(waiting);
        drop(places);
        if let Some(older) = older {
            older.settle(Outcome::Replaced);
        }
        // Full means that the bell already rings.
        let _ = self.bell.try_send(());
        Ok(())
    }

    /// True while this camera's last frame has not been taken: a finite source waits for this instead of replacing.
    pub fn is_waiting(&self) -> bool {
        !self.lock().waiting[self.index].is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places
            .lock()
            .expect("nobody panics while holding the places")
    }
}

impl FrameReceiver {
    /// Waits for frames and takes at most `limit`, one a camera, in turn. Empty means that every camera has left.
    /// Waiting is a sign of life, and `idle` is called now and then meanwhile.
    pub fn take(
        &self,
        limit: usize,
        pulse: &Heartbeat,
        idle: &mut dyn FnMut(),
    ) -> Vec<QueuedFrame> {
        loop {
            pulse.beat();
            let taken = self.take_now(limit);
            if !taken.is_empty() {
                return taken;
            }
            match self.bell.recv_timeout(HEARTBEAT) {
                // A camera may have put its last frame just before it left.
                Err(RecvTimeoutError::Disconnected) => return self.take_now(limit),
                Err(RecvTimeoutError::Timeout) => idle(),
                Ok(()) => {}
            }
        }
    }

    fn take_now(&self, limit: usize) -> Vec<QueuedFrame> {
        let mut places = self
            .places
            .lock()
            .expect("nobody panics while holding the places");
        let cameras = places.waiting.len();
        let mut taken = Vec::new();
        for step in 0..cameras {
            if taken.len() == limit {
                break;
            }
            let camera = (places.turn + step) % cameras;
            if let Some(waiting) = places.waiting[camera].pop_front() {
                taken.push((camera, waiting));
            }
        }
        if let Some((last, _)) = taken.last() {
            places.turn = (last + 1) % cameras;
        }
        taken.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        if let Ok(mut places) = self.places.lock() {
            places.closed = true;
            for waiting in places.waiting.iter_mut().flat_map(|queue| queue.drain(..)) {
                waiting.settle(Outcome::Stopped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::counters::Tally;
    use crate::data::frame::Frame;
    use crate::data::frame::tests::frame;
    use proptest::prelude::*;

    fn waiting(camera: &str, number: usize, tally: &Arc<Tally>) -> QueuedFrame {
        let frame = Frame {
            part_id: Some(number.to_string()),
            ..frame(camera)
        };
        QueuedFrame {
            frame,
            ticket: Some(tally.captured()),
            parts: vec![],
        }
    }

    #[test]
    fn a_newer_frame_replaces_the_waiting_one() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = frame_queue(&[Overflow::DropOldest; 1]);
        for number in 0..3 {
            places[0]
                .put(waiting("a", number, &tally))
                .expect("there is room");
        }
        let taken = intake.take(8, &Heartbeat::default(), &mut || ());
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].frame.part_id.as_deref(), Some("2"));
        for waiting in taken {
            waiting.settle(Outcome::Judged);
        }
        let count = tally.count();
        assert_eq!((count.replaced, count.judged), (2, 1));
        assert!(count.balances());
    }

    #[test]
    fn the_last_frame_is_taken_after_its_camera_has_left() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = frame_queue(&[Overflow::DropOldest; 2]);
        places[1]
            .put(waiting("b", 0, &tally))
            .expect("there is room");
        drop(places);
        let taken = intake.take(1, &Heartbeat::default(), &mut || ());
        assert_eq!(taken.len(), 1);
        taken.into_iter().for_each(|w| w.settle(Outcome::Judged));
        assert!(intake.take(1, &Heartbeat::default(), &mut || ()).is_empty());
    }

    #[test]
    fn a_frame_that_comes_after_the_inspector_has_left_is_stopped() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = frame_queue(&[Overflow::DropOldest; 1]);
        drop(intake);
        assert!(
            places[0]
                .put(waiting("a", 0, &tally))
                .is_err_and(|back| back.ticket.is_none())
        );
        drop(places);
        assert_eq!((tally.count().stopped, tally.count().failed), (1, 0));
    }

    #[test]
    fn a_full_queue_gives_the_frame_back_and_keeps_the_order() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = frame_queue(&[Overflow::Refuse { capacity: 2 }]);
        for number in 0..3 {
            match places[0].put(waiting("a", number, &tally)) {
                Ok(()) => assert!(number < 2),
                Err(back) => back.settle(Outcome::Skipped),
            }
        }
        drop(places);
        for number in ["0", "1"] {
            let taken = intake
                .take(1, &Heartbeat::default(), &mut || ())
                .pop()
                .expect("two wait");
            assert_eq!(taken.frame.part_id.as_deref(), Some(number));
            taken.settle(Outcome::Judged);
        }
        assert!(intake.take(1, &Heartbeat::default(), &mut || ()).is_empty());
        assert_eq!((tally.count().skipped, tally.count().balances()), (1, true));
    }

    #[test]
    fn cameras_take_turns() {
        let tally = Arc::new(Tally::default());
        let (intake, places) = frame_queue(&[Overflow::DropOldest; 3]);
        let mut served = Vec::new();
        for _ in 0..6 {
            for (camera, place) in places.iter().enumerate() {
                place
                    .put(waiting(&camera.to_string(), 0, &tally))
                    .expect("there is room");
            }
            for waiting in intake.take(1, &Heartbeat::default(), &mut || ()) {
                served.push(waiting.frame.camera.to_string());
                waiting.settle(Outcome::Judged);
            }
        }
        assert_eq!(served, ["0", "1", "2", "0", "1", "2"]);
    }

    proptest! {
        /// Against the naive model: one optional frame a camera.
        #[test]
        fn the_intake_is_one_optional_frame_a_camera(steps in proptest::collection::vec((0usize..4, 0usize..5), 1..60)) {
            let tally = Arc::new(Tally::default());
            let (intake, places) = frame_queue(&[Overflow::DropOldest; 3]);
            let mut model = [None; 3];
            for (number, (action, limit)) in steps.into_iter().enumerate() {
                if action < 3 {
                    places[action].put(waiting(&action.to_string(), number, &tally)).expect("there is room");
                    model[action] = Some(number);
                } else {
                    let taken = intake.take_now(limit);
                    let waiting = model.iter().flatten().count();
                    prop_assert_eq!(taken.len(), waiting.min(limit));
                    for one in taken {
                        let camera: usize = one.frame.camera.parse().expect("a number");
                        let number: usize = one.frame.part_id.as_deref().expect("set").parse().expect("a number");
                        prop_assert_eq!(model[camera].take(), Some(number));
                        one.settle(Outcome::Judged);
                    }
                }
            }
            drop(intake);
            prop_assert!(tally.count().balances());
        }
    }
}
