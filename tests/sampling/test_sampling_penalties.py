"""Logit bias, the three penalties and DRY against naive definitions, and hard cases."""

from __future__ import annotations

import naive_sampling as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import UsageError
from edgeq.sampling import Sampler, Sampling
from edgeq.sampling.dry import Dry, common_suffixes

TEXTS = ["a", "b", "c", " d", "x\n", ":", "):", '"*', "e", "\n", "ab", "", "<b", "r>", "r>!"]
V = len(TEXTS)
tokens = st.lists(st.integers(0, V - 1), max_size=60)
few_tokens = st.lists(st.integers(0, 2), max_size=40)  # repetitions everywhere
breakers = st.lists(st.sampled_from(["\n", ":", "*", "ab", "<br>", "d:", "zz"]), max_size=3).map(
    tuple
)


def edited(s: Sampling, x: np.ndarray, history: list[int]) -> np.ndarray:
    """Logits after the edits, as the sampler sees them."""
    return Sampler(s, x.size, 0, history, TEXTS)._edited(x)[0]


def draw(seed: int, n: int = V) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, n).astype(np.float32)


@given(
    st.integers(0, 2**32 - 1),
    tokens,
    st.sampled_from([-1, 0, 1, 5, 64]),
    st.sampled_from([0.5, 1.0, 1.1, 2.0]),
    st.sampled_from([-0.5, 0.0, 0.3]),
    st.sampled_from([0.0, 1.0]),
)
def test_penalties(
    seed: int, history: list[int], last_n: int, repeat: float, frequency: float, presence: float
) -> None:
    x = draw(seed)
    s = Sampling(
        repeat_last_n=last_n,
        repeat_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
    )
    expected = naive.penalized(x.tolist(), history, last_n, repeat, frequency, presence)
    np.testing.assert_array_equal(edited(s, x, history), np.array(expected, dtype=np.float32))


@given(tokens, tokens, st.sampled_from([-1, 0, 1, 7, 64]))
def test_the_window_slides_as_tokens_are_accepted(
    first: list[int], more: list[int], last_n: int
) -> None:
    s = Sampling(repeat_last_n=last_n, frequency_penalty=0.25)
    x = draw(1)
    step_by_step = Sampler(s, V, 0, first)
    for token in more:
        step_by_step.accept(token)
    expected = Sampler(s, V, 0, first + more)._edited(x)[0]
    np.testing.assert_array_equal(step_by_step._edited(x)[0], expected)


@pytest.mark.parametrize(
    ("penalty", "wanted"),
    [
        ({"repeat_penalty": 2.0}, [1.0, -4.0, 5.0]),
        ({"frequency_penalty": 0.5}, [1.0, -2.5, 5.0]),
        ({"presence_penalty": 0.5}, [1.5, -2.5, 5.0]),
    ],
)
def test_each_penalty_works_without_the_others(
    penalty: dict[str, float], wanted: list[float]
) -> None:
    x = np.array([2.0, -2.0, 5.0], dtype=np.float32)
    assert edited(Sampling(**penalty), x, [0, 1, 0]).tolist() == wanted


def test_repeat_penalty_lowers_a_negative_logit_too() -> None:
    x = np.array([2.0, -2.0, 0.0, 5.0], dtype=np.float32)
    got = edited(Sampling(repeat_penalty=2.0), x, [0, 1, 2])
    assert got.tolist() == [1.0, -4.0, 0.0, 5.0]


def test_logit_bias_is_added_and_bans() -> None:
    x = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    got = edited(Sampling(logit_bias={0: 2.5, 2: float("-inf")}), x, [])
    assert got.tolist() == [3.5, 2.0, float("-inf")]
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_a_bias_on_a_masked_token_leaves_it_masked() -> None:
    x = np.array([1.0, float("-inf")], dtype=np.float32)
    assert edited(Sampling(logit_bias={1: 100.0}), x, []).tolist() == [1.0, float("-inf")]


def test_huge_edits_stay_finite() -> None:
    x = np.array([3e38, -3e38, 1.0], dtype=np.float32)
    s = Sampling(repeat_penalty=1e6, frequency_penalty=1e6, logit_bias={0: 1e30, 2: -1e30})
    assert np.isfinite(edited(s, x, [0, 1, 2] * 50)).all()


@given(few_tokens)
def test_common_suffixes(history: list[int]) -> None:
    z = common_suffixes(history)
    for k in range(1, len(history)):
        length = 0
        while length < len(history) - k and history[-1 - length] == history[-1 - k - length]:
            length += 1
        assert z[k] == length


