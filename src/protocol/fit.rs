//! The bound of a result's bytes: a row whose message would be larger is shrunk, the least loss
//! first.

use crate::data::result::ResultRow;
use crate::data::verdict::Verdict;

/// Bytes of a result's message at most.
pub const MESSAGE_MAX: usize = 1500;
/// Bytes of the two keys that a message has beside the stored row, at their longest.
const MESSAGE_KEYS: usize = ",\"historical\":false,\"given_up_before\":18446744073709551615".len();
/// Bytes of `detail` in a result that has to be shrunk.
const DETAIL_MAX: usize = 80;
/// Bytes of the names of recipe and model in a result that has to be shrunk.
const NAME_MAX: usize = 32;
/// Bytes of the names of recipe and model in a result that is still too large.
const SHORT_MAX: usize = 12;
/// Views in a result that has to be shrunk, those that did not pass.
const VIEWS_MAX: usize = 3;

/// Ways to make a row smaller, the least loss first.
const SHRINKS: [fn(&mut ResultRow); 7] = [
    |row| row.detail = row.detail.as_deref().map(|words| cut(words, DETAIL_MAX)),
    |row| row.map = None,
    |row| row.defects.truncate(1),
    |row| {
        row.model = cut(&row.model, NAME_MAX);
        row.recipe = cut(&row.recipe, NAME_MAX);
        row.defects.clear();
        row.mm_per_pixel = None;
    },
    // A view that passed says nothing beside one that did not.
    |row| row.views.retain(|view| view.verdict != Verdict::Pass),
    |row| {
        row.detail = None;
        row.views.truncate(VIEWS_MAX);
    },
    // Names of the utmost length in four-byte characters: the part's own stay whole.
    |row| {
        row.model = cut(&row.model, SHORT_MAX);
        row.recipe = cut(&row.recipe, SHORT_MAX);
        row.views.clear();
        row.pose = None;
    },
];

/// The row, whose message has at most [`MESSAGE_MAX`] bytes. The verdict, the part's names and the
/// gate's values always stay.
pub fn fitted(mut row: ResultRow) -> ResultRow {
    // Most results are a third below the bound and leave at the first look.
    for shrink in SHRINKS {
        if row.to_stored().len() + MESSAGE_KEYS <= MESSAGE_MAX {
            break;
        }

        shrink(&mut row);
    }

    row
}

/// The text up to so many bytes, cut between two characters.
pub fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pose::Pose;
    use crate::data::report::CameraView;
    use crate::data::report::tests::report;
    use crate::protocol::birth::tests::identity;
    use crate::protocol::result::{encode, row};

    #[test]
    fn a_result_with_the_longest_names_is_shrunk_and_keeps_its_verdict() {
        let mut report = report(u64::MAX);
        let mut identity = identity();
        let request = &mut report.part.request;
        request.part_id = Some("\u{1f600}".repeat(128));
        request.camera = "c".repeat(64).into();
        request.region = Some("\u{1f600}".repeat(16).into());
        request.challenge = Some("d".repeat(64).into());
        request.count = Some(i64::MIN);
        request.position = Some(-1.234_567_890_123_456_7e-300);
        report.recipe = format!("{}@4294967295", "r".repeat(64)).into();
        report.detail = Some("\"".repeat(500));
        identity.station = "s".repeat(64);
        identity.model = "m".repeat(255);
        for number in 0..8 {
            let verdict = if number == 7 {
                Verdict::Fail
            } else {
                Verdict::Pass
            };
            report.views.push(CameraView {
                camera: format!("{number}{}", "v".repeat(63)),
                verdict,
                score: Some(f32::MIN_POSITIVE),
                reason: None,
            });
        }

        report.pose = Some(Pose {
            on_master: [0.0; 2],
            x: 65_535.9,
            y: 65_535.9,
            turn_deg: -179.9,
            likeness: 0.99,
            size: (65_536, 65_536),
        });

        let row = row(&report, &identity);
        let length = encode(&row, true, u64::MAX).len();
        assert!(length <= MESSAGE_MAX, "{length} bytes");
        assert_eq!(row.verdict, report.verdict);
        assert_eq!(row.part_id, report.part.request.part_id);
        assert_eq!(row.camera, "c".repeat(64));
        assert!(row.views.iter().all(|view| view.verdict == Verdict::Fail));
    }

    #[test]
    fn a_usual_result_is_left_as_it_is() {
        let small = row(&report(7), &identity());
        assert_eq!(fitted(small.clone()), small);
        assert!(small.map.is_some() && !small.defects.is_empty());
    }
}
