//! The places of a shift check that the next parts claim: the bad ones first.

use crate::line::selection::Selection;
use std::sync::Arc;
use std::time::Instant;

/// The places of a check for the parts that come next.
#[derive(Debug)]
pub struct KnownPlaces {
    /// The command that began it, whose second answer is kept.
    pub command: Selection,
    /// Parts that are requested later belong to it.
    pub since: Instant,
    /// Camera of the parts; any where `None`.
    pub camera: Option<String>,
    /// Places of bad parts.
    pub bad: Places,
    /// Places of good parts, behind those.
    pub good: Places,
}

/// Places for parts of one kind.
#[derive(Debug)]
pub struct Places {
    /// Parts carry this very allocation: that of the other kind is another one.
    pub token: Arc<str>,
    /// Number of places that no part has claimed.
    left: u32,
}

impl KnownPlaces {
    /// Claims a place for a part of `camera` that was requested, and there, at `since` or later.
    pub fn claim(&mut self, camera: &str, since: Instant) -> Option<Arc<str>> {
        let is_its_camera = self.camera.as_deref().is_none_or(|its| its == camera);

        if !is_its_camera || since < self.since {
            return None;
        }

        // The places of good parts follow without a gap: a part that comes while the last bad one is still
        // being judged is the first good one.
        self.bad.claim().or_else(|| self.good.claim())
    }
}

impl Places {
    /// So many places of that check.
    pub fn new(check: &str, parts: u32) -> Self {
        Places {
            token: check.into(),
            left: parts,
        }
    }

    fn claim(&mut self) -> Option<Arc<str>> {
        self.left = self.left.checked_sub(1)?;

        Some(self.token.clone())
    }
}
