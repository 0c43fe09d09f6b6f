//! Layer 6: where a recipe's limit is: a number, or what its good pictures say when each is left out once.

use crate::config::Threshold;
use crate::engine::EngineError;
use crate::winclip::Inspector;
use std::path::PathBuf;

/// The threshold of each region, as `asked` for it: a number, or from the references by leaving each out once; else why
/// there is none, and what to do. `files` are the references'; one that is unlike the others is told.
///
/// # Errors
/// When the engine fails to compare the references.
pub fn thresholds(
    asked: &[Threshold],
    inspector: &mut Inspector,
    files: &[PathBuf],
) -> Result<Vec<Result<f32, &'static str>>, EngineError> {
    let is_auto = |asked: &Threshold| matches!(asked, Threshold::Auto { .. });
    let good = if asked.iter().any(is_auto) {
        inspector.leave_one_out()?
    } else {
        vec![vec![]; asked.len()]
    };
    let mut thresholds = vec![];
    for ((asked, good), region) in asked.iter().zip(good).zip(inspector.regions()) {
        thresholds.push(match *asked {
            Threshold::Fixed(threshold) => Ok(threshold),
            Threshold::None => Err("the recipe has none; give it threshold = \"auto\" or a number"),
            Threshold::Auto { factor } => {
                let good: Vec<f32> = good.into_iter().map(|(score, _)| score).collect();
                let highest = highest_usual(&good);
                tell_of_unlike(&good, highest, files, region.as_deref());
                automatic(highest, factor)
            }
        });
    }
    Ok(thresholds)
}

/// `good` are the scores of `files`, `highest` the highest usual one.
fn tell_of_unlike(good: &[f32], highest: Option<f32>, files: &[PathBuf], region: Option<&str>) {
    for (file, score) in files
        .iter()
        .zip(good)
        .filter(|(_, score)| highest.is_some_and(|highest| **score > highest))
    {
        tracing::warn!(
            "reference {}{} is unlike the others: {score:.3}, they have at most {:.3}; the threshold goes by them. Is it a good part?",
            file.display(),
            of_region(region),
            highest.unwrap_or_default()
        );
    }
}

/// `, region rim`, where there is one.
pub fn of_region(region: Option<&str>) -> String {
    region
        .map(|name| format!(", region {name}"))
        .unwrap_or_default()
}

/// Fewer scores than this have no quartiles worth the name.
const QUARTILES_MIN: usize = 8;

/// The highest score below the upper fence, the third quartile and half as much again as the quartiles are apart
/// (Tukey 1977): a single odd picture among the references must not let every defect pass.
fn highest_usual(good: &[f32]) -> Option<f32> {
    let mut sorted = good.to_vec();
    sorted.sort_by(f32::total_cmp);
    if sorted.len() < QUARTILES_MIN {
        return sorted.last().copied();
    }
    let quartile = |share: usize| sorted[share * (sorted.len() - 1) / 4];
    let fence = quartile(3) + 1.5 * (quartile(3) - quartile(1));
    sorted.iter().copied().rfind(|score| *score <= fence)
}

/// `highest` is what good parts score at most.
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
