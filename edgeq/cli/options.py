"""Options of a command whose start counts: a table, parsed and explained here.

click takes longer to import than a small model to load; commands that nobody waits for use click.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edgeq.errors import UsageError, shown


class Option(NamedTuple):
    """One option. `kind` turns its word into a value (None: a flag that takes none); `many`: may be given
    several times."""

    flags: tuple[str, ...]
    kind: Callable[[str], Any] | None
    metavar: str
    help: str
    many: bool = False

    @property
    def name(self) -> str:
        """The key of its value: the last flag's name."""
        return self.flags[-1].lstrip("-").replace("-", "_")


def option(
    flags: str, kind: Callable[[str], Any] | None, metavar: str, text: str, many: bool = False
) -> Option:
    """A row of a table: `flags` are separated by spaces, the name of the value last."""
    return Option(tuple(flags.split()), kind, metavar, text, many)


def parse(words: Sequence[str], table: Sequence[Option]) -> tuple[dict[str, Any], list[str]]:
    """Values by name (None, False or [] where an option is not given) and the words that belong to none.

    Raises UsageError for what the table does not know and for values that are none."""
    flags = {flag: row for row in table for flag in row.flags}
    values: dict[str, Any] = {
        row.name: [] if row.many else False if row.kind is None else None for row in table
    }
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return values, rest + left
        if word == "-" or not word.startswith("-"):
            rest.append(word)
            continue
        flag, value = _split(word)
        row = flags.get(flag)
        if row is None:
            raise UsageError(_unknown(flag, list(flags)))
        if row.kind is None:
            if value is not None:
                raise UsageError(f"{flag} takes no value, found {shown(value, 40)!r}")
            values[row.name] = True
            continue
        if value is None:
            if not left:
                raise UsageError(f"{flag} needs a value: {flag} {row.metavar}")
            value = left.pop(0)
        converted = _converted(row, flag, value)
        if row.many:
            values[row.name].append(converted)
        else:
            values[row.name] = converted
    return values, rest


def _split(word: str) -> tuple[str, str | None]:
    if word.startswith("--"):
        flag, sign, value = word.partition("=")
        return flag, value if sign else None
    return word[:2], word[2:].removeprefix("=") if len(word) > 2 else None


def _converted(row: Option, flag: str, value: str) -> Any:
    assert row.kind is not None
    try:
        return row.kind(value)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(row.kind, row.metavar)  # type: ignore[call-overload]
        raise UsageError(f"{flag}: expected {wanted}, found {shown(value, 40)!r}") from None


def _unknown(flag: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(flag, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "--help shows all"
    return f"no option {shown(flag, 60)}; {hint} (a text that begins with - goes after --)"


def explain(head: str, groups: Sequence[tuple[str, Sequence[Option]]]) -> str:
    """The text of --help."""
    import textwrap

    lines = [head]
    for title, rows in groups:
        lines += ["", f"{title}:"]
        for row in rows:
            left = "  " + ", ".join(row.flags) + (f" {row.metavar}" if row.kind else "")
            text = textwrap.wrap(row.help, 58)
            if len(left) > 34:
                lines.append(left)
                left = ""
            lines += [f"{left:36}{text[0]}", *(f"{'':36}{more}" for more in text[1:])]
    return "\n".join(lines)
