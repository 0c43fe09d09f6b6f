//! The shadow: a second revision of the line's recipe that judges the same pictures, off the verdicts' path.
//!
//! ```text
//! command handler --wish--> changeover --prepared, one thread--> shadow stage, lowest priority
//! inspector --newest judged frame, replaces one that waits--> shadow stage --parts on which both differ--> events
//! ```
//! Nothing that judges the line ever waits for the shadow: the inspector swaps a pointer. What the shadow
//! has no time for is counted.

mod command;
pub mod handle;
pub mod stage;
