//! Files that a browser takes away: made in memory, one at a time until it has been sent.

use super::state::Page;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::io::{Cursor, Write};
use tokio::sync::OwnedSemaphorePermit;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A refusal: its status, and words for the person.
pub type Refused = (StatusCode, String);

/// A place for a file that is sent. There is one, until it has been: files are large, and a slow browser keeps its own.
pub type Place = OwnedSemaphorePermit;

/// A file that is sent, and the place that it takes until it is.
pub struct Download {
    bytes: Vec<u8>,
    _place: Place,
}

impl AsRef<[u8]> for Download {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes the place.
///
/// # Errors
/// Where another file has it.
pub fn place(page: &Page) -> Result<Place, Refused> {
    let place = page.exports.clone().try_acquire_owned();
    let words = "another file is being sent; try again when it has been";
    let refused = |_| (StatusCode::SERVICE_UNAVAILABLE, words.to_owned());

    place.map_err(refused)
}

/// The refusal of a file that could not be made.
pub fn not_made(why: impl std::fmt::Display) -> Refused {
    let words = format!("the file cannot be made: {why}");

    (StatusCode::INTERNAL_SERVER_ERROR, words)
}

impl Download {
    /// These bytes, in that place.
    pub fn new(bytes: Vec<u8>, place: Place) -> Self {
        Download {
            bytes,
            _place: place,
        }
    }

    /// The answer that the browser keeps under that name: ASCII without quotes.
    pub fn sent(self, kind: &'static str, name: &str) -> Response {
        let disposition = format!("attachment; filename=\"{name}\"");
        let headers = [
            (CONTENT_TYPE, kind.to_owned()),
            (CONTENT_DISPOSITION, disposition),
        ];

        (headers, Body::from(Bytes::from_owner(self))).into_response()
    }
}

/// A ZIP file that grows in memory.
pub struct Archive {
    writer: ZipWriter<Cursor<Vec<u8>>>,
    options: SimpleFileOptions,
}

impl Archive {
    /// An empty one. Pictures are packed already, and texts are few: what it takes is stored as it is.
    pub fn new() -> Self {
        Archive {
            writer: ZipWriter::new(Cursor::new(vec![])),
            options: SimpleFileOptions::default().compression_method(CompressionMethod::Stored),
        }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> zip::result::ZipResult<()> {
        self.writer.start_file(name, self.options)?;
        self.writer.write_all(bytes)?;

        Ok(())
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn finish(self) -> zip::result::ZipResult<Vec<u8>> {
        Ok(self.writer.finish()?.into_inner())
    }
}
