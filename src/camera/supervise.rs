//! The loop round one source, and the report of its states.

use crate::base::backoff::Backoff;
use crate::base::stop::Stop;
use crate::camera::auto_features::Automatics;
use crate::camera::source::{CameraError, Ended, Sink, Source};
use crate::camera::status::{CameraState, CameraStatus};
use crate::data::frame::Frame;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// Change of a camera's clock against ours from which on it is told again.
const CLOCK_MOVED: SignedDuration = SignedDuration::from_millis(50);
/// Shortest time between two reports of a clock that moves.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Time online after which a camera is steady: its next loss begins with the shortest wait again.
const STEADY: Duration = Duration::from_secs(10);
/// Time after which another reason of a camera that is still lost is told.
const REASON_EVERY: Duration = Duration::from_secs(30);
/// Losses in a row of a camera that is never steady, of which each is told. A camera that comes and
/// goes is then told once, and again when it stays.
const LOSSES_TOLD: u32 = 3;

/// Keeps one source running until it ends, cannot work, or the stop is given.
///
/// # Errors
/// [`CameraError::Pipeline`]: trying again would not help. Of a finite source every fault.
pub fn supervise(
    source: &mut dyn Source,
    name: &str,
    stop: &Stop,
    mut backoff: Backoff,
    sink: &mut dyn Sink,
) -> Result<(), CameraError> {
    let mut reporter = StatusReporter::new(sink, name);

    loop {
        // A try goes from opening to its end. A finite source ends at its end; an endless one that
        // ends was lost.
        let error = match source.run_once(stop, &mut reporter) {
            Ok(Ended::Stopped) => break,
            Ok(Ended::EndOfStream) if source.is_finite() => break,
            Ok(Ended::EndOfStream) => CameraError::Lost("the stream ended".to_owned()),
            // The driver gave up waiting while the line stood: it is opened again without a wait
            // and without a word.
            Ok(Ended::Quiet) => {
                reporter.quiet();

                if stop.is_stopped() {
                    break;
                }

                continue;
            }

            Err(error) => error,
        };

        // A try that lasted resets the wait, so that a camera which runs for a day is back at once.
        // Some frames are no success: a stream that ends after each of its tries would be opened
        // four times a second for ever.
        if reporter.is_steady() {
            backoff.reset();
        }

        reporter.lost(&error);

        // A file would judge its parts twice, and a pipeline that cannot work needs a person.
        if source.is_finite() || matches!(error, CameraError::Pipeline(_)) {
            return Err(error);
        }

        // The wait ends with the stop.
        if stop.stopped_within(backoff.next_wait()) {
            break;
        }

        reporter.retries += 1;
    }

    reporter.report(CameraState::Disabled);
    Ok(())
}

/// A sink that passes on a source's frames and reports its changes of state once each: online with the
/// first frame of a try, lost with the reason.
struct StatusReporter<'a> {
    sink: &'a mut dyn Sink,
    name: &'a str,
    /// The state reported last. `None` before the first.
    state: Option<CameraState>,
    retries: u64,
    last_reason: Option<String>,
    /// Time of the loss. `None` while the camera runs, and before it was first lost.
    lost_at: Option<Instant>,
    /// Time at which the state began.
    since: Timestamp,
    /// Distance of the camera's clock from ours, as it was reported last.
    clock_offset: Option<SignedDuration>,
    /// Time of the last report of a moved clock.
    clock_told_at: Option<Instant>,
    /// Time of the first frame, or of the first quiet, of this try. `None` before it.
    online_at: Option<Instant>,
    /// Losses since the camera was last steady.
    losses: u32,
    /// Time of the last report of a reason. `None` before the first.
    reason_at: Option<Instant>,
}

impl<'a> StatusReporter<'a> {
    /// A reporter of a camera that has shown nothing so far.
    fn new(sink: &'a mut dyn Sink, name: &'a str) -> Self {
        StatusReporter {
            sink,
            name,
            state: None,
            retries: 0,
            last_reason: None,
            lost_at: None,
            since: Timestamp::now(),
            clock_offset: None,
            clock_told_at: None,
            online_at: None,
            losses: 0,
            reason_at: None,
        }
    }
}

