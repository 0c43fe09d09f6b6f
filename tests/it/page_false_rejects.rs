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

#[test]
fn a_reject_is_marked_taught_looked_at_activated_and_undone() {
    if !require("browser") {
        return;
    }

    let page = Page::at(free_port());
    let table = page.table();
    let station = Station::seeing(carousel, |config, _| {
        config
            .recipe("threshold = 0.0001")
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

    browser.click(".try button");
    browser.wait_for(".proposal .bad-parts", |words| {
        words.contains("bad parts still found: 1 of 1")
    });

    let effect = browser.text(".proposal .effect");
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

    browser.click(".activate button");
    browser.wait_for(".proposal h2", |title| title.contains("ACTIVE"));
    let passed = plc.until("box/result", "recipe", "nut@3");
    assert_ne!(passed["verdict"], "undecided", "{passed}");
    let shown = turn(plc, "nut@3");
    let failed = shown.values().filter(|result| result["verdict"] == "fail");
    assert_eq!(failed.count(), 1, "the bad one alone: {shown:?}");

    browser.click(".undo button");
    browser.wait_for(".proposal h2", |title| !title.contains("ACTIVE"));
    least_rejected(plc, "nut@2");

    // What lets a bad part pass is not offered, and a form that asks for it all the same is refused.
    let session = Session::start(&page, "sam");
    session.post("/false-rejects/try-threshold", &[("threshold", "2")]);
    browser.open(&page.address("/false-rejects"));
    browser.wait_for("#proposal-2 .bad-parts", |words| words.contains("0 of 1"));
    assert_eq!(browser.count("#proposal-2 .activate"), 0);
    session.post("/false-rejects/activate", &[("proposal", "2")]);
    let told = session.get("/false-rejects").body;
    assert!(told.contains("a known bad part would pass"), "{told}");
    assert!(
        browser.console_errors().is_empty(),
        "{:?}",
        browser.console_errors()
    );
    all_arrived(&station.summary());
}
