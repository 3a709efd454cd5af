"""All of test_native_ops with the address and undefined-behaviour sanitizers, on buffers of the exact size.

    python -m pytest tests/native/sanitized.py

Not collected by itself: compiling every variant with sanitizers takes minutes. Needs GCC or Clang with both.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from native.toolchain import find_compiler
from tests.backends import test_native_ops
from tests.backends.conftest import ISAS, works
from tests.native.driver import Driver, build

CHECKS = "-fsanitize=address,undefined,float-cast-overflow"
FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", CHECKS]
VARIANTS = [isa for isa in ISAS if works(isa)]

globals().update({key: test for key, test in vars(test_native_ops).items() if key.startswith("test_")})


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    tool = find_compiler(os.environ.get("CC", ""))
    return {s: build(tool, f"{s}.c", more=FLAGS, link=[CHECKS]) for s in ("run_program", "exact_buffers")}


@pytest.fixture(scope="session")
def driver(programs: dict[str, Path]) -> Iterator[Driver]:
    made = Driver(programs["run_program"])
    yield made
    assert (made.close(), made.said) == (0, "")


@pytest.fixture(params=VARIANTS)
def isa(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    driver.isa = request.param
    return driver


def test_every_kernel_on_exact_buffers(programs: dict[str, Path]) -> None:
    done = subprocess.run([programs["exact_buffers"]], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
