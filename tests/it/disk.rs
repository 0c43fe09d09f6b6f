//! Disks that fail under a line: a real one in memory, in a mount namespace of the line's own.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, summary, write_line};
use crate::running::Running;
use crate::support::imported;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A line whose store is on a disk of its own, which is left as `prepare` leaves it. Nothing where that is not allowed.
fn start(folder: &Path, prepare: &str) -> Option<Child> {
    std::fs::create_dir_all(folder.join("disk")).expect("made");
    let namespace = |words: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size=4m none disk && {words}");
        command.current_dir(folder).args([
            "--mount",
            "sh",
            "-c",
            &script,
            env!("CARGO_BIN_EXE_winspect"),
        ]);
        command
    };
    let allowed = namespace("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("skipped: nothing can be mounted here (needs root)");
        return None;
    }
    let mut command = namespace(&format!("{prepare} && exec \"$0\" run line.toml"));
    Some(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("util-linux was there"),
    )
}

/// In the line's namespace.
fn on_the_disk_of(line: &Child, folder: &Path, words: &str) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &line.id().to_string(), "sh", "-c"]);
    let done = command
        .arg(format!("cd {:?} && {words}", folder.display().to_string()))
        .status();
    assert!(done.expect("util-linux is there").success(), "{words}");
}

#[track_caller]
fn until(listener: &Listener, topic: &str, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message: Value = serde_json::from_str(&listener.wait_for(topic, 1)[0]).expect("JSON");
        if fits(&message) {
            return message;
        }
    }
}

#[test]
fn a_disk_that_is_read_only_or_full_at_the_start_is_told_and_used_once_it_can_be() {
    let read_only = (
        "mount -o remount,ro disk",
        "mount -o remount,rw disk",
        "Read-only file system",
    );
    let full = (
        "dd if=/dev/zero of=disk/other bs=64k 2> dd || true",
        "rm disk/other",
        "full",
    );
    for (prepare, mend, reason) in [read_only, full] {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::start(free_port());
        let listener = Listener::start(broker.port, "plant/box/#");
        write_line(
            folder.path(),
            broker.port,
            "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120",
        );
        let file = folder.path().join("line.toml");
        let text = std::fs::read_to_string(&file).expect("written");
        std::fs::write(&file, text + "[store]\nfile = \"disk/box.db\"\n").expect("written");
        let Some(line) = start(folder.path(), prepare) else {
            return;
        };

        let told = |state: &Value, words: &str| state["causes"].to_string().contains(words);
        let state = until(&listener, "box/state", |state| {
            told(state, "results are not on the disk")
        });
        assert!(told(&state, reason), "{state}");
        let judged = until(&listener, "box/result", |_| true);
        assert_ne!(judged["verdict"], "undecided", "{judged}");
        on_the_disk_of(&line, folder.path(), mend);
        until(&listener, "box/state", |state| {
            !told(state, "results are not on the disk")
        });
        until(&listener, "box/result", |result| {
            result["seq"].as_u64() > judged["seq"].as_u64()
        });
        on_the_disk_of(&line, folder.path(), "test -s disk/box.db");
        ask_to_stop(&line);
        let summary = summary(&line.wait_with_output().expect("ends"));
        assert_eq!(
            (&summary["balanced"], &summary["given_up"]),
            (&json!(true), &json!(0)),
            "{summary}"
        );
        assert_eq!(summary["results"], summary["acknowledged"], "{summary}");
    }
}

#[test]
fn a_disk_that_fills_up_under_a_line_is_told_and_nothing_is_lost() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let results = Listener::with(
        broker.port,
        "plant/box/result",
        &["-t", "plant/box/result/late"],
    );
    let states = Listener::start(broker.port, "plant/box/state");
    write_line(
        folder.path(),
        broker.port,
        "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120",
    );
    let file = folder.path().join("line.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::write(&file, text + "[store]\nfile = \"disk/box.db\"\n").expect("written");
    let Some(line) = start(folder.path(), "true").map(Running::of) else {
        return;
    };

    let is_told = |state: &Value| {
        state["causes"]
            .to_string()
            .contains("results are not on the disk")
    };
    let mut seqs: Vec<u64> = vec![];
    let mut hear_until = |fits: &dyn Fn(u64) -> bool| {
        while !seqs.last().is_some_and(|seq| fits(*seq)) {
            seqs.push(
                until(&results, "", |_| true)["seq"]
                    .as_u64()
                    .expect("a number"),
            );
        }
        seqs.clone()
    };
    let before = hear_until(&|seq| seq >= 5).len() as u64;
    on_the_disk_of(
        line.child(),
        folder.path(),
        "dd if=/dev/zero of=disk/other bs=64k 2> dd || true",
    );
    let state = until(&states, "box/state", is_told);
    assert_eq!(
        (
            &state["health"],
            state["causes"].to_string().contains("full")
        ),
        (&json!("OFF_SPEC"), true),
        "{state}"
    );
    hear_until(&|seq| seq >= before + 40);
    on_the_disk_of(line.child(), folder.path(), "rm disk/other");
    until(&states, "box/state", |state| {
        !is_told(state) && state["health"] == "NORMAL"
    });
    let summary = line.summary();
    assert_eq!(
        (&summary["balanced"], &summary["given_up"]),
        (&json!(true), &json!(0)),
        "{summary}"
    );
    assert_eq!(summary["results"], summary["acknowledged"], "{summary}");
    let parts = summary["parts"].as_u64().expect("a number");
    assert!(
        hear_until(&|seq| seq == parts).into_iter().eq(1..=parts),
        "{summary}"
    );
}