@settings(max_examples=400)
@given(
    few_tokens | tokens,
    breakers,
    st.sampled_from([1.0, 1.2, 1.75]),
    st.integers(0, 4),
    st.sampled_from([-1, 0, 1, 10, 64]),
)
def test_dry(
    history: list[int], stops: tuple[str, ...], base: float, allowed: int, last_n: int
) -> None:
    x = draw(len(history))
    s = Sampling(
        dry_multiplier=0.8,
        dry_base=base,
        dry_allowed_length=allowed,
        dry_penalty_last_n=last_n,
        dry_sequence_breakers=stops,
    )
    expected = x.astype(np.float64)
    for token, penalty in naive.dry_penalties(
        history, TEXTS, 0.8, base, allowed, last_n, stops
    ).items():
        expected[token] -= penalty
    np.testing.assert_allclose(edited(s, x, history), expected, rtol=3e-7, atol=1e-6)


def test_dry_penalizes_the_token_that_would_continue_the_repetition() -> None:
    """a b c ... a b, and now c: length 2, allowed 2, so multiplier * base^0."""
    x = np.zeros(V, dtype=np.float32)
    s = Sampling(dry_multiplier=1.0, dry_base=2.0, dry_sequence_breakers=())
    assert edited(s, x, [0, 1, 2, 8, 0, 1]).tolist() == [0, 0, -1.0] + [0] * (V - 3)
    longer = edited(s, x, [3, 0, 1, 2, 8, 3, 0, 1])
    assert longer[2] == -2.0


def test_dry_counts_a_repetition_only_back_to_the_breaker() -> None:
    """c : a b e c : a b repeats four tokens, two of them behind the colon."""
    x = np.zeros(V, dtype=np.float32)
    s = Sampling(dry_multiplier=1.0, dry_base=2.0, dry_allowed_length=1)
    assert edited(s, x, [2, 5, 0, 1, 8, 2, 5, 0, 1])[8] == -2.0


def test_dry_sees_no_repetition_across_a_breaker_that_spans_two_tokens() -> None:
    x = np.zeros(V, dtype=np.float32)
    open_tag, close_tag = TEXTS.index("<b"), TEXTS.index("r>")
    history = [0, open_tag, close_tag, 1, 2, 0, open_tag, close_tag]
    s = Sampling(dry_multiplier=1.0, dry_sequence_breakers=("<br>",))
    assert edited(s, x, history).any() is np.False_
    assert edited(Sampling(dry_multiplier=1.0, dry_sequence_breakers=("zz",)), x, history)[1] < 0


def test_dry_of_a_very_long_repetition_stays_finite_and_leaves_a_choice() -> None:
    x = np.zeros(V, dtype=np.float32)
    s = Sampling(temperature=0, dry_multiplier=1e6, dry_penalty_last_n=-1, dry_sequence_breakers=())
    sampler = Sampler(s, V, 0, [0] * 5000)
    assert np.isfinite(sampler._edited(x)[0]).all()
    assert sampler.sample(x) == 1


def test_dry_takes_pieces_as_str_or_bytes_from_a_sequence_or_a_function() -> None:
    s = Sampling(dry_multiplier=1.0, dry_sequence_breakers=("\u00e9",))
    texts = ["a", "\u00e9", "b"]
    coded = [text.encode() for text in texts]
    assert [Dry(s, p).unbroken([0, 1, 2, 2]) for p in (texts, coded, coded.__getitem__)] == [
        2,
        2,
        2,
    ]


def test_dry_finds_a_breaker_whose_bytes_are_split_between_tokens() -> None:
    s = Sampling(dry_multiplier=1.0, dry_sequence_breakers=("\u00e9",))
    assert Dry(s, [b"\xc3", b"\xa9", b"x"]).unbroken([0, 1, 2]) == 1


def test_dry_without_the_text_of_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match=r"pieces=tokenizer\.token_bytes"):
        Sampler(Sampling(dry_multiplier=1.0), V)
    Sampler(Sampling(dry_multiplier=1.0, dry_sequence_breakers=()), V)


def test_dry_names_the_token_that_has_no_text() -> None:
    sampler = Sampler(Sampling(dry_multiplier=1.0), V, 0, [14, 14, 14], TEXTS[:3])
    with pytest.raises(UsageError, match="token 14"):
        sampler.sample(np.zeros(V, dtype=np.float32))
    sampler = Sampler(Sampling(dry_multiplier=1.0), V, 0, [1, 1, 1], [None] * V)
    with pytest.raises(UsageError, match="str or bytes for token 1"):
        sampler.sample(np.zeros(V, dtype=np.float32))
