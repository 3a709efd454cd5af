"""A model that drafts: what it proposes, how its session follows the text, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeq
from edgeq.backends.base import Cancel
from edgeq.errors import Cancelled, UsageError
from edgeq.generate import start
from edgeq.gguf import Value, Writer
from edgeq.model import Model
from edgeq.speculation import draft
from edgeq.speculation.draft import CHANCE, NEW, PRICE, PROBE, DraftModel, check_vocabulary
from edgeq.speculation.pays import Costs
from tests.small import BACKEND, folder, tiny
from tests.speculation.drafters import begun, model, observed

TEXT = [i * 7 % 300 for i in range(30)]
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 40, "ignore_end": True, "seed": 1}
SAMPLED: dict[str, Any] = {"temperature": 1.3, "max_tokens": 40, "ignore_end": True, "seed": 1, "repeat_penalty": 1.2}


def greedy_from(m: Model, text: list[int], n: int) -> list[int]:
    return observed(begun(m.session(), text, temperature=0.0, max_tokens=n, ignore_end=True))["ids"]  # type: ignore[no-any-return]


class Always(DraftModel):
    """Drafts five tokens whenever it can."""

    def plan(self, most: int, costs: Any) -> tuple[int, float]:
        super().plan(most, costs)
        n = min(most, 5, self._session.context - len(self._text) + 1)
        return (0, 1.0) if self._foreign else (max(0, n), 1.0)


@pytest.mark.parametrize("name", ["llama-linear", "llama-bias"])
@pytest.mark.parametrize("how", [GREEDY, SAMPLED])
def test_answers_are_the_same_and_its_session_follows(name: str, how: dict[str, Any]) -> None:
    """One that is always right (the model itself), and one that knows nothing of it."""
    m = model("llama-linear")
    wanted = observed(begun(m.session(), TEXT, **how))
    drafter = Always(m, model(name))
    drafter.begin(TEXT)
    answer = begun(m.session(), TEXT, drafter, **how)
    assert observed(answer) == wanted
    assert drafter._text == [*TEXT, *answer.ids[:-1]]
    held = drafter._session.tokens()
    assert drafter._ran is not None
    assert held == [*drafter._text[: drafter._ran], *drafter._guesses]
    if name == "llama-linear" and how is GREEDY:
        assert answer.usage.accepted == answer.usage.drafted > 30
    else:
        assert answer.usage.accepted < answer.usage.drafted


def test_a_small_model_with_windows() -> None:
    """Far beyond its rings: going back a draft loses nothing."""
    m = model("gemma3", chunk=16)
    how = {**SAMPLED, "max_tokens": 150}
    drafter = Always(m, m)
    drafter.begin(TEXT)
    answer = begun(m.session(), TEXT, drafter, **how)
    assert observed(answer) == observed(begun(m.session(), TEXT, **how))
    assert drafter._session.tokens()[:150] == [*TEXT, *answer.ids][:150]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(0, 299), max_size=5), st.integers(0, 6)), max_size=6))
def test_drafts_are_what_the_small_model_says_after_the_text(turns: list[tuple[int, list[int], int]]) -> None:
    """Whatever became of the drafts before: accepted in part, replaced, nothing drafted for a while."""
    small, text = model("llama-linear"), list(TEXT)
    drafter = DraftModel(model("llama-bias"), small)
    drafter.begin(text)
    for n, others, right in turns:
        guesses = drafter.draft(n)
        assert guesses == greedy_from(small, text, n)
        for token in [*guesses[:right], *others, 3]:
            drafter.push(token)
            text.append(token)


def test_another_text_reuses_what_was_run() -> None:
    small = model("llama-linear")
    drafter = DraftModel(model("llama-bias"), small)
    drafter.begin(TEXT)
    drafter.draft(3)
    steps = []
    step = drafter._session._step
    drafter._session._step = lambda *a: (steps.append(len(a[0].tokens)), step(*a))[1]  # type: ignore[method-assign]
    drafter.begin([*TEXT[:25], 1, 2, 3])
    assert drafter.draft(2) == greedy_from(small, [*TEXT[:25], 1, 2, 3], 2)
    assert steps == [3, 1]
    for token in (*drafter._guesses, 7, 8):
        drafter.push(token)
    drafter.draft(1)
    assert steps[2:] == [2]  # what was guessed rightly is not run again
    drafter.push(9)
    drafter.draft(1)
    assert steps[3:] == [1]


def test_a_draft_that_is_interrupted_is_made_anew() -> None:
    small, flag = model("llama-linear"), Cancel()
    drafter = DraftModel(model("llama-bias"), small)
    drafter.begin(TEXT)
    drafter.draft(4)
    drafter.push(5)
    flag.set()
    with pytest.raises(Cancelled):
        drafter.draft(3, flag)
    flag.clear()
    drafter.push(6)
    assert drafter.draft(3, flag) == greedy_from(small, [*TEXT, 5, 6], 3)


def test_a_draft_that_is_interrupted_when_its_windows_have_lost_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back means to start over, and that is where it was struck."""
    small, flag, text = model("gemma3", chunk=16), Cancel(), TEXT * 5
    drafter = DraftModel(small, small)
    drafter.begin(text)
    drafter.draft(9)
    monkeypatch.setattr(type(drafter._session.state), "reusable", lambda self, length, wanted: 0)
    drafter.push(5)
    flag.set()
    with pytest.raises(Cancelled):
        drafter.draft(3, flag)
    flag.clear()
    drafter.push(6)
    assert drafter.draft(3, flag) == greedy_from(small, [*text, 5, 6], 3)


