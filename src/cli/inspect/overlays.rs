//! Heat maps over pictures that were judged, each in a file of its own, all on one scale.

use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::Terminal;
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::image::overlay::{HeatLayer, HeatScale, Overlay, marks, png};
use crate::line::overlays::OverlayPainter;
use crate::recipe::threshold::of_region;
use crate::winclip::inspector::Detailed;
use crate::winclip::{Inspector, RegionScore};
use std::path::PathBuf;

/// Heat maps over the pictures.
pub(super) struct Overlays {
    folder: PathBuf,
    brush: OverlayPainter,
    /// Heats of each region's map values, for all pictures; `None` gives each picture a scale of its own.
    scales: Vec<Option<HeatScale>>,
}

impl Overlays {
    /// The scales are those of the references, each compared with the others.
    pub(super) fn new(
        folder: PathBuf,
        inspector: &mut Inspector,
        terminal: &Terminal,
    ) -> Result<Self, Failure> {
        // Each reference is judged by the others: their maps show what good parts look like.
        let good = inspector
            .leave_one_out()
            .map_err(|error| Failure::new(Exit::Software, error))?;

        let mut scales = vec![];
        for (good, region) in good.iter().zip(inspector.regions()) {
            // With one reference, or none, there is nothing to compare, and each picture uses its
            // own range.
            let scale = common_scale(good.iter().map(|(_, map)| map));
            let of_region = of_region(region.as_deref());
            terminal.say(match scale {
                Some(HeatScale { low, high, .. }) => format!(
                    "overlays: grey up to {low:.4}, full colour from {high:.4}, for all pictures (each reference against the others){of_region}"
                ),
                None => format!("overlays: each picture has a scale of its own, from its least to its most anomalous place; two different references or more give all pictures one{of_region}"),
            });

            scales.push(scale);
        }

        Ok(Overlays {
            folder,
            brush: OverlayPainter(inspector.painter()),
            scales,
        })
    }

    /// Writes the overlay of one picture, under its stem.
    pub(super) fn write(
        &mut self,
        stem: &str,
        picture: &Picture,
        regions: &[Detailed],
    ) -> Result<(), Failure> {
        // Each region has a layer in its own place with its own scale; they may overlap.
        let mut layers = vec![];
        let mut scores = vec![];

        for (detailed, scale) in regions.iter().zip(&self.scales) {
            let RegionScore {
                map, area, score, ..
            } = &detailed.region_score;

            layers.push(HeatLayer {
                map,
                area: *area,
                scale: scale.unwrap_or_else(|| HeatScale::of_map(map)),
            });

            scores.push(score.to_string());
        }

        // The scores stand in the file too, as a PNG text chunk.
        let overlay = Overlay::new(picture, &layers);
        let painted = marks::draw(self.brush.paint(&overlay), &overlay, &[]);
        let png = png::encode(&painted, &[("score", scores.join(" "))]);
        let path = self.folder.join(format!("{stem}.png"));
        std::fs::write(&path, png)
            .map_err(|error| Failure::words(Exit::Data, format!("{}: {error}", path.display())))
    }
}

/// Returns the scale whose colour begins at 0.75 m and is full at 1.5 m, where m is the median of what good
/// parts show at their worst place: that place is a shade, and one odd reference must not dim all pictures.
/// `None` without good parts, or where they show nothing.
fn common_scale<'a>(good: impl Iterator<Item = &'a Map>) -> Option<HeatScale> {
    // The map's highest value is what a person would see first.
    let mut worst: Vec<f32> = good.map(Map::max).collect();
    worst.sort_by(f32::total_cmp);
    let median = *worst.get(worst.len() / 2)?;

    (median > 0.0).then(|| HeatScale::between(0.75 * median, 1.5 * median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;

    #[test]
    fn one_odd_reference_does_not_dim_the_overlays() {
        let good = [0.1, 0.9, 0.2].map(|worst| Map::new(Grid::square(1), vec![worst]));
        let scale = HeatScale::between(0.75 * 0.2, 1.5 * 0.2);
        assert_eq!(common_scale(good.iter()), Some(scale));
        assert_eq!(common_scale([].iter()), None);
        assert_eq!(
            common_scale(
                [
                    Map::new(Grid::square(1), vec![0.0]),
                    Map::new(Grid::square(1), vec![0.0])
                ]
                .iter()
            ),
            None
        );
    }
}
