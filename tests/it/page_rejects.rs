//! The screen Rejects: a reject is seen, looked at, labelled and taken away.

use crate::harness::broker::free_port;
use crate::harness::browser::Browser;
use crate::harness::line::TRIGGERED;
use crate::harness::page::Page;
use crate::harness::program::winspect;
use crate::harness::sign_in::{Session, add_user};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, assert_said, require, wait_until};
use crate::page_browser::{keep_screens, keep_shown};
use serde_json::Value;
use std::process::Command;

/// A line that keeps each part, with a page, an operator `otto` and a setter `sara`; all parts fail.
pub fn rejecting() -> (Station, Page) {
    rejecting_with("")
}

/// The same with other keys of the page.
fn rejecting_with(keys: &str) -> (Station, Page) {
    let page = Page::at(free_port());
    let evidence = "[evidence]\nfolder = \"evidence\"\npass_every = 1";
    let tables = format!("{}\n{keys}\n{evidence}", page.table());
    let camera = format!("{TRIGGERED}\nmm_per_pixel = 0.1");
    let station = Station::configured(&camera, |config, _| config.tables(&tables));
    add_user(station.folder.path(), "otto", "operator");
    add_user(station.folder.path(), "sara", "setter");
    station
        .plc
        .ask("set_threshold", r#"{"id": "t", "value": 0.0001}"#, "done");

    (station, page)
}

/// Sends a part through the line and waits until its pictures are kept.
pub fn reject(station: &Station, part_id: &str) {
    let part = format!("{{\"part_id\": {part_id:?}}}");
    station.plc.ask("trigger", &part, "accepted");
    let folder = station.folder.path().join("evidence");
    let mark = format!("_{part_id}_");
    wait_until("the evidence", PATIENCE, || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| name.contains(&mark) && name.ends_with(".json"))
            .count()
            == 1
    });
}

/// The trend of a part's place says how many were rejected there, as the history counts them. Both parts show one of four
/// pictures, so that they may have failed at one place or at two.
#[track_caller]
fn assert_trend_is_counted(station: &Station, trend: &str) {
    let mut history = winspect();
    let line = station.folder.path().join("line.toml");
    history.arg("history").arg(line);
    let output = history.args(["--by", "place", "--json"]).output();
    let output = output.expect("it runs");
    let told = String::from_utf8(output.stdout).expect("text");
    let places = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));

    let counted = places.into_iter().any(|place| {
        let name = place["place"].as_str().expect("a name");
        let words = format!(
            "Rejected at {name}: {} in the last 24 hours, 0 in the 24 hours before.",
            place["fail"]
        );

        words == trend
    });

    assert!(counted, "{trend} is not in\n{told}");
}

/// Facts of the kept part of that id, and the stem of its files.
fn facts_of(station: &Station, part_id: &str) -> (String, Value) {
    let folder = station.folder.path().join("evidence");
    let mark = format!("_{part_id}_");
    let entries = std::fs::read_dir(folder).expect("evidence").flatten();
    let mut files = entries.map(|entry| entry.path());
    let file = files.find(|file| {
        let name = file.to_string_lossy();
        name.contains(&mark) && name.ends_with(".json")
    });

    let file = file.expect("facts");
    let stem = file.file_stem().expect("a name").to_string_lossy();
    let facts = std::fs::read(&file).expect("facts");
    (
        stem.into_owned(),
        serde_json::from_slice(&facts).expect("JSON"),
    )
}

/// Each defect stands beside a place of a reference, which is as far from it as the map says at its highest.
#[track_caller]
fn assert_nearest_are_beside(station: &Station, browser: &Browser, part_id: &str) {
    let (_, facts) = facts_of(station, part_id);
    let values = facts["map"]["values"].as_array().expect("a map");
    let values = values.iter().filter_map(Value::as_f64);
    let highest = values.fold(0.0, f64::max);
    let words = "Looked for: good part ";
    let distance = format!(" of 2, distance {highest:.3}");

    browser.wait_for("#nearest", |nearest| {
        nearest.contains("Defect 1") && nearest.contains(words) && nearest.contains(&distance)
    });
    let seen =
        "return [...document.querySelectorAll('.beside img')].map(image => image.naturalWidth)";
    wait_until("both places", PATIENCE, || {
        let widths = browser.script(seen);
        let widths = widths.as_array().expect("a list");
        widths.len() >= 2 && widths.iter().all(|width| width == 320)
    });
    assert!(
        browser
            .text("#nearest")
            .contains("nut@1, which judged this part")
    );
}

