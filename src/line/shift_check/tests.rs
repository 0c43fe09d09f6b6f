//! Tests of shift checks: parts, steps, restarts and the line's health.

use super::*;
use crate::data::part::Part;
use crate::data::part::tests::ask;
use crate::data::report::tests::report;
use crate::protocol::shift_check::SHIFT_CHECK;
use std::time::Duration;

fn checks() -> (ShiftChecks, Diagnostics) {
    let diagnostics = Diagnostics::default();
    let checks = ShiftChecks::new(&BTreeMap::new(), diagnostics.clone());

    (checks, diagnostics)
}

fn command(id: &str) -> Selection {
    Selection::new(SHIFT_CHECK, Some(id), "")
}

fn begin(checks: &ShiftChecks, bad: u32, good: u32) -> Result<String, String> {
    checks.begin(CheckStart {
        command: command("c1"),
        why: CheckReason::Start,
        bad,
        good,
        camera: None,
        recipe: "nut@7".to_owned(),
        who: "anna (page)".to_owned(),
        since: Instant::now(),
    })
}

/// A part that is asked for now.
fn part(checks: &ShiftChecks) -> Part {
    let mut asked = ask("top", Duration::from_secs(1));
    asked.challenge = checks.claim("top", asked.since);

    Part::new(1, "run".into(), 1, asked)
}

fn judged(checks: &ShiftChecks, part: Part, verdict: Verdict) -> Option<CountedPart> {
    checks.on_result(&Report {
        part,
        verdict,
        ..report(1)
    })
}

fn step(checks: &ShiftChecks, step: CheckStep) -> Result<String, String> {
    let command = ShiftCheckCommand {
        check: None,
        name: None,
        step,
    };

    checks.step(&command, "anna (page)")
}

/// Values that the store keeps.
fn keep(checks: &ShiftChecks, kept: &mut BTreeMap<String, String>) {
    for event in checks.poll(Timestamp::now()) {
        match event {
            CheckEvent::Begin(key, value) => drop(kept.entry(key).or_insert(value)),
            CheckEvent::Keep((key, value)) if value.is_empty() => drop(kept.remove(&key)),
            CheckEvent::Keep((key, value)) => drop(kept.insert(key, value)),
            CheckEvent::Counted(..) | CheckEvent::PartsOver(..) => {}
        }
    }
}

fn health(diagnostics: &Diagnostics) -> Health {
    diagnostics.all().0
}

#[test]
fn the_next_parts_are_the_bad_ones_and_then_the_good_ones() {
    let (checks, diagnostics) = checks();
    let before = part(&checks);
    assert!(begin(&checks, 2, 1).is_ok());
    assert!(begin(&checks, 1, 0).is_err_and(|why| why.contains("is under way")));
    assert_eq!(health(&diagnostics), Health::CheckFunction);
    let [one, two, good, after] = std::array::from_fn(|_| part(&checks));
    assert!(before.request.challenge.is_none() && after.request.challenge.is_none());

    // Results may come in any order: each part knows its kind.
    let good = judged(&checks, good, Verdict::Pass).expect("a known part");
    assert_eq!((good.kept.len(), good.is_met), (1, false));
    assert!(
        judged(&checks, after, Verdict::Fail).is_none(),
        "it is production"
    );

    judged(&checks, one, Verdict::Fail);
    let words = checks.newest(1)[0].words();
    assert!(
        words.starts_with("1 of 2 bad parts caught, 1 of 1 good parts passed"),
        "{words}"
    );

    assert!(
        step(&checks, CheckStep::Sign {}).is_err(),
        "the parts come first"
    );

    let last = judged(&checks, two, Verdict::Fail).expect("a known part");
    assert!(last.is_met);
    assert_eq!(health(&diagnostics), Health::MaintenanceRequired);
    assert!(step(&checks, CheckStep::Sign {}).is_err_and(|why| why.contains("did the gate")));
    step(&checks, CheckStep::Gate { removed: true }).expect("its turn");
    assert_eq!(checks.figures().passed_at, None);
    step(&checks, CheckStep::Sign {}).expect("its turn");
    assert!(checks.figures().passed_at.is_some());
    assert_eq!(health(&diagnostics), Health::Normal);
}

