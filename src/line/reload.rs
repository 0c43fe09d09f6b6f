//! The line's file is read again while the line runs: what can change without a restart does, the rest is
//! named, and a file that is wrong changes nothing.
//!
//! ```text
//! SIGHUP --main thread: config::load--> changeover --problems--> told; all stays as it was
//!                                          |  \--recipe changed: prepared beside the line--> inspector, between two parts
//!                                          \--deadlines, gate, heat maps, recipes to select: for parts from now on
//! ```
//! Nothing is taken over before all that can fail has been done. What needs a restart stays as it was, and
//! is named again by each reload until then.

use crate::base::health::Health;
use crate::base::stop::Stop;
use crate::base::systemd::Heartbeat;
use crate::config::{self, ConfigKeys, KeyChange, LineConfig};
use crate::line::changeover::{Changeover, name_in};
use crate::line::live_settings::{LiveSettings, Reloaded, recipes_of};
use crate::recipe::spec::RecipeSpec;
use crate::trigger::Trigger;

/// Diagnostics source of a line's file that was not taken over.
const CONFIGURATION: &str = "configuration";
/// Keys of a camera that say when its parts are due and at the gate, or that only `check` reads.
const OF_CAMERA: [&str; 7] = [
    "deadline_ms",
    "reject_after_ms",
    "reject_late_ms",
    "reject_counts",
    "reject_mm",
    "belt_mm_s",
    "mm_per_pixel",
];

/// Changes of a file, by whether they can be taken over while the line runs.
struct Changes {
    live: Vec<KeyChange>,
    needs_restart: Vec<KeyChange>,
}

impl Changes {
    fn between(running: &ConfigKeys, config: &LineConfig, settings: &LiveSettings) -> Self {
        let changes = running.changes_to(&config.keys).into_iter();
        let (live, needs_restart): (Vec<KeyChange>, Vec<KeyChange>) =
            changes.partition(|change| is_live(&change.key, config, settings));

        // A camera that needs a restart keeps all of its values until then: its gate's times follow from its
        // trigger and speed.
        let (waiting, live) = live
            .into_iter()
            .partition(|change| waits(&change.key, &needs_restart));

        Changes {
            live,
            needs_restart: [needs_restart, waiting].concat(),
        }
    }
}

/// True for a key of a camera that another change makes wait for a restart.
fn waits(key: &str, needs_restart: &[KeyChange]) -> bool {
    let Some((place, _)) = key.split_once('.') else {
        return false;
    };

    let is_same = |change: &KeyChange| change.key.split_once('.').map(|(of, _)| of) == Some(place);
    place.starts_with("camera[") && needs_restart.iter().any(is_same)
}

/// True for a key that can change while the line runs.
fn is_live(key: &str, config: &LineConfig, settings: &LiveSettings) -> bool {
    if key == "mqtt.heatmaps"
        || key.starts_with("recipe.")
        || key.starts_with("recipes")
        || key == "recipe"
    {
        return true;
    }

    let Some((place, name)) = key.split_once('.') else {
        return false;
    };

    // Another camera at this place, or one more, is another source of frames.
    // Cameras are known by their place in the file, as their keys are.
    let camera = config.cameras.iter().enumerate();
    let mut camera = camera.filter(|(i, _)| format!("camera[{i}]") == place);
    let Some((_, camera)) = camera.next() else {
        return false;
    };

    // A web's speed says which frames are parts as well.
    let is_web = matches!(camera.trigger, Trigger::Distance(_));

    settings.timings.contains_key(&camera.camera.name)
        && OF_CAMERA.contains(&name)
        && !(is_web && name == "belt_mm_s")
}

fn words_of(changes: &[KeyChange]) -> String {
    let words: Vec<String> = changes.iter().map(KeyChange::to_string).collect();

    words.join("; ")
}

impl Changeover {
    /// Takes over what can be taken over of the line's file; tells what, and what not.
    pub(super) fn reload(&mut self, reloaded: Reloaded, stop: &Stop, pulse: &Heartbeat) {
        let outcome = reloaded.and_then(|config| self.take_file_over(&config, stop, pulse));

        match outcome {
            Ok(changes) => {
                self.diagnostics.clear(CONFIGURATION);
                let words = told(&changes);

                tracing::info!("{words}");
                self.store.audit(words);
                if !changes.needs_restart.is_empty() {
                    let words = needs_restart(&changes.needs_restart);

                    tracing::warn!("{words}");
                    self.store.audit(words);
                }
            }
            Err(problems) => {
                let words = format!(
                    "the line's file was read again and is not in force, all goes on as before: {problems}"
                );

                tracing::error!("{words}");
                // The problems come first: a message has room for few words.
                let cause = format!("{problems}; the file is not in force");

                self.diagnostics
                    .set(CONFIGURATION, Health::MaintenanceRequired, cause);

                self.store.audit(words);
            }
        }
    }

