//! Thresholds: a number, the highest usual score of the good pictures when each is left out once, or
//! the score that keeps a false-reject rate.

use crate::engine::EngineError;
use crate::recipe::conformal::{FalseRejectRate, Spread, percent};
use crate::recipe::judged::JudgedPictures;
use crate::recipe::known_bad::{self, BadParts};
use crate::recipe::spec::Threshold;
use crate::winclip::Inspector;
use std::fmt;
use std::path::PathBuf;

/// A region's threshold, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedThreshold {
    /// Score from which a part fails.
    pub value: f32,
    /// The threshold's origin and what good parts have to expect, in words; `None` for a number out of
    /// the recipe.
    pub origin: Option<String>,
}

impl fmt::Display for DerivedThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", self.value)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// The good parts of a recipe beside its inspector.
#[derive(Debug, Clone, Copy)]
pub struct GoodParts<'a> {
    /// Files of the references, in the inspector's order.
    pub references: &'a [PathBuf],
    /// Scores of the calibration pictures; `None` where each reference is compared with the others.
    pub calibration: Option<&'a JudgedPictures>,
    /// Scores of the known bad parts; `None` where there are none.
    pub bad: Option<&'a BadParts>,
}

/// Returns the threshold of each region, as `asked`. A region without one has the reason instead, with
/// the way out. A reference that is unlike the others is logged.
///
/// # Errors
/// When the engine fails to compare the references.
pub fn thresholds(
    asked: &[Threshold],
    inspector: &mut Inspector,
    good: GoodParts,
) -> Result<Vec<Result<DerivedThreshold, String>>, EngineError> {
    // The comparison of all references costs time, and a number, or calibration pictures, do not
    // need it.
    let needs_them = |asked: &Threshold| match asked {
        Threshold::Auto { .. } => true,
        Threshold::Rate(_) => good.calibration.is_none(),
        Threshold::Fixed(_) | Threshold::None => false,
    };

    let left_out = match asked.iter().any(needs_them) {
        true => left_out_scores(inspector)?,
        // Without it each region has an empty list, which keeps the lists in step.
        false => vec![vec![]; asked.len()],
    };

    // Of several regions it is not known in which of them a part is bad.
    let bad = good.bad.filter(|_| asked.len() == 1);
    let and_bad = |found: DerivedThreshold, good: &[f32]| match bad {
        Some(bad) => with_bad_parts(found, bad, good),
        None => found,
    };

    let mut thresholds = vec![];
    // Asked, scores and names are all in the recipe's order of regions.
    let names = inspector.regions();
    for (region, (asked, left_out)) in asked.iter().zip(left_out).enumerate() {
        let name = names[region].as_deref();
        thresholds.push(match *asked {
            Threshold::Fixed(value) => Ok(DerivedThreshold {
                value,
                origin: None,
            }),
            Threshold::None => Err(NONE.to_owned()),
            Threshold::Auto { factor } => {
                // A reference that stands out is told by its file: it may be a bad part among the
                // good ones.
                warn_of_unlike(
                    &left_out,
                    good.references,
                    name,
                    "the threshold goes by them",
                );
                automatic(&left_out, factor).map(|found| and_bad(found, &left_out))
            }
            Threshold::Rate(rate) => match good.calibration {
                Some(calibration) => {
                    let scores = &calibration.scores[region];
                    let found = by_rate(rate, scores, GoodKind::Calibration);
                    found.map(|found| and_bad(found, scores))
                }
                None => {
                    // An odd one is told and counts: the promise is about parts like all of them.
                    warn_of_unlike(&left_out, good.references, name, "it counts all the same");
                    let found = by_rate(rate, &left_out, GoodKind::References);
                    found.map(|found| and_bad(found, &left_out))
                }
            },
        });
    }

    Ok(thresholds)
}

/// The threshold of the one region with what the known bad parts make of it. `good` are the scores that it was found by.
fn with_bad_parts(found: DerivedThreshold, bad: &BadParts, good: &[f32]) -> DerivedThreshold {
    // Looks catch them, and keep what was promised to the good parts. A lower threshold would find others
    // like them: its price is told, and the choice is a person's.
    if bad.has_looks {
        let price = known_bad::price(found.value, &bad.unknown[0], good);
        let words = found.origin.into_iter().chain(price);
        return DerivedThreshold {
            origin: Some(words.collect::<Vec<_>>().join("; ")),
            ..found
        };
    }

    let Some((value, cost)) = known_bad::lowered(found.value, &bad.judged.scores[0], good) else {
        return found;
    };

    // What was promised of the higher threshold is no promise any more.
    let before = found.origin.unwrap_or_default();
    let origin = Some(format!("{cost}; before: {before}"));
    DerivedThreshold { value, origin }
}

/// Returns the scores of the references, each against the others, region by region.
fn left_out_scores(inspector: &mut Inspector) -> Result<Vec<Vec<f32>>, EngineError> {
    let mut regions = vec![];
    for scores in inspector.leave_one_out()? {
        // The map of each reference is not needed, only the score.
        regions.push(scores.into_iter().map(|(score, _)| score).collect());
    }

    Ok(regions)
}

