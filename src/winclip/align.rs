//! The part of each picture is brought to its place on the recipe's master picture, so that regions,
//! masks and references mean the same place of the part however it lies.

use super::pixels::PixelError;
use super::recipe::{Recipe, Region};
use crate::data::picture::{Area, Picture};
use crate::data::pose::{Point, Pose, corners};
use crate::image::locate::{Locator, aligned};
use std::sync::Arc;

/// A picture with the part at its place on the master picture, and where it was.
#[derive(Debug, Clone)]
pub struct AlignedPicture {
    /// Place and turn of the part in the camera's picture.
    pub pose: Pose,
    /// The crops of the recipe as they would be with the part at its place; black elsewhere.
    pub picture: Arc<Picture>,
}

/// A picture as it is judged.
pub(super) struct SeenPicture<'a> {
    camera: &'a Picture,
    /// `None` where the recipe does not locate parts.
    pub(super) aligned: Option<AlignedPicture>,
}

impl<'a> SeenPicture<'a> {
    /// A picture in which the part need not be looked for.
    pub(super) fn in_place(picture: &'a Picture) -> Self {
        SeenPicture {
            camera: picture,
            aligned: None,
        }
    }

    /// The picture that the crops are cut out of.
    pub(super) fn picture(&self) -> &Picture {
        match &self.aligned {
            Some(aligned) => &aligned.picture,
            None => self.camera,
        }
    }
}

/// Aligns pictures for one recipe.
pub(super) struct Aligner {
    locator: Arc<Locator>,
    /// Places on the master between which all must be seen.
    judged: Vec<Point>,
    /// The area around all crops.
    shown: Area,
}

impl Aligner {
    /// The aligner of a recipe; `None` where it does not locate parts.
    pub(super) fn of(recipe: &Recipe) -> Option<Self> {
        let locator = recipe.locator.clone()?;
        let mut judged = vec![];
        for region in &recipe.regions {
            judged.extend(edges(region));
        }

        // A region that has no crop has the part's area since the locator was given.
        let crops = recipe.regions.iter().filter_map(|region| region.crop);
        let shown = crops.reduce(around).unwrap_or(locator.limits().area);
        Some(Aligner {
            locator,
            judged,
            shown,
        })
    }

    /// What finds the part.
    pub(super) fn locator(&self) -> &Locator {
        &self.locator
    }

    pub(super) fn find(&self, picture: &Picture) -> Result<Pose, PixelError> {
        let pose = self.locator.locate(picture, &self.judged)?;
        Ok(pose)
    }

    /// # Errors
    /// When no part is found within the recipe's limits.
    pub(super) fn align<'a>(&self, picture: &'a Picture) -> Result<SeenPicture<'a>, PixelError> {
        let pose = self.find(picture)?;
        let size = self.locator.size();
        let picture_of_part = aligned(picture, &pose, size, self.shown);
        Ok(SeenPicture {
            camera: picture,
            aligned: Some(AlignedPicture {
                pose,
                picture: picture_of_part.into(),
            }),
        })
    }
}

/// The corners of what a region looks at: of its masks, else of its crop.
fn edges(region: &Region) -> Vec<Point> {
    let Some(crop) = region.crop else {
        return vec![];
    };

    if region.mask.is_empty() {
        return corners(crop).to_vec();
    }

    let left = crop.x as f32;
    let top = crop.y as f32;
    let right = (crop.x + crop.w) as f32;
    let bottom = (crop.y + crop.h) as f32;

    // A mask may reach beyond its crop, where nothing is looked at.
    let mut edges = vec![];
    for (x, y) in region.mask.iter().flatten() {
        let inside_x = (*x as f32).clamp(left, right);
        let inside_y = (*y as f32).clamp(top, bottom);
        edges.push([inside_x, inside_y]);
    }

    edges
}

/// The area around two.
fn around(one: Area, other: Area) -> Area {
    let x = one.x.min(other.x);
    let y = one.y.min(other.y);
    let right = (one.x + one.w).max(other.x + other.w);
    let bottom = (one.y + one.h).max(other.y + other.h);

    Area {
        x,
        y,
        w: right - x,
        h: bottom - y,
    }
}

impl Recipe {
    /// The recipe with the part's area as the crop of regions that have none.
    pub fn cropped_to(mut self, area: Area) -> Self {
        for region in &mut self.regions {
            region.crop.get_or_insert(area);
        }

        self
    }

    /// Place and turn of the part in a picture; `None` where the recipe does not locate parts.
    ///
    /// # Errors
    /// When it is not found within the recipe's limits.
    pub fn find_part(&self, picture: &Picture) -> Result<Option<Pose>, PixelError> {
        let Some(aligner) = Aligner::of(self) else {
            return Ok(None);
        };

        let pose = aligner.find(picture)?;
        Ok(Some(pose))
    }

    /// The picture as it is judged, with the part at its place; as it is where the recipe does not locate
    /// parts.
    ///
    /// # Errors
    /// When no part is found within the recipe's limits.
    pub fn in_place(&self, picture: Picture) -> Result<Picture, PixelError> {
        let Some(aligner) = Aligner::of(self) else {
            return Ok(picture);
        };

        let seen = aligner.align(&picture)?;
        let Some(aligned) = seen.aligned else {
            return Ok(picture);
        };

        // Nobody else holds the picture, so that it is not copied.
        Ok(Arc::unwrap_or_clone(aligned.picture))
    }

    /// The recipe that finds the part of each picture by `locator`.
    pub fn located_by(self, locator: Locator) -> Self {
        let area = locator.limits().area;
        Recipe {
            locator: Some(locator.into()),
            ..self.cropped_to(area)
        }
    }
}
