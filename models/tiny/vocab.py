"""Small working vocabularies for the tiny models: byte-level BPE and SPM, trained on a few sentences below.

Deterministic: the same sizes always give the same vocabulary. Nothing here is taken from a real model; the
special tokens have the texts that real families use, so that their roles are recognised.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

CORPUS = """
The quick brown fox jumps over the lazy dog, and the dog does not mind at all. There are other
things that the fox could do in the morning: read a book, write a letter, or wait for the rain to
stop. This is the text from which the tiny vocabularies learn their first merges. Der Fuchs und der
Hund sind die besten Freunde in der Stadt. Le renard et le chien sont dans la maison avec les
enfants. El zorro y el perro son amigos de la casa. for i in range(10): print(i) return self.value
if value is not None else default. The rest of the text is there so that the and and the in and the
on and the at are seen more than once or twice by the trainer.
"""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # token types as GGUF numbers them

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """What the tokenizer keys of a GGUF file hold."""

    model: str  # "gpt2" or "llama", as tokenizer.ggml.model
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)  # role ("bos") -> id
    flags: dict[str, bool] = field(default_factory=dict)  # "add_bos_token" -> value
    chat_template: str | None = None


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself if printable Latin-1, else the next from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _train(words: Counter[tuple[str, ...]], merges: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: the most frequent adjacent pair, again and again; ties go to the smaller pair."""
    learned: list[tuple[str, str]] = []
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learned.append(best)
        words = Counter({_merged(word, best): count for word, count in words.items()})
    return learned


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    at = 0
    while at < len(word):
        joined = word[at : at + 2] == pair
        out.append("".join(pair) if joined else word[at])
        at += 2 if joined else 1
    return tuple(out)


def bpe(size: int, pre: str, bos: bool) -> Vocabulary:
    """`size` tokens: 256 bytes, merges, then the specials: Llama 3's with `bos`, else Qwen's."""
    letters = byte_letters()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    specials += ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"] if bos else []
    words = Counter(tuple(letters[byte] for byte in (" " + word).encode()) for word in CORPUS.split())
    merges = _train(words, size - 256 - len(specials))
    tokens = sorted(letters) + [left + right for left, right in merges] + specials
    types = [NORMAL] * (size - len(specials)) + [CONTROL] * len(specials)
    names = (
        {"eos": "<|eot_id|>", "bos": "<|begin_of_text|>"}
        if bos
        else {"eos": "<|im_end|>", "bos": "<|endoftext|>"}
    )
    ids = {role: tokens.index(text) for role, text in {**names, "padding": "<|endoftext|>"}.items()}
    return Vocabulary(
        "gpt2", pre, tokens, types, merges=[f"{left} {right}" for left, right in merges], ids=ids,
        flags={} if bos else {"add_bos_token": False}, chat_template=CHATML,
    )  # fmt: skip


def spm(size: int, gemma: bool) -> Vocabulary:
    """`size` tokens: the specials, 256 byte tokens, single characters, then merges; scores fall with rank."""
    specials = (
        {"<pad>": CONTROL, "<eos>": CONTROL, "<bos>": CONTROL, "<unk>": UNKNOWN, "<start_of_turn>": CONTROL,
         "<end_of_turn>": CONTROL, "\n\n": USER_DEFINED}
        if gemma
        else {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    )  # fmt: skip
    words = Counter(tuple("▁" + word) for word in CORPUS.split())
    characters = sorted({character for word in words for character in word})
    merges = _train(words, size - len(specials) - 256 - len(characters))
    pieces = [left + right for left, right in merges] + characters
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    roles = {"bos": "<bos>", "eos": "<eos>", "unknown": "<unk>", "padding": "<pad>"} if gemma else {
        "bos": "<s>", "eos": "</s>", "unknown": "<unk>"}  # fmt: skip
    flags = {"add_bos_token": True, "add_eos_token": False}
    return Vocabulary(
        "llama", "default", tokens, [*specials.values(), *[BYTE] * 256, *[NORMAL] * len(pieces)],
        scores=[0.0] * (len(specials) + 256) + [-float(rank) for rank in range(len(pieces))],
        ids={role: tokens.index(text) for role, text in roles.items()},
        flags={**flags, "add_space_prefix": False} if gemma else flags,
    )  # fmt: skip
