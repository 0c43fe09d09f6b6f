//! Tests of the line control: challenges, thresholds and pictures of the self-test.

use super::*;
use crate::data::part::Part;
use crate::data::part::tests::ask;
use crate::data::verdict::Reason;
use crate::data::verdict::Verdict;
use crate::protocol::command::Expect;
use crate::recipe::self_test::Proof;

const BAD: ChallengeSpec = ChallengeSpec {
    camera: None,
    parts: 2,
    expect: Expect::Fail,
};

fn judge(recipe: &str, threshold: Option<f32>) -> DecisionPolicy {
    DecisionPolicy {
        recipe: recipe.into(),
        threshold,
        on_undecided: OnUndecided::Fail,
    }
}

fn judging(recipe: &str, challenge_every: Option<Duration>) -> RecipePolicy {
    RecipePolicy {
        regions: vec![(None, judge(recipe, Some(0.5)))],
        challenge_every,
        proof: None,
        unlike: vec![0.9],
        ..RecipePolicy::default()
    }
}

fn rules(interval: Option<Duration>) -> (LineControl, Diagnostics) {
    let causes = Diagnostics::default();
    (
        LineControl::new(judging("nut@1", interval), &BTreeMap::new(), causes.clone()),
        causes,
    )
}

/// A part of the camera that is asked for now.
fn part(rules: &LineControl, camera: &str) -> Part {
    let mut asked = ask(camera, Duration::from_secs(1));
    asked.challenge = rules.claim(camera, asked.since);
    Part::new(1, "run".into(), 1, asked)
}

/// What is kept with its result.
fn judged(rules: &LineControl, part: &Part, verdict: Verdict) -> Vec<KeyValue> {
    let mut report = Report::undecided(part.clone(), Reason::Late, &rules.policy_for(None));
    report.verdict = verdict;
    rules.on_result(&report)
}

/// Outcomes that the command handler is told, and values that it keeps by the way.
fn told(rules: &LineControl, kept: &mut BTreeMap<String, String>) -> Vec<(bool, String)> {
    let mut told = vec![];
    for event in rules.poll(Instant::now()) {
        match event {
            ControlEvent::Begin(key, value) => drop(kept.entry(key).or_insert(value)),
            ControlEvent::Keep((key, value)) => drop(kept.insert(key, value)),
            ControlEvent::Ended(challenge) => {
                kept.remove(&challenge.key); // the broker has it
                told.push((challenge.is_met(), challenge.words()));
            }
        }
    }

    told
}

#[test]
fn a_challenge_is_about_the_parts_that_come_after_it_whatever_becomes_of_them() {
    let (rules, causes) = rules(None);
    let before = part(&rules, "top");
    rules
        .challenge("c1", &BAD, Instant::now())
        .expect("none is under way");

    assert!(
        rules
            .challenge("c2", &BAD, Instant::now())
            .is_err_and(|why| why.contains("0 of 2 parts"))
    );

    assert_eq!(causes.all().0, Health::CheckFunction);
    let (one, two, after) = (
        part(&rules, "top"),
        part(&rules, "top"),
        part(&rules, "top"),
    );

    assert_eq!(
        (
            before.request.challenge.is_some(),
            after.request.challenge.is_some()
        ),
        (false, false)
    );

    judged(&rules, &before, Verdict::Fail);
    judged(&rules, &after, Verdict::Fail);
    judged(&rules, &two, Verdict::Fail);
    assert!(told(&rules, &mut BTreeMap::new()).is_empty());
    judged(&rules, &one, Verdict::Undecided); // nobody looked at it: that is no catch
    let words = "challenge c1: 1 of 2 parts got the verdict fail".to_owned();
    assert_eq!(
        (told(&rules, &mut BTreeMap::new()), causes.all().0),
        (vec![(false, words)], Health::Failure)
    );
}

#[test]
fn a_missed_challenge_is_a_failure_until_one_is_met_also_after_a_restart() {
    let (rules, causes) = rules(None);
    let mut kept = BTreeMap::new();
    let challenge = |rules: &LineControl, verdict, kept: &mut BTreeMap<_, _>| {
        rules
            .challenge("c", &ChallengeSpec { parts: 1, ..BAD }, Instant::now())
            .expect("none is under way");

        kept.extend(judged(rules, &part(rules, "top"), verdict));
        told(rules, kept).remove(0).0
    };

    assert!(!challenge(&rules, Verdict::Pass, &mut kept));
    assert_eq!(causes.all().0, Health::Failure);
    let causes = Diagnostics::default();
    let again = LineControl::new(judging("nut@1", None), &kept, causes.clone());
    assert_eq!(causes.all().0, Health::Failure);
    assert!(challenge(&again, Verdict::Fail, &mut kept));
    assert_eq!(causes.all().0, Health::Normal);
    let causes = Diagnostics::default();
    LineControl::new(judging("nut@1", None), &kept, causes.clone());
    assert_eq!(causes.all().0, Health::Normal);
}

