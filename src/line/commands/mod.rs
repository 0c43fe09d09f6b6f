//! The command handler does what commands say and answers them, one after the other, through
//! whichever door they came.
//!
//! ```text
//! request --answered id? yes----------------------------------> the first answer again
//!        \--trigger--> store: accept, durable --> admissions --> accepted, with its parts
//!        \--others---> rate limit --> done or begun, durable --> done, accepted or rejected
//! ```
//! A trigger is answered when its parts are on the disk, so that its sender may forget it. The same
//! id within an hour gets the first answer again, and the outcome behind it, and is not done twice. The
//! outcome of a challenge or a selection is an event: the broker is told until it has it.

mod challenge;
mod cleaned;
mod label;
mod recipes;
mod reload;
mod repeat;
mod shift_check;
mod triggers;

use crate::base::health::Diagnostics;
use crate::base::live::Live;
use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::lens::Lenses;
use crate::data::part::Part;
use crate::line::admission::Admission;
use crate::line::answer_cache::AnswerCache;
use crate::line::camera_group::CameraGroup;
use crate::line::changeover::RecipeRequest;
use crate::line::cleanings::Cleanings;
use crate::line::control::LineControl;
use crate::line::events::Events;
use crate::line::hold::{Hold, changes_set_up};
use crate::line::lessons::Lessons;
use crate::line::live_settings::ReloadRequest;
use crate::line::outcomes::Outcomes;
use crate::line::overlays::Snapshot;
use crate::line::rate_limit::{RATE_MAX, RateLimit};
use crate::line::second_answers::{SecondAnswers, UntoldAnswers};
use crate::line::shared::Shared;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::birth::Identity;
use crate::protocol::command::Action;
use crate::protocol::event::{CommandOutcome, Event};
use crate::protocol::request::{Request, RequestSource};
use crate::protocol::shift_check::{CheckStep, ShiftCheckCommand};
use crate::protocol::words::words;
use crate::recipe::spec::RecipeSpec;
use crate::store::{Pending, Store};
use crate::trigger::OwnClock;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks while second answers are on their way to the disk.
const UNTOLD_LOOK: Duration = Duration::from_millis(20);

/// The stage that does what commands say.
pub struct CommandHandler {
    /// Commands of all doors.
    requests: Receiver<Request>,
    /// Outcomes of challenges, changes of the threshold.
    events: Events,
    /// Pictures to encode, to the overlay stage.
    snapshots: Sender<Snapshot>,
    /// Parts, answers and decisions on the disk.
    store: Store,
    /// Pause, thresholds and challenges of the line.
    control: LineControl,
    /// Who has control of the set-up.
    hold: Hold,
    /// Outcomes of this run's commands.
    outcomes: Outcomes,
    /// Second answers that are kept.
    answers: SecondAnswers,
    /// Those on their way to the disk.
    untold: UntoldAnswers,
    /// Pictures for teaching.
    lessons: Lessons,
    /// True where pictures of parts are kept.
    has_evidence: bool,
    /// What the cameras' lenses show.
    lenses: Lenses,
    /// Lenses that somebody has cleaned.
    cleanings: Cleanings,
    /// This machine's clock, watched for steps.
    own_clock: Arc<OwnClock>,
    /// Faults of the moment: an id that stands for two commands goes there.
    diagnostics: Diagnostics,
    /// All cameras by name.
    admissions: BTreeMap<Arc<str>, Arc<Admission>>,
    /// Cameras that wait for triggers.
    groups: Vec<CameraGroup>,
    /// The identity that `birth` tells.
    identity: Arc<Mutex<Identity>>,
    /// Answers of the last hour.
    answered: AnswerCache,
    /// Rate of the commands that are no triggers, with a limit for each door, so that none of them
    /// shuts another.
    rates: HashMap<RequestSource, RateLimit>,
    /// Recipes that can be selected.
    recipes: Live<Vec<RecipeSpec>>,
    /// Names of the recipes that commands have changed: they may be the library's by now.
    changed: BTreeSet<String>,
    /// Recipes to prepare, to the changeover.
    wanted: Sender<RecipeRequest>,
    /// Recipes that are asked about, to the what-if stage.
    what_ifs: Sender<RecipeRequest>,
    /// Wishes to read the line's file again, to the changeover.
    reloads: Sender<ReloadRequest>,
    /// Selections of this round, which wait until their first answers are out.
    unanswered: Vec<Sender<Infallible>>,
}

