"""The tokenizer's files of a checkpoint as GGUF keys: `tokenizer.ggml.*` and chat templates.

`tokenizer.model` (SentencePiece) is read first, then `tokenizer.json`. Whatever is read, the keys are tried: edgeq's
own tokenizer over them and the `tokenizers` package over tokenizer.json must give the same ids for the probe texts."""

from __future__ import annotations

from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.vocab import bpe, probe, special, spm, template
from edgeq.convert.vocab.pieces import Pieces
from edgeq.errors import FormatError, TokenizerError, shown
from edgeq.gguf import Value


def vocabulary(checkpoint: Checkpoint, n_vocab: int) -> tuple[dict[str, Value], list[str]]:
    """All keys of the tokenizer for `n_vocab` rows of the embedding, and what could not be kept.

    Raises TokenizerError where there is no tokenizer, or none that GGUF can hold."""
    settings = checkpoint.json("tokenizer_config.json") or {}
    data = checkpoint.json("tokenizer.json")
    pieces = read_pieces(checkpoint, settings, data, n_vocab)
    keys = pieces.keys()
    notes = list(pieces.notes)
    roles, framed = special.roles(checkpoint, settings, data, pieces, notes)
    keys |= {f"tokenizer.ggml.{name}": value for name, value in (roles | framed).items()}
    keys |= template.keys(checkpoint, settings, notes)
    keys |= special.more_ends(checkpoint, keys, n_vocab, notes)
    if data is not None:
        notes += probe.differences(checkpoint, data, keys)
    return keys, notes


def read_pieces(checkpoint: Checkpoint, settings: dict[str, Any], data: dict[str, Any] | None, n_vocab: int) -> Pieces:
    """Tokens with their types, scores or merges."""
    model = checkpoint.bytes("tokenizer.model")
    if model is not None:
        try:
            return spm.from_model(model, checkpoint, settings, data, n_vocab)
        except FormatError:
            if data is None:  # else it is a vocabulary of another kind under this name, as tiktoken's
                raise
    if data is None:
        others = [
            name for name in ("vocab.json", "tekken.json", "tokenizer.model.v3") if (checkpoint.folder / name).is_file()
        ]
        beside = f"; {', '.join(others)} alone is not read" if others else ""
        raise TokenizerError(
            f"{shown(checkpoint.folder)}: no tokenizer.json and no tokenizer.model{beside}. "
            "transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json"
        )
    if spm.is_spm(data):
        return spm.from_json(data, settings, n_vocab)
    return bpe.from_json(data, checkpoint, settings, n_vocab)
