"""The table of mutants is complete and applies. The run itself takes hours: `python -m tests.mutants`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.all import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.wanted import WITHOUT, lacking, text, wanted


def test_everything_that_registries_name_has_a_mutant() -> None:
    found = lacking(MUTANTS)
    assert not found, "add mutants to tests/mutants for:\n" + "\n".join(found)


def test_what_needs_no_mutant_is_there() -> None:
    assert set(WITHOUT) <= set(wanted())


def test_every_mutant_applies() -> None:
    """Its text is found exactly once, it changes the file, and what it makes is still Python."""
    for mutant in MUTANTS:
        found = mutant.applied(text(mutant.file))
        assert found != text(mutant.file), mutant.name
        if mutant.file.endswith(".py"):
            compile(found, mutant.name, "exec")


def test_every_mutant_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_tests_that_are_named_are_there() -> None:
    named = {word for m in MUTANTS for arguments in m.tests for word in arguments.split() if word.startswith("tests/")}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_a_text_that_is_not_there_is_refused() -> None:
    mutant = Mutant("", "edgeq/stop.py", "StopStrings.flush", "no such text", "", "", ())
    with pytest.raises(ValueError, match="found 0 times"):
        mutant.applied(text("edgeq/stop.py"))
