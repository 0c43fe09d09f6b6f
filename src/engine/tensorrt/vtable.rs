//! Places of TensorRT's virtual functions in their tables: the binding needs neither headers nor a
//! C++ compiler, because a C++ call of a virtual function is a call through a table, and its place
//! there follows from the headers alone.
//!
//! ```text
//! IBuilder*  -> { vtable, implementation* }    the class of the headers; never called
//!                          |
//! VBuilder*  -> { vtable, ... }                the library's own object
//!                  |
//!                  [0] destroy   [1] destroy and free   [2] ...
//!                  [slot] the method, with VBuilder* as its first argument
//! ```
//! This is the Itanium C++ ABI, which x86-64 and aarch64 Linux have. The ONNX parser and our own
//! objects (logger, progress monitor) are plain interfaces: the object's own table is used.
//!
//! Tables only grow at their end within 10.x, and within 11.x; 11.0 dropped what 10 had deprecated,
//! so there are two. TensorRT-RTX 1.5 and newer have the table of 11 and functions of their own
//! behind it; 1.3 and 1.4 are a third kind, which is refused. `tools/gpu/check_trt_slots.py`
//! compares all of it with headers; it was done for 10.1 to 10.16, 11.0, 11.1, 11.4 and RTX 1.5 to
//! 1.7.

/// The slots of one kind of library. Each says which function it is; the check reads that.
#[derive(Debug, Clone, Copy)]
pub struct Vtable {
    /// `VRuntime::deserializeCudaEngine`
    pub runtime_deserialize: usize,
    /// `VCudaEngine::createExecutionContext`
    pub engine_create_context: usize,
    /// `VCudaEngine::getNbIOTensors`
    pub engine_tensors: usize,
    /// `VCudaEngine::getIOTensorName`
    pub engine_tensor_name: usize,
    /// `VCudaEngine::getTensorShape`
    pub engine_tensor_shape: usize,
    /// `VCudaEngine::getTensorDataType`
    pub engine_tensor_type: usize,
    /// `VCudaEngine::getTensorIOMode`
    pub engine_tensor_mode: usize,
    /// `VCudaEngine::getNbOptimizationProfiles`
    pub engine_profiles: usize,
    /// `VCudaEngine::getProfileShape`
    pub engine_profile_shape: usize,
    /// `VCudaEngine::getDeviceMemorySizeForProfileV2`
    pub engine_scratch: usize,
    /// `VExecutionContext::setOptimizationProfileAsync`
    pub context_set_profile: usize,
    /// `VExecutionContext::setInputShape`
    pub context_set_shape: usize,
    /// `VExecutionContext::getTensorShape`
    pub context_tensor_shape: usize,
    /// `VExecutionContext::setTensorAddress`
    pub context_set_address: usize,
    /// `VExecutionContext::setDeviceMemoryV2`
    pub context_set_scratch: usize,
    /// `VExecutionContext::enqueueV3`
    pub context_enqueue: usize,
    /// `VBuilder::createBuilderConfig`
    pub builder_config: usize,
    /// `VBuilder::createNetworkV2`
    pub builder_network: usize,
    /// `VBuilder::createOptimizationProfile`
    pub builder_profile: usize,
    /// `VBuilder::buildSerializedNetwork`
    pub builder_build: usize,
    /// `VBuilderConfig::setFlag`
    pub config_set_flag: usize,
    /// `VBuilderConfig::clearFlag`
    pub config_clear_flag: usize,
    /// `VBuilderConfig::addOptimizationProfile`
    pub config_add_profile: usize,
    /// `VBuilderConfig::createTimingCache`
    pub config_create_cache: usize,
    /// `VBuilderConfig::setTimingCache`
    pub config_set_cache: usize,
    /// `VBuilderConfig::setProgressMonitor`
    pub config_set_monitor: usize,
    /// `VOptimizationProfile::setDimensions`
    pub profile_set_dims: usize,
    /// `VTimingCache::serialize`
    pub cache_serialize: usize,
    /// `VHostMemory::data`
    pub memory_data: usize,
    /// `VHostMemory::size`
    pub memory_size: usize,
    /// `IParser::parseFromFile`
    pub parser_parse: usize,
    /// `IParser::getNbErrors`
    pub parser_errors: usize,
    /// `IParser::getError`
    pub parser_error: usize,
    /// `IParser::~IParser`
    pub parser_destroy: usize,
    /// `IParserError::desc`
    pub parser_error_words: usize,
    /// `IParserError::nodeName`
    pub parser_error_node: usize,
    /// `ILogger::log`
    pub logger_log: usize,
}

