//! Loading the library and making the objects that everything else is made from.

use super::{Logger, Object};
use crate::base::exit::chain;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{OsStr, c_int, c_void};
use std::mem::ManuallyDrop;

/// `getInferLibVersion`.
type LibVersionFn = unsafe extern "C" fn() -> c_int;
/// `createInferBuilder_INTERNAL` and `createInferRuntime_INTERNAL`: logger, version.
type MakeFn = unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void;
/// `createNvOnnxParser_INTERNAL`: network, logger, version.
type MakeParserFn = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> *mut c_void;

/// `NV_ONNX_PARSER_VERSION` of TensorRT 10: 0.1.0. No version refuses it.
const PARSER_VERSION: c_int = 100;
const MAKE_PARSER: &str = "createNvOnnxParser_INTERNAL";

/// A library that stays: threads and destructors of its own may outlive every object.
#[derive(Debug)]
pub struct Loaded(ManuallyDrop<Library>);

impl Loaded {
    /// Loads a file, or the library that the loader finds under a name.
    ///
    /// # Errors
    /// The loader's words.
    pub fn open(name: &OsStr) -> Result<Self, String> {
        // Symbols are resolved now, so that a library that lacks a dependency is refused here. They
        // stay local, because two versions may be loaded.
        let flags = RTLD_NOW | RTLD_LOCAL;

        // SAFETY: initialisers of NVIDIA's libraries run; another library in their place could only
        // be put there by someone who can run code of their own anyway.
        let library = unsafe { Library::open(Some(name), flags) };

        // The whole chain of the loader's errors is kept: its first link alone says little.
        match library {
            Ok(library) => Ok(Loaded(ManuallyDrop::new(library))),
            Err(error) => Err(chain(&error)),
        }
    }

    /// The number of `getInferLibVersion`: 100300 for 10.3.0, 8601 for 8.6.1.
    ///
    /// # Errors
    /// The loader's words when there is no such function.
    pub fn version(&self) -> Result<u32, String> {
        // SAFETY: every TensorRT has it with this signature.
        let function = unsafe { self.0.get::<LibVersionFn>(b"getInferLibVersion\0") };
        let function = function.map_err(|error| chain(&error))?;

        // SAFETY: it takes nothing and has no conditions.
        let version = unsafe { function() };

        // A negative number is no version.
        u32::try_from(version).map_err(|_| format!("getInferLibVersion says {version}"))
    }

    /// The object that `createInferBuilder_INTERNAL` or `createInferRuntime_INTERNAL` makes.
    pub(super) fn make(
        &self,
        function: &str,
        logger: &'static Logger,
        version: u32,
    ) -> Result<Object, String> {
        // SAFETY: both have this signature in all versions that `library.rs` lets through.
        let make = unsafe { self.0.get::<MakeFn>(function) };

        // The error names the function that the library lacks.
        let make = make.map_err(|error| chain(&error))?;
        logger.clear();

        // SAFETY: the logger is of the kind that this version knows and lives for ever.
        let made = unsafe { make(logger.address(), version as c_int) };

        // The version is checked by the library against its own: a mismatch is a null pointer and a
        // message.
        Object::new(made).ok_or_else(|| format!("{function}: {}", logger.words()))
    }

    /// A parser that fills `network`; this is the parser library.
    pub(super) fn parser(
        &self,
        network: Object,
        logger: &'static Logger,
    ) -> Result<Object, String> {
        // SAFETY: it has this signature in all versions that `library.rs` lets through.
        let make = unsafe { self.0.get::<MakeParserFn>(MAKE_PARSER) };
        let make = make.map_err(|error| chain(&error))?;

        // The network is only borrowed by the parser, and outlives it.
        let network = network.0.as_ptr();
        logger.clear();

        // SAFETY: the network is alive, the logger lives for ever.
        let made = unsafe { make(network, logger.address(), PARSER_VERSION) };

        Object::new(made).ok_or_else(|| format!("{MAKE_PARSER}: {}", logger.words()))
    }
}
