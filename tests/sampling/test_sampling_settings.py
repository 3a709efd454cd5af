"""Sampling: defaults, ranges, and what an error says."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import UsageError
from edgeq.sampling import Sampling
from edgeq.sampling.settings import _FLOATS, _INTS

NAN, INF = float("nan"), float("inf")


def test_defaults_are_llamacpps() -> None:
    s = Sampling()
    assert (s.temperature, s.top_k, s.top_p, s.min_p, s.typical_p) == (0.8, 40, 0.95, 0.05, 1.0)
    assert (s.repeat_penalty, s.repeat_last_n, s.frequency_penalty, s.presence_penalty) == (
        1.0,
        64,
        0,
        0,
    )
    assert (s.dry_multiplier, s.dry_base, s.dry_allowed_length, s.dry_penalty_last_n) == (
        0.0,
        1.75,
        2,
        64,
    )
    assert s.dry_sequence_breakers == ("\n", ":", '"', "*")
    assert (s.xtc_probability, s.xtc_threshold, s.min_keep) == (0.0, 0.1, 0)
    assert (s.mirostat, s.mirostat_tau, s.mirostat_eta) == (0, 5.0, 0.1)


def test_every_numeric_field_has_a_range() -> None:
    numeric = {name for name, kind in Sampling.fields.items() if kind in ("float", "int")}
    assert numeric == set(_FLOATS) | set(_INTS) | {"mirostat"}


@pytest.mark.parametrize("name", sorted(_FLOATS))
@pytest.mark.parametrize("bad", [NAN, INF, -INF, True, "1", None, 10**400, -(10**400), 1j, [1.0]])
def test_a_float_field_refuses(name: str, bad: Any) -> None:
    with pytest.raises(UsageError, match=rf"Sampling\.{name} must be a number from .* to .*; got "):
        Sampling(**{name: bad})


@pytest.mark.parametrize("name", sorted([*_INTS, "mirostat"]))
@pytest.mark.parametrize("bad", [1.0, NAN, True, np.True_, "1", None, 10**400, -(10**400)])
def test_an_int_field_refuses(name: str, bad: Any) -> None:
    with pytest.raises(
        UsageError, match=rf"Sampling\.{name} must be an integer from .* to .*; got "
    ):
        Sampling(**{name: bad})


@pytest.mark.parametrize("name", sorted(_FLOATS))
def test_the_ends_of_a_range_are_in_it(name: str) -> None:
    low, high, _ = _FLOATS[name]
    assert getattr(Sampling(**{name: low}), name) == low
    assert getattr(Sampling(**{name: high}), name) == high
    for outside in (np.nextafter(low, -INF), np.nextafter(high, INF)):
        with pytest.raises(UsageError):
            Sampling(**{name: float(outside)})


@pytest.mark.parametrize("name", sorted(_INTS))
def test_the_ends_of_an_integer_range_are_in_it(name: str) -> None:
    low, high, _ = _INTS[name]
    assert getattr(Sampling(**{name: low}), name) == low
    assert getattr(Sampling(**{name: high}), name) == high
    for outside in (low - 1, high + 1):
        with pytest.raises(UsageError):
            Sampling(**{name: outside})


def test_a_number_too_long_to_print_is_refused_all_the_same() -> None:
    with pytest.raises(UsageError, match="got a value of type int"):
        Sampling(top_k=10**5000)


def test_a_message_names_field_range_value_and_what_turns_it_off() -> None:
    with pytest.raises(UsageError) as error:
        Sampling(top_p=1.5)
    assert (
        str(error.value) == "Sampling.top_p must be a number from 0 to 1 (1 turns it off); got 1.5"
    )


def test_numpy_and_rational_numbers_are_numbers() -> None:
    s = Sampling(temperature=np.float32(0.5), top_k=np.int64(7), top_p=Fraction(1, 2), min_p=1)
    assert (s.temperature, s.top_k, s.top_p, s.min_p) == (0.5, 7, 0.5, 1.0)
    assert {type(v) for v in (s.temperature, s.top_p, s.min_p)} == {float}
    assert type(s.top_k) is int


def test_mirostat_1_is_refused() -> None:
    with pytest.raises(UsageError, match="0 \\(off\\) or 2"):
        Sampling(mirostat=1)


@pytest.mark.parametrize(
    "bad",
    [
        5,
        "ab",
        {"1": 1.0},
        {-1: 1.0},
        {1: NAN},
        {1: INF},
        {1: 1e31},
        {1: True},
        {True: 1.0},
        {1: "x"},
        [(1, 2.0, 3.0)],
        [1],
        ((1, 2.0), (1, 3.0)),
        {1.5: 1.0},
    ],
)
def test_logit_bias_refuses(bad: Any) -> None:
    with pytest.raises(UsageError, match=r"Sampling\.logit_bias"):
        Sampling(logit_bias=bad)


def test_logit_bias_is_kept_as_pairs_by_id() -> None:
    s = Sampling(logit_bias={7: 1, np.int32(3): -INF})
    assert s.logit_bias == ((3, -INF), (7, 1.0))
    assert s.replace(top_k=3).logit_bias == s.logit_bias
    assert hash(s) == hash(Sampling(logit_bias={3: -INF, 7: 1}))


@pytest.mark.parametrize("bad", ["\n", b"\n", 3, None, [""], [1], ["x" * 65], ["x"] * 65])
def test_dry_sequence_breakers_refuse(bad: Any) -> None:
    with pytest.raises(UsageError, match=r"Sampling\.dry_sequence_breakers"):
        Sampling(dry_sequence_breakers=bad)


def test_a_hook_must_be_a_function() -> None:
    with pytest.raises(UsageError, match=r"Sampling\.hook"):
        Sampling(hook=3)  # type: ignore[arg-type]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Sampling().top_k = 3  # type: ignore[misc]


@given(
    st.sampled_from(sorted([*_FLOATS, *_INTS, "mirostat"])), st.floats() | st.integers() | st.text()
)
def test_any_value_is_taken_or_refused_in_one_line(name: str, value: Any) -> None:
    try:
        Sampling(**{name: value})
        message = ""
    except UsageError as error:
        message = str(error)
    assert len(message) < 200
    assert "\n" not in message
