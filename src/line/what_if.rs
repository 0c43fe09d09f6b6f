//! What if another revision or threshold had judged: stored parts are judged again beside the line.
//!
//! ```text
//! command handler --wish, one at a time--> WhatIfStage --question--> WhatIfJudge, its thread at the lowest priority
//!           second answer, progress <--told, kept--/   <--counts----/     ^--pictures-- evidence folder
//! ```
//! It never slows a verdict: it has an engine of its own on the processor, with its own thread alone, reads files, and keeps no
//! lock of the line. Nor does it hold up the line's end: the stage, which holds the store, waits for the judge only until the stop.
//! The judge holds neither store nor events, looks at the stop between two parts, and is left behind where a share hangs or a
//! recipe is being prepared. A command that the end of the line cuts is answered by the next run.

use crate::base::exit::{Failure, chain};
use crate::base::priority;
use crate::base::stop::Stop;
use crate::config;
use crate::line::changeover::{RecipeRequest, RecipeWish, STOPPING};
use crate::line::events::Events;
use crate::line::second_answers::SecondAnswers;
use crate::line::selection::Selection;
use crate::line::shared::Shared;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::birth::Identity;
use crate::protocol::teaching::RecipeChange;
use crate::protocol::what_if::{WhatIf, WhatIfCommand};
use crate::recipe::library::folder::Library;
use crate::recipe::library::hold::RevisionHold;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::replay::{Effect, GivenThreshold, KeptQuery, Replayer, list};
use crate::recipe::spec::RecipeSpec;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the stop while nothing is asked, or told.
const IDLE_LOOK: Duration = Duration::from_millis(200);
/// Time between two words on how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Capacity for what the judge tells: the recipe, a word on how far it is, and the effect.
const TOLD: usize = 4;

/// The stage's ends of the line's channels.
pub struct WhatIfEnds {
    /// Commands, one at a time.
    pub wanted: Receiver<RecipeRequest>,
    /// Their second answers.
    pub answers: SecondAnswers,
}

impl WhatIfEnds {
    /// `events` hear of the answers.
    pub fn new(shared: &Shared, wanted: Receiver<RecipeRequest>, events: Events) -> Self {
        WhatIfEnds {
            wanted,
            answers: SecondAnswers::new(shared, events),
        }
    }
}

/// A command on its way to the judge.
struct Question {
    recipe: RecipeSpec,
    command: WhatIfCommand,
    told: Sender<Told>,
}

/// What the judge tells of a command.
enum Told {
    /// `name@revision` of the recipe that judges again.
    Recipe(String),
    /// How far it is, in words.
    Progress(String),
    /// The effect, or the reason why there is none. Nothing comes after it.
    Effect(Box<Result<WhatIf, String>>),
}

/// The stage that takes the commands and gives their second answers.
pub struct WhatIfStage {
    wanted: Receiver<RecipeRequest>,
    questions: Sender<Question>,
    identity: Arc<Mutex<Identity>>,
    answers: SecondAnswers,
}

/// The stage that judges stored parts again.
pub struct WhatIfJudge {
    questions: Receiver<Question>,
    preparer: RecipePreparer,
    library: Library,
    evidence: Option<Arc<Path>>,
}

/// Both stages; `preparer` makes an inspector of their own.
pub fn what_if_stages(
    shared: &Shared,
    preparer: &RecipePreparer,
    library: &Library,
    ends: WhatIfEnds,
) -> (WhatIfStage, WhatIfJudge) {
    let (questions, asked) = bounded(1);
    let stage = WhatIfStage {
        wanted: ends.wanted,
        questions,
        identity: shared.identity.clone(),
        answers: ends.answers,
    };

    let judge = WhatIfJudge {
        questions: asked,
        preparer: preparer.clone(),
        library: library.clone(),
        evidence: shared.evidence.clone(),
    };

    (stage, judge)
}

impl WhatIfStage {
    /// Serves commands until the line stops.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(self, stop: &Stop) -> Result<(), Failure> {
        while !stop.is_stopped() {
            match self.wanted.recv_timeout(IDLE_LOOK) {
                Ok(wanted) => self.serve(wanted, stop),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }

        Ok(())
    }

    fn serve(&self, wanted: RecipeRequest, stop: &Stop) {
        let RecipeRequest {
            mut selection,
            recipe,
            wish,
            answered,
            ..
        } = wanted;

        let _ = answered.recv(); // nothing is ever sent
        let RecipeWish::Change(change, _) = wish else {
            return; // the handler sends nothing else here
        };

        let RecipeChange::WhatIf(command) = *change else {
            return;
        };

        let (told, hears) = bounded(TOLD);
        let question = Question {
            recipe,
            command,
            told,
        };

        // A judge that has ended has seen the stop.
        if self.questions.send(question).is_err() {
            return;
        }

        if let Some(effect) = self.effect(&hears, &mut selection, stop) {
            self.tell(selection, effect);
        }
    }

