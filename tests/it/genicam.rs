//! A GigE Vision camera through the whole line: aravis' own fake camera on loopback.
//!
//! The line runs without CAP_NET_RAW: with it (as root) aravis listens on a packet socket, which hears nothing on loopback.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::write_line;
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::wait_until;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Port 3956, as `/proc/net/udp` writes it.
const DISCOVERY: &str = ":0F74";
/// Time after which a camera belongs to no program any more, counted from the program's end.
const HEARTBEAT: Duration = Duration::from_secs(4);

fn fake_camera(serial: &str) -> Running {
    let mut command = Command::new("arv-fake-gv-camera-0.8");
    let camera = Running::start(command.args(["-i", "127.0.0.1", "-s", serial]));
    let limit = Duration::from_secs(20);
    wait_until("the fake camera listens", limit, || {
        std::fs::read_to_string("/proc/net/udp").is_ok_and(|sockets| sockets.contains(DISCOVERY))
    });

    camera
}

/// The line of a folder. It is stopped in order, so that the camera belongs to nobody again; one
/// that is killed keeps it until its heartbeat is missed.
fn start(folder: &Path) -> Running {
    Running::start(&mut winspect("run", folder))
}

/// What `winspect check` says.
fn checked(folder: &Path) -> String {
    let output = Running::start(&mut winspect("check", folder)).end();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn winspect(word: &str, folder: &Path) -> Command {
    let user = Command::new("id").arg("-u").output();
    let is_root = user.expect("id is everywhere").stdout == b"0\n";
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]);
        command
    } else {
        Command::new("env") // it has no such capability
    };

    command
        .args([env!("CARGO_BIN_EXE_winspect"), word])
        .arg(folder.join("line.toml"));

    command
}

fn states(lines: &[String]) -> Vec<String> {
    let state = |line: &String| {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON")["state"].clone()
    };

    lines
        .iter()
        .map(|line| state(line).as_str().expect("text").to_owned())
        .collect()
}

/// One test: two fake cameras on one address would fight for the discovery port.
#[test]
fn a_gige_camera_is_judged_idle_or_gone() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let camera = fake_camera("GV07");
    let free = "kind = \"genicam\"\ncamera = \"Aravis-Fake-GV07\"\nfeatures = \"\"";

    for (features, is_told) in [("", false), ("GainAuto=Continuous", true)] {
        let camera = free.replace("features = \"\"", &format!("features = {features:?}"));
        write_line(folder.path(), broker.port, &camera);
        let said = checked(folder.path());
        assert!(said.contains("frames/s"), "{said}");
        assert_eq!(
            said.contains("it sets its gain by itself"),
            is_told,
            "{features}: {said}"
        );

        std::thread::sleep(HEARTBEAT);
    }

    let listener = Listener::start(broker.port, "plant/box/#");
    write_line(folder.path(), broker.port, free);
    let line = start(folder.path());
    listener.wait_for("box/result", 3);
    line.stop();
    drop(listener);

    // aravissrc gives up every 2 s without a frame; nobody may hear of it.
    let listener = Listener::start(broker.port, "plant/box/camera/top/status");
    let waiting = free.replace(
        "features = \"\"",
        "features = \"TriggerSelector=FrameStart TriggerMode=On TriggerSource=Software\"",
    );

    write_line(
        folder.path(),
        broker.port,
        &format!("{waiting}\ntrigger = \"frame\"\nstall_s = 1"),
    );

    let line = start(folder.path());
    // The first is what the line before left.
    assert_eq!(states(&listener.wait_for("status", 2))[1], "idle");
    // Five times the time after which aravissrc gives up: nothing may be told meanwhile.
    std::thread::sleep(Duration::from_secs(10));
    let unplugged = jiff::Timestamp::now();
    drop(camera);
    let gone = listener.wait_for("status", 1);
    assert_eq!(states(&gone), ["offline"]);
    let since = serde_json::from_str::<serde_json::Value>(&gone[0]).expect("JSON")["since"].clone();
    let since: jiff::Timestamp = since
        .as_str()
        .and_then(|since| since.parse().ok())
        .expect("RFC 3339");

    assert!(since >= unplugged, "10 s of nothing were told as something");
    drop(line);
}
