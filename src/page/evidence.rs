//! Pictures of kept parts, as the page reads them: beside its thread, because a folder on a share may hang.
//!
//! Bounds: [`READERS`] reads at once, and those of [`BlockingWork`].

use super::blocking::{BlockingWork, Busy};
use crate::evidence::facts::Facts;
use crate::evidence::kept::{EvidenceError, KeptPart};
use crate::evidence::name::{self, FACTS};
use crate::image::overlay::{HeatLayer, Overlay, marks, paint};
use crate::image::{jpeg_file, part_picture};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads of the folder at once.
const READERS: usize = 2;
/// Quality of the pictures, of 100.
const QUALITY: u8 = 85;

/// Reason why the folder was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// The line keeps none.
    #[error("this line keeps no pictures; give it a table [evidence] (docs/evidence.md)")]
    NoFolder,
    /// The folder hangs, or too many ask.
    #[error("the evidence folder does not answer; look again in a moment")]
    Busy,
}

/// The folder of a line's evidence, for the page.
#[derive(Clone)]
pub struct EvidenceReader {
    folder: Option<Arc<Path>>,
    reads: BlockingWork,
}

/// A kept part, by its run's end, its number, and the camera that saw it.
type KeptKey = (String, u64, String);

/// Stems of the parts that are kept.
#[derive(Debug, Default)]
pub struct KeptStems(HashMap<KeptKey, String>);

impl EvidenceReader {
    /// Reads that folder; `None` where the line keeps none.
    pub fn new(folder: Option<Arc<Path>>) -> Self {
        EvidenceReader {
            folder,
            reads: BlockingWork::new(READERS),
        }
    }

    /// True if the line keeps pictures.
    pub fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Looks at the folder on a thread that may wait.
    ///
    /// # Errors
    /// Where there is none, or it does not answer.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        let folder = self.folder.clone().ok_or(NotRead::NoFolder)?;
        let looked = self.reads.run(move || look(&folder)).await;
        looked.map_err(|_: Busy| NotRead::Busy)
    }
}

impl KeptStems {
    /// Lists the folder.
    ///
    /// # Errors
    /// When it cannot be read; a folder that is not there yet is empty.
    pub fn list(folder: &Path) -> io::Result<Self> {
        let mut stems = HashMap::new();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeptStems(stems)),
            entries => entries?,
        };

        for entry in entries {
            let file = entry?.file_name();
            let named = file.to_str().filter(|file| !file.starts_with('.'));
            let Some(named) = named.and_then(name::parse) else {
                continue;
            };

            if named.end == FACTS {
                let key = (named.run_end.to_owned(), named.seq, named.camera.to_owned());
                stems.insert(key, named.stem.to_owned());
            }
        }

        Ok(KeptStems(stems))
    }

    /// Stem of a part that is kept under one of its names: its camera, or those that saw it.
    pub fn of<'a>(
        &self,
        run_id: &str,
        seq: u64,
        mut cameras: impl Iterator<Item = &'a str>,
    ) -> Option<&str> {
        let run_end = name::run_end(run_id);
        let found = cameras.find_map(|camera| {
            let key = (run_end.clone(), seq, name::plain(camera));
            self.0.get(&key)
        });

        found.map(String::as_str)
    }
}

/// A stem that came with a request: it names a file of the folder, and none beyond.
pub fn checked_stem(stem: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_stem = stem.len() < 250 && stem.bytes().all(is_plain) && !stem.starts_with('.');

    let file = format!("{stem}{FACTS}");
    let is_named = name::parse(&file).is_some_and(|named| named.stem == stem);
    (is_stem && is_named).then_some(stem)
}

/// The camera's picture as a JPEG file of the size of [`heat`].
///
/// # Errors
/// When it is gone or damaged.
pub fn original(kept: &KeptPart) -> Result<Vec<u8>, EvidenceError> {
    let picture = kept.picture_as_kept()?;
    let overlay = Overlay::new(&picture, &[]);
    Ok(jpeg_file::encode(&overlay.original(), QUALITY))
}

/// The map over the grey picture as a JPEG file.
///
/// # Errors
/// When the picture is gone or damaged, or there is no map that lies over it.
pub fn heat(kept: &KeptPart) -> Result<Vec<u8>, EvidenceError> {
    let picture = kept.picture_as_kept()?;
    let facts: &Facts = &kept.facts;
    let found = facts.map.as_ref().filter(|_| facts.pose.is_none());
    let Some((map, area)) = found.map(|map| map.map()) else {
        return original(kept);
    };

    let scale = part_picture::scale_of(facts.score, facts.threshold, Some(&map));
    let layer = HeatLayer {
        map: &map,
        area,
        scale,
    };

    // Facts that a person changed may name a place beyond the picture.
    let is_inside = area.x + area.w <= picture.width() && area.y + area.h <= picture.height();
    if !is_inside {
        return original(kept);
    }

    let overlay = Overlay::new(&picture, &[layer]);
    let painted = marks::draw(paint::paint(&overlay), &overlay, &facts.defects);
    Ok(jpeg_file::encode(&painted, QUALITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stem_leads_to_nothing_beyond_the_folder() {
        let stem = "2026-11-28T20-36-02.557Z_top_000011_fail_A-77812_4QZK7M";
        assert_eq!(checked_stem(stem), Some(stem));
        for wrong in [
            "",
            "../../etc/passwd",
            "2026-11-28T20-36-02.557Z_top_000011_fail_.._/4QZK7M",
            "2026-11-28T20-36-02.557Z_top_000011_fail_A\\..\\b_4QZK7M",
            "2026-11-28T20-36-02.557Z_top_000011_fail_A-77812_4QZK7M_part",
            ".2026-11-28T20-36-02.557Z_top_000011_fail_A-77812_4QZK7M",
        ] {
            assert_eq!(checked_stem(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_hangs_is_told_from_none() {
        let place = tempfile::tempdir().expect("a folder");
        let mut reader = EvidenceReader::new(Some(place.path().into()));
        reader.reads = reader.reads.within(Duration::from_millis(50));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = reader.look(move |_| held.recv());
        assert_eq!(hung.await, Err(NotRead::Busy));
        drop(release);

        let none = EvidenceReader::new(None);
        assert_eq!(none.look(|_| ()).await, Err(NotRead::NoFolder));
    }
}
