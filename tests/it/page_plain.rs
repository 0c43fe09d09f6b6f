//! The page where scripts are cut off: every screen is read, and its forms do their work.

use crate::harness::browser::Browser;
use crate::harness::{PATIENCE, require, wait_until};
use crate::page_axe::{SCREENS, two_rejects};

#[test]
fn without_scripts_every_screen_is_read_and_a_part_is_labelled() {
    if !require("browser") {
        return;
    }

    let (_station, page) = two_rejects();
    let browser = Browser::start(800, 1280);
    browser.without_scripts();
    browser.sign_in(&page, "anna");
    for (screen, words) in SCREENS {
        browser.open(&page.address(screen));
        let text = browser.text("main");
        assert!(
            text.contains(words),
            "{screen}: {words:?} is not in\n{text}"
        );
    }

    // Links and forms alone lead to a reject, and say what it is.
    browser.open(&page.address("/"));
    browser.click("nav a[href='/rejects']");
    browser.wait_for("main", |main| main.contains("A-1 (no. 1)"));
    browser.click(".cards li:last-child a");
    browser.wait_for("main h2", |title| title.contains("A-1 (no. 1)"));
    assert_eq!(browser.count("#stack[hidden]"), 1, "a script has run");
    let seen = "return document.querySelector('.whole').naturalWidth > 0";
    assert_eq!(browser.script(seen), true, "the picture needs no script");
    // What takes longer is asked for again by a link.
    wait_until("the nearest good part", PATIENCE, || {
        if browser.count("#looking a") == 1 {
            browser.click("#looking a");
        }

        browser.count(".beside img") >= 2
    });
    browser.fill("#say input[name=note]", "a shadow");
    browser.click("#say button[value=false_reject]");
    browser.wait_for("#label", |label| {
        label.contains("false reject")
            && label.contains("anna (page)")
            && label.contains("a shadow")
    });

    browser.open(&page.address("/rejects?label=false_reject"));
    let cards = browser.text(".cards");
    assert!(cards.contains("A-1") && !cards.contains("B-2"), "{cards}");
}
