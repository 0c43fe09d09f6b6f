//! NVIDIA's run-time compiler, loaded when it is needed: CUDA C++ in, machine code for one kind of
//! GPU out.
//!
//! A binding of our own for eleven functions, because cudarc's looks for the libraries of CUDA 12
//! and older only, panics when there is none, and gives PTX, which a driver older than the compiler
//! refuses.

use crate::engine::EngineError;
use crate::engine::library_path::library_folders;
use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

/// Names of the library, by itself and in the packages of the known CUDA versions.
const NAMES: [&str; 3] = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"];

/// Folder, below a folder of libraries, of the one that came with winspect.
const FOLDER: &str = "nvrtc";

/// `nvrtcProgram`: a pointer that only the library can follow.
type Program = *mut std::ffi::c_void;
/// `nvrtcResult`.
type Code = c_int;

/// `nvrtcVersion`.
type VersionNumbersFn = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code;
/// `nvrtcGetNumSupportedArchs` and `nvrtcGetSupportedArchs`.
type NumbersFn = unsafe extern "C" fn(*mut c_int) -> Code;
/// `nvrtcGetErrorString`.
type ErrorStringFn = unsafe extern "C" fn(Code) -> *const c_char;
/// `nvrtcCreateProgram`: program, text, name, number of headers, their texts, their names.
type CreateFn = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Code;
/// `nvrtcCompileProgram`: program, number of options, options.
type CompileFn = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code;
/// `nvrtcGetCUBINSize` and `nvrtcGetProgramLogSize`.
type SizeFn = unsafe extern "C" fn(Program, *mut usize) -> Code;
/// `nvrtcGetCUBIN` and `nvrtcGetProgramLog`.
type BytesFn = unsafe extern "C" fn(Program, *mut c_char) -> Code;
/// `nvrtcDestroyProgram`.
type DestroyFn = unsafe extern "C" fn(*mut Program) -> Code;

const SUCCESS: Code = 0;

/// The library and its version.
pub struct Nvrtc {
    library: Library,
    /// Major and minor version.
    pub version: (i32, i32),
}

