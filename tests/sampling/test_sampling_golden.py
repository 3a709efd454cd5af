"""The same tokens everywhere: committed streams, also with NumPy's vector code switched off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import golden_streams
import pytest

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))


def test_exp_log_and_sum_are_what_they_are_everywhere() -> None:
    assert golden_streams.numbers() == GOLDEN["numbers"]


@pytest.mark.parametrize("name", sorted(GOLDEN["streams"]))
def test_tokens_are_what_they_are_everywhere(name: str) -> None:
    kind, vocab = name.rsplit(", ", 1)
    assert golden_streams.stream(kind, int(vocab)) == GOLDEN["streams"][name]


def test_every_stream_is_in_the_file_and_differs_from_the_others() -> None:
    assert len(GOLDEN["streams"]) == 2 * len(golden_streams.STREAMS)
    streams = {tuple(stream["tokens"]) for stream in GOLDEN["streams"].values()}
    assert len(streams) == len(GOLDEN["streams"])


def dispatched() -> list[str]:
    """The CPU features beyond its baseline that this NumPy uses here, by NumPy's names."""
    try:
        core = import_module("numpy._core._multiarray_umath")
    except ModuleNotFoundError:  # NumPy 1
        core = import_module("numpy.core._multiarray_umath")
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]]


def test_tokens_do_not_depend_on_numpys_vector_instructions() -> None:
    """NumPy chooses its loops by CPU at run time; without the newer ones it must give the same."""
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched()),
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    }
    script = (
        "import test_sampling_golden as t;"
        "print(t.dispatched(), t.golden_streams.golden() == t.GOLDEN)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=HERE.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert run.stdout.strip() == "[] True"
