//! What makes a frame a part: a command, each frame or each nth one, a stretch of a web, something
//! that crosses an empty belt.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::{
    TRIGGERED, all_arrived, assert_refused, folder_camera, run_to_its_end, write_line,
};
use crate::harness::plc::Listener;
use crate::harness::station::Station;
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn a_trigger_is_answered_and_has_one_result() {
    let gate = format!("{TRIGGERED}\nreject_after_ms = 6000\nreject_counts = 100");
    let station = Station::start(&gate);
    let plc = &station.plc;
    let trigger = r#"{"id":"t1","part_id":"A-77","count":42,"position":1.5}"#;
    let answer = plc.ask("trigger", trigger, "accepted");
    let part = &answer["parts"][0];
    assert_eq!(part["camera"], "top");
    assert_eq!(part["seq"], 1);
    let result = plc.next("box/result");
    for (key, value) in [
        ("seq", json!(1)),
        ("run_id", part["run_id"].clone()),
        ("part_id", json!("A-77")),
        ("count", json!(42)),
        ("reject_at_count", json!(142)),
        ("reject_in_ms", json!(6000.0)),
        ("position", json!(1.5)),
        ("historical", json!(false)),
        ("deadline_met", json!(true)),
    ] {
        assert_eq!(result[key], value, "{key} in {result}");
    }

    assert_ne!(result["verdict"], "undecided", "{result}");
    assert_eq!(result["reject"], json!(result["verdict"] == "fail"));
    // The same once more has the same answer, and no part of its own.
    assert_eq!(plc.tell("trigger", trigger), answer);
    // Without an id nobody can know that it is a repetition.
    let second = plc.tell("trigger", "{}");
    assert_eq!(second["parts"][0]["seq"], 2);
    assert!(second["reason"].is_string(), "{second}");
    assert_eq!(plc.next("box/result")["seq"], 2);
    let summary = station.summary();
    assert_eq!(all_arrived(&summary), 2, "{summary}");
}

#[test]
fn every_nth_frame_and_each_frame_can_be_parts() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    for (trigger, parts, skipped) in [
        ("trigger = \"every_n\"\nevery = 3", 2, 2),
        ("trigger = \"frame\"\nqueue = 4", 4, 0),
    ] {
        let camera = format!("{}\n{trigger}", folder_camera());
        write_line(folder.path(), broker.port, &camera);
        let summary = run_to_its_end(folder.path());
        assert_eq!(summary["parts"], parts, "{summary}");
        assert_eq!(summary["results"], parts, "{summary}");
        assert_eq!(summary["cameras"]["top"]["judged"], parts, "{summary}");
        assert_eq!(summary["cameras"]["top"]["skipped"], skipped, "{summary}");
    }
}

#[test]
fn a_web_is_judged_in_stretches_with_their_positions() {
    let web = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"distance\"\n\
               belt_mm_s = 100\nstretch_mm = 25\noverlap_mm = 5";

    let station = Station::start(web);
    let position = || station.plc.next("box/result")["position"].as_f64();
    let at: Vec<f64> = (0..4).map(|_| position().expect("a number")).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] > 10.0), "{at:?}");
    let summary = station.summary();
    let skipped = summary["cameras"]["top"]["skipped"].as_u64();
    assert!(skipped > Some(0), "{summary}");
}

