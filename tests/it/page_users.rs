//! The screen Users, and the shift's counters, in a real browser and as what a user without the right sends.

use crate::harness::browser::Browser;
use crate::harness::line::TRIGGERED;
use crate::harness::page::station;
use crate::harness::sign_in::{PASSWORD, Session, add_user, audit};
use crate::harness::{assert_said, require};
use crate::page_browser::keep_shown;

#[test]
fn an_admin_makes_changes_and_removes_users() {
    if !require("browser") {
        return;
    }

    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/users"));
    let hindrance = browser.text("#hindrance");
    assert_said(
        &hindrance,
        &[
            "Nobody can sign in yet",
            "winspect user add",
            "--role admin",
        ],
    );

    add_user(folder, "anna", "admin");
    browser.open(&page.address("/users"));
    assert_said(&browser.text("#hindrance"), &["Sign in as admin"]);
    assert_eq!(browser.count("#users"), 0, "names are for admins alone");
    browser.sign_in(&page, "anna");
    browser.click("nav a[href='/users']");
    browser.fill("#add input[name=name]", "otto");
    browser.fill("#add input[name=password]", "correct horse");
    browser.choose("#add select", "operator");
    browser.click("#add button");
    browser.wait_for("#notice", |words| {
        words.contains("DONE") && words.contains("otto added as operator")
    });
    keep_shown(&browser, "users");
    let otto = Session::start(&page, "otto");
    assert_said(
        &otto.get("/users").body,
        &["otto is signed in as operator; this needs admin"],
    );

    browser.choose("#user-otto select", "setter");
    browser.click("#user-otto form[action$=role] button");
    browser.wait_for("#notice", |words| {
        words.contains("otto is setter now, was operator")
    });
    assert!(
        !otto.get("/").body.contains("otto"),
        "another role signs out"
    );
    browser.fill("#user-otto input[name=password]", "another horse");
    browser.click("#user-otto form[action$=password] button");
    browser.wait_for("#notice", |words| {
        words.contains("otto has another password")
    });

    // The last admin cannot shut everybody out.
    browser.click("#user-anna summary");
    browser.click("#user-anna form[action$=remove] button");
    browser.wait_for("#notice", |words| {
        words.contains("NOT DONE") && words.contains("an admin must be left")
    });
    browser.click("#user-otto summary");
    browser.click("#user-otto form[action$=remove] button");
    browser.wait_for("#notice", |words| words.contains("otto removed"));
    browser.open(&page.address("/users"));
    assert_eq!(browser.count("#notice"), 0, "a message is shown once");
    assert_eq!(browser.count("#users tbody tr"), 1);
    browser.click("#user form button");
    browser.wait_for("#user", |user| user.contains("Sign in"));
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
    assert_said(
        &audit(folder),
        &[
            "users of the page: otto added as operator, by anna (page)",
            "users of the page: otto removed, by anna (page)",
        ],
    );
}

#[test]
fn only_an_admin_changes_users_whatever_is_sent() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    add_user(folder, "anna", "setter");
    add_user(folder, "boss", "admin");
    let anna = Session::start(&page, "anna");
    let forms: [(&str, Vec<(&str, &str)>); 4] = [
        (
            "add",
            vec![
                ("name", "eve"),
                ("role", "admin"),
                ("password", "correct horse"),
            ],
        ),
        ("role", vec![("name", "anna"), ("role", "admin")]),
        (
            "password",
            vec![("name", "boss"), ("password", "another horse")],
        ),
        ("remove", vec![("name", "boss")]),
    ];

    let before = std::fs::read_to_string(folder.join("box.users.toml")).expect("it is read");
    for (what, form) in &forms {
        let answer = anna.post(&format!("/users/{what}"), form);
        assert_eq!(answer.status, 403, "{what}");
        assert_said(
            &answer.body,
            &["anna is signed in as setter; this needs admin"],
        );
    }

    let after = std::fs::read_to_string(folder.join("box.users.toml")).expect("it is read");
    assert_eq!(before, after);
    let boss = Session::start(&page, "boss");
    for (form, words) in [
        (
            vec![
                ("name", "a b"),
                ("role", "view"),
                ("password", "correct horse"),
            ],
            "name must be",
        ),
        (
            vec![("name", "eve"), ("role", "view"), ("password", "short")],
            "at least 8 characters",
        ),
        (
            vec![
                ("name", "Anna"),
                ("role", "view"),
                ("password", "correct horse"),
            ],
            "already",
        ),
    ] {
        assert_eq!(boss.post("/users/add", &form).status, 303);
        let screen = boss.get("/users").body.replace("&#34;", "\"");
        assert_said(&screen, &["NOT DONE", words]);
    }

    let strange = boss.post(
        "/users/add",
        &[("name", "eve"), ("role", "boss"), ("password", "x")],
    );
    assert_eq!(strange.status, 400);
}

