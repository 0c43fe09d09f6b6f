//! Counts of the history as rows, the most frequent first.

use crate::data::history::HistoryQuery;
use crate::data::shifts::{Shifts, USUAL_SHIFTS};
use crate::data::statistics::{CountedBy, Counts, NO_KEY, Statistic};
use crate::data::verdict::Verdict;
use crate::page::rejects::filter::{ANY, Filter};
use crate::page::search;
use crate::page::state::Page;
use crate::page::words::percent;
use serde::Deserialize;

/// Rows of a pareto; what is rarer is told together.
const ROWS_MAX: usize = 20;
/// A search for counts finds no parts: it goes on until it has looked at all of them, or its time is over.
const ALL: usize = 1;

/// What is asked for, out of the query of an address.
pub struct Wanted {
    /// The parts that are counted.
    pub filter: Filter,
    /// Property of the table.
    pub by: CountedBy,
    /// Times at which shifts begin, as they were given.
    pub shifts: String,
    parts: HistoryQuery,
    begins: Shifts,
}

/// The fields beside those of the filter.
#[derive(Deserialize)]
#[serde(default)]
struct Given {
    by: CountedBy,
    shifts: String,
}

impl Default for Given {
    fn default() -> Self {
        Given {
            by: CountedBy::Day,
            shifts: USUAL_SHIFTS.to_owned(),
        }
    }
}

/// Counts, and what they lack.
pub struct Counted {
    /// By their keys, as `winspect history --by` prints them.
    pub rows: Vec<Statistic>,
    /// What is not among them, in words.
    pub lacks: Option<&'static str>,
}

/// The most frequent keys.
pub struct Pareto {
    /// The rows, the most frequent first.
    pub rows: Vec<ParetoRow>,
    /// Parts that are counted.
    pub all: u64,
    /// What is not in a row, in words.
    pub others: Option<String>,
}

/// One of them.
pub struct ParetoRow {
    /// The key.
    pub key: String,
    /// Parts.
    pub count: u64,
    /// Share of all counted parts, in words.
    pub share: String,
    /// Share of this row and those above it, in words.
    pub cumulative: String,
    /// Length of the bar beside the longest one, in hundredths.
    pub length: u64,
}

impl Wanted {
    /// The fields of the query of an address.
    ///
    /// # Errors
    /// All fields that are wrong, in words.
    pub fn of_query(query: Option<&str>) -> Result<Self, String> {
        let mut filter = Filter::of_query(query)?;

        // All verdicts are counted unless one is given: yields need them.
        if filter.verdict.is_empty() {
            filter.verdict = ANY.to_owned();
        }

        let given: Given = serde_html_form::from_str(query.unwrap_or_default())
            .map_err(|error| format!("what is counted cannot be read: {error}"))?;
        let parts = filter.query();
        let begins = Shifts::parse(&given.shifts).map_err(|words| format!("shifts: {words}"));

        let (parts, begins) = match (parts, begins) {
            (Ok(parts), Ok(begins)) => (parts, begins),
            (parts, begins) => {
                let wrong: Vec<String> = parts.err().into_iter().chain(begins.err()).collect();

                return Err(wrong.join("; "));
            }
        };

        Ok(Wanted {
            filter,
            by: given.by,
            shifts: given.shifts,
            parts,
            begins,
        })
    }

    /// Counts the parts by a property.
    ///
    /// # Errors
    /// Words, where the store cannot look.
    pub async fn count(&self, page: &Page, by: CountedBy) -> Result<Counted, String> {
        self.count_of(page, by, None).await
    }

    /// The same of the parts of one verdict, unless the question names another one: an index finds those that did not pass.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub async fn count_of(
        &self,
        page: &Page,
        by: CountedBy,
        verdict: Option<Verdict>,
    ) -> Result<Counted, String> {
        let query = HistoryQuery {
            by: Some(by.key()),
            verdict: self.parts.verdict.or(verdict),
            before: None,
            ..self.parts.clone()
        };

        let found = search::parts(&page.store, query, ALL).await?;
        let mut counts = Counts::new(by, &self.begins);
        counts.add(&found.groups);

        let lacks = match (found.next.is_some(), found.lacks_old_parts) {
            (true, _) => Some(
                "Perhaps not all: the time was over before the oldest parts of the history were looked at; winspect history --by counts all.",
            ),
            (_, true) => Some("Not all: parts of before an upgrade are still being taken in."),
            _ => None,
        };

        Ok(Counted {
            rows: counts.rows(),
            lacks,
        })
    }

    /// The same question of other parts.
    pub fn with(&self, filter: Filter) -> Self {
        Wanted {
            filter,
            by: self.by,
            shifts: self.shifts.clone(),
            parts: self.parts.clone(),
            begins: self.begins.clone(),
        }
    }

    /// Address of the same question at another path, counted by that.
    pub fn address(&self, path: &str, by: CountedBy) -> String {
        let address = self.filter.address(path, None);
        let join = if address.contains('?') { '&' } else { '?' };
        let fields = [("by", by.word()), ("shifts", &self.shifts)];

        let query = serde_html_form::to_string(fields).expect("texts are a form's values");

        format!("{address}{join}{query}")
    }
}

