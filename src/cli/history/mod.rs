//! `winspect history line.toml`: the parts that a line's store keeps, found by time, verdict, camera and
//! more, or counted; or the audit log. Beside a running line through its control socket, else from a copy
//! of the store's file.

mod source;
mod statistics;

pub(super) use self::source::HistorySource;
use self::statistics::CountQuery;
use super::terminal::{print, say};
use crate::base::exit::Failure;
use crate::base::times;
use crate::data::history::{AuditQuery, HistoryQuery, PAGE_MAX};
use crate::data::history_rows::{RowFormat, RowPrinter};
use crate::data::shifts::{Shifts, USUAL_SHIFTS};
use crate::data::statistics::CountedBy;
use crate::data::verdict::{Reason, Verdict};
use crate::store::{Search, SearchPage};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use std::path::PathBuf;

/// Parts that a person gets who says no number.
const SHOWN: usize = 20;

/// Arguments of `winspect history`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Captured then or later: 2026-11-30, "2026-11-30 14:00", 2026-11-30T13:00:00Z, or 8h and 7d ago
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    since: Option<Timestamp>,
    /// Captured before that time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    until: Option<Timestamp>,
    /// Parts of that verdict
    #[arg(long, value_name = "VERDICT", value_parser = verdicts())]
    verdict: Option<Verdict>,
    /// Undecided parts of that reason
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<Reason>,
    /// Parts of that camera, or of the name that several share
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Parts that were judged by that recipe: its name, or name@revision
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// The part of that id
    #[arg(long, value_name = "X")]
    part_id: Option<String>,
    /// Parts with that label: good, bad, really_bad, false_reject, not_sure
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// At most so many parts, the newest; 20 unless given, and all with --csv and --json
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print comma-separated values, with the names of the columns first
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON line a part
    #[arg(long)]
    json: bool,
    /// Count the parts by this: passed, failed, undecided, yield
    #[arg(long, value_name = "KEY", value_enum, conflicts_with = "limit")]
    by: Option<CountedBy>,
    /// Times at which shifts begin, for --by shift; times are of this machine's time zone
    #[arg(long, value_name = "TIMES", default_value = USUAL_SHIFTS, value_parser = Shifts::parse)]
    shifts: Shifts,
    /// Show the audit log: who changed what, with the old and the new value
    #[arg(long, conflicts_with_all = ["verdict", "reason", "camera", "recipe", "part_id", "label", "by"])]
    audit: bool,
}

/// The words of verdicts.
pub(super) fn verdicts() -> impl TypedValueParser<Value = Verdict> {
    let words = Verdict::ALL.map(Verdict::word);

    PossibleValuesParser::new(words)
        .map(|word| Verdict::of_word(&word).expect("it is one of the words"))
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    let words = Reason::ALL.map(Reason::word);

    PossibleValuesParser::new(words)
        .map(|word| Reason::of_word(&word).expect("it is one of the words"))
}

impl HistoryArguments {
    fn query(&self) -> HistoryQuery {
        HistoryQuery {
            since: self.since,
            until: self.until,
            verdict: self.verdict,
            reason: self.reason,
            camera: self.camera.clone(),
            recipe: self.recipe.clone(),
            part_id: self.part_id.clone(),
            label: self.label.clone(),
            by: self.by.map(CountedBy::key),
            limit: None,
            before: None,
        }
    }

    fn format(&self) -> RowFormat {
        match (self.csv, self.json) {
            (true, _) => RowFormat::Csv,
            (_, true) => RowFormat::Json,
            _ => RowFormat::Table,
        }
    }

    /// Rows that are wanted.
    fn limit(&self) -> usize {
        let unless_given = match self.format() {
            RowFormat::Table => SHOWN,
            _ => usize::MAX,
        };

        self.limit.unwrap_or(unless_given)
    }
}

/// Prints what was asked for.
///
/// # Errors
/// When neither the line nor its store's file can be read.
pub fn run(arguments: &HistoryArguments) -> Result<(), Failure> {
    let mut source = HistorySource::open(&arguments.line)?;

    match (arguments.audit, arguments.by) {
        (true, _) => show_audit(arguments, &mut source),
        (_, Some(by)) => show_counts(arguments, by, &mut source),
        _ => show_parts(arguments, &mut source),
    }
}

fn show_parts(arguments: &HistoryArguments, source: &mut HistorySource) -> Result<(), Failure> {
    let mut query = arguments.query();
    let mut printer = RowPrinter::new(arguments.format());
    let mut left = arguments.limit();

    let mut unreadable = 0;
    let mut lacks_old_parts = false;

    while left > 0 {
        query.limit = Some(u32::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX));
        let SearchPage::Parts(page) = source.step(&Search::Parts(query.clone()))? else {
            break;
        };

        left = left.saturating_sub(page.parts.len());
        unreadable += page.unreadable;
        lacks_old_parts |= page.lacks_old_parts;
        let text = printer.page(&page.parts);

        if !text.is_empty() && !print(text.trim_end())? {
            return Ok(()); // its reader has left
        }

        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }

    if unreadable > 0 {
        say(format!("{unreadable} parts more fit, and cannot be read"));
    }

    tell_lack(lacks_old_parts);
    Ok(())
}

fn show_counts(
    arguments: &HistoryArguments,
    by: CountedBy,
    source: &mut HistorySource,
) -> Result<(), Failure> {
    let wanted = CountQuery {
        parts: arguments.query(),
        by,
        shifts: &arguments.shifts,
        format: arguments.format(),
    };

    let lacks_old_parts = statistics::show(&wanted, source)?;

    tell_lack(lacks_old_parts);
    Ok(())
}

/// Tells that the history is not whole yet.
fn tell_lack(lacks_old_parts: bool) {
    if lacks_old_parts {
        say(
            "parts of before the upgrade are not all here: the running line takes them in, some hundred a second",
        );
    }
}

fn show_audit(arguments: &HistoryArguments, source: &mut HistorySource) -> Result<(), Failure> {
    let mut query = AuditQuery {
        since: arguments.since,
        until: arguments.until,
        before: None,
    };

    let mut printer = RowPrinter::new(arguments.format());
    let mut left = arguments.limit();

    while left > 0 {
        let SearchPage::Audit(page) = source.step(&Search::Audit(query.clone()))? else {
            break;
        };

        let shown = page.lines.len().min(left);

        left -= shown;
        let text = printer.audit(&page.lines[..shown]);

        if !text.is_empty() && !print(text.trim_end())? {
            return Ok(());
        }

        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }

    Ok(())
}
