"""The native backend: packs a program for the C library and steps it in one call, without the GIL.

Owns the binding of programs, states and steps; loading the library is `edgeq._lib`'s affair.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeq import _lib, ops, quants
from edgeq.backends.base import Batch, Cancel, Executable, Options, State, WeightSource, check_batch, ring_size
from edgeq.backends.rows import Rows, as_array
from edgeq.errors import BackendError, Cancelled, FileChangedError, MemoryLimitError, UsageError
from edgeq.ops import Op
from edgeq.passes.place import place
from edgeq.program import Program

if TYPE_CHECKING:
    import numpy as np

OK, CANCELLED, FILE_CHANGED, INVALID, MEMORY = range(5)  # enum eq_status
MESSAGE = 512


class NativeState(State):
    """Caches in the library's memory, touched only as positions are written."""

    def __init__(self, executable: NativeExecutable, sequences: int, context: int, kv_type: str) -> None:
        ffi, lib = _lib.ffi, _lib.lib
        self.executable, self.program = executable, executable.program
        self.sequences, self.context, self.kv_type = sequences, context, kv_type
        self.rings = tuple(ring_size(c, context, executable.chunk) for c in self.program.caches)
        message = ffi.new("char[]", MESSAGE)
        handle = lib.eq_state_new(
            executable.handle, sequences, context, self.rings, quants.FORMATS[kv_type].id, message, MESSAGE
        )
        if not handle:
            text = ffi.string(message).decode()
            raise (
                MemoryLimitError(text) if text.startswith("no memory") else UsageError(text or "no memory for a state")
            )
        self.handle = ffi.gc(handle, lib.eq_state_free)

    @property
    def nbytes(self) -> int:
        return int(_lib.lib.eq_state_bytes(self.handle))

    @property
    def layout(self) -> str:
        return "NativeState, tiles of 64"

    def copy(self, source: int, target: int, length: int) -> None:
        if _lib.lib.eq_state_copy(self.handle, source, target, length) != OK:
            raise UsageError(f"copy of {length} positions from sequence {source} to {target}: out of range")

    def snapshot(self, sequence: int, length: int) -> bytes:
        n = int(_lib.lib.eq_state_snapshot_bytes(self.handle, length))
        if n < 0:
            raise UsageError(f"snapshot of {length} positions: expected 0 to {self.context}")
        data = bytearray(n)
        if _lib.lib.eq_state_save(self.handle, sequence, length, _lib.ffi.from_buffer(data), n) != OK:
            raise UsageError(f"snapshot of sequence {sequence}: expected 0 to {self.sequences - 1}")
        return bytes(data)

    def restore(self, sequence: int, data: bytes, length: int) -> None:
        expected = int(_lib.lib.eq_state_snapshot_bytes(self.handle, length))
        if _lib.lib.eq_state_load(self.handle, sequence, length, _lib.ffi.from_buffer(data), len(data)) != OK:
            raise UsageError(f"snapshot of {length} positions: {len(data)} bytes, expected {expected}")


