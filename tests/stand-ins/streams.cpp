// Streams, events, capture and graphs of the stand-in. A stream's operations run in their order when something waits for
// them; a graph's launches run the recorded operations of a capture, in the order of their recording.
#include "driver.h"
#include <chrono>
#include <cstring>
#include <map>
#include <set>
#include <thread>

namespace host {

struct Graph {
    std::vector<Operation> operations;
};

// Capture modes (CUstreamCaptureMode).
enum Mode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };

// One capture: of the stream that it began on, and of those that waited for an event of it.
struct Capture {
    Stream* origin;
    Mode mode;
    std::thread::id thread;
    bool broken = false;
    std::shared_ptr<Graph> graph = std::make_shared<Graph>();
    std::set<Stream*> unjoined; // streams with operations that the origin has not waited for
};

namespace {

using Clock = std::chrono::steady_clock;

struct Event {
    bool timed = false;
    unsigned long recorded = 0; // the last record that was asked for
    unsigned long reached = 0;  // the last that the stream came to
    Clock::time_point at;
    std::weak_ptr<Stream> stream;
    std::shared_ptr<Capture> capture; // of the capture that it was recorded in
};

template <class T> using Handles = std::map<void*, std::shared_ptr<T>>;
Handles<Stream> streams;
Handles<Event> events;
Handles<Graph> graphs, executables;
std::set<Capture*> captures; // under way
thread_local Mode thread_mode = GLOBAL;

template <class T> void* keep(Handles<T>& all, std::shared_ptr<T> one) {
    void* handle = one.get();
    all[handle] = std::move(one);
    return handle;
}

template <class T> std::shared_ptr<T> look_up(const Handles<T>& all, void* handle) {
    auto found = all.find(handle);
    return found == all.end() ? nullptr : found->second;
}

void run_next(Stream& stream) {
    Operation operation = std::move(stream.waiting[stream.done++]);
    if (stream.done == stream.waiting.size()) {
        stream.waiting.clear();
        stream.done = 0;
    }
    operation.run();
    check_red_zones(operation.what);
}

// Runs an event's stream as far as that record.
void run_up_to(const std::shared_ptr<Event>& event, unsigned long record) {
    auto stream = event->stream.lock();
    while (stream && event->reached < record && !stream->waiting.empty()) run_next(*stream);
}

int wait_for_event(Stream& stream, const std::shared_ptr<Event>& event) {
    if (event->capture && captures.count(event->capture.get())) {
        if (stream.capture && stream.capture != event->capture) return CAPTURE_MERGE;
        stream.capture = event->capture; // a fork, or a join
        if (auto from = event->stream.lock()) stream.capture->unjoined.erase(from.get());
        return SUCCESS;
    }
    if (event->recorded == 0) return SUCCESS;
    if (stream.capture) return CAPTURE_ISOLATION; // it would wait for what is in no graph
    return enqueue(stream, {"a wait", [event, record = event->recorded] { run_up_to(event, record); }});
}

int record_event(const std::shared_ptr<Event>& event, const std::shared_ptr<Stream>& stream) {
    event->stream = stream;
    event->capture = stream->capture;
    if (stream->capture) return stream->capture->broken ? CAPTURE_INVALIDATED : SUCCESS;
    return enqueue(*stream, {"an event", [event, record = ++event->recorded] {
        event->reached = record;
        event->at = Clock::now();
    }});
}

// The graph of a capture that ends on this stream.
int end_capture(Stream& stream, std::shared_ptr<Graph>& graph) {
    auto capture = stream.capture;
    if (!capture) return ILLEGAL_STATE;
    if (capture->origin != &stream) return CAPTURE_UNMATCHED;
    if (capture->mode != RELAXED && capture->thread != std::this_thread::get_id()) return CAPTURE_WRONG_THREAD;
    captures.erase(capture.get());
    for (auto& [handle, other] : streams)
        if (other->capture == capture) other->capture = nullptr;
    if (capture->broken) return CAPTURE_INVALIDATED;
    if (!capture->unjoined.empty()) return CAPTURE_UNJOINED;
    graph = capture->graph;
    return SUCCESS;
}

int create_stream(void** out, unsigned flags, int priority) {
    auto stream = std::make_shared<Stream>();
    stream->flags = flags;
    stream->priority = priority;
    *out = keep(streams, stream);
    return SUCCESS;
}

// True when waiting for this stream would wait for work that is only recorded; its capture is broken then.
bool is_captured(Stream& stream) {
    if (!stream.capture) return false;
    stream.capture->broken = true;
    return true;
}

} // namespace

