//! The way of damage through a stream: from a picture to all that are predicted from it, up to the
//! next picture at which decoding may begin.
//!
//! ```text
//! decoding order   I P P X P P I P ...
//! corrupt                - - -          X is damaged; P after it shows what X lacks
//! ```

use super::bitstream::{AccessUnit, Entry};
use std::sync::Arc;

/// The cause of the pictures before a stream's first entry.
const NO_ENTRY: &str = "no key frame came before it";

/// Beginning of FFmpeg's words when it shows pictures that stand for lost ones. They come out with the
/// times of other units, that of the next key frame among them.
const SHOWS_LOST: &str = "get_buffer() failed";

/// The state of a stream's reference pictures.
#[derive(Debug)]
pub struct References {
    /// Cause why pictures that follow now are corrupt.
    broken: Option<Arc<str>>,
    /// Cause why pictures that are shown before the last entry are corrupt.
    leading: Option<Arc<str>>,
    /// Presentation time of the last open entry, in nanoseconds.
    entry_pts: Option<u64>,
    /// Reference pictures until a gradual refresh is done. `None` when none is under way.
    refresh: Option<u32>,
    /// True once the stream showed an entry: then an intra picture alone is none.
    knows_entries: bool,
    /// True if the last unit was shown before its entry.
    was_leading: bool,
    /// True if the last unit may be a reference.
    was_reference: bool,
    /// True while pictures may come out under the time of another unit.
    is_confused: bool,
}

impl Default for References {
    fn default() -> Self {
        References {
            broken: Some(NO_ENTRY.into()),
            leading: None,
            entry_pts: None,
            refresh: None,
            knows_entries: false,
            was_leading: false,
            was_reference: false,
            is_confused: false,
        }
    }
}

impl References {
    /// Takes the next unit in decoding order, and its presentation time. Returns the cause why its
    /// picture is corrupt; `None` for a whole one.
    pub fn follow(&mut self, unit: &AccessUnit, pts: Option<u64>) -> Option<Arc<str>> {
        // Lost references break everything but a closed entry. An open one needs none of them itself,
        // but the pictures that are shown before it do.
        let needs_references = unit.entry != Entry::Closed;

        if let Some(lost) = &unit.lost_before
            && needs_references
        {
            self.break_with(lost.as_str().into());
        }

        if unit.damage.is_none() {
            self.enter(unit, pts);
        }

        self.was_reference = unit.is_reference;
        self.was_leading = unit.is_leading || self.is_before_entry(pts);

        if !self.was_leading && unit.entry == Entry::None {
            self.leave_entry();
        }

        if let Some(damage) = &unit.damage {
            let cause: Arc<str> = damage.as_str().into();
            self.spread(&cause);
            return Some(cause);
        }

        let inherited = match self.was_leading {
            true => self.leading.as_ref().or(self.broken.as_ref()),
            false => self.broken.as_ref(),
        };

        inherited.cloned()
    }

    /// Takes a fault of the last unit that the decoder found. Returns the cause for its picture.
    pub fn decoder_found(&mut self, words: &str) -> Arc<str> {
        self.is_confused |= words.starts_with(SHOWS_LOST);
        let cause: Arc<str> = format!("the decoder says: {words}").into();
        self.spread(&cause);

        cause
    }

    /// The cause why pictures that follow now are corrupt. `None` while they are whole.
    pub fn broken(&self) -> Option<Arc<str>> {
        self.broken.clone()
    }

    /// Spreads the damage of the last unit to the pictures that may be predicted from it.
    fn spread(&mut self, cause: &Arc<str>) {
        // A picture that is shown before its entry, and lacks what was lost before it, is a reference
        // for others of that kind alone. Where nothing is known to be lost before the entry, it may
        // be the entry that is lost, and all that follows lacks it.
        if self.was_leading && self.leading.is_some() {
            self.leading = Some(follows(cause));
        } else if self.was_reference {
            self.break_with(follows(cause));
        }
    }

    fn break_with(&mut self, cause: Arc<str>) {
        self.broken = Some(cause);

        // A refresh that damage fell into is not done at its end.
        self.refresh = None;
    }

    /// Ends the damage where the undamaged unit is an entry, or the end of a gradual refresh.
    fn enter(&mut self, unit: &AccessUnit, pts: Option<u64>) {
        if unit.entry != Entry::None {
            self.knows_entries = true;
        }

        match unit.entry {
            Entry::Closed if self.is_confused => {
                // Of two pictures with the key frame's time only one is the key frame.
                self.is_confused = false;
                self.open(pts.map(|pts| pts + 1));
            }

            Entry::Closed => {
                self.broken = None;
                self.leading = None;
                self.entry_pts = None;
                self.refresh = None;
            }

            Entry::Open => self.open(pts),
            Entry::Gradual(count) if self.broken.is_some() && self.refresh.is_none() => {
                self.refresh = Some(count);
            }

            Entry::Gradual(_) | Entry::None => self.advance(unit, pts),
        }
    }

    /// Goes on where decoding cannot begin with certainty.
    fn advance(&mut self, unit: &AccessUnit, pts: Option<u64>) {
        // Some encoders mark nothing. Their intra pictures are all there is to begin with.
        if unit.is_intra && !self.knows_entries {
            self.open(pts);
        }

        // A reference picture is one step of a refresh that is under way; the last step is right.
        if let Some(left) = self.refresh
            && unit.is_reference
        {
            match left {
                0 | 1 => self.open(pts),
                _ => self.refresh = Some(left - 1),
            }
        }
    }

