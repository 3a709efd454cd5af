"""`edgeq gguf`: dump, set, unset, rename, template, split, merge, hash, diff, extract. `verify` is in
test_show_commands.py."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import cli, gguf
from edgeq.cli.gguf import COMMANDS
from edgeq.gguf import Value
from tests.small import tiny

ROOT = Path(__file__).parents[2]
ROWS = [
    ("a", (3, 4), "F32", np.arange(12, dtype=np.float32)),
    ("b.weight", (2, 32), "Q8_0", np.full(68, 60, np.uint8)),
]
META: dict[str, Any] = {
    "general.architecture": "llama",
    "n": 7,
    "eps": 1e-5,
    "nan": float("nan"),
    "list": list(range(10)),
    "words": ["x\x1b[2J", "ü"],
    "esc\x1b[2J": "red\x1b[31m\n",
    "tokenizer.chat_template": "hello {{ messages }}\n" * 20,
}


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    def run_it(*words: Any) -> tuple[int, str, str]:
        code = cli.main(["gguf", *map(str, words)])
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in err
        return code, out.decode("utf-8", "surrogateescape"), err.decode()

    return run_it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gguf.write(tmp_path / "m.gguf", META, ROWS)
    return tmp_path / "m.gguf"


def metadata(path: Path) -> dict[str, Any]:
    with gguf.open(path) as g:
        return {k: (g.metadata.type(k), v if isinstance(v, (str, int, float)) else v.tolist())
                for k, v in g.metadata.items()}  # fmt: skip


def test_every_command_helps(call: Any) -> None:
    code, out, _ = call("--help")
    assert code == 0 and all(f"  {name} " in out for name in COMMANDS)
    for name in COMMANDS:
        code, out, _ = call(name, "--help")
        assert code == 0 and out.startswith(f"Usage: edgeq gguf {name} ")
    assert call("no-such")[0] == 2


def test_nothing_but_numbers_needs_numpy(path: Path) -> None:
    code = f"""
import sys
from edgeq import cli, gguf
import edgeq.gguf.editing, edgeq.gguf.hashing, edgeq.gguf.comparing, edgeq.gguf.extracting, edgeq.gguf.values
from edgeq.cli.gguf import COMMANDS, command
file = {str(path)!r}
assert all(command.get_command(None, name) for name in COMMANDS)
for words in (["dump", file], ["set", file, "n=9"], ["hash", file], ["diff", file, file]):
    assert cli.main(["gguf", *words]) == 0
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_dump(call: Any, path: Path) -> None:
    code, out, err = call("dump", path)
    assert (code, err) == (0, "") and "\x1b" not in out
    lines = [line.split() for line in out.splitlines()]
    assert ["f32", "eps", "=", "1e-05"] in lines and ["u32", "n", "=", "7"] in lines
    assert "array[i32]     list = 10 elements: [0, 1, 2, 3, 4, 5, …]" in out.splitlines()
    assert "f32            nan = NaN" in out.splitlines()
    with gguf.open(path) as g:
        for t in g.tensors.values():
            shape = " x ".join(map(str, t.shape)).split()
            assert [str(t.offset), str(t.nbytes), t.format.name, *shape, t.name] in lines
    assert "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" in call("dump", path, "--full")[1]
    assert "eps" not in call("dump", path, "--no-metadata")[1]
    assert "Q8_0" not in call("dump", path, "--no-tensors")[1]


def test_dump_json(call: Any, path: Path) -> None:
    found = json.loads(call("dump", path, "--json")[1])
    with gguf.open(path) as g:
        assert list(found["metadata"]) == list(g.metadata)
        assert [(t["name"], t["offset"], t["bytes"]) for t in found["tensors"]] == [
            (t.name, t.offset, t.nbytes) for t in g.tensors.values()
        ]
        assert found["parts"] == [{"file": str(path), "size": g.parts[0].size,
                                   "data_offset": g.parts[0].header.data_offset}]  # fmt: skip
    assert found["metadata"]["nan"] == {"type": "f32", "value": "NaN"}
    assert found["metadata"]["eps"] == {"type": "f32", "value": 1e-5}
    assert found["metadata"]["list"] == {"type": "array[i32]", "length": 10, "first": list(range(6))}
    full = json.loads(call("dump", path, "--json", "--full", "--no-tensors")[1])
    assert full["metadata"]["list"]["value"] == list(range(10)) and "tensors" not in full


