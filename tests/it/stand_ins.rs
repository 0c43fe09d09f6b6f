//! cudarc's own code on whatever `libcuda` there is: a GPU's, or the stand-in of `tools/gpu/with-stand-ins`, which must behave
//! as a GPU does, refusals included. Without one these tests are skipped, or fail where `WINSPECT_REQUIRE` names `gpu`.
//! What only the stand-in can do (faults on demand, watching memory) is tested where it is the stand-in.

use crate::harness::{required, stand_in};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
    result, sys,
};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::process::{Command, Output};
use std::sync::Arc;

const KERNELS: &str = include_str!("../stand-ins/test_kernels.cu");
const MODE: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const FLAGS: CUgraphInstantiate_flags = CUgraphInstantiate_flags(0);
/// Names what a process of its own shall do.
const ALONE: &str = "WINSPECT_TEST_ALONE";

/// True if there is a `libcuda`. False: the test is skipped.
fn present() -> bool {
    // SAFETY: only tries to load the library.
    let is_present = unsafe { sys::is_culib_present() };
    let found = is_present.then_some(()).ok_or("there is no libcuda");
    required("gpu", found).is_some()
}

/// True if `libcuda` is the stand-in. False: the test is skipped.
fn is_stand_in() -> bool {
    present() && stand_in().is_some()
}

fn open() -> Result<(Arc<CudaContext>, Arc<CudaStream>), DriverError> {
    let context = CudaContext::new(0)?;
    // SAFETY: each test uses one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream()?;
    Ok((context, stream))
}

fn function(context: &Arc<CudaContext>, name: &str, half: bool) -> CudaFunction {
    let (major, minor) = context.compute_capability().expect("a device tells it");
    let options = vec![
        format!("--gpu-architecture=compute_{major}{minor}"),
        format!("-DREAL_IS_HALF={}", u8::from(half)),
    ];

    let ptx = compile_ptx_with_opts(
        KERNELS,
        CompileOptions {
            options,
            ..Default::default()
        },
    );

    let module = context
        .load_module(ptx.expect("the kernels compile"))
        .expect("what was compiled for it loads");

    module.load_function(name).expect("a kernel of the file")
}

/// Enqueues `test_double`.
fn double(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    from: &CudaSlice<i32>,
    to: &mut CudaSlice<i32>,
) -> Result<(), DriverError> {
    let count = from.len() as i32;
    let mut launch = stream.launch_builder(function);
    launch.arg(from).arg(to).arg(&count);
    // SAFETY: the arguments are the kernel's, and both slices hold `count` values.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count as u32)) }.map(drop)
}

#[test]
fn a_captured_chain_runs_again_with_other_input() {
    if !present() {
        return;
    }

    let (context, stream) = open().expect("a device");
    let double_it = function(&context, "test_double", false);
    let mut from = stream.alloc_zeros::<i32>(1000).expect("memory");
    let mut to = stream.alloc_zeros::<i32>(1000).expect("memory");
    // SAFETY: written before it is read.
    let mut input = unsafe { context.alloc_pinned::<i32>(1000) }.expect("memory");
    // SAFETY: the same.
    let mut output = unsafe { context.alloc_pinned::<i32>(1000) }.expect("memory");
    input.as_mut_slice().expect("nothing is under way").fill(1);
    output
        .as_mut_slice()
        .expect("nothing is under way")
        .fill(-1);

    stream.begin_capture(MODE).expect("a stream of its own");
    stream.memcpy_htod(&input, &mut from).expect("recorded");
    double(&stream, &double_it, &from, &mut to).expect("recorded");
    stream.memcpy_dtoh(&to, &mut output).expect("recorded");
    let graph = stream
        .end_capture(FLAGS)
        .expect("a whole capture")
        .expect("a graph");

    stream.synchronize().expect("nothing to do");
    assert_eq!(
        output.as_slice().expect("synchronised")[0],
        -1,
        "nothing has run yet"
    );

    for value in [1, 2, 300] {
        input.as_mut_slice().expect("synchronised").fill(value);
        graph
            .launch()
            .expect("a graph may be launched again and again");

        stream.synchronize().expect("it runs");
        assert!(
            output
                .as_slice()
                .expect("synchronised")
                .iter()
                .all(|found| *found == 2 * value),
            "{value}"
        );
    }
}

#[test]
fn options_reach_the_kernels() {
    if !present() {
        return;
    }

    let (context, stream) = open().expect("a device");
    for (half, expected) in [(false, [2, 4]), (true, [3, 5])] {
        let from = stream.clone_htod(&[1, 2]).expect("memory");
        let mut to = stream.alloc_zeros::<i32>(2).expect("memory");
        double(
            &stream,
            &function(&context, "test_double", half),
            &from,
            &mut to,
        )
        .expect("launched");

        assert_eq!(
            stream.clone_dtoh(&to).expect("a copy"),
            expected,
            "REAL_IS_HALF={half}"
        );
    }
}

