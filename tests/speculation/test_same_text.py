"""Speculation changes nothing: with any drafts, every row of logits has the bits that it has without, and tokens, text,
reasons, sampler and session are the same, while an answer is made and after it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeq
from edgeq.backends.base import Batch, Cancel
from edgeq.errors import BackendError, Cancelled, ContextError, UsageError
from edgeq.generate import start
from edgeq.sampling import Sampling
from edgeq.session import Session
from edgeq.speculation.lookup import Lookup
from models.tiny.specs import SPECS
from models.tiny.writer import write
from tests.small import BACKEND, folder, tiny
from tests.speculation.drafters import Told, begun, knowing, model, observed
from tests.test_session import interrupted_after

TEXT = [i * 7 % 300 for i in range(30)]
BACKENDS = [*(["native"] if BACKEND == "native" else []), *(["numba"] if find_spec("numba") else []), "reference"]
GREEDY = {"temperature": 0.0, "seed": 1, "max_tokens": 24, "ignore_end": True}
SAMPLED = {"temperature": 1.2, "top_k": 30, "seed": 5, "repeat_penalty": 1.3, "frequency_penalty": 0.2,
           "presence_penalty": 0.1, "dry_multiplier": 0.8, "max_tokens": 24, "ignore_end": True}  # fmt: skip
MIROSTAT = {"temperature": 1.0, "mirostat": 2, "seed": 7, "max_tokens": 24, "ignore_end": True}
XTC = {"temperature": 1.5, "xtc_probability": 0.5, "seed": 3, "max_tokens": 24, "typical_p": 0.9, "ignore_end": True}


@pytest.fixture(scope="module")
def narrow() -> Iterator[Any]:
    """A model by its backend, with windows of 48 in rings of 64 and chunks of 16: no cell of a ring is to spare."""
    path = folder() / "speculation-narrow.gguf"
    write(replace(SPECS["gemma3"], window=48), path)
    made: dict[str, edgeq.Model] = {}

    def load(backend: str = BACKEND) -> edgeq.Model:
        if backend not in made:
            made[backend] = edgeq.load(path, backend=backend, threads=1, chunk=16)
        return made[backend]

    yield load
    for loaded in made.values():
        loaded.close()


def same(make: Any, drafter: Any, prompt: Any = TEXT, **given: Any) -> dict[str, Any]:
    """What both answers have in common: everything. `make` gives a session."""
    wanted = observed(begun(make(), prompt, **given))
    found = observed(begun(make(), prompt, drafter(wanted["ids"]) if callable(drafter) else drafter, **given))
    assert found == wanted
    return found


drafts = st.tuples(
    st.lists(st.integers(0, 15), min_size=1, max_size=4), st.sets(st.integers(0, 40), max_size=12),
    st.lists(st.integers(0, 299), min_size=1, max_size=3),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(drafts, st.sampled_from([GREEDY, SAMPLED, MIROSTAT, XTC]), st.sampled_from(["llama3", "gemma3"]))
def test_any_drafts_give_the_same_bits(made: Any, how: dict[str, Any], name: str) -> None:
    lengths, wrong, lie = made
    same(model(name, chunk=32).session, lambda ids: knowing(ids, lengths, wrong, lie), **how)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", [GREEDY, SAMPLED])
def test_on_every_backend(backend: str, how: dict[str, Any]) -> None:
    m = model("gemma3", backend=backend, chunk=32)
    same(m.session, lambda ids: knowing(ids, [7, 3], {5, 6, 15}, [9]), **how)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_small_batch_of_several_sequences_is_its_tokens_one_by_one(backend: str) -> None:
    """Two batches, the second with rows in the order that is asked for, the third with none."""
    m = model("gemma3", backend=backend)
    states = [m.executable.new_state(3, 64) for _ in range(2)]
    columns = [5, 6, 7, 8], [0, 0, 1, 0], [0, 2, 2, 1]
    more = [9, 10, 11, 12], [1, 1, 2, 2], [1, 0, 0, 2]
    each = [*zip(*columns), *zip(*more)]
    alone = [m.executable.step(states[0], Batch([t], [p], [s], [0]))[0][0] for t, p, s in each]
    wanted = (columns, range(4)), (more, [3, 0, 2])
    found = [m.executable.step(states[1], Batch(*c, outputs))[0] for c, outputs in wanted]
    assert np.array_equal(found[0], np.stack(alone[:4]))
    assert np.array_equal(found[1], np.stack([alone[7], alone[4], alone[6]]))
    assert m.executable.step(states[1], Batch([3, 4], [3, 4], [2, 2], []))[0].shape == (0, m.vocab)


@pytest.mark.parametrize("split", [((5, "reference"), (6, "reference")), ((2, BACKEND),)])
def test_over_a_split_model(split: Any) -> None:
    m = model("gemma3", chunk=32, split=split)
    assert m.session().most_ahead == (7 if "reference" in str(split) or BACKEND != "native" else 15)
    same(m.session, lambda ids: knowing(ids, [5], {8}, [9]), **GREEDY)


def test_a_step_of_more_tokens_is_not_made() -> None:
    m = model(chunk=4)
    sizes = []
    answer = begun(m.session(), TEXT, knowing([1] * 99, [15], (), [1]), **GREEDY)
    append = answer.session.append_row
    answer.session.append_row = lambda *a, **k: (sizes.append(1 + len(k["draft"])), append(*a, **k))[1]  # type: ignore[method-assign]
    list(answer)
    assert max(sizes) == 4


# What is drafted may end the answer


@pytest.mark.parametrize("n", range(1, 18))
def test_the_limit_of_tokens_comes_in_the_middle_of_a_draft(n: int) -> None:
    same(model().session, lambda ids: knowing([*ids, *[3] * 20], [15], (), [3]), **{**GREEDY, "max_tokens": n})


@pytest.mark.parametrize("room", range(1, 19))
def test_the_context_ends_in_the_middle_of_a_draft(room: int) -> None:
    def make() -> Session:
        return model().session(context=len(TEXT) + room)

    found = same(make, lambda ids: knowing(ids, [15], (), [3]), **{**GREEDY, "max_tokens": None})
    assert (found["reason"], found["room"]) == ("context", 0)


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_a_stop_string_in_the_middle_of_a_draft(at: int, details: bool) -> None:
    m = model()
    text = m.tokenizer.stream(at_start=False)
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    pieces = [text.feed(i) for i in ids]
    stop = "".join(pieces[at : at + 3])
    assert stop
    for stops in (stop, stop[-2:] or stop, ("never", stop)):
        found = same(m.session, lambda ids: knowing(ids, [15], (), [3]), stop=stops, details=details, **GREEDY)
        assert found["reason"] == "stop"


@pytest.mark.parametrize("at", [1, 2, 6])
def test_an_end_token_in_the_middle_of_a_draft(at: int) -> None:
    """The model draws it there: the bias of a hook makes it."""
    m, end = model(), min(model().tokenizer.end_ids)

    def hook(history: tuple[int, ...], logits: Any) -> None:
        if len(history) == len(TEXT) + at:
            logits[end] = 1e6

    for lies in ((), range(at, 30)):
        given = {**GREEDY, "ignore_end": False, "hook": hook}
        found = same(m.session, lambda ids, lies=lies: knowing([*ids, end, *[5] * 20], [15], lies, [end]), **given)
        assert (found["reason"], len(found["ids"])) == ("stop", at)


@pytest.mark.parametrize("lie", [0, 299])
def test_a_drafter_that_is_always_wrong_and_one_that_says_end_tokens(lie: int) -> None:
    end = min(model().tokenizer.end_ids)
    for token in (lie, end):
        drafter = Told([15, 1], lambda at, n, token=token: [token] * n)
        answer = begun(model().session(), TEXT, drafter, **SAMPLED)
        wanted = observed(begun(model().session(), TEXT, **SAMPLED))
        assert observed(answer) == wanted
        assert answer.usage.drafted > 0
        assert answer.usage.accepted == sum(drafter.judged)


def test_drafts_that_are_all_right_save_steps() -> None:
    m, steps = model(), []
    wanted = observed(begun(m.session(), TEXT, **GREEDY))
    session = m.session()
    answer = begun(session, TEXT, knowing(wanted["ids"], [15], (), [3]), **GREEDY)
    step = session._step
    session._step = lambda *a: (steps.append(len(a[0].tokens)), step(*a))[1]  # type: ignore[method-assign]
    assert observed(answer) == wanted
    assert steps == [len(TEXT), session.most_ahead + 1, 24 - session.most_ahead - 2]
    assert (answer.usage.drafted, answer.usage.accepted) == (sum(steps[1:]) - 2, 23 - 2)


def test_the_drafter_that_promises_most_drafts() -> None:
    m = model()
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    asked = [knowing(ids, [3], (), [7]), knowing(ids, [5], (), [7]), knowing(ids, [4], (), [7])]
    for drafter, gain in zip(asked, (1.2, 1.5, 1.1)):
        plan = drafter.plan
        drafter.plan = lambda most, costs, plan=plan, gain=gain: (plan(most, costs)[0], gain)  # type: ignore[method-assign]
    answer = begun(m.session(), TEXT, asked[0], **GREEDY)
    answer.speculation._drafters = list(asked)
    assert observed(answer)["ids"] == ids
    assert [bool(drafter.judged) for drafter in asked] == [False, True, False]
    assert {tuple(drafter.pushed) for drafter in asked} == {tuple(ids[:-1])}


# Windows in rings


@pytest.mark.parametrize("backend", BACKENDS)
def test_rejected_drafts_overwrite_nothing_that_a_window_still_needs(backend: str, narrow: Any) -> None:
    """Far beyond the ring, always as many wrong tokens as fit; then the session goes on, and goes back."""
    m = narrow(backend)
    assert min(m.session().state.rings) == 64
    n = 150 if backend != "reference" else 70
    sessions = [m.session(), m.session()]
    how = {**SAMPLED, "max_tokens": n}
    wanted = observed(begun(sessions[0], TEXT, **how))
    found = observed(begun(sessions[1], TEXT, knowing(wanted["ids"], [15, 2], range(0, 999, 5), [7]), **how))
    assert found == wanted
    text = sessions[0].tokens()
    for back in (len(text) - 1, len(text) - 3, len(text) - 9):
        kept = [s.rewind(back) for s in sessions]
        assert kept[0] == kept[1]
        rows = [s.extend([*text[k:back], 5, 6, 7], all_logits=True) for s, k in zip(sessions, kept)]
        assert np.array_equal(*rows)


def test_going_back_reuses_as_much_as_without_drafts_and_nothing_that_one_overwrote(narrow: Any) -> None:
    """An answer that was closed behind a long draft, all of it wrong."""
    kept = set()
    for back in range(1, 24):
        made = []
        for drafter in (None, Told([15], lambda at, n: [7] * n)):
            session = narrow().session()
            answer = begun(session, TEXT * 3, drafter, **GREEDY)
            next(answer)
            next(answer)
            next(answer)
            answer.close()
            text = session.tokens()
            at = session.rewind(len(text) - back)
            made.append((at, zlib.crc32(session.extend([*text[at : len(text) - back], 5]).tobytes())))
        assert made[0] == made[1]
        kept.add(made[0][0])
    assert 0 in kept
    assert len(kept) > 1


def test_a_saved_session_is_the_same_and_goes_on_the_same(tmp_path: Path, narrow: Any) -> None:
    rows = []
    for drafter in (None, knowing([1] * 9, [15], range(99), [7])):
        session, other = narrow().session(2), narrow().session(2)
        list(begun(session, TEXT * 3, drafter, **GREEDY))
        session.fork(0, 1)
        session.save(tmp_path / "s")
        other.load(tmp_path / "s")
        rows.append([s.extend([5, 6], q) for s in (session, other) for q in (0, 1)])
    assert all(np.array_equal(a, rows[0][0]) for made in rows for a in made)


# Interrupts and errors


def test_an_interrupt_at_any_line_leaves_no_logits_for_other_tokens() -> None:
    """Whatever a session foresees after it was struck is what it would compute."""
    m, struck, foresaw = model(), 0, 0
    text = TEXT[:9]
    for events in range(1, 999, 2):
        session = m.session()
        session.extend(text)

        def act(session: Session = session) -> None:
            for token, draft in ((5, [5, 5, 6, 5]), (5, []), (5, []), (7, [5, 5])):
                session.append(token, draft=draft)

        if not interrupted_after(events, act):
            break
        struck += 1
        held = session.tokens()
        if session.foreseen(5):
            foresaw += 1
            plain = m.session()
            plain.extend(text)
            for token in held[len(text) :]:
                plain.extend([token])
            assert np.array_equal(session.append(5), plain.extend([5]))
    assert foresaw > 9
    assert 50 < struck < 499


@pytest.mark.parametrize("at", range(1, 9))
def test_closed_after_any_piece_the_session_holds_what_it_would_without(at: int) -> None:
    m = model()
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    held = []
    for drafter in (None, knowing(ids, [4], {3}, [7])):
        answer = begun(m.session(), TEXT, drafter, details=True, **GREEDY)
        for _ in range(at):
            next(answer)
        answer.close()
        held.append((answer.session.tokens(), answer.finish_reason, answer.ids))
        again = start(answer.session, [*TEXT, *ids[:at], 5], draft_tokens=0, **GREEDY)
        held[-1] = (*held[-1], observed(again)["rows"], again.usage.cached)
    assert held[0] == held[1]


def test_a_step_that_is_cancelled_leaves_the_tokens_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    m, flag = model(), Cancel()
    answer = begun(m.session(), TEXT, knowing([1] * 99, [4], (), [7]), cancel=flag, **GREEDY)
    next(answer)
    before = answer.session.tokens()
    step = type(m.executable).step

    def cancelled(self: Any, state: Any, batch: Any, **given: Any) -> Any:
        step(self, state, batch, **given)  # what it wrote is there
        raise Cancelled("now")

    monkeypatch.setattr(type(m.executable), "step", cancelled)
    assert list(answer) == []
    monkeypatch.undo()
    assert (answer.finish_reason, answer.session.tokens()) == ("cancelled", before)
    wanted = observed(begun(m.session(), before, **GREEDY))["ids"]
    assert observed(begun(answer.session, before, **GREEDY))["ids"] == wanted


def test_cancelled_in_the_middle_of_an_accepted_draft() -> None:
    m = model()
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    answer = begun(m.session(), TEXT, knowing(ids, [8], (), [7]), details=True, **GREEDY)
    for _ in range(4):
        next(answer)
    answer.cancel()
    assert list(answer) == []
    assert (answer.finish_reason, answer.session.tokens()) == ("cancelled", [*TEXT, *ids[:3]])


def test_an_answer_notices_a_change_of_its_sequence_in_the_middle_of_an_accepted_draft() -> None:
    m = model()
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    answer = begun(m.session(), TEXT, knowing(ids, [8], (), [7]), details=True, **GREEDY)
    for _ in range(4):
        next(answer)
    answer.session.rewind(len(TEXT))
    with pytest.raises(UsageError, match="changed"):
        list(answer)


def test_nan_logits_of_a_drafted_token_are_an_error_when_their_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    m = model()
    ids = observed(begun(m.session(), TEXT, **GREEDY))["ids"]
    answer = begun(m.session(), TEXT, knowing(ids, [8], (), [7]), details=True, **GREEDY)
    next(answer)
    step = type(m.executable).step

    def broken(self: Any, *args: Any, **given: Any) -> Any:
        out = step(self, *args, **given)
        out[0][3] = np.nan
        return out

    monkeypatch.setattr(type(m.executable), "step", broken)
    with pytest.raises(BackendError, match="NaN"):
        list(answer)
    assert answer.ids == ids[:4]


# As users have it


@pytest.mark.parametrize("settings", [{}, {"lookup": False}, {"draft_tokens": 0}, {"draft_tokens": 1}])
def test_lookup_is_on_and_changes_nothing(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it finds, it drafts here."""
    def eager(self: Lookup, most: int, costs: Any) -> tuple[int, float]:
        return (min(most, 6), 1.0) if self._place else (0, 0.0)

    monkeypatch.setattr(Lookup, "plan", eager)
    m = model("llama3")
    for how in (GREEDY, SAMPLED):
        given = {**how, "max_tokens": 60, "logit_bias": dict.fromkeys((5, 6, 7), 1e4)}
        wanted = observed(start(m.session(), TEXT, draft_tokens=0, **given))
        answer = start(m.session(), TEXT, **given, **settings)
        assert observed(answer) == wanted
        most = 0 if settings.get("lookup") is False else settings.get("draft_tokens", 6)
        assert (answer.usage.drafted > 0) == (answer.usage.accepted > 0) == bool(most)


