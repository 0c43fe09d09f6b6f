//! Objects that the library calls: a logger and a progress monitor, C++ objects made in Rust.
//!
//! ```text
//! C++ sees         { table }                       and calls table[slot](object, ...)
//! TensorRT 10      ILogger:          log, ~, ~
//! 11, RTX          ILogger:          language, interface, ~, ~, log
//! all              IProgressMonitor: language, interface, ~, ~, phaseStart, stepComplete, phaseFinish
//! ```
//! Both are called from threads of the library.

use super::Function;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A table with what the ABI puts before it: an offset to the whole object, and run-time type
/// information.
#[repr(C)]
struct CallbackTable<const N: usize> {
    offset: isize,
    kind: *const c_void,
    functions: [Function; N],
}

// SAFETY: addresses of functions, never written.
unsafe impl<const N: usize> Sync for CallbackTable<N> {}

impl<const N: usize> CallbackTable<N> {
    const fn new(functions: [Function; N]) -> Self {
        CallbackTable {
            offset: 0,
            kind: std::ptr::null(),
            functions,
        }
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
    Interface {
        kind: c"ILogger".as_ptr(),
        major: 1,
        minor: 0,
    }
}

extern "C" fn monitor_interface(_: *const c_void) -> Interface {
    Interface {
        kind: c"IProgressMonitor".as_ptr(),
        major: 1,
        minor: 0,
    }
}

/// Destructor that does nothing: Rust frees our objects.
extern "C" fn destroy(_: *const c_void) {}

static LOGGER_TEN: CallbackTable<3> =
    CallbackTable::new([log as Function, destroy as Function, destroy as Function]);

static LOGGER_ELEVEN: CallbackTable<5> = CallbackTable::new([
    language as Function,
    logger_interface as Function,
    destroy as Function,
    destroy as Function,
    log as Function,
]);

static MONITOR: CallbackTable<7> = CallbackTable::new([
    language as Function,
    monitor_interface as Function,
    destroy as Function,
    destroy as Function,
    phase_start as Function,
    step_complete as Function,
    phase_finish as Function,
]);

/// Capacity of a list of errors: as many as a person wants to read. Further ones are dropped.
const KEPT: usize = 8;

/// Keeps the library's errors until they are asked for; its warnings go to our log. There is one of
/// each kind, for ever: the library keeps the first one that it was given and may tell it of
/// whatever comes later.
#[repr(C)]
#[derive(Debug)]
pub struct Logger {
    table: *const Function,
}

// SAFETY: the table is never written.
unsafe impl Sync for Logger {}

static TEN: Logger = Logger {
    table: LOGGER_TEN.start(),
};
static ELEVEN: Logger = Logger {
    table: LOGGER_ELEVEN.start(),
};

thread_local! {
    /// Errors of calls by this thread; `None` on threads that never asked, which are the library's
    /// own.
    static OURS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Errors told by threads of the library; the first thread that asks takes them.
static THEIRS: Mutex<Vec<String>> = Mutex::new(vec![]);

fn theirs() -> MutexGuard<'static, Vec<String>> {
    THEIRS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logger {
    /// The logger with the table that the library knows, told by its `log_slot`.
    pub fn of(log_slot: usize) -> &'static Self {
        if log_slot == 0 { &TEN } else { &ELEVEN }
    }

    /// The errors that the library told since this thread last asked, or a sentence that there were
    /// none.
    pub fn words(&self) -> String {
        // The errors of this thread go first; those of the library's threads may be consequences.
        let mut errors = OURS.take().unwrap_or_default();
        errors.append(&mut theirs());

        // Told errors are gone, so that they are not told again for the next call.
        self.clear();

        if errors.is_empty() {
            return "the library does not say why".to_owned();
        }

        errors.join("; ")
    }

    /// Forgets the errors of this thread, and those of the library's threads: they may be about
    /// something else.
    pub fn clear(&self) {
        OURS.set(Some(vec![]));
        theirs().clear();
    }

    pub(super) fn address(&'static self) -> *mut c_void {
        (self as *const Logger).cast_mut().cast()
    }
}

/// `ILogger::log`. Severities: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose.
extern "C" fn log(_: *const c_void, severity: c_int, words: *const c_char) {
    // Information and verbose messages are many thousands in a build, and say nothing to a person.
    if severity > 2 || words.is_null() {
        return;
    }

    // SAFETY: the library passes a string that lives during the call.
    let words = unsafe { CStr::from_ptr(words) }.to_string_lossy();

    // Warnings are mostly about speed. They are for developers.
    if severity == 2 {
        tracing::debug!("TensorRT: {words}");
        return;
    }

    // A thread that is ending has no list any more: its words are the library's, too.
    let noted = OURS.try_with(|ours| {
        let mut ours = ours.borrow_mut();
        ours.as_mut().map(|errors| note(errors, &words))
    });

    if noted.ok().flatten().is_none() {
        note(&mut theirs(), &words);
    }
}

fn note(errors: &mut Vec<String>, words: &str) {
    // The library tells some errors once a layer.
    let is_known = errors.iter().any(|known| known == words);

    if !is_known && errors.len() < KEPT {
        errors.push(words.to_owned());
    }
}

/// Progress of a phase of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseStep {
    /// Name of the phase, in the library's words.
    pub phase: String,
    /// Number of steps that are done.
    pub done: usize,
    /// Number of steps in all; 0 when unknown.
    pub of: usize,
}

