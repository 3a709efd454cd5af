"""Tries a vocabulary: edgeq's tokenizer over the keys and the `tokenizers` package over tokenizer.json, on one text
after another. What differs is said, with the text and both ways to cut it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.errors import EdgeqError, TokenizerError, shown
from edgeq.gguf import Value

TEXTS = (
    "Hello world! It's 12345 o'clock, isn't it?", "  two  spaces\n\nand\ttabs \n", "Grüße, naïve, Привет, 日本語",
    "def f(x):\n    return x**2  # comment\n", "🙂👍🏽 ✅ → ∑", "a", " a", "The quick brown fox jumps over it.",
    "1 22 333 4444 3.14", "x" * 30, "CamelCase HTMLParser don't WE'LL",
)  # fmt: skip


def load(data: dict[str, Any]) -> Any:
    """The `tokenizers` package's reading of a tokenizer.json. Raises TokenizerError where it has none."""
    from tokenizers import Tokenizer

    # How long a batch's texts are to be is no matter of the vocabulary.
    with refusing("read it"):
        return Tokenizer.from_str(json.dumps({**data, "truncation": None, "padding": None}))


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Makes what the `tokenizers` package raises a TokenizerError: it cannot do `what`."""
    try:
        yield
    except (EdgeqError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise TokenizerError(f"tokenizer.json: the tokenizers package cannot {what}: {shown(error, 200)}") from None


def differences(checkpoint: Checkpoint, data: dict[str, Any], keys: dict[str, Value]) -> list[str]:
    """One line if the two give other ids for any text, naming the first; one on tokens that swallow space."""
    from edgeq.tokenizer import from_gguf

    theirs, ours = load(data), from_gguf({key: value.value for key, value in keys.items()})
    found = []
    for text in texts(data):
        with refusing(f"encode {shown(repr(text), 60)} with it"):
            wanted = theirs.encode(text, add_special_tokens=False).ids
        made = ours.encode(text, add_special=False)
        if wanted != made:
            found.append((text, wanted, made))
    notes = []
    if found:
        text, wanted, made = found[0]
        notes.append(
            f"tokenizer: {len(found)} of {len(list(texts(data)))} texts give other ids than tokenizer.json; of "
            f"{shown(repr(text), 60)} come {shown(made, 80)}, expected {shown(wanted, 80)}"
        )
    strips = [a["content"] for a in data.get("added_tokens", []) if _is_odd(a)]
    if strips:
        notes.append(
            f"tokens {shown(', '.join(strips), 80)} swallow the space beside them or stand as words alone; GGUF has no "
            "form for that"
        )
    return notes


def texts(data: dict[str, Any]) -> Iterator[str]:
    """The texts to try: plain ones, and a few of the vocabulary's own added tokens within text."""
    yield from TEXTS
    plain = [a for a in data.get("added_tokens", []) if not _is_odd(a)]
    for entry in plain[:4] + plain[-4:]:
        yield f"a{entry['content']}b {entry['content']} c"


def _is_odd(token: dict[str, Any]) -> bool:
    """Whether an added token changes the text around it."""
    return any(token.get(key) for key in ("lstrip", "rstrip", "single_word"))
