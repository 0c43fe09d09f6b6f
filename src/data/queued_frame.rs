//! A frame on its way from a camera's trigger to the inspector, with its parts.

use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::part::Part;

/// A frame with the parts that are judged on it.
#[derive(Debug)]
pub struct QueuedFrame {
    /// The camera's picture and times.
    pub frame: Frame,
    /// The frame's ticket. `None` if another part has it.
    pub ticket: Option<Ticket>,
    /// The parts that the frame shows; empty for a free-running camera, whose parts are accepted
    /// when the inspector takes the frame.
    pub parts: Vec<Part>,
}

impl QueuedFrame {
    /// Settles the frame's ticket, unless another part has it.
    pub fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.settle(outcome);
        }
    }
}
