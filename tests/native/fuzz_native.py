"""Fuzzes the native library with libFuzzer, under the address and undefined-behaviour sanitizers. Needs Clang.

    python -m tests.native.fuzz_native FOLDER TARGET [-max_total_time=600 …]

Targets: weights, program, batch, state, scan, dequantize (fuzz_native.c says what they do). The corpus grows in
FOLDER/TARGET, what is found lands in FOLDER. EDGEQ_FUZZ_ISA forces a variant; else the bytes choose one.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from native.toolchain import find_compiler
from tests.native.driver import CHECKS, EXACT_PAGES, build

LIMITS = ["-max_len=512", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-print_final_stats=1"]
COVERAGE = ["-fsanitize=fuzzer-no-link", "-fno-sanitize-coverage=trace-cmp"]  # tracing took two thirds of the time
CHECKED = [f"-fsanitize={CHECKS}", "-fno-sanitize-recover=all"]
FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", *EXACT_PAGES, *CHECKED, *COVERAGE]


def seeds(folder: Path, count: int = 100) -> None:
    """Random bytes are valid cases of every target: they only say which one."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    for i in range(count):
        (folder / f"seed-{i}").write_bytes(rng.randbytes(8 + 4 * i))


def main() -> None:
    folder, target, *options = sys.argv[1:]
    corpus = Path(folder, target).resolve()
    program = build(find_compiler("clang"), "fuzz_native.c", more=FLAGS, link=[f"-fsanitize=fuzzer,{CHECKS}"])
    seeds(corpus)
    os.environ["EDGEQ_FUZZ"] = target
    os.execv(program, [str(program), *LIMITS, f"-artifact_prefix={corpus}-", *options, str(corpus)])


if __name__ == "__main__":
    main()
