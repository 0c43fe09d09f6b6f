//! A frame on its way from a camera's trigger to the inspector, with its parts.

use super::counters::{Outcome, Ticket};
use super::frame::Frame;
use super::part::Part;

/// A frame with the parts that are judged on it.
#[derive(Debug)]
pub struct QueuedFrame {
    /// The camera's picture and times.
    pub frame: Frame,
    /// The duty to account for the frame; `None` where another part has it.
    pub ticket: Option<Ticket>,
    /// The parts that the frame is of; empty for a free-running camera, whose parts are accepted
    /// when the inspector takes the frame.
    pub parts: Vec<Part>,
}

impl QueuedFrame {
    /// Accounts for the frame, where no other part has its ticket.
    pub fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.settle(outcome);
        }
    }
}
