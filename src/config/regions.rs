//! The looked-at part of a picture: the recipe's own crop and mask, or `[[recipe.region]]` tables.

use super::table::{TableReader, shown};
use super::threshold::threshold;
use super::topic;
use crate::base::problems::Problems;
use crate::data::picture::Area;
use crate::recipe::spec::Threshold;
use crate::winclip::Region;
use crate::winclip::mask::Polygon;
use crate::winclip::recipe::REGIONS_MAX;
use serde_json::Value;

/// Characters of a region's name at most: it stands in every result.
const NAME_MAX: usize = 32;
/// Bytes of a region's name at most: a result's are bounded.
const NAME_BYTES: usize = 64;

/// Reads the crop and the mask of a table; the region has no name yet.
pub fn looked_at(table: &mut TableReader) -> Region {
    Region {
        name: None,
        crop: area(table, "crop"),
        mask: mask(table).unwrap_or_default(),
    }
}

/// Reads `[x, y, width, height]`, or the same in quotes without the brackets.
pub fn area(table: &mut TableReader, key: &'static str) -> Option<Area> {
    // A list is brought into the form of the command line, `x,y,width,height`, and read by the same
    // parser.
    let value = table.take(key)?;
    let words = match value.as_str() {
        Some(words) => words.to_owned(),
        None => value.to_string().replace(['[', ']'], ""),
    };

    table.check(key, words.parse::<Area>())
}

fn mask(table: &mut TableReader) -> Option<Vec<Polygon>> {
    // Corners are in the camera's pixels, as the crop is. Their count, and whether they leave a
    // cell, are checked when the model is known.
    let value = table.take("mask")?;
    let polygons = serde_json::from_value(value).ok();
    if polygons.is_none() {
        table.note(
            "mask",
            "must be polygons of [x, y] corners: [[[200, 100], [900, 100], [900, 600]]]",
        );
    }

    polygons
}

/// Reads `[[recipe.region]]`, each with its threshold: the recipe's unless it has its own.
pub fn regions(
    value: Value,
    auto_factor: f32,
    of_recipe: Threshold,
    problems: &mut Problems,
) -> Vec<(Region, Threshold)> {
    // The place of a problem counts tables from 0, as TOML's own paths do.
    let mut regions: Vec<(Region, Threshold)> = vec![];
    for (i, value) in tables(value, problems).into_iter().enumerate() {
        let mut table = TableReader::new(format!("recipe.region[{i}]"), value, problems);
        let name = table.required("name");
        let others = regions.iter().map(|(region, _)| region);
        check_name(&mut table, &name, others);

        // A region without a crop would be the whole picture under another name.
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

        // A wrong threshold was noted, and the recipe's stands in for it.
        let threshold = threshold(&mut table, auto_factor).unwrap_or(of_recipe);
        table.finish();
        regions.push((region, threshold));
    }

    regions
}

fn tables(value: Value, problems: &mut Problems) -> Vec<Value> {
    // The bound keeps a result small: each region is a part of its own, with a row in the store.
    let words = match value {
        Value::Array(tables) if (1..=REGIONS_MAX).contains(&tables.len()) => return tables,
        Value::Array(tables) => {
            format!("must be 1 to {REGIONS_MAX} tables, got {}", tables.len())
        }
        other => format!("must be [[recipe.region]] tables, got {}", shown(&other)),
    };

    problems.note("recipe.region", words);
    vec![]
}

fn check_name<'a>(
    table: &mut TableReader,
    name: &str,
    mut others: impl Iterator<Item = &'a Region>,
) {
    // One problem a name is enough: a person mends the first and sees the next.
    let length = name.chars().count();
    if let Err(words) = topic::check_level(name) {
        table.note("name", words);
    } else if length > NAME_MAX {
        table.note(
            "name",
            format!("must be at most {NAME_MAX} characters long, got {length}: {name:?}"),
        );
    } else if name.len() > NAME_BYTES {
        let bytes = name.len();
        table.note(
            "name",
            format!("must have at most {NAME_BYTES} bytes, got {bytes}"),
        );
    } else if others.any(|other| other.name.as_deref() == Some(name)) {
        table.note("name", format!("{name:?} is another region's name"));
    }
}
