//! Score and threshold give the verdict of each part of a frame.

use crate::data::map::Map;
use crate::data::picture::Area;
use crate::data::report::Report;
use crate::data::verdict::{self, Defect, Reason, Verdict, find_defects};
use crate::winclip::RegionScore;

/// Says why reports are undecided.
pub(super) fn undecide(reports: &mut [Report], reason: Reason, detail: &str) {
    for report in reports {
        report.reason = Some(reason);
        report.detail = Some(detail.to_owned());
    }
}

/// Decides each report by the score of its region.
pub(super) fn decide_all(reports: &mut [Report], scores: &[RegionScore]) {
    for report in reports {
        let region = &report.part.request.region;
        match scores.iter().find(|score| score.region == *region) {
            Some(score) => decide(report, score.clone()),
            // The part was accepted under another recipe.
            None => {
                report.reason = Some(Reason::NotReady);
                report.detail = Some("the recipe that judges now has no such region".to_owned());
            }
        }
    }
}

fn decide(report: &mut Report, region: RegionScore) {
    (report.verdict, report.reason) = verdict::decide(region.score, report.threshold);
    report.score = Some(region.score);
    if report.verdict == Verdict::Fail {
        report.defects = defects(&region.map, region.area);
    }

    report.map = Some(region.map);
    report.area = Some(region.area);
    report.pose = region.aligned.map(|aligned| aligned.pose);
    report.took.pixels = region.pixels_took;
    report.took.encode = region.encode_took;
    report.took.score = region.score_took;
}

/// Number of defects in a result, at most.
const DEFECTS_MAX: usize = 3;

/// Returns the areas where a person should look: those in the upper half between the map's median and
/// its peak.
fn defects(map: &Map, area: Area) -> Vec<Defect> {
    // Values are finite (an invariant of the engine), so that the order is total and the median
    // exists; a map has at least one cell.
    let mut sorted = map.values().to_vec();
    sorted.sort_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2];
    let level = (median + map.max()) / 2.0;
    find_defects(map, level, area, DEFECTS_MAX)
}
