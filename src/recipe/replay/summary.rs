//! Counts of a replay, and their words.

use super::{Bytes, NotJudged, Replayed};
use crate::data::verdict::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The counts of a replay. Each part is one of: the same, passing, failing, decided, undecided, not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplaySummary {
    /// All parts.
    pub parts: usize,
    /// Parts with the verdict that they had.
    pub same: usize,
    /// Parts that would pass, and failed.
    pub passes_more: usize,
    /// Parts that would fail, and passed.
    pub fails_more: usize,
    /// Parts that were undecided, and would pass.
    pub undecided_would_pass: usize,
    /// Parts that were undecided, and would fail.
    pub undecided_would_fail: usize,
    /// Parts that would be undecided, and were not.
    pub would_be_undecided: usize,
    /// Parts of all that were judged that failed.
    pub failed: usize,
    /// Parts of all that were judged that would fail.
    pub would_fail: usize,
    /// Parts that are not judged, by the reason.
    pub not_judged: BTreeMap<&'static str, usize>,
    /// Parts whose score and map are the same bit for bit.
    pub same_bytes: usize,
    /// Parts whose score or map is another, although nothing is known to have changed.
    pub other_bytes: usize,
    /// Parts whose bytes cannot be compared, by the reason.
    pub not_compared: BTreeMap<&'static str, usize>,
}

impl ReplaySummary {
    /// Counts a part that was judged.
    pub fn add(&mut self, replayed: &Replayed) {
        let was = replayed.was.verdict;
        let now = replayed.now.verdict;
        self.parts += 1;
        self.failed += usize::from(was == Verdict::Fail);
        self.would_fail += usize::from(now == Verdict::Fail);

        let count = match (was, now) {
            (Verdict::Fail, Verdict::Pass) => &mut self.passes_more,
            (Verdict::Pass, Verdict::Fail) => &mut self.fails_more,
            (Verdict::Undecided, Verdict::Pass) => &mut self.undecided_would_pass,
            (Verdict::Undecided, Verdict::Fail) => &mut self.undecided_would_fail,
            (Verdict::Pass | Verdict::Fail, Verdict::Undecided) => &mut self.would_be_undecided,
            _ => &mut self.same,
        };

        *count += 1;

        match (replayed.bytes, replayed.bytes.why_not()) {
            (_, Some(why)) => *self.not_compared.entry(why).or_default() += 1,
            (Bytes::Same, None) => self.same_bytes += 1,
            (_, None) => self.other_bytes += 1,
        }
    }

    /// Counts a part that cannot be judged.
    pub fn add_not_judged(&mut self, why: &NotJudged) {
        self.parts += 1;
        *self.not_judged.entry(why.kind()).or_default() += 1;
    }

    /// Parts that are not judged.
    pub fn not_judged(&self) -> usize {
        self.not_judged.values().sum()
    }

    /// Words on the bytes of scores and maps.
    fn bytes_in_words(&self) -> String {
        let compared = self.same_bytes + self.other_bytes;
        let mut words = match compared {
            0 => String::new(),
            _ => format!(
                "score and map of {} of {compared} are the same bit for bit",
                self.same_bytes
            ),
        };

        for (why, count) in &self.not_compared {
            let separator = if words.is_empty() { "" } else { "; " };
            words += &format!("{separator}{count} cannot be compared ({why})");
        }

        words
    }
}

impl fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parts: {} the same", self.parts, self.same)?;

        // Both ways are told even where there is none: that is what is asked for.
        write!(f, ", {} would pass that failed", self.passes_more)?;
        write!(f, ", {} would fail that passed", self.fails_more)?;

        let others = [
            ("would pass that were undecided", self.undecided_would_pass),
            ("would fail that were undecided", self.undecided_would_fail),
            ("would be undecided", self.would_be_undecided),
        ];

        for (words, count) in others.iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {words}")?;
        }

        if !self.not_judged.is_empty() {
            let each = self.not_judged.iter();
            let each: Vec<String> = each
                .map(|(why, count)| format!("{why} ({count})"))
                .collect();
            let count = self.not_judged();
            write!(f, "; {count} not judged because {}", each.join(", "))?;
        }

        let bytes = self.bytes_in_words();
        match bytes.is_empty() {
            true => Ok(()),
            false => write!(f, "\n{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::replay::Judgement;

    fn replayed(was: Verdict, now: Verdict, bytes: Bytes) -> Replayed {
        let judgement = |verdict| Judgement {
            recipe: "nut@1".to_owned(),
            verdict,
            reason: None,
            detail: None,
            score: Some(0.3),
            threshold: Some(0.4),
        };

        Replayed {
            part: "01TEST/top/1".to_owned(),
            part_id: None,
            region: None,
            was: judgement(was),
            now: judgement(now),
            bytes,
        }
    }

    #[test]
    fn each_part_is_counted_once_and_both_ways_are_told() {
        use Verdict::{Fail, Pass, Undecided};
        let mut summary = ReplaySummary::default();
        summary.add(&replayed(Pass, Pass, Bytes::Same));
        summary.add(&replayed(Fail, Pass, Bytes::Same));
        summary.add(&replayed(Pass, Fail, Bytes::Other));
        summary.add(&replayed(Undecided, Pass, Bytes::NotScored));
        summary.add(&replayed(Fail, Undecided, Bytes::Lossy));
        summary.add(&replayed(Undecided, Undecided, Bytes::NotScored));
        summary.add_not_judged(&NotJudged::OtherRecipe("bolt@4".to_owned()));
        summary.add_not_judged(&NotJudged::OtherRecipe("bolt@5".to_owned()));

        assert_eq!((summary.failed, summary.would_fail), (2, 1));
        assert_eq!(
            summary.to_string(),
            "8 parts: 2 the same, 1 would pass that failed, 1 would fail that passed, 1 would pass that were \
             undecided, 1 would be undecided; 2 not judged because another recipe judged them (2)\n\
             score and map of 2 of 3 are the same bit for bit; 1 cannot be compared (kept as JPEG); \
             2 cannot be compared (not scored)"
        );
    }
}
