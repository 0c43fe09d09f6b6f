//! The page as programs see it: addresses, headers, metrics, health, and what must not disturb a line.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::line::{
    FREE_RUNNING, LineConfig, TRIGGERED, all_arrived, assert_refused, folder_camera,
};
use crate::harness::page::{Page, station, value_of};
use crate::harness::program::{both, winspect};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, assert_said, json, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use winspect::page::{METRICS, MetricKind};

/// A file of the project.
fn project(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

/// Triggers so many parts, and hears their results.
#[track_caller]
fn inspect_parts(station: &Station, count: usize) {
    let results = station.listen("result");
    for part in 0..count {
        station.plc.ask(
            "trigger",
            &format!("{{\"part_id\": \"A-{part}\"}}"),
            "accepted",
        );
        results.wait_for("result", 1);
    }
}

#[test]
fn metrics_are_those_of_the_docs_and_balance_with_the_store() {
    let (station, page) = station(TRIGGERED);
    inspect_parts(&station, 5);
    wait_until("the acknowledgements", PATIENCE, || {
        page.metric("winspect_results_acked_total") >= 5.0
    });

    let answer = page.get("/metrics");
    let text = answer.body;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    assert!(text.ends_with("# EOF\n"));
    let row = |metric: &winspect::page::MetricRow| {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let kind = kind_word(metric.kind);
        format!(
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
    };

    let docs = project("docs/metrics.md");
    for metric in METRICS {
        let family = match metric.kind {
            MetricKind::Counter => metric.name.trim_end_matches("_total"),
            _ => metric.name,
        };

        let line = format!("# TYPE {family} {}", kind_word(metric.kind));
        assert!(text.contains(&line), "{line}");
        assert!(
            docs.contains(&row(metric)),
            "docs/metrics.md lacks\n{}",
            row(metric)
        );
    }

    let told = docs
        .lines()
        .filter(|line| line.starts_with("| `winspect_") || line.starts_with("| `process_"))
        .count();
    assert_eq!(told, METRICS.len(), "docs/metrics.md has rows of no metric");
    let value =
        |sample: &str| value_of(&text, sample).unwrap_or_else(|| panic!("{sample} in\n{text}"));
    let verdicts: f64 = text
        .lines()
        .filter(|line| line.starts_with("winspect_verdicts_total{"))
        .map(|line| {
            line.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<f64>()
                .expect("a number")
        })
        .sum();

    assert_eq!(verdicts, value("winspect_results_total"));
    assert_eq!(value("winspect_parts_total"), 5.0);
    assert_eq!(value("winspect_stage_seconds_count{stage=\"total\"}"), 5.0);
    assert_eq!(
        value("winspect_stage_seconds_bucket{le=\"+Inf\",stage=\"total\"}"),
        5.0
    );
    let outcomes = ["judged", "replaced", "skipped", "failed", "stopped"].map(|outcome| {
        value(&format!(
            "winspect_frames_total{{camera=\"top\",outcome=\"{outcome}\"}}"
        ))
    });

    let waiting = value("winspect_frames_waiting{camera=\"top\"}");
    let captured = value("winspect_frames_captured_total{camera=\"top\"}");
    assert_eq!(outcomes.iter().sum::<f64>() + waiting, captured);
    assert_eq!(value("winspect_broker_up"), 1.0);
    all_arrived(&station.summary());
}

#[test]
fn each_metric_of_the_dashboard_is_exported() {
    let dashboard = json(&project("tools/grafana/winspect.json"));
    let mut expressions = vec![];
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() > 10, "{expressions:?}");
    let known: BTreeSet<String> = METRICS
        .iter()
        .flat_map(|metric| match metric.kind {
            MetricKind::Histogram => vec![
                format!("{}_bucket", metric.name),
                format!("{}_sum", metric.name),
                format!("{}_count", metric.name),
            ],
            _ => vec![metric.name.to_owned()],
        })
        .collect();

    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for expression in &expressions {
        let names = expression.split(|c| !is_name(c));
        let names: Vec<&str> = names
            .filter(|word| word.starts_with("winspect_") || word.starts_with("process_"))
            .collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(known.contains(name), "{name} in {expression}");
        }
    }

    // What Grafana's schema demands of a dashboard and its panels.
    assert!(dashboard["schemaVersion"].is_u64() && dashboard["title"].is_string());
    for panel in dashboard["panels"].as_array().expect("panels") {
        for key in ["type", "title", "gridPos", "targets", "datasource"] {
            assert!(!panel[key].is_null(), "{key} in {panel}");
        }
    }
}

