"""A session: the only mutable thing. Sequences of tokens and their keys and values over one model.

Prefix reuse is decided here and nowhere else: `sync` keeps what the caches still hold of a prompt and
runs the rest. One thread at a time; a second one gets an error, not a race. An interrupt at any place
leaves a session usable.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeq.backends.base import Batch, Cancel, State
from edgeq.backends.rows import as_array
from edgeq.errors import Cancelled, ContextError, FileChangedError, FormatError, UsageError, shown
from edgeq.speculation.pays import Costs

if TYPE_CHECKING:
    import os

    import numpy as np

    from edgeq.backends.rows import Row, Rows
    from edgeq.model import Model


class Session:
    """`sequences` independent texts of up to `context` positions each. Sequence 0 is the one that
    defaults mean.

    `most_ahead`: tokens that `append` can check ahead at most; `costs`: what its steps took."""

    def __init__(self, model: Model, sequences: int = 1, context: int | None = None) -> None:
        _within("sequences", sequences, 4096, "")
        if context is not None:
            _within(
                "context of a session", context, model.context, ", the model's; load it with a larger context"
            )
        self.model = model
        self.context = model.context if context is None else context
        self.state: State = model.executable.new_state(sequences, self.context, model.kv_type)
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        # Most positions that the caches were ever given, drafts left out: what rings may have lost.
        self._written = [0] * sequences
        self._editions = [0] * sequences
        # Tokens that were run behind those that are held, and the logits after each; the next one last.
        self._ahead: list[list[tuple[int, np.ndarray | Row]]] = [[] for _ in range(sequences)]
        self.most_ahead = model.executable.small_batch - 1
        self.costs = Costs(1 + self.most_ahead)
        self._busy: dict[str, int] = {}  # "thread": the one that is at work here

    def tokens(self, sequence: int = 0) -> list[int]:
        """A copy of the token ids that a sequence holds."""
        return list(self._tokens[self._index(sequence)])

    def room(self, sequence: int = 0) -> int:
        """Positions that are left."""
        return self.context - len(self._tokens[self._index(sequence)])

    def edition(self, sequence: int = 0) -> int:
        """A number that changes whenever the sequence does: tells an answer in the making that it is no
        longer alone."""
        return self._editions[self._index(sequence)]

    def extend(
        self, ids: Sequence[int], sequence: int = 0, *, cancel: Cancel | None = None, all_logits: bool = False
    ) -> np.ndarray:
        """Appends tokens; gives float32 [V], the logits after the last, or [T, V] after each where
        `all_logits`.

        Raises ContextError if they do not fit and UsageError for ids that are none (nothing is appended
        then); after Cancelled the chunks that were finished are held."""
        with self._alone():
            wanted = self._checked(ids, len(self._tokens[self._index(sequence)]))
            return as_array(self._extend(wanted, sequence, cancel, all_logits))

    def sync(
        self, ids: Sequence[int], sequence: int = 0, *, cancel: Cancel | None = None
    ) -> tuple[np.ndarray, int]:
        """Makes a sequence hold exactly `ids`, running only what is not there yet.

        Gives the logits [V] after the last token, and how many tokens were reused."""
        logits, kept = self.sync_row(ids, sequence, cancel=cancel)
        return as_array(logits), kept

    def sync_row(
        self, ids: Sequence[int], sequence: int = 0, *, cancel: Cancel | None = None
    ) -> tuple[np.ndarray | Row, int]:
        """As `sync`; where NumPy is not loaded yet, the logits stay where the backend has them."""
        with self._alone():
            held, wanted = self._tokens[self._index(sequence)], self._checked(ids, 0)
            shared, most = 0, min(len(held), len(wanted) - 1)
            while shared < most and held[shared] == wanted[shared]:
                shared += 1
            kept = self._rewind(shared, sequence)
            return self._extend(wanted[kept:], sequence, cancel, False), kept

    def append(
        self, token: int, sequence: int = 0, *, draft: Sequence[int] = (), cancel: Cancel | None = None
    ) -> np.ndarray:
        """Appends one token; gives the logits [V] after it.

        `draft`: at most `most_ahead` guesses at the tokens that follow, run in the same step but not appended.
        While the next calls bring just those, their logits are there already; the first call that brings
        another token drops the rest. All logits have the bits that one token at a time would give them.
        Errors as for `extend`; a draft must fit the context too."""
        return as_array(self.append_row(token, sequence, draft=draft, cancel=cancel))

    def append_row(
        self, token: int, sequence: int = 0, *, draft: Sequence[int] = (), cancel: Cancel | None = None
    ) -> np.ndarray | Row:
        """As `append`; where NumPy is not loaded yet, the logits stay where the backend has them."""
        with self._alone():
            held = self._tokens[self._index(sequence)]
            token, *guesses = self._checked([token, *draft], len(held))
            # Taken away while it does not fit the tokens: an interrupt may strike at any line.
            ahead, self._ahead[sequence] = self._ahead[sequence], []
            if ahead and ahead[-1][0] == token:
                if cancel:
                    raise Cancelled("the step was cancelled")
                self._check_file()
                logits = ahead.pop()[1]
                self._mark([sequence], [len(held)])
                held.append(token)
                self._ahead[sequence] = ahead
                return logits
            if len(guesses) > self.most_ahead:
                raise UsageError(f"a draft of {len(guesses)} tokens: expected at most {self.most_ahead}")
            batch = Batch.single([token, *guesses], len(held), sequence, range(1 + len(guesses)))
            rows: list[np.ndarray | Row] = list(self._step(batch, cancel, len(guesses)))
            held.append(token)
            self._ahead[sequence] = list(zip(guesses, rows[1:], strict=True))[::-1]
            return rows[0]

    def foreseen(self, token: int, sequence: int = 0) -> bool:
        """Whether `append` has the logits after this token already."""
        ahead = self._ahead[sequence]
        return bool(ahead) and ahead[-1][0] == token

    def rewind(self, length: int, sequence: int = 0) -> int:
        """Goes back to the first `length` tokens; gives how many are still there: `length`, or fewer
        where a sliding window has lost what lies before (those must be run again)."""
        with self._alone():
            held = self._tokens[self._index(sequence)]
            if not isinstance(length, int) or not 0 <= length <= len(held):
                raise UsageError(f"rewind to {shown(length, 40)}: expected 0 to {len(held)}")
            return self._rewind(length, sequence)

    def _extend(
        self, ids: list[int], sequence: int, cancel: Cancel | None, all_logits: bool
    ) -> np.ndarray | Row:
        held, size = self._tokens[sequence], self.model.options.chunk
        parts: list[np.ndarray] = []
        for at in range(0, len(ids), size):
            part = ids[at : at + size]
            last = at + len(part) == len(ids)
            wanted = range(len(part)) if all_logits else [len(part) - 1] if last else []
            logits = self._step(Batch.single(part, len(held), sequence, wanted), cancel)
            held.extend(part)
            if all_logits:
                parts.append(as_array(logits))
        if not all_logits:
            after: np.ndarray | Row = logits[-1]
            return after
        import numpy as np

        return np.concatenate(parts)

    def _rewind(self, length: int, sequence: int) -> int:
        written = self._written[sequence]
        # A draft may have overwritten as much again. That counts always, so that drafts change nothing here.
        lost = written + self.most_ahead
        kept = length if length == written else self.state.reusable(lost, length)
        self._editions[sequence] += 1
        self._ahead[sequence] = []
        del self._tokens[sequence][kept:]
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
                logits = self._step(
                    Batch(ids, [len(self._tokens[s]) for s in part], part, range(len(part))), cancel
                )
                for s, token, row in zip(part, ids, logits, strict=True):
                    self._tokens[s].append(token)
                    out[s] = as_array(row)
            return out

    def fork(self, source: int, target: int) -> None:
        """Makes `target` a copy of `source`."""
        with self._alone():
            held = list(self._tokens[self._index(source)])
            if self._index(target) == source:
                return
            self._forget(target)  # an interrupted copy must not pass for what was there
            self.state.copy(source, target, self._written[source])
            self._tokens[target], self._written[target] = held, self._written[source]

    def save(self, path: str | os.PathLike[str], extra: Any = None) -> None:
        """Writes all sequences with their keys and values to a file, atomically; `extra` is kept with
        them (JSON)."""
        from edgeq import session_file

        with self._alone():
            session_file.write(path, self.model, self.state, self._tokens, self._written, extra)

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Puts a saved session back; gives its `extra`. Raises FormatError if it is damaged or of another
        model."""
        from edgeq import session_file

        with self._alone():
            saved = session_file.read(path, self.model, self.state, self.context)
            for sequence in range(len(self._tokens)):
                self._forget(sequence)
            try:
                for sequence, (blob, n) in enumerate(zip(saved.blobs, saved.written, strict=True)):
                    if n:
                        self.state.restore(sequence, blob, n)
            except UsageError as error:
                raise FormatError(f"{shown(path)}: not a saved session of this kind: {error}") from None
            self._tokens, self._written = saved.tokens, saved.written
            return saved.extra

    def _forget(self, sequence: int) -> None:
        self._editions[sequence] += 1
        self._tokens[sequence], self._written[sequence], self._ahead[sequence] = [], 0, []

    def _step(self, batch: Batch, cancel: Cancel | None, drafted: int = 0) -> np.ndarray | Rows:
        """Runs a batch whose last `drafted` tokens are not to be held."""
        self._check_file()
        kept = len(batch.tokens) - drafted
        self._mark(batch.sequences[:kept], batch.positions[:kept])
        return self.model.executable.step(self.state, batch, cancel=cancel)[0]

    def _mark(self, sequences: Sequence[int], positions: Sequence[int]) -> None:
        for sequence, position in zip(sequences, positions, strict=True):
            self._written[sequence] = max(self._written[sequence], position + 1)
            self._editions[sequence] += 1
            self._ahead[sequence] = []

    def _check_file(self) -> None:
        for part in self.model.file.parts:
            assert part.map is not None  # raises UsageError once the model is closed: its weights are gone
        if self.model.file.changed():
            raise FileChangedError(
                f"{shown(self.model.file.path)}: the file changed since it was loaded; load it again"
            )

    def _checked(self, ids: Iterable[int], held: int) -> list[int]:
        out = whole_numbers(ids)
        if not out:
            raise UsageError("no tokens to run: expected at least one id")
        if min(out) < 0 or max(out) >= self.model.vocab:
            bad = next(i for i in out if not 0 <= i < self.model.vocab)
            raise UsageError(f"token id {bad}: expected a whole number from 0 to {self.model.vocab - 1}")
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
            raise UsageError(f"sequence {shown(repr(sequence), 40)}: expected 0 to {len(self._tokens) - 1}")
        return sequence

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # An interrupt may strike between taking and `try`, or in `finally`: then the mark stays, but the
        # same thread
        # may come in again, and takes it away when it leaves. A lock would stay locked.
        me = threading.get_ident()
        if self._busy.setdefault("thread", me) != me:  # atomic
            raise UsageError(
                "this session is in use by another thread; give each thread a session of its own"
            )
        try:
            yield
        finally:
            self._busy.pop("thread", None)


def whole_numbers(ids: Iterable[Any]) -> list[int]:
    """Token ids, NumPy's too, as a list of int. Raises UsageError for anything else."""
    try:
        out = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if set(map(type, out)) <= {int}:  # the usual case, at C speed
            return out
        if any(isinstance(i, bool) for i in out):
            raise TypeError
        return [operator.index(i) for i in out]
    except TypeError:
        raise UsageError(f"expected a list of token ids, found {shown(repr(ids), 60)}") from None


def _within(what: str, n: Any, most: int, why: str) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= most:
        raise UsageError(f"{what}: expected 1 to {most}{why}; found {shown(repr(n), 40)}")
