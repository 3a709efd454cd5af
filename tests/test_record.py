"""Records behave as frozen dataclasses do, without importing `dataclasses`."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import pytest

from edgeq.record import Record


class Point(Record):
    """Two fields, one with a default, and a constant of the class."""

    unit: ClassVar[str] = "mm"
    x: int
    y: int = 7


class Spot(Point):
    """Inherits fields, adds one, checks it."""

    colour: str = "red"

    def _settle(self) -> None:
        if not self.colour:
            raise ValueError("no colour")


def test_fields_are_given_by_place_by_name_or_by_default() -> None:
    assert (Point(1, 2).x, Point(1, y=2).y, Point(1).y, Point(x=3).x) == (1, 2, 7, 3)
    assert (Spot(1, 2, "blue").colour, Spot(1, colour="green").y) == ("blue", 7)
    assert list(Spot.fields) == ["x", "y", "colour"]
    assert Spot.fields["colour"] == "str"


@pytest.mark.parametrize(
    ("values", "named", "said"),
    [
        ((), {}, "value for x"),
        ((1, 2, 3), {}, "takes 2"),
        ((1,), {"z": 1}, "z"),
        ((1,), {"x": 1}, "x"),
        ((1, 2), {"y": 1}, "y"),
    ],
)
def test_a_wrong_call_is_a_type_error(values: tuple[int, ...], named: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Point(*values, **named)


def test_equal_means_same_class_and_same_values() -> None:
    assert Point(1, 2) == Point(x=1, y=2)
    assert hash(Point(1, 2)) == hash(Point(y=2, x=1))
    assert Point(1, 2) != Point(2, 1)
    assert Point(1, 7) != Spot(1, 7)
    assert repr(Point(1)) == "Point(x=1, y=7)"


def test_nothing_can_be_set_or_deleted() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="immutable"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del point.x
    assert point.x == 1


def test_replace_copies_and_checks() -> None:
    spot = Spot(1)
    assert spot.replace(x=5) == Spot(5)
    assert spot.x == 1
    with pytest.raises(ValueError, match="no colour"):
        spot.replace(colour="")
    with pytest.raises(TypeError):
        spot.replace(z=1)


def test_a_record_can_be_matched_copied_and_pickled() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    point = Point(1, 2)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
