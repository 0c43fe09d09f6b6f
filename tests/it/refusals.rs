//! A broker that refuses, ends connections at a message, or asks for MQTT's order: nothing is thrown
//! away, the rest flows, and health says so.

use crate::harness::contrary::{ContraryBroker, Heard};
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, all_arrived, summary, write_line};
use crate::harness::program::{Running, errors};
use crate::harness::{json, wait_until};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Numbers of results that the broker took, in their order.
fn taken(broker: &ContraryBroker) -> Vec<u64> {
    let mut seqs = vec![];
    for topic in ["box/result", "result", "result/late"] {
        for heard in broker.taken(topic) {
            if heard.topic == topic {
                seqs.push(json(&heard.payload)["seq"].as_u64().expect("a number"));
            }
        }
    }

    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

fn causes(state: &Heard) -> Value {
    json(&state.payload)["causes"].take()
}

/// A broker that refuses results with this code for a while: all of them arrive.
fn refuses_for_a_while(code: u8, health: &str, words: &str) {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("box/result", code), ("box/result/late", code)]);
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    let told = broker.wait_for("state", |state| state.payload.contains(health));
    let causes = causes(&told);
    assert!(causes.to_string().contains(words), "{causes}");
    assert!(
        causes.to_string().contains("the broker refuses them"),
        "{causes}"
    );
    assert_eq!(taken(&broker), [0; 0]);
    broker.set(|rules| rules.refuses.clear());
    broker.wait_for("state", |state| state.payload.contains("NORMAL"));
    let parts = all_arrived(&line.summary());
    assert!(
        taken(&broker).into_iter().eq(1..=parts),
        "{:?}",
        taken(&broker)
    );
}

#[test]
fn results_survive_a_quota() {
    refuses_for_a_while(0x97, "OFF_SPEC", "QuotaExceeded");
}

#[test]
fn results_survive_a_broker_whose_plugin_fails() {
    refuses_for_a_while(0x83, "OFF_SPEC", "ImplementationSpecificError");
}

#[test]
fn results_survive_a_rule_that_forbids_them() {
    refuses_for_a_while(0x87, "FAILURE", "let this user write to plant/box/result");
}

