//! Layer 5: a line's configuration: text to a checked [`LineConfig`], every problem at once.
//!
//! The file first, then the environment (`WINSPECT__MQTT__HOST=...`). Unknown keys are refused with the nearest
//! known one. Paths in the file are relative to the file.

mod link;
mod regions;
mod table;

use crate::base::problems::Problems;
use crate::camera::{self, pipelines};
use crate::frame::Area;
use crate::intake::Policy;
use crate::part::Terms;
use crate::publish::{self, Heatmaps};
use crate::quality;
use crate::store;
use crate::trigger::{PresenceSettings, RingSettings, Stretches, Trigger};
use crate::verdict::OnUndecided;
use crate::winclip::{MapKind, Recipe};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;

/// A whole line, checked: holding one is proof that every value is in its range.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// `<prefix>/<station>` begins every topic.
    pub prefix: String,
    pub station: String,
    /// An imported model folder.
    pub model: PathBuf,
    pub backend: Backend,
    /// Where libonnxruntime is, when it is neither beside the executable nor in `engines/lib`.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the encoder; nothing means one a core.
    pub threads: Option<usize>,
    /// Pictures that go through the encoder together at most, where they wait.
    pub batch: usize,
    /// The one that judges first.
    pub recipe: RecipeConfig,
    /// Those that a command can select beside it; all names differ.
    pub recipes: Vec<RecipeConfig>,
    /// At least one; names are unique.
    pub cameras: Vec<CameraConfig>,
    pub mqtt: publish::Settings,
    pub store: store::Settings,
    /// A folder that heat-map overlays are also written to, the newest of each camera kept.
    pub overlays: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Auto,
    Onnx,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    Fixed(f32),
    /// The highest usual leave-one-out score of the references, times this factor.
    Auto {
        factor: f32,
    },
    /// Nothing was said: every part is `undecided(not_ready)`.
    None,
}

#[derive(Debug, Clone)]
pub struct RecipeConfig {
    pub name: String,
    pub revision: u64,
    pub winclip: Recipe,
    /// Pictures of good parts: files, or folders of files. Empty for zero-shot.
    pub references: Vec<PathBuf>,
    /// One for each region of `winclip`.
    pub thresholds: Vec<Threshold>,
    /// What makes a picture bad.
    pub bad_image: quality::Limits,
    /// What the gate does with a part that is undecided.
    pub on_undecided: OnUndecided,
    /// How often known parts must be shown to the line; nothing means never.
    pub challenge_every: Option<Duration>,
    pub self_test: Option<SelfTestConfig>,
}

impl RecipeConfig {
    /// `name@revision`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.revision)
    }
}

/// Two pictures that are judged again when nothing else is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestConfig {
    pub good: PathBuf,
    pub bad: PathBuf,
    pub every: Duration,
}

#[derive(Debug, Clone)]
pub struct CameraConfig {
    pub camera: camera::Settings,
    pub trigger: Trigger,
    /// The name under which it and others see the same part.
    pub join: Option<String>,
    /// Frames of parts that may wait for the inspector.
    pub queue: usize,
    pub terms: Terms,
    /// How large a pixel is on the part, in millimetres, for those who ask what can be seen.
    pub mm_per_pixel: Option<f64>,
}

impl CameraConfig {
    /// What happens to its frames when the inspector is behind.
    pub fn policy(&self) -> Policy {
        if self.trigger == Trigger::Continuous { Policy::NewestWins } else { Policy::Queue(self.queue) }
    }
}

/// Reads, overlays the environment, checks.
///
/// # Errors
/// All problems, each with the path of its key.
pub fn load(path: &Path) -> Result<LineConfig, Problems> {
    let environment = config::Environment::with_prefix("WINSPECT").prefix_separator("__").separator("__");
    read(path, environment)
}

