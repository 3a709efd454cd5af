"""Byte-level BPE out of tokenizer.json: the vocabularies of Llama 3, Qwen, SmolLM, Mistral's Tekken."""

from __future__ import annotations

from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.vocab import pre
from edgeq.convert.vocab.pieces import Pieces, added, padding, pairs, replaced, table, texts, too_many
from edgeq.errors import shown
from edgeq.tokenizer.special import NORMAL

NORMALIZERS = (None, "NFC")  # NFC has no form in GGUF: runtimes take text as it comes


def from_json(data: dict[str, Any], checkpoint: Checkpoint, settings: dict[str, Any], n_vocab: int) -> Pieces:
    """The vocabulary of `n_vocab` tokens; ids without a token become [PADid], of type unused.

    Raises TokenizerError for a tokenizer.json that is no byte-level BPE of a known pre-tokenizer."""
    own, more = table(data), {a.id: a for a in added(settings, data)}
    tokens, types = [], []
    for i in range(n_vocab):
        if i in more:
            text, kind = more[i].stored, more[i].type
        elif i in own:
            text, kind = own[i], NORMAL
        else:
            text, kind = padding(i)
        tokens.append(text)
        types.append(kind)
    notes = too_many(own.keys() | more.keys(), n_vocab) + replaced(more.values(), texts(data), "tokenizer.json")
    normalizer = data.get("normalizer")
    kind_of = normalizer.get("type") if isinstance(normalizer, dict) else None
    if kind_of not in NORMALIZERS:
        notes += (f"normalizer {shown(kind_of, 40)!r} of tokenizer.json has no form in GGUF",)
    # A space inside a piece would be read as the end of it; in the alphabet of bytes a space is Ġ.
    merges = [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in pairs(data)]
    name, differs = pre.name(checkpoint, data, settings)
    if differs is not None:
        notes += (differs,)
    prefix = settings.get("add_prefix_space")
    return Pieces(
        model="gpt2",
        pre=name,
        tokens=tokens,
        types=types,
        merges=merges,
        space_prefix=prefix if isinstance(prefix, bool) else None,
        notes=notes,
    )
