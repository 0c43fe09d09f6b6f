//! A camera's way into the line: its frames become parts as its trigger says, and join the queue.

use crate::base::health::{Diagnostics, Health};
use crate::base::live::Live;
use crate::camera::{CameraState, CameraStatus, Sink};
use crate::data::counters::{Outcome, Tally, Ticket};
use crate::data::frame::Frame;
use crate::data::part::{Part, PartRequest, PartStage, PartTiming};
use crate::data::picture::Picture;
use crate::data::queued_frame::QueuedFrame;
use crate::data::report::Report;
use crate::data::verdict::Reason;
use crate::line::control::{LINE_OF, LineControl, WEB_OF};
use crate::line::events::Events;
use crate::line::queue::FrameSender;
use crate::line::shared::{CameraStates, NewestFrame, NewestFrames, PRESENCE_OF, Shared};
use crate::line::views::ViewJoiner;
use crate::protocol::event::Event;
use crate::store::Store;
use crate::trigger::{
    ClockLook, LineChange, Odometer, OwnClock, Presence, Ring, RingMatches, Stretch, Stretches,
    Trigger,
};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Beginning of the diagnostics sources of cameras whose streams hide damage.
const STREAM_OF: &str = "stream of ";

/// Makes the requests for parts of one camera, or of several that see the same part.
#[derive(Debug, Clone)]
pub struct PartSource {
    /// Name of the camera, or the name that several share.
    pub camera: Arc<str>,
    /// Deadline and gate of the parts.
    pub timing: Live<PartTiming>,
    /// The line's control, which knows the regions of a view and the challenge under way.
    pub control: LineControl,
}

impl PartSource {
    /// Requests the parts in a frame.
    pub fn of(&self, frame: &Frame) -> Vec<PartRequest> {
        // The deadline runs from the frame's arrival here; the capture time is only what the result
        // tells, because a sender's clock may differ from this one's.
        let request = self.ask(frame.arrived, frame.captured_at, frame.captured);
        let request = PartRequest {
            part_id: frame.part_id.clone(),
            ..request
        };

        self.each(&request, Some(frame.captured))
    }

    /// Returns a request for the whole view; `since` is when the deadline begins, `at` the part's
    /// time, and `moment` the same on the monotonic clock.
    pub fn ask(&self, since: Instant, at: Timestamp, moment: Instant) -> PartRequest {
        PartRequest {
            camera: self.camera.clone(),
            region: None,
            part_id: None,
            count: None,
            position: None,
            since,
            at,
            moment,
            timing: self.timing.now(),
            challenge: None,
        }
    }

    /// Makes one request per region. Each claims a place among the known parts that are waited for, where it is known that
    /// the part was there since they are: `was_there` is its moment, `None` where that is in doubt.
    pub fn each(&self, request: &PartRequest, was_there: Option<Instant>) -> Vec<PartRequest> {
        // Both count: a part of before may be told late, and one that is announced ahead may be told before.
        let since = was_there.map(|moment| moment.min(request.since));
        let mut requests = vec![];
        for region in self.control.regions() {
            requests.push(PartRequest {
                region,
                challenge: since.and_then(|since| self.control.claim(&self.camera, since)),
                ..request.clone()
            });
        }

        requests
    }
}

/// The place where a camera's frames become parts; shared by its thread and the command handler.
pub struct Admission {
    /// Name of the camera.
    pub camera: Arc<str>,
    parts: PartSource,
    queue: FrameSender,
    tally: Arc<Tally>,
    views: Arc<Mutex<ViewJoiner>>,
    store: Store,
    trigger: Mutex<TriggerState>,
    /// All cameras' newest frames.
    newest_frames: NewestFrames,
    own_clock: Arc<OwnClock>,
    diagnostics: Diagnostics,
}

/// The trigger's memory of earlier frames.
enum TriggerState {
    Continuous,
    Frame,
    EveryN {
        n: u64,
        /// Number of frames so far.
        seen: u64,
    },
    Command(Ring),
    Distance {
        stretches: Stretches,
        odometer: Odometer,
    },
    Presence {
        presence: Box<Presence>,
        /// True when it was told that the trigger cannot work with the camera's pictures.
        is_told: bool,
    },
}

