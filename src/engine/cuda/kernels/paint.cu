// Contract, shapes and cost: paint.rs.
#include "real.cuh"

struct PaintLayer {
    const float* map;
    const unsigned char* counts;
    unsigned columns, rows, left, top, right, bottom;
    float low, high;
};
static_assert(sizeof(PaintLayer) == 48, "as PaintLayer in paint.rs");

struct Paint {
    const unsigned char* picture;
    const PaintLayer* layers;
    const unsigned char* colours;
    unsigned char* out;
    unsigned stride, width, height, out_width, out_height, layer_count;
};
static_assert(sizeof(Paint) == 56, "as PaintArgs in paint.rs");

// COLOURS, HEAT_MAX and OPACITY_MAX of image/overlay/mod.rs.
#define LAST_COLOUR 255u
#define HEAT_MAX 2.0f
#define OPACITY_MAX 0.6f

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

// Luma of BT.601 in whole numbers, as grey() in image/overlay/paint.rs.
static __device__ __forceinline__ unsigned char grey_of(const unsigned char* seen) {
    return static_cast<unsigned char>((77u * seen[0] + 150u * seen[1] + 29u * seen[2]) >> 8);
}

// A grey pixel with the colour of a heat over it, as mixed() in image/overlay/paint.rs.
static __device__ __forceinline__ void mixed(float grey, float heat, const unsigned char* colours, unsigned char* out) {
    const float opacity = OPACITY_MAX * fminf(fmaxf(heat, 0.0f), 1.0f);
    const float place = fminf(fmaxf(heat, 0.0f), HEAT_MAX) / HEAT_MAX * LAST_COLOUR;
    const unsigned low = static_cast<unsigned>(place), high = min(low + 1, LAST_COLOUR);
    const float share = place - low;
    for (unsigned i = 0; i < 3; ++i) {
        const float tint = colours[3 * low + i] * (1 - share) + colours[3 * high + i] * share;
        out[i] = static_cast<unsigned char>(grey * (1 - opacity) + tint * opacity);
    }
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
    const unsigned char grey = grey_of(args.picture + row * args.stride + 3 * column);
    if (is_counted)
        mixed(grey, heat, args.colours, out);
    else
        for (unsigned i = 0; i < 3; ++i) out[i] = is_covered ? grey / 2 : grey;
}
