//! Values of the configuration that change while the line runs, shared by the stages that use them.

use crate::base::live::Live;
use crate::config::{ConfigKeys, LineConfig};
use crate::data::part::PartTiming;
use crate::line::hold::ChangeUnderWay;
use crate::line::selection::Selection;
use crate::mqtt::Heatmaps;
use crate::recipe::spec::RecipeSpec;
use crossbeam::channel::Receiver;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

/// A wish that the line's file is read again.
#[derive(Debug)]
pub enum ReloadRequest {
    /// By SIGHUP: the log and the audit log alone hear what came of it.
    Signal,
    /// By a command, which gets a second answer.
    Command {
        /// The command, which the store keeps until its second answer is told.
        selection: Box<Selection>,
        /// Disconnected once the first answer is out.
        answered: Receiver<Infallible>,
        /// Until it has ended: nobody is given control meanwhile.
        under_way: ChangeUnderWay,
    },
}

/// Values that a reload changes, shared with the stages that use them.
#[derive(Debug, Clone, Default)]
pub struct LiveSettings {
    /// Recipes that can be selected.
    pub recipes: Live<Vec<RecipeSpec>>,
    /// Names of those that commands have begun: the file does not name them.
    pub begun: Live<Vec<String>>,
    /// Deadline and gate of each camera's parts.
    pub timings: BTreeMap<Arc<str>, Live<PartTiming>>,
    /// Parts of which a heat map is drawn.
    pub heatmaps: Live<Heatmaps>,
    /// The configuration that is in force, by key.
    pub keys: Live<ConfigKeys>,
}

impl LiveSettings {
    /// The values that a line starts with; `begun` are recipes that commands of earlier runs began.
    pub fn new(config: &LineConfig, begun: &[RecipeSpec]) -> Self {
        let cameras = config.cameras.iter();
        let names = begun.iter().map(|recipe| recipe.name.clone());
        let mut recipes = recipes_of(config);
        recipes.extend_from_slice(begun);

        LiveSettings {
            recipes: Live::new(recipes),
            begun: Live::new(names.collect()),
            timings: cameras
                .map(|camera| (camera.camera.name.clone(), Live::new(camera.terms)))
                .collect(),
            heatmaps: Live::new(config.mqtt.heatmaps),
            keys: Live::new(config.keys.clone()),
        }
    }

    /// The timing of a camera's parts; that of a camera nobody knows is the usual one.
    pub fn timing_of(&self, camera: &str) -> Live<PartTiming> {
        self.timings.get(camera).cloned().unwrap_or_default()
    }
}

impl LiveSettings {
    /// A file's recipes, and those that commands have begun and the file does not name.
    pub fn with_begun(&self, mut recipes: Vec<RecipeSpec>) -> Vec<RecipeSpec> {
        let begun = self.begun.now();

        for recipe in self.recipes.now() {
            let is_named = recipes.iter().any(|named| named.name == recipe.name);

            if !is_named && begun.contains(&recipe.name) {
                recipes.push(recipe);
            }
        }

        recipes
    }
}

/// All recipes that a line's file names.
pub fn recipes_of(config: &LineConfig) -> Vec<RecipeSpec> {
    // The line's first recipe can be selected like the others.
    let recipes = config.recipes.iter().chain([&config.recipe]);

    recipes.cloned().collect()
}
