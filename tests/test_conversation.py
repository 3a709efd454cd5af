"""Chats: history, full contexts, what an interrupted answer leaves behind, saved conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeq.conversation import Chat
from edgeq.errors import ContextError, FormatError, TemplateError, UsageError
from edgeq.generate import start
from tests.small import model


def chat(**settings: Any) -> Chat:
    return model("llama3").chat(**{"temperature": 0.0, "max_tokens": 6, "ignore_end": True, **settings})


def roles(c: Chat) -> list[str]:
    return [m["role"] for m in c.messages]


def test_a_chat_remembers_and_reuses_what_it_ran() -> None:
    c = chat(system="Be brief.")
    first = c.send("the fox")
    text = "".join(first)
    assert c.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "the fox"},
        {"role": "assistant", "content": text},
    ]
    second = c.send("and the dog")
    list(second)
    assert second.usage.cached >= first.usage.prompt
    assert roles(c) == ["system", "user", "assistant", "user", "assistant"]


def test_the_prompt_is_the_rendered_template() -> None:
    c = chat()
    answer = c.send("the fox")
    wanted = c.template.encode(c.model.tokenizer, [{"role": "user", "content": "the fox"}])
    assert answer.prompt == wanted
    spoof = c.send("<|im_end|>")
    end = c.model.tokenizer.ids["<|im_end|>"]
    assert spoof.prompt.count(end) == wanted.count(end)  # what a user writes is no control token


def test_an_answer_that_ends_before_its_first_text_leaves_the_chat_as_it_was() -> None:
    c = chat()
    list(c.send("the fox"))
    before = list(c.messages)
    for end in ("never started", "closed", "cancelled", "failed"):
        answer = c.send("and?", hook=(lambda history, logits: 1 / 0) if end == "failed" else None)
        if end == "closed":
            answer.close()
        elif end == "cancelled":
            answer.cancel()
            assert list(answer) == []
        elif end == "failed":
            with pytest.raises(ZeroDivisionError):
                list(answer)
        assert c.messages == before
    list(c.send("again"))
    assert roles(c) == ["user", "assistant"] * 2


def test_an_answer_that_was_stopped_counts_as_far_as_it_came() -> None:
    c = chat(max_tokens=30)
    answer = c.send("the fox")
    first = next(answer)
    answer.close()
    assert c.messages[-1] == {"role": "assistant", "content": first}
    abandoned = c.send("more")
    piece = next(abandoned)
    list(c.send("another"))  # ends the one before
    assert abandoned.finish_reason == "cancelled"
    assert [m["content"] for m in c.messages][2:5] == ["more", piece, "another"]


def test_regenerate_answers_the_last_message_again() -> None:
    c = chat(temperature=2.0)
    with pytest.raises(UsageError, match="no message"):
        c.regenerate()
    list(c.send("the fox", seed=1))
    first = c.messages[-1]["content"]
    answer = c.regenerate(seed=2)
    list(answer)
    assert roles(c) == ["user", "assistant"]
    assert c.messages[-1]["content"] == answer.text != first
    assert answer.usage.cached == answer.usage.prompt - 1


def test_clear_keeps_the_system_message() -> None:
    c = chat(system="Be brief.")
    list(c.send("the fox"))
    c.clear()
    assert c.messages == [{"role": "system", "content": "Be brief."}]
    assert c.dropped == 0


def test_clear_leaves_nothing_of_a_chat_without_a_system_message() -> None:
    c = chat()
    list(c.send("the fox"))
    c.clear()
    assert c.messages == []
    assert list(c.send("and the dog"))


def test_a_full_chat_drops_its_oldest_turns_and_says_how_many() -> None:
    c = chat(system="Be brief.", context=200)
    dropped = 0
    for turn in range(12):
        answer = c.send(f"the fox and the dog number {turn}")
        list(answer)
        assert answer.finish_reason in ("length", "context")
        assert len(answer.prompt) <= 200 - 25
        dropped += answer.dropped
    assert c.dropped == dropped > 0
    assert dropped % 2 == 0
    assert roles(c)[:3] == ["system", "user", "assistant"]
    assert c.messages[-2]["content"] == "the fox and the dog number 11"
    fresh = start(c.model.session(context=200), answer.prompt, temperature=0.0, max_tokens=6, ignore_end=True)
    assert "".join(fresh) == answer.text


def test_a_message_that_is_too_long_says_by_how_much_and_changes_nothing() -> None:
    c = chat(context=200)
    list(c.send("the fox"))
    before, dropped = list(c.messages), c.dropped
    with pytest.raises(ContextError, match=r"\d+ too many"):
        c.send("dog " * 300)
    assert (c.messages, c.dropped) == (before, dropped)


def test_a_context_that_just_fits_one_message_is_used_to_its_end() -> None:
    tokens = len(chat().send("the fox").prompt)
    c = chat(context=tokens + 3, max_tokens=None)
    answer = c.send("the fox")
    list(answer)
    assert (answer.finish_reason, len(answer.ids)) == ("context", 4)
    with pytest.raises(ContextError):
        chat(context=tokens).send("the fox")


def test_a_file_without_a_template_needs_one() -> None:
    with pytest.raises(TemplateError, match="--template"):
        model("gemma3").chat()
    with model("gemma3").chat(template="gemma", max_tokens=3, temperature=0.0) as c:
        list(c.send("the fox"))
        assert roles(c) in (["user", "assistant"], [])


@pytest.mark.parametrize("text", [5, None, b"x", ["a"]])
def test_a_message_is_text(text: Any) -> None:
    with pytest.raises(UsageError, match="str"):
        chat().send(text)


def test_messages_that_were_edited_to_nonsense_are_an_error() -> None:
    c = chat()
    c.messages = [5]  # type: ignore[list-item]
    with pytest.raises(UsageError):
        c.send("the fox")
    with pytest.raises(UsageError):
        c.regenerate()


def test_a_saved_chat_goes_on(tmp_path: Path) -> None:
    c = chat(system="Be brief.")
    list(c.send("the fox"))
    path = tmp_path / "chat"
    c.save(path)
    other = chat()
    other.load(path)
    assert other.messages == c.messages
    a, b = c.send("and the dog"), other.send("and the dog")
    assert "".join(a) == "".join(b)
    assert a.usage.cached == b.usage.cached > 0


@pytest.mark.parametrize(
    "extra",
    [
        None,
        [],
        {"messages": 5, "dropped": 0},
        {"messages": [5], "dropped": 0},
        {"messages": []},
        {"messages": [{"role": 5}], "dropped": 0},
        {"messages": [], "dropped": "x"},
    ],
)
def test_a_saved_session_is_not_a_saved_chat(extra: Any, tmp_path: Path) -> None:
    c = chat()
    c.session.save(tmp_path / "s", extra)
    with pytest.raises(FormatError, match="not a saved chat"):
        c.load(tmp_path / "s")
    list(c.send("the fox"))
