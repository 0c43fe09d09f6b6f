//! A recipe out of its table or file: what is inspected and how, and what makes a picture or a verdict count.

use super::table::TableReader;
use super::threshold::threshold;
use super::{locate, regions, source};
use crate::base::problems::Problems;
use crate::data::verdict::OnUndecided;
use crate::recipe::library::table::Table;
use crate::recipe::quality;
use crate::recipe::spec::{RecipeSpec, SelfTestSpec, Threshold};
use crate::winclip::{MapKind, Recipe, Region, TopShare};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a recipe's name: it stands in every result.
const NAME_MAX: usize = 64;
/// Room above the highest score of the references: scores of good parts vary.
const AUTO_FACTOR: f64 = 1.1;

/// Reads `recipe`: a table, or the name of a file with one.
pub fn recipe(value: Option<Value>, base: &Path, problems: &mut Problems) -> RecipeSpec {
    let Some(value) = value_of(value, base, problems) else {
        return empty_recipe();
    };

    let as_read = as_table(&value);
    // Keys are read in three groups: identity, the algorithm, and what makes a verdict count.
    let mut table = TableReader::new("recipe", value, problems);
    let name = table.required("name");
    check_name(&mut table, &name);
    let revision = table.whole("revision", 1, u64::from(u32::MAX)).unwrap_or(1);
    let mut winclip = algorithm(&mut table);
    let references = pictures(&mut table, "references", base);
    let is_calibrated = table.has("calibration");
    let calibration = pictures(&mut table, "calibration", base);
    let auto_factor = table.number("auto_factor", 0.01, 100.0);

    // The factor is read before the threshold, which regions inherit together with it.
    let factor = auto_factor.unwrap_or(AUTO_FACTOR) as f32;
    let threshold = threshold(&mut table, factor).unwrap_or(Threshold::None);

    // The recipe's own crop and mask are one region without a name; `[[recipe.region]]` tables
    // replace it.
    let whole = regions::looked_at(&mut table);
    let region_tables = table.take("region");
    if region_tables.is_some() {
        refuse_beside_regions(&mut table, &whole);
    }

    // The next keys are the gate's side of the recipe: what an undecided part does there, and how
    // often the line is challenged.
    let on_undecided = table.choice("on_undecided", "\"fail\", \"pass\"");
    let challenge_minutes = table.whole("challenge_minutes", 1, 525_600);
    let bad_image = table.take("bad_image").unwrap_or(Value::Null);
    let self_test_table = table.take("self_test");
    let locate_table = table.take("locate");
    table.finish();

    // Tables inside the recipe follow after `finish`, which releases the list of problems.
    let bad_image = quality_limits(bad_image, problems);
    let self_test = self_test_table.map(|value| self_test(value, base, problems));
    let locate = locate_table.map(|value| locate::locate(value, base, problems));

    // Each region carries its own threshold, or the recipe's.
    let regions = match region_tables {
        None => vec![(whole, threshold)],
        Some(value) => regions::regions(value, factor, threshold, problems),
    };

    let thresholds: Vec<Threshold>;
    (winclip.regions, thresholds) = regions.into_iter().unzip();
    if let Some(locate) = &locate {
        winclip = winclip.cropped_to(locate.limits.area);
    }

    if is_calibrated {
        check_calibration(&calibration, &thresholds, problems);
    }

    RecipeSpec {
        name,
        revision,
        winclip,
        references,
        calibration,
        thresholds,
        bad_image,
        on_undecided: on_undecided.unwrap_or_default(),
        challenge_every: challenge_minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        self_test,
        locate,
        table: as_read,
        library: None,
    }
}

/// The recipe's keys, which may stand in a file of their own; `None` where there are none.
fn value_of(value: Option<Value>, base: &Path, problems: &mut Problems) -> Option<Value> {
    // The same keys are read from a file, under the same place `recipe`.
    match value {
        Some(Value::String(file)) => Some(source::recipe_file(&base.join(file), problems)),
        Some(value) => Some(value),
        None => {
            problems.note("recipe", "missing");
            None
        }
    }
}

fn check_name(table: &mut TableReader, name: &str) {
    let length = name.len();
    if length > NAME_MAX {
        let words = format!("must have at most {NAME_MAX} bytes, got {length}");
        table.note("name", words);
    }
}

/// The table before its keys are taken out of it, for the recipe library.
fn as_table(value: &Value) -> Table {
    value.as_object().cloned().unwrap_or_default()
}

