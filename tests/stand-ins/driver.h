// Declarations that the parts of the stand-in libcuda.so.1 share: the beginning of each call, streams, memory.
//
// One lock guards everything, as if the device did one thing at a time. A stream is a queue: enqueued work runs when
// something waits for it and not before, so that a result that is read without waiting is not there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace host {

// CUresult, those that are used (cuda.h).
enum Status : int {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_PTX = 218, FILE_NOT_FOUND = 301, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500,
    NOT_READY = 600, ILLEGAL_ADDRESS = 700, NOT_PERMITTED = 800, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901, CAPTURE_MERGE = 902, CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905, CAPTURE_IMPLICIT = 906, CAPTURED_EVENT = 907, CAPTURE_WRONG_THREAD = 908,
};

// Ends the process with the reason: for faults that would be silent damage on a GPU.
[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Adds words to an error whose code alone does not tell enough.
void explain(const char* format, ...) __attribute__((format(printf, 1, 2)));

// --- calls (calls.cpp)

// Made at the beginning of each call: holds the lock, counts the call, and knows whether it is refused.
class Call {
  public:
    explicit Call(const char* name);
    int refused;

  private:
    std::unique_lock<std::recursive_mutex> lock;
};

#define API extern "C" __attribute__((visibility("default"))) int
#define BEGIN()                                                                                                        \
    host::Call call(__func__);                                                                                         \
    if (call.refused) return call.refused
// A call that needs a context current on its thread.
#define BEGIN_IN_CONTEXT()                                                                                             \
    BEGIN();                                                                                                           \
    if (!host::context_is_current()) return host::INVALID_CONTEXT
// A call that CUDA refuses while something is captured, because it would wait or change the device.
#define BEGIN_OUTSIDE_CAPTURE()                                                                                        \
    BEGIN_IN_CONTEXT();                                                                                                \
    if (host::breaks_a_capture()) return host::CAPTURE_UNSUPPORTED

void set_initialised();
bool context_is_current();
// Lets every later call fail with `error`, as after a kernel's fault.
void lose_device(int error);
// Counts one run under `name`, for the file of counts.
void count_kernel(const std::string& name);
// True between the start and the end of a host function on this thread, which must not call CUDA.
extern thread_local bool in_host_function;
// A number from the environment, or `otherwise`; any other text ends the process.
unsigned long long setting(const char* name, unsigned long long otherwise);

// --- streams (streams.cpp)

struct Operation {
    std::string what;
    std::function<void()> run;
};
struct Capture;
struct Stream {
    std::vector<Operation> waiting; // those before `done` have run
    size_t done = 0;
    std::shared_ptr<Capture> capture;
    unsigned flags = 0;
    int priority = 0;
};

// The stream of a handle: the null stream and the per-thread stream are one; null for an invalid handle.
std::shared_ptr<Stream> stream_of(void* handle);
// Puts an operation at the end, or into the capture that the stream is in.
int enqueue(Stream& stream, Operation operation);
void drain(Stream& stream);
void drain_all();
// True when a capture is under way that this thread's call would break; it is broken then.
bool breaks_a_capture();

// --- memory (memory.cpp)

enum class Kind { Device, Pinned };
// Checks that no red zone has changed; `after` names the last operation.
void check_red_zones(const std::string& after);
// True when all `bytes` from `address` on lie in one live allocation; a `kind` of null means any.
bool is_allocated(const void* address, size_t bytes, const Kind* kind = nullptr);
size_t device_bytes_total();

} // namespace host
