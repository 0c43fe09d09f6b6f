//! TensorRT's binding against C++ classes with its tables (`fake_tensorrt.cpp`): what is built, bound, refused and freed.

use crate::harness::golden::imported;
use crate::harness::stand_in; // whose memory is the host's, to which the fake can write
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use winspect::engine::EncodePlan;
use winspect::engine::network::{Binding, Networks, Precision, TowerPart};
use winspect::engine::tensorrt::{BuildOrder, BuiltPlan, Library, PlanTarget, Plans, TensorRt};
use winspect::model::ModelFolder;

/// A fake library of one series, loaded by us and by the binding.
struct Fake {
    ours: libloading::Library,
    library: Library,
    _folder: tempfile::TempDir,
}

impl Fake {
    fn new(major: u32) -> Self {
        let names = [
            format!("libnvinfer.so.{major}"),
            format!("libnvonnxparser.so.{major}"),
        ];

        Fake::made(
            &names.each_ref().map(String::as_str),
            &[if major == 10 { "-DTEN=1" } else { "-DTEN=0" }],
        )
    }

    /// TensorRT-RTX.
    fn rtx() -> Self {
        Fake::made(
            &["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"],
            &["-DTEN=0", "-DRTX"],
        )
    }

    /// The library and its parser by their names.
    fn made(names: &[&str; 2], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(names[0]);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fake_tensorrt.cpp");
        let mut compiler = Command::new("g++");
        compiler
            .args(["-std=c++17", "-Wall", "-shared", "-fPIC"])
            .args(flags)
            .arg("-o")
            .arg(&file)
            .arg(source);

        assert!(compiler.status().expect("g++ runs").success());
        // The loader knows it by its file, so that there is one of it, whatever it is called.
        std::os::unix::fs::symlink(&file, folder.path().join(names[1])).expect("linked");
        // SAFETY: our own code, whose initialisers do nothing that matters.
        let ours = unsafe { libloading::Library::new(&file) };
        let library = Library::load(Some(folder.path())).expect("a known version");
        Fake {
            ours: ours.expect("it was built"),
            library,
            _folder: folder,
        }
    }

    /// What the parser finds in the graphs.
    fn describe(&self, trunk: &str, windows: &str) {
        let texts = [trunk, windows].map(|text| CString::new(text).expect("no zero bytes"));
        // SAFETY: the function has this signature.
        let describe = unsafe {
            self.ours
                .get::<unsafe extern "C" fn(*const c_char, *const c_char)>(b"describe\0")
        };

        // SAFETY: the strings live during the call.
        unsafe { describe.expect("it is there")(texts[0].as_ptr(), texts[1].as_ptr()) }
    }

    /// A letter for each object that was freed since this was last asked: Builder, confiG, Network, profile, Parser, Timing
    /// cache, Memory, Runtime, Engine, Context; of RTX also its runtime's configuration (Jit) and cache (K).
    fn freed(&self) -> String {
        // SAFETY: the function has this signature.
        let freed = unsafe {
            self.ours
                .get::<unsafe extern "C" fn() -> *const c_char>(b"take_freed\0")
        };

        // SAFETY: it gives a string that lives until it is called again.
        unsafe { CStr::from_ptr(freed.expect("it is there")()) }
            .to_string_lossy()
            .into_owned()
    }
}

/// 2 looks of the golden CLIP with windows of 2 and 3; `extra` are lines of the trunk beside what the plan asks for.
fn built(fake: &Fake, model: &ModelFolder, extra: &str) -> Result<BuiltPlan, String> {
    let (side, tokens, width) = shape(model);
    fake.describe(
        &format!(
            "tensor 1 1 pixels -1 3 {side} {side}\ntensor 0 1 tokens -1 {tokens} {width}\n{extra}"
        ),
        &format!(
            "tensor 1 1 tokens -1 -1 {width}\ntensor 0 1 embedding -1 {}\n",
            model.spec.embed
        ),
    );

    build(fake, model)
}

fn build(fake: &Fake, model: &ModelFolder) -> Result<BuiltPlan, String> {
    let plan = EncodePlan {
        width: model.spec.side,
        height: model.spec.side,
        image: false,
        patches: vec![],
        scales: vec![2, 3],
    };

    let target = PlanTarget::Device {
        sm: 87,
        gpu: "Orin".to_owned(),
    };

    let order = BuildOrder {
        model,
        plan: &plan,
        precision: Precision::Fp16,
        looks_max: 2,
        target,
    };

    let steps = Mutex::new(vec![]);
    let told = |progress: winspect::engine::tensorrt::BuildProgress| {
        steps.lock().expect("whole").push(progress.step)
    };

    let plan = Plans::of(model)
        .build(&fake.library, &order, &told)
        .map_err(|error| error.to_string())?;

    let steps: Vec<(usize, usize)> = steps
        .into_inner()
        .expect("whole")
        .iter()
        .map(|s| (s.done, s.of))
        .collect();

    assert_eq!(steps, [(0, 2), (1, 2), (2, 2), (0, 2), (1, 2), (2, 2)]);
    Ok(plan)
}

