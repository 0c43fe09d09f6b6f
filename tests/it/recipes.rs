//! What a recipe asks of an encoder and of its references: exactly what is compared.

use crate::broker::{Broker, Listener, free_port};
use crate::support::{golden, imported, runtime};
use std::process::Command;
use winspect::engine::PatchLayer;
use winspect::engine::onnx::OnnxEncoder;
use winspect::frame::{Area, Picture};
use winspect::picture_file;
use winspect::winclip::{Inspector, MapKind, Preset, Recipe, tiles};

#[test]
fn an_encoder_computes_what_is_compared_and_no_more() {
    let (_guard, model) = imported("open-clip-tiny");
    let block = [PatchLayer::Block(3)];
    let norm = [PatchLayer::AfterFinalNorm];
    let patch = Some(vec![MapKind::Patch]);
    let three = Some(vec![MapKind::Windows(3)]);
    // preset, maps, with references -> the whole picture, patches, scales
    type Case<'a> = (Preset, Option<Vec<MapKind>>, bool, bool, &'a [PatchLayer], &'a [usize]);
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
        let recipe = Recipe { preset, maps, ..Recipe::new(Some("nut".to_owned())) };
        let plan = recipe.encode_plan(&model.spec, with_references).expect("fits");
        assert_eq!((plan.image, plan.patches.as_slice(), plan.scales.as_slice()), (image, patches, scales), "{what}");
    }
}

#[test]
fn a_recipe_that_compares_nothing_is_refused() {
    let (_guard, model) = imported("open-clip-tiny");
    let own = Recipe::new(Some("nut".to_owned()));
    let cases = [
        (Recipe { scales: vec![], ..own.clone() }, false, "scales: must name at least one"),
        (Recipe { scales: vec![], preset: Preset::Caoyunkang, ..own.clone() }, true, "maps: must name at least one"),
        (Recipe { maps: Some(vec![]), ..own.clone() }, false, "maps: must name at least one"),
        (Recipe { block: Some(0), ..own.clone() }, false, "block: must be 1 to 3, got 0"),
        (Recipe { block: Some(4), ..own }, true, "block: must be 1 to 3, got 4"),
    ];
    for (recipe, with_references, words) in cases {
        let problems = recipe.encode_plan(&model.spec, with_references).expect_err(words).to_string();
        assert_eq!(problems.matches(words).count(), 1, "{words:?} once in {problems}");
    }
}

#[test]
fn what_a_recipe_looks_at_must_be_there() {
    let (_guard, clip) = imported("open-clip-tiny");
    let (_other, dino) = imported("dinov2-tiny");
    let (words, none) = (Recipe::new(Some("nut".to_owned())), Recipe { side: Some(70), ..Recipe::new(None) });
    let crop = Some(Area { x: 10, y: 10, w: 100, h: 100 });
    let polygon = |corners: &[(f64, f64)]| vec![corners.to_vec()];
    let beside = polygon(&[(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]);
    let cases = [
        (&dino, Recipe { mask: beside.clone(), ..none.clone() }, "mask: needs crop"),
        (&dino, Recipe { mask: beside.clone(), crop, ..none.clone() }, "mask: leaves none of the 5 x 5 cells"),
        (
            &dino,
            Recipe { mask: polygon(&[(0.0, 0.0), (99.0, 99.0)]), crop, ..none.clone() },
            "3 corners or more, got 2",
        ),
        (&dino, Recipe { tiles: Some(50), ..none.clone() }, "tiles: need crop"),
        (&dino, Recipe { tiles: Some(50), mask: beside, crop, ..none.clone() }, "tiles: and a mask"),
        (&dino, Recipe { tiles: Some(3), crop, ..none.clone() }, "a map of 167 cells a side (at most 128)"),
        (&clip, Recipe { tiles: Some(50), crop, ..words }, "tiles: are for models without text"),
    ];
    for (model, recipe, words) in cases {
        let problems = recipe.encode_plan(&model.spec, true).expect_err(words).to_string();
        assert!(problems.contains(words), "{words:?} is not in {problems}");
    }
}

/// Against the definition: each view by itself, then the map of all.
#[test]
fn tiles_are_judged_each_with_the_references_own_tile() {
    let (_guard, model) = imported("dinov2-tiny");
    let picture = |name: &str| picture_file::read(&golden("open-clip-tiny").join(name)).expect("a golden picture");
    let (references, shown) = ([picture("good_a.png"), picture("good_b.png")], picture("bad.png"));
    let smallest = |side: fn(&Picture) -> usize| references.iter().chain([&shown]).map(side).min().expect("three");
    let area = Area::whole(smallest(Picture::width), smallest(Picture::height));
    let judged = |recipe: &Recipe| {
        let plan = recipe.encode_plan(&model.spec, true).expect("fits");
        let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
        let mut inspector =
            Inspector::prepare(recipe, &model.spec, &plan, Box::new(encoder), None, &references, &mut |_, _| ())
                .expect("prepares");
        let left_out = inspector.leave_one_out().expect("compared").len();
        assert_eq!(left_out, 2);
        inspector.judge(&shown).expect("judged")
    };
    let plain = Recipe { side: Some(70), crop: Some(area), ..Recipe::new(None) };
    let side = area.w.min(area.h) / 2;
    let tiled = judged(&Recipe { tiles: Some(side), ..plain.clone() });
    let views: Vec<_> = tiles::tiles(area, side)
        .into_iter()
        .map(|tile| (tile, judged(&Recipe { crop: Some(tile), ..plain.clone() }).map))
        .collect();
    assert!(views.len() >= 4);
    assert_eq!(tiled.map, tiles::merged(area, &judged(&plain).map, &views));
    assert!(tiled.score > 0.0 && tiled.score <= tiled.map.max());
    assert_eq!(tiled.area, area);
}

#[test]
fn a_model_with_words_is_not_prepared_without_them() {
    let (_guard, model) = imported("open-clip-tiny");
    let recipe = Recipe::new(Some("nut".to_owned()));
    let plan = recipe.encode_plan(&model.spec, false).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), &model, &plan).expect("opens");
    let prepared = Inspector::prepare(&recipe, &model.spec, &plan, Box::new(encoder), None, &[], &mut |_, _| ());
    let error = prepared.err().expect("no words").to_string();
    assert!(error.contains("no prototypes were made of them"), "{error}");
}