/// A source and the files that it includes, by name.
pub struct CudaSource<'a> {
    /// Name in the compiler's messages.
    pub name: &'a str,
    /// The program.
    pub text: &'a str,
    /// Name and text of each file that the program may include.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Nvrtc {
    /// The first library that can be loaded.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the places that were tried, and the way out.
    pub fn open() -> Result<Self, EngineError> {
        Nvrtc::open_at(&places())
    }

    /// The first library of `places` that can be loaded.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], as [`Nvrtc::open`].
    pub fn open_at(places: &[PathBuf]) -> Result<Self, EngineError> {
        let found = places.iter().find_map(|place| Nvrtc::load(place));

        found.ok_or_else(|| EngineError::Unavailable(missing(places)))
    }

    /// A library that compiles for GPUs of compute capability `sm` (87 for 8.7): an old one that
    /// knows no new GPU may lie before it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], as [`Nvrtc::open`].
    pub fn open_for(sm: u32) -> Result<Self, EngineError> {
        Nvrtc::open_at_for(&places(), sm)
    }

    /// The first library of `places` that compiles for `sm`; where none does the first of all,
    /// whose refusal tells why.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`], as [`Nvrtc::open`].
    pub fn open_at_for(places: &[PathBuf], sm: u32) -> Result<Self, EngineError> {
        // The first library is held back: its refusal names the compute capability that no library
        // here knows.
        let mut first = None;

        for nvrtc in places.iter().filter_map(|place| Nvrtc::load(place)) {
            if nvrtc.knows(sm) {
                return Ok(nvrtc);
            }

            first.get_or_insert(nvrtc);
        }

        first.ok_or_else(|| EngineError::Unavailable(missing(places)))
    }

    fn load(place: &Path) -> Option<Self> {
        // SAFETY: NVRTC's initialisers do nothing but set up the library itself.
        let library = unsafe { Library::new(place) }.ok()?;

        // The version is asked for last: it needs the loaded library, and a library that does not
        // tell it is passed over.
        let mut nvrtc = Nvrtc {
            library,
            version: (0, 0),
        };

        nvrtc.version = nvrtc.asked_version().ok()?;
        Some(nvrtc)
    }

    /// True when the library compiles for `sm`, or does not tell.
    fn knows(&self, sm: u32) -> bool {
        match self.architectures() {
            Some(known) => known.contains(&(sm as c_int)),
            None => true,
        }
    }

    /// The compute capabilities that the library compiles for; `None` when it does not tell.
    fn architectures(&self) -> Option<Vec<c_int>> {
        // Both functions came with CUDA 11.2. A library without them is believed to know the
        // device, and its compilation tells otherwise.
        let count = self
            .function::<NumbersFn>(c"nvrtcGetNumSupportedArchs")
            .ok()?;

        let get = self.function::<NumbersFn>(c"nvrtcGetSupportedArchs").ok()?;
        let mut number = 0;

        // SAFETY: a place for a number.
        let code = unsafe { count(&mut number) };
        self.checked(code, "tell how many GPUs it knows").ok()?;

        // The number came from C and may be negative for a library that is not what it says.
        let number = usize::try_from(number).ok()?;
        let mut known: Vec<c_int> = vec![0; number];

        // SAFETY: as many places as the library asked for.
        let code = unsafe { get(known.as_mut_ptr()) };
        self.checked(code, "tell which GPUs it knows").ok()?;

        Some(known)
    }

    fn asked_version(&self) -> Result<(i32, i32), EngineError> {
        let function = self.function::<VersionNumbersFn>(c"nvrtcVersion")?;
        let mut major = 0;
        let mut minor = 0;

        // SAFETY: two places for two numbers.
        let code = unsafe { function(&mut major, &mut minor) };
        self.checked(code, "tell its version")?;

        Ok((major, minor))
    }

    /// Machine code ("CUBIN") of `source`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the compiler's own words.
    pub fn cubin(&self, source: &CudaSource, options: &[String]) -> Result<Vec<u8>, EngineError> {
        // The program is destroyed with `program`, also when the compilation fails.
        let program = Compiling::new(self, source)?;
        program.compile(options)?;
        program.bytes(
            c"nvrtcGetCUBINSize",
            c"nvrtcGetCUBIN",
            "give its machine code",
        )
    }

    fn function<F>(&self, name: &CStr) -> Result<Symbol<'_, F>, EngineError> {
        // SAFETY: each caller's type is the function's in `nvrtc.h` of CUDA 12 and 13.
        let found = unsafe { self.library.get::<F>(name.to_bytes_with_nul()) };
        found.map_err(|error| {
            EngineError::Unavailable(format!(
                "the NVRTC found has no {}, install CUDA 12 or 13's: {error}",
                words(name)
            ))
        })
    }

    fn checked(&self, code: Code, what: &str) -> Result<(), EngineError> {
        // Zero is success in every version.
        if code == SUCCESS {
            return Ok(());
        }

        let meaning = self.meaning(code);
        Err(EngineError::Unavailable(format!(
            "NVRTC cannot {what}: {meaning}"
        )))
    }

    fn meaning(&self, code: Code) -> String {
        // Errors of this function are not told: it is itself part of telling an error.
        let Ok(function) = self.function::<ErrorStringFn>(c"nvrtcGetErrorString") else {
            return format!("code {code}");
        };

        // SAFETY: any number may be asked for.
        let text = unsafe { function(code) };

        if text.is_null() {
            return format!("code {code}");
        }

        // SAFETY: the library's own constant text.
        let text = unsafe { CStr::from_ptr(text) };

        words(text)
    }
}

/// One source on its way through the compiler; destroyed when dropped.
struct Compiling<'n> {
    nvrtc: &'n Nvrtc,
    program: Program,
}

impl<'n> Compiling<'n> {
    fn new(nvrtc: &'n Nvrtc, source: &CudaSource) -> Result<Self, EngineError> {
        let function = nvrtc.function::<CreateFn>(c"nvrtcCreateProgram")?;

        // All texts are copied with a terminating zero and stay alive until the call below ends,
        // because it gets their addresses.
        let text = terminated(source.text);
        let name = terminated(source.name);
        let header_names: Vec<CString> = source
            .headers
            .iter()
            .map(|(name, _)| terminated(name))
            .collect();

        let header_texts: Vec<CString> = source
            .headers
            .iter()
            .map(|(_, text)| terminated(text))
            .collect();

        // The library wants two parallel arrays, names and texts in the same order.
        let name_pointers = pointers(&header_names);
        let text_pointers = pointers(&header_texts);
        let mut program = null_mut();

        // SAFETY: terminated texts, and as many of them as is said; the library copies them.
        let code = unsafe {
            function(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                text_pointers.len() as c_int,
                text_pointers.as_ptr(),
                name_pointers.as_ptr(),
            )
        };

        nvrtc.checked(code, "take our kernels")?;
        Ok(Compiling { nvrtc, program })
    }

