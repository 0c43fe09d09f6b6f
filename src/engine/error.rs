//! The error of every engine, by what its reader can do about it.

/// Failure of an engine. The message is complete: what failed, and what helps.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The library, the device or the plan cannot be had: exit 69.
    #[error("{0}")]
    Unavailable(String),
    /// The plan asks for what the model cannot do (scale beyond the grid, block beyond the last):
    /// exit 78.
    #[error("{0}")]
    Plan(String),
    /// The model folder does not hold what it says: exit 65.
    #[error("{0}")]
    Model(String),
    /// One call failed; the next may not.
    #[error("the engine failed on a picture: {0}")]
    Run(String),
}
