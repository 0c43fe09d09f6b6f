//! One recipe judges stored parts again.

use super::{Bytes, Judgement, NotJudged, Replayed};
use crate::base::exit::Failure;
use crate::data::picture::Picture;
use crate::data::shown_part::BatchPlace;
use crate::data::verdict::{self, Reason, Verdict};
use crate::engine::EngineError;
use crate::evidence::facts::{Facts, MapFacts};
use crate::evidence::kept::{EvidenceError, KeptPart};
use crate::recipe::active::{ActiveRecipe, RegionPolicies, UNTAUGHT};
use crate::recipe::known_bad::KnownBad;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::winclip::inspector::{InspectError, RegionScore};

/// A picture that is judged by itself.
const ALONE: BatchPlace = BatchPlace {
    pictures: 1,
    place: 0,
};

/// A threshold in place of the recipe's own.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenThreshold {
    /// The region that it is for; every one unless given.
    pub region: Option<String>,
    /// Score from which a part fails.
    pub value: f32,
}

/// Failure of a replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The part cannot be judged; others can.
    #[error(transparent)]
    NotJudged(#[from] NotJudged),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ReplayError {
    /// The reason for a part whose facts cannot be read, although it was there when parts were listed.
    pub fn of(error: EvidenceError) -> Self {
        ReplayError::NotJudged(NotJudged::of(error))
    }
}

/// A prepared recipe that judges stored parts.
pub struct Replayer {
    active: ActiveRecipe,
    /// Name and digest of the model.
    model: String,
    /// `name@revision` of the recipe.
    recipe: String,
    policies: RegionPolicies,
    /// Pictures that may be judged at once.
    batch: usize,
    /// True where each part is decided by the threshold that it was judged by.
    is_as_judged: bool,
    given: Vec<GivenThreshold>,
}

impl Replayer {
    /// Prepares a recipe to judge stored parts.
    ///
    /// # Errors
    /// As [`RecipePreparer::prepare`]; for a recipe without references that needs some.
    pub fn prepare(
        preparer: &RecipePreparer,
        spec: &RecipeSpec,
        mode: PrepareMode,
    ) -> Result<Self, Failure> {
        let mut active = preparer.prepare(spec, mode)?;
        let recipe = spec.label();

        if !active.is_taught {
            let words = format!("recipe {recipe}: {UNTAUGHT}");
            return Err(Failure::words(crate::base::exit::Exit::Data, words));
        }

        Ok(Replayer {
            policies: active.policies(spec)?,
            active,
            model: preparer.model.label(),
            recipe,
            batch: preparer.batch,
            is_as_judged: false,
            given: vec![],
        })
    }

    /// Decides each part by the threshold that it was judged by, in place of the recipe's own.
    pub fn as_judged(mut self) -> Self {
        self.is_as_judged = true;

        self
    }

    /// Decides by these thresholds.
    ///
    /// # Errors
    /// Words, for a region that the recipe does not have.
    pub fn with_thresholds(mut self, given: Vec<GivenThreshold>) -> Result<Self, String> {
        for threshold in &given {
            let Some(region) = &threshold.region else {
                continue;
            };

            let mut own = self.policies.iter();
            if !own.any(|(name, _)| name.as_deref() == Some(region)) {
                return Err(format!("recipe {} has no region {region:?}", self.recipe));
            }
        }

        self.given = given;
        Ok(self)
    }

    /// `name@revision` of the recipe.
    pub fn recipe(&self) -> &str {
        &self.recipe
    }

    /// Engine and precision that judge.
    pub fn backend(&self) -> &str {
        self.active.inspector.backend()
    }

    /// Known bad parts of the recipe that fail under its thresholds, out of all that it keeps.
    pub fn known_bad(&self) -> (usize, usize) {
        let bad = self.active.bad.as_ref();
        let bad = bad.map(KnownBad::of).unwrap_or_default();
        let mut thresholds = vec![];

        for (region, policy) in &self.policies {
            thresholds.push(self.given_for(region.as_deref()).or(policy.threshold));
        }

        bad.found(&thresholds)
    }

    /// Judges one stored part again.
    ///
    /// # Errors
    /// When the part cannot be judged, or the engine fails.
    pub fn replay(&mut self, kept: &KeptPart) -> Result<Replayed, ReplayError> {
        let facts = &kept.facts;

        if let Some(flaw) = flaw_of_stream(facts) {
            return Err(NotJudged::Stream(flaw).into());
        }

        if name_in(&facts.recipe) != name_in(&self.recipe) {
            return Err(NotJudged::OtherRecipe(facts.recipe.clone()).into());
        }

        let picture = kept.picture_as_kept().map_err(NotJudged::of)?;
        let mut now = Judgement {
            recipe: self.recipe.clone(),
            verdict: Verdict::Undecided,
            reason: None,
            detail: None,
            score: None,
            threshold: self.threshold(facts)?,
        };

        let mut bytes = Bytes::NotScored;
        match self.scores(&picture, facts)? {
            Ok(scores) => {
                let scored = self.of_region(&scores, facts)?;
                let (verdict, reason) = verdict::decide(scored.score, now.threshold);
                bytes = self.bytes(facts, scored);
                now.verdict = verdict;
                now.reason = reason;
                now.score = Some(scored.score);
            }

            Err((reason, detail)) => {
                now.reason = Some(reason);
                now.detail = Some(detail);
            }
        }

        Ok(Replayed {
            part: kept.part(),
            part_id: facts.part_id.clone(),
            region: facts.region.clone(),
            was: as_it_was(facts),
            now,
            bytes,
        })
    }

