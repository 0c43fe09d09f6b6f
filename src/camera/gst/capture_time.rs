//! Time of capture of a frame, from its sender, its driver or its arrival.
//!
//! An RTSP camera's sender reports (RTCP) say which NTP time belongs to which frame, and rtspsrc (since
//! 1.22) hangs that time on every frame from the first report on. The camera's clock is not ours: its
//! times are used for intervals alone (`sender_clock.rs`). Until the first report, which comes within
//! about 5 s, the stamps of the packets (RTP) say which frames were held up on their way. Those have no
//! time: cheap cameras whose stamps are no times are seen for [`ONSET_MAX`] as if they were held up,
//! and are then timed by arrival.
//!
//! v4l2src stamps each frame with the driver's time, brought to the pipeline's clock (`stamped = true` in
//! the kind's file), which is this machine's. Else it is the time of arrival.

use super::marks::Packet;
use crate::camera::sender_clock::SenderClock;
use crate::camera::settings::CameraSettings;
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

/// Time from a connection's first frame for which frames may be left without a time.
const ONSET_MAX: Duration = Duration::from_secs(6);
/// A frame before the first report that was held up for longer has no time.
const HELD_UP_TOLERATED: Duration = Duration::from_millis(20);
/// Number of pictures in the order of their packets after which that order counts again: a camera may
/// send none out of order for long.
const REORDERED_FOR: u32 = 1500;
/// A report that moves the time of the stamps by more corrects them.
const CORRECTED_FROM: SignedDuration = SignedDuration::from_millis(100);
/// Number of corrections in a row, all in one direction, after which stamps are no times.
const CORRECTIONS_MAX: u32 = 3;
/// Time after which a correction is none in a row any more.
const CORRECTION_OLD: Duration = Duration::from_secs(30);

/// The capture times of one camera's frames.
pub struct CaptureClock {
    camera: Arc<str>,
    /// Time from capture to arrival of a frame that is not held up on its way.
    delay: Duration,
    /// True if a frame whose time is not known yet is left out.
    needs_times: bool,
    connection: Connection,
    /// True when it was logged that the camera's clock is off.
    is_logged: bool,
}

/// What is known of one connection.
struct Connection {
    sender: SenderClock,
    /// Moment at which its first frame came to the pipeline's end. `None` before it.
    began: Option<Instant>,
    /// Time by the sender's reports less that of its stamps. `None` before the first report.
    ahead: Option<SignedDuration>,
    /// Arrival of the newest picture until now.
    newest: Option<Instant>,
    /// Number of the next pictures for which the order counts as another one than that of the packets
    /// (B-frames).
    reordered: u32,
    corrections: Corrections,
}

/// Corrections of a camera's stamps by its reports. A clock that is set corrects them once.
#[derive(Default)]
struct Corrections {
    /// The last one: the arrival of its frame, and its amount.
    last: Option<(Instant, SignedDuration)>,
    /// Number of them in a row.
    count: u32,
}

/// Time of capture of a frame.
pub struct CaptureTime {
    /// Time by our clock.
    pub at: Timestamp,
    /// The same by the monotonic clock.
    pub moment: Instant,
    /// Origin of that time.
    pub by: CapturedBy,
    /// Distance of the sender's clock from ours, positive where it is ahead. `None` without one.
    pub clock_offset: Option<SignedDuration>,
}

impl CaptureClock {
    /// A clock that has yet to learn the camera's.
    pub fn new(settings: &CameraSettings) -> Self {
        CaptureClock {
            camera: settings.name.clone(),
            delay: settings.delay,
            needs_times: settings.needs_times,
            connection: Connection::new(),
            is_logged: false,
        }
    }

    /// Forgets what was learned: another connection begins.
    pub fn begin(&mut self) {
        self.connection = Connection::new();
    }

