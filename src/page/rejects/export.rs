//! What a person takes away of the list: the parts as CSV, and their files as ZIP.
//!
//! Bounds: [`ROWS_MAX`] rows, [`ZIP_PARTS`] parts of [`ZIP_BYTES`] together, and one ZIP at a time, by the readers of the
//! evidence. What does not fit is told in the file itself.

use super::filter::Filter;
use super::list::{stem_of, stems};
use crate::data::history::HistoryPart;
use crate::data::history_rows::{RowFormat, RowPrinter};
use crate::page::access::Viewer;
use crate::page::form_page::refusal;
use crate::page::search;
use crate::page::state::Page;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::io::{Cursor, Write};
use std::path::Path;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

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
    let found = match wanted(&page, query.as_deref(), ROWS_MAX).await {
        Ok(found) => found,
        Err((status, words)) => return refusal(&page, viewer, status, words),
    };

    let mut printer = RowPrinter::new(RowFormat::Csv);
    let text = printer.page(&found);
    file("text/csv; charset=utf-8", "parts.csv", text.into_bytes())
}

/// `GET /rejects/parts.zip`.
pub async fn zip(State(page): State<Page>, viewer: Viewer, RawQuery(query): RawQuery) -> Response {
    let found = match wanted(&page, query.as_deref(), ZIP_PARTS).await {
        Ok(found) => found,
        Err((status, words)) => return refusal(&page, viewer, status, words),
    };

    let (stems, missing) = stems(&page).await;
    if let Some(words) = missing {
        return refusal(&page, viewer, StatusCode::NOT_FOUND, words);
    }

    let of_part = |part: &HistoryPart| stem_of(&part.row, &stems).map(str::to_owned);
    let kept: Vec<String> = found.iter().filter_map(of_part).collect();
    let rows = RowPrinter::new(RowFormat::Csv).page(&found);

    let packed = page
        .evidence
        .look(move |folder| packed(folder, &kept, &rows));

    match packed.await {
        Ok(Ok(bytes)) => file("application/zip", "parts.zip", bytes),
        Ok(Err(error)) => {
            let words = format!("the file cannot be made: {error}");
            refusal(&page, viewer, StatusCode::INTERNAL_SERVER_ERROR, words)
        }
        Err(why) => refusal(
            &page,
            viewer,
            StatusCode::SERVICE_UNAVAILABLE,
            why.to_string(),
        ),
    }
}

async fn wanted(
    page: &Page,
    query: Option<&str>,
    rows: usize,
) -> Result<Vec<HistoryPart>, (StatusCode, String)> {
    let query = Filter::of_query(query).and_then(|filter| filter.query());
    let query = query.map_err(|words| (StatusCode::BAD_REQUEST, words))?;
    let found = search::parts(&page.store, query, rows).await;
    let found = found.map_err(|words| (StatusCode::SERVICE_UNAVAILABLE, words))?;
    Ok(found.parts)
}

fn file(kind: &'static str, name: &'static str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}

/// The files of these parts and their rows; those of the first parts, where not all have room.
fn packed(folder: &Path, stems: &[String], rows: &str) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    // Pictures are packed already.
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("parts.csv", stored)?;
    archive.write_all(rows.as_bytes())?;

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
            archive.start_file(name, stored)?;
            archive.write_all(&bytes)?;
        }
    }

    if left_out > 0 {
        let words = format!(
            "The pictures of {left_out} of {} parts are not here: a file has at most {} MB. Filter for fewer.\n",
            stems.len(),
            ZIP_BYTES >> 20
        );

        archive.start_file("LEFT-OUT.txt", stored)?;
        archive.write_all(words.as_bytes())?;
    }

    Ok(archive.finish()?.into_inner())
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
        let bytes = packed(folder, &stems, "seq\n").expect("packed");
        let archive = ZipArchive::new(Cursor::new(bytes)).expect("a ZIP file");
        let mut names: Vec<&str> = archive.file_names().collect();
        names.sort_unstable();
        assert_eq!(names, ["LEFT-OUT.txt", "a.json", "a.png", "parts.csv"]);
    }
}
