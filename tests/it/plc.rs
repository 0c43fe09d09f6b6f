//! `plc` and `plc/state` as a PLC has them: a part in integers beside its result, one bit that says whether the
//! belt may run, and commands out of numbers.

use crate::harness::broker::Broker;
use crate::harness::contrary::{ContraryBroker, Heard};
use crate::harness::golden::imported;
use crate::harness::line::{
    FREE_RUNNING, LineConfig, TRIGGERED, all_arrived, dead_camera, summary,
};
use crate::harness::network::Between;
use crate::harness::node_red::NodeRed;
use crate::harness::plc::{Listener, publish};
use crate::harness::program::{Running, errors, winspect};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, json, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A station that tells PLCs, with this camera.
#[track_caller]
fn station(camera: &str) -> Station {
    Station::configured(camera, |config, _| config.mqtt("plc = true"))
}

/// The keys of a message, in their order.
fn keys(message: &str) -> Vec<String> {
    let object = message.trim_matches(['{', '}']);
    let pairs = object.split(",\"");
    let keys = pairs.filter_map(|pair| pair.split_once("\":"));
    keys.map(|(key, _)| key.trim_matches('"').to_owned())
        .collect()
}

const KEYS: [&str; 13] = [
    "n", "run", "part", "cam", "reg", "eval", "rej", "why", "s", "t", "rin", "cnt", "t0",
];

/// A score in ten-thousandths; -1 for none.
fn scaled(score: &Value) -> i64 {
    score
        .as_f64()
        .map_or(-1, |score| (score * 10_000.0).round() as i64)
}

/// Asserts that a message `plc` says what its result says.
#[track_caller]
fn assert_same_part(told: &str, result: &Value) {
    assert!(told.len() <= 250, "{} bytes: {told}", told.len());
    assert_eq!(keys(told), KEYS, "{told}");
    let plc = json(told);
    for (key, expected) in [
        ("n", result["seq"].clone()),
        ("eval", result["evaluation"].clone()),
        ("rej", u8::from(result["reject"] == true).into()),
        ("s", scaled(&result["score"]).into()),
        ("t", scaled(&result["threshold"]).into()),
        ("cam", 1.into()),
    ] {
        assert_eq!(plc[key], expected, "{key} in {told} of {result}");
    }

    let part_id = result["part_id"].as_str().unwrap_or_default();
    assert_eq!(plc["part"], part_id, "{told}");
    let reason = result["reason"].is_null();
    assert_eq!(plc["why"] == 0, reason, "{told} of {result}");
    let at = result["captured_at"].as_str().expect("a time");
    let at: jiff::Timestamp = at.parse().expect("a time");
    assert_eq!(plc["t0"], at.as_millisecond(), "{told}");
}

/// `plc` and the result behind it; both are of one part.
#[track_caller]
fn next_part(parts: &Listener) -> (String, Value) {
    let until = Instant::now() + PATIENCE;
    let (topic, told) = parts.any(until);
    assert_eq!(topic, "plant/box/plc", "before its result: {told}");
    let (topic, result) = parts.any(until);
    assert_eq!(topic, "plant/box/result", "behind {told}: {result}");
    (told, json(&result))
}

/// Hears `plc` and `result` in the order in which the broker got them.
#[track_caller]
fn hear_parts(station: &Station) -> Listener {
    let more = ["-t", "plant/box/plc"];
    Listener::with(station.broker.port, "plant/box/result", &more)
}

