//! Places of a recipe that are to count no more: the command `edit` with `mask_out`.
//!
//! A place is cut out of the region's mask; a region without one has all of its crop before, and the whole picture where it has
//! no crop either. The threshold stays what it is: distances at other places are hardly others.

use crate::data::picture::Area;
use crate::line::changeover::Changeover;
use crate::line::recipe_change::words;
use crate::protocol::editing::{EditCommand, MaskedPlace, Rectangle};
use crate::recipe::library::draft::Draft;
use crate::recipe::library::table::Table;
use crate::winclip::mask::{Polygon, outline, without};
use serde_json::{Value, json};
use std::sync::PoisonError;

impl Changeover {
    /// Masks the places of a command in a draft. Returns words on each.
    pub(super) fn mask_out(
        &self,
        draft: &mut Draft,
        command: &EditCommand,
    ) -> Result<Vec<String>, String> {
        let mut told = vec![];
        for place in &command.mask_out {
            mask_place(&mut draft.table, place, || self.picture())?;
            told.push(place.words());
        }

        Ok(told)
    }

    /// The whole picture, where all cameras show pictures of one size.
    fn picture(&self) -> Result<Area, String> {
        let frames = self.frames.lock();
        let frames = frames.unwrap_or_else(PoisonError::into_inner);
        let mut sizes = frames.values().map(|frame| {
            let width = frame.picture.width();
            let height = frame.picture.height();
            Area::whole(width, height)
        });

        let first = sizes.next();
        let first = first.filter(|first| sizes.all(|size| size == *first));

        // Which part of another picture is meant, nobody can tell.
        first.ok_or_else(|| {
            let words = "the recipe has no crop, and the cameras have shown no pictures of one size; draw a crop first (Teach)";
            words.to_owned()
        })
    }
}

/// Cuts a place out of a recipe's table; `picture` is the whole one.
fn mask_place(
    table: &mut Table,
    place: &MaskedPlace,
    picture: impl FnOnce() -> Result<Area, String>,
) -> Result<(), String> {
    // Its mask moves with the part: a place of the camera's picture is another one on each part.
    if table.contains_key("locate") {
        return Err(
            "the recipe locates parts, whose places move with them; draw the mask on Teach"
                .to_owned(),
        );
    }

    let fit = table.get("fit").and_then(Value::as_str);
    let is_cut = fit == Some("crop");
    let looked_at = region_of(table, place.region.as_deref())?;
    let crop = match looked_at.get("crop") {
        Some(crop) => area_of(crop)?,
        None if is_cut => {
            let refused = "the recipe looks at the middle of the picture (fit = \"crop\") without a crop of its own; draw a crop first (Teach)";
            return Err(refused.to_owned());
        }
        None => picture()?,
    };

    let before = match looked_at.get("mask") {
        Some(mask) => serde_json::from_value(mask.clone()).map_err(words)?,
        None => vec![outline(crop)],
    };

    let area = within(place.area, crop)?;
    let after: Vec<Polygon> = without(&before, area);
    if after.is_empty() {
        return Err(format!(
            "{}: nothing would be looked at any more",
            place.words()
        ));
    }

    looked_at.insert("crop".to_owned(), json!([crop.x, crop.y, crop.w, crop.h]));
    looked_at.insert("mask".to_owned(), json!(after));
    Ok(())
}

/// The table that holds crop and mask of a region.
fn region_of<'a>(table: &'a mut Table, region: Option<&str>) -> Result<&'a mut Table, String> {
    let none_such = || match region {
        Some(region) => format!("the recipe has no region {region:?}"),
        None => "the recipe has regions; say in which one the place is".to_owned(),
    };

    if !table.contains_key("region") {
        return match region {
            None => Ok(table),
            Some(_) => Err(none_such()),
        };
    }

    let tables = table.get_mut("region").and_then(Value::as_array_mut);
    let mut tables = tables
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut);
    let found = tables.find(|table| table.get("name").and_then(Value::as_str) == region);

    found.ok_or_else(none_such)
}

/// A crop as files have it: four numbers, or the same in words.
fn area_of(value: &Value) -> Result<Area, String> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string().replace(['[', ']'], ""),
    };

    text.parse()
}

/// The part of a place that lies in a crop.
fn within(place: Rectangle, crop: Area) -> Result<Area, String> {
    let [x, y, w, h] = place;
    let crop_right = (crop.x + crop.w) as u64;
    let crop_bottom = (crop.y + crop.h) as u64;

    let left = x.max(crop.x as u64);
    let top = y.max(crop.y as u64);
    let right = x.saturating_add(w).min(crop_right);
    let bottom = y.saturating_add(h).min(crop_bottom);

    if left >= right || top >= bottom {
        return Err(format!(
            "mask_out {x},{y},{w},{h} (x,y,width,height) is not inside of {crop}, which is looked at"
        ));
    }

    // They lie in the crop, so that they are pixels of a picture.
    Ok(Area {
        x: left as usize,
        y: top as usize,
        w: (right - left) as usize,
        h: (bottom - top) as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: Option<&str>, area: Rectangle) -> MaskedPlace {
        MaskedPlace {
            region: region.map(str::to_owned),
            area,
        }
    }

    fn table(value: Value) -> Table {
        value.as_object().cloned().expect("a table")
    }

    #[test]
    fn a_place_is_cut_out_of_what_the_recipe_looks_at() {
        let picture = || Ok(Area::whole(100, 80));
        let mut whole = table(json!({}));
        mask_place(&mut whole, &place(None, [90, 0, 50, 80]), picture).expect("at the edge");
        assert_eq!(whole["crop"], json!([0, 0, 100, 80]));
        let left = [[0.0, 0.0], [90.0, 0.0], [90.0, 80.0], [0.0, 80.0]];
        let corners: Vec<[f64; 2]> =
            serde_json::from_value(whole["mask"][0].clone()).expect("corners");
        assert!(
            left.iter().all(|corner| corners.contains(corner)),
            "{corners:?}"
        );

        let mut regions = table(json!({"region": [
            {"name": "rim", "crop": [0, 0, 10, 10]}, {"name": "hub", "crop": [20, 0, 10, 10]}
        ]}));
        mask_place(&mut regions, &place(Some("hub"), [22, 2, 4, 4]), picture).expect("inside");
        assert!(regions["region"][0].get("mask").is_none());
        assert_eq!(
            regions["region"][1]["mask"].as_array().map(Vec::len),
            Some(4)
        );
    }

    #[test]
    fn what_cannot_be_masked_is_refused_in_words() {
        let refused = |value: Value, place: &MaskedPlace| {
            let picture = || Ok(Area::whole(100, 80));
            mask_place(&mut table(value), place, picture).expect_err("refused")
        };

        let all = place(None, [0, 0, 100, 80]);
        assert!(refused(json!({}), &all).contains("nothing would be looked at"));
        assert!(refused(json!({"locate": {}}), &all).contains("draw the mask on Teach"));
        assert!(refused(json!({"fit": "crop"}), &all).contains("draw a crop first"));
        let regions = json!({"region": [{"name": "rim", "crop": [0, 0, 10, 10]}]});
        assert!(refused(regions.clone(), &all).contains("say in which one"));
        let beyond = place(Some("rim"), [10, 0, 5, 5]);
        assert!(refused(regions.clone(), &beyond).contains("is not inside of 0,0,10,10"));
        assert!(refused(regions, &place(Some("hub"), [0, 0, 1, 1])).contains("no region"));
        let huge = place(None, [u64::MAX, u64::MAX, u64::MAX, 1]);
        assert!(refused(json!({}), &huge).contains("is not inside"));
    }
}
