"""A session: the only mutable thing. Sequences of tokens and their keys and values over one model.

Prefix reuse is decided here and nowhere else: `sync` keeps what the caches still hold of a prompt and runs the rest.
One thread at a time; a second one gets an error, not a race.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeq.backends.base import Batch, Cancel, State
from edgeq.errors import ContextError, FileChangedError, UsageError

if TYPE_CHECKING:
    import os

    import numpy as np

    from edgeq.model import Model


class Session:
    """`sequences` independent texts of up to `context` positions each. Sequence 0 is the one that defaults mean."""

    def __init__(self, model: Model, sequences: int = 1, context: int | None = None) -> None:
        if not 1 <= sequences <= 4096:
            raise UsageError(f"sequences: expected 1 to 4096, found {sequences}")
        self.model = model
        self.context = context or model.context
        self.state: State = model.executable.new_state(sequences, self.context, model.kv_type)
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        self._written = [0] * sequences  # most positions that the caches were ever given: what rings may have lost
        self._busy = threading.Lock()

    def tokens(self, sequence: int = 0) -> list[int]:
        """A copy of the token ids that a sequence holds."""
        return list(self._tokens[self._index(sequence)])

    def room(self, sequence: int = 0) -> int:
        """Positions that are left."""
        return self.context - len(self._tokens[self._index(sequence)])

    def extend(
        self, ids: Sequence[int], sequence: int = 0, *, cancel: Cancel | None = None, all_logits: bool = False
    ) -> np.ndarray:
        """Appends tokens; gives float32 [V], the logits after the last, or [T, V] after each where `all_logits`.

        Raises ContextError if they do not fit (nothing is appended then), UsageError for ids that are none."""
        import numpy as np

        with self._alone():
            held = self._tokens[self._index(sequence)]
            ids = self._checked(ids, len(held))
            parts, size = [], self.model.options.chunk
            for at in range(0, len(ids), size):
                part = ids[at : at + size]
                last = at + len(part) == len(ids)
                wanted = range(len(part)) if all_logits else [len(part) - 1] if last else []
                parts.append(self._step(Batch.single(part, len(held), sequence, wanted), cancel))
                held.extend(part)
            logits = np.concatenate(parts)
            return logits if all_logits else logits[-1]

    def sync(self, ids: Sequence[int], sequence: int = 0, *, cancel: Cancel | None = None) -> tuple[np.ndarray, int]:
        """Makes a sequence hold exactly `ids`, running only what is not there yet.

        Gives the logits [V] after the last token, and how many tokens were reused."""
        held = self._tokens[self._index(sequence)]
        if not ids:
            raise UsageError("a prompt of no tokens: expected at least one id")
        shared = 0
        while shared < min(len(held), len(ids) - 1) and held[shared] == ids[shared]:
            shared += 1
        if len(ids) > self.context:
            raise self._too_long(len(ids), 0)
        kept = self.rewind(shared, sequence)
        return self.extend(ids[kept:], sequence, cancel=cancel), kept

    def rewind(self, length: int, sequence: int = 0) -> int:
        """Goes back to the first `length` tokens; gives how many are still there: `length`, or fewer where a sliding
        window has lost what lies before (those must be run again)."""
        with self._alone():
            held = self._tokens[self._index(sequence)]
            if not 0 <= length <= len(held):
                raise UsageError(f"rewind to {length}: expected 0 to {len(held)}")
            kept = length if length == self._written[sequence] else self.state.reusable(self._written[sequence], length)
            del held[kept:]
            if kept == 0:
                self._written[sequence] = 0
            return kept

    def decode(self, tokens: Mapping[int, int], *, cancel: Cancel | None = None) -> dict[int, np.ndarray]:
        """One token for each of several sequences in one step: {sequence: id} → {sequence: logits [V]}."""
        with self._alone():
            sequences = [self._index(s) for s in tokens]
            for s in sequences:
                self._checked([tokens[s]], len(self._tokens[s]))
            out: dict[int, np.ndarray] = {}
            size = self.model.options.chunk
            for at in range(0, len(sequences), size):
                part = sequences[at : at + size]
                ids = [tokens[s] for s in part]
                logits = self._step(Batch(ids, [len(self._tokens[s]) for s in part], part, range(len(part))), cancel)
                for s, token, row in zip(part, ids, logits):
                    self._tokens[s].append(token)
                    out[s] = row
            return out

    def fork(self, source: int, target: int) -> None:
        """Makes `target` a copy of `source`."""
        with self._alone():
            held = self._tokens[self._index(source)]
            self.state.copy(source, self._index(target), self._written[source])
            self._tokens[target] = list(held)
            self._written[target] = self._written[source]

    def save(self, path: str | os.PathLike[str], extra: Any = None) -> None:
        """Writes all sequences with their keys and values to a file, atomically; `extra` is kept with them (JSON)."""
        from edgeq import session_file

        with self._alone():
            session_file.write(path, self.model, self.state, self._tokens, self._written, extra)

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Puts a saved session back; gives its `extra`. Raises FormatError if it is damaged or of another model."""
        from edgeq import session_file

        with self._alone():
            tokens, written, extra = session_file.read(path, self.model, self.state, self.context)
            self._tokens, self._written = tokens, written
            return extra

    def _step(self, batch: Batch, cancel: Cancel | None) -> np.ndarray:
        if self.model.file.changed():
            raise FileChangedError(f"{self.model.file.path}: the file changed since it was loaded; load it again")
        for sequence, position in zip(batch.sequences, batch.positions):
            self._written[sequence] = max(self._written[sequence], position + 1)
        return self.model.executable.step(self.state, batch, cancel=cancel)[0]

    def _checked(self, ids: Sequence[int], held: int) -> list[int]:
        out = list(ids)
        if not out:
            raise UsageError("no tokens to run: expected at least one id")
        for i in out:
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < self.model.vocab:
                raise UsageError(f"token id {i!r}: expected a whole number from 0 to {self.model.vocab - 1}")
        if held + len(out) > self.context:
            raise self._too_long(len(out), held)
        return out

    def _too_long(self, new: int, held: int) -> ContextError:
        over = held + new - self.context
        before = f" after {held} that are held" if held else ""
        return ContextError(f"{new} tokens{before} do not fit a context of {self.context}: {over} too many; "
                            "shorten the text or load the model with a larger context")  # fmt: skip

    def _index(self, sequence: int) -> int:
        if not isinstance(sequence, int) or not 0 <= sequence < len(self._tokens):
            raise UsageError(f"sequence {sequence!r}: expected 0 to {len(self._tokens) - 1}")
        return sequence

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise UsageError("this session is in use by another thread; give each thread a session of its own")
        try:
            yield
        finally:
            self._busy.release()