fn read(path: &Path, environment: config::Environment) -> Result<LineConfig, Problems> {
    let mut problems = Problems::new();
    let file = config::File::from(path).format(config::FileFormat::Toml);
    let merged = config::Config::builder().add_source(file).add_source(environment).build();
    // JSON has no NaN and would turn it into "not given".
    if let Ok(Ok(raw)) = merged.as_ref().map(|config| config.clone().try_deserialize::<toml::Value>()) {
        refuse_not_finite("", &raw, &mut problems);
    }
    let value = merged.and_then(config::Config::try_deserialize::<Value>);
    let Some(value) = problems.check(path.display(), value) else { return Err(problems) };
    let base = path.parent().unwrap_or(Path::new(".")).to_owned();
    let line = line(value, &base, &mut problems);
    problems.into_result().map(|()| line)
}

fn line(value: Value, base: &Path, problems: &mut Problems) -> LineConfig {
    let mut table = Table::new("", value, problems);
    let prefix = table.required("prefix");
    let station = table.required("station");
    for (key, words, levels) in [("prefix", &prefix, true), ("station", &station, false)] {
        if let Err(why) = check_topic(words, levels) {
            table.note(key, why);
        }
    }
    let model = base.join(table.required("model"));
    let backend = table.choice("backend", "\"auto\", \"onnx\"").unwrap_or_default();
    let onnxruntime = table.path("onnxruntime", base);
    let threads = table.whole("threads", 1, 1024).map(|n| n as usize);
    let batch = table.whole("batch", 1, 64).unwrap_or(1) as usize;
    let overlays = table.path("overlays", base);
    let (recipe, cameras, mqtt) = (table.take("recipe"), table.take("camera"), table.take("mqtt"));
    let store = table.take("store");
    let others = table.texts("recipes");
    table.finish();

    let recipe = recipe_of(recipe, base, problems);
    let recipes = recipes_of(others, &recipe, base, problems);
    let cameras = cameras_of(cameras, base, problems);
    let (mqtt, reject_window) = mqtt_of(mqtt.unwrap_or(Value::Null), &station, base, problems);
    let store = store_of(store.unwrap_or(Value::Null), &station, reject_window, base, problems);
    LineConfig {
        prefix,
        station,
        model,
        backend,
        onnxruntime,
        threads,
        batch,
        recipe,
        recipes,
        cameras,
        mqtt,
        store,
        overlays,
    }
}

/// Under systemd the store is in the service's state directory, else beside the line's file.
fn store_of(
    value: Value,
    station: &str,
    reject_window: Duration,
    base: &Path,
    problems: &mut Problems,
) -> store::Settings {
    let mut table = Table::new("store", value, problems);
    let file = table.path("file", base).unwrap_or_else(|| {
        let states = std::env::var_os("STATE_DIRECTORY").map_or_else(|| base.to_owned(), PathBuf::from);
        states.join(format!("{station}.db"))
    });
    let sync = table.choice("sync", "\"full\", \"normal\"").unwrap_or_default();
    let waiting_max = table.whole("waiting_max", 1, 100_000_000).unwrap_or(1_000_000);
    let keep = Duration::from_secs(86_400 * table.whole("keep_days", 0, 36_500).unwrap_or(30));
    let keep_bytes = table.whole("keep_mb", 1, 10_000_000).unwrap_or(1000) << 20;
    table.finish();
    store::Settings { file, sync, waiting_max, keep, keep_bytes, reject_window }
}

fn refuse_not_finite(place: &str, value: &toml::Value, problems: &mut Problems) {
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            problems.note(place, format!("must be a finite number, got {number}"));
        }
        toml::Value::Table(table) => {
            for (key, value) in table {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                refuse_not_finite(&place, value, problems);
            }
        }
        toml::Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| refuse_not_finite(&format!("{place}[{i}]"), item, problems));
        }
        _ => {}
    }
}

