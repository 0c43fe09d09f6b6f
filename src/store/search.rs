//! Looks into the history, in steps that are short: whoever waits for the disk waits for one of them at
//! most.
//!
//! A step reads rows of `history`, the newest first, for about [`SEARCH_STEP`], and the bodies of those
//! that fit. It ends with the key at which the next one begins. New parts come above that key, so that
//! pages of a running line neither lack a part nor have one twice. The steps are the same for the file of
//! a line that does not run, which are read from a copy (`newest.rs`).

use super::bounds::{SEARCH_STEP, SEARCH_TAKEN_IN};
use super::facts::{RowKind, write_facts};
use super::migration::{body, readable};
use super::schema::{LACKS_BELOW, NOT_PASSED};
use crate::data::history::{
    AuditLine, AuditPage, AuditQuery, GroupCount, GroupKey, HistoryPage, HistoryPart, HistoryQuery,
    PAGE_MAX, PartLabel,
};
use crate::data::result::rfc3339;
use crate::data::verdict::{Reason, Verdict};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::time::Instant;

/// Rows between two looks at the time, where all rows are read in the order in which they lie.
const LOOK_EVERY: u64 = 64;

/// A question to the history.
#[derive(Debug, Clone, PartialEq)]
pub enum Search {
    /// For parts.
    Parts(HistoryQuery),
    /// For lines of the audit log.
    Audit(AuditQuery),
    /// For one part: its result, and not a later verdict.
    Part {
        /// The run.
        run_id: String,
        /// The camera, or the name that several share.
        camera: String,
        /// The number.
        seq: u64,
    },
}

/// An answer of the history.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchPage {
    /// Parts.
    Parts(HistoryPage),
    /// Lines of the audit log.
    Audit(AuditPage),
    /// A part's key and verdict; `None` where the store has no result of it.
    Part(Option<(u64, Verdict)>),
}

/// End of the words of a refusal that holds for the moment.
pub const ASK_AGAIN: &str = "ask again";

/// Takes the answer, or why there is none, on the thread of the disk: it must not wait.
pub type SearchReply = Box<dyn FnOnce(Result<SearchPage, String>) + Send>;

/// Takes one step.
///
/// # Errors
/// SQLite's.
pub(super) fn search(connection: &Connection, search: &Search) -> rusqlite::Result<SearchPage> {
    match search {
        Search::Parts(query) => parts(connection, query).map(SearchPage::Parts),
        Search::Audit(query) => audit(connection, query).map(SearchPage::Audit),
        Search::Part {
            run_id,
            camera,
            seq,
        } => part(connection, run_id, camera, *seq).map(SearchPage::Part),
    }
}

/// The facts of one part, in the row where SQLite has them.
struct Facts<'a> {
    key: i64,
    at: i64,
    camera: &'a str,
    region: Option<&'a str>,
    verdict: &'a str,
    reason: Option<&'a str>,
    recipe: &'a str,
    part_id: Option<&'a str>,
    spot: Option<&'a str>,
    kind: i64,
}

impl<'a> Facts<'a> {
    fn of(row: &'a Row) -> rusqlite::Result<Self> {
        let text = |column: usize| text_of(row, column);
        let given = |column: usize| text(column).map(Option::unwrap_or_default);

        Ok(Facts {
            key: row.get(0)?,
            at: row.get(1)?,
            camera: given(2)?,
            region: text(3)?,
            verdict: given(4)?,
            reason: text(5)?,
            recipe: given(6)?,
            part_id: text(7)?,
            spot: text(8)?,
            kind: row.get(9)?,
        })
    }

    /// True for a part that is asked for, but for its label, which SQLite looks at.
    fn fits(&self, query: &HistoryQuery) -> bool {
        // Words are compared, as the table has them: what an asker can give has no other form. A value that
        // is not asked for fits each part.
        let at = || Timestamp::from_millisecond(self.at).unwrap_or_default();
        let verdict = query.verdict.map(Verdict::word);
        let reason = query.reason.map(Reason::word);

        query.since.is_none_or(|since| at() >= since)
            && query.until.is_none_or(|until| at() < until)
            && is_or_any(verdict, Some(self.verdict))
            && is_or_any(reason, self.reason)
            && is_or_any(query.camera.as_deref(), Some(self.camera))
            && is_or_any(query.part_id.as_deref(), self.part_id)
            && self.is_of(query.recipe.as_deref())
    }

    /// True for the recipe of that name, or of that `name@revision`.
    fn is_of(&self, recipe: Option<&str>) -> bool {
        // A name may hold the character too; the last one is before the revision.
        let name = self.recipe.rsplit_once('@').map(|(name, _)| name);

        is_or_any(recipe, Some(self.recipe)) || recipe == name
    }

    /// The key under which the part is counted.
    fn group(&self, by: GroupKey) -> Option<String> {
        // The place is told as a person would: where, then which part of it. Regions have names of their own,
        // and parts of a recipe without any are the camera's.
        let place = |spot: &str| match self.region {
            Some(region) => format!("{}/{region} {spot}", self.camera),
            None => format!("{} {spot}", self.camera),
        };

        match by {
            GroupKey::Minute => Some(self.at.div_euclid(60_000).to_string()),
            GroupKey::Recipe => Some(self.recipe.to_owned()),
            GroupKey::Camera => Some(self.camera.to_owned()),
            GroupKey::Place => self.spot.map(place),
            GroupKey::Reason => self.reason.map(str::to_owned),
        }
    }
}