    /// What the judge makes of a command; `None` once the line stops.
    fn effect(
        &self,
        hears: &Receiver<Told>,
        selection: &mut Selection,
        stop: &Stop,
    ) -> Option<Result<WhatIf, String>> {
        while !stop.is_stopped() {
            match hears.recv_timeout(IDLE_LOOK) {
                Ok(Told::Recipe(label)) => selection.recipe = label,
                Ok(Told::Progress(so_far)) => self.answers.progress(selection, so_far),
                Ok(Told::Effect(effect)) => return Some(*effect),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }

        None
    }

    fn tell(&self, selection: Selection, effect: Result<WhatIf, String>) {
        let id = selection.id.as_deref();
        let answer = match effect {
            Ok(what_if) => {
                let words = self.in_words(&what_if);
                tracing::info!("what_if: {words}");
                Answer {
                    what_if: Some(Box::new(what_if)),
                    ..Answer::new(id, AnswerStatus::Done, Some(words))
                }
            }

            Err(why) if why == STOPPING => return,
            Err(why) => {
                tracing::warn!("what_if was refused: {why}");

                Answer::rejected(id, why)
            }
        };

        self.answers.tell(selection, answer);
    }

    /// The effect, and on which engine it was found where another one judges the line.
    fn in_words(&self, what_if: &WhatIf) -> String {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let own = &what_if.backend;

        match identity.backend == *own {
            true => what_if.to_string(),
            false => format!(
                "{what_if}; on {own}, while {} judges the line: a score may be a little different",
                identity.backend
            ),
        }
    }
}

impl WhatIfJudge {
    /// Answers questions until the line stops.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(self, stop: &Stop) -> Result<(), Failure> {
        priority::lower_own();

        while !stop.is_stopped() {
            match self.questions.recv_timeout(IDLE_LOOK) {
                Ok(question) => {
                    let effect = self.effect(&question, stop);

                    // A stage that has left has seen the stop.
                    let _ = question.told.send(Told::Effect(Box::new(effect)));
                }

                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }

        Ok(())
    }

    fn effect(&self, question: &Question, stop: &Stop) -> Result<WhatIf, String> {
        let Some(folder) = &self.evidence else {
            let words =
                "the line keeps no pictures of parts that could be judged again (table [evidence])";
            return Err(words.to_owned());
        };

        let command = &question.command;
        let spec = self.spec(&question.recipe, command.revision)?;
        let _ = question.told.send(Told::Recipe(spec.label()));

        // No writer prunes it meanwhile.
        let hold = spec.library.as_ref().map(RevisionHold::of).transpose();
        let _hold = hold.map_err(words)?;

        let query = KeptQuery {
            limit: Some(command.parts as usize),
            ..KeptQuery::default()
        };

        let listed = list(folder, &query).map_err(words)?;
        if stop.is_stopped() {
            return Err(STOPPING.to_owned());
        }

        // This is what takes long, and cannot be cut.
        let mut replayer = self.replayer(&spec, command)?;
        let mut effect = Effect::default();
        let mut told_at = Instant::now();

        for (done, part) in listed.iter().enumerate() {
            if stop.is_stopped() {
                return Err(STOPPING.to_owned());
            }

            if told_at.elapsed() >= PROGRESS_EVERY {
                told_at = Instant::now();
                let all = listed.len();
                let so_far = format!("{done} of {all} parts are judged again");
                let _ = question.told.send(Told::Progress(so_far));
            }

            let seen = effect.see(&mut replayer, folder, &part.stem);
            seen.map_err(|error| chain(&error))?;
        }

        Ok(effect.told(&replayer))
    }

    /// The recipe that is asked about.
    fn spec(&self, recipe: &RecipeSpec, revision: Option<u64>) -> Result<RecipeSpec, String> {
        let now = config::as_of_now(recipe, &self.library).map_err(words)?;

        match revision.filter(|wanted| *wanted != now.revision) {
            None => Ok(now),
            Some(wanted) => {
                let revision = self.library.revision(&recipe.name, wanted).map_err(words)?;

                config::recipe_of(revision).map_err(words)
            }
        }
    }

    fn replayer(&self, spec: &RecipeSpec, command: &WhatIfCommand) -> Result<Replayer, String> {
        let replayer = Replayer::prepare(&self.preparer, spec, PrepareMode::Beside);
        let replayer = replayer.map_err(|failure| failure.message)?;
        let given = command.threshold.map(|value| GivenThreshold {
            region: command.region.clone(),
            value,
        });

        replayer.with_thresholds(given.into_iter().collect())
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