/// A defect's size stands in millimetres on the part's screen, in the file that is taken away, and in the result's scale.
#[track_caller]
fn assert_sizes_in_mm(station: &Station, page: &Page, browser: &Browser) {
    let (_, facts) = facts_of(station, "A-1");
    let side = |name: &str| facts["defects"][0][name].as_f64().expect("pixels") / 10.0;
    let (w, h) = (side("w"), side("h"));
    let shown = browser.text(".numbers");
    assert!(shown.contains(&format!("{w:.2} × {h:.2}")), "{shown}");
    assert!(browser.text("main").contains("a pixel 0.1 mm of the part"));

    let csv = page.get("/rejects/parts.csv?part_id=A-1").body;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names = reader.headers().expect("names").clone();
    let row = reader.records().next().expect("a row").expect("values");
    let value = |name: &str| {
        let column = names.iter().position(|known| known == name);
        row[column.expect("a column")].to_owned()
    };

    assert_eq!(value("defect_w_mm"), format!("{w:.3}"));
    assert_eq!(value("defect_h_mm"), format!("{h:.3}"));
    assert_eq!(value("defect_w"), facts["defects"][0]["w"].to_string());
}

#[test]
fn where_no_good_part_can_be_shown_beside_the_screen_says_why() {
    let (station, page) = rejecting();
    reject(&station, "A-1");
    let (stem, facts) = facts_of(&station, "A-1");
    let address = format!("/rejects/nearest/{stem}");
    let otto = Session::start(&page, "otto");
    let told = |words: &str| {
        wait_until(words, PATIENCE, || otto.get(&address).body.contains(words));
    };

    // Nothing is looked for, nor held in memory, for somebody who is not signed in.
    assert_said(&page.get(&address).body, &["Sign in as operator"]);
    assert_eq!(page.get(&format!("{address}/1/found.jpg")).status, 403);

    // The revision that judged it is gone.
    let file = station
        .folder
        .path()
        .join("evidence")
        .join(format!("{stem}.json"));
    let mut other = facts.clone();
    other["recipe"] = "nut@77".into();
    std::fs::write(&file, other.to_string()).expect("written");
    told("nut@77 judged the part, and is not in the recipe library any more");
    let picture = otto.get(&format!("{address}/1/found.jpg"));
    assert_eq!(picture.status, 404);

    // The picture had to make room.
    reject(&station, "B-2");
    let (stem, facts) = facts_of(&station, "B-2");
    let picture = facts["picture"]["file"].as_str().expect("a picture");
    let folder = station.folder.path().join("evidence");
    std::fs::remove_file(folder.join(picture)).expect("it is there");
    let address = format!("/rejects/nearest/{stem}");
    wait_until("no picture", PATIENCE, || {
        let body = otto.get(&address).body;
        body.contains("the picture of part") && body.contains("cannot be read")
    });

    for wrong in ["..%2F..%2Fetc", "nothing"] {
        let status = page.get(&format!("/rejects/nearest/{wrong}")).status;
        assert_eq!(status, 404, "{wrong}");
    }
}

/// Puts a pipe without a writer in the place of a part's facts: whoever reads them hangs, as on a share.
#[track_caller]
pub fn hang(station: &Station, part_id: &str) -> String {
    let (stem, _) = facts_of(station, part_id);
    let folder = station.folder.path().join("evidence");
    let file = folder.join(format!("{stem}.json"));
    std::fs::remove_file(&file).expect("it is there");
    let made = Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("it runs").success(), "{}", file.display());
    stem
}

