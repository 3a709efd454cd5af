"""Runs hostile cases, each in a forked child with limits, and prints what happened as JSON lines.

`python hostile_run.py FOLDER`. A program of its own, so that its children do not carry pytest's memory.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import hostile

import edgeq.gguf
from edgeq.gguf import checks  # imported here so that its memory counts for no case

CPU_SECONDS = 5
GROWTH = 64 << 20  # bytes of address space and of resident memory over the start


def status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def attempt(path: Path) -> dict[str, Any]:
    """Opens the file, and looks at everything in it if that works."""
    start, before = time.perf_counter(), status("VmRSS")
    seen: dict[str, Any] = {"outcome": "load", "error": "", "text": ""}
    g = None
    try:
        g = edgeq.gguf.open(str(path))
        seen["text"] = "\n".join(g.warnings)
    except BaseException as e:
        seen |= {"outcome": "refuse", "error": type(e).__name__, "text": str(e)}
    seen["seconds"] = time.perf_counter() - start
    seen["growth"] = max(0, status("VmHWM") - before)
    if g is not None:
        seen["bytes"] = look(g)
        g.close()
    return seen


def look(g: Any) -> int:
    """Reads every value and every weight; how many bytes of weights there are."""
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))  # NumPy's own libraries need more
    for key in g.metadata:
        value = g.metadata[key]
        if hasattr(value, "tolist"):
            assert len(value.tolist()) == len(value)
        assert g.metadata.type(key)
    for tensor in g.tensors.values():
        assert tensor.data.size == tensor.nbytes == tensor.data.copy().size
        assert tensor.address == tensor.data.__array_interface__["data"][0]
    assert all(isinstance(f.text, str) for f in checks.verify(g.path))
    return sum(t.nbytes for t in g.tensors.values())


def child(path: Path, out: int) -> None:
    size = status("VmSize")
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (size + GROWTH, -1))
    signal.alarm(2 * CPU_SECONDS)  # for what waits instead of working
    os.write(out, json.dumps(attempt(path)).encode())


def run(path: Path) -> dict[str, Any]:
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(path, out)
            code = 0
        except BaseException as e:
            os.write(out, json.dumps({"outcome": "crash", "error": type(e).__name__, "text": str(e)}).encode())
        finally:
            os._exit(code)
    os.close(out)
    with os.fdopen(back, "rb") as f:
        data = f.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {**(json.loads(data) if data else {"outcome": "nothing", "error": "", "text": ""}), "code": code}


def main(folder: Path) -> None:
    for case in hostile.CASES.values():
        place = folder / case.name
        place.mkdir()
        print(json.dumps({"name": case.name, **run(case.make(place))}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
