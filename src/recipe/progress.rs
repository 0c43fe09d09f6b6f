//! Progress of a slow start: a TensorRT plan is built, then compared with the CPU; calibration pictures
//! are judged.
//!
//! Each may be silent for many minutes (one fused layer of a vision transformer has tactics that take
//! as long, and a rate of 0.5 % asks for 199 pictures). So a thread of its own tells the log and systemd,
//! from the begin of the work to its end, and no longer than `LONGEST`.

use crate::base::systemd;
use crate::engine::tensorrt::BuildProgress;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Time between two messages.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Time after which a start is taken to hang: systemd is told no more, and ends it.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// Tells nothing until something slow begins; drop it where that ends.
pub struct PrepareProgress {
    since: Instant,
    doing: Arc<Mutex<String>>,
    ticker: OnceLock<Ticker>,
}

impl Default for PrepareProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl PrepareProgress {
    /// Begins to count the time.
    pub fn new() -> Self {
        PrepareProgress {
            since: Instant::now(),
            doing: Arc::default(),
            ticker: OnceLock::new(),
        }
    }

    /// Tells that a plan's build begins (`None`) or how far it is. Called from threads of the library.
    pub fn builds(&self, progress: Option<BuildProgress>) {
        // There are no figures before the first phase of a build.
        self.tell(match progress {
            None => "building the TensorRT plan".to_owned(),
            Some(BuildProgress { part, step }) => format!(
                "building the TensorRT plan of {}: {}, {} of {}",
                part.file(),
                step.phase,
                step.done,
                step.of
            ),
        });
    }

    /// Tells that a plan is compared with the CPU.
    pub fn compares(&self) {
        self.tell("comparing the TensorRT plan with the CPU".to_owned());
    }

    /// Tells that pictures of known parts are judged; `kind` names them.
    pub fn judges(&self, kind: &str) {
        self.tell(format!("judging the {kind} pictures"));
    }

    fn tell(&self, words: String) {
        // The step is replaced, not queued: only the latest one is of interest.
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = words;
        // The thread starts with the first step, and only once: most starts build nothing.
        self.ticker.get_or_init(|| {
            let since = self.since;
            let doing = self.doing.clone();
            Ticker::start(TELL_EVERY, move || tell_systemd(since, &doing))
        });
    }
}

/// Tells the log and systemd; false when the start has taken too long.
fn tell_systemd(since: Instant, doing: &Mutex<String>) -> bool {
    // A poisoned lock still holds whole words, since they are replaced at once.
    let doing = doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let words = format!("{doing}, for {} s", since.elapsed().as_secs());
    tracing::info!("{words}");
    // Ten ticks of time are asked for, so that a late tick does not end the start.
    systemd::starting_slowly(&words, 10 * TELL_EVERY);
    // A build that takes longer than this hangs; without more time systemd ends it.
    since.elapsed() < LONGEST
}

/// A thread that calls a function at once and every so often. It ends when this is dropped, or when the
/// function returns false.
struct Ticker {
    /// Never sent to; its end is heard.
    _held: Sender<()>,
}

impl Ticker {
    fn start(every: Duration, tick: impl Fn() -> bool + Send + 'static) -> Self {
        // The sender is held by the ticker and sends nothing: dropping it ends the thread's wait at
        // once.
        let (held, dropped) = channel::<()>();
        let started = std::thread::Builder::new()
            .name("slow-start".to_owned())
            .spawn(move || {
                while tick() && dropped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {}
            });

        // Progress is a courtesy: without the thread the start goes on, and may be too slow for
        // systemd.
        if let Err(error) = started {
            tracing::warn!("systemd is not told that the start is slow: no thread: {error}");
        }

        Ticker { _held: held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_tells_without_being_asked_and_ends_when_it_is_dropped_or_told_to() {
        let (sender, ticks) = channel();
        let ticker = Ticker::start(Duration::from_millis(1), move || sender.send(()).is_ok());
        (0..5).for_each(|_| ticks.recv().expect("it ticks"));
        drop(ticker);
        while ticks.recv().is_ok() {}
        let (sender, ticks) = channel();
        let _ticker = Ticker::start(Duration::from_millis(1), move || sender.send(()).is_err());
        assert_eq!(ticks.iter().count(), 1, "the function said no");
    }
}
