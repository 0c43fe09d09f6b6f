//! Layer 2: everything that is known of one judged part. What the store keeps and the publisher turns into a message.

use crate::frame::{Area, CapturedBy, Picture};
use crate::verdict::{Map, Reason, Region, Verdict};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One region's result on one part. `seq` is unique and gap-free per (run, camera), from 1.
#[derive(Debug, Clone)]
pub struct Report {
    pub seq: u64,
    pub run_id: Arc<str>,
    pub part_id: Option<String>,
    pub camera: Arc<str>,
    /// The recipe's region; nothing where it names none.
    pub region: Option<Arc<str>>,
    pub verdict: Verdict,
    pub reason: Option<Reason>,
    /// What the reason found, in words for a person.
    pub detail: Option<String>,
    pub score: Option<f32>,
    pub threshold: Option<f32>,
    pub captured_at: Timestamp,
    pub captured_by: CapturedBy,
    /// Our monotonic clock at arrival: deadline and total latency count from here.
    pub arrived: Instant,
    pub took: Took,
    pub deadline: Duration,
    /// `name@revision` of the recipe that judged it.
    pub recipe: Arc<str>,
    pub regions: Vec<Region>,
    pub map: Option<Map>,
    /// The part of the picture that the map covers.
    pub area: Option<Area>,
}

/// Working and waiting time of one part, apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Took {
    /// From arrival until the inspector took it.
    pub queue: Duration,
    /// In the camera: decoding and colour conversion, where it can tell.
    pub decode: Option<Duration>,
    /// Resize and normalisation.
    pub pixels: Duration,
    pub encode: Duration,
    pub score: Duration,
    /// From arrival until the verdict stood.
    pub total: Duration,
}

/// A judged picture for people: what a heat map is drawn from. May be dropped, never waited for.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub report: Arc<Report>,
    pub picture: Arc<Picture>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible report, for tests of what handles reports.
    pub(crate) fn report(seq: u64) -> Report {
        Report {
            seq,
            run_id: "01TEST".into(),
            part_id: None,
            camera: "top".into(),
            region: None,
            verdict: Verdict::Fail,
            reason: None,
            detail: None,
            score: Some(0.412),
            threshold: Some(0.337),
            captured_at: Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            took: Took::default(),
            deadline: Duration::from_millis(80),
            recipe: "nut@7".into(),
            regions: vec![Region { x: 1, y: 2, w: 3, h: 4, peak: 0.5 }; 5],
            area: None,
            map: Some(Map::new(37, (0..37 * 37).map(|i| i as f32 / 1369.0).collect())),
        }
    }
}
