//! A prepared recipe: what judges, and what it asks of the line.

use crate::base::exit::{Exit, Failure};
use crate::data::grid::Grid;
use crate::data::picture::Picture;
use crate::data::report::DecisionPolicy;
use crate::data::shown_part::{BatchPlace, JudgedBy};
use crate::recipe::drift::DriftLimits;
use crate::recipe::judged::JudgedPictures;
use crate::recipe::known_bad::{BadParts, KnownBad};
use crate::recipe::quality::{Flaw, Gate, Measures};
use crate::recipe::self_test::{Proof, SelfTest};
use crate::recipe::spec::RecipeSpec;
use crate::recipe::threshold::{DerivedThreshold, GoodParts, of_region, thresholds};
use crate::store::Store;
use crate::winclip::Inspector;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The decision policy of each region; a recipe without regions has one entry without a name.
pub type RegionPolicies = Vec<(Option<Arc<str>>, DecisionPolicy)>;

/// A recipe that was prepared: what judges.
pub struct ActiveRecipe {
    /// The algorithm with its engine and references.
    pub inspector: Inspector,
    /// Cells of the map of a whole region.
    pub grid: Grid,
    /// Quality gate before the inspector; a picture that does not pass is not judged.
    pub gate: Gate,
    /// How far passed parts may be from what the references show; nothing without references.
    pub drift: DriftLimits,
    /// Equal frames in a row after which a live camera's pictures are bad; 0 is never.
    pub frozen_frames: u64,
    /// Files of the references, in the inspector's order.
    pub references: Vec<PathBuf>,
    /// Hash of the references' pixels; `None` without any.
    pub gallery: Option<String>,
    /// Scores of the recipe's calibration pictures; `None` where it names none.
    pub calibration: Option<JudgedPictures>,
    /// Scores of the known bad parts; `None` where the recipe has none.
    pub bad: Option<BadParts>,
    /// The self-test with its two pictures; `None` where the recipe has none.
    pub self_test: Option<SelfTest>,
    /// Longest time between two challenges that were met; `None` asks for no challenges.
    pub challenge_every: Option<Duration>,
    /// For each region the highest score of pictures that show no part at all. Empty without
    /// references.
    pub unlike: Vec<f32>,
    /// False for a recipe that needs references and has none yet: nothing can be judged by it.
    pub is_taught: bool,
}

/// Reason of parts that come before a recipe has references.
pub const UNTAUGHT: &str = "the recipe has no references yet; teach it some good parts";

/// A recipe's demands on the line.
#[derive(Debug)]
pub struct RecipePolicy {
    /// Decision policy of each region.
    pub regions: RegionPolicies,
    /// Longest time between two challenges that were met; `None` asks for no challenges.
    pub challenge_every: Option<Duration>,
    /// Scores of the self-test's pictures; `None` without a self-test.
    pub proof: Option<Proof>,
    /// For each region the highest score of pictures that show no part at all. Empty where that is not
    /// known.
    pub unlike: Vec<f32>,
    /// Scores of the known bad parts.
    pub known_bad: KnownBad,
    /// False for a recipe that needs references and has none yet.
    pub is_taught: bool,
}

impl Default for RecipePolicy {
    fn default() -> Self {
        RecipePolicy {
            regions: vec![],
            challenge_every: None,
            proof: None,
            unlike: vec![],
            known_bad: KnownBad::default(),
            is_taught: true,
        }
    }
}

impl RecipePolicy {
    /// The threshold of each region, in the recipe's order.
    pub fn thresholds(&self) -> Vec<Option<f32>> {
        let regions = self.regions.iter();
        regions.map(|(_, policy)| policy.threshold).collect()
    }

    /// Returns the words for a threshold under which everything passes, also a picture without any
    /// part; `None` where there is none.
    pub fn passes_everything(&self) -> Option<String> {
        for ((region, policy), unlike) in self.regions.iter().zip(&self.unlike) {
            let Some(threshold) = policy.threshold.filter(|threshold| threshold > unlike) else {
                continue;
            };

            return Some(format!(
                "{threshold}{} passes everything: a picture without a part scores {unlike:.4}; set a \
                 lower one",
                of_region(region.as_deref())
            ));
        }

        None
    }
}

impl ActiveRecipe {
    /// Returns the measures of a picture that may be judged.
    ///
    /// # Errors
    /// The first flaw of the picture by itself. Corrupt and frozen ones are seen elsewhere.
    pub fn measured(&self, picture: &Picture) -> Result<Measures, Flaw> {
        match self.gate.measured(picture) {
            // An empty belt is less sharp than a part on it. It is told as what it is, once the part
            // is looked for.
            Err(Flaw::Blurred(..)) if self.inspector.misses_part(picture) => {
                Ok(Measures::of(picture))
            }
            measured => measured,
        }
    }

