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
        }
    }

    /// The file as a frame. `None` if it cannot be read.
    fn frame(&mut self, path: &Path) -> Option<Frame> {
        let started = Instant::now();
        // Reading and decoding are timed together, as a camera's decoder is.
        let picture = match image_file::read(path) {
            Ok(picture) => picture,
            Err(error) => {
                // Each file is logged once, though a loop comes by it again and again.
                if self.unreadable.insert(path.to_owned()) {
                    tracing::warn!("camera {}: {error}; left out", self.camera);
                }

                return None;
            }
        };

        // A file has no time of its own that says when the part was there; it counts from now.
        let name = path.file_name();
        Some(Frame {
            camera: self.camera.clone(),
            picture: Arc::new(picture),
            captured_at: Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: Some(started.elapsed()),
            clock_offset: None,
            part_id: name.map(|name| name.to_string_lossy().into_owned()),
        })
    }

    /// Shows all files once, and says how many could be read. `None` if the stop was given.
    fn show_all(&mut self, files: &[PathBuf], stop: &Stop, sink: &mut dyn Sink) -> Option<usize> {
        let mut shown = 0;
        for path in files {
            // The pause runs from picture to picture, the wait for the inspector included.
            let due = Instant::now() + self.pause;
            // The last picture must be taken before the next one comes, since a newer one would
            // replace it.
            while !sink.is_ready() {
                if stop.stopped_within(POLL) {
                    return None;
                }
            }

            // A file that cannot be read takes its time at the rate too, as its part does on a
            // line.
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
        // The list is made once: files that are added meanwhile are for the next start.
        let files = image_file::list(&self.folder)
            .map_err(|error| CameraError::Pipeline(error.to_string()))?;

        loop {
            let unreadable_before = self.unreadable.len();
            // The stop ends a round at the next picture.
            let Some(shown) = self.show_all(&files, stop, sink) else {
                return Ok(Ended::Stopped);
            };

            // A folder without a readable picture would loop without an end and without a result.
            if shown == 0 {
                return Err(CameraError::Pipeline(format!(
                    "{}: none of its pictures can be read",
                    self.folder.display()
                )));
            }

            // Only a round that has found a new unreadable file tells their number.
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