/// Side, tokens of a look, width.
fn shape(model: &ModelFolder) -> (usize, usize, usize) {
    (
        model.spec.side,
        1 + model.spec.grid().cells(),
        model.spec.width,
    )
}

#[test]
fn everything_is_freed_before_what_made_it() {
    for major in [10, 11] {
        let (_guard, model) = imported("open-clip-tiny");
        let fake = Fake::new(major);
        let words = build(&fake, &model).expect_err("nothing was described");
        assert!(
            words.contains("cannot build trunk.onnx: block1: an operator that nobody knows"),
            "{words}"
        );

        assert_eq!(fake.freed(), "PGNpB");
        let plan = built(&fake, &model, "").expect("it is built");
        assert_eq!(fake.freed(), "TPGNpBMMTPGNppBMM");
        let windows = String::from_utf8(plan.read(TowerPart::Windows).expect("whole"))
            .expect("the fake's are text");

        let (places, width) = (model.spec.grid().w - 1, model.spec.width);
        for line in [
            format!("profile 0 1 5 {width}"),
            format!("profile 2 {} 5 {width}", 2 * places * places),
        ] {
            assert!(windows.contains(&line), "{line}: {windows}");
        }
    }
}

/// A tensor's name and dims.
type Named<'a> = (&'a str, &'a [usize]);

/// A buffer on a device whose memory is the host's.
fn binding(name: &str, dims: &[usize], values: &mut Vec<u16>) -> Binding {
    values.resize(dims.iter().product(), 0);
    Binding {
        name: name.to_owned(),
        dims: dims.to_vec(),
        address: values.as_mut_ptr() as u64,
    }
}

#[test]
fn what_is_bound_must_be_what_the_plan_has() {
    let Some(device) = stand_in() else { return };
    for major in [10, 11] {
        let (_guard, model) = imported("open-clip-tiny");
        let fake = Fake::new(major);
        let (side, tokens, width) = shape(&model);
        let plan = built(&fake, &model, "tensor 0 1 block1 -1 7\n")
            .expect("it is built")
            .accept()
            .expect("accepted");

        fake.freed();
        let networks = TensorRt::open(&fake.library, &device, &plan).expect("it opens");
        let facts = networks.facts();
        assert_eq!(facts.looks_max, 2);
        assert!(
            facts.name.starts_with(&format!("tensorrt-{major}.")) && facts.name.ends_with("-fp16")
        );

        let (mut pixels, mut out) = (vec![], vec![]);
        let mut bind = |part, input: Named, output: Named| {
            let tensors = [
                binding(input.0, input.1, &mut pixels),
                binding(output.0, output.1, &mut out),
            ];

            // SAFETY: the stand-in's memory is the host's, and both buffers live to the end of the test.
            unsafe { networks.bind(part, &tensors) }.map_err(|error| error.to_string())
        };

        let picture = [2, 3, side, side];
        let wrong: [(TowerPart, Named, Named, &str); 6] = [
            (
                TowerPart::Trunk,
                ("pixels", &[3, 3, side, side]),
                ("tokens", &[3, tokens, width]),
                "no profile of the plan holds",
            ),
            (
                TowerPart::Trunk,
                ("pixels", &picture),
                ("tokens", &[2, tokens, 1]),
                "\"tokens\" is [2, ",
            ),
            (
                TowerPart::Trunk,
                ("pixels", &picture),
                ("block7", &[1]),
                "the plan has no \"block7\"",
            ),
            (
                TowerPart::Trunk,
                ("picture", &picture),
                ("tokens", &[2, tokens, width]),
                "nothing is bound to its input \"pixels\"",
            ),
            (
                TowerPart::Windows,
                ("tokens", &[4, 6, width]),
                ("embedding", &[4, 1]),
                "no profile of the plan holds",
            ),
            (
                TowerPart::Windows,
                ("tokens", &[4, 10, width]),
                ("embedding", &[5, model.spec.embed]),
                "\"embedding\" is [4, ",
            ),
        ];

        for (part, input, output, words) in wrong {
            let error = bind(part, input, output).err().expect("refused");
            assert!(error.contains(words), "{words}: {error}");
        }

        fake.freed();

        // What the plan computes beside what is asked for has room of its own.
        let mut bound = bind(
            TowerPart::Trunk,
            ("pixels", &picture),
            ("tokens", &[2, tokens, width]),
        )
        .expect("fits");

        // SAFETY: the stream is the device's.
        unsafe { bound.enqueue(device.stream.cu_stream()) }.expect("it runs");
        device.wait().expect("it ends");
        assert_eq!(fake.freed(), "");
        drop(networks);
        // The windows' engine goes; the trunk's stays with what is bound.
        assert_eq!(fake.freed(), "ER");
        drop(bound);
        assert_eq!(fake.freed(), "CER");
        assert!(out.len() == 2 * tokens * width && out.iter().all(|value| *value == 0x3c00));
    }
}