/// A command that was begun.
enum PendingAnswer {
    /// The command is answered.
    Ready(Answer),
    /// The command was answered before; its outcome, where it has one, follows the answer.
    Repeated(Answer, Option<Arc<CommandOutcome>>),
    /// The command is refused for now: the same id may come again, and be done then.
    NotNow(Answer),
    /// The answer is valid once it is on the disk.
    Written(Answer, Pending<()>),
    /// The answer is valid once the parts are on the disk.
    Parts {
        accepting: Pending<(Vec<Part>, String)>,
        /// Indices of the camera groups that see the parts.
        groups: Vec<usize>,
        /// Moment of the parts. Else the cause why it is not known, in words.
        at: Result<Instant, String>,
    },
}

/// The command handler's ends of the line's channels.
pub struct CommandEnds {
    /// Commands to do.
    pub requests: Receiver<Request>,
    /// Outcomes of challenges, and changes of the threshold.
    pub events: Events,
    /// Pictures to encode, for the overlay stage.
    pub snapshots: Sender<Snapshot>,
    /// Recipes to prepare, for the changeover.
    pub recipes: Sender<RecipeRequest>,
    /// Recipes that are asked about, for the what-if stage.
    pub what_ifs: Sender<RecipeRequest>,
    /// Wishes to read the line's file again, for the changeover.
    pub reloads: Sender<ReloadRequest>,
}

impl CommandHandler {
    /// `groups` wait for triggers, `recipes` can be selected, `answered` are the answers of earlier
    /// runs.
    pub fn new(
        shared: &Shared,
        admissions: BTreeMap<Arc<str>, Arc<Admission>>,
        groups: Vec<CameraGroup>,
        recipes: Live<Vec<RecipeSpec>>,
        answered: AnswerCache,
        ends: CommandEnds,
    ) -> Self {
        CommandHandler {
            requests: ends.requests,
            answers: SecondAnswers::new(shared, ends.events.clone()),
            untold: UntoldAnswers::default(),
            events: ends.events,
            snapshots: ends.snapshots,
            store: shared.store.clone(),
            control: shared.control.clone(),
            hold: shared.hold.clone(),
            outcomes: shared.outcomes.clone(),
            lessons: shared.lessons.clone(),
            has_evidence: shared.evidence.is_some(),
            lenses: shared.lenses.clone(),
            cleanings: shared.cleanings.clone(),
            own_clock: shared.own_clock.clone(),
            diagnostics: shared.diagnostics.clone(),
            admissions,
            groups,
            identity: shared.identity.clone(),
            answered,
            rates: HashMap::new(),
            recipes,
            changed: BTreeSet::new(),
            wanted: ends.recipes,
            what_ifs: ends.what_ifs,
            reloads: ends.reloads,
            unanswered: vec![],
        }
    }

    /// Serves commands until the line stops. A command that is not answered then comes again from
    /// the broker.
    pub fn run(mut self, stop: &Stop, pulse: &Heartbeat) {
        while !stop.is_stopped() {
            pulse.beat();
            self.look_at_challenges();
            self.look_at_hold();

            // Regular looks tell a step's moment, also while no frame and no trigger comes.
            self.tell_own_clock(&self.own_clock.look());
            let patience = if self.untold.is_empty() {
                HEARTBEAT
            } else {
                UNTOLD_LOOK
            };

            match self.requests.recv_timeout(patience) {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }

        // Nothing more is begun. A challenge that is under way ends here, while the store still
        // writes what became of it.
        self.control.stop();
        self.cleanings.cut(None, "the line stops");
        self.look_at_challenges();

        for outcome in self.untold.all() {
            self.answers.tell_written(outcome);
        }
    }

    /// Ends a hold whose time is over.
    fn look_at_hold(&self) {
        if let Some(who) = self.hold.look(Instant::now()) {
            let words = format!("the time of {who} is over: others have control again");
            tracing::info!("{words}");
            self.store.audit(words);
        }
    }

    /// Serves the waiting commands together, so that the store writes them together.
    fn serve(&mut self, first: Request) {
        // Everything that waits is taken at once: its writes share one transaction, and so one
        // fsync, which is most of a command's time.
        let mut requests = vec![first];
        requests.extend(self.requests.try_iter());
        let mut begun: Vec<(Request, PendingAnswer)> = vec![];

        for request in requests {
            let id = &request.command.id;

            // A repetition within the same round needs the first one's answer, which is only known
            // once that is on the disk.
            let is_repetition = begun.iter().any(|(other, _)| other.command.id == *id);

            if id.is_some() && is_repetition {
                self.finish(std::mem::take(&mut begun)); // it needs the answer
            }

            let answer = self.begin(&request);
            begun.push((request, answer));
        }

        self.finish(begun);
    }

    fn begin(&mut self, request: &Request) -> PendingAnswer {
        let id = request.command.id.as_deref();

        if let Some(id) = id
            && let Some(answer) = self.answered.get(id)
        {
            return self.repeat(id, answer, request);
        }

        // Triggers have no limit of their rate: each is a part that passes the camera, and the
        // store's queue bounds them.
        if let Action::Trigger(trigger) = &request.command.action {
            return self.trigger(trigger, request);
        }

        // Other commands come from people and from control programs. A program that repeats one in
        // a loop must not fill the audit log, nor hold up the triggers.
        let rate = self.rates.entry(request.source).or_default();

        if !rate.allows(Instant::now()) {
            let reason = format!(
                "more than {RATE_MAX} commands but triggers in a second; send it again later"
            );

            return PendingAnswer::NotNow(Answer::rejected(id, reason));
        }

        // Who has control now may not have it in a minute.
        if changes_set_up(&request.command.action)
            && let Err(holder) = self.hold.check(&request.who(), Instant::now())
        {
            let reason = format!("{holder}; send it again then");
            return PendingAnswer::NotNow(Answer::rejected(id, reason));
        }

        // It is known to be under way before it is: another thread may end it at once.
        if let Some(id) = id.filter(|_| has_outcome(&request.command.action)) {
            self.outcomes.begin(id);
        }

        // The command is done first and its answer written after it. A crash in between leaves no
        // answer, and the sender's next try does the command again; the other order would lose it.
        let answer = self.obey(request);

        if answer.status != AnswerStatus::Rejected {
            self.note(request, &answer);
        }

        self.written(answer, &request.command.question)
    }

    /// Answers, in the order of the commands, what is on the disk.
    fn finish(&mut self, begun: Vec<(Request, PendingAnswer)>) {
        for (request, pending) in begun {
            // A refusal for the moment is not remembered under its id, so that the same command may
            // come again.
            let is_final = !matches!(pending, PendingAnswer::NotNow(_));

            // Waiting happens here, once for the whole round: the first `wait` returns with the
            // commit that all of them share.
            let outcome = match &pending {
                PendingAnswer::Repeated(_, outcome) => outcome.clone(),
                _ => None,
            };

            let Some(answer) = self.settle(pending) else {
                continue; // the line is stopping
            };

            if let Some(id) = request.command.id.as_ref().filter(|_| is_final) {
                let kept = answer.encode_kept(&request.command.question);
                self.answered.add(id, &kept, Instant::now());
            }

            request.answer(answer);
            if let Some(outcome) = outcome {
                self.events.tell(Event::Outcome(outcome));
            }
        }

        // The answers are out: outcomes may follow.
        self.unanswered.clear();
    }

    /// The answer, once it is valid. `None` if the line is stopping.
    fn settle(&self, pending: PendingAnswer) -> Option<Answer> {
        match pending {
            PendingAnswer::Ready(answer)
            | PendingAnswer::NotNow(answer)
            | PendingAnswer::Repeated(answer, _) => Some(answer),
            PendingAnswer::Written(answer, written) => written.wait().ok().map(|()| answer),
            PendingAnswer::Parts {
                accepting,
                groups,
                at,
            } => {
                // The parts are on the disk now. They go to the cameras before the answer leaves,
                // because their frames may already be in the ring.
                let (parts, text) = accepting.wait().ok()?;
                self.dispatch(parts, &groups, at);

                Some(Answer::decode(&text).expect("we encoded it"))
            }
        }
    }

    /// Does a command that is no trigger.
    fn obey(&mut self, request: &Request) -> Answer {
        let id = request.command.id.as_deref();
        let who = request.who();
        let now = Instant::now();
        let outcome = match &request.command.action {
            Action::Trigger(_) => Err("not here".to_owned()), // see `begin`
            Action::SelectRecipe { recipe, revision } => self.select(id, recipe, *revision),
            Action::Change(change) => self.change_recipe(id, change, &who, request.came_at),
            Action::Challenge(spec) => self.challenge(id, spec, request.came_at),
            Action::SetThreshold { region, value } => self.set_threshold(region.as_deref(), *value),
            Action::ShiftCheck(step) => self.shift_check(step, request),
            Action::Cleaned { camera } => self.cleaned(camera.as_deref(), request),
            Action::Snapshot { camera } => self.snapshot(camera.as_deref()),
            // What is done at once.
            Action::Pause => self.pause(true),
            Action::Resume => self.pause(false),
            Action::Reset => self.reset(),
            Action::Reload => self.reload(id),
            Action::TakeControl => self.take_control(&who, now),
            Action::ReleaseControl => self.hold.release(&who, now).map(|()| Done::plain()),
        };

        match outcome {
            Ok(Done { status, reason }) => Answer::new(id, status, reason),
            Err(reason) => Answer::rejected(id, reason),
        }
    }

    /// Writes a command into the log and the audit log.
    fn note(&self, request: &Request, answer: &Answer) {
        // The audit log tells who changed the line and how; the answer has the value before. Triggers
        // are not in it: their parts have rows of their own.
        // The id finds the command in the sender's own log.
        let what = words(&request.command.action);
        let answer = answer.reason.as_deref().unwrap_or("done");
        let mut told = format!("{} from {}", request.name, request.who());

        if let Some(id) = &request.command.id {
            told += &format!(", id {id}");
        }

        if !what.is_empty() {
            told += &format!(": {what}");
        }

        let told = format!("{told}; {answer}");
        tracing::info!("{told}");
        self.store.audit(told);
    }

    /// The answer, valid once it is on the disk under its id.
    fn written(&self, answer: Answer, question: &str) -> PendingAnswer {
        match &answer.id {
            Some(id) => {
                let written = self.store.answered(id, &answer.encode_kept(question));

                PendingAnswer::Written(answer, written)
            }

            None => PendingAnswer::Ready(answer),
        }
    }

    /// Gives somebody control. A lesson of before ends: it would become what judges while somebody else has control.
    fn take_control(&self, who: &str, now: Instant) -> Result<Done, String> {
        let had = self.hold.holder().is_some_and(|holder| holder.who == who);
        let words = self.hold.take(who, now)?;

        // Who takes it again may be teaching.
        if !had {
            self.lessons.cut("take_control ended the lesson");
        }

        Ok(Done::with(words))
    }

    fn set_threshold(&mut self, region: Option<&str>, value: f32) -> Result<Done, String> {
        // Identity follows at once, under its lock, so that `birth` names the threshold that the
        // next part is judged by.
        let before = self.control.set_threshold(region, value)?;
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.control.policies());
            identity.clone()
        };