#[test]
fn the_line_ends_while_a_share_hangs_that_the_page_and_a_what_if_read() {
    let (station, page) = rejecting();
    reject(&station, "A-1");
    let stem = hang(&station, "A-1");
    let otto = Session::start(&page, "otto");
    let address = format!("/rejects/nearest/{stem}");
    wait_until("the search", PATIENCE, || {
        otto.get(&address)
            .body
            .contains("they are being looked for")
    });
    let asked = r#"{"id": "w", "threshold": 0.5}"#;
    station.plc.ask("what_if", asked, "accepted");

    // It ends within the time that the service manager gives, and the next run answers what was cut.
    let (station, _, _) = station.restarted();
    let answer = station.plc.until_fits("ack/what_if", |answer| {
        answer["id"] == "w" && answer["status"] != "accepted"
    });
    assert_eq!(answer["status"], "rejected", "{answer}");
    let reason = answer["reason"].as_str().expect("words");
    assert!(
        reason.contains("ended before the parts were judged again"),
        "{reason}"
    );
}

#[test]
fn numbers_of_a_part_have_the_form_that_the_page_was_given() {
    let (station, page) = rejecting_with("numbers = \"comma\"");
    reject(&station, "A-1");
    let otto = Session::start(&page, "otto");
    let list = otto.get("/rejects").body;
    let (_, rest) = list.split_once("<a href=\"/rejects/part/").expect("a part");
    let end = rest.find('"').expect("its end");
    let part = otto.get(&format!("/rejects/part/{}", &rest[..end])).body;
    assert_said(&part, &["a pixel 0,1 mm of the part"]);
    let (_, facts) = facts_of(&station, "A-1");
    let defect = &facts["defects"][0];
    let side = |name: &str| defect[name].as_f64().expect("pixels") / 10.0;
    let size = format!("{:.2} × {:.2}", side("w"), side("h"));
    let peak = format!("{:.3}", defect["peak"].as_f64().expect("a number"));
    for (pointed, number) in [&size, &peak].map(|number| (number, number.replace('.', ","))) {
        assert_said(&part, &[&format!("<td>{number}</td>")]);
        assert!(!part.contains(&format!("<td>{pointed}</td>")), "{part}");
    }

    let (stem, _) = facts_of(&station, "A-1");
    wait_until("the nearest good part", PATIENCE, || {
        let body = otto.get(&format!("/rejects/nearest/{stem}")).body;
        body.contains(" of 2, distance 0,")
    });
}

#[test]
fn an_operator_sees_a_reject_and_marks_it_false() {
    if !require("browser") {
        return;
    }

    let (station, page) = rejecting();
    reject(&station, "A-1");
    reject(&station, "B-2");
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/"));
    browser.click("nav a[href='/rejects']");
    browser.wait_for(".cards", |cards| {
        cards.contains("A-1 (no. 1)") && cards.contains("B-2 (no. 2)") && cards.contains("✕ FAIL")
    });
    let seen = "return [...document.querySelectorAll('.cards img')].every(image => image.naturalWidth > 0)";
    wait_until("the small pictures", PATIENCE, || {
        browser.script(seen) == true
    });
    assert_eq!(browser.count(".cards img"), 2);

    // Nobody is signed in: it is read, and nothing can be said.
    browser.click(".cards li:last-child a");
    browser.wait_for("main", |main| main.contains("A-1 (no. 1)"));
    assert!(browser.text("main").contains("Sign in as operator"));
    assert_eq!(browser.count("#say"), 0);

    browser.sign_in(&page, "otto");
    browser.open(&page.address("/rejects?part_id=A-1"));
    browser.click(".cards a");
    // The map fades over the original.
    let fade = "const range = document.querySelector('#slide input'); range.value = 0; \
                range.dispatchEvent(new Event('input')); \
                const [original, heat] = document.querySelectorAll('#stack img'); \
                return [original.naturalWidth, heat.naturalWidth, heat.style.opacity]";
    wait_until("both pictures", PATIENCE, || {
        let seen = browser.script(fade);
        seen[0].as_u64() > Some(0) && seen[0] == seen[1] && seen[2] == "0"
    });
    assert_trend_is_counted(&station, &browser.text("#trend"));
    assert_nearest_are_beside(&station, &browser, "A-1");
    assert_sizes_in_mm(&station, &page, &browser);
    browser.script("document.querySelector('input[name=note]').value = 'a shadow <b>'");
    keep_shown(&browser, "reject");
    browser.click("#say button[value=false_reject]");
    browser.wait_for("#label", |label| {
        label.contains("↺ false reject")
            && label.contains("otto (page)")
            && label.contains("a shadow <b>")
    });
    assert!(browser.text("#notice").contains("DONE"));
    assert!(
        browser
            .text("main")
            .contains("otto is signed in as operator; this needs setter")
    );
    assert!(
        browser.console_errors().is_empty(),
        "{:?}",
        browser.console_errors()
    );
    keep_screens(&browser, &page, "rejects");
    browser.open(&page.address("/rejects?label=false_reject"));
    browser.wait_for(".cards", |cards| {
        cards.contains("A-1") && !cards.contains("B-2")
    });
}

