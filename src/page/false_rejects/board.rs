//! What the screen knows: the last groups, the proposals with their effects, and the step that is under way.
//!
//! Bounds: one step at a time, the groups of one suggestion, and [`PROPOSALS_MAX`] proposals, of which the oldest goes.

use super::common_place;
use crate::page::access::Notice;
use crate::page::numbers::decimal;
use crate::protocol::birth::Identity;
use crate::protocol::suggestion::{Doubt, SuggestedGroup, SuggestedPart};
use crate::protocol::what_if::WhatIf;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Proposals that are kept.
const PROPOSALS_MAX: usize = 8;

/// The screen's memory. All viewers share it.
#[derive(Default)]
pub struct FalseRejects(Mutex<Board>);

#[derive(Default)]
struct Board {
    /// Run whose parts were grouped; `None` before the first time.
    run_id: Option<String>,
    groups: Vec<SuggestedGroup>,
    /// The newest last.
    proposals: VecDeque<Proposal>,
    /// Number of the last proposal.
    last_number: u64,
    under_way: Option<(String, Instant)>,
    last: Option<Notice>,
}

/// What could be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// A revision judges that knows the parts of a group as good, or does not look at their place.
    Revision(u64),
    /// Another threshold judges.
    Threshold(RegionThreshold),
}

/// The threshold of a region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionThreshold {
    /// The region; `None` where the recipe names none.
    pub region: Option<String>,
    /// The threshold.
    pub value: f32,
}

impl RegionThreshold {
    /// The threshold of the same region that judges now; `None` where the region has none, or is not there.
    pub fn judging(&self, identity: &Identity) -> Option<f32> {
        match &self.region {
            Some(region) => identity.regions.get(region).copied().flatten(),
            None => identity.threshold,
        }
    }
}

/// A remedy with its effect.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its number.
    pub number: u64,
    /// The remedy.
    pub remedy: Remedy,
    /// The remedy in words.
    pub words: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Parts that are taken as good, or whose place is masked; empty for a threshold.
    pub parts: Vec<SuggestedPart>,
    /// The effect.
    pub effect: WhatIf,
    /// What undoes it. `None` while it is not active.
    pub undo: Option<Undo>,
}

/// What undoes a remedy.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    /// What judged before.
    pub before: Remedy,
    /// `name@revision` that judges by the remedy.
    pub judging: String,
}

/// All that a screen shows.
pub struct Seen {
    /// What is under way, in words.
    pub under_way: Option<String>,
    /// What the last step came to.
    pub last: Option<Notice>,
    /// True once the parts were grouped.
    pub is_grouped: bool,
    /// Groups with a marked reject.
    pub groups: Vec<GroupRow>,
    /// Number of other groups.
    pub near_groups: usize,
    /// The proposals, the newest first.
    pub proposals: Vec<ProposalRow>,
}

/// A group as a screen shows it.
pub struct GroupRow {
    /// Its number.
    pub number: u64,
    /// Rejects of it that were marked as false.
    pub overruled: usize,
    /// Parts of it that passed near the threshold.
    pub near: usize,
    /// The first of its parts, each with its words.
    pub parts: Vec<String>,
    /// The place that a mask would hide, in words; or why none would.
    pub mask: Result<String, String>,
    /// Region of the parts; `None` where the recipe names none.
    pub region: Option<String>,
    /// The least threshold under which the parts that are named would pass.
    pub threshold: String,
}

/// A proposal as a screen shows it.
pub struct ProposalRow {
    /// Its number.
    pub number: u64,
    /// The remedy in words.
    pub words: String,
    /// The parts that it is for, each with its words.
    pub parts: Vec<String>,
    /// Its effect on the last parts, in words.
    pub effect: String,
    /// The first parts that would have another verdict, in words; empty without any.
    pub changes: String,
    /// Its effect on the known bad parts, in words.
    pub bad: String,
    /// True if no known bad part would pass.
    pub finds_all_bad: bool,
    /// True while it judges.
    pub is_active: bool,
}

impl FalseRejects {
    /// What a screen shows now.
    pub fn seen(&self) -> Seen {
        let board = self.board();
        let mut groups = vec![];
        for group in board.groups.iter().filter(|group| group.overruled > 0) {
            groups.push(GroupRow::of(group));
        }

        let proposals = board.proposals.iter().rev();
        Seen {
            under_way: board
                .under_way
                .as_ref()
                .map(|(words, since)| format!("{words}, for {} s", since.elapsed().as_secs())),
            last: board.last.clone(),
            is_grouped: board.run_id.is_some(),
            near_groups: board.groups.len() - groups.len(),
            groups,
            proposals: proposals.map(ProposalRow::of).collect(),
        }
    }

