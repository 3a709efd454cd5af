/* What a binding compares at load, so that a stale library is refused and not misread. */
#include <stddef.h>
#include <stdio.h>

#include "edgeq.h"

#define ABI_VERSION 6

int32_t eq_abi_version(void) { return ABI_VERSION; }

#define AT(type, field) {#field, offsetof(type, field)}

typedef struct { const char *name; size_t offset; } member;

static int describe(char *out, size_t room, const char *name, size_t size, const member *fields, size_t count) {
    int n = snprintf(out, room, "%s %zu", name, size);
    for (size_t i = 0; i < count; i++) n += snprintf(out + n, room - (size_t)n, " %s:%zu", fields[i].name, fields[i].offset);
    return n + snprintf(out + n, room - (size_t)n, "\n");
}

const char *eq_abi_layout(void) {
    static _Thread_local char text[2048];
    const member tensor[] = {AT(eq_tensor, data), AT(eq_tensor, nbytes), AT(eq_tensor, rows), AT(eq_tensor, cols), AT(eq_tensor, type), AT(eq_tensor, reserved)};
    const member buffer[] = {AT(eq_buffer, offset), AT(eq_buffer, width), AT(eq_buffer, outputs)};
    const member cache[] = {AT(eq_cache, kv_heads), AT(eq_cache, head_dim), AT(eq_cache, window), AT(eq_cache, layer)};
    const member program[] = {AT(eq_program, ops), AT(eq_program, buffers), AT(eq_program, tensors), AT(eq_program, caches),
                              AT(eq_program, inputs), AT(eq_program, outputs), AT(eq_program, n_ops), AT(eq_program, n_buffers),
                              AT(eq_program, n_tensors), AT(eq_program, n_caches), AT(eq_program, n_inputs),
                              AT(eq_program, n_outputs), AT(eq_program, arena), AT(eq_program, chunk), AT(eq_program, reproducible)};
    const member batch[] = {AT(eq_batch, tokens), AT(eq_batch, positions), AT(eq_batch, sequences), AT(eq_batch, outputs),
                            AT(eq_batch, n_tokens), AT(eq_batch, n_outputs)};
    const member op[] = {AT(eq_op, kind), AT(eq_op, layer), AT(eq_op, u)};
    int n = 0;
#define DESCRIBE(type, fields) n += describe(text + n, sizeof text - (size_t)n, #type, sizeof(type), fields, sizeof fields / sizeof *fields)
    DESCRIBE(eq_tensor, tensor);
    DESCRIBE(eq_buffer, buffer);
    DESCRIBE(eq_cache, cache);
    DESCRIBE(eq_program, program);
    DESCRIBE(eq_batch, batch);
    DESCRIBE(eq_op, op);
    return text;
}

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define COMPILER "msvc"
#else
#define COMPILER "unknown compiler"
#endif
#if defined(__x86_64__) || defined(_M_X64)
#define TARGET "x86-64"
#elif defined(__aarch64__) || defined(_M_ARM64)
#define TARGET "aarch64"
#else
#define TARGET "generic"
#endif

const char *eq_build_info(void) { return COMPILER ", " TARGET; }