def test_an_answer_that_is_cancelled_in_its_draft_holds_what_was_chosen() -> None:
    m, flag = model("llama-bias"), Cancel()
    drafter = Always(m, model("llama-linear"))
    drafter.begin(TEXT)
    answer = begun(m.session(), TEXT, drafter, cancel=flag, details=True, **GREEDY)
    next(answer)
    extend = drafter._session.sync
    drafter._session.sync = lambda *a, **k: (flag.set(), extend(*a, **k))[1]  # type: ignore[method-assign]
    assert list(answer) == []
    assert (answer.finish_reason, answer.session.tokens()) == ("cancelled", TEXT)


def test_its_context_ends_before_that_of_the_model() -> None:
    m, small = model("llama-linear"), model("llama-linear", context=40)
    how = {**GREEDY, "max_tokens": 60}
    drafter = Always(m, small)
    drafter.begin(TEXT)
    answer = begun(m.session(), TEXT, drafter, **how)
    assert observed(answer) == observed(begun(m.session(), TEXT, **how))
    assert len(drafter._session.tokens()) == 40
    assert DraftModel(model("llama-linear", context=40), m)._session.context == 40
    wide = model("llama-linear", context=2048 + 64)
    assert DraftModel(wide, wide)._session.context == 2048  # no further than it was trained for


def test_a_plan_ends_with_its_context() -> None:
    drafter, costs = DraftModel(model("llama-linear"), model("llama-bias", context=40)), Costs(16)
    costs.one = 1.0
    for held, most in ((30, 11), (38, 3), (40, 1), (41, 0), (50, 0)):
        drafter.begin([5] * held)
        drafter._each, drafter._chance = 1e-9, 1.0
        assert drafter.plan(15, costs)[0] == most


def test_the_first_draft_is_short_for_its_price_is_not_known() -> None:
    drafter, costs = DraftModel(model("llama-linear"), model("llama-bias")), Costs(16)
    costs.one = 1.0
    drafter.begin(TEXT)
    assert drafter.plan(15, costs)[0] == PROBE
    drafter._each = 1e-9
    assert drafter.plan(15, costs)[0] > PROBE
    drafter.judge(False)
    drafter.begin(TEXT)
    assert drafter.plan(15, costs)[0] == PROBE


def test_as_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    m, small = model("llama-linear"), model("llama-bias")
    plan = DraftModel.plan
    monkeypatch.setattr(DraftModel, "plan", lambda self, most, costs: (min(most, 3), plan(self, most, costs)[1]))
    for given_ in (small, m):
        answer = start(m.session(), TEXT, draft=given_, lookup=False, **GREEDY)
        assert observed(answer) == observed(begun(m.session(), TEXT, **GREEDY))
        assert answer.usage.drafted > 20
    assert answer.usage.accepted == answer.usage.drafted
    again = start(m.session(), TEXT, draft=small, draft_tokens=0, **GREEDY)
    list(again)
    assert again.usage.drafted == 0


def test_it_learns_how_often_it_is_right_and_what_a_draft_takes() -> None:
    drafter = DraftModel(model("llama-linear"), model("llama-bias"))
    drafter.judge(True)
    assert drafter._chance == pytest.approx(CHANCE + NEW * (1 - CHANCE))
    drafter.judge(False)
    assert drafter._chance == pytest.approx((CHANCE + NEW * (1 - CHANCE)) * (1 - NEW))
    drafter.begin(TEXT)
    assert drafter._chance == CHANCE


