"""The wheel and the source distribution of a tiny tree, built by the real setuptools commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from native.toolchain import NoCompiler, find_compiler, probe
from tests.package import tree

pytest.importorskip("cffi")
try:  # not imported: it replaces distutils, which another test may have imported
    SETUPTOOLS = int(version("setuptools").split(".")[0])
except PackageNotFoundError:
    SETUPTOOLS = 0
pytestmark = pytest.mark.skipif(SETUPTOOLS < 77, reason="setuptools 77 or newer builds edgeq")

try:
    probe(find_compiler())
    WHY = ""
except NoCompiler as reason:
    WHY = str(reason)


def run(root: Path, hook: str, **environment: str) -> Path:
    """Runs a build hook as pip would; returns the file it made."""
    code = f"import sys; from setuptools import build_meta; print('made', build_meta.{hook}(sys.argv[1]))"
    env = {"PATH": os.environ["PATH"], "HOME": str(root), **environment}
    out = root / "dist"
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, str(out)]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (root / "said").write_text(done.stderr)
    return out / done.stdout.split("made ")[-1].strip()


@pytest.mark.skipif(bool(WHY), reason=WHY or "a compiler is here")
def test_a_wheel_serves_every_python_of_its_platform(tmp_path: Path) -> None:
    root = tree.make(tmp_path / "tree")
    (root / "build/lib/edgeq").mkdir(parents=True)
    (root / "build/lib/edgeq/deleted_long_ago.py").write_text("")
    wheel = run(root, "build_wheel")
    name, tag = wheel.stem.split("-py3-none-")
    assert name == "edgeq-0.1.0"
    assert tag != "any"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        text = archive.read("edgeq-0.1.0.dist-info/WHEEL").decode()
        archive.extractall(tmp_path / "installed")
    assert "Root-Is-Purelib: false" in text
    assert {"edgeq/_native/_abi.py", "edgeq/_registry.toml", "edgeq/py.typed"} <= names
    assert not [name for name in names if "deleted" in name or name.startswith("native") or ".data/" in name]
    state = "from edgeq import _lib; print(_lib.available(), _lib.why_not())"
    assert tree.ask(tmp_path / "installed", state) == "True None"


def test_without_a_compiler_the_wheel_is_pure(tmp_path: Path) -> None:
    root = tree.make(tmp_path / "tree")
    wheel = run(root, "build_wheel", CC="/nowhere/cc")
    assert wheel.name == "edgeq-0.1.0-py3-none-any.whl"
    assert "no native library, the numba backend will serve" in (root / "said").read_text()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "tried /nowhere/cc" in archive.read("edgeq/_native/build.json").decode()
        metadata = archive.read("edgeq-0.1.0.dist-info/METADATA").decode()
    assert not [name for name in names if name.endswith((".so", ".dll", ".dylib"))]
    assert "Requires-Dist: numba" in metadata
    assert "Requires-Dist: sentencepiece" in metadata


def test_on_musl_nothing_without_a_musl_wheel_is_asked_for(tmp_path: Path) -> None:
    root = tree.make(tmp_path / "tree")
    commands = root / "native/commands.py"
    text = commands.read_text()
    start = text.index("def is_musl")
    commands.write_text(text[:start] + "def is_musl() -> bool:\n    return True\n")
    wheel = run(root, "build_wheel", CC="/nowhere/cc")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("edgeq-0.1.0.dist-info/METADATA").decode()
    assert "Requires-Dist: numpy" in metadata
    assert "Requires-Dist: numba" not in metadata
    assert "Requires-Dist: sentencepiece" not in metadata


def test_the_source_distribution_can_build_itself(tmp_path: Path) -> None:
    root = tree.make(tmp_path / "tree")
    archive = run(root, "build_sdist")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[-1] for name in tar.getnames()}
        tar.extractall(tmp_path / "unpacked", filter="data") if sys.version_info >= (
            3,
            12,
        ) else tar.extractall(tmp_path / "unpacked")
    assert {"native/tiny.c", "native/sub/more.c", "native/include/edgeq.h", "native/commands.py"} <= names
    assert {"models/registry.toml", "LICENSE", "README.md", "pyproject.toml", "edgeq/py.typed"} <= names
    inside = next((tmp_path / "unpacked").iterdir())
    assert run(inside, "build_wheel", CC="/nowhere/cc").name.endswith("-py3-none-any.whl")
