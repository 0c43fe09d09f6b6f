//! The shadow stage: the thread that judges by the second revision, at the lowest priority.
//!
//! ```text
//! idle --prepared--> judging --ended by a command, by what judges the line, or by its own failures--> idle
//! ```
//! It leaves at the stop. Three failures of its engine in a row end the shadow, and `health` says so; the line
//! goes on.

use super::handle::{Shadow, ShadowFrame, ShadowPart};
use crate::base::exit::{Failure, chain};
use crate::base::health::{Diagnostics, Health};
use crate::base::priority;
use crate::base::stop::Stop;
use crate::data::verdict::{self, Verdict};
use crate::line::control::SHADOW;
use crate::line::events::Events;
use crate::line::shared::Shared;
use crate::protocol::event::Event;
use crate::protocol::shadow::ShadowJudgement;
use crate::recipe::active::{ActiveRecipe, RegionPolicies};
use crate::recipe::library::hold::RevisionHold;
use crate::winclip::inspector::RegionScore;
use crossbeam::channel::Receiver;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Engine failures in a row that end the shadow.
const FAILURES_MAX: u32 = 3;
/// Time between two looks for a frame. Longer than a picture waits for a thread, and shorter than a part takes.
const LOOK: Duration = Duration::from_millis(10);
/// Time between two looks while no shadow is on.
const IDLE_LOOK: Duration = Duration::from_millis(200);
/// Differences that are told in a second; more are counted.
const TOLD_MAX: u32 = 10;
/// Length of that second.
const TOLD_TIME: Duration = Duration::from_secs(1);

/// A prepared revision on its way to the stage.
pub struct PreparedShadow {
    /// Number of the shadow.
    pub number: u64,
    /// Its `name@revision`.
    pub label: String,
    /// The revision, ready to judge.
    pub active: ActiveRecipe,
    /// Thresholds of its regions.
    pub judges: RegionPolicies,
    /// Keeps the revision in the library meanwhile.
    pub hold: RevisionHold,
}

/// The stage that judges by the second revision.
pub struct ShadowStage {
    shadow: Shadow,
    prepared: Receiver<PreparedShadow>,
    events: Events,
    diagnostics: Diagnostics,
    judging: Option<PreparedShadow>,
    /// Engine failures in a row.
    failures: u32,
    told: ToldRate,
}

/// The differences told in the current second.
#[derive(Debug, Default)]
struct ToldRate {
    since: Option<Instant>,
    count: u32,
}

impl ToldRate {
    /// True, and counts one, while there is room.
    fn allows(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= TOLD_TIME;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.count = 0;
        }

        self.count += 1;
        self.count <= TOLD_MAX
    }
}

impl ShadowStage {
    /// `prepared` brings one revision at a time; `events` hear of the differences.
    pub fn new(shared: &Shared, prepared: Receiver<PreparedShadow>, events: Events) -> Self {
        ShadowStage {
            shadow: shared.shadow.clone(),
            prepared,
            events,
            diagnostics: shared.diagnostics.clone(),
            judging: None,
            failures: 0,
            told: ToldRate::default(),
        }
    }

