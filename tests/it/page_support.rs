//! What a setter does at the screen Health: the line's file is read again, and a bundle is taken away.

use crate::harness::broker::free_port;
use crate::harness::browser::Browser;
use crate::harness::line::{LineConfig, TRIGGERED};
use crate::harness::page::{Page, station, station_with};
use crate::harness::program::{both, winspect};
use crate::harness::sign_in::{Session, add_user, audit};
use crate::harness::station::Station;
use crate::harness::{assert_said, require};
use crate::page_browser::keep_shown;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use zip::ZipArchive;

#[test]
fn the_lines_file_is_read_again_and_what_came_of_it_is_said() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    add_user(folder, "otto", "operator");
    add_user(folder, "anna", "setter");
    let otto = Session::start(&page, "otto");
    otto.post("/health/reload", &[]);
    assert_said(&otto.get("/health").body, &["this needs setter"]);
    assert!(!audit(folder).contains("read again"), "nothing was done");

    if !require("browser") {
        return;
    }

    let write = |head: &str, recipe: &str| {
        let config = LineConfig::new(station.broker.port, TRIGGERED).head(head);
        config.tables(&page.table()).recipe(recipe).write(folder);
    };

    let browser = Browser::start(1280, 800);
    browser.sign_in(&page, "anna");
    write("batch = 2", "threshold = 0.3");
    browser.open(&page.address("/health"));
    browser.click("#care form button");
    browser.wait_for("#notice", |words| {
        words.contains("DONE")
            && words.contains("recipe.nut.threshold:")
            && words.contains("needs a restart: batch: not given -> 2")
    });
    keep_shown(&browser, "health-reload");
    write("batch = 900", "threshold = 0.3");
    browser.click("#care form button");
    browser.wait_for("#notice", |words| {
        words.contains("NOT DONE") && words.contains("is not in force") && words.contains("batch: ")
    });

    // `winspect history` reads the file as well.
    write("batch = 2", "threshold = 0.3");
    assert_said(&browser.text("#kept"), &["30 days", "line.toml"]);
    assert_said(
        &audit(folder),
        &["reload from anna (page)", "recipe.nut.threshold:"],
    );
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let secrets = tempfile::tempdir().expect("a folder");
    let password = secrets.path().join("password");
    std::fs::write(&password, "hush-broker").expect("written");
    let (station, page) = station_with(TRIGGERED, |config| {
        config.camera(
            "side",
            "kind = \"rtsp\"\nlocation = \"rtsp://admin:hush-camera@127.0.0.1:9/1\"\ntrigger = \"command\"",
        )
        .mqtt(&format!("user = \"box\"\npassword_file = {password:?}"))
    });

    let folder = station.folder.path();
    add_user(folder, "anna", "setter");
    assert_eq!(page.get("/health/support.zip").status, 403);
    let anna = Session::start(&page, "anna");
    let bytes = anna.get("/health/support.zip").bytes;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a ZIP file");
    let mut all = String::new();
    let mut file = |name: &str| {
        let mut text = String::new();
        let mut file = archive.by_name(name).expect(name);
        file.read_to_string(&mut text).expect("text");
        all += &text;
        text
    };

    for (name, words) in [
        ("README.txt", "journalctl"),
        ("version.txt", "recipe: nut@1"),
        ("configuration.txt", "mqtt.password_file = "),
        ("configuration.txt", "rtsp://***@127.0.0.1:9/1"),
        ("status.json", "\"health\""),
        ("metrics.txt", "winspect_ready"),
        ("audit.csv", "anna (setter) signed in"),
        ("shift-checks.json", "["),
        ("sizes.txt", "box.db: "),
        ("sizes.txt", "evidence: this line keeps no pictures"),
        ("threads.txt", "inspector"),
        ("events.txt", ""),
    ] {
        let text = file(name);
        assert!(text.contains(words), "{name}: {words:?} is not in\n{text}");
    }

    let users = std::fs::read_to_string(folder.join("box.users.toml")).expect("it is read");
    let hash = users.split('"').find(|word| word.starts_with("$argon2id"));
    assert!(!all.contains(hash.expect("anna's")), "a password's hash");
    assert!(!all.contains("hush"), "a secret of the line's file");
    assert_said(&audit(folder), &["bundle for support made for anna (page)"]);
}