    /// The scores of a picture; or the reason why it is not scored, as the line would tell it.
    fn scores(
        &mut self,
        picture: &Picture,
        facts: &Facts,
    ) -> Result<Result<Vec<RegionScore>, (Reason, String)>, EngineError> {
        if let Err(flaw) = self.active.measured(picture) {
            return Ok(Err((Reason::BadImage, flaw.to_string())));
        }

        let batch = self.batch_of(facts);
        let pictures = vec![picture; batch.pictures];
        let mut judged = self.active.inspector.inspect_all(&pictures)?;

        // There is one entry a picture: that is the inspector's promise.
        match judged.swap_remove(batch.place) {
            Ok(scores) => Ok(Ok(scores)),
            Err(error) => Ok(Err((
                error.reason(),
                InspectError::Picture(error).to_string(),
            ))),
        }
    }

    /// The place in a batch at which the part is judged: its own on a device.
    fn batch_of(&mut self, facts: &Facts) -> BatchPlace {
        // The processor judges each picture by itself.
        if !self.active.inspector.scores_on_device() {
            return ALONE;
        }

        let own = facts.judged_by.as_ref().map_or(ALONE, |by| by.batch);
        match self.can_repeat(own) {
            true => own,
            false => ALONE,
        }
    }

    /// True for a batch of at most as many pictures as are judged at once here.
    fn can_repeat(&self, batch: BatchPlace) -> bool {
        // The facts come out of a file: a place beyond its batch is none.
        batch.place < batch.pictures && batch.pictures <= self.batch.max(1)
    }

    fn given_for(&self, region: Option<&str>) -> Option<f32> {
        let mut given = self.given.iter();
        let found = given.find(|given| given.region.is_none() || given.region.as_deref() == region);

        found.map(|given| given.value)
    }

    fn threshold(&self, facts: &Facts) -> Result<Option<f32>, NotJudged> {
        let region = facts.region.as_deref();

        if let Some(given) = self.given_for(region) {
            return Ok(Some(given));
        }

        if self.is_as_judged {
            return Ok(facts.threshold);
        }

        let mut policies = self.policies.iter();
        let found = policies.find(|(name, _)| name.as_deref() == region);
        let (_, policy) = found.ok_or_else(|| no_region(facts))?;

        Ok(policy.threshold)
    }

    fn of_region<'a>(
        &self,
        scores: &'a [RegionScore],
        facts: &Facts,
    ) -> Result<&'a RegionScore, NotJudged> {
        let region = facts.region.as_deref();
        let mut scores = scores.iter();
        let found = scores.find(|score| score.region.as_deref() == region);

        found.ok_or_else(|| no_region(facts))
    }

    /// Compares a score and its map with those that are kept, where they must be the same.
    fn bytes(&mut self, facts: &Facts, scored: &RegionScore) -> Bytes {
        let (Some(score), Some(map)) = (facts.score, &facts.map) else {
            return Bytes::NotScored;
        };

        let Some(by) = &facts.judged_by else {
            return Bytes::Unsaid;
        };

        let is_on_device = self.active.inspector.scores_on_device();
        let now = self.active.judged_by(&self.model, by.batch);
        let is_lossless = facts.picture.as_ref().is_some_and(|own| own.is_lossless);

        if !is_lossless {
            return Bytes::Lossy;
        }

        if facts.recipe != self.recipe || by.gallery != now.gallery {
            return Bytes::OtherRecipe;
        }

        if by.model != now.model {
            return Bytes::OtherModel;
        }

        let is_batch = !is_on_device || self.can_repeat(by.batch);
        if (&by.backend, &by.device) != (&now.backend, &now.device) || !is_batch {
            return Bytes::OtherEngine;
        }

        match score.to_bits() == scored.score.to_bits() && is_same_map(map, scored) {
            true => Bytes::Same,
            false => Bytes::Other,
        }
    }
}

/// The name in `name@revision`.
fn name_in(label: &str) -> &str {
    label.rsplit_once('@').map_or(label, |(name, _)| name)
}

fn no_region(facts: &Facts) -> NotJudged {
    NotJudged::NoRegion(facts.region.clone().unwrap_or_default())
}

/// The flaw of a part that one picture does not show; `None` where it does.
fn flaw_of_stream(facts: &Facts) -> Option<String> {
    let detail = facts.detail.as_ref()?;
    let is_bad = facts.reason == Some(Reason::BadImage);
    let is_of_stream = detail.starts_with("frozen") || detail.starts_with("corrupt");

    (is_bad && is_of_stream).then(|| detail.clone())
}

fn as_it_was(facts: &Facts) -> Judgement {
    Judgement {
        recipe: facts.recipe.clone(),
        verdict: facts.verdict,
        reason: facts.reason,
        detail: facts.detail.clone(),
        score: facts.score,
        threshold: facts.threshold,
    }
}

/// True if both maps are the same bytes over the same place.
fn is_same_map(facts: &MapFacts, scored: &RegionScore) -> bool {
    let (kept, area) = facts.map();
    let now = &scored.map;

    if area != scored.area {
        return false;
    }

    let grid = kept.grid();
    if grid != now.grid() {
        return false;
    }

    let mut values = kept.values().iter().zip(now.values());
    let are_same = values.all(|(kept, now)| {
        let kept = kept.to_bits();
        let now = now.to_bits();
        kept == now
    });

    let mut cells = 0..grid.cells();
    let is_same_mask = cells.all(|cell| {
        let row = grid.row(cell);
        let column = grid.column(cell);
        kept.counts(row, column) == now.counts(row, column)
    });

    are_same && is_same_mask
}
