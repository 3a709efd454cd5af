"""Marked strings have the text of plain ones, and never a mark on what the template did not write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import TemplateError
from edgeq.tokenizer.chat_engine import render
from edgeq.tokenizer.chat_marked import Marked, concat, literal

OWN, GIVEN = "abc<|> ", "xyz{}%\n"
"""Letters of the template and of the user: apart from white space, none is in both, in either case."""

own_text = st.text(OWN, max_size=6)
given_text = st.text(GIVEN, max_size=6)
marked = st.lists(st.tuples(st.booleans(), own_text, given_text), max_size=4).map(
    lambda parts: concat([Marked("")] + [literal(o) if mine else g for mine, o, g in parts])
)
either = marked | given_text | own_text.map(literal)


def origins_hold(text: Any) -> None:
    """Every marked letter is one of the template's, and the spans are well formed."""
    if not isinstance(text, Marked):
        return
    before = -1
    for start, end in text.spans:
        assert before < start < end <= len(text)
        assert all(c in OWN.upper() + OWN for c in str.__str__(text)[start:end])
        before = end


OPERATIONS: dict[str, Any] = {
    "add": lambda a, b, n: a + b,
    "radd": lambda a, b, n: b + a,
    "mul": lambda a, b, n: a * n,
    "rmul": lambda a, b, n: n * a,
    "slice": lambda a, b, n: a[n:],
    "slice to": lambda a, b, n: a[:n],
    "slice both": lambda a, b, n: a[n : n + 3],
    "backwards": lambda a, b, n: a[::-1],
    "index": lambda a, b, n: a[n],
    "strip": lambda a, b, n: a.strip(),
    "strip of": lambda a, b, n: a.strip(b),
    "lstrip": lambda a, b, n: a.lstrip(b),
    "rstrip": lambda a, b, n: a.rstrip(b),
    "removeprefix": lambda a, b, n: a.removeprefix(b),
    "removesuffix": lambda a, b, n: a.removesuffix(b),
    "join": lambda a, b, n: a.join([b, a, b][: abs(n)]),
    "split": lambda a, b, n: a.split(),
    "split at": lambda a, b, n: a.split(b, n),
    "replace": lambda a, b, n: a.replace(b, a),
    "replace some": lambda a, b, n: a.replace(a[1:2], b, n),
    "upper": lambda a, b, n: a.upper(),
    "lower": lambda a, b, n: a.lower(),
    "title": lambda a, b, n: a.title(),
    "capitalize": lambda a, b, n: a.capitalize(),
    "percent": lambda a, b, n: (a.replace("%", "%s")) % b,
    "percent, two": lambda a, b, n: ("%s|%%" + a.replace("%", "%s")) % (b, a),
    "str": lambda a, b, n: str(a),
    "partition": lambda a, b, n: a.partition(b),
    "splitlines": lambda a, b, n: a.splitlines(),
    "center": lambda a, b, n: a.center(n + 9, "x"),
}


def outcome(operation: Any, *args: Any) -> Any:
    try:
        return operation(*args)
    except Exception as e:
        return type(e)


@pytest.mark.parametrize("name", OPERATIONS)
@given(a=marked, b=either, n=st.integers(-3, 3))
@settings(max_examples=100, deadline=None)
def test_every_operation_gives_the_text_of_a_plain_string(name: str, a: str, b: str, n: int) -> None:
    found = outcome(OPERATIONS[name], a, b, n)
    assert found == outcome(OPERATIONS[name], str.__str__(a)[:], str.__str__(b)[:], n)
    for text in found if isinstance(found, (list, tuple)) else [found]:
        origins_hold(text)


