//! What of a picture is looked at: the recipe's own crop and mask, or `[[recipe.region]]` tables.

use super::check_topic;
use super::recipe::threshold_of;
use super::table::Table;
use crate::base::problems::Problems;
use crate::recipe::spec::Threshold;
use crate::winclip::Region;
use crate::winclip::recipe::REGIONS_MAX;
use serde_json::Value;

/// Characters of a region's name at most: it stands in every result.
const NAME_MAX: usize = 32;

/// The crop and the mask of a table.
pub fn looked_at(table: &mut Table) -> Region {
    let crop = table.take("crop").and_then(|value| {
        let words = value
            .as_str()
            .map_or_else(|| value.to_string().replace(['[', ']'], ""), str::to_owned);
        words
            .parse()
            .map_err(|why: String| table.note("crop", why))
            .ok()
    });
    let mask = table.take("mask").map_or(vec![], |value| {
        serde_json::from_value(value).unwrap_or_else(|_| {
            table.note(
                "mask",
                "must be polygons of [x, y] corners: [[[200, 100], [900, 100], [900, 600]]]",
            );
            vec![]
        })
    });
    Region {
        name: None,
        crop,
        mask,
    }
}

/// `[[recipe.region]]`, each with its threshold: the recipe's unless it has its own.
pub fn regions(
    value: Value,
    factor: f32,
    usual: Threshold,
    problems: &mut Problems,
) -> Vec<(Region, Threshold)> {
    let list = match value {
        Value::Array(list) if (1..=REGIONS_MAX).contains(&list.len()) => list,
        Value::Array(list) => {
            problems.note(
                "recipe.region",
                format!("must be 1 to {REGIONS_MAX} tables, got {}", list.len()),
            );
            return vec![];
        }
        other => {
            problems.note(
                "recipe.region",
                format!("must be [[recipe.region]] tables, got {other}"),
            );
            return vec![];
        }
    };
    let mut regions: Vec<(Region, Threshold)> = vec![];
    for (i, value) in list.into_iter().enumerate() {
        let mut table = Table::new(format!("recipe.region[{i}]"), value, problems);
        let name = table.required("name");
        if let Err(why) = check_topic(&name, false) {
            table.note("name", why);
        } else if name.chars().count() > NAME_MAX {
            let count = name.chars().count();
            table.note(
                "name",
                format!("must be at most {NAME_MAX} characters long, got {count}: {name:?}"),
            );
        } else if regions
            .iter()
            .any(|(other, _)| other.name.as_deref() == Some(&name))
        {
            table.note("name", format!("{name:?} is another region's name"));
        }
        if !table.has("crop") {
            table.note(
                "crop",
                "missing: [x, y, width, height] of the region, in camera pixels",
            );
        }
        let region = Region {
            name: Some(name.into()),
            ..looked_at(&mut table)
        };
        let threshold = threshold_of(&mut table, factor).unwrap_or(usual);
        table.finish();
        regions.push((region, threshold));
    }
    regions
}
