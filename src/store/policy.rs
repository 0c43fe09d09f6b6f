//! The line's part in the store: how a part is judged, said and kept. Implemented by the line.

use super::rejects::Reject;
use crate::data::part::Part;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::result::ResultRow;

/// A value that later runs find under its key; an empty value is none.
pub type KeyValue = (String, String);

/// The store's questions to the line. Asked by the store's thread alone.
pub trait ResultPolicy: Send {
    /// The recipe, threshold and fallback by which the part is judged, as results name them.
    fn policy_for(&self, part: &Part) -> DecisionPolicy;

    /// The last word on an undecided part at its deadline: another view of it may have failed.
    fn at_deadline(&self, undecided: Report) -> Report;

    /// Takes note of a result that stands; returns what is kept with it in the same transaction.
    fn on_result(&self, report: &Report) -> Vec<KeyValue>;

    /// Takes note of a result that is committed: others may hear of it from now on.
    fn on_released(&self, row: &ResultRow);

    /// The row that is kept and sent.
    fn encode(&self, report: &Report) -> ResultRow;

    /// The message to the gate, where the line asks for one.
    fn reject_message(&self, report: &Report) -> Option<Reject>;
}
