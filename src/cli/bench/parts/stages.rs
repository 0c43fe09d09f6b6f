//! Where a part's time goes: from the trigger given to the PLC's client until the broker's PUBACK, stage by stage.
//!
//! ```text
//! trigger -> received -> number durable -> frame asked for -> frame found -> settled -> result durable -> published -> PUBACK
//! ```
//! The frame's stage is the camera's: a trigger that means now waits for the next frame. So it is told apart, and the
//! goal is for what is left.

use crate::data::part::{Part, PartStage};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Between two marks, as the table names it.
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
/// The place of the camera's among them.
const FRAMED: usize = 3;

/// Durations that can be asked for percentiles.
#[derive(Debug, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort();
        Sample(all)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds; nothing of nothing.
    pub fn at(&self, per_mille: usize) -> Option<f64> {
        let place = (self.0.len() * per_mille / 1000).min(self.0.len().checked_sub(1)?);
        Some(self.0[place].as_secs_f64() * 1e3)
    }

    /// For a person.
    pub fn words(&self) -> String {
        let ms = |per_mille| self.at(per_mille).unwrap_or(f64::NAN);
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
            ms(500),
            ms(990),
            ms(1000)
        )
    }

    pub fn json(&self) -> Value {
        json!({ "p50_ms": self.at(500), "p99_ms": self.at(990), "max_ms": self.at(1000) })
    }
}

/// The stages of a round's parts.
#[derive(Debug, Default)]
pub struct Stages {
    each: Vec<Sample>,
    /// From the trigger to the PUBACK.
    pub whole: Sample,
    /// The same without the wait for the frame.
    pub ours: Sample,
}

impl Stages {
    /// Of those parts that went the whole way; each with when its trigger was given to the client.
    pub fn of(parts: &[(Part, Instant)]) -> Self {
        let ways: Vec<Vec<Duration>> = parts
            .iter()
            .filter_map(|(part, sent)| way(part, *sent))
            .collect();
        let each =
            (0..STAGES.len()).map(|stage| Sample::new(ways.iter().map(|way| way[stage]).collect()));
        let whole = |way: &Vec<Duration>| way.iter().sum::<Duration>();
        Stages {
            each: each.collect(),
            whole: Sample::new(ways.iter().map(whole).collect()),
            ours: Sample::new(ways.iter().map(|way| whole(way) - way[FRAMED]).collect()),
        }
    }

    /// A table for a person.
    pub fn tell(&self) {
        for ((_, words), sample) in STAGES.iter().zip(&self.each) {
            eprintln!("  {words:<28} {}", sample.words());
        }
        eprintln!("  {:<28} {}", "trigger to PUBACK", self.whole.words());
        eprintln!("  {:<28} {}", "without the frame's wait", self.ours.words());
    }

    pub fn json(&self) -> Value {
        let mut json: serde_json::Map<String, Value> = STAGES
            .iter()
            .zip(&self.each)
            .map(|((key, _), sample)| ((*key).to_owned(), sample.json()))
            .collect();
        json.insert("puback".to_owned(), self.whole.json());
        json.insert("puback_without_frame".to_owned(), self.ours.json());
        json.into()
    }
}

/// The time of each stage; one that was over before the one before it took none.
fn way(part: &Part, sent: Instant) -> Option<Vec<Duration>> {
    let marks = &part.marks;
    let came = marks.since().saturating_duration_since(sent);
    let mut before = Duration::ZERO;
    let rest = [
        PartStage::Numbered,
        PartStage::Asked,
        PartStage::Framed,
        PartStage::Settled,
        PartStage::Written,
        PartStage::Sent,
        PartStage::Acked,
    ];
    let mut way = vec![came];
    for stage in rest {
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
        let since = part.marks.since();
        let sent = since - ms(1);
        assert_eq!(Stages::of(&[(part.clone(), sent)]).whole.count(), 0);
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
            .for_each(|(stage, at)| part.marks.reach_at(*stage, since + ms(*at)));
        let stages = Stages::of(&[(part, sent)]);
        let at = |sample: &Sample| sample.at(500).expect("one");
        assert_eq!(
            stages.each.iter().map(at).collect::<Vec<_>>(),
            [1.0, 3.0, 1.0, 5.0, 0.0, 3.0, 1.0, 2.0]
        );
        assert_eq!((at(&stages.whole), at(&stages.ours)), (16.0, 11.0));
    }
}
