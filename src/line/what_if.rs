//! What if another revision or threshold had judged: the stage that judges stored parts again beside the line.
//!
//! ```text
//! command handler --wish, one at a time--> what-if stage, one thread at the lowest priority --> second answer
//!            page --part, newest wins----> ^        (between two wishes: `nearest`)         --> page
//!                                          evidence folder --pictures--^
//! ```
//! It never slows a verdict: it has an engine of its own on the processor, with its own thread alone, reads files, and keeps no
//! lock of the line. It looks at the stop between two parts; a command that the end of the line cuts is answered by the next run.

pub mod nearest;

use self::nearest::NearestFinder;
use crate::base::exit::{Failure, chain};
use crate::base::live::Live;
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
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the stop while nothing is asked.
const IDLE_LOOK: Duration = Duration::from_millis(200);
/// Time between two words on how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

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

/// The stage that judges stored parts again.
pub struct WhatIfStage {
    wanted: Receiver<RecipeRequest>,
    preparer: RecipePreparer,
    library: Library,
    evidence: Option<Arc<Path>>,
    identity: Arc<Mutex<Identity>>,
    answers: SecondAnswers,
    /// Parts of the page, looked at between two commands.
    nearest: NearestFinder,
}

impl WhatIfStage {
    /// `preparer` makes an inspector of its own; `recipes` are the line's, and those of its library.
    pub fn new(
        shared: &Shared,
        preparer: &RecipePreparer,
        (library, recipes): (&Library, &Live<Vec<RecipeSpec>>),
        ends: WhatIfEnds,
    ) -> Self {
        let nearest = NearestFinder::new(
            shared.nearest.clone(),
            preparer.clone(),
            library.clone(),
            recipes.clone(),
            shared.evidence.clone(),
        );

        WhatIfStage {
            wanted: ends.wanted,
            preparer: preparer.clone(),
            library: library.clone(),
            evidence: shared.evidence.clone(),
            identity: shared.identity.clone(),
            answers: ends.answers,
            nearest,
        }
    }

    /// Serves commands until the line stops.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(mut self, stop: &Stop) -> Result<(), Failure> {
        priority::lower_own();
        while !stop.is_stopped() {
            match self.wanted.recv_timeout(IDLE_LOOK) {
                Ok(wanted) => {
                    // One engine beside the line's at a time.
                    self.nearest.rest();
                    self.serve(wanted, stop);
                }
                Err(RecvTimeoutError::Timeout) => self.nearest.serve(),
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

        let id = selection.id.clone();
        let answer = match self.effect(&mut selection, &recipe, &command, stop) {
            Ok(what_if) => {
                let words = self.in_words(&what_if);
                tracing::info!("what_if: {words}");
                Answer {
                    what_if: Some(Box::new(what_if)),
                    ..Answer::new(id.as_deref(), AnswerStatus::Done, Some(words))
                }
            }
            Err(why) if why == STOPPING => return,
            Err(why) => {
                tracing::warn!("what_if was refused: {why}");
                Answer::rejected(id.as_deref(), why)
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

    fn effect(
        &self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        command: &WhatIfCommand,
        stop: &Stop,
    ) -> Result<WhatIf, String> {
        let Some(folder) = &self.evidence else {
            let words =
                "the line keeps no pictures of parts that could be judged again (table [evidence])";
            return Err(words.to_owned());
        };

        let spec = self.spec(recipe, command.revision)?;
        selection.recipe = spec.label();

        // No writer prunes it meanwhile.
        let hold = spec.library.as_ref().map(RevisionHold::of).transpose();
        let _hold = hold.map_err(words)?;
        let query = KeptQuery {
            limit: Some(command.parts as usize),
            ..KeptQuery::default()
        };

        let listed = list(folder, &query).map_err(words)?;
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
                self.answers.progress(selection, so_far);
            }

            let seen = effect.see(&mut replayer, folder, &part.stem);
            seen.map_err(|error| chain(&error))?;
        }

        Ok(effect.told(&replayer))
    }

    /// The recipe that is asked about.
    fn spec(&self, recipe: &RecipeSpec, revision: Option<u64>) -> Result<RecipeSpec, String> {
        let now = config::as_of_now(recipe, &self.library);
        let now = now.map_err(words)?;
        let wanted = revision.unwrap_or(now.revision);
        if wanted == now.revision {
            return Ok(now);
        }

        let revision = self.library.revision(&recipe.name, wanted);
        let revision = revision.map_err(words)?;
        let spec = config::recipe_of(revision);
        spec.map_err(words)
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
