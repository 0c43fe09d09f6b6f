//! A second revision judges a live line's parts beside the one that judges them, and is promoted.

use crate::harness::json;
use crate::harness::line::{FREE_RUNNING, LineConfig, all_arrived};
use crate::harness::plc::Listener;
use crate::harness::station::Station;
use crate::lessons::{carousel, done, label, said, turn};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use winspect::recipe::library::draft::Draft;
use winspect::recipe::library::folder::Library;
use winspect::recipe::library::manifest::ModelNote;
use winspect::recipe::library::writer::LibraryWriter;

/// Time within which the shadow has seen the bad part twice. On a busy machine it gets little time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line whose recipe lets a bad part pass, and the candidate `nut@2`, under which it fails by its looks.
fn station(change: impl FnOnce(LineConfig, &std::path::Path) -> LineConfig) -> (Station, Value) {
    let station = Station::seeing(carousel, |config, folder| {
        change(config.recipe("auto_factor = 5.0"), folder)
    });

    let plc = &station.plc;
    let first = turn(plc, "nut@1");
    let (_, bad) = first.last_key_value().expect("scores");
    assert_eq!(bad["verdict"], "pass", "{first:?}");
    let payload = label("l", bad, "bad").replace('}', r#","candidate":true}"#);
    let told = done(plc, "label", &payload);
    assert!(
        told.starts_with("nut@2 has 2 good and 1 bad pictures"),
        "{told}"
    );
    // The known bad parts are told as they are judged by the candidate.
    assert!(
        told.contains("1 of 1 known bad parts fail by their own looks alone"),
        "{told}"
    );
    assert!(
        told.ends_with("; it is a candidate, nut@1 judges"),
        "{told}"
    );
    let bad = bad.clone();
    (station, bad)
}

/// The line's shadow, as `winspect status` tells it.
fn shadow_of(station: &Station) -> Value {
    let told = said(station.folder.path(), &["status", "line.toml", "--json"], 0);
    json(&told)["shadow"].clone()
}

/// Waits until the line's shadow is what is expected.
#[track_caller]
fn until_shadow(station: &Station, fits: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let shadow = shadow_of(station);
        if fits(&shadow) {
            return shadow;
        }

        assert!(Instant::now() < until, "{shadow}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// True for two judgements on the same picture: pictures that are encoded together score a little different.
fn is_like(one: &Value, other: &Value) -> bool {
    let score = |judged: &Value| judged["score"].as_f64().expect("judged");
    (score(one) - score(other)).abs() < 1e-3
}

/// Results and differences, each in its order, until there are two of these.
fn listened(plc: &Listener) -> (Vec<Value>, Vec<Value>) {
    let until = Instant::now() + PATIENCE;
    let mut results = vec![];
    let mut differences = vec![];
    while differences.len() < 2 {
        let left = until.saturating_duration_since(Instant::now());
        let line = plc.any_within(left).expect("a second difference");
        let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
        match topic.rsplit('/').next() {
            Some("result") => results.push(json(payload)),
            Some("shadow") => differences.push(json(payload)),
            _ => {}
        }
    }

    (results, differences)
}

#[test]
fn both_revisions_judge_and_each_difference_is_told_once_and_promoted() {
    let (station, bad) = station(|config, _| config);
    let plc = &station.plc;
    let told = done(plc, "shadow", r#"{"id":"1","revision":2}"#);
    let begin = "nut@2 judges in the shadow of nut@1, threshold 0.";
    assert!(told.starts_with(begin), "{told}");
    assert!(told.ends_with("; on onnx-fp32, one thread"), "{told}");
    let (results, differences) = listened(plc);

    // The line goes on as if there were no shadow.
    let seqs: Vec<u64> = results
        .iter()
        .map(|result| result["seq"].as_u64().expect("a number"))
        .collect();

    let in_order: Vec<u64> = (seqs[0]..seqs[0] + seqs.len() as u64).collect();
    assert_eq!(seqs, in_order);
    assert!(results.iter().all(|result| result["verdict"] == "pass"
        && result["recipe"] == "nut@1"
        && result["threshold"] == bad["threshold"]));

    // Where the line shows the bad part, and only there, the shadow differs, once.
    let by_seq: BTreeMap<u64, &Value> = seqs.iter().copied().zip(&results).collect();
    let mut told = BTreeSet::new();
    for difference in &differences {
        let seq = difference["seq"].as_u64().expect("a number");
        assert!(told.insert(seq), "{seq} was told twice");
        assert_eq!(difference["active"]["verdict"], "pass", "{difference}");
        assert_eq!(difference["active"]["recipe"], "nut@1", "{difference}");
        assert!(is_like(&difference["active"], &bad), "{difference}");
        assert_eq!(difference["shadow"]["verdict"], "fail", "{difference}");
        assert_eq!(difference["shadow"]["recipe"], "nut@2", "{difference}");
        assert_eq!(difference["run_id"], bad["run_id"], "{difference}");
        assert_eq!(difference["camera"], "top", "{difference}");
        if let Some(result) = by_seq.get(&seq) {
            assert!(is_like(result, &bad), "{difference}");
        }
    }

    let counts = until_shadow(&station, |shadow| shadow["differ"].as_u64() > Some(1));
    assert_eq!(counts["recipe"], "nut@2", "{counts}");
    assert_eq!(counts["active"], "nut@1", "{counts}");
    assert_eq!(counts["fails_more"], counts["differ"], "{counts}");
    assert_eq!(counts["passes_more"], 0, "{counts}");
    assert!(
        counts["parts"].as_u64() > counts["differ"].as_u64(),
        "{counts}"
    );

    // It ends by a command, and by its promotion.
    plc.ask("shadow", r#"{"id":"2","revision":1}"#, "accepted");
    let refused = plc.next("ack/shadow");
    assert!(
        refused["reason"]
            .to_string()
            .contains("nut@1 judges the line"),
        "{refused}"
    );
    plc.ask("shadow", r#"{"id":"3","revision":2}"#, "accepted");
    let refused = plc.next("ack/shadow");
    let words = "nut@2 judges in the shadow already; end it first";
    assert_eq!(refused["reason"], words, "{refused}");
    let told = done(plc, "shadow", r#"{"id":"4","off":true}"#);
    assert!(told.starts_with("the shadow has ended: of "), "{told}");
    assert_eq!(shadow_of(&station), Value::Null);
    done(plc, "shadow", r#"{"id":"5","revision":2}"#);
    let told = done(plc, "rollback", r#"{"id":"6","revision":2}"#);
    assert!(told.starts_with("promoted nut@2; it judges"), "{told}");
    // The known bad part scores more by its looks, the others what they did.
    let caught = plc.until_fits("box/result", |result| {
        result["recipe"] == "nut@2" && result["verdict"] == "fail"
    });

    assert!(caught["score"].as_f64() > bad["score"].as_f64(), "{caught}");
    assert_eq!(shadow_of(&station), Value::Null);
    all_arrived(&station.summary());
}

#[test]
fn what_cannot_be_a_shadow_is_refused_in_words() {
    let (station, _) = station(|config, folder| config.bolt(folder, "input_px = 98"));
    let plc = &station.plc;
    // A revision of another model.
    let library = Library::at(station.folder.path().join("box.recipes"));
    let writer = LibraryWriter::lock(&library).expect("free");
    let current = library.current("nut").expect("whole").expect("one");
    let mut draft = Draft::after(&current, "a test".to_owned()).expect("whole");
    draft.model = Some(ModelNote {
        name: "another".to_owned(),
        sha256: "0".repeat(64),
    });

    let other = writer.write(&draft).expect("written");
    writer.keep_candidate(&other).expect("kept");
    drop(writer);
    for (id, payload, words) in [
        ("a", r#""revision":9"#, "it has 1, 2, 3"),
        (
            "b",
            r#""revision":1"#,
            "nut@1 judges the line; name another revision",
        ),
        (
            "c",
            r#""revision":3"#,
            "nut@3 was taught with the model another",
        ),
        (
            "d",
            r#""revision":4,"recipe":"bolt""#,
            "nut@1 judges: a revision of that recipe",
        ),
        ("e", r#""off":true"#, "no revision judges in the shadow"),
    ] {
        plc.ask(
            "shadow",
            &format!(r#"{{"id":"{id}",{payload}}}"#),
            "accepted",
        );
        let refused = plc.next("ack/shadow");
        assert_eq!(refused["status"], "rejected", "{refused}");
        assert!(
            refused["reason"].to_string().contains(words),
            "{words:?}: {refused}"
        );
    }

    for (id, payload, words) in [
        ("f", r#""revision":2,"off":true"#, "not both"),
        ("g", r#""recipe":"nut""#, "revision is missing"),
        ("h", r#""revision":-1"#, "revision must be a whole number"),
        (
            "i",
            r#""revision":2,"recipe":"screw""#,
            "there is no recipe \"screw\"",
        ),
    ] {
        plc.ask_in_vain("shadow", &format!(r#"{{"id":"{id}",{payload}}}"#), words);
    }

    // A shadow of the recipe's ends with the recipe.
    done(plc, "shadow", r#"{"id":"j","revision":2}"#);
    done(plc, "select_recipe", r#"{"id":"k","recipe":"bolt"}"#);
    until_shadow(&station, Value::is_null);
    all_arrived(&station.summary());
}

#[test]
fn a_person_compares_two_revisions_by_command_line() {
    let station = Station::configured(FREE_RUNNING, |config, _| config);
    let folder = station.folder.path();
    let taught = said(
        folder,
        &["teach", "line.toml", "--parts", "2", "--candidate"],
        0,
    );

    assert!(
        taught.contains("it is a candidate, nut@1 judges"),
        "{taught}"
    );
    let begun = said(
        folder,
        &["recipe", "shadow", "line.toml", "--revision", "2"],
        0,
    );

    assert!(
        begun.contains("nut@2 judges in the shadow of nut@1"),
        "{begun}"
    );
    until_shadow(&station, |shadow| shadow["parts"].as_u64() > Some(3));
    let status = said(folder, &["status", "line.toml"], 0);
    assert!(
        status.contains("shadow      nut@2 beside nut@1: "),
        "{status}"
    );
    // A threshold that a command sets makes another revision, and the counters begin anew.
    station
        .plc
        .ask("set_threshold", r#"{"id":"t","value":0.0001}"#, "done");
    let counts = until_shadow(&station, |shadow| shadow["active"] == "nut@3");
    assert_eq!(counts["recipe"], "nut@2", "{counts}");
    // The threshold is not the candidate's: its promotion asks before it is lost.
    let promote = ["recipe", "rollback", "line.toml", "nut", "--revision", "2"];
    let refused = said(folder, &promote, 65);
    let words = "nut@2 would lose what nut@3 has since it was made: the threshold 0.0001";
    assert!(refused.contains(words), "{refused}");
    station
        .plc
        .ask("rollback", r#"{"id":"r","revision":2}"#, "accepted");
    let rejected = station.plc.next("ack/rollback");
    assert!(rejected["reason"].to_string().contains(words), "{rejected}");
    let ended = said(folder, &["recipe", "shadow", "line.toml", "--off"], 0);
    assert!(ended.contains("the shadow has ended: of "), "{ended}");
    said(folder, &["recipe", "shadow", "line.toml", "--off"], 65);
    said(folder, &["recipe", "shadow", "line.toml"], 64);
    let payload = r#"{"id":"f","revision":2,"force":true}"#;
    let told = done(&station.plc, "rollback", payload);
    let words = "promoted nut@2, which loses what nut@3 had since: the threshold 0.0001; it judges";
    assert!(told.starts_with(words), "{told}");
    all_arrived(&station.summary());
}