#[test]
fn a_challenge_that_does_not_come_to_its_end_says_so() {
    let (rules, causes) = rules(None);
    let mut kept = BTreeMap::new();
    let begin = || {
        rules
            .challenge("c", &BAD, Instant::now())
            .expect("none is under way");

        part(&rules, "top")
    };

    let one = begin();
    judged(&rules, &one, Verdict::Fail);
    rules.reset();
    let cut = vec![(
        false,
        "challenge c: reset by a command; 1 of 2 parts had a result, 1 fail".to_owned(),
    )];

    assert_eq!(
        (told(&rules, &mut kept), causes.all().0),
        (cut, Health::Normal)
    );

    let two = begin();
    judged(&rules, &one, Verdict::Fail); // of a challenge that is over
    assert!(told(&rules, &mut kept).is_empty());
    assert!(
        rules
            .claim("top", two.request.since - Duration::from_secs(1))
            .is_none(),
        "it was asked for before"
    );

    kept.extend(judged(&rules, &two, Verdict::Fail));
    // The run ends, and the next one knows; it would also know of one that had just come to its end.
    let next = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
    let words = "challenge c: winspect ended before its last part had a result; 1 of 2 parts had a result, 1 fail";
    assert_eq!(told(&next, &mut kept.clone()), [(false, words.to_owned())]);
    kept.extend(judged(&rules, &part(&rules, "top"), Verdict::Fail));
    let next = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
    assert!(told(&next, &mut kept)[0].0);
    told(&rules, &mut kept);
    begin();
    rules.change(judging("bolt@1", None));
    assert!(told(&rules, &mut kept)[0].1.contains("another recipe"));
    begin();
    rules.stop();
    assert!(told(&rules, &mut kept)[0].1.contains("the line stops"));
    let last = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
    assert!(told(&last, &mut kept).is_empty());
}

#[test]
fn a_challenge_of_one_camera_leaves_the_parts_of_others_alone() {
    let (rules, _) = rules(None);
    let order = ChallengeSpec {
        camera: Some("top".to_owned()),
        ..BAD
    };

    rules
        .challenge("c", &order, Instant::now())
        .expect("none is under way");

    let known = ["side", "top", "side", "top", "top"]
        .map(|camera| part(&rules, camera).request.challenge.is_some());

    assert_eq!(known, [false, true, false, true, false]);
}

#[test]
fn a_challenge_that_is_overdue_is_off_spec() {
    let (rules, causes) = rules(Some(Duration::from_secs(60)));
    rules.poll(Instant::now() + Duration::from_secs(59));
    assert_eq!(causes.all().0, Health::Normal);
    rules.poll(Instant::now() + Duration::from_secs(61));
    assert_eq!(causes.all().0, Health::OffSpec);
    // Another recipe asks for none.
    rules.change(judging("bolt@1", None));
    rules.poll(Instant::now() + Duration::from_secs(61));
    assert_eq!(causes.all().0, Health::Normal);
}

