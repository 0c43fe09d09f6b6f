//! The whole line as a user runs it: the binary, a real broker, a foreign client.

use crate::broker::{Broker, Listener, free_port};
use crate::support::{golden, imported, winspect};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A line on the golden pictures; `camera` is the text of its camera.
pub fn write_line(folder: &Path, port: u16, camera: &str) {
    let pictures = golden("open-clip-tiny");
    let text = format!(
        "prefix = \"plant\"\nstation = \"box\"\nmodel = \"dinov2-tiny\"\n\
         [recipe]\nname = \"nut\"\ninput_px = 70\nreferences = [{:?}, {:?}]\nthreshold = \"auto\"\n\
         [[camera]]\nname = \"top\"\n{camera}\n[mqtt]\nport = {port}\nheatmaps = \"all\"\nreject_window_ms = 60000\n",
        pictures.join("good_a.png"),
        pictures.join("good_b.png"),
    );
    std::fs::write(folder.join("line.toml"), text).expect("written");
}

pub fn command(folder: &Path) -> Command {
    let mut command = winspect();
    command
        .arg("run")
        .arg(folder.join("line.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn start(folder: &Path) -> Child {
    command(folder).spawn().expect("the binary was built")
}

pub fn ask_to_stop(child: &Child) {
    signal(child, "TERM");
}

pub fn signal(child: &Child, name: &str) {
    let (name, pid) = (format!("-{name}"), child.id().to_string());
    assert!(
        Command::new("kill")
            .args([name, pid])
            .status()
            .expect("kill is everywhere")
            .success()
    );
}

/// The JSON line at the end, after an orderly end.
#[track_caller]
pub fn summary(output: &Output) -> serde_json::Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("one line")).expect("JSON")
}

pub fn folder_camera() -> String {
    format!(
        "kind = \"folder\"\nlocation = {:?}\nfps = 0",
        golden("open-clip-tiny")
    )
}

#[test]
fn a_folder_ends_in_order_and_every_picture_has_its_verdict() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    write_line(folder.path(), broker.port, &folder_camera());
    let cache = folder.path().join("cache");
    let summary = summary(
        &command(folder.path())
            .env("XDG_CACHE_HOME", &cache)
            .output()
            .expect("ends"),
    );
    let counted = serde_json::json!({"captured": 4, "judged": 4, "replaced": 0, "skipped": 0, "failed": 0, "stopped": 0});
    assert_eq!(summary["cameras"]["top"], counted);
    assert_eq!(
        (&summary["balanced"], &summary["acknowledged"]),
        (&true.into(), &4.into())
    );
    let results = listener.wait_for("box/result", 4);
    let parts: Vec<(u64, String, String)> = results
        .iter()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let word = |key: &str| value[key].as_str().expect("text").to_owned();
            (
                value["seq"].as_u64().expect("a number"),
                word("part_id"),
                word("verdict"),
            )
        })
        .collect();
    // The two references score nothing against themselves.
    assert_eq!(parts[1], (2, "good_a.png".to_owned(), "pass".to_owned()));
    assert_eq!(parts.iter().map(|p| p.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    listener.wait_for("availability", 1);
    // Where ONNX Runtime collects what it reports to its maker.
    assert!(!cache.join("Microsoft").exists(), "something is reported");
}

#[test]
fn results_wait_for_a_broker_that_comes_back_and_arrive_once_in_order() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/result");
    write_line(
        folder.path(),
        port,
        "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241",
    );
    let line = start(folder.path());
    let before = listener.wait_for("result", 5).len();
    drop(listener);
    drop(broker);
    std::thread::sleep(Duration::from_secs(2));
    let _broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/result");
    let after = listener.wait_for("result", 5);
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert_eq!(
        (&summary["balanced"], &summary["undelivered"]),
        (&true.into(), &0.into()),
        "{summary}"
    );
    assert_eq!(summary["results"], summary["acknowledged"]);
    assert!(
        summary["results"].as_u64().expect("a number") > before as u64 + 20,
        "{summary}"
    );
    let seqs = after
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["seq"].as_u64());
    let seqs: Vec<_> = seqs.collect();
    assert!(
        seqs.is_sorted() && seqs.windows(2).all(|pair| pair[0] != pair[1]),
        "{seqs:?}"
    );
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_dead_camera_and_a_fast_one_do_not_touch_a_slow_one() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let others = format!(
        "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:{}/none\"\n\
         [[camera]]\nname = \"fast\"\nkind = \"test\"\nfps = 60\n\
         [[camera]]\nname = \"slow\"\nkind = \"test\"\nfps = 4",
        free_port()
    );
    write_line(folder.path(), broker.port, &others);
    // Frames that wait together are looked at together; the order stays.
    let text = std::fs::read_to_string(folder.path().join("line.toml")).expect("just written");
    std::fs::write(
        folder.path().join("line.toml"),
        format!("batch = 4\n{text}"),
    )
    .expect("written");
    let line = start(folder.path());
    let mut slow = 0;
    while slow < 12 {
        let result: serde_json::Value =
            serde_json::from_str(&listener.wait_for("box/result", 1)[0]).expect("JSON");
        slow += u64::from(result["camera"] == "slow");
        // Every frame of the slow one: none was replaced while the fast one was served.
        assert!(
            result["camera"] != "slow" || result["seq"] == slow,
            "{result}"
        );
    }
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    let count =
        |camera: &str, what: &str| summary["cameras"][camera][what].as_u64().expect("a number");
    assert_eq!(
        (count("top", "captured"), count("slow", "replaced")),
        (0, 0),
        "{summary}"
    );
    assert!(
        count("fast", "captured") > count("slow", "captured"),
        "{summary}"
    );
    assert_eq!(summary["balanced"], true);
}

#[test]
fn what_cannot_run_is_said_with_its_exit_code() {
    let (folder, _model) = imported("dinov2-tiny");
    let cases = [
        ("kind = \"rstp\"", 78, "did you mean \"rtsp\"?"),
        (
            "kind = \"file\"\nlocation = \"none.mp4\"",
            78,
            "none.mp4 is not there",
        ),
        (
            "kind = \"test\"\nfps = \"many\"",
            78,
            "camera[0].fps: must be a whole number",
        ),
    ];
    for (camera, code, words) in cases {
        write_line(folder.path(), 1, camera);
        let output = start(folder.path()).wait_with_output().expect("ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
}

#[test]
fn the_example_configuration_has_no_unknown_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/line.example.toml");
    let problems = winspect::config::load(&path)
        .err()
        .map(|p| p.to_string())
        .unwrap_or_default();
    // Its references are the user's to bring; nothing else may be wrong.
    assert!(
        problems
            .lines()
            .all(|line| line.starts_with("recipe.references: ")),
        "{problems}"
    );
}
