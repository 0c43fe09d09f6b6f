//! Commands in words, for the audit log and the journal.

use super::command::{Action, ChallengeSpec, Expect};
use super::editing::{EditCommand, ThresholdWish};
use super::teaching::{RecipeChange, TaughtAs};
use super::what_if::WhatIfCommand;

/// A command in words, without its name.
pub fn words(action: &Action) -> String {
    match action {
        Action::Trigger(_) => "a part has come".to_owned(),
        Action::SelectRecipe { recipe, revision } => match revision {
            Some(revision) => format!("{}@{revision}", recipe.words()),
            None => recipe.words(),
        },
        Action::SetThreshold { region, value } => format!("{value}{}", of(region.as_deref())),
        Action::Change(change) => of_change(change),
        Action::Challenge(spec) => of_challenge(spec),
        Action::ShiftCheck(step) => step.words(),
        Action::Snapshot { camera } | Action::Cleaned { camera } => {
            camera.clone().unwrap_or_default()
        }

        Action::Pause
        | Action::Resume
        | Action::Reset
        | Action::Reload
        | Action::TakeControl
        | Action::ReleaseControl => String::new(),
    }
}

fn of(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!(" of {name}"))
}

fn of_challenge(spec: &ChallengeSpec) -> String {
    let expected = match spec.expect {
        Expect::Pass => "pass",
        Expect::Fail => "fail",
    };

    let camera = of(spec.camera.as_deref());

    format!(
        "each of the next {} parts{camera} must {expected}",
        spec.parts
    )
}

fn of_change(change: &RecipeChange) -> String {
    // The recipe is named where the sender named one; else the one that judged is meant, which the
    // answer names.
    let recipe = match change.recipe() {
        Some(recipe) => format!(", recipe {recipe}"),
        None => String::new(),
    };

    let words = match change {
        RecipeChange::Teach(command) => {
            let kind = match command.taught_as {
                TaughtAs::Good => "good",
                TaughtAs::Bad => "bad",
            };

            let camera = of(command.camera.as_deref());

            // Numbers of groups begin anew with each run.
            let run = of(command.run_id.as_deref());

            match command.group {
                Some(group) => format!("the parts of group {group}{run} are {kind}"),
                None => format!("the next {} parts{camera} are {kind}", command.parts),
            }
        }

        RecipeChange::Label(command) => {
            let part = format!("part {}/{}/{}", command.run_id, command.camera, command.seq);
            let label = command
                .label
                .map_or(String::new(), |label| format!(" is {}", label.word()));
            let note = command
                .note
                .as_ref()
                .map_or(String::new(), |note| format!(", note {note:?}"));
            format!("{part}{label}{note}")
        }

        RecipeChange::Forget(command) => format!("picture {}", command.picture),
        RecipeChange::Rollback(command) => {
            let to = match command.revision {
                Some(revision) => format!("to revision {revision}"),
                None => "to the revision that judged before".to_owned(),
            };

            let force = if command.force { ", by force" } else { "" };
            to + force
        }

        RecipeChange::Edit(command) => of_edit(command),
        RecipeChange::Shadow(command) => match command.revision {
            Some(revision) => format!("revision {revision} in the shadow"),
            None => "the shadow ends".to_owned(),
        },
        RecipeChange::Suggest(_) => "groups of doubtful parts are asked for".to_owned(),
        RecipeChange::WhatIf(command) => of_what_if(command),
    };

    let candidate = match change.makes_candidate() {
        true => ", as a candidate",
        false => "",
    };

    words + &recipe + candidate
}

fn of_what_if(command: &WhatIfCommand) -> String {
    let revision = command
        .revision
        .map_or(String::new(), |revision| format!(" by revision {revision}"));

    let threshold = command
        .threshold
        .map_or(String::new(), |value| format!(" under threshold {value}"));

    format!(
        "the last {} parts again{revision}{threshold}",
        command.parts
    )
}

fn of_edit(command: &EditCommand) -> String {
    let mut words = vec![];

    if let Some(like) = &command.like {
        words.push(format!("a new recipe like {like}"));
    }

    if let Some(view) = &command.view {
        words.push(view.words());
    }

    for place in &command.mask_out {
        words.push(place.words());
    }

    match &command.threshold {
        Some(ThresholdWish::Number(value)) => words.push(format!("threshold {value}")),
        Some(ThresholdWish::Word(word)) => words.push(format!("threshold {word}")),
        None => {}
    }

    if let Some(rate) = command.false_reject_rate {
        words.push(format!("false_reject_rate {rate}"));
    }

    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::command::parse;
    use super::*;

    #[test]
    fn commands_are_told_in_words() {
        for (name, payload, said) in [
            (
                "set_threshold",
                r#"{"value":0.25,"region":"rim"}"#,
                "0.25 of rim",
            ),
            ("select_recipe", r#"{"recipe":"nut","revision":3}"#, "nut@3"),
            ("pause", "{}", ""),
            (
                "challenge",
                r#"{"id":"c","parts":2,"expect":"fail"}"#,
                "each of the next 2 parts must fail",
            ),
            (
                "teach",
                r#"{"parts":8,"as":"good","camera":"top","recipe":"nut"}"#,
                "the next 8 parts of top are good, recipe nut",
            ),
            (
                "label",
                r#"{"run_id":"01A","camera":"top","seq":7,"as":"really_bad","note":"a \"crack\""}"#,
                "part 01A/top/7 is really_bad, note \"a \\\"crack\\\"\"",
            ),
            (
                "edit",
                r#"{"recipe":"bolt","like":"nut","view":{"crop":[1,2,3,4]},"threshold":"auto"}"#,
                "a new recipe like nut, crop 1,2,3,4, threshold auto, recipe bolt",
            ),
            (
                "teach",
                r#"{"run_id":"01A","group":3,"as":"bad","candidate":true}"#,
                "the parts of group 3 of 01A are bad, as a candidate",
            ),
            (
                "label",
                r#"{"run_id":"01A","camera":"top","seq":7,"as":"good","recipe":"nut","candidate":true}"#,
                "part 01A/top/7 is good, recipe nut, as a candidate",
            ),
            (
                "forget",
                r#"{"picture":"12345678","candidate":true}"#,
                "picture 12345678, as a candidate",
            ),
            (
                "what_if",
                r#"{"revision":3}"#,
                "the last 200 parts again by revision 3",
            ),
            ("rollback", "{}", "to the revision that judged before"),
            (
                "rollback",
                r#"{"revision":4,"force":true}"#,
                "to revision 4, by force",
            ),
        ] {
            let mut payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            payload["id"] = "x".into();
            let command = parse(name, payload.to_string().as_bytes()).expect("fits");
            assert_eq!(words(&command.action), said);
        }
    }
}