const NONE: &str =
    "the recipe has none; give it threshold = \"auto\" or a number, or a false_reject_rate";
/// Good parts by which a threshold is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoodKind {
    /// Those of a split: pictures that are not among the references.
    Calibration,
    /// Those where there is no split: the references, each against the others.
    References,
}

impl fmt::Display for GoodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GoodKind::Calibration => "calibration pictures",
            GoodKind::References => "references, each against the others",
        })
    }
}

/// Returns the threshold that keeps a rate, by the scores of good parts that are not in the gallery;
/// `kind` names them.
///
/// # Errors
/// The words for too few of them, or for those that are all alike, with the ways out.
pub fn by_rate(
    rate: FalseRejectRate,
    good: &[f32],
    kind: GoodKind,
) -> Result<DerivedThreshold, String> {
    let parts = good.len();
    let Some(value) = rate.threshold(good) else {
        return Err(too_few(rate, parts, kind));
    };

    // A highest passing score of 0: every part that differs at all would fail.
    if value <= 0.0_f32.next_up() {
        return Err(format!(
            "false_reject_rate finds no difference between the {parts} {kind}; give other ones, or threshold = a number"
        ));
    }

    let spread = Spread::new(rate.place_from_top(parts), parts);
    let mean = percent(spread.mean);
    let mut origin =
        format!("by {parts} {kind}: at most {mean} of good parts like them fail, on average");

    // References that are compared with each other depend on each other: the mean holds for them, and
    // how far a single set is from it is not known.
    if kind == GoodKind::Calibration {
        let nine_in_ten = percent(spread.nine_in_ten);
        origin += &format!("; in nine of ten such sets at most {nine_in_ten}");
    }

    Ok(DerivedThreshold {
        value,
        origin: Some(origin),
    })
}

/// Returns the words for a rate that so few good parts cannot promise, with the ways out.
fn too_few(rate: FalseRejectRate, parts: usize, kind: GoodKind) -> String {
    let needed = rate.parts_needed();
    let missing = needed - parts;
    let lowest = match FalseRejectRate::lowest(parts) {
        // Rounded up, since a rate a little too low is refused again.
        Some(lowest) => format!("ask for {:.3} or more, ", (lowest.get() * 1e3).ceil() / 1e3),
        None => String::new(),
    };

    format!(
        "false_reject_rate = {} needs {needed} good parts (1 / rate - 1), and there are {parts} {kind}; give {missing} more, {lowest}or take threshold = \"auto\", which promises nothing",
        rate.get()
    )
}

