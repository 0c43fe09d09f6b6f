//! Known bad parts are found again by their looks: in regions, in tiles, under masks, and beside words.

use crate::harness::golden::{golden, imported, runtime};
use winspect::data::picture::{Area, Picture};
use winspect::engine::onnx::{OnnxEncoder, OnnxTextEncoder};
use winspect::image::file as image_file;
use winspect::model::ModelFolder;
use winspect::winclip::looks::LOOKS_MAX;
use winspect::winclip::mask::Polygon;
use winspect::winclip::{Inspector, MapKind, Preset, Recipe, Region, RegionScore, prompts};

fn picture(name: &str) -> Picture {
    image_file::read(&golden("open-clip-tiny").join(name)).expect("a golden picture")
}

/// An inspector with two references.
fn inspector(model: &ModelFolder, recipe: &Recipe) -> Inspector {
    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = Box::new(OnnxEncoder::open(&runtime(), model, &plan).expect("opens"));
    let words = model.spec.text.is_some().then(|| {
        let mut text = OnnxTextEncoder::open(&runtime(), model).expect("a text tower");
        let words = prompts::prototypes(recipe, &model.spec, &mut text);
        words.expect("short").expect("a class name")
    });

    let references = ["good_a.png", "good_b.png"].map(picture);
    let spec = &model.spec;
    let progress = &mut |_, _| ();
    Inspector::prepare(recipe, spec, &plan, encoder, words, &references, progress)
        .expect("prepares")
}

fn regions() -> Vec<Region> {
    let region = |name: &str, x, mask: &[Polygon]| Region {
        name: Some(name.into()),
        crop: Some(Area {
            x,
            y: 0,
            w: 33,
            h: 30,
        }),
        mask: mask.to_vec(),
    };

    let corner: Polygon = vec![(0.0, 0.0), (24.0, 0.0), (24.0, 24.0), (0.0, 24.0)];
    vec![region("rim", 0, &[corner]), region("hub", 10, &[])]
}

fn scores(regions: &[RegionScore]) -> Vec<f32> {
    regions.iter().map(|region| region.score).collect()
}

#[test]
fn a_known_bad_part_is_found_in_regions_tiles_and_under_masks() {
    let (_dino_folder, dino) = imported("dinov2-tiny");
    let (_clip_folder, clip) = imported("open-clip-tiny");
    let plain = Recipe {
        input_px: Some(70),
        ..Recipe::new(None)
    };

    let words = |preset| Recipe {
        preset,
        ..Recipe::new(Some("nut".to_owned()))
    };

    let cases = [
        ("plain", &dino, plain.clone()),
        (
            "regions",
            &dino,
            Recipe {
                regions: regions(),
                ..plain.clone()
            },
        ),
        (
            "tiles",
            &dino,
            Recipe {
                regions: regions(),
                tile_px: Some(24),
                ..plain.clone()
            },
        ),
        ("paper", &clip, words(Preset::Paper)),
        ("anomalib", &clip, words(Preset::Anomalib)),
    ];

    for (what, model, recipe) in cases {
        let mut inspector = inspector(model, &recipe);
        assert!(inspector.learns_looks(), "{what}");
        let shown = ["good_a.png", "good_b.png", "bad.png"].map(picture);
        let mut judged = |looks: &[_]| {
            assert_eq!(inspector.set_looks(looks).expect("room"), 0, "{what}");
            let judged = shown
                .each_ref()
                .map(|picture| inspector.inspect(picture).expect("judged"));
            judged.map(|regions| scores(&regions))
        };

        let before = judged(&[]);
        let (unknown, looks) = {
            let mut other = self::inspector(model, &recipe);
            other.inspect_and_learn(&shown[2]).expect("judged")
        };

        assert_eq!(
            scores(&unknown),
            before[2],
            "{what}: it is judged as it was"
        );
        let after = judged(std::slice::from_ref(&looks));
        assert_eq!(
            after[..2],
            before[..2],
            "{what}: good parts score as before"
        );
        for (after, before) in after[2].iter().zip(&before[2]) {
            // Beside words it is the mean of their score and the highest cell; a crop in which a place cannot be
            // told from good ones lowers it where there are tiles.
            let found = *after > before + 0.3;
            assert!(found, "{what}: {after}, {before} before");
        }

        assert_eq!(judged(&[]), before, "{what}: forgotten again");
    }
}

#[test]
fn looks_have_a_bound_and_the_newest_are_held() {
    let (_folder, model) = imported("dinov2-tiny");
    let recipe = Recipe {
        input_px: Some(70),
        ..Recipe::new(None)
    };

    let mut inspector = inspector(&model, &recipe);
    let (_, bad) = inspector
        .inspect_and_learn(&picture("bad.png"))
        .expect("judged");
    let (_, other) = inspector
        .inspect_and_learn(&picture("good_c.png"))
        .expect("judged");
    // 25 cells: each picture has one look.
    let mut looks = vec![bad; 2];
    looks.resize(LOOKS_MAX + 2, other);
    assert_eq!(inspector.set_looks(&looks).expect("room"), 2);
    let score = |inspector: &mut Inspector, name| {
        inspector.inspect(&picture(name)).expect("judged")[0].score
    };
    assert!(
        score(&mut inspector, "bad.png") < 0.9,
        "the oldest are left out"
    );
    assert!(
        score(&mut inspector, "good_c.png") > 0.9,
        "the newest are held"
    );
}

#[test]
fn windows_alone_have_no_looks() {
    let (_folder, model) = imported("open-clip-tiny");
    let recipe = Recipe {
        maps: Some(vec![MapKind::Windows(2)]),
        ..Recipe::new(Some("nut".to_owned()))
    };

    let mut inspector = inspector(&model, &recipe);
    assert!(!inspector.learns_looks());
    let (before, looks) = inspector
        .inspect_and_learn(&picture("bad.png"))
        .expect("judged");
    assert!(looks.is_empty());
    assert_eq!(inspector.set_looks(&[looks]).expect("room"), 0);
    let after = inspector.inspect(&picture("bad.png")).expect("judged");
    assert_eq!(scores(&before), scores(&after));
}
