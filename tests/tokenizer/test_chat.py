"""Chat templates render as `transformers` renders them, wherever they come from and in whichever process."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from edgeq import gguf
from edgeq.errors import TemplateError, UsageError
from edgeq.tokenizer import chat_known, chat_process, chat_sandbox
from edgeq.tokenizer.chat import ChatTemplate, Segment
from tests.tokenizer.test_chat_data.conversations import CONVERSATIONS, TOKENS, said

DATA = Path(__file__).parent / "test_chat_data"
GOLDENS: dict[str, dict[str, str | None]] = json.loads((DATA / "goldens.json").read_text(encoding="utf-8"))["goldens"]
ECHO = "{{ messages[0].content }}"
HI = said("user: Hi")


def text(segments: list[Segment]) -> str:
    return "".join(s.text for s in segments)


def check_against_goldens(template: ChatTemplate, goldens: Mapping[str, str | None]) -> None:
    for name, (messages, given) in CONVERSATIONS.items():
        if goldens[name] is None:
            with pytest.raises(TemplateError):
                template.render(messages, **given)
        else:
            assert text(template.render(messages, **given)) == goldens[name], name


@pytest.fixture
def unknown() -> Iterator[ChatTemplate]:
    template = ChatTemplate(ECHO)
    yield template
    template.close()


@pytest.mark.parametrize("path", sorted((DATA / "templates").glob("*.jinja")), ids=lambda p: p.stem)
def test_renders_as_transformers_does(path: Path) -> None:
    template = ChatTemplate.from_file(path)
    template.tokens = TOKENS
    assert not template.is_known
    check_against_goldens(template, GOLDENS[path.name])
    template.close()


@pytest.mark.parametrize("name", ChatTemplate.names())
def test_built_in_templates_render_in_this_process_as_transformers_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("started a process"))
    template = ChatTemplate.named(name)
    template.tokens = TOKENS
    check_against_goldens(template, GOLDENS[f"named {name}"])


def real_templates() -> list[tuple[str, str]]:
    folder = os.environ.get("EDGEQ_TEST_MODELS")
    if not folder:
        import platformdirs

        folder = platformdirs.user_cache_dir("edgeq")
    found = []
    for path in sorted(Path(folder).rglob("*.gguf")):
        with gguf.open(path) as g:
            source = g.metadata.get("tokenizer.chat_template")
        if isinstance(source, str):
            found.append((path.name, source))
    return found


def test_templates_of_real_models_render_as_transformers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [(name, source) for name, source in real_templates() if _digest(source) in GOLDENS]
    if not known:
        pytest.skip("left out: no real models with templates (set EDGEQ_TEST_MODELS to a folder with GGUF files)")
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("started a process"))
    for name, source in known:
        template = ChatTemplate(source, name, TOKENS)
        assert template.is_known
        check_against_goldens(template, GOLDENS[_digest(source)])


def _digest(source: str) -> str:
    return hashlib.sha256(source.strip().encode()).hexdigest()


def test_white_space_around_a_known_template_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As editors and copies add it: no helper process is started for it."""
    monkeypatch.setitem(chat_known.KNOWN, _digest(ECHO), "known for this test")
    for source in (ECHO, f"{ECHO}\n", f"\n\n{ECHO}\n \n"):
        template = ChatTemplate(source, helper=False)
        assert template.is_known
        assert text(template.render(HI)).strip() == "Hi"
    assert not ChatTemplate(f"{ECHO}.").is_known


