//! The list of parts, with their small pictures.

use super::filter::Filter;
use crate::data::history::{HistoryPage, HistoryPart};
use crate::data::result::ResultRow;
use crate::data::verdict::{Reason, Verdict};
use crate::page::access::Viewer;
use crate::page::evidence::KeptStems;
use crate::page::form_page::{Layout, answer, refusal};
use crate::page::search;
use crate::page::state::Page;
use crate::page::words::{Mark, local_time, mark, reason_sentence, verdict_mark};
use crate::protocol::event::PartResult;
use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

/// Parts on a screen.
const SHOWN: usize = 24;
/// Presets of the time from which parts are shown, and their words.
const SPANS: [(&str, &str); 4] = [
    ("1h", "last hour"),
    ("8h", "last 8 hours"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
];

#[derive(Template)]
#[template(path = "rejects/list.html")]
struct ListScreen {
    layout: Layout,
    filter: Filter,
    /// Presets: words, address, and whether it is the one that is shown.
    spans: Vec<(&'static str, String, bool)>,
    cameras: Vec<String>,
    verdicts: [&'static str; 3],
    reasons: Vec<&'static str>,
    labels: [&'static str; 5],
    parts: Vec<PartCard>,
    /// Address of older parts.
    older: Option<String>,
    csv: String,
    zip: String,
    /// What the list lacks, in words.
    lacks: Vec<String>,
}

/// A part in the list.
struct PartCard {
    address: String,
    picture: Option<String>,
    mark: Mark,
    name: String,
    place: String,
    time: String,
    reason: String,
    label: Option<Mark>,
}

/// The mark of a person's word on a part.
pub fn label_mark(word: &str) -> Mark {
    match word {
        "good" => mark("good", "✓", "labelled good"),
        "false_reject" => mark("good", "↺", "false reject"),
        "bad" | "really_bad" => mark("bad", "✕", "really bad"),
        "not_sure" => mark("doubt", "?", "not sure"),
        _ => mark("calm", "✎", "note"),
    }
}

/// Address of a part's own screen.
pub fn part_address(row: &ResultRow) -> String {
    let camera =
        percent_encoding::utf8_percent_encode(&row.camera, percent_encoding::NON_ALPHANUMERIC);
    format!("/rejects/part/{}/{camera}/{}", row.run_id, row.seq)
}

/// Why a part has its verdict, as one sentence.
pub fn why(row: &ResultRow) -> String {
    reason_sentence(&PartResult::of(row))
}

/// `GET /rejects`.
pub async fn show(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    let asked = Filter::of_query(query.as_deref());
    let asked = asked.and_then(|filter| filter.query().map(|query| (filter, query)));
    let (filter, query) = match asked {
        Ok(asked) => asked,
        Err(words) => return refusal(&page, viewer, StatusCode::BAD_REQUEST, words),
    };

    let found = match search::parts(&page.store, query, SHOWN).await {
        Ok(found) => found,
        Err(words) => return refusal(&page, viewer, StatusCode::SERVICE_UNAVAILABLE, words),
    };

    // A list without pictures is better than none.
    let (stems, missing) = stems(&page).await;
    let mut lacks = lacks(&found);
    lacks.extend(missing);

    let screen = ListScreen {
        spans: spans(&filter),
        cameras: page.now().cameras.into_keys().collect(),
        verdicts: ["fail", "undecided", "pass"],
        reasons: Reason::ALL.iter().map(|reason| reason.word()).collect(),
        labels: ["false_reject", "really_bad", "not_sure", "good", "bad"],
        parts: found.parts.iter().map(|part| card(part, &stems)).collect(),
        older: found
            .next
            .map(|next| filter.address("/rejects", Some(next))),
        csv: filter.address("/rejects/parts.csv", None),
        zip: filter.address("/rejects/parts.zip", None),
        lacks,
        layout: Layout::new(&page, viewer, "Rejects"),
        filter,
    };

    answer(StatusCode::OK, &screen)
}

/// Stems of the kept parts, or why there are none.
pub async fn stems(page: &Page) -> (KeptStems, Option<String>) {
    let listed = page.evidence.look(KeptStems::list).await;
    let listed = listed.map_err(|why| why.to_string());
    let listed = listed.and_then(|listed| {
        listed.map_err(|error| format!("the evidence folder cannot be read: {error}"))
    });

    match listed {
        Ok(stems) => (stems, None),
        Err(words) => (KeptStems::default(), Some(words)),
    }
}

fn lacks(found: &HistoryPage) -> Vec<String> {
    let mut lacks = vec![];

    if found.unreadable > 0 {
        lacks.push(format!(
            "{} parts cannot be read and are left out.",
            found.unreadable
        ));
    }

    if found.lacks_old_parts {
        lacks.push("Parts of before an upgrade are still being taken in.".to_owned());
    }

    lacks
}

fn spans(filter: &Filter) -> Vec<(&'static str, String, bool)> {
    let span = |(since, words): (&str, &'static str)| {
        let other = Filter {
            since: since.to_owned(),
            until: String::new(),
            ..filter.clone()
        };

        (
            words,
            other.address("/rejects", None),
            filter.since == since,
        )
    };

    SPANS.map(span).into()
}

fn card(part: &HistoryPart, stems: &KeptStems) -> PartCard {
    let row = &part.row;
    let stem = stem_of(row, stems);
    let label = part.label.as_ref();
    PartCard {
        address: part_address(row),
        picture: stem.map(|stem| format!("/evidence/{stem}/small.jpg")),
        mark: verdict_mark(row.verdict),
        name: name(row),
        place: row.place(),
        time: local_time(row.captured_at),
        reason: why(row),
        label: label.map(|label| label_mark(label.label.as_deref().unwrap_or_default())),
    }
}

/// Stem of a part that is kept.
pub fn stem_of<'a>(row: &ResultRow, stems: &'a KeptStems) -> Option<&'a str> {
    let views = row.views.iter().map(|view| view.camera.as_str());

    // The view that failed is the one to look at.
    let failed = row
        .views
        .iter()
        .filter(|view| view.verdict == Verdict::Fail)
        .map(|view| view.camera.as_str());

    let names = failed.chain([row.camera.as_str()]).chain(views);
    stems.of(&row.run_id, row.seq, names)
}

/// Name of a part for people: the line's own, and its number.
pub fn name(row: &ResultRow) -> String {
    match &row.part_id {
        Some(id) => format!("{id} (no. {})", row.seq),
        None => format!("no. {}", row.seq),
    }
}
