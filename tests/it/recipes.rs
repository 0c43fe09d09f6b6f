//! What a recipe asks of an encoder and of its references: exactly what is compared.

use crate::harness::assert_said;
use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported, runtime};
use crate::harness::line::{LineConfig, assert_refused, folder_camera};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors};
use ndarray::{Array2, ArrayView2};
use std::path::Path;
use std::sync::{Arc, Mutex};
use winspect::data::map::Map;
use winspect::data::picture::{Area, Picture};
use winspect::engine::nearest::Nearest;
use winspect::engine::onnx::{OnnxEncoder, OnnxTextEncoder};
use winspect::engine::{Crop, EncodeTimes, Encoder, EngineError, Features, PatchLayer};
use winspect::image::file as image_file;
use winspect::model::ModelFolder;
use winspect::winclip::mask::Polygon;
use winspect::winclip::{Inspector, MapKind, Preset, Recipe, Region, RegionScore, prompts, tiles};

#[test]
fn an_encoder_computes_what_is_compared_and_no_more() {
    let (_guard, model) = imported("open-clip-tiny");
    let block = [PatchLayer::Block(3)];
    let norm = [PatchLayer::AfterFinalNorm];
    let patch = Some(vec![MapKind::Patch]);
    let three = Some(vec![MapKind::Windows(3)]);
    // preset, maps, with references -> the whole picture, patches, scales
    type Case<'a> = (
        Preset,
        Option<Vec<MapKind>>,
        bool,
        bool,
        &'a [PatchLayer],
        &'a [usize],
    );

    let cases: [Case; 13] = [
        (Preset::Paper, None, false, true, &[], &[2, 3]),
        (Preset::Anomalib, None, false, true, &[], &[2, 3]),
        (Preset::Zqhang, None, false, true, &[], &[2, 3]),
        (Preset::Caoyunkang, None, false, false, &[], &[2, 3]),
        (Preset::Paper, None, true, true, &block, &[2, 3]),
        (Preset::Anomalib, None, true, true, &norm, &[2, 3]),
        (Preset::Zqhang, None, true, true, &block, &[2, 3]),
        (Preset::Caoyunkang, None, true, false, &[], &[2, 3]),
        // The paper's map with references is the visual one alone; the others mix the language map in.
        (Preset::Paper, patch.clone(), true, true, &block, &[]),
        (Preset::Paper, three.clone(), true, true, &[], &[3]),
        (Preset::Anomalib, patch.clone(), true, true, &norm, &[2, 3]),
        (Preset::Zqhang, three, true, true, &[], &[2, 3]),
        (Preset::Caoyunkang, patch, true, false, &block, &[2, 3]),
    ];

    for (preset, maps, with_references, image, patches, scales) in cases {
        let what = format!("{preset:?} {maps:?} {with_references}");
        let recipe = Recipe {
            preset,
            maps,
            ..Recipe::new(Some("nut".to_owned()))
        };

        let plan = recipe
            .encode_plan(&model.spec, with_references)
            .expect("fits");

        assert_eq!(
            (plan.image, plan.patches.as_slice(), plan.scales.as_slice()),
            (image, patches, scales),
            "{what}"
        );
    }
}

#[test]
fn a_recipe_that_compares_nothing_is_refused() {
    let (_guard, model) = imported("open-clip-tiny");
    let own = Recipe::new(Some("nut".to_owned()));
    let cases = [
        (
            Recipe {
                scales: vec![],
                ..own.clone()
            },
            false,
            "scales: must name at least one",
        ),
        (
            Recipe {
                scales: vec![],
                preset: Preset::Caoyunkang,
                ..own.clone()
            },
            true,
            "maps: must name at least one",
        ),
        (
            Recipe {
                maps: Some(vec![]),
                ..own.clone()
            },
            false,
            "maps: must name at least one",
        ),
        (
            Recipe {
                block: Some(0),
                ..own.clone()
            },
            false,
            "block: must be 1 to 3, got 0",
        ),
        (
            Recipe {
                block: Some(4),
                ..own
            },
            true,
            "block: must be 1 to 3, got 4",
        ),
    ];

    for (recipe, with_references, words) in cases {
        let problems = recipe
            .encode_plan(&model.spec, with_references)
            .expect_err(words)
            .to_string();

        assert_eq!(
            problems.matches(words).count(),
            1,
            "{words:?} once in {problems}"
        );
    }
}

