//! What a recipe asks of the algorithm, and what that needs from an encoder.

use super::mask::{self, Polygon};
use super::pixels::area;
use super::preset::Parameters;
use super::tiles;
use crate::base::problems::Problems;
use crate::data::picture::Area;
use crate::engine::device_scorer::MapKind;
use crate::engine::{EncodePlan, PatchLayer};
use crate::model::ModelSpec;
use std::sync::Arc;

/// Presets are parameters of one code path; everything else here overrides one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Goes into the prompts exactly as given; needed for models with text.
    pub class_name: Option<String>,
    pub preset: Preset,
    /// What has a verdict of its own, by order; at least one.
    pub regions: Vec<Region>,
    /// Side in camera pixels of the overlapping squares of each region that are looked at beside the whole.
    pub tile_px: Option<usize>,
    pub fit: Fit,
    /// Input side in pixels; nothing means the model's own.
    pub input_px: Option<usize>,
    /// Patches from the b-th block, counted from 1; nothing means what the preset says (the last).
    pub block: Option<usize>,
    /// Which visual maps are averaged; nothing means what the preset says (DINOv2: patch alone).
    pub maps: Option<Vec<MapKind>>,
    /// Window scales of the language map, in patches.
    pub scales: Vec<usize>,
    /// States of the recipe's own, added to the ensemble's, each with one `{}`.
    pub normal_states: Vec<String>,
    pub anomalous_states: Vec<String>,
    /// Templates that replace the preset's, each with one `{}`; empty for the preset's.
    pub templates: Vec<String>,
}

/// A part of the view with its own gallery, threshold and verdict.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Region {
    /// Nothing where the recipe names none: then there is one region.
    pub name: Option<Arc<str>>,
    /// The part of each picture that is looked at, references included; nothing means all of it.
    pub crop: Option<Area>,
    /// Where in the crop scores count; empty means everywhere. What is outside is in no map and in no
    /// gallery.
    pub mask: Vec<Polygon>,
}

/// Regions of one recipe, at most: each costs as much time as a picture.
pub const REGIONS_MAX: usize = 32;

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    #[default]
    Paper,
    Anomalib,
    Zqhang,
    Caoyunkang,
}

/// How a camera picture becomes a square.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Both sides to the input side; the aspect is not kept.
    #[default]
    Squash,
    /// The shorter side to the input side, then the centre.
    Crop,
}

impl Recipe {
    /// The paper's reading at the model's own size.
    pub fn new(class_name: Option<String>) -> Self {
        Recipe {
            class_name,
            preset: Preset::Paper,
            regions: vec![Region::default()],
            tile_px: None,
            fit: Fit::Squash,
            input_px: None,
            block: None,
            maps: None,
            scales: vec![2, 3],
            normal_states: vec![],
            anomalous_states: vec![],
            templates: vec![],
        }
    }

    /// The preset's parameters with what the recipe and the model change.
    pub fn parameters(&self, spec: &ModelSpec) -> Parameters {
        let mut parameters = self.preset.parameters(&self.scales);
        if spec.text.is_none() {
            parameters.maps = vec![MapKind::Patch];
            parameters.patches = None;
        }
        if let Some(maps) = &self.maps {
            parameters.maps = maps.clone();
        }
        if let Some(block) = self.block {
            parameters.patches = Some(PatchLayer::Block(block));
        }
        parameters
    }

