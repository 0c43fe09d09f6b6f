//! The page as a door that acts: commands of signed-in users to the command handler, their answers, and the second
//! answers of those that take longer.
//!
//! Bounds: a command is sent while less than [`REQUESTS_SHARE`] wait, as at the control socket; its answer is waited for
//! [`ANSWER_TIME`]; [`OUTCOMES_KEPT`] outcomes are kept for those who ask after they came.

use super::access::{Actor, Right};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::{self, Command};
use crate::protocol::request::{ReplyTo, ReplyToken, Request, RequestSource};
use crossbeam::channel::{Sender, TrySendError};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Commands of all doors that may wait when this one brings another: half of the channel.
const REQUESTS_SHARE: usize = 32;
/// Answer to a command for which there is no room.
const TOO_MANY: &str = "too many commands wait; do it again";
/// Time for an answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Outcomes that are kept.
const OUTCOMES_KEPT: usize = 64;

/// The page's way to the command handler.
pub struct PageCommands {
    requests: Sender<Request>,
    /// Outcomes of commands of all doors, the newest last.
    ended: Mutex<VecDeque<Answer>>,
    /// Changes with each outcome.
    news: watch::Sender<u64>,
}

impl PageCommands {
    /// The way through that channel.
    pub fn new(requests: Sender<Request>) -> Self {
        PageCommands {
            requests,
            ended: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// Does a command for a user and returns its first answer. The id is made here: a person who does a thing twice
    /// means it twice. A user without the right gets a refusal.
    pub async fn ask(&self, actor: &Actor, name: &str, mut values: Value) -> Answer {
        let id = ulid::Ulid::generate().to_string();

        values["id"] = id.clone().into();

        // The text is read as the one of any other door: what it may be is checked in one place.
        let command = match command::parse(name, values.to_string().as_bytes()) {
            Ok(command) => command,
            Err(refusal) => return Answer::rejected(Some(&id), refusal.reason),
        };

        // The screens do not offer what a user may not do; a request may be made by hand.
        let right = Right::of_command(&command.action);

        if !actor.may(right) {
            let role = right.least_role().word();
            let user = actor.name.as_ref();
            let reason = format!("{user} is {}; {name} needs {role}", actor.role.word());

            return Answer::rejected(Some(&id), reason);
        }

        self.send(actor, name, &id, command).await
    }

    /// [`PageCommands::ask`], and for a command that was begun its outcome, if it comes within `patience`.
    pub async fn carry_out(
        &self,
        actor: &Actor,
        name: &str,
        values: Value,
        patience: Duration,
    ) -> Answer {
        let answer = self.ask(actor, name, values).await;

        match (&answer.status, &answer.id) {
            (AnswerStatus::Accepted, Some(id)) => {
                let outcome = self.outcome(id, patience).await;

                outcome.unwrap_or(answer)
            }
            _ => answer,
        }
    }

    async fn send(&self, actor: &Actor, name: &str, id: &str, command: Command) -> Answer {
        // A channel for each command: its answer finds its way without a table of who waits.
        let (replies, mut reply) = mpsc::channel(1);

        let request = Request {
            command,
            name: name.to_owned(),
            source: RequestSource::Page,
            user: Some(actor.name.clone()),
            came_at: Instant::now(),
            // How long a person's click was on its way is not known.
            is_stale: true,
            reply: ReplyTo {
                replies,
                token: ReplyToken {
                    connection: 0,
                    request: 0,
                },
            },
        };

        // The other half of the room is the broker's: this door must not shut that one.
        if self.requests.len() >= REQUESTS_SHARE {
            return Answer::rejected(Some(id), TOO_MANY);
        }

        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Answer::rejected(Some(id), TOO_MANY),
            Err(TrySendError::Disconnected(_)) => {
                return Answer::rejected(Some(id), "the line is stopping");
            }
        }

        match timeout(ANSWER_TIME, reply.recv()).await {
            Ok(Some(reply)) => reply.answer,
            Ok(None) => Answer::rejected(Some(id), "the line is stopping"),
            Err(_) => {
                let seconds = ANSWER_TIME.as_secs();

                let reason = format!(
                    "the line has not answered within {seconds} s, and may still do it; look before you do it again"
                );

                Answer::new(Some(id), AnswerStatus::Progress, Some(reason))
            }
        }
    }

    /// The outcome of a command that was begun, once it is there; `None` if it does not come within `patience`.
    pub async fn outcome(&self, id: &str, patience: Duration) -> Option<Answer> {
        // Subscribed before the first look, so that nothing between the two is missed.
        let mut news = self.news.subscribe();

        let comes = async {
            loop {
                if let Some(answer) = self.ended_as(id) {
                    return Some(answer);
                }

                news.changed().await.ok()?;
            }
        };

        timeout(patience, comes).await.ok().flatten()
    }

    /// Remembers an outcome; how far a command is, is none.
    pub fn see(&self, answer: &Answer) {
        if answer.status == AnswerStatus::Progress {
            return;
        }

        let mut ended = self.ended();

        if ended.len() >= OUTCOMES_KEPT {
            ended.pop_front();
        }

        ended.push_back(answer.clone());

        drop(ended);

        self.news.send_modify(|version| *version += 1);
    }

    fn ended_as(&self, id: &str) -> Option<Answer> {
        let ended = self.ended();
        let mut ended = ended.iter().rev();

        ended
            .find(|answer| answer.id.as_deref() == Some(id))
            .cloned()
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::access::{Role, actor_of};
    use crossbeam::channel::{Receiver, bounded};
    use serde_json::json;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();

        runtime.expect("a runtime").block_on(future)
    }

    /// Answers one request as the command handler does, on a thread of its own.
    fn handler(requests: Receiver<Request>) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let request = requests.recv().expect("a request");
            let who = request.who();
            let id = request.command.id.clone();
            request.answer(Answer::new(id.as_deref(), AnswerStatus::Done, None));
            who
        })
    }

    #[test]
    fn a_command_goes_to_the_handler_under_its_users_name() {
        let (sender, requests) = bounded(64);
        let handler = handler(requests);
        let commands = PageCommands::new(sender);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let anna = actor_of("anna", Role::Operator);
        let answer = runtime
            .expect("a runtime")
            .block_on(commands.ask(&anna, "pause", json!({})));
        assert_eq!(answer.status, AnswerStatus::Done);
        assert_eq!(handler.join().expect("no panic"), "anna (page)");
    }

    #[test]
    fn what_a_user_may_not_do_never_reaches_the_handler() {
        let (sender, requests) = bounded(64);
        let commands = PageCommands::new(sender);
        let cases = [
            (Role::View, "pause", json!({}), "needs operator"),
            (
                Role::Operator,
                "select_recipe",
                json!({"recipe": "nut"}),
                "needs setter",
            ),
            (Role::Admin, "nothing", json!({}), "there is no command"),
        ];

        for (role, name, values, words) in cases {
            let answer = run(commands.ask(&actor_of("anna", role), name, values));
            assert_eq!(answer.status, AnswerStatus::Rejected, "{name}");
            let reason = answer.reason.expect("a reason");
            assert!(reason.contains(words), "{reason}");
        }

        assert!(requests.is_empty());
    }

    #[test]
    fn a_handler_that_is_silent_or_full_is_not_waited_for_without_end() {
        let (sender, requests) = bounded(64);
        let commands = PageCommands::new(sender);
        let anna = actor_of("anna", Role::Admin);
        let answer = run(commands.ask(&anna, "pause", json!({})));
        assert_eq!(answer.status, AnswerStatus::Progress, "{answer:?}");

        for _ in 1..REQUESTS_SHARE {
            run(commands.ask(&anna, "pause", json!({})));
        }

        assert_eq!(requests.len(), REQUESTS_SHARE);
        let answer = run(commands.ask(&anna, "pause", json!({})));
        assert_eq!(answer.reason.as_deref(), Some(TOO_MANY));
        drop(requests);
        let commands = PageCommands::new(bounded(64).0);
        let answer = run(commands.ask(&anna, "pause", json!({})));
        assert_eq!(answer.reason.as_deref(), Some("the line is stopping"));
    }

    #[test]
    fn an_outcome_is_found_whether_it_came_before_or_comes_after() {
        let commands = PageCommands::new(bounded(1).0);
        let outcome = |id: &str, status| Answer::new(Some(id), status, None);
        commands.see(&outcome("a", AnswerStatus::Progress));
        let none = run(commands.outcome("a", Duration::from_secs(1)));
        assert_eq!(none, None, "it goes on");

        commands.see(&outcome("a", AnswerStatus::Done));
        let found = run(commands.outcome("a", Duration::ZERO)).expect("it came");
        assert_eq!(found.status, AnswerStatus::Done);
        let later = async {
            let comes = commands.outcome("b", Duration::from_secs(60));
            let tells = async { commands.see(&outcome("b", AnswerStatus::Rejected)) };
            tokio::join!(comes, tells).0
        };

        let found = run(later).expect("it came");
        assert_eq!(found.status, AnswerStatus::Rejected);
        for number in 0..OUTCOMES_KEPT {
            commands.see(&outcome(&number.to_string(), AnswerStatus::Done));
        }

        assert_eq!(run(commands.outcome("a", Duration::ZERO)), None, "long ago");
    }
}
