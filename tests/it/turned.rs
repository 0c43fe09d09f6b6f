//! Turned and mirrored references: what they know, what is left out with them, and what is refused.

use crate::harness::golden::{imported, prepared};
use winspect::data::picture::{Area, Picture};
use winspect::model::ModelFolder;
use winspect::winclip::{Fit, MapKind, Recipe, Region, Turned};

/// A picture without any symmetry; another one for each number.
fn picture(w: usize, h: usize, number: usize) -> Picture {
    let mut rgb = Vec::with_capacity(3 * w * h);
    for y in 0..h {
        for x in 0..w {
            let is_bar = x < w / 3 && y > h / 2;
            let wave = (3 * x + 5 * y + 40 * number) % 97;
            rgb.extend([wave as u8, if is_bar { 220 } else { 60 }, (2 * x + y) as u8]);
        }
    }

    Picture::new(w, h, rgb).expect("its bytes")
}

/// The picture with each pixel from where `from` says; `w` x `h` is the new size.
fn moved(
    picture: &Picture,
    (w, h): (usize, usize),
    from: impl Fn(usize, usize) -> (usize, usize),
) -> Picture {
    let mut rgb = Vec::with_capacity(3 * w * h);
    for y in 0..h {
        for x in 0..w {
            let (old_x, old_y) = from(x, y);
            let at = 3 * (old_y * picture.width() + old_x);
            rgb.extend(&picture.rgb()[at..at + 3]);
        }
    }

    Picture::new(w, h, rgb).expect("its bytes")
}

fn half(picture: &Picture) -> Picture {
    let (w, h) = (picture.width(), picture.height());
    moved(picture, (w, h), |x, y| (w - 1 - x, h - 1 - y))
}

fn mirrored(picture: &Picture) -> Picture {
    let (w, h) = (picture.width(), picture.height());
    moved(picture, (w, h), |x, y| (w - 1 - x, y))
}

fn quarter(picture: &Picture) -> Picture {
    let (w, h) = (picture.width(), picture.height());
    moved(picture, (h, w), |x, y| (y, h - 1 - x))
}

/// The score of `shown` with one reference.
fn score(model: &ModelFolder, recipe: &Recipe, reference: &Picture, shown: &Picture) -> f32 {
    let mut inspector = prepared(model, recipe, std::slice::from_ref(reference));
    inspector.inspect(shown).expect("judged")[0].score
}

/// The input's own size, so that nothing is resized and a known part scores nothing.
fn recipe(turned: Turned) -> Recipe {
    Recipe {
        turned,
        input_px: Some(70),
        maps: Some(vec![MapKind::Patch, MapKind::Windows(2)]),
        ..Recipe::new(None)
    }
}

const KNOWN: f32 = 1e-5;

#[test]
fn a_turned_part_is_known_where_the_recipe_says_so_and_only_there() {
    let (_guard, model) = imported("dinov2-tiny");
    let reference = picture(70, 70, 0);
    let mirror_and_quarter = mirrored(&quarter(&reference));
    let shown = [
        ("half", half(&reference)),
        ("mirror", mirrored(&reference)),
        ("quarter", quarter(&reference)),
        ("three quarters", half(&quarter(&reference))),
        ("both", mirror_and_quarter),
    ];

    let cases = [
        (Turned::None, vec![]),
        (Turned::Half, vec!["half"]),
        (Turned::Mirror, vec!["mirror"]),
        (Turned::Quarter, vec!["half", "quarter", "three quarters"]),
        (
            Turned::All,
            vec!["half", "mirror", "quarter", "three quarters", "both"],
        ),
    ];

    for (turned, known) in cases {
        for (name, shown) in &shown {
            let score = score(&model, &recipe(turned), &reference, shown);
            let is_known = score < KNOWN;
            assert_eq!(
                is_known,
                known.contains(name),
                "{turned:?}, {name}: {score}"
            );
        }
    }
}

#[test]
fn an_oblong_input_knows_half_turns_and_mirrors() {
    let (_guard, model) = imported("dinov2-tiny");
    let reference = picture(140, 56, 0);
    let keep = Recipe {
        fit: Fit::Keep,
        cells: Some(40),
        input_px: None,
        ..recipe(Turned::All)
    };

    let upside_down = half(&mirrored(&reference));
    for shown in [half(&reference), mirrored(&reference), upside_down] {
        let score = score(&model, &keep, &reference, &shown);
        assert!(score < KNOWN, "{score}");
    }

    let other = score(&model, &keep, &reference, &picture(140, 56, 1));
    assert!(other > 100.0 * KNOWN, "{other}");
}

#[test]
fn a_reference_is_left_out_with_all_its_ways() {
    let (_guard, model) = imported("dinov2-tiny");
    let first = picture(70, 70, 0);
    let left_out = |references: &[Picture], turned| {
        let mut inspector = prepared(&model, &recipe(turned), references);
        let scores = inspector.leave_one_out().expect("compared").remove(0);
        scores
            .into_iter()
            .map(|(score, _)| score)
            .collect::<Vec<f32>>()
    };

    // A picture that is its own mirror image would match itself, were its ways not left out.
    let twin = moved(&first, (70, 70), |x, y| (x.min(69 - x), y));
    let alone = left_out(&[twin.clone(), first.clone()], Turned::Mirror);
    let plain = left_out(&[twin, first.clone()], Turned::None);
    assert!(
        alone.iter().all(|score| *score > 100.0 * KNOWN),
        "{alone:?}"
    );
    assert!(alone.iter().zip(&plain).all(|(a, b)| a <= b));

    let known = left_out(&[first.clone(), half(&first)], Turned::Half);
    assert!(known.iter().all(|score| *score < KNOWN), "{known:?}");
}

#[test]
fn a_mask_stays_where_it_is_when_the_part_turns() {
    let (_guard, model) = imported("dinov2-tiny");
    let reference = picture(70, 70, 0);
    let left = vec![(0.0, 0.0), (28.0, 0.0), (28.0, 70.0), (0.0, 70.0)];
    let masked = Recipe {
        regions: vec![Region {
            crop: Some(Area::whole(70, 70)),
            mask: vec![left],
            ..Region::default()
        }],
        ..recipe(Turned::Half)
    };

    // Under the mask lies now what lay on the other side of the reference.
    let shown = half(&reference);
    let known = score(&model, &masked, &reference, &shown);
    assert!(known < KNOWN, "{known}");
    let plain = Recipe {
        turned: Turned::None,
        ..masked
    };

    assert!(score(&model, &plain, &reference, &shown) > 100.0 * KNOWN);
}

#[test]
fn what_turned_references_cannot_do_is_refused_in_words() {
    let (_guard, model) = imported("dinov2-tiny");
    let tiles = Recipe {
        tile_px: Some(64),
        regions: vec![Region {
            crop: Some(Area::whole(200, 100)),
            ..Region::default()
        }],
        ..recipe(Turned::Half)
    };

    let oblong = Recipe {
        fit: Fit::Keep,
        cells: Some(40),
        input_px: None,
        ..recipe(Turned::Quarter)
    };

    let oblong = oblong.for_pictures_like(Some(&picture(140, 56, 0)));
    for (recipe, words) in [
        (tiles, "turned: cannot be had beside tile_px"),
        (oblong, "turned: quarter turns need a square input"),
    ] {
        let problems = recipe.encode_plan(&model.spec, true).expect_err(words);
        let problems = problems.to_string();
        assert!(problems.contains(words), "{words:?} is not in {problems}");
    }
}
