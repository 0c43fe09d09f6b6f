//! Challenges: they are begun here, and what became of them is told.

use super::{CommandHandler, Done};
use crate::line::challenge::Challenge;
use crate::line::control::ControlEvent;
use crate::line::second_answers::KeptAnswer;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::ChallengeSpec;
use crate::protocol::event::CommandOutcome;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

impl CommandHandler {
    /// Keeps what became of challenges, and tells it once it is on the disk, which triggers do not wait for.
    pub(super) fn look_at_challenges(&mut self) {
        self.look_at_checks();
        self.look_at_cleanings();
        let mut ended = vec![];

        // What is kept goes to the store at once: the store keeps more of a challenge with its
        // parts' results.
        for event in self.control.poll(Instant::now()) {
            match event {
                ControlEvent::Begin(key, value) => drop(self.store.set_if_absent(&key, &value)),
                ControlEvent::Keep((key, value)) => drop(self.store.set(&key, &value)),
                ControlEvent::Ended(challenge) => ended.push(challenge),
            }
        }

        for challenge in ended {
            self.end_challenge(challenge);
        }

        for outcome in self.untold.written() {
            self.answers.tell_written(outcome);
        }
    }

    fn end_challenge(&mut self, mut ended: Challenge) {
        // Words go to the log by their weight: a missed challenge means that the line may be blind,
        // and must be seen in the journal.
        let words = ended.words();

        if ended.is_met() {
            tracing::info!("{words}");
        } else if ended.is_cut() {
            tracing::warn!("{words}");
        } else {
            tracing::error!("{words}: it does not see what it should; stop the line and look");
        }

        // A run that had no time to tell the outcome has noted it already.
        if !std::mem::replace(&mut ended.so_far.is_noted, true) {
            self.store.audit(words.clone());
        }

        // The outcome is on the disk before it is told: a crash in between tells it again with the
        // next run, and never forgets it.
        let (key, kept) = ended.kept();
        let written = self.store.set(&key, &kept);

        let status = if ended.is_met() {
            AnswerStatus::Done
        } else {
            AnswerStatus::Rejected
        };

        // The key goes along, so that the publisher can take the value away once the broker has the
        // outcome.
        let outcome = CommandOutcome {
            name: "challenge",
            answer: Answer::new(Some(&ended.id), status, Some(words)),
            kept: Some(key),
        };

        let outcome = Arc::new(outcome);

        self.untold.push(KeptAnswer { written, outcome });
    }

    /// Begins a challenge.
    pub(super) fn challenge(
        &mut self,
        id: Option<&str>,
        spec: &ChallengeSpec,
        came_at: Instant,
    ) -> Result<Done, String> {
        self.check_part_camera(spec.camera.as_deref())?;
        self.look_at_challenges(); // of those before
        self.control
            .challenge(id.unwrap_or_default(), spec, came_at)?;

        self.look_at_challenges(); // it is on the disk with its answer
        Ok(Done::begun(format!(
            "the next {} parts are its; the outcome comes as done",
            spec.parts
        )))
    }

    /// Refuses a camera that makes no parts: known parts of it could never come.
    pub(super) fn check_part_camera(&self, camera: Option<&str>) -> Result<(), String> {
        let names = self.part_cameras();

        let Some(name) = camera.filter(|name| !names.contains(name)) else {
            return Ok(());
        };

        let names: Vec<&str> = names.into_iter().collect();

        Err(format!(
            "no parts come from a camera {name:?}; there are {}",
            names.join(", ")
        ))
    }

    /// Names under which parts come: those of groups, and of cameras that are in no group.
    pub(super) fn part_cameras(&self) -> BTreeSet<&str> {
        // A camera of a group makes no parts under its own name: the group's parts carry the shared
        // one.
        let grouped: Vec<&str> = self
            .groups
            .iter()
            .flat_map(|group| &group.cameras)
            .map(|admission| &*admission.camera)
            .collect();

        let alone = self
            .admissions
            .keys()
            .map(|name| &**name)
            .filter(|name| !grouped.contains(name));

        let groups = self.groups.iter().map(|group| &*group.source.camera);

        alone.chain(groups).collect()
    }
}