    /// Time of capture of a sample that came at `arrived`, as `packet` from the network. `clock` is the
    /// time of the pipeline's clock now, given for a source whose stamps belong to that clock. `None` while
    /// it is not known.
    pub fn captured(
        &mut self,
        sample: &gst::Sample,
        arrived: Instant,
        packet: Option<Packet>,
        clock: Option<gst::ClockTime>,
    ) -> Option<CaptureTime> {
        let reported = sender_time(sample).map(|at| at.duration_since(Timestamp::UNIX_EPOCH));

        if let Some(packet) = packet {
            return self.by_stamps(packet, reported, arrived);
        }

        // The reports alone, where a pipeline of the plant's own hides the packets.
        if let Some(sent) = reported {
            let held_up = self.connection.sender.held_up(sent, arrived);
            return Some(self.by_sender(sent, arrived, held_up));
        }

        Some(self.by_clock(sample, arrived, clock))
    }

    fn by_clock(
        &self,
        sample: &gst::Sample,
        arrived: Instant,
        clock: Option<gst::ClockTime>,
    ) -> CaptureTime {
        let now = Timestamp::now();
        let arrival = before(now, arrived.elapsed());
        let stamped = clock.and_then(|clock| driver_time(sample, now, clock));

        if let Some(at) = stamped.filter(|at| now.duration_since(*at) <= STAMP_AGE_MAX) {
            let age = Duration::try_from(arrival.duration_since(at)).unwrap_or_default();
            return CaptureTime {
                at,
                moment: moment_before(arrived, age),
                by: CapturedBy::Sender,
                clock_offset: None,
            };
        }

        self.by_arrival(arrived)
    }

    fn by_arrival(&self, arrived: Instant) -> CaptureTime {
        let moment = moment_before(arrived, self.delay);
        CaptureTime {
            at: before(Timestamp::now(), moment.elapsed()),
            moment,
            by: CapturedBy::Arrival,
            clock_offset: None,
        }
    }

    /// Time of capture of a frame from the network that came to the pipeline's end at `at_sink`.
    /// `reported` is its time since 1970 by the sender's reports.
    fn by_stamps(
        &mut self,
        packet: Packet,
        reported: Option<SignedDuration>,
        at_sink: Instant,
    ) -> Option<CaptureTime> {
        let connection = &mut self.connection;
        let stamped = SignedDuration::try_from(packet.stamped).ok()?;
        let arrived = packet.arrived;

        if let Some(sent) = reported {
            connection.take_report(sent.saturating_sub(stamped), arrived, &self.camera);
        }

        let sent = stamped.saturating_add(connection.ahead.unwrap_or_default());
        let held_up = connection.sender.held_up(sent, arrived);
        let began = *connection.began.get_or_insert(at_sink);
        connection.reordered = match connection.newest.is_some_and(|newest| arrived < newest) {
            true => REORDERED_FOR,
            false => connection.reordered.saturating_sub(1),
        };

        connection.newest = connection.newest.max(Some(arrived));
        let is_onset = self.needs_times && at_sink.saturating_duration_since(began) < ONSET_MAX;

        if is_onset && !connection.sender.is_settled(arrived) {
            return None;
        }

        match connection.ahead {
            Some(_) if !connection.corrections.are_too_many() => {
                Some(self.by_sender(sent, arrived, held_up))
            }

            // The stamps of such pictures do not grow as they come: what was held up is not known.
            _ if connection.reordered > 0 => Some(self.by_arrival(at_sink)),
            None if is_onset && held_up > HELD_UP_TOLERATED => None,
            _ => Some(self.by_arrival(arrived)),
        }
    }

    /// Time of capture of a frame that was `held_up` on its way; `sent` is its sender's time since 1970.
    fn by_sender(
        &mut self,
        sent: SignedDuration,
        arrived: Instant,
        held_up: Duration,
    ) -> CaptureTime {
        let moment = moment_before(arrived, self.delay + held_up);
        let at = before(Timestamp::now(), moment.elapsed());
        let off = sent.saturating_sub(at.duration_since(Timestamp::UNIX_EPOCH));

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
            moment,
            by: CapturedBy::Sender,
            clock_offset: Some(off),
        }
    }
}

