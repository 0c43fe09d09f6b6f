//! Thinned galleries: what they still know, and that a reference is left out of one as out of a whole one.

use crate::harness::golden::{imported, prepared};
use winspect::data::picture::Picture;
use winspect::model::ModelFolder;
use winspect::winclip::{Inspector, MapKind, Recipe};

/// A good part, another one for each number; a bad one has a bright square.
fn picture(number: usize, is_bad: bool) -> Picture {
    let mut rgb = Vec::with_capacity(3 * 70 * 70);
    for y in 0..70 {
        for x in 0..70 {
            let wave = ((x + 2 * y + 3 * number) as f32 / 9.0).sin();
            let is_spot = is_bad && (30..44).contains(&x) && (20..34).contains(&y);
            let grey = if is_spot { 255.0 } else { 110.0 + 40.0 * wave };
            rgb.extend([grey as u8; 3]);
        }
    }

    Picture::new(70, 70, rgb).expect("its bytes")
}

fn inspector(model: &ModelFolder, thin_to: Option<usize>, references: &[Picture]) -> Inspector {
    let recipe = Recipe {
        thin_to,
        input_px: Some(70),
        maps: Some(vec![MapKind::Patch]),
        ..Recipe::new(None)
    };

    prepared(model, &recipe, references)
}

fn score(inspector: &mut Inspector, shown: &Picture) -> f32 {
    inspector.inspect(shown).expect("judged")[0].score
}

#[test]
fn a_thinned_gallery_finds_the_fault_and_scores_no_lower_than_the_whole() {
    let (_guard, model) = imported("dinov2-tiny");
    let references: Vec<Picture> = (0..8).map(|number| picture(number, false)).collect();
    let mut whole = inspector(&model, None, &references);
    let mut thinned = inspector(&model, Some(2), &references);
    assert_eq!(thinned.reference_count(), 8);
    for (number, is_bad) in [(1, false), (12, false), (3, true), (14, true)] {
        let shown = picture(number, is_bad);
        let (of_whole, of_thinned) = (score(&mut whole, &shown), score(&mut thinned, &shown));
        assert!(of_thinned >= of_whole, "{of_thinned}, {of_whole}");
    }

    let good = score(&mut thinned, &picture(12, false));
    assert!(score(&mut thinned, &picture(14, true)) > good);
}

#[test]
fn a_reference_is_left_out_of_a_thinned_gallery_with_all_its_rows() {
    let (_guard, model) = imported("dinov2-tiny");
    let references: Vec<Picture> = (0..6).map(|number| picture(5 * number, false)).collect();
    let left_out = |thin_to| {
        let mut inspector = inspector(&model, thin_to, &references);
        inspector.leave_one_out().expect("compared").remove(0)
    };

    // One row of its own that is still there would make a cell of 0, and its map lower than that of
    // the whole gallery.
    let whole = left_out(None);
    for ((_, thinned), (_, whole)) in left_out(Some(1)).iter().zip(&whole) {
        for (thinned, whole) in thinned.values().iter().zip(whole.values()) {
            assert!(*thinned >= whole - 1e-6, "{thinned}, {whole}");
        }
    }
}

#[test]
fn thinning_that_would_take_minutes_is_refused_in_words() {
    let (_guard, model) = imported("dinov2-tiny");
    let references: Vec<Picture> = (0..2).map(|number| picture(number, false)).collect();
    let mut inspector = inspector(&model, Some(1000), &references);
    let one = inspector.encode_reference(&references[0]).expect("encoded");
    // 2000 references of 25 cells, thinned to the rows of 1000: 1.25e9 pairs.
    let error = inspector
        .set_references(vec![one; 2000])
        .expect_err("too many");
    let words = "thin_to: choosing 25000 of 50000 rows takes too long";
    assert!(error.to_string().contains(words), "{error}");
}