def test_every_rendering_has_the_whole_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ran long enough refused every chat."""
    monkeypatch.setattr(chat_sandbox, "MAX_STEPS", 100)
    template, turns = ChatTemplate.named("chatml"), said("user: a", "assistant: b", "user: c")
    for _ in range(40):
        assert text(template.render(turns, enable_thinking=False)).count("user") == 2


# Where templates come from


def tokenizer(**changes: Any) -> Any:
    ids = {"bos_id": 1, "eos_id": 2, "unk_id": None, "pad_id": None, "sep_id": None, "mask_id": None}
    return SimpleNamespace(**{"pieces": ["a", "<s>", "</s>"], "chat_template": None, **ids, **changes})


def test_the_template_of_the_file_gets_the_special_tokens_of_the_vocabulary() -> None:
    template = ChatTemplate.from_tokenizer(tokenizer(chat_template="{{ bos_token }}|{{ eos_token }}|{{ unk_token }}"))
    assert template
    assert template.render(HI) == [Segment("<s>|</s>|", True)]
    template.close()


def test_without_a_bos_the_variable_is_empty() -> None:
    template = ChatTemplate.from_tokenizer(tokenizer(bos_id=None, chat_template="{{ bos_token + '.' }}"))
    assert template
    assert text(template.render(HI)) == "."
    template.close()


def test_a_file_without_template_gives_none_and_a_chat_asks_for_one() -> None:
    assert ChatTemplate.from_tokenizer(tokenizer()) is None
    with pytest.raises(TemplateError, match=r"no chat template.*--template NAME\|FILE.*chatml"):
        ChatTemplate.for_chat(tokenizer())


def test_an_override_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("own {{ eos_token }}", encoding="utf-8")
    for override in (str(file), file):
        template = ChatTemplate.for_chat(tokenizer(chat_template="x"), override)
        assert text(template.render(HI)) == "own </s>"
        template.close()
    assert text(ChatTemplate.for_chat(tokenizer(), "zephyr").render(HI)) == "<|user|>\nHi</s>\n<|assistant|>\n"
    with pytest.raises(TemplateError, match=r"nosuch: not a file, and not a built-in template \(chatml"):
        ChatTemplate.for_chat(tokenizer(), "nosuch")
    with pytest.raises(TemplateError, match="'nosuch': unknown; the built-in ones are chatml"):
        ChatTemplate.named("nosuch")


def test_what_is_no_template_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "long").write_bytes(b"a" * 65537)
    os.mkfifo(tmp_path / "fifo")
    refused = {
        "latin": "not UTF-8 .byte 3",
        "long": "longer than",
        "fifo": "expected a file",
        "none": "cannot be read",
    }
    for name, why in {**refused, "": "expected a file|cannot be read"}.items():
        with pytest.raises(TemplateError, match=why):
            ChatTemplate.from_file(tmp_path / name)
    if os.path.exists("/dev/zero"):
        with pytest.raises(TemplateError, match="expected a file"):
            ChatTemplate.from_file("/dev/zero")


# What goes in


def test_messages_are_not_changed() -> None:
    messages, given = copy.deepcopy(CONVERSATIONS["tools"])
    sources = [
        "{% set x = messages.append(1) %}",
        "{% set x = messages[0].update(role='x') %}x",
        "{{ tools.pop() }}",
    ]
    for source in [*sources, "{% set messages = messages[1:] %}{{ messages | length }}"]:
        template = ChatTemplate(source)
        with suppress(TemplateError):
            template.render(messages, **given)
        template.close()
        assert (messages, given) == CONVERSATIONS["tools"]
    ChatTemplate.named("chatml").render(messages, **given)
    assert (messages, given) == CONVERSATIONS["tools"]


def test_mappings_sequences_and_subclasses_become_plain_values() -> None:
    class Loud(str):
        def __str__(self) -> str:
            return "LOUD"

    template = ChatTemplate.named("chatml")
    messages = (MappingProxyType({"role": "user", "content": Loud("Hi")}),)
    assert text(template.render(messages)) == text(template.render(HI))


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ("Hi", "expected a list of mappings, found str"),
        ([{"content": "x"}], r"messages\[0\]: expected a mapping with a 'role'"),
        ([*HI, 5], r"messages\[1\]: expected a mapping"),
        ([{"role": "user", "content": object()}], r"messages\[0\].content: expected text, .* found object"),
        ([{"role": "user", "content": {1: 2}}], "expected text for keys"),
        ([{"role": "user", "content": 1 << 2000}], "expected text, a number"),
    ],
)
def test_messages_of_the_wrong_kind_are_refused_by_name(messages: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ChatTemplate.named("chatml").render(messages)


def test_endless_nesting_is_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(UsageError, match="nested more than 64 deep"):
        ChatTemplate.named("chatml").render([{"role": "user", "content": nested}])


def test_extra_variables_reach_the_template_but_cannot_take_the_place_of_the_chat() -> None:
    template = ChatTemplate("{{ mood }} {{ bos_token }} {{ add_generation_prompt }} {{ documents }}")
    segments = template.render(HI, mood="good", bos_token="<mine>", documents=[1])
    assert text(segments) == "good <mine> True [1]"
    assert not any("<mine>" in s.text for s in segments if s.is_special_allowed)
    template.close()


def test_reasoning_reaches_templates_under_either_name() -> None:
    template = ChatTemplate("{{ messages[0].thinking }} {{ messages[0].reasoning_content }}")
    for name in ("thinking", "reasoning", "reasoning_content"):
        assert text(template.render([{"role": "assistant", "content": "", name: "hm"}])) == "hm hm"
    template.close()


def test_lone_surrogates_and_every_plane_come_through(unknown: ChatTemplate) -> None:
    for content in ("\ud800", "é\u2028\x00\x1b😀" * 3, "\uffff\U0010ffff"):
        assert unknown.render([{"role": "user", "content": content}]) == [Segment(content, False)]


def test_a_long_conversation_is_no_bomb(unknown: ChatTemplate) -> None:
    content = "word " * 400_000
    assert text(unknown.render([{"role": "user", "content": content}])) == content


# The helper process


def test_the_helper_starts_early_and_is_used_again(unknown: ChatTemplate) -> None:
    unknown.prepare()
    assert unknown._helper
    first = unknown._helper._running
    assert first
    for word in ("one", "two"):
        assert text(unknown.render(said(f"user: {word}"))) == word
    assert unknown._helper._running is first


def test_prepare_never_fails() -> None:
    for source in ("{% bad", "", "\ud800", "x" * 100_000):
        template = ChatTemplate(source)
        template.prepare()
        with pytest.raises(TemplateError):
            template.render(HI)
        template.close()
    ChatTemplate.named("chatml").prepare()


def test_the_next_rendering_works_after_the_helper_was_killed(unknown: ChatTemplate) -> None:
    for _ in range(2):
        assert text(unknown.render(HI)) == "Hi"
        assert unknown._helper
        assert unknown._helper._running
        unknown._helper._running._process.kill()
        unknown._helper._running._process.wait()
    unknown.close()
    assert text(unknown.render(HI)) == "Hi"


def test_a_closed_or_forgotten_template_leaves_no_process() -> None:
    template = ChatTemplate(ECHO)
    template.render(HI)
    assert template._helper
    assert template._helper._running
    process = template._helper._running._process
    del template
    assert process.wait(timeout=10) is not None


def test_ctrl_c_while_waiting_does_not_mix_up_answers(unknown: ChatTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    assert text(unknown.render(said("user: one"))) == "one"

    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(chat_process._Running, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            unknown.render(said("user: two"))
    assert text(unknown.render(said("user: three"))) == "three"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_helper_inherits_no_secret_and_loads_nothing_heavy(
    unknown: ChatTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_SECRET", "hunter2")
    unknown.render(HI)
    assert unknown._helper
    assert unknown._helper._running
    proc = Path("/proc", str(unknown._helper._running._process.pid))
    assert b"hunter2" not in (proc / "environ").read_bytes()
    loaded = (proc / "maps").read_text()
    assert "numpy" not in loaded
    assert "tokenizers" not in loaded
    assert {os.path.basename(os.readlink(p)).split(":")[0] for p in (proc / "fd").iterdir()} <= {
        "pipe",
        "null",
    }


def test_many_threads_share_a_template(unknown: ChatTemplate) -> None:
    results: dict[int, str] = {}

    def work(i: int) -> None:
        results[i] = text((unknown if i % 2 else ChatTemplate.named("vicuna")).render(said(f"user: {i}")))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {i: str(i) if i % 2 else f"USER: {i}\nASSISTANT:" for i in range(16)}


@pytest.mark.parametrize("obstacle", ["frozen", "executable", "popen", "helper=False", "dies"])
def test_where_no_process_can_be_started_the_way_out_is_named(obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if obstacle == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif obstacle == "executable":
        monkeypatch.setattr(sys, "_base_executable", "/usr/bin/some-app")
    elif obstacle == "popen":
        monkeypatch.setattr(subprocess, "Popen", _no_processes)
    elif obstacle == "dies":
        monkeypatch.setattr(chat_process, "_BOOT", "raise SystemExit(3)")
    template = ChatTemplate(ECHO, helper=obstacle != "helper=False")
    template.prepare()
    with pytest.raises(TemplateError, match="use --template NAME"):
        template.render(HI)
    assert text(ChatTemplate.named("chatml").render(HI)).startswith("<|im_start|>user\nHi")


def _no_processes(*args: Any, **kwargs: Any) -> None:
    raise OSError("Operation not permitted")


def test_importing_chat_does_not_import_jinja() -> None:
    code = "import sys, edgeq.tokenizer.chat; print('jinja2' in sys.modules, 'numpy' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
