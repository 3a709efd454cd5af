"""Values as people type them, and as JSON holds them."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import UsageError
from edgeq.gguf import Value
from edgeq.gguf.types import TYPES
from edgeq.gguf.values import from_text, plain, type_name


@pytest.mark.parametrize(
    ("text", "type", "value"),
    [
        ("true", None, Value("bool", True)),
        ("True", None, Value("string", "True")),
        ("7", None, Value("u32", 7)),
        ("-7", None, Value("i32", -7)),
        ("4294967296", None, Value("i64", 1 << 32)),
        ("18446744073709551615", None, Value("u64", (1 << 64) - 1)),
        ("0.5", None, Value("f32", 0.5)),
        ("-1e-5", None, Value("f32", -1e-5)),
        ("[1, 2]", None, Value("array[i32]", [1, 2])),
        ("[1, 2.5]", None, Value("array[f32]", [1, 2.5])),
        ('["a", "ü"]', None, Value("array[string]", ["a", "ü"])),
        ("[true]", None, Value("array[bool]", [True])),
        ("[INST] {{ x }}", None, Value("string", "[INST] {{ x }}")),
        ("007", None, Value("string", "007")),
        ("1e999", None, Value("string", "1e999")),
        ("nan", None, Value("string", "nan")),
        ("", None, Value("string", "")),
        ("٣", None, Value("string", "٣")),  # a digit to int(), not to us
        ("7", "string", Value("string", "7")),
        ("[1]", "str", Value("string", "[1]")),
        ("007", "u8", Value("u8", 7)),
        ("0xff", "uint64", Value("u64", 255)),
        ("+3", "i16", Value("i16", 3)),
        ("FALSE", "bool", Value("bool", False)),
        ("1", "bool", Value("bool", True)),
        ("inf", "f64", Value("f64", math.inf)),
        ("-Infinity", "f32", Value("f32", -math.inf)),
        ("+.5e1", "f32", Value("f32", 5.0)),
        ("[1e999]", None, Value("string", "[1e999]")),
        ("3", "float", Value("f32", 3.0)),
        ("[]", "array[string]", Value("array[string]", [])),
        (" [1]", "u8", Value("array[u8]", [1])),
        ('["NaN", 1]', "array[f64]", Value("array[f64]", [math.nan, 1])),
    ],
)
def test_texts(text: str, type: str | None, value: Value) -> None:
    assert repr(from_text("k", text, type)) == repr(value)


@pytest.mark.parametrize(
    ("text", "type", "words"),
    [
        ("x", "u8", "whole number"), ("1.5", "u8", "whole number"), ("1_000", "u32", "whole number"),
        ("9" * 100, "u64", "whole number"), ("9" * 5000, "i8", "whole number"), ("yes", "bool", "true or false"),
        ("x", "f32", "expected a number"), ("", "i64", "whole number"), ("1", "array[u8]", "JSON list"),
        ("{}", "array[u8]", "JSON list"), ("[1", "array[u8]", "JSON list"), ("[" * 100000, "array[u8]", "JSON list"),
        ("[[1]]", "array[u8]", r"found \[1\] in it"), ("[null]", "array[f32]", "null"), ('["a"]', "u8", "a"),
        ("[1]", "array[string]", "list of string"), ("1", "u9", "unknown"), ("1", "array", "unknown"),
        ("1", "array[array]", "unknown"), ("1", "array[array[u8]]", "unknown"), ("\udcff", None, "not UTF-8"),
        ("[]", None, "an empty list has no type"), ("[[1]]", None, "no arrays"), ("[null]", None, "NoneType"),
        ("9" * 29, None, "fit no GGUF type"), ("1_0", "f32", "expected a number"), ("0x1p3", "f64", "a number"),
        ("1e999", "f64", "too large for a float"), ("[1, -1e999]", "f32", "too large for a float"),
        ("9" * 400, "f64", "too large for a float"), ("١", "f32", "expected a number"),
    ],
)  # fmt: skip
def test_texts_that_are_no_value(text: str, type: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        from_text("k", text, type)
    assert len(str(caught.value)) < 500


def test_type_names() -> None:
    names = [n for n in TYPES if n != "array"]
    assert [type_name(n) for n in names] == names
    assert [type_name(f"array[{n}]") for n in names] == [f"array[{n}]" for n in names]
    assert [type_name(n) for n in ("str", "int8", "uint16", "float64", "array[str]")] == [
        "string", "i8", "u16", "f64", "array[string]",
    ]  # fmt: skip


@given(st.floats(width=32))
def test_short_floats_are_the_same_floats(x: float) -> None:
    found = plain("f32", x)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert struct.pack("<f", float(found)) == struct.pack("<f", x) or x != x
    if math.isfinite(x):
        assert len(repr(found)) <= len(repr(x))


SCALARS: dict[str, Any] = {
    "bool": st.booleans(), "string": st.text(st.characters(exclude_categories=("Cs",))), "f32": st.floats(width=32),
    "f64": st.floats(),
}  # fmt: skip
for bits in (8, 16, 32, 64):
    SCALARS |= {f"u{bits}": st.integers(0, 2**bits - 1), f"i{bits}": st.integers(-(2**bits) // 2, 2**bits // 2 - 1)}


@given(st.sampled_from(sorted(SCALARS)).flatmap(lambda t: st.tuples(st.just(t), st.lists(SCALARS[t], max_size=5))))
def test_json_is_the_value(tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[Any]]) -> None:
    """What dump --json prints, set takes."""
    kind, values = drawn
    path = tmp_path_factory.mktemp("v") / "m.gguf"
    gguf.write(path, {"k": Value(f"array[{kind}]", values)})
    with gguf.open(path) as g:
        text, raw = json.dumps(plain(f"array[{kind}]", g.metadata["k"]), allow_nan=False), g.metadata.raw("k")
    gguf.edit(path, set={"k": from_text("k", text, f"array[{kind}]")})
    with gguf.open(path) as g:
        found = g.metadata.raw("k")
    nans = any(v != v for v in values)  # of those only that they are none is kept
    assert found == raw or nans
