"""Pulls against a stand-in server on this machine: what breaks off goes on, what is wrong is never kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeq import pull as pulling
from edgeq import registry
from edgeq.errors import DownloadError, UsageError
from edgeq.pull import http, place
from edgeq.pull.progress import Silent
from tests.package.pulls import BIG, BIG_SHA, EMPTY_MODEL, Told, cache, web
from tests.package.web import Web

__all__ = ["cache", "web"]  # fixtures


def leftovers(cache: Path) -> list[str]:
    """Files in the cache that are neither a model nor a lock."""
    return [p.name for p in cache.rglob("*") if p.is_file() and p.suffix not in (".gguf", ".lock")]


def test_a_url_is_fetched_once(web: Web, cache: Path) -> None:
    url = web.add("/some/tiny.gguf", EMPTY_MODEL)
    told = Told()
    path = pulling.pull(url, progress=told)
    assert path.read_bytes() == EMPTY_MODEL
    assert path.name == "tiny.gguf"
    assert cache in path.parents
    assert told.starts == [(0, len(EMPTY_MODEL))]
    assert told.last == len(EMPTY_MODEL)
    assert pulling.pull(url) == pulling.cached(url) == registry.resolve(url) == path
    assert len(web.gets("/some/tiny.gguf")) == 1
    assert leftovers(cache) == []


def test_redirects_are_followed(web: Web) -> None:
    web.add("/real", BIG)
    web.add("/two", redirect="/real")
    url = web.add("/one.gguf", redirect=web.url + "/two")
    assert pulling.pull(f"{url}#sha256={BIG_SHA}").read_bytes() == BIG


def test_a_redirect_loop_ends(web: Web) -> None:
    url = web.add("/loop.gguf", redirect="/loop.gguf")
    with pytest.raises(DownloadError, match="302"):
        pulling.pull(url)
    assert len(web.asked) <= 15


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,GGUF"])
def test_a_redirect_to_another_scheme_is_refused(web: Web, target: str) -> None:
    with pytest.raises(DownloadError):
        pulling.pull(web.add("/x.gguf", redirect=target))


def test_a_redirect_never_leaves_https() -> None:
    import urllib.request

    request = urllib.request.Request("https://hub.example/a.gguf", headers={"Authorization": "Bearer t"})
    follow = http.Redirect().redirect_request
    with pytest.raises(DownloadError, match="not https"):
        follow(request, None, 302, "", {}, "http://hub.example/a.gguf")  # type: ignore[arg-type]
    same = follow(request, None, 302, "", {}, "https://hub.example/b.gguf")  # type: ignore[arg-type]
    other = follow(request, None, 302, "", {}, "https://store.example/b.gguf")  # type: ignore[arg-type]
    assert same is not None
    assert same.has_header("Authorization")
    assert other is not None
    assert not other.has_header("Authorization")


def test_a_broken_transfer_goes_on_where_it_stopped(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG, cuts=3, cut_at=70_000)
    told = Told()
    assert pulling.pull(f"{url}#sha256={BIG_SHA}", progress=told).read_bytes() == BIG
    assert [one.headers.get("Range") for one in web.gets("/a.gguf")] == [
        None,
        "bytes=70000-",
        "bytes=140000-",
        "bytes=210000-",
    ]
    assert told.starts[-1] == (210_000, len(BIG))
    assert leftovers(cache) == []


def test_a_second_pull_goes_on_where_the_first_gave_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{web.add('/a.gguf', BIG, cuts=1, cut_at=100_000)}#sha256={BIG_SHA}"
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match="goes on from 100000 bytes"):
        pulling.pull(url)
    assert pulling.cached(url) is None
    assert pulling.pull(url).read_bytes() == BIG
    assert web.gets("/a.gguf")[-1].headers["Range"] == "bytes=100000-"


def test_a_killed_pull_goes_on(web: Web, cache: Path) -> None:
    url = f"{web.add('/a.gguf', BIG, chunk=10_000, delay=0.05)}#sha256={BIG_SHA}"
    script = "import sys; from edgeq.pull import pull; pull(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", script, url])
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if any(p.stat().st_size > 50_000 for p in cache.rglob("*.part")):
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    have = next(iter(cache.rglob("*.part"))).stat().st_size
    assert 50_000 < have < len(BIG)
    web.pages["/a.gguf"].delay = 0.0
    assert pulling.pull(url).read_bytes() == BIG
    assert web.gets("/a.gguf")[-1].headers["Range"] == f"bytes={have}-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG, cuts=1, cut_at=100_000)
    part = cache / "a.gguf.part"
    cache.mkdir()
    with pytest.raises(http.Interrupted):
        http.attempt(http.Source(url), part, Silent())
    assert part.stat().st_size == 100_000
    other = BIG[:4] + bytes(len(BIG) - 4)
    web.pages["/a.gguf"].body = other
    http.download(url, part, progress=Silent())
    assert part.read_bytes() == other


def test_without_validator_and_checksum_nothing_is_continued(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG, cuts=1, cut_at=100_000, etag=False)
    cache.mkdir()
    http.download(url, cache / "a.part", progress=Silent())
    assert (cache / "a.part").read_bytes() == BIG
    assert [one.headers.get("Range") for one in web.gets("/a.gguf")] == [None, None]


def test_a_part_of_another_source_is_not_continued(web: Web, cache: Path) -> None:
    cache.mkdir()
    part = cache / "m.part"
    first = web.add("/first.gguf", BIG, cuts=1, cut_at=100_000)
    with pytest.raises(http.Interrupted):
        http.attempt(http.Source(first), part, Silent())
    second = web.add("/second.gguf", EMPTY_MODEL)
    http.download(second, part, progress=Silent())
    assert part.read_bytes() == EMPTY_MODEL


def test_only_bytes_of_the_same_source_are_continued(web: Web, cache: Path) -> None:
    cache.mkdir()
    part, url = cache / "m.part", web.add("/a.gguf", BIG, cuts=1, cut_at=100_000)
    source = http.Source(url, sha256=BIG_SHA)
    with pytest.raises(http.Interrupted):
        http.attempt(source, part, Silent())
    have, validator = http.state_of(source, part)
    assert have == 100_000
    assert validator
    others = [source._replace(url=url + "?"), source._replace(sha256="0" * 64), source._replace(size=99_999)]
    assert [http.state_of(other, part) for other in others] == [(0, "")] * 3
    http.note_of(part).write_text("[]")
    assert http.state_of(source, part) == (0, "")


def test_a_server_without_ranges_starts_over(web: Web) -> None:
    url = web.add("/a.gguf", BIG, cuts=2, cut_at=100_000, ranges=False)
    assert pulling.pull(f"{url}#sha256={BIG_SHA}").read_bytes() == BIG


def test_a_wrong_range_is_thrown_away(web: Web) -> None:
    url = web.add("/a.gguf", BIG, cuts=1, cut_at=100_000, wrong_range=True)
    assert pulling.pull(f"{url}#sha256={BIG_SHA}").read_bytes() == BIG
    assert [one.headers.get("Range") for one in web.gets("/a.gguf")] == [None, "bytes=100000-", None]


def test_a_whole_part_file_needs_no_body(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG)
    cache.mkdir()
    http.download(url, cache / "a.part", progress=Silent())
    http.download(url, cache / "a.part", progress=Silent())  # answered by 416
    assert (cache / "a.part").read_bytes() == BIG
    assert web.gets("/a.gguf")[-1].headers["Range"] == f"bytes={len(BIG)}-"


def test_a_wrong_checksum_is_refused_and_nothing_stays(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG)
    with pytest.raises(DownloadError, match=f"SHA-256 is {BIG_SHA}, expected {'0' * 64}"):
        pulling.pull(f"{url}#sha256={'0' * 64}")
    assert not [p for p in cache.rglob("*") if p.suffix in (".gguf", ".part")]
    assert pulling.pull(f"{url}#sha256={BIG_SHA}").read_bytes() == BIG


def test_a_body_that_always_breaks_off_is_given_up(web: Web) -> None:
    url = web.add("/a.gguf", BIG, cuts=1000, cut_at=0)
    with pytest.raises(DownloadError, match=r"broke off at 0 of 300004 bytes; gave up after 5"):
        pulling.pull(url)
    assert len(web.asked) == http.RETRIES


def test_a_body_cut_without_announced_length_is_no_gguf_file(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", EMPTY_MODEL[:17], length=False)
    with pytest.raises(DownloadError, match="no whole GGUF file"):
        pulling.pull(url)
    assert not [p for p in cache.rglob("*") if p.suffix in (".gguf", ".part")]


@pytest.mark.parametrize(
    ("body", "what"), [(b"<!DOCTYPE html><html>", "a web page"), (b"PK\x03\x04" + bytes(50), "starts with")]
)
def test_what_is_no_model_is_refused_at_its_first_bytes(web: Web, body: bytes, what: str) -> None:
    with pytest.raises(DownloadError, match=what):
        pulling.pull(web.add("/a.gguf", body + bytes(1_000_000)))


def test_an_empty_body_is_no_gguf_file(web: Web) -> None:
    with pytest.raises(DownloadError, match="no whole GGUF file"):
        pulling.pull(web.add("/a.gguf", b""))


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(web: Web, status: int) -> None:
    url = web.add("/a.gguf", EMPTY_MODEL, failures=[status, status])
    assert pulling.pull(url).read_bytes() == EMPTY_MODEL


@pytest.mark.parametrize(("status", "meaning"), [(404, "no such file"), (401, "login"), (403, "denied"), (418, "418")])
def test_a_refusal_is_final(web: Web, status: int, meaning: str) -> None:
    url = web.add("/a.gguf", EMPTY_MODEL, failures=[status] * 9)
    with pytest.raises(DownloadError, match=meaning):
        pulling.pull(url)
    assert len(web.asked) == 1


def test_a_slow_server_is_waited_for(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.5)
    url = web.add("/a.gguf", BIG, chunk=60_000, delay=0.15)  # slower in all than the time limit
    assert pulling.pull(f"{url}#sha256={BIG_SHA}").read_bytes() == BIG


def test_a_silent_server_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.05)
    url = web.add("/a.gguf", BIG, wait=0.5)
    with pytest.raises(DownloadError, match="timed out"):
        pulling.pull(url)


def test_nobody_listens() -> None:
    with pytest.raises(DownloadError, match="refused"):
        pulling.pull("http://127.0.0.1:9/a.gguf")


@pytest.mark.parametrize("url", ["http://", "http://[", "https://:80/", "http://a b/", "http://127.0.0.1:x/a.gguf"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises((DownloadError, UsageError)):
        pulling.pull(url)


def test_an_unknown_fragment_is_named() -> None:
    with pytest.raises(UsageError, match="sha256="):
        pulling.pull("http://127.0.0.1/a.gguf#md5=00")


@pytest.mark.parametrize(
    "path", ["/..%2f..%2fx.gguf", "/%2e%2e", "/a%00b.gguf", "/", "/x" * 200, "/" + "x" * 400 + ".gguf"]
)
def test_a_hostile_name_stays_in_the_cache(cache: Path, path: str) -> None:
    target, _ = pulling.url_target("http://127.0.0.1" + path)
    assert (cache / "models" / "url").resolve() == target.resolve().parent.parent
    assert target.suffix == ".gguf"
    assert len(target.name) < 200


def test_two_pulls_at_once_fetch_once(web: Web) -> None:
    url = f"{web.add('/a.gguf', BIG, chunk=50_000, delay=0.05)}#sha256={BIG_SHA}"
    told = [Told(), Told()]
    found: list[Path] = []
    threads = [threading.Thread(target=lambda t=t: found.append(pulling.pull(url, progress=t))) for t in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(web.gets("/a.gguf")) == 1
    assert [len(t.notes) for t in told] in ([0, 1], [1, 0])


def test_too_little_space_is_said_before_anything_is_fetched(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match=r"300004 bytes are needed, 1000 are free"):
        pulling.pull(web.add("/a.gguf", BIG))


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_fills_up_keeps_what_has_arrived(web: Web, cache: Path) -> None:
    url = f"{web.add('/a.gguf', BIG)}#sha256={BIG_SHA}"
    script = (
        "import resource, sys; from edgeq.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(main(['pull', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert pulling.pull(url).read_bytes() == BIG
    assert web.gets("/a.gguf")[-1].headers["Range"] == "bytes=100000-"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="EDGEQ_CACHE"):
        pulling.pull(web.add("/a.gguf", EMPTY_MODEL))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_ends_a_pull_with_130(web: Web, cache: Path) -> None:
    url = web.add("/a.gguf", BIG, chunk=1000, delay=0.05)
    process = subprocess.Popen([sys.executable, "-m", "edgeq", "pull", url], stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while time.monotonic() < end and not any(p.stat().st_size for p in cache.rglob("*.part")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.parametrize("name", ["nosuch", "smollm2-135"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match="known models: smollm2-135m"):
        pulling.pull(name)
