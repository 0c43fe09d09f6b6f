//! What the screen knows: the last groups, the proposals with their effects, and the step that is under way.
//!
//! Bounds: one step at a time, the groups of one suggestion, and [`PROPOSALS_MAX`] proposals, of which the oldest goes.

use super::rows::{GroupRow, ProposalRow, changes_in_words, in_words};
use crate::page::access::Notice;
use crate::protocol::birth::Identity;
use crate::protocol::suggestion::{SuggestedGroup, SuggestedPart};
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
    /// Name of the recipe whose parts were grouped.
    recipe: String,
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
    /// A revision judges that knows the parts of a group as good.
    Revision(u64),
    /// A revision judges that does not look at the place of a group's parts.
    Mask(u64),
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
    /// What the line said of the revision that was made; empty for a threshold.
    pub made: String,
    /// What undoes it. `None` while it is not active.
    pub undo: Option<Undo>,
    /// What judged when it was taken over; it stays after an undo. `None` before the first time.
    pub taken_over_from: Option<Remedy>,
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

impl FalseRejects {
    /// What a screen shows now, on a line of so many cameras.
    pub fn seen(&self, cameras: usize) -> Seen {
        let board = self.board();
        let mut groups = vec![];
        for group in board.groups.iter().filter(|group| group.overruled > 0) {
            groups.push(GroupRow::of(group, cameras));
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

    /// Takes the groups of a suggestion for a recipe in the place of those before.
    pub fn take_groups(&self, run_id: &str, recipe: &str, groups: Vec<SuggestedGroup>) {
        let mut board = self.board();
        board.run_id = Some(run_id.to_owned());
        recipe.clone_into(&mut board.recipe);
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

    /// The parts of a group, as far as they are named, while the recipe of that name judges: a changeover leaves the groups of
    /// another product.
    ///
    /// # Errors
    /// Words, where there is no such group, or another recipe judges.
    pub fn parts_of(&self, group: u64, judging: &str) -> Result<Vec<SuggestedPart>, String> {
        let board = self.board();
        let mut groups = board.groups.iter();
        let Some(known) = groups.find(|known| known.group == group) else {
            return Err(format!(
                "there is no group {group} any more; group the parts again"
            ));
        };

        let recipe = &board.recipe;
        if recipe != judging {
            return Err(format!(
                "{judging} judges, and group {group} is of {recipe}; group the parts again"
            ));
        }

        Ok(known.parts.clone())
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

    /// Adds a proposal for a recipe; `parts` are those that it is for, and `made` what the line said of the revision.
    pub fn propose(
        &self,
        remedy: Remedy,
        words: String,
        (recipe, made): (&str, &str),
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
            made: made.to_owned(),
            undo: None,
            taken_over_from: None,
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
            if let Some(undo) = &undo {
                proposal.taken_over_from = Some(undo.before.clone());
            }

            proposal.undo = undo;
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proposal {
    /// Reason why the proposal may not judge, in words.
    pub fn hindrance(&self) -> Option<String> {
        let effect = &self.effect;
        if !effect.finds_all_bad() {
            let bad = effect.bad_in_words();
            return Some(format!("a known bad part would pass ({bad})"));
        }

        // Nothing would tell that the mask hides what makes a part bad.
        if matches!(self.remedy, Remedy::Mask(_)) && effect.bad_parts == 0 {
            let words = "a mask is tried on known bad parts, and the recipe keeps none; show a bad part on Teach first";
            return Some(words.to_owned());
        }

        None
    }

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
            Remedy::Revision(_) | Remedy::Mask(_) => {
                let levels = judging.rsplit_once('@');
                let name = levels.map_or(judging, |(name, _)| name);
                let is_same = name == self.recipe;
                (is_same, &self.recipe)
            }
        };

        if !is_same {
            return Err(format!("{judging} judges, and the proposal is for {meant}"));
        }

        // The library asks only before the first time whether a later change would be lost.
        let Some(Remedy::Revision(before)) = self.taken_over_from else {
            return Ok(());
        };

        let before = format!("{}@{before}", self.recipe);
        if judging != before {
            return Err(format!(
                "{judging} judges, and the proposal was taken over from {before}; find its effect out anew"
            ));
        }

        Ok(())
    }

    /// What judges again after an undo, while the recipe and thresholds of `now` judge. Those must still be what the proposal
    /// was taken over for: what came later would be taken back with it.
    ///
    /// # Errors
    /// Words, where there is nothing to undo any more.
    pub fn to_undo(&self, now: &Identity) -> Result<Remedy, String> {
        let undo = self.undo.as_ref();
        let undo = undo.ok_or("it does not judge, so that there is nothing to undo")?;
        let meant = &undo.judging;
        let judging = &now.recipe;
        if judging != meant {
            return Err(format!(
                "{judging} judges, and the proposal was taken over for {meant}"
            ));
        }

        let Remedy::Threshold(set) = &self.remedy else {
            return Ok(undo.before.clone());
        };

        if set.judging(now) != Some(set.value) {
            let value = set.value;
            return Err(format!(
                "{judging} has another threshold than {value} by now"
            ));
        }

        Ok(undo.before.clone())
    }
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
            hindrance: proposal.hindrance(),
            made: proposal.made.clone(),
            is_active: proposal.undo.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::birth::tests::identity;
    use crate::protocol::suggestion::Doubt;

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
        assert!(!screen.seen(1).is_grouped);
        screen.take_groups("01RUN", "nut", vec![group(1, 2), group(2, 0)]);
        let seen = screen.seen(1);
        assert_eq!((seen.groups.len(), seen.near_groups), (1, 1));
        assert_eq!(seen.groups[0].threshold, "0.3458");
        assert_eq!(
            seen.groups[0].parts[0],
            "top/7, marked as a false reject: 0.3457 of 0.3000, at 4, 5"
        );

        assert_eq!(screen.run_of(1).as_deref(), Some("01RUN"));
        assert_eq!(screen.parts_of(1, "nut").map(|parts| parts.len()), Ok(1));
        let refused = screen.parts_of(1, "bolt").expect_err("after a changeover");
        assert!(refused.starts_with("bolt judges, and group 1 is of nut"));
        assert_eq!(screen.take_group(1).len(), 1);
        assert!(screen.take_group(1).is_empty());
        assert_eq!(screen.run_of(1), None);
    }

    #[test]
    fn a_threshold_is_for_the_revision_on_which_its_effect_was_found_out() {
        let screen = FalseRejects::default();
        for remedy in [of_all(0.4), Remedy::Revision(3)] {
            screen.propose(remedy, "words".to_owned(), ("nut", ""), vec![], effect(6));
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
        let undo = Undo {
            before: Remedy::Revision(2),
            judging: "nut@3".to_owned(),
        };
        screen.set_undo(2, Some(undo));
        let set = screen.proposal(2).expect("known");
        let undone = set.to_undo(&now("nut@3", 0.4));
        assert_eq!(undone, Ok(Remedy::Revision(2)));
        assert!(set.to_undo(&now("nut@4", 0.4)).is_err(), "taught since");
        screen.set_undo(2, None);
        let undone = screen.proposal(2).expect("known");
        assert_eq!(undone.check_judging("nut@2"), Ok(()), "once more");
        assert!(undone.check_judging("nut@4").is_err(), "taught since");
    }

    #[test]
    fn a_mask_may_judge_where_a_known_bad_part_was_tried_on_it() {
        let screen = FalseRejects::default();
        let none = WhatIf {
            bad_parts: 0,
            ..effect(0)
        };
        for (remedy, effect) in [
            (Remedy::Mask(3), none.clone()),
            (Remedy::Revision(3), none),
            (Remedy::Mask(3), effect(6)),
            (Remedy::Mask(3), effect(5)),
        ] {
            screen.propose(remedy, "words".to_owned(), ("nut", ""), vec![], effect);
        }

        let hindrance = |number| screen.proposal(number).expect("known").hindrance();
        assert!(hindrance(1).is_some_and(|why| why.contains("show a bad part on Teach")));
        assert_eq!((hindrance(2), hindrance(3)), (None, None));
        assert!(hindrance(4).is_some_and(|why| why.contains("would pass")));
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
                ("nut", ""),
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
        let rows = screen.seen(1).proposals;
        assert_eq!(rows.len(), PROPOSALS_MAX);
        assert!(rows[0].is_active && rows[0].hindrance.is_none() && !rows[1].is_active);
        screen.propose(
            of_all(0.4),
            "words".to_owned(),
            ("nut", ""),
            vec![],
            effect(5),
        );
        let rows = screen.seen(1).proposals;
        assert_eq!(
            (rows[0].hindrance.is_some(), &*rows[0].bad),
            (true, "bad parts still found: 5 of 6")
        );
    }
}
