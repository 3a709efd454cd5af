"""The chat on a terminal: lines, blocks, commands, errors and interrupts, and a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeq.cli import run
from edgeq.cli.chat_loop import ChatLoop
from edgeq.cli.options import parse
from edgeq.cli.terminal import Out
from edgeq.errors import BackendError
from tests.small import BACKEND, model, tiny

ROOT = Path(__file__).resolve().parents[2]


class Person:
    """Types lines; an exception among them is raised where it stands."""

    def __init__(
        self, *lines: str | type[BaseException], words: str = "", name: str = "llama3", **more: Any
    ) -> None:
        given, _ = parse(words.split(), (*run.MAIN, *run.MACHINE, *run.SAMPLING))
        self.lines, self.prompts, self.notes = list(lines), [], []
        self.shown = io.StringIO()
        settings = {"temperature": 0.0, "max_tokens": 5, "ignore_end": True, **more}
        self.loop = ChatLoop(
            model(name), given, settings, read=self.read, out=Out(self.shown), note=self.notes.append
        )
        self.code = self.loop.run()

    prompts: list[str]
    notes: list[str]

    def read(self, prompt: str) -> str:
        self.prompts.append(prompt)
        line = self.lines.pop(0) if self.lines else EOFError
        if isinstance(line, str):
            return line
        raise line

    @property
    def said(self) -> list[str]:
        return [m["content"] for m in self.loop.chat.messages if m["role"] == "user"]


def test_a_conversation() -> None:
    p = Person("the fox", "", "and the dog")
    assert p.code == 0
    assert p.said == ["the fox", "and the dog"]
    answers = [m["content"] for m in p.loop.chat.messages if m["role"] == "assistant"]
    assert p.shown.getvalue() == "".join(answers)
    assert "stopped after 5 tokens" not in p.shown.getvalue()


def test_messages_of_several_lines() -> None:
    p = Person("one \\", "two \\", "three", '"""', "a", "", '/b"""', '"""short"""', "//slash")
    assert p.said == ["one \ntwo \nthree", "a\n\n/b", "short", "/slash"]
    assert p.prompts[:4] == ["> ", "... ", "... ", "> "]


def test_commands(tmp_path: Path) -> None:
    file = tmp_path / "chat"
    p = Person(
        "/help",
        "/stats",
        "/system",
        "/system Be brief.",
        "the fox",
        "/system",
        "/stats",
        f"/save {file}",
        "/clear",
        f"/load {file}",
        "/regen",
        "/wrong",
        "/save",
        "/load /dev/zero",
        "/system -",
        "/exit",
        "never",
    )
    text = "\n".join(p.notes)
    assert p.code == 0
    assert p.said == ["the fox"]
    for part in (
        "/regen",
        "no answer yet",
        "no system message",
        "system message: Be brief.",
        "tokens/s",
        "saved to",
        "(forgotten)",
        "a conversation of 3 messages",
        "no command /wrong",
        "/save needs the name",
        "not a saved session",
        "(removed)",
    ):
        assert part in text, part
    assert [m["role"] for m in p.loop.chat.messages] == ["user", "assistant"]
    assert p.lines == ["never"]


def test_help_names_every_command() -> None:
    p = Person("/help")
    for name in ("help", "clear", "system", "save", "load", "regen", "stats", "exit"):
        assert f"/{name}" in "\n".join(p.notes)


def test_errors_end_the_answer_not_the_chat() -> None:
    def broken(history: Any, logits: Any) -> None:
        if calls.pop():
            raise BackendError("broken\nhere")

    calls = [False] * 20
    calls[-3] = True
    p = Person("the fox", "and the dog", hook=broken)
    assert "edgeq: broken here" in p.notes
    assert p.said == ["the fox", "and the dog"]  # with what had come of the first answer
    p = Person("dog " * 2000, "the fox", name="llama3")
    assert any("too many" in n for n in p.notes)
    assert p.said == ["the fox"]


def test_ctrl_c_stops_the_answer_but_not_the_chat() -> None:
    def interrupt(history: Any, logits: Any) -> None:
        if calls.pop():
            raise KeyboardInterrupt

    calls = [False] * 20
    calls[-3] = True
    p = Person("the fox", "and the dog", hook=interrupt)
    assert p.code == 0
    assert "(stopped)" in p.notes
    assert len(p.said) == 2


def test_ctrl_c_at_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    assert Person("the fox", KeyboardInterrupt).code == 130
    begun = types.SimpleNamespace(get_line_buffer=lambda: "a line")
    monkeypatch.setitem(sys.modules, "readline", begun)  # type: ignore[arg-type]
    assert Person(KeyboardInterrupt, "the fox").said == ["the fox"]
    assert Person('"""', "a", EOFError).code == 0


def test_a_full_chat_says_what_it_dropped() -> None:
    lines = [f"the fox and the dog number {i}" for i in range(14)]
    p = Person(*lines, name="llama-yarn")
    assert any("messages were dropped" in n for n in p.notes)


def test_a_file_without_a_template_asks_for_one() -> None:
    from edgeq.errors import TemplateError

    with pytest.raises(TemplateError, match="--template"):
        Person("x", name="gemma3")
    assert Person("the fox", name="gemma3", words="--template gemma").code == 0


def test_quiet() -> None:
    assert [n for n in Person("the fox", words="-q").notes if n] == []


# On a pseudo-terminal, as a person has it


class Terminal:
    """`edgeq run` on a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        import pty

        pid, self.fd = pty.fork()
        if pid == 0:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
            os.execve(sys.executable, [sys.executable, "-m", "edgeq", "run", *words], environment)
        self.pid, self.seen = pid, b""

    def until(self, found: Callable[[bytes], bool], seconds: float = 60) -> bytes:
        """Reads until `found` holds of what came since the last call."""
        import select

        start, end = len(self.seen), time.monotonic() + seconds
        while not found(self.seen[start:]):
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    more = os.read(self.fd, 65536)
                except OSError:
                    more = b""
                assert more, self.seen
                self.seen += more
        return self.seen[start:]

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def wait(self) -> int:
        for _ in range(300):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("did not end")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="left out: this system has no pseudo-terminals")
def test_a_chat_on_a_real_terminal() -> None:
    t = Terminal(str(tiny()), "--temp", "0", "--ignore-end", "--backend", BACKEND, "-c", "100000", "-n", "90000")
    t.until(lambda s: b"> " in s)
    t.type(b"the fox\r")
    t.until(lambda s: len(s) > 40)  # the answer streams
    t.type(b"\x03")  # Ctrl-C
    t.until(lambda s: b"(stopped)" in s and s.rstrip().endswith(b">"))
    t.type(b"/stats\r")
    t.until(lambda s: b"tokens/s" in s and s.rstrip().endswith(b">"))
    t.type(b"\x04")  # Ctrl-D
    assert t.wait() == 0
    assert b"\x1b]" not in t.seen
    assert b"Traceback" not in t.seen


@pytest.mark.skipif(not hasattr(os, "fork"), reason="left out: this system has no pseudo-terminals")
def test_ctrl_c_at_an_empty_prompt_leaves() -> None:
    t = Terminal(str(tiny()), "--backend", BACKEND)
    t.until(lambda s: b"> " in s)
    time.sleep(0.3)
    t.type(b"\x03")
    assert t.wait() == 130
    assert b"Traceback" not in t.seen
