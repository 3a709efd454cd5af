"""Which slots count: steal, foreign use, clock; and a system that does not tell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeq import _lib
from edgeq.bench import rule
from edgeq.bench.rule import Slot, Times


def slot(steal: float | None = 0.0, foreign: float | None = 0.0, clock: float | None = 1.0) -> Slot:
    return Slot(1.0, steal, foreign, None if clock is None else (clock, 1.0))


def test_each_limit_rejects_alone() -> None:
    slots = [slot(), slot(steal=0.0101), slot(foreign=0.0201), slot(clock=1.031), slot(clock=0.969)]
    found = rule.verdicts([*slots, *[slot()] * 5])
    assert found == [None, "steal 1.0%", "foreign 2.0%", "clock +3.1%", "clock -3.1%", *[None] * 5]
    assert rule.verdicts([slot(0.01, 0.02, 1.0299), *[slot()] * 5]) == [None] * 6


def test_the_clock_is_held_against_the_whole_run() -> None:
    """Both readings of a slot count, and the median of all of them."""
    slots = [Slot(1.0, 0.0, 0.0, (2.0, 2.0)) for _ in range(5)] + [Slot(1.0, 0.0, 0.0, (2.0, 1.9))]
    assert rule.verdicts(slots)[-1] == "clock -5.0%"
    assert rule.verdicts([Slot(1.0, 0.0, 0.0, (1.9, 1.9))]) == [None]


def test_what_is_not_told_rejects_nothing() -> None:
    assert rule.verdicts([slot(None, None, None)] * 3) == [None] * 3
    assert rule.verdicts([]) == []


def test_shares_are_of_all_cpus() -> None:
    before = Times(10.0, 100.0, 5.0, 4)
    found = rule.seen(before, Times(12.0, 107.0, 5.2, 4), 6.0, (1.0, 1.0))
    assert found.seconds == 2.0
    assert found.steal == pytest.approx(0.2 / 8)
    assert found.foreign == pytest.approx((7.0 - 6.0 - 4 * rule.TICK) / 8)
    assert rule.seen(before, Times(12.0, 107.0, 5.2, 4), 7.5, (1.0, 1.0)).foreign == 0.0


def test_unknown_parts_stay_unknown() -> None:
    known, unknown = Times(0.0, 1.0, 1.0, 2), Times(1.0, None, None, 2)
    assert rule.seen(unknown, unknown, 1.0, (1.0, 1.0))[1:3] == (None, None)
    assert rule.seen(known, known, None, (None, 1.0))[1:] == (0.0, None, None)


def test_proc_stat_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu  100 20 30 4000 500 6 7 80 90 10\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5 6\n")
    found = rule.times(str(path))
    second = __import__("os").sysconf("SC_CLK_TCK")
    assert (found.busy, found.steal, found.cpus) == (163 / second, 80 / second, 2)
    for damaged in ("", "cpu 1 2", "cpu a b c d e f g h", "nothing"):
        path.write_text(damaged)
        assert rule.times(str(path))[1:3] == (None, None)


def test_a_machine_without_proc_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = rule.times
    monkeypatch.setattr(rule, "times", lambda: gone("/nowhere/stat"))
    assert any("steal" in line for line in rule.blind())
    watch = rule.Watch()
    assert watch.end(1.0)[1:3] == (None, None)


@pytest.mark.skipif(rule.times().busy is None, reason="this system does not tell what its CPUs did")
def test_work_of_ours_is_not_foreign_and_others_is() -> None:
    """Of the CPUs' time in a slot: that of a busy loop here counts as ours, and as foreign where nobody claims it."""

    def spin() -> None:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass

    before = rule.times()
    spin()
    after = rule.times()
    claimed, unclaimed = (rule.seen(before, after, cpu, (1.0, 1.0)) for cpu in (0.3, 0.0))
    assert claimed.foreign is not None and unclaimed.foreign is not None
    expected = (0.3 - rule.TICK * after.cpus) / (claimed.seconds * after.cpus)
    assert unclaimed.foreign >= expected - 0.04 / claimed.seconds
    assert claimed.foreign <= unclaimed.foreign


@pytest.mark.skipif(not _lib.available(), reason="no native library")
def test_the_clock_is_steady_enough_to_be_a_rule() -> None:
    found = sorted(rule.clock() or 0.0 for _ in range(3))
    assert found[0] > 1e7
    assert found[-1] < 4 * found[0]


def test_how_many_are_enough() -> None:
    assert [rule.enough(k, 5) for k in range(5)] == [False, False, False, True, True]
    assert rule.enough(1, 1)
    assert not rule.enough(1, 2)
