//! The pictures of a folder as a camera: in the order of their names, at a rate or as fast as they are
//! judged.
//!
//! A finite source loses nothing: it waits until the inspector has taken the last picture. A picture that
//! is damaged or cannot be read is a part that was not seen: a black frame marked corrupt stands for it,
//! and the log names it once. Files that are no pictures and those of other programs are passed over,
//! which the log tells once.

use crate::base::stop::Stop;
use crate::camera::settings::CameraSettings;
use crate::camera::source::{CameraError, Ended, Sink, Source};
use crate::data::frame::{CapturedBy, Frame};
use crate::data::picture::Picture;
use crate::image::file::{self as image_file, PictureFileError};
use jiff::Timestamp;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two looks of a waiting folder whether the inspector is free.
const POLL: Duration = Duration::from_millis(2);

/// A camera that shows the pictures of a folder.
pub struct FolderSource {
    camera: Arc<str>,
    folder: PathBuf,
    /// Shortest time from picture to picture. Zero: none.
    pause: Duration,
    /// True if the folder starts again after its last picture.
    again: bool,
    /// Files that cannot be read, which was logged.
    unreadable: HashSet<PathBuf>,
    /// Width and height of the last picture that could be read, in pixels; those of the stand-in for
    /// one that cannot.
    last_size: (usize, usize),
}

impl FolderSource {
    /// The source of checked settings: `location`, `fps` and `loop`.
    pub fn new(settings: &CameraSettings) -> Self {
        // The settings were checked against the kind's file, so that each key has a value that can
        // be read.
        let value = |key: &str| settings.values.get(key).map_or("", String::as_str);
        let fps: u32 = value("fps").parse().unwrap_or(0);

        // A rate of 0 is no rate: the next picture comes as soon as the last one is judged.
        let pause = Duration::from_secs(1)
            .checked_div(fps)
            .unwrap_or(Duration::ZERO);

        FolderSource {
            camera: settings.name.clone(),
            folder: value("location").into(),
            pause,
            again: value("loop") == "true",
            unreadable: HashSet::new(),
            last_size: (1, 1),
        }
    }

    /// The file as a frame; one that cannot be read is black and corrupt.
    fn frame(&mut self, path: &Path) -> Frame {
        let started = Instant::now();

        // Reading and decoding are timed together, as a camera's decoder is.
        let read = image_file::read(path);
        let damage = read.as_ref().err().map(|error| words_of(error, path));
        let picture = read.unwrap_or_else(|error| {
            if self.unreadable.insert(path.to_owned()) {
                tracing::warn!("camera {}: {error}; its part is not judged", self.camera);
            }

            // The usual size, so that crops and regions lie within it.
            let (width, height) = self.last_size;
            Picture::new(width, height, vec![0; 3 * width * height]).expect("its bytes")
        });

        self.last_size = (picture.width(), picture.height());
        let name = path.file_name();
        let arrived = Instant::now();
        Frame {
            camera: self.camera.clone(),
            picture: Arc::new(picture),
            captured_at: Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            captured: arrived,
            arrived,
            damage,
            decode: Some(started.elapsed()),
            clock_offset: None,
            part_id: name.map(|name| name.to_string_lossy().into_owned()),
        }
    }

    /// Shows all files once. False if the stop was given.
    fn show_all(&mut self, files: &[PathBuf], stop: &Stop, sink: &mut dyn Sink) -> bool {
        for path in files {
            // The pause runs from picture to picture, the wait for the inspector included.
            let due = Instant::now() + self.pause;

            // The last picture must be taken before the next one comes, since a newer one would
            // replace it.
            while !sink.is_ready() {
                if stop.stopped_within(POLL) {
                    return false;
                }
            }

            sink.frame(self.frame(path));
            let rest = due.saturating_duration_since(Instant::now());

            if stop.stopped_within(rest) {
                return false;
            }
        }

        true
    }
}

impl Source for FolderSource {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let found = image_file::list(&self.folder)
            .map_err(|error| CameraError::Pipeline(error.to_string()))?;

        if let Some(words) = image_file::told(&self.folder, &found.passed_over) {
            tracing::warn!("camera {}: {words}", self.camera);
        }

        loop {
            let unreadable_before = self.unreadable.len();

            if !self.show_all(&found.pictures, stop, sink) {
                return Ok(Ended::Stopped);
            }

            // Only a round that has found a new unreadable file tells their number.
            if self.unreadable.len() > unreadable_before {
                tracing::warn!(
                    "camera {}: {} of {} pictures cannot be read; their parts are undecided(bad_image)",
                    self.camera,
                    self.unreadable.len(),
                    found.pictures.len()
                );
            }

            if !self.again {
                return Ok(Ended::EndOfStream);
            }
        }
    }

    fn is_finite(&self) -> bool {
        true
    }
}

/// Longest cause of damage, in characters: a result's detail has little room.
const WORDS_MAX: usize = 160;

/// The cause of a file that cannot be read; the part's name tells the file already.
fn words_of(error: &PictureFileError, path: &Path) -> Arc<str> {
    let words = error.to_string();
    let place = format!("{}: ", path.display());
    let cause = words.strip_prefix(&place).unwrap_or(&words);
    let short: String = cause.chars().take(WORDS_MAX).collect();

    short.into()
}
