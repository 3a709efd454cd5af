"""Sampler: the order of the chain, the draw, mirostat."""

from __future__ import annotations

import math
from typing import Any

import naive_sampling as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.sampling import Sampler, Sampling
from edgeq.sampling.rng import uniforms

V = 200
INF = float("inf")
OPEN = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # no truncation


def draw(seed: int, n: int = V, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, n).astype(np.float32)


chains = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.3, 0.8, 1.0, 2.5]),
        "top_k": st.sampled_from([0, 1, 5, 40, 1000]),
        "typical_p": st.sampled_from([1.0, 1.0, 0.3, 0.9]),
        "top_p": st.sampled_from([1.0, 0.0, 0.4, 0.95]),
        "min_p": st.sampled_from([0.0, 0.05, 0.3, 1.0]),
        "min_keep": st.sampled_from([0, 1, 6]),
        "xtc_probability": st.sampled_from([0.0, 1.0]),
        "xtc_threshold": st.sampled_from([0.0, 0.1, 0.5, 0.6]),
    }
)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), chains)
def test_the_chain_is_its_filters_in_order(seed: int, chain: dict[str, Any]) -> None:
    logits = draw(seed)
    x = dict(enumerate(logits.tolist()))
    keep = chain["min_keep"]
    if chain["top_k"]:
        x = {i: x[i] for i in naive.top_k(x, chain["top_k"])}
    if chain["typical_p"] < 1:
        x = {i: x[i] for i in naive.typical(x, chain["typical_p"], keep)}
    if chain["top_p"] < 1:
        x = {i: x[i] for i in naive.top_p(x, chain["top_p"], keep)}
    if chain["min_p"] > 0:
        x = {i: x[i] for i in naive.min_p(x, chain["min_p"], keep)}
    if chain["xtc_probability"] and chain["xtc_threshold"] <= 0.5:
        x = {i: x[i] for i in naive.xtc(x, chain["xtc_threshold"], keep)}
    expected = naive.softmax({i: v / chain["temperature"] for i, v in x.items()})
    ids, p = Sampler(Sampling(**chain), V, seed).distribution(logits)
    assert ids.tolist() == sorted(expected)
    np.testing.assert_allclose(p, [expected[i] for i in sorted(expected)], rtol=1e-9)


@given(st.integers(0, 2**32 - 1), chains, st.booleans())
def test_a_distribution_sums_to_one_and_its_samples_are_in_it(
    seed: int, chain: dict[str, Any], mirostat: bool
) -> None:
    logits = draw(seed)
    logits[seed % V] = -INF
    sampler = Sampler(Sampling(**chain, mirostat=2 * mirostat, mirostat_tau=2.0), V, seed)
    for _ in range(3):
        ids, p = sampler.distribution(logits)
        assert math.fsum(p.tolist()) == pytest.approx(1.0, abs=1e-12)
        assert np.all(p >= 0)
        assert seed % V not in ids.tolist()
        token = sampler.sample(logits)
        assert type(token) is int
        assert p[ids.tolist().index(token)] > 0
        sampler.accept(token)


@given(st.integers(0, 2**32 - 1), chains)
def test_temperature_0_is_the_first_maximum_whatever_else_is_set(
    seed: int, chain: dict[str, Any]
) -> None:
    logits = np.round(draw(seed))  # ties
    sampler = Sampler(Sampling(**{**chain, "temperature": 0}), V, seed)
    best = max(logits.tolist())
    assert sampler.sample(logits) == logits.tolist().index(best)
    assert sampler.distribution(logits)[0].tolist() == [logits.tolist().index(best)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 1.0, 100.0]))
def test_top_k_1_is_greedy(seed: int, temperature: float) -> None:
    logits = np.round(draw(seed))
    assert (
        Sampler(Sampling(top_k=1, temperature=temperature), V, seed).sample(logits)
        == logits.argmax()
    )


