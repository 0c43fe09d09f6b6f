//! Another recipe is selected while parts come.

use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{FREE_RUNNING, LineConfig, summary};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::Running;
use crate::harness::station::Station;
use std::collections::HashSet;
use std::time::Duration;

/// A free-running station with the recipes `nut` and `bolt`.
fn station() -> Station {
    Station::configured(FREE_RUNNING, |config, folder| {
        config.bolt(folder, "input_px = 98")
    })
}

#[test]
fn a_recipe_that_is_not_there_is_refused() {
    let station = station();
    for (command, words) in [
        (r#"{"id":"a","recipe":"screw"}"#, "there are bolt@4, nut@1"),
        (
            r#"{"id":"b","recipe":"bolt","revision":3}"#,
            "has revision 4 here, not 3",
        ),
    ] {
        station.plc.ask_in_vain("select_recipe", command, words);
    }

    station.summary();
}

#[test]
fn a_selected_recipe_judges_and_survives_a_crash() {
    let station = station();
    let plc = &station.plc;
    let births = station.listen("birth");
    assert_eq!(plc.next("box/result")["recipe"], "nut@1");
    let command = r#"{"id":"c","recipe":"bolt"}"#;
    plc.ask("select_recipe", command, "accepted");
    let outcome = plc.next("ack/select_recipe");
    assert_eq!(outcome["id"], "c", "{outcome}");
    assert_eq!(outcome["status"], "done", "{outcome}");
    assert_eq!(outcome["reason"], "bolt@4", "{outcome}");
    let result = plc.until("box/result", "recipe", "bolt@4");
    assert_eq!(result["threshold"], 1.5, "{result}");
    assert_eq!(result["verdict"], "pass", "{result}");
    let nut = births.until("box/birth", "recipe", "nut@1");
    let bolt = births.until("box/birth", "recipe", "bolt@4");
    let gallery = bolt["gallery"].as_str().expect("a hash");
    assert_eq!(gallery.len(), 16, "{bolt}");
    // Both are taught with the same pictures.
    assert_eq!(nut["gallery"], bolt["gallery"]);

    // Killed, and taught with one picture less: the recipe is the same, its gallery another.
    let Station {
        line,
        plc,
        broker,
        folder,
    } = station;

    drop(line);
    let reference = golden("open-clip-tiny").join("good_a.png");
    LineConfig::new(broker.port, FREE_RUNNING)
        .bolt(
            folder.path(),
            &format!("input_px = 98\nreferences = [{reference:?}]"),
        )
        .write(folder.path());

    let line = Running::line(folder.path());
    let again = births.until_fits("box/birth", |birth| birth["run_id"] != result["run_id"]);
    assert!(again["gallery"].is_string(), "{again}");
    assert_ne!(again["gallery"], bolt["gallery"], "{again}");
    plc.until_fits("box/result", |next| next["run_id"] != result["run_id"]);
    assert_eq!(plc.next("box/result")["recipe"], "bolt@4");
    line.summary();
}

#[test]
fn a_selection_that_is_repeated_gets_both_answers_again() {
    let station = station();
    let plc = &station.plc;
    let command = r#"{"id":"c","recipe":"bolt"}"#;
    let both = |status: &str| {
        plc.tell("select_recipe", command);
        let outcome = plc.next("ack/select_recipe");
        assert_eq!(outcome["status"], status, "{outcome}");
        outcome
    };

    let first = both("done");
    std::thread::sleep(Duration::from_millis(1100)); // no more than one a second
    assert_eq!(both("done"), first);
    let back = r#"{"id":"d","recipe":"nut"}"#;
    plc.ask("select_recipe", back, "accepted");
    assert_eq!(plc.next("ack/select_recipe")["status"], "done");
    // The next run knows the id, and says what is so now.
    let (station, _, _) = station.restarted();
    let plc = &station.plc;
    plc.tell("select_recipe", command);
    let outcome = plc.next("ack/select_recipe");
    assert_eq!(outcome["status"], "rejected", "{outcome}");
    let words = "bolt was selected in an earlier run; nut@1 judges now";
    assert_eq!(outcome["reason"], words, "{outcome}");
    plc.tell("select_recipe", back);
    assert_eq!(plc.next("ack/select_recipe")["status"], "done");
    station.summary();
}

#[test]
fn selections_that_a_stop_cuts_are_told_how_they_ended() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    LineConfig::new(broker.port, FREE_RUNNING)
        .bolt(folder.path(), "input_px = 98")
        .write(folder.path());

    let births = Listener::start(broker.port, "plant/box/birth");
    let line = Running::line(folder.path());
    births.next("box/birth");
    let outcomes = Listener::start(broker.port, "plant/box/ack/select_recipe");
    // One is being prepared and one waits when the line stops.
    for command in [
        r#"{"id":"d","recipe":"bolt"}"#,
        r#"{"id":"e","recipe":"nut"}"#,
    ] {
        publish(broker.port, "cmd/select_recipe", command, &[]);
    }

    let mut ended = HashSet::new();
    let mut hear = || {
        let answer = outcomes.next("select_recipe");
        if answer["status"] != "accepted" {
            ended.insert(answer["id"].to_string());
        }

        ended.len()
    };

    hear();
    hear();
    line.ask_to_stop();
    while hear() < 2 {}
    summary(&line.end());
}

#[test]
fn a_threshold_that_was_set_outlives_the_selection_of_the_same_recipe_and_is_told() {
    let station = station();
    let plc = &station.plc;
    let births = station.listen("birth");
    plc.ask("set_threshold", r#"{"id":"f","value":0.3}"#, "done");
    for (id, recipe, told) in [
        ("g", "nut", "nut@1, with set_threshold's 0.3"),
        ("h", "bolt", "bolt@4"),
        ("i", "nut", "nut@1, with set_threshold's 0.3"),
    ] {
        let command = format!(r#"{{"id":"{id}","recipe":"{recipe}"}}"#);
        plc.ask("select_recipe", &command, "accepted");
        let outcome = plc.answered("select_recipe");
        assert_eq!(outcome["reason"], told, "{outcome}");
    }

    let last = births.until_fits("box/birth", |birth| birth["recipe"] == "bolt@4");
    assert_eq!(last["threshold"], 1.5, "{last}");
    let last = births.until("box/birth", "recipe", "nut@1");
    assert_eq!(
        last["threshold"].as_f64().map(|t| (t * 10.0).round()),
        Some(3.0)
    );
    station.summary();
}
