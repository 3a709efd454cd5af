"""Runs of the whole bench on a tiny model with stand-ins for other engines."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeq import _lib
from edgeq.bench.cases import Case, peaks
from edgeq.bench.child import Child, EngineFailed
from edgeq.bench.contenders import contenders
from edgeq.bench.engines import llama_bench
from edgeq.bench.rounds import Rounds, Settings
from edgeq.errors import GGUFError, UsageError
from tests.bench import fakes
from tests.small import tiny

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the stand-ins are scripts"),
    pytest.mark.skipif(not _lib.available(), reason="no native library"),
]
PP, TG = Case("pp", 32), Case("tg", 4)


def bench(
    folder: Path, cases: Sequence[Case] = (PP, TG), peers: Sequence[str] = (), clis: Sequence[str] = (),
    ours: Sequence[str] = (), **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    who = contenders(ours, peers, clis)
    given = {"rounds": 1, "limits": False, "pause": 0.0, **settings}
    return Rounds(str(tiny()), who, cases, Settings(2, **given), lambda line: None).run()


def values(model: dict[str, Any], engine: str, case: str) -> list[float]:
    return [s["value"] for s in model["slots"] if (s["engine"], s["case"]) == (engine, case)]


def failures(model: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f["engine"], f["case"], f["message"]) for f in model["failures"]]


def test_engines_take_turns(tmp_path: Path) -> None:
    peer = fakes.llama_bench(tmp_path)
    cases = [PP, Case("tg", 4, 16), Case("batch", 2)]
    found = bench(tmp_path, cases, [f"A={peer}", f"B={peer},--mode old"], rounds=2)
    assert failures(found) == [("B", "tg4@d16", "tg4@d16 is not in the output")]
    order = [(s["round"], s["case"], s["engine"]) for s in found["slots"]]
    assert order[:7] == [
        (0, "pp32", "edgeq"), (0, "pp32", "A"), (0, "pp32", "B"),
        (0, "tg4@d16", "A"), (0, "tg4@d16", "edgeq"),  # B would have been between them
        (0, "batch2", "B"), (0, "batch2", "edgeq"),
    ]  # fmt: skip
    assert [e for r, c, e in order if (r, c) == (1, "pp32")] == ["A", "B", "edgeq"]
    assert [e for r, c, e in order if (r, c) == (2, "pp32")] == ["B", "edgeq", "A"]
    assert values(found, "A", "pp32") == [0.32] * 3
    assert values(found, "A", "tg4@d16") == [0.2] * 3
    assert values(found, "B", "batch2") == [0.02] * 3
    assert all(0 < v < 5 for c in cases for v in values(found, "edgeq", c.name))
    assert found["contenders"][0]["facts"]["threads"] == 2
    assert "prompt" not in found["contenders"][0]["facts"]


def test_the_machine_is_measured_in_every_round(tmp_path: Path) -> None:
    found = bench(tmp_path, [TG], ours=["edgeq", "plain=isa=scalar,threads=1"], limits=True)
    best = _lib.ffi.string(_lib.lib.eq_isa_name(_lib.ffi.NULL)).decode()
    names = {s["case"] for s in found["slots"] if s["engine"] == "limits"}
    assert names == {"read@t1", "read@t2", "scalar:int8@t1", "scalar:float@t1"} | {
        f"{best}:{kind}@t{t}" for kind in peaks(best) for t in (1, 2)
    }
    assert [s["round"] for s in found["slots"] if s["case"] == "read@t2"] == [0, 1]
    assert found["contenders"][1]["facts"]["isa"] == "scalar"
    assert found["machine"]["isa"] == best
    assert values(found, "limits", f"{best}:int8@t1")[1] > values(found, "limits", "scalar:int8@t1")[1]
    assert found["machine"]["bytes"] <= found["facts"]["weights"] + 4096 * 21


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("crash", "exit code 1: error: no such tensor"),
        ("kill", "exit code -9: no message"),
        ("silent", "expected JSON, found 'no message'"),
        ("wrong", "pp32 is not in the output"),
    ],
)
def test_a_peer_that_fails_is_left_out_and_the_rest_goes_on(mode: str, said: str, tmp_path: Path) -> None:
    found = bench(tmp_path, [PP], [f"bad={fakes.llama_bench(tmp_path)},--mode {mode}"])
    assert failures(found) == [("bad", "pp32", said)]
    assert len(values(found, "edgeq", "pp32")) == 2


def test_a_case_that_a_peer_does_not_know_costs_it_that_case_alone(tmp_path: Path) -> None:
    peer = f"old={fakes.llama_bench(tmp_path)},--mode nodepth"
    found = bench(tmp_path, [Case("tg", 4, 16), TG], [peer])
    assert failures(found) == [("old", "tg4@d16", "exit code 1: error: invalid parameter for argument: -d")]
    assert values(found, "old", "tg4") == [0.2] * 2


def test_a_peer_that_hangs_is_ended(tmp_path: Path) -> None:
    """And so is what it started; after two cases it is not asked any more."""
    began = time.monotonic()
    found = bench(tmp_path, [PP, TG, Case("pp", 8)], [f"slow={fakes.llama_bench(tmp_path)},--mode hang"], limit=2.0)
    assert time.monotonic() - began < 30
    assert failures(found) == [
        ("slow", "pp32", "no answer within 2 s (--limit)"), ("slow", "", "no answer within 2 s (--limit)")
    ]  # fmt: skip
    assert len(values(found, "edgeq", "pp8")) == 2
    alive = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in read(p)]
    assert alive == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_first_token_and_memory(tmp_path: Path) -> None:
    cli = f"other={fakes.llama_cli(tmp_path)}"
    found = bench(tmp_path, [Case("first"), Case("memory")], clis=[cli], ours=["edgeq", "one=threads=1"])
    assert found["failures"] == []
    for value in values(found, "other", "first"):
        assert 0.2 <= value < 5  # not to the end, 0.3 s later, unless the machine is busy
    for value in values(found, "other", "memory"):
        assert 60e6 < value < 200e6
    assert all(0.01 < v < 30 for v in values(found, "one", "first"))
    assert all(1e7 < v < 1e9 for v in values(found, "edgeq", "memory"))  # Python alone is 10 MB and more


def test_python_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.script(tmp_path, "llama_cpp.py", fakes.LLAMA_CPP)
    fakes.script(tmp_path, "mistralrs.py", fakes.MISTRALRS)
    info = tmp_path / "mistralrs-0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mistralrs\nVersion: 0.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cases = [PP, Case("tg", 4, 16), Case("batch", 2)]
    found = bench(tmp_path, cases, ["llama-cpp-python", "mistralrs"])
    assert found["failures"] == []
    assert [c["facts"].get("engine") for c in found["contenders"]][1:] == ["llama-cpp-python 1.2.3", "mistral.rs 0.9"]
    assert values(found, "mistralrs", "pp32") == [pytest.approx(0.64)] * 2
    assert values(found, "mistralrs", "tg4@d16") == [0.5] * 2
    assert values(found, "mistralrs", "batch2") == [pytest.approx(0.04)] * 2
    assert min(values(found, "llama-cpp-python", "pp32")) >= 0.032
    assert 0.004 <= min(values(found, "llama-cpp-python", "tg4@d16")) < 0.016
    assert 0.002 <= min(values(found, "llama-cpp-python", "batch2")) < 0.1


def test_packages_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("llama_cpp", "mistralrs"):
        fakes.script(tmp_path, f"{name}.py", "raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = bench(tmp_path, [PP, TG], ["llama-cpp-python", "mistralrs"])
    assert [(e, c) for e, c, _ in failures(found)] == [("llama-cpp-python", ""), ("mistralrs", "")]
    assert all("name a Python that has it: --peer" in message for _, _, message in failures(found))


def test_a_package_that_ends_its_process_does_not_end_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.script(tmp_path, "llama_cpp.py", "import os, sys; print('assertion failed', file=sys.stderr); os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = bench(tmp_path, [PP, TG], ["llama-cpp-python"])
    assert [c for _, c, _ in failures(found)] == ["pp32", ""]
    assert "its process ended with signal SIGABRT" in failures(found)[0][2]
    assert len(values(found, "edgeq", "tg4")) == 2


def test_a_model_that_edgeq_cannot_load(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(GGUFError):
        Rounds(str(bad), contenders([], [], []), [PP], Settings(1), print)
    rounds = Rounds(str(tiny()), contenders(["x=isa=none"], [], []), [PP], Settings(1), print)
    with pytest.raises(EngineFailed, match="ISA none"):
        rounds.run()


def test_cases_without_room_are_named() -> None:
    one = Rounds(str(tiny("qwen3")), contenders([], [], []), [PP, Case("pp", 2048)], Settings(1), print)
    assert [c.name for c in one.left_out] == ["pp2048"]
    with pytest.raises(UsageError, match="no case fits its context of 512"):
        Rounds(str(tiny("qwen3")), contenders([], [], []), [Case("pp", 2048)], Settings(1), print)


def test_a_python_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="cannot be started"):
        Child("own", str(tmp_path))
    child = Child("own", str(fakes.script(tmp_path, "python", "#!/bin/sh\necho no python >&2; exit 3\n")))
    with pytest.raises(EngineFailed, match="ended with exit code 3: no python"):
        child.load({}, 20.0)
    child = Child("own", str(fakes.script(tmp_path, "talker", "#!/bin/sh\necho hello; sleep 60\n")))
    with pytest.raises(EngineFailed, match="no JSON: hello"):
        child.load({}, 20.0)
    child.close()


def test_outputs_of_llama_bench() -> None:
    entry = '{"n_prompt": 0, "n_gen": 8, "n_depth": 4, "avg_ns": 1, "samples_ns": [2e9, 4e9]}'
    assert llama_bench.seconds(f"noise\n[{entry}]\n", Case("tg", 8, 4)) == 3.0
    for text in ("", "noise", "[]", f"[{entry}]"):
        with pytest.raises(ValueError, match=r"expected JSON|not in the output"):
            llama_bench.seconds(text, Case("tg", 8))
    words = llama_bench.arguments(Case("pp", 4), "m", 3)
    assert words == ["-m", "m", "-t", "3", "-o", "json", "-r", "1", "-p", "4", "-n", "0"]
    assert llama_bench.arguments(Case("batch", 4), "m", 3)[6:8] == ["-r", "20"]
