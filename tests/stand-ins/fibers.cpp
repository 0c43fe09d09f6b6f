// Runs a kernel on the CPU: the threads of a block as fibers on one thread of the system, which give way to each other
// at barriers only. A barrier that some of the threads never reach, undefined on a GPU, ends the process with words.
#include "cuda_host.h"
#include "driver.h"
#include "kernel.h"
#include <sys/mman.h>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Saves the caller's registers on its stack and its stack pointer in `*save`, then goes on where `to` was saved.
extern "C" void winspect_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.type winspect_switch,@function
winspect_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
#elif defined(__aarch64__)
asm(R"(
.text
.type winspect_switch,%function
winspect_switch:
    sub sp,sp,#160
    stp x19,x20,[sp]; stp x21,x22,[sp,#16]; stp x23,x24,[sp,#32]; stp x25,x26,[sp,#48]; stp x27,x28,[sp,#64]
    stp x29,x30,[sp,#80]
    stp d8,d9,[sp,#96]; stp d10,d11,[sp,#112]; stp d12,d13,[sp,#128]; stp d14,d15,[sp,#144]
    mov x2,sp
    str x2,[x0]
    mov sp,x1
    ldp x19,x20,[sp]; ldp x21,x22,[sp,#16]; ldp x23,x24,[sp,#32]; ldp x25,x26,[sp,#48]; ldp x27,x28,[sp,#64]
    ldp x29,x30,[sp,#80]
    ldp d8,d9,[sp,#96]; ldp d10,d11,[sp,#112]; ldp d12,d13,[sp,#128]; ldp d14,d15,[sp,#144]
    add sp,sp,#160
    ret
)");
#else
#error "the stand-ins run on x86-64 and aarch64"
#endif

namespace host {
namespace {

constexpr unsigned THREADS_MAX = 1024;
constexpr size_t STACK_BYTES = 64 * 1024;
constexpr size_t GUARD_BYTES = 4096;

struct Gate {
    unsigned waiting = 0;
    unsigned members = 0; // the lanes that are waited for; of no meaning for the block's gate
    unsigned long opened = 0;
};

struct Fiber {
    void* stack_pointer;
    uint3 index;
    bool left;
    Gate* gate; // it waits here until `opened` is no longer what it was
    unsigned long opened;
    uint64_t slot;
};

Fiber fibers[THREADS_MAX];
Gate block_gate, warp_gates[THREADS_MAX / 32];
unsigned lanes[THREADS_MAX / 32]; // a bit for each live lane of a warp
unsigned threads, live, current;
void* launcher;
const std::function<void()>* body;
const std::string* kernel_name;

char* stacks() {
    static char* const all = [] {
        size_t bytes = THREADS_MAX * STACK_BYTES;
        void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED) die("no memory for the stacks of %u threads", THREADS_MAX);
        for (unsigned i = 0; i < THREADS_MAX; ++i)
            mprotect(static_cast<char*>(found) + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
        return static_cast<char*>(found);
    }();
    return all;
}

bool can_run(const Fiber& fiber) {
    return !fiber.left && (fiber.gate == nullptr || fiber.gate->opened != fiber.opened);
}

[[noreturn]] void stuck() {
    die("kernel %s, block (%u, %u, %u): %u of its %u threads wait at a barrier or shuffle that the others never reach",
        kernel_name->c_str(), blockIdx.x, blockIdx.y, blockIdx.z, live, threads);
}

// Gives way to the next thread that can go on, or to the launcher when all have left.
void give_way() {
    unsigned from = current;
    for (unsigned step = 1; step <= threads; ++step) {
        unsigned next = (from + step) % threads;
        if (!can_run(fibers[next])) continue;
        current = next;
        fibers[next].gate = nullptr;
        threadIdx = fibers[next].index;
        if (next != from) winspect_switch(&fibers[from].stack_pointer, fibers[next].stack_pointer);
        return;
    }
    if (live != 0) stuck();
    winspect_switch(&fibers[from].stack_pointer, launcher);
}

void open(Gate& gate) {
    gate.waiting = 0;
    ++gate.opened;
}

void wait(Gate& gate, unsigned expected) {
    if (++gate.waiting == expected) return open(gate);
    fibers[current].gate = &gate;
    fibers[current].opened = gate.opened;
    give_way();
}

unsigned expected_at(const Gate& gate, unsigned warp) { return unsigned(__builtin_popcount(gate.members & lanes[warp])); }

// A thread that has left is waited for no more.
void leave() {
    unsigned warp = current / 32;
    fibers[current].left = true;
    --live;
    lanes[warp] &= ~(1u << current % 32);
    if (block_gate.waiting != 0 && block_gate.waiting == live) open(block_gate);
    Gate& gate = warp_gates[warp];
    if (gate.waiting != 0 && gate.waiting == expected_at(gate, warp)) open(gate);
}

void enter_thread() {
    (*body)();
    leave();
    give_way();
    die("a thread that had left came back");
}

// A stack as if winspect_switch had been called at the very beginning of `enter_thread`.
void* fresh_stack(unsigned thread) {
    auto top = reinterpret_cast<uintptr_t>(stacks() + (thread + 1) * STACK_BYTES);
#if defined(__x86_64__)
    auto* words = reinterpret_cast<void**>(top - 16);
    *words = reinterpret_cast<void*>(enter_thread);
    words -= 6;
    std::memset(words, 0, 6 * sizeof(void*));
#else
    auto* words = reinterpret_cast<void**>(top - 160);
    std::memset(words, 0, 160);
    words[11] = reinterpret_cast<void*>(enter_thread);
#endif
    return words;
}

void run_block() {
    live = threads;
    block_gate = {};
    for (unsigned warp = 0; warp * 32 < threads; ++warp) {
        unsigned here = min(32u, threads - warp * 32);
        lanes[warp] = here == 32 ? ~0u : (1u << here) - 1;
        warp_gates[warp] = {};
    }
    for (unsigned i = 0; i < threads; ++i) {
        uint3 index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        fibers[i] = {fresh_stack(i), index, false, nullptr, 0, 0};
    }
    current = 0;
    threadIdx = fibers[0].index;
    winspect_switch(&launcher, fibers[0].stack_pointer);
}

} // namespace

unsigned thread() { return current; }

void block_barrier() { wait(block_gate, live); }

void warp_barrier(unsigned mask) {
    unsigned warp = current / 32;
    Gate& gate = warp_gates[warp];
    if (!(mask >> current % 32 & 1))
        die("kernel %s: thread %u shuffles with a mask (%#x) that it is not in", kernel_name->c_str(), current, mask);
    gate.members = mask;
    wait(gate, expected_at(gate, warp));
}

uint64_t& own_slot() { return fibers[current].slot; }

uint64_t lane_slot(unsigned lane) {
    unsigned warp = current / 32;
    if (lane >= 32 || !(lanes[warp] >> lane & 1))
        die("kernel %s: thread %u reads lane %u, which is not there (undefined on a GPU)", kernel_name->c_str(), current,
            lane);
    return fibers[warp * 32 + lane].slot;
}

unsigned live_lanes() { return lanes[current / 32]; }

std::vector<Kernel>& kernels() {
    static std::vector<Kernel> all;
    return all;
}

void launch(const std::string& name, const unsigned (&grid)[3], const unsigned (&block)[3],
            const std::function<void()>& what) {
    kernel_name = &name;
    body = &what;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    threads = block[0] * block[1] * block[2];
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                run_block();
            }
}

} // namespace host
