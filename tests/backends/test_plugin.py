"""A backend from another package: installed, found by name, and given a range of layers of a model."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[1] / "plugin"
ROOT = PLUGIN.parents[1]

USE = """
import json
import numpy as np
from edgeq import backends
from edgeq.backends.base import Batch, Options
from edgeq.backends.chain import compile_chain
from tests import families

name = "far-memory"
program = families.lower("llama")
weights = families.weights(program)
ids = [5, 17, 3, 60, 22]

def logits(executable):
    state = executable.new_state(1, 64, "F32")
    first = executable.step(state, Batch.single(ids[:4], 0, outputs=range(4)))[0]
    return np.concatenate([first, executable.step(state, Batch.single(ids[4:], 4))[0]])

whole = logits(backends.find("reference").compile(program, weights, Options()))
chain = compile_chain(program, weights, Options(), backends.find("reference"), [(3, name)])
split = logits(chain)
far = chain.parts[1]
used = {r.name for r in far.program.tensors if r.values is None}
print(json.dumps({
    "listed": name in backends.names(), "found": type(backends.find(name)).__module__,
    "equal": bool(np.array_equal(whole, split)), "up": far.traffic.up, "down": far.traffic.down,
    "crossed": chain.crossed, "uploaded": far.traffic.weights, "used": sum(weights[n].nbytes for n in used),
    "all": sum(t.nbytes for t in weights.values()), "width": families.WIDTH, "vocab": families.VOCAB,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as installers leave it: its module, and metadata with its entry points."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)  # a build writes beside its sources
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, timeout=120)
    if done.returncode:  # no pip, or no setuptools to build with: write what it would have written
        shutil.rmtree(target)
        info = target / "edgeq_far_memory-1.0.dist-info"
        info.mkdir(parents=True)
        shutil.copy(PLUGIN / "edgeq_far_memory.py", target)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeq-far-memory\nVersion: 1.0\n")
        entry = re.search(r'^far-memory = "(.*)"$', (PLUGIN / "pyproject.toml").read_text(), re.M)
        assert entry
        (info / "entry_points.txt").write_text(f"[edgeq.backends]\nfar-memory = {entry[1]}\n")
    return target


def run(path: list[Path], code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT, timeout=120)


def test_the_installed_package_names_its_backend(installed: Path) -> None:
    found = importlib.metadata.distributions(path=[str(installed)])
    entries = [e for d in found for e in d.entry_points if e.group == "edgeq.backends"]
    assert [(e.name, e.value) for e in entries] == [("far-memory", "edgeq_far_memory:FarMemoryBackend")]


def test_a_backend_of_another_package_runs_layers_in_memory_of_its_own(installed: Path) -> None:
    done = run([ROOT, installed], USE)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["listed"]
    assert told["found"] == "edgeq_far_memory"
    assert told["equal"]
    assert told["uploaded"] == told["used"]
    assert 0 < told["uploaded"] < told["all"]
    hidden = 4 * told["width"]
    assert told["crossed"] == [5 * hidden]
    assert told["up"] == [4 * hidden + 4 * 16, hidden + 4 * 4]  # hidden states, and the words of the batch
    assert told["down"] == [4 * 4 * told["vocab"], 4 * told["vocab"]]


def test_a_backend_that_is_not_installed_is_not_found() -> None:
    done = run([ROOT], "from edgeq import backends\nbackends.find('far-memory')")
    assert done.returncode != 0
    assert "backend 'far-memory' is not known" in done.stderr


def test_a_backend_that_does_not_load_is_reported(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edgeq.backends]\nbroken = no_such_module:Backend\n")
    done = run([ROOT, tmp_path], "from edgeq import backends\nbackends.find('broken')")
    assert "BackendError: backend broken of no_such_module:Backend does not load" in done.stderr
