"""Prompt lookup: what it finds, against a definition that looks everywhere; what it learns; its memory and its time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.speculation import lookup
from edgeq.speculation.lookup import CHANCES, CLASS, COPYING, FAR, NEW, TABLE, TRIES, Lookup
from edgeq.speculation.pays import Costs


def said(text: list[int], start: int = 1) -> Lookup:
    """One that was given the first `start` tokens of a text and told the others."""
    made = Lookup(text[:start])
    for token in text[start:]:
        made.push(token)
    return made


def agreement(text: list[int], place: int) -> int:
    """Tokens before a place that are those at the end of the text."""
    n = 0
    while n < min(place, FAR) and text[place - 1 - n] == text[-1 - n]:
        n += 1
    return n


def naive(text: list[int], start: int) -> tuple[int, int]:
    """Place and agreement by definition: the place moves along while the text goes on as it did there; else it is that
    of the longest agreement among the last TRIES places behind the same two tokens, the latest of equals; else, where
    a token was replaced in a copy, the one behind it."""
    place, agreed = 0, 0
    for n in range(start, len(text)):
        token, before = text[n], text[: n + 1]
        if place and text[place] == token:
            place, agreed = place + 1, min(agreed + 1, FAR)
            continue
        places = [p for p in range(n, 1, -1) if before[p - 2 : p] == before[-2:]][:TRIES]
        found = max(((agreement(before, p), p) for p in places), default=(0, 0))
        if found[1]:
            agreed, place = found
        else:
            place, agreed = place + 1 if agreed >= COPYING else 0, 0
    return place, agreed


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3) | st.integers(0, 30), min_size=2, max_size=120), st.integers(1, 40))
def test_it_goes_where_the_definition_says(text: list[int], start: int) -> None:
    start = min(start, len(text))
    made = said(text, start)
    assert (made._place, made._agreed) == naive(text, start)
    if made._place:
        wanted, at = [], made._place
        while len(wanted) < 9:
            wanted.append((text + wanted)[at])
            at += 1
        assert made.draft(9) == wanted


def test_what_a_prompt_holds_is_found_as_soon_as_two_tokens_agree() -> None:
    prompt = [5, 9, 7, 3, 8, 11, 12, 13]
    made = said([*prompt, 1, 7], len(prompt))
    assert made.plan(4, priced()) == (0, 1.0)
    made.push(3)
    assert made.draft(4) == [8, 11, 12, 13]
    made.push(8)
    assert made.draft(2) == [11, 12]


def priced(ratio: float = 1.0) -> Costs:
    costs = Costs(16)
    costs.one, costs.ratios = 1.0, [1.0, 1.0, *[ratio] * 15]
    return costs


def test_the_longest_agreement_wins_and_then_the_latest() -> None:
    """At 9, 3 the latest place is the third, where the text goes on otherwise: it is looked for anew."""
    text = [9, 3, 4, 50, 8, 3, 4, 51, 9, 3, 60, 70, 9, 3, 4]
    assert said(text).draft(1) == [50]
    text[0] = 7
    assert said(text).draft(1) == [51]


def test_an_agreement_is_counted_so_far_and_no_farther() -> None:
    run = list(range(100, 100 + FAR + 9))
    made = said([*run, 4, 50, 51, *run, 60, *run, 4])
    assert (made.draft(1), made._agreed) == ([50], FAR)
    made.push(50)
    assert (made.draft(1), made._agreed) == ([51], FAR)


def test_a_token_that_is_replaced_in_a_copy_is_stepped_over() -> None:
    prompt = list(range(100, 130))
    made = said([*prompt, *prompt[:10], 7], len(prompt))
    assert (made.draft(3), made._agreed) == (prompt[11:14], 0)
    made = said([*prompt, *prompt[:4], 7], len(prompt))
    assert not made._place
    made = said([*prompt, 109, 7, 55, 56, *prompt[:10], 7], len(prompt) + 4)
    assert (made.draft(2), made._agreed) == ([55, 56], 2)


def test_a_copy_goes_on_over_its_own_beginning() -> None:
    assert said([9, 5, 6, 5, 6]).draft(7) == [5, 6, 5, 6, 5, 6, 5]
    assert said([9, 5, 5, 5]).draft(3) == [5, 5, 5]


def test_chances_are_learned_by_agreement_and_without_drafting() -> None:
    made = Lookup([1, 2, 3, 4, 5, 6, 7, 8])
    for token in (20, 1, 2, 3, 4, 21):
        made.push(token)
    two, three, four = (CLASS[n] for n in (2, 3, 4))
    assert made._chances[two] == pytest.approx(CHANCES[two] + NEW * (1 - CHANCES[two]))
    assert made._chances[three] == pytest.approx(CHANCES[three] + NEW * (1 - CHANCES[three]))
    assert made._chances[four] == pytest.approx(CHANCES[four] * (1 - NEW))
    others = [c for i, c in enumerate(made._chances) if i not in (two, three, four)]
    assert others == [c for i, c in enumerate(CHANCES) if i not in (two, three, four)]


def test_a_plan_counts_that_an_agreement_grows() -> None:
    made = Lookup([1, 2, 3, 4, 5, 6])
    for token in (9, 1, 2):
        made.push(token)
    made._chances = [0.0] * len(CHANCES)
    made._chances[CLASS[2]] = made._chances[CLASS[3]] = 0.5
    assert made.plan(9, priced()) == (2, 1.75)
    assert made.plan(1, priced()) == (1, 1.5)
    assert made.plan(9, priced(2.0)) == (0, 1.0)


def test_classes_rise_with_the_agreement() -> None:
    assert [CLASS[n] for n in (0, 1, 2, 3, 4, 5, 6, 8, 9, 14, 15, 31, 32)] == [0, 0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]
    assert len(CLASS) == FAR + 1
    assert CLASS[FAR] == len(CHANCES) - 1


def test_memory_is_bounded_and_tokens_that_share_an_entry_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "TABLE", 2)
    text = [(i * i) % 23 for i in range(400)]
    made = said(text)
    assert len(made._last) == 2
    assert len(made._before) == len(text) + 1
    place = made._place
    assert place == 0 or text[place - 1] == text[-1]
    assert TABLE & (TABLE - 1) == 0
    monkeypatch.setattr(lookup, "TABLE", 1)
    assert said([5, 6, 7, 8, 6])._place == 0  # one token that agrees, by chance of the hash


def test_a_token_takes_microseconds_whatever_the_text_is() -> None:
    """All tokens alike, the same two again and again with others after them, tokens at random."""
    for text in ([7] * 20000, [[1, 2, i][i % 3] for i in range(20000)], [i * 7919 % 30011 for i in range(20000)]):
        best = 1.0
        for _ in range(3):
            began = time.perf_counter()
            made = said(text)
            for _ in range(1000):
                made.plan(15, priced())
            best = min(best, (time.perf_counter() - began) / 20000)
        assert best < 1e-4
