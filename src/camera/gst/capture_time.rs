//! Time of capture of a frame, from its sender, its driver or its arrival.
//!
//! An RTSP camera's sender reports (RTCP) say which NTP time belongs to which frame, and rtspsrc (since
//! 1.22) hangs that time on every frame from the first report on. v4l2src stamps each frame with the
//! driver's time, brought to the pipeline's clock (`stamped = true` in the kind's file). Else, and for a
//! camera whose clock is far off, it is the time of arrival.

use crate::data::frame::CapturedBy;
use gstreamer as gst;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Largest difference of a camera's clock from ours. A clock farther off was never set: its times mean
/// nothing.
const CLOCK_OFF_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Seconds from NTP's epoch (1900) to Unix's, RFC 868.
const NTP_TO_UNIX: SignedDuration = SignedDuration::from_secs(2_208_988_800);

/// Finder of one camera's times of capture.
pub struct CaptureClock {
    camera: Arc<str>,
    /// Time from capture to arrival, for frames without a time of their own.
    delay: Duration,
    /// True once a camera's clock that is far off was logged.
    is_logged: bool,
}

impl CaptureClock {
    /// A finder for the camera of this name.
    pub fn new(camera: Arc<str>, delay: Duration) -> Self {
        CaptureClock {
            camera,
            delay,
            is_logged: false,
        }
    }

    /// Time of capture of a sample, and its clock. `clock` is now in the pipeline's clock, `None` if
    /// time stamps are not moments of capture.
    pub fn captured(
        &mut self,
        sample: &gst::Sample,
        clock: Option<gst::ClockTime>,
    ) -> (Timestamp, CapturedBy) {
        let now = Timestamp::now();
        let delay = SignedDuration::try_from(self.delay).unwrap_or_default();
        let arrival = now.checked_sub(delay).unwrap_or(now);
        let sent = sender_time(sample).or_else(|| driver_time(sample, now, clock?));
        let Some(sent) = sent else {
            return (arrival, CapturedBy::Arrival);
        };

        let off = now.duration_since(sent);
        if off.abs() <= CLOCK_OFF_MAX {
            return (sent, CapturedBy::Sender);
        }

        if !self.is_logged {
            self.is_logged = true;
            tracing::warn!(
                "camera {}: its clock is off by {off:#}; set it (NTP). Times of arrival are used",
                self.camera
            );
        }

        (arrival, CapturedBy::Arrival)
    }
}

/// The sender's NTP time of a frame. `None` before its first report.
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
