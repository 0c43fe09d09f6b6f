//! Features of a picture, as an inspector encodes them: region by region, and for several layers at once.

use crate::data::picture::Area;
use crate::data::pose::Pose;
use crate::engine::Features;
use crate::winclip::align::AlignedPicture;

/// Features of one picture, region by region.
#[derive(Debug, Clone)]
pub struct RegionFeatures {
    /// In the recipe's order.
    pub(super) regions: Vec<EncodedRegion>,
    /// The picture as it was judged, where the recipe locates parts; references have none.
    pub(super) aligned: Option<AlignedPicture>,
}

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
    /// Place and turn of the part, where the recipe locates it.
    pub fn pose(&self) -> Option<Pose> {
        self.aligned.as_ref().map(|aligned| aligned.pose)
    }

    /// Puts the next of the plan's layers of patches into the first place, which is the one that is
    /// compared; behind the last comes the first again. All features that are compared with each other
    /// must be at the same one.
    pub fn next_layer(&mut self) {
        for region in &mut self.regions {
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
        let of_crop = |features: &Features| {
            // A plan without patches has no layer to take.
            let tokens = features.tokens.get(layer).cloned();
            Features {
                grid: features.grid,
                image: features.image.clone(),
                tokens: tokens.into_iter().collect(),
                windows: features.windows.clone(),
            }
        };

        let of_crops = |crops: &Vec<Features>| crops.iter().map(of_crop).collect();
        let of_region = |region: &EncodedRegion| EncodedRegion {
            area: region.area,
            crops: of_crops(&region.crops),
            turned: region.turned.iter().map(of_crops).collect(),
        };

        RegionFeatures {
            regions: self.regions.iter().map(of_region).collect(),
            aligned: self.aligned.clone(),
        }
    }
}
