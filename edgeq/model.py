"""A loaded model: mapped weights, tokenizer, program, executable. Immutable; threads and sessions share it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeq import archs, backends, gguf
from edgeq.backends.base import Batch, Cancel, Executable, Options, ring_size
from edgeq.config import Keys
from edgeq.errors import ContextError, MemoryLimitError, ModelError, UsageError, check_count
from edgeq.passes.fuse import fuse
from edgeq.passes.narrow import narrow
from edgeq.program import Program
from edgeq.quants import FORMATS
from edgeq.weights import Weights

if TYPE_CHECKING:
    import numpy as np

    from edgeq.conversation import Chat
    from edgeq.generate import Generation
    from edgeq.lora import Lora
    from edgeq.session import Session
    from edgeq.tokenizer import Tokenizer

DEFAULT_CONTEXT = 8192


class Model:
    """A GGUF model, ready to run. Made by `edgeq.load`.

    `context`: positions that a session has by default; `trained_context`: what the model was made for."""

    def __init__(
        self, path: str | os.PathLike[str], *, backend: str | Any = None, context: int | None = None,
        kv_type: str = "F16", split: Sequence[tuple[int, str]] = (), options: Options | None = None, lora: Lora = (),
    ) -> None:  # fmt: skip
        self.options = options or Options()
        self.file = gguf.open(path)
        try:
            self._prepare(backend, context, kv_type, split, lora)
        except BaseException:
            self.file.close()
            raise

    def _prepare(
        self, backend: Any, context: int | None, kv_type: str, split: Sequence[tuple[int, str]], lora: Lora
    ) -> None:
        self.kv_type = kv_type
        if kv_type not in ("F16", "F32", "Q8_0", "Q4_0"):
            raise UsageError(f"KV type {kv_type!r}: expected F16, F32, Q8_0 or Q4_0")
        self.weights = Weights(self.file)
        name, arch = archs.find(self.file.metadata)
        keys = Keys(self.file.metadata, name)
        self.arch = name
        self.trained_context = keys.count("context_length", high=(1 << 32) - 1)
        self.vocab = self.weights.vocabulary()
        tokens = self.file.metadata.get("tokenizer.ggml.tokens", ())
        if len(tokens) != self.vocab:
            raise ModelError(f"tokenizer.ggml.tokens has {len(tokens)} entries, token_embd.weight {self.vocab} rows")
        wanted = context or min(self.trained_context, DEFAULT_CONTEXT)
        if not 0 < wanted < 1 << 31:
            raise UsageError(f"context {wanted}: expected 1 to 2147483647")
        plain: Program = arch.lower(keys, self.weights, self.vocab, wanted)
        self.plain = narrow(self._adapted(plain, lora) if lora else plain)
        self.weights.check(self.plain)
        self.backend = backends.find(backend) if backend is None or isinstance(backend, str) else backend
        self.context = wanted if context else self._fitting(wanted)
        self.executable: Executable = self._compile(split)

    def _adapted(self, program: Program, lora: Lora) -> Program:
        """The program with adapters, whose weights lie in memory beside the file."""
        from edgeq.lora import halves, load_all, stack
        from edgeq.passes.adapt import A, B, adapt
        from edgeq.weights import MemoryTensor

        pairs = stack(load_all(lora, self.file))
        for name, pair in pairs.items():
            for suffix, array in zip((A, B), halves(name, pair)):
                self.weights.memory[name + suffix] = MemoryTensor(name + suffix, array)
        return adapt(program, {name: pair.rank for name, pair in pairs.items()})

    def _compile(self, split: Sequence[tuple[int, str]]) -> Executable:
        if split:
            from edgeq.backends.chain import compile_chain

            return compile_chain(self.plain, self.weights, self.options, self.backend, split)
        formats = self.weights.formats(self.plain)
        return self.backend.compile(
            fuse(self.plain, lambda op: self.backend.supports(op, formats)), self.weights, self.options
        )

    def kv_bytes(self, context: int, sequences: int = 1) -> int:
        """Bytes of keys and values of `sequences` full sequences."""
        fmt = FORMATS[self.kv_type]
        rows = ((ring_size(c, context, self.options.chunk), c) for c in self.plain.caches)
        return sequences * sum(2 * r * c.kv_heads * c.head_dim * fmt.nbytes // fmt.block for r, c in rows)

    def _fitting(self, wanted: int) -> int:
        """The largest context up to `wanted` whose keys and values fit the memory that is left; at least 512."""
        from edgeq import machine

        left = machine.memory_available()
        while left and wanted > 512 and self.kv_bytes(wanted) > left // 2:
            wanted //= 2
        if left and self.kv_bytes(wanted) > left:
            raise MemoryLimitError(
                f"{self.kv_bytes(wanted)} bytes of keys and values for a context of {wanted}, {left} bytes left; "
                "a smaller context or a quantized KV type needs less"
            )
        return wanted

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Built from the file's vocabulary on first use."""
        from edgeq import tokenizer

        return tokenizer.from_gguf(self.file)

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Token ids of a text; the file's BOS and EOS rules apply where `add_special`."""
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of token ids; bytes that are no UTF-8 become U+FFFD."""
        return self.tokenizer.decode(ids)

    def logits(self, ids: Sequence[int], *, cancel: Cancel | None = None) -> np.ndarray:
        """Logits after every position of a prompt: float32 [T, V]. Large for long prompts: see `logits_chunks`."""
        import numpy as np

        return np.concatenate(list(self.logits_chunks(ids, cancel=cancel)))

    def logits_chunks(self, ids: Sequence[int], size: int = 256, *, cancel: Cancel | None = None) -> Any:
        """The same in pieces of at most `size` positions, so that memory stays bounded: yields float32 [≤ size, V]."""
        ids = list(ids)
        if not ids:
            raise UsageError("logits of no tokens: expected at least one id")
        if bad := next((t for t in ids if not 0 <= t < self.vocab), None):
            raise UsageError(f"token id {bad}: expected 0 to {self.vocab - 1}")
        if len(ids) > self.context:
            raise ContextError(
                f"prompt of {len(ids)} tokens, context of {self.context}: {len(ids) - self.context} too many"
            )
        size = max(1, min(size, self.options.chunk))
        state = self.executable.new_state(1, min(self.context, len(ids)), self.kv_type)
        for at in range(0, len(ids), size):
            part = ids[at : at + size]
            yield self.executable.step(state, Batch.single(part, at, outputs=range(len(part))), cancel=cancel)[0]

    def session(self, sequences: int = 1, context: int | None = None) -> Session:
        """A new session: its own sequences and caches over these weights."""
        from edgeq.session import Session

        return Session(self, sequences, context)

    def generate(self, prompt: str | bytes | Sequence[int], **settings: Any) -> Generation:
        """Completes a prompt as it stands, in a session of its own: an iterator of text pieces (see `edgeq.generate`).

        max_tokens, stop, seed, details, top_logprobs; lookup, draft, draft_tokens, which change only the speed; and
        the fields of `Sampling`: temperature, top_k, top_p, ..."""
        from edgeq.generate import start

        return start(self.session(), prompt, **settings)

    def chat(self, system: str | None = None, template: str | os.PathLike[str] | None = None, **settings: Any) -> Chat:
        """A chat through the file's template, or the one that `template` names; `settings` as for `generate`."""
        from edgeq.conversation import Chat

        return Chat(self, system=system, template=template, **settings)

    def close(self) -> None:
        """Gives back the mapping and what the backend holds. Sessions of the model cannot be used afterwards."""
        self.executable.close()
        self.file.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.arch}, {self.plain.layers} layers, {self.vocab} tokens, context {self.context}>"