/// Text of a column, where it lies.
fn text_of<'a>(row: &'a Row, column: usize) -> rusqlite::Result<Option<&'a str>> {
    let value = row.get_ref(column)?;

    Ok(value.as_str_or_null()?)
}

fn is_or_any(wanted: Option<&str>, found: Option<&str>) -> bool {
    wanted.is_none() || wanted == found
}

/// Parts, or their counts.
fn parts(connection: &Connection, query: &HistoryQuery) -> rusqlite::Result<HistoryPage> {
    let began = Instant::now();
    let limit = query.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX) as usize;
    let mut page = HistoryPage {
        lacks_old_parts: lacks_below(connection)?.is_some(),
        ..HistoryPage::default()
    };

    // A page of counts has a row a key; the asker adds up those of several pages.
    let mut groups: BTreeMap<Option<String>, GroupCount> = BTreeMap::new();

    let before = query.before.map_or(i64::MAX, |key| key as i64);
    let (sql, asked_for) = candidates(query);
    let mut facts = connection.prepare_cached(&sql)?;
    let mut rows = match asked_for {
        Some(word) => facts.query(params![before, word])?,
        None => facts.query([before])?,
    };

    // Rows that an index finds lie apart, each perhaps on a page that the disk has to read.
    let look_every = if asked_for.is_some() { 1 } else { LOOK_EVERY };
    let mut looked_at = 0;

    while let Some(row) = rows.next()? {
        let found = Facts::of(row)?;

        looked_at += 1;
        if found.fits(query) {
            match query.by {
                Some(by) => count(&mut groups, &found, by),
                None => read(connection, &found, &mut page)?,
            }
        }

        // The clock is asked now and then: it costs as much as some rows.
        let is_time_over = looked_at % look_every == 0 && began.elapsed() >= SEARCH_STEP;
        let is_full = page.parts.len() >= limit;

        // The next page begins below this row, whether it fitted or not.
        if is_full || is_time_over {
            page.next = Some(found.key as u64);
            break;
        }
    }

    page.groups = groups.into_values().collect();
    Ok(page)
}

/// Statement that reads the rows among which the parts are, and the word that it is given: by the index whose word fewest parts
/// have, else all of them. In the order of the key, the newest first, as each index has it: nothing is sorted.
pub(super) fn candidates(query: &HistoryQuery) -> (String, Option<&str>) {
    let did_not_pass = query.verdict.filter(|verdict| *verdict != Verdict::Pass);
    let (from, condition, word) = if let Some(label) = &query.label {
        // SQLite would read all of `history` first, without a bound.
        (
            "label CROSS JOIN history USING (key)",
            "AND label = ?2".to_owned(),
            Some(label.as_str()),
        )
    } else if let Some(part_id) = &query.part_id {
        (
            "history",
            "AND part_id = ?2".to_owned(),
            Some(part_id.as_str()),
        )
    } else if let Some(verdict) = did_not_pass {
        (
            "history",
            format!("AND verdict = ?2 AND {NOT_PASSED}"),
            Some(verdict.word()),
        )
    } else {
        ("history", String::new(), None)
    };

    let sql = format!(
        "SELECT key, history.at, camera, region, verdict, reason, recipe, part_id, spot, kind
            FROM {from} WHERE key < ?1 {condition} ORDER BY key DESC"
    );

    (sql, word)
}

fn count(groups: &mut BTreeMap<Option<String>, GroupCount>, found: &Facts, by: GroupKey) {
    // Challenges and late verdicts are no parts that the line made.
    let is_production = found.kind == RowKind::Production as i64;

    if !is_production {
        return;
    }

    let Some(verdict) = Verdict::of_word(found.verdict) else {
        return; // we wrote it
    };

    let key = found.group(by);
    let group = groups.entry(key.clone()).or_insert(GroupCount {
        key,
        ..GroupCount::default()
    });

    group.add(verdict);
}

/// Reads a part that fits.
fn read(connection: &Connection, found: &Facts, page: &mut HistoryPage) -> rusqlite::Result<()> {
    let sql = "SELECT body FROM part WHERE key = ?";
    let mut bodies = connection.prepare_cached(sql)?;
    let body = bodies
        .query_row([found.key], |row| body(row, 0))
        .optional()?;

    // A row and its facts leave the file together.
    let row = body.map(|body| readable(&body));

    match row {
        Some(Ok(row)) => page.parts.push(HistoryPart {
            row,
            late_verdict: found.kind == RowKind::LateVerdict as i64,
            label: label_of(connection, found.key)?,
        }),
        Some(Err(_)) => page.unreadable += 1,
        None => {}
    }

    Ok(())
}

