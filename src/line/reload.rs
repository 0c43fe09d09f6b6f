//! The line's file is read again while the line runs: what can change without a restart does, the rest is
//! named, and a file that is wrong changes nothing.
//!
//! ```text
//! SIGHUP, the command reload --> changeover: config::load --problems--> told; all stays as it was
//!                                          |  \--recipe changed: prepared beside the line--> inspector, between two parts
//!                                          \--deadlines, gate, heat maps, recipes to select: for parts from now on
//! ```
//! Nothing is taken over before all that can fail has been done. What needs a restart stays as it was, and
//! is named again by each reload until then. Recipes are made for a model and out of a library: where the file names
//! another of them, none of its recipes is taken over before the restart either.

use crate::base::health::Health;
use crate::base::stop::Stop;
use crate::base::systemd::Heartbeat;
use crate::config::{self, ConfigKeys, FIRST_RECIPE, KeyChange, LineConfig};
use crate::line::changeover::{Changeover, name_in};
use crate::line::live_settings::{LiveSettings, ReloadRequest, recipes_of};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::recipe::library::folder::Library;
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
    /// True where the recipes wait for the restart, with what they are made for.
    recipes_wait: bool,
}

/// What runs, beside which a file is looked at.
struct Running<'a> {
    keys: &'a ConfigKeys,
    settings: &'a LiveSettings,
    library: &'a Library,
    /// Name of the recipe that judges.
    judging: &'a str,
}

impl Changes {
    fn between(running: &Running, config: &LineConfig) -> Self {
        let changes = running.keys.changes_to(&config.keys).into_iter();
        let (live, mut needs_restart): (Vec<KeyChange>, Vec<KeyChange>) =
            changes.partition(|change| is_live(change, config, running));

        // A camera that needs a restart keeps all of its values until then: its gate's times follow from its
        // trigger and speed.
        let (waiting, mut live): (Vec<KeyChange>, Vec<KeyChange>) = live
            .into_iter()
            .partition(|change| waits(&change.key, &needs_restart));

        needs_restart.extend(waiting);

        // A recipe's references, block and threshold are those of a model: with another one they would judge wrongly.
        let has_other_model = needs_restart.iter().any(|change| change.key == "model");
        let has_other_library = config.library.folder() != running.library.folder();
        let recipes_wait = has_other_model || has_other_library;

        if recipes_wait {
            let of_recipes = live.extract_if(.., |change| is_of_recipe(&change.key));
            needs_restart.extend(of_recipes);
        }

        needs_restart.sort_by(|a, b| a.key.cmp(&b.key));

        Changes {
            live,
            needs_restart,
            recipes_wait,
        }
    }
}

/// True for the keys of all recipes, and of those that can be selected.
fn is_of_recipe(key: &str) -> bool {
    key == FIRST_RECIPE
        || ["recipe.", "recipes", "recipe_numbers"]
            .iter()
            .any(|begin| key.starts_with(begin))
}

/// True for a key of a camera that another change makes wait for a restart.
fn waits(key: &str, needs_restart: &[KeyChange]) -> bool {
    let Some((place, _)) = key.split_once('.') else {
        return false;
    };

    let is_same = |change: &KeyChange| change.key.split_once('.').map(|(of, _)| of) == Some(place);

    place.starts_with("camera[") && needs_restart.iter().any(is_same)
}