def test_dump_of_one_key(call: Any, path: Path) -> None:
    assert call("dump", path, "--key", "tokenizer.chat_template")[1] == META["tokenizer.chat_template"]
    assert json.loads(call("dump", path, "-k", "list")[1]) == list(range(10))
    assert call("dump", path, "-k", "n")[1] == "7\n"
    assert json.loads(call("dump", path, "-k", "words", "--json")[1]) == {
        "key": "words", "type": "array[string]", "value": META["words"],
    }  # fmt: skip
    code, out, err = call("dump", path, "-k", "no\x1b")
    assert (code, out) == (2, "") and "no metadata key no\\x1b" in err


def test_set_unset_and_rename(call: Any, path: Path) -> None:
    code, out, err = call("set", path, "n=8", "eps=1", "new=x=y", "list=[3]")
    assert (code, out) == (0, "")
    assert "~ n: u32 7 → 8" in err and '+ new: string "x=y"' in err and "written anew" in err
    found = metadata(path)
    assert (found["n"], found["eps"], found["new"], found["list"]) == (
        ("u32", 8), ("f32", 1.0), ("string", "x=y"), ("array[i32]", [3]),
    )  # fmt: skip
    assert "changed in place" in call("set", path, "n=9")[2]
    assert "nothing to change" in call("set", path, "n=9")[2]
    call("set", path, "n=9", "--type", "u8")
    call("set", path, "list=[1.5]", "-t", "f64")
    call("rename", path, "n", "m")
    assert call("unset", path, "new", "eps")[0] == 0
    found = metadata(path)
    assert found["m"] == ("u8", 9) and found["list"] == ("array[f64]", [1.5])
    assert not {"n", "new", "eps"} & found.keys()
    assert "~ tensor a → z" in call("rename", "--tensor", path, "a", "z")[2]
    with gguf.open(path) as g:
        assert list(g.tensors) == ["z", "b.weight"]


def test_set_from_a_file(call: Any, path: Path) -> None:
    text = path.parent / "text"
    text.write_text("one\ntwo\n")
    assert call("set", path, f"note={text}", "--from-file", "-t", "string")[0] == 0
    assert metadata(path)["note"] == ("string", "one\ntwo\n")
    text.write_bytes(b"\xff")
    code, _, err = call("set", path, f"note={text}", "--from-file")
    assert code == 2 and "not UTF-8" in err
    assert call("set", path, "note=/no/such", "--from-file")[0] == 2


def test_an_edit_as_json_and_dry(call: Any, path: Path) -> None:
    before = path.read_bytes()
    code, out, err = call("set", path, "n=8", "nan=-inf", "--json", "--dry-run")
    assert (code, err) == (0, "") and path.read_bytes() == before
    assert json.loads(out) == {
        "file": str(path), "how": "in place", "dry_run": True, "tensors": {},
        "changes": [
            {"key": "n", "old": {"type": "u32", "value": 7}, "new": {"type": "u32", "value": 8}},
            {"key": "nan", "old": {"type": "f32", "value": "NaN"}, "new": {"type": "f32", "value": "-Infinity"}},
        ],
    }  # fmt: skip
    assert "would be changed in place" in call("set", path, "n=8", "-n")[2]
    found = json.loads(call("rename", "--tensor", path, "a", "z", "--json")[1])
    assert found["tensors"] == {"a": "z"} and found["changes"] == [] and not found["dry_run"]


