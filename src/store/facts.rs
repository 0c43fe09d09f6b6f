//! The few facts of a result by which it is found and counted: a row of the table `history`.

use crate::data::result::{ResultRow, SmallMap};
use crate::data::verdict::Verdict;
use rusqlite::{Connection, params};

/// Kind of a result for whoever counts parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    /// A part of production.
    Production = 0,
    /// A part of a challenge.
    Challenge = 1,
    /// A verdict that came after its part's result: the part has another row.
    LateVerdict = 2,
}

impl RowKind {
    /// Kind of a result; `is_late` for a verdict that came after its part's result.
    pub(super) fn of(row: &ResultRow, is_late: bool) -> Self {
        if is_late {
            return RowKind::LateVerdict;
        }

        match row.challenge {
            Some(_) => RowKind::Challenge,
            None => RowKind::Production,
        }
    }

    /// Kind of a result of before the history: a late verdict is known by its time alone there.
    pub(super) fn of_old(row: &ResultRow) -> Self {
        let is_late = row.verdict != Verdict::Undecided && !row.deadline_met;

        Self::of(row, is_late)
    }
}

/// Writes the facts of a result under its key; facts that are there stay unless they `are_newer`.
///
/// # Errors
/// SQLite's.
pub(super) fn write_facts(
    connection: &Connection,
    key: i64,
    row: &ResultRow,
    kind: RowKind,
    are_newer: bool,
) -> rusqlite::Result<()> {
    let sql = match are_newer {
        true => "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        false => "INSERT OR IGNORE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    };

    let spot = match (row.verdict, &row.map) {
        (Verdict::Fail, Some(map)) => spot_of(map),
        _ => None,
    };

    connection.prepare_cached(sql)?.execute(params![
        key,
        row.seq as i64,
        row.captured_at.as_millisecond(),
        row.camera,
        row.region,
        row.verdict.word(),
        row.reason.map(|reason| reason.word()),
        row.recipe,
        row.part_id,
        spot,
        kind as i64,
    ])?;

    Ok(())
}

/// The ninth of the crop that holds the highest value. `None` for a map without any.
pub fn spot_of(map: &SmallMap) -> Option<&'static str> {
    const SPOTS: [[&str; 3]; 3] = [
        ["top left", "top", "top right"],
        ["left", "middle", "right"],
        ["bottom left", "bottom", "bottom right"],
    ];

    // A map of zeros has no highest value, and the first of several is as good as the others. Thirds of
    // the map's own columns and rows are taken, so that an oblong crop has nine spots as well.
    let is_sized = map.w > 0 && map.h > 0;
    let highest = map.cells.iter().max();
    let highest = highest.filter(|highest| is_sized && **highest > 0)?;
    let at = map.cells.iter().position(|cell| cell == highest)?;
    let row = (at / map.w) * 3 / map.h;
    let column = (at % map.w) * 3 / map.w;

    // A stored map may be of another size than it says.
    SPOTS.get(row).map(|spots| spots[column])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_lies_in_one_of_nine_spots() {
        let map = |w: usize, h: usize, at: usize| {
            let mut cells = vec![1; w * h];
            cells[at] = 200;
            SmallMap {
                side: None,
                w,
                h,
                scale: 1.0,
                cells,
            }
        };

        for (w, h, at, spot) in [
            (16, 16, 0, "top left"),
            (16, 16, 255, "bottom right"),
            (16, 16, 8 * 16 + 8, "middle"),
            (32, 8, 31, "top right"),
            (32, 8, 4 * 32, "left"),
            (1, 1, 0, "top left"),
        ] {
            assert_eq!(spot_of(&map(w, h, at)), Some(spot), "{w} x {h}, {at}");
        }

        let mut empty = map(2, 2, 0);
        empty.cells = vec![0; 4];
        assert_eq!(spot_of(&empty), None);
        empty.cells = vec![9; 64];
        empty.cells[63] = 10;
        assert_eq!(spot_of(&empty), None, "more cells than it says");
    }
}
