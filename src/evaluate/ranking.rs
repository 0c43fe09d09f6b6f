//! Exact measures of scores against labels, over every distinct threshold: AUROC, average
//! precision, F1-max, AUPRO.
//!
//! A sample (a picture, or a pixel) is good, or bad and part of a region. Scores are kept as 32-bit
//! keys in the order of the scores, so that sorting in place is all the work and loses nothing.
//! Memory: 4 bytes a good sample, 8 a bad one, 8 a region. 1,000 pictures of 512 x 512 pixels (262
//! million) are 1.2 GB when a tenth is bad; the bound is 8 bytes a pixel, 2.1 GB, when everything
//! is.

use super::regions::Regions;

/// Labelled scores, gathered in any order. Higher is worse.
#[derive(Debug, Default)]
pub struct Scores {
    good: Vec<u32>,
    /// Key and region.
    bad: Vec<(u32, u32)>,
    /// Number of regions so far; they are numbered from 0.
    regions: u32,
}

/// Labelled scores, sorted.
#[derive(Debug)]
pub struct Ranking {
    /// Keys, highest first.
    good: Vec<u32>,
    /// Keys and regions, highest first.
    bad: Vec<(u32, u32)>,
    /// Weight of one sample of each region in the mean overlap: one over its size and over the
    /// number of regions.
    weights: Vec<f64>,
}

/// The samples that score as high as a threshold or higher.
#[derive(Default, Clone, Copy)]
struct Level {
    good: usize,
    bad: usize,
    /// Mean over the regions of the share found.
    overlap: f64,
}

impl Scores {
    /// Room for this many samples, so that none is wasted in growing.
    pub fn with_capacity(good: usize, bad: usize) -> Self {
        Scores {
            good: Vec::with_capacity(good),
            bad: Vec::with_capacity(bad),
            regions: 0,
        }
    }

    /// Adds a good sample. Its score must be finite, as all scores and maps are; NaN would rank
    /// above everything.
    pub fn good(&mut self, score: f32) {
        self.good.push(key(score));
    }

    /// Adds a bad sample that is a region by itself, such as a picture. Its score must be finite.
    pub fn bad(&mut self, score: f32) {
        self.bad.push((key(score), self.regions));
        self.regions += 1;
    }

    /// Adds a picture's pixels, row-major, as many as `regions` says. Their scores must be finite.
    pub fn picture(&mut self, scores: &[f32], regions: &Regions) {
        debug_assert_eq!(scores.len(), regions.pixels());

        // Each pixel is a sample of its own; a bad one belongs to its region, numbered on from the
        // regions of the pictures before.
        for (&score, region) in scores.iter().zip(regions.labels()) {
            match region {
                None => self.good.push(key(score)),
                Some(region) => self.bad.push((key(score), self.regions + region)),
            }
        }

        self.regions += regions.count();
    }

    /// Sorts, in place.
    pub fn ranked(mut self) -> Ranking {
        // The sort puts the highest first, in place: both lists together may hold a gigabyte. The
        // order of equal keys does not matter, since a level holds all of them.
        self.good.sort_unstable_by(|a, b| b.cmp(a));
        self.bad.sort_unstable_by(|a, b| b.cmp(a));

        // The weights begin as the numbers of pixels of the regions.
        let mut weights = vec![0.0; self.regions as usize];

        for (_, region) in &self.bad {
            weights[*region as usize] += 1.0;
        }

        // Each region weighs the same in AUPRO, whatever its size: a pixel is worth one part of its
        // region, and a region one part of all.
        let regions = f64::from(self.regions);

        for weight in &mut weights {
            let size = *weight;
            *weight = 1.0 / (size * regions);
        }

        Ranking {
            good: self.good,
            bad: self.bad,
            weights,
        }
    }
}