impl TriggerState {
    fn new(trigger: &Trigger) -> Self {
        match trigger {
            Trigger::Continuous => TriggerState::Continuous,
            Trigger::Frame => TriggerState::Frame,
            Trigger::EveryN(n) => TriggerState::EveryN { n: *n, seen: 0 },
            Trigger::Command(settings) => TriggerState::Command(Ring::new(*settings)),
            Trigger::Distance(stretches) => TriggerState::Distance {
                stretches: *stretches,
                odometer: Odometer::default(),
            },
            Trigger::Presence(settings) => TriggerState::Presence {
                presence: Box::new(Presence::new(*settings)),
                is_told: false,
            },
        }
    }
}

impl Admission {
    /// `parts` makes the camera's requests, `queue` is its place before the inspector.
    pub fn new(shared: &Shared, parts: PartSource, trigger: &Trigger, queue: FrameSender) -> Self {
        // Tallies are made for every configured camera; a missing one counts for itself alone, so
        // that a frame always has a ticket.
        let tally = shared.tallies.get(&*parts.camera);
        Admission {
            camera: parts.camera.clone(),
            queue,
            tally: tally.cloned().unwrap_or_default(),
            views: shared.views.clone(),
            store: shared.store.clone(),
            trigger: Mutex::new(TriggerState::new(trigger)),
            newest_frames: shared.newest_frames.clone(),
            own_clock: shared.own_clock.clone(),
            diagnostics: shared.diagnostics.clone(),
            parts,
        }
    }

    /// Returns the newest picture; `None` before the first.
    pub fn newest(&self) -> Option<Arc<Picture>> {
        let newest = self.newest_frames.lock();
        let newest = newest.unwrap_or_else(PoisonError::into_inner);
        newest.get(&self.camera).map(|frame| frame.picture.clone())
    }

    fn is_ready(&self) -> bool {
        !self.queue.is_waiting()
    }

    /// Takes a frame that the camera captured: the trigger says whether it is a part's.
    pub fn on_frame(&self, frame: Frame) {
        // The ticket is taken before anything can fail: from here on each frame has exactly one
        // outcome, whichever way it goes.
        let ticket = self.tally.captured();
        self.note_newest(&frame);
        let now = Instant::now();
        let mut trigger = self.trigger();
        let is_paused = self.parts.control.is_paused();
        match &mut *trigger {
            // A command that came before the pause still needs its frame.
            TriggerState::Command(ring) => {
                let look = self.own_clock.look();
                self.queue_matches(ring.put(frame, ticket, &look), &look);
            }
            // The web moves on in a pause, and is not meant to be seen.
            TriggerState::Distance {
                stretches,
                odometer,
            } if is_paused => {
                odometer.pass(frame.captured, *stretches);
                ticket.settle(Outcome::Skipped);
            }
            // Every other trigger makes parts of its own accord, and a paused line makes none.
            _ if is_paused => ticket.settle(Outcome::Skipped),
            TriggerState::Continuous => self.offer(frame, ticket),
            TriggerState::Frame => self.admit(frame, ticket, None),
            TriggerState::EveryN { n, seen } => {
                let is_part = seen.is_multiple_of(*n);
                *seen += 1;
                self.admit_if(is_part, frame, ticket, None);
            }
            TriggerState::Distance {
                stretches,
                odometer,
            } => {
                let stretch = odometer.next(frame.captured, *stretches);
                let total = odometer.unseen_mm(*stretches);
                self.admit_stretch(stretch, total, frame, ticket);
            }
            TriggerState::Presence { presence, is_told } => {
                let found = presence.on_frame(frame, ticket, now);
                self.tell_presence(found.as_ref().err(), is_told);
                if let Some(change) = presence.take_change() {
                    self.tell_line(change);
                }

                if let Ok(Some(held)) = found {
                    self.admit(held.frame, held.ticket, None);
                }
            }
        }
    }

    /// Tells when no part can be seen to come, and when it can again: not with each frame.
    fn tell_presence(&self, problem: Option<&String>, is_told: &mut bool) {
        if problem.is_some() == *is_told {
            return;
        }

        *is_told = problem.is_some();
        let camera = &self.camera;
        let source = format!("{PRESENCE_OF}{camera}");
        let Some(why) = problem else {
            return self.diagnostics.clear(&source);
        };

        tracing::error!("camera {camera}: {why}; no part will come until that is mended");
        let words = format!("{why}, and no part comes");
        self.diagnostics.set(source, Health::Failure, words);
    }

