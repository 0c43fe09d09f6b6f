//! Kept parts are found by their key and read back: for a page, for a label, to be judged again.

use super::facts::{Facts, FactsError, PictureFacts};
use super::name::{self, FACTS, PART_PICTURE, SMALL_PICTURE};
use crate::data::picture::Picture;
use crate::image::file;
use std::io;
use std::path::{Path, PathBuf};

/// A part that was found.
#[derive(Debug, Clone)]
pub struct KeptPart {
    /// The folder that it lies in.
    folder: PathBuf,
    /// Stem of the names of its files.
    pub stem: String,
    /// The facts.
    pub facts: Facts,
}

/// Reason why a part cannot be found or read back.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The folder cannot be read.
    #[error("the evidence in {folder} cannot be read: {error}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Its fault.
        error: io::Error,
    },
    /// The part is not kept.
    #[error(
        "part {part} is not among the evidence in {folder}: it was not kept, or had to make room"
    )]
    NotKept {
        /// `run/camera/seq`
        part: String,
        /// The folder.
        folder: PathBuf,
    },
    /// Several cameras saw the part.
    #[error("several cameras saw part {part}; name one of {cameras}")]
    Several {
        /// `run/camera/seq`
        part: String,
        /// The cameras.
        cameras: String,
    },
    /// Facts that are not this program's.
    #[error("{file} {words}")]
    Facts {
        /// The file.
        file: PathBuf,
        /// Their fault.
        words: String,
    },
    /// Facts of a later version.
    #[error("{file} {words}")]
    LaterFacts {
        /// The file.
        file: PathBuf,
        /// Both versions.
        words: String,
    },
    /// There is no picture of the part.
    #[error("no picture of part {part} came ({words}), so that there is none to use")]
    NoPicture {
        /// `run/camera/seq`
        part: String,
        /// Reason of the verdict.
        words: String,
    },
    /// The picture is not the camera's any more.
    #[error(
        "the picture of part {part} was kept as JPEG, which is not the camera's picture bit for bit; set evidence.format to \"png\" for the next parts"
    )]
    Lossy {
        /// `run/camera/seq`
        part: String,
    },
    /// The picture's file is damaged or gone.
    #[error("the picture of part {part} cannot be read: {words}")]
    Picture {
        /// `run/camera/seq`
        part: String,
        /// Its fault.
        words: String,
    },
}

/// Finds a part by its key; `camera` is the part's, or the one that saw it.
///
/// # Errors
/// When it is not kept, or several cameras saw it and none is named.
pub fn find(
    folder: &Path,
    run_id: &str,
    camera: &str,
    seq: u64,
) -> Result<KeptPart, EvidenceError> {
    let part = format!("{run_id}/{camera}/{seq}");
    let folder = folder.to_owned();
    let stems = match stems(&folder) {
        Ok(stems) => stems,
        Err(error) => return Err(EvidenceError::Folder { folder, error }),
    };

    let mut views = views(&folder, &stems, (run_id, camera, seq))?;
    if views.len() > 1 {
        let mut cameras = vec![];

        for view in &views {
            cameras.push(&*view.facts.seen_by);
        }

        let cameras = cameras.join(", ");
        return Err(EvidenceError::Several { part, cameras });
    }

    views.pop().ok_or(EvidenceError::NotKept { part, folder })
}

/// Finds the views of a part `(run, camera, seq)` among the [`stems`] of a folder: one for each camera that saw it, in the order
/// of their names. `camera` is the part's, or the one that saw it.
///
/// # Errors
/// When facts of it are gone, or not this program's.
pub fn views(
    folder: &Path,
    stems: &[String],
    (run_id, camera, seq): (&str, &str, u64),
) -> Result<Vec<KeptPart>, EvidenceError> {
    let mut found: Vec<KeptPart> = vec![];
    let run_end = name::run_end(run_id);

    // Names alone leave out nearly all other parts, their ends nearly all other runs; the facts are sure.
    for stem in stems.iter().filter(|stem| stem.ends_with(&run_end)) {
        let named = name::of_stem(stem);

        if !named.is_some_and(|named| named.seq == seq && named.run_end == run_end) {
            continue;
        }

        let kept = read(folder, stem)?;
        let facts = &kept.facts;
        let is_its_camera = facts.camera == camera || facts.seen_by == camera;

        if facts.run_id == run_id && facts.seq == seq && is_its_camera {
            found.push(kept);
        }
    }

    // A view that was undecided first and judged later is one view: the later word is the better.
    found.sort_by_key(|kept| kept.facts.picture.is_none());
    found.sort_by(|one, other| one.facts.seen_by.cmp(&other.facts.seen_by));
    found.dedup_by(|other, one| other.facts.seen_by == one.facts.seen_by);

    Ok(found)
}

