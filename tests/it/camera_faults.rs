//! Cameras that refuse, hang, flood or come and go beside a camera that works: the fault is theirs
//! alone, is told with its cause, and is never final.

use crate::harness::broker::free_port;
use crate::harness::line::FREE_RUNNING;
use crate::harness::program::Running;
use crate::harness::rtsp::{FakeCamera, Manner};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Limit of a fault's own wait, such as a camera's first frame, and some.
const A_WHILE: Duration = Duration::from_secs(30);

/// A station whose camera `top` works, with a second camera `belt`.
fn beside(camera: &str) -> Station {
    Station::configured(FREE_RUNNING, |config, _| config.camera("belt", camera))
}

/// The first reason that the camera `belt` gives.
fn reason(station: &Station) -> String {
    // The broker keeps the last status, which may be older than the listener.
    let heard = station.listen("camera/belt/status");
    let status = heard.until_fits("camera/belt/status", |status| {
        status["last_reason"].is_string()
    });

    status["last_reason"].as_str().expect("text").to_owned()
}

/// The line ends in order and in time, and its working camera was judged to the end.
fn ends_well(station: Station) -> Value {
    let began = Instant::now();
    let summary = station.summary();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert!(
        summary["cameras"]["top"]["judged"].as_u64() > Some(0),
        "{summary}"
    );
    summary
}

/// Resident memory, in MB.
fn memory_mb(station: &Station) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", station.line.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.expect("it has some").trim().trim_end_matches(" kB");
    kb.parse::<u64>().expect("a number") / 1000
}

#[test]
fn a_refusal_is_asked_about_again_and_named() {
    for (code, words) in [
        (461, "refuses this transport"),
        (453, "(453)"),
        (500, "(500)"),
        (503, "(503)"),
    ] {
        let camera = FakeCamera::start(Manner::NoSetup(code));
        let station = beside(&camera.lines());
        let said = reason(&station);
        assert!(said.contains(words), "{code}: {said}");
        camera.set(Manner::Silent("H264"));
        wait_until("another try", A_WHILE, || camera.asked("PLAY") > 0);
        ends_well(station);
    }
}

#[test]
fn causes_are_told_in_words() {
    let unauthorised = FakeCamera::start(Manner::NoDescription(401));
    let credentials = unauthorised.url().replace("://", "://me:secret@");
    let missing = FakeCamera::start(Manner::NoDescription(404));
    let h265 = FakeCamera::start(Manner::Silent("H265"));
    let jpeg = FakeCamera::start(Manner::Silent("JPEG"));
    let rtsp = |location: &str| format!("kind = \"rtsp\"\nlocation = {location:?}");
    let cases = [
        (rtsp(&credentials), "it refuses user and password"),
        (missing.lines(), "it has no such stream"),
        (
            h265.lines(),
            "it sends H265, and codec = \"h264\" is set; set codec = \"h265\"",
        ),
        (jpeg.lines(), "it sends JPEG"),
        (
            rtsp(&format!("rtsp://127.0.0.1:{}/x", free_port())),
            "nothing listens at 127.0.0.1",
        ),
        (
            rtsp("rtsp://no-such-camera.invalid/x"),
            "its host name \"no-such-camera.invalid\" is unknown",
        ),
    ];

    for (camera, words) in cases {
        let station = beside(&camera);
        let said = reason(&station);
        assert!(said.contains(words), "{words:?} is not in {said:?}");
        assert!(!said.contains("secret"), "{said}");
        ends_well(station);
    }
}

#[test]
fn a_camera_that_hangs_up_on_the_first_question_is_played_all_the_same() {
    let camera = FakeCamera::start(Manner::HangupOnStrangers);
    let station = beside(&camera.lines());
    wait_until("the pipeline's own questions", A_WHILE, || {
        camera.asked("PLAY") > 0
    });
    ends_well(station);
}

#[test]
fn a_camera_that_always_hangs_up_is_named_and_asked_again() {
    let camera = FakeCamera::start(Manner::Hangup);
    let station = beside(&camera.lines());
    let said = reason(&station);
    let words = "it ends the connection when it is asked for its stream";
    assert!(said.starts_with(words), "{said}");
    camera.set(Manner::Silent("H264"));
    wait_until("another try", A_WHILE, || camera.asked("PLAY") > 0);
    ends_well(station);
}

