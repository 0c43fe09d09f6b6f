//! `winspect doctor` on machines with no GPU, with the stand-in of one, and with broken libraries.

use crate::harness::golden::imported;
use crate::harness::program::winspect;
use crate::harness::{assert_said, skip, stand_in};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Exit code, standard output, standard error.
fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = winspect();
    command
        .arg("doctor")
        .args(arguments)
        .envs(environment.iter().copied());

    let output = command.output().expect("runs");
    let [out, err] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());

    (output.status.code(), out, err)
}

/// A machine with a GPU tells of other things.
fn has_gpu() -> bool {
    let has = Path::new("/dev/nvidiactl").exists() || Path::new("/dev/nvhost-gpu").exists();
    if has {
        skip("there is a GPU in this machine");
    }

    has
}

/// A folder with a file of this text as the driver.
fn driver_of(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }

    folder
}

#[test]
fn without_a_gpu_the_cpu_judges_and_nothing_is_missed() {
    if has_gpu() {
        return;
    }

    let (code, out, err) = doctor(&[], &[("LD_LIBRARY_PATH", "")]);
    assert_eq!(code, Some(0), "{out}{err}");
    let words = [
        "none  NVIDIA GPU",
        "ok    ONNX Runtime: 1.",
        "libonnxruntime.so.1.",
        "none  NVIDIA driver: not here; only a GPU needs it",
    ];

    assert_said(&out, &words);
    assert_said(
        &err,
        &["this machine judges on its CPU (onnx), the best that it can have"],
    );

    if cfg!(feature = "gstreamer") {
        assert_said(&out, &["ok    GStreamer: 1."]);
    }
}

#[test]
fn a_program_reads_the_same_as_json() {
    if has_gpu() {
        return;
    }

    let (code, out, _) = doctor(&["--json"], &[("LD_LIBRARY_PATH", "")]);
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(
        (&report["backend"], &report["best"]),
        (&"onnx".into(), &"onnx".into())
    );

    assert_eq!(report["parts"][0]["part"], "onnxruntime");
    let driver = &report["parts"][1];
    assert_eq!(driver["state"], "missing");
    let words = |key: &str| driver[key].as_str().unwrap_or_default().to_owned();
    assert!(
        words("problem").contains("libcuda.so.1: cannot open"),
        "{driver}"
    );

    assert!(
        words("mend").contains("apt-get install nvidia-driver"),
        "{driver}"
    );
}

#[test]
fn a_driver_that_is_no_library_is_told() {
    if has_gpu() {
        return;
    }

    let folder = driver_of("this is no library\n");
    let (code, out, err) = doctor(
        &[],
        &[("LD_LIBRARY_PATH", &folder.path().to_string_lossy())],
    );

    assert_eq!(code, Some(0), "{out}{err}");
    assert_said(&out, &["warn  NVIDIA driver: ", "libcuda.so.1: ", "mend: "]);
}

/// A library of this C source.
fn library(name: &str, source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("source.c");
    std::fs::write(&file, source).expect("written");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.path().join(name))
        .arg(file);

    assert!(
        compiler
            .status()
            .expect("the compiler that builds SQLite")
            .success()
    );

    folder
}

#[test]
fn libraries_of_another_world_are_told_and_end_nothing() {
    if has_gpu() {
        return;
    }

    let crash = "__attribute__((constructor)) static void crash(void) { *(volatile int *)8 = 1; }";
    let old = "int getInferLibVersion(void) { return 8601; }";
    let cases = [
        (
            "libcuda.so",
            crash,
            "warn  NVIDIA driver: it ends the process that tries it: signal: 11",
        ),
        (
            "libcuda.so",
            "int unknown;",
            "it said: Missing symbol cuInit",
        ),
        (
            "libnvinfer.so",
            old,
            "TensorRT 8.6.1 is unknown here; 10.1 or newer, 11.x and RTX 1.5 or newer are known",
        ),
        (
            "libnvinfer.so",
            crash,
            "warn  TensorRT: it ends the process that tries it: signal: 11",
        ),
    ];

    for (name, source, words) in cases {
        let folder = library(name, source);
        let place = folder.path().to_string_lossy();
        // Of TensorRT another one may lie in engines/lib.
        let tensorrt = if name == "libnvinfer.so" {
            &["--tensorrt", &place][..]
        } else {
            &[]
        };

        let (code, out, err) = doctor(tensorrt, &[("LD_LIBRARY_PATH", &place)]);
        assert_eq!(code, Some(0), "{out}{err}");
        assert_said(&out, &[words]);
    }
}

