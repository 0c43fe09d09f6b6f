// Contract, shapes and cost: gather.rs.
#include "real.cuh"

struct WindowPlace {
    int crop, corner;
};

struct Gather {
    const REAL* tokens;
    const WindowPlace* places;
    REAL* out;
    unsigned windows, grid, width, scale;
};
static_assert(sizeof(Gather) == 40, "as GatherArgs in gather.rs");

struct alignas(16) Sixteen {
    unsigned words[4];
};

// The row of a crop's tokens that stands at `token` in a window: the class token, then its patches row-major.
static __device__ __forceinline__ unsigned token_row(const Gather& args, unsigned corner, unsigned token) {
    if (token == 0) return 0;
    const unsigned down = (token - 1) / args.scale, across = (token - 1) % args.scale;
    return 1 + corner + down * args.grid + across;
}

// A block copies one token of one window, `units` of T.
template <class T> static __device__ __forceinline__ void gathered(const Gather& args, unsigned units) {
    const unsigned window = blockIdx.x, token = blockIdx.y;
    const WindowPlace place = args.places[window];
    const size_t from = size_t(place.crop) * (1 + args.grid * args.grid) + token_row(args, place.corner, token);
    const size_t to = size_t(window) * gridDim.y + token;
    const T* source = reinterpret_cast<const T*>(args.tokens) + from * units;
    T* out = reinterpret_cast<T*>(args.out) + to * units;
    for (unsigned i = threadIdx.x; i < units; i += blockDim.x) out[i] = source[i];
}

extern "C" __global__ void gather(Gather args) { gathered<REAL>(args, args.width); }

// Rows of a multiple of 16 bytes that begin at one.
extern "C" __global__ void gather_wide(Gather args) {
    gathered<Sixteen>(args, args.width * sizeof(REAL) / sizeof(Sixteen));
}
