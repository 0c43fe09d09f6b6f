//! `winspect teach --choose`: block, top share and cells by the recipe's good and bad pictures.

use super::terminal::Terminal;
use crate::base::exit::{Exit, Failure};
use crate::config::{self, LineConfig};
use crate::model::ModelFolder;
use crate::recipe::choice::combinations::{check, current};
use crate::recipe::choice::measure::{KnownParts, Measuring};
use crate::recipe::choice::rule::too_few;
use crate::recipe::choice::{Choice, put};
use crate::recipe::library::choice_note::Combination;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::library::revision::Revision;
use crate::recipe::spec::RecipeSpec;

/// Checks, before anything is written, that something can be chosen for what is taught.
///
/// # Errors
/// When the recipe or the model leave nothing to choose, or there are too few pictures: how many are missing.
pub fn check_before(taught: &Draft, spec: &RecipeSpec, model: &ModelFolder) -> Result<(), Failure> {
    check(spec, &model.spec)
        .map_err(|problems| Failure::words(Exit::Usage, problems.to_string()))?;

    let count = |used_as| {
        let pictures = taught.pictures.iter();
        pictures
            .filter(|picture| picture.used_as == used_as)
            .count()
    };

    let (good, bad) = (count(PictureUse::Good), count(PictureUse::Bad));
    match too_few(good, bad) {
        None => Ok(()),
        Some(missing) => {
            let words = format!(
                "--choose: too few pictures to choose by, give {missing}, or teach without --choose"
            );

            Err(Failure::words(Exit::Data, words))
        }
    }
}

/// Measures all combinations with the pictures of a revision, and tells the figures. Changes the draft of that revision
/// into one that judges by the choice; false where that judges as before.
///
/// # Errors
/// When a picture cannot be used, or the engine is missing or fails.
pub fn choose(
    config: &LineConfig,
    model: &ModelFolder,
    revision: &Revision,
    draft: &mut Draft,
) -> Result<bool, Failure> {
    let mut terminal = Terminal::new();
    let spec = config::recipe_of(revision.clone())
        .map_err(|problems| Failure::words(Exit::Config, problems.to_string()))?;

    let parts = KnownParts::read(&spec, &revision.pictures(PictureUse::Bad))?;
    for words in &parts.passed_over {
        terminal.say(words);
    }

    let now = current(&spec.winclip, &model.spec);
    if let Some(missing) = too_few(parts.good_count(), parts.bad_count()) {
        terminal.say(format!(
            "{now} stays: too few pictures count, {missing} are missing"
        ));
        return Ok(false);
    }

    let measuring = Measuring {
        model,
        engines: &config.engines,
        spec: &spec,
        parts: &parts,
    };

    let choice = made(&measuring, baseline(revision, now), &mut terminal)?;
    for line in choice.table() {
        terminal.say(line);
    }

    terminal.say(choice.how());
    terminal.say(format!("not known: {}", choice.unknown()));
    let is_other = choice.taken() != now;
    if is_other {
        put(&choice.taken(), &mut draft.table);
        if let (Some(before), Some(cells)) = (now.cells, choice.taken().cells)
            && before != cells
        {
            terminal.say(format!(
                "{cells} cells in place of {before}: a picture takes longer, by their ratio or more"
            ));
        }

        let why = format!("it was chosen for the scores of {now}");
        for words in draft.numbers_to_auto(&why) {
            terminal.say(format!("warning: {words}"));
        }
    }

    draft.choice = Some(choice.note());
    Ok(is_other)
}

/// The values beside which others are measured: those of before an earlier choice, so that more pictures choose anew.
fn baseline(revision: &Revision, now: Combination) -> Combination {
    match &revision.manifest().choice {
        Some(earlier) if earlier.taken == now => earlier.baseline,
        _ => now,
    }
}

fn made(
    measuring: &Measuring,
    baseline: Combination,
    terminal: &mut Terminal,
) -> Result<Choice, Failure> {
    terminal.say(
        "measuring blocks and top shares on the CPU, by the good and the bad pictures and by defects drawn on the good ones",
    );

    let mut is_begun = false;
    Choice::made(measuring, baseline, &mut |done, all| {
        if !is_begun {
            terminal.begin("pictures", all);
            is_begun = true;
        }

        terminal.done(done);
        // Where no bar is drawn a person sees that it goes on.
        if done.is_multiple_of(50) || done == all {
            tracing::info!("{done} of {all} pictures encoded");
        }
    })
}