#[test]
fn an_undecided_part_is_no_success_and_a_failure_stays_until_it_is_seen() {
    let (checks, diagnostics) = checks();
    begin(&checks, 1, 0).expect("none is under way");
    let only = part(&checks);
    let counted = judged(&checks, only, Verdict::Undecided).expect("a known part");
    assert!(!counted.is_met);
    let (worst, causes) = diagnostics.all();
    assert_eq!(worst, Health::Failure);
    assert!(
        causes[0].contains("bad part top no. 1 got undecided"),
        "{causes:?}"
    );

    assert!(step(&checks, CheckStep::Gate { removed: true }).is_err());

    let mut kept = BTreeMap::new();
    keep(&checks, &mut kept);
    let note = "lamp was off".to_owned();
    let counted = checks.newest(1);
    kept.extend([super::kept(&counted[0])]); // the store has it with the part's result
    let again = ShiftChecks::new(&kept, diagnostics.clone());
    assert_eq!(
        health(&diagnostics),
        Health::Failure,
        "a restart forgets nothing"
    );

    step(&again, CheckStep::Acknowledge { note: note.clone() }).expect("one waits");
    assert_eq!(health(&diagnostics), Health::Normal);
    assert!(step(&again, CheckStep::Acknowledge { note }).is_err());
    keep(&again, &mut kept);
    let last = ShiftChecks::new(&kept, diagnostics.clone());
    let seen = &last.newest(1)[0];
    assert_eq!(
        seen.acknowledged.as_ref().map(|seen| &*seen.note),
        Some("lamp was off")
    );
}

#[test]
fn a_later_check_that_passes_confirms_one_that_failed() {
    let (checks, diagnostics) = checks();
    begin(&checks, 1, 0).expect("none is under way");
    let bad = part(&checks);
    judged(&checks, bad, Verdict::Fail);
    step(&checks, CheckStep::Gate { removed: false }).expect("its turn");
    assert_eq!(
        health(&diagnostics),
        Health::Failure,
        "the gate did not work"
    );

    begin(&checks, 1, 0).expect("the other one is over");
    let bad = part(&checks);
    judged(&checks, bad, Verdict::Fail);
    step(&checks, CheckStep::Gate { removed: true }).expect("its turn");
    assert_eq!(
        health(&diagnostics),
        Health::Failure,
        "it is not signed yet"
    );

    step(&checks, CheckStep::Sign {}).expect("its turn");
    assert_eq!(health(&diagnostics), Health::Normal);
}

#[test]
fn a_check_that_was_under_way_when_the_run_ended_has_failed_and_one_that_waits_goes_on() {
    let (checks, diagnostics) = checks();
    begin(&checks, 1, 0).expect("none is under way");
    let mut kept = BTreeMap::new();
    keep(&checks, &mut kept);
    let again = ShiftChecks::new(&kept, diagnostics.clone());
    assert!(again.newest(1)[0].words().contains("winspect ended"));
    assert!(again.claim("top", Instant::now()).is_none());

    begin(&again, 1, 0).expect("the other one is over");
    let bad = part(&again);
    judged(&again, bad, Verdict::Fail);
    kept.extend([super::kept(&again.newest(1)[0])]);
    let waiting = ShiftChecks::new(&kept, diagnostics.clone());
    step(&waiting, CheckStep::Gate { removed: true }).expect("it waits for this");
}

#[test]
fn the_last_checks_are_kept_and_the_clock_is_told() {
    let (checks, diagnostics) = checks();
    let mut kept = BTreeMap::new();

    for _ in 0..HISTORY_MAX + 3 {
        begin(&checks, 1, 0).expect("none is under way");
        step(&checks, CheckStep::Abort { note: None }).expect("one is under way");
        keep(&checks, &mut kept);
    }

    assert_eq!(checks.newest(usize::MAX).len(), HISTORY_MAX);
    assert_eq!(kept.len(), HISTORY_MAX);
    let due = CheckDue {
        every: Some(Duration::from_secs(3600)),
        ..CheckDue::default()
    };

    checks.ask(due, vec![]);
    let is_overdue = || diagnostics.any(|source| source == OVERDUE);
    checks.poll(Timestamp::now());
    assert!(!is_overdue());
    checks.poll(Timestamp::now() + jiff::SignedDuration::from_hours(2));
    assert!(is_overdue());
}

