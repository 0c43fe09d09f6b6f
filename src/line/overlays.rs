//! The overlay stage draws pictures of parts for people and sends them, beside the line; never in a
//! verdict's way.

use crate::base::exit::Failure;
use crate::base::live::Live;
use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::shown_part::ShownPart;
use crate::data::verdict::Verdict;
use crate::engine::device_scorer::Paint;
use crate::image::overlay::{Overlay, paint, png};
use crate::image::part_picture;
use crate::line::events::Events;
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
                        "pictures are painted by the processor from now on, as the GPU cannot: {error}"
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
    /// Parts to draw.
    pub judged: Receiver<ShownPart>,
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
                    Ok(part) => self.draw(&part),
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

    fn draw(&mut self, part: &ShownPart) {
        let report = &part.report;

        // Parts at which no person will look are not painted: on a busy line nearly all parts pass.
        let is_wanted = match self.heatmaps.now() {
            Heatmaps::All => true,
            Heatmaps::Fail => report.verdict != Verdict::Pass,
            Heatmaps::None => false,
        };

        if !is_wanted {
            return;
        }

        let painter = &mut self.painter;
        let painted = part_picture::draw(part, |overlay| painter.paint(overlay));
        let png = encode(&painted, report).into();
        let report = report.clone();
        self.events.tell(Event::Heatmap { report, png });
    }
}

/// The PNG file of a part's picture, which names its part.
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
