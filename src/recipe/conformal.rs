//! Conformal thresholds: a false-reject rate that is promised instead of a factor that is guessed.
//!
//! The scores of good parts that are not in the gallery and the score of the next good part are alike
//! (exchangeable: any order of them is as probable) where light, camera and product stay as they are.
//! So the next one is the largest of n + 1 with a probability of 1 / (n + 1), and among the m largest
//! with m / (n + 1). The threshold lies just above the score that is number m from the top, with m the
//! whole part of rate x (n + 1): equal scores pass together, and a good part fails with a probability
//! of at most m / (n + 1), which is at most the rate. With m = 0 no threshold keeps the rate.
//!
//! Sources: Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World* (2005); Lei et al.,
//! *Distribution-free predictive inference for regression* (JASA 2018), section 2.2, for the split;
//! Angelopoulos and Bates, *Conformal Prediction: A Gentle Introduction* (2023), section 1 for the
//! quantile and section 3.2 for the spread ([`Spread`]).
//!
//! The promise holds as well for scores of references that are each left out of the gallery once. The
//! scores with the next part in the gallery too would be exchangeable with that part's score (full
//! conformal prediction, Vovk et al., section 2.2.4), and one reference fewer never lowers a score:
//! each cell's distance is that to the nearest reference, and every score grows with its cells. It is the
//! mean that holds for them: such scores depend on each other, and [`Spread`] is of a split alone.

/// Share of good parts that may fail, above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FalseRejectRate(f64);

/// Room for the rounding of `0.29 * 100`, which is 28.999999999999996.
const ROUNDING: f64 = 1e-9;

impl FalseRejectRate {
    /// Takes a rate; `None` for one that is not above 0 and below 1, NaN among them.
    pub fn new(rate: f64) -> Option<Self> {
        (rate > 0.0 && rate < 1.0).then_some(FalseRejectRate(rate))
    }

    /// Returns the lowest rate that so many good parts can promise; `None` for none.
    pub fn lowest(parts: usize) -> Option<Self> {
        FalseRejectRate::new(1.0 / (parts as f64 + 1.0))
    }

    /// Returns the rate.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns the number of good parts that the rate needs at least: 1 / rate - 1.
    pub fn parts_needed(self) -> usize {
        (1.0 / self.0 - 1.0 - ROUNDING).ceil().max(1.0) as usize
    }

    /// Returns the place, counted from 1 at the top, of the highest score that passes among those of so
    /// many good parts; 0 where they are too few.
    pub fn place_from_top(self, parts: usize) -> usize {
        let place = self.0 * (parts as f64 + 1.0) + ROUNDING;
        (place as usize).min(parts)
    }

    /// Returns the threshold that keeps the rate, from scores of good parts that are not in the
    /// gallery; `None` where there are fewer than [`FalseRejectRate::parts_needed`].
    ///
    /// A part fails at the threshold or above. The threshold is the next number above a score, so that
    /// a part of that very score passes.
    pub fn threshold(self, good: &[f32]) -> Option<f32> {
        let place = self.place_from_top(good.len());
        if place == 0 {
            return None;
        }

        let mut sorted = good.to_vec();
        sorted.sort_by(f32::total_cmp);
        let highest_passing = sorted[sorted.len() - place];
        Some(highest_passing.next_up())
    }
}

/// The false-reject rate that a number of good parts promises, and how far a single teaching may be
/// from it, where none of them is in the gallery (a split): the rate of one set of n parts whose number m from the top is the highest that passes is
/// distributed as Beta(m, n + 1 - m), or below that where scores are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean over all sets of good parts.
    pub mean: f64,
    /// Rate that nine sets in ten stay under.
    pub nine_in_ten: f64,
}

impl Spread {
    /// Returns the spread where number `place` from the top of `parts` good parts is the highest that
    /// passes.
    pub fn new(place: usize, parts: usize) -> Self {
        // Bisection: sixty halvings are finer than a double.
        let mut low = 0.0;
        let mut high = 1.0;
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if beta_share_below(middle, place, parts) < 0.9 {
                low = middle;
            } else {
                high = middle;
            }
        }

        Spread {
            mean: place as f64 / (parts as f64 + 1.0),
            nine_in_ten: high,
        }
    }
}

/// Returns the share of Beta(place, parts + 1 - place) below `rate`: the probability that at least
/// `place` of `parts` lie beyond a score that each lies beyond with probability `rate`.
fn beta_share_below(rate: f64, place: usize, parts: usize) -> f64 {
    // The terms of the binomial distribution, in logarithms: (1 - rate)^parts may be below every
    // double.
    let odds = (rate / (1.0 - rate)).ln();
    let mut term = parts as f64 * (1.0 - rate).ln();
    let mut fewer = 0.0;
    for count in 0..place {
        fewer += term.exp();
        term += odds + ((parts - count) as f64 / (count as f64 + 1.0)).ln();
    }

    1.0 - fewer
}

