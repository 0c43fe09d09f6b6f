//! A layer under SQLite (a VFS) for tests of the store: its own functions for Unix, which write down what they are asked for,
//! and refuse it where the disk is to be full.
//!
//! SAFETY of all of it: SQLite calls with pointers that are valid for the call, and they are passed on to its own functions.

use rusqlite::ffi;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// One after the other, in a run.
#[derive(Debug, Clone)]
pub enum Event {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Sync {
        file: String,
    },
    Delete {
        file: String,
    },
    Told(Told),
}

/// What others know from then on.
#[derive(Debug, Clone)]
pub enum Told {
    Accepted {
        key: u64,
        camera: String,
        seq: u64,
    },
    Answered {
        id: String,
        answer: String,
    },
    /// It may be on the wire.
    Left {
        key: u64,
        body: String,
    },
    /// The broker has it.
    Landed {
        key: u64,
    },
}

pub type Watcher = Arc<dyn Fn() + Send + Sync>;

const NAME: &CStr = c"winspect-power-cut";
/// What happened to the stores of these names.
static EVENTS: Mutex<BTreeMap<String, Vec<Event>>> = Mutex::new(BTreeMap::new());
/// The names of open files and the functions that do the work, by the files' addresses in memory.
static OPEN: Mutex<BTreeMap<usize, (String, ffi::sqlite3_io_methods)>> =
    Mutex::new(BTreeMap::new());
static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
/// Who looks at the store whenever it is about to write or has synced.
static WATCHERS: Mutex<BTreeMap<String, Watcher>> = Mutex::new(BTreeMap::new());
/// The stores whose disk is full.
static FULL: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A path that SQLite opens through the layer.
pub fn path(store: &str) -> String {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        let mut layer = unix();
        layer.zName = NAME.as_ptr();
        layer.xOpen = Some(open);
        layer.xDelete = Some(delete);
        layer.xFullPathname = Some(full_path);
        // SAFETY: it lives as long as the process.
        let done = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(layer)), 0) };
        assert_eq!(done, ffi::SQLITE_OK);
    });

    format!("file:{store}?vfs={}", NAME.to_str().expect("ASCII"))
}

/// In the middle of the store's work: `watcher` must not wait for it.
pub fn watch(store: &str, watcher: Watcher) {
    WATCHERS
        .lock()
        .expect("no panic")
        .insert(store.to_owned(), watcher);
}

/// What happened, and nobody watches any more.
pub fn take(store: &str) -> Vec<Event> {
    WATCHERS.lock().expect("no panic").remove(store);
    EVENTS
        .lock()
        .expect("no panic")
        .remove(store)
        .unwrap_or_default()
}

/// Nothing can be written, or there is room again.
pub fn fill(store: &str, full: bool) {
    let mut all = FULL.lock().expect("no panic");
    if full {
        all.insert(store.to_owned())
    } else {
        all.remove(store)
    };
}

/// The store's file is `store`, those beside it begin with that.
pub fn note(file: &str, event: Event) {
    let store = store_of(file).to_owned();
    EVENTS
        .lock()
        .expect("no panic")
        .entry(store)
        .or_default()
        .push(event);
}

fn store_of(file: &str) -> &str {
    file.split('-').next().unwrap_or(file)
}

fn look(file: &str) {
    let watcher = WATCHERS
        .lock()
        .expect("no panic")
        .get(store_of(file))
        .cloned();

    if let Some(watcher) = watcher {
        watcher();
    }
}

fn unix() -> ffi::sqlite3_vfs {
    // SAFETY: SQLite has always one of that name here.
    unsafe { *ffi::sqlite3_vfs_find(c"unix".as_ptr()) }
}

fn name(path: *const c_char) -> String {
    // SAFETY: a path of SQLite's ends with a zero.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().expect("ours"));
    path.file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned()
}

fn of(file: *mut ffi::sqlite3_file) -> (String, ffi::sqlite3_io_methods) {
    OPEN.lock().expect("no panic")[&(file as usize)].clone()
}

unsafe extern "C" fn full_path(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    to: *mut c_char,
) -> c_int {
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let full = folder.path().join(name(path)).display().to_string();
    assert!(full.len() < room as usize);
    // SAFETY: `to` has room for `room` bytes, which the line above compares.
    unsafe {
        std::ptr::copy_nonoverlapping(full.as_ptr().cast(), to, full.len());
        *to.add(full.len()) = 0;
    }

    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    layer: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gave these arguments for this very method.
    let done = unsafe { unix().xOpen.expect("there")(layer, path, file, flags, out) };
    // What has no name is gone with the connection.
    if done == ffi::SQLITE_OK && !path.is_null() {
        // SAFETY: the file was just opened, so that SQLite has set its methods.
        let theirs = unsafe { *(*file).pMethods };
        let mut ours = theirs;
        ours.xWrite = Some(write);
        ours.xTruncate = Some(truncate);
        ours.xSync = Some(sync);
        // SAFETY: the file was just opened; the leaked table outlives it.
        unsafe { (*file).pMethods = Box::leak(Box::new(ours)) }; // one for each file that is opened
        OPEN.lock()
            .expect("no panic")
            .insert(file as usize, (name(path), theirs));
    }

    done
}

unsafe extern "C" fn delete(
    layer: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync: c_int,
) -> c_int {
    let file = name(path);
    note(&file, Event::Delete { file: file.clone() });
    // SAFETY: SQLite gave these arguments for this very method.
    unsafe { unix().xDelete.expect("there")(layer, path, sync) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    let (name, theirs) = of(file);
    if FULL.lock().expect("no panic").contains(store_of(&name)) {
        return ffi::SQLITE_FULL;
    }

    look(&name);
    // SAFETY: SQLite gives `count` bytes to be written.
    let copy = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count as usize) }.to_vec();
    note(
        &name,
        Event::Write {
            file: name.clone(),
            at: at as usize,
            bytes: copy,
        },
    );

    // SAFETY: SQLite gave these arguments for this very method.
    unsafe { theirs.xWrite.expect("there")(file, bytes, count, at) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let (name, theirs) = of(file);
    note(
        &name,
        Event::Truncate {
            file: name.clone(),
            length: length as usize,
        },
    );

    // SAFETY: SQLite gave these arguments for this very method.
    unsafe { theirs.xTruncate.expect("there")(file, length) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let (name, theirs) = of(file);
    // SAFETY: SQLite gave these arguments for this very method.
    let done = unsafe { theirs.xSync.expect("there")(file, flags) };
    note(&name, Event::Sync { file: name.clone() });
    look(&name);
    done
}
