//! NVIDIA's run-time compiler, loaded when it is needed: CUDA C++ in, machine code for one kind of GPU out.
//!
//! A binding of our own for eleven functions, because cudarc's looks for the libraries of CUDA 12 and older only, panics
//! when there is none, and gives PTX, which a driver older than the compiler refuses.

use crate::engine::EngineError;
use crate::engine::library_path::library_folders;
use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

/// What the library is called by itself and in the packages of the CUDA versions that we know.
const NAMES: [&str; 3] = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"];

/// Where in a folder of libraries one that came with winspect lies.
const FOLDER: &str = "nvrtc";

/// `nvrtcProgram`: a pointer to what only the library knows.
type Program = *mut std::ffi::c_void;
type Code = c_int;

const SUCCESS: Code = 0;

/// The library and its version.
pub struct Nvrtc {
    library: Library,
    pub version: (i32, i32),
}

/// A source and the files that it includes, by name.
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
}

impl Nvrtc {
    /// # Errors
    /// [`EngineError::Unavailable`] with what was looked for, and what mends it.
    pub fn open() -> Result<Self, EngineError> {
        Nvrtc::open_at(&places())
    }

    /// The first library of `places` that can be loaded.
    ///
    /// # Errors
    /// As [`Nvrtc::open`].
    pub fn open_at(places: &[PathBuf]) -> Result<Self, EngineError> {
        let found = places.iter().find_map(|place| Nvrtc::load(place));
        found.ok_or_else(|| EngineError::Unavailable(missing(places)))
    }

    /// One that compiles for GPUs of compute capability `sm` (87 for 8.7): an old one may lie before it that knows no new GPU.
    ///
    /// # Errors
    /// As [`Nvrtc::open`].
    pub fn open_for(sm: u32) -> Result<Self, EngineError> {
        Nvrtc::open_at_for(&places(), sm)
    }

    /// The first library of `places` that compiles for `sm`; where none does the first of all, whose refusal tells why.
    ///
    /// # Errors
    /// As [`Nvrtc::open`].
    pub fn open_at_for(places: &[PathBuf], sm: u32) -> Result<Self, EngineError> {
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
        let mut nvrtc = Nvrtc {
            library,
            version: (0, 0),
        };
        nvrtc.version = nvrtc.asked_version().ok()?;
        Some(nvrtc)
    }

    /// Also one that does not tell may compile for it.
    fn knows(&self, sm: u32) -> bool {
        self.architectures()
            .is_none_or(|known| known.contains(&(sm as c_int)))
    }

    /// The compute capabilities that it compiles for.
    fn architectures(&self) -> Option<Vec<c_int>> {
        type Get = unsafe extern "C" fn(*mut c_int) -> Code;
        let (count, get) = (
            self.function::<Get>(c"nvrtcGetNumSupportedArchs"),
            self.function::<Get>(c"nvrtcGetSupportedArchs"),
        );
        let (count, get, mut number) = (count.ok()?, get.ok()?, 0);
        // SAFETY: a place for a number.
        let code = unsafe { count(&mut number) };
        self.checked(code, "tell how many GPUs it knows").ok()?;
        let mut known: Vec<c_int> = vec![0; usize::try_from(number).ok()?];
        // SAFETY: as many places as it asked for.
        let code = unsafe { get(known.as_mut_ptr()) };
        self.checked(code, "tell which GPUs it knows").ok()?;
        Some(known)
    }

    fn asked_version(&self) -> Result<(i32, i32), EngineError> {
        type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code;
        let function = self.function::<Version>(c"nvrtcVersion")?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two places for two numbers.
        let code = unsafe { function(&mut major, &mut minor) };
        self.checked(code, "tell its version")?;
        Ok((major, minor))
    }

