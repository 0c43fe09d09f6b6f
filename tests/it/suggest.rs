//! Doubtful parts of a live line are grouped by their looks, and a group is taken as good or bad.

use crate::harness::golden::golden;
use crate::harness::json;
use crate::harness::line::all_arrived;
use crate::harness::plc::Listener;
use crate::harness::station::Station;
use crate::lessons::{label, said};
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Side of the mark on a picture, in pixels: two cells of the map.
const MARK: u32 = 32;
/// Side of a cell.
const CELL: u32 = 16;

/// A camera that shows a good part and four odd ones in turns: two with a red mark on the left, two with a blue one on
/// the right.
fn two_kinds(folder: &Path) -> String {
    let good = golden("open-clip-tiny").join("good_a.png");
    let good = image::open(good).expect("a picture").to_rgb8();
    let right = good.width() - MARK;
    let [red, blue] = [Rgb([255, 0, 0]), Rgb([0, 0, 255])];
    let shown = [
        good.clone(),
        marked(&good, (0, 0), red),
        marked(&good, (right, 2 * CELL), blue),
        marked(&good, (0, CELL), red),
        marked(&good, (right, 3 * CELL), blue),
    ];

    for (number, picture) in shown.iter().enumerate() {
        let file = folder.join(format!("shown{number}.png"));
        picture.save(file).expect("written");
    }

    let pipeline = format!(
        "live = true\nendless = false\nlaunch = \"\"\"\nmultifilesrc location={}/shown%d.png \
         index=0 stop-index=4 loop=true caps=image/png,framerate=4/1 ! pngdec ! videoconvert ! \
         identity sync=true\n\"\"\"\n",
        folder.display()
    );

    let file = folder.join("kinds.toml");
    fs::write(&file, pipeline).expect("written");
    format!("kind = {file:?}\ndeadline_ms = 5000")
}

/// The picture with a mark of one colour at a place.
fn marked(picture: &RgbImage, (left, top): (u32, u32), colour: Rgb<u8>) -> RgbImage {
    let mut picture = picture.clone();
    for y in 0..MARK {
        for x in 0..MARK {
            picture.put_pixel(left + x, top + y, colour);
        }
    }

    picture
}

/// Results in which the pictures have all come, also where a busy machine leaves some out.
const RESULTS: usize = 60;

/// The scores that the line gives by its first recipe, or by those after it, in ten-thousandths: `count` different
/// ones, and no other within two turns of the pictures.
#[track_caller]
fn scores(plc: &Listener, is_first: bool, count: usize) -> Vec<u64> {
    let mut scores = BTreeSet::new();
    for number in 0..RESULTS {
        let result = plc.until_fits("box/result", |result| {
            (result["recipe"] == "nut@1") == is_first && result["score"].is_number()
        });

        // Pictures that are encoded together score a little different.
        let score = in_tenths_of_thousandths(&result);
        if !scores.iter().any(|known| is_like(*known, score)) {
            scores.insert(score);
        }

        if scores.len() >= count && number >= 10 {
            break;
        }
    }

    assert_eq!(scores.len(), count, "{scores:?}");
    scores.into_iter().collect()
}

/// True for two scores of the same picture, in ten-thousandths.
fn is_like(one: u64, other: u64) -> bool {
    one.abs_diff(other) < 3
}

fn in_tenths_of_thousandths(result: &Value) -> u64 {
    (result["score"].as_f64().expect("judged") * 1e4).round() as u64
}

