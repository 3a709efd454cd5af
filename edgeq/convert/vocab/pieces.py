"""A vocabulary on its way into a GGUF file, and what all kinds share: added tokens, types, padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgeq.errors import TokenizerError, shown
from edgeq.gguf import Value
from edgeq.record import Record
from edgeq.tokenizer.special import CONTROL, UNUSED, USER_DEFINED

SPACE = "▁"  # U+2581, which SentencePiece writes for a space
MAX_TOKENS = 1 << 22

SPECIAL_LOOKS = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
SPECIAL_FRAMES = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
"""Control tokens that some checkpoints do not mark as special (as collected in llama.cpp, MIT)."""


class Pieces(Record):
    """Tokens by id. `model`, `pre`: tokenizer.ggml.model and .pre; `scores` for SPM, `merges` for BPE."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    space_prefix: bool | None = None
    notes: tuple[str, ...] = ()

    def keys(self) -> dict[str, Value]:
        """As GGUF metadata."""
        found = {
            "model": Value("string", self.model),
            "pre": Value("string", self.pre),
            "tokens": Value("array[string]", self.tokens),
            "token_type": Value("array[i32]", self.types),
        }
        if self.scores is not None:
            found["scores"] = Value("array[f32]", self.scores)
        if self.merges is not None:
            found["merges"] = Value("array[string]", self.merges)
        if self.space_prefix is not None:
            found["add_space_prefix"] = Value("bool", self.space_prefix)
        return {f"tokenizer.ggml.{name}": value for name, value in found.items()}


class Added(Record):
    """A token beside the model's own."""

    id: int
    text: str
    special: bool

    @property
    def type(self) -> int:
        return CONTROL if self.special or looks_special(self.text) else USER_DEFINED

    @property
    def stored(self) -> str:
        """Its text in the file: user-defined tokens are matched in plain text, where spaces are spaces."""
        return self.text if self.type == CONTROL else self.text.replace(SPACE, " ")


def looks_special(text: str) -> bool:
    return text in SPECIAL_LOOKS or any(text.startswith(a) and text.endswith(b) for a, b in SPECIAL_FRAMES)


def added(settings: dict[str, Any], data: dict[str, Any] | None) -> list[Added]:
    """Added tokens by tokenizer.json and by `added_tokens_decoder` of tokenizer_config.json, which wins, by id."""
    listed: dict[int, Added] = {}
    for entry in _listed((data or {}).get("added_tokens", []), "tokenizer.json: added_tokens"):
        _put(listed, entry.get("id"), entry, "tokenizer.json: added_tokens")
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise TokenizerError("tokenizer_config.json: added_tokens_decoder is no JSON object")
    configured: dict[int, Added] = {}
    for key, entry in decoder.items():
        number = int(key) if key.isdecimal() and len(key) < 10 else None
        _put(configured, number, entry, "tokenizer_config.json: added_tokens_decoder")
    found = listed | configured
    return [found[i] for i in sorted(found)]


def replaced(tokens: Iterable[Added], before: Mapping[int, str], where: str) -> tuple[str, ...]:
    """The note on tokens of `before` (id -> text), by the file `where`, that added ones take the place of."""
    lost = [(a.id, before[a.id], a.text) for a in tokens if before.get(a.id, a.text) != a.text]
    if not lost:
        return ()
    token, old, new = lost[0]
    more = f", and {len(lost) - 1} more alike" if len(lost) > 1 else ""
    return (f"token {token} of {where}, {shown(old, 60)!r}, gives way to the added token {shown(new, 60)!r}{more}",)


def _listed(value: object, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise TokenizerError(f"{where}: expected an array of objects")
    yield from value


def _put(found: dict[int, Added], token: object, entry: object, where: str) -> None:
    text = entry.get("content") if isinstance(entry, dict) else None
    if type(token) is not int or not 0 <= token < MAX_TOKENS or not isinstance(text, str):
        raise TokenizerError(f"{where}: {shown(entry, 80)} with id {shown(token, 20)}; expected an id and a content")
    assert isinstance(entry, dict)
    if token in found:
        one_id(found[token].text, text, token, where)
    found[token] = Added(token, text, entry.get("special") is True)


def one_id(first: str, second: str, token: int, where: str) -> None:
    """Raises TokenizerError where two tokens have one id: only one of them could be kept."""
    if first != second:
        names = f"{shown(first, 60)!r} and {shown(second, 60)!r}"
        raise TokenizerError(f"{where}: tokens {names} have one id, {token}; expected an id for each")


def table(data: dict[str, Any]) -> dict[int, str]:
    """Id -> token of a tokenizer.json's BPE model. TokenizerError where two tokens have one id."""
    model = data.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        kind = shown(model.get("type"), 40) if isinstance(model, dict) else "none"
        raise TokenizerError(f"tokenizer.json: model {kind}; expected BPE with a vocab")
    out: dict[int, str] = {}
    for text, token in model["vocab"].items():
        if type(token) is not int or not 0 <= token < MAX_TOKENS:
            raise TokenizerError(f"tokenizer.json: token {shown(text, 60)!r} has id {shown(token, 20)}")
        one_id(out.setdefault(token, text), text, token, "tokenizer.json")
    return out


def texts(data: dict[str, Any]) -> dict[int, str]:
    """The same with its added tokens, which mostly are in the model too."""
    out = table(data)
    for entry in added({}, data):
        one_id(out.setdefault(entry.id, entry.text), entry.text, entry.id, "tokenizer.json")
    return out


def too_many(ids: set[int], n_vocab: int) -> tuple[str, ...]:
    """The note on tokens that the embedding has no row for."""
    beyond = sum(i >= n_vocab for i in ids)
    return (f"{beyond} tokens have ids beyond the {n_vocab} rows of the embedding; left out",) if beyond else ()


def padding(token: int) -> tuple[str, int]:
    """Text and type of an id without a token."""
    return f"[PAD{token}]", UNUSED


def pairs(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges of a tokenizer.json, in order, in either of its forms."""
    merges = data["model"].get("merges")
    if not isinstance(merges, list):
        raise TokenizerError("tokenizer.json: the model has no merges")
    out = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise TokenizerError(f"tokenizer.json: merge {shown(merge, 60)!r}; expected two pieces")
        out.append((parts[0], parts[1]))
    return out
