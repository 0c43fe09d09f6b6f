//! Features of a picture, as an inspector encodes them: region by region, and for several layers at once.

use crate::data::picture::Area;
use crate::engine::Features;

/// Features of one picture, region by region.
#[derive(Debug, Clone)]
pub struct RegionFeatures(pub(super) Vec<EncodedRegion>);

/// Features of one region of a picture.
#[derive(Debug, Clone)]
pub(super) struct EncodedRegion {
    /// The area that the crops cover together.
    pub area: Area,
    /// One for each crop: the whole, then the tiles.
    pub crops: Vec<Features>,
    /// The same crops of a reference in each other way that the recipe looks at it.
    pub turned: Vec<Vec<Features>>,
}

impl RegionFeatures {
    /// Puts the next of the plan's layers of patches into the first place, which is the one that is
    /// compared; behind the last comes the first again. All features that are compared with each other
    /// must be at the same one.
    pub fn next_layer(&mut self) {
        for region in &mut self.0 {
            let turned = region.turned.iter_mut().flatten();
            for features in region.crops.iter_mut().chain(turned) {
                if !features.tokens.is_empty() {
                    features.tokens.rotate_left(1);
                }
            }
        }
    }

    /// The features with one of the plan's layers of patches alone, by its place in the plan.
    pub fn of_layer(&self, layer: usize) -> Self {
        let of_crop = |features: &Features| Features {
            grid: features.grid,
            image: features.image.clone(),
            tokens: features.tokens.get(layer).cloned().into_iter().collect(),
            windows: features.windows.clone(),
        };

        let of_crops = |crops: &Vec<Features>| crops.iter().map(of_crop).collect();
        let of_region = |region: &EncodedRegion| EncodedRegion {
            area: region.area,
            crops: of_crops(&region.crops),
            turned: region.turned.iter().map(of_crops).collect(),
        };

        RegionFeatures(self.0.iter().map(of_region).collect())
    }
}
