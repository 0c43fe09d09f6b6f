// Device and pinned memory of the stand-in: the host's, each allocation in pages of its own between two that must not
// be touched, poisoned, its end as near to the next page as CUDA's alignment allows, with red zones in what is left over.
//
//   [no access][ red zone ][ the allocation ][ red zone, under 256 bytes ][no access]
//
// An access far beyond an allocation ends the process at once, a write just beyond at the end of the operation; freed
// memory is never given out again.
//
//   WINSPECT_STAND_IN_MEMORY=BYTES   memory of the device; by default half of the machine's
#include "driver.h"
#include <csignal>
#include <cstring>
#include <deque>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

namespace host {
namespace {

constexpr size_t PAGE = 4096, ALIGNMENT = 256, RED_ZONE = 256, GRAVES = 4096;
constexpr unsigned char POISON = 0xA5, RED = 0xFD;

struct Allocation {
    char* pages; // the first that may be touched
    size_t pages_bytes;
    char* data;
    size_t bytes;
    Kind kind;
    bool mapped; // by us; memory that was registered is not
};

std::map<const char*, Allocation> live; // by their data's address
std::deque<Allocation> freed;
size_t device_bytes_used = 0;
struct sigaction handler_before;

const char* name(Kind kind) { return kind == Kind::Device ? "device" : "pinned"; }

bool touches(const Allocation& a, const char* address) {
    return a.mapped && address >= a.pages - PAGE && address < a.pages + a.pages_bytes + PAGE;
}

// Names the allocation of a forbidden access. The process ends anyway, so locks are not taken.
void on_forbidden_access(int signal, siginfo_t* info, void* context) {
    auto address = static_cast<const char*>(info->si_addr);
    for (const auto& [data, a] : live)
        if (touches(a, address))
            die("byte %td of %s memory of %zu bytes is touched, beyond its ends", address - data, name(a.kind), a.bytes);
    for (const Allocation& a : freed)
        if (touches(a, address))
            die("byte %td of %s memory of %zu bytes is touched after it was freed", address - a.data, name(a.kind), a.bytes);
    if (handler_before.sa_flags & SA_SIGINFO) return handler_before.sa_sigaction(signal, info, context);
    sigaction(signal, &handler_before, nullptr); // the access is repeated and meets the one before us
}

void watch() {
    struct sigaction ours = {};
    ours.sa_sigaction = on_forbidden_access;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &ours, &handler_before);
}

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

int allocate(void** out, size_t bytes, Kind kind) {
    static bool watched = (watch(), true);
    (void)watched;
    if (out == nullptr || bytes == 0) return INVALID_VALUE;
    if (kind == Kind::Device && bytes > device_bytes_total() - std::min(device_bytes_used, device_bytes_total()))
        return OUT_OF_MEMORY;
    size_t inner = rounded(rounded(bytes, ALIGNMENT) + RED_ZONE, PAGE);
    void* found = mmap(nullptr, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return OUT_OF_MEMORY;
    char* pages = static_cast<char*>(found) + PAGE;
    if (mprotect(pages, inner, PROT_READ | PROT_WRITE) != 0) return OUT_OF_MEMORY;
    char* data = pages + inner - rounded(bytes, ALIGNMENT);
    std::memset(data - RED_ZONE, RED, RED_ZONE);
    std::memset(data, POISON, bytes);
    std::memset(data + bytes, RED, size_t(pages + inner - (data + bytes)));
    live[data] = {pages, inner, data, bytes, kind, true};
    if (kind == Kind::Device) device_bytes_used += bytes;
    *out = data;
    return SUCCESS;
}

// The allocation that holds the address or ends there.
const Allocation* find(const void* address) {
    auto place = static_cast<const char*>(address);
    auto after = live.upper_bound(place);
    if (after == live.begin()) return nullptr;
    const Allocation& a = std::prev(after)->second;
    return place <= a.data + a.bytes ? &a : nullptr;
}

void check(const Allocation& a, const std::string& after) {
    if (!a.mapped) return;
    auto bad = [&](const char* from, const char* to) {
        for (const char* p = from; p < to; ++p)
            if (static_cast<unsigned char>(*p) != RED)
                die("byte %td of %s memory of %zu bytes was written, beyond its ends, by %s or before it", p - a.data,
                    name(a.kind), a.bytes, after.c_str());
    };
    bad(a.data - RED_ZONE, a.data);
    bad(a.data + a.bytes, a.pages + a.pages_bytes);
}

int release(void* data, Kind kind, bool mapped) {
    auto found = live.find(static_cast<char*>(data));
    if (found == live.end() || found->second.kind != kind || found->second.mapped != mapped) return INVALID_VALUE;
    Allocation a = found->second;
    check(a, "what ran last");
    live.erase(found);
    if (kind == Kind::Device) device_bytes_used -= a.bytes;
    if (!mapped) return SUCCESS;
    madvise(a.pages, a.pages_bytes, MADV_DONTNEED);
    mprotect(a.pages, a.pages_bytes, PROT_NONE);
    freed.push_back(a);
    if (freed.size() > GRAVES) {
        munmap(freed.front().pages - PAGE, freed.front().pages_bytes + 2 * PAGE);
        freed.pop_front();
    }
    return SUCCESS;
}

const Kind PINNED = Kind::Pinned;

// A copy between host and device: enqueued where the host's side is pinned; otherwise as CUDA stages pageable memory.
int copy_in(Stream& stream, void* to, const void* from, size_t bytes) {
    if (!is_allocated(to, bytes)) return INVALID_VALUE;
    if (is_allocated(from, bytes, &PINNED))
        return enqueue(stream, {"a copy to the device", [=] { std::memcpy(to, from, bytes); }});
    if (stream.capture) { // CUDA would read it at each replay, when its content is unknown
        explain("a copy from pageable memory is captured");
        return CAPTURE_UNSUPPORTED;
    }
    auto bytes_from = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(bytes_from, bytes_from + bytes);
    return enqueue(stream, {"a copy to the device", [=] { std::memcpy(to, staged->data(), staged->size()); }});
}

int copy_out(Stream& stream, void* to, const void* from, size_t bytes) {
    if (!is_allocated(from, bytes)) return INVALID_VALUE;
    bool pinned = is_allocated(to, bytes, &PINNED);
    if (!pinned && stream.capture) {
        explain("a copy to pageable memory is captured");
        return CAPTURE_UNSUPPORTED;
    }
    int status = enqueue(stream, {"a copy to the host", [=] { std::memcpy(to, from, bytes); }});
    if (status == SUCCESS && !pinned) drain(stream);
    return status;
}

int copy_between(Stream& stream, void* to, const void* from, size_t bytes) {
    if (!is_allocated(to, bytes) || !is_allocated(from, bytes)) return INVALID_VALUE;
    return enqueue(stream, {"a copy on the device", [=] { std::memmove(to, from, bytes); }});
}

int set(Stream& stream, void* at, unsigned char value, size_t bytes) {
    if (!is_allocated(at, bytes)) return INVALID_VALUE;
    return enqueue(stream, {"a memset", [=] { std::memset(at, value, bytes); }});
}

void* address(uint64_t device) { return reinterpret_cast<void*>(device); }

} // namespace

void check_red_zones(const std::string& after) {
    for (const auto& [data, a] : live) check(a, after);
}

bool is_allocated(const void* address, size_t bytes, const Kind* kind) {
    const Allocation* a = find(address);
    if (a == nullptr || (kind != nullptr && a->kind != *kind)) return false;
    return static_cast<const char*>(address) + bytes <= a->data + a->bytes;
}

size_t device_bytes_total() {
    static const size_t machine = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
    static const size_t total = setting("WINSPECT_STAND_IN_MEMORY", machine / 2);
    return total;
}

} // namespace host

