//! Thresholds that commands have set, until a revision of the library has them.

use crate::recipe::active::RegionPolicies;
use crate::recipe::threshold::of_region;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Thresholds by `name@revision` of their recipe, and region.
pub type ThresholdsByKey = BTreeMap<(Arc<str>, Option<Arc<str>>), f32>;

/// Thresholds of one recipe that commands set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetThresholds {
    /// `name@revision` of the recipe.
    pub recipe: Arc<str>,
    /// The thresholds, by region; one without a name where the recipe names none.
    pub values: Vec<(Option<Arc<str>>, f32)>,
}

impl SetThresholds {
    /// Returns the recipe's name and the number of its revision.
    pub fn revision(&self) -> Option<(&str, u64)> {
        let (name, number) = self.recipe.rsplit_once('@')?;
        Some((name, number.parse().ok()?))
    }

    /// Returns the thresholds in words: `threshold 0.3 of rim`.
    pub fn words(&self) -> String {
        let mut words = vec![];
        for (region, value) in &self.values {
            words.push(format!("threshold {value}{}", of_region(region.as_deref())));
        }

        words.join(", ")
    }
}

/// Returns the thresholds of each recipe.
pub fn by_recipe(thresholds: &ThresholdsByKey) -> Vec<SetThresholds> {
    let mut all: Vec<SetThresholds> = vec![];
    // The keys are in the order of the recipes.
    for ((recipe, region), threshold) in thresholds {
        let value = (region.clone(), *threshold);
        match all.last_mut().filter(|last| last.recipe == *recipe) {
            Some(last) => last.values.push(value),
            None => all.push(SetThresholds {
                recipe: recipe.clone(),
                values: vec![value],
            }),
        }
    }

    all
}

/// Returns the thresholds as they are once those of the label `from` hold for `to`.
pub fn carried(thresholds: ThresholdsByKey, from: &str, to: &str) -> ThresholdsByKey {
    let to: Arc<str> = to.into();
    let mut carried = ThresholdsByKey::new();
    for ((recipe, region), threshold) in thresholds {
        let recipe = if *recipe == *from { to.clone() } else { recipe };
        carried.insert((recipe, region), threshold);
    }

    carried
}

/// The refusal of a threshold for a region that the recipe does not have.
pub fn no_such_region(regions: &RegionPolicies) -> String {
    // The names are listed, because the sender may have misspelt one.
    let names: Vec<&str> = regions
        .iter()
        .filter_map(|(name, _)| name.as_deref())
        .collect();

    if names.is_empty() {
        return "the recipe names no regions; leave region out".to_owned();
    }

    format!("region must be one of {}", names.join(", "))
}
