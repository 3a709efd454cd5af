"""The checks of test_determinism.py on real models: those of the folder EDGEQ_TEST_MODELS, or else of edgeq's cache."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeq import _lib, registry
from tests import determinism as d
from tests.backends.conftest import WORKING
from tests.determinism import Difference, Subject

pytestmark = pytest.mark.skipif(not _lib.available(), reason="left out: needs the native library")
LEFT_OUT = "left out: no real models (set EDGEQ_TEST_MODELS to a folder with GGUF files)"
TEXTS = (
    "The history of the steam engine begins with",
    "def fibonacci(n):\n    ",
    "Im Frühling, wenn der Schnee schmilzt,",
    "Here are three reasons why cities should plant more trees:\n1.",
)


def models() -> list[Path]:
    named = os.environ.get("EDGEQ_TEST_MODELS")
    folder = Path(named) if named else registry.models_dir()
    return sorted(folder.glob("*.gguf"), key=lambda path: path.stat().st_size)[:3]


MODELS = models()
VARIANTS = [*WORKING, *(["numba"] if find_spec("numba") else [])]


@pytest.fixture(params=[*MODELS, *([] if MODELS else [None])], ids=lambda path: path.stem if path else "none")
def real(request: pytest.FixtureRequest) -> Subject:
    if request.param is None:
        pytest.skip(LEFT_OUT)
    return Subject(str(request.param))


@pytest.fixture
def small() -> str:
    if not MODELS:
        pytest.skip(LEFT_OUT)
    return str(MODELS[0])


def test_processes_and_threads_give_the_same_bits(real: Subject) -> None:
    told = d.stories_of_a_fresh_process([real, real], 1, 40) + d.stories_of_a_fresh_process([real], 4, 40)
    assert set(told) == {d.story(real, 2, 40)[0]}


def test_small_batches_are_summed_like_one_token(real: Subject) -> None:
    with real.load() as model:
        assert d.small_batches(model, 58, 8, (2, 3, 4, 5, 6, 7, 8)) == 8 * 7
        assert d.small_batches(model, 0, 16, (9, 12, 15, 16)) == 16 * 4
        assert d.mixed_batch(model, (5, 1, 10)) == 16
        assert d.sequences_together(model, d.FAR, 1) == len(d.FAR)


def test_small_batches_far_into_a_text(small: str) -> None:
    with Subject(small).load() as model:
        assert d.small_batches(model, 1012, 16) == 16 * len(d.SMALL)


def test_reproducible_logits_do_not_depend_on_chunks(real: Subject) -> None:
    assert d.chunks_change_nothing(real, 70, every=False) == 4 * len(d.CHUNKS)


def test_reproducible_logits_do_not_depend_on_chunks_far_into_a_text(small: str) -> None:
    assert d.chunks_change_nothing(Subject(small), 1040, every=False, sizes=(64, 512)) == 8


def test_reproducible_logits_do_not_depend_on_neighbours_and_cache_hits(
    real: Subject, tmp_path: Path
) -> None:
    with real.load(chunk=32, reproducible=True) as model:
        assert d.mixed_batch(model, (20, 1, 9)) == 30
        window = max(cache.window for cache in model.plain.caches)
        length = (
            window + 110 if window else 80
        )  # over the end of the ring, which holds the window and a chunk
        back = (length - 64,) if window else ()
        assert d.cache_hits_change_nothing(model, length, tmp_path, back) == 5 + len(back)


@pytest.mark.parametrize("kv_type", ["F16", "F32", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("isa", VARIANTS)
def test_every_variant_and_kv_type_on_the_smallest_model(isa: str, kv_type: str, small: str) -> None:
    at = Subject(
        small, "numba" if isa == "numba" else "native", None if isa == "numba" else isa, kv_type, 128
    )
    slow = isa == "scalar"
    with at.load() as model:
        assert d.small_batches(model, 60, 8, (3, 8) if slow else (2, 3, 5, 8)) > 0
    with at.load(reproducible=True) as model:
        assert d.mixed_batch(model, (6, 1, 11), 20 if slow else 60) == 18


# Largest difference as a share of the spread of the logits, and largest KL divergence of a row. Prompts lose up to 1 %
# of a token's length in each linear (EQ_PRECISION); at its first tokens a small model makes much of that.
ROUNDING = (1.0, 0.1)
NEAR_TIE = 6.0  # RMS differences between the two highest logits


def is_rounding(found: Difference) -> None:
    assert found.most < ROUNDING[0], found
    assert found.divergence < ROUNDING[1], found
    assert found.gap < NEAR_TIE, found


def test_without_it_logits_differ_by_rounding_only(real: Subject) -> None:
    with real.load() as model:
        found = [d.prompts_differ(real, 100), d.neighbours_differ(model, 20), d.cache_hits_differ(model, 60)]
    print(*found, sep="\n")
    for difference in found:
        is_rounding(difference)


def test_without_it_greedy_texts_part_at_near_ties_only(real: Subject) -> None:
    with real.load() as model:
        prompts = [model.tokenize(text) for text in TEXTS]
    found = d.greedy_texts(real, prompts, 24)
    print(
        f"{sum(f.parted for f in found)} of {len(found)} texts part, gaps up to {max(f.gap for f in found):.2f} RMS"
    )
    for difference in found:
        is_rounding(difference)
