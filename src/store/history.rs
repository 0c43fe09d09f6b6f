//! The time by which delivered results grow old.
//!
//! A clock that is set forward, by a person, a bad time server or an empty battery, would make the
//! whole history old in a moment. So this time follows the system's clock at no more than twice the
//! speed of the time that winspect runs: a step is caught up with slowly, while the bound in bytes
//! holds as before. A clock that is set back is followed at once, which only keeps results longer.

use rusqlite::{Connection, OptionalExtension, params};
use std::time::{Duration, Instant};

/// Key in the table `kept`.
const KEY: &str = "history.clock";
/// Advance after which the time is written again: not each search is worth a commit.
const WRITE_EVERY_MS: i64 = 600_000;
/// Difference of the system's clock beyond which a step is logged.
const STEP_MS: i64 = 86_400_000;

/// The time of the history of one file.
pub(super) struct HistoryClock {
    /// Milliseconds since 1970, as far as they are believed. `None` before the first look.
    believed: Option<i64>,
    /// The time as it stands in the file.
    written: i64,
    looked: Instant,
    is_step_logged: bool,
}

impl HistoryClock {
    pub(super) fn new() -> Self {
        HistoryClock {
            believed: None,
            written: 0,
            looked: Instant::now(),
            is_step_logged: false,
        }
    }

    /// The time now, where the system's clock shows `system` milliseconds since 1970.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn now(&mut self, connection: &Connection, system: i64) -> rusqlite::Result<i64> {
        let before = match self.believed {
            Some(believed) => believed,
            None => self.begin(connection, system)?,
        };

        let ran = self.looked.elapsed();
        self.looked = Instant::now();
        let now = advanced(before, system, ran);
        self.believed = Some(now);
        self.log_step(system - now);
        self.write(connection, now)?;
        Ok(now)
    }

    /// The time that an earlier run left, or that of the newest delivered result.
    fn begin(&mut self, connection: &Connection, system: i64) -> rusqlite::Result<i64> {
        let kept = "SELECT value FROM kept WHERE key = ?";
        let kept: Option<String> = connection
            .query_row(kept, [KEY], |row| row.get(0))
            .optional()?;

        if let Some(at) = kept.and_then(|value| value.parse().ok()) {
            self.written = at;
            return Ok(at);
        }

        // A file of an earlier version: nothing in it is newer than its newest result.
        let newest = "SELECT max(at) FROM part WHERE state >= 3";
        let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0))?;
        Ok(newest.unwrap_or(system).min(system))
    }

    fn log_step(&mut self, behind_ms: i64) {
        let is_step = behind_ms > STEP_MS;
        if is_step && !self.is_step_logged {
            let days = behind_ms / STEP_MS;
            tracing::warn!(
                "the system's clock is {days} days ahead of the store's history; old results leave \
                 as if it had not been set, until winspect has run for as long"
            );
        }

        self.is_step_logged = is_step;
    }

    fn write(&mut self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        if now.abs_diff(self.written) < WRITE_EVERY_MS as u64 {
            return Ok(());
        }

        let set = "INSERT OR REPLACE INTO kept VALUES (?, ?)";
        connection.execute(set, params![KEY, now.to_string()])?;
        self.written = now;
        Ok(())
    }
}

/// The time after `before`, when the system's clock shows `system` and winspect has run for `ran`.
fn advanced(before: i64, system: i64, ran: Duration) -> i64 {
    let most = i64::try_from(2 * ran.as_millis()).unwrap_or(i64::MAX);
    system.min(before.saturating_add(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_forward_is_followed_slowly_and_one_back_at_once() {
        let second = Duration::from_secs(1);
        assert_eq!(advanced(10_000, 11_000, second), 11_000);
        assert_eq!(advanced(10_000, 900_000_000, second), 12_000);
        assert_eq!(advanced(10_000, 4_000, second), 4_000);
        assert_eq!(advanced(i64::MAX, i64::MAX, second), i64::MAX);
    }

    #[test]
    fn a_file_remembers_the_time_that_is_believed() {
        let connection = Connection::open_in_memory().expect("memory");
        let tables = "CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT);
            CREATE TABLE part (at INTEGER, state INTEGER);
            INSERT INTO part VALUES (5000000, 3), (9000000, 2)";

        connection.execute_batch(tables).expect("tables");
        let year = 31_536_000_000;
        let mut clock = HistoryClock::new();
        let first = clock.now(&connection, 5_000_000 + year).expect("a time");
        assert!(
            first - 5_000_000 < 60_000,
            "the newest delivered result, and a moment: {first}"
        );
        // Another run, a clock that is still a year ahead.
        let again = HistoryClock::new()
            .now(&connection, 5_000_000 + year)
            .expect("a time");
        assert!(again - first < 60_000, "{again}");
        // The clock is right again.
        assert_eq!(
            HistoryClock::new().now(&connection, 5_100_000).ok(),
            Some(again.min(5_100_000))
        );
    }
}
