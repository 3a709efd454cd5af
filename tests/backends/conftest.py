from __future__ import annotations

import pytest

from edgeq import _lib
from tests.backends.single import Runner

# The variants that this machine can run; the others are tested by cross-compiling (test_arm.py) or elsewhere.
ISAS = ("scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neondot")


def works(isa: str) -> bool:
    return _lib.available() and bool(_lib.lib.eq_isa_name(isa.encode()))


WORKING = [isa for isa in ISAS if works(isa)]


@pytest.fixture(params=WORKING)
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


By = str | Runner


@pytest.fixture(params=[*WORKING, "numba"])
def by(request: pytest.FixtureRequest) -> By:
    """A variant, or what runs programs with numba."""
    if request.param != "numba":
        return str(request.param)
    pytest.importorskip("numba", reason="numba has no wheel for this platform")
    from tests.backends.test_numba import run_here

    return run_here
