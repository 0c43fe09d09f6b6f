//! The screens Shift check and Camera and lens in a real browser, for a signed-in operator.

use crate::drift::{camera, pass, show, smudged, taught};
use crate::harness::browser::Browser;
use crate::harness::line::TRIGGERED;
use crate::harness::page::{Page, station};
use crate::harness::sign_in::add_user;
use crate::harness::station::Station;
use crate::harness::{PATIENCE, require, wait_until};
use crate::page_browser::keep_screens;
use crate::shift_check::{ALL_FAIL, bad_part, judge_by};

/// Opens a screen as the operator `anna`.
fn sign_in(browser: &Browser, page: &Page, screen: &str) {
    browser.sign_in(page, "anna");
    browser.open(&page.address(screen));
}

/// True once the page has another shape.
fn wait_for(browser: &Browser, selector: &str) {
    wait_until(selector, PATIENCE, || browser.count(selector) > 0);
}

#[test]
fn an_operator_checks_the_line_from_start_to_signature() {
    if !require("browser") {
        return;
    }

    let (station, page) = station(TRIGGERED);
    let plc = &station.plc;
    add_user(station.folder.path(), "anna", "operator");
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/shift-check"));
    assert!(browser.text("#forms").contains("Sign in as operator"));
    sign_in(&browser, &page, "/shift-check");
    browser.fill("input[name=good]", "0");
    judge_by(plc, "t1", ALL_FAIL);
    browser.click("#start button");
    wait_for(&browser, "#check-parts");
    browser.script("window.isSame = true");
    bad_part(plc, "B1");
    browser.wait_for("#check-parts", |words| words.contains("1 of 2 caught"));
    assert_eq!(
        browser.script("return window.isSame"),
        true,
        "it was loaded anew"
    );
    bad_part(plc, "B2");

    // The form of the next step comes by itself.
    wait_for(&browser, "#gate-yes");
    assert!(browser.text("#check-gate").contains("did the gate remove"));
    browser.click("#gate-yes button");
    wait_for(&browser, "#sign");
    keep_screens(&browser, &page, "shift-check");
    browser.click("#sign button");
    wait_for(&browser, "#check-passed");
    assert!(browser.text("#check-passed").contains("✓ PASSED"));
    assert!(browser.text("#checks").contains("signed by anna (page)"));

    // Its record is made to be printed.
    browser.click("#checks a");
    wait_for(&browser, ".record");
    let record = browser.text(".record");
    for words in ["PASSED", "2 of 2 caught", "anna (page)"] {
        assert!(record.contains(words), "{words} is not in {record}");
    }

    browser.print_style();
    let shown = "return getComputedStyle(document.querySelector('nav')).display + \
                 getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.script(shown), "nonergb(255, 255, 255)");
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_lens_that_gets_dirty_is_painted_and_cleaned() {
    if !require("browser") {
        return;
    }

    let page = Page::at(crate::harness::broker::free_port());
    let table = page.table();
    let station = Station::seeing(camera, |config, folder| {
        config.recipe(&taught(folder)).tables(&table)
    });

    let folder = station.folder.path();
    add_user(folder, "anna", "operator");
    pass(&station.plc, 60);
    let browser = Browser::start(1280, 800);
    sign_in(&browser, &page, "/lens");
    browser.wait_for("#lens-top", |lens| lens.contains("✓ AS IT WAS TAUGHT"));
    assert_eq!(browser.count("#lens-top rect.told"), 0);
    browser.script("window.isSame = true");
    let states = station.listen("state");
    show(folder, smudged);
    browser.wait_for("#lens-top", |lens| lens.contains("✕ NOT AS IT WAS TAUGHT"));
    states.until_fits("box/state", |state| {
        state["causes"].to_string().contains("drift of top: ")
    });

    assert_eq!(
        browser.script("return window.isSame"),
        true,
        "it was loaded anew"
    );
    assert_eq!(browser.count("#lens-top rect.told"), 1);
    assert!(browser.count("#lens-top rect.unlike") >= 4);
    let shown = "return [...document.querySelectorAll('#lens-top image')] \
                 .filter((image) => image.getBoundingClientRect().width > 100).length";
    wait_until("both pictures", PATIENCE, || browser.script(shown) == 2);
    keep_screens(&browser, &page, "lens");

    show(folder, |picture| picture);
    pass(&station.plc, 5);
    browser.click("#forms button");
    browser.wait_for("#notice", |notice| notice.contains("before: sharpness"));
    browser.wait_for("#lens-top", |lens| {
        lens.contains("✓ AS IT WAS TAUGHT") && lens.contains("; after: sharpness")
    });

    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
}
