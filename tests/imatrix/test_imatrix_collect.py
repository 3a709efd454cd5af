"""Collecting: what every backend sums up is what the reference's linears read, chunk by chunk."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import _lib, gguf, imatrix, ops
from edgeq.backends.base import Batch, Cancel, Options
from edgeq.backends.reference import ReferenceBackend
from edgeq.errors import BackendError, Cancelled, ModelError, UsageError
from edgeq.imatrix import Collector, ImportanceMatrix, builtin
from edgeq.model import Model
from models.tiny import FILES
from tests.small import BACKEND, model, tiny

MODELS = sorted(f.name.removesuffix(".gguf.xz") for f in FILES.glob("*.gguf.xz") if not f.name.startswith("format"))
BACKENDS = {"numba": ["llama3", "gemma3"], "reference": MODELS, **({"native": MODELS} if _lib.available() else {})}
TEXT = "The river froze twice that year. Nobody complained.\n" * 12


def loaded(name: str = "llama3", backend: str = BACKEND, **settings: Any) -> Model:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba has no wheel for this platform")
    return model(name, backend=backend, **settings)


def inputs(made: Model, chunks: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """What each weight is multiplied by, one row to each position of all chunks; from the plain program, in float64."""
    program = made.plain
    executable = ReferenceBackend(np.float64).compile(program, made.weights, Options(chunk=512))
    rows: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        batch = Batch.single(chunk, 0, outputs=range(len(chunk)))
        buffers = executable.buffers(executable.new_state(1, len(chunk), "F32"), batch)
        for op in program.ops:
            if isinstance(op, ops.Linear):
                rows.setdefault(program.tensors[op.weight].name, []).append(buffers[program.buffers[op.x].name])
    return {name: np.concatenate(found) for name, found in rows.items()}


def near(found: np.ndarray, wanted: np.ndarray, share: float, name: str) -> None:
    assert np.linalg.norm(found - wanted) <= share * np.linalg.norm(wanted), name


@pytest.mark.parametrize(("backend", "name"), [(b, name) for b, names in BACKENDS.items() for name in names])
def test_sums_are_those_of_the_inputs_of_every_linear(backend: str, name: str) -> None:
    made = loaded(name, backend, kv_type="F32")
    ids = [int(i) for i in np.random.default_rng(3).integers(0, made.vocab, 100)]
    found = imatrix.collect(made, ids, 33, output_weight=True, datasets=["ids"])
    bos = [made.tokenizer.bos_id] if made.tokenizer.add_bos else []
    wanted = inputs(made, [(bos + ids[33 * i + len(bos) : 33 * i + 33]) for i in range(3)])
    assert (found.chunk_count, found.chunk_size, found.datasets) == (3, 33, ["ids"])
    assert set(found.entries) == set(wanted)
    for weight, x in wanted.items():
        entry = found.entries[weight]
        assert entry.counts.tolist() == [99] and entry.sums.shape == (1, x.shape[1])
        near(entry.sums[0], (x * x).sum(0), 1e-4, weight)
        assert entry.signed_sums is not None
        assert np.abs(entry.signed_sums[0] - x.sum(0)).max() <= 1e-4 * np.abs(x).sum(0).max(), weight


@pytest.mark.parametrize("name", ["llama3", "qwen2", "gemma3"])
def test_threads_and_steps_change_nothing(name: str) -> None:
    """Threads not a bit; the length of a step, rounding alone."""
    first, *others = (imatrix.collect(loaded(name, threads=t), TEXT, 40, chunks=2) for t in (1, 2, 4))
    for other in others:
        for weight, entry in first.entries.items():
            assert np.array_equal(entry.sums, other.entries[weight].sums), weight
    parts = imatrix.collect(loaded(name, chunk=17), TEXT, 40, chunks=2)
    for weight, entry in first.entries.items():
        near(parts.entries[weight].sums, entry.sums, 1e-2, weight)


def test_a_chunk_knows_nothing_of_the_one_before() -> None:
    made = loaded("gemma3")  # whose rings hold what is left of it
    ids = made.tokenize(TEXT)
    both = imatrix.collect(made, ids, 60, chunks=2)
    alone = [imatrix.collect(made, ids, 60, chunks=1, from_chunk=i) for i in range(2)]
    for weight, entry in imatrix.merge(alone).entries.items():
        assert np.allclose(both.entries[weight].sums, entry.sums, rtol=1e-12), weight


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The chunks that were run, nothing else is."""
    seen: list[list[int]] = []
    monkeypatch.setattr(Collector, "add", lambda self, tokens, cancel=None: seen.append(list(tokens)))
    monkeypatch.setattr(Collector, "matrix", lambda self, datasets=(): ImportanceMatrix({}))
    return seen


