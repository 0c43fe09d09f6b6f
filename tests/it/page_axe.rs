//! Everybody can use the page: axe-core finds no serious fault on any screen, signed in or not. Screens in the middle of
//! something (a check that waits, a lesson, a proposal) are looked at by the tests that bring them there.

use crate::harness::axe::assert_usable;
use crate::harness::browser::Browser;
use crate::harness::page::Page;
use crate::harness::require;
use crate::harness::sign_in::add_user;
use crate::harness::station::Station;
use crate::page_rejects::{reject, rejecting};

/// Addresses of all screens but that of one part, and words that an admin sees there.
pub const SCREENS: [(&str, &str); 14] = [
    ("/", "B-2 (no. 2)"),
    ("/rejects", "A-1 (no. 1)"),
    ("/teach", "The recipe nut@"),
    ("/false-rejects", "Rejects that were marked as false"),
    ("/shift-check", "Begin a check"),
    ("/lens", "top"),
    ("/counters", "Since the start"),
    ("/counters/pareto", "Where failed parts fail"),
    ("/counters/reset", "2 parts so far, 2 failed"),
    ("/recipes", "Take control"),
    ("/health", "Last events"),
    ("/users", "New user"),
    ("/account", "Set my password"),
    ("/sign-in", "Sign in"),
];

/// A line with two rejects, whose page has the admin `anna`: what [`SCREENS`] show.
pub fn two_rejects() -> (Station, Page) {
    let (station, page) = rejecting();
    add_user(station.folder.path(), "anna", "admin");
    reject(&station, "A-1");
    reject(&station, "B-2");
    (station, page)
}

/// Asserts that every screen can be used; that of one part is opened from the list.
#[track_caller]
fn all_usable(browser: &Browser, page: &Page, who: &str) {
    for (screen, _) in SCREENS {
        browser.open(&page.address(screen));
        assert_usable(browser, &format!("{who}: {screen}"));
    }

    browser.open(&page.address("/rejects"));
    browser.click(".cards a");
    browser.wait_for("main h2", |title| title.contains("(no. "));
    assert_usable(browser, &format!("{who}: one part"));
}

#[test]
fn axe_core_finds_no_serious_fault_on_any_screen() {
    if !require("browser") {
        return;
    }

    let (_station, page) = two_rejects();
    let browser = Browser::start(1280, 800);
    all_usable(&browser, &page, "nobody");
    browser.sign_in(&page, "anna");
    all_usable(&browser, &page, "an admin");

    // A tablet that stands upright has another layout.
    browser.resize(800, 1280);
    all_usable(&browser, &page, "an admin, upright");
    browser.open(&page.address("/rejects?verdict=wrong"));
    assert_usable(&browser, "what is refused");
}
