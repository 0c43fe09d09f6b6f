//! Rejects that were labelled as false and whose pictures are not in memory: of earlier runs, or older than what is kept there.
//!
//! Labels are in the store, pictures in the evidence. Bounds: together with those in memory [`PARTS_MAX`] parts and
//! [`PICTURE_BYTES`], [`PAGES_MAX`] pages of the store's history with [`PATIENCE`] for each, and [`TIME_MAX`] for all. Reads the disk,
//! on the thread of the changeover, until the line stops. What is passed over is told in words.

use crate::base::stop::Stop;
use crate::data::history::{HistoryPart, HistoryQuery};
use crate::data::verdict::Verdict;
use crate::evidence::kept::{self, KeptPart};
use crate::line::changeover::{Changeover, STOPPING, name_in};
use crate::line::doubtful::{DoubtfulPart, Margin, PARTS_MAX, PICTURE_BYTES};
use crate::protocol::suggestion::Doubt;
use crate::protocol::teaching::Label;
use crate::recipe::references::References;
use crate::recipe::spec::RecipeSpec;
use crate::store::{self, ASK_AGAIN, SearchPage};
use crossbeam::channel::bounded;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Pages of the history that are looked at: one holds what a short look found.
const PAGES_MAX: usize = 64;
/// Time until a store that cannot look at the moment is asked again.
const RETRY: Duration = Duration::from_millis(20);
/// Time for a page.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time for the pages and the pictures of all parts together. The changeover does nothing else meanwhile.
const TIME_MAX: Duration = Duration::from_secs(8);

/// What was found.
#[derive(Default)]
pub struct EarlierRejects {
    /// The parts, the oldest first.
    pub parts: Vec<DoubtfulPart>,
    /// Those that were not taken.
    pub passed_over: PassedOver,
}

/// Labelled parts that were not taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver {
    /// Number of those whose pictures are not kept as the camera gave them.
    without_picture: usize,
    /// Number of those whose pictures have another size than the camera's pictures have now.
    of_other_size: usize,
    /// Number of those that have no room beside the others.
    without_room: usize,
    /// True where the time was over before all were looked at.
    is_cut: bool,
}

/// Reason why a part is not taken.
enum Passed {
    WithoutPicture,
    OtherSize,
    WithoutRoom,
}

impl PassedOver {
    fn count(&mut self, why: &Passed) {
        match why {
            Passed::WithoutPicture => self.without_picture += 1,
            Passed::OtherSize => self.of_other_size += 1,
            Passed::WithoutRoom => self.without_room += 1,
        }
    }

    /// Words on them, each with a semicolon before; empty without any.
    pub fn words(&self) -> String {
        let counts = [
            (
                self.without_picture,
                "whose pictures are not kept as the camera gave them",
            ),
            (
                self.of_other_size,
                "whose pictures have another size than the camera's newest",
            ),
            (
                self.without_room,
                "whose pictures have no room beside the others (64 MiB)",
            ),
        ];

        let mut words = String::new();
        for (count, why) in counts.iter().filter(|(count, _)| *count > 0) {
            words += &format!("; {count} more rejects are labelled false, {why}");
        }

        if self.is_cut {
            words += "; there may be more rejects that are labelled false: the store and the evidence were too slow to look at all";
        }

        words
    }
}

/// Where parts are looked for, and what can be taken.
struct Search<'a> {
    /// The folder of the evidence.
    folder: &'a Path,
    /// Stems of all that is there.
    stems: Vec<String>,
    /// Width and height of each camera's newest picture.
    sizes: BTreeMap<Arc<str>, (usize, usize)>,
    /// Bytes of pictures that can still be taken.
    room: usize,
}

impl Changeover {
    /// The newest rejects of a recipe that were labelled as false, beside those that are known, and that it has not learned.
    ///
    /// # Errors
    /// Words, when the line stops.
    pub fn earlier_false_rejects(
        &self,
        spec: &RecipeSpec,
        known: &[DoubtfulPart],
        stop: &Stop,
    ) -> Result<EarlierRejects, String> {
        let mut found = EarlierRejects::default();
        let Some(folder) = &self.evidence else {
            return Ok(found);
        };

        let until = Instant::now() + TIME_MAX;
        let (labelled, is_cut) = self.labelled_false(&spec.name, stop, until)?;
        found.passed_over.is_cut = is_cut;

        if labelled.is_empty() {
            return Ok(found);
        }

        // One that is a reference by now differs from nothing. Where they cannot be read, the recipe cannot judge either.
        let references = References::read(&spec.references, &mut |_| {}).ok();
        let is_learned = |part: &DoubtfulPart| {
            let references = references.as_ref();
            references.is_some_and(|references| references.same_as(&part.picture).is_some())
        };

        let mut search = self.search(folder, known);
        for part in labelled {
            if stop.is_stopped() {
                return Err(STOPPING.to_owned());
            }

            if Instant::now() >= until {
                found.passed_over.is_cut = true;
                break;
            }

            if known.len() + found.parts.len() >= PARTS_MAX {
                break;
            }

            let name = format!("{}/{}/{}", part.row.run_id, part.row.camera, part.row.seq);
            let is_known = |known: &DoubtfulPart| is_view_of(&known.part, &name);

            if known.iter().any(is_known) {
                continue;
            }

            match search.take(&part) {
                Ok(part) if is_learned(&part) => {}
                Ok(part) => {
                    search.room -= part.bytes();
                    found.parts.push(part);
                }

                Err(why) => found.passed_over.count(&why),
            }
        }

        found.parts.reverse();
        Ok(found)
    }

