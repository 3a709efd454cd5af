"""The token loop: where it ends, what it counts, cancel and interrupts, threads, asyncio, forks."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import threading
import time
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.backends.base import Cancel
from edgeq.errors import BackendError, ContextError, UsageError
from edgeq.generate import Generation, Piece, start
from tests.small import BACKEND, model, real, tiny

TEXT = "The quick brown fox"


def greedy(**settings: Any) -> Generation:
    return model().generate(TEXT, **{"temperature": 0.0, "max_tokens": 20, "ignore_end": True, **settings})


def test_pieces_make_the_text_and_the_counts_are_right() -> None:
    answer = greedy()
    pieces = list(answer)
    assert "".join(pieces) == answer.text
    assert all(pieces)
    assert answer.finish_reason == "length"
    assert len(answer.ids) == answer.usage.generated == 20
    assert answer.usage.prompt == len(model().tokenize(TEXT))
    assert answer.usage.cached == 0
    assert 0 < answer.timings.prompt <= answer.timings.first_token
    assert answer.timings.generate > 0
    assert list(answer) == []


def test_text_continues_the_prompt_with_its_space() -> None:
    """The space before the first word was lost where the vocabulary puts one before every text."""
    m = model("llama-spm")
    answer = m.generate(TEXT, temperature=0.0, max_tokens=12, ignore_end=True)
    text = "".join(answer)
    assert (
        text.encode()
        == b"".join(map(m.tokenizer.token_bytes, answer.ids)).decode("utf-8", "replace").encode()
    )
    space = next(i for i, p in enumerate(m.tokenizer.pieces) if p == "▁the")
    forced = m.generate(TEXT, temperature=0.0, max_tokens=1, logit_bias={space: 1e6})
    assert "".join(forced) == " the"


def test_time_that_the_caller_takes_does_not_count() -> None:
    answer = greedy(max_tokens=4)
    for _ in answer:
        time.sleep(0.2)
    assert answer.timings.generate < 0.3


def test_details_have_a_probability_for_every_token() -> None:
    m = model()
    answer = greedy(details=True, top_logprobs=5, max_tokens=8)
    pieces = list(answer)
    assert all(isinstance(p, Piece) for p in pieces)
    assert [p.id for p in pieces] == answer.ids
    assert "".join(p.text for p in pieces) == answer.text
    logits = m.logits([*answer.prompt, *answer.ids])[len(answer.prompt) - 1 : -1].astype(np.float64)
    for piece, row in zip(pieces, logits, strict=True):
        row -= row.max()
        row -= math.log(np.exp(row).sum())
        assert piece.logprob == pytest.approx(row[piece.id], abs=0.02)
        assert piece.top[0][0] == piece.id
        assert [v for _, v in piece.top] == sorted((v for _, v in piece.top), reverse=True)
        assert len(piece.top) == 5


def test_the_end_token_ends_and_is_no_part_of_the_answer() -> None:
    m = model()
    end = min(m.tokenizer.end_ids)
    answer = m.generate(TEXT, temperature=0.0, max_tokens=5, logit_bias={end: 1e6})
    assert (list(answer), answer.finish_reason, answer.ids, answer.usage.generated) == ([], "stop", [], 0)
    answer = m.generate(TEXT, temperature=0.0, max_tokens=3, logit_bias={end: 1e6}, ignore_end=True)
    list(answer)
    assert (answer.finish_reason, answer.ids) == ("length", [end] * 3)


def scripted(ids: list[int], **settings: Any) -> Generation:
    """An answer whose tokens are given: a hook wants each in turn."""
    m = model()
    turn = iter(ids)

    def hook(history: tuple[int, ...], logits: Any) -> Any:
        logits[:] = -1.0
        logits[next(turn)] = 1.0

    return m.generate(TEXT, temperature=0.0, hook=hook, **settings)


def spelled(text: str) -> list[int]:
    return [model().tokenizer.encode(c, add_special=False)[0] for c in text]


@pytest.mark.parametrize(
    ("text", "stop", "wanted", "reason"),
    [
        ("abcXYZdef", "XYZ", "abc", "stop"),
        ("abcXYdef", ("XYZ", "ef"), "abcXYd", "stop"),
        ("abXY", ("XYZ",), "abXY", "length"),
        ("XYZ", "XYZ", "", "stop"),
        ("aaab", "aab", "a", "stop"),
    ],
)
def test_stop_strings_across_token_borders(text: str, stop: Any, wanted: str, reason: str) -> None:
    for details in (False, True):
        answer = scripted(spelled(text), stop=stop, max_tokens=len(text), details=details)
        pieces = list(answer)
        assert "".join(p.text if details else p for p in pieces) == answer.text == wanted
        assert answer.finish_reason == reason
        if details:
            assert [p.id for p in pieces] == answer.ids


def test_what_is_held_back_comes_out_at_the_end_token() -> None:
    end = min(model().tokenizer.end_ids)
    answer = scripted([*spelled("abXY"), end], stop="XYZ", details=True)
    pieces = list(answer)
    assert answer.text == "abXY"
    assert answer.finish_reason == "stop"
    assert [p.id for p in pieces] == [*answer.ids, end]
    assert pieces[-1].text == "XY"


def test_half_a_character_at_the_end_comes_behind_what_was_held_back() -> None:
    """And may itself complete a stop string."""
    m = model()
    half = next(i for i in range(256) if m.tokenizer.token_bytes(i) == b"\xc3")
    answer = scripted([*spelled("abXY"), half], stop="XYZ", max_tokens=5)
    assert "".join(answer) == answer.text == "abXY\ufffd"
    assert answer.finish_reason == "length"
    answer = scripted([*spelled("abXY"), half], stop="Y\ufffd", max_tokens=5)
    assert "".join(answer) == answer.text == "abX"
    assert answer.finish_reason == "stop"


def test_half_a_character_is_never_shown() -> None:
    m = model()
    parts = [next(i for i in range(256) if m.tokenizer.token_bytes(i) == bytes([b])) for b in "ä€".encode()]
    pieces = list(scripted(parts, max_tokens=len(parts)))
    assert pieces == ["ä", "€"]
    assert list(scripted(parts[:-1], max_tokens=len(parts) - 1)) == ["ä", "\ufffd"]


def test_max_tokens_0_runs_the_prompt_and_says_nothing() -> None:
    answer = greedy(max_tokens=0)
    assert list(answer) == []
    assert answer.finish_reason == "length"
    assert answer.timings.prompt > 0
    assert answer.session.tokens() == answer.prompt


def test_a_prompt_as_long_as_the_context_leaves_room_for_one_token() -> None:
    session = model().session(context=24)
    answer = start(session, list(range(24)), temperature=0.0, ignore_end=True)
    list(answer)
    assert (answer.finish_reason, len(answer.ids)) == ("context", 1)
    with pytest.raises(ContextError, match="1 too many"):
        start(session, list(range(25)))
    answer = start(session, list(range(20)), temperature=0.0, ignore_end=True)
    list(answer)
    assert (answer.finish_reason, len(answer.ids), session.room()) == ("context", 5, 0)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"stop": 5},
        {"stop": ""},
        {"stop": [b"x"]},
        {"seed": -1},
        {"seed": "x"},
        {"temperature": math.nan},
        {"wrong": 1},
        {"top_logprobs": -1},
        {"top_logprobs": 10**9},
        {"sampling": 3},
        {"sequence": 1},
        {"hook": 5},
        {"logit_bias": {10**6: 1.0}},
    ],
)
def test_bad_settings_are_refused_before_anything_runs(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        start(model().session(), TEXT, **bad)


@pytest.mark.parametrize("prompt", [[], b"", 7, None, [-1], [99999], ["a"]])
def test_bad_prompts_are_refused(prompt: Any) -> None:
    m = model("qwen2")  # no BOS: an empty text has no tokens
    with pytest.raises(UsageError):
        m.generate(prompt)


def test_the_same_seed_gives_the_same_text() -> None:
    def text(seed: int | None) -> str:
        return "".join(model().generate(TEXT, seed=seed, max_tokens=30, ignore_end=True, temperature=1.5))

    assert text(4) == text(4)
    assert len({text(s) for s in range(5)}) > 1
    answer = model().generate(TEXT, max_tokens=5)
    assert 0 <= answer.sampler.seed < 2**64


def test_nan_logits_are_an_error_not_token_0(monkeypatch: pytest.MonkeyPatch) -> None:
    m = model()
    answer = greedy()
    next(answer)
    real_step = type(m.executable).step

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = real_step(self, *args, **kwargs)
        out[0][...] = np.nan
        return out

    monkeypatch.setattr(type(m.executable), "step", broken)
    with pytest.raises(BackendError, match="NaN"):
        list(answer)
    assert answer.finish_reason == "error"


# How an answer ends early


def test_an_exception_of_a_hook_passes_and_the_session_goes_on() -> None:
    def hook(history: tuple[int, ...], logits: Any) -> None:
        if len(history) > 12:
            raise ZeroDivisionError

    session = model().session()
    answer = start(session, list(range(10)), temperature=0.0, hook=hook, ignore_end=True)
    with pytest.raises(ZeroDivisionError):
        list(answer)
    assert answer.finish_reason == "error"
    again = start(session, list(range(10)), temperature=0.0, ignore_end=True, max_tokens=6)
    assert "".join(again) == "".join(
        start(model().session(), list(range(10)), temperature=0.0, ignore_end=True, max_tokens=6)
    )
    assert again.usage.cached == 9


def test_a_hook_that_meddles_with_its_own_answer() -> None:
    box: list[Generation] = []

    def closes(history: tuple[int, ...], logits: Any) -> None:
        box[0].close()

    def iterates(history: tuple[int, ...], logits: Any) -> None:
        next(box[0])

    box[:] = [model().generate(TEXT, hook=closes)]
    assert list(box[0]) == []
    assert box[0].finish_reason == "cancelled"
    box[:] = [model().generate(TEXT, hook=iterates)]
    with pytest.raises(UsageError, match="within itself"):
        list(box[0])


def test_close_at_any_time() -> None:
    answer = greedy()
    answer.close()
    assert (list(answer), answer.finish_reason) == ([], "cancelled")
    with greedy() as answer:
        next(answer)
    assert (list(answer), answer.finish_reason, len(answer.ids)) == ([], "cancelled", 1)
    answer = greedy(max_tokens=1)
    list(answer)
    answer.close()
    assert answer.finish_reason == "length"


def test_a_flag_that_is_set_stays_set_until_it_is_cleared() -> None:
    flag = Cancel()
    answer = greedy(cancel=flag)
    next(answer)
    flag.set()
    assert (list(answer), answer.finish_reason) == ([], "cancelled")
    again = greedy(cancel=flag)
    assert (list(again), again.finish_reason, again.ids) == ([], "cancelled", [])
    flag.clear()
    assert list(greedy(cancel=flag))
    with greedy(cancel=flag) as answer:
        next(answer)
    assert not flag  # close does not set the caller's flag


def test_two_answers_over_one_sequence_do_not_mix() -> None:
    session = model().session()
    first = start(session, TEXT, temperature=0.0, ignore_end=True)
    next(first)
    second = start(session, "Der Hund und", temperature=0.0, ignore_end=True, max_tokens=3)
    wanted = "".join(start(model().session(), "Der Hund und", temperature=0.0, ignore_end=True, max_tokens=3))
    assert "".join(second) == wanted
    with pytest.raises(UsageError, match="changed"):
        list(first)


LONG = [i % 300 for i in range(5000)]


def long_prefill() -> edgeq.Model:
    """A model that runs the prompt LONG in one step, of a second or more."""
    if BACKEND != "native":
        pytest.skip("left out: needs the native library")
    return edgeq.load(tiny(), context=6000, chunk=8192, threads=1, isa="scalar")


def test_cancel_from_another_thread_within_one_step_of_a_long_prefill() -> None:
    with long_prefill() as m:
        answer = m.generate(LONG)
        timer = threading.Timer(0.2, answer.cancel)
        timer.start()
        assert list(answer) == []
        assert answer.finish_reason == "cancelled"
        assert answer.timings.first_token == 0
        assert answer.session.tokens() == []  # the step itself ended: its tokens are not held
        answer.session.sync(list(range(20)))


def test_close_from_another_thread_waits_for_the_step_and_ends_it() -> None:
    with long_prefill() as m:
        answer = m.generate(LONG)
        found: list[Any] = []
        worker = threading.Thread(target=lambda: found.extend(answer))
        worker.start()
        time.sleep(0.2)
        answer.close()
        worker.join(10)
        assert not worker.is_alive()
        assert (found, answer.finish_reason, answer.session.tokens()) == ([], "cancelled", [])


# Threads, asyncio, processes


def test_eight_threads_over_one_model_equal_the_serial_text() -> None:
    m = model("gemma3", chunk=32)
    prompts = [f"{TEXT} {'and the dog ' * i}" for i in range(8)]

    def text(i: int) -> str:
        return "".join(m.generate(prompts[i], seed=i, max_tokens=12, ignore_end=True))

    serial = [text(i) for i in range(8)]
    found: dict[tuple[int, int], str] = {}

    def work(i: int) -> None:
        for turn in range(4):
            found[i, turn] = text((i + turn) % 8)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {(i, turn): serial[(i + turn) % 8] for i in range(8) for turn in range(4)}


def test_async_iteration() -> None:
    async def collect() -> tuple[list[str], list[str]]:
        async def one(seed: int) -> list[str]:
            return [p async for p in model().generate(TEXT, seed=seed, max_tokens=10, ignore_end=True)]

        a, b = await asyncio.gather(one(1), one(2))
        return a, b

    a, b = asyncio.run(collect())
    for seed, pieces in ((1, a), (2, b)):
        assert "".join(pieces) == "".join(model().generate(TEXT, seed=seed, max_tokens=10, ignore_end=True))


def test_a_cancelled_task_ends_the_step_and_frees_the_session() -> None:
    async def main(answer: Generation) -> None:
        async def consume() -> None:
            async for _ in answer:
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert answer.session.tokens() == []
        answer.session.sync([1, 2, 3])  # free again

    with long_prefill() as m:
        answer = m.generate(LONG)
        asyncio.run(main(answer))
        assert answer.finish_reason == "cancelled"


def _in_child(m: edgeq.Model, session: Any, queue: Any) -> None:
    own = "".join(m.generate(TEXT, temperature=0.0, max_tokens=10, ignore_end=True))
    logits = session.extend([7])
    queue.put((own, int(logits.argmax())))


def test_a_forked_child_generates_with_the_parents_model() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("left out: this system cannot fork")
    m = edgeq.load(tiny(), backend=BACKEND, threads=2)
    wanted = "".join(m.generate(TEXT, temperature=0.0, max_tokens=10, ignore_end=True))
    session = m.session()
    session.extend(list(range(30)))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(m, session, queue))
    child.start()
    own, best = queue.get(timeout=60)
    child.join(10)
    assert child.exitcode == 0
    assert own == wanted
    assert best == int(session.extend([7]).argmax())
    m.close()


# Logits, contexts, real files


def test_logits_in_chunks_equal_logits_at_once() -> None:
    m = model("gemma3", chunk=64)
    ids = list(range(200))
    whole = m.logits(ids)
    parts = list(m.logits_chunks(ids, 48))
    assert [len(p) for p in parts] == [48, 48, 48, 48, 8]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-2)


def test_the_default_context_is_the_least_of_trained_8192_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq import machine

    assert model("llama3").context == 1024  # as trained
    assert model("qwen2-yarn").context == 8192
    monkeypatch.setattr(machine, "memory_available", lambda: 2_000_000)
    with edgeq.load(tiny("qwen2-yarn"), backend=BACKEND) as small:
        assert 512 <= small.context < 8192
    with edgeq.load(tiny("qwen2-yarn"), backend=BACKEND, context=8192) as asked:
        assert asked.context == 8192
    monkeypatch.setattr(machine, "memory_available", lambda: 1000)
    with pytest.raises(edgeq.errors.MemoryLimitError):
        edgeq.load(tiny("qwen2-yarn"), backend=BACKEND)


def test_smollm2_answers() -> None:
    path = real()
    if path is None:
        pytest.skip(
            "left out: SmolLM2 is neither in EDGEQ_TEST_MODELS nor in the cache (`edgeq pull smollm2-135m`)"
        )
    with edgeq.load(path) as m:
        assert "Paris" in "".join(m.generate("The capital of France is", temperature=0.0, max_tokens=5))
        with m.chat(temperature=0.0, max_tokens=40) as chat:
            answer = chat.send("What is the capital of France?")
            assert "Paris" in "".join(answer)
            assert answer.finish_reason == "stop"
            again = chat.send("And of Italy?")
            assert "Rome" in "".join(again)
            assert again.usage.cached > 30
