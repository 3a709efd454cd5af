"""The matrix in memory: what it says of a weight, how matrices add up, and what statistics warn of."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from edgeq import imatrix
from edgeq.errors import UsageError
from edgeq.imatrix import Entry, ImportanceMatrix
from edgeq.imatrix.stats import FEW_TOKENS


def importance(entry: Entry, matrices: int, n: int) -> np.ndarray:
    found = ImportanceMatrix({"w": entry}).importance("w", matrices, n)
    assert found is not None and found.dtype == np.float32
    return found


def test_importance_is_the_mean_square_and_one_where_nothing_was_counted() -> None:
    assert importance(Entry([[2, 4, 0]], [2]), 1, 3).tolist() == [1, 2, 0]
    experts = Entry([[2, 4], [0, 0], [9, 3]], [2, 0, 3])
    assert importance(experts, 3, 2).tolist() == [[1, 2], [1, 1], [3, 1]]
    assert importance(Entry([[5, 6], [8, 2]], [1, 2]), 2, 2).tolist() == [[5, 6], [4, 1]]
    assert ImportanceMatrix({"w": experts}).importance("v", 3, 2) is None


@pytest.mark.parametrize("entry", [Entry([5, 5], [0]), Entry([0, 0], [9]), Entry([[5, 5], [0, 0]], [0, 3])])
def test_an_entry_that_says_nothing_is_refused_where_it_is_used(entry: Entry) -> None:
    with pytest.raises(UsageError, match="importance matrix, w: nothing was counted for it"):
        importance(entry, *entry.sums.shape)
    found = ImportanceMatrix({"w": entry})
    assert found.unreached("w") == len(entry.counts)
    warnings = imatrix.statistics(found).warnings
    assert any("nothing was counted for w; edgeq quantize refuses" in w for w in warnings)
    assert not any("weighed as if" in w or "always zero" in w for w in warnings)
    assert imatrix.merge([found, ImportanceMatrix({"w": Entry(np.ones_like(entry.sums), entry.counts + 1)})])


def test_one_count_can_stand_for_all_experts() -> None:
    assert importance(Entry(np.arange(6), [2]), 3, 2).tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]


@pytest.mark.parametrize(("matrices", "n"), [(1, 6), (2, 3), (6, 1), (3, 4)])
def test_an_entry_of_another_shape_names_both(matrices: int, n: int) -> None:
    with pytest.raises(UsageError, match=f"w: expected {matrices} x {n} values, found 3 x 2; .* another model"):
        importance(Entry(np.ones((3, 2)), [1, 1, 1]), matrices, n)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, -1.0], [1]), "a sum of squares is -1; expected 0 or more"),
        (([1.0, np.nan], [1]), "a sum of squares is not finite"),
        (([1.0], [np.inf]), "a count is not finite"),
        (([1.0], [-3]), "a count is -3"),
        (([1.0, 2, 3], [1, 1]), "3 sums of squares for 2 counts"),
        (([], [1]), "0 sums of squares for 1 counts"),
        (([1.0], []), "1 sums of squares for 0 counts"),
        (([1.0, 2], [1], [1.0]), "1 sums, 2 sums of squares"),
        (([1.0], [1], [np.nan]), "a sum is not finite"),
    ],
)
def test_an_entry_is_checked(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Entry(*arguments)


def test_merging_adds_sums_and_counts() -> None:
    a = ImportanceMatrix({"x": Entry([1, 2], [10], [1, -1]), "y": Entry([5], [10])}, ["p"], 1, 10)
    b = ImportanceMatrix({"x": Entry([3, 4], [30], [2, 2]), "z": Entry([7], [30])}, ["q", "p"], 2, 15)
    both = imatrix.merge([a, b])
    assert both.entries["x"].sums.tolist() == [[4, 6]] and both.entries["x"].counts.tolist() == [40]
    signed = both.entries["x"].signed_sums
    assert signed is not None and signed.tolist() == [[3, 1]]
    assert both.entries["y"].sums.tolist() == [[5]] and both.entries["z"].counts.tolist() == [30]
    assert (both.datasets, both.chunk_count, both.chunk_size) == (["p", "q"], 4, 10)
    assert a.entries["x"].sums.tolist() == [[1, 2]]  # as it was
    assert imatrix.merge([a]).entries["x"] is a.entries["x"]


def test_merging_keeps_sums_of_inputs_only_where_all_parts_have_them() -> None:
    a, b = (ImportanceMatrix({"x": Entry([1], [1], signed)}) for signed in ([1], None))
    assert imatrix.merge([a, b]).entries["x"].signed_sums is None


def test_merging_experts_with_one_count_for_all_of_them() -> None:
    """As .dat files have them."""
    experts = ImportanceMatrix({"x": Entry([[1, 2], [3, 4]], [10, 0])})
    flat = ImportanceMatrix({"x": Entry([10, 20, 30, 40], [5])})
    for both in (imatrix.merge([experts, flat]), imatrix.merge([flat, experts])):
        assert both.entries["x"].sums.tolist() == [[11, 22], [33, 44]]
        assert both.entries["x"].counts.tolist() == [15, 5]


def test_what_does_not_fit_is_not_merged() -> None:
    a, b = ImportanceMatrix({"x": Entry([1, 2], [1])}), ImportanceMatrix({"x": Entry([1, 2, 3], [1])})
    with pytest.raises(UsageError, match="x: 1 x 2 and 1 x 3 values; they are of different models"):
        imatrix.merge([a, b])
    with pytest.raises(UsageError, match="at least one"):
        imatrix.merge([])


def test_statistics_of_a_tensor() -> None:
    sums = np.zeros((1, 200))
    sums[0, :4] = [8, 4, 2, 2]
    (found,) = imatrix.statistics(ImportanceMatrix({"w": Entry(sums, [2])})).tensors
    assert (found.name, found.matrices, found.columns, found.tokens) == ("w", 1, 200, 2)
    assert (found.sum, found.mean, found.minimum, found.maximum) == (8, 0.04, 0, 4)
    assert found.std == pytest.approx(float((sums / 2).std()))
    assert found.active == 0.02 and found.coverage == 1
    assert found.entropy == pytest.approx(1.75)  # of 1/2, 1/4, 1/8, 1/8
    assert found.concentration == 0.75  # two of 200 columns


def test_experts_that_no_token_reached_count_for_coverage_alone() -> None:
    (found,) = imatrix.statistics(ImportanceMatrix({"w": Entry([[2, 2], [0, 0], [4, 4]], [2, 0, 4])})).tensors
    assert found.coverage == pytest.approx(2 / 3) and found.active == 1 and found.mean == 1 and found.entropy == 2
    (none,) = imatrix.statistics(ImportanceMatrix({"w": Entry([0, 0], [0])})).tensors
    assert (none.coverage, none.sum, none.active, none.entropy, none.concentration) == (0, 0, 0, 0, 0)


def test_layers_come_in_the_order_of_their_numbers() -> None:
    names = ["output.weight", "blk.10.a", "blk.9.b", "blk.9.a"]
    found = imatrix.statistics(ImportanceMatrix({n: Entry([1], [1]) for n in names}))
    assert [t.name for t in found.tensors] == ["blk.9.a", "blk.9.b", "blk.10.a", "output.weight"]


def test_warnings_say_what_speaks_against_a_matrix() -> None:
    good = ImportanceMatrix({"w": Entry(np.ones((4, 3)), [FEW_TOKENS] * 4)})
    assert imatrix.statistics(good).warnings == ()

    entries = {
        "few": Entry(np.ones(3), [100]),
        "zero": Entry([1, 0, 1, 1], [100]),
        "experts": Entry(np.ones((3, 2)) * [[1], [0], [1]], [100, 0, 1]),
    }
    few, never, rare, zero = imatrix.statistics(ImportanceMatrix(entries)).warnings
    assert few.startswith("100 tokens were counted at most")
    assert "no token reached experts (1 of 3)" in never
    assert "less than 10% as often as the mean in experts (1 of 3)" in rare
    assert "always zero in zero (25 %)" in zero

    many = {f"w{i}": Entry([0.0, 1.0], [FEW_TOKENS]) for i in range(5)}
    assert "w2 (50 %) and 2 more" in imatrix.statistics(ImportanceMatrix(many)).warnings[0]


def test_an_expert_whose_inputs_were_all_zero_is_no_column_that_was() -> None:
    sums = np.ones((4, 4)) * [[1], [0], [1], [1]]
    entries = {"experts": Entry(sums, [FEW_TOKENS] * 4)}
    (idle,) = imatrix.statistics(ImportanceMatrix(entries)).warnings
    assert idle == "all inputs were zero in experts (1 of 4); these matrices are weighed as if all columns were alike"
    sums[2] = [1, 0, 1, 1]
    _, zero = imatrix.statistics(ImportanceMatrix({"experts": Entry(sums, [FEW_TOKENS] * 4)})).warnings
    assert "always zero in experts (8.33 %)" in zero


@pytest.mark.parametrize("counts", [[1e-30], [1e-320]])
def test_means_that_float32_cannot_hold_are_refused_without_a_warning(counts: Any, recwarn: Any) -> None:
    matrix = ImportanceMatrix({"blk.0.w": Entry([1.0, 1e30], counts)})
    message = r"importance matrix, blk\.0\.w: a mean square is (1e\+60|inf); expected at most 3\.4\d*e\+38, the largest"
    with pytest.raises(UsageError, match=message):
        matrix.importance("blk.0.w", 1, 2)
    assert not recwarn.list


def test_reading_a_file_needs_no_model_and_no_library() -> None:
    code = """import sys
from edgeq import imatrix
assert 'numpy' not in sys.modules
imatrix.load, imatrix.merge, imatrix.ImportanceMatrix, imatrix.statistics
assert 'numpy' not in sys.modules
imatrix.ImportanceMatrix({'w': imatrix.Entry([1.0], [1])}).importance('w', 1, 1)
wrong = [m for m in sys.modules if m.startswith(('edgeq.model', 'edgeq.backends', 'edgeq.tokenizer', 'edgeq._native'))]
assert not wrong, wrong
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_public_names_are_there() -> None:
    assert all(getattr(imatrix, name) for name in imatrix.__all__)
    with pytest.raises(AttributeError, match="has no attribute nothing"):
        imatrix.nothing  # noqa: B018
