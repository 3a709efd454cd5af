"""Outputs before NumPy is there: the likeliest token of a row, and arrays made of rows later."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq import _lib
from edgeq.backends.rows import Row, Rows, as_array
from edgeq.errors import BackendError, UsageError
from edgeq.sampling import Sampler, Sampling
from tests.small import tiny

pytestmark = pytest.mark.skipif(not _lib.available(), reason="needs the native library")


def rows(values: Any) -> Rows:
    """Rows as a step leaves them."""
    values = np.asarray(values, np.float32)
    data = _lib.ffi.new("float[]", max(1, values.size))
    _lib.ffi.memmove(data, values.tobytes(), values.nbytes)
    return Rows(data, *values.shape)


numbers = st.floats(-3, 3, width=16) | st.sampled_from([0.0, -0.0, 3.4e38, -3.4e38, 1e-45])


@given(st.lists(numbers, min_size=1, max_size=70))
def test_the_first_of_the_largest(values: list[float]) -> None:
    assert rows([values])[0].first_maximum() == int(np.argmax(np.float32(values)))


@pytest.mark.parametrize("n", [1, 16, 17, 40])
def test_the_largest_wherever_it_is(n: int) -> None:
    made = rows(np.eye(n, dtype=np.float32) - 2)
    assert [row.first_maximum() for row in made] == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 33, 64, 1001])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_none(n: int, broken: float) -> None:
    for at in {0, n // 2, n - 1}:
        values = np.linspace(-1, 1, n, dtype=np.float32)
        values[at] = broken
        assert rows([values])[0].first_maximum() == -1


def test_calls_that_make_no_sense_have_none_either() -> None:
    one = _lib.ffi.new("float[]", [1.0])
    assert [_lib.lib.eq_first_maximum(*a) for a in ((_lib.ffi.NULL, 1), (one, 0), (one, -5))] == [-1] * 3


def test_rows_are_a_sequence_and_arrays_share_their_memory() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = rows(values)
    assert (len(made), len(made[0]), len(list(made))) == (3, 4, 3)
    assert np.array_equal(as_array(made), values)
    assert all(np.array_equal(as_array(row), v) for row, v in zip(made, values))
    assert np.array_equal(as_array(made[-1]), values[-1])
    assert as_array(made).dtype == as_array(made[1]).dtype == np.float32
    as_array(made[1])[2] = 77
    assert as_array(made)[1, 2] == 77
    assert np.array_equal(np.asarray(made[2], np.float64), values[2])
    for index in (3, -4):
        with pytest.raises(IndexError, match="of 3"):
            made[index]
    assert as_array(rows(np.empty((0, 5)))).shape == (0, 5)


class Refuses(Row):
    """A row that may not be looked at as an array."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise AssertionError("an array was asked for")


def test_a_plain_choice_makes_no_array() -> None:
    sampler = Sampler(Sampling(temperature=0.0), 4)
    assert sampler.plain
    assert sampler.sample(Refuses(rows([[1, 5, 2, 5]]), 0)) == 1
    drawing = Sampler(Sampling(temperature=0.5), 4)
    assert not drawing.plain
    with pytest.raises(UsageError, match="must be one vector"):  # it asked for an array
        drawing.sample(Refuses(rows([[1, 5, 2, 5]]), 0))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"logit_bias": {1: -9.0}}, 3),
        ({"hook": lambda history, x: -x}, 0),
        ({"repeat_penalty": 4.0}, 3),
        ({"dry_multiplier": 9.0, "dry_allowed_length": 1, "dry_sequence_breakers": ()}, 3),
    ],
)
def test_what_edits_logits_sees_them(settings: Any, wanted: int) -> None:
    sampler = Sampler(Sampling(temperature=0.0, **settings), 4, history=[2, 1, 2], pieces=[b"a"] * 4)
    assert not sampler.plain
    assert sampler.sample(rows([[1, 5, 2, 5]])[0]) == wanted


def test_bad_rows_are_refused_as_bad_arrays_are() -> None:
    sampler = Sampler(Sampling(temperature=0.0), 4)
    for values, error in (
        ([1, np.nan, 2, 3], BackendError),
        ([1, np.inf, 2, 3], BackendError),
        ([-np.inf] * 4, UsageError),
        ([1, 2, 3], UsageError),
    ):
        with pytest.raises(error) as by_row:
            sampler.sample(rows([values])[0])
        with pytest.raises(error) as by_array:
            sampler.sample(np.float32(values))
        assert str(by_row.value) == str(by_array.value)
    assert sampler.sample(rows([[1, -np.inf, 7, 3]])[0]) == 2  # masked, not broken


TEXTS = """
import sys
import edgeq
from edgeq.generate import start
model = edgeq.load({file!r}, backend="native", threads=2)
if {early}: import numpy
answer = start(model.session(), {prompt}, temperature=0.0, max_tokens=60, ignore_end=True)
list(answer)
print(answer.ids, answer.usage.generated, "numpy" in sys.modules)
session = model.session(2)
arrays = [session.extend([1, 2]), session.sync([1, 2, 3])[0], session.append(4, draft=[5, 6]), session.append(5),
          session.extend([7, 8], all_logits=True), *session.decode({{0: 3, 1: 4}}).values()]
print([type(a).__name__ for a in arrays], [[hash(a.tobytes()) for a in arrays]])
"""


@pytest.mark.parametrize("name", ["qwen2", "llama3"])  # the second brings factors for its frequencies
def test_answers_and_logits_are_the_same_before_and_after_numpy(name: str) -> None:
    prompt = [5, 6, 7, 8] * 20
    outputs = []
    for early in (False, True):
        code = TEXTS.format(file=str(tiny(name)), prompt=prompt, early=early)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.replace(f"60 {early}", "60"))
        assert f" 60 {early}\n" in done.stdout  # the answer itself asked for no NumPy
        assert str(["ndarray"] * 7) in done.stdout
    assert outputs[0] == outputs[1]