/// Every `expr` and `query` of a dashboard.
fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "expr") {
                    Some(expression) => expressions.push(expression.to_owned()),
                    None => collect(value, expressions),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, expressions)),
        _ => {}
    }
}

#[test]
fn ready_says_whether_a_part_would_be_judged() {
    let (station, page) = station(TRIGGERED);
    wait_until("the line is ready", PATIENCE, || {
        page.get("/health/ready").status == 200
    });
    assert_eq!(page.get("/health/live").status, 200);
    station.plc.ask("pause", r#"{"id": "p"}"#, "done");
    let answer = page.get("/health/ready");
    assert_eq!(answer.status, 503);
    assert_said(&answer.body, &["not ready", "paused"]);
    assert_eq!(page.get("/health/live").status, 200, "a pause is no fault");
    station.plc.ask("resume", r#"{"id": "r"}"#, "done");
    assert_eq!(page.get("/health/ready").status, 200);
}

#[test]
fn every_answer_is_guarded_and_what_lasts_has_a_tag() {
    let (station, page) = station(TRIGGERED);
    inspect_parts(&station, 1);
    let whole = page.get("/");
    let policy = &whole.headers["content-security-policy"];
    assert_said(
        policy,
        &[
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ],
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(whole.headers["cache-control"], "no-store");
    // Nothing inline: neither styles nor scripts nor handlers.
    for inline in ["style=", "<style", "onclick", "javascript:"] {
        assert!(!whole.body.contains(inline), "{inline}");
    }

    for path in ["/assets/page.css", "/assets/page.js"] {
        let first = page.get(path);
        let again = page.get_with(path, &[("if-none-match", first.headers["etag"].as_str())]);
        assert_eq!((first.status, again.status), (200, 304), "{path}");
        assert!(again.body.is_empty() && !first.body.is_empty());
    }

    let picture = picture_of(&page);
    let first = page.get(&picture);
    assert_eq!(
        (first.status, &*first.headers["content-type"]),
        (200, "image/jpeg")
    );
    let tag = first.headers["etag"].as_str();
    assert_eq!(
        page.get_with(&picture, &[("if-none-match", tag)]).status,
        304
    );
    // A name of a foreign site that leads here reads nothing.
    let foreign = page.get_with("/metrics", &[("host", "evil.example")]);
    assert_eq!(foreign.status, 421);
    assert!(!foreign.body.contains("winspect_"), "{}", foreign.body);
    for (path, status) in [
        ("/picture/x/0/1/large.jpg", 404),
        ("/picture/../../etc/passwd", 400),
        ("/picture/%2e%2e/0/1/large.jpg", 404),
        ("/picture/x/-1/1/large.jpg", 400),
        ("/updates/live", 400),
        ("/updates/nothing?since=0", 400),
        ("/nothing", 404),
    ] {
        assert_eq!(page.get(path).status, status, "{path}");
    }

    assert!(
        page.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );
}

/// Address of a large picture on the screen Live, once there is one.
#[track_caller]
fn picture_of(page: &Page) -> String {
    let mut found = None;
    wait_until("a picture", PATIENCE, || {
        let body = page.get("/").body;
        let address = body
            .split("href=\"")
            .find(|rest| rest.starts_with("/picture/"));
        found = address
            .and_then(|rest| rest.split('"').next())
            .map(str::to_owned);
        found.is_some()
    });

    found.expect("the wait is over")
}

#[test]
fn a_viewer_gets_the_newest_state_and_is_told_of_parts_between() {
    let (station, page) = station(TRIGGERED);
    inspect_parts(&station, 1);
    picture_of(&page);
    let first = json(&page.get("/updates/live?since=0").body);
    let parts = |update: &Value| {
        let fragments = update["fragments"].as_array().expect("a list").iter();
        fragments
            .filter_map(|fragment| fragment["parts"].as_u64())
            .max()
    };

    assert_eq!(parts(&first), Some(1));
    inspect_parts(&station, 4);
    let address = format!("/updates/live?since={}", first["version"]);
    let mut update = json(&page.get(&address).body);
    wait_until("the newest part", PATIENCE, || {
        update = json(&page.get(&address).body);
        parts(&update) == Some(5)
    });

    let text = update.to_string();
    assert_said(&text, &["A-3 (no. 5)"]);
    assert!(update["version"].as_u64() > first["version"].as_u64());
    // A line that was started again has smaller versions or larger ones: either way all comes.
    let later = json(&page.get("/updates/live?since=18446744073709551615").body);
    assert!(
        later["fragments"]
            .as_array()
            .is_some_and(|list| list.len() >= 3)
    );
}

#[test]
fn five_viewers_of_which_one_stalls_hold_no_result_up() {
    let (station, page) = station(FREE_RUNNING);
    let results = station.listen("result");
    let mut stalled = page.connect();
    // Many answers are asked for at once, and none is read: buffers of both ends fill.
    let second = Some(Duration::from_secs(1));
    stalled.set_write_timeout(second).expect("a time");
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20_000);
    let _ = stalled.write_all(&ask);

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut version = 0;
                for _ in 0..8 {
                    let update = json(&page.get(&format!("/updates/live?since={version}")).body);
                    assert!(update["version"].as_u64() > Some(version) || version == 0);
                    version = update["version"].as_u64().expect("a number");
                }
            });
        }

        let heard: Vec<u64> = results
            .wait_for("result", 40)
            .iter()
            .map(|result| json(result)["seq"].as_u64().expect("a number"))
            .collect();

        assert!(
            heard.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{heard:?}"
        );
    });

    drop(stalled);
    let summary = station.summary();
    assert_eq!(summary["balanced"], true, "{summary}");
}

