//! The steps of the screen: commands of the signed-in user, one after the other, on a task of their own, because some of them take
//! longer than a browser waits.

use super::board::{RegionThreshold, Remedy, Undo};
use super::common_place::{self, CommonPlace};
use crate::page::access::{Actor, Notice, Right};
use crate::page::state::Page;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::suggestion::SuggestedPart;
use crate::protocol::what_if::WhatIf;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Time for a command to end. What comes later is among the events.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Time for a threshold to become a revision of the library. One that comes later cannot be undone here.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
/// Time between two looks at what judges.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Groups the doubtful parts.
///
/// # Errors
/// Words, where the step cannot begin; so do the others here.
pub fn group(page: &Page, actor: &Actor) -> Result<(), String> {
    begin(page, actor, "the doubtful parts are being grouped")?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let identity = page.now().identity;
        let recipe = name_of(&identity.recipe);

        // Another recipe may judge by the time that the command comes.
        let values = json!({ "recipe": recipe });
        let answer = carried_out(&page, &actor, "suggest", values).await;
        let told = answer.map(|answer| {
            let run_id = &identity.run_id;
            page.false_rejects
                .take_groups(run_id, recipe, answer.groups);
            answer.reason.unwrap_or_default()
        });

        end(&page, told);
    });

    Ok(())
}

/// Makes a candidate that knows the parts of a group as good, and finds its effect out.
pub fn try_group(page: &Page, actor: &Actor, group: u64) -> Result<(), String> {
    let Some(run_id) = page.false_rejects.run_of(group) else {
        return Err(format!(
            "there is no group {group} any more; group the parts again"
        ));
    };

    begin(
        page,
        actor,
        &format!("what group {group} as good would change is being found out"),
    )?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let told = tried_group(&page, &actor, group, &run_id).await;
        end(&page, told);
    });

    Ok(())
}

/// Makes a candidate that does not look at the common place of a group's parts, and finds its effect out.
pub fn try_mask(page: &Page, actor: &Actor, group: u64) -> Result<(), String> {
    let identity = page.now().identity;
    let cameras = identity.cameras.len();
    let recipe = name_of(&identity.recipe);
    let recipe = recipe.to_owned();

    let parts = page.false_rejects.parts_of(group, &recipe)?;

    let place = common_place::of(&parts, cameras)?;
    let words = format!(
        "what a mask over {} would change is being found out",
        place.words()
    );

    begin(page, actor, &words)?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let told = tried_mask(&page, &actor, (&recipe, &place), parts).await;
        end(&page, told);
    });

    Ok(())
}

async fn tried_mask(
    page: &Page,
    actor: &Actor,
    (recipe, place): (&str, &CommonPlace),
    parts: Vec<SuggestedPart>,
) -> Result<String, String> {
    let masked = json!([{
        "region": place.region,
        "area": place.area,
    }]);

    // Another recipe may judge by the time that the command comes.
    let values = json!({
        "recipe": recipe,
        "mask_out": masked,
        "candidate": true,
    });

    let edited = carried_out(page, actor, "edit", values).await?;
    let title = format!("Mask {}", place.words());

    propose(page, actor, &edited, (&title, Remedy::Mask), parts).await
}

async fn tried_group(
    page: &Page,
    actor: &Actor,
    group: u64,
    run_id: &str,
) -> Result<String, String> {
    let values = json!({
        "group": group,
        "run_id": run_id,
        "as": "good",
        "candidate": true,
    });

    let taught = carried_out(page, actor, "teach", values).await?;
    let parts = page.false_rejects.take_group(group);

    let title = format!("Take group {group} as good");
    propose(page, actor, &taught, (&title, Remedy::Revision), parts).await
}

/// Finds out the effect of the candidate that a command has made, and proposes it.
async fn propose(
    page: &Page,
    actor: &Actor,
    answer: &Answer,
    (title, remedy): (&str, fn(u64) -> Remedy),
    parts: Vec<SuggestedPart>,
) -> Result<String, String> {
    let words = answer.reason.as_deref().unwrap_or_default();
    let (recipe, revision) = made(words)
        .ok_or_else(|| format!("which revision was made is not known ({words}); see Recipes"))?;

    let values = json!({ "recipe": recipe, "revision": revision });
    let effect = effect_of(page, actor, values).await?;
    let title = format!("{title}: {recipe}@{revision}");
    page.false_rejects
        .propose(remedy(revision), title, (recipe, words), parts, effect);

    Ok("the proposal is below".to_owned())
}

/// Finds the effect of another threshold out.
pub fn try_threshold(page: &Page, actor: &Actor, wanted: RegionThreshold) -> Result<(), String> {
    let identity = page.now().identity;

    if wanted.judging(&identity).is_none() {
        return Err(match &wanted.region {
            Some(region) => format!("{} has no threshold of region {region}", identity.recipe),
            None => "each region has a threshold of its own".to_owned(),
        });
    }

    let value = wanted.value;
    let of = wanted.region.as_ref();
    let of = of.map_or_else(String::new, |region| format!(" of region {region}"));
    let words = format!("what threshold {value}{of} would change is being found out");
    begin(page, actor, &words)?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let recipe = name_of(&identity.recipe);
        let values = json!({ "recipe": recipe, "threshold": value, "region": wanted.region });
        let told = match effect_of(&page, &actor, values).await {
            Ok(effect) => {
                let title = format!("Set the threshold{of} of {recipe} to {value}");
                let remedy = Remedy::Threshold(wanted);
                page.false_rejects
                    .propose(remedy, title, (recipe, ""), vec![], effect);
                Ok("the proposal is below".to_owned())
            }

            Err(why) => Err(why),
        };

        end(&page, told);
    });

    Ok(())
}

