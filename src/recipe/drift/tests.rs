use super::*;
use crate::data::grid::Grid;
use crate::data::picture::Picture;

const SIZE: (usize, usize) = (96, 64);

/// A textured part with this share of its light; around `soft` its texture is smeared. `seed` is the part.
fn picture(seed: usize, light: f32, soft: Option<(usize, usize)>) -> Picture {
    let (width, height) = SIZE;
    let texture =
        |x: usize, y: usize| ((x * 7919 + y * 104_729 + seed * 31) * 2_654_435_761) >> 7 & 63;
    let mut rgb = vec![];
    for y in 0..height {
        for x in 0..width {
            let is_soft = soft.is_some_and(|(cx, cy)| x.abs_diff(cx) < 16 && y.abs_diff(cy) < 12);
            let value = if is_soft { 32 } else { texture(x, y) };
            let value = (90 + seed % 5 + value) as f32 * light;
            rgb.extend([value as u8; 3]);
        }
    }

    Picture::new(width, height, rgb).expect("its bytes")
}

fn references(count: usize) -> Vec<Picture> {
    (0..count).map(|seed| picture(seed, 1.0, None)).collect()
}

/// Maps of 8 x 8 cells: 0.1 and a little more by the part, `more` in the four cells from column 2, row 4.
fn map(seed: usize, more: f32) -> Map {
    let value = |cell: usize| {
        let is_there = (2..4).contains(&(cell % 8)) && (4..6).contains(&(cell / 8));
        let noise = (cell * 31 + seed * 17) % 10;
        0.1 + noise as f32 / 100.0 + if is_there { more } else { 0.0 }
    };

    Map::new(Grid::square(8), (0..64).map(value).collect())
}

fn left_out(count: usize) -> Vec<Vec<(f32, Map)>> {
    vec![(0..count).map(|seed| (0.2, map(seed, 0.0))).collect()]
}

/// Lets passed parts be seen. Returns the number of the part at which something changed, and the words.
fn see(
    watch: &mut DriftWatch,
    limits: &DriftLimits,
    parts: impl Iterator<Item = (Picture, Map)>,
) -> Vec<(usize, String)> {
    let mut told = vec![];
    for (number, (picture, map)) in parts.enumerate() {
        let part = PassedPart {
            size: (picture.width(), picture.height()),
            measures: &Measures::of(&picture),
            maps: vec![(0, &map, Area::whole(SIZE.0, SIZE.1))],
        };

        if watch.see(limits, &part) {
            let words: Vec<String> = watch.present().iter().map(ToString::to_string).collect();
            told.push((number, words.join("; ")));
        }
    }

    told
}

fn parts(
    count: usize,
    light: f32,
    soft: Option<(usize, usize)>,
    more: f32,
) -> impl Iterator<Item = (Picture, Map)> {
    (100..100 + count).map(move |seed| (picture(seed, light, soft), map(seed, more)))
}

#[test]
fn dim_light_is_told_with_its_figures_and_is_over_when_it_is_bright_again() {
    let limits = DriftLimits::new(&references(4), &left_out(4));
    let mut watch = DriftWatch::default();
    assert_eq!(see(&mut watch, &limits, parts(200, 1.0, None, 0.0)), []);
    assert_eq!(see(&mut watch, &limits, parts(50, 0.92, None, 0.0)), []);
    let told = see(&mut watch, &limits, parts(50, 0.65, None, 0.0));
    let (part, words) = told.first().expect("told");
    assert_eq!(*part, TOLD_FROM - 1);
    assert!(
        words.contains("the brightness of the last passed parts is ")
            && words.contains("look at the lamp"),
        "{words}"
    );

    // 39 of 50 are well again, and 11 are not.
    let over = see(&mut watch, &limits, parts(50, 1.0, None, 0.0));
    let (part, words) = over.last().expect("over");
    assert_eq!((*part, words.as_str()), (WINDOW - STAYS_FROM, ""));
}

#[test]
fn a_smudge_is_told_by_its_place_from_four_references_on() {
    for count in [4, 16] {
        let limits = DriftLimits::new(&references(count), &left_out(count));
        let mut watch = DriftWatch::default();
        assert_eq!(see(&mut watch, &limits, parts(50, 1.0, None, 0.0)), []);
        let smudged = parts(50, 1.0, Some((48, 32)), 0.0);
        let told = see(&mut watch, &limits, smudged);
        let [(part, words)] = &told[..] else {
            panic!("{count}: {told:?}");
        };

        assert_eq!(*part, TOLD_FROM - 1);
        assert!(
            words.starts_with("30 of the last 50 passed parts are less sharp")
                && words.contains("30 x 24 pixels from column 36, row 20"),
            "{words}"
        );
    }

    let few = DriftLimits::new(&references(3), &[]);
    let smudged = parts(50, 1.0, Some((48, 32)), 0.0);
    assert_eq!(see(&mut DriftWatch::default(), &few, smudged), []);
}

