//! The control socket of a running line: requests, answers, events, garbage, and its file.

use crate::harness::PATIENCE;
use crate::harness::broker::free_port;
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, TRIGGERED, write_line};
use crate::harness::program::{Running, errors, winspect};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn socket(folder: &Path) -> PathBuf {
    folder.join("box.sock")
}

/// A connection to the control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    #[track_caller]
    fn connect(folder: &Path) -> Self {
        let stream = UnixStream::connect(socket(folder)).expect("a line runs");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        Client(BufReader::new(stream))
    }

    #[track_caller]
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.0.get_mut().write_all(bytes.as_ref());
        written.expect("the line reads");
    }

    /// The next line, or `None` at the end of the connection.
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        self.send(format!("{request}\n"));
        self.next().expect("an answer")
    }

    /// The next line of that kind.
    #[track_caller]
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let mut line = self.next().expect("more lines");
            if line.get(kind).is_some() {
                return line[kind].take();
            }
        }
    }
}

/// A line on a camera that waits for triggers, without a broker.
fn running() -> (tempfile::TempDir, Running) {
    let (folder, _model) = imported("dinov2-tiny");
    write_line(folder.path(), free_port(), TRIGGERED);
    let line = Running::line(folder.path());
    wait_until_online(folder.path());
    (folder, line)
}

