// Encoders: floats to blocks of a format. One function per format and ISA; all variants write the same bytes.

#ifndef EQ_ENCODE_H
#define EQ_ENCODE_H

#include <stdint.h>

enum { EQ_ENCODE_LANES = 16 }; // most blocks that one call takes

// `count` blocks side by side, one in each lane of the vectors: x[i] points at the floats of block i, w[i] at their
// importance (w NULL: all alike), out[i] at the block. 1 <= count <= eq_encoders.lanes. x is finite, w is finite and >= 0.
typedef void (*eq_encode_fn)(const float *const *x, const float *const *w, int count, uint8_t *const *out);

typedef struct {
    int lanes;
    eq_encode_fn (*find)(int type); // NULL for a type without an encoder
} eq_encoders;

extern const eq_encoders eq_encoders_scalar;
extern const eq_encoders eq_encoders_avx2;
extern const eq_encoders eq_encoders_avx512;
extern const eq_encoders eq_encoders_neon;

#endif
