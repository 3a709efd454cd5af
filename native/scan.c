/* The loops over length-prefixed strings that are too long for Python. The reader's edgeq/gguf/arrays.py
 * (scan_python, StringArray) defines what they do. */

#include <stdint.h>
#include <string.h>

#include "scan.h"

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

int64_t eq_scan_strings(const uint8_t *data, uint64_t size, uint64_t count, uint32_t *ends)
{
    const uint64_t stop = size < UINT32_MAX ? size : UINT32_MAX;
    uint64_t at = 0; /* invariant: at <= stop */
    uint64_t i = 0;
    for (; i < count && i < INT64_MAX; i++) {
        if (stop - at < 8)
            break;
        const uint64_t n = load_u64(data + at);
        if (n > stop - at - 8)
            break;
        at += 8 + n;
        ends[i] = (uint32_t)at;
    }
    return (int64_t)i;
}

int64_t eq_join_strings(const uint8_t *data, uint64_t size, uint64_t count, uint8_t separator, uint8_t *out)
{
    uint64_t at = 0, to = 0; /* invariant: to <= at <= size; a string gives up 8 bytes and gains one */
    for (uint64_t i = 0; i < count; i++) {
        if (size - at < 8)
            return -1;
        const uint64_t n = load_u64(data + at);
        at += 8;
        if (n > size - at || memchr(data + at, separator, n))
            return -1;
        memcpy(out + to, data + at, n);
        at += n;
        to += n;
        out[to++] = separator;
    }
    return (int64_t)to;
}