/// Returns a rate in per cent, rounded up to two digits that mean something: a promise must not be
/// rounded down.
pub fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let scale = match percent {
        10.0.. => 1.0,
        1.0.. => 10.0,
        _ => 100.0,
    };

    format!("{} %", (percent * scale - 1e-6).ceil() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn rate(rate: f64) -> FalseRejectRate {
        FalseRejectRate::new(rate).expect("between 0 and 1")
    }

    #[test]
    fn a_rate_is_above_0_and_below_1() {
        for wrong in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert_eq!(FalseRejectRate::new(wrong), None, "{wrong}");
        }

        assert_eq!(rate(0.05).get(), 0.05);
        assert_eq!(FalseRejectRate::lowest(0), None);
        assert_eq!(FalseRejectRate::lowest(19), Some(rate(0.05)));
    }

    #[test]
    fn the_number_of_good_parts_is_refused_one_below_and_taken_at_its_limit() {
        let limits = [
            (0.5, 1),
            (0.3, 3),
            (0.1, 9),
            (0.05, 19),
            (0.01, 99),
            (0.001, 999),
            (0.29, 3),
            (0.9, 1),
        ];

        for (share, needed) in limits {
            let rate = rate(share);
            assert_eq!(rate.parts_needed(), needed, "{share}");
            assert!(rate.threshold(&vec![0.5; needed]).is_some(), "{share}");
            assert_eq!(rate.threshold(&vec![0.5; needed - 1]), None, "{share}");
        }

        assert_eq!(rate(0.29).place_from_top(99), 29);
        assert_eq!(rate(0.999).place_from_top(1), 1);
    }

    #[test]
    fn equal_scores_pass_together_and_all_that_lies_above_fails() {
        let good: Vec<f32> = (1..=19).map(|score| score as f32 / 100.0).collect();
        // The next part is above the highest of 19 once in 20 times.
        assert_eq!(rate(0.05).threshold(&good), Some(0.19_f32.next_up()));
        let threshold = rate(0.1).threshold(&good).expect("enough");
        assert_eq!(threshold, 0.18_f32.next_up());
        assert!(good[17] < threshold && good[18] >= threshold);
        // Where all are equal, all pass.
        let threshold = rate(0.05).threshold(&[0.25; 19]).expect("enough");
        assert!(0.25 < threshold);
        // All but the lowest may fail.
        assert_eq!(rate(0.95).threshold(&good), Some(0.01_f32.next_up()));
    }

    /// Values of scipy 1.17, `scipy.stats.beta.ppf(0.9, place, parts + 1 - place)`.
    #[test]
    fn the_spread_is_that_of_the_beta_distribution() {
        let known = [
            (1, 19, 0.114_133_1),
            (2, 40, 0.093_797_1),
            (50, 999, 0.059_001_6),
            (3, 3, 0.965_489_4),
        ];

        for (place, parts, expected) in known {
            let spread = Spread::new(place, parts);
            let off = (spread.nine_in_ten - expected).abs();
            assert!(off < 1e-6, "{place} of {parts}: {}", spread.nine_in_ten);
        }

        assert_eq!(Spread::new(1, 19).mean, 0.05);
    }

    /// Scores of good parts with a long tail, in steps of which many are equal.
    fn drawn(random: &mut StdRng, count: usize) -> Vec<f32> {
        let mut scores = vec![];
        for _ in 0..count {
            let tail = -random.random_range(f32::MIN_POSITIVE..1.0).ln();
            scores.push((tail * 10.0).round() / 100.0);
        }

        scores
    }

    #[test]
    fn the_rate_is_kept_for_scores_with_a_long_tail_and_many_equal_ones() {
        let mut random = StdRng::seed_from_u64(1);
        for share in [0.05, 0.1] {
            let rate = rate(share);
            for parts in [rate.parts_needed(), 40, 100] {
                let mut failed = 0;
                for _ in 0..2000 {
                    let threshold = rate.threshold(&drawn(&mut random, parts)).expect("enough");
                    let next = drawn(&mut random, 50);
                    failed += next.iter().filter(|score| **score >= threshold).count();
                }

                let found = failed as f64 / (2000.0 * 50.0);
                assert!(found <= share + 0.003, "{share} of {parts}: {found}");
            }
        }
    }

    #[test]
    fn a_promise_is_not_rounded_down() {
        let shown = [0.05, 1.0 / 17.0, 1.0 / 9.0, 0.001, 0.0012, 0.00001].map(percent);
        assert_eq!(shown, ["5 %", "5.9 %", "12 %", "0.1 %", "0.12 %", "0.01 %"]);
    }
}
