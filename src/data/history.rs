//! Questions to the history of a line, and the answers: parts that the store keeps with what was said of
//! them, counts of them, and lines of the audit log. Plain values, for the store, the doors and the
//! command line.
//!
//! An answer comes in pages, the newest first. A page holds what a short look found, which may be
//! nothing; its `next` is where the following look begins.

use crate::data::result::ResultRow;
use crate::data::verdict::{Reason, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Parts of a page at most.
pub const PAGE_MAX: u32 = 128;

/// Parts that are looked for: those that fit each value that is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// Captured then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Captured before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Verdict of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Reason of an undecided verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Camera of the part, or the name that several share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Recipe that judged: its name, or `name@revision`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The line's own name for the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_id: Option<String>,
    /// A person's word on the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Counts by this are wanted in the place of the parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<GroupKey>,
    /// Parts of a page, at most [`PAGE_MAX`], which is meant unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Beginning of the look: the `next` of the page before; the newest part unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// Property by which parts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKey {
    /// The minute of the capture, in minutes since 1970: shifts and days are sums of it, and whose clock
    /// they go by is the asker's matter.
    Minute,
    /// `name@revision` of the recipe.
    Recipe,
    /// The camera, or the name that several share.
    Camera,
    /// Place of the highest value of a failed part: the camera, the region, and where in the crop.
    Place,
    /// Reason of an undecided part.
    Reason,
}

/// Parts that have one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// The key; `None` for parts without one, such as the reason of those that passed.
    pub key: Option<String>,
    /// Parts that passed.
    pub pass: u64,
    /// Parts that failed.
    pub fail: u64,
    /// Parts that are undecided.
    pub undecided: u64,
}

impl GroupCount {
    /// Counts a part.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::Undecided => self.undecided += 1,
        }
    }
}

/// A page of the history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Parts that fit, the newest first.
    pub parts: Vec<HistoryPart>,
    /// Counts, where they were asked for. Parts of a challenge and verdicts that came late are not
    /// counted: the former are no production, and the latter were counted as undecided.
    pub groups: Vec<GroupCount>,
    /// Parts that fit and cannot be read.
    pub unreadable: u64,
    /// True while parts of before an upgrade cannot be found yet; the running line takes them in.
    pub lacks_old_parts: bool,
    /// Beginning of the next page; `None` after the last one.
    pub next: Option<u64>,
}

/// A part as the history has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPart {
    /// The result, as it was sent.
    #[serde(flatten)]
    pub row: ResultRow,
    /// True for a verdict that came after its part's result: `result/late`.
    pub late_verdict: bool,
    /// A person's last word on the part.
    pub label: Option<PartLabel>,
}

/// A person's word on a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLabel {
    /// The kind of part; `None` where there is a note alone.
    pub label: Option<String>,
    /// Words of the person.
    pub note: Option<String>,
    /// Door, and user where known.
    pub who: String,
    /// Time of the word, RFC 3339.
    pub at: String,
}

/// Lines of the audit log that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Written then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Written before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Beginning of the look: the `next` of the page before; the newest line unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A page of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Lines that fit, the newest first.
    pub lines: Vec<AuditLine>,
    /// Beginning of the next page; `None` after the last one.
    pub next: Option<u64>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Time, RFC 3339.
    pub at: String,
    /// The run that wrote it.
    pub run_id: String,
    /// The words.
    pub what: String,
}
