//! A part's result as it is kept and sent: every key of the message in its order, typed, with a version.
//!
//! The store keeps a row as JSON with the schema in front. Two keys are missing there, because they
//! are known when a result leaves: `historical` and `given_up_before` (`protocol::result`).

use crate::data::frame::CapturedBy;
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::pose::Pose;
use crate::data::report::CameraView;
use crate::data::verdict::{Defect, Reason, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

/// Version of the keys of every message and of a stored row. Raised when a key changes its meaning.
pub const SCHEMA: u32 = 2;
/// Cells of the map in a result, at most. A larger map is max-pooled.
const MAP_CELLS_MAX: usize = 256;

/// One result. The order of the fields is the order of the keys on the wire and in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Number of the part, from 1 for each run and camera.
    pub seq: u64,
    /// The run that accepted the part.
    pub run_id: String,
    /// The line's own name for the part.
    pub part_id: Option<String>,
    /// The box that judged it.
    pub station: String,
    /// The camera, or the name that several cameras share.
    pub camera: String,
    /// The region of interest; `None` where the recipe names none.
    pub region: Option<String>,
    /// Pass, fail or undecided.
    pub verdict: Verdict,
    /// OPC 40100-1's code of the verdict.
    pub evaluation: u8,
    /// The gate's bit: true when the part has to leave the line.
    pub reject: bool,
    /// Anomaly score; `None` when the part was not judged.
    pub score: Option<f32>,
    /// Score from which a part fails; `None` when the recipe has none.
    pub threshold: Option<f32>,
    /// `score - threshold`, where both are known.
    pub margin: Option<f32>,
    /// Time of the frame, or of the trigger where there is no frame.
    #[serde(serialize_with = "milliseconds")]
    pub captured_at: Timestamp,
    /// The clock that stamped `captured_at`.
    pub captured_by: CapturedBy,
    /// Time from the part's own time to its frame, negative where the frame is earlier; 0 for a part
    /// that its frame made. `None` without a frame, and in rows of before 0.3.
    pub frame_offset_ms: Option<i64>,
    /// Milliseconds of each stage.
    pub latency_ms: LatencyMs,
    /// Time from the trigger until the verdict is due.
    pub deadline_ms: u64,
    /// True when the verdict was there in time.
    pub deadline_met: bool,
    /// Time from `captured_at` until the part is at the gate.
    pub reject_in_ms: Option<f64>,
    /// Encoder count at which the part is at the gate.
    pub reject_at_count: Option<i64>,
    /// Encoder count of the trigger.
    pub count: Option<i64>,
    /// Position of the trigger, in the sender's unit.
    pub position: Option<f64>,
    /// `name@revision` of the recipe.
    pub recipe: String,
    /// Name and digest of the model.
    pub model: String,
    /// Engine and precision.
    pub backend: String,
    /// Reason of an undecided verdict.
    pub reason: Option<Reason>,
    /// The reason in words for a person.
    pub detail: Option<String>,
    /// Id of the challenge that the part belongs to; such a part is no production.
    pub challenge: Option<String>,
    /// Verdict of each of several cameras that see the part.
    pub views: Vec<CameraView>,
    /// Areas of the map above the threshold, the worst ones.
    pub defects: Vec<Defect>,
    /// The anomaly map, small.
    pub map: Option<SmallMap>,
    /// Place and turn of the part; `None`, and not written, where the recipe does not locate parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pose: Option<PoseOnWire>,
    /// Millimetres of the part in a pixel of the camera's picture. `None`, and not written, without defects, and where the
    /// configuration does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mm_per_pixel: Option<f64>,
}

/// Place and turn of a part in the camera's picture, in few digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoseOnWire {
    /// Middle of the part, pixels to the right.
    pub x: f64,
    /// Middle of the part, pixels down.
    pub y: f64,
    /// Degrees against the master picture, clockwise.
    pub turn_deg: f64,
    /// Correlation with the part on the master picture, at most 1.
    pub likeness: f64,
}

impl PoseOnWire {
    /// The pose to a tenth of a pixel, a tenth of a degree and a hundredth of likeness.
    pub fn of(pose: &Pose) -> Self {
        let tenths = |value: f32| (f64::from(value) * 10.0).round() / 10.0;
        PoseOnWire {
            x: tenths(pose.x),
            y: tenths(pose.y),
            turn_deg: tenths(pose.turn_deg),
            likeness: (f64::from(pose.likeness) * 100.0).round() / 100.0,
        }
    }
}