#[test]
fn barriers_shuffles_and_atomics_do_what_a_gpu_does() {
    if !present() {
        return;
    }

    let (context, stream) = open().expect("a device");
    let values: Vec<f32> = (0..700).map(|i| i as f32).collect();
    let from = stream.clone_htod(&values).expect("memory");
    let mut sums = stream.alloc_zeros::<f32>(3).expect("memory");
    let shape = LaunchConfig {
        grid_dim: (3, 1, 1),
        block_dim: (256, 1, 1),
        shared_mem_bytes: 0,
    };

    let sum = function(&context, "test_sum", false);
    // SAFETY: 700 values, three blocks' sums.
    unsafe {
        stream
            .launch_builder(&sum)
            .arg(&from)
            .arg(&mut sums)
            .arg(&700i32)
            .launch(shape)
    }
    .expect("launched");

    let expected: Vec<f32> = values.chunks(256).map(|block| block.iter().sum()).collect();
    assert_eq!(stream.clone_dtoh(&sums).expect("a copy"), expected);

    let mut counts = stream.alloc_zeros::<u32>(3).expect("memory");
    let atomics = function(&context, "test_atomics", false);
    // SAFETY: three counts.
    unsafe {
        stream
            .launch_builder(&atomics)
            .arg(&mut counts)
            .launch(shape)
    }
    .expect("launched");

    assert_eq!(stream.clone_dtoh(&counts).expect("a copy"), [768, 2, 16]);
}

type Call = dyn Fn(&Arc<CudaStream>) -> Result<(), DriverError>;

#[test]
fn what_would_wait_or_allocate_breaks_a_capture() {
    if !present() {
        return;
    }

    let (_context, stream) = open().expect("a device");
    let allocate = |_: &Arc<CudaStream>| {
        // SAFETY: never used; on success freed with the process.
        unsafe { result::malloc_sync(64) }.map(drop)
    };

    let synchronise = |stream: &Arc<CudaStream>| stream.synchronize();
    let refused: [(&str, &Call); 2] = [
        ("cuMemAlloc", &allocate),
        ("cuStreamSynchronize", &synchronise),
    ];

    for (what, call) in refused {
        stream.begin_capture(MODE).expect("no capture is under way");
        assert_eq!(
            call(&stream),
            Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)),
            "{what}"
        );

        let ended = stream.end_capture(FLAGS).map(|graph| graph.is_some());
        assert_eq!(
            ended,
            Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)),
            "{what}"
        );

        stream.synchronize().expect("the stream is as before");
    }
}

#[test]
fn a_source_with_an_error_gives_the_compilers_log() {
    if !present() {
        return;
    }

    let error = compile_ptx_with_opts(
        format!("#error no such thing\n{KERNELS}"),
        CompileOptions::default(),
    );

    let said = format!("{:?}", error.expect_err("it must not compile"));
    assert!(said.contains("no such thing"), "{said}");
}

/// This test alone in a process of its own, with one thing to do and an environment.
fn alone(what: &str, environment: &[(&str, &str)]) -> Output {
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    Command::new(std::env::current_exe().expect("this test's binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=2"])
        .env(ALONE, what)
        .envs(environment.iter().copied())
        .output()
        .expect("it starts")
}

/// True in a process of [`alone`], where the test is to do one thing and no more.
fn is_alone() -> bool {
    let what = std::env::var(ALONE);
    what.as_deref().map(act).is_ok()
}

#[track_caller]
fn assert_alone(what: &str, environment: &[(&str, &str)], succeeds: bool, words: &str) {
    let output = alone(what, environment);
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();

    assert_eq!(output.status.success(), succeeds, "{said}");
    assert!(said.contains(words), "{words:?} is not in: {said}");
}

/// What this process shall do on demand of [`alone`], which the tests of faults name. A process
/// of its own, because a fault or a damaged memory ends it.
fn act(what: &str) {
    match what {
        "open" => println!("open: {:?}", open().err()),
        "memory" => println!(
            "{}",
            use_memory().unwrap_or_else(|error| format!("{error:?}"))
        ),
        "work" => println!("{:?}", work()),
        "overrun" => overrun(),
        "freed" => read_what_was_freed(),
        "stuck" => stuck(),
        other => panic!("nothing is called {other}"),
    }
}

fn use_memory() -> Result<String, DriverError> {
    let (context, stream) = open()?;
    let (free, total) = context.mem_get_info()?;
    let small = stream.alloc_zeros::<u8>(1000)?;
    let refused = stream.alloc_zeros::<u8>(1_000_000).err();
    let left = context.mem_get_info()?.0;
    drop(small);
    Ok(format!(
        "{free} of {total}, then {left}, then {:?}",
        refused.map(|error| error.0)
    ))
}

/// Two kernels and a copy, and what each step said.
fn work() -> Vec<Result<(), CUresult>> {
    let (context, stream) = open().expect("a device");
    let double_it = function(&context, "test_double", false);
    let from = stream.clone_htod(&[1; 10]).expect("memory");
    let mut to = stream.alloc_zeros::<i32>(10).expect("memory");
    let first = double(&stream, &double_it, &from, &mut to);
    let second = double(&stream, &double_it, &from, &mut to);
    let copied = stream.clone_dtoh(&to).map(drop);
    let synchronised = stream.synchronize();
    [first, second, copied, synchronised]
        .map(|step| step.map_err(|error| error.0))
        .to_vec()
}

