//! A recipe's table as JSON, the form in which configurations are read: which pictures it names,
//! and its thresholds.

use super::disk;
use super::manifest::{PictureEntry, PictureUse, ThresholdNote};
use serde_json::{Map, Value};

/// A recipe's table.
pub type Table = Map<String, Value>;

/// Hex SHA-256 of a table, by which a line's file is known again.
pub fn hash(table: &Table) -> String {
    // The keys of a map are in order.
    let text = serde_json::to_vec(table).expect("values");

    disk::sha256(&text)
}

/// Keys of a recipe that say what it looks at.
pub const VIEW_KEYS: [&str; 3] = ["crop", "mask", REGION];
/// Key of a recipe's regions.
const REGION: &str = "region";
/// Key of a threshold that is found by a rate.
const RATE: &str = "false_reject_rate";

/// What a table looks at: its view without all else, such as thresholds of regions.
pub fn view(table: &Table) -> Table {
    let is_view = |key: &str| VIEW_KEYS.contains(&key);
    let mut view = table.clone();
    view.retain(|key, _| is_view(key));

    let regions = view.get_mut(REGION).and_then(Value::as_array_mut);
    let regions = regions.into_iter().flatten();

    for region in regions.filter_map(Value::as_object_mut) {
        region.retain(|key, _| key == "name" || is_view(key));
    }

    view
}

/// The paths of a table: references, calibration pictures, the self-test's good and bad picture, then the
/// master picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TablePictures {
    /// The references.
    pub good: Vec<String>,
    /// The calibration pictures.
    pub calibration: Vec<String>,
    /// The self-test's picture of a good part.
    pub test_good: Option<String>,
    /// The self-test's picture of a bad part.
    pub test_bad: Option<String>,
    /// The picture by which parts are found.
    pub master: Option<String>,
}

impl TablePictures {
    /// Reads the paths of a table.
    pub fn of(table: &Table) -> Self {
        let mut paths = TablePictures {
            good: texts(table.get("references")),
            calibration: texts(table.get("calibration")),
            ..TablePictures::default()
        };

        if let Some(test) = table.get("self_test") {
            paths.test_good = text(&test["good"]);
            paths.test_bad = text(&test["bad"]);
        }

        if let Some(locate) = table.get("locate") {
            paths.master = text(&locate["master"]);
        }

        paths
    }

    /// The paths of the pictures that a manifest has.
    pub fn of_manifest(pictures: &[PictureEntry]) -> Self {
        let mut paths = TablePictures::default();

        for picture in pictures {
            let file = picture.file.clone();

            match picture.used_as {
                PictureUse::Good => paths.good.push(file),
                PictureUse::Bad => {}
                PictureUse::Calibration => paths.calibration.push(file),
                PictureUse::TestGood => paths.test_good = Some(file),
                PictureUse::TestBad => paths.test_bad = Some(file),
                PictureUse::Master => paths.master = Some(file),
            }
        }

        paths
    }

    /// Puts the paths into a table, in place of those that it has.
    pub fn put(self, table: &mut Table) {
        for (key, paths) in [("references", self.good), ("calibration", self.calibration)] {
            table.remove(key);

            if !paths.is_empty() {
                table.insert(key.to_owned(), paths.into());
            }
        }

        // A table that locates no parts gets no master, and one without a self-test none of its pictures.
        if let Some(Value::Object(locate)) = table.get_mut("locate")
            && let Some(path) = self.master
        {
            locate.insert("master".to_owned(), path.into());
        }

        let Some(Value::Object(test)) = table.get_mut("self_test") else {
            return;
        };

        for (key, path) in [("good", self.test_good), ("bad", self.test_bad)] {
            if let Some(path) = path {
                test.insert(key.to_owned(), path.into());
            }
        }
    }
}

/// A list of texts, or one text alone.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(text).collect(),
        _ => vec![],
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Returns the threshold of each region, all with the same words on how they came about.
pub fn thresholds(table: &Table, how: &str) -> Vec<ThresholdNote> {
    let own = shown(table);
    let note = |region, value: Option<String>| ThresholdNote {
        region,
        value: value.unwrap_or_else(|| "none".to_owned()),
        how: how.to_owned(),
    };

    // Regions without a threshold of their own have the recipe's.
    let Some(Value::Array(regions)) = table.get("region") else {
        return vec![note(None, own)];
    };

    let mut notes = vec![];
    for region in regions {
        let name = text(&region["name"]);
        let of_region = region.as_object().and_then(shown);
        let value = of_region.or(own.clone());

        notes.push(note(name, value));
    }

    notes
}

/// The threshold of a table as it stands there; `None` where it has none.
fn shown(table: &Table) -> Option<String> {
    // A rate comes first: it is what the person chose, and the number follows from it.
    let rate = table.get(RATE).filter(|rate| !rate.is_null());

    if let Some(rate) = rate {
        return Some(format!("{RATE} {rate}"));
    }

    match table.get("threshold")? {
        Value::Null => None,
        Value::String(word) => Some(word.clone()),
        other => Some(other.to_string()),
    }
}

/// True if a threshold of the table is found by a rate.
pub fn has_rate(table: &Table) -> bool {
    let regions = table.get("region").and_then(Value::as_array);
    let mut regions = regions.into_iter().flatten();

    let of_recipe = table.contains_key(RATE);
    let of_region = regions.any(|region| region.get(RATE).is_some());

    of_recipe || of_region
}