class NativeExecutable(Executable):
    """A program in the library. One step runs at a time; steps of other threads wait their turn."""

    def __init__(self, program: Program, weights: WeightSource, options: Options, pool: Any) -> None:
        ffi, lib = _lib.ffi, _lib.lib
        self.program, self.chunk = program, options.chunk
        self.small_batch = min(options.chunk, lib.EQ_SMALL_BATCH)
        self._pool, self._weights = pool, weights
        self._turn = threading.Lock()  # held in a step; closing waits for it
        self._floats = ffi.new_allocator(should_clear_after_alloc=False)
        self._closed = False
        self._keep: list[Any] = []
        message = ffi.new("char[]", MESSAGE)
        isa = ffi.NULL if options.isa is None else options.isa.encode()
        handle = lib.eq_exec_new(self._pack(options), pool, isa, message, MESSAGE)
        if not handle:
            raise BackendError("native backend: " + (ffi.string(message).decode() or "out of memory"))
        self.handle = ffi.gc(handle, lib.eq_exec_free)
        self.isa = ffi.string(lib.eq_exec_isa(handle)).decode()
        self._guards = [lib.eq_guard_add(ffi.cast("void *", a), n) for a, n in _mappings(weights, program)]
        self._outputs = [program.buffers[h] for h in program.outputs]

    @property
    def nbytes(self) -> int:
        """Working memory, mapped but touched only as it is used."""
        return int(_lib.lib.eq_exec_bytes(self.handle))

    def watch(self) -> Callable[[], list[tuple[int, int]]]:
        """From now on steps are timed. What is returned tells what each op of the program took up to its call:

        nanoseconds on the thread that steps, at work, then waiting for others, where ops of one row are done too."""
        times = self._new("int64_t[]", 2 * len(self.program.ops))
        with self._turn:
            _lib.lib.eq_exec_watch(self.handle, times)
        return lambda: [(times[i], times[i + 1]) for i in range(0, len(times), 2)]

    def _new(self, kind: str, values: Any) -> Any:
        kept = _lib.ffi.new(kind, values)
        self._keep.append(kept)
        return kept

    def _pack(self, options: Options) -> Any:
        program = self.program
        offsets, arena = place(program)
        direct = set(program.outputs) - {h for op in program.ops for h in op.handles("In")}
        packed = {
            "ops": self._new("eq_op[]", [self._op(op, at) for op, at in zip(program.ops, program.layer_of)]),
            "buffers": self._new("eq_buffer[]", [
                {"offset": -1 if h in direct else offsets[h], "width": b.width,
                 "outputs": _lib.lib.EQ_ROWS_ONE if b.single else int(b.outputs)}
                for h, b in enumerate(program.buffers)]),
            "tensors": self._new("eq_tensor[]", [self._tensor(h) for h in range(len(program.tensors))]),
            "caches": self._new("eq_cache[]", [
                {"kv_heads": c.kv_heads, "head_dim": c.head_dim, "window": c.window, "layer": c.layer}
                for c in program.caches]),
            "inputs": self._new("int32_t[]", list(program.inputs)),
            "outputs": self._new("int32_t[]", list(program.outputs)),
        }  # fmt: skip
        sizes = {"n_ops": program.ops, "n_buffers": program.buffers, "n_tensors": program.tensors,
                 "n_caches": program.caches, "n_inputs": program.inputs, "n_outputs": program.outputs}  # fmt: skip
        return self._new("eq_program *", {
            **packed, **{name: len(items) for name, items in sizes.items()},
            "arena": arena, "chunk": options.chunk, "reproducible": int(options.reproducible),
        })  # fmt: skip

    def _op(self, op: Op, layer: int) -> dict[str, Any]:
        values = {name: getattr(op, name) for name in op.fields}
        return {"kind": ops.OPS.index(type(op)), "layer": layer, "u": {op.word: values}}

    def _tensor(self, handle: int) -> dict[str, Any]:
        ffi = _lib.ffi
        ref = self.program.tensors[handle]
        rows, cols = ref.shape if len(ref.shape) == 2 else (1, ref.shape[0])
        if ref.values is not None:
            kept = self._new("float[]", list(ref.values))
            return {"data": kept, "nbytes": 4 * cols, "rows": 1, "cols": cols, "type": quants.FORMATS["F32"].id}
        tensor = self._weights[ref.name]
        entry = {"data": ffi.cast("void *", tensor.address), "nbytes": tensor.nbytes, "rows": rows, "cols": cols,
                 "type": tensor.format.id}  # fmt: skip
        if len(ref.shape) == 1 and tensor.format.name != "F32":  # kernels read vectors as float32
            kept = self._new("float[]", cols)
            if _lib.lib.eq_dequantize(ffi.new("eq_tensor *", entry), 0, 1, kept) != OK:
                raise BackendError(f"tensor {ref.name}: {tensor.format.name} cannot be read as a vector of {cols}")
            entry |= {"data": kept, "nbytes": 4 * cols, "type": quants.FORMATS["F32"].id}
        return entry

    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> NativeState:
        return NativeState(self, sequences, context, kv_type)

    def step(
        self, state: State, batch: Batch, inputs: Sequence[np.ndarray] = (), cancel: Cancel | None = None
    ) -> Sequence[np.ndarray | Rows]:
        ffi = _lib.ffi
        if not isinstance(state, NativeState) or state.executable is not self:
            raise BackendError("native backend: the state belongs to another executable")
        check_batch(self.program, state, batch, self.chunk)
        columns = [
            ffi.new("int32_t[]", list(c)) for c in (batch.tokens, batch.positions, batch.sequences, batch.outputs)
        ]
        c_batch = ffi.new("eq_batch *", [*columns, len(batch.tokens), len(batch.outputs)])
        given = self._given(inputs, len(batch.tokens))
        rows = [b.rows(len(batch.tokens), len(batch.outputs)) for b in self._outputs]
        results = [self._floats("float[]", n * b.width) for n, b in zip(rows, self._outputs)]
        sources = ffi.new("float *[]", [ffi.cast("float *", x.ctypes.data) for x in given])
        targets = ffi.new("float *[]", results)
        self._run(state, c_batch, sources, targets, Cancel() if cancel is None else cancel)

        made = [Rows(x, n, b.width) for x, n, b in zip(results, rows, self._outputs)]
        return [as_array(x) for x in made] if "numpy" in sys.modules else made

    def _given(self, inputs: Sequence[np.ndarray], tokens: int) -> list[np.ndarray]:
        """The program's inputs as float32 [tokens, width]. Raises UsageError for another shape."""
        if not self.program.inputs and not inputs:
            return []
        import numpy as np

        given = [np.ascontiguousarray(x, np.float32) for x in inputs]
        for x, h in zip(given, self.program.inputs, strict=True):
            if x.shape != (tokens, self.program.buffers[h].width):
                raise UsageError(f"input {self.program.buffers[h].name}: shape {x.shape}")
        return given

    def _run(self, state: NativeState, batch: Any, sources: Any, targets: Any, cancel: Cancel) -> None:
        ffi, lib = _lib.ffi, _lib.lib
        message = ffi.new("char[]", MESSAGE)
        word = ffi.cast("int32_t *", ffi.from_buffer(cancel.word))
        with self._turn:
            if self._closed:
                raise UsageError("the model was closed; load it again")
            watched = threading.current_thread() is threading.main_thread() and lib.eq_interrupt_watch(word)
            try:
                status = lib.eq_step(
                    self.handle, state.handle, batch, ffi.cast("float const *const *", sources), targets, word,
                    message, MESSAGE,
                )  # fmt: skip
            finally:
                if watched:
                    lib.eq_interrupt_release()
        if status == FILE_CHANGED:
            raise FileChangedError(ffi.string(message).decode() + "; load it again")
        if status == CANCELLED:
            raise Cancelled("the step was cancelled")
        if status != OK:
            raise BackendError("native backend: " + (ffi.string(message).decode() or f"status {status}"))

    def close(self) -> None:
        with self._turn:
            self._closed = True
            for slot in self._guards:
                _lib.lib.eq_guard_remove(slot)
            self._guards = []

    def __del__(self) -> None:
        if getattr(self, "_guards", None) and _lib is not None:  # at the end of the process modules may be gone
            self.close()


