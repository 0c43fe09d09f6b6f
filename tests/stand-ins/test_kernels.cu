// Kernels of the stand-ins' own tests (tests/it/stand_ins.rs), which also run on a GPU: each uses a part of the language
// that the stand-in makes up.

// out[i] = 2 in[i], and one more where REAL_IS_HALF is 1.
extern "C" __global__ void test_double(const int* in, int* out, int count) {
    int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) out[i] = 2 * in[i] + REAL_IS_HALF;
}

// sums[block] = the sum of the block's values: shuffles in each warp, then in the first of the warps only.
extern "C" __global__ void test_sum(const float* in, float* sums, int count) {
    __shared__ float parts[32];
    int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = i < count ? in[i] : 0.0f;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.0f;
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (threadIdx.x == 0) sums[blockIdx.x] = sum;
    }
    __syncthreads();
}

// counts[0] += threads, counts[1] = the highest block, counts[2] = lanes of a warp that are even.
extern "C" __global__ void test_atomics(unsigned* counts) {
    atomicAdd(&counts[0], 1u);
    atomicMax(&counts[1], blockIdx.x);
    unsigned even = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 0);
    if (threadIdx.x == 0) counts[2] = unsigned(__popc(even));
}

// Writes one value beyond the end of `out` on purpose: only for the stand-in, which must notice.
extern "C" __global__ void test_overrun(int* out, int count) {
    if (threadIdx.x == 0) out[count] = 1;
}

// Waits at a barrier that the other threads never reach on purpose: only for the stand-in, which must notice.
extern "C" __global__ void test_stuck(int* out) {
    if (threadIdx.x == 0) {
        __syncthreads();
        out[0] = 1;
    } else {
        __shfl_sync(1u << 1 | 1u, 0, 0);
    }
}