#[test]
fn a_trigger_without_any_content_has_its_verdict_on_plc() {
    let station = station(TRIGGERED);
    let parts = hear_parts(&station);
    let port = station.broker.port;
    for (payload, part) in [
        ("", ""),
        ("77812", "77812"),
        (r#"{"id":1,"part_id":-5}"#, "-5"),
    ] {
        publish(port, "cmd/trigger", payload, &[]);
        let answer = station.plc.answered("trigger");
        assert_eq!(answer["status"], "accepted", "{payload}: {answer}");
        let (told, result) = next_part(&parts);
        assert_same_part(&told, &result);
        assert_eq!(json(&told)["part"], part, "{told}");
        assert_eq!(json(&told)["rin"], -1, "no gate: {told}");
        assert_eq!(
            answer["parts"][0]["seq"],
            json(&told)["n"],
            "{answer} {told}"
        );
    }

    station.summary();
}

#[test]
fn a_part_that_could_not_be_judged_has_a_code_and_the_time_to_its_gate() {
    let station = station(&format!("{TRIGGERED}\nreject_after_ms = 600000"));
    let parts = hear_parts(&station);
    let long_ago = r#"{"id":1,"at":"AT","count":42}"#;
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(30);
    station
        .plc
        .send("trigger", &long_ago.replace("AT", &at.to_string()));
    let (told, result) = next_part(&parts);
    assert_same_part(&told, &result);
    assert_eq!(result["reason"], "camera_lost", "{result}");
    let plc = json(&told);
    assert_eq!(
        (&plc["why"], &plc["cnt"]),
        (&2.into(), &42.into()),
        "{told}"
    );
    // The gate is ten minutes from the part's own time, half a minute ago.
    let left = plc["rin"].as_i64().expect("a number");
    assert!((400_000..=570_000).contains(&left), "{told}");
    station.summary();
}

/// What came on `plc` and on `result`, by number.
#[derive(Default)]
struct Books {
    plc: BTreeMap<u64, String>,
    results: BTreeMap<u64, Value>,
    /// What one listener heard twice.
    repeated: BTreeSet<String>,
}

impl Books {
    /// Takes the next message, late or not.
    #[track_caller]
    fn hear(&mut self, listener: &Listener) {
        let (topic, payload) = listener.any(Instant::now() + PATIENCE);
        let message = json(&payload);
        let is_new = match topic.starts_with("plant/box/plc") {
            true => {
                let number = message["n"].as_u64().expect("a number");
                self.plc.insert(number, payload).is_none()
            }
            false => {
                let number = message["seq"].as_u64().expect("a number");
                self.results.insert(number, message).is_none()
            }
        };

        if !is_new {
            self.repeated.insert(topic);
        }
    }

    fn has(&self, parts: u64) -> bool {
        self.plc.len() as u64 >= parts && self.results.len() as u64 >= parts
    }
}

/// At QoS 0 mosquitto has sent to a listener whatever it has acknowledged, and its end takes
/// nothing back.
fn hear_all(port: u16) -> Listener {
    let topics = ["plc", "plc/late", "result/late"].map(|topic| format!("plant/box/{topic}"));
    let [plc, plc_late, late] = topics.each_ref().map(String::as_str);
    let more = ["-t", plc, "-t", plc_late, "-t", late, "-q", "0"];
    Listener::with(port, "plant/box/result", &more)
}

#[test]
fn each_part_is_told_on_plc_as_on_result_over_a_broker_that_is_killed() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let first = hear_all(broker.port);
    let between = Between::start(Some(broker.port));
    LineConfig::new(between.port, FREE_RUNNING)
        .mqtt("plc = true\nheatmaps = \"none\"\nreject_window_ms = 1000")
        .write(folder.path());

    let line = Running::line(folder.path());
    let mut before = Books::default();
    while !before.has(20) {
        before.hear(&first);
    }

    between.set(|way| way.broker = None);
    drop(broker);
    // Long enough for late ones.
    std::thread::sleep(Duration::from_secs(8));
    let broker = Broker::anywhere();
    let second = hear_all(broker.port);
    between.set(|way| way.broker = Some(broker.port));
    let mut after = Books::default();
    while !after.has(40) {
        after.hear(&second);
    }

    let parts = all_arrived(&line.summary());
    let count = |one: &Books, other: &Books| {
        let plc: BTreeSet<u64> = one.plc.keys().chain(other.plc.keys()).copied().collect();
        let results = one.results.keys().chain(other.results.keys());
        let results: BTreeSet<u64> = results.copied().collect();
        (plc, results)
    };

    wait_until("every part on both topics", PATIENCE, || {
        while let Some(line) = second.any_within(Duration::from_millis(200)) {
            let (topic, payload) = line.split_once(' ').expect("a topic and its message");
            let message = json(payload);
            match topic.starts_with("plant/box/plc") {
                true => drop(
                    after
                        .plc
                        .insert(message["n"].as_u64().unwrap_or(0), payload.to_owned()),
                ),
                false => drop(
                    after
                        .results
                        .insert(message["seq"].as_u64().unwrap_or(0), message),
                ),
            }
        }

        let (plc, results) = count(&before, &after);
        plc.len() as u64 >= parts && results.len() as u64 >= parts
    });

    let (plc, results) = count(&before, &after);
    assert!(plc.iter().copied().eq(1..=parts), "{plc:?}");
    assert_eq!(plc, results);
    for books in [&before, &after] {
        assert_eq!(
            books.repeated,
            BTreeSet::new(),
            "one broker heard a part twice"
        );
        for (number, told) in &books.plc {
            if let Some(result) = books.results.get(number) {
                assert_same_part(told, result);
            }
        }
    }

    let late = after
        .results
        .values()
        .filter(|result| result["historical"] == true);
    assert!(late.count() > 0, "none was late");
}

