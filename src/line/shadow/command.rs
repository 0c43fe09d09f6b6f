//! The shadow begins and ends, on the changeover's side: a revision is prepared as for a changeover, but for one
//! thread, and handed to the shadow stage.

use super::stage::PreparedShadow;
use crate::config;
use crate::line::changeover::{Changeover, name_in};
use crate::line::control::SHADOW;
use crate::line::selection::Selection;
use crate::protocol::shadow::{ShadowCommand, ShadowCounts};
use crate::recipe::active::{ActiveRecipe, RegionPolicies};
use crate::recipe::library::hold::RevisionHold;
use crate::recipe::library::revision::Revision;
use crate::recipe::prepare::PrepareMode;
use crate::recipe::spec::RecipeSpec;
use crate::recipe::threshold::of_region;

impl Changeover {
    /// Begins a shadow, or ends it. Returns words on what judges.
    pub(in crate::line) fn shadow_command(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        command: &ShadowCommand,
    ) -> Result<String, String> {
        match command.revision {
            Some(revision) => self.begin_shadow(selection, recipe, revision),
            None => match self.shadow.end() {
                Some(counts) => Ok(format!("the shadow has ended: {}", in_words(&counts))),
                None => Err("no revision judges in the shadow".to_owned()),
            },
        }
    }

    fn begin_shadow(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        number: u64,
    ) -> Result<String, String> {
        let judging = self.judging();
        let label = format!("{}@{number}", recipe.name);
        label.clone_into(&mut selection.recipe);
        self.may_begin(&label, &judging)?;
        let revision = self.library.revision(&recipe.name, number).map_err(words)?;

        // From here on no writer prunes it; whether it is whole is seen when it is prepared.
        let hold = RevisionHold::of(&revision).map_err(words)?;
        self.check_model(&revision)?;
        let spec = config::recipe_of(revision).map_err(words)?;
        let prepared = self.preparer.prepare(&spec, PrepareMode::Beside);
        let mut active = prepared.map_err(|failure| failure.message)?;
        let judges = thresholds_of(&mut active, &spec)?;
        let engine = self.engine_of(&active);
        let words = format!(
            "{label} judges in the shadow of {judging}, threshold{}; on {engine}",
            in_words_of(&judges)
        );

        self.hand_over(&label, (active, judges, hold))?;
        Ok(words)
    }

    /// Refuses what is no other revision of the recipe that judges, and a second shadow.
    fn may_begin(&self, label: &str, judging: &str) -> Result<(), String> {
        if name_in(label) != name_in(judging) {
            return Err(format!(
                "{judging} judges: a revision of that recipe can judge in its shadow, not {label}"
            ));
        }

        if label == judging {
            return Err(format!(
                "{label} judges the line; name another revision to be its shadow"
            ));
        }

        match self.shadow.counts() {
            None => Ok(()),
            Some(counts) => Err(format!(
                "{} judges in the shadow already; end it first",
                counts.recipe
            )),
        }
    }

    /// Refuses a revision of another model: its scores say nothing beside those of this one.
    fn check_model(&self, revision: &Revision) -> Result<(), String> {
        let manifest = revision.manifest();
        let own = &self.preparer.model;
        match &manifest.model {
            Some(model) if model.sha256 != own.hash => Err(format!(
                "{} was taught with the model {}, and {} judges: teach the recipe anew with it",
                manifest.label(),
                model.name,
                own.label()
            )),
            _ => Ok(()),
        }
    }

    /// Words on the shadow's engine, and on the line's where that is another one.
    fn engine_of(&self, active: &ActiveRecipe) -> String {
        let backend = active.inspector.backend();
        let of_line = self.identity().backend;
        if of_line == backend {
            return format!("{backend}, one thread");
        }

        format!(
            "{backend}, one thread; {of_line} judges the line, so that equal pictures may score a little different"
        )
    }

    fn hand_over(
        &self,
        label: &str,
        (active, judges, hold): (ActiveRecipe, RegionPolicies, RevisionHold),
    ) -> Result<(), String> {
        let number = self
            .shadow
            .begin(label)
            .map_err(|other| format!("{other} judges in the shadow already"))?;

        let prepared = PreparedShadow {
            number,
            label: label.to_owned(),
            active,
            judges,
            hold,
        };

        if self.shadows.try_send(prepared).is_err() {
            self.shadow.end();
            let words = "the shadow before has not ended yet; give the command again";
            return Err(words.to_owned());
        }

        self.diagnostics.clear(SHADOW);
        Ok(())
    }

    /// Ends the shadow where its own revision judges the line from now on, or another recipe does.
    pub(in crate::line) fn end_shadow_of(&self, judging: &str) {
        let Some(counts) = self.shadow.counts() else {
            return;
        };

        let why = if counts.recipe == judging {
            "it judges the line now".to_owned()
        } else if name_in(&counts.recipe) != name_in(judging) {
            format!("{judging} judges the line now")
        } else {
            return;
        };

        if let Some(counts) = self.shadow.end() {
            let words = format!(
                "the shadow {} has ended, as {why}: {}",
                counts.recipe,
                in_words(&counts)
            );

            tracing::info!("{words}");
            self.store.audit(words);
        }
    }
}

/// The thresholds of a revision, each of which there must be: nothing can be compared without.
fn thresholds_of(active: &mut ActiveRecipe, spec: &RecipeSpec) -> Result<RegionPolicies, String> {
    let found = active.thresholds(spec).map_err(|failure| failure.message)?;
    let regions = active.inspector.regions();
    for (region, threshold) in regions.iter().zip(found) {
        if let Err(why) = threshold {
            let of_region = of_region(region.as_deref());
            return Err(format!(
                "{} has no threshold{of_region}: {why}",
                spec.label()
            ));
        }
    }

    active.policies(spec).map_err(|failure| failure.message)
}

fn in_words_of(judges: &RegionPolicies) -> String {
    let mut all = vec![];
    for (region, policy) in judges {
        let of_region = of_region(region.as_deref());
        let value = policy.threshold.unwrap_or_default(); // there is one, see `thresholds_of`
        all.push(format!("{of_region} {value:.4}"));
    }

    all.join(",")
}

/// Counters of a shadow, for people.
fn in_words(counts: &ShadowCounts) -> String {
    format!(
        "of {} parts {} differ ({} pass, {} fail in the shadow alone), {} were not looked at",
        counts.parts, counts.differ, counts.passes_more, counts.fails_more, counts.dropped
    )
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
