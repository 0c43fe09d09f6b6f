//! Tests of graphs as the engine runs them.

use super::*;
use crate::engine::onnx::Runtime;
use half::slice::HalfFloatSliceExt;
use ort::session::Session;
use ort::value::Tensor;

#[test]
fn a_weight_beyond_fp16_is_named() {
    assert_eq!(
        bytes("b1.up.weight", &[1.0, -2.0], Precision::Fp16).expect("fits"),
        [0x00, 0x3c, 0x00, 0xc0]
    );

    let words = bytes("b1.up.weight", &[0.0, 7e4], Precision::Fp16)
        .expect_err("too large")
        .to_string();

    assert!(
        words.contains("\"b1.up.weight\" holds 70000 at 1") && words.contains("65504"),
        "{words}"
    );
}

#[test]
fn a_plan_names_the_outputs_that_it_needs() {
    let plan = EncodePlan {
        width: 64,
        height: 64,
        image: true,
        patches: vec![PatchLayer::Block(2)],
        scales: vec![2, 3],
    };

    assert_eq!(trunk_outputs(&plan), ["block2", "tokens", "image"]);
    let plan = EncodePlan {
        width: 64,
        height: 64,
        image: false,
        patches: vec![PatchLayer::AfterFinalNorm],
        scales: vec![],
    };

    assert_eq!(trunk_outputs(&plan), ["after_norm"]);
}

/// A golden folder, imported.
fn imported(name: &str) -> (tempfile::TempDir, ModelFolder) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);

    let model = crate::model::import(&source, &folder.path().join("model"), &|_| ())
        .expect("golden models import");

    (folder, model)
}

/// Runs a trunk on pixels of half precision, or on the same ones in single.
fn run(session: &mut Session, precision: Precision, side: usize, output: &str) -> Vec<f32> {
    let pixels: Vec<f32> = (0..2 * 3 * side * side)
        .map(|i| (i % 97) as f32 / 32.0 - 1.5)
        .collect();

    let shape = [2, 3, side, side];
    let outputs = match precision {
        Precision::Fp32 => session.run(ort::inputs![
            Tensor::from_array((shape, pixels)).expect("a tensor")
        ]),
        Precision::Fp16 => {
            let halves: Vec<f16> = pixels.into_iter().map(f16::from_f32).collect();
            session.run(ort::inputs![
                Tensor::from_array((shape, halves)).expect("a tensor")
            ])
        }
    };

    let outputs = outputs.expect("the graph runs");
    match precision {
        Precision::Fp32 => outputs[output]
            .try_extract_tensor::<f32>()
            .expect("fp32")
            .1
            .to_vec(),
        Precision::Fp16 => outputs[output]
            .try_extract_tensor::<f16>()
            .expect("fp16")
            .1
            .to_f32_vec(),
    }
}

#[test]
fn a_typed_graph_runs_as_file_and_from_memory_and_says_the_same_in_fp16() {
    let runtime =
        Runtime::load(None, Some(2)).expect("tools/setup puts libonnxruntime into engines/lib");

    for (name, side) in [
        ("open-clip-tiny", None),
        ("clip-hf-tiny", None),
        ("dinov2-tiny", Some(70)),
    ] {
        let (folder, model) = imported(name);
        let spec = &model.spec;
        let side = side.unwrap_or(spec.side);
        let patches = vec![PatchLayer::Block(1), PatchLayer::AfterFinalNorm];
        let plan = EncodePlan {
            width: side,
            height: side,
            image: true,
            patches,
            scales: vec![2],
        };

        let single =
            typed_graph(&model, &plan, TowerPart::Trunk, Precision::Fp32).expect("a graph");

        let half = typed_graph(&model, &plan, TowerPart::Trunk, Precision::Fp16).expect("a graph");

        let builder = || runtime.builder().expect("the library works");
        let mut single = builder()
            .commit_from_memory(&single.bytes().expect("in memory"))
            .expect("fp32");

        let file = half.write(folder.path()).expect("written");
        let mut half = builder().commit_from_file(file).expect("fp16");
        for output in trunk_outputs(&plan) {
            let exact = run(&mut single, Precision::Fp32, side, &output);
            let near = run(&mut half, Precision::Fp16, side, &output);
            let largest = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let off = exact
                .iter()
                .zip(&near)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);

            assert!(
                exact.len() == near.len() && off < 0.01 * largest,
                "{name} {output}: {off} of {largest}"
            );
        }
    }
}