    /// Begins a step, in words.
    ///
    /// # Errors
    /// Words, while another one is under way.
    pub fn begin(&self, words: &str) -> Result<(), String> {
        let mut board = self.board();
        if let Some((other, _)) = &board.under_way {
            return Err(format!("not now: {other}"));
        }

        board.under_way = Some((words.to_owned(), Instant::now()));
        board.last = None;
        Ok(())
    }

    /// Ends the step with a message.
    pub fn end(&self, notice: Notice) {
        let mut board = self.board();
        board.under_way = None;
        board.last = Some(notice);
    }

    /// Takes the groups of a suggestion in the place of those before.
    pub fn take_groups(&self, run_id: &str, groups: Vec<SuggestedGroup>) {
        let mut board = self.board();
        board.run_id = Some(run_id.to_owned());
        board.groups = groups;
    }

    /// Takes a group out, and returns its parts.
    pub fn take_group(&self, number: u64) -> Vec<SuggestedPart> {
        let mut board = self.board();
        let found = board.groups.iter().position(|group| group.group == number);

        found.map_or_else(Vec::new, |place| board.groups.remove(place).parts)
    }

    /// Run of the groups; `None` where there is no such group.
    pub fn run_of(&self, group: u64) -> Option<String> {
        let board = self.board();
        let is_there = board.groups.iter().any(|known| known.group == group);

        board.run_id.clone().filter(|_| is_there)
    }

    /// The parts of a group, as far as they are named.
    pub fn parts_of(&self, group: u64) -> Option<Vec<SuggestedPart>> {
        let board = self.board();
        let group = board.groups.iter().find(|known| known.group == group)?;

        Some(group.parts.clone())
    }

    /// A part of a group that is shown.
    pub fn part(&self, group: u64, part: usize) -> Option<SuggestedPart> {
        let board = self.board();
        let group = board.groups.iter().find(|known| known.group == group)?;

        group.parts.get(part).cloned()
    }

    /// A part of a proposal that is shown.
    pub fn part_of_proposal(&self, number: u64, part: usize) -> Option<SuggestedPart> {
        self.proposal(number)?.parts.get(part).cloned()
    }

    /// Adds a proposal for a recipe; `parts` are those that it is for.
    pub fn propose(
        &self,
        remedy: Remedy,
        words: String,
        recipe: &str,
        parts: Vec<SuggestedPart>,
        effect: WhatIf,
    ) {
        let mut board = self.board();
        board.last_number += 1;
        let number = board.last_number;
        if board.proposals.len() >= PROPOSALS_MAX {
            board.proposals.pop_front();
        }

        board.proposals.push_back(Proposal {
            number,
            remedy,
            words,
            recipe: recipe.to_owned(),
            parts,
            effect,
            undo: None,
        });
    }

    /// The proposal of that number.
    pub fn proposal(&self, number: u64) -> Option<Proposal> {
        let board = self.board();
        let mut proposals = board.proposals.iter();

        proposals.find(|known| known.number == number).cloned()
    }

