//! The cameras that one trigger means.

use crate::line::admission::{Admission, PartSource};
use std::sync::Arc;

/// Cameras that see the parts of one trigger: one alone, or several under one name.
pub struct CameraGroup {
    /// Source of their parts.
    pub source: PartSource,
    /// The cameras.
    pub cameras: Vec<Arc<Admission>>,
    /// True if a trigger must say the part's time.
    pub requires_at: bool,
}

impl CameraGroup {
    /// Refuses a trigger that says no time, where that is required.
    ///
    /// # Errors
    /// The reason, in words for the sender.
    pub fn check_without_at(&self) -> Result<(), String> {
        if !self.requires_at {
            return Ok(());
        }

        let camera = &self.source.camera;
        Err(format!(
            "at is missing, and {camera} has require_at = true; say when the part was there"
        ))
    }
}