/// Milliseconds that a part spent in each stage, to a tenth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Waiting for the inspector.
    pub queue: f64,
    /// Decoding and colour conversion in the camera; `None` where the source cannot tell.
    pub decode: Option<f64>,
    /// Resizing and normalising.
    pub pixels: f64,
    /// The encoder.
    pub encode: f64,
    /// Comparing features.
    pub score: f64,
    /// Time from arrival until the verdict.
    pub total: f64,
}

/// An anomaly map of at most 256 cells, row-major from the top left: `u8 / 255 * scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredMap")]
pub struct SmallMap {
    /// Cells along one side of a square map, for readers that know squares alone. `None` for any
    /// other map.
    pub side: Option<usize>,
    /// Columns.
    pub w: usize,
    /// Rows.
    pub h: usize,
    /// Value of a cell of 255.
    pub scale: f32,
    /// One byte a cell; base64 in JSON.
    #[serde(rename = "u8", with = "base64_bytes")]
    pub cells: Vec<u8>,
}

/// A [`SmallMap`] as rows hold it: those of before 0.3 have `side` alone.
#[derive(Deserialize)]
struct StoredMap {
    side: Option<usize>,
    w: Option<usize>,
    h: Option<usize>,
    scale: f32,
    #[serde(rename = "u8", with = "base64_bytes")]
    cells: Vec<u8>,
}

impl TryFrom<StoredMap> for SmallMap {
    type Error = &'static str;

    fn try_from(stored: StoredMap) -> Result<Self, Self::Error> {
        let missing = "a map has w and h, or side";
        Ok(SmallMap {
            side: stored.side,
            w: stored.w.or(stored.side).ok_or(missing)?,
            h: stored.h.or(stored.side).ok_or(missing)?,
            scale: stored.scale,
            cells: stored.cells,
        })
    }
}

/// The version of a row, whatever its other keys are.
#[derive(Deserialize)]
struct RowVersion {
    schema: u32,
}

/// Beginning of each row of today's [`SCHEMA`], as [`ResultRow::to_stored`] writes it.
const TODAYS: &str = "{\"schema\":2,";

/// The schema that a row names.
///
/// # Errors
/// When it is no JSON, or names none.
pub fn schema_of(text: &str) -> Result<u32, RowError> {
    let version: RowVersion = serde_json::from_str(text)?;

    Ok(version.schema)
}

/// A stored row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// No JSON, or not the keys of a row.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Keys of another version.
    #[error("schema {found}, not {SCHEMA}")]
    Schema {
        /// The version that the row names.
        found: u32,
    },
}

/// JSON with its version in front: every message but `availability`, and every stored row.
#[derive(Debug, Serialize)]
pub struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

impl<T> Versioned<T> {
    /// `content` under today's [`SCHEMA`].
    pub fn new(content: T) -> Self {
        Versioned {
            schema: SCHEMA,
            content,
        }
    }
}

impl ResultRow {
    /// The row as the store keeps it.
    pub fn to_stored(&self) -> String {
        serde_json::to_string(&Versioned::new(self)).expect("a row is plain values")
    }

    /// Reads what [`ResultRow::to_stored`] wrote.
    ///
    /// # Errors
    /// When the text is no row, or one of another schema.
    pub fn from_stored(text: &str) -> Result<Self, RowError> {
        // One reading where the version stands in front, as it does in every row of ours.
        if text.starts_with(TODAYS) {
            let row = serde_json::from_str(text)?;
            return Ok(row);
        }

        match schema_of(text)? {
            SCHEMA => Ok(serde_json::from_str(text)?),
            found => Err(RowError::Schema { found }),
        }
    }

    /// The last levels of the topic of the newest verdict: `camera`, or `camera/region`.
    pub fn place(&self) -> String {
        match &self.region {
            Some(region) => format!("{}/{region}", self.camera),
            None => self.camera.to_string(),
        }
    }
}

