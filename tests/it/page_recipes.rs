//! The screen Recipes: control, selecting and rolling back, in a real browser beside a PLC that does the same.

use crate::harness::broker::free_port;
use crate::harness::browser::Browser;
use crate::harness::line::TRIGGERED;
use crate::harness::page::Page;
use crate::harness::program::{both, winspect};
use crate::harness::sign_in::{Session, add_user, audit};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, assert_said, require, wait_until};
use crate::page_browser::keep_shown;

/// A station with a page, whose recipe is the library's `nut@1`, and a recipe `bolt` in a file.
fn station_of_library() -> (Station, Page) {
    let page = Page::at(free_port());
    let table = page.table();
    let station = Station::configured(TRIGGERED, |config, folder| {
        config.write(folder);
        let mut command = winspect();
        command
            .args(["recipe", "add", "line.toml"])
            .current_dir(folder);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", both(&output));
        config
            .bolt(folder, "input_px = 70\nthreshold = 0.3")
            .of_library("nut")
            .tables(&table)
    });

    (station, page)
}

#[test]
fn a_setter_selects_and_rolls_back_under_control_alone() {
    if !require("browser") {
        return;
    }

    let (station, page) = station_of_library();
    let folder = station.folder.path();
    let plc = &station.plc;
    add_user(folder, "anna", "setter");
    plc.ask("set_threshold", r#"{"id":"a","value":0.3}"#, "done");
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/recipes"));
    assert_said(&browser.text("#hindrance"), &["Sign in as setter"]);
    assert_eq!(browser.count("main button"), 0, "nothing can be changed");

    browser.sign_in(&page, "anna");
    wait_until("the second revision", PATIENCE, || {
        browser.open(&page.address("/recipes"));
        browser.text("#recipe-nut").contains("set_threshold")
    });
    assert_said(&browser.text("#recipe-nut h2"), &["✓ nut@2 judges"]);
    assert_eq!(browser.count("#recipe-nut tbody tr"), 2);
    assert_eq!(
        browser.count(".recipe button"),
        0,
        "control is to be taken first"
    );
    browser.click("#take button");
    browser.wait_for("#holder", |words| {
        words.contains("anna (page) has control until")
    });
    let state = plc.until_fits("box/state", |state| state["ready"] == false);
    assert_said(
        &state["causes"].to_string(),
        &["control held: anna (page) has control"],
    );
    plc.ask_in_vain(
        "select_recipe",
        r#"{"id":"b","recipe":"bolt"}"#,
        "anna (page) has control",
    );
    let live = Browser::start(800, 1280);
    live.open(&page.address("/"));
    live.wait_for("#bar", |bar| {
        bar.contains("IN SET-UP") && bar.contains("anna (page)")
    });

    keep_shown(&browser, "recipes");
    browser.click("#recipe-nut form[action$=roll-back] button");
    browser.wait_for("#recipe-nut h2", |words| words.contains("✓ nut@1 judges"));
    browser.click("#recipe-bolt form[action$=select] button");
    browser.wait_for("#recipe-bolt h2", |words| words.contains("✓ bolt@4 judges"));
    browser.click("#release button");
    browser.wait_for("#take", |words| !words.is_empty());
    assert_eq!(browser.count("#holder"), 0);
    plc.until_fits("box/state", |state| state["ready"] == true);
    plc.ask("select_recipe", r#"{"id":"c","recipe":"nut"}"#, "accepted");
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
    assert_said(
        &audit(folder),
        &[
            "take_control from anna (page)",
            "rollback from anna (page)",
            "select_recipe from anna (page)",
            "release_control from anna (page)",
        ],
    );
}

#[test]
fn without_the_right_or_control_nothing_is_selected() {
    let (station, page) = station_of_library();
    let folder = station.folder.path();
    add_user(folder, "olga", "operator");
    add_user(folder, "anna", "setter");
    add_user(folder, "otto", "setter");
    let olga = Session::start(&page, "olga");
    assert_eq!(olga.post("/recipes/take-control", &[]).status, 303);
    assert_said(
        &olga.get("/recipes").body,
        &["NOT DONE", "olga is operator; take_control needs setter"],
    );

    let anna = Session::start(&page, "anna");
    let bolt = [("recipe", "bolt")];
    let answer = anna.post("/recipes/select", &bolt);
    assert_eq!(answer.status, 409);
    assert_said(&answer.body, &["take control first"]);
    anna.post("/recipes/take-control", &[]);
    let otto = Session::start(&page, "otto");
    assert_eq!(otto.post("/recipes/select", &bolt).status, 409);
    otto.post("/recipes/take-control", &[]);
    assert_said(
        &otto.get("/recipes").body,
        &["NOT DONE", "anna (page) has control"],
    );
    otto.post("/recipes/release-control", &[]);
    assert_said(&otto.get("/recipes").body, &["NOT DONE"]);
    assert_said(&anna.get("/recipes").body, &["Release control"]);

    let unknown = anna.post("/recipes/select", &[("recipe", "screw")]);
    assert_eq!(unknown.status, 303);
    assert_said(
        &anna.get("/recipes").body,
        &["NOT DONE", "there is no recipe"],
    );
    let unknown = anna.post(
        "/recipes/roll-back",
        &[("recipe", "nut"), ("revision", "77")],
    );
    assert_eq!(unknown.status, 303);
    assert_said(&anna.get("/recipes").body, &["NOT DONE", "77"]);
}