#[test]
fn a_flood_is_the_cameras_fault_alone() {
    for manner in [Manner::EndlessHeaders, Manner::HugeBody, Manner::Garbage] {
        let camera = FakeCamera::start(manner);
        let station = beside(&camera.lines());
        let before = memory_mb(&station);
        let said = reason(&station);
        std::thread::sleep(Duration::from_secs(3));
        let after = memory_mb(&station);
        assert!(
            after < before + 200,
            "{manner:?}: {before} MB, then {after} MB; {said}"
        );
        let judged = station.listen("result");
        judged.next("result");
        ends_well(station);
    }
}

#[test]
fn a_stream_that_ends_again_and_again_is_told_a_few_times() {
    let station = Station::configured(FREE_RUNNING, |config, folder| {
        let launch = "videotestsrc is-live=true num-buffers=5 ! video/x-raw,width=64,height=48,framerate=50/1 ! videoconvert";
        let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
        std::fs::write(folder.join("own.toml"), own).expect("written");
        config.camera("belt", "kind = \"own.toml\"")
    });

    let heard = station.listen("camera/belt/status");
    std::thread::sleep(Duration::from_secs(15));
    let mut told = 0;
    while heard.any_within(Duration::from_millis(200)).is_some() {
        told += 1;
    }

    assert!((4..=8).contains(&told), "{told} messages");
    let errors = station.line.errors();
    let lines = errors
        .lines()
        .filter(|line| line.contains("camera belt"))
        .count();
    assert!((4..=9).contains(&lines), "{lines} lines in\n{errors}");
    ends_well(station);
}

#[test]
fn a_pipeline_that_does_not_end_is_left_behind() {
    let station = Station::configured(FREE_RUNNING, |config, folder| {
        // The element sleeps for two minutes with a picture in its hands.
        let launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=50/1 \
                      ! identity sleep-time=120000000 ! videoconvert";

        let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
        std::fs::write(folder.join("own.toml"), own).expect("written");
        config.camera("belt", "kind = \"own.toml\"\nstall_s = 1")
    });

    station.line.wait_for_words("it is left behind");
    ends_well(station);
}

#[test]
fn a_password_from_a_file_reaches_the_camera_and_no_log() {
    let camera = FakeCamera::start(Manner::NoDescription(401));
    let lines = format!(
        "{}\nuser = \"me\"\npassword_file = \"camera.password\"",
        camera.lines()
    );
    let station = Station::configured(FREE_RUNNING, |config, folder| {
        std::fs::write(folder.join("camera.password"), "pa/ss@1\n").expect("written");
        config.camera("belt", &lines)
    });

    // Base64 of `me:pa/ss@1`.
    wait_until("the password", A_WHILE, || {
        camera.was_given("Basic bWU6cGEvc3NAMQ==")
    });
    assert!(reason(&station).contains("it refuses user and password"));
    assert!(!station.line.errors().contains("pa/ss"));
    ends_well(station);
}

#[test]
fn a_late_key_frame_is_waited_for() {
    // A camera that sent its last key frame before the line came, and has the next one 25 s later.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("it is bound").port();
    let sender = format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=64,height=48,framerate=10/1 \
         ! x264enc key-int-max=250 tune=zerolatency bframes=0 ! rtph264pay config-interval=-1 \
         ! udpsink host=127.0.0.1 port={port}"
    );

    // It is killed with the test, whichever way that ends.
    let mut command = std::process::Command::new("gst-launch-1.0");
    let sender = Running::start(command.args(sender.split_whitespace()));

    // The key frame is the first thing that comes, a while after the sender's start.
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket.recv(&mut [0; 2000]).expect("it sends");
    std::thread::sleep(Duration::from_secs(1));
    drop(socket);
    let station = Station::configured(FREE_RUNNING, |config, folder| {
        let launch = format!(
            "udpsrc port={port} caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96 \
             ! rtph264depay ! h264parse ! avdec_h264 name=decoder ! videoconvert"
        );

        let own = format!("live = true\nendless = true\nlaunch = {launch:?}\n");
        std::fs::write(folder.join("own.toml"), own).expect("written");
        config.camera("belt", "kind = \"own.toml\"")
    });

    let heard = station.listen("camera/belt/status");
    let waits = heard.next("camera/belt/status");
    let said = waits["last_reason"].as_str().unwrap_or_default();
    assert!(
        said.contains("a picture comes with its next key frame"),
        "{waits}"
    );
    assert_ne!(waits["state"], "stalled", "{waits}");
    let online = heard.next("camera/belt/status");
    assert_eq!(
        (&online["state"], &online["retries"]),
        (&"online".into(), &0.into()),
        "{online}"
    );
    drop(sender);
    ends_well(station);
}