    /// Begins anew for all that is shown from now on.
    fn open(&mut self, pts: Option<u64>) {
        self.leading = self.broken.take();
        self.entry_pts = pts;
        self.refresh = None;
    }

    /// Forgets the last entry: its leading pictures are decoded before all others.
    fn leave_entry(&mut self) {
        self.leading = None;
        self.entry_pts = None;
    }

    fn is_before_entry(&self, pts: Option<u64>) -> bool {
        match (pts, self.entry_pts) {
            (Some(pts), Some(entry)) => pts < entry,
            _ => false,
        }
    }
}

/// The cause of pictures behind a damaged one.
fn follows(cause: &str) -> Arc<str> {
    format!("it follows a damaged picture ({cause})").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(entry: Entry) -> AccessUnit {
        AccessUnit {
            entry,
            is_reference: true,
            ..AccessUnit::default()
        }
    }

    fn damaged() -> AccessUnit {
        AccessUnit {
            damage: Some("slices are missing".to_owned()),
            ..unit(Entry::None)
        }
    }

    /// One letter a unit, in the order of decoding: `w` whole, `c` corrupt.
    fn letters(units: &[(AccessUnit, u64)]) -> String {
        let mut references = References::default();
        let mut letters = String::new();
        for (unit, pts) in units {
            let cause = references.follow(unit, Some(*pts));
            letters.push(if cause.is_some() { 'c' } else { 'w' });
        }

        letters
    }

    #[test]
    fn damage_lasts_up_to_the_next_key_frame() {
        let key = || unit(Entry::Closed);
        let other = || unit(Entry::None);
        let units = [
            (other(), 0),
            (key(), 1),
            (other(), 2),
            (damaged(), 3),
            (other(), 4),
            (key(), 5),
            (other(), 6),
        ];

        assert_eq!(letters(&units), "cwwccww");
    }

    #[test]
    fn a_damaged_picture_that_is_no_reference_harms_itself_alone() {
        let alone = AccessUnit {
            is_reference: false,
            ..damaged()
        };

        let units = [(unit(Entry::Closed), 0), (alone, 1), (unit(Entry::None), 2)];
        assert_eq!(letters(&units), "wcw");
    }

    #[test]
    fn pictures_shown_before_an_open_entry_lack_what_was_lost_before_it() {
        // Decoded I0 P3 b1 b2 | I6 b4 b5 P9: P3 is damaged, b4 and b5 are predicted from it.
        let units = [
            (unit(Entry::Closed), 0),
            (damaged(), 3),
            (unit(Entry::None), 1),
            (unit(Entry::Open), 6),
            (unit(Entry::None), 4),
            (unit(Entry::None), 9),
        ];

        assert_eq!(letters(&units), "wccwcw");
    }

    #[test]
    fn a_gradual_refresh_ends_with_its_last_picture() {
        let units = [
            (unit(Entry::Gradual(2)), 0),
            (unit(Entry::None), 1),
            (unit(Entry::None), 2),
            (damaged(), 3),
            (unit(Entry::Gradual(2)), 4),
            (damaged(), 5),
            (unit(Entry::None), 6),
            (unit(Entry::Gradual(2)), 7),
            (unit(Entry::None), 8),
            (unit(Entry::None), 9),
        ];

        assert_eq!(letters(&units), "ccwccccccw");
    }

    #[test]
    fn intra_pictures_are_entries_of_a_stream_that_marks_none() {
        let intra = AccessUnit {
            is_intra: true,
            ..unit(Entry::None)
        };

        let units = [
            (unit(Entry::None), 0),
            (intra.clone(), 1),
            (damaged(), 2),
            (unit(Entry::None), 3),
            (intra, 4),
        ];

        assert_eq!(letters(&units), "cwccw");
    }

    #[test]
    fn lost_references_break_all_but_a_key_frame() {
        let lost = AccessUnit {
            lost_before: Some("frame_num 5 after 2".to_owned()),
            ..unit(Entry::None)
        };

        let units = [(unit(Entry::Closed), 0), (lost, 1), (unit(Entry::None), 2)];
        assert_eq!(letters(&units), "wcc");
    }

    #[test]
    fn a_lost_entry_breaks_its_leading_pictures_and_all_others() {
        let mut references = References::default();
        assert_eq!(references.follow(&unit(Entry::Open), Some(0)), None);
        assert_eq!(references.follow(&unit(Entry::None), Some(1)), None);
        let leading = AccessUnit {
            is_leading: true,
            ..unit(Entry::None)
        };

        // The decoder tells of the lost entry once, and puts a made-up picture in its place.
        references.follow(&leading, Some(2));
        references.decoder_found("Could not find ref with POC 4");
        assert!(references.follow(&unit(Entry::None), Some(5)).is_some());
    }

    #[test]
    fn damage_that_the_decoder_finds_spreads_as_well() {
        let mut references = References::default();
        assert_eq!(references.follow(&unit(Entry::Closed), None), None);
        references.decoder_found("concealing 20 DC");
        let cause = references.follow(&unit(Entry::None), None);
        let words = "it follows a damaged picture (the decoder says: concealing 20 DC)";
        assert_eq!(cause.as_deref(), Some(words));
    }
}
