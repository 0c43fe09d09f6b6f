//! Work of the page that may hang, on threads beside the server's: looks at folders, and writes to a file.
//!
//! Bounds: so many at once, so many that wait, and a patience. A piece of work that hangs keeps its turn until it comes
//! back, so that a disk that hangs costs those threads and no more. The work must hold nothing whose end the line's end
//! waits for, such as the store: it may outlive the line.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::timeout;

/// Pieces of work that wait for a turn.
const WAITING_MAX: usize = 64;
/// Time for a piece of work.
const PATIENCE: Duration = Duration::from_secs(5);

/// It hangs, or too many ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Turns for one kind of work.
#[derive(Clone)]
pub struct BlockingWork {
    patience: Duration,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl BlockingWork {
    /// Turns for so many at once.
    pub fn new(at_once: usize) -> Self {
        BlockingWork {
            patience: PATIENCE,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            turns: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// The same with another patience.
    pub fn within(self, patience: Duration) -> Self {
        BlockingWork { patience, ..self }
    }

    /// Does a piece of work on a thread that may wait.
    ///
    /// # Errors
    /// Where it does not end in time, or finds no place. It may end later all the same.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = self.places.try_acquire();
        let _place = place.map_err(|_: TryAcquireError| Busy)?;

        let ended = async {
            let turns = self.turns.clone();
            let turn = turns.acquire_owned().await.ok()?;

            // The turn ends with the work, whether its asker still waits or has gone.
            let done = tokio::task::spawn_blocking(move || {
                let found = work();
                drop(turn);
                found
            });

            done.await.ok()
        };

        let ended = timeout(self.patience, ended).await.ok().flatten();
        ended.ok_or(Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    #[tokio::test]
    async fn work_that_hangs_is_not_waited_for_and_takes_its_turns_alone() {
        let looks = BlockingWork::new(2).within(Duration::from_millis(50));
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..2 {
            let held = held.clone();
            let hung = looks.run(move || drop(held.lock().map(|held| held.recv())));
            assert_eq!(hung.await, Err(Busy));
        }

        let ran = looks.run(|| panic!("there is no turn left"));
        assert_eq!(ran.await, Err(Busy));
        assert_eq!(BlockingWork::new(1).run(|| 7).await, Ok(7), "others go on");

        drop(release);
        let patient = looks.within(PATIENCE);
        assert_eq!(patient.run(|| 8).await, Ok(8), "the turns come back");
    }
}
