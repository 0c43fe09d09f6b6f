//! The threshold among the scores of known parts, as a picture and in words.
//!
//! Good parts stand above the line, bad ones hang below it and are hatched; the threshold is a line with its number. A known bad
//! part stands at the score that it would have without its own looks: other parts with such a fault score there.

use crate::page::numbers::decimal;
use crate::protocol::lesson_board::{BadScore, RecipeScores, RegionScores};

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
    /// The threshold.
    pub limit: Option<Limit>,
    /// The largest score of the picture.
    pub largest: String,
    /// Sentences about the scores.
    pub words: Vec<String>,
}

/// The line of a threshold.
pub struct Limit {
    /// Its place.
    pub x: usize,
    /// Its number.
    pub number: String,
    /// True in the right half, where its words stand on its left.
    pub is_right: bool,
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
    let known = region.good.iter().chain(&bad);
    let all = known.chain(&region.threshold);

    // A little room on the right, so that the threshold is no edge.
    let largest = all.copied().fold(0.0, f32::max);
    let scale = match largest > 0.0 {
        true => (1.1 * largest).min(f32::MAX),
        false => 1.0,
    };

    let good_bars = bars(&region.good, scale, false);
    let bad_bars = bars(&bad, scale, true);
    let limit = region
        .threshold
        .map(|threshold| Limit::of(threshold, scale));

    RegionChart {
        number: 0,
        label: label.to_owned(),
        region: region.name.clone().unwrap_or_default(),
        bars: good_bars.into_iter().chain(bad_bars).collect(),
        limit,
        largest: shown(scale),
        words: words(region),
    }
}

impl Limit {
    fn of(threshold: f32, scale: f32) -> Self {
        let x = (threshold / scale * WIDTH as f32) as usize;
        Limit {
            x,
            number: shown(threshold),
            is_right: 2 * x > WIDTH,
        }
    }
}

/// A score with as many digits as tell it from others.
fn shown(score: f32) -> String {
    match score < 0.1 {
        true => decimal(score, 4),
        false => decimal(score, 3),
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

fn bars(scores: &[f32], scale: f32, is_bad: bool) -> Vec<Bar> {
    let counts = counts(scores, scale);
    let tallest = counts.iter().copied().max().unwrap_or_default();
    let kind = if is_bad { "bad" } else { "good" };
    let w = WIDTH / COLUMNS;

    let mut bars = vec![];
    for (column, count) in counts.iter().enumerate() {
        if *count == 0 {
            continue;
        }

        // Each kind is as tall as its side: one bad part beside hundred good ones is seen.
        let h = (HALF * count / tallest).max(1);
        let from = scale * column as f32 / COLUMNS as f32;
        let from = shown(from);
        bars.push(Bar {
            x: column * w + 2,
            y: if is_bad { HALF } else { HALF - h },
            w: w - 4,
            h,
            is_bad,
            words: format!("{count} {kind} from {from} on"),
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
            "{} good parts, each against the others, score {} to {}.",
            good.len(),
            shown(lowest),
            shown(highest)
        ));
    }

    let Some(threshold) = region.threshold else {
        words.push("There is no threshold yet: every part would be undecided.".to_owned());
        return words;
    };

    let failing = good.iter().filter(|score| **score >= threshold).count();
    words.push(format!(
        "The threshold is {}: {failing} of these {} good parts would fail.",
        shown(threshold),
        good.len()
    ));

    words.extend(bad_words(region));
    words
}

/// Whether each known bad part of a recipe is found, in sentences.
pub fn bad_parts(scores: Option<RecipeScores>) -> Vec<String> {
    let regions = scores.map_or(vec![], |scores| scores.regions);
    let regions = regions.iter();

    regions.flat_map(bad_words).collect()
}

fn bad_words(region: &RegionScores) -> Vec<String> {
    // Without a threshold no part is found, and none passes.
    let threshold = region.threshold.unwrap_or(f32::INFINITY);
    let of = match &region.name {
        Some(name) => format!(" in {name}"),
        None => String::new(),
    };

    let words = region.bad.iter().map(|bad| {
        let score = shown(bad.unknown);
        let found = found(*bad, threshold);
        format!("A bad part scores {score}{of}: {found}.")
    });

    words.collect()
}

/// Whether a threshold finds a known bad part, in words.
fn found(bad: BadScore, threshold: f32) -> &'static str {
    match (bad.unknown >= threshold, bad.score >= threshold) {
        (true, _) => "✓ found by its score",
        (false, true) => {
            "✓ found by its own look alone: others with such a fault may pass, a lower threshold would find them"
        }

        (false, false) => "✕ not found: it passes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(chart.limit.is_some_and(|limit| limit.x <= WIDTH));
        }
    }
}