#[test]
fn garbage_huge_heads_and_many_connections_do_not_disturb_a_line() {
    let (station, page) = station(FREE_RUNNING);
    let results = station.listen("result");
    let garbage: [&[u8]; 5] = [
        b"\0\xff\xfe garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ];

    for bytes in garbage {
        let mut stream = page.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }

    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let answer = page.raw(head.as_bytes());
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    // Two lengths are how requests are smuggled.
    let smuggled = page.raw(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    );
    assert!(smuggled.starts_with("HTTP/1.1 400"), "{smuggled}");
    // Half-open connections take all places; one more is refused in words.
    let mut open: Vec<TcpStream> = vec![];
    let mut refused = String::new();
    for _ in 0..260 {
        let mut stream = page.connect();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHo");
        open.push(stream);
    }

    wait_until("a refusal", PATIENCE, || {
        let mut stream = page.connect();
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a time");
        let mut bytes = [0; 512];
        let count = stream.read(&mut bytes).unwrap_or(0);
        refused = String::from_utf8_lossy(&bytes[..count]).into_owned();
        !refused.is_empty()
    });

    assert_said(&refused, &["503", "too many connections"]);
    let heard: Vec<u64> = results
        .wait_for("result", 20)
        .iter()
        .map(|result| json(result)["seq"].as_u64().expect("a number"))
        .collect();

    assert!(
        heard.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{heard:?}"
    );
    drop(open);
    wait_until("room again", PATIENCE, || {
        let said =
            page.raw(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        said.starts_with("HTTP/1.1 200")
    });

    let summary = station.summary();
    assert_eq!(summary["balanced"], true, "{summary}");
}

#[test]
fn half_a_request_is_left_in_time() {
    let (_station, page) = station(TRIGGERED);
    let mut stream = page.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").expect("written");
    let mut answer = vec![];
    // The read ends with the connection, long before this test's patience.
    stream.read_to_end(&mut answer).expect("the page ends it");
}

#[test]
fn a_port_that_is_taken_ends_the_start_and_check_tells_it() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let page = Page::at(taken.local_addr().expect("bound").port());
    let config = LineConfig::new(broker.port, &folder_camera());
    config.tables(&page.table()).write(folder.path());
    let words = [
        "page.listen: 127.0.0.1:",
        "cannot be bound",
        "give another port",
    ];
    assert_refused(folder.path(), 69, &words);
    let check = || {
        let mut command = winspect();
        let output = command
            .args(["check", "--seconds", "3"])
            .arg(folder.path().join("line.toml"));
        let output = output.output().expect("runs");
        (output.status.code(), both(&output))
    };

    let (code, said) = check();
    assert_eq!(code, Some(69), "{said}");
    assert_said(&said, &["FAIL  page.listen: 127.0.0.1:", "cannot be bound"]);
    drop(taken);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert_said(&said, &["ok    page 127.0.0.1:"]);
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080"] {
        let table = format!("[page]\nlisten = {address:?}");
        LineConfig::new(free_port(), &folder_camera())
            .tables(&table)
            .write(folder.path());
        let words = [
            "page.listen: ",
            "can be reached from other machines",
            "in plain text; give tls",
        ];
        assert_refused(folder.path(), 78, &words);
    }
}
