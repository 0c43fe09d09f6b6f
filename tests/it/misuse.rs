//! Commands as no PLC should send them, ten thousand in one go, at a line that works.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::json;
use crate::harness::line::write_line;
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const CAMERA: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"command\"\nqueue = 64\ndeadline_ms = 20000\nshare_frames = true";
/// Of each kind, but for the malformed and the same ones.
const MANY: usize = 2000;
const MALFORMED: usize = 2500;
/// Fewer than are held for the command handler at once, so that none is refused for being too many.
const SAME: usize = 1500;
/// Good triggers among them that do not say when their part was there.
const UNTIMED: usize = 50;
/// Good triggers among them that do.
const TIMED: usize = 50;
/// Good triggers in all: those, and the one that is sent again and again.
const GOOD: usize = UNTIMED + TIMED + 1;
/// Time for which at least one command waits where the line says that it does not know when parts came.
const HELD_UP: SignedDuration = SignedDuration::from_millis(200);

/// `mosquitto_pub` with a line a message, `pause` between them.
fn publish_all(
    port: u16,
    topic: &str,
    arguments: &[&str],
    pause: Duration,
    lines: impl IntoIterator<Item = String, IntoIter: Send + 'static>,
) -> impl FnOnce() {
    let mut command = Command::new("mosquitto_pub");
    let topic = format!("plant/box/cmd/{topic}");
    command
        .args([
            "-V",
            "5",
            "-p",
            &port.to_string(),
            "-q",
            "1",
            "-t",
            &topic,
            "-l",
        ])
        .args(arguments);

    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto-clients is installed");

    let mut input = child.stdin.take().expect("piped");
    let lines = lines.into_iter();
    let writer = std::thread::spawn(move || {
        for line in lines {
            input
                .write_all(format!("{line}\n").as_bytes())
                .expect("it reads");

            std::thread::sleep(pause); // as a real PLC sends them
        }
    });

    move || {
        writer.join().expect("it reads all");
        assert!(child.wait().expect("it ends").success());
    }
}

/// Resident, in MB.
fn memory(line: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", line.id())).expect("it runs");
    let kb = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it has some");

    kb.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        / 1000
}

fn answers(listener: &Listener, topic: &str, count: usize) -> Vec<Value> {
    listener
        .wait_for(topic, count)
        .iter()
        .map(|text| json(text))
        .collect()
}

/// Each part whose trigger says when it was there is judged. The others may be left undecided where
/// commands were seen to wait for long, because then it is not known of which moment they speak.
fn assert_good_are_judged(results: &[Value]) {
    let mut waited = SignedDuration::ZERO;
    let mut untold = vec![];
    for result in results {
        let part_id = result["part_id"].as_str().unwrap_or_default();
        if result["verdict"] == "undecided" {
            assert_eq!(result["reason"], "not_ready", "{result}");
            assert!(!part_id.starts_with("timed"), "{result}");
            untold.push(result);
        }

        if let Ok(sent) = part_id.parse::<Timestamp>() {
            let came = result["captured_at"].as_str().expect("a time");
            let came: Timestamp = came.parse().expect("a time");
            waited = waited.max(came.duration_since(sent));
        }
    }

    assert!(
        untold.is_empty() || waited >= HELD_UP,
        "commands waited for {waited:?} at most: {untold:?}"
    );
}

