// Contract, shapes and cost: nearest.rs.
#include "real.cuh"

struct GalleryRows {
    const REAL* address;
    int rows, unused;
};

struct Nearest {
    const REAL* features;
    const int* row;
    const int* begin;
    const GalleryRows* galleries;
    float* shares;
    float* distances;
    unsigned* flags;
    unsigned queries, crops, width, queries_each;
};
static_assert(sizeof(Nearest) == 72, "as NearestArgs in nearest.rs");

// A block multiplies QUERIES with ROWS, DEPTH values of each at a time in shared memory. A thread makes EACH x EACH
// products: of every 8th query with every 16th row. A warp brings every 4th query and row, a lane one value of each.
constexpr unsigned QUERIES = 32, ROWS = 64, DEPTH = 32, SHARES = 16;
constexpr unsigned WARPS = 4, EACH = 4, QUERY_STEP = QUERIES / EACH, ROW_STEP = ROWS / EACH;
static_assert(QUERY_STEP * ROW_STEP == 32 * WARPS && DEPTH == 32, "a thread each 4 x 4 products, a lane each value");
constexpr float LOWEST = -3.402823466e38f;

struct alignas(16) Four {
    float a, b, c, d;
};

// DEPTH values of a query or row. The Four too many puts 8 rows into different banks: 8 lanes read at once.
struct Slice {
    Four fours[DEPTH / 4 + 1];
};

// Fetches into registers, so that it goes on while the slices before are multiplied. Values beyond the width are 0, and
// those of a missing row.
template <unsigned COUNT>
static __device__ __forceinline__ void fetch(REAL (&values)[COUNT], const REAL* const (&rows)[COUNT], unsigned begin,
                                             unsigned width) {
    const unsigned at = begin + threadIdx.x % 32;
#pragma unroll
    for (unsigned i = 0; i < COUNT; ++i) values[i] = rows[i] != nullptr && at < width ? rows[i][at] : REAL(0);
}

template <unsigned COUNT> static __device__ __forceinline__ void put(Slice* slices, const REAL (&values)[COUNT]) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned i = 0; i < COUNT; ++i)
        reinterpret_cast<float*>(slices[warp + WARPS * i].fours)[lane] = from_real(values[i]);
}

// Adds the products of the slices in shared memory.
static __device__ __forceinline__ void multiply(const Slice* queries, const Slice* rows, float (&products)[EACH][EACH]) {
    const unsigned line = threadIdx.x / ROW_STEP, column = threadIdx.x % ROW_STEP;
#pragma unroll
    for (unsigned at = 0; at < DEPTH / 4; ++at) {
        Four query[EACH], row[EACH];
        for (unsigned i = 0; i < EACH; ++i) query[i] = queries[line + QUERY_STEP * i].fours[at];
        for (unsigned i = 0; i < EACH; ++i) row[i] = rows[column + ROW_STEP * i].fours[at];
        for (unsigned i = 0; i < EACH; ++i) {
            for (unsigned j = 0; j < EACH; ++j) {
                const Four a = query[i], b = row[j];
                products[i][j] += a.a * b.a + a.b * b.b + a.c * b.c + a.d * b.d;
            }
        }
    }
}

// <a, a>, by a warp, in each of its lanes.
static __device__ __forceinline__ float square_of(const REAL* row, unsigned width) {
    float square = 0;
    for (unsigned i = threadIdx.x % 32; i < width; i += 32) square += from_real(row[i]) * from_real(row[i]);
    return warp_sum(square);
}

// The highest cosine of each of a block's queries over the rows of its share: every SHARES-th tile of the gallery.
extern "C" __global__ void nearest(Nearest args) {
    __shared__ Slice query_slices[QUERIES], row_slices[ROWS];
    __shared__ float squares[QUERIES];
    const unsigned crop = blockIdx.z, share = blockIdx.y, warp = threadIdx.x / 32;
    const unsigned first = args.begin[crop] + QUERIES * blockIdx.x, end = args.begin[crop + 1];
    if (first >= end) return;
    const GalleryRows gallery = args.galleries[crop];
    const unsigned gallery_rows = gallery.rows;

    const REAL* queries[QUERIES / WARPS];
    for (unsigned i = 0; i < QUERIES / WARPS; ++i) {
        const unsigned query = first + warp + WARPS * i;
        queries[i] = query < end ? args.features + size_t(args.row[query]) * args.width : nullptr;
        const float square = queries[i] != nullptr ? square_of(queries[i], args.width) : 0;
        if (threadIdx.x % 32 == 0) squares[warp + WARPS * i] = square;
    }

    const unsigned line = threadIdx.x / ROW_STEP, column = threadIdx.x % ROW_STEP;
    float highest[EACH] = {LOWEST, LOWEST, LOWEST, LOWEST};
    for (unsigned tile = ROWS * share; tile < gallery_rows; tile += ROWS * SHARES) {
        const REAL* rows[ROWS / WARPS];
        for (unsigned i = 0; i < ROWS / WARPS; ++i) {
            const unsigned row = tile + warp + WARPS * i;
            rows[i] = row < gallery_rows ? gallery.address + size_t(row) * args.width : nullptr;
        }
        float products[EACH][EACH] = {};
        REAL of_queries[QUERIES / WARPS], of_rows[ROWS / WARPS];
        fetch(of_queries, queries, 0, args.width);
        fetch(of_rows, rows, 0, args.width);
        for (unsigned begin = 0; begin < args.width; begin += DEPTH) {
            put(query_slices, of_queries);
            put(row_slices, of_rows);
            __syncthreads();
            fetch(of_queries, queries, begin + DEPTH, args.width);
            fetch(of_rows, rows, begin + DEPTH, args.width);
            multiply(query_slices, row_slices, products);
            __syncthreads();
        }
        for (unsigned j = 0; j < EACH; ++j) {
            if (tile + column + ROW_STEP * j >= gallery_rows) break;
            for (unsigned i = 0; i < EACH; ++i) highest[i] = fmaxf(highest[i], products[i][j]);
        }
    }
    __syncthreads();

    for (unsigned i = 0; i < EACH; ++i) {
        for (unsigned apart = ROW_STEP / 2; apart > 0; apart /= 2)
            highest[i] = fmaxf(highest[i], __shfl_xor_sync(0xffffffffu, highest[i], apart));
        const unsigned at = line + QUERY_STEP * i;
        if (column != 0 || first + at >= end) continue;
        const float square = squares[at];
        if (!is_finite(square)) args.flags[crop] = 1;
        // A zero vector has no direction, and a similarity of 0 to anything; a share without rows has none.
        const float cosine = square > 0 ? highest[i] / sqrtf(square) : 0;
        args.shares[size_t(share) * args.queries + first + at] = fmaxf(cosine, -1.0f);
    }
}

// (1 - the highest cosine) / 2 of each query.
extern "C" __global__ void distances(Nearest args) {
    const unsigned query = blockIdx.x * blockDim.x + threadIdx.x;
    if (query >= args.queries) return;
    float highest = -1;
    for (unsigned share = 0; share < SHARES; ++share)
        highest = fmaxf(highest, args.shares[size_t(share) * args.queries + query]);
    args.distances[query] = fminf(fmaxf((1 - highest) / 2, 0.0f), 1.0f);
}
