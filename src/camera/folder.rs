//! The pictures of a folder as a camera: in the order of their names, at a rate or as fast as they are
//! judged.
//!
//! A finite source loses nothing: it waits until the inspector has taken the last picture. A file that
//! cannot be read is no part: it is left out, named once, and counted at the end of the round in which
//! that happened.

use crate::base::stop::Stop;
use crate::camera::settings::CameraSettings;
use crate::camera::source::{CameraError, Ended, Sink, Source};
use crate::data::frame::{CapturedBy, Frame};
use crate::image::file as image_file;
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
}

impl FolderSource {
    /// The source of checked settings: `location`, `fps` and `loop`.
    pub fn new(settings: &CameraSettings) -> Self {
        let value = |key: &str| settings.values.get(key).map_or("", String::as_str);
        let fps: u32 = value("fps").parse().unwrap_or(0);
        let pause = Duration::from_secs(1)
            .checked_div(fps)
            .unwrap_or(Duration::ZERO);

        FolderSource {
            camera: settings.name.clone(),
            folder: value("location").into(),
            pause,
            again: value("loop") == "true",
            unreadable: HashSet::new(),
        }
    }

    /// The file as a frame. `None` if it cannot be read.
    fn frame(&mut self, path: &Path) -> Option<Frame> {
        let started = Instant::now();
        let picture = match image_file::read(path) {
            Ok(picture) => picture,
            Err(error) => {
                if self.unreadable.insert(path.to_owned()) {
                    tracing::warn!("camera {}: {error}; left out", self.camera);
                }

                return None;
            }
        };

        let name = path.file_name();
        Some(Frame {
            camera: self.camera.clone(),
            picture: Arc::new(picture),
            captured_at: Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            damage: None,
            decode: Some(started.elapsed()),
            part_id: name.map(|name| name.to_string_lossy().into_owned()),
        })
    }

    /// Shows all files once, and says how many could be read. `None` if the stop was given.
    fn show_all(&mut self, files: &[PathBuf], stop: &Stop, sink: &mut dyn Sink) -> Option<usize> {
        let mut shown = 0;
        for path in files {
            let due = Instant::now() + self.pause;
            while !sink.is_ready() {
                if stop.stopped_within(POLL) {
                    return None;
                }
            }

            if let Some(frame) = self.frame(path) {
                sink.frame(frame);
                shown += 1;
            }

            let rest = due.saturating_duration_since(Instant::now());
            if stop.stopped_within(rest) {
                return None;
            }
        }

        Some(shown)
    }
}

impl Source for FolderSource {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let files = image_file::list(&self.folder)
            .map_err(|error| CameraError::Pipeline(error.to_string()))?;

        loop {
            let unreadable_before = self.unreadable.len();
            let Some(shown) = self.show_all(&files, stop, sink) else {
                return Ok(Ended::Stopped);
            };

            if shown == 0 {
                return Err(CameraError::Pipeline(format!(
                    "{}: none of its pictures can be read",
                    self.folder.display()
                )));
            }

            if self.unreadable.len() > unreadable_before {
                let all = files.len();
                tracing::warn!(
                    "camera {}: {} of {all} pictures were left out",
                    self.camera,
                    all - shown
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