/// One level of a topic, or several.
fn check_topic(words: &str, levels: bool) -> Result<(), String> {
    let bad = |c: char| matches!(c, '+' | '#' | '\0') || c.is_control() || (c == '/' && !levels);
    let empty_level = words.split('/').any(str::is_empty);
    match words {
        "" => Ok(()), // its absence is told already
        _ if words.chars().any(bad) || empty_level || words.starts_with('$') => {
            let slash = if levels { "an empty level" } else { "/" };
            Err(format!("must be part of a topic, without +, #, {slash} or a leading $; got {words:?}"))
        }
        _ => Ok(()),
    }
}

fn recipe_of(value: Option<Value>, base: &Path, problems: &mut Problems) -> RecipeConfig {
    let value = match value {
        Some(Value::String(file)) => {
            let path = base.join(file);
            let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
            let parsed = read.and_then(|text| toml::from_str::<toml::Value>(&text).map_err(|e| e.to_string()));
            let parsed = problems.check(format!("recipe {}", path.display()), parsed);
            parsed.iter().for_each(|raw| refuse_not_finite("recipe", raw, problems));
            parsed.and_then(|raw| serde_json::to_value(raw).ok()).unwrap_or(Value::Null)
        }
        Some(value) => value,
        None => {
            problems.note("recipe", "missing");
            return empty_recipe();
        }
    };
    let mut table = Table::new("recipe", value, problems);
    let name = table.required("name");
    let revision = table.whole("revision", 1, u64::from(u32::MAX)).unwrap_or(1);
    let mut winclip = Recipe::new(table.text("class_name"));
    winclip.preset = table.choice("preset", "\"paper\", \"anomalib\", \"zqhang\", \"caoyunkang\"").unwrap_or_default();
    let whole = regions::looked_at(&mut table);
    let regions = table.take("region");
    winclip.tiles = table.whole("tiles", 32, 16384).map(|side| side as usize);
    winclip.fit = table.choice("fit", "\"squash\", \"crop\"").unwrap_or_default();
    winclip.side = table.whole("size", 1, 4096).map(|n| n as usize);
    winclip.block = table.whole("block", 1, 1000).map(|n| n as usize);
    winclip.maps = table.items::<MapKind>("maps");
    winclip.scales = table.items::<usize>("scales").unwrap_or_else(|| vec![2, 3]);
    winclip.normal_states = table.texts("normal_states");
    winclip.anomalous_states = table.texts("anomalous_states");
    winclip.templates = table.texts("templates");
    let references: Vec<PathBuf> = table.texts("references").into_iter().map(|path| base.join(path)).collect();
    for path in references.iter().filter(|path| !path.exists()) {
        table.note("references", format!("{} is not there", path.display()));
    }
    let factor = table.number("auto_factor", 0.01, 100.0).unwrap_or(AUTO_FACTOR) as f32;
    let threshold = threshold_of(&mut table, factor).unwrap_or(Threshold::None);
    let on_undecided = table.choice("on_undecided", "\"fail\", \"pass\"").unwrap_or_default();
    let challenge_every = table.whole("challenge_minutes", 1, 525_600).map(|minutes| Duration::from_secs(60 * minutes));
    let bad_image = table.take("bad_image").unwrap_or(Value::Null);
    let self_test = table.take("self_test").unwrap_or(Value::Null);
    let given = [("crop", whole.crop.is_some()), ("mask", !whole.mask.is_empty())];
    for (key, _) in given.iter().filter(|(_, given)| regions.is_some() && *given) {
        table.note(key, "cannot be had beside [[recipe.region]]: each region has its own; take this one out");
    }
    table.finish();
    let bad_image = limits_of(bad_image, problems);
    let self_test = self_test_of(self_test, base, problems);
    let regions = match regions {
        None => vec![(whole, threshold)],
        Some(value) => regions::regions(value, factor, threshold, problems),
    };
    let thresholds;
    (winclip.regions, thresholds) = regions.into_iter().unzip();
    RecipeConfig {
        name,
        revision,
        winclip,
        references,
        thresholds,
        bad_image,
        on_undecided,
        challenge_every,
        self_test,
    }
}