impl SmallMap {
    /// `map` max-pooled to at most 256 cells, scaled by its highest value.
    pub fn of(map: &Map) -> Self {
        let grid = small_grid(map.grid());
        let pooled = max_pooled(map, grid);

        // The smallest positive number stands for a map of zeros, by which 0 can be divided.
        let mut scale = f32::MIN_POSITIVE;

        for value in &pooled {
            scale = scale.max(*value);
        }

        // Each cell takes one byte: its share of the highest.
        let mut cells = Vec::with_capacity(pooled.len());

        for value in pooled {
            let share = value / scale;
            cells.push((share * 255.0).round() as u8);
        }

        SmallMap {
            side: grid.is_square().then_some(grid.w),
            w: grid.w,
            h: grid.h,
            scale,
            cells,
        }
    }
}

/// The grid of a map in a result: its own where that is small enough.
fn small_grid(grid: Grid) -> Grid {
    if grid.cells() <= MAP_CELLS_MAX {
        return grid;
    }

    // Pooling never adds columns or rows.
    let nearest = Grid::nearest(grid.w, grid.h, MAP_CELLS_MAX, MAP_CELLS_MAX);
    Grid {
        w: nearest.w.min(grid.w),
        h: nearest.h.min(grid.h),
    }
}

/// The highest value of `map` in each cell of `to`.
fn max_pooled(map: &Map, to: Grid) -> Vec<f32> {
    let from = map.grid();
    let mut pooled = vec![0.0f32; to.cells()];

    // Each cell of the large map lies in one cell of the small one, whose value is the highest of
    // its cells: a mean would hide a small defect.
    for (at, value) in map.values().iter().enumerate() {
        let row = from.row(at) * to.h / from.h;
        let column = from.column(at) * to.w / from.w;
        let cell = &mut pooled[row * to.w + column];
        *cell = cell.max(*value);
    }

    pooled
}

/// Milliseconds, to a tenth.
pub fn tenths_of_ms(duration: Duration) -> f64 {
    // The time is rounded to a tenth of a millisecond: more digits would be noise, and bytes in
    // each message.
    let tenths = duration.as_secs_f64() * 1e4;

    tenths.round() / 10.0
}

/// Whole milliseconds of a distance in time. One beyond all bounds is cut to them.
pub fn whole_ms(distance: SignedDuration) -> i64 {
    distance.as_millis().clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// RFC 3339, UTC, milliseconds: the form of every time in a message.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn milliseconds<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{at:.3}"))
}

