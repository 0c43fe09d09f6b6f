//! Groups and proposals as the screen shows them: in words.

use super::common_place;
use crate::page::numbers::decimal;
use crate::protocol::suggestion::{Doubt, SuggestedGroup, SuggestedPart};
use crate::protocol::what_if::WhatIf;

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
    /// True if no known bad part would pass, of those that there are.
    pub finds_all_bad: bool,
    /// Reason why it may not judge, in words.
    pub hindrance: Option<String>,
    /// What the line said of the revision that was made; empty for a threshold.
    pub made: String,
    /// True while it judges.
    pub is_active: bool,
}

impl GroupRow {
    /// That of a group, on a line of so many cameras.
    pub fn of(group: &SuggestedGroup, cameras: usize) -> Self {
        let parts = &group.parts;
        let scores = parts.iter().map(|part| part.score);
        let highest = scores.fold(0.0, f32::max);

        // A part passes below the threshold; up, to the digits that are shown.
        let shown = (highest * 1e4).floor() / 1e4;
        let threshold = shown + 2e-4;

        let first = parts.first();
        let region = first.and_then(|part| part.region.clone());
        let place = common_place::of(parts, cameras);
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
pub fn changes_in_words(effect: &WhatIf) -> String {
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
pub fn in_words(part: &SuggestedPart) -> String {
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
