//! Mutated input of every kind that people bring: configurations, pipeline files, pictures, models. Whatever comes is
//! read or refused in words; nothing panics, and nothing takes gigabytes because a header says so.
//!
//! A few seconds a target here; `tools/test --long SECONDS` gives each as long as you like. A failure names its seed.

use crate::harness::golden::golden;
use ndarray::Array3;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use winspect::base::problems::Problems;
use winspect::camera::{CameraSettings, pipelines};
use winspect::config;
use winspect::engine::onnx::OnnxEncoder;
use winspect::engine::{EncodePlan, Encoder, PatchLayer};
use winspect::image::file as image_file;
use winspect::model::{self, ModelFolder};

/// What breaks parsers: ends of ranges, other types, nesting, other encodings.
const WORDS: [&[u8]; 22] = [
    b"0",
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e999",
    b"nan",
    b"-0.0",
    b"\"\"",
    b"[]",
    b"[[[",
    b"{}",
    b"true",
    b"null",
    b"{x}",
    b"}",
    b"\"",
    b"\0",
    b"\xff\xfe",
    "\u{202e}ü".as_bytes(),
    b"[a.b]\n",
    b"\n[[camera]]\n",
    b"..",
];

fn mutated(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..=16)).min(bytes.len());
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => {
                bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(random).expect("five")
            }
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..end, WORDS.choose(random).expect("some").iter().copied())),
            5 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => number(&mut bytes, at, random),
        }
    }

    bytes
}

/// Puts another number in place of the first one after `at`.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut StdRng) {
    let Some(start) = (at..bytes.len()).find(|i| bytes[*i].is_ascii_digit()) else {
        return;
    };

    let end = (start..bytes.len())
        .find(|i| !bytes[*i].is_ascii_digit())
        .unwrap_or(bytes.len());

    drop(bytes.splice(
        start..end,
        WORDS[..7].choose(random).expect("seven").iter().copied(),
    ));
}

/// Tries mutations of `seeds` until the time is over; a panic in `target` is told with the seed that finds it again.
fn fuzz(name: &str, seeds: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    let variable = |key: &str| {
        std::env::var(key)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };

    let until =
        Instant::now() + Duration::from_secs(variable("WINSPECT_FUZZ_SECONDS").unwrap_or(2));

    let first =
        variable("WINSPECT_FUZZ_SEED").unwrap_or_else(|| rand::rng().random_range(0..1 << 40));

    let mut tried = 0;
    while Instant::now() < until || tried == 0 {
        let number = first + tried;
        let mut random = StdRng::seed_from_u64(number);
        let input = mutated(seeds.choose(&mut random).expect("a seed"), &mut random);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        assert!(
            outcome.is_ok(),
            "{name}: again with WINSPECT_FUZZ_SEED={number}"
        );

        tried += 1;
    }

    eprintln!("{name}: {tried} inputs, from seed {first}");
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder)
        .expect("of the project")
        .map(|entry| entry.expect("listed").path());

    let wanted = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    };

    files
        .filter(wanted)
        .map(|path| std::fs::read(path).expect("readable"))
        .collect()
}

#[test]
fn configurations_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("line.toml");
    fuzz("configuration", &files("systemd"), |bytes| {
        std::fs::write(&file, bytes).expect("written");
        let _ = config::load(&file);
    });
}

#[test]
fn pipeline_files_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("own.toml");
    fuzz("pipeline file", &files("pipelines"), |bytes| {
        std::fs::write(&file, bytes).expect("written");
        let kind = file.display().to_string();
        if let Ok(pipeline) = pipelines::pipeline(&kind) {
            let values = [("location", "/dev/null"), ("width", "640")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()));

            let (stall, values) = (Duration::from_secs(1), values.into());
            let mut settings = CameraSettings {
                name: "top".into(),
                kind,
                values,
                stall,
                triggered: false,
                keeps_frames: false,
                needs_times: false,
                delay: Duration::ZERO,
                credentials: None,
            };

            pipelines::check(
                &mut settings,
                Path::new("/"),
                "camera[0]",
                &mut Problems::new(),
            );

            let _ = pipelines::filled(
                pipeline.launch.as_deref().unwrap_or_default(),
                &settings.values,
            );
        }
    });
}

#[test]
fn commands_are_read_or_refused() {
    let seeds = [
        r#"{"id":"t1","part_id":"A-77","at":"2026-11-23T06:10:11.482Z","count":42,"position":1.5,"camera":"top"}"#,
        r#"{"id":"c","parts":3,"expect":"fail"}"#,
        r#"{"id":"s","recipe":"bolt","revision":4}"#,
        r#"{"id":"v","region":"left","value":0.5}"#,
    ];

    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    fuzz("commands", &seeds, |bytes| {
        for name in winspect::protocol::command::NAMES {
            if let Err(refusal) = winspect::protocol::command::parse(name, bytes) {
                assert!(!refusal.reason.is_empty());
            }
        }
    });
}

