//! Commands as they come from the broker: JSON to a checked [`Command`], or why not. Pure; nothing is done here.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// All commands.
pub const NAMES: [&str; 8] = [
    "trigger",
    "select_recipe",
    "set_threshold",
    "challenge",
    "snapshot",
    "pause",
    "resume",
    "reset",
];
/// Bytes of a command; a larger one is refused unread.
pub const PAYLOAD_MAX: usize = 4096;
/// Characters.
const ID_MAX: usize = 64;
const PART_ID_MAX: usize = 128;
/// Parts of one challenge.
const CHALLENGE_MAX: u32 = 1000;

/// A command that makes sense by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The sender's; the same one again within an hour is answered again and not done twice.
    pub id: Option<String>,
    pub command: Action,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Trigger(Trigger),
    SelectRecipe {
        recipe: String,
        /// The one that it must have.
        revision: Option<u64>,
    },
    SetThreshold {
        /// Where the recipe names some.
        region: Option<String>,
        value: f32,
    },
    /// The next parts are known: each must get this verdict.
    Challenge(ChallengeSpec),
    Snapshot {
        camera: Option<String>,
    },
    Pause,
    Resume,
    Reset,
}

/// A part has come.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    id: Option<String>,
    /// Every camera that waits for commands, unless given.
    pub camera: Option<String>,
    pub part_id: Option<String>,
    /// When it was in front of the camera; when the command came, unless given.
    #[serde(default, deserialize_with = "time")]
    pub at: Option<Timestamp>,
    pub position: Option<f64>,
    pub count: Option<i64>,
}

/// What the sender of a challenge knows of the next parts.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize)]
pub struct ChallengeSpec {
    /// They are this camera's, or of cameras that share this name; any unless given.
    pub camera: Option<String>,
    pub parts: u32,
    pub expect: Expect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    Pass,
    Fail,
}

/// Why a command is not done; its id, where it had a readable one.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub id: Option<String>,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectRecipe {
    id: Option<String>,
    recipe: String,
    revision: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetThreshold {
    id: Option<String>,
    region: Option<String>,
    value: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    id: Option<String>,
    camera: Option<String>,
    parts: u32,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    id: Option<String>,
    camera: Option<String>,
}

/// The command `name` (the topic's last level) with this payload.
///
/// # Errors
/// Why it is refused, in words for its sender.
pub fn parse(name: &str, payload: &[u8]) -> Result<Command, Refusal> {
    if payload.len() > PAYLOAD_MAX {
        let reason = format!(
            "a command of {} bytes; at most {PAYLOAD_MAX} are read",
            payload.len()
        );
        return Err(Refusal { id: None, reason });
    }
    let refused = |reason: String| Refusal {
        id: id_of(payload),
        reason,
    };
    let order = match name {
        "trigger" => {
            read::<Trigger>(payload).map(|trigger| (trigger.id.clone(), Action::Trigger(trigger)))
        }
        "select_recipe" => {
            let selected =
                |SelectRecipe {
                     id,
                     recipe,
                     revision,
                 }| (id, Action::SelectRecipe { recipe, revision });
            read(payload).map(selected)
        }
        "set_threshold" => {
            let set =
                |SetThreshold { id, region, value }| (id, Action::SetThreshold { region, value });
            read(payload).map(set)
        }
        "challenge" => {
            let known = |Challenge {
                             id,
                             camera,
                             parts,
                             expect,
                         }| {
                (
                    id,
                    Action::Challenge(ChallengeSpec {
                        camera,
                        parts,
                        expect,
                    }),
                )
            };
            read(payload).map(known)
        }
        "snapshot" => {
            read(payload).map(|Snapshot { id, camera }| (id, Action::Snapshot { camera }))
        }
        "pause" => read(payload).map(|Plain { id }| (id, Action::Pause)),
        "resume" => read(payload).map(|Plain { id }| (id, Action::Resume)),
        "reset" => read(payload).map(|Plain { id }| (id, Action::Reset)),
        _ => Err(format!(
            "there is no command {name:?}; there are {}",
            NAMES.join(", ")
        )),
    };
    let (id, command) = order.map_err(refused)?;
    check(id.as_deref(), &command).map_err(refused)?;
    Ok(Command { id, command })
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

fn time<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(text)? else {
        return Ok(None);
    };
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| {
        serde::de::Error::custom(format!(
            "at must be like 2026-11-23T06:10:11.482Z, got {text:?}"
        ))
    })
}

fn check(id: Option<&str>, command: &Action) -> Result<(), String> {
    match id {
        None if !matches!(command, Action::Trigger(_)) => {
            return Err(
                "id is missing: a text of the sender's, another one for each command".to_owned(),
            );
        }
        Some(id) => fits("id", id, ID_MAX)?,
        None => {}
    }
    match command {
        Action::Trigger(trigger) => trigger
            .part_id
            .as_deref()
            .map_or(Ok(()), |id| fits("part_id", id, PART_ID_MAX)),
        Action::SetThreshold { value, .. } if !(0.0..=2.0).contains(value) => {
            Err(format!("value must be from 0 to 2, got {value}"))
        }
        Action::Challenge(ChallengeSpec { parts, .. }) if !(1..=CHALLENGE_MAX).contains(parts) => {
            Err(format!(
                "parts must be from 1 to {CHALLENGE_MAX}, got {parts}"
            ))
        }
        _ => Ok(()),
    }
}

fn fits(what: &str, words: &str, most: usize) -> Result<(), String> {
    let count = words.chars().count();
    if count == 0 || count > most || words.chars().any(char::is_control) {
        return Err(format!(
            "{what} must have 1 to {most} characters, none of them a control character; got {count}"
        ));
    }
    Ok(())
}

/// The id of a command that is refused, so that its sender knows which.
fn id_of(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let id = value.get("id")?.as_str()?;
    fits("id", id, ID_MAX).is_ok().then(|| id.to_owned())
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
        let Action::Trigger(trigger) = order.command else {
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
    fn what_is_refused_says_why_and_whose_it_is() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(65));
        let cases: [(&str, &[u8], Option<&str>, &str); 9] = [
            ("trigger", b"", None, "EOF"),
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
                "at must be like 2026-11-23T06:10:11.482Z, got \"noon\"",
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
