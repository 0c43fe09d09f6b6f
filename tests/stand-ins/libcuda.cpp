// A stand-in libcuda.so.1: the CUDA driver's calls that winspect makes, with device memory in the host's and kernels
// compiled for the CPU. The stand-in refuses the same calls as CUDA, with its own codes. Signatures: cuda.h of CUDA 12.
//
//   WINSPECT_STAND_IN_DEVICES=N      number of GPUs, 1 by default; 0 for none
//   WINSPECT_STAND_IN_INTEGRATED=1   the GPU shares the host's memory, as on a Jetson
//   (memory: memory.cpp; faults and counts: calls.cpp)
#include "driver.h"
#include "image.h"
#include "kernel.h"
#include <cstdio>
#include <cstring>
#include <map>

using namespace host;

// The symbol by which winspect knows that the device is no GPU.
extern "C" __attribute__((visibility("default"))) const int winspect_stand_in = 1;

namespace {

struct Module {
    bool half;
    std::vector<std::string> kernels;
};

struct Context {
    unsigned retained = 0;
};

constexpr int DEVICES_MAX = 16;
Context contexts[DEVICES_MAX];
thread_local Context* current = nullptr;
std::map<void*, std::unique_ptr<Module>> modules;

int devices() {
    static const int count = int(std::min(setting("WINSPECT_STAND_IN_DEVICES", 1), 0ull + DEVICES_MAX));
    return count;
}

bool is_device(int device) { return device >= 0 && device < devices(); }

// CUdevice_attribute: the values of an Orin, 0 for attributes that are never asked for.
int attribute(int which) {
    switch (which) {
    case 1: case 2: case 3: return 1024;     // threads of a block, along x, along y
    case 4: return 64;                       // along z
    case 5: return 2147483647;               // blocks along x
    case 6: case 7: return 65535;            // along y, along z
    case 8: return 49152;                    // bytes of shared memory of a block
    case 10: return 32;                      // threads of a warp
    case 13: return 1300000;                 // kHz
    case 16: return 16;                      // multiprocessors
    case 18: return int(setting("WINSPECT_STAND_IN_INTEGRATED", 0));
    case 19: case 31: case 40: case 41: return 1; // mapped memory, concurrent kernels, one copy engine, unified addresses
    case 75: return CAPABILITY / 10;
    case 76: return CAPABILITY % 10;
    case 78: case 115: return 1;             // stream priorities, memory pools
    case 81: return 167936;                  // bytes of shared memory of a multiprocessor
    default: return 0;
    }
}

int load(void** out, const char* text) {
    Image image;
    if (!read_image(text, image)) {
        explain("this is no image of the stand-in NVRTC: with a real one, machine code runs on no stand-in");
        return 200; // CUDA_ERROR_INVALID_IMAGE
    }
    if (image.capability != CAPABILITY) return 209; // CUDA_ERROR_NO_BINARY_FOR_GPU
    auto module = std::make_unique<Module>(Module{image.half, image.kernels});
    *out = module.get();
    modules[*out] = std::move(module);
    return SUCCESS;
}

bool is_kernel(const void* function) {
    return !kernels().empty() && function >= &kernels().front() && function <= &kernels().back();
}

bool within_limits(const unsigned (&grid)[3], const unsigned (&block)[3]) {
    for (unsigned i = 0; i < 3; ++i)
        if (grid[i] == 0 || grid[i] > unsigned(attribute(int(5 + i))) || block[i] == 0 ||
            block[i] > unsigned(attribute(int(2 + i))))
            return false;
    return block[0] * block[1] * block[2] <= unsigned(attribute(1));
}

bool pointers_are_allocated(const std::string& name, const Bound& bound) {
    for (const void* pointer : bound.pointers)
        if (pointer != nullptr && !is_allocated(pointer, 0)) {
            explain("kernel %s is given %p, which is no address of this device", name.c_str(), pointer);
            return false;
        }
    return true;
}

const char* error_name(int error) {
    static const std::map<int, const char*> names = {
#define WINSPECT_ERROR(code, name) {code, "CUDA_ERROR_" name}
        {0, "CUDA_SUCCESS"}, WINSPECT_ERROR(1, "INVALID_VALUE"), WINSPECT_ERROR(2, "OUT_OF_MEMORY"),
        WINSPECT_ERROR(3, "NOT_INITIALIZED"), WINSPECT_ERROR(34, "STUB_LIBRARY"), WINSPECT_ERROR(100, "NO_DEVICE"),
        WINSPECT_ERROR(101, "INVALID_DEVICE"), WINSPECT_ERROR(200, "INVALID_IMAGE"),
        WINSPECT_ERROR(201, "INVALID_CONTEXT"), WINSPECT_ERROR(209, "NO_BINARY_FOR_GPU"),
        WINSPECT_ERROR(214, "ECC_UNCORRECTABLE"), WINSPECT_ERROR(218, "INVALID_PTX"),
        WINSPECT_ERROR(222, "UNSUPPORTED_PTX_VERSION"), WINSPECT_ERROR(301, "FILE_NOT_FOUND"),
        WINSPECT_ERROR(400, "INVALID_HANDLE"), WINSPECT_ERROR(401, "ILLEGAL_STATE"), WINSPECT_ERROR(500, "NOT_FOUND"),
        WINSPECT_ERROR(600, "NOT_READY"), WINSPECT_ERROR(700, "ILLEGAL_ADDRESS"),
        WINSPECT_ERROR(701, "LAUNCH_OUT_OF_RESOURCES"), WINSPECT_ERROR(702, "LAUNCH_TIMEOUT"),
        WINSPECT_ERROR(710, "ASSERT"), WINSPECT_ERROR(716, "MISALIGNED_ADDRESS"), WINSPECT_ERROR(719, "LAUNCH_FAILED"),
        WINSPECT_ERROR(800, "NOT_PERMITTED"), WINSPECT_ERROR(801, "NOT_SUPPORTED"),
        WINSPECT_ERROR(802, "SYSTEM_NOT_READY"), WINSPECT_ERROR(803, "SYSTEM_DRIVER_MISMATCH"),
        WINSPECT_ERROR(900, "STREAM_CAPTURE_UNSUPPORTED"), WINSPECT_ERROR(901, "STREAM_CAPTURE_INVALIDATED"),
        WINSPECT_ERROR(902, "STREAM_CAPTURE_MERGE"), WINSPECT_ERROR(903, "STREAM_CAPTURE_UNMATCHED"),
        WINSPECT_ERROR(904, "STREAM_CAPTURE_UNJOINED"), WINSPECT_ERROR(905, "STREAM_CAPTURE_ISOLATION"),
        WINSPECT_ERROR(906, "STREAM_CAPTURE_IMPLICIT"), WINSPECT_ERROR(907, "CAPTURED_EVENT"),
        WINSPECT_ERROR(908, "STREAM_CAPTURE_WRONG_THREAD"), WINSPECT_ERROR(999, "UNKNOWN"),
#undef WINSPECT_ERROR
    };
    auto found = names.find(error);
    return found == names.end() ? nullptr : found->second;
}

} // namespace

