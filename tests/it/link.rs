//! The way between the line and its broker when it is bad: far away, cut, or shared by two.

use crate::harness::broker::{Broker, free_port};
use crate::harness::contrary::ContraryBroker;
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, all_arrived, summary, write_line};
use crate::harness::network::{Between, Elsewhere, far_away};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors};
use crate::harness::{json, require, wait_until};
use std::collections::HashSet;
use std::time::{Duration, Instant};

#[test]
fn a_broker_that_is_far_away_is_reached() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    let way = far_away(broker.port, Duration::from_millis(400));
    write_line(folder.path(), way, FREE_RUNNING);
    let line = Running::line(folder.path());
    listener.wait_for("result", 5);
    line.summary();
}

/// A round trip takes 0.8 s, in which 16 results come: one at a time would never catch up.
#[test]
fn one_cut_of_a_far_link_leaves_its_window_whole() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    let way = far_away(broker.port, Duration::from_millis(400));
    write_line(folder.path(), way, FREE_RUNNING);
    let line = Running::line(folder.path());
    let limit = Duration::from_secs(60);
    wait_until("results", limit, || broker.heard("result").len() > 9);
    let newest = broker.heard("result").pop().expect("one of them");
    let newest = json(&newest.payload)["seq"].as_u64().expect("a number");
    let later = newest + 40;
    broker.set(|rules| rules.cuts_at = Some(format!("\"seq\":{later},")));
    let mut before = 0;
    wait_until("the cut", limit, || {
        before = broker.heard("result").len();
        broker.taken("result").len() < before
    });

    broker.set(|rules| rules.cuts_at = None);
    wait_until("results again", limit, || {
        broker.heard("result").len() >= before + 20
    });

    let again = broker.heard("result").split_off(before);
    assert_eq!(broker.breaches(), [""; 0]);
    let took = again[19].at - again[0].at;
    assert!(took < Duration::from_secs(4), "20 results in {took:?}");
    all_arrived(&line.summary());
}

#[test]
fn a_line_without_its_broker_stops_in_time() {
    let (folder, _model) = imported("dinov2-tiny");
    let nowhere = Between::start(None);
    write_line(folder.path(), nowhere.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    // Each wait is twice the one before, from 0.2 s on: after the seventh try it is the longest,
    // of 10 s.
    for _ in 0..7 {
        nowhere.next_connection();
    }

    line.ask_to_stop();
    let asked = Instant::now();
    let summary = summary(&line.end());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(summary["undelivered"], summary["results"]);
}

#[test]
fn two_lines_of_one_name_do_not_fight() {
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/birth");
    let models = [imported("dinov2-tiny"), imported("dinov2-tiny")];
    let lines = models.each_ref().map(|(folder, _model)| {
        let camera = FREE_RUNNING.replace("fps = 20", "fps = 5");
        write_line(folder.path(), broker.port, &camera);
        Running::line(folder.path())
    });

    listener.wait_for("birth", 2);
    let both = Instant::now();
    listener.wait_for("birth", 10);
    let took = both.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    for line in &lines {
        line.ask_to_stop();
    }

    for line in lines {
        summary(&line.end());
    }
}

#[test]
fn a_broker_without_qos_1_is_told_and_loses_nothing() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::configured(folder.path(), port, "max_qos 0\n");
    write_line(folder.path(), port, FREE_RUNNING);
    let line = Running::line(folder.path());
    let words = "it takes no messages at QoS 1";
    line.wait_for_words(words);
    // That it is not told again cannot be waited for: it has time for two more tries.
    std::thread::sleep(Duration::from_secs(2));
    drop(broker);
    let _broker = Broker::configured(folder.path(), port, "");
    let listener = Listener::station(port);
    listener.wait_for("box/result", 5);
    let output = line.stop();
    let errors = errors(&output);
    assert_eq!(errors.matches(words).count(), 1, "{errors}");
    all_arrived(&summary(&output));
}

#[test]
fn a_pulled_cable_loses_nothing_and_keeps_the_order() {
    if !require("network") {
        return;
    }

    let elsewhere = Elsewhere::make();
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let here = Elsewhere::HERE;
    let settings = format!("listener {port} {here}\nmax_queued_messages 0\n");
    let _broker = Broker::configured(folder.path(), port, &settings);
    let listener = Listener::results(port);
    LineConfig::new(port, FREE_RUNNING)
        .mqtt("reject_window_ms = 1000")
        .mqtt(&format!("host = {here:?}\nallow_insecure = true"))
        .write(folder.path());

    let line = elsewhere.start_line(folder.path());
    listener.wait_for("box/result", 5);
    // A short cut, which TCP survives, and one that the line notices. How long they last is what
    // is tested.
    for (cut, whole) in [(2, 4), (14, 8)] {
        elsewhere.cable("down");
        std::thread::sleep(Duration::from_secs(cut));
        elsewhere.cable("up");
        std::thread::sleep(Duration::from_secs(whole));
    }

    let output = line.stop();
    let errors = errors(&output);
    assert!(errors.contains("back after"), "{errors}");
    let parts = summary(&output)["parts"].as_u64().expect("a number");
    let mut seen = HashSet::new();
    let mut newest = [0, 0];
    let first_five = 5;
    while seen.len() as u64 + first_five < parts {
        let result = listener.next("");
        let seq = result["seq"].as_u64().expect("a number");
        let newest = &mut newest[usize::from(result["historical"] == true)];
        if seen.insert(seq) {
            assert!(seq > *newest, "{seq} after {newest}");
            *newest = seq;
        }
    }

    assert!(newest[1] > 0, "some were late");
}
