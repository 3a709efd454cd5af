// Rows of floats to rows of blocks: cuts them into as many blocks as the variant has lanes.

#include "encode/encode.h"

#include <stddef.h>

#include "edgeq.h"
#include "kernels.h"
#include "quant/formats.h"
#include "quant/half.h"

static void encode_halves(int32_t type, const float *x, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = type == EQ_F16 ? eq_to_half(x[i]) : eq_to_bf16(x[i]);
        out[2 * i] = (uint8_t)h, out[2 * i + 1] = (uint8_t)(h >> 8);
    }
}

int32_t eq_encode(int32_t type, const char *isa, const float *x, int64_t rows, int64_t cols, const float *importance, uint8_t *out) {
    if (rows < 0 || cols < 1) return EQ_INVALID;
    if (type == EQ_F16 || type == EQ_BF16) {
        encode_halves(type, x, rows * cols, out);
        return EQ_OK;
    }
    const eq_kernels *kernels = eq_select(isa);
    eq_encode_fn encode = kernels ? kernels->encoders->find(type) : NULL;
    int64_t block = eq_format_block(type), bytes = eq_format_block_bytes(type);
    if (!encode || cols % block) return EQ_INVALID;
    int64_t per_row = cols / block, total = rows * per_row;
    int lanes = kernels->encoders->lanes;
    for (int64_t at = 0; at < total; at += lanes) {
        const float *xs[EQ_ENCODE_LANES], *ws[EQ_ENCODE_LANES];
        uint8_t *outs[EQ_ENCODE_LANES];
        int count = total - at < lanes ? (int)(total - at) : lanes;
        for (int i = 0; i < count; i++) {
            xs[i] = x + (at + i) * block;
            ws[i] = importance ? importance + (at + i) % per_row * block : NULL;
            outs[i] = out + (at + i) * bytes;
        }
        encode(xs, importance ? ws : NULL, count, outs);
    }
    return EQ_OK;
}

int32_t eq_block_sums(int32_t type, const float *x, const uint8_t *data, int64_t rows, int64_t cols, const float *importance,
                      double *sums) {
    float y[256];
    int64_t block = eq_format_block(type), bytes = eq_format_block_bytes(type);
    if (rows < 0 || cols < 1 || block < 1 || block > 256 || cols % block) return EQ_INVALID;
    int64_t per_row = cols / block, total = rows * per_row;
    for (int64_t b = 0; b < total; b++, x += block, data += bytes) {
        const float *w = importance ? importance + b % per_row * block : NULL;
        double full = 0.0, kept = 0.0;
        (void)eq_dequantize_row(type, data, block, y);
        for (int64_t i = 0; i < block; i++) {
            double wide = w ? (double)x[i] * (double)w[i] : (double)x[i];
            full += wide * (double)x[i];
            kept += wide * (double)y[i];
        }
        sums[2 * b] = full, sums[2 * b + 1] = kept;
    }
    return EQ_OK;
}
