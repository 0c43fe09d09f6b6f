//! The nearest references of a stored part: for each of its defects the patch of a good part that is most like the place.
//!
//! The part is encoded again by the revision that judged it, and its defects are compared with that revision's references. What
//! the line compared with is not kept: a GPU gives distances alone.

use super::Replayer;
use crate::data::map::Map;
use crate::data::nearest::{NearestFound, NearestPair};
use crate::data::picture::{Area, Picture};
use crate::data::verdict::Defect;
use crate::evidence::facts::Facts;
use crate::evidence::kept::KeptPart;
use crate::image::canvas::Canvas;
use crate::image::{close_up, file as image_file, jpeg_file};
use crate::winclip::Way;
use crate::winclip::inspector::{ComparedPlaces, NearestPatch};
use std::collections::HashMap;
use std::sync::Arc;

/// Defects that are looked at, the strongest first: as many as a result tells.
const DEFECTS: usize = 3;
/// Side of a close-up, in pixels.
const SIDE: usize = 320;
/// A close-up shows so many patches across at least: one alone cannot be recognised.
const PATCHES: usize = 5;
/// Quality of a close-up, of 100.
const QUALITY: u8 = 85;
/// Thickness of each line of a frame, in pixels.
const THICK: usize = 2;
/// Colours of a frame, from outside inwards: one of them can be seen on any part.
const FRAMES: [[u8; 3]; 2] = [[0, 0, 0], [255, 255, 255]];

/// A defect, and the place across and down where the map is highest in it, in pixels of the judged picture.
type PeakedDefect = (Defect, (f64, f64));

impl Replayer {
    /// The nearest references of a part that this revision has judged.
    ///
    /// # Errors
    /// Words, where there are none to tell.
    pub fn nearest(&mut self, kept: &KeptPart) -> Result<NearestFound, String> {
        let facts = &kept.facts;
        if facts.recipe != self.recipe {
            let words = format!("{} judged the part, and not {}", facts.recipe, self.recipe);
            return Err(words);
        }

        if !self.active.inspector.has_nearest_patches() {
            return Err(self.why_no_patches());
        }

        let region = self.region_of(facts)?;
        let defects = defects_of(facts)?;
        let picture = kept.picture_as_kept().map_err(words)?;
        let places: Vec<(f64, f64)> = defects.iter().map(|(_, place)| *place).collect();
        let compared = self
            .active
            .inspector
            .nearest_patches(picture, region, &places);
        let compared = compared.map_err(words)?;

        Ok(NearestFound {
            recipe: self.recipe.clone(),
            pairs: self.pairs(&defects, &compared)?,
            notes: self.notes(facts),
        })
    }

    fn why_no_patches(&self) -> String {
        let recipe = &self.recipe;
        match self.active.inspector.reference_count() {
            0 => format!("{recipe} has no references: it judges by words alone"),
            _ => format!("{recipe} compares windows of several patches, and no single ones"),
        }
    }

    fn region_of(&self, facts: &Facts) -> Result<usize, String> {
        let wanted = facts.region.as_deref();
        let regions = self.active.inspector.regions();
        let mut names = regions.iter();
        let found = names.position(|name| {
            let name = name.as_deref();
            name == wanted
        });

        found.ok_or_else(|| {
            let recipe = &self.recipe;
            format!("{recipe} has no region of the part's name")
        })
    }

    /// A pair for each defect whose place is compared; each reference's picture is read once.
    fn pairs(
        &self,
        defects: &[PeakedDefect],
        compared: &ComparedPlaces,
    ) -> Result<Vec<NearestPair>, String> {
        let mut pictures: HashMap<usize, Arc<Picture>> = HashMap::new();
        let mut pairs = vec![];
        for (index, ((defect, _), nearest)) in defects.iter().zip(&compared.nearest).enumerate() {
            let Some(nearest) = nearest else {
                continue;
            };

            let number = nearest.reference;
            let picture = match pictures.get(&number) {
                Some(picture) => picture.clone(),
                None => pictures
                    .entry(number)
                    .or_insert(self.reference(number)?)
                    .clone(),
            };

            let side = side_of(defect, nearest);
            pairs.push(NearestPair {
                defect: index + 1,
                found: framed(&compared.judged, nearest.found, side, None),
                looked_for: framed(&picture, nearest.looked_for, side, nearest.way),
                words: self.in_words(nearest),
            });
        }

        Ok(pairs)
    }

    /// A reference as it was judged.
    fn reference(&self, number: usize) -> Result<Arc<Picture>, String> {
        let file = &self.active.references[number];
        let picture = image_file::read(file);
        let picture = picture.map_err(words)?;

        let inspector = &self.active.inspector;
        let judged = inspector.judged_picture(picture);
        judged.map_err(words)
    }

