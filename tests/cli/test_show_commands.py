"""`edgeq info`, `edgeq tokenize`, `edgeq gguf verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeq import cli, gguf
from edgeq.cli.show import count, size
from tests.cli.test_run import Stdin
from tests.small import model, tiny


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    def run_it(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        code = cli.main(list(words))
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run_it


def test_info_json_agrees_with_the_file(call: Any) -> None:
    code, out, _ = call(
        "info", str(tiny("gemma3")), "--json", "--tensors", "--metadata", "-c", "100", "--kv", "f32"
    )
    facts = json.loads(out)
    assert code == 0
    with gguf.open(tiny("gemma3")) as file:
        weights = sum(t.data.nbytes // t.format.nbytes * t.format.block for t in file.tensors.values())
        assert facts["parameters"] == weights
        assert [t["name"] for t in facts["tensors"]] == list(file.tensors)
        assert list(facts["metadata"]) == list(file.metadata)
        assert sum(row["bytes"] for row in facts["types"].values()) == sum(
            t.nbytes for t in file.tensors.values()
        )
        assert sum(row["tensors"] for row in facts["types"].values()) == len(file.tensors)
        assert facts["size"] == tiny("gemma3").stat().st_size
    assert facts["bits_per_weight"] == 32
    assert (facts["architecture"], facts["layers"], facts["context"]) == ("gemma3", 7, 512)
    assert facts["tokenizer"] == {
        "model": "llama",
        "pre": "default",
        "tokens": 384,
        "special": {"bos": 2, "eos": 1, "unknown": 3, "padding": 0},
    }
    assert facts["template"] is None
    memory = facts["memory"]
    assert (memory["context"], memory["kv_type"]) == (100, "F32")
    assert memory["keys_and_values"] == model("gemma3", context=100, kv_type="F32").session().state.nbytes
    assert memory["total"] == memory["file"] + memory["keys_and_values"] + memory["working"]


def test_info_for_people(call: Any) -> None:
    code, out, _ = call("info", str(tiny()), "--tensors", "--metadata")
    assert code == 0
    for part in (
        "llama, 2 layers",
        "32.00 bits per weight",
        "trained for 1024",
        "gpt2, llama-bpe, 320 tokens",
        "template",
        "at a context of 1024",
        "token_embd.weight",
        "general.architecture: string llama",
        "array[string] of 320",
    ):
        assert part in out, part
    assert max(map(len, out.splitlines())) < 400


def test_info_prints_the_program_that_runs(call: Any) -> None:
    code, out, _ = call("info", str(tiny()), "--program")
    assert code == 0
    assert out.splitlines()[0].startswith("# 2 layers")
    assert "attend(" in out


def test_info_of_a_model_that_cannot_be_run(call: Any, tmp_path: Path) -> None:
    from edgeq.errors import EdgeqError

    data = tiny().read_bytes()
    path = tmp_path / "odd.gguf"
    path.write_bytes(data.replace(b"llama", b"\x1b[2Jx"))  # same length: architecture and its keys
    code, out, err = call("info", str(path))
    assert code == 0
    assert "\x1b" not in out + err
    assert "\\x1b[2Jx" in out
    assert "not known" in out  # the memory
    code, out, _ = call("info", str(path), "--json")
    assert "error" in json.loads(out)["memory"]
    assert call("info", str(path), "--program")[0] == 2
    assert issubclass(EdgeqError, Exception)


@pytest.mark.parametrize("words", [["info"], ["tokenize"], ["gguf", "verify"]])
def test_broken_files(call: Any, words: list[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny().read_bytes()[:5000])
    code, out, err = call(*words, str(cut))
    assert code == (1 if words[0] == "gguf" else 2)
    assert "cut" in out + err
    assert "Traceback" not in err
    assert call(*words, str(tmp_path))[0] == code


def test_verify(call: Any, tmp_path: Path) -> None:
    code, out, err = call("gguf", "verify", str(tiny()))
    assert (code, out) == (0, "")
    assert "sound" in err
    with gguf.open(tiny()) as file:
        offset = file.tensors["output_norm.weight"].offset
    data = bytearray(tiny().read_bytes())
    data[offset : offset + 4] = b"\x00\x00\xc0\x7f"  # NaN
    path = tmp_path / "nan.gguf"
    path.write_bytes(data)
    code, out, err = call("gguf", "verify", str(path))
    assert code == 1
    assert "output_norm.weight" in out
    found = json.loads(call("gguf", "verify", str(path), "--json")[1])
    assert (found["sound"], len(found["findings"])) == (False, 1)
    assert call("gguf", "verify", str(path), "-q")[1:] == ("", "")


def test_tokenize(call: Any, tmp_path: Path) -> None:
    ids = model().tokenize("the fox <|im_end|>")
    path = str(tiny())
    assert call("tokenize", path, "the fox <|im_end|>")[1].split() == [str(i) for i in ids]
    assert call("tokenize", path, stdin=b"the fox <|im_end|>")[1].split() == [str(i) for i in ids]
    file = tmp_path / "t"
    file.write_bytes(b"the fox <|im_end|>")
    assert call("tokenize", path, "--file", str(file), "--count")[1] == f"{len(ids)}\n"
    rows = [line.split("\t") for line in call("tokenize", path, "-f", str(file), "--pieces")[1].splitlines()]
    assert [int(r[0]) for r in rows] == ids
    assert "".join(json.loads(r[1]) for r in rows[1:]) == "the fox <|im_end|>"
    found = json.loads(call("tokenize", path, "the fox <|im_end|>", "--json")[1])
    assert (found["ids"], found["count"], len(found["pieces"])) == (ids, len(ids), len(ids))
    plain = call("tokenize", path, "<|im_end|>", "--no-special", "--no-parse-special")[1].split()
    assert len(plain) > 1
    assert plain == [str(i) for i in model().tokenize("<|im_end|>", add_special=False, parse_special=False)]
    assert call("tokenize", path, "x", "--file", "y")[0] == 2


def test_tokenize_takes_bytes_as_they_are(call: Any) -> None:
    data = bytes(range(256))
    out = call("tokenize", str(tiny()), stdin=data)[1]
    assert out.split() == [str(i) for i in model().tokenize(data)]


def test_sizes_for_people() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536, 5 << 30, 1 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 GiB",
        "1048576.0 GiB",
    ]
    assert [count(n) for n in (0, 999, 1000, 134_515_008, 7_000_000_000)] == [
        "0",
        "999",
        "1.0 K",
        "134.5 M",
        "7.0 B",
    ]
