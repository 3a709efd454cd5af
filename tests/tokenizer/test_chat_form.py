"""Forms give exactly what Jinja2 gives, or nothing; templates that have one need no Jinja2 for plain conversations."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import TemplateError, UsageError
from edgeq.tokenizer import chat_engine
from edgeq.tokenizer.chat import ChatTemplate, Segment
from edgeq.tokenizer.chat_form import LETTERS, MAX_MESSAGES, Form, form_of
from edgeq.tokenizer.chat_forms import FORM_OF, FORMS
from edgeq.tokenizer.chat_known import KNOWN
from edgeq.tokenizer.chat_named import NAMED
from tests.tokenizer.test_chat import real_templates
from tests.tokenizer.test_chat_data import make_forms
from tests.tokenizer.test_chat_data.conversations import TOOLS, said

ROOT = Path(__file__).parents[2]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
HI = said("user: Hi")
JOINTS = {"^u", "u+", "^s", "su", "ua", "au", "u.", "a."}

LOOP = "{% for m in messages %}"
OWN = {
    "trims": LOOP + "<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}",
    "trims one side": "{{ bos_token }}" + LOOP + "<{{ m.role }}>\n{{ m.content.lstrip() }}\n{% endfor %}",
    "trims both together": "{% set ns = namespace(s='') %}" + LOOP + "{% if m.role == 'system' %}"
    "{% set ns.s = m.content + '\n' %}{% else %}|{{ (ns.s + m.content) | trim }}|{% set ns.s = '' %}{% endif %}"
    "{% endfor %}",
    "default system": "{% if messages[0].role != 'system' %}[Be kind.]{% endif %}" + LOOP + "[{{ m.content }}]"
    "{% endfor %}{% if add_generation_prompt %}[{% endif %}",
    "blank": LOOP + "{% if m.content %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}.",
    "cuts thoughts": LOOP + "<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}",
    "pairs of marks": LOOP + "<{{ m.role }}>"
    "{% if m.content.startswith('<tool>') and m.content.endswith('</tool>') %}tool"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "refuses a system message": LOOP + "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}{% endfor %}",
    "last turn": LOOP + "{% if loop.last %}>>{% endif %}{{ m.role }}: {{ m.content }}{% endfor %}",
    "skips answers": LOOP + "{% if m.role != 'assistant' %}({{ m.content }}){% endif %}{% endfor %}",
}
"""Templates whose forms are made here, one for each thing that a form can express, or leaves out."""


def digest_of(source: str) -> str:
    return hashlib.sha256(source.strip().encode()).hexdigest()


@cache
def form_and_source(name: str) -> tuple[Form, str]:
    source = OWN[name] if name in OWN else dict(templates())[name]
    form = make_forms.form_of(source, 100) if name in OWN else form_of(digest_of(source))
    assert form, name
    return form, source


def templates() -> Iterator[tuple[str, str]]:
    """The templates with forms whose sources are at hand."""
    yield from NAMED.items()
    yield from ((name, source) for name, source in real_templates() if ChatTemplate(source)._form)


contents = st.lists(
    st.sampled_from([
        *["", " ", "\n", "\t", "Hi", "a b", "é中😀", "{{ bos_token }}", "{% raw %}", "<s>", "</s>", "<|im_end|>"],
        *["[INST]", "<<SYS>>", "<think>", "</think>", "<tool>", "</tool>", "user", "\ud800", "\u2003", "\x00"],
        *["␂", "␃", "⇤", "⇥"],
    ]) | st.text(max_size=5),
    max_size=4,
).map("".join)  # fmt: skip
conversations = st.lists(st.tuples(st.sampled_from([*LETTERS]), contents), max_size=6) | st.builds(
    lambda system, turns, ask: [*system, *(p for q, a in turns for p in (("user", q), ("assistant", a))), *ask],
    st.lists(st.tuples(st.just("system"), contents), max_size=1),
    st.lists(st.tuples(contents, contents), max_size=3),
    st.lists(st.tuples(st.just("user"), contents), max_size=1),
)
tokens = st.sampled_from(["", "<s>", "</s>", "<|im_end|>", " ", "␃", "⇤"])


@pytest.mark.parametrize("name", [*OWN, *dict(templates())])
@given(turns=conversations, prompt=st.booleans(), bos=tokens, eos=tokens)
@settings(max_examples=150, deadline=None)
def test_a_form_gives_what_jinja_gives(name: str, turns: Any, prompt: bool, bos: str, eos: str) -> None:
    form, source = form_and_source(name)
    own = {"bos_token": bos, "eos_token": eos}
    messages = [{"role": role, "content": content} for role, content in turns]
    found = form.render(own, messages, prompt)
    if found is not None:
        variables = {"documents": None, "messages": messages, "tools": None, "add_generation_prompt": prompt}
        assert found == chat_engine.render(source, own, variables, 100)


@pytest.mark.parametrize("name", [*OWN, *NAMED])
def test_a_question_is_covered(name: str) -> None:
    form, _ = form_and_source(name)
    assert form.render(TOKENS, HI, True)


def test_what_is_not_regular_is_left_to_jinja() -> None:
    left = {
        "blank": said("user: "),
        "cuts thoughts": said("user: a</think>b"),
        "pairs of marks": said("user: <tool>x</tool>"),
        "refuses a system message": said("system: a", "user: b"),
        "last turn": said("user: a", "assistant: b", "user: c"),
        "skips answers": said("user: a", "assistant: b", "user: c"),
    }
    for name, messages in left.items():
        assert form_and_source(name)[0].render(TOKENS, messages, True) is None, name


@pytest.mark.parametrize(
    "source",
    [
        LOOP + "{{ m.content | upper }}{% endfor %}",
        LOOP + "{{ m.content }}{{ m.content }}{% endfor %}",
        LOOP + "{{ strftime_now('%Y') }}{{ m.content }}{% endfor %}",
        LOOP + "{{ m.content }}{{ m.content | length }}{% endfor %}",
        LOOP + "{{ m.content.replace('a', 'b') }}{% endfor %}",
        LOOP + "{% if 'loud' in m.content | lower %}!{% endif %}{{ m.content }}{% endfor %}",
        "{{ tools | length }}" + LOOP + "{{ m.content }}{% endfor %}",
        LOOP + "{{ bos_token[1:] }}{{ m.content }}{% endfor %}",
        "{{ nothing() }}",
        "fixed",
    ],
)
def test_a_template_that_does_more_gets_no_form(source: str) -> None:
    assert make_forms.form_of(source, 100) is None


# The table


def test_forms_belong_to_known_templates_and_every_built_in_one_has_one() -> None:
    built_in = set(map(digest_of, NAMED.values()))
    assert built_in <= set(FORM_OF) <= built_in | set(KNOWN)
    assert set(FORM_OF.values()) == set(range(len(FORMS)))
    for joints, avoids, filled in FORMS:
        assert set(joints) <= JOINTS
        assert {"u+"} < set(joints)
        assert all(avoids)
        assert set(filled) <= set("sua")


@pytest.mark.parametrize(
    "digest",
    [
        "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",  # SmolLM2
        "55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a",  # Qwen2.5
    ],
)
def test_small_models_of_every_day_have_forms(digest: str) -> None:
    form = form_of(digest)
    assert form
    assert set(form.joints) == JOINTS
    assert form.render(TOKENS, HI, True)


# Who renders

_RUN = """
import sys
from edgeq.tokenizer.chat import ChatTemplate
template = ChatTemplate(sys.stdin.read(), "the file's chat template")
template.prepare()
print([tuple(s) for s in template.render([{"role": "user", "content": "Hi"}])])
heavy = ("jinja2", "hashlib", "_hashlib", "inspect", "tempfile", "random", "subprocess", "json")
print(*[m for m in (*heavy, *sys.modules) if m in sys.modules and (m in heavy or m.startswith("edgeq.tokenizer.chat"))])
"""


def test_a_question_through_a_known_template_loads_nothing_heavy() -> None:
    command = [sys.executable, "-c", _RUN]
    done = subprocess.run(command, cwd=ROOT, input=NAMED["chatml"], capture_output=True, text=True, check=True)
    segments, modules = done.stdout.splitlines()
    assert segments == str([
        ("<|im_start|>user\n", True), ("Hi", False), ("<|im_end|>\n<|im_start|>assistant\n", True)
    ])  # fmt: skip
    own = {m.removeprefix("edgeq.tokenizer.") for m in modules.split()}
    assert own == {"chat", "chat_encode", "chat_form", "chat_forms"}


@pytest.fixture
def by_jinja(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the source of each template that Jinja2 renders."""
    calls: list[str] = []
    render = chat_engine.render

    def counted(source: str, *args: Any) -> Any:
        calls.append(source)
        return render(source, *args)

    monkeypatch.setattr(chat_engine, "render", counted)
    return calls