def test_greedy_applies_bias_and_penalties_first() -> None:
    x = np.array([3.0, 2.0, 1.0], dtype=np.float32)
    assert Sampler(Sampling(temperature=0, logit_bias={2: 5.0}), 3).sample(x) == 2
    assert Sampler(Sampling(temperature=0, repeat_penalty=2.0), 3, history=[0]).sample(x) == 1


def test_nearly_zero_temperature_is_nearly_greedy_and_splits_ties() -> None:
    x = np.array([1.0, 5.0, 4.99, 5.0], dtype=np.float32)
    for temperature in (1e-9, 1e-300, 5e-324):
        with np.errstate(all="raise"):
            ids, p = Sampler(Sampling(temperature=temperature, **OPEN), 4).distribution(x)
        assert p.tolist() == [0.0, 0.5, 0.0, 0.5]
        assert ids.tolist() == [0, 1, 2, 3]


def test_extreme_logits() -> None:
    x = np.array([3.4e38, -3.4e38, 3.4e38, 0.0], dtype=np.float32)
    for s in (Sampling(), Sampling(typical_p=0.5, **OPEN), Sampling(mirostat=2), Sampling(**OPEN)):
        assert Sampler(s, 4, 1).sample(x) in (0, 2)
    assert Sampler(Sampling(), 1).sample(np.zeros(1, dtype=np.float32)) == 0


# The draw


CASES = [
    Sampling(temperature=1.0, **OPEN),
    Sampling(),
    Sampling(temperature=1.7, typical_p=0.8, top_p=0.9),
    Sampling(temperature=1.0, top_k=8, min_p=0.0, top_p=1.0, repeat_penalty=1.4),
    Sampling(xtc_probability=0.4, xtc_threshold=0.05, min_p=0.0),
]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_draws_follow_the_distribution(n: int) -> None:
    """Chi-square against the naive chain, with a fixed seed; the bound is five sigma."""
    s, draws, size = CASES[n], 8_000, 24
    logits = draw(n, size, 1.5)
    history = [1, 2, 3, 2]
    sampler = Sampler(s, size, seed=n, history=history)
    counts = np.bincount([sampler.sample(logits) for _ in range(draws)], minlength=size)
    x = dict(enumerate(logits.tolist()))
    if s.repeat_penalty != 1.0:
        x = dict(
            enumerate(naive.penalized(logits.tolist(), history, 64, s.repeat_penalty, 0.0, 0.0))
        )
    kept = x if not s.top_k else {i: x[i] for i in naive.top_k(x, s.top_k)}
    kept = kept if s.typical_p == 1 else {i: x[i] for i in naive.typical(kept, s.typical_p, 0)}
    kept = kept if s.top_p == 1 else {i: x[i] for i in naive.top_p(kept, s.top_p, 0)}
    kept = kept if s.min_p == 0 else {i: x[i] for i in naive.min_p(kept, s.min_p, 0)}
    expected = np.zeros(size)
    for survivors, share in (
        (naive.xtc(kept, s.xtc_threshold, 0), s.xtc_probability),
        (set(kept), 1 - s.xtc_probability),
    ):
        for i, p in naive.softmax({i: x[i] / s.temperature for i in survivors}).items():
            expected[i] += share * p * draws
    assert np.all(counts[expected == 0] == 0)
    some = expected > 0
    chi2 = float(np.sum((counts[some] - expected[some]) ** 2 / expected[some]))
    freedom = int(some.sum()) - 1
    assert freedom > 2
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def test_a_draw_inverts_the_cumulative_distribution_in_order_of_id() -> None:
    logits = draw(3, 12)
    sampler = Sampler(Sampling(temperature=1.0, **OPEN), 12, seed=99)
    p = naive.softmax(dict(enumerate(logits.tolist())))
    for n in range(500):
        u, _ = uniforms(99, n)
        running = 0.0
        for i in range(12):
            running += p[i]
            if running > u:
                break
        assert sampler.sample(logits) == i