    /// What the encoder must compute for this recipe.
    ///
    /// # Errors
    /// Everything that the model lacks or that does not make sense, at once.
    pub fn encode_plan(
        &self,
        spec: &ModelSpec,
        with_references: bool,
    ) -> Result<EncodePlan, Problems> {
        let parameters = self.parameters(spec);
        let mut problems = self.own_problems();
        let language = spec.text.is_some();
        if language
            && self
                .class_name
                .as_deref()
                .is_none_or(|name| name.trim().is_empty())
        {
            problems.note(
                "class_name",
                "this model compares with words; say what the part is, for example \"metal nut\"",
            );
        }
        if !language && !with_references {
            problems.note(
                "references",
                "this model has no text; it needs at least one picture of a good part",
            );
        }
        let language_map = language && parameters.needs_language_map(with_references);
        if language_map && self.scales.is_empty() {
            problems.note(
                "scales",
                "must name at least one window scale, such as 2; the language map is made of them",
            );
        }
        let mut scales = if language_map {
            self.scales.clone()
        } else {
            vec![]
        };
        let mut patches = vec![];
        for map in parameters.maps.iter().filter(|_| with_references) {
            match map {
                MapKind::Windows(scale) if scales.contains(scale) => {}
                MapKind::Windows(scale) => scales.push(*scale),
                MapKind::Patch => {
                    patches.push(parameters.patches.unwrap_or(PatchLayer::Block(spec.blocks)))
                }
            }
        }
        if self.maps.as_ref().is_some_and(Vec::is_empty)
            || (with_references && parameters.maps.is_empty())
        {
            problems.note(
                "maps",
                "must name at least one: patch, or window scales such as 2 and 3",
            );
        }
        // Where a patch map is made, the plan's own check tells it.
        if let Some(block) = self.block
            && patches.is_empty()
            && !(1..=spec.blocks).contains(&block)
        {
            problems.note(
                "block",
                format!("must be 1 to {}, got {block}", spec.blocks),
            );
        }
        let side = self.input_px.unwrap_or(spec.side);
        let image = language && parameters.needs_whole_image(with_references);
        self.check_regions(side / spec.patch, &mut problems);
        let plan = EncodePlan {
            side,
            image,
            patches,
            scales,
        };
        if let Err(error) = plan.check(spec) {
            error.to_string().lines().for_each(|line| {
                let (place, words) = line.split_once(": ").unwrap_or(("plan", line));
                problems.note(place, words);
            });
        }
        problems.into_result().map(|()| plan)
    }

    /// Whether each region can be looked at with a map of `grid` cells a side, and all of them in bounded time.
    fn check_regions(&self, grid: usize, problems: &mut Problems) {
        if self.regions.is_empty() || self.regions.len() > REGIONS_MAX {
            problems.note(
                "region",
                format!("must be 1 to {REGIONS_MAX}, got {}", self.regions.len()),
            );
        }
        let mut looks = 0;
        for (i, region) in self.regions.iter().enumerate() {
            let place = |key: &str| {
                region
                    .name
                    .as_ref()
                    .map_or(key.to_owned(), |_| format!("region[{i}].{key}"))
            };
            for polygon in region.mask.iter().filter(|polygon| polygon.len() < 3) {
                problems.note(
                    place("mask"),
                    format!("a polygon needs 3 corners or more, got {}", polygon.len()),
                );
            }
            let all = "for all of the picture: [0, 0, width, height]";
            let Some(area) = region.crop.map(|crop| area(Some(crop), self.fit, 0, 0)) else {
                if !region.mask.is_empty() {
                    problems.note(
                        place("mask"),
                        format!("needs crop, for the place of its corners; {all}"),
                    );
                }
                if self.tile_px.is_some() {
                    problems.note(
                        "tile_px",
                        format!("needs crop, so that all pictures have the same; {all}"),
                    );
                }
                continue;
            };
            if !region.mask.is_empty() && !mask::cells(&region.mask, area, grid).contains(&true) {
                let words = "leaves none of the";
                problems.note(
                    place("mask"),
                    format!("{words} {grid} x {grid} cells over the crop {area}: nothing would be looked at"),
                );
            }
            let Some(side) = self.tile_px else { continue };
            let cells = tiles::side_of_all(area, side, grid);
            looks += tiles::tiles(area, side).len();
            if cells > tiles::SIDE_MAX {
                let words = format!(
                    "{side} pixels over {} x {} would be a map of {cells} cells a side (at most {}); make it larger",
                    area.w,
                    area.h,
                    tiles::SIDE_MAX
                );
                problems.note("tile_px", words);
            }
        }
        if looks > tiles::COUNT_MAX {
            let words = format!(
                "would be {looks} tiles a picture (at most {}); make it larger",
                tiles::COUNT_MAX
            );
            problems.note("tile_px", words);
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

fn has_doubles<T: PartialEq>(list: &[T]) -> bool {
    list.iter()
        .enumerate()
        .any(|(i, item)| list[..i].contains(item))
}
