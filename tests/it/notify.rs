//! What systemd hears, through a socket of the test's own.

use crate::line::{ask_to_stop, command, summary, write_line};
use crate::support::imported;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits for a message with a line that begins with `words`; gives all that was said until then.
#[track_caller]
fn hear(socket: &UnixDatagram, words: &str) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut said: Vec<String> = vec![];
    while !said.iter().any(|line| line.starts_with(words)) {
        assert!(Instant::now() < until, "{words:?} is not in {said:?}");
        let mut message = [0; 4096];
        if let Ok(length) = socket.recv(&mut message) {
            said.extend(
                String::from_utf8_lossy(&message[..length])
                    .lines()
                    .map(str::to_owned),
            );
        }
    }
    said
}

/// Neither a frame nor a broker comes: the line stands, and all of its stages are well.
fn standing_line(folder: &Path) {
    // Nobody listens on this port; what is retried is no fault.
    write_line(
        folder,
        1,
        "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:1/none\"",
    );
}

#[test]
fn systemd_hears_ready_then_signs_of_life_while_the_line_stands_then_stopping() {
    let (folder, _model) = imported("dinov2-tiny");
    standing_line(folder.path());
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket in a fresh folder");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("not zero");
    let mut command = command(folder.path());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "4000000")
        .env_remove("WATCHDOG_PID");
    let line = command.spawn().expect("the binary was built");

    let before = hear(&socket, "READY=1");
    assert!(
        before.iter().any(|line| line == "STATUS=loading the model"),
        "{before:?}"
    );
    let status = hear(
        &socket,
        "STATUS=0 judged, 0 waiting for the broker; top offline",
    );
    assert!(!status.iter().any(|line| line == "STOPPING=1"));
    let started = Instant::now();
    (0..3).for_each(|_| drop(hear(&socket, "WATCHDOG=1")));
    assert!(
        started.elapsed() > Duration::from_secs(3),
        "fed at half its limit, not all the time"
    );
    ask_to_stop(&line);
    let asked = Instant::now();
    hear(&socket, "STOPPING=1");
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    summary(&line.wait_with_output().expect("ends"));
}
