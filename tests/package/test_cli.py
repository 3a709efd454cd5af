"""Dispatch: exit codes, one line for an error, and nothing imported that a command does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from edgeq import cli
from edgeq.errors import DownloadError, GGUFError


def use(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    """Puts a stand-in where the module of `edgeq info` is."""
    monkeypatch.setattr(cli, "load", lambda name: SimpleNamespace(**members))


def raising(error: BaseException) -> Any:
    def main(words: list[str]) -> int:
        raise error

    return main


def test_every_command_has_its_file_and_every_file_its_command() -> None:
    home = Path(cli.__file__).parent
    rooms = [*home.glob("*.py"), *(package.parent for package in home.glob("*/__init__.py"))]
    files = {path.stem for path in rooms if not path.stem.startswith("_")}
    assert files >= {"pull", "doctor"}
    assert set(cli.COMMANDS) == {name for name in files if has_entry(name)}


def has_entry(name: str) -> bool:
    module = cli.load(name)
    return hasattr(module, "main") or isinstance(getattr(module, "command", None), click.Command)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeq._version import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeq {__version__}\n"


def test_an_unknown_command_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docter"]) == 2
    assert capsys.readouterr().err == "edgeq: no command 'docter'; did you mean doctor?\n"


def test_an_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (
        GGUFError("m.gguf: cut off\nat byte 7"),
        DownloadError("no"),
        PermissionError(13, "denied", "x"),
    ):
        use(monkeypatch, main=raising(error))
        assert cli.main(["info"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("edgeq: ")
        assert captured.err.count("\n") == 1


def test_edgeq_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGEQ_DEBUG", "1")
    use(monkeypatch, main=raising(GGUFError("cut off")))
    assert cli.main(["info"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_our_own_faults_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, main=raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["info"])


def test_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, main=raising(KeyboardInterrupt()))
    assert cli.main(["info"]) == 130

    @click.command()
    def command() -> None:
        raise click.Abort

    use(monkeypatch, command=command)
    assert cli.main(["info"]) == 130


def test_exit_codes_of_a_click_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @click.argument("code", type=int)
    def command(code: int) -> int:
        if code == 9:
            click.get_current_context().exit(9)
        return code

    use(monkeypatch, command=command)
    assert [cli.main(["info", code]) for code in ("0", "1", "9")] == [0, 1, 9]
    assert cli.main(["info", "--help"]) == 0
    assert "edgeq info" in capsys.readouterr().out
    assert cli.main(["info", "x"]) == 2
    assert cli.main(["info", "--wrong"]) == 2
    assert "--wrong" in capsys.readouterr().err


def test_exit_codes_of_a_plain_main(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []
    use(monkeypatch, main=got.append)
    assert cli.main(["info", "a", "--b"]) == 0
    assert got == [["a", "--b"]]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX pipe")
@pytest.mark.parametrize("arguments", [["--help"], ["pull", "--list"], ["doctor"]])
def test_a_reader_that_has_gone_is_no_news(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "edgeq", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def test_closed_streams_are_no_trouble() -> None:
    code = "import sys; sys.stdin = sys.stdout = sys.stderr = None;"
    code += "from edgeq.cli import main; sys.exit(main({}))"
    for arguments, wanted in ((["--version"], 0), (["pull", "nosuch"], 2)):
        done = subprocess.run([sys.executable, "-c", code.format(arguments)], capture_output=True, check=False)
        assert done.returncode == wanted, done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgeq.cli import main; main(['--help']);"
        "heavy = {'click', 'rich', 'numpy', 'cffi', 'platformdirs', 'dataclasses'};"
        "print(sorted(sys.modules.keys() & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_shell_completion_knows_the_commands() -> None:
    environment = {
        **os.environ,
        "_EDGEQ_COMPLETE": "bash_complete",
        "COMP_WORDS": "edgeq pu",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([sys.executable, "-m", "edgeq"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "plain,pull"


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import json

    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cache"]["kernels"] == str(tmp_path / "numba")
    assert report["threads"]["use"] >= 1
    assert report["cache"]["path"] == str(tmp_path)
    assert report["library"]["usable"] == (report["cpu"]["chosen"] is not None)
    if report["library"]["usable"]:
        assert report["cpu"]["variants"][report["cpu"]["chosen"]] is True
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"threads   {report['threads']['use']}" in text
    kept = f"kernels of the numba backend: {tmp_path / 'numba'}"
    assert (kept in text) == bool(report["optional"]["numba"]["version"])


def test_doctor_without_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {**os.environ, "EDGEQ_LIBRARY": str(tmp_path / "none.so")}
    done = subprocess.run(
        [sys.executable, "-m", "edgeq", "doctor"], env=environment, capture_output=True, text=True, check=True
    )
    assert "library   none: none.so is missing" in done.stdout