    /// Tells that an object that stayed has become the line's own; once it leaves, nothing is in doubt
    /// any more, and a belt that stood needs no `reset`.
    fn tell_line(&self, change: LineChange) {
        let source = format!("{LINE_OF}{}", self.camera);
        if change == LineChange::GivenBack {
            return self.diagnostics.clear(&source);
        }

        let words = format!(
            "what stood before the camera until {:.0} is taken for the line's own; parts that came meanwhile were not \
             seen; `reset` confirms it",
            Timestamp::now()
        );

        self.diagnostics.set(source, Health::OffSpec, words);
    }

    /// Admits the frame of a web's next stretch; `total` is the length so far that no frame showed.
    fn admit_stretch(&self, stretch: Option<Stretch>, total: f64, frame: Frame, ticket: Ticket) {
        if let Some(stretch) = stretch.filter(|stretch| stretch.unseen_mm > 0.0) {
            self.tell_unseen(stretch, total);
        }

        let position = stretch.map(|stretch| stretch.position_mm);
        self.admit_if(position.is_some(), frame, ticket, position);
    }

    /// Tells that a piece of web went by unseen; `total` is the length of all of them in millimetres.
    fn tell_unseen(&self, stretch: Stretch, total: f64) {
        self.tally.set_unseen_mm(total.round() as u64);
        let camera = &self.camera;
        let source = format!("{WEB_OF}{camera}");
        let Stretch {
            position_mm,
            unseen_mm,
        } = stretch;

        let words = format!(
            "{total:.0} mm went by that no frame shows, the last {unseen_mm:.0} mm before position {position_mm:.0} mm; \
             see the camera's rate and stretch_mm; `reset` confirms it"
        );

        if !self.diagnostics.any(|known| known == source) {
            tracing::error!("camera {camera}: {words}");
        }

        self.diagnostics.set(source, Health::OffSpec, words);
    }

    /// Keeps the newest picture for snapshots and for parts without one, and its time for triggers without
    /// a frame.
    fn note_newest(&self, frame: &Frame) {
        let newest = NewestFrame {
            captured_at: frame.captured_at,
            picture: frame.picture.clone(),
        };

        let mut frames = self
            .newest_frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);