        // The changeover makes a revision of it where the library has the recipe: this thread waits
        // for no disk.
        let judges = identity.recipe.rsplit_once('@').map(|(name, _)| name);
        let recipes = self.recipes.now();
        let until = match recipes.iter().find(|recipe| Some(&*recipe.name) == judges) {
            Some(recipe) if self.is_of_library(recipe) => "it becomes a revision of the recipe",
            _ => "until the line starts again",
        };

        self.events.tell(Event::Identity(Arc::new(identity)));
        let before = match before {
            Some(before) => format!("was {before}; {until}"),
            None => format!("there was none; {until}"),
        };

        Ok(Done::with(match self.control.passing_bad() {
            Some(passing) => format!("{before}; {passing}"),
            None => before,
        }))
    }

    fn snapshot(&self, camera: Option<&str>) -> Result<Done, String> {
        // The camera's name may be left out where there is only one.
        let admission = match camera {
            Some(name) => self.admissions.get(name),
            None if self.admissions.len() == 1 => self.admissions.values().next(),
            None => return Err("camera is missing: there are several".to_owned()),
        };

        // Encoding a PNG takes tens of milliseconds: the overlay stage does it, and this thread
        // stays free for triggers.
        let admission = admission.ok_or("there is no camera of that name")?;
        let picture = admission.newest().ok_or("it has shown nothing yet")?;
        let camera = admission.camera.clone();
        let topic = format!("snapshot/{camera}");
        self.snapshots
            .try_send(Snapshot { camera, picture })
            .map_err(|_| "pictures are in the way; ask again")?;

        Ok(Done::with(topic))
    }

    fn pause(&self, is_paused: bool) -> Result<Done, String> {
        self.control.pause(is_paused);

        Ok(Done::plain())
    }

    fn reset(&mut self) -> Result<Done, String> {
        self.control.reset();
        self.lessons.cut("reset ended the lesson");
        self.cleanings.cut(None, "reset ended the comparison");
        self.look_at_challenges();

        Ok(Done::plain())
    }
}

/// True for a command that is answered a second time when it has ended.
fn has_outcome(action: &Action) -> bool {
    matches!(
        action,
        Action::SelectRecipe { .. }
            | Action::Change(_)
            | Action::Challenge(_)
            | Action::Cleaned { .. }
            | Action::Reload
            | Action::ShiftCheck(ShiftCheckCommand {
                step: CheckStep::Start { .. },
                ..
            })
    )
}

/// A command that is done or begun, and the reason that its sender is told.
struct Done {
    status: AnswerStatus,
    reason: Option<String>,
}

impl Done {
    fn plain() -> Self {
        Done {
            status: AnswerStatus::Done,
            reason: None,
        }
    }

    fn with(reason: String) -> Self {
        Done {
            reason: Some(reason),
            ..Done::plain()
        }
    }

    /// The outcome is told later.
    fn begun(reason: impl Into<String>) -> Self {
        Done {
            status: AnswerStatus::Accepted,
            reason: Some(reason.into()),
        }
    }
}
