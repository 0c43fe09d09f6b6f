//! A choice in words: the table of combinations, what was chosen by what, and what is not known.

use super::Choice;
use super::rule::CombinationFigures;
use crate::recipe::library::choice_note::Combination;

impl Choice {
    /// The table of all combinations: a row for each block and number of cells, for each share its counted AUROC and its
    /// separation. `*` marks what was taken, `+` what also beats the values of before by more than chance.
    pub fn table(&self) -> Vec<String> {
        let all_shares = self.combinations.iter().map(|one| one.top_share);
        let mut shares: Vec<f64> = all_shares.collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup();

        let mut rows: Vec<(Option<usize>, usize)> = vec![];
        for combination in &self.combinations {
            let row = (combination.cells, combination.block);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }

        rows.sort_unstable();

        let mut head = format!("{:>5} {:>5}", "cells", "block");
        for share in &shares {
            let title = format!("top {share}");
            head += &format!("  {title:>15}");
        }

        let mut lines = vec![head];
        for (cells, block) in rows {
            let shown = cells.map_or_else(|| "-".to_owned(), |cells| cells.to_string());
            let mut line = format!("{shown:>5} {block:>5}");
            for top_share in &shares {
                let cell = Combination {
                    block,
                    cells,
                    top_share: *top_share,
                };

                let words = self.cell(&cell);
                line += &format!("  {words:>15}");
            }

            lines.push(line);
        }

        lines
    }

    /// Figures of one combination: `0.958 1.52 *`.
    fn cell(&self, combination: &Combination) -> String {
        let place = self.combinations.iter().position(|one| one == combination);
        let Some(place) = place else {
            return String::new();
        };

        let CombinationFigures {
            auroc,
            separation,
            wins,
            ..
        } = self.decision.figures[place];

        let mark = match (place == self.decision.taken, wins) {
            (true, _) => '*',
            (false, true) => '+',
            (false, false) => ' ',
        };

        format!("{auroc:.3} {separation:>5.2} {mark}")
    }

    /// What was chosen, and by what figures.
    pub fn how(&self) -> String {
        let figures = |place: usize| {
            let figures = self.decision.figures[place];
            format!(
                "AUROC {:.3}, separation {:.2}",
                figures.auroc, figures.separation
            )
        };

        let by = format!("{} bad and {} good pictures", self.bad, self.good);
        let baseline = format!("{} ({})", self.baseline(), figures(0));
        if !self.is_other() {
            let others = self.combinations.len() - 1;
            return format!(
                "{baseline} stays: by {by} none of {others} other choices beats it by more than chance"
            );
        }

        format!(
            "{} ({}) in place of {baseline}, by {by}",
            self.taken(),
            figures(self.decision.taken),
        )
    }

    /// What a choice by so few pictures does not know.
    pub fn unknown(&self) -> String {
        format!(
            "the {} bad pictures may be of one kind: how well other kinds are seen is not known, nor is the rate of misses; choose again when there are more",
            self.bad
        )
    }
}
