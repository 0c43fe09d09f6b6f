//! Tests of the scorer: scores and maps stay finite, whatever the features are.

use super::*;
use crate::engine::WindowFeatures;
use crate::winclip::Preset;
use crate::winclip::gallery::tests::PlainNearest;
use proptest::prelude::*;

use ndarray::Array2;

const GRID: Grid = Grid { w: 3, h: 3 };
const SIZE: usize = 4;

/// Values that break arithmetic: none, the largest, the smallest, and plain ones; rows often
/// repeat.
fn rows(count: usize) -> impl Strategy<Value = Array2<f32>> {
    let value = prop_oneof![
        Just(0.0f32),
        Just(f32::MAX),
        Just(f32::MIN),
        Just(f32::MIN_POSITIVE),
        Just(f32::from_bits(1)),
        -10.0f32..10.0
    ];

    let row = prop_oneof![
        Just(vec![0.0; SIZE]),
        Just(vec![1.0; SIZE]),
        prop::collection::vec(value, SIZE)
    ];

    prop::collection::vec(row, count).prop_map(move |rows| {
        Array2::from_shape_vec((count, SIZE), rows.concat()).expect("count rows")
    })
}

fn features() -> impl Strategy<Value = Features> {
    (rows(1), rows(1 + GRID.cells()), rows(4), rows(1)).prop_map(|(image, tokens, two, three)| {
        Features {
            grid: GRID,
            image: Some(image.into_iter().collect()),
            tokens: vec![tokens],
            windows: vec![
                WindowFeatures {
                    scale: 2,
                    features: two,
                },
                WindowFeatures {
                    scale: 3,
                    features: three,
                },
            ],
        }
    })
}

proptest! {
    #[test]
    fn scores_and_maps_are_finite_for_any_finite_features(
        references in prop::collection::vec(features(), 0..3),
        twice: bool,
        prototypes in prop::option::of(rows(2)),
        shown in features(),
    ) {
        let mut references = references;
        references.extend(twice.then(|| shown.clone()));
        let references: Vec<Vec<&Features>> = references.iter().map(|one| vec![one]).collect();
        for preset in [Preset::Paper, Preset::Anomalib, Preset::Zqhang, Preset::Caoyunkang] {
            let prototypes = prototypes.as_ref().map(|p| p.view());
            let scorer = Scorer::new(preset.parameters(&[2, 3]), &[2, 3], prototypes, &references, None);
            let left_out = (0..references.len()).filter(|_| references.len() > 1).map(Some);
            for left_out in left_out.chain([None]) {
                let parts = scorer.partial_scores(&mut PlainNearest, &shown, left_out).expect("plain arithmetic");
                let (score, map) = scorer.combine(parts);
                prop_assert!(score.is_finite(), "{preset:?} {score}");
                prop_assert!(map.values().iter().all(|v| v.is_finite()), "{preset:?} {map:?}");
            }
        }
    }
}

/// A crop of these patches, as wide as they are many, with a class token of zeros.
fn crop(patches: &[[f32; SIZE]]) -> Features {
    let mut rows = vec![[0.0; SIZE]];
    rows.extend(patches);
    let tokens = Array2::from_shape_vec((rows.len(), SIZE), rows.concat()).expect("whole rows");
    Features {
        grid: Grid {
            w: patches.len(),
            h: 1,
        },
        image: None,
        tokens: vec![tokens],
        windows: vec![],
    }
}

fn with_looks(references: &[Features], mask: Option<Vec<bool>>, look: [f32; SIZE]) -> Scorer {
    let parameters = Parameters {
        maps: vec![MapKind::Patch],
        ..Preset::Paper.parameters(&[])
    };

    let references: Vec<Vec<&Features>> = references.iter().map(|one| vec![one]).collect();
    let mut scorer = Scorer::new(parameters, &[], None, &references, mask);
    scorer.set_looks(ndarray::arr2(&[look]).view());
    scorer
}

fn values(scorer: &Scorer, shown: &Features, left_out: Option<usize>) -> Vec<f32> {
    let parts = scorer.partial_scores(&mut PlainNearest, shown, left_out);
    scorer
        .combine(parts.expect("plain arithmetic"))
        .1
        .values()
        .to_vec()
}

#[test]
fn a_look_raises_its_own_patch_alone_and_none_under_a_mask() {
    let [good, bad, other] = [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
    ];
    let references = [crop(&[good, good, good])];
    let shown = crop(&[bad, good, other]);
    let scorer = with_looks(&references, None, bad);
    assert_eq!(values(&scorer, &shown, None), [1.0, 0.0, 0.5]);
    let scorer = with_looks(&references, Some(vec![false, true, true]), bad);
    assert_eq!(values(&scorer, &shown, None), [0.0, 0.0, 0.5]);
    // Distances are compared at the place of their patch, also where others are masked.
    let scorer = with_looks(&references, Some(vec![true, false, true]), other);
    assert_eq!(values(&scorer, &shown, None), [0.5, 0.0, 1.0]);
}

#[test]
fn a_reference_that_is_left_out_is_compared_with_looks_as_a_part_to_come() {
    let [good, bad] = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
    let references = [crop(&[good, good]), crop(&[good, bad])];
    let scorer = with_looks(&references, None, bad);
    // A patch of a reference is never raised, and without that reference it is one of the bad part.
    assert_eq!(values(&scorer, &references[1], None), [0.0, 0.0]);
    assert_eq!(values(&scorer, &references[1], Some(1)), [0.0, 1.0]);
    assert_eq!(values(&scorer, &references[0], Some(0)), [0.0, 0.0]);
}