#[test]
fn a_web_that_goes_by_unseen_is_told_until_reset() {
    // A frame each 200 ms, and a stretch each 50 ms.
    let web = "kind = \"test\"\nfps = 5\nwidth = 160\nheight = 120\ntrigger = \"distance\"\n\
               belt_mm_s = 100\nstretch_mm = 5";

    let station = Station::start(web);
    let is_told = |state: &Value| state["causes"].to_string().contains("web of top: ");
    let state = station.plc.until_fits("box/state", is_told);
    assert_eq!(state["health"], "OFF_SPEC", "{state}");
    let metrics = station.listen("metrics").next("box/metrics");
    let unseen = metrics["cameras"]["top"]["unseen_mm"].as_u64();
    assert!(unseen > Some(0), "{metrics}");
    station.plc.ask("pause", r#"{"id":"a"}"#, "done");
    station.plc.ask("reset", r#"{"id":"b"}"#, "done");
    station.plc.until_fits("box/state", |state| !is_told(state));
    station.summary();
}

#[test]
fn a_trigger_that_cannot_be_is_refused_with_advice() {
    let (folder, _model) = imported("dinov2-tiny");
    let cases = [
        (
            "trigger = \"sometimes\"",
            "camera[0].trigger: must be one of \"continuous\", \"frame\"",
        ),
        ("trigger = \"every_n\"", "camera[0].every: missing"),
        (
            "trigger = \"distance\"\nstretch_mm = 10",
            "camera[0].stretch_mm: and belt_mm_s are needed",
        ),
        (
            "trigger = \"distance\"\nstretch_mm = 9\nbelt_mm_s = 5\noverlap_mm = 9",
            "camera[0].overlap_mm: must be less",
        ),
        (
            "trigger = \"frame\"\nwindow_ms = 5",
            "camera[0].window_ms: belongs to trigger = \"command\"",
        ),
        (
            "trigger = \"presence\"\npresence = { share = 2.0 }",
            "camera[0].presence.share: must be from 0.001 to 1",
        ),
        (
            "reject_after_ms = 500",
            "camera[0].deadline_ms: the part is at the gate after 500 ms",
        ),
        (
            "belt_mm_s = 500",
            "camera[0].belt_mm_s: and reject_mm belong together",
        ),
        (
            "triggered = true",
            "camera[0].triggered: is trigger = \"frame\" now",
        ),
    ];

    for (camera, words) in cases {
        write_line(folder.path(), 1, &format!("kind = \"test\"\n{camera}"));
        assert_refused(folder.path(), 78, &[words]);
    }
}

#[test]
fn two_lines_cannot_have_one_store() {
    let station = Station::start(TRIGGERED);
    let words = "is used by another winspect; give each line a store of its own";
    assert_refused(station.folder.path(), 69, &[words]);
    station.summary();
}

/// Pictures of a belt on which something comes and goes twice; returns how many.
fn draw_belt(folder: &Path) -> usize {
    const WIDTH: u32 = 240;
    std::fs::create_dir(folder).expect("made");
    // The left edge of a bright square; `None` is the empty belt.
    let empty = [None; 8];
    let crossing = |speed| (-48..WIDTH as i32).step_by(speed).map(Some);
    let shown: Vec<Option<i32>> = empty
        .into_iter()
        .chain(crossing(12))
        .chain(empty)
        .chain(crossing(16))
        .chain(empty)
        .collect();

    for (number, left) in shown.iter().enumerate() {
        let picture = image::RgbImage::from_fn(WIDTH, 120, |x, y| {
            let is_part = left.is_some_and(|left| (left..left + 48).contains(&(x as i32)))
                && (36..84).contains(&y);

            image::Rgb([if is_part { 220 } else { 90 }; 3])
        });

        let name = left.map_or_else(|| "empty".to_owned(), |left| format!("at{left}"));
        let file = folder.join(format!("{number:03} {name}.png"));
        picture.save(file).expect("written");
    }

    shown.len()
}

#[test]
fn what_crosses_an_empty_belt_twice_is_two_parts() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    let pictures = folder.path().join("belt");
    let frames = draw_belt(&pictures);
    let camera = format!(
        "kind = \"folder\"\nlocation = {pictures:?}\nfps = 0\ntrigger = \"presence\"\nqueue = 4"
    );

    write_line(folder.path(), broker.port, &camera);
    let summary = run_to_its_end(folder.path());
    assert_eq!(all_arrived(&summary), 2, "{summary}");
    let counted = json!({
        "captured": frames, "judged": 2, "replaced": 0, "skipped": frames - 2, "failed": 0,
        "stopped": 0
    });

    assert_eq!(summary["cameras"]["top"], counted);
    for seq in [1, 2] {
        let result = listener.next("result");
        assert_eq!(result["seq"], seq, "{result}");
        assert_ne!(result["verdict"], "undecided", "{result}");
        // The frame in which it was in the middle.
        let part_id = result["part_id"].as_str().expect("its file");
        assert!(part_id.ends_with(" at96.png"), "{result}");
    }
}

/// Two cameras that see the same parts, for the station's configuration.
mod join {
    use super::*;
    use crate::harness::line::LineConfig;

    fn joined(camera: &str) -> String {
        format!("{camera}\njoin = \"station\"")
    }

    #[test]
    fn the_worst_view_speaks_for_a_part() {
        let side = joined(&TRIGGERED.replace("160", "200"));
        let station =
            Station::configured(&joined(TRIGGERED), |config, _| config.camera("side", &side));

        station
            .listen("camera/side/status")
            .until("side/status", "state", "online");

        let plc = &station.plc;
        let answer = plc.tell("trigger", r#"{"id":"a","camera":"station"}"#);
        let parts = answer["parts"].as_array().map(Vec::len);
        assert_eq!(parts, Some(1), "{answer}");
        let result = plc.next("box/result");
        assert_eq!(result["camera"], "station");
        assert_eq!(result["seq"], 1);
        let views = result["views"].as_array().expect("a list");
        let mut cameras: Vec<&Value> = views.iter().map(|view| &view["camera"]).collect();
        cameras.sort_by_key(|camera| camera.to_string());
        assert_eq!(cameras, ["side", "top"], "{result}");
        let scores = views.iter().filter_map(|view| view["score"].as_f64());
        assert_eq!(result["score"].as_f64(), scores.reduce(f64::max));
        station.summary();
    }

    #[test]
    fn cameras_that_cannot_be_joined_are_refused() {
        let (folder, _model) = imported("dinov2-tiny");
        let line = |camera: &str| LineConfig::new(1, camera);
        let top = joined(TRIGGERED);
        let mut many = line(&top);
        for number in 0..8 {
            many = many.camera(&format!("side{number}"), &top);
        }

        let hasty = top.replace("5000", "400");
        for (config, words) in [
            (line(&top), "has one camera only"),
            (
                line(&joined("kind = \"test\"")),
                "camera[0].join: needs trigger = \"command\"",
            ),
            (line(&top).camera("station", &top), "is a camera's name"),
            (
                line(&hasty).camera("side", &top),
                "must have the same deadline_ms",
            ),
            (many, "has 9 cameras; at most 8 have room"),
        ] {
            config.write(folder.path());
            assert_refused(folder.path(), 78, &[words]);
        }
    }
}

/// A part is judged by the frame nearest to its trigger's time.
#[cfg(feature = "gstreamer")]
mod nearest {
    use super::*;
    use crate::harness::line::LineConfig;
    use crate::harness::program::Running;
    use jiff::{SignedDuration, Timestamp};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::time::Duration;

    /// A line whose camera is what comes through TCP from `port`.
    fn write_tcp_line(folder: &Path, broker: u16, port: u16, camera: &str) {
        let launch = format!(
            "tcpclientsrc host=127.0.0.1 port={port} \
             ! rawvideoparse format=rgb width=160 height=120 framerate=20/1 ! videoconvert"
        );

        let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
        std::fs::write(folder.join("own.toml"), own).expect("written");
        let camera = format!("kind = \"own.toml\"\nstall_s = 60\ntrigger = \"command\"\n{camera}");
        LineConfig::new(broker, &camera)
            .mqtt("plc = true")
            .write(folder);
    }

    /// Asks for a part of a moment of which there is no picture yet.
    fn trigger(plc: &Listener, id: &str, ahead_ms: i64) {
        let at = Timestamp::now() + SignedDuration::from_millis(ahead_ms);
        let trigger = json!({"id": id, "part_id": id, "at": at.to_string()});
        plc.ask("trigger", &trigger.to_string(), "accepted");
    }

    /// A camera that is another process, so that it can go.
    fn camera(port: u16) -> Running {
        let launch = format!(
            "videotestsrc is-live=true pattern=ball \
             ! video/x-raw,format=RGB,width=160,height=120,framerate=20/1 \
             ! tcpserversink host=127.0.0.1 port={port}"
        );

        let mut command = Command::new("gst-launch-1.0");
        Running::start(command.arg("-q").args(launch.split_whitespace()))
    }

    #[test]
    fn a_camera_lost_after_the_trigger_leaves_its_part_undecided() {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        let port = crate::harness::broker::free_port();
        let camera_keys = "window_ms = 1000\ndeadline_ms = 5000";
        write_tcp_line(folder.path(), broker.port, port, camera_keys);
        let statuses = Listener::start(broker.port, "plant/box/camera/top/status");
        let states = Listener::start(broker.port, "plant/box/plc/state");
        let shows = camera(port);
        let line = Running::line(folder.path());
        statuses.until("top/status", "state", "online");
        trigger(&plc, "whole", 500);
        let result = plc.next("box/result");
        assert_eq!(result["part_id"], "whole", "{result}");
        assert_eq!(result["reason"], Value::Null, "{result}");
        states.until_fits("plc/state", |state| state["ready"] == 1);

        shows.signal(libc::SIGSTOP);
        trigger(&plc, "gone", 500);
        drop(shows);
        statuses.until("top/status", "state", "offline");
        states.until_fits("plc/state", |state| state["ready"] == 0);
        let result = plc.next("box/result");
        for (key, value) in [
            ("seq", json!(2)),
            ("part_id", json!("gone")),
            ("verdict", json!("undecided")),
            ("reason", json!("camera_lost")),
            ("reject", json!(true)),
            ("captured_by", json!("trigger")),
        ] {
            assert_eq!(result[key], value, "{key} in {result}");
        }

        let total = result["latency_ms"]["total"].as_f64().expect("a number");
        assert!(total >= 5000.0, "not before its deadline: {result}");

        let _shows = camera(port);
        statuses.until("top/status", "state", "online");
        trigger(&plc, "back", 500);
        let result = plc.next("box/result");
        assert_eq!(result["seq"], 3, "{result}");
        assert_eq!(result["reason"], Value::Null, "{result}");
        assert_eq!(all_arrived(&line.summary()), 3);
    }

    fn show(camera: &mut TcpStream, grey: u8) {
        let picture = vec![grey; 3 * 160 * 120];
        camera.write_all(&picture).expect("the line reads");
    }

    #[test]
    fn a_part_waits_for_the_frame_nearest_to_it() {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        let shown = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = shown.local_addr().expect("bound").port();
        let camera_keys = "window_ms = 500\ndeadline_ms = 9000";
        write_tcp_line(folder.path(), broker.port, port, camera_keys);
        let line = Running::line(folder.path());
        let (mut camera, _) = shown.accept().expect("the line connects");
        show(&mut camera, 90);
        plc.until("camera/top/status", "state", "online");
        // The two frames before the part lie far apart in time: nothing else is meant by it.
        std::thread::sleep(Duration::from_secs(4));
        show(&mut camera, 110);
        std::thread::sleep(Duration::from_secs(1));
        trigger(&plc, "a", 200);
        show(&mut camera, 130);
        let result = plc.next("box/result");
        assert_eq!(result["reason"], Value::Null, "{result}");
        line.summary();
    }
}