#[test]
fn a_refused_plc_waits_and_its_result_is_not_told_again() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("/plc", 0x87)]);
    LineConfig::new(broker.port, FREE_RUNNING)
        .mqtt("plc = true\nheatmaps = \"none\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    // The one that is tried again, and again.
    broker.wait_for("state", |heard| {
        heard
            .payload
            .contains("with mqtt.plc also to plant/box/plc")
            && heard.payload.contains(r#""ready":false"#)
    });

    wait_until("a second try", PATIENCE, || {
        let heard = broker.heard("plc");
        let first = heard.first().map(|first| first.payload.clone());
        heard
            .iter()
            .filter(|again| Some(&again.payload) == first.as_ref())
            .count()
            > 1
    });

    broker.set(|rules| rules.refuses.clear());
    let after = broker.taken("result").len() + 30;
    wait_until("results flow again", PATIENCE, || {
        broker.taken("result").len() > after
    });
    all_arrived(&line.summary());
    let numbers = |topic: &str, key: &str| {
        let mut numbers = vec![];
        for name in [topic.to_owned(), format!("{topic}/late")] {
            let taken = broker.taken(&name);
            numbers.extend(taken.iter().map(|heard| json(&heard.payload)[key].as_u64()));
        }

        numbers.sort_unstable();
        numbers
    };

    let (plc, results) = (numbers("plc", "n"), numbers("result", "seq"));
    assert_eq!(plc, results, "each once on both");
    let distinct: BTreeSet<_> = results.iter().collect();
    assert_eq!(distinct.len(), results.len(), "{results:?}");
}

/// The next `plc/state` that fits.
#[track_caller]
fn state_with(states: &Listener, wanted: &[(&str, i64)]) -> Value {
    states.until_fits("plc/state", |state| {
        wanted.iter().all(|(key, value)| state[*key] == *value)
    })
}

#[test]
fn a_belt_may_run_by_one_bit() {
    let station = station(TRIGGERED);
    let states = station.listen("plc/state");
    let ready = state_with(&states, &[("ready", 1), ("state", 2), ("health", 0)]);
    let beat = ready["beat"].as_i64().expect("a number");
    let next = states.next("plc/state");
    assert!(next["beat"].as_i64() > Some(beat), "{ready} {next}");
    station.plc.ask("pause", r#"{"id":1}"#, "done");
    state_with(&states, &[("ready", 0), ("state", 4)]);
    station.plc.ask("resume", r#"{"id":2}"#, "done");
    state_with(&states, &[("ready", 1), ("state", 2)]);
    station.plc.ask("take_control", r#"{"id":3}"#, "done");
    state_with(&states, &[("ready", 0)]);
    station.plc.ask("release_control", r#"{"id":4}"#, "done");
    state_with(&states, &[("ready", 1)]);
    // Every part fails now, and one that must pass is a missed challenge.
    let low = r#"{"id":5,"value":0.000001}"#;
    station.plc.ask("set_threshold", low, "done");
    state_with(&states, &[("ready", 1)]);
    let known = r#"{"id":6,"parts":1,"expect":"pass"}"#;
    station.plc.ask("challenge", known, "accepted");
    station.plc.send("trigger", "");
    state_with(&states, &[("ready", 0), ("health", 4)]);
    station.line.ask_to_stop();
    state_with(&states, &[("ready", 0), ("state", 0)]);
    summary(&station.line.end());
}

#[test]
fn a_line_without_its_camera_is_not_ready() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let states = Listener::start(broker.port, "plant/box/plc/state");
    let camera = format!("{}\ntrigger = \"command\"", dead_camera());
    LineConfig::new(broker.port, &camera)
        .mqtt("plc = true")
        .write(folder.path());

    let line = Running::line(folder.path());
    state_with(&states, &[("ready", 0), ("state", 5), ("health", 4)]);
    line.summary();
}

#[test]
fn the_broker_says_that_a_dead_line_is_not_ready() {
    let station = station(TRIGGERED);
    let states = station.listen("plc/state");
    state_with(&states, &[("ready", 1)]);
    let Station { line, broker, .. } = station;
    drop(line); // SIGKILL
    let gone = state_with(&states, &[("ready", 0)]);
    let expected = r#"{"beat":0,"health":4,"q":0,"ready":0,"recipe":0,"state":0}"#;
    assert_eq!(gone.to_string(), expected);
    // A PLC that comes later hears it too.
    let later = Listener::start(broker.port, "plant/box/plc/state");
    assert_eq!(later.next("plc/state"), gone);
}

#[test]
fn a_recipe_is_selected_by_its_number() {
    let station = Station::configured(TRIGGERED, |config, folder| {
        config
            .mqtt("plc = true")
            .bolt(folder, "input_px = 70")
            .tables("[recipe_numbers]\nnut = 3\nbolt = 7\ncap = 9")
    });

    let birth = station.listen("birth").next("box/birth");
    let recipes = r#"[{"name":"nut","number":3},{"name":"bolt","number":7}]"#;
    assert_eq!(birth["recipes"].to_string(), recipes, "{birth}");
    assert_eq!(birth["codes"]["why"]["camera_lost"], 2, "{birth}");
    assert_eq!(birth["codes"]["cam"]["top"], 1, "{birth}");
    let states = station.listen("plc/state");
    state_with(&states, &[("ready", 1), ("recipe", 3)]);
    station.plc.ask_in_vain(
        "select_recipe",
        r#"{"id":1,"recipe":4}"#,
        "no recipe has the number 4 in [recipe_numbers]; there are 3 (nut), 7 (bolt)",
    );
    // A number may wait for its recipe: the library may lie on a share that is not there yet.
    let warned = "recipe_numbers.cap: there is no such recipe";
    station.line.wait_for_words(warned);
    station.plc.ask_in_vain(
        "select_recipe",
        r#"{"id":8,"recipe":9}"#,
        r#"there is no recipe "cap""#,
    );
    station
        .plc
        .ask("select_recipe", r#"{"id":2,"recipe":7}"#, "accepted");
    let done = station.plc.answered("select_recipe");
    assert_eq!(
        (&done["id"], &done["status"]),
        (&"2".into(), &"done".into()),
        "{done}"
    );
    state_with(&states, &[("recipe", 7)]);
    let parts = hear_parts(&station);
    station.plc.send("trigger", "1");
    let (told, result) = next_part(&parts);
    assert_eq!(json(&told)["run"], birth["run"], "{told}");
    assert_eq!(result["recipe"], "bolt@4", "{result}");
    station.summary();
}

#[test]
fn a_refusal_speaks_to_a_plc_programmer_and_names_the_command() {
    let station = station(TRIGGERED);
    for (name, payload, id, words) in [
        (
            "trigger",
            r#"{"id":1,"count":"x"}"#,
            "1",
            r#"count must be a whole number, got text "x""#,
        ),
        (
            "trigger",
            r#"{"id":2,"prat":"x"}"#,
            "2",
            "unknown field `prat`; there are `id`",
        ),
        (
            "trigger",
            r#"{"id":3,"count":1"#,
            "3",
            "the JSON ends too early",
        ),
        (
            "set_threshold",
            r#"{"id":4,"value":"0.3"}"#,
            "4",
            r#"value must be a number, got text "0.3""#,
        ),
        (
            "challenge",
            r#"{"id":5,"parts":-1,"expect":"fail"}"#,
            "5",
            "parts must be a whole number from 0",
        ),
        ("pause", "", "", "the message is empty"),
    ] {
        let answer = station.plc.tell(name, payload);
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{words:?} is not in {answer}");
        assert_eq!(answer["id"].as_str().unwrap_or_default(), id, "{answer}");
        for jargon in ["i64", "u32", "f32", "line 1", "column"] {
            assert!(!reason.contains(jargon), "{answer}");
        }
    }

    station.summary();
}

#[test]
fn check_tries_the_topics_for_plcs() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("/plc", 0x87), ("/plc/state", 0x87)]);
    let file = LineConfig::new(broker.port, FREE_RUNNING)
        .mqtt("plc = true")
        .write(folder.path());

    let checked = winspect().arg("check").arg(file).output().expect("ends");
    let told = errors(&checked) + &String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success(), "{told}");
    for topic in [
        "plant/box/plc (NotAuthorized)",
        "plant/box/plc/state (NotAuthorized)",
    ] {
        assert!(told.contains(topic), "{topic:?} is not in {told}");
    }

    // A program that knows nothing of trials moves no gate, and hears of no line.
    for topic in ["plc", "plc/late"] {
        let trial = &broker.heard(topic)[0].payload;
        assert_eq!(keys(trial), KEYS, "{topic}: {trial}");
        let trial = json(trial);
        assert_eq!((&trial["n"], &trial["rej"]), (&0.into(), &0.into()));
    }

    let gone = r#"{"ready":0,"state":0,"health":4,"beat":0,"recipe":0,"q":0}"#;
    assert_eq!(broker.heard("plc/state")[0].payload, gone);
}

#[test]
fn a_broker_that_ends_each_connection_of_plc_state_is_told() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.cuts_at = Some("\"recipe\":0,\"q\":".to_owned()));
    LineConfig::new(broker.port, FREE_RUNNING)
        .mqtt("plc = true\nheatmaps = \"none\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    let is_told = |heard: &Heard| heard.payload.contains("plc/state: not told:");
    broker.wait_for("state", is_told);
    broker.set(|rules| rules.cuts_at = None);
    broker.wait_for("plc/state", |heard| heard.is_taken);
    wait_until("it is taken back", PATIENCE, || {
        let mut states = broker.taken("state");
        states.retain(|heard| heard.topic == "state");
        states.last().is_some_and(|newest| !is_told(newest))
    });

    all_arrived(&line.summary());
}