def _mappings(weights: WeightSource, program: Program) -> list[tuple[int, int]]:
    """Address and size of every file mapping that the program's tensors lie in."""
    mappings = getattr(weights, "mappings", None)
    return list(mappings()) if mappings else []


class NativeBackend:
    """The C library on this machine's cores. One pool of threads serves all programs that one backend compiles."""

    name = "native"

    def __init__(self) -> None:
        self._pool: Any = None

    def supports(self, op: type[Op], formats: frozenset[str]) -> bool:
        return op in ops.OPS and all(quants.FORMATS[f].linear for f in formats)

    def compile(self, program: Program, weights: WeightSource, options: Options) -> NativeExecutable:
        if not _lib.available():
            raise BackendError(f"native backend: {_lib.why_not()}")
        if self._pool is None:
            self._pool = self._new_pool(options.threads)
        return NativeExecutable(program, weights, options, self._pool)

    @property
    def threads(self) -> int:
        """Threads of the pool, the caller's included; 0 before the first program."""
        return int(_lib.lib.eq_pool_threads(self._pool)) if self._pool else 0

    def _new_pool(self, threads: int | None) -> Any:
        if threads is None:
            from edgeq import machine

            threads = machine.threads_to_use()
        ffi, lib = _lib.ffi, _lib.lib
        message = ffi.new("char[]", MESSAGE)
        pool = lib.eq_pool_new(threads, message, MESSAGE)
        if not pool:
            raise BackendError("native backend: " + ffi.string(message).decode())
        return ffi.gc(pool, lib.eq_pool_free)
