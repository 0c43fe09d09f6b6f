//! The effect of another recipe, revision or threshold on the last parts and on the known bad ones.

use super::{ReplayError, ReplaySummary, Replayed, Replayer};
use crate::engine::EngineError;
use crate::evidence::kept;
use crate::protocol::what_if::{CHANGES_MAX, WhatIf, WhatIfChange};
use std::path::Path;

/// An effect that is being found out, part by part.
#[derive(Debug, Default)]
pub struct Effect {
    summary: ReplaySummary,
    changes: Vec<WhatIfChange>,
}

impl Effect {
    /// Judges the part whose files have this stem, and counts it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn see(
        &mut self,
        replayer: &mut Replayer,
        folder: &Path,
        stem: &str,
    ) -> Result<(), EngineError> {
        let replayed = match kept::read(folder, stem) {
            Ok(kept) => replayer.replay(&kept),
            Err(error) => Err(ReplayError::of(error)),
        };

        match replayed {
            Ok(replayed) => {
                self.summary.add(&replayed);
                self.note(&replayed);
                Ok(())
            }
            Err(ReplayError::NotJudged(why)) => {
                self.summary.add_not_judged(&why);
                Ok(())
            }
            Err(ReplayError::Engine(error)) => Err(error),
        }
    }

    fn note(&mut self, replayed: &Replayed) {
        if replayed.is_changed() && self.changes.len() < CHANGES_MAX {
            self.changes.push(WhatIfChange {
                part: replayed.part.clone(),
                verdict: replayed.now.verdict,
            });
        }
    }

    /// The effect of all parts that were seen.
    pub fn told(self, replayer: &Replayer) -> WhatIf {
        let Effect { summary, changes } = self;
        let (bad_found, bad_parts) = replayer.known_bad();

        WhatIf {
            recipe: replayer.recipe().to_owned(),
            backend: replayer.backend().to_owned(),
            parts: summary.parts - summary.not_judged(),
            failed: summary.failed,
            would_fail: summary.would_fail,
            passes_more: summary.passes_more,
            fails_more: summary.fails_more,
            undecided_would_pass: summary.undecided_would_pass,
            undecided_would_fail: summary.undecided_would_fail,
            would_be_undecided: summary.would_be_undecided,
            not_judged: summary.not_judged(),
            bad_found,
            bad_parts,
            changes,
        }
    }
}
