//! The recipe: everything that is asked of the algorithm, and what that needs from an encoder.

use super::mask::{Polygon, cell_mask};
use super::pixels::{Fit, area};
use super::preset::{Parameters, Preset};
use super::tiles;
use super::top_share::TopShare;
use super::turned::Turned;
use crate::base::problems::Problems;
use crate::data::grid::Grid;
use crate::data::picture::Area;
use crate::engine::device_scorer::MapKind;
use crate::engine::{EncodePlan, PatchLayer};
use crate::image::locate::Locator;
use crate::model::ModelSpec;
use std::sync::Arc;

/// Presets are parameters of one code path; everything else here overrides one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Name of the part. Goes into the prompts exactly as given; needed for models with text.
    pub class_name: Option<String>,
    /// Reading of the paper.
    pub preset: Preset,
    /// Parts of the view with a verdict of their own, by order; at least one.
    pub regions: Vec<Region>,
    /// Side in camera pixels of the overlapping squares of each region that are encoded beside the
    /// whole.
    pub tile_px: Option<usize>,
    /// Way from a camera's picture to the encoder's input.
    pub fit: Fit,
    /// Ways in which the references are looked at beside their own.
    pub turned: Turned,
    /// Number of references whose rows are as many as are compared with; the others are left out.
    /// `None`: all are compared with.
    pub thin_to: Option<usize>,
    /// Cells of the map with `fit = "keep"`, at most. `None`: 256.
    pub cells: Option<usize>,
    /// Width and height of the pictures in pixels, where they are known.
    pub picture: Option<(usize, usize)>,
    /// Input side in pixels. `None`: the model's own.
    pub input_px: Option<usize>,
    /// Block of the patch map, counted from 1. `None`: see [`Recipe::patch_layer`].
    pub block: Option<usize>,
    /// Share of the map's highest cells that make the score of a model without text. `None`:
    /// [`TopShare::USUAL`].
    pub top_share: Option<TopShare>,
    /// Visual maps that are averaged. `None`: the preset's (DINOv2: patch alone).
    pub maps: Option<Vec<MapKind>>,
    /// Window scales of the language map, in patches.
    pub scales: Vec<usize>,
    /// States of a good part that are added to the ensemble's, each with one `{}`.
    pub normal_states: Vec<String>,
    /// States of a bad part that are added to the ensemble's, each with one `{}`.
    pub anomalous_states: Vec<String>,
    /// Templates that replace the preset's, each with one `{}`; empty for the preset's.
    pub templates: Vec<String>,
    /// Finds the part in each picture. `None`: parts lie where they lay on the references.
    pub locator: Option<Arc<Locator>>,
}

/// A part of the view with its own gallery, threshold and verdict.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Region {
    /// `None` where the recipe names none: then there is one region.
    pub name: Option<Arc<str>>,
    /// The part of each picture that is inspected, references included. `None`: all of it.
    pub crop: Option<Area>,
    /// Polygons in which scores count; empty for everywhere. Everything outside is in no map and in
    /// no gallery.
    pub mask: Vec<Polygon>,
}

/// Regions of one recipe, at most: each costs as much time as a picture.
pub const REGIONS_MAX: usize = 32;

/// Advice about a crop that covers the whole picture.
const WHOLE_PICTURE: &str = "for all of the picture: [0, 0, width, height]";

impl Recipe {
    /// The paper's reading at the model's own size.
    pub fn new(class_name: Option<String>) -> Self {
        Recipe {
            class_name,
            preset: Preset::Paper,
            regions: vec![Region::default()],
            tile_px: None,
            fit: Fit::Squash,
            turned: Turned::None,
            thin_to: None,
            cells: None,
            picture: None,
            input_px: None,
            block: None,
            top_share: None,
            maps: None,
            scales: vec![2, 3],
            normal_states: vec![],
            anomalous_states: vec![],
            templates: vec![],
            locator: None,
        }
    }

