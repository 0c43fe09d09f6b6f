//! A bundle for people who help from afar: what the line is, how it is, and what was done, in one ZIP file. It holds no
//! secret, no user's password and no picture.
//!
//! Bounds: those of [`bundle`], and one file at a time until it has been sent.

pub mod bundle;

use self::bundle::{AUDIT_MAX, README, machine, packed, store_sizes, threads};
use crate::data::evidence_counts::EvidenceFigures;
use crate::data::history::{AuditLine, AuditQuery};
use crate::data::history_rows::{RowFormat, RowPrinter};
use crate::page::access::{Right, Viewer};
use crate::page::board::EventWords;
use crate::page::download::{Download, Refused, not_made, place};
use crate::page::form_page::refusal;
use crate::page::metrics;
use crate::page::search;
use crate::page::state::Page;
use crate::store::{Search, SearchPage};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::fmt::Write;
use std::path::Path;

/// Address of the bundle.
pub const ADDRESS: &str = "/health/support.zip";
/// `GET /health/support.zip`.
pub async fn send(State(page): State<Page>, viewer: Viewer) -> Response {
    // It tells more of the machine than any screen.
    let who = match (viewer.hindrance(Right::SetUp), &viewer.actor) {
        (None, Some(actor)) => actor.who(),
        (words, _) => {
            let words = words.unwrap_or_default();

            return refusal(&page, viewer, StatusCode::FORBIDDEN, words);
        }
    };

    match made(&page).await {
        Ok(bundle) => {
            page.access
                .note(format!("bundle for support made for {who}"));
            let day = Timestamp::now().strftime("%Y-%m-%d");

            bundle.sent("application/zip", &format!("winspect-support-{day}.zip"))
        }

        Err((status, words)) => refusal(&page, viewer, status, words),
    }
}

async fn made(page: &Page) -> Result<Download, Refused> {
    let place = place(page)?;
    let mut texts = vec![
        ("README.txt", README.to_owned()),
        ("version.txt", version(page)),
        ("configuration.txt", configuration(page)),
        ("status.json", (page.facts.status)()),
        ("events.txt", events(&page.events())),
        (
            "metrics.txt",
            metrics::encode(page.readings()).map_err(not_made)?,
        ),
        ("audit.csv", audit(page).await),
        ("shift-checks.json", checks(page)),
    ];

    texts.push(("sizes.txt", sizes(page).await));

    // Files of /proc never hang; packing takes its time beside this thread.
    let packed = tokio::task::spawn_blocking(move || {
        texts.push(("threads.txt", threads(Path::new("/proc/self/task"))));
        packed(&texts)
    });

    let bytes = packed.await.map_err(not_made)?.map_err(not_made)?;

    Ok(Download::new(bytes, place))
}

fn version(page: &Page) -> String {
    let now = page.now();
    let identity = &now.identity;
    let device = &identity.device;

    let facts = [
        ("winspect", identity.version.to_owned()),
        ("line", format!("{}/{}", identity.prefix, identity.station)),
        ("run", identity.run_id.clone()),
        ("recipe", identity.recipe.clone()),
        ("model", identity.model.clone()),
        ("backend", format!("{} on {device}", identity.backend)),
        ("made at", Timestamp::now().to_string()),
    ];

    let facts = facts.map(|(name, value)| format!("{name}: {value}\n"));

    facts.concat() + &machine()
}

fn configuration(page: &Page) -> String {
    let mut text = format!("# {}\n", page.facts.line.display());

    for line in (page.facts.configuration)() {
        text += &line;
        text.push('\n');
    }

    text
}

fn events(events: &[EventWords]) -> String {
    let mut text = String::new();

    for event in events {
        let EventWords { at, mark, words } = event;
        writeln!(text, "{at:.3} {} {words}", mark.word).expect("to memory");
    }

    text
}

fn checks(page: &Page) -> String {
    let checks = page.checks(20);

    serde_json::to_string_pretty(&checks).expect("plain values")
}

/// The last lines of the audit log; the reason in their place where the store does not answer.
async fn audit(page: &Page) -> String {
    let mut query = AuditQuery::default();
    let mut lines: Vec<AuditLine> = vec![];

    while lines.len() < AUDIT_MAX {
        let found = match search::step(&page.store, Search::Audit(query.clone())).await {
            Ok(SearchPage::Audit(found)) => found,
            Ok(_) => return "the store answers another question\n".to_owned(),
            Err(words) => return format!("{words}\n"),
        };

        lines.extend(found.lines);
        query.before = found.next;

        if found.next.is_none() {
            break;
        }
    }

    lines.truncate(AUDIT_MAX);

    RowPrinter::new(RowFormat::Csv).audit(&lines)
}

/// Sizes of the files; the reason in their place where a disk does not answer.
async fn sizes(page: &Page) -> String {
    let room = page.readings().disk;
    let room = room.map_or("disk of the store: it does not say\n".to_owned(), |room| {
        format!(
            "disk of the store: {} bytes free of {}\n",
            room.free, room.size
        )
    });

    let store = page.facts.store.clone();
    let store = page.sizes.run(move || store_sizes(&store)).await;
    let store = store.unwrap_or("store: its disk does not answer\n".to_owned());

    room + &store + &evidence(page)
}

/// Size of the evidence by the line's own count: listing a full folder would hold up who looks at pictures for minutes.
fn evidence(page: &Page) -> String {
    match page.now().evidence {
        Some(EvidenceFigures {
            bytes,
            waiting_bytes,
            ..
        }) => {
            format!("evidence: {bytes} bytes kept, {waiting_bytes} bytes on their way\n")
        }

        None => "evidence: this line keeps no pictures\n".to_owned(),
    }
}