    fn in_words(&self, nearest: &NearestPatch) -> String {
        let all = self.active.inspector.reference_count();
        let number = nearest.reference + 1;
        let mut words = format!(
            "good part {number} of {all}, distance {:.3}",
            nearest.distance
        );

        if nearest.way.is_some() {
            words += "; it was turned or mirrored";
        }

        if nearest.is_known_bad {
            words += "; the place looks like one of a known bad part, which makes it worse";
        }

        words
    }

    /// What a person should know of the pairs.
    fn notes(&self, facts: &Facts) -> Vec<String> {
        let inspector = &self.active.inspector;
        let mut notes = vec![];
        if let Some(by) = &facts.judged_by {
            if by.gallery != self.active.gallery {
                notes.push("The references were others when the part was judged.".to_owned());
            }

            if by.backend != inspector.backend() {
                let own = inspector.backend();
                notes.push(format!("Found on {own}; {} judged the part.", by.backend));
            }
        }

        if facts.picture.as_ref().is_some_and(|own| !own.is_lossless) {
            notes.push(
                "The picture was kept as JPEG: distances are nearly those of the verdict."
                    .to_owned(),
            );
        }

        if inspector.is_thinned() {
            notes.push("The recipe compares with some patches of each reference (thin_to), and all are shown here.".to_owned());
        }

        if inspector.prototypes().is_some() {
            notes.push(
                "The recipe judges by words too; these are the pictures that it compares with."
                    .to_owned(),
            );
        }

        notes
    }
}

/// The strongest defects, each with the place where the map is highest in it.
fn defects_of(facts: &Facts) -> Result<Vec<PeakedDefect>, String> {
    let map = facts
        .map
        .as_ref()
        .ok_or("the part was not scored, so that no place of it was compared")?;
    let (map, area) = map.map();
    let found: Vec<PeakedDefect> = facts
        .defects
        .iter()
        .take(DEFECTS)
        .filter_map(|defect| Some((*defect, peak(&map, area, defect)?)))
        .collect();

    match found.is_empty() {
        true => Err("the part has no defect that could be compared".to_owned()),
        false => Ok(found),
    }
}

/// The middle of the highest cell whose middle lies in a defect.
fn peak(map: &Map, area: Area, defect: &Defect) -> Option<(f64, f64)> {
    let grid = map.grid();
    let left = defect.x as f64;
    let top = defect.y as f64;
    let right = left + defect.w as f64;
    let bottom = top + defect.h as f64;

    let mut highest = f32::NEG_INFINITY;
    let mut place = None;
    for cell in 0..grid.cells() {
        let column = grid.column(cell);
        let row = grid.row(cell);
        let x = middle(column, grid.w, area.x, area.w);
        let y = middle(row, grid.h, area.y, area.h);

        let is_across = left <= x && x <= right;
        let is_down = top <= y && y <= bottom;
        if !is_across || !is_down {
            continue;
        }

        let value = map.values()[cell];
        if value > highest {
            highest = value;
            place = Some((x, y));
        }
    }

    place
}

/// The middle of one of `cells` along one direction of an area, in pixels.
fn middle(cell: usize, cells: usize, start: usize, length: usize) -> f64 {
    let share = (cell as f64 + 0.5) / cells as f64;

    start as f64 + share * length as f64
}

/// Side of both squares, in pixels of the judged pictures: the defect with what is around it.
fn side_of(defect: &Defect, nearest: &NearestPatch) -> usize {
    let patch = nearest.found;
    let patch_side = patch.w.max(patch.h);
    let defect_side = defect.w.max(defect.h);

    let of_patches = PATCHES * patch_side;
    let of_defect = defect_side * 3 / 2;

    of_patches.max(of_defect)
}

/// The close-up of a patch with a frame around it, turned as the network saw it.
fn framed(picture: &Picture, patch: Area, side: usize, way: Option<Way>) -> Arc<[u8]> {
    let square = close_up::square_around(picture, patch, side);
    let close = close_up::cut(picture, square, SIDE);
    let mut canvas = Canvas::from(close);

    // Each line lies inside of the one before.
    let mut frame = close_up::on_close_up(patch, square, SIDE);
    for colour in FRAMES {
        canvas.outline(frame, THICK, colour);

        frame.x += THICK;
        frame.y += THICK;
        frame.w = frame.w.saturating_sub(2 * THICK);
        frame.h = frame.h.saturating_sub(2 * THICK);
    }

    let mut shown = canvas.into_picture();
    if let Some(way) = way {
        shown = way.of_picture(&shown);
    }

    let file = jpeg_file::encode(&shown, QUALITY);
    file.into()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
