//! What a line tells while it starts slowly: a plan is built, then compared with the CPU. Either may be silent for many
//! minutes (one fused layer of a vision transformer has tactics that take as long), so a thread of its own tells the log
//! and systemd, from the build's begin to the comparison's end, and no longer than [`LONGEST`].

use crate::base::systemd;
use crate::engine::tensorrt::BuildProgress;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How often.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// What takes longer hangs: systemd hears no more and ends it.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// Silent until something slow begins; drop it where that ends.
pub struct PrepareProgress {
    since: Instant,
    doing: Arc<Mutex<String>>,
    ticker: OnceLock<Ticker>,
}

impl PrepareProgress {
    pub fn new() -> Self {
        PrepareProgress {
            since: Instant::now(),
            doing: Arc::default(),
            ticker: OnceLock::new(),
        }
    }

    /// A plan's build begins (nothing), or is so far; from threads of the library.
    pub fn builds(&self, progress: Option<BuildProgress>) {
        self.does(match progress {
            None => "building the TensorRT plan".to_owned(),
            Some(BuildProgress { part, step }) => {
                format!(
                    "building the TensorRT plan of {}: {}, {} of {}",
                    part.file(),
                    step.phase,
                    step.done,
                    step.of
                )
            }
        });
    }

    pub fn compares(&self) {
        self.does("comparing the TensorRT plan with the CPU".to_owned());
    }

    fn does(&self, words: String) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = words;
        let (since, doing) = (self.since, self.doing.clone());
        self.ticker.get_or_init(|| {
            Ticker::start(TELL_EVERY, move || {
                let doing = doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let words = format!("{doing}, for {} s", since.elapsed().as_secs());
                tracing::info!("{words}");
                systemd::starting_slowly(&words, 10 * TELL_EVERY);
                since.elapsed() < LONGEST
            })
        });
    }
}

/// A thread that calls a function at once and every so often; it ends when this is dropped or the function says no.
struct Ticker {
    /// Never sent to: its end is heard.
    _held: Sender<()>,
}

impl Ticker {
    fn start(every: Duration, tick: impl Fn() -> bool + Send + 'static) -> Self {
        let (held, dropped) = channel::<()>();
        let work = move || {
            while tick() && dropped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {}
        };
        let started = std::thread::Builder::new()
            .name("slow-start".to_owned())
            .spawn(work);
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
