"""The measure of bench/fidelity.py: its sums, its verdicts, and a run against a stand-in for llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from bench.fidelity import (
    LLAMA,
    Distance,
    Exact,
    Greedy,
    chunks,
    compare_greedy,
    continuation,
    measure,
    misses,
    table,
)
from models.tiny import golden, tiny_model


def test_distance_is_the_textbook_sum() -> None:
    rng = np.random.default_rng(5)
    exact = rng.normal(size=(37, 50)).astype(np.float32)  # not a multiple of the rows taken at a time
    found = (exact + rng.normal(size=(37, 50)) * 0.3 + 7).astype(np.float32)  # a constant is no error
    distance = Distance()
    distance.add(exact[:20], found[:20])
    distance.add(exact[20:], found[20:])
    p, q = (
        np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum(1, keepdims=True)
        for x in (exact, found)
    )
    means = distance.means
    assert means["kl"] == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-9)
    assert means["top1"] == pytest.approx((exact.argmax(1) == found.argmax(1)).mean())
    error = (found - exact).astype(np.float64)
    assert means["rms"] == pytest.approx(np.sqrt((error - error.mean(1, keepdims=True)).var()), rel=1e-5)
    assert 0.2 < means["rms"] < 0.4


def test_equal_logits_have_no_distance() -> None:
    logits = np.linspace(-30, 30, 60, dtype=np.float32).reshape(3, 20)
    distance = Distance()
    distance.add(logits, logits)
    assert distance.means == {"kl": 0.0, "top1": 1.0, "rms": 0.0}


def test_chunks_are_whole_and_start_with_bos() -> None:
    assert chunks(range(10, 20), None, 4, 8) == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert chunks(range(10, 20), 1, 4, 12) == [[1, 10, 11, 12], [1, 13, 14, 15], [1, 16, 17, 18]]
    with pytest.raises(SystemExit, match="2 chunks of 4 tokens, 3 are needed"):
        chunks(range(10), None, 4, 9)


def test_bounds_that_are_missed_are_named() -> None:
    found = {
        LLAMA: Distance(100, 1.0, 95, 1.0),
        "good": Distance(100, 0.69, 96, 1.0),
        "far": Distance(100, 0.71, 96, 1.0),
        "even": Distance(100, 0.1, 95, 1.0),
        "broken": Distance(100, float("nan"), 100, 1.0),
    }
    greedy = {"good": Greedy(2, 1, [{"prompt": 1, "step": 4, "gap": 0.39, "ok": True}]),
              "far": Greedy(1, 0, [{"prompt": 0, "step": 2, "gap": 0.41, "ok": False}])}  # fmt: skip
    lines = list(misses(found, greedy))
    assert [line.split(":")[0] for line in lines] == ["far", "even", "broken", "far"]
    assert "0.71 of llama.cpp's" in lines[0]
    assert "gap of 0.4100" in lines[3]
    assert "| good | 0.0069 | 0.69 | 96.00% | 0.10000 | 1, 1, 0.3900 (bound 0.4000) |" in table(found, greedy)


class StandIn:
    """Answers as llama.cpp would: its golden logits and greedy ids for one model."""

    def __init__(self, name: str) -> None:
        self.golden = golden(name)

    def logits(self, ids: list[int], batch: int) -> np.ndarray:
        assert ids == self.golden.ids[: len(ids)]
        return self.golden.logits[: len(ids)]

    def greedy_of(self, prompts: list[list[int]], n: int) -> Any:
        assert prompts == [self.golden.ids[: self.golden.prompt]]
        return [(self.golden.greedy[:n], self.golden.greedy_margin[:n])]


def test_reference_in_f16_is_nearer_to_exact_than_llama_cpp(tmp_path: Path) -> None:
    path, wanted = tiny_model("format-q4_k", tmp_path), golden("format-q4_k")
    exact, oracle = Exact(path, 128, tmp_path / "cache"), StandIn("format-q4_k")
    said: list[str] = []
    with exact.model, edgeq.load(path, backend="reference", context=128) as model:
        runs, parts = {"reference": model}, [wanted.ids[:20]]
        found = measure(exact, oracle, runs, parts, 7, said.append)  # type: ignore[arg-type]
        assert 0 < found["reference"].means["kl"] < 0.1 * found[LLAMA].means["kl"]
        prompts = [wanted.ids[: wanted.prompt]]
        rms = found[LLAMA].means["rms"]
        greedy = compare_greedy(exact, oracle, runs, prompts, 6, rms)["reference"]  # type: ignore[arg-type]
        assert greedy.same + len(greedy.parted) == greedy.prompts == 1
        assert all(case["ok"] for case in greedy.parted)
    assert len(said) == 1
    assert list((tmp_path / "cache").glob("*.npy"))


def test_a_greedy_continuation_that_parts_is_judged_on_exact_logits(tmp_path: Path) -> None:
    path, wanted = tiny_model("llama3", tmp_path), golden("llama3")
    exact, oracle = Exact(path, 64, None), StandIn("llama3")
    with exact.model, edgeq.load(path, backend="reference", context=64) as model:
        prompt = wanted.ids[: wanted.prompt]
        ours = continuation(model, prompt, 4)
        assert ours == wanted.greedy[:4]
        wrong = (ours[2] + 1) % model.vocab
        oracle.golden.greedy[2], kept = wrong, ours[2]
        try:
            greedy = compare_greedy(exact, oracle, {"reference": model}, [prompt], 4, 1e-3)["reference"]  # type: ignore[arg-type]
        finally:
            oracle.golden.greedy[2] = kept
        row = exact.logits([*prompt, *ours[:2]])[-1]
    case = greedy.parted[0]
    assert (case["step"], case["edgeq"], case[LLAMA], case["exact"], case["ok"]) == (
        2,
        kept,
        wrong,
        kept,
        False,
    )
    assert case["gap"] == pytest.approx(float(row[kept]) - float(row[wrong]), rel=1e-6)