def test_edits_to_another_file(call: Any, path: Path) -> None:
    before, out = path.read_bytes(), path.parent / "out.gguf"
    assert call("set", path, "n=8", "-o", out)[0] == 0
    assert path.read_bytes() == before and metadata(out)["n"] == ("u32", 8)
    assert call("unset", path, "n", "-o", out)[0] == 2
    assert call("unset", path, "n", "-o", out, "--overwrite")[0] == 0
    assert "n" not in metadata(out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "{}"], "Missing argument"),
        (["set", "{}", "n"], "expected KEY=VALUE"),
        (["set", "{}", "=1"], "expected KEY=VALUE"),
        (["set", "{}", "n=1", "n=2"], "given twice"),
        (["set", "{}", "n=x"], "whole number"),
        (["set", "{}", "n=-1"], "fit u32"),
        (["set", "{}", "n=1", "-t", "u9"], "unknown"),
        (["set", "{}", "split.count=2"], "split or merge it"),
        (["set", "{}", "x=[]"], "an empty list has no type; give one: --type array[string]"),
        (["set", "{}", "--from-file", "x=/no/such"], "--from-file /no/such: No such file or directory; VALUE is then"),
        (["set", "{}", "--from-file", "x=/"], "--from-file /: Is a directory; VALUE is then the name of a file"),
        (["unset", "{}", "x\x1b[2J"], "\\x1b[2J: is not there"),
        (["rename", "{}", "n", "eps"], "there already"),
        (["rename", "{}", "--tensor", "n", "x"], "no tensor n"),
        (["split", "{}", "{}-x"], "--max-tensors N or --max-size"),
        (["split", "{}", "{}-x", "--max-size", "0"], "such as 500M"),
        (["split", "{}", "{}-x", "--max-size", "2iB"], "such as 500M"),
        (["split", "{}", "{}-x", "--max-tensors", "0"], "not in the range"),
        (["merge", "{}", "{}-x"], "not split"),
        (["merge", "{}", "{}-x", "{}-y"], "unexpected extra argument"),
        (["hash", "{}", "-a", "md5"], "md5"),
        (["hash", "{}", "--check", "{}"], "not UTF-8"),
        (["hash", "{}", "--check", "/no/such"], "No such file"),
        (["diff", "{}", "/no/such"], "No such file"),
        (["diff", "{}", "{}", "--tensors", "("], "regular expression"),
        (["diff", "{}", "{}", "--tensors", "typo"], "tensors 'typo': found in no name of a tensor of either model"),
        (["extract", "{}", "x\x1b", "{}-x"], "no tensor x\\x1b"),
        (["extract", "{}", "x", "-"], "no tensor x"),
        (["extract", "{}", "x", "{}-x", "--metadata"], "no metadata key x"),
        (["extract", "{}", "a", "-", "--json"], "--json: stdout takes what is extracted"),
        (["extract", "{}", "a", "{}"], "is the file that is read"),
        (["extract", "{}", "a", "{}", "--overwrite"], "is the file that is read"),
        (["extract", "{}", "n", "{}", "--metadata", "--overwrite"], "is the file that is read"),
        (["template", "{}", "--name", "x"], "no template 'x'"),
        (["template", "{}", "--set", "/no/such"], "/no/such"),
        (["template", "{}", "--list", "--set", "{}"], "--list and --set: "),
        (["template", "{}", "--list", "--name", "tool_use"], "--list and --name: "),
        (["template", "{}", "--output", "{}-x"], "--set"),
    ],
)
def test_what_is_refused(call: Any, path: Path, words: list[str], said: str) -> None:
    before = path.read_bytes()
    code, out, err = call(*(w.replace("{}", str(path)) for w in words))
    assert (code, out) == (2, "") and said in err and "\x1b" not in err
    assert path.read_bytes() == before and os.listdir(path.parent) == ["m.gguf"]


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "verify"])
def test_broken_files(call: Any, path: Path, name: str) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    rest: dict[str, list[Any]] = {
        "diff": [path], "set": ["a=1"], "unset": ["n"], "rename": ["n", "m"], "extract": ["a", f"{path}-x"],
        "split": [f"{path}-x", "--max-tensors", "1"], "merge": [f"{path}-x"],
    }  # fmt: skip
    code, out, err = call(name, path, *rest.get(name, []))
    assert (code, out) == (2, "") and "cut short" in err
    assert os.listdir(path.parent) == ["m.gguf"]


