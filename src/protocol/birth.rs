//! The line's identity (`birth`): what judges, since when, and where the last run ended.

use super::codes::{Codes, run_number};
use super::encoding::encode;
use super::recipe_number::{RecipeChoice, RecipeNumbers};
use crate::data::report::DecisionPolicy;
use crate::data::result::rfc3339;
use crate::store::Previous;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names and settings that stay the same in a run, until another recipe judges.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// First levels of every topic.
    pub prefix: String,
    /// Name of this box; the level after `prefix`.
    pub station: String,
    /// Id of the run, a ULID.
    pub run_id: String,
    /// Version of winspect.
    pub version: &'static str,
    /// Names of the cameras.
    pub cameras: Vec<String>,
    /// `name@revision` of the recipe that judges.
    pub recipe: String,
    /// Name and digest of the model.
    pub model: String,
    /// Engine and precision.
    pub backend: String,
    /// The processor or GPU that the engine runs on.
    pub device: String,
    /// Number of pictures of good parts that were taught.
    pub references: usize,
    /// Digest of the references' pixels; `None` without any.
    pub gallery: Option<String>,
    /// Score from which a part fails; `None` where regions have names and thresholds of their own.
    pub threshold: Option<f32>,
    /// The last number of each camera's last run.
    pub previous: Vec<Previous>,
    /// The threshold of each region of interest that has a name.
    pub regions: BTreeMap<String, Option<f32>>,
    /// Recipes that a command can select, those with a number first, as many as `birth` has room for.
    pub recipes: Vec<RecipeChoice>,
    /// Numbers of recipes, as the line's file gives them.
    #[serde(skip)]
    pub recipe_numbers: RecipeNumbers,
    /// Names under which parts come, in the order of the line's file.
    #[serde(skip)]
    pub places: Vec<Arc<str>>,
}

#[derive(Serialize)]
struct Birth<'a> {
    #[serde(flatten)]
    identity: &'a Identity,
    run: u16,
    codes: BirthCodes<'a>,
    at: String,
}

/// Numbers of `plc` and `plc/state` by word.
#[derive(Serialize)]
struct BirthCodes<'a> {
    cam: BTreeMap<&'a str, usize>,
    #[serde(flatten)]
    words: Codes,
}

impl Identity {
    /// Takes over the name of the recipe that judges, and the threshold of each region.
    pub fn judged_by(&mut self, policies: &[(Option<Arc<str>>, DecisionPolicy)]) {
        // All regions share the recipe, so that the first one's policy names it for all.
        self.recipe = String::new();

        if let Some((_, policy)) = policies.first() {
            self.recipe = policy.recipe.to_string();
        }

        // A recipe without named regions has its one threshold at the top; with names each stands
        // under its own.
        self.threshold = None;
        self.regions.clear();

        for (region, policy) in policies {
            let threshold = policy.threshold;

            match region {
                Some(name) => {
                    self.regions.insert(name.to_string(), threshold);
                }

                None => self.threshold = threshold,
            }
        }
    }

    /// Number of a camera, or of the name that several share: its place in the line's file, from 1. 0 for one
    /// that this line has not.
    pub fn camera_number(&self, name: &str) -> usize {
        let place = self.places.iter().position(|place| **place == *name);

        place.map_or(0, |place| place + 1)
    }

    /// Number of the recipe that judges; 0 where it has none.
    pub fn recipe_number(&self) -> u16 {
        let (name, _) = self.recipe.rsplit_once('@').unwrap_or_default();

        self.recipe_numbers.of(name).unwrap_or(0)
    }

    /// Takes over the names of the recipes that can be selected.
    pub fn selectable<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.recipes = self.recipe_numbers.choices(names);
    }

    /// The message `birth`, as of now.
    pub fn encode(&self) -> Vec<u8> {
        let mut cameras = BTreeMap::new();

        for name in &self.places {
            cameras.insert(&**name, self.camera_number(name));
        }

        encode(Birth {
            identity: self,
            run: run_number(&self.run_id),
            codes: BirthCodes {
                cam: cameras,
                words: Codes::all(),
            },
            at: rfc3339(Timestamp::now()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible line, for tests of messages.
    pub(crate) fn identity() -> Identity {
        Identity {
            prefix: "acme/plant1".into(),
            station: "cam-box-3".into(),
            run_id: "01TEST".into(),
            version: "0",
            cameras: vec!["top".into()],
            recipe: "nut@7".into(),
            model: "vit@fa8e".into(),
            backend: "onnx-fp32".into(),
            device: "cpu".into(),
            references: 0,
            gallery: None,
            threshold: None,
            previous: vec![],
            regions: BTreeMap::new(),
            recipes: vec![],
            recipe_numbers: RecipeNumbers::default(),
            places: vec!["top".into()],
        }
    }

    #[test]
    fn a_birth_has_its_schema_in_front_and_the_time_at_the_end() {
        let text = String::from_utf8(identity().encode()).expect("JSON");
        assert!(text.starts_with("{\"schema\":2,\"prefix\":\"acme/plant1\""));
        assert!(
            text.contains("\"regions\":{},\"recipes\":[],\"run\":"),
            "{text}"
        );
        assert!(
            text.contains(",\"codes\":{\"cam\":{\"top\":1},\"eval\":"),
            "{text}"
        );
        assert!(text.contains("},\"at\":\""), "{text}");
    }

    #[test]
    fn a_recipe_that_judges_has_its_number() {
        let mut identity = identity();
        assert_eq!(identity.recipe_number(), 0);
        identity.recipe_numbers = [("nut".to_owned(), 3)].into_iter().collect();
        assert_eq!(identity.recipe_number(), 3);
    }
}
