"""Tokens that are more than text: which end a generation, which are matched whole, and how text
splits at them.

The names are those of the published vocabularies, as collected in llama.cpp (MIT). GGUF files mark
most of these tokens by type or id; the names serve files that do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from edgeq.tokenizer.bytes_text import piece_bytes

UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(7)
"""Token types as `tokenizer.ggml.token_type` counts them."""

ROLE_NAMES: dict[str, tuple[str, ...]] = {
    "eot": (
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
        "<EOT>", "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ),
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
        "<|code_prefix|>", "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
        "<|code_suffix|>", "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
        "<|code_middle|>", "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}  # fmt: skip
"""Texts that play a role when the file names no id for it; the first one present wins."""

END_NAMES = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip
"""Texts that end a generation wherever they are tokens."""

SHOWN_NAMES = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
"""Control tokens that are part of the visible text (gpt-oss)."""


def resolve_roles(
    ids: Mapping[str, int], types: bytearray, roles: dict[str, int | None]
) -> frozenset[int]:
    """Fill missing `roles` by name, correct `types` in place, and return the tokens that end a
    generation."""
    for role, names in ROLE_NAMES.items():
        if roles.get(role) is None:
            roles[role] = next((ids[name] for name in names if name in ids), None)
            if (found := roles[role]) is not None:
                types[found] = CONTROL
    ends = {roles[role] for role in ("fim_pad", "fim_rep", "fim_sep", "eos", "eot", "eom")}
    named = {name: ids[name] for name in END_NAMES if name in ids}
    for token in named.values():
        types[token] = CONTROL
    ends.update(named.values())
    for name in SHOWN_NAMES:
        if name in ids:
            types[ids[name]] = USER_DEFINED
    for name, as_type in _not_an_end(named):
        ends.discard(named[name])
        types[named[name]] = as_type
    return frozenset(token for token in ends if token is not None)


def _not_an_end(named: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Names that are ends elsewhere but not in this vocabulary, with their true type."""
    called = "<|call|>" in named or "<|calls|>" in named
    if "<|end|>" in named and called and ("<|return|>" in named or "<|flush|>" in named):
        yield "<|end|>", USER_DEFINED  # harmony, solar-open: ends a message, not the answer
    if "</s>" in named and "<|tool_response>" in named:
        yield "</s>", NORMAL  # gemma 4


def stripping(
    metadata: Mapping[str, object], ids: Mapping[str, int], specials: Sequence[int]
) -> tuple[set[int], set[int]]:
    """Special tokens that swallow the white space before (first set) or after (second set) them.

    GGUF has no field for this; as in llama.cpp it is known by model.
    """
    pre, arch, name = (
        str(metadata.get(key) or "")
        for key in ("tokenizer.ggml.pre", "general.architecture", "general.name")
    )
    if any(s in pre for s in ("jina-v2-de", "jina-v2-es", "jina-v2-code", "mmbert")) or any(
        s in arch for s in ("nomic-bert-moe", "jina-bert-v3")
    ):
        return {ids[t] for t in ("<mask>",) if t in ids}, set()
    if any(s in name.lower() for s in ("phi-3", "phi3")):
        kept = {ids[t] for t in ("<unk>", "<s>", "<|endoftext|>") if t in ids}
        return set(), {*specials, *(ids[t] for t in ("</s>",) if t in ids)} - kept
    if "modern-bert" in name.lower():
        return {ids[t] for t in ("[MASK]",) if t in ids}, set()
    return set(), set()


_SPACE = b" \t\n\v\f\r"
_SPACES = re.compile(b"[ \t\n\v\f\r]*")
_PREFIX = 4
_LONG = 64  # bytes of a token; longer ones would be cut out at every place that begins alike


class SpecialTokens:
    """Splits text at the tokens that are matched whole, longest first, each from left to right."""

    def __init__(
        self,
        pieces: Sequence[str],
        types: bytes,
        metadata: Mapping[str, object],
        ids: Mapping[str, int],
    ):
        marked = [
            match.start()
            for match in re.finditer(b"[%c%c%c]" % (UNKNOWN, CONTROL, USER_DEFINED), types)
        ]
        found = [(i, types[i], piece_bytes(pieces[i])) for i in marked if ids.get(pieces[i]) == i]
        found.sort(key=lambda row: -len(row[2]))
        self._rank = {text: (rank, token, kind) for rank, (token, kind, text) in enumerate(found)}
        self._before, self._after = stripping(metadata, ids, [row[0] for row in found])
        self._groups: dict[bytes, set[int]] = {}  # the first bytes of the tokens -> their lengths
        for text in self._rank:
            if len(text) <= _LONG:
                self._groups.setdefault(text[:_PREFIX], set()).add(len(text))
        self._long = [text for text in self._rank if len(text) > _LONG]

    def split(self, data: bytes, parse_special: bool) -> list[int | bytes]:
        """`data` as token ids and the text between them; without `parse_special` only user-defined
        tokens count."""
        if not data:
            return []
        parts: list[int | bytes] = [data]
        for _, token, kind, text in sorted(
            (*self._rank[text], text) for text in self._present(data)
        ):
            if parse_special or kind == USER_DEFINED:
                cut = (self._cut(part, token, text) for part in parts)
                parts = [piece for pieces in cut for piece in pieces]
        return parts

    def _cut(self, part: int | bytes, token: int, text: bytes) -> list[int | bytes]:
        if isinstance(part, int):
            return [part]
        out: list[int | bytes] = []
        start = 0
        while (at := part.find(text, start)) >= 0:
            left = part[start:at].rstrip(_SPACE) if token in self._before else part[start:at]
            out += [left, token] if left else [token]
            start = at + len(text)
            if token in self._after:
                start = _SPACES.match(part, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        if start < len(part):
            out.append(part[start:])
        return out

    def _present(self, data: bytes) -> set[bytes]:
        """The special texts that occur in `data`: a cheap search for first bytes, then one look at
        each place; long ones as they are."""
        present = {text for text in self._long if text in data}
        for prefix, lengths in self._groups.items():
            at = data.find(prefix)
            missing = sorted(lengths)
            while at >= 0 and missing:
                for n in missing:
                    text = data[at : at + n]
                    if text in self._rank:
                        present.add(text)
                at = data.find(prefix, at + 1)
        return present