def test_split_and_merge(call: Any, path: Path) -> None:
    prefix, joined = path.parent / "s", path.parent / "joined.gguf"
    names = [f"{prefix}-0000{i}-of-00002.gguf" for i in (1, 2)]
    assert call("split", path, prefix, "--max-tensors", 1, "-n")[1].splitlines() == names
    assert os.listdir(path.parent) == ["m.gguf"]
    code, out, err = call("split", path, prefix, "--max-size", "100")
    assert code == 0 and out.splitlines() == names and "2 parts" in err
    assert call("split", path, prefix, "--max-tensors", 1)[0] == 2
    assert json.loads(call("split", path, prefix, "--max-tensors", 1, "--overwrite", "--json")[1])["parts"] == names
    code, out, err = call("merge", names[0], joined)
    assert (code, out) == (0, "") and "joined from 2 parts" in err
    assert joined.read_bytes() == path.read_bytes()
    assert call("merge", names[0], joined)[0] == 2
    assert call("merge", names[0], names[1], "--overwrite")[0] == 2  # what a shell makes of s-*.gguf
    assert json.loads(call("merge", names[0], joined, "--overwrite", "--json")[1]) == {
        "file": str(joined), "parts": 2, "size": path.stat().st_size,
    }  # fmt: skip
    os.unlink(names[1])
    code, _, err = call("merge", names[0], joined, "--overwrite")
    assert code == 2 and "part 2 of 2 is missing" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("5B", 5), ("5K", 5000), ("2g", 2 * 10**9), ("2GB", 2 * 10**9), ("3MiB", 3 << 20), ("1tib", 1 << 40)],
)
def test_sizes(text: str, expected: int) -> None:
    from edgeq.cli.gguf.split import size

    assert size(text) == expected


def test_hash_of_whole_files(call: Any, path: Path) -> None:
    manifest = path.parent / "manifest"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = call("hash", path, "--files")[1]
    assert text == call("hash", path)[1] + f"sha256 {digest} *m.gguf\n"
    found = call("hash", path, "--files", "--json")[1]
    assert json.loads(found)["files"] == {"m.gguf": digest}
    path = path.rename(path.with_name("renamed.gguf"))
    for saved in (text, found, text.splitlines()[-1]):
        manifest.write_text(saved)
        assert call("hash", path, "--check", manifest)[0] == 0
    call("set", path, "n=8")
    code, out, _ = call("hash", path, "--check", manifest)
    assert code == 1 and out.startswith(f"file m.gguf: expected {digest}, found ")
    rows = json.loads(call("hash", path, "--check", manifest, "--json")[1])["mismatches"]
    assert [(row["tensor"], row["file"], row["expected"]) for row in rows] == [(None, "m.gguf", digest)]


def test_hash(call: Any, path: Path) -> None:
    manifest = path.parent / "manifest"
    for options in ([], ["--json"], ["-a", "blake2b"], ["--no-tensors"], ["--no-tensors", "--json"]):
        code, out, err = call("hash", path, *options)
        assert (code, err) == (0, "")
        manifest.write_text(out)
        other = path.parent / "other.gguf"
        gguf.write(other, {"k": 1}, ROWS[::-1], overwrite=True)
        code, out, err = call("hash", other, "--check", manifest)
        assert (code, out) == (0, "") and "agrees" in err
        assert json.loads(call("hash", other, "--check", manifest, "--json")[1])["same"] is True
        gguf.edit(other, rename_tensors={"a": "c"})
        code, out, err = call("hash", other, "--check", manifest)
        assert code == 1 and "differs" in err
        listed = [] if "--no-tensors" in options else ["a: missing", "c: not in the manifest"]
        assert out.splitlines()[:-1] == listed and out.splitlines()[-1].startswith("all tensors: expected")
    assert call("hash", path, "--check", manifest, "-a", "sha1")[0] == 2
    found = json.loads(call("hash", path, "-a", "sha1", "--json")[1])
    assert found["algorithm"] == "sha1" and list(found["tensors"]) == ["a", "b.weight"] and len(found["all"]) == 40


def test_diff(call: Any, path: Path) -> None:
    other = path.parent / "other.gguf"
    code, out, err = call("diff", path, path)
    assert (code, out) == (0, "") and "2 the same" in err
    data = ROWS[0][3] * 1.5
    meta = META | {"n": 8, "words": ["x\x1b[2J", "û"], "tokenizer.chat_template": "hello {{ messages }}\n" * 19 + "bye"}
    del meta["eps"]
    gguf.write(other, meta, [("a", (3, 4), "F32", data), ("c", (1,), "F32", data[:1])])
    code, out, err = call("diff", path, other)
    assert code == 1 and "\x1b" not in out
    lines = out.splitlines()
    assert "~ n: u32 7 → 8" in lines and "- eps: f32 1e-05" in lines
    assert '~ words: array[string] ["x\\x1b[2J", "ü"] → ["x\\x1b[2J", "û"]' in lines
    template = f"~ tokenizer.chat_template: string, {20 * 21} → {19 * 21 + 3} characters, from character {19 * 21} on: "
    assert any(line.startswith(template) for line in lines)
    assert "- tensor b.weight: Q8_0 [2, 32]" in lines and "+ tensor c: F32 [1]" in lines
    assert lines[-1].split() == ["0.5", "5.5", "1.000000", "F32", "a"]
    found = json.loads(call("diff", path, other, "--json", "--tensors", "^a$")[1])
    assert found["differ"] and [t["name"] for t in found["tensors"]] == ["a"]
    assert found["tensors"][0]["distance"] == pytest.approx(
        {"rms": 0.5, "largest": 5.5, "cosine": 1.0, "finite": 12, "odd": 0}
    )
    assert call("diff", path, other, "--no-data", "--no-metadata", "--tensors", "^a$")[:2] == (0, "")
    zero = path.parent / "zero.gguf"
    gguf.write(zero, META, [("a", (3, 4), "F32", data * 0), ROWS[1]])
    assert json.loads(call("diff", zero, path, "--json")[1])["tensors"][0]["distance"]["rms"] == "Infinity"


def test_extract(call: Any, path: Path) -> None:
    out = path.parent / "out"
    code, text, err = call("extract", path, "a", f"{out}.npy")
    assert (code, text) == (0, "") and "F32 [3, 4]" in err
    assert np.array_equal(np.load(f"{out}.npy"), np.arange(12).reshape(3, 4))
    assert call("extract", path, "a", f"{out}.npy")[0] == 2
    raw = ROWS[0][3].tobytes()
    for words in ([f"{out}.npy", "--raw", "--overwrite"], [out]):
        assert call("extract", path, "a", *words)[0] == 0 and Path(words[0]).read_bytes() == raw
    assert call("extract", path, "a", "-")[1].encode("utf-8", "surrogateescape") == raw
    assert call("extract", path, "--metadata", "tokenizer.chat_template", f"{out}.txt")[0] == 0
    assert Path(f"{out}.txt").read_text() == META["tokenizer.chat_template"]
    assert json.loads(call("extract", path, "words", "-", "--metadata")[1]) == META["words"]
    assert call("extract", path, "n", "-", "--metadata")[1] == "7\n"
    assert call("extract", path, "n", "-", "--metadata", "--raw")[1] == "\x07\0\0\0"


def test_extract_json(call: Any, path: Path) -> None:
    out = path.parent / "out.npy"
    assert json.loads(call("extract", path, "a", out, "--json")[1]) == {
        "file": str(out), "name": "a", "type": "F32", "shape": [3, 4], "bytes": out.stat().st_size,
    }  # fmt: skip
    found = json.loads(call("extract", path, "n", out, "--metadata", "--overwrite", "--json")[1])
    assert found == {"file": str(out), "name": "n", "type": "u32", "bytes": 2}


