//! Thresholds: a number, or the highest usual score of the good pictures when each is left out once.

use crate::engine::EngineError;
use crate::recipe::spec::Threshold;
use crate::winclip::Inspector;
use std::path::PathBuf;

/// Returns the threshold of each region: the number that `asked` gives, or the highest usual
/// leave-one-out score of the references times a factor. A region without one has the reason instead,
/// with the way out. `files` are the references'; one that is unlike the others is logged.
///
/// # Errors
/// When the engine fails to compare the references.
pub fn thresholds(
    asked: &[Threshold],
    inspector: &mut Inspector,
    files: &[PathBuf],
) -> Result<Vec<Result<f32, &'static str>>, EngineError> {
    // The comparison of all references costs time, and only automatic thresholds need it.
    let has_auto = asked.iter().any(Threshold::is_auto);
    let good = if has_auto {
        inspector.leave_one_out()?
    } else {
        // Without it each region has an empty list, which keeps the three lists in step.
        vec![vec![]; asked.len()]
    };

    let mut thresholds = vec![];
    // Asked, scores and names are all in the recipe's order of regions.
    for ((asked, good), region) in asked.iter().zip(good).zip(inspector.regions()) {
        thresholds.push(match *asked {
            Threshold::Fixed(threshold) => Ok(threshold),
            Threshold::None => Err("the recipe has none; give it threshold = \"auto\" or a number"),
            // The map of each reference is not needed, only the score.
            Threshold::Auto { factor } => {
                let good: Vec<f32> = good.into_iter().map(|(score, _)| score).collect();
                let highest = highest_usual(&good);
                // A reference that stands out is told by its file: it may be a bad part among the
                // good ones.
                warn_of_unlike(&good, highest, files, region.as_deref());
                automatic(highest, factor)
            }
        });
    }

    Ok(thresholds)
}

/// Logs the references that score above `highest`, the highest usual score; `good` are the scores of
/// `files`.
fn warn_of_unlike(good: &[f32], highest: Option<f32>, files: &[PathBuf], region: Option<&str>) {
    // Without scores there is nothing to compare with.
    let Some(highest) = highest else { return };
    for (file, score) in files.iter().zip(good) {
        if *score > highest {
            tracing::warn!(
                "reference {}{} is unlike the others: {score:.3}, they have at most {highest:.3}; the threshold goes by them. Is it a good part?",
                file.display(),
                of_region(region)
            );
        }
    }
}

/// Returns `, region rim` for a region with a name, else nothing.
pub fn of_region(region: Option<&str>) -> String {
    match region {
        Some(name) => format!(", region {name}"),
        None => String::new(),
    }
}

/// Number of scores from which quartiles are worth the name.
const QUARTILES_MIN: usize = 8;

/// Returns the highest score below the upper fence: the third quartile and half as much again as the
/// quartiles are apart (Tukey 1977). A single odd picture among the references must not let every
/// defect pass.
fn highest_usual(good: &[f32]) -> Option<f32> {
    let mut sorted = good.to_vec();
    sorted.sort_by(f32::total_cmp);
    // Few scores have no quartiles to speak of, and each good part counts.
    if sorted.len() < QUARTILES_MIN {
        return sorted.last().copied();
    }

    // Tukey's fence lies above the third quartile, by one and a half times the distance of the
    // first from the third. Scores beyond it do not belong to the others.
    let quartile = |share: usize| sorted[share * (sorted.len() - 1) / 4];
    let fence = quartile(3) + 1.5 * (quartile(3) - quartile(1));
    // The highest score within the fence counts; there is always one, since the third quartile is
    // within.
    sorted.iter().copied().rfind(|score| *score <= fence)
}

/// Returns the threshold above `highest`, the score that good parts have at most.
fn automatic(highest: Option<f32>, factor: f32) -> Result<f32, &'static str> {
    match highest {
        None => Err("\"auto\" needs at least 2 different references; give more, or a number"),
        // Every part would fail.
        Some(highest) if highest * factor <= 0.0 => {
            Err("\"auto\" finds no difference between the references; give other ones, or a number")
        }
        Some(highest) => Ok(highest * factor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_do_not_differ_give_no_threshold_instead_of_one_that_fails_every_part() {
        assert_eq!(automatic(highest_usual(&[0.25, 0.5]), 1.5), Ok(0.75));
        assert!(
            automatic(highest_usual(&[]), 1.1)
                .is_err_and(|why| why.contains("at least 2 different references"))
        );

        assert!(
            automatic(highest_usual(&[0.0, 0.0]), 1.1)
                .is_err_and(|why| why.contains("no difference"))
        );
    }

    #[test]
    fn one_reference_unlike_the_others_does_not_raise_the_threshold() {
        let mut good = vec![0.12, 0.11, 0.13, 0.12, 0.14, 0.15, 0.12, 0.15];
        assert_eq!(highest_usual(&good), Some(0.15));
        good.push(0.26);
        assert_eq!(highest_usual(&good), Some(0.15));
        // Of a few, who is the odd one?
        assert_eq!(highest_usual(&[0.1, 0.1, 0.3]), Some(0.3));
        assert_eq!(highest_usual(&[0.2; 9]), Some(0.2));
    }
}
