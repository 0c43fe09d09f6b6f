//! A GigE Vision camera through the whole line: aravis' own fake camera on loopback.
//!
//! The line runs without CAP_NET_RAW: with it (as root) aravis listens on a packet socket, which hears nothing on loopback.

use crate::broker::{Broker, Listener, free_port};
use crate::line::write_line;
use crate::support::imported;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fake_camera(serial: &str) -> Killed {
    let mut command = Command::new("arv-fake-gv-camera-0.8");
    command
        .args(["-i", "127.0.0.1", "-s", serial])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let camera = Killed(
        command
            .spawn()
            .expect("aravis-tools is installed by tools/setup"),
    );
    let listens = || {
        std::fs::read_to_string("/proc/net/udp").is_ok_and(|sockets| sockets.contains(DISCOVERY))
    };
    let started = Instant::now();
    while !listens() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the fake camera does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    camera
}

/// Port 3956, as `/proc/net/udp` writes it.
const DISCOVERY: &str = ":0F74";

/// Ends in order, so that the camera belongs to nobody again; one that is killed keeps it until its heartbeat is missed.
fn end(mut line: Killed) {
    let asked = Command::new("kill")
        .args(["-TERM", &line.0.id().to_string()])
        .status();
    assert!(asked.expect("kill is everywhere").success());
    line.0.wait().expect("ends");
}

fn start(folder: &Path) -> Killed {
    Killed(
        winspect("run", folder)
            .spawn()
            .expect("util-linux is everywhere"),
    )
}

/// What `winspect check` says.
fn checked(folder: &Path) -> String {
    let output = winspect("check", folder)
        .stdout(Stdio::piped())
        .output()
        .expect("util-linux is everywhere");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn winspect(word: &str, folder: &Path) -> Command {
    let winspect = env!("CARGO_BIN_EXE_winspect");
    let user = Command::new("id")
        .arg("-u")
        .output()
        .expect("id is everywhere");
    let mut command = match user.stdout.as_slice() {
        b"0\n" => Command::new("setpriv"),
        _ => Command::new("env"), // it has no such capability
    };
    if command.get_program() == "setpriv" {
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]);
    }
    command
        .args([winspect, word])
        .arg(folder.join("line.toml"))
        .stdout(Stdio::null());
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
fn a_gige_camera_is_judged_is_idle_while_nothing_triggers_it_and_is_told_when_it_is_gone() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
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
        std::thread::sleep(Duration::from_secs(4)); // the camera's heartbeat, as below
    }

    let listener = Listener::start(broker.port, "plant/box/#");
    write_line(folder.path(), broker.port, free);
    let line = start(folder.path());
    listener.wait_for("box/result", 3);
    end(line);
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
