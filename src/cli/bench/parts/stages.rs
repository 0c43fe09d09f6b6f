//! The time of a part by stage: from the trigger given to the PLC's client until the broker's PUBACK, stage by stage.
//!
//! ```text
//! trigger -> received -> number durable -> frame asked for -> frame found -> settled -> result durable -> published -> PUBACK
//! ```
//! The frame's stage is the camera's: a trigger that means now waits for the next frame. So it is told apart, and the
//! goal is for what is left.

use crate::data::part::{Part, PartStage};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Keys and words of the stages between two marks, in the order of a part's way.
const STAGES: [(&str, &str); 8] = [
    ("received_ms", "the trigger comes"),
    ("numbered_ms", "its number is durable"),
    ("asked_ms", "the frame is asked for"),
    ("framed_ms", "the frame is there (camera)"),
    ("settled_ms", "judged"),
    ("written_ms", "the result is durable"),
    ("sent_ms", "published"),
    ("acked_ms", "PUBACK"),
];
/// Place of the camera's stage among them.
const FRAMED: usize = 3;
/// Marks of a part, in the order of its way.
const MARKS: [PartStage; 7] = [
    PartStage::Numbered,
    PartStage::Asked,
    PartStage::Framed,
    PartStage::Settled,
    PartStage::Written,
    PartStage::Sent,
    PartStage::Acked,
];

/// Sorted durations, for percentiles.
#[derive(Debug, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Sorts the durations.
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort();
        Sample(all)
    }

    /// Returns the number of durations.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns a percentile in milliseconds; `None` without any duration.
    pub fn at(&self, per_mille: usize) -> Option<f64> {
        // The place is rounded down, and nothing is interpolated; 1000 per mille is the largest.
        let last = self.0.len().checked_sub(1)?;
        let place = self.0.len() * per_mille / 1000;
        let duration = self.0[place.min(last)];
        Some(duration.as_secs_f64() * 1e3)
    }

    /// Returns the percentiles for a person.
    pub fn words(&self) -> String {
        // Without any duration the words say NaN, as a table has no empty cell.
        let ms = |per_mille| self.at(per_mille).unwrap_or(f64::NAN);
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
            ms(500),
            ms(990),
            ms(1000)
        )
    }

    /// Returns the percentiles as a JSON object.
    pub fn json(&self) -> Value {
        json!({ "p50_ms": self.at(500), "p99_ms": self.at(990), "max_ms": self.at(1000) })
    }
}

/// The stages of a round's parts.
#[derive(Debug, Default)]
pub struct StageSamples {
    each: Vec<Sample>,
    /// Times from the trigger to the PUBACK.
    pub whole: Sample,
    /// Times from the trigger to the PUBACK, without the wait for the frame.
    pub ours: Sample,
}

impl StageSamples {
    /// Takes the parts that went the whole way, each with the time at which its trigger was given to the
    /// client.
    pub fn of(parts: &[(Part, Instant)]) -> Self {
        // Each stage has a list, all of the same length: a part counts in all of them or in none.
        let mut each = vec![vec![]; STAGES.len()];
        let mut whole = vec![];
        let mut ours = vec![];
        for (part, sent) in parts {
            let Some(way) = way(part, *sent) else {
                continue;
            };

            // The camera's stage depends on its frame rate, not on this program.
            let total: Duration = way.iter().sum();
            whole.push(total);
            ours.push(total - way[FRAMED]);
            for (stage, took) in each.iter_mut().zip(way) {
                stage.push(took);
            }
        }

        StageSamples {
            each: each.into_iter().map(Sample::new).collect(),
            whole: Sample::new(whole),
            ours: Sample::new(ours),
        }
    }

    /// Prints a table for a person.
    pub fn tell(&self) {
        // Each stage has a row, and the sums follow, which are no sums of the percentiles.
        for ((_, words), sample) in STAGES.iter().zip(&self.each) {
            eprintln!("  {words:<28} {}", sample.words());
        }

        eprintln!("  {:<28} {}", "trigger to PUBACK", self.whole.words());
        eprintln!("  {:<28} {}", "without the frame's wait", self.ours.words());
    }

    /// Returns the percentiles of all stages as a JSON object.
    pub fn json(&self) -> Value {
        let mut json = serde_json::Map::new();
        for ((key, _), sample) in STAGES.iter().zip(&self.each) {
            json.insert((*key).to_owned(), sample.json());
        }

        json.insert("puback".to_owned(), self.whole.json());
        json.insert("puback_without_frame".to_owned(), self.ours.json());
        json.into()
    }
}

/// Returns the time of each stage; one that was over before the one before it took none. `None` for a part
/// that did not go the whole way.
fn way(part: &Part, sent: Instant) -> Option<Vec<Duration>> {
    // Marks are measured from the trigger's receipt. The first stage lies before them, in the
    // broker.
    let marks = &part.times;
    let mut way = vec![marks.since().saturating_duration_since(sent)];
    let mut before = Duration::ZERO;
    for stage in MARKS {
        // Stages of different threads may be noted out of order by microseconds; none is negative.
        let reached = marks.reached(stage)?.max(before);
        way.push(reached - before);
        before = reached;
    }

    Some(way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::part::tests::ask;

    #[test]
    fn the_stages_of_a_part_add_up_and_the_frames_wait_is_apart() {
        let ms = Duration::from_millis;
        let part = Part::new(1, "run".into(), 1, ask("top", ms(1000)));
        let since = part.times.since();
        let sent = since - ms(1);
        assert_eq!(StageSamples::of(&[(part.clone(), sent)]).whole.count(), 0);
        let times = [
            (PartStage::Numbered, 3),
            (PartStage::Asked, 4),
            (PartStage::Framed, 9),
            (PartStage::Settled, 9),
            (PartStage::Written, 12),
            (PartStage::Sent, 13),
            (PartStage::Acked, 15),
        ];

        times
            .iter()
            .for_each(|(stage, at)| part.times.reach_at(*stage, since + ms(*at)));

        let stages = StageSamples::of(&[(part, sent)]);
        let at = |sample: &Sample| sample.at(500).expect("one");
        assert_eq!(
            stages.each.iter().map(at).collect::<Vec<_>>(),
            [1.0, 3.0, 1.0, 5.0, 0.0, 3.0, 1.0, 2.0]
        );

        assert_eq!((at(&stages.whole), at(&stages.ours)), (16.0, 11.0));
    }
}