namespace host {
bool context_is_current() { return current != nullptr && current->retained > 0; }
} // namespace host

API cuInit(unsigned flags) {
    BEGIN();
    if (flags != 0) return INVALID_VALUE;
    if (devices() == 0) return NO_DEVICE;
    set_initialised();
    return SUCCESS;
}
API cuDriverGetVersion(int* version) {
    BEGIN();
    *version = 13000;
    return SUCCESS;
}
// NVIDIA's own libraries, NVRTC among them, ask the driver for undocumented tables, and do without.
API cuGetExportTable(const void** table, const void*) {
    *table = nullptr;
    return NOT_FOUND;
}
API cuGetErrorName(int error, const char** name) {
    *name = error_name(error);
    return *name == nullptr ? INVALID_VALUE : SUCCESS;
}
API cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

API cuDeviceGetCount(int* count) {
    BEGIN();
    *count = devices();
    return SUCCESS;
}
API cuDeviceGet(int* device, int ordinal) {
    BEGIN();
    *device = ordinal;
    return is_device(ordinal) ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char* name, int bytes, int device) {
    BEGIN();
    if (!is_device(device) || bytes <= 0) return INVALID_DEVICE;
    std::snprintf(name, size_t(bytes), "stand-in: host memory");
    return SUCCESS;
}
API cuDeviceGetUuid(char* uuid, int device) {
    BEGIN();
    std::memset(uuid, 'A' + device, 16);
    return is_device(device) ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetAttribute(int* value, int which, int device) {
    BEGIN();
    *value = attribute(which);
    return is_device(device) ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceTotalMem_v2(size_t* bytes, int device) {
    BEGIN();
    *bytes = device_bytes_total();
    return is_device(device) ? SUCCESS : INVALID_DEVICE;
}

API cuDevicePrimaryCtxRetain(void** context, int device) {
    BEGIN();
    if (!is_device(device)) return INVALID_DEVICE;
    ++contexts[device].retained;
    *context = &contexts[device];
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
    BEGIN();
    if (!is_device(device)) return INVALID_DEVICE;
    if (contexts[device].retained == 0) return INVALID_CONTEXT;
    --contexts[device].retained;
    return SUCCESS;
}
API cuDevicePrimaryCtxSetFlags_v2(int device, unsigned) {
    BEGIN();
    return is_device(device) ? SUCCESS : INVALID_DEVICE;
}
API cuCtxSetCurrent(void* context) {
    BEGIN();
    current = static_cast<Context*>(context);
    return SUCCESS;
}
API cuCtxGetCurrent(void** context) {
    BEGIN();
    *context = current;
    return SUCCESS;
}
API cuCtxGetDevice(int* device) {
    BEGIN_IN_CONTEXT();
    *device = int(current - contexts);
    return SUCCESS;
}
API cuCtxSetFlags(unsigned) {
    BEGIN_IN_CONTEXT();
    return SUCCESS;
}
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    BEGIN_IN_CONTEXT();
    *least = 0;
    *greatest = -5;
    return SUCCESS;
}
API cuCtxGetLimit(size_t* value, int) {
    BEGIN_IN_CONTEXT();
    *value = 0;
    return SUCCESS;
}
API cuCtxSetLimit(int, size_t) {
    BEGIN_IN_CONTEXT();
    return SUCCESS;
}

API cuModuleLoadData(void** module, const void* image) {
    BEGIN_OUTSIDE_CAPTURE();
    return load(module, static_cast<const char*>(image));
}
API cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    BEGIN_OUTSIDE_CAPTURE();
    return load(module, static_cast<const char*>(image));
}
API cuModuleLoad(void** module, const char* path) {
    BEGIN_OUTSIDE_CAPTURE();
    std::FILE* file = std::fopen(path, "r");
    if (file == nullptr) return FILE_NOT_FOUND;
    std::string text(1 << 20, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    return load(module, text.c_str());
}
API cuModuleUnload(void* module) {
    BEGIN_OUTSIDE_CAPTURE();
    drain_all();
    return modules.erase(module) == 1 ? SUCCESS : INVALID_HANDLE;
}
API cuModuleGetFunction(void** function, void* handle, const char* name) {
    BEGIN_IN_CONTEXT();
    auto module = modules.find(handle);
    if (module == modules.end()) return INVALID_HANDLE;
    for (const std::string& held : module->second->kernels)
        for (Kernel& kernel : kernels())
            if (held == name && kernel.name == name && kernel.half == module->second->half) {
                *function = &kernel;
                return SUCCESS;
            }
    return NOT_FOUND;
}
API cuModuleGetGlobal_v2(uint64_t*, size_t*, void*, const char*) {
    BEGIN_IN_CONTEXT();
    return NOT_FOUND;
}
API cuFuncGetAttribute(int* value, int which, void* function) {
    BEGIN_IN_CONTEXT();
    *value = which == 0 ? attribute(1) : which == 4 ? 32 : 0; // threads of a block at most, registers
    return is_kernel(function) ? SUCCESS : INVALID_HANDLE;
}
API cuFuncSetAttribute(void* function, int, int) {
    BEGIN_IN_CONTEXT();
    return is_kernel(function) ? SUCCESS : INVALID_HANDLE;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int, size_t) {
    BEGIN_IN_CONTEXT();
    *blocks = 2;
    return is_kernel(function) ? SUCCESS : INVALID_HANDLE;
}

API cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared_bytes, void* handle, void** arguments, void** extra) {
    BEGIN_IN_CONTEXT();
    auto stream = stream_of(handle);
    if (!stream || !is_kernel(function)) return INVALID_HANDLE;
    struct Shape { unsigned grid[3], block[3]; } shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}};
    if (extra != nullptr || shared_bytes != 0 || !within_limits(shape.grid, shape.block)) return INVALID_VALUE;
    const Kernel& kernel = *static_cast<Kernel*>(function);
    const std::string& name = kernel.name; // kernels are never unloaded
    return enqueue(*stream, {"kernel " + name, [&name, shape, bound = kernel.bind(arguments)] {
        if (!pointers_are_allocated(name, bound)) return lose_device(ILLEGAL_ADDRESS);
        count_kernel(name);
        launch(name, shape.grid, shape.block, bound.body);
    }});
}
API cuLaunchCooperativeKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**) {
    BEGIN_IN_CONTEXT();
    return NOT_SUPPORTED;
}
