"""What steps cost and whether drafts pay, by a clock that the tests move: gains where there are some, next to no loss
where there are none, whatever the machine does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq import speculation
from edgeq.speculation import Drafts, Speculation
from edgeq.speculation.draft import LONGER, PAUSE, DraftModel
from edgeq.speculation.pays import CHEAP, HOPE, MORE, MOST, OLD, ONE, Costs, best

Price = Callable[[int], float]  # seconds of a step of n tokens
LEVEL: Price = lambda n: 1.0 + 0.05 * (n - 1)
USUAL: Price = lambda n: 1.0 + 0.27 * (n - 1)  # SmolLM2 when this was written
DEAR: Price = lambda n: float(n)  # nothing is shared


class Machine:
    """A session whose steps take what they are said to take, and its clock."""

    def __init__(self, price: Price, noise: float = 0.0, most: int = 15) -> None:
        self.now, self.price, self.noise, self.model = 0.0, price, noise, None
        self.most_ahead, self.costs = most, Costs(most + 1)
        self.sizes: list[int] = []
        self._ahead: list[int] = []
        self._chance = random.Random(1)

    def foreseen(self, token: int, sequence: int) -> bool:
        return self._ahead[:1] == [token]

    def room(self, sequence: int) -> int:
        return 1 << 20

    def append_row(self, token: int, sequence: int, *, draft: Sequence[int] = (), cancel: Any = None) -> None:
        if self.foreseen(token, sequence):
            self._ahead.pop(0)
            return
        self._ahead = list(draft)
        self.sizes.append(1 + len(draft))
        spent = self.price(1 + len(draft)) * (1 + self.noise * self._chance.random() ** 4)
        self.now += spent

    def write(self, prompt: list[int], answer: list[int], monkeypatch: pytest.MonkeyPatch, **drafts: Any) -> float:
        """Seconds that the answer takes, of those that it takes without drafts."""
        monkeypatch.setattr(speculation.time, "perf_counter", lambda: self.now)
        made = Speculation(self, prompt, Drafts(**drafts))  # type: ignore[arg-type]
        began = self.now
        for i, token in enumerate(answer):
            made.append(token, len(answer) - i, None)
        self.accepted, self.drafted = made.accepted, made.drafted
        return (self.now - began) / (len(answer) * self.price(1) * (1 + self.noise / 5))


def words(n: int, seed: int = 0, vocab: int = 30000) -> list[int]:
    chosen = random.Random(seed)
    return [chosen.randrange(vocab) for _ in range(n)]


def like_language(n: int, seed: int = 0) -> list[int]:
    """Many pairs come again, what follows them seldom does."""
    chosen, out = random.Random(seed), [1, 2]
    pairs = [(chosen.randrange(3, 200), chosen.randrange(3, 200)) for _ in range(40)]
    while len(out) < n:
        out += (*pairs[int(len(pairs) * chosen.random() ** 2)], chosen.randrange(3, 200))
    return out[:n]


@pytest.mark.parametrize("price", [LEVEL, USUAL])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_text_that_is_repeated_with_a_change_is_written_faster(
    price: Price, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = words(300)
    changed = [*text[:100], *words(3, 1), *text[102:200], 7, *text[201:]]
    assert Machine(price, noise).write(text, changed, monkeypatch) < 1 / 2


@pytest.mark.parametrize("price", [LEVEL, USUAL, DEAR])
@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_where_it_cannot_help_it_costs_next_to_nothing(
    price: Price, noise: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = [Machine(price, noise).write(make(60, 9), make(400, seed), monkeypatch) for make in (words, like_language)]
    assert max(share) < (1.02 if not noise else 1.03)


def test_steps_that_share_nothing_cost_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = words(60)
    machine = Machine(DEAR)
    assert machine.write(text, text * 20, monkeypatch) < 1.03


def test_a_machine_that_was_busy_for_a_while_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but single steps is slow at first; what was learned then does not stay."""
    text, machine = words(60), Machine(lambda n: 1.0 if n == 1 else 5.0)
    machine.write(text, text * 5, monkeypatch)
    machine.price, machine.sizes = LEVEL, []
    assert machine.write(text, text * 40, monkeypatch) < 0.7
    assert max(machine.sizes[-40:]) > 8


