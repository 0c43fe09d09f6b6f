//! What the doors of a line need to know of it: its identity, and how its cameras make parts; and its door to files, the evidence.

use super::channels::{DoorSettings, PageFiles};
use super::evidence::{EvidenceSender, EvidenceStage, evidence_stage};
use super::live_settings::{LiveSettings, recipes_of};
use super::nearest::NearestFinder;
use super::opening::Opening;
use super::overlays::OverlayPainter;
use super::shared::Shared;
use crate::base::live::Live;
use crate::config::{ConfigKeys, LineConfig};
use crate::mqtt::publisher::RETAINED_TOPICS;
use crate::page::PageSettings;
use crate::protocol::birth::Identity;
use crate::recipe::active::ActiveRecipe;
use crate::recipe::library::folder::Library;
use crate::recipe::prepare::RecipePreparer;
use crate::recipe::spec::RecipeSpec;
use crate::trigger::Trigger;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Line, run and model as messages name them; the recipe is added by [`Identity::judged_by`].
pub(super) fn identity_of(
    config: &LineConfig,
    (opening, begun): (&Opening, &[RecipeSpec]),
    active: &ActiveRecipe,
    model: &str,
    run_id: &str,
) -> Identity {
    let mut identity = Identity {
        prefix: config.prefix.clone(),
        station: config.station.clone(),
        run_id: run_id.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras: camera_names(config)
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        recipe: String::new(),
        model: model.to_owned(),
        backend: active.inspector.backend().to_owned(),
        device: active.inspector.device().to_owned(),
        references: active.inspector.reference_count(),
        gallery: active.gallery.clone(),
        threshold: None,
        regions: BTreeMap::new(),
        previous: opening.recovered.previous.clone(),
        recipes: vec![],
        recipe_numbers: config.recipe_numbers.clone(),
        places: distinct(part_cameras(config)),
    };

    let recipes = recipes_of(config);
    let names = recipes.iter().chain(begun).map(|recipe| &*recipe.name);
    identity.selectable(names);

    identity
}

/// The stage that keeps pictures of parts, and the end by which they come to it; `None` where none are kept.
pub(super) fn evidence_of(
    config: &LineConfig,
    active: &mut ActiveRecipe,
    shared: &Shared,
) -> (Option<EvidenceSender>, Option<EvidenceStage>) {
    let stage = config.evidence.as_ref().map(|settings| {
        let painter = OverlayPainter(active.inspector.painter());
        let counts = shared.evidence_counts.clone();
        evidence_stage(settings.clone(), painter, counts, &shared.diagnostics)
    });

    stage.unzip()
}

/// The stage that finds the nearest references of failed parts.
pub(super) fn nearest_of(
    shared: &Shared,
    preparer: &RecipePreparer,
    library: &Library,
    settings: &LiveSettings,
) -> NearestFinder {
    let evidence = shared.evidence.clone();
    let recipes = settings.recipes.clone();

    NearestFinder::new((&shared.nearest, evidence), preparer, library, recipes)
}

/// The names in their order, each once.
fn distinct(names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let mut distinct: Vec<Arc<str>> = vec![];

    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }

    distinct
}

/// Names of the cameras, in the order of the file.
pub(super) fn camera_names(config: &LineConfig) -> Vec<&str> {
    let cameras = config.cameras.iter();

    cameras.map(|camera| &*camera.camera.name).collect()
}

/// Names under which parts come. Cameras that see parts together have one; a name that stands twice does no harm.
pub(super) fn part_cameras(config: &LineConfig) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = vec![];

    for camera in &config.cameras {
        names.push(match &camera.join {
            Some(join) => join.as_str().into(),
            None => camera.camera.name.clone(),
        });
    }

    names
}

/// Returns what the doors need to know of the line.
pub(super) fn doors_of(config: &LineConfig, opening: &Opening) -> DoorSettings {
    let mut triggers = config.cameras.iter().map(|camera| &camera.trigger);

    // Nothing is known of the broker's leftovers where the store could not be read: they stay until
    // a later start.
    let retained = opening.recovered.kept.get(RETAINED_TOPICS);
    DoorSettings {
        is_continuous: is_continuous(config),
        needs_commands: triggers.any(|trigger| matches!(trigger, Trigger::Command(_))),
        times_triggers: times_triggers(config),
        part_cameras: part_cameras(config),
        retained: retained.cloned().unwrap_or_default(),
    }
}

/// Returns true where a camera's frames become parts without a trigger.
fn is_continuous(config: &LineConfig) -> bool {
    // One such camera is enough: the line's state then says that it runs by itself.
    let mut triggers = config.cameras.iter().map(|camera| &camera.trigger);

    triggers.any(|trigger| *trigger == Trigger::Continuous)
}

/// Returns true where a trigger may come that says no time.
fn times_triggers(config: &LineConfig) -> bool {
    config
        .cameras
        .iter()
        .any(|camera| matches!(camera.trigger, Trigger::Command(_)) && !camera.requires_at)
}

/// What the line keeps and for how long, in sentences.
fn kept_words(config: &LineConfig) -> Vec<String> {
    let days = |age: Duration| age.as_secs() / 86_400;
    let store = &config.store;

    let results = format!(
        "Results that the broker has: {} days, and {} MB of them at most (keep_days and keep_mb in [store]).",
        days(store.keep),
        store.keep_bytes >> 20
    );

    let pictures = match &config.evidence {
        Some(evidence) => format!(
            "Pictures of parts: {} days, and {} MB of them at most (days and mb in [evidence]).",
            days(evidence.age_max),
            evidence.bytes_max >> 20
        ),
        None => "Pictures of parts: none are kept (there is no [evidence]).".to_owned(),
    };

    vec![results, pictures]
}

/// The files of a line's page, and what it tells of the configuration.
pub(super) fn page_files(
    config: &LineConfig,
    page: &PageSettings,
    keys: Live<ConfigKeys>,
) -> PageFiles {
    PageFiles {
        store_folder: folder_of(&config.store.file),
        users: page.users.clone(),
        line: config.file.clone(),
        store: config.store.file.clone(),
        kept: kept_words(config),
        keys,
    }
}

/// The folder of a file: the working directory for a bare name.
fn folder_of(file: &Path) -> PathBuf {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}
