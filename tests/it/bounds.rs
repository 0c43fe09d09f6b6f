//! Bounds and first hours: what is too large, of the wrong letters or in the wrong place is refused
//! in words, and costs neither memory nor a connection.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::{golden, imported};
use crate::harness::line::{
    FREE_RUNNING, LineConfig, TRIGGERED, all_arrived, assert_refused, command,
};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors};
use crate::harness::station::Station;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Resident memory of a line, in MB.
fn memory_mb(line: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", line.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.expect("it has some").trim().trim_end_matches(" kB");
    kb.parse::<u64>().expect("a number") / 1000
}

#[test]
fn properties_of_refused_commands_take_no_memory() {
    let station = Station::start(TRIGGERED);
    let answers = station.listen("ack/pause");
    let before = memory_mb(&station.line);
    let data = "d".repeat(60_000);
    let mut sender = Command::new("mosquitto_pub")
        .args([
            "-V",
            "5",
            "-q",
            "1",
            "-l",
            "-p",
            &station.broker.port.to_string(),
        ])
        .args([
            "-t",
            "plant/box/cmd/pause",
            "-D",
            "publish",
            "correlation-data",
            &data,
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto-clients is installed");

    let mut input = sender.stdin.take().expect("piped");
    for number in 0..4000 {
        writeln!(input, "{{\"id\":{number},\"speed\":1}}").expect("it reads");
    }

    drop(input);
    assert!(sender.wait().expect("it ends").success());
    let mut most = 0;
    let first = answers.next("ack/pause");
    for _ in 0..20 {
        most = most.max(memory_mb(&station.line));
        std::thread::sleep(Duration::from_millis(100));
    }

    assert!(most < before + 80, "{before} MB, then {most} MB");
    let reason = first["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("at most 512 of each are kept"), "{first}");
    assert_eq!(first["id"], "0", "{first}");
    station.summary();
}

#[test]
fn a_files_name_with_a_tab_does_not_cut_the_connection() {
    let (folder, _model) = imported("dinov2-tiny");
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).expect("made");
    let picture = golden("open-clip-tiny").join("bad.png");
    for name in ["a\tb.png", "a\u{ffff}b.png", "c.png"] {
        std::fs::copy(&picture, pictures.join(name)).expect("copied");
    }

    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    let heatmaps = Listener::with(
        broker.port,
        "plant/box/heatmap/top",
        &["-F", "%t %l", "-V", "5"],
    );
    // Again and again: a line that ends does not wait for heat maps to arrive.
    let camera = "kind = \"folder\"\nlocation = \"pictures\"\nfps = 1\nloop = true";
    LineConfig::new(broker.port, camera).write(folder.path());
    let line = Running::line(folder.path());
    results.wait_for("result", 3);
    heatmaps.wait_for("heatmap/top", 3);
    line.signal(libc::SIGTERM);
    let output = line.end();
    let said = errors(&output);
    assert!(
        !said.contains("away") && !said.contains("back after"),
        "{said}"
    );
}

#[test]
fn a_local_broker_that_comes_back_is_found_within_a_second() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::start(port);
    LineConfig::new(port, FREE_RUNNING).write(folder.path());
    let line = Running::line(folder.path());
    line.wait_for_words("connected");
    drop(broker);
    line.wait_for_words("nothing listens there");
    // Long enough that a wait which doubles without bound is beyond two seconds.
    std::thread::sleep(Duration::from_secs(7));
    let _broker = Broker::start(port);
    let since = Instant::now();
    line.wait_for_words("back after");
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    line.summary();
}

#[test]
fn numbers_are_taken_for_ids_and_times() {
    let station = Station::start(TRIGGERED);
    let results = station.listen("result");
    let now = jiff::Timestamp::now().as_millisecond();
    let answer = station.plc.tell(
        "trigger",
        &format!("{{\"id\":77,\"part_id\":4711,\"at\":{now}}}"),
    );
    assert_eq!(
        (&answer["status"], &answer["id"]),
        (&"accepted".into(), &"77".into()),
        "{answer}"
    );
    assert_eq!(results.next("result")["part_id"], "4711");
    let refused = station.plc.tell("trigger", "{\"id\":78,\"part_id\":\"x}");
    assert_eq!(
        (&refused["status"], &refused["id"]),
        (&"rejected".into(), &"78".into()),
        "{refused}"
    );
    station.summary();
}

#[test]
fn a_broker_that_does_not_suit_is_told_with_the_cause() {
    // A broker of MQTT 3.1.1: "unacceptable protocol version", in its own form.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&[0x20, 2, 0, 1]);
        }
    });

    let (folder, _model) = imported("dinov2-tiny");
    LineConfig::new(port, FREE_RUNNING).write(folder.path());
    let line = Running::line(folder.path());
    line.wait_for_words("a broker of 3.1.1 alone cannot serve it");
    line.stop();

    let port = free_port();
    let passwords = folder.path().join("passwords");
    std::fs::write(&passwords, "").expect("written");
    let settings = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n",
        passwords.display()
    );

    let _broker = Broker::by_file(folder.path(), port, &settings);
    std::fs::write(folder.path().join("mqtt.password"), "secret\n").expect("written");
    LineConfig::new(port, FREE_RUNNING)
        .mqtt("user = \"box\"\npassword_file = \"mqtt.password\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    line.wait_for_words("correct mqtt.user and password_file");
    assert!(!line.errors().contains("secret"));
    line.stop();
}

