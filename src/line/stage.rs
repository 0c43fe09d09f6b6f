//! A stage: a named thread of the line, with its sign of life and the failure that it ends with.

use crate::base::exit::{Exit, Failure};
use crate::base::systemd::Heartbeat;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two looks at a stage that should end.
const LOOK: Duration = Duration::from_millis(10);

/// A thread of the line.
pub struct Stage {
    name: String,
    /// The sign of life that the stage must give; `None` where its being busy does not stop the line.
    heartbeat: Option<Heartbeat>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Stage {
    /// Starts a stage that must give a sign of life in every round of its loop.
    pub fn start(
        name: &str,
        work: impl FnOnce(&Heartbeat) -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        let heartbeat = Heartbeat::default();
        let own = heartbeat.clone();
        Stage {
            name: name.to_owned(),
            heartbeat: Some(heartbeat),
            thread: spawn(name, move || {
                let outcome = work(&own);
                own.end();
                outcome
            }),
        }
    }

    /// Starts a stage that may be busy for as long as its work takes.
    pub fn start_unwatched(
        name: &str,
        work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        Stage {
            name: name.to_owned(),
            heartbeat: None,
            thread: spawn(name, work),
        }
    }

    /// Returns true when the stage's thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Returns the stage's name and sign of life, while it runs and must give one.
    pub fn pulse(&self) -> Option<(&str, &Heartbeat)> {
        let heartbeat = self.heartbeat.as_ref()?;
        (!self.has_ended()).then_some((self.name.as_str(), heartbeat))
    }

    /// Waits for the stage's end, and leaves its thread behind if that does not come in time: a write to a share
    /// may hang for ever.
    ///
    /// # Errors
    /// As [`Stage::join`].
    pub fn join_within(self, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() >= until {
                tracing::warn!("{} hangs, and is left behind", self.name);
                return Ok(());
            }

            std::thread::sleep(LOOK);
        }

        self.join()
    }

    /// Waits for the stage's end.
    ///
    /// # Errors
    /// The failure that the stage ended with, after the stage's name.
    pub fn join(self) -> Result<(), Failure> {
        // The panic hook has ended the process already, unless a test replaced it.
        let ended = self
            .thread
            .join()
            .unwrap_or_else(|_| Err(Failure::words(Exit::Software, "panicked")));

        ended.map_err(|failure| {
            tracing::error!("{} ended the line: {failure}", self.name);
            let message = format!("{}: {}", self.name, failure.message);
            Failure {
                exit: failure.exit,
                message,
            }
        })
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> JoinHandle<Result<(), Failure>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("a thread can be started")
}

/// Makes a panic in any thread name its stage and end the process with 70; systemd starts it again.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        eprintln!(
            "winspect: a bug in the stage {}: {panic}; please report it",
            thread.name().unwrap_or("unnamed")
        );

        std::process::exit(Exit::Software as i32);
    }));
}