/// Logs the references that score above the highest usual score; `good` are the scores of `files`.
fn warn_of_unlike(good: &[f32], files: &[PathBuf], region: Option<&str>, effect: &str) {
    // Without scores there is nothing to compare with.
    let Some(highest) = highest_usual(good) else {
        return;
    };

    for (file, score) in files.iter().zip(good) {
        if *score > highest {
            tracing::warn!(
                "reference {}{} is unlike the others: {score:.3}, they have at most {highest:.3}; {effect}. Is it a good part?",
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

/// Distance of Tukey's fences from the quartiles, in distances of the quartiles: beyond the first a score is outside,
/// beyond the second far out (Tukey 1977).
const OUTSIDE: f32 = 1.5;
const FAR_OUT: f32 = 3.0;

/// Returns the highest score that is not far out among those of good parts, each compared with the others; `None`
/// without scores.
pub fn highest_not_far_out(good: &[f32]) -> Option<f32> {
    highest_within(good, FAR_OUT)
}

fn highest_usual(good: &[f32]) -> Option<f32> {
    highest_within(good, OUTSIDE)
}

/// Returns the highest score below the upper fence, which lies above the third quartile (Tukey 1977). A single odd picture among the references must not let every
/// defect pass.
fn highest_within(good: &[f32], distance: f32) -> Option<f32> {
    let mut sorted = good.to_vec();
    sorted.sort_by(f32::total_cmp);
    // Few scores have no quartiles to speak of, and each good part counts.
    if sorted.len() < QUARTILES_MIN {
        return sorted.last().copied();
    }

    // Scores beyond the fence do not belong to the others.
    let quartile = |share: usize| sorted[share * (sorted.len() - 1) / 4];
    let fence = quartile(3) + distance * (quartile(3) - quartile(1));
    // The highest score within the fence counts; there is always one, since the third quartile is
    // within.
    sorted.iter().copied().rfind(|score| *score <= fence)
}

/// Returns the threshold above the highest usual score of the references, of which `good` are the
/// scores.
fn automatic(good: &[f32], factor: f32) -> Result<DerivedThreshold, String> {
    let Some(highest) = highest_usual(good) else {
        return Err(TOO_FEW_FOR_AUTO.to_owned());
    };

    // Every part would fail.
    let value = highest * factor;
    if value <= 0.0 {
        return Err(ALIKE_FOR_AUTO.to_owned());
    }

    Ok(DerivedThreshold {
        value,
        origin: Some(expected_above(good, value)),
    })
}

/// Rate that the words about an automatic threshold measure it by.
const USUAL_RATE: f64 = 0.05;

/// Returns, in words, the share of good parts that an automatic threshold may be expected to reject, and
/// what would lower it.
///
/// Where no reference scores as high as the threshold, it is at least their highest score, which the
/// next part is above with a probability of 1 / (n + 1) at most ([`super::conformal`]). Else each
/// reference above it stands for as many parts again, which is an estimate and no bound.
fn expected_above(good: &[f32], value: f32) -> String {
    let parts = good.len();
    let above = good.iter().filter(|score| **score >= value).count();
    let share = percent((above + 1) as f64 / (parts as f64 + 1.0));
    let expected = match above {
        0 => format!("at most about {share} of good parts like them fail, on average"),
        _ => format!("{above} of them would fail, so that about {share} of good parts may"),
    };

    let rate = FalseRejectRate::new(USUAL_RATE).expect("between 0 and 1");
    let missing = rate.parts_needed().saturating_sub(parts);
    let way_out = match missing {
        0 => format!("false_reject_rate = {USUAL_RATE} in its place promises a rate"),
        _ => {
            format!("{missing} more allow false_reject_rate = {USUAL_RATE}, which promises a rate")
        }
    };

    let kind = GoodKind::References;
    format!("auto, by {parts} {kind}: {expected}; {way_out}")
}

const TOO_FEW_FOR_AUTO: &str =
    "\"auto\" needs at least 2 different references; give more, or a number";
const ALIKE_FOR_AUTO: &str =
    "\"auto\" finds no difference between the references; give other ones, or a number";

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(good: &[f32], factor: f32) -> Result<f32, String> {
        automatic(good, factor).map(|threshold| threshold.value)
    }

    #[test]
    fn references_that_do_not_differ_give_no_threshold_instead_of_one_that_fails_every_part() {
        assert_eq!(auto(&[0.25, 0.5], 1.5), Ok(0.75));
        assert!(auto(&[], 1.1).is_err_and(|why| why.contains("at least 2 different references")));
        assert!(auto(&[0.0, 0.0], 1.1).is_err_and(|why| why.contains("no difference")));
        let alike = by_rate(rate(0.1), &[0.0; 20], GoodKind::References);
        assert!(alike.is_err_and(|why| why.contains("no difference between the 20 references")));
    }

    fn rate(rate: f64) -> FalseRejectRate {
        FalseRejectRate::new(rate).expect("between 0 and 1")
    }

    #[test]
    fn a_rate_names_its_promise_or_the_number_of_good_parts_that_is_missing() {
        let good: Vec<f32> = (1..=40).map(|score| score as f32 / 100.0).collect();
        let found = by_rate(rate(0.05), &good, GoodKind::Calibration).expect("enough");
        assert_eq!(
            found.to_string(),
            "0.3900 (by 40 calibration pictures: at most 4.9 % of good parts like them fail, on average; in nine of ten such sets at most 9.4 %)"
        );

        let found = by_rate(rate(0.05), &good, GoodKind::References).expect("enough");
        let origin = found.origin.expect("by a rate");
        assert!(
            origin.ends_with("of good parts like them fail, on average"),
            "{origin}"
        );
        let refused = by_rate(rate(0.05), &good[..8], GoodKind::References).expect_err("too few");
        assert_eq!(
            refused,
            "false_reject_rate = 0.05 needs 19 good parts (1 / rate - 1), and there are 8 references, each against the others; give 11 more, ask for 0.112 or more, or take threshold = \"auto\", which promises nothing"
        );

        assert!(
            by_rate(rate(0.1), &[], GoodKind::Calibration)
                .is_err_and(|why| why.contains("give 9 more, or take"))
        );
    }

    #[test]
    fn auto_says_what_share_of_good_parts_may_fail_and_what_would_lower_it() {
        let mut good = vec![0.12, 0.11, 0.13, 0.12, 0.14, 0.15, 0.12, 0.15];
        assert_eq!(
            expected_above(&good, 0.165),
            "auto, by 8 references, each against the others: at most about 12 % of good parts like them fail, on average; 11 more allow false_reject_rate = 0.05, which promises a rate"
        );

        // The threshold goes by the usual ones: the odd one would fail.
        good.push(0.26);
        let words = expected_above(&good, 0.165);
        assert!(words.contains("1 of them would fail, so that about 20 % of good parts may"));
        good.extend([0.12; 11]);
        let words = expected_above(&good, 0.3);
        assert!(
            words.contains("at most about 4.8 %")
                && words.ends_with("in its place promises a rate")
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
        // A little outside is not far out.
        *good.last_mut().expect("nine") = 0.2;
        assert_eq!(highest_usual(&good), Some(0.15));
        assert_eq!(highest_not_far_out(&good), Some(0.2));
    }
}