/// Reads the facts of the part whose files have this stem.
///
/// # Errors
/// When they are gone, or not this program's.
pub fn read(folder: &Path, stem: &str) -> Result<KeptPart, EvidenceError> {
    let file = folder.join(format!("{stem}{FACTS}"));
    let facts = std::fs::read(&file)
        .map_err(|error| FactsError::Unfit(format!("cannot be read: {error}")))
        .and_then(|text| Facts::parse(&text));

    match facts {
        Ok(facts) => Ok(KeptPart {
            folder: folder.to_owned(),
            stem: stem.to_owned(),
            facts,
        }),
        Err(FactsError::Unfit(words)) => Err(EvidenceError::Facts { file, words }),
        Err(later) => Err(EvidenceError::LaterFacts {
            file,
            words: later.to_string(),
        }),
    }
}

/// Stems of all parts that are kept, in the order of their names: by time.
///
/// # Errors
/// When the folder cannot be read.
pub fn stems(folder: &Path) -> io::Result<Vec<String>> {
    let mut stems = vec![];

    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let named = name.to_str().filter(|name| !name.starts_with('.'));

        if let Some(named) = named.and_then(name::parse)
            && named.end == FACTS
        {
            stems.push(named.stem.to_owned());
        }
    }

    stems.sort_unstable();
    Ok(stems)
}

impl KeptPart {
    /// `run/camera/seq`, and the camera that saw it where that is another.
    pub fn part(&self) -> String {
        let Facts {
            run_id,
            camera,
            seq,
            seen_by,
            ..
        } = &self.facts;

        match camera == seen_by {
            true => format!("{run_id}/{camera}/{seq}"),
            false => format!("{run_id}/{camera}/{seq}/{seen_by}"),
        }
    }

    /// File of the small picture of the part.
    pub fn small_picture(&self) -> PathBuf {
        self.folder.join(format!("{}{SMALL_PICTURE}", self.stem))
    }

    /// File of the picture of the part, for people.
    pub fn part_picture(&self) -> PathBuf {
        self.folder.join(format!("{}{PART_PICTURE}", self.stem))
    }

    /// The camera's picture bit for bit, to be taught.
    ///
    /// # Errors
    /// When there is none of the part, it was kept with losses, or its file is damaged.
    pub fn picture(&self) -> Result<Picture, EvidenceError> {
        let is_lossy = |about: &PictureFacts| !about.is_lossless;

        if self.facts.picture.as_ref().is_some_and(is_lossy) {
            let part = self.part();
            return Err(EvidenceError::Lossy { part });
        }

        self.picture_as_kept()
    }

    /// The camera's picture, with the losses that it was kept with.
    ///
    /// # Errors
    /// When there is none of the part, or its file is damaged.
    pub fn picture_as_kept(&self) -> Result<Picture, EvidenceError> {
        let part = self.part();
        let Some(about) = &self.facts.picture else {
            let reason = serde_json::to_value(self.facts.reason).unwrap_or_default();
            let words = reason.as_str().unwrap_or("no reason is given").to_owned();
            return Err(EvidenceError::NoPicture { part, words });
        };

        // The name comes out of a file: it must not lead elsewhere.
        let unfit = |words: String| EvidenceError::Picture {
            part: part.clone(),
            words,
        };

        let is_own = name::parse(&about.file).is_some_and(|named| named.stem == self.stem);
        if !is_own {
            return Err(unfit(format!("its facts name the file {:?}", about.file)));
        }

        let picture = file::read(&self.folder.join(&about.file));
        let picture = picture.map_err(|error| unfit(error.to_string()))?;
        let size = (picture.width(), picture.height());

        match size == (about.width, about.height) {
            true => Ok(picture),
            false => Err(unfit(format!(
                "it has {} x {} pixels, and its facts say {} x {}",
                size.0, size.1, about.width, about.height
            ))),
        }
    }
}
