"""Philox against the authors' known answers, and the uniform numbers made of it."""

from __future__ import annotations

import pytest

from edgeq.sampling.rng import philox, uniforms


# Known answers of the authors' Random123 library (file kat_vectors, philox4x32 10), BSD licence.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            "00000000 00000000 00000000 00000000",
            "00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers(counter: str, key: str, words: str) -> None:
    def number(text: str) -> int:
        return sum(int(word, 16) << 32 * i for i, word in enumerate(text.split()))

    assert philox(number(counter), number(key)) == tuple(int(word, 16) for word in words.split())


def test_uniforms_are_the_top_53_bits_of_two_words_each() -> None:
    w = philox(7, 2**63 + 5)
    expected = ((w[0] + (w[1] << 32)) >> 11) / 2**53, ((w[2] + (w[3] << 32)) >> 11) / 2**53
    assert uniforms(2**63 + 5, 7) == expected


def test_uniforms_fill_the_unit_interval_evenly_and_are_uncorrelated() -> None:
    n, bins = 20_000, 50
    pairs = [uniforms(12345, draw) for draw in range(n)]
    for which in (0, 1):
        counts = [0] * bins
        for pair in pairs:
            assert 0.0 <= pair[which] < 1.0
            counts[int(pair[which] * bins)] += 1
        chi2 = sum((c - n / bins) ** 2 / (n / bins) for c in counts)
        assert chi2 < 49 + 5 * (2 * 49) ** 0.5
    covariance = sum((a - 0.5) * (b - 0.5) for a, b in pairs) / n
    assert abs(covariance) < 5 / 12 / n**0.5
    lagged = sum((pairs[i][0] - 0.5) * (pairs[i + 1][0] - 0.5) for i in range(n - 1)) / n
    assert abs(lagged) < 5 / 12 / n**0.5


def test_neighbouring_seeds_are_unrelated() -> None:
    n = 4000
    covariance = (
        sum((uniforms(s, 0)[0] - 0.5) * (uniforms(s + 1, 0)[0] - 0.5) for s in range(n)) / n
    )
    assert abs(covariance) < 5 / 12 / n**0.5