using namespace host;
using DevicePointer = uint64_t;

#define STREAM(handle)                                                                                                 \
    auto stream = stream_of(handle);                                                                                   \
    if (!stream) return INVALID_HANDLE

API cuMemAlloc_v2(DevicePointer* out, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    return allocate(reinterpret_cast<void**>(out), bytes, Kind::Device);
}
API cuMemAllocManaged(DevicePointer* out, size_t bytes, unsigned) {
    BEGIN_OUTSIDE_CAPTURE();
    return allocate(reinterpret_cast<void**>(out), bytes, Kind::Device);
}
API cuMemFree_v2(DevicePointer pointer) {
    BEGIN_OUTSIDE_CAPTURE();
    if (pointer == 0) return SUCCESS;
    drain_all();
    return release(address(pointer), Kind::Device, true);
}
// Stricter than CUDA, which makes nodes of allocations: here nothing is allocated in a capture.
API cuMemAllocAsync(DevicePointer* out, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    return allocate(reinterpret_cast<void**>(out), bytes, Kind::Device);
}
API cuMemFreeAsync(DevicePointer pointer, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    if (pointer == 0) return SUCCESS;
    const Kind kind = Kind::Device;
    if (!is_allocated(address(pointer), 1, &kind)) return INVALID_VALUE;
    return enqueue(*stream, {"a free", [pointer] {
        if (release(address(pointer), Kind::Device, true) != SUCCESS) die("memory was freed twice, on two streams");
    }});
}
API cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    BEGIN_OUTSIDE_CAPTURE();
    return allocate(out, bytes, Kind::Pinned);
}
API cuMemAllocHost_v2(void** out, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    return allocate(out, bytes, Kind::Pinned);
}
API cuMemFreeHost(void* pointer) {
    BEGIN_OUTSIDE_CAPTURE();
    drain_all();
    return release(pointer, Kind::Pinned, true);
}
API cuMemHostGetDevicePointer_v2(DevicePointer* out, void* pointer, unsigned) {
    BEGIN_IN_CONTEXT();
    if (!is_allocated(pointer, 1, &PINNED)) return INVALID_VALUE;
    *out = reinterpret_cast<DevicePointer>(pointer);
    return SUCCESS;
}
API cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
    BEGIN_OUTSIDE_CAPTURE();
    if (pointer == nullptr || bytes == 0 || is_allocated(pointer, 1)) return INVALID_VALUE;
    auto data = static_cast<char*>(pointer);
    live[data] = {data, bytes, data, bytes, Kind::Pinned, false};
    return SUCCESS;
}
API cuMemHostUnregister(void* pointer) {
    BEGIN_OUTSIDE_CAPTURE();
    drain_all();
    return release(pointer, Kind::Pinned, false);
}
API cuMemGetInfo_v2(size_t* free, size_t* total) {
    BEGIN_IN_CONTEXT();
    *total = device_bytes_total();
    *free = *total - std::min(device_bytes_used, *total);
    return SUCCESS;
}
API cuMemGetAddressRange_v2(DevicePointer* base, size_t* bytes, DevicePointer pointer) {
    BEGIN_IN_CONTEXT();
    const Allocation* a = find(address(pointer));
    if (a == nullptr) return INVALID_VALUE;
    if (base != nullptr) *base = reinterpret_cast<DevicePointer>(a->data);
    if (bytes != nullptr) *bytes = a->bytes;
    return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return copy_in(*stream, address(to), from, bytes);
}
API cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return copy_out(*stream, to, address(from), bytes);
}
API cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return copy_between(*stream, address(to), address(from), bytes);
}
API cuMemcpyAsync(DevicePointer to, DevicePointer from, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (!is_allocated(address(from), bytes)) return copy_in(*stream, address(to), address(from), bytes);
    if (!is_allocated(address(to), bytes)) return copy_out(*stream, address(to), address(from), bytes);
    return copy_between(*stream, address(to), address(from), bytes);
}
API cuMemsetD8Async(DevicePointer at, unsigned char value, size_t bytes, void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return set(*stream, address(at), value, bytes);
}

// The same at once, on the null stream.
API cuMemcpyHtoD_v2(DevicePointer to, const void* from, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    STREAM(nullptr);
    int status = copy_in(*stream, address(to), from, bytes);
    drain(*stream);
    return status;
}
API cuMemcpyDtoH_v2(void* to, DevicePointer from, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    STREAM(nullptr);
    int status = copy_out(*stream, to, address(from), bytes);
    drain(*stream);
    return status;
}
API cuMemcpyDtoD_v2(DevicePointer to, DevicePointer from, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    STREAM(nullptr);
    return copy_between(*stream, address(to), address(from), bytes);
}
API cuMemsetD8_v2(DevicePointer at, unsigned char value, size_t bytes) {
    BEGIN_OUTSIDE_CAPTURE();
    STREAM(nullptr);
    return set(*stream, address(at), value, bytes);
}
