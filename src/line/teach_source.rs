//! What the screen Teach shows of a line: its recipes as the library has them, its cameras' newest pictures, lessons and scores.

use crate::base::live::Live;
use crate::config::{self, LineConfig};
use crate::data::grid::Grid;
use crate::image::file as image_file;
use crate::line::live_settings::LiveSettings;
use crate::line::shared::{NewestFrames, Shared};
use crate::model::ModelSpec;
use crate::page::teach::source::{CameraFacts, CellFacts, RecipeFacts, TeachSource};
use crate::protocol::editing::{Outline, Rectangle, RegionView, ViewSpec};
use crate::recipe::library::folder::Library;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::spec::RecipeSpec;
use crate::winclip::{Fit, Region};
use std::sync::{Arc, PoisonError};

/// Connects the screen with a line.
pub fn teach_source(
    config: &LineConfig,
    shared: &Shared,
    settings: &LiveSettings,
    model: &ModelSpec,
) -> TeachSource {
    let recipes = Recipes {
        recipes: settings.recipes.clone(),
        library: config.library.clone(),
        model: model.clone(),
    };

    let cameras = config.cameras.iter().map(|camera| CameraFacts {
        name: camera.camera.name.to_string(),
        mm_per_pixel: camera.terms.mm_per_pixel,
    });

    let frames = shared.newest_frames.clone();
    TeachSource {
        recipes: Arc::new(move || recipes.facts()),
        cameras: cameras.collect(),
        frame: Box::new(move |camera| newest(&frames, camera)),
        board: shared.board.clone(),
    }
}

fn newest(
    frames: &NewestFrames,
    camera: &str,
) -> Option<std::sync::Arc<crate::data::picture::Picture>> {
    let frames = frames.lock().unwrap_or_else(PoisonError::into_inner);

    frames.get(camera).map(|frame| frame.picture.clone())
}

/// The recipes of a line, as they can be selected now.
struct Recipes {
    recipes: Live<Vec<RecipeSpec>>,
    library: Library,
    model: ModelSpec,
}

impl Recipes {
    fn facts(&self) -> Vec<RecipeFacts> {
        let mut facts = vec![];

        for spec in self.recipes.now() {
            let of_recipe = self.facts_of(&spec);
            facts.push(of_recipe);
        }

        facts.sort_by(|a, b| {
            let name = &a.name;
            name.cmp(&b.name)
        });

        facts
    }

    fn facts_of(&self, spec: &RecipeSpec) -> RecipeFacts {
        // What cannot be read is shown as the line judges by it, with the reason.
        let now = config::as_of_now(spec, &self.library);
        let (spec, problem) = match now {
            Ok(now) => (now, None),
            Err(problems) => (spec.clone(), Some(problems.to_string())),
        };

        let shown = RecipeFacts {
            name: spec.name.clone(),
            revision: spec.revision,
            parent: None,
            later: None,
            by: None,
            good: 0,
            bad: 0,
            threshold: None,
            view: view_of(&spec.winclip.regions),
            cells: self.cells_of(&spec),
            problem,
        };

        let Some(revision) = &spec.library else {
            let files = image_file::expand(&spec.references).files;
            let good = files.len();
            return RecipeFacts { good, ..shown };
        };

        let manifest = revision.manifest();
        let threshold = manifest.thresholds.first();
        let numbers = self.library.numbers(&spec.name).unwrap_or_default();
        let is_there = |number: &u64| numbers.contains(number);

        let pointer = self.library.pointer(&spec.name);
        let before = pointer.ok().flatten().and_then(|pointer| pointer.before);
        let later = before.filter(|before| *before > manifest.revision);
        RecipeFacts {
            parent: manifest.parent.filter(is_there),
            later: later.filter(is_there),
            by: Some(manifest.by.clone()),
            good: manifest.count(PictureUse::Good),
            bad: manifest.count(PictureUse::Bad),
            threshold: threshold.map(|note| note.value.clone()),
            ..shown
        }
    }

    /// The cells of a map of the recipe.
    fn cells_of(&self, spec: &RecipeSpec) -> CellFacts {
        let recipe = &spec.winclip;
        let plan = recipe.encode_plan(&self.model, true);
        let plan = plan.ok();
        let grid = plan.map(|plan| plan.grid(&self.model));

        // One cell stands for those of a recipe that does not fit the model.
        let grid = grid.unwrap_or(Grid::square(1));
        let kept = match recipe.fit {
            Fit::Keep => Some(recipe.kept_cells()),
            Fit::Squash | Fit::Crop => None,
        };

        CellFacts {
            columns: grid.w,
            rows: grid.h,
            kept,
            is_square: recipe.fit == Fit::Crop,
            tile_px: recipe.tile_px,
        }
    }
}

/// What a recipe looks at, as a command would say it.
fn view_of(regions: &[Region]) -> ViewSpec {
    let mut view = ViewSpec::default();

    for region in regions {
        let crop: Option<Rectangle> = region
            .crop
            .map(|area| [area.x, area.y, area.w, area.h].map(|side| side as u64));

        let outlines = region.mask.iter();
        let mask = outlines.map(|outline| outline.iter().map(|&(x, y)| [x, y]).collect());
        let mask: Vec<Outline> = mask.collect();

        match (&region.name, crop) {
            (Some(name), Some(crop)) => view.regions.push(RegionView {
                name: name.to_string(),
                crop,
                mask,
            }),
            _ => {
                view.crop = crop;
                view.mask = mask;
            }
        }
    }

    view
}