fn label_of(connection: &Connection, key: i64) -> rusqlite::Result<Option<PartLabel>> {
    let sql = "SELECT label, note, who, at FROM label WHERE key = ?";
    let mut labels = connection.prepare_cached(sql)?;
    let label = labels.query_row([key], |row| {
        Ok(PartLabel {
            label: row.get(0)?,
            note: row.get(1)?,
            who: row.get(2)?,
            at: row.get(3)?,
        })
    });

    label.optional()
}

fn part(
    connection: &Connection,
    run_id: &str,
    camera: &str,
    seq: u64,
) -> rusqlite::Result<Option<(u64, Verdict)>> {
    // Numbers begin anew with each run, so that few rows have one, and the run tells them apart.
    let sql = "SELECT key, verdict FROM history JOIN part USING (key)
        WHERE history.seq = ? AND history.camera = ? AND part.run_id = ? AND kind <> ?";

    let mut keys = connection.prepare_cached(sql)?;
    let late = RowKind::LateVerdict as i64;
    let found = keys.query_row(params![seq as i64, camera, run_id, late], |row| {
        let key: i64 = row.get(0)?;
        let verdict: String = row.get(1)?;

        Ok((key as u64, verdict))
    });

    let Some((key, word)) = found.optional()? else {
        return Ok(None);
    };

    let verdict = Verdict::of_word(&word);
    Ok(verdict.map(|verdict| (key, verdict)))
}

/// Lines of the audit log.
fn audit(connection: &Connection, query: &AuditQuery) -> rusqlite::Result<AuditPage> {
    // Times in the log all have one length, and are in the order of their text.
    // Bounds that are not given lie before and after all times.
    let since = query.since.map_or(String::new(), rfc3339);
    let until = query.until.map_or("~".to_owned(), rfc3339);
    let before = query.before.map_or(i64::MAX, |before| before as i64);

    // The bound in time is the one of parts: who waits for the disk must not see a difference.
    let began = Instant::now();
    let lines = "SELECT rowid, at, run_id, what FROM audit WHERE rowid < ? ORDER BY rowid DESC";
    let mut lines = connection.prepare_cached(lines)?;
    let mut rows = lines.query([before])?;
    let mut page = AuditPage::default();

    while let Some(row) = rows.next()? {
        let line = AuditLine {
            at: row.get(1)?,
            run_id: row.get(2)?,
            what: row.get(3)?,
        };

        if line.at >= since && line.at < until {
            page.lines.push(line);
        }

        let is_full = page.lines.len() >= PAGE_MAX as usize;
        let is_time_over = began.elapsed() >= SEARCH_STEP;

        // Rows of SQLite count from 1, so that the number fits.
        if is_full || is_time_over {
            let key: i64 = row.get(0)?;
            page.next = Some(key as u64);
            break;
        }
    }

    Ok(page)
}

/// Key below which parts lack their facts; `None` where none does.
pub(super) fn lacks_below(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT value FROM kept WHERE key = ?";
    let value: Option<String> = connection
        .prepare_cached(sql)?
        .query_row([LACKS_BELOW], |row| row.get(0))
        .optional()?;

    // The table holds texts; what is no number is no mark of ours.
    let key: Option<u64> = value.and_then(|value| value.parse().ok());

    Ok(key)
}

/// Takes some parts of before an upgrade into the history, the newest first. True if more are left.
///
/// # Errors
/// SQLite's.
pub(super) fn take_in_old_parts(connection: &mut Connection) -> rusqlite::Result<bool> {
    let Some(below) = lacks_below(connection)? else {
        return Ok(false);
    };

    // The mark moves in the transaction of the rows: a crash in between takes them in again, or not at all.
    let change = connection.transaction()?;
    let keys = take_in(
        &change,
        "key < ?1 AND state > 0 ORDER BY key DESC LIMIT ?2",
        params![below as i64, SEARCH_TAKEN_IN],
    )?;

    match keys.last() {
        Some(lowest) => change.execute(
            "INSERT OR REPLACE INTO kept VALUES (?, ?)",
            params![LACKS_BELOW, lowest.to_string()],
        )?,
        None => change.execute("DELETE FROM kept WHERE key = ?", [LACKS_BELOW])?,
    };

    change.commit()?;
    Ok(!keys.is_empty())
}

/// Takes parts into the history that an earlier run left open: what is said of them is a result now.
///
/// # Errors
/// SQLite's.
pub(super) fn take_in_open_parts(connection: &Connection, below: i64) -> rusqlite::Result<()> {
    let open = "state < 3 AND state = 0 AND key < ?1";

    take_in(connection, open, params![below]).map(|_| ())
}

/// Writes the facts of parts that lack them; returns their keys.
fn take_in(
    connection: &Connection,
    which: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<i64>> {
    let sql = format!("SELECT key, body FROM part WHERE {which}");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(values)?;
    let mut keys = vec![];

    while let Some(row) = rows.next()? {
        let key = row.get(0)?;

        keys.push(key);
        let body = body(row, 1)?;

        // What cannot be read cannot be found by what it says either.
        if let Ok(row) = readable(&body) {
            let kind = RowKind::of_old(&row);
            write_facts(connection, key, &row, kind, false)?;
        }
    }

    Ok(keys)
}
