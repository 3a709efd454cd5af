"""SentencePiece vocabularies: Llama 1 and 2, Mistral, Gemma. From `tokenizer.model`, or a tokenizer.json made of one.

tokenizer.model is a protocol buffer of which a few fields count; they are read here, so that converting works where
the sentencepiece package has no wheel, and nothing of a foreign file reaches C++ (field numbers:
sentencepiece_model.proto of google/sentencepiece).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.vocab.pieces import (
    Added,
    Pieces,
    added,
    one_id,
    padding,
    pairs,
    replaced,
    table,
    texts,
    too_many,
)
from edgeq.errors import FormatError, TokenizerError, shown
from edgeq.record import Record
from edgeq.tokenizer.special import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED

ADDED_SCORE, PAD_SCORE = -1000.0, -10000.0
BPE = 2  # TrainerSpec.ModelType
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Model(Record):
    """What a tokenizer.model says: text, score and type of each piece, and how text is prepared."""

    pieces: tuple[tuple[str, float, int], ...]
    kind: int
    dummy_prefix: bool
    charsmap: bool

    def keeps(self, token: Added) -> bool:
        """Whether this is <unk>, <s>, … of the model itself, which tokenizer.json lists again without their types."""
        text, _, kind = self.pieces[token.id] if token.id < len(self.pieces) else ("", 0.0, NORMAL)
        return text == token.text and kind in (UNKNOWN, CONTROL, BYTE)


def parse(data: bytes) -> Model:
    """Reads a tokenizer.model. Raises FormatError for anything else."""
    pieces: list[tuple[str, float, int]] = []
    kind, prefix, charsmap = 1, True, False
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value, len(pieces)))
        elif number == 2 and isinstance(value, bytes):
            kind = next((v for n, v in _fields(value) if n == 3 and isinstance(v, int)), kind)
        elif number == 3 and isinstance(value, bytes):
            for n, v in _fields(value):
                prefix = bool(v) if n == 3 else prefix
                charsmap = bool(v) if n == 2 else charsmap
    if not pieces:
        raise FormatError("tokenizer.model: no pieces in it")
    return Model(tuple(pieces), kind, prefix, charsmap)


def from_model(
    raw: bytes, checkpoint: Checkpoint, settings: dict[str, Any], data: dict[str, Any] | None, n_vocab: int
) -> Pieces:
    """The vocabulary of tokenizer.model, with the added tokens of the other files."""
    model = parse(raw)
    if model.kind != BPE:
        raise TokenizerError("tokenizer.model: a unigram vocabulary; these architectures take BPE ones alone")
    vocabulary = _Vocabulary(n_vocab)
    for token, (text, score, kind) in enumerate(model.pieces):
        # Pieces that are matched whole are matched in plain text, where spaces are spaces.
        vocabulary.put(token, text.replace("▁", " ") if kind == USER_DEFINED else text, score, kind)
    named: dict[int, str] = {}
    for text, token in (checkpoint.json("added_tokens.json") or {}).items():
        if type(token) is not int or token < 0:
            raise TokenizerError(f"added_tokens.json: {shown(text, 60)!r} has id {shown(token, 20)}")
        one_id(named.setdefault(token, text), text, token, "added_tokens.json")
        vocabulary.put(token, text, ADDED_SCORE, USER_DEFINED)
    configured = {a.id for a in added(settings, None)}
    vocabulary.add(a for a in added(settings, data) if a.id in configured or not model.keeps(a))
    more = [*added(settings, data), *(Added(token, text, False) for token, text in named.items())]
    pieces = {i: text for i, (text, _, kind) in enumerate(model.pieces) if kind in (NORMAL, BYTE)}
    notes = replaced(more, pieces, "tokenizer.model")
    if model.charsmap:
        notes += ("tokenizer.model rewrites text before it cuts it; GGUF has no form for that",)
    prefix = settings.get("add_prefix_space")
    if not isinstance(prefix, bool):
        prefix = None if model.dummy_prefix else False
    return vocabulary.finish(prefix, notes)


def is_spm(data: dict[str, Any]) -> bool:
    """Whether a tokenizer.json holds a SentencePiece vocabulary: BPE on text, bytes as tokens <0x00> to <0xFF>."""
    model = data.get("model")
    return isinstance(model, dict) and model.get("type", "BPE") == "BPE" and model.get("byte_fallback") is True


def from_json(data: dict[str, Any], settings: dict[str, Any], n_vocab: int) -> Pieces:
    """The vocabulary of a tokenizer.json that was made of a tokenizer.model.

    Its merges are in the order of the scores that it no longer has, so a piece scores less the later it is made."""
    ranks: dict[str, int] = {}
    for left, right in pairs(data):
        ranks.setdefault(left + right, len(ranks))
    vocabulary = _Vocabulary(n_vocab)
    unknown = data["model"].get("unk_token")
    for token, text in table(data).items():
        kind = BYTE if _BYTE.fullmatch(text) else UNKNOWN if text == unknown else NORMAL
        made = kind == NORMAL and text in ranks
        vocabulary.put(token, text, -float(ranks[text]) if made else 0.0 if kind != NORMAL else -1e9, kind)
    more = added(settings, data)
    vocabulary.add(more)
    return vocabulary.finish(_prepends(data), replaced(more, texts(data), "tokenizer.json"))


class _Vocabulary:
    """Ids being filled in."""

    def __init__(self, n_vocab: int) -> None:
        self.n_vocab = n_vocab
        self.ids: set[int] = set()
        filled = [padding(i) for i in range(n_vocab)]
        self.tokens, self.types = [text for text, _ in filled], [kind for _, kind in filled]
        self.scores = [PAD_SCORE] * n_vocab

    def put(self, token: int, text: str, score: float, kind: int) -> None:
        self.ids.add(token)
        if token < self.n_vocab:
            self.tokens[token], self.scores[token], self.types[token] = text, score, kind

    def add(self, entries: Iterable[Added]) -> None:
        for entry in entries:
            self.put(entry.id, entry.stored, ADDED_SCORE, entry.type)

    def finish(self, prefix: bool | None, notes: tuple[str, ...]) -> Pieces:
        notes += too_many(self.ids, self.n_vocab)
        return Pieces("llama", "default", self.tokens, self.types, self.scores, None, prefix, notes)


def _prepends(data: dict[str, Any]) -> bool:
    """Whether text gets a space in front: by the normalizer of older files, the pre-tokenizer of newer ones."""

    def steps(section: object) -> Iterator[dict[str, Any]]:
        if isinstance(section, dict):
            yield section
            for inner in section.get("normalizers") or section.get("pretokenizers") or ():
                yield from steps(inner)

    if any(step.get("type") == "Prepend" for step in steps(data.get("normalizer"))):
        return True
    for step in steps(data.get("pre_tokenizer")):
        if step.get("type") == "Metaspace":
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            return bool(scheme != "never")
    return False


def _piece(data: bytes, index: int) -> tuple[str, float, int]:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            try:
                text = value.decode("utf-8")
            except UnicodeDecodeError:
                raise FormatError(f"tokenizer.model: piece {index} is not UTF-8") from None
        elif number == 2 and isinstance(value, float):
            score = value
        elif number == 3 and isinstance(value, int):
            kind = value
    if not NORMAL <= kind <= BYTE or math.isnan(score):
        raise FormatError(f"tokenizer.model: piece {index} has type {kind} and score {score}")
    return text, score, kind


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field of a message: a whole number, a float32, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | float | bytes
        if wire == 0:
            value, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = _varint(data, at)
            if size is None or at + size > len(data):
                raise FormatError("tokenizer.model: no SentencePiece model, or not all of it is here")
            value, at = data[at : at + size], at + size
            if wire == 5:
                value = struct.unpack("<f", value)[0]
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise FormatError("tokenizer.model: no SentencePiece model, or not all of it is here")