    /// Machine code ("CUBIN") of `source`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the compiler's own words.
    pub fn cubin(&self, source: &Source, options: &[String]) -> Result<Vec<u8>, EngineError> {
        let program = Compiling::new(self, source)?;
        program.compile(options)?;
        program.bytes(
            (c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN"),
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
        match code {
            SUCCESS => Ok(()),
            code => Err(EngineError::Unavailable(format!(
                "NVRTC cannot {what}: {}",
                self.meaning(code)
            ))),
        }
    }

    fn meaning(&self, code: Code) -> String {
        type ErrorString = unsafe extern "C" fn(Code) -> *const c_char;
        let Ok(function) = self.function::<ErrorString>(c"nvrtcGetErrorString") else {
            return format!("code {code}");
        };
        // SAFETY: any number may be asked for.
        let text = unsafe { function(code) };
        if text.is_null() {
            return format!("code {code}");
        }
        // SAFETY: the library's own constant text.
        words(unsafe { CStr::from_ptr(text) })
    }
}

/// One source on its way through the compiler; destroyed when dropped.
struct Compiling<'n> {
    nvrtc: &'n Nvrtc,
    program: Program,
}

impl<'n> Compiling<'n> {
    fn new(nvrtc: &'n Nvrtc, source: &Source) -> Result<Self, EngineError> {
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> Code;
        let function = nvrtc.function::<Create>(c"nvrtcCreateProgram")?;
        let (text, name) = (terminated(source.text), terminated(source.name));
        let names: Vec<CString> = source
            .headers
            .iter()
            .map(|(name, _)| terminated(name))
            .collect();
        let texts: Vec<CString> = source
            .headers
            .iter()
            .map(|(_, text)| terminated(text))
            .collect();
        let (names, texts) = (pointers(&names), pointers(&texts));
        let mut program = null_mut();
        let (count, texts, names) = (texts.len() as c_int, texts.as_ptr(), names.as_ptr());
        // SAFETY: terminated texts, and as many of them as `count` says; the library copies them.
        let code = unsafe {
            function(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                count,
                texts,
                names,
            )
        };
        nvrtc.checked(code, "take our kernels")?;
        Ok(Compiling { nvrtc, program })
    }

    fn compile(&self, options: &[String]) -> Result<(), EngineError> {
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code;
        let function = self.nvrtc.function::<Compile>(c"nvrtcCompileProgram")?;
        let terminated: Vec<CString> = options.iter().map(|option| terminated(option)).collect();
        let pointers = pointers(&terminated);
        // SAFETY: a program that was made and not destroyed; terminated texts, as many as is said.
        let code = unsafe { function(self.program, pointers.len() as c_int, pointers.as_ptr()) };
        self.nvrtc
            .checked(code, "compile our kernels")
            .map_err(|error| {
                let (major, minor) = self.nvrtc.version;
                let log = self.bytes(
                    (c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog"),
                    "give its log",
                );
                let log = log.map_or_else(
                    |error| error.to_string(),
                    |log| String::from_utf8_lossy(&log).into_owned(),
                );
                let (options, log) = (
                    options.join(" "),
                    log.trim_matches(['\0', '\n', ' ']).to_owned(),
                );
                EngineError::Unavailable(format!(
                    "{error} (NVRTC {major}.{minor}, {options})\n{log}"
                ))
            })
    }

    /// What the library gives in two calls: its size, then itself.
    fn bytes(&self, (size_of, get): (&CStr, &CStr), what: &str) -> Result<Vec<u8>, EngineError> {
        type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> Code;
        type Get = unsafe extern "C" fn(Program, *mut c_char) -> Code;
        let (size_of, get) = (
            self.nvrtc.function::<SizeOf>(size_of)?,
            self.nvrtc.function::<Get>(get)?,
        );
        let mut size = 0;
        // SAFETY: a program that was made and not destroyed, a place for a number.
        let code = unsafe { size_of(self.program, &mut size) };
        self.nvrtc.checked(code, what)?;
        let mut bytes = vec![0u8; size];
        // SAFETY: the same program; as many bytes as it asked for.
        let code = unsafe { get(self.program, bytes.as_mut_ptr().cast()) };
        self.nvrtc.checked(code, what)?;
        Ok(bytes)
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        type Destroy = unsafe extern "C" fn(*mut Program) -> Code;
        if let Ok(function) = self.nvrtc.function::<Destroy>(c"nvrtcDestroyProgram") {
            // SAFETY: made once, destroyed once, here. There is nothing to do about a failure.
            let _ = unsafe { function(&mut self.program) };
        }
    }
}

/// The loader's own places first, then those of winspect.
fn places() -> Vec<PathBuf> {
    let folders = library_folders()
        .into_iter()
        .map(|folder| folder.join(FOLDER))
        .filter(|folder| folder.is_dir());
    let ours = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    NAMES.iter().map(PathBuf::from).chain(ours).collect()
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
