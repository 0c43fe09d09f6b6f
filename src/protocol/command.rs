//! Commands as they come through a door: JSON to a checked [`Command`], or the reason of its
//! refusal. Pure; nothing is done here.

use super::reading::read;
use super::recipe_number::RecipeRef;
use super::shift_check::{SHIFT_CHECK, ShiftCheckCommand};
use super::teaching::RecipeChange;
use super::values::{ID_MAX, fits, id_of, text_or_number, time};
use crate::protocol::question::question;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Number;
use std::borrow::Cow;

/// Names of all commands.
pub const NAMES: [&str; 21] = [
    "trigger",
    "select_recipe",
    "set_threshold",
    "teach",
    "label",
    "forget",
    "rollback",
    "edit",
    "shadow",
    "suggest",
    "what_if",
    "challenge",
    SHIFT_CHECK,
    CLEANED,
    "snapshot",
    "pause",
    "resume",
    "reset",
    RELOAD,
    "take_control",
    "release_control",
];
/// Name of the command that says that a lens was cleaned.
pub const CLEANED: &str = "cleaned";
/// Name of the command that lets the line read its file again.
pub const RELOAD: &str = "reload";
/// Bytes of a command at most; a larger one is refused unread.
pub const PAYLOAD_MAX: usize = 4096;
/// Characters of a part's id at most.
const PART_ID_MAX: usize = 128;
/// Parts of one challenge at most.
const CHALLENGE_MAX: u32 = 1000;

/// A command that makes sense by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The sender's id. The same one again within an hour is answered again and not done twice.
    pub id: Option<String>,
    /// The thing to do.
    pub action: Action,
    /// Hash of the command's name and content without its id: another command under the same id has
    /// another one.
    pub question: String,
}

impl Command {
    fn new(id: Option<String>, action: Action) -> Self {
        Command {
            id,
            action,
            question: String::new(),
        }
    }
}

/// Kind of a command, with its values.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A part has come.
    Trigger(TriggerCommand),
    /// Another recipe is to judge.
    SelectRecipe {
        /// The recipe, by its name or number.
        recipe: RecipeRef,
        /// Revision that the recipe must have, if given.
        revision: Option<u64>,
    },
    /// Another threshold is to judge: for good where the library has the recipe, else until the line
    /// starts again.
    SetThreshold {
        /// Region of the threshold, where the recipe names regions.
        region: Option<String>,
        /// Threshold, 0 to 2.
        value: f32,
    },
    /// A recipe of the library is changed.
    Change(RecipeChange),
    /// The next parts are known: each must get this verdict.
    Challenge(ChallengeSpec),
    /// A step of a shift check.
    ShiftCheck(ShiftCheckCommand),
    /// Somebody has cleaned a camera's lens.
    Cleaned {
        /// Name of the camera; the only one unless given.
        camera: Option<String>,
    },
    /// A camera's picture as it is.
    Snapshot {
        /// Name of the camera; the only one unless given.
        camera: Option<String>,
    },
    /// No part is accepted until `Resume`.
    Pause,
    /// Parts are accepted again.
    Resume,
    /// Ends what an operator has seen: a missed challenge, a store that was moved aside.
    Reset,
    /// The line's file is read again, and what can change without a restart does.
    Reload,
    /// The sender alone may change recipes and thresholds for a while.
    TakeControl,
    /// Others may change them again.
    ReleaseControl,
}

/// A part has come.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    /// Camera of the part; every camera that waits for commands unless given.
    pub camera: Option<String>,
    /// The sender's id of the part.
    #[serde(default, deserialize_with = "text_or_number")]
    pub part_id: Option<String>,
    /// Time when the part was in front of the camera; the command's arrival unless given.
    #[serde(default, deserialize_with = "time")]
    pub at: Option<Timestamp>,
    /// Position of the part as the sender knows it; passed on to the result.
    pub position: Option<f64>,
    /// Encoder count of the part; passed on to the result.
    pub count: Option<i64>,
}

/// A challenge: the verdict that each of the next parts must get.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize)]
pub struct ChallengeSpec {
    /// Camera of the parts, or the name that several cameras share; any unless given.
    pub camera: Option<String>,
    /// Number of parts.
    pub parts: u32,
    /// The verdict that each of them must get.
    pub expect: Expect,
}

