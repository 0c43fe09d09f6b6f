//! Layer 5: a line's configuration: text to a checked [`LineConfig`], every problem at once.
//!
//! The file first, then the environment (`WINSPECT__MQTT__HOST=...`). Unknown keys are refused with the nearest
//! known one. Paths in the file are relative to the file.

mod camera;
mod link;
mod recipe;
mod regions;
mod table;

pub use self::camera::CameraConfig;

use crate::base::problems::Problems;
use crate::engine::select::Engines;
use crate::mqtt;
use crate::mqtt::Heatmaps;
use crate::recipe::spec::RecipeSpec;
use crate::store;
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
    pub engines: Engines,
    /// Pictures that go through the encoder together at most, where they wait.
    pub batch: usize,
    /// The one that judges first.
    pub recipe: RecipeSpec,
    /// Those that a command can select beside it; all names differ.
    pub recipes: Vec<RecipeSpec>,
    /// At least one; names are unique.
    pub cameras: Vec<CameraConfig>,
    pub mqtt: mqtt::MqttSettings,
    pub store: store::StoreSettings,
    /// A folder that heat-map overlays are also written to, the newest of each camera kept.
    pub overlays: Option<PathBuf>,
}

/// Reads, overlays the environment, checks.
///
/// # Errors
/// All problems, each with the path of its key.
pub fn load(path: &Path) -> Result<LineConfig, Problems> {
    let environment = config::Environment::with_prefix("WINSPECT")
        .prefix_separator("__")
        .separator("__");
    read(path, environment)
}

fn read(path: &Path, environment: config::Environment) -> Result<LineConfig, Problems> {
    let mut problems = Problems::new();
    let file = config::File::from(path).format(config::FileFormat::Toml);
    let merged = config::Config::builder()
        .add_source(file)
        .add_source(environment)
        .build();
    // JSON has no NaN and would turn it into "not given".
    if let Ok(Ok(raw)) = merged
        .as_ref()
        .map(|config| config.clone().try_deserialize::<toml::Value>())
    {
        refuse_not_finite("", &raw, &mut problems);
    }
    let value = merged.and_then(config::Config::try_deserialize::<Value>);
    let Some(value) = problems.check(path.display(), value) else {
        return Err(problems);
    };
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
    let engines = Engines {
        backend: table
            .choice("backend", "\"auto\", \"onnx\", \"tensorrt\"")
            .unwrap_or_default(),
        precision: table
            .choice("precision", "\"fp16\", \"fp32\"")
            .unwrap_or_default(),
        onnxruntime: table.path("onnxruntime", base),
        threads: table.whole("threads", 1, 1024).map(|n| n as usize),
        tensorrt: table.path("tensorrt", base),
        ..Engines::default()
    };
    let batch = table.whole("batch", 1, 64).unwrap_or(1) as usize;
    let overlays = table.path("overlays", base);
    let (recipe, cameras, mqtt) = (
        table.take("recipe"),
        table.take("camera"),
        table.take("mqtt"),
    );
    let store = table.take("store");
    let others = table.texts("recipes");
    table.finish();

    let recipe = recipe::recipe(recipe, base, problems);
    let recipes = recipe::recipes(others, &recipe, base, problems);
    let cameras = self::camera::cameras(cameras, base, problems);
    let (mqtt, reject_window) = mqtt_of(mqtt.unwrap_or(Value::Null), &station, base, problems);
    if mqtt.timed_reject
        && !cameras.is_empty()
        && cameras
            .iter()
            .all(|camera| camera.terms.reject_after.is_none())
    {
        let words = "no camera says when a part is at the gate; give one reject_after_ms, or belt_mm_s and reject_mm";
        problems.note("mqtt.timed_reject", words);
    }
    let store = store_of(
        store.unwrap_or(Value::Null),
        &station,
        reject_window,
        base,
        problems,
    );
    LineConfig {
        prefix,
        station,
        model,
        engines,
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
) -> store::StoreSettings {
    let mut table = Table::new("store", value, problems);
    let file = table.path("file", base).unwrap_or_else(|| {
        let states =
            std::env::var_os("STATE_DIRECTORY").map_or_else(|| base.to_owned(), PathBuf::from);
        states.join(format!("{station}.db"))
    });
    let sync = table
        .choice("sync", "\"full\", \"normal\"")
        .unwrap_or_default();
    let waiting_max = table
        .whole("waiting_max", 1, 100_000_000)
        .unwrap_or(1_000_000);
    let keep = Duration::from_secs(86_400 * table.whole("keep_days", 0, 36_500).unwrap_or(30));
    let keep_bytes = table.whole("keep_mb", 1, 10_000_000).unwrap_or(1000) << 20;
    table.finish();
    store::StoreSettings {
        file,
        sync,
        waiting_max,
        keep,
        keep_bytes,
        reject_window,
    }
}

fn refuse_not_finite(place: &str, value: &toml::Value, problems: &mut Problems) {
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            problems.note(place, format!("must be a finite number, got {number}"));
        }
        toml::Value::Table(table) => {
            for (key, value) in table {
                let place = if place.is_empty() {
                    key.clone()
                } else {
                    format!("{place}.{key}")
                };
                refuse_not_finite(&place, value, problems);
            }
        }
        toml::Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| refuse_not_finite(&format!("{place}[{i}]"), item, problems));
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
            Err(format!(
                "must be part of a topic, without +, #, {slash} or a leading $; got {words:?}"
            ))
        }
        _ => Ok(()),
    }
}

