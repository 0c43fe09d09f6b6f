//! The way between the line and its broker when it is bad: far away, or cut for good.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, start, summary, write_line};
use crate::support::imported;
use serde_json::Value;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Every packet to `port` takes this long, in each direction.
fn far_away(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let way = listener.local_addr().expect("bound").port();
    let carry = move |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let mut packet = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut packet) {
                std::thread::sleep(delay);
                if to.write_all(&packet[..count]).is_err() {
                    return;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both); // it may be gone
        });
    };
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                return;
            };
            let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
            carry(clone(&near), clone(&far));
            carry(far, near);
        }
    });
    way
}

#[test]
fn a_broker_that_is_far_away_is_reached() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/result");
    let way = far_away(broker.port, Duration::from_millis(400));
    write_line(
        folder.path(),
        way,
        "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241",
    );
    let line = start(folder.path());
    listener.wait_for("result", 5);
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
}

#[test]
fn a_line_without_its_broker_stops_in_time_and_in_order() {
    let (folder, _model) = imported("dinov2-tiny");
    write_line(
        folder.path(),
        free_port(),
        "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241",
    );
    let line = start(folder.path());
    // By now it waits almost as long as it ever does before it tries again.
    std::thread::sleep(Duration::from_secs(14));
    ask_to_stop(&line);
    let asked = Instant::now();
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(summary["undelivered"], summary["results"]);
}

#[test]
fn two_lines_of_one_name_do_not_throw_each_other_out_at_every_moment() {
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/birth");
    let models = [imported("dinov2-tiny"), imported("dinov2-tiny")];
    let lines = models.each_ref().map(|(folder, _model)| {
        write_line(
            folder.path(),
            broker.port,
            "kind = \"test\"\nfps = 5\nwidth = 322\nheight = 241",
        );
        start(folder.path())
    });
    listener.wait_for("birth", 2);
    let both = Instant::now();
    listener.wait_for("birth", 10);
    assert!(
        both.elapsed() > Duration::from_secs(4),
        "{:?}",
        both.elapsed()
    );
    lines.iter().for_each(ask_to_stop);
    for line in lines {
        summary(&line.wait_with_output().expect("ends"));
    }
}

/// A broker with `settings` in its file.
fn broker_with(folder: &Path, port: u16, settings: &str) -> Broker {
    let file = folder.join("mosquitto.conf");
    std::fs::write(
        &file,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\n{settings}"),
    )
    .expect("written");
    Broker::with(port, &["-c", &file.display().to_string()])
}

#[test]
fn a_broker_that_takes_no_qos_1_is_told_and_nothing_is_lost_until_it_does() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = broker_with(folder.path(), port, "max_qos 0\n");
    write_line(
        folder.path(),
        port,
        "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120",
    );
    let line = start(folder.path());
    std::thread::sleep(Duration::from_secs(4));
    drop(broker);
    let broker = broker_with(folder.path(), port, "");
    let listener = Listener::start(port, "plant/box/#");
    listener.wait_for("box/result", 5);
    ask_to_stop(&line);
    let output = line.wait_with_output().expect("ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = errors.matches("it takes no messages at QoS 1").count();
    assert_eq!(told, 1, "{errors}");
    let summary = summary(&output);
    assert_eq!(
        (&summary["given_up"], &summary["undelivered"]),
        (&0.into(), &0.into()),
        "{summary}"
    );
    assert_eq!(summary["acknowledged"], summary["results"], "{summary}");
    drop(broker);
}

/// Another machine on the same network, as far as the system can pretend.
struct Elsewhere {
    name: String,
}

impl Elsewhere {
    const HERE: &str = "10.203.77.1";

    /// Nothing where making one is not allowed.
    fn make() -> Option<Self> {
        let name = format!("wi{}", std::process::id());
        let elsewhere = Elsewhere { name: name.clone() };
        let inside = format!("netns exec {name}");
        let made = [
            format!("netns add {name}"),
            format!("link add {name}a type veth peer name {name}b netns {name}"),
            format!("addr add {}/30 dev {name}a", Self::HERE),
            format!("link set {name}a up"),
            format!("{inside} ip addr add 10.203.77.2/30 dev {name}b"),
            format!("{inside} ip link set {name}b up"),
            format!("{inside} ip link set lo up"),
        ];
        made.iter().all(|words| ip(words)).then_some(elsewhere)
    }

    fn start(&self, folder: &Path) -> Child {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.name,
            env!("CARGO_BIN_EXE_winspect"),
            "run",
        ]);
        command
            .arg(folder.join("line.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("iproute2 was there")
    }

    fn cable(&self, state: &str) {
        assert!(ip(&format!("link set {}a {state}", self.name)));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> bool {
    Command::new("ip")
        .args(words.split(' '))
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_cable_that_is_pulled_loses_nothing_and_keeps_the_order() {
    let Some(elsewhere) = Elsewhere::make() else {
        eprintln!("skipped: no network namespace can be made here (needs root and iproute2)");
        return;
    };
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let conf = folder.path().join("mosquitto.conf");
    let here = Elsewhere::HERE;
    let listeners =
        format!("listener {port} {here}\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
    std::fs::write(&conf, listeners + "max_queued_messages 0\n").expect("written");
    let _broker = Broker::with(port, &["-c", &conf.display().to_string()]);
    let listener = Listener::with(port, "plant/box/result", &["-t", "plant/box/result/late"]);
    write_line(
        folder.path(),
        port,
        "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120",
    );
    let file = folder.path().join("line.toml");
    let text = std::fs::read_to_string(&file)
        .expect("just written")
        .replace("reject_window_ms = 60000", "reject_window_ms = 1000");
    std::fs::write(
        &file,
        format!("{text}host = \"{here}\"\nallow_insecure = true\n"),
    )
    .expect("written");
    let line = elsewhere.start(folder.path());
    listener.wait_for("box/result", 5);
    // A short one, which TCP survives, and one that the line notices.
    for (cut, whole) in [(2, 4), (14, 8)] {
        elsewhere.cable("down");
        std::thread::sleep(Duration::from_secs(cut));
        elsewhere.cable("up");
        std::thread::sleep(Duration::from_secs(whole));
    }
    ask_to_stop(&line);
    let output = line.wait_with_output().expect("ends");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("back after"),
        "{output:?}"
    );
    let parts = summary(&output)["parts"].as_u64().expect("a number");
    let (mut seen, mut newest) = (HashSet::new(), [0, 0]);
    let first_five = 5;
    while seen.len() as u64 + first_five < parts {
        let result: Value = serde_json::from_str(&listener.wait_for("", 1)[0]).expect("JSON");
        let seq = result["seq"].as_u64().expect("a number");
        let newest = &mut newest[usize::from(result["historical"] == true)];
        if seen.insert(seq) {
            assert!(seq > *newest, "{seq} after {newest}");
            *newest = seq;
        }
    }
    assert!(newest[1] > 0, "some were late");
}
