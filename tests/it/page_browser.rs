//! The page in a real browser: what a person sees. With `WINSPECT_SCREENS` each screen is also written
//! there as a picture, in two sizes.

use crate::harness::axe::assert_usable;
use crate::harness::browser::Browser;
use crate::harness::line::TRIGGERED;
use crate::harness::page::{Page, station};
use crate::harness::program::Running;
use crate::harness::{PATIENCE, station::Station};
use crate::harness::{require, wait_until};

/// A landscape and a portrait tablet.
pub const SIZES: [(u32, u32); 2] = [(1280, 800), (800, 1280)];

/// Asserts that everybody can use what is shown, and writes the screen as pictures in both sizes, where they are wanted.
#[track_caller]
pub fn keep_screens(browser: &Browser, page: &Page, name: &str) {
    assert_usable(browser, name);
    let Some(folder) = std::env::var_os("WINSPECT_SCREENS") else {
        return;
    };

    let path = if name == "live" {
        "/".to_owned()
    } else {
        format!("/{name}")
    };
    for (width, height) in SIZES {
        browser.resize(width, height);
        browser.open(&page.address(&path));
        let file = std::path::Path::new(&folder).join(format!("{name}-{width}.jpg"));
        std::fs::write(file, browser.screenshot()).expect("the folder is there");
    }
}

/// As [`keep_screens`], of what is shown as it is.
#[track_caller]
pub fn keep_shown(browser: &Browser, name: &str) {
    assert_usable(browser, name);
    let Some(folder) = std::env::var_os("WINSPECT_SCREENS") else {
        return;
    };

    for (width, height) in SIZES {
        browser.resize(width, height);
        let file = std::path::Path::new(&folder).join(format!("{name}-{width}.jpg"));
        std::fs::write(file, browser.screenshot()).expect("the folder is there");
    }
}

fn trigger(station: &Station, part_id: &str) {
    station.plc.ask(
        "trigger",
        &format!("{{\"part_id\": {part_id:?}}}"),
        "accepted",
    );
}

/// True for a bar that says that parts would be judged.
fn is_ready(bar: &str) -> bool {
    bar.contains("READY") && !bar.contains("NOT READY")
}

/// A line with a page, and Live in a browser once it says that parts would be judged.
fn live() -> (Station, Page, Browser) {
    let (station, page) = station(TRIGGERED);
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/"));
    browser.wait_for("#bar", is_ready);
    (station, page, browser)
}

/// True if nothing of the page is wider than the page.
pub fn fits(browser: &Browser) -> bool {
    let script = "return document.documentElement.scrollWidth <= innerWidth";
    browser.script(script).as_bool().unwrap_or(false)
}

#[test]
fn live_shows_each_part_without_a_reload() {
    if !require("browser") {
        return;
    }

    let (station, page, browser) = live();
    assert_eq!(browser.text(".place .empty"), "no part yet");
    browser.script("window.isSame = true");
    trigger(&station, "A-1");
    // The first part of a place gives the page another shape: it is loaded anew, and then no more.
    browser.wait_for(".place figcaption", |caption| {
        caption.contains("A-1 (no. 1)")
    });
    browser.script("window.isSame = true");
    for part in 2..=23 {
        trigger(&station, &format!("A-{part}"));
    }

    browser.wait_for(".place figcaption", |caption| {
        caption.contains("A-23 (no. 23)")
    });
    assert_eq!(
        browser.script("return window.isSame"),
        true,
        "it was loaded anew"
    );
    // A word and a symbol, not colour alone; a sentence with both numbers.
    let verdict = browser.text(".verdict");
    let is_told = ["✓ PASS", "✕ FAIL", "? UNDECIDED"]
        .iter()
        .any(|words| verdict.starts_with(words));
    assert!(is_told, "{verdict}");
    assert!(
        browser.text(".reason").contains("threshold"),
        "{}",
        browser.text(".reason")
    );
    assert_eq!(browser.count(".strip li"), 20);
    let shown = "const image = document.querySelector('.photo image'); \
                 return image !== null && image.getBoundingClientRect().width > 200";
    wait_until("the picture of the newest part", PATIENCE, || {
        browser.script(shown) == true
    });
    assert!(browser.count(".strip img") >= 1);
    assert!(
        browser.text("#figures").contains("nut@"),
        "{}",
        browser.text("#figures")
    );
    station.plc.ask("pause", r#"{"id": "p"}"#, "done");
    browser.wait_for("#bar", |bar| {
        bar.contains("PAUSED") && bar.contains("Send resume")
    });
    station.plc.ask("resume", r#"{"id": "r"}"#, "done");
    browser.wait_for("#bar", is_ready);
    for (width, height) in SIZES {
        browser.resize(width, height);
        assert!(fits(&browser), "{width} x {height}");
    }

    assert!(
        browser.console_errors().is_empty(),
        "{:?}",
        browser.console_errors()
    );
    keep_screens(&browser, &page, "live");
}

#[test]
fn health_tells_causes_with_a_step_and_counters_count() {
    if !require("browser") {
        return;
    }

    let (station, page) = station(TRIGGERED);
    let browser = Browser::start(1280, 800);
    trigger(&station, "A-1");
    browser.open(&page.address("/"));
    browser.click("nav a[href='/health']");
    browser.wait_for("#cameras", |cameras| {
        cameras.contains("top") && cameras.contains("✓")
    });
    station.broker.signal(libc::SIGKILL);
    browser.wait_for("#bar", |bar| bar.contains("NO BROKER"));
    browser.wait_for("#causes", |causes| {
        causes.contains("the broker is away") && causes.contains("→")
    });
    browser.wait_for("#events", |events| events.contains("broker: away"));
    assert!(
        browser.text("#line").contains("free"),
        "{}",
        browser.text("#line")
    );
    for (width, height) in SIZES {
        browser.resize(width, height);
        assert!(fits(&browser), "{width} x {height}");
    }

    keep_screens(&browser, &page, "health");
    browser.open(&page.address("/counters"));
    browser.wait_for("#by-place", |table| table.contains("all"));
    assert!(browser.count("#by-hour tbody tr") >= 1 && browser.count("#by-day tbody tr") >= 1);
    keep_screens(&browser, &page, "counters");
    assert!(
        browser.console_errors().is_empty(),
        "{:?}",
        browser.console_errors()
    );
}

#[test]
fn without_scripts_a_reload_shows_the_newest() {
    if !require("browser") {
        return;
    }

    let (station, page) = station(TRIGGERED);
    trigger(&station, "A-1");
    wait_until("the part on the page", PATIENCE, || {
        page.get("/").body.contains("A-1 (no. 1)")
    });
    let browser = Browser::start(800, 1280);
    browser.without_scripts();
    browser.open(&page.address("/"));
    let source = || browser.script("return document.body.innerText").to_string();
    assert!(source().contains("A-1 (no. 1)"), "{}", source());
    assert!(source().contains("Without scripts"), "{}", source());
    trigger(&station, "A-2");
    wait_until("the newest after a reload", PATIENCE, || {
        browser.open(&page.address("/"));
        source().contains("A-2 (no. 2)")
    });
}

#[test]
fn a_page_whose_line_has_ended_says_that_it_is_old() {
    if !require("browser") {
        return;
    }

    let (station, _page, browser) = live();
    assert_eq!(browser.count("#offline:not([hidden])"), 0);
    Running::stop(station.line);
    browser.wait_for("#offline:not([hidden])", |words| {
        words.contains("NO CONNECTION")
    });
}
