//! Parts and lines of the audit log as rows: for a person, comma-separated, or as JSON.

use crate::data::history::{AuditLine, HistoryPart};
use crate::data::result::{ResultRow, rfc3339};
use crate::data::verdict::Verdict;
use jiff::tz::TimeZone;
use std::fmt::{Display, Write};

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

/// Columns of a part, with the names of the keys that they have in a message.
const COLUMNS: [&str; 31] = [
    "captured_at",
    "run_id",
    "station",
    "camera",
    "region",
    "seq",
    "part_id",
    "verdict",
    "reject",
    "score",
    "threshold",
    "margin",
    "reason",
    "detail",
    "recipe",
    "model",
    "backend",
    "captured_by",
    "frame_offset_ms",
    "total_ms",
    "deadline_ms",
    "deadline_met",
    "reject_in_ms",
    "reject_at_count",
    "count",
    "position",
    "challenge",
    "late_verdict",
    "label",
    "note",
    "labelled_by",
];

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
        if !std::mem::replace(&mut self.has_head, true) {
            text += &self.head();
        }

        for part in parts {
            text += &match self.format {
                RowFormat::Csv => csv_text(&values(part)),
                RowFormat::Json => json(part),
                RowFormat::Table => self.table_row(part),
            };
        }

        text
    }

    fn head(&self) -> String {
        match self.format {
            RowFormat::Csv => csv_text(&COLUMNS),
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
        let mut text = format!(
            "{} {:<10} {:>6}  {:<16} {:<9} {:<16} {}",
            at.strftime("%Y-%m-%d %H:%M:%S%.3f"),
            row.place(),
            row.seq,
            row.part_id.as_deref().unwrap_or("-"),
            row.verdict.word(),
            row.recipe,
            judgement(row)
        );

        if part.late_verdict {
            text += "  (came late)";
        }

        if let Some(label) = &part.label {
            let word = label.label.as_deref().unwrap_or("note");
            let note = label
                .note
                .as_deref()
                .map_or(String::new(), |note| format!(": {note}"));
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
            text += &match self.format {
                RowFormat::Csv => csv_text(&[&line.at, &line.run_id, &line.what]),
                RowFormat::Json => json(line),
                RowFormat::Table => format!("{}  {}\n", self.local(&line.at), line.what),
            };
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

/// The values of a part, in the order of [`COLUMNS`]. What is null in a message is empty.
fn values(part: &HistoryPart) -> [String; COLUMNS.len()] {
    let row = &part.row;
    let reason = row.reason.map_or("", |reason| reason.word());
    let label = part.label.as_ref();
    let word_of_label = label.and_then(|label| label.label.as_ref());
    let note = label.and_then(|label| label.note.as_ref());
    let who = label.map(|label| &label.who);
    [
        // The part.
        rfc3339(row.captured_at),
        row.run_id.clone(),
        row.station.clone(),
        row.camera.clone(),
        text(row.region.as_ref()),
        row.seq.to_string(),
        text(row.part_id.as_ref()),
        // How it was judged, and by what.
        row.verdict.word().to_owned(),
        row.reject.to_string(),
        number(row.score),
        number(row.threshold),
        number(row.margin),
        reason.to_owned(),
        text(row.detail.as_ref()),
        row.recipe.clone(),
        row.model.clone(),
        row.backend.clone(),
        // Its times, and those of its reject.
        word(&row.captured_by),
        text(row.frame_offset_ms),
        number(Some(row.latency_ms.total)),
        row.deadline_ms.to_string(),
        row.deadline_met.to_string(),
        number(row.reject_in_ms),
        text(row.reject_at_count),
        // What its sender and people say of it.
        text(row.count),
        number(row.position),
        text(row.challenge.as_ref()),
        part.late_verdict.to_string(),
        text(word_of_label),
        text(note),
        text(who),
    ]
}

fn text(value: Option<impl Display>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// A number as a message has it, to the last digit.
fn number(value: Option<impl serde::Serialize>) -> String {
    value.map_or(String::new(), |value| word(&value))
}

/// A value as a message has it, without quotation marks.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string(value).expect("plain values");
    json.trim_matches('"').to_owned()
}

/// One line of comma-separated values.
pub fn csv_text<T: AsRef<[u8]>>(values: &[T]) -> String {
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(values).expect("to memory");
    let bytes = writer.into_inner().expect("to memory");

    String::from_utf8(bytes).expect("the values are text")
}