#[test]
fn node_red_takes_no_old_state_for_a_line_and_no_part_for_another() {
    let broker = Broker::anywhere();
    let port = broker.port;
    // As a broker keeps it whose power was cut together with the line's.
    let state = |beat: u64| format!(r#"{{"ready":1,"state":2,"health":0,"beat":{beat},"q":0}}"#);
    publish(port, "plc/state", &state(41), &["-r"]);
    let heard = Listener::with(port, "gateway/counts", &["-t", "gateway/refused"]);
    let triggers = Listener::start(port, "plant/box/cmd/trigger");
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_flow) = NodeRed::start(folder.path(), port) else {
        return;
    };

    let tell = |n: u64, rej: u8| {
        let part = format!(r#"{{"n":{n},"run":7,"part":"","cam":1,"eval":2,"rej":{rej},"why":0}}"#);
        publish(port, "plc", &part, &[]);
    };

    // The flow has its last subscription once it hears parts. Repetitions do nothing.
    let mut counted = None;
    wait_until("a part is counted", PATIENCE, || {
        tell(3, 1);
        counted = heard.any_within(Duration::from_millis(300));
        counted.is_some()
    });

    let counted = counted.unwrap_or_default();
    assert!(counted.contains(r#"{"parts":1,"rejects":1,"#), "{counted}");
    let announce = |part: &str| {
        let sent = std::process::Command::new("mosquitto_pub")
            .args(["-q", "1", "-p", &port.to_string()])
            .args(["-t", "gateway/part", "-m", part])
            .status();

        assert!(sent.expect("tools/setup installs it").success());
    };

    announce("1001");
    let (topic, words) = heard.any(Instant::now() + PATIENCE);
    assert_eq!(topic, "gateway/refused", "no line is there: {words}");
    publish(port, "plc/state", &state(42), &[]);
    announce("1002");
    let (_, part) = triggers.any(Instant::now() + PATIENCE);
    assert_eq!(part, "1002", "the second beat is a line's");

    // One that was refused for a while comes behind later ones, and a trial is no part.
    for (n, rej) in [(5, 0), (4, 1), (3, 1), (5, 1), (0, 1), (6, 0)] {
        tell(n, rej);
    }

    let mut counts = vec![];
    for _ in 0..3 {
        let (_, message) = heard.any(Instant::now() + PATIENCE);
        let message = json(&message);
        counts.push((message["parts"].as_u64(), message["rejects"].as_u64()));
    }

    let expected = [(2, 1), (3, 2), (4, 2)].map(|(parts, rejects)| (Some(parts), Some(rejects)));
    assert_eq!(counts, expected);
}

#[test]
fn node_red_triggers_hears_the_verdict_and_counts_rejects() {
    let station = station(TRIGGERED);
    let counts = Listener::start(station.broker.port, "gateway/#");
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_flow) = NodeRed::start(folder.path(), station.broker.port) else {
        return;
    };

    let announce = |part: &str| {
        let sent = std::process::Command::new("mosquitto_pub")
            .args(["-q", "1", "-p", &station.broker.port.to_string()])
            .args(["-t", "gateway/part", "-m", part])
            .status();

        assert!(sent.expect("tools/setup installs it").success());
    };

    // Not before the line is ready, which the flow hears a moment after us.
    let low = r#"{"id":1,"value":0.000001}"#;
    station.plc.ask("set_threshold", low, "done");
    state_with(&station.listen("plc/state"), &[("ready", 1)]);
    for number in 1..=3 {
        let part = format!("100{number}");
        let counted = loop {
            announce(&part);
            let (topic, message) = counts.any(Instant::now() + PATIENCE);
            assert_eq!(
                (topic.as_str(), message.as_str()),
                ("gateway/part", part.as_str())
            );
            let (topic, message) = counts.any(Instant::now() + PATIENCE);
            if topic == "gateway/counts" {
                break json(&message);
            }

            assert_eq!(topic, "gateway/refused", "{message}");
            assert_eq!(number, 1, "it was ready before: {message}");
        };

        assert_eq!(counted["part"], part, "{counted}");
        assert_eq!(
            (&counted["parts"], &counted["rejects"]),
            (&number.into(), &number.into()),
            "{counted}"
        );
        assert_eq!(counted["eval"], 2, "{counted}");
    }

    station.plc.ask("pause", r#"{"id":2}"#, "done");
    state_with(&station.listen("plc/state"), &[("ready", 0)]);

    // The flow hears it a moment after us.
    std::thread::sleep(Duration::from_millis(500));
    announce("1004");
    let (topic, _) = counts.any(Instant::now() + PATIENCE);
    assert_eq!(topic, "gateway/part");
    let (topic, message) = counts.any(Instant::now() + PATIENCE);
    assert_eq!(topic, "gateway/refused", "{message}");
    station.summary();
}
