//! The counters of the shift: verdicts since somebody reset them, and who that was.
//!
//! They are the line's own counters less those at the reset, so that nothing is counted twice or lost. Both begin anew
//! when the line starts.

use crate::data::part_counts::{PartTotals, VerdictCount};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

/// The line's counters at the beginning of the shift.
#[derive(Debug, Clone, Default)]
pub struct ShiftBase {
    /// Time, and who reset them; `None` while nobody has since the start.
    begun: Option<(Timestamp, String)>,
    places: BTreeMap<String, VerdictCount>,
}

impl ShiftBase {
    /// A shift that begins now.
    pub fn new(now: Timestamp, who: String, parts: &PartTotals) -> Self {
        ShiftBase {
            begun: Some((now, who)),
            places: parts.places.clone(),
        }
    }

    /// Verdicts by place since then; places without one are left out.
    pub fn since(&self, parts: &PartTotals) -> BTreeMap<String, VerdictCount> {
        let mut counted = BTreeMap::new();

        for (place, counts) in &parts.places {
            let before = self.places.get(place).copied().unwrap_or_default();
            let since = *counts - before;

            if since != VerdictCount::default() {
                counted.insert(place.clone(), since);
            }
        }

        counted
    }

    /// All verdicts since then.
    pub fn all_since(&self, parts: &PartTotals) -> VerdictCount {
        let counted = self.since(parts);

        counted.values().copied().sum()
    }

    /// Since when the shift counts, and by whom.
    pub fn words(&self) -> String {
        let Some((at, who)) = &self.begun else {
            return "Counted since the line started.".to_owned();
        };

        let local = at.to_zoned_datetime(TimeZone::system());
        let at = local.strftime("%a %H:%M:%S");

        format!("Reset {at} by {who}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(places: &[(&str, u64)]) -> PartTotals {
        let places = places.iter().map(|(place, pass)| {
            let counts = VerdictCount {
                pass: *pass,
                ..VerdictCount::default()
            };

            ((*place).to_owned(), counts)
        });

        PartTotals {
            places: places.collect(),
            ..PartTotals::default()
        }
    }

    #[test]
    fn a_shift_counts_what_came_since_its_reset() {
        let start = ShiftBase::default();
        let before = totals(&[("side", 3), ("top", 5)]);
        assert_eq!(start.since(&before), before.places);
        let shift = ShiftBase::new(Timestamp::UNIX_EPOCH, "anna".to_owned(), &before);
        assert!(shift.since(&before).is_empty());
        let later = totals(&[("new", 1), ("side", 3), ("top", 7)]);
        let since: Vec<(String, u64)> = shift
            .since(&later)
            .into_iter()
            .map(|(place, counts)| (place, counts.pass))
            .collect();

        assert_eq!(since, [("new".to_owned(), 1), ("top".to_owned(), 2)]);
        assert!(shift.words().ends_with("by anna."), "{}", shift.words());
    }
}