@pytest.mark.parametrize("bad", [
    {"lookup": 1}, {"lookup": None}, {"draft_tokens": -1}, {"draft_tokens": 1.5}, {"draft_tokens": True},
    {"draft": "x.gguf"}, {"draft": 3},
])  # fmt: skip
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        start(model().session(), TEXT, **bad)


def test_a_backend_that_promises_nothing_drafts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    m = edgeq.load(tiny(), backend="reference")
    m.executable.small_batch = 1
    session = m.session()
    assert session.most_ahead == 0
    answer = start(session, [5, 6, 7] * 9, temperature=0.0, max_tokens=12, ignore_end=True)
    list(answer)
    assert answer.usage.drafted == 0
    with pytest.raises(UsageError, match="reference"):
        start(session, TEXT, draft=model())


# The session alone


def test_what_was_run_ahead_counts_once_and_only_for_the_very_next_token() -> None:
    m = model()
    session, plain = m.session(), m.session()
    for s in (session, plain):
        s.extend(TEXT)
    first = session.append(5, draft=[6, 7, 8])
    assert np.array_equal(first, plain.append(5))
    assert session.tokens() == plain.tokens()
    assert [session.foreseen(t) for t in (5, 6, 7)] == [False, True, False]
    assert np.array_equal(session.append(6), plain.extend([6]))
    assert session.foreseen(7)
    assert np.array_equal(session.append(9), plain.extend([9]))
    assert not session.foreseen(7)
    assert not session.foreseen(8)
    assert session.tokens() == plain.tokens() == [*TEXT, 5, 6, 9]
    assert session.edition() == plain.edition()