#[test]
fn pictures_are_read_or_refused() {
    use image::ImageFormat::{Bmp, Jpeg, Png, Tiff, WebP};
    let picture = image::RgbImage::from_fn(37, 23, |x, y| {
        image::Rgb([(7 * x) as u8, (9 * y) as u8, (x * y) as u8])
    });

    let written = |format| {
        let mut bytes = vec![];
        picture
            .write_to(&mut Cursor::new(&mut bytes), format)
            .expect("every format can be written");

        bytes
    };

    fuzz(
        "picture",
        &[Png, Jpeg, Bmp, Tiff, WebP].map(written),
        |bytes| {
            let _ = image_file::decode(bytes);
        },
    );
}

#[test]
fn models_are_imported_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, config, weights) in [
        ("dinov2-tiny", "config.json", "model.safetensors"),
        ("clip-hf-tiny", "config.json", "model.safetensors"),
        (
            "open-clip-tiny-quickgelu",
            "open_clip_config.json",
            "open_clip_model.safetensors",
        ),
    ] {
        let (source, target) = (
            folder.path().join(name),
            folder.path().join(format!("{name}-imported")),
        );

        std::fs::create_dir(&source).expect("made");
        let read = |file: &str| std::fs::read(golden(name).join(file)).expect("golden");
        let (config_bytes, weight_bytes) = (read(config), read(weights));
        // Values say nothing to a parser: only the header is mutated, behind its length.
        let header = 8 + u64::from_le_bytes(weight_bytes[..8].try_into().expect("eight")) as usize;
        let import = |config_bytes: &[u8], header_bytes: &[u8]| {
            std::fs::write(source.join(config), config_bytes).expect("written");
            std::fs::write(
                source.join(weights),
                [header_bytes, &weight_bytes[header..]].concat(),
            )
            .expect("written");

            let _ = model::import(&source, &target, &|_| ());
        };

        fuzz(
            &format!("{name} configuration"),
            std::slice::from_ref(&config_bytes),
            |bytes| {
                import(bytes, &weight_bytes[..header]);
            },
        );

        fuzz(
            &format!("{name} header"),
            &[weight_bytes[..header].to_vec()],
            |bytes| import(&config_bytes, bytes),
        );
    }
}

#[test]
fn model_folders_are_opened_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model");
    model::import(&golden("dinov2-tiny"), &model, &|_| ()).expect("a golden model");
    let manifest = std::fs::read(model.join("model.toml")).expect("imported");
    fuzz("model.toml", &[manifest], |bytes| {
        std::fs::write(model.join("model.toml"), bytes).expect("written");
        let _ = ModelFolder::open(&model);
    });
}

/// Set in the child: the model folder whose graph it mutates.
const CHILD: &str = "WINSPECT_FUZZ_MODEL";

/// ONNX Runtime is C++ in our process: what it cannot bear ends the process instead of a test. So a child tries the
/// graphs, with 8 GB of address space; an input that ended it is kept.
#[test]
fn graphs_are_opened_or_refused() {
    if let Some(model) = std::env::var_os(CHILD) {
        return open_mutated_graphs(Path::new(&model));
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model");
    model::import(&golden("dinov2-tiny"), &model, &|_| ()).expect("a golden model");
    let ended = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 8000000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("a test is a file"))
        .args([
            "--exact",
            "fuzz::graphs_are_opened_or_refused",
            "--nocapture",
        ])
        .env(CHILD, &model)
        .output()
        .expect("sh is everywhere");

    let said = String::from_utf8_lossy(&ended.stderr);
    eprint!("{said}");
    if !ended.status.success() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trunk.onnx");
        std::fs::copy(model.join("trunk.onnx"), &kept).expect("kept");
        panic!("{} with {}", ended.status, kept.display());
    }
}

fn open_mutated_graphs(folder: &Path) {
    let (runtime, model) = (
        crate::harness::golden::runtime(),
        ModelFolder::open(folder).expect("just imported"),
    );

    let (side, blocks) = (model.spec.side, model.spec.blocks);
    let patches = vec![PatchLayer::Block(blocks)];
    let plan = EncodePlan {
        width: side,
        height: side,
        image: false,
        patches,
        scales: vec![],
    };

    let file = folder.join("trunk.onnx");
    let graph = std::fs::read(&file).expect("imported");
    let (mut opened, mut ran) = (0, 0);
    fuzz("trunk.onnx", &[graph], |bytes| {
        std::fs::write(&file, bytes).expect("written");
        if let Ok(mut encoder) = OnnxEncoder::open(&runtime, &model, &plan) {
            opened += 1;
            ran += usize::from(
                encoder
                    .encode(&[(&Array3::zeros((3, side, side))).into()])
                    .is_ok(),
            );
        }
    });

    eprintln!("{opened} of them opened, {ran} ran");
}
