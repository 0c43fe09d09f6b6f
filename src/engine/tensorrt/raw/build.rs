//! The way from an ONNX file to a plan: builder, network, parser, configuration, profiles, timing
//! cache.

use super::owned::Owned;
use super::{Dims, Loaded, Logger, Memory, Monitor, Object, c_string, call, call_own};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

/// `ILogger::Severity::kERROR`.
const VERBOSITY: c_int = 1;

/// Builds one plan. Its parts are freed in the order of the fields, the builder last.
pub struct Builder<'a> {
    config: Owned,
    network: Owned,
    builder: Owned,
    slots: &'a Vtable,
    logger: &'static Logger,
}

/// Smallest, best and largest dims of an input.
pub struct Shapes<'a> {
    /// Name of the input.
    pub input: &'a str,
    /// Smallest, best and largest dims.
    pub dims: [Vec<usize>; 3],
}

/// The GPUs that TensorRT-RTX builds for.
pub struct Capabilities<'a> {
    /// Slots of TensorRT-RTX.
    pub slots: &'a RtxSlots,
    /// Compute capabilities without the dot: 86, 120.
    pub list: &'a [u32],
}

impl<'a> Builder<'a> {
    /// A builder with an empty network. `strongly_typed` is the flag that asks for it; newer
    /// libraries know nothing else.
    ///
    /// # Errors
    /// The library's words.
    pub fn new(
        library: &Loaded,
        version: u32,
        slots: &'a Vtable,
        logger: &'static Logger,
        strongly_typed: u32,
    ) -> Result<Self, String> {
        // Each object is owned as soon as it is made, so that a failure below frees those above.
        let builder = library.make("createInferBuilder_INTERNAL", logger, version)?;
        let builder = Owned(builder);
        let network = call!(builder.0, slots.builder_network, (u32) -> *mut c_void, strongly_typed);
        let network = Owned::new(network).ok_or_else(|| logger.words())?;

        // The configuration belongs to the builder and is freed before it, as the order of the
        // fields says.
        let config = call!(builder.0, slots.builder_config, () -> *mut c_void);
        let config = Owned::new(config).ok_or_else(|| logger.words())?;
        Ok(Builder {
            config,
            network,
            builder,
            slots,
            logger,
        })
    }

    /// Asks for an option that is not set from the start.
    pub fn set_flag(&self, flag: i32) {
        let slot = self.slots.config_set_flag;
        call!(self.config.0, slot, (c_int) -> (), flag);
    }

    /// Takes an option back that is set from the start: TF32 products.
    pub fn clear_flag(&self, flag: i32) {
        let slot = self.slots.config_clear_flag;
        call!(self.config.0, slot, (c_int) -> (), flag);
    }

    /// Asks for the GPUs to build for.
    ///
    /// # Errors
    /// The first GPU that the library refuses, in words.
    pub fn target(&self, capabilities: &Capabilities) -> Result<(), String> {
        // Errors of earlier calls would otherwise be told as the reason of this one.
        self.logger.clear();

        // The number of kinds is set before any of them.
        let count = capabilities.list.len();
        let slot = capabilities.slots.config_capabilities;

        if !call!(self.config.0, slot, (c_int) -> bool, count as c_int) {
            let words = self.logger.words();
            return Err(format!("cannot build for {count} GPUs at once: {words}"));
        }

        let slot = capabilities.slots.config_capability;

        // Each capability has an index of its own, and a number such as 86.
        for (index, sm) in capabilities.list.iter().enumerate() {
            let index = index as c_int;

            if !call!(self.config.0, slot, (c_int, c_int) -> bool, *sm as c_int, index) {
                let words = self.logger.words();
                return Err(format!("cannot build for sm_{sm}: {words}"));
            }
        }

        Ok(())
    }

    /// Adds one profile: the shapes of all inputs that may vary.
    ///
    /// # Errors
    /// The library's words.
    pub fn add_profile(&self, inputs: &[Shapes]) -> Result<(), String> {
        self.logger.clear();

        // Profiles are the builder's: it frees them.
        let profile = call!(self.builder.0, self.slots.builder_profile, () -> *mut c_void);

        // A null pointer stands for a failure, which only the logger can explain.
        let profile = Object::new(profile).ok_or_else(|| self.logger.words())?;

        for shapes in inputs {
            self.set_shapes(profile, shapes)?;
        }

        // The index of the profile is of no use: profiles are found by their shapes later. A
        // negative one is a failure.
        let slot = self.slots.config_add_profile;
        let address = profile.0.as_ptr();
        let index = call!(self.config.0, slot, (*mut c_void) -> c_int, address);

        if index < 0 {
            return Err(self.logger.words());
        }

        Ok(())
    }

    fn set_shapes(&self, profile: Object, shapes: &Shapes) -> Result<(), String> {
        // The library numbers the three shapes: smallest, best, largest.
        let slot = self.slots.profile_set_dims;
        let input = shapes.input;
        let name = c_string(input);

        for (which, dims) in shapes.dims.iter().enumerate() {
            let dims = Dims::new(dims);
            let set = call!(
                profile,
                slot,
                (*const c_char, c_int, *const Dims) -> bool,
                name.as_ptr(),
                which as c_int,
                &dims
            );

            // The message names the input, because the library's words may not.
            if !set {
                let words = self.logger.words();
                return Err(format!("the shape of {input}: {words}"));
            }
        }

        Ok(())
    }

