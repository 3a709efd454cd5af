/* The likeliest token of a row of logits, for callers that want no more of it. */
#include "edgeq.h"

#define LANES 16 /* side by side, so that compilers make vectors of them */

int32_t eq_first_maximum(const float *x, int32_t n) {
    if (!x || n <= 0) return -1;
    float most[LANES], broken[LANES] = {0}; /* x - x: 0, but NaN for what is not finite */
    for (int32_t lane = 0; lane < LANES; lane++) most[lane] = x[0];
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int32_t lane = 0; lane < LANES; lane++) {
            float value = x[i + lane];
            most[lane] = value > most[lane] ? value : most[lane];
            broken[lane] += value - value;
        }
    }
    for (; i < n; i++) {
        most[0] = x[i] > most[0] ? x[i] : most[0];
        broken[0] += x[i] - x[i];
    }
    for (int32_t lane = 0; lane < LANES; lane++) {
        most[0] = most[lane] > most[0] ? most[lane] : most[0];
        if (broken[lane] != 0.0f) return -1; /* true of NaN too */
    }
    for (i = 0; x[i] != most[0]; i++) {}
    return i;
}