#[track_caller]
fn wait_until_online(folder: &Path) {
    let ends = Instant::now() + PATIENCE;
    while !is_online(folder) {
        assert!(Instant::now() < ends, "the line does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_online(folder: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket(folder)) else {
        return false;
    };

    let mut client = Client(BufReader::new(stream));
    client.ask(&json!({"status": true}))["status"]["cameras"]["top"]["state"] == "online"
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = winspect();
    command.arg(arguments[0]).arg(folder.join("line.toml"));
    command.args(&arguments[1..]);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, arguments).output();
    output.expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_trigger_of_the_socket_is_done_once_and_its_result_is_watched() {
    let (folder, line) = running();
    let mode = std::fs::metadata(socket(folder.path())).expect("a socket");
    assert_eq!(mode.permissions().mode() & 0o777, 0o660);
    let mut watcher = Client::connect(folder.path());
    let told = watcher.ask(&json!({"watch": true}));
    assert_eq!(told["status"]["store"]["accepted"], 0, "{told}");

    let mut client = Client::connect(folder.path());
    let payload = json!({"id": "t1", "part_id": "A-77", "count": 42});
    let trigger = json!({"command": "trigger", "payload": payload});
    let answer = client.ask(&trigger)["answer"].take();
    assert_eq!(answer["status"], "accepted", "{answer}");
    assert_eq!(answer["parts"][0]["seq"], 1, "{answer}");
    let result = watcher.until("result");
    assert_eq!(result["part_id"], "A-77", "{result}");
    assert_eq!(result["seq"], 1, "{result}");
    assert_ne!(result["verdict"], "undecided", "{result}");
    // Its repetition is answered again, and is no other part.
    assert_eq!(client.ask(&trigger)["answer"], answer);
    let status = client.ask(&json!({"status": true}));
    assert_eq!(status["status"]["store"]["accepted"], 1, "{status}");

    // Every command works, and its outcome is told.
    let refused = client.ask(&json!({"command": "pause"}));
    assert_eq!(refused["answer"]["status"], "rejected", "{refused}");
    let payload = json!({"id": "c", "parts": 1, "expect": "pass"});
    let begun = client.ask(&json!({"command": "challenge", "payload": payload}));
    assert_eq!(begun["answer"]["status"], "accepted", "{begun}");
    client.ask(&json!({"command": "trigger", "payload": {"id": "t2"}}));
    let outcome = watcher.until("outcome");
    assert_eq!(outcome["name"], "challenge", "{outcome}");
    assert_eq!(outcome["id"], "c", "{outcome}");

    let stopping = std::thread::spawn(move || line.summary());
    assert_eq!(watcher.until("ended"), "the line has stopped");
    assert_eq!(watcher.next(), None);
    let summary = stopping.join().expect("no panic");
    assert_eq!(summary["results"], 2, "{summary}");
    assert_eq!(summary["undelivered"], 2, "no broker was there: {summary}");
    assert!(!socket(folder.path()).exists());
}

#[test]
fn garbage_on_the_socket_is_answered_and_harms_nothing() {
    let (folder, line) = running();
    let connect = || Client::connect(folder.path());
    let mut client = connect();
    for (garbage, words) in [
        ("no JSON\n".as_bytes(), "no request"),
        (b"\n", "no request"),
        (b"\x00\xff\xfe\x80\n", "no request"),
        (b"{\"status\":true,\"watch\":true}\n", "give one of"),
        (b"{\"command\":7}\n", "no request"),
    ] {
        client.send(garbage);
        let error = client.next().expect("an answer");
        let told = error["error"].as_str().unwrap_or_default();
        assert!(told.contains(words), "{words:?} is not in {error}");
    }

    let unknown = client.ask(&json!({"command": "erase"}));
    let reason = unknown["answer"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no command \"erase\""), "{unknown}");
    // Two requests in one packet, one in two.
    client.send("{\"status\":true}\n{\"status\":");
    client.send("true}\n");
    for _ in 0..2 {
        client.until("status");
    }

    // The longest line is read, a longer one is not.
    client.send(format!("{:<4096}\n", "{\"status\":true}"));
    client.until("status");
    client.send(format!("{:<4097}\n", "{\"status\":true}"));
    let told = client.until("error");
    assert!(
        told.as_str().expect("words").contains("4096 bytes"),
        "{told}"
    );

    assert_eq!(client.next(), None);
    let mut endless = connect();
    endless.send(vec![b'x'; 10_000]);
    endless.until("error");
    assert_eq!(endless.next(), None);
    // Half a line, then no more.
    let mut half = connect();
    half.send("{\"status\"");
    let closed = half.0.get_ref().shutdown(std::net::Shutdown::Write);
    closed.expect("connected");
    assert_eq!(half.next(), None);

    let mut crowd: Vec<Client> = (0..100).map(|_| connect()).collect();
    let last = crowd.last_mut().expect("100").until("error");
    let words = last.as_str().expect("words");
    assert!(words.contains("16 connections are open"), "{words}");
    crowd[0].ask(&json!({"status": true}));
    drop(crowd);
    wait_until_online(folder.path());
    let trigger = json!({"command": "trigger", "payload": {"id": "t"}});
    assert_eq!(connect().ask(&trigger)["answer"]["status"], "accepted");
    assert_eq!(line.summary()["balanced"], true);
}

#[test]
fn a_client_that_does_not_read_misses_events_and_is_told_how_many() {
    let (folder, line) = running();
    let mut watcher = Client::connect(folder.path());
    watcher.ask(&json!({"watch": true}));
    let mut client = Client::connect(folder.path());
    // More bytes than the buffers of the connection take, eight commands at once.
    let part_id = "\u{1d11e}".repeat(128);
    for batch in 0..80 {
        for number in 0..8 {
            let payload = json!({"id": format!("{batch}/{number}"), "part_id": part_id});
            let trigger = json!({"command": "trigger", "payload": payload});
            client.send(format!("{trigger}\n"));
        }

        for _ in 0..8 {
            let answer = client.until("answer");
            assert_eq!(answer["status"], "accepted", "{answer}");
        }
    }

    let missed = watcher.until("missed");
    assert!(missed.as_u64().expect("a number") > 0, "{missed}");
    assert_eq!(line.summary()["balanced"], true);
}