    /// The preset's parameters with what the recipe and the model change.
    pub fn parameters(&self, spec: &ModelSpec) -> Parameters {
        let mut parameters = self.preset.parameters(&self.scales);
        // A model without text has no common space of words and pictures, hence no windows: it
        // compares patches.
        if spec.text.is_none() {
            parameters.maps = vec![MapKind::Patch];
        }

        // The recipe's own maps come before the preset's, and its layer with the model's.
        if let Some(maps) = &self.maps {
            parameters.maps = maps.clone();
        }

        parameters.patches = Some(self.patch_layer(spec));
        parameters.top_share = self.top_share.unwrap_or(TopShare::USUAL);
        parameters.thin_to = self.thin_to;

        parameters
    }

    /// The plan of an encoder for this recipe.
    ///
    /// # Errors
    /// Everything that the model lacks or that does not make sense, at once.
    pub fn encode_plan(
        &self,
        spec: &ModelSpec,
        with_references: bool,
    ) -> Result<EncodePlan, Problems> {
        let parameters = self.parameters(spec);
        let has_text = spec.text.is_some();
        let language_map = has_text && parameters.needs_language_map(with_references);
        // Every problem is noted, and none ends the check: a person mends a recipe once.
        let mut problems = self.own_problems();
        self.check_comparison(has_text, with_references, &mut problems);
        if language_map && self.scales.is_empty() {
            problems.note(
                "scales",
                "must name at least one window scale, such as 2; the language map is made of them",
            );
        }

        // Other sizes than the model's own need its position embedding to be resized.
        let (width, height) = self.input_size(spec, &mut problems);
        let mut plan = EncodePlan {
            width,
            height,
            image: has_text && parameters.needs_whole_image(with_references),
            patches: vec![],
            scales: vec![],
        };

        // The language map needs the windows of the recipe's scales; visual maps add theirs, and
        // their layer, below.
        if language_map {
            plan.scales = self.scales.clone();
        }

        if with_references {
            add_visual_maps(&mut plan, &parameters.maps, self.patch_layer(spec));
        }

        self.check_turned(width == height, &mut problems);
        let names_no_map = self.maps.as_ref().is_some_and(Vec::is_empty);
        if names_no_map || (with_references && parameters.maps.is_empty()) {
            problems.note(
                "maps",
                "must name at least one: patch, or window scales such as 2 and 3",
            );
        }

        // Where a patch map is made, the plan's own check finds it.
        if let Some(block) = self.block
            && plan.patches.is_empty()
            && !(1..=spec.blocks).contains(&block)
        {
            problems.note(
                "block",
                format!("must be 1 to {}, got {block}", spec.blocks),
            );
        }

        // The grid is that of the asked size, since masks are laid over the cells of the map that
        // will be made.
        self.check_regions(plan.grid(spec), &mut problems);
        if let Err(error) = plan.check(spec) {
            for line in error.to_string().lines() {
                let (place, words) = line.split_once(": ").unwrap_or(("plan", line));
                problems.note(place, words);
            }
        }

        problems.into_result().map(|()| plan)
    }

    /// Notes what pictures cannot be compared with: words without a class name, or nothing at all.
    fn check_comparison(&self, has_text: bool, with_references: bool, problems: &mut Problems) {
        let class_name = self.class_name.as_deref().unwrap_or_default();
        if has_text && class_name.trim().is_empty() {
            problems.note(
                "class_name",
                "this model compares with words; say what the part is, for example \"metal nut\"",
            );
        }

        if has_text && self.top_share.is_some() {
            problems.note(
                "top_share",
                "this model compares with words, and its score is not a mean of the map's cells; take it out",
            );
        }

        if !has_text && !with_references {
            problems.note(
                "references",
                "this model has no text; it needs at least one picture of a good part",
            );
        }
    }

    /// Notes turned references where a turned picture would not be one of the same places.
    fn check_turned(&self, is_square: bool, problems: &mut Problems) {
        if self.turned == Turned::None {
            return;
        }

        // A tile is compared with the same tile of the references; in a turned part another one
        // lies there.
        if self.tile_px.is_some() {
            let words = "cannot be had beside tile_px: a tile is compared with its own place alone; take one of them out";
            problems.note("turned", words);
        }

        // `all` has four ways without them, which is what it means there.
        if self.turned == Turned::Quarter && !is_square {
            let words =
                "quarter turns need a square input; with fit = keep use half, mirror or all";
            problems.note("turned", words);
        }
    }

