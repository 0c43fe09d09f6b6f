//! The memory of pictures' features, known before any of them is encoded: pictures, ways, tiles and blocks multiply, and
//! whoever asks for too much is told so before minutes of work, not after it.

use super::recipe::Recipe;
use super::region::RegionInspector;
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelSpec;

/// Bytes of all features that are held at once, at most.
pub const FEATURES_MAX: usize = 8 << 30;

/// Bytes of one picture's features under a recipe and a plan, at most: a mask leaves windows out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRoom {
    /// Bytes of a picture in one way.
    picture: usize,
    /// Ways in which a reference is looked at, its own among them.
    ways: usize,
}

impl FeatureRoom {
    /// `plan` is what the encoder is opened with.
    pub fn new(recipe: &Recipe, spec: &ModelSpec, plan: &EncodePlan) -> Self {
        // The whole of each region, and its tiles.
        let mut crops = 0;
        for region in &recipe.regions {
            let region = RegionInspector::new(region, recipe, plan, spec);
            crops += region.masks().count();
        }

        // A layer of patches has a class token before them.
        let grid = plan.grid(spec);
        let tokens = 1 + grid.cells();
        let patches = plan.patches.len() * tokens * spec.width;

        let mut embeddings = usize::from(plan.image);
        for scale in &plan.scales {
            embeddings += grid.windows(*scale).cells();
        }

        let values = patches + embeddings * spec.embed;
        let is_square = plan.width == plan.height;
        let others = recipe.turned.ways(is_square);

        FeatureRoom {
            picture: crops * values * size_of::<f32>(),
            ways: 1 + others.len(),
        }
    }

    /// Bytes of so many references and other pictures.
    pub fn bytes(&self, references: usize, others: usize) -> usize {
        let pictures = references.saturating_mul(self.ways).saturating_add(others);
        self.picture.saturating_mul(pictures)
    }

    /// Refuses references whose features would not fit.
    ///
    /// # Errors
    /// Their size, the limit, and how to have less.
    pub fn check(&self, references: usize) -> Result<(), EngineError> {
        let bytes = self.bytes(references, 0);
        if bytes <= FEATURES_MAX {
            return Ok(());
        }

        let ways = self.ways;
        let mb = bytes >> 20;
        let most = FEATURES_MAX >> 20;
        Err(EngineError::Plan(format!(
            "references: the features of {references} pictures in {ways} ways take {mb} MB (at most {most}), and none was encoded; take fewer references, a larger tile_px, turned = \"none\", or a smaller input"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Area;
    use crate::model::spec::tests::spec;
    use crate::winclip::{Region, Turned};

    fn room(tile_px: Option<usize>, turned: Turned, blocks: &[usize]) -> FeatureRoom {
        let crop = Area {
            x: 0,
            y: 0,
            w: 4000,
            h: 3000,
        };

        let recipe = Recipe {
            tile_px,
            turned,
            regions: vec![Region {
                crop: Some(crop),
                ..Region::default()
            }],
            ..Recipe::new(None)
        };

        let spec = spec(12);
        let mut plan = recipe.encode_plan(&spec, true).expect("it fits the model");
        let layer = plan.patches[0];
        plan.patches = vec![layer; blocks.len()];
        FeatureRoom::new(&recipe, &spec, &plan)
    }

    #[test]
    fn pictures_ways_tiles_and_blocks_multiply() {
        let one = room(None, Turned::None, &[9]);
        let bytes = one.bytes(1, 0);
        let model = spec(12);
        let cells = model.grid().cells();
        assert_eq!(bytes, (1 + cells) * model.width * 4);
        assert_eq!(one.bytes(64, 64), 128 * bytes);

        let blocks = room(None, Turned::None, &[7, 8, 9]);
        assert_eq!(blocks.bytes(1, 0), 3 * bytes);

        // 8 ways of a reference, one of a picture that is compared with it.
        let turned = room(None, Turned::All, &[9]);
        assert_eq!(turned.bytes(2, 3), (16 + 3) * bytes);

        // The whole, and 3 x 2 tiles of 2000 pixels that overlap by a quarter at least.
        let tiled = room(Some(2000), Turned::None, &[9]);
        assert_eq!(tiled.bytes(1, 0), (1 + 3 * 2) * bytes);
    }

    #[test]
    fn too_many_features_are_refused_with_value_limit_and_way_out() {
        let room = room(None, Turned::All, &[9]);
        let each = room.bytes(1, 0);
        let fits = FEATURES_MAX / each;
        assert!(room.check(fits).is_ok());
        let refusal = room.check(fits + 1).expect_err("too many").to_string();
        for words in [
            format!("{} pictures in 8 ways", fits + 1),
            "MB (at most 8192)".to_owned(),
            "take fewer references".to_owned(),
        ] {
            assert!(refusal.contains(&words), "{words:?} is not in {refusal}");
        }

        assert!(room.check(usize::MAX).is_err());
    }
}
