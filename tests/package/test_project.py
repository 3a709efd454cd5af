"""What the project promises about itself: the test command, the licence, the version."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from edgeq._version import __version__

ROOT = Path(__file__).resolve().parents[2]
TEST_COMMAND = 'pip install -e ".[test]" && python -m pytest'


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert f"bash -c '{TEST_COMMAND}'\n" in (ROOT / ".ci/run").read_text()
    assert TEST_COMMAND in (ROOT / "README.md").read_text()


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_ci_is_a_script_that_parses() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


def test_licence_and_version() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith("MIT License")
    assert "The edgeq authors" in licence
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", __version__)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog
