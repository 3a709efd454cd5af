"""Where the functions of a Python or C file begin and end. Knows as much of C as this project's own sources need."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import Any

Spans = dict[str, tuple[int, int]]

_HIDDEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
_START = re.compile(r"^(?!typedef|#|else|return)[A-Za-z_][^\n;{}#=()]*?\b(\w+)\(", re.MULTILINE)


@lru_cache(maxsize=256)
def spans(file: str, text: str) -> Spans:
    """Name of each function (a method as Class.method, an entry of a module's dictionary as NAME[key]) -> its span."""
    return python_spans(text) if file.endswith(".py") else c_spans(text)


def python_spans(text: str) -> Spans:
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    encoded = [line.encode() for line in text.split("\n")]

    def place(row: int, column: int) -> int:  # ast counts bytes
        return lines[row - 1] + len(encoded[row - 1][:column].decode())

    def span(node: Any) -> tuple[int, int]:
        first: Any = (getattr(node, "decorator_list", None) or [node])[0]
        return place(first.lineno, 0), place(node.end_lineno, node.end_col_offset)

    out: Spans = {}

    def walk(body: list[ast.stmt], prefix: str, inside: bool = False) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                out[prefix + node.name] = span(node)
                walk(node.body, f"{prefix}{node.name}.", inside or not isinstance(node, ast.ClassDef))
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and not inside:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                out.setdefault(prefix + ast.unparse(target), span(node))
                if isinstance(node.value, ast.Dict):
                    for key, value in zip(node.value.keys, node.value.values, strict=True):
                        if key is not None:
                            start = place(value.lineno, value.col_offset)
                            out[f"{ast.unparse(target)}[{ast.unparse(key)}]"] = (start, span(value)[1])
            elif isinstance(node, ast.If | ast.Try | ast.With | ast.For):
                walk(node.body, prefix, inside)

    walk(ast.parse(text).body, "")
    return out


def c_spans(text: str) -> Spans:
    """Definitions that begin in the first column, by name; of several under one name (preprocessor) the longest."""
    bare = _HIDDEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    out: Spans = {}
    for match in _START.finditer(bare):
        end = _closing(bare, match.end() - 1)
        body = end + len(bare[end:]) - len(bare[end:].lstrip())
        if bare[body : body + 1] == "{":
            span = (match.start(), _closing(bare, body))
            out[match[1]] = max(out.get(match[1], span), span, key=lambda s: s[1] - s[0])
    return out


def _closing(text: str, at: int) -> int:
    """Behind the bracket that closes the one at `at`."""
    pairs, depth = {"(": 1, "{": 1, ")": -1, "}": -1}, 0
    for i in range(at, len(text)):
        depth += pairs.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)