/// Recipes beside the first, a file each.
fn recipes_of(files: Vec<String>, first: &RecipeConfig, base: &Path, problems: &mut Problems) -> Vec<RecipeConfig> {
    let mut recipes: Vec<RecipeConfig> = vec![];
    for (i, file) in files.into_iter().enumerate() {
        let mut own = Problems::new();
        let recipe = recipe_of(Some(Value::String(file.clone())), base, &mut own);
        if let Err(own) = own.into_result() {
            problems
                .note(format!("recipes[{i}] ({file})"), format!("\n    {}", own.to_string().replace('\n', "\n    ")));
        }
        if recipes.iter().chain([first]).any(|other| other.name == recipe.name) {
            problems.note(format!("recipes[{i}] ({file})"), format!("{:?} is another recipe's name", recipe.name));
        }
        recipes.push(recipe);
    }
    recipes
}

fn self_test_of(value: Value, base: &Path, problems: &mut Problems) -> Option<SelfTestConfig> {
    if value.is_null() {
        return None;
    }
    let mut table = Table::new("recipe.self_test", value, problems);
    let (good, bad) = (base.join(table.required("good")), base.join(table.required("bad")));
    for (key, path) in [("good", &good), ("bad", &bad)] {
        if !path.is_file() {
            table.note(key, format!("{} is not a picture that is there", path.display()));
        }
    }
    let every = Duration::from_secs(table.whole("every_s", 1, 86_400).unwrap_or(300));
    table.finish();
    Some(SelfTestConfig { good, bad, every })
}

fn empty_recipe() -> RecipeConfig {
    let winclip = Recipe::new(None);
    let bad_image = quality::Limits::default();
    RecipeConfig {
        name: String::new(),
        revision: 1,
        winclip,
        references: vec![],
        thresholds: vec![Threshold::None],
        bad_image,
        on_undecided: OnUndecided::default(),
        challenge_every: None,
        self_test: None,
    }
}

/// 0 switches a check off.
fn limits_of(value: Value, problems: &mut Problems) -> quality::Limits {
    let mut table = Table::new("recipe.bad_image", value, problems);
    let usual = quality::Limits::default();
    let mut share = |key, usual: f32| table.number(key, 0.0, 1.0).map_or(usual, |share| share as f32);
    let (black, saturated) = (share("black", usual.black), share("saturated", usual.saturated));
    let blurred = share("blurred", usual.blurred);
    let frozen_frames = table.whole("frozen_frames", 0, 1_000_000).unwrap_or(usual.frozen_frames);
    table.finish();
    quality::Limits { frozen_frames, black, saturated, blurred }
}

/// Scores of good parts vary; the factor leaves room above the highest of the references.
const AUTO_FACTOR: f64 = 1.1;

/// A table's own threshold, where it has one.
fn threshold_of(table: &mut Table, factor: f32) -> Option<Threshold> {
    match table.take("threshold")? {
        Value::String(word) if word == "auto" => Some(Threshold::Auto { factor }),
        value => {
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            match number {
                Some(number) if (0.0..=2.0).contains(&number) => Some(Threshold::Fixed(number as f32)),
                _ => {
                    table.note("threshold", format!("must be \"auto\" or a number from 0 to 2, got {value}"));
                    None
                }
            }
        }
    }
}

fn cameras_of(value: Option<Value>, base: &Path, problems: &mut Problems) -> Vec<CameraConfig> {
    let list = match value {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(other) if !other.is_array() => {
            problems.note("camera", format!("must be [[camera]] tables, got {other}"));
            return vec![];
        }
        _ => {
            problems.note("camera", "at least one [[camera]] is needed");
            return vec![];
        }
    };
    let mut cameras: Vec<CameraConfig> = vec![];
    for (i, value) in list.into_iter().enumerate() {
        let place = format!("camera[{i}]");
        let camera = camera_of(&place, value, base, problems);
        if cameras.iter().any(|other| other.camera.name == camera.camera.name) {
            problems.note(format!("{place}.name"), format!("{:?} is another camera's name", camera.camera.name));
        }
        cameras.push(camera);
    }
    check_joins(&cameras, problems);
    cameras
}

