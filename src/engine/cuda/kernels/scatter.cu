#include "real.cuh"
