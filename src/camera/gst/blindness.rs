//! The time for which a camera is blind: its stream goes on, and none of its pictures is whole,
//! because a key frame does not come, or comes damaged.
//!
//! Some cameras send one key frame to each connection, others send intra pictures at which nothing
//! says that decoding may begin. After damage such a stream stays corrupt for ever, and a new
//! connection heals it. A camera whose key frames are far apart is waited for: the bound follows the
//! distance that was seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Least time of blindness before the camera is opened again: most cameras send a key frame within
/// four seconds, and each new connection costs one or two.
const LEAST: Duration = Duration::from_secs(10);
/// Longest time of blindness, and the longest wait of a camera that sends for its first key frame;
/// longer intervals are set by nobody who wants pictures.
pub const MOST: Duration = Duration::from_secs(120);
/// Most time that counts between two pictures: a process, or a line, that stood still was not blind.
const STEP: Duration = Duration::from_secs(1);

/// The blindness of one camera, over all its connections. Clones share it.
#[derive(Clone, Default)]
pub struct Blindness(Arc<Mutex<Watch>>);

/// Times are sums of the distances between pictures, each [`STEP`] at most.
#[derive(Default)]
struct Watch {
    /// Longest time between two key frames of one connection.
    distance: Duration,
    /// Connections in a row that were blind, and were whole for less than [`LEAST`] before.
    blind_tries: u32,
    /// The connection that is open.
    now: Connection,
}

#[derive(Default)]
struct Connection {
    /// Time since its last key frame. `None` before the first.
    since_key: Option<Duration>,
    /// Time for which its pictures were whole.
    whole: Duration,
    /// Time since the last whole picture.
    blind: Duration,
    /// Cause of the blindness.
    cause: Option<Arc<str>>,
}

impl Blindness {
    /// Starts a new connection.
    pub fn begin(&self) {
        self.lock().now = Connection::default();
    }

    /// Takes a picture of the stream, `step` after the one before. `cause` says why pictures that are
    /// predicted from the ones before are corrupt now.
    pub fn picture(&self, step: Duration, is_key: bool, cause: Option<Arc<str>>) {
        self.lock().picture(step.min(STEP), is_key, cause);
    }

    /// The words with which the connection ends, once the camera is blind for too long.
    pub fn ends(&self) -> Option<String> {
        self.lock().ends()
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn picture(&mut self, step: Duration, is_key: bool, cause: Option<Arc<str>>) {
        let now = &mut self.now;
        let since_key = now.since_key.map(|since| since + step);
        now.since_key = since_key;

        if is_key {
            // A damaged key frame shows the distance as well as a whole one.
            self.distance = self.distance.max(since_key.unwrap_or_default());
            now.since_key = Some(Duration::ZERO);
        }

        match cause {
            Some(cause) => {
                now.blind += step;
                now.cause = Some(cause);
            }

            None => {
                now.whole += step;
                now.blind = Duration::ZERO;
            }
        }
    }

    /// Longest blindness of this connection. Two key frames may be lost in a row, and an intra refresh
    /// takes a whole distance from its beginning to its end.
    fn bound(&self) -> Duration {
        // A key frame before all others is waited for, as a decoder that shows nothing is.
        if self.now.since_key.is_none() {
            return MOST;
        }

        // A camera that a new connection does not heal is opened ever more rarely.
        let bound = LEAST + 2 * self.distance;
        let tries = self.blind_tries.min(8);

        (bound * (1 << tries)).min(MOST)
    }

    fn ends(&mut self) -> Option<String> {
        if self.now.blind < self.bound() {
            return None;
        }

        let was_well = self.now.whole >= LEAST;
        self.blind_tries = if was_well { 0 } else { self.blind_tries + 1 };
        let seconds = self.now.blind.as_secs();
        let cause = self.now.cause.as_deref().unwrap_or("unknown");
        Some(format!(
            "no picture was whole for {seconds} s, and no whole key frame came (of the last one: {cause}); \
             it is opened again, because cameras begin with a key frame. Set its key frame interval to a \
             second or two"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// Tenths of a second of damaged pictures until the connection ends.
    fn tenths(blindness: &Blindness, is_key: impl Fn(u32) -> bool) -> u32 {
        for tenth in 1..10_000 {
            let cause: Arc<str> = "slices are missing".into();
            blindness.picture(TENTH, is_key(tenth), Some(cause));
            if let Some(words) = blindness.ends() {
                assert!(words.contains("slices are missing"), "{words}");
                return tenth;
            }
        }

        panic!("it never ends");
    }

    /// Whole pictures for some tenths of a second, with key frames so far apart.
    fn is_whole(blindness: &Blindness, tenths: u32, distance: u32) {
        for tenth in 0..tenths {
            blindness.picture(TENTH, tenth % distance == 0, None);
            assert_eq!(blindness.ends(), None);
        }
    }

    #[test]
    fn a_stream_without_further_key_frames_ends_ten_seconds_after_damage() {
        let blindness = Blindness::default();
        is_whole(&blindness, 500, 1000);
        assert_eq!(tenths(&blindness, |_| false), 100);
    }

    #[test]
    fn the_bound_follows_the_distance_of_key_frames() {
        let blindness = Blindness::default();
        is_whole(&blindness, 650, 300);
        assert_eq!(tenths(&blindness, |_| false), 700);

        // The distance is known to later connections.
        blindness.begin();
        is_whole(&blindness, 150, 300);
        assert_eq!(tenths(&blindness, |_| false), 700);
    }

    #[test]
    fn a_key_frame_ends_the_blindness() {
        let blindness = Blindness::default();
        is_whole(&blindness, 20, 10);
        for _ in 0..20 {
            blindness.picture(TENTH, false, Some("slices are missing".into()));
            is_whole(&blindness, 1, 1);
        }

        // Two of the key frames were 1.1 s apart.
        assert_eq!(tenths(&blindness, |_| false), 100 + 2 * 11);
    }

    #[test]
    fn the_first_key_frame_is_waited_for() {
        let blindness = Blindness::default();
        assert_eq!(tenths(&blindness, |_| false), 1200);
    }

    #[test]
    fn a_camera_that_no_connection_heals_is_opened_ever_more_rarely() {
        let blindness = Blindness::default();
        let mut found = vec![];
        for _ in 0..6 {
            blindness.begin();
            is_whole(&blindness, 1, 1);
            found.push(tenths(&blindness, |_| false));
        }

        assert_eq!(found, [100, 200, 400, 800, 1200, 1200]);
        blindness.begin();
        is_whole(&blindness, 100, 1000);
        tenths(&blindness, |_| false);
        blindness.begin();
        is_whole(&blindness, 1, 1);
        assert_eq!(tenths(&blindness, |_| false), 100);
    }

    #[test]
    fn a_process_that_stood_still_was_not_blind() {
        let blindness = Blindness::default();
        is_whole(&blindness, 20, 1000);
        let long = Duration::from_secs(3600);
        blindness.picture(long, false, Some("slices are missing".into()));
        assert_eq!(blindness.ends(), None);
    }
}