const PRESETS: &str = "\"paper\", \"anomalib\", \"zqhang\", \"caoyunkang\"";

/// Keys of the algorithm; regions are not among them.
fn algorithm(table: &mut TableReader) -> Recipe {
    // Keys of 0.1 are refused by their new names. Ranges that depend on the model are checked when
    // it is known.
    table.renamed("tiles", "tile_px");
    table.renamed("size", "input_px");
    let preset = table.choice("preset", PRESETS);
    let fit = table.choice("fit", "\"squash\", \"crop\", \"keep\"");
    let turned = table.choice(
        "turned",
        "\"none\", \"mirror\", \"half\", \"quarter\", \"all\"",
    );
    let thin_to = table.count("thin_to", 1, 1000);
    let tile_px = table.count("tile_px", 32, 16384);
    let cells = table.count("cells", 16, 4096);
    let input_px = table.count("input_px", 1, 4096);
    let block = table.count("block", 1, 1000);
    let top_share = table.number("top_share", TopShare::LEAST, 1.0);
    let maps = table.items::<MapKind>("maps");
    let scales = table.items::<usize>("scales");

    // Words for prompts stay empty unless given: the preset has its own.
    let usual = Recipe::new(table.text("class_name"));
    Recipe {
        preset: preset.unwrap_or_default(),
        tile_px,
        fit: fit.unwrap_or_default(),
        turned: turned.unwrap_or_default(),
        thin_to,
        cells,
        input_px,
        block,
        top_share: top_share.and_then(TopShare::new),
        maps,
        scales: scales.unwrap_or(usual.scales),
        normal_states: table.texts("normal_states"),
        anomalous_states: table.texts("anomalous_states"),
        templates: table.texts("templates"),
        ..usual
    }
}

/// Reads paths of pictures, or of folders of them.
fn pictures(table: &mut TableReader, key: &'static str, base: &Path) -> Vec<PathBuf> {
    // A path that is not there is noted, and kept: the number of references stays what the person
    // wrote.
    let mut paths = vec![];
    for text in table.texts(key) {
        let path = base.join(text);
        if !path.exists() {
            let words = format!("{} is not there", path.display());
            table.note(key, words);
        }

        paths.push(path);
    }

    paths
}

/// Calibration pictures that nothing asks for, or none in their place, are a mistake.
fn check_calibration(paths: &[PathBuf], thresholds: &[Threshold], problems: &mut Problems) {
    let words = if paths.is_empty() {
        "names no picture; name good parts that are not among the references, or take it out: then each reference is compared with the others"
    } else if !thresholds.iter().any(Threshold::is_by_rate) {
        "serves false_reject_rate alone, and nothing asks for one; give false_reject_rate in the place of threshold, or take calibration out"
    } else {
        return;
    };

    problems.note("recipe.calibration", words);
}

/// The recipe's own crop and mask have no meaning where each region has its own.
fn refuse_beside_regions(table: &mut TableReader, whole: &Region) {
    let given = [
        ("crop", whole.crop.is_some()),
        ("mask", !whole.mask.is_empty()),
    ];

    // A crop beside regions would silently be ignored, so that it is refused.
    for (key, is_given) in given {
        if is_given {
            table.note(
                key,
                "cannot be had beside [[recipe.region]]: each region has its own; take this one out",
            );
        }
    }
}

/// A recipe without anything, where there is none to read.
pub(super) fn empty_recipe() -> RecipeSpec {
    RecipeSpec {
        name: String::new(),
        revision: 1,
        winclip: Recipe::new(None),
        references: vec![],
        calibration: vec![],
        thresholds: vec![Threshold::None],
        bad_image: quality::Limits::default(),
        on_undecided: OnUndecided::default(),
        challenge_every: None,
        self_test: None,
        locate: None,
        table: Table::new(),
        library: None,
    }
}

fn self_test(value: Value, base: &Path, problems: &mut Problems) -> SelfTestSpec {
    // Both pictures are needed: a self-test with a good one alone passes on a line that passes
    // everything.
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
    SelfTestSpec {
        good,
        bad,
        every: Duration::from_secs(every_s),
    }
}

/// Limits of `[recipe.bad_image]`; 0 switches a check off.
fn quality_limits(value: Value, problems: &mut Problems) -> quality::Limits {
    // An absent table means the usual limits: the gate is on unless it is switched off.
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
