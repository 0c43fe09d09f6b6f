//! The store: numbers and keeps every part, its result until the broker has it, and what was decided.
//!
//! ```text
//! accept --ledger: seq--> file --durable--> Part, back to who asked
//! submit --ledger: once, in order, by the deadline--> file --durable--> outbox --> publisher --PUBACK--> acked --> file
//!
//! a part's row:  open --result--> live --PUBACK---------------------------> acked
//!                  |               |  \--no room in memory--> backlog --PUBACK--> acked
//!                  |               |                          ^    \--waiting_max--> given up
//!                  \--next run-----+------------next run------/
//! ```
//! One thread, the writer ([`StoreWriter::run`]), owns the file (`database.rs`), and lends it to the thread
//! that does all work on it (`disk.rs`), of which any may wait for an fsync.
//!
//! Good path: a [`Store`] sends requests; the writer takes those that wait, applies them to the ledger
//! (`ledger.rs`, pure), commits them in one transaction (`commit.rs`), and releases to others only what
//! is committed: numbers and answers to who asked, results to the [`Outbox`]. What a result says is the
//! line's ([`ResultPolicy`]); the row ([`crate::data::result::ResultRow`]) is encoded when it is sent.
//!
//! Beside a running line, its newest results are read from a copy (`newest.rs`). Its history is searched
//! through the line itself, in short steps of the thread that has the file (`search.rs`).
//!
//! Failure paths:
//! - The broker is away: live results stay in memory up to a bound, then wait in the file, and are read
//!   back page by page; `waiting_max` bounds those.
//! - The disk fails: the line goes on, the condition says so, writes wait in memory (`pending.rs`), and
//!   the file is tried again each second.
//! - The disk hangs: the same after half a second, until it answers; deadlines go on meanwhile.
//! - The file is broken: it is moved aside, told, and another one is made (`recovery.rs`).
//! - A row cannot be read: it is moved aside within the file, and told.
//! - A crash or a power cut: what was committed is there. What was open is sent by the next run as it
//!   stands in its row: `undecided(late)`. What the broker acknowledged within the last moments comes again.
//! - A file of winspect 0.1: migrated in one transaction (`migration.rs`).
//!
//! Every bound, and what happens there, is in `bounds.rs`.

mod bounds;
mod commit;
mod count;
mod database;
mod disk;
mod error;
mod facts;
mod files;
mod handle;
mod history;
mod ledger;
mod migration;
mod newest;
mod op;
mod outbox;
mod pending;
mod policy;
mod recovery;
mod rejects;
mod retention;
mod row;
mod schema;
mod search;
mod settings;
mod statements;
mod waiting_searches;
mod writer;

#[cfg(test)]
mod against_model;
#[cfg(test)]
mod failing_disk;
#[cfg(test)]
mod hanging_disk;
#[cfg(test)]
mod layer;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod searching;
#[cfg(test)]
mod test_run;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade;

pub use self::facts::spot_of;
pub use bounds::ANSWERS_MAX;
pub use count::StoreCount;
pub use error::DatabaseError;
pub use handle::Store;
pub use newest::{HistoryCopy, newest_results};
pub use op::{Closed, Pending};
pub use outbox::{LinkLoad, Outbox, OutboxEntry, TakenMessages};
pub use policy::{KeyValue, ResultPolicy};
pub use recovery::{MOVED_ASIDE, OpenStore};
pub use rejects::Reject;
pub use retention::GIVEN_UP;
pub use row::{Previous, Recovered};
pub use search::{ASK_AGAIN, Search, SearchPage, SearchReply};
pub use settings::{StoreSettings, Sync};
pub use writer::StoreWriter;
