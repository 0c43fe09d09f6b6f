//! The overlay stage draws heat maps for people, beside the line; never in a verdict's way.

use crate::base::exit::Failure;
use crate::base::live::Live;
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::data::report::{JudgedFrame, Report};
use crate::data::verdict::Verdict;
use crate::engine::device_scorer::Paint;
use crate::image::overlay::{HeatLayer, Overlay};
use crate::image::overlay::{paint, png};
use crate::line::events::Events;
use crate::line::overlay_folder::OverlayFolder;
use crate::mqtt::Heatmaps;
use crate::protocol::event::Event;
use crossbeam::channel::{Receiver, never, select};
use std::sync::Arc;

/// Painter of overlays: an engine's device as long as that can, then the processor. Pictures for
/// people never stop a line.
pub struct OverlayPainter(pub Option<Box<dyn Paint>>);

impl OverlayPainter {
    /// Paints on the device; by the processor from its first failure on.
    pub fn paint(&mut self, drawing: &Overlay) -> Picture {
        if let Some(painter) = &mut self.0 {
            match painter.paint(drawing) {
                Ok(painted) => return painted,
                Err(error) => {
                    tracing::warn!(
                        "overlays are painted by the processor from now on, as the GPU cannot: {error}"
                    );

                    self.0 = None;
                }
            }
        }

        paint::paint(drawing)
    }
}

/// The stage that draws.
pub struct OverlayStage {
    /// Painter of the inspector that the line started with; another recipe's would be no better.
    pub painter: OverlayPainter,
    /// Parts of which a heat map is drawn.
    pub heatmaps: Live<Heatmaps>,
    /// Folder that overlays are also written to.
    pub folder: Option<OverlayFolder>,
    /// Heat maps are dropped where the publisher has no room for them.
    pub events: Events,
}

/// A camera's picture as it is, asked for by a command.
pub struct Snapshot {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Newest picture of the camera.
    pub picture: Arc<Picture>,
}

/// The overlay stage's ends of the line's channels.
pub struct OverlayEnds {
    /// Frames to draw.
    pub judged: Receiver<JudgedFrame>,
    /// Pictures to encode.
    pub snapshots: Receiver<Snapshot>,
}

impl OverlayStage {
    /// Draws until the inspector has left.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(mut self, ends: &OverlayEnds) -> Result<(), Failure> {
        // The command handler may leave first. A channel that is never ready takes its place, so
        // that the loop does not spin on a closed one.
        let no_more = never();
        let judged = &ends.judged;
        let mut snapshots = &ends.snapshots;
        loop {
            select! {
                recv(judged) -> next => match next {
                    Ok(frame) => self.draw(frame),
                    Err(_) => return Ok(()),
                },
                recv(snapshots) -> next => match next {
                    Ok(snapshot) => self.send_snapshot(&snapshot),
                    Err(_) => snapshots = &no_more,
                },
            }
        }
    }

    /// Sends a picture that was promised.
    fn send_snapshot(&self, snapshot: &Snapshot) {
        let camera = snapshot.camera.clone();
        let png = png::encode(&snapshot.picture, &[("camera", &camera)]);
        let png = png.into();
        self.events.tell(Event::Snapshot { camera, png });
    }

    fn draw(&mut self, frame: JudgedFrame) {
        let JudgedFrame { report, picture } = frame;
        // Parts at which no person will look are not painted: on a busy line nearly all parts pass.
        let is_wanted = match self.heatmaps.now() {
            Heatmaps::All => true,
            Heatmaps::Fail => report.verdict != Verdict::Pass,
            Heatmaps::None => false,
        };

        // A part that was not judged has no map, and so nothing to paint.
        let mapped = report.map.as_ref().zip(report.area);
        let Some((map, area)) = mapped.filter(|_| is_wanted) else {
            return;
        };

        // The layer covers the region's area alone; the rest of the picture stays as the camera
        // showed it.
        let scale = scale(&report, map);
        let layer = HeatLayer { map, area, scale };
        let overlay = Overlay::new(&picture, &[layer], Some(report.verdict), &report.defects);
        let painted = self.painter.paint(&overlay);
        let png = encode(&painted, &report);
        if let Some(folder) = &mut self.folder {
            folder.keep(&report, &png);
        }

        let png = png.into();
        self.events.tell(Event::Heatmap { report, png });
    }
}

/// The PNG file of an overlay, which names its part.
fn encode(painted: &Picture, report: &Report) -> Vec<u8> {
    let request = &report.part.request;
    let seq = report.part.seq.to_string();
    // The file names its part by itself: it may be copied away from the message that brought it.
    let texts = [
        // Run, camera and number are the key of the result that the picture belongs to.
        ("run_id", &*report.part.run_id),
        ("seq", seq.as_str()),
        ("part_id", request.part_id.as_deref().unwrap_or("")),
        ("camera", &report.seen_by),
        ("region", request.region.as_deref().unwrap_or("")),
    ];

    png::encode(painted, &texts)
}

/// The map values of "nothing to see" and "full glow": the same for all parts of a line that has a threshold on the
/// scale of its maps, else the picture's own range.
fn scale(report: &Report, map: &Map) -> (f32, f32) {
    match report.threshold {
        Some(threshold) if report.score.is_some_and(|score| score <= map.max()) => {
            (0.4 * threshold, 1.6 * threshold)
        }
        _ => (map.min(), map.max()),
    }
}