def test_a_loop_is_followed_round_and_round(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(LEVEL)
    assert machine.write([5, 6], [5, 6, 7] * 100, monkeypatch) < 1 / 4
    assert max(machine.sizes) == 16


def test_nothing_is_drafted_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    text, machine = words(40), Machine(LEVEL)
    machine.write(text, text, monkeypatch)
    assert machine.accepted == machine.drafted
    assert sum(machine.sizes) == len(text)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_as_many_tokens_at_once_as_were_allowed(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text, machine = words(100), Machine(LEVEL)
    machine.write(text, text, monkeypatch, tokens=most)
    assert max(machine.sizes) == most + 1


# The rule


def test_with_one_chance_and_one_price_it_is_the_rule_of_the_paper() -> None:
    """Leviathan et al., theorem 3.8: the best length by trying all."""
    for a in (0.1, 0.5, 0.8, 0.95):
        for c in (0.02, 0.1, 0.4):
            faster = [(1 - a ** (n + 1)) / ((1 - a) * (n * c + 1)) for n in range(16)]
            wanted = faster.index(max(faster)) if max(faster) > 1.03 else 0
            assert best([a] * 15, [1.0] * 17, c) == (wanted, pytest.approx(faster[wanted]))


def test_the_most_tokens_in_a_time() -> None:
    assert best([0.5, 0.5], [0, 1, 1.0, 1.0]) == (2, 1.75)
    assert best([0.5, 0.5], [0, 1, 1.0, 2.0]) == (1, 1.5)
    assert best([0.5, 0.5], [0, 1, 1.5, 2.0]) == (0, 1.0)
    assert best([0.1, 0.9], [0, 1, 1.08, 1.09]) == (2, pytest.approx(1.19 / 1.09))
    assert best([1.0] * 3, [0, 1, 1.0, 1.0, 1.0], each=1.0) == (0, 1.0)
    assert best([], [0, 1]) == (0, 1.0)


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(1e-6, 10.0)), max_size=600))
def test_prices_stay_sensible_whatever_is_measured(measured: list[tuple[int, float]]) -> None:
    costs = Costs(16)
    for n, seconds in measured:
        costs.add(n, seconds)
        assert costs.ratios[1] == 1.0
        assert min(costs.ratios[1:]) >= 1.0
    assert (costs.one > 0) == any(n == 1 for n, _ in measured)


def priced(*measured: tuple[int, float], most: int = 8) -> Costs:
    costs = Costs(most)
    costs.add(1, 2.0)
    for n, ratio in measured:
        costs.add(n, 2.0 * ratio)
    return costs


def test_before_anything_was_measured_more_tokens_are_cheap() -> None:
    for costs in (Costs(4), priced(most=4)):
        assert costs.ratios[1:] == pytest.approx([1, 1 + CHEAP, 1 + 2 * CHEAP, 1 + 3 * CHEAP])


def test_what_was_not_measured_follows_its_neighbours() -> None:
    """Between two: a straight line. Outside of them: a little cheaper than those."""
    costs = priced((3, 1.2), (5, 1.5))
    assert costs.ratios[2] == pytest.approx(1 + HOPE * 0.1)
    assert costs.ratios[3:6] == pytest.approx([1.2, 1.35, 1.5])
    assert costs.ratios[6:] == pytest.approx([1.5 + HOPE * 0.125 * i for i in (1, 2, 3)])
    assert priced((8, 1.4)).ratios[1:] == pytest.approx([1 + HOPE * 0.4 / 7 * i for i in range(7)] + [1.4])


def test_one_measurement_counts_a_little_and_an_outlier_no_more() -> None:
    costs = priced((2, 1.1), (2, 1.3))
    assert costs.ratios[2] == pytest.approx(1.1 + 0.2 * MORE)
    costs = priced((2, 1.1), (2, 100.0))
    assert costs.ratios[2] == pytest.approx(1.1 * (1 + (MOST - 1) * MORE))
    assert priced((2, 100.0)).ratios[2] == pytest.approx(MOST * (1 + CHEAP))
    costs.add(1, 3.0)
    assert costs.one == pytest.approx(2 + ONE)
    costs.add(1, 100.0)
    assert costs.one == pytest.approx((2 + ONE) * (1 + (MOST - 1) * ONE))


