//! What fails and where, in a real browser, and its CSV beside what `winspect history` prints.

use crate::harness::browser::Browser;
use crate::harness::program::{both, winspect};
use crate::harness::{assert_said, require};
use crate::page_axe::two_rejects;
use crate::page_browser::keep_shown;

#[test]
fn failed_parts_are_counted_by_place_with_the_share_of_those_above() {
    let (station, page) = two_rejects();
    let history = |by: &str| {
        let mut command = winspect();
        command
            .arg("history")
            .arg(station.folder.path().join("line.toml"));
        let output = command
            .args(["--by", by, "--csv"])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", both(&output));
        String::from_utf8(output.stdout).expect("text")
    };

    for by in ["place", "reason", "shift", "day", "recipe", "camera"] {
        let answer = page.get(&format!("/counters/pareto.csv?by={by}"));
        assert_eq!(answer.status, 200, "{by}");
        assert_eq!(answer.body, history(by), "{by}");
        let name = format!("attachment; filename=\"{by}.csv\"");
        assert_eq!(answer.headers["content-disposition"], name);
    }

    assert!(
        history("camera").contains("\ntop,2,0,2,0,"),
        "{}",
        history("camera")
    );
    let none = page.get("/counters/pareto.csv?by=camera&recipe=bolt");
    assert_eq!(none.body.lines().count(), 1, "{}", none.body);
    let wrong = page.get("/counters/pareto?since=then&shifts=noon");
    assert_eq!(wrong.status, 400);
    assert_said(&wrong.body, &["since: ", "shifts: "]);

    if !require("browser") {
        return;
    }

    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/counters"));
    browser.click("#pareto");
    browser.wait_for("#places", |places| places.contains("2 parts in all."));
    let places = browser.text("#places tbody");
    assert_said(&places, &["top", "100.0 %"]);
    assert!(browser.count("#places svg rect") > 0);
    assert_said(&browser.text("#reasons"), &["No part is undecided."]);
    browser.choose("form select[name=by]", "recipe");
    browser.click("form button");
    browser.wait_for("#table", |table| {
        table.contains("By recipe") && table.contains("nut@")
    });
    keep_shown(&browser, "pareto");
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
}
