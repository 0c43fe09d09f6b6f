// The parts of CUDA that let g++ compile a kernel's source for the CPU: the language's words, its types, barriers,
// shuffles, atomics. One fiber per CUDA thread of a block, blocks one after another (fibers.cpp), so that a kernel's
// text is the same on both sides. Not for `extern __shared__`, inline PTX or tensor cores.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __restrict__ __restrict
#define __shared__ static // one block runs at a time, on one thread of the system
#define __constant__ static const

struct dim3 {
    unsigned x, y, z;
};
using uint3 = dim3;

#define WINSPECT_VECTORS(T, NAME)                                                                                     \
    struct alignas(2 * sizeof(T)) NAME##2 { T x, y; };                                                                \
    struct NAME##3 { T x, y, z; };                                                                                    \
    struct alignas(4 * sizeof(T)) NAME##4 { T x, y, z, w; };                                                          \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                                        \
    inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                                                \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
WINSPECT_VECTORS(float, float)
WINSPECT_VECTORS(int, int)
WINSPECT_VECTORS(unsigned char, uchar)
WINSPECT_VECTORS(unsigned short, ushort)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace host {
// The thread's number in its block.
unsigned thread();
// Waits for all live threads of the block.
void block_barrier();
// Waits for the live lanes of the warp that `mask` names; the caller must be one of them.
void warp_barrier(unsigned mask);
// The value that each lane of the caller's warp has put here; a lane that has left is refused with words.
uint64_t& own_slot();
uint64_t lane_slot(unsigned lane);
// The lanes of the caller's warp that have not left the kernel.
unsigned live_lanes();

template <class T> T exchange(unsigned mask, T value, unsigned lane) {
    static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
    std::memcpy(&own_slot(), &value, sizeof(T));
    warp_barrier(mask);
    uint64_t found = lane_slot(lane);
    warp_barrier(mask);
    std::memcpy(&value, &found, sizeof(T));
    return value;
}
} // namespace host

inline void __syncthreads() { host::block_barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { host::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// Shuffles, as CUDA defines them: a lane beyond the `width` lanes of the caller's part gives the caller's own value.
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    unsigned base = host::thread() % 32 / unsigned(width) * unsigned(width);
    return host::exchange(mask, value, base + unsigned(lane) % unsigned(width));
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = host::thread() % 32;
    return host::exchange(mask, value, lane % unsigned(width) + delta < unsigned(width) ? lane + delta : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = host::thread() % 32;
    return host::exchange(mask, value, lane % unsigned(width) >= delta ? lane - delta : lane);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    unsigned lane = host::thread() % 32, other = lane ^ unsigned(bits);
    return host::exchange(mask, value, other / unsigned(width) <= lane / unsigned(width) ? other : lane);
}
inline unsigned __ballot_sync(unsigned mask, int fact) {
    host::own_slot() = fact != 0;
    host::warp_barrier(mask);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if ((mask & host::live_lanes()) >> lane & 1) ballot |= unsigned(host::lane_slot(lane)) << lane;
    host::warp_barrier(mask);
    return ballot;
}
inline int __any_sync(unsigned mask, int fact) { return __ballot_sync(mask, fact) != 0; }
inline int __all_sync(unsigned mask, int fact) { return __ballot_sync(mask, !fact) == 0; }

// Nothing interrupts a fiber, so plain reads and writes are atomic.
template <class T> T atomicExch(T* place, std::common_type_t<T> value) {
    T old = *place;
    *place = value;
    return old;
}
template <class T> T atomicAdd(T* place, std::common_type_t<T> value) { return atomicExch(place, T(*place + value)); }
template <class T> T atomicOr(T* place, std::common_type_t<T> value) { return atomicExch(place, T(*place | value)); }
template <class T> T atomicAnd(T* place, std::common_type_t<T> value) { return atomicExch(place, T(*place & value)); }
template <class T> T atomicMax(T* place, std::common_type_t<T> value) {
    return atomicExch(place, *place < value ? value : *place);
}
template <class T> T atomicMin(T* place, std::common_type_t<T> value) {
    return atomicExch(place, value < *place ? value : *place);
}
template <class T> T atomicCAS(T* place, std::common_type_t<T> expected, std::common_type_t<T> value) {
    return atomicExch(place, *place == expected ? value : *place);
}

template <class A, class B> std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
template <class A, class B> std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }
template <class T> T __ldg(const T* place) { return *place; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
// glibc's <cmath> declares names such as __expf for itself: macros replace them in kernels.
#define __expf(x) std::exp(float(x))
#define __logf(x) std::log(float(x))
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __float2int_rd(float x) { return int(std::floor(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }

namespace host {
template <class To, class From> To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To same;
    std::memcpy(&same, &value, sizeof(To));
    return same;
}
} // namespace host
inline unsigned __float_as_uint(float x) { return host::bits<unsigned>(x); }
inline int __float_as_int(float x) { return host::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return host::bits<float>(x); }
inline float __int_as_float(int x) { return host::bits<float>(x); }
