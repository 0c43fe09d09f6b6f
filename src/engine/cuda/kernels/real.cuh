// The element of the network's tensors, and the functions that all kernels share. REAL_IS_HALF comes from the compiler's command line.
//
// No header of CUDA's is included: a machine on the line has a driver and NVRTC, no toolkit. So halves are their bits,
// and the two conversions are single instructions on a GPU, the compiler's own half on a host that runs the tests.
#pragma once

#if REAL_IS_HALF
typedef unsigned short REAL;

#if defined(__CUDACC__)
static __device__ __forceinline__ float from_real(REAL bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// Rounds to the nearest, ties to even; values beyond 65504 become infinite.
static __device__ __forceinline__ REAL to_real(float value) {
    REAL bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#else
static inline float from_real(REAL bits) {
    _Float16 half;
    __builtin_memcpy(&half, &bits, sizeof half);
    return static_cast<float>(half);
}

static inline REAL to_real(float value) {
    const _Float16 half = static_cast<_Float16>(value);
    REAL bits;
    __builtin_memcpy(&bits, &half, sizeof bits);
    return bits;
}
#endif

#else
typedef float REAL;

static __device__ __forceinline__ float from_real(REAL value) { return value; }
static __device__ __forceinline__ REAL to_real(float value) { return value; }
#endif

// True for a value that is neither infinite nor "not a number".
static __device__ __forceinline__ bool is_finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// The sum over the 32 lanes of a warp, in each of them.
static __device__ __forceinline__ float warp_sum(float value) {
    for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(0xffffffffu, value, apart);
    return value;
}