def load(
    path: str | os.PathLike[str], *, backend: str | Any = None, threads: int | None = None, context: int | None = None,
    kv_type: str = "F16", isa: str | None = None, reproducible: bool = False, chunk: int = 512,
    split: Sequence[tuple[int, str]] = (), lora: Lora = (),
) -> Model:  # fmt: skip
    """Opens a GGUF model and makes it ready to run.

    backend      native, numba, reference, or one that another package adds; None picks the best that works
    threads      None: as many as there are useful cores
    context      positions of a session; None: the trained context, what memory allows, or 8192, whichever is least
    kv_type      F16, F32, Q8_0 or Q4_0: how keys and values are kept
    isa          a variant of the native kernels by name (also EDGEQ_ISA); None: the best that works
    reproducible results do not depend on how a prompt is cut up, on the rest of the batch or on cache hits; slower
    split        [(first layer, backend), ...]: layers from there on run on that backend
    lora         low-rank adapters: files, each alone or as (file, scale); the model's weights stay as they are

    Raises GGUFError, ModelError, BackendError, MemoryLimitError, UsageError."""
    threads, context, chunk = (
        check_count(name, value) for name, value in (("threads", threads), ("context", context), ("chunk", chunk))
    )
    options = Options(threads, chunk, isa or os.environ.get("EDGEQ_ISA"), reproducible)
    return Model(path, backend=backend, context=context, kv_type=kv_type, split=split, options=options, lora=lora)
