"""Stop strings: against a search of the whole text, for every way to cut the text into pieces."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import UsageError
from edgeq.stop import StopStrings


def naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """What may be shown of a whole text, and the stop string: the first to end, then the longest."""
    for end in range(1, len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            longest = max(hits, key=len)
            return text[: end - len(longest)], longest
    return text, None


def streamed(pieces: list[str], stops: list[str]) -> tuple[str, str | None]:
    watch = StopStrings(stops)
    shown, stopped = [], False
    for piece in pieces:
        emit, stopped = watch.feed(piece)
        shown.append(emit)
        assert stopped == (watch.matched is not None)
        if stopped:
            break
    assert watch.feed("more") == ("", True) if stopped else True
    shown.append(watch.flush())
    return "".join(shown), watch.matched


few = st.text(alphabet="ab", max_size=30)
wide = st.text(alphabet="ab\n\u00e9\u4e2d\U0001f600\u0301", max_size=30)
some_stops = st.lists(
    st.text(alphabet="ab", min_size=1, max_size=6)
    | st.text(alphabet="ab\n\u00e9\u4e2d\U0001f600\u0301", min_size=1, max_size=4),
    max_size=4,
)


def cut(text: str, data: st.DataObject) -> list[str]:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@settings(max_examples=1000)
@given(few | wide, some_stops, st.data())
def test_any_cut_gives_what_a_search_of_the_whole_text_gives(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    assert streamed(cut(text, data), stops) == naive(text, stops)


@settings(max_examples=500)
@given(few | wide, some_stops)
def test_no_more_is_held_back_than_could_begin_a_stop_string(text: str, stops: list[str]) -> None:
    """After every character: shown + longest suffix that is a proper beginning of a stop = text."""
    watch, shown, seen = StopStrings(stops), "", ""
    for char in text:
        emit, stopped = watch.feed(char)
        shown, seen = shown + emit, seen + char
        if stopped:
            return
        held = max(
            (n for stop in stops for n in range(1, len(stop)) if seen.endswith(stop[:n])), default=0
        )
        assert shown == seen[: len(seen) - held]


@given(few, st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_is_shown_contains_no_stop_string(text: str, stops: list[str]) -> None:
    shown, matched = streamed(list(text), stops)
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown + (matched or ""))


@pytest.mark.parametrize(
    ("pieces", "stops", "shown", "matched"),
    [
        (["aaab"], ["aab"], "a", "aab"),
        (["a", "a", "a", "b"], ["aab"], "a", "aab"),
        (["abab", "ac"], ["abac"], "ab", "abac"),
        (["one</", "s>two"], ["</s>"], "one", "</s>"),
        (["one</", "b>two"], ["</s>"], "one</b>two", None),
        (["one</"], ["</s>"], "one</", None),
        (["xabcd"], ["abcd", "bc"], "xa", "bc"),  # the first to be complete
        (["xabc"], ["bc", "abc"], "x", "abc"),  # both at once: the longest
        (["\U0001f600", "\u4e2d"], ["\U0001f600\u4e2d"], "", "\U0001f600\u4e2d"),
        (["User", ":"], ["User:", "Userland"], "", "User:"),
        (["anything", ""], [], "anything", None),
        (["", "", "stop"], ["stop"], "", "stop"),
    ],
)
def test_examples(pieces: list[str], stops: list[str], shown: str, matched: str | None) -> None:
    assert streamed(pieces, stops) == (shown, matched)


def test_a_single_string_is_one_stop_string() -> None:
    assert StopStrings("END").feed("an END") == ("an ", True)
    assert StopStrings(["x", "x"]).stops == ("x",)


def test_text_is_shown_at_once_when_no_stop_string_can_have_begun() -> None:
    watch = StopStrings(["\n\n"])
    assert watch.feed("a") == ("a", False)
    assert watch.feed("b\n") == ("b", False)
    assert watch.feed("c") == ("\nc", False)
    assert watch.feed("\n") == ("", False)
    assert watch.feed("\nd") == ("", True)
    assert watch.matched == "\n\n"
    assert watch.flush() == ""


def test_after_a_flush_a_new_text_begins() -> None:
    watch = StopStrings(["ab"])
    assert watch.feed("a") == ("", False)
    assert watch.flush() == "a"
    assert watch.flush() == ""
    assert watch.feed("b") == ("b", False)


def test_a_long_stop_string_nearly_matched_again_and_again_costs_linear_time() -> None:
    stop = "a" * 30_000 + "b"
    start = time.perf_counter()
    watch = StopStrings([stop, "a" * 30_000 + "c"])
    shown = 0
    for _ in range(200_000):
        emit, _stopped = watch.feed("a")
        shown += len(emit)
    assert watch.feed("b") == ("", True)
    assert shown == 170_000
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "bad", [None, 3, b"x", [b"x"], [3], [""], "", ["a" * 65_537], ["ab" * 1000] * 40]
)
def test_bad_stop_strings_are_refused(bad: object) -> None:
    with pytest.raises(UsageError):
        StopStrings(bad)  # type: ignore[arg-type]