    fn search<'a>(&self, folder: &'a Path, known: &[DoubtfulPart]) -> Search<'a> {
        let frames = self.frames.lock();
        let frames = frames.unwrap_or_else(PoisonError::into_inner);
        let mut sizes = BTreeMap::new();

        for (camera, frame) in frames.iter() {
            let width = frame.picture.width();
            let height = frame.picture.height();
            sizes.insert(camera.clone(), (width, height));
        }

        drop(frames);

        // Where the folder cannot be read, no picture can.
        let stems = kept::stems(folder);
        let stems = stems.unwrap_or_default();

        let mut room = PICTURE_BYTES;
        for part in known {
            room = room.saturating_sub(part.bytes());
        }

        Search {
            folder,
            stems,
            sizes,
            room,
        }
    }

    /// The newest parts of a recipe with that label, the newest first; true where there was no time for all.
    fn labelled_false(
        &self,
        recipe: &str,
        stop: &Stop,
        until: Instant,
    ) -> Result<(Vec<HistoryPart>, bool), String> {
        let mut query = HistoryQuery {
            label: Some(Label::FalseReject.word().to_owned()),
            verdict: Some(Verdict::Fail),
            recipe: Some(recipe.to_owned()),
            limit: Some(PARTS_MAX as u32),
            ..HistoryQuery::default()
        };

        let mut parts = vec![];
        let mut is_cut = true;

        for _ in 0..PAGES_MAX {
            if stop.is_stopped() {
                return Err(STOPPING.to_owned());
            }

            let (reply, answer) = bounded(1);
            let reply = Box::new(move |page| drop(reply.try_send(page)));
            self.store
                .search(store::Search::Parts(query.clone()), reply);

            // A busy disk is not waited for: those of this run are there all the same.
            let patience = until.saturating_duration_since(Instant::now());
            let page = match answer.recv_timeout(patience.min(PATIENCE)) {
                Ok(Ok(SearchPage::Parts(page))) => page,
                Ok(Err(words)) if words.ends_with(ASK_AGAIN) => {
                    std::thread::sleep(RETRY);
                    continue;
                }
                _ => break,
            };

            parts.extend(page.parts);
            query.before = page.next;

            // Not so many are taken: the newest may all have been learned since.
            if page.next.is_none() {
                is_cut = false;
                break;
            }
        }

        Ok((parts, is_cut))
    }
}

impl Search<'_> {
    /// A labelled part with its picture, where that is kept bit for bit, of the size of the camera's pictures, and has room. Where
    /// several cameras saw the part, it is the view that failed the most.
    fn take(&self, part: &HistoryPart) -> Result<DoubtfulPart, Passed> {
        let row = &part.row;
        let key = (&*row.run_id, &*row.camera, row.seq);
        let Ok(views) = kept::views(self.folder, &self.stems, key) else {
            return Err(Passed::WithoutPicture);
        };

        let Some((kept, margin)) = worst(views) else {
            return Err(Passed::WithoutPicture);
        };

        let facts = &kept.facts;
        let about = match &facts.picture {
            Some(about) if about.is_lossless => about,
            _ => return Err(Passed::WithoutPicture),
        };

        let seen_by = facts.seen_by.as_str();
        let size = self.sizes.get(seen_by);

        // Its places are others in the camera's pictures of today.
        if size.is_some_and(|size| *size != (about.width, about.height)) {
            return Err(Passed::OtherSize);
        }

        let pixels = about.width.saturating_mul(about.height);
        let bytes = pixels.saturating_mul(3);

        if bytes > self.room {
            return Err(Passed::WithoutRoom);
        }

        let Ok(picture) = kept.picture() else {
            return Err(Passed::WithoutPicture);
        };

        let recipe = name_in(&facts.recipe);

        Ok(DoubtfulPart {
            picture: Arc::new(picture),
            part: kept.part(),
            recipe: recipe.to_owned(),
            doubt: Doubt::Overruled,
            margin,
        })
    }
}

/// The view that failed the most, as it was judged. `None` where none did: nothing is near a threshold of 0.
fn worst(views: Vec<KeptPart>) -> Option<(KeptPart, Margin)> {
    let mut failed = vec![];

    for kept in views {
        let facts = &kept.facts;
        let threshold = facts.threshold.filter(|threshold| *threshold > 0.0);
        let (Some(score), Some(threshold)) = (facts.score, threshold) else {
            continue;
        };

        let region = facts.region.as_deref().map(Into::into);
        let margin = Margin {
            region,
            score,
            threshold,
        };

        if facts.verdict == Verdict::Fail {
            failed.push((kept, margin));
        }
    }

    failed
        .into_iter()
        .max_by(|(_, one), (_, other)| one.share().total_cmp(&other.share()))
}

/// True for the name of a part, and for that of a camera's view of it.
fn is_view_of(view: &str, part: &str) -> bool {
    let Some(rest) = view.strip_prefix(part) else {
        return false;
    };

    rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_all_of_its_name() {
        assert!(is_view_of("R/top/1", "R/top/1") && is_view_of("R/top/1/left", "R/top/1"));
        assert!(!is_view_of("R/top/12", "R/top/1") && !is_view_of("R/top", "R/top/1"));
    }

    #[test]
    fn what_is_passed_over_is_told() {
        let mut passed = PassedOver::default();
        assert_eq!(passed.words(), "");
        for why in [Passed::OtherSize, Passed::WithoutRoom, Passed::OtherSize] {
            passed.count(&why);
        }

        let words = passed.words();
        assert!(
            words.contains("; 2 more rejects are labelled false, whose pictures have another size")
        );
        assert!(words.ends_with("; 1 more rejects are labelled false, whose pictures have no room beside the others (64 MiB)"));
        passed.is_cut = true;
        assert!(passed.words().contains("too slow to look at all"));
    }
}
