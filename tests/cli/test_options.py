"""The table of options: every form of a word, and every way to get it wrong."""

from __future__ import annotations

import pytest

from edgeq.cli import run
from edgeq.cli.options import explain, option, parse
from edgeq.errors import UsageError

TABLE = (
    option("-n --number", int, "N", "a number"),
    option("--share", float, "X", "a share"),
    option("--stop", str, "TEXT", "a text", True),
    option("-v --verbose", None, "", "a flag"),
)


@pytest.mark.parametrize(
    ("words", "number", "rest"),
    [
        ("-n 5 a", 5, ["a"]),
        ("-n5", 5, []),
        ("-n=5", 5, []),
        ("--number=5 b", 5, ["b"]),
        ("a --number 5 b", 5, ["a", "b"]),
        ("-n -5", -5, []),
        ("-n 4 -n 5", 5, []),
        ("a -- -n 5", None, ["a", "-n", "5"]),
        ("-", None, ["-"]),
    ],
)
def test_forms(words: str, number: int | None, rest: list[str]) -> None:
    values, left = parse(words.split(), TABLE)
    assert (values["number"], left) == (number, rest)


def test_defaults_flags_and_lists() -> None:
    assert parse([], TABLE)[0] == {"number": None, "share": None, "stop": [], "verbose": False}
    values, _ = parse(["--stop", "a", "-v", "--stop=", "--stop==b"], TABLE)
    assert (values["stop"], values["verbose"]) == (["a", "", "=b"], True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--numbr 5", "did you mean --number"),
        ("-x", "no option -x"),
        ("-n", "needs a value: -n N"),
        ("-n x", "a whole number"),
        ("--share x", "a number"),
        ("--verbose=1", "takes no value"),
        ("-n 1.5", "a whole number"),
        ("-n=", "a whole number"),
    ],
)
def test_mistakes(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(words.split(), TABLE)


def test_the_help_of_run_names_every_option_and_no_line_is_too_long() -> None:
    text = explain(run.HEAD, [("Options", run.MAIN), ("Machine", run.MACHINE), ("Sampling", run.SAMPLING)])
    rows = (*run.MAIN, *run.MACHINE, *run.SAMPLING)
    assert all(flag in text for row in rows for flag in row.flags)
    assert max(map(len, text.splitlines())) <= 100
    names = [flag for row in rows for flag in row.flags]
    assert len(names) == len(set(names))


def test_every_setting_of_the_sampler_but_hooks_has_an_option() -> None:
    from edgeq.sampling import Sampling

    offered = {row.name for row in run.SAMPLING} - {"seed"}
    assert set(Sampling.fields) - {"hook", "min_keep"} == offered
