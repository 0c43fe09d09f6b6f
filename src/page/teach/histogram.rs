//! The threshold among the scores of known parts, as a picture and in words.
//!
//! Good parts stand above the line, bad ones hang below it and are hatched; the threshold is a line with its number. A known bad
//! part stands at the score that it would have without its own looks: other parts with such a fault score there.

use crate::protocol::lesson_board::{RecipeScores, RegionScores};

/// Columns of the histogram.
const COLUMNS: usize = 24;
/// Width and height of the picture, and the height of its line, in its own units.
pub const WIDTH: usize = 960;
/// Height of the bars of good parts; those of bad parts have as much below.
const HALF: usize = 100;

/// A region's picture and words.
pub struct RegionChart {
    /// Number of the region, which tells its hatching apart.
    pub number: usize,
    /// `name@revision` of the recipe.
    pub label: String,
    /// The region; empty in a recipe without regions.
    pub region: String,
    /// Bars of good and bad parts.
    pub bars: Vec<Bar>,
    /// Place of the threshold, and its number.
    pub threshold: Option<(usize, String)>,
    /// The largest score of the picture.
    pub largest: String,
    /// Sentences about the scores.
    pub words: Vec<String>,
}

/// One bar.
pub struct Bar {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub w: usize,
    /// Height.
    pub h: usize,
    /// True for bad parts.
    pub is_bad: bool,
    /// What it is, in words.
    pub words: String,
}

/// The pictures of all regions; none where scores are not known.
pub fn charts(scores: Option<RecipeScores>) -> Vec<RegionChart> {
    let Some(scores) = scores else {
        return vec![];
    };

    let label = scores.label;
    let regions = scores.regions.iter().enumerate();
    let charts = regions.map(|(number, region)| RegionChart {
        number,
        ..chart(&label, region)
    });

    charts.collect()
}

fn chart(label: &str, region: &RegionScores) -> RegionChart {
    let bad: Vec<f32> = region.bad.iter().map(|bad| bad.unknown).collect();
    let all = region.good.iter().chain(&bad).chain(&region.threshold);
    let largest = all.copied().fold(0.0, f32::max);
    let scale = if largest > 0.0 { 1.1 * largest } else { 1.0 };
    let good_counts = counts(&region.good, scale);
    let bad_counts = counts(&bad, scale);
    let both = good_counts.iter().chain(&bad_counts);
    let tallest = both.copied().max().unwrap_or(1).max(1);
    let mut bars = bars(&good_counts, tallest, scale, false);
    bars.extend(self::bars(&bad_counts, tallest, scale, true));
    let place = |score: f32| (score / scale * WIDTH as f32) as usize;
    RegionChart {
        number: 0,
        label: label.to_owned(),
        region: region.name.clone().unwrap_or_default(),
        bars,
        threshold: region
            .threshold
            .map(|threshold| (place(threshold), format!("{threshold:.3}"))),
        largest: format!("{scale:.2}"),
        words: words(region),
    }
}

/// The number of scores in each column of a picture from 0 to `scale`.
fn counts(scores: &[f32], scale: f32) -> [usize; COLUMNS] {
    let mut counts = [0; COLUMNS];
    for score in scores {
        let column = (score / scale * COLUMNS as f32) as usize;
        counts[column.min(COLUMNS - 1)] += 1;
    }

    counts
}

fn bars(counts: &[usize], tallest: usize, scale: f32, is_bad: bool) -> Vec<Bar> {
    let w = WIDTH / COLUMNS;
    let mut bars = vec![];
    for (column, count) in counts.iter().enumerate() {
        if *count == 0 {
            continue;
        }

        let h = (HALF * count / tallest).max(4);
        let kind = if is_bad { "bad" } else { "good" };
        let from = scale * column as f32 / COLUMNS as f32;
        bars.push(Bar {
            x: column * w + 2,
            y: if is_bad { HALF } else { HALF - h },
            w: w - 4,
            h,
            is_bad,
            words: format!("{count} {kind} from {from:.3} on"),
        });
    }

    bars
}

/// What the picture shows, in sentences.
fn words(region: &RegionScores) -> Vec<String> {
    let mut words = vec![];
    let good = &region.good;
    let lowest = good.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = good.iter().copied().fold(0.0, f32::max);
    if !good.is_empty() {
        words.push(format!(
            "{} good parts, each against the others, score {lowest:.3} to {highest:.3}.",
            good.len()
        ));
    }

    let Some(threshold) = region.threshold else {
        words.push("There is no threshold yet: every part would be undecided.".to_owned());
        return words;
    };

    let failing = good.iter().filter(|score| **score >= threshold).count();
    words.push(format!(
        "The threshold is {threshold:.3}: {failing} of these {} good parts would fail.",
        good.len()
    ));

    for bad in &region.bad {
        let found = match (bad.unknown >= threshold, bad.score >= threshold) {
            (true, _) => "✓ found by its score",
            (false, true) => {
                "✓ found by its own look alone: others with such a fault may pass, a lower threshold would find them"
            }
            (false, false) => "✕ not found: it passes",
        };

        words.push(format!("A bad part scores {:.3}: {found}.", bad.unknown));
    }

    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::lesson_board::BadScore;

    fn region() -> RegionScores {
        let bad = |score, unknown| BadScore { score, unknown };
        RegionScores {
            name: None,
            threshold: Some(0.2),
            good: vec![0.1, 0.12, 0.21],
            bad: vec![bad(1.0, 0.15), bad(0.4, 0.4), bad(0.1, 0.1)],
        }
    }

    #[test]
    fn each_known_part_is_told() {
        let words = words(&region());
        assert_eq!(
            words[0],
            "3 good parts, each against the others, score 0.100 to 0.210."
        );
        assert!(words[1].contains("1 of these 3 good parts would fail"));
        assert!(words[2].contains("by its own look alone"), "{words:?}");
        assert!(words[3].contains("found by its score"), "{words:?}");
        assert!(words[4].contains("not found"), "{words:?}");
        let untaught = RegionScores {
            threshold: None,
            good: vec![],
            bad: vec![],
            ..region()
        };

        assert!(super::words(&untaught)[0].starts_with("There is no threshold"));
    }

    #[test]
    fn bars_stay_in_the_picture() {
        for scores in [vec![], vec![0.0], vec![f32::MAX], vec![0.1, 0.2, 2.0]] {
            let region = RegionScores {
                good: scores,
                ..region()
            };

            let chart = chart("nut@1", &region);
            assert!(
                chart
                    .bars
                    .iter()
                    .all(|bar| bar.x + bar.w <= WIDTH && bar.y + bar.h <= 2 * HALF)
            );
            assert!(chart.threshold.is_some_and(|(place, _)| place <= WIDTH));
        }
    }
}
