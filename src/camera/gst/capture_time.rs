//! Time of capture of a frame, from its sender, its driver or its arrival.
//!
//! An RTSP camera's sender reports (RTCP) say which NTP time belongs to which frame, and rtspsrc (since
//! 1.22) hangs that time on every frame from the first report on. The camera's clock is not ours: its
//! times are used for intervals alone (`sender_clock.rs`). v4l2src stamps each frame with the driver's
//! time, brought to the pipeline's clock (`stamped = true` in the kind's file), which is this machine's.
//! Else it is the time of arrival.

use crate::camera::sender_clock::SenderClock;
use crate::data::frame::CapturedBy;
use gstreamer as gst;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Distance between 1900, where NTP begins, and 1970.
const NTP_TO_UNIX: SignedDuration = SignedDuration::from_secs(2_208_988_800);
/// Distance of a camera's clock from ours from which on a person is told.
const TOLD_FROM: SignedDuration = SignedDuration::from_secs(1);
/// A driver's stamp that is older is no stamp of the pipeline's clock.
const STAMP_AGE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The capture times of one camera's frames.
pub struct CaptureClock {
    camera: Arc<str>,
    /// Time from capture to arrival of a frame that is not held up on its way.
    delay: Duration,
    sender: SenderClock,
    /// True when it was logged that the camera's clock is off.
    is_logged: bool,
}

/// Time of capture of a frame.
pub struct CaptureTime {
    /// Time by our clock.
    pub at: Timestamp,
    /// Time from the capture to the arrival here.
    pub age: Duration,
    /// Origin of that time.
    pub by: CapturedBy,
    /// Distance of the sender's clock from ours, positive where it is ahead. `None` without one.
    pub clock_offset: Option<SignedDuration>,
}

impl CaptureClock {
    /// A clock that has yet to learn the camera's.
    pub fn new(camera: Arc<str>, delay: Duration) -> Self {
        CaptureClock {
            camera,
            delay,
            sender: SenderClock::new(),
            is_logged: false,
        }
    }

    /// Time of capture of a sample that came at `arrived`. `clock` is the time of the pipeline's clock
    /// now, given for a source whose stamps belong to that clock.
    pub fn captured(
        &mut self,
        sample: &gst::Sample,
        arrived: Instant,
        clock: Option<gst::ClockTime>,
    ) -> CaptureTime {
        let now = Timestamp::now();
        let arrival = before(now, arrived.elapsed());
        if let Some(sent) = sender_time(sample) {
            return self.by_sender(sent, arrival, arrived);
        }

        let stamped = clock.and_then(|clock| driver_time(sample, now, clock));
        if let Some(at) = stamped.filter(|at| now.duration_since(*at) <= STAMP_AGE_MAX) {
            return CaptureTime {
                at,
                age: Duration::try_from(arrival.duration_since(at)).unwrap_or_default(),
                by: CapturedBy::Sender,
                clock_offset: None,
            };
        }

        CaptureTime {
            at: before(arrival, self.delay),
            age: self.delay,
            by: CapturedBy::Arrival,
            clock_offset: None,
        }
    }

    /// Time of capture of a frame that its sender's clock stamped with `sent`; `arrival` and `arrived`
    /// are one moment by both of our clocks.
    fn by_sender(&mut self, sent: Timestamp, arrival: Timestamp, arrived: Instant) -> CaptureTime {
        let since_1970 = sent.duration_since(Timestamp::UNIX_EPOCH);
        let age = self.delay + self.sender.held_up(since_1970, arrived);
        let at = before(arrival, age);
        let off = sent.duration_since(at);
        if off.abs() >= TOLD_FROM && !self.is_logged {
            self.is_logged = true;
            let direction = if off.is_positive() { "ahead" } else { "behind" };
            tracing::warn!(
                "camera {}: its clock is {:.1} s {direction} of ours, and used for intervals alone; set it (NTP)",
                self.camera,
                off.as_secs_f64().abs()
            );
        }

        CaptureTime {
            at,
            age,
            by: CapturedBy::Sender,
            clock_offset: Some(off),
        }
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}

/// The sender's time of a sample, which rtspsrc hangs on it as an NTP time. `None` before the first
/// report.
fn sender_time(sample: &gst::Sample) -> Option<Timestamp> {
    let buffer = sample.buffer()?;
    let meta = buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(is_ntp)?;

    let nanos = i64::try_from(meta.timestamp().nseconds()).ok()?;
    let since_1900 = SignedDuration::from_nanos(nanos);
    Timestamp::UNIX_EPOCH
        .checked_add(since_1900 - NTP_TO_UNIX)
        .ok()
}

fn is_ntp(meta: &gst::meta::MetaRef<'_, gst::ReferenceTimestampMeta>) -> bool {
    meta.reference()
        .structure(0)
        .is_some_and(|caps| caps.name() == "timestamp/x-ntp")
}

/// The driver's time of a frame, by its time stamp. `None` if it has none.
fn driver_time(sample: &gst::Sample, now: Timestamp, clock: gst::ClockTime) -> Option<Timestamp> {
    let pts = sample.buffer()?.pts()?;
    let segment = sample.segment()?;
    let stamp = segment
        .downcast_ref::<gst::ClockTime>()?
        .to_running_time(pts)?;

    stamped_at(now, clock.nseconds(), stamp.nseconds())
}

/// Time of capture of a frame whose stamp is `stamp` in the clock that shows `clock` now, both in
/// nanoseconds. A stamp of the future, by rounding or a driver's other clock, is now.
fn stamped_at(now: Timestamp, clock: u64, stamp: u64) -> Option<Timestamp> {
    let age = i64::try_from(clock.saturating_sub(stamp)).ok()?;
    now.checked_sub(SignedDuration::from_nanos(age)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_frame_is_as_old_as_its_delay_and_what_held_it_up() {
        let delay = Duration::from_millis(60);
        let mut clock = CaptureClock::new("top".into(), delay);
        let sent: Timestamp = "2026-01-01T00:00:10Z".parse().expect("a time");
        let arrival: Timestamp = "2026-01-01T00:00:11Z".parse().expect("a time");
        let arrived = Instant::now();
        let first = clock.by_sender(sent, arrival, arrived);
        assert_eq!((first.age, first.at), (delay, before(arrival, delay)));
        // The next one, 40 ms later by its sender, comes 90 ms later.
        let later = Duration::from_millis(90);
        let sent = sent + SignedDuration::from_millis(40);
        let arrival = arrival + SignedDuration::from_millis(90);
        let second = clock.by_sender(sent, arrival, arrived + later);
        assert_eq!(second.age, Duration::from_millis(110));
    }

    #[test]
    fn a_stamp_is_as_old_as_the_pipelines_clock_says() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().expect("a time");
        let at = |clock, stamp| stamped_at(now, clock, stamp).map(|at| at.to_string());
        assert_eq!(
            at(5_000_000_000, 4_750_000_000).as_deref(),
            Some("2026-01-01T00:00:09.75Z")
        );

        assert_eq!(at(7, 7).as_deref(), Some("2026-01-01T00:00:10Z"));
        assert_eq!(
            at(7, 9).as_deref(),
            Some("2026-01-01T00:00:10Z"),
            "never in the future"
        );

        assert_eq!(at(u64::MAX, 0), None);
    }
}
