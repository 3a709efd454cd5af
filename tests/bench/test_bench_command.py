"""`edgeq bench` as a person calls it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from edgeq import _lib, cli
from edgeq.bench import host, result
from edgeq.errors import EdgeqError
from tests.bench import fakes
from tests.bench.made import PP, make
from tests.small import tiny

needs_library = pytest.mark.skipif(not _lib.available(), reason="no native library")
posix = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are scripts")


@needs_library
@posix
def test_a_run_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = f"other={fakes.llama_bench(tmp_path)}"
    files = [str(tmp_path / name) for name in ("r.json", "r.md")]
    words = ["bench", str(tiny()), "--pp", "16", "--tg", "4", "--depth", "8", "--rounds", "1", "-t", "2", "--plot", "-"]
    words += ["--peer", peer, "--peer", f"bad={fakes.llama_bench(tmp_path)},--mode crash", "--json", files[0]]
    assert cli.main([*words, "--markdown", files[1]]) == 0
    captured = capsys.readouterr()
    assert "bad pp16 is left out: exit code 1: error: no such tensor" in captured.err
    for text in (captured.out, Path(files[1]).read_text("utf-8")):
        assert f"{tiny().name}, " in text
        assert "100.0" in text
        assert "bad tg4@d8 is left out: exit code 1" in text
    assert "pp16, tokens/s (more is better)" in captured.out
    found = result.load(files[0])
    assert found["settings"]["rule"] == {"steal": 0.01, "foreign": 0.02, "clock": 0.03, "least": 3}
    assert {s["case"] for s in found["models"][0]["slots"] if s["engine"] == "edgeq"} == {"pp16", "tg4@d8"}
    assert str(tmp_path) not in Path(files[0]).read_text("utf-8")
    assert cli.main(["bench", "--compare", files[0], files[0]]) == 0
    assert "1.00 (1.00 – 1.00)" in capsys.readouterr().out


def test_results_are_compared_without_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", 2.0), ("b", 1.0)):
        result.save(make({("edgeq", PP): [value] * 3}), str(tmp_path / name))
    assert cli.main(["bench", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "2.00 (2.00 – 2.00)" in out
    assert "A: 2026-01-01T00:00:00, edgeq 0.1.0, 2 threads on Some CPU" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which model?"),
        (["x.gguf", "--compare", "a", "b"], "leave the models out"),
        (["--compare", "/nowhere/a", "/nowhere/b"], "No such file"),
        (["x.gguf", "--pp", "many"], "--pp: 'many': expected whole numbers"),
        (["x.gguf", "--depth", "-1"], "--depth: '-1': expected whole numbers from 0"),
        (["x.gguf", "--peer", "a=/nowhere/b"], "no such program"),
        (["x.gguf", "--plot", "p.jpg"], "expected FILE.png"),
        (["/nowhere/x.gguf"], "x.gguf"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_plot_without_matplotlib_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["bench", "/nowhere/x.gguf", "--plot", "p.png"]) == 2
    assert "pip install 'edgeq[bench]'" in capsys.readouterr().err


def test_a_damaged_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert cli.main(["bench", str(tmp_path / "bad.gguf")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_host_is_described_in_json() -> None:
    facts = host.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cpu"]
    assert facts["threads"] >= 1


def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--json", "none/r.json"), ("--markdown", "none/r.md"), ("--json", ".")):
        assert cli.main(["bench", str(tiny()), option, str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert not captured.out
        assert "choose another" in captured.err
    assert cli.main(["bench", str(tiny()), "--json", str(tiny())]) == 2
    assert "is the file that is read" in capsys.readouterr().err


def test_a_disk_that_refuses_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "r.json")
    result.save(make({("edgeq", PP): [2.0] * 3}), path)
    before = Path(path).read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgeq.gguf.partfile.os.write", full)
    with pytest.raises(EdgeqError, match=r"r\.json: cannot be written: No space left"):
        result.save(make({("edgeq", PP): [1.0] * 3}), path)
    assert (Path(path).read_bytes(), [p.name for p in tmp_path.iterdir()]) == (before, ["r.json"])