/// Verdict that a challenge expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Good parts.
    Pass,
    /// Bad parts.
    Fail,
}

/// Refusal of a command.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// Id of the command, if it had a readable one.
    pub id: Option<String>,
    /// Reason in words for its sender.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainPayload {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectRecipePayload {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    recipe: RecipeRef,
    revision: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetThresholdPayload {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    region: Option<String>,
    value: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengePayload {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    camera: Option<String>,
    parts: u32,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CameraPayload {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    camera: Option<String>,
}

/// The command `name` (the topic's last level) with this payload.
///
/// # Errors
/// When the command is refused; the reason is in words for its sender.
pub fn parse(name: &str, payload: &[u8]) -> Result<Command, Refusal> {
    // The size is looked at before anything is parsed: a large command must cost nothing.
    if payload.len() > PAYLOAD_MAX {
        let reason = format!(
            "a command of {} bytes; at most {PAYLOAD_MAX} are read",
            payload.len()
        );

        let id = id_of(&payload[..PAYLOAD_MAX]);
        return Err(Refusal { id, reason });
    }

    let refused = |reason: String| Refusal {
        id: id_of(payload),
        reason,
    };

    // Two steps: JSON that has the right keys, then values that make sense.
    let content = content_of(name, payload);
    let mut command = read_command(name, &content).map_err(refused)?;
    check(&command).map_err(refused)?;
    command.question = question(name, &content);
    Ok(command)
}

/// The payload as JSON of a command. A trigger may be empty, or a number alone, which is the part's: a PLC
/// without text then announces parts all the same. The number is no id, because a PLC's counter begins anew, and a
/// part whose id came before would be none.
fn content_of<'a>(name: &str, payload: &'a [u8]) -> Cow<'a, [u8]> {
    let bare = payload.trim_ascii();
    if name != "trigger" {
        return Cow::Borrowed(payload);
    }

    if bare.is_empty() {
        return Cow::Borrowed(b"{}");
    }

    match serde_json::from_slice::<Number>(bare) {
        Ok(part) => Cow::Owned(format!(r#"{{"part_id":{part}}}"#).into_bytes()),
        Err(_) => Cow::Borrowed(payload),
    }
}

fn read_command(name: &str, payload: &[u8]) -> Result<Command, String> {
    match name {
        // A trigger's id stays in its values as well: they are read as one object.
        "trigger" => {
            let trigger: TriggerCommand = read(payload)?;
            let id = trigger.id.clone();
            Ok(Command::new(id, Action::Trigger(trigger)))
        }
        // The others are read into a payload of their own each, so that an unknown key is refused.
        "select_recipe" => {
            let SelectRecipePayload {
                id,
                recipe,
                revision,
            } = read(payload)?;

            Ok(Command::new(id, Action::SelectRecipe { recipe, revision }))
        }
        "set_threshold" => {
            let SetThresholdPayload { id, region, value } = read(payload)?;
            Ok(Command::new(id, Action::SetThreshold { region, value }))
        }
        // A challenge's values travel together from here on.
        "challenge" => read_challenge(payload),
        SHIFT_CHECK => ShiftCheckCommand::read(payload)
            .map(|(id, step)| Command::new(id, Action::ShiftCheck(step))),
        CLEANED => {
            let CameraPayload { id, camera } = read(payload)?;
            Ok(Command::new(id, Action::Cleaned { camera }))
        }
        "snapshot" => {
            let CameraPayload { id, camera } = read(payload)?;
            Ok(Command::new(id, Action::Snapshot { camera }))
        }
        "pause" => read_plain(payload, Action::Pause),
        "resume" => read_plain(payload, Action::Resume),
        "reset" => read_plain(payload, Action::Reset),
        RELOAD => read_plain(payload, Action::Reload),
        "take_control" => read_plain(payload, Action::TakeControl),
        "release_control" => read_plain(payload, Action::ReleaseControl),
        // Those that change a recipe are read beside this file.
        _ => match RecipeChange::read(name, payload) {
            Some(change) => change.map(|(id, change)| Command::new(id, Action::Change(change))),
            None => Err(no_command(name)),
        },
    }
}

fn no_command(name: &str) -> String {
    format!(
        "there is no command {name:?}; there are {}",
        NAMES.join(", ")
    )
}

fn read_challenge(payload: &[u8]) -> Result<Command, String> {
    let ChallengePayload {
        id,
        camera,
        parts,
        expect,
    } = read(payload)?;

    let spec = ChallengeSpec {
        camera,
        parts,
        expect,
    };

    Ok(Command::new(id, Action::Challenge(spec)))
}

fn read_plain(payload: &[u8], action: Action) -> Result<Command, String> {
    let PlainPayload { id } = read(payload)?;
    Ok(Command::new(id, action))
}

fn check(command: &Command) -> Result<(), String> {
    match command.id.as_deref() {
        None if !matches!(command.action, Action::Trigger(_)) => {
            return Err(
                "id is missing: a text of the sender's, another one for each command".to_owned(),
            );
        }
        Some(id) => fits("id", id, ID_MAX)?,
        None => {}
    }

    match &command.action {
        Action::Trigger(trigger) => match &trigger.part_id {
            Some(part_id) => fits("part_id", part_id, PART_ID_MAX),
            None => Ok(()),
        },
        Action::SetThreshold { value, .. } if !(0.0..=2.0).contains(value) => {
            Err(format!("value must be from 0 to 2, got {value}"))
        }
        Action::Challenge(ChallengeSpec { parts, .. }) if !(1..=CHALLENGE_MAX).contains(parts) => {
            Err(format!(
                "parts must be from 1 to {CHALLENGE_MAX}, got {parts}"
            ))
        }
        Action::Change(change) => change.check(),
        Action::ShiftCheck(step) => step.check(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_trigger_has_what_it_says() {
        let order = parse(
            "trigger",
            br#"{"id":"t1","part_id":"A-7","at":"2026-11-23T06:10:11.482Z","count":42}"#,
        );

        let order = order.expect("fits");
        let Action::Trigger(trigger) = order.action else {
            panic!("a trigger")
        };

        assert_eq!(
            (
                order.id.as_deref(),
                trigger.part_id.as_deref(),
                trigger.count
            ),
            (Some("t1"), Some("A-7"), Some(42))
        );

        assert_eq!(
            trigger.at.map(|at| at.as_millisecond()),
            Some(1_795_414_211_482)
        );

        assert_eq!(parse("trigger", b"{}").map(|order| order.id), Ok(None));
    }

    #[test]
    fn a_trigger_may_be_empty_or_the_parts_number_alone() {
        for (payload, part_id) in [
            ("", None),
            (" \n", None),
            ("{}", None),
            ("77812", Some("77812")),
            (" -3\n", Some("-3")),
            ("18446744073709551615", Some("18446744073709551615")),
        ] {
            let command = parse("trigger", payload.as_bytes()).expect(payload);
            assert_eq!(command.id, None, "{payload}");
            let Action::Trigger(trigger) = command.action else {
                panic!("a trigger")
            };

            assert_eq!(trigger.part_id.as_deref(), part_id, "{payload}");
        }

        for (payload, words) in [
            ("1.5", "text or a whole number, got 1.5"),
            ("true", "a command must be an object in braces, got true"),
            ("[7]", "a command must be"),
            ("A-77812", "no JSON"),
        ] {
            let refusal = parse("trigger", payload.as_bytes()).expect_err(payload);
            assert!(refusal.reason.contains(words), "{}", refusal.reason);
        }

        let empty = parse("pause", b"").expect_err("only a trigger");
        assert!(empty.reason.contains("is empty"), "{}", empty.reason);
    }

    #[test]
    fn a_recipe_is_selected_by_name_or_number() {
        let selected = |payload: &str| {
            let command = parse("select_recipe", payload.as_bytes());
            command.map(|command| command.action)
        };

        let expected = |recipe| Action::SelectRecipe {
            recipe,
            revision: None,
        };

        let by_name = expected(RecipeRef::Name("3".to_owned()));
        assert_eq!(selected(r#"{"id":1,"recipe":"3"}"#), Ok(by_name));
        let by_number = expected(RecipeRef::Number(3));
        assert_eq!(selected(r#"{"id":1,"recipe":3}"#), Ok(by_number));
        let refusal = selected(r#"{"id":1,"recipe":3.5}"#).expect_err("no number");
        assert_eq!(refusal.id.as_deref(), Some("1"));
        let words = "recipe must be a name in quotes or a number, got 3.5";
        assert!(refusal.reason.contains(words), "{}", refusal.reason);
    }

    #[test]
    fn what_is_refused_says_why_and_whose_it_is() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(65));
        let cases: [(&str, &[u8], Option<&str>, &str); 9] = [
            ("pause", b"", None, "the message is empty"),
            (
                "trigger",
                br#"{"id":"a","part":"x"}"#,
                Some("a"),
                "unknown field `part`",
            ),
            (
                "trigger",
                br#"{"id":"a","at":"noon"}"#,
                Some("a"),
                "at must be like 2026-11-23T06:10:11.482Z, or Unix time in seconds or milliseconds, got \"noon\"",
            ),
            ("pause", b"{}", None, "id is missing"),
            ("pause", long.as_bytes(), None, "1 to 64 characters"),
            (
                "set_threshold",
                br#"{"id":"a","value":3}"#,
                Some("a"),
                "from 0 to 2, got 3",
            ),
            (
                "challenge",
                br#"{"id":"a","parts":0,"expect":"fail"}"#,
                Some("a"),
                "from 1 to 1000, got 0",
            ),
            (
                "teech",
                br#"{"id":"a"}"#,
                Some("a"),
                "there is no command \"teech\"",
            ),
            ("pause", &[b' '; PAYLOAD_MAX + 1], None, "at most 4096"),
        ];

        for (name, payload, id, words) in cases {
            let refusal = parse(name, payload).expect_err(words);
            assert_eq!(refusal.id.as_deref(), id, "{words}");
            assert!(
                refusal.reason.contains(words),
                "{words:?} is not in {:?}",
                refusal.reason
            );
        }
    }

    #[test]
    fn numbers_are_ids_and_times_too() {
        let trigger = |payload: &str| {
            let command = parse("trigger", payload.as_bytes()).expect(payload);
            let Action::Trigger(trigger) = command.action else {
                panic!("a trigger")
            };

            (
                command.id,
                trigger.part_id,
                trigger.at.map(|at| at.as_millisecond()),
            )
        };

        let expected = (
            Some("7".to_owned()),
            Some("18446744073709551615".to_owned()),
            Some(1_795_414_211_482),
        );

        for at in [
            "1795414211482",
            "1795414211.482",
            "\"2026-11-23T06:10:11.482Z\"",
        ] {
            let payload = format!(r#"{{"id":7,"part_id":18446744073709551615,"at":{at}}}"#);
            assert_eq!(trigger(&payload), expected, "{payload}");
        }

        assert_eq!(
            parse("pause", br#"{"id":-7}"#).map(|c| c.id),
            Ok(Some("-7".to_owned()))
        );
        for wrong in [
            r#"{"id":7.5}"#,
            r#"{"id":true}"#,
            r#"{"id":[7]}"#,
            r#"{"id":1e99}"#,
        ] {
            let refusal = parse("pause", wrong.as_bytes()).expect_err(wrong);
            assert!(
                refusal.reason.contains("text or a whole number"),
                "{}",
                refusal.reason
            );
        }

        for wrong in [r#"{"at":1e300}"#, r#"{"at":true}"#, r#"{"at":[]}"#] {
            let refusal = parse("trigger", wrong.as_bytes()).expect_err(wrong);
            assert!(refusal.reason.contains("Unix time"), "{}", refusal.reason);
        }
    }

    #[test]
    fn a_refusal_carries_the_id_wherever_it_can_be_read() {
        let long = format!(r#"{{"id": 12, "part_id": "{}"}}"#, "x".repeat(PAYLOAD_MAX));
        let cases = [
            (r#"{"id":"a","part_id":"x}"#, Some("a")),
            (r#"{"part_id":"x","id" : 7,"#, Some("7")),
            (r#"{"id":7,"part":1}"#, Some("7")),
            (r#"{"id":"a\uffff"}"#, None),
            (r#"{"id":"a"#, None),
            (long.as_str(), Some("12")),
        ];

        for (payload, id) in cases {
            let refusal = parse("trigger", payload.as_bytes()).expect_err(payload);
            assert_eq!(refusal.id.as_deref(), id, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_a_panic(name in ".{0,12}", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in ["trigger", "set_threshold", "challenge", "snapshot", "pause", &name] {
                if let Err(refusal) = parse(name, &payload) {
                    prop_assert!(!refusal.reason.is_empty());
                }
            }
        }
    }
}