/// A number in the order of finite scores, and equal where these are: the two zeros have one.
fn key(score: f32) -> u32 {
    // Adding 0.0 makes -0.0 a 0.0, since the two are equal as scores but not as bits.
    let bits = (score + 0.0).to_bits();

    // IEEE 754 bits are in the order of the values for positive numbers, and in the reverse order
    // for negative ones; so the latter are inverted, and the former lifted above them.
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

impl Ranking {
    /// Area under the ROC curve: the share of (bad, good) pairs in which the bad one scores higher,
    /// ties counting half (Mann-Whitney; scikit-learn's `roc_auc_score`). `None` without good or
    /// without bad samples.
    pub fn auroc(&self) -> Option<f64> {
        let pairs = self.good.len() as f64 * self.bad.len() as f64;
        let mut area = 0.0;
        let mut last = Level::default();

        // Levels come from the highest score down. Ties make a slope, whose area is a trapezium:
        // half of a tied pair counts.
        for level in self.levels() {
            let width = (level.good - last.good) as f64;
            area += width * (last.bad + level.bad) as f64 / 2.0;
            last = level;
        }

        // Without a good or a bad sample there is no pair.
        (pairs > 0.0).then(|| area / pairs)
    }

    /// Average precision: the sum of `(R_n - R_(n-1)) P_n` over the distinct thresholds, without
    /// interpolation (scikit-learn's `average_precision_score`). `None` without bad samples.
    pub fn average_precision(&self) -> Option<f64> {
        let all = self.bad.len() as f64;
        let mut sum = 0.0;
        let mut last = 0;

        // Each level adds the recall that it gains, times the precision at this threshold.
        for level in self.levels() {
            let precision = level.bad as f64 / (level.good + level.bad) as f64;
            sum += (level.bad - last) as f64 / all * precision;
            last = level.bad;
        }

        // Without a bad sample recall is not defined.
        (all > 0.0).then_some(sum)
    }

    /// The highest F1 of all distinct thresholds, `2 TP / (2 TP + FP + FN)`. `None` without bad
    /// samples.
    pub fn f1_max(&self) -> Option<f64> {
        if self.bad.is_empty() {
            return None;
        }

        // F1 is `2 TP / (2 TP + FP + FN)`, and `level.good + level.bad + all bad` is that sum.
        let mut highest = 0.0f64;

        for level in self.levels() {
            let all = level.good + level.bad + self.bad.len();
            highest = highest.max(2.0 * level.bad as f64 / all as f64);
        }

        Some(highest)
    }

    /// Area under the per-region overlap (Bergmann et al., IJCV 2021): the mean over the regions of
    /// the share found against the share of all good pixels (of all pictures together) found with
    /// them, from 0 to `limit` of the latter, over `limit`; straight between thresholds, at the
    /// limit too. anomalib 2.7's `AUPRO`, whose limit is 0.3 and whose regions are eight-connected.
    /// `None` without good or without bad samples.
    pub fn aupro(&self, limit: f64) -> Option<f64> {
        if self.good.is_empty() || self.bad.is_empty() {
            return None;
        }

        // The rate of false positives grows along the levels; the overlap is the mean share of each
        // region that is found.
        let all_good = self.good.len() as f64;
        let mut area = 0.0;
        let mut last_rate = 0.0;
        let mut last_overlap = 0.0;

        for level in self.levels() {
            let rate = level.good as f64 / all_good;

            // The curve is cut off at `limit`: the last step is shortened, and its end is
            // interpolated.
            let end = rate.min(limit);

            if end > last_rate {
                // A step without new good pixels has no width, and a slope that is not defined.
                let step = end - last_rate;
                let slope = (level.overlap - last_overlap) * step / (rate - last_rate);
                let at_end = last_overlap + slope;
                area += step * (last_overlap + at_end) / 2.0;
            }

            if rate > limit {
                break;
            }

            last_rate = rate;
            last_overlap = level.overlap;
        }

        // Divided by the limit, a perfect map has an area of 1.
        Some(area / limit)
    }

    /// One level for each distinct score, from the highest.
    fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        let mut level = Level::default();

        // Each call moves on by one distinct score: all samples that have it.
        std::iter::from_fn(move || {
            let key = self.next_key(&level)?;

            while self.good.get(level.good) == Some(&key) {
                level.good += 1;
            }

            // The bad samples of this score; each brings its share of its region.
            while let Some((bad, region)) = self.bad.get(level.bad)
                && *bad == key
            {
                level.overlap += self.weights[*region as usize];
                level.bad += 1;
            }

            Some(level)
        })
    }

    /// The highest score below a level.
    fn next_key(&self, level: &Level) -> Option<u32> {
        // The lists are sorted downwards, so that the next key is the higher of their two fronts.
        // `None` comes last: both lists are done.
        let good = self.good.get(level.good).copied();
        let bad = self.bad.get(level.bad).map(|(key, _)| *key);

        good.max(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(good: &[f32], bad: &[f32]) -> Ranking {
        let mut scores = Scores::default();
        good.iter().for_each(|score| scores.good(*score));
        bad.iter().for_each(|score| scores.bad(*score));
        scores.ranked()
    }

    fn all(ranking: &Ranking) -> [Option<f64>; 4] {
        [
            ranking.auroc(),
            ranking.average_precision(),
            ranking.f1_max(),
            ranking.aupro(0.3),
        ]
    }

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        assert_eq!(ranking(&[1.0, 2.0], &[3.0]).auroc(), Some(1.0));
        assert_eq!(ranking(&[1.0, 3.0], &[2.0]).auroc(), Some(0.5));
        assert_eq!(ranking(&[-0.0, 0.0], &[0.0]).auroc(), Some(0.5));
        assert_eq!(ranking(&[-1.0, f32::MIN], &[-0.5]).auroc(), Some(1.0));
    }

    #[test]
    fn what_is_not_defined_is_nothing() {
        assert_eq!(all(&ranking(&[], &[])), [None; 4]);
        assert_eq!(all(&ranking(&[1.0, 2.0], &[])), [None; 4]);
        assert_eq!(
            all(&ranking(&[], &[1.0, 2.0])),
            [None, Some(1.0), Some(1.0), None]
        );
    }

    #[test]
    fn equal_scores_tell_nothing() {
        // One threshold: a straight line from (0, 0) to (1, 1), under which 0.3 * 0.3 / 2 lies up
        // to 0.3.
        let [auroc, precision, f1, aupro] = all(&ranking(&[1.0; 3], &[1.0]));
        assert_eq!([auroc, precision, f1], [Some(0.5), Some(0.25), Some(0.4)]);
        assert!(
            aupro.is_some_and(|area| (area - 0.15).abs() < 1e-12),
            "{aupro:?}"
        );
    }

    #[test]
    fn a_small_region_counts_as_much_as_a_large_one() {
        let mut scores = Scores::default();
        let mask = [true, true, true, false, false, true];
        scores.picture(&[0.9, 0.9, 0.9, 0.5, 0.4, 0.1], &Regions::of(&mask, 6));
        let ranking = scores.ranked();
        assert!(
            ranking
                .aupro(0.3)
                .is_some_and(|area| (area - 0.5).abs() < 1e-12)
        );

        assert_eq!(ranking.auroc(), Some(0.75));
    }

    #[test]
    fn a_mask_over_the_whole_picture_leaves_no_good_pixel() {
        let mut scores = Scores::default();
        scores.picture(&[0.1; 4], &Regions::of(&[true; 4], 2));
        assert_eq!(all(&scores.ranked()), [None, Some(1.0), Some(1.0), None]);
    }
}
