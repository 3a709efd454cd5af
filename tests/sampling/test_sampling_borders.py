"""Where arrays are cut into blocks and texts into bytes: the borders."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.sampling import Sampler
from edgeq.sampling.dry import Dry
from edgeq.sampling.mathfn import exp, total
from edgeq.sampling.settings import Sampling


@pytest.mark.parametrize("n", [1, 255, 256, 257, 8191, 8192, 8193, 16384, 16385])
def test_every_number_of_a_long_vector_counts_once(n: int) -> None:
    x = np.linspace(-3, 0, n)
    assert np.array_equal(exp(x), np.array([float(exp(x[i : i + 1])[0]) for i in range(n)]))
    assert total(np.ones(n)) == n


def test_a_lone_surrogate_is_no_question_mark() -> None:
    pieces = ["a", "\ud800", "?"]
    dry = Dry(Sampling(dry_multiplier=1.0, dry_sequence_breakers=("?",)), pieces)
    assert dry.unbroken([0, 1, 0]) == 3
    assert dry.unbroken([0, 2, 0]) == 1


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (2, 2), (3,), (5,), ()])
def test_logits_are_one_vector_of_the_vocabulary(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one vector of 4"):
        Sampler(Sampling(temperature=0.0), 4).sample(np.zeros(shape, np.float32))


def test_logits_that_are_all_masked() -> None:
    with pytest.raises(UsageError, match="no token is left"):
        Sampler(Sampling(), 4).sample(np.full(4, -np.inf, np.float32))