    /// Reads the graph of an ONNX file and builds it. The timing cache goes in as it was written,
    /// empty for none, and comes back beside the plan where the library keeps one.
    ///
    /// # Errors
    /// The words of the parser or the library.
    pub fn build(
        &self,
        parser: &Loaded,
        onnx: &Path,
        cache: &[u8],
        monitor: &Monitor,
    ) -> Result<(Memory<'a>, Option<Memory<'a>>), String> {
        // The network's weights point into the parser, which lives until the plan is there.
        let _parser = self.parse(parser, onnx)?;

        // The cache and the monitor are set on the configuration, which only borrows them.
        let cache = self.cache(cache);
        self.set_monitor(monitor.address());
        self.logger.clear();

        // The monitor is taken back before anything returns: its address is valid during the build
        // alone.
        let plan = self.serialized();
        self.set_monitor(std::ptr::null_mut());
        let plan = self.memory(plan).ok_or_else(|| self.logger.words())?;

        // A library without a cache measures everything in each build.
        let Some(cache) = cache else {
            return Ok((plan, None));
        };

        let cache = call!(cache.0, self.slots.cache_serialize, () -> *mut c_void);
        Ok((plan, self.memory(cache)))
    }

    /// Builds the network.
    fn serialized(&self) -> *mut c_void {
        let network = self.network.address();
        let config = self.config.address();
        call!(
            self.builder.0,
            self.slots.builder_build,
            (*mut c_void, *mut c_void) -> *mut c_void,
            network,
            config
        )
    }

    fn set_monitor(&self, monitor: *mut c_void) {
        let slot = self.slots.config_set_monitor;
        call!(self.config.0, slot, (*mut c_void) -> (), monitor);
    }

    fn parse(&self, library: &Loaded, onnx: &Path) -> Result<Parser<'a>, String> {
        // The parser is owned from here on, also when it fails below.
        let parser = Parser {
            object: library.parser(self.network.0, self.logger)?,
            slots: self.slots,
        };

        // The path names the graph; the parser looks for the weights in the same folder.
        let file = c_string(&onnx.to_string_lossy());
        self.logger.clear();
        let parsed = call_own!(
            parser.object,
            self.slots.parser_parse,
            (*const c_char, c_int) -> bool,
            file.as_ptr(),
            VERBOSITY
        );

        // The parser's own errors name the node; the logger's are the second choice.
        if !parsed {
            let words = parser.words();
            return Err(words.unwrap_or_else(|| self.logger.words()));
        }

        Ok(parser)
    }

    /// The timing cache, set for the build; `None` for a library without one.
    fn cache(&self, bytes: &[u8]) -> Option<Owned> {
        // A cache that cannot be read is not needed either: it only saves time.
        // Old measurements are ignored by a new version of the library, and refused by some: an
        // empty cache then takes their place.
        let cache = self.new_cache(bytes).or_else(|| self.new_cache(&[]))?;
        let slot = self.slots.config_set_cache;
        let address = cache.address();

        // `false` asks the library to refuse measurements of another GPU.
        let set = call!(self.config.0, slot, (*mut c_void, bool) -> bool, address, false);

        set.then_some(cache)
    }

    fn new_cache(&self, bytes: &[u8]) -> Option<Owned> {
        let made = call!(
            self.config.0,
            self.slots.config_create_cache,
            (*const u8, usize) -> *mut c_void,
            bytes.as_ptr(),
            bytes.len()
        );

        Owned::new(made)
    }

    fn memory(&self, address: *mut c_void) -> Option<Memory<'a>> {
        Memory::new(address, self.slots)
    }
}

struct Parser<'a> {
    object: Object,
    slots: &'a Vtable,
}

impl Parser<'_> {
    /// All errors, each with the node that it is about; `None` without errors.
    fn words(&self) -> Option<String> {
        // The parser numbers its errors from 0.
        let count = call_own!(self.object, self.slots.parser_errors, () -> c_int);
        let errors: Vec<String> = (0..count).filter_map(|index| self.error(index)).collect();

        if errors.is_empty() {
            return None;
        }

        Some(errors.join("; "))
    }

    fn error(&self, index: c_int) -> Option<String> {
        let slot = self.slots.parser_error;
        let error = call_own!(self.object, slot, (c_int) -> *mut c_void, index);
        let error = Object::new(error)?;

        // An error without words tells nothing and is left out.
        let words = call_own!(error, self.slots.parser_error_words, () -> *const c_char);
        let words = text(words)?;

        // The node is the place in the graph, where there is one.
        let node = call_own!(error, self.slots.parser_error_node, () -> *const c_char);

        match text(node) {
            Some(node) if !node.is_empty() => Some(format!("{node}: {words}")),
            _ => Some(words),
        }
    }
}

/// A string of the library; `None` for a null pointer.
fn text(words: *const c_char) -> Option<String> {
    if words.is_null() {
        return None;
    }

    // SAFETY: the library's strings end with a zero and live as long as the object that they are
    // about.
    let words = unsafe { CStr::from_ptr(words) };

    Some(words.to_string_lossy().into_owned())
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        // SAFETY: this is its owner; the network that it filled is freed later.
        unsafe { self.object.free(self.slots.parser_destroy) }
    }
}
