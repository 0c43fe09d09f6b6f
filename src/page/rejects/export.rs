//! What a person takes away of the list: the parts as CSV, and their files as ZIP.
//!
//! Bounds: [`ROWS_MAX`] rows, [`ZIP_PARTS`] parts of [`ZIP_BYTES`] together, and one file at a time until it has been sent.
//! What does not fit is told in the file itself.

use super::filter::Filter;
use super::list::{stem_of, stems};
use crate::data::history::{HistoryPage, HistoryPart};
use crate::data::history_rows::{RowFormat, RowPrinter, csv_text};
use crate::page::access::Viewer;
use crate::page::download::{Archive, Download, Refused, not_made, place};
use crate::page::evidence::NotRead;
use crate::page::form_page::refusal;
use crate::page::search;
use crate::page::state::Page;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::path::Path;

/// Rows of a CSV file at most; `winspect history --csv` has no bound.
const ROWS_MAX: usize = 20_000;
/// Parts of a ZIP file at most.
const ZIP_PARTS: usize = 200;
/// Bytes of a ZIP file at most, which are in memory.
const ZIP_BYTES: usize = 64 << 20;
/// Ends of the names of a part's files.
const ENDS: [&str; 4] = [".png", ".jpg", ".json", "_part.jpg"];

/// `GET /rejects/parts.csv`.
pub async fn csv(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    match export(&page, query.as_deref(), ROWS_MAX).await {
        Ok(export) => export.sent("text/csv; charset=utf-8", "parts.csv"),
        Err((status, words)) => refusal(&page, viewer, status, words),
    }
}

/// `GET /rejects/parts.zip`.
pub async fn zip(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    match packed_export(&page, query.as_deref()).await {
        Ok(export) => export.sent("application/zip", "parts.zip"),
        Err((status, words)) => refusal(&page, viewer, status, words),
    }
}

async fn export(page: &Page, query: Option<&str>, rows: usize) -> Result<Download, Refused> {
    let place = place(page)?;
    let found = wanted(page, query, rows).await?;
    let printed = tokio::task::spawn_blocking(move || printed(&found));

    let text = printed.await.map_err(not_made)?;

    Ok(Download::new(text.into_bytes(), place))
}

async fn packed_export(page: &Page, query: Option<&str>) -> Result<Download, Refused> {
    let place = place(page)?;
    let found = wanted(page, query, ZIP_PARTS).await?;
    let (stems, missing) = stems(page).await;

    if let Some(words) = missing {
        return Err((StatusCode::NOT_FOUND, words));
    }

    let of_part = |part: &HistoryPart| stem_of(&part.row, &stems).map(str::to_owned);
    let kept: Vec<String> = found.parts.iter().filter_map(of_part).collect();
    let packed = page.evidence.look(move |folder| {
        let rows = printed(&found);
        packed(folder, &kept, &rows, lacks(&found))
    });

    let busy = |why: NotRead| (StatusCode::SERVICE_UNAVAILABLE, why.to_string());
    let bytes = packed.await.map_err(busy)?.map_err(not_made)?;

    Ok(Download::new(bytes, place))
}

async fn wanted(page: &Page, query: Option<&str>, rows: usize) -> Result<HistoryPage, Refused> {
    let query = Filter::of_query(query).and_then(|filter| filter.query());
    let query = query.map_err(|words| (StatusCode::BAD_REQUEST, words))?;
    let found = search::parts(&page.store, query, rows).await;

    found.map_err(|words| (StatusCode::SERVICE_UNAVAILABLE, words))
}

/// What a file lacks, in words.
fn lacks(found: &HistoryPage) -> Option<String> {
    let mut lacks = vec![];

    if found.next.is_some() {
        lacks.push(
            "there are older parts that fit, which are not here; winspect history has no bound"
                .to_owned(),
        );
    }

    if found.unreadable > 0 {
        lacks.push(format!("{} parts cannot be read", found.unreadable));
    }

    if found.lacks_old_parts {
        lacks.push("parts of before an upgrade are still being taken in".to_owned());
    }

    (!lacks.is_empty()).then(|| lacks.join("; "))
}

/// The rows; what they lack is the last one.
fn printed(found: &HistoryPage) -> String {
    let mut text = RowPrinter::new(RowFormat::Csv).page(&found.parts);

    if let Some(words) = lacks(found) {
        text += &csv_text(&[format!("not all: {words}").as_str()]);
    }

    text
}

/// The files of these parts and their rows; those of the first parts, where not all have room.
fn packed(
    folder: &Path,
    stems: &[String],
    rows: &str,
    lacks: Option<String>,
) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = Archive::new();
    archive.add("parts.csv", rows.as_bytes())?;

    let mut room = ZIP_BYTES;
    let mut left_out = 0;

    for stem in stems {
        let files = files_of(folder, stem);
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();

        if bytes > room {
            left_out += 1;
            continue;
        }

        room -= bytes;
        for (name, bytes) in files {
            archive.add(&name, &bytes)?;
        }
    }

    let mut words = lacks.map_or(String::new(), |lacks| format!("Not all: {lacks}.\n"));
    if left_out > 0 {
        words += &format!(
            "The pictures of {left_out} of {} parts are not here: a file has at most {} MB. Filter for fewer.\n",
            stems.len(),
            ZIP_BYTES >> 20
        );
    }

    if !words.is_empty() {
        archive.add("LEFT-OUT.txt", words.as_bytes())?;
    }

    archive.finish()
}

/// The files of a part that are there; one that is pruned meanwhile is left out.
fn files_of(folder: &Path, stem: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![];

    for end in ENDS {
        let name = format!("{stem}{end}");

        if let Ok(bytes) = std::fs::read(folder.join(&name)) {
            files.push((name, bytes));
        }
    }

    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::ZipArchive;

    #[test]
    fn a_file_that_is_full_says_what_it_lacks() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path();
        let half = vec![1; ZIP_BYTES / 2];
        std::fs::write(folder.join("a.png"), &half).expect("written");
        std::fs::write(folder.join("a.json"), b"{}").expect("written");
        std::fs::write(folder.join("b.png"), &half).expect("written");
        let stems = ["a".to_owned(), "b".to_owned(), "gone".to_owned()];
        let bytes = packed(folder, &stems, "seq\n", None).expect("packed");
        let archive = ZipArchive::new(Cursor::new(bytes)).expect("a ZIP file");
        let mut names: Vec<&str> = archive.file_names().collect();
        names.sort_unstable();
        assert_eq!(names, ["LEFT-OUT.txt", "a.json", "a.png", "parts.csv"]);
    }
}
