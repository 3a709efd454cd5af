"""Every hostile container of hostile.py: the outcome, the words, the time and the memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest

SECONDS = 1.0  # for one file
GROWTH = 64 << 20


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("hostile")
    program = Path(__file__).with_name("hostile_run.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    yield {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}
    for file in folder.glob("*/*sparse*"):  # do not leave files of many GiB behind, even if they are holes
        file.unlink()


def test_there_are_enough_of_them() -> None:
    outcomes = [c.outcome for c in hostile.CASES.values()]
    assert outcomes.count("refuse") >= 250 and outcomes.count("load") >= 35


@pytest.mark.parametrize("name", hostile.CASES)
def test_hostile(name: str, results: dict[str, dict[str, Any]]) -> None:
    case, seen = hostile.CASES[name], results[name]
    assert seen["code"] == 0, seen
    assert seen["outcome"] == case.outcome, seen
    for word in case.words:
        assert word in seen["text"], seen
    assert seen["seconds"] < SECONDS and seen["growth"] < GROWTH, seen
    if case.outcome == "refuse":
        assert seen["error"] == "GGUFError"
        assert seen["text"].isprintable() and len(seen["text"]) < 800