std::shared_ptr<Stream> stream_of(void* handle) {
    static const auto* null_stream = new std::shared_ptr<Stream>(std::make_shared<Stream>());
    if (reinterpret_cast<uintptr_t>(handle) <= 2) {
        streams[null_stream->get()] = *null_stream;
        return *null_stream;
    }
    return look_up(streams, handle);
}

int enqueue(Stream& stream, Operation operation) {
    if (!stream.capture) {
        stream.waiting.push_back(std::move(operation));
        return SUCCESS;
    }
    if (stream.capture->broken) return CAPTURE_INVALIDATED;
    stream.capture->graph->operations.push_back(std::move(operation));
    if (&stream != stream.capture->origin) stream.capture->unjoined.insert(&stream);
    return SUCCESS;
}

void drain(Stream& stream) {
    while (!stream.waiting.empty()) run_next(stream);
}

void drain_all() {
    for (auto& [handle, stream] : streams) drain(*stream);
}

bool breaks_a_capture() {
    if (thread_mode == RELAXED) return false;
    bool breaks = false;
    for (Capture* capture : captures) {
        bool ours = capture->thread == std::this_thread::get_id() && capture->mode != RELAXED;
        if (ours || (capture->mode == GLOBAL && thread_mode == GLOBAL)) breaks = capture->broken = true;
    }
    return breaks;
}

} // namespace host

using namespace host;

#define STREAM(handle)                                                                                                 \
    auto stream = stream_of(handle);                                                                                   \
    if (!stream) return INVALID_HANDLE
#define EVENT(handle)                                                                                                  \
    auto event = look_up(events, handle);                                                                              \
    if (!event) return INVALID_HANDLE

API cuStreamCreate(void** out, unsigned flags) {
    BEGIN_IN_CONTEXT();
    return create_stream(out, flags, 0);
}
API cuStreamCreateWithPriority(void** out, unsigned flags, int priority) {
    BEGIN_IN_CONTEXT();
    return create_stream(out, flags, priority);
}
API cuStreamDestroy_v2(void* handle) {
    BEGIN_IN_CONTEXT();
    auto stream = look_up(streams, handle);
    if (!stream) return INVALID_HANDLE;
    if (is_captured(*stream)) captures.erase(stream->capture.get());
    drain(*stream);
    streams.erase(handle);
    return SUCCESS;
}
API cuStreamSynchronize(void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (is_captured(*stream)) return CAPTURE_UNSUPPORTED;
    drain(*stream);
    return SUCCESS;
}
API cuStreamQuery(void* handle) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (is_captured(*stream)) return CAPTURE_UNSUPPORTED;
    if (stream->waiting.empty()) return SUCCESS;
    drain(*stream); // the next query finds it done
    return NOT_READY;
}
API cuStreamWaitEvent(void* handle, void* event_handle, unsigned) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    EVENT(event_handle);
    return wait_for_event(*stream, event);
}
API cuStreamGetPriority(void* handle, int* priority) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    *priority = stream->priority;
    return SUCCESS;
}
API cuStreamGetFlags(void* handle, unsigned* flags) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    *flags = stream->flags;
    return SUCCESS;
}
API cuStreamGetAttribute(void* handle, int, void* value) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    std::memset(value, 0, 64); // sizeof(CUstreamAttrValue)
    return SUCCESS;
}
API cuStreamSetAttribute(void* handle, int, const void*) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return SUCCESS;
}
API cuCtxSynchronize() {
    BEGIN_OUTSIDE_CAPTURE();
    drain_all();
    return SUCCESS;
}
API cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    return enqueue(*stream, {"a host function", [function, data] {
        in_host_function = true;
        function(data);
        in_host_function = false;
    }});
}