/// Lets each of the odd pictures pass near the threshold once.
#[track_caller]
fn pass_nearly(plc: &Listener, scores: &[u64]) {
    for (number, score) in scores.iter().enumerate() {
        let threshold = *score as f64 / 1e4 * 1.02;
        let payload = format!(r#"{{"id":"near{number}-{score}","value":{threshold}}}"#);
        plc.ask("set_threshold", &payload, "done");
        let passed = plc.until_fits("box/result", |result| {
            let is_new =
                (result["threshold"].as_f64().unwrap_or_default() - threshold).abs() < 1e-5;
            is_new && is_like(in_tenths_of_thousandths(result), *score)
        });

        assert_eq!(passed["verdict"], "pass", "{passed}");
    }
}

/// Sends a command, and returns how it ended. Outcomes of commands of the socket come as well.
#[track_caller]
fn ended(plc: &Listener, name: &str, payload: &str) -> Value {
    plc.send(name, payload);
    let id = json(payload)["id"].clone();
    plc.until_fits(&format!("ack/{name}"), |answer| {
        answer["id"] == id && (answer["status"] == "done" || answer["status"] == "rejected")
    })
}

/// Sends a command that must be refused with these words, at once or later.
#[track_caller]
fn refused(plc: &Listener, name: &str, payload: &str, words: &str) {
    let answer = ended(plc, name, payload);
    assert_eq!(answer["status"], "rejected", "{answer}");
    let reason = answer["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(words), "{words:?} is not in {answer}");
}

/// Asks for a suggestion, and returns its groups.
#[track_caller]
fn suggested(plc: &Listener, id: &str) -> Vec<Value> {
    let outcome = ended(plc, "suggest", &format!(r#"{{"id":"{id}"}}"#));
    assert_eq!(outcome["status"], "done", "{outcome}");
    // Without doubtful parts there is no list.
    outcome["groups"].as_array().cloned().unwrap_or_default()
}

/// True where all parts of a group have their oddity on the left.
#[track_caller]
fn is_left(group: &Value) -> bool {
    let parts = group["parts"].as_array().expect("a list");
    let sides: Vec<bool> = parts
        .iter()
        .map(|part| part["x"].as_u64().expect("a number") < 35)
        .collect();

    assert!(sides.iter().all(|side| *side == sides[0]), "{group}");
    sides[0]
}

#[test]
fn two_kinds_of_looks_are_two_groups_and_each_is_taken_by_one_command() {
    let station = Station::seeing(two_kinds, |config, folder| {
        config.bolt(folder, "input_px = 98")
    });

    let plc = &station.plc;
    let folder = station.folder.path();
    // With this threshold nothing is near it.
    plc.ask("set_threshold", r#"{"id":"0","value":1.9}"#, "done");
    assert_eq!(suggested(plc, "none"), Vec::<Value>::new());
    let all = scores(plc, true, 5);
    assert!(is_like(all[0], 0), "{all:?}");
    pass_nearly(plc, &all[1..]);
    let groups = suggested(plc, "first");
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert_ne!(is_left(&groups[0]), is_left(&groups[1]), "{groups:?}");
    let near = |group: &Value| group["near"].as_u64().expect("a number");
    assert!(groups.iter().all(|group| near(group) >= 2), "{groups:?}");
    let part = &groups[0]["parts"][0];
    assert_eq!(part["why"], "near", "{part}");
    assert!(
        part["score"].as_f64() < part["threshold"].as_f64(),
        "{part}"
    );

    // A newer suggestion has other numbers; the picture has a row a group.
    let told = said(
        folder,
        &["suggest", "line.toml", "--picture", "sheet.png"],
        0,
    );
    assert!(told.contains("group 3: "), "{told}");
    assert!(told.contains("group 4: "), "{told}");
    let sheet = image::open(folder.join("sheet.png")).expect("a picture");
    // Lines that share a library have a sheet each, and none is half written.
    let library = fs::read_dir(folder.join("box.recipes")).expect("a library");
    let names = library.map(|entry| entry.expect("a name").file_name());
    let names: Vec<_> = names.collect();
    let sheets = names.iter().map(|name| name.to_string_lossy());
    let sheets: Vec<_> = sheets.filter(|name| name.contains("suggestion")).collect();
    assert_eq!(sheets, [".suggestion-plant-box.png"]);
    assert_eq!(sheet.height(), 8 + 2 * (2 * 160 + 24));
    let run_id = &part["part"].as_str().expect("a text")[..26];
    let group = |id: &str, number: &str, kind: &str| {
        format!(r#"{{"id":"{id}","run_id":"{run_id}","group":{number},"as":"{kind}"}}"#)
    };

    let words = "group 1 is none of the last suggestion, or was taken already: there are 3, 4";
    refused(plc, "teach", &group("1", "1", "good"), words);
    for (payload, words) in [
        (
            r#"{"id":"2","run_id":"R","group":3,"parts":2,"as":"good"}"#,
            "either group or parts",
        ),
        (
            r#"{"id":"2b","group":3,"as":"good"}"#,
            "run_id of the group is missing",
        ),
        (
            r#"{"id":"2c","run_id":"R","group":3,"as":"good"}"#,
            "is of another run",
        ),
    ] {
        refused(plc, "teach", payload, words);
    }

    // One group is good: its parts are references now.
    let taught = said(
        folder,
        &["teach", "line.toml", "--group", "3", "--as", "good"],
        0,
    );

    assert!(
        taught.contains(" has 4 good and 0 bad pictures"),
        "{taught}"
    );
    scores(plc, false, 3);
    said(
        folder,
        &["teach", "line.toml", "--group", "3", "--as", "good"],
        65,
    );

    // The other one is bad, and fails from now on.
    let told = ended(plc, "teach", &group("3", "4", "bad"));
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(" has 4 good and 2 bad pictures"), "{told}");
    // The groups were the recipe's that judged.
    plc.ask("set_threshold", r#"{"id":"4","value":0.0001}"#, "done");
    let failed = plc.until_fits("box/result", |result| {
        result["verdict"] == "fail" && result["score"].as_f64() > Some(0.001)
    });

    // A group whose pictures are all taught by labels is taken too.
    let labelled = ended(plc, "label", &label("5b", &failed, "false_reject"));
    assert_eq!(labelled["status"], "done", "{labelled}");
    let groups = suggested(plc, "taught");
    let alone = groups.iter().find(|group| group["overruled"] == 1);
    let alone = alone.unwrap_or_else(|| panic!("{groups:?}"));
    let number = alone["group"].to_string();
    refused(plc, "teach", &group("5c", &number, "bad"), "a good one");
    let told = ended(plc, "teach", &group("5d", &number, "good"));
    let words = " of them as good parts already; the group is taken";
    assert!(told["reason"].to_string().contains(words), "{told}");
    let words = "is none of the last suggestion";
    refused(plc, "teach", &group("5e", &number, "good"), words);
    let recipe = labelled["reason"].as_str().expect("words");
    let recipe = recipe.split(' ').next().expect("a label").to_owned();
    let failed = plc.until_fits("box/result", |result| {
        let is_new = result["recipe"] == recipe.as_str();
        is_new && result["verdict"] == "fail" && result["score"].as_f64() > Some(0.001)
    });

    let overruled = label("5", &failed, "false_reject").replace('}', r#","candidate":true}"#);
    let told = ended(plc, "label", &overruled);
    assert_eq!(told["status"], "done", "{told}");
    let groups = suggested(plc, "overruled");
    let has_overruled = |group: &&Value| group["overruled"] == 1;
    assert_eq!(groups.iter().filter(has_overruled).count(), 1, "{groups:?}");
    let number = groups[0]["group"].to_string();
    let selected = ended(plc, "select_recipe", r#"{"id":"6","recipe":"bolt"}"#);
    assert_eq!(selected["status"], "done", "{selected}");
    let of_bolt = group("7", &number, "bad");
    let of_nut = group("8", &number, "bad").replace('}', r#","recipe":"nut"}"#);
    for (payload, words) in [
        (of_bolt, "the groups are of recipe nut, not of bolt"),
        (of_nut, "bolt@4 judges"),
    ] {
        refused(plc, "teach", &payload, words);
    }

    let of_nut = r#"{"id":"9","recipe":"nut"}"#;
    refused(plc, "suggest", of_nut, "bolt@4 judges");
    all_arrived(&station.summary());
}
