// Contract, shapes and cost: paint.rs.
#include "real.cuh"

struct PaintLayer {
    const float* map;
    const unsigned char* counts;
    unsigned columns, rows, left, top, right, bottom;
    float low, high;
};
static_assert(sizeof(PaintLayer) == 48, "as PaintLayer in paint.rs");

struct PaintOutline {
    unsigned x, y, w, h, thick, colour;
};
static_assert(sizeof(PaintOutline) == 24, "as PaintOutline in paint.rs");

struct Paint {
    const unsigned char* picture;
    const PaintLayer* layers;
    const PaintOutline* outlines;
    unsigned char* out;
    unsigned stride, width, height, out_width, out_height, layer_count, outline_count, unused;
};
static_assert(sizeof(Paint) == 64, "as PaintArgs in paint.rs");

struct Tint {
    float red, green, blue;
};

// Dark red through orange to pale yellow, as GLOW in image/overlay/paint.rs.
static __device__ __forceinline__ Tint glow(unsigned step) {
    switch (step) {
    case 0: return {120, 0, 60};
    case 1: return {225, 40, 30};
    case 2: return {250, 150, 20};
    default: return {255, 245, 150};
    }
}

// The two of `cells` around the middle of the pixel `at` of `of`, and how far it is from the first to the second.
struct Between {
    unsigned first, second;
    float share;
};

static __device__ __forceinline__ Between between(unsigned at, unsigned of, unsigned cells) {
    const unsigned last = cells - 1;
    const float place = fminf(fmaxf((at + 0.5f) * cells / of - 0.5f, 0.0f), static_cast<float>(last));
    const unsigned first = static_cast<unsigned>(place);
    return {first, min(first + 1, last), place - first};
}

// The map at a pixel of the layer: bilinear between the middles of cells, flat beyond the outermost (Map::enlarged).
static __device__ __forceinline__ float enlarged(const PaintLayer& layer, unsigned x, unsigned y) {
    const Between across = between(x - layer.left, layer.right - layer.left, layer.columns);
    const Between down = between(y - layer.top, layer.bottom - layer.top, layer.rows);
    const float *upper = layer.map + down.first * layer.columns, *lower = layer.map + down.second * layer.columns;
    const float above = upper[across.first] * (1 - across.share) + upper[across.second] * across.share;
    const float below = lower[across.first] * (1 - across.share) + lower[across.second] * across.share;
    return above * (1 - down.share) + below * down.share;
}

static __device__ __forceinline__ bool is_over(const PaintLayer& layer, unsigned x, unsigned y) {
    return x >= layer.left && x < layer.right && y >= layer.top && y < layer.bottom;
}

static __device__ __forceinline__ bool counts_at(const PaintLayer& layer, unsigned x, unsigned y) {
    if (layer.counts == nullptr) return true;
    const unsigned column = (x - layer.left) * layer.columns / (layer.right - layer.left);
    const unsigned row = (y - layer.top) * layer.rows / (layer.bottom - layer.top);
    return layer.counts[row * layer.columns + column] != 0;
}

static __device__ __forceinline__ unsigned char mixed(float seen, float low, float high, float share, float opacity) {
    const float tint = low * (1 - share) + high * share;
    return static_cast<unsigned char>(seen * (1 - opacity) + tint * opacity);
}

// `seen` with a glow of `heat` over it; squared, so that the lower half of the scale leaves it almost untouched.
static __device__ __forceinline__ void lit(const unsigned char* seen, float heat, unsigned char* out) {
    const float clamped = fminf(fmaxf(heat, 0.0f), 1.0f), place = clamped * 3;
    const unsigned step = static_cast<unsigned>(place);
    const Tint low = glow(step), high = glow(step + 1);
    const float share = place - step, opacity = 0.85f * clamped * clamped;
    out[0] = mixed(seen[0], low.red, high.red, share, opacity);
    out[1] = mixed(seen[1], low.green, high.green, share, opacity);
    out[2] = mixed(seen[2], low.blue, high.blue, share, opacity);
}

static __device__ __forceinline__ bool is_on(const PaintOutline& line, unsigned x, unsigned y, unsigned width,
                                             unsigned height) {
    const unsigned right = min(line.x + line.w, width), bottom = min(line.y + line.h, height);
    if (x < line.x || x >= right || y < line.y || y >= bottom) return false;
    return y < line.y + line.thick || y + line.thick >= bottom || x < line.x + line.thick || x + line.thick >= right;
}

// A thread makes one pixel.
extern "C" __global__ void paint(Paint args) {
    const unsigned x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= args.out_width || y >= args.out_height) return;
    unsigned char* out = args.out + 3 * (size_t(y) * args.out_width + x);
    float heat = 0;
    bool is_covered = false, is_counted = false;
    for (unsigned i = 0; i < args.layer_count; ++i) {
        const PaintLayer& layer = args.layers[i];
        if (!is_over(layer, x, y)) continue;
        is_covered = true;
        if (!counts_at(layer, x, y)) continue;
        const float here = (enlarged(layer, x, y) - layer.low) / fmaxf(layer.high - layer.low, 1.1920929e-7f);
        heat = is_counted ? fmaxf(heat, here) : here;
        is_counted = true;
    }
    const size_t row = size_t(y) * args.height / args.out_height, column = size_t(x) * args.width / args.out_width;
    lit(args.picture + row * args.stride + 3 * column, heat, out);
    if (is_covered && !is_counted)
        for (unsigned i = 0; i < 3; ++i) out[i] /= 2;
    for (unsigned i = 0; i < args.outline_count; ++i) {
        const PaintOutline& line = args.outlines[i];
        if (!is_on(line, x, y, args.out_width, args.out_height)) continue;
        for (unsigned channel = 0; channel < 3; ++channel) out[channel] = line.colour >> (16 - 8 * channel) & 0xff;
    }
}
