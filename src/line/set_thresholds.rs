//! Thresholds that commands have set, until a revision of the library has them.

use crate::recipe::threshold::of_region;
use std::sync::Arc;

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
