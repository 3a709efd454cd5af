"""Imports point one way (README, architecture). Walks the code, so that a shortcut is noticed when it is taken."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "errors": set(),
    "record": set(),
    "quants": {"record", "errors", "_lib", "machine"},
    "gguf": {"quants", "record", "errors", "_lib"},
    "ops": {"record"},
    "program": {"ops", "record", "errors"},
    "config": {"record", "errors"},
    "archs": {"ops", "program", "config", "errors"},
    "passes": {"ops", "program", "errors"},
    "backends": {"ops", "program", "record", "passes", "quants", "errors", "_lib", "machine", "weights"},
    "lora": {"gguf", "quants", "convert", "config", "quantize", "record", "errors"},
    "weights": {"gguf", "quants", "ops", "program", "errors"},
    "tokenizer": {"record", "errors", "quants", "gguf"},
    "convert": {"config", "gguf", "quants", "quantize", "tokenizer", "record", "errors"},
    "quantize": {"gguf", "quants", "machine", "record", "errors", "_version"},
    "imatrix": {"gguf", "quants", "model", "backends", "ops", "passes", "record", "errors", "machine"},
    "sampling": {"record", "errors"},
    "stop": {"errors"},
    "speculation": {"model", "record", "errors"},
    "model": {"archs", "passes", "backends", "gguf", "tokenizer", "sampling", "config", "program", "quants", "weights",
              "lora", "machine", "errors", "session", "generate", "conversation"},
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Rooms of edgeq that a file imports when it runs; imports for type checking alone do not count."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    skipped = {id(n) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
               for child in node.body for n in ast.walk(child)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("edgeq.")}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "edgeq":
                found |= {a.name for a in node.names}
            elif node.module.startswith("edgeq."):
                found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    place = ROOT / "edgeq" / room
    files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    for path in files:
        found = imported(path) - {room}
        assert found <= ROOMS[room], f"{path.relative_to(ROOT)} imports {sorted(found - ROOMS[room])}"


def test_no_backend_knows_an_architecture_and_no_architecture_a_backend() -> None:
    for path in (ROOT / "edgeq" / "backends").rglob("*.py"):
        assert "archs" not in imported(path)
    for path in (ROOT / "edgeq" / "archs").rglob("*.py"):
        assert "backends" not in imported(path)


def test_only_collecting_an_importance_matrix_needs_a_model() -> None:
    for path in (ROOT / "edgeq" / "imatrix").rglob("*.py"):
        found = imported(path) & {"model", "backends", "passes", "ops"}
        assert not found or path.name == "collecting.py", f"{path.name} imports {sorted(found)}"


def test_only_its_command_imports_the_bench() -> None:
    for path in (ROOT / "edgeq").rglob("*.py"):
        relative = path.relative_to(ROOT / "edgeq").as_posix()
        assert "bench" not in imported(path) or relative == "cli/bench.py" or relative.startswith("bench/"), relative


def test_only_backends_gguf_encoders_and_tools_touch_the_library() -> None:
    allowed = {"backends/__init__.py", "backends/native.py", "backends/rows.py", "backends/numba.py", "gguf", "_lib.py",
               "cli/doctor.py", "bench", "quants/native.py"}  # fmt: skip
    for path in (ROOT / "edgeq").rglob("*.py"):
        relative = path.relative_to(ROOT / "edgeq").as_posix()
        if "_lib" in imported(path):
            assert any(relative.startswith(a) for a in allowed), relative
