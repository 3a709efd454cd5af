"""The JSON file, what is made of it, and files that are none."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.bench import compare, plot, report, result, summary
from edgeq.bench.cases import Case
from edgeq.errors import EdgeqError, FormatError, UsageError
from tests.bench.made import FACTS, INT8, PP, READ, TG, TILES, make

OURS, THEIRS = [1.0, 2.0, 4.0, 2.0, 2.0], [4.0, 4.0, 4.0, 8.0, 5.0]


def two(**more: Any) -> dict[str, Any]:
    tg = {("edgeq", TG): [0.2] * 5, ("other", TG): [0.4] * 5}
    return make({("edgeq", PP): OURS, **tg, ("other", PP): THEIRS}, **more)


def saved(folder: Path, made: Any) -> str:
    path = folder / "r.json"
    path.write_text(json.dumps(made))
    return str(path)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "r.json")
    result.save(two(), path)
    assert result.load(path) == two()


def test_figures() -> None:
    """Seconds become tokens a second; the first round is not among them."""
    made = two()
    (pp, (ours, theirs)), (tg, _) = summary.rows(made, made["models"][0])
    assert (pp, tg) == (PP, TG)
    assert ours.middle == 50.0
    assert theirs.middle == 100 / 4.0
    assert ours.ratio is None
    assert theirs.ratio is not None
    assert theirs.ratio.middle == median(t / o for o, t in zip(OURS, THEIRS))
    assert theirs.paired
    assert ours.dropped == 0
    assert ours.bound == "int8"  # 2e10 operations of 1e12 a second, against 1e8 bytes of 1e10
    assert ours.share == pytest.approx(2 * 100 * FACTS["products"] / INT8 / 2.0)
    assert tg.figure(0.2) == 50.0


def test_prompts_on_tiles_are_held_against_tiles() -> None:
    values = {("edgeq", Case("pp", 1000)): [2.0] * 3, ("edgeq", Case("batch", 8)): [0.1] * 3}
    made = make(values, isa="amx")
    (_, (prompt,)), (_, (batch,)) = summary.rows(made, made["models"][0])
    assert (prompt.bound, batch.bound) == ("tiles", "memory")
    assert prompt.share == pytest.approx(2 * 1000 * FACTS["products"] / TILES / 2.0)


def test_decode_is_bound_by_memory() -> None:
    made = two()
    (_, _), (_, cells) = summary.rows(made, made["models"][0])
    assert cells[0].bound == "memory"
    assert cells[0].share == pytest.approx(10 * FACTS["weights"] / READ / 0.2)
    assert cells[1].share == pytest.approx(10 * FACTS["weights"] / READ / 0.4)


def test_rejected_slots_do_not_count() -> None:
    made = two(stolen=[1, 3])
    (_, (ours, theirs)), _ = summary.rows(made, made["models"][0])
    assert sorted(ours.figures) == [2, 4, 5]
    assert ours.dropped == 2
    assert ours.middle == 50.0
    assert theirs.ratio is not None
    assert theirs.ratio.middle == median(THEIRS[i] / OURS[i] for i in (1, 3, 4))


def test_too_few_slots_give_no_figure() -> None:
    made = two(stolen=[1, 2, 3])
    (_, (ours, theirs)), _ = summary.rows(made, made["models"][0])
    assert ours.middle is None
    assert ours.noisy == 50.0
    assert theirs.ratio is not None
    assert not theirs.paired
    found = report.tables(made)[0]
    assert found.columns == ["", "unit", "engine", "median", "of limit", "edgeq / engine", "dropped"]
    assert found.rows[0] == ["pp100", "tokens/s", "edgeq", "~50.0", "~1% int8", "", "3 of 5"]
    assert found.rows[1][5].startswith("~2.50 (")
    said = report.notes(made)
    assert report.NOTE in said
    assert "m.gguf: 6 of 10 slots of other were dropped: 6 for steal" in said


def test_tables_and_notes() -> None:
    made = two()
    cases, machine = report.tables(made)
    assert cases.title == "m.gguf, 100 MB a token"
    assert cases.rows[3] == ["tg10", "tokens/s", "other", "25.0", "25% memory", "2.00 (2.00 – 2.00)"]
    assert machine.columns == ["", "unit", "median"]
    assert machine.rows == [["read@t2", "GB/s", "10.0"], ["best:int8@t2", "Gop/s", "1000"]]
    said = "\n".join(report.notes(made))
    assert report.NOTE not in said
    assert "pp2048 need more than its context of 512" in said
    assert "other pp100 is left out: bad\\x1b[31m luck" in said
    page = report.markdown(made)
    assert "| tg10 | tokens/s | other | 25.0 | 25% memory | 2.00 (2.00 – 2.00) |" in page
    assert page.count("\n|---|") == 2


def test_one_engine_alone_needs_no_columns_for_others() -> None:
    made = make({("edgeq", PP): OURS}, limits=False)
    (table,) = report.tables(made)
    assert table.columns == ["", "unit", "median"]
    assert table.rows == [["pp100", "tokens/s", "50.0"]]


def test_bars() -> None:
    text = plot.terminal(two(stolen=[1, 2, 3])).splitlines()
    assert text[0] == "m.gguf"
    assert text[1] == "pp100, tokens/s (more is better)"
    assert text[2] == f"  edgeq {'█' * plot.WIDTH} ~50.0"
    assert text[3].split()[:2] == ["other", "█" * (plot.WIDTH // 2)]
    assert [plot.bar(share) for share in (0.0, -1.0, 1 / 320, 0.5 + 3 / 320)] == ["", "", "▏", "█" * 20 + "▍"]


def test_a_plot_in_a_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.png(two(), str(tmp_path / "p.png"))
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'edgeq\[bench\]'"):
        plot.png(two(), "p.png")


def test_two_results_are_compared() -> None:
    a = make({("edgeq", PP): [2.0] * 5, ("gone", PP): [1.0] * 5})
    b = make({("edgeq", PP): [1.0, 1.0, 1.6, 1.0, 1.0], ("edgeq", TG): [1.0] * 5}, stolen=[3])
    (table,) = compare.compared(a, b)
    assert table.rows[0] == ["pp100", "tokens/s", "edgeq", "50.0", "100.0", "2.00 (2.00 – 2.00)"]
    assert [row[:3] for row in table.rows[1:]] == [["read@t2", "GB/s", "limits"], ["best:int8@t2", "Gop/s", "limits"]]
    noisy = make({("edgeq", PP): [1.0] * 5}, stolen=[1, 2, 3, 4])
    assert compare.compared(a, noisy)[0].rows[0][4] == "~100.0"
    assert not any("not the same machine" in line for line in compare.notes(a, b))
    b["machine"]["cpu"] = "another"
    assert any("not the same machine" in line for line in compare.notes(a, b))


def test_results_with_nothing_in_common() -> None:
    other = two()
    other["models"][0]["file"] = "n.gguf"
    with pytest.raises(UsageError, match="no model with an engine and a case in common"):
        compare.compared(two(), other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\x00\xff", "no JSON"),
        ("[]", "no result of `edgeq bench --json`"),
        ('{"kind": "edgeq bench", "schema": NaN}', "NaN is no figure"),
        ('{"kind": "edgeq bench", "schema": 2}', "schema 2, this edgeq knows 1"),
        ('{"kind": "edgeq bench", "schema": 1}', "the file has no 'created'"),
    ],
)
def test_files_that_are_no_results(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=said):
        result.load(str(path))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with path.open("wb") as file:
        file.truncate(result.MOST_BYTES + 1)
    with pytest.raises(FormatError, match="have at most"):
        result.load(str(path))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in items for p in places(inner, (*path, key)))]


SMALL = make({("edgeq", PP): [1.0, 2.0, 3.0], ("other", PP): [2.0, 2.0, 2.0]})
ODD = st.sampled_from(
    [None, True, -1, 0, 1e308, 2**70, "", "x\x1b", [], {}, [[]], [None], {"a": 1}, 3.5, "pp100", -(10**400), 2**62]
)


@given(st.sampled_from(places(SMALL)[1:]), ODD)
@settings(max_examples=150, deadline=None)
def test_damaged_results_are_refused_or_shown(tmp_path_factory: pytest.TempPathFactory, place: Any, odd: Any) -> None:
    """Whatever stands in any place: it is an error of ours, or tables come out."""
    damaged = deepcopy(SMALL)
    inner = damaged
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = odd
    path = saved(tmp_path_factory.getbasetemp(), damaged)
    try:
        found = result.load(path)
        report.markdown(found)
        plot.terminal(found)
        compare.notes(found, SMALL)
        compare.compared(SMALL, found)
    except EdgeqError:
        pass
