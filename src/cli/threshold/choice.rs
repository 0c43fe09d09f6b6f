//! A threshold's price: how many good parts it rejects and how many bad ones it lets pass, and the
//! thresholds that are worth a thought.

/// Scores of known parts, each list in order from the lowest.
#[derive(Debug, Clone, Default)]
pub struct KnownScores {
    /// Scores of good parts.
    pub good: Vec<f32>,
    /// Scores of bad parts.
    pub bad: Vec<f32>,
}

/// A threshold with its price among the known parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Score from which a part fails.
    pub threshold: f32,
    /// Good parts that fail.
    pub good_rejected: usize,
    /// Bad parts that pass.
    pub bad_passed: usize,
}

/// Prices of the two mistakes, in any unit.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Price of a bad part that passes.
    pub miss: f64,
    /// Price of a good part that fails.
    pub reject: f64,
    /// Share of bad parts in the production; `None`: that among the known parts.
    pub bad_share: Option<f64>,
}

impl KnownScores {
    /// Puts the scores in order.
    pub fn new(mut good: Vec<f32>, mut bad: Vec<f32>) -> Self {
        good.sort_by(f32::total_cmp);
        bad.sort_by(f32::total_cmp);

        KnownScores { good, bad }
    }

    /// Returns the price of a threshold. A part fails at the threshold or above.
    pub fn at(&self, threshold: f32) -> Candidate {
        let good_passed = self.good.partition_point(|score| *score < threshold);
        Candidate {
            threshold,
            good_rejected: self.good.len() - good_passed,
            bad_passed: self.bad.partition_point(|score| *score < threshold),
        }
    }

    /// Returns the thresholds that no other one beats in both prices, from the lowest.
    ///
    /// Such a threshold has a good part, or none, below it, and a bad one, or none, above it: over the
    /// next good part it would reject one good part less at the same price, under the next bad part it
    /// would catch one more. It stands in the middle of the gap.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut scores: Vec<f32> = self.good.iter().chain(&self.bad).copied().collect();
        scores.sort_by(f32::total_cmp);
        scores.dedup();
        let mut candidates = vec![];
        let mut below = None;
        for above in scores {
            if self.is_worth_it(below, Some(above)) {
                candidates.push(self.at(between(below, above)));
            }

            below = Some(above);
        }

        if self.is_worth_it(below, None) {
            let highest = below.expect("a good score lies below");
            candidates.push(self.at(highest.next_up()));
        }

        candidates
    }

    fn is_worth_it(&self, below: Option<f32>, above: Option<f32>) -> bool {
        // A lower threshold without a good part below rejects no fewer; a higher one without a bad
        // part above lets no more of them pass.
        let is_good_below = below.is_none_or(|score| is_among(&self.good, score));
        let is_bad_above = above.is_none_or(|score| is_among(&self.bad, score));
        let has_scores = below.is_some() || above.is_some();

        has_scores && is_good_below && is_bad_above
    }

    /// Returns the expected price of a thousand parts; with the share of bad parts among the known
    /// ones where no other is given.
    pub fn cost(&self, candidate: Candidate, costs: Costs) -> f64 {
        let good = self.good.len() as f64;
        let bad = self.bad.len() as f64;
        let bad_share = costs.bad_share.unwrap_or(bad / (good + bad));
        let good_share = 1.0 - bad_share;

        // Without known parts of a kind its share is 0, not a number that is none.
        let rejected = candidate.good_rejected as f64 / good.max(1.0);
        let passed = candidate.bad_passed as f64 / bad.max(1.0);

        let of_rejects = good_share * rejected * costs.reject;
        let of_misses = bad_share * passed * costs.miss;

        1000.0 * (of_rejects + of_misses)
    }

    /// Returns the cheapest candidate; of equal ones that which lets fewer bad parts pass. `None`
    /// without any score.
    pub fn cheapest(&self, costs: Costs) -> Option<Candidate> {
        let mut cheapest: Option<Candidate> = None;
        for candidate in self.candidates() {
            let is_cheaper = |best| self.cost(candidate, costs) < self.cost(best, costs);
            if cheapest.is_none_or(is_cheaper) {
                cheapest = Some(candidate);
            }
        }

        cheapest
    }
}

/// True if one of the scores, which are sorted, is this one.
fn is_among(scores: &[f32], score: f32) -> bool {
    let found = scores.binary_search_by(|other| other.total_cmp(&score));
    found.is_ok()
}

/// Returns a threshold under which a part of the score `below` passes, and one of `above` fails.
fn between(below: Option<f32>, above: f32) -> f32 {
    let Some(below) = below else { return above };
    let middle = below + (above - below) / 2.0;

    // Two scores that are neighbours among the numbers have no middle.
    if middle > below { middle } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownScores {
        KnownScores::new(vec![0.3, 0.1, 0.2, 0.5], vec![0.4, 0.25, 0.8])
    }

    #[test]
    fn a_candidate_is_beaten_by_no_other_one() {
        let found = known().candidates();
        let prices: Vec<_> = found
            .iter()
            .map(|one| (one.good_rejected, one.bad_passed))
            .collect();

        assert_eq!(prices, [(2, 0), (1, 1), (0, 2)]);
        assert_eq!(found[2].threshold, 0.65);
        // Every threshold that there is costs at least as much as one of them in one price.
        for step in 0..100 {
            let other = known().at(step as f32 / 100.0);
            assert!(
                found
                    .iter()
                    .any(|one| one.good_rejected <= other.good_rejected
                        && one.bad_passed <= other.bad_passed)
            );
        }
    }

    #[test]
    fn parts_of_one_kind_have_one_candidate() {
        let good = KnownScores::new(vec![0.1, 0.2], vec![]);
        let above = 0.2_f32.next_up();
        assert_eq!(good.candidates(), [good.at(above)]);
        assert_eq!(
            (good.at(above).good_rejected, good.at(0.2).good_rejected),
            (0, 1)
        );
        let bad = KnownScores::new(vec![], vec![0.3, 0.4]);
        assert_eq!(bad.candidates(), [bad.at(0.3)]);
        assert_eq!(KnownScores::default().candidates(), []);
        // The same scores on both sides: nothing tells them apart.
        let alike = KnownScores::new(vec![0.3], vec![0.3]).candidates();
        assert_eq!((alike[0].good_rejected, alike[0].bad_passed), (1, 0));
        assert_eq!((alike[1].good_rejected, alike[1].bad_passed), (0, 1));
    }

    #[test]
    fn the_cheapest_threshold_follows_the_prices_and_the_share_of_bad_parts() {
        let costs = |miss, bad_share| Costs {
            miss,
            reject: 1.0,
            bad_share,
        };

        let passed = |costs| known().cheapest(costs).map(|one| one.bad_passed);
        assert_eq!(passed(costs(10.0, None)), Some(0));
        assert_eq!(passed(costs(0.1, None)), Some(2));
        // One bad part in ten thousand is not worth many good ones.
        assert_eq!(passed(costs(10.0, Some(1e-4))), Some(2));
        assert_eq!(KnownScores::default().cheapest(costs(1.0, None)), None);
        let next = 0.3_f32.next_up();
        assert_eq!(between(Some(0.3), next), next);
    }
}
