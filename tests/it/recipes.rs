//! What a recipe asks of an encoder and of its references: exactly what is compared.

use crate::broker::{Broker, Listener, free_port};
use crate::support::{golden, imported, runtime};
use std::process::Command;
use winspect::engine::PatchLayer;
use winspect::engine::onnx::OnnxEncoder;
use winspect::winclip::{Inspector, MapKind, Preset, Recipe};

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
