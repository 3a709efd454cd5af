"""Sampler: state and rewind, what logits it takes, hooks, log-probabilities, and every error."""

from __future__ import annotations

import math
from typing import Any

import naive_sampling as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import BackendError, UsageError
from edgeq.sampling import Sampler, SamplerState, Sampling

V = 200
INF, NAN = float("inf"), float("nan")


def draw(seed: int, n: int = V, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, n).astype(np.float32)


FULL = Sampling(
    repeat_penalty=1.3, xtc_probability=0.5, dry_multiplier=0.5, dry_sequence_breakers=()
)


@pytest.mark.parametrize("s", [FULL, Sampling(mirostat=2, frequency_penalty=0.2)])
def test_a_restored_or_copied_sampler_continues_in_the_same_way(s: Sampling) -> None:
    def run(sampler: Sampler, steps: range) -> list[int]:
        out = []
        for n in steps:
            out.append(sampler.sample(draw(n)))
            sampler.accept(out[-1])
        return out

    sampler = Sampler(s, V, seed=3, history=[1, 2, 3])
    run(sampler, range(10))
    state, twin = sampler.state(), sampler.copy()
    expected = run(sampler, range(10, 30))
    assert run(twin, range(10, 30)) == expected
    sampler.restore(state)
    assert sampler.state() == state
    assert run(sampler, range(10, 30)) == expected
    fresh = Sampler(s, V, seed=77)
    fresh.restore(SamplerState(*state))
    assert run(fresh, range(10, 30)) == expected


def test_a_copy_is_independent() -> None:
    sampler = Sampler(Sampling(frequency_penalty=1.0), V, 1, [5])
    twin = sampler.copy()
    sampler.accept(6)
    sampler.sample(draw(1))
    assert twin.state() == SamplerState(1, 0, 10.0, (5,))
    assert sampler.history == (5, 6)


def test_accept_takes_numpy_ids_and_keeps_plain_ints() -> None:
    sampler = Sampler(Sampling(), V, 1, np.array([1, 2]))
    sampler.accept(np.int32(3))
    assert sampler.history == (1, 2, 3)
    assert {type(t) for t in sampler.history} == {int}


@pytest.mark.parametrize("bad", [-1, V, 1.0, True, "1", None, 10**400])
def test_a_bad_token_is_refused_and_changes_nothing(bad: Any) -> None:
    sampler = Sampler(Sampling(frequency_penalty=1.0), V, 1, [4])
    before = sampler.state()
    for act in (
        lambda: sampler.accept(bad),
        lambda: sampler.restore(before._replace(history=(1, bad))),
        lambda: Sampler(Sampling(), V, 1, [bad]),
        lambda: sampler.logprobs(draw(1), [bad]),
    ):
        with pytest.raises(UsageError, match="token id must be an integer from 0 to 199; got"):
            act()
    assert sampler.state() == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"seed": None},
        {"draws": -1},
        {"draws": 2**64},
        {"draws": 1.0},
        {"mu": NAN},
        {"mu": INF},
        {"mu": "1"},
        {"mu": 10**400},
        {"history": None},
        {"seed": True},
    ],
)
def test_a_bad_state_is_refused(change: dict[str, Any]) -> None:
    sampler = Sampler(Sampling(), V, 1)
    with pytest.raises(UsageError, match="; got"):
        sampler.restore(sampler.state()._replace(**change))
    assert sampler.state() == SamplerState(1, 0, 10.0, ())


def test_bad_arguments_are_refused() -> None:
    for arguments in (
        ({}, V),
        (Sampling(), 0),
        (Sampling(), 1.5),
        (Sampling(), True),
        (Sampling(), 2**31),
    ):
        with pytest.raises(UsageError, match="; got"):
            Sampler(*arguments)  # type: ignore[arg-type]
    for keywords in ({"seed": -1}, {"seed": 1.5}, {"seed": 2**64}, {"history": 3}):
        with pytest.raises(UsageError, match="; got"):
            Sampler(Sampling(), V, **keywords)
    with pytest.raises(UsageError, match=r"what Sampler\.state returned"):
        Sampler(Sampling(), V).restore((1, 0, 0.0, ()))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="names token 200; ids of this model are below 200"):
        Sampler(Sampling(logit_bias={V: 1.0}), V)