def test_bos_replaces_the_first_token_of_every_chunk_where_the_vocabulary_wants_one(chunks: list[list[int]]) -> None:
    made = loaded("llama3")
    assert made.tokenizer.add_bos
    bos, ids = made.tokenizer.bos_id, made.tokenize(TEXT)
    assert ids[0] == bos
    imatrix.collect(made, TEXT, 10)
    assert chunks == [[bos, *ids[i + 1 : i + 10]] for i in range(0, len(ids) // 10 * 10, 10)]

    chunks.clear()
    made = loaded("qwen2")
    assert not made.tokenizer.add_bos
    imatrix.collect(made, TEXT, 10)
    assert [i for chunk in chunks for i in chunk] == made.tokenize(TEXT)[: 10 * len(chunks)]


def test_texts_follow_each_other_and_ids_stay_what_they_are(chunks: list[list[int]]) -> None:
    made = loaded("qwen2")
    one, two = made.tokenize("one text. " * 3), made.tokenize("another. " * 3)
    imatrix.collect(made, ["one text. " * 3, b"another. " * 3], 1)
    assert [c[0] for c in chunks] == one + two
    chunks.clear()
    imatrix.collect(made, np.array([5, 7, 9, 11]), 2)
    assert chunks == [[5, 7], [9, 11]]


def test_special_tokens_are_text_unless_they_are_to_be_parsed(chunks: list[list[int]]) -> None:
    made = loaded("qwen2")
    special = "<|im_start|>"
    imatrix.collect(made, special, 1)
    plain = [c[0] for c in chunks]
    chunks.clear()
    imatrix.collect(made, special, 1, parse_special=True)
    parsed = [c[0] for c in chunks]
    assert plain == made.tokenize(special, parse_special=False)
    assert parsed == made.tokenize(special, parse_special=True) != plain


def test_some_of_the_chunks(chunks: list[list[int]]) -> None:
    made, ids = loaded("qwen2"), list(range(10, 37))
    told: list[tuple[int, int]] = []
    imatrix.collect(made, ids, 5, chunks=2, from_chunk=1, after=lambda c, done, total: told.append((done, total)))
    assert chunks == [ids[5:10], ids[10:15]] and told == [(1, 2), (2, 2)]
    chunks.clear()
    imatrix.collect(made, ids, 5, chunks=99, from_chunk=4)
    assert chunks == [ids[20:25]]  # what is left at the end is no chunk


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk_size": 28}, "27 tokens of text, a chunk has 28; more text is needed"),
        ({"chunk_size": 5, "from_chunk": 5}, "2 tokens of text behind the first 5 chunks"),
        ({"chunk_size": 5, "from_chunk": 50}, "0 tokens of text behind the first 50 chunks"),
        ({"chunk_size": 0}, "chunk_size 0: expected 1"),
        ({"chunk_size": 5, "chunks": 0}, "chunks 0: expected 1"),
        ({"chunk_size": 5, "from_chunk": -1}, "from_chunk -1: expected 0"),
    ],
)
def test_too_little_text_and_numbers_that_are_none(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        imatrix.collect(loaded("qwen2"), list(range(27)), **settings)


@pytest.mark.parametrize("bad", [-1, 10**9, 1.5, None])
def test_ids_that_are_none(bad: Any) -> None:
    with pytest.raises(UsageError, match=r"token id .*: expected a text, or 0 to"):
        imatrix.collect(loaded("qwen2"), [1, bad], 1)


def test_chunks_must_fit_the_context() -> None:
    made = loaded("qwen2", context=64)
    with pytest.raises(UsageError, match="chunks of 65 tokens: expected 1 to 64, the context of the model"):
        Collector(made, 65)
    with Collector(made, 64) as collector, pytest.raises(UsageError, match="a chunk of 3 tokens: expected 64"):
        collector.add([1, 2, 3])


def test_a_cancelled_chunk_is_not_counted() -> None:
    made, cancel = loaded("qwen2", chunk=16), Cancel()
    with Collector(made, 48) as collector:
        collector.add(range(48))
        before = collector.matrix()
        cancel.set()
        with pytest.raises(Cancelled):
            collector.add(range(48), cancel=cancel)
        after = collector.matrix()
    assert after.chunk_count == 1
    assert all(np.array_equal(e.sums, after.entries[n].sums) for n, e in before.entries.items())


def test_inputs_that_are_not_finite_name_the_weight(tmp_path: Path) -> None:
    with gguf.open(tiny("llama3")) as file:
        rows = [(t.name, t.shape, t.format, bytearray(t.raw)) for t in file.tensors.values()]
        for name, _, fmt, data in rows:
            if name == "blk.1.ffn_norm.weight":
                assert fmt.name == "F32"
                data[4:8] = np.float32(np.inf).tobytes()
        gguf.write(tmp_path / "bad.gguf", file.metadata, rows)
    with (
        edgeq.load(tmp_path / "bad.gguf", backend=BACKEND, threads=1) as made,
        pytest.raises(ModelError, match=r"blk.1.ffn_\w+.weight: an input is not finite.* in chunk 1; .*verify"),
    ):
        imatrix.collect(made, TEXT, 20)


def test_a_backend_that_cannot_look_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = loaded("qwen2", threads=1)
    monkeypatch.setattr(type(made.backend), "supports", lambda self, op, formats: op is not ops.Moments)
    with pytest.raises(BackendError, match=f"backend {BACKEND} cannot collect an importance matrix"):
        Collector(made, 8)


def test_the_weight_of_the_logits_is_left_out_unless_asked_for() -> None:
    for name, head in (("llama3", "token_embd.weight"), ("llama-spm", "output.weight")):
        made = loaded(name)
        assert all(n.startswith("blk.") for n in imatrix.collect(made, TEXT, 20, chunks=1).entries)
        more = imatrix.collect(made, TEXT, 20, chunks=1, output_weight=True)
        assert [n for n in more.entries if not n.startswith("blk.")] == [head]


def test_a_model_on_two_backends_is_collected_whole() -> None:
    made = edgeq.load(tiny("llama3"), backend=BACKEND, threads=1, split=[(1, "reference")])
    whole = imatrix.collect(loaded("llama3"), TEXT, 30, chunks=2)
    for weight, entry in imatrix.collect(made, TEXT, 30, chunks=2).entries.items():
        near(entry.sums, whole.entries[weight].sums, 1e-3, weight)


def test_the_text_that_comes_with_edgeq_has_of_everything_from_the_start() -> None:
    text = builtin.text()
    assert len(text.encode()) > 60_000
    kinds = builtin.kinds()
    assert {"chat", "code", "english", "languages", "math", "structured"} <= set(kinds)
    scripts = {"CYRILLIC", "GREEK", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "THAI", "KHMER", "MYANMAR",
               "LAO", "ETHIOPIC", "GEORGIAN", "ARMENIAN", "HANGUL", "HIRAGANA", "CJK"}  # fmt: skip
    assert scripts <= {unicodedata.name(c, "").split(" ")[0] for c in set(text)}
    start = text[: len(text) // 4]
    for kind, documents in kinds.items():
        assert all(d and "%%%%" not in d for d in documents)
        assert documents == list(dict.fromkeys(documents))
        share = sum(d in start for d in documents) / len(documents)
        assert 0.1 <= share <= 0.45, kind
