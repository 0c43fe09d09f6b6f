//! What a test needs of its machine beyond a clone of the project. `WINSPECT_REQUIRE`, a list with
//! commas, names what must be there: a test that misses it fails. Otherwise the test is skipped,
//! with a line on standard error and in the file that `WINSPECT_SKIPS` names.
//!
//! The tests of the kernels, which are in the library, compile this file too.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Each thing that can be required, and how to get it.
const WAYS: [(&str, &str); 9] = [
    (
        "mount",
        "run the tests as root: they mount a disk in memory",
    ),
    (
        "gpu",
        "run the tests under tools/gpu/with-stand-ins, or install NVIDIA's driver",
    ),
    ("nvrtc", "run tools/gpu/fetch-nvrtc"),
    (
        "rumqttd",
        "cargo build --manifest-path tools/rumqttd/Cargo.toml --target-dir target/rumqttd",
    ),
    (
        "browser",
        "run tools/setup: it installs Debian's chromium and chromium-driver",
    ),
    ("axe", "run tools/fetch-axe"),
    ("node-red", "run tools/fetch-node-red"),
    ("cc", "install a C compiler: it builds what slows a disk"),
    (
        "network",
        "run the tests as root, with iproute2: they make a network",
    ),
];

/// The thing, if it was found. `None` if it is missing and not required: the skip is recorded.
///
/// # Panics
/// If it is missing and required.
#[track_caller]
pub fn required<T>(name: &str, found: Result<T, impl Display>) -> Option<T> {
    let way = WAYS.iter().find(|(known, _)| *known == name);
    let (_, way) = way.unwrap_or_else(|| panic!("nothing is called {name}"));
    let missing = match found {
        Ok(found) => return Some(found),
        Err(missing) => missing,
    };

    let list = std::env::var("WINSPECT_REQUIRE").unwrap_or_default();
    let is_required = list.split(',').any(|word| word.trim() == name);
    assert!(
        !is_required,
        "WINSPECT_REQUIRE asks for {name}, which is missing: {missing}; {way}"
    );

    skip(&format!("no {name}: {missing}; {way}"));
    None
}

/// Records that the test of this thread is skipped.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("{test}: {}", reason.replace('\n', " "));
    eprintln!("SKIPPED: {line}");
    let Some(file) = std::env::var_os("WINSPECT_SKIPS") else {
        return;
    };

    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .expect("WINSPECT_SKIPS names a file that can be written");

    // One write: tests that run at once append whole lines.
    file.write_all(format!("{line}\n").as_bytes())
        .expect("the disk has room for a line");
}