fn mqtt_of(
    value: Value,
    station: &str,
    base: &Path,
    problems: &mut Problems,
) -> (mqtt::MqttSettings, Duration) {
    let mut table = Table::new("mqtt", value, problems);
    let host = table.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let tls = table.take("tls");
    let port = table
        .whole("port", 1, 65535)
        .unwrap_or(if tls.is_some() { 8883 } else { 1883 }) as u16;
    let client_id = table
        .text("client_id")
        .unwrap_or_else(|| format!("winspect-{station}"));
    let user = table.text("user");
    let password = link::password(&mut table, base);
    if password.is_some() && user.is_none() {
        table.note("password_file", "needs user as well");
    }
    link::check_host(&mut table, &host, tls.is_some());
    let heatmaps = table
        .choice::<Heatmaps>("heatmaps", "\"fail\", \"all\", \"none\"")
        .unwrap_or_default();
    let reject_window = Duration::from_millis(
        table
            .whole("reject_window_ms", 0, 3_600_000)
            .unwrap_or(2000),
    );
    let timed_reject = table.flag("timed_reject").unwrap_or(false);
    table.finish();
    let tls = tls.and_then(|value| link::tls(value, base, problems));
    (
        mqtt::MqttSettings {
            host,
            port,
            client_id,
            user,
            password,
            tls,
            heatmaps,
            timed_reject,
        },
        reject_window,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::spec::Threshold;
    use crate::winclip::MapKind;

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
        assert_eq!(
            line.recipe.winclip.maps,
            Some(vec![MapKind::Patch, MapKind::Windows(2)])
        );
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
        std::fs::write(
            folder.path().join("nut.toml"),
            "name = \"nut\"\nthreshold = nan\n",
        )
        .expect("written");
        let text = "prefix = \"p\"\nstation = \"s\"\nmodel = \"m\"\nrecipe = \"nut.toml\"\n\
                    [[camera]]\nname = \"top\"\nkind = \"test\"\n";
        let path = folder.path().join("line.toml");
        std::fs::write(&path, text).expect("written");
        let problems = load(&path).expect_err("not a number").to_string();
        assert!(
            problems.contains("recipe.threshold: must be a finite number, got NaN"),
            "{problems}"
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("line.toml");
        std::fs::write(&path, SMALL).expect("written");
        let variables = [
            ("WINSPECT__MQTT__PORT", "1999"),
            ("WINSPECT__RECIPE__THRESHOLD", "0.4"),
        ];
        let source = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let environment = config::Environment::with_prefix("WINSPECT")
            .prefix_separator("__")
            .separator("__")
            .source(Some(source));
        let line = read(&path, environment).expect("fits");
        assert_eq!(
            (line.mqtt.port, line.recipe.thresholds),
            (1999, vec![Threshold::Fixed(0.4)])
        );
    }

    #[test]
    fn regions_have_their_own_thresholds_or_the_recipes() {
        let regions = "[[recipe.region]]\nname = \"thread\"\ncrop = [0, 0, 90, 80]\nthreshold = 0.3\n\
                       [[recipe.region]]\nname = \"rim\"\ncrop = [9, 0, 90, 80]\nmask = [[[9, 0], [20, 0], [9, 9]]]\n";
        let line =
            read_text(&SMALL.replace("[[camera]]", &format!("{regions}[[camera]]"))).expect("fits");
        let RecipeSpec {
            winclip,
            thresholds,
            ..
        } = line.recipe;
        let names: Vec<_> = winclip
            .regions
            .iter()
            .map(|region| region.name.as_deref())
            .collect();
        assert_eq!(names, [Some("thread"), Some("rim")]);
        assert_eq!(
            (winclip.regions[0].mask.len(), winclip.regions[1].mask.len()),
            (0, 1)
        );
        assert_eq!(
            thresholds,
            [Threshold::Fixed(0.3), Threshold::Auto { factor: 1.1 }]
        );
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
        let text = SMALL
            .replace("[recipe]", own)
            .replace("[[camera]]", &(regions.map(region).concat() + "[[camera]]"));
        let problems = read_text(&text.replace("\"top\"", "\"top\"\nmm_per_pixel = 0"))
            .expect_err("many")
            .to_string();
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
        let problems = read_text(&SMALL.replace("[recipe]", "[recipe]\nregion = 3"))
            .expect_err("a number")
            .to_string();
        assert!(
            problems.contains("recipe.region: must be [[recipe.region]] tables, got 3"),
            "{problems}"
        );
    }

    #[test]
    fn two_cameras_of_one_name_are_refused() {
        let text = format!("{SMALL}[[camera]]\nname = \"top\"\nkind = \"test\"\n");
        assert!(read_text(&text).is_err_and(|p| {
            p.to_string()
                .contains("camera[1].name: \"top\" is another camera's name")
        }));
    }
}
