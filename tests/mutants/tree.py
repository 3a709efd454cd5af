"""A copy of the tree in a temporary folder: builds the library, applies a mutant, takes it back, runs tests.

Objects are compiled with -O1 and kept: a mutant costs the C files that it reaches. The result stands beside the tree
and tests find it by EDGEQ_LIBRARY. What tests compile for themselves (build/native) is put back after a mutant.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from native.build import exported
from native.toolchain import LIBRARY, BuildError, compile_flags, find_compiler, link_flags
from tests.mutants.mutant import ROOT, Mutant

FLAGS = "-O1"
TICK = 0.25  # seconds


class Result(NamedTuple):
    """Of one run of pytest: passed, failed, or too long; and its last words."""

    state: str  # "passed", "failed", "timeout"
    said: str


class Tree:
    """A copy of the checkout's tracked and new files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.root, self.extra = folder / "tree", folder / "mutant"
        own = {"PYTHONDONTWRITEBYTECODE": "1", "CFLAGS": FLAGS, "OPENBLAS_NUM_THREADS": "1"}
        self.env = {**os.environ, **own, "NUMBA_CACHE_DIR": str(folder / "numba")}
        self.env.pop("EDGEQ_LIBRARY", None)
        os.environ["CFLAGS"] = FLAGS  # compile_flags reads it
        self._copy()
        self.extra.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, "native/build.py", "--jobs", "1"], cwd=self.root, env=self.env,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            raise SystemExit(f"the library does not build:\n{done.stdout}{done.stderr}")
        self.objects = next(p for p in (self.root / "build/native").iterdir() if not p.name.startswith("test-"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", "edgeq", "tests", "models", "native"],
                       cwd=self.root, check=False)  # fmt: skip
        self._kept: dict[Path, tuple[int, bytes]] = {}

    def _copy(self) -> None:
        names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                               capture_output=True, check=True).stdout  # fmt: skip
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file():
                target = self.root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)

    def keep_built(self) -> None:
        """Remembers what tests have built, to be put back after a mutant."""
        found = (p for p in (self.root / "build/native").rglob("*") if p.is_file() and self.objects not in p.parents)
        self._kept = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in found}

    def _put_back(self) -> None:
        for path, (when, data) in self._kept.items():
            if not path.exists() or path.stat().st_mtime_ns != when:
                path.write_bytes(data)
                path.chmod(0o755)
                os.utime(path, ns=(when, when))

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant):  # type: ignore[no-untyped-def]
        """The tree with the mutant in it."""
        path = self.root / mutant.file
        when, text = path.stat(), path.read_text(encoding="utf-8")
        try:
            path.write_text(mutant.applied(text), encoding="utf-8")
            yield
        finally:
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
            self._put_back()

    def build(self, mutant: Mutant, units: tuple[str, ...] | None) -> Path:
        """The library with the mutant in it. Raises BuildError where it does not compile (in native/quant, whose tests
        compile it so for themselves: not without a warning)."""
        tool = find_compiler()
        flags = [*compile_flags(tool), *(["-Werror"] if mutant.file.startswith("native/quant/") else [])]
        objects = []
        for unit in sorted(self.objects.glob("*.o")):
            source = unit.name[:-2].replace("__", "/")
            if source in (mutant.file, *units) if units is not None else mutant.file in self._reads(unit):
                made = self.extra / unit.name
                own = [*flags, "-fvisibility=default"] if exported(ROOT / source) else flags
                self._tool([str(part) for part in tool.compile(source, made, own, None)])
                unit = made
            objects.append(str(unit))
        library = self.extra / LIBRARY[tool.system]
        self._tool([str(part) for part in tool.link(objects, library, link_flags(tool))])
        return library

    def _reads(self, unit: Path) -> set[str]:
        """Files that went into an object, relative to the tree."""
        text = unit.with_suffix(".d").read_text(encoding="utf-8").replace("\\\n", " ")
        return {os.path.normpath(name) for name in re.findall(r"\S+", text.partition(": ")[2])}

    def _tool(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")

    def test(self, arguments: str, limit: float, library: Path | None = None) -> Result:
        """One run of pytest, ended at the first failure or after `limit` seconds."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(arguments)]
        env = self.env if library is None else {**self.env, "EDGEQ_LIBRARY": str(library)}
        with tempfile.TemporaryFile() as kept:
            process = subprocess.Popen(command, cwd=self.root, env=env, stdout=kept, stderr=kept,
                                       start_new_session=True)  # fmt: skip
            for _ in range(int(limit / TICK)):  # so that time in which all of this is stopped does not count
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
                    break
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Result("timeout", f"{arguments}: no end after {limit:.0f} s")
            kept.seek(0)
            out = kept.read().decode(errors="replace")
        found = re.findall(r"^(?:FAILED|ERROR) .*", out, re.MULTILINE)
        said = found[0] if found else (out.strip().splitlines() or [""])[-1]
        if process.returncode < 0:
            said = f"killed by {signal.Signals(-process.returncode).name} in {arguments}"
        if process.returncode == 5:
            return Result("none", f"{arguments}: no tests ran")
        return Result("failed" if process.returncode else "passed", said[:300])