impl Pareto {
    /// The most frequent keys of the counts that `of` takes from each row; `without` names the parts without a key.
    pub fn of(rows: &[Statistic], of: fn(&Statistic) -> u64, without: &str) -> Self {
        let counted = rows.iter().map(|row| (row.key.as_str(), of(row)));
        let mut counted: Vec<(&str, u64)> = counted.filter(|(_, count)| *count > 0).collect();

        // Equal ones stay in the order of their names.
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));

        let all: u64 = counted.iter().map(|(_, count)| count).sum();
        let longest = counted.first().map_or(1, |(_, count)| *count);
        let share = |count: u64| percent(Some(count as f64 / all as f64));

        let mut so_far = 0;
        let mut shown = vec![];

        for (key, count) in counted.iter().take(ROWS_MAX) {
            so_far += count;

            let key = if *key == NO_KEY { without } else { key };

            shown.push(ParetoRow {
                key: key.to_owned(),
                count: *count,
                share: share(*count),
                cumulative: share(so_far),
                length: (count * 100).div_ceil(longest),
            });
        }

        let rarer = counted.len() - shown.len();
        let others = (rarer > 0).then(|| format!("{rarer} rarer ones: {}", all - so_far));

        Pareto {
            rows: shown,
            all,
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistic(key: &str, fail: u64) -> Statistic {
        Statistic {
            key: key.to_owned(),
            parts: fail + 5,
            pass: 5,
            fail,
            undecided: 0,
            yielded: None,
            undecided_share: None,
        }
    }

    #[test]
    fn the_most_frequent_comes_first_and_shares_add_up() {
        let rows = [
            statistic("-", 0),
            statistic("top left", 1),
            statistic("top middle", 6),
            statistic("top right", 3),
        ];

        let pareto = Pareto::of(&rows, |row| row.fail, "no place");
        let told: Vec<(&str, u64, &str, &str, u64)> = pareto
            .rows
            .iter()
            .map(|row| {
                let (share, cumulative) = (row.share.as_str(), row.cumulative.as_str());
                (row.key.as_str(), row.count, share, cumulative, row.length)
            })
            .collect();

        let expected = [
            ("top middle", 6, "60.0 %", "60.0 %", 100),
            ("top right", 3, "30.0 %", "90.0 %", 50),
            ("top left", 1, "10.0 %", "100.0 %", 17),
        ];

        assert_eq!(told, expected);
        assert_eq!((pareto.all, pareto.others), (10, None));

        let many: Vec<Statistic> = (0..25).map(|n| statistic(&format!("{n:02}"), 2)).collect();
        let pareto = Pareto::of(&many, |row| row.fail, "no place");
        assert_eq!(pareto.rows.len(), ROWS_MAX);
        assert_eq!(pareto.others.as_deref(), Some("5 rarer ones: 10"));
        assert!(Pareto::of(&[], |row| row.fail, "no place").rows.is_empty());
    }

    #[test]
    fn a_query_is_read_and_all_that_is_wrong_is_told() {
        let wanted = Wanted::of_query(Some("by=shift&shifts=07:00&since=8h&recipe=nut"));
        let wanted = wanted.expect("it is right");
        assert_eq!(wanted.by, CountedBy::Shift);
        assert_eq!(wanted.parts.verdict, None, "all are counted");
        let address = wanted.address("/x", CountedBy::Place);
        let again = address.split_once('?').map(|(_, query)| query);
        let again = Wanted::of_query(again).expect("it is right");
        assert_eq!((again.by, again.filter), (CountedBy::Place, wanted.filter));

        assert!(Wanted::of_query(Some("by=colour")).is_err());
        let wrong = Wanted::of_query(Some("since=then&shifts=noon")).err();
        let wrong = wrong.expect("two faults");
        assert!(
            wrong.contains("since") && wrong.contains("shifts"),
            "{wrong}"
        );
    }
}