/// Tells a listener of each step of a build.
#[repr(C)]
pub struct Monitor<'a> {
    table: *const Function,
    /// Number of steps of each phase that is under way.
    phases: Mutex<HashMap<String, usize>>,
    on_step: &'a (dyn Fn(PhaseStep) + Sync),
}

impl<'a> Monitor<'a> {
    /// A monitor that calls `on_step`. Boxed, because the library holds its address.
    pub fn new(on_step: &'a (dyn Fn(PhaseStep) + Sync)) -> Box<Self> {
        Box::new(Monitor {
            table: MONITOR.start(),
            phases: Mutex::default(),
            on_step,
        })
    }

    fn phases(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn address(&self) -> *mut c_void {
        (self as *const Monitor).cast_mut().cast()
    }
}

/// The monitor and the phase of a call.
///
/// # Safety
/// The arguments are the library's, for a monitor that [`Monitor::new`] made and that is alive.
unsafe fn called<'a>(monitor: *const c_void, phase: *const c_char) -> (&'a Monitor<'a>, String) {
    // SAFETY: the caller's promise.
    let monitor = unsafe { &*monitor.cast::<Monitor>() };

    // SAFETY: the library passes a string that lives during the call.
    let phase = unsafe { CStr::from_ptr(phase) };

    (monitor, phase.to_string_lossy().into_owned())
}

/// `IProgressMonitor::phaseStart`.
extern "C" fn phase_start(
    monitor: *const c_void,
    phase: *const c_char,
    _parent: *const c_char,
    steps: c_int,
) {
    // SAFETY: the library calls it during a build, while the monitor is alive.
    let (monitor, phase) = unsafe { called(monitor, phase) };

    // Unknown numbers of steps are negative, and become 0.
    let of = usize::try_from(steps).unwrap_or(0);
    monitor.phases().insert(phase.clone(), of);
    (monitor.on_step)(PhaseStep { phase, done: 0, of });
}

/// `IProgressMonitor::stepComplete`; true: go on.
extern "C" fn step_complete(monitor: *const c_void, phase: *const c_char, step: c_int) -> bool {
    // SAFETY: the library calls it during a build, while the monitor is alive.
    let (monitor, phase) = unsafe { called(monitor, phase) };
    let of = monitor.phases().get(&phase).copied().unwrap_or(0);

    // A step counts from 0, so that its end is one more.
    (monitor.on_step)(PhaseStep {
        phase,
        done: usize::try_from(step).map_or(0, |step| step + 1),
        of,
    });

    true
}

/// `IProgressMonitor::phaseFinish`.
extern "C" fn phase_finish(monitor: *const c_void, phase: *const c_char) {
    // SAFETY: the library calls it during a build, while the monitor is alive.
    let (monitor, phase) = unsafe { called(monitor, phase) };
    let of = monitor.phases().remove(&phase).unwrap_or(0);

    // The phase ends whether or not all of its steps were told.
    (monitor.on_step)(PhaseStep {
        phase,
        done: of,
        of,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the library calls it, with the logger that it was given first.
    fn told(words: &CStr) {
        log(TEN.address(), 1, words.as_ptr());
    }

    #[test]
    fn each_thread_hears_of_its_own_calls_and_of_the_librarys_own_threads() {
        let logger = Logger::of(4);
        logger.clear();
        told(c"mine");
        let other = std::thread::spawn(|| {
            let logger = Logger::of(0);
            logger.clear();
            told(c"another's");
            told(c"another's");
            logger.words()
        });

        assert_eq!(other.join().expect("it ends"), "another's");
        std::thread::spawn(|| told(c"a worker's"))
            .join()
            .expect("it ends");

        assert_eq!(logger.words(), "mine; a worker's");
        assert_eq!(logger.words(), "the library does not say why");
    }
}