fn check_joins(cameras: &[CameraConfig], problems: &mut Problems) {
    for (i, camera) in cameras.iter().enumerate() {
        let Some(name) = &camera.join else { continue };
        let place = format!("camera[{i}].join");
        if cameras.iter().any(|other| *other.camera.name == **name) {
            problems.note(&place, format!("{name:?} is a camera's name; joined views need one of their own"));
        }
        let others: Vec<_> = cameras.iter().filter(|other| other.join == camera.join).collect();
        if others.len() < 2 {
            problems
                .note(&place, format!("{name:?} has one camera only; give it to the others that see the same part"));
        }
        if others.iter().any(|other| other.terms != camera.terms) {
            let words = "views of one part must have the same deadline_ms, reject_after_ms and reject_counts";
            problems.note(&place, words);
        }
    }
}

fn camera_of(place: &str, value: Value, base: &Path, problems: &mut Problems) -> CameraConfig {
    let mut table = Table::new(place, value, problems);
    let name = table.required("name");
    if let Err(why) = check_topic(&name, false) {
        table.note("name", why);
    }
    let kind = table.required("kind");
    let stall = table.number("stall_s", 0.1, 3600.0).unwrap_or(5.0);
    let delay = Duration::from_millis(table.whole("delay_ms", 0, 60_000).unwrap_or(0));
    let speed = table.number("belt_mm_s", 0.1, 100_000.0);
    let trigger = trigger_of(&mut table, speed);
    let join = table.text("join");
    if let Some(Err(why)) = join.as_deref().map(|name| check_topic(name, false)) {
        table.note("join", why);
    }
    if join.is_some() && !matches!(trigger, Trigger::Command(_)) {
        table.note("join", "needs trigger = \"command\": only a command says which frames show the same part");
    }
    let queue = table.whole("queue", 1, 1000).unwrap_or(8) as usize;
    let terms = terms_of(&mut table, speed, matches!(trigger, Trigger::Distance(_)));
    let mm_per_pixel = table.number("mm_per_pixel", 1e-6, 1000.0);
    let values = table.rest();
    table.finish();
    let (stall, triggered) = (Duration::from_secs_f64(stall), trigger == Trigger::Frame);
    let mut camera = camera::Settings { name: name.into(), kind, values, stall, triggered, delay };
    if !camera.kind.is_empty() {
        pipelines::check(&mut camera, base, place, problems);
    }
    CameraConfig { camera, trigger, join, queue, terms, mm_per_pixel }
}