impl StatusReporter<'_> {
    /// True for a camera that has been online for a while in this try.
    fn is_steady(&self) -> bool {
        self.online_at.is_some_and(|at| at.elapsed() >= STEADY)
    }

    /// True for a camera that comes and goes, which is not told any more.
    fn is_unsteady(&self) -> bool {
        self.losses > LOSSES_TOLD
    }

    /// Reports the first fault since the camera was last online. Faults of the tries after it are for
    /// debugging only.
    fn lost(&mut self, error: &CameraError) {
        let was_steady = self.is_steady();
        self.online_at = None;

        if self.lost_at.is_some() {
            self.note_reason(error);
            return;
        }

        self.reason_at = Some(Instant::now());
        self.lost_at = Some(Instant::now());
        self.losses = if was_steady { 1 } else { self.losses + 1 };

        if self.is_unsteady() {
            self.tell_unsteady(error);
            return;
        }

        self.last_reason = Some(error.to_string());
        tracing::warn!("camera {} lost: {error}", self.name);

        // A camera that runs without frames is another fault to look for than one that is gone.
        self.report(match error {
            CameraError::Stalled(_) => CameraState::Stalled,
            _ => CameraState::Offline,
        });
    }

    /// Reports another reason of a camera that is still lost, now and then: a person who mended the
    /// first fault looks for the next one.
    fn note_reason(&mut self, error: &CameraError) {
        let words = error.to_string();
        let is_due = self.reason_at.is_none_or(|at| at.elapsed() >= REASON_EVERY);
        let is_new = self.last_reason.as_ref() != Some(&words);

        if !is_due || !is_new || self.is_unsteady() {
            tracing::debug!("camera {}: {words}", self.name);
            return;
        }

        tracing::warn!("camera {} still lost: {words}", self.name);
        self.last_reason = Some(words);
        self.reason_at = Some(Instant::now());
        self.tell(self.state.unwrap_or(CameraState::Offline));
    }

    /// Tells once that the camera comes and goes. Its state stays lost until it is steady, although
    /// its frames are judged: a state that changes with each try would say nothing.
    fn tell_unsteady(&mut self, error: &CameraError) {
        if self.losses > LOSSES_TOLD + 1 {
            tracing::debug!("camera {} lost: {error}", self.name);
            return;
        }

        let seconds = STEADY.as_secs();
        let reason = format!("it comes and goes: {error}");
        tracing::warn!(
            "camera {} lost again: {reason}; its state is told again when it stays for {seconds} s",
            self.name
        );

        self.last_reason = Some(reason);
        self.report(CameraState::Offline);
    }

    fn report(&mut self, state: CameraState) {
        self.state = Some(state);
        self.since = Timestamp::now();
        self.tell(state);
    }

    fn tell(&mut self, state: CameraState) {
        self.sink.status(CameraStatus {
            state,
            since: self.since,
            retries: self.retries,
            last_reason: self.last_reason.clone(),
            clock_offset: self.clock_offset,
        });
    }

    /// Reports the state again when the camera's clock has moved against ours. A clock that is set, or
    /// drifts, is told now and then; jitter is not.
    fn note_clock(&mut self, offset: SignedDuration) {
        let has_moved = self
            .clock_offset
            .is_none_or(|told| offset.saturating_sub(told).abs() >= CLOCK_MOVED);

        let is_due = self
            .clock_told_at
            .is_none_or(|told_at| told_at.elapsed() >= CLOCK_EVERY);

        if has_moved && is_due {
            self.clock_offset = Some(offset);
            self.clock_told_at = Some(Instant::now());

            // A camera that comes and goes still counts as lost.
            self.tell(self.state.unwrap_or(CameraState::Online));
        }
    }

    /// Reports a frame after another state.
    fn online(&mut self, frame: &Frame) {
        let since = *self.online_at.get_or_insert_with(Instant::now);

        if self.is_unsteady() {
            // The loss is over for now, so that the next one counts.
            self.lost_at = None;

            if since.elapsed() < STEADY {
                return;
            }

            tracing::info!("camera {} stays online again", self.name);
            self.losses = 0;
            self.report(CameraState::Online);
            self.retries = 0;
            return;
        }

        // A loss that is over is told with its length; a start is told with the size of the
        // pictures.
        if let Some(lost_at) = self.lost_at.take() {
            let seconds = lost_at.elapsed().as_secs();
            tracing::info!("camera {} back after {seconds} s", self.name);
        } else if self.state != Some(CameraState::Idle) {
            tracing::info!(
                "camera {} online, {} x {}",
                self.name,
                frame.picture.width(),
                frame.picture.height()
            );
        }

        self.report(CameraState::Online);
        self.retries = 0;
    }
}