@pytest.mark.parametrize("s", [Sampling(), Sampling(temperature=0), Sampling(mirostat=2), FULL])
@pytest.mark.parametrize("n", [3, 40, 5000])
def test_nan_and_infinity_are_named_with_their_position(s: Sampling, n: int) -> None:
    for value, name in ((NAN, "NaN"), (-NAN, "NaN"), (INF, r"\+inf")):
        for at in (0, n // 2, n - 1):
            x = draw(1, n)
            x[at] = value
            with pytest.raises(BackendError, match=f"logit {at} of {n} is {name}"):
                Sampler(s, n, 1).sample(x)
            with pytest.raises(BackendError, match=f"logit {at} of {n} is {name}"):
                Sampler(s, n, 1).logprobs(x)


@pytest.mark.parametrize("s", [Sampling(), Sampling(temperature=0), Sampling(mirostat=2)])
def test_masked_tokens_are_never_chosen(s: Sampling) -> None:
    x = np.full(50, -INF, dtype=np.float32)
    x[[7, 30]] = 1.0
    sampler = Sampler(s, 50, 1)
    assert {sampler.sample(x) for _ in range(50)} <= {7, 30}


def test_when_every_token_is_masked_an_error_says_by_what() -> None:
    x = draw(1, 3)
    with pytest.raises(UsageError, match="all 3 logits are -inf as given"):
        Sampler(Sampling(), 3).sample(np.full(3, -INF, dtype=np.float32))
    with pytest.raises(UsageError, match=r"all 3 logits are -inf after Sampling\.logit_bias"):
        Sampler(Sampling(logit_bias=dict.fromkeys(range(3), -INF)), 3).sample(x)
    with pytest.raises(UsageError, match=r"all 3 logits are -inf after Sampling\.hook"):
        Sampler(Sampling(hook=lambda history, x: x.fill(-INF)), 3).sample(x)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "abc",
        [1.0],
        [[1.0, 2.0]],
        [[1.0], [2.0, 3.0]],
        np.zeros((1, 2)),
        np.zeros(2, dtype=complex),
        np.array(["a", "b"]),
        np.array([True, False]),
        [10**400, 1],
        object(),
        np.zeros(0),
        {},
    ],
)
def test_logits_of_a_wrong_kind_are_refused(bad: Any) -> None:
    with pytest.raises(
        UsageError, match="the logits must be one vector of 2 float32 numbers; got "
    ):
        Sampler(Sampling(), 2).sample(bad)


def test_other_numeric_types_are_taken_as_float32() -> None:
    for x in (
        [0.0, 9.0],
        np.array([0, 9]),
        np.array([0, 9], dtype=">f8"),
        np.array([0, 9], dtype=np.float16),
    ):
        assert Sampler(Sampling(temperature=0), 2).sample(x) == 1
    with pytest.raises(BackendError, match=r"logit 0 of 2 is \+inf"):
        Sampler(Sampling(), 2).sample(np.array([1e300, 1.0]))


def test_a_hook_sees_the_history_and_changes_logits_in_place_or_by_returning() -> None:
    seen: list[tuple[int, ...]] = []

    def in_place(history: tuple[int, ...], x: np.ndarray) -> None:
        seen.append(history)
        x[:] = -INF
        x[len(history)] = 0.0

    sampler = Sampler(Sampling(hook=in_place), V, 1, [9])
    assert sampler.sample(draw(1)) == 1
    sampler.accept(1)
    assert sampler.sample(draw(1)) == 2
    assert seen == [(9,), (9, 1)]
    other = Sampling(temperature=0, hook=lambda history, x: -x)
    assert Sampler(other, V, 1).sample(draw(1)) == draw(1).argmin()


def test_what_a_hook_returns_is_not_changed() -> None:
    kept = np.ones(V, dtype=np.float32)
    Sampler(Sampling(hook=lambda history, x: kept, logit_bias={1: 2.0}), V, 1).sample(draw(1))
    assert kept.tolist() == [1.0] * V


def test_a_bad_hook_is_named() -> None:
    for value, name in ((NAN, "NaN"), (INF, r"\+inf")):

        def hook(history: tuple[int, ...], x: np.ndarray, value: float = value) -> None:
            x[5] = value

        with pytest.raises(UsageError, match=f"logit 5 is {name} after Sampling.hook"):
            Sampler(Sampling(hook=hook), V).sample(draw(1))
    with pytest.raises(UsageError, match=r"what Sampling\.hook returned must be one vector of 200"):
        Sampler(Sampling(hook=lambda history, x: x[:5]), V).sample(draw(1))


def test_an_exception_in_a_hook_passes_and_nothing_is_drawn() -> None:
    sampler = Sampler(Sampling(hook=lambda history, x: 1 / 0), V, 1)
    with pytest.raises(ZeroDivisionError):
        sampler.sample(draw(1))
    assert sampler.state().draws == 0


@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_logprobs_are_the_log_softmax_of_the_model(seed: int, top_k: int) -> None:
    logits = draw(seed)
    x = dict(enumerate(logits.tolist()))
    expected = {i: math.log(p) for i, p in naive.softmax(x).items()}
    sampler = Sampler(Sampling(temperature=0.1, logit_bias={0: -INF}), V)
    got = sampler.logprobs(logits, [3, 0, 199], top_k)
    assert got.chosen == pytest.approx([expected[i] for i in (3, 0, 199)], abs=1e-10)
    assert [i for i, _ in got.top] == naive.ranked(x)[:top_k]
    assert [p for _, p in got.top] == pytest.approx([expected[i] for i, _ in got.top], abs=1e-10)
    assert sampler.state().draws == 0


def test_logprobs_of_masked_tokens_and_of_everything() -> None:
    got = Sampler(Sampling(), 3).logprobs(np.array([0.0, -INF, 0.0], dtype=np.float32), [1], 3)
    assert got.chosen == (-INF,)
    assert [i for i, _ in got.top] == [0, 2, 1]
    for bad in (-1, 4, 1.5, True):
        with pytest.raises(UsageError, match="top_k must be an integer from 0 to 3"):
            Sampler(Sampling(), 3).logprobs(np.zeros(3, dtype=np.float32), (), bad)
