//! A recipe out of its table or file: what is inspected and how, and what makes a picture or a verdict count.

use super::refuse_not_finite;
use super::regions;
use super::table::Table;
use crate::base::problems::Problems;
use crate::data::verdict::OnUndecided;
use crate::recipe::quality;
use crate::recipe::spec::{RecipeSpec, SelfTestSpec, Threshold};
use crate::winclip::{MapKind, Recipe};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn recipe(value: Option<Value>, base: &Path, problems: &mut Problems) -> RecipeSpec {
    let value = match value {
        Some(Value::String(file)) => {
            let path = base.join(file);
            let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
            let parsed = read
                .and_then(|text| toml::from_str::<toml::Value>(&text).map_err(|e| e.to_string()));
            let parsed = problems.check(format!("recipe {}", path.display()), parsed);
            parsed
                .iter()
                .for_each(|raw| refuse_not_finite("recipe", raw, problems));
            parsed
                .and_then(|raw| serde_json::to_value(raw).ok())
                .unwrap_or(Value::Null)
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
    winclip.preset = table
        .choice(
            "preset",
            "\"paper\", \"anomalib\", \"zqhang\", \"caoyunkang\"",
        )
        .unwrap_or_default();
    let whole = regions::looked_at(&mut table);
    let regions = table.take("region");
    winclip.tiles = table.whole("tiles", 32, 16384).map(|side| side as usize);
    winclip.fit = table
        .choice("fit", "\"squash\", \"crop\"")
        .unwrap_or_default();
    winclip.side = table.whole("size", 1, 4096).map(|n| n as usize);
    winclip.block = table.whole("block", 1, 1000).map(|n| n as usize);
    winclip.maps = table.items::<MapKind>("maps");
    winclip.scales = table.items::<usize>("scales").unwrap_or_else(|| vec![2, 3]);
    winclip.normal_states = table.texts("normal_states");
    winclip.anomalous_states = table.texts("anomalous_states");
    winclip.templates = table.texts("templates");
    let references: Vec<PathBuf> = table
        .texts("references")
        .into_iter()
        .map(|path| base.join(path))
        .collect();
    for path in references.iter().filter(|path| !path.exists()) {
        table.note("references", format!("{} is not there", path.display()));
    }
    let factor = table
        .number("auto_factor", 0.01, 100.0)
        .unwrap_or(AUTO_FACTOR) as f32;
    let threshold = threshold_of(&mut table, factor).unwrap_or(Threshold::None);
    let on_undecided = table
        .choice("on_undecided", "\"fail\", \"pass\"")
        .unwrap_or_default();
    let challenge_every = table
        .whole("challenge_minutes", 1, 525_600)
        .map(|minutes| Duration::from_secs(60 * minutes));
    let bad_image = table.take("bad_image").unwrap_or(Value::Null);
    let self_test = table.take("self_test").unwrap_or(Value::Null);
    let given = [
        ("crop", whole.crop.is_some()),
        ("mask", !whole.mask.is_empty()),
    ];
    for (key, _) in given
        .iter()
        .filter(|(_, given)| regions.is_some() && *given)
    {
        table.note(
            key,
            "cannot be had beside [[recipe.region]]: each region has its own; take this one out",
        );
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
    RecipeSpec {
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
pub fn recipes(
    files: Vec<String>,
    first: &RecipeSpec,
    base: &Path,
    problems: &mut Problems,
) -> Vec<RecipeSpec> {
    let mut recipes: Vec<RecipeSpec> = vec![];
    for (i, file) in files.into_iter().enumerate() {
        let mut own = Problems::new();
        let recipe = recipe(Some(Value::String(file.clone())), base, &mut own);
        if let Err(own) = own.into_result() {
            problems.note(
                format!("recipes[{i}] ({file})"),
                format!("\n    {}", own.to_string().replace('\n', "\n    ")),
            );
        }
        if recipes
            .iter()
            .chain([first])
            .any(|other| other.name == recipe.name)
        {
            problems.note(
                format!("recipes[{i}] ({file})"),
                format!("{:?} is another recipe's name", recipe.name),
            );
        }
        recipes.push(recipe);
    }
    recipes
}

fn self_test_of(value: Value, base: &Path, problems: &mut Problems) -> Option<SelfTestSpec> {
    if value.is_null() {
        return None;
    }
    let mut table = Table::new("recipe.self_test", value, problems);
    let (good, bad) = (
        base.join(table.required("good")),
        base.join(table.required("bad")),
    );
    for (key, path) in [("good", &good), ("bad", &bad)] {
        if !path.is_file() {
            table.note(
                key,
                format!("{} is not a picture that is there", path.display()),
            );
        }
    }
    let every = Duration::from_secs(table.whole("every_s", 1, 86_400).unwrap_or(300));
    table.finish();
    Some(SelfTestSpec { good, bad, every })
}

fn empty_recipe() -> RecipeSpec {
    let winclip = Recipe::new(None);
    let bad_image = quality::Limits::default();
    RecipeSpec {
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
    let mut share = |key, usual: f32| {
        table
            .number(key, 0.0, 1.0)
            .map_or(usual, |share| share as f32)
    };
    let (black, saturated) = (
        share("black", usual.black),
        share("saturated", usual.saturated),
    );
    let blurred = share("blurred", usual.blurred);
    let frozen_frames = table
        .whole("frozen_frames", 0, 1_000_000)
        .unwrap_or(usual.frozen_frames);
    table.finish();
    quality::Limits {
        frozen_frames,
        black,
        saturated,
        blurred,
    }
}

/// Scores of good parts vary; the factor leaves room above the highest of the references.
const AUTO_FACTOR: f64 = 1.1;

/// A table's own threshold, where it has one.
pub fn threshold_of(table: &mut Table, factor: f32) -> Option<Threshold> {
    match table.take("threshold")? {
        Value::String(word) if word == "auto" => Some(Threshold::Auto { factor }),
        value => {
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            match number {
                Some(number) if (0.0..=2.0).contains(&number) => {
                    Some(Threshold::Fixed(number as f32))
                }
                _ => {
                    table.note(
                        "threshold",
                        format!("must be \"auto\" or a number from 0 to 2, got {value}"),
                    );
                    None
                }
            }
        }
    }
}
