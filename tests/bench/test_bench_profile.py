"""The profile of a step: it accounts for all bytes and products of a model, and for all of the step's time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import edgeq
from bench import profile
from edgeq import _lib
from edgeq.backends.base import Batch
from edgeq.bench.facts import facts, read
from tests.small import tiny

pytestmark = pytest.mark.skipif(not _lib.available(), reason="no native library")
MODEL = str(tiny("llama3"))


def ran(tmp_path: Path, *words: str) -> dict[str, Any]:
    path = tmp_path / "profile.json"
    assert profile.main([MODEL, "--threads", "1", "--rounds", "2", "--json", str(path), *words]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("tokens", [1, 5, 33])
def test_it_names_all_that_a_step_reads_and_multiplies(
    tokens: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ran(tmp_path, "--tokens", str(tokens), "--depth", "3")
    with edgeq.load(MODEL, threads=1) as model:
        known = facts(model)
        vectors = sum(t.nbytes for t in read(model) if len(t.shape) == 1)
        words = [op.word for op in model.executable.program.ops]
    assert [line["op"] for line in result["ops"]] == words
    assert sum(line["bytes"] for line in result["ops"]) == known["weights"] - vectors
    assert sum(line["products"] for line in result["ops"]) == tokens * known["products"] + known["head"]
    assert all(line["work"] > 0 for line in result["ops"] if line["products"])
    assert result["read"] > 0 and result["peak"] > 0 and result["unit"] in ("int8", "tiles")
    text = capsys.readouterr().out.splitlines()
    assert text[0].startswith(f"{Path(MODEL).name}, ") and f"{tokens} tokens at 3" in text[0]
    assert text[-1].split()[0] == "all"


@pytest.mark.parametrize("threads", [1, 2])
def test_what_ops_take_is_no_more_than_the_steps_took(threads: int) -> None:
    with edgeq.load(MODEL, threads=threads) as model:
        executable: Any = model.executable
        state, step = executable.new_state(1, 64), Batch.single([1, 2, 3], 0)
        right = executable.step(state, step)[0]
        watch = executable.watch()
        assert set(watch()) == {(0, 0)}
        began = time.perf_counter_ns()
        assert (executable.step(state, step)[0] == right).all()
        elapsed = time.perf_counter_ns() - began
        first = watch()
        assert 0 < sum(map(sum, first)) <= elapsed
        executable.step(state, step)
        assert all(b >= a for one, two in zip(first, watch(), strict=True) for a, b in zip(one, two, strict=True))