API cuEventCreate(void** out, unsigned flags) {
    BEGIN_IN_CONTEXT();
    auto event = std::make_shared<Event>();
    event->timed = (flags & 2) == 0; // CU_EVENT_DISABLE_TIMING
    *out = keep(events, event);
    return SUCCESS;
}
API cuEventDestroy_v2(void* handle) {
    BEGIN_IN_CONTEXT();
    return events.erase(handle) == 1 ? SUCCESS : INVALID_HANDLE;
}
API cuEventRecord(void* handle, void* stream_handle) {
    BEGIN_IN_CONTEXT();
    STREAM(stream_handle);
    EVENT(handle);
    return record_event(event, stream);
}
API cuEventSynchronize(void* handle) {
    BEGIN_IN_CONTEXT();
    EVENT(handle);
    if (event->capture) return CAPTURED_EVENT;
    run_up_to(event, event->recorded);
    return SUCCESS;
}
API cuEventQuery(void* handle) {
    BEGIN_IN_CONTEXT();
    EVENT(handle);
    if (event->capture) return CAPTURED_EVENT;
    if (event->reached == event->recorded) return SUCCESS;
    run_up_to(event, event->recorded); // the next query finds it done
    return NOT_READY;
}
static int elapsed(float* milliseconds, void* begin_handle, void* end_handle) {
    auto begin = look_up(events, begin_handle), end = look_up(events, end_handle);
    if (!begin || !end || !begin->timed || !end->timed || !begin->recorded || !end->recorded) return INVALID_HANDLE;
    if (begin->reached < begin->recorded || end->reached < end->recorded) return NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
    return SUCCESS;
}
API cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
    BEGIN_IN_CONTEXT();
    return elapsed(milliseconds, begin, end);
}
API cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
    BEGIN_IN_CONTEXT();
    return elapsed(milliseconds, begin, end);
}

API cuStreamBeginCapture_v2(void* handle, int mode) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    if (reinterpret_cast<uintptr_t>(handle) <= 1) return CAPTURE_UNSUPPORTED; // the legacy stream
    if (stream->capture || mode < GLOBAL || mode > RELAXED) return INVALID_VALUE;
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream.get();
    stream->capture->mode = Mode(mode);
    stream->capture->thread = std::this_thread::get_id();
    captures.insert(stream->capture.get());
    return SUCCESS;
}
API cuStreamEndCapture(void* handle, void** out) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    std::shared_ptr<Graph> graph;
    int status = end_capture(*stream, graph);
    *out = graph ? keep(graphs, graph) : nullptr;
    return status;
}
API cuStreamIsCapturing(void* handle, int* status) {
    BEGIN_IN_CONTEXT();
    STREAM(handle);
    *status = !stream->capture ? 0 : stream->capture->broken ? 2 : 1;
    return SUCCESS;
}
API cuThreadExchangeStreamCaptureMode(int* mode) {
    BEGIN();
    if (*mode < GLOBAL || *mode > RELAXED) return INVALID_VALUE;
    Mode before = thread_mode;
    thread_mode = Mode(*mode);
    *mode = before;
    return SUCCESS;
}

API cuGraphInstantiateWithFlags(void** out, void* handle, unsigned long long flags) {
    BEGIN_IN_CONTEXT();
    auto graph = look_up(graphs, handle);
    bool known = flags < 16 && (flags & 5) != 5; // freed on launch and launched on the device exclude each other
    if (!graph || !known) return INVALID_VALUE;
    *out = keep(executables, std::make_shared<Graph>(*graph));
    return SUCCESS;
}
API cuGraphLaunch(void* handle, void* stream_handle) {
    BEGIN_IN_CONTEXT();
    STREAM(stream_handle);
    auto graph = look_up(executables, handle);
    if (!graph) return INVALID_VALUE;
    for (const Operation& operation : graph->operations)
        if (int status = enqueue(*stream, operation)) return status;
    return SUCCESS;
}
API cuGraphUpload(void* handle, void* stream_handle) {
    BEGIN_IN_CONTEXT();
    STREAM(stream_handle);
    return look_up(executables, handle) ? SUCCESS : INVALID_VALUE;
}
API cuGraphGetNodes(void* handle, void** nodes, size_t* count) {
    BEGIN_IN_CONTEXT();
    auto graph = look_up(graphs, handle);
    if (!graph || nodes != nullptr) return INVALID_VALUE; // only how many there are
    *count = graph->operations.size();
    return SUCCESS;
}
API cuGraphExecDestroy(void* handle) {
    BEGIN_IN_CONTEXT();
    return executables.erase(handle) == 1 ? SUCCESS : INVALID_VALUE;
}
API cuGraphDestroy(void* handle) {
    BEGIN_IN_CONTEXT();
    return graphs.erase(handle) == 1 ? SUCCESS : INVALID_VALUE;
}