def test_preparing_a_template_with_a_form_starts_nothing(monkeypatch: pytest.MonkeyPatch, by_jinja: list[str]) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("started a process"))
    monkeypatch.setattr(threading, "Thread", lambda *a, **k: pytest.fail("started a thread"))
    for name, source in templates():
        template = ChatTemplate(source, name, TOKENS)
        assert template.is_known
        template.prepare()
        assert template.render(HI)
        assert template.render(said("user: Hi", "assistant: Hello", "user: Why?"))
        assert not by_jinja


class Loud(str):
    pass


class Turns(list[Any]):
    pass


@pytest.mark.parametrize(
    ("messages", "given"),
    [
        (HI, {"tools": TOOLS}),
        (HI, {"tools": []}),
        (HI, {"documents": None}),
        (HI, {"enable_thinking": False}),
        (said("tool: 5"), {}),
        (said("user: a", "user: b"), {}),
        (said("developer: a", "user: b"), {}),
        (said("user: a", "assistant: b"), {"add_generation_prompt": True}),
        (said("User: a"), {}),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], {}),
        ([{"role": "user", "content": None}], {}),
        ([{"role": "user", "content": Loud("Hi")}], {}),
        ([{"role": Loud("user"), "content": "Hi"}], {}),
        ([{"role": "user", "content": "Hi", "name": "Ada"}], {}),
        ([{"role": "user", "text": "Hi"}], {}),
        (Turns(HI), {}),
        (said("user: a", "assistant: b") * (MAX_MESSAGES // 2) + HI, {}),
    ],
    ids=str,
)
def test_all_other_chats_go_to_jinja(messages: Any, given: dict[str, Any], by_jinja: list[str]) -> None:
    template = ChatTemplate.named("chatml")
    template.prepare()
    with suppress(TemplateError):  # such as for a missing content
        template.render(messages, **given)
    assert by_jinja == [NAMED["chatml"]]


