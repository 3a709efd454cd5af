"""What reaches stdout: bytes as they are in a pipe, nothing that drives a terminal on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.cli.terminal import Out, harmless


class Stream(io.TextIOWrapper):
    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def bytes(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


@given(st.text())
def test_a_terminal_gets_no_control_character(text: str) -> None:
    shown = harmless(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    if all(c.isprintable() or c in "\n\t" for c in text):
        assert shown == text


def test_an_escape_sequence_is_spelled_out() -> None:
    stream = Stream(True)
    Out(stream).write("a\x1b]0;title\x07\x9b2J\r\n\tb")
    assert stream.bytes() == b"a\\x1b]0;title\\x07\\x9b2J\\x0d\n\tb"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_a_pipe_gets_utf8_whatever_the_locale(encoding: str) -> None:
    stream = Stream(False, encoding)
    out = Out(stream)
    out.write("ä\x1b[2J€")
    out.end()
    assert stream.bytes() == "ä\x1b[2J€".encode()


def test_a_terminal_that_cannot_show_a_character_gets_its_number() -> None:
    stream = Stream(True, "ascii")
    Out(stream).write("ä€")
    assert stream.bytes() == b"\\xe4\\u20ac"


def test_the_last_line_is_ended_on_a_terminal_only() -> None:
    for terminal, text, wanted in (
        (True, "a", b"a\n"),
        (True, "a\n", b"a\n"),
        (True, "", b""),
        (False, "a", b"a"),
    ):
        stream = Stream(terminal)
        out = Out(stream)
        out.write(text)
        out.end()
        assert stream.bytes() == wanted


def test_no_stdout_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "stdout", None)
    out: Any = Out()
    out.write("a")
    out.end()
