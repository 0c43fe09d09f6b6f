//! From an ONNX file to a plan: builder, network, parser, configuration, profiles, timing cache.

use super::owned::Owned;
use super::{Dims, Loaded, Logger, Memory, Monitor, Object, c_string, call, call_own};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

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
    pub input: &'a str,
    pub dims: [Vec<usize>; 3],
}

/// For which GPUs TensorRT-RTX builds.
pub struct Capabilities<'a> {
    pub slots: &'a RtxSlots,
    /// Compute capabilities without the dot: 86, 120.
    pub list: &'a [u32],
}

impl<'a> Builder<'a> {
    /// `strongly_typed` is the flag that asks for it; newer libraries know nothing else.
    ///
    /// # Errors
    /// What the library said.
    pub fn new(
        library: &Loaded,
        version: u32,
        slots: &'a Vtable,
        logger: &'static Logger,
        strongly_typed: u32,
    ) -> Result<Self, String> {
        let builder = Owned(library.make("createInferBuilder_INTERNAL", logger, version)?);
        let network = call!(builder.0, slots.builder_network, (u32) -> *mut c_void, strongly_typed);
        let network = Owned::new(network).ok_or_else(|| logger.words())?;
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
        call!(self.config.0, self.slots.config_set_flag, (c_int) -> (), flag);
    }

    /// Takes an option back that is set from the start: TF32 products.
    pub fn clear_flag(&self, flag: i32) {
        call!(self.config.0, self.slots.config_clear_flag, (c_int) -> (), flag);
    }

    /// # Errors
    /// The first that the library refuses, in words.
    pub fn target(&self, capabilities: &Capabilities) -> Result<(), String> {
        let (slots, list) = (capabilities.slots, capabilities.list);
        self.logger.clear();
        if !call!(self.config.0, slots.config_capabilities, (c_int) -> bool, list.len() as c_int) {
            return Err(format!(
                "cannot build for {} GPUs at once: {}",
                list.len(),
                self.logger.words()
            ));
        }
        for (place, sm) in list.iter().enumerate() {
            if !call!(self.config.0, slots.config_capability, (c_int, c_int) -> bool, *sm as c_int, place as c_int)
            {
                return Err(format!("cannot build for sm_{sm}: {}", self.logger.words()));
            }
        }
        Ok(())
    }

    /// Adds one profile: the shapes of all inputs that may vary.
    ///
    /// # Errors
    /// What the library said.
    pub fn add_profile(&self, inputs: &[Shapes]) -> Result<(), String> {
        self.logger.clear();
        // Profiles are the builder's: it frees them.
        let profile = call!(self.builder.0, self.slots.builder_profile, () -> *mut c_void);
        let profile = Object::new(profile).ok_or_else(|| self.logger.words())?;
        for Shapes { input, dims } in inputs {
            let name = c_string(input);
            for (which, dims) in dims.iter().enumerate() {
                let dims = Dims::new(dims);
                let slot = self.slots.profile_set_dims;
                let set = call!(profile, slot, (*const c_char, c_int, *const Dims) -> bool, name.as_ptr(), which as c_int, &dims);
                if !set {
                    return Err(format!("the shape of {input}: {}", self.logger.words()));
                }
            }
        }
        let place = call!(self.config.0, self.slots.config_add_profile, (*mut c_void) -> c_int, profile.0.as_ptr());
        (place >= 0)
            .then_some(())
            .ok_or_else(|| self.logger.words())
    }

    /// Reads the graph of an ONNX file and builds it. The timing cache goes in as it was written, empty for none, and
    /// comes back beside the plan where the library keeps one.
    ///
    /// # Errors
    /// What the parser or the library said.
    pub fn build(
        &self,
        parser: &Loaded,
        onnx: &Path,
        cache: &[u8],
        monitor: &Monitor,
    ) -> Result<(Memory<'a>, Option<Memory<'a>>), String> {
        // It holds what the network's weights point to: until the plan is there.
        let _parser = self.parse(parser, onnx)?;
        let cache = self.cache(cache);
        call!(self.config.0, self.slots.config_set_monitor, (*mut c_void) -> (), monitor.address());
        self.logger.clear();
        let (network, config) = (self.network.address(), self.config.address());
        let plan = call!(self.builder.0, self.slots.builder_build, (*mut c_void, *mut c_void) -> *mut c_void, network, config);
        call!(self.config.0, self.slots.config_set_monitor, (*mut c_void) -> (), std::ptr::null_mut());
        let plan = self.memory(plan).ok_or_else(|| self.logger.words())?;
        let cache = cache.and_then(|cache| {
            self.memory(call!(cache.0, self.slots.cache_serialize, () -> *mut c_void))
        });
        Ok((plan, cache))
    }

    fn parse(&self, library: &Loaded, onnx: &Path) -> Result<Parser<'a>, String> {
        let parser = Parser {
            object: library.parser(self.network.0, self.logger)?,
            slots: self.slots,
        };
        let file = c_string(&onnx.to_string_lossy());
        /// `ILogger::Severity::kERROR`.
        const VERBOSITY: c_int = 1;
        self.logger.clear();
        let slot = self.slots.parser_parse;
        match call_own!(parser.object, slot, (*const c_char, c_int) -> bool, file.as_ptr(), VERBOSITY)
        {
            true => Ok(parser),
            false => Err(parser.words().unwrap_or_else(|| self.logger.words())),
        }
    }

    /// A library without one builds without one.
    fn cache(&self, bytes: &[u8]) -> Option<Owned> {
        let slot = self.slots.config_create_cache;
        let make = |bytes: &[u8]| {
            let made = call!(self.config.0, slot, (*const u8, usize) -> *mut c_void, bytes.as_ptr(), bytes.len());
            Owned::new(made)
        };
        // What cannot be read is not needed either: it only saves time.
        let cache = make(bytes).or_else(|| make(&[]))?;
        let address = cache.address();
        let set = call!(self.config.0, self.slots.config_set_cache, (*mut c_void, bool) -> bool, address, false);
        set.then_some(cache)
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
    /// Its errors, each with the node that it is about.
    fn words(&self) -> Option<String> {
        let count = call_own!(self.object, self.slots.parser_errors, () -> c_int);
        let errors: Vec<String> = (0..count).filter_map(|place| self.error(place)).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn error(&self, place: c_int) -> Option<String> {
        let error = Object::new(
            call_own!(self.object, self.slots.parser_error, (c_int) -> *mut c_void, place),
        )?;
        let words = text(call_own!(error, self.slots.parser_error_words, () -> *const c_char))?;
        let node = text(call_own!(error, self.slots.parser_error_node, () -> *const c_char));
        Some(
            node.filter(|node| !node.is_empty())
                .map_or(words.clone(), |node| format!("{node}: {words}")),
        )
    }
}

fn text(words: *const c_char) -> Option<String> {
    // SAFETY: the library's strings end with a zero and live as long as what they are about.
    (!words.is_null()).then(|| {
        unsafe { CStr::from_ptr(words) }
            .to_string_lossy()
            .into_owned()
    })
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        // SAFETY: this is its owner; the network that it filled is freed later.
        unsafe { self.object.free(self.slots.parser_destroy) }
    }
}
