//! The screen False rejects in a real browser: a reject is seen, marked as false, taught, its effect looked at, activated and undone.

use crate::harness::broker::free_port;
use crate::harness::browser::Browser;
use crate::harness::line::all_arrived;
use crate::harness::page::Page;
use crate::harness::sign_in::{Session, add_user};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, require, wait_until};
use crate::lessons::{carousel, done, label, turn};
use crate::page_browser::{SIZES, fits, keep_shown};
use crate::what_if::least_rejected;
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Pictures for the carousel, all of one size: two good parts, one with a bright spot, and a bad one. Returns the good ones.
fn spotted_parts(folder: &Path) -> Vec<PathBuf> {
    let part = |shade: u32| {
        RgbImage::from_fn(160, 120, |x, y| {
            let checks = (x / 10 + y / 10) % 2;
            let value = shade + 90 * checks + (x * 7 + y * 13) % 23;
            Rgb([value as u8; 3])
        })
    };

    let square = |mut part: RgbImage, (left, top, side): (u32, u32, u32), colour| {
        for (x, y) in (0..side * side).map(|pixel| (pixel % side, pixel / side)) {
            part.put_pixel(left + x, top + y, Rgb(colour));
        }

        part
    };

    let spotted = square(part(100), (100, 30, 24), [250, 250, 250]);
    let bad = square(part(110), (20, 60, 48), [0, 0, 0]);
    for (number, shown) in [part(100), part(110), spotted, bad].into_iter().enumerate() {
        let file = folder.join(format!("shown{number}.png"));
        shown.save(file).expect("written");
    }

    ["shown0.png", "shown1.png"]
        .map(|name| folder.join(name))
        .to_vec()
}

/// The common place of the group is masked by a candidate, whose effect is told; the line looks away from it while it judges.
#[track_caller]
fn mask_is_tried_activated_and_undone(station: &Station, browser: &Browser) {
    let plc = &station.plc;
    assert!(browser.text(".mask button").contains("pixels at"));
    browser.click(".mask button");
    browser.wait_for("#proposal-1 .bad-parts", |words| {
        words.contains("bad parts still found: 1 of 1")
    });

    assert!(browser.text("#proposal-1 h2").ends_with("nut@3"));
    let made = browser.text("#proposal-1 .made");
    assert!(made.contains("% of what was looked at"), "{made}");
    assert!(
        browser
            .text("#proposal-1 .effect")
            .starts_with("Of the last ")
    );
    plc.until("box/result", "recipe", "nut@2");
    browser.click("#proposal-1 .activate button");
    browser.wait_for("#proposal-1 h2", |title| title.contains("ACTIVE"));
    plc.until("box/result", "recipe", "nut@3");
    wait_until("a map with a masked place", PATIENCE, || {
        let masked = masked_cells(station, "nut@3");
        masked.is_some_and(|masked| masked > 0)
    });

    assert_eq!(
        masked_cells(station, "nut@2"),
        Some(0),
        "nothing was masked before"
    );
    browser.click("#proposal-1 .undo button");
    browser.wait_for("#proposal-1 h2", |title| !title.contains("ACTIVE"));
    plc.until("box/result", "recipe", "nut@2");
}

/// Number of masked cells on the map of a kept part that this revision judged.
fn masked_cells(station: &Station, recipe: &str) -> Option<usize> {
    let folder = station.folder.path().join("evidence");
    for entry in std::fs::read_dir(folder).expect("evidence").flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let Ok(facts) = serde_json::from_slice::<Value>(&text) else {
            continue; // a picture, or a file that is being written
        };

        if facts["recipe"] == recipe {
            return facts["map"]["masked"].as_array().map(Vec::len);
        }
    }

    None
}

