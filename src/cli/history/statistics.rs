//! Parts counted by shift, day, recipe, camera, place or reason.

use super::source::HistorySource;
use crate::base::exit::Failure;
use crate::cli::terminal::print;
use crate::data::history::HistoryQuery;
use crate::data::history_rows::RowFormat;
use crate::data::shifts::Shifts;
use crate::data::statistics::{CountedBy, Counts, shown};
use crate::store::{Search, SearchPage};

/// A question for counts.
pub struct CountQuery<'a> {
    /// The parts that are counted.
    pub parts: HistoryQuery,
    /// Property by which they are.
    pub by: CountedBy,
    /// Shifts of a day.
    pub shifts: &'a Shifts,
    /// Form of the rows.
    pub format: RowFormat,
}

/// Prints the counts. True if parts of before an upgrade are not among them.
///
/// # Errors
/// When the history cannot be read, or standard output not be written.
pub fn show(wanted: &CountQuery, source: &mut HistorySource) -> Result<bool, Failure> {
    let mut query = wanted.parts.clone();
    let mut counts = Counts::new(wanted.by, wanted.shifts);
    let mut lacks_old_parts = false;

    while let SearchPage::Parts(page) = source.step(&Search::Parts(query.clone()))? {
        lacks_old_parts |= page.lacks_old_parts;
        counts.add(&page.groups);
        query.before = page.next;

        if page.next.is_none() {
            break;
        }
    }

    let text = shown(&counts.rows(), wanted.by, wanted.format);

    print(text.trim_end())?;

    Ok(lacks_old_parts)
}
