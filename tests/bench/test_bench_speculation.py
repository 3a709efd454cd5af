"""The bench of drafts: it compares answers, says what it measured, and fails where it must."""

from __future__ import annotations

from typing import Any

import pytest

from bench import speculation
from edgeq.generate import Generation
from tests.small import BACKEND, tiny

MODEL = str(tiny("qwen2-yarn"))  # a small vocabulary makes long prompts

def run(*words: str) -> int:
    return speculation.main([MODEL, "--rounds", "1", "-n", "12", "--threads", "1", "--backend", BACKEND, *words])


def test_a_line_per_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rewrite", "free"]
    assert all("2 pairs of answers, all alike" in line for line in lines)
    assert run("--draft", MODEL, "--tasks", "free") == 0
    assert "0 drafted" not in capsys.readouterr().out


def test_it_fails_where_answers_differ_and_with_check_where_drafts_are_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = {name: task._replace(least=1e9) for name, task in speculation.TASKS.items()}
    monkeypatch.setattr(speculation, "TASKS", tasks)
    assert run() == 0
    assert run("--check", "--tasks", "free") == 1
    capsys.readouterr()
    made = speculation.answered

    def other(session: Any, prompt: Any, task: Any, n: int, drafts: dict[str, Any]) -> Generation:
        answer = made(session, prompt, task, n, drafts)
        answer.ids[-1] += "draft_tokens" in drafts
        return answer

    monkeypatch.setattr(speculation, "answered", other)
    assert run("--tasks", "rewrite") == 1
    assert "the answers differ" in capsys.readouterr().out
