"""The memory that `edgeq info` says a run needs, against the peak of a process that fills its context."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq import _lib, registry
from edgeq.cli.info import activations, estimate
from tests import families
from tests.small import tiny

ROOT = Path(__file__).resolve().parents[2]
NAMED = os.environ.get("EDGEQ_TEST_MODELS")
REAL = sorted(
    (Path(NAMED) if NAMED else registry.models_dir()).glob("*.gguf"), key=lambda p: p.stat().st_size
)[:3]
RUN = """
import sys
from pathlib import Path
from edgeq import cli
path, words, context = sys.argv[1:]
words = ["run", path, "-f", words, "--raw", "-n", "4", "-c", context, "-t", "2", "--ignore-end", "-q"]
assert cli.main(words) == 0
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""

pytestmark = [
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="left out: this system does not say a peak"
    ),
    pytest.mark.skipif(not _lib.available(), reason="left out: needs the native library"),
]


def peak(path: Path, context: int, folder: Path) -> int:
    """Bytes, measured with a prompt that nearly fills the context."""
    from edgeq import load

    # many words, or few of an embedding's rows are read
    text = " ".join(f"{i * 7919 % 9973:04d}" for i in range(context))
    with load(path, context=context) as model:
        while len(model.tokenize(text)) > context - 8:
            text = text[: len(text) * 9 // 10]
    (folder / "words").write_text(text)
    command = [sys.executable, "-c", RUN, str(path), str(folder / "words"), str(context)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return 1024 * int(done.stderr.split()[-1])


@pytest.mark.parametrize("name", ["llama3", "qwen3", "gemma3"])
def test_estimate_of_tiny_models(name: str, tmp_path: Path) -> None:
    found, said = peak(tiny(name), 500, tmp_path), estimate(str(tiny(name)), 500, "F16", False)["total"]
    print(f"{name}: estimate {said / 1e6:.1f} MB, peak {found / 1e6:.1f} MB")
    assert 0.6 * said < found < 1.4 * said


@pytest.mark.parametrize("path", REAL or [None], ids=lambda p: p.stem if p else "none")
def test_estimate_of_real_models(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip("left out: no real models (set EDGEQ_TEST_MODELS to a folder with GGUF files)")
    found, said = peak(path, 1024, tmp_path), estimate(str(path), 1024, "F16", False)["total"]
    print(f"{path.stem}: estimate {said / 1e6:.1f} MB, peak {found / 1e6:.1f} MB")
    assert 0.7 * said < found < 1.15 * said


@pytest.mark.parametrize("kv_type", ["Q8_0", "Q4_0"])
def test_kv_types_that_do_not_fit_the_heads_are_named(kv_type: str) -> None:
    """Heads of tiny Gemma are 48 wide, of tiny Qwen3 32."""
    error = estimate(str(tiny("gemma3")), 64, kv_type, False)["error"]
    assert error == f"KV type {kv_type}: layer 0 has heads of 48, expected a multiple of 32; use F16 or F32"
    assert estimate(str(tiny("qwen3")), 64, kv_type, False)["kv_type"] == kv_type


def test_more_context_and_wider_keys_need_more() -> None:
    def bytes_of(context: int, kv_type: str = "F16") -> int:
        return int(estimate(str(tiny("qwen3")), context, kv_type, False)["total"])

    assert bytes_of(64) < bytes_of(512) < bytes_of(4096)
    assert bytes_of(512, "Q8_0") < bytes_of(512) < bytes_of(512, "F32")


def test_activations_count_what_a_prompt_touches() -> None:
    """A wider vocabulary maps more memory for logits, of which a prompt touches one row."""
    program = families.lower("qwen3")
    wide = [b.replace(width=100 * b.width) if b.outputs else b for b in program.buffers]
    assert activations(program.replace(buffers=tuple(wide)), 64) == activations(program, 64)
    assert activations(program, 64) == 64 * activations(program, 1)
    held = 2 * families.WIDTH + 2 * families.FF  # residual and normed stream, gate and up: alive at once
    assert activations(program, 1) >= 6 * held
