//! Pictures grouped by their looks: agglomerative clustering with average linkage over cosine distances.
//!
//! The same looks in the same order give the same groups.

use kodama::{Method, linkage};

/// Mean cosine distance from which two groups stay apart. See docs/teach.md for what it was chosen by.
const APART: f32 = 0.65;

/// Groups of looks `[D]` of unit length, as indices: the largest group first, of equal ones that with the first
/// look; each in ascending order.
pub fn group(looks: &[Vec<f32>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = (0..looks.len()).map(|index| vec![index]).collect();
    let mut distances = condensed(looks);
    if looks.len() > 1 {
        // Step `n` joins two groups into the group `looks.len() + n`. Steps come by their distance.
        let dendrogram = linkage(&mut distances, looks.len(), Method::Average);
        for step in dendrogram.steps() {
            if step.dissimilarity >= APART {
                groups.push(vec![]);
                continue;
            }

            let mut joined = std::mem::take(&mut groups[step.cluster1]);
            joined.append(&mut groups[step.cluster2]);
            joined.sort_unstable();
            groups.push(joined);
        }
    }

    groups.retain(|group| !group.is_empty());
    groups.sort_by(|a, b| b.len().cmp(&a.len()).then(a[0].cmp(&b[0])));
    groups
}

/// Distances of all pairs, row by row above the diagonal.
fn condensed(looks: &[Vec<f32>]) -> Vec<f32> {
    let mut distances = vec![];
    for (index, one) in looks.iter().enumerate() {
        for other in &looks[index + 1..] {
            let cosine: f32 = one.iter().zip(other).map(|(a, b)| a * b).sum();
            distances.push((1.0 - cosine).max(0.0));
        }
    }

    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A direction in a plane, by its angle in degrees.
    fn at(degrees: f32) -> Vec<f32> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        vec![cos, sin]
    }

    #[test]
    fn looks_of_one_kind_are_a_group_and_the_largest_comes_first() {
        assert_eq!(group(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(group(&[at(0.0)]), [[0]]);
        let looks = [at(0.0), at(120.0), at(5.0), at(240.0), at(125.0), at(3.0)];
        assert_eq!(group(&looks), [vec![0, 2, 5], vec![1, 4], vec![3]]);
        assert_eq!(group(&looks), group(&looks), "the same again");
        // Of equal ones the first look decides; two looks far apart stay apart.
        assert_eq!(group(&[at(0.0), at(90.0)]), [[0], [1]]);
        assert_eq!(group(&[at(0.0), at(0.0)]), [[0, 1]]);
    }

    #[test]
    fn features_of_nothing_are_finite_and_alone() {
        let zero = vec![0.0, 0.0];
        assert_eq!(group(&[zero.clone(), at(0.0), zero]).len(), 3);
    }
}