/// Puts the threshold of a region into a table; of the recipe where `region` is `None`. False where
/// the table has no such region.
pub fn set_threshold(table: &mut Table, region: Option<&str>, value: f32) -> bool {
    // The shortest decimal that is this number, as a person would write it.
    let shortest = format!("{value}");
    let number: f64 = shortest.parse().unwrap_or_default();
    let value: Value = number.into();

    let Some(region) = region else {
        // A rate gives the threshold too, and is refused beside one.
        table.remove(RATE);
        table.insert("threshold".to_owned(), value);
        return true;
    };

    let Some(Value::Array(regions)) = table.get_mut("region") else {
        return false;
    };

    for of_region in regions.iter_mut().filter_map(Value::as_object_mut) {
        let name = of_region.get("name").and_then(Value::as_str);

        // A region has its rate taken out as the recipe has.
        if name == Some(region) {
            of_region.remove(RATE);
            of_region.insert("threshold".to_owned(), value);
            return true;
        }
    }

    false
}

/// Puts `auto` in the place of the recipe's threshold or rate.
pub fn set_auto(table: &mut Table) {
    table.remove(RATE);
    table.insert("threshold".to_owned(), "auto".into());
}

/// Puts a rate in the place of the recipe's threshold.
pub fn set_rate(table: &mut Table, rate: f64) {
    table.remove("threshold");
    table.insert(RATE.to_owned(), rate.into());
}

/// Puts `auto` in the place of each threshold that is a number. Returns their values.
pub fn numbers_to_auto(table: &mut Table) -> Vec<String> {
    let mut values: Vec<String> = number_to_auto(table).into_iter().collect();

    if let Some(Value::Array(regions)) = table.get_mut("region") {
        let tables = regions.iter_mut().filter_map(Value::as_object_mut);
        let of_regions = tables.filter_map(number_to_auto);
        values.extend(of_regions);
    }

    values
}

fn number_to_auto(table: &mut Table) -> Option<String> {
    let value = shown(table).filter(|value| value.parse::<f64>().is_ok())?;
    table.insert("threshold".to_owned(), "auto".into());

    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(value: Value) -> Table {
        match value {
            Value::Object(table) => table,
            _ => unreachable!("a test's table"),
        }
    }

    #[test]
    fn a_threshold_is_set_where_it_belongs_and_nowhere_else() {
        let mut plain = table(json!({"name": "nut", "threshold": "auto"}));
        assert!(set_threshold(&mut plain, None, 0.31));
        assert!(!set_threshold(&mut plain, Some("rim"), 0.4));
        assert_eq!(plain["threshold"].to_string(), "0.31");

        let mut regions = table(json!({
            "threshold": "auto",
            "region": [{"name": "rim"}, {"name": "bore", "threshold": 0.2}],
        }));

        assert!(set_threshold(&mut regions, Some("rim"), 0.5));
        let values: Vec<String> = thresholds(&regions, "so")
            .into_iter()
            .map(|note| note.value)
            .collect();

        assert_eq!(values, ["0.5", "0.2"]);
    }

    #[test]
    fn a_threshold_takes_the_place_of_a_rate() {
        let mut rate = table(json!({"false_reject_rate": 0.05, "calibration": "good"}));
        assert_eq!(thresholds(&rate, "so")[0].value, "false_reject_rate 0.05");
        assert!(has_rate(&rate) && set_threshold(&mut rate, None, 0.3));
        assert!(!has_rate(&rate));
        assert_eq!(thresholds(&rate, "so")[0].value, "0.3");

        let mut regions = table(json!({
            "threshold": "auto",
            "region": [{"name": "rim", "false_reject_rate": 0.1}, {"name": "bore"}],
        }));

        assert!(has_rate(&regions) && set_threshold(&mut regions, Some("rim"), 0.3));
        assert!(!has_rate(&regions));

        TablePictures::default().put(&mut rate);
        assert!(!rate.contains_key("calibration"));
    }

    #[test]
    fn numbers_become_auto_and_rates_stay() {
        let mut regions = table(json!({
            "threshold": 0.2,
            "region": [{"name": "rim", "threshold": "0.3"}, {"name": "bore", "false_reject_rate": 0.1}],
        }));

        assert_eq!(numbers_to_auto(&mut regions), ["0.2", "0.3"]);
        assert_eq!(regions["threshold"], "auto");
        assert_eq!(regions["region"][0]["threshold"], "auto");
        assert!(regions["region"][1].get("threshold").is_none());
        assert!(numbers_to_auto(&mut regions).is_empty());
    }

    #[test]
    fn paths_are_replaced_and_a_self_test_is_not_made_up() {
        let mut without = table(json!({"references": "good"}));
        let paths = || TablePictures {
            good: vec!["good/a.png".to_owned()],
            calibration: vec![],
            test_good: Some("test/b.png".to_owned()),
            test_bad: Some("test/c.png".to_owned()),
            master: Some("master/d.png".to_owned()),
        };

        paths().put(&mut without);
        assert_eq!(without, table(json!({"references": ["good/a.png"]})));

        let mut with = table(json!({
            "self_test": {"good": "x", "bad": "y", "every_s": 3},
            "locate": {"master": "z", "turn_max": 10},
        }));

        paths().put(&mut with);
        assert_eq!(TablePictures::of(&with), paths());
        assert_eq!(with["self_test"]["every_s"], 3);
        assert_eq!(with["locate"]["turn_max"], 10);
    }
}
