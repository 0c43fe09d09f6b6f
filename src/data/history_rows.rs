//! Parts and lines of the audit log as rows: for a person, comma-separated, or as JSON.

use crate::data::history::{AuditLine, HistoryPart};
use crate::data::result::ResultRow;
use crate::data::verdict::Verdict;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write;

/// Form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// For a person.
    Table,
    /// Comma-separated values (RFC 4180, with line feeds).
    Csv,
    /// One JSON object a line.
    Json,
}

/// Columns of a part: their names, and where the value stands in its JSON.
const COLUMNS: [(&str, &str); 31] = [
    ("captured_at", "/captured_at"),
    ("run_id", "/run_id"),
    ("station", "/station"),
    ("camera", "/camera"),
    ("region", "/region"),
    ("seq", "/seq"),
    ("part_id", "/part_id"),
    ("verdict", "/verdict"),
    ("reject", "/reject"),
    ("score", "/score"),
    ("threshold", "/threshold"),
    ("margin", "/margin"),
    ("reason", "/reason"),
    ("detail", "/detail"),
    ("recipe", "/recipe"),
    ("model", "/model"),
    ("backend", "/backend"),
    ("captured_by", "/captured_by"),
    ("frame_offset_ms", "/frame_offset_ms"),
    ("total_ms", "/latency_ms/total"),
    ("deadline_ms", "/deadline_ms"),
    ("deadline_met", "/deadline_met"),
    ("reject_in_ms", "/reject_in_ms"),
    ("reject_at_count", "/reject_at_count"),
    ("count", "/count"),
    ("position", "/position"),
    ("challenge", "/challenge"),
    ("late_verdict", "/late_verdict"),
    ("label", "/label/label"),
    ("note", "/label/note"),
    ("labelled_by", "/label/who"),
];

/// Columns of a part's worst defect, which come last: its size in pixels of the camera's picture, and in millimetres where the
/// camera's scale is known.
const DEFECT_COLUMNS: [&str; 4] = ["defect_w", "defect_h", "defect_w_mm", "defect_h_mm"];

/// Writes rows, and the names of their columns before the first.
pub struct RowPrinter {
    format: RowFormat,
    zone: TimeZone,
    has_head: bool,
}

impl RowPrinter {
    /// No row is written yet.
    pub fn new(format: RowFormat) -> Self {
        RowPrinter {
            format,
            zone: TimeZone::system(),
            has_head: false,
        }
    }

    /// The rows of some parts.
    pub fn page(&mut self, parts: &[HistoryPart]) -> String {
        let mut text = String::new();

        // The head comes once, whatever number of pages follows.
        let has_head = std::mem::replace(&mut self.has_head, true);

        if !has_head {
            text += &self.head();
        }

        for part in parts {
            let row = match self.format {
                RowFormat::Csv => csv_text(&values(part)),
                RowFormat::Json => json(part),
                RowFormat::Table => self.table_row(part),
            };

            text += &row;
        }

        text
    }

    fn head(&self) -> String {
        match self.format {
            RowFormat::Csv => {
                let names = COLUMNS.iter().map(|(name, _)| *name);
                let names: Vec<&str> = names.chain(DEFECT_COLUMNS).collect();

                csv_text(&names)
            }

            RowFormat::Json => String::new(),
            RowFormat::Table => format!(
                "{:<23} {:<10} {:>6}  {:<16} {:<9} {:<16} {}\n",
                "time", "camera", "seq", "part", "verdict", "recipe", "score, threshold or reason"
            ),
        }
    }

    fn table_row(&self, part: &HistoryPart) -> String {
        let row = &part.row;
        let at = row.captured_at.to_zoned_datetime(self.zone.clone());
        let part_id = row.part_id.as_deref().unwrap_or("-");

        // The widths are those of the head.
        let mut text = format!(
            "{} {:<10} {:>6}  {:<16} {:<9} {:<16} {}",
            at.strftime("%Y-%m-%d %H:%M:%S%.3f"),
            row.place(),
            row.seq,
            part_id,
            row.verdict.word(),
            row.recipe,
            judgement(row)
        );

        if part.late_verdict {
            text += "  (came late)";
        }

        if let Some(label) = &part.label {
            let word = label.label.as_deref().unwrap_or("note");

            // A person may give a note without a label, or a label alone.
            let note = label.note.as_deref();
            let note = note.map_or(String::new(), |note| format!(": {note}"));

            write!(text, "  [{word}{note}]").expect("to memory");
        }

        text.trim_end().to_owned() + "\n"
    }