    /// What judges beside the recipe's values; `model` is its name and digest.
    pub fn judged_by(&self, model: &str, batch: BatchPlace) -> JudgedBy {
        JudgedBy {
            backend: self.inspector.backend().to_owned(),
            device: self.inspector.device().to_owned(),
            model: model.to_owned(),
            gallery: self.gallery.clone(),
            batch,
        }
    }

    /// Returns the threshold of each region, or the reason why it has none.
    ///
    /// # Errors
    /// When the engine fails to compare the references.
    pub fn thresholds(
        &mut self,
        spec: &RecipeSpec,
    ) -> Result<Vec<Result<DerivedThreshold, String>>, Failure> {
        // Whatever the recipe asks for: a picture would be compared with nothing, and pass.
        if !self.is_taught {
            return Ok(vec![Err(UNTAUGHT.to_owned()); spec.thresholds.len()]);
        }

        let good = GoodParts {
            references: &self.references,
            calibration: self.calibration.as_ref(),
            bad: self.bad.as_ref(),
        };

        thresholds(&spec.thresholds, &mut self.inspector, good)
            .map_err(|error| Failure::new(Exit::Software, error))
    }

    /// Returns how each region is decided, as results name it. Thresholds, and regions without one,
    /// are logged.
    ///
    /// # Errors
    /// When the engine fails to compare the references.
    pub fn policies(&mut self, spec: &RecipeSpec) -> Result<RegionPolicies, Failure> {
        // The thresholds of all regions come at once, because the automatic ones share one
        // comparison of the references.
        let found = self.thresholds(spec)?;
        let mut policies = vec![];
        // Names and thresholds are both in the recipe's order.
        for (region, threshold) in self.inspector.regions().into_iter().zip(found) {
            let of_region = of_region(region.as_deref());
            // A region without a threshold is no error: its parts are undecided, and the line's
            // health says so.
            match &threshold {
                Ok(threshold) => tracing::info!("threshold{of_region}: {threshold}"),
                Err(why) => tracing::warn!(
                    "no threshold{of_region}: {why}. Every part will be undecided(not_ready)"
                ),
            }

            // The policy goes out with each result, so that a changeover never mixes two recipes'
            // words.
            let policy = DecisionPolicy {
                recipe: spec.label().into(),
                threshold: threshold.ok().map(|threshold| threshold.value),
                on_undecided: spec.on_undecided,
            };

            policies.push((region, policy));
        }

        Ok(policies)
    }

    /// Compares the self-test's scores with those that an earlier run learned under the same
    /// conditions. Scores under new conditions are kept in the store, and in `kept`, for later runs.
    pub fn recall_self_test(
        &mut self,
        spec: &RecipeSpec,
        kept: &mut BTreeMap<String, String>,
        store: &Store,
    ) {
        let Some(test) = &mut self.self_test else {
            return;
        };

        // The scores of each recipe have a key of their own, as a changeover comes back to earlier
        // recipes.
        let key = format!("self_test/{}", spec.name);
        let known = kept.get(&key);
        // Where nothing is to be kept, the earlier scores stay the measure, and a difference is
        // told by the line's health.
        let Some(learned) = test.recall(known.map(String::as_str)) else {
            return;
        };

        // Every learning is on record, since from then on these scores count as right.
        store.audit(format!(
            "self-test of recipe {} taught: {:.4?}",
            spec.label(),
            test.proof()
        ));

        // New conditions replace the old scores. First scores never replace what the store may have
        // by now.
        if known.is_some() {
            drop(store.set(&key, &learned));
        } else {
            drop(store.set_if_absent(&key, &learned));
        }

        // The copy in memory serves the next changeover of this run.
        kept.insert(key, learned);
    }

    /// Words on the known bad parts that pass by these thresholds, and on those that fail by their own looks alone.
    pub fn known_bad_words(&self, judges: &RegionPolicies) -> Vec<String> {
        let bad = self.bad.as_ref().map(KnownBad::of).unwrap_or_default();
        let thresholds = judges.iter().map(|(_, policy)| policy.threshold);
        let thresholds: Vec<Option<f32>> = thresholds.collect();

        bad.words(&thresholds)
    }

    /// Returns what the recipe asks of the line, with how its regions are decided.
    pub fn policy(&self, regions: RegionPolicies) -> RecipePolicy {
        RecipePolicy {
            regions,
            challenge_every: self.challenge_every,
            proof: self.self_test.as_ref().map(SelfTest::proof),
            unlike: self.unlike.clone(),
            known_bad: self.bad.as_ref().map(KnownBad::of).unwrap_or_default(),
            is_taught: self.is_taught,
        }
    }
}
