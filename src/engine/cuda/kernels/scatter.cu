// Contract, shapes and cost: scatter.rs.
#include "real.cuh"

constexpr unsigned LAYERS_MAX = 8;

struct MapLayer {
    const float* values;
    const int* place;
    unsigned scale, mean;
};

struct Scatter {
    MapLayer layers[LAYERS_MAX];
    const float* whole;
    float* map;
    unsigned count, crops, grid, odds;
};
static_assert(sizeof(Scatter) == 224, "as ScatterArgs in scatter.rs");

enum { MEAN_HARMONIC, MEAN_ARITHMETIC };

// The cell that a thread makes.
struct Cell {
    unsigned crop, row, column;
};

// The value of a layer's window; 0 of one that was left out.
static __device__ __forceinline__ float value_of(const MapLayer& layer, unsigned windows, unsigned crop,
                                                 unsigned window) {
    const int place = layer.place[size_t(crop) * windows + window];
    return place < 0 ? 0 : layer.values[place];
}

// The sum of `term` over the windows that cover a cell (`over` in winclip/windows.rs), and their number.
template <class Term>
static __device__ __forceinline__ float sum_over(const MapLayer& layer, unsigned grid, Cell cell, unsigned& count,
                                                 Term term) {
    const unsigned places = grid - layer.scale + 1, reach = layer.scale - 1;
    const unsigned bottom = min(cell.row, places - 1), right = min(cell.column, places - 1);
    float sum = 0;
    count = 0;
    for (unsigned top = max(cell.row, reach) - reach; top <= bottom; ++top) {
        for (unsigned left = max(cell.column, reach) - reach; left <= right; ++left, ++count)
            sum += term(value_of(layer, places * places, cell.crop, top * places + left));
    }
    return sum;
}

static __device__ __forceinline__ float inverse(float value) { return 1 / value; }
static __device__ __forceinline__ float itself(float value) { return value; }
// The odds of anomalous against normal, plus one.
static __device__ __forceinline__ float odds(float value) { return 1 / (1 - value); }

// The harmonic mean out of a sum of inverses; 0 when one of the values is 0, as its limit is.
static __device__ __forceinline__ float harmonic(float sum, unsigned count) {
    return count > 0 && is_finite(sum) ? count / sum : 0;
}

static __device__ __forceinline__ float harmonic_mean(const MapLayer& layer, unsigned grid, Cell cell) {
    unsigned count;
    const float sum = sum_over(layer, grid, cell, count, inverse);
    return harmonic(sum, count);
}

// The harmonic mean of the scales' harmonic means and of the whole picture's value.
static __device__ __forceinline__ float harmonic_words(const Scatter& args, Cell cell) {
    unsigned count = args.count;
    float sum = 0;
    for (unsigned i = 0; i < args.count; ++i) sum += inverse(harmonic_mean(args.layers[i], args.grid, cell));
    if (args.whole != nullptr) {
        sum += inverse(args.whole[cell.crop]);
        ++count;
    }
    return harmonic(sum, count);
}

// 1 - 1 / u, u the mean over scales of the mean odds. A window with s = 1 makes u infinite, and the cell as anomalous as
// can be.
static __device__ __forceinline__ float odds_words(const Scatter& args, Cell cell) {
    float sum = 0;
    for (unsigned i = 0; i < args.count; ++i) {
        unsigned count;
        const float layer = sum_over(args.layers[i], args.grid, cell, count, odds);
        sum += layer / count;
    }
    const float mean = sum / max(args.count, 1u);
    return mean > 0 ? 1 - 1 / mean : 0;
}

// The arithmetic mean over layers.
static __device__ __forceinline__ float visual(const Scatter& args, Cell cell) {
    float sum = 0;
    for (unsigned i = 0; i < args.count; ++i) {
        const MapLayer& layer = args.layers[i];
        // One value is its own mean, without the rounding of two divisions.
        if (layer.mean == MEAN_HARMONIC && layer.scale > 1) {
            sum += harmonic_mean(layer, args.grid, cell);
        } else {
            unsigned count;
            const float layer_sum = sum_over(layer, args.grid, cell, count, itself);
            sum += layer_sum / count;
        }
    }
    return sum / max(args.count, 1u);
}

template <class Value> static __device__ __forceinline__ void each_cell(const Scatter& args, Value value) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x, cells = args.grid * args.grid;
    if (at >= cells) return;
    const Cell cell = {blockIdx.y, at / args.grid, at % args.grid};
    args.map[size_t(cell.crop) * cells + at] = value(args, cell);
}

extern "C" __global__ void language_map(Scatter args) {
    if (args.odds) each_cell(args, odds_words);
    else each_cell(args, harmonic_words);
}

extern "C" __global__ void visual_map(Scatter args) { each_cell(args, visual); }