impl Connection {
    /// One without a frame.
    fn new() -> Self {
        Connection {
            sender: SenderClock::new(),
            began: None,
            ahead: None,
            newest: None,
            reordered: 0,
            corrections: Corrections::default(),
        }
    }

    /// Takes the time by the sender's reports less that of its stamps, with a frame that came at
    /// `arrived`.
    fn take_report(&mut self, ahead: SignedDuration, arrived: Instant, camera: &str) {
        let Some(before) = self.ahead.replace(ahead) else {
            self.sender.move_scale(ahead);
            return;
        };

        let by = ahead.saturating_sub(before);
        if by.abs() < CORRECTED_FROM || self.corrections.are_too_many() {
            return;
        }

        self.corrections.add(by, arrived);
        if self.corrections.are_too_many() {
            tracing::warn!(
                "camera {camera}: its reports correct the stamps of its pictures again and again, the last time by \
                 {:.0} ms; they are timed by their arrival",
                by.as_secs_f64() * 1e3
            );
        }
    }
}

impl Corrections {
    fn add(&mut self, by: SignedDuration, arrived: Instant) {
        let is_in_row = self.last.is_some_and(|(at, last)| {
            let age = arrived.saturating_duration_since(at);
            age < CORRECTION_OLD && last.is_positive() == by.is_positive()
        });

        self.count = if is_in_row { self.count + 1 } else { 1 };
        self.last = Some((arrived, by));
    }

    /// True once the stamps are no times, for the rest of the connection.
    fn are_too_many(&self) -> bool {
        self.count >= CORRECTIONS_MAX
    }
}

