/* eq_scan_strings: the one loop of the GGUF reader that is too long for Python. The reader's
 * edgeq/gguf/arrays.py (scan_python) defines what it does. */

#include <stdint.h>

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
