//! Loading the library and making the objects that everything else is made from.

use super::{Logger, Object};
use crate::base::exit::chain;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{OsStr, c_int, c_void};
use std::mem::ManuallyDrop;

/// A library that stays: threads and destructors of its own may outlive every object.
#[derive(Debug)]
pub struct Loaded(ManuallyDrop<Library>);

impl Loaded {
    /// Loads a file, or what the loader finds under a name.
    ///
    /// # Errors
    /// The loader's words.
    pub fn open(name: &OsStr) -> Result<Self, String> {
        // SAFETY: initialisers of NVIDIA's libraries run; whoever can put another library there runs code of theirs
        // anyway.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        library
            .map(|library| Loaded(ManuallyDrop::new(library)))
            .map_err(|error| chain(&error))
    }

    /// What `getInferLibVersion` says: 100300 for 10.3.0, 8601 for 8.6.1.
    ///
    /// # Errors
    /// The loader's words when there is no such function.
    pub fn version(&self) -> Result<u32, String> {
        // SAFETY: every TensorRT has it with this signature.
        let function = unsafe {
            self.0
                .get::<unsafe extern "C" fn() -> c_int>(b"getInferLibVersion\0")
        };
        let function = function.map_err(|error| chain(&error))?;
        // SAFETY: it takes nothing and has no conditions.
        let version = unsafe { function() };
        u32::try_from(version).map_err(|_| format!("getInferLibVersion says {version}"))
    }

    /// What `createInferBuilder_INTERNAL` or `createInferRuntime_INTERNAL` makes.
    pub(super) fn make(
        &self,
        function: &str,
        logger: &'static Logger,
        version: u32,
    ) -> Result<Object, String> {
        // SAFETY: both have this signature in all versions that `library.rs` lets through.
        let make = unsafe {
            self.0
                .get::<unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void>(function)
        };
        let make = make.map_err(|error| chain(&error))?;
        logger.clear();
        // SAFETY: the logger is of the kind that this version knows and lives for ever.
        let made = unsafe { make(logger.address(), version as c_int) };
        Object::new(made).ok_or_else(|| format!("{function}: {}", logger.words()))
    }

    /// A parser that fills `network`; this is the parser library.
    pub(super) fn parser(
        &self,
        network: Object,
        logger: &'static Logger,
    ) -> Result<Object, String> {
        /// `NV_ONNX_PARSER_VERSION` of TensorRT 10: 0.1.0. No version refuses it.
        const VERSION: c_int = 100;
        const FUNCTION: &str = "createNvOnnxParser_INTERNAL";
        type Make = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> *mut c_void;
        // SAFETY: it has this signature in all versions that `library.rs` lets through.
        let make = unsafe { self.0.get::<Make>(FUNCTION) }.map_err(|error| chain(&error))?;
        logger.clear();
        // SAFETY: the network is alive, the logger lives for ever.
        let made = unsafe { make(network.0.as_ptr(), logger.address(), VERSION) };
        Object::new(made).ok_or_else(|| format!("{FUNCTION}: {}", logger.words()))
    }
}
