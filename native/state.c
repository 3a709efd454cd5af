/* Keys and values of sequences: plain arrays per layer, touched only as positions are written. */
#include <stdio.h>
#include <string.h>

#include "exec.h"
#include "memory.h"

int64_t eq_kv_row_bytes(int32_t kv_type, int32_t head_dim) {
    switch (kv_type) {
        case 0: return 4 * (int64_t)head_dim;
        case 1: return 2 * (int64_t)head_dim;
        case 8: return head_dim % 32 ? -1 : 34 * (int64_t)(head_dim / 32);
        case 2: return head_dim % 32 ? -1 : 18 * (int64_t)(head_dim / 32);
        default: return -1;
    }
}

static int64_t sequence_bytes(const eq_state *s, int32_t cache) { /* of the keys, or the values, of one sequence */
    const eq_cache *c = &s->exec->program.caches[cache];
    return (int64_t)c->kv_heads * s->rings[cache] * eq_kv_row_bytes(s->kv_type, c->head_dim);
}

#define MOST_POSITIONS (1 << 30) /* of a sequence: loops over tiles count in 32 bits */

/* Whether a ring keeps all that the tokens of a step may look back at. */
static int ring_suffices(const eq_exec *exec, const eq_cache *c, int32_t ring, int32_t context) {
    return ring >= EQ_TILE && ring % EQ_TILE == 0
           && (ring >= context || (c->window > 0 && ring >= (int64_t)c->window + exec->program.chunk - 1));
}

eq_state *eq_state_new(const eq_exec *exec, int32_t sequences, int32_t context, const int32_t *rings, int32_t kv_type,
                       char *message, int64_t message_size) {
    int32_t n = exec->program.n_caches;
    if (sequences < 1 || context < 1 || context > MOST_POSITIONS) {
        snprintf(message, (size_t)message_size, "state of %d sequences and %d positions: expected 1 or more of both, at most %d "
                 "positions", (int)sequences, (int)context, MOST_POSITIONS);
        return NULL;
    }
    eq_state *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (eq_state){exec, sequences, context, kv_type, n, calloc((size_t)n + 1, 4), calloc((size_t)n + 1, sizeof(char *)),
                    calloc((size_t)n + 1, sizeof(char *)), calloc((size_t)n + 1, 8)};
    int ok = s->rings && s->keys && s->values && s->cache_bytes;
    for (int32_t i = 0; ok && i < n; i++) {
        const eq_cache *c = &exec->program.caches[i];
        int64_t row = eq_kv_row_bytes(kv_type, c->head_dim);
        if (row < 0 || !ring_suffices(exec, c, rings[i], context)) {
            snprintf(message, (size_t)message_size,
                     "cache of layer %d: KV type %d with heads of %d and a ring of %d; quantized types need heads of a "
                     "multiple of 32, rings are multiples of %d that hold %d positions, or the window and a step",
                     (int)c->layer, (int)kv_type, (int)c->head_dim, (int)rings[i], EQ_TILE, (int)context);
            ok = 0;
            break;
        }
        s->rings[i] = rings[i];
        int64_t bytes = eq_size(eq_size(sequences, c->kv_heads, 0), eq_size(rings[i], row, 0), 0);
        s->cache_bytes[i] = bytes;
        s->keys[i] = eq_pages_new(bytes);
        s->values[i] = eq_pages_new(bytes);
        ok = s->keys[i] && s->values[i];
        if (!ok) snprintf(message, (size_t)message_size, "no memory for the keys and values of layer %d: %d sequences of %d "
                          "positions", (int)c->layer, (int)sequences, (int)rings[i]);
    }
    if (ok) return s;
    eq_state_free(s);
    return NULL;
}

