"""Renders a chat template within a budget and tells which characters of the result the template wrote.

Runs in the process of the caller for templates known to be harmless and in a helper process, whose limits
stop what no budget here can, for all others. Importing it imports Jinja2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError
from jinja2.environment import Template
from jinja2.exceptions import TemplateAssertionError, TemplateNotFound

from edgeq.errors import TemplateError, shown
from edgeq.tokenizer.chat_marked import Marked, Spans, concat, literal
from edgeq.tokenizer.chat_sandbox import MAX_TEXT, Environment, OverBudget, Refusal

ROLES = frozenset(("system", "user", "assistant", "tool", "developer", "function", "model", "ipython", "observation"))
"""Role names that a template may build a control token from, as `'<|' + role + '|>'` does."""


_lock = threading.Lock()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment()


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


def compile_template(source: str) -> None:
    """Compile `source` and keep the result for `render`. Raises TemplateError with the line of the fault."""
    with _lock:
        _guarded(_compiled, source)


def render(source: str, own: Mapping[str, str], variables: Mapping[str, Any], allowance: int) -> tuple[str, Spans]:
    """The text of a rendered template, and the spans of characters that the template wrote.

    own: variables that count as the template's own text (`bos_token` ...); variables: all others, as JSON.
    allowance: characters of `variables`; the text may be a few times as long, and MAX_TEXT more.
    """
    with _lock:
        rendered: tuple[str, Spans] = _guarded(_render, source, own, variables, allowance)
    return rendered


def _render(source: str, own: Mapping[str, str], variables: Mapping[str, Any], allowance: int) -> tuple[str, Spans]:
    template, env = _compiled(source), _environment()
    env.steps, env.max_text = 0, MAX_TEXT + 4 * allowance
    context = template.new_context({**{k: literal(v) for k, v in own.items()}, **_with_roles(variables)})
    parts: list[str] = []
    size = 0
    for part in template.root_render_func(context):
        size += len(part)
        env._fits(size)
        parts.append(part)
    text = concat(parts)
    if not text.strip():
        raise Refusal("it wrote nothing for this conversation")
    return str.__str__(text), text.spans if isinstance(text, Marked) else ()


def _with_roles(variables: Mapping[str, Any]) -> dict[str, Any]:
    messages = [
        {**m, "role": literal(m["role"])} if isinstance(m, dict) and m.get("role") in ROLES else m
        for m in variables["messages"]
    ]
    return {**variables, "messages": messages}


def _guarded(function: Callable[..., Any], *args: Any) -> Any:
    """Whatever goes wrong inside a template becomes a TemplateError."""
    try:
        return function(*args)
    except Refusal as e:
        raise TemplateError(f"the chat template refused the conversation: {shown(e, 500)}") from None
    except OverBudget as e:
        raise TemplateError(f"the chat template asks for too much: {e}") from None
    except (TemplateSyntaxError, TemplateAssertionError) as e:
        raise TemplateError(f"the chat template cannot be read, line {e.lineno}: {shown(e.message)}") from None
    except TemplateNotFound as e:
        raise TemplateError(f"the chat template asks for another template, {shown(e)!r}, which it may not") from None
    except RecursionError:
        raise TemplateError("the chat template is nested too deeply or calls itself without end") from None
    except MemoryError:
        raise TemplateError("the chat template asks for too much: it runs out of memory") from None
    except Exception as e:
        raise TemplateError(f"the chat template failed: {type(e).__name__}: {shown(e)}{_place(e)}") from None


def _place(error: BaseException) -> str:
    """Where in the template `error` was raised, if that can be told."""
    line, tb = "", error.__traceback__
    while tb:
        template = tb.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            line = f" (line {template.get_corresponding_lineno(tb.tb_lineno)})"
        tb = tb.tb_next
    return line
