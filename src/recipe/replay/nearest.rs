//! The nearest references of a stored part: for each of its defects the patch of a good part that is most like the place.
//!
//! The part is encoded again by the revision that judged it, and its defects are compared with that revision's references. What
//! the line compared with is not kept: a GPU gives distances alone.

use crate::base::exit::Failure;
use crate::data::map::Map;
use crate::data::nearest::{NearestFound, NearestPair};
use crate::data::picture::{Area, Picture};
use crate::data::verdict::Defect;
use crate::evidence::facts::Facts;
use crate::evidence::kept::KeptPart;
use crate::image::canvas::Canvas;
use crate::image::{close_up, file as image_file, jpeg_file};
use crate::recipe::prepare::{ComparedReferences, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
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

/// The references of one revision, ready to be compared with the parts that it has judged.
pub struct NearestReferences {
    compared: ComparedReferences,
    /// `name@revision` of the recipe.
    recipe: String,
}

/// A place of the judged picture, in pixels: across, down.
type Place = (f64, f64);

impl NearestReferences {
    /// Encodes a recipe's references, beside a line that judges.
    ///
    /// # Errors
    /// As [`RecipePreparer::prepare_to_compare`].
    pub fn prepare(preparer: &RecipePreparer, spec: &RecipeSpec) -> Result<Self, Failure> {
        Ok(NearestReferences {
            compared: preparer.prepare_to_compare(spec)?,
            recipe: spec.label(),
        })
    }

    /// `name@revision` of the recipe.
    pub fn recipe(&self) -> &str {
        &self.recipe
    }

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

        if !self.compared.inspector.has_nearest_patches() {
            let recipe = &self.recipe;
            let words = format!("{recipe} compares windows of several patches, and no single ones");
            return Err(words);
        }

        let region = self.region_of(facts)?;
        let defects = defects_of(facts)?;
        let picture = kept.picture_as_kept().map_err(words)?;
        let places: Vec<Place> = defects.iter().map(|(_, place)| *place).collect();
        let compared = self
            .compared
            .inspector
            .nearest_patches(picture, region, &places);
        let compared = compared.map_err(words)?;

        Ok(NearestFound {
            recipe: self.recipe.clone(),
            pairs: self.pairs(&defects, &compared)?,
            notes: self.notes(facts),
        })
    }

    fn region_of(&self, facts: &Facts) -> Result<usize, String> {
        let wanted = facts.region.as_deref();
        let regions = self.compared.inspector.regions();
        let found = regions.iter().position(|name| name.as_deref() == wanted);

        found.ok_or_else(|| format!("{} has no region of the part's name", self.recipe))
    }

    /// A pair for each defect whose place is compared; each reference's picture is read once.
    fn pairs(
        &self,
        defects: &[(Defect, Place)],
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
                reference: number + 1,
                references: self.compared.references.len(),
                distance: nearest.distance,
                notes: notes_of(nearest),
            });
        }

        Ok(pairs)
    }

    /// A reference as it was judged.
    fn reference(&self, number: usize) -> Result<Arc<Picture>, String> {
        let file = &self.compared.references[number];
        let picture = image_file::read(file).map_err(words)?;

        self.compared
            .inspector
            .judged_picture(picture)
            .map_err(words)
    }

    /// What a person should know of the pairs.
    fn notes(&self, facts: &Facts) -> Vec<String> {
        let inspector = &self.compared.inspector;
        let mut notes = vec![];

        if let Some(by) = &facts.judged_by {
            if by.gallery != self.compared.gallery {
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

/// What a person should know of one pair.
fn notes_of(nearest: &NearestPatch) -> Vec<&'static str> {
    let mut notes = vec![];

    if nearest.way.is_some() {
        notes.push("it was turned or mirrored");
    }

    if nearest.is_known_bad {
        notes.push("the place looks like one of a known bad part, which makes it worse");
    }

    notes
}

/// The strongest defects, each with the place where the map is highest in it.
fn defects_of(facts: &Facts) -> Result<Vec<(Defect, Place)>, String> {
    let map = facts
        .map
        .as_ref()
        .ok_or("the part was not scored, so that no place of it was compared")?;
    let (map, area) = map.map();
    let found: Vec<(Defect, Place)> = facts
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
fn peak(map: &Map, area: Area, defect: &Defect) -> Option<Place> {
    let grid = map.grid();
    let across = defect.x as f64..=(defect.x + defect.w) as f64;
    let down = defect.y as f64..=(defect.y + defect.h) as f64;
    let mut highest: Option<(f32, Place)> = None;

    for (cell, value) in map.values().iter().enumerate() {
        let column = grid.column(cell) as f64 + 0.5;
        let row = grid.row(cell) as f64 + 0.5;

        // Shares of the area, then pixels of the judged picture.
        let x = area.x as f64 + column / grid.w as f64 * area.w as f64;
        let y = area.y as f64 + row / grid.h as f64 * area.h as f64;

        let is_inside = across.contains(&x) && down.contains(&y);
        let is_higher = highest.is_none_or(|(most, _)| *value > most);

        if is_inside && is_higher {
            highest = Some((*value, (x, y)));
        }
    }

    highest.map(|(_, place)| place)
}

/// Side of both squares, in pixels of the judged pictures: the defect with what is around it.
fn side_of(defect: &Defect, nearest: &NearestPatch) -> usize {
    let patch = nearest.found.w.max(nearest.found.h);
    let defect = defect.w.max(defect.h);

    (PATCHES * patch).max(defect * 3 / 2)
}

/// The close-up of a patch with a frame around it, turned as the network saw it.
fn framed(picture: &Picture, patch: Area, side: usize, way: Option<Way>) -> Arc<[u8]> {
    let square = close_up::square_around(picture, patch, side);
    let mut canvas = Canvas::from(close_up::cut(picture, square, SIDE));
    let mut frame = close_up::on_close_up(patch, square, SIDE);

    for colour in FRAMES {
        canvas.outline(frame, THICK, colour);
        frame = Area {
            x: frame.x + THICK,
            y: frame.y + THICK,
            w: frame.w.saturating_sub(2 * THICK),
            h: frame.h.saturating_sub(2 * THICK),
        };
    }

    let shown = canvas.into_picture();
    let shown = way.map_or(shown.clone(), |way| way.of_picture(&shown));

    jpeg_file::encode(&shown, QUALITY).into()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
