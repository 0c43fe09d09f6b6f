//! What docs/mqtt.md promises of a part, each against what would break it: a broker that acknowledges nothing or forgets us,
//! a disk that fails under the line, a camera that goes between a trigger and its frame.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{command, summary, write_line};
use crate::parts::{next, tell, until};
use crate::running::Running;
use crate::support::imported;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const FREE_RUNNING: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120";

/// Between a line and its broker: knows the packets that the broker sends, and may keep its PUBACKs.
struct Between {
    port: u16,
    way: Arc<Mutex<Way>>,
    opened: Receiver<()>,
}

struct Way {
    /// Nothing: nobody gets through.
    broker: Option<u16>,
    acknowledges: bool,
    /// Signs of life of the broker that were passed on.
    pings: usize,
}

const PUBACK: u8 = 4;
const PINGRESP: u8 = 13;

impl Between {
    fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let way = Arc::new(Mutex::new(Way {
            broker: Some(broker),
            acknowledges: true,
            pings: 0,
        }));
        let (told, opened) = channel();
        let shared = way.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let broker = locked(&shared, |way| way.broker);
                let Some(Ok(far)) = broker.map(|port| TcpStream::connect(("127.0.0.1", port)))
                else {
                    continue;
                };
                carry(near, far, shared.clone());
                let _ = told.send(()); // the test may have ended
            }
        });
        Between { port, way, opened }
    }

    fn set<T>(&self, change: impl FnOnce(&mut Way) -> T) -> T {
        locked(&self.way, change)
    }

    #[track_caller]
    fn next_connection(&self) {
        self.opened
            .recv_timeout(Duration::from_secs(60))
            .expect("the line connects");
    }
}

fn locked<T>(way: &Mutex<Way>, change: impl FnOnce(&mut Way) -> T) -> T {
    change(&mut way.lock().unwrap_or_else(PoisonError::into_inner))
}

fn carry(near: TcpStream, far: TcpStream, way: Arc<Mutex<Way>>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
    let (mut from_line, mut to_broker) = (clone(&near), clone(&far));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_line, &mut to_broker);
        let _ = to_broker.shutdown(Shutdown::Both); // it may be gone
    });
    let (mut from_broker, mut to_line) = (far, near);
    std::thread::spawn(move || {
        while let Ok(packet) = packet(&mut from_broker) {
            let kind = packet[0] >> 4;
            let passes = locked(&way, |way| {
                way.pings += usize::from(kind == PINGRESP);
                way.acknowledges || kind != PUBACK
            });
            if passes && to_line.write_all(&packet).is_err() {
                break;
            }
        }
        let _ = to_line.shutdown(Shutdown::Both); // it may be gone
    });
}

/// A whole packet: a byte of its kind, its length in groups of seven bits, so many bytes.
fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet)?;
    let mut length = usize::from(packet[1] & 0x7f);
    while packet[packet.len() - 1] & 0x80 != 0 {
        let mut more = [0];
        stream.read_exact(&mut more)?;
        length |= usize::from(more[0] & 0x7f) << (7 * (packet.len() - 1));
        packet.push(more[0]);
    }
    let head = packet.len();
    packet.resize(head + length, 0);
    stream.read_exact(&mut packet[head..])?;
    Ok(packet)
}

/// Results as they came: one that comes again is the same, and the first of each are in order.
#[derive(Default)]
struct Heard {
    seqs: BTreeSet<u64>,
}

impl Heard {
    /// All until one of a picture that was taken after `at`.
    #[track_caller]
    fn until_one_after(&mut self, at: Timestamp, listener: &Listener) {
        while time(&self.hear(listener)["captured_at"]) <= at {}
    }

    #[track_caller]
    fn until_seq(&mut self, seq: u64, listener: &Listener) {
        while self.seqs.last() < Some(&seq) {
            self.hear(listener);
        }
    }

    /// These came, and no other.
    #[track_caller]
    fn are_all(&mut self, parts: u64, listener: &Listener) {
        self.until_seq(parts, listener);
        assert!(self.seqs.iter().copied().eq(1..=parts), "{:?}", self.seqs);
    }

