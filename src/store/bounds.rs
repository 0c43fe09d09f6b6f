//! Every bound of the store, in the order in which a part meets them, and what happens there.
//!
//! Two more are the line's settings ([`super::StoreSettings`]): `waiting_max`, beyond which the oldest
//! waiting results are given up, and `keep`/`keep_bytes`, beyond which delivered ones leave the file.

use std::time::Duration;

/// Capacity of the request channel. Senders block when it is full.
pub(super) const OPS: usize = 4096;
/// Requests in one transaction; the next ones wait for the next.
pub(super) const BATCH_OPS: usize = 256;
/// Live results in memory; beyond, the oldest wait in the file.
pub(super) const LIVE_MAX: usize = 2048;
/// The same while the disk is busy and does not fail: they are written once it answers.
pub(super) const LIVE_MAX_BUSY: usize = 8 * LIVE_MAX;
/// Results that are read from the file at once.
pub(super) const PAGE_ROWS: usize = 512;

/// Results in memory that are put aside, because the broker refuses them alone or ends the connection
/// at them; for one more, the one whose next try is farthest waits in the file for [`ASIDE_LONGEST`].
pub(super) const ASIDE_MAX: usize = 64;
/// Results on that way to the file. While a disk that fails lets it grow so long, one more that is
/// refused is tried as if the broker refused all of them, and one that is too large is given up.
pub(super) const LEAVING_MAX: usize = LIVE_MAX;
/// Time until the first of them is tried again; each later wait is twice as long.
pub(super) const ASIDE_FIRST: Duration = Duration::from_secs(30);
/// Longest such wait.
pub(super) const ASIDE_LONGEST: Duration = Duration::from_secs(3600);
/// Time for which such a try waits for a link on which nothing else is on its way.
pub(super) const ASIDE_PATIENCE: Duration = Duration::from_secs(10);
/// Doublings after which the wait is the longest.
pub(super) const ASIDE_DOUBLED: u32 = 7;

/// Rejected parts between the cameras and the gates; beyond, the last ones to arrive are not told.
pub(super) const REJECTS_MAX: usize = 1024;

/// Acknowledgements are written along with what somebody waits for, alone after this time. Until
/// then a crash makes the same result come again, as a lost PUBACK would.
pub(super) const ACK_WAIT: Duration = Duration::from_millis(50);
/// Acknowledgements that are written without waiting any longer.
pub(super) const ACKS_MAX: usize = 2048;

/// Time of a commit for which results wait in any case, a part that is due among them: what a disk takes
/// now and then.
pub(super) const HANG_MIN: Duration = Duration::from_millis(100);
/// Time of a commit for which results wait at most: beyond, they leave from memory, as with a disk that
/// fails. Half of the usual deadline, so that triggers that came meanwhile can still be judged.
pub(super) const HANG_MAX: Duration = Duration::from_millis(500);
/// Interval in which a disk that hangs is looked at.
pub(super) const HANG_LOOK: Duration = Duration::from_millis(20);
/// Time of a commit beyond which the disk is slow, and told so.
pub(super) const SLOW_COMMIT: Duration = Duration::from_secs(1);
/// Time without a slow commit after which the disk is well again.
pub(super) const WELL_AGAIN: Duration = Duration::from_secs(60);
/// Pause between two attempts to write to a disk that failed.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Pause between two attempts to open a file that could not be used, at most: the first is [`RETRY`],
/// and each is twice the one before.
pub(super) const REOPEN_MOST: Duration = Duration::from_secs(60);
/// Writes that a failing disk leaves in memory; beyond, they are compacted.
pub(super) const PENDING_MAX: usize = 50_000;
/// Writes that stay then, the newest of each kind. Results that are owed always stay.
pub(super) const PENDING: PendingMax = PendingMax {
    answers: 20_000,
    notes: 2000,
    late: 10_000,
};

/// Writes of each kind that stay in memory while the disk fails.
pub(super) struct PendingMax {
    /// Answers to commands.
    pub answers: usize,
    /// Lines of the audit log.
    pub notes: usize,
    /// Verdicts that came after their part's result, and wait for the broker.
    pub late: usize,
}

/// Pages of 4 kB in the log that are taken over into the file when no part is open: that takes two
/// fsyncs, and in the commit of a part it would be that part's time. 500 take 2 ms on a virtual SSD,
/// over before the next part of a line comes; 125 took 1 ms there, so that fewer are more time in all.
pub(super) const LOG_QUIET_PAGES: u64 = 500;
/// Pages that are taken over in any case, so that the log is bounded where a part is always open:
/// 16 MB and a transaction. It takes 11 ms there, once in about a thousand commits.
pub(super) const LOG_PAGES_MAX: u64 = 4000;

/// Pause between two searches for old rows.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(10);
/// Rows that one search takes away: it must not hold a verdict up.
pub(super) const TIDIED_ROWS: u64 = 2000;
/// Time for which a command's id is known, counted while winspect runs.
pub(super) const ANSWERS_KEPT: Duration = Duration::from_secs(3600);
/// Ids that are known, the newest: an hour of 50 a second.
pub const ANSWERS_MAX: usize = 180_000;
/// Runs whose last numbers are kept.
pub(super) const RUNS_KEPT: i64 = 100;
/// Lines of the audit log that are kept.
pub(super) const AUDIT_KEPT: i64 = 100_000;
/// Unreadable rows that are kept, the newest.
pub(super) const UNREADABLE_KEPT: i64 = 10_000;
/// Rows that a migration reads at once.
pub(super) const MIGRATED_ROWS: usize = 1000;

/// Time of one step of a search in the history: a commit that comes meanwhile waits for it.
pub(super) const SEARCH_STEP: Duration = Duration::from_millis(2);
/// Searches that wait; one more is refused. Each door has fewer under way.
pub(super) const SEARCHES_MAX: usize = 64;
/// Parts of before an upgrade that are taken into the history at once.
pub(super) const SEARCH_TAKEN_IN: i64 = 500;
