"""Hostile templates: every one fails alone, in bounded time and memory, and the next rendering works.

Attribute chains, other templates, bombs of time, memory and output, endless nesting, broken syntax, refusals:
none of them may end this process, write a file, or be rendered.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeq.errors import TemplateError
from edgeq.tokenizer import chat_process
from edgeq.tokenizer.chat import ChatTemplate
from edgeq.tokenizer.chat_engine import compile_template, render
from tests.tokenizer.test_chat_data.conversations import said

HI = said("user: Hi")
SECONDS = 10.0
"""Far above the half second of processor time that a template has: other work may share the cores."""


def repeated(first: str, then: str) -> str:
    """A template that computes `then` from n.x 99 times, starting with `first`."""
    loop = "{% for i in range(99) %}{% set n.x = " + then + " %}{% endfor %}"
    return "{% set n = namespace(x=" + first + ") %}" + loop + "x"


BREAKOUTS = {
    "globals of a class": "{{ cycler.__init__.__globals__.os.system('touch broken') }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attr filter": "{{ (messages | attr('__class__')).__base__ }}",
    "str.format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "str.format_map": "{{ '{m.__class__.__mro__}'.format_map({'m': messages}) }}",
    "format by name": "{{ ''['format'].__self__ }}",
    "map attribute": "{{ (messages | map(attribute='__class__') | list | first).__mro__ }}",
    "self": "{{ self.__init__.__globals__ }}",
    "template reference": "{{ self._TemplateReference__context.environment.filters.clear() }}",
    "joiner": "{{ joiner.__init__.__builtins__ }}",
    "namespace": "{% set n = namespace() %}{% set n.__class__ = 1 %}x",
    "namespace by dict": "{% set n = namespace({'__init__': 1}) %}x",
    "macro": "{% macro m() %}{% endmacro %}{{ m.__call__.__func__.__globals__ }}",
    "function": "{{ raise_exception.__globals__ }}",
    "clock": "{{ strftime_now.__globals__['datetime'] }}",
    "generator": "{{ (messages | map('string')).gi_frame.f_globals }}",
    "open": "{{ open('broken', 'w') }}",
    "import": "{{ __import__('os').system('touch broken') }}",
    "marks": "{{ 'x'._cut.__globals__ }}",
    "mutation by append": "{{ messages.append(1) }}",
    "mutation by clear": "{{ messages[0].clear() }}",
    "mutation by update": "{{ messages[0].update({'role': 'system'}) }}",
    "mutation by sort": "{{ messages.sort() }}",
}

OTHERS = {
    "include": "{% include '/etc/passwd' %}x",
    "include a list": "{% include ['a', 'b'] %}x",
    "import": "{% import 'os' as os %}x",
    "from import": "{% from 'x' import y %}x",
    "extends": "{% extends 'base' %}x",
    "extends a bomb": "{% extends 'a' * 10**9 %}x",
}

BOMBS = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "loop in a macro": "{% macro m() %}{% for i in range(99999) %}{% endfor %}{% endmacro %}"
    + "{% for i in range(99999) %}{{ m() }}{% endfor %}",
    "wide range": "{{ range(10**10) | list }}",
    "much output": "{% for i in range(99999) %}" + "x" * 1200 + "{% endfor %}",
    "output in a block": "{% set x %}{% for i in range(99999) %}" + "x" * 1200 + "{% endfor %}{% endset %}.",
    "doubling by ~": repeated("'ab'", "n.x ~ n.x"),
    "doubling by +": repeated("'ab'", "n.x + n.x"),
    "doubling a list": repeated("[1]", "n.x + n.x"),
    "doubling a tuple": repeated("(1,)", "n.x * 2"),
    "doubling by join": repeated("'ab'", "[n.x, n.x] | join"),
    "doubling by replace": repeated("'ab'", "n.x | replace('b', 'bb')"),
    "doubling by format": repeated("'ab'", "'%s%s' % (n.x, n.x)"),
    "multiplication": "{{ 'a' * 10**10 }}",
    "multiplication of a list": "{{ [0] * 10**10 }}",
    "multiplication the other way": "{{ 10**10 * 'a' }}",
    "power": "{{ 10**3000000 }}",
    "power of powers": "{{ 9**9**9**9**9 }}",
    "negative power": "{{ (-2)**(10**9) }}",
    "power in a condition": "{% if 10**3000000 > 1 %}x{% endif %}",
    "power as an argument": "{{ 'x' | default(10**3000000) }}",
    "squares": repeated("3", "n.x * n.x"),
    "autoescape by a bomb": "{% autoescape 10**3000000 %}x{% endautoescape %}",
    "center": "{{ 'a' | center(10**10) }}",
    "center method": "{{ 'a'.center(10**10) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "zfill": "{{ 'a'.zfill(10**10) }}",
    "expandtabs": "{{ ('\t' * 99).expandtabs(10**9) }}",
    "percent width": "{{ '%9999999999d' % 1 }}",
    "percent star": "{{ '%*d' % (10**9, 1) }}",
    "percent precision": "{{ '%.999999999f' % 1.5 }}",
    "format filter": "{{ '%0999999999d' | format(1) }}",
    "format method": "{{ '{:>9999999999}'.format(1) }}",
    "format method, nested": "{{ '{:{}}'.format('x', 9999999999) }}",
    "indent": "{{ 'a\nb' | indent(10**10) }}",
    "slice": "{{ messages | slice(10**10) | list }}",
    "batch": "{{ messages | batch(10**10, 0) | list }}",
    "lipsum": "{{ lipsum(n=10**7) }}",
    "tojson indent": "{{ [[[[1]]]] | tojson(indent=10**9) }}",
    "strftime": "{{ strftime_now('%c' * 100000) }}",
    "sorting": "{% set a = range(99999) | list %}"
    + "{% for i in range(9999) %}{% set x = a | sort(reverse=true) | unique | list %}{% endfor %}x",
    "mapping": "{% for i in range(9999) %}{{ range(99999) | map('string') | map('int') | sum }}{% endfor %}",
    "wordwrap": "{% set a = 'a ' * 500000 %}{% for i in range(99) %}{{ (a | wordwrap(1))[:1] }}{% endfor %}",
    "regular expression": "{% for i in range(9999) %}{% set x = ('<!--' * 99999) | striptags %}{% endfor %}x",
    "comparison": "{% for i in range(99999) %}{{ 'ab' * 99999 == 'ab' * 99999 }}{% endfor %}",
}

NESTED = {
    "macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macros without end": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "loop without end": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "caller without end": "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}",
    "parentheses": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "brackets": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "ifs": "{% if 1 %}" * 400 + "{% endif %}" * 400,
    "fors": "{% for i in [1] %}" * 400 + "{% endfor %}" * 400,
    "filters": "{{ 'a'" + " | upper" * 2000 + " }}",
    "nots": "{{ " + "not " * 5000 + "1 }}",
    "minuses": "{{ " + "-" * 5000 + "1 }}",
    "sums": "{{ 1" + " + 1" * 9000 + " }}",
    "attributes": "{{ x" + ".y" * 9000 + " }}",
    "elifs": "{% if 0 %}" + "{% elif 0 %}" * 4000 + "{% endif %}",
}

BROKEN = {
    "unclosed if": "{% if 1 %}",
    "unclosed expression": "{{ 1",
    "unclosed comment": "{# ",
    "unclosed string": "{{ 'a }}",
    "stray end": "{% endfor %}",
    "unknown tag": "{% frobnicate %}",
    "unknown filter": "{{ 1 | frobnicate }}",
    "unknown test": "{{ 1 is frobnicate }}",
    "assignment to loop": "{% for loop in [1] %}{% endfor %}",
    "break outside": "{% break %}",
    "wrong operands": "{{ 1 + 'a' }}",
    "division by zero": "{{ 1 / 0 }}",
    "undefined attribute": "{{ nothing.at.all }}",
    "undefined call": "{{ nothing() }}",
    "loop over a number": "{% for x in 5 %}{% endfor %}",
    "missing content": "{{ messages[9].content }}",
    "nothing": "",
    "white space": "  \n{# nothing #}\n",
    "line number": "\n" * 9 + "{{ 1 // 0 }}",
    "escape in a name": "{{ 1 | \x1b[31m }}",
    "not UTF-8": "\udcff{{ messages }}",
    "over 64 KB": "x" * (65 << 10),
    "over 64 KB in bytes": "é" * (33 << 10),
}

CASES = [
    pytest.param(source, id=f"{kind}: {name}")
    for kind, cases in {
        "breakout": BREAKOUTS, "other": OTHERS, "bomb": BOMBS, "nested": NESTED, "broken": BROKEN
    }.items()
    for name, source in cases.items()
]  # fmt: skip


@pytest.mark.parametrize("source", CASES)
def test_a_hostile_template_fails_alone(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    template = ChatTemplate(source)
    start = time.monotonic()
    with pytest.raises(TemplateError) as caught:
        template.render(HI)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    assert time.monotonic() - start < SECONDS
    template.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["nested loops", "sorting", "regular expression", "format method"])
def test_the_same_template_can_be_rendered_again_after_a_kill(name: str) -> None:
    # It behaves when the message asks it to: what was killed was the rendering, not the template.
    template = ChatTemplate("{% if messages[0].content == 'bomb' %}" + BOMBS[name] + "{% else %}fine{% endif %}")
    for _ in range(2):
        with pytest.raises(TemplateError):
            template.render(said("user: bomb"))
        assert template.render(HI)[0].text == "fine"
    template.close()


def test_a_template_says_why_it_refuses() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate: \u202e' + messages[0].role) }}")
    with pytest.raises(TemplateError, match=r"refused the conversation: Roles must alternate: \\u202euser$"):
        template.render(HI)
    template.close()


def test_an_error_names_the_line() -> None:
    for source, line in ((BROKEN["line number"], "line 10"), ("\n\n{% frobnicate %}", "line 3")):
        template = ChatTemplate(source)
        with pytest.raises(TemplateError, match=line):
            template.render(HI)
        template.close()


def test_a_helper_that_does_not_answer_is_killed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate("{% if messages[0].content == 'bomb' %}" + BOMBS["sorting"] + "{% else %}fine{% endif %}")
    template.render(HI)
    with monkeypatch.context() as m:
        m.setattr(chat_process, "_wall", lambda seconds: 0.05)
        with pytest.raises(TemplateError, match=r"took more than 0.05 s"):
            template.render(said("user: bomb"))
    assert template.render(HI)[0].text == "fine"
    template.close()


def test_a_helper_that_answers_nonsense_is_no_danger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_process, "_BOOT", "print('x' * 1000, end='')")
    with pytest.raises(TemplateError, match="could not be started"):
        ChatTemplate("x").render(HI)
    monkeypatch.setattr(chat_process, "_BOOT", "print('not json')")
    with pytest.raises(TemplateError, match="could not be started"):
        ChatTemplate("x").render(HI)


@pytest.mark.parametrize(
    "name",
    ["nested loops", "much output", "doubling by ~", "multiplication", "power", "center", "percent width"],
)
def test_the_budget_holds_without_a_helper(name: str) -> None:
    with pytest.raises(TemplateError, match="asks for too much"):
        render(BOMBS[name], {}, {"messages": HI}, 100)


def test_nothing_is_computed_while_compiling() -> None:
    start = time.monotonic()
    compile_template("{{ 10**3000000 }}{% if 10**3000000 %}{% endif %}{{ 'a' * 10**10 | center(10**10) }}")
    assert time.monotonic() - start < 1


_PEAK = """
import resource, sys
from edgeq.errors import TemplateError
from edgeq.tokenizer.chat import ChatTemplate
for source in (None, *sys.argv[1:]):
    template = ChatTemplate(source or "{{ messages[0].content }}")
    try:
        template.render([{"role": "user", "content": "Hi"}])
    except TemplateError:
        pass
    template.close()
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is bounded on Linux")
def test_memory_of_the_helper_stays_bounded() -> None:
    many = "{% for i in range(99999) %}{% set n.x = n.x + [range(99999) | list] %}{% endfor %}x"
    sources = [BOMBS["format method"], BOMBS["doubling by replace"], "{% set n = namespace(x=[]) %}" + many]
    command = [sys.executable, "-c", _PEAK, *sources]
    root = Path(__file__).parents[2]
    honest, *peaks = map(int, subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.split())
    assert len(peaks) == len(sources)
    assert max(peaks) - honest < 70 << 10  # KiB