/// "auto" from a picture compared with itself would be 0, and every part would fail.
#[test]
fn a_line_whose_references_are_one_picture_decides_nothing_and_says_so() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/result");
    let pictures = golden("open-clip-tiny");
    let copy = folder.path().join("copy.png");
    std::fs::copy(pictures.join("good_a.png"), &copy).expect("copied");
    let text = format!(
        "prefix = \"plant\"\nstation = \"box\"\nmodel = \"dinov2-tiny\"\n\
         [recipe]\nname = \"nut\"\nsize = 70\nreferences = [{:?}, \"copy.png\"]\nthreshold = \"auto\"\n\
         [[camera]]\nname = \"top\"\nkind = \"folder\"\nlocation = {pictures:?}\nfps = 0\n[mqtt]\nport = {}\n",
        pictures.join("good_a.png"),
        broker.port
    );
    let line = folder.path().join("line.toml");
    std::fs::write(&line, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_winspect")).arg("run").arg(&line).output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for words in ["are the same picture; counted once", "\"auto\" needs at least 2 different references"] {
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
    for result in listener.wait_for("result", 4) {
        assert!(result.contains("\"undecided\"") && result.contains("\"not_ready\""), "{result}");
    }
}

#[test]
fn a_line_names_all_its_bad_references_at_once() {
    let (folder, _model) = imported("dinov2-tiny");
    for name in ["a.png", "b.jpg"] {
        std::fs::write(folder.path().join(name), "hello").expect("written");
    }
    let text = "prefix = \"plant\"\nstation = \"box\"\nmodel = \"dinov2-tiny\"\n\
                [recipe]\nname = \"nut\"\nsize = 70\nreferences = [\"a.png\", \"b.jpg\"]\n\
                [[camera]]\nname = \"top\"\nkind = \"test\"\n";
    let line = folder.path().join("line.toml");
    std::fs::write(&line, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_winspect")).arg("run").arg(&line).output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{errors}");
    assert!(errors.contains("a.png: not a picture") && errors.contains("b.jpg: not a picture"), "{errors}");
}

/// A covered lens would be "good" beside a black reference.
#[test]
fn references_that_show_nothing_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    for (name, grey) in [("black.png", 3), ("grey.png", 128), ("white.png", 255)] {
        let picture = image::RgbImage::from_pixel(64, 48, image::Rgb([grey; 3]));
        picture.save(folder.path().join(name)).expect("written");
    }
    let text = format!(
        "prefix = \"plant\"\nstation = \"box\"\nmodel = \"dinov2-tiny\"\n\
         [recipe]\nname = \"nut\"\nsize = 70\nreferences = [{:?}, \"black.png\", \"grey.png\", \"white.png\"]\n\
         [[camera]]\nname = \"top\"\nkind = \"test\"\n",
        golden("open-clip-tiny").join("good_a.png")
    );
    let line = folder.path().join("line.toml");
    std::fs::write(&line, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_winspect")).arg("run").arg(&line).output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{errors}");
    for words in ["3 of the references", "black.png", "grey.png", "white.png"] {
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
}