#[test]
fn what_lies_beside_the_crop_is_no_smudge() {
    let limits = DriftLimits::new(&references(4), &[]);
    let mut watch = DriftWatch::default();
    let crop = Area {
        x: 0,
        y: 0,
        w: 24,
        h: 64,
    };

    for (picture, map) in parts(100, 1.0, Some((64, 32)), 0.0) {
        let part = PassedPart {
            size: SIZE,
            measures: &Measures::of(&picture),
            maps: vec![(0, &map, crop)],
        };

        assert!(!watch.see(&limits, &part), "{:?}", watch.present());
    }
}

#[test]
fn a_place_that_is_unlike_on_most_parts_is_told_where_eight_references_say_what_is_usual() {
    let unlike = || parts(50, 1.0, None, 0.4);
    let limits = DriftLimits::new(&references(8), &left_out(8));
    let told = see(&mut DriftWatch::default(), &limits, unlike());
    let [(part, words)] = &told[..] else {
        panic!("{told:?}");
    };

    assert_eq!(*part, TOLD_FROM - 1);
    assert!(
        words.starts_with("30 of the last 30 passed parts are unlike the references at the same place, 24 x 16 pixels from column 24, row 32;"),
        "{words}"
    );

    let few = DriftLimits::new(&references(7), &left_out(7));
    assert_eq!(see(&mut DriftWatch::default(), &few, unlike()), []);
    // On every other part alone: what half of the parts show is the parts'.
    let mixed = parts(200, 1.0, None, 0.0).zip(parts(200, 1.0, None, 0.4));
    let mixed = mixed
        .enumerate()
        .map(|(number, (usual, unlike))| match number % 2 {
            0 => usual,
            _ => unlike,
        });

    assert_eq!(see(&mut DriftWatch::default(), &limits, mixed), []);
}

#[test]
fn without_references_and_of_another_size_nothing_is_told_and_masked_cells_do_not_count() {
    let none = DriftLimits::new(&[], &[]);
    assert_eq!(none, DriftLimits::default());
    let dim = || parts(50, 0.3, Some((48, 32)), 0.9);
    assert_eq!(see(&mut DriftWatch::default(), &none, dim()), []);
    // A camera of another size may have another view.
    let other = Picture::new(32, 32, picture(0, 1.0, None).rgb()[..3 * 1024].to_vec());
    let other = DriftLimits::new(&[other.expect("its bytes")], &[]);
    let mut watch = DriftWatch::default();
    assert_eq!(see(&mut watch, &other, dim()), []);
    // What was told of one size is over with the first picture of another.
    let limits = DriftLimits::new(&references(4), &[]);
    assert_eq!(see(&mut watch, &limits, parts(50, 0.3, None, 0.0)).len(), 1);
    let told = see(&mut watch, &other, parts(3, 0.3, None, 0.0));
    assert_eq!(told, []);
    let mask: Vec<bool> = (0..64).map(|cell| cell / 8 < 4).collect();
    let masked = (0..8).map(|seed| (0.2, map(seed, 0.0).masked(Some(&mask))));
    let masked = DriftLimits::new(&references(8), &[masked.collect()]);
    let told = see(
        &mut DriftWatch::default(),
        &masked,
        parts(50, 1.0, None, 0.9),
    );
    assert_eq!(told, []);
    // A black reference has no multiple.
    let black = Picture::new(SIZE.0, SIZE.1, vec![0; 3 * SIZE.0 * SIZE.1]);
    let black = DriftLimits::new(&[black.expect("its bytes")], &[]);
    assert_eq!(
        see(
            &mut DriftWatch::default(),
            &black,
            parts(50, 1.0, None, 0.0)
        ),
        []
    );
}

#[test]
fn brightness_that_varies_from_reference_to_reference_widens_its_own_limits() {
    let varied: Vec<Picture> = (0..8)
        .map(|seed| picture(seed, 0.7 + 0.05 * seed as f32, None))
        .collect();

    let limits = DriftLimits::new(&varied, &[]);
    assert_eq!(
        see(
            &mut DriftWatch::default(),
            &limits,
            parts(50, 0.65, None, 0.0)
        ),
        []
    );
    let dim = see(
        &mut DriftWatch::default(),
        &limits,
        parts(50, 0.4, None, 0.0),
    );
    assert!(dim[0].1.contains("the brightness"), "{dim:?}");
}

#[test]
fn five_thousand_good_parts_of_natural_spread_are_no_drift() {
    let mut random = 1u64;
    let mut uniform = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 40) as f32 / (1u64 << 24) as f32
    };

    // Nearly normal, with a standard deviation of 5 %.
    let mut light = || 1.0 + 0.05 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0);
    for count in [1, 2, 4, 8, 16] {
        let references: Vec<Picture> = (0..count)
            .map(|seed| picture(seed, light(), None))
            .collect();

        let limits = DriftLimits::new(&references, &left_out(count));
        let good = (0..1000).map(|seed| (picture(seed, light(), None), map(seed, 0.0)));
        let good: Vec<_> = good.collect();
        assert_eq!(
            see(&mut DriftWatch::default(), &limits, good.into_iter()),
            []
        );
    }
}