/// The slots that only TensorRT-RTX has.
#[derive(Debug, Clone, Copy)]
pub struct RtxSlots {
    /// `VCudaEngine::createExecutionContextWithRuntimeConfig`
    pub engine_create_context: usize,
    /// `VCudaEngine::createRuntimeConfig`
    pub engine_create_jit: usize,
    /// `VRuntimeConfig::setExecutionContextAllocationStrategy`
    pub jit_allocation: usize,
    /// `VRuntimeConfig::createRuntimeCache`
    pub jit_create_cache: usize,
    /// `VRuntimeConfig::setRuntimeCache`
    pub jit_set_cache: usize,
    /// `VRuntimeConfig::setDynamicShapesKernelSpecializationStrategy`
    pub jit_strategy: usize,
    /// `VRuntimeCache::serialize`
    pub jit_cache_serialize: usize,
    /// `VRuntimeCache::deserialize`
    pub jit_cache_deserialize: usize,
    /// `VExecutionContext::isStreamCapturable`
    pub context_capturable: usize,
    /// `VBuilderConfig::setNbComputeCapabilities`
    pub config_capabilities: usize,
    /// `VBuilderConfig::setComputeCapability`
    pub config_capability: usize,
}

/// TensorRT 10.1 and newer: 10.0 lacks the function for the memory that a profile needs.
pub const TEN: Vtable = Vtable {
    runtime_deserialize: 3,
    engine_create_context: 5,
    engine_tensors: 30,
    engine_tensor_name: 31,
    engine_tensor_shape: 19,
    engine_tensor_type: 20,
    engine_tensor_mode: 23,
    engine_profiles: 10,
    engine_profile_shape: 29,
    engine_scratch: 53,
    context_set_profile: 17,
    context_set_shape: 21,
    context_tensor_shape: 22,
    context_set_address: 24,
    context_set_scratch: 49,
    context_enqueue: 37,
    builder_config: 7,
    builder_network: 8,
    builder_profile: 9,
    builder_build: 14,
    config_set_flag: 11,
    config_clear_flag: 10,
    config_add_profile: 25,
    config_create_cache: 40,
    config_set_cache: 41,
    config_set_monitor: 56,
    profile_set_dims: 2,
    cache_serialize: 2,
    memory_data: 2,
    memory_size: 3,
    parser_parse: 1,
    parser_errors: 5,
    parser_error: 6,
    parser_destroy: 8,
    parser_error_words: 1,
    parser_error_node: 6,
    logger_log: 0,
};

/// TensorRT 11.0 and newer, TensorRT-RTX 1.5 and newer.
pub const ELEVEN: Vtable = Vtable {
    runtime_deserialize: 3,
    engine_create_context: 5,
    engine_tensors: 26,
    engine_tensor_name: 27,
    engine_tensor_shape: 15,
    engine_tensor_type: 16,
    engine_tensor_mode: 19,
    engine_profiles: 8,
    engine_profile_shape: 25,
    engine_scratch: 45,
    context_set_profile: 16,
    context_set_shape: 20,
    context_tensor_shape: 21,
    context_set_address: 23,
    context_set_scratch: 48,
    context_enqueue: 36,
    builder_config: 5,
    builder_network: 6,
    builder_profile: 7,
    builder_build: 11,
    config_set_flag: 9,
    config_clear_flag: 8,
    config_add_profile: 23,
    config_create_cache: 29,
    config_set_cache: 30,
    config_set_monitor: 45,
    profile_set_dims: 2,
    cache_serialize: 2,
    memory_data: 2,
    memory_size: 3,
    parser_parse: 1,
    parser_errors: 3,
    parser_error: 4,
    parser_destroy: 6,
    parser_error_words: 1,
    parser_error_node: 6,
    logger_log: 4,
};

/// TensorRT-RTX 1.5 and newer.
pub const RTX: RtxSlots = RtxSlots {
    engine_create_context: 47,
    engine_create_jit: 48,
    jit_allocation: 3,
    jit_create_cache: 5,
    jit_set_cache: 6,
    jit_strategy: 8,
    jit_cache_serialize: 2,
    jit_cache_deserialize: 3,
    context_capturable: 52,
    config_capabilities: 55,
    config_capability: 57,
};

/// The second half of every destructor's two slots: it frees the object as well.
pub const FREE: usize = 1;