/// What counts as a part.
fn trigger_of(table: &mut Table, speed: Option<f64>) -> Trigger {
    let word = table.text("trigger").unwrap_or_else(|| "continuous".to_owned());
    if table.take("triggered").is_some() {
        table.note("triggered", "is trigger = \"frame\" now");
    }
    let every = table.whole("every", 1, 1_000_000);
    let window = table.whole("window_ms", 1, 60_000);
    let ring = table.whole("ring_mb", 1, 100_000);
    let presence = table.take("presence");
    let stretch = table.number("stretch_mm", 0.1, 1e6);
    let overlap = table.number("overlap_mm", 0.0, 1e6);
    let mut only = |key: &str, is_given: bool, kind: &str| {
        if is_given && word != kind {
            table.note(key, format!("belongs to trigger = {kind:?}, which this camera has not"));
        }
    };
    only("every", every.is_some(), "every_n");
    only("window_ms", window.is_some(), "command");
    only("ring_mb", ring.is_some(), "command");
    only("presence", presence.is_some(), "presence");
    only("stretch_mm", stretch.is_some(), "distance");
    only("overlap_mm", overlap.is_some(), "distance");
    match word.as_str() {
        "continuous" => Trigger::Continuous,
        "frame" => Trigger::Frame,
        "every_n" => Trigger::EveryN(every.unwrap_or_else(|| {
            table.note("every", "missing: of how many frames one is a part");
            1
        })),
        "command" => Trigger::Command(RingSettings {
            bytes: (ring.unwrap_or(64) as usize) << 20,
            window: Duration::from_millis(window.unwrap_or(100)),
        }),
        "presence" => {
            Trigger::Presence(presence.map_or_else(PresenceSettings::default, |value| presence_of(table, value)))
        }
        "distance" => distance_of(table, speed, stretch, overlap.unwrap_or(0.0)),
        other => {
            let known = "\"continuous\", \"frame\", \"every_n\", \"command\", \"presence\", \"distance\"";
            table.note("trigger", format!("must be one of {known}; got {other:?}"));
            Trigger::Continuous
        }
    }
}

/// Overlapping stretches of a web.
fn distance_of(table: &mut Table, speed: Option<f64>, stretch: Option<f64>, overlap: f64) -> Trigger {
    match (speed, stretch) {
        (Some(speed), Some(stretch)) if overlap < stretch => {
            Trigger::Distance(Stretches { mm_per_s: speed, step_mm: stretch - overlap })
        }
        (Some(_), Some(stretch)) => {
            table.note("overlap_mm", format!("must be less than stretch_mm ({stretch}), got {overlap}"));
            Trigger::Continuous
        }
        _ => {
            table.note(
                "stretch_mm",
                "and belt_mm_s are needed: what one picture shows of the web, and how fast it runs",
            );
            Trigger::Continuous
        }
    }
}

fn presence_of(table: &mut Table, value: Value) -> PresenceSettings {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        area: Option<[usize; 4]>,
        level: Option<f32>,
        share: Option<f32>,
    }
    let usual = PresenceSettings::default();
    let given: Given = match serde_json::from_value(value) {
        Ok(given) => given,
        Err(error) => {
            table.note(
                "presence",
                format!("must be like {{ area = [x, y, width, height], level = 25, share = 0.05 }}: {error}"),
            );
            return usual;
        }
    };
    let area = given.area.map(|[x, y, w, h]| Area { x, y, w, h });
    if area.is_some_and(|area| area.w == 0 || area.h == 0) {
        table.note("presence.area", "must be at least 1 pixel wide and high");
    }
    let (level, share) = (given.level.unwrap_or(usual.level), given.share.unwrap_or(usual.share));
    if !(1.0..=254.0).contains(&level) {
        table.note("presence.level", format!("must be from 1 to 254 grey levels, got {level}"));
    }
    if !(0.001..=1.0).contains(&share) {
        table.note("presence.share", format!("must be from 0.001 to 1 of the area, got {share}"));
    }
    PresenceSettings { area, level, share }
}

/// When a verdict is due, and when a part that is rejected is at the gate.
fn terms_of(table: &mut Table, speed: Option<f64>, needs_speed: bool) -> Terms {
    let deadline = Duration::from_millis(table.whole("deadline_ms", 1, 3_600_000).unwrap_or(1000));
    let after = table.whole("reject_after_ms", 0, 3_600_000).map(Duration::from_millis);
    let way = table.number("reject_mm", 0.0, 1e6);
    let by_belt = speed.zip(way).map(|(speed, way)| Duration::from_secs_f64(way / speed));
    if speed.is_some() != way.is_some() && !(needs_speed && way.is_none()) {
        table.note(
            "belt_mm_s",
            "and reject_mm belong together: the belt's speed, and the way from the camera to the gate",
        );
    }
    if after.is_some() && by_belt.is_some() {
        table.note("reject_after_ms", "and reject_mm both say when a part is at the gate; give one");
    }
    let reject_counts = table.whole("reject_counts", 0, i64::MAX as u64).map(|counts| counts as i64);
    let reject_after = after.or(by_belt);
    if let Some(gate) = reject_after.filter(|gate| *gate < deadline) {
        let (gate, deadline) = (gate.as_millis(), deadline.as_millis());
        table.note("deadline_ms", format!("the part is at the gate after {gate} ms, before its verdict is due after {deadline} ms; make it at most {gate}"));
    }
    Terms { deadline, reject_after, reject_counts }
}