fn overrun() {
    let (context, stream) = open().expect("a device");
    let mut out = stream.alloc_zeros::<i32>(5).expect("memory");
    let overrun = function(&context, "test_overrun", false);
    let shape = LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (32, 1, 1),
        shared_mem_bytes: 0,
    };

    // SAFETY: none: the stand-in has to notice that the kernel writes a sixth value.
    unsafe {
        stream
            .launch_builder(&overrun)
            .arg(&mut out)
            .arg(&5i32)
            .launch(shape)
    }
    .expect("launched");

    stream.synchronize().expect("the process ends before");
}

fn read_what_was_freed() {
    let (context, stream) = open().expect("a device");
    let double_it = function(&context, "test_double", false);
    let from = stream.clone_htod(&[1; 10]).expect("memory");
    let mut to = stream.alloc_zeros::<i32>(10).expect("memory");
    stream.begin_capture(MODE).expect("no capture is under way");
    double(&stream, &double_it, &from, &mut to).expect("recorded");
    let graph = stream
        .end_capture(FLAGS)
        .expect("a whole capture")
        .expect("a graph");

    drop(from);
    graph.launch().expect("enqueued");
    println!(
        "{:?}",
        stream.synchronize().and_then(|()| stream.synchronize())
    );
}

fn stuck() {
    let (context, stream) = open().expect("a device");
    let mut out = stream.alloc_zeros::<i32>(1).expect("memory");
    let stuck = function(&context, "test_stuck", false);
    let shape = LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (2, 1, 1),
        shared_mem_bytes: 0,
    };

    // SAFETY: none: the stand-in has to notice that one thread waits for ever.
    unsafe { stream.launch_builder(&stuck).arg(&mut out).launch(shape) }.expect("launched");
    stream.synchronize().expect("the process ends before");
}

#[test]
fn the_stand_in_fails_where_it_is_told_to() {
    if is_alone() || !is_stand_in() {
        return;
    }

    let lost = "Err(CUDA_ERROR_ILLEGAL_ADDRESS)";
    let no_memory = "Err(CUDA_ERROR_OUT_OF_MEMORY)";
    let faults = [
        (
            "cuLaunchKernel:2=2",
            format!("[Ok(()), {no_memory}, Ok(()), Ok(())]"),
        ),
        (
            "cuLaunchKernel:1+=2",
            format!("[{no_memory}, {no_memory}, Ok(()), Ok(())]"),
        ),
        (
            "cuLaunchKernel:1=700",
            format!("[{lost}, {lost}, {lost}, {lost}]"),
        ),
        (
            "cuMemcpyDtoHAsync:1=2,cuStreamSynchronize:2=700",
            format!("[Ok(()), Ok(()), {no_memory}, "),
        ),
    ];

    for (fault, said) in faults {
        assert_alone("work", &[("WINSPECT_STAND_IN_FAIL", fault)], true, &said);
    }

    assert_alone(
        "open",
        &[("WINSPECT_STAND_IN_FAIL", "cuInit:1=803")],
        true,
        "SYSTEM_DRIVER_MISMATCH",
    );

    assert_alone(
        "open",
        &[("WINSPECT_STAND_IN_FAIL", "cuInit=803")],
        false,
        "wants CALL:N=ERROR",
    );

    assert_alone(
        "open",
        &[("WINSPECT_STAND_IN_DEVICES", "0")],
        true,
        "CUDA_ERROR_NO_DEVICE",
    );
}

#[test]
fn the_stand_in_has_as_much_memory_as_told() {
    if is_alone() || !is_stand_in() {
        return;
    }

    let said = "500000 of 500000, then 499000, then Some(CUDA_ERROR_OUT_OF_MEMORY)";
    assert_alone(
        "memory",
        &[("WINSPECT_STAND_IN_MEMORY", "500000")],
        true,
        said,
    );
}

#[test]
fn the_stand_in_counts_calls() {
    if is_alone() || !is_stand_in() {
        return;
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("counts.json");
    assert_alone(
        "work",
        &[(
            "WINSPECT_STAND_IN_COUNT",
            file.to_str().expect("a plain path"),
        )],
        true,
        "Ok",
    );

    let counts: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("written at exit"))
            .expect("JSON");

    assert_eq!(counts["calls"]["cuLaunchKernel"], 2);
    assert_eq!(counts["calls"]["cuMemcpyHtoDAsync"], 1);
    assert_eq!(counts["kernels"]["test_double"], 2);
}

#[test]
fn the_stand_in_ends_a_process_that_damages_memory() {
    if is_alone() || !is_stand_in() {
        return;
    }

    assert_alone(
        "overrun",
        &[],
        false,
        "byte 20 of device memory of 20 bytes was written, beyond its ends, by kernel test_overrun",
    );

    assert_alone(
        "stuck",
        &[],
        false,
        "wait at a barrier or shuffle that the others never reach",
    );

    assert_alone("freed", &[], true, "CUDA_ERROR_ILLEGAL_ADDRESS");
}