    /// Some lines of the audit log.
    pub fn audit(&mut self, lines: &[AuditLine]) -> String {
        let mut text = String::new();
        let has_head = std::mem::replace(&mut self.has_head, true);

        if !has_head && self.format == RowFormat::Csv {
            text += &csv_text(&["at", "run_id", "what"]);
        }

        for line in lines {
            let row = match self.format {
                RowFormat::Csv => csv_text(&[&line.at, &line.run_id, &line.what]),
                RowFormat::Json => json(line),
                RowFormat::Table => format!("{}  {}\n", self.local(&line.at), line.what),
            };

            text += &row;
        }

        text
    }

    /// A time of the log by this machine's clock; as it stands where it is none.
    fn local(&self, at: &str) -> String {
        match at.parse::<jiff::Timestamp>() {
            Ok(moment) => {
                let zoned = moment.to_zoned_datetime(self.zone.clone());

                zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
            }

            Err(_) => at.to_owned(),
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain values") + "\n"
}

/// Score and threshold, or the reason of an undecided part.
fn judgement(row: &ResultRow) -> String {
    // The word of the reason is that of the message, so that a person can look it up.
    if row.verdict == Verdict::Undecided {
        let reason = row.reason.map_or("", |reason| reason.word());

        return match &row.detail {
            Some(detail) => format!("{reason}: {detail}"),
            None => reason.to_owned(),
        };
    }

    match (row.score, row.threshold) {
        (Some(score), Some(threshold)) => format!("{score:.4} of {threshold:.4}"),
        (Some(score), None) => format!("{score:.4}, no threshold"),
        (None, _) => String::new(),
    }
}

/// The values of a part, in the order of [`COLUMNS`] and [`DEFECT_COLUMNS`]. What is null in a message is empty.
fn values(part: &HistoryPart) -> Vec<String> {
    // By way of the text: a number has the digits that it has in a message.
    let text = json(part);
    let value: Value = serde_json::from_str(&text).expect("we wrote it");

    let mut cells = vec![];
    for (_, path) in COLUMNS {
        let found = value.pointer(path);
        cells.push(cell(found));
    }

    let of_defect = worst_defect(&part.row);
    cells.extend(of_defect);

    cells
}

/// The size of the worst defect; empty cells without one.
fn worst_defect(row: &ResultRow) -> [String; 4] {
    let mut cells: [String; 4] = Default::default();
    let Some(defect) = row.defects.first() else {
        return cells;
    };

    cells[0] = defect.w.to_string();
    cells[1] = defect.h.to_string();

    if let Some(scale) = row.mm_per_pixel {
        let [w, h] = defect.size_mm(scale);
        cells[2] = format!("{w:.3}");
        cells[3] = format!("{h:.3}");
    }

    cells
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// One line of comma-separated values. A spreadsheet takes none of its cells for a formula.
pub fn csv_text<T: AsRef<str>>(values: &[T]) -> String {
    // The crate quotes what has to be: commas, quotation marks and line ends within a value.
    let mut writer = csv::Writer::from_writer(vec![]);
    let cells = values.iter().map(|value| guarded(value.as_ref()));

    writer
        .write_record(cells.map(Cow::into_owned))
        .expect("to memory");
    let bytes = writer.into_inner().expect("to memory");

    String::from_utf8(bytes).expect("the values are text")
}

/// A cell with an apostrophe before what a spreadsheet would run as a formula (OWASP, CSV injection): a part's id or a note
/// may come from anybody. Numbers stay numbers.
fn guarded(cell: &str) -> Cow<'_, str> {
    let is_risky = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let is_number = cell.parse::<f64>().is_ok_and(f64::is_finite);

    match is_risky && !is_number {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for (cell, written) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("-inf", "'-inf"),
            ("-0.25", "-0.25"),
            ("-1e-5", "-1e-5"),
            ("+5", "+5"),
            ("A-77812", "A-77812"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(csv_text(&[cell, "z"]), format!("{written},z\n"));
        }
    }
}
