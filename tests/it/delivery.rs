//! Every result arrives, in order and once: at a broker that goes, stands still, forgets the line
//! or acknowledges nothing, and from a store that cannot be written for a while.

use crate::harness::broker::{Broker, free_port};
use crate::harness::disk::{let_it_write, limitable};
use crate::harness::golden::imported;
use crate::harness::json;
use crate::harness::line::{FREE_RUNNING, LineConfig, Systemd, all_arrived, summary, write_line};
use crate::harness::network::Between;
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// Results as they came: one that comes again is the same, and the first of each are in order.
#[derive(Default)]
struct Heard {
    seqs: BTreeSet<u64>,
}

impl Heard {
    /// Hears until a result of a picture that was taken after `at`.
    #[track_caller]
    fn until_one_after(&mut self, at: Timestamp, listener: &Listener) {
        while time(&self.hear(listener)["captured_at"]) <= at {}
    }

    #[track_caller]
    fn until_seq(&mut self, seq: u64, listener: &Listener) {
        while self.seqs.last() < Some(&seq) {
            self.hear(listener);
        }
    }

    /// Asserts that these came, and no other.
    #[track_caller]
    fn are_all(&mut self, parts: u64, listener: &Listener) {
        self.until_seq(parts, listener);
        assert!(self.seqs.iter().copied().eq(1..=parts), "{:?}", self.seqs);
    }

    #[track_caller]
    fn hear(&mut self, listener: &Listener) -> Value {
        let result = listener.next("");
        assert_eq!(result["historical"], false, "{result}");
        assert_eq!(result["given_up_before"], 0, "{result}");
        let seq = result["seq"].as_u64().expect("a number");
        let last = self.seqs.last();
        let is_in_order = last < Some(&seq) || self.seqs.contains(&seq);
        assert!(is_in_order, "{seq} after {last:?}");
        self.seqs.insert(seq);
        result
    }
}

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|at| at.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no time"))
}

#[test]
fn results_wait_for_a_broker_that_comes_back() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/result");
    write_line(
        folder.path(),
        port,
        "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241",
    );

    let systemd = Systemd::listen(folder.path());
    let line = systemd.start(folder.path());
    let before = listener.wait_for("result", 5).len() as u64;
    drop(listener);
    drop(broker);
    systemd.wait_for_backlog(20);
    let _broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/result");
    let after = listener.wait_for("result", 5);
    let summary = line.summary();
    let results = all_arrived(&summary);
    assert!(results > before + 20, "{summary}");
    let seqs: Vec<_> = after
        .iter()
        .map(|line| json(line)["seq"].as_u64())
        .collect();

    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
}

#[test]
fn a_broker_that_acknowledges_nothing_is_left() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::results(broker.port);
    let between = Between::start(Some(broker.port));
    // Pictures would have a connection of their own.
    LineConfig::new(between.port, FREE_RUNNING)
        .mqtt("heatmaps = \"none\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    between.next_connection();
    let mut heard = Heard::default();
    heard.until_seq(5, &listener);
    let pings = between.set(|way| {
        way.acknowledges = false;
        way.pings
    });

    between.next_connection();
    let again = Timestamp::now();
    let passed = between.set(|way| {
        way.acknowledges = true;
        way.pings
    });

    assert!(passed > pings, "the broker said that it lives");
    heard.until_one_after(again, &listener);
    let output = line.stop();
    let errors = errors(&output);
    let words = "no acknowledgement for 10 s; results wait";
    assert!(errors.contains(words), "{errors}");
    heard.are_all(all_arrived(&summary(&output)), &listener);
}

#[test]
fn a_broker_that_stands_still_gets_every_result() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::results(broker.port);
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let systemd = Systemd::listen(folder.path());
    let line = systemd.start(folder.path());
    let mut heard = Heard::default();
    heard.until_seq(5, &listener);
    broker.signal(libc::SIGSTOP);
    systemd.wait_for_backlog(40);
    broker.signal(libc::SIGCONT);
    heard.until_one_after(Timestamp::now(), &listener);
    heard.are_all(all_arrived(&line.summary()), &listener);
}

/// At QoS 0 mosquitto has sent to a listener whatever it has acknowledged, and its end takes
/// nothing back.
fn results_at_once(port: u16) -> Listener {
    let more = ["-t", "plant/box/result/late", "-q", "0"];
    Listener::with(port, "plant/box/result", &more)
}

#[test]
fn a_broker_that_forgot_the_session_gets_every_result() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let first = results_at_once(broker.port);
    let between = Between::start(Some(broker.port));
    write_line(folder.path(), between.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    between.next_connection();
    let mut before = Heard::default();
    before.until_seq(20, &first);
    between.set(|way| way.broker = None);
    drop(broker);
    // Another one, whose listener is there before the line.
    let broker = Broker::anywhere();
    let second = results_at_once(broker.port);
    let plc = Listener::station(broker.port);
    while between.is_opened() {} // what came to nothing
    between.set(|way| way.broker = Some(broker.port));
    let mut after = Heard::default();
    after.until_one_after(Timestamp::now(), &second);
    plc.ask("snapshot", r#"{"id":"look"}"#, "done");
    let parts = all_arrived(&line.summary());
    after.until_seq(parts, &second);
    while before.seqs.union(&after.seqs).count() < parts as usize {
        before.hear(&first);
    }

    let all = before.seqs.union(&after.seqs).copied();
    assert!(all.eq(1..=parts), "{:?} {:?}", before.seqs, after.seqs);
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    let states = Listener::start(broker.port, "plant/box/state");
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = limitable(folder.path());
    let mut heard = Heard::default();
    heard.until_seq(5, &results);
    states.until("box/state", "health", "NORMAL");
    let_it_write(&line, "0");
    let state = states.until("box/state", "health", "OFF_SPEC");
    let causes = state["causes"].to_string();
    assert!(causes.contains("results are not on the disk"), "{state}");
    // Verdicts go on, of pictures that were taken since.
    heard.until_one_after(Timestamp::now(), &results);
    let judged = heard.hear(&results);
    assert_ne!(judged["verdict"], "undecided", "{judged}");
    let_it_write(&line, "unlimited");
    states.until("box/state", "health", "NORMAL");
    heard.until_one_after(Timestamp::now(), &results);
    let parts = all_arrived(&line.summary());
    heard.are_all(parts, &results);

    // The file knows all of them, and that all were acknowledged.
    let births = Listener::start(broker.port, "plant/box/birth");
    births.next("box/birth"); // the retained one
    let line = Running::line(folder.path());
    let previous = births.next("box/birth")["previous"].take();
    assert_eq!(previous[0]["camera"], "top", "{previous}");
    assert_eq!(previous[0]["last_seq"], parts, "{previous}");
    heard.seqs.clear();
    heard.until_seq(3, &results);
    line.summary();
}
