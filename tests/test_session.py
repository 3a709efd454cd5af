"""Sessions: prefix reuse, rewind past a window, batches of sequences, forks, interrupts, saved files."""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeq
from edgeq.backends.base import Cancel
from edgeq.errors import Cancelled, ContextError, EdgeqError, FormatError, UsageError
from edgeq.generate import start
from edgeq.session import Session
from tests.small import BACKEND, model, tiny

FAMILIES = ("llama3", "qwen2", "qwen3", "gemma3")


def ids(n: int, seed: int = 0, vocab: int = 300) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, vocab, n)]


def close(a: Any, b: Any) -> None:
    """Equal but for rounding: chunks and batches may differ in it."""
    np.testing.assert_allclose(a, b, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_extend_in_parts_equals_one_pass(name: str) -> None:
    m = model(name, chunk=32)
    prompt = ids(90)
    whole = m.logits(prompt)
    session = m.session()
    close(session.extend(prompt[:40], all_logits=True), whole[:40])
    for i in range(40, 45):
        close(session.extend([prompt[i]]), whole[i])
    close(session.extend(prompt[45:], all_logits=True), whole[45:])
    assert session.tokens() == prompt
    assert session.room() == session.context - 90


def test_a_prompt_of_several_chunks_on_the_reference_backend() -> None:
    """Chunks before the last want no logits: norms of no rows failed."""
    prompt = ids(90, 2)
    found = model(chunk=32, backend="reference").session().extend(prompt)
    close(found, model(chunk=32).logits(prompt)[-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_reproducible_mode_gives_the_same_bits_however_a_prompt_is_cut(name: str) -> None:
    m = model(name, chunk=32, reproducible=True)
    prompt = ids(80, 1)
    first, second = m.session(), m.session()
    wanted = first.extend(prompt)
    second.extend(prompt[:7])
    second.extend(prompt[7:50])
    assert np.array_equal(second.extend(prompt[50:]), wanted)


def test_sync_runs_only_what_is_new() -> None:
    m = model()
    session, prompt = m.session(), ids(60)
    assert session.sync(prompt)[1] == 0
    logits, cached = session.sync([*prompt, 5, 6])
    assert cached == 60
    close(logits, m.logits([*prompt, 5, 6])[-1])
    logits, cached = session.sync(prompt[:30] + ids(10, 3))
    assert cached == 30
    close(logits, m.logits(prompt[:30] + ids(10, 3))[-1])
    assert session.sync(session.tokens())[1] == 39  # the last is run again: its logits are wanted


@pytest.mark.parametrize(("back", "kept"), [(290, 290), (100, 0)])
def test_rewind_past_a_sliding_window_runs_again_what_was_lost(back: int, kept: int) -> None:
    m = model("gemma3", chunk=32)
    session, prompt = m.session(), ids(300)
    session.extend(prompt)
    again = prompt[:back] + ids(20, 9)
    logits, cached = session.sync(again)
    assert cached == kept
    close(logits, m.logits(again)[-1])


def test_rewind_says_what_is_left() -> None:
    session = model("gemma3", chunk=32).session()
    session.extend(ids(300))
    assert session.rewind(299) == 299
    assert session.rewind(10) == 0
    assert session.tokens() == []
    with pytest.raises(UsageError, match="expected 0 to 0"):
        session.rewind(1)


def test_what_a_window_has_lost_stays_lost_after_going_back_a_little() -> None:
    """Going back and running one token made the session forget how far its ring had been written."""
    m = model("gemma3", chunk=32)
    session, prompt = m.session(), ids(300)
    session.extend(prompt)
    ring = max(r for r, cache in zip(session.state.rings, m.plain.caches, strict=True) if cache.window)
    window = max(cache.window for cache in m.plain.caches)
    assert session.rewind(290) == 290
    session.extend([7])
    written = 300 + session.most_ahead  # with what a draft may have written
    first = written - ring + window - 1  # the first length whose window is surely whole
    again = [*prompt[: first - 1], 5]
    assert first < 290
    logits, cached = session.sync(again)
    assert cached == 0
    close(logits, m.logits(again)[-1])


@pytest.mark.parametrize("chunk", [64, 128, 512])
def test_a_ring_has_room_for_a_window_and_a_whole_chunk(chunk: int) -> None:
    prompt = ids(300, 6)
    found = model("gemma3", chunk=chunk).session().extend(prompt, all_logits=True)
    close(found, model("gemma3", chunk=16).logits(prompt))


def test_an_answer_notices_that_its_sequence_was_rewound() -> None:
    session = model().session()
    answer = start(session, ids(9), temperature=0.0, ignore_end=True)
    next(answer)
    session.rewind(4)
    with pytest.raises(UsageError, match="changed"):
        list(answer)


def test_a_session_that_was_emptied_has_lost_nothing() -> None:
    session = model("gemma3", chunk=32).session()
    session.extend(ids(300))
    assert session.rewind(0) == 0
    session.extend(ids(50))
    assert session.rewind(30) == 30


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 250), st.integers(1, 120)), min_size=1, max_size=6), st.integers(0, 99)
)
def test_any_sequence_of_prompts_ends_as_a_fresh_session(edits: list[tuple[int, int]], seed: int) -> None:
    m = model("gemma3", chunk=32)
    session, text = m.session(), ids(20, seed)
    for at, n in edits:
        text = (text[:at] + ids(n, seed + at + n))[: session.context]
        logits, cached = session.sync(text)
        assert 0 <= cached < len(text)
    close(logits, m.logits(text)[-1])


