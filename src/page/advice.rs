//! What a person does about a cause: one step for each source of diagnostics.

use super::board::source;

/// Sources, or beginnings of sources, and the step. The first that fits counts.
const STEPS: &[(&str, &str)] = &[
    (
        "camera ",
        "Look at the camera's light, plug and cable, then at its address; it comes back by itself.",
    ),
    (
        "pictures of ",
        "Look at the lamp and the lens: clean it, and see that nothing stands before it.",
    ),
    (
        "presence of ",
        "Nothing can be told from the empty line: set presence.area in the line's file, and start the line again.",
    ),
    (
        "stream of ",
        "Let the camera send whole key frames (docs/cameras.md).",
    ),
    (
        "triggers of ",
        "Triggers come without a picture: compare the clocks of PLC and camera, and match_before_ms and match_after_ms.",
    ),
    (
        "web of ",
        "Part of the web went by unseen: check it by hand, then send reset.",
    ),
    (
        "empty line of ",
        "Something stays in the picture: take it away, then send reset.",
    ),
    (
        "drift of ",
        "Clean the lens, look at lamp and camera mount; if the parts have changed, teach them, then send reset.",
    ),
    (
        "challenge under way",
        "Lay the known parts on the line, one after the other.",
    ),
    (
        "challenge overdue",
        "Send the known parts through the line as a challenge now.",
    ),
    (
        "challenge",
        "The line did not catch all known parts: stop production, and call the setter.",
    ),
    ("paused", "Send resume when the line may judge again."),
    (
        "threshold",
        "Teach good parts, or give the recipe a threshold: until then no part is judged.",
    ),
    (
        "known bad parts",
        "A known bad part passes: lower the threshold, or teach again.",
    ),
    (
        "self-test pictures",
        "The threshold contradicts the self-test: choose other pictures, or another threshold.",
    ),
    (
        "self-test",
        "The same picture no longer gets the same score: call the setter before judging on.",
    ),
    (
        "engine",
        "Start the line again; if it stays, look at the log and at winspect doctor.",
    ),
    (
        "recipe library",
        "The disk or the rights of the library's folder keep a threshold from being saved: mend them.",
    ),
    (
        "recipe",
        "Select the recipe again; the store could not tell which one was selected.",
    ),
    (
        "command ids",
        "Two commands came under one id: let each sender give its commands new ids, then send reset.",
    ),
    (
        "commands",
        "The broker lets the line hear no commands: give its user the right to read cmd/+ and fence.",
    ),
    (
        "fences",
        "The broker does not bring the line's own messages back: give its user the right to write and read fence.",
    ),
    (
        "gate",
        "Rejected parts passed the gate: check the last parts by hand, then send reset.",
    ),
    (
        "results aside",
        "The broker refuses some results: look at its log and its limits of size.",
    ),
    (
        "results given up",
        "Results were lost for the broker: count parts by hand for that time, then send reset.",
    ),
    (
        "results",
        "The broker refuses results: give its user the right to write result/#.",
    ),
    (
        "messages",
        "The broker refuses messages: look at its log, and at winspect check.",
    ),
    (
        "pictures",
        "The broker takes no pictures: give the client id with -pictures at its end its rights.",
    ),
    (
        "control held",
        "Somebody sets the line up: wait, or ask who it is to release control.",
    ),
    (
        "control",
        "No control socket: look at the rights of the store's folder.",
    ),
    ("page", "The page cannot be served: look at the log."),
    (
        "page users",
        "Mend the users' file, or make the users anew with winspect user; the line goes on meanwhile.",
    ),
    (
        "page certificate",
        "Renew the page's certificate: browsers refuse the page without a valid one; the line goes on.",
    ),
    (
        "slow disk",
        "The disk is slow: see what else writes to it, or replace it.",
    ),
    (
        "store file",
        "The store's file was removed: keep others out of its folder, then start the line again.",
    ),
    (
        "store moved aside",
        "The store was damaged and lies beside the new one: keep it for history, then send reset.",
    ),
    (
        "store",
        "The disk does not take results: make room, or look at its health; results wait in memory.",
    ),
    (
        "backlog",
        "Results wait for the broker: mend the way to it.",
    ),
    (
        "disk",
        "The disk is nearly full: take files away, or make [store] keep_mb smaller.",
    ),
    (
        "own clock",
        "The machine's clock jumped: let it be steered (chrony), and look at its battery.",
    ),
];

/// Step for a cause without one of its own.
const OTHERWISE: &str = "Look at the log of the line (journalctl).";
/// Step for a broker that is away.
pub const BROKER_AWAY: &str = "Look at the broker and the network to it; results wait on the disk and are sent when it is back.";

/// The step for a cause, `source: detail`.
pub fn step(cause: &str) -> &'static str {
    let source = source(cause);
    let fits = |known: &str| {
        if known.ends_with(' ') {
            source.starts_with(known)
        } else {
            source == known
        }
    };

    let found = STEPS.iter().find(|(known, _)| fits(known));
    found.map_or(OTHERWISE, |(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::control::{COMMAND_IDS, DRIFT_OF, LIBRARY, LINE_OF, THRESHOLD, WEB_OF};
    use crate::line::shared::{ENGINE, PICTURES_OF, PRESENCE_OF};
    use crate::page::access::keeper::PAGE_USERS;
    use crate::page::tls::PAGE_CERTIFICATE;
    use crate::protocol::condition::{COMMANDS, FENCES, GATE, HELD, RESULTS};
    use crate::store::{GIVEN_UP, MOVED_ASIDE};

    #[test]
    fn each_source_has_a_step_of_its_own() {
        let sources = [
            COMMAND_IDS,
            PAGE_CERTIFICATE,
            PAGE_USERS,
            LIBRARY,
            THRESHOLD,
            ENGINE,
            COMMANDS,
            FENCES,
            GATE,
            HELD,
            RESULTS,
            GIVEN_UP,
            MOVED_ASIDE,
        ];

        let of_camera = [DRIFT_OF, LINE_OF, WEB_OF, PICTURES_OF, PRESENCE_OF];
        let of_camera = of_camera.map(|begin| format!("{begin}top"));
        let mut steps: Vec<&str> = sources
            .into_iter()
            .chain(of_camera.iter().map(String::as_str))
            .map(|source| step(&format!("{source}: why")))
            .collect();

        assert!(!steps.contains(&OTHERWISE), "{steps:?}");
        let count = steps.len();
        steps.sort_unstable();
        steps.dedup();
        assert_eq!(steps.len(), count);
        assert_eq!(step("something new: why"), OTHERWISE);
    }
}
