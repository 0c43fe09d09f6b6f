//! Layer 2: from a score and a map to pass, fail or undecided, and the regions that a person should look at.

use crate::data::map::Map;
use crate::data::picture::Area;
use serde::Serialize;

/// What the PLC acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    Undecided,
}

impl Verdict {
    /// OPC 40100-1's evaluation code: 1 pass, 2 fail, 3 undecided.
    pub fn evaluation(self) -> u8 {
        match self {
            Verdict::Pass => 1,
            Verdict::Fail => 2,
            Verdict::Undecided => 3,
        }
    }
}

/// What the gate does with a part that is undecided: a line must fail safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndecided {
    #[default]
    Fail,
    Pass,
}

/// Why a part is undecided. Never silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Late,
    Overload,
    CameraLost,
    BadImage,
    EngineError,
    NotReady,
}

/// A connected area of the map above the threshold, in the camera picture's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Defect {
    pub x: usize,
    pub y: usize,
    pub w: usize,
    pub h: usize,
    /// The highest map value inside.
    pub peak: f32,
}

/// The recipe's rule: a part with a score of `threshold` or more fails. Without a threshold nothing can be decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    pub threshold: Option<f32>,
}

impl Rule {
    /// The verdict for a finite score, with the reason when there is none.
    pub fn decide(&self, score: f32) -> (Verdict, Option<Reason>) {
        match self.threshold {
            _ if !score.is_finite() => (Verdict::Undecided, Some(Reason::EngineError)),
            None => (Verdict::Undecided, Some(Reason::NotReady)),
            Some(threshold) if score >= threshold => (Verdict::Fail, None),
            Some(_) => (Verdict::Pass, None),
        }
    }
}

/// The map's areas at or above `level`, four-connected, highest peak first, at most `limit`, as boxes in a picture
/// of which the map covers `area`.
pub fn regions(map: &Map, level: f32, area: Area, limit: usize) -> Vec<Defect> {
    let side = map.side();
    let mut seen = vec![false; side * side];
    let mut found = Vec::new();
    for start in 0..side * side {
        if seen[start] || map.values()[start] < level {
            continue;
        }
        seen[start] = true;
        let mut waiting = vec![start];
        let (mut left, mut right, mut top, mut bottom) = (side, 0, side, 0);
        let mut peak = f32::NEG_INFINITY;
        while let Some(cell) = waiting.pop() {
            let (row, column) = (cell / side, cell % side);
            (left, right) = (left.min(column), right.max(column));
            (top, bottom) = (top.min(row), bottom.max(row));
            peak = peak.max(map.values()[cell]);
            let neighbours = [
                (row > 0).then(|| cell - side),
                (row + 1 < side).then(|| cell + side),
                (column > 0).then(|| cell - 1),
                (column + 1 < side).then(|| cell + 1),
            ];
            for next in neighbours.into_iter().flatten() {
                if !seen[next] && map.values()[next] >= level {
                    seen[next] = true;
                    waiting.push(next);
                }
            }
        }
        let across = |cell: usize| area.x + cell * area.w / side;
        let down = |cell: usize| area.y + cell * area.h / side;
        let ((x, x_end), (y, y_end)) = (
            (across(left), across(right + 1)),
            (down(top), down(bottom + 1)),
        );
        found.push(Defect {
            x,
            y,
            w: x_end - x,
            h: y_end - y,
            peak,
        });
    }
    found.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    found.truncate(limit);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_fails_and_a_rule_without_one_is_not_ready() {
        let rule = Rule {
            threshold: Some(0.5),
        };
        assert_eq!(rule.decide(0.5), (Verdict::Fail, None));
        assert_eq!(rule.decide(0.49), (Verdict::Pass, None));
        assert_eq!(
            rule.decide(f32::NAN),
            (Verdict::Undecided, Some(Reason::EngineError))
        );
        assert_eq!(
            Rule { threshold: None }.decide(0.9),
            (Verdict::Undecided, Some(Reason::NotReady))
        );
    }

    #[test]
    fn regions_are_connected_areas_in_picture_pixels() {
        let map = Map::new(
            4,
            vec![
                0.9, 0.8, 0.0, 0.0, //
                0.0, 0.0, 0.0, 0.0, //
                0.0, 0.0, 0.0, 0.0, //
                0.0, 0.0, 0.0, 1.0, //
            ],
        );
        let found = regions(&map, 0.5, Area::whole(400, 200), 3);
        assert_eq!(
            found[0],
            Defect {
                x: 300,
                y: 150,
                w: 100,
                h: 50,
                peak: 1.0
            }
        );
        assert_eq!(
            found[1],
            Defect {
                x: 0,
                y: 0,
                w: 200,
                h: 50,
                peak: 0.9
            }
        );
        assert_eq!(regions(&map, 0.5, Area::whole(400, 200), 1).len(), 1);
        assert_eq!(regions(&map, 2.0, Area::whole(400, 200), 3), vec![]);
        let part = Area {
            x: 1000,
            y: 10,
            w: 40,
            h: 40,
        };
        assert_eq!(
            regions(&map, 0.5, part, 1),
            [Defect {
                x: 1030,
                y: 40,
                w: 10,
                h: 10,
                peak: 1.0
            }]
        );
    }
}
