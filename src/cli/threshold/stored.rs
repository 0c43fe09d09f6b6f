//! The line's stored parts under another threshold.

use crate::data::result::ResultRow;
use crate::data::verdict::Verdict;
use crate::store::newest_results;
use std::path::Path;

/// Stored parts of one recipe and region, the newest first.
pub struct StoredParts(Vec<ResultRow>);

impl StoredParts {
    /// Reads the newest `count` parts that a recipe (`name@revision`) has judged. Parts of a challenge
    /// are no production.
    ///
    /// # Errors
    /// When the store cannot be read, in words.
    pub fn read(
        store: &Path,
        recipe: &str,
        region: Option<&str>,
        count: usize,
    ) -> Result<Self, String> {
        // Scores of other recipes are of another scale.
        let is_wanted = |row: &ResultRow| {
            row.recipe == recipe
                && row.region.as_deref() == region
                && row.score.is_some()
                && row.challenge.is_none()
                && row.verdict != Verdict::Undecided
        };

        newest_results(store, count, &is_wanted)
            .map(StoredParts)
            .map_err(|error| error.to_string())
    }

    /// Returns, in words, how many parts there are and how they were decided.
    pub fn told(&self, recipe: &str) -> String {
        let (Some(newest), Some(oldest)) = (self.0.first(), self.0.last()) else {
            return format!("the store has no judged part of {recipe}");
        };

        let failed = self.0.iter().filter(|row| row.verdict == Verdict::Fail);
        format!(
            "the last {} stored parts of {recipe}, {:.0} to {:.0}: {} failed",
            self.0.len(),
            oldest.captured_at,
            newest.captured_at,
            failed.count()
        )
    }

    /// Returns, in words, what the parts would have been under a threshold; `None` without any part.
    pub fn under(&self, threshold: f32) -> Option<String> {
        let mut failed = 0;
        let mut newly_failed = 0;
        let mut newly_passed = 0;
        for row in &self.0 {
            let fails = row.score.is_some_and(|score| score >= threshold);
            let has_failed = row.verdict == Verdict::Fail;
            failed += usize::from(fails);
            newly_failed += usize::from(fails && !has_failed);
            newly_passed += usize::from(!fails && has_failed);
        }

        let all = self.0.len();
        (all > 0).then(|| {
            format!(
                "of the last {all} stored parts {failed} would have failed ({newly_failed} that passed, and not {newly_passed} that failed)"
            )
        })
    }
}
