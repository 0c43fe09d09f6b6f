//! Layer 6: the artist draws heat maps for people, beside the line; never in a verdict's way.

use crate::base::exit::Failure;
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::data::report::{JudgedFrame, Report};
use crate::data::verdict::Verdict;
use crate::engine::device_scorer::Paint;
use crate::image::overlay::{HeatLayer, Overlay};
use crate::image::overlay::{paint, png};
use crate::line::shared::Shared;
use crate::mqtt::Heatmaps;
use crate::mqtt::publisher::BestEffort;
use crossbeam::channel::{Receiver, never, select};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Overlays kept for each camera in the overlays folder.
const OVERLAYS_KEPT: u64 = 200;

/// What the artist paints with: an engine's device as long as that can, then the processor. Pictures for people never
/// stop a line.
pub struct OverlayPainter(pub Option<Box<dyn Paint>>);

impl OverlayPainter {
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

pub struct OverlayStage {
    /// Of the inspector that the line started with; another recipe's would be no better.
    pub brush: OverlayPainter,
    pub heatmaps: Heatmaps,
    pub folder: Option<PathBuf>,
    pub side: mpsc::Sender<BestEffort>,
    /// Pictures that the publisher had no room for.
    pub dropped: Arc<AtomicU64>,
}

/// A camera's picture as it is, asked for by a command.
pub struct Snapshot {
    pub camera: Arc<str>,
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
    /// `folder` is where overlays are also written to, if anywhere.
    pub fn new(
        shared: &Shared,
        brush: OverlayPainter,
        heatmaps: Heatmaps,
        folder: Option<PathBuf>,
        events: mpsc::Sender<BestEffort>,
    ) -> Self {
        OverlayStage {
            brush,
            heatmaps,
            folder,
            side: events,
            dropped: shared.heatmaps_dropped.clone(),
        }
    }

    /// Until nobody brings evidence any more.
    pub fn run(mut self, ends: &OverlayEnds) -> Result<(), Failure> {
        let (mut told, no_more) = (false, never());
        let evidence = &ends.judged;
        let mut snapshots = &ends.snapshots;
        loop {
            select! {
                recv(evidence) -> next => match next {
                    Ok(next) => self.draw(next, &mut told),
                    Err(_) => return Ok(()),
                },
                recv(snapshots) -> next => match next {
                    Ok(Snapshot { camera, picture }) => {
                        let png = png::encode(&picture, &[("camera", &camera)]);
                        // It was promised. The publisher takes it, unless the line ends.
                        let _ = self.side.blocking_send(BestEffort::Snapshot { camera, png });
                    }
                    Err(_) => snapshots = &no_more,
                },
            }
        }
    }

    fn draw(&mut self, JudgedFrame { report, picture }: JudgedFrame, told: &mut bool) {
        let wanted = match self.heatmaps {
            Heatmaps::All => true,
            Heatmaps::Fail => report.verdict != Verdict::Pass,
            Heatmaps::None => false,
        };
        let Some((map, area)) = report.map.as_ref().zip(report.area).filter(|_| wanted) else {
            return;
        };
        let layer = HeatLayer {
            map,
            area,
            scale: scale(&report, map),
        };
        let drawn = self.brush.paint(&Overlay::new(
            &picture,
            &[layer],
            Some(report.verdict),
            &report.regions,
        ));
        let seq = report.part.seq.to_string();
        let part = report.part.ask.part_id.as_deref().unwrap_or("");
        let region = report.part.ask.region.as_deref().unwrap_or("");
        let texts = [
            ("seq", seq.as_str()),
            ("part_id", part),
            ("camera", &report.seen_by),
            ("region", region),
        ];
        let png = png::encode(&drawn, &texts);
        if let Some(folder) = &self.folder
            && let Err(error) = keep(folder, &report, &png)
            && !std::mem::replace(told, true)
        {
            tracing::warn!(
                "overlays cannot be written to {}: {error}",
                folder.display()
            );
        }
        if self
            .side
            .try_send(BestEffort::Heatmap { report, png })
            .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
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

/// Writes one overlay and takes the oldest away.
fn keep(folder: &Path, report: &Report, png: &[u8]) -> std::io::Result<()> {
    let path = |seq: u64| folder.join(format!("{}-{seq:08}.png", report.seen_by));
    std::fs::create_dir_all(folder)?;
    std::fs::write(path(report.part.seq), png)?;
    if let Some(old) = report.part.seq.checked_sub(OVERLAYS_KEPT) {
        let _ = std::fs::remove_file(path(old)); // it may never have been drawn
    }
    Ok(())
}