void eq_state_free(eq_state *s) {
    if (!s) return;
    for (int32_t i = 0; s->keys && s->values && s->cache_bytes && i < s->n_caches; i++) { /* the program may be gone by now */
        eq_pages_free(s->keys[i], s->cache_bytes[i]);
        eq_pages_free(s->values[i], s->cache_bytes[i]);
    }
    free(s->rings);
    free(s->keys);
    free(s->values);
    free(s->cache_bytes);
    free(s);
}

int64_t eq_state_bytes(const eq_state *s) {
    int64_t total = 0;
    for (int32_t i = 0; i < s->exec->program.n_caches; i++) total += 2 * s->cache_bytes[i];
    return total;
}

/* Bytes per head that hold the first `length` positions, in whole tiles; a ring that has turned is taken whole. */
static int64_t kept_bytes(const eq_state *s, int32_t cache, int32_t length) {
    int64_t positions = ((int64_t)length + EQ_TILE - 1) / EQ_TILE * EQ_TILE;
    if (positions > s->rings[cache]) positions = s->rings[cache];
    return positions * eq_kv_row_bytes(s->kv_type, s->exec->program.caches[cache].head_dim);
}

int32_t eq_state_copy(eq_state *s, int32_t source, int32_t target, int32_t length) {
    if (source < 0 || target < 0 || source >= s->sequences || target >= s->sequences || length < 0 || length > s->context)
        return EQ_INVALID;
    for (int32_t i = 0; i < s->exec->program.n_caches && source != target; i++) {
        int64_t all = sequence_bytes(s, i), heads = s->exec->program.caches[i].kv_heads, kept = kept_bytes(s, i, length);
        for (int64_t h = 0; h < heads; h++) {
            memcpy(s->keys[i] + target * all + h * (all / heads), s->keys[i] + source * all + h * (all / heads), (size_t)kept);
            memcpy(s->values[i] + target * all + h * (all / heads), s->values[i] + source * all + h * (all / heads), (size_t)kept);
        }
    }
    return EQ_OK;
}

int64_t eq_state_snapshot_bytes(const eq_state *s, int32_t length) {
    if (length < 0 || length > s->context) return -1;
    int64_t total = 0;
    for (int32_t i = 0; i < s->exec->program.n_caches; i++)
        total += 2 * s->exec->program.caches[i].kv_heads * kept_bytes(s, i, length);
    return total;
}

int32_t eq_state_save(const eq_state *s, int32_t sequence, int32_t length, void *out, int64_t nbytes) {
    if (sequence < 0 || sequence >= s->sequences || nbytes < 0 || nbytes != eq_state_snapshot_bytes(s, length)) return EQ_INVALID;
    if (nbytes == 0) return EQ_OK; /* then there may be no array either */
    char *to = out;
    for (int32_t i = 0; i < s->exec->program.n_caches; i++) {
        int64_t all = sequence_bytes(s, i), heads = s->exec->program.caches[i].kv_heads, kept = kept_bytes(s, i, length);
        for (int64_t h = 0; h < 2 * heads; h++, to += kept)
            memcpy(to, (h < heads ? s->keys : s->values)[i] + sequence * all + h % heads * (all / heads), (size_t)kept);
    }
    return EQ_OK;
}

int32_t eq_state_load(eq_state *s, int32_t sequence, int32_t length, const void *data, int64_t nbytes) {
    if (sequence < 0 || sequence >= s->sequences || nbytes < 0 || nbytes != eq_state_snapshot_bytes(s, length)) return EQ_INVALID;
    if (nbytes == 0) return EQ_OK; /* then there may be no array either */
    const char *from = data;
    for (int32_t i = 0; i < s->exec->program.n_caches; i++) {
        int64_t all = sequence_bytes(s, i), heads = s->exec->program.caches[i].kv_heads, kept = kept_bytes(s, i, length);
        for (int64_t h = 0; h < 2 * heads; h++, from += kept)
            memcpy((h < heads ? s->keys : s->values)[i] + sequence * all + h % heads * (all / heads), from, (size_t)kept);
    }
    return EQ_OK;
}
