from __future__ import annotations

import pytest

from edgeq import _lib

# The variants that this machine can run; the others are tested by cross-compiling (test_arm.py) or elsewhere.
ISAS = ("scalar", "avx2", "avx512vnni", "neon", "neondot")


def works(isa: str) -> bool:
    return _lib.available() and bool(_lib.lib.eq_isa_name(isa.encode()))


WORKING = [isa for isa in ISAS if works(isa)]


@pytest.fixture(params=WORKING)
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)