    /// Judges until the line stops.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(mut self, stop: &Stop) -> Result<(), Failure> {
        priority::lower_own();
        loop {
            if let Ok(prepared) = self.prepared.try_recv() {
                self.failures = 0;
                self.judging = Some(prepared);
            }

            // The engine goes with the shadow.
            let shadow = &self.shadow;
            self.judging
                .take_if(|judging| !shadow.is_on(judging.number));

            let frame = self.next_frame();
            let wait = match (&frame, &self.judging) {
                (Some(_), _) => Duration::ZERO,
                (None, Some(_)) => LOOK,
                (None, None) => IDLE_LOOK,
            };

            if let Some(frame) = frame {
                self.see(&frame);
            }

            if stop.stopped_within(wait) {
                return Ok(());
            }
        }
    }

    /// The frame that waits for the revision that judges.
    fn next_frame(&self) -> Option<Box<ShadowFrame>> {
        let Some(judging) = &self.judging else {
            self.shadow.empty();
            return None;
        };

        // One that was handed over just as the shadow before ended is none of this one's.
        let frame = self.shadow.take()?;
        (frame.shadow == judging.number).then_some(frame)
    }

    /// Judges one frame, and compares.
    fn see(&mut self, frame: &ShadowFrame) {
        let Some(judging) = &mut self.judging else {
            return;
        };

        let parts = frame.comparable(&judging.label);
        if parts.is_empty() {
            return;
        }

        let outcome = match judging.active.gate.flaw(&frame.picture) {
            Some(flaw) => {
                tracing::debug!("shadow: {flaw}");
                Ok(vec![])
            }
            None => match judging.active.inspector.inspect_all(&[&frame.picture]) {
                Ok(mut judged) => Ok(judged.pop().and_then(Result::ok).unwrap_or_default()),
                Err(error) => Err(chain(&error)),
            },
        };

        match outcome {
            Ok(scores) => {
                self.failures = 0;
                for part in parts {
                    self.compare(part, &scores);
                }
            }
            Err(words) => self.fail(frame.shadow, &parts, &words),
        }
    }

    fn compare(&mut self, part: &ShadowPart, scores: &[RegionScore]) {
        let Some(judging) = &self.judging else {
            return;
        };

        // It may have ended while it judged: nobody asks for its differences any more.
        let number = judging.number;
        if !self.shadow.is_on(number) {
            return;
        }

        let judgement = judgement(&judging.judges, part.region.as_ref(), scores);
        let Some(judgement) = judgement else {
            // The revision has no such region.
            return self.shadow.drop_parts(number, &part.active.recipe, 1);
        };

        let differs = judgement.verdict != part.active.verdict;
        let is_told = differs && self.told.allows(Instant::now());
        self.shadow
            .count(number, &part.active, judgement.verdict, is_told);

        if is_told {
            let difference = part.against(judgement);
            self.events.tell(Event::Difference(Arc::new(difference)));
        }
    }

    /// Counts a failure of the engine of the shadow `number`; too many in a row end it.
    fn fail(&mut self, number: u64, parts: &[&ShadowPart], words: &str) {
        self.failures += 1;
        tracing::warn!(
            "the shadow could not judge a picture ({} in a row): {words}",
            self.failures
        );

        if let Some(part) = parts.first() {
            let active = &part.active.recipe;
            self.shadow.drop_parts(number, active, parts.len());
        }

        if self.failures < FAILURES_MAX {
            return;
        }

        self.judging = None;
        if let Some(counts) = self.shadow.end_of(number) {
            let words = format!(
                "{} does not judge in the shadow any more, the line does: {words}; begin it again, or confirm with reset",
                counts.recipe
            );

            tracing::error!("{words}");
            self.diagnostics
                .set(SHADOW, Health::MaintenanceRequired, words);
        }
    }
}

/// The shadow's judgement on a region; `None` where it has no such region. Without a score the picture is none that
/// it may judge.
fn judgement(
    judges: &RegionPolicies,
    region: Option<&Arc<str>>,
    scores: &[RegionScore],
) -> Option<ShadowJudgement> {
    let (_, policy) = judges.iter().find(|(own, _)| own.as_ref() == region)?;
    let score = scores
        .iter()
        .find(|score| score.region.as_ref() == region)
        .map(|score| score.score);

    let verdict = match score {
        Some(score) => verdict::decide(score, policy.threshold).0,
        None => Verdict::Undecided,
    };

    Some(ShadowJudgement {
        recipe: policy.recipe.to_string(),
        verdict,
        score,
        threshold: policy.threshold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Picture;
    use crate::data::report::tests::report;
    use crossbeam::channel::bounded;

    #[test]
    fn failures_in_a_row_end_the_shadow_and_health_tells() {
        let shadow = Shadow::default();
        let diagnostics = Diagnostics::default();
        let (events, _ends) = Events::new(Arc::default());
        let (_prepared, prepared) = bounded(1);
        let mut stage = ShadowStage {
            shadow: shadow.clone(),
            prepared,
            events,
            diagnostics: diagnostics.clone(),
            judging: None,
            failures: 0,
            told: ToldRate::default(),
        };

        let number = shadow.begin("nut@8").expect("none is on");
        let picture = Picture::new(2, 2, vec![7; 12]).expect("a picture");
        shadow.see(&[report(1)], &Arc::new(picture));
        let frame = shadow.take().expect("a frame");
        let parts: Vec<&ShadowPart> = frame.parts.iter().collect();
        stage.fail(number, &parts, "no memory");
        stage.fail(number, &parts, "no memory");
        assert!(shadow.is_on(number));
        assert_eq!(shadow.counts().map(|counts| counts.dropped), Some(2));
        assert_eq!(diagnostics.all().0, Health::Normal);
        stage.fail(number, &parts, "no memory");
        assert!(!shadow.is_on(number));
        let (health, causes) = diagnostics.all();
        assert_eq!(health, Health::MaintenanceRequired);
        assert!(
            causes[0]
                .contains("nut@8 does not judge in the shadow any more, the line does: no memory"),
            "{causes:?}"
        );
    }

    #[test]
    fn so_many_differences_are_told_in_a_second_and_more_in_the_next() {
        let now = Instant::now();
        let mut told = ToldRate::default();
        let count = (0..100).filter(|_| told.allows(now)).count();
        assert_eq!(count, TOLD_MAX as usize);
        assert!(!told.allows(now + TOLD_TIME / 2));
        assert!(told.allows(now + TOLD_TIME));
    }
}