        let before = frames.insert(self.camera.clone(), newest);
        // The last handle of a picture frees its memory, which takes longer than the others should wait.
        drop(frames);
        drop(before);
    }

    fn trigger(&self) -> MutexGuard<'_, TriggerState> {
        self.trigger
            .lock()
            .expect("no code panics while holding the trigger")
    }

    /// Offers a free-running camera's frame, whose part is accepted when the inspector takes it.
    fn offer(&self, frame: Frame, ticket: Ticket) {
        // The inspector has left, or the older frame was settled: nothing comes back.
        let _ = self.queue.put(QueuedFrame {
            frame,
            ticket: Some(ticket),
            parts: vec![],
        });
    }

    fn admit_if(&self, is_part: bool, frame: Frame, ticket: Ticket, position: Option<f64>) {
        if is_part {
            self.admit(frame, ticket, position);
        } else {
            ticket.settle(Outcome::Skipped);
        }
    }

    /// Accepts a frame's parts, durably, and queues them; `position` is in millimetres, `None` where
    /// it is not known.
    fn admit(&self, frame: Frame, ticket: Ticket, position: Option<f64>) {
        // Frame and parts are put together here: every region of the view is a part of its own, and
        // all of them share the position.
        let mut requests = self.parts.of(&frame);
        for request in &mut requests {
            request.position = position;
        }

        let Ok(parts) = self.store.accept_durable(requests) else {
            ticket.settle(Outcome::Stopped);
            return;
        };

        // The mark decides the reason at the deadline: `late` with a frame, `camera_lost` without
        // one.
        parts.iter().for_each(Part::mark_framed);
        self.queue(QueuedFrame {
            frame,
            ticket: Some(ticket),
            parts,
        });
    }

    /// Takes the parts of a command's trigger, which were there `at` that moment. A camera with another
    /// trigger ignores them.
    pub fn on_trigger(&self, parts: Vec<Part>, at: Instant) {
        parts
            .iter()
            .for_each(|part| part.times.reach(PartStage::Asked));

        if let TriggerState::Command(ring) = &mut *self.trigger() {
            let look = self.own_clock.look();
            self.queue_matches(ring.ask(parts, at, &look), &look);
        }
    }

    /// Queues the frames that were found for parts; parts without a frame are undecided.
    fn queue_matches(&self, found: RingMatches, look: &ClockLook) {
        for mut queued in found.waiting {
            // A frame that came before our clock was set tells its time by the clock as it is now, as
            // its trigger does.
            let frame = &mut queued.frame;
            frame.captured_at = look.reading.restamped(frame.captured_at, frame.captured);
            self.queue(queued);
        }

        // A part whose time has left the ring's window gets no frame any more. Its result is made
        // at once, because waiting for the deadline would tell nothing new.
        let mut missed = vec![];
        for trigger in found.missed {
            let detail = trigger.words();
            for part in trigger.parts {
                let mut report = self.undecided(part, Reason::CameraLost);
                report.detail = Some(detail.clone());
                missed.push(report);
            }
        }

        self.finish(missed);
    }

    /// Queues a frame; where the queue is full, its parts are undecided(overload).
    fn queue(&self, frame: QueuedFrame) {
        let mut views = self.views();
        for part in &frame.parts {
            views.expect_view(part, &self.camera);
        }

        drop(views);
        // A refusal gives the frame back with its parts. The frame was never looked at, so its
        // ticket says skipped, and the parts say why.
        let Err(mut refused) = self.queue.put(frame) else {
            return;
        };

        if let Some(ticket) = refused.ticket.take() {
            ticket.settle(Outcome::Skipped);
        }

        let parts = refused.parts.into_iter();
        let reports = parts.map(|part| self.undecided(part, Reason::Overload));
        self.finish(reports.collect());
    }

    fn undecided(&self, part: Part, reason: Reason) -> Report {
        let policy = self
            .parts
            .control
            .policy_for(part.request.region.as_deref());
        Report {
            seen_by: self.camera.clone(),
            ..Report::undecided(part, reason, &policy)
        }
    }

    /// Hands the reports of parts that are not judged to the store. One camera's is a view among
    /// others where several see the part.
    fn finish(&self, reports: Vec<Report>) {
        let now = Instant::now();
        let mut complete = vec![];
        let mut views = self.views();
        for report in reports {
            complete.extend(views.add(report, now));
        }

        drop(views);
        if !complete.is_empty() {
            self.store.submit(complete);
        }
    }

    fn views(&self) -> MutexGuard<'_, ViewJoiner> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera thread's end of the line: frames go to its admission, its status to all that show it.
pub struct CameraSink {
    /// The frames' way into the line.
    pub admission: Arc<Admission>,
    states: CameraStates,
    diagnostics: Diagnostics,
    events: Events,
}

impl CameraSink {
    /// The sink of one camera.
    pub fn new(shared: &Shared, admission: Arc<Admission>, events: Events) -> Self {
        CameraSink {
            admission,
            states: shared.camera_states.clone(),
            diagnostics: shared.diagnostics.clone(),
            events,
        }
    }
}

impl Sink for CameraSink {
    fn frame(&mut self, frame: Frame) {
        self.admission.on_frame(frame);
    }

    fn blind_spot(&mut self, words: Option<&'static str>) {
        let source = format!("{STREAM_OF}{}", self.admission.camera);
        match words {
            Some(words) => {
                self.diagnostics
                    .set(source, Health::MaintenanceRequired, words);
            }
            None => self.diagnostics.clear(&source),
        }
    }

    fn is_ready(&self) -> bool {
        self.admission.is_ready()
    }

    fn status(&mut self, status: CameraStatus) {
        let name = self.admission.camera.clone();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(name.clone(), status.clone());
        drop(states);
        let source = format!("camera {name}");
        match status.state {
            CameraState::Stalled | CameraState::Offline => {
                let reason = status.last_reason.as_deref().unwrap_or("no reason known");
                let words = format!("{}: {reason}", status.state.word());
                self.diagnostics.set(source, Health::Failure, words);
            }
            _ => self.diagnostics.clear(&source),
        }

        // Blocks while heat maps fill the channel: a lost change would leave the retained status
        // wrong.
        self.events.tell(Event::Camera { name, status });
    }
}

#[cfg(test)]
mod tests;
