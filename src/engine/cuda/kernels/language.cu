// Contract, shapes and cost: language.rs.
#include "real.cuh"

struct Language {
    const REAL* rows;
    const int* crop;
    const float* prototypes;
    float* values;
    unsigned* flags;
    unsigned count, embed;
    float temperature;
    unsigned unused;
};
static_assert(sizeof(Language) == 56, "as LanguageArgs in language.rs");

// A warp makes one row's value.
extern "C" __global__ void language(Language args) {
    const unsigned at = blockIdx.x * blockDim.y + threadIdx.y;
    if (at >= args.count) return;
    const REAL* row = args.rows + size_t(at) * args.embed;
    const float *normal = args.prototypes, *anomalous = args.prototypes + args.embed;
    float square = 0, to_normal = 0, to_anomalous = 0;
    for (unsigned i = threadIdx.x; i < args.embed; i += 32) {
        const float value = from_real(row[i]);
        square += value * value;
        to_normal += value * normal[i];
        to_anomalous += value * anomalous[i];
    }
    square = warp_sum(square);
    to_normal = warp_sum(to_normal);
    to_anomalous = warp_sum(to_anomalous);
    if (threadIdx.x != 0) return;
    const bool is_sound = is_finite(square);
    if (!is_sound) args.flags[args.crop[at]] = 1;
    // The softmax of two, of anomalous: 1 / (1 + e^((n - a) / tau)).
    const float apart = is_sound && square > 0 ? (to_normal - to_anomalous) / sqrtf(square) : 0;
    args.values[at] = 1 / (1 + expf(apart / args.temperature));
}
