//! A verdict is about its part: one picture serves one part, a clock that is not ours is not believed,
//! and time that went by unseen is told.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::{self, LineConfig, TRIGGERED, all_arrived};
use crate::harness::network::Between;
use crate::harness::plc::{Listener, publish};
use crate::harness::program::Running;
use crate::harness::station::Station;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A camera with 5 frames a second, whose parts are asked for by a command. The window is wider than half
/// of a frame's time: a part in the middle between two frames is near one of them.
const SLOW: &str = "kind = \"test\"\nfps = 5\nwidth = 160\nheight = 120\n\
                    trigger = \"command\"\nwindow_ms = 120\ndeadline_ms = 5000";

/// Sends triggers of parts that were there so many milliseconds from now, and returns their results.
fn results_of(station: &Station, offsets_ms: &[i64]) -> Vec<Value> {
    let now = Timestamp::now();
    for (number, offset) in offsets_ms.iter().enumerate() {
        let at = now + SignedDuration::from_millis(*offset);
        let name = format!("{}-{number}", now.as_millisecond());
        let trigger = json!({"id": name, "part_id": name, "at": at.to_string()});
        publish(
            station.broker.port,
            "cmd/trigger",
            &trigger.to_string(),
            &[],
        );
    }

    let results = offsets_ms.iter().map(|_| station.plc.next("box/result"));
    results.collect()
}

fn is_judged(result: &Value) -> bool {
    result["verdict"] != "undecided"
}

fn texts<'a>(results: impl IntoIterator<Item = &'a Value>, key: &str) -> Vec<String> {
    let texts = results.into_iter().map(|result| result[key].to_string());
    texts.collect()
}

#[test]
fn parts_that_are_closer_than_frames_share_none() {
    let station = Station::start(SLOW);
    let results = results_of(&station, &[0, 15, 30, 45]);
    let judged: Vec<&Value> = results.iter().filter(|result| is_judged(result)).collect();
    let frames: BTreeSet<String> = texts(judged.iter().copied(), "captured_at")
        .into_iter()
        .collect();
    assert_eq!(frames.len(), judged.len(), "{results:?}");
    assert!((1..=2).contains(&judged.len()), "{results:?}");
    for result in results.iter().filter(|result| !is_judged(result)) {
        assert_eq!(result["reason"], "camera_lost", "{result}");
        let detail = result["detail"].as_str().expect("the reason in words");
        assert!(detail.contains("is that of part"), "{detail}");
        assert_eq!(result["frame_offset_ms"], Value::Null, "{result}");
    }

    // Whoever looks at the line learns of it, until a part has a frame of its own again.
    let is_told = |state: &Value| state["causes"].to_string().contains("triggers of top");
    let state = station.plc.until_fits("box/state", is_told);
    assert_eq!(state["health"], "OFF_SPEC", "{state}");
    std::thread::sleep(Duration::from_secs(2)); // a single good part between two says nothing
    assert!(is_judged(&results_of(&station, &[0])[0]));
    station.plc.until_fits("box/state", |state| !is_told(state));
    station.summary();
}

#[test]
fn a_line_that_means_it_shares_its_frames() {
    let shared = format!("{SLOW}\nshare_frames = true");
    let station = Station::start(&shared);
    let results = results_of(&station, &[0, 15, 30, 45]);
    assert_eq!(
        results.iter().filter(|result| is_judged(result)).count(),
        4,
        "{results:?}"
    );
    let frames: BTreeSet<String> = texts(&results, "captured_at").into_iter().collect();
    assert!(frames.len() < 4, "{results:?}");
    station.summary();
}

#[test]
fn parts_at_the_rate_of_the_frames_have_one_each() {
    // 20 frames a second, and a part each 60 ms: whole pictures are judged, all of them.
    let station = Station::start(&format!("{TRIGGERED}\nqueue = 64"));
    std::thread::sleep(Duration::from_secs(1)); // the belt's own time
    let offsets: Vec<i64> = (0..20).map(|part| part * 60 - 500).collect();
    let results = results_of(&station, &offsets);
    assert_eq!(
        results.iter().filter(|result| is_judged(result)).count(),
        20,
        "{results:?}"
    );
    let frames: BTreeSet<String> = texts(&results, "captured_at").into_iter().collect();
    assert_eq!(frames.len(), 20, "{results:?}");
    for result in &results {
        let offset = result["frame_offset_ms"].as_i64().expect("a number");
        assert!((-100..=100).contains(&offset), "{result}");
    }

    station.summary();
}

#[test]
fn a_time_that_no_frame_is_near_is_told_with_the_distance() {
    let station = Station::start(TRIGGERED);
    let results = results_of(&station, &[-30_000]);
    assert_eq!(results[0]["reason"], "camera_lost", "{results:?}");
    let detail = results[0]["detail"].as_str().expect("the reason in words");
    assert!(detail.contains("s later"), "{detail}");
    let plc = &station.plc;
    let state = plc.until_fits("box/state", |state| state["health"] == "OFF_SPEC");
    assert!(
        state["causes"].to_string().contains("triggers of top"),
        "{state}"
    );
    for (hours, words) in [(-1, "s behind our clock"), (1, "s ahead of our clock")] {
        let at = Timestamp::now() + SignedDuration::from_hours(hours);
        let trigger = json!({"id": format!("zone {hours}"), "at": at.to_string()});
        plc.ask_in_vain("trigger", &trigger.to_string(), words);
    }

    station.summary();
}