    #[track_caller]
    fn hear(&mut self, listener: &Listener) -> Value {
        let result: Value = serde_json::from_str(&listener.wait_for("", 1)[0]).expect("JSON");
        assert_eq!(
            (&result["historical"], &result["given_up_before"]),
            (&json!(false), &json!(0)),
            "{result}"
        );
        let seq = result["seq"].as_u64().expect("a number");
        assert!(
            self.seqs.last() < Some(&seq) || self.seqs.contains(&seq),
            "{seq} after {:?}",
            self.seqs.last()
        );
        self.seqs.insert(seq);
        result
    }
}

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|at| at.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no time"))
}

/// Every part has a result that was acknowledged; how many.
#[track_caller]
fn all_arrived(summary: &Value) -> u64 {
    let is_whole = summary["balanced"] == true && summary["parts"] == summary["results"];
    assert!(
        is_whole && summary["results"] == summary["acknowledged"],
        "{summary}"
    );
    assert_eq!(
        (&summary["undelivered"], &summary["given_up"]),
        (&json!(0), &json!(0)),
        "{summary}"
    );
    summary["parts"].as_u64().expect("a number")
}

/// The line's file with other words in it.
fn rewrite(folder: &Path, words: &str, others: &str) {
    let file = folder.join("line.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains(words), "{words:?} is not in {text}");
    std::fs::write(&file, text.replace(words, others)).expect("written");
}

#[test]
fn a_broker_that_lives_but_acknowledges_nothing_is_left_and_no_result_is_lost() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::with(
        broker.port,
        "plant/box/result",
        &["-t", "plant/box/result/late"],
    );
    let between = Between::start(broker.port);
    write_line(folder.path(), between.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    between.next_connection();
    let mut heard = Heard::default();
    heard.until_seq(5, &listener);
    let pings = between.set(|way| {
        way.acknowledges = false;
        way.pings
    });
    between.next_connection();
    let again = Timestamp::now();
    let passed = between.set(|way| {
        way.acknowledges = true;
        way.pings
    });
    assert!(passed > pings, "the broker said that it lives");
    heard.until_one_after(again, &listener);
    let output = line.stop();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("no acknowledgement for 10 s; results wait"),
        "{errors}"
    );
    let parts = all_arrived(&summary(&output));
    heard.are_all(parts, &listener);
}

#[test]
fn the_recipe_says_what_the_gate_does_with_an_undecided_part_also_after_a_crash() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let nobody = format!(
        "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:{}/none\"",
        free_port()
    );
    for (word, reject) in [("pass", false), ("fail", true)] {
        let camera = |deadline: u32| {
            write_line(
                folder.path(),
                broker.port,
                &format!("{nobody}\ntrigger = \"command\"\ndeadline_ms = {deadline}"),
            );
            rewrite(
                folder.path(),
                "threshold = ",
                &format!("on_undecided = \"{word}\"\nthreshold = "),
            );
        };
        let trigger = |id: &str| {
            let trigger = format!(r#"{{"id":"{word} {id}","part_id":"{word} {id}"}}"#);
            assert_eq!(
                tell(&listener, broker.port, "trigger", &trigger)["status"],
                "accepted"
            );
        };
        let told = |result: &Value, id: &str, reason: &str| {
            let keys = ["part_id", "verdict", "evaluation", "reason", "reject"]
                .map(|key| result[key].clone());
            let expected = [
                json!(format!("{word} {id}")),
                json!("undecided"),
                json!(3),
                json!(reason),
                json!(reject),
            ];
            assert_eq!(keys, expected, "{result}");
        };
        camera(300);
        let line = Running::line(folder.path());
        next(&listener, "box/birth");
        trigger("due");
        told(&next(&listener, "box/result"), "due", "camera_lost");
        line.summary();
        // What is said of a part that nobody judged is on the disk before anybody can.
        camera(600_000);
        let line = Running::line(folder.path());
        next(&listener, "box/birth");
        trigger("crash");
        drop(line);
        let line = Running::line(folder.path());
        told(&next(&listener, "result/late"), "crash", "late");
        line.summary();
    }
}