#[test]
fn what_a_tensorrt_lacks_is_told() {
    if has_gpu() {
        return;
    }

    let folder = library(
        "libnvinfer.so.10",
        "int getInferLibVersion(void) { return 100300; }",
    );

    let at = |name: &str| folder.path().join(name);
    let place = folder.path().to_string_lossy().into_owned();
    let ask = || doctor(&["--tensorrt", &place], &[("LD_LIBRARY_PATH", "")]);
    let (code, out, err) = ask();
    assert_eq!(code, Some(0), "{out}{err}");
    assert_said(
        &out,
        &[
            "warn  TensorRT: ",
            "is there, but not libnvonnxparser.so.10, which reads the graphs",
        ],
    );

    std::fs::copy(at("libnvinfer.so.10"), at("libnvonnxparser.so.10"))
        .expect("a parser that need not parse");

    let (_, out, _) = ask();
    assert_said(&out, &["ok    TensorRT: tensorrt-10.3.0"]);
    assert!(!out.contains("warn  TensorRT"), "{out}");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-Wl,-z,execstack", "-o"])
        .arg(at("libnvinfer_builder_resource.so.10.3.0"));

    assert!(
        compiler
            .arg(at("source.c"))
            .status()
            .expect("it ran before")
            .success()
    );

    let (_, out, _) = ask();
    let words = [
        "ok    TensorRT: tensorrt-10.3.0",
        "warn  TensorRT: ",
        "libnvinfer_builder_resource.so.10.3.0: asks",
    ];

    assert_said(&out, &words);
}

#[test]
fn without_anything_that_judges_it_says_what_mends_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("winspect");
    std::fs::copy(env!("CARGO_BIN_EXE_winspect"), &program).expect("a copy far from engines/lib");
    let mut command = Command::new(program);
    command.arg("doctor").current_dir(folder.path());
    let output = output_of_copy(&mut command);
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();

    assert_eq!(output.status.code(), Some(69), "{said}");
    assert_said(
        &said,
        &[
            "FAIL  ONNX Runtime: no libonnxruntime.so",
            "run tools/setup",
            "nothing can judge on this machine",
        ],
    );
}

#[test]
fn the_stand_in_is_told_from_a_gpu() {
    if stand_in().is_none() {
        return;
    }

    let (code, out, err) = doctor(&[], &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    let words = [
        "ok    NVIDIA driver: CUDA 13.0",
        "no GPU",
        "ok    GPU: stand-in: host memory, sm_87",
        "ok    NVRTC: 13.0",
    ];

    assert_said(&out, &words);
}

#[test]
fn drivers_that_fail_are_told() {
    if stand_in().is_none() {
        return;
    }

    let cases = [
        (
            ("WINSPECT_STAND_IN_DEVICES", "0"),
            "it has no GPU: DriverError(CUDA_ERROR_NO_DEVICE",
        ),
        (
            ("WINSPECT_STAND_IN_FAIL", "cuInit:1=803"),
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        ),
        (
            ("WINSPECT_STAND_IN_FAIL", "cuDevicePrimaryCtxRetain:1=2"),
            "CUDA_ERROR_OUT_OF_MEMORY",
        ),
        (
            ("WINSPECT_STAND_IN_FAIL", "no fault"),
            "it ends the process that tries it: signal: 6",
        ),
    ];

    for (setting, words) in cases {
        let (code, out, err) = doctor(&[], &[setting]);
        assert_eq!(code, Some(0), "{out}{err}"); // the CPU still judges, and there is no GPU
        assert_said(&out, &["warn  NVIDIA driver: ", words]);
    }
}

#[test]
fn plans_of_a_model_folder_are_told() {
    if has_gpu() {
        return;
    }

    let (folder, model) = imported("dinov2-tiny");
    let (code, out, err) = doctor(&["--json", &model.path.to_string_lossy()], &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(report["plans"], serde_json::json!([]));
    let (code, _, err) = doctor(&[&folder.path().join("none").to_string_lossy()], &[]);
    assert_eq!(code, Some(65), "{err}");
}

/// Output of a program that was just copied. A child that another test starts meanwhile holds the copy open
/// for writing until it runs a program of its own.
fn output_of_copy(command: &mut Command) -> Output {
    for _ in 0..100 {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(50));
            }
            output => return output.expect("runs"),
        }
    }

    panic!("the copy stays busy");
}