/// True for a change that is taken over while the line runs.
fn is_live(change: &KeyChange, config: &LineConfig, running: &Running) -> bool {
    let key = &change.key;

    // The first recipe of a file judges from a start on; while the line runs another one is selected by a command.
    if key == FIRST_RECIPE {
        return config.recipe.name == running.judging;
    }

    if key == "mqtt.heatmaps" || is_of_recipe(key) {
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

    running.settings.timings.contains_key(&camera.camera.name)
        && OF_CAMERA.contains(&name)
        && !(is_web && name == "belt_mm_s")
}

fn words_of(changes: &[KeyChange]) -> String {
    let words: Vec<String> = changes.iter().map(KeyChange::to_string).collect();

    words.join("; ")
}

impl Changeover {
    /// Reads the line's file again, and answers a command that asked for it.
    pub(super) fn serve_reload(&mut self, wish: ReloadRequest, stop: &Stop, pulse: &Heartbeat) {
        let (selection, under_way) = match wish {
            ReloadRequest::Signal => (None, self.hold.begin_change()),
            ReloadRequest::Command {
                selection,
                answered,
                under_way,
            } => {
                let _ = answered.recv(); // nothing is ever sent
                (Some(selection), under_way)
            }
        };

        let reloaded = self.reload(stop, pulse);
        drop(under_way);

        let Some(selection) = selection else { return };
        let id = selection.id.as_deref();

        let answer = match reloaded {
            Ok(words) => Answer::new(id, AnswerStatus::Done, Some(words)),
            Err(words) => Answer::rejected(id, words),
        };

        self.tell(*selection, answer);
    }

    /// Takes over what can be taken over of the line's file; tells what, and what not. Returns the same words.
    fn reload(&mut self, stop: &Stop, pulse: &Heartbeat) -> Result<String, String> {
        // All problems of the file go along in one line.
        let config = config::load(&self.file);
        let config = config.map_err(|problems| problems.to_string().replace('\n', "; "));

        for words in config.iter().flat_map(|config| &config.warnings) {
            tracing::warn!("{words}");
        }

        let outcome = config.and_then(|config| self.take_file_over(&config, stop, pulse));

        match outcome {
            Ok(changes) => {
                self.diagnostics.clear(CONFIGURATION);

                let words = told(&changes);

                tracing::info!("{words}");
                self.store.audit(words.clone());

                if changes.needs_restart.is_empty() {
                    return Ok(words);
                }

                let restart = needs_restart(&changes.needs_restart);

                tracing::warn!("{restart}");
                self.store.audit(restart.clone());

                Ok(format!("{words}; {restart}"))
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

                self.store.audit(words.clone());

                Err(words)
            }
        }
    }

    fn take_file_over(
        &mut self,
        config: &LineConfig,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<Changes, String> {
        let judging = self.judging();
        let running = Running {
            keys: &self.running,
            settings: &self.settings,
            library: &self.library,
            judging: name_in(&judging),
        };

        // All that can fail comes before all that is taken over.
        let changes = Changes::between(&running, config);

        if !changes.recipes_wait {
            self.take_recipes_over(config, &judging, stop, pulse)?;
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

        for change in &changes.live {
            self.running.take_over(change);
        }

        self.settings.keys.set(self.running.clone());

        Ok(changes)
    }

    /// Takes the file's recipes over, and lets the one that judges judge as it stands there.
    fn take_recipes_over(
        &mut self,
        config: &LineConfig,
        judging: &str,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<(), String> {
        // A recipe that judges must stay in the file: which other one was to judge is a person's decision.
        let recipes = self.settings.with_begun(recipes_of(config));
        let name = name_in(judging);
        let recipe = recipes.iter().find(|recipe| recipe.name == name);

        let recipe = recipe.ok_or_else(|| {
            format!("recipe {judging} judges, and is not in the file any more; select another one before")
        })?;

        // Something else may have become current since the file was read.
        let recipe =
            &config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;

        if self.has_changed(recipe, judging) {
            let failed = |error| format!("recipe {}: {error}", recipe.label());
            let prepared = self.prepare(recipe).map_err(failed)?;
            let gallery = self.swap(prepared, None, stop, pulse)?;

            let told = self.with_set_thresholds(recipe.label());
            let gallery = gallery.as_deref().unwrap_or("none");

            self.store
                .audit(format!("recipe {told} judges, gallery {gallery}"));
            tracing::info!("recipe {told} judges from now on");
        }

        self.list_recipes(&recipes, Some(&config.recipe_numbers));
        self.settings.recipes.set(recipes);

        Ok(())
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

    /// Keys of the changes that go live, and of those that need a restart, while `judging` judges.
    fn told(before: &LineConfig, after: &LineConfig, judging: &str) -> (Vec<String>, Vec<String>) {
        let running = Running {
            keys: &before.keys,
            settings: &LiveSettings::new(before, &[]),
            library: &before.library,
            judging,
        };

        let keys = |changes: Vec<KeyChange>| {
            let keys = changes.into_iter().map(|change| change.key);
            keys.collect::<Vec<String>>()
        };

        let changes = Changes::between(&running, after);
        (keys(changes.live), keys(changes.needs_restart))
    }

    #[test]
    fn another_first_recipe_needs_a_restart_unless_it_judges() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["nut", "bolt"] {
            let table = format!("name = \"{name}\"\nthreshold = 0.3\n");
            std::fs::write(folder.path().join(format!("{name}.toml")), table).expect("written");
        }

        let rest = "[[camera]]\nname = \"top\"\nkind = \"test\"\n";
        let top = "prefix = \"plant\"\nstation = \"box\"\nmodel = \"m\"\n";
        let line = |first: &str, other: &str| {
            let recipes = format!("recipe = \"{first}.toml\"\nrecipes = [\"{other}.toml\"]\n");
            loaded(folder.path(), &format!("{top}{recipes}{rest}"))
        };

        let before = line("nut", "bolt");
        let after = line("bolt", "nut");
        assert_eq!(
            told(&before, &after, "nut"),
            (vec!["recipes".to_owned()], vec!["recipe".to_owned()])
        );

        let (live, restart) = told(&before, &after, "bolt");
        assert_eq!((live.len(), restart.len()), (2, 0), "{live:?}");

        // The name in a table is the first recipe's too.
        let with_table = |name: &str| {
            let table = format!("[recipe]\nname = \"{name}\"\nthreshold = 0.3\n");
            let others = "recipes = [\"nut.toml\"]\n";
            loaded(folder.path(), &format!("{top}{others}{table}{rest}"))
        };

        let (_, restart) = told(&with_table("screw"), &with_table("bolt"), "nut");
        assert_eq!(restart, ["recipe"]);
    }

    #[test]
    fn no_recipe_goes_live_beside_a_model_or_a_library_that_waits_for_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |head: &str, threshold: &str| {
            let text = format!(
                "prefix = \"plant\"\nstation = \"box\"\n{head}\n[recipe]\nname = \"nut\"\nthreshold = {threshold}\n[[camera]]\nname = \"top\"\nkind = \"test\"\n[mqtt]\nheatmaps = \"all\"\n"
            );

            loaded(folder.path(), &text)
        };

        let before = line("model = \"m\"", "0.3");
        for (head, key) in [
            ("model = \"n\"", "model"),
            ("model = \"m\"\nlibrary = \"elsewhere\"", "library"),
        ] {
            let (live, restart) = told(&before, &line(head, "0.4"), "nut");
            assert_eq!(live, Vec::<String>::new());
            assert_eq!(restart, [key, "recipe.nut.threshold"]);
        }
    }

    #[test]
    fn what_can_change_while_the_line_runs_is_told_from_what_cannot() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = "prefix = \"plant\"\nstation = \"box\"\nmodel = \"m\"\n";
        let rest = "[recipe]\nname = \"nut\"\nthreshold = 0.3\n[[camera]]\nname = \"top\"\nkind = \"test\"\n";
        let before = loaded(folder.path(), &format!("{top}{rest}"));
        let changes = |text: &str| told(&before, &loaded(folder.path(), text), "nut");
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