#[test]
fn ten_thousand_bad_commands_are_answered_and_triggers_still_judged() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    // Else the broker itself forgets what it cannot pass on at once.
    let settings = "max_queued_messages 0\nset_tcp_nodelay true\n";
    let broker = Broker::configured(folder.path(), port, settings);
    let listen = |topic: &str| Listener::start(broker.port, &format!("plant/box/{topic}"));
    let cameras = listen("camera/top/status");
    let triggers = listen("ack/trigger");
    let pauses = listen("ack/pause");
    let unknown = listen("ack/unknown");
    let results = listen("result");
    write_line(folder.path(), port, CAMERA);
    let line = Running::line(folder.path());
    cameras.until("status", "state", "online");
    // A second of pictures, so that all buffers are there: what is compared is memory.
    std::thread::sleep(Duration::from_secs(1));
    let before = memory(&line);

    let garbage = [
        "{",
        "[1]",
        "nothing",
        r#"{"id":[7]}"#,
        r#"{"id":"m","speed":1}"#,
        r#"{"id":"m","at":"noon"}"#,
        "\"\\u0000\"",
    ];

    let malformed = (0..MALFORMED).map(move |n| garbage[n % garbage.len()].to_owned());
    let huge = (0..MANY).map(|n| format!(r#"{{"id":"h{n}","part_id":"{}"}}"#, "x".repeat(6000)));

    let retained = (0..MANY).map(|n| format!(r#"{{"id":"r{n}"}}"#));
    let same = vec![r#"{"id":"same"}"#.to_owned(); SAME];
    let odd = (0..MANY).map(|n| format!(r#"{{"id":"u{n}"}}"#));
    // Both tell their moment, the latter in a way that the line may not use.
    let timed = (0..TIMED).map(|n| {
        let now = Timestamp::now();
        format!(r#"{{"id":"timed{n}","part_id":"timed{n}","at":"{now}"}}"#)
    });

    let untimed = (0..UNTIMED).map(|n| {
        let now = Timestamp::now();
        format!(r#"{{"id":"untimed{n}","part_id":"{now}"}}"#)
    });

    let at_once = Duration::ZERO;
    let now_and_then = Duration::from_millis(20);
    let ends: Vec<Box<dyn FnOnce()>> = vec![
        Box::new(publish_all(port, "trigger", &[], at_once, malformed)),
        Box::new(publish_all(port, "trigger", &[], at_once, huge)),
        Box::new(publish_all(port, "pause", &["-r"], at_once, retained)),
        Box::new(publish_all(port, "trigger", &[], at_once, same)),
        Box::new(publish_all(port, "erase", &[], at_once, odd)),
        Box::new(publish_all(port, "trigger", &[], now_and_then, timed)),
        Box::new(publish_all(port, "trigger", &[], now_and_then, untimed)),
    ];

    let told = answers(&triggers, "ack/trigger", MALFORMED + MANY + SAME + GOOD - 1);
    let refused = |answers: &[Value]| {
        answers
            .iter()
            .filter(|answer| answer["status"] == "rejected")
            .count()
    };

    assert_eq!(refused(&told), MALFORMED + MANY);
    assert!(
        told.iter()
            .all(|answer| answer["status"] == "accepted" || answer["reason"].is_string())
    );

    let accepted: HashSet<String> = told
        .iter()
        .filter(|a| a["status"] == "accepted")
        .map(|a| format!("{} {}", a["id"], a["parts"]))
        .collect();

    assert_eq!(accepted.len(), GOOD, "one part for each id");
    let paused = answers(&pauses, "ack/pause", MANY);
    let ids: HashSet<&str> = paused
        .iter()
        .filter_map(|answer| answer["id"].as_str())
        .collect();

    assert_eq!((refused(&paused), ids.len()), (MANY, MANY));
    assert_eq!(refused(&answers(&unknown, "ack/unknown", MANY)), MANY);
    assert_good_are_judged(&answers(&results, "box/result", GOOD));
    ends.into_iter().for_each(|end| end());
    // After the flood each is judged again.
    std::thread::sleep(Duration::from_secs(1));
    let after = vec![r#"{"id":"after","part_id":"after"}"#.to_owned()];
    publish_all(port, "trigger", &[], at_once, after)();
    let last = &answers(&results, "box/result", 1)[0];
    assert_eq!(last["part_id"], "after");
    assert_ne!(last["verdict"], "undecided", "{last}");

    // Too many good ones: what is not done now may be sent again.
    let resumes = listen("ack/resume");
    let command = |id: &str| format!(r#"{{"id":{id}}}"#);
    let all: Vec<String> = (0..60).map(|n| command(&format!("\"w{n}\""))).collect();
    publish_all(port, "resume", &[], at_once, all)();
    let told = answers(&resumes, "ack/resume", 60);
    let later: Vec<&Value> = told
        .iter()
        .filter(|answer| answer["status"] == "rejected")
        .collect();

    assert!(later.len() <= 40, "{} of 60 were refused", later.len());
    assert!(
        later.iter().all(|a| a["reason"]
            .as_str()
            .is_some_and(|why| why.contains("send it again"))),
        "{later:?}"
    );

    // The limit is one of so many commands a second.
    std::thread::sleep(Duration::from_secs(1));
    let again: Vec<String> = later
        .iter()
        .take(20)
        .map(|answer| command(&answer["id"].to_string()))
        .collect();

    let count = again.len();
    publish_all(port, "resume", &[], at_once, again)();
    assert_eq!(refused(&answers(&resumes, "ack/resume", count)), 0);

    let grown = memory(&line).saturating_sub(before);
    assert!(grown < 60, "{grown} MB more than before");
    let summary = line.summary();
    assert_eq!(summary["parts"], GOOD + 1, "{summary}");
    assert_eq!(summary["undelivered"], 0, "{summary}");
}
