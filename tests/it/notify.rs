//! What systemd hears, through a socket of the test's own.

use crate::harness::golden::imported;
use crate::harness::line::{Systemd, summary, write_line};
use std::time::{Duration, Instant};

#[test]
fn systemd_hears_ready_then_signs_of_life_then_stopping() {
    let (folder, _model) = imported("dinov2-tiny");
    // Neither a frame nor a broker comes: the line stands, and all of its stages are well. Nothing
    // listens on these ports; what is retried is no fault.
    let camera = "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:1/none\"";
    write_line(folder.path(), 1, camera);
    let systemd = Systemd::listen(folder.path());
    let line = systemd.start(folder.path());
    let hear = |words: &str| systemd.hear(words, |line| line.starts_with(words));

    let before = hear("READY=1");
    let loading = before.iter().any(|line| line == "STATUS=loading the model");
    assert!(loading, "{before:?}");
    let status = hear("STATUS=0 judged, 0 waiting for the broker; top offline");
    assert!(!status.iter().any(|line| line == "STOPPING=1"));
    let started = Instant::now();
    for _ in 0..3 {
        hear("WATCHDOG=1");
    }

    // Fed at half its limit, not all the time.
    assert!(started.elapsed() > Duration::from_secs(3));
    line.ask_to_stop();
    let asked = Instant::now();
    hear("STOPPING=1");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    summary(&line.end());
}
