//! Layer 4: how well a model tells good from bad on a labelled data set.

/// Area under the ROC curve: the share of (bad, good) pairs in which the bad one scores higher, ties counting half
/// (Mann-Whitney). Nothing when one side is empty.
pub fn auroc(good: &[f32], bad: &[f32]) -> Option<f64> {
    if good.is_empty() || bad.is_empty() {
        return None;
    }
    let mut all: Vec<(f32, bool)> = good.iter().map(|&s| (s, false)).chain(bad.iter().map(|&s| (s, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Mean rank of each group of equal scores, counted from 1.
    let mut bad_ranks = 0.0;
    let mut start = 0;
    while start < all.len() {
        let mut end = start + 1;
        while end < all.len() && all[end].0 == all[start].0 {
            end += 1;
        }
        let rank = (start + 1 + end) as f64 / 2.0;
        bad_ranks += rank * all[start..end].iter().filter(|(_, is_bad)| *is_bad).count() as f64;
        start = end;
    }
    let (n, m) = (bad.len() as f64, good.len() as f64);
    Some((bad_ranks - n * (n + 1.0) / 2.0) / (n * m))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        assert_eq!(auroc(&[1.0, 2.0], &[3.0]), Some(1.0));
        assert_eq!(auroc(&[1.0, 3.0], &[2.0]), Some(0.5));
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), Some(0.5));
        assert_eq!(auroc(&[], &[1.0]), None);
    }
}
