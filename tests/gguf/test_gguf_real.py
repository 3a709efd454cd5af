"""Real models: they open, in milliseconds, a copy is identical, and nothing in them is broken.

Runs on the *.gguf files of the folder EDGEQ_TEST_MODELS, or else of edgeq's cache; says so if there are none.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgeq import gguf


def folder() -> Path:
    named = os.environ.get("EDGEQ_TEST_MODELS")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgeq"))


def models() -> list[Path]:
    try:
        return sorted(folder().rglob("*.gguf"))
    except ImportError:
        return []


MODELS = models() or [None]


@pytest.fixture(params=MODELS, ids=lambda p: p.name if p else "none")
def model(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("left out: no real models (set EDGEQ_TEST_MODELS to a folder with GGUF files)")
    path: Path = request.param
    return path


def test_opens_in_milliseconds(model: Path, record_property: pytest.RecordProperty, scanner: str) -> None:
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        g = gguf.open(model)
        best = min(best, time.perf_counter() - start)
        g.close()
    record_property("open_ms", round(best * 1e3, 2))
    print(f"{model.name}: opened in {best * 1e3:.1f} ms ({scanner})")
    assert best < 0.5


def test_is_sound(model: Path) -> None:
    with gguf.open(model) as g:
        assert g.warnings == [] and g.metadata["general.architecture"]
        assert len(g.metadata["tokenizer.ggml.tokens"].tolist()) == len(g.metadata["tokenizer.ggml.token_type"])
        for t in g.tensors.values():
            assert t.data.nbytes == t.nbytes and t.offset % g.alignment == 0
    assert [f for f in gguf.verify(model) if f.severity == "error"] == []


def test_copy_is_identical(model: Path, tmp_path: Path) -> None:
    import filecmp

    target = tmp_path / "copy.gguf"
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 2 * model.stat().st_size:
        pytest.skip("left out: not enough disk space for a copy")
    assert gguf.copy(model, target) == []
    assert filecmp.cmp(model, target, shallow=False)
    target.unlink()