    fn compile(&self, options: &[String]) -> Result<(), EngineError> {
        let function = self.nvrtc.function::<CompileFn>(c"nvrtcCompileProgram")?;

        // The copies have to outlive the call, which reads them through `pointers`.
        let terminated: Vec<CString> = options.iter().map(|option| terminated(option)).collect();
        let pointers = pointers(&terminated);
        let count = pointers.len() as c_int;

        // SAFETY: a program that was made and not destroyed; terminated texts, as many as is said.
        let code = unsafe { function(self.program, count, pointers.as_ptr()) };
        self.nvrtc
            .checked(code, "compile our kernels")
            // The log holds the compiler's own messages with line numbers. The version and options
            // stand before it, because most failures are those of an old compiler.
            .map_err(|error| {
                let (major, minor) = self.nvrtc.version;
                let options = options.join(" ");
                let log = self.log();
                EngineError::Unavailable(format!(
                    "{error} (NVRTC {major}.{minor}, {options})\n{log}"
                ))
            })
    }

    /// The compiler's log, or the reason why there is none.
    fn log(&self) -> String {
        let bytes = self.bytes(
            c"nvrtcGetProgramLogSize",
            c"nvrtcGetProgramLog",
            "give its log",
        );

        // A log that cannot be had must not hide the error that it belongs to.
        let log = match &bytes {
            Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Err(error) => error.to_string(),
        };

        log.trim_matches(['\0', '\n', ' ']).to_owned()
    }

    /// Bytes that the library gives in two calls: `size` tells how many, `get` writes them.
    fn bytes(&self, size: &CStr, get: &CStr, what: &str) -> Result<Vec<u8>, EngineError> {
        // The first call gives the size in bytes, for a log with its terminating zero; the second
        // fills exactly as many.
        let size = self.nvrtc.function::<SizeFn>(size)?;
        let get = self.nvrtc.function::<BytesFn>(get)?;
        let mut count = 0;

        // SAFETY: a program that was made and not destroyed, a place for a number.
        let code = unsafe { size(self.program, &mut count) };
        self.nvrtc.checked(code, what)?;
        let mut bytes = vec![0u8; count];
        let start = bytes.as_mut_ptr().cast();

        // SAFETY: the same program; as many bytes as the library asked for.
        let code = unsafe { get(self.program, start) };
        self.nvrtc.checked(code, what)?;

        Ok(bytes)
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        let Ok(function) = self.nvrtc.function::<DestroyFn>(c"nvrtcDestroyProgram") else {
            return;
        };

        // SAFETY: made once, destroyed once, here. There is nothing to do about a failure.
        let _ = unsafe { function(&mut self.program) };
    }
}

/// The loader's own places first, then those of winspect.
fn places() -> Vec<PathBuf> {
    // Bare names let the loader search its own paths; the full paths below are of libraries that
    // came in winspect's folder.
    let mut places: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).collect();

    for folder in library_folders() {
        let folder = folder.join(FOLDER);

        if folder.is_dir() {
            places.extend(NAMES.map(|name| folder.join(name)));
        }
    }

    places
}

fn missing(places: &[PathBuf]) -> String {
    let tried: Vec<String> = places
        .iter()
        .map(|place: &PathBuf| Path::display(place).to_string())
        .collect();

    format!(
        "NVIDIA's run-time compiler cannot be loaded (looked for {}); it is libnvrtc of CUDA 12 or 13, in JetPack and the CUDA toolkit, Debian's libnvrtc12, or PyPI's nvidia-cuda-nvrtc unpacked into engines/lib/{FOLDER}",
        tried.join(", ")
    )
}

fn terminated(text: &str) -> CString {
    CString::new(text).expect("our sources and options hold no zero")
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

fn words(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}