#[test]
fn a_reject_is_marked_taught_looked_at_activated_and_undone() {
    if !require("browser") {
        return;
    }

    let page = Page::at(free_port());
    let table = page.table();
    let station = Station::seeing(carousel, |config, folder| {
        let references = spotted_parts(folder);
        config
            .recipe(&format!("threshold = 0.0001\nreferences = {references:?}"))
            .tables("[evidence]\nfolder = \"evidence\"\npass_every = 1")
            .tables(&table)
    });

    let plc = &station.plc;
    add_user(station.folder.path(), "sam", "setter");
    // Two of four pictures are references. One of the others is really bad, and the other no reject.
    let shown = turn(plc, "nut@1");
    let worst = shown.values().next_back().expect("four scores");
    done(plc, "label", &label("bad", worst, "really_bad"));
    let rejected = least_rejected(plc, "nut@2");

    // Nobody is signed in: everything can be read, and nothing done.
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/false-rejects"));
    assert!(browser.text("#hindrance").contains("Sign in as setter"));
    assert_eq!(browser.count("main button"), 0);

    // The reject is seen with its picture, and marked as false.
    browser.sign_in(&page, "sam");
    let [run_id, seq] = [&rejected["run_id"], &rejected["seq"]];
    let run_id = run_id.as_str().expect("a run");
    let part = page.address(&format!("/rejects/part/{run_id}/top/{seq}"));
    wait_until("the reject", PATIENCE, || {
        // A busy disk may have a part a moment after its result was told.
        browser.open(&part);
        browser.count("main .verdict.bad") == 1
    });
    browser.click("#say button[value=false_reject]");
    browser.wait_for("#label", |label| label.contains("↺ false reject"));

    browser.open(&page.address("/false-rejects"));
    browser.click("#group button");
    browser.wait_for(".group h2", |title| title.contains("1 marked as false"));
    wait_until("the picture of the odd place", PATIENCE, || {
        browser.open(&page.address("/false-rejects"));
        browser.script("return document.querySelector('.looks img').naturalWidth") == 160
    });

    mask_is_tried_activated_and_undone(&station, &browser);
    browser.click(".try button");
    browser.wait_for("#proposal-2 .bad-parts", |words| {
        words.contains("bad parts still found: 1 of 1")
    });

    let effect = browser.text("#proposal-2 .effect");
    assert!(
        effect.contains("would pass that failed, 0 would fail"),
        "{effect}"
    );
    assert!(!effect.contains(" 0 would pass that failed"), "{effect}");
    keep_shown(&browser, "false-rejects");
    for (width, height) in SIZES {
        browser.resize(width, height);
        assert!(fits(&browser), "{width} x {height}");
    }

    // Candidates judge nothing.
    plc.until("box/result", "recipe", "nut@2");

    browser.click("#proposal-2 .activate button");
    browser.wait_for("#proposal-2 h2", |title| title.contains("ACTIVE"));
    let passed = plc.until("box/result", "recipe", "nut@4");
    assert_ne!(passed["verdict"], "undecided", "{passed}");
    let shown = turn(plc, "nut@4");
    let failed = shown.values().filter(|result| result["verdict"] == "fail");
    assert_eq!(failed.count(), 1, "the bad one alone: {shown:?}");

    browser.click("#proposal-2 .undo button");
    browser.wait_for("#proposal-2 h2", |title| !title.contains("ACTIVE"));
    least_rejected(plc, "nut@2");

    // What lets a bad part pass is not offered, and a form that asks for it all the same is refused.
    let session = Session::start(&page, "sam");
    session.post("/false-rejects/try-threshold", &[("threshold", "2")]);
    browser.open(&page.address("/false-rejects"));
    browser.wait_for("#proposal-3 .bad-parts", |words| words.contains("0 of 1"));
    assert_eq!(browser.count("#proposal-3 .activate"), 0);
    session.post("/false-rejects/activate", &[("proposal", "3")]);
    let told = session.get("/false-rejects").body;
    assert!(told.contains("a known bad part would pass"), "{told}");
    assert!(
        browser.console_errors().is_empty(),
        "{:?}",
        browser.console_errors()
    );

    // The mark is kept with the part, and its picture among the evidence: another run groups it as well.
    let (station, summary, _) = station.restarted();
    all_arrived(&summary);
    browser.sign_in(&page, "sam");
    browser.open(&page.address("/false-rejects"));
    browser.click("#group button");
    browser.wait_for(".group h2", |title| title.contains("1 marked as false"));
    assert!(
        browser
            .text(".looks")
            .contains(&format!("top/{seq}, marked as a false reject"))
    );
    all_arrived(&station.summary());
}
