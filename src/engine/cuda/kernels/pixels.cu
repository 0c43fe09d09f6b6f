// Contract, shapes and cost: pixels/mod.rs.
#include "real.cuh"

struct ChromaPlanes {
    const unsigned char* u;
    const unsigned char* v;
    unsigned stride, step;
    int matrix[6];
    unsigned left, top;
};

struct CropDescriptor {
    const unsigned char* plane;
    unsigned char* wide;
    ChromaPlanes chroma;
    unsigned stride, format, width, height;
    unsigned x, y, first_row, rows;
    unsigned across, down;
};
static_assert(sizeof(CropDescriptor) == 112, "as CropDescriptor in pixels/mod.rs");

struct Pixels {
    const CropDescriptor* crops;
    const int* taps;
    const float* lut;
    REAL* pixels;
    unsigned count, side, rows, unused;
};
static_assert(sizeof(Pixels) == 48, "as PixelArgs in pixels/mod.rs");

enum { FORMAT_RGB, FORMAT_GRAY8, FORMAT_SUBSAMPLED };

struct Rgb {
    int red, green, blue;
};

static __device__ __forceinline__ int clamped_grey(int value) { return min(max(value, 0), 255); }

// One sample of chroma, between its row and the neighbour on the pixel's side (`vertical` in camera/colour.rs).
static __device__ __forceinline__ int chroma_of_row(const unsigned char* plane, const CropDescriptor& crop, unsigned at,
                                                    unsigned y) {
    const ChromaPlanes& chroma = crop.chroma;
    const unsigned last = (crop.height + 1) / 2 - 1, near = y / 2;
    const bool is_upper = y % 2 == 0;
    const unsigned far = is_upper ? max(near, 1u) - 1 : min(near + 1, last);
    const int own = plane[size_t(near) * chroma.stride + at * chroma.step];
    if (chroma.top && is_upper) return own;
    const int other = plane[size_t(far) * chroma.stride + at * chroma.step];
    return chroma.top ? (own + other + 1) / 2 : (3 * own + other + 2) / 4;
}

// Chroma at a pixel, between its column and the neighbour on the pixel's side (`horizontal` in camera/colour.rs).
static __device__ __forceinline__ int chroma_at(const unsigned char* plane, const CropDescriptor& crop, unsigned x,
                                                unsigned y) {
    const unsigned last = (crop.width + 1) / 2 - 1, near = x / 2;
    const bool is_left = x % 2 == 0;
    const unsigned far = is_left ? max(near, 1u) - 1 : min(near + 1, last);
    const int own = chroma_of_row(plane, crop, near, y);
    if (crop.chroma.left && is_left) return own;
    const int other = chroma_of_row(plane, crop, far, y);
    return crop.chroma.left ? (own + other + 1) / 2 : (3 * own + other + 2) / 4;
}

// The upper half of a product of 16-bit numbers.
static __device__ __forceinline__ int high(int a, int b) { return (a * b) >> 16; }

// Luma and chroma to RGB with 4 fractional bits (`coloured` in camera/colour.rs).
static __device__ __forceinline__ Rgb coloured(int luma, int u, int v, const int (&matrix)[6]) {
    const int y = high((luma - matrix[0]) * 128, matrix[1]);
    const int wide_u = (u - 128) * 256, wide_v = (v - 128) * 256;
    return {clamped_grey((y + high(wide_v, matrix[2]) + 9) >> 4),
            clamped_grey((y + high(wide_u, matrix[3]) + high(wide_v, matrix[4]) + 9) >> 4),
            clamped_grey((y + high(wide_u, matrix[5]) + 9) >> 4)};
}

// A pixel of the whole picture.
static __device__ __forceinline__ Rgb pixel_at(const CropDescriptor& crop, unsigned x, unsigned y) {
    const unsigned char* row = crop.plane + size_t(y) * crop.stride;
    if (crop.format == FORMAT_RGB) return {row[3 * x], row[3 * x + 1], row[3 * x + 2]};
    if (crop.format == FORMAT_GRAY8) return {row[x], row[x], row[x]};
    const int u = chroma_at(crop.chroma.u, crop, x, y), v = chroma_at(crop.chroma.v, crop, x, y);
    return coloured(row[x], u, v, crop.chroma.matrix);
}

// The source pixels of one output pixel: TapTable in pixels/mod.rs.
struct Tap {
    int first, count;
    const int* weights;
};

static __device__ __forceinline__ Tap tap_of(const int* table, unsigned output) {
    const int* words = table + 3 * output;
    return {words[0], words[1], table + words[2]};
}

static __device__ __forceinline__ void add(Rgb& sum, int weight, int red, int green, int blue) {
    sum.red += weight * red;
    sum.green += weight * green;
    sum.blue += weight * blue;
}

// A sum with 22 fractional bits to a grey level.
static __device__ __forceinline__ int rounded(int sum) { return clamped_grey((sum + (1 << 21)) >> 22); }

// A thread makes one pixel of `wide` and those below it that no other block has.
extern "C" __global__ void pixels_across(Pixels args) {
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= args.side) return;
    const CropDescriptor crop = args.crops[blockIdx.z];
    const Tap tap = tap_of(args.taps + crop.across, column);
    for (unsigned row = blockIdx.y * blockDim.y + threadIdx.y; row < crop.rows; row += gridDim.y * blockDim.y) {
        const unsigned x = crop.x + tap.first, y = crop.y + crop.first_row + row;
        Rgb sum = {0, 0, 0};
        for (int i = 0; i < tap.count; ++i) {
            const Rgb seen = pixel_at(crop, x + i, y);
            add(sum, tap.weights[i], seen.red, seen.green, seen.blue);
        }
        unsigned char* out = crop.wide + 3 * (size_t(row) * args.side + column);
        out[0] = rounded(sum.red);
        out[1] = rounded(sum.green);
        out[2] = rounded(sum.blue);
    }
}

// A thread makes one pixel of `pixels`.
extern "C" __global__ void pixels_down(Pixels args) {
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x, index = blockIdx.z, side = args.side;
    if (column >= side) return;
    const CropDescriptor crop = args.crops[index];
    for (unsigned row = blockIdx.y * blockDim.y + threadIdx.y; row < side; row += gridDim.y * blockDim.y) {
        const Tap tap = tap_of(args.taps + crop.down, row);
        const unsigned char* seen = crop.wide + 3 * (size_t(tap.first - crop.first_row) * side + column);
        Rgb sum = {0, 0, 0};
        for (int i = 0; i < tap.count; ++i, seen += 3 * side) add(sum, tap.weights[i], seen[0], seen[1], seen[2]);
        const size_t plane = size_t(side) * side;
        REAL* out = args.pixels + 3 * plane * index + size_t(row) * side + column;
        out[0] = to_real(args.lut[rounded(sum.red)]);
        out[plane] = to_real(args.lut[256 + rounded(sum.green)]);
        out[2 * plane] = to_real(args.lut[512 + rounded(sum.blue)]);
    }
}