#[test]
fn a_socket_that_a_killed_line_left_is_replaced_and_a_served_one_is_not() {
    let (folder, line) = running();
    drop(line); // kill -9
    assert!(socket(folder.path()).exists());
    let output = run(folder.path(), &["status"]);
    assert_eq!(output.status.code(), Some(69));
    let told = errors(&output);
    for words in ["no line runs with this file", "box.sock", "winspect run"] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }

    let line = Running::line(folder.path());
    wait_until_online(folder.path());

    // Another line with a store of its own whose socket would be the same.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    let config = LineConfig::new(free_port(), TRIGGERED).head("model = \"../dinov2-tiny\"");
    config.tables("[store]\nfile = \"../box\"").write(&other);

    let second = Running::line(&other);
    second.wait_for_words("another process serves it");
    let output = second.stop();
    assert!(output.status.success(), "{}", errors(&output));
    assert!(is_online(folder.path()));
    line.summary();
}

#[test]
fn a_line_whose_socket_cannot_be_made_runs_and_says_so() {
    let (folder, _model) = imported("dinov2-tiny");
    write_line(folder.path(), free_port(), TRIGGERED);
    std::fs::write(socket(folder.path()), "words").expect("written");
    let line = Running::line(folder.path());
    line.wait_for_words("it is there and no socket");
    let output = line.stop();
    assert!(output.status.success(), "{}", errors(&output));
    let kept = std::fs::read_to_string(socket(folder.path()));
    assert_eq!(kept.expect("still there"), "words");
}

#[test]
fn status_and_trigger_say_what_they_found() {
    let (folder, line) = running();
    let status = run(folder.path(), &["status"]);
    let told = text(&status.stdout);
    assert!(status.status.success(), "{}", errors(&status));
    for words in ["plant/box", "NORMAL", "nut@", "top online", "0 parts"] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }

    let status = run(folder.path(), &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["state"], "Ready", "{status}");

    let arguments = ["trigger", "--part-id", "A-7", "--count", "-3", "--id", "t"];
    let first = run(folder.path(), &arguments);
    assert!(first.status.success(), "{}", errors(&first));
    let answer: Value = serde_json::from_slice(&first.stdout).expect("JSON");
    assert_eq!(answer["status"], "accepted", "{answer}");
    assert_eq!(run(folder.path(), &arguments).stdout, first.stdout);
    let refused = run(folder.path(), &["trigger", "--camera", "side"]);
    assert_eq!(refused.status.code(), Some(65));
    let told = errors(&refused);
    assert!(told.contains("there are top"), "{told}");
    let summary = line.summary();
    assert_eq!(summary["parts"], 1, "{summary}");
    let output = run(folder.path(), &["trigger"]);
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn watch_shows_a_row_a_part_and_ends_in_order() {
    let (folder, line) = running();
    let watch = |arguments: &[&str]| Running::start(&mut command(folder.path(), arguments));
    let until_signal = watch(&["watch"]);
    let until_end = watch(&["watch", "--json"]);
    let mut two = command(folder.path(), &["watch", "--json", "--count", "2"]);
    let two = std::thread::spawn(move || two.output().expect("the binary was built"));
    // Until all three watch.
    let ends = Instant::now() + PATIENCE;
    while !two.is_finished() {
        assert!(Instant::now() < ends, "two results do not come");
        let output = run(folder.path(), &["trigger", "--part-id", "A-77"]);
        assert!(output.status.success(), "{}", errors(&output));
    }

    let output = two.join().expect("no panic");
    assert!(output.status.success(), "{}", errors(&output));
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        let result: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(result["part_id"], "A-77", "{result}");
    }

    until_signal.signal(libc::SIGINT);
    let output = until_signal.end();
    assert!(output.status.success(), "{}", errors(&output));
    let rows = text(&output.stdout);
    assert!(rows.starts_with("time "), "{rows}");
    let row = rows.lines().nth(1).expect("a row");
    assert!(row.contains("A-77") && row.contains(" of "), "{row}");
    line.summary();
    let output = until_end.end();
    let told = errors(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("the line has stopped"), "{told}");
}