@pytest.mark.parametrize("act", [
    lambda s: s.extend([6]), lambda s: s.decode({0: 6}), lambda s: s.rewind(12), lambda s: s.sync(TEXT[:9]),
    lambda s: s.fork(1, 0), lambda s: s.load(s.path), lambda s: s.append(3),
])  # fmt: skip
def test_whatever_changes_the_sequence_drops_what_was_run_ahead(act: Any, tmp_path: Path) -> None:
    session = model().session(2)
    session.path = tmp_path / "s"  # type: ignore[attr-defined]
    session.save(session.path)  # type: ignore[attr-defined]
    session.extend(TEXT)
    session.append(5, draft=[6, 7])
    act(session)
    assert not session.foreseen(6)
    assert not session.foreseen(7)


def test_a_fork_in_the_middle_of_a_draft(narrow: Any) -> None:
    session, plain = narrow().session(2), narrow().session()
    for s in (session, plain):
        s.extend(TEXT * 3)
    session.append(5, draft=list(range(15)))
    session.fork(0, 1)
    wanted = [plain.extend([i]) for i in (5, 0, 1)][1:]
    for sequence in (1, 0):
        assert [np.array_equal(session.append(i, sequence), w) for i, w in enumerate(wanted)] == [True, True]


def test_drafts_that_cannot_be_run_change_nothing() -> None:
    session = model().session(context=len(TEXT) + 4)
    session.extend(TEXT)
    with pytest.raises(UsageError, match="at most"):
        model().session().append(5, draft=[1] * 16)
    for draft, error in (([1, 320], UsageError), ([-1], UsageError), ([True], UsageError), ([1] * 4, ContextError)):
        with pytest.raises(error):
            session.append(5, draft=draft)
    assert session.tokens() == TEXT
    session.append(5, draft=[1] * 3)
    assert session.room() == 3


def test_a_closed_model_answers_nothing_that_was_run_ahead() -> None:
    m = edgeq.load(tiny(), backend=BACKEND)
    session = m.session()
    session.append(5, draft=[6])
    m.close()
    with pytest.raises(edgeq.errors.EdgeqError):
        session.append(6)


def test_sampling_settings_do_not_know_of_drafts() -> None:
    assert not {"draft", "draft_tokens", "lookup"} & set(Sampling.fields)
