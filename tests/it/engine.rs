//! `winspect engine` and the binding to TensorRT where there is none, a foreign one, or one that fails. Libraries are
//! made by the C compiler; whether real ones build every graph is `tools/gpu/plan-check`.

use crate::harness::device;
use crate::harness::golden::imported;
use crate::harness::program::{self, errors};
use std::path::Path;
use std::process::{Command, Output};
use winspect::engine::EncodePlan;
use winspect::engine::cuda::kernels::nvrtc::Nvrtc;
use winspect::engine::network::Precision;
use winspect::engine::tensorrt::{BuildOrder, Library, PlanTarget, Plans};

fn winspect(words: &[&str]) -> Output {
    let output = program::winspect()
        .args(words)
        .output()
        .expect("the binary was built");

    assert!(!errors(&output).contains("panicked"), "{}", errors(&output));
    output
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Compiles C into a shared library.
fn library(file: &Path, code: &str) {
    let source = file.with_extension("c");
    std::fs::write(&source, code).expect("written");
    let made = Command::new("gcc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(file)
        .arg(&source)
        .status()
        .expect("gcc runs");

    assert!(made.success());
}

#[test]
fn without_tensorrt_it_is_told_how_to_get_it() {
    let (guard, model) = imported("dinov2-tiny");
    let folder = text(guard.path());
    let output = winspect(&[
        "engine",
        "build",
        text(&model.path),
        "--for",
        "86",
        "--tensorrt",
        folder,
    ]);

    assert_eq!(output.status.code(), Some(69));
    for words in [
        folder,
        "none there",
        "JetPack",
        "libnvinfer10",
        "tools/gpu/fetch-tensorrt-rtx",
    ] {
        assert!(
            errors(&output).contains(words),
            "{words}: {}",
            errors(&output)
        );
    }
}

#[test]
fn an_unknown_tensorrt_is_refused_by_its_number() {
    let (guard, model) = imported("dinov2-tiny");
    let cases = [
        ("libnvinfer.so.10", 8601, "TensorRT 8.6.1 is unknown here"),
        (
            "libnvinfer.so.10",
            120_000,
            "TensorRT 12.0.0 is unknown here",
        ),
        (
            "libtensorrt_rtx.so.1",
            10_402,
            "TensorRT-RTX 1.4.2 is unknown here",
        ),
    ];

    for (name, number, words) in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        library(
            &folder.path().join(name),
            &format!("int getInferLibVersion(void) {{ return {number}; }}"),
        );

        let output = winspect(&[
            "engine",
            "build",
            text(&model.path),
            "--for",
            "86",
            "--tensorrt",
            text(folder.path()),
        ]);

        assert_eq!(output.status.code(), Some(69));
        assert!(
            errors(&output).contains(words) && errors(&output).contains("RTX 1.5"),
            "{}",
            errors(&output)
        );
    }

    let other = guard.path().join("libnvinfer.so.11");
    library(&other, "int nothing;");
    let output = winspect(&[
        "engine",
        "build",
        text(&model.path),
        "--for",
        "86",
        "--tensorrt",
        text(guard.path()),
    ]);

    assert_eq!(output.status.code(), Some(69));
    assert!(
        errors(&output).contains("getInferLibVersion"),
        "{}",
        errors(&output)
    );

    std::fs::write(&other, "not a library").expect("written");
    let output = winspect(&[
        "engine",
        "build",
        text(&model.path),
        "--for",
        "86",
        "--tensorrt",
        text(guard.path()),
    ]);

    assert_eq!(output.status.code(), Some(69));
    assert!(
        errors(&output).contains("libnvinfer.so.11"),
        "{}",
        errors(&output)
    );
}

#[test]
fn what_the_library_logs_becomes_the_error_in_both_series() {
    let (guard, model) = imported("dinov2-tiny");
    let plan = EncodePlan {
        width: model.spec.side,
        height: model.spec.side,
        image: true,
        patches: vec![],
        scales: vec![],
    };

    for (major, number, log_slot) in [(10, 100_300, 0), (11, 110_401, 4)] {
        let folder = guard.path().join(major.to_string());
        std::fs::create_dir(&folder).expect("new");
        // As 11.4's lean library does without a driver: a null pointer with an offset.
        let code = format!(
            "typedef void (*Log)(void *, int, const char *);
            int getInferLibVersion(void) {{ return {number}; }}
            void *createInferBuilder_INTERNAL(void *logger, int version) {{
                Log *table = *(Log **)logger;
                table[{log_slot}](logger, 3, \"only information\");
                table[{log_slot}](logger, 1, \"no driver that is new enough\");
                return version == {number} ? (void *)0x228 : 0;
            }}"
        );

        library(&folder.join(format!("libnvinfer.so.{major}")), &code);
        let tensorrt = Library::load(Some(&folder)).expect("a known version");
        let target = PlanTarget::Device {
            sm: 87,
            gpu: "Orin".to_owned(),
        };

        let order = BuildOrder {
            model: &model,
            plan: &plan,
            precision: Precision::Fp16,
            looks_max: 1,
            target,
        };

        let build = || {
            Plans::of(&model)
                .build(&tensorrt, &order, &|_| ())
                .expect_err("it fails")
                .to_string()
        };

        let words = build();
        assert!(
            words.contains(&format!("not libnvonnxparser.so.{major}")),
            "{words}"
        );

        library(
            &folder.join(format!("libnvonnxparser.so.{major}")),
            "int nothing;",
        );

        let words = build();
        assert!(
            words.contains("createInferBuilder_INTERNAL: no driver that is new enough"),
            "{words}"
        );

        assert!(!words.contains("only information"), "{words}");
    }

    let left = std::fs::read_dir(model.path.join("plans"))
        .expect("there")
        .count();

    assert_eq!(left, 0, "a build that failed leaves nothing");
}

#[test]
fn only_tensorrt_rtx_builds_for_an_absent_gpu() {
    let (guard, model) = imported("dinov2-tiny");
    library(
        &guard.path().join("libnvinfer.so.10"),
        "int getInferLibVersion(void) { return 101600; }",
    );

    let output = winspect(&[
        "engine",
        "build",
        text(&model.path),
        "--for",
        "86",
        "--tensorrt",
        text(guard.path()),
    ]);

    assert_eq!(output.status.code(), Some(64));
    assert!(
        errors(&output).contains("tensorrt-10.16.0 builds for the GPU of this machine alone"),
        "{}",
        errors(&output)
    );
}

#[test]
fn the_judge_of_a_plan_is_opened_before_building() {
    let Some(device) = device() else { return };
    let (guard, model) = imported("dinov2-tiny");
    library(
        &guard.path().join("libnvinfer.so.10"),
        "int getInferLibVersion(void) { return 101600; }",
    );

    let (tensorrt, none) = (text(guard.path()), guard.path().join("libonnxruntime.so"));
    let output = winspect(&[
        "engine",
        "build",
        text(&model.path),
        "--tensorrt",
        tensorrt,
        "--onnxruntime",
        text(&none),
    ]);

    assert_eq!(output.status.code(), Some(69), "{}", device.name);
    assert!(
        errors(&output).contains("no libonnxruntime.so; looked at"),
        "{}",
        errors(&output)
    );

    assert!(!model.path.join("plans").exists(), "nothing was begun");
}

#[test]
fn the_first_nvrtc_that_knows_the_gpu_compiles_for_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nvrtc = |name: &str, minor: u32, known: &str| {
        let file = folder.path().join(name);
        let code = format!(
            "int nvrtcVersion(int *major, int *minor) {{ *major = 12; *minor = {minor}; return 0; }}
            static const int known[] = {{{known}}};
            int nvrtcGetNumSupportedArchs(int *count) {{ *count = sizeof known / sizeof *known; return 0; }}
            int nvrtcGetSupportedArchs(int *to) {{ __builtin_memcpy(to, known, sizeof known); return 0; }}"
        );

        library(&file, &code);
        file
    };

    let places = [
        folder.path().join("none.so"),
        nvrtc("old.so", 2, "86, 87"),
        nvrtc("new.so", 9, "86, 87, 120"),
        nvrtc("newest.so", 10, "120"),
    ];

    let minor = |sm| {
        Nvrtc::open_at_for(&places, sm)
            .expect("one can be loaded")
            .version
            .1
    };

    assert_eq!([minor(87), minor(120)], [2, 9]);
    assert_eq!(minor(130), 2, "its refusal tells why");
    let silent = folder.path().join("silent.so");
    library(
        &silent,
        "int nvrtcVersion(int *major, int *minor) { *major = 11; *minor = 1; return 0; }",
    );

    assert_eq!(
        Nvrtc::open_at_for(&[silent], 87)
            .expect("it may know it")
            .version,
        (11, 1)
    );

    assert!(Nvrtc::open_at_for(&places[..1], 87).is_err());
}

#[test]
fn a_plan_that_cannot_be_read_is_named() {
    let (_guard, model) = imported("dinov2-tiny");
    let output = winspect(&["engine", "list", text(&model.path)]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with("no plans")
    );

    let plan = model.path.join("plans/0123456789abcdef");
    std::fs::create_dir_all(&plan).expect("new");
    std::fs::write(plan.join("plan.toml"), "built = \"long ago\"").expect("written");
    let output = winspect(&["engine", "list", text(&model.path)]);
    assert_eq!(output.status.code(), Some(65));
    assert!(
        errors(&output).contains("0123456789abcdef/plan.toml"),
        "{}",
        errors(&output)
    );
}

#[test]
fn one_process_at_a_time_builds_plans_of_a_model() {
    let (_guard, model) = imported("dinov2-tiny");
    let plans = Plans::of(&model);
    let alone = plans.alone().expect("the folder can be written");
    let other = std::fs::File::open(model.path.join("plans/.lock")).expect("it is there");
    assert!(other.try_lock().is_err(), "it is held");
    drop(alone);
    other.try_lock().expect("it is free");
    assert!(
        plans.list().expect("readable").0.is_empty(),
        "the lock is no plan"
    );
}