/// Bytes as base64 text.
mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    pub(super) fn serialize<S>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        // The alphabet is the standard one with padding, which every base64 decoder reads.
        let text = STANDARD.encode(bytes);

        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'a, D>(from: D) -> Result<Vec<u8>, D::Error>
    where
        D: Deserializer<'a>,
    {
        // serde reads a `Cow` as an owned copy, whether or not the text holds an escape.
        let text = Cow::<str>::deserialize(from)?;
        let bytes = STANDARD.decode(text.as_bytes());

        bytes.map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible row, for tests of what handles rows.
    pub(crate) fn row(camera: &str, seq: u64) -> ResultRow {
        ResultRow {
            seq,
            run_id: "01TEST".into(),
            part_id: None,
            station: "box".into(),
            camera: camera.into(),
            region: None,
            verdict: Verdict::Undecided,
            evaluation: 3,
            reject: true,
            score: None,
            threshold: Some(0.337),
            margin: None,
            captured_at: Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Trigger,
            frame_offset_ms: None,
            latency_ms: LatencyMs {
                queue: 0.1,
                decode: None,
                pixels: 0.0,
                encode: 0.0,
                score: 0.0,
                total: 12.3,
            },
            deadline_ms: 80,
            deadline_met: false,
            reject_in_ms: None,
            reject_at_count: None,
            count: None,
            position: None,
            recipe: "nut@7".into(),
            model: "vit@fa8e".into(),
            backend: "onnx-fp32".into(),
            reason: Some(Reason::Late),
            detail: None,
            challenge: None,
            views: vec![],
            defects: vec![],
            map: None,
            pose: None,
            mm_per_pixel: None,
        }
    }

    #[test]
    fn a_row_that_was_stored_is_the_same_to_the_last_digit() {
        let mut row = row("top", u64::MAX);
        row.score = Some(0.016_069_055);
        row.position = Some(0.1 + 0.2);
        row.reject_at_count = Some(i64::MIN);
        row.part_id = Some("a \"quoted\" part, \u{e4}\n".to_owned());
        row.region = Some("left".into());
        row.views = vec![CameraView {
            camera: "a".to_owned(),
            verdict: Verdict::Fail,
            score: Some(f32::MIN_POSITIVE),
            reason: None,
        }];

        row.defects = vec![Defect {
            x: 1,
            y: 2,
            w: 3,
            h: 4,
            peak: 1.0 / 3.0,
        }];

        row.map = Some(SmallMap::of(&Map::new(
            Grid::square(37),
            vec![0.7; 37 * 37],
        )));
        row.pose = Some(PoseOnWire {
            x: 161.5,
            y: 80.0,
            turn_deg: -12.3,
            likeness: 0.94,
        });
        row.mm_per_pixel = Some(0.1 + 0.2);

        let text = row.to_stored();
        assert!(text.starts_with(TODAYS), "{text}");
        assert!(text.starts_with("{\"schema\":2,\"seq\":18446744073709551615,\"run_id\""));
        let again = ResultRow::from_stored(&text).expect("just written");
        assert_eq!(again, row);
        assert_eq!(again.to_stored(), text);
        assert_eq!(again.place(), "top/left");
    }

    #[test]
    fn a_row_of_another_schema_or_without_a_key_is_refused() {
        let text = row("top", 1).to_stored();
        let other = text.replacen("\"schema\":2", "\"schema\":3", 1);
        let error = ResultRow::from_stored(&other).expect_err("another schema");
        assert_eq!(error.to_string(), "schema 3, not 2");
        let short = text.replacen("\"verdict\":\"undecided\",", "", 1);
        let error = ResultRow::from_stored(&short).expect_err("a key is missing");
        assert!(error.to_string().contains("verdict"), "{error}");
        assert!(ResultRow::from_stored(&text[..text.len() - 1]).is_err());
    }

    #[test]
    fn a_larger_map_is_pooled_by_its_maximum() {
        let mut values = vec![0.0; 32 * 32];
        values[5 * 32 + 9] = 2.0;
        let small = SmallMap::of(&Map::new(Grid::square(32), values));
        assert_eq!((small.side, small.w, small.h), (Some(16), 16, 16));
        assert_eq!(small.cells[2 * 16 + 4], 255);
        assert_eq!(small.scale, 2.0);
        assert_eq!(small.cells.iter().filter(|cell| **cell > 0).count(), 1);
    }

    #[test]
    fn an_oblong_map_keeps_its_aspect_and_has_no_side() {
        let small = |w: usize, h: usize| {
            let mut values = vec![0.0; w * h];
            values[w * h - 1] = 1.0;
            let small = SmallMap::of(&Map::new(Grid { w, h }, values));
            assert_eq!(small.cells.len(), small.w * small.h);
            assert_eq!(small.cells.last(), Some(&255));
            (small.side, small.w, small.h)
        };

        // A cell off the diagonal stays in its row and column.
        let mut values = vec![0.0; 60 * 20];
        values[18 * 60 + 5] = 1.0;
        let map = SmallMap::of(&Map::new(Grid { w: 60, h: 20 }, values));
        let hot = map.cells.iter().position(|cell| *cell == 255);
        let hot = hot.expect("a hot cell");
        assert_eq!((hot / map.w, hot % map.w), (18 * 9 / 20, 5 * 27 / 60));
        assert_eq!(small(10, 25), (None, 10, 25));
        assert_eq!(small(60, 20), (None, 27, 9));
        assert_eq!(small(128, 1), (None, 128, 1));
        assert_eq!(small(2, 129), (None, 2, 128));
        assert_eq!(small(1, 300), (None, 1, 256));
    }

    #[test]
    fn a_map_that_was_stored_with_its_side_alone_is_read() {
        let old = r#"{"side":2,"scale":0.5,"u8":"AAECAw=="}"#;
        let map: SmallMap = serde_json::from_str(old).expect("a map of before 0.3");
        assert_eq!((map.side, map.w, map.h), (Some(2), 2, 2));
        assert_eq!(map.cells, [0, 1, 2, 3]);
        let new = serde_json::to_string(&map).expect("plain values");
        assert_eq!(new, r#"{"side":2,"w":2,"h":2,"scale":0.5,"u8":"AAECAw=="}"#);

        let without = serde_json::from_str::<SmallMap>(r#"{"scale":0.5,"u8":""}"#);
        let error = without.expect_err("no size");
        assert!(error.to_string().contains("w and h, or side"), "{error}");
    }
}
