// A stand-in libnvrtc.so: it compiles nothing, because tools/gpu/with-stand-ins has compiled the same sources with g++, and
// gives an image that names the kernels of the source and the options that count (image.h). A source without a kernel, or
// with an #error that no #if is around, fails with a log; so does an architecture that is unknown to every NVRTC.
#include "image.h"
#include <algorithm>
#include <iterator>

using host::Image;

namespace {

// nvrtcResult (nvrtc.h).
enum Status { SUCCESS = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6 };

const int ARCHITECTURES[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121}; // those of CUDA 13

struct Program {
    std::string name, text;
    std::string log, image;
};

std::string word_after(const std::string& text, size_t at) {
    size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", at);
    return text.substr(at, end == std::string::npos ? end : end - at);
}

std::vector<std::string> kernels_of(const std::string& text) {
    const std::string mark = "extern \"C\" __global__ void ";
    std::vector<std::string> found;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        size_t name = at + mark.size();
        if (text.compare(name, 19, "__launch_bounds__(") == 0 || text.compare(name, 18, "__launch_bounds__(") == 0)
            name = text.find_first_not_of(" \n", text.find(')', name) + 1);
        found.push_back(word_after(text, name));
    }
    return found;
}

// The first #error outside of every #if, with its line.
bool find_error(const std::string& text, std::string& what) {
    int depth = 0, line = 1;
    for (size_t at = 0; at < text.size(); ++line) {
        size_t end = std::min(text.find('\n', at), text.size());
        std::string here = text.substr(at, end - at);
        at = end + 1;
        here.erase(0, here.find_first_not_of(" \t"));
        if (here.rfind("#if", 0) == 0) ++depth;
        if (here.rfind("#endif", 0) == 0) --depth;
        if (here.rfind("#error", 0) == 0 && depth == 0) {
            what = "(" + std::to_string(line) + "): error: " + here;
            return true;
        }
    }
    return false;
}

Status fail(Program& program, Status status, const std::string& why) {
    program.log = program.name + why + "\n";
    return status;
}

// Reads `--gpu-architecture=sm_87`, `-arch=compute_87`, `-DREAL_IS_HALF=1`; other options change nothing here.
bool take_option(const std::string& option, Image& image) {
    if (option == "-DREAL_IS_HALF=1" || option == "--define-macro=REAL_IS_HALF=1") image.half = true;
    size_t value = option.find("arch");
    if (value == std::string::npos || option[0] != '-') return true;
    size_t digits = option.find('_', value);
    if (digits == std::string::npos) return false;
    image.capability = std::atoi(option.c_str() + digits + 1);
    auto end = std::end(ARCHITECTURES);
    return std::find(std::begin(ARCHITECTURES), end, image.capability) != end;
}

int give(const std::string& text, char* out) {
    std::memcpy(out, text.c_str(), text.size() + 1);
    return SUCCESS;
}
int give_size(const std::string& text, size_t* bytes) {
    *bytes = text.size() + 1;
    return SUCCESS;
}

Program& program_of(void* handle) { return *static_cast<Program*>(handle); }

} // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return SUCCESS;
}
API nvrtcGetNumSupportedArchs(int* count) {
    *count = int(std::size(ARCHITECTURES));
    return SUCCESS;
}
API nvrtcGetSupportedArchs(int* out) {
    std::copy(std::begin(ARCHITECTURES), std::end(ARCHITECTURES), out);
    return SUCCESS;
}
API nvrtcCreateProgram(void** out, const char* text, const char* name, int count, const char* const* headers,
                       const char* const*) {
    if (out == nullptr || text == nullptr) return INVALID_INPUT;
    auto* program = new Program{name == nullptr ? "default_program" : name, text, "", ""};
    for (int i = 0; i < count; ++i) program->text += std::string("\n") + headers[i];
    *out = program;
    return SUCCESS;
}
API nvrtcCompileProgram(void* handle, int count, const char* const* options) {
    if (handle == nullptr) return INVALID_PROGRAM;
    Program& program = program_of(handle);
    Image image;
    for (int i = 0; i < count; ++i)
        if (!take_option(options[i], image))
            return fail(program, INVALID_OPTION, std::string(": error: invalid value in ") + options[i]);
    std::string why;
    if (find_error(program.text, why)) return fail(program, COMPILATION, why);
    image.kernels = kernels_of(program.text);
    if (image.kernels.empty()) return fail(program, COMPILATION, ": error: the stand-in finds no kernel in this source");
    program.image = host::write_image(image);
    return SUCCESS;
}
API nvrtcDestroyProgram(void** handle) {
    if (handle == nullptr || *handle == nullptr) return INVALID_PROGRAM;
    delete static_cast<Program*>(*handle);
    *handle = nullptr;
    return SUCCESS;
}
API nvrtcGetPTXSize(void* handle, size_t* bytes) { return give_size(program_of(handle).image, bytes); }
API nvrtcGetPTX(void* handle, char* out) { return give(program_of(handle).image, out); }
API nvrtcGetCUBINSize(void* handle, size_t* bytes) { return give_size(program_of(handle).image, bytes); }
API nvrtcGetCUBIN(void* handle, char* out) { return give(program_of(handle).image, out); }
API nvrtcGetProgramLogSize(void* handle, size_t* bytes) { return give_size(program_of(handle).log, bytes); }
API nvrtcGetProgramLog(void* handle, char* out) { return give(program_of(handle).log, out); }

extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int status) {
    switch (status) {
    case SUCCESS: return "NVRTC_SUCCESS";
    case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "NVRTC_ERROR_COMPILATION";
    default: return "NVRTC_ERROR unknown";
    }
}
