"""What a command line asks for: cases, their names, units and engines."""

from __future__ import annotations

import sys

import pytest

from edgeq.bench.cases import FULL_BATCH, FULL_DEPTH, FULL_PP, Case, chosen, fitting, numbers
from edgeq.bench.contenders import contenders
from edgeq.bench.rounds import rotated
from edgeq.errors import UsageError

NONE: tuple[int, ...] = ()


def names(**given: object) -> list[str]:
    asked: dict[str, object] = {"pp": NONE, "tg": 0, "depth": NONE, "batch": NONE, "first": False, "memory": False,
                                "full": False}  # fmt: skip
    return [c.name for c in chosen(**{**asked, **given})]  # type: ignore[arg-type]


def test_what_is_measured() -> None:
    assert names() == ["pp512", "tg64"]
    assert names(pp=(16, 128)) == ["pp16", "pp128"]
    assert names(tg=8) == ["tg8"]
    assert names(depth=(0, 512)) == ["tg64", "tg64@d512"]
    assert names(tg=8, depth=(512, 512), batch=(4,)) == ["tg8@d512", "batch4"]
    assert names(first=True, memory=True) == ["first", "memory"]
    full = names(full=True)
    assert len(full) == len(FULL_PP) + len(FULL_DEPTH) + len(FULL_BATCH) + 2
    assert {"pp2048", "tg64@d8192", "batch16", "memory"} <= set(full)
    assert "pp7" in names(full=True, pp=(7,))
    assert "pp2048" not in names(full=True, pp=(7,))


def test_cases_that_a_context_has_no_room_for() -> None:
    cases = [Case("pp", 512), Case("tg", 64, 448), Case("tg", 64, 449), Case("batch", 481), Case("first")]
    fit, not_fit = fitting(cases, 512)
    assert [c.name for c in fit] == ["pp512", "tg64@d448", "first"]
    assert [c.name for c in not_fit] == ["tg64@d449", "batch481"]


def test_figures_and_units() -> None:
    assert Case("pp", 512).figure(2.0) == 256.0
    assert Case("tg", 64).figure(0.5) == 128.0
    assert Case("batch", 4).figure(0.0125) == 12.5
    assert Case("memory").figure(3e8) == 300.0
    assert Case("read", 2).figure(36.5e9) == pytest.approx(36.5)
    assert Case("int8", 2, isa="avx2").name == "avx2:int8@t2"
    assert [Case(k).more_is_better for k in ("pp", "batch", "first", "memory", "read")] == [
        True, False, False, False, True
    ]  # fmt: skip


def test_lists_of_numbers() -> None:
    assert numbers("16, 128,4k") == [16, 128, 4096]
    assert numbers("0,8", 0) == [0, 8]
    for wrong in ("", "0", "16,", "x", "-1", "1e3", "9999999999", "٣", "2000000", "k"):
        with pytest.raises(UsageError, match="whole numbers from 1"):
            numbers(wrong)


def test_engines() -> None:
    program = sys.executable
    found = contenders(
        ["fast=", "avx2=isa=avx2,threads=1,kv=q8_0"],
        [f"lcpp={program},-nr 1 --x 'a b'", "mistralrs", f"llama-cpp-python={program}"],
        [f"lcpp={program},--no-warmup", f"other={program}"],
    )
    assert [(c.label, c.kind) for c in found] == [
        ("fast", "own"), ("avx2", "own"), ("lcpp", "llama_bench"), ("mistralrs", "mistral"),
        ("llama-cpp-python", "llama_python"), ("other", ""),
    ]  # fmt: skip
    assert dict(found[1].variant) == {"isa": "avx2", "threads": 1, "kv": "Q8_0"}
    assert found[2].words == ("-nr", "1", "--x", "a b")
    assert found[2].cli[1:] == ("--no-warmup",)
    assert found[4].python == program
    assert [c.label for c in contenders([], [], [])] == ["edgeq"]
    assert all("/" not in word for c in found for word in [*c.as_json()["words"], *c.as_json()["cli"]])


@pytest.mark.parametrize(
    ("ours", "peers", "clis", "said"),
    [
        (["a=isa"], [], [], "expected LABEL=KEY=VALUE"),
        (["a=color=red"], [], [], "keys isa, threads"),
        (["a=threads=two"], [], [], "expected a whole number"),
        (["=isa=avx2"], [], [], "a label of 1 to 40"),
        (["a\x1b[31m=isa=avx2"], [], [], "a label of 1 to 40"),
        (["a=isa=avx2", "a="], [], [], "a is given twice"),
        (["limits="], [], [], "limits is given twice"),
        ([], ["llama-bench"], [], "or a package: llama-cpp-python, mistralrs"),
        ([], ["a=/nowhere/llama-bench"], [], "there is no such program"),
        ([], ["a="], [], "expected LABEL=PROGRAM"),
        ([], [f"a={sys.executable},'x"], [], "No closing quotation"),
        ([], [], [f"edgeq={sys.executable}"], "has a command line already"),
        ([], [], ["x"], "expected LABEL=PROGRAM"),
    ],
)
def test_engines_that_are_none(ours: list[str], peers: list[str], clis: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        contenders(ours, peers, clis)


def test_the_order_turns() -> None:
    """A B A B …: over as many rounds as there are engines, each has each place once."""
    orders = [rotated("ABC", turn) for turn in range(6)]
    assert orders[:3] == [["A", "B", "C"], ["B", "C", "A"], ["C", "A", "B"]]
    assert orders[3:] == orders[:3]
    assert rotated([], 4) == []
