//! A whole line out of its file: the keys at the top, and the order in which the tables are read.

use super::camera::{self, CameraConfig};
use super::keys::ConfigKeys;
use super::mqtt::ClientIdentity;
use super::recipes::{self, RecipePlaces};
use super::table::TableReader;
use super::{evidence, mqtt, page, recipe_numbers, shift_check, source, store, topic};
use crate::base::problems::Problems;
use crate::engine::select::Engines;
use crate::evidence::EvidenceSettings;
use crate::mqtt::MqttSettings;
use crate::page::PageSettings;
use crate::protocol::check_due::CheckDue;
use crate::protocol::recipe_number::RecipeNumbers;
use crate::recipe::library::folder::Library;
use crate::recipe::spec::RecipeSpec;
use crate::store::StoreSettings;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A whole line, checked: holding one is proof that every value is in its range.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// The file that was read.
    pub file: PathBuf,
    /// First levels of every topic: `<prefix>/<station>/...`.
    pub prefix: String,
    /// The line's name: one level of a topic.
    pub station: String,
    /// An imported model folder.
    pub model: PathBuf,
    /// The engine that judges, and where its libraries are.
    pub engines: Engines,
    /// Pictures that go through the encoder together at most, where they wait.
    pub batch: usize,
    /// The recipe that judges first.
    pub recipe: RecipeSpec,
    /// Recipes that a command can select beside the first; all names differ.
    pub recipes: Vec<RecipeSpec>,
    /// Numbers by which a PLC knows recipes.
    pub recipe_numbers: RecipeNumbers,
    /// The recipes' revisions; the folder is made when the first is.
    pub library: Library,
    /// One camera or more; names are unique.
    pub cameras: Vec<CameraConfig>,
    /// The broker, and what it gets.
    pub mqtt: MqttSettings,
    /// The file where parts and results are kept, and how long.
    pub store: StoreSettings,
    /// The pictures of parts that are kept; `None` for none.
    pub evidence: Option<EvidenceSettings>,
    /// When a shift check is due.
    pub check_due: CheckDue,
    /// The page for people; `None` for none.
    pub page: Option<PageSettings>,
    /// All of the above by key, as it was given.
    pub keys: ConfigKeys,
    /// What a person should know of the file, and what keeps no line from starting.
    pub warnings: Vec<String>,
}

/// Reads, overlays the environment, checks.
///
/// # Errors
/// All problems, each with the path of its key.
pub fn load(path: &Path) -> Result<LineConfig, Problems> {
    let mut problems = Problems::new();
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    source::refuse_single_underscores(names, &mut problems);

    match read(path, source::environment()) {
        Ok(line) => problems.into_result().map(|()| line),
        Err(found) => {
            // Problems of the environment come first, because they may be why the others are there.
            for problem in found.iter() {
                problems.add(problem);
            }

            Err(problems)
        }
    }
}

/// Does as [`load`] with an environment of the caller's.
///
/// # Errors
/// As [`load`].
pub fn read(path: &Path, environment: config::Environment) -> Result<LineConfig, Problems> {
    // A file that cannot be parsed ends here; every other problem is collected to the end.
    let mut problems = Problems::new();
    let Some(value) = source::line_file(path, environment, &mut problems) else {
        return Err(problems);
    };

    let line = line(value, path, &mut problems);

    problems.into_result().map(|()| line)
}

/// Finds the recipe library of a line whose file need not be right in anything else: the recipe that
/// it names may be about to come.
///
/// # Errors
/// When the file cannot be read.
pub fn library_of(path: &Path) -> Result<Library, Problems> {
    let mut problems = Problems::new();
    let environment = source::environment();
    let Some(value) = source::line_file(path, environment, &mut problems) else {
        return Err(problems);
    };

    // A library that is not named lies beside the store, whose own default is the station's.
    let base = path.parent().unwrap_or(Path::new("."));
    let given = value["library"].as_str();
    let given = given.map(|folder| base.join(folder));

    let store = value.get("store");
    let station = value["station"].as_str().unwrap_or_default();

    Ok(recipes::library(given, store, station, base))
}

/// Prefix and station, by which everything else is named.
fn names(table: &mut TableReader) -> (String, String) {
    let prefix = table.required("prefix");
    let station = table.required("station");
    table.check("prefix", topic::check_levels(&prefix));
    table.check("station", topic::check_level(&station));

    (prefix, station)
}

