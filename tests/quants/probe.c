// What the tests of the C formats call: the conversions of half.h over arrays, and a main that decodes random
// bytes from buffers of the exact size, to be built with sanitizers.

#include <stdio.h>
#include <stdlib.h>

#include "formats.h"
#include "half.h"

void probe_half(const uint16_t *in, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = eq_half(in[i]);
}

void probe_to_half(const float *in, int64_t n, uint16_t *out) {
    for (int64_t i = 0; i < n; i++) out[i] = eq_to_half(in[i]);
}

void probe_bf16(const uint16_t *in, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = eq_bf16(in[i]);
}

void probe_to_bf16(const float *in, int64_t n, uint16_t *out) {
    for (int64_t i = 0; i < n; i++) out[i] = eq_to_bf16(in[i]);
}

// All groups of a row as the group function gives them: w [n], s [n / 16], m [n / 16].
void probe_groups(int type, const uint8_t *row, int64_t n, int16_t *w, float *s, float *m) {
    const eq_group_fn group = eq_format_group(type);
    for (int64_t g = 0; g < n / 32; g++) group(row, g, w + 32 * g, s + 2 * g, m + 2 * g);
}

static int run(int type, int blocks, int fill) {
    const size_t size = (size_t)blocks * (size_t)eq_format_block_bytes(type);
    const int64_t n = (int64_t)blocks * eq_format_block(type);
    uint8_t *row = malloc(size);
    float *out = malloc((size_t)n * sizeof *out);
    if (!row || !out) return -1;
    for (size_t i = 0; i < size; i++) row[i] = (uint8_t)(fill < 256 ? fill : rand() >> 7);
    const int status = eq_dequantize_row(type, row, n, out);
    free(row);
    free(out);
    return status;
}

int main(void) {
    int types = 0;
    for (int type = -2; type < 64; type++) {
        if (eq_format_block(type) == 0) continue;
        types++;
        for (int blocks = 1; blocks <= 5; blocks++) {
            for (int fill = 0; fill < 300; fill++) {
                if (run(type, blocks, fill) != 0) return 1;
            }
        }
    }
    printf("%d types\n", types);
    return 0;
}