@pytest.mark.parametrize("messages", ["Hi", [5], [{"content": "Hi"}], HI[0], None, [{}], [[]]], ids=repr)
def test_what_is_no_chat_is_refused_as_before(messages: Any) -> None:
    with pytest.raises(UsageError):
        ChatTemplate.named("mistral").render(messages)


def test_a_blank_text_is_left_to_jinja_which_refuses_it() -> None:
    assert Form({"^u": "\n", "u+": " "}).render(TOKENS, said("user: "), True) is None
    assert Form({"^u": "", "u+": ""}).render(TOKENS, said("user: a"), True) == ("a", ())


def test_special_tokens_that_were_not_tried_go_to_jinja(by_jinja: list[str]) -> None:
    for tokens in ({"bos_token": "<s>"}, {"bos_token": "<s>" * 1000, "eos_token": ""}):
        template = ChatTemplate(NAMED["llama3"], tokens=tokens)
        assert template.render(HI)[0] == Segment(
            tokens["bos_token"] + "<|start_header_id|>user<|end_header_id|>\n\n", True
        )
    assert len(by_jinja) == 2


def test_only_the_exact_source_has_the_form(monkeypatch: pytest.MonkeyPatch, by_jinja: list[str]) -> None:
    # White space around a source is in no digest, but all of it is written except for a last line feed.
    source = NAMED["chatml"].strip()
    monkeypatch.setitem(KNOWN, ChatTemplate(source).sha256, "chatml")
    for same in (source, source + "\n"):
        assert ChatTemplate(same).render(HI)[0] == Segment("<|im_start|>user\n", True)
    assert not by_jinja
    for other in ("\n" + source, source + "\n\n", " " + source, source + " \n"):
        template = ChatTemplate(other)
        assert template._form is None
        assert template.is_known
        template.render(HI)
    assert len(by_jinja) == 4
    assert ChatTemplate(source + "\n\n\n").render(HI)[-1].text.endswith("assistant\n\n")


@pytest.mark.parametrize(
    "source",
    [
        NAMED["chatml"].replace("im_start", "im_stop", 1),
        NAMED["chatml"] + "{{ 1 // 0 }}",
        "{# " + NAMED["chatml"] + " #}",
        NAMED["chatml"][:-3],
        "\ud800" + NAMED["chatml"],
        "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
        "",
        None,
        5,
        b"x",
    ],
    ids=repr,
)
def test_a_hostile_template_never_gets_a_form(source: Any) -> None:
    for name in ("template", "chatml", "the file's chat template"):
        template = ChatTemplate(source, name, helper=False)
        assert template._form is None
        assert not template.is_known


def test_the_digest_is_sha_256_with_and_without_the_interpreters_own(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hashlib.sha256("é x".encode()).hexdigest()
    assert ChatTemplate(" é x\n").sha256 == expected
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    assert ChatTemplate(" é x\n").sha256 == expected


def test_a_conversation_is_not_changed() -> None:
    messages = said("system:  a ", "user:  b ")
    assert form_of(ChatTemplate.named("gemma").sha256).render(TOKENS, messages, True)  # type: ignore[union-attr]
    assert messages == said("system:  a ", "user:  b ")