impl Sink for StatusReporter<'_> {
    fn frame(&mut self, frame: Frame) {
        if self.state != Some(CameraState::Online) {
            self.online(&frame);
        }

        if let Some(offset) = frame.clock_offset {
            self.note_clock(offset);
        }

        self.sink.frame(frame);
    }

    fn is_ready(&self) -> bool {
        self.sink.is_ready()
    }

    fn automatics(&mut self, read: &mut dyn FnMut() -> Automatics) {
        self.sink.automatics(read);
    }

    fn blind_spot(&mut self, words: Option<&'static str>) {
        if let Some(words) = words {
            tracing::warn!("camera {}: {words}", self.name);
        }

        self.sink.blind_spot(words);
    }

    fn quiet(&mut self) {
        self.online_at.get_or_insert_with(Instant::now);

        if self.state == Some(CameraState::Idle) {
            return;
        }

        if let Some(lost_at) = self.lost_at.take() {
            let seconds = lost_at.elapsed().as_secs();
            tracing::info!("camera {} back after {seconds} s, idle", self.name);
        }

        self.report(CameraState::Idle);
        self.retries = 0;
    }

    fn waiting(&mut self, why: &str) {
        // The same reason is told once; the camera counts as lost until its first picture.
        if self.lost_at.is_some() && self.last_reason.as_deref() == Some(why) {
            return;
        }

        self.lost_at.get_or_insert_with(Instant::now);
        self.last_reason = Some(why.to_owned());
        tracing::warn!("camera {}: {why}", self.name);
        self.report(CameraState::Offline);
    }

    fn status(&mut self, status: CameraStatus) {
        self.sink.status(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::stop_pair;
    use crate::data::frame::tests::frame;
    use std::time::Duration;

    #[derive(Default)]
    struct SeenByLine {
        frames: usize,
        states: Vec<(CameraState, u64, Option<String>)>,
    }

    impl Sink for SeenByLine {
        fn frame(&mut self, _: Frame) {
            self.frames += 1;
        }
        fn is_ready(&self) -> bool {
            true
        }
        fn status(&mut self, status: CameraStatus) {
            self.states
                .push((status.state, status.retries, status.last_reason));
        }
    }

    /// A source whose tries each give a number of frames and then end as written.
    struct Script {
        tries: Vec<(usize, Result<Ended, CameraError>)>,
        finite: bool,
    }

    impl Source for Script {
        fn run_once(&mut self, _: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
            let (frames, ended) = self.tries.remove(0);
            for _ in 0..frames {
                sink.frame(frame("top"));
            }

            ended
        }
        fn is_finite(&self) -> bool {
            self.finite
        }
    }

    fn watched(
        finite: bool,
        tries: Vec<(usize, Result<Ended, CameraError>)>,
    ) -> (SeenByLine, Result<(), CameraError>) {
        let (_stopper, stop) = stop_pair();
        let mut seen = SeenByLine::default();
        let no_wait = Backoff::new(Duration::ZERO, Duration::ZERO);
        let ended = supervise(
            &mut Script { tries, finite },
            "top",
            &stop,
            no_wait,
            &mut seen,
        );

        (seen, ended)
    }

    #[test]
    fn a_lost_camera_is_told_once_and_again_when_it_is_back() {
        let lost = || Err(CameraError::Lost("unplugged".to_owned()));
        let stalled = Err(CameraError::Stalled(Duration::from_secs(5)));
        let (seen, ended) = watched(
            false,
            vec![
                (2, lost()),
                (0, stalled),
                (0, Ok(Ended::EndOfStream)),
                (1, Ok(Ended::Stopped)),
            ],
        );

        ended.expect("ends with the stop");
        assert_eq!(seen.frames, 3);
        let states: Vec<(CameraState, u64)> =
            seen.states.iter().map(|(s, r, _)| (*s, *r)).collect();

        assert_eq!(
            states,
            [
                (CameraState::Online, 0),
                (CameraState::Offline, 0),
                (CameraState::Online, 3),
                (CameraState::Disabled, 0)
            ]
        );

        assert_eq!(seen.states[1].2.as_deref(), Some("unplugged"));
    }

    #[test]
    fn a_camera_that_comes_and_goes_is_told_a_few_times_and_waits_longer() {
        let (_stopper, stop) = stop_pair();
        let mut tries: Vec<_> = (0..8).map(|_| (5, Ok(Ended::EndOfStream))).collect();
        tries.push((1, Ok(Ended::Stopped)));
        let mut script = Script {
            tries,
            finite: false,
        };

        let mut seen = SeenByLine::default();
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(80));
        let began = Instant::now();
        supervise(&mut script, "top", &stop, backoff, &mut seen).expect("ends with the stop");
        // 10 + 20 + 40 + 5 x 80 ms, each shortened by a quarter at most.
        assert!(began.elapsed() >= Duration::from_millis(350));
        assert_eq!(seen.frames, 41);
        let states: Vec<CameraState> = seen.states.iter().map(|(state, ..)| *state).collect();
        assert_eq!(
            states.len(),
            9,
            "three losses, one more, and the end: {states:?}"
        );
        let reasons: Vec<&str> = seen.states.iter().filter_map(|s| s.2.as_deref()).collect();
        assert!(reasons.contains(&"it comes and goes: the stream ended"));
    }

    #[test]
    fn another_reason_of_a_lost_camera_is_told_after_a_while() {
        let mut seen = SeenByLine::default();
        let mut reporter = StatusReporter::new(&mut seen, "top");

        let lost = |words: &str| CameraError::Lost(words.to_owned());
        reporter.lost(&lost("nothing listens"));
        reporter.lost(&lost("no such stream"));
        reporter.reason_at = Instant::now().checked_sub(REASON_EVERY);
        reporter.lost(&lost("nothing listens"));
        reporter.lost(&lost("no such stream"));
        reporter.lost(&lost("nothing listens"));
        let reasons: Vec<_> = seen.states.iter().filter_map(|s| s.2.as_deref()).collect();
        assert_eq!(reasons, ["nothing listens", "no such stream"]);
    }

    #[test]
    fn a_triggered_camera_that_waits_is_idle_and_never_lost() {
        let quiet = || Ok(Ended::Quiet);
        let (seen, ended) = watched(
            false,
            vec![
                (1, quiet()),
                (0, quiet()),
                (2, quiet()),
                (0, Ok(Ended::Stopped)),
            ],
        );

        ended.expect("ends with the stop");
        let states: Vec<CameraState> = seen.states.iter().map(|(state, ..)| *state).collect();
        assert_eq!(
            states,
            [
                CameraState::Online,
                CameraState::Idle,
                CameraState::Online,
                CameraState::Idle,
                CameraState::Disabled
            ]
        );

        assert!(
            seen.states
                .iter()
                .all(|(_, retries, reason)| *retries == 0 && reason.is_none())
        );
    }

    #[test]
    fn a_description_that_cannot_work_is_not_tried_again() {
        let (_, ended) = watched(
            false,
            vec![(0, Err(CameraError::Pipeline("no such element".to_owned())))],
        );

        assert!(matches!(ended, Err(CameraError::Pipeline(_))));
    }

    #[test]
    fn a_finite_source_is_read_once_even_when_it_breaks() {
        let (seen, ended) = watched(true, vec![(2, Ok(Ended::EndOfStream))]);
        ended.expect("its end is in order");
        assert_eq!(seen.frames, 2);
        let (seen, ended) = watched(
            true,
            vec![(2, Err(CameraError::Lost("cut off".to_owned())))],
        );

        assert!(matches!(ended, Err(CameraError::Lost(_))));
        assert_eq!(
            seen.states.last().map(|(state, ..)| *state),
            Some(CameraState::Offline)
        );
    }
}