def test_every_command_that_reports_has_json() -> None:
    from edgeq.cli import convert, imatrix, lora, quantize
    from edgeq.cli.gguf import command

    found = {name: command.get_command(None, name) for name in COMMANDS}  # type: ignore[arg-type]
    found |= {"convert": convert.command, "imatrix": imatrix.command, "merge": lora.merge, "quantize": quantize.command}
    assert [name for name, c in found.items() if c is None or not any("--json" in p.opts for p in c.params)] == []


def test_an_empty_list_of_a_type_is_set(call: Any, path: Path) -> None:
    assert call("set", path, "x=[]", "--type", "array[string]")[0] == 0
    assert metadata(path)["x"] == ("array[string]", [])


def test_a_value_is_not_written_over_another_part_of_its_model(call: Any, path: Path) -> None:
    first, second = gguf.split_model(path, path.parent / "m", max_tensors=1)
    code, _, err = call("extract", first, "n", second, "--metadata", "--overwrite")
    assert code == 2 and "is the file that is read" in err
    assert gguf.hash_tensors(first).all == gguf.hash_tensors(path).all


def test_template(call: Any, path: Path) -> None:
    assert call("template", path)[1] == META["tokenizer.chat_template"]
    source = path.parent / "source"
    source.write_text("{% for m in messages %}{{ m.content }}{% endfor %}\n")
    assert call("template", path, "--set", source)[0] == 0
    assert call("template", path)[1] == source.read_text()
    code, _, err = call("template", path, "--set", source, "--name", "tool_use")
    assert code == 0 and "warning" not in err
    assert metadata(path)["tokenizer.chat_templates"] == ("array[string]", ["tool_use"])
    assert call("template", path, "--name", "tool_use")[1] == source.read_text()
    source.write_text("{% for")
    assert "warning: no chat will work" in call("template", path, "--set", source, "--name", "rag")[2]
    assert metadata(path)["tokenizer.chat_templates"][1] == ["tool_use", "rag"]
    code, out, _ = call("template", path, "--list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["(default)", "tool_use", "rag"]
    found = json.loads(call("template", path, "--list", "--json")[1])
    assert [t["name"] for t in found["templates"]] == [None, "tool_use", "rag"]
    assert json.loads(call("template", path, "--json")[1])["template"].startswith("{% for m in")
    gguf.edit(path, unset=["tokenizer.chat_template"])
    code, out, err = call("template", path)
    assert (code, out) == (1, "") and "there are tool_use, rag" in err


def test_templates_of_odd_types(call: Any, path: Path) -> None:
    gguf.edit(path, set={
        "tokenizer.chat_template": Value("u8", 1), "tokenizer.chat_templates": Value("string", "x"),
    })  # fmt: skip
    assert call("template", path)[0] == 1
    source = path.parent / "source"
    source.write_text("{{ messages }}")
    assert call("template", path, "--set", source, "--name", "x")[0] == 0
    assert metadata(path)["tokenizer.chat_templates"] == ("array[string]", ["x"])
    assert call("template", path, "--set", source)[0] == 0
    assert call("template", path)[1] == "{{ messages }}"


def test_a_real_vocabulary_through_everything(call: Any, tmp_path: Path) -> None:
    """A tiny model that runs: cut, edited, joined, and still the same weights."""
    source = tiny()
    prefix, joined = tmp_path / "s", tmp_path / "j.gguf"
    first = call("split", source, prefix, "--max-size", "100K")[1].splitlines()[0]
    assert call("set", first, "general.name=another")[0] == 0
    assert call("merge", first, joined)[0] == 0
    assert call("diff", source, joined)[0] == 1
    assert call("diff", source, joined, "--no-metadata")[0] == 0
    assert call("hash", source)[1] == call("hash", first)[1] == call("hash", joined)[1]
    assert call("verify", joined)[0] == 0


def test_one_of_a_thing_is_said_in_the_singular(call: Any, tmp_path: Path) -> None:
    gguf.write(tmp_path / "one.gguf", {"k": 1}, ROWS[:1])
    assert ", 1 key, 1 tensor from byte" in call("dump", tmp_path / "one.gguf")[1]
    words = ("split", tmp_path / "one.gguf", tmp_path / "s", "--max-tensors", 1)
    assert call(*words, "--dry-run")[2].endswith("one.gguf: would be 1 part\n")
    assert call(*words)[2].endswith("one.gguf: 1 part\n")


@pytest.mark.parametrize(
    ("words", "stopped", "said"),
    [
        (["set", "{}", "n=8", "-o", "{}.new"], "edgeq.gguf.partfile.PartFile.finish", "; no incomplete file is left"),
        (["split", "{}", "{}s", "--max-tensors", 1], "edgeq.gguf.partfile.PartFile.finish",
         "; no incomplete file is left"),
        (["hash", "{}"], "edgeq.gguf.reader.Tensor.pieces", ""),
        (["diff", "{}", "{}"], "edgeq.gguf.compare", ""),
    ],
)  # fmt: skip
def test_an_interrupt_says_what_is_left(
    call: Any, path: Path, words: list[str], stopped: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(stopped, stop)
    code, _, err = call(*(str(word).replace("{}", str(path)) for word in words))
    assert (code, err) == (130, f"interrupted{said}\n")
    assert os.listdir(path.parent) == [path.name]


def test_a_manifest_that_cannot_be_read_is_named_with_its_option(call: Any, path: Path) -> None:
    for name, why in ((path.parent, "Is a directory"), (path.parent / "none", "No such file or directory")):
        code, out, err = call("hash", path, "--check", name)
        expected = f"edgeq: --check {name}: {why}; expected a file with the output of edgeq gguf hash\n"
        assert (code, out, err) == (2, "", expected)


def test_what_replaces_a_file_has_one_name_and_the_refusal_says_it(call: Any, path: Path, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"")
    (tmp_path / "s-00001-of-00002.gguf").write_bytes(b"")
    said = "exists already; remove it, or replace it with --overwrite"
    for words in (["set", path, "n=8", "-o", tmp_path / "old"], ["extract", path, "a", tmp_path / "old"],
                  ["split", path, tmp_path / "s", "--max-tensors", 1]):  # fmt: skip
        assert said in call(*words)[2]
        assert "No such option" in call(*words, "--force")[2]
        assert call(*words, "--overwrite")[0] == 0
    words = ["merge", tmp_path / "s-00001-of-00002.gguf", tmp_path / "old"]
    assert said in call(*words)[2] and call(*words, "--overwrite")[0] == 0


def test_a_file_called_like_stdout_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    shutil.copy(tiny("llama3"), "model")
    for words in (["gguf", "set", "m.gguf", "n=8", "-o", "-"], ["quantize", "m.gguf", "-", "COPY"],
                  ["gguf", "set", "m.gguf", "n=8", "-o", "-", "--overwrite"],
                  ["imatrix", "model", "m.gguf", "-o", "-"]):  # fmt: skip
        assert cli.main(words) == 2
        assert "edgeq: -: stdout takes no such file" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["m.gguf", "model"]
    assert cli.main(["gguf", "set", "m.gguf", "n=8", "-o", "./-"]) == 0 and metadata(Path("-"))["n"] == ("u32", 8)


@pytest.mark.parametrize("words", [["a"], ["n", "--metadata"]])
def test_extracting_to_a_stdout_that_is_closed_is_refused(
    path: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    code = cli.main(["gguf", "extract", str(path), words[0], "-", *words[1:]])
    assert (code, capsys.readouterr().err) == (2, "edgeq: OUT is -, and stdout is closed; give a file as OUT\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="left out: needs FIFOs")
def test_a_value_from_a_fifo_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path.parent / "fifo")
    words = [sys.executable, "-m", "edgeq", "gguf", "set", str(path), f"n={path.parent / 'fifo'}", "--from-file"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30)
    expected = f"edgeq: --from-file {path.parent / 'fifo'}: is no regular file; VALUE is then the name of a file\n"
    assert (done.returncode, done.stderr) == (2, expected)
