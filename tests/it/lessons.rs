//! A live line is taught: from nothing to verdicts, corrected by a false reject and by a miss, rolled
//! back. Over MQTT, as a PLC or a page would do it.

use crate::harness::golden::golden;
use crate::harness::line::{FREE_RUNNING, LineConfig, all_arrived};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::{Running, both, winspect};
use crate::harness::station::Station;
use crate::harness::{assert_said, json};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time from an empty library to verdicts, by the promise of docs/teach.md.
const A_MINUTE: Duration = Duration::from_secs(60);
/// Pictures that the carousel shows, in turns.
const SHOWN: [&str; 4] = ["good_a.png", "good_b.png", "good_c.png", "bad.png"];

/// A camera that shows the golden pictures in turns for ever, four a second.
pub fn carousel(folder: &Path) -> String {
    for (number, name) in SHOWN.iter().enumerate() {
        let from = golden("open-clip-tiny").join(name);
        fs::copy(from, folder.join(format!("shown{number}.png"))).expect("copied");
    }

    let pipeline = format!(
        "live = true\nendless = false\nlaunch = \"\"\"\nmultifilesrc location={}/shown%d.png \
         index=0 stop-index=3 loop=true caps=image/png,framerate=4/1 ! pngdec ! videoconvert ! \
         identity sync=true\n\"\"\"\n",
        folder.display()
    );

    let file = folder.join("carousel.toml");
    fs::write(&file, pipeline).expect("written");
    format!("kind = {file:?}\ndeadline_ms = 5000")
}

/// A station whose camera is the carousel.
fn station(change: impl FnOnce(LineConfig) -> LineConfig) -> Station {
    Station::seeing(carousel, |config, _| change(config))
}

/// The outcome of a command that must be done.
#[track_caller]
pub fn outcome(plc: &Listener, name: &str) -> String {
    let topic = format!("ack/{name}");
    let outcome = plc.until_fits(&topic, |answer| answer["status"] != "progress");
    assert_eq!(outcome["status"], "done", "{outcome}");
    outcome["reason"].as_str().expect("words").to_owned()
}

/// Begins a command, and returns its outcome.
#[track_caller]
pub fn done(plc: &Listener, name: &str, payload: &str) -> String {
    plc.ask(name, payload, "accepted");
    outcome(plc, name)
}

