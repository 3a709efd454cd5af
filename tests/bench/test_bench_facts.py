"""What a model makes a machine do, against its file; and the least time that follows."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest

from edgeq.bench.cases import SMALL_CONTEXT, Case
from edgeq.bench.facts import facts, ranges, read
from edgeq.bench.roofline import floor, kv_bytes, work
from tests.small import model

FACTS: dict[str, Any] = {"weights": 1000, "products": 50, "head": 7, "caches": [[16, 0], [8, 4]]}


@pytest.mark.parametrize("name", ["llama3", "gemma3", "qwen3"])
def test_facts_are_those_of_the_file(name: str) -> None:
    m = model(name)
    found, tensors = facts(m), m.file.tensors
    matrices = {n: prod(t.shape) for n, t in tensors.items() if len(t.shape) == 2}
    last = f"blk.{m.plain.layers - 1}."
    wanted = ["token_embd.weight", *(f"{last}{n}.weight" for n in ("attn_output", "ffn_gate", "ffn_up", "ffn_down"))]
    assert found["head"] == sum(matrices.pop(n) for n in wanted)  # the head is tied in these models
    assert found["products"] == sum(matrices.values())
    assert found["weights"] == sum(t.nbytes for n, t in tensors.items() if n != "rope_freqs.weight")
    windows = [c.window for c in m.plain.caches]
    assert [w for _, w in found["caches"]] == windows
    assert len({each for each, _ in found["caches"]}) == 1


def test_an_untied_embedding_is_not_read() -> None:
    m = model("llama-spm")
    assert "output.weight" in m.weights
    names = {t.name for t in read(m)}
    assert "output.weight" in names
    assert "token_embd.weight" not in names
    behind = [n for n in names if n.startswith(f"blk.{m.plain.layers - 1}.") and ("ffn" in n or "attn_output" in n)]
    matrices = [prod(m.weights[n].shape) for n in (*behind, "output.weight") if len(m.weights[n].shape) == 2]
    assert facts(m)["head"] == sum(matrices)


def test_ranges_hold_the_tensors_and_little_else() -> None:
    tensors = read(model("llama3"))
    found = ranges(tensors)
    total = sum(t.nbytes for t in tensors)
    assert all(address % 64 == 0 and nbytes % 64 == 0 for address, nbytes in found)
    assert total - 128 * len(found) <= sum(n for _, n in found) <= total + 4096 * len(tensors)
    assert min(t.address for t in tensors) <= found[0][0]
    assert sum(found[-1]) <= max(t.address + t.nbytes for t in tensors)


def test_ranges_part_where_others_lie_between() -> None:
    class Tensor:
        def __init__(self, address: int, nbytes: int) -> None:
            self.address, self.nbytes = address, nbytes

    made: Any = [Tensor(64, 100), Tensor(192, 100), Tensor(100_000, 200), Tensor(400_000, 40)]
    assert ranges(made) == [(64, 192), (100_032, 128)]


def test_keys_and_values_that_a_token_looks_at() -> None:
    assert kv_bytes(FACTS, 0) == 24
    assert kv_bytes(FACTS, 9) == 16 * 10 + 8 * 4  # the second layer sees its window only


def test_the_work_of_cases() -> None:
    assert work(Case("tg", 2, 9), FACTS) == (2000 + 16 * (10 + 11) + 8 * 8, 2 * 57)
    assert work(Case("pp", 10), FACTS) == (1000 + 192, 507)
    assert work(Case("batch", 4), FACTS) == (1000 + 16 * (SMALL_CONTEXT + 4) + 32, 207)


def test_the_slower_of_two_limits_counts() -> None:
    assert floor(Case("pp", 10), FACTS, read=1e6, peak=1014.0) == (1.0, "int8")
    assert floor(Case("pp", 10), FACTS, read=1192.0, peak=1e9) == (1.0, "memory")