#[test]
fn a_configuration_in_the_wrong_letters_or_places_is_refused_in_words() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let whole = LineConfig::new(port, FREE_RUNNING).text();
    let write = |bytes: &[u8]| {
        std::fs::write(folder.path().join("line.toml"), bytes).expect("written");
    };

    let mut latin = whole.replace("\"box\"", "\"b?x\"").into_bytes();
    let place = latin
        .iter()
        .position(|byte| *byte == b'?')
        .expect("just put there");
    latin[place] = 0xf6;
    write(&latin);
    assert_refused(
        folder.path(),
        78,
        &["line.toml: line ", " is not UTF-8; save the file as UTF-8"],
    );

    write(whole.replace("\"box\"", "\"b\\uFFFFx\"").as_bytes());
    assert_refused(folder.path(), 78, &["station: must be part of a topic"]);

    // A forgotten quote, and a table for a list of them: the password stands in both places.
    let camera = "kind = \"rtsp\"\nlocation = \"rtsp://me:s3cret@10.0.0.7/x";
    for (text, words) in [
        (LineConfig::new(port, camera).text(), "line.toml: line "),
        (
            LineConfig::new(port, &format!("{camera}\""))
                .text()
                .replace("[[camera]]", "[camera]"),
            "camera: must be [[camera]] tables, got a table",
        ),
        (
            LineConfig::new(port, &camera.replace("s3cret", "s3c/ret"))
                .text()
                .replace("ret@10.0.0.7/x", "ret@10.0.0.7/x\""),
            "camera[0].location: the password ends the address too early; write / as %2F",
        ),
    ] {
        write(text.as_bytes());
        let output = Running::line(folder.path()).end();
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{words:?} is not in {said}");
        assert!(!said.contains("s3c"), "{said}");
    }

    write(whole.as_bytes());
    let mut other = command(folder.path());
    other.env("WINSPECT_MQTT_PORT", "1999");
    let output = Running::start(&mut other).end();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("WINSPECT_MQTT_PORT: the environment's names have two underscores between levels: WINSPECT__MQTT__PORT"), "{said}");
}

#[test]
fn a_camera_asks_for_both_user_and_password() {
    let (folder, _model) = imported("dinov2-tiny");
    let camera = "kind = \"rtsp\"\nlocation = \"rtsp://10.0.0.7/x\"\nuser = \"me\"";
    LineConfig::new(free_port(), camera).write(folder.path());
    assert_refused(
        folder.path(),
        78,
        &["camera[0].user: user and password_file come together"],
    );
    let camera = "kind = \"test\"\nuser = \"me\"\npassword_file = \"line.toml\"";
    LineConfig::new(free_port(), camera).write(folder.path());
    assert_refused(
        folder.path(),
        78,
        &["camera[0].user: is for kind = \"rtsp\""],
    );
}

#[test]
fn a_store_that_is_removed_while_it_runs_is_written_again() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    LineConfig::new(broker.port, FREE_RUNNING)
        .tables("[store]\nfile = \"kept/box.db\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    results.wait_for("result", 5);
    let kept = folder.path().join("kept");
    std::fs::remove_dir_all(&kept).expect("removed");
    line.wait_for_words("was removed or replaced while winspect ran");
    results.wait_for("result", 5);
    let parts = all_arrived(&line.summary());
    let store = rusqlite::Connection::open(kept.join("box.db")).expect("there again");
    let rows: i64 = store
        .query_row("SELECT count(*) FROM part WHERE state = 3", [], |row| {
            row.get(0)
        })
        .expect("a number");

    assert_eq!(rows as u64, parts, "the whole history");
}

#[test]
fn weights_that_changed_on_the_disk_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    let weights = folder.path().join("dinov2-tiny/vision.weights");
    let mut bytes = std::fs::read(&weights).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    LineConfig::new(free_port(), FREE_RUNNING).write(folder.path());
    let words = [
        "vision.weights: its content is not what was written",
        "import the model again",
    ];
    assert_refused(folder.path(), 78, &words);
}
