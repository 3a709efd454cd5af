"""What every kind of tokenizer shares: token table, special ids, splitting at special tokens, decoding.

A kind (spm, bpe, wpm, ugm) subclasses `Tokenizer` in its own file and adds how plain text becomes
ids. The rules and defaults are llama.cpp's, so that ids are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from edgeq.errors import TokenizerError, shown
from edgeq.tokenizer.bytes_text import as_bytes, piece_bytes
from edgeq.tokenizer.fields import (
    ROLE_KEYS,
    Metadata,
    bool_value,
    first_ranks,
    read_roles,
    read_types,
    string_list,
    text_value,
)
from edgeq.tokenizer.special import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    SpecialTokens,
    resolve_roles,
)

if TYPE_CHECKING:
    from edgeq.tokenizer.stream import TextStream

KINDS = {
    "llama": ("spm", "SPMTokenizer"),
    "gpt2": ("bpe", "BPETokenizer"),
    "gemma4": ("bpe", "BPETokenizer"),
    "bert": ("wpm", "WPMTokenizer"),
    "t5": ("ugm", "UGMTokenizer"),
}
"""`tokenizer.ggml.model` -> the module of this package and the class that reads it."""

T = TypeVar("T", str, bytes)
TOKENS = "tokenizer.ggml.tokens"
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


def from_gguf(source: Any) -> Tokenizer:
    """The tokenizer of a GGUF file or of its metadata. Raises TokenizerError where none can be built."""
    metadata: Metadata = getattr(source, "metadata", source)
    model = text_value(metadata, "tokenizer.ggml.model")
    if model is None:
        raise TokenizerError(
            "tokenizer.ggml.model: missing, so the file has no vocabulary to read text with"
        )
    if model not in KINDS:
        known = ", ".join(KINDS)
        raise TokenizerError(
            f"tokenizer.ggml.model: '{shown(model)}' is unknown; known are {known}"
        )
    module, name = KINDS[model]
    tokenizer: Tokenizer = getattr(import_module(f"edgeq.tokenizer.{module}"), name)(metadata)
    return tokenizer


class Tokenizer:
    """Text to token ids and back. Immutable after construction, safe to share between threads.

    A kind writes `_encode_text` and `_piece_bytes`, overrides `_defaults`, reads what only it needs
    in `_load`, and may override `_frame`. `ids` maps a piece to its id; where two tokens have one
    text the first wins.
    """

    kind: ClassVar[str]

    def __init__(self, metadata: Metadata):
        self.metadata = metadata
        self.warnings: list[str] = []
        self.pieces, self.ids = self._table()
        roles, flags = self._defaults()
        read_roles(metadata, self.n_vocab, roles, self.warnings)
        types = read_types(metadata, self.n_vocab)
        self.end_ids = resolve_roles(self.ids, types, roles)
        self.types = bytes(types)
        self.roles: Mapping[str, int | None] = roles
        self.bos_id, self.eos_id = roles["bos"], roles["eos"]
        self.eot_id, self.eom_id = roles["eot"], roles["eom"]
        self.unk_id, self.sep_id = roles["unk"], roles["sep"]
        self.pad_id, self.mask_id = roles["pad"], roles["mask"]
        self.add_bos = bool_value(metadata, "tokenizer.ggml.add_bos_token", flags["add_bos"])
        self.add_eos = bool_value(metadata, "tokenizer.ggml.add_eos_token", flags["add_eos"])
        self.add_sep = bool_value(metadata, "tokenizer.ggml.add_sep_token", flags["add_sep"])
        space = flags["add_space_prefix"]
        self.add_space_prefix = bool_value(metadata, "tokenizer.ggml.add_space_prefix", space)
        self.clean_spaces = flags["clean_spaces"]
        self.chat_template: Any = metadata.get("tokenizer.chat_template")  # checked when a chat is rendered
        self.specials = SpecialTokens(self.pieces, self.types, metadata, self.ids)
        self._check_byte_tokens()
        self._load()
        self._before, self._after = self._frame()

    # What a kind provides

    def _encode_text(self, data: bytes, after_special: bool) -> list[int]:
        """Ids of plain text, UTF-8 or not, never empty; `after_special`: at the start or right
        after a special token."""
        raise NotImplementedError

    def _piece_bytes(self, piece: str) -> bytes:
        """What a normal token writes."""
        raise NotImplementedError

    def _defaults(self) -> tuple[dict[str, int | None], dict[str, bool]]:
        """Role -> id, and flags, as they are before the file has its say; a kind fills in its own."""
        flags = ("add_bos", "add_eos", "add_sep", "add_space_prefix", "clean_spaces")
        return dict.fromkeys(ROLE_KEYS), dict.fromkeys(flags, False)

    def _load(self) -> None:
        """Read what only this kind needs from `self.metadata`."""

    def _frame(self) -> tuple[list[int], list[int]]:
        """Ids put before and after a text when special tokens are added."""
        return self._role_if(self.add_bos, "bos"), self._role_if(self.add_eos, "eos")

    # What everyone uses

    @property
    def n_vocab(self) -> int:
        """Number of tokens."""
        return len(self.pieces)

    def encode(
        self, text: str | bytes, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of `text`.

        add_special: put the ids in front and behind that the file asks for (bos, eos).
        parse_special: text that spells a control token becomes that token; leave it off for what a
        user wrote.
        """
        out = list(self._before) if add_special else []
        after_special = True
        for part in self.specials.split(as_bytes(text), parse_special):
            if isinstance(part, int):
                out.append(part)
            else:
                out += self._encode_text(part, after_special)
            after_special = isinstance(part, int)
        return out + self._after if add_special else out

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD. special: spell out control tokens."""
        return b"".join([self.token_bytes(i, special) for i in ids]).decode("utf-8", "replace")

    def token_bytes(self, token: int, special: bool = False) -> bytes:
        """What the token writes: nothing for a control token, unless `special`."""
        if not 0 <= token < self.n_vocab:
            raise TokenizerError(
                f"token id {token}: this vocabulary has ids 0 to {self.n_vocab - 1}"
            )
        kind, piece = self.types[token], self.pieces[token]
        if kind == NORMAL:
            return self._piece_bytes(piece)
        if kind == BYTE:
            return bytes([int(piece[3:5], 16)])
        if kind == USER_DEFINED or (special and kind in (CONTROL, UNKNOWN)):
            return piece_bytes(piece)
        return b""

    def tidied(self, text: str) -> str:
        """Decoded `text` as the vocabulary's own detokenizer leaves it: without the space before
        punctuation and contractions where `clean_spaces` says so. Decoding itself never drops a
        character."""
        if not self.clean_spaces:
            return text
        text = re.sub(" (?=[?!.,])", "", text)
        return re.sub(" (?='(?:[sm]|re|ve))", "", text.replace(" ' ", "'"))

    def stream(self, at_start: bool = True, special: bool = False) -> TextStream:
        """A fresh decoder for tokens that come one at a time, which never gives half a character.

        at_start: the tokens begin a text rather than continue one. special: spell out control
        tokens too.
        """
        from edgeq.tokenizer.stream import TextStream

        return TextStream(self, at_start, special)

    # Construction

    def _table(self) -> tuple[Sequence[str], Mapping[str, int]]:
        """The pieces, and the id of each."""
        pieces = string_list(self.metadata, TOKENS) or []
        return pieces, self._index(pieces)

    def _index(self, pieces: list[T]) -> dict[T, int]:
        """Piece -> id, for pieces as str or as bytes. An empty piece has none, nor has NUL, which
        llama.cpp reads as the end of a text."""
        if not pieces:
            raise TokenizerError(f"{TOKENS}: missing or empty, so the file has no vocabulary")
        ids = dict(zip(pieces, range(len(pieces)), strict=True))
        if (n := len(pieces) - len(ids)) > 0:
            ids = first_ranks(pieces)
            self.warnings.append(
                f"{TOKENS}: {n} tokens repeat the text of an earlier one, which wins"
            )
        empty = pieces[0][:0]
        ids.pop(empty, None)
        ids.pop("\0" if isinstance(empty, str) else b"\0", None)
        return ids

    def _check_byte_tokens(self) -> None:
        token = -1
        while (token := self.types.find(BYTE, token + 1)) >= 0:
            if not _BYTE_PIECE.fullmatch(self.pieces[token]):
                found = shown(self.pieces[token], 40)
                raise TokenizerError(
                    f"token {token}: a byte token reads <0x00> to <0xFF>, found {found!r}"
                )

    def _role_if(self, wanted: bool, role: str) -> list[int]:
        token = self.roles[role]
        if wanted and token is None:
            self.warnings.append(
                f"{role} should be added to every text, but there is no such token; left out"
            )
        return [token] if wanted and token is not None else []