/// The label of a part, by its result.
pub fn label(id: &str, part: &Value, kind: &str) -> String {
    let [run_id, seq] = [&part["run_id"], &part["seq"]];
    format!(r#"{{"id":"{id}","run_id":{run_id},"camera":"top","seq":{seq},"as":"{kind}"}}"#)
}

/// The results of one turn of the carousel and a half by this recipe, by score: the references have one.
#[track_caller]
pub fn turn(plc: &Listener, recipe: &str) -> BTreeMap<u64, Value> {
    let mut turn = BTreeMap::new();
    for _ in 0..6 {
        let result = plc.until("box/result", "recipe", recipe);
        let score = result["score"].as_f64().expect("judged");
        turn.insert((score * 1e4) as u64, result);
    }

    turn
}

#[test]
fn a_line_without_references_is_taught_to_verdicts_within_a_minute() {
    let station = Station::configured(FREE_RUNNING, |config, _| config.without("references"));
    let started = Instant::now();
    let plc = &station.plc;
    let state = station
        .listen("state")
        .until("box/state", "health", "FAILURE");
    assert!(state["causes"].to_string().contains("teach it"), "{state}");
    let result = plc.next("box/result");
    assert_eq!(result["reason"], "not_ready", "{result}");
    assert_eq!(result["score"], Value::Null, "{result}");
    let words = "the recipe has no references yet; teach it some good parts";
    assert_eq!(result["detail"], words, "{result}");
    // Nothing is compared with nothing: no number makes it judge.
    plc.ask_in_vain("set_threshold", r#"{"id":"0","value":1}"#, words);
    let lesson = r#"{"id":"1","parts":24,"as":"good"}"#;
    plc.ask("teach", lesson, "accepted");
    let progress = plc.next("ack/teach");
    assert_eq!(progress["status"], "progress", "{progress}");
    let reason = progress["reason"].as_str().expect("words");
    assert!(reason.ends_with("of 24 parts were seen"), "{reason}");
    let second = r#"{"id":"2","parts":1,"as":"good"}"#;
    publish(station.broker.port, "cmd/teach", second, &[]);
    let refused = plc.until("ack/teach", "id", "2");
    let reason = refused["reason"].as_str().expect("words");
    assert!(reason.starts_with("a lesson is under way"), "{refused}");
    let told = outcome(plc, "teach");
    assert!(
        told.starts_with("nut@2 has ") && told.contains("it judges, threshold 0."),
        "{told}"
    );
    let birth = station.listen("birth");
    let result = plc.until("box/result", "recipe", "nut@2");
    assert!(result["score"].is_number(), "{result}");
    assert!(result["verdict"] != "undecided", "{result}");
    assert!(started.elapsed() < A_MINUTE);
    assert!(birth.until("box/birth", "recipe", "nut@2")["gallery"].is_string());
    station.listen("state").until_fits("box/state", |state| {
        !state["causes"].to_string().contains("teach it")
    });
    // The change is visible in the order of the parts, once.
    // The next run judges by it, out of the same file.
    let (station, summary, again) = station.restarted();
    all_arrived(&summary);
    assert_eq!(again["recipe"], "nut@2", "{again}");
    let Station { line, folder, .. } = station;
    line.summary();
    let mut show = winspect();
    let output = show
        .current_dir(folder.path())
        .args(["recipe", "show", "line.toml", "nut"])
        .output()
        .expect("runs");

    assert_said(
        &both(&output),
        &["recipe     nut@2", "teach: taught", "/top/"],
    );
}

#[test]
fn a_miss_and_a_false_reject_correct_the_recipe_and_it_is_rolled_back() {
    // With that much room above the references' scores the bad part passes.
    let station = station(|config| config.recipe("auto_factor = 2.0"));
    let plc = &station.plc;
    let first = turn(plc, "nut@1");
    assert_eq!(first.len(), 3, "both references score 0: {first:?}");
    let (_, bad) = first.last_key_value().expect("three scores");
    assert_eq!(bad["verdict"], "pass", "{first:?}");

    // The miss: it is bad, and fails from now on.
    let told = done(plc, "label", &label("1", bad, "bad"));
    assert!(
        told.starts_with("nut@2 has 2 good and 1 bad pictures"),
        "{told}"
    );
    assert!(told.contains("fail by their own looks alone"), "{told}");
    let by_second = |result: &Value, score: f64| {
        result["recipe"] == "nut@2" && result["score"].as_f64() > Some(score)
    };

    let caught = &plc.until_fits("box/result", |result| by_second(result, 0.9));
    assert_eq!(caught["verdict"], "fail", "{caught}");
    assert_eq!(caught["threshold"], bad["threshold"], "{caught}");
    // The part that is neither a reference nor bad passes as before.
    let passed = plc.until_fits("box/result", |result| {
        by_second(result, 0.001) && result["score"] != caught["score"]
    });

    assert_eq!(passed["verdict"], "pass", "{passed}");

    // It is caught after a restart too.
    let (station, _, _) = station.restarted();
    let plc = &station.plc;
    let run = plc.until_fits("box/result", |result| result["run_id"] != bad["run_id"]);
    let again = plc.until_fits("box/result", |result| {
        result["run_id"] == run["run_id"] && result["score"] == caught["score"]
    });

    assert_eq!(again["verdict"], "fail", "{again}");
    assert_eq!(again["recipe"], "nut@2", "{again}");

    // A threshold that lets it pass says so, and the line's health does.
    let answer = plc.ask("set_threshold", r#"{"id":"2","value":1.9}"#, "done");
    let said = answer["reason"].as_str().expect("words").to_owned();
    assert!(said.contains("1 of 1 known bad parts pass"), "{said}");
    let is_told = |state: &Value| state["causes"].to_string().contains("known bad parts");
    plc.until_fits("box/state", is_told);

    // The false reject: everything but the references fails, and one part of those is good.
    plc.ask("set_threshold", r#"{"id":"3","value":0.0001}"#, "done");
    plc.until_fits("box/state", |state| !is_told(state));
    let judged = |result: &Value, verdict: &str| {
        result["verdict"] == verdict && result["score"].as_f64() > Some(0.0001)
    };

    let rejected = plc.until_fits("box/result", |result| {
        judged(result, "fail") && result["score"] != caught["score"]
    });

    let passed = plc.until("box/result", "verdict", "pass");
    plc.ask_in_vain(
        "label",
        &label("4", &passed, "false_reject"),
        "is no false reject",
    );
    // A label stays with its part although nothing can be learned of it, and the refusal says so.
    let stays = "nothing was taught, and the label stays with the part";
    let unknown = label("4b", &passed, "good").replace('}', r#","recipe":"screw"}"#);
    plc.ask_in_vain("label", &unknown, stays);
    let found = ["history", "line.toml", "--label", "good"];
    let found = self::said(station.folder.path(), &found, 0);
    assert!(found.contains("[good]"), "{found}");
    let told = done(plc, "label", &label("5", &rejected, "false_reject"));
    assert!(told.contains("has 3 good and 1 bad pictures"), "{told}");
    plc.ask("label", &label("5b", &rejected, "good"), "accepted");
    let again = plc.until("ack/label", "status", "rejected");
    assert!(again["reason"].to_string().contains(stays), "{again}");
    let recipe = told.split(' ').next().expect("a label").to_owned();
    let by_third = |result: &Value, verdict: &str| {
        result["recipe"] == recipe.as_str() && result["verdict"] == verdict
    };

    plc.until_fits("box/result", |result| by_third(result, "pass"));
    // The part that a good one was labelled beside is as surely caught as before, and no other fails.
    let still = plc.until_fits("box/result", |result| by_third(result, "fail"));
    assert_eq!(still["score"], caught["score"], "{still}");

    // Rolled back: the part fails again, and the books balance.
    let told = done(plc, "rollback", r#"{"id":"6"}"#);
    assert!(told.starts_with("rolled back to nut@"), "{told}");
    plc.until_fits("box/result", |result| {
        result["score"] == rejected["score"] && judged(result, "fail")
    });

    plc.ask_in_vain(
        "label",
        r#"{"id":"7","run_id":"R","camera":"top","seq":9,"as":"good"}"#,
        "the store has no result of part R/top/9",
    );
    plc.ask_in_vain(
        "teach",
        r#"{"id":"8","parts":0,"as":"good"}"#,
        "parts must be from 1 to 256",
    );
    plc.ask_in_vain(
        "rollback",
        r#"{"id":"9","recipe":"bolt"}"#,
        "there is no recipe \"bolt\"",
    );
    all_arrived(&station.summary());
}

#[test]
fn a_picture_is_forgotten_and_the_last_reference_is_not() {
    let station = station(|config| config);
    let plc = &station.plc;
    plc.next("box/result");
    let told = done(plc, "teach", r#"{"id":"1","parts":12,"as":"good"}"#);
    assert!(told.starts_with("nut@2 has 4 good"), "{told}");
    assert!(told.contains("passed over"), "{told}");
    let hashes = |station: &Station| {
        let manifest = station
            .folder
            .path()
            .join("box.recipes/nut/2/manifest.json");
        let manifest = json(&fs::read_to_string(manifest).expect("written"));
        let pictures = manifest["manifest"]["pictures"].as_array().expect("a list");
        let hashes = pictures.iter().map(|picture| picture["sha256"].to_string());
        hashes
            .map(|hash| hash.trim_matches('"')[..12].to_owned())
            .collect::<Vec<_>>()
    };

    let all = hashes(&station);
    for (number, hash) in all.iter().enumerate() {
        let payload = format!(r#"{{"id":"f{number}","picture":"{hash}"}}"#);
        if number < 3 {
            let told = done(plc, "forget", &payload);
            assert!(told.contains(&format!("{} good", 3 - number)), "{told}");
            continue;
        }

        plc.ask("forget", &payload, "accepted");
        let refused = plc.next("ack/forget");
        assert_eq!(refused["status"], "rejected", "{refused}");
        assert!(
            refused["reason"].to_string().contains("its last reference"),
            "{refused}"
        );
    }

    plc.ask_in_vain(
        "forget",
        r#"{"id":"x","picture":"zzz"}"#,
        "8 to 64 hexadecimal digits",
    );
    plc.ask("forget", r#"{"id":"y","picture":"00000000"}"#, "accepted");
    let refused = plc.next("ack/forget");
    assert!(
        refused["reason"]
            .to_string()
            .contains("is none of its pictures"),
        "{refused}"
    );
    all_arrived(&station.summary());
}

#[test]
fn a_lesson_that_is_ended_or_cut_teaches_nothing() {
    let station = Station::start(crate::harness::line::TRIGGERED);
    let plc = &station.plc;
    plc.ask("teach", r#"{"id":"1","parts":5,"as":"good"}"#, "accepted");
    plc.ask("trigger", r#"{"id":"t"}"#, "accepted");
    plc.next("box/result");
    plc.ask("reset", r#"{"id":"r"}"#, "done");
    let refused = plc.until_fits("ack/teach", |answer| answer["status"] != "progress");
    assert_eq!(refused["status"], "rejected", "{refused}");
    let reason = refused["reason"].as_str().expect("words");
    let words = "nothing was taught: reset ended the lesson; 1 of 5 parts were seen";
    assert_eq!(reason, words);
    plc.ask("teach", r#"{"id":"2","parts":5,"as":"good"}"#, "accepted");
    std::thread::sleep(Duration::from_secs(1));
    let Station {
        line,
        plc,
        broker,
        folder,
    } = station;

    drop(line); // killed
    let line = Running::line(folder.path());
    let refused = plc.until_fits("ack/teach", |answer| answer["status"] != "progress");
    assert_eq!(refused["status"], "rejected", "{refused}");
    assert_eq!(refused["id"], "2", "{refused}");
    assert!(
        refused["reason"]
            .to_string()
            .contains("winspect ended before the lesson did")
    );
    let mut entries = fs::read_dir(folder.path().join("box.recipes")).expect("a folder");
    assert!(entries.all(|entry| {
        let name = entry.expect("an entry").file_name();
        !name.to_string_lossy().starts_with(".lesson-")
    }));

    line.summary();
    drop(broker);
}

/// `winspect` with these words in a folder: what it said. It must end with that code.
#[track_caller]
pub fn said(folder: &Path, words: &[&str], code: i32) -> String {
    let mut command = winspect();
    let output = command.current_dir(folder).args(words).output();
    let output = output.expect("runs");
    let said = both(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

#[test]
fn a_person_teaches_corrects_and_rolls_back_by_command_line_while_the_line_runs() {
    let station = station(|config| config.without("references"));
    let folder = station.folder.path();
    let taught = said(folder, &["teach", "line.toml", "--parts", "8"], 0);
    assert_said(
        &taught,
        &[
            "the next 8 parts are taught",
            "of 8 parts were seen",
            "nut@2 has 4 good",
            "it judges",
        ],
    );

    // One of the four was bad: it is named, and becomes a bad one.
    let plc = &station.plc;
    let parts = turn(plc, "nut@2");
    let part = parts.values().next().expect("a part");
    assert_eq!(part["verdict"], "pass", "{part}");
    let seq = part["seq"].to_string();
    let label = [
        "label",
        "line.toml",
        "--camera",
        "top",
        "--seq",
        &seq,
        "--as",
    ];
    let with = |kind: &'static str| [&label[..], &[kind]].concat();
    let refused = said(folder, &with("false_reject"), 65);
    assert_said(&refused, &["rejected: part ", "is no false reject"]);
    let labelled = said(folder, &with("bad"), 0);
    assert_said(
        &labelled,
        &["nut@3 has 3 good and 1 bad pictures", "it judges"],
    );
    plc.until("box/result", "recipe", "nut@3");

    // Back, by the library's own command, which the line follows.
    let back = said(folder, &["recipe", "rollback", "line.toml", "nut"], 0);
    assert_said(&back, &["nut@2 is the current revision", "nut@2"]);
    plc.until("box/result", "recipe", "nut@2");
    // A picture out of a file, and a picture less.
    let file = golden("open-clip-tiny").join("good_b.png");
    fs::copy(file, folder.join("more.png")).expect("copied");
    said(folder, &["teach", "line.toml", "--good", "more.png"], 65); // the camera showed it
    let shown = said(folder, &["recipe", "show", "line.toml", "nut"], 0);
    let good = shown
        .lines()
        .find_map(|line| line.strip_prefix("good       good/"));
    let hash = &good.expect("a picture")[..10];
    let forgotten = said(folder, &["recipe", "forget", "line.toml", "nut", hash], 0);
    assert_said(
        &forgotten,
        &["nut@4 is the current revision, without ", "nut@4"],
    );
    plc.until("box/result", "recipe", "nut@4");
    said(
        folder,
        &["recipe", "forget", "line.toml", "nut", "1234"],
        65,
    );
    all_arrived(&station.summary());
    let folder = tempfile::tempdir().expect("a folder");
    let alone = said(folder.path(), &["teach", "line.toml", "--parts", "8"], 78);
    assert_said(&alone, &["line.toml"]);
}

/// A change ends in one of two ways, whenever the line is killed: the revision judges and the answer is `done`, or
/// the one before judges and the answer is `rejected`.
#[test]
fn a_line_that_is_killed_in_a_change_tells_how_it_ended() {
    let Station {
        mut line,
        plc,
        broker,
        folder,
    } = station(|config| config);

    let library = winspect::recipe::library::folder::Library::at(folder.path().join("box.recipes"));
    let mut ends = BTreeMap::new();
    for (number, after_ms) in [0, 50, 150, 300, 500, 800, 1200].into_iter().enumerate() {
        let births = Listener::start(broker.port, "plant/box/birth");
        let birth = births.next("box/birth");
        let before = birth["recipe"].clone();
        // A part of this run that is not a reference yet, as bad or as good in turns: each is new.
        let part = plc.until_fits("box/result", |result| {
            result["run_id"] == birth["run_id"] && result["score"].as_f64() > Some(0.001)
        });

        let kind = if number % 2 == 0 { "bad" } else { "good" };
        let id = format!("k{number}");
        publish(broker.port, "cmd/label", &label(&id, &part, kind), &[]);
        std::thread::sleep(Duration::from_millis(after_ms));
        drop(line); // killed
        line = Running::line(folder.path());
        let now = births.until_fits("box/birth", |now| now["run_id"] != birth["run_id"]);
        let answer = plc.until_fits("ack/label", |answer| {
            answer["id"] == id && answer["status"] != "accepted"
        });

        let is_new = now["recipe"] != before;
        // A picture that the recipe has already is refused, and of a run before none is kept: nothing
        // changes.
        let is_taught = answer["status"] == "done"
            && !answer["reason"].to_string().contains("nothing was taught");

        assert_eq!(
            is_taught, is_new,
            "after {after_ms} ms: {before}, {now}, {answer}"
        );
        *ends.entry(is_taught).or_insert(0) += 1;
        // Back, so that there is a part that is no reference for the next one.
        if is_new {
            done(&plc, "rollback", &format!(r#"{{"id":"b{number}"}}"#));
        }

        for revision in library.numbers("nut").expect("a folder") {
            let revision = library.revision("nut", revision).expect("whole");
            revision.verify().expect("each picture is whole");
        }
    }

    // The first was killed before anything was done, and one that is left alone is done.
    assert!(ends.contains_key(&false), "{ends:?}");
    let part = plc.until_fits("box/result", |result| {
        result["score"].as_f64() > Some(0.001)
    });
    done(&plc, "label", &label("last", &part, "bad"));
    line.summary();
}