@pytest.mark.parametrize(("u", "token"), [(0.0, 1), (0.25, 2), (0.5, 4), (1 - 2**-53, 5)])
def test_a_uniform_number_on_a_border_draws_the_next_token_of_weight(
    u: float, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeq.sampling.chain.uniforms", lambda seed, draw: (u, 0.0))
    x = np.array([-2000, 0, 0, -2000, 0, 0, -2000], dtype=np.float32)
    assert Sampler(Sampling(temperature=1.0, **OPEN), 7, seed=1).sample(x) == token


def test_a_weight_of_zero_is_never_drawn() -> None:
    x = np.array([-2000.0, 0.0, -2000.0, -INF], dtype=np.float32)
    sampler = Sampler(Sampling(temperature=1.0, **OPEN), 4, seed=1)
    assert {sampler.sample(x) for _ in range(300)} == {1}


def test_xtc_acts_with_its_probability() -> None:
    logits = np.array([5.0, 4.9, 4.8, 0.0], dtype=np.float32)
    s = Sampling(**OPEN, xtc_probability=0.25, xtc_threshold=0.1)
    sampler = Sampler(s, 4, seed=5)
    acted = 0
    for _ in range(4000):
        acted += sampler.distribution(logits)[0].tolist() == [2, 3]
        sampler.sample(logits)
    assert abs(acted / 4000 - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    def stream(seed: int) -> list[int]:
        sampler = Sampler(Sampling(), V, seed)
        return [sampler.sample(draw(n)) for n in range(50)]

    assert stream(7) == stream(7) != stream(8)


def test_without_a_seed_two_samplers_differ_and_each_can_be_repeated() -> None:
    first, second = Sampler(Sampling(), V), Sampler(Sampling(), V)
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**64
    again = Sampler(Sampling(), V, first.seed)
    assert [first.sample(draw(n)) for n in range(20)] == [again.sample(draw(n)) for n in range(20)]


def test_sampling_leaves_the_logits_as_they_were() -> None:
    s = Sampling(logit_bias={1: 2.0}, repeat_penalty=1.2, hook=lambda history, x: x.fill(0.0))
    for case in (s, Sampling(), Sampling(mirostat=2), Sampling(temperature=0)):
        x = draw(1)
        x.flags.writeable = False
        before = x.tobytes()
        Sampler(case, V, 1, [1, 2, 3]).sample(x)
        assert x.tobytes() == before


def test_mirostat_moves_its_bound_by_the_error_of_the_surprise() -> None:
    s = Sampling(mirostat=2, mirostat_tau=2.0, mirostat_eta=0.3, temperature=0.9)
    sampler = Sampler(s, V, seed=4)
    mu = 4.0
    for n in range(30):
        logits = draw(n)
        x = {i: v / s.temperature for i, v in enumerate(logits.tolist())}
        kept = naive.mirostat(x, mu)
        p = naive.softmax({i: x[i] for i in kept})
        token = sampler.sample(logits)
        mu -= s.mirostat_eta * (-math.log2(p[token]) - s.mirostat_tau)
        assert sampler.state().mu == pytest.approx(mu, rel=1e-12, abs=1e-12)


def test_mirostat_holds_the_surprise_near_its_target() -> None:
    sampler = Sampler(Sampling(mirostat=2, mirostat_tau=3.0, temperature=1.0), 2000, seed=2)
    surprise = []
    for n in range(600):
        logits = draw(n, 2000, 3.0)
        ids, p = sampler.distribution(logits)  # the surprise meant is that among the tokens kept
        surprise.append(-math.log2(p[ids.tolist().index(sampler.sample(logits))]))
    assert abs(np.mean(surprise[100:]) - 3.0) < 0.1


def test_mirostat_ignores_the_truncation_filters_but_not_penalties() -> None:
    logits = draw(1)
    plain = Sampler(Sampling(mirostat=2), V, 1).distribution(logits)
    cut = Sampler(Sampling(mirostat=2, top_k=1, top_p=0.0, typical_p=0.1), V, 1).distribution(
        logits
    )
    assert plain[0].tolist() == cut[0].tolist()
    top = int(logits.argmax())
    banned = Sampler(Sampling(mirostat=2, logit_bias={top: -INF}), V, 1).distribution(logits)
    assert top in plain[0].tolist()
    assert top not in banned[0].tolist()