#[test]
fn a_belt_says_when_a_part_is_at_the_gate_and_an_encoder_at_which_count() {
    let (folder, _model) = imported("dinov2-tiny");
    let camera = |way: u32| {
        format!(
            "{FREE_RUNNING}\ntrigger = \"command\"\nwindow_ms = 1000\ndeadline_ms = 5000\n\
             belt_mm_s = 250\nreject_mm = {way}\nreject_counts = 4800"
        )
    };
    write_line(folder.path(), 1, &camera(500));
    let output = command(folder.path()).output().expect("ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(
        errors.contains("camera[0].deadline_ms: the part is at the gate after 2000 ms"),
        "{errors}"
    );

    let broker = Broker::start(free_port());
    let port = broker.port;
    let listener = Listener::start(port, "plant/box/#");
    write_line(folder.path(), port, &camera(1600));
    rewrite(folder.path(), "[mqtt]", "[mqtt]\ntimed_reject = true");
    let line = Running::line(folder.path());
    until(&listener, "camera/top/status", "state", "online");
    // Every part is rejected.
    assert_eq!(
        tell(
            &listener,
            port,
            "set_threshold",
            r#"{"id":"limit","value":0.000001}"#
        )["status"],
        "done"
    );
    for (count, at_count) in [(json!(120_345), json!(125_145)), (json!(null), json!(null))] {
        let at = Timestamp::now();
        let trigger =
            json!({"id": format!("at {count}"), "at": at.to_string(), "count": count}).to_string();
        assert_eq!(
            tell(&listener, port, "trigger", &trigger)["status"],
            "accepted"
        );
        let result = next(&listener, "box/result");
        assert_eq!(
            (&result["verdict"], &result["reject"]),
            (&json!("fail"), &json!(true)),
            "{result}"
        );
        assert_eq!(
            (&result["reject_at_count"], &result["count"]),
            (&at_count, &count),
            "{result}"
        );
        // 1600 mm at 250 mm/s, from the picture on, which is the one nearest to the trigger's time.
        assert_eq!(result["reject_in_ms"], 6400.0, "{result}");
        let captured = time(&result["captured_at"]);
        assert!(
            captured.duration_since(at).abs() <= SignedDuration::from_millis(1001),
            "{at}: {result}"
        );
        let gate = next(&listener, "box/reject");
        assert_eq!(gate["seq"], result["seq"], "{gate}");
        assert_eq!(
            time(&gate["at"]).duration_since(captured).as_millis(),
            6400,
            "{gate}"
        );
    }
    let summary = line.summary();
    assert_eq!(
        (&summary["parts"], &summary["rejects_told"]),
        (&json!(2), &json!(2)),
        "{summary}"
    );
}

#[test]
fn what_comes_and_goes_twice_before_an_empty_belt_is_two_parts() {
    const WIDTH: u32 = 240;
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/result");
    let pictures = folder.path().join("belt");
    std::fs::create_dir(&pictures).expect("made");
    // The left edge of a bright square; nothing is the empty belt.
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
        picture
            .save(pictures.join(format!("{number:03} {name}.png")))
            .expect("written");
    }
    let camera = format!(
        "kind = \"folder\"\nlocation = {pictures:?}\nfps = 0\ntrigger = \"presence\"\nqueue = 4"
    );
    write_line(folder.path(), broker.port, &camera);
    let summary = summary(&command(folder.path()).output().expect("ends"));
    assert_eq!(all_arrived(&summary), 2, "{summary}");
    let frames = shown.len();
    let counted = json!({"captured": frames, "judged": 2, "replaced": 0, "skipped": frames - 2, "failed": 0, "stopped": 0});
    assert_eq!(summary["cameras"]["top"], counted);
    for seq in [1, 2] {
        let result = next(&listener, "result");
        assert_eq!(result["seq"], seq, "{result}");
        assert_ne!(result["verdict"], "undecided", "{result}");
        // The frame in which it was in the middle.
        assert!(
            result["part_id"]
                .as_str()
                .is_some_and(|name| name.ends_with(" at96.png")),
            "{result}"
        );
    }
}

/// A line that may write no byte into a file once it is told so, whoever runs it.
fn limitable(folder: &Path) -> Running {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' XFSZ && exec \"$0\" run line.toml",
        env!("CARGO_BIN_EXE_winspect"),
    ]);
    command
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Running::of(command.spawn().expect("sh is everywhere"))
}