/// A moment so long before another one; that one where there is none.
fn moment_before(moment: Instant, age: Duration) -> Instant {
    moment.checked_sub(age).unwrap_or(moment)
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

    const FRAME: Duration = Duration::from_millis(40);

    struct TestCamera {
        clock: CaptureClock,
        start: Instant,
        frame: u32,
    }

    impl TestCamera {
        fn new(needs_times: bool) -> Self {
            TestCamera {
                clock: CaptureClock {
                    camera: "top".into(),
                    delay: Duration::from_millis(60),
                    needs_times,
                    connection: Connection::new(),
                    is_logged: false,
                },
                start: Instant::now(),
                frame: 0,
            }
        }

        /// The next frame, a frame's time after the one before, takes `way` ms to come. Returns how many
        /// ms after its sending it counts as captured.
        fn next(&mut self, way: u64, has_report: bool) -> Option<(i64, CapturedBy)> {
            self.frame += 1;
            let sent = self.frame * FRAME;
            let packet = Packet {
                arrived: self.start + sent + Duration::from_millis(way),
                stamped: Duration::from_secs(77) + sent,
            };

            let sent_at = SignedDuration::from_hours(500_000)
                + SignedDuration::try_from(sent).expect("short");

            let report = has_report.then_some(sent_at);
            let at_sink = packet.arrived + Duration::from_millis(12);
            let time = self.clock.by_stamps(packet, report, at_sink)?;
            let sent = self.start + sent;
            let after = time.moment.saturating_duration_since(sent).as_millis() as i64;
            let before = sent.saturating_duration_since(time.moment).as_millis() as i64;
            Some((after - before, time.by))
        }
    }

    #[test]
    fn a_frame_is_as_old_as_its_delay_and_what_held_it_up() {
        let mut camera = TestCamera::new(true);
        (0..20).for_each(|_| _ = camera.next(5, true));
        for way in [5, 90, 300, 5] {
            assert_eq!(camera.next(way, true), Some((-55, CapturedBy::Sender)));
        }
    }

    #[test]
    fn frames_of_a_burst_at_the_beginning_have_no_time() {
        let mut camera = TestCamera::new(true);
        for frame in 0..23 {
            let way = 405 - 40 * 10.min(frame);
            assert_eq!(camera.next(way, false), None, "{frame}");
        }

        let by_arrival = Some((-55, CapturedBy::Arrival));
        assert_eq!(camera.next(5, false), by_arrival);
        assert_eq!(camera.next(30, false), None, "held up, and no report yet");
        assert_eq!(camera.next(5, false), by_arrival);
        // The first report comes with a frame that was held up.
        assert_eq!(camera.next(300, true), Some((-55, CapturedBy::Sender)));
        camera.clock.begin();
        assert_eq!(camera.next(5, true), None, "another connection");
    }

    #[test]
    fn a_line_that_matches_no_times_loses_no_frame() {
        let mut camera = TestCamera::new(false);
        for way in [400, 370, 335] {
            let time = camera.next(way, false);
            assert_eq!(time, Some((way as i64 - 60, CapturedBy::Arrival)));
        }
    }

    #[test]
    fn pictures_that_are_shown_before_earlier_ones_are_timed_at_the_pipelines_end() {
        let mut camera = TestCamera::new(true);
        (0..20).for_each(|_| _ = camera.next(5, false));
        // Each second one is sent behind the one after it.
        (0..4).for_each(|n| _ = camera.next(if n % 2 == 0 { 50 } else { 5 }, false));
        let at_end = Some((50 + 12 - 60, CapturedBy::Arrival));
        assert_eq!(camera.next(50, false), at_end);
        assert_eq!(camera.next(5, true), Some((-55, CapturedBy::Sender)));
        assert_eq!(
            camera.next(50, false),
            Some((-55, CapturedBy::Sender)),
            "one without a report among those with one"
        );
    }

    #[test]
    fn a_camera_whose_stamps_are_no_times_is_timed_by_arrival() {
        let mut camera = TestCamera::new(true);
        // Each frame comes 8 ms later than its stamp says.
        let times: Vec<_> = (0..200).map(|n| camera.next(8 * n, false)).collect();
        assert!(times[20..120].iter().all(Option::is_none));
        assert!(
            times[150..]
                .iter()
                .all(|time| time.is_some_and(|(_, by)| by == CapturedBy::Arrival))
        );
    }

    /// Origin of the time of the last of 500 frames that are stamped each 40 ms and come each `apart` ms.
    /// Each hundredth has a report, by a clock that is `off` ms ahead then.
    fn last_of(apart: u64, off: impl Fn(u64) -> i64) -> CapturedBy {
        let mut camera = TestCamera::new(true);
        let mut last = None;
        for number in 0..500 {
            let of_report = number / 100 * 100;
            let reported = (apart * of_report + 40 * (number - of_report)) as i64 + off(of_report);
            let packet = Packet {
                arrived: camera.start + Duration::from_millis(apart * number),
                stamped: Duration::from_millis(40 * number),
            };

            let reported =
                SignedDuration::from_hours(500_000) + SignedDuration::from_millis(reported);
            last = camera
                .clock
                .by_stamps(packet, Some(reported), packet.arrived);
        }

        last.expect("a time").by
    }

    #[test]
    fn stamps_that_reports_correct_again_and_again_are_no_times() {
        assert_eq!(last_of(50, |_| 0), CapturedBy::Arrival);
        assert_eq!(last_of(40, |_| 0), CapturedBy::Sender);
        let set_and_set_back = |number: u64| if number % 200 == 100 { 700 } else { 0 };
        assert_eq!(last_of(40, set_and_set_back), CapturedBy::Sender);
    }

    #[test]
    fn a_camera_that_seldom_sends_out_of_order_keeps_its_measure() {
        let mut camera = TestCamera::new(true);
        (0..200).for_each(|_| _ = camera.next(5, false));
        camera.next(50, false);
        let at_end = Some((5 + 12 - 60, CapturedBy::Arrival));
        for frame in 0..1000 {
            assert_eq!(camera.next(5, false), at_end, "{frame}");
        }

        (0..500).for_each(|_| _ = camera.next(5, false));
        assert_eq!(camera.next(5, false), Some((-55, CapturedBy::Arrival)));
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