def test_a_measurement_is_forgotten_after_a_while_unless_it_is_confirmed() -> None:
    costs = priced((2, 2.0), (4, 4.0))
    for _ in range(OLD - 4):
        costs.add(1, 2.0)
    costs.add(4, 8.0)
    assert costs.ratios[2:5] == pytest.approx([2, 3, 4])
    for _ in range(4):
        costs.add(1, 2.0)
    costs.add(4, 8.0)
    assert costs.ratios[2:] == pytest.approx([1 + HOPE, 1 + 2 * HOPE, 4, *(4 + HOPE * i for i in (1, 2, 3, 4))])
    for _ in range(2 * OLD):
        costs.add(1, 2.0)
    assert costs.ratios == pytest.approx(Costs(8).ratios)


# A model that drafts


class Small(DraftModel):
    """Drafts as the answer goes on at the positions that are `right`; a draft takes time on the machine's clock."""

    def __init__(self, machine: Machine, answer: list[int], right: Callable[[int], bool], each: float) -> None:
        self._session = type("Any", (), {"context": 1 << 20})()
        self._vocab = 1 << 30
        self.machine, self.answer, self.right, self.price = machine, answer, right, each
        self.begin(())

    def draft(self, n: int, cancel: Any = None) -> list[int]:
        self.machine.now += n * self.price
        self._each = self.price
        at = len(self._text)
        return [t if self.right(at + i) else -1 for i, t in enumerate([*self.answer[at : at + n], *[-1] * n][:n])]


def drafted_share(right: Callable[[int], bool], each: float, monkeypatch: pytest.MonkeyPatch, n: int = 600) -> float:
    answer, machine = words(n), Machine(USUAL)
    monkeypatch.setattr(speculation, "draft_model", lambda model, given: Small(machine, answer, right, each))
    return machine.write([], answer, monkeypatch, lookup=False)


def test_a_model_that_is_right_and_quick_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drafted_share(lambda i: True, 0.1, monkeypatch) < 0.45
    assert drafted_share(lambda i: i % 5 != 0, 0.1, monkeypatch) < 0.75


@pytest.mark.parametrize("each", [0.1, 0.5, 1.0])
def test_a_model_that_is_wrong_or_slow_is_asked_less_and_less(each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drafted_share(lambda i: False, each, monkeypatch) < 1.03
    assert drafted_share(lambda i: False, each, monkeypatch, 3000) < 1.01
    if each == 1.0:
        assert drafted_share(lambda i: True, each, monkeypatch) < 1.03


def test_a_model_that_becomes_right_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drafted_share(lambda i: i > 300, 0.1, monkeypatch, 2000) < 0.75


def test_pauses_grow_and_end_when_drafts_pay() -> None:
    small = Small(Machine(USUAL), [], lambda i: False, 0.1)
    small._each, small._chance, asked, costs = 0.1, 0.0, [], Costs(16)
    costs.add(1, 1.0)
    for i in range(1, 40 * PAUSE):
        small.push(1)
        if small.plan(8, costs)[0]:
            asked.append(i)
    assert asked == [1, 1 + PAUSE, 1 + PAUSE + PAUSE * LONGER, 1 + PAUSE + PAUSE * LONGER + PAUSE * LONGER**2]
    small._chance = 1.0
    assert small.plan(8, costs)[0] == 8
    assert small._pause == PAUSE


def test_a_model_that_is_as_slow_as_the_other_is_never_asked_again() -> None:
    """Not even tokens that are all right would pay."""
    small, costs = Small(Machine(USUAL), [], lambda i: False, 1.0), Costs(16)
    costs.add(1, 1.0)
    small._each = 1.0
    for _ in range(500):
        small.push(1)
        assert small.plan(8, costs)[0] == 0