fn let_it_write(line: &Running, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args([
        "--pid",
        &line.child().id().to_string(),
        &format!("--fsize={limit}:unlimited"),
    ]);
    assert!(
        command
            .status()
            .expect("util-linux is everywhere")
            .success()
    );
}

#[test]
fn a_store_that_cannot_be_written_for_a_while_stops_nothing_and_nothing_is_missing_in_it_afterwards()
 {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let results = Listener::with(
        broker.port,
        "plant/box/result",
        &["-t", "plant/box/result/late"],
    );
    let states = Listener::start(broker.port, "plant/box/state");
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = limitable(folder.path());
    let mut heard = Heard::default();
    heard.until_seq(5, &results);
    until(&states, "box/state", "health", "NORMAL");
    let_it_write(&line, "0");
    let state = until(&states, "box/state", "health", "OFF_SPEC");
    assert!(
        state["causes"]
            .to_string()
            .contains("results are not on the disk"),
        "{state}"
    );
    // Verdicts go on, of pictures that were taken since.
    let failed = Timestamp::now();
    heard.until_one_after(failed, &results);
    let judged = heard.hear(&results);
    assert_ne!(judged["verdict"], "undecided", "{judged}");
    let_it_write(&line, "unlimited");
    until(&states, "box/state", "health", "NORMAL");
    heard.until_one_after(Timestamp::now(), &results);
    let parts = all_arrived(&line.summary());
    heard.are_all(parts, &results);
    // The file knows all of them, and that all were acknowledged.
    let births = Listener::start(broker.port, "plant/box/birth");
    next(&births, "box/birth"); // the retained one
    let line = Running::line(folder.path());
    let birth = next(&births, "box/birth");
    assert_eq!(
        (
            &birth["previous"][0]["camera"],
            &birth["previous"][0]["last_seq"]
        ),
        (&json!("top"), &json!(parts))
    );
    heard.seqs.clear();
    heard.until_seq(3, &results);
    line.summary();
}

#[test]
fn a_broker_that_stands_still_for_a_while_gets_every_result_in_order() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::with(
        broker.port,
        "plant/box/result",
        &["-t", "plant/box/result/late"],
    );
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    let mut heard = Heard::default();
    heard.until_seq(5, &listener);
    broker.signal("STOP");
    std::thread::sleep(Duration::from_secs(3));
    broker.signal("CONT");
    heard.until_one_after(Timestamp::now(), &listener);
    let parts = all_arrived(&line.summary());
    heard.are_all(parts, &listener);
}

