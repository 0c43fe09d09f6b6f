//! Pictures grouped by what is odd on them: agglomerative clustering with average linkage over cosine distances.
//!
//! The same directions in the same order give the same groups.

use kodama::{Method, linkage};

/// Mean cosine distance from which two groups stay apart. See docs/teach.md for what it was chosen by.
const APART: f32 = 0.65;

/// Groups of directions `[D]` of unit length, as indices: the largest group first, of equal ones that with the first
/// look; each in ascending order.
pub fn group(directions: &[Vec<f32>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = (0..directions.len()).map(|index| vec![index]).collect();
    let mut distances = condensed(directions);
    if directions.len() > 1 {
        // Step `n` joins two groups into the group `directions.len() + n`. Steps come by their distance.
        let dendrogram = linkage(&mut distances, directions.len(), Method::Average);
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
fn condensed(directions: &[Vec<f32>]) -> Vec<f32> {
    let mut distances = vec![];
    for (index, one) in directions.iter().enumerate() {
        for other in &directions[index + 1..] {
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
    fn directions_of_one_kind_are_a_group_and_the_largest_comes_first() {
        assert_eq!(group(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(group(&[at(0.0)]), [[0]]);
        let directions = [at(0.0), at(120.0), at(5.0), at(240.0), at(125.0), at(3.0)];
        assert_eq!(group(&directions), [vec![0, 2, 5], vec![1, 4], vec![3]]);
        assert_eq!(group(&directions), group(&directions), "the same again");
        // Of equal ones the first direction decides; two directions far apart stay apart.
        assert_eq!(group(&[at(0.0), at(90.0)]), [[0], [1]]);
        assert_eq!(group(&[at(0.0), at(0.0)]), [[0, 1]]);
    }

    #[test]
    fn features_of_nothing_are_finite_and_alone() {
        let zero = vec![0.0, 0.0];
        assert_eq!(group(&[zero.clone(), at(0.0), zero]).len(), 3);
    }
}
