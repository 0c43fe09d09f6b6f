//! What the library calls: a logger and a progress monitor, C++ objects made in Rust.
//!
//! ```text
//! C++ sees         { table }                       and calls table[slot](object, ...)
//! TensorRT 10      ILogger:          log, ~, ~
//! 11, RTX          ILogger:          language, interface, ~, ~, log
//! all              IProgressMonitor: language, interface, ~, ~, phaseStart, stepComplete, phaseFinish
//! ```
//! Both are called from threads of the library.

use super::Function;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// A table with what the ABI puts before it: an offset to the whole object, and run-time type information.
#[repr(C)]
struct Table<const N: usize> {
    offset: isize,
    kind: *const c_void,
    functions: [Function; N],
}

// SAFETY: addresses of functions, never written.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    const fn new(functions: [Function; N]) -> Self {
        Table { offset: 0, kind: std::ptr::null(), functions }
    }

    const fn start(&'static self) -> *const Function {
        self.functions.as_ptr()
    }
}

/// `nvinfer1::InterfaceInfo`.
#[repr(C)]
struct Interface {
    kind: *const c_char,
    major: c_int,
    minor: c_int,
}

/// `APILanguage::kCPP`.
extern "C" fn language(_: *const c_void) -> c_int {
    0
}

extern "C" fn logger_interface(_: *const c_void) -> Interface {
    Interface { kind: c"ILogger".as_ptr(), major: 1, minor: 0 }
}

extern "C" fn monitor_interface(_: *const c_void) -> Interface {
    Interface { kind: c"IProgressMonitor".as_ptr(), major: 1, minor: 0 }
}

/// Rust frees them.
extern "C" fn destroy(_: *const c_void) {}

static LOGGER_TEN: Table<3> = Table::new([log as Function, destroy as Function, destroy as Function]);

static LOGGER_ELEVEN: Table<5> = Table::new([
    language as Function,
    logger_interface as Function,
    destroy as Function,
    destroy as Function,
    log as Function,
]);

static MONITOR: Table<7> = Table::new([
    language as Function,
    monitor_interface as Function,
    destroy as Function,
    destroy as Function,
    phase_start as Function,
    step_complete as Function,
    phase_finish as Function,
]);

/// Errors that are kept: as many as a person wants to read.
const KEPT: usize = 8;

/// Keeps the library's errors until they are asked for; its warnings go to our log. Lives as long as the library,
/// which remembers the first one that it was given.
#[repr(C)]
#[derive(Debug)]
pub struct Logger {
    table: *const Function,
    errors: Mutex<Vec<String>>,
}

// SAFETY: the table is never written, and the rest is behind a lock.
unsafe impl Sync for Logger {}

impl Logger {
    /// `log_slot` tells which of the two tables the library knows.
    pub fn new(log_slot: usize) -> &'static Self {
        let table = if log_slot == 0 { LOGGER_TEN.start() } else { LOGGER_ELEVEN.start() };
        Box::leak(Box::new(Logger { table, errors: Mutex::new(vec![]) }))
    }

    /// What the library said since it was last asked, or that it said nothing.
    pub fn words(&self) -> String {
        let errors = std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        match errors.is_empty() {
            true => "the library does not say why".to_owned(),
            false => errors.join("; "),
        }
    }

    /// Forgets what was said.
    pub fn clear(&self) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn address(&'static self) -> *mut c_void {
        (self as *const Logger).cast_mut().cast()
    }
}

/// `ILogger::log`. Severities: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose.
extern "C" fn log(logger: *const c_void, severity: c_int, words: *const c_char) {
    if severity > 2 || words.is_null() {
        return;
    }
    // SAFETY: the library passes a string that lives during the call.
    let words = unsafe { CStr::from_ptr(words) }.to_string_lossy();
    if severity == 2 {
        tracing::debug!("TensorRT: {words}");
        return;
    }
    // SAFETY: the address that `Logger::address` gave, of something that is never freed.
    let logger = unsafe { &*logger.cast::<Logger>() };
    let mut errors = logger.errors.lock().unwrap_or_else(PoisonError::into_inner);
    if errors.len() < KEPT && !errors.iter().any(|known| *known == words) {
        errors.push(words.into_owned());
    }
}

/// How far a phase of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In the library's words.
    pub phase: String,
    pub done: usize,
    pub of: usize,
}

/// Tells a listener of each step of a build.
#[repr(C)]
pub struct Monitor<'a> {
    table: *const Function,
    /// Steps of the phases that are under way.
    phases: Mutex<HashMap<String, usize>>,
    told: &'a (dyn Fn(Step) + Sync),
}

impl<'a> Monitor<'a> {
    /// In a place of its own: the library holds its address.
    pub fn new(told: &'a (dyn Fn(Step) + Sync)) -> Box<Self> {
        Box::new(Monitor { table: MONITOR.start(), phases: Mutex::default(), told })
    }

    pub(super) fn address(&self) -> *mut c_void {
        (self as *const Monitor).cast_mut().cast()
    }
}

/// The monitor and the phase of a call.
///
/// # Safety
/// The library's arguments of a monitor that [`Monitor::new`] made and that is alive.
unsafe fn called<'a>(monitor: *const c_void, phase: *const c_char) -> (&'a Monitor<'a>, String) {
    // SAFETY: the caller's promise.
    let monitor = unsafe { &*monitor.cast::<Monitor>() };
    // SAFETY: the library passes a string that lives during the call.
    let phase = unsafe { CStr::from_ptr(phase) };
    (monitor, phase.to_string_lossy().into_owned())
}

/// `IProgressMonitor::phaseStart`.
extern "C" fn phase_start(monitor: *const c_void, phase: *const c_char, _parent: *const c_char, steps: c_int) {
    // SAFETY: the library calls it during a build, while the monitor is alive.
    let (monitor, phase) = unsafe { called(monitor, phase) };
    let of = usize::try_from(steps).unwrap_or(0);
    monitor.phases.lock().unwrap_or_else(PoisonError::into_inner).insert(phase.clone(), of);
    (monitor.told)(Step { phase, done: 0, of });
}

/// `IProgressMonitor::stepComplete`; true: go on.
extern "C" fn step_complete(monitor: *const c_void, phase: *const c_char, step: c_int) -> bool {
    // SAFETY: as in `phase_start`.
    let (monitor, phase) = unsafe { called(monitor, phase) };
    let of = monitor.phases.lock().unwrap_or_else(PoisonError::into_inner).get(&phase).copied().unwrap_or(0);
    (monitor.told)(Step { phase, done: usize::try_from(step).map_or(0, |step| step + 1), of });
    true
}

/// `IProgressMonitor::phaseFinish`.
extern "C" fn phase_finish(monitor: *const c_void, phase: *const c_char) {
    // SAFETY: as in `phase_start`.
    let (monitor, phase) = unsafe { called(monitor, phase) };
    let of = monitor.phases.lock().unwrap_or_else(PoisonError::into_inner).remove(&phase).unwrap_or(0);
    (monitor.told)(Step { phase, done: of, of });
}
