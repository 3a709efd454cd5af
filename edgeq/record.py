"""Immutable values with named fields, for what must be there before the first token.

What a frozen dataclass is, without its price at every start: importing `dataclasses` and letting it write the
methods of forty classes took an eighth of the time in which edgeq answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """Tells type checkers that subclasses are built like dataclasses; does nothing when it runs."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """Base of records: a subclass declares its fields as annotations, with defaults where they have one.

    Two records are equal if they are of one class and their fields are. A subclass that must check or convert
    its values overrides `_settle`, which may write to `self.__dict__`."""

    fields: ClassVar[dict[str, str]] = {}
    """Name of each field, in order, and its type as written."""

    def __init_subclass__(cls) -> None:
        own = {n: str(t) for n, t in cls.__annotations__.items() if not str(t).startswith("ClassVar")}
        cls.fields = {**cls.fields, **own}
        cls.__match_args__ = tuple(cls.fields)  # type: ignore[misc, attr-defined]

    def __init__(self, *values: Any, **named: Any) -> None:
        state = self.__dict__
        state.update(zip(self.fields, values))
        if named or len(values) != len(self.fields):
            self._fill(len(values), named)
        self._settle()

    def _fill(self, given: int, named: dict[str, Any]) -> None:
        """Fields by name and defaults; TypeError as for any other call."""
        kind, state = type(self), self.__dict__
        if given > len(self.fields):
            raise TypeError(f"{kind.__name__} takes {len(self.fields)} fields, {given} were given")
        for name in list(self.fields)[given:]:
            if name in named:
                state[name] = named.pop(name)
            elif hasattr(kind, name):
                state[name] = getattr(kind, name)
            else:
                raise TypeError(f"{kind.__name__} needs a value for {name}")
        if named:
            raise TypeError(f"{kind.__name__}: unexpected or repeated {', '.join(named)}")

    def _settle(self) -> None:
        """Checks the values of a new record."""

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        return type(self)(**{**self._values(), **changes})

    def _values(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.fields}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set; `replace` makes a copy")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values().values()))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({inside})"
