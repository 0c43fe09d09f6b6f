//! The pictures of a folder as a camera: in the order of their names, at a rate or as fast as they are judged.
//!
//! A finite source loses nothing: it waits until the inspector has taken the last picture. A file that cannot be read is
//! no part: it is left out, named once, and counted at the end of the round in which that happened.

use super::{CameraError, CameraSettings, Ended, Sink, Source};
use crate::base::stop::Stop;
use crate::data::frame::{CapturedBy, Frame};
use crate::image::file as image_file;
use jiff::Timestamp;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Folder {
    camera: Arc<str>,
    folder: PathBuf,
    /// Zero: no pause.
    pause: Duration,
    again: bool,
    /// Files that cannot be read, which was told.
    told: HashSet<PathBuf>,
}

impl Folder {
    pub fn new(settings: &CameraSettings) -> Self {
        let value = |key: &str| settings.values.get(key).map_or("", String::as_str);
        let fps: u32 = value("fps").parse().unwrap_or(0);
        let pause = if fps == 0 {
            Duration::ZERO
        } else {
            Duration::from_secs(1) / fps
        };
        Folder {
            camera: settings.name.clone(),
            folder: value("location").into(),
            pause,
            again: value("loop") == "true",
            told: HashSet::new(),
        }
    }

    fn frame(&mut self, path: &std::path::Path) -> Option<Frame> {
        let started = Instant::now();
        let picture = match image_file::read(path) {
            Ok(picture) => Arc::new(picture),
            Err(error) => {
                if self.told.insert(path.to_owned()) {
                    tracing::warn!("camera {}: {error}; left out", self.camera);
                }
                return None;
            }
        };
        Some(Frame {
            camera: self.camera.clone(),
            picture,
            captured_at: Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: Some(started.elapsed()),
            part_id: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        })
    }
}

/// How often a waiting folder looks whether the inspector is free.
const LOOK: Duration = Duration::from_millis(2);

impl Source for Folder {
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
        let files = image_file::list(&self.folder)
            .map_err(|error| CameraError::Pipeline(error.to_string()))?;
        loop {
            let (mut shown, told) = (0, self.told.len());
            for path in &files {
                let due = Instant::now() + self.pause;
                while !sink.is_ready() {
                    if stop.stopped_within(LOOK) {
                        return Ok(Ended::Stopped);
                    }
                }
                if let Some(frame) = self.frame(path) {
                    sink.frame(frame);
                    shown += 1;
                }
                if stop.stopped_within(due.saturating_duration_since(Instant::now())) {
                    return Ok(Ended::Stopped);
                }
            }
            if shown == 0 {
                return Err(CameraError::Pipeline(format!(
                    "{}: none of its pictures can be read",
                    self.folder.display()
                )));
            }
            if self.told.len() > told {
                let (camera, all) = (&self.camera, files.len());
                tracing::warn!(
                    "camera {camera}: {} of {all} pictures were left out",
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
