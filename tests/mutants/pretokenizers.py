"""Mutants of the table of pre-tokenizers, made from the table itself: every row loses one alternative of one pattern,
one stage, or one flag at a time. A new row so brings its own mutants."""

from __future__ import annotations

from collections.abc import Iterator

from edgeq.tokenizer.pretokenizers import PRETOKENIZERS, PreTokenizer
from tests.mutants.mutant import END, Mutant

FILE = "edgeq/tokenizer/pretokenizers.py"
FILES = " ".join(f"tests/tokenizer/test_{n}.py" for n in ("bpe_goldens", "bpe", "pretokenizers", "pretokenizer_flags"))
GROUP = "tokenizers: pre-tokenizers"
FLAGS = [name for name in PreTokenizer.fields if name not in ("stages", "cut")]
# What no pattern matches is a word of its own. So an alternative changes nothing where what it matches would be left
# over alone, or where an earlier stage has cut it out already:
_RESTS = {r"\s+", r"\s"}
_NUMBERS = {r" ?[\p{N}]+", r"[\p{N}]+", r"[\p{N}]{1,3}"}  # behind a stage that makes numbers words of their own
_NUMBERS_CUT = ("default", "minicpm5", "starcoder", "command-r", "chameleon", "tiny_aya")
_CONTRACTIONS = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}  # behind a stage that cuts out punctuation
_PUNCTUATION_CUT = ("default", "falcon", "chameleon")
_SAME = {
    ("chameleon", "<sentinel:[0-9]+>"),  # cut into signs, letters and digits by later stages
    *((name, part) for name in ("laguna", "gemma4", "mmbert", "sarvam-moe") for part in (r"[^\n]+", r"[\n]+")),
}


def changes_nothing(name: str, part: str) -> bool:
    """Whether a row without this alternative cuts every text the same way."""
    return (part in _RESTS or (part in _NUMBERS and name in _NUMBERS_CUT)
            or (part in _CONTRACTIONS and name in _PUNCTUATION_CUT) or (name, part) in _SAME)  # fmt: skip


def alternatives(pattern: str) -> list[str]:
    """The pattern cut at the bars that stand outside of brackets."""
    parts, depth, at = [""], 0, 0
    inside = False
    while at < len(pattern):
        token = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        at += len(token)
        if inside:
            inside = token != "]"
        elif token == "[":
            inside = True
        else:
            depth += {"(": 1, ")": -1}.get(token, 0)
        if token == "|" and depth == 0 and not inside:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def rows() -> dict[PreTokenizer, str]:
    """Every distinct row, and the first name that has it."""
    out: dict[PreTokenizer, str] = {}
    for name, row in PRETOKENIZERS.items():
        out.setdefault(row, name)
    return out


def changed(row: PreTokenizer, name: str) -> Iterator[tuple[str, str]]:
    """What is left out of a row, and the expression that makes such a row from it."""
    for i, stage in enumerate(row.stages):
        if stage.rule:
            other = "thousands" if stage.rule == "after_thousands" else "after_thousands"
            yield f"stage {i}: the other rule", _with(row, i, f"Stage('', rule={other!r})")
            continue
        parts = alternatives(stage.pattern)
        for part in dict.fromkeys(parts if len(parts) > 1 else ()):
            left = "|".join(p for p in parts if p != part)
            if not changes_nothing(name, part):
                yield f"stage {i}: without {part}", _with(row, i, f"Stage({left!r}, literal={stage.literal})")
        if len(parts) == 1 and len(row.stages) > 1 and not changes_nothing(name, stage.pattern):
            yield f"stage {i} left out", _with(row, i, None)
        if len(parts) == 1 and len(row.stages) == 1:
            single = f"Stage({stage.pattern.removesuffix('+')!r}, literal={stage.literal})"
            yield f"stage {i}: single characters", _with(row, i, single)
    for flag in FLAGS:
        if getattr(row, flag) != getattr(PreTokenizer, flag):
            yield f"{flag} as by default", f"ROW.replace({flag}={getattr(PreTokenizer, flag)!r})"


def _with(row: PreTokenizer, index: int, stage: str | None) -> str:
    kept = [f"ROW.stages[{i}]" if i != index else stage for i in range(len(row.stages))]
    return f"ROW.replace(stages=({', '.join(s for s in kept if s)},))"


def mutants() -> Iterator[Mutant]:
    for row, name in rows().items():
        tests = (f"{FILES} -k '{name} or flags'",)
        for breaks, expression in changed(row, name):
            new = f"ROW = PRETOKENIZERS[{name!r}]\nPRETOKENIZERS[{name!r}] = {expression}"
            yield Mutant(GROUP, FILE, END, "", new, f"{name}, {breaks}", tests)


MUTANTS = list(mutants())
