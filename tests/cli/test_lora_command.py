"""Adapters on the command line: `edgeq run --lora`, `edgeq convert` of PEFT folders, `edgeq lora merge`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgeq.cli import main
from edgeq.cli.run_options import adapter as parsed
from tests.lora.made import adapter, merged, write
from tests.small import BACKEND, tiny


def text(capsys: pytest.CaptureFixture[str], model: Path, *words: str) -> str:
    options = ["--backend", BACKEND, "--kv", "F32", "--temp", "0", "-n", "6", "--ignore-end", "--json", "--raw"]
    assert main(["run", str(model), "the fox", *options, *words]) == 0
    return str(json.loads(capsys.readouterr().out)["ids"])


def test_run_takes_adapters_with_scales(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = adapter(tiny(), seed=1), adapter(tiny(), seed=2)
    a, b = write(tmp_path / "a.gguf", first), write(tmp_path / "b.gguf", second)
    both = merged(tiny(), [(first, 1.0), (second, 0.5)], tmp_path / "m.gguf")
    found = text(capsys, tiny(), "--lora", str(a), "--lora", f"{b}:0.5")
    assert found == text(capsys, both) != text(capsys, tiny())


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("a.gguf", ("a.gguf", 1.0)), ("a.gguf:0.5", ("a.gguf", 0.5)), ("a:b:-2", ("a:b", -2.0)), ("C:/a", ("C:/a", 1.0)),
     (":2", (":2", 1.0)), ("a:", ("a:", 1.0))],
)  # fmt: skip
def test_a_scale_is_a_number_behind_the_last_colon(word: str, wanted: tuple[str, float]) -> None:
    assert parsed(word) == wanted


@pytest.mark.skipif(os.name == "nt", reason="no file name has a colon there")
def test_a_file_with_a_number_behind_a_colon_in_its_name_could_not_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(tiny())
    a, b = write(tmp_path / "a:0.5", made), write(tmp_path / "b.gguf", made)
    assert text(capsys, tiny(), "--lora", str(a)) == text(capsys, tiny(), "--lora", str(b)) != text(capsys, tiny())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder:2").mkdir()
    assert parsed("a:0.5") == ("a:0.5", 1.0)
    assert parsed("a:0.5:2") == ("a:0.5", 2.0)
    assert parsed("folder:2") == ("folder:2", 1.0)


def test_what_is_no_adapter_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in (str(tmp_path / "none.gguf"), str(tiny()), f"{write(tmp_path / 'a.gguf', adapter(tiny()))}:nan"):
        assert main(["run", str(tiny()), "x", "--lora", word]) == 2
        out = capsys.readouterr()
        assert out.out == ""
        assert out.err.startswith("edgeq: ")
        assert out.err.count("\n") == 1


def test_merge_writes_a_model_that_answers_like_run_with_the_adapters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.gguf", adapter(tiny(), seed=1)), write(tmp_path / "b.gguf", adapter(tiny(), seed=2))
    out = tmp_path / "m.gguf"
    assert main(["lora", "merge", str(tiny()), str(a), f"{b}:0.5", str(out), "--scale", "0.5", "--type", "f32"]) == 0
    assert "m.gguf: 14 weights changed" in capsys.readouterr().err
    wanted = text(capsys, tiny(), "--lora", f"{a}:0.5", "--lora", f"{b}:0.25")
    assert text(capsys, out) == wanted != text(capsys, tiny())
    assert main(["lora", "merge", str(tiny()), str(a), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["lora", "merge", str(tiny()), str(a), str(out), "--overwrite", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"] == [str(out)]
    assert {(t["from"], t["to"]) for t in facts["tensors"]} == {("F32", "F32")}


def test_merge_into_a_quantized_model_says_what_rounding_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny("format-q4_k"), tmp_path / "m.gguf"
    a = write(tmp_path / "a.gguf", adapter(model))
    assert main(["lora", "merge", str(model), str(a), str(out)]) == 0
    err = capsys.readouterr().err
    assert "14 of them were quantized and are rounded again; what that loses is up to" in err
    assert "% of what the adapter adds (blk." in err


def test_merge_into_a_format_without_a_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.gguf", adapter(tiny()))
    assert main(["lora", "merge", str(tiny()), str(a), str(tmp_path / "m.gguf"), "--type", ""]) == 2
    assert "--type: expected the name of a format" in capsys.readouterr().err and not (tmp_path / "m.gguf").exists()


def test_merge_needs_three_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora", "merge", "a.gguf", "b.gguf"]) == 2
    assert "expected BASE ADAPTER[:SCALE]... OUT" in capsys.readouterr().err
    assert main(["lora"]) in (0, 2)