#[test]
fn a_bundle_is_made_without_the_page_of_a_line_that_runs_or_does_not() {
    let station = Station::start(TRIGGERED);
    let folder = station.folder.path();
    let made = || {
        let out = folder.join("help.zip");
        let mut command = winspect();
        command.arg("support").arg(folder.join("line.toml"));
        let output = command.arg("--out").arg(&out).output().expect("it runs");
        assert!(output.status.success(), "{}", both(&output));
        let mut archive = ZipArchive::new(std::fs::File::open(out).expect("it is there"));
        let archive = archive.as_mut().expect("a ZIP file");
        ["configuration.txt", "status.json", "audit.csv"].map(|name| {
            let mut text = String::new();
            if let Ok(mut file) = archive.by_name(name) {
                file.read_to_string(&mut text).expect("text");
            }

            text
        })
    };

    station.plc.ask("pause", r#"{"id":"p"}"#, "done");
    let [configuration, status, audit] = made();
    assert_said(&configuration, &["station = \"box\""]);
    assert_said(&status, &["\"station\": \"box\""]);
    assert_said(&audit, &["pause from mqtt, id p"]);

    let Station {
        line, folder: kept, ..
    } = station;
    let folder = kept.path();
    line.stop();
    let made = |text: &str| {
        std::fs::write(folder.join("line.toml"), text).expect("written");
    };

    made("batch = 900");
    let mut command = winspect();
    command.arg("support").arg(folder.join("line.toml"));
    let output = command.current_dir(folder).output().expect("it runs");
    assert!(output.status.success(), "{}", both(&output));
    let metadata = std::fs::metadata(folder.join("support.zip"));
    let metadata = metadata.expect("a bundle of a file that is wrong");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    // Neither a file nor what a link leads to is written over.
    let link = folder.join("link.zip");
    let kept = folder.join("kept");
    std::os::unix::fs::symlink(&kept, &link).expect("a link");
    for out in [folder.join("support.zip"), link] {
        let mut command = winspect();
        command.arg("support").arg(folder.join("line.toml"));
        let output = command.arg("--out").arg(out).output().expect("it runs");
        assert_eq!(output.status.code(), Some(69));
        assert_said(&both(&output), &["is there already", "--out"]);
    }

    assert!(!kept.exists(), "written through a link");
}

#[test]
fn numbers_and_days_are_written_as_the_file_says_and_csv_keeps_the_point() {
    let page = Page::at(free_port());
    let table = format!("{}\nnumbers = \"comma\"", page.table());
    let station = Station::configured(TRIGGERED, |config, _| config.tables(&table));
    station
        .plc
        .ask("trigger", r#"{"id":"a","part_id":"A-1"}"#, "accepted");
    station.plc.until("box/result", "part_id", "A-1");
    assert_said(&page.get("/health").body, &["1,5 and 30.11.2026"]);
    let parts = page.get("/rejects?verdict=any").body;
    let year = parts.split_whitespace().any(|word| {
        let digits = word.split('.').map(str::len).collect::<Vec<usize>>();
        digits == [2, 2, 4]
    });

    assert!(year, "no day such as 30.11.2026 in {parts}");
    let csv = page.get("/counters/pareto.csv?by=camera").body;
    assert!(csv.contains("\ntop,1,") && !csv.contains("0,5"), "{csv}");
    let csv = page.get("/rejects/parts.csv?verdict=any").body;
    assert!(csv.contains("T") && csv.contains(",0."), "{csv}");
}