#[test]
fn a_setter_teaches_a_reject_and_an_operator_may_not() {
    let (station, page) = rejecting();
    reject(&station, "A-1");
    let list = page.get("/rejects").body;
    let (_, address) = list.split_once("<a href=\"/rejects/part/").expect("a part");
    let address = format!(
        "/rejects/part/{}",
        &address[..address.find('"').expect("its end")]
    );
    let parts: Vec<&str> = address.split('/').collect();
    let form = [
        ("run_id", parts[3]),
        ("camera", parts[4]),
        ("seq", parts[5]),
        ("label", "good"),
    ];

    let otto = Session::start(&page, "otto");
    assert_eq!(
        otto.post("/rejects/label", &form).headers["location"],
        address
    );
    assert_said(
        &otto.get(&address).body,
        &["NOT DONE", "otto is operator; this needs setter"],
    );
    assert_eq!(page.post("/rejects/label", &[], &form).status, 403);

    let sara = Session::start(&page, "sara");
    sara.post("/rejects/label", &form);
    assert_said(
        &sara.get(&address).body,
        &["DONE", "✓ labelled good", "sara (page)"],
    );
    let gone = ["A-1", "..%2F..%2Fetc", "%2e%2e"]
        .map(|camera| format!("/rejects/part/{}/{camera}/1", parts[3]));
    for gone in gone {
        let answer = page.get(&gone);
        assert_eq!(answer.status, 404, "{gone}");
    }
}

#[test]
fn parts_are_taken_away_and_pictures_lead_nowhere_else() {
    let (station, page) = rejecting();
    reject(&station, "E-5");
    let csv = page.get("/rejects/parts.csv");
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.body.lines().count(), 2, "{}", csv.body);
    let zip = page.get("/rejects/parts.zip?verdict=fail");
    assert_eq!(zip.headers["content-type"], "application/zip");
    assert!(
        zip.headers["content-length"]
            .parse::<u64>()
            .expect("a number")
            > 1000
    );
    let none = page.get("/rejects?verdict=pass");
    assert_said(&none.body, &["No part fits."]);

    for wrong in ["verdict=good", "since=then", "before=x"] {
        let answer = page.get(&format!("/rejects?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
    }

    let stem = std::fs::read_dir(station.folder.path().join("evidence")).expect("kept");
    let names = stem
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let facts = names
        .into_iter()
        .find_map(|name| name.strip_suffix(".json").map(str::to_owned));
    let stem = facts.expect("facts");
    for file in ["part.jpg", "small.jpg", "original.jpg", "heat.jpg"] {
        assert_eq!(
            page.get(&format!("/evidence/{stem}/{file}")).status,
            200,
            "{file}"
        );
    }

    for wrong in [
        format!("/evidence/{stem}/facts.json"),
        format!("/evidence/..%2Fevidence%2F{stem}/part.jpg"),
        "/evidence/..%2F..%2Fbox.users/part.jpg".to_owned(),
        format!("/evidence/{stem}%00/part.jpg"),
    ] {
        let status = page.get(&wrong).status;
        assert!([400, 404].contains(&status), "{wrong}: {status}");
    }
}