def test_a_draft_takes_what_its_shortest_step_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt, or a long text that was written without drafts, is none of them."""
    drafter, now = DraftModel(model("llama-linear"), model("llama-bias")), 0.0
    monkeypatch.setattr(draft.time, "perf_counter", lambda: now)
    session, taken = drafter._session, [100.0, 7.0, 3.0, 5.0, 4.0, 6.0, 50.0, 1.0]
    step = session._step

    def takes(*given: Any) -> Any:
        nonlocal now
        now += taken.pop(0)
        return step(*given)

    session._step = takes  # type: ignore[method-assign]
    drafter.begin(TEXT)
    drafter.draft(1)
    assert drafter._each == 0  # only the prompt was run
    drafter.push(5)
    drafter.draft(3)
    assert drafter._each == 3
    drafter.push(5)
    drafter.draft(2)
    assert drafter._each == 3 + PRICE * (4 - 3)
    for _ in range(9):
        drafter.push(6)
    drafter.draft(1)
    assert drafter._each == 3 + PRICE


def test_one_session_serves_all_answers_of_a_chat() -> None:
    m = model("llama3")
    wanted = []
    for settings_ in ({"draft_tokens": 0}, {"draft": m}):
        chat = m.chat(temperature=0.0, max_tokens=20, ignore_end=True, **settings_)
        answers = [chat.send("the fox"), chat.send("and the dog")]
        wanted.append(["".join(a) for a in answers])
    assert wanted[0] == wanted[1]
    models = {id(a.speculation._model) for a in answers}
    assert len(models) == 1


# Vocabularies


def renamed(token: int, text: str) -> Path:
    """A tiny model with another text for one token."""
    path = folder() / "speculation-renamed.gguf"
    with edgeq.gguf.open(tiny("llama-bias")) as file:
        tokens = file.metadata["tokenizer.ggml.tokens"].tolist()
        tokens[token] = text
        metadata = {**file.metadata.typed(), "tokenizer.ggml.tokens": Value("array[string]", tokens)}
        tensors = list(file.tensors.values())
        with Writer(path, metadata, [(t.name, t.shape, t.format) for t in tensors]) as writer:
            for t in tensors:
                writer.write(t.name, t.data)
    return path


def test_another_vocabulary_is_refused_and_the_first_token_that_differs_is_named() -> None:
    m = model("llama-bias")
    with pytest.raises(UsageError, match="needs the same vocabulary") as error:
        start(m.session(), TEXT, draft=model("gemma3"))
    assert "gemma3.gguf" in str(error.value)
    with edgeq.load(renamed(277, "ot\x1bher"), backend=BACKEND) as other:
        with pytest.raises(UsageError, match=r"its token 277 is 'ot\\x1bher', the model's is"):
            DraftModel(m, other)
        with pytest.raises(UsageError, match="same vocabulary"):
            m.chat(draft=other)


def test_tables_that_are_padded_differently_are_the_same_vocabulary() -> None:
    """Files of one family are; an id that only one has is never drafted, and ends what the other can follow."""
    class Padded:
        def __init__(self, tokens: list[str]) -> None:
            self.file = type("File", (), {"metadata": {"tokenizer.ggml.tokens": tokens}, "path": "x.gguf"})()

    check_vocabulary(Padded(["a", "b"]), Padded(["a", "b", "[PAD2]"]))  # type: ignore[arg-type]
    check_vocabulary(Padded(["a", "b", "[PAD2]"]), Padded(["a", "b"]))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="token 1 is 'c', the model's is 'b'"):
        check_vocabulary(Padded(["a", "b", "d"]), Padded(["a", "c"]))  # type: ignore[arg-type]


def test_tokens_that_only_one_of_the_two_has() -> None:
    m = model("llama-linear")
    drafter = Always(m, model("llama-bias"))
    drafter._vocab = 200
    wanted = observed(begun(m.session(), TEXT[:20], **GREEDY))
    drafter.begin(TEXT[:20])
    assert max(TEXT[:20]) < 200 <= max(wanted["ids"])
    answer = begun(m.session(), TEXT[:20], drafter, **GREEDY)
    assert observed(answer) == wanted
    assert max(drafter.draft(9)) < 200
    assert drafter._foreign
    drafter.begin([5, 250])
    assert drafter.plan(5, answer.session.costs) == (0, 1.0)
    drafter.begin([5])
    assert not drafter._foreign