/// A check of one bad part that has passed.
fn passed(checks: &ShiftChecks, camera: Option<&str>) {
    let start = CheckStart {
        command: command("c"),
        why: CheckReason::Start,
        bad: 1,
        good: 0,
        camera,
        recipe: "nut@7".to_owned(),
        who: "anna (page)".to_owned(),
        since: Instant::now(),
    };

    checks.begin(start).expect("none is under way");
    let bad = part(checks);
    judged(checks, bad, Verdict::Fail);
    step(checks, CheckStep::Gate { removed: true }).expect("its turn");
    step(checks, CheckStep::Sign {}).expect("its turn");
}

#[test]
fn a_check_that_waits_fails_where_another_recipe_or_threshold_judges() {
    let (checks, _) = checks();
    checks.judged_by("nut@7");
    begin(&checks, 1, 0).expect("none is under way");
    let bad = part(&checks);
    judged(&checks, bad, Verdict::Fail);
    let waiting = BTreeMap::from([super::kept(&checks.newest(1)[0])]);
    checks.fail("another threshold judges now");
    assert!(step(&checks, CheckStep::Gate { removed: true }).is_err());
    assert!(checks.newest(1)[0].words().contains("another threshold"));

    // A restart is no change, but with another revision.
    for (label, goes_on) in [("nut@7", true), ("nut@8", false)] {
        let again = ShiftChecks::new(&waiting, Diagnostics::default());
        again.judged_by(label);
        let gate = step(&again, CheckStep::Gate { removed: true });
        assert_eq!(gate.is_ok(), goes_on, "{label}: {gate:?}");
    }
}

#[test]
fn the_clock_counts_checks_of_the_recipe_that_judges_and_of_each_camera() {
    let (checks, _) = checks();
    checks.judged_by("nut@7");
    checks.ask(CheckDue::default(), vec!["top".into(), "side".into()]);
    passed(&checks, Some("top"));
    let figures = checks.figures();
    assert_eq!(figures.passed_at, None, "nobody has checked the side");
    assert_eq!(figures.has_passed, Some(true));
    assert_eq!(figures.is_overdue, None, "none is asked for");
    passed(&checks, None);
    assert!(checks.figures().passed_at.is_some());
    checks.judged_by("bolt@1");
    assert_eq!(checks.figures().passed_at, None, "it was another product's");
    checks.judged_by("nut@9");
    assert!(checks.figures().passed_at.is_some());
}

#[test]
fn checks_keep_their_order_whatever_the_clock_says_and_an_unreadable_one_is_a_failure() {
    let (checks, _) = checks();
    passed(&checks, None);
    begin(&checks, 1, 0).expect("none is under way");
    let mut newest = checks.newest(2);
    newest[0].check = "00EARLIER".to_owned(); // the clock was set back
    let mut kept: BTreeMap<_, _> = newest.iter().map(super::kept).collect();
    let again = ShiftChecks::new(&kept, Diagnostics::default());
    assert_eq!(again.newest(1)[0].check, "00EARLIER");
    assert!(again.newest(1)[0].is_unseen_failure(), "it was under way");
    begin(&again, 1, 0).expect("the other one is over");
    assert_eq!(again.newest(1)[0].order, 3);

    kept.insert("shift_check/000000000009/01X".to_owned(), "{".to_owned());
    let diagnostics = Diagnostics::default();
    let torn = ShiftChecks::new(&kept, diagnostics.clone());
    assert_eq!(health(&diagnostics), Health::Failure);
    let newest = &torn.newest(1)[0];
    assert_eq!((newest.order, &*newest.check), (9, "01X"));
    assert_eq!(super::key_of(newest), "shift_check/000000000009/01X");
}
