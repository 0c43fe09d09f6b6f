//! The bounded queue of frames between the cameras and the inspector.
//!
//! A free-running camera has one slot: a newer frame replaces the one that waits, whose ticket is settled
//! as `replaced`. Frames that belong to parts queue; a full queue gives the frame back, and its parts are
//! undecided(overload). Cameras take turns: [`FrameReceiver::take`] starts with the camera after the one
//! that was served last.

use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::counters::Outcome;
use crate::data::queued_frame::QueuedFrame;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

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

/// The frames that wait, by camera.
#[derive(Debug)]
struct Slots {
    waiting: Vec<VecDeque<QueuedFrame>>,
    /// The camera that the next take looks at first.
    turn: usize,
    /// True when the inspector has left.
    is_closed: bool,
}

/// The inspector's end.
#[derive(Debug)]
pub struct FrameReceiver {
    slots: Arc<Mutex<Slots>>,
    /// One token at most: "look again". Disconnected when every camera has left.
    wake: Receiver<()>,
}

/// One camera's end. A camera leaves by dropping it with all clones.
#[derive(Debug, Clone)]
pub struct FrameSender {
    slots: Arc<Mutex<Slots>>,
    camera: usize,
    overflow: Overflow,
    wake: Sender<()>,
}

/// Makes a queue for as many cameras as there are `overflows`.
pub fn frame_queue(overflows: &[Overflow]) -> (FrameReceiver, Vec<FrameSender>) {
    let slots = Arc::new(Mutex::new(Slots {
        waiting: overflows.iter().map(|_| VecDeque::new()).collect(),
        turn: 0,
        is_closed: false,
    }));

    let (sender, wake) = bounded(1);
    let mut senders = vec![];
    for (camera, overflow) in overflows.iter().enumerate() {
        senders.push(FrameSender {
            slots: slots.clone(),
            camera,
            overflow: *overflow,
            wake: sender.clone(),
        });
    }

    (FrameReceiver { slots, wake }, senders)
}

impl FrameSender {
    /// Queues a frame without waiting. With [`Overflow::DropOldest`] one that is still there is settled as
    /// replaced.
    ///
    /// # Errors
    /// The frame itself, when the queue is full, or when the inspector has left; its ticket is settled
    /// then.
    #[expect(
        clippy::result_large_err,
        reason = "what was brought goes back as it came, once a frame at most"
    )]
    pub fn put(&self, mut frame: QueuedFrame) -> Result<(), QueuedFrame> {
        let mut slots = lock(&self.slots);
        if slots.is_closed {
            drop(slots);
            if let Some(ticket) = frame.ticket.take() {
                ticket.settle(Outcome::Stopped);
            }

            return Err(frame);
        }

        let queue = &mut slots.waiting[self.camera];
        let replaced = match self.overflow {
            Overflow::DropOldest => queue.pop_front(),
            Overflow::Refuse { capacity } if queue.len() >= capacity => return Err(frame),
            Overflow::Refuse { .. } => None,
        };

        queue.push_back(frame);
        drop(slots);
        if let Some(replaced) = replaced {
            replaced.settle(Outcome::Replaced);
        }

        // A full channel means that the inspector will look anyway.
        let _ = self.wake.try_send(());
        Ok(())
    }

    /// Returns true while this camera's last frame has not been taken: a finite source waits for that
    /// instead of replacing.
    pub fn is_waiting(&self) -> bool {
        !lock(&self.slots).waiting[self.camera].is_empty()
    }
}

impl FrameReceiver {
    /// Waits for frames and takes at most `limit`, one a camera, in turn. Returns none when every camera
    /// has left. Waiting is a sign of life, and `idle` is called now and then meanwhile.
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

            match self.wake.recv_timeout(HEARTBEAT) {
                // A camera may have put its last frame just before it left.
                Err(RecvTimeoutError::Disconnected) => return self.take_now(limit),
                Err(RecvTimeoutError::Timeout) => idle(),
                Ok(()) => {}
            }
        }
    }

    fn take_now(&self, limit: usize) -> Vec<QueuedFrame> {
        let mut slots = lock(&self.slots);
        let cameras = slots.waiting.len();
        let first = slots.turn;
        let mut taken = vec![];
        for step in 0..cameras {
            if taken.len() == limit {
                break;
            }

            let camera = (first + step) % cameras;
            if let Some(frame) = slots.waiting[camera].pop_front() {
                taken.push(frame);
                slots.turn = (camera + 1) % cameras;
            }
        }

        taken
    }
}

fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots
        .lock()
        .expect("no code panics while holding the slots")
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        let Ok(mut slots) = self.slots.lock() else {
            return;
        };

        slots.is_closed = true;
        for queue in &mut slots.waiting {
            for frame in queue.drain(..) {
                frame.settle(Outcome::Stopped);
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
    fn a_newer_frame_resenders_the_waiting_one() {
        let tally = Arc::new(Tally::default());
        let (frames, senders) = frame_queue(&[Overflow::DropOldest; 1]);
        for number in 0..3 {
            senders[0]
                .put(waiting("a", number, &tally))
                .expect("there is room");
        }

        let taken = frames.take(8, &Heartbeat::default(), &mut || ());
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
        let (frames, senders) = frame_queue(&[Overflow::DropOldest; 2]);
        senders[1]
            .put(waiting("b", 0, &tally))
            .expect("there is room");

        drop(senders);
        let taken = frames.take(1, &Heartbeat::default(), &mut || ());
        assert_eq!(taken.len(), 1);
        taken.into_iter().for_each(|w| w.settle(Outcome::Judged));
        assert!(frames.take(1, &Heartbeat::default(), &mut || ()).is_empty());
    }

    #[test]
    fn a_frame_that_comes_after_the_inspector_has_left_is_stopped() {
        let tally = Arc::new(Tally::default());
        let (frames, senders) = frame_queue(&[Overflow::DropOldest; 1]);
        drop(frames);
        assert!(
            senders[0]
                .put(waiting("a", 0, &tally))
                .is_err_and(|back| back.ticket.is_none())
        );

        drop(senders);
        assert_eq!((tally.count().stopped, tally.count().failed), (1, 0));
    }

    #[test]
    fn a_full_queue_gives_the_frame_back_and_keeps_the_order() {
        let tally = Arc::new(Tally::default());
        let (frames, senders) = frame_queue(&[Overflow::Refuse { capacity: 2 }]);
        for number in 0..3 {
            match senders[0].put(waiting("a", number, &tally)) {
                Ok(()) => assert!(number < 2),
                Err(back) => back.settle(Outcome::Skipped),
            }
        }

        drop(senders);
        for number in ["0", "1"] {
            let taken = frames
                .take(1, &Heartbeat::default(), &mut || ())
                .pop()
                .expect("two wait");

            assert_eq!(taken.frame.part_id.as_deref(), Some(number));
            taken.settle(Outcome::Judged);
        }

        assert!(frames.take(1, &Heartbeat::default(), &mut || ()).is_empty());
        assert_eq!((tally.count().skipped, tally.count().balances()), (1, true));
    }

    #[test]
    fn cameras_take_turns() {
        let tally = Arc::new(Tally::default());
        let (frames, senders) = frame_queue(&[Overflow::DropOldest; 3]);
        let mut served = Vec::new();
        for _ in 0..6 {
            for (camera, place) in senders.iter().enumerate() {
                place
                    .put(waiting(&camera.to_string(), 0, &tally))
                    .expect("there is room");
            }

            for waiting in frames.take(1, &Heartbeat::default(), &mut || ()) {
                served.push(waiting.frame.camera.to_string());
                waiting.settle(Outcome::Judged);
            }
        }

        assert_eq!(served, ["0", "1", "2", "0", "1", "2"]);
    }

    proptest! {
        /// Against the naive model: one optional frame a camera.
        #[test]
        fn the_queue_is_one_optional_frame_a_camera(steps in proptest::collection::vec((0usize..4, 0usize..5), 1..60)) {
            let tally = Arc::new(Tally::default());
            let (frames, senders) = frame_queue(&[Overflow::DropOldest; 3]);
            let mut model = [None; 3];
            for (number, (action, limit)) in steps.into_iter().enumerate() {
                if action < 3 {
                    senders[action].put(waiting(&action.to_string(), number, &tally)).expect("there is room");
                    model[action] = Some(number);
                } else {
                    let taken = frames.take_now(limit);
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
            drop(frames);
            prop_assert!(tally.count().balances());
        }
    }
}