@pytest.mark.parametrize("name", ["llama3", "gemma3"])
def test_several_sequences_in_a_batch_equal_separate_ones(name: str) -> None:
    m = model(name, chunk=32)
    together = m.session(sequences=3)
    alone = [m.session() for _ in range(3)]
    for s in range(3):
        together.extend(ids(20 + 30 * s, s), s)
        alone[s].extend(ids(20 + 30 * s, s))
    for turn in range(5):
        found = together.decode({s: 10 * s + turn for s in (2, 0, 1)})
        for s in range(3):
            close(found[s], alone[s].extend([10 * s + turn]))
    assert [together.tokens(s) for s in range(3)] == [a.tokens() for a in alone]


def test_fork_goes_on_by_itself() -> None:
    m = model("gemma3", chunk=32)
    session = m.session(sequences=2)
    session.extend(ids(70, 5), 1)
    session.fork(1, 0)
    a, b = session.extend([7], 0), session.extend([8], 1)
    close(a, m.logits([*ids(70, 5), 7])[-1])
    close(b, m.logits([*ids(70, 5), 8])[-1])
    session.fork(0, 0)
    assert session.tokens(0) == [*ids(70, 5), 7]


def test_a_fork_that_is_interrupted_does_not_pass_for_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    m = model()
    session = m.session(2)
    session.extend(ids(40, 1))
    session.extend(ids(40, 2), 1)
    copy, before = session.state.copy, session.edition(1)

    def interrupted(source: int, target: int, length: int) -> None:
        copy(source, target, length)
        raise KeyboardInterrupt

    monkeypatch.setattr(session.state, "copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.fork(0, 1)
    assert session.tokens(1) == []
    assert session.edition(1) != before
    logits, cached = session.sync([*ids(40, 2), 5], 1)
    assert cached == 0
    close(logits, m.logits([*ids(40, 2), 5])[-1])
    assert session.tokens() == ids(40, 1)


def test_context_errors_say_by_how_much_and_change_nothing() -> None:
    session = model().session(context=32)
    session.extend(ids(30))
    for n in (3, 5):
        with pytest.raises(ContextError, match=f"{n - 2} too many"):
            session.extend(ids(n))
    with pytest.raises(ContextError, match="8 too many"):
        session.sync(ids(40))
    assert session.tokens() == ids(30)
    session.extend(ids(2))
    assert session.room() == 0
    with pytest.raises(ContextError, match="1 too many"):
        session.decode({0: 1})
    assert session.tokens() == ids(30) + ids(2)


@pytest.mark.parametrize("bad", [[], [-1], [320], [1.5], ["a"], [True], 5, None, [None], [2**70]])
def test_bad_ids_are_refused_and_change_nothing(bad: Any) -> None:
    session = model().session()
    session.extend(ids(9))
    for act in (session.extend, session.sync):
        with pytest.raises(UsageError):
            act(bad)
    assert session.tokens() == ids(9)


def test_numpy_ids_are_ids() -> None:
    session = model().session()
    session.sync(np.array(ids(9)))
    session.extend([np.int64(3)])  # type: ignore[list-item]
    assert session.tokens() == [*ids(9), 3]
    assert set(map(type, session.tokens())) == {int}


@pytest.mark.parametrize(
    "what",
    [
        {"sequences": 0},
        {"sequences": 5000},
        {"context": 0},
        {"context": -4},
        {"context": 1 << 40},
        {"context": 8.0},
        {"sequences": True},
    ],
)
def test_impossible_sessions_are_refused(what: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        model().session(**what)


def test_a_second_thread_gets_an_error_not_a_race() -> None:
    if BACKEND != "native":
        pytest.skip("left out: needs the native library")
    m = edgeq.load(tiny(), context=6000, chunk=8192, threads=1, isa="scalar")
    session, cancel = m.session(), Cancel()

    def work() -> None:
        try:
            session.extend(ids(5000), cancel=cancel)
        except Cancelled as error:
            found.append(error)

    found: list[Exception] = []
    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(500):
        if session._busy:
            break
        time.sleep(0.01)
    try:
        with pytest.raises(UsageError, match="another thread"):
            session.rewind(0)
    finally:
        cancel.set()
        worker.join()
    assert found
    session.rewind(0)
    assert session.extend(ids(5)).shape == (m.vocab,)


def interrupted_after(events: int, act: Callable[[], Any]) -> bool:
    """Runs `act`; KeyboardInterrupt strikes at a line, call or return of the session. Whether it did."""
    left = events

    def strike(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename.endswith(("edgeq/session.py", "contextlib.py")):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return strike

    sys.settrace(strike)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_an_interrupt_at_any_line_leaves_the_session_usable() -> None:
    m = model("gemma3", chunk=16)
    prompt = ids(40, 2)
    wanted = m.logits(prompt)[-1]
    struck = 0
    for events in range(1, 2000, 2):
        session = m.session(2)
        session.sync(ids(30, 1))

        def act(session: Session = session) -> None:
            session.sync(prompt)
            session.fork(0, 1)

        if not interrupted_after(events, act):
            break
        struck += 1
        close(session.sync(prompt)[0], wanted)
        close(session.sync(prompt, 1)[0], wanted)
    assert 30 < struck < 999


def test_cancel_keeps_finished_chunks() -> None:
    m = model(chunk=16)
    session, cancel = m.session(), Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        session.sync(ids(64), cancel=cancel)
    assert session.tokens() == []
    cancel.clear()
    close(session.sync(ids(64), cancel=cancel)[0], m.logits(ids(64))[-1])


def test_a_closed_model_is_an_error_not_a_crash() -> None:
    m = edgeq.load(tiny(), backend=BACKEND)
    session = m.session()
    session.extend(ids(4))
    m.close()
    with pytest.raises(EdgeqError):
        session.extend(ids(4))


@pytest.mark.skipif(BACKEND != "native", reason="needs the native library")
def test_a_step_that_waited_while_its_model_was_closed_does_not_run() -> None:
    """It had seen the model open, and its turn came when nothing guarded the mapping any more."""
    m = edgeq.load(tiny(), backend=BACKEND, threads=1)
    session = m.session()
    session.extend(ids(4))
    m.executable.close()
    with pytest.raises(UsageError, match="was closed"):
        session.extend(ids(4))
    m.close()


# A model in parts


def test_a_session_over_a_split_model_is_like_one_over_the_whole(tmp_path: Path) -> None:
    """The layer between the cuts attends to everything and loses nothing, the others have windows."""
    whole = model("gemma3", chunk=32)
    split = model("gemma3", chunk=32, split=((5, "reference"), (6, "reference")))
    assert [part.program.caches[0].window > 0 for part in split.executable.parts] == [True, False, True]
    prompt = ids(150, 5)
    session, other = split.session(2), split.session(2)
    close(session.extend(prompt), whole.logits(prompt)[-1])
    session.fork(0, 1)
    close(session.decode({1: 7})[1], whole.logits([*prompt, 7])[-1])
    session.save(tmp_path / "s.edgeq")
    other.load(tmp_path / "s.edgeq")
    assert np.array_equal(other.extend([3], 1), session.extend([3], 1))
    assert session.rewind(140) == 140
    assert session.rewind(10) == 0


def test_a_changed_file_is_noticed_before_the_next_step(tmp_path: Path) -> None:
    copy = tmp_path / "m.gguf"
    copy.write_bytes(tiny().read_bytes())
    with edgeq.load(copy, backend=BACKEND) as m:
        session = m.session()
        session.extend(ids(4))
        with copy.open("r+b") as f:
            f.write(b"GGUF")
        os.utime(copy, (1, 1))
        with pytest.raises(edgeq.errors.FileChangedError):
            session.extend(ids(4))


# Saved sessions


def saved(tmp_path: Path, name: str = "gemma3") -> tuple[Session, Path]:
    session = model(name, chunk=32).session(sequences=2)
    session.extend(ids(130, 3))
    session.extend(ids(10, 4), 1)
    session.rewind(120)
    path = tmp_path / "s.edgeq"
    session.save(path, {"note": "ä"})
    return session, path


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_session_goes_on_as_if_nothing_had_been(name: str, tmp_path: Path) -> None:
    session, path = saved(tmp_path, name)
    other = session.model.session(sequences=2)
    assert other.load(path) == {"note": "ä"}
    assert [other.tokens(s) for s in (0, 1)] == [session.tokens(s) for s in (0, 1)]
    for s in (0, 1):
        assert np.array_equal(other.extend([5], s), session.extend([5], s))
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_loaded_session_is_reused_and_saved_again(name: str, tmp_path: Path) -> None:
    session, path = saved(tmp_path, name)
    other = session.model.session(sequences=2)
    other.load(path)
    other.save(tmp_path / "again")
    other.load(tmp_path / "again")
    for s in (0, 1):
        text = [*session.tokens(s), 5]
        logits, cached = other.sync(text, s)
        assert cached == len(text) - 1
        assert np.array_equal(logits, session.sync(text, s)[0])


def test_every_damaged_byte_of_a_saved_session_is_found(tmp_path: Path) -> None:
    session, path = saved(tmp_path)
    data = path.read_bytes()
    before = session.tokens()
    header = 16 + struct.unpack_from("<I", data, 8)[0]
    places = [*range(0, header, 37), *range(header, len(data), 9001), len(data) - 1]
    for at in places:
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(FormatError):
            session.load(path)
        assert session.tokens() == before
    for n in (0, 7, 15, 16, header - 1, header, len(data) - 1):
        path.write_bytes(data[:n])
        with pytest.raises(FormatError):
            session.load(path)
    path.write_bytes(data + b"x")
    with pytest.raises(FormatError, match="follows"):
        session.load(path)
    session.extend([1])


def forged(header: Any, tail: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return b"EDGEQKV1" + struct.pack("<II", len(text), zlib.crc32(text)) + text + tail


def test_forged_sessions_are_refused(tmp_path: Path) -> None:
    session, path = saved(tmp_path)
    data = path.read_bytes()
    n = struct.unpack_from("<I", data, 8)[0]
    good, tail = json.loads(data[16 : 16 + n]), data[16 + n :]
    changes: list[dict[str, Any]] = [
        {"tokens": [[1], [2], [3]]},
        {"tokens": [[999999], []]},
        {"tokens": [["a"], []]},
        {"tokens": [[True, *good["tokens"][0][1:]], good["tokens"][1]]},
        {"tokens": {}},
        {"written": [1 << 40, 0]},
        {"written": [-1, 10]},
        {"sizes": [1 << 61, 1 << 61]},
        {"sizes": [0, len(tail)]},
        {"crc": [0, 0]},
        {"crc": None},
        {"written": [True, False]},
        {"fingerprint": "x"},
        {"fingerprint": None},
        {"tokens": [[1] * 500, []]},
        {
            "sizes": good["sizes"][::-1],
            "crc": [zlib.crc32(tail[: good["sizes"][1]]), zlib.crc32(tail[good["sizes"][1] :])],
        },
    ]
    for change in changes:
        path.write_bytes(forged({**good, **change}, tail))
        with pytest.raises(FormatError):
            session.load(path)
    for text in (
        b"[" * 100000,
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"tokens":' + b"[" * 5000,
        b"1e999",
        b"9" * 10000,
    ):
        path.write_bytes(forged(text))
        with pytest.raises(FormatError):
            session.load(path)
    path.write_bytes(b"EDGEQKV1" + struct.pack("<II", 0xFFFFFFFF, 0))
    with pytest.raises(FormatError):
        session.load(path)
    assert session.sync(ids(12))[0].shape == (session.model.vocab,)


def test_saved_sessions_of_other_models_and_contexts_are_refused(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    for other in (
        model("llama3", chunk=32).session(2),
        model("gemma3", chunk=32).session(1),
        model("gemma3", chunk=32).session(2, 100),
        model("gemma3", chunk=32, kv_type="F32").session(2),
    ):
        with pytest.raises(FormatError, match=r"another model|does not fit"):
            other.load(path)


@pytest.mark.parametrize("split", [(), ((1, "reference"),)])
def test_a_session_saved_by_another_layout_of_caches_is_refused(
    split: tuple[tuple[int, str], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of as many bytes: of the model, or of one part of it."""
    session, path = model("gemma3", chunk=32, split=split).session(2), tmp_path / "kept"
    session.sync(ids(40))
    session.save(path)
    state = getattr(session.state, "parts", [session.state])[-1]
    monkeypatch.setattr(type(state), "layout", "one from before")
    with pytest.raises(FormatError, match="another model"):
        session.load(path)


@pytest.mark.parametrize("sent", [b"", b"EDGEQKV1" + bytes(8)])
def test_a_pipe_is_no_saved_session(sent: bytes, tmp_path: Path) -> None:
    """Its writer is there: nothing waits for what it has not sent, and what it has sent is not read."""
    session, pipe = model("gemma3", chunk=32).session(), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        os.write(writer, sent)
        with pytest.raises(FormatError, match=r"pipe: not a saved session$"):
            session.load(pipe)
    finally:
        os.close(writer)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_session_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, path = saved(tmp_path)
    before = path.read_bytes()

    def fails(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    session.extend([1, 2])
    monkeypatch.setattr(os, call, fails)
    with pytest.raises(UsageError, match=r"s\.edgeq: cannot be written: No space left"):
        session.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["s.edgeq"]
    assert path.read_bytes() == before


def test_places_that_hold_no_session(tmp_path: Path) -> None:
    session, path = saved(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place in (tmp_path, fifo, tmp_path / "none", "/dev/zero", "a\0b"):
        with pytest.raises(FormatError):
            session.load(place)
    for place in (tmp_path, fifo, tmp_path / "no" / "folder", "/dev/null", "a\0b", 5):
        with pytest.raises(UsageError):
            session.save(place)  # type: ignore[arg-type]
    loop: list[Any] = []
    loop.append(loop)
    for extra in (object(), loop, b"x", "x" * (1 << 25)):
        with pytest.raises(UsageError):
            session.save(path, extra)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "s.edgeq"]
    assert session.model.session(2).load(path) == {"note": "ä"}  # a failed save leaves the old file
