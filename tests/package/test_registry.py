"""The registry and what a name means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeq import registry
from edgeq.errors import DownloadError, UsageError

HEX = re.compile(r"[0-9a-f]{64}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_entries_add_up() -> None:
    for entry in registry.entries():
        assert entry.size == sum(part.size for part in entry.parts)
        assert HEX.fullmatch(entry.sha256)
        assert all(HEX.fullmatch(part.sha256) and HEX.fullmatch(part.wheel_sha256) for part in entry.parts)
        assert all(part.wheel.startswith(part.project.replace("-", "_") + "-") for part in entry.parts)
        assert entry.licence
        assert entry.licence_source
        assert entry.file.endswith(".gguf")
        if len(entry.parts) == 1:
            assert entry.parts[0].sha256 == entry.sha256


def test_names_are_unique_and_one_is_the_default() -> None:
    entries = registry.entries()
    names = [name for entry in entries for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert len({entry.file for entry in entries}) == len(entries)
    assert [entry.name for entry in entries if entry.default] == [registry.default_model()] == ["smollm2-135m"]


def test_a_name_is_found_in_any_case() -> None:
    entry = registry.find("SmolLM2-135M")
    assert entry is not None
    assert entry is registry.find("smollm2")
    assert registry.find("") is None


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("smollm2").write_bytes(b"mine")
    assert registry.resolve("smollm2") == Path("smollm2")
    assert registry.resolve(tmp_path / "smollm2") == tmp_path / "smollm2"


def test_a_name_resolves_to_the_fetched_file() -> None:
    entry = registry.find("smollm2")
    assert entry is not None
    with pytest.raises(DownloadError, match="edgeq pull smollm2"):
        registry.resolve("smollm2", fetch=False)
    entry.path.parent.mkdir(parents=True)
    with entry.path.open("wb") as file:
        file.truncate(entry.size)
    assert registry.resolve("smollm2", fetch=False) == entry.path
    with entry.path.open("wb") as file:
        file.truncate(entry.size - 1)  # what an interrupted copy leaves
    with pytest.raises(DownloadError):
        registry.resolve("smollm2", fetch=False)


def test_what_looks_like_a_file_is_left_to_its_reader() -> None:
    assert registry.resolve("nosuch.gguf") == Path("nosuch.gguf")
    assert registry.resolve("some/folder/model") == Path("some/folder/model")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean gemma3-270m\?"):
        registry.resolve("gemma3-270n")


@pytest.mark.parametrize("name", ["hf:own/er:m.gguf", "http://127.0.0.1/m.gguf"])
def test_nothing_is_fetched_that_may_not_be(name: str) -> None:
    with pytest.raises(DownloadError, match="not in the cache"):
        registry.resolve(name, fetch=False)


def test_what_a_lone_argument_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes").write_text("a file")
    yes = ["notes", "missing.gguf", "SMOLLM2", "hf:a/b", "https://example.org/m.gguf"]
    no = ["Why is the sky blue?", "", "x" * 10_000, "two\nlines", "nul\0", "."]
    assert [registry.is_model(text) for text in yes] == [True] * len(yes)
    assert [registry.is_model(text) for text in no] == [False] * len(no)


def test_without_edgeq_cache_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEQ_CACHE")
    assert registry.cache_dir().name in ("edgeq", "Cache")
    assert registry.cache_dir().is_absolute()
