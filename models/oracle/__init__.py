"""llama.cpp as an oracle for tests and goldens, through the program of llama_oracle.cpp.

Owns the pipe protocol on Python's side. It does not build the program (build.sh does) and no test needs it
to pass: what it answered is committed as golden outputs.

    oracle = Oracle("build/llama_oracle", "model.gguf")
    oracle.tokenize([b"Hello"], add_special=True, parse_special=True)   # [[1, 15043]]
    oracle.logits([1, 15043])                                           # float32 [2, V]
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THREW = 2**32 - 1  # the length that stands for "llama.cpp threw an exception on this request"


class OracleError(RuntimeError):
    """The program could not be run, or died: message with its exit status and the end of its stderr."""


@dataclass(frozen=True)
class Piece:
    """One token as llama.cpp sees it; `attributes` are llama.h's LLAMA_TOKEN_ATTR_* bits."""

    shown: bytes  # what it writes with special tokens shown
    hidden: bytes  # ... and with them hidden: b"" for control tokens
    attributes: int
    is_eog: bool


@dataclass(frozen=True)
class Vocabulary:
    """All pieces and the ids with a role (-1: none); `type` is llama.h's LLAMA_VOCAB_TYPE_*."""

    pieces: list[Piece]
    type: int
    bos: int
    eos: int
    eot: int
    sep: int
    nl: int
    pad: int
    mask: int
    add_bos: bool
    add_eos: bool
    add_sep: bool


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise OracleError(
                f"the oracle's answer ends early: {n} bytes wanted, {len(self.data) - self.at} left"
            )
        self.at += n
        return self.data[self.at - n : self.at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def counted(self) -> bytes | None:
        n = self.u32()
        return None if n == THREW else self.take(n)

    def ids(self) -> list[int] | None:
        n = self.u32()
        return None if n == THREW else list(struct.unpack(f"<{n}i", self.take(4 * n)))

    def end(self) -> None:
        if self.at != len(self.data):
            raise OracleError(f"the oracle answered {len(self.data) - self.at} bytes more than asked")


class Oracle:
    """llama.cpp on one model file. Every call starts the program anew, so nothing is carried over."""

    def __init__(
        self, binary: str | Path, model: str | Path, threads: int = 2, timeout: float = 1800
    ) -> None:
        self.binary, self.model, self.threads, self.timeout = str(binary), str(model), threads, timeout

    def tokenize(
        self, texts: Sequence[bytes], add_special: bool = True, parse_special: bool = True
    ) -> list[list[int] | None]:
        """Ids of each text; None where llama.cpp threw. All texts go through one process."""
        request = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        answer = _Reader(self._run(request, "tokenize", self.model, int(add_special), int(parse_special)))
        result = [answer.ids() for _ in texts]
        answer.end()
        return result

    def detokenize(
        self, sequences: Sequence[Sequence[int]], remove_special: bool = False, unparse_special: bool = True
    ) -> list[bytes | None]:
        """Text bytes of each sequence; None where llama.cpp threw."""
        request = b"".join(_packed(ids) for ids in sequences)
        answer = _Reader(
            self._run(request, "detokenize", self.model, int(remove_special), int(unparse_special))
        )
        result = [answer.counted() for _ in sequences]
        answer.end()
        return result

    def vocabulary(self) -> Vocabulary:
        """Every token's bytes and attributes, the special ids and which tokens end a generation."""
        answer = _Reader(self._run(b"", "pieces", self.model))
        n_vocab = answer.u32()
        facts = struct.unpack("<11i", answer.take(44))
        pieces = [
            Piece(answer.take(answer.u32()), answer.take(answer.u32()), answer.u32(), bool(answer.u32()))
            for _ in range(n_vocab)
        ]
        answer.end()
        return Vocabulary(pieces, *facts[:8], *(bool(fact) for fact in facts[8:]))

    def pieces(self) -> list[bytes]:
        """Each token's bytes, special tokens shown."""
        return [piece.shown for piece in self.vocabulary().pieces]

    def logits(self, ids: Sequence[int], kv: str = "f16", batch: int = 512) -> NDArray[np.float32]:
        """float32 [T, V] of one fresh sequence. `kv`: "f16", which is llama.cpp's default, or "f32", which
        also turns flash attention off. `batch`: tokens per decode call."""
        return self.logits_of([ids], kv, batch)[0]

    def logits_of(
        self, sequences: Sequence[Sequence[int]], kv: str = "f16", batch: int = 512
    ) -> list[NDArray[np.float32]]:
        """As `logits`, for several independent sequences over one load of the model."""
        import numpy as np

        request = b"".join(_packed(ids) for ids in sequences)
        answer = self._run(request, "logits", self.model, self.threads, f"KV={kv}", f"BATCH={batch}")
        total = sum(len(ids) for ids in sequences)
        if not total or len(answer) % (4 * total):
            raise OracleError(f"{len(answer)} bytes of logits are not whole rows for {total} tokens")
        flat = np.frombuffer(answer, "<f4").reshape(total, -1)
        ends = np.cumsum([len(ids) for ids in sequences])
        return list(np.split(flat, ends[:-1]))

    def greedy(self, ids: Sequence[int], n_new: int, kv: str = "f16") -> list[int]:
        """The `n_new` ids of the greedy continuation; end-of-generation tokens do not stop it."""
        return self.greedy_of([ids], n_new, kv)[0][0]

    def greedy_of(
        self, sequences: Sequence[Sequence[int]], n_new: int, kv: str = "f16"
    ) -> list[tuple[list[int], list[float]]]:
        """As `greedy`, for several independent sequences over one load of the model: ids, and by how much the
        logit of each was above the next best."""
        request = b"".join(_packed(ids) for ids in sequences)
        answer = _Reader(self._run(request, "greedy", self.model, self.threads, n_new, f"KV={kv}"))
        result = []
        for _ in sequences:
            ids = answer.ids() or []
            result.append((ids, list(struct.unpack(f"<{len(ids)}f", answer.take(4 * len(ids))))))
        answer.end()
        return result

    def version(self) -> str:
        """llama.cpp's version and the CPU features it was built with."""
        return self._run(b"", "version").decode().strip()

    def _run(self, request: bytes, *arguments: object) -> bytes:
        command = [self.binary, *(str(argument) for argument in arguments)]
        try:
            done = subprocess.run(command, input=request, capture_output=True, timeout=self.timeout)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OracleError(f"cannot run {' '.join(command)}: {error}") from error
        if done.returncode:
            tail = done.stderr.decode(errors="replace")[-2000:]
            raise OracleError(f"{' '.join(command)} ended with {done.returncode}: {tail}")
        return done.stdout


def _packed(ids: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(ids)}i", len(ids), *ids)
