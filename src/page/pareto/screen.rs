//! The screen, and its rows as CSV.

use super::counted::{Counted, Pareto, Wanted};
use crate::data::history_rows::{RowFormat, csv_text};
use crate::data::statistics::{CountedBy, Statistic, shown};
use crate::data::verdict::Verdict;
use crate::page::access::Viewer;
use crate::page::download::{Download, Refused, place};
use crate::page::form_page::{Layout, answer, refusal};
use crate::page::rejects::filter::Filter;
use crate::page::state::Page;
use crate::page::words::percent;
use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

/// Address of the screen.
pub const ADDRESS: &str = "/counters/pareto";
/// Address of the rows as CSV.
pub const CSV: &str = "/counters/pareto.csv";
/// What the table counts by.
const TABLES: [CountedBy; 4] = [
    CountedBy::Shift,
    CountedBy::Day,
    CountedBy::Recipe,
    CountedBy::Camera,
];
/// Presets of the time from which parts are counted, and their words.
const SPANS: [(&str, &str); 4] = [
    ("8h", "last 8 hours"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
    ("", "all that is kept"),
];

#[derive(Template)]
#[template(path = "pareto/screen.html")]
struct ParetoScreen {
    layout: Layout,
    filter: Filter,
    shifts: String,
    spans: Vec<(&'static str, String, bool)>,
    cameras: Vec<String>,
    tables: [CountedBy; 4],
    by: CountedBy,
    paretos: [ParetoTable; 2],
    rows: Vec<TableRow>,
    csv: String,
    lacks: Vec<&'static str>,
}

/// A pareto with its words.
struct ParetoTable {
    id: &'static str,
    title: &'static str,
    column: &'static str,
    none: &'static str,
    pareto: Pareto,
    csv: String,
}

/// A row of the table.
struct TableRow {
    counts: Statistic,
    pass_share: String,
}

/// `GET /counters/pareto`.
pub async fn show(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::of_query(query.as_deref()) {
        Ok(wanted) => wanted,
        Err(words) => return refusal(&page, viewer, StatusCode::BAD_REQUEST, words),
    };

    // Together: each has its own time.
    let counted = tokio::try_join!(
        wanted.count_of(&page, CountedBy::Place, Some(Verdict::Fail)),
        wanted.count_of(&page, CountedBy::Reason, Some(Verdict::Undecided)),
        wanted.count(&page, wanted.by),
    );

    let (places, reasons, table) = match counted {
        Ok(counted) => counted,
        Err(words) => return refusal(&page, viewer, StatusCode::SERVICE_UNAVAILABLE, words),
    };

    let mut lacks: Vec<&'static str> = vec![];

    for counted in [&places, &reasons, &table] {
        lacks.extend(counted.lacks.filter(|words| !lacks.contains(words)));
    }

    let screen = ParetoScreen {
        layout: Layout::new(&page, viewer, "Counters"),
        spans: spans(&wanted),
        cameras: page.part_cameras(),
        tables: TABLES,
        by: wanted.by,
        paretos: paretos(&wanted, &places, &reasons),
        rows: table.rows.into_iter().map(row).collect(),
        csv: wanted.address(CSV, wanted.by),
        lacks,
        shifts: wanted.shifts,
        filter: wanted.filter,
    };

    answer(StatusCode::OK, &screen)
}

/// `GET /counters/pareto.csv`.
pub async fn csv(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    match export(&page, query.as_deref()).await {
        Ok((export, name)) => export.sent("text/csv; charset=utf-8", &name),
        Err((status, words)) => refusal(&page, viewer, status, words),
    }
}

/// The counts that are asked for as CSV, and the name of the file.
async fn export(page: &Page, query: Option<&str>) -> Result<(Download, String), Refused> {
    let place = place(page)?;
    let wanted = Wanted::of_query(query);
    let wanted = wanted.map_err(|words| (StatusCode::BAD_REQUEST, words))?;

    let counted = wanted.count(page, wanted.by).await;
    let counted = counted.map_err(|words| (StatusCode::SERVICE_UNAVAILABLE, words))?;

    // What is not among them is the last row.
    let mut text = shown(&counted.rows, wanted.by, RowFormat::Csv);

    if let Some(words) = counted.lacks {
        text += &csv_text(&[words]);
    }

    let name = format!("{}.csv", wanted.by.word());

    Ok((Download::new(text.into_bytes(), place), name))
}

fn paretos(wanted: &Wanted, places: &Counted, reasons: &Counted) -> [ParetoTable; 2] {
    [
        ParetoTable {
            id: "places",
            title: "Where failed parts fail",
            column: "place",
            none: "No part failed.",
            pareto: Pareto::of(&places.rows, |row| row.fail, "no place known"),
            csv: wanted.address(CSV, CountedBy::Place),
        },
        ParetoTable {
            id: "reasons",
            title: "Why parts are undecided",
            column: "reason",
            none: "No part is undecided.",
            pareto: Pareto::of(&reasons.rows, |row| row.undecided, "no reason known"),
            csv: wanted.address(CSV, CountedBy::Reason),
        },
    ]
}

fn row(counts: Statistic) -> TableRow {
    TableRow {
        pass_share: percent(counts.yielded),
        counts,
    }
}

/// The presets: words, address, and whether it is the one that is shown.
fn spans(wanted: &Wanted) -> Vec<(&'static str, String, bool)> {
    let mut spans = vec![];

    for (since, words) in SPANS {
        let filter = Filter {
            since: since.to_owned(),
            until: String::new(),
            ..wanted.filter.clone()
        };

        let is_here = filter == wanted.filter;
        spans.push((
            words,
            wanted.with(filter).address(ADDRESS, wanted.by),
            is_here,
        ));
    }

    spans
}
