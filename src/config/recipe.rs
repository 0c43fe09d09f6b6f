//! A recipe out of its table or file: what is inspected and how, and what makes a picture or a verdict count.

use super::table::TableReader;
use super::threshold::threshold;
use super::{regions, source};
use crate::base::problems::Problems;
use crate::data::verdict::OnUndecided;
use crate::recipe::quality;
use crate::winclip::{MapKind, Recipe, Region};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Room above the highest score of the references: scores of good parts vary.
const AUTO_FACTOR: f64 = 1.1;

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

/// Reads `recipe`: a table, or the name of a file with one.
pub fn recipe(value: Option<Value>, base: &Path, problems: &mut Problems) -> RecipeConfig {
    let value = match value {
        Some(Value::String(file)) => source::recipe_file(&base.join(file), problems),
        Some(value) => value,
        None => {
            problems.note("recipe", "missing");
            return empty_recipe();
        }
    };
    let mut table = TableReader::new("recipe", value, problems);
    let name = table.required("name");
    let revision = table.whole("revision", 1, u64::from(u32::MAX)).unwrap_or(1);
    let mut winclip = winclip(&mut table);
    let references = references(&mut table, base);
    let auto_factor = table.number("auto_factor", 0.01, 100.0);
    let factor = auto_factor.unwrap_or(AUTO_FACTOR) as f32;
    let threshold = threshold(&mut table, factor).unwrap_or(Threshold::None);
    let whole = regions::looked_at(&mut table);
    let region_tables = table.take("region");
    if region_tables.is_some() {
        refuse_beside_regions(&mut table, &whole);
    }
    let on_undecided = table.choice("on_undecided", "\"fail\", \"pass\"");
    let challenge_minutes = table.whole("challenge_minutes", 1, 525_600);
    let bad_image = table.take("bad_image").unwrap_or(Value::Null);
    let self_test_table = table.take("self_test");
    table.finish();

    let bad_image = quality_limits(bad_image, problems);
    let self_test = self_test_table.map(|value| self_test(value, base, problems));
    let regions = match region_tables {
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
        on_undecided: on_undecided.unwrap_or_default(),
        challenge_every: challenge_minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        self_test,
    }
}

/// Keys of the algorithm; regions are not among them.
fn winclip(table: &mut TableReader) -> Recipe {
    table.renamed("tiles", "tile_px");
    table.renamed("size", "input_px");
    let presets = "\"paper\", \"anomalib\", \"zqhang\", \"caoyunkang\"";
    let mut winclip = Recipe::new(table.text("class_name"));
    winclip.preset = table.choice("preset", presets).unwrap_or_default();
    winclip.tile_px = table.whole("tile_px", 32, 16384).map(|px| px as usize);
    winclip.fit = table
        .choice("fit", "\"squash\", \"crop\"")
        .unwrap_or_default();
    winclip.input_px = table.whole("input_px", 1, 4096).map(|px| px as usize);
    winclip.block = table.whole("block", 1, 1000).map(|block| block as usize);
    winclip.maps = table.items::<MapKind>("maps");
    winclip.scales = table.items::<usize>("scales").unwrap_or_else(|| vec![2, 3]);
    winclip.normal_states = table.texts("normal_states");
    winclip.anomalous_states = table.texts("anomalous_states");
    winclip.templates = table.texts("templates");
    winclip
}

fn references(table: &mut TableReader, base: &Path) -> Vec<PathBuf> {
    let texts = table.texts("references").into_iter();
    let paths: Vec<PathBuf> = texts.map(|path| base.join(path)).collect();
    for path in paths.iter().filter(|path| !path.exists()) {
        table.note("references", format!("{} is not there", path.display()));
    }
    paths
}

/// The recipe's own crop and mask have no meaning where each region has its own.
fn refuse_beside_regions(table: &mut TableReader, whole: &Region) {
    let given = [
        ("crop", whole.crop.is_some()),
        ("mask", !whole.mask.is_empty()),
    ];
    for (key, is_given) in given {
        if is_given {
            table.note(
                key,
                "cannot be had beside [[recipe.region]]: each region has its own; take this one out",
            );
        }
    }
}

/// Reads the recipes beside the first, a file each.
pub fn recipes(
    files: Vec<String>,
    first: &RecipeConfig,
    base: &Path,
    problems: &mut Problems,
) -> Vec<RecipeConfig> {
    let mut recipes: Vec<RecipeConfig> = vec![];
    for (i, file) in files.into_iter().enumerate() {
        let place = format!("recipes[{i}] ({file})");
        let mut own = Problems::new();
        let recipe = recipe(Some(Value::String(file)), base, &mut own);
        if let Err(own) = own.into_result() {
            let indented = own.to_string().replace('\n', "\n    ");
            problems.note(&place, format!("\n    {indented}"));
        }
        let is_taken = recipes
            .iter()
            .chain([first])
            .any(|other| other.name == recipe.name);
        if is_taken {
            problems.note(
                &place,
                format!("{:?} is another recipe's name", recipe.name),
            );
        }
        recipes.push(recipe);
    }
    recipes
}

fn empty_recipe() -> RecipeConfig {
    RecipeConfig {
        name: String::new(),
        revision: 1,
        winclip: Recipe::new(None),
        references: vec![],
        thresholds: vec![Threshold::None],
        bad_image: quality::Limits::default(),
        on_undecided: OnUndecided::default(),
        challenge_every: None,
        self_test: None,
    }
}

fn self_test(value: Value, base: &Path, problems: &mut Problems) -> SelfTestConfig {
    let mut table = TableReader::new("recipe.self_test", value, problems);
    let good = base.join(table.required("good"));
    let bad = base.join(table.required("bad"));
    for (key, path) in [("good", &good), ("bad", &bad)] {
        if !path.is_file() {
            table.note(
                key,
                format!("{} is not a picture that is there", path.display()),
            );
        }
    }
    let every_s = table.whole("every_s", 1, 86_400).unwrap_or(300);
    table.finish();
    SelfTestConfig {
        good,
        bad,
        every: Duration::from_secs(every_s),
    }
}

/// Limits of `[recipe.bad_image]`; 0 switches a check off.
fn quality_limits(value: Value, problems: &mut Problems) -> quality::Limits {
    let mut table = TableReader::new("recipe.bad_image", value, problems);
    let usual = quality::Limits::default();
    let limits = quality::Limits {
        black: share(&mut table, "black", usual.black),
        saturated: share(&mut table, "saturated", usual.saturated),
        blurred: share(&mut table, "blurred", usual.blurred),
        frozen_frames: table
            .whole("frozen_frames", 0, 1_000_000)
            .unwrap_or(usual.frozen_frames),
    };
    table.finish();
    limits
}

fn share(table: &mut TableReader, key: &'static str, usual: f32) -> f32 {
    let given = table.number(key, 0.0, 1.0);
    given.map_or(usual, |share| share as f32)
}
