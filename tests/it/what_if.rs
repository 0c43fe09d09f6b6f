//! What another revision or threshold would have made of the last parts, asked of a line that goes on judging.

use crate::harness::json;
use crate::harness::line::all_arrived;
use crate::harness::plc::Listener;
use crate::harness::station::Station;
use crate::harness::{PATIENCE, wait_until};
use crate::lessons::{carousel, done, label, turn};
use serde_json::Value;
use winspect::evidence::kept::stems;

/// Asks, and returns the second answer.
#[track_caller]
fn what_if(plc: &Listener, payload: &str) -> Value {
    plc.ask("what_if", payload, "accepted");
    let id = json(payload)["id"].clone();
    plc.until_fits("ack/what_if", |answer| {
        answer["id"] == id && (answer["status"] == "done" || answer["status"] == "rejected")
    })
}

/// The rejected part of the lowest score in a turn of the carousel: that of a good part which is no reference.
#[track_caller]
pub fn least_rejected(plc: &Listener, recipe: &str) -> Value {
    let shown = turn(plc, recipe);
    let mut rejected = shown
        .into_values()
        .filter(|result| result["verdict"] == "fail");

    rejected.next().expect("one that is no reference")
}

#[test]
fn the_effect_on_the_last_parts_and_on_the_bad_ones_is_told_while_the_line_judges() {
    let station = Station::seeing(carousel, |config, _| {
        config
            .recipe("threshold = 0.0001")
            .tables("[evidence]\nfolder = \"evidence\"\npass_every = 1")
    });

    let plc = &station.plc;
    // Two of four pictures are references, and score nothing; two are none, and fail.
    let shown = turn(plc, "nut@1");
    let worst = shown.values().next_back().expect("four scores");
    assert_eq!(worst["verdict"], "fail", "{worst}");
    done(plc, "label", &label("bad", worst, "really_bad"));

    wait_until("eight kept parts", PATIENCE, || {
        let folder = station.folder.path().join("evidence");
        stems(&folder).is_ok_and(|stems| stems.len() >= 8)
    });

    // Nothing passes under a threshold of nothing, and all does under the highest one.
    let told = what_if(plc, r#"{"id":"1","threshold":0,"parts":4}"#);
    let effect = &told["what_if"];
    assert_eq!(told["status"], "done", "{told}");
    assert_eq!(
        (&effect["parts"], &effect["would_fail"]),
        (&json("4"), &json("4")),
        "{told}"
    );
    assert_eq!(
        (&effect["bad_found"], &effect["bad_parts"]),
        (&json("1"), &json("1")),
        "{told}"
    );
    let changes = effect["changes"].as_array().expect("a list");
    assert_eq!(
        json(&changes.len().to_string()),
        effect["fails_more"],
        "{told}"
    );
    let told = what_if(plc, r#"{"id":"2","threshold":2}"#);
    let reason = told["reason"].as_str().expect("words");
    assert!(reason.contains("bad parts still found: 0 of 1"), "{reason}");
    assert_eq!(told["what_if"]["would_fail"], 0, "{told}");

    // A candidate that knows the other one as good lets it pass, and still finds the bad one.
    let rejected = least_rejected(plc, "nut@2");
    let payload = label("good", &rejected, "false_reject").replace('}', r#","candidate":true}"#);
    done(plc, "label", &payload);
    let told = what_if(plc, r#"{"id":"3","revision":3}"#);
    let effect = &told["what_if"];
    assert_eq!(effect["recipe"], "nut@3", "{told}");
    assert!(effect["passes_more"].as_u64() >= Some(1), "{told}");
    assert_eq!(effect["fails_more"], 0, "{told}");
    assert_eq!(
        (&effect["bad_found"], &effect["bad_parts"]),
        (&json("1"), &json("1")),
        "{told}"
    );
    assert_eq!(
        what_if(plc, r#"{"id":"4","revision":9}"#)["status"],
        "rejected"
    );

    // The line has judged by its own revision all the time.
    let result = plc.until("box/result", "recipe", "nut@2");
    assert_ne!(result["verdict"], "undecided", "{result}");
    all_arrived(&station.summary());
}