A, X = literal("<|a|>"), "xy"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (A + X + A, "[<|a|>]xy[<|a|>]"),
        (X + A, "xy[<|a|>]"),
        (A + A, "[<|a|><|a|>]"),
        ((A + X + A)[1:6], "[|a|>]x"),
        ((A + X + A)[:-1], "[<|a|>]xy[<|a|]"),
        (A[0], "[<]"),
        ((" " + A + " " + X + "\n").strip(), "[<|a|>] xy"),
        ((A * 2) + X, "[<|a|><|a|>]xy"),
        (literal(", ").join([X, A]), "xy[, <|a|>]"),
        ((A + X + A).replace("xy", "z"), "[<|a|>]z[<|a|>]"),
        (A.replace("a", X), "[<|]xy[|>]"),
        ((A + "\n" + X).split("\n")[0], "[<|a|>]"),
        (literal("<|%s|>%%") % X, "[<|]xy[|>%]"),
        (literal("%s:%s") % (X, A), "xy[:<|a|>]"),
        (A.upper(), "[<|A|>]"),
        ((A + X).removesuffix(X), "[<|a|>]"),
    ],
)
def test_marks_are_kept_where_they_can_be(found: Marked, expected: str) -> None:
    ends = {end: "]" for _, end in found.spans}
    starts = {start: "[" for start, _ in found.spans}
    letters = [*str.__str__(found), ""]
    assert "".join(ends.get(i, "") + starts.get(i, "") + c for i, c in enumerate(letters)) == expected


def test_a_letter_that_grows_loses_its_mark() -> None:
    assert not isinstance(literal("ß").upper(), Marked)
    assert not isinstance(literal("ŉab").title(), Marked)


# The same for whole templates: whatever is done to the text of a user, no letter of it comes out marked.

_ATOMS = [
    "messages[0].content",
    "messages[1].content",
    "w",
    "'abc'",
    "'<a>'",
    "''",
    "n.t",
    "messages[0].role",
]
_METHODS = [
    *["upper()", "strip()", "split('a')[-1]", "split()[0]", "replace('a', w)", "replace(w, 'b')", "title()"],
    *["join([w, 'a'])", "format(w)", "rstrip('c')", "partition('a')[0]", "zfill(9)", "lower()"],
    *["center(9, w[0])", "removesuffix('a')"],
]
_FILTERS = [
    *["upper", "trim", "replace('a', w)", "list | join('b')", "tojson", "string", "reverse", "indent", "e"],
    *[
        "safe",
        "first",
        "default(w)",
        "title",
        "wordwrap(2)",
        "truncate(3)",
        "format(w)",
        "center(9)",
        "lower",
    ],
    *["last", "list | string"],
]


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda p: f"({p[0]} + {p[1]})"),
        two.map(lambda p: f"({p[0]} ~ {p[1]})"),
        two.map(lambda p: f"('%s<|%s' % ({p[0]}, {p[1]}))"),
        two.map(lambda p: f"'{{}}a{{}}'.format({p[0]}, {p[1]})"),
        two.map(lambda p: f"({p[0]} if 'a' in {p[1]} else {p[1]})"),
        two.map(lambda p: f"[{p[0]}, {p[1]}] | join('|')"),
        two.map(lambda p: f"{{{p[0]}: {p[1]}}}[{p[0]}]"),
        st.tuples(inner, st.sampled_from(_METHODS)).map(lambda p: f"({p[0]}).{p[1]}"),
        st.tuples(inner, st.sampled_from(_FILTERS)).map(lambda p: f"({p[0]} | {p[1]})"),
        inner.map(lambda e: f"({e})[1:]"),
        inner.map(lambda e: f"({e} * 2)"),
        inner.map(lambda e: f"shout({e})"),
    )


_EXPRESSIONS = st.recursive(st.sampled_from(_ATOMS), _wider, max_leaves=8)
_SHELL = (
    "{% macro shout(t) %}<|{{ t }}|>{% endmacro %}{% set n = namespace(t='') %}{% set n.t = 'a' + w %}"
    "{% set s %}b{{ w }}{% endset %}<{{ s }}{% filter upper %}a{{ w }}{% endfilter %}<|{{ EXPRESSION }}|>"
)


@given(expression=_EXPRESSIONS, words=st.tuples(*[st.text("xyzXYZ", min_size=1, max_size=5)] * 3))
@settings(max_examples=600, deadline=None)
def test_no_expression_marks_the_text_of_a_user(expression: str, words: tuple[str, str, str]) -> None:
    messages = [{"role": "user", "content": words[0]}, {"role": "xyz", "content": words[1]}]
    variables = {"messages": messages, "w": words[2]}
    try:
        text, spans = render(_SHELL.replace("EXPRESSION", expression), {}, variables, 100)
    except TemplateError as e:
        if "cannot be read" in str(e):  # every expression is Jinja
            raise
        return
    assert not any(c in "xyzXYZ" for start, end in spans for c in text[start:end])
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