    /// Notes regions that cannot be inspected with a map of this grid, or not in bounded time.
    fn check_regions(&self, grid: Grid, problems: &mut Problems) {
        if self.regions.is_empty() || self.regions.len() > REGIONS_MAX {
            problems.note(
                "region",
                format!("must be 1 to {REGIONS_MAX}, got {}", self.regions.len()),
            );
        }

        // Tiles of all regions count together, because they go through the encoder together.
        let mut tile_count = 0;
        for (index, region) in self.regions.iter().enumerate() {
            let mask_key = region.key(index, "mask");
            for polygon in region.mask.iter().filter(|polygon| polygon.len() < 3) {
                problems.note(
                    &mask_key,
                    format!("a polygon needs 3 corners or more, got {}", polygon.len()),
                );
            }

            let Some(crop) = region.crop else {
                self.check_without_crop(region, &mask_key, problems);
                continue;
            };

            // The size of the picture does not matter with a crop.
            let area = area(Some(crop), self.fit, 0, 0);
            let is_masked = !region.mask.is_empty();
            if is_masked && !cell_mask(&region.mask, area, grid).contains(&true) {
                problems.note(
                    &mask_key,
                    format!("leaves none of the {grid} cells over the crop {area}: nothing would be looked at"),
                );
            }

            if let Some(side) = self.tile_px {
                tile_count += tiles::tiles(area, side).len();
                check_merged_side(area, side, grid.w, problems);
            }
        }

        if tile_count > tiles::COUNT_MAX {
            let most = tiles::COUNT_MAX;
            problems.note(
                "tile_px",
                format!("would be {tile_count} tiles a picture (at most {most}); make it larger"),
            );
        }
    }

    fn check_without_crop(&self, region: &Region, mask_key: &str, problems: &mut Problems) {
        if !region.mask.is_empty() {
            problems.note(
                mask_key,
                format!("needs crop, for the place of its corners; {WHOLE_PICTURE}"),
            );
        }

        if self.tile_px.is_some() {
            problems.note(
                "tile_px",
                format!("needs crop, so that all pictures have the same; {WHOLE_PICTURE}"),
            );
        }
    }

    fn own_problems(&self) -> Problems {
        let mut problems = Problems::new();
        let lists = [
            ("normal_states", &self.normal_states),
            ("anomalous_states", &self.anomalous_states),
            ("templates", &self.templates),
        ];

        for (key, list) in lists {
            for words in list.iter().filter(|words| words.matches("{}").count() != 1) {
                problems.note(
                    key,
                    format!("each needs {{}} once, where the part's name goes; got {words:?}"),
                );
            }
        }

        if self.maps.as_ref().is_some_and(|maps| has_doubles(maps)) {
            problems.note("maps", "each may be named once");
        }

        if has_doubles(&self.scales) {
            problems.note("scales", "each may be named once");
        }

        problems
    }
}

impl Region {
    /// A key of the region, as it is written in a recipe.
    fn key(&self, index: usize, key: &str) -> String {
        match self.name {
            Some(_) => format!("region[{index}].{key}"),
            None => key.to_owned(),
        }
    }
}

/// Adds the layers and scales of the visual maps.
fn add_visual_maps(plan: &mut EncodePlan, maps: &[MapKind], layer: PatchLayer) {
    for map in maps {
        match map {
            MapKind::Windows(scale) => {
                if !plan.scales.contains(scale) {
                    plan.scales.push(*scale);
                }
            }
            MapKind::Patch => plan.patches.push(layer),
        }
    }
}

/// Notes a merged map of too many cells.
fn check_merged_side(area: Area, side: usize, grid: usize, problems: &mut Problems) {
    let cells = tiles::merged_side(area, side, grid);
    if cells <= tiles::SIDE_MAX {
        return;
    }

    let Area { w, h, .. } = area;
    let most = tiles::SIDE_MAX;
    problems.note(
        "tile_px",
        format!(
            "{side} pixels over {w} x {h} would be a map of {cells} cells a side (at most {most}); make it larger"
        ),
    );
}

fn has_doubles<T: PartialEq>(list: &[T]) -> bool {
    list.iter()
        .enumerate()
        .any(|(i, item)| list[..i].contains(item))
}
