"""The Jinja environment of chat templates: what they may call, and how work and text are counted.

Literals of the template come out as marked strings (`chat_marked`), so that its own text can be told from
the rest. The budget here is exact but not complete: it is there for a clear message, and for systems that
bound processes badly. What it misses is stopped by the limits of the helper process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import FILTERS
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_eval_context

from edgeq.tokenizer.chat_marked import Marked, concat, literal

MAX_STEPS = 1_000_000
"""Turns of loops and calls that one rendering may take."""
MAX_TEXT = 1 << 20
"""Characters that a template may add to what it was given."""
_MAX_BITS = 4096
_MAX_WIDTH = 10_000
_WIDE = ("center", "ljust", "rjust", "zfill", "expandtabs", "indent", "batch", "slice", "wordwrap")


class Refusal(Exception):
    """The template called raise_exception."""


class OverBudget(Exception):
    """The template asked for more than it may have."""


class _Generator(CodeGenerator):
    """Emits literals as marked strings, and counts the turns of loops."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.literal({''.join(group)!r})"

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, str):
            self.write(f"environment.literal({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
            return
        self.write("environment.concat([")
        for arg in node.nodes:
            self.write("str(")
            self.visit(arg, frame)
            self.write("), ")
        self.write("])")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        counted = nodes.EnvironmentAttribute("counted", lineno=node.lineno)
        node.iter = nodes.Call(counted, [node.iter], [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)


class _Counted:
    """An iterable whose every turn is a step."""

    def __init__(self, env: Environment, items: Any):
        self._env, self._items = env, items
        iter(items)  # what cannot be looped over says so here

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._env.step()
            yield item

    def __len__(self) -> int:
        return len(self._items)


class _Namespace(Namespace):
    """Jinja's namespace without names that start with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, attrs = args[0], dict(*args[1:], **kwargs)
        for name in attrs:
            _check_name(name)
        Namespace.__init__(self, attrs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}: it starts with an underscore")


class _Generation(Extension):
    """`{% generation %}` marks the answers for training; here its body is simply rendered."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget. One rendering at a time uses it: `_lock` sees to that."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        # Not optimized: what is computed while compiling is in no budget.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[_Generation, LoopControlExtension],
        )
        self.steps = 0
        self.max_text = MAX_TEXT
        self.literal = literal
        del self.globals["lipsum"]
        self.globals.update(dict=_dict, namespace=_Namespace)
        self.globals.update(raise_exception=_raise, strftime_now=_strftime_now)
        self.filters.update(tojson=_tojson, join=_join, format=self._format)
        for name in set(_WIDE) & set(self.filters):
            self.filters[name] = self._narrow(self.filters[name])

    def step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise OverBudget(f"it takes more than {MAX_STEPS:,} steps")

    def counted(self, items: Any) -> _Counted:
        return _Counted(self, items)

    def concat(self, parts: Iterable[str]) -> str:
        parts = list(parts)
        self._fits(sum(map(len, parts)))
        return concat(parts)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.step()
        if getattr(__obj, "__name__", None) in _WIDE:
            __self._check_width(args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        plain = super().wrap_str_format(value)
        if plain is None or not isinstance(value.__self__, Marked):
            return plain
        return lambda *args, **kwargs: _format_marked(value.__self__, plain(*args, **kwargs), args)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            self._fits(len(left) + len(right))
        elif operator == "*":
            self._check_product(left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str):
            _check_directives(left)
        return super().call_binop(context, operator, left, right)

    def _check_product(self, left: Any, right: Any) -> None:
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() + right.bit_length())
        for many, times in ((left, right), (right, left)):
            if hasattr(many, "__len__") and isinstance(times, int):
                self._fits(len(many) * times)

    def _fits(self, size: int) -> None:
        if size > self.max_text:
            raise OverBudget(f"it builds a text or list of more than {self.max_text:,} items")

    def _narrow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def narrow(*args: Any, **kwargs: Any) -> Any:
            self._check_width(args[1:], kwargs)
            return function(*args, **kwargs)

        return narrow

    def _check_width(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if any(isinstance(x, int) and x > _MAX_WIDTH for x in (*args, *kwargs.values())):
            raise OverBudget(f"it asks for a width of more than {_MAX_WIDTH:,}")

    def _format(self, value: Any, *args: Any, **kwargs: Any) -> str:
        _check_directives(str(value))
        return str(value) % (kwargs or args)


def _format_marked(pattern: Marked, text: str, args: tuple[Any, ...]) -> str:
    """`text`, which is `pattern.format(*args)`, with its marks where the pattern has bare `{}` alone."""
    literals = pattern.split("{}")
    if len(literals) - 1 > len(args) or any(c in part for part in literals for c in "{}"):
        return text
    marked = concat([x for i, part in enumerate(literals) for x in (str(args[i - 1]), part)][1:])
    return marked if marked == text else text


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise OverBudget(f"it computes a number of more than {_MAX_BITS} bits")


def _check_directives(text: str) -> None:
    if re.search(r"%[^%a-zA-Z]*(\d{5}|\*)", text):
        raise OverBudget(f"it asks for a width of more than {_MAX_WIDTH:,}")


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise(message: Any) -> None:
    raise Refusal(str(message))


def _strftime_now(format: str) -> str:
    if len(format) > 1000:  # a directive writes up to a hundred times its own length
        raise OverBudget("it asks for a date of more than 1,000 characters")
    return datetime.now().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, int) and indent > 100:
        raise OverBudget("it indents JSON by more than 100")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_eval_context
def _join(eval_ctx: EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> Any:
    if eval_ctx.autoescape or attribute is not None:
        return FILTERS["join"](eval_ctx, value, d, attribute)
    joint, parts = str(d), []
    for item in value:
        parts += [joint, str(item)]
    return eval_ctx.environment.concat(parts[1:])
