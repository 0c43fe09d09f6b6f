//! Rejects that were labelled as false and whose pictures are not in memory: of earlier runs, or older than what is kept there.
//!
//! Labels are in the store, pictures in the evidence. Bounds: together with those in memory [`PARTS_MAX`] parts and
//! [`PICTURE_BYTES`], and [`PAGES_MAX`] pages of the store's history with [`PATIENCE`] for each. Reads the disk, on the thread of the
//! changeover.

use crate::data::history::{HistoryPart, HistoryQuery};
use crate::data::verdict::Verdict;
use crate::evidence::kept;
use crate::line::changeover::{Changeover, name_in};
use crate::line::doubtful::{DoubtfulPart, Margin, PARTS_MAX, PICTURE_BYTES};
use crate::protocol::suggestion::Doubt;
use crate::protocol::teaching::Label;
use crate::recipe::references::References;
use crate::recipe::spec::RecipeSpec;
use crate::store::{Search, SearchPage};
use crossbeam::channel::bounded;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Pages of the history that are looked at: one holds what a short look found.
const PAGES_MAX: usize = 64;
/// Time for a page.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Default)]
pub struct EarlierRejects {
    /// The parts, the oldest first.
    pub parts: Vec<DoubtfulPart>,
    /// Number of labelled parts whose pictures are not kept as the camera gave them.
    pub without_picture: usize,
}

impl Changeover {
    /// The newest rejects of a recipe that were labelled as false, beside those that are known, and that it has not learned.
    pub fn earlier_false_rejects(
        &self,
        spec: &RecipeSpec,
        known: &[DoubtfulPart],
    ) -> EarlierRejects {
        let mut found = EarlierRejects::default();
        let Some(folder) = &self.evidence else {
            return found;
        };

        let labelled = self.labelled_false(&spec.name);
        if labelled.is_empty() {
            return found;
        }

        // One that is a reference by now differs from nothing. Where they cannot be read, the recipe cannot judge either.
        let references = References::read(&spec.references, &mut |_| {}).ok();
        let is_learned = |part: &DoubtfulPart| {
            let references = references.as_ref();
            references.is_some_and(|references| references.same_as(&part.picture).is_some())
        };

        let known_bytes = known.iter().map(DoubtfulPart::bytes);
        let mut room = PICTURE_BYTES.saturating_sub(known_bytes.sum());
        for part in labelled {
            let name = format!("{}/{}/{}", part.row.run_id, part.row.camera, part.row.seq);
            let is_known = |known: &DoubtfulPart| is_view_of(&known.part, &name);
            if known.iter().any(is_known) {
                continue;
            }

            let Some(part) = doubtful_part(folder, &part) else {
                found.without_picture += 1;
                continue;
            };

            let bytes = part.bytes();
            if bytes > room || known.len() + found.parts.len() >= PARTS_MAX {
                break;
            }

            if !is_learned(&part) {
                room -= bytes;
                found.parts.push(part);
            }
        }

        found.parts.reverse();
        found
    }

    /// The newest parts of a recipe with that label, the newest first.
    fn labelled_false(&self, recipe: &str) -> Vec<HistoryPart> {
        let mut query = HistoryQuery {
            label: Some(Label::FalseReject.word().to_owned()),
            verdict: Some(Verdict::Fail),
            recipe: Some(recipe.to_owned()),
            limit: Some(PARTS_MAX as u32),
            ..HistoryQuery::default()
        };

        let mut parts = vec![];
        for _ in 0..PAGES_MAX {
            let (reply, answer) = bounded(1);
            let reply = Box::new(move |page| drop(reply.try_send(page)));
            self.store.search(Search::Parts(query.clone()), reply);

            // A busy disk is not waited for: those of this run are there all the same.
            let Ok(Ok(SearchPage::Parts(page))) = answer.recv_timeout(PATIENCE) else {
                break;
            };

            parts.extend(page.parts);
            query.before = page.next;
            if page.next.is_none() || parts.len() >= PARTS_MAX {
                break;
            }
        }

        parts.truncate(PARTS_MAX);
        parts
    }
}

/// True for the name of a part, and for that of a camera's view of it.
fn is_view_of(view: &str, part: &str) -> bool {
    let Some(rest) = view.strip_prefix(part) else {
        return false;
    };

    rest.is_empty() || rest.starts_with('/')
}

/// A labelled part with its picture, where that is kept bit for bit.
fn doubtful_part(folder: &Path, part: &HistoryPart) -> Option<DoubtfulPart> {
    let row = &part.row;
    let kept = kept::find(folder, &row.run_id, &row.camera, row.seq);
    let kept = kept.ok()?;
    let picture = kept.picture().ok()?;

    // Nothing is near a threshold of 0.
    let facts = &kept.facts;
    let score = facts.score?;
    let threshold = facts.threshold?;
    if threshold <= 0.0 {
        return None;
    }

    let region = facts.region.as_deref();
    let margin = Margin {
        region: region.map(Into::into),
        score,
        threshold,
    };

    let recipe = name_in(&facts.recipe);
    Some(DoubtfulPart {
        picture: Arc::new(picture),
        part: kept.part(),
        recipe: recipe.to_owned(),
        doubt: Doubt::Overruled,
        margin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_all_of_its_name() {
        assert!(is_view_of("R/top/1", "R/top/1") && is_view_of("R/top/1/left", "R/top/1"));
        assert!(!is_view_of("R/top/12", "R/top/1") && !is_view_of("R/top", "R/top/1"));
    }
}
