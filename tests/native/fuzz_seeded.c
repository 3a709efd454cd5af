/* The targets of fuzz_native.c on random bytes: fuzz_seeded TARGET CASES SEED. Prints how many cases were refused, and
 * how many ran. */
#include "fuzz_native.c"

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: fuzz_seeded TARGET CASES SEED");
    setenv("EDGEQ_FUZZ", argv[1], 1);
    source random = {NULL, NULL, strtoull(argv[3], NULL, 10) * 0x9E3779B97F4A7C15 + 1};
    for (long i = strtol(argv[2], NULL, 10); i > 0; i--) {
        uint8_t data[256];
        size_t size = (size_t)(next(&random) >> 30) % sizeof data;
        for (size_t j = 0; j < size; j++) data[j] = (uint8_t)(next(&random) >> 30);
        if (strcmp(argv[1], "scan") == 0) /* lengths that are small more often than not */
            for (size_t j = 0; j + 8 < size; j += 8 + data[j] % 16) memset(data + j + 1, 0, 7), data[j] %= 16;
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%s: %ld refused, %ld ran\n", argv[1], refused, ran);
    return 0;
}