#[test]
fn the_time_of_a_challenge_goes_on_over_restarts_for_each_recipe() {
    let minute = Some(Duration::from_secs(60));
    let ago = |seconds| (Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string();

    let mut kept: BTreeMap<String, String> = [("challenge_met/nut".to_owned(), ago(50))].into();
    let is_overdue = |rules: &LineControl, causes: &Diagnostics, seconds| {
        rules.poll(Instant::now() + Duration::from_secs(seconds));
        causes.all().1.iter().any(|cause| cause.contains("overdue"))
    };

    let causes = Diagnostics::default();
    let rules = LineControl::new(judging("nut@2", minute), &kept, causes.clone());
    assert!(!is_overdue(&rules, &causes, 5) && is_overdue(&rules, &causes, 15));
    // Where none was ever met the recipe's first start counts, not each one.
    told(
        &LineControl::new(judging("bolt@1", minute), &kept, Diagnostics::default()),
        &mut kept,
    );

    assert!(kept["challenge_met/bolt"] > kept["challenge_met/nut"]);
    kept.insert("challenge_met/bolt".to_owned(), ago(70));
    let causes = Diagnostics::default();
    assert!(is_overdue(
        &LineControl::new(judging("bolt@1", minute), &kept, causes.clone()),
        &causes,
        0
    ));
}

#[test]
fn each_region_has_its_own_threshold_and_an_unknown_one_none() {
    let causes = Diagnostics::default();
    let judge = |threshold| judge("tray@1", threshold);
    let judges = vec![
        (Some("left".into()), judge(Some(0.5))),
        (Some("right".into()), judge(None)),
    ];

    let rules = LineControl::new(
        RecipePolicy {
            regions: judges,
            ..RecipePolicy::default()
        },
        &BTreeMap::new(),
        causes.clone(),
    );

    let threshold = |region| rules.policy_for(region).threshold;
    assert_eq!(
        (
            threshold(Some("left")),
            threshold(Some("right")),
            threshold(None)
        ),
        (Some(0.5), None, None)
    );

    assert_eq!(
        (rules.can_judge(), causes.all().0),
        (false, Health::Failure)
    );

    assert!(
        rules
            .set_threshold(None, 0.1)
            .is_err_and(|why| why == "region must be one of left, right")
    );

    assert_eq!(rules.set_threshold(Some("right"), 0.1), Ok(None));
    assert_eq!((rules.can_judge(), causes.all().0), (true, Health::Normal));
}

#[test]
fn pictures_that_the_threshold_does_not_tell_apart_are_a_failure_as_soon_as_it_is_set() {
    let causes = Diagnostics::default();
    let proof = Some(Proof {
        good: vec![0.1],
        bad: vec![0.9],
    });

    let rules = LineControl::new(
        RecipePolicy {
            proof,
            ..judging("nut@1", None)
        },
        &BTreeMap::new(),
        causes.clone(),
    );

    let told = |threshold| {
        rules
            .set_threshold(None, threshold)
            .expect("the only region");

        causes.all()
    };

    assert_eq!(told(0.5), (Health::Normal, vec![]));
    for (threshold, words) in [
        (0.95, "the bad picture scores [0.9000]"),
        (0.05, "would fail"),
    ] {
        let (health, causes) = told(threshold);
        assert!(
            health == Health::Failure && causes[0].contains(words),
            "{causes:?}"
        );
    }
}

#[test]
fn a_threshold_of_a_command_outlives_the_selection_of_any_recipe() {
    let (rules, _causes) = rules(None);
    assert_eq!(rules.set_threshold(None, 0.25), Ok(Some(0.5)));
    for recipe in ["nut@1", "bolt@4", "nut@2", "nut@1"] {
        rules.change(judging(recipe, None));
        let expected = if recipe == "nut@1" { 0.25 } else { 0.5 };
        assert_eq!(rules.policy_for(None).threshold, Some(expected), "{recipe}");
    }

    assert_eq!(rules.set_thresholds("nut@1"), ["0.25"]);
    assert_eq!(rules.set_thresholds("nut@2"), [""; 0]);
}

#[test]
fn a_threshold_under_which_everything_passes_is_a_failure() {
    let (rules, causes) = rules(None);
    for (threshold, is_told) in [(0.9, false), (0.91, true), (2.0, true), (0.3, false)] {
        rules.set_threshold(None, threshold).expect("the only one");
        let (health, words) = causes.all();
        assert_eq!(health == Health::Failure, is_told, "{threshold}: {words:?}");
        let says = words
            .iter()
            .any(|words| words.contains("passes everything"));
        assert_eq!(says, is_told, "{threshold}");
    }

    // Also one that the recipe itself brings.
    let mut recipe = judging("bolt@4", None);
    recipe.unlike = vec![0.4];
    rules.change(recipe);
    assert_eq!(causes.all().0, Health::Failure);
}

#[test]
fn a_threshold_that_a_revision_has_is_set_no_more_and_a_later_one_is() {
    let (rules, _) = rules(None);
    rules.set_threshold(None, 0.3).expect("one region");
    let kept = rules.set_by_commands().remove(0);
    assert_eq!(kept.words(), "threshold 0.3");
    assert_eq!(kept.revision(), Some(("nut", 1)));
    // Another is set while the revision is written.
    rules.set_threshold(None, 0.4).expect("one region");
    assert!(rules.relabel(&kept, "nut@2") && rules.judges("nut@2"));
    let policy = rules.policy_for(None);
    assert_eq!((&*policy.recipe, policy.threshold), ("nut@2", Some(0.4)));
    let later = rules.set_by_commands().remove(0);
    assert_eq!(later.recipe.as_ref(), "nut@2");
    // Another recipe judges before the second revision is on the disk.
    rules.change(judging("bolt@1", None));
    assert!(!rules.relabel(&later, "nut@3"));
    assert!(rules.set_by_commands().is_empty());
    assert_eq!(&*rules.policy_for(None).recipe, "bolt@1");
}
