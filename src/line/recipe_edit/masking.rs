//! Places of a recipe that are to count no more: the command `edit` with `mask_out`.
//!
//! A place is cut out of the region's mask; a region without one has all of its crop before, and the whole picture where it has
//! no crop either. A threshold that is a number stays what it is: distances at other places are hardly others.
//!
//! Refused where a place would be another one than a person saw: on a line of several cameras, whose recipe is one, and for a recipe
//! without crop whose pictures have other sizes. One command masks at most [`SHARE_MAX`] of what is looked at.

use crate::data::picture::Area;
use crate::image::file;
use crate::line::changeover::Changeover;
use crate::line::recipe_change::words;
use crate::protocol::editing::{EditCommand, MaskedPlace, Rectangle};
use crate::recipe::library::draft::{Draft, DraftPicture};
use crate::recipe::library::table::Table;
use crate::winclip::mask::{Polygon, outline, share_left, without};
use serde_json::{Value, json};
use std::sync::PoisonError;

/// Share of what a recipe looks at that the places of one command may hide.
const SHARE_MAX: f64 = 0.25;

impl Changeover {
    /// Masks the places of a command in a draft. Returns words on each.
    pub(super) fn mask_out(
        &self,
        draft: &mut Draft,
        command: &EditCommand,
    ) -> Result<Vec<String>, String> {
        if command.mask_out.is_empty() {
            return Ok(vec![]);
        }

        check_one_camera(&self.identity().cameras)?;
        let mut told = vec![];
        let mut hidden = 0.0;

        for place in &command.mask_out {
            let pictures = &draft.pictures;
            let share = mask_place(&mut draft.table, place, || self.picture(pictures))?;
            hidden += share;
            told.push(told_share(place, share));
        }

        check_share(hidden)?;
        Ok(told)
    }

    /// The camera's whole picture, which all of the recipe's pictures must be like.
    fn picture(&self, known: &[DraftPicture]) -> Result<Area, String> {
        let frame = {
            let frames = self.frames.lock();
            let frames = frames.unwrap_or_else(PoisonError::into_inner);
            frames.values().next().cloned()
        };

        let Some(frame) = frame else {
            let words = "the recipe has no crop, and the camera has shown no picture yet; draw a crop first (Teach)";
            return Err(words.to_owned());
        };

        let width = frame.picture.width();
        let height = frame.picture.height();
        let whole = Area::whole(width, height);
        check_sizes(whole, known)?;

        Ok(whole)
    }
}

/// Refuses a place on a line of several cameras: the recipe is that of all, and the place of one.
fn check_one_camera(cameras: &[String]) -> Result<(), String> {
    match cameras.len() {
        0 | 1 => Ok(()),
        count => Err(format!(
            "mask_out is for a line of one camera, and this one has {count} ({}): the mask would lie over the pictures of all; \
             draw the view that all need (Teach)",
            cameras.join(", ")
        )),
    }
}

/// Refuses a crop that is the whole of the camera's picture and not of each picture that the recipe knows: of a larger one
/// the corner would be looked at.
fn check_sizes(whole: Area, known: &[DraftPicture]) -> Result<(), String> {
    for picture in known {
        let shown = file::read(&picture.file).map_err(words)?;
        let size = Area::whole(shown.width(), shown.height());

        if size == whole {
            continue;
        }

        let from = &picture.from;
        return Err(format!(
            "the recipe has no crop, and its picture {from} has {} x {} pixels, the camera's {} x {}; draw a crop first (Teach)",
            size.w, size.h, whole.w, whole.h
        ));
    }

    Ok(())
}

/// Refuses a mask that hides so much that it is another view.
fn check_share(hidden: f64) -> Result<(), String> {
    if hidden <= SHARE_MAX {
        return Ok(());
    }

    Err(format!(
        "mask_out would hide {:.0} % of what is looked at, and may hide {:.0} %; draw the view on Teach, or send it as view",
        hidden * 100.0,
        SHARE_MAX * 100.0
    ))
}

/// A place in words, and the share of what was looked at that it hides.
fn told_share(place: &MaskedPlace, share: f64) -> String {
    let percent = share * 100.0;

    format!("{}, {percent:.1} % of what was looked at", place.words())
}

/// Cuts a place out of a recipe's table; `picture` is the whole one. Returns the share of what was looked at that it hides.
fn mask_place(
    table: &mut Table,
    place: &MaskedPlace,
    picture: impl FnOnce() -> Result<Area, String>,
) -> Result<f64, String> {
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
    let share = 1.0 - share_left(&before, &after, crop);

    looked_at.insert("crop".to_owned(), json!([crop.x, crop.y, crop.w, crop.h]));
    looked_at.insert("mask".to_owned(), json!(after));

    Ok(share)
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
    use crate::recipe::library::manifest::PictureUse;

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
        let edge = place(None, [90, 0, 50, 80]);
        let share = mask_place(&mut whole, &edge, picture).expect("at the edge");
        assert!((share - 0.1).abs() < 0.01, "{share}");
        let words = told_share(&edge, 0.1);
        assert!(words.ends_with(", 10.0 % of what was looked at"), "{words}");

        // A second one at the same place hides nothing more.
        let again = mask_place(&mut whole.clone(), &edge, picture);
        assert_eq!(again, Ok(0.0));
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
    fn a_mask_is_for_one_camera_a_small_place_and_pictures_of_one_size() {
        let [top, side] = ["top", "side"].map(str::to_owned);
        assert_eq!(check_one_camera(std::slice::from_ref(&top)), Ok(()));
        let refused = check_one_camera(&[top, side]).expect_err("two");
        assert!(refused.contains("has 2 (top, side)"), "{refused}");

        let picture = || Ok(Area::whole(100, 80));
        let half = place(None, [0, 0, 50, 80]);
        let share = mask_place(&mut table(json!({})), &half, picture).expect("inside");
        let refused = check_share(share).expect_err("half");
        assert!(refused.contains("hide 50 % of what"), "{refused}");
        assert_eq!(check_share(SHARE_MAX), Ok(()));

        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.png");
        image::RgbImage::new(40, 30).save(&file).expect("written");
        let known = [DraftPicture::new(PictureUse::Bad, file)];
        assert_eq!(check_sizes(Area::whole(40, 30), &known), Ok(()));
        let refused = check_sizes(Area::whole(100, 80), &known).expect_err("other");
        let words = "its picture a.png has 40 x 30 pixels, the camera's 100 x 80";
        assert!(refused.contains(words), "{refused}");
    }

    #[test]
    fn what_cannot_be_masked_is_refused_in_words() {
        let refused = |value: Value, place: &MaskedPlace| {
            let picture = || Ok(Area::whole(100, 80));
            mask_place(&mut table(value), place, picture).expect_err("refused")
        };

        let all = place(None, [0, 0, 100, 80]);
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
