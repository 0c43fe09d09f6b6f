// The beginning of each call of the stand-in: the counts, and the faults that the environment asks for.
//
//   WINSPECT_STAND_IN_FAIL=cuMemAlloc:3=2,cuLaunchKernel:10+=700
//       the third cuMemAlloc fails with error 2, the tenth cuLaunchKernel and all later ones with 700. Versions of a call
//       (cuMemAlloc_v2) are one. Errors that a GPU does not recover from (700, 719, ...) stay for all calls.
//   WINSPECT_STAND_IN_COUNT=FILE
//       at exit: {"calls": {"cuLaunchKernel": 12, ...}, "kernels": {"gather": 12, ...}}
#include "driver.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace host {
namespace {

struct Fault {
    std::string call;
    unsigned long first;
    bool and_later;
    int error;
};

std::recursive_mutex device;
bool initialised = false;
int lost = SUCCESS;

// Never destroyed: a thread may still call while the process exits.
std::map<std::string, unsigned long>& calls() {
    static auto* all = new std::map<std::string, unsigned long>;
    return *all;
}
std::map<std::string, unsigned long>& kernels_run() {
    static auto* all = new std::map<std::string, unsigned long>;
    return *all;
}

std::string without_version(const char* call) {
    std::string name(call);
    size_t end = name.size();
    return end > 3 && name[end - 3] == '_' && name[end - 2] == 'v' ? name.substr(0, end - 3) : name;
}

Fault parse_fault(const std::string& text) {
    char call[64];
    unsigned long first;
    int error, end = 0;
    if (std::sscanf(text.c_str(), "%63[A-Za-z0-9]:%lu=%d%n", call, &first, &error, &end) == 3 && text[size_t(end)] == 0)
        return {call, first, false, error};
    end = 0;
    if (std::sscanf(text.c_str(), "%63[A-Za-z0-9]:%lu+=%d%n", call, &first, &error, &end) == 3 && text[size_t(end)] == 0)
        return {call, first, true, error};
    die("WINSPECT_STAND_IN_FAIL: wants CALL:N=ERROR or CALL:N+=ERROR, several with commas; got `%s`", text.c_str());
}

std::vector<Fault> parse_faults() {
    std::vector<Fault> faults;
    const char* text = std::getenv("WINSPECT_STAND_IN_FAIL");
    std::string all = text == nullptr ? "" : text;
    for (size_t begin = 0; begin < all.size();) {
        size_t end = std::min(all.find(',', begin), all.size());
        faults.push_back(parse_fault(all.substr(begin, end - begin)));
        begin = end + 1;
    }
    return faults;
}

// Errors after which a context is of no use any more (cuda.h: "the process must be terminated and relaunched").
bool stays(int error) {
    for (int sticky : {214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719})
        if (error == sticky) return true;
    return false;
}

int injected(const std::string& name, unsigned long nth) {
    static const auto* faults = new std::vector<Fault>(parse_faults());
    for (const Fault& fault : *faults)
        if (fault.call == name && (nth == fault.first || (fault.and_later && nth > fault.first))) {
            if (stays(fault.error)) lost = fault.error;
            return fault.error;
        }
    return SUCCESS;
}

void write_counts(std::FILE* file, const char* what, const std::map<std::string, unsigned long>& counts) {
    std::fprintf(file, "\"%s\": {", what);
    const char* between = "";
    for (const auto& [name, count] : counts) {
        std::fprintf(file, "%s\"%s\": %lu", between, name.c_str(), count);
        between = ", ";
    }
    std::fprintf(file, "}");
}

// Writes the counts when the library is unloaded, which is at exit.
struct AtExit {
    ~AtExit() {
        const char* path = std::getenv("WINSPECT_STAND_IN_COUNT");
        if (path == nullptr || calls().empty()) return; // the process never called
        std::FILE* file = std::fopen(path, "w");
        if (file == nullptr) {
            explain("WINSPECT_STAND_IN_COUNT: cannot write %s", path);
            return;
        }
        std::fprintf(file, "{");
        write_counts(file, "calls", calls());
        std::fprintf(file, ", ");
        write_counts(file, "kernels", kernels_run());
        std::fprintf(file, "}\n");
        std::fclose(file);
    }
} at_exit;

void say(const char* format, va_list values) {
    std::fprintf(stderr, "stand-in for the GPU: ");
    std::vfprintf(stderr, format, values);
    std::fprintf(stderr, "\n");
}

} // namespace

thread_local bool in_host_function = false;

Call::Call(const char* name) : refused(SUCCESS) {
    if (in_host_function) {
        explain("%s is called by a host function, which may not call CUDA", name);
        refused = NOT_PERMITTED;
        return;
    }
    lock = std::unique_lock(device);
    std::string plain = without_version(name);
    unsigned long nth = ++calls()[plain];
    bool begins = plain == "cuInit" || plain == "cuDriverGetVersion";
    if (lost != SUCCESS) refused = lost;
    else if (int error = injected(plain, nth)) refused = error;
    else if (!initialised && !begins) refused = NOT_INITIALIZED;
}

void set_initialised() { initialised = true; }

void lose_device(int error) {
    if (lost == SUCCESS) lost = error;
}

void count_kernel(const std::string& name) { ++kernels_run()[name]; }

unsigned long long setting(const char* name, unsigned long long otherwise) {
    const char* text = std::getenv(name);
    if (text == nullptr) return otherwise;
    char* end;
    unsigned long long value = std::strtoull(text, &end, 10);
    if (end == text || *end != 0) die("%s: must be a whole number, got `%s`", name, text);
    return value;
}

void die(const char* format, ...) {
    va_list values;
    va_start(values, format);
    say(format, values);
    va_end(values);
    std::abort();
}

void explain(const char* format, ...) {
    va_list values;
    va_start(values, format);
    say(format, values);
    va_end(values);
}

} // namespace host

// Number of times that a call was made in this process, for tests that share one.
extern "C" __attribute__((visibility("default"))) unsigned long winspect_stand_in_calls(const char* name) {
    std::lock_guard guard(host::device);
    auto found = host::calls().find(host::without_version(name));
    return found == host::calls().end() ? 0 : found->second;
}
