"""The numba backend: the same program jitted from Python, for a machine without the native library.

A step is one call of a compiled loop on each thread, without the GIL (numba_kernels.run). Owns the protocol; kernels
are in numba_kernels, numba_attend and numba_unpack. Numba itself is imported when a program is compiled, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeq import _lib, ops, quants
from edgeq.backends.base import Batch, Cancel, Executable, Options, State, WeightSource, check_batch, program_vocab
from edgeq.errors import BackendError, Cancelled, FileChangedError, MemoryLimitError, UsageError
from edgeq.ops import Op
from edgeq.program import Program

if TYPE_CHECKING:
    import numpy as np

    from edgeq.backends.numba_pool import Pool
    from edgeq.backends.numba_state import NumbaState

NEVER = (1 << 63) - 1


class Mapped:
    """The weights' file mappings. The native library, where there is one, puts zeros for pages that have gone away
    and remembers it. Without it a file that shrinks in the middle of a step still ends the process (SIGBUS)."""

    def __init__(self, weights: WeightSource) -> None:
        self._file = getattr(weights, "file", None)
        self._slots: list[int] = []
        if _lib.available():
            mappings = getattr(weights, "mappings", tuple)
            self._slots = [_lib.lib.eq_guard_add(_lib.ffi.cast("void *", at), n) for at, n in mappings()]

    def check(self) -> None:
        """Raises FileChangedError if the file is not what it was, or if a page of it was missed."""
        gone = any(_lib.lib.eq_guard_hit(slot) for slot in self._slots)
        if gone or (self._file is not None and self._file.changed()):
            raise FileChangedError("the model file changed or shrank while it was in use; load it again")

    def close(self) -> None:
        while self._slots:
            _lib.lib.eq_guard_remove(self._slots.pop())


class NumbaExecutable(Executable):
    """Phases of a program. One step runs at a time; steps of other threads wait their turn.

    Kernels are compiled in the first step that needs them. `cold`: no process before this one has kept its code."""

    def __init__(self, program: Program, weights: WeightSource, options: Options, pool: Pool) -> None:
        import numpy as np

        from edgeq.backends import numba_kernels
        from edgeq.backends.numba_compile import compiled, yield_address
        from edgeq.backends.numba_linear import FEW
        from edgeq.backends.numba_plan import Plan

        self.program, self.chunk = program, options.chunk
        self.small_batch = min(options.chunk, 8)  # all batches are summed alike; larger ones cost as much per token
        self._pool = pool
        self._vocab = program_vocab(program)
        self._plan = Plan(program, weights, pool.threads)
        self._phases, self._items = self._plan.table()
        self._run = compiled(numba_kernels.run).ctypes
        self._yield, self._few = yield_address(), NEVER if options.reproducible else FEW
        self._scratch = [np.empty(self._plan.scratch + 64, np.uint8) for _ in range(pool.threads)]
        self.cold = not compiled(numba_kernels.run).cache_hits
        self._arena = np.empty(0, np.uint8)
        self._mapped, self._closed = Mapped(weights), False

    @property
    def nbytes(self) -> int:
        """Working memory as of the largest step so far."""
        return int(self._arena.nbytes + sum(s.nbytes for s in self._scratch))

    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> NumbaState:
        from edgeq.backends.numba_state import NumbaState

        return NumbaState(self, self.program, sequences, context, kv_type, self.chunk)

    def step(
        self, state: State, batch: Batch, inputs: Sequence[np.ndarray] = (), cancel: Cancel | None = None
    ) -> list[np.ndarray]:
        if getattr(state, "owner", None) is not self:
            raise BackendError("numba backend: the state belongs to another executable")
        check_batch(self.program, state, batch, self.chunk, self._vocab)
        with self._pool.lock:
            if self._closed:
                raise UsageError("the model was closed; load it again")
            self._mapped.check()
            made: list[np.ndarray] = self._step(state, batch, inputs, Cancel() if cancel is None else cancel)
            self._mapped.check()
            return made

    def close(self) -> None:
        with self._pool.lock:
            self._closed = True
            self._mapped.close()

    def __del__(self) -> None:
        if hasattr(self, "_mapped") and _lib is not None:  # it is when the interpreter ends
            self._mapped.close()

    def _step(self, state: Any, batch: Batch, inputs: Sequence[np.ndarray], cancel: Cancel) -> list[np.ndarray]:
        import numpy as np

        from edgeq.backends.numba_attend import runs

        t, n = len(batch.tokens), len(batch.outputs)
        results = self._prepare(t, n, inputs)
        columns = [np.array(c, np.int64) for c in (batch.tokens, batch.positions, batch.sequences, batch.outputs)]
        starts = [c.ctypes.data for c in columns]
        cut = runs(columns[1], columns[2])
        ctx = np.array([*starts, t, n, *state.kernels, state.words.ctypes.data, cut.ctypes.data], np.int64)
        self._count(t, n, len(cut))
        sync = np.array([0, NEVER], np.int64)
        word = np.frombuffer(cancel.word, np.uint8)
        phases, count = self._phases.ctypes.data, len(self._phases)
        shared = (phases, count, sync.ctypes.data, self._pool.threads, word.ctypes.data)
        scratch = [-(-s.ctypes.data // 64) * 64 for s in self._scratch]
        context = ctx.ctypes.data

        def work(index: int) -> None:
            self._run(*shared, scratch[index], context, self._yield, int(index == 0))

        self._pool.run(work, cancel.set)
        if sync[1] != NEVER:
            raise Cancelled("the step was cancelled")
        return results

    def _count(self, t: int, n: int, runs: int) -> None:
        """Sets the items of every phase; compiles kernels that are needed for the first time."""
        from edgeq.backends.numba_compile import address
        from edgeq.backends.numba_plan import counts

        phases = self._phases
        phases[:, 2] = self._items @ counts(t, n, runs, self._few)
        phases[:, 5] = 0
        for i in ((phases[:, 0] == 0) & (phases[:, 2] > 0)).nonzero()[0]:
            phases[i, 0] = address(self._plan.phases[i].kernel)

    def _prepare(self, t: int, n: int, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Sets the addresses of all buffers for t tokens, copies the inputs in; the arrays that outputs go to."""
        import numpy as np

        plan, program = self._plan, self.program
        room = plan.room(t)
        wanted = plan.bytes_per_token * room + 64
        if self._arena.nbytes < wanted:
            try:
                self._arena = np.empty(wanted, np.uint8)
            except MemoryError:
                raise MemoryLimitError(
                    f"no memory for {wanted} bytes of activations; smaller chunks need less"
                ) from None
        plan.places[:-1] = np.array(plan.offsets, np.int64) * room + -(-self._arena.ctypes.data // 64) * 64
        results = []
        for h in program.outputs:
            result = np.empty((program.buffers[h].rows(t, n), program.buffers[h].width), np.float32)
            plan.places[h] = result.ctypes.data
            results.append(result)
        for x, h in zip(inputs, program.inputs, strict=True):
            width = program.buffers[h].width
            given = np.ascontiguousarray(x, np.float32)
            if given.shape != (t, width):
                raise UsageError(f"input {program.buffers[h].name}: shape {given.shape}, expected {(t, width)}")
            if h in program.outputs:
                results[program.outputs.index(h)][...] = given
            else:
                at = int(plan.places[h]) - self._arena.ctypes.data
                self._arena[at : at + given.nbytes] = given.reshape(-1).view(np.uint8)
        return results


class NumbaBackend:
    """Kernels compiled by Numba on this machine's cores. One set of threads serves all programs of one backend."""

    name = "numba"

    def __init__(self) -> None:
        self._pool: Pool | None = None

    def supports(self, op: type[Op], formats: frozenset[str]) -> bool:
        return op in ops.OPS and all(quants.FORMATS[f].linear for f in formats)

    def compile(self, program: Program, weights: WeightSource, options: Options) -> NumbaExecutable:
        try:
            from edgeq.backends.numba_compile import check_host
        except ImportError as error:
            raise BackendError(
                f"backend numba: {error}; `pip install numba` adds it where Numba has a wheel for this platform"
            ) from None
        check_host()
        if self._pool is None:
            self._pool = self._new_pool(options.threads)
        return NumbaExecutable(program, weights, options, self._pool)

    @property
    def threads(self) -> int:
        """Threads that run a step; 0 before the first program."""
        return self._pool.threads if self._pool else 0

    def _new_pool(self, threads: int | None) -> Pool:
        from edgeq import machine
        from edgeq.backends.numba_pool import Pool

        count = machine.threads_to_use() if threads is None else threads
        if not 0 < count <= 1024:
            raise UsageError(f"{count} threads: expected 1 to 1024")
        return Pool(count)
