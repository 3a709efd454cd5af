"""Machine code that is kept between processes: what is kept, for whom, and what happens where it is damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq.backends import numba_cache
from tests.small import tiny

pytest.importorskip("numba", reason="numba has no wheel for this platform")
ROOT = Path(__file__).resolve().parents[2]
RUN = """
from pathlib import Path
{before}
import numpy as np
from edgeq.backends.base import Batch, Options
from edgeq.backends.numba import NumbaBackend
from tests.backends.single import program
from tests.blocks import MemoryWeights
def doubled(b):
    x = b.buffer("x", 3)
    return [x], [b.sum("y", x, x)]
made = NumbaBackend().compile(program(doubled), MemoryWeights(), Options(2))
out = made.step(made.new_state(1, 64, "F32"), Batch.single([1], 0), [np.array([[1, 2, 3]])])
print(made.cold, out[0].sum())
"""
NEVER = """
from edgeq.backends.numba_compile import Kernel
def save_overload(self, *given): raise AssertionError(f"{self.file} is compiled")
Kernel.save_overload = save_overload
"""


def run(folder: Path, before: str = "", **env: str) -> str:
    done = subprocess.run([sys.executable, "-c", RUN.format(before=before)], capture_output=True, text=True,
                          timeout=200, env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **env}, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache folder that one process has filled, and what that said."""
    folder = tmp_path_factory.mktemp("kernels") / "made"
    said = run(folder)
    assert said.startswith("True ")
    return folder, said.replace("True", "False")


@pytest.fixture
def kept(filled: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled[0], tmp_path / "kept"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_compiles_nothing(filled: tuple[Path, str], kept: Path) -> None:
    before = contents(kept)
    assert run(kept, NEVER) == filled[1]
    assert contents(kept) == before


def test_only_what_a_step_needs_is_compiled(tmp_path: Path) -> None:
    code = """
from edgeq.backends.base import Batch, Options
from edgeq.backends.numba import NumbaBackend
from edgeq.passes.fuse import fuse
from tests import families
program = families.lower("llama")
made = NumbaBackend().compile(fuse(program, lambda op: True), families.weights(program), Options(2))
made.step(made.new_state(1, 64), Batch.single([1] * 16, 0))
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], timeout=200, env=env, cwd=ROOT, check=True)
    names = {name.rsplit("-", 1)[0] for name in contents(tmp_path)}
    assert names == {
        *(f"numba_kernels-{n}" for n in ("run", "embed", "norm", "rope_table", "rope", "silu_gate", "take_rows")),
        *(f"numba_linear-{n}" for n in ("round_rows", "linear")), "numba_unpack-q8_0",
        *(f"numba_attend-{n}" for n in ("kv_write", "attend")), *(f"numba_kv-{n}" for n in ("store_f16", "load_f16")),
    }  # fmt: skip


def test_damaged_files_are_made_again(filled: tuple[Path, str], kept: Path) -> None:
    before = contents(kept)
    for damaged in ({"run": -1, "add": 5}, {"run": 0, "add": 40}):
        for name, at in damaged.items():
            path = next(kept.glob(f"*-{name}-*"))
            data = path.read_bytes()
            path.write_bytes(data[:at] if name == "run" else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert run(kept) == filled[1].replace("False", "True")
        assert set(contents(kept)) == set(before)
        assert run(kept, NEVER) == filled[1]


def test_folders_in_place_of_files_are_no_error(filled: tuple[Path, str], kept: Path) -> None:
    for path in list(kept.iterdir()):
        path.unlink()
        path.mkdir()
    assert run(kept) == filled[1].replace("False", "True")


def test_whole_files_of_another_kind_are_made_again(
    filled: tuple[Path, str], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(kept))
    for name in contents(kept):
        numba_cache.save(name, b"not what Numba wrote")
    assert run(kept) == filled[1].replace("False", "True")
    assert run(kept, NEVER) == filled[1]


def test_another_processor_has_code_of_its_own(filled: tuple[Path, str], kept: Path) -> None:
    from numba.core.codegen import get_host_cpu_features

    before = contents(kept)
    fewer = get_host_cpu_features().replace("+popcnt", "-popcnt").replace("+crc", "-crc")
    run(kept, NUMBA_CPU_FEATURES=fewer)
    after = contents(kept)
    assert len(after) == 2 * len(before)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("sources", ["Path.read_bytes", "numba.__version__"])
def test_other_sources_and_another_numba_have_code_of_their_own(
    sources: str, filled: tuple[Path, str], kept: Path
) -> None:
    change = {
        "Path.read_bytes": "from edgeq.backends import numba_compile\nnumba_compile._sources = lambda: 'others'",
        "numba.__version__": "import numba\nnumba.__version__ = '0.1'",
    }[sources]
    run(kept, change)
    assert len(contents(kept)) == 2 * len(contents(filled[0]))


def test_a_folder_that_cannot_be_written_is_read(filled: tuple[Path, str], kept: Path) -> None:
    next(kept.glob("*-add-*")).unlink()
    before = contents(kept)
    refuse = "def write(*given): raise OSError(28, 'no space left')\nPath.write_bytes = write"
    assert run(kept, refuse) == filled[1]
    assert contents(kept) == before  # nor are there parts of files


@pytest.mark.parametrize("where", ["under a file", "nowhere"])
def test_without_a_folder_every_process_compiles(where: str, filled: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "folder"  # under a file: nobody can make it, not even root
    before = "from edgeq.backends import numba_cache\nnumba_cache.folder = lambda: None" if where == "nowhere" else ""
    assert run(blocked, before) == filled[1].replace("False", "True")


def test_where_files_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NUMBA_CACHE_DIR", "EDGEQ_CACHE"):
        monkeypatch.delenv(name, raising=False)
    found = numba_cache.folder()
    assert found is not None
    assert found.name == "numba"
    assert "edgeq" in found.parts
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "all"))
    assert numba_cache.folder() == tmp_path / "all" / "numba"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert numba_cache.folder() == tmp_path / "own"


def test_files_come_back_as_they_were_saved_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new"))
    assert numba_cache.load("kernel") is None
    for content in (b"", b"code" * 1000):
        numba_cache.save("kernel", content)
        assert numba_cache.load("kernel") == content
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["kernel"]
    whole = (tmp_path / "new" / "kernel").read_bytes()
    for damaged in (b"", whole[:31], whole[:32], whole[:-1], whole + b"x", whole[:40] + b"?" + whole[41:]):
        (tmp_path / "new" / "kernel").write_bytes(damaged)
        assert numba_cache.load("kernel") is None


def test_a_cold_start_says_why_it_takes_its_time(tmp_path: Path) -> None:
    words = ["--backend", "numba", "--raw", "-n", "1", "--temp", "0", "fox"]
    command = [sys.executable, "-m", "edgeq", "run", str(tiny()), *words]
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [subprocess.run(command, capture_output=True, text=True, timeout=200, env=env, cwd=ROOT) for _ in range(2)]
    assert [done.returncode for done in said] == [0, 0]
    assert ["compiles its kernels" in done.stderr for done in said] == [True, False]
    assert said[0].stdout == said[1].stdout