    /// Notes that a proposal judges, with what undoes it; `None`: it does not any more.
    pub fn set_undo(&self, number: u64, undo: Option<Undo>) {
        let mut board = self.board();
        let mut proposals = board.proposals.iter_mut();
        if let Some(proposal) = proposals.find(|known| known.number == number) {
            proposal.undo = undo;
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proposal {
    /// Checks that the proposal is for what judges, `name@revision`: a threshold for exactly that revision, because its
    /// effect was found out on it; a revision for its recipe.
    ///
    /// # Errors
    /// Words, where something else judges.
    pub fn check_judging(&self, judging: &str) -> Result<(), String> {
        let found_on = &self.effect.recipe;
        let (is_same, meant) = match self.remedy {
            Remedy::Threshold(_) => {
                let is_same = judging == found_on;
                (is_same, found_on)
            }
            Remedy::Revision(_) => {
                let levels = judging.rsplit_once('@');
                let name = levels.map_or(judging, |(name, _)| name);
                let is_same = name == self.recipe;
                (is_same, &self.recipe)
            }
        };

        if !is_same {
            return Err(format!("{judging} judges, and the proposal is for {meant}"));
        }

        Ok(())
    }

    /// What judges again after an undo, while the recipe and thresholds of `now` judge. A threshold is set for what judges,
    /// whichever that is: it must still be what the proposal was taken over for.
    ///
    /// # Errors
    /// Words, where there is nothing to undo any more.
    pub fn to_undo(&self, now: &Identity) -> Result<Remedy, String> {
        let undo = self.undo.as_ref();
        let undo = undo.ok_or("it does not judge, so that there is nothing to undo")?;
        let Remedy::Threshold(set) = &self.remedy else {
            return Ok(undo.before.clone());
        };

        let meant = &undo.judging;
        let judging = &now.recipe;
        if judging != meant {
            return Err(format!(
                "{judging} judges, and the threshold was set for {meant}"
            ));
        }

        if set.judging(now) != Some(set.value) {
            let value = set.value;
            return Err(format!(
                "{judging} has another threshold than {value} by now"
            ));
        }

        Ok(undo.before.clone())
    }
}

impl GroupRow {
    fn of(group: &SuggestedGroup) -> Self {
        let parts = &group.parts;
        let scores = parts.iter().map(|part| part.score);
        let highest = scores.fold(0.0, f32::max);

        // A part passes below the threshold; up, to the digits that are shown.
        let shown = (highest * 1e4).floor() / 1e4;
        let threshold = shown + 2e-4;

        let first = parts.first();
        let region = first.and_then(|part| part.region.clone());
        let place = common_place::of(parts);
        let mask = place.map(|place| place.words());
        let words = parts.iter().map(in_words);

        GroupRow {
            number: group.group,
            overruled: group.overruled,
            near: group.near,
            parts: words.collect(),
            region,
            mask,
            threshold: format!("{threshold:.4}"),
        }
    }
}

/// The first parts that would have another verdict.
fn changes_in_words(effect: &WhatIf) -> String {
    let mut parts = vec![];
    for change in &effect.changes {
        let name = without_run(&change.part);
        let verdict = change.verdict.word();
        parts.push(format!("{name} {verdict}"));
    }

    parts.join(", ")
}

/// A part's name without its run, which says nothing to a person.
fn without_run(part: &str) -> &str {
    part.split_once('/').map_or(part, |(_, name)| name)
}

/// A part for a person.
fn in_words(part: &SuggestedPart) -> String {
    let why = match part.why {
        Doubt::Near => "passed near the threshold",
        Doubt::Overruled => "marked as a false reject",
    };

    let name = without_run(&part.part);
    let region = part.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!(" {region}"));
    format!(
        "{name}{region}, {why}: {} of {}, at {}, {}",
        decimal(part.score, 4),
        decimal(part.threshold, 4),
        part.x,
        part.y
    )
}

impl ProposalRow {
    fn of(proposal: &Proposal) -> Self {
        let effect = &proposal.effect;
        let mut words = format!(
            "Of the last {} parts {} would fail; {} did. {} would pass that failed, {} would fail that passed{}.",
            effect.parts,
            effect.would_fail,
            effect.failed,
            effect.passes_more,
            effect.fails_more,
            effect.undecided_in_words()
        );

        if effect.not_judged > 0 {
            words += &format!(" {} more could not be judged.", effect.not_judged);
        }

        ProposalRow {
            number: proposal.number,
            words: proposal.words.clone(),
            parts: proposal.parts.iter().map(in_words).collect(),
            effect: words,
            changes: changes_in_words(effect),
            bad: effect.bad_in_words(),
            finds_all_bad: effect.finds_all_bad(),
            is_active: proposal.undo.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::birth::tests::identity;

    fn effect(bad_found: usize) -> WhatIf {
        WhatIf {
            recipe: "nut@3".to_owned(),
            backend: "onnx-fp32".to_owned(),
            parts: 200,
            failed: 11,
            would_fail: 3,
            passes_more: 8,
            fails_more: 0,
            undecided_would_pass: 0,
            undecided_would_fail: 0,
            would_be_undecided: 0,
            not_judged: 0,
            bad_found,
            bad_parts: 6,
            changes: vec![],
        }
    }

    fn of_all(value: f32) -> Remedy {
        Remedy::Threshold(RegionThreshold {
            region: None,
            value,
        })
    }

    /// What judges, under that threshold.
    fn now(recipe: &str, threshold: f32) -> Identity {
        Identity {
            recipe: recipe.to_owned(),
            threshold: Some(threshold),
            ..identity()
        }
    }

    #[test]
    fn a_threshold_of_a_region_is_undone_while_that_region_has_it() {
        let mut identity = now("nut@4", 0.1);
        identity.threshold = None;
        identity.regions = [("rim".to_owned(), Some(0.4)), ("hub".to_owned(), None)].into();
        let of = |region: Option<&str>| RegionThreshold {
            region: region.map(str::to_owned),
            value: 0.4,
        };

        assert_eq!(of(Some("rim")).judging(&identity), Some(0.4));
        assert_eq!(of(Some("hub")).judging(&identity), None);
        assert_eq!(of(Some("gone")).judging(&identity), None);
        assert_eq!(of(None).judging(&identity), None);
    }

    fn group(number: u64, overruled: usize) -> SuggestedGroup {
        SuggestedGroup {
            group: number,
            near: 1,
            overruled,
            parts: vec![SuggestedPart {
                part: "01RUN/top/7".to_owned(),
                region: None,
                why: Doubt::Overruled,
                score: 0.34567,
                threshold: 0.3,
                x: 4,
                y: 5,
                w: 6,
                h: 7,
            }],
        }
    }

    #[test]
    fn groups_with_marked_rejects_are_shown_and_a_threshold_under_which_they_pass() {
        let screen = FalseRejects::default();
        assert!(!screen.seen().is_grouped);
        screen.take_groups("01RUN", vec![group(1, 2), group(2, 0)]);
        let seen = screen.seen();
        assert_eq!((seen.groups.len(), seen.near_groups), (1, 1));
        assert_eq!(seen.groups[0].threshold, "0.3458");
        assert_eq!(
            seen.groups[0].parts[0],
            "top/7, marked as a false reject: 0.3457 of 0.3000, at 4, 5"
        );

        assert_eq!(screen.run_of(1).as_deref(), Some("01RUN"));
        assert_eq!(screen.take_group(1).len(), 1);
        assert!(screen.take_group(1).is_empty());
        assert_eq!(screen.run_of(1), None);
    }

    #[test]
    fn a_threshold_is_for_the_revision_on_which_its_effect_was_found_out() {
        let screen = FalseRejects::default();
        for remedy in [of_all(0.4), Remedy::Revision(3)] {
            screen.propose(remedy, "words".to_owned(), "nut", vec![], effect(6));
        }

        let [threshold, revision] = [1, 2].map(|number| screen.proposal(number).expect("known"));
        assert_eq!(threshold.check_judging("nut@3"), Ok(()));
        for other in ["nut@4", "bolt@3", "nut"] {
            let refused = threshold.check_judging(other).expect_err(other);
            assert!(refused.ends_with("the proposal is for nut@3"), "{refused}");
        }

        assert!(threshold.to_undo(&now("nut@3", 0.4)).is_err(), "not set");
        let undo = Undo {
            before: of_all(0.3),
            judging: "nut@4".to_owned(),
        };
        screen.set_undo(1, Some(undo));
        let set = screen.proposal(1).expect("known");
        let undone = set.to_undo(&now("nut@4", 0.4));
        assert_eq!(undone, Ok(of_all(0.3)));
        for (judging, threshold) in [("bolt@4", 0.4), ("nut@5", 0.4), ("nut@4", 0.5)] {
            assert!(set.to_undo(&now(judging, threshold)).is_err(), "{judging}");
        }

        assert_eq!(revision.check_judging("nut@2"), Ok(()));
        assert!(revision.check_judging("bolt@3").is_err());
    }

    #[test]
    fn one_step_is_under_way_and_the_oldest_proposal_goes() {
        let screen = FalseRejects::default();
        screen.begin("parts are grouped").expect("nothing else");
        let refused = screen.begin("another").expect_err("one at a time");
        assert_eq!(refused, "not now: parts are grouped");
        screen.end(Notice::done("2 groups"));
        screen.begin("another").expect("it has ended");

        for revision in 0..9 {
            screen.propose(
                Remedy::Revision(revision),
                "words".to_owned(),
                "nut",
                vec![],
                effect(6),
            );
        }

        assert!(screen.proposal(1).is_none() && screen.proposal(2).is_some());
        let undo = Undo {
            before: Remedy::Revision(1),
            judging: "nut@8".to_owned(),
        };
        screen.set_undo(9, Some(undo));
        let rows = screen.seen().proposals;
        assert_eq!(rows.len(), PROPOSALS_MAX);
        assert!(rows[0].is_active && rows[0].finds_all_bad && !rows[1].is_active);
        screen.propose(of_all(0.4), "words".to_owned(), "nut", vec![], effect(5));
        let rows = screen.seen().proposals;
        assert_eq!(
            (rows[0].finds_all_bad, &*rows[0].bad),
            (false, "bad parts still found: 5 of 6")
        );
    }
}
