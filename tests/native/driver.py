"""Builds run_program.c with the native library for some machine and asks it to run cases, under qemu or not.

Owns the messages of run_program.c and how a case is packed into them, not the cases.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeq import _lib, quants
from edgeq.backends.base import Options, ring_size
from edgeq.backends.native import NativeExecutable
from edgeq.program import Program
from native.build import ROOT, build_objects
from native.toolchain import Toolchain, compile_flags
from tests.backends.single import Steps
from tests.blocks import MemoryWeights

HERE = Path(__file__).resolve().parent
CHECKS = "address,undefined,float-cast-overflow"  # of the sanitizers
EXACT_PAGES = ["-include", "tests/native/exact_pages.h"]  # what the library maps is fenced too
SECONDS = 300  # for one request: far more than any needs, so that a deadlock ends


def build(tool: Toolchain, source: str, *, more: Sequence[str] = (), link: Sequence[str] = ()) -> Path:
    """The program `source` of this folder with all of the native library; only what changed is compiled."""
    flags = [*compile_flags(tool), *more]
    key = hashlib.sha256(shlex.join([*tool.cc, *flags]).encode()).hexdigest()[:12]
    folder = ROOT / "build" / "native" / f"test-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    objects = [str(p) for p in build_objects(tool, folder, flags, os.cpu_count() or 1)]
    out = folder / Path(source).stem
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, out.name)
        main = [*tool.cc, *flags, "-Werror", str(HERE / source), *objects, "-o", str(made)]
        tool.run([*main, *link, "-pthread", "-lm"])
        os.replace(made, out)
    return out


class Packed(NativeExecutable):
    """A program packed for the library as the native backend does it, but not compiled in this process."""

    def __init__(self, program: Program, weights: MemoryWeights, options: Options) -> None:
        self.program, self.chunk, self._weights, self._keep = program, options.chunk, weights, []
        self.c = self._pack(options)

    def blobs(self) -> Iterator[bytes]:
        ffi = _lib.ffi
        c = self.c
        yield bytes(ffi.buffer(c))
        for name in ("ops", "buffers", "tensors", "caches", "inputs", "outputs"):
            array, count = getattr(c, name), getattr(c, f"n_{name}")
            yield bytes(ffi.buffer(array, count * ffi.sizeof(ffi.typeof(array).item)))
        for i in range(c.n_tensors):
            yield bytes(ffi.buffer(ffi.cast("char *", c.tensors[i].data), c.tensors[i].nbytes))


class Driver:
    """A running run_program. `isa`: the variant that is forced from now on; None: the processor's best."""

    def __init__(self, *command: str | Path) -> None:
        self.command = command
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self.isa: str | None = None
        self.ran = self.said = ""  # the variant of the last run; what was on stderr at the end

    def ask(self, kind: str, *blobs: bytes) -> list[bytes]:
        """The answer's blobs. Fails with what the program said when it ends instead of answering."""
        out = self.process.stdout
        assert out is not None
        assert self.process.stdin is not None
        watchdog = threading.Timer(SECONDS, self.process.kill)
        watchdog.start()
        try:
            parts = [struct.pack("<q", 1 + len(blobs))]
            for blob in (kind.encode(), *blobs):
                parts += [struct.pack("<q", len(blob)), blob]
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(b"".join(parts))
                self.process.stdin.flush()
            return [self._read(self._number()) for _ in range(self._number())]
        finally:
            watchdog.cancel()

    def _read(self, n: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(n)
        if len(data) != n:
            self.close()
            raise AssertionError(f"run_program ended with {self.process.returncode}: {self.said}")
        return data

    def _number(self) -> int:
        return int(struct.unpack("<q", self._read(8))[0])

    def close(self) -> int:
        """Ends the program; its exit status."""
        if not self.errors.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()  # type: ignore[union-attr]
            self.process.wait()
            self.process.stdout.close()  # type: ignore[union-attr]
            self.errors.seek(0)
            self.said = self.errors.read().decode(errors="replace")
            self.errors.close()
        return self.process.returncode

    def __call__(
        self,
        program: Program,
        weights: MemoryWeights,
        options: Options,
        steps: Steps,
        kv_type: str,
        context: int,
    ) -> list[np.ndarray]:
        """Outputs of the last step, as `tests.backends.single.run` wants them."""
        packed = Packed(program, weights, options)
        rings = [ring_size(c, context, options.chunk) for c in program.caches]
        sizes = (options.threads, 2, context, quants.FORMATS[kv_type].id, len(steps))
        blobs = [struct.pack("<5i", *sizes), name(self.isa), *packed.blobs(), ints(rings)]
        for batch, inputs in steps:
            blobs.append(struct.pack("<2i", len(batch.tokens), len(batch.outputs)))
            blobs += [ints(c) for c in (batch.tokens, batch.positions, batch.sequences, batch.outputs)]
            blobs += [np.ascontiguousarray(x, np.float32).tobytes() for x in inputs]
        status, text, isa, *outputs = self.ask("r", *blobs)
        assert struct.unpack("<i", status) == (0,), text.decode()
        self.ran = isa.decode()
        assert self.isa in (None, self.ran)
        widths = [program.buffers[h].width for h in program.outputs]
        return [
            np.frombuffer(o, np.float32).reshape(-1, w).copy() for o, w in zip(outputs, widths, strict=True)
        ]


def name(text: str | None) -> bytes:
    return b"" if text is None else text.encode() + b"\0"


def ints(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)