#[test]
fn a_broker_that_has_forgotten_the_session_gets_every_result_in_order_and_its_commands_are_heard() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    // At QoS 0 mosquitto has sent to a listener whatever it has acknowledged, and its end takes nothing back.
    let results = |port| {
        Listener::with(
            port,
            "plant/box/result",
            &["-t", "plant/box/result/late", "-q", "0"],
        )
    };
    let first = results(broker.port);
    let between = Between::start(broker.port);
    write_line(folder.path(), between.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    between.next_connection();
    let (mut before, mut after) = (Heard::default(), Heard::default());
    before.until_seq(20, &first);
    between.set(|way| way.broker = None);
    drop(broker);
    // Another one, whose listener is there before the line.
    let broker = Broker::start(free_port());
    let (second, all) = (
        results(broker.port),
        Listener::start(broker.port, "plant/box/#"),
    );
    between.set(|way| way.broker = Some(broker.port));
    between.next_connection();
    after.until_one_after(Timestamp::now(), &second);
    assert_eq!(
        tell(&all, broker.port, "snapshot", r#"{"id":"look"}"#)["status"],
        "done"
    );
    let parts = all_arrived(&line.summary());
    after.until_seq(parts, &second);
    while before.seqs.union(&after.seqs).count() < parts as usize {
        before.hear(&first);
    }
    assert!(
        before.seqs.union(&after.seqs).copied().eq(1..=parts),
        "{:?} {:?}",
        before.seqs,
        after.seqs
    );
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_camera_that_goes_between_a_trigger_and_its_frame_leaves_the_part_undecided_and_judges_the_next()
 {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let camera_port = free_port();
    // The camera is another process, so that it can go.
    let camera = || {
        let launch = format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=RGB,width=160,height=120,framerate=20/1 \
             ! tcpserversink host=127.0.0.1 port={camera_port}"
        );
        let mut command = Command::new("gst-launch-1.0");
        command
            .arg("-q")
            .args(launch.split_whitespace())
            .stdout(Stdio::null());
        Running::of(
            command
                .spawn()
                .expect("tools/setup installs gst-launch-1.0"),
        )
    };
    let launch = format!(
        "tcpclientsrc host=127.0.0.1 port={camera_port} \
         ! rawvideoparse format=rgb width=160 height=120 framerate=20/1 ! videoconvert"
    );
    let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
    std::fs::write(folder.path().join("own.toml"), own).expect("written");
    write_line(
        folder.path(),
        broker.port,
        "kind = \"own.toml\"\nstall_s = 60\ntrigger = \"command\"\nwindow_ms = 1000\ndeadline_ms = 5000",
    );
    let statuses = Listener::start(broker.port, "plant/box/camera/top/status");
    let trigger = |id: &str| {
        // A moment of which there is no picture yet.
        let at = Timestamp::now() + SignedDuration::from_millis(500);
        let trigger = json!({"id": id, "part_id": id, "at": at.to_string()}).to_string();
        assert_eq!(
            tell(&listener, broker.port, "trigger", &trigger)["status"],
            "accepted"
        );
    };
    let mut shows = camera();
    let line = Running::line(folder.path());
    until(&statuses, "top/status", "state", "online");
    trigger("whole");
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["part_id"], &result["reason"]),
        (&json!("whole"), &json!(null)),
        "{result}"
    );

    crate::line::signal(shows.child(), "STOP");
    trigger("gone");
    drop(shows);
    until(&statuses, "top/status", "state", "offline");
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["seq"], &result["part_id"]),
        (&json!(2), &json!("gone")),
        "{result}"
    );
    assert_eq!(
        (&result["verdict"], &result["reason"]),
        (&json!("undecided"), &json!("camera_lost")),
        "{result}"
    );
    assert_eq!(
        (&result["reject"], &result["captured_by"]),
        (&json!(true), &json!("trigger")),
        "{result}"
    );
    let total = result["latency_ms"]["total"].as_f64().expect("a number");
    assert!(total >= 5000.0, "not before its deadline: {result}");

    shows = camera();
    until(&statuses, "top/status", "state", "online");
    trigger("back");
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["seq"], &result["reason"]),
        (&json!(3), &json!(null)),
        "{result}"
    );
    assert_eq!(all_arrived(&line.summary()), 3);
    drop(shows);
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_part_waits_for_the_frame_nearest_to_it_also_when_the_two_before_lay_far_apart() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let shown = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let launch = format!(
        "tcpclientsrc host=127.0.0.1 port={} \
         ! rawvideoparse format=rgb width=160 height=120 framerate=20/1 ! videoconvert",
        shown.local_addr().expect("bound").port()
    );
    let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
    std::fs::write(folder.path().join("own.toml"), own).expect("written");
    write_line(
        folder.path(),
        broker.port,
        "kind = \"own.toml\"\nstall_s = 60\ntrigger = \"command\"\nwindow_ms = 500\ndeadline_ms = 9000",
    );
    let line = Running::line(folder.path());
    let (mut camera, _) = shown.accept().expect("the line connects");
    let mut show = |grey: u8| {
        camera
            .write_all(&vec![grey; 3 * 160 * 120])
            .expect("the line reads")
    };
    show(90);
    until(&listener, "camera/top/status", "state", "online");
    std::thread::sleep(Duration::from_secs(4));
    show(110);
    std::thread::sleep(Duration::from_secs(1));
    let at = Timestamp::now() + SignedDuration::from_millis(200);
    let trigger = json!({"id": "a", "at": at.to_string()}).to_string();
    assert_eq!(
        tell(&listener, broker.port, "trigger", &trigger)["status"],
        "accepted"
    );
    show(130);
    let result = next(&listener, "box/result");
    assert_eq!(result["reason"], json!(null), "{result}");
    line.summary();
}