#[test]
fn a_result_that_ends_the_connection_stands_aside_and_the_rest_flows() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.cuts_at = Some("\"part_id\":\"poison\"".to_owned()));
    write_line(folder.path(), broker.port, TRIGGERED);
    let line = Running::line(folder.path());
    broker.wait_for("status", |status| status.payload.contains("\"online\""));
    let triggers = [
        ("cmd/trigger", r#"{"id":"a","part_id":"a"}"#),
        ("cmd/trigger", r#"{"id":"b","part_id":"poison"}"#),
        ("cmd/trigger", r#"{"id":"c","part_id":"c"}"#),
    ];

    broker.send(&triggers);
    wait_until("the others", Duration::from_secs(30), || {
        taken(&broker) == [1, 3]
    });

    let told = broker.wait_for("state", |state| state.payload.contains("put aside"));
    assert!(told.payload.contains("OFF_SPEC"), "{}", told.payload);
    let connections = broker.connections();
    assert!(connections.len() <= 5, "{connections:?}");
    // It is tried again when the broker may take it, and nothing was lost.
    broker.set(|rules| rules.cuts_at = None);
    wait_until("all of them", Duration::from_secs(50), || {
        taken(&broker) == [1, 2, 3]
    });

    all_arrived(&line.summary());
}

/// The code of mosquitto 2.0 for a message above its `message_size_limit`, which MQTT 5 does not have
/// for an acknowledgement.
#[test]
fn a_result_that_is_larger_than_the_broker_takes_stands_aside_and_the_rest_flows() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    write_line(folder.path(), broker.port, TRIGGERED);
    let line = Running::line(folder.path());
    broker.wait_for("status", |status| status.payload.contains("\"online\""));
    broker.send(&[("cmd/trigger", r#"{"id":"a","part_id":"a"}"#)]);
    // One with a long name has more than this, and one with a short name less, also with a reason.
    let first = broker.wait_for("result", |_| true);
    broker.set(|rules| rules.payload_max = Some(("/result", first.payload.len() + 115)));
    let large = format!(r#"{{"id":"b","part_id":"{}"}}"#, "x".repeat(128));
    broker.send(&[("cmd/trigger", &large)]);
    let told = broker.wait_for("state", |state| state.payload.contains("put aside"));
    for words in ["OFF_SPEC", " bytes, ", "too large", "message_size_limit"] {
        assert!(told.payload.contains(words), "{}", told.payload);
    }

    broker.send(&[("cmd/trigger", r#"{"id":"c","part_id":"c"}"#)]);
    wait_until("the others", Duration::from_secs(30), || {
        taken(&broker) == [1, 3]
    });

    let connections = broker.connections();
    assert!(connections.len() <= 5, "{connections:?}");
    broker.set(|rules| rules.payload_max = None);
    wait_until("all of them", Duration::from_secs(50), || {
        taken(&broker) == [1, 2, 3]
    });

    let output = line.stop();
    let errors = errors(&output);
    assert!(!errors.contains("3.1.1"), "{errors}");
    all_arrived(&summary(&output));
}

#[test]
fn a_birth_that_ends_the_connection_does_not_keep_results() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.cuts_at = Some("\"previous\":".to_owned()));
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    wait_until("results", Duration::from_secs(30), || {
        taken(&broker).len() > 5
    });
    let told = broker.wait_for("state", |state| state.payload.contains("OFF_SPEC"));
    let causes = causes(&told).to_string();
    assert!(
        causes.contains("plant/box/birth ended connections"),
        "{causes}"
    );
    all_arrived(&line.summary());
}

/// A line at this broker, whose parts come by commands, once it is connected.
fn connected(folder: &Path, broker: &ContraryBroker) -> Running {
    LineConfig::new(broker.port, TRIGGERED)
        .mqtt("heatmaps = \"none\"")
        .write(folder);

    let line = Running::line(folder);
    broker.wait_for("status", |status| status.payload.contains("\"online\""));
    line
}

/// Asserts that health has told nothing of the kind.
fn assert_untold(broker: &ContraryBroker, words: &str) {
    for state in broker.heard("state") {
        assert!(!state.payload.contains(words), "{}", state.payload);
    }
}

#[test]
fn a_refused_response_topic_is_no_fault_of_the_station() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("elsewhere/x", 0x87)]);
    let line = connected(folder.path(), &broker);
    for id in ["a", "b"] {
        let command = format!(r#"{{"id":"{id}"}}"#);
        broker.ask("cmd/resume", &command, "elsewhere/x");
        broker.wait_for("ack/resume", |ack| {
            ack.payload.contains(&format!("\"{id}\""))
        });
    }

    // What is said afterwards would tell of it.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(broker.heard("elsewhere/x").len(), 2);
    assert_untold(&broker, "the broker refuses");
    let output = line.stop();
    let errors = errors(&output);
    let words = "the broker refuses 1 answers to response topics";
    assert_eq!(errors.matches(words).count(), 1, "{errors}");
    assert!(!errors.contains("access rules"), "{errors}");
}

#[test]
fn response_topics_that_end_connections_are_left_out_and_nothing_else_is() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| {
        rules.refuses = vec![("elsewhere/x", 0x87)];
        rules.closes_after_refusal = true;
    });

    let line = connected(folder.path(), &broker);
    for number in 1..=4 {
        let command = format!(r#"{{"id":"{number}"}}"#);
        broker.ask("cmd/resume", &command, "elsewhere/x");
        if number <= 2 {
            wait_until("a new connection", Duration::from_secs(20), || {
                broker.taken("availability").len() > number
            });
        } else {
            let id = format!("\"{number}\"");
            broker.wait_for("ack/resume", |ack| {
                ack.payload.contains(&id) && ack.is_taken
            });
        }
    }

    assert_eq!(
        broker.heard("elsewhere/x").len(),
        2,
        "the others are left out"
    );
    assert_eq!(broker.connections().len(), 3);
    broker.send(&[("cmd/trigger", r#"{"id":"part"}"#)]);
    wait_until("a result", Duration::from_secs(20), || {
        taken(&broker) == [1]
    });
    assert_untold(&broker, "left out");
    let errors = errors(&line.stop());
    let words = "answers to response topics of commands end connections";
    assert_eq!(errors.matches(words).count(), 1, "{errors}");
}

#[test]
fn a_refused_subscription_is_a_failure_where_parts_come_by_commands() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.subscriptions = Some(0x87));
    write_line(folder.path(), broker.port, TRIGGERED);
    let line = Running::line(folder.path());
    let told = broker.wait_for("state", |state| state.payload.contains("FAILURE"));
    let words = "let this user read plant/box/cmd/+";
    assert!(
        causes(&told).to_string().contains(words),
        "{}",
        told.payload
    );
    line.summary();
}

#[test]
fn a_refused_birth_is_told_again_and_told_by_health() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("box/birth", 0x87)]);
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    let told = broker.wait_for("state", |state| state.payload.contains("OFF_SPEC"));
    let causes = causes(&told).to_string();
    assert!(
        causes.contains("plant/box/birth (NotAuthorized)"),
        "{causes}"
    );
    broker.set(|rules| rules.refuses.clear());
    wait_until("a birth", Duration::from_secs(30), || {
        !broker.taken("birth").is_empty()
    });

    broker.wait_for("state", |state| state.payload.contains("NORMAL"));
    all_arrived(&line.summary());
}

#[test]
fn commands_are_acknowledged_in_the_order_in_which_they_came() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    LineConfig::new(broker.port, TRIGGERED).write(folder.path());
    let line = Running::line(folder.path());
    broker.wait_for("status", |status| status.payload.contains("\"online\""));
    let mut commands = vec![];
    for number in 0..20 {
        commands.push(("cmd/trigger", format!(r#"{{"id":"t{number}"}}"#)));
        commands.push(("cmd/trigger", "no command".to_owned()));
        commands.push(("cmd/erase", "{}".to_owned()));
    }

    let commands: Vec<(&str, &str)> = commands
        .iter()
        .map(|(topic, payload)| (*topic, payload.as_str()))
        .collect();

    broker.send(&commands);
    wait_until("the results", Duration::from_secs(60), || {
        taken(&broker).len() == 20
    });

    wait_until("the answers", Duration::from_secs(30), || {
        broker.heard("ack/trigger").len() + broker.heard("ack/unknown").len() == 60
    });

    all_arrived(&line.summary());
    assert_eq!(broker.breaches(), [""; 0]);
}

#[test]
fn pictures_on_a_slow_link_do_not_hold_results_up() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.bytes_a_second = Some(400_000));
    // Noise, which no PNG makes small: some MB a picture.
    let camera = "kind = \"test\"\npattern = \"snow\"\nfps = 4\nwidth = 1280\nheight = 720";
    LineConfig::new(broker.port, camera)
        .recipe("threshold = 0.000001")
        .write(folder.path());

    let line = Running::line(folder.path());
    // A picture takes as long on such a link as all these results take to come about.
    wait_until("results and a picture", Duration::from_secs(120), || {
        taken(&broker).len() >= 30 && !broker.heard("heatmap/top").is_empty()
    });

    let mut latest = Duration::ZERO;
    let now = jiff::Timestamp::now();
    let heard_now = std::time::Instant::now();
    for heard in broker.taken("result") {
        let captured = json(&heard.payload)["captured_at"]
            .as_str()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok())
            .expect("a time");

        let heard_at = now - jiff::SignedDuration::try_from(heard_now - heard.at).expect("short");
        let took = heard_at.duration_since(captured);
        latest = latest.max(took.unsigned_abs());
    }

    assert!(latest < Duration::from_secs(5), "{latest:?}");
    drop(line);
    let pictures = broker.heard("heatmap/top");
    let by = pictures
        .iter()
        .all(|heard| heard.client.ends_with("-pictures"));
    assert!(by && !pictures.is_empty(), "{}", pictures.len());
}
