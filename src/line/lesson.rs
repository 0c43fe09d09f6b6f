//! A lesson on the changeover's side: its parts' pictures are written to files as they come, and become
//! pictures of a recipe when the last one is there.

use crate::image::overlay::png;
use crate::line::lessons::TaughtPicture;
use crate::line::selection::Selection;
use crate::protocol::lesson_board::{LessonStep, ShownLesson};
use crate::protocol::teaching::TeachCommand;
use crate::recipe::library::bounds::REVISION_BYTES;
use crate::recipe::library::folder::Library;
use crate::recipe::spec::RecipeSpec;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Beginning of the names of the folders that lessons write to; no recipe's name begins with a dot.
const FOLDER: &str = ".lesson-";
/// Name of the file that is locked while a lesson writes there.
const LOCK: &str = "lock";
/// Time without a part after which a lesson is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time between two words on how far a lesson is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A file with a part's picture.
#[derive(Debug)]
pub struct PartFile {
    /// The file.
    pub file: PathBuf,
    /// The part: `run/camera/seq`.
    pub part: String,
}

/// A lesson that is under way.
pub struct Lesson {
    /// The command, which the store keeps until its second answer is told.
    pub selection: Selection,
    /// The recipe that is taught, as the line's file had it at the start.
    pub recipe: RecipeSpec,
    /// Number by which its pictures are known.
    pub number: u64,
    /// Parts that are asked for.
    pub command: TeachCommand,
    /// Pictures so far.
    pub pictures: PartFiles,
    /// Time of the last part, or of the beginning.
    last: Instant,
    /// Time of the last word on how far it is.
    told: Option<Instant>,
}

/// Pictures of parts in a folder of their own, which goes with this.
pub struct PartFiles {
    folder: TempDir,
    /// Held open for its lock: another line that shares the library leaves the folder alone.
    _lock: File,
    bytes: u64,
    /// The files, in the order of the parts.
    pub files: Vec<PartFile>,
}

impl PartFiles {
    /// Makes the folder, in the library's, so that a full disk is noticed here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn new(library: &Library) -> io::Result<Self> {
        fs::create_dir_all(library.folder())?;
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix(FOLDER).tempdir_in(library.folder())?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.lock()?;
        Ok(PartFiles {
            folder,
            _lock: lock,
            bytes: 0,
            files: vec![],
        })
    }

    /// Writes one picture, without loss.
    ///
    /// # Errors
    /// When the disk refuses, or there are more bytes than a revision may have.
    pub fn add(&mut self, taught: &TaughtPicture) -> io::Result<()> {
        let name = format!("{}.png", self.files.len());
        let file = self.folder.path().join(name);
        let png = png::encode(&taught.picture, &[("part", &taught.part)]);
        self.bytes += png.len() as u64;
        if self.bytes > REVISION_BYTES {
            let words = format!(
                "{} pictures have more than the {REVISION_BYTES} bytes of a revision; teach fewer at once",
                self.files.len() + 1
            );

            return Err(io::Error::other(words));
        }

        fs::write(&file, png)?;
        self.files.push(PartFile {
            file,
            part: taught.part.clone(),
        });

        Ok(())
    }
}

impl Lesson {
    /// A lesson without any picture yet.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn new(
        selection: Selection,
        recipe: RecipeSpec,
        (number, command): (u64, TeachCommand),
        library: &Library,
    ) -> io::Result<Self> {
        Ok(Lesson {
            number,
            selection,
            recipe,
            command,
            pictures: PartFiles::new(library)?,
            last: Instant::now(),
            told: None,
        })
    }

    /// The lesson as it is shown.
    pub fn shown(&self) -> ShownLesson {
        ShownLesson {
            number: self.number,
            recipe: self.recipe.name.clone(),
            taught_as: self.command.taught_as,
            wanted: self.command.parts,
            parts: vec![],
            step: LessonStep::Seeing,
        }
    }

    /// Takes one more picture. Returns words on how far it is, at most once a second.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn take(&mut self, taught: &TaughtPicture, now: Instant) -> io::Result<Option<String>> {
        self.pictures.add(taught)?;
        self.last = now;
        let is_told = self
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY);

        if is_told || self.is_complete() {
            return Ok(None);
        }

        self.told = Some(now);
        Ok(Some(self.so_far()))
    }

    /// True once all parts were seen.
    pub fn is_complete(&self) -> bool {
        self.pictures.files.len() >= self.command.parts as usize
    }

    /// Words on how far the lesson is.
    pub fn so_far(&self) -> String {
        format!(
            "{} of {} parts were seen",
            self.pictures.files.len(),
            self.command.parts
        )
    }

    /// True when no part has come for so long that none may come.
    pub fn is_given_up(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= PATIENCE
    }
}

/// Removes what the lessons of a run that was killed have left.
pub fn remove_leftovers(library: &Library) {
    let Ok(entries) = fs::read_dir(library.folder()) else {
        return; // no library yet
    };

    for entry in entries.flatten() {
        let is_lesson = entry.file_name().to_string_lossy().starts_with(FOLDER);
        let lock = File::open(entry.path().join(LOCK));
        let is_held =
            lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));

        if is_lesson && !is_held {
            let _ = fs::remove_dir_all(entry.path()); // the next run tries again
        }
    }
}
