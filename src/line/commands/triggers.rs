//! The trigger among the commands: which cameras it means, the parts that it makes, and their way to
//! the cameras.

use super::{CommandHandler, PendingAnswer};
use crate::base::health::Health;
use crate::data::part::{Part, PartRequest};
use crate::data::report::Report;
use crate::data::verdict::Reason;
use crate::line::admission::PartSource;
use crate::line::part_time::check_time;
use crate::protocol::answer::{Answer, AnswerStatus, AnsweredPart};
use crate::protocol::command::TriggerCommand;
use crate::protocol::request::Request;
use crate::trigger::ClockLook;
use jiff::Timestamp;
use std::time::Instant;

/// Reason of an accepted trigger that carried no id.
const WITHOUT_ID: &str = "without id: its repetition would be another part";
/// Diagnostics source of this machine's clock.
const OWN_CLOCK: &str = "own clock";
/// Cause of a trigger that is not judged, because its moment is not known.
const WAITED: &str =
    "the trigger may have waited on its way (broker, link, process), and says no time";

impl CommandHandler {
    pub(super) fn trigger(&mut self, trigger: &TriggerCommand, request: &Request) -> PendingAnswer {
        let id = request.command.id.clone();
        let groups = match self.groups_of(trigger) {
            Ok(groups) => groups,
            Err(reason) => {
                let answer = Answer::rejected(id.as_deref(), reason);
                return self.written(answer, &request.command.question);
            }
        };

        // The command may have waited in a queue; its arrival, not this moment, is the part's time
        // where it carries none.
        let look = self.own_clock.look();
        let came_at = look.reading.wall_at(request.came_at);
        let at = trigger.at.unwrap_or(came_at);
        let moment = moment_of(trigger, request, &look);
        // A part whose own moment is in doubt is undecided, and counts from its command's arrival; it is no known part.
        let was_there = moment.as_ref().ok().copied();
        let part_moment = was_there.unwrap_or(request.came_at);
        // Each region of each group that the trigger means gets a request; one store request
        // numbers them all, so that a crash leaves all or none.
        let asks = groups
            .iter()
            .map(|group| &self.groups[*group].source)
            .flat_map(|source| {
                let whole = source.ask(request.came_at, at, part_moment);
                part_requests(source, trigger, whole, was_there)
            })
            .collect();

        // The answer names the parts' numbers, which only the store knows, so that its wording runs
        // in the store's thread.
        let answered_id = id.clone();
        let question = request.command.question.clone();
        let accepting = self.store.accept_durable_async(asks, id, move |parts| {
            accepted(answered_id, parts).encode_kept(&question)
        });

        PendingAnswer::Parts {
            accepting,
            groups,
            at: moment,
        }
    }

    /// Hands parts to the cameras that see them; without a time they cannot be judged.
    pub(super) fn dispatch(&self, parts: Vec<Part>, groups: &[usize], at: Result<Instant, String>) {
        // Parts that have a number need a result. Without a time no frame is theirs, and they are
        // undecided at once.
        let at = match at {
            Ok(at) => at,
            Err(why) => {
                let undecided = parts.into_iter().map(|part| self.undecided(part, &why));
                return self.store.submit(undecided.collect());
            }
        };

        for group in groups.iter().map(|group| &self.groups[*group]) {
            // Each camera of a group gets all parts of the group: it sees the same thing from
            // another side.
            let own: Vec<Part> = parts
                .iter()
                .filter(|part| *part.camera() == group.source.camera)
                .cloned()
                .collect();

            for admission in &group.cameras {
                admission.on_trigger(own.clone(), at);
            }
        }
    }

    /// Tells while an `at` that is stamped now is in doubt, because this machine's clock was set back.
    pub(super) fn tell_own_clock(&self, look: &ClockLook) {
        let Err(step) = look.moment_of(look.reading.wall) else {
            return self.diagnostics.clear(OWN_CLOCK);
        };

        let words = format!(
            "this machine's clock was {}; triggers with `at` are undecided until it is past that time",
            step.words()
        );

        self.diagnostics.set(OWN_CLOCK, Health::OffSpec, words);
    }

    /// Report of a part whose time is not known.
    fn undecided(&self, part: Part, why: &str) -> Report {
        let policy = self.control.policy_for(part.request.region.as_deref());
        Report {
            detail: Some(why.to_owned()),
            ..Report::undecided(part, Reason::NotReady, &policy)
        }
    }

    /// Indices of the camera groups that a trigger means.
    fn groups_of(&self, trigger: &TriggerCommand) -> Result<Vec<usize>, String> {
        if self.control.is_paused() {
            return Err("the line is paused; resume it".to_owned());
        }

        // A time that is far ahead would keep its part open until then, and all later ones of its
        // camera behind it. One that is far behind is older than every picture.
        if let Some(at) = trigger.at {
            check_time(at, Timestamp::now())?;
        }

        // A trigger without a camera means every camera that waits for commands.
        let names = self.groups.iter().map(|group| &*group.source.camera);
        let names: Vec<&str> = names.collect();
        let wanted = trigger.camera.as_deref();
        let groups: Vec<usize> = (0..names.len())
            .filter(|group| wanted.is_none_or(|name| name == names[*group]))
            .collect();

        if trigger.at.is_none() {
            for group in &groups {
                self.groups[*group].check_without_at()?;
            }
        }

        if !groups.is_empty() {
            return Ok(groups);
        }

        if names.is_empty() {
            return Err("no camera waits for commands; give one trigger = \"command\"".to_owned());
        }

        Err(format!(
            "no camera of that name waits for commands; there are {}",
            names.join(", ")
        ))
    }
}

/// The moment of a trigger's parts.
///
/// # Errors
/// The cause why the moment is not known, in words.
fn moment_of(
    trigger: &TriggerCommand,
    request: &Request,
    look: &ClockLook,
) -> Result<Instant, String> {
    // A command that the broker kept says nothing about when its part was there, unless it carries
    // a time of its own.
    let Some(at) = trigger.at else {
        return match request.is_stale {
            true => Err(WAITED.to_owned()),
            false => Ok(request.came_at),
        };
    };

    look.moment_of(at).map_err(|step| {
        let step = step.words();
        format!("our clock was {step}, and at may have been stamped before that")
    })
}

/// The parts that a trigger asks of one source, whose view is `whole`; `was_there` is their moment, where it is known.
fn part_requests(
    source: &PartSource,
    trigger: &TriggerCommand,
    whole: PartRequest,
    was_there: Option<Instant>,
) -> Vec<PartRequest> {
    let request = PartRequest {
        part_id: trigger.part_id.clone(),
        count: trigger.count,
        position: trigger.position,
        ..whole
    };

    source.each(&request, was_there)
}

/// The answer to a trigger whose parts are on the disk.
fn accepted(id: Option<String>, parts: &[Part]) -> Answer {
    // Without an id a repetition cannot be told from another part; the sender is told so.
    let reason = id.is_none().then(|| WITHOUT_ID.to_owned());
    Answer {
        id,
        parts: parts.iter().map(AnsweredPart::of).collect(),
        ..Answer::new(None, AnswerStatus::Accepted, reason)
    }
}