/// Lets a proposal judge.
pub fn activate(page: &Page, actor: &Actor, number: u64) -> Result<(), String> {
    let proposal = page.false_rejects.proposal(number);
    let proposal = proposal.ok_or("there is no such proposal any more")?;

    // The button is not there; a form can be sent all the same.
    if let Some(why) = proposal.hindrance() {
        return Err(why);
    }

    let identity = page.now().identity;
    proposal.check_judging(&identity.recipe)?;

    let before = match &proposal.remedy {
        Remedy::Revision(_) | Remedy::Mask(_) => {
            revision_of(&identity.recipe).map(Remedy::Revision)
        }

        Remedy::Threshold(set) => set.judging(&identity).map(|value| {
            let region = set.region.clone();
            Remedy::Threshold(RegionThreshold { region, value })
        }),
    };

    begin(page, actor, &format!("taken over: {}", proposal.words))?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let told = set(&page, &actor, &proposal.recipe, &proposal.remedy).await;

        if told.is_ok()
            && let Some(before) = before
        {
            let judging = match proposal.remedy {
                Remedy::Threshold(_) => judging_after(&page, &identity.recipe).await,
                Remedy::Revision(revision) | Remedy::Mask(revision) => {
                    format!("{}@{revision}", proposal.recipe)
                }
            };

            let undo = Undo { before, judging };
            page.false_rejects.set_undo(number, Some(undo));
        }

        end(&page, told);
    });

    Ok(())
}

/// Lets what judged before a proposal judge again.
pub fn undo(page: &Page, actor: &Actor, number: u64) -> Result<(), String> {
    let proposal = page.false_rejects.proposal(number);
    let proposal = proposal.ok_or("there is no such proposal any more")?;
    let identity = page.now().identity;
    let before = proposal.to_undo(&identity)?;

    begin(page, actor, &format!("undone: {}", proposal.words))?;
    let (page, actor) = (page.clone(), actor.clone());
    tokio::spawn(async move {
        let told = set(&page, &actor, &proposal.recipe, &before).await;

        if told.is_ok() {
            page.false_rejects.set_undo(number, None);
        }

        end(&page, told);
    });

    Ok(())
}

/// `name@revision` that judges after a change: the library makes a revision of a threshold a moment after it judges. It
/// stays the one before for a recipe of no library.
async fn judging_after(page: &Page, before: &str) -> String {
    let until = Instant::now() + FOLLOWS_WITHIN;

    loop {
        let judging = page.now().identity.recipe;

        if judging != before || Instant::now() >= until {
            return judging;
        }

        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn set(page: &Page, actor: &Actor, recipe: &str, remedy: &Remedy) -> Result<String, String> {
    let answer = match remedy {
        Remedy::Revision(revision) | Remedy::Mask(revision) => {
            let values = json!({ "recipe": recipe, "revision": revision });

            carried_out(page, actor, "rollback", values).await
        }

        Remedy::Threshold(RegionThreshold { region, value }) => {
            let values = json!({ "value": value, "region": region });

            carried_out(page, actor, "set_threshold", values).await
        }
    };

    answer.map(|answer| answer.reason.unwrap_or_default())
}

async fn effect_of(page: &Page, actor: &Actor, values: Value) -> Result<WhatIf, String> {
    let answer = carried_out(page, actor, "what_if", values);
    let answer = answer.await?;

    let Some(effect) = answer.what_if else {
        let words = "the line has told no effect";
        return Err(words.to_owned());
    };

    Ok(*effect)
}

/// Carries a command out; a refusal is an error in words.
async fn carried_out(
    page: &Page,
    actor: &Actor,
    name: &str,
    values: Value,
) -> Result<Answer, String> {
    let answer = page.commands.carry_out(actor, name, values, PATIENCE).await;

    match answer.status {
        AnswerStatus::Done => Ok(answer),
        AnswerStatus::Rejected => Err(answer.reason.unwrap_or_default()),
        AnswerStatus::Accepted | AnswerStatus::Progress => Err(format!(
            "{name} goes on; its outcome will be among the events of Health"
        )),
    }
}

fn begin(page: &Page, actor: &Actor, words: &str) -> Result<(), String> {
    // A command would be refused for the same reason, after a screen that says that it is under way.
    if !actor.may(Right::SetUp) {
        let role = Right::SetUp.least_role().word();
        return Err(format!(
            "{} is {}; this needs {role}",
            actor.name,
            actor.role.word()
        ));
    }

    page.false_rejects.begin(words)
}

fn end(page: &Page, told: Result<String, String>) {
    page.false_rejects.end(match told {
        Ok(words) => Notice::done(words),
        Err(why) => Notice::refused(why),
    });
}

/// Name and number of the revision that `teach` says that it has made: "nut@3 has 4 good ...".
fn made(words: &str) -> Option<(&str, u64)> {
    let parts = words.split_once(" has ");
    let (label, _) = parts?;
    let levels = label.rsplit_once('@');
    let (name, number) = levels?;
    let number = number.parse().ok()?;

    Some((name, number))
}

fn name_of(label: &str) -> &str {
    let levels = label.rsplit_once('@');

    match levels {
        Some((name, _)) => name,
        None => label,
    }
}

fn revision_of(label: &str) -> Option<u64> {
    let (_, number) = label.rsplit_once('@')?;

    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_that_was_made_is_read_out_of_the_answer() {
        let words = "nut@3 has 4 good and 1 bad pictures (teach: taught 2 good and 0 bad parts); it is a candidate";
        assert_eq!(made(words), Some(("nut", 3)));
        assert_eq!(made("nothing was taught"), None);
        assert_eq!((name_of("a@b@7"), revision_of("a@b@7")), ("a@b", Some(7)));
    }
}