#[test]
fn an_operator_resets_the_counters_of_the_shift() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    add_user(folder, "anna", "operator");
    add_user(folder, "vera", "view");
    let results = station.listen("result");
    for part in ["A-1", "A-2"] {
        let trigger = format!("{{\"part_id\": {part:?}}}");
        station.plc.ask("trigger", &trigger, "accepted");
        results.wait_for("result", 1);
    }

    let vera = Session::start(&page, "vera");
    assert_said(
        &vera.get("/counters/reset").body,
        &[
            "2 parts so far",
            "vera is signed in as view; this needs operator",
        ],
    );
    assert_eq!(vera.post("/counters/reset", &[]).status, 403);
    let anna = Session::start(&page, "anna");
    let answer = anna.post("/counters/reset", &[]);
    assert_eq!(
        (answer.status, &*answer.headers["location"]),
        (303, "/counters")
    );
    assert_said(&anna.get("/counters").body, &["counters begin at 0"]);
    station
        .plc
        .ask("trigger", r#"{"part_id": "A-3"}"#, "accepted");
    results.wait_for("result", 1);
    let screen = anna.get("/counters/reset").body;
    assert_said(&screen, &["1 parts so far", "by anna."]);
    assert_eq!(
        page.metric("winspect_parts_total"),
        3.0,
        "the line's own counters go on"
    );
    assert_said(
        &audit(folder),
        &["counters of the shift reset by anna (page): 2 parts"],
    );
}

#[test]
fn a_user_sets_the_own_password_and_is_signed_out_everywhere_else() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    add_user(folder, "otto", "view");
    let elsewhere = Session::start(&page, "otto");
    let mut otto = Session::start(&page, "otto");
    let thief = otto.cookie.clone();
    let mut set = |old: &str, new: &str, again: &str| {
        let form = [("old", old), ("new", new), ("again", again)];
        let answer = otto.post("/account/password", &form);
        assert_eq!(answer.status, 303);
        match answer.headers.contains_key("set-cookie") {
            true => otto.take_over(&answer),
            false => otto.get("/account").body,
        }
    };

    let refused = set("wrong horse", "another horse", "another horse");
    assert_said(&refused, &["NOT DONE", "the password until now is wrong"]);
    let refused = set(PASSWORD, "another horse", "an other horse");
    assert_said(&refused, &["typed in two ways"]);
    let refused = set(PASSWORD, "short", "short");
    assert_said(&refused, &["at least 8 characters"]);
    assert!(elsewhere.get("/").body.contains("otto"), "nothing was done");

    let done = set(PASSWORD, "another horse", "another horse");
    assert_said(&done, &["DONE", "signed out everywhere else", "otto"]);
    assert!(
        !elsewhere.get("/").body.contains("otto"),
        "the other browser"
    );
    let stolen = page.get_with("/", &[("cookie", &thief)]);
    assert!(!stolen.body.contains("otto"), "the id until now");
    assert_said(
        &audit(folder),
        &[
            "another password for otto at the page from 127.0.0.1 refused: wrong password",
            "otto has another password, by otto (page)",
        ],
    );

    // Who guesses waits, as at a sign-in.
    for _ in 0..4 {
        set("wrong horse", "third horse", "third horse");
    }

    let waits = set("another horse", "third horse", "third horse");
    assert_said(&waits, &["too many wrong passwords"]);
}