#[test]
fn all_bindings_of_a_plan_share_one_workspace() {
    let Some(device) = stand_in() else { return };
    for major in [10, 11] {
        let (_guard, model) = imported("open-clip-tiny");
        let fake = Fake::new(major);
        let (side, tokens, width) = shape(&model);
        let plan = built(&fake, &model, "").expect("it is built");
        let networks = TensorRt::open(&fake.library, &device, &plan).expect("it opens");
        let mut values: [Vec<u16>; 4] = Default::default();
        let [pixels, tokens_out, gathered, embeddings] = &mut values;
        let bind = |part,
                    input: (&str, &[usize], &mut Vec<u16>),
                    output: (&str, &[usize], &mut Vec<u16>)| {
            let tensors = [
                binding(input.0, input.1, input.2),
                binding(output.0, output.1, output.2),
            ];

            // SAFETY: the stand-in's memory is the host's, and all buffers live to the end of the test.
            unsafe { networks.bind(part, &tensors) }.expect("fits")
        };

        // The fake writes to as much room as a profile says that it needs, and fails where it has got less.
        let windows = 2 * model.spec.grid().windows(3).cells();
        let (embedded, picture, tokened) = (
            [windows, model.spec.embed],
            [1, 3, side, side],
            [1, tokens, width],
        );

        let input = ("tokens", &[windows, 10, width][..], gathered);
        let bound = [
            bind(
                TowerPart::Windows,
                input,
                ("embedding", &embedded, embeddings),
            ),
            bind(
                TowerPart::Trunk,
                ("pixels", &picture, pixels),
                ("tokens", &tokened, tokens_out),
            ),
        ];

        for mut network in bound {
            // SAFETY: the stream is the device's.
            unsafe { network.enqueue(device.stream.cu_stream()) }.expect("it runs");
            // SAFETY: this one, too.
            let other = unsafe { network.enqueue(std::ptr::null_mut()) }
                .expect_err("refused")
                .to_string();

            assert!(other.contains("on the stream of the device"), "{other}");
        }

        device.wait().expect("it ends");
    }
}

#[test]
fn tensorrt_rtx_keeps_what_it_compiled() {
    let Some(device) = stand_in() else { return };
    let (_guard, model) = imported("open-clip-tiny");
    let fake = Fake::rtx();
    let (side, tokens, width) = shape(&model);
    let plan = built(&fake, &model, "")
        .expect("its runs allocate nothing")
        .accept()
        .expect("accepted");

    let kept = model
        .path
        .join("plans")
        .join(format!("{}.trunk.jit", plan.key.name()));

    let (mut pixels, mut out) = (vec![], vec![]);
    let mut run = || {
        let networks = TensorRt::open(&fake.library, &device, &plan).expect("it opens");
        let picture = binding("pixels", &[1, 3, side, side], &mut pixels);
        let tensors = [picture, binding("tokens", &[1, tokens, width], &mut out)];
        // SAFETY: the stand-in's memory is the host's, and both buffers live to the end of the test.
        let mut bound = unsafe { networks.bind(TowerPart::Trunk, &tensors) }.expect("fits");
        for _ in 0..2 {
            // SAFETY: the stream is the device's.
            unsafe { bound.enqueue(device.stream.cu_stream()) }.expect("it runs");
        }

        device.wait().expect("it ends");
        std::fs::read_to_string(&kept).expect("kept")
    };

    fake.freed();
    assert_eq!(
        run(),
        "cold;run;",
        "kept after the first run, with what that compiled"
    );

    // The bytes that were kept, the context, then each engine after what compiles for it.
    assert_eq!(fake.freed(), "MCJKERJKER");
    assert_eq!(
        run(),
        "cold;run;run;",
        "what was kept is used at the next start"
    );

    std::fs::write(&kept, "of another driver").expect("written");
    assert_eq!(run(), "cold;run;");
}

#[test]
fn a_plan_whose_runs_cannot_be_captured_is_refused() {
    let Some(device) = stand_in() else { return };
    let (_guard, model) = imported("open-clip-tiny");
    let fake = Fake::rtx();
    let (side, tokens, width) = shape(&model);
    let plan = built(&fake, &model, "tensor 0 1 uncapturable -1 7\n").expect("it is built");
    let networks = TensorRt::open(&fake.library, &device, &plan).expect("it opens");
    let (mut pixels, mut out) = (vec![], vec![]);
    let picture = binding("pixels", &[1, 3, side, side], &mut pixels);
    let tensors = [picture, binding("tokens", &[1, tokens, width], &mut out)];
    // SAFETY: the stand-in's memory is the host's, and both buffers live to the end of the test.
    let words = unsafe { networks.bind(TowerPart::Trunk, &tensors) }
        .err()
        .expect("refused")
        .to_string();

    assert!(
        words.contains("cannot be captured as a graph; build the plan again"),
        "{words}"
    );
}

#[test]
fn a_plan_of_another_precision_is_not_run() {
    let Some(device) = stand_in() else { return };
    let (_guard, model) = imported("open-clip-tiny");
    let fake = Fake::new(11);
    let plan = built(&fake, &model, "tensor 0 0 image -1 7\n").expect("it is built");
    let words = TensorRt::open(&fake.library, &device, &plan)
        .err()
        .expect("refused")
        .to_string();

    assert!(
        words.contains("\"image\" holds values of type 0, not 1"),
        "{words}"
    );
}