fn mqtt_of(value: Value, station: &str, base: &Path, problems: &mut Problems) -> (publish::Settings, Duration) {
    let mut table = Table::new("mqtt", value, problems);
    let host = table.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let tls = table.take("tls");
    let port = table.whole("port", 1, 65535).unwrap_or(if tls.is_some() { 8883 } else { 1883 }) as u16;
    let client_id = table.text("client_id").unwrap_or_else(|| format!("winspect-{station}"));
    let user = table.text("user");
    let password = link::password(&mut table, base);
    if password.is_some() && user.is_none() {
        table.note("password_file", "needs user as well");
    }
    link::check_host(&mut table, &host, tls.is_some());
    let heatmaps = table.choice::<Heatmaps>("heatmaps", "\"fail\", \"all\", \"none\"").unwrap_or_default();
    let reject_window = Duration::from_millis(table.whole("reject_window_ms", 0, 3_600_000).unwrap_or(2000));
    table.finish();
    let tls = tls.and_then(|value| link::tls(value, base, problems));
    (publish::Settings { host, port, client_id, user, password, tls, heatmaps }, reject_window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<LineConfig, Problems> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("line.toml");
        std::fs::write(&path, text).expect("written");
        load(&path)
    }

    const SMALL: &str = r#"
prefix = "plant/press"
station = "box"
model = "m"
[recipe]
name = "nut"
maps = ["patch", 2]
threshold = "auto"
[[camera]]
name = "top"
kind = "test"
"#;

    #[test]
    fn a_small_file_is_enough_and_the_rest_has_defaults() {
        let line = read_text(SMALL).expect("fits");
        assert_eq!(line.mqtt.client_id, "winspect-box");
        assert_eq!(line.recipe.thresholds, [Threshold::Auto { factor: 1.1 }]);
        assert_eq!(line.recipe.winclip.maps, Some(vec![MapKind::Patch, MapKind::Windows(2)]));
        assert!(line.model.is_absolute() && line.model.ends_with("m"));
    }

    #[test]
    fn all_problems_are_told_at_once_with_the_way_out() {
        let text = SMALL
            .replace("\"plant/press\"", "\"plant/+\"")
            .replace("\"auto\"", "nan")
            .replace("kind = \"test\"", "kind = \"tset\"\nnoise = 1")
            + "[mqtt]\nhost = \"10.0.0.1\"\nprot = 1\n[extra]\n";
        let problems = read_text(&text).expect_err("many").to_string();
        for words in [
            "prefix: must be part of a topic",
            "recipe.threshold: must be a finite number, got NaN",
            "camera[0].kind: ",
            "did you mean \"test\"?",
            "mqtt.host: \"10.0.0.1\" is another machine",
            "mqtt.prot: unknown key \"prot\"; did you mean \"port\"?",
            "extra: unknown key \"extra\"",
        ] {
            assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_refused_in_a_recipe_of_its_own_file_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("nut.toml"), "name = \"nut\"\nthreshold = nan\n").expect("written");
        let text = "prefix = \"p\"\nstation = \"s\"\nmodel = \"m\"\nrecipe = \"nut.toml\"\n\
                    [[camera]]\nname = \"top\"\nkind = \"test\"\n";
        let path = folder.path().join("line.toml");
        std::fs::write(&path, text).expect("written");
        let problems = load(&path).expect_err("not a number").to_string();
        assert!(problems.contains("recipe.threshold: must be a finite number, got NaN"), "{problems}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("line.toml");
        std::fs::write(&path, SMALL).expect("written");
        let variables = [("WINSPECT__MQTT__PORT", "1999"), ("WINSPECT__RECIPE__THRESHOLD", "0.4")];
        let source = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let environment =
            config::Environment::with_prefix("WINSPECT").prefix_separator("__").separator("__").source(Some(source));
        let line = read(&path, environment).expect("fits");
        assert_eq!((line.mqtt.port, line.recipe.thresholds), (1999, vec![Threshold::Fixed(0.4)]));
    }

    #[test]
    fn regions_have_their_own_thresholds_or_the_recipes() {
        let regions = "[[recipe.region]]\nname = \"thread\"\ncrop = [0, 0, 90, 80]\nthreshold = 0.3\n\
                       [[recipe.region]]\nname = \"rim\"\ncrop = [9, 0, 90, 80]\nmask = [[[9, 0], [20, 0], [9, 9]]]\n";
        let line = read_text(&SMALL.replace("[[camera]]", &format!("{regions}[[camera]]"))).expect("fits");
        let RecipeConfig { winclip, thresholds, .. } = line.recipe;
        let names: Vec<_> = winclip.regions.iter().map(|region| region.name.as_deref()).collect();
        assert_eq!(names, [Some("thread"), Some("rim")]);
        assert_eq!((winclip.regions[0].mask.len(), winclip.regions[1].mask.len()), (0, 1));
        assert_eq!(thresholds, [Threshold::Fixed(0.3), Threshold::Auto { factor: 1.1 }]);
    }

    #[test]
    fn all_problems_of_regions_are_told_at_once() {
        let region = |text: &str| format!("[[recipe.region]]\n{text}\n");
        let regions = [
            "name = \"rim/1\"\ncrop = [0, 0, 90, 80]",
            "name = \"rim\"",
            "name = \"rim\"\ncrop = [0, 0, 0, 80]\nthreshold = 3",
            "name = \"a-name-that-is-longer-than-thirty-two\"\ncrop = [0, 0, 9, 9]\nmaks = []",
        ];
        let own = "[recipe]\ncrop = [0, 0, 90, 80]";
        let text = SMALL.replace("[recipe]", own).replace("[[camera]]", &(regions.map(region).concat() + "[[camera]]"));
        let problems = read_text(&text.replace("\"top\"", "\"top\"\nmm_per_pixel = 0")).expect_err("many").to_string();
        for words in [
            "recipe.crop: cannot be had beside [[recipe.region]]",
            "recipe.region[0].name: must be part of a topic",
            "recipe.region[1].crop: missing: [x, y, width, height]",
            "recipe.region[2].name: \"rim\" is another region's name",
            "recipe.region[2].crop: must be x,y,width,height",
            "recipe.region[2].threshold: must be \"auto\" or a number from 0 to 2, got 3",
            "recipe.region[3].name: must be at most 32 characters long, got 37",
            "recipe.region[3].maks: unknown key \"maks\"; did you mean \"mask\"?",
            "camera[0].mm_per_pixel: must be a number from",
        ] {
            assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
        }
        let problems = read_text(&SMALL.replace("[recipe]", "[recipe]\nregion = 3")).expect_err("a number").to_string();
        assert!(problems.contains("recipe.region: must be [[recipe.region]] tables, got 3"), "{problems}");
    }

    #[test]
    fn two_cameras_of_one_name_are_refused() {
        let text = format!("{SMALL}[[camera]]\nname = \"top\"\nkind = \"test\"\n");
        assert!(
            read_text(&text).is_err_and(|p| p.to_string().contains("camera[1].name: \"top\" is another camera's name"))
        );
    }
}
