//! The recipe library as people use it: by command, and by a line that judges.

use crate::harness::disk::run_script;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{FREE_RUNNING, LineConfig, assert_refused};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, both, errors, winspect};
use crate::harness::station::Station;
use crate::harness::{assert_said, require};
use std::fs;
use std::path::{Path, PathBuf};
use winspect::recipe::library::folder::Library;
use winspect::recipe::library::writer::LibraryWriter;

/// `winspect recipe` with these words: its exit code, and all that it said.
fn recipe(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = winspect();
    command.current_dir(folder).arg("recipe").args(words);
    let output = command.output().expect("runs");
    (output.status.code(), both(&output))
}

/// Asserts that `winspect recipe` does it, and returns what it said.
#[track_caller]
fn done(folder: &Path, words: &[&str]) -> String {
    let (code, said) = recipe(folder, words);
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

/// Asserts that `winspect recipe` refuses with that code and these words.
#[track_caller]
fn refused(folder: &Path, words: &[&str], code: i32, expected: &str) {
    let (found, said) = recipe(folder, words);
    assert_eq!(found, Some(code), "{words:?}: {said}");
    assert_said(&said, &[expected]);
}

/// A folder with a line, whose recipe `nut` is in the library as revision 1.
fn added(port: u16) -> tempfile::TempDir {
    let (folder, _model) = imported("dinov2-tiny");
    LineConfig::new(port, FREE_RUNNING).write(folder.path());
    let said = done(folder.path(), &["add", "line.toml"]);
    assert_said(&said, &["nut@1 is the current revision", "library:nut"]);
    folder
}

/// One of the pictures of a revision.
fn picture(folder: &Path, revision: &str) -> PathBuf {
    let good = folder.join("box.recipes/nut").join(revision).join("good");
    let mut entries = fs::read_dir(good).expect("a folder");
    entries.next().expect("a picture").expect("an entry").path()
}

#[test]
fn a_recipe_is_added_listed_shown_carried_and_rolled_back() {
    let folder = added(1);
    let folder = folder.path();
    assert_said(
        &done(folder, &["list", "line.toml"]),
        &["* nut@1", "2 good, 0 bad, threshold auto"],
    );
    let words = [
        "recipe     nut@1",
        "model      dinov2-tiny",
        "from good_a.png",
    ];
    assert_said(&done(folder, &["show", "line.toml", "nut"]), &words);
    done(folder, &["export", "line.toml", "nut", "nut.tar"]);
    refused(
        folder,
        &["export", "line.toml", "nut", "nut.tar"],
        69,
        "exists",
    );
    // Into the library of another machine, which is a folder, and into the same one.
    fs::create_dir(folder.join("other")).expect("made");
    let said = done(folder, &["import", "other", "nut.tar"]);
    assert_said(&said, &["nut@1 is the current revision"]);
    let said = done(folder, &["import", "line.toml", "nut.tar"]);
    assert_said(&said, &["nut@2 is the current revision"]);
    let said = done(folder, &["rollback", "line.toml", "nut"]);
    assert_said(&said, &["nut@1 is the current revision"]);
    let said = done(folder, &["list", "line.toml"]);
    assert_said(
        &said,
        &["* nut@1", "  nut@2", "imported from nut.tar: nut@1"],
    );
    refused(
        folder,
        &["add", "line.toml"],
        65,
        "is in the library already, as nut@1",
    );
    refused(
        folder,
        &["show", "line.toml", "bolt"],
        65,
        "no recipe \"bolt\"; it has nut",
    );
    refused(
        folder,
        &["show", "line.toml", "../nut"],
        64,
        "must have no /",
    );
    refused(
        folder,
        &["rollback", "line.toml", "nut", "--revision", "9"],
        65,
        "no revision 9",
    );
    fs::write(folder.join("words.tar"), "hello").expect("written");
    refused(
        folder,
        &["import", "line.toml", "words.tar"],
        65,
        "no recipe of winspect",
    );
    fs::write(picture(folder, "2"), "hello").expect("written");
    refused(
        folder,
        &["show", "line.toml", "nut", "--revision", "2"],
        65,
        "its content is not what",
    );
}

/// A line that judges by the library's recipe from its start, and again at each selection.
#[test]
fn a_line_judges_by_the_current_revision_at_its_start_and_at_a_selection() {
    let station = station_of_library();
    let folder = station.folder.path();
    let plc = &station.plc;
    assert_eq!(plc.next("box/result")["recipe"], "nut@1");
    // By the library alone: by the line's file the line would take it over at once.
    done(folder, &["import", "box.recipes", "nut.tar"]);
    let select = |command: &str, status: &str| {
        plc.ask("select_recipe", command, "accepted");
        let outcome = plc.next("ack/select_recipe");
        assert_eq!(outcome["status"], status, "{outcome}");
        outcome["reason"].clone()
    };

    assert_eq!(select(r#"{"id":"a","recipe":"nut"}"#, "done"), "nut@2");
    plc.until("box/result", "recipe", "nut@2");
    done(folder, &["rollback", "box.recipes", "nut"]);
    let reason = select(r#"{"id":"b","recipe":"nut","revision":2}"#, "rejected");
    assert_eq!(reason, "recipe nut has revision 1 here, not 2");
    let births = station.listen("birth");
    let reason = select(r#"{"id":"c","recipe":"nut","revision":1}"#, "done");
    assert_eq!(reason, "nut@1");
    births.until("box/birth", "recipe", "nut@1");
    plc.until("box/result", "recipe", "nut@1");
    // Pictures that were changed are not taken over, and the line judges on.
    done(folder, &["rollback", "box.recipes", "nut"]);
    fs::write(picture(folder, "2"), "hello").expect("written");
    let reason = select(r#"{"id":"d","recipe":"nut"}"#, "rejected");
    assert!(
        reason.to_string().contains("its content is not what nut@2"),
        "{reason}"
    );
    let Station {
        line,
        folder,
        broker,
        ..
    } = station;

    line.summary();
    assert_refused(
        folder.path(),
        65,
        &["its content is not what nut@2 was taught with"],
    );
    // Nothing of the line is asked for when it is taken back.
    done(folder.path(), &["rollback", "line.toml", "nut"]);
    let again = Running::line(folder.path());
    Listener::station(broker.port).until("box/result", "recipe", "nut@1");
    again.summary();
}

#[test]
fn a_table_that_was_changed_is_another_recipe_than_the_librarys() {
    let folder = added(1);
    let line = || LineConfig::new(1, FREE_RUNNING);
    line().recipe("threshold = 0.4").write(folder.path());
    let words = [
        "revisions up to 1 of a recipe \"nut\"",
        "recipe = \"library:nut\"",
        "above 1",
    ];
    assert_refused(folder.path(), 78, &words);
    line()
        .recipe("threshold = 0.4\nrevision = 2")
        .write(folder.path());
    let said = done(folder.path(), &["add", "line.toml"]);
    assert_said(&said, &["nut@2 is the current revision"]);
    let unknown = line().of_library("bolt");
    unknown.write(folder.path());
    assert_refused(folder.path(), 78, &["no recipe \"bolt\"; it has nut"]);
    // The command that mends it works with that file.
    assert_said(&done(folder.path(), &["list", "line.toml"]), &["* nut@2"]);
    let manifest = folder.path().join("box.recipes/nut/2/manifest.json");
    let text = fs::read_to_string(&manifest).expect("text");
    fs::write(manifest, text.replace("\"format\": 1", "\"format\": 2")).expect("written");
    line().of_library("nut").write(folder.path());
    assert_refused(folder.path(), 78, &["made by a newer winspect (format 2"]);
}

#[test]
fn a_disk_that_is_full_keeps_the_revision_before() {
    if !require("mount") {
        return;
    }

    let folder = added(1);
    done(folder.path(), &["export", "line.toml", "nut", "nut.tar"]);
    let script = "mkdir disk/r && \"$0\" recipe import disk/r nut.tar && \
                  dd if=/dev/zero of=disk/other bs=4k 2> dd; \
                  \"$0\" recipe import disk/r nut.tar; echo \"code $?\"; ls -a disk/r/nut; \
                  rm disk/other; \"$0\" recipe show disk/r nut && \
                  \"$0\" recipe import disk/r nut.tar && ls -a disk/r/nut";

    let output = run_script(folder.path(), script);
    assert!(output.status.success(), "{}", errors(&output));
    let said = both(&output);
    let words = [
        "code 69",
        "No space left",
        "recipe     nut@1",
        "nut@2 is the current",
    ];
    assert_said(&said, &words);
    assert!(!said.contains(".new") && !said.contains(".gone"), "{said}");
}

/// A station whose recipe is the library's `nut@1`, which lies beside it as `nut.tar` too.
fn station_of_library() -> Station {
    Station::configured(FREE_RUNNING, |config, folder| {
        config.write(folder);
        done(folder, &["add", "line.toml"]);
        done(folder, &["export", "line.toml", "nut", "nut.tar"]);
        config.of_library("nut")
    })
}

#[test]
fn a_threshold_that_is_set_is_a_revision_and_outlives_the_line() {
    let station = station_of_library();
    let plc = &station.plc;
    let set = |id: &str, value: f64| {
        let command = serde_json::json!({"id": id, "value": value}).to_string();
        let answer = plc.ask("set_threshold", &command, "done");
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(
            reason.ends_with("it becomes a revision of the recipe"),
            "{answer}"
        );
    };

    set("a", 1.9);
    let result = plc.until("box/result", "recipe", "nut@2");
    assert_eq!(result["threshold"], 1.9, "{result}");
    let said = done(station.folder.path(), &["show", "line.toml", "nut"]);
    assert_said(
        &said,
        &[
            "nut@2",
            "of nut@1: set_threshold",
            "threshold  1.9: set_threshold",
        ],
    );
    // Selecting it again changes nothing.
    plc.ask("select_recipe", r#"{"id":"b","recipe":"nut"}"#, "accepted");
    assert_eq!(plc.next("ack/select_recipe")["reason"], "nut@2");
    // One that is set at the last moment outlives the line as well.
    set("c", 1.8);
    let Station {
        line,
        folder,
        broker,
        ..
    } = station;

    line.summary();
    let plc = Listener::station(broker.port);
    let again = Running::line(folder.path());
    let result = plc.until("box/result", "recipe", "nut@3");
    assert_eq!(result["threshold"], 1.8, "{result}");
    again.summary();
    done(
        folder.path(),
        &["rollback", "line.toml", "nut", "--revision", "1"],
    );
    let plc = Listener::station(broker.port);
    let again = Running::line(folder.path());
    let result = plc.until("box/result", "recipe", "nut@1");
    assert_ne!(result["threshold"], 1.9, "{result}");
    again.summary();
}

/// A library that went on without the line, and one that another command holds.
#[test]
fn a_threshold_that_cannot_be_kept_is_told_until_it_is() {
    let station = station_of_library();
    let plc = &station.plc;
    let states = station.listen("state");
    let folder = station.folder.path();
    let library = Library::at(folder.join("box.recipes"));
    let writer = LibraryWriter::lock(&library).expect("free");
    plc.ask("set_threshold", r#"{"id":"a","value":1.9}"#, "done");
    let told = |words: &'static str| {
        move |state: &serde_json::Value| state["causes"].to_string().contains(words)
    };

    states.until_fits("box/state", told("another command is changing"));
    assert_eq!(plc.next("box/result")["recipe"], "nut@1");
    drop(writer);
    plc.until("box/result", "recipe", "nut@2");
    states.until_fits("box/state", |state| !told("recipe library")(state));
    // By the library alone: by the line's file the line would take it over at once.
    done(folder, &["import", "box.recipes", "nut.tar"]);
    plc.ask("set_threshold", r#"{"id":"b","value":1.7}"#, "done");
    states.until_fits("box/state", told("nut@3 is the library's current revision"));
    assert_eq!(plc.next("box/result")["recipe"], "nut@2");
    station.summary();
}

#[test]
fn calibration_pictures_go_with_their_recipe() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let picture = golden("open-clip-tiny").join("good_c.png");
    LineConfig::new(1, FREE_RUNNING)
        .without("threshold")
        .recipe(&format!(
            "false_reject_rate = 0.4\ncalibration = [{picture:?}]"
        ))
        .write(folder);

    done(folder, &["add", "line.toml"]);
    let said = done(folder, &["show", "line.toml", "nut"]);
    let words = [
        "threshold  false_reject_rate 0.4",
        "calibrate  calibration/",
        "from good_c.png",
    ];
    assert_said(&said, &words);
    // The line's file is read with them.
    refused(
        folder,
        &["add", "line.toml"],
        65,
        "is in the library already, as nut@1",
    );
}
