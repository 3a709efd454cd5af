"""What becomes of each tensor: its format, why, and what that is in bytes. Nothing is read but headers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError, shown
from edgeq.quantize.mixes import ALIASES, COPY, FALLBACK, MIXES, Mix
from edgeq.quantize.roles import CONDITIONS, COUNTED, Facts, Place, kept, layer_of, role_of
from edgeq.quants import Format, by_name
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import Tensor, TensorInfo

FLOATS = ("F32", "F16", "BF16")
NAMED = 3  # patterns in a note; the others are counted
OUTPUT, EMBEDDING, KEEP_OUTPUT = "--output-type", "--embedding-type", "--leave-output-tensor"  # in messages
_INTEGERS = ("I8", "I16", "I32", "I64")


class Options(Record):
    """How to depart from a mix. `overrides`: pairs of a pattern (searched in the name, in any case) and a format, the
    first that fits counts; `output`, `embedding`: formats of these matrices; `pure`: the mix's format for all matrices;
    `keep_output`: the output matrix stays as it is, whose format then cannot be given."""

    overrides: tuple[tuple[str, str], ...] = ()
    output: str | None = None
    embedding: str | None = None
    pure: bool = False
    keep_output: bool = False


class Choice(Record):
    """A tensor's fate. `why` it is not what the mix says for its role, or empty; `fallback`: the format that its rows
    do not fit; `low`: of so few bits that it needs importances; `asked`: the override that decided it, or the option
    alone, if one did."""

    name: str
    shape: tuple[int, ...]
    source: Format
    target: Format
    source_bytes: int
    target_bytes: int
    why: str = ""
    fallback: str = ""
    low: bool = False
    asked: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return self.source.name != self.target.name


def mix_named(name: str) -> tuple[str, Mix]:
    """The mix of this name, in any case, or of its number in llama.cpp; UsageError if there is none."""
    upper = name.upper().replace("-", "_")
    upper = ALIASES.get(upper, upper)
    if name.isascii() and name.isdecimal():
        numbers = {str(mix.file_type): known for known, mix in MIXES.items()}
        if name not in numbers:
            known = ", ".join(f"{n} ({k})" for n, k in sorted(numbers.items(), key=lambda row: int(row[0])))
            raise UsageError(f"type {shown(name, 40)}: no mix has this number; expected one of {known}")
        upper = numbers[name]
    if upper not in MIXES:
        raise UsageError(f"type {shown(name)}: expected one of {', '.join(MIXES)}")
    return upper, MIXES[upper]


def mix_or_copy(name: str) -> tuple[str, Mix]:
    """The same for what makes a GGUF file of another: COPY takes every tensor as it is."""
    return ("COPY", COPY) if name.upper() == "COPY" else mix_named(name)


def check_recipe(recipe: str) -> None:
    """UsageError if there is no such recipe. The recipe of llama.cpp is the one there is."""
    if recipe != "llama.cpp":
        raise UsageError(f"recipe {shown(recipe)}: expected llama.cpp")


def make_plan(
    tensors: Iterable[Tensor | TensorInfo], metadata: Mapping[str, Any], mix: Mix, options: Options | None = None,
    imatrix: bool = False,
) -> list[Choice]:  # fmt: skip
    """A choice for every tensor, in their order; imatrix: there will be importances.

    UsageError for formats or patterns that make no sense, and options that contradict each other."""
    rows = list(tensors)
    names = [t.name for t in rows]
    options = options or Options()
    _check(options)
    facts = Facts.of(metadata, names, imatrix)
    chooser = _Chooser(mix, facts, options, _patterns(options.overrides), "output.weight" not in names)
    # llama.cpp counts tensors in this order
    ordered = sorted(rows, key=lambda t: (layer_of(t.name), t.name.encode()))
    found = {t.name: chooser.choose(t) for t in ordered}
    return [found[name] for name in names]


def _check(options: Options) -> None:
    if options.keep_output and options.output is not None:
        raise UsageError(
            f"{KEEP_OUTPUT} and {OUTPUT}: the one keeps output.weight as it is, the other names its format; give one"
        )
    for option, fmt in _formats(options):
        if not fmt:
            raise UsageError(f"{option}: expected the name of a format, as Q8_0, found ''")
        try:
            writable(fmt)
        except UsageError as e:
            raise UsageError(f"{option}: {e}") from None


def _formats(options: Options) -> list[tuple[str, str]]:
    """The options that name the format of one matrix, with the format."""
    both = ((OUTPUT, options.output), (EMBEDDING, options.embedding))
    return [(option, fmt) for option, fmt in both if fmt is not None]


Override = tuple[re.Pattern[str], Format, tuple[str, str]]  # compiled, and as it was given


def _patterns(overrides: Iterable[tuple[str, str]]) -> list[Override]:
    out = []
    for pattern, fmt in overrides:
        try:
            # llama-quantize makes patterns lower-case, as names are; that would turn \S into \s
            out.append((re.compile(pattern, re.IGNORECASE), writable(fmt), (pattern, fmt)))
        except (re.error, RecursionError, OverflowError) as e:
            raise UsageError(f"tensor type {shown(pattern)}={shown(fmt)}: no regular expression ({e})") from None
    return out


def idle(choices: Iterable[Choice], options: Options) -> list[str]:
    """Notes on overrides and options that decided nothing."""
    rows = list(choices)
    used = {c.asked for c in rows}
    fitting: list[str] = []
    none: list[str] = []
    for pattern, fmt in options.overrides:
        if (pattern, fmt) not in used:
            fits = any(re.search(pattern, c.name, re.IGNORECASE) for c in rows)
            (fitting if fits else none).append(f"{shown(pattern, 60)}={shown(fmt, 20)}")
    out = []
    for what, found in (
        ("fit no tensor", none),
        ("decide nothing, as what they fit stays as it is or is named by something else first", fitting),
    ):
        if found:
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            out.append(f"tensor types that {what}: {', '.join(found[:NAMED])}{more}")
    tied = not any(c.name == "output.weight" for c in rows)
    why = f": the model has no output.weight; {EMBEDDING} is for its token_embd.weight" if tied else ""
    for option, fmt in _formats(options):
        if (option,) not in used:
            out.append(f"{option} {shown(fmt, 20)}: no tensor takes it{why if option == OUTPUT else ''}")
    if options.keep_output and tied:
        out.append(f"{KEEP_OUTPUT}: no tensor takes it{why}")
    return out


def writable(name: str) -> Format:
    """The format of this name, one that edgeq can write."""
    from edgeq.quants.encode import can_encode

    fmt = by_name(name)
    if not can_encode(fmt):
        raise UsageError(f"{fmt.name} is not a format of weights; expected F32, F16, BF16 or a quantized one")
    return fmt


class _Chooser:
    """Goes through the tensors as llama-quantize does, whose rules count what came before."""

    def __init__(
        self, mix: Mix, facts: Facts, options: Options, patterns: list[Override], tied: bool
    ) -> None:
        self._mix, self._facts, self._options, self._patterns, self._tied = mix, facts, options, patterns, tied
        self._seen: Counter[str] = Counter()

    def choose(self, t: Tensor | TensorInfo) -> Choice:
        if self._mix is COPY:
            return self._made(t, t.format, "")
        reason = kept(t.name, t.shape, self._facts.arch)
        role = role_of(t.name)
        if not reason and role == "output" and self._options.keep_output:
            reason = "kept as asked"
        if not reason and t.format.name in _INTEGERS:
            reason = "integers"
        if reason:
            return self._made(t, t.format, reason)
        return self._fitting(t, *self._wanted(t, role))

    def _wanted(self, t: Tensor | TensorInfo, role: str) -> tuple[Format, str, tuple[str, ...]]:
        named = next((row for row in self._patterns if row[0].search(t.name)), None)
        o = self._options
        # the table of embeddings for each layer is a large one of its own: a pattern that names it comes first
        if role == "token_embd" and o.embedding and not (named and t.name != "token_embd.weight"):
            return writable(o.embedding), "embedding format as asked", (EMBEDDING,)
        if role == "output" and o.output:
            return writable(o.output), "output format as asked", (OUTPUT,)
        if named:
            return named[1], "as asked", named[2]
        if self._mix.default in FLOATS or o.pure:
            return by_name(self._mix.default), "", ()
        if role == "output" or (self._tied and role == "token_embd"):
            if o.output:
                return writable(o.output), "output format as asked", (OUTPUT,)
            return self._output(t), "", ()
        return by_name(self._ruled(t, role)), "", ()

    def _output(self, t: Tensor | TensorInfo) -> Format:
        default = by_name(self._mix.default)
        fits = self._mix.output == "Q8_0" or (self._facts.arch != "falcon" and t.shape[-1] % default.block == 0)
        return by_name(self._mix.output if fits else "Q8_0")

    def _ruled(self, t: Tensor | TensorInfo, role: str) -> str:
        facts = self._facts
        before = self._seen[role]
        of = facts.values if role == "attn_v" else facts.layers
        index = before
        if facts.experts > 1 and role.startswith("ffn"):
            index = layer_of(t.name)
        place = Place(index, of, before, len(t.shape) > 2 and t.shape[-3] > 1)
        self._seen[role] += role in COUNTED
        for rule in self._mix.rules:
            if rule.role in (role, "any") and all(CONDITIONS[c](facts, place) for c in rule.when):
                return rule.format
        return self._mix.default

    def _fitting(self, t: Tensor | TensorInfo, fmt: Format, why: str, asked: tuple[str, ...]) -> Choice:
        columns = t.shape[-1]
        if columns % fmt.block == 0:
            return self._made(t, fmt, why, asked=asked)
        near = by_name(FALLBACK.get(fmt.name, "F16"))
        if columns % near.block:
            near = by_name("F16")
        return self._made(t, near, f"rows of {columns} are not whole blocks of {fmt.block}", fmt.name, asked)

    def _made(
        self, t: Tensor | TensorInfo, fmt: Format, why: str, fallback: str = "", asked: tuple[str, ...] = ()
    ) -> Choice:
        low = fmt.name in _LOW or (fmt.name == "Q2_K" and self._mix.low)
        outside = role_of(t.name) in ("output", "token_embd")
        rows = t.nbytes // t.format.row_bytes(t.shape[-1]) if t.shape else 1
        size = rows * fmt.row_bytes(t.shape[-1]) if t.shape else t.nbytes
        return Choice(t.name, t.shape, t.format, fmt, t.nbytes, size, why, fallback, low and not outside, asked)


_LOW = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")


def summary(choices: Iterable[Choice]) -> Mapping[str, int]:
    """Totals: weights, source_bytes, target_bytes, fallbacks."""
    rows = list(choices)
    weights = sum(c.source_bytes // c.source.nbytes * c.source.block for c in rows)
    return {
        "weights": weights,
        "source_bytes": sum(c.source_bytes for c in rows),
        "target_bytes": sum(c.target_bytes for c in rows),
        "fallbacks": sum(bool(c.fallback) for c in rows),
    }
