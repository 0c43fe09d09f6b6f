//! The stage that makes the page's pictures: judged frames, scaled down and written as JPEG files.
//!
//! It works at most [`WATCHED_EVERY`] apart for each slot while somebody looks, and
//! [`UNWATCHED_EVERY`] otherwise: the newest picture is there when a person opens the page, and a line
//! at which nobody looks pays for one picture a second and camera.

use super::album::{Album, LARGE_PX, Photo, PhotoKey, SMALL_PX};
use super::frames::{FrameSlots, SlotKey};
use crate::base::priority::lower_own;
use crate::data::picture::Picture;
use crate::data::shown_part::ShownPart;
use crate::image::jpeg_file;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Shortest time between two pictures of a slot while somebody looks.
const WATCHED_EVERY: Duration = Duration::from_millis(200);
/// The same while nobody looks.
const UNWATCHED_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a frame.
const IDLE: Duration = Duration::from_secs(3600);
/// Quality of the JPEG files, of 100.
const QUALITY: u8 = 80;

/// The pictures, as the stage and the server share them.
#[derive(Clone)]
pub struct PagePictures {
    album: Arc<Mutex<Album>>,
    /// True while somebody looks.
    is_watched: Arc<AtomicBool>,
    /// Told of each new picture; the server's tasks wait for it.
    news: watch::Sender<()>,
}

/// The stage.
pub struct PictureStage {
    slots: FrameSlots,
    pictures: PagePictures,
    /// Moment of each slot's last picture.
    last: BTreeMap<SlotKey, Instant>,
}

impl Default for PagePictures {
    fn default() -> Self {
        PagePictures {
            album: Arc::default(),
            is_watched: Arc::default(),
            news: watch::Sender::new(()),
        }
    }
}

impl PagePictures {
    /// Locks the album.
    pub(super) fn album(&self) -> MutexGuard<'_, Album> {
        self.album.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether somebody looks.
    pub(super) fn watch(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Relaxed);
    }

    /// Tells all who wait that there is something new.
    pub(super) fn tell(&self) {
        self.news.send_replace(());
    }

    /// A receiver of what is new from now on.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

impl PictureStage {
    /// The stage that takes frames out of `slots`.
    pub fn new(slots: FrameSlots, pictures: PagePictures) -> Self {
        PictureStage {
            slots,
            pictures,
            last: BTreeMap::new(),
        }
    }

    /// Makes pictures until the inspector has left.
    pub fn run(mut self) {
        // A verdict needs the processor sooner than a picture of the one before.
        lower_own();
        self.slots.begin();
        let mut longest = IDLE;

        while self.slots.wait(longest) {
            self.paint_due();
            longest = if self.slots.is_waiting() {
                WATCHED_EVERY / 4
            } else {
                IDLE
            };
        }
    }

    fn paint_due(&mut self) {
        let is_watched = self.pictures.is_watched.load(Ordering::Relaxed);
        let every = if is_watched {
            WATCHED_EVERY
        } else {
            UNWATCHED_EVERY
        };

        let last = &self.last;
        let due = self.slots.take(|key| {
            let last = last.get(key);
            last.is_none_or(|last| last.elapsed() >= every)
        });

        for (key, frame) in due {
            self.last.insert(key, Instant::now());

            if let Some(photo) = photo(&frame) {
                self.pictures.album().add(photo);
                self.pictures.tell();
            }
        }
    }
}

/// The picture of a part. `None` where none of it came.
fn photo(frame: &ShownPart) -> Option<Photo> {
    let picture = frame.judged()?;
    let size = (picture.width(), picture.height());
    let jpeg = |longest| jpeg_file::encode_small(picture, longest, QUALITY).into();
    let report = &frame.report;
    let request = &report.part.request;
    Some(Photo {
        key: PhotoKey {
            place: place(report.part.camera(), request.region.as_deref()),
            seq: report.part.seq,
        },
        seen_by: report.seen_by.clone(),
        size,
        defects: report.defects.clone(),
        large: jpeg(LARGE_PX),
        small: jpeg(SMALL_PX),
    })
}

/// A camera's picture as a JPEG file of [`LARGE_PX`]. `None` for one that cannot be written.
pub(super) fn large_jpeg(picture: &Picture) -> Option<Arc<[u8]>> {
    picture_file(picture, LARGE_PX)
}

/// A picture as a JPEG file whose longer side has at most `longest` pixels. `None` for one that cannot be written.
pub(super) fn picture_file(picture: &Picture, longest: usize) -> Option<Arc<[u8]>> {
    let file = jpeg_file::encode_small(picture, longest, QUALITY);

    (!file.is_empty()).then(|| file.into())
}

/// The name of a place.
pub(super) fn place(camera: &str, region: Option<&str>) -> String {
    match region {
        Some(region) => format!("{camera}/{region}"),
        None => camera.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;
    use crate::data::shown_part::ShownPicture;

    #[test]
    fn a_picture_is_scaled_down_and_never_up() {
        for (width, height, large) in [
            (2000, 500, (960, 240)),
            (40, 30, (40, 30)),
            (1, 3000, (1, 960)),
        ] {
            let rgb = vec![90; 3 * width * height];
            let frame = ShownPart {
                report: Arc::new(report(7)),
                picture: ShownPicture::Own(Arc::new(
                    Picture::new(width, height, rgb).expect("its bytes"),
                )),
                aligned: None,
                beside: vec![],
                is_late: false,
                judged_by: None,
            };

            let photo = photo(&frame).expect("a picture");
            let read = image::load_from_memory(&photo.large).expect("a JPEG file");
            assert_eq!((read.width(), read.height()), large);
            assert_eq!(photo.key.place, "top");
            assert_eq!(photo.size, (width, height));
        }
    }
}
