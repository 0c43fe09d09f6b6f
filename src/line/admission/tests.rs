//! Tests of the admission: a part of two cameras, of which one has no frame.

use super::*;
use crate::data::frame::tests::frame;
use crate::data::part::tests::ask;
use crate::data::report::tests::judge;
use crate::data::verdict::Verdict;
use crate::line::opening::Opening;
use crate::line::queue::{Overflow, frame_queue};
use crate::line::views::ViewJoiner;
use crate::protocol::birth::tests::identity;
use crate::protocol::command::{ChallengeSpec, Expect};
use crate::recipe::active::RecipePolicy;
use crate::store::{StoreSettings, Sync};
use crate::trigger::RingSettings;
use std::collections::BTreeMap;
use std::time::Duration;

/// Source of a line that waits for known parts of any camera, since `since`.
fn challenged(since: Instant) -> PartSource {
    let policy = RecipePolicy {
        regions: vec![(
            None,
            judge(&Part::new(1, "01A".into(), 1, ask("top", Duration::ZERO))),
        )],
        ..RecipePolicy::default()
    };

    let control = LineControl::new(policy, &BTreeMap::new(), Diagnostics::default());
    let spec = ChallengeSpec {
        camera: None,
        expect: Expect::Fail,
        parts: 9,
    };

    control
        .challenge("c", &spec, since)
        .expect("none is under way");

    PartSource {
        camera: "top".into(),
        timing: Live::default(),
        control,
    }
}

#[test]
fn a_part_that_was_there_before_or_whose_moment_is_in_doubt_is_no_known_part() {
    let since = Instant::now() + Duration::from_secs(60);
    let source = challenged(since);
    let later = since + Duration::from_secs(1);
    let before = since - Duration::from_secs(1);
    for (told, was_there, is_known) in [
        (later, Some(later), true),
        (later, Some(before), false),
        (before, Some(later), false),
        (later, None, false),
    ] {
        let whole = source.ask(told, Timestamp::now(), was_there.unwrap_or(told));
        let [request] = &source.each(&whole, was_there)[..] else {
            panic!("one region")
        };

        assert_eq!(
            request.challenge.is_some(),
            is_known,
            "{told:?} {was_there:?}"
        );
    }
}

#[test]
fn a_camera_that_has_no_frame_of_a_part_does_not_hide_that_another_sees_a_defect() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = StoreSettings {
        file: folder.path().join("box.db"),
        sync: Sync::Normal,
        waiting_max: 10,
        keep: Duration::ZERO,
        keep_bytes: 0,
        reject_window: Duration::ZERO,
    };

    let opening = Opening::open(settings, "01A").expect("opens");
    let views = ViewJoiner::new([("station".into(), vec!["top".into(), "side".into()])].into());
    let shared = Shared::new(&opening, &["top"], views, Default::default(), identity());
    let parts = PartSource {
        camera: "top".into(),
        timing: Live::default(),
        control: shared.control.clone(),
    };

    let ring = Trigger::Command(RingSettings {
        bytes: 1000,
        window: Duration::from_millis(10),
        shares_frames: false,
    });

    let (_frames, mut queue) = frame_queue(&[Overflow::Refuse { capacity: 1 }]);
    let admission = Admission::new(&shared, parts, &ring, queue.remove(0));
    let start = Instant::now();
    let part = Part::new(1, "01A".into(), 1, ask("station", Duration::from_secs(60)));
    admission.on_trigger(vec![part.clone()], start);
    admission.on_frame(Frame {
        captured: start + Duration::from_secs(1),
        ..frame("top")
    });

    let mut seen = Report::undecided(part.clone(), Reason::NotReady, &judge(&part));
    (seen.verdict, seen.reason, seen.seen_by) = (Verdict::Fail, None, "side".into());
    let said = shared
        .views()
        .add(seen, Instant::now())
        .expect("both views");

    assert_eq!((said.verdict, &*said.seen_by), (Verdict::Fail, "side"));
    assert_eq!(
        (said.views[0].camera.as_str(), said.views[0].reason),
        ("top", Some(Reason::CameraLost))
    );
}
