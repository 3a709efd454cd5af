/* Walks over the length-prefixed strings of a GGUF metadata array. Prototypes only: no preprocessor lines, so
 * that cffi can read this file as it is. Include <stdint.h> before it. */

/* Walks `count` strings at data[0 .. size): 8 bytes of little-endian length, then that many bytes.
 * ends[i], i < count: offset just past string i. Returns how many strings lie wholly inside the data and
 * end at or below 2^32 - 1: `count` if all do. Reads nothing past `size`, writes ends[0 .. result) only. */
int64_t eq_scan_strings(const uint8_t *data, uint64_t size, uint64_t count, uint32_t *ends);

/* Copies the `count` strings at data[0 .. size), in the same layout, to `out`, each with `separator` behind it.
 * Returns the bytes written; -1 where a string holds the separator or runs past the data. `out` has room for
 * `size` bytes. */
int64_t eq_join_strings(const uint8_t *data, uint64_t size, uint64_t count, uint8_t separator, uint8_t *out);
