"""What must have a mutant, computed from the registries and the sources: a newcomer without one is found here.

A place is (file, function); a place has a mutant if one lies in that function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from tests.mutants.mutant import END, ROOT, Mutant
from tests.mutants.pretokenizers import FILE as PRE
from tests.mutants.pretokenizers import changed, rows
from tests.mutants.spans import spans

Place = tuple[str, str]
# Functions that cannot be wrong in a way of their own: the file, the function, and why.
WITHOUT: dict[Place, str] = {
    **{("native/kernels/linear.inc.h", f): "only says what is asked for ahead of use" for f in ("eq_ahead", "eq_ask")},
    **{("native/kernels/attend.inc.h", f): "likewise" for f in ("kv_ask", "kv_bits")},
    ("native/quant/half.h", "eq_float_bits"): "copies bits",
    ("native/quant/half.h", "eq_bits_float"): "copies bits",
    ("native/kernels/dots.inc.h", "i_load"): "must be there, but is not reached: sums start at zero",
    **{("native/kernels/dots.inc.h", f): "likewise: weights are bytes there" for f in ("w_store", "x_words")},
    **{("native/simd/amx.h", f"t_{f}"): "tests without tiles have their own" for f in ("begin", "end", "written")},
}


@cache
def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def functions(file: str) -> list[str]:
    return list(spans(file, text(file)))


def covered(mutants: Iterable[Mutant]) -> set[Place]:
    """Every place that a mutant lies in."""
    out: set[Place] = set()
    for m in mutants:
        if m.place != END:
            found = spans(m.file, text(m.file))
            at = text(m.file).find(m.old, found[m.place][0] if m.place else 0)
            out |= {(m.file, name) for name, (start, end) in found.items() if start <= at < end}
    return out


def wanted() -> Iterator[Place]:
    """All places that must have a mutant."""
    yield from of_ops()
    yield from of_formats()
    yield from of_kernels()
    yield from of_tokenizers()
    yield from of_speculation()


def of_ops() -> Iterator[Place]:
    """Every op in the reference, among the native stages and in numba; every pass."""
    from edgeq.backends.reference import RUN
    from edgeq.ops import OPS

    source = text("native/stages.c")
    dispatch = "".join(source[slice(*spans("native/stages.c", source)[f])] for f in ("row_by_row", "eq_run_stage"))
    stages = set(functions("native/stages.c"))
    for op in OPS:
        assert op in RUN
        yield "edgeq/backends/reference.py", f"RUN[ops.{op.__name__}]"
        yield "edgeq/backends/numba_plan.py", f"MAKE[ops.{op.__name__}]"
        case = re.search(rf"case EQ_OP_{op.word.upper()}:(.*)", dispatch)
        assert case is not None
        for name in set(re.findall(r"\w+", case[1])) & stages:
            yield "native/stages.c", name
    for name in ("_qkv", "_head", "_gate_up", "_linear_add", "_norm_add", "fuse"):
        yield "edgeq/passes/fuse.py", name
    yield from (("edgeq/passes/split.py", name) for name in ("split", "_part"))
    yield "edgeq/passes/place.py", "place"
    yield from (("edgeq/passes/tap.py", name) for name in ("tap", "_needed"))


def of_formats() -> Iterator[Place]:
    """Every format in the table, its NumPy definition, its C definition, and its numba kernel; formats of the cache."""
    from edgeq.quants import FORMATS
    from edgeq.quants.decode import _PARTS, _PLAIN

    for name, fmt in FORMATS.items():
        if name in _PARTS:
            module = _PARTS[name].__module__.replace(".", "/")
            yield f"{module}.py", _PARTS[name].__name__
        elif name in _PLAIN:
            yield "edgeq/quants/decode.py", f"_PLAIN['{name}']"
        else:
            yield "edgeq/quants/decode.py", "_values"
        if fmt.linear:
            file = "edgeq/backends/numba_unpack.py"  # read, not imported: numba may not be here
            start, end = spans(file, text(file))[f"KERNELS['{name}']"]
            yield file, text(file)[start:end]
    for file in ("legacy", "kquants", "iquants", "ternary", "fp4"):
        yield from ((f"native/quant/{file}.c", f) for f in functions(f"native/quant/{file}.c"))
    for file in ("half.h", "group.h"):
        yield from ((f"native/quant/{file}", f) for f in functions(f"native/quant/{file}"))


def of_kernels() -> Iterator[Place]:
    """Every function of the kernels and of every vocabulary; the kernels, attention and vector verbs of numba."""
    for folder in ("native/kernels", "native/simd"):
        for path in sorted((ROOT / folder).glob("*.h")):
            file = path.relative_to(ROOT).as_posix()
            yield from ((file, f) for f in functions(file) if f != "EQ_MAP")
    yield from (("native/isa/common.h", f) for f in ("eq_finite", "u32", "u64"))
    yield ("native/stages.c", "round_from")
    for file in ("kernels", "linear", "panel", "attend", "kv", "cache"):
        module = f"edgeq/backends/numba_{file}.py"
        yield from ((module, f) for f in functions(module) if f.islower())


def of_tokenizers() -> Iterator[Place]:
    """The class of every kind, and what splits, merges, normalises, streams and renders."""
    from edgeq.tokenizer.base import KINDS

    for module, name in KINDS.values():
        yield from ((f"edgeq/tokenizer/{module}.py", f"{name}.{m}") for m in ("_defaults", "_encode_text")
                    if f"{name}.{m}" in functions(f"edgeq/tokenizer/{module}.py"))  # fmt: skip
    for file, names in {
        "merges": ("Merger.plain", "Merger._build"),
        "splitter": ("_cuts", "_thousands", "_after_thousands", "_short_spaces"),
        "special": ("SpecialTokens.split", "SpecialTokens._cut", "resolve_roles", "stripping"),
        "charsmap": ("Charsmap.longest", "Normalizer._step", "Normalizer._kept_prefix"),
        "bytes_text": ("as_bytes", "_respell", "_byte_alphabet", "unspell_bytes"),
        "stream": ("TextStream.feed", "TextStream.flush"), "base": ("Tokenizer.encode", "Tokenizer.token_bytes"),
        "chat_encode": ("encode_segments", "_cut", "_plain", "_spelled"),
    }.items():  # fmt: skip
        yield from ((f"edgeq/tokenizer/{file}.py", name) for name in names)


def of_speculation() -> Iterator[Place]:
    """Every function that drafts or decides about drafts, and what a session has for them."""
    for name in ("__init__", "pays", "lookup", "draft"):
        file = f"edgeq/speculation/{name}.py"
        yield from ((file, f) for f in functions(file) if f"def {f.rpartition('.')[2]}(" in text(file)
                    and not f.startswith("Drafter.") and f != "Lookup.judge")  # fmt: skip
    yield from (("edgeq/session.py", f"Session.{name}") for name in ("append_row", "foreseen", "_mark"))


def lacking(mutants: Iterable[Mutant]) -> list[str]:
    """Places, and rows of the table of pre-tokenizers, without a mutant."""
    mutants = list(mutants)
    has = covered(mutants)
    out = [f"{file}: {place}" for file, place in dict.fromkeys(wanted()) if (file, place) not in has | set(WITHOUT)]
    texts = "\n".join(m.breaks for m in mutants if m.file == PRE)
    bare = (name for row, name in rows().items() if list(changed(row, name)) and f"{name}, " not in texts)
    return out + [f"{PRE}: {name}" for name in bare]