#[test]
fn a_camera_may_require_the_time_of_its_parts() {
    let camera = format!("{TRIGGERED}\nrequire_at = true");
    let station = Station::start(&camera);
    let words = "top has require_at = true";
    station.plc.ask_in_vain("trigger", r#"{"id":"a"}"#, words);
    assert!(is_judged(&results_of(&station, &[0])[0]));
    station.summary();
}

/// Sends triggers without a time, one each 200 ms.
fn send_untimed(port: u16, name: &str, count: usize) {
    for number in 0..count {
        let trigger = json!({"id": format!("{name}{number}"), "part_id": name}).to_string();
        publish(port, "cmd/trigger", &trigger, &[]);
        std::thread::sleep(Duration::from_millis(200)); // the belt's own time
    }
}

/// Asserts that the next results are of parts whose time was lost on the way.
#[track_caller]
fn assert_untimed(plc: &Listener, count: usize) {
    for _ in 0..count {
        let result = plc.next("box/result");
        assert_eq!(result["reason"], "not_ready", "{result}");
        let detail = result["detail"].as_str().expect("the reason in words");
        assert!(detail.contains("may have waited"), "{detail}");
    }
}

#[test]
fn a_process_that_stood_still_does_not_know_when_parts_came() {
    let camera = format!("{TRIGGERED}\nstall_s = 1");
    let station = Station::start(&camera);
    let port = station.broker.port;
    send_untimed(port, "before", 2);
    for _ in 0..2 {
        assert!(is_judged(&station.plc.next("box/result")));
    }

    station.line.signal(libc::SIGSTOP);
    send_untimed(port, "frozen", 8);
    station.line.signal(libc::SIGCONT);
    assert_untimed(&station.plc, 8);
    std::thread::sleep(Duration::from_secs(2)); // a camera that was called stalled would be opened again by now
    send_untimed(port, "after", 1);
    assert!(is_judged(&station.plc.next("box/result")));
    // The camera was not silent: nobody listened.
    let errors = station.line.errors();
    assert!(!errors.contains("lost"), "{errors}");
    station.summary();
}

#[test]
fn a_link_that_stood_still_does_not_say_when_parts_came() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let between = Between::start(Some(broker.port));
    LineConfig::new(between.port, TRIGGERED).write(folder.path());
    let line = Running::line(folder.path());
    plc.until("camera/top/status", "state", "online");
    std::thread::sleep(Duration::from_millis(500)); // some fences
    send_untimed(broker.port, "before", 1);
    assert!(is_judged(&plc.next("box/result")));
    between.set(|way| way.stands_still = true);
    send_untimed(broker.port, "held", 10);
    between.set(|way| way.stands_still = false);
    // Those that waited for less than 0.7 s are as good as the link.
    assert_untimed(&plc, 5);
    plc.wait_for("box/result", 5);
    std::thread::sleep(Duration::from_secs(1)); // some fences
    send_untimed(broker.port, "after", 1);
    assert!(is_judged(&plc.next("box/result")));
    line.summary();
}

/// A line on a disk whose syncs take as many milliseconds as the file `sync_ms` says.
fn start_on_slow_disk(folder: &Path) -> Running {
    let library = folder.join("slow_sync.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/line/slow_sync.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();

    assert!(built.expect("tools/setup installs a C compiler").success());
    let mut line = line::command(folder);
    line.env("LD_PRELOAD", library)
        .env("SLOW_SYNC_FILE", folder.join("sync_ms"));

    Running::start(&mut line)
}

#[test]
fn a_disk_that_hangs_makes_no_result_late() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let camera = TRIGGERED.replace("deadline_ms = 5000", "deadline_ms = 2000");
    LineConfig::new(broker.port, &camera)
        .tables("[store]\nsync = \"full\"")
        .write(folder.path());

    let sync_ms = folder.path().join("sync_ms");
    std::fs::write(&sync_ms, "0").expect("written");
    let line = start_on_slow_disk(folder.path());
    plc.until("camera/top/status", "state", "online");
    send_untimed(broker.port, "before", 1);
    assert!(is_judged(&plc.next("box/result")));
    std::fs::write(&sync_ms, "4000").expect("written");
    let mut sent = BTreeMap::new();
    for number in 0..15 {
        let name = format!("hang{number}");
        let trigger = json!({"id": name, "part_id": name}).to_string();
        sent.insert(name, Instant::now());
        publish(broker.port, "cmd/trigger", &trigger, &[]);
        std::thread::sleep(Duration::from_millis(100)); // the belt's own time
    }

    for _ in 0..sent.len() {
        let result = plc.next("box/result");
        let name = result["part_id"].as_str().expect("of a trigger");
        let took = sent[name].elapsed();
        assert!(took < Duration::from_millis(2500), "{took:?} for {result}");
    }

    let state = plc.until_fits("box/state", |state| state["health"] == "OFF_SPEC");
    assert!(state["causes"].to_string().contains("commit"), "{state}");
    std::fs::write(&sync_ms, "0").expect("written");
    let summary = line.summary();
    assert_eq!(all_arrived(&summary), 16, "{summary}");
}

#[test]
fn a_trigger_with_a_time_is_judged_whatever_it_waited_for() {
    let station = Station::start(TRIGGERED);
    let port = station.broker.port;
    std::thread::sleep(Duration::from_millis(500)); // some frames
    station.line.signal(libc::SIGSTOP);
    let at = Timestamp::now() - SignedDuration::from_millis(300);
    let trigger = json!({"id": "timed", "at": at.to_string()}).to_string();
    publish(port, "cmd/trigger", &trigger, &[]);
    std::thread::sleep(Duration::from_secs(1)); // the process stands still
    station.line.signal(libc::SIGCONT);
    let result = station.plc.next("box/result");
    assert!(is_judged(&result), "{result}");
    let offset = result["frame_offset_ms"].as_i64().expect("a number");
    assert!((-100..=100).contains(&offset), "{result}");
    station.summary();
}