    fn take_file_over(
        &mut self,
        config: &LineConfig,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<Changes, String> {
        // A recipe that judges must stay in the file: which other one was to judge is a person's decision.
        let changes = Changes::between(&self.running, config, &self.settings);
        let recipes = recipes_of(config);
        let judging = self.judging();
        let name = name_in(&judging);
        let recipe = recipes.iter().find(|recipe| recipe.name == name);
        let recipe = recipe.ok_or_else(|| {
            format!("recipe {judging} judges, and is not in the file any more; select another one before")
        })?;

        // Something else may have become current since the file was read.
        let recipe =
            &config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;

        // All that can fail comes before all that is taken over.
        let prepared = match self.has_changed(recipe, &judging) {
            true => {
                let failed = |error| format!("recipe {}: {error}", recipe.label());

                Some(self.prepare(recipe).map_err(failed)?)
            }
            false => None,
        };

        if let Some(prepared) = prepared {
            let gallery = self.swap(prepared, None, stop, pulse)?;
            let told = self.with_set_thresholds(recipe.label());
            let gallery = gallery.as_deref().unwrap_or("none");

            self.store
                .audit(format!("recipe {told} judges, gallery {gallery}"));
            tracing::info!("recipe {told} judges from now on");
        }

        self.settings.heatmaps.set(config.mqtt.heatmaps);
        for (number, camera) in config.cameras.iter().enumerate() {
            let is_waiting = waits(&format!("camera[{number}]."), &changes.needs_restart);
            if let Some(timing) = self.settings.timings.get(&camera.camera.name)
                && !is_waiting
            {
                timing.set(camera.terms);
            }
        }

        self.settings.recipes.set(recipes);
        for change in &changes.live {
            self.running.take_over(change);
        }

        Ok(changes)
    }

    /// True if the recipe of the file is another one than the recipe that judges.
    fn has_changed(&self, recipe: &RecipeSpec, judging: &str) -> bool {
        if recipe.label() != judging {
            return true;
        }

        // A revision of the library never changes.
        let before = self.settings.recipes.now();
        let before = before.iter().find(|before| before.name == recipe.name);

        recipe.library.is_none() && before.is_none_or(|before| before.table != recipe.table)
    }
}

fn told(changes: &Changes) -> String {
    match (changes.live.is_empty(), changes.needs_restart.is_empty()) {
        (true, true) => "the line's file was read again: nothing has changed".to_owned(),
        (true, false) => {
            "the line's file was read again: nothing of it can change while the line runs"
                .to_owned()
        }
        _ => format!(
            "the line's file was read again: {}",
            words_of(&changes.live)
        ),
    }
}

fn needs_restart(changes: &[KeyChange]) -> String {
    format!("needs a restart: {}", words_of(changes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn loaded(folder: &Path, text: &str) -> LineConfig {
        let file = folder.join("line.toml");
        std::fs::write(&file, text).expect("written");
        config::load(&file).expect("a line")
    }

    #[test]
    fn what_can_change_while_the_line_runs_is_told_from_what_cannot() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = "prefix = \"plant\"\nstation = \"box\"\nmodel = \"m\"\n";
        let rest = "[recipe]\nname = \"nut\"\nthreshold = 0.3\n[[camera]]\nname = \"top\"\nkind = \"test\"\n";
        let before = loaded(folder.path(), &format!("{top}{rest}"));
        let settings = LiveSettings::new(&before);
        let changes = |text: &str| {
            let after = loaded(folder.path(), text);
            let changes = Changes::between(&before.keys, &after, &settings);
            let keys = |changes: &[KeyChange]| {
                changes
                    .iter()
                    .map(|change| change.key.clone())
                    .collect::<Vec<String>>()
            };

            (keys(&changes.live), keys(&changes.needs_restart))
        };

        let none: Vec<String> = vec![];
        assert_eq!(
            changes(&format!("{top}# words\n{rest}")),
            (none.clone(), none.clone())
        );
        let threshold = rest.replace("0.3", "0.4");
        assert_eq!(
            changes(&format!(
                "{top}{threshold}deadline_ms = 500\n[mqtt]\nheatmaps = \"all\"\n"
            )),
            (
                vec![
                    "camera[0].deadline_ms".to_owned(),
                    "mqtt.heatmaps".to_owned(),
                    "recipe.nut.threshold".to_owned(),
                ],
                none.clone()
            )
        );

        let other = rest.replace("name = \"top\"", "name = \"side\"");
        let (live, restart) = changes(&format!(
            "{top}batch = 2\n{other}deadline_ms = 500\nfps = 5\n"
        ));
        assert_eq!(live, none);
        assert_eq!(
            restart,
            [
                "batch",
                "camera[0].deadline_ms",
                "camera[0].fps",
                "camera[0].name"
            ]
        );
    }
}
