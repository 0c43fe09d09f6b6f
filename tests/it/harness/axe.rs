//! axe-core, which looks in a browser for what keeps people from using a page: words that cannot be told from their ground,
//! fields without a name, an order that a screen reader loses. `tools/fetch-axe` brings it.

use super::browser::Browser;
use super::required;
use serde_json::Value;

/// Where `tools/fetch-axe` puts it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/axe-core.js");
/// Only faults, and all rules, "best practices" among them. A page's policy keeps foreign scripts out, but not what the
/// driver runs.
const LOOK: &str = "const done = arguments[arguments.length - 1]; \
                    axe.run(document, { resultTypes: ['violations'] }) \
                    .then((found) => done(found.violations), (error) => done(String(error)))";
/// Impacts that fail a test. What is left, `minor` and `moderate`, hinders nobody.
const SERIOUS: [&str; 2] = ["serious", "critical"];

/// axe-core's text. `None`: the test leaves this look out.
#[track_caller]
fn script() -> Option<String> {
    let text = std::fs::read_to_string(FILE);
    required("axe", text.map_err(|error| format!("{FILE}: {error}")))
}

/// Asserts that axe-core finds no serious fault in what a browser shows.
///
/// # Panics
/// With the faults, each with the elements that have it.
#[track_caller]
pub fn assert_usable(browser: &Browser, screen: &str) {
    let Some(script) = script() else {
        return;
    };

    browser.script(&script);
    let found = browser.script_that_waits(LOOK);
    let found = found
        .as_array()
        .unwrap_or_else(|| panic!("{screen}: {found}"));
    let is_serious = |fault: &&Value| SERIOUS.iter().any(|impact| fault["impact"] == *impact);
    let serious: Vec<_> = found.iter().filter(is_serious).map(told).collect();
    assert!(serious.is_empty(), "{screen}:\n{}", serious.join("\n"));
}

/// A fault in words.
fn told(fault: &Value) -> String {
    let mut words = format!("{} ({}): {}", fault["id"], fault["impact"], fault["help"]);
    for node in fault["nodes"].as_array().into_iter().flatten() {
        words += &format!("\n  {}: {}", node["target"], node["failureSummary"]);
    }

    words
}