#[test]
fn what_a_recipe_looks_at_must_be_there() {
    let (_guard, clip) = imported("open-clip-tiny");
    let (_other, dino) = imported("dinov2-tiny");
    let (words, none) = (
        Recipe::new(Some("nut".to_owned())),
        Recipe {
            input_px: Some(70),
            ..Recipe::new(None)
        },
    );

    let crop = Some(Area {
        x: 10,
        y: 10,
        w: 100,
        h: 100,
    });

    let polygon = |corners: &[(f64, f64)]| vec![corners.to_vec()];
    let beside = polygon(&[(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]);
    let one = |crop, mask: &[_]| {
        vec![Region {
            name: None,
            crop,
            mask: mask.to_vec(),
        }]
    };

    let rim = Region {
        name: Some("rim".into()),
        crop,
        mask: beside.clone(),
    };

    let cases = [
        (
            &dino,
            Recipe {
                regions: one(None, &beside),
                ..none.clone()
            },
            "mask: needs crop",
        ),
        (
            &dino,
            Recipe {
                regions: one(crop, &beside),
                ..none.clone()
            },
            "mask: leaves none of the 5 x 5 cells",
        ),
        (
            &dino,
            Recipe {
                regions: vec![rim; 2],
                ..none.clone()
            },
            "region[1].mask: leaves none of the 5 x 5 cells",
        ),
        (
            &dino,
            Recipe {
                regions: vec![],
                ..none.clone()
            },
            "region: must be 1 to 32, got 0",
        ),
        (
            &dino,
            Recipe {
                regions: one(crop, &polygon(&[(0.0, 0.0), (99.0, 99.0)])),
                ..none.clone()
            },
            "3 corners or more, got 2",
        ),
        (
            &dino,
            Recipe {
                tile_px: Some(50),
                ..none.clone()
            },
            "tile_px: needs crop",
        ),
        (
            &dino,
            Recipe {
                tile_px: Some(3),
                regions: one(crop, &[]),
                ..none.clone()
            },
            "a map of 167 cells a side (at most 128)",
        ),
        (
            &dino,
            Recipe {
                tile_px: Some(3),
                regions: one(crop, &[]),
                ..none.clone()
            },
            "a picture (at most 256)",
        ),
        (
            &clip,
            Recipe {
                tile_px: Some(2),
                regions: one(crop, &[]),
                ..words
            },
            "a picture (at most 256)",
        ),
    ];

    for (model, recipe, words) in cases {
        let problems = recipe
            .encode_plan(&model.spec, true)
            .expect_err(words)
            .to_string();

        assert!(problems.contains(words), "{words:?} is not in {problems}");
    }
}

fn golden_picture(name: &str) -> Picture {
    image_file::read(&golden("open-clip-tiny").join(name)).expect("a golden picture")
}

/// What all golden pictures reach.
fn common_area() -> Area {
    let pictures = ["good_a.png", "good_b.png", "bad.png"].map(golden_picture);
    let smallest = |side: fn(&Picture) -> usize| pictures.iter().map(side).min().expect("three");
    Area::whole(smallest(Picture::width), smallest(Picture::height))
}

/// The bad golden picture beside the two good ones, and each good one beside the other.
fn judged(model: &ModelFolder, recipe: &Recipe) -> (Vec<RegionScore>, Vec<Vec<(f32, Map)>>) {
    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = Box::new(OnnxEncoder::open(&runtime(), model, &plan).expect("opens"));
    let words = model.spec.text.is_some().then(|| {
        let mut text = OnnxTextEncoder::open(&runtime(), model).expect("a text tower");
        prompts::prototypes(recipe, &model.spec, &mut text)
            .expect("short")
            .expect("a class name")
    });

    let references = ["good_a.png", "good_b.png"].map(golden_picture);
    let mut inspector = Inspector::prepare(
        recipe,
        &model.spec,
        &plan,
        encoder,
        words,
        &references,
        &mut |_, _| (),
    )
    .expect("prepares");

    let left_out = inspector.leave_one_out().expect("compared");
    (
        inspector
            .inspect(&golden_picture("bad.png"))
            .expect("judged"),
        left_out,
    )
}

/// Counts what goes through it, and in how many calls.
struct Counted(OnnxEncoder, Arc<Mutex<Vec<usize>>>);

impl Encoder for Counted {
    fn backend(&self) -> &str {
        self.0.backend()
    }

    fn encode(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError> {
        self.1.lock().expect("one thread").push(looks.len());
        self.0.encode(looks)
    }

    fn times(&self) -> &EncodeTimes {
        self.0.times()
    }
}

impl Nearest for Counted {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        self.0.similarities(queries, references, rows_each)
    }
}

/// How often the encoder looks at one picture, all in one call.
fn looks_of(model: &ModelFolder, recipe: &Recipe) -> usize {
    let (plan, calls) = (
        recipe.encode_plan(&model.spec, true).expect("fits"),
        Arc::default(),
    );

    let encoder = Counted(
        OnnxEncoder::open(&runtime(), model, &plan).expect("opens"),
        Arc::clone(&calls),
    );

    let mut inspector =
        Inspector::without_references(recipe, &model.spec, &plan, Box::new(encoder), None)
            .expect("no words");

    inspector
        .inspect(&golden_picture("bad.png"))
        .expect("judged");

    let calls = calls.lock().expect("one thread");
    assert_eq!(calls.len(), 1);
    calls[0]
}

fn looks_at(crop: Area, mask: &[Polygon]) -> Vec<Region> {
    vec![Region {
        name: None,
        crop: Some(crop),
        mask: mask.to_vec(),
    }]
}

/// Against the definition: each look by itself, then the map of all.
#[test]
fn tiles_are_judged_each_with_the_references_own_tile() {
    let (_guard, model) = imported("dinov2-tiny");
    let area = common_area();
    let plain = Recipe {
        input_px: Some(70),
        regions: looks_at(area, &[]),
        ..Recipe::new(None)
    };

    let alone = |crop: Area| {
        judged(
            &model,
            &Recipe {
                regions: looks_at(crop, &[]),
                ..plain.clone()
            },
        )
        .0
        .remove(0)
        .map
    };

    let side = area.w.min(area.h) / 2;
    let (mut tiled, left_out) = judged(
        &model,
        &Recipe {
            tile_px: Some(side),
            ..plain.clone()
        },
    );

    assert_eq!(left_out.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    let tiled = tiled.remove(0);
    let looks: Vec<_> = tiles::tiles(area, side)
        .into_iter()
        .map(|tile| (tile, alone(tile)))
        .collect();

    assert!(looks.len() >= 4);
    assert_eq!(tiled.map, tiles::merged(area, &alone(area), &looks));
    // A look has 25 cells, of which one counts.
    assert_eq!((tiled.score, tiled.area), (tiled.map.max(), area));
}

#[test]
fn tiles_outside_a_mask_are_not_computed() {
    let (_guard, model) = imported("dinov2-tiny");
    let area = common_area();
    let side = area.w.min(area.h) / 2;
    let (right, bottom) = ((area.x + area.w / 4) as f64, (area.y + area.h) as f64);
    let left = vec![(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)];
    let recipe = |mask: &[Polygon]| Recipe {
        input_px: Some(70),
        tile_px: Some(side),
        regions: looks_at(area, mask),
        ..Recipe::new(None)
    };

    let [plain, masked] = [recipe(&[]), recipe(std::slice::from_ref(&left))]
        .map(|recipe| judged(&model, &recipe).0.remove(0));

    let side = plain.map.grid().w;
    assert_eq!(masked.map.grid(), plain.map.grid());
    // Three columns of tiles, of which the first alone reaches into the mask.
    let looks = [recipe(&[]), recipe(&[left])].map(|recipe| looks_of(&model, &recipe));
    assert_eq!(looks[0] - 1, 3 * (looks[1] - 1));
    for cell in 0..side * side {
        let counts = masked.map.counts(cell / side, cell % side);
        assert_eq!(
            counts,
            4 * (2 * (cell % side) + 1) <= 2 * side,
            "cell {cell}"
        );

        assert_eq!(masked.map.values()[cell] > 0.0, counts, "cell {cell}");
    }

    assert!(masked.score <= masked.map.max() && masked.score > 0.0);
}

#[test]
fn a_model_with_words_looks_at_tiles_too() {
    let (_guard, model) = imported("open-clip-tiny");
    let area = common_area();
    let side = area.w.min(area.h) / 2;
    for preset in [
        Preset::Paper,
        Preset::Anomalib,
        Preset::Zqhang,
        Preset::Caoyunkang,
    ] {
        let own = Recipe {
            preset,
            regions: looks_at(area, &[]),
            ..Recipe::new(Some("nut".to_owned()))
        };

        let alone = |crop| {
            judged(
                &model,
                &Recipe {
                    regions: looks_at(crop, &[]),
                    ..own.clone()
                },
            )
            .0
            .remove(0)
        };

        let tiled = judged(
            &model,
            &Recipe {
                tile_px: Some(side),
                ..own.clone()
            },
        )
        .0
        .remove(0);

        let looks: Vec<_> = tiles::tiles(area, side)
            .into_iter()
            .map(|tile| (tile, alone(tile)))
            .collect();

        let worst = looks
            .iter()
            .map(|(_, look)| look.score)
            .fold(f32::NEG_INFINITY, f32::max);

        let maps: Vec<_> = looks
            .into_iter()
            .map(|(tile, look)| (tile, look.map))
            .collect();

        let whole = alone(area);
        assert_eq!(
            tiled.map,
            tiles::merged(area, &whole.map, &maps),
            "{preset:?}"
        );

        assert_eq!(tiled.score, (whole.score + worst) / 2.0, "{preset:?}");
    }
}

/// Each as if it were alone, in one go.
#[test]
fn regions_are_judged_apart_each_with_the_references_own_region() {
    for (name, class) in [
        ("dinov2-tiny", None),
        ("open-clip-tiny", Some("nut".to_owned())),
    ] {
        let (_guard, model) = imported(name);
        let (all, class_less) = (common_area(), class.is_none());
        let (left, lower) = (
            Area {
                w: all.w / 2,
                ..all
            },
            Area {
                y: all.y + all.h / 3,
                h: all.h / 2,
                ..all
            },
        );

        let edge = |a: Area| {
            (
                a.x as f64,
                a.y as f64,
                (a.x + a.w) as f64,
                (a.y + a.h) as f64,
            )
        };

        let (x, y, right, bottom) = edge(lower);
        let mask = vec![vec![(x, y), (right, y), (x, bottom)]];
        let own = Recipe {
            maps: Some(vec![MapKind::Patch, MapKind::Windows(2)]),
            ..Recipe::new(class)
        };

        let own = if name == "dinov2-tiny" {
            Recipe {
                input_px: Some(70),
                ..own
            }
        } else {
            own
        };

        let regions = vec![
            Region {
                name: Some("left".into()),
                crop: Some(left),
                mask: vec![],
            },
            Region {
                name: Some("lower".into()),
                crop: Some(lower),
                mask: mask.clone(),
            },
        ];

        let recipe = Recipe {
            regions,
            ..own.clone()
        };

        let (both, left_out) = judged(&model, &recipe);
        assert!(!class_less || looks_of(&model, &recipe) == 2);
        assert_eq!(
            both.iter().map(|j| j.region.as_deref()).collect::<Vec<_>>(),
            [Some("left"), Some("lower")]
        );

        for (i, (area, mask)) in [(left, vec![]), (lower, mask)].into_iter().enumerate() {
            let (alone, good) = judged(
                &model,
                &Recipe {
                    regions: looks_at(area, &mask),
                    ..own.clone()
                },
            );

            assert_eq!(
                (both[i].score, &both[i].map, both[i].area),
                (alone[0].score, &alone[0].map, area),
                "{name}"
            );

            assert_eq!(left_out[i], good[0], "{name}");
        }

        assert_ne!(both[0].score, both[1].score);
    }
}

#[test]
fn a_model_with_words_is_not_prepared_without_them() {
    let (_guard, model) = imported("open-clip-tiny");
    let recipe = Recipe::new(Some("nut".to_owned()));
    let plan = recipe.encode_plan(&model.spec, false).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
    let prepared = Inspector::prepare(
        &recipe,
        &model.spec,
        &plan,
        Box::new(encoder),
        None,
        &[],
        &mut |_, _| (),
    );

    let error = prepared.err().expect("no words").to_string();
    assert!(error.contains("no prototypes were made of them"), "{error}");
}

/// "auto" from a picture compared with itself would be 0, and every part would fail.
#[test]
fn a_line_whose_references_are_one_picture_decides_nothing() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    let good = golden("open-clip-tiny").join("good_a.png");
    std::fs::copy(&good, folder.path().join("copy.png")).expect("copied");
    LineConfig::new(broker.port, &folder_camera())
        .recipe(&format!("references = [{good:?}, \"copy.png\"]"))
        .write(folder.path());

    let output = Running::line(folder.path()).end();
    let words = [
        "are the same picture; counted once",
        "\"auto\" needs at least 2 different references",
    ];

    assert_said(&errors(&output), &words);
    assert!(output.status.success(), "{}", errors(&output));
    for _ in 0..4 {
        let result = listener.next("result");
        assert_eq!(result["verdict"], "undecided", "{result}");
        assert_eq!(result["reason"], "not_ready", "{result}");
    }
}

/// A line with these references in its folder, which is refused with these words.
fn assert_references_refused(folder: &Path, references: &[&str], words: &[&str]) {
    LineConfig::new(1, "kind = \"test\"")
        .recipe(&format!("references = {references:?}"))
        .write(folder);

    assert_refused(folder, 65, words);
}

#[test]
fn a_line_names_all_its_bad_references_at_once() {
    let (folder, _model) = imported("dinov2-tiny");
    let names = ["a.png", "b.jpg"];
    for name in names {
        std::fs::write(folder.path().join(name), "hello").expect("written");
    }

    let words = ["a.png: not a picture", "b.jpg: not a picture"];
    assert_references_refused(folder.path(), &names, &words);
}

/// A covered lens would be "good" beside a black reference.
#[test]
fn references_that_show_nothing_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    for (name, grey) in [("black.png", 3), ("grey.png", 128), ("white.png", 255)] {
        let picture = image::RgbImage::from_pixel(64, 48, image::Rgb([grey; 3]));
        picture.save(folder.path().join(name)).expect("written");
    }

    let good = golden("open-clip-tiny").join("good_a.png");
    let good = good.to_str().expect("UTF-8");
    let names = [good, "black.png", "grey.png", "white.png"];
    let words = ["3 of the references", "black.png", "grey.png", "white.png"];
    assert_references_refused(folder.path(), &names, &words);
}