fn line(value: Value, path: &Path, problems: &mut Problems) -> LineConfig {
    // Relative paths of the file are meant from its folder, wherever the command is started.
    let base = path.parent().unwrap_or(Path::new("."));
    let file = value.clone();

    // The top level is read whole before its tables, so that `finish` releases `problems` for the
    // readers below.
    let mut table = TableReader::new("", value, problems);
    let (prefix, station) = names(&mut table);
    let model = base.join(table.required("model"));
    let engines = engines(&mut table, base);
    let batch = table.count("batch", 1, 64);
    evidence::refuse_overlays(&mut table);

    let library = table.path("library", base);

    // Tables are only taken here. Their readers follow, each with a path of its own.
    let first = table.take("recipe");
    let others = table.texts("recipes");
    let numbers = table.take("recipe_numbers");
    let cameras = table.take("camera");

    let mqtt = table.take("mqtt");
    let store = table.take("store");
    let evidence = table.take("evidence");

    let page = table.take("page");
    let checks = table.take("shift_check");
    table.finish();

    // The first recipe comes before the others, whose names must differ from it. The store needs
    // the gate's window out of `[mqtt]`.
    let library = recipes::library(library, store.as_ref(), &station, base);
    let places = RecipePlaces {
        base,
        library: &library,
    };

    let recipe = recipes::first(first, &places, problems);
    let recipes = recipes::others(others, &recipe, &places, problems);
    let recipe_numbers = recipe_numbers::recipe_numbers(numbers, problems);
    let warnings = numbers_without_recipe(&recipe_numbers, &recipe, &recipes, &library);
    let cameras = camera::cameras(cameras, base, problems);

    // Prefix and station give the broker's client id and the store's file their usual names.
    let identity = ClientIdentity {
        prefix: &prefix,
        station: &station,
    };

    let mqtt = mqtt::settings(mqtt, &identity, base, problems);
    check_timed_reject(&mqtt.link, &cameras, problems);
    let store = store::settings(store, &station, mqtt.reject_window, base, problems);
    let evidence = evidence::settings(evidence, base, problems);

    let page = page::settings(page, &store.file, base, problems);
    let check_due = shift_check::settings(checks, problems);
    let keys = ConfigKeys::of(&file, [&recipe].into_iter().chain(&recipes));
    LineConfig {
        file: path.to_owned(),
        prefix,
        station,
        model,
        engines,
        batch: batch.unwrap_or(1),
        recipe,
        recipes,
        recipe_numbers,
        library,
        cameras,
        mqtt: mqtt.link,
        store,
        check_due,
        page,
        evidence,
        keys,
        warnings,
    }
}

/// Numbers whose recipes are neither in the file nor in the library, in words. The library may lie on a share that is
/// not there yet, and a line starts all the same.
fn numbers_without_recipe(
    numbers: &RecipeNumbers,
    first: &RecipeSpec,
    others: &[RecipeSpec],
    library: &Library,
) -> Vec<String> {
    let in_file = [first].into_iter().chain(others);
    let mut missing: Vec<&str> = numbers.names().collect();

    for recipe in in_file {
        missing.retain(|name| *name != recipe.name);
    }

    if missing.is_empty() {
        return vec![]; // the library need not be read
    }

    let in_library = library.names().unwrap_or_default();
    missing.retain(|name| !in_library.iter().any(|other| other == name));
    let mut warnings = vec![];

    for name in missing {
        warnings.push(format!(
            "recipe_numbers.{name}: there is no such recipe, in the file or the library: its number cannot be selected"
        ));
    }

    warnings
}

fn engines(table: &mut TableReader, base: &Path) -> Engines {
    // A key that is absent leaves the choice to the machine: `auto` takes a GPU where one works.
    let backend = table.choice("backend", "\"auto\", \"onnx\", \"tensorrt\"");
    let precision = table.choice("precision", "\"fp16\", \"fp32\"");
    let onnxruntime = table.path("onnxruntime", base);

    let threads = table.count("threads", 1, 1024);
    let tensorrt = table.path("tensorrt", base);
    Engines {
        backend: backend.unwrap_or_default(),
        precision: precision.unwrap_or_default(),
        onnxruntime,
        threads,
        tensorrt,
        ..Engines::default()
    }
}

/// A message at the gate needs a camera that says when a part is there.
fn check_timed_reject(mqtt: &MqttSettings, cameras: &[CameraConfig], problems: &mut Problems) {
    // A line without cameras has that problem already.
    let has_gate = cameras
        .iter()
        .any(|camera| camera.terms.reject_after.is_some());

    if mqtt.timed_reject && !cameras.is_empty() && !has_gate {
        problems.note(
            "mqtt.timed_reject",
            "no camera says when a part is at the gate; give one reject_after_ms, \
             or belt_mm_s and reject_mm",
        );
    }
}
