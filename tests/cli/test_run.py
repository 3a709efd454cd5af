"""`edgeq run`: which word is what, what goes where, exit codes, interrupts."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeq import cli
from edgeq.cli import run
from edgeq.errors import UsageError
from tests.small import BACKEND, tiny

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--backend", BACKEND, "--threads", "2", "--temp", "0"]


class Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run_it(*words: str, stdin: bytes = b"", terminal: bool = False) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "stdin", Stdin(stdin, terminal))
        code = cli.main(["run", *words, *ARGUMENTS])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return run_it


def text_of(call: Any, *words: str, **kwargs: Any) -> str:
    code, out, _ = call(*words, "--json", "--ignore-end", "-n", "6", **kwargs)
    assert code == 0
    return str(json.loads(out)["text"])


def test_generated_text_alone_is_on_stdout(call: Any) -> None:
    code, out, err = call(str(tiny()), "the fox", "-n", "6", "--ignore-end")
    assert code == 0
    assert out.decode() == text_of(call, str(tiny()), "the fox")
    assert "context: 1024 tokens (all that the model was trained for)" in err
    assert "stopped after 6 tokens, as -n asked" in err
    assert call(str(tiny()), "the fox", "-n", "6", "--ignore-end", "-q")[2] == ""


def test_json_says_everything(call: Any) -> None:
    code, out, _ = call(
        str(tiny()), "the fox", "-n", "4", "--ignore-end", "--json", "--seed", "7", "--temp", "1"
    )
    found = json.loads(out)
    assert code == 0
    assert out.count(b"\n") == 1
    assert found["finish_reason"] == "length"
    assert (len(found["ids"]), found["usage"]["generated"], found["usage"]["cached"], found["seed"]) == (
        4,
        4,
        0,
        7,
    )
    assert set(found["timings"]) == {"load", "prompt", "first_token", "generate"}
    assert found["model"]["architecture"] == "llama"


def test_a_prompt_can_come_from_three_places(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "prompt"
    file.write_text("the fox\n")
    wanted = text_of(call, str(tiny()), "the fox")
    assert text_of(call, str(tiny()), stdin=b"the fox\n") == wanted
    assert text_of(call, str(tiny()), "--file", str(file)) == wanted
    assert text_of(call, str(tiny()), "-f", "-", stdin=b"the fox") == wanted
    assert text_of(call, str(tiny()), "-", stdin=b"the fox") == wanted


def test_raw_bytes_reach_the_tokenizer_as_they_are(call: Any) -> None:
    def prompt(*words: str, stdin: bytes) -> int:
        out = call(str(tiny()), *words, "--json", "-n", "0", stdin=stdin)[1]
        return int(json.loads(out)["usage"]["prompt"])

    data = b"caf\xe9 \xff\x00 fox\n"
    assert prompt("--raw", stdin=data) == len(cli_model_ids(data))
    assert prompt("--raw", stdin=b"<|im_end|>") == 2  # BOS and the control token: --raw takes special tokens
    assert "not UTF-8" in call(str(tiny()), "-n", "0", stdin=data)[2]


def cli_model_ids(data: bytes) -> list[int]:
    from tests.small import model

    return model().tokenize(data)


def test_a_file_without_a_template_is_completed_raw_and_stderr_says_so(call: Any) -> None:
    code, _, err = call(str(tiny("gemma3")), "the fox", "-n", "2")
    assert code == 0
    assert "no chat template" in err
    code, out, err = call(str(tiny("gemma3")), "<end_of_turn>", "-n", "0", "--json")
    assert json.loads(out)["usage"]["prompt"] > 2  # the text of a user is no control token
    assert "no chat template" not in call(str(tiny("gemma3")), "x", "-n", "1", "--template", "gemma")[2]
    code, _, err = call(str(tiny("gemma3")), "x", "--system", "y")
    assert code == 2
    assert "--template" in err


def test_the_template_and_the_system_message_reach_the_model(call: Any) -> None:
    from tests.small import model

    m = model()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the fox"}]
    with m.chat() as chat:
        wanted = len(chat.template.encode(m.tokenizer, messages))
    out = call(str(tiny()), "the fox", "--system", "Be brief.", "-n", "0", "--json")[1]
    assert json.loads(out)["usage"]["prompt"] == wanted


@pytest.mark.parametrize(
    "words",
    [
        ["--kv", "q8_0"],
        ["--isa", "scalar"],
        ["--reproducible"],
        ["--split", "1:reference"],
        ["-c", "64"],
        ["--mirostat", "2", "--temp", "1"],
        ["--logit-bias", "5=-inf"],
    ],
)
def test_options_of_machine_and_sampler(call: Any, words: list[str]) -> None:
    if BACKEND != "native" and words[0] == "--isa":
        pytest.skip("left out: needs the native library")
    code, out, err = call(str(tiny("qwen3")), "the fox", "-n", "4", "--stats", "--ignore-end", *words)
    assert code == 0
    assert out
    assert "tokens/s" in err
    assert "keys and values" in err


def test_drafts_change_no_text_and_are_counted(call: Any) -> None:
    """A model that drafts for itself is always right."""
    words = (str(tiny()), "the fox", "-n", "40", "--ignore-end", "--json")
    wanted = json.loads(call(*words, "--no-lookup")[1])
    assert (wanted["usage"]["drafted"], wanted["usage"]["accepted"]) == (0, 0)
    for options in (["--draft", str(tiny())], ["--draft", str(tiny()), "--no-lookup", "--draft-tokens", "2"], []):
        found = json.loads(call(*words, *options)[1])
        assert (found["ids"], found["text"]) == (wanted["ids"], wanted["text"])
        if options:
            assert 0 < found["usage"]["accepted"] <= found["usage"]["drafted"]
    assert json.loads(call(*words, "--draft", str(tiny()), "--draft-tokens", "0")[1])["usage"]["drafted"] == 0
    _, _, err = call(str(tiny()), "the fox", "-n", "40", "--ignore-end", "--stats", "--draft", str(tiny()))
    assert re.search(r"drafts +\d+ tokens, \d+ of them accepted \(\d+ %\)", err)
    assert "drafts" not in call(str(tiny()), "the fox", "-n", "9", "--stats", "--draft-tokens", "0")[2]


def test_options_of_drafts_reach_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (*run.MAIN, *run.MACHINE, *run.SAMPLING)
    for words, wanted in ((["--no-lookup"], (False, None)), (["--draft-tokens", "4"], (True, 4)), ([], (True, None))):
        found = run.sampling(run.parse(words, table)[0])
        assert (found["lookup"], found["draft_tokens"]) == wanted
    words = ["--draft", str(tiny()), "--backend", BACKEND, "-c", "99", "--kv", "F32"]
    given = run.parse(words, table)[0]
    with run.opened(str(tiny()), given) as model, run.drafting(model, given) as draft:
        assert draft.backend is model.backend
        assert (draft.context, draft.kv_type) == (99, "F32")


def test_the_end_of_the_context_is_said(call: Any) -> None:
    _, out, err = call(str(tiny()), "the fox", "-c", "40", "--ignore-end", "--json")
    assert json.loads(out)["finish_reason"] == "context"
    assert "the context of 40 is full" in err
    code, _, err = call(str(tiny()), "the fox " * 40, "-c", "40")
    assert code == 2
    assert "too many" in err


def test_stop_strings_and_bias(call: Any) -> None:
    text = text_of(call, str(tiny()), "the fox", "--raw")
    cut = next(c for c in text if c.isprintable())
    assert text_of(call, str(tiny()), "the fox", "--raw", "--stop", cut) == text[: text.index(cut)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nope.gguf", "hi"], "No such file"),
        (["nope", "hi"], "neither a file nor a known model"),
        (["a", "b", "c"], "in quotes"),
        (["{tiny}", "hi", "--file", "x"], "give one of them"),
        (["{tiny}", "-f", "/does/not/exist"], "No such file"),
        (["{tiny}", "-f", "/"], "directory"),
        (["{tiny}"], "stdin is empty"),
        (["{tiny}", "x", "-n", "-5"], "-n -5"),
        (["{tiny}", "x", "--raw", "--system", "y"], "no template"),
        (["{tiny}", "x", "--top-p", "2"], "top_p"),
        (["{tiny}", "x", "--seed", "-1"], "seed"),
        (["{tiny}", "x", "--kv", "Q9"], "KV type"),
        (["{tiny}", "x", "--split", "1"], "LAYER:BACKEND"),
        (["{tiny}", "x", "--split", "9:reference"], "layer"),
        (["{tiny}", "x", "--logit-bias", "a=b"], "ID=BIAS"),
        (["{tiny}", "x", "-c", "0"], "context"),
        (["{tiny}", "x", "--template", "nope"], "nope"),
        (["{tiny}", "x", "--stop", ""], "stop string"),
        (["{tiny}", "x", "--draft", "nope.gguf"], "No such file"),
        (["{tiny}", "x", "--draft", "{other}"], "same vocabulary"),
        (["{tiny}", "x", "--draft-tokens", "-1"], "draft_tokens"),
        (["{tiny}", "x", "--draft-tokens", "x"], "whole number"),
        (["/dev/zero", "x"], "device"),
        (["/", "x"], "folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call: Any, words: list[str], says: str) -> None:
    code, out, err = call(*[w.format(tiny=tiny(), other=tiny("gemma3")) for w in words])
    assert (code, out) == (2, b"")
    assert says in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("edgeq: ")]) == 1


def given(**values: Any) -> dict[str, Any]:
    return {"file": None, "json": False, "raw": False, **values}


def test_a_single_word_is_a_model_or_a_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"")
    assert run.positions([], given()) == (None, None)
    assert run.positions(["x.GGUF"], given()) == ("x.GGUF", None)
    assert run.positions(["here"], given()) == ("here", None)
    assert run.positions(["smollm2-135m"], given()) == ("smollm2-135m", None)
    assert run.positions(["Why is the sky blue?"], given()) == (None, b"Why is the sky blue?")
    assert run.positions(["x", "y"], given()) == ("x", b"y")
    assert run.positions(["caf\udce9"], given())[1] == b"caf\xe9"


def test_what_is_asked_when_nothing_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    assert run.waiting(given(), None) == run.QUESTION.encode()
    assert run.QUESTION in capsys.readouterr().err
    with pytest.raises(UsageError):
        run.waiting(given(), "m.gguf")
    monkeypatch.setattr(sys, "stdin", Stdin(b"hello"))
    assert run.waiting(given(), None) == b"hello"
    monkeypatch.setattr(sys, "stdin", Stdin(b"", terminal=True))
    assert run.waiting(given(), None) is None
    with pytest.raises(UsageError, match="--json needs a prompt"):
        run.waiting(given(json=True), None)
    monkeypatch.setattr(sys, "stdin", None)
    assert run.waiting(given(), None) == run.QUESTION.encode()


def process(*words: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": environment,
    }
    return subprocess.Popen([sys.executable, "-m", "edgeq", "run", *words], **{**pipes, **kwargs})


def test_nobody_reads_any_more() -> None:
    p = process(str(tiny()), "the fox", "--ignore-end", "-q", "--backend", BACKEND)
    assert p.stdout is not None
    assert p.stderr is not None
    assert p.stdout.read(1)
    p.stdout.close()
    assert p.wait(60) == 141
    assert p.stderr.read() == b""
    p.stderr.close()


def test_ctrl_c_during_a_long_prefill(tmp_path: Path) -> None:
    if BACKEND != "native":
        pytest.skip("left out: needs the native library")
    file = tmp_path / "long"
    file.write_text("the fox and the dog " * 20000)
    p = process(str(tiny()), "-f", str(file), "--raw", "-c", "300000", "--isa", "scalar", "-t", "1")
    assert p.stderr is not None
    assert b"context" in p.stderr.readline()
    time.sleep(1.5)
    assert p.poll() is None
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30)
    assert (p.returncode, out, err) == (130, b"", b"")


def test_an_interrupted_answer_keeps_what_was_said() -> None:
    p = process(str(tiny("qwen2-yarn")), "the fox", "--ignore-end", "-q", "--backend", BACKEND)
    assert p.stdout is not None
    assert p.stdout.read(3)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=30)
    assert (p.returncode, err) == (130, b"")


def test_run_imports_neither_click_nor_rich() -> None:
    code = (
        "import sys; from edgeq.cli import main; main(['run', *sys.argv[1:]]); "
        "heavy = {'click', 'rich', 'asyncio', 'argparse', 'tomllib', 'numba'} & {*sys.modules}; "
        "print(sorted(heavy), file=sys.stderr)"
    )
    words = [str(tiny()), "the fox", "-n", "1", "-q", "--backend", BACKEND, "--raw"]
    p = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert p.stderr == b"[]\n"


@pytest.mark.skipif(BACKEND != "native", reason="needs the native library")
@pytest.mark.parametrize(("words", "needed"), [(["--temperature", "0"], False), ([], True), (["--json"], False)])
def test_the_likeliest_tokens_are_said_without_numpy(words: list[str], needed: bool) -> None:
    code = (
        "import sys; from edgeq.cli import main; code = main(['run', *sys.argv[1:]]); "
        "print('numpy' in sys.modules, code, file=sys.stderr)"
    )
    more = ["--temperature", "0"] if "--json" in words else []
    p = subprocess.run(
        [sys.executable, "-c", code, str(tiny("qwen2")), "the fox", "-n", "30", "-q", "--raw", *words, *more],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert p.stdout
    assert p.stderr == f"{needed} 0\n".encode()
